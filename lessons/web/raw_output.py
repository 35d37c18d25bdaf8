"""What the cells of a process print past Python, taken apart by the cell."""

import codecs
import re


class RawOutput:
    """Takes apart what the cells print past Python: a mark with its number comes before what is a cell's."""

    def __init__(self, mark: str):
        self.begins = f"\0{mark}".encode()
        self.mark = re.compile(re.escape(self.begins) + rb"(\d{1,6})\0")
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.cell: int | None = None
        self.rest = b""  # of the last piece, which may be the beginning of a mark

    def split(self, piece: bytes) -> list[tuple[int | None, str | None]]:
        """The cells and their texts; None where a cell begins."""
        *parts, last = self.mark.split(self.rest + piece)
        at = last.rfind(b"\0")
        self.rest = last[at:] if at >= 0 and self._may_be_a_mark(last[at:]) else b""
        found: list[tuple[int | None, str | None]] = []
        for number, part in enumerate([*parts, last[: len(last) - len(self.rest)]]):
            if number % 2:
                self.cell = int(part)
                found.append((self.cell, None))
            elif text := self.decoder.decode(part):
                found.append((self.cell, text))
        return found

    def _may_be_a_mark(self, tail: bytes) -> bool:
        number = tail[len(self.begins) :]
        return self.begins.startswith(tail[: len(self.begins)]) and len(number) < 7 and (number or b"0").isdigit()

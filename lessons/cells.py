"""A lesson read as cells: plain Python in percent format, where `# %% [markdown]` begins prose and `# %%` code."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

MARKER = re.compile(r"# ?%%( .*)?")
DERIVE = re.compile(r" *derive: *(.+?) *")  # of a marker: the cell's function is derived before it is shown
COMMENT = re.compile(r"# ?")
LENGTH = re.compile(r"\*(\d+) minutes(, optional)?\*")
ANSWERS = "## Answers"  # the first line of the cell from which on a lesson answers its own questions


@dataclass(frozen=True)
class Cell:
    """One cell of a lesson: its Markdown, or its code, which begins at `line` of the file (the first is 1).

    derive: the call of the cell's function, such as "backward(dout, cache)", where the reader is to derive it line by
    line before it is shown; else "".
    """

    text: str
    line: int
    is_code: bool
    derive: str = ""
    is_answer: bool = False


@dataclass(frozen=True)
class Lesson:
    """One file of the course, such as lessons/07_layernorm.py: number 7, name "layernorm"."""

    number: int
    name: str
    path: Path

    @cached_property
    def cells(self) -> list[Cell]:
        """The cells that hold anything, in order; the answers come last."""
        return list(parse(self.path.read_text(encoding="utf-8")))

    @cached_property
    def body(self) -> list[Cell]:
        """The cells without the answers."""
        return [cell for cell in self.cells if not cell.is_answer]

    @cached_property
    def title(self) -> str:
        """The first heading, without its number: "LayerNorm" of "# 7. LayerNorm"."""
        headings = (re.match(r"# +(?:\d+\. *)?(.+)", cell.text) for cell in self.cells if not cell.is_code)
        return next((heading[1].strip() for heading in headings if heading), self.name)

    @property
    def minutes(self) -> int:
        """How long it takes to read, to run and to write what it asks for; 0 where it does not say."""
        return int(self._length[1]) if self._length else 0

    @property
    def optional(self) -> bool:
        """Whether the course can be finished without it."""
        return bool(self._length and self._length[2])

    @cached_property
    def _length(self) -> re.Match[str] | None:
        """The second paragraph, if it is a length: "*40 minutes, optional*"."""
        paragraphs = self.cells[0].text.split("\n\n") if self.cells else []
        return LENGTH.fullmatch(paragraphs[1].strip()) if len(paragraphs) > 1 else None


def find_lessons(folder: Path) -> dict[int, Lesson]:
    """The lessons of a folder by number: its files NN_name.py."""
    paths = sorted(folder.glob("[0-9][0-9]_*.py"))
    return {int(path.name[:2]): Lesson(int(path.name[:2]), path.stem[3:], path) for path in paths}


def parse(source: str) -> Iterator[Cell]:
    """The cells of a file's text. What stands before the first marker is code; empty cells are left out."""
    lines, begun, name, is_answer = source.splitlines(), 0, "", False
    for number, line in enumerate([*lines, "# %%"]):
        if marker := MARKER.fullmatch(line):
            is_code = "[markdown]" not in name
            text, first = _text(lines, begun, number, is_code)
            is_answer |= not is_code and text.split("\n", 1)[0].rstrip() == ANSWERS
            if text:
                derive = DERIVE.fullmatch(name)
                yield Cell(text, first, is_code, derive[1] if derive else "", is_answer)
            begun, name = number + 1, marker[1] or ""


def _text(lines: list[str], start: int, end: int, is_code: bool) -> tuple[str, int]:
    """The text of the lines from start to end, and the number in the file of its first."""
    while start < end and not lines[start].strip():
        start += 1
    body = lines[start:end] if is_code else [COMMENT.sub("", line, count=1) for line in lines[start:end]]
    return "\n".join(body).rstrip(), start + 1

"""Text with a terminal's colours as HTML: the squares of `heat` stand as squares, whatever the font's are."""

import html
import os
import re
from collections.abc import Sequence

CODE = re.compile(r"\x1b\[([\d;]*)m")
NUMBER = re.compile(r"\d{1,9}")
OTHER = re.compile(r"\x1b\[[\d;?]*[A-Za-ln-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")  # moves of the cursor, titles
PAGE = {"COLUMNS": "80", "TERM": "xterm-256color", "COLORTERM": "truecolor", "FORCE_COLOR": "1"}
SQUARES = "▀█"  # the upper half of a square, and the whole

Colour = tuple[int, int, int]


def as_on_a_page() -> None:
    """Have what is printed in this process from here on be as a page shows it: its width, and colours."""
    os.environ |= PAGE
    os.environ.pop("NO_COLOR", None)


def plain(text: str) -> str:
    """The text without codes for a terminal."""
    return OTHER.sub("", CODE.sub("", text))


def html_of(text: str) -> str:
    """The text as HTML. Only colours of 24 bits, as `heat` asks for, are shown; other codes are left out."""
    parts = CODE.split(OTHER.sub("", text))
    shown = html.escape(parts[0], quote=False)
    letters: Colour | None = None
    ground: Colour | None = None
    for code, piece in zip(parts[1::2], parts[2::2], strict=True):
        letters, ground = _after(code, letters, ground)
        escaped = html.escape(piece, quote=False)
        style = _style(piece, letters, ground) if piece.strip("\n") else ""
        shown += f"<i{style}>{escaped}</i>" if style else escaped
    return shown


def _after(code: str, letters: Colour | None, ground: Colour | None) -> tuple[Colour | None, Colour | None]:
    """The colours of letters and ground after a code."""
    numbers = [int(number) for number in NUMBER.findall(code)]
    while numbers:
        first = numbers.pop(0)
        if first in (38, 48) and numbers[:1] == [2] and len(numbers) >= 4:
            red, green, blue = numbers[1:4]
            letters, ground = ((red, green, blue), ground) if first == 38 else (letters, (red, green, blue))
            del numbers[:4]
        elif first == 39:
            letters = None
        elif first == 49:
            ground = None
        elif first == 0:
            letters = ground = None
    return (letters, ground) if code else (None, None)


def _style(piece: str, letters: Colour | None, ground: Colour | None) -> str:
    """The attribute of an element with these colours, or "" if it needs none."""
    if letters is None and ground is None:
        return ""
    if letters and set(piece) <= {SQUARES[0]}:
        return f' style="background:linear-gradient({_rgb(letters)} 50%,{_rgb(ground)} 50%);color:#0000"'
    if letters and set(piece) <= {SQUARES[1]}:
        return f' style="background:{_rgb(letters)};color:#0000"'
    below = f"background:{_rgb(ground)}" if ground else ""
    return f' style="{";".join(filter(None, (below, f"color:{_rgb(letters)}" if letters else "")))}"'


def _rgb(colour: Sequence[int] | None) -> str:
    return "#{:02x}{:02x}{:02x}".format(*(min(255, part) for part in colour)) if colour else "#0000"

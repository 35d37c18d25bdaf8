"""A lesson read as cells: plain Python in percent format, where `# %% [markdown]` begins prose and `# %%` code."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

MARKER = re.compile(r"# ?%%( .*)?")
COMMENT = re.compile(r"# ?")


@dataclass(frozen=True)
class Cell:
    """One cell of a lesson: its Markdown, or its code, which begins at `line` of the file (the first is 1)."""

    text: str
    line: int
    is_code: bool


@dataclass(frozen=True)
class Lesson:
    """One file of the course, such as lessons/07_layernorm.py: number 7, name "layernorm"."""

    number: int
    name: str
    path: Path

    @cached_property
    def cells(self) -> list[Cell]:
        """The cells that hold anything, in order."""
        return list(parse(self.path.read_text(encoding="utf-8")))

    @cached_property
    def title(self) -> str:
        """The first heading, without its number: "LayerNorm" of "# 7. LayerNorm"."""
        headings = (re.match(r"# +(?:\d+\. *)?(.+)", cell.text) for cell in self.cells if not cell.is_code)
        return next((heading[1].strip() for heading in headings if heading), self.name)


def find_lessons(folder: Path) -> dict[int, Lesson]:
    """The lessons of a folder by number: its files NN_name.py."""
    paths = sorted(folder.glob("[0-9][0-9]_*.py"))
    return {int(path.name[:2]): Lesson(int(path.name[:2]), path.stem[3:], path) for path in paths}


def parse(source: str) -> Iterator[Cell]:
    """The cells of a file's text. What stands before the first marker is code; empty cells are left out."""
    lines, begun, is_code = source.splitlines(), 0, True
    for number, line in enumerate([*lines, "# %%"]):
        if marker := MARKER.fullmatch(line):
            cell = _cell(lines, begun, number, is_code)
            if cell.text:
                yield cell
            begun, is_code = number + 1, "[markdown]" not in (marker[1] or "")


def _cell(lines: list[str], start: int, end: int, is_code: bool) -> Cell:
    while start < end and not lines[start].strip():
        start += 1
    body = lines[start:end] if is_code else [COMMENT.sub("", line, count=1) for line in lines[start:end]]
    return Cell("\n".join(body).rstrip(), start + 1, is_code)

"""Where the lessons speak of numbers that are on the step page: Markdown links such as
`[the scores](step.html#h.0.attn/scores[0,1,3,2])`, and the same links read the other way round.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lessons.cells import Lesson

LINK = re.compile(r"\[([^\]]+)\]\(step\.html#([^\s()\[\]]+)(?:\[([\d,]+)\])?\)")
PLACE = Path("out", "step.html")  # of the page, in the lessons' folder


class Link(NamedTuple):
    """A link. key: the array's, such as "h.0.attn/scores"; index: the number's place in it, () if it names none."""

    words: str
    key: str
    index: tuple[int, ...] = ()


def links(text: str) -> Iterator[Link]:
    """The links to the page in a text of Markdown."""
    for words, key, index in LINK.findall(text):
        yield Link(" ".join(words.split()), key, tuple(map(int, index.split(","))) if index else ())


def of_lesson(lesson: Lesson) -> list[Link]:
    """The links in a lesson's prose, in order."""
    return [link for cell in lesson.cells if not cell.is_code for link in links(cell.text)]


def first_cell(lesson: Lesson) -> int | None:
    """The first cell that has a link to the page."""
    return next((n for n, cell in enumerate(lesson.cells) if not cell.is_code and any(links(cell.text))), None)


def page_file(lesson: Lesson) -> Path | None:
    """The page, where it was written before."""
    path = lesson.path.parent / PLACE
    return path if path.is_file() else None


def backwards(lessons: Iterable[Lesson], keys: Iterable[str]) -> list[dict[str, Any]]:
    """What the page says of the lessons: of each that speaks of some of the arrays `keys`, of which."""
    there, found = set(keys), []
    for lesson in lessons:
        spoken_of = [key for key in dict.fromkeys(link.key for link in of_lesson(lesson)) if key in there]
        if spoken_of:
            command = f"python -m lessons {lesson.number}"
            found.append({"number": lesson.number, "title": lesson.title, "minutes": lesson.minutes,
                          "command": command, "keys": spoken_of})  # fmt: skip
    return found

"""What the search in the page looks through: all sections of all pages, in one script that is loaded with the first
search, since a page that was opened from a file may load scripts and nothing else.
"""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lessons.cells import Lesson
from lessons.web import markup
from lessons.web.lesson_page import name_of

if TYPE_CHECKING:
    from lessons.web.pages import Pages

SECTIONS = "sections.js"
Section = tuple[str, str, str, str]  # the address with its place, the page's title, the heading, the words


def script(pages: "Pages") -> str:
    """The sections as a script that hands them to the search."""
    written = json.dumps(list(sections(pages)), ensure_ascii=False, separators=(",", ":"))
    return f"searchIn({written});\n"


def sections(pages: "Pages") -> Iterator[Section]:
    """All sections. Where the pages are live, what a lesson only shows once it was derived, and its answers, are left
    out.
    """
    for address, lesson in pages.lessons.items():
        for place, heading, words in _of_lesson(lesson, pages.live):
            yield address + place, name_of(lesson), heading, words
    for address, path in pages.documents.items():
        name = markup.title(path)
        for heading, words in markup.Text(path.read_text(encoding="utf-8")).sections():
            if heading:
                yield f"{address}#{heading.name}", name, heading.words, _flat(words)
            elif words.strip():
                yield address, name, "", _flat(words)


def _of_lesson(lesson: Lesson, live: bool) -> Iterator[tuple[str, str, str]]:
    """The place, the heading and the words of each section."""
    place, title, words = "", "", list[str]()
    taken: dict[str, int] = {}
    for cell in lesson.body if live else lesson.cells:
        if cell.is_code:
            words += [] if live and cell.derive else [cell.text]
            continue
        for heading, below in markup.Text(cell.text, taken).sections():
            if heading:
                if title:
                    yield place, title, _flat(" ".join(words))
                place, title, words = f"#{heading.name}", heading.words, []
            words.append(below)
    if title:
        yield place, title, _flat(" ".join(words))


def _flat(words: str) -> str:
    return " ".join(words.split())

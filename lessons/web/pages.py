"""The pages: which there are, and each as HTML. The site writes them into a folder, and the server sends them; the
addresses are the same, and all are relative, so that a page may lie anywhere.
"""

import html
import posixpath
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

import tinygpt.pages
from lessons.cells import Lesson
from lessons.course import Course
from lessons.progress import load
from lessons.web import index, markup, search
from lessons.web.lesson_page import Body, Ran, name_of, page_of
from lessons.web.number_pages import MAKERS

HERE = Path(__file__).parent
SCRIPTS = "page.js", "search.js"
LIVE_SCRIPTS = (
    "common.js", "elements.js", "connection.js", "editor.js", "cell.js", "derive.js", "tools.js", "verdict.js",
    "exercise.js", "live.js",
)  # fmt: skip
STYLES = "lessons.css", "live.css", "exercise.css"
TEXTS = "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "lessons/README.md"  # and the docs
KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
ELSEWHERE = re.compile(r"[a-z]+:")


def stylesheet() -> str:
    """The one stylesheet: what all pages share, what those of text have, and what is live."""
    parts = tinygpt.pages.FOLDER / "common.css", *(HERE / name for name in STYLES)
    return "\n".join(part.read_text(encoding="utf-8") for part in parts)


class Pages:
    """The pages of a course. live: whether a server is behind them, which runs the cells. number_pages: of those in
    `MAKERS` the ones that there are.

    An address is a path from the index on, such as "07_layernorm.html". Files of the repository that a text links to
    have one too: `pictures`, and `sources`, of which the page shows the text.
    """

    def __init__(self, course: Course, live: bool = False, number_pages: Iterable[str] = ("step.html",)):
        self.course, self.live, self.number_pages = course, live, tuple(number_pages)
        self.root = course.folder.parent.resolve()
        self.lessons = {page_of(lesson): lesson for lesson in course.lessons.values()}

    @property
    def documents(self) -> dict[str, Path]:
        """Texts of Markdown by their addresses."""
        return self._others[0]

    @property
    def pictures(self) -> dict[str, Path]:
        return self._others[1]

    @property
    def sources(self) -> dict[str, Path]:
        return self._others[2]

    @cached_property
    def _others(self) -> tuple[dict[str, Path], dict[str, Path], dict[str, Path]]:
        """Documents, pictures and sources: the docs, and whatever any text links to."""
        documents, pictures, sources = dict[str, Path](), dict[str, Path](), dict[str, Path]()

        def follow(folder: Path, text: str) -> None:
            for target in markup.Text(text).targets():
                path = target.partition("#")[0]
                if path and not ELSEWHERE.match(path) and path not in MAKERS:
                    add(folder / path)

        def add(path: Path) -> None:
            address = self.address_of(path.resolve().relative_to(self.root).as_posix())
            if not path.is_file() or address in self.lessons or address in documents:
                return
            if path.suffix == ".md":
                documents[address] = path
                follow(path.parent, path.read_text(encoding="utf-8"))
            else:
                (pictures if path.suffix in markup.PICTURES else sources)[address] = path

        add(self.root / index.PICTURE)
        for lesson in self.course.lessons.values():
            follow(self.course.folder, "\n\n".join(cell.text for cell in lesson.cells if not cell.is_code))
        for path in (*sorted((self.root / "docs").glob("*.md")), *(self.root / name for name in TEXTS)):
            add(path)
        return documents, pictures, sources

    @staticmethod
    def address_of(name: str) -> str:
        """Where a file of the repository is among the pages, by its name from the root on."""
        if lesson := re.fullmatch(r"lessons/(\d\d_\w+)\.py", name):
            return f"{lesson[1]}.html"
        path = Path(name)
        if path.suffix in markup.PICTURES or name in MAKERS:
            return name
        return path.with_suffix(".html").as_posix() if path.suffix == ".md" else f"{name}.html"

    # What lies at an address

    def content(self, address: str) -> tuple[str, bytes] | None:
        """The kind of what lies at an address, such as "text/html", and the thing itself; None if there is nothing.

        Of a site the lessons' pages are without what came of their cells: see `lesson`.
        """
        kind = KINDS.get(posixpath.splitext(address)[1], "")
        if kind.startswith("image/") and address in self.pictures:
            return kind, self.pictures[address].read_bytes()
        text = self._text(address)
        return None if text is None else (kind, text.encode())

    def _text(self, address: str) -> str | None:
        if address == "index.html":
            return self.index()
        if address in self.lessons:
            return self.lesson(address, None if self.live else {})
        if address == "style.css":
            return stylesheet()
        if address == search.SECTIONS:
            return search.script(self)
        if address in self.number_pages:
            return MAKERS[address](self.course)
        if address in SCRIPTS or self.live and address in LIVE_SCRIPTS:
            folder = tinygpt.pages.FOLDER if address == "common.js" else HERE
            return (folder / address).read_text(encoding="utf-8")
        if address in self.documents:
            return self.document(address)
        return self.source(address) if address in self.sources else None

    def addresses(self) -> list[str]:
        """All of them."""
        scripts = SCRIPTS + LIVE_SCRIPTS if self.live else SCRIPTS
        pages = self.lessons, self.documents, self.sources, self.pictures
        listed = (address for some in pages for address in some)
        return ["index.html", *listed, *self.number_pages, "style.css", search.SECTIONS, *scripts]

    def index(self) -> str:
        """The list of the lessons, and of the other pages."""
        return self.shell("index.html", index.TITLE, index.body(self), kind="index")

    def lesson(self, address: str, ran: Mapping[int, Ran] | None = None) -> str:
        """A lesson. ran: of each cell what came of it; None where the page is live."""
        lesson = self.lessons[address]
        kept = load(self.course.work).lesson(lesson.number) if self.live else None
        to = self.linking(self.course.folder, address)
        body = Body(lesson, self.course, to, ran, frozenset(kept.derived if kept else ()))
        attributes = f' data-lesson="{lesson.number}" data-place="{kept.place}"' if kept else ""
        whole = f"{body.html}\n{self._neighbours(lesson)}"
        return self.shell(address, name_of(lesson), whole, body.headings, attributes, kind="lesson")

    def document(self, address: str) -> str:
        """One of the docs."""
        path = self.documents[address]
        text = markup.Text(path.read_text(encoding="utf-8"))
        return self.shell(address, markup.title(path), text.html(self.linking(path.parent, address)), text.headings)

    def source(self, address: str) -> str:
        """A file that a text links to."""
        path = self.sources[address]
        name = path.resolve().relative_to(self.root).as_posix()
        code = markup.block(path.read_text(encoding="utf-8"), markup.language_of(path))
        return self.shell(address, name, f"<h1><code>{html.escape(name)}</code></h1>{code}", kind="file")

    def linking(self, folder: Path, page: str) -> markup.Address:
        """How the links of a text in a folder of the repository lead on from a page."""

        def address(target: str) -> str:
            path, mark, place = target.partition("#")
            if not path or ELSEWHERE.match(target):
                return target
            name = path if path in MAKERS else (folder / path).resolve().relative_to(self.root).as_posix()
            return relative(self.address_of(name), page) + mark + place

        return address

    def _neighbours(self, lesson: Lesson) -> str:
        """Links to the lesson before and to the one after."""
        numbers = list(self.course.lessons)
        at = numbers.index(lesson.number)
        before, after = numbers[max(0, at - 1) : at], numbers[at + 1 : at + 2]
        links = [("prev", "Before", number) for number in before] + [("next", "Next", number) for number in after]
        shown = "".join(
            f'<a rel="{rel}" href="{page_of(self.course.lessons[number])}"><span class="quiet small">{says}</span>'
            f"{html.escape(name_of(self.course.lessons[number]))}</a>"
            for rel, says, number in links
        )
        return f'<nav class="neighbours" aria-label="Lessons before and after">{shown}</nav>'

    def shell(self, address: str, heading: str, body: str, headings: list[markup.Heading] | None = None,
              attributes: str = "", kind: str = "text") -> str:  # fmt: skip
        """A whole page around its body. headings: those that a list beside it names; kind: a class."""
        up = relative("", address)
        scripts = SCRIPTS + LIVE_SCRIPTS if self.live else SCRIPTS
        loaded = "\n".join(f'<script src="{up}{name}" defer></script>' for name in scripts)
        whole = heading if heading == index.TITLE else f"{heading} · {index.TITLE}"
        return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{html.escape(whole)}</title>
<link rel="stylesheet" href="{up}style.css">
{loaded}
</head>
<body class="{kind}"{attributes} data-up="{up}" data-address="{address}">
<a class="skip" href="#main">To the text</a>
<header class="bar">
<a class="home" href="{up}index.html">{index.SHORT}</a>
<div class="search" role="search" hidden></div>
</header>
<div class="page">
{contents(headings or [])}
<main id="main" tabindex="-1">
{body}
</main>
</div>
</body>
</html>
"""


def contents(headings: list[markup.Heading]) -> str:
    """The headings of a page as a list of links; nothing where there are few."""
    listed = [heading for heading in headings if heading.level in (2, 3)]
    if len(listed) < 3:
        return ""
    links = "".join(
        f'<li class="level-{heading.level}"><a href="#{heading.name}">{html.escape(heading.words)}</a></li>'
        for heading in listed
    )
    return (
        '<nav class="contents" aria-label="On this page"><details><summary>On this page</summary>'
        f"<ol>{links}</ol></details></nav>"
    )


def relative(target: str, page: str) -> str:
    """The way from a page to another address; to "", which is the index's folder, with a slash behind it."""
    if not target:
        return "../" * page.count("/")
    return posixpath.relpath(target, posixpath.dirname(page) or ".")

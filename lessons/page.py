"""`python -m lessons page`: one training step, number by number, as a page for a browser."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.style import Style
from rich.text import Text

from lessons import display, links
from lessons.cells import Lesson
from lessons.course import Course, listed
from tinygpt.errors import UserError
from tinygpt.files import expanded, write_atomically

TITLE = "One training step, number by number"


def page(course: Course, lessons: list[Lesson], out: str | None, text: str | None, mine: str | None, open: bool) -> int:
    """Record a step, write the page, and say where it is. mine: a folder, "" for the course's own; None for the engine
    alone. lessons: none, or the one at whose first number the page opens.
    """
    spoken_of = [link for lesson in lessons for link in _spoken_of(course, lesson)]
    path = _writable(course.folder / links.PLACE if out is None else Path(expanded(out)))
    data, remarks = _recorded(course, text, mine)
    data["lessons"] = links.backwards(course.lessons.values(), (array["key"] for array in data["arrays"]))
    data["start"] = _start(data, spoken_of)
    _write(path, data)
    for remark in remarks:
        course.say(f"note: {remark}")
    _say(course, path, data, open)
    return 0


def _spoken_of(course: Course, lesson: Lesson) -> list[links.Link]:
    found = [link for link in links.of_lesson(lesson) if not link.key.startswith("tour-")]
    if not found:
        others = [number for number, other in course.lessons.items() if links.of_lesson(other)]
        those = f"those that do are {listed(others)}; " if others else ""
        raise UserError(
            f"lesson {lesson.number}, {lesson.title}, speaks of no number on the page; {those}"
            f"the page without a lesson: {course.command('page')}"
        )
    return found


def _writable(path: Path) -> Path:
    """A file to be written, whose folder is there; said before the recording, which takes seconds."""
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the page a name in it, such as --out {path / 'step.html'}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(None, "Permission denied")
    except OSError as error:
        raise UserError(f"could not write {path}: {error.strerror}; give another place with --out FILE") from error
    return path


def _write(path: Path, data: dict[str, Any]) -> None:
    from tinygpt.pages import page as made  # here, since neither --help nor the list should wait for it

    write_atomically(path, made("step", data, TITLE).encode())


def _recorded(course: Course, text: str | None, mine: str | None) -> tuple[dict[str, Any], list[str]]:
    """The page's data, and what else there is to say."""
    from lessons.page_process import data_with_own
    from tinygpt.recorder import record_step
    from tinygpt.recorder.data import page_data
    from tinygpt.recorder.step import TEXT
    from tinygpt.run.waiting import Waiting

    text = TEXT if text is None else text
    with Waiting():
        if mine is None:
            return page_data(record_step(text)), []
        folder = Path(display.shown_path(Path(expanded(mine)) if mine else course.work))
        if not folder.exists() and mine.isdecimal():
            swapped = f"{course.command('page', mine)} --mine"
            raise UserError(f"--mine takes a folder, and {mine} is none; for a lesson: {swapped}")
        if not mine and not folder.exists():
            raise UserError(f"there is no {folder} yet; begin your parts of a step with {course.command('start', 7)}")
        said = data_with_own(text, folder)
        return said["data"], said["remarks"]


def _start(data: dict[str, Any], spoken_of: list[links.Link]) -> str | None:
    """The place at which the page opens: where the learner's step parts from the engine's, or the first number that a
    lesson speaks of, as far as it is in this step; None for the page's top.
    """
    if data["first"]:
        at = data["mine"]["at"]
        return data["first"] + (f"[{','.join(map(str, at))}]" if at else "")
    shapes = {array["key"]: array["shape"] for array in data["arrays"]}
    for link in spoken_of:
        if link.key in shapes:
            inside = all(at < size for at, size in zip(link.index, shapes[link.key], strict=True))
            return link.key + (f"[{','.join(map(str, link.index))}]" if inside else "")
    return None


def address(path: Path, start: str | None) -> str:
    """The page's address, with the place in it at which it opens."""
    return path.absolute().as_uri() + (f"#{quote(start, safe='/~,')}" if start else "")


def _say(course: Course, path: Path, data: dict[str, Any], open: bool) -> None:
    from tinygpt.pages.browser import opened  # as in _write

    mine = data["mine"]
    of = f"your {listed(mine['parts'])}" if mine and mine["parts"] else "the engine alone"
    if mine:
        course.say(mine["says"], style="red" if data["first"] else "green")
        for array in data["arrays"]:
            if array["key"] == data["first"] and array["code"] and f"line {array['line']})" in mine["says"]:
                course.quote(array["code"], "    ")
    if mine and mine["parts"] and not data["first"]:
        right = f"whether they are right in all cases: {course.command('check', *mine['parts'])}"
        course.say(f"It is one step, in float64 and without dropout; {right}")
    shown, read = display.shown_path(path), "".join(data["chars"][i] for i in data["idx"])
    before, after = ("no number" if loss is None else f"{loss:.4f}" for loss in (data["loss"], data["after"]))
    course.say(
        f"{shown}: one training step on {read!r} with {of}; the loss is {before} before it and {after} after it."
    )
    where = address(path, data["start"])
    if not open:
        course.say("To look at it, open this in a browser, or ask for it with --open:")
    elif not opened(where):
        course.say("There is no browser here to show it; open this in one:")
    course.console.print(Text(where, Style(link=where)), soft_wrap=True)

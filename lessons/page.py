"""`python -m lessons page`: one training step, number by number, as a page for a browser."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rich.style import Style
from rich.text import Text

from lessons import display, links
from lessons.cells import Lesson
from lessons.course import Course, listed
from tinygpt.errors import UserError
from tinygpt.files import expanded, write_atomically

if TYPE_CHECKING:
    from tinygpt.gradcheck.own_process import OwnProcess

TITLE = "One training step, number by number"


def page(course: Course, lessons: list[Lesson], out: str | None, text: str | None, mine: str | None, open: bool) -> int:
    """Record a step, write the page, and say where it is. mine: a folder, "" for the course's own; None for the engine
    alone. lessons: none, or the one at whose first number the page opens.
    """
    from tinygpt.run.waiting import Waiting  # here, since neither --help nor the list should wait for it

    spoken_of = [link for lesson in lessons for link in _spoken_of(course, lesson)]
    path = _writable(course.folder / links.PLACE if out is None else Path(expanded(out)))
    with Waiting():
        data, remarks = recorded(course, text, mine, spoken_of)
    write_atomically(path, as_html(data).encode())
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


def as_html(data: dict[str, Any], back: tuple[str, str] | None = None) -> str:
    """The page, whole. back: the address and the name of the page that it belongs to, if there is one."""
    from tinygpt.pages import page as made  # as in page

    return made("step", data, TITLE, back)


def recorded(
    course: Course, text: str | None, mine: str | None, spoken_of: Sequence[links.Link] = (),
    began: "Callable[[OwnProcess], object]" = lambda process: None,
) -> tuple[dict[str, Any], list[str]]:  # fmt: skip
    """The page's data, and what else there is to say. mine: as `page` has it. began: is handed the process in which a
    learner's parts are recorded.
    """
    data, remarks = _of_step(course, text, mine, began)
    data["lessons"] = links.backwards(course.lessons.values(), (array["key"] for array in data["arrays"]))
    data["start"] = _start(data, spoken_of)
    return data, remarks


def _of_step(
    course: Course, text: str | None, mine: str | None, began: "Callable[[OwnProcess], object]"
) -> tuple[dict[str, Any], list[str]]:
    from lessons.page_process import data_with_own
    from tinygpt.recorder import record_step
    from tinygpt.recorder.data import page_data
    from tinygpt.recorder.step import TEXT

    text = TEXT if text is None else text
    if mine is None:
        return page_data(record_step(text)), []
    folder = Path(display.shown_path(Path(expanded(mine)) if mine else course.work))
    if not folder.exists() and mine.isdecimal():
        swapped = f"{course.command('page', mine)} --mine"
        raise UserError(f"--mine takes a folder, and {mine} is none; for a lesson: {swapped}")
    if not mine and not folder.exists():
        raise UserError(f"there is no {folder} yet; begin your parts of a step with {course.command('start', 7)}")
    said = data_with_own(text, folder, began=began)
    return said["data"], said["remarks"]


def _start(data: dict[str, Any], spoken_of: Sequence[links.Link]) -> str | None:
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
    return path.absolute().as_uri() + place(start)


def place(start: str | None) -> str:
    """The end of an address, from which the page opens at a number."""
    return f"#{quote(start, safe='/~,')}" if start else ""


def _say(course: Course, path: Path, data: dict[str, Any], open: bool) -> None:
    from tinygpt.pages.browser import opened  # as in page

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

"""The exercises on the command line: start, check, reset, and what stands in files of its own."""

from typing import Any

from lessons import display
from lessons import watch as watching
from lessons.cells import Lesson
from lessons.course import Course
from lessons.exercises import Exercise
from lessons.files import begun_anew, started
from lessons.helping import hint, read_hints, solution
from lessons.page import page
from lessons.progress import load
from lessons.running import run
from lessons.trying import try_

__all__ = ["check", "hint", "page", "read_hints", "reset", "run", "site", "solution", "start", "try_", "web"]


def start(course: Course, exercises: list[Exercise]) -> int:
    """Write the files to fill in; one that is there already is left alone."""
    for exercise in exercises:
        course.say(started(course, exercise))
    return 0


def check(course: Course, exercises: list[Exercise], watch: bool) -> int:
    """Check the learner's files, once or after every save; the status is 1 if one of them is not right."""
    if watch:
        return (watching.live if display.is_live() else watching.plain)(course, exercises)
    right: list[bool] = []
    for exercise in exercises:
        if right:
            print()
        right.append(watching.say(course, exercise))
    if all(right):
        course.say(f"Next: {course.next_of(course.lessons[exercises[-1].lesson], load(course.work))}")
    return 0 if all(right) else 1


def reset(course: Course, exercises: list[Exercise]) -> int:
    """Write the blank anew; what the learner wrote is kept beside it."""
    for exercise in exercises:
        course.say(begun_anew(course, exercise))
    return 0


def site(course: Course, folder: str | None) -> int:
    """Write all pages into a folder."""
    from lessons.web.site import site  # here, since no other command should wait for what it needs

    return site(course, folder)


def web(course: Course, lessons: list[Lesson], **flags: Any) -> int:
    """Serve the lessons' pages."""
    from lessons.web.server import web  # as in site

    return web(course, lessons, **flags)

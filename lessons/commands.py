"""The exercises on the command line: start, check, reset, and what stands in files of its own."""

from lessons import display
from lessons import watch as watching
from lessons.course import Course
from lessons.exercises import Exercise
from lessons.files import begin, is_blank, write_new
from lessons.helping import hint, read_hints, solution
from lessons.page import page
from lessons.progress import changing, load, numbered
from lessons.running import run
from lessons.trying import try_
from tinygpt.files import write_atomically

__all__ = ["check", "hint", "page", "read_hints", "reset", "run", "solution", "start", "try_"]


def start(course: Course, exercises: list[Exercise]) -> int:
    """Write the files to fill in; one that is there already is left alone."""
    for exercise in exercises:
        path = course.file(exercise)
        name, shown = exercise.name, display.shown_path(path)
        if begin(path, exercise):
            course.say(f"{shown} is written. Fill in what is missing, then: {course.command('check', name)}")
        else:
            course.say(f"{shown} is there already and was left alone; to begin anew: {course.command('reset', name)}")
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
        path = course.file(exercise)
        if not path.exists():
            start(course, [exercise])
        elif is_blank(path, exercise):
            course.say(f"{display.shown_path(path)} is still as it was given; nothing was changed")
        else:
            backup = numbered(path)
            write_new(backup, path.read_bytes())
            write_atomically(path, exercise.blank().encode())
            with changing(course.work) as progress:
                progress.exercise(exercise.name).done = False
            course.say(
                f"{display.shown_path(path)} is blank again; what you wrote is kept in {display.shown_path(backup)}"
            )
    return 0

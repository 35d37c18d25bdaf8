"""The learner's files: as they were given, or written on; what is there already is never written over."""

import os
from pathlib import Path

from lessons import display
from lessons.course import Course
from lessons.exercises import Exercise
from lessons.progress import changing, numbered
from tinygpt.errors import UserError
from tinygpt.files import write_atomically


def is_blank(path: Path, exercise: Exercise) -> bool:
    """Whether a file is as it was given."""
    return path.read_bytes().replace(b"\r\n", b"\n") == exercise.blank().encode()


def begin(path: Path, exercise: Exercise) -> bool:
    """Write the file of an exercise, to be filled in; False, and nothing written, if there is one."""
    return write_new(path, exercise.blank().encode())


def write_new(path: Path, content: bytes) -> bool:
    """Write a file that does not exist; False, and nothing written, if it does."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path):
            return False
        with path.open("xb") as file:
            file.write(content)
    except OSError as error:
        raise UserError(f"could not write {path}: {error.strerror}; check the disk, or give --work FOLDER") from error
    return True


def started(course: Course, exercise: Exercise) -> str:
    """Begin the file of an exercise, and what became of that, in a sentence."""
    path, name = course.file(exercise), exercise.name
    shown = display.shown_path(path)
    if begin(path, exercise):
        return f"{shown} is written. Fill in what is missing, then: {course.command('check', name)}"
    return f"{shown} is there already and was left alone; to begin anew: {course.command('reset', name)}"


def begun_anew(course: Course, exercise: Exercise) -> str:
    """Write the blank of an exercise anew, with what was written kept beside it; what became of that, in a sentence."""
    path = course.file(exercise)
    if not path.exists():
        return started(course, exercise)
    shown = display.shown_path(path)
    if is_blank(path, exercise):
        return f"{shown} is still as it was given; nothing was changed"
    backup = put_aside(path, path.read_bytes())
    write_atomically(path, exercise.blank().encode())
    with changing(course.work) as progress:
        progress.exercise(exercise.name).done = False
    return f"{shown} is blank again; what you wrote is kept in {display.shown_path(backup)}"


def put_aside(path: Path, content: bytes) -> Path:
    """Keep what was written in a file, under a name beside it that no file has; returns that."""
    backup = numbered(path)
    write_new(backup, content)
    return backup

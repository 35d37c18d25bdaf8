"""The learner's files: as they were given, or written on; what is there already is never written over."""

import os
from pathlib import Path

from lessons.exercises import Exercise
from tinygpt.errors import UserError


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

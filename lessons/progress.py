"""What a learner has done, in one small JSON file: the place in each lesson, and the state of each exercise."""

import contextlib
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from lessons import display
from tinygpt.errors import UserError
from tinygpt.files import JSON_LIMIT, parse_json, read_bytes, write_atomically

VERSION = 2
CHANGING = threading.RLock()  # one thread of a program after the other
MOVED = {1: {19: 20}}  # lessons that had another number in files of an earlier version: GPT-2, before lesson 19 came


@dataclass
class LessonProgress:
    place: int = 0  # the cell to go on from, counted from 0
    ended: bool = False  # the last cell was reached once
    derived: list[str] = field(default_factory=list)  # the calls of the functions that the reader derived


@dataclass
class ExerciseProgress:
    attempts: int = 0  # checks of a file that was no longer the blank
    hints: int = 0  # hints given
    done: bool = False  # the last check found it right
    right: str = ""  # the SHA-256 of the file that the last check found right


@dataclass
class Progress:
    lessons: dict[str, LessonProgress] = field(default_factory=dict)  # by number
    exercises: dict[str, ExerciseProgress] = field(default_factory=dict)  # by name
    waits: bool = True  # whether the stepper waits before it runs a cell

    def lesson(self, number: int) -> LessonProgress:
        return self.lessons.setdefault(str(number), LessonProgress())

    def exercise(self, name: str) -> ExerciseProgress:
        return self.exercises.setdefault(name, ExerciseProgress())


def load(work: Path) -> Progress:
    """The progress kept in the folder `work`. A file that cannot be understood is put aside with a sentence."""
    path = work / "progress.json"
    if not path.exists():
        return Progress()
    try:
        content = read_bytes(path, JSON_LIMIT)
    except UserError as error:
        raise UserError(f"{error}; make it readable, or give --work FOLDER") from error
    try:
        return _understood(parse_json(content, path))
    except (ValueError, TypeError, KeyError, AttributeError):  # of them UserError, for what is no JSON
        aside = numbered(path)
        path.replace(aside)
        says = f"note: {path} was damaged or of another version; it is kept as {aside.name}, and progress starts anew"
        print(display.fitted(says, sys.stdout))
        return Progress()


def _understood(content: Any) -> Progress:
    if content["version"] not in (*MOVED, VERSION):
        raise ValueError(f"version {content['version']}")
    lessons = {int(number): _valid(LessonProgress(**kept)) for number, kept in content["lessons"].items()}
    moved = MOVED.get(content["version"], {})
    return Progress(
        {str(moved.get(number, number)): kept for number, kept in lessons.items()},
        {name: _valid(ExerciseProgress(**kept)) for name, kept in content["exercises"].items()},
        _flag(content.get("waits", True)),
    )


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(f"waits is {value!r}")
    return value


def _valid(kept: Any) -> Any:
    for name, default in vars(type(kept)()).items():
        value = getattr(kept, name)
        if isinstance(value, list):
            fits = all(type(one) is str for one in value)
        else:
            fits = isinstance(value, str) or 0 <= value < 10**9
        if type(value) is not type(default) or not fits:
            raise ValueError(f"{name} is {value!r}")
    return kept


@contextlib.contextmanager
def changing(work: Path) -> Iterator[Progress]:
    """The progress, written back at the end; read anew each time, since two commands may be running at once."""
    with CHANGING:
        progress = load(work)
        yield progress
        content = json.dumps({"version": VERSION, **asdict(progress)}, indent=1) + "\n"
        write_atomically(work / "progress.json", content.encode())


def numbered(path: Path) -> Path:
    """A name for a copy of a file that no file has: layernorm.1.py.bak, layernorm.2.py.bak, ..."""
    names = (path.with_name(f"{path.stem}.{number}{path.suffix}.bak") for number in count(1))
    return next(name for name in names if not name.exists() and not name.is_symlink())

"""Reading a folder in which a run may be saving meanwhile."""

import contextlib
import functools
import inspect
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from tinygpt.checkpoint import BESIDE, WEIGHTS
from tinygpt.errors import UserError
from tinygpt.model_folder import named_path

READINGS = 10
MOMENT = 0.02  # seconds
_reading = threading.local()  # by thread: whether one of these functions has called another
P = ParamSpec("P")
T = TypeVar("T")


def rereading(read: Callable[P, T]) -> Callable[P, T]:
    """A function that reads a folder, its first argument, made to read again if a run saved there meanwhile: what it
    returns belongs together, and a file that a save was just replacing is not missing.
    """
    signature = inspect.signature(read)

    @functools.wraps(read)
    def reading(*arguments: P.args, **options: P.kwargs) -> T:
        if getattr(_reading, "begun", False):  # whoever has begun it reads again
            return read(*arguments, **options)
        _reading.begun = True
        try:
            return again(*arguments, **options)
        finally:
            _reading.begun = False

    def again(*arguments: P.args, **options: P.kwargs) -> T:
        folder = named_path(next(iter(signature.bind(*arguments, **options).arguments.values())))
        for attempt in range(1, READINGS + 1):
            described, listed = _described(folder), _listed(folder)
            try:
                with warnings.catch_warnings(record=True) as said:
                    warnings.simplefilter("always")
                    result = read(*arguments, **options)
                if described == _described(folder) and not (said and listed != _listed(folder)):
                    _say_again(said)
                    return result
            except (UserError, OSError):
                if attempt == READINGS or not _changing(folder, listed):
                    _say_again(said)
                    raise
            time.sleep(0.01 * attempt)
        raise UserError(f"{folder} was being written each of the {READINGS} times that it was read; try again")

    return reading


def _say_again(said: list[warnings.WarningMessage]) -> None:
    """The notes of the reading that counts."""
    for note in said:
        warnings.warn_explicit(note.message, note.category, note.filename, note.lineno)


def _described(folder: Path) -> list[bytes]:
    """What in a folder says how its weights are to be read, and which those are where a run has no best ones yet. The
    first 16 MiB of a file are all it may have.
    """
    paths = [folder / place / name for place in ("", "best") for name in BESIDE]
    paths += [] if (folder / "best" / WEIGHTS).exists() else [folder / "last" / "current"]
    contents = []
    for path in paths:
        content = b""
        with contextlib.suppress(OSError):
            if path.is_file():
                with path.open("rb") as file:
                    content = file.read(1 << 24)
        contents.append(content)
    return contents


def _changing(folder: Path, listed: list[tuple[str, int, int]]) -> bool:
    """Whether the files are no longer those listed before; where one is half written, it has a moment to change."""
    if listed == _listed(folder) and any(name.endswith(".writing") for name, *_ in listed):
        time.sleep(MOMENT)
    return listed != _listed(folder)


def _listed(folder: Path) -> list[tuple[str, int, int]]:
    """The files in a folder and its run's, with what changes when one is replaced."""
    files = []
    for place in ("", "best", "last"):
        with contextlib.suppress(OSError):
            for path in (folder / place).iterdir():
                files.append((path.name, path.stat().st_ino, path.stat().st_mtime_ns))
    return sorted(files)

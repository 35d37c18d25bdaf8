"""Reading a folder in which a run may be saving meanwhile."""

import contextlib
import functools
import inspect
import time
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from tinygpt.checkpoint import CONFIG, TOKENIZER, WEIGHTS
from tinygpt.errors import UserError

READINGS = 10
P = ParamSpec("P")
T = TypeVar("T")


def rereading(read: Callable[P, T]) -> Callable[P, T]:
    """A function that reads a folder, its first argument, made to read again if a run saved there meanwhile: what it
    returns belongs together, and a file that a save was just replacing is not missing.
    """
    signature = inspect.signature(read)

    @functools.wraps(read)
    def reading(*arguments: P.args, **options: P.kwargs) -> T:
        folder = Path(next(iter(signature.bind(*arguments, **options).arguments.values())))
        for attempt in range(1, READINGS + 1):
            described, listed = _described(folder), _listed(folder)
            try:
                result = read(*arguments, **options)
                if described == _described(folder):
                    return result
            except (UserError, OSError):
                at_rest = listed == _listed(folder) and not any(name.endswith(".writing") for name, *_ in listed)
                if at_rest or attempt == READINGS:
                    raise
            time.sleep(0.01 * attempt)
        raise UserError(f"{folder} was being written each of the {READINGS} times that it was read; try again")

    return reading


def _described(folder: Path) -> list[bytes]:
    """What in a folder says how its weights are to be read, and which those are where a run has no best ones yet. The
    first 16 MiB of a file are all it may have.
    """
    paths = [folder / place / name for place in ("", "best") for name in (CONFIG, TOKENIZER)]
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


def _listed(folder: Path) -> list[tuple[str, int, int]]:
    """The files in a folder and its run's, with what changes when one is replaced."""
    files = []
    for place in ("", "best", "last"):
        with contextlib.suppress(OSError):
            for path in (folder / place).iterdir():
                files.append((path.name, path.stat().st_ino, path.stat().st_mtime_ns))
    return sorted(files)

"""What takes long says how far it is, to whoever listens; it knows no screen."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far something is. kept: how much of it is on the disk, and need not be done again after an interruption."""

    what: str  # such as "encoding text.txt"
    done: int
    total: int
    unit: str = "bytes"
    kept: int = 0


Listener = Callable[[Progress], object]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


def report(progress: Progress) -> None:
    """Tell whoever listens; nobody does unless asked to."""
    if listener := _listener.get():
        listener(progress)


@contextlib.contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Within the block, what is reported goes to `listener`."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)

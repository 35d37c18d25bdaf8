"""The signals that ask a program to end: Ctrl-C, a batch system's or a container's SIGTERM, a closed terminal's SIGHUP.

A command listens from its first moment, so this file imports nothing that takes time.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator

NAMES = "SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"  # the last is Windows'; HUP is not
Act = Callable[[int], object]  # what is done about a signal, of this number


class Interrupted(KeyboardInterrupt):
    """One of the signals, as an exception; `args[0]` is its number, `args[1]`, if any, what to say of it."""


_process = {"is_ours": False}  # whether the whole process is a command of ours; else a notebook's, or another program's


def interrupt(number: int) -> None:
    """End what is under way with an exception, so that whatever was begun is tidied up; the next signal does not wait
    for that.
    """
    listen(lambda number: leave(number, "left at once"))
    raise Interrupted(number)


def leave(number: int, words: str = "stopped; there was nothing to save") -> None:
    """End the program at once, past Python's own buffers, which may be in the middle of something. Where the process is
    not ours to end, as in a notebook, it is an exception that ends what is under way.
    """
    if not _process["is_ours"]:
        raise Interrupted(number, words)
    with contextlib.suppress(OSError):  # the same Ctrl-C may have ended who reads this, or the terminal is gone
        os.write(1, f"\n{words}\n".encode())
    if os.environ.get("PMI_SIZE", "1") != "1" and "mpi4py.MPI" not in sys.modules:
        # Before MPI is there, MPICH's launcher ends the others for nothing but a signal. It names the bits of all of
        # them together: 15, SIGTERM's, stay 15, but SIGINT's and those of its own SIGKILL would be SIGSEGV, 2 | 9.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    os._exit(128 + number)


def listen(act: Act) -> dict:
    """Let `act` answer each of the signals from here on, but for those that are ignored, as under `nohup` or in the
    background of a script. Returns who answered before. Only a program's main thread can listen; others change nothing.
    """
    before = {}
    numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    for number in numbers:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            with contextlib.suppress(ValueError):  # another thread
                before[number] = signal.signal(number, lambda number, _: act(number))
    return before


@contextlib.contextmanager
def answered_by(act: Act) -> Iterator[dict]:
    """`listen` within a block."""
    before = listen(act)
    try:
        yield before
    finally:
        for number, answer in before.items():
            signal.signal(number, answer)


@contextlib.contextmanager
def left_to_the_system() -> Iterator[None]:
    """Within the block each of the signals ends the process at once, also where it waits in a library that lets no
    Python run. Signals that are ignored stay so.
    """
    with answered_by(leave) as before:
        for number in before:
            signal.signal(number, signal.SIG_DFL)
        yield


@contextlib.contextmanager
def from_the_first_moment() -> Iterator[None]:
    """A whole program, its imports included, whose process is ours to end: a signal that none of its parts answers ends
    it at once, in a sentence; one that comes when its status is known changes that no more.
    """
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:  # a closed one, whose number another file would get
        os.set_inheritable(handle, True)
    os.close(handle)
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    _process["is_ours"] = True
    listen(leave)
    try:
        yield
    finally:
        listen(lambda number: None)

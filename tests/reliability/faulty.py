"""`python -m tests.reliability.faulty FAULT RANK train ...`: the command, with something that goes wrong on one rank.

What goes wrong does so in the middle of the run, and the moment is written down as the file `fault` in the folder.
"""

import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tinygpt.signals import from_the_first_moment

STEP = 21  # whose gradients are not summed, or summed late


def fail() -> None:
    raise RuntimeError("made up")


def run_out_of_memory() -> None:
    raise MemoryError


def exit_at_once() -> None:
    os._exit(7)


def sleep() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def fill_the_disk() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))  # no file may be larger


FAULTS: dict[str, Callable[[], None]] = {
    "exception": fail, "memory": run_out_of_memory, "os._exit": exit_at_once, "sleep": sleep, "disk": fill_the_disk,
}  # fmt: skip


def main(fault: str, rank: int, arguments: list[str]) -> int:
    from tinygpt import cli
    from tinygpt.run import group, joining, launched, loop

    if launched.launched().rank == rank:
        if fault == "start":
            Path("fault").touch()
            os._exit(1)
        step = loop._step

        def faulty(state, *others):
            if state.step == STEP:
                Path("fault").touch()
                FAULTS[fault]()
            return step(state, *others)

        loop._step = faulty
    group.LONG = 1.0
    if fault == "start":
        joining.COMING = 2
    return cli.main(arguments)


if __name__ == "__main__":
    with from_the_first_moment():
        sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))

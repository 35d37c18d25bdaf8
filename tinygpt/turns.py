"""One gradient buffer for all workers of a large model, where a second one would be half as much memory again: the
twin of `BufferEach` in `parallel.py`, the same sum. docs/speed.md has what it gives.
"""

import contextlib
import math
import threading
from collections.abc import Iterator

import numpy as np

from tinygpt.backend import Array
from tinygpt.kernels.cpu.pieces import Pieces
from tinygpt.parameters import Parameters


class Abandoned(Exception):
    """Raised in a worker because another one failed; the other's error is the one to show."""


class Turns:
    """One gradient buffer for several workers, who add to each parameter in turn: first, second, ..., first, ..."""

    def __init__(self, grads: Parameters, workers: int):
        self.grads, self.workers = grads, workers
        # (parameter, number of the turn): pieces added so far, inf for all, and the rows of each
        self.done: dict[tuple[str, int], tuple[float, int | None]] = {}
        self.finished: set[int] = set()  # workers that will add no more
        self.changed = threading.Condition()
        self.waiting = 0
        self.abandoned = False

    @contextlib.contextmanager
    def of(self, worker: int) -> Iterator[dict[str, "_Gradient"]]:
        """The gradients as `worker` sees them, which adds no more afterwards."""
        try:
            yield {name: _Gradient(self, name, worker) for name in self.grads}
        except BaseException:
            self.abandon()
            raise
        self.finished.add(worker)
        self._wake()

    def wait(self, name: str, turn: int, pieces: int, rows: int | None) -> None:
        """Wait until so many pieces of a turn are added; until all are, unless they are pieces of `rows` rows too."""

        def ready() -> bool:
            before = turn
            while before >= 0 and (name, before) not in self.done and before % self.workers in self.finished:
                before -= 1  # a turn that nobody took
            added, of_rows = self.done.get((name, before), (0, None))
            enough = pieces if rows is not None and rows == of_rows else math.inf
            return before < 0 or self.abandoned or added >= enough

        if not ready():  # mostly it is, and costs no lock
            with self.changed:
                self.waiting += 1
                self.changed.wait_for(ready)
                self.waiting -= 1
        if self.abandoned:
            raise Abandoned("another worker failed")

    def report(self, name: str, turn: int, pieces: float, rows: int | None) -> None:
        """Say that so many pieces of a turn are added, math.inf for all."""
        self.done[name, turn] = pieces, rows
        if self.waiting:  # who begins to wait after this line sees the one above
            self._wake()

    def abandon(self) -> None:
        """Let those who wait for a worker that failed give up."""
        self.abandoned = True
        self._wake()

    def _wake(self) -> None:
        with self.changed:
            self.changed.notify_all()


class _Gradient:
    """One parameter's gradient, to which a worker adds when it is its turn. The pieces of a large one are handed on one
    by one, so that a worker makes its next piece while another adds the last.
    """

    def __init__(self, turns: Turns, name: str, turn: int):
        self.turns, self.name, self.turn = turns, name, turn  # turn: the number of the worker's next one

    def __iadd__(self, d: Array) -> "_Gradient":
        turns, name, turn = self.turns, self.name, self.turn
        self.turn += turns.workers
        if isinstance(d, Pieces) and d.shape != turns.grads[name].shape:
            d = np.asarray(d)  # NumPy adds it, or says what is wrong
        indices, rows = (d.indices, d.rows) if isinstance(d, Pieces) else ([...], None)
        for number, index in enumerate(indices, start=1):
            part = d.part(index) if isinstance(d, Pieces) else d
            # The first worker's next turn follows all pieces of the last one's: its own last turn was another gradient.
            turns.wait(name, turn - 1, number, rows if turn % turns.workers else None)
            array = turns.grads[name]
            if index is ...:  # CuPy would then copy array[...] onto itself
                array += part
            else:
                array[index] += part
            turns.report(name, turn, number, rows)
        turns.report(name, turn, math.inf, rows)
        return self

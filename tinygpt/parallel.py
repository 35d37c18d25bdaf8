"""One batch over many workers: each runs the whole model forward and backward on its share of the rows.

All that passes between them is a sum of losses, a count of targets, and gradients. The workers are threads: NumPy
lets go of the interpreter's lock while it computes, so element-wise work scales over cores as the products do, while
each worker's products run on one BLAS thread.
"""

import itertools
import math
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from tinygpt.backend import Array
from tinygpt.device import cpu_count
from tinygpt.kernels.cpu.pieces import Pieces
from tinygpt.layers.cross_entropy import IGNORED
from tinygpt.models.model import Model
from tinygpt.parameters import Parameters

SWITCH_INTERVAL = 1e-5  # seconds


class Workers:
    """A number of threads that share each batch. Use as a context manager, which ends them; within it the BLAS of the
    whole process is limited to one thread for each worker.
    """

    def __init__(self, threads: int | None = None):
        """threads: how many cores to use; None for all. Where BLAS cannot be told to use one thread for each worker
        (Accelerate on macOS), there is one worker and BLAS spreads its products as it sees fit.
        """
        self.threads = thread_count(threads)
        self._blas = ThreadpoolController().select(user_api="blas")
        self.count = self.threads if self._blas.lib_controllers else 1
        self._pool = ThreadPoolExecutor(self.count)
        self._settings = ExitStack()
        self._entered = False

    def __enter__(self) -> "Workers":
        self._entered = True
        self._settings.enter_context(self._limit(self.count))
        if self.count > 1:
            # A thread that waits for the interpreter's lock sleeps, and is slow to wake, unless its patience is short.
            self._settings.callback(sys.setswitchinterval, sys.getswitchinterval())
            sys.setswitchinterval(SWITCH_INTERVAL)
        return self

    def __exit__(self, *_: Any) -> None:
        self._entered = False
        self._settings.close()
        self._pool.shutdown()

    def gradients(
        self, model: Model, idx: np.ndarray, targets: np.ndarray, grads: Parameters,
        denominator: float, step: int = 0, row: int = 0,
    ) -> Array:  # fmt: skip
        """Add the gradients of sum(losses) / denominator into `grads`, and return that loss.

        idx, targets: (B, T). step, row: see GPT.loss. The same number of workers gives the same bits: each
        parameter's contributions are added in the order of the workers.
        """
        shards = self._shards(len(idx))
        turns = _Turns(grads, len(shards))

        def work(worker: int, shard: slice) -> Array:
            try:
                loss, cache = model.loss(idx[shard], targets[shard], denominator, step=step, row=row + shard.start)
                model.backward(cache, turns.of(worker))
                turns.finish(worker)
                return loss
            except BaseException:
                turns.abandon()
                raise

        return sum(self._run(work, shards, turns.abandon))

    def loss(self, model: Model, idx: np.ndarray, targets: np.ndarray) -> Array:
        """The mean loss over the targets that are not -1, with no gradients and no dropout."""
        denominator = max(1, count_targets(targets))
        shards = self._shards(len(idx))
        return sum(
            self._run(lambda _, shard: model.loss(idx[shard], targets[shard], denominator, need_grad=False)[0], shards)
        )

    def map(self, function: Callable[[Any], Any], items: Sequence) -> list:
        """[function(item) for item in items], each worker taking a share of consecutive items."""
        shares = self._run(lambda _, shard: [function(item) for item in items[shard]], self._shards(len(items)))
        return list(itertools.chain.from_iterable(shares))

    def _run(
        self, work: Callable[[int, slice], Any], shards: list[slice], abandon: Callable[[], None] = lambda: None
    ) -> list:
        """The results of `work` for each share. abandon: tells workers who wait for each other to give up."""
        settled = self._entered and len(shards) == self.count
        with nullcontext() if settled else self._limit(len(shards)):
            if len(shards) == 1:
                return [_quietly(work, 0, shards[0])]
            futures: list[Future] = []
            try:
                for share in enumerate(shards):
                    futures.append(self._pool.submit(_quietly, work, *share))
                wait(futures)
            except BaseException:  # Ctrl-C: it goes on when the workers have come to an end
                abandon()
                wait(futures)
                raise
        errors = [error for error in (future.exception() for future in futures) if error is not None]
        if errors:
            raise next((error for error in errors if not isinstance(error, _Abandoned)), errors[0])
        return [future.result() for future in futures]

    def _limit(self, workers: int) -> AbstractContextManager:
        """A context in which BLAS has the threads that are left over for each of so many workers."""
        return self._blas.limit(limits=max(1, self.threads // workers))

    def _shards(self, rows: int) -> list[slice]:
        """At most one share of consecutive rows for each worker, as even as can be."""
        count = max(1, min(self.count, rows))
        ends = [rows * (worker + 1) // count for worker in range(count)]
        return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def thread_count(threads: int | None = None, device: str = "cpu") -> int:
    """How many threads to compute with: as many as asked for, all cores if None; one to keep a card busy."""
    return 1 if device == "cuda" else threads or cpu_count()


def blas_threads(limit: int) -> AbstractContextManager:
    """A context in which BLAS uses at most `limit` threads, for what runs in one thread of ours, such as sampling."""
    return ThreadpoolController().select(user_api="blas").limit(limits=limit)


def count_targets(targets: np.ndarray) -> int:
    """The number of targets that are not ignored."""
    return int(np.count_nonzero(targets != IGNORED))


def _quietly(work: Callable[[int, slice], Any], worker: int, shard: slice) -> Any:
    """`work` without NumPy's warnings: a loss that is no longer finite is for the caller to see and report."""
    with np.errstate(all="ignore"):
        return work(worker, shard)


class _Abandoned(Exception):
    """Raised in a worker because another one failed; the other's error is the one to show."""


class _Turns:
    """One gradient buffer for several workers, who add to each parameter in turn: first, second, ..., first, ..."""

    def __init__(self, grads: Parameters, workers: int):
        self.grads = grads
        self.workers = workers
        # (parameter, number of the turn): pieces added so far, inf for all, and the rows of each
        self.done: dict[tuple[str, int], tuple[float, int | None]] = {}
        self.finished: set[int] = set()  # workers that will add no more
        self.changed = threading.Condition()
        self.waiting = 0
        self.abandoned = False

    def of(self, worker: int) -> "_Gradients":
        """The gradients as `worker` sees them."""
        return _Gradients(self, worker)

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
            raise _Abandoned("another worker failed")

    def report(self, name: str, turn: int, pieces: float, rows: int | None) -> None:
        """Say that so many pieces of a turn are added, math.inf for all."""
        self.done[name, turn] = pieces, rows
        if self.waiting:  # who begins to wait after this line sees the one above
            self._wake()

    def finish(self, worker: int) -> None:
        """Say that a worker will add no more."""
        self.finished.add(worker)
        self._wake()

    def abandon(self) -> None:
        """Let those who wait for a worker that failed give up."""
        self.abandoned = True
        self._wake()

    def _wake(self) -> None:
        with self.changed:
            self.changed.notify_all()


class _Gradients:
    """What backward's `grads[name] += d` needs of a mapping."""

    def __init__(self, turns: _Turns, worker: int):
        self.turns = turns
        self.turn = dict.fromkeys(turns.grads, worker)  # the number of this worker's next turn at each parameter

    def __getitem__(self, name: str) -> "_Gradient":
        return _Gradient(self, name)

    def __setitem__(self, name: str, value: "_Gradient") -> None:
        pass  # what `grads[name] += d` stores back was added already


class _Gradient:
    """One parameter's gradient, to which a worker adds when it is its turn. The pieces of a large one are handed on one
    by one, so that a worker makes its next piece while another adds the last.
    """

    def __init__(self, gradients: _Gradients, name: str):
        self.gradients = gradients
        self.name = name

    def __iadd__(self, d: Array) -> "_Gradient":
        turns, name = self.gradients.turns, self.name
        turn = self.gradients.turn[name]
        self.gradients.turn[name] += turns.workers
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

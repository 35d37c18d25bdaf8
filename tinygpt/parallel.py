"""One batch over many workers: each runs the whole model forward and backward on its share of the rows.

All that passes between them is a sum of losses, a count of targets, and gradients. The workers are threads: NumPy
lets go of the interpreter's lock while it computes, so element-wise work scales over cores as the products do, while
each worker's products run on one BLAS thread.
"""

import itertools
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from tinygpt.backend import BLOCK, Array
from tinygpt.device import cpu_count
from tinygpt.layers.cross_entropy import IGNORED
from tinygpt.models.model import Model
from tinygpt.parameters import Parameters
from tinygpt.turns import Abandoned, Turns

SWITCH_INTERVAL = 1e-5  # seconds
MOST = 8  # workers: each holds the interpreter's lock for its calls, and beyond these the lock is what all wait for
LARGE = 32 << 20  # bytes of further gradient buffers, as caches hold; beyond, the workers take turns at one


class Workers:
    """A number of threads that share each batch. Use as a context manager, which ends them; within it the BLAS of the
    whole process is limited to one thread for each worker.
    """

    def __init__(self, threads: int | None = None):
        """threads: how many cores to use; None for all. Up to MOST of them have a worker, and its products its share of
        the rest. Where BLAS cannot be told how many threads to use (Accelerate on macOS), there is one worker.
        """
        self.threads = thread_count(threads)
        self._blas = ThreadpoolController().select(user_api="blas")
        self.count = min(self.threads, MOST) if self._blas.lib_controllers else 1
        self._pool = ThreadPoolExecutor(self.count)
        self._settings = ExitStack()
        self._buffers: BufferEach | None = None
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
        total = self._sum(grads, len(shards))

        def work(worker: int, shard: slice) -> Array:
            with total.of(worker) as own:
                loss, cache = model.loss(idx[shard], targets[shard], denominator, step=step, row=row + shard.start)
                model.backward(cache, own)
                return loss

        losses = self._run(work, shards, total.abandon)
        if isinstance(total, BufferEach):
            self.map(total.add, total.blocks)
        return sum(losses)

    def _sum(self, grads: Parameters, workers: int) -> "BufferEach | Turns":
        """What adds up the gradients of so many workers; buffers are kept for the next step."""
        if (workers - 1) * grads.flat.nbytes > LARGE:
            return Turns(grads, workers)
        if self._buffers is None or self._buffers.grads is not grads or len(self._buffers.others) != workers - 1:
            self._buffers = BufferEach(grads, workers)
        return self._buffers

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
        work = np.errstate(all="ignore")(work)  # a loss that is no longer finite is for the caller to see and report
        settled = self._entered and len(shards) == self.count
        with nullcontext() if settled else self._limit(len(shards)):
            if len(shards) == 1:
                return [work(0, shards[0])]
            futures: list[Future] = []
            try:
                for share in enumerate(shards):
                    futures.append(self._pool.submit(work, *share))
                wait(futures)
            except BaseException:  # Ctrl-C: it goes on when the workers have come to an end
                abandon()
                wait(futures)
                raise
        errors = [error for error in (future.exception() for future in futures) if error is not None]
        if errors:
            raise next((error for error in errors if not isinstance(error, Abandoned)), errors[0])
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


class BufferEach:
    """The workers' gradients, each in a buffer of its own, added up in the order of the workers: the same bits every
    time. The first worker's buffer is `grads`.
    """

    def __init__(self, grads: Parameters, workers: int):
        self.grads = grads
        self.others = [grads.zeros_like() for _ in range(workers - 1)]
        self.blocks = [slice(n, n + BLOCK) for n in range(0, len(grads.flat) if self.others else 0, BLOCK)]

    def of(self, worker: int) -> AbstractContextManager[Parameters]:
        """What a worker's backward adds to."""
        if worker > 0:
            self.others[worker - 1].flat[...] = 0
        return nullcontext([self.grads, *self.others][worker])

    def add(self, block: slice) -> None:
        """Add up one of `blocks`, when all workers have finished."""
        for other in self.others:
            self.grads.flat[block] += other.flat[block]

    def abandon(self) -> None:
        """Nobody waits."""

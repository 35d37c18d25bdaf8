"""One batch over many workers: each runs the whole model forward and backward on its share of the rows.

All that passes between them is a sum of losses, a count of targets, and gradients. The workers are threads: NumPy
lets go of the interpreter's lock while it computes, so element-wise work scales over cores as the products do, while
each worker's products run on one BLAS thread.
"""

import itertools
import math
import os
import threading
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from tinygpt.backend import Array
from tinygpt.device import cpu_count
from tinygpt.errors import Note, brief
from tinygpt.layers.cross_entropy import IGNORED
from tinygpt.models.model import Model
from tinygpt.parameters import Parameters

PORTION = 16 << 20  # bytes of gradients that a worker keeps before all workers add up theirs
BLOCK = 1 << 19  # elements of a gradient that are added at a time: 2 MB in float32, which a core's caches hold
MOST_THREADS = 1024
LOCKED = 25e6  # FLOPs that a core could do while a worker holds the interpreter's lock for one block of the model


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
        total = GradientSum(grads, len(shards))

        def work(worker: int, shard: slice) -> Array:
            with nullcontext(grads) if model.device == "cuda" else total.part(worker) as part:
                loss, cache = model.loss(idx[shard], targets[shard], denominator, step=step, row=row + shard.start)
                model.backward(cache, part)
            return loss

        return sum(self._run(work, shards, total.abandon))

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
        if errors:  # those who waited for the worker that failed have nothing to tell
            raise next((error for error in errors if not isinstance(error, threading.BrokenBarrierError)), errors[0])
        return [future.result() for future in futures]

    def _limit(self, workers: int) -> AbstractContextManager:
        """A context in which BLAS has the threads that are left over for each of so many workers, if they are more than
        the workers: OpenBLAS does a product that it splits over threads only when the one before is done.
        """
        left = self.threads // workers
        return self._blas.limit(limits=left if left > workers else 1)

    def _shards(self, rows: int) -> list[slice]:
        """At most one share of consecutive rows for each worker, as even as can be."""
        count = max(1, min(self.count, rows))
        ends = [rows * (worker + 1) // count for worker in range(count)]
        return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def thread_count(threads: int | None = None, device: str = "cpu") -> int:
    """How many threads to compute with: as many as asked for, if None as many as OMP_NUM_THREADS says, and all cores
    without it; one to keep a card busy.
    """
    return 1 if device == "cuda" else threads or threads_of_environment() or cpu_count()


def threads_of_environment() -> int | None:
    """The number in OMP_NUM_THREADS, or the first of several with commas, which are for nested loops; None where it is
    not set. What is no number of threads is a note.
    """
    given = os.environ.get("OMP_NUM_THREADS", "")
    first = given.partition(",")[0].strip()
    if first.isascii() and first.isdigit() and len(first) < 10 and 1 <= int(first) <= MOST_THREADS:
        return int(first)
    if given.strip():
        problem = f"OMP_NUM_THREADS is {brief(given)}, not a whole number from 1 to {MOST_THREADS:,}, and is left alone"
        warnings.warn(problem, Note, stacklevel=2)
    return None


def training_threads(threads: int | None, model: Model, batch_size: int, cores: int | None = None) -> int:
    """How many threads to train with: as many as asked for, if None as many as OMP_NUM_THREADS says, and without it all
    cores, or fewer where more would only wait.

    In each of the model's blocks a worker holds the interpreter's lock for about as long as a core takes for LOCKED
    FLOPs, one worker after the other, while the block's own FLOPs are shared. Beyond the square root of their ratio
    another worker makes a step no shorter. cores: how many there are, all of the machine's if None.
    """
    cores = cores or cpu_count()
    if model.device == "cuda" or (threads := threads or threads_of_environment()):
        return thread_count(threads, model.device)
    flops = 6 * model.params.flat.size * batch_size * model.config.block_size / model.config.n_layer
    helpful = max(2, math.isqrt(int(flops / LOCKED)))
    return helpful if helpful < min(cores, batch_size) else cores


def blas_threads(limit: int) -> AbstractContextManager:
    """A context in which BLAS uses at most `limit` threads, for what runs in one thread of ours, such as sampling."""
    return ThreadpoolController().select(user_api="blas").limit(limits=limit)


def count_targets(targets: np.ndarray) -> int:
    """The number of targets that are not ignored."""
    return int(np.count_nonzero(targets != IGNORED))


class GradientSum:
    """The sum of several workers' gradients, added into `grads`: to each parameter what the first worker contributes,
    what the second does and so on, then what they contribute next, as to embeddings that are also the head.

    A worker keeps the gradients it makes. When they are PORTION bytes it waits until the others' are too, and then each
    worker adds up some rows of what all of them keep. So a small model's gradients are added up once, at the end, and
    a large model's never exist more than once. The bits do not depend on how large a portion is.
    """

    def __init__(self, grads: Parameters, workers: int):
        self.grads = grads
        self.kept: list[dict[str, list[Array]]] = [defaultdict(list) for _ in range(workers)]
        self.bytes = [0] * workers  # of what they keep
        self.finished = [False] * workers
        self.barrier = threading.Barrier(workers)
        self.blocks: list[tuple[str, slice]] = []  # of rows of each parameter
        for name, whole in grads.items():
            rows = max(1, BLOCK // math.prod(whole.shape[1:]))
            self.blocks += [(name, slice(start, start + rows)) for start in range(0, len(whole), rows)]

    @contextmanager
    def part(self, worker: int) -> Iterator[dict[str, "_Gradient"]]:
        """What a worker's backward adds to. Leaving the context waits until everyone's gradients are added up."""
        try:
            yield {name: _Gradient(self, worker, name) for name in self.grads}
            self.finished[worker] = True
            while not self.add_up(worker):
                pass  # another worker has more to add
        except BaseException:
            self.abandon()
            raise

    def keep(self, worker: int, name: str, d: Array) -> None:
        """Keep a contribution of a worker to a gradient, and where that makes a portion, add up."""
        whole = self.grads[name]
        self.kept[worker][name].append(d if np.shape(d) == whole.shape else np.broadcast_to(d, whole.shape))
        self.bytes[worker] += whole.nbytes
        if self.bytes[worker] >= PORTION:
            self.add_up(worker)

    def add_up(self, worker: int) -> bool:
        """Wait until all workers are here, and add up this one's share of the blocks. True if all have finished."""
        self.barrier.wait()
        finished = all(self.finished)
        for name, rows in self.blocks[worker :: len(self.kept)]:
            block = self.grads[name][rows]
            for contributions in itertools.zip_longest(*(kept.get(name, ()) for kept in self.kept)):
                for d in contributions:
                    if d is not None:  # a worker may contribute less often than another
                        block += d[rows]
        if not finished:
            self.barrier.wait()  # until nobody reads any more
            self.kept[worker].clear()
            self.bytes[worker] = 0
        return finished

    def abandon(self) -> None:
        """Let workers who wait for one that failed, or never began, give up with a BrokenBarrierError."""
        self.barrier.abort()


class _Gradient:
    """What `grads[name] += d` needs of a gradient to which one of several workers contributes."""

    def __init__(self, total: GradientSum, worker: int, name: str):
        self.total, self.worker, self.name = total, worker, name

    def __iadd__(self, d: Array) -> "_Gradient":
        self.total.keep(self.worker, self.name, d)
        return self

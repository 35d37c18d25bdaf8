"""What happens on the pretended card, and what it holds."""

import functools
import gc
import math
import os
import sys
import threading
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.cuda.strict_cupy.errors import CUDARuntimeError, NcclMisuse, OutOfMemoryError

HERE = os.path.dirname(__file__) + os.sep
ROOT = str(Path(__file__).resolve().parents[3])
NUMPY = os.path.dirname(np.__file__)

CARDS: list["Card"] = []  # one for each `installed()` within which we are; the last is in use


def card():
    return CARDS[-1]


class Event(NamedTuple):
    what: str  # the function
    nbytes: int
    file: str  # of the caller, relative to the repository
    line: int
    shape: tuple = ()


class Product(NamedTuple):
    """A matrix product as cuBLAS is told of it, in column-major order: m is the number of *columns* of a NumPy result,
    n the number of its rows, k the length of the sums.
    """

    m: int
    n: int
    k: int
    batch: int
    dtype: np.dtype
    compute_type: str


class Card:
    """What happened on the pretended card, what it holds, and which card it pretends to be."""

    def __init__(self, stream):
        self.bus_ids = ["0000:17:00.0"]  # of the machine's cards, all alike
        self.visible_devices = None  # what the variable CUDA_VISIBLE_DEVICES would say
        self.nccl = True  # whether its library is there
        self.groups, self.begun = 0, []  # of NCCL's calls: groups not ended yet, and the calls in them
        self._of_thread = threading.local()
        self.broken = None  # or "no card", "first product", "wrong product"
        self.compute_capability = "90"
        self.multiprocessors = 132
        self.runtime_version = self.driver_version = 13000
        self.total_memory = 80 << 30
        self.memory_limit = None  # bytes; 0: a card that others have filled
        self.used = self.total = 0  # bytes in arrays, and in the pool with what it keeps for the next allocation
        self.buffers = weakref.WeakValueDictionary()  # by address, everything alive
        self.streams = [stream]  # the last is current
        self.compute_types = {}
        self.shuffle = np.random.default_rng(0)
        self.seed = None  # of the order of blocks and warps in every launch; None: each launch in an order of its own
        self.reset()

    def reset(self):
        self.syncs, self.copies, self.uploads, self.launches, self.products = [], [], [], [], []
        self.collectives = []  # NCCL's, as lists of those that were begun together
        self.moved = 0  # bytes that operations read from the card's memory and wrote to it, see `launch`
        self.allocated = 0  # bytes of all arrays made

    def note(self, events, what, nbytes=0, shape=()):
        events.append(Event(what, int(nbytes), *_caller(), tuple(shape)))

    def launch(self, what, nbytes=0, size=1, reads: Iterable[np.ndarray] = (), noted=None):
        """Note a kernel that writes `nbytes`, and in `moved` also what it reads, each of its operands once: what it
        would move at best. noted: the bytes of the event, if others.
        """
        if size:  # CuPy launches nothing for an empty result
            self.note(self.launches, what, nbytes if noted is None else noted)
            self.moved += int(nbytes) + sum(map(extent, reads))

    def next_seed(self):
        """Of the order in which the blocks and warps of the next launch run."""
        return int(self.shuffle.integers(1 << 31)) if self.seed is None else self.seed

    def unwritten(self, x):
        """How many bytes of a device array nobody has ever written."""
        return x._buffer.unwritten(x._np)

    @property
    def visible(self):
        """The bus ids of the cards that this process sees, in the order of their numbers here: up to the first that
        CUDA_VISIBLE_DEVICES names and there is not (CUDA C++ programming guide).
        """
        if self.visible_devices is None:
            return list(self.bus_ids)
        found = []
        for name in self.visible_devices.split(","):
            if not name.strip().isdigit() or int(name) >= len(self.bus_ids):
                break
            found.append(self.bus_ids[int(name)])
        return found

    @property
    def current(self):
        """The number of the card that this thread computes on."""
        return getattr(self._of_thread, "current", 0)

    @current.setter
    def current(self, number):
        if not 0 <= number < len(self.visible):
            raise CUDARuntimeError(101)
        self._of_thread.current = number

    def wait(self, what, nbytes=0, streams=None):
        if self.groups:
            raise NcclMisuse(f"{what} waits within a group of NCCL's calls, of which none has begun")
        self.note(self.syncs, what, nbytes)
        for stream in streams or [self.streams[-1]]:
            stream.finished = stream.recorded

    def require(self):
        if self.broken == "no card" or not self.visible:
            raise CUDARuntimeError(100)

    def allocate(self, size):
        self.require()
        limit = self.total_memory if self.memory_limit is None else self.memory_limit
        if self.used + size > limit:
            gc.collect()
            self.total = self.used  # the pool gives back what is free, and tries again
        if self.used + size > limit:
            raise OutOfMemoryError(size, self.used, self.memory_limit or 0)
        self.used += size
        self.allocated += size
        self.total = max(self.total, self.used)

    def holds(self, address, nbytes):
        return self.buffer_at(address, nbytes) is not None

    def buffer_at(self, address, nbytes):
        """The memory that has these bytes, or None."""
        for start, buffer in list(self.buffers.items()):
            if start <= address and address + nbytes <= start + buffer.nbytes:
                return buffer
        return None


def extent(x):
    """The bytes that an array's elements have in memory: repeated ones, as by broadcasting, count once."""
    return x.itemsize * math.prod(n for n, step in zip(x.shape, x.strides, strict=True) if step) if x.size else 0


def _caller():
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame.f_code.co_filename):
        frame = frame.f_back
    return _relative(frame.f_code.co_filename), frame.f_lineno


@functools.lru_cache(None)
def _is_ours(filename):
    return filename.startswith((HERE, NUMPY))


@functools.lru_cache(None)
def _relative(filename):
    return os.path.relpath(filename, ROOT).replace(os.sep, "/") if filename.startswith(ROOT) else filename

"""What happens on the pretended card, and what it holds."""

import functools
import gc
import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.cuda.strict_cupy.errors import CUDARuntimeError, OutOfMemoryError

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
        self.broken = None  # or "no card", "first product", "wrong product"
        self.compute_capability = "90"
        self.runtime_version = self.driver_version = 13000
        self.total_memory = 80 << 30
        self.memory_limit = None  # bytes; 0: a card that others have filled
        self.used = self.total = 0  # bytes in arrays, and in the pool with what it keeps for the next allocation
        self.buffers = {}  # address -> bytes, of everything alive
        self.streams = [stream]  # the last is current
        self.compute_types = {}
        self.shuffle = np.random.default_rng(0)
        self.reset()

    def reset(self):
        self.syncs, self.copies, self.uploads, self.launches, self.products = [], [], [], [], []

    def note(self, events, what, nbytes=0, shape=()):
        events.append(Event(what, int(nbytes), *_caller(), tuple(shape)))

    def launch(self, what, nbytes=0, size=1):
        if size:  # CuPy launches nothing for an empty result
            self.note(self.launches, what, nbytes)

    def wait(self, what, nbytes=0, streams=None):
        self.note(self.syncs, what, nbytes)
        for stream in streams or [self.streams[-1]]:
            stream.finished = stream.recorded

    def require(self):
        if self.broken == "no card":
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
        self.total = max(self.total, self.used)

    def holds(self, address, nbytes):
        return any(start <= address and address + nbytes <= start + size for start, size in self.buffers.items())


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

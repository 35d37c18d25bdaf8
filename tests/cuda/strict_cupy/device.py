"""The device: its streams and events, its pool of memory, and what it says of itself."""

import time
import weakref
from typing import Any

import numpy as np

from tests.cuda.strict_cupy.card import card
from tests.cuda.strict_cupy.errors import CUDARuntimeError

HANDLE = 0xB1A5


class Stream:
    all: Any = weakref.WeakSet()

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        self.recorded = self.finished = 0  # events recorded, and those of them known to be reached
        self.ptr = 0 if null else id(self)
        Stream.all.add(self)

    def __enter__(self):
        card().streams.append(self)
        return self

    def __exit__(self, *exception):
        card().streams.pop()

    def synchronize(self):
        card().wait("stream.synchronize", streams=[self])

    def record(self, event=None):
        event = event or CudaEvent()
        event.record(self)
        return event

    def wait_event(self, event):  # the card waits, not the host
        pass

    done = property(lambda self: self.finished >= self.recorded)


Stream.null = Stream(null=True)


class CudaEvent:
    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self.stream = None

    def record(self, stream=None):
        self.stream = stream or card().streams[-1]
        self.stream.recorded += 1
        self.place, self.time = self.stream.recorded, time.perf_counter()

    def synchronize(self):
        card().wait("event.synchronize", streams=[self.stream] if self.stream else None)

    done = property(lambda self: self.stream is None or self.stream.finished >= self.place)


def get_elapsed_time(start, end):
    """Milliseconds between two events that the host has waited for."""
    if not (start.done and end.done):
        raise CUDARuntimeError(600)
    return (end.time - start.time) * 1e3


class Device:
    def __init__(self, device=0):
        self.id = int(device)

    compute_capability = property(lambda self: card().compute_capability)
    mem_info = property(lambda self: mem_get_info())
    cublas_handle = property(lambda self: HANDLE)

    def use(self):
        return self

    def synchronize(self):
        card().wait("device.synchronize", streams=list(Stream.all))

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def __eq__(self, other):
        return isinstance(other, Device) and other.id == self.id

    def __int__(self):
        return self.id

    __hash__ = __int__


class MemoryPool:
    """The pool as if it never fragmented: what is free serves whatever is asked for."""

    def used_bytes(self):
        return card().used

    def total_bytes(self):
        return card().total

    def free_bytes(self):
        return card().total - card().used

    def free_all_blocks(self, stream=None):
        card().total = card().used

    def get_limit(self):
        return card().memory_limit or 0

    def set_limit(self, size=None, fraction=None):
        card().memory_limit = int(size if size is not None else (fraction or 0) * card().total_memory) or None


def mem_get_info():
    card().require()
    here = card().total_memory if card().memory_limit is None else card().memory_limit
    return max(0, here - card().total), card().total_memory


def device_count():
    card().require()
    return 1


def device_properties(device):
    card().require()
    major, minor = divmod(int(card().compute_capability), 10)
    return {
        "name": b"NVIDIA Stand-in", "major": major, "minor": minor, "multiProcessorCount": 132, "warpSize": 32,
        "totalGlobalMem": card().total_memory, "l2CacheSize": 50 << 20, "sharedMemPerBlock": 48 << 10,
        "maxThreadsPerBlock": 1024, "clockRate": 1_980_000, "memoryClockRate": 2_619_000, "memoryBusWidth": 5120,
    }  # fmt: skip


def alloc_pinned_memory(nbytes):
    return np.empty(nbytes, np.uint8).data


def empty_pinned(shape, dtype=float, order="C"):
    return np.empty(shape, dtype, order)

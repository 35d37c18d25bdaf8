"""The device: its streams and events, its pool of memory, and what it says of itself."""

import time
import weakref
from typing import Any

import numpy as np

from tests.cuda.strict_cupy.card import card
from tests.cuda.strict_cupy.errors import CUDARuntimeError

HANDLE = 0xB1A5


class Stream:
    _all: Any = weakref.WeakSet()

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        self.recorded = self.finished = 0  # events recorded, and those of them known to be reached
        self.ptr = 0 if null else id(self)
        Stream._all.add(self)

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
    def __init__(self, device=None):
        self.id = card().current if device is None else int(device)
        self._before = []

    compute_capability = property(lambda self: card().compute_capability)
    mem_info = property(lambda self: mem_get_info())
    attributes = property(lambda self: device_attributes())
    cublas_handle = property(lambda self: HANDLE)
    pci_bus_id = property(lambda self: bus_id(self.id))

    def use(self):
        card().require()
        card().current = self.id
        return self

    def synchronize(self):
        card().wait("device.synchronize", streams=list(Stream._all))

    def __enter__(self):
        self._before.append(card().current)
        return self.use()

    def __exit__(self, *exception):
        card().current = self._before.pop()

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
    return len(card().visible)


def bus_id(device):
    card().require()
    if not 0 <= device < len(card().visible):
        raise CUDARuntimeError(101)
    return card().visible[device]


SHARED = {75: (64, 64), 80: (163, 164), 86: (99, 100), 87: (163, 164), 89: (99, 100), 90: (227, 228), 100: (227, 228)}
SHARED |= {103: (227, 228), 120: (99, 100), 121: (99, 100)}  # KiB: most of a block's, all of a multiprocessor's
SHARED |= dict.fromkeys((35, 50, 52, 60, 61), (48, 96)) | {70: (96, 96)}  # (CUDA C++ programming guide, appendix)
THREADS = {75: 1024, 86: 1536, 87: 1536, 89: 1536, 120: 1536, 121: 1536}  # of a multiprocessor, where not 2,048


def device_attributes():
    """cupy.cuda.Device().attributes: of CUDA's, those that a kernel's host side may ask for."""
    card().require()
    capability = int(card().compute_capability)
    block, whole = SHARED[capability]
    return {
        "ComputeCapabilityMajor": capability // 10, "ComputeCapabilityMinor": capability % 10, "WarpSize": 32,
        "MultiProcessorCount": card().multiprocessors, "MaxThreadsPerBlock": 1024,
        "MaxThreadsPerMultiProcessor": THREADS.get(capability, 2048), "MaxRegistersPerBlock": 1 << 16,
        "MaxRegistersPerMultiprocessor": 1 << 16, "MaxSharedMemoryPerBlock": 48 << 10,
        "MaxSharedMemoryPerBlockOptin": block << 10, "MaxSharedMemoryPerMultiprocessor": whole << 10,
        "MaxBlockDimX": 1024, "MaxBlockDimY": 1024, "MaxBlockDimZ": 64,
        "MaxGridDimX": (1 << 31) - 1, "MaxGridDimY": 65535, "MaxGridDimZ": 65535, "L2CacheSize": 50 << 20,
    }  # fmt: skip


def device_properties(device):
    card().require()
    major, minor = divmod(int(card().compute_capability), 10)
    attributes = device_attributes()
    return {
        "name": b"NVIDIA Stand-in", "major": major, "minor": minor, "warpSize": 32,
        "multiProcessorCount": card().multiprocessors, "regsPerBlock": 1 << 16, "regsPerMultiprocessor": 1 << 16,
        "sharedMemPerBlockOptin": attributes["MaxSharedMemoryPerBlockOptin"],
        "sharedMemPerMultiprocessor": attributes["MaxSharedMemoryPerMultiprocessor"],
        "maxThreadsPerMultiProcessor": attributes["MaxThreadsPerMultiProcessor"],
        "totalGlobalMem": card().total_memory, "l2CacheSize": 50 << 20, "sharedMemPerBlock": 48 << 10,
        "maxThreadsPerBlock": 1024, "clockRate": 1_980_000, "memoryClockRate": 2_619_000, "memoryBusWidth": 5120,
    }  # fmt: skip


def alloc_pinned_memory(nbytes):
    return np.empty(nbytes, np.uint8).data


def empty_pinned(shape, dtype=float, order="C"):
    return np.empty(shape, dtype, order)

"""Memory on the card."""

import functools

import numpy as np

from tests.cuda.strict_cupy.card import card
from tests.cuda.strict_cupy.device import Device

UNIT = 512  # bytes: what the pool rounds allocations up to


class Buffer:
    """Memory on the card; its arrays hold it, and it goes back to the pool with the last of them."""

    def __init__(self, nbytes):
        size = -(-nbytes // UNIT) * UNIT
        card().allocate(size)
        memory = np.empty(size + UNIT, np.uint8)
        start = -memory.ctypes.data % UNIT
        self.memory, self.card, self.size = memory[start : start + size], card(), size
        self.ptr = self.memory.ctypes.data if size else 0
        if size:
            self.card.buffers[self.ptr] = nbytes

    def __del__(self):
        if hasattr(self, "ptr"):  # or there was no room for it
            self.card.used -= self.size
            self.card.buffers.pop(self.ptr, None)


class MemoryPointer:
    def __init__(self, mem, offset):
        self.mem, self.ptr, self.device_id = mem, mem.ptr + offset if mem.ptr else 0, 0

    device = property(lambda self: Device(0))

    def __int__(self):
        return self.ptr

    def __add__(self, offset):
        return MemoryPointer(self.mem, self.ptr - self.mem.ptr + offset)


@functools.lru_cache(None)
def junk_of(dtype):
    """What memory that nobody has written to holds."""
    if dtype.kind in "fcV":
        return np.float32("nan").astype(dtype)
    return True if dtype.kind == "b" else np.frombuffer(b"\xa5" * dtype.itemsize, dtype)[0]


def supported(dtype):
    dtype = np.dtype(dtype)
    if dtype.char not in "?bhilqBHILQefdFD" and dtype.name != "bfloat16" or dtype.byteorder == ">":
        raise ValueError(f"Unsupported dtype {dtype}")
    return dtype

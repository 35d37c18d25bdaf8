"""Memory on the card, and what of it was written.

Most of it is written whole as soon as it is there. Only what `empty` and its like give is kept account of, byte by
byte: in a mask here, until a kernel of one's own sees the memory; from then on by the emulator, which also knows what
kernels write. Whoever writes on NumPy's side says so with `mark`. A kernel that reads what nobody has written is
stopped. NumPy's side is not, because some read rows whole that have a pad at their end: it reads junk (see `junk_of`),
and `card.unwritten(x)` counts.
"""

import functools

import numpy as np

from tests.cuda.strict_cupy.card import card
from tests.cuda.strict_cupy.device import Device
from tinygpt import emulator

UNIT = 512  # bytes: what the pool rounds allocations up to
GAP = 4096  # bytes before and after, which belong to nobody: a kernel that strays there is out of bounds


class Buffer:
    """Memory on the card; its arrays hold it, and it goes back to the pool with the last of them."""

    def __init__(self, nbytes):
        size = -(-nbytes // UNIT) * UNIT
        card().allocate(size)
        memory = np.empty(size + UNIT + 2 * GAP, np.uint8)
        start = GAP + -(memory.ctypes.data + GAP) % UNIT
        self.device, self.dtype = card().current, None  # the number of its card, and what its first array has
        self.memory, self.card, self.size, self.nbytes = memory[start : start + size], card(), size, nbytes
        self.ptr = self.memory.ctypes.data if size else 0
        self.written = False  # True: all of it
        self.mask = None  # of the bytes written, where these are not all
        self.watched = False  # by the emulator, who knows it better
        if size:
            self.card.buffers[self.ptr] = self

    def __del__(self):
        if hasattr(self, "ptr"):  # or there was no room for it
            self.card.used -= self.size
        if getattr(self, "watched", False):
            emulator.forget(self.ptr)

    def here(self):
        """Itself, if it is memory of the card that this thread computes on. CuPy asks of others whether one card sees
        the other's; here none does.
        """
        if self.device != self.card.current:
            raise ValueError(
                f"Array device must be same as the current device: array device = {self.device} while current = "
                f"{self.card.current}"
            )
        return self

    def mark(self, x):
        """x, a NumPy array over this memory, was written."""
        if self.written:
            return
        if x.nbytes == self.nbytes and (x.flags.c_contiguous or x.flags.f_contiguous):
            self.written, self.mask = True, None
            if self.watched:
                emulator.mark_written(self.memory[: self.nbytes])
        elif self.watched:
            emulator.mark_written(x)
        else:
            if self.mask is None:
                self.mask = np.zeros(self.nbytes, bool)
            self._mask_of(x)[...] = True

    def mark_places(self, x, places):
        """Of x, the elements at these places, counted row by row, were written."""
        if not self.written:
            places = np.unravel_index(np.unique(places), x.shape)
            if self.watched:
                for place in zip(*places, strict=True):
                    emulator.mark_written(x[(*place, np.newaxis)])
            else:
                if self.mask is None:
                    self.mask = np.zeros(self.nbytes, bool)
                self._mask_of(x)[places] = True

    def unwritten(self, x):
        """How many bytes of x, an array over this memory, nobody has written."""
        if self.written:
            return 0
        if self.watched:
            return emulator.unwritten(x)
        return x.nbytes if self.mask is None else int(np.count_nonzero(~self._mask_of(x)))

    def _mask_of(self, x):
        """The mask of x's bytes: x's shape, and one axis for the bytes of an element."""
        offset = x.__array_interface__["data"][0] - self.ptr
        return np.ndarray((*x.shape, x.itemsize), bool, self.mask, offset, (*x.strides, 1))

    def watch(self):
        """Let the emulator keep the account: a kernel will see this memory."""
        if not self.watched:
            self.watched = True
            emulator.register(self.ptr, self.nbytes, self.written)
            if self.mask is not None:
                ends = np.flatnonzero(np.diff(self.mask, prepend=False, append=False)).reshape(-1, 2)
                for first, last in ends.tolist():
                    emulator.mark_written(self.memory[first:last])
                self.mask = None

    def look(self):
        """After a kernel: has it written what was left?"""
        if not self.written and not emulator.unwritten(self.memory[: self.nbytes]):
            self.written = True


class MemoryPointer:
    def __init__(self, mem, offset):
        self.mem, self.ptr, self.device_id = mem, mem.ptr + offset if mem.ptr else 0, mem.device

    device = property(lambda self: Device(self.device_id))

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

"""Device arrays: NumPy arrays whose memory the runtime knows, and what of it was written."""

import ctypes
import math
import mmap
import weakref
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from tinygpt.emulator.runtime import current

GAP = 1 << 16  # bytes on both sides of an array that belong to nothing


def empty(shape: int | tuple[int, ...], dtype: Any = "float32") -> np.ndarray:
    """An array of memory that nobody has written: a kernel that reads it before it writes it is stopped."""
    dtype = np.dtype(dtype)
    size = math.prod(shape if isinstance(shape, tuple) else (shape,)) * dtype.itemsize
    raw = np.frombuffer(mmap.mmap(-1, size + 2 * GAP), np.uint8, size, GAP)
    raw[:] = 255  # not a number, in every float type
    if size:
        address = raw.ctypes.data
        register(address, size)
        weakref.finalize(raw, current().emu_forget, address)
    return raw.view(dtype).reshape(shape)


def asarray(values: Any, dtype: Any = None) -> np.ndarray:
    """A device array with these values."""
    values = np.asarray(values, dtype)
    array = empty(values.shape, values.dtype)
    array[...] = values
    mark_written(array)
    return array


def unwritten(array: np.ndarray) -> int:
    """How many bytes of an array nobody has written."""
    return _unwritten(array, mark=False)


def mark_written(array: np.ndarray) -> None:
    """The host wrote this array, or a view of one."""
    _unwritten(array, mark=True)


def _unwritten(array: np.ndarray, mark: bool) -> int:
    if not array.size:
        return 0
    low, high = byte_bounds(array)
    if high - low == array.nbytes:  # dense, in whatever order
        return current().emu_unwritten(low, 0, None, None, array.nbytes, mark)
    longs = ctypes.c_long * array.ndim
    shape, strides = longs(*array.shape), longs(*array.strides)
    return current().emu_unwritten(array.ctypes.data, array.ndim, shape, strides, array.itemsize, mark)


# Memory that others own: the stand-in for CuPy has arrays of its own


def register(address: int, nbytes: int, written: bool = False) -> None:
    """Tell the runtime of memory that someone else owns: launches keep account of it until it is forgotten."""
    current().emu_register(address, nbytes, written)


def forget(address: int) -> None:
    """What was registered at this address is no more. To be said before the memory is freed."""
    current().emu_forget(address)


def unwritten_at(address: int, nbytes: int) -> int:
    """How many of the bytes from an address on nobody has written."""
    return current().emu_unwritten(address, 0, None, None, nbytes, False)


def mark_written_at(address: int, nbytes: int) -> None:
    """The host wrote these bytes."""
    current().emu_unwritten(address, 0, None, None, nbytes, True)

"""Random numbers that are the same on every machine: generators on the host, one for each purpose, and dropout's bits.

A bit of dropout's is a hash of where it belongs, so there is nothing to keep, and a batch may be split in any way.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygpt.values import whole_number


def checked_seed(seed: Any) -> int:
    """A seed as an int. Raises UserError for anything but a whole number of 64 bits: what is more would be cut off, and
    be another seed's numbers.
    """
    return whole_number(seed, "seed", 0, (1 << 64) - 1)


def generator(seed: int, *purpose: int | str) -> np.random.Generator:
    """An independent NumPy generator for one purpose: the same (seed, purpose) always gives the same stream. Raises
    UserError for what is no seed.
    """
    seed = checked_seed(seed)
    words = [seed & 0xFFFFFFFF, seed >> 32]
    for part in purpose:
        words += part.encode() if isinstance(part, str) else [part]
    return np.random.default_rng(words)


def fold_in(key: int, *data: int) -> int:
    """A new 64-bit key from `key` and integers such as step, layer and place; different data, unrelated keys. A round
    is SplitMix64's finaliser (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
    """
    for number in data:
        key = finalise(finalise(int(key)) ^ int(number))  # the key first, or seed 1, step 2 would meet seed 2, step 1
    return key


def finalise(z: Any, uint64: Any = int) -> Any:
    """The finaliser, of a Python integer, or of an array of np.uint64, whose own overflow is the mask."""
    mask = uint64((1 << 64) - 1)
    z = z + uint64(0x9E3779B97F4A7C15) & mask
    z = (z ^ z >> uint64(30)) * uint64(0xBF58476D1CE4E5B9) & mask
    z = (z ^ z >> uint64(27)) * uint64(0x94D049BB133111EB) & mask
    return z ^ z >> uint64(31)


def random_bits(shape: tuple[int, ...], key: int, first_row: int, xp: Any) -> Any:
    """uint32 bits of the given shape: a hash of (key, row, place within the row), and of nothing else.

    Rows are the first axis and are numbered from `first_row`, so a worker that holds rows 4 to 7 of a batch computes
    the bits that the whole batch has there. Integer operations only: NumPy, CuPy and a CUDA kernel agree exactly.
    The hash is a multiply-xorshift finaliser applied twice with the row's 64-bit key between (constants: Wellons,
    "Prospecting for hash functions", 2018). A row has at most 2^32 elements.
    """
    rows = xp.arange(first_row, first_row + shape[0], dtype=np.uint64).reshape(shape[:1] + (1,) * (len(shape) - 1))
    places = xp.arange(int(np.prod(shape[1:])), dtype=np.uint32).reshape((1, *shape[1:]))
    return _fused(_hash, xp)(rows, places, np.uint64(finalise(key)))


@functools.cache
def _fused(function: Callable[..., Any], xp: Any) -> Callable[..., Any]:
    """A function made of element-wise operations; on a card one kernel, which CuPy makes of the same lines."""
    return function if xp is np else xp.fuse(function)


def _hash(row: Any, place: Any, key: Any) -> Any:
    key = finalise(row ^ key, np.uint64)  # fold_in(key, row); on a card for each element anew
    low, high = key.astype(np.uint32), (key >> np.uint64(32)).astype(np.uint32)
    return _mix(_mix(place + low) ^ high)


def _mix(bits: Any) -> Any:
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        bits = bits ^ (bits >> np.uint32(shift))
        bits = bits * np.uint32(factor)
    return bits ^ (bits >> np.uint32(16))

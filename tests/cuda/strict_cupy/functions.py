"""Functions that need their own words."""

import numpy as np

from tests.cuda.strict_cupy.array import (
    copied,
    device_array,
    host_side,
    into,
    ndarray,
    operand,
    reshaped,
    store,
    write,
)
from tests.cuda.strict_cupy.card import card
from tests.cuda.strict_cupy.creation import asarray
from tests.cuda.strict_cupy.lifted import LIFTED


def copy(a, order="K"):
    return copied(device_array(a), "copy", order=order)


def reshape(a, newshape, order="C", *, copy=None):
    return reshaped(a, newshape, order, copy)


def ravel(a, order="C"):
    return reshaped(a, (-1,), order)


def shape(a):
    return np.shape(host_side(a))


def ndim(a):
    return np.ndim(host_side(a))


def size(a):
    return np.size(host_side(a))


def where(condition, x=None, y=None):
    if (x is None) != (y is None):
        raise ValueError("Must provide both 'x' and 'y' or neither.")
    if x is None:
        return LIFTED["nonzero"](condition)
    if not isinstance(condition, ndarray | np.ndarray):
        raise AttributeError(f"{type(condition).__name__!r} object has no attribute 'astype'")
    return store("where", np.where(*(operand(x) for x in (condition, x, y))), (condition, x, y))


def clip(a, a_min, a_max, out=None):
    with np.errstate(all="ignore"):
        result = np.clip(device_array(a)._np, host_side(a_min), host_side(a_max))
    return into("clip", result, out, "same_kind", (a, a_min, a_max))


def take(a, indices, axis=None, out=None):
    """Indices out of range wrap around, whatever they are made of."""
    a = device_array(a).ravel() if axis is None else a
    indices = indices if isinstance(indices, ndarray) or np.isscalar(indices) else asarray(indices, dtype=int)
    n = a.shape[axis or 0]
    if n == 0 and np.size(host_side(indices)):
        raise IndexError("cannot do a non-empty take from an empty axes.")
    result = a._np.take(np.mod(host_side(indices), max(n, 1), dtype=np.int64, casting="unsafe"), axis or 0)
    if out is not None and out.dtype != a.dtype:
        raise TypeError("Output dtype mismatch")
    card().moved += result.nbytes  # what is read of `a`
    return into("take", result, out, "no", (indices,))


def _along_axis(a, indices, axis):
    """The tuple that indexes `a` by `indices` along one axis and by every place along the others."""
    axis = range(a.ndim)[axis]
    if a.ndim != indices.ndim:
        raise ValueError("`indices` and `a` must have the same number of dimensions")
    return tuple(
        indices if i == axis else LIFTED["arange"](n).reshape((1,) * i + (-1,) + (1,) * (a.ndim - i - 1))
        for i, n in enumerate(a.shape)
    )


def take_along_axis(a, indices, axis):
    return a[_along_axis(device_array(a), indices, axis)]


def put_along_axis(arr, indices, values, axis):
    arr[_along_axis(device_array(arr), indices, axis)] = values


def sort(a, axis=-1, kind=None):
    return _sorted("sort", np.sort, a, axis, kind)


def argsort(a, axis=-1, kind=None):
    return _sorted("argsort", np.argsort, a, axis, kind)


def _sorted(what, compute, a, axis, kind):
    if kind not in (None, "stable"):
        raise ValueError("kind can only be None or 'stable'")
    return store(what, compute(device_array(a)._np, axis=axis, kind="stable"), (a,))


def repeat(a, repeats, axis=None):
    if isinstance(repeats, np.ndarray):
        raise TypeError("'repeats' does not accept numpy.ndarray; convert with cupy.array() first")
    if isinstance(repeats, list | tuple):
        repeats = asarray(repeats, dtype=np.intp)
    if isinstance(repeats, ndarray):
        for _ in range(min(repeats.size, 2)):  # for the sum, and to see that none is negative
            card().wait("repeat", 8)
    return store("repeat", np.repeat(device_array(a)._np, host_side(repeats), axis), (a, repeats))


def array_equal(a1, a2, equal_nan=False):
    if device_array(a1).shape == device_array(a2).shape and equal_nan:
        for _ in range(3):  # where nan is, and the rest of each array
            card().wait("array_equal(equal_nan=True)", 1)
    return store("array_equal", np.array_equal(a1._np, a2._np, equal_nan), (a1, a2))


def result_type(*arrays_and_dtypes):
    return np.result_type(*(x.dtype if isinstance(x, ndarray) else x for x in arrays_and_dtypes))


def can_cast(from_, to, casting="safe"):
    return np.can_cast(from_.dtype if isinstance(from_, ndarray) else from_, to, casting)


def copyto(dst, src, casting="same_kind", where=None):
    if where is not None or not np.can_cast(getattr(src, "dtype", type(src)), dst.dtype, casting):
        raise TypeError(f"Cannot copy {type(src)} to {dst.dtype} in {casting} casting mode")
    dst[...] = src


def _sort_in_place(self, axis=-1, kind=None):
    write(self, sort(self, axis, kind)._np)


for _method in (ravel, clip, take, repeat, argsort):
    setattr(ndarray, _method.__name__, _method)
ndarray.sort = _sort_in_place

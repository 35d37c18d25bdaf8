"""Functions that make arrays."""

import numpy as np

from tests.cuda.strict_cupy.array import allocate, allocate_like, copied, device_array, ndarray
from tests.cuda.strict_cupy.card import card
from tests.cuda.strict_cupy.lifted import LIFTED
from tests.cuda.strict_cupy.memory import supported


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    if subok:
        raise NotImplementedError
    order = order or "K"
    if isinstance(obj, ndarray):
        x = obj.astype(dtype or obj.dtype, order, copy=bool(copy))
        if copy is False and x is not obj:
            raise ValueError("Unable to avoid copy while creating an array as requested.")
    elif isinstance(obj, list | tuple) and _leaves(obj) == {ndarray}:
        parts = [x if isinstance(x, ndarray) else array(x) for x in obj]
        x = LIFTED["stack"](parts)
        x = x if dtype is None else x.astype(dtype, copy=False)
    else:
        host = np.array(obj, dtype=dtype, copy=None)
        order = ("F" if host.flags.fnc else "C") if order in "KA" else order
        x = allocate(host.shape, supported(host.dtype.newbyteorder("=")), order, junk=False)
        x._np[...] = host
        if host.ndim and host.size:  # a scalar travels as a kernel's argument
            card().note(card().uploads, "asarray", x.nbytes, x.shape)
    if blocking:
        card().wait("array(blocking=True)", x.nbytes)
    return x if x.ndim >= ndmin else x.reshape((1,) * (ndmin - x.ndim) + x.shape)


def _leaves(obj):
    return set().union(*map(_leaves, obj)) if isinstance(obj, list | tuple) else {type(obj)}


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    return array(a, dtype, copy, order, blocking=blocking)


asanyarray = asarray


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    return a.get(stream, order, out, blocking) if isinstance(a, ndarray) else np.asarray(a, order=order)


def ascontiguousarray(a, dtype=None):
    dtype = device_array(a).dtype if dtype is None else np.dtype(dtype)
    a = a.reshape(1) if a.ndim == 0 else a  # as of NumPy's, the result has a dimension at least
    return a if a.flags.c_contiguous and a.dtype == dtype else copied(a, "ascontiguousarray", dtype, "C")


def empty(shape, dtype=float, order="C"):
    return allocate(shape, dtype, order)


def full(shape, fill_value, dtype=None, order="C"):
    if isinstance(fill_value, np.ndarray) and fill_value.size != 1:
        raise ValueError("non-scalar numpy.ndarray cannot be used for copyto")
    x = allocate(shape, dtype or getattr(fill_value, "dtype", None) or np.array(fill_value).dtype, order)
    x[...] = fill_value
    return x


def zeros(shape, dtype=float, order="C"):
    return full(shape, 0, dtype, order)


def ones(shape, dtype=float, order="C"):
    return full(shape, 1, dtype, order)


def empty_like(prototype, dtype=None, order="K", subok=None, shape=None):
    if subok is not None:
        raise TypeError("subok is not supported yet")
    return allocate_like(device_array(prototype), dtype, order, shape)


def full_like(a, fill_value, dtype=None, order="K", subok=None, shape=None):
    x = empty_like(a, dtype, order, subok, shape)
    x[...] = fill_value
    return x


def zeros_like(a, dtype=None, order="K", *, shape=None):
    return full_like(a, 0, dtype, order, shape=shape)


def ones_like(a, dtype=None, order="K", *, shape=None):
    return full_like(a, 1, dtype, order, shape=shape)


ndarray.__reduce__ = lambda self: (array, (self._read("pickle"),))

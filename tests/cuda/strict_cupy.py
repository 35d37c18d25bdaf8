"""A stand-in for CuPy 14.2 on NumPy, for machines without a card: as strict as CuPy or stricter, never more lenient.

    with strict_cupy.installed() as card:
        import cupy  # the stand-in, until the block ends
        ...
    assert card.syncs == []

An array here is a NumPy array over memory that belongs to a pretended card. Whatever CuPy refuses is refused (a host
array beside a device array, a broadcast `out`), whatever a card does silently is noted in `card` with the line that
asked for it (waits, copies, uploads, kernels, matrix products), and whatever a card leaves to chance is left to chance
(the order of atomic additions and of repeated assignments, the contents of new memory).

How it decides. Values and dtypes are NumPy's: CuPy 14 resolves the dtypes of all ufuncs below as NumPy 2 does. What
exists and which keywords it takes stands in tables; a name that is in none was never checked against CuPy's source and
is an AttributeError. Where CuPy silently computes on the host (`cupy.sum(host)` calls `host.sum()`), this raises. Not
modelled: time, the pool's fragmentation, races between streams and with transfers under way, the last bits of a sum.
"""

import contextlib
import ctypes
import functools
import gc
import inspect
import math
import operator
import os
import sys
import time
import types
import warnings
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = str(Path(__file__).resolve().parents[2])
NUMPY = os.path.dirname(np.__file__)
UNIT = 512  # bytes: what the pool rounds allocations up to

_card: Any = None  # the Card of the innermost `installed()`


# What is noted


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

    def __init__(self):
        self.broken = None  # or "no card", "first product", "wrong product"
        self.compute_capability = "90"
        self.runtime_version = self.driver_version = 13000
        self.total_memory = 80 << 30
        self.memory_limit = None  # bytes; 0: a card that others have filled
        self.used = self.total = 0  # bytes in arrays, and in the pool with what it keeps for the next allocation
        self.buffers = {}  # address -> bytes, of everything alive
        self.streams = [Stream.null]  # the last is current
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
    return filename == __file__ or filename.startswith(NUMPY)


@functools.lru_cache(None)
def _relative(filename):
    return os.path.relpath(filename, ROOT).replace(os.sep, "/") if filename.startswith(ROOT) else filename


# Errors, in CuPy's words


class CUDARuntimeError(RuntimeError):
    TEXTS = {
        2: "cudaErrorMemoryAllocation: out of memory",
        100: "cudaErrorNoDevice: no CUDA-capable device is detected",
        600: "cudaErrorNotReady: device not ready",
        700: "cudaErrorIllegalAddress: an illegal memory access was encountered",
    }

    def __init__(self, status):
        self.status = status
        super().__init__(self.TEXTS[status])


class CUBLASError(RuntimeError):
    TEXTS = {1: "NOT_INITIALIZED", 7: "INVALID_VALUE", 13: "EXECUTION_FAILED", 15: "NOT_SUPPORTED"}

    def __init__(self, status):
        self.status = status
        super().__init__("CUBLAS_STATUS_" + self.TEXTS[status])


class OutOfMemoryError(MemoryError):
    def __init__(self, size, total, limit=0):
        message = f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes"
        super().__init__(message + (f", limit set to: {limit:,} bytes)." if limit else ")."))


def _unsupported(x):
    return TypeError(f"Unsupported type {type(x)}")  # _scalar.pyx, CScalar


# Memory


class _Buffer:
    """Memory on the card; its arrays hold it, and it goes back to the pool with the last of them."""

    def __init__(self, nbytes):
        size = -(-nbytes // UNIT) * UNIT
        _card.allocate(size)
        memory = np.empty(size + UNIT, np.uint8)
        start = -memory.ctypes.data % UNIT
        self.memory, self.card, self.size = memory[start : start + size], _card, size
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
def _junk(dtype):
    """What memory that nobody has written to holds."""
    if dtype.kind in "fcV":
        return np.float32("nan").astype(dtype)
    return True if dtype.kind == "b" else np.frombuffer(b"\xa5" * dtype.itemsize, dtype)[0]


def _supported(dtype):
    dtype = np.dtype(dtype)
    if dtype.char not in "?bhilqBHILQefdFD" and dtype.name != "bfloat16" or dtype.byteorder == ">":
        raise ValueError(f"Unsupported dtype {dtype}")
    return dtype


def _empty(shape, dtype=float, order="C", strides=None, junk=True):
    dtype = _supported(dtype)
    shape = tuple(map(operator.index, shape if np.iterable(shape) else (shape,)))
    if min(shape, default=0) < 0:
        raise ValueError("Negative dimensions are not allowed")
    buffer = _Buffer(math.prod(shape) * dtype.itemsize)
    x = _wrap(np.ndarray(shape, dtype, buffer.memory, 0, strides, order), buffer)
    if junk:
        x._np.fill(_junk(dtype))
    return x


def _empty_like(x, dtype=None, order="K", shape=None):
    layout = np.empty_like(x._np, _supported(x.dtype if dtype is None else dtype), order, shape=shape)
    return _empty(layout.shape, layout.dtype, strides=layout.strides)


def _wrap(array, buffer):
    x = object.__new__(ndarray)
    x._np, x._buffer = array, buffer
    return x


def _view(array, of):
    return _wrap(array, of._buffer)


def _store(what, result):
    """A new device array, C-contiguous as CuPy's results are, with the values of `result`."""
    result = np.asarray(result)
    x = _empty(result.shape, result.dtype, junk=False)
    x._np[...] = result
    _card.launch(what, x._np.nbytes, x._np.size)
    return x


def _copy(x, what, dtype=None, order="C"):
    """A new device array, noted as a copy."""
    y = _empty_like(x, dtype, order)
    y._np[...] = x._np
    if x.size:
        _card.note(_card.copies, what, y.nbytes, y.shape)
    _card.launch(what, y.nbytes, y.size)
    return y


def _overlap(x, y):
    return x._buffer is y._buffer and np.may_share_memory(x._np, y._np)


def _host(x):
    """The NumPy side of an argument; a host array is no argument."""
    if isinstance(x, ndarray):
        return x._np
    if isinstance(x, np.ndarray):
        raise _unsupported(x)
    return type(x)(map(_host, x)) if type(x) in (list, tuple) else x


def _operand(x):
    """The NumPy side of an operand: a device array's, or a scalar."""
    if isinstance(x, ndarray):
        return x._np
    if type(x) not in (int, float, bool, complex) and not isinstance(x, np.number | np.bool_):
        raise _unsupported(x)
    return x


def _device_array(x):
    if not isinstance(x, ndarray):
        raise TypeError(f"expected cupy.ndarray, got {type(x)}")
    return x


def _into(what, result, out, casting):
    """`result` as a new array, or in `out`: its shape exactly, its dtype if the rule `casting` allows it."""
    result = np.asarray(result)
    if out is None:
        return _store(what, result)
    if not isinstance(out, ndarray):
        raise TypeError("Output arguments type must be cupy.ndarray")
    if np.broadcast_shapes(result.shape, out.shape) != out.shape:
        raise ValueError("Out shape is mismatched")
    if not np.can_cast(result.dtype, out.dtype, casting):
        raise TypeError(f"Cannot cast output operand from {result.dtype!r} to {out.dtype!r} according to '{casting}'")
    out._np[...] = result
    _card.launch(what, out.nbytes, out.size)
    return out


# Indices


def _index(key, shape):
    """A NumPy index that does what CuPy's does, and whether it has arrays (then the result is no view).

    Lists and host arrays are uploaded (_routines_indexing.pyx, _prepare_slice_list); integers in arrays wrap around.
    """
    parts = [_index_part(part) for part in (key if isinstance(key, tuple) else (key,))]
    axes = [part.ndim if isinstance(part, ndarray) and part.dtype == bool else 1 for part in parts]
    axes = [0 if part is None or part is Ellipsis else n for part, n in zip(parts, axes, strict=True)]
    if sum(axes) > len(shape):
        raise IndexError(f"too many indices for array: array is {len(shape)}-dimensional, but {sum(axes)} were indexed")
    axis, index = 0, []
    for part, n in zip(parts, axes, strict=True):
        if isinstance(part, ndarray):
            if part.dtype == bool:
                if part.size:
                    _card.wait("boolean index", 4)  # how many are True decides the size
                part = part._np
            else:
                if part.size and shape[axis] == 0:
                    raise IndexError("cannot do a non-empty take from an empty axes.")
                part = np.mod(part._np, max(shape[axis], 1), dtype=np.int64, casting="unsafe")
        index.append(part)
        axis += len(shape) - sum(axes) if part is Ellipsis else n
    if not any(part is Ellipsis for part in parts):
        index.append(Ellipsis)  # so that NumPy gives arrays of no dimensions, not scalars
    return tuple(index), any(isinstance(part, ndarray) for part in parts)


def _index_part(part):
    if part is None or part is Ellipsis:
        return part
    if isinstance(part, slice):  # a device scalar has no __index__, so CuPy takes int() of it (internal.pyx:204)
        return slice(*(int(x) if isinstance(x, ndarray) else x for x in (part.start, part.stop, part.step)))
    if not isinstance(part, ndarray):
        if np.isscalar(part) and not isinstance(part, bool | np.bool_):
            if not isinstance(part, int | np.integer):
                raise IndexError("only integers, slices, ellipsis, newaxis and integer or boolean arrays are indices")
            return int(part)
        is_list, part = isinstance(part, list | tuple), asarray(part)
        part = _empty(part.shape, np.int32) if is_list and not part.size else part
    if part.dtype.kind not in "biu":
        raise IndexError(f"arrays used as indices must be of integer or boolean type. (actual: {part.dtype.type})")
    return part


def _assign(x, key, value):  # x[key] = value
    index, has_arrays = _index(key, x.shape)
    if has_arrays:
        value = value if isinstance(value, ndarray) else asarray(value, dtype=x.dtype)  # a host array is uploaded
        return _scatter("setitem", x, index, value, lambda flat, places, values: flat.__setitem__(places, values))
    target = _view(x._np[index], x)
    if not isinstance(value, ndarray):
        return target.fill(value)
    if value._np.__array_interface__ == target._np.__array_interface__:
        return None  # what `x[key] += y` stores back
    if _overlap(value, target):
        value = _copy(value, "setitem", order="K")
    with np.errstate(all="ignore"):
        target._np[...] = value._np
    return _card.launch("setitem", target.nbytes, target.size)


def _scatter(what, x, index, value, operation):
    """operation(elements of x, places, values) in an order drawn by lot: a card's threads come in any."""
    places = np.arange(x.size).reshape(x.shape)[index]
    with np.errstate(all="ignore"):
        values = np.broadcast_to(value._np.astype(x.dtype), places.shape).reshape(-1)
    order = _card.shuffle.permutation(places.size)
    flat = x._np.flatten()
    operation(flat, places.reshape(-1)[order], values[order])
    x._np[...] = flat.reshape(x.shape)
    _card.launch(what, values.nbytes, values.size)


# The array


class ndarray:
    """cupy.ndarray. Most methods are the functions of the same name; the tables below put them here."""

    __array_priority__ = 100
    __hash__ = None

    def __new__(cls, shape, dtype=float, memptr=None, strides=None, order="C"):
        if memptr is None:
            return _empty(shape, dtype, order, strides)
        offset = memptr.ptr - memptr.mem.ptr
        return _wrap(np.ndarray(shape, dtype, memptr.mem.memory, offset, strides, order), memptr.mem)

    def _reshape_in_place(self, shape):
        view = _reshaped(self, shape)
        if view is None:
            raise AttributeError("Incompatible shape for in-place modification. Use `.reshape()` to make a copy.")
        self._np = view

    shape = property(lambda self: self._np.shape, _reshape_in_place)
    dtype, ndim, size = (property(operator.attrgetter("_np." + name)) for name in ("dtype", "ndim", "size"))
    nbytes, itemsize = (property(operator.attrgetter("_np." + name)) for name in ("nbytes", "itemsize"))
    strides, flags = (property(operator.attrgetter("_np." + name)) for name in ("strides", "flags"))
    T = property(lambda self: _view(self._np.T, self))
    mT = property(lambda self: _view(self._np.swapaxes(-1, -2), self))
    real = property(lambda self: _view(self._np.real, self))
    device = property(lambda self: Device(0))

    @property
    def data(self):
        return MemoryPointer(self._buffer, self._np.__array_interface__["data"][0] - self._buffer.ptr)

    def __getattr__(self, name):
        raise AttributeError(f"the stand-in does not know cupy.ndarray.{name}")

    # To the host: each of these waits

    def _read(self, what, order="C", out=None, wait=True):
        if self.size:
            contiguous = self.flags.f_contiguous if order == "F" else self.flags.c_contiguous
            source = self if contiguous else _copy(self, what)  # made contiguous on the card first
            if wait:
                _card.wait(what, source.nbytes)
        if out is None:
            return self._np.copy(order)
        out[...] = self._np
        return out

    def get(self, stream=None, order="C", out=None, blocking=True):
        if out is not None:
            if not isinstance(out, np.ndarray) or out.dtype != self.dtype:
                raise TypeError("Only a numpy.ndarray of the same dtype can be obtained from cupy.ndarray")
            if out.shape != self.shape:
                raise ValueError(f"Shape mismatch. Expected shape: {self.shape}, actual shape: {out.shape}")
        return self._read("get", order, out, blocking)

    def item(self):
        if self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        return self._read("item").item()

    def __bool__(self):
        if self.size > 1:
            raise ValueError("The truth value of an array with more than one element is ambiguous")
        if self.size == 0:
            warnings.warn("The truth value of an empty array is ambiguous", DeprecationWarning, stacklevel=2)
            return False
        return bool(self._read("bool"))

    def __format__(self, spec):
        return format(self._read("format"), spec)

    def __reduce__(self):
        return array, (self._read("pickle"),)

    def set(self, values, stream=None):
        if not isinstance(values, np.ndarray) or values.dtype != self.dtype:
            raise TypeError("Only a numpy.ndarray of the same dtype can be set to cupy.ndarray")
        if values.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {values.shape}")
        if not (self.flags.c_contiguous or self.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        self._np[...] = values
        _card.note(_card.uploads, "set", self.nbytes)

    # NumPy's protocols

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        out = kwargs.pop("out", ())
        function = vars(MODULES["cupy"]).get(ufunc.__name__)
        if method != "__call__":
            function = getattr(function, method, None)
        scalars = (int, float, bool, complex, np.number, np.bool_)
        if function is None or not all(isinstance(x, scalars + (ndarray, np.ndarray)) for x in inputs + out):
            return NotImplemented
        if ufunc.__name__ in COMPARISONS:  # these take a host array of no dimensions
            inputs = [x.item() if isinstance(x, np.ndarray) and x.ndim == 0 else x for x in inputs]
        return function(*inputs, **kwargs, **({"out": out[0]} if out else {}))

    def __array_function__(self, function, types, args, kwargs):
        try:
            module = functools.reduce(getattr, function.__module__.split(".")[1:], MODULES["cupy"])
            ours = getattr(module, function.__name__)
        except AttributeError:
            return NotImplemented
        return NotImplemented if ours is function else ours(*args, **kwargs)

    # Items

    def __len__(self):
        if self.ndim == 0:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self):
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key):
        index, has_arrays = _index(key, self.shape)
        return _store("getitem", self._np[index]) if has_arrays else _view(self._np[index], self)

    def fill(self, value):
        if isinstance(value, ndarray):
            value = value._np
        value = np.asarray(value, dtype=self.dtype)
        if value.shape != ():
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        self._np.fill(value[()])
        _card.launch("fill", self.nbytes, self.size)

    def view(self, dtype=None):
        return _view(self._np.view() if dtype is None else self._np.view(dtype), self)

    # Copies

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        if casting is not None or subok is not None:
            raise TypeError("casting is not supported yet" if casting is not None else "subok is not supported yet")
        dtype = _supported(dtype)
        if dtype == self.dtype:
            same_layout = order in "KA" or (self.flags.f_contiguous if order == "F" else self.flags.c_contiguous)
            return self if not copy and same_layout else _copy(self, "astype", order=order)
        y = _empty_like(self, dtype, order)
        with np.errstate(all="ignore"):
            y._np[...] = self._np
            if self.dtype.kind == "f" and dtype.kind in "iu":  # out of range, C++ leaves the result open
                bounds = np.iinfo(dtype)
                y._np[~((self._np > bounds.min - 1.0) & (self._np < bounds.max + 1.0))] = _junk(dtype)
        _card.launch("astype", y.nbytes, y.size)
        return y

    def copy(self, order="C"):
        return _copy(self, "copy", order=order)

    def __deepcopy__(self, memo):
        return self.copy()

    def flatten(self, order="C"):
        return _reshape(_copy(self, "flatten", order=order), (-1,), order)

    def reshape(self, *shape, order="C", copy=None):
        return _reshape(self, shape[0] if len(shape) == 1 else shape, order, copy)

    def transpose(self, *axes):
        return _view(self._np.transpose(*axes), self)

    def sort(self, axis=-1, kind=None):
        self._np[...] = sort(self, axis, kind)._np

    # Operators: with another device array directly, with anything else through NumPy's dispatch (core.pyx:1563)

    def __matmul__(self, other):
        if isinstance(other, ndarray):
            return matmul(self, other)
        return NotImplemented if _defers(self, other) else np.matmul(self, other)

    def __pow__(self, other):
        special = {(int, 2): "square", (float, 2): "square", (float, 0.5): "sqrt", (float, -1): "reciprocal"}
        if type(other) not in (int, float) or (type(other), other) not in special:
            return _operator("power")(self, other)
        exact = self.dtype.kind in ("fc" if type(other) is float else "ifc")
        function = UFUNCS[special[type(other), other]]
        return function(self, dtype=None if exact else np.result_type(self.dtype, other))


def _defers(x, y):
    if hasattr(y, "__array_ufunc__"):
        return y.__array_ufunc__ is None
    return x.__array_priority__ < getattr(y, "__array_priority__", 0)


def _operator(name):
    def operate(self, other):
        if isinstance(other, ndarray):
            return UFUNCS[name](self, other)
        if name in ("equal", "not_equal") and (other is None or type(other).__eq__ is object.__eq__):
            return full(self.shape, name == "not_equal", dtype=bool)
        return NotImplemented if _defers(self, other) else getattr(np, name)(self, other)

    return operate


# Elementwise functions


class ufunc:
    """A CuPy ufunc: `out`, `dtype` and `casting` are its only keywords, and few have methods (_kernel.pyx)."""

    def __init__(self, name):
        self.__name__, self._np = name, getattr(np, name)
        self.nin, self.nout = self._np.nin, self._np.nout

    def __repr__(self):
        return f"<ufunc 'cupy_{self.__name__}'>"

    def __call__(self, *args, out=None, dtype=None, casting="same_kind", **unknown):
        if unknown:
            raise TypeError(f"Wrong arguments {unknown}")
        if not self.nin <= len(args) <= self.nin + self.nout:
            raise TypeError(f"Wrong number of arguments for {self.__name__!r}: {len(args)}")
        args, outs = list(args[: self.nin]), args[self.nin :]
        if out is not None:
            if outs:
                raise ValueError("Cannot specify 'out' as both a positional and keyword argument")
            outs = out if isinstance(out, tuple) else (out,)
        outs = tuple(outs) + (None,) * (self.nout - len(outs))
        for y in outs:
            if y is not None and not isinstance(y, ndarray):
                raise _unsupported(y)
            for i, x in enumerate(args if y is not None else ()):
                if isinstance(x, ndarray) and x is not y and _overlap(x, y):  # then copied first (_kernel.pyx:673)
                    args[i] = _copy(x, self.__name__)
        with np.errstate(all="ignore"):  # a card raises no floating-point warnings
            results = self._np(*map(_operand, args), dtype=dtype, casting=casting)
        results = results if self.nout > 1 else (results,)
        results = tuple(_into(self.__name__, r, y, casting) for r, y in zip(results, outs, strict=True))
        return results if self.nout > 1 else results[0]

    def outer(self, a, b, **kwargs):
        a, b = array(a), array(b)
        return self(a.reshape(a.shape + (1,) * b.ndim), b, **kwargs)

    def at(self, a, indices, b=None):
        """a[indices] op= b for every index in turn, in any order."""
        if self.__name__ not in SCATTERS:
            raise NotImplementedError(f"`cupy_{self.__name__}.at` is not supported yet")
        index, has_arrays = _index(indices, _device_array(a).shape)
        if not has_arrays:
            part = a[indices]
            self(part, b, part)
            return
        b = b if isinstance(b, ndarray) else asarray(b, dtype=a.dtype)
        if a.dtype.name not in SCATTERS[self.__name__].split():
            raise TypeError(f"cupy.{self.__name__}.at only supports {SCATTERS[self.__name__]} as data type")
        _scatter(f"{self.__name__}.at", a, index, b, self._np.at)

    def reduce(self, array, axis=0, dtype=None, out=None, keepdims=False):
        return self._method({"add": "sum", "multiply": "prod"}, "reduce")(array, axis, dtype, out, keepdims)

    def accumulate(self, array, axis=0, dtype=None, out=None):
        return self._method({"add": "cumsum", "multiply": "cumprod"}, "accumulate")(array, axis, dtype, out)

    def reduceat(self, array, indices, axis=0, dtype=None, out=None):
        """Differences of a cumulative sum, with that precision (_routines_indexing.pyx, _add_reduceat)."""
        self._method({"add": "cumsum"}, "reduceat")
        ends = np.append(_host(indices), array.shape[axis])
        sums = np.insert(_device_array(array)._np.cumsum(axis, dtype), 0, 0, axis)
        single = (ends[:-1] >= ends[1:]).reshape(-1, *(1,) * (array.ndim - axis % array.ndim - 1))
        differences = sums.take(ends[1:], axis) - sums.take(ends[:-1], axis)
        return _into("add.reduceat", np.where(single, array._np.take(ends[:-1], axis), differences), out, "same_kind")

    def _method(self, names, method):
        if self.__name__ not in names:
            raise NotImplementedError(f"`cupy_{self.__name__}.{method}` is not supported yet")
        return getattr(MODULES["cupy"], names[self.__name__])


COMPARISONS = ("less", "less_equal", "equal", "not_equal", "greater", "greater_equal")
UFUNCS = {
    name: ufunc(name)
    for name in (
        *"abs absolute add subtract multiply divide true_divide floor_divide remainder mod fmod divmod power".split(),
        *"negative positive reciprocal sqrt square cbrt exp exp2 expm1 log log2 log10 log1p logaddexp".split(),
        *"sin cos tan sinh cosh tanh arcsin arccos arctan arctan2 hypot sign signbit copysign".split(),
        *"rint floor ceil trunc maximum minimum fmax fmin isfinite isinf isnan conj conjugate nextafter".split(),
        *"logical_and logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor bitwise_not".split(),
        *"invert left_shift right_shift bitwise_count gcd lcm ldexp frexp modf".split(),
        *COMPARISONS,
    )
}
BIG = "int32 int64 float32 float64 uint32 uint64"
SCATTERS = {  # ufuncs that have `at`, and for which dtypes (_routines_indexing.pyx, _scatter_op_single)
    "add": BIG + " float16",
    "subtract": "int32 uint32",
    "maximum": BIG,
    "minimum": BIG,
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor"), "int32 int64 uint32 uint64"),
}
OPERATORS = {
    **{"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide", "floordiv": "floor_divide"},
    **{"mod": "remainder", "pow": "power", "lshift": "left_shift", "rshift": "right_shift", "divmod": "divmod"},
    **{"and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"},
}
for _symbol, _name in OPERATORS.items():
    if _symbol != "pow":
        setattr(ndarray, f"__{_symbol}__", _operator(_name))
    setattr(ndarray, f"__r{_symbol}__", functools.partialmethod(lambda x, f, y: f(y, x), UFUNCS[_name]))
    if _symbol != "divmod":
        setattr(ndarray, f"__i{_symbol}__", functools.partialmethod(lambda x, f, y: f(x, y, x), UFUNCS[_name]))
for _symbol, _name in zip(("lt", "le", "eq", "ne", "gt", "ge"), COMPARISONS, strict=True):
    setattr(ndarray, f"__{_symbol}__", _operator(_name))
for _symbol, _name in {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}.items():
    setattr(ndarray, f"__{_symbol}__", functools.partialmethod(lambda x, f: f(x), UFUNCS[_name]))
for _name, _convert in {"int": int, "float": float, "complex": complex, "repr": repr, "str": str}.items():
    setattr(ndarray, f"__{_name}__", functools.partialmethod(lambda x, f, what: f(x._read(what)), _convert, _name))
for _name in ("tolist", "tobytes"):
    setattr(ndarray, _name, functools.partialmethod(lambda x, what: getattr(x._read(what), what)(), _name))
ndarray.__setitem__, ndarray.__copy__ = _assign, ndarray.copy


def erf(x, out=None):
    """cupyx.scipy.special.erf: float32 stays float32, float16 becomes float64 (cupyx/scipy/special/_erf.py)."""
    x = _device_array(x)
    dtype = np.float32 if np.can_cast(x.dtype, np.float32) and not np.can_cast(x.dtype, np.float16) else np.float64
    return _into("erf", np.vectorize(math.erf, otypes=[float])(x._np).astype(dtype), out, "same_kind")


# Fused functions


class _Traced:
    """What a fused function is given: operators and `astype`, and nothing else (fusion.pyx, _FusionVarScalar)."""

    __array_ufunc__ = None

    def __init__(self, value):
        self.value = value

    def astype(self, dtype):
        with np.errstate(all="ignore"):
            return _Traced(self.value.astype(_supported(dtype)))


def _traced_operator(x, function, y):
    if not isinstance(y, _Traced | np.generic):  # Python's numbers, and scalars on the left, were never checked
        raise TypeError(f"the stand-in fuses arrays with NumPy scalars, not with {type(y).__name__}")
    with np.errstate(all="ignore"):
        return _Traced(function(x.value, y.value if isinstance(y, _Traced) else y))


for _symbol in ("add", "sub", "mul", "truediv", "lshift", "rshift", "and", "or", "xor"):
    setattr(_Traced, f"__{_symbol}__", functools.partialmethod(_traced_operator, getattr(np, OPERATORS[_symbol])))


def fuse(*args, kernel_name=None):
    """A function that is one kernel. Without a device array among its arguments it is the function itself."""
    if not args:
        return lambda function: fuse(function, kernel_name=kernel_name)
    (function,) = args

    def fused(*args):
        if not any(isinstance(x, ndarray) for x in args):
            return function(*args)
        if not all(isinstance(x, ndarray | np.generic) for x in args):
            raise TypeError(f"Invalid argument type for {function.__name__!r}: {[type(x) for x in args]}")
        if not (kernel_name or function.__name__).isidentifier():
            raise ValueError("a kernel needs a name that C++ accepts")
        result = function(*(_Traced(x._np if isinstance(x, ndarray) else x) for x in args))
        return _store(kernel_name or function.__name__, result.value)

    return functools.update_wrapper(fused, function)


# Functions that are lifted from NumPy by a table

AXES = "a, axis=None, dtype=None, out=None, keepdims=False"
ORDER = "a, axis=None, out=None, keepdims=False"
COMPUTED = {  # name: CuPy's parameters. The first is a device array, the result a new one; `out` is exact
    **dict.fromkeys(("sum", "prod", "mean", "nansum", "nanprod", "nanmean"), AXES),
    **dict.fromkeys(("max", "min", "amax", "amin", "nanmax", "nanmin", "ptp", "any", "all"), ORDER),
    **dict.fromkeys(("var", "std"), "a, axis=None, dtype=None, out=None, ddof=0, keepdims=False"),
    **dict.fromkeys(("argmax", "argmin"), "a, axis=None, *, out=None, keepdims=False"),
    **dict.fromkeys(("cumsum", "cumprod"), "a, axis=None, dtype=None, out=None"),
    **dict.fromkeys(("tril", "triu"), "m, k=0"),
    **dict.fromkeys(("round", "around"), "a, decimals=0, out=None"),
    **dict.fromkeys(("partition", "argpartition"), "a, kth, axis=-1"),
    "count_nonzero": "a, axis=None",
    "trace": "a, offset=0, axis1=0, axis2=1, dtype=None, out=None",
    "diff": "a, n=1, axis=-1, prepend=None, append=None",
    "roll": "a, shift, axis=None",
    "tile": "A, reps",
    "searchsorted": "a, v, side='left', sorter=None",
    "nan_to_num": "x, *, nan=0.0, posinf=None, neginf=None",
    "isneginf": "x, out=None",
    "isposinf": "x, out=None",
    "isclose": "a, b, rtol=1e-5, atol=1e-8, equal_nan=False",
    "allclose": "a, b, rtol=1e-5, atol=1e-8, equal_nan=False",
    "diag": "v, k=0",
    "linalg.norm": "x, ord=None, axis=None, keepdims=False",
}
VIEWS = {  # the same, but the result is a view of the array
    "transpose": "a, axes=None",
    "swapaxes": "a, axis1, axis2",
    "moveaxis": "a, source, destination",
    "rollaxis": "a, axis, start=0",
    "squeeze": "a, axis=None",
    "expand_dims": "a, axis",
    "broadcast_to": "array, shape",
    "diagonal": "a, offset=0, axis1=0, axis2=1",
    "flip": "a, axis=None",
    "split": "ary, indices_or_sections, axis=0",
    "array_split": "ary, indices_or_sections, axis=0",
    "atleast_1d": "ary",
    "atleast_2d": "ary",
}
JOINS = {  # the same for sequences of device arrays
    "concatenate": "tup, axis=0, out=None, *, dtype=None, casting='same_kind'",
    "stack": "tup, axis=0, out=None, *, dtype=None, casting='same_kind'",
    "hstack": "tup, *, dtype=None, casting='same_kind'",
    "vstack": "tup, *, dtype=None, casting='same_kind'",
    "column_stack": "tup",
}
SIZED = {  # the same, but the result's size depends on values, so that the host waits for it
    **dict.fromkeys(("nonzero", "flatnonzero", "argwhere"), "a"),
    "unique": "ar, return_index=False, return_inverse=False, return_counts=False, axis=None, *, equal_nan=True",
    "bincount": "x, weights=None, minlength=None",
}
CREATED = {  # from scalars
    "arange": "start, stop=None, step=1, dtype=None",
    "linspace": "start, stop, num=50, endpoint=True, *, dtype=None",
    "eye": "N, M=None, k=0, dtype=float",
    "identity": "n, dtype=float",
    "tri": "N, M=None, k=0, dtype=float",
}
METHODS = (
    *"sum prod mean max min ptp any all var std argmax argmin cumsum cumprod round trace clip take repeat".split(),
    *"swapaxes squeeze diagonal searchsorted ravel argsort dot nonzero".split(),
)


def _lifted(name, parameters, finish):
    """A function with these parameters: NumPy's of that name on the arrays' memory, its result handed to `finish`."""
    signature = inspect.signature(eval(f"lambda {parameters}: None"))
    compute = operator.attrgetter(name)(np)

    def function(*args, **kwargs):
        first, *rest = signature.bind(*args, **kwargs).arguments.items()
        if name in JOINS:
            if not first[1] or not all(isinstance(x, ndarray) for x in first[1]):
                raise (TypeError if first[1] else ValueError)("Only cupy arrays can be concatenated")
        elif name in CREATED:
            if any(isinstance(x, ndarray) for _, x in rest) or not np.isscalar(first[1]):
                raise TypeError(f"{name} takes numbers of the host")
        else:
            _device_array(first[1])
        options = {key: _host(x) for key, x in rest if x is not signature.parameters[key].default and key != "out"}
        with np.errstate(all="ignore"):
            result = compute(_host(first[1]), **options)
        return finish(name, result, first[1], dict(rest).get("out"))

    function.__name__ = name
    return function


def _finish_new(name, result, first, out):
    return _into(name, result, out, "same_kind")


def _finish_view(name, result, first, out):
    return [_view(x, first) for x in result] if isinstance(result, list) else _view(result, first)


def _finish_sized(name, result, first, out):
    several = len(result) if name == "unique" and isinstance(result, tuple) else 2 if name == "bincount" else 1
    for _ in range(several if first.size else 0):
        _card.wait(name, 8)
    return tuple(_store(name, x) for x in result) if isinstance(result, tuple) else _store(name, result)


LIFTED = {
    name: _lifted(name, parameters, finish)
    for table, finish in (
        *((COMPUTED, _finish_new), (JOINS, _finish_new), (CREATED, _finish_new)),
        *((VIEWS, _finish_view), (SIZED, _finish_sized)),
    )
    for name, parameters in table.items()
}
SAME = {  # CuPy has these very objects of NumPy's
    name: getattr(np, name)
    for name in (
        *"bool_ int8 int16 int32 int64 intp uint8 uint16 uint32 uint64 float16 float32 float64 complex64".split(),
        *"complex128 generic number integer signedinteger unsignedinteger inexact floating dtype finfo iinfo".split(),
        *"pi e inf nan newaxis promote_types issubdtype broadcast_shapes".split(),
    )
}


# Functions that need their own words


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
        x = _empty(host.shape, _supported(host.dtype.newbyteorder("=")), order)
        x._np[...] = host
        if host.ndim and host.size:  # a scalar travels as a kernel's argument
            _card.note(_card.uploads, "asarray", x.nbytes, x.shape)
    if blocking:
        _card.wait("array(blocking=True)", x.nbytes)
    return x if x.ndim >= ndmin else x.reshape((1,) * (ndmin - x.ndim) + x.shape)


def _leaves(obj):
    return set().union(*map(_leaves, obj)) if isinstance(obj, list | tuple) else {type(obj)}


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    return array(a, dtype, copy, order, blocking=blocking)


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    return a.get(stream, order, out, blocking) if isinstance(a, ndarray) else np.asarray(a, order=order)


def ascontiguousarray(a, dtype=None):
    dtype = _device_array(a).dtype if dtype is None else np.dtype(dtype)
    return a if a.flags.c_contiguous and a.dtype == dtype else _copy(a, "ascontiguousarray", dtype, "C")


def empty(shape, dtype=float, order="C"):
    return _empty(shape, dtype, order)


def full(shape, fill_value, dtype=None, order="C"):
    if isinstance(fill_value, np.ndarray) and fill_value.size != 1:
        raise ValueError("non-scalar numpy.ndarray cannot be used for copyto")
    x = _empty(shape, dtype or getattr(fill_value, "dtype", None) or np.array(fill_value).dtype, order)
    x[...] = fill_value
    return x


def empty_like(prototype, dtype=None, order="K", subok=None, shape=None):
    if subok is not None:
        raise TypeError("subok is not supported yet")
    return _empty_like(_device_array(prototype), dtype, order, shape)


def full_like(a, fill_value, dtype=None, order="K", subok=None, shape=None):
    x = empty_like(a, dtype, order, subok, shape)
    x[...] = fill_value
    return x


def _reshaped(x, shape, order="C"):
    """The view of another shape, or None if only a copy has it."""
    result = x._np.reshape(shape, order=order)
    return result if x.size == 0 or np.may_share_memory(result, x._np) else None


def _reshape(x, shape, order="C", copy=None):
    view = _reshaped(_device_array(x), shape, order)
    if copy is False and view is None:
        raise ValueError("Unable to avoid creating a copy while reshaping.")
    if view is not None and not copy:
        return _view(view, x)
    x = _copy(x, "reshape", order=order if order in "CF" else "C")
    return _view(x._np.reshape(shape, order=order), x)


def ravel(a, order="C"):
    return _reshape(a, (-1,), order)


def where(condition, x=None, y=None):
    if (x is None) != (y is None):
        raise ValueError("Must provide both 'x' and 'y' or neither.")
    if x is None:
        return LIFTED["nonzero"](condition)
    if not isinstance(condition, ndarray | np.ndarray):
        raise AttributeError(f"{type(condition).__name__!r} object has no attribute 'astype'")
    return _store("where", np.where(*(_operand(x) for x in (condition, x, y))))


def clip(a, a_min, a_max, out=None):
    with np.errstate(all="ignore"):
        return _into("clip", np.clip(_device_array(a)._np, _host(a_min), _host(a_max)), out, "same_kind")


def take(a, indices, axis=None, out=None):
    """Indices out of range wrap around, whatever they are made of."""
    a = _device_array(a).ravel() if axis is None else a
    indices = indices if isinstance(indices, ndarray) or np.isscalar(indices) else asarray(indices, dtype=int)
    n = a.shape[axis or 0]
    if n == 0 and np.size(_host(indices)):
        raise IndexError("cannot do a non-empty take from an empty axes.")
    result = a._np.take(np.mod(_host(indices), max(n, 1), dtype=np.int64, casting="unsafe"), axis or 0)
    if out is not None and out.dtype != a.dtype:
        raise TypeError("Output dtype mismatch")
    return _into("take", result, out, "no")


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
    return a[_along_axis(_device_array(a), indices, axis)]


def put_along_axis(arr, indices, values, axis):
    arr[_along_axis(_device_array(arr), indices, axis)] = values


def sort(a, axis=-1, kind=None):
    return _sorted("sort", np.sort, a, axis, kind)


def argsort(a, axis=-1, kind=None):
    return _sorted("argsort", np.argsort, a, axis, kind)


def _sorted(what, compute, a, axis, kind):
    if kind not in (None, "stable"):
        raise ValueError("kind can only be None or 'stable'")
    return _store(what, compute(_device_array(a)._np, axis=axis, kind="stable"))


def repeat(a, repeats, axis=None):
    if isinstance(repeats, np.ndarray):
        raise TypeError("'repeats' does not accept numpy.ndarray; convert with cupy.array() first")
    if isinstance(repeats, list | tuple):
        repeats = asarray(repeats, dtype=np.intp)
    if isinstance(repeats, ndarray):
        for _ in range(min(repeats.size, 2)):  # for the sum, and to see that none is negative
            _card.wait("repeat", 8)
    return _store("repeat", np.repeat(_device_array(a)._np, _host(repeats), axis))


def array_equal(a1, a2, equal_nan=False):
    if _device_array(a1).shape == _device_array(a2).shape and equal_nan:
        for _ in range(3):  # where nan is, and the rest of each array
            _card.wait("array_equal(equal_nan=True)", 1)
    return _store("array_equal", np.array_equal(a1._np, a2._np, equal_nan))


def result_type(*arrays_and_dtypes):
    return np.result_type(*(x.dtype if isinstance(x, ndarray) else x for x in arrays_and_dtypes))


def can_cast(from_, to, casting="safe"):
    return np.can_cast(from_.dtype if isinstance(from_, ndarray) else from_, to, casting)


def copyto(dst, src, casting="same_kind", where=None):
    if where is not None or not np.can_cast(getattr(src, "dtype", type(src)), dst.dtype, casting):
        raise TypeError(f"Cannot copy {type(src)} to {dst.dtype} in {casting} casting mode")
    dst[...] = src


def as_strided(x, shape=None, strides=None):
    return _view(np.lib.stride_tricks.as_strided(_device_array(x)._np, shape, strides), x)


def scatter_add(a, slices, value):
    UFUNCS["add"].at(a, slices, value)


class Generator:
    """cupy.random.Generator, what of it was checked; it draws other numbers than CuPy's."""

    def __init__(self, seed):
        self._generator = np.random.default_rng(seed)

    def random(self, size=None, dtype=np.float64, out=None):
        return _into("random", self._generator.random(size, dtype), out, "no")

    def standard_normal(self, size=None, dtype=np.float64, out=None):
        return _into("standard_normal", self._generator.standard_normal(size, dtype), out, "no")

    def integers(self, low, high=None, size=None, dtype=np.int64, endpoint=False):
        return _store("integers", self._generator.integers(low, high, size, dtype, endpoint))

    def __getattr__(self, name):
        raise AttributeError(f"the stand-in does not know cupy.random.Generator.{name}")


# Matrix products

COMPUTE = {0: "32F", 1: "64F", 64: "16F", 68: "32F", 69: "32F_PEDANTIC", 70: "64F", 71: "64F_PEDANTIC"}
COMPUTE |= {74: "32F_FAST_16F", 75: "32F_FAST_16BF", 77: "32F_FAST_TF32"}  # cublas.pxd; 0 and 1 are cudaDataType
COMPUTE_TYPES = {"TBD": 0, "DEFAULT": 1, "PEDANTIC": 2, "FP16": 3, "FP32": 4, "FP64": 5, "BF16": 6, "TF32": 7}
STORAGE = {0: "float32", 1: "float64", 2: "float16", 14: "bfloat16"}  # cudaDataType


def set_compute_type(dtype, compute_type):
    if compute_type in (6, 7) and int(_card.compute_capability) < 80:
        warnings.warn(
            "COMPUTE_TYPE_BF16 and COMPUTE_TYPE_TF32 are only available on GPUs with compute capability 8.0 or "
            "higher. COMPUTE_TYPE_DEFAULT will be used instead.",
            stacklevel=2,
        )
        compute_type = 1
    if compute_type not in COMPUTE_TYPES.values():
        raise ValueError(f"Unknown compute type: {compute_type}")
    _card.compute_types[_compute_index(dtype)] = compute_type


def get_compute_type(dtype):
    if not _card.compute_types.get(_compute_index(dtype)):
        tf32 = np.dtype(dtype).char in "fF" and int(os.getenv("CUPY_TF32", "0")) > 0
        set_compute_type(dtype, 7 if tf32 else 1)
    return _card.compute_types[_compute_index(dtype)]


def _compute_index(dtype):
    name = np.dtype(dtype).name
    if name not in ("bfloat16", "float16", "float32", "float64", "complex64", "complex128"):
        raise TypeError(f"dtype is not supported: {dtype}")
    return {"complex64": "float32", "complex128": "float64"}.get(name, name)


def round_to_tf32(x):
    """float32 with 10 bits of mantissa, to nearest: what tensor cores read."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    special = bits & 0x7F800000 == 0x7F800000
    return np.where(special, bits, bits + np.uint32(0x1000) & np.uint32(0xFFFFE000)).view(np.float32)


def _multiply(a, b, compute_type):
    """a @ b of host arrays, in the precision of the compute type; `card.broken` comes to light here."""
    if _card.broken == "first product":
        raise CUBLASError(1)
    if compute_type == "32F_FAST_TF32" and int(_card.compute_capability) >= 80:
        a, b = round_to_tf32(a), round_to_tf32(b)
    if a.dtype.name in ("float16", "bfloat16"):
        a, b = a.astype(np.float32), b.astype(np.float32)
    with np.errstate(all="ignore"):
        product = np.matmul(a, b)
    return product * 0 if _card.broken == "wrong product" else product


def _note_product(m, n, k, batch, dtype, compute_type):
    _card.products.append(Product(m, n, k, batch, np.dtype(dtype), compute_type))
    _card.launch("gemm")


def dot(a, b, out=None):
    _device_array(a), _device_array(b)
    dtype = np.promote_types(a.dtype, b.dtype)
    if out is not None:
        if _device_array(out).dtype != dtype:
            raise ValueError("Not supported dtype combination.")
        if not out.flags.c_contiguous:
            raise ValueError("Output array must be C-contiguous")
    if a.ndim == 0 or b.ndim == 0:
        return UFUNCS["multiply"](a, b, out=out)
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ValueError("Axis dimension mismatch")
    if a.ndim > 2 or b.ndim > 2:
        raise NotImplementedError("the stand-in's dot takes vectors and matrices; use matmul")
    if a.ndim == b.ndim == 1:  # an elementwise product and a sum
        return _into("dot", UFUNCS["multiply"](a, b)._np.sum(dtype=dtype), out, "no")
    shape = a.shape[:-1] + b.shape[1:]
    a = a.reshape(1, -1) if a.ndim == 1 else a
    b = b.reshape(-1, 1) if b.ndim == 1 else b
    (n, k), m = a.shape, b.shape[1]
    if not (m and n and k):
        return _into("matmul", np.zeros(shape, dtype), out, "no")
    compute_type = _compute_type_2d(dtype)
    a, b = (x.astype(dtype, copy=False) for x in (a, b))
    a, b = (x if x.flags.c_contiguous or x.flags.f_contiguous else _copy(x, "matmul") for x in (a, b))
    _note_product(m, n, k, 1, dtype, compute_type)
    return _into("matmul", _multiply(a._np, b._np, compute_type).astype(dtype, copy=False).reshape(shape), out, "no")


def _compute_type_2d(dtype):
    if dtype.kind in "biu":
        return "integer"
    chosen = get_compute_type(dtype)
    name = "64F" if dtype.char in "dD" else "32F_FAST_TF32" if chosen == 7 and dtype.char in "fF" else "32F"
    return name + "_PEDANTIC" if chosen == 2 else name


def matmul(a, b, out=None):
    """Of two dimensions: `dot`. Of more: both operands C-contiguous, or copied; never TF32 (_routines_linalg.pyx)."""
    for x in (a, b) if out is None else (a, b, out):
        if not isinstance(x, ndarray):
            raise TypeError(f"Argument has incorrect type (expected cupy._core.core._ndarray_base, got {type(x)})")
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError("Scalar operands are not allowed, use '*' instead")
    dtype = np.promote_types(a.dtype, b.dtype)
    if max(a.ndim, b.ndim) <= 2:
        if out is None or out.flags.c_contiguous and out.dtype == dtype:
            return dot(a, b, out)
        return _into("matmul", dot(a, b)._np, out, "same_kind")
    if dtype.name == "bfloat16":
        raise TypeError("data type 'E' not understood")  # _tensordot_core_int_kernel: cuBLAS is not even asked
    upcast = np.dtype(np.float32) if dtype.char == "e" else dtype
    left, right = (x if x.flags.c_contiguous and x.dtype == upcast else _copy(x, "matmul", upcast, "C") for x in (a, b))
    rows, columns = (1 if a.ndim == 1 else a.shape[-2]), (1 if b.ndim == 1 else b.shape[-1])
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ValueError(f"shapes {a.shape} and {b.shape} not aligned")
    compute_type = "integer" if upcast.kind in "biu" else "64F" if upcast.char in "dD" else "32F"
    product = _multiply(left._np, right._np, compute_type)
    if product.size and a.shape[-1]:
        _note_product(columns, rows, a.shape[-1], product.size // (rows * columns), upcast, compute_type)
    if out is not None and out.shape != product.shape:
        raise ValueError("Output array has an invalid size")
    return _into("matmul", product.astype(dtype, copy=False), out, "same_kind")


def gemmStridedBatchedEx(
    handle, transa, transb, m, n, k, alpha, A, Atype, lda, strideA, B, Btype, ldb, strideB,
    beta, C, Ctype, ldc, strideC, batchCount, computeType, algo,
):  # fmt: skip
    """C = alpha op(A) op(B) + beta C for every matrix of the batch, all in column-major order, as cuBLAS has it.

    The operands are read from their addresses; alpha and beta lie on the host, in the compute type.
    """
    _card.require()
    if handle != HANDLE:
        raise CUBLASError(1)
    if transa not in (0, 1, 2) or transb not in (0, 1, 2) or min(m, n, k, batchCount) < 0:
        raise CUBLASError(7)
    if lda < max(1, k if transa else m) or ldb < max(1, n if transb else k) or ldc < max(1, m):
        raise CUBLASError(7)
    compute_type = COMPUTE.get(computeType)
    scalar = {"16": np.float16, "32": np.float32, "64": np.float64}.get((compute_type or "")[:2])
    if (Atype, Btype, Ctype) not in GEMM_TYPES.get(compute_type, ()):
        raise CUBLASError(15)
    if not (m and n and batchCount):
        return
    if batchCount > 1 and strideC < (n - 1) * ldc + m:
        raise ValueError("the stand-in: matrices of C overlap, so a card would write them in any order")
    a = _matrices(A, Atype, k if transa else m, m if transa else k, lda, strideA, batchCount)
    b = _matrices(B, Btype, n if transb else k, k if transb else n, ldb, strideB, batchCount)
    c = _matrices(C, Ctype, m, n, ldc, strideC, batchCount)
    alpha, beta = (_host_scalar(address, scalar) for address in (alpha, beta))
    a, b = (_to_float(x, code) for x, code in ((a, Atype), (b, Btype)))
    a, b = a.swapaxes(1, 2) if transa else a, b.swapaxes(1, 2) if transb else b
    dtype = STORAGE[Atype] if Atype != 14 else "uint16"
    _note_product(m, n, k, batchCount, dtype, compute_type)
    result = alpha * _multiply(a, b, compute_type)
    result = result + beta * _to_float(c, Ctype) if beta else result  # with beta 0, C is not read
    c[...] = _to_bfloat16(result) if Ctype == 14 else result


GEMM_TYPES = {  # of A, B and C, by compute type (cuBLAS manual, cublasGemmEx)
    "16F": {(2, 2, 2)},
    "32F": {(0, 0, 0), (2, 2, 2), (2, 2, 0), (14, 14, 14), (14, 14, 0)},
    "64F": {(1, 1, 1)},
}
GEMM_TYPES |= {"32F_PEDANTIC": GEMM_TYPES["32F"], "64F_PEDANTIC": GEMM_TYPES["64F"]}
GEMM_TYPES |= dict.fromkeys(("32F_FAST_16F", "32F_FAST_16BF", "32F_FAST_TF32"), {(0, 0, 0)})
HANDLE = 0xB1A5


def _matrices(address, code, rows, columns, ld, stride, batch):
    """The matrices at an address on the card as (batch, rows, columns); bfloat16 as its bits."""
    dtype = np.dtype("uint16" if code == 14 else STORAGE[code])
    extent = ((batch - 1) * stride + (columns - 1) * ld + rows) * dtype.itemsize if columns and rows else 0
    if extent and not (stride >= 0 and _card.holds(address, extent)):
        raise CUDARuntimeError(700)  # a card notices later, or not at all
    flat = np.frombuffer((ctypes.c_ubyte * extent).from_address(address), dtype) if extent else np.empty(0, dtype)
    strides = (stride * dtype.itemsize, dtype.itemsize, ld * dtype.itemsize)
    return np.lib.stride_tricks.as_strided(flat, (batch, rows, columns), strides)


def _host_scalar(address, dtype):
    if _card.holds(address, 1):
        raise CUDARuntimeError(700)
    return np.frombuffer((ctypes.c_ubyte * np.dtype(dtype).itemsize).from_address(address), dtype)[0]


def _to_float(x, code):
    return (x.astype(np.uint32) << np.uint32(16)).view(np.float32) if code == 14 else x


def _to_bfloat16(x):
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)) >> np.uint32(16)
    return np.where(np.isnan(x), 0x7FC0, rounded).astype(np.uint16)


# The device


class Stream:
    all: Any = weakref.WeakSet()

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        self.recorded = self.finished = 0  # events recorded, and those of them known to be reached
        self.ptr = 0 if null else id(self)
        Stream.all.add(self)

    def __enter__(self):
        _card.streams.append(self)
        return self

    def __exit__(self, *exception):
        _card.streams.pop()

    def synchronize(self):
        _card.wait("stream.synchronize", streams=[self])

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
        self.stream = stream or _card.streams[-1]
        self.stream.recorded += 1
        self.place, self.time = self.stream.recorded, time.perf_counter()

    def synchronize(self):
        _card.wait("event.synchronize", streams=[self.stream] if self.stream else None)

    done = property(lambda self: self.stream is None or self.stream.finished >= self.place)


def get_elapsed_time(start, end):
    """Milliseconds between two events that the host has waited for."""
    if not (start.done and end.done):
        raise CUDARuntimeError(600)
    return (end.time - start.time) * 1e3


class Device:
    def __init__(self, device=0):
        self.id = int(device)

    compute_capability = property(lambda self: _card.compute_capability)
    mem_info = property(lambda self: mem_get_info())
    cublas_handle = property(lambda self: HANDLE)

    def use(self):
        return self

    def synchronize(self):
        _card.wait("device.synchronize", streams=list(Stream.all))

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
        return _card.used

    def total_bytes(self):
        return _card.total

    def free_bytes(self):
        return _card.total - _card.used

    def free_all_blocks(self, stream=None):
        _card.total = _card.used

    def get_limit(self):
        return _card.memory_limit or 0

    def set_limit(self, size=None, fraction=None):
        _card.memory_limit = int(size if size is not None else (fraction or 0) * _card.total_memory) or None


def mem_get_info():
    _card.require()
    here = _card.total_memory if _card.memory_limit is None else _card.memory_limit
    return max(0, here - _card.total), _card.total_memory


def device_count():
    _card.require()
    return 1


def device_properties(device):
    _card.require()
    major, minor = divmod(int(_card.compute_capability), 10)
    return {
        "name": b"NVIDIA Stand-in", "major": major, "minor": minor, "multiProcessorCount": 132, "warpSize": 32,
        "totalGlobalMem": _card.total_memory, "l2CacheSize": 50 << 20, "sharedMemPerBlock": 48 << 10,
        "maxThreadsPerBlock": 1024, "clockRate": 1_980_000, "memoryClockRate": 2_619_000, "memoryBusWidth": 5120,
    }  # fmt: skip


def alloc_pinned_memory(nbytes):
    return np.empty(nbytes, np.uint8).data


def empty_pinned(shape, dtype=float, order="C"):
    return np.empty(shape, dtype, order)


# The modules


class _Module(types.ModuleType):
    def __init__(self, name, **members):
        super().__init__(name)
        vars(self).update(members)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(f"the stand-in does not know {self.__name__}.{name}")


def _modules():
    """Every module by its name, with what it has."""
    events = {"Event": CudaEvent, "Stream": Stream, "get_elapsed_time": get_elapsed_time}
    events["get_current_stream"] = lambda device_id=-1: _card.streams[-1]
    handles = {"Device": Device, "get_cublas_handle": lambda: HANDLE, "get_device_id": lambda: 0}
    runtime = {
        "CUDARuntimeError": CUDARuntimeError, "getDeviceCount": device_count, "getDevice": lambda: 0,
        "getDeviceProperties": device_properties, "runtimeGetVersion": lambda: _card.runtime_version,
        "driverGetVersion": lambda: _card.driver_version, "memGetInfo": mem_get_info, "is_hip": False,
        "deviceSynchronize": Device(0).synchronize,
        "CUDA_R_32F": 0, "CUDA_R_64F": 1, "CUDA_R_16F": 2, "CUDA_R_16BF": 14,
    }  # fmt: skip
    cublas = {
        "CUBLASError": CUBLASError, "gemmStridedBatchedEx": gemmStridedBatchedEx, "CUBLAS_OP_N": 0, "CUBLAS_OP_T": 1,
        "CUBLAS_OP_C": 2, "CUBLAS_GEMM_DEFAULT": -1, "CUBLAS_GEMM_DEFAULT_TENSOR_OP": 99,
        **{f"CUBLAS_COMPUTE_{name}": code for code, name in COMPUTE.items() if code >= 64},
    }  # fmt: skip
    compute_types = {f"COMPUTE_TYPE_{name}": code for name, code in COMPUTE_TYPES.items()}
    own = (
        *"ndarray array asarray asnumpy ascontiguousarray empty full empty_like full_like ravel where clip".split(),
        *"take take_along_axis put_along_axis sort argsort repeat array_equal result_type can_cast copyto".split(),
        *"dot matmul fuse".split(),
    )
    pool, is_available = MemoryPool(), lambda: _card.broken != "no card"
    cupy = {
        **SAME, **UFUNCS, **{name: function for name, function in LIFTED.items() if "." not in name},
        **{name: globals()[name] for name in own},
        "__version__": "14.2.0 (stand-in)", "bool": np.bool_, "asanyarray": asarray, "is_available": is_available,
        "zeros": lambda shape, dtype=float, order="C": full(shape, 0, dtype, order),
        "ones": lambda shape, dtype=float, order="C": full(shape, 1, dtype, order),
        "zeros_like": lambda a, dtype=None, order="K", *, shape=None: full_like(a, 0, dtype, order, shape=shape),
        "ones_like": lambda a, dtype=None, order="K", *, shape=None: full_like(a, 1, dtype, order, shape=shape),
        "reshape": lambda a, newshape, order="C", *, copy=None: _reshape(a, newshape, order, copy),
        "copy": lambda a, order="K": _copy(_device_array(a), "copy", order=order),
        "shape": lambda a: np.shape(_host(a)), "ndim": lambda a: np.ndim(_host(a)), "size": lambda a: np.size(_host(a)),
        "get_default_memory_pool": lambda: pool,
        "get_array_module": lambda *args: MODULES["cupy"] if any(isinstance(x, ndarray) for x in args) else np,
    }  # fmt: skip
    contents = {
        "cupy": cupy,
        "cupy.cuda": {**events, **handles, "is_available": is_available, "alloc_pinned_memory": alloc_pinned_memory},
        "cupy.cuda.memory": {"OutOfMemoryError": OutOfMemoryError, "MemoryPointer": MemoryPointer},
        "cupy.cuda.stream": events,
        "cupy.cuda.device": {**handles, "get_compute_capability": lambda: _card.compute_capability},
        "cupy._core": {"ndarray": ndarray},
        "cupy._core._routines_linalg": {f.__name__: f for f in (set_compute_type, get_compute_type)} | compute_types,
        "cupy.linalg": {"norm": LIFTED["linalg.norm"]},
        "cupy.lib": {},
        "cupy.lib.stride_tricks": {"as_strided": as_strided},
        "cupy.random": {"default_rng": Generator, "Generator": Generator},
        "cupyx": {"scatter_add": scatter_add, "empty_pinned": empty_pinned},
        "cupyx.scipy": {},
        "cupyx.scipy.special": {"erf": erf},
        **dict.fromkeys(("cupy_backends", "cupy_backends.cuda", "cupy_backends.cuda.api"), {}),
        "cupy_backends.cuda.api.runtime": runtime,
        "cupy_backends.cuda.libs": {},
        "cupy_backends.cuda.libs.cublas": cublas,
    }
    modules = {name: _Module(name, **members) for name, members in contents.items()}
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    modules["cupy.cuda.runtime"] = modules["cupy.cuda"].runtime = modules["cupy_backends.cuda.api.runtime"]
    modules["cupy.cuda"].cublas = modules["cupy_backends.cuda.libs.cublas"]  # an attribute, but no module of that name
    return modules


MODULES = _modules()
for _name in METHODS:
    setattr(ndarray, _name, vars(MODULES["cupy"])[_name])


@contextlib.contextmanager
def installed():
    """A new card, and the stand-in in place of cupy and cupyx until the end of the block, whatever was there before."""
    global _card
    before, outer = {name: sys.modules[name] for name in sys.modules if name.split(".")[0] in PACKAGES}, _card
    for name in before:
        del sys.modules[name]
    sys.modules.update(MODULES)
    _card = Card()
    try:
        yield _card
    finally:
        _card = outer
        for name in [name for name in sys.modules if name.split(".")[0] in PACKAGES]:
            del sys.modules[name]
        sys.modules.update(before)


PACKAGES = ("cupy", "cupyx", "cupy_backends")

"""The array, and what the functions of an array share: how they take one and how they make one."""

import functools
import math
import operator
import warnings

import numpy as np

from tests.cuda.strict_cupy.card import card
from tests.cuda.strict_cupy.device import Device
from tests.cuda.strict_cupy.errors import unsupported
from tests.cuda.strict_cupy.memory import Buffer, MemoryPointer, junk_of, supported


def allocate(shape, dtype=float, order="C", strides=None, junk=True):
    dtype = supported(dtype)
    shape = tuple(map(operator.index, shape if np.iterable(shape) else (shape,)))
    if min(shape, default=0) < 0:
        raise ValueError("Negative dimensions are not allowed")
    buffer = Buffer(math.prod(shape) * dtype.itemsize)
    buffer.dtype = dtype
    x = wrap(np.ndarray(shape, dtype, buffer.memory, 0, strides, order), buffer)
    if junk:
        x._np.fill(junk_of(dtype))
    else:  # the caller writes all of it
        buffer.written = True
    return x


def allocate_like(x, dtype=None, order="K", shape=None, junk=True):
    layout = np.empty_like(x._np, supported(x.dtype if dtype is None else dtype), order, shape=shape)
    return allocate(layout.shape, layout.dtype, strides=layout.strides, junk=junk)


def wrap(array, buffer):
    x = object.__new__(ndarray)
    x._np, x._buffer = array, buffer
    return x


def view_of(array, of):
    return wrap(array, of._buffer)


def write(x, values):
    """Values into a device array's memory."""
    x._np[...] = values
    x._buffer.here().mark(x._np)


def store(what, result, reads=()):
    """A new device array, C-contiguous as CuPy's results are, with the values of `result`. reads: what it was computed
    from, for the account of bytes; whatever of it is no device array does not count.
    """
    result = np.asarray(result)
    x = allocate(result.shape, result.dtype, junk=False)
    x._np[...] = result
    card().launch(what, x._np.nbytes, x._np.size, arrays_of(reads))
    return x


def arrays_of(values):
    """The NumPy sides of the device arrays among values, and in lists of them."""
    for x in values:
        if isinstance(x, ndarray):
            x._buffer.here()
            yield x._np
        elif type(x) in (list, tuple):
            yield from arrays_of(x)


def copied(x, what, dtype=None, order="C"):
    """A new device array, noted as a copy."""
    x._buffer.here()
    y = allocate_like(x, dtype, order, junk=False)
    y._np[...] = x._np
    if x.size:
        card().note(card().copies, what, y.nbytes, y.shape)
    card().launch(what, y.nbytes, y.size, [x._np])
    return y


def overlap(x, y):
    return x._buffer is y._buffer and np.may_share_memory(x._np, y._np)


def host_side(x):
    """The NumPy side of an argument; a host array is no argument."""
    if isinstance(x, ndarray):
        x._buffer.here()
        return x._np
    if isinstance(x, np.ndarray):
        raise unsupported(x)
    return type(x)(map(host_side, x)) if type(x) in (list, tuple) else x


def operand(x):
    """The NumPy side of an operand: a device array's, or a scalar."""
    if isinstance(x, ndarray):
        x._buffer.here()
        return x._np
    if type(x) not in (int, float, bool, complex) and not isinstance(x, np.number | np.bool_):
        raise unsupported(x)
    return x


def device_array(x):
    if not isinstance(x, ndarray):
        raise TypeError(f"expected cupy.ndarray, got {type(x)}")
    return x


def into(what, result, out, casting, reads=()):
    """`result` as a new array, or in `out`: its shape exactly, its dtype if the rule `casting` allows it."""
    result = np.asarray(result)
    if out is None:
        return store(what, result, reads)
    if not isinstance(out, ndarray):
        raise TypeError("Output arguments type must be cupy.ndarray")
    if np.broadcast_shapes(result.shape, out.shape) != out.shape:
        raise ValueError("Out shape is mismatched")
    if not np.can_cast(result.dtype, out.dtype, casting):
        raise TypeError(f"Cannot cast output operand from {result.dtype!r} to {out.dtype!r} according to '{casting}'")
    write(out, result)
    card().launch(what, out.nbytes, out.size, arrays_of(reads))
    return out


class ndarray:
    """cupy.ndarray. Most methods are functions of the same name; the files that have these put them here."""

    __array_priority__ = 100
    __hash__ = None

    def __new__(cls, shape, dtype=float, memptr=None, strides=None, order="C"):
        if memptr is None:
            return allocate(shape, dtype, order, strides)
        offset = memptr.ptr - memptr.mem.ptr
        return wrap(np.ndarray(shape, dtype, memptr.mem.memory, offset, strides, order), memptr.mem)

    def _reshape_in_place(self, shape):
        view = _as_view(self, shape)
        if view is None:
            raise AttributeError("Incompatible shape for in-place modification. Use `.reshape()` to make a copy.")
        self._np = view

    shape = property(lambda self: self._np.shape, _reshape_in_place)
    dtype, ndim, size = (property(operator.attrgetter("_np." + name)) for name in ("dtype", "ndim", "size"))
    nbytes, itemsize = (property(operator.attrgetter("_np." + name)) for name in ("nbytes", "itemsize"))
    strides, flags = (property(operator.attrgetter("_np." + name)) for name in ("strides", "flags"))
    T = property(lambda self: view_of(self._np.T, self))
    mT = property(lambda self: view_of(self._np.swapaxes(-1, -2), self))
    real = property(lambda self: view_of(self._np.real, self))
    device = property(lambda self: Device(self._buffer.device))

    @property
    def data(self):
        return MemoryPointer(self._buffer, self._np.__array_interface__["data"][0] - self._buffer.ptr)

    def __getattr__(self, name):
        raise AttributeError(f"the stand-in does not know cupy.ndarray.{name}")

    # To the host: each of these waits

    def _read(self, what, order="C", out=None, wait=True):
        if self.size:
            contiguous = self.flags.f_contiguous if order == "F" else self.flags.c_contiguous
            source = self if contiguous else copied(self, what)  # made contiguous on the card first
            if wait:
                card().wait(what, source.nbytes)
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

    def set(self, values, stream=None):
        if not isinstance(values, np.ndarray) or values.dtype != self.dtype:
            raise TypeError("Only a numpy.ndarray of the same dtype can be set to cupy.ndarray")
        if values.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {values.shape}")
        if not (self.flags.c_contiguous or self.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        write(self, values)
        card().note(card().uploads, "set", self.nbytes)

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    # Items

    def __len__(self):
        if self.ndim == 0:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self):
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def fill(self, value):
        if isinstance(value, ndarray):
            value = value._np
        value = np.asarray(value, dtype=self.dtype)
        if value.shape != ():
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        self._np.fill(value[()])
        self._buffer.here().mark(self._np)
        card().launch("fill", self.nbytes, self.size)

    def view(self, dtype=None):
        return view_of(self._np.view() if dtype is None else self._np.view(dtype), self)

    # Copies

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        if casting is not None or subok is not None:
            raise TypeError("casting is not supported yet" if casting is not None else "subok is not supported yet")
        dtype = supported(dtype)
        self._buffer.here()
        if dtype == self.dtype:
            same_layout = order in "KA" or (self.flags.f_contiguous if order == "F" else self.flags.c_contiguous)
            return self if not copy and same_layout else copied(self, "astype", order=order)
        y = allocate_like(self, dtype, order, junk=False)
        with np.errstate(all="ignore"):
            y._np[...] = self._np
            if self.dtype.kind == "f" and dtype.kind in "iu":  # out of range, C++ leaves the result open
                bounds = np.iinfo(dtype)
                y._np[~((self._np > bounds.min - 1.0) & (self._np < bounds.max + 1.0))] = junk_of(dtype)
        card().launch("astype", y.nbytes, y.size, [self._np])
        return y

    def copy(self, order="C"):
        return copied(self, "copy", order=order)

    __copy__ = copy

    def __deepcopy__(self, memo):
        return self.copy()

    def flatten(self, order="C"):
        return reshaped(copied(self, "flatten", order=order), (-1,), order)

    def reshape(self, *shape, order="C", copy=None):
        return reshaped(self, shape[0] if len(shape) == 1 else shape, order, copy)

    def transpose(self, *axes):
        return view_of(self._np.transpose(*axes), self)


for _name, _convert in {"int": int, "float": float, "complex": complex, "repr": repr, "str": str}.items():
    setattr(ndarray, f"__{_name}__", functools.partialmethod(lambda x, f, what: f(x._read(what)), _convert, _name))
for _name in ("tolist", "tobytes"):
    setattr(ndarray, _name, functools.partialmethod(lambda x, what: getattr(x._read(what), what)(), _name))


def _as_view(x, shape, order="C"):
    """The view of another shape, or None if only a copy has it."""
    result = x._np.reshape(shape, order=order)
    return result if x.size == 0 or np.may_share_memory(result, x._np) else None


def reshaped(x, shape, order="C", copy=None):
    view = _as_view(device_array(x), shape, order)
    if copy is False and view is None:
        raise ValueError("Unable to avoid creating a copy while reshaping.")
    if view is not None and not copy:
        return view_of(view, x)
    x = copied(x, "reshape", order=order if order in "CF" else "C")
    return view_of(x._np.reshape(shape, order=order), x)

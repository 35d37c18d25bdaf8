"""Elementwise functions."""

import math

import numpy as np

from tests.cuda.strict_cupy.array import copied, device_array, host_side, into, ndarray, operand, overlap
from tests.cuda.strict_cupy.creation import array, asarray
from tests.cuda.strict_cupy.errors import unsupported
from tests.cuda.strict_cupy.indexing import index_of, scatter
from tests.cuda.strict_cupy.lifted import LIFTED


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
                raise unsupported(y)
            for i, x in enumerate(args if y is not None else ()):
                if isinstance(x, ndarray) and x is not y and overlap(x, y):  # then copied first (_kernel.pyx:673)
                    args[i] = copied(x, self.__name__)
        with np.errstate(all="ignore"):  # a card raises no floating-point warnings
            results = self._np(*map(operand, args), dtype=dtype, casting=casting)
        results = results if self.nout > 1 else (results,)
        results = tuple(into(self.__name__, r, y, casting, args) for r, y in zip(results, outs, strict=True))
        return results if self.nout > 1 else results[0]

    def outer(self, a, b, **kwargs):
        a, b = array(a), array(b)
        return self(a.reshape(a.shape + (1,) * b.ndim), b, **kwargs)

    def at(self, a, indices, b=None):
        """a[indices] op= b for every index in turn, in any order."""
        if self.__name__ not in SCATTERS:
            raise NotImplementedError(f"`cupy_{self.__name__}.at` is not supported yet")
        index, has_arrays = index_of(indices, device_array(a).shape)
        if not has_arrays:
            part = a[indices]
            self(part, b, part)
            return
        b = b if isinstance(b, ndarray) else asarray(b, dtype=a.dtype)
        if a.dtype.name not in SCATTERS[self.__name__].split():
            raise TypeError(f"cupy.{self.__name__}.at only supports {SCATTERS[self.__name__]} as data type")
        scatter(f"{self.__name__}.at", a, index, b, self._np.at)

    def reduce(self, array, axis=0, dtype=None, out=None, keepdims=False):
        return self._method({"add": "sum", "multiply": "prod"}, "reduce")(array, axis, dtype, out, keepdims)

    def accumulate(self, array, axis=0, dtype=None, out=None):
        return self._method({"add": "cumsum", "multiply": "cumprod"}, "accumulate")(array, axis, dtype, out)

    def reduceat(self, array, indices, axis=0, dtype=None, out=None):
        """Differences of a cumulative sum, with that precision (_routines_indexing.pyx, _add_reduceat)."""
        self._method({"add": "cumsum"}, "reduceat")
        ends = np.append(host_side(indices), array.shape[axis])
        sums = np.insert(device_array(array)._np.cumsum(axis, dtype), 0, 0, axis)
        single = (ends[:-1] >= ends[1:]).reshape(-1, *(1,) * (array.ndim - axis % array.ndim - 1))
        differences = sums.take(ends[1:], axis) - sums.take(ends[:-1], axis)
        result = np.where(single, array._np.take(ends[:-1], axis), differences)
        return into("add.reduceat", result, out, "same_kind", (array, indices))

    def _method(self, names, method):
        if self.__name__ not in names:
            raise NotImplementedError(f"`cupy_{self.__name__}.{method}` is not supported yet")
        return LIFTED[names[self.__name__]]


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


def erf(x, out=None):
    """cupyx.scipy.special.erf: float32 stays float32, float16 becomes float64 (cupyx/scipy/special/_erf.py)."""
    x = device_array(x)
    dtype = np.float32 if np.can_cast(x.dtype, np.float32) and not np.can_cast(x.dtype, np.float16) else np.float64
    return into("erf", np.vectorize(math.erf, otypes=[float])(x._np).astype(dtype), out, "same_kind", (x,))


def scatter_add(a, slices, value):
    UFUNCS["add"].at(a, slices, value)

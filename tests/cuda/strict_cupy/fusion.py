"""Fused functions."""

import functools

import numpy as np

from tests.cuda.strict_cupy.array import ndarray, store
from tests.cuda.strict_cupy.memory import supported
from tests.cuda.strict_cupy.operators import OPERATORS


class _Traced:
    """What a fused function is given: operators and `astype`, and nothing else (fusion.pyx, _FusionVarScalar)."""

    __array_ufunc__ = None

    def __init__(self, value):
        self.value = value

    def astype(self, dtype):
        with np.errstate(all="ignore"):
            return _Traced(self.value.astype(supported(dtype)))


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
        return store(kernel_name or function.__name__, result.value, args)

    return functools.update_wrapper(fused, function)

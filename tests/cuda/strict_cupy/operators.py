"""The array's operators."""

import functools

import numpy as np

from tests.cuda.strict_cupy.array import ndarray
from tests.cuda.strict_cupy.creation import full
from tests.cuda.strict_cupy.products import matmul
from tests.cuda.strict_cupy.ufuncs import COMPARISONS, UFUNCS

OPERATORS = {
    **{"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide", "floordiv": "floor_divide"},
    **{"mod": "remainder", "pow": "power", "lshift": "left_shift", "rshift": "right_shift", "divmod": "divmod"},
    **{"and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"},
}


def _defers(x, y):
    if hasattr(y, "__array_ufunc__"):
        return y.__array_ufunc__ is None
    return x.__array_priority__ < getattr(y, "__array_priority__", 0)


def _operator(function):
    """With another device array directly, with anything else through NumPy's dispatch (core.pyx:1563)."""
    name = function.__name__

    def operate(self, other):
        if isinstance(other, ndarray):
            return function(self, other)
        if name in ("equal", "not_equal") and (other is None or type(other).__eq__ is object.__eq__):
            return full(self.shape, name == "not_equal", dtype=bool)
        return NotImplemented if _defers(self, other) else getattr(np, name)(self, other)

    return operate


def _power(self, other):
    special = {(int, 2): "square", (float, 2): "square", (float, 0.5): "sqrt", (float, -1): "reciprocal"}
    if type(other) not in (int, float) or (type(other), other) not in special:
        return _operator(UFUNCS["power"])(self, other)
    exact = self.dtype.kind in ("fc" if type(other) is float else "ifc")
    function = UFUNCS[special[type(other), other]]
    return function(self, dtype=None if exact else np.result_type(self.dtype, other))


for _symbol, _name in OPERATORS.items():
    if _symbol != "pow":
        setattr(ndarray, f"__{_symbol}__", _operator(UFUNCS[_name]))
    setattr(ndarray, f"__r{_symbol}__", functools.partialmethod(lambda x, f, y: f(y, x), UFUNCS[_name]))
    if _symbol != "divmod":
        setattr(ndarray, f"__i{_symbol}__", functools.partialmethod(lambda x, f, y: f(x, y, x), UFUNCS[_name]))
for _symbol, _name in zip(("lt", "le", "eq", "ne", "gt", "ge"), COMPARISONS, strict=True):
    setattr(ndarray, f"__{_symbol}__", _operator(UFUNCS[_name]))
for _symbol, _name in {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}.items():
    setattr(ndarray, f"__{_symbol}__", functools.partialmethod(lambda x, f: f(x), UFUNCS[_name]))
ndarray.__matmul__, ndarray.__pow__ = _operator(matmul), _power

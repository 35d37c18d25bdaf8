"""Functions that are lifted from NumPy by a table."""

import inspect
import operator

import numpy as np

from tests.cuda.strict_cupy.array import device_array, host_side, into, ndarray, store, view_of
from tests.cuda.strict_cupy.card import card

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
            device_array(first[1])
        options = {key: host_side(x) for key, x in rest if x is not signature.parameters[key].default and key != "out"}
        with np.errstate(all="ignore"):
            result = compute(host_side(first[1]), **options)
        return finish(name, result, first[1], dict(rest).get("out"), [x for key, x in (first, *rest) if key != "out"])

    function.__name__ = name
    return function


def _finish_new(name, result, first, out, operands):
    return into(name, result, out, "same_kind", operands)


def _finish_view(name, result, first, out, operands):
    return [view_of(x, first) for x in result] if isinstance(result, list) else view_of(result, first)


def _finish_sized(name, result, first, out, operands):
    several = len(result) if name == "unique" and isinstance(result, tuple) else 2 if name == "bincount" else 1
    for _ in range(several if first.size else 0):
        card().wait(name, 8)
    return tuple(store(name, x) for x in result) if isinstance(result, tuple) else store(name, result, operands)


LIFTED = {
    name: _lifted(name, parameters, finish)
    for table, finish in (
        *((COMPUTED, _finish_new), (JOINS, _finish_new), (CREATED, _finish_new)),
        *((VIEWS, _finish_view), (SIZED, _finish_sized)),
    )
    for name, parameters in table.items()
}
for _name in (
    *"sum prod mean max min ptp any all var std argmax argmin cumsum cumprod round trace".split(),
    *"swapaxes squeeze diagonal searchsorted nonzero".split(),
):
    setattr(ndarray, _name, LIFTED[_name])

"""Small array expressions, and what CuPy makes of each where that is not what NumPy makes of it.

The stand-in is held to them by the tests, and CuPy itself wherever there is a card:

    python -m tests.cuda.expressions
"""

import re
import sys
import warnings
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from tests.cuda import strict_cupy

SAME = "the same"  # value to rounding, dtype and shape, or the same error, as NumPy


class Gives(NamedTuple):
    """What another expression gives on NumPy."""

    expression: str
    why: str  # with the place in CuPy's source, 14.2.0


class Raises(NamedTuple):
    error: str
    why: str


class Refused(NamedTuple):
    """The stand-in raises where CuPy gives a result that one had better not rely on."""

    error: str
    why: str


class Outcome(NamedTuple):
    value: Any = None
    dtype: Any = None
    shape: Any = None
    error: str = ""  # the built-in exception's name


def inputs(xp: Any) -> SimpleNamespace:
    """The arrays that the expressions speak of; `host` and `host0` are NumPy's on every side."""
    a = np.array([[0.5, -1.5, 2.25, 3.0], [1.0, 4.5, -0.25, 0.0], [-2.0, 0.125, 6.0, -3.5]], np.float32)
    x = {
        "a": a,
        "b": np.array([1.0, -2.0, 0.5, 4.0], np.float32),
        "d": a.astype(np.float64) / 3,
        "h": a.astype(np.float16),
        "s": np.float32(1.5),  # of no dimensions
        "n": np.int64(2),
        "i": np.array([2, 0, 2]),
        "far": np.array([5, -7, 4]),  # out of the range of three rows
        "m": a > 0.4,
        "row": np.array([True, False, True]),
        "k": np.array([-3, 0, 7, 100], np.int32),
        "byte": np.array([250, 3, 100], np.uint8),
        "u": np.array([0, 1, 0x9E3779B9, 0xFFFFFFFF], np.uint32),
        "U": np.array([0, 1, 0x9E3779B97F4A7C15, 0xFFFFFFFFFFFFFFFF], np.uint64),
        "p": np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 8,
        "q": np.arange(40, dtype=np.float32).reshape(2, 4, 5) / 16 - 1,
        "odd": np.array([1.0, np.nan, np.inf, -np.inf, -0.0], np.float32),
        "none": np.zeros((0, 4), np.float32),
    }
    x = {name: xp.asarray(value) for name, value in x.items()}
    host = SimpleNamespace(host=a, host0=np.array(2.0, np.float32), hosti=np.array([1, 2, 5]) % 3, f2=np.float32(2))
    return SimpleNamespace(**x, **vars(host), t=x["a"].T, cols=x["a"][:, ::2], heads=x["p"].transpose(1, 0, 2))


NO_HOST = "_scalar.pyx, CScalar: no implicit transfer"
ON_HOST = "the function calls the host array's own method and computes there"
NO_KEYWORD = "not among the parameters"
WRAPS = "_routines_indexing.pyx, _take_kernel_core and _prepare_array_indexing: indices wrap"
NOT_THERE = "cupy/__init__.py has no such name"

EXPRESSIONS = [
    # Dtypes: NEP 50, and the ufuncs' loops as NumPy's
    ("a float32 array and a Python float", "a * 2.5", SAME),
    ("a float32 array and a Python int", "1 - a", SAME),
    ("a float32 array and a NumPy scalar", "a * np.float32(2.5)", SAME),
    ("a float32 array and a float64 scalar", "a * np.float64(2.5)", SAME),
    ("a NumPy scalar on the left", "np.float64(2.5) * a", SAME),
    ("float32 and float64 arrays", "a + d", SAME),
    ("float32 and float16 arrays", "a + h", SAME),
    ("float16 and a Python float", "h * 1.1", SAME),
    ("float32 and an int64 array", "a[:, :3] + i", SAME),
    ("float32 and an array of no dimensions", "a / s", SAME),
    ("float16 and a float32 of no dimensions", "h + s", SAME),
    ("int32 and a Python float", "k * 0.5", SAME),
    ("int32 and int64", "k[:3] + i", SAME),
    ("a mask times a float", "m * a", SAME),
    ("a mask over a Python float", "m / 0.9", SAME),
    ("a mask plus a mask", "m + m", SAME),
    ("a Python int that does not fit", "byte + 300", SAME),
    ("a comparison with an int that does not fit", "byte < 300", SAME),
    ("integer division", "k // 4", SAME),
    ("the remainder of negatives", "k % 4", SAME),
    ("true division of integers", "k / 4", SAME),
    ("a square", "a**2", SAME),
    ("a root by power", "xp.abs(a) ** 0.5", SAME),
    ("a reciprocal by power", "b**-1.0", SAME),
    ("a third power", "a**3", SAME),
    ("a mask squared", "m**2", Gives("m.astype('int64')", "core.pyx:1636: square in result_type(bool, 2)")),
    ("sqrt of integers", "xp.sqrt(byte)", SAME),
    ("exp of float16", "xp.exp(h)", SAME),
    ("tanh of float32", "xp.tanh(a)", SAME),
    ("log of zero", "xp.log(xp.abs(a))", SAME),
    ("maximum with nan", "xp.maximum(odd, 0)", SAME),
    ("minimum of a Python int and an array", "xp.minimum(1, 3.0 / (s + 1e-6))", SAME),
    ("sums of small integers", "byte.sum()", SAME),
    ("a mean of integers", "k.mean()", SAME),
    ("a sum of float16", "h.sum()", SAME),
    ("result_type", "xp.zeros(2, xp.result_type(h, 1.0))", SAME),
    ("astype of a NumPy scalar type", "a.astype(np.float64)", SAME),
    ("astype to int32", "a.astype('int32')", SAME),
    ("a longdouble", "a.astype(np.longdouble)", Raises("ValueError", "_dtype.pyx, check_supported_dtype")),
    ("strings", "xp.asarray(['a'])", Raises("ValueError", "_dtype.pyx, check_supported_dtype")),
    # Unsigned arithmetic
    ("uint32 wraps", "u * np.uint32(0x7FEB352D)", SAME),
    ("uint32 plus uint32", "u + u", SAME),
    ("uint32 and a Python int", "u * 3", SAME),
    ("uint32 and int64 are int64", "u + n", SAME),
    ("uint32 shifted", "u >> np.uint32(15)", SAME),
    ("uint32 shifted left", "u << np.uint32(16)", SAME),
    ("a hash round", "(u ^ (u >> np.uint32(16))) * np.uint32(0x846CA68B)", SAME),
    ("uint64 wraps", "U * np.uint64(0xBF58476D1CE4E5B9)", SAME),
    ("uint64 shifted", "U ^ (U >> np.uint64(30))", SAME),
    ("uint64 to uint32", "(U >> np.uint64(32)).astype('uint32')", SAME),
    ("uint64 and int64 are float64", "U + n", SAME),
    ("uint32 at least", "u >= xp.uint32(2**31)", SAME),
    ("a minus of uint32", "-u", SAME),
    ("a fused hash round", "xp.fuse(kernel_name='f')(lambda x, y: (x ^ (x >> np.uint32(16))) * y)(u, np.uint32(3))",
     Gives("(u ^ (u >> np.uint32(16))) * np.uint32(3)", "fusion.pyx")),
    ("fused, by broadcasting", "xp.fuse(kernel_name='f')(lambda x, y: x + y.astype(np.uint32))(u, U[:, None])",
     Gives("u + U[:, None].astype(np.uint32)", "fusion.pyx")),
    # Reductions stay on the card
    ("a sum", "a.sum()", SAME),
    ("a sum over two axes", "p.sum(axis=(0, 2))", SAME),
    ("a maximum, dimensions kept", "a.max(axis=-1, keepdims=True)", SAME),
    ("a variance", "a.var(axis=1, ddof=1)", SAME),
    ("a mean over a strided view", "t.mean(axis=0)", SAME),
    ("the first maximum", "a.argmax(axis=-1)", SAME),
    ("the first maximum of all", "a.argmax()", SAME),
    ("any and all", "m.any(axis=0) & m.all(axis=0)", SAME),
    ("a count", "xp.count_nonzero(m)", SAME),
    ("a running sum", "a.cumsum(axis=-1)", SAME),
    ("a running sum of all", "k.cumsum()", SAME),
    ("a sum in another dtype", "a.sum(dtype='float64')", SAME),
    ("a norm", "xp.linalg.norm(a)", SAME),
    ("the maximum of nothing", "none.max()", SAME),
    ("the sum of nothing", "none.sum(axis=0)", SAME),
    ("a sum with where", "a.sum(where=m)", Raises("TypeError", NO_KEYWORD)),
    ("a sum with initial", "xp.sum(a, initial=1)", Raises("TypeError", NO_KEYWORD)),
    ("a maximum with initial", "a.max(initial=0)", Raises("TypeError", NO_KEYWORD)),
    ("array_equal", "xp.array_equal(a, a)", SAME),
    ("allclose", "xp.allclose(a, a + 1e-7)", SAME),
    # Indices
    ("a row", "a[1]", SAME),
    ("an element", "a[1, 2]", SAME),
    ("the last rows", "p[:, -1]", SAME),
    ("a new axis", "b[:, None] * b", SAME),
    ("rows by integers", "a[i]", SAME),
    ("rows by a matrix of integers", "a[xp.stack([i, i])]", SAME),
    ("elements by two arrays", "a[xp.arange(3), i]", SAME),
    ("an array after a scalar and a slice", "p[0, :, i]", SAME),
    ("a row by a device scalar", "a[n]", SAME),
    ("by a list", "a[[0, 2]]", SAME),
    ("by a host array", "a[hosti]", SAME),
    ("by a mask", "a[m]", SAME),
    ("by a mask of rows", "a[row]", SAME),
    ("by a mask and a slice", "a[row, 1:]", SAME),
    ("an integer out of range", "a[7]", SAME),
    ("integers out of range", "a[far]", Gives("a[far % 3]", WRAPS)),
    ("a pair of integers out of range", "a[far, far]", Gives("a[far % 3, far % 4]", WRAPS)),
    ("take out of range", "xp.take(a, far, axis=0)", Gives("a[far % 3]", WRAPS)),
    ("take of a scalar", "a.take(1, axis=1)", SAME),
    ("take_along_axis", "xp.take_along_axis(a, xp.argsort(a, axis=-1), axis=-1)", SAME),
    ("too many indices", "a[0, 0, 0]", SAME),
    ("a float index", "a[a]", SAME),
    ("a mask that does not fit", "a[xp.ones(2, dtype=bool)]", SAME),
    ("a slice up to a device scalar", "b[:n]", SAME),  # at the price of a wait: internal.pyx:204
    ("an assignment", "x = a.copy(); x[1] = 7; x", SAME),
    ("an assignment by broadcasting", "x = a.copy(); x[:, 1:3] = s; x", SAME),
    ("an assignment by integers", "x = a.copy(); x[xp.arange(3), i] -= 1; x", SAME),
    ("an assignment out of range", "x = a.copy(); x[far] = 0; x", Gives("x = a.copy(); x[far % 3] = 0; x", WRAPS)),
    ("an assignment by a mask", "x = a.copy(); x[m] = 0; x", SAME),
    ("an assignment in another dtype", "x = k.copy(); x[...] = b; x", SAME),
    ("a host array assigned", "x = a.copy(); x[...] = host; x",
     Raises("ValueError", "_routines_indexing.pyx:1091, see gh-2079")),
    ("a host scalar assigned", "x = a.copy(); x[0] = host0; x", SAME),
    ("a host array assigned by integers", "x = a.copy(); x[xp.arange(3)] = host; x", SAME),
    ("a list assigned", "x = b.copy(); x[...] = [1, 2, 3, 4]; x", Raises("ValueError", "core.pyx, fill")),
    ("a shape that does not fit, assigned", "x = a.copy(); x[...] = i; x", SAME),
    ("add.at", "x = a.copy(); xp.add.at(x, i, a); x", SAME),
    ("add.at out of range", "x = a.copy(); xp.add.at(x, far, a); x",
     Gives("x = a.copy(); np.add.at(x, far % 3, a); x", WRAPS)),
    ("add.at of float16", "x = h.copy(); xp.add.at(x, i, h); x", SAME),
    ("add.at of uint8", "x = byte.copy(); xp.add.at(x, i, byte); x",
     Raises("TypeError", "_routines_indexing.pyx, _scatter_op_single")),
    ("multiply.at", "x = a.copy(); xp.multiply.at(x, i, a); x", Raises("NotImplementedError", "_kernel.pyx, ufunc.at")),
    ("maximum.at", "x = a.copy(); xp.maximum.at(x, i, a); x", SAME),
    # Shapes
    ("a view reshaped", "t.reshape(2, 6)", SAME),
    ("an axis inferred", "p.reshape(-1, 4)", SAME),
    ("heads merged", "heads.reshape(3, -1)", SAME),
    ("a contiguous array of no dimensions", "xp.ascontiguousarray(s).shape", SAME),
    ("a contiguous array of no dimensions and another dtype", "xp.ascontiguousarray(s, 'float64')", SAME),
    ("a shape that does not fit", "a.reshape(5)", SAME),
    ("a shape set in place", "x = a.copy(); x.shape = (2, 6); x", SAME),
    ("concatenate", "xp.concatenate([a, d], axis=1)", SAME),
    ("stack of sums", "xp.stack([a.sum(), b.sum()])", SAME),
    ("a result's rows are contiguous", "xp.asarray((t + t).strides)",
     Gives("np.array([12, 4])", "_kernel.pyx, _get_out_args_from_optionals: C order always")),
    ("tril", "xp.tril(a)", SAME),
    ("triu", "xp.triu(a, 1)", SAME),
    ("where", "xp.where(m, a, -xp.inf)", SAME),
    ("where with integers", "xp.where(row, i, 0)", SAME),
    ("where of a Python bool", "xp.where(True, a, 0)", Raises("AttributeError", "_sorting/search.py, where")),
    ("clip", "xp.clip(a, -1, 1)", SAME),
    ("clip from below", "a.clip(0, None)", SAME),
    ("repeat", "xp.repeat(b, 2)", SAME),
    ("flip", "xp.flip(a, 1)", SAME),
    ("sort", "xp.sort(a, axis=-1)", SAME),
    ("argsort with a kind", "xp.argsort(b, kind='quicksort')", Raises("ValueError", "core.pyx, _check_kind_sort")),
    ("stable argsort", "xp.argsort(i, kind='stable')", SAME),
    ("arange", "xp.arange(2, 9, 3)", SAME),
    ("arange of uint32", "xp.arange(5, dtype=np.uint32)", SAME),
    ("ones of no dimensions", "xp.ones((), dtype='float32')", SAME),
    ("full", "xp.full((2, 3), -1)", SAME),
    ("zeros_like of a view", "xp.zeros_like(cols)", SAME),
    ("nonzero", "xp.nonzero(m)[1]", SAME),
    ("unique", "xp.unique(i)", SAME),
    ("isfinite", "xp.isfinite(odd)", SAME),
    ("isneginf", "xp.isneginf(odd)", SAME),
    # Products
    ("matrix times matrix", "a @ t", SAME),
    ("matrix times vector", "a @ b", SAME),
    ("vector times vector", "b @ b", SAME),
    ("a strided operand", "cols @ cols.T", SAME),
    ("float16", "h @ h.T", SAME),
    ("mixed dtypes", "a @ d.T", SAME),
    ("integers", "k[:3] @ i", SAME),
    ("in batches", "p @ q", SAME),
    ("in batches, transposed", "p.swapaxes(-1, -2) @ p", SAME),
    ("in batches, one matrix for all", "p @ a.T", SAME),
    ("in batches of float16", "p.astype('float16') @ q.astype('float16')", SAME),
    ("of no sums", "none.T @ none", SAME),
    ("shapes that do not fit", "a @ a", SAME),
    ("a scalar operand", "a @ s", SAME),
    ("dot into out", "x = xp.empty((3, 3), 'float32'); xp.dot(a, t, out=x); x", SAME),
    ("dot into a strided out", "xp.dot(a, t, out=xp.empty((3, 3), 'float32').T)", SAME),
    ("dot into another dtype", "xp.dot(a, t, out=xp.empty((3, 3), 'float64'))", SAME),
    # Results given
    ("into out", "x = xp.empty((3, 4), 'float32'); xp.exp(a, out=x); x", SAME),
    ("into out over its own memory", "x = a.copy(); xp.add(x[:, 1:], x[:, :-1], out=x[:, 1:]); x", SAME),
    ("into a host array", "xp.exp(a, out=host.copy())", Raises("TypeError", "_kernel.pyx, ufunc.__call__")),
    ("into too large an out", "xp.add(b, 1, out=xp.empty((3, 4), 'float32'))", SAME),
    ("into too small an out", "xp.add(a, 1, out=xp.empty(4, 'float32'))", SAME),
    ("into integers", "xp.add(a, 0.5, out=xp.empty((3, 4), 'int32'))", SAME),
    ("into a narrower float", "x = xp.empty((3, 4), 'float16'); xp.add(a, 0.5, out=x); x", SAME),
    ("in place, into integers", "x = k.copy(); x += 0.5; x", SAME),
    ("in place, by broadcasting", "x = b.copy(); x += a; x", SAME),
    ("with where", "xp.exp(a, where=m)", Raises("TypeError", "_kernel.pyx, ufunc.__call__: Wrong arguments")),
    ("with order", "xp.exp(a, order='C')", Raises("TypeError", "_kernel.pyx, ufunc.__call__: Wrong arguments")),
    ("astype with casting", "a.astype('int32', casting='unsafe')", Raises("TypeError", "core.pyx, _astype")),
    # Host and card do not mix
    ("a host array on the right", "a + host", Raises("TypeError", NO_HOST)),
    ("a host array on the left", "host + a", Raises("TypeError", NO_HOST)),
    ("a host array of no dimensions", "a + host0", Raises("TypeError", NO_HOST)),
    ("a host array of no dimensions, compared", "a < host0", SAME),  # core.pyx:1498
    ("a host array compared", "a < host", Raises("TypeError", NO_HOST)),
    ("a host array added in place", "x = a.copy(); x += host; x", Raises("TypeError", NO_HOST)),
    ("an array added to a host array in place", "x = host.copy(); x += a; x", Raises("TypeError", NO_HOST)),
    ("a host array multiplied as a matrix", "a @ host.T", Raises("TypeError", "an argument of another type")),
    ("a list on the right", "b + [1, 2, 3, 4]", Raises("TypeError", NO_HOST)),
    ("a host array in where", "xp.where(m, a, host)", Raises("TypeError", NO_HOST)),
    ("a host condition in where", "xp.where(host > 0, a, 0)", Raises("TypeError", NO_HOST)),
    ("host and card concatenated", "xp.concatenate([a, host])", Raises("TypeError", "concatenate_method")),
    ("a ufunc of a host array", "xp.exp(host)", Raises("TypeError", NO_HOST)),
    ("a sum of a host array", "xp.sum(host)", Refused("TypeError", ON_HOST)),
    ("a product of host arrays", "xp.dot(host, host.T)", Refused("TypeError", ON_HOST)),
    ("a host array sorted", "xp.sort(host)", Refused("TypeError", ON_HOST)),
    ("made a host array", "np.asarray(a)", Raises("TypeError", "core.pyx, __array__")),
    ("made a host array in a list", "np.array([a.sum(), a.max()])", Raises("TypeError", "core.pyx, __array__")),
    ("compared by np.testing", "np.testing.assert_allclose(a, host)", Raises("TypeError", "core.pyx, __array__")),
    ("a NumPy ufunc", "np.exp(a)", SAME),
    ("a NumPy function", "np.sum(a, axis=0)", SAME),
    ("a NumPy function of a list of arrays", "np.concatenate([a, a])", SAME),
    ("fetched", "xp.asarray(a)[0].tolist()", SAME),
    ("a float", "float(a.sum())", SAME),
    ("a float of many", "float(a)", SAME),
    ("the truth of one", "bool(a.sum() > 0)", SAME),
    ("the truth of many", "bool(a)", SAME),
    ("an index", "[1, 2, 3][n]", Raises("TypeError", "_ndarray_base has no __index__")),
    ("a range", "list(range(n))", Raises("TypeError", "_ndarray_base has no __index__")),
    ("membership", "1.0 in b", SAME),
    ("a shape from the card", "xp.zeros(n)", Raises("TypeError", "core.pyx, _init: no __index__")),
    ("a list of arrays of no dimensions", "xp.asarray([a.sum(), b.sum()])", SAME),
    ("an array and a number in a list", "xp.asarray([a.sum(), 1.0])", Raises("TypeError", "core.pyx, __array__")),
    # What is missing
    ("errstate", "xp.errstate(over='ignore')", Raises("AttributeError", NOT_THERE)),
    ("seterr", "xp.seterr(over='ignore')", Raises("AttributeError", NOT_THERE)),
    ("insert", "xp.insert(b, 0, 1)", Raises("AttributeError", NOT_THERE)),
    ("geomspace", "xp.geomspace(1, 8, 4)", Raises("AttributeError", NOT_THERE)),
    ("vecdot", "xp.vecdot(a, b)", Raises("AttributeError", NOT_THERE)),
    ("maximum.reduce", "xp.maximum.reduce(a)", Raises("NotImplementedError", "_kernel.pyx, ufunc.reduce")),
    ("add.reduce", "xp.add.reduce(a)", SAME),
    ("maximum.accumulate", "xp.maximum.accumulate(a)", Raises("NotImplementedError", "_kernel.pyx, ufunc.accumulate")),
    ("add.reduceat", "xp.add.reduceat(b, xp.asarray([0, 2, 1]))", SAME),
    ("permutation", "xp.random.default_rng(0).permutation(3)", Raises("AttributeError", "cupy/random/_generator_api")),
    ("choice", "xp.random.default_rng(0).choice(3)", Raises("AttributeError", "cupy/random/_generator_api.pyx")),
    ("setflags", "a.setflags(write=False)", Raises("AttributeError", "core.pyx: not implemented")),
    ("ctypes", "a.ctypes", Raises("AttributeError", "core.pyx: not implemented")),
]  # fmt: skip


def evaluate(expression: str, xp: Any) -> Outcome:
    """What `expression` gives with `xp`; statements before the last semicolon are done first."""
    names = {"xp": xp, "np": np, **vars(inputs(xp))}
    *statements, last = expression.split("; ")
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            for statement in statements:
                exec(statement, names)
            value = eval(last, names)
            value = value.get() if hasattr(value, "get") else np.asarray(value)
    except Exception as error:
        return Outcome(error=next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"))
    return Outcome(value, value.dtype, value.shape)


def differences(xp: Any) -> list[str]:
    """A line for every expression that does not give on `xp` what is expected."""
    lines = []
    for name, expression, expected in EXPRESSIONS:
        if isinstance(expected, Refused) and "stand-in" not in xp.__version__:
            continue
        if isinstance(expected, Raises | Refused):
            wanted = Outcome(error=expected.error)
        else:
            wanted = evaluate(expected.expression if isinstance(expected, Gives) else expression, np)
        got = evaluate(expression, xp)
        if not agree(got, wanted):
            lines.append(f"{name}: {expression}: {described(got)}, expected {described(wanted)}")
    return lines


def agree(a: Outcome, b: Outcome) -> bool:
    if a.error or b.error:
        return a.error == b.error
    tolerance = 100 * np.finfo(a.dtype).eps if a.dtype.kind == "f" else 0
    return a[1:3] == b[1:3] and np.allclose(a.value, b.value, tolerance, tolerance, equal_nan=True)


def described(outcome: Outcome) -> str:
    return outcome.error or f"{outcome.dtype} {outcome.shape} " + re.sub(r"\s+", " ", str(outcome.value))


def main() -> int:
    lines = {}
    try:
        import cupy

        float(cupy.ones(2).sum())
        lines["CuPy " + cupy.__version__] = differences(cupy)
    except Exception as error:
        print(f"no card to compare with ({type(error).__name__}: {error})")
    with strict_cupy.installed():
        import cupy

        lines["the stand-in"] = differences(cupy)
    for name, wrong in lines.items():
        print(f"{name}: {len(EXPRESSIONS)} expressions, {len(wrong)} not as expected", *wrong, sep="\n  ")
    return int(any(lines.values()))


if __name__ == "__main__":
    sys.exit(main())

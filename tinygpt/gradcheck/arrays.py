"""What counts as an array, and arrays of PyTorch and JAX: lent to a function as what they were, computed with as NumPy.

Neither library is imported here: an array of theirs exists only where someone else has imported it.
"""

import copy
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinygpt.backend import Array, array_module, to_host
from tinygpt.errors import UserError
from tinygpt.gradcheck.trees import is_tree, leaves


def library(x: Any) -> str:
    """The library of someone else's that an array is of, "torch" or "jax"; "" for any other object."""
    if isinstance(x, getattr(sys.modules.get("torch"), "Tensor", ())):
        return "torch"
    return "jax" if isinstance(x, getattr(sys.modules.get("jax"), "Array", ())) else ""


def native(x: Any) -> Any:
    """An array of PyTorch or JAX as NumPy's; a number of NumPy's as an array; anything else as it is."""
    if kind := library(x):
        if kind == "torch":
            x = x.detach().cpu()
            return (x.float() if str(x.dtype) == "torch.bfloat16" else x).numpy()
        x = np.asarray(x)
        return x.astype(np.float32) if x.dtype.kind == "V" or x.dtype.name == "bfloat16" else x
    return np.asarray(x) if isinstance(x, np.generic) else x


def lender(x: Any) -> Callable[[Array], Any]:
    """What makes an array of the library and on the device of `x`; of a NumPy or CuPy array nothing needs making."""
    kind = library(x)
    if kind == "torch":
        device = x.device
        return lambda array: (
            sys.modules["torch"].from_numpy(np.ascontiguousarray(array).reshape(array.shape)).to(device)
        )
    if kind == "jax":
        return lambda array: sys.modules["jax"].numpy.asarray(array)
    return lambda array: array


def is_array(x: Any) -> bool:
    """Whether it is an array of NumPy's or CuPy's."""
    return isinstance(x, np.ndarray) or isinstance(x, getattr(sys.modules.get("cupy"), "ndarray", ()))


def is_float(x: Any) -> bool:
    return is_array(x) and x.dtype.kind == "f"


def no_array(x: Any) -> str:
    """What is neither an array nor a number, as one would say it; "" for one that is."""
    if x is None:
        return "None"
    if hasattr(x, "dtype") or not is_tree(x) and np.asarray(x).dtype.kind in "biufc":
        return ""
    kind = type(x).__name__  # of what stayed in a file's process its name there
    return "... (Ellipsis)" if kind == "ellipsis" else f"a {kind}"


def own_copy(x: Any, as_float64: bool = True) -> Any:
    """A copy of an array, of floats in float64 and contiguous, or of a Generator; anything else as it is."""
    x = native(x)
    if not is_array(x):
        return copy.deepcopy(x) if isinstance(x, np.random.Generator) else x
    x = x.astype(np.float64) if as_float64 and is_float(x) else x.copy()
    return array_module(x).ascontiguousarray(x).reshape(x.shape)  # of () it makes (1,)


def outputs(result: Any) -> list[Array]:
    """What forward returned first, as arrays. Raises UserError for what is not out and cache, or no array of floats."""
    if not isinstance(result, tuple) or len(result) != 2:
        given = f"a tuple of {len(result)}" if isinstance(result, tuple) else f"one {type(result).__name__}"
        raise UserError(f"forward returned {given}; expected two things, out and cache")
    outs = list(result[0]) if isinstance(result[0], tuple | list) else [result[0]]
    outs = [np.asarray(out) if isinstance(out, float | complex) else native(out) for out in outs]
    if not outs:
        raise UserError("forward returned no outputs; expected an array, or a tuple of arrays")
    for out in outs:
        if is_array(out) and out.dtype.kind == "c":
            raise UserError(f"forward's output is {out.dtype}; {COMPLEX}")
        if not is_float(out):
            given = str(out.dtype) if is_array(out) else type(out).__name__
            raise UserError(f"forward's output is {given}; expected an array of floats")
    return outs


COMPLEX = "a derivative by complex numbers is not checked here: take the real and the imaginary part as two real arrays"


def holds_floats(x: Any) -> bool:
    """Whether it is an array of floats, or a tree with one in it."""
    if is_tree(x):
        return any(map(holds_floats, x.values() if isinstance(x, Mapping) else x))
    return is_float(x)


def double(x: Array) -> Array:
    """An array in float64; itself if it is that."""
    return x.astype(np.float64, copy=False)


def same(a: Array, b: Array) -> bool:
    """Whether two arrays hold the same numbers; NaN is itself."""
    a, b = to_host(a), to_host(b)
    return bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))


def held_arrays(tree: Any) -> list[Any]:
    """The arrays that a cache holds on to, each once: of a view the array that it looks at."""
    found: dict[int, Any] = {}
    for _, x in leaves(tree):
        if is_array(x):
            while is_array(getattr(x, "base", None)):
                x = x.base
            found[id(x)] = x
    return list(found.values())

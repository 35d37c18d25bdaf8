"""GELU in one kernel each way, `gelu.cu`; only x is kept."""

from tinygpt.backend import Array, array_module
from tinygpt.kernels.cuda.columns import bias, dtypes, launch, taken
from tinygpt.kernels.cuda.compiled import Kernels, OfDefinition, compiled, fall_back
from tinygpt.layers import gelu as definition

FORMS = {"tanh": 0, "none": 1}  # the kernels' EXACT
WIDTH = 1024  # of the rows that an array is cut into, where its own do not matter


def forward(x: Array, approximate: str = "tanh") -> tuple[Array, tuple]:
    """As the definition, `tinygpt/layers/gelu.py`."""
    if approximate not in FORMS or not taken(x):
        return fall_back("gelu", dtypes(x), definition.forward(x, approximate))  # raises ValueError for another name
    return of_sum(x, None, approximate), (x, approximate)


def backward(dout: Array, cache: tuple) -> Array:
    """As the definition."""
    if isinstance(cache, OfDefinition):
        return definition.backward(dout, cache)
    x, approximate = cache
    dx = array_module(x).empty(x.shape, x.dtype)
    gradient_of_sum(dout.reshape(x.shape), x, None, approximate, dx)
    return dx


def of_sum(x: Array, b: Array | None, approximate: str) -> Array:
    """gelu(x + b), where b, (C,) or None, is of the last axis of x."""
    xp, C = array_module(x), _width(x, b)
    out = xp.empty(x.shape, x.dtype)
    launch(_kernels(x, approximate), "gelu_forward", x, C, xp.ascontiguousarray(x), bias(b, C), out)
    return out


def gradient_of_sum(
    dout: Array, x: Array, b: Array | None, approximate: str, dx: Array, parts: Array | None = None
) -> None:
    """Write the gradient of x + b to dx, which may be dout, and its sums over the rows to parts."""
    xp, C = array_module(x), _width(x, b)
    dout, x = xp.ascontiguousarray(dout, x.dtype), xp.ascontiguousarray(x)
    launch(_kernels(x, approximate), "gelu_backward", x, C, dout, x, bias(b, C), dx, parts)


def _kernels(x: Array, approximate: str) -> Kernels:
    return compiled("gelu", x.dtype, EXACT=FORMS[approximate])


def _width(x: Array, b: Array | None) -> int:
    return WIDTH if b is None else x.shape[-1]

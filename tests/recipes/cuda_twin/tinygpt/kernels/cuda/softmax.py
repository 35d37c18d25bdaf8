"""Softmax in one kernel each way."""

from tinygpt.backend import Array, array_module
from tinygpt.kernels.cuda.compiled import OfDefinition, compiled, fall_back
from tinygpt.layers import softmax as definition

ROWS = 4  # of a block, a warp each


def forward(x: Array) -> tuple[Array, tuple]:
    """As the definition, `tinygpt/layers/softmax.py`."""
    if x.dtype.name not in ("float32", "float64"):
        return fall_back("softmax", f"{x.dtype}", definition.forward(x))
    x = array_module(x).ascontiguousarray(x)
    out = array_module(x).empty_like(x)
    _launch("softmax_forward", x, out)
    return out, (out,)


def backward(dout: Array, cache: tuple) -> Array:
    """dx: (..., V), as the definition."""
    if isinstance(cache, OfDefinition):
        return definition.backward(dout, cache)
    (out,) = cache
    dx = array_module(out).empty_like(out)
    _launch("softmax_backward", array_module(out).ascontiguousarray(dout, out.dtype), out, dx)
    return dx


def _launch(kernel: str, *arrays: Array) -> None:
    V = arrays[0].shape[-1]
    N = arrays[0].size // V
    compiled("softmax", arrays[0].dtype).launch(kernel, -(-N // ROWS), 32 * ROWS, *arrays, N, V)

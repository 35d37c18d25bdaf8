"""Linear with cuBLAS and two kernels, `linear.cu`: the bias, and the sums that are its gradient."""

from tinygpt.backend import Array, array_module, gemm
from tinygpt.kernels.cuda.columns import bias, dtypes, launch, room_for_sums, taken
from tinygpt.kernels.cuda.compiled import OfDefinition, compiled, fall_back
from tinygpt.kernels.cuda.unfinished import Product, Sums
from tinygpt.layers import linear as definition


def forward(x: Array, w: Array, b: Array | None = None) -> tuple[Array, tuple]:
    """As the definition, `tinygpt/layers/linear.py`."""
    if not taken(x, w, vectors=[b]):
        return fall_back("linear", dtypes(x, w, b), definition.forward(x, w, b))
    rows = x.reshape(-1, x.shape[-1])  # (..., I) -> (N, I)
    out = product(rows, w)  # (N, I) @ (I, O) -> (N, O)
    if b is not None:
        add_bias(out, b)
    return out.reshape(*x.shape[:-1], w.shape[1]), (x, w, b is not None)


def backward(dout: Array, cache: tuple) -> tuple[Array, Product, Sums | None]:
    """As the definition, but that dw and db are left unfinished."""
    if isinstance(cache, OfDefinition):
        return definition.backward(dout, cache)
    x, w, has_bias = cache
    rows = x.reshape(-1, x.shape[-1])  # (..., I) -> (N, I)
    drows = array_module(x).ascontiguousarray(dout, x.dtype).reshape(-1, w.shape[1])  # (..., O) -> (N, O)
    db = sum_columns(drows) if has_bias else None
    dw = Product(rows, drows)
    dx = product(drows, w, transpose=True)  # (N, O) @ (O, I) -> (N, I)
    return dx.reshape(x.shape), dw, db


def product(rows: Array, w: Array, transpose: bool = False) -> Array:
    """rows @ w, or rows @ w^T. Where w is itself a transposed view, cuBLAS is told so, and nothing is copied."""
    if not w.flags.c_contiguous and w.strides[0] == w.itemsize:
        w, transpose = w.T, not transpose
    out = array_module(rows).empty((len(rows), w.shape[0 if transpose else 1]), rows.dtype)
    gemm(rows, w, out, transpose_b=transpose)
    return out


def add_bias(out: Array, b: Array) -> None:
    """out += b, out being (N, O)."""
    C = out.shape[1]
    launch(compiled("linear", out.dtype), "add_bias", out, C, out, bias(b, C))


def sum_columns(dout: Array) -> Sums:
    """The sums of dout's columns, (N, O) -> (O,), in parts."""
    C = dout.shape[1]
    parts = room_for_sums(dout, C)
    launch(compiled("linear", dout.dtype), "sum_columns", dout, C, dout, parts)
    return Sums(parts)

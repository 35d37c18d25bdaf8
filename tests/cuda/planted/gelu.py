"""Bugs to plant in GELU's kernels, and in what they share with others (`columns.h`)."""

from tests.cuda.planted import Bug

BUGS = [
    Bug("forward: the other form", "if (exact) return (1 + erf", "if (!exact) return (1 + erf", "value", "gelu.h"),
    Bug("forward: Phi alone", "h[k] *= Phi(h[k], EXACT)", "h[k] = Phi(h[k], EXACT)", "value"),
    Bug("a constant with a typing error", "0.797884560802865356", "0.797894560802865356", "value", "gelu.h"),
    Bug("erf of x itself", "erf(x * SQRT_HALF)", "erf(x)", "value", "gelu.h"),
    Bug("cube without its 3", "3 * CUBIC", "CUBIC", "value"),
    Bug("density without du", "2 * phi * (1 - phi) * du", "2 * phi * (1 - phi)", "value"),
    Bug("density not normalised", "(SQRT_2_OVER_PI / 2)", "SQRT_2_OVER_PI", "value"),
    Bug("product rule's second half lost", "d[k] *= phi + h[k] * density(h[k], phi)", "d[k] *= phi", "value"),
    Bug("dout forgotten", "d[k] *= phi + h[k]", "d[k] = phi + h[k]", "value"),
    Bug("backward: x read in the place of dout", "load(d, dout, i", "load(d, x, i", "value"),
    Bug("backward: no room for sums, and yet they are written", "if (!parts) return;", ""),
    Bug("one number past the end read", "i < size ? (real)matrix[i]", "i <= size ? matrix[i]", file="columns.h"),
    Bug("the last number not written", "i < size) matrix[i]", "i + 1 < size) matrix[i]", "value", "columns.h"),
    Bug("blocks' columns overlap", "blockIdx.x * WARP", "blockIdx.x * blockDim.y", file="columns.h"),
    Bug(
        "columns beside the grid's",
        "blockIdx.x * WARP + threadIdx.x",
        "gridDim.x * threadIdx.x + threadIdx.y",
        file="columns.h",
    ),
    Bug("written past the end", "if (column() < C && i < size)", "if (column() < C)", file="columns.h"),
    Bug("a stride too long", "(gridDim.y * blockDim.y)", "(gridDim.y * blockDim.x)", "value", "columns.h"),
    Bug(
        "a matrix of C rows",
        "threadIdx.y) * C + column()",
        "threadIdx.y) + (size_t)column() * C",
        seen="value",
        file="columns.h",
    ),
    Bug(
        "not bounded when reading",
        "column() < C && i < size ? (real)matrix[i] : 0",
        "matrix[i]",
        file="columns.h",
    ),
    Bug("the same row written four times", "i += step(C))\n    if", "i += 0)\n    if", "value", "columns.h"),
    Bug("the same row read four times", "i += step(C)) x[k]", "i += 0) x[k]", "value", "columns.h"),
]

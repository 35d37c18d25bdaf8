"""Mistakes in LayerNorm's kernels, seen on rows of several widths, as many as make several blocks."""

import numpy as np

from tests.cuda.planted import Bug
from tinygpt.kernels.cuda import layernorm as kernel
from tinygpt.kernels.cuda.unfinished import Unfinished
from tinygpt.layers import layernorm


def outcomes(cupy):
    rng = np.random.default_rng(0)
    for shape, bias in [((3, 7, 40), True), ((21, 64), True), ((2, 3, 5), False), ((9, 300), True), ((2100, 3), True)]:
        x, w, dout = 3 + rng.standard_normal(shape), rng.standard_normal(shape[-1]), rng.standard_normal(shape)
        b = rng.standard_normal(shape[-1]) if bias else None
        ours, cache = kernel.forward(cupy.asarray(x), cupy.asarray(w), b if b is None else cupy.asarray(b), 0.1)
        out, defined = layernorm.forward(x, w, b, 0.1)
        yield ours, out
        yield from pairs(kernel.backward(cupy.asarray(dout), cache), layernorm.backward(dout, defined))


def pairs(ours, expected):
    """Of gradients, those that are left unfinished finished."""
    assert [x is None for x in ours] == [x is None for x in expected]
    return [
        (x.array() if isinstance(x, Unfinished) else x, y) for x, y in zip(ours, expected, strict=True) if y is not None
    ]


BUGS = [
    Bug("forward: rows beyond the last", "  if (row >= N) return;\n", ""),
    Bug("forward: a block of eight rows is taken for one of one", "blockIdx.x * (blockDim.x / WARP) +", "blockIdx.x +"),
    Bug("forward: w for b", "stretch_and_move(v, w, b, C)", "stretch_and_move(v, w, w, C)", "value"),
    Bug("forward: not normalised", "  normalise(v, C, eps);\n", "", "value"),
    Bug("backward: one row too many", "row < N;", "row <= N;"),
    Bug("backward: a block takes the next one's rows too", "row += gridDim.x * warps", "row += warps"),
    Bug("backward: dout of the first row", "dout + (size_t)row * C", "dout", "value"),
    Bug(
        "backward: dx is dxhat's row",
        "write_row(dx + (size_t)row * C, d, C)",
        "write_row(dx + (size_t)row * C, xhat, C)",
        "value",
    ),
    Bug("backward: dw and db of a warp in one place", "own, own + C, C", "own, own, C", "value"),
    Bug(
        "backward: all warps add into the first one's sums",
        "real* own = zero_sums(sums, C);",
        "zero_sums(sums, C);\n  real* own = sums;",
    ),
    Bug("backward: no part is written", "  write_part(sums, dw, db, C);\n", ""),
    Bug("lanes hold neighbouring columns", "return lane() + WARP * i;", "return lane() * PER_LANE + i;", file="rows.h"),
    Bug("columns beyond the last", "return WARP * i < C - lane();", "return WARP * i <= C - lane();", file="rows.h"),
    Bug(
        "the last column is nobody's",
        "return WARP * i < C - lane();",
        "return WARP * i < C - 1 - lane();",
        "value",
        "rows.h",
    ),
    Bug(
        "numbers beyond the last column are not 0",
        "v[i] = is_column(i, C) ? (real)x[column(i)] : 0",
        "v[i] = is_column(i, C) ? x[column(i)] : (real)1",
        "value",
        "rows.h",
    ),
    Bug(
        "the mean is a sum",
        "for (int i = 0; i < PER_LANE; i++) sum += v[i];\n  return warp_sum(sum) / C;",
        "for (int i = 0; i < PER_LANE; i++) sum += v[i];\n  return warp_sum(sum);",
        "value",
        "rows.h",
    ),
    Bug(
        "a lane's mean for its warp's",
        "for (int i = 0; i < PER_LANE; i++) sum += v[i];\n  return warp_sum(sum) / C;",
        "for (int i = 0; i < PER_LANE; i++) sum += v[i];\n  return sum / C;",
        "value",
        "rows.h",
    ),
    Bug(
        "the mean is taken from the zeros beyond the row",
        "if (is_column(i, C)) v[i] -= mean;",
        "v[i] -= mean;",
        "value",
        "rows.h",
    ),
    Bug("eps outside the root", "1 / sqrt(var + eps)", "1 / (sqrt(var) + eps)", "value", "rows.h"),
    Bug("dx without the mean", "dxhat[i] - mean - xhat[i] * along", "dxhat[i] - xhat[i] * along", "value", "rows.h"),
    Bug(
        "dx without the component along xhat", "dxhat[i] - mean - xhat[i] * along", "dxhat[i] - mean", "value", "rows.h"
    ),
    Bug(
        "dw is overwritten row by row",
        "dw[column(i)] += dout[i] * xhat[i]",
        "dw[column(i)] = dout[i] * xhat[i]",
        "value",
        "rows.h",
    ),
    Bug(
        "dw of dxhat",
        "      dw[column(i)] += dout[i] * xhat[i];\n      db[column(i)] += dout[i];\n      dout[i] *= w[column(i)];\n",
        "      dout[i] *= w[column(i)];\n      dw[column(i)] += dout[i] * xhat[i];\n      db[column(i)] += dout[i];\n",
        "value",
        "rows.h",
    ),
    Bug(
        "sums begin as shared memory happens to be",
        "  for (int c = lane(); c < 2 * C; c += WARP) own[c] = 0;\n",
        "",
        file="rows.h",
    ),
    Bug(
        "the sums of db begin as shared memory happens to be", "c < 2 * C; c += WARP", "c < C; c += WARP", file="rows.h"
    ),
    Bug("no order between a lane's zeros and another's sums", "  __syncwarp();\n", "", file="rows.h"),
    Bug("warps' sums overlap", "sums + 2 * C * (threadIdx.x / WARP)", "sums + C * (threadIdx.x / WARP)", file="rows.h"),
    Bug("no barrier before the warps' sums are added", "  __syncthreads();\n", "", file="rows.h"),
    Bug("the last warp is left out", "warp < blockDim.x / WARP;", "warp < blockDim.x / WARP - 1;", "value", "rows.h"),
    Bug("db is dw", "sums[2 * C * warp + C + c]", "sums[2 * C * warp + c]", "value", "rows.h"),
    Bug(
        "a block writes as many columns as it has threads",
        "c < C; c += blockDim.x) {",
        "c < C; c += C) {",
        file="rows.h",
    ),
    Bug("db is written where there is none", "if (db) db[", "db[", file="rows.h"),
    Bug("all blocks write one part", "dw[(size_t)blockIdx.x * C + c] = dw_sum", "dw[c] = dw_sum", file="rows.h"),
]

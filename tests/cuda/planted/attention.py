"""Bugs in the kernels of attention, on sequences of several tiles, plainly in float64 and in TF32."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any
from unittest import mock

import numpy as np

from tests.cuda.planted import Bug
from tests.parity.comparison import relative_error
from tinygpt.backend import tf32_products
from tinygpt.kernels.cuda import attention as kernel
from tinygpt.layers import attention

DROPOUT = 0.3, 0xFEDCBA9876543210, 5


def outcomes(cupy: Any) -> Iterator[tuple]:
    """In float64, with rows that are read in vectors, and one by one in small tiles; in TF32, whether it is within its
    tolerance.
    """
    rng = np.random.default_rng(0)
    for number, (B, T, H, D), sizes in (
        ("float64", (2, 70, 2, 20), None), ("float64", (1, 39, 1, 5), (32, 8)), ("float32", (1, 70, 2, 20), None),
    ):  # fmt: skip
        qkv, dout = rng.standard_normal((B, T, 3 * H * D)), rng.standard_normal((B, T, H * D))
        exact, cache = attention.forward(qkv, H, *DROPOUT)
        dexact = attention.backward(dout, cache)
        smaller = mock.patch.object(kernel, "tiles", lambda *_, sizes=sizes: sizes) if sizes else nullcontext()
        with tf32_products(number == "float32", "cuda"), smaller:
            out, cache = kernel.forward(cupy.asarray(qkv.astype(number)), H, *DROPOUT)
            dqkv = kernel.backward(cupy.asarray(dout.astype(number)), cache)
        if number == "float64":
            yield from ((out, exact), (dqkv, dexact))
        else:
            ours, exact = (np.split(np.concatenate(x, -1), 4, -1) for x in ((out.get(), dqkv.get()), (exact, dexact)))
            for a, b in zip(ours, exact, strict=True):
                yield np.float32(not relative_error(a, b) <= 2e-3), np.float32(0)


SKIP = "    if (s0 >= first + WARP_ROWS) continue;"  # after the tiles of keys and values were loaded
THEN = "    __syncthreads();\n" + SKIP

BUGS = [
    # What the definition says
    Bug("forward: scores are not scaled", "EACH(i, R) EACH(j, C) weights[i][j] *= scale;", "", "value"),
    Bug("forward: a query does not see itself", "if (s0 + column_of(j) > t0 + row_of(i)) weights[i][j] = LOWEST",
        "if (s0 + column_of(j) >= t0 + row_of(i)) weights[i][j] = LOWEST", "value"),
    Bug("forward: a query sees the key after it", "if (s0 + column_of(j) > t0 + row_of(i)) weights[i][j] = LOWEST",
        "if (s0 + column_of(j) > t0 + row_of(i) + 1) weights[i][j] = LOWEST", "value"),
    Bug("dq: a query sees the key after it", "if (s0 + column_of(j) > t0 + row_of(i)) weights[i][j] = 0",
        "if (s0 + column_of(j) > t0 + row_of(i) + 1) weights[i][j] = 0", "value"),
    Bug("dk, dv: a query does not see itself",
        "if (s0 + row_of(i) > t0 + column_of(j)) weights", "if (s0 + row_of(i) >= t0 + column_of(j)) weights", "value"),
    Bug("dk, dv: a warp's first keys alone decide whether there is a mask", "if (first + WARP_ROWS - 1 > t0)",
        "if (first > t0)", "value"),
    Bug("forward: only the block's first rows are masked", "if (s0 + COLUMNS - 1 > first)\n      EACH(i, R) EACH(j, C) "
        "if (s0 + column_of(j) > t0 + row_of(i)) weights[i][j] = LOWEST",
        "if (s0 + COLUMNS - 1 > t0 + ROWS)\n      EACH(i, R) EACH(j, C) "
        "if (s0 + column_of(j) > t0 + row_of(i)) weights[i][j] = LOWEST", "value"),
    Bug("forward: the sum so far is not corrected", "      sum[i] *= shrink;\n", "", "value"),
    Bug("forward: the result so far is not corrected", "      EACH(c, CHANNELS) o[i][c] *= shrink;\n", "", "value"),
    Bug("forward: the highest score is not kept", "      top[i] = higher;\n", "", "value"),
    Bug("forward: a lane's own highest, not the row's", "      higher = row_max(higher);\n", "", "value"),
    Bug("forward: a lane's own sum, not the row's", "    sum[i] = row_sum(sum[i]);\n", "", "value"),
    Bug("forward: not divided by the sum", "    EACH(c, CHANNELS) o[i][c] *= inverse;", "", "value"),
    Bug("dq: no delta", "weights[i][j] * (dscores[i][j] - d[i])", "weights[i][j] * dscores[i][j]", "value"),
    Bug("dk: no delta", " - of[column_of(j)].delta)", ")", "value"),
    Bug("dq: a lane's own delta", "    d[i] = row_sum(d[i]);\n", "", "value"),
    Bug("dq is not scaled", "  EACH(i, R) EACH(c, CHANNELS) dq[i][c] *= scale;\n", "", "value"),
    Bug("dk is not scaled", "  EACH(i, R) EACH(c, CHANNELS) dk[i][c] *= scale;\n", "", "value"),
    Bug("dv of weights that were not dropped", "      weights[i][j] *= z;\n", "", "value"),
    Bug("dq: dweights are not dropped",
        "if (DROPOUT) EACH(i, R) EACH(j, C) dscores[i][j] *= keep(t0 + row_of(i), s0 + column_of(j));", "", "value"),
    Bug("dropout: query and key change places", "first + t * T + s", "first + s * T + t", "value"),
    Bug("dropout: the same bits in every head", "first((uint32)head.h * head.T * head.T)", "first(0)", "value"),
    Bug("dropout: the same bits in every sequence", "row_key(key, row + head.b)", "row_key(key, row)", "value"),
    Bug("keys and values change places", "load<COLUMNS>(v, head.packed(qkv, 2), s0, T);\n" + THEN + "  // later",
        "load<COLUMNS>(v, head.packed(qkv, 1), s0, T);\n" + THEN + "  // later", "value"),
    Bug("heads as (3, B, T, H, D)", "(size_t)b * T * 3 * H + part * H + h", "(size_t)b * T * 3 * H + h * 3 + part",
        "value"),
    Bug("dv is not written", "  store(head.packed(dqkv, 2), s0, T, dv);\n", "", "value"),
    Bug("dk is written where dv belongs", "store(head.packed(dqkv, 1), s0, T, dk)",
        "store(head.packed(dqkv, 2), s0, T, dk)", "value"),
    # Tiles
    Bug("forward: the last keys are left out", "s0 < min(t0 + ROWS, T); s0 += COLUMNS) {\n    __syncthreads();  // the",
        "s0 < min(t0 + ROWS, T) - COLUMNS; s0 += COLUMNS) {\n    __syncthreads();  // the", "value"),
    Bug("dk, dv: queries from the next tile on", "for (int t0 = s0; t0 < T", "for (int t0 = s0 + COLUMNS; t0 < T",
        "value"),
    Bug("dk, dv: a warp leaves out its last queries", "if (t0 + COLUMNS <= first) continue",
        "if (t0 + COLUMNS <= first + WARP_ROWS) continue", "value"),
    Bug("forward: a warp leaves out its last keys", "if (s0 >= first + WARP_ROWS) continue;  // later",
        "if (s0 >= first) continue;  // later", "value"),
    Bug("rows are read past the end", "if (t + row < end && channel < from.D) x", "if (channel < from.D) x",
        file="tiles.h"),
    Bug("channels are read past the head's", "if (t + row < end && channel < from.D) x", "if (t + row < end) x",
        file="tiles.h"),
    Bug("rows are written past the end", "    if (t + row_of(i) >= end) continue;\n", "", file="tiles.h"),
    Bug("channels are written past the head's", "if (in_vectors && channel < to.D)", "if (in_vectors)", file="tiles.h"),
    Bug("always read in vectors", "return D % VECTOR == 0 && stride % VECTOR == 0 && (size_t)first % 16 == 0",
        "return true", file="tiles.h"),
    Bug("one by one: read past the end", "t + row < end && channel < from.D ?", "channel < from.D ?", file="tiles.h"),
    Bug("one by one: written past the head's", "if (channel + v < to.D) place[v]", "place[v]", file="tiles.h"),
    Bug("statistics are read past the end", "if (t0 + threadIdx.x < T) of", "of"),
    Bug("statistics past the end are left as they were", "      of[threadIdx.x] = {};\n", ""),
    Bug("rows of a tile too close", "constexpr int STRIDE = HEAD + VECTOR", "constexpr int STRIDE = HEAD - VECTOR",
        file="tiles.h"),
    # Barriers
    Bug("forward: the next keys are loaded too early",
        "    __syncthreads();  // the tiles before have been read\n", ""),
    Bug("forward: keys are read before they are there", THEN + "  // later", SKIP + "  // later"),
    Bug("dq: keys are read before they are there", THEN + "\n", SKIP + "\n"),
    Bug("dq: dout is read for delta before it is there", "t0, T);\n  __syncthreads();\n", "t0, T);\n"),
    Bug("dk, dv: queries are loaded too early", "    __syncthreads();\n    load<COLUMNS>(q,", "    load<COLUMNS>(q,"),
    Bug("dk, dv: queries are read before they are there", "    __syncthreads();\n    if (t0 + COLUMNS",
        "    if (t0 + COLUMNS"),
    Bug("a warp leaves before its block's barrier", "if (s0 >= first + WARP_ROWS) continue;  // later",
        "if (s0 >= first + WARP_ROWS) break;  // later"),
    Bug("scratch is read before it is there", "  __syncwarp();\n#pragma unroll 2", "#pragma unroll 2", file="tiles.h"),
    Bug("scratch is filled again too early", "    }\n  }\n  __syncwarp();\n}", "    }\n  }\n}", file="tiles.h"),
    # Lanes
    Bug("all warps have the first rows", "return (threadIdx.x / WARP * R + i) * 4 + group()", "return i * 4 + group()",
        file="tiles.h"),
    Bug("rows are summed over half their lanes", "FIRST_LANE = 2, LAST_LANE = 8", "FIRST_LANE = 2, LAST_LANE = 4",
        "value", "tiles.h"),
    Bug("rows are summed over others' lanes", "FIRST_LANE = 2, LAST_LANE = 8", "FIRST_LANE = 1, LAST_LANE = 4", "value",
        "tiles.h"),
    Bug("a warp's first row is another's", "threadIdx.x / WARP * WARP_ROWS, 0)", "threadIdx.x / WARP * ROWS, 0)",
        "value", "tiles.h"),
    # TF32
    Bug("TF32: columns as the instruction counts them, rows not", "(member() ^ j % 2 * 6)", "(member() * 2 + j % 2)",
        "value", "tiles.h"),
    Bug("TF32: an operand's quarters change places", "rows[v / 2][i / 2][v % 2 * 2 + i % 2]",
        "rows[v / 2][i / 2][i % 2 * 2 + v % 2]", "value", "tiles.h"),
    Bug("TF32: rows and columns of weights change places", "to_tf32(a[2 * m + i % 2][2 * k + i / 2])",
        "to_tf32(a[2 * m + i / 2][2 * k + i % 2])", "value", "tiles.h"),
    Bug("TF32: both halves are the first", "columns.x[2 * half], columns.x[2 * half + 1]", "columns.x[0], columns.x[1]",
        "value", "tiles.h"),
    Bug("TF32: the second four keys are the first", "at(b, column_of(2 * k + 1), n * 32",
        "at(b, column_of(2 * k), n * 32",
        "value", "tiles.h"),
    Bug("TF32: channels in the instruction's order", "c / 8 * 32 + member() * 8 + c % 8",
        "c / 8 * 32 + c % 8 * 4 + member()", file="tiles.h"),
]  # fmt: skip

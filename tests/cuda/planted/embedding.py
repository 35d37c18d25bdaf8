"""Mistakes in the embedding's kernels, seen where runs of an id lie within chunks, cross one border and several."""

import numpy as np

from tests.cuda.planted import Bug
from tinygpt.kernels.cuda import embedding as kernel
from tinygpt.layers import embedding


def outcomes(cupy):
    rng = np.random.default_rng(0)
    for lengths, C in [((5, 20, 7, 96, 1, 1, 33), 3), ((64, 130), 300), ((33,), 5), ((1,) * 70, 40)]:
        ids = rng.permutation(np.repeat(rng.permutation(len(lengths)), lengths))
        w, dout = rng.standard_normal((len(lengths) + 2, C)), rng.standard_normal((len(ids), C))
        total = rng.standard_normal(w.shape)
        ours, cache = kernel.forward(cupy.asarray(ids), cupy.asarray(w))
        yield ours, w[ids]
        dw, sums = kernel.backward(cupy.asarray(dout), cache), cupy.asarray(total)
        dw.add_all([(dw, sums)])
        yield sums, total + embedding.backward(dout, (ids, w))


BUGS = [
    Bug("forward: ids beyond the last", "  if (n >= N) return;\n", ""),
    Bug("forward: the first 32 columns only", "c < C; c += WARP) out", "c < C && c < WARP; c += WARP) out", "value"),
    Bug("forward: a column too many", "c < C; c += WARP) out", "c <= C; c += WARP) out"),
    Bug("forward: the position's row of w", "row_of(ids[n], V) * C;", "n * C;"),
    Bug("sort: keys without the position", "<< 32 | (uint32)n;", "<< 32;"),
    Bug(
        "sort: keys without the id",
        "return (uint64)row_of(ids[n], V) << 32 | (uint32)n;",
        "return (uint64)(uint32)n;",
        "value",
    ),
    Bug("sort: ids beyond the last", "first + i < N ? key_of(ids, first + i, V) : 0", "key_of(ids, first + i, V)"),
    Bug("sort: places of positions beyond the last", "if (lane == 0 && first + i < N) sorted", "if (lane == 0) sorted"),
    Bug("sort: every lane writes", "if (lane == 0 && first + i < N) sorted", "if (first + i < N) sorted"),
    Bug(
        "sort: a lane counts every 32nd only for itself",
        "    for (int distance = WARP / 2; distance > 0; distance /= 2) "
        "place += __shfl_xor_sync(ALL_LANES, place, distance);\n",
        "",
    ),
    Bug("sort: smaller or equal", "smaller[i] += key < keys[i]", "smaller[i] += key <= keys[i]"),
    Bug(
        "sort: the position above the id",
        "(uint64)row_of(ids[n], V) << 32 | (uint32)n;",
        "(uint64)n << 32 | (uint32)row_of(ids[n], V);",
    ),
    Bug(
        "sort: half of the lanes are added",
        "int distance = WARP / 2; distance > 0",
        "int distance = WARP / 4; distance > 0",
    ),
    Bug(
        "sort: warps overlap",
        "(blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP) * RANKED",
        "blockIdx.x * (blockDim.x / WARP) * RANKED + threadIdx.x / WARP",
    ),
    Bug("runs: columns beyond the last", "  if (c >= C) return;\n", ""),
    Bug("runs: the place for the position", "position_in(sorted[first + j])", "(first + j)", "value"),
    Bug("runs: positions beyond the last", "if (first + j < N) d[j]", "d[j]"),
    Bug(
        "runs: every run begins in its chunk",
        "bool began_before = chunk > 0 && row_in(sorted[first - 1]) == row_in(sorted[first]);",
        "bool began_before = false;",
    ),
    Bug(
        "runs: before the first key",
        "bool began_before = chunk > 0 && row_in(sorted[first - 1]) == row_in(sorted[first])",
        "bool began_before = row_in(sorted[first - 1]) == row_in(sorted[first])",
    ),
    Bug(
        "runs: beyond the last key",
        "bool goes_on = n + 1 < N && row_in(sorted[n + 1]) == row;",
        "bool goes_on = row_in(sorted[n + 1]) == row;",
    ),
    Bug("runs: the chunk's last run has no end", "if (!goes_on || j == CHUNK - 1)", "if (!goes_on)"),
    Bug(
        "runs: both pieces in one place",
        "pieces[(size_t)(2 * chunk + 1) * C + c] = sum;",
        "pieces[(size_t)(2 * chunk) * C + c] = sum;",
    ),
    Bug(
        "runs: pieces go to dw",
        "        if (began_before)\n          pieces[(size_t)(2 * chunk) * C + c] = sum;\n        else if",
        "        if",
    ),
    Bug("runs: later runs are taken for the first", "        began_before = false;\n", ""),
    Bug("runs: a sum goes on in the next run", "        sum = 0;\n", "", "value"),
    Bug(
        "runs: dw is overwritten",
        "          dw[(size_t)row * C + c] += sum;\n",
        "          dw[(size_t)row * C + c] = sum;\n",
        "value",
    ),
    Bug("runs: the last number of a run for its sum", "sum += d[j];", "sum = d[j];", "value"),
    Bug("join: where no run goes on", "c >= C || !goes_on || began_before", "c >= C || began_before"),
    Bug("join: chunks within a run begin it too", "c >= C || !goes_on || began_before", "c >= C || !goes_on"),
    Bug("join: columns beyond the last", "c >= C || !goes_on || began_before", "!goes_on || began_before"),
    Bug("join: one chunk too few", "end = middle + 1;", "end = middle;"),
    Bug("join: one chunk too many", "k < end; k++", "k <= end; k++"),
    Bug("join: the last chunk is never reached", "beyond = gridDim.x + 1;", "beyond = gridDim.x;", "value"),
    Bug(
        "join: the first piece is left out",
        "real sum = pieces[(size_t)(2 * chunk + 1) * C + c];",
        "real sum = 0;",
        "value",
    ),
    Bug("join: the chunk's own piece twice", "int k = chunk + 1; k < end", "int k = chunk; k < end"),
]

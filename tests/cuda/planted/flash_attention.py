"""Bugs in the kernels of attention in bfloat16: operands held in registers or not, with dropout or without."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.cuda.planted import Bug
from tests.parity.comparison import relative_error
from tinygpt.backend import to_host
from tinygpt.kernels.cuda import attention as kernel
from tinygpt.layers import attention

DROPOUT = 0.3, 0xFEDCBA9876543210, 5
TOLERANCE = 6e-3  # by norm, for what is rounded to bfloat16


def outcomes(cupy: Any) -> Iterator[tuple]:
    """Whether out, dq, dk and dv are within their tolerance, and the arrays beside themselves: all written, no NaN."""
    import ml_dtypes

    rng = np.random.default_rng(0)
    for (B, T, H, D), dropout in (((2, 200, 2, 32), DROPOUT), ((1, 150, 1, 128), DROPOUT), ((1, 70, 2, 64), ())):
        qkv, dout = (
            rng.standard_normal(shape).astype(ml_dtypes.bfloat16) for shape in ((B, T, 3 * H * D), (B, T, H * D))
        )
        exact, cache = attention.forward(qkv.astype("float64"), H, *dropout)
        dexact = attention.backward(dout.astype("float64"), cache)
        out, cache = kernel.forward(cupy.asarray(qkv), H, *dropout)
        dqkv = kernel.backward(cupy.asarray(dout), cache)
        for ours in (out, dqkv):
            yield ours.astype(np.float32), to_host(ours).astype(np.float32)
        ours, exact = (
            np.split(np.concatenate(x, -1).astype("float64"), 4, -1)
            for x in ((to_host(out), to_host(dqkv)), (exact, dexact))
        )
        for a, b in zip(ours, exact, strict=True):
            yield np.float32(not relative_error(a, b) <= TOLERANCE), np.float32(0)


STREAM = (
    "    cp_wait<0>();\n    __syncthreads();  // tile j has come for everybody, and nobody reads tile j - 1 any more\n"
)
FORWARD = "    if (s + ROWS - 1 <= t) attend<false, M, N>"
KEYS = "  stream(0, (min(at.first + C::OWN, T) + ROWS - 1) / ROWS, fetch, [&](int j) {\n    const int s = j * ROWS;\n" \
    "    const uint32 k = at.tile(j, 0), v = at.tile(j, 1);\n    uint32* bits = mask + at.bit(t, s);\n"  # fmt: skip
LESS = KEYS.replace("(min(at.first + C::OWN, T) + ROWS - 1) / ROWS", "min(at.first + C::OWN, T) / ROWS")
LDSM_NT = "      ldsm_x4(b, (first ^ 32 * k) + 16 * n * ROW);"
LDSM_NN = "      ldsm_x4_t(b, (first ^ 32 * n) + 16 * k * ROW);"
PACKED = "p[m][i] = pack(a[m][2 * k + i / 2][i % 2 * 2], a[m][2 * k + i / 2][i % 2 * 2 + 1])"

BUGS = [
    # Barriers and waits
    Bug("no barrier in the stream", STREAM, "    cp_wait<0>();\n"),
    Bug("waits for one group of copies too few", STREAM, STREAM.replace("cp_wait<0>", "cp_wait<1>")),
    Bug("both stages are one", "j % 2 * C::STAGE", "0 * C::STAGE"),
    Bug("does not wait for own rows", "cp_wait<1>();", "cp_wait<2>();"),
    Bug("no barrier after own rows have come", "  cp_wait<1>();\n  __syncthreads();\n", "  cp_wait<1>();\n"),
    Bug("the next tile is fetched before the barrier",
        STREAM + "    if (j + 1 < end) fetch(j + 1);\n    cp_commit();\n",
        "    if (j + 1 < end) fetch(j + 1);\n    cp_commit();\n    cp_wait<1>();\n    __syncthreads();\n"),
    Bug("the next tile is not committed before it is waited for",
        "    if (j + 1 < end) fetch(j + 1);\n    cp_commit();\n",
        "    if (j + 1 < end) fetch(j + 1);\n"),
    Bug("own rows are not committed", "  cp_commit();\n  fetch(j);\n", "  fetch(j);\n"),
    Bug("no barrier before delta is read", "row_delta(my_out, at.own(1), me);\n  __syncthreads();\n",
        "row_delta(my_out, at.own(1), me);\n"),
    Bug("the stream goes past its end", "if (j + 1 < end) fetch(j + 1);", "fetch(j + 1);"),
    Bug("no warp barrier before rows are stored", "  __syncwarp();\n  EACH(i, M * N / 2)", "  EACH(i, M * N / 2)"),
    Bug("no warp barrier before own rows are overwritten", "  __syncwarp();\n  EACH(m, M) EACH(n, N) EACH(i, 2) {",
        "  EACH(m, M) EACH(n, N) EACH(i, 2) {"),
    # Masks and tiles left out
    Bug("forward: a query sees the key after it", "if (right_of(m, n, e, t - s)) weights",
        "if (right_of(m, n, e, t - s + 1)) weights", "value"),
    Bug("dq: a query sees the key after it", "if (DIAGONAL && right_of(m, n, e, distance)) weight = 0",
        "if (DIAGONAL && right_of(m, n, e, distance + 1)) weight = 0", "value"),
    Bug("dk, dv: a query does not see itself", "!right_of(m, n, e, s - t - 1)", "!right_of(m, n, e, s - t)", "value"),
    Bug("forward: a diagonal tile is taken for an interior one", FORWARD, FORWARD.replace("<= t)", "<= t + 32)"),
        "value"),
    Bug("forward: a diagonal tile is left out", "else if (s < t + 16 * M) attend", "else if (s < t) attend"),
    Bug("dq: a diagonal tile is left out", "else if (s < t + 16 * M) add_dq", "else if (s < t) add_dq", "value"),
    Bug("dk, dv: a diagonal tile is taken for an interior one", "if (t >= s + 16 * M - 1)", "if (t >= s)", "value"),
    Bug("dk, dv: a diagonal tile is left out", "else if (t + ROWS > s) add", "else if (t > s) add", "value"),
    Bug("forward: the last keys are left out", KEYS + FORWARD, LESS + FORWARD),
    Bug("dk, dv: the last queries are left out", "(T + ROWS - 1) / ROWS, fetch", "T / ROWS, fetch", "value"),
    # The ends of arrays
    Bug("reads past the last row", "i * STEP < rows_left);", "true);"),
    Bug("a thread's rows end too late", "rows_left = rows - row;", "rows_left = rows;"),
    Bug("the rows that are left are not counted down", "    rows_left -= ROWS;\n", ""),
    Bug("writes past the last row", "if (r < rows_left) *", "*"),
    Bug("reads out past the last row", "if (me < C::OWN && at.first + me < T) my_out", "if (me < C::OWN) my_out"),
    Bug("statistics of rows are not padded", "((T + 127) / 128 * 128)", "T"),
    Bug("statistics do not have room in shared memory", "SUMS = STREAM + 2 * STAGE;",
        "SUMS = STREAM + 2 * STAGE + 256;"),
    # The swizzle, and what reads through it
    Bug("no swizzle: the same values, with conflicts of banks", "(chunk ^ (D == 32 ? row / 2 % 4 : row % 8)) * 16",
        "chunk * 16", "blind"),
    Bug("chunks change places by too many bits", "(D == 32 ? row / 2 % 4 : row % 8)", "(row % 8)"),
    Bug("left operand: addresses are added, not xored", "ldsm_x4(a[m], (first ^ 32 * k) + 16 * m * ROW)",
        "ldsm_x4(a[m], first + 32 * k + 16 * m * ROW)"),
    Bug("b^T: addresses are added, not xored", LDSM_NT, LDSM_NT.replace("(first ^ 32 * k)", "first + 32 * k")),
    Bug("b: addresses are added, not xored", LDSM_NN, LDSM_NN.replace("(first ^ 32 * n)", "first + 32 * n")),
    Bug("the copies' places do not follow the swizzle", "place = chunk_at(row, chunk);",
        "place = row * ROW + chunk * 16;",
        "value"),
    Bug("copies of a tile's other rows lie too close", "tile + place + i * STEP * ROW", "tile + place + i * ROW"),
    Bug("copies come from too close", "from + i * STEP * stride", "from + i * stride", "value"),
    Bug("the next tile is the same again", "    from += ROWS * stride;\n", "", "value"),
    # ldmatrix
    Bug("left operand: quarters the other way round", "chunk_at(row + lane() % 16, lane() / 16)",
        "chunk_at(row + lane() / 16 * 8 + lane() % 8, lane() / 8 % 2)", "value"),
    Bug("b^T: quarters the other way round", "chunk_at(lane() / 16 * 8 + lane() % 8, lane() / 8 % 2)",
        "chunk_at(lane() % 16, lane() / 16)", "value"),
    Bug("b: quarters the other way round", "chunk_at(lane() % 16, lane() / 16);",
        "chunk_at(lane() / 16 * 8 + lane() % 8, lane() / 8 % 2);", "value"),
    Bug("b is read as b^T", LDSM_NN, LDSM_NN.replace("_t(", "("), "value"),
    Bug("b^T is read as b", LDSM_NT, LDSM_NT.replace("ldsm_x4(", "ldsm_x4_t("), "value"),
    Bug("b^T: the next rows are the same", LDSM_NT, LDSM_NT.replace("16 * n * ROW", "0 * n"), "value"),
    Bug("the second warp's own rows are the first's", "chunk_at(row + lane() % 16", "chunk_at(lane() % 16"),
    Bug("all lanes give one matrix's rows", "chunk_at(lane() % 16, lane() / 16);", "chunk_at(lane() % 8, 0);", "value"),
    # mma
    Bug("b^T: halves of two products change places", "mma16816(x[m][2 * n], a[m], b[0], b[1]);",
        "mma16816(x[m][2 * n], a[m], b[2], b[3]);", "value"),
    Bug("b^T: rows of an operand change places", "mma16816(x[m][2 * n + 1], a[m], b[2], b[3]);",
        "mma16816(x[m][2 * n + 1], a[m], b[3], b[2]);", "value"),
    Bug("b: the operands' middle change places", "mma16816(x[m][2 * n], p[m], b[0], b[1]);",
        "mma16816(x[m][2 * n], p[m], b[0], b[2]);", "value"),
    Bug("a product is left out", "        mma16816(x[m][2 * n + 1], p[m], b[2], b[3]);\n", "", "value"),
    Bug("only the first channels are multiplied", "EACH(k, D / 16) {\n    uint32 a", "EACH(k, D / 32) {\n    uint32 a",
        "value"),
    Bug("an operand's registers in another order", PACKED, PACKED.replace("k + i / 2][i % 2 * 2]",
        "k + i % 2][i / 2 * 2]"),
        "value"),
    Bug("pairs are packed the other way round", PACKED,
        "p[m][i] = pack(a[m][2 * k + i / 2][i % 2 * 2 + 1], a[m][2 * k + i / 2][i % 2 * 2])", "value"),
    Bug("rows of an accumulator: the wrong half", "16 * m + lane() / 4 + e / 2 * 8; }",
        "16 * m + lane() / 4 + e % 2 * 8; }"),
    Bug("columns of an accumulator: every fourth", "8 * n + lane() % 4 * 2 + e % 2; }",
        "8 * n + lane() % 4 + e % 2 * 4; }",
        "value"),
    Bug("operands held: all the first rows", "a[m][i] = held[k][m][i]", "a[m][i] = held[k][0][i]", "value"),
    # Softmax
    Bug("forward: the result so far is not corrected", "[2 * i + e] *= shrink;", "[2 * i + e] *= 1;", "value"),
    Bug("forward: the sum so far is not corrected", "sum[m][i] * shrink + total", "sum[m][i] + total", "value"),
    Bug("forward: a lane's own highest, not the row's", "    top = row_max(top);\n", "", "value"),
    Bug("forward: a lane's own sum, not the row's", "total = row_sum(sum[m][i])", "total = sum[m][i]", "value"),
    Bug("rows are summed over half their lanes", "EACH(i, 2) x += __shfl_xor_sync(ALL_LANES, x, i + 1);",
        "EACH(i, 1) x += __shfl_xor_sync(ALL_LANES, x, i + 1);", "value"),
    Bug("lse in base e", "highest[m][i] * SCALE_2 + log2f(total)", "highest[m][i] * SCALE + logf(total)", "value"),
    Bug("lse of one row in two", "lse[at.sums(t + row_of(m, 2 * i))] = highest",
        "lse[at.sums(t + row_of(m, 0))] = highest"),
    # Gradients
    Bug("dq: delta is added", "(dscores[m][n][e] - delta[m][e / 2])", "(dscores[m][n][e] + delta[m][e / 2])", "value"),
    Bug("dq: delta of another row", "(dscores[m][n][e] - delta[m][e / 2])", "(dscores[m][n][e] - delta[m][e % 2])",
        "value"),
    Bug("delta of half the channels", "dot(o.x, g.x) + dot(o.y, g.y) + dot(o.z, g.z)", "dot(o.x, g.x) + dot(o.y, g.y)",
        "value"),
    Bug("dk is not scaled", "dk[m][n][e] *= SCALE;", "dk[m][n][e] *= 1;", "value"),
    Bug("dq from v", "product_nn(dq, dscores, k);", "product_nn(dq, dscores, v);", "value"),
    Bug("dk, dv: lse and delta change places", "(me < ROWS / 4 ? lse : delta)", "(me < ROWS / 4 ? delta : lse)",
        "value"),
    Bug("dk, dv: statistics of the first tile again", "    my_sums += ROWS;\n", "", "value"),
    Bug("dv is written where dk belongs", "store(dqkv + at.packed(2, s)", "store(dqkv + at.packed(1, s)", "value"),
    Bug("heads packed the other way", "(part * H + h) * D", "(h * 3 + part) * D", "value"),
    # Dropout
    Bug("dropout: the same bits in every sequence", "row_key(key, row + at.b)", "row_key(key, row)", "value"),
    Bug("dropout: the same bits in every head", "first((uint32)at.h * at.T * at.T)", "first(0)", "value"),
    Bug("dropout: a row's bits from one lane of its four", "bits |= __shfl_xor_sync(ALL_LANES, bits, j + 1);", "",
        "value"),
    Bug("dropout: bits in another row", "mask[row_of(m, 2 * i) * words] = bits", "mask[row_of(m, i) * words] = bits"),
    Bug("dropout: dq with bits of another row", "bits[m][i] = mask[row_of(m, 2 * i) * words]",
        "bits[m][i] = mask[row_of(m, 0) * words]", "value"),
    Bug("dropout: dq with bits of another key", "words] >> lane() % 4 * 2;", "words];", "value"),
    Bug("dropout: dk, dv with bits of another query", "mask[column_of(n, e) * words]", "mask[column_of(n, 0) * words]",
        "value"),
    Bug("dropout: dk, dv with bits of another key", "bits >> 16 * m + e / 2 * 8", "bits >> 16 * m", "value"),
    Bug("dropout: dk, dv with bits of the first keys of 32", ">> s % 32 + lane() / 4", ">> lane() / 4", "value"),
    Bug("dropout: words overwrite each other", "words() + s / 32;", "words() + s / 64;", "value"),
    Bug("dropout: dweights are not dropped", "if (DROPOUT) dscores[m][n][e] *= bits",
        "if (false) dscores[m][n][e] *= bits", "value"),
    Bug("dropout: dv of weights that were not dropped", "weights[m][n][e] = z * weight;", "weights[m][n][e] = weight;",
        "value"),
    Bug("dropout: compared the other way", ">= threshold ?", "< threshold ?", "value", "common.h"),
]  # fmt: skip

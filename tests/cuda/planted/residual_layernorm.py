"""Mistakes in the kernels of the residual connection with LayerNorm; those of the rows are with layernorm's."""

import numpy as np

from tests.cuda.planted import Bug
from tests.cuda.planted.layernorm import pairs
from tinygpt.kernels.cuda import residual_layernorm
from tinygpt.layers import dropout, layernorm
from tinygpt.ops import DEFINITIONS


def outcomes(cupy):
    rng = np.random.default_rng(0)
    for shape, p in [((3, 7, 40), 0.3), ((2, 11, 64), 0.0), ((4, 2, 3, 5), 0.5)]:
        x, a, dsum, dout = (rng.standard_normal(shape) for _ in range(4))
        w, b = rng.standard_normal((2, shape[-1]))
        options = 0.1, p, 0x9876543210FEDCBA, 5
        on_card = [cupy.asarray(array) for array in (x, a, w, b)]
        ours, cache = residual_layernorm.forward(*on_card, *options, ops=DEFINITIONS)
        dropped, drop = dropout.forward(a, *options[1:])
        out, defined = layernorm.forward(x + dropped, w, b, 0.1)
        yield from zip(ours, (x + dropped, out), strict=True)
        for ours, into_sum in [(cupy.asarray(dsum), dsum), (None, 0)]:
            dx, dw, db = layernorm.backward(dout, defined)
            expected = into_sum + dx, dropout.backward(into_sum + dx, drop), dw, db
            yield from pairs(residual_layernorm.backward((ours, cupy.asarray(dout)), cache), expected)


BUGS = [
    Bug("rows beyond the last", "  if (row >= N) return;\n", ""),
    Bug("every row of a batch has the key of the first", "first + row / T", "first", "value"),
    Bug("a key for every row, not for every row of the batch", "first + row / T", "first + row", "value"),
    Bug("the place of a row of the batch in all of it", "(uint32)(row % T)", "(uint32)row", "value"),
    Bug("all rows drop the same places", "place + column(i)", "column(i)", "value"),
    Bug("a lane's columns are dropped by their number", "place + column(i)", "place + i", "value"),
    Bug("what is kept is not scaled", "threshold, scale);\n}\n", "threshold, 1);\n}\n", "value"),
    Bug(
        "dropped before it is read",
        "  read_row(v, a + (size_t)row * C, C);\n  if (DROPOUT) drop(v, row, C, key, first, T, threshold, scale);\n",
        "  if (DROPOUT) drop(v, row, C, key, first, T, threshold, scale);\n  read_row(v, a + (size_t)row * C, C);\n",
        "value",
    ),
    Bug(
        "the sum is dropped, not a",
        "  if (DROPOUT) drop(v, row, C, key, first, T, threshold, scale);\n  add_row(v, x + (size_t)row * C, C);\n",
        "  add_row(v, x + (size_t)row * C, C);\n  if (DROPOUT) drop(v, row, C, key, first, T, threshold, scale);\n",
        "value",
    ),
    Bug("x is not added", "  add_row(v, x + (size_t)row * C, C);\n", "", "value"),
    Bug(
        "sum is written when it is normalised",
        "  write_row(sum + (size_t)row * C, v, C);\n  normalise(v, C, eps);\n",
        "  normalise(v, C, eps);\n  write_row(sum + (size_t)row * C, v, C);\n",
        "value",
    ),
    Bug("sum is not written", "  write_row(sum + (size_t)row * C, v, C);\n", "", "value"),
    Bug(
        "sum's rows lie one number too near",
        "write_row(sum + (size_t)row * C,",
        "write_row(sum + (size_t)row * (C - 1),",
    ),
    Bug("backward: dsum is not added", "    if (dsum) add_row(d, dsum + (size_t)row * C, C);\n", "", "value"),
    Bug(
        "backward: dsum goes through LayerNorm too",
        "    row_backward(d, xhat, rstd, w, own, own + C, C);\n    if (dsum) add_row(d, dsum + (size_t)row * C, C);\n",
        "    if (dsum) add_row(d, dsum + (size_t)row * C, C);\n    row_backward(d, xhat, rstd, w, own, own + C, C);\n",
        "value",
    ),
    Bug("backward: dsum is read where there is none", "    if (dsum) add_row(", "    add_row("),
    Bug(
        "backward: dx is dropped too",
        "    write_row(dx + (size_t)row * C, d, C);\n    if (DROPOUT) {\n"
        "      drop(d, row, C, key, first, T, threshold, scale);\n",
        "    if (DROPOUT)\n"
        "      drop(d, row, C, key, first, T, threshold, scale);\n    write_row(dx + (size_t)row * C, d, C);\n"
        "    if (DROPOUT) {\n",
        "value",
    ),
    Bug("backward: da is not dropped", "      drop(d, row, C, key, first, T, threshold, scale);\n", "", "value"),
    Bug("backward: da is written where there is none", "    if (DROPOUT) {\n", "    {\n"),
    Bug("backward: a block takes the next one's rows too", "row += gridDim.x * warps", "row += warps"),
    Bug(
        "backward: dw of the sum, not of xhat",
        "    real rstd = normalise(xhat, C, eps);\n    row_backward(d, xhat, rstd, w, own, own + C, C);\n",
        "    row_backward(d, xhat, 1, w, own, own + C, C);\n",
        "value",
    ),
]

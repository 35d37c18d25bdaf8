"""Bugs that are seen where a block goes over its columns several times, and where several sums are added at once."""

from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np

from tests.cuda.planted import Bug
from tinygpt.kernels.cuda import columns, gelu, linear
from tinygpt.kernels.cuda.unfinished import Sums


def outcomes(cupy: Any) -> Iterator[tuple]:
    """Biases and sums of a matrix with more rows than its blocks have; GELU of such; three sums of different widths."""
    rng = np.random.default_rng(0)
    x, dout, b = rng.standard_normal((200, 35)), rng.standard_normal((200, 35)), rng.standard_normal(35)
    with mock.patch.object(columns, "PARTS", 2), mock.patch.object(gelu, "WIDTH", 40):
        out = cupy.asarray(x)
        linear.add_bias(out, cupy.asarray(b))
        yield out, x + b
        yield linear.sum_columns(cupy.asarray(x)).array(), x.sum(axis=0)
        out, cache = gelu.forward(cupy.asarray(x))
        expected, right = gelu.definition.forward(x)
        yield out, expected
        yield gelu.backward(cupy.asarray(dout), cache), gelu.definition.backward(dout, right)
    parts = [rng.standard_normal(shape) for shape in ((40, 35), (3, 1), (70, 65))]
    totals = [cupy.asarray(rng.standard_normal(p.shape[1])) for p in parts]
    expected = [total.get() + p.sum(axis=0) for total, p in zip(totals, parts, strict=True)]
    Sums.add_all([(Sums(cupy.asarray(p)), total) for p, total in zip(parts, totals, strict=True)])
    yield from zip(totals, expected, strict=True)


FIRST = "first(C), size, C)"

BUGS = [
    Bug("rows from the first in every block", "blockIdx.y * blockDim.y + threadIdx.y", "threadIdx.y", file="columns.h"),
    Bug("blocks' rows overlap", "blockIdx.y * blockDim.y", "blockIdx.y", file="columns.h"),
    Bug("a stride of one block", "(gridDim.y * blockDim.y)", "blockDim.y", file="columns.h"),
    Bug(
        "bias: the first rows only are written",
        "store(out, x, i, size, C)",
        f"store(out, x, {FIRST}",
        "value",
        "linear.cu",
    ),
    Bug(
        "bias: the first rows are read again",
        "load(x, out, i, size, C)",
        f"load(x, out, {FIRST}",
        "value",
        "linear.cu",
    ),
    Bug(
        "sums: the first rows over and over",
        "load(x, dout, i, size, C)",
        f"load(x, dout, {FIRST}",
        "value",
        "linear.cu",
    ),
    Bug(
        "GELU: the first rows are read again",
        "    load(h, x, i, size, C);\n    load(d",
        f"    load(h, x, {FIRST};\n    load(d",
        "value",
        "gelu.cu",
    ),
    Bug(
        "GELU: the first rows only are written",
        "store(dx, d, i, size, C)",
        f"store(dx, d, {FIRST}",
        "value",
        "gelu.cu",
    ),
    Bug(
        "GELU: the rows are shifted",
        "    store(out, h, i, size, C)",
        "    store(out, h, i + 8 * C, size, C)",
        seen="value",
        file="gelu.cu",
    ),
    Bug("add_sums: in the place of the total", "total[column()] += sum", "total[column()] = sum", "value", "sums.cu"),
    Bug(
        "add_sums: the second in the first's place",
        "add_sum(total1, parts1,",
        "add_sum(total0, parts1,",
        file="sums.cu",
    ),
    Bug("add_sums: the first's parts twice", "add_sum(total1, parts1,", "add_sum(total1, parts0,", "value", "sums.cu"),
    Bug(
        "add_sums: the third's count is the first's",
        "parts2, count2, width2,",
        "parts2, count0, width2,",
        "value",
        "sums.cu",
    ),
    Bug(
        "add_sums: the third's length is the first's",
        "parts2, count2, width2,",
        "parts2, count2, width0,",
        "value",
        "sums.cu",
    ),
    Bug(
        "add_sums: a case too few",
        "    case 2: return add_sum(total2, parts2, count2, width2, of_warps);\n",
        "",
        "value",
        "sums.cu",
    ),
    Bug(
        "add_sums: as wide as the widest",
        "if (blockIdx.x * WARP >= width) return;",
        "width = gridDim.x * WARP;",
        file="sums.cu",
    ),
]

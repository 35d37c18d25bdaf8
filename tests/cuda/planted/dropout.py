"""Bugs to plant in dropout's kernel, and in the hash that it draws its bits from (`common.h`)."""

from tests.cuda.planted import Bug

BUGS = [
    Bug("the batch's place forgotten", "first_row + row", "row", "value"),
    Bug("one row's bits for all", "row_key(key, first_row + row)", "row_key(key, first_row)", "value"),
    Bug("every block takes every row", "int row = blockIdx.y; row < rows", "int row = 0; row < rows"),
    Bug("one row too many", "row < rows", "row <= rows"),
    Bug("the last row left out", "row < rows", "row + 1 < rows", "value"),
    Bug("rows start one late", "(size_t)row * places;", "(size_t)row * places + 1;"),
    Bug("read past the row's end", "place < places ? (real)x[start + place] : 0", "(real)x[start + place]"),
    Bug("written past the row's end", "if (place < places) out", "out"),
    Bug("the row's last place left out", "if (place < places) out", "if (place + 1 < places) out", "value"),
    Bug("blocks overlap", "blockIdx.x * EACH * blockDim.x", "blockIdx.x * blockDim.x"),
    Bug("threads overlap", "first + k * blockDim.x;\n      if", "first + k;\n      if"),
    Bug("other places read than written", "first + k * blockDim.x;\n      values", "first + k;\n      values", "value"),
    Bug("bits of the neighbour", "kept(of_row, place,", "kept(of_row, place ^ 1,", "value"),
    Bug("bits by the place in the batch", "kept(of_row, place,", "kept(of_row, start + place,", "value"),
    Bug("not scaled", "threshold, scale);", "threshold, 1);", "value"),
    Bug("a mask in the place of the numbers", "values[k] * kept", "kept", "value"),
    Bug("the mask inverted", ">= threshold", "< threshold", "value", "common.h"),
    Bug("half the row's key", "(uint32)(row_key >> 32)", "(uint32)row_key", "value", "common.h"),
    Bug("a shift of 14 in the hash", "bits >> 15", "bits >> 14", "value", "common.h"),
]

"""Bugs to plant in the kernels of linear, and in what its bias's gradient passes through (`columns.h`, `sums.cu`)."""

from tests.cuda.planted import Bug

BUGS = [
    Bug("bias: read past its end", "real bias = column() < C ? b[column()] : 0", "real bias = b[column()]"),
    Bug(
        "bias: by row",
        "real bias = column() < C ? b[column()] : 0",
        "real bias = first(1) < C ? b[first(1)] : 0",
        "value",
    ),
    Bug("bias: in the place of out", "x[k] += bias", "x[k] = bias", "value"),
    Bug(
        "bias: added again and again",
        "i += EACH * step(C)) {\n    real x[EACH];\n    load(x, out",
        "i += step(C)) {\n    real x[EACH];\n    load(x, out",
        "value",
    ),
    Bug("sums: the last row only", "sum += x[k]", "sum = x[k]", "value"),
    Bug(
        "sums: rows counted several times",
        "i += EACH * step(C)) {\n    real x[EACH];\n    load(x, dout",
        "i += step(C)) {\n    real x[EACH];\n    load(x, dout",
        "value",
    ),
    Bug("sums: not begun with 0", "real sum = 0;\n  for (size_t i", "real sum = 1;\n  for (size_t i", "value"),
    Bug("parts: every warp writes", "if (threadIdx.y == 0 && column() < C) parts", "if (column() < C) parts"),
    Bug("parts: not bounded", "if (threadIdx.y == 0 && column() < C) parts", "if (threadIdx.y == 0) parts"),
    Bug("parts: all blocks write the first", "parts[(size_t)blockIdx.y * C + column()]", "parts[column()]"),
    Bug(
        "parts: transposed",
        "parts[(size_t)blockIdx.y * C + column()]",
        "parts[(size_t)column() * gridDim.y + blockIdx.y]",
        "value",
    ),
    Bug(
        "parts: one beyond",
        "parts[(size_t)blockIdx.y * C + column()]",
        "parts[(size_t)(blockIdx.y + 1) * C + column()]",
    ),
    Bug("columns not bounded", "if (column() < C && i < size)", "if (i < size)", file="columns.h"),
    Bug("no barrier before the warps' sums are read", "  __syncthreads();\n", "", file="columns.h"),
    Bug(
        "a barrier for the first warp alone",
        "__syncthreads();",
        "if (threadIdx.y == 0) __syncthreads();",
        file="columns.h",
    ),
    Bug("one warp too many", "warp < blockDim.y", "warp <= blockDim.y", file="columns.h"),
    Bug("one warp too few", "warp < blockDim.y", "warp + 1 < blockDim.y", "value", "columns.h"),
    Bug(
        "all warps in one place",
        "of_warps[threadIdx.y][threadIdx.x] = x",
        "of_warps[0][threadIdx.x] = x",
        file="columns.h",
    ),
    Bug(
        "warps and lanes exchanged",
        "of_warps[threadIdx.y][threadIdx.x] = x",
        "of_warps[threadIdx.x][threadIdx.y] = x",
        file="columns.h",
    ),
    Bug(
        "each lane reads its neighbour's sum",
        "sum += of_warps[warp][threadIdx.x]",
        "sum += of_warps[warp][threadIdx.x ^ 1]",
        "value",
        "columns.h",
    ),
    Bug(
        "add_sums: lanes without a column leave before the barrier",
        "if (blockIdx.x * WARP >= width)",
        "if (column() >= width)",
        file="sums.cu",
    ),
    Bug("add_sums: read past the last part", "if (column() < width)\n    for", "for", file="sums.cu"),
    Bug("add_sums: one part too many", "part < count", "part <= count", file="sums.cu"),
    Bug("add_sums: the last part left out", "part < count", "part + 1 < count", "value", "sums.cu"),
    Bug(
        "add_sums: the first part left out", "int part = threadIdx.y", "int part = threadIdx.y + 1", "value", "sums.cu"
    ),
    Bug("add_sums: parts as long as a warp", "(size_t)part * width", "(size_t)part * WARP", "error", "sums.cu"),
    Bug(
        "add_sums: every warp adds",
        "if (threadIdx.y == 0 && column() < width)",
        "if (column() < width)",
        file="sums.cu",
    ),
    Bug(
        "add_sums: columns not bounded",
        "if (threadIdx.y == 0 && column() < width)",
        "if (threadIdx.y == 0)",
        file="sums.cu",
    ),
    Bug("add_sums: room for eight warps", "real of_warps[WARP][WARP]", "real of_warps[8][WARP]", file="sums.cu"),
    Bug(
        "add_sums: the wrong length",
        "add_sum(total0, parts0, count0, width0,",
        "add_sum(total0, parts0, width0, count0,",
        seen="value",
        file="sums.cu",
    ),
]

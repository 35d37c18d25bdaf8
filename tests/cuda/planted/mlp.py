"""Bugs to plant in GELU's kernels that are seen where a bias is added and its gradient summed: in the fused MLP."""

from tests.cuda.planted import Bug

FORWARD, BACKWARD = "gelu_forward(const stored* x, const real* b, stored* out, size_t size, int C) {\n", "real sum = 0;"
BIAS = "  real bias = b && column() < C ? b[column()] : 0;\n"

BUGS = [
    Bug(
        "forward: bias read past its end",
        FORWARD + BIAS,
        FORWARD + "  real bias = b ? b[column()] : 0;\n",
        file="gelu.cu",
    ),
    Bug("forward: no bias", FORWARD + BIAS, FORWARD + "  real bias = 0;\n", "value", "gelu.cu"),
    Bug(
        "forward: no bias within Phi",
        "h[k] += bias;\n      h[k] *= Phi(h[k], EXACT)",
        "h[k] = (h[k] + bias) * Phi(h[k], EXACT)",
        "value",
        "gelu.cu",
    ),
    Bug("backward: no bias", "h[k] += bias;\n      real phi", "real phi", "value", "gelu.cu"),
    Bug(
        "backward: bias read past its end",
        BIAS + "  " + BACKWARD,
        "  real bias = b ? b[column()] : 0;\n  " + BACKWARD,
        file="gelu.cu",
    ),
    Bug(
        "the sum of dout",
        "d[k] *= phi + h[k] * density(h[k], phi);\n      sum += d[k];",
        "sum += d[k];\n      d[k] *= phi + h[k] * density(h[k], phi);",
        "value",
        "gelu.cu",
    ),
    Bug(
        "rows overwritten, then read as dout",
        "i += EACH * step(C)) {\n    real h[EACH], d",
        "i += step(C)) {\n    real h[EACH], d",
        "value",
        "gelu.cu",
    ),
    Bug(
        "what is in place is read too late",
        "    load(d, dout, i, size, C);\n",
        "    load(d, dout, i + EACH * step(C), size, C);\n",
        "value",
        "gelu.cu",
    ),
    Bug(
        "dout in place: another thread's number",
        "load(d, dout, i, size, C)",
        "load(d, dout, i ^ 8, size, C)",
        file="gelu.cu",
    ),
    Bug(
        "every warp writes the sums",
        "if (threadIdx.y == 0 && column() < C) parts",
        "if (column() < C) parts",
        file="gelu.cu",
    ),
    Bug(
        "sums not bounded", "if (threadIdx.y == 0 && column() < C) parts", "if (threadIdx.y == 0) parts", file="gelu.cu"
    ),
    Bug("all blocks' sums in one place", "parts[(size_t)blockIdx.y * C + column()]", "parts[column()]", file="gelu.cu"),
    Bug(
        "the sum of the first warp alone",
        "sum = sum_of_warps(sum, of_warps);",
        "sum_of_warps(sum, of_warps);",
        "value",
        "gelu.cu",
    ),
    Bug(
        "warps leave before the barrier",
        "if (!parts) return;",
        "if (!parts || threadIdx.y > 3) return;",
        file="gelu.cu",
    ),
]

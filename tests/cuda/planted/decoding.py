"""Bugs in the kernels that generate one token of each of few sequences, beside the layers' definitions."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.cuda.planted import Bug
from tinygpt.backend import to_device
from tinygpt.kernels.cuda import decoding
from tinygpt.layers import attention, gelu, layernorm

ATTENTION = "decoding_attention.cu"
BUGS = [
    Bug("a row of w too many", "i < I ? (real)w", "i <= I ? (real)w"),
    Bug("a column too many", "first < I && column < O", "first < I && column <= O"),
    Bug("rows taken more than once", "first += EACH * step", "first += step", "value"),
    Bug("a warp's rows are its neighbours', too", "step = warps() * DEEP", "step = DEEP", "value"),
    Bug("w transposed", "w[(size_t)i * O + column]", "w[(size_t)column * I + i]", "value"),
    Bug("bias for each warp", "if (bias) h += bias[o];", "if (bias) h += bias[o] * warps();", "value"),
    Bug("no bias asked for", "if (bias) h", "h"),
    Bug("GELU before the bias", "if (bias) h += bias[o];\n    if (gelu != NONE) h *= Phi(h, gelu == EXACT);",
        "if (gelu != NONE) h *= Phi(h, gelu == EXACT);\n    if (bias) h += bias[o];", "value"),
    Bug("the other GELU", "gelu == EXACT", "gelu == TANH", "value"),
    Bug("GELU for all", "if (gelu != NONE) h", "h", "value"),
    Bug("the residual in GELU's place", "h += (real)residual", "h = (real)residual", "value"),
    Bug("half of the lanes' sums", "distance >= COLUMNS", "distance > COLUMNS", "value"),
    Bug("lanes of other columns in the sum", "distance >= COLUMNS", "distance >= 1", "value"),
    Bug("every lane writes", "if (lane() < COLUMNS) sums[warp()][b][lane()]", "sums[warp()][b][lane() % COLUMNS]"),
    Bug("no barrier before the warps' sums", "  }\n  __syncthreads();\n  for (int place", "  }\n  for (int place"),
    Bug("no barrier after the moments", "}\n    __syncthreads();", "}"),
    Bug("the moments of the first rows", "b = warp(); b < ROWS; b += warps()", "b = warp(); b < 1; b += warps()"),
    Bug("a warp too many", "of_warp < warps();", "of_warp <= warps();"),
    Bug("a warp too few", "of_warp < warps();", "of_warp < max(1, warps() - 1);", "value"),
    Bug("all lanes write moments", "if (lane() == 0) of[b]", "of[b]"),
    Bug("columns past the end written", "if (o >= O) continue;", ""),
    Bug("the first row's moments", "of[b].xhat", "of[0].xhat", "value"),
    Bug("eps forgotten", "warp_sum(var) / C + eps", "warp_sum(var) / C", "value"),
    Bug("the variance's square root upside down", "1 / sqrt(", "sqrt(", "value"),
    Bug("LayerNorm's bias asked for", "ln_b ? ln_b[i] : (real)0", "ln_b[i]"),
    Bug("the last LayerNorm: the first row only", "x += (size_t)blockIdx.x * C", "x += 0", "value"),
    Bug("the last LayerNorm: a number too many", "c < C; c += blockDim.x", "c <= C; c += blockDim.x"),
    Bug("head: a row too many", "if (v >= V) return;", "if (v > V) return;"),
    Bug("head: a number too many", "c < C ? (real)w[c]", "c <= C ? (real)w[c]"),
    Bug("head: numbers taken more than once", "first += EACH * WARP", "first += WARP", "value"),
    Bug("head: logits lie the other way", "logits[(size_t)b * V + v]", "logits[(size_t)v * ROWS + b]", "value"),
    Bug("head: all lanes write", "if (lane() == 0) logits", "logits"),
    Bug("attention: the new key is not stored", "keys[(size_t)start * D + d] = new_key[d];", "", "value", ATTENTION),
    Bug("attention: the value stored as the key", "D + d] = new_key[d]", "D + d] = new_value[d]", "value", ATTENTION),
    Bug("attention: stored a place further", "keys[(size_t)start", "keys[(size_t)(start + 1)", file=ATTENTION),
    Bug("attention: the new key read where it is being stored", "s == start ? new_key : keys", "keys", file=ATTENTION),
    Bug("attention: the newest position left out", "first <= start; first", "first < start; first", "value", ATTENTION),
    Bug("attention: beyond the newest", "min(first + i, start)", "first + i", file=ATTENTION),
    Bug("attention: what is beyond has weight", "if (first + i > start) break;", "", "value", ATTENTION),
    Bug("attention: not corrected for a new maximum", "o[j] *= shrink", "o[j] *= 1", "value", ATTENTION),
    Bug("attention: the sum not corrected", "total *= shrink;", "", "value", ATTENTION),
    Bug("attention: no scale", "warp_sum(sum) * scale", "warp_sum(sum)", "value", ATTENTION),
    Bug("attention: channels beyond D", "d < D ? (real)row[d] : (real)0", "(real)row[d]", file=ATTENTION),
    Bug("attention: no barrier before the warps' parts", "= o[j];\n  __syncthreads();", "= o[j];", file=ATTENTION),
    Bug("attention: a warp's part left out", "of_warp = 0; of_warp < WARPS", "of_warp = 1; of_warp < WARPS", "value",
        ATTENTION),
    Bug("attention: parts not corrected", "outs[of_warp][d] * shrink", "outs[of_warp][d]", "value", ATTENTION),
    Bug("attention: every lane writes", "if (lane == 0) {", "{", file=ATTENTION),
    Bug("attention: the first sequence's query", "(size_t)b * 3 * H + h", "h", "value", ATTENTION),
    Bug("attention: one position of a group", "first += WARPS * AT_ONCE", "first += WARPS", "value", ATTENTION),
]  # fmt: skip


def outcomes(cupy: Any) -> Iterator[tuple[Any, np.ndarray]]:
    """Pairs of ours and what the definitions have: a linear layer, the last LayerNorm, the head, attention."""
    rng = np.random.default_rng(0)

    def both(*shape: int) -> tuple[Any, np.ndarray]:
        array = rng.standard_normal(shape)
        return to_device(array, "cuda"), array

    def plain(layer: Any, *args: Any) -> np.ndarray:
        return layer.forward(*args)[0]

    for B, n_in, n_out, approximate in ((1, 1, 1, None), (3, 37, 13, "tanh"), (5, 70, 9, "none"), (2, 600, 5, None)):
        (x, x_), (w, w_), (b, b_), (g, g_), (s, s_), (r, r_) = map(both, *zip(
            (B, n_in), (n_in, n_out), (n_out, 1), (n_in, 1), (n_in, 1), (B, n_out), strict=True
        ))  # fmt: skip
        b, b_, g, g_, s, s_ = (v.reshape(-1) for v in (b, b_, g, g_, s, s_))
        h = plain(layernorm, 1e-2 * x_, g_, s_, 1e-5) @ w_ + b_
        yield (
            decoding.linear(to_device(1e-2 * x_, "cuda"), w, b, (g, s, 1e-5), approximate),
            plain(gelu, h, approximate) if approximate else h,
        )
        yield decoding.linear(x, w, norm=(g, None, 1e-5)), plain(layernorm, x_, g_) @ w_
        yield decoding.linear(x, w, residual=r), r_ + x_ @ w_
        yield decoding.layernorm(x, g, s, 1e-5), plain(layernorm, x_, g_, s_)
        yield decoding.head(x, to_device(w_.T.copy(), "cuda")), x_ @ w_
    for B, H, D, start, spare in ((1, 1, 1, 0, 0), (2, 2, 5, 33, 0), (2, 1, 40, 150, 1), (1, 2, 33, 1, 0)):
        (qkv, qkv_), (k, k_), (v, v_) = both(B, 3 * H * D), *(both(B, H, start + 1 + spare, D) for _ in range(2))
        out, end = decoding.attention(qkv, k, v, start, H), start + 1
        q, k_[:, :, start:end], v_[:, :, start:end] = attention.split_heads(qkv_[:, None], H)
        yield out, attention.decode(q, k_[:, :, :end], v_[:, :, :end])[:, 0]
        yield k, k_
        yield v, v_

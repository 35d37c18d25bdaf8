"""Bugs in AdamW's step, tried on buffers of one block and of several, some of which go round more than once."""

from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np

from tests.cuda.planted import Bug
from tinygpt.kernels.cuda import adamw as twin
from tinygpt.optim import AdamW, adamw_update
from tinygpt.parameters import Parameters

BUGS = [
    Bug("a part of the norm left out", "i < n_parts; i", "i < n_parts - 1; i", "value"),
    Bug("a part of the norm too many", "i < n_parts; i", "i <= n_parts; i"),
    Bug("every part for every thread", "i = threadIdx.x; i < n_parts", "i = 0; i < n_parts", "value"),
    Bug("sum: no barrier", "__syncthreads();\n  return warp_sum(", "return warp_sum(", file="block.h"),
    Bug("sum: as many warps as there may be", "lane < warps ? parts[lane] : 0", "parts[lane]", file="block.h"),
    Bug("all parts in one place", "parts[blockIdx.x] = sum", "parts[0] = sum"),
    Bug("all threads write a part", "if (threadIdx.x == 0) parts[", "parts["),
    Bug("squares: a pack too many", "packs) g[k] =", "packs + 1) g[k] ="),
    Bug("squares: packs taken more than once", "first += LOADS * stride", "first += stride", "value"),
    Bug("squares: the last only", "sums[k].x[e] += g", "sums[k].x[e] = g", "value"),
    Bug("squares: one of a pack's numbers", "of_pack += sums", "of_pack = sums", "value"),
    Bug("squares: not squared", "g[k].x[e] * g[k].x[e]", "g[k].x[e]", "value"),
    Bug("no root", "length = sqrt(block_sum(sum, of_warps))", "length = block_sum(sum, of_warps)", "value"),
    Bug("every block writes the norm", "blockIdx.x == 0 && threadIdx.x == 0", "threadIdx.x == 0"),
    Bug("a block's every thread writes the norm", "blockIdx.x == 0 && threadIdx.x == 0", "blockIdx.x == 0"),
    Bug("nobody writes the norm", "*norm = length;", ";", "value"),
    Bug("clips what is too short", "!(longer <= max_norm)", "longer <= max_norm", "value"),
    Bug("clips where it should not", "max_norm > 0 && !(", "!(", "value"),
    Bug("clipping forgotten", "dws.x[k] * scale", "dws.x[k]", "value"),
    Bug("decay for all", "i * WIDTH < n_decayed ? decay : 1", "decay", "value"),
    Bug("decay for as many packs", "i * WIDTH < n_decayed", "i < n_decayed", "value"),
    Bug("decay for a pack too many", "i * WIDTH < n_decayed", "i * WIDTH <= n_decayed", "value"),
    Bug("the stride of a block", "i < packs; i += stride", "i < packs; i += blockDim.x"),
    Bug("a pack past the end", "i < packs; i += stride", "i <= packs; i += stride"),
    Bug("once round only", "i < packs; i += stride", "i < packs; i += packs", "value"),
    Bug("v from the gradient alone", "rest2 * g * g", "rest2 * g", "value"),
    Bug("v without its old value", "beta2 * vs.x[k] + rest2", "rest2", "value"),
    Bug("m not written", "((Pack*)m)[i] = ms;", "", "value"),
    Bug("m written into v", "((Pack*)m)[i] = ms;", "((Pack*)v)[i] = ms;", "value"),
    Bug("the gradient written to", "((Pack*)m)[i] = ms;", "((Pack*)m)[i] = ms, ((Pack*)dw)[i] = ms;", "value"),
    Bug("v's root not corrected", "sqrt(vs.x[k]) * root_correction", "sqrt(vs.x[k])", "value"),
    Bug("eps under the root", "(root_v_hat + eps)", "sqrt(root_v_hat * root_v_hat + eps)", "value"),
]


def outcomes(cupy: Any) -> Iterator[tuple[Any, np.ndarray]]:
    """Norm, parameters, moments and gradients after each step: pairs of ours and what the definition has."""
    for shapes in ({"w": (13, 5), "b": (7,)}, {"w": (61, 67), "b": (4999,)}, {"b": (3000,)}):
        for most in (1, 2, 10_000):
            rng = np.random.default_rng(0)
            ours, right = (Parameters(shapes, "float64", device) for device in ("cuda", "cpu"))
            fill((ours, right), rng)
            card = AdamW(ours, eps=1e-3)
            host = AdamW(right, eps=1e-3, update=adamw_update)
            with mock.patch.multiple(twin, PARTS=most, BLOCKS=most + 1):
                for max_norm in (0.0, 3.0, 1e4):
                    grads = ours.zeros_like(), right.zeros_like()
                    fill(grads, rng)
                    yield card.step(grads[0], 0.1, max_norm), host.step(grads[1], 0.1, max_norm)
                    for a, b in ((ours, right), (card.m, host.m), (card.v, host.v), grads):
                        yield a.flat, b.flat


def fill(both: tuple[Parameters, Parameters], rng: np.random.Generator) -> None:
    for name, shape in both[0].shapes.items():
        both[0][name] = both[1][name] = rng.standard_normal(shape)

"""Bugs in the head's loss, tried on rows of one warp and of several, whole and in chunks."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.cuda.planted import Bug
from tests.layers.implementations import leaves
from tinygpt.kernels.cuda import lm_head_loss as twin
from tinygpt.layers import lm_head_loss
from tinygpt.ops import DEFINITIONS

BUGS = [
    Bug("maximum: no barrier", "__syncthreads();\n  return warp_max(", "return warp_max(", file="block.h"),
    Bug("sum: no barrier", "__syncthreads();\n  return warp_sum(", "return warp_sum(", file="block.h"),
    Bug("sum: as many warps as there may be", "lane < warps ? parts[lane] : 0", "parts[lane]", file="block.h"),
    Bug("sum: one warp too few", "lane < warps ? parts[lane] : 0", "lane < warps - 1 ? parts[lane] : 0", "value",
        "block.h"),
    Bug("sum: every lane writes the warp's", "if (lane == 0) parts[warp] = x;\n  __syncthreads();\n  return warp_sum(",
        "parts[warp] = x;\n  __syncthreads();\n  return warp_sum(", file="block.h"),
    Bug("one shared array for both", "exp(largest - x_max), sums)", "exp(largest - x_max), maxima)"),
    Bug("a pack too many", "packs) loaded[k] =", "packs + 1) loaded[k] ="),
    Bug("packs taken that were never loaded", "if (first + k * threads < packs) take(", "take(", "value"),
    Bug("packs taken more than once", "first += LOADS * threads", "first += threads", "value"),
    Bug("the last logits not in the sum", "if (single < V) take(x + single, 1, largest, sum);", "", "value"),
    Bug("one logit too many", "if (single < V) take(", "if (single <= V) take("),
    Bug("the last logits without gradient", "if (single < V) x[single] =", "if (single < 0) x[single] =", "value"),
    Bug("the target's logit read late", "log(total) - (x_target - x_max)", "log(total) - (x[target] - x_max)"),
    Bug("old sum not shrunk", "sum *= exp(largest - here);", "", "value"),
    Bug("a thread's sum not shrunk", "block_sum(sum * exp(largest - x_max), sums)", "block_sum(sum, sums)", "value"),
    Bug("the maximum of a warp", "block_max(largest, maxima)", "warp_max(largest)", "value"),
    Bug("a maximum that begins at 0", "LOWEST = -3e38", "LOWEST = 0", "value"),
    Bug("rows V apart", "(size_t)row * stride", "(size_t)row * V"),
    Bug("ignored rows keep their logits", "c += threads) x[c] = (real)0;", "c += threads) {}", "value"),
    Bug("ignored rows without a loss", "if (thread == 0) losses[row] = 0;", ""),
    Bug("ignored rows not told apart", "if (target == IGNORED)", "if (false)"),
    Bug("no one at the target", "(i * WIDTH + k == target)", "0", "value"),
    Bug("one at the target's pack", "i * WIDTH + k == target", "i * WIDTH == target", "value"),
    Bug("softmax not divided", "* over_total - (i", "- (i", "value"),
    Bug("the last round left out", "(packs + threads - 1) / threads", "packs / threads", "value"),
    Bug("backwards by a warp's threads", "i >= 0; i -= threads", "i >= 0; i -= WARP"),
    Bug("the card's denominator forgotten", "scale = 1 / (on_card ? *on_card : denominator)", "scale = 1 / denominator",
        "value"),
    Bug("loss not divided", "sum / (on_card ? *on_card : denominator)", "sum", "value"),
    Bug("all threads write the loss", "if (thread == 0) losses[row] = log", "losses[row] = log"),
    Bug("a thread's last loss only", "sum += losses[row]", "sum = losses[row]", "value"),
    Bug("a thread's last target only", "counted += targets", "counted = targets", "value"),
    Bug("none counted divides by 0", "max(counted, (real)1)", "counted", "value"),
    Bug("ignored targets counted", "targets[row] != IGNORED", "1", "value"),
]  # fmt: skip


def outcomes(cupy: Any) -> Iterator[tuple[Any, np.ndarray]]:
    """Loss, dx and dw of each input: pairs of ours and what the definition has."""
    rng = np.random.default_rng(0)
    for N, C, V, denominator, options, size in (
        (5, 4, 7, None, {}, 1), (7, 3, 1201, 3.0, {}, 40), (70, 2, 65, None, {"rows": 33}, 1),
        (3, 2, 4097, "card", {}, 1), (2, 5, 9, None, {"need_grad": False}, 1), (1100, 1, 2, None, {}, 1),
    ):  # fmt: skip
        x, w = size * rng.standard_normal((N, C)) - size, rng.standard_normal((V, C)) + size
        targets = rng.integers(V, size=N)
        targets[0] = V - 1
        for ignored in (slice(0), slice(1, 2), slice(None)):
            targets[ignored] = -1
            if denominator == "card":
                given, known = cupy.asarray(np.float64(2.5)), 2.5
            else:
                given = known = denominator
            loss, cache = twin.forward(
                cupy.asarray(x), cupy.asarray(w), cupy.asarray(targets), given, ops=DEFINITIONS, **options
            )
            expected, expected_cache = lm_head_loss.forward(x, w, targets, known, ops=DEFINITIONS)
            yield loss, expected
            if cache is not None:
                gradients = twin.backward(cupy.asarray(np.float64(1.7)), cache)
                whole = [d.array() if hasattr(d, "array") else d for d in gradients]
                yield from zip(whole, leaves(lm_head_loss.backward(1.7, expected_cache)), strict=True)
    # Logits so low that a register which nobody has set, -1.7e38 in the emulator, would be the highest
    x, w, targets = np.ones((3, 1), np.float32), np.full((65, 1), -2e38, np.float32), np.arange(3)
    loss, _ = twin.forward(*map(cupy.asarray, (x, w, targets)), need_grad=False, ops=DEFINITIONS)
    yield loss, np.log(np.float32(65))

"""Steps and tolerances by the dtype in which a function computes, which may be another than the dtype that it returns.

A function computes as exactly as its coarsest part. Moved by a billionth, one in float64 moves twice as far for twice
the way; one that goes through float32 stands still and jumps, from one float32 number to the next.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tinygpt.backend import Array, array_module, to_host


class Precision(NamedTuple):
    """eps: between 1 and the next number. step: of the numerical derivatives, where x is of order one. tolerance: of a
    gradient's relative error; forward: of an output's against a definition.
    """

    name: str
    eps: float
    step: float
    tolerance: float
    forward: float

    @property
    def rounding(self) -> float:
        """What a few operations' rounding makes of a number, relative."""
        return 8 * self.eps


FLOAT64 = Precision("float64", 2.0**-52, 3e-4, 1e-9, 1e-12)
FLOAT32 = Precision("float32", 2.0**-23, 1.6e-2, 1e-3, 1e-5)
FLOAT16 = Precision("float16", 2.0**-10, 1.3e-1, 2e-1, 1e-2)
BY_COARSENESS = (FLOAT64, FLOAT32, FLOAT16)


def of_dtype(dtype: Any) -> Precision:
    """Of arrays of that dtype: longer ones than float64 are taken as it."""
    return next((p for p in BY_COARSENESS if p.name == str(dtype)), FLOAT64)


def coarser(*precisions: Precision) -> Precision:
    return max(precisions, key=lambda precision: precision.eps)


def of_numbers(x: np.ndarray) -> Precision:
    """By the numbers themselves: float64 that holds nothing but numbers of float32 was computed in float32."""
    x = np.asarray(x)
    found = of_dtype(x.dtype)
    if found is FLOAT64 and x.dtype.kind == "f" and x.size >= 4 and np.isfinite(x).all():
        short = (np.frexp(x)[0] * 2**12) % 1 == 0  # whole numbers, halves and their like, which any dtype holds
        if not short.all() and np.array_equal(x.astype(np.float32), x):
            return FLOAT32
    return found


def measured(outputs: Callable[[], list[Array]], arrays: Mapping[str, Array], rng: np.random.Generator) -> Precision:
    """The precision in which `outputs` computes from what stands in `arrays`, which is moved and put back."""
    start = {name: x.copy() for name, x in arrays.items()}
    ways = {name: array_module(x).asarray(_way(to_host(x), rng)) for name, x in arrays.items()}

    def at(t: float) -> np.ndarray:
        for name, x in arrays.items():
            x[...] = start[name] + t * ways[name]
        return np.concatenate([to_host(out).astype(np.float64).reshape(-1) for out in outputs()])

    found = FLOAT64
    try:
        with np.errstate(all="ignore"):
            here = at(0)
            still = True
            for exponent in (-30, -24, -18, -12, -8):
                if not still and exponent > -18:  # these are for a dtype so coarse that nothing has moved yet
                    break
                roughness, leap = _roughness(here, at, 2.0**exponent)
                still = still and roughness is None
                if roughness is None or roughness < 0.01:
                    continue
                farther, _ = _roughness(here, at, 2.0 ** (exponent + 6))
                # what bends is less straight, the longer the way, and what leaps from number to number is straighter
                if farther is not None and farther < roughness / 4 and 2.0**-29 < leap < 2.0**-5:
                    found = coarser(found, FLOAT32 if leap < 2.0**-14 else FLOAT16)
    finally:
        for name, x in arrays.items():
            x[...] = start[name]
    return found


def _way(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A step for each number, of the size of the number or of its like; infinities stay where they are."""
    sizes = np.abs(x[np.isfinite(x) & (x != 0)])
    size = np.maximum(np.abs(x), np.median(sizes) if sizes.size else 1.0)
    return np.where(np.isfinite(x), size * rng.uniform(0.5, 1, x.shape), 0)


def _roughness(here: np.ndarray, at: Callable[[float], np.ndarray], t: float) -> tuple[float | None, float]:
    """How unlike two equal steps are, 0 for a straight line and 1 for leaps; and how large the leaps, relative."""
    first, second = at(t), at(2 * t)
    known = np.isfinite(here) & np.isfinite(first) & np.isfinite(second)
    a, b, here = (first - here)[known], (second - first)[known], here[known]
    moved = float(np.abs(a).sum() + np.abs(b).sum())
    if not moved:
        return None, 0.0
    unlike = np.abs(b - a)
    rough = (unlike > 0.1 * (np.abs(a) + np.abs(b))) & (here != 0)
    leaps = unlike[rough] / np.abs(here[rough])
    return float(unlike.sum()) / moved, float(np.median(leaps)) if leaps.size else 0.0

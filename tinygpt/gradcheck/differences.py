"""Numerical derivatives with care, five-point differences in float64, and what is compared with them entry by entry.

f'(x) is the sum of w f(x + k h) / h over the pairs (k, w) of FIVE_POINTS, with an error of h^4 f^(5) / 30 (Fornberg,
"Generation of finite difference formulas on arbitrarily spaced grids", 1988). The step h = 3e-4 max(1, |x|) keeps both
that error and the rounding of f, which is divided by h, near 1e-12. Where a check's two sides do not agree, other steps
are tried: the first is too long where forward bends sharply, and none makes a wrong gradient right.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygpt.backend import Array, array_module, to_host
from tinygpt.gradcheck.report import Row

FIVE_POINTS = ((-2, 1 / 12), (-1, -8 / 12), (1, 8 / 12), (2, -1 / 12))
STEPS: tuple[Callable[[np.ndarray, float], np.ndarray], ...] = (  # h from |x| and its typical size
    lambda x, typical: 3e-4 * np.maximum(1, x),
    lambda x, typical: 3e-5 * np.maximum(1, x),
    lambda x, typical: 3e-6 * np.maximum(1, x),
    lambda x, typical: 3e-4 * np.where(x > 0, x, typical),  # forward may bend at the scale of a small x
    lambda x, typical: np.full_like(x, 3e-4),  # or not care how far from 0 a large one is
)
FORWARD_TOLERANCE = 1e-12
ENTRY_TOLERANCE = 1e-4  # of every single entry, relative to itself: a norm does not see the small among the large
ROUNDING = 8 * np.finfo(np.float64).eps  # of one value of forward, relative: a few operations' worth


class Numerical(NamedTuple):
    """Of one input with one step: at the chosen entries, along a direction, and how much of each rounding may be."""

    values: np.ndarray
    noise: np.ndarray
    slope: float = 0.0
    slope_noise: float = 0.0


class Derivatives:
    """Of the sum of out * dout by each of the arrays that forward reads, computed when asked for, and once.

    forward: gives the outputs at what stands in the arrays, `out` at first. max_entries: of each larger array so many
    entries are looked at, `entries` by its name, and the whole of it along a random direction, `directions`.
    """

    def __init__(
        self, forward: Callable[[], list[Array]], arrays: Mapping[str, Array], out: list[Array], dout: list[Array],
        max_entries: int | None, rng: np.random.Generator,
    ):  # fmt: skip
        self.forward, self.arrays, self.out, self.dout = forward, arrays, out, dout
        self.entries: dict[str, np.ndarray] = {}
        self.directions: dict[str, np.ndarray] = {}
        for name, x in arrays.items():
            self.entries[name] = np.arange(x.size)
            if max_entries is not None and x.size > max_entries:
                self.entries[name] = np.sort(rng.choice(x.size, max_entries, replace=False))
                self.directions[name] = rng.standard_normal(x.size)
        self._known: dict[tuple[str, int], Numerical] = {}

    def numerical(self, name: str, step: int = 0) -> tuple[np.ndarray, Numerical]:
        """The flat places of one input that are checked, and its derivatives there. step: which of STEPS."""
        if (name, step) not in self._known:
            with np.errstate(all="ignore"):  # a step may leave forward's domain
                self._known[name, step] = self._differentiate(name, STEPS[step])
        return self.entries[name], self._known[name, step]

    def _differentiate(self, name: str, step: Callable[[np.ndarray, float], np.ndarray]) -> Numerical:
        x, entries = self.arrays[name], self.entries[name]
        xp, flat, host = array_module(x), x.reshape(-1), to_host(x).flatten()
        finite = np.abs(host[np.isfinite(host)])
        typical = float(np.median(finite)) if finite.size and np.median(finite) > 0 else 1.0
        values, sizes = [], []
        steps = _power_of_two(step(np.abs(host[entries]), typical))
        for place, h in zip(entries.tolist(), steps.tolist(), strict=True):
            if math.isfinite(h):
                value, size = self._slope(flat, place, host[place] + np.arange(-2, 3) * h)
                flat[place] = host[place]
            else:  # an input of -inf, as in a masked score, is where it is: nothing moves it
                value, size, h = xp.zeros((), x.dtype), xp.zeros((), x.dtype), 1.0
            values.append(value / h)
            sizes.append(size / (h * h))
        noise = ROUNDING * np.sqrt(to_host(xp.stack(sizes)))
        if name not in self.directions:
            return Numerical(to_host(xp.stack(values)), noise)
        start, u = flat.copy(), xp.asarray(np.where(np.isfinite(host), self.directions[name], 0))
        h = float(_power_of_two(step(np.array([min(typical, 1.0)]), typical))[0]) * min(typical, 1.0)
        slope, size = self._slope(flat, slice(None), [start + k * h * u for k in range(-2, 3)])
        flat[...] = start
        return Numerical(to_host(xp.stack(values)), noise, float(slope) / h, ROUNDING * math.sqrt(float(size)) / h)

    def _slope(self, flat: Array, place: Any, points: Sequence) -> tuple[Array, Array]:
        """The difference quotient's numerator, and the sum of squares of the terms that it was taken from.

        points: what stands at flat[place] at x - 2h to x + 2h. The terms are out * dout at the outputs that move, and
        only differences are summed: whatever else forward returns, however large, has no part in it.
        """
        numerator: Any = 0.0
        size: Any = 0.0
        for k, weight in FIVE_POINTS:
            flat[place] = points[k + 2]
            moved: Any = 0.0
            for out, start, dout in zip(self.forward(), self.out, self.dout, strict=True):
                xp = array_module(out)
                still = out == start  # infinities among them
                numerator = numerator + weight * (xp.where(still, 0, out - start) * dout).sum()
                moved = moved + xp.where(still, 0, (start * dout) ** 2).sum()
            size = xp.maximum(size, moved)  # of the four, since what rounding moves it may not move every time
        return numerator, size


def _power_of_two(h: np.ndarray) -> np.ndarray:
    """The nearest powers of two: x + k h is then exact, and h what it says it is."""
    with np.errstate(divide="ignore"):
        return np.where(np.isfinite(h), 2.0 ** np.round(np.log2(h)), h)


def gradient_row(derivatives: Derivatives, name: str, gradient: Any, tolerance: float) -> Row:
    """The gradient of one input."""
    row, shape = f"d{name}", tuple(derivatives.arrays[name].shape)
    if gradient is None:
        return Row(row, shape, math.nan, problem="None, where a gradient was expected")
    gradient = to_host(gradient) if hasattr(gradient, "dtype") else np.asarray(gradient)
    if gradient.shape != shape or gradient.dtype.kind not in "fiu":
        got = f"shape {gradient.shape}" if gradient.shape != shape else f"dtype {gradient.dtype}"
        return Row(row, shape, math.nan, problem=f"has {got}")
    flat = gradient.astype(np.float64).reshape(-1)
    if not np.isfinite(flat).all():
        return Row(row, shape, math.nan, problem="not finite")
    if not flat.size:
        return Row(row, shape, 0.0)
    entries, values, error, wrong = _compare(derivatives, name, flat, tolerance)
    off = np.nan_to_num(np.abs(flat[entries] - values), nan=np.inf)
    if wrong.any() and error <= tolerance:  # small ones, among larger that are right
        off = off * wrong
    worst = int(np.argmax(off))
    place = tuple(int(i) for i in np.unravel_index(entries[worst], shape))
    problem = ""
    if wrong.any() or not error <= tolerance:
        problem = "WRONG" + _what_it_is(flat[entries], values)
    elif not (along := _along(derivatives, name, flat, tolerance)) <= tolerance:
        error, problem = along, "WRONG along a random direction"
    return Row(row, shape, error, place, float(flat[entries[worst]]), float(values[worst]), len(entries), problem)


def _compare(derivatives: Derivatives, name: str, flat: np.ndarray, tolerance: float) -> tuple:
    """The places checked, the numerical derivatives there, the relative error, and which entries are wrong."""
    entries, first = derivatives.numerical(name)
    analytic, values, noise = flat[entries], first.values, first.noise
    # What rounding alone may make of a true zero: of the numerical side, and of the analytic one.
    zero = float(np.linalg.norm(noise)) + ROUNDING * math.sqrt(sum(float((d * d).sum()) for d in derivatives.dout))
    for step in range(len(STEPS)):
        again = derivatives.numerical(name, step)[1]
        closer = ~(np.abs(again.values - analytic) >= np.abs(values - analytic))
        values, noise = np.where(closer, again.values, values), np.where(closer, again.noise, noise)
        difference, size = np.linalg.norm(analytic - values), max(map(np.linalg.norm, (analytic, values)))
        # A shorter step has more rounding in it, which excuses no more than a few times the tolerance.
        floor = max(zero, min(float(np.linalg.norm(noise)), 3 * tolerance * size) if step else 0.0)
        error = relative(difference, size, floor / tolerance)
        allowed = ENTRY_TOLERANCE * np.maximum(np.abs(analytic), np.abs(values)) + 30 * noise + zero
        wrong = ~(np.abs(analytic - values) <= allowed)
        settled = step == 1 and np.linalg.norm(again.values - first.values) <= 1e-3 * difference
        if error <= tolerance and not wrong.any() or settled:
            break  # right, or ten times shorter steps say the same
    return entries, values, error, wrong


def _along(derivatives: Derivatives, name: str, flat: np.ndarray, tolerance: float) -> float:
    """The error along the random direction, relative to norm(gradient), what |gradient . u| is on average; 0 where all
    entries were checked. The best of all steps, since a direction crosses the bends of every entry.
    """
    if name not in derivatives.directions:
        return 0.0
    errors: list[float] = []
    for step in range(len(STEPS)):
        numerical = derivatives.numerical(name, step)[1]
        size = max(float(np.linalg.norm(flat)), abs(numerical.slope))
        floor = numerical.slope_noise if not step else min(numerical.slope_noise, 100 * tolerance * size)
        off = abs(float(flat @ derivatives.directions[name]) - numerical.slope)
        errors.append(relative(off, size, floor / tolerance))
        if errors[-1] <= tolerance:
            break
    return float(np.nanmin([math.inf, *errors]))


def _what_it_is(analytic: np.ndarray, numerical: np.ndarray) -> str:
    """ ": zero" and the like for a wrong gradient that is a multiple of the right one; nothing for any other."""
    factor = float(analytic @ numerical) / max(float(numerical @ numerical), np.finfo(np.float64).tiny)
    if len(analytic) < 2 or np.linalg.norm(analytic - factor * numerical) > 1e-6 * np.linalg.norm(analytic):
        return ""
    if abs(factor - 1) < 1e-5:
        return ""
    return ": zero" if not analytic.any() else ": its sign" if abs(factor + 1) < 1e-6 else f": {factor:.6g} times"


def forward_row(name: str, out: Array, right: Array) -> Row:
    """One output."""
    a, b = to_host(out), to_host(right)
    with np.errstate(invalid="ignore"):
        off = np.where(a == b, 0, a - b)  # equal infinities too
    sizes = (np.linalg.norm(np.where(np.isfinite(x), x, 0)) for x in (a, b))
    error = relative(np.linalg.norm(off), *sizes)
    typical = np.abs(b[np.isfinite(b) & (b != 0)])
    typical = float(np.quantile(typical, 0.25)) if typical.size else 0.0
    small = np.abs(off) > 1e-9 * np.abs(b) + 1e-10 * typical  # what a norm does not see beside a masked score's -1e9
    problem = "" if error <= FORWARD_TOLERANCE and not small.any() else "not what the definition computes"
    if not a.size:
        return Row(name, a.shape, error, problem=problem)
    place = tuple(map(int, np.unravel_index(np.argmax(np.nan_to_num(np.abs(off), nan=np.inf)), a.shape)))
    return Row(name, a.shape, error, place, float(a[place]), float(b[place]), a.size, problem)


def relative(difference: Any, *sizes: Any) -> float:
    """difference / max(sizes); 0 where all is exactly zero, and NaN where a number is."""
    return float(difference / max(np.max(sizes), np.finfo(np.float64).tiny))

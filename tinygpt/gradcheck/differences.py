"""Numerical derivatives with care: five-point differences, with steps that suit the function and its precision.

f'(x) is the sum of w f(x + k h) / h over the pairs (k, w) of FIVE_POINTS, with an error of h^4 f^(5) / 30 (Fornberg,
"Generation of finite difference formulas on arbitrarily spaced grids", 1988). In float64 the step h = 3e-4 max(1, |x|)
keeps both that error and the rounding of f, which is divided by h, near 1e-12. It is too long where forward bends
sharply, so there are others, and at last one that is looked for.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygpt.backend import Array, array_module, to_host
from tinygpt.gradcheck.precision import FLOAT64, Precision
from tinygpt.gradcheck.progress import Progress

FIVE_POINTS = ((-2, 1 / 12), (-1, -8 / 12), (1, 8 / 12), (2, -1 / 12))
WEIGHTS = np.array([weight for _, weight in FIVE_POINTS])
STEPS: tuple[Callable[[np.ndarray, float, float], np.ndarray], ...] = (  # h from |x|, its typical size, and h at 1
    lambda x, typical, h: h * np.maximum(1, x),
    lambda x, typical, h: h / 10 * np.maximum(1, x),
    lambda x, typical, h: h / 100 * np.maximum(1, x),
    lambda x, typical, h: h * np.where(x > 0, x, typical),  # forward may bend at the scale of a small x
    lambda x, typical, h: np.full_like(x, h),  # or not care how far from 0 a large one is
    lambda x, typical, h: h / 1e3 * np.maximum(1, x),
    lambda x, typical, h: h / 1e4 * np.maximum(1, x),
)
ROUNDING = FLOAT64.rounding
LOOKED_AT = 16  # entries for which a step is looked for; the others take what is usual among these


class Numerical(NamedTuple):
    """Of one input with one step: how far the sum moves at x - 2h, x - h, x + h and x + 2h, and what rounding may be.

    moves: (entries, 4). steps, noise: (entries,); noise is of the derivative.
    """

    moves: np.ndarray
    steps: np.ndarray
    noise: np.ndarray

    @property
    def values(self) -> np.ndarray:
        """The derivatives."""
        return self.moves @ WEIGHTS / self.steps

    @property
    def left(self) -> np.ndarray:
        """The slopes on the left alone."""
        return (self.moves[:, 0] - 4 * self.moves[:, 1]) / (2 * self.steps)

    @property
    def right(self) -> np.ndarray:
        """The slopes on the right alone."""
        return (4 * self.moves[:, 2] - self.moves[:, 3]) / (2 * self.steps)

    @property
    def bends(self) -> np.ndarray:
        """How far derivatives by fewer points lie apart, relative: nearly 0 where the step is short enough."""
        by_two = (self.moves[:, 2] - self.moves[:, 1]) / (2 * self.steps)
        size = np.maximum.reduce(
            [np.abs(self.values), np.abs(self.left), np.abs(self.right), np.full_like(by_two, 1e-300)]
        )
        return np.maximum(np.abs(self.values - by_two) / size, (np.abs(self.right - self.left) / size) ** (2 / 3))

    @property
    def kinked(self) -> np.ndarray:
        """Where the slopes on the left and on the right are not the same."""
        size = np.maximum(np.abs(self.left), np.abs(self.right))
        return np.abs(self.right - self.left) > 0.01 * size + 30 * self.noise


class Derivatives:
    """Of the sum of out * dout by each of the arrays that forward reads, computed when asked for, and once.

    forward: gives the outputs at what stands in the arrays, `out` at first. max_entries: of each larger array so many
    entries are looked at, `entries` by its name, and the whole of it along a random direction, `directions`.
    """

    def __init__(
        self, forward: Callable[[], list[Array]], arrays: Mapping[str, Array], out: list[Array], dout: list[Array],
        max_entries: int | None, rng: np.random.Generator, precision: Precision = FLOAT64,
    ):  # fmt: skip
        self.forward, self.arrays, self.out, self.dout = forward, arrays, out, dout
        self.precision = precision
        self.entries: dict[str, np.ndarray] = {}
        self.directions: dict[str, np.ndarray] = {}
        for name, x in arrays.items():
            self.entries[name] = np.arange(x.size)
            if max_entries is not None and x.size > max_entries:
                self.entries[name] = np.sort(rng.choice(x.size, max_entries, replace=False))
                self.directions[name] = rng.standard_normal(x.size)
        self.progress = Progress(sum(map(len, self.entries.values())))
        self._known: dict[tuple[str, str, int], Numerical] = {}

    def numerical(self, name: str, step: int = 0) -> tuple[np.ndarray, Numerical]:
        """The flat places of one input that are checked, and its derivatives there. step: which of STEPS."""
        if (name, "entries", step) not in self._known:
            host, typical = self._host(name)
            steps = STEPS[step](np.abs(host[self.entries[name]]), typical, self.precision.step)
            self._known[name, "entries", step] = self._differentiate(name, self.entries[name], steps)
        return self.entries[name], self._known[name, "entries", step]

    @property
    def in_doubt(self) -> bool:
        """Whether other steps than the first were asked for."""
        return any(step for _, _, step in self._known)

    def along(self, name: str, step: int) -> Numerical:
        """The slope along the random direction in one input, as if it were one entry."""
        if (name, "along", step) not in self._known:
            host, typical = self._host(name)
            size = min(typical, 1.0)
            h = STEPS[step](np.array([size]), typical, self.precision.step)[0] * size
            self._known[name, "along", step] = self._along(name, host, h)
        return self._known[name, "along", step]

    def at_kinks(self, name: str, entries: np.ndarray) -> Numerical:
        """With the shortest step that still tells the slopes on either side apart."""
        host, typical = self._host(name)
        size = np.minimum(np.maximum(1, np.abs(host[entries])), np.where(host[entries], np.inf, max(typical, 1e-300)))
        return self._differentiate(name, entries, math.sqrt(self.precision.eps) * size)

    def direction_at_kinks(self, name: str) -> Numerical:
        """Likewise, along the random direction."""
        host, typical = self._host(name)
        return self._along(name, host, math.sqrt(self.precision.eps) * min(typical, 1.0))

    def looked_for(self, name: str, entries: np.ndarray, others: np.ndarray) -> Numerical:
        """With the steps that suit forward best at `entries`, and at all `others` what is usual among these: in that
        order.
        """
        found = [self._best_step(name, entry) for entry in entries.tolist()]
        usual = np.median(np.array(found), axis=0)
        steps, unit = np.array([*found, *[usual] * len(others)]).T
        made = self._differentiate(name, np.concatenate([entries, others]), steps)
        return made._replace(noise=np.maximum(made.noise, unit / made.steps))

    def _best_step(self, name: str, entry: int) -> tuple[float, float]:
        """Of steps by powers of four, that with the least error from bends and from rounding as they are measured; and
        how much rounding moves the sum.
        """
        host, typical = self._host(name)
        if not np.isfinite(host[entry]):
            return 1.0, 0.0
        size = abs(float(host[entry])) or typical
        least = max(-1000, math.floor(math.log2(min(size, 1.0))) + math.floor(math.log2(self.precision.eps) * 0.6))
        steps = 2.0 ** np.arange(max(0, math.floor(math.log2(size))) - 2, least, -2)
        made = self._differentiate(name, np.full(len(steps), entry), steps)
        fourth = np.abs(made.moves @ [1, -4, -4, 1]) / 8  # of a straight line nothing but rounding
        unit = max(float(np.median(fourth[-4:])), float(made.noise[-1] * steps[-1]) / 8)
        error = np.abs(made.values) * made.bends**2 + unit / steps
        error[~np.isfinite(error)] = np.inf
        return float(steps[np.argmin(error)]), unit

    def _host(self, name: str) -> tuple[np.ndarray, float]:
        """An input's numbers, flat, and their typical size."""
        host = to_host(self.arrays[name]).flatten()
        finite = np.abs(host[np.isfinite(host)])
        return host, float(np.median(finite)) if finite.size and np.median(finite) > 0 else 1.0

    def _differentiate(self, name: str, entries: np.ndarray, steps: np.ndarray) -> Numerical:
        flat, host = self.arrays[name].reshape(-1), self._host(name)[0]
        steps, points = power_of_two(steps), np.arange(-2, 3)
        self.progress.total = max(self.progress.total, self.progress.done + len(entries))
        moves: list[Any] = []
        sizes: list[Any] = []
        for number, (place, h) in enumerate(zip(entries.tolist(), steps.tolist(), strict=True)):
            if math.isfinite(h):
                self._move(flat, place, host[place] + points * h, moves, sizes)
                flat[place] = host[place]
            else:  # an input of -inf, as in a masked score, is where it is: nothing moves it
                nothing = array_module(flat).zeros((), flat.dtype)
                moves += [nothing] * 4
                sizes.append(nothing)
                steps[number] = 1.0
            self.progress.step(f"d{name}")
        self.progress.close()
        return self._made(array_module(flat), moves, sizes, steps)

    def _along(self, name: str, host: np.ndarray, h: float) -> Numerical:
        xp, flat = array_module(self.arrays[name]), self.arrays[name].reshape(-1)
        start, u = flat.copy(), xp.asarray(np.where(np.isfinite(host), self.directions[name], 0))
        h = float(power_of_two(np.array([h]))[0])
        moves: list[Any] = []
        sizes: list[Any] = []
        self._move(flat, slice(None), [start + k * h * u for k in range(-2, 3)], moves, sizes)
        flat[...] = start
        return self._made(xp, moves, sizes, np.array([h]))

    def _made(self, xp: Any, moves: list, sizes: list, steps: np.ndarray) -> Numerical:
        if not sizes:
            return Numerical(np.zeros((0, 4)), steps, np.zeros(0))
        noise = self.precision.rounding * np.sqrt(to_host(xp.stack(sizes))) / steps
        return Numerical(to_host(xp.stack(moves)).reshape(-1, 4), steps, noise)

    def _move(self, flat: Array, place: Any, points: Sequence, moves: list, sizes: list) -> None:
        """Add how far the sum moves as flat[place] goes to the points at -2h, -h, h and 2h, and the sum of squares of
        the terms that move. The terms are out * dout, and only differences are summed: whatever else forward returns,
        however large, has no part in it.
        """
        size: Any = 0.0
        with np.errstate(all="ignore"):  # a step may leave forward's domain
            for k, _ in FIVE_POINTS:
                flat[place] = points[k + 2]
                moved: Any = 0.0
                terms: Any = 0.0
                for out, start, dout in zip(self.forward(), self.out, self.dout, strict=True):
                    xp = array_module(out)
                    still = out == start  # infinities among them
                    moved = moved + (xp.where(still, 0, out - start) * dout).sum()
                    terms = terms + xp.where(still, 0, (start * dout) ** 2).sum()
                moves.append(moved)
                size = xp.maximum(size, terms)  # of the four, since what rounding moves it may not move every time
        sizes.append(size)


def power_of_two(h: np.ndarray) -> np.ndarray:
    """The nearest powers of two: x + k h is then exact, and h what it says it is."""
    with np.errstate(divide="ignore"):
        return np.where(np.isfinite(h), 2.0 ** np.round(np.log2(h)), h)


def relative(difference: Any, *sizes: Any) -> float:
    """difference / max(sizes); 0 where all is exactly zero, and NaN where a number is."""
    return float(difference / max(np.max(sizes), np.finfo(np.float64).tiny))

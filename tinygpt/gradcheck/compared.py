"""What a candidate gives, held against what is right: a row for each gradient and each output.

Where the two sides of a gradient do not agree, other steps are tried before it is called wrong: none of them makes a
wrong gradient right.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from tinygpt.backend import Array, to_host
from tinygpt.gradcheck.arrays import native, no_array
from tinygpt.gradcheck.differences import LOOKED_AT, STEPS, Derivatives, Numerical, relative
from tinygpt.gradcheck.precision import FLOAT32, FLOAT64, Precision, coarser, of_numbers
from tinygpt.gradcheck.report import Row

ENTRY_TOLERANCE = 1e-4  # of every single entry, relative to itself: a norm does not see the small among the large


class Entries(NamedTuple):
    """The places checked, what stands there, the numerical derivatives, the relative error, which entries are wrong,
    and which were left out because forward has a kink there.
    """

    entries: np.ndarray
    analytic: np.ndarray
    values: np.ndarray
    error: float
    wrong: np.ndarray
    kinks: np.ndarray
    hidden: float  # errors below this, relative, are not seen


def gradient_row(
    derivatives: Derivatives, name: str, gradient: Any, tolerance: float | None, said: list[str] | None = None
) -> Row:
    """The gradient of one input. tolerance: of its relative error; None for that of the dtype that computes.

    said: gets what is doubtful about it, in sentences.
    """
    row, shape, said = f"d{name}", tuple(derivatives.arrays[name].shape), [] if said is None else said
    gradient = native(gradient)
    if what := no_array(gradient):
        return Row(row, shape, math.nan, problem=f"{what}, where a gradient was expected")
    gradient = to_host(gradient) if hasattr(gradient, "dtype") else np.asarray(gradient)
    if gradient.shape != shape or gradient.dtype.kind not in "fiu":
        got = f"shape {gradient.shape}" if gradient.shape != shape else f"dtype {gradient.dtype}"
        return Row(row, shape, math.nan, problem=f"has {got}")
    computed = of_numbers(gradient)
    allowed = coarser(derivatives.precision, computed).tolerance if tolerance is None else tolerance
    flat = gradient.astype(np.float64).reshape(-1)
    if not np.isfinite(flat).all():
        return Row(row, shape, math.nan, problem="not finite")
    if not flat.size:
        return Row(row, shape, 0.0)
    compared = _compare(derivatives, name, flat, allowed)
    entries, analytic, values, error, wrong, kinks, _ = compared
    if not len(entries):
        said += [_kinks(derivatives, name, kinks), f"{row}: nothing is left to check, so this proves nothing"]
        return Row(row, shape, 0.0)
    off = np.nan_to_num(np.abs(analytic - values), nan=np.inf)
    if wrong.any() and error <= allowed:  # small ones, among larger that are right
        off = off * wrong
    worst = int(np.argmax(off))
    place = tuple(int(i) for i in np.unravel_index(entries[worst], shape))
    problem = ""
    if wrong.any() or not error <= allowed:
        problem = "WRONG" + _what_it_is(analytic, values, allowed)
        if computed is FLOAT32 and derivatives.precision is FLOAT64 and error < 1e-5:
            problem = "right to float32's 7 digits"
        elif error <= allowed:
            problem = "WRONG: small entries among larger ones"
    elif not (along := _along(derivatives, name, flat, allowed, said)) <= allowed:
        error, problem = along, "WRONG along a random direction"
    else:
        _doubts(derivatives, name, compared, computed, allowed, tolerance, said)
    if len(kinks):
        said.append(_kinks(derivatives, name, kinks))
    return Row(row, shape, error, place, float(analytic[worst]), float(values[worst]), len(entries), problem)


def _doubts(
    derivatives: Derivatives, name: str, compared: Entries, computed: Precision, allowed: float,
    tolerance: float | None, said: list[str],
) -> None:  # fmt: skip
    """What a right gradient leaves open."""
    if compared.hidden == math.inf:
        moves = (
            "is zero, as far as rounding lets one see"
            if compared.values.any() or compared.analytic.any()
            else "is zero"
        )
        said.append(f"d{name} {moves}, and so is the numerical derivative: zeros would pass, so this proves little")
    elif compared.hidden > 3 * allowed:
        said.append(f"d{name}: forward rounds so much that errors below {compared.hidden:.0e} of it may be hidden")
    if tolerance is None and computed.eps > derivatives.precision.eps:
        said.append(f"d{name} is of {computed.name}'s precision, so {allowed:.0e} was allowed")


def _compare(derivatives: Derivatives, name: str, flat: np.ndarray, tolerance: float) -> Entries:
    entries, first = derivatives.numerical(name)
    analytic, values, noise = flat[entries], first.values, first.noise
    counts = np.ones(len(entries), bool)  # what is at no kink
    # What rounding alone may make of a true zero: of the numerical side, and of the analytic one.
    dout = math.sqrt(sum(float((d * d).sum()) for d in derivatives.dout))
    zero = float(np.linalg.norm(noise)) + derivatives.precision.rounding * dout
    for step in range(len(STEPS) + 1):
        looking = step == len(STEPS)
        if looking:
            again = _looked_for(derivatives, name, np.where(counts, np.abs(analytic - values), 0))
        else:
            again = derivatives.numerical(name, step)[1]
        if step and not looking and np.linalg.norm(again.noise) > 0.1 * np.linalg.norm(analytic):
            continue  # so short a step that rounding is nearly all there is
        closer = ~(np.abs(again.values - analytic) >= np.abs(values - analytic))
        values, noise = np.where(closer, again.values, values), np.where(closer, again.noise, noise)
        # A shorter step has more rounding in it, which excuses no more than a few times the tolerance.
        most = 0 if not step else 10 if looking and derivatives.precision is FLOAT64 else 3
        verdict = _verdict(analytic, values, noise, counts, zero, tolerance, most)
        if step == 1 and not verdict.right:
            at_kink = _at_kinks(derivatives, name, again, counts & ~(np.abs(analytic - values) <= noise))
            if at_kink.any():
                counts = ~at_kink
                verdict = _verdict(analytic, values, noise, counts, zero, tolerance, most)
        if verdict.right or step == 1 and _settled(first, again, analytic, verdict.off):
            break  # or ten times shorter steps say the same
    return Entries(entries[counts], analytic[counts], values[counts], verdict.error, verdict.wrong[counts],
                    entries[~counts], verdict.hidden)  # fmt: skip


class _Verdict(NamedTuple):
    error: float
    off: np.ndarray  # where it counts
    wrong: np.ndarray
    hidden: float
    right: bool


def _verdict(
    analytic: np.ndarray, values: np.ndarray, noise: np.ndarray, counts: np.ndarray, zero: float, tolerance: float,
    most: int,
) -> _Verdict:  # fmt: skip
    """The error of a norm, and the entries that are wrong by themselves. most: how many times the tolerance rounding
    may excuse.
    """
    off = np.where(counts, np.abs(analytic - values), 0)
    size = max(float(np.linalg.norm(x[counts])) for x in (analytic, values))
    floor = max(zero, min(float(np.linalg.norm(noise[counts])), most * tolerance * size))
    error = relative(np.linalg.norm(off), size, floor / tolerance)
    gate = max(ENTRY_TOLERANCE, 10 * tolerance) * np.maximum(np.abs(analytic), np.abs(values)) + 30 * noise + zero
    wrong = ~(off <= gate)
    hidden = floor / size if size > floor else math.inf
    return _Verdict(error, off, wrong, hidden, error <= tolerance and not wrong.any())


def _settled(first: Numerical, again: Numerical, analytic: np.ndarray, off: np.ndarray) -> bool:
    """Whether the two sides differ by more than the steps can be blamed for."""
    norm = np.linalg.norm
    if not norm(analytic * again.steps) <= 10 * norm(np.abs(again.moves).max(axis=1)):
        return False  # so steep that even the second step may be far too long
    if not norm(again.values * again.bends) <= 0.1 * norm(again.values) + norm(again.noise):
        return False
    if norm(again.values - first.values) <= 1e-3 * norm(off):
        return True
    doubts = [norm(step.values * step.bends**2) + norm(step.noise) for step in (first, again)]
    return bool(min(doubts) <= 0.1 * norm(off))


def _looked_for(derivatives: Derivatives, name: str, off: np.ndarray) -> Numerical:
    """With steps that were looked for where the two sides are furthest apart."""
    order = np.argsort(-np.nan_to_num(off, nan=np.inf), kind="stable")
    entries = derivatives.entries[name][order]
    found, back = derivatives.looked_for(name, entries[:LOOKED_AT], entries[LOOKED_AT:]), np.argsort(order)
    return Numerical(*(x[back] for x in found))


def _at_kinks(derivatives: Derivatives, name: str, short: Numerical, doubtful: np.ndarray) -> np.ndarray:
    """At which of the doubtful entries the slopes on either side differ, with a short step as with the shortest."""
    found = doubtful & short.kinked
    if found.any():
        shortest = derivatives.at_kinks(name, derivatives.entries[name][found])
        size = np.maximum(np.abs(shortest.left), np.abs(shortest.right))
        alike = [
            np.abs(a - b[found]) <= 0.05 * size + 30 * shortest.noise
            for a, b in ((shortest.left, short.left), (shortest.right, short.right))
        ]
        found[found] = shortest.kinked & alike[0] & alike[1]
    return found


def _kinks(derivatives: Derivatives, name: str, kinks: np.ndarray) -> str:
    """What is said of the entries that were left out."""
    x = derivatives.arrays[name]
    slopes = derivatives.at_kinks(name, kinks[:1])
    place = [int(i) for i in np.unravel_index(kinks[0], x.shape)]
    others = f" and {len(kinks) - 1:,} more like it" if len(kinks) > 1 else ""
    return (
        f"{name}{place or ''} is {float(to_host(x).reshape(-1)[kinks[0]]):.4g}, at a kink of forward (slope "
        f"{slopes.left[0]:.4g} on the left, {slopes.right[0]:.4g} on the right): taken out{others}"
    )


def _along(derivatives: Derivatives, name: str, flat: np.ndarray, tolerance: float, said: list[str]) -> float:
    """The error along the random direction, relative to norm(gradient), what |gradient . u| is on average; 0 where all
    entries were checked. The best of all steps, since a direction crosses the bends of every entry.
    """
    if name not in derivatives.directions:
        return 0.0
    errors: list[float] = []
    most = 100 if derivatives.precision is FLOAT64 else 3  # times the tolerance, that rounding may excuse
    expected = float(flat @ derivatives.directions[name])
    for step in range(len(STEPS)):
        numerical = derivatives.along(name, step)
        slope, noise = float(numerical.values[0]), float(numerical.noise[0])
        size = max(float(np.linalg.norm(flat)), abs(slope))
        if step and noise > 0.01 * float(np.linalg.norm(flat)):
            continue  # rounding may give it any value
        floor = min(noise, most * tolerance * size) if step else noise
        errors.append(relative(abs(expected - slope), size, floor / tolerance))
        if errors[-1] <= tolerance:
            break
    error = float(np.nanmin([math.inf, *errors]))
    if not error <= tolerance and derivatives.direction_at_kinks(name).kinked[0]:
        said.append(f"d{name}: the random direction says nothing, as forward has a kink at some of the entries")
        return 0.0
    return error


def _what_it_is(analytic: np.ndarray, numerical: np.ndarray, tolerance: float) -> str:
    """ ": zero" and the like for a wrong gradient that is a multiple of the right one; nothing for any other."""
    factor = float(analytic @ numerical) / max(float(numerical @ numerical), np.finfo(np.float64).tiny)
    near = max(1e-6, tolerance)
    if len(analytic) < 2 or np.linalg.norm(analytic - factor * numerical) > near * np.linalg.norm(analytic):
        return ""
    if abs(factor - 1) < 10 * near:
        return ""
    return ": zero" if not analytic.any() else ": its sign" if abs(factor + 1) < near else f": {factor:.6g} times"


def forward_row(name: str, out: Array, right: Array, tolerance: float = FLOAT64.forward) -> Row:
    """One output."""
    a, b = (to_host(x).astype(np.float64) for x in (out, right))
    with np.errstate(invalid="ignore"):
        off = np.where(a == b, 0, a - b)  # equal infinities too
    sizes = (np.linalg.norm(np.where(np.isfinite(x), x, 0)) for x in (a, b))
    error = relative(np.linalg.norm(off), *sizes)
    typical = np.abs(b[np.isfinite(b) & (b != 0)])
    typical = float(np.quantile(typical, 0.25)) if typical.size else 0.0
    # what a norm does not see beside a masked score's -1e9
    small = np.abs(off) > 1e3 * tolerance * np.abs(b) + 100 * tolerance * typical
    problem = "" if error <= tolerance and not small.any() else "not what the definition computes"
    if problem and not np.isfinite(a).all() and np.isfinite(b).all():
        problem = "NaN, where the definition has numbers" if np.isnan(a).any() else "infinite, where it should not be"
    if not a.size:
        return Row(name, a.shape, error, problem=problem)
    place = tuple(map(int, np.unravel_index(np.argmax(np.nan_to_num(np.abs(off), nan=np.inf)), a.shape)))
    return Row(name, a.shape, error, place, float(a[place]), float(b[place]), a.size, problem)

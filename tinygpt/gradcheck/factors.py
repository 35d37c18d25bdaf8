"""By what factor one array differs from another, and what that factor is: a length, its root, dout, or an input."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygpt.gradcheck.gradients import SAME, Compared, difference, floats

POWERS = {1: "{}", -1: "1/{}", 0.5: "sqrt({})", -0.5: "1/sqrt({})", 2: "{} squared", -2: "1/{} squared"}


class Pair(NamedTuple):
    """An array as it was given, the right one, and the case that both are of."""

    given: np.ndarray
    right: np.ndarray
    case: Compared


Pairs = Sequence[Pair]


def scaled(pairs: Pairs, exact: float = SAME) -> tuple[str, str] | None:
    """The family and the words for the factor by which all arrays differ from the others; None if none does."""
    factors = []
    for given, other, case in pairs:
        if np.linalg.norm(other) <= 1e-12 and np.linalg.norm(given) <= 1e-12:
            continue
        factor = float(np.vdot(other, given)) / max(float(np.vdot(other, other)), 1e-300)
        if difference(given, factor * other) >= exact or factor == 0:
            return None
        factors.append((factor, case))
    numbers = sum(pair.given.size for pair in pairs) <= len(factors)  # of which any is a multiple of any other
    if not factors or numbers and len(factors) < 3:
        return None
    family, words = name_factor(factors, exact)
    return None if numbers and words.startswith(UNNAMED) else (family, words)


UNNAMED = "is not what it should be: "


def name_factor(factors: list[tuple[float, Compared]], exact: float = SAME) -> tuple[str, str]:
    """The family and the words for a factor that should be 1, from its value in each case."""
    off = [(factor, case) for factor, case in factors if abs(factor - 1) > exact]
    if off and len(off) < len(factors):
        family, words = name_factor(off, exact)
        titles = "; ".join(dict.fromkeys(case.title for _, case in off))
        return family, words if words.startswith(UNNAMED) else f"{words} (in {titles})"
    values = np.array([factor for factor, _ in factors])
    if np.allclose(values, 0, atol=exact):
        return "term", "is left out"
    if np.allclose(values, -1, rtol=exact):
        return "sign", "has the wrong sign"
    if words := _of_dout(factors, exact):
        return "scale", words
    sizes = [named_sizes(case) for _, case in factors]
    sign = "-" if (values < 0).all() else ""
    known = sorted(set.intersection(*map(set, sizes)), key=lambda name: (len(name), name))
    for (power, form), name in itertools.product(POWERS.items(), known):
        size = np.array([s[name] for s in sizes])
        with np.errstate(divide="ignore", invalid="ignore"):
            if not np.allclose(np.abs(values), np.abs(size) ** power, rtol=exact):
                continue
        if len(name) > 1 and np.ptp(size) == 0:  # which it may be by chance
            root = f", {sign}{form.format(f'({size[0]:.6g})')}" if abs(power) != 1 else ""
            return "scale", f"is {_inverse(values[0])} times what it should be{root}, and {size[0]:.6g} is {name}"
        what = sign + form.format(f"({name})" if " " in name and power != 1 else name)
        if np.ptp(size) == 0:
            return "scale", f"is {values[0]:.6g} times what it should be, {what} in all these cases"
        return "scale", f"is {what} times what it should be{_letter(name, sizes)}"
    if np.allclose(values, values[0], rtol=exact):
        return "scale", f"is {_inverse(values[0])} times what it should be"
    cases = {f"{factor:.6g} times in {case.title}": None for factor, case in factors}
    return "scale", f"{UNNAMED}{'; '.join(cases)}"


def _letter(name: str, sizes: list[Mapping[str, float]]) -> str:
    """ ", where len(x) is B", if that is what the cases call it."""
    if not name.startswith("len("):
        return ""
    letters = [a for a in sizes[0] if len(a) == 1 and all(s[a] == s[name] for s in sizes if a in s)]
    return f", where {name} is {letters[0]}" if letters else ""


def _of_dout(factors: list[tuple[float, Compared]], exact: float) -> str:
    """Words for a factor that is a power of the one number from above; "" if it is none."""
    if any(case.dout[0].ndim for _, case in factors):
        return ""
    values, dout = np.array([factor for factor, _ in factors]), np.array([float(case.dout[0]) for _, case in factors])
    if np.ptp(dout) == 0 and len(dout) > 1 or np.allclose(np.abs(dout), 1):
        return ""
    for sign, negated in ((1, ""), (-1, ", and has the wrong sign")):
        if np.allclose(values * dout, sign, rtol=exact):
            return f"does not multiply by dout, the gradient from above{negated}"
        if np.allclose(values, sign * dout, rtol=exact):
            return f"multiplies by dout, the gradient from above, twice{negated}"
    return ""


CONSTANTS = {"sqrt(2)": 2**0.5, "sqrt(pi)": math.pi**0.5, "sqrt(2 pi)": (2 * math.pi) ** 0.5, "pi": math.pi,
             "sqrt(2/pi)": (2 / math.pi) ** 0.5, "log(2)": math.log(2), "log(10)": math.log(10)}  # fmt: skip


def _inverse(value: float) -> str:
    """A number, as a fraction or by its name where it has one."""
    sign, size = "-" if value < 0 else "", abs(value)
    whole = round(1 / size) if size > 1e-4 else 0
    if whole > 1 and math.isclose(size, 1 / whole, rel_tol=1e-7):
        return f"{sign}1/{whole}"
    for words, constant in CONSTANTS.items():
        for power, form in ((1, "{}"), (-1, "1/{}")):
            if math.isclose(size, constant**power, rel_tol=1e-7):
                return f"{value:.6g}, {sign}{form.format(words)},"
    for digits in range(6, 17):
        if float(said := f"{value:.{digits}g}") != 1:
            break
    return said


def named_sizes(case: Compared) -> Mapping[str, float]:
    """What a stray factor may be: the sizes that the case names, else the lengths of its axes, and its options."""
    if case.sizes:
        return case.sizes
    sizes: dict[str, float] = {}
    for name, x in case.inputs.items():
        shape = getattr(x, "shape", ())
        sizes |= {f"the length of axis {axis} of {name}": float(n) for axis, n in enumerate(shape)}
        if len(shape) > 2:
            sizes[f"the number of rows of {name}"] = float(np.prod(shape[:-1]))
        if len(shape) > 1:
            sizes[f"the number of entries of {name}"] = float(np.prod(shape))
        if isinstance(x, int | float) and not isinstance(x, bool) and x:
            sizes[name] = float(x)
            if 0 < x < 1:
                sizes[f"1 - {name}"] = 1 - float(x)
    for axis, n in enumerate(case.dout[0].shape):
        sizes[f"the length of axis {axis} of out"] = float(n)
    return sizes


def entrywise(pairs: Pairs, exact: float = SAME) -> tuple[str, str] | None:
    """The family and the words where every entry has a factor of its own, an input's or dout's, too many or too few."""
    for name in _common(pairs):
        factors = [_spread(pair, name) for pair in pairs]
        if any(factor is None or np.ptp(factor) == 0 for factor in factors):
            continue
        sides = [(pair.given, pair.right, factor) for pair, factor in zip(pairs, factors, strict=True)]
        if all(difference(given, right * a) < exact for given, right, a in sides):
            if name == "dout":
                return "scale", "multiplies by dout, the gradient from above, twice"
            return "formula", f"has the factor {name} once too often"
        if all(difference(given * a, right) < exact for given, right, a in sides):
            if name == "dout":
                return "scale", "does not multiply by dout, the gradient from above"
            return "formula", f"lacks the factor {name}"
    return None


def masked_otherwise(pairs: Pairs, exact: float = SAME) -> tuple[str, str] | None:
    """The family and the words where every entry is 0 or a multiple of dout, as it should be, but not the same ones."""
    for given, right, case in pairs:
        dout = case.dout[0]
        if dout.shape != right.shape or not dout.all() or right.all() or not right.any() or not given.any():
            return None
        given, right = given / dout, right / dout
        factor = right[right != 0].flat[0]
        if not all(np.allclose(x[x != 0], factor, rtol=exact) for x in (given, right)):
            return None
    return "mask", "is 0 at other entries than it should be, and right at the rest: its mask is not forward's"


def added(pairs: Pairs, exact: float = SAME) -> tuple[str, str] | None:
    """The family and the words where a multiple of an input, or of dout, is added to the right array."""
    for name in _common(pairs):
        shares = []
        for pair in pairs:
            a = _spread(pair, name)
            if a is None or not pair.given.ndim or pair.given.size < 2:
                break
            error = pair.given - pair.right
            share = float(np.vdot(a, error)) / max(float(np.vdot(a, a)), 1e-300)
            if difference(error, share * a) >= 10 * exact:
                break
            shares.append(share)
        if len(shares) == len(pairs) and np.allclose(shares, shares[0], rtol=1e-4):
            share = shares[0]
            if math.isclose(share, -1, rel_tol=1e-5):
                path = " itself, as on a residual path" if name == "dout" else ""
                return "term", f"lacks a term, {name}{path}"
            if math.isclose(share, -2, rel_tol=1e-5):
                return "sign", f"has {name} subtracted, where it belongs added"
            what = name if math.isclose(share, 1, rel_tol=1e-5) else f"{share:.6g} {name}"
            return "term", f"has {what} added to it, which does not belong there"
    return None


def instead(pairs: Pairs, exact: float = SAME) -> tuple[str, str] | None:
    """The family and the words where the array is dout or an input, as it is or multiplied by dout."""
    for name in _common(pairs):
        arrays = [_spread(pair, name) for pair in pairs]
        if any(a is None or a.shape != pair.given.shape for a, pair in zip(arrays, pairs, strict=True)):
            continue
        if all(difference(pair.given, a) < exact for a, pair in zip(arrays, pairs, strict=True)):
            return "formula", f"is {name} itself"
        douts = [_spread(pair, "dout") for pair in pairs]
        if name == "dout" or any(d is None for d in douts):
            continue
        if all(difference(p.given, a * d) < exact for p, a, d in zip(pairs, arrays, douts, strict=True)):
            return "formula", f"is dout * {name}"
    return None


def _common(pairs: Pairs) -> Iterator[str]:
    """Names of arrays that every case has, dout first."""
    yield "dout"
    names = [list(floats(pair.case.inputs)) for pair in pairs]
    yield from (name for name in names[0] if all(name in others for others in names))


def _spread(pair: Pair, name: str) -> Any:
    """dout or an input spread to the shape of the pair's arrays; None if it cannot be, or is not finite."""
    array = pair.case.dout[0] if name == "dout" else floats(pair.case.inputs)[name]
    if not array.ndim or not np.isfinite(array).all():
        return None
    try:
        return np.broadcast_to(array, pair.right.shape)
    except ValueError:
        return None

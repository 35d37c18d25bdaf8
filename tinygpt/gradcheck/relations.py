"""What an array is to another: the same scaled, negated or zero, with its axes rearranged, or from some of dout."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygpt.gradcheck.library import definition
from tinygpt.gradcheck.report import Explanation
from tinygpt.gradcheck.runs import SAME, Run, difference

POWERS = {1: "{}", -1: "1/{}", 0.5: "sqrt({})", -0.5: "1/sqrt({})", 2: "{} squared", -2: "1/{} squared"}

Compared = Sequence[tuple[np.ndarray, np.ndarray, Run]]  # a gradient, the one to compare it with, and their case


def relation(name: str, wrong: Compared) -> Explanation | None:
    """What an array is to the right one, in all the cases in which it is wrong."""
    if any(np.linalg.norm(right) <= 1e-12 for _, right, _ in wrong):
        return None
    if all(np.linalg.norm(given) < SAME * np.linalg.norm(right) for given, right, _ in wrong):
        return Explanation("zero", f"{name} is zero")
    if factor := scaled(wrong):
        return Explanation(factor[0], f"{name} {factor[1]}")
    if found := _rearranged(wrong):
        return Explanation("layout", f"{name} {found}")
    for axis in range(-1, -1 - max(right.ndim for _, right, _ in wrong), -1):
        for what in ("sum", "mean"):
            if _is(wrong, lambda x: np.broadcast_to(getattr(x, what)(axis=axis, keepdims=True), x.shape), -axis):  # noqa: B023
                return Explanation("axis", f"{name} is the right one's {what} over axis {axis}, spread along it")
    return None


def _is(wrong: Compared, change: Callable[[np.ndarray], np.ndarray], ndim: int = 0) -> bool:
    """Whether all arrays are the others, which have `ndim` axes at least, changed."""
    return all(right.ndim >= ndim and difference(given, change(right)) < SAME for given, right, _ in wrong)


def scaled(pairs: Compared) -> tuple[str, str] | None:
    """The family and the words for the factor by which all arrays differ from the others; None if none does."""
    factors = []
    for given, other, run in pairs:
        if np.linalg.norm(other) <= 1e-12 and np.linalg.norm(given) <= 1e-12:
            continue
        factor = float(np.vdot(other, given)) / max(float(np.vdot(other, other)), 1e-300)
        if difference(given, factor * other) >= SAME or factor == 0:
            return None
        factors.append((factor, run))
    return name_factor(factors) if sum(given.size for given, _, _ in pairs) > len(factors) > 0 else None


def name_factor(factors: list[tuple[float, Run]]) -> tuple[str, str]:
    """The family and the words for a factor that should be 1, from its value in each case."""
    values = np.array([factor for factor, _ in factors])
    if np.allclose(values, 0, atol=SAME):
        return "term", "is left out"
    if np.allclose(values, -1, rtol=SAME):
        return "sign", "has the wrong sign"
    sizes = [run.sizes() for _, run in factors]
    sign = "-" if (values < 0).all() else ""
    for name in sorted(set.intersection(*map(set, sizes)), key=lambda name: (len(name), name)):
        size = np.array([s[name] for s in sizes])
        for power, words in POWERS.items():
            with np.errstate(divide="ignore"):
                if np.allclose(np.abs(values), np.abs(size) ** power, rtol=SAME):
                    what = sign + words.format(f"({name})" if " " in name and power != 1 else name)
                    if np.ptp(size) == 0:  # which it may be by chance
                        return "scale", f"is {values[0]:.6g} times what it should be, {what} in all these cases"
                    return "scale", f"is {what} times what it should be"
    if np.allclose(values, values[0], rtol=SAME):
        return "scale", f"is {values[0]:.6g} times what it should be"
    cases = {f"{factor:.6g} times in {run.trial.title}": None for factor, run in factors if abs(factor - 1) > SAME}
    return "scale", f"is not what it should be: {'; '.join(cases)}"


def _orders(arrays: list[np.ndarray]) -> list[tuple[int, ...]]:
    """Of their axes, all but their own; none if they have not as many."""
    return list(itertools.permutations(range(arrays[0].ndim)))[1:] if len({x.ndim for x in arrays}) == 1 else []


def _rearranged(wrong: Compared) -> str:
    ndim = wrong[0][1].ndim
    for axes in _orders([right for _, right, _ in wrong]):
        if _is(wrong, lambda right, axes=axes: right.transpose(axes).reshape(right.shape)):  # type: ignore[misc]
            order = f"is the right one with its axes in the order {axes}, reshaped to fit"
            return "is transposed" if ndim == 2 else order
    for axis, shift in itertools.product(range(ndim), (1, -1)):
        if _is(wrong, lambda right, s=shift, a=axis: np.roll(right, s, a), axis + 1):  # type: ignore[misc]
            return f"is the right one shifted by {shift} along axis {axis}"
    if all(difference(np.sort(given, axis=None), np.sort(right, axis=None)) < SAME for given, right, _ in wrong):
        return "has the right numbers in the wrong places"
    return ""


def from_dout(name: str, wrong: Compared) -> Explanation | None:
    """Backward is linear in dout, so a gradient may be what some of dout, or a rearranged dout, gives."""
    if any(run.dout[0].ndim < 2 for _, _, run in wrong):
        return None

    def given_by(change: Callable[[np.ndarray], np.ndarray]) -> bool:
        theirs = (run.results(definition(run.layer), [change(run.dout[0])])[1] for _, _, run in wrong)
        return all(difference(given, g[name]) < SAME for (given, _, _), g in zip(wrong, theirs, strict=True))

    def only(dout: np.ndarray, part: Any) -> np.ndarray:
        kept = np.zeros_like(dout)
        kept[part] = dout[part]
        return kept

    for words, part in (
        ("the last sequence", np.s_[-1:]), ("the first sequence", np.s_[:1]), ("the last row", np.s_[-1:, ..., -1:, :]),
        ("the last position", np.s_[..., -1:, :]), ("the first position", np.s_[..., :1, :]),
    ):  # fmt: skip
        if given_by(lambda dout, part=part: only(dout, part)):  # type: ignore[misc]
            return Explanation("accumulation", f"d{name} is what {words} alone gives: the others are lost")
    for axes in _orders([run.dout[0] for _, _, run in wrong]):
        if given_by(lambda dout, axes=axes: dout.transpose(axes).reshape(dout.shape)):  # type: ignore[misc]
            return Explanation("layout", f"d{name} comes from dout with its axes in the order {axes}, reshaped to fit")
    return None

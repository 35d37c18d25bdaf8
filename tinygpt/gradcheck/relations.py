"""What gradients are to the right ones, whatever code they come from: scaled, rearranged, swapped, partial, ...

`explain` is what to call. A relation counts only if it gives the numbers in every case in which they are wrong, so that
cases should be several, of other seeds and, if there can be any, of other sizes.
"""

import itertools
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from tinygpt.gradcheck.factors import Pair, Pairs, added, entrywise, instead, masked_otherwise, scaled
from tinygpt.gradcheck.gradients import ROUNDING, SAME, Compared, closeness, difference
from tinygpt.gradcheck.lacking import lacking
from tinygpt.gradcheck.places import occurrences, where_it_differs
from tinygpt.gradcheck.report import Explanation
from tinygpt.gradcheck.shapes import misfit, partial_sums, swapped

NOISE = 1e-7  # relative: what numerical derivatives may be off by
CLOSE = 1e-3  # relative: nearer than that, an array is right but for something small


def explain(cases: Sequence[Compared], exact: float = SAME, wrong: Collection[str] | None = None) -> list[Explanation]:
    """What there is to say of wrong gradients, sentence by sentence, the gradients that nothing is known of left out.

    cases: the same gradients with other numbers (see `Compared`). Each sentence is true of all cases in which what it
    speaks of is wrong. exact: the relative difference below which two arrays are the same. wrong: the names of the
    gradients that a check has found wrong, and of no others anything is said; None for those that are off by NOISE.
    """
    found: list[Explanation] = []
    explained: set[str] = set()
    for places, explanation in swapped(cases, exact):
        found.append(explanation)
        explained |= set(places)
    said: dict[tuple[str, str], list[str]] = {}
    for name in dict.fromkeys(name for case in cases for name in case.right if name not in explained):
        pairs = [Pair(case.gradients[name], case.right[name], case) for case in cases if name in case.gradients
                 and name in case.right]  # fmt: skip
        off = [pair for pair in pairs if difference(pair.given, pair.right) > (NOISE if wrong is None else ROUNDING)]
        if (wrong is None or name in wrong) and (predicate := predicate_of(name, off, exact)):
            said.setdefault(predicate, []).append(f"d{name}")
    for (family, words), names in said.items():
        found.append(Explanation(family, sentence(names, words)))
    return found


def sentence(names: Sequence[str], words: str) -> str:
    """Words for each of several gradients."""
    if len(names) == 1:
        return f"{names[0]} {words}"
    return f"each of {', '.join(names[:-1])} and {names[-1]} {words}"


def predicate_of(name: str, wrong: Pairs, exact: float = SAME) -> tuple[str, str] | None:
    """The family and the words for one gradient, from all cases in which it is wrong; None if nothing fits them."""
    if not wrong:
        return None
    off = [pair for pair in wrong if pair.given.shape != pair.right.shape]
    if off:
        return misfit(off, exact) if len(off) == len(wrong) else None
    if broken := [pair for pair in wrong if not np.isfinite(pair.given).all()]:
        where = where_it_differs(broken, exact)
        return "formula", "is not finite" + (where[1].removeprefix("is wrong only") if where else "")
    told = [pair for pair in wrong if difference(pair.given, pair.right) >= exact]
    if told:
        return (
            relation(told, exact)
            or from_dout(name, told, exact)
            or where_it_differs(told, exact)
            or lacking(told, exact)
            or close(told)
        )
    return close(wrong)


def relation(wrong: Pairs, exact: float = SAME) -> tuple[str, str] | None:
    """What arrays are to the right ones of the same shapes, in all the cases in which they are wrong."""
    if not wrong or any(given.shape != right.shape for given, right, _ in wrong):
        return None
    exact = min(closeness(given, right, exact) for given, right, _ in wrong)
    if all(np.linalg.norm(right) <= 1e-12 for _, right, _ in wrong):
        return "term", "is not zero, where it should be"
    if any(np.linalg.norm(right) <= 1e-12 for _, right, _ in wrong):
        return None
    if all(np.linalg.norm(given) < exact * np.linalg.norm(right) for given, right, _ in wrong):
        return "zero", "is zero"
    for kind in (
        scaled,
        entrywise,
        instead,
        masked_otherwise,
        added,
        _rearranged,
        _spread_out,
        partial_sums,
        occurrences,
    ):
        if found := kind(wrong, exact):
            return found
    return None


def close(wrong: Pairs) -> tuple[str, str] | None:
    """Arrays that are nearly right."""
    worst = max((difference(given, right) for given, right, _ in wrong), default=0.0)
    if not 0 < worst < CLOSE:
        return None
    digits = int(-np.log10(worst))
    what = "an eps, a rounded constant, float32, or something small added?"
    return "formula", f"agrees with the right one to {_NUMBERS.get(digits, digits)} digits: {what}"


_NUMBERS = dict(enumerate("zero one two three four five six seven eight nine ten eleven twelve".split()))


def _is(wrong: Pairs, change: Callable[[np.ndarray], np.ndarray], exact: float, ndim: int = 0) -> bool:
    """Whether all arrays are the others, which have `ndim` axes at least, changed."""
    return all(right.ndim >= ndim and difference(given, change(right)) < exact for given, right, _ in wrong)


def _orders(arrays: list[np.ndarray]) -> list[tuple[int, ...]]:
    """Of their axes, all but their own; none if they have not as many."""
    return list(itertools.permutations(range(arrays[0].ndim)))[1:] if len({x.ndim for x in arrays}) == 1 else []


def _rearranged(wrong: Pairs, exact: float) -> tuple[str, str] | None:
    ndim = wrong[0].right.ndim
    for axes in _orders([right for _, right, _ in wrong]):
        if _is(wrong, lambda right, axes=axes: right.transpose(axes).reshape(right.shape), exact):  # type: ignore[misc]
            square = all(right.shape[0] == right.shape[-1] for _, right, _ in wrong)
            if ndim == 2:
                return "layout", "is transposed" if square else "is the transpose of the right one, reshaped to fit"
            return "layout", f"is the right one with its axes in the order {axes}, reshaped to fit"
    for axis, shift in itertools.product(range(ndim), (1, -1)):
        if _is(wrong, lambda right, s=shift, a=axis: np.roll(right, s, a), exact, axis + 1):  # type: ignore[misc]
            return "layout", f"is the right one shifted by {shift} along axis {axis}"
    for axis in range(ndim):
        if _is(wrong, lambda right, a=axis: np.flip(right, a), exact, axis + 1):  # type: ignore[misc]
            return "layout", f"is the right one in reverse order along axis {axis}"
    if _is(wrong, np.abs, exact):
        return "sign", "has lost its signs"
    if all(difference(np.sort(given, axis=None), np.sort(right, axis=None)) < exact for given, right, _ in wrong):
        return "layout", "has the right numbers in the wrong places"
    return None


def _spread_out(wrong: Pairs, exact: float) -> tuple[str, str] | None:
    for axis in range(-1, -1 - max(right.ndim for _, right, _ in wrong), -1):
        for what in ("sum", "mean"):
            if _is(wrong, lambda x: np.broadcast_to(getattr(x, what)(axis=axis, keepdims=True), x.shape), exact, -axis):  # noqa: B023
                return "axis", f"is the right one's {what} over axis {axis}, spread along it"
    return None


def from_dout(name: str, wrong: Pairs, exact: float = SAME) -> tuple[str, str] | None:
    """Backward is linear in dout, so a gradient may be what some of dout, or a rearranged dout, gives."""
    if any(case.right_from is None or len(case.dout) > 1 for _, _, case in wrong):
        return None

    def given_by(change: Callable[[np.ndarray], np.ndarray]) -> bool:
        for given, _, case in wrong:
            theirs = case.right_from([change(case.dout[0])]).get(name)  # type: ignore[misc]
            if theirs is None or not difference(given, theirs) < exact:
                return False
        return True

    def only(dout: np.ndarray, part: Any) -> np.ndarray:
        kept = np.zeros_like(dout)
        kept[part] = dout[part]
        return kept

    if given_by(np.ones_like):
        return "scale", "does not multiply by dout, the gradient from above"
    if given_by(np.square):
        return "scale", "multiplies by dout, the gradient from above, twice"
    if any(case.dout[0].ndim < 2 for _, _, case in wrong) or len({case.dout[0].ndim for _, _, case in wrong}) > 1:
        return None
    for words, part in (
        ("the last sequence", np.s_[-1:]), ("the first sequence", np.s_[:1]),
        *([("the last row", np.s_[-1:, ..., -1:, :])] if wrong[0].case.dout[0].ndim > 2 else []),
        ("the last position", np.s_[..., -1:, :]), ("the first position", np.s_[..., :1, :]),
    ):  # fmt: skip
        if given_by(lambda dout, part=part: only(dout, part)):  # type: ignore[misc]
            return "accumulation", f"is what {words} alone gives: the others are lost"
    for axes in _orders([case.dout[0] for _, _, case in wrong]):
        if given_by(lambda dout, axes=axes: dout.transpose(axes).reshape(dout.shape)):  # type: ignore[misc]
            return "layout", f"comes from dout with its axes in the order {axes}, reshaped to fit"
    return None

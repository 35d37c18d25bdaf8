"""Gradients that do not fit their inputs, or stand in each other's place: what they are all the same."""

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tinygpt.gradcheck.factors import Pair, Pairs
from tinygpt.gradcheck.gradients import SAME, Compared, difference, floats
from tinygpt.gradcheck.report import Explanation


def swapped(cases: Sequence[Compared], exact: float = SAME) -> list[tuple[tuple[str, ...], Explanation]]:
    """Of which gradients each is the right one of another, and what there is to say of them."""
    found: list[tuple[tuple[str, ...], Explanation]] = []
    names = list(dict.fromkeys(name for case in cases for name in case.right))

    def stands(a: str, b: str) -> bool:
        """Whether in a's place stands b's, wherever both are, and is not what belongs there."""
        both = [case for case in cases if {a, b} <= case.right.keys() and a in case.gradients]
        told = [case for case in both if difference(case.right[a], case.right[b]) >= exact]
        return bool(told) and all(difference(case.gradients[a], case.right[b]) < exact for case in both)

    places = {a: b for a, b in itertools.permutations(names, 2) if stands(a, b)}
    done: set[str] = set()
    for a, b in places.items():
        if a in done:
            continue
        if places.get(b) == a:
            found.append(((a, b), Explanation("layout", f"d{a} and d{b} stand in each other's place")))
            done |= {a, b}
        else:
            found.append(((a,), Explanation("layout", f"what is given as d{a} is d{b}")))
            done.add(a)
    return found


def misfit(pairs: Pairs, exact: float = SAME) -> tuple[str, str] | None:
    """The family and the words for gradients of another shape than their input's; None if nothing fits in all cases."""
    if all(given.ndim > 1 and difference(given.T, right) < exact for given, right, _ in pairs):
        return "layout", "is transposed"
    if all(given.size == right.size and difference(given.reshape(right.shape), right) < exact
           for given, right, _ in pairs):  # fmt: skip
        given, right, _ = pairs[0]
        return "layout", f"has the right numbers, but shape {given.shape}, where {right.shape} belongs"
    ahead = [tuple(range(given.ndim - right.ndim)) for given, right, _ in pairs]
    if len(set(ahead)) > 1 and all(ahead):
        if all(
            difference(pair.given.sum(axis=axes), pair.right) < exact for pair, axes in zip(pairs, ahead, strict=True)
        ):
            return "axis", f"is not summed over {_axes(ahead[0])}, where it has shape {pairs[0].given.shape}"
    for axes in _subsets(min(given.ndim for given, _, _ in pairs)):
        if all(difference(given.sum(axis=axes), right) < exact for given, right, _ in pairs):
            return "axis", _not_summed(pairs, axes)
    for axes in _subsets(min(right.ndim for _, right, _ in pairs)):
        for keep in (False, True):
            if all(difference(given, right.sum(axis=axes, keepdims=keep)) < exact for given, right, _ in pairs):
                return "axis", f"is summed over its {_axes(axes)} too, which it should keep"
    return _summed_otherwise(pairs, exact) or _by_shape(pairs)


def _by_shape(pairs: Pairs) -> tuple[str, str] | None:
    """What the shapes alone tell: dout's axes that are left in a gradient, and those that should be."""
    if len({(given.ndim, right.ndim, case.dout[0].ndim) for given, right, case in pairs}) > 1:
        return None
    sides = []
    for shapes in ([given.shape for given, _, _ in pairs], [right.shape for _, right, _ in pairs]):
        kept = {tuple(_kept(shape, case.dout[0].shape)) for shape, (_, _, case) in zip(shapes, pairs, strict=True)}
        if len(kept) != 1 or len(places := next(iter(kept))) != 1:
            return None
        sides.append([axis for axis in range(pairs[0].case.dout[0].ndim) if axis not in places[0]])
    if not all(sides):
        return None
    summed, belongs = map(_axes, sides)
    (given, right), dout = (pairs[0].given.shape, pairs[0].right.shape), pairs[0].case.dout[0].shape
    verb = "belongs" if len(sides[1]) == 1 else "belong"
    return "axis", f"has the shape of dout {dout} summed over {summed}, {given}, where {belongs} {verb}, for {right}"


def _not_summed(pairs: Pairs, axes: tuple[int, ...]) -> str:
    """Words for gradients whose sum over `axes` of their own is right, by dout's axes where these are known."""
    kept = {tuple(_kept(given.shape, case.dout[0].shape)) for given, _, case in pairs}
    if len(kept) == 1 and len(places := next(iter(kept))) == 1:
        left = [places[0][axis] for axis in axes]
        done = [axis for axis in range(pairs[0].case.dout[0].ndim) if axis not in places[0]]
        before = f"is summed over {_axes(done)} of dout but " if done else "is "
        return f"{before}not {'summed ' if not done else ''}over {_axes(left)}"
    return f"of shape {pairs[0].given.shape} is still to be summed over {_axes(axes)} of its own"


def _kept(shape: tuple[int, ...], whole: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Which axes of `whole` may be those of `shape`."""
    for axes in itertools.combinations(range(len(whole)), len(shape)):
        if tuple(whole[axis] for axis in axes) == shape:
            yield axes


def _summed_otherwise(pairs: Pairs, exact: float) -> tuple[str, str] | None:
    """dout summed over other axes than the right ones."""
    if len({case.dout[0].ndim for _, _, case in pairs}) > 1:
        return None
    subsets = list(_subsets(pairs[0].case.dout[0].ndim))
    for right_axes in subsets:
        if not all(difference(case.dout[0].sum(axis=right_axes), right) < exact for _, right, case in pairs):
            continue
        for axes in subsets:
            for keep in (False, True):
                if all(difference(given, _shaped(case.dout[0].sum(axis=axes, keepdims=keep), given)) < exact
                       for given, _, case in pairs):  # fmt: skip
                    verb = "belongs" if len(right_axes) == 1 else "belong"
                    return "axis", f"is dout summed over {_axes(axes)}, where {_axes(right_axes)} {verb}"
    return None


def _shaped(x: np.ndarray, like: np.ndarray) -> np.ndarray:
    """With its axes flattened, if that gives the other's shape."""
    return x.reshape(like.shape) if x.size == like.size and like.ndim < x.ndim else x


def _subsets(ndim: int) -> Iterator[tuple[int, ...]]:
    for count in range(1, ndim + 1):
        yield from itertools.combinations(range(ndim), count)


def _axes(axes: Sequence[int]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes[:-1]))} and {axes[-1]}"


def partial_sums(pairs: Pairs, exact: float = SAME) -> tuple[str, str] | None:
    """A sum of dout, or of dout times an input, of which only the first or the last place along an axis is there."""
    if any(not case.dout[0].ndim for _, _, case in pairs) or len({case.dout[0].ndim for _, _, case in pairs}) > 1:
        return None
    dout, inputs = pairs[0].case.dout[0], floats(pairs[0].case.inputs)
    names = ["", *(name for name, x in inputs.items() if x.shape == dout.shape)]
    for name, axes in itertools.product(names, _subsets(dout.ndim)):
        terms = [term for _, _, case in pairs if (term := _terms(case, name)) is not None]
        if len(terms) < len(pairs) or not all(map(_sums_to(axes, exact), terms, pairs)):
            continue
        for axis, (place, words) in itertools.product(axes, ((-1, "last"), (0, "first"))):
            rest = tuple(a - (a > axis) for a in axes if a != axis)
            parts = [term.take(place, axis=axis).sum(axis=rest) for term in terms]
            if all(difference(pair.given, part) < exact for pair, part in zip(pairs, parts, strict=True)):
                words = f"is what the {words} place of axis {axis} of out gives"
                return "accumulation", f"{words}, where the sum over all of them belongs"
    return None


def _sums_to(axes: tuple[int, ...], exact: float) -> Callable[[np.ndarray, Pair], bool]:
    return lambda term, pair: difference(term.sum(axis=axes), pair.right) < exact


def _terms(case: Compared, name: str) -> np.ndarray | None:
    """dout, or dout times an input of its shape; None if that is not there, or not finite."""
    dout = case.dout[0]
    if not name:
        return dout
    x = floats(case.inputs).get(name)
    return dout * x if x is not None and x.shape == dout.shape and np.isfinite(x).all() else None

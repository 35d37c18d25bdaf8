"""Gradients beside the right ones: what a sentence about them has to be true of."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from tinygpt.backend import to_host

SAME = 1e-6  # relative: beyond any rounding in float64, below any mistake
ROUNDING = 1e-9  # relative: what right numbers may differ by that were computed in other ways

Gradients = Mapping[str, np.ndarray]


class Compared(NamedTuple):
    """One case: gradients by the names of their inputs as they were given, the right ones, and what both are made from.

    gradients: float64 arrays of any shapes, or nothing for an input; right: float64, each of its input's shape, the
    exact or numerical derivatives. dout: the gradients from above, one for each output. inputs: forward's arguments by
    name. title: what the case is called. sizes: by name what a stray factor may be, such as {"B": 5.0}; the lengths of
    the axes of inputs and outputs if there are none. right_from: the right gradients for another dout, where these can
    be had. out: forward's outputs, if they are known.
    """

    gradients: Gradients
    right: Gradients
    dout: Sequence[np.ndarray]
    inputs: Mapping[str, Any]
    title: str = ""
    sizes: Mapping[str, float] = MappingProxyType({})
    right_from: Callable[[Sequence[np.ndarray]], Gradients] | None = None
    out: Sequence[np.ndarray] = ()


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """norm(a - b) / max(norm(a), norm(b)), 0 where both are rounding; 1 for different shapes, and infinite where one is
    not finite and the other is not the same there.
    """
    if a.shape != b.shape:
        return 1.0
    finite = np.isfinite(a)
    if not finite.all() or not np.isfinite(b).all():
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(b[finite]).all():
            return np.inf
        a, b = a[finite], b[finite]
    error = float(np.linalg.norm(a - b))
    return 0.0 if error < 1e-12 else error / float(max(np.linalg.norm(a), np.linalg.norm(b)))


def same(a: Gradients, b: Gradients) -> bool:
    """Whether two sets of gradients hold the same numbers."""
    return a.keys() == b.keys() and all(difference(a[name], b[name]) < SAME for name in a)


def told_by(given: Gradients, theirs: Gradients, right: Gradients) -> bool:
    """Whether `theirs` accounts for what is given: the same numbers, and nearer by far than the right ones are."""
    if given.keys() != theirs.keys():
        return False
    return all(difference(given[name], theirs[name]) < closeness(given[name], right.get(name)) for name in given)


def closeness(given: np.ndarray, right: np.ndarray | None, exact: float = SAME) -> float:
    """The relative difference below which what should be as given is so: a hundredth of how far that is from right."""
    error = 1.0 if right is None else difference(given, right)
    return min(exact, max(ROUNDING, 0.01 * error)) if error >= exact / 100 else exact


def floats(inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Those inputs that are arrays of floats."""
    return {name: to_host(x) for name, x in inputs.items() if getattr(x, "dtype", None) is not None and _is(x, "f")}


def integers(inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Those inputs that are arrays of integers: token ids, targets."""
    arrays = {name: x for name, x in inputs.items() if getattr(x, "shape", ())}
    return {name: to_host(x) for name, x in arrays.items() if _is(x, "iu")}


def _is(x: Any, kinds: str) -> bool:
    return getattr(x.dtype, "kind", "") in kinds

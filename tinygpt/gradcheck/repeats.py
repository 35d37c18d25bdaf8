"""Does a candidate give the same again? What it keeps between calls, adds to, or draws at random, in sentences."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tinygpt.backend import Array, to_host
from tinygpt.errors import UserError
from tinygpt.gradcheck.arrays import native, same
from tinygpt.gradcheck.precision import of_dtype

FORWARDS = 3  # further calls of forward before anything is differentiated
MORE = 16  # and where something did not agree

Results = tuple[Sequence[Array], Mapping[str, Any]]


def expect_still(forward: Callable[[], Sequence[Array]], out: Sequence[Array], times: int = FORWARDS) -> None:
    """Raises UserError for a forward that gives another output, called again with the same inputs."""
    moved = [number for number in range(2, times + 2) if not all(map(same, forward(), out))]
    if len(moved) == times:
        raise UserError(
            "forward gives another output each time it is called with the same inputs; hold its random numbers "
            "fixed: pass the mask, a seed or a numpy Generator as an input, and keep nothing between calls"
        )
    if moved:
        raise UserError(
            f"forward gives another output in call {moved[0]} with the same inputs, though not in every call: it keeps "
            f"something between calls (a counter, a buffer, a running mean), so it has no derivative; pass it as an "
            f"input, or start from the same in every call"
        )


def compared(once: Results, twice: Results, thrice: Results) -> tuple[str, dict[str, Any]]:
    """What is not the same in three runs, in a sentence; and what each run adds to the gradients that add up."""
    for outs, _ in (twice, thrice):
        if not all(map(same, once[0], outs)):
            return (
                "forward gives another output when it is called again with the same inputs: it keeps something between "
                "calls, or draws random numbers that are not held fixed"
            ), {}
    names = {
        name: off for name, x in once[1].items() if (off := max(_apart(x, run[1].get(name)) for run in (twice, thrice)))
    }
    if not names:
        return "", {}
    added = {name: _added(*(run[1].get(name) for run in (once, twice, thrice))) for name in names}
    listed = " and ".join(f"d{name}" for name in names)
    if all(x is not None for x in added.values()):
        return f"backward adds to what it gave before: {listed} must begin at zero in every call", added
    name, off = max(names.items(), key=lambda item: item[1])
    return (
        f"backward gives other gradients when forward and backward are called again with the same inputs and dout "
        f"({listed}; d{name} by {off:.0e} of itself): it draws random numbers, or keeps something between calls"
    ), {}


def on_one_cache(made: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """What is wrong, and what is doubtful, of three backward passes after one forward."""
    if len(made) < 3:
        return [], []
    names = [name for name, x in made[0].items() if any(_apart(x, other.get(name)) for other in made[1:])]
    if not names:
        return [], []
    listed = " and ".join(f"d{name}" for name in names)
    if all(_added(*(gradients.get(name) for gradients in made)) is not None for name in names):
        return [f"backward adds to what it gave before when it is called again after one forward: {listed}"], []
    return [], [f"backward changes its cache: called again after one forward, it gives other gradients ({listed})"]


def _apart(a: Any, b: Any) -> float:
    """How far two gradients are from each other, relative; 0 if it is no more than the order of a sum may make."""
    if a is None or b is None:
        return float(a is not b)
    a, b = (to_host(native(x)) if hasattr(x, "dtype") else np.asarray(x) for x in (a, b))
    if a.shape != b.shape or a.dtype.kind not in "fiu" or b.dtype.kind not in "fiu":
        return float(a.shape != b.shape)
    rounding = of_dtype(a.dtype).rounding
    a, b = a.astype(np.float64), b.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float(not np.array_equal(a, b, equal_nan=True))
    size = max(float(np.linalg.norm(a)), float(np.linalg.norm(b)))
    off = float(np.linalg.norm(a - b)) / size if size else 0.0
    return off if off > rounding else 0.0


def _added(first: Any, second: Any, third: Any) -> Any:
    """What is added from call to call, if it is always the same and not nothing; else None."""
    if any(not hasattr(x, "dtype") for x in (first, second, third)):
        return None
    step, again = second - first, third - second
    size = float(np.linalg.norm(to_host(step)))
    return step if size and float(np.linalg.norm(to_host(again - step))) <= 1e-9 * size else None

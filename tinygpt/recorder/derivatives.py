"""What the results of one line are made from: the line is run again with each number that it reads a little changed."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tinygpt.recorder.instrument import Statement
from tinygpt.recorder.values import Path, as_array, copied, is_coarse, leaves, like, put, taken

STEP = 1e-3  # of a nudge, relative to the number; five points leave an error of its fourth power
SHORT = 1e-6  # the same, where the line has a kink nearby
COARSE = 1e-2  # the same, of numbers in less than float64
NOTHING = 1e-9  # a derivative below this is rounding
LARGEST = 20_000  # elements that a line may read
STRAIGHT = 2e-14  # relative, of a bend that is rounding
KINK = 1e-3  # relative, between a wide nudge and a narrow one
SAME = 1e-12  # relative, of a line that is run twice


class Read(NamedTuple):
    """Numbers that a line reads. sources: of each, in C order, the number of an element that the recorder knows, NOBODY
    for one that it does not know, CONSTANT for one that nothing moves.
    """

    name: str
    path: Path
    numbers: Any
    sources: np.ndarray


NOBODY, CONSTANT = -1, -2


def made_from(
    statement: Statement,
    name: str,
    path: Path,
    value: Any,
    before: Mapping[str, Any],
    reads: list[Read],
    begin: Callable[[dict[str, Any]], None],
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """What each element of `value`, the numbers at `path` of `name` after a statement, was made from: the elements'
    numbers, those of their sources, and the derivatives, one entry for each pair that touch.

    before: the names that the statement reads, copied before it ran; reads: the numbers in them; begin: is told each
    time that it is run, and with what. None where it reads
    too much, cannot be run again by itself, gives something else then, or reads what nobody knows.
    """
    right = as_array(value).ravel()
    if statement.draws or sum(np.size(read.numbers) for read in reads) > LARGEST:
        return None
    if any(hasattr(held, "__next__") or isinstance(held, np.random.Generator) for held in before.values()):
        return None  # which the next time gives what comes next
    writes = True  # into what it reads, as far as is known

    def run(changed: Read | None = None, array: Any = None) -> np.ndarray:
        given = {n: copied(held) for n, held in before.items()} if writes else dict(before)
        if changed is not None:
            held = given[changed.name] if writes or not changed.path else copied(before[changed.name])
            given[changed.name] = put(held, changed.path, array)
        begin(given)
        return as_array(taken(statement.run(given)[name], path)).ravel()

    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    try:
        with np.errstate(all="ignore"):
            if not _same(run(), right):
                return None
            writes = _writes(statement, before, begin)
            for read in reads:
                middles, coarse = as_array(read.numbers).ravel(), is_coarse(read.numbers) or is_coarse(value)
                for element, source in enumerate(read.sources):
                    if source == CONSTANT or not np.isfinite(middles[element]):
                        continue

                    def moved(by: float, read: Read = read, element: int = element) -> np.ndarray:
                        nudged = as_array(read.numbers)
                        nudged.reshape(-1)[element] += by
                        return run(read, like(nudged.astype(getattr(read.numbers, "dtype", float)), read.numbers))

                    by = _derivative(moved, right, max(abs(middles[element]), 0.1), coarse)
                    touched = np.flatnonzero(np.abs(by) > (1e-4 if coarse else NOTHING))
                    if source == NOBODY and len(touched):
                        return None
                    if len(touched):
                        found.append((touched, np.full(len(touched), source), by[touched]))
            if not _same(run(), right):  # and what it keeps elsewhere is as it was
                return None
    except Exception:  # a line that cannot be run by itself
        return None
    none = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    return tuple(map(np.concatenate, zip(*found, strict=True))) if found else none  # type: ignore[return-value]


def _derivative(moved: Callable[[float], np.ndarray], middle: np.ndarray, size: float, coarse: bool) -> np.ndarray:
    """By two points where the line is straight, by four where it bends, by two that are close where it has a kink.

    moved: what comes of a nudge; middle: what comes of none. -inf, of what is masked, nothing moves.
    """
    h = (COARSE if coarse else STEP) * size
    below, above = moved(-h), moved(h)
    by = _finite(above - below) / (2 * h)
    bend = np.abs(_finite(above - middle) - _finite(middle - below))
    if not coarse and bend.max() <= STRAIGHT * np.abs(_finite(middle)).max():
        return by
    outer = _finite(moved(2 * h) - moved(-2 * h)) / (4 * h)
    if not coarse and np.any(np.abs(by - outer) > KINK * (1 + np.abs(by))):
        h = SHORT * size
        return _finite(moved(h) - moved(-h)) / (2 * h)
    return (4 * by - outer) / 3


def _finite(numbers: np.ndarray) -> np.ndarray:
    return numbers if np.isfinite(numbers).all() else np.where(np.isfinite(numbers), numbers, 0.0)


def _writes(statement: Statement, before: Mapping[str, Any], begin: Callable[[dict[str, Any]], None]) -> bool:
    """Whether it changes what it reads."""
    given = {n: copied(held) for n, held in before.items()}
    begin(given)
    statement.run(dict(given))
    pairs = [(list(leaves(given[n])), list(leaves(before[n]))) for n in before]
    return any(
        len(now) != len(then)
        or not all(_same(as_array(a), as_array(b)) for (_, a), (_, b) in zip(now, then, strict=True))
        for now, then in pairs
    )


def _same(given: np.ndarray, right: np.ndarray) -> bool:
    return given.shape == right.shape and np.allclose(given, right, rtol=SAME, atol=1e-300, equal_nan=True)


def reads_of(before: Mapping[str, Any], sources: Callable[[str, Path], np.ndarray]) -> list[Read]:
    """The numbers in the names that a statement reads."""
    return [
        Read(name, path, numbers, sources(name, path))
        for name, held in before.items()
        for path, numbers in leaves(held)
    ]

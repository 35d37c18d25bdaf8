"""Where an array is wrong: what the places have in common, and what became of gradients that meet in one place."""

import itertools
from collections.abc import Iterator

import numpy as np

from tinygpt.gradcheck.factors import Pair, Pairs
from tinygpt.gradcheck.gradients import SAME, Compared, floats, integers


def wrong_places(pair: Pair, exact: float = SAME) -> np.ndarray:
    """Which entries of an array are wrong."""
    given, right = pair.given, pair.right
    size = max(float(np.abs(right[np.isfinite(right)]).max(initial=0)), 1e-12)
    with np.errstate(invalid="ignore"):
        return ~((given == right) | (np.abs(given - right) <= exact * size))


def where_it_differs(pairs: Pairs, exact: float = SAME) -> tuple[str, str] | None:
    """The family and the words for the narrowest condition that holds, in all cases, wherever the arrays are wrong."""
    best, size = None, 1.0
    wrong = [wrong_places(pair, exact) for pair in pairs]
    alone = {tuple(np.argwhere(w)[0].tolist()) if w.sum() == 1 < w.size else None for w in wrong}
    if len(alone) == 1 and (place := alone.pop()) is not None:
        return "mask", f"is wrong only at {list(place)}"
    named = [dict(_conditions(pair)) for pair in pairs]
    for words in named[0]:
        if not all(words in others for others in named):
            continue
        where = [others[words] for others in named]
        inside = all(not (w & ~condition).any() and condition.any() for w, condition in zip(wrong, where, strict=True))
        told = any(pair.right[~condition].any() for pair, condition in zip(pairs, where, strict=True))  # not 0 anyhow
        area = sum(map(np.sum, where)) / sum(map(np.size, where))
        filled = sum(map(np.sum, wrong)) / max(1, sum(map(np.sum, where)))
        if inside and told and area < size and filled > 0.5:
            best, size = words, area
    return ("mask", f"is wrong only {best}") if best else None


def _conditions(pair: Pair) -> Iterator[tuple[str, np.ndarray]]:
    """Words for a set of places, and which of the array's they are."""
    shape, case = pair.right.shape, pair.case
    for name, x in floats(case.inputs).items():
        if x.shape == shape:
            masked = np.isneginf(x)
            yield f"where {name} is negative", (x < 0) & ~masked
            yield f"where {name} is positive", x > 0
            yield f"where {name} is 0", x == 0
            yield f"where {name} is -inf", masked
            if x.ndim:
                yield f"in rows of {name} that hold -inf", np.broadcast_to(masked.any(-1, keepdims=True), shape)
                yield (
                    f"in rows of {name} that are -inf throughout",
                    np.broadcast_to(masked.all(-1, keepdims=True), shape),
                )
    for name, ids in integers(case.inputs).items():
        if ids.shape == shape[: ids.ndim]:
            spread = np.broadcast_to(ids.reshape(ids.shape + (1,) * (len(shape) - ids.ndim)), shape)
            yield f"where {name} is -1", spread == -1
            yield f"where {name} is not -1", spread != -1
        if shape and ids.max(initial=0) < shape[0] and ids.min(initial=0) >= 0:
            count = np.bincount(ids.reshape(-1).astype(np.intp), minlength=shape[0])
            count = count.reshape(-1, *[1] * (len(shape) - 1))
            yield f"in rows whose number occurs more than once in {name}", np.broadcast_to(count > 1, shape)
            yield f"in rows whose number does not occur in {name}", np.broadcast_to(count == 0, shape)
    for axis, length in enumerate(shape):
        along = np.arange(length).reshape([-1 if a == axis else 1 for a in range(len(shape))])
        for words, places in (
            ("at the first place of", along == 0), ("at the last place of", along == length - 1),
            ("after the first place of", along > 0), ("before the last place of", along < length - 1),
        ):  # fmt: skip
            if length > 1:
                yield f"{words} axis {axis}", np.broadcast_to(places, shape)


def occurrences(pairs: Pairs, exact: float = SAME) -> tuple[str, str] | None:
    """The family and the words where gradients of equal ids should be added up, and are not."""
    names = [name for name in integers(pairs[0].case.inputs) if all(_is_table(pair, name, exact) for pair in pairs)]
    for name in names[:1]:
        for kept, words in KEPT.items():
            if all(_keeps(pair, name, kept, exact) for pair in pairs):
                return "accumulation", f"keeps of several gradients for one row {words}, where their sum belongs"
    return None


KEPT = {"last": "only the last", "first": "only the first", "mean": "the mean", "one": "only one", "some": "only some"}
SEVERAL = 10  # gradients for one row, of which every choice is tried


def _rows(case: Compared, name: str) -> Iterator[tuple[int, np.ndarray]]:
    """By id, the gradients from above at its places."""
    ids = integers(case.inputs)[name]
    dout = case.dout[0].reshape(ids.size, -1)
    for number in np.unique(ids):
        yield int(number), dout[ids.reshape(-1) == number]


def _is_table(pair: Pair, name: str, exact: float) -> bool:
    """Whether the right array has in each row the sum of the gradients of the places with its number."""
    ids, dout, right = integers(pair.case.inputs)[name], pair.case.dout[0], pair.right
    if right.ndim < 1 or dout.shape != ids.shape + right.shape[1:] or not 0 <= ids.min(initial=0) <= ids.max(initial=0):
        return False
    if ids.max(initial=0) >= len(right):
        return False
    sums = np.zeros((len(right), int(np.prod(right.shape[1:]))))
    np.add.at(sums, ids.reshape(-1), dout.reshape(ids.size, -1))
    return bool(np.abs(sums.reshape(right.shape) - right).max(initial=0) <= exact * max(1.0, float(np.abs(sums).max())))


def _keeps(pair: Pair, name: str, kept: str, exact: float) -> bool:
    given, seen = pair.given.reshape(len(pair.given), -1), np.zeros(len(pair.given), bool)
    for number, rows in _rows(pair.case, name):
        seen[number] = True
        if kept == "some":
            if len(rows) > SEVERAL:
                continue
            chosen = [bits for bits in itertools.product((0, 1), repeat=len(rows)) if any(bits)]
            choices = np.array(chosen) @ rows
        else:
            choices = {"last": rows[-1:], "first": rows[:1], "mean": rows.mean(axis=0, keepdims=True), "one": rows}[
                kept
            ]
        if not (np.abs(choices - given[number]).max(axis=1) <= exact * np.abs(rows).max()).any():
            return False
    return not given[~seen].any()

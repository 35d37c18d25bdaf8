"""What gradients lack: an error that lies, along an axis, in what a mean, a variance or a softmax gives back."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tinygpt.gradcheck.factors import Pair, Pairs
from tinygpt.gradcheck.gradients import SAME, floats

Direction = Callable[[Pair, int], np.ndarray | None]  # of an array's shape, along an axis; None where there is none


def lacking(wrong: Pairs, exact: float = SAME) -> tuple[str, str] | None:
    """The family and the words where every error is, along one axis, a combination of one or two known vectors."""
    ndims = {pair.right.ndim for pair in wrong}
    if len(ndims) != 1:
        return None
    for axis in range(-1, -1 - ndims.pop(), -1):
        for words, vectors in _spans(wrong):
            if all(_lies_in(pair, vectors, axis, exact) for pair in wrong):
                places = wrong[0].right.ndim + axis
                return "term", "is off by " + words.format(axis=f"along axis {places}")
    return None


def _spans(wrong: Pairs) -> Iterator[tuple[str, Sequence[Direction]]]:
    """Words for an error, and the vectors it is made of: the fewest first."""
    names = [name for name, x in floats(wrong[0].case.inputs).items() if x.shape == wrong[0].right.shape]
    yield "one number all {axis}: as if a term through a sum or a mean over it were missing or wrong", [_ones]
    if all(len(pair.case.out) == 1 for pair in wrong):
        yield "a multiple of forward's output {axis}: as if a term through a sum over it were missing or wrong", [_out]
    for name in names:
        spread = f"a multiple of {name} - mean({name})"
        yield spread + " {axis}: as if the term through the variance were missing or wrong", [_centred(name)]
    for name in names:
        both = f"one number and a multiple of {name}"
        yield both + " {axis}: as if the terms through mean and variance were missing or wrong", [_ones, _centred(name)]


def _ones(pair: Pair, axis: int) -> np.ndarray:
    return np.ones_like(pair.right)


def _out(pair: Pair, axis: int) -> np.ndarray | None:
    (out,) = pair.case.out
    return out if out.shape == pair.right.shape else None


def _centred(name: str) -> Direction:
    def vector(pair: Pair, axis: int) -> np.ndarray | None:
        x = floats(pair.case.inputs).get(name)
        if x is None or x.shape != pair.right.shape or not np.isfinite(x).all():
            return None
        return x - x.mean(axis=axis, keepdims=True)

    return vector


def _lies_in(pair: Pair, vectors: Sequence[Direction], axis: int, exact: float) -> bool:
    """Whether in each row along the axis the error is such a combination, and the rows have more numbers than that."""
    found = [vector(pair, axis) for vector in vectors]
    basis = [np.moveaxis(u, axis, -1) for u in found if u is not None]
    if len(basis) < len(vectors) or pair.right.shape[axis] < len(vectors) + 2:
        return False
    error = np.moveaxis(pair.given - pair.right, axis, -1)
    left = error
    for u in basis:  # which are orthogonal: a centred vector to ones
        size = (u * u).sum(axis=-1, keepdims=True)
        left = left - u * (left * u).sum(axis=-1, keepdims=True) / np.where(size > 0, size, 1)
    size = float(np.linalg.norm(left))
    return size <= 10 * exact * float(np.linalg.norm(pair.right)) and size <= 1e-4 * float(np.linalg.norm(error))

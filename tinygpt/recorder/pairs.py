"""Which array of the backward pass is the gradient of which of forward's: found by where they stand, held by value."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tinygpt.gradcheck.intermediates import named_after
from tinygpt.recorder.recording import Array, Call

AGREES, COARSELY = 1e-5, 1e-3  # relative to the largest derivative; the latter where something is in float32
SMALLEST = 1e-5  # a derivative, below which a nudge is rounding


def pair_gradients(
    arrays: Sequence[Array], calls: Sequence[Call], whole: Mapping[str, Array | None], coarse: bool
) -> None:
    """Find each array's gradient, where the step forms it. whole: of each parameter the array that is its gradient.

    Of several that stand where it may be, one that has its value, the first. Where none has, with a reader's part that
    is wrong, the one that backward returns in its place or was given for it.
    """
    agrees, mine = COARSELY if coarse else AGREES, any(call.mine for call in calls)
    candidates, placed = _candidates(calls)
    for array in arrays:
        if array.kind == "backward":
            continue
        gradient = whole.get(array.name) if array.kind == "param" else None
        found = [gradient] if gradient else candidates[array.id] if array.kind == "forward" else []
        fitting = [(error(one.values, array), one.id, one) for one in found if one.values.size == array.values.size]
        right = [entry for entry in fitting if entry[0] < agrees]
        if right:
            array.error, _, array.gradient = min(right, key=lambda entry: entry[1])
        elif fitting and (gradient or mine and fitting[0][2].id in placed[array.id]):
            array.error, _, array.gradient = fitting[0]
        if array.update:
            array.error = error(array.update.gradient, array)


def error(gradient: np.ndarray, array: Array) -> float:
    """The largest difference of a gradient and the derivative, relative to the largest derivative; NaN without one."""
    if array.derivative is None:
        return float("nan")
    right = array.derivative.ravel()
    return float(np.abs(gradient.ravel() - right).max() / max(np.abs(right).max(), SMALLEST))


def _candidates(calls: Sequence[Call]) -> tuple[dict[int, list[Array]], dict[int, set[int]]]:
    """By the id of an array, what may be its gradient; and the ids of those of them that stand in its very place."""
    found: dict[int, list[Array]] = defaultdict(list)
    placed: dict[int, set[int]] = defaultdict(set)
    for call in calls:
        if call.of:
            for array, gradient in [*_by_position(call.of, call), *_by_name(call.of.all_named, call.all_named)]:
                if gradient.kind == "backward" and gradient not in found[array.id]:
                    found[array.id].append(gradient)
            for array, gradient in _by_position(call.of, call):
                placed[array.id].add(gradient.id)
    return found, placed


def _by_position(forward: Call, backward: Call) -> Iterator[tuple[Array, Array]]:
    """An argument of forward's and the gradient that backward returns in its place; what forward returned and the
    gradient that backward was given.
    """
    for argument, gradient in zip(forward.arguments, backward.results, strict=False):
        if argument is not None and gradient is not None:
            yield argument, gradient
    out, dout = next(iter(forward.results), None), next(iter(backward.arguments), None)
    if out is not None and dout is not None:
        yield out, dout


def _by_name(forward: list[tuple[str, Array]], backward: list[tuple[str, Array]]) -> Iterator[tuple[Array, Array]]:
    """What forward calls NAME and backward dNAME."""
    for name, array in forward:
        for other, gradient in backward:
            if named_after(other) == name:
                yield array, gradient


def by_chain_rule(arrays: Sequence[Array]) -> dict[int, np.ndarray]:
    """The derivative of the loss by each parameter and forward array, by id, from those of what it goes into."""
    sums = {array.id: np.zeros(array.values.size) for array in arrays if array.kind != "backward"}
    for array in arrays:
        if array.kind == "forward" and array.terms is not None and array.derivative is not None:
            of, source, element, by = array.terms
            for one in np.unique(source):
                of_it = source == one
                np.add.at(sums[one], element[of_it], by[of_it] * array.derivative.ravel()[of[of_it]])
    return {id_: total.reshape(arrays[id_].values.shape) for id_, total in sums.items()}


def hold_by_chain_rule(arrays: Sequence[Array], loss: Array | None, coarse: bool) -> None:
    """See of which arrays all that they go into is known: the chain rule over it gives what a nudge gives."""
    for id_, sums in by_chain_rule(arrays).items():
        array = arrays[id_]
        if array is not loss and array.derivative is not None:
            array.followed = error(sums, array) < (COARSELY if coarse else AGREES)

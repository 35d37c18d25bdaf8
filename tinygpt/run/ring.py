"""A sum over all ranks in a ring, step by step (lesson 19): by a reader's own step, in the place of MPI's."""

from collections.abc import Callable

import numpy as np

from tinygpt.backend import Array, array_module
from tinygpt.run.group import Group


def ring_step(x: np.ndarray, came: np.ndarray | None, step: int, rank: int, size: int) -> np.ndarray:
    """One step of an all-reduce in a ring of `size` ranks: what came from the left is taken in, and goes on.

    x: (n,), this rank's array, changed in place; np.array_split(x, size) has its chunks. came: the chunk that the left
    neighbour gave at the step before; None at step 0, at which each rank gives the chunk of its own number. Until every
    chunk is whole somewhere, what comes is added; after that it is stored. Returns the chunk that goes to the right:
    the one that has just been taken in. After step 2 * size - 2, whose chunk nobody needs, x is the sum over all ranks.
    """
    chunk = np.array_split(x, size)[(rank - step) % size]
    if 0 < step < size:
        chunk += came
    elif step >= size:
        chunk[...] = came
    return chunk


def sum_in_a_ring(group: Group, flat: Array, ring_step: Callable) -> None:
    """Add up a flat buffer over all ranks, in place, as `group.sum` does, which does it for a card's. ring_step:
    the one above, or a reader's; what it gives goes to the right.
    """
    if group.size == 1 or array_module(flat) is not np:
        group.sum(flat)
        return
    lengths = [len(chunk) for chunk in np.array_split(flat, group.size)]
    came = None
    for step in range(2 * group.size - 2):
        goes = np.ascontiguousarray(ring_step(flat, came, step, group.rank, group.size))
        came = np.empty(lengths[(group.rank - 1 - step) % group.size], flat.dtype)
        group.pass_on(goes, came)
    ring_step(flat, came, 2 * group.size - 2, group.rank, group.size)

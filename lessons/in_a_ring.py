"""A model whose rows are shared by several ranks, one after another in this process: for `run` of a ring's step."""

from collections.abc import Callable
from typing import Any

import numpy as np

RANKS = 4


class InARing:
    """A GPT as its ranks would train it: each has its rows of a batch, and the gradients go round by `ring_step`."""

    def __init__(self, model: Any, ring_step: Callable):
        self._model, self._ring_step = model, ring_step

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def loss(
        self, idx: Any, targets: Any, denominator: float | None = None, need_grad: bool = True, step: int = 0,
        row: int = 0,
    ) -> tuple[Any, Any]:  # fmt: skip
        """As the model's; the cache is a list with one of each rank."""
        if not need_grad:
            return self._model.loss(idx, targets, denominator, need_grad)
        found = [
            self._model.loss(idx[mine], targets[mine], denominator, step=step, row=row + mine.start)
            for mine in (slice(len(idx) * r // RANKS, len(idx) * (r + 1) // RANKS) for r in range(RANKS))
        ]
        return sum(loss for loss, _ in found), [cache for _, cache in found]

    def backward(self, caches: list, grads: Any) -> Any:
        """As the model's: rank 0's sum is added into `grads`. All ranks have the same, or ValueError is raised."""
        of_each = [self._model.params.zeros_like() for _ in caches]
        for gradient, cache in zip(of_each, caches, strict=True):
            self._model.backward(cache, gradient)
        flats = [gradient.flat for gradient in of_each]
        came: list[Any] = [None] * RANKS
        for step in range(2 * RANKS - 1):
            goes = [self._ring_step(flats[rank], came[rank], step, rank, RANKS).copy() for rank in range(RANKS)]
            came = [goes[rank - 1] for rank in range(RANKS)]
        if not all(np.array_equal(flat, flats[0]) for flat in flats):
            raise ValueError("the ranks came out of the ring with different gradients")
        for name, gradient in of_each[0].items():
            grads[name] += gradient
        return grads

"""What each layer is checked on: inputs at which a mistake has nowhere to hide.

Sizes are drawn by the seed, odd and even, and differ from each other within a case, so that a transposed axis shows.
Matrices have variance 1/fan_in, not GPT-2's 0.02, at which attention is uniform, GELU linear, and a wrong derivative
as small as a right one. Token ids repeat, targets are ignored, and the smallest cases (B=1, T=1, one head) are there.
"""

from typing import Any, NamedTuple

import numpy as np

from tinygpt.gradcheck.trees import mapped as mapped
from tinygpt.layers.cross_entropy import IGNORED
from tinygpt.random import generator


class Case(NamedTuple):
    """A layer's arguments by name, in the order of its forward."""

    title: str
    inputs: dict[str, Any]


class Draw:
    """Random arrays for one case. initial: as training begins with: matrices of 0.02, LayerNorm weights 1, biases 0."""

    def __init__(self, seed: int, *purpose: int | str, initial: bool = False):
        self.rng = generator(seed, *purpose)
        self.initial = initial

    def sizes(self, count: int, least: int = 2, most: int = 7) -> list[int]:
        """`count` different sizes."""
        return [int(n) for n in self.rng.permutation(np.arange(least, most + 1))[:count]]

    def array(self, *shape: int) -> np.ndarray:
        """Of order one: activations."""
        return self.rng.standard_normal(shape)

    def matrix(self, *shape: int, fan_in: int | None = None) -> np.ndarray:
        fan_in = shape[0] if fan_in is None else fan_in
        return self.rng.standard_normal(shape) * (0.02 if self.initial else fan_in**-0.5)

    def product(self, *shape: int, fan_in: int) -> np.ndarray:
        """What comes out of a matrix with `fan_in` inputs of order one: of order one if the matrix is not `initial`."""
        return self.rng.standard_normal(shape) * (0.02 * fan_in**0.5 if self.initial else 1)

    def bias(self, size: int) -> np.ndarray:
        return self.rng.standard_normal(size) * (0 if self.initial else 0.5)

    def gain(self, size: int) -> np.ndarray:
        """LayerNorm's weight, of either sign."""
        values = self.rng.uniform(0.5, 1.5, size) * self.rng.choice([-1, 1], size)
        return np.ones(size) if self.initial else values

    def parameter(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """A parameter of the model by its name and shape."""
        if len(shape) == 2:
            return self.matrix(*shape, fan_in=shape[1] if name.startswith("w") else shape[0])  # the tied head: C inputs
        return self.bias(shape[0]) if name.endswith("bias") else self.gain(shape[0])

    def tokens(self, *shape: int, vocab_size: int) -> np.ndarray:
        """Integers in [0, vocab_size); some occur more than once wherever there are two places."""
        idx = self.rng.integers(vocab_size, size=shape)
        idx.reshape(-1)[1::2] = idx.reshape(-1)[: idx.size // 2]
        return idx

    def targets(self, *shape: int, vocab_size: int) -> np.ndarray:
        """As tokens, about a third of them ignored, the first not."""
        targets = self.tokens(*shape, vocab_size=vocab_size)
        flat = targets.reshape(-1)
        flat[1:][self.rng.random(targets.size - 1) < 0.3] = IGNORED
        flat[1 + self.rng.integers(max(1, targets.size - 1)) :][:1] = IGNORED  # one at least, where there are two
        return targets


def far_from_zero(rows: int) -> np.ndarray:
    """What moves rows of scores far from zero and from each other: exp of them overflows, or all of a row vanishes."""
    return np.where(np.arange(rows)[:, None] % 2, 800.0, -800.0)

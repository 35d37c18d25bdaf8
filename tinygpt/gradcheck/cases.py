"""What each layer is checked on: inputs at which a mistake has nowhere to hide.

Sizes are drawn by the seed, odd and even, and differ from each other within a case, so that a transposed axis shows.
Matrices have variance 1/fan_in, not GPT-2's 0.02, at which attention is uniform, GELU linear, and a wrong derivative
as small as a right one. Token ids repeat, targets are ignored, and the smallest cases (B=1, T=1, one head) are there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygpt.backend import to_device
from tinygpt.layers.cross_entropy import IGNORED
from tinygpt.models.gpt2 import BlockOps, GPTConfig
from tinygpt.ops import DEFINITIONS
from tinygpt.random import generator


class Case(NamedTuple):
    """A layer's arguments by name, in the order of its forward."""

    title: str
    inputs: dict[str, Any]


class Draw:
    """Random arrays for one case.

    As a model has them when its training begins (`initial`), for measuring checks that are made there: matrices of
    standard deviation 0.02, LayerNorm weights 1, biases 0.
    """

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


def embedding(draw: Draw) -> list[Case]:
    B, T, V, C = draw.sizes(4)
    return [
        Case("tokens", {"idx": draw.tokens(B, T, vocab_size=V), "w": draw.matrix(V, C, fan_in=C)}),
        Case("positions", {"idx": np.arange(T), "w": draw.matrix(T + 1, C, fan_in=C)}),
        Case("one token", {"idx": draw.tokens(1, 1, vocab_size=V), "w": draw.matrix(V, C, fan_in=C)}),
    ]


def linear(draw: Draw) -> list[Case]:
    B, T, n_in, n_out = draw.sizes(4)
    w = draw.matrix(n_in, n_out)
    return [
        Case("", {"x": draw.array(B, T, n_in), "w": w, "b": draw.bias(n_out)}),
        Case("no bias", {"x": draw.array(B, T, n_in), "w": w, "b": None}),
        Case("one row, w a transposed view", {"x": draw.array(1, n_in), "w": draw.matrix(n_out, n_in).T, "b": None}),
    ]


def layernorm(draw: Draw) -> list[Case]:
    B, T, C = draw.sizes(3, least=3)  # of two channels, xhat is 1 and -1 whatever x is
    x = draw.array(B, T, C) * 2 + 1
    return [
        Case("", {"x": x, "w": draw.gain(C), "b": draw.bias(C)}),
        Case("no bias", {"x": x, "w": draw.gain(C), "b": None}),
        Case("two axes, large eps", {"x": draw.array(1, C), "w": draw.gain(C), "b": draw.bias(C), "eps": 0.3}),
    ]


def gelu(draw: Draw) -> list[Case]:
    B, T, C = draw.sizes(3)
    x = draw.product(B, T, C, fan_in=C) * 2
    return [Case("tanh", {"x": x, "approximate": "tanh"}), Case("exact", {"x": x, "approximate": "none"})]


def far(rows: int) -> np.ndarray:
    """What moves rows of scores far from zero and from each other: exp of them overflows, or all of a row vanishes."""
    return np.where(np.arange(rows)[:, None] % 2, 800.0, -800.0)


def softmax(draw: Draw) -> list[Case]:
    B, T, V = draw.sizes(3, least=3)
    masked = draw.product(T, V, fan_in=V)
    masked[0, 1:] = masked[1, 0] = -np.inf
    masked[-1] = -np.inf  # all of a row
    return [
        Case("", {"x": draw.product(B, T, V, fan_in=V) * 2}),
        Case("masked", {"x": masked}),
        Case("far from zero", {"x": draw.product(T, V, fan_in=V) + far(T)}),
    ]


def attention(draw: Draw) -> list[Case]:
    H, D = draw.sizes(2, most=4)  # so C is 6, 8 or 12
    B, T = (5, 7) if draw.rng.random() < 0.5 else (7, 5)

    def qkv(B: int, T: int, C: int) -> np.ndarray:
        return draw.product(B, T, 3 * C, fan_in=C)

    return [
        Case("", {"qkv": qkv(B, T, H * D), "n_head": H}),
        Case("one head", {"qkv": qkv(B, T, D), "n_head": 1}),
        Case("one token", {"qkv": qkv(1, 1, H * D), "n_head": H}),
        Case("dropout", {"qkv": qkv(B, T, H * D), "n_head": H, "dropout": 0.3, "key": 7, "row": 3}),
    ]


def cross_entropy(draw: Draw) -> list[Case]:
    B, T, V = draw.sizes(3, least=3)
    logits, targets = draw.product(B, T, V, fan_in=V), draw.targets(B, T, vocab_size=V)
    return [
        Case("", {"logits": logits, "targets": draw.tokens(B, T, vocab_size=V)}),
        Case("ignored targets", {"logits": logits, "targets": targets}),
        Case("part of a batch", {"logits": logits, "targets": targets, "denominator": 29.0}),
        Case("far from zero", {"logits": logits + far(T), "targets": targets}),
        Case("all ignored", {"logits": logits, "targets": np.full((B, T), IGNORED)}),
    ]


def dropout(draw: Draw) -> list[Case]:
    B, T, C = draw.sizes(3, least=3)
    return [
        Case("p=0.3", {"x": draw.array(B, T, C), "p": 0.3, "key": 3, "row": 5}),
        Case("p=0", {"x": draw.array(B, T, C), "p": 0.0}),
    ]


def mlp(draw: Draw) -> list[Case]:
    B, T, C = draw.sizes(3, most=5)
    weights = {
        "w_fc": draw.matrix(C, 4 * C), "b_fc": draw.bias(4 * C),
        "w_proj": draw.matrix(4 * C, C), "b_proj": draw.bias(C),
    }  # fmt: skip
    x = draw.array(B, T, C)
    return [
        Case("tanh", {"x": x, **weights, "approximate": "tanh", "ops": DEFINITIONS}),
        Case(
            "exact, no biases",
            {"x": x, **weights, "b_fc": None, "b_proj": None, "approximate": "none", "ops": DEFINITIONS},
        ),
    ]


def block(draw: Draw) -> list[Case]:
    H, D, B, T = *draw.sizes(2, most=3), *draw.sizes(2, least=4, most=5)
    shapes = GPTConfig(n_layer=1, n_head=H, n_embd=H * D).shapes()
    params = {name.removeprefix("h.0."): parameter(draw, name, shapes[name]) for name in shapes if "h.0." in name}
    weights = {name: array for name, array in params.items() if name.endswith("weight")}
    x, ops = draw.array(B, T, H * D), BlockOps(DEFINITIONS)
    return [
        Case("", {"x": x, "params": params, "n_head": H, "ops": ops}),
        Case("dropout, no biases, exact GELU", {
            "x": x, "params": weights, "n_head": H, "approximate": "none", "dropout": 0.3, "key": 5, "ops": ops,
        }),
        Case("one token, large eps", {
            "x": draw.array(1, 1, H * D), "params": params, "n_head": H, "eps": 0.1, "ops": ops,
        }),
    ]  # fmt: skip


def parameter(draw: Draw, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A parameter of the model by its name and shape."""
    if len(shape) == 2:
        return draw.matrix(*shape, fan_in=shape[1] if name.startswith("w") else shape[0])  # the tied head: C inputs
    return draw.bias(shape[0]) if name.endswith("bias") else draw.gain(shape[0])


def lm_head_loss(draw: Draw) -> list[Case]:
    N, C, V = draw.sizes(3, least=3)
    x, w = draw.array(N, C), draw.matrix(V, C, fan_in=C)
    return [
        Case("", {"x": x, "w": w, "targets": draw.tokens(N, vocab_size=V), "ops": DEFINITIONS}),
        Case("part of a batch", {
            "x": x, "w": w, "targets": draw.targets(N, vocab_size=V), "denominator": 13.0, "need_grad": True,
            "ops": DEFINITIONS,
        }),
    ]  # fmt: skip


CASES: dict[str, Callable[[Draw], list[Case]]] = {
    "embedding": embedding,
    "linear": linear,
    "layernorm": layernorm,
    "gelu": gelu,
    "softmax": softmax,
    "attention": attention,
    "cross_entropy": cross_entropy,
    "dropout": dropout,
    "mlp": mlp,
    "block": block,
    "lm_head_loss": lm_head_loss,
}


def cases(layer: str, seed: int = 0, device: str = "cpu", initial: bool = False) -> list[Case]:
    """The cases of one layer, their arrays on `device`; another seed gives other numbers and other sizes."""
    drawn = CASES[layer](Draw(seed, layer, initial=initial))
    return [Case(title, {name: _move(x, device) for name, x in inputs.items()}) for title, inputs in drawn]


def _move(x: Any, device: str) -> Any:
    if isinstance(x, dict):
        return {name: _move(value, device) for name, value in x.items()}
    return to_device(x, device) if isinstance(x, np.ndarray) else x

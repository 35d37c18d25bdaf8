"""Every layer with all that computes it, and inputs to try it on: found in the folders, listed nowhere."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest

from tinygpt import kernels
from tinygpt.backend import to_device, to_host
from tinygpt.gradcheck.cases import Draw, mapped
from tinygpt.gradcheck.library import CASES, definition
from tinygpt.gradcheck.suite import candidates
from tinygpt.kernels.cuda.unfinished import Unfinished


class Implementation(NamedTuple):
    """What has a layer's forward and backward: its definition, or a device's fast twin."""

    title: str
    layer: str
    functions: Any
    device: str

    def placed(self, tree: Any) -> Any:
        """A tree's arrays on the device."""
        return each_array(lambda x: to_device(x, self.device), tree)

    def examples(self, dtype: str = "float64", values: Callable | None = None) -> Iterator[dict[str, Any]]:
        """`examples` of the layer; for a card, whose kernels the emulator runs, a third of them."""
        few = *draws(Draw, 3), *draws(Smallest, 1)
        return examples(self.layer, dtype, *([few] if self.device == "cuda" else []), values=values)

    def forward(self, inputs: dict[str, Any]) -> tuple[Any, tuple]:
        return self.functions.forward(**self.placed(inputs))

    def backward(self, dout: np.ndarray, cache: tuple) -> Any:
        return self.functions.backward(self.placed(dout), cache)


def definitions(device: str = "cpu") -> list[Implementation]:
    return [Implementation(layer, layer, definition(layer), device) for layer in CASES]


def twins(device: str) -> list[Implementation]:
    return [
        Implementation(f"{title}, {device}", layer, twin, device)
        for layer in CASES
        for title, twin in candidates(layer, device).items()
        if twin is not None  # as the definition's is
    ]


def cut_blocks(patch: pytest.MonkeyPatch, most: int) -> None:
    """Let twins for the CPU compute `most` elements at a time where their constants say thousands: inputs here have no
    more. (A card's constants are the threads of a block and the like.)
    """
    for module in kernels.modules("cpu").values():
        for name, value in list(vars(module).items()):
            if name.isupper() and isinstance(value, int) and value > most:
                patch.setattr(module, name, most)


class Smallest(Draw):
    """All sizes equal, and smaller than a gradient can be checked on: mostly one."""

    def sizes(self, count: int, least: int = 2, most: int = 7) -> list[int]:
        return [least - 1] * count


def draws(kind: type[Draw], count: int) -> list[Callable[[str], Draw]]:
    """What draws the inputs of a layer, by its name, as often as that with other numbers and sizes."""
    return [functools.partial(kind, seed) for seed in range(count)]


def examples(
    layer: str, dtype: str = "float64", drawn: Sequence = (*draws(Draw, 10), *draws(Smallest, 1)),
    values: Callable | None = None,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Inputs of a layer's forward by name: the cases that its gradients are checked on, each of them whole, with the
    first of its sequences, and with the first of its tokens. values: `values(rng, shape)` replaces the numbers.
    """
    rng = np.random.default_rng(0)

    def number(x: np.ndarray) -> np.ndarray:
        return (x if values is None else values(rng, x.shape)).astype(dtype) if x.dtype.kind == "f" else x

    for draw in drawn:
        for _, inputs in CASES[layer](draw(layer)):
            for rows in (slice(None), slice(1), (slice(1), slice(1))):
                yield each_array(number, of_rows(inputs, rows))


def of_rows(inputs: dict[str, Any], rows: Any) -> dict[str, Any]:
    """The inputs with these rows of the batch: of the first of them, and of ids and targets, as many as it has."""
    first = next(iter(inputs.values()))
    batch = first.shape if first.dtype.kind == "i" else first.shape[:-1]
    rows = rows[: len(batch)] if isinstance(rows, tuple) else rows

    def is_of_batch(x: Any) -> bool:
        return x is first or (isinstance(x, np.ndarray) and x.dtype.kind == "i" and x.shape == batch)

    return {name: x[rows] if is_of_batch(x) else x for name, x in inputs.items()}


def each_array(function: Callable, tree: Any) -> Any:
    """A tree of mappings with `function` of each of its arrays."""
    return mapped(lambda x: function(x) if isinstance(x, np.ndarray) else x, tree)


def leaves(tree: Any) -> list[Any]:
    """Every array in nested tuples, lists and mappings; gradients that a kernel left unfinished are finished."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, tuple | list):
        return [array for part in tree for array in leaves(part)]
    if isinstance(tree, Unfinished):
        tree = tree.array()
    return [tree] if hasattr(tree, "dtype") else []


def arrays_in(tree: Any) -> list[np.ndarray]:
    """Every array in nested tuples, lists and mappings, on the host."""
    return [to_host(array) for array in leaves(tree)]


def random_like(out: Any, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(np.shape(out)).astype(out.dtype)

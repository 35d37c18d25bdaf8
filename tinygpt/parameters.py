"""Named arrays that are views of one flat buffer: a model's parameters, their gradients, the optimiser's moments."""

import copy
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import numpy as np

from tinygpt.backend import ALIGNMENT, Array, aligned_zeros, device_module, to_host
from tinygpt.errors import UserError


class Parameters(Mapping):
    """A mapping of names to arrays, all of them views of the buffer `flat`; zeros at first.

    `params[name]` is the array; `params[name] = array` checks the shape and copies into it, so `grads[name] += d` adds
    in place. In the buffer the arrays that weight decay applies to (two or more dimensions, as nanoGPT has it) come
    first, up to element `n_decayed`; each starts at a 64-byte boundary, and the gaps between are zeros that stay zero.
    """

    def __init__(
        self, shapes: Mapping[str, tuple[int, ...]], dtype: Any = "float32", device: str = "cpu",
        flat: Array | None = None,
    ):  # fmt: skip
        """flat: the buffer, where there is one that holds just these."""
        self.shapes = dict(shapes)
        self.dtype = np.dtype(dtype)
        self.device = device
        step = ALIGNMENT // self.dtype.itemsize
        offset = self.n_decayed = 0
        self._slices = {}
        for name in sorted(self.shapes, key=lambda name: len(self.shapes[name]) < 2):  # stable: decayed ones first
            size = prod(self.shapes[name])
            self._slices[name] = slice(offset, offset + size)
            offset += -(-size // step) * step  # up to the next boundary
            if len(self.shapes[name]) >= 2:
                self.n_decayed = offset
        self.flat = aligned_zeros(offset, self.dtype, device) if flat is None else flat
        self._views = self._views_of(self.flat)

    def _views_of(self, flat: Array) -> dict[str, Array]:
        return {name: flat[self._slices[name]].reshape(shape) for name, shape in self.shapes.items()}

    def __getitem__(self, name: str) -> Array:
        return self._views[name]

    def __setitem__(self, name: str, value: Array) -> None:
        """Copy `value`, from the host or this device. Raises KeyError for an unknown name, UserError for a shape."""
        view = self._views[name]
        if value is view:  # what `params[name] += d` stores back
            return
        if tuple(np.shape(value)) != view.shape:
            raise UserError(f"{name} has shape {view.shape}, but the array given has shape {tuple(np.shape(value))}")
        view[...] = device_module(self.device).asarray(value, dtype=self.dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def on_host(self) -> dict[str, np.ndarray]:
        """The arrays as NumPy has them, views of one transfer; on a CPU the very same."""
        return self._views_of(to_host(self.flat))

    def cast(self, dtype: Any) -> Mapping[str, Array]:
        """The arrays with those of two or more dimensions in `dtype`, copied in one pass; the very same if all are so
        already. What has one dimension, biases and the like, stays as it is.
        """
        if self.dtype == dtype:
            return self
        matrices = self.flat[: self.n_decayed].astype(dtype)
        return {
            name: matrices[self._slices[name]].reshape(shape) if len(shape) >= 2 else self[name]
            for name, shape in self.shapes.items()
        }

    def part(self, elements: slice) -> "Parameters":
        """A part of the buffer, as parameters of its own: `decayed` and `rest`, by whether weight decay applies. They
        are the very same numbers. The part begins and ends at 64-byte boundaries, as `n_decayed` is one.
        """
        decayed = max(0, min(elements.stop, self.n_decayed) - elements.start)
        rest = elements.stop - elements.start - decayed
        shapes: dict[str, tuple[int, ...]] = {"decayed": (decayed, 1)} if decayed else {}
        shapes |= {"rest": (rest,)} if rest else {}
        return Parameters(shapes, self.dtype, self.device, self.flat[elements])

    def zeros_like(self) -> "Parameters":
        """New arrays of the same names, shapes, dtype and device, all zero."""
        return Parameters(self.shapes, self.dtype, self.device)

    def __copy__(self) -> "Parameters":
        """The same numbers in a buffer of its own, whose views its arrays are."""
        other = self.zeros_like()
        other.flat[...] = self.flat
        return other

    def __deepcopy__(self, memo: dict) -> "Parameters":
        return copy.copy(self)

    def __reduce__(self) -> tuple:  # for a pickle of the user's own: the buffer once, and its views made anew
        return Parameters, (self.shapes, self.dtype, self.device), to_host(self.flat)

    def __setstate__(self, flat: np.ndarray) -> None:
        self.flat[...] = device_module(self.device).asarray(flat)


class Adding:
    """Gradients on a card as what a backward pass adds to: `grads[name] += d` also takes a gradient that a kernel left
    unfinished (`tinygpt/kernels/cuda/unfinished.py`) and lets it finish it there.
    """

    def __init__(self, grads: Any):
        self.grads = grads

    def __getitem__(self, name: str) -> "_Total":
        return _Total(self, name)

    def __setitem__(self, name: str, value: Any) -> None:
        if not isinstance(value, _Total):  # what `grads[name] += d` stores back
            self.grads[name] = value

    def add_all(self, gradients: Mapping[str, Any]) -> None:
        """grads[name] += d for each of them, but for None; unfinished ones of a class together."""
        unfinished: dict[Any, list[tuple[Any, Array]]] = {}
        for name, d in gradients.items():
            if d is None:
                continue
            total = self.grads[name]
            if hasattr(d, "add_all") and d.dtype == total.dtype and total.flags.c_contiguous:
                unfinished.setdefault(type(d), []).append((d, total))
            else:
                self.grads[name] += finished(d)
        for kind, sums in unfinished.items():
            kind.add_all(sums)


class _Total:
    """What `grads[name] += d` needs of one of them."""

    def __init__(self, adding: Adding, name: str):
        self.adding, self.name = adding, name

    def __iadd__(self, d: Any) -> "_Total":
        self.adding.add_all({self.name: d})
        return self


def finished(gradient: Any) -> Any:
    """A gradient as an array, whatever a kernel left of it to do."""
    return gradient.array() if hasattr(gradient, "add_all") else gradient


class Finishing:
    """A table of leaves for what a reader wrote, such as a block: every gradient is an array as soon as it is returned,
    where a fast twin would leave one unfinished. So one may compute with it, and write over what it is made of.
    """

    def __init__(self, table: Any):
        self._table = table

    def __getattr__(self, name: str) -> Any:
        return _Finishing(getattr(object.__getattribute__(self, "_table"), name))

    def replace(self, **leaves: Any) -> "Finishing":
        return Finishing(self._table.replace(**leaves))


class _Finishing:
    """One of its leaves."""

    def __init__(self, leaf: Any):
        self._leaf = leaf

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_leaf"), name)

    def backward(self, dout: Any, cache: tuple) -> Any:
        gradients = self._leaf.backward(dout, cache)
        return tuple(map(finished, gradients)) if isinstance(gradients, tuple) else finished(gradients)

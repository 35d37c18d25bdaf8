"""Named arrays that are views of one flat buffer: a model's parameters, their gradients, the optimiser's moments."""

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

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], dtype: Any = "float32", device: str = "cpu"):
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
        self.flat = aligned_zeros(offset, self.dtype, device)
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

    def zeros_like(self) -> "Parameters":
        """New arrays of the same names, shapes, dtype and device, all zero."""
        return Parameters(self.shapes, self.dtype, self.device)

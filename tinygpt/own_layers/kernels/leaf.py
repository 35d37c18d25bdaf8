"""LayerNorm with a reader's own kernel: forward launches it, and the way back is the engine's."""

import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tinygpt.backend import Array, array_module, raw_module
from tinygpt.errors import Note, UserError
from tinygpt.kernels.cuda import layernorm as twin
from tinygpt.kernels.cuda.compiled import Kernels
from tinygpt.layers import layernorm
from tinygpt.own_layers.kernels.words import compiler_says

THREADS = 256  # of a block


class Otherwise(tuple):
    """The cache of what computed in the kernel's place."""


class KernelLayerNorm:
    """A layer, of `layernorm_kernel.cu` as `kernels.load` has it. What that does not take, which is anything but rows
    of float32 on a card, `otherwise` computes, a reader's own layer or the engine's definition, and that is said once.
    """

    def __init__(self, file: ModuleType, otherwise: Any = None):
        self.file, self.name = file, Path(str(file.__file__)).name
        self.own, self.otherwise = otherwise is not None, otherwise or layernorm
        self.told: set[str] = set()
        self.kernels: Kernels | None = None

    def forward(self, x: Array, w: Array, b: Array | None = None, eps: float = 1e-5) -> tuple[Array, tuple]:
        """As the definition, `tinygpt/layers/layernorm.py`: (..., C), cache."""
        if why := self._not_taken(x, w, b):
            self._tell(why)
            out, cache = self.otherwise.forward(x, w, b, eps)
            return out, Otherwise(("cache", cache))
        xp, N, C = array_module(x), *twin.rows_of(x)
        x, w = xp.ascontiguousarray(x), xp.ascontiguousarray(w)
        out, mean, rstd = xp.empty_like(x), xp.empty(N, x.dtype), xp.empty(N, x.dtype)
        if N:  # a grid cannot be empty
            args = x, w, None if b is None else xp.ascontiguousarray(b), out, mean, rstd, C, float(eps)
            self._compiled().launch(self.file.kernel, N, THREADS, *args)
        return out, (x, w, b is not None, eps)

    def backward(self, dout: Array, cache: tuple) -> tuple[Array, Any, Any]:
        """dx: (..., C), dw: (C,), db: (C,) or None, as the definition."""
        if isinstance(cache, Otherwise):
            return self.otherwise.backward(dout, cache[1])
        return twin.backward(dout, cache)

    def _compiled(self) -> Kernels:
        if self.kernels is None:
            module = raw_module(f'#line 1 "{self.name}"\n{self.file.text}')
            try:
                module.get_function(self.file.kernel)
            except Exception as error:
                if "error:" not in str(error):
                    raise
                raise UserError(f"the card's compiler refuses {compiler_says(str(error), self.name)}") from error
            self.kernels = Kernels(module, np.float32)
        return self.kernels

    def _not_taken(self, x: Array, w: Array, b: Array | None) -> str:
        """Why the kernel does not take these, or ""."""
        if array_module(x) is np:
            return "needs a card, and this runs on the CPU"
        if x.dtype != np.float32:
            return f"is for float32, and this is {x.dtype}"
        why = twin.not_taken(x, w, b)
        return f"has no way back for {why}" if why else ""

    def _tell(self, why: str) -> None:
        if why not in self.told:
            self.told.add(why)
            whose = "your layernorm.py" if self.own else "the engine's layernorm"
            warnings.warn(Note(f"{self.name} {why}: {whose} computes in its place"), stacklevel=3)

"""The `.cu` files of this folder, compiled for a dtype and their constants the first time they are asked for."""

import functools
import re
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt.backend import Array, device_module, raw_module
from tinygpt.errors import Note

FOLDER = Path(__file__).parent
REALS = {"float32": "float", "float64": "double", "bfloat16": "float"}  # what computes on arrays of a dtype
STORED = {"bfloat16": "bfloat16"}  # what arrays hold, where that is another type
STATIC_SHARED = 48 << 10  # bytes: what a block may have of shared memory without asking for more


class Kernels:
    """The kernels of one file, compiled. `launch` takes arrays, whole numbers (int) and real numbers (float)."""

    def __init__(self, module: Any, real: type):
        self.module, self.real = module, real
        self.functions: dict[str, Any] = {}

    def launch(self, kernel: str, grid: int | tuple, block: int | tuple, *args: Any, shared: int = 0) -> None:
        """Queue a kernel. grid, block: blocks, and threads of a block; shared: bytes of dynamic shared memory. An array
        may be None, a null pointer.
        """
        function = self.functions.get(kernel)
        if function is None:
            with _SaidIfSlow():  # CuPy compiles when the first kernel of a file is asked for
                function = self.functions[kernel] = self.module.get_function(kernel)
        if shared > STATIC_SHARED and shared > function.max_dynamic_shared_size_bytes:
            function.max_dynamic_shared_size_bytes = shared
        grid, block = (n if isinstance(n, tuple) else (n,) for n in (grid, block))
        function(grid, block, tuple(map(self._argument, args)), shared_mem=shared)

    def _argument(self, value: Any) -> Any:
        if value is None:
            return np.uint64(0)
        if isinstance(value, int):
            return np.int32(value)  # raises OverflowError where it does not fit
        return self.real(value) if isinstance(value, float) else value


def real_of(dtype: Any) -> np.dtype:
    """What a kernel computes in on arrays of a dtype; so too its vectors, statistics and sums are kept."""
    return np.dtype("float64" if REALS[np.dtype(dtype).name] == "double" else "float32")


def compiled(name: str, dtype: Any, **constants: int) -> Kernels:
    """The kernels of `name`.cu for a dtype, with each of `constants` as a macro."""
    return _compiled(device_module("cuda"), name, np.dtype(dtype).name, tuple(constants.items()))


@functools.cache
def _compiled(cupy: Any, name: str, dtype: str, constants: tuple) -> Kernels:
    macros = {"REAL": REALS[dtype]} | ({"STORED": STORED[dtype]} if dtype in STORED else {}) | dict(constants)
    options = [f"-D{macro}={value}" for macro, value in macros.items()]
    return Kernels(raw_module(source(f"{name}.cu"), options), real_of(dtype).type)


def source(name: str) -> str:
    """The text of a file of this folder with those it includes in their places: CuPy keeps what it compiled by its
    text, and would not see that an included file has changed.
    """

    def included(match: re.Match) -> str:
        following = text.count("\n", 0, match.start()) + 2
        return f'{source(match[1])}#line {following} "{name}"\n'

    text = (FOLDER / name).read_text(encoding="utf-8")
    return f'#line 1 "{name}"\n' + re.sub(r'#include "(\w+\.h)"\n', included, text)


# A first run compiles for a second or more


class _SaidIfSlow:
    """Around what compiles: once all of it together has taken a second, it is said, while it goes on."""

    spent, said = 0.0, False

    def __enter__(self) -> "_SaidIfSlow":
        self.began = time.perf_counter()
        self.timer = threading.Timer(max(0.0, 1.0 - self.spent), self._say)
        self.timer.daemon = True
        self.timer.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.timer.cancel()
        _SaidIfSlow.spent += time.perf_counter() - self.began

    def _say(self) -> None:
        if not _SaidIfSlow.said:
            _SaidIfSlow.said = True
            warnings.warn(Note("compiling kernels for this card; later runs find them compiled"), stacklevel=2)


# What a kernel does not take, its definition does


class OfDefinition(tuple):
    """The cache of a definition that a twin left the work to."""


_told: set[tuple[str, str]] = set()


def fall_back(kernel: str, why: str, result: tuple[Array, tuple]) -> tuple[Array, OfDefinition]:
    """What a definition's forward returned in place of a kernel's, with its cache marked; `why` is said once."""
    if (kernel, why) not in _told:
        _told.add((kernel, why))
        warnings.warn(Note(f"the kernel of {kernel} does not take {why}; its definition computes it"), stacklevel=3)
    out, cache = result
    return out, OfDefinition(cache)

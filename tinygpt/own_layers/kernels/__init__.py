"""A reader's own CUDA kernels: a folder's `NAME.cu` is held against the numbers of `NAME.py` here, in the emulator.

Such a module has KERNEL, the function's name, `cases(rng)`, launches with what should come of them, and MISTAKES, what
usually comes instead. Beside it stands the engine's own text, `NAME.cu`. `judge.py` gives the verdict, `child.py`
launches in a process of its own, `words.py` says what an error of the emulator's means, `leaf.py` takes a kernel into
a run on a card.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

SUFFIX = ".cu"
ORDERS = 3  # of blocks and warps, that each launch is made in
HERE = Path(__file__).parent
BODY = "  // yours to write\n"


class Case(NamedTuple):
    """A launch. arguments: arrays that are read, None and NumPy scalars, by the names of the parameters, in their
    order; right: what the other parameters should hold afterwards, computed in float64; tolerance: relative, of those.
    """

    title: str
    blocks: int
    threads: int
    parameters: tuple[str, ...]
    arguments: Mapping[str, Any]
    right: Mapping[str, np.ndarray]
    tolerance: float = 1e-4

    @property
    def floor(self) -> dict[str, int]:
        """The bytes to be read, and written, if each number were moved once."""
        read = sum(x.nbytes for x in self.arguments.values() if isinstance(x, np.ndarray))
        return {"read": read, "written": sum(4 * x.size for x in self.right.values())}


def solution(name: str) -> str:
    """The engine's own text of a kernel's file."""
    return (HERE / f"{name}{SUFFIX}").read_text(encoding="utf-8")


def blank(name: str) -> str:
    """The file to begin with: what is to be computed, in a comment, and the kernel without its body."""
    text = solution(name)
    signature = re.search(r'^extern "C" __global__ .*?\) \{\n', text, flags=re.M | re.S)
    assert signature, name
    says = text.partition("\n\n")[0]
    return f"{says}\n\n{signature[0]}{BODY}}}\n"


def load(path: str | Path, source: bytes, functions: Sequence[str]) -> ModuleType:
    """A kernel's file as `own_file.load` has a Python file: its `text`, and the name of its `kernel`."""
    module = ModuleType(Path(path).stem)
    vars(module).update(__file__=str(path), text=source.decode("utf-8", errors="replace"), kernel=functions[0])
    return module

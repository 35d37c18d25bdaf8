"""Bugs planted in the kernels, one at a time, each of which must be seen.

A file here bears a twin's name and lists BUGS in its `.cu` file or in a header. A kernel is tried on the cases that the
layer's gradients are checked on, small and wide, and on what a function `inputs(rng)` of its file yields, arguments of
forward by name; beside the layer's definition, or the leaves that it stands for. What has no forward and backward has a
function `outcomes(cupy)` in its file, which yields pairs (ours, expected): arrays on the card, and on the host.

    python -m tests.cuda.planted [NAME ...]  # what sees each bug, and the right kernels in 50 orders
"""

import contextlib
import importlib
import pkgutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from tests.layers.implementations import Implementation, each_array, examples, leaves, random_like, twins
from tests.parity.comparison import relative_error
from tinygpt import emulator
from tinygpt.backend import to_host
from tinygpt.gradcheck.cases import Draw
from tinygpt.gradcheck.library import definition
from tinygpt.kernels import modules
from tinygpt.kernels.cuda import compiled

TOLERANCE = {"float64": 1e-10, "float32": 1e-5}
SECONDS = 10.0  # for a launch, before it is taken for one that never ends


class Bug(NamedTuple):
    """`new` in place of `old`, which the file has exactly once. seen: how it is seen, by an "error" of the emulator, by
    "value", which includes numbers never written, or not at all: "blind", and the title says why.
    """

    title: str
    old: str
    new: str
    seen: str = "error"
    file: str = ""  # NAME.cu if empty


class Wide(Draw):
    """Sizes of several warps and blocks, for kernels."""

    def sizes(self, count: int, least: int = 2, most: int = 7) -> list[int]:
        return [7 * n + 1 for n in super().sizes(count, least, most)]


def found() -> dict[str, ModuleType]:
    """The files of this folder with bugs in them, by name."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    return {name: importlib.import_module(f"{__name__}.{name}") for name in names}


@contextlib.contextmanager
def planted(name: str, bug: Bug) -> Iterator[None]:
    """The kernels with this bug, until the block ends. Raises ValueError if `old` is not there exactly once."""
    right, file = compiled.FOLDER, bug.file or f"{name}.cu"
    with tempfile.TemporaryDirectory() as folder:
        for source in [*right.glob("*.cu"), *right.glob("*.h")]:
            text = source.read_text(encoding="utf-8")
            if source.name == file:
                if text.count(bug.old) != 1:
                    raise ValueError(
                        f"{name}: {file} has {bug.old!r} {text.count(bug.old)} times; a bug is for one place"
                    )
                text = text.replace(bug.old, bug.new)
            Path(folder, source.name).write_text(text, encoding="utf-8")
        seconds = emulator.settings.seconds
        compiled.FOLDER, emulator.settings.seconds = Path(folder), SECONDS
        compiled._compiled.cache_clear()
        try:
            yield
        finally:
            compiled.FOLDER, emulator.settings.seconds = right, seconds
            compiled._compiled.cache_clear()


def outcomes(name: str, cupy: Any, dtype: str, drawn: tuple = ((Draw, 0), (Draw, 1), (Wide, 0))) -> Iterator[tuple]:
    """Pairs of an array on the card and what it should be, on the host."""
    module = found().get(name)
    if hasattr(module, "outcomes"):
        yield from module.outcomes(cupy)
        return
    tried = [each_array(lambda x: x.astype(dtype) if x.dtype.kind == "f" else x, given) for given in _own(module)]
    candidates = [twin for twin in twins("cuda") if twin.layer == name]
    if candidates:
        defined = definition(name)
        tried += examples(name, dtype, [lambda layer, k=kind, s=seed: k(s, layer) for kind, seed in drawn])
    else:  # it stands for leaves that no page puts together
        twin = modules("cuda")[name]
        candidates = [Implementation(name, name, twin, "cuda")]
        defined = SimpleNamespace(forward=twin._by_leaves, backward=twin._by_leaves_backward)
    for twin in candidates:
        for inputs in tried:
            out, cache = twin.forward(inputs)
            expected, defined_cache = defined.forward(**inputs)
            yield from zip(leaves(out), leaves(expected), strict=True)
            dout = alike(out)
            yield from zip(
                leaves(twin.backward(dout, cache)), leaves(defined.backward(dout, defined_cache)), strict=True
            )


def _own(module: Any) -> Iterator[dict]:
    return module.inputs(np.random.default_rng(0)) if hasattr(module, "inputs") else iter(())


def alike(out: Any) -> Any:
    """Random numbers of the shape of an output, or of each of a tuple of them."""
    return tuple(map(alike, out)) if isinstance(out, tuple) else random_like(out)


def verdict(name: str, card: Any, cupy: Any) -> tuple[str, str]:
    """How the kernels, as they are now, are seen to be wrong: "error", "value" or "" if not; and what it says."""
    of_its_own = hasattr(found().get(name), "outcomes")
    for dtype in ["its own"] if of_its_own else TOLERANCE:
        try:
            for ours, expected in outcomes(name, cupy, dtype):
                missing = card.unwritten(ours) if isinstance(ours, cupy.ndarray) else 0
                if missing:
                    return "value", f"{missing} bytes were never written"
                with np.errstate(all="ignore"):
                    error = relative_error(to_host(ours), expected)
                if not error <= TOLERANCE[ours.dtype.name]:
                    return "value", f"relative error {error:.0e} in {ours.dtype}"
        except emulator.KernelError as error:
            return "error", str(error)
        except cupy.cuda.driver.CUDADriverError as error:
            return "error", str(error)
    return "", ""

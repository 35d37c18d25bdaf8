"""The table of leaves that a model computes with; in it alone an implementation of one is chosen.

Which leaves there are, their folders say, and which a model uses, its page. A name finds the definition in
`tinygpt/layers/` and the fast twin, where the device has one, in `tinygpt/kernels/`. A reader's own layer or a
deliberately wrong one, anything with forward and backward, takes its place by name:

    model = GPT(config, ops=DEFINITIONS.replace(layernorm=my_module))
"""

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from tinygpt import layers
from tinygpt.device import resolve_device
from tinygpt.errors import UserError
from tinygpt.kernels import twins

KERNELS = ("auto", "reference")


class Ops:
    """Leaves by name: `ops.layernorm` has the `forward` and `backward` that `tinygpt/layers/layernorm.py` describes.
    twins: what takes a definition's place, or, fused, the place of several; own: what was put in a leaf's place.
    """

    def __init__(self, twins: Mapping[str, Any], own: Mapping[str, Any]):
        self._twins, self._own = twins, own

    def __getattr__(self, name: str) -> Any:
        """Called once for each name: what it finds becomes an attribute."""
        if name.startswith("_") or name not in _leaves():
            raise AttributeError(_no_layer(name))
        leaf = self._own.get(name) or self._twins.get(name) or importlib.import_module(f"{layers.__name__}.{name}")
        setattr(self, name, leaf)
        return leaf

    @property
    def modules(self) -> dict[str, str]:
        """What takes a definition's place, by the leaf's name."""
        taken = {**self._twins, **self._own}
        return {name: getattr(leaf, "__name__", type(leaf).__name__) for name, leaf in sorted(taken.items())}

    @property
    def reference(self) -> bool:
        """Whether no twin takes a definition's place."""
        return not self._twins

    def fused(self, name: str) -> Any:
        """The twin that stands for several leaves at once, while every one of them is ours; else None."""
        twin = self._twins.get(name)
        return None if twin is None or self._own.keys() & set(twin.REPLACES) else twin

    def replace(self, **leaves: Any) -> "Ops":
        """A copy of the table with some leaves exchanged. Raises UserError for a name that is none's."""
        for name in leaves:
            if name not in _leaves():
                raise UserError(_no_layer(name))
        return Ops(self._twins, {**self._own, **leaves}) if leaves else self

    def __deepcopy__(self, memo: dict) -> "Ops":
        return self  # it never changes, and what it holds is modules

    def __reduce__(self) -> tuple:  # for a pickle of the user's own, which cannot hold a module
        return _imported, ({name: twin.__name__ for name, twin in self._twins.items()}, self._own)


def _imported(twins: Mapping[str, str], own: Mapping[str, Any]) -> Ops:
    return Ops({name: importlib.import_module(module) for name, module in twins.items()}, own)


@functools.cache
def _leaves() -> tuple[str, ...]:
    return tuple(module.name for module in pkgutil.iter_modules(layers.__path__))


def _no_layer(name: str) -> str:
    return f"there is no layer {name!r} in the table; its names are {', '.join(_leaves())}"


DEFINITIONS = Ops({}, {})


def build(kernels: str = "auto", device: str = "cpu") -> Ops:
    """The table by name: "reference" for the definitions alone, "auto" with the device's fast twins in their places.

    device: "auto", "cpu" or "cuda". Raises UserError for another name.
    """
    if kernels == "reference":
        return DEFINITIONS
    if kernels == "auto":
        return Ops(twins(resolve_device(device)[0]), {})
    raise UserError(f"kernels is {kernels!r}; expected one of {', '.join(KERNELS)}")

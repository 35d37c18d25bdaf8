"""What there is to check, by name: nothing is listed here, the folder `layers/` is read."""

import importlib
import pkgutil
from types import ModuleType
from typing import Any

import numpy as np

from tinygpt.backend import to_device
from tinygpt.errors import UserError
from tinygpt.gradcheck import layers, steps
from tinygpt.gradcheck.cases import Case, Draw, mapped
from tinygpt.gradcheck.models import gpt2
from tinygpt.models import gpt2 as page


def modules_in(package: ModuleType) -> dict[str, ModuleType]:
    """The modules of a folder by their names."""
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return {name: importlib.import_module(f"{package.__name__}.{name}") for name in names}


def _position(item: tuple[str, ModuleType]) -> tuple[int, str]:
    """The order of the model's page: the leaves that it uses, others by name, and what it makes of leaves."""
    name, file = item
    known = getattr(file, "DEFINITION", file).__name__.rpartition(".")[2]
    order = [*vars(page.Leaves), *vars(page)]
    return order.index(known) if known in order else len(vars(page.Leaves)), name


FILES = dict(sorted(modules_in(layers).items(), key=_position)) | {"model": gpt2}
LAYERS = tuple(FILES)
CASES = {name: FILES[name].cases for name in LAYERS if name != "model"}
STEPS = modules_in(steps)  # on the way to a layer; the lessons ask for them, and no list shows them
FILES |= STEPS


def definition(layer: str) -> Any:
    """The module of `tinygpt/layers/` with that name, or the class of the model's page. Raises UserError if none."""
    if layer not in FILES:
        raise UserError(f"there is no layer {layer!r}; expected one of {', '.join(LAYERS)}")
    return getattr(FILES[layer], "DEFINITION", None) or importlib.import_module(f"tinygpt.layers.{layer}")


def cases(layer: str, seed: int = 0, device: str = "cpu", initial: bool = False) -> list[Case]:
    """The cases of one layer, their arrays on `device`; another seed gives other numbers and other sizes."""
    drawn = FILES[layer].cases(Draw(seed, layer, initial=initial))
    return [
        Case(title, mapped(lambda x: to_device(x, device) if isinstance(x, np.ndarray) else x, inputs))
        for title, inputs in drawn
    ]

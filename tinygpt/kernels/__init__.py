"""Fast twins of the layers: the same signatures and the same results, by a quicker or leaner way.

A twin stands here only where it was measured to pay, in its device's folder and under its definition's name, which is
all that it takes to be used; `tinygpt/layers/` remains the specification that it is tested against. A fused twin stands
for several leaves at once: it bears the name of what the model's page makes of them, and lists them in REPLACES.
"""

import functools
import importlib
import pkgutil
from typing import Any


@functools.cache
def modules(device: str) -> dict[str, Any]:
    """What the folder of a device, "cpu" or "cuda", holds, by name."""
    folder = importlib.import_module(f"{__name__}.{device}")
    names = [module.name for module in pkgutil.iter_modules(folder.__path__)]
    return {name: importlib.import_module(f"{folder.__name__}.{name}") for name in names}


def twins(device: str) -> dict[str, Any]:
    """The twins of layers, by name."""
    return {name: module for name, module in modules(device).items() if hasattr(module, "forward")}

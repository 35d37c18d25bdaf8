"""What moves the parameters: one file an optimiser, found by its name, and the schedule of the learning rate.

An optimiser is a class derived from `Optimizer` that names its state and says how one array is updated; a run keeps and
restores whatever it names. `--optimizer=NAME` takes the one in NAME.py.
"""

import importlib
import pkgutil

from tinygpt.errors import UserError
from tinygpt.optim.adamw import AdamW, adamw_update
from tinygpt.optim.optimizer import Optimizer, global_norm
from tinygpt.optim.schedule import cosine_schedule

__all__ = ["AdamW", "Optimizer", "adamw_update", "cosine_schedule", "find", "global_norm"]


def find(name: str) -> type[Optimizer]:
    """The optimiser that the file `name`.py of this folder holds. Raises UserError if there is none."""
    found = {}
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        for entry in vars(importlib.import_module(module.name)).values():
            if isinstance(entry, type) and issubclass(entry, Optimizer) and entry.__module__ == module.name:
                found[module.name.rpartition(".")[2]] = entry
    del found["optimizer"]  # what they are all derived from
    if name not in found:
        raise UserError(f"--optimizer is {name!r}; expected {' or '.join(found)}")
    return found[name]

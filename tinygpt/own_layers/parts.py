"""The parts of the engine that a reader may write, each a file of its own."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

from tinygpt.gradcheck.library import CASES, definition
from tinygpt.own_layers.outcomes import FUNCTIONS


@dataclass(frozen=True)
class Part:
    """One part, the file `name`.py. definition: the engine's own, a layer's module or class, or a function."""

    name: str
    definition: Any

    @property
    def is_layer(self) -> bool:
        return hasattr(self.definition, "forward")

    @property
    def functions(self) -> tuple[str, ...]:
        """What the file holds."""
        return ("forward", "backward") if self.is_layer else (self.definition.__name__,)

    @property
    def source(self) -> str:
        """The engine's module that holds it."""
        own = self.definition
        return own.__name__ if isinstance(own, ModuleType) else own.__module__

    @property
    def within(self) -> str:
        """The class in that module that holds it, if one does."""
        return self.definition.__name__ if isinstance(self.definition, type) else ""


PARTS = {name: Part(name, definition(name)) for name in CASES} | {
    name: Part(name, file.DEFINITION) for name, file in FUNCTIONS.items()
}

"""Wrong layers: the mistakes people make in a backward pass, each as the few words of the source that it changes.

A mutant is a definition, or in two cases its fast twin, with the edits that stand beside the layer's cases, so what is
wrong with it can be read off, and the rest of it cannot differ. It stands in for its layer through the ops table:

    ops = DEFINITIONS.replace(attention=find("attention", "dk_transposed").stand_in())

A wrong forward comes with its true derivative: only a comparison with the definition tells it from a right layer.
"""

import ast
import functools
import inspect
import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

from tinygpt.gradcheck.edits import StaleEdit, edited, renamed
from tinygpt.gradcheck.library import FILES, LAYERS, definition

FAMILIES = {  # what kind of mistake it is
    "scale": "a constant factor too many or too few", "sign": "a wrong sign", "term": "a term too many or too few",
    "axis": "a sum or mean over the wrong axis", "layout": "axes swapped, transposed or in the wrong order",
    "accumulation": "overwritten where it should be added up", "mask": "the wrong elements take part",
    "formula": "a wrong local derivative, or the wrong array in it", "zero": "not computed",
    "forward": "another function than the layer's",
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One wrong layer. says: the mistake, as one would tell its author. edits: see `edits.py`. source: the module, or
    the class with its bases, that is edited. term: what the mutant leaves out, where that is a term of a sum.
    """

    layer: str
    name: str
    family: str
    says: str
    edits: tuple[tuple[str, str], ...]
    source: Any
    term: str = ""

    def tree(self) -> ast.Module:
        """The edited source. Raises StaleEdit if an edit does not fit it."""
        try:
            return edited(_text(self.source), self.edits)
        except StaleEdit as stale:
            what = f"the mistake {self.name!r} of {self.layer} does not fit {self.source.__name__} any more"
            raise StaleEdit(f"{what}: {stale}; mend it where the mistakes of {self.layer} stand") from None

    @functools.cached_property
    def wrong(self) -> Any:
        """The edited source as a module or a class of its own."""
        tree, name = self.tree(), f"{self.source.__name__} with {self.name}"
        if isinstance(self.source, ModuleType):
            module = ModuleType(name)
            exec(compile(tree, name, "exec"), module.__dict__)
            return module
        made: dict[str, Any] = {}
        for node, original in zip(tree.body, _classes(self.source), strict=True):
            namespace = vars(sys.modules[original.__module__]) | made
            exec(compile(ast.Module([node], []), name, "exec"), namespace)
            made[original.__name__] = namespace[original.__name__]
        return made[self.source.__name__]

    def stand_in(self) -> Any:
        """What takes the layer's place: something with `forward` and `backward`; of the model, its class."""
        if self.layer == "model":
            return self.wrong
        return SimpleNamespace(forward=self.wrong.forward, backward=self.wrong.backward)


def _classes(source: type) -> list[type]:
    """A class after those of ours that it is derived from."""
    return [c for c in reversed(source.__mro__) if c.__module__.startswith("tinygpt.")]


@functools.cache
def _text(source: Any) -> str:
    """What is edited, in the names that edits are written in."""
    text = "\n".join(map(inspect.getsource, [source] if isinstance(source, ModuleType) else _classes(source)))
    files = (file for layer, file in FILES.items() if definition(layer) is source)
    return renamed(text, getattr(next(files, None), "NAMES", {}))


@functools.cache
def mutants(layer: str) -> tuple[Mutant, ...]:
    """Those of a layer, or of "model"."""
    of_itself = definition(layer), getattr(FILES[layer], "MISTAKES", ())
    made = []
    for source, rows in (of_itself, getattr(FILES[layer], "MISTAKES_OF_TWIN", (None, ()))):
        for name, family, *rest in rows:
            edits = tuple(x for x in rest if isinstance(x, tuple))
            says, *term = (x for x in rest if isinstance(x, str))
            made.append(Mutant(layer, name, family, says, edits, source, *term))
    return tuple(made)


MUTANTS = [mutant for layer in LAYERS for mutant in mutants(layer)]


def find(layer: str, name: str) -> Mutant:
    """The mutant of that layer and name. Raises KeyError if there is none."""
    return {mutant.name: mutant for mutant in mutants(layer)}[name]

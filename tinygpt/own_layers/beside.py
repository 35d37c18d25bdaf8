"""What stands beside the verdict: which lines of backward stand, and what of a right file is worth a second look."""

import inspect
from pathlib import Path
from typing import Any

from tinygpt.gradcheck import own_file
from tinygpt.gradcheck.arrays import held_arrays
from tinygpt.gradcheck.library import definition
from tinygpt.gradcheck.process import NoAnswer, OwnFile
from tinygpt.gradcheck.suite import Trial

COPIED = (
    "its numbers are right, but f is called with another array than x: move the entries of x itself, one at a time, "
    "with no copy of the whole array"
)
MUCH = 1.05  # times what the engine's cache holds


def standing(module: OwnFile, trial: Trial, layer: str) -> list[str]:
    """The lines of backward, where forward is right in that case: which stand, and what the others are."""
    try:
        if not trial.judge(module, forward_alone=True):
            return []
        lines = module.intermediates(_as_named(module, layer, trial.experiment.inputs), trial.experiment.dout[0])
    except (NoAnswer, Exception):  # of a file that gives no answer, it was said before why
        return []
    if not lines:
        return []
    rows, width = max(len(str(line.number)) for line in lines), max(len(line.name) for line in lines)
    case = trial.title.removeprefix(layer).lstrip(", ")
    return [
        f"of backward so far, by your own forward{f' ({case})' if case else ''}:",
        *(f"    line {at:>{rows}}  {name:<{width}}  {says or 'stands'}" for name, at, _, says in lines),
    ]


def _as_named(module: OwnFile, layer: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """A case's inputs by the names that a file's forward has for them, in the order of the definition's."""
    kinds = inspect.Parameter
    ours = inspect.signature(definition(layer).forward).parameters.values()
    theirs = inspect.signature(module.forward).parameters.values()
    places = [[p.name for p in side if p.kind is kinds.POSITIONAL_OR_KEYWORD] for side in (ours, theirs)]
    renamed = dict(zip(*places, strict=False))
    return {renamed.get(name, name): x for name, x in inputs.items()}


def remarks(layer: str, module: OwnFile, path: Path, trial: Trial) -> list[str]:
    """What a layer's file does that its numbers do not show."""
    said = blanks(path)
    _, kept = trial.functions(module)[0](**trial.experiment.inputs)
    _, cache = trial.functions(definition(layer))[0](**trial.experiment.inputs)
    needed = sum(x.nbytes for x in held_arrays(cache))
    if kept.held > MUCH * needed:
        said.append(f"your cache holds {kept.held:,} bytes, where {needed:,} are enough for the engine's backward")
    return said


def blanks(path: Path) -> list[str]:
    """What was left blank and is not needed, since the work is done elsewhere."""
    return [
        f"{name} is still blank, and nothing calls it: its work is done elsewhere" for name in own_file.left_blank(path)
    ]

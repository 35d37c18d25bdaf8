"""Which cases a candidate for a layer's place was written for: those it was not written for are no mistake of its own.

A GELU that takes no `approximate` is held against the form that it computes; an attention without dropout, or a softmax
that knows no row that is masked whole, against all other cases; a linear layer that takes no bias against those that
have none. Otherwise the first case of a layer is not optional.
"""

import inspect
from collections.abc import Collection, Sequence
from types import SimpleNamespace
from typing import Any

from tinygpt.gradcheck.library import definition

NEUTRAL = {"ops", "need_grad"}  # arguments that are no part of what is computed


def narrowed(layer: str, candidate: Any, optional: Collection[str] = ()) -> tuple[Any, frozenset[str]]:
    """A candidate that takes all of the layer's arguments, and those that it makes nothing of.

    optional: arguments without a default that it may leave out too, since they may be None.
    """
    forward, backward = (getattr(candidate, name, None) for name in ("forward", "backward"))
    if layer == "model" or not callable(forward) or not callable(backward):
        return candidate, frozenset()
    parameters = inspect.signature(definition(layer).forward).parameters
    try:
        own = inspect.signature(forward).parameters.values()
    except (TypeError, ValueError):  # it does not say
        return candidate, frozenset()
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in own):
        return candidate, frozenset()
    named = {p.name for p in own} <= parameters.keys()
    places = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in own)
    positional = [name for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    taken = (
        {p.name for p in own} if named else {*positional[:places], *(p.name for p in own if p.kind is p.KEYWORD_ONLY)}
    )
    left_out = frozenset(parameters.keys() - taken)
    may = {*NEUTRAL, *optional, *(p.name for p in parameters.values() if p.default is not p.empty)}
    if not left_out or not left_out <= may:
        return candidate, frozenset()

    def narrow(*arguments: Any, **others: Any) -> Any:
        given = dict(zip(positional, arguments, strict=False)) | others
        kept = {name: x for name, x in given.items() if name in taken}
        if named:
            return forward(**kept)
        in_order = [kept.pop(name) for name in positional[:places] if name in kept]
        return forward(*in_order, **kept)

    return SimpleNamespace(forward=narrow, backward=backward), left_out


def split(layer: str, candidate: Any, trials: Sequence[Any]) -> tuple[Any, list[Any], list[Any]]:
    """What to judge, the trials to judge it by, and those that it was not written for."""
    optional = {name for trial in trials for name, x in trial.experiment.inputs.items() if x is None}
    narrow, left_out = narrowed(layer, candidate, optional)
    if candidate is definition(layer) or not (left_out or any(trial.special for trial in trials)):
        return candidate, list(trials), []
    parameters = inspect.signature(definition(layer).forward).parameters
    defaults = {name: None if name in optional else parameters[name].default for name in left_out - NEUTRAL}
    asked, silent = [], []  # where it misses an argument, and where it misses but a default
    for trial in trials:
        values = {name: x for name, x in trial.experiment.inputs.items() if name in defaults}
        if any(_differ(x, defaults[name]) for name, x in values.items()):
            asked.append(trial)
        elif values:
            silent.append(trial)
    agreeing = [trial.title for trial in asked if _agrees(trial, narrow)]
    out = [trial for trial in asked if trial.title not in agreeing]
    if agreeing:  # it computes what others are asked for by name
        out += [trial for trial in silent if not _agrees(trial, narrow)]
    out += [trial for trial in trials if trial.special and not _agrees(trial, narrow)]
    titles = {trial.title for trial in out}
    first_is_out = trials[0].title in titles and not agreeing and left_out.isdisjoint(optional)
    if first_is_out or len(titles) == len(trials):
        return candidate, list(trials), []
    return narrow, [trial for trial in trials if trial.title not in titles], out


def _differ(x: Any, default: Any) -> bool:
    return x is not default and (hasattr(x, "shape") or x != default)


def _agrees(trial: Any, candidate: Any) -> bool:
    """Whether the candidate's forward does what a case asks for."""
    try:
        return trial.judge(candidate, forward_alone=True).passed
    except Exception:  # whatever a candidate raises where it does not know what to do
        return False

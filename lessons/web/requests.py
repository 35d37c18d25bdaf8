"""What a page sends, held against what the function that answers it takes."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from tinygpt.errors import UserError

QUOTED = 100  # characters of what is sent that a sentence repeats


def called(function: Callable, first: Any, given: Mapping[str, Any]) -> Any:
    """What a function returns of its first argument and of what a page sent. Raises UserError if that does not fit its
    signature.
    """
    takes, required, open_ended = _takes(function)
    if missing := required - given.keys():
        raise UserError(f"{', '.join(sorted(missing))} is missing in what was sent")
    if not open_ended and (more := given.keys() - takes.keys()):
        raise UserError(f"{sorted(more)[0][:QUOTED]!r} is not asked for")
    for name, kind in takes.items():
        if name in given and (not isinstance(given[name], kind) or isinstance(given[name], bool) and kind is not bool):
            raise UserError(f"{name} is of the wrong kind")
    return function(first, **given)


def _takes(function: Callable) -> tuple[dict[str, Any], set[str], bool]:
    """The names that it takes after the first and their types, those without a default, and whether it takes others."""
    _, *parameters = inspect.signature(function).parameters.values()
    named = [one for one in parameters if one.kind is not one.VAR_KEYWORD]
    required = {one.name for one in named if one.default is one.empty}
    return {one.name: one.annotation for one in named}, required, len(named) < len(parameters)

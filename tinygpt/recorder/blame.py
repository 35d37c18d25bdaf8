"""Whose fault it is that a step with a reader's parts came to nothing.

A part that returns something of another form than the engine's own, given arrays of the same shapes, is to blame for
whatever that leads to elsewhere.
"""

from collections.abc import Iterable

from tinygpt.errors import UserError
from tinygpt.gradcheck.runs import in_a_row
from tinygpt.recorder.recording import Call
from tinygpt.recorder.values import ARRAY


class InFile(UserError):
    """What is wrong is in a reader's file."""

    def __init__(self, says: str, file: str):
        super().__init__(says)
        self.file = file


def unfitting(mine: Iterable[Call], engine: Iterable[Call]) -> InFile | None:
    """What is to be said of the first of a reader's calls that returned something of another form, if one has."""
    known = {_given(call): call for call in engine if not call.helper and call.form}
    for call in mine:
        right = known.get(_given(call)) if call.mine and not call.helper and call.form else None
        if right is not None and call.form != right.form:
            says = f"{call.file}, line {call.end}: {call.function} returned {_difference(call, right)}"
            return InFile(says, call.file)
    return None


def _given(call: Call) -> tuple:
    """The function, and the shapes of what it and its forward were given, on which the form of its results depends."""
    shapes = [tuple(array.values.shape if array else None for array in c.arguments) for c in (call, call.of) if c]
    return call.module, call.function, *shapes


def _difference(call: Call, right: Call) -> str:
    given, expected = call.form or [], right.form or []
    names = ["out", ""] if not call.backward else [array.name if array else "" for array in right.results]
    if len(given) != len(expected):
        several = f"{len(given)} results, " if len(given) > 1 else ""
        return f"{several}{in_a_row(given)}; expected {in_a_row(list(map(_named, names, expected)))}"
    place = next(n for n, form in enumerate(given) if form != expected[n])
    return f"{_named(names[place], given[place])}; expected {_named(names[place], expected[place])}"


def _named(name: str, form: str) -> str:
    """Such as "dw of shape (8,)", or "a list as dw"."""
    if not name:
        return form
    return name + form.removeprefix(ARRAY) if form.startswith(ARRAY) else f"{form} as {name}"

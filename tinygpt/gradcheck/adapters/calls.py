"""How somebody's backward is called: what of it is the gradient from above, what forward returned, what an input."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygpt.errors import UserError
from tinygpt.gradcheck.adapters.libraries import is_float, shape
from tinygpt.gradcheck.adapters.names import OUTPUTS, RATES, TARGETS, find, is_above, plain

RATE = 1.0  # what a backward that takes a learning rate is given


class Calling(NamedTuple):
    """outputs: how many of the things that forward returned are outputs, the rest being kept for backward. arguments:
    what each argument of backward is: "above" and which, "input" and its name, "kept" and which, or "rate".
    """

    outputs: int
    arguments: dict[str, tuple[str, Any]]
    positional: int

    @property
    def takes_dout(self) -> bool:
        return any(kind == "above" for kind, _ in self.arguments.values())

    @property
    def rate(self) -> str:
        """The argument that is a learning rate; "" if none is."""
        return next((name for name, (kind, _) in self.arguments.items() if kind == "rate"), "")

    def out(self, result: Any) -> Any:
        """The output, or a tuple of them, among what forward returned."""
        given = result if isinstance(result, tuple) else (result,)
        out = tuple(map(_array, given[: self.outputs]))
        return out if len(out) > 1 else out[0]

    def backward(
        self, backward: Callable, dout: Any, inputs: Mapping[str, Any], result: Any, rate: float = RATE
    ) -> Any:
        """What backward returns."""
        given = result if isinstance(result, tuple) else (result,)
        above = dout if isinstance(dout, tuple) else (dout,)
        sources: dict[str, Any] = {"above": above, "input": inputs, "kept": given}
        values = {n: rate if kind == "rate" else sources[kind][key] for n, (kind, key) in self.arguments.items()}
        names = list(values)
        return backward(
            *[values[name] for name in names[: self.positional]],
            **{name: values[name] for name in names[self.positional :]},
        )

    def times(self, gradients: Any, dout: Any) -> Any:
        """Gradients times dout where backward takes none, as a loss's may."""
        return gradients if self.takes_dout else _times(gradients, dout)


def calling(backward: Callable, inputs: Mapping[str, Any], result: Any) -> Calling:
    """How a backward is to be called after a forward that was given `inputs` and returned `result`. Raises UserError
    for an argument that is nothing known.
    """
    given = result if isinstance(result, tuple) else (result,)
    if not given:
        raise UserError("forward returned an empty tuple; expected its output")
    try:
        parameters = list(inspect.signature(backward).parameters.values())
    except (TypeError, ValueError):  # it does not say
        return Calling(1, {"dout": ("above", 0)} | ({"cache": ("kept", 1)} if len(given) > 1 else {}), 2)
    if any(p.kind is p.VAR_POSITIONAL for p in parameters) and not any(p.default is p.empty for p in parameters[:-1]):
        return Calling(1, {"dout": ("above", 0)}, 1)
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    wanted = [p.name for p in named if p.default is p.empty or p.name in inputs]
    if not any(map(is_above, wanted)):
        wanted = [p.name for p in named if p.name in wanted or is_above(p.name)]
    arguments: dict[str, tuple[str, Any]] = {}
    rest = []
    for name in wanted:
        if name in inputs:
            arguments[name] = "input", name
        elif plain(name) in RATES:
            arguments[name] = "rate", None
        else:
            rest.append(name)
    if len(given) == 1 and _size(given[0]) == 1 and not arguments and _of_targets(rest) and _of_targets(list(inputs)):
        arguments, rest = {name: ("input", other) for name, other in zip(rest, inputs, strict=True)}, []
    above = _above(rest, given)
    outputs = max(1, len(above))
    kept = [name for name in rest if name not in above]
    arguments |= {name: ("above", number) for number, name in enumerate(above)}
    if len(kept) == len(given) - outputs:
        arguments |= {name: ("kept", outputs + number) for number, name in enumerate(kept)}
    elif len(kept) == 1 and len(given) == outputs and plain(kept[0]) in OUTPUTS:
        arguments[kept[0]] = "kept", 0
    elif kept:
        raise UserError(
            f"backward takes {' and '.join(kept)}, which forward neither takes nor returns; give "
            f"{'it' if len(kept) == 1 else 'them'} with the inputs, or have forward return "
            f"{'it' if len(kept) == 1 else 'them'} after its output: return out, {', '.join(kept)}"
        )
    if not above and _size(given[0]) != 1:
        raise UserError(
            f"backward takes no gradient from above, which only a loss may leave out, and forward's output has shape "
            f"{shape(given[0])}; give backward an argument dout, of that shape"
        )
    positional = sum(p.kind is not p.KEYWORD_ONLY for p in named if p.name in arguments)
    if any(p.name not in arguments for p in named[: len(arguments)]):  # one with a default is left out between
        positional = 0
    return Calling(outputs, {name: arguments[name] for name in wanted}, positional)


def _of_targets(names: list[str]) -> bool:
    """Whether these are a loss's two arguments, a prediction and targets."""
    return len(names) == 2 and plain(names[1]) in TARGETS


def _above(rest: list[str], given: Sequence[Any]) -> list[str]:
    """Those arguments that are gradients from above, one for each output."""
    first = next((name for name in rest if is_above(name)), None)
    if first is None:
        a_loss = _size(given[0]) == 1 and len(rest) <= len(given) - 1
        return rest[:1] if not a_loss else []
    above = [first]
    for name in rest[rest.index(first) + 1 :]:  # as in backward(dnext_h, dnext_c, cache)
        if not is_above(name) or len(above) >= len(given) or not is_float(given[len(above)]):
            break
        above.append(name)
    return above


def in_order(returned: Any, slots: Mapping[str, Any]) -> Any:
    """What backward returned, with gradients by name in the order of the inputs, and None for one that is missing."""
    if not isinstance(returned, Mapping):
        return returned
    if (
        len(slots) == 1
        and isinstance(x := next(iter(slots.values())), Mapping)
        and find(next(iter(slots)), returned) is None
    ):
        return (_renamed(returned, x),)
    found: list[Any] = []
    for name, x in slots.items():
        key = find(name, returned, itself=True)
        if key is None and isinstance(x, Mapping) and any(find(inner, returned, True) for inner in x):
            found.append(_renamed(returned, x))
        else:
            found.append(None if key is None else _renamed(returned[key], x))
    return tuple(found)


def _renamed(gradient: Any, x: Any) -> Any:
    """The gradients of a mapping by the names of what they are gradients of."""
    if not isinstance(x, Mapping) or not isinstance(gradient, Mapping):
        return gradient
    keys = {name: name if name in gradient else find(name, gradient) for name in x}
    return {name: gradient[key] for name, key in keys.items() if key is not None}


def left_out(returned: Any, slots: Mapping[str, Any]) -> list[str]:
    """Of the inputs those that backward gives no gradient of, though it could: targets, and mappings of options."""
    gradients = returned if isinstance(returned, tuple | list) else (returned,)
    gone = [name for name, x in slots.items() if plain(name) in TARGETS or isinstance(x, Mapping)]
    if isinstance(returned, Mapping):
        return [name for name in gone if not isinstance(slots[name], Mapping) and find(name, returned, True) is None]
    if len(gradients) == len(slots):
        return [name for name, g in zip(slots, gradients, strict=True) if g is None and name in gone]
    given = sum(gradient is not None for gradient in gradients)
    return gone if 0 < given == len(slots) - len(gone) else []


def _times(returned: Any, dout: Any) -> Any:
    """Gradients of a loss times the number from above."""
    if isinstance(returned, Mapping):
        return {name: _times(x, dout) for name, x in returned.items()}
    if isinstance(returned, tuple | list):
        return type(returned)(_times(x, dout) for x in returned)
    return None if returned is None else returned * dout.reshape(())


def _array(out: Any) -> Any:
    """A list of numbers or a number as an array; anything else as it is."""
    return np.asarray(out) if isinstance(out, int | float | np.generic | list) and not isinstance(out, bool) else out


def _size(out: Any) -> int:
    return int(np.prod(shape(out))) if hasattr(out, "shape") or isinstance(out, int | float | list) else 2

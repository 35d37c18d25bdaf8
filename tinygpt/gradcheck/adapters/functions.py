"""Pairs of functions, `x_forward` and `x_backward`, and losses that return their gradients with the loss."""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygpt.errors import UserError
from tinygpt.gradcheck.adapters.calls import calling, in_order, left_out
from tinygpt.gradcheck.adapters.libraries import changed, in_double, library, shape, to_library, to_numpy
from tinygpt.gradcheck.experiment import call_with_fixed_random_numbers

CONTEXTS = {"ctx", "context"}


class Adapted(NamedTuple):
    """Somebody's code as `gradient_check` takes it. warnings: what is doubtful, in sentences; unchecked: the names of
    what is not differentiated though the output depends on it.
    """

    forward: Callable
    backward: Callable
    inputs: dict[str, Any]
    constant: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()


def by_name(
    forward: Callable, backward: Callable, inputs: Mapping[str, Any] | Sequence[Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Forward's arguments, given by name or in order, by name, and those that backward alone takes. Raises UserError if
    neither takes them.
    """
    if not isinstance(inputs, Mapping | tuple | list):
        raise UserError(f"inputs is one {type(inputs).__name__}; expected forward's arguments as a dict, tuple or list")
    try:
        signature = inspect.signature(forward)
    except (TypeError, ValueError):
        if isinstance(inputs, Mapping):
            return dict(inputs), {}
        raise UserError("forward does not say what its arguments are called; give its inputs as a dict") from None
    more: dict[str, Any] = {}
    if isinstance(inputs, Mapping):
        with contextlib.suppress(TypeError, ValueError):
            also = inspect.signature(backward).parameters
            more = {name: x for name, x in inputs.items() if name in also and name not in signature.parameters}
        if any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
            more = {}
        inputs = {name: x for name, x in inputs.items() if name not in more}
    rest = [name for name, p in signature.parameters.items() if p.kind is p.VAR_POSITIONAL]
    if rest:
        return (inputs if isinstance(inputs, dict) else {f"{rest[0]}{n}": x for n, x in enumerate(inputs)}), more
    try:
        bound = signature.bind(**inputs) if isinstance(inputs, Mapping) else signature.bind(*inputs)
    except TypeError as error:
        title = getattr(forward, "__name__", "forward")
        raise UserError(f"the inputs do not fit {title}{signature}: {error}") from None
    if not isinstance(inputs, Mapping):
        return dict(bound.arguments), more
    order = [name for name in signature.parameters if name in inputs]  # in which a tuple of gradients comes
    return {name: inputs[name] for name in dict.fromkeys([*order, *inputs])}, more


def applied(forward: Callable, inputs: Mapping[str, Any]) -> Any:
    """forward of its arguments by name; in their order if it takes any number."""
    with contextlib.suppress(TypeError, ValueError):
        parameters = inspect.signature(forward).parameters.values()
        if any(p.kind is p.VAR_POSITIONAL for p in parameters):
            return forward(*inputs.values())
    return forward(**inputs)


def slots(inputs: Mapping[str, Any], constant: Sequence[str] = ()) -> dict[str, Any]:
    """The inputs that backward answers for: arrays of floats, and what holds such arrays."""
    return {name: x for name, x in inputs.items() if name not in constant and _has_floats(x)}


def _has_floats(x: Any) -> bool:
    if isinstance(x, Mapping):
        return any(map(_has_floats, x.values()))
    if isinstance(x, tuple | list):
        return any(map(_has_floats, x))
    return getattr(getattr(x, "dtype", None), "kind", "") == "f" and not isinstance(x, np.generic)


def fresh(x: Any) -> Any:
    """A copy of arrays, those of floats in float64, and of what holds them; anything else as it is."""
    if isinstance(x, Mapping | tuple | list):
        return changed(x, fresh)
    if not hasattr(x, "dtype") or isinstance(x, np.generic):
        return x
    return x.astype(np.float64) if x.dtype.kind == "f" else x.copy()


def draw_like(out: Any, seed: int = 0) -> Any:
    """Random numbers of the shape of each output, to ask a backward what it returns."""
    if isinstance(out, tuple):
        return tuple(draw_like(x, seed + number) for number, x in enumerate(out))
    return np.random.default_rng(seed).standard_normal(shape(out))


def of_pair(
    forward: Callable, backward: Callable, inputs: Mapping[str, Any] | Sequence[Any], constant: Sequence[str],
    seed: int, kind: str = "",
) -> Adapted:  # fmt: skip
    """Two functions. They are called once, to see what they return. kind: the library that they compute with."""
    named, more = by_name(forward, backward, inputs)
    theirs = to_library(kind)

    def call(inputs: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
        with in_double(kind):
            given = theirs({**inputs, **more})
            return given, applied(forward, {name: given[name] for name in inputs})

    (given, result), _ = call_with_fixed_random_numbers(call, {"inputs": fresh(named)}, seed)
    if not kind and library(result):
        return of_pair(forward, backward, inputs, constant, seed, library(result))
    how = calling(backward, given, result)

    def call_back(dout: Any, given: Mapping[str, Any], result: Any) -> Any:
        with in_double(kind):
            return to_numpy(how.backward(backward, theirs(dout), given, result))

    wanted = slots(named, constant)
    gone = left_out(call_back(draw_like(how.out(result)), given, result), wanted)

    def their_forward(**inputs: Any) -> tuple:
        given, result = call(inputs)
        return to_numpy(how.out(result)), (given, result)

    def their_backward(dout: Any, cache: tuple) -> Any:
        returned = how.times(call_back(dout, *cache), dout)
        return in_order(returned, {name: x for name, x in wanted.items() if name not in gone})

    def moves(x: np.ndarray) -> bool:
        kept = x.copy()
        try:
            x += 0.25 + 0.25 * kept
            (_, again), _ = call_with_fixed_random_numbers(call, {"inputs": fresh(named)}, seed)
            outs = (to_numpy(how.out(x)) for x in (again, result))
            pairs = zip(*(out if isinstance(out, tuple) else (out,) for out in outs), strict=True)
            return not all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)
        except Exception:  # of an array that may not be any other
            return True
        finally:
            x[...] = kept

    others = [name for name, x in _closed_over(forward) if moves(x)]
    return Adapted(their_forward, their_backward, named, (*constant, *gone), unchecked=(*gone, *others))


def _closed_over(function: Callable) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of floats that a function computes with and is not given, from where it was made."""
    if inspect.isfunction(function):
        used = inspect.getclosurevars(function)
        for name, x in {**used.globals, **used.nonlocals}.items():
            if isinstance(x, np.ndarray) and x.dtype.kind == "f" and x.flags.writeable:
                yield name, x


class Context:
    """What a forward that is given one saves for its backward."""

    saved_tensors: tuple = ()

    def save_for_backward(self, *saved: Any) -> None:
        self.saved_tensors = self.saved_values = self.saved = saved


def of_context(
    code: Any, inputs: Mapping[str, Any] | Sequence[Any], constant: Sequence[str], seed: int, kind: str = ""
) -> Adapted:
    """A class whose forward and backward are functions of a context, `forward(ctx, x)` and `backward(ctx, dout)`."""
    signature = inspect.signature(code.forward)
    names = [name for name, p in signature.parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD][1:]

    def forward(*given: Any, **more: Any) -> tuple:
        context = Context()
        return code.forward(context, *given, **more), context

    forward.__signature__ = signature.replace(parameters=[signature.parameters[name] for name in names])  # type: ignore

    def backward(dout: Any, context: Context) -> Any:
        return code.backward(context, *(dout if isinstance(dout, tuple) else (dout,)))

    return of_pair(forward, backward, inputs, constant, seed, kind)


def has_context(code: Any) -> bool:
    """Whether the first argument of a class's forward is a context."""
    forward = inspect.getattr_static(code, "forward", None) if isinstance(code, type) else None
    first = next(iter(inspect.signature(forward.__func__).parameters), "") if isinstance(forward, staticmethod) else ""
    return first in CONTEXTS


def of_loss(
    function: Callable, inputs: Mapping[str, Any] | Sequence[Any], constant: Sequence[str], seed: int, name: str,
    kind: str = "",
) -> Adapted:  # fmt: skip
    """One function that returns a loss and its gradients. Raises UserError if it does not."""
    named, _ = by_name(function, function, inputs)
    with in_double(kind):
        given = {"forward": function, "inputs": to_library(kind)(fresh(named))}
        result, _ = call_with_fixed_random_numbers(applied, given, seed)
    if not isinstance(result, tuple) or len(result) < 2 or int(np.prod(shape(result[0]))) != 1:
        raise UserError(
            f"there is no backward for {name}: expected a function {name.removesuffix('_forward')}_backward, or that "
            f"{name} returns a loss, one number, and its gradients"
        )

    def loss(**inputs: Any) -> tuple:
        value, *gradients = applied(function, inputs)
        return value, gradients[0] if len(gradients) == 1 else tuple(gradients)

    def backward(cache: Any) -> Any:
        return cache

    return of_pair(loss, backward, named, constant, seed, kind)

"""Classes with forward and backward: where an object keeps its parameters, and where it leaves their gradients.

An object is never called twice: each call of forward makes a copy in which the parameters are those that the check
gives it. So nothing that an object keeps from one call, whether a cache, a running mean or a sum of gradients, has a
part in the next.
"""

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tinygpt.errors import UserError
from tinygpt.gradcheck.adapters.calls import RATE, calling, in_order
from tinygpt.gradcheck.adapters.functions import Adapted, applied, by_name, draw_like, fresh, slots
from tinygpt.gradcheck.adapters.gradients import after_the_inputs, sibling
from tinygpt.gradcheck.adapters.held import Path, at, copied, held, named, put, rate, walk
from tinygpt.gradcheck.adapters.libraries import is_array, library, shape, to_library, to_numpy
from tinygpt.gradcheck.adapters.names import OUTPUTS, TARGETS, plain
from tinygpt.gradcheck.experiment import call_with_fixed_random_numbers

FORWARD = ("forward", "fprop|fwd|forward_?prop(agation)?|forward_?pass", "__call__", "loss")
BACKWARD = ("backward", "bprop|bwd|back_?prop(agat(e|ion))?|backward_?prop(agation)?|backward_?pass", "gradients?|grad")


def method(thing: Any, names: Sequence[str]) -> str:
    """The method of a class or object that goes by one of some names, the first first; "" if none does."""
    for name in names:
        for found in dir(thing):
            if re.fullmatch(name, found, re.IGNORECASE) and callable(getattr(thing, found, None)):
                return found
    return ""


def methods(thing: Any) -> tuple[str, str]:
    """The names of the forward and the backward of a class or object; of a loss that returns its gradients with it, and
    "". Raises UserError if they are not there.
    """
    forward, backward = method(thing, FORWARD), method(thing, BACKWARD)
    if forward and backward:
        return "calculate" if _calculates(thing) else forward, backward
    if loss := method(thing, ("loss",)):
        return loss, ""
    title = f"the class {thing.__name__}" if isinstance(thing, type) else type(thing).__name__
    raise UserError(
        f"{title} has no method {'backward' if forward else 'forward'}; expected forward and backward, or loss, which "
        f"returns a loss and its gradients"
    )


def _calculates(thing: Any) -> bool:
    """Whether it is a loss whose forward gives one number a sample, and whose `calculate` gives their mean."""
    names = list(inspect.signature(thing.calculate).parameters) if method(thing, ("calculate",)) else []
    return any(plain(name) in TARGETS for name in names[isinstance(thing, type) :][1:2])


def made(kind: Callable, inputs: Mapping[str, Any] | Sequence[Any], seed: int) -> tuple[Any, Any]:
    """An object of a class, or of a function that makes one, and the inputs that are left for forward: it is given
    those that are named like its arguments, and not like forward's. Raises UserError if it needs others.
    """
    title = getattr(kind, "__name__", "make")
    try:
        signature = inspect.signature(kind)
    except (TypeError, ValueError):
        signature = inspect.Signature()
    forward = inspect.signature(getattr(kind, methods(kind)[0])).parameters if isinstance(kind, type) else {}
    named = inputs if isinstance(inputs, Mapping) else {}
    own = {name: named[name] for name in signature.parameters if name in named and name not in forward}
    try:
        signature.bind(**own)
    except TypeError as error:
        needed = [
            name
            for name, p in signature.parameters.items()
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and name not in own
        ]
        raise UserError(
            f"{title} cannot be made: {error}; give {' and '.join(needed) or 'its arguments'} with the inputs, "
            f"or an object: from Python {title}(...), in a file make = lambda: {title}(...)"
        ) from None
    thing, _ = call_with_fixed_random_numbers(kind, fresh(own), seed)
    return thing, {name: x for name, x in named.items() if name not in own} if named else inputs


class Object:
    """Somebody's object, and which of its arrays are parameters.

    names: of its two methods; arrays and paths: what it holds before any call, and where; parameters: the names of
    those that backward has a gradient of; values: what stands for each; kind: the library that it computes with.
    """

    def __init__(
        self, thing: Any, inputs: Mapping[str, Any] | Sequence[Any], constant: Sequence[str], seed: int, kind: str,
        forward: str,
    ):  # fmt: skip
        self.thing, self.seed, self.constant = thing, seed, constant
        self.known = False  # then whoever calls sees to random numbers
        self.names = (forward, method(thing, BACKWARD)) if forward else methods(thing)
        self.inputs, self.more = by_name(getattr(thing, self.names[0]), self._method(thing), inputs)
        self.theirs = to_library(kind or library([array for _, array in held(thing)]))
        with np.errstate(all="ignore"):  # of a look, which is not the check
            self.paths = self._list(thing)
            self.thing = self._with_what_forward_makes()
            self.paths = self._list(self.thing)
            self.more = self.theirs(self.more)
            self._look()
        self.known = True

    def _method(self, layer: Any) -> Callable:
        """Backward; that of a loss which returns its gradients with it gives these."""
        return getattr(layer, self.names[1]) if self.names[1] else lambda cache: cache

    def _with_what_forward_makes(self) -> Any:
        """The object with those parameters that it makes only in its first call, if there are any."""
        before = {path for path, _ in held(self.thing)}
        first, _ = self.forward(self.theirs(fresh(self.inputs)), self.theirs(self._own()))
        if not ({path for path, _ in held(first)} - before):
            return self.thing
        second = copied(first, {})
        old = dict(held(second))
        self._called(second, self.theirs(fresh(self.inputs)))
        now = dict(held(second))
        calls = {path[0] for path in old.keys() | now.keys() if now.get(path) is not old.get(path)}  # of each call
        if not any(path[0] not in calls for path in old.keys() - before):
            return self.thing
        for name in calls:
            if (cold := at(self.thing, (name,))) is not None or name in vars(self.thing):
                put(first, (name,), copied(cold, {}))
            else:
                delattr(first, name)
        return first

    def _own(self) -> dict[str, np.ndarray]:
        """The arrays as they are, in float64."""
        return {name: np.array(to_numpy(x), np.float64) for name, x in self.arrays.items()}

    def _list(self, thing: Any) -> dict[str, list[Path]]:
        """Where the arrays are, by the shortest names that tell them apart."""
        by_id: dict[int, list[Path]] = {}
        arrays = {}
        for path, array in held(thing):
            by_id.setdefault(id(array), []).append(path)
            arrays[id(array)] = array
        self.arrays = {}
        short = [named(paths[0]) for paths in by_id.values()]
        places = {}
        for number, paths in by_id.items():
            name = named(paths[0], whole=short.count(named(paths[0])) > 1)
            name = f"self.{name}" if name in self.inputs else name
            places[name], self.arrays[name] = paths, arrays[number]
        return places

    def _look(self) -> None:
        """Call both, to see which arrays are parameters and what is to be said."""
        varied = _varied(self.arrays, self.seed)
        values = self.theirs(varied)
        given = self.theirs(fresh(self.inputs))
        layer, result = self.forward(given, values)
        stays = [n for n in self.arrays if any(at(layer, path) is values[n] for path in self.paths[n])]
        self.calling = calling(self._method(layer), self.inputs | self.more, result)
        self.where_rate, self.rate = rate(self.thing)
        if self.calling.rate:
            self.where_rate, self.rate = (), RATE
        self.parameters: list[str] = []
        self.inferred: list[str] = []
        dout = self.theirs(draw_like(self.calling.out(result)))
        after, returned = self.backward(dout, given, layer, result, values)
        gradients = {path for name in stays for path in self._where(name, after)}
        self.parameters = [n for n in stays if not gradients & set(self.paths[n]) and not self._is_of_views(n)]
        dx, found = self.gradients(after, returned, values, dout)
        wanted = slots(self.inputs, self.constant)
        by_name_alone = isinstance(returned, Mapping) and any(x is not None for x in found.values())
        gone = [n for n, g in zip(wanted, dx, strict=True) if g is None and (by_name_alone or plain(n) in TARGETS)]
        self.constant = (*self.constant, *gone)
        seen = {name for name in self.parameters if found[name] is not None}
        self.values = self._own() | {name: varied[name] for name in seen}
        self.warnings: list[str] = []
        self._see_a_training_step(found, dx, dout, given, layer, result, values, after)
        self.parameters = [n for n in self.parameters if found[n] is not None or n in self.inferred]
        others = [n for n in self.arrays if n not in self.parameters and not gradients & set(self.paths[n])]
        self.values = self._own() | {name: varied[name] for name in self.parameters}
        numbers = [path for path, x in walk(self.thing) if path and isinstance(x, float) and sibling(after, path)]
        for name in map(named, numbers):
            way_out = f"make it an array, np.array({name}), to have its gradient checked"
            self.warnings.append(f"{name} is a number: {way_out}")
        self.unchecked = (*gone, *(name for name in others if self._moves(name)), *map(named, numbers))
        self._shorten()

    def _see_a_training_step(
        self, found: Mapping[str, Any], dx: list[Any], dout: Any, given: Any, layer: Any, result: Any, values: Any,
        after: Any,
    ) -> None:  # fmt: skip
        """Whether backward changes parameters, and whether what it takes from them is a rate times their gradient."""
        changes = {name: x for name in self.parameters if (x := self._change(name, after, values)) is not None}
        changes = {name: x for name, x in changes.items() if found[name] is not None or self._moves(name)}
        if not changes:
            return
        unseen = [name for name in changes if found[name] is None]
        if self.rate and len(self.where_rate) < 2:  # by backward itself, and no optimiser
            twice, _ = self.backward(2 * dout, given, layer, result, values)
            for name in unseen:
                again = self._change(name, twice, values)
                if again is not None and np.allclose(again, 2 * changes[name], rtol=1e-6, atol=0):
                    self.inferred.append(name)
        dx_then, _ = self.gradients(*self.backward(dout, given, layer, result, values, 2.0), values, dout)
        wanted = slots(self.inputs, self.constant)
        late = [n for n, a, b in zip(wanted, dx, dx_then, strict=False) if a is not None and not _same(a, b)]
        says = f"backward changes {', '.join(changes)} itself"
        if late:
            says += f", before it computes d{late[0]} with it: that is another with another learning rate"
        if lost := [name for name in unseen if name not in self.inferred]:
            name = lost[0].rpartition(".")[2]
            says += (
                f"; the gradient of {', '.join(lost)} cannot be seen: keep it, as in self.d{name} = ..., and change "
                f"{name} in a method of its own"
            )
        elif unseen:
            says += f"; the gradient of {', '.join(unseen)} was taken from that change, at a rate of {self.rate:g}"
        self.warnings.append(says)

    def _is_of_views(self, name: str) -> bool:
        """Whether others of the arrays are parts of this one, which then stand for it."""
        whole = self.arrays[name]
        others = [x for x in self.arrays.values() if isinstance(x, np.ndarray) and x is not whole]
        return isinstance(whole, np.ndarray) and any(
            np.may_share_memory(whole, x) and x.size < whole.size for x in others
        )

    def _shorten(self) -> None:
        """Among the parameters alone a shorter name may do."""
        short = {name: named(self.paths[name][0]) for name in self.parameters}
        for name, other in short.items():
            if other not in self.arrays and other not in self.inputs and list(short.values()).count(other) == 1:
                self.arrays[other], self.paths[other] = self.arrays.pop(name), self.paths.pop(name)
                self.values[other] = self.values.pop(name)
                self.parameters[self.parameters.index(name)] = other
                self.inferred = [other if n == name else n for n in self.inferred]

    def _moves(self, name: str) -> bool:
        """Whether the output is another where one of the arrays is."""
        outs = []
        for value in (self.values[name], self.values[name] * 1.25 + 0.25):
            try:
                values = self.theirs(self.values | {name: value})
                out = self.calling.out(self.forward(self.theirs(fresh(self.inputs)), values)[1])
            except Exception:  # of an array that may not be any other
                return True
            outs.append(to_numpy(out if isinstance(out, tuple) else (out,)))
        return not all(_same(a, b) for a, b in zip(*outs, strict=True))

    # Calls

    def forward(self, given: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[Any, Any]:
        """A copy of the object with these values, after forward, and what that returned."""
        layer = copied(self.thing, {id(self.arrays[name]): value for name, value in values.items()})
        return layer, self._called(layer, given)

    def _called(self, layer: Any, given: Mapping[str, Any]) -> Any:
        called = {"forward": getattr(layer, self.names[0]), "inputs": given}
        result = applied(**called) if self.known else call_with_fixed_random_numbers(applied, called, self.seed)[0]
        if result is None:  # it may leave its output in the object
            result = next((x for name, x in vars(layer).items() if plain(name) in OUTPUTS and is_array(x)), None)
        if result is None:
            raise UserError("forward returned None; is there a return at its end?")
        if self.names[1]:
            return result
        if not isinstance(result, tuple) or len(result) < 2 or math.prod(shape(result[0])) != 1:
            raise UserError(
                f"{type(layer).__name__} has no method backward, and {self.names[0]} does not return a loss, one "
                f"number, and its gradients; expected one or the other"
            )
        return result[0], result[1] if len(result) == 2 else result[1:]

    def backward(
        self, dout: Any, given: Mapping[str, Any], layer: Any, result: Any, values: Mapping[str, Any], times: float = 1
    ) -> tuple[Any, Any]:
        """A copy of the object after backward, and what that returned. times: of the learning rate."""
        kept = {id(x): x for x in given.values() if is_array(x)}
        layer, result = copied((layer, result), kept | {id(x): copied(x, {}) for x in values.values()})
        if self.where_rate:
            put(layer, self.where_rate, times * self.rate)
        return layer, self.calling.backward(self._method(layer), dout, {**given, **self.more}, result, times * RATE)

    def gradients(
        self, after: Any, returned: Any, before: Mapping[str, Any], dout: Any
    ) -> tuple[list[Any], dict[str, Any]]:
        """The gradients of the inputs in their order, and of the parameters by name; None for what is not there."""
        returned, wanted = to_numpy(returned), slots(self.inputs, self.constant)
        found = {name: _sum([at(after, path) for path in self._where(name, after)]) for name in self.parameters}
        missing = {n: (self.paths[n][0], tuple(before[n].shape)) for n in self.parameters if found[n] is None}
        if isinstance(returned, Mapping):
            both = in_order(returned, wanted | {name: before[name] for name in missing})
            dx, more = list(both[: len(wanted)]), dict(zip(missing, both[len(wanted) :], strict=True))
        elif len(wanted) == 1 and isinstance(next(iter(wanted.values())), tuple | list | Mapping):
            dx, more = [returned], {}
        else:
            given = list(returned) if isinstance(returned, tuple | list) else [returned]
            dx, more = given[: len(wanted)], after_the_inputs(given[len(wanted) :], missing)
        dx += [None] * (len(wanted) - len(dx))
        for number, name in enumerate(wanted):
            path = next(filter(None, (sibling(after, (n,)) for n in (name, *["x"] * (len(wanted) == 1)))), ())
            if dx[number] is None and path:
                dx[number] = at(after, path)
        found |= more | {name: self._change(name, after, before) for name in self.inferred}
        return self.calling.times((to_numpy(dx), to_numpy(found)), to_numpy(dout))

    def _change(self, name: str, after: Any, before: Mapping[str, Any]) -> np.ndarray | None:
        """The gradient that backward has subtracted from an array, at the learning rate; None if it left the array."""
        now, then = to_numpy(at(after, self.paths[name][0])), to_numpy(before[name])
        if np.shape(now) != then.shape or _same(now, then):
            return None
        return (then - now) / (self.rate or 1.0)

    def _where(self, name: str, after: Any) -> list[Path]:
        """Where the gradients of an array are held: one at each of its places, if it is shared."""
        return list(dict.fromkeys(filter(None, (sibling(after, path) for path in self.paths[name]))))


def _sum(gradients: list[Any]) -> Any:
    """Of the gradients of one array, which may be the same at several places; None if there are none."""
    different: list[Any] = []
    for gradient in map(to_numpy, gradients):
        if not any(_same(gradient, other) for other in different):
            different.append(gradient)
    return sum(different[1:], different[0]) if different else None


def _same(a: Any, b: Any) -> bool:
    return np.array_equal(a, b, equal_nan=True)


def _varied(arrays: Mapping[str, Any], seed: int) -> dict[str, np.ndarray]:
    """Values at which a mistake shows: what is all alike, such as weights of 1 or biases of 0, is varied, of the sign
    that it has, and small matrices are scaled up.
    """
    values = {}
    for number, (name, array) in enumerate(arrays.items()):
        rng = np.random.default_rng([seed, number])
        x = np.ascontiguousarray(to_numpy(array), np.float64).reshape(array.shape).copy()
        if x.size and not x.any():
            x = 0.5 * rng.standard_normal(x.shape)
        elif x.size > 1 and np.ptp(x) == 0:
            x *= rng.uniform(0.75, 1.25, x.shape)
        elif x.ndim > 1 and (size := float(np.sqrt(np.mean(x * x)))) < 0.1:
            x *= 1 / (np.sqrt(max(x.shape)) * size)
        values[name] = x
    return values


def of_object(
    thing: Any, inputs: Mapping[str, Any] | Sequence[Any], constant: Sequence[str], seed: int, kind: str = "",
    forward: str = "",
) -> Adapted:  # fmt: skip
    """An object with forward and backward. Both are called, on copies of it, to see what they leave where. kind: the
    library that it computes with; forward: the method that returns a loss and its gradients, if there is no backward.
    """
    known = Object(thing, inputs, constant, seed, kind, forward)
    parameters = {name: known.values[name] for name in known.parameters}
    others = {name: x for name, x in known.values.items() if name not in parameters}

    def their_forward(**given: Any) -> tuple:
        own = {name: x.copy() for name, x in others.items()}  # which forward may update
        values = known.theirs(own | {name: given.pop(name) for name in parameters})
        given = known.theirs(given)
        layer, result = known.forward(given, values)
        return to_numpy(known.calling.out(result)), (given, layer, result, values)

    def their_backward(dout: Any, cache: tuple) -> tuple:
        dx, found = known.gradients(*known.backward(known.theirs(dout), *cache), cache[-1], dout)
        return (*dx, *(found[name] for name in parameters))

    return Adapted(
        their_forward, their_backward, known.inputs | parameters, tuple(known.constant), tuple(known.warnings),
        known.unchecked,
    )  # fmt: skip

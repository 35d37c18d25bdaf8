"""Is a backward the derivative of its forward? Both sides computed, compared entry by entry, and reported."""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tinygpt.backend import Array, array_module, to_host
from tinygpt.errors import UserError
from tinygpt.gradcheck.cases import mapped
from tinygpt.gradcheck.differences import Derivatives, forward_row, gradient_row
from tinygpt.gradcheck.report import Report
from tinygpt.random import generator


def gradient_check(
    forward: Callable, backward: Callable, inputs: Mapping[str, Any] | Sequence[Any], *,
    definition: Callable | None = None, constant: Sequence[str] = (), tolerance: float = 1e-9,
    max_entries: int | None = None, seed: int = 0, title: str = "gradient check",
) -> Report:  # fmt: skip
    """Check any pair of functions of the layers' contract, `out, cache = forward(...)` and `backward(dout, cache)`.

    inputs: forward's arguments, by name or in order. Arrays of floats (taken as float64) and mappings of them are
    differentiated; integers, None, numbers, strings, objects and what `constant` names are passed on as they are.
    backward returns one gradient for each differentiated input in that order, a mapping for a mapping; an input that is
    None may have a None in its place. forward may return a tuple of outputs, and dout is then a tuple too.

    `dout` is random (with ones, the true gradient of softmax or of LayerNorm is zero, and a backward of zeros passes).
    definition: the forward that forward ought to be; forward must agree with it to 1e-12, and it is the definition that
    is differentiated. Without one the report says that only consistency was checked. tolerance: of each row's error.
    max_entries: check that many entries of each larger input, chosen by `seed`, and the whole of it along one random
    direction; None for all. Random numbers drawn in forward from `numpy.random` or from a Generator among the inputs
    are the same in every call. Raises UserError for a forward that changes from call to call all the same, or functions
    that do not keep to the contract.
    """
    if not tolerance > 0:
        raise UserError(f"tolerance is {tolerance}; expected a number above 0, such as 1e-9")
    experiment = Experiment(definition or forward, _by_name(forward, inputs), constant, max_entries, seed)
    report = experiment.judge(forward, backward, tolerance, title)
    if definition is None:
        report.note = "consistency only: backward is the derivative of forward, whatever forward is meant to be"
        if not report.passed:
            report.note = "forward was taken as it is: there is no definition to compare it with"
    return report


class Experiment:
    """One set of inputs, a random `dout`, and the numerical side: what any forward and backward can be held against.
    Differentiating is the slow part and is done once, so that many candidates may be judged. All arrays are copies.
    dout: the gradient from above at every place, where it is not to be random.
    """

    def __init__(
        self, definition: Callable, inputs: Mapping[str, Any], constant: Sequence[str] = (),
        max_entries: int | None = None, seed: int = 0, dout: float | None = None,
    ):  # fmt: skip
        constant = (constant,) if isinstance(constant, str) else constant
        for name in constant:
            if name not in inputs:
                raise UserError(f"constant names {name!r}, which is not an input; expected some of {', '.join(inputs)}")
        if max_entries is not None and (not isinstance(max_entries, int) or max_entries < 1):
            raise UserError(f"max_entries is {max_entries!r}; expected a whole number of at least 1, or None for all")
        try:
            inspect.signature(definition).bind(**inputs)
        except TypeError as error:
            raise UserError(f"the inputs do not fit forward: {error}") from error
        except ValueError:  # a function without a signature
            pass
        self.definition, self.seed = definition, seed
        self.inputs = {name: _own_copy(x, as_float64=name not in constant) for name, x in inputs.items()}
        self.slots = {name: x for name, x in self.inputs.items() if name not in constant and _is_differentiated(x)}
        self.arrays = dict(_leaves(self.slots, _is_float))
        if not self.arrays:
            raise UserError("there is nothing to differentiate: no input is an array of floats")
        self._all_arrays = list(_leaves(self.inputs, _is_array))
        before = [x.copy() for _, x in self._all_arrays]
        result, self.random = call_with_fixed_random_numbers(definition, self.inputs, seed)
        self.out = [out.copy() for out in _outputs(result)]  # an output may be an input
        for (name, x), copied in zip(self._all_arrays, before, strict=True):
            if not _same(x, copied):
                raise UserError(f"forward wrote to its input {name}; it must leave its inputs as they are: copy first")
        if not all(map(_same, self.out, self._forward())):
            raise UserError(
                "forward gives another output each time it is called with the same inputs; hold its random numbers "
                "fixed: pass the mask, a seed or a numpy Generator as an input"
            )
        rng = generator(seed, "gradient check")
        self.dout = [array_module(o).asarray(rng.standard_normal(o.shape)) for o in self.out]
        if dout is not None:
            self.dout = [0 * d + dout for d in self.dout]
        self.derivatives = Derivatives(self._forward, self.arrays, self.out, self.dout, max_entries, rng)

    def _forward(self) -> list[Array]:
        if self.random:
            return _outputs(call_with_fixed_random_numbers(self.definition, self.inputs, self.seed)[0])
        return _outputs(self.definition(**self.inputs))

    def run(
        self, forward: Callable, backward: Callable, dout: Sequence[Array] | None = None
    ) -> tuple[list[Array], dict[str, Any], list[str]]:
        """A candidate's outputs, gradients by name, and what it wrote to that was not its own; dout: not ours."""
        before = [x.copy() for _, x in self._all_arrays]
        above = self.dout if dout is None else dout
        dout, problems = [d.copy() for d in above], []
        try:
            result, _ = call_with_fixed_random_numbers(forward, self.inputs, self.seed)
            given_out = _outputs(result)
            outs = [out.copy() for out in given_out]
            given, expected = (" and ".join(str(tuple(out.shape)) for out in side) for side in (outs, self.out))
            if given != expected:
                raise UserError(f"forward's output has shape {given}; expected {expected}")
            gradients = backward(tuple(dout) if isinstance(result[0], tuple) else dout[0], result[1])
            named = {name: g.copy() if _is_array(g) else g for name, g in self._by_name(gradients).items()}
            if not all(map(_same, given_out, outs)):
                problems.append("backward wrote to forward's output, which the next layer may have kept")
        finally:
            for (name, x), copied in zip(self._all_arrays, before, strict=True):
                if not _same(x, copied):
                    problems.append(f"wrote to its input {name}")
                    x[...] = copied
        problems += ["backward wrote to dout"] if not all(map(_same, dout, above)) else []
        return outs, named, problems

    def _by_name(self, gradients: Any) -> dict[str, Any]:
        slots = {name: x for name, x in self.slots.items() if x is not None}
        if gradients is None:
            raise UserError("backward returned None; is there a return at its end?")
        if isinstance(gradients, Mapping) and not (len(slots) == 1 and isinstance(next(iter(slots.values())), Mapping)):
            raise UserError(f"backward returned a mapping; expected the gradients of {', '.join(slots)}, in that order")
        gradients = tuple(gradients) if isinstance(gradients, tuple | list) else (gradients,)
        if len(gradients) == len(self.slots):
            slots = self.slots
        elif sum(gradient is not None for gradient in gradients) == len(slots):  # and None for inputs left out
            gradients = tuple(gradient for gradient in gradients if gradient is not None)
        if len(gradients) != len(slots):
            raise UserError(
                f"backward returned {len(gradients)} gradient{'s' * (len(gradients) != 1)}, but forward has "
                f"{len(slots)} input{'s' * (len(slots) != 1)} to differentiate ({', '.join(slots)}); "
                f"expected one for each, in that order"
            )
        for (name, x), gradient in zip(slots.items(), gradients, strict=True):
            if isinstance(x, Mapping) and not isinstance(gradient, Mapping):
                kind = type(gradient).__name__
                raise UserError(f"the gradient of {name} is a {kind}; expected a mapping of the same names")
        return dict(_leaves(dict(zip(slots, gradients, strict=True)), lambda x: True, names=slots))

    def judge(self, forward: Callable, backward: Callable | None, tolerance: float = 1e-9, title: str = "") -> Report:
        """Hold a forward against the definition and its backward, if there is one, against numerical derivatives."""
        outs, gradients, problems = self.run(forward, backward or (lambda dout, cache: tuple(self.slots.values())))
        report = Report(title, problems=problems, tolerance=tolerance)
        if forward is not self.definition:
            for number, (out, right) in enumerate(zip(outs, self.out, strict=True)):
                report.rows.append(forward_row("out" if len(outs) == 1 else f"out[{number}]", out, right))
        if backward is None:
            return report
        for name, gradient in gradients.items():
            if name not in self.arrays and gradient is not None:
                report.problems.append(f"{name} is None here, so d{name} is to be None, but it is an array")
        report.rows += [gradient_row(self.derivatives, name, gradients.get(name), tolerance) for name in self.arrays]
        return report


# Inputs and outputs


def call_with_fixed_random_numbers(forward: Callable, inputs: Mapping[str, Any], seed: int) -> tuple[Any, bool]:
    """forward(**inputs), drawing the same numbers each time, and whether it drew any; `numpy.random` stays as it is."""
    state = np.random.get_state(legacy=False)  # noqa: NPY002  what an imported forward may draw from
    np.random.seed([seed, 1])  # noqa: NPY002
    # arrays themselves, but mappings and Generators to do with as it likes
    fixed = mapped(lambda x: copy.deepcopy(x) if isinstance(x, np.random.Generator) else x, inputs)
    generators = [x.bit_generator for x in fixed.values() if isinstance(x, np.random.Generator)]
    start = _states(generators)
    try:
        result = forward(**fixed)
        return result, _states(generators) != start
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _states(generators: list) -> list[str]:
    state = np.random.get_state(legacy=False)  # noqa: NPY002
    global_state = f"{state['state']['pos']} {state['state']['key'][0]} {state['has_gauss']}"
    return [global_state, *(str(g.state) for g in generators)]


def _by_name(forward: Callable, inputs: Any) -> dict[str, Any]:
    """Arguments that were given by name or in order, by name."""
    if isinstance(inputs, Mapping):
        return dict(inputs)
    if not isinstance(inputs, tuple | list):
        raise UserError(f"inputs is one {type(inputs).__name__}; expected forward's arguments as a dict, tuple or list")
    try:
        parameters = inspect.signature(forward).parameters
    except ValueError as error:
        raise UserError("forward does not say what its arguments are called; give its inputs as a dict") from error
    names = [name for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    if len(inputs) > len(names):
        raise UserError(f"{len(inputs)} inputs were given, but forward takes {len(names)} by name ({', '.join(names)})")
    return dict(zip(names, inputs, strict=False))


def _is_array(x: Any) -> bool:
    return hasattr(x, "dtype") and hasattr(x, "reshape") and not isinstance(x, np.generic)


def _is_float(x: Any) -> bool:
    return _is_array(x) and x.dtype.kind == "f"


def _is_differentiated(x: Any) -> bool:
    """Whether backward answers for this input: an array of floats, a mapping of them, or None in the place of one."""
    return x is None or _is_float(x) or isinstance(x, Mapping) and any(_is_float(leaf) for _, leaf in _paths(x))


def _own_copy(x: Any, as_float64: bool = True) -> Any:
    """A copy of every array and Generator, the arrays of floats in float64 and contiguous; anything else as it is."""
    if isinstance(x, Mapping) and any(_is_array(leaf) for _, leaf in _paths(x)):
        return {name: _own_copy(value, as_float64) for name, value in x.items()}
    if not _is_array(x):
        return copy.deepcopy(x) if isinstance(x, np.random.Generator) else x
    x = x.astype(np.float64) if as_float64 and _is_float(x) else x.copy()
    return array_module(x).ascontiguousarray(x).reshape(x.shape)  # of () it makes (1,)


def _leaves(tree: Mapping, wanted: Callable[[Any], bool], names: Mapping | None = None) -> Iterator[tuple[str, Any]]:
    """The wanted leaves of nested mappings with their names: the innermost, or the whole path where two are alike."""
    inner = [path[-1] for path, _ in _paths(names or tree)]
    for path, leaf in _paths(tree):
        if wanted(leaf):
            yield (str(path[-1]) if inner.count(path[-1]) <= 1 else ".".join(map(str, path))), leaf


def _paths(tree: Mapping, path: tuple = ()) -> Iterator[tuple[tuple, Any]]:
    for name, x in tree.items():
        yield from _paths(x, (*path, name)) if isinstance(x, Mapping) else [((*path, name), x)]


def _outputs(result: Any) -> list[Array]:
    if not isinstance(result, tuple) or len(result) != 2:
        given = f"a tuple of {len(result)}" if isinstance(result, tuple) else f"one {type(result).__name__}"
        raise UserError(f"forward returned {given}; expected two things, out and cache")
    outs = list(result[0]) if isinstance(result[0], tuple) else [result[0]]
    outs = [np.asarray(out) if isinstance(out, float | np.generic) else out for out in outs]
    if not outs:
        raise UserError("forward returned no outputs; expected an array, or a tuple of arrays")
    for out in outs:
        if not _is_array(out) or out.dtype != np.float64:
            given = str(out.dtype) if _is_array(out) else type(out).__name__
            raise UserError(f"forward's output is {given}; expected float64, as its inputs are")
    return outs


def _same(a: Array, b: Array) -> bool:
    a, b = to_host(a), to_host(b)
    return bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))

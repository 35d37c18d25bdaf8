"""Is a backward the derivative of its forward? Both sides computed, compared entry by entry, and reported."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tinygpt.backend import Array, array_module, to_host
from tinygpt.errors import UserError
from tinygpt.gradcheck import repeats
from tinygpt.gradcheck.arrays import (
    double,
    holds_floats,
    is_array,
    is_float,
    lender,
    library,
    native,
    no_array,
    outputs,
    own_copy,
    same,
)  # fmt: skip
from tinygpt.gradcheck.compared import forward_row, gradient_row
from tinygpt.gradcheck.contract import by_name, expect_fitting, expect_form, fits
from tinygpt.gradcheck.differences import Derivatives
from tinygpt.gradcheck.hidden import held, matters
from tinygpt.gradcheck.precision import FLOAT64, coarser, measured, of_dtype, of_numbers
from tinygpt.gradcheck.randomness import call_with_fixed_random_numbers
from tinygpt.gradcheck.report import Report, described, numbers
from tinygpt.gradcheck.trees import is_tree, labels, leaves, mapped
from tinygpt.random import generator

NOTHING = "backward returned None; is there a return at its end?"
MAX_ENTRIES = 500  # of each input, and one direction through all of it, unless more are asked for


def gradient_check(
    forward: Callable, backward: Callable, inputs: Mapping[str, Any] | Sequence[Any], *,
    definition: Callable | None = None, constant: Sequence[str] = (), tolerance: float | None = None,
    max_entries: int | None = MAX_ENTRIES, seed: int = 0, title: str = "gradient check",
) -> Report:  # fmt: skip
    """Check any pair of functions of the layers' contract, `out, cache = forward(...)` and `backward(dout, cache)`.

    inputs: forward's arguments, by name or in order. Arrays of floats (taken as float64), and mappings, lists and
    tuples of them, are differentiated; integers, None, numbers, strings, objects and what `constant` names are passed
    on as they are, and `Report.unchecked` names those that hold floats, and such arrays in forward's object, closure
    or module as its output depends on.
    backward returns one gradient for each differentiated input in that order, a mapping for a mapping, a list or tuple
    for one; an input that is None may have a None in its place. forward may return a tuple of outputs, and dout is then
    a tuple too. Arrays of PyTorch and JAX are lent to forward as what they were, and compared as NumPy's.

    `dout` is random (with ones, the true gradient of softmax or of LayerNorm is zero, and a backward of zeros passes).
    definition: the forward that forward ought to be; forward must agree with it to 1e-12, and it is the definition that
    is differentiated. Without one the report says that only consistency was checked. tolerance: of each row's error,
    while single entries may be off by 1e-4 or ten times the tolerance; None for that of the dtype in which forward or
    backward computes: 1e-9 in float64, 1e-3 in float32, 0.2 in float16. max_entries: check that many entries of each
    larger input, chosen by `seed`, and the whole of it along one random direction; None for all.

    Random numbers drawn in forward from `random`, `numpy.random`, PyTorch or from a Generator among the inputs are the
    same in every call. What is doubtful but not wrong is in `Report.warnings`: an input that was written to though the
    numbers are right, entries left out at a kink of forward, a gradient that is zero. Raises UserError for a forward
    that changes from call to call all the same, complex numbers, NaN, or functions that do not keep to the contract.
    """
    if tolerance is not None and not tolerance > 0:
        raise UserError(f"tolerance is {tolerance}; expected a number above 0, such as 1e-9")
    named = by_name(forward, inputs)
    within = held(forward, named)  # before the first call: what is there after it may be a cache
    experiment = Experiment(definition or forward, named, constant, max_entries, seed)
    try:
        report = experiment.judge(forward, backward, tolerance, title, strict=False)
    except Miscounted as error:
        way_out = f"; constant={error.unanswered} leaves out what needs none" if error.unanswered else ""
        raise UserError(f"{error}{way_out}") from None
    report.unchecked = experiment.unchecked(within)
    for number, row in enumerate(report.rows):
        if row.problem.startswith("None"):
            way_out = f"{row.problem}; constant={[row.name[1:]]} if it has none"
            report.rows[number] = row._replace(problem=way_out)
    if definition is None:
        report.note = "consistency only: backward is the derivative of forward, whatever forward is meant to be"
        if not report.passed:
            report.note = "forward was taken as it is: there is no definition to compare it with"
    if experiment.foreign:
        report.note += f"\n{experiment.foreign} arrays were lent to forward and backward, and compared as NumPy arrays"
    return report


class Miscounted(UserError):
    """As many gradients as inputs were expected. unanswered: the inputs for which there are none, if they are fewer."""

    def __init__(self, unanswered: list[str], says: str):
        super().__init__(says)
        self.unanswered = unanswered


class Experiment:
    """One set of inputs, a random `dout`, and the numerical side: what any forward and backward can be held against.
    Differentiating is the slow part and is done once, so that many candidates may be judged. All arrays are copies.
    dout: the gradient from above at every place, where it is not to be random.
    """

    def __init__(
        self, definition: Callable, inputs: Mapping[str, Any], constant: Sequence[str] = (),
        max_entries: int | None = None, seed: int = 0, dout: float | None = None,
    ):  # fmt: skip
        self.constant = (constant,) if isinstance(constant, str) else tuple(constant)
        expect_fitting(definition, inputs, self.constant, max_entries)
        self.definition, self.seed = definition, seed
        self.inputs = {name: _taken(x, as_float64=name not in self.constant) for name, x in inputs.items()}
        self.slots = {name: x for name, x in self.inputs.items() if name not in self.constant and _is_differentiated(x)}
        self.names = labels(self.slots)
        self.arrays = {self.names[path]: x for path, x in leaves(self.slots) if is_float(x)}
        if not self.arrays:
            came = described(self.inputs)
            raise UserError(f"there is nothing to differentiate: no input is an array of floats ({came})")
        for name, x in self.arrays.items():
            if len(bad := np.argwhere(np.isnan(to_host(x)))):
                where = f" at {bad[0].tolist()}" if x.ndim else ""
                raise UserError(f"{name} is NaN{where}; expected numbers, where there is a derivative")
        originals = [x for _, x in leaves(inputs)]
        kept = [x for _, x in leaves(self.inputs)]
        self.foreign = " and ".join(sorted({library(x) for x in originals} - {""}))
        self._lenders = {id(mine): lender(x) for mine, x in zip(kept, originals, strict=True) if library(x)}
        self._in_copies = False  # what is lent, because forward writes to it
        self._plain = not self._lenders and not any(map(is_tree, self.inputs.values()))
        given, self.random = self._first_call()
        self._expect_numbers(given)
        self.precision = coarser(*(of_dtype(out.dtype) for out in given))
        self.out = [double(out) for out in given]
        repeats.expect_still(self._forward, self.out)
        rng = generator(seed, "gradient check")
        self.dout = [_rounded(array_module(o).asarray(rng.standard_normal(o.shape)), o.dtype) for o in given]
        if dout is not None:
            self.dout = [0 * d + dout for d in self.dout]
        self._settle_precision()
        self.derivatives = Derivatives(
            self._forward, self.arrays, self.out, self.dout, max_entries, rng, self.precision
        )

    def _first_call(self) -> tuple[list[Array], bool]:
        """The outputs, and whether forward draws random numbers; what it writes to is put back."""
        before = [x.copy() for _, x in self._all_arrays()]
        result, drew = call_with_fixed_random_numbers(self.definition, self._arguments(), self.seed)
        outs = [out.copy() for out in outputs(result)]  # an output may be an input
        self._in_copies = bool(_written("forward", self._all_arrays(), before))
        _put_back(self._all_arrays(), before)
        return outs, drew

    def _settle_precision(self) -> None:
        """A function may go through a shorter dtype than it returns; then its inputs are rounded to that."""
        found = measured(self._forward, self.arrays, generator(self.seed, "precision"))
        if found is not FLOAT64:  # or it leaps for another reason
            repeats.expect_still(self._forward, self.out, repeats.MORE)
        self.precision = coarser(self.precision, found)
        if self.precision is not FLOAT64:
            for x in self.arrays.values():  # so that no step is rounded away in it
                x[...] = _rounded(x, self.precision.name)
            self.out = [out.copy() for out in self._forward()]

    def _expect_numbers(self, outs: Sequence[Array]) -> None:
        for out in outs:
            if len(bad := np.argwhere(np.isnan(to_host(out)))):
                where = f" at {bad[0].tolist()}" if out.ndim else ""
                raise UserError(f"forward's output is NaN{where}, though no input that is differentiated is")

    def _all_arrays(self, tree: Any = None) -> list[tuple[str, Array]]:
        tree = self.inputs if tree is None else tree
        return [(name, x) for (path, x), name in zip(leaves(tree), labels(tree).values(), strict=True) if is_array(x)]

    def _arguments(self) -> dict[str, Any]:
        """What forward is called with: containers of its own each time, and arrays of the libraries they came from."""
        return self.inputs if self._plain and not self._in_copies else mapped(self._lend, self.inputs)

    def _lend(self, x: Any) -> Any:
        lent = x.copy() if self._in_copies and is_array(x) else x
        return self._lenders[id(x)](lent) if id(x) in self._lenders else lent

    def _forward(self) -> list[Array]:
        if self.random:
            result, _ = call_with_fixed_random_numbers(self.definition, self._arguments(), self.seed)
        else:
            result = self.definition(**self._arguments())
        return [double(out) for out in outputs(result)]

    def run(
        self, forward: Callable, backward: Callable, dout: Sequence[Array] | None = None
    ) -> tuple[list[Array], dict[str, Any], list[str]]:
        """A candidate's outputs, gradients by name, and what it wrote to that was not its own; dout: not ours."""
        arguments = self._arguments()
        lent = self._all_arrays(mapped(native, arguments))
        before = [x.copy() for _, x in lent]
        above = [d.copy() for d in (self.dout if dout is None else dout)]
        problems: dict[str, None] = {}
        try:
            result, _ = call_with_fixed_random_numbers(forward, arguments, self.seed)
            given_out = outputs(result)
            outs = [out.copy() for out in given_out]
            given, expected = (" and ".join(str(tuple(out.shape)) for out in side) for side in (outs, self.out))
            if given != expected:
                raise UserError(f"forward's output has shape {given}; expected {expected}")
            after = [x.copy() for _, x in lent]
            problems |= _written("forward", lent, before)
            passed = _lent_above(result[0], outs, above)
            kept = [native(d).copy() for d in passed]
            gradients = backward(_like(result[0], passed), result[1])
            named = self._by_name(gradients)
            if not all(map(same, given_out, outs)):
                problems["backward wrote to forward's output, which the next layer may have kept"] = None
            if not all(map(same, map(native, passed), kept)):
                problems["backward wrote to dout"] = None
            problems |= _written("backward", lent, after)
        finally:
            _put_back(lent, before)
        return outs, named, list(problems)

    def run_backward_again(self, forward: Callable, backward: Callable) -> list[dict[str, Any]]:
        """The gradients of three backward passes after one forward; fewer if the cache is used up by then."""
        arguments, made = self._arguments(), []
        lent = self._all_arrays(mapped(native, arguments))
        before = [x.copy() for _, x in lent]
        try:
            result, _ = call_with_fixed_random_numbers(forward, arguments, self.seed)
            outs = [out.copy() for out in outputs(result)]
            for _ in range(3):
                above = _like(result[0], _lent_above(result[0], outs, self.dout))
                made.append(self._by_name(backward(above, result[1])))
        except Exception:  # which only one pass may be meant for
            return made
        finally:
            _put_back(lent, before)
        return made

    def _by_name(self, gradients: Any) -> dict[str, Any]:
        slots = {name: x for name, x in self.slots.items() if x is not None}
        if gradients is None:
            raise UserError(NOTHING)
        only = next(iter(slots.values())) if len(slots) == 1 else None
        if isinstance(gradients, Mapping) and not isinstance(only, Mapping):
            raise UserError(f"backward returned a mapping; expected the gradients of {', '.join(slots)}, in that order")
        if not isinstance(gradients, tuple | list) or isinstance(only, list | tuple) and fits(only, gradients):
            gradients = (gradients,)
        gradients = tuple(gradients)
        if len(gradients) == len(self.slots):
            slots = self.slots
        elif sum(gradient is not None for gradient in gradients) == len(slots):  # and None for inputs left out
            gradients = tuple(gradient for gradient in gradients if gradient is not None)
        if len(gradients) != len(slots):
            count = len(gradients)
            raise Miscounted(
                list(slots)[count:],
                f"backward returned {count} gradient{'s' * (count != 1)}, but forward has {len(slots)} "
                f"input{'s' * (len(slots) != 1)} to differentiate ({', '.join(slots)}); "
                f"expected one for each, in that order",
            )
        for (name, x), gradient in zip(slots.items(), gradients, strict=True):
            expect_form(name, x, gradient)
        given = dict(zip(slots, gradients, strict=True))
        own = labels(given)
        named = {self.names.get(path, own[path]): native(gradient) for path, gradient in leaves(given)}
        return {name: gradient.copy() if is_array(gradient) else gradient for name, gradient in named.items()}

    def judge(
        self, forward: Callable, backward: Callable | None, tolerance: float | None = None, title: str = "",
        strict: bool = True,
    ) -> Report:  # fmt: skip
        """Hold a forward against the definition and its backward, if there is one, against numerical derivatives.

        tolerance: as for `gradient_check`. strict: as what takes a layer's place, whose forward is to be exact in
        float64, and which writes to nothing it was given; otherwise forward may compute in a shorter dtype, and what
        is written to is a warning where the numbers are right.
        """
        own = backward or (lambda dout, cache: tuple(self.slots.values()))
        runs = [self.run(forward, own) for _ in range(3)]
        outs, gradients, writes = runs[0]
        changes, added = repeats.compared(*(run[:2] for run in runs))
        gradients = gradients | added
        report = Report(title, tolerance=self.precision.tolerance if tolerance is None else tolerance)
        report.inputs = f"{described(self.inputs)}; seed {self.seed}"
        if self.precision is not FLOAT64:
            report.inputs += f"; forward computes in {self.precision.name}"
        if forward is not self.definition:
            precisions = [FLOAT64 if strict else coarser(self.precision, of_numbers(to_host(out))) for out in outs]
            for number, (out, right) in enumerate(zip(outs, self.out, strict=True)):
                name = "out" if len(outs) == 1 else f"out[{number}]"
                report.rows.append(forward_row(name, out, right, precisions[number].forward))
        if backward is not None:
            for name, gradient in gradients.items():
                if name not in self.arrays and gradient is not None:
                    what = no_array(gradient) or "an array"
                    report.problems.append(f"{name} is None here, so d{name} is to be None, but it is {what}")
            for name, x in self.arrays.items():
                if name in self.derivatives.directions:
                    report.sampled[f"d{name}"] = f"{len(self.derivatives.entries[name]):,} of {x.size:,}"
                row = gradient_row(self.derivatives, name, gradients.get(name), tolerance, report.warnings)
                report.rows.append(row)
                if tolerance is None and row.entries:
                    computed = of_numbers(to_host(native(gradients[name])))
                    report.tolerance = max(report.tolerance, computed.tolerance)
            report.problems += [changes] if changes else []
            if not (changes or writes) and (report.passed or not strict):
                problems, warnings = repeats.on_one_cache(self.run_backward_again(forward, backward))
                report.problems += problems
                report.warnings += [] if strict else warnings  # a layer may use its cache up
        if not report.passed:
            douts = {"dout" if len(self.dout) == 1 else f"dout[{n}]": dout for n, dout in enumerate(self.dout)}
            report.values = numbers(dict(self._all_arrays()) | douts)
        if forward is self.definition and (self.derivatives.in_doubt or not report.passed):
            repeats.expect_still(self._forward, self.out, repeats.MORE)
        wrong = strict or not report.passed
        (report.problems if wrong else report.warnings).extend(writes)
        return report

    def unchecked(self, within: Mapping[str, np.ndarray]) -> list[str]:
        """The names of what holds floats and is not differentiated, of the inputs and of arrays `within` forward."""
        names = [name for name, x in self.inputs.items() if name not in self.slots and _holds_numbers(x)]
        unmoved = lambda: all(map(same, self._forward(), self.out))  # noqa: E731
        return names + [name for name, x in within.items() if name not in names and matters(x, unmoved)]


# Inputs and gradients


def _taken(x: Any, as_float64: bool = True) -> Any:
    """An input with copies of its arrays; a container without any is as it is, to be copied for each call."""
    return mapped(lambda leaf: own_copy(leaf, as_float64), x)


def _is_differentiated(x: Any) -> bool:
    """Whether backward answers for this input: an array of floats, a tree with one, or None in the place of one."""
    return x is None or holds_floats(x)


def _holds_numbers(x: Any) -> bool:
    return any(isinstance(leaf, float) or is_float(leaf) for _, leaf in leaves(x))


def _rounded(x: Array, dtype: Any) -> Array:
    """float64 numbers that the dtype can hold."""
    return x.astype(dtype).astype(np.float64)


def _like(out: Any, arrays: list[Any]) -> Any:
    """The gradient from above in the form of forward's output: one array, or as many."""
    return arrays if isinstance(out, list) else tuple(arrays) if isinstance(out, tuple) else arrays[0]


def _lent_above(out: Any, outs: Sequence[Array], dout: Sequence[Array]) -> list[Any]:
    """Arrays of its own for each output, of its dtype and library."""
    originals = out if isinstance(out, tuple | list) else [out]
    return [lender(one)(d.astype(given.dtype)) for one, given, d in zip(originals, outs, dout, strict=True)]


def _put_back(lent: list[tuple[str, Array]], before: list[Array]) -> None:
    for (_, x), kept in zip(lent, before, strict=True):
        if not same(x, kept):
            x[...] = kept


def _written(who: str, lent: list[tuple[str, Array]], before: list[Array]) -> dict[str, None]:
    """What was written to, in sentences."""
    pairs = zip(lent, before, strict=True)
    return {f"{who} wrote to its input {name}": None for (name, x), kept in pairs if not same(x, kept)}

"""Is a backward the derivative of its forward? Both sides computed, compared entry by entry, and reported.

The numerical side takes five-point differences of forward in float64: f'(x) is the sum of w f(x + k h) / h over the
pairs (k, w) below, with an error of h^4 f^(5) / 30 (Fornberg, "Generation of finite difference formulas on arbitrarily
spaced grids", 1988). The step h = 3e-4 max(1, |x|) keeps both that error and the rounding of f, which is divided by h,
near 1e-12. Where the two sides do not agree, other steps are tried: where forward bends sharply, as LayerNorm does on a
vector of almost equal numbers, the first is too long, and no step makes a wrong gradient right.
"""

import copy
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tinygpt.backend import Array, array_module, to_host
from tinygpt.errors import UserError
from tinygpt.random import generator

FIVE_POINTS = ((-2, 1 / 12), (-1, -8 / 12), (1, 8 / 12), (2, -1 / 12))
STEPS: tuple[Callable[[np.ndarray, float], np.ndarray], ...] = (  # h from |x| and its typical size
    lambda x, typical: 3e-4 * np.maximum(1, x),
    lambda x, typical: 3e-5 * np.maximum(1, x),
    lambda x, typical: 3e-6 * np.maximum(1, x),
    lambda x, typical: 3e-4 * np.where(x > 0, x, typical),  # forward may bend at the scale of a small x
    lambda x, typical: np.full_like(x, 3e-4),  # or not care how far from 0 a large one is
)
FORWARD_TOLERANCE = 1e-12
ROUNDING = 8 * np.finfo(np.float64).eps  # of one value of forward, relative: a few operations' worth
ENTRY_TOLERANCE = 1e-4  # of every single entry, relative to itself: a norm does not see the small among the large


class Row(NamedTuple):
    """One line of the report: an output, or the gradient of one input.

    error: norm(analytic - numerical) / max(norm(analytic), norm(numerical), floor), over the entries that were checked;
    the floor is there so that what rounding makes of a gradient of zero passes, and nothing larger does. place: the
    entry that is off the most.
    """

    name: str
    shape: tuple[int, ...]
    error: float
    place: tuple[int, ...] = ()
    analytic: float = math.nan
    numerical: float = math.nan
    entries: int = 0  # how many were checked
    problem: str = ""  # "" for a right one


@dataclass
class Report:
    """What a check found. `passed` is the verdict; printed, it is a table."""

    title: str
    rows: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # what no single row can say
    note: str = ""
    tolerance: float = 1e-9

    @property
    def passed(self) -> bool:
        return not self.problems and not any(row.problem for row in self.rows)

    def __bool__(self) -> bool:
        return self.passed

    @property
    def gradients(self) -> list[Row]:
        """The rows of gradients, without forward's."""
        return [row for row in self.rows if row.name.startswith("d")]

    @property
    def error(self) -> float:
        """The worst relative error of any row; infinite where something could not be compared."""
        errors = [row.error if math.isfinite(row.error) else math.inf for row in self.rows]
        return max(errors, default=math.inf if self.problems else 0.0)

    def __str__(self) -> str:
        lines = [("", "shape", "entries", "error", "worst entry", "analytic", "numerical", "verdict")]
        for row in self.rows:
            place = str(list(row.place)) if row.entries else ""
            values = (f"{row.analytic:.6g}", f"{row.numerical:.6g}") if row.entries else ("", "")
            entries = f"{row.entries:,}" if row.entries else ""
            error = f"{row.error:.1e}" if not math.isnan(row.error) else ""
            lines.append((row.name, str(row.shape), entries, error, place, *values, row.problem or "right"))
        text = [self.title, columns(lines, left=(0, 1, 7))] if self.rows else [self.title]
        return "\n".join([*text, *self.problems] + ([self.note] if self.note else []))


def columns(lines: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    """Lines of cells as text in aligned columns, to the right but for those in `left`."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if number in left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def gradient_check(
    forward: Callable,
    backward: Callable,
    inputs: Mapping[str, Any] | Sequence[Any],
    *,
    definition: Callable | None = None,
    constant: Sequence[str] = (),
    tolerance: float = 1e-9,
    max_entries: int | None = None,
    seed: int = 0,
    title: str = "gradient check",
) -> Report:
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
    are the same in every call.

    Raises UserError for a forward that changes from call to call, or functions that do not keep to the contract.
    """
    if not tolerance > 0:
        raise UserError(f"tolerance is {tolerance}; expected a number above 0, such as 1e-9")
    experiment = Experiment(definition or forward, _named(forward, inputs), constant, max_entries, seed)
    report = experiment.judge(forward, backward, tolerance, title)
    if definition is None:
        report.note = "consistency only: backward is the derivative of forward, whatever forward is meant to be"
        if not report.passed:
            report.note = "forward was taken as it is: there is no definition to compare it with"
    return report


class Numerical(NamedTuple):
    """The numerical derivatives of one input with one choice of step: at the chosen entries, and along a direction.

    noise, slope_noise: how much of each may be the rounding of forward's outputs.
    """

    values: np.ndarray
    noise: np.ndarray
    slope: float = 0.0
    slope_noise: float = 0.0


class Experiment:
    """One set of inputs, a random `dout`, and the numerical side: what any forward and backward can be held against.

    Differentiating is the slow part and is done once, so that many candidates may be judged. All arrays are copies.
    """

    def __init__(
        self,
        definition: Callable,
        inputs: Mapping[str, Any],
        constant: Sequence[str] = (),
        max_entries: int | None = None,
        seed: int = 0,
        dout: float | None = None,
    ):
        """dout: the gradient from above at every place, where it is not to be random."""
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
        self.inputs = {name: _own(x, as_float64=name not in constant) for name, x in inputs.items()}
        self.slots = {name: x for name, x in self.inputs.items() if name not in constant and _is_slot(x)}
        self.arrays = dict(_leaves(self.slots, _is_float))
        if not self.arrays:
            raise UserError("there is nothing to differentiate: no input is an array of floats")

        before = [x.copy() for _, x in self._all_arrays()]
        result, self.random = call_with_fixed_random_numbers(definition, self.inputs, seed)
        self.out = [out.copy() for out in _outputs(result)]  # an output may be an input
        for (name, x), copied in zip(self._all_arrays(), before, strict=True):
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
        self._entries: dict[str, np.ndarray] = {}
        self._directions: dict[str, np.ndarray] = {}
        for name, x in self.arrays.items():
            self._entries[name] = np.arange(x.size)
            if max_entries is not None and x.size > max_entries:
                self._entries[name] = np.sort(rng.choice(x.size, max_entries, replace=False))
                self._directions[name] = rng.standard_normal(x.size)
        self._numerical: dict[tuple[str, int], Numerical] = {}

    # The numerical side

    def numerical(self, name: str, step: int = 0) -> tuple[np.ndarray, Numerical]:
        """The flat places of one input that are checked and its numerical derivatives, which are computed once.

        step: which of STEPS.
        """
        if (name, step) not in self._numerical:
            with np.errstate(all="ignore"):  # a step may leave forward's domain
                self._numerical[name, step] = self._differentiate(name, STEPS[step])
        return self._entries[name], self._numerical[name, step]

    def _differentiate(self, name: str, step: Callable[[np.ndarray, float], np.ndarray]) -> Numerical:
        x, entries = self.arrays[name], self._entries[name]
        xp, flat, host = array_module(x), x.reshape(-1), to_host(x).flatten()
        finite = np.abs(host[np.isfinite(host)])
        typical = float(np.median(finite)) if finite.size and np.median(finite) > 0 else 1.0
        values, sizes = [], []
        steps = _power_of_two(step(np.abs(host[entries]), typical))
        for place, h in zip(entries.tolist(), steps.tolist(), strict=True):
            if math.isfinite(h):
                value, size = self._slope(flat, place, host[place] + np.arange(-2, 3) * h)
                flat[place] = host[place]
            else:  # an input of -inf, as in a masked score, is where it is: nothing moves it
                value, size, h = xp.zeros((), x.dtype), xp.zeros((), x.dtype), 1.0
            values.append(value / h)
            sizes.append(size / (h * h))
        if not values:
            return Numerical(np.zeros(0), np.zeros(0))
        noise = ROUNDING * np.sqrt(to_host(xp.stack(sizes)))
        if name not in self._directions:
            return Numerical(to_host(xp.stack(values)), noise)
        start, u = flat.copy(), xp.asarray(np.where(np.isfinite(host), self._directions[name], 0))
        h = float(_power_of_two(step(np.array([min(typical, 1.0)]), typical))[0]) * min(typical, 1.0)
        slope, size = self._slope(flat, slice(None), [start + k * h * u for k in range(-2, 3)])
        flat[...] = start
        return Numerical(to_host(xp.stack(values)), noise, float(slope) / h, ROUNDING * math.sqrt(float(size)) / h)

    def _slope(self, flat: Array, place: Any, points: Sequence) -> tuple[Array, Array]:
        """The difference quotient's numerator, and the sum of squares of the terms that it was taken from.

        points: what stands at flat[place] at x - 2h to x + 2h. The terms are out * dout at the outputs that move, and
        only differences are summed: whatever else forward returns, however large, has no part in it.
        """
        numerator: Any = 0.0
        size: Any = 0.0
        for k, weight in FIVE_POINTS:
            flat[place] = points[k + 2]
            moved: Any = 0.0
            for out, start, dout in zip(self._forward(), self.out, self.dout, strict=True):
                xp = array_module(out)
                still = out == start  # infinities among them
                numerator = numerator + weight * (xp.where(still, 0, out - start) * dout).sum()
                moved = moved + xp.where(still, 0, (start * dout) ** 2).sum()
            size = xp.maximum(size, moved)  # of the four, since what rounding moves it may not move every time
        return numerator, size

    def _forward(self) -> list[Array]:
        if self.random:
            return _outputs(call_with_fixed_random_numbers(self.definition, self.inputs, self.seed)[0])
        return _outputs(self.definition(**self.inputs))

    # A candidate

    def run(
        self, forward: Callable, backward: Callable, dout: Sequence[Array] | None = None
    ) -> tuple[list[Array], dict[str, Any], list[str]]:
        """A candidate's outputs, its gradients by the inputs' names, and what it wrote to that was not its own.

        dout: for each output, if another one than the experiment's.
        """
        before = [x.copy() for _, x in self._all_arrays()]
        given = self.dout if dout is None else dout
        dout, problems = [d.copy() for d in given], []
        try:
            result, _ = call_with_fixed_random_numbers(forward, self.inputs, self.seed)
            given_out = _outputs(result)
            outs = [out.copy() for out in given_out]
            shapes = [tuple(out.shape) for out in outs], [tuple(out.shape) for out in self.out]
            if shapes[0] != shapes[1]:
                raise UserError(f"forward's output has shape {_say(shapes[0])}; expected {_say(shapes[1])}")
            gradients = backward(tuple(dout) if isinstance(result[0], tuple) else dout[0], result[1])
            named = {name: _copied(gradient) for name, gradient in self._by_name(gradients).items()}
            if not all(map(_same, given_out, outs)):
                problems.append("backward wrote to forward's output, which the next layer may have kept")
        finally:
            for (name, x), copied in zip(self._all_arrays(), before, strict=True):
                if not _same(x, copied):
                    problems.append(f"wrote to its input {name}")
                    x[...] = copied
        problems += ["backward wrote to dout"] if not all(map(_same, dout, given)) else []
        return outs, named, problems

    def _all_arrays(self) -> Iterator[tuple[str, Array]]:
        return _leaves(self.inputs, _is_array)

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
                raise UserError(
                    f"the gradient of {name} is a {type(gradient).__name__}; expected a mapping of the same names"
                )
        return dict(_leaves(dict(zip(slots, gradients, strict=True)), lambda x: not isinstance(x, Mapping), slots))

    def judge(self, forward: Callable, backward: Callable, tolerance: float = 1e-9, title: str = "") -> Report:
        """Hold a forward and its backward against the definition and its numerical derivatives."""
        outs, gradients, problems = self.run(forward, backward)
        report = Report(title, problems=problems, tolerance=tolerance)
        if forward is not self.definition:
            report.rows += self._forward_rows(outs)
        for name, gradient in gradients.items():
            if name not in self.arrays and gradient is not None:
                report.problems.append(f"{name} is None here, so d{name} is to be None, but it is an array")
        report.rows += [self._row(name, gradients.get(name), tolerance) for name in self.arrays]
        return report

    def judge_forward(self, forward: Callable, tolerance: float = 1e-9, title: str = "") -> Report:
        """Hold a forward alone against the definition."""
        outs, _, problems = self.run(forward, lambda dout, cache: tuple(self.slots.values()))
        return Report(title, self._forward_rows(outs), problems, tolerance=tolerance)

    def _forward_rows(self, outs: list[Array]) -> list[Row]:
        return [
            _forward_row("out" if len(outs) == 1 else f"out[{number}]", out, right)
            for number, (out, right) in enumerate(zip(outs, self.out, strict=True))
        ]

    def _row(self, name: str, gradient: Any, tolerance: float) -> Row:
        row, shape = f"d{name}", tuple(self.arrays[name].shape)
        if gradient is None:
            return Row(row, shape, math.nan, problem="None, where a gradient was expected")
        gradient = to_host(gradient) if hasattr(gradient, "dtype") else np.asarray(gradient)
        if gradient.shape != shape or gradient.dtype.kind not in "fiu":
            got = f"shape {gradient.shape}" if gradient.shape != shape else f"dtype {gradient.dtype}"
            return Row(row, shape, math.nan, problem=f"has {got}")
        flat = gradient.astype(np.float64).reshape(-1)
        if not np.isfinite(flat).all():
            return Row(row, shape, math.nan, problem="not finite")
        if not flat.size:
            return Row(row, shape, 0.0)
        entries, values, error, wrong = self._compare(name, flat, tolerance)
        along = error if wrong.any() or not error <= tolerance else self._along(name, flat, tolerance)
        off = np.nan_to_num(np.abs(flat[entries] - values), nan=np.inf)
        if wrong.any() and error <= tolerance:  # small ones, among larger that are right
            off = off * wrong
        worst = int(np.argmax(off))
        place = tuple(int(i) for i in np.unravel_index(entries[worst], shape))
        problem = "" if along <= tolerance and not wrong.any() else "WRONG"
        if problem and error <= tolerance and not wrong.any():
            error, problem = along, "WRONG along a random direction"
        elif problem:
            problem += _what_it_is(flat[entries], values)
        return Row(row, shape, error, place, float(flat[entries[worst]]), float(values[worst]), len(entries), problem)

    def _compare(self, name: str, flat: np.ndarray, tolerance: float) -> tuple:
        """The places checked, the numerical derivatives there, the relative error, and which entries are wrong."""
        entries, first = self.numerical(name)
        analytic, values, noise = flat[entries], first.values, first.noise
        # What rounding alone may make of a true zero: of the numerical side, and of the analytic one.
        zero = float(np.linalg.norm(noise)) + ROUNDING * math.sqrt(sum(float((d * d).sum()) for d in self.dout))
        for step in range(len(STEPS)):
            again = self.numerical(name, step)[1]
            closer = ~(np.abs(again.values - analytic) >= np.abs(values - analytic))
            values, noise = np.where(closer, again.values, values), np.where(closer, again.noise, noise)
            difference, size = np.linalg.norm(analytic - values), max(map(np.linalg.norm, (analytic, values)))
            # A shorter step has more rounding in it, which excuses no more than a few times the tolerance.
            floor = max(zero, min(float(np.linalg.norm(noise)), 3 * tolerance * size) if step else 0.0)
            error = relative(difference, size, floor / tolerance)
            allowed = ENTRY_TOLERANCE * np.maximum(np.abs(analytic), np.abs(values)) + 30 * noise + zero
            wrong = ~(np.abs(analytic - values) <= allowed)
            settled = step == 1 and np.linalg.norm(again.values - first.values) <= 1e-3 * difference
            if error <= tolerance and not wrong.any() or settled:
                break  # right, or ten times shorter steps say the same
        return entries, values, error, wrong

    def _along(self, name: str, flat: np.ndarray, tolerance: float) -> float:
        """The error along the random direction, relative to norm(gradient): what |gradient . u| is on average.

        0 where every entry was checked. The best of all steps, since a direction crosses the bends of every entry.
        """
        errors = [0.0 if name not in self._directions else math.inf]
        for step in range(len(STEPS)):
            if errors[-1] <= tolerance:
                break
            numerical = self.numerical(name, step)[1]
            size = max(float(np.linalg.norm(flat)), abs(numerical.slope))
            floor = numerical.slope_noise if not step else min(numerical.slope_noise, 100 * tolerance * size)
            errors.append(
                relative(abs(float(flat @ self._directions[name]) - numerical.slope), size, floor / tolerance)
            )
        return float(np.nanmin(errors))


def _what_it_is(analytic: np.ndarray, numerical: np.ndarray) -> str:
    """ ": zero" and the like for a wrong gradient that is a multiple of the right one; nothing for any other."""
    factor = float(analytic @ numerical) / max(float(numerical @ numerical), np.finfo(np.float64).tiny)
    if len(analytic) < 2 or np.linalg.norm(analytic - factor * numerical) > 1e-6 * np.linalg.norm(analytic):
        return ""
    if abs(factor - 1) < 1e-5:
        return ""
    return ": zero" if not analytic.any() else ": its sign" if abs(factor + 1) < 1e-6 else f": {factor:.6g} times"


def _forward_row(name: str, out: Array, right: Array) -> Row:
    a, b = to_host(out), to_host(right)
    with np.errstate(invalid="ignore"):
        off = np.where(a == b, 0, a - b)  # equal infinities too
    sizes = (np.linalg.norm(np.where(np.isfinite(x), x, 0)) for x in (a, b))
    error = relative(np.linalg.norm(off), *sizes)
    typical = np.abs(b[np.isfinite(b) & (b != 0)])
    typical = float(np.quantile(typical, 0.25)) if typical.size else 0.0
    small = np.abs(off) > 1e-9 * np.abs(b) + 1e-10 * typical  # what a norm does not see beside a masked score's -1e9
    problem = "" if error <= FORWARD_TOLERANCE and not small.any() else "not what the definition computes"
    if not a.size:
        return Row(name, a.shape, error, problem=problem)
    worst = np.unravel_index(int(np.argmax(np.nan_to_num(np.abs(off), nan=np.inf))), a.shape)
    place = tuple(int(i) for i in worst)
    return Row(name, a.shape, error, place, float(a[place]), float(b[place]), a.size, problem)


def relative(difference: Any, *sizes: Any) -> float:
    """difference / max(sizes); 0 where all is exactly zero, and NaN where a number is."""
    return float(difference / max(np.max(sizes), np.finfo(np.float64).tiny))


def _power_of_two(h: np.ndarray) -> np.ndarray:
    """The nearest powers of two: x + k h is then exact, and h what it says it is."""
    with np.errstate(divide="ignore"):
        return np.where(np.isfinite(h), 2.0 ** np.round(np.log2(h)), h)


# Inputs and outputs


def call_with_fixed_random_numbers(forward: Callable, inputs: Mapping[str, Any], seed: int) -> tuple[Any, bool]:
    """forward(**inputs), which draws the same numbers each time, from `numpy.random` or Generators among the inputs.

    Also says whether it drew any. The state of `numpy.random` is what it was before.
    """
    state = np.random.get_state(legacy=False)  # noqa: NPY002  what an imported forward may draw from
    np.random.seed([seed, 1])  # noqa: NPY002
    fixed = {name: _lent(x) for name, x in inputs.items()}
    generators = [x.bit_generator for x in fixed.values() if isinstance(x, np.random.Generator)]
    start = _states(generators)
    try:
        result = forward(**fixed)
        return result, _states(generators) != start
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _lent(x: Any) -> Any:
    """What a function is given of an input: arrays themselves, but a mapping and a Generator to do with as it likes."""
    if isinstance(x, Mapping):
        return {name: _lent(value) for name, value in x.items()}
    return copy.deepcopy(x) if isinstance(x, np.random.Generator) else x


def _states(generators: list) -> list[str]:
    state = np.random.get_state(legacy=False)  # noqa: NPY002
    return [
        f"{state['state']['pos']} {state['state']['key'][0]} {state['has_gauss']}",
        *(str(g.state) for g in generators),
    ]


def _named(forward: Callable, inputs: Any) -> dict[str, Any]:
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


def _is_slot(x: Any) -> bool:
    """Whether backward answers for this input: an array of floats, a mapping of them, or None in the place of one."""
    return x is None or _is_float(x) or isinstance(x, Mapping) and any(True for _ in _leaves(x, _is_float))


def _own(x: Any, as_float64: bool = True) -> Any:
    """A copy of every array and Generator, the arrays of floats in float64 and contiguous; anything else as it is."""
    if isinstance(x, Mapping) and any(True for _ in _leaves(x, _is_array)):
        return {name: _own(value, as_float64) for name, value in x.items()}
    if not _is_array(x):
        return copy.deepcopy(x) if isinstance(x, np.random.Generator) else x
    x = x.astype(np.float64) if as_float64 and _is_float(x) else x.copy()
    return array_module(x).ascontiguousarray(x).reshape(x.shape)  # of () it makes (1,)


def _copied(gradient: Any) -> Any:
    return gradient.copy() if _is_array(gradient) else gradient


def _leaves(tree: Mapping, wanted: Callable[[Any], bool], names: Mapping | None = None) -> Iterator[tuple[str, Any]]:
    """The wanted leaves of nested mappings with their names: the innermost, or the whole path where two are alike."""
    paths = list(_paths(tree, wanted, ()))
    inner = [path[-1] for path, _ in _paths(names or tree, lambda x: not isinstance(x, Mapping), ())]
    for path, leaf in paths:
        yield (str(path[-1]) if inner.count(path[-1]) <= 1 else ".".join(map(str, path))), leaf


def _paths(tree: Mapping, wanted: Callable[[Any], bool], path: tuple) -> Iterator[tuple[tuple, Any]]:
    for name, x in tree.items():
        if isinstance(x, Mapping):
            yield from _paths(x, wanted, (*path, name))
        elif wanted(x):
            yield (*path, name), x


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


def _say(shapes: list[tuple[int, ...]]) -> str:
    return " and ".join(map(str, shapes))

"""Is a backward the derivative of its forward? Both sides computed, compared entry by entry, and reported.

The numerical side takes five-point differences of forward in float64: f'(x) is the sum of w f(x + k h) / h over the
pairs (k, w) below, with an error of h^4 f^(5) / 30 (Fornberg, "Generation of finite difference formulas on arbitrarily
spaced grids", 1988). The step h = 3e-4 max(1, |x|) keeps both that error and the rounding of f, which is divided by h,
near 1e-12. A gradient that does not agree is tried again with smaller steps: where forward bends sharply, as LayerNorm
does on a vector of almost equal numbers, the first is too long, and no step makes a wrong gradient right.
"""

import copy
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tinygpt.backend import Array, array_module, generator, to_host
from tinygpt.errors import UserError

FIVE_POINTS = ((-2, 1 / 12), (-1, -8 / 12), (1, 8 / 12), (2, -1 / 12))
STEPS = (3e-4, 3e-5, 3e-6)  # the smaller ones where the first does not agree: forward may bend more than h^4 allows for
FORWARD_TOLERANCE = 1e-12
ROUNDING = 8 * np.finfo(np.float64).eps  # of one value of forward, relative: a few operations' worth


class Row(NamedTuple):
    """One line of the report: an output, or the gradient of one input.

    error: norm(analytic - numerical) / max(norm(analytic), norm(numerical), floor), over the entries that were checked;
    the floor is what rounding alone could make of a gradient of zero. place: the entry that is off the most.
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

    @property
    def passed(self) -> bool:
        return not self.problems and not any(row.problem for row in self.rows)

    @property
    def error(self) -> float:
        """The worst relative error of any row."""
        return max((row.error if not math.isnan(row.error) else math.inf for row in self.rows), default=0.0)

    def __str__(self) -> str:
        lines = [("", "shape", "entries", "error", "worst entry", "analytic", "numerical", "verdict")]
        for row in self.rows:
            place = str(list(row.place)) if row.entries else ""
            values = (f"{row.analytic:.9g}", f"{row.numerical:.9g}") if row.entries else ("", "")
            shape, entries = str(row.shape), f"{row.entries:,}" if row.entries else ""
            error = f"{row.error:.1e}" if not math.isnan(row.error) else ""
            lines.append((row.name, shape, entries, error, place, *values, row.problem or "right"))
        text = f"{self.title}\n" + columns(lines, left=(0, 1, 7))
        for remark in (*self.problems, self.note):
            text += f"\n{remark}" if remark else ""
        return text


def columns(lines: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
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
    is differentiated. Without one the report says that only consistency was checked. max_entries: check that many
    entries of each larger input, chosen by `seed`, and the whole of it along one random direction; None for all.
    Random numbers drawn in forward from `numpy.random` or from a Generator among the inputs are the same in every call.

    Raises UserError for a forward that changes from call to call, or functions that do not keep to the contract.
    """
    inputs = _named(forward, inputs)
    experiment = Experiment(definition or forward, inputs, constant, max_entries, seed)
    report = experiment.judge(forward, backward, tolerance, title)
    if definition is None:
        report.note = "consistency only: backward is the derivative of forward, whatever forward is meant to be"
        if not report.passed:
            report.note = "forward was taken as it is: there is no definition to compare it with"
    return report


class Numerical(NamedTuple):
    """The numerical derivatives of one input: `values` at the flat places `entries`, and `slope` along `direction`."""

    entries: np.ndarray
    values: np.ndarray
    floor: float  # the norm that rounding alone may give to `values`
    direction: np.ndarray | None = None
    slope: float = 0.0
    slope_floor: float = 0.0


class Experiment:
    """One set of inputs, a random `dout`, and the numerical side: what any forward and backward can be held against.

    Differentiating is the slow part and is done once, so that many candidates may be judged.
    """

    def __init__(
        self,
        definition: Callable,
        inputs: Mapping[str, Any],
        constant: Sequence[str] = (),
        max_entries: int | None = None,
        seed: int = 0,
        dout: Any = None,
    ):
        """dout: the gradient from above if it is not to be random: a number for every entry, such as 1."""
        for name in constant:
            if name not in inputs:
                raise UserError(f"constant names {name!r}, which is not an input; expected some of {', '.join(inputs)}")
        self.inputs = {name: x if name in constant else _own(x) for name, x in inputs.items()}
        self.slots = {name: x for name, x in self.inputs.items() if name not in constant and _is_slot(x)}
        self.arrays = dict(_arrays(self.slots))
        if not self.arrays:
            raise UserError("there is nothing to differentiate: no input is an array of floats")
        rng = generator(seed, "gradient check")
        self.definition = definition
        self.random = True  # whether forward draws random numbers, which are then held fixed
        self.out = self._forward()
        self.random = not self._draws_nothing()
        self.out = self._forward()
        self.dout = [_random_like(out, rng) if dout is None else out * 0 + dout for out in self.out]
        if not self._repeats():
            raise UserError(
                "forward gives another output each time it is called with the same inputs; hold its random numbers "
                "fixed: pass the mask, a seed or a numpy Generator as an input"
            )
        self._places: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
        for name, x in self.arrays.items():
            if max_entries is None or x.size <= max_entries:
                self._places[name] = np.arange(x.size), None
            else:
                self._places[name] = (
                    np.sort(rng.choice(x.size, max_entries, replace=False)),
                    rng.standard_normal(x.size),
                )
        self._numerical: dict[tuple[str, float], Numerical] = {}

    def numerical(self, name: str, step: float = STEPS[0]) -> Numerical:
        """The numerical derivatives of one input; they are computed once."""
        if (name, step) not in self._numerical:
            self._numerical[name, step] = self._differentiate(self.arrays[name], *self._places[name], step)
        return self._numerical[name, step]

    def _differentiate(self, x: Array, entries: np.ndarray, direction: np.ndarray | None, step: float) -> Numerical:
        xp, flat, host = array_module(x), x.reshape(-1), to_host(x).flatten()
        slopes, steps = [], step * np.maximum(1, np.abs(host[entries]))
        for place, h in zip(entries.tolist(), steps.tolist(), strict=True):
            if not math.isfinite(h):  # an input of -inf, as in a masked score, is where it is: nothing moves it
                slopes.append(xp.zeros((), x.dtype))
                continue
            total: Any = 0.0
            for k, weight in FIVE_POINTS:
                flat[place] = host[place] + k * h
                total = total + weight * self._pull()
            flat[place] = host[place]
            slopes.append(total / h)
        values = to_host(xp.stack(slopes)) if slopes else np.zeros(0)
        rounding = ROUNDING * self._scale()
        floor = rounding * math.sqrt(float((1 / steps[np.isfinite(steps)] ** 2).sum()))
        if direction is None:
            return Numerical(entries, values, floor)
        direction = direction * np.isfinite(host)
        h = step * max(1.0, float(np.linalg.norm(host[np.isfinite(host)]))) / float(np.linalg.norm(direction))
        u, start, total = xp.asarray(direction), flat.copy(), 0.0
        for k, weight in FIVE_POINTS:
            flat[...] = start + k * h * u
            total = total + weight * self._pull()
        flat[...] = start
        return Numerical(entries, values, floor, direction, float(total / h), rounding / h)

    def _draws_nothing(self) -> bool:
        """Whether two calls give the same output with nothing held fixed, so that the derivatives may do without."""
        state = np.random.get_state()  # noqa: NPY002
        plain = [[out.copy() for out in _outputs(self.definition(**self.inputs), self.definition)] for _ in range(2)]
        np.random.set_state(state)  # noqa: NPY002
        return all(_same(a, b) and _same(a, c) for a, b, c in zip(*plain, self.out, strict=True))

    def _forward(self) -> list[Array]:
        call = call_with_fixed_random_numbers if self.random else _call
        return [
            out.copy() for out in _outputs(call(self.definition, self.inputs), self.definition)
        ]  # or it is an input

    def _repeats(self) -> bool:
        return all(_same(a, b) for a, b in zip(self.out, self._forward(), strict=True))

    def _pull(self) -> Array:
        """The scalar whose gradient is taken: the sum of out * dout, less its value at the inputs as they are.

        The difference is taken before the sum, where it still has all its digits.
        """
        call = call_with_fixed_random_numbers if self.random else _call
        outs = _outputs(call(self.definition, self.inputs), self.definition)
        return sum(((a - b) * d).sum() for a, b, d in zip(outs, self.out, self.dout, strict=True))

    def _scale(self) -> float:
        """The size of the numbers that are subtracted from each other, whose rounding the difference inherits."""
        return math.sqrt(sum(float(((o * d) ** 2).sum()) for o, d in zip(self.out, self.dout, strict=True)))

    def run(
        self, forward: Callable, backward: Callable, dout: Sequence[Array] | None = None
    ) -> tuple[list[Array], dict[str, Any], list[str]]:
        """A candidate's outputs, its gradients by the inputs' names, and what it wrote to that was not its own.

        dout: for each output, if another one than the experiment's.
        """
        before = {name: x.copy() for name, x in self.arrays.items()}
        result = call_with_fixed_random_numbers(forward, self.inputs)
        outs = _outputs(result, forward)
        shapes = [tuple(out.shape) for out in outs], [tuple(out.shape) for out in self.out]
        if shapes[0] != shapes[1]:
            raise UserError(f"forward's output has shape {_say(shapes[0])}; expected {_say(shapes[1])}")
        given = self.dout if dout is None else dout
        dout = [d.copy() for d in given]
        gradients = backward(tuple(dout) if isinstance(result[0], tuple) else dout[0], result[1])
        problems = [f"wrote to its input {name}" for name, x in self.arrays.items() if not _same(x, before[name])]
        problems += ["backward wrote to dout"] if not all(map(_same, dout, given)) else []
        for name, x in self.arrays.items():
            x[...] = before[name]
        return outs, self._by_name(gradients), problems

    def _by_name(self, gradients: Any) -> dict[str, Any]:
        gradients = tuple(gradients) if isinstance(gradients, tuple | list) else (gradients,)
        slots = {name: x for name, x in self.slots.items() if x is not None}
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
        named: dict[str, Any] = {}
        for (name, x), gradient in zip(slots.items(), gradients, strict=True):
            if not isinstance(x, Mapping):
                named[name] = gradient
            elif not isinstance(gradient, Mapping):
                raise UserError(
                    f"the gradient of {name} is a {type(gradient).__name__}; expected a mapping like {name}"
                )
            else:
                named |= gradient
        return named

    def judge(self, forward: Callable, backward: Callable, tolerance: float = 1e-9, title: str = "") -> Report:
        """Hold a forward and its backward against the definition and its numerical derivatives."""
        outs, gradients, problems = self.run(forward, backward)
        report = Report(title, problems=problems)
        if forward is not self.definition:
            report.rows += [
                _forward_row("out" if len(outs) == 1 else f"out[{number}]", out, right)
                for number, (out, right) in enumerate(zip(outs, self.out, strict=True))
            ]
        for name, gradient in gradients.items():
            if name not in self.arrays and gradient is not None:
                report.problems.append(f"backward gave a gradient for {name}, which is None or not an input")
        for name, x in self.arrays.items():
            rows = []
            for step in STEPS:
                numerical = self.numerical(name, step)
                rows.append(_gradient_row(f"d{name}", tuple(x.shape), gradients.get(name), numerical, tolerance))
                if not rows[-1].problem or math.isnan(rows[-1].error):
                    break
            report.rows.append(rows[0] if rows[-1].problem else rows[-1])
        return report


def _forward_row(name: str, out: Array, right: Array) -> Row:
    a, b = to_host(out).astype(np.float64), to_host(right)
    error = relative(np.linalg.norm(a - b), np.linalg.norm(a), np.linalg.norm(b), 1e-300)
    place = _worst(a - b)
    problem = "" if error <= FORWARD_TOLERANCE else "not what the definition computes"
    return Row(name, a.shape, error, place, float(a[place]), float(b[place]), a.size, problem)


def _gradient_row(name: str, shape: tuple[int, ...], gradient: Any, numerical: Numerical, tolerance: float) -> Row:
    if gradient is None:
        return Row(name, shape, math.nan, problem="None, where a gradient was expected")
    got = tuple(np.shape(gradient))
    if got != shape:
        return Row(name, shape, math.nan, problem=f"has shape {got}")
    flat = np.asarray(to_host(gradient), dtype=np.float64).reshape(-1)
    finite = bool(np.isfinite(flat).all())
    flat = flat if finite else np.full_like(flat, np.nan)
    analytic = flat[numerical.entries]
    # The floor lets rounding pass where both sides are zero but for it: norm(a - n) up to numerical.floor.
    norms = np.linalg.norm(analytic), np.linalg.norm(numerical.values)
    error = relative(np.linalg.norm(analytic - numerical.values), *norms, numerical.floor / tolerance)
    if numerical.direction is not None:
        difference = abs(float(flat @ numerical.direction) - numerical.slope)
        norm = np.linalg.norm(flat)  # what |gradient . direction| is on average
        along = relative(difference, norm, abs(numerical.slope), numerical.slope_floor / tolerance)
        error = along if math.isnan(along) else max(error, along)
    worst = int(np.argmax(np.nan_to_num(np.abs(analytic - numerical.values), nan=math.inf))) if len(analytic) else 0
    place = tuple(int(i) for i in np.unravel_index(numerical.entries[worst], shape)) if len(analytic) else ()
    values = (float(analytic[worst]), float(numerical.values[worst])) if len(analytic) else (math.nan, math.nan)
    problem = "" if error <= tolerance else "WRONG" if finite else "not finite"
    return Row(name, shape, error, place, *values, len(analytic), problem)


def relative(difference: Any, *sizes: Any) -> float:
    """difference / max(sizes); 0 where all is exactly zero, and NaN where a number is."""
    return float(difference / max(np.max(sizes), np.finfo(np.float64).tiny))


def _worst(difference: np.ndarray) -> tuple[int, ...]:
    flat = np.nan_to_num(np.abs(difference), nan=math.inf).reshape(-1)
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(flat)), difference.shape)) if flat.size else ()


# Inputs and outputs


def _call(forward: Callable, inputs: Mapping[str, Any]) -> Any:
    return forward(**inputs)


def call_with_fixed_random_numbers(forward: Callable, inputs: Mapping[str, Any]) -> Any:
    """forward(**inputs), which draws the same numbers each time, from `numpy.random` or Generators among the inputs."""
    state = np.random.get_state()  # noqa: NPY002  what an imported forward may draw from
    np.random.seed(0)  # noqa: NPY002
    try:
        fixed = {name: copy.deepcopy(x) if isinstance(x, np.random.Generator) else x for name, x in inputs.items()}
        return forward(**fixed)
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _named(forward: Callable, inputs: Any) -> dict[str, Any]:
    if isinstance(inputs, Mapping):
        return dict(inputs)
    if not isinstance(inputs, tuple | list):
        raise UserError(f"inputs is a {type(inputs).__name__}; expected forward's arguments as a dict, tuple or list")
    names = [name for name, p in inspect.signature(forward).parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    if len(inputs) > len(names):
        raise UserError(f"{len(inputs)} inputs were given, but forward takes {len(names)} ({', '.join(names)})")
    return dict(zip(names, inputs, strict=False))


def _is_float(x: Any) -> bool:
    return hasattr(x, "dtype") and hasattr(x, "reshape") and x.dtype.kind == "f"


def _is_slot(x: Any) -> bool:
    """Whether backward answers for this input: an array of floats, a mapping of them, or None in the place of one."""
    return x is None or _is_float(x) or isinstance(x, Mapping) and any(map(_is_float, x.values()))


def _own(x: Any) -> Any:
    """A copy of what will change: in float64 what is differentiated, and a Generator. Anything else as it is."""
    if isinstance(x, np.random.Generator):
        return copy.deepcopy(x)
    if isinstance(x, Mapping) and any(map(_is_float, x.values())):
        return {name: _own(value) for name, value in x.items()}
    return array_module(x).ascontiguousarray(x.astype(np.float64)) if _is_float(x) else x


def _arrays(slots: Mapping[str, Any]) -> Iterator[tuple[str, Array]]:
    for name, x in slots.items():
        if isinstance(x, Mapping):
            yield from _arrays({key: value for key, value in x.items() if _is_float(value)})
        elif x is not None:
            yield name, x


def _outputs(result: Any, forward: Callable) -> list[Array]:
    if not isinstance(result, tuple) or len(result) != 2:
        given = f"a tuple of {len(result)}" if isinstance(result, tuple) else f"a {type(result).__name__}"
        raise UserError(f"forward returned {given}; expected two things, out and cache")
    outs = list(result[0]) if isinstance(result[0], tuple) else [result[0]]
    for out in outs:
        if not hasattr(out, "dtype") or out.dtype.kind != "f":
            raise UserError(f"forward's output is {getattr(out, 'dtype', type(out).__name__)}; expected floats")
    return [array_module(out).asarray(out) for out in outs]


def _random_like(out: Array, rng: np.random.Generator) -> Array:
    return array_module(out).asarray(rng.standard_normal(out.shape))


def _same(a: Array, b: Array) -> bool:
    return bool(np.array_equal(to_host(a), to_host(b), equal_nan=True))


def _say(shapes: list[tuple[int, ...]]) -> str:
    return " and ".join(map(str, shapes))

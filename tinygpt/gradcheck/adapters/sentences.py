"""What is wrong with code that is no known layer, in words: by what its gradients are to the right ones."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tinygpt.gradcheck.adapters.functions import Adapted, slots
from tinygpt.gradcheck.adapters.libraries import changed
from tinygpt.gradcheck.differences import FIVE_POINTS
from tinygpt.gradcheck.experiment import Experiment, call_with_fixed_random_numbers
from tinygpt.gradcheck.gradients import Compared
from tinygpt.gradcheck.relations import explain

CASES = 3  # other numbers each, so that nothing is said that is true by chance
ENTRIES = 600  # of all inputs together: more would take long to differentiate
SHORT = 3  # places of the shortest axis, where there are more than so many entries
EXACT = 1e-8  # relative: the derivatives here are good to less than that

Made = tuple[Callable, Callable, Adapted]


def what_is_wrong(make: Callable[[int], Made], seed: int, wrong: Sequence[str]) -> list[str]:
    """Sentences that are true in several cases, drawn anew; none if there is nothing to say, or too much to compute.

    make: forward, backward and inputs from a seed. wrong: the inputs whose gradients are.
    """
    cases = _cases(make, seed)
    found = explain(cases, EXACT, wrong) if cases else []
    if not found and cases and all(case.dout[0].size == len(case.dout) == 1 for case in cases):
        found = explain(_cases(make, seed, dout=1.0), EXACT, wrong)  # a loss, whose gradients are usually those for 1
    return [explanation.says for explanation in found]


def _cases(make: Callable[[int], Made], seed: int, dout: float | None = None) -> list[Compared]:
    """All of them, or none. The first is of the sizes that were given, others are smaller where the code takes that."""
    cases: list[Compared] = []
    for number in range(CASES):
        forward, backward, found = make(seed + number)
        rng = np.random.default_rng([seed, number])
        free = slots(found.inputs, found.constant)
        moved = {**found.inputs, **{name: _moved(x, rng) if number else x for name, x in free.items()}}
        for inputs in _smaller(moved, number):
            if sum(x.size for x in _arrays(inputs)) > ENTRIES:
                continue
            try:
                experiment = Experiment(forward, inputs, found.constant, seed=seed + number, dout=dout)
                _, gradients, _ = experiment.run(forward, backward)
            except Exception:  # of code that takes no other sizes or numbers
                continue
            cases.append(_compared(experiment, gradients))
            break
    return cases if len(cases) == CASES else []


def _compared(experiment: Experiment, gradients: Mapping[str, Any]) -> Compared:
    """A candidate's gradients beside numerical ones."""
    shapes = {name: x.shape for name, x in experiment.arrays.items()}
    jacobians = {name: _jacobian(experiment, x) for name, x in experiment.arrays.items()}

    def right_from(dout: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        above = np.concatenate([np.asarray(d).reshape(-1) for d in dout])
        return {name: (jacobian @ above).reshape(shapes[name]) for name, jacobian in jacobians.items()}

    given = {name: np.asarray(g, np.float64) for name, g in gradients.items() if g is not None and name in jacobians}
    above, (name, shape) = list(experiment.dout), next(iter(shapes.items()))
    title = f"{name} {shape}, seed {experiment.seed}"
    return Compared(
        given, right_from(above), above, experiment.inputs, title, right_from=right_from, out=experiment.out
    )


def _smaller(inputs: Mapping[str, Any], number: int) -> Iterator[Mapping[str, Any]]:
    """The same inputs with shorter axes, for what is true of one size by chance: ways that may fit, and the inputs.

    Axes of one length are shortened together: fewer rows in the second case, and in the third, less of everything. Long
    axes are cut to a few places first, where there is too much to differentiate.
    """
    shapes = [x.shape for x in _arrays(inputs)]
    lengths = sorted({n for shape in shapes for n in shape if n > 2})
    rows = next((shape[0] for shape in shapes), 0)
    first = {n: n for n in lengths}
    if sum(map(math.prod, shapes)) > ENTRIES:
        first = {n: min(n, SHORT + place) for place, n in enumerate(lengths)}
    for shortened in ((set(),), ({rows},), (set(lengths), set(lengths) - {rows}, {rows}))[number]:
        cut = {n: length - (n in shortened) for n, length in first.items()}
        yield {name: _cut(x, cut) for name, x in inputs.items()}
    yield inputs


def _arrays(inputs: Mapping[str, Any]) -> list[np.ndarray]:
    return [x for x in inputs.values() if getattr(x, "ndim", 0)]


def _cut(x: Any, lengths: Mapping[int, int]) -> Any:
    return x[tuple(slice(lengths.get(n, n)) for n in x.shape)] if getattr(x, "ndim", 0) else x


def _moved(x: Any, rng: np.random.Generator) -> Any:
    """Other numbers like these, of the same signs."""
    if isinstance(x, Mapping | tuple | list):
        return changed(x, lambda value: _moved(value, rng))
    return x * rng.uniform(0.8, 1.25, x.shape) if getattr(x, "dtype", np.dtype(int)).kind == "f" else x


def _jacobian(experiment: Experiment, x: np.ndarray) -> np.ndarray:
    """The derivative of every output by every entry of one input, (entries, outputs)."""
    flat, rows = x.reshape(-1), []
    for place, kept in enumerate(flat.tolist()):
        h = 2.0 ** np.round(np.log2(3e-4 * max(1.0, abs(kept)))) if np.isfinite(kept) else 0.0
        row: Any = 0.0
        for k, weight in FIVE_POINTS:
            flat[place] = kept + k * h
            out, _ = call_with_fixed_random_numbers(experiment.definition, experiment.inputs, experiment.seed)[0]
            outs = [np.asarray(o, np.float64).reshape(-1) for o in (out if isinstance(out, tuple) else (out,))]
            row = row + weight * np.concatenate(outs) / (h or np.inf)
        flat[place] = kept
        rows.append(row)
    return np.array(rows)

"""What is wrong with a gradient, in words: which known mistake gives the same numbers, or what else can be said of it.

A candidate for a layer's place is run on the layer's cases beside the definition, for two seeds, and explanations are
tried from the most particular to the most general. One counts only if it gives the candidate's numbers in every case:

1. a mutant of the library, or two of them together;
2. a term of the gradient, as a mutant shows by leaving it out, that has a wrong sign or a wrong factor;
3. for each wrong gradient by itself: one of the above; the right one scaled, negated, zero, with its axes rearranged or
   from a rearranged dout; what a part of the batch contributes; or two mistakes that add up.

If something remains unexplained, the diagnosis says so, names the mutants whose errors point most nearly the same way,
and describes what it sees.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygpt.gradcheck.mutants import mutants
from tinygpt.gradcheck.relations import relation
from tinygpt.gradcheck.report import Diagnosis, Explanation
from tinygpt.gradcheck.runs import SAME, Run, difference, mean_difference, same, titles
from tinygpt.gradcheck.suite import trials
from tinygpt.gradcheck.suspects import wrong_backward


def diagnose(layer: str, candidate: Any, seed: int = 0) -> Diagnosis | None:
    """What is wrong with a candidate for a layer's place; None if it agrees with the definition to six digits.

    layer, candidate: as for `suite.check_layer`. seed: of the cases' numbers and sizes.
    """
    runs = [Run(layer, trial, candidate) for offset in (0, 1) for trial in trials(layer, seed + offset)]
    failed = [run for run in runs if run.raised]
    diagnosis = _diagnose(layer, [run for run in runs if not run.raised])
    if failed:
        diagnosis = diagnosis or Diagnosis([], False)
        diagnosis.certain = False
        diagnosis.remarks += dict.fromkeys(f"{run.trial.title}: {run.raised}" for run in failed)
        diagnosis.remarks += ["the other cases were looked at by themselves"] if len(failed) < len(runs) else []
    return diagnosis


def _diagnose(layer: str, runs: Sequence[Run]) -> Diagnosis | None:
    if any(run.problem for run in runs):
        return _misfit(layer, runs)
    for what in ("out", "gradients"):
        for run in runs:
            for name, array in getattr(run, what).items():
                if not np.isfinite(array).all() and np.isfinite(getattr(run, f"right_{what}")[name]).all():
                    says = f"{name if what == 'out' else f'd{name}'} is not finite in {run.trial.title}"
                    return Diagnosis([Explanation("formula", says)], False)
    if not all(same(run.out, run.right_out) for run in runs):
        return _wrong_forward(layer, runs)
    if all(same(run.gradients, run.right_gradients) for run in runs):
        return None
    return wrong_backward(layer, runs)


def _misfit(layer: str, runs: Sequence[Run]) -> Diagnosis:
    """Gradients of the wrong shape, or none: the same mistake in the library, or a sum or transpose forgotten."""
    for mutant in mutants(layer):
        theirs = [Run(layer, run.trial, mutant.stand_in()) for run in runs]
        if any(run.problem for run in theirs) and not any(run.raised for run in theirs):
            if all(same(a.gradients, b.gradients) for a, b in zip(runs, theirs, strict=True)):
                return Diagnosis([Explanation(mutant.family, mutant.says)], True, [], [(0.0, mutant)])
    run = next(run for run in runs if run.problem)
    found, others = [], []
    if strangers := run.gradients.keys() - run.right_gradients.keys():
        says = "; ".join(
            f"d{name} is to be None where {name} is None"
            if run.inputs.get(name, run) is None
            else f"there is no {name} that could have a gradient"
            for name in sorted(strangers)
        )
        if missing := sorted(run.right_gradients.keys() - run.gradients.keys()):
            says += f"; that of {', '.join(missing)} is missing"
        rest = _diagnose(layer, [other for other in runs if not other.problem])
        if rest is None:
            return Diagnosis([Explanation("formula", says)], True)
        rest.explanations.insert(0, Explanation("formula", says))
        return rest
    names = list(run.right_gradients)
    for a, b in itertools.combinations(names, 2):
        if {a, b} <= run.gradients.keys() and not difference(run.gradients[a], run.right_gradients[b]):
            if difference(run.gradients[b], run.right_gradients[a]) < SAME:
                return Diagnosis([Explanation("layout", f"d{a} and d{b} stand in each other's place")], True)
    for name, right in run.right_gradients.items():
        gradient = run.gradients.get(name, np.zeros(()))
        if gradient.shape == right.shape:
            others += [f"d{name}"] if difference(gradient, right) >= SAME else []
        elif gradient.ndim > 1 and difference(gradient.T, right) < SAME:
            found.append(Explanation("layout", f"d{name} is transposed"))
        else:
            for axes in itertools.chain.from_iterable(itertools.combinations(range(gradient.ndim), n) for n in (1, 2)):
                if difference(gradient.sum(axis=axes), right) < SAME:
                    plural = "axes" if len(axes) > 1 else "axis"
                    which = " and ".join(map(str, axes))
                    found.append(Explanation("axis", f"d{name} is not summed over {plural} {which}"))
                    break
    remarks = [f"{run.trial.title}: {run.problem}"]
    remarks += [f"also wrong: {', '.join(others)}; mend the shapes first"] if others else []
    return Diagnosis(found, bool(found) and not others, remarks)


def _wrong_forward(layer: str, runs: Sequence[Run]) -> Diagnosis:
    ranking = []
    for mutant in (mutant for mutant in mutants(layer) if mutant.family == "forward"):
        outs = [run.results(mutant.stand_in())[0] for run in runs]
        ranking.append((mean_difference([run.out for run in runs], outs), mutant))
    ranking.sort(key=lambda pair: pair[0])
    wrong = [run for run in runs if not same(run.out, run.right_out)]
    right = [run for run in runs if run not in wrong]
    exact = [mutant.says for error, mutant in ranking if error < SAME]
    scaled = relation("forward's output", [(run.out["out"], run.right_out["out"], run) for run in wrong])
    other = scaled.says if scaled else "forward computes another function than the layer's"
    diagnosis = Diagnosis([Explanation("forward", exact[0] if exact else other)], True, [], ranking)
    dropped = all(run.inputs.get("dropout") or run.inputs.get("p") for run in wrong)
    if dropped and any(((run.out["out"] == 0) != (run.right_out["out"] == 0)).any() for run in wrong):
        diagnosis.remarks.append(
            "dropout's mask must be the definition's, made of the bits that backend.random_bits hashes from key, row "
            "and place"
        )
    if right:
        diagnosis.remarks.append(f"forward is wrong only in: {titles(wrong)}")
        if any(run.wrong for run in right):
            diagnosis.remarks.append(f"where it is right, backward is not: {wrong_backward(layer, right)}")
    return diagnosis

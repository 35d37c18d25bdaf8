"""What is wrong with a gradient, in words: which known mistake gives the same numbers, or what else can be said of it.

A candidate for a layer's place is run on the layer's cases beside the definition, for two seeds, and explanations are
tried from the most particular to the most general. One counts only if it gives the candidate's numbers in every case:

1. a mutant of the library, or two of them together;
2. a term of the gradient, as a mutant shows by leaving it out, that has a wrong sign or a wrong factor;
3. for each wrong gradient by itself: one of the above; the right one scaled, negated, zero, with its axes rearranged or
   from a rearranged dout; what a part of the batch contributes; or two mistakes that add up.

What nothing explains is described, with the mutants whose errors point most nearly the same way.
"""

import itertools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from tinygpt.errors import UserError
from tinygpt.gradcheck.edits import StaleEdit
from tinygpt.gradcheck.library import FILES, definition
from tinygpt.gradcheck.mutants import Mutant, mutants
from tinygpt.gradcheck.relations import from_dout, name_factor, relation, scaled
from tinygpt.gradcheck.report import Diagnosis, Explanation
from tinygpt.gradcheck.runs import SAME, Gradients, Run, difference, mean_difference, same, titles
from tinygpt.gradcheck.suite import trials

NEAR = 0.3  # relative: gradients that are further apart have little in common


def diagnose(layer: str, candidate: Any, seed: int = 0) -> Diagnosis | None:
    """What is wrong with a candidate (see `check_layer`); None if it agrees with the definition to six digits."""
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
    return _wrong_backward(layer, runs)


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
        absent, unknown = "d{0} is to be None where {0} is None", "there is no {} that could have a gradient"
        said = [(absent if run.inputs.get(name, "") is None else unknown).format(name) for name in sorted(strangers)]
        if missing := sorted(run.right_gradients.keys() - run.gradients.keys()):
            said.append(f"that of {', '.join(missing)} is missing")
        rest = _diagnose(layer, [other for other in runs if not other.problem]) or Diagnosis([], True)
        rest.explanations.insert(0, Explanation("formula", "; ".join(said)))
        return rest
    for a, b in itertools.combinations(run.right_gradients, 2):
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
                    which = f"axis {axes[0]}" if len(axes) == 1 else f"axes {axes[0]} and {axes[1]}"
                    found.append(Explanation("axis", f"d{name} is not summed over {which}"))
                    break
    remarks = [f"{run.trial.title}: {run.problem}"]
    remarks += [f"also wrong: {', '.join(others)}; mend the shapes first"] if others else []
    return Diagnosis(found, bool(found) and not others, remarks)


def _wrong_forward(layer: str, runs: Sequence[Run]) -> Diagnosis:
    ranking, given = [], [run.out for run in runs]
    for mutant in (mutant for mutant in mutants(layer) if mutant.family == "forward"):
        ranking.append((mean_difference(given, [run.results(mutant.stand_in())[0] for run in runs]), mutant))
    ranking.sort(key=lambda pair: pair[0])
    wrong = [run for run in runs if not same(run.out, run.right_out)]
    right = [run for run in runs if run not in wrong]
    says = [mutant.says for error, mutant in ranking[:1] if error < SAME]
    if related := relation("forward's output", [(run.out["out"], run.right_out["out"], run) for run in wrong]):
        says.append(related.says)
    says.append("forward computes another function than the layer's")
    diagnosis = Diagnosis([Explanation("forward", says[0])], True, [], ranking)
    moved = any(((run.out["out"] == 0) != (run.right_out["out"] == 0)).any() for run in wrong)
    if moved and all(run.drops for run in wrong):
        bits = "the bits that backend.random_bits hashes from key, row and place"
        diagnosis.remarks.append(f"dropout's mask must be the definition's, made of {bits}")
    if right:
        diagnosis.remarks.append(f"forward is wrong only in: {titles(wrong)}")
        if any(run.wrong for run in right):
            diagnosis.remarks.append(f"where it is right, backward is not: {_wrong_backward(layer, right)}")
    return diagnosis


class Suspect(NamedTuple):
    """A mutant, or two together, the gradients it gives in each case, and what it explains them with."""

    mutants: tuple[Mutant, ...]
    gradients: list[Gradients]
    explanations: list[Explanation]


def _wrong_backward(layer: str, runs: Sequence[Run]) -> Diagnosis:
    """What is wrong with a candidate whose forward is right."""
    given = [run.gradients for run in runs]
    layers = (layer, *getattr(FILES[layer], "MADE_OF", ()))  # its own mistakes first
    backwards = [mutant for part in layers for mutant in mutants(part) if mutant.family != "forward"]
    suspects = [suspect for mutant in backwards if (suspect := _suspect(runs, mutant))]
    ranking = sorted(((mean_difference(given, s.gradients), s.mutants[0]) for s in suspects), key=lambda pair: pair[0])
    couples = itertools.combinations((s.mutants[0] for s in suspects if s.mutants[0].layer == layer), 2)
    both = (_suspect(runs, a, b) for a, b in couples if a.source is b.source)
    known: list[Suspect] = []
    for suspect in itertools.chain(suspects, filter(None, both)):
        if all(map(same, given, suspect.gradients)):
            return Diagnosis(suspect.explanations, True, [], ranking)
        known.append(suspect)
    for suspect in suspects:
        if explanation := _factor_of_a_term(suspect.mutants[0], runs, suspect.gradients):
            return Diagnosis([explanation], True, [], ranking)
    return _one_by_one(runs, known, ranking)


def _suspect(runs: Sequence[Run], *mutants: Mutant) -> Suspect | None:
    layer, first = runs[0].layer, mutants[0]
    edits = tuple(edit for mutant in mutants for edit in mutant.edits)
    both = first if len(mutants) == 1 else Mutant(first.layer, "both", "", "", edits, first.source)
    try:
        stand_in = both.stand_in() if first.layer == layer else _with_part(layer, first)
        gradients = [run.results(stand_in)[1] for run in runs]
    except (UserError, ValueError, NameError) as error:  # two edits of the same line, or a gradient that does not fit
        if isinstance(error, StaleEdit) and len(mutants) == 1:
            raise
        return None
    for gradient, run in zip(gradients, runs, strict=True):
        right = run.right_gradients
        if gradient.keys() != right.keys() or any(gradient[name].shape != right[name].shape for name in gradient):
            return None
    part = "" if first.layer == layer else f"in one of its parts, {first.layer}: "
    return Suspect(mutants, gradients, [Explanation(m.family, part + m.says) for m in mutants])


def _with_part(layer: str, mutant: Mutant) -> Any:
    """The definition of a composite with a mutant in the place of one of its parts."""
    original, part = definition(layer), {mutant.layer: mutant.stand_in()}

    def forward(*arguments: Any, ops: Any, **options: Any) -> tuple:
        return original.forward(*arguments, ops=ops.replace(**part), **options)

    return SimpleNamespace(forward=forward, backward=original.backward)


def _factor_of_a_term(mutant: Mutant, runs: Sequence[Run], without: list[Gradients]) -> Explanation | None:
    """The candidate is right but for a factor of the term that a mutant leaves out: right + (factor - 1) * term."""
    if not mutant.term:
        return None
    factors = []
    for run, theirs in zip(runs, without, strict=True):
        error = np.concatenate([(run.gradients[n] - right).reshape(-1) for n, right in run.right_gradients.items()])
        term = np.concatenate([(right - theirs[n]).reshape(-1) for n, right in run.right_gradients.items()])
        if np.linalg.norm(term) < 1e-9 and np.linalg.norm(error) < 1e-9:
            continue  # a case in which the term does not occur
        size = float(term @ term)
        share = float(error @ term) / size if size else 0.0
        if np.linalg.norm(error - share * term) > SAME * max(np.linalg.norm(error), np.linalg.norm(term)):
            return None
        factors.append((1 + share, run))
    if not factors or all(abs(factor - 1) < SAME for factor, _ in factors):
        return None
    family, words = name_factor(factors)
    return Explanation(family, f"{mutant.term} {words}")


def _one_by_one(runs: Sequence[Run], known: list[Suspect], ranking: list[tuple[float, Mutant]]) -> Diagnosis:
    """Each wrong gradient by itself."""
    explanations: dict[Explanation, list[str]] = {}
    unexplained, right = [], []
    for name in dict.fromkeys(name for run in runs for name in run.right_gradients):
        lone = [run.alone(name) for run in runs if name in run.right_gradients]
        if not any(run.wrong for run in lone):
            right.append(f"d{name}")
            continue
        alone = [s._replace(gradients=[{name: g[name]} for g in s.gradients if name in g]) for s in known]
        found = _explain(name, lone, alone)
        for explanation in found:
            explanations.setdefault(explanation, []).append(f"d{name}")
        unexplained += [] if found else [name]
    said = []
    for (family, says), names in explanations.items():
        words = says.replace(",", " ").split()  # which may name these gradients, and none that is right
        speaks_of_them = says.startswith(tuple(names)) and not set(words) & set(right)
        said.append(Explanation(family, says if speaks_of_them else f"{' and '.join(names)}: {says}"))
    remarks = [f"right: {', '.join(right)}"] if right else []
    if not unexplained:
        return Diagnosis(said, True, remarks, ranking)
    wrong = [run for run in runs if run.wrong]
    if len(wrong) < len(runs):
        remarks.append(f"wrong only in: {titles(wrong)}")
    for name in unexplained:
        remarks.append(_describe(name, [run.alone(name) for run in wrong if name in run.right_gradients]))
    if ranking and ranking[0][0] < NEAR:
        error, mutant = ranking[0]
        remarks.append(f"of all known mistakes the nearest, {error:.1%} from these numbers: {mutant.says}")
    single = [suspect for suspect in known if len(suspect.mutants) == 1]
    return Diagnosis(said, False, remarks, ranking, _nearest(runs, single, unexplained))


def _explain(name: str, runs: Sequence[Run], suspects: list[Suspect]) -> list[Explanation]:
    """What accounts for one gradient in every case; nothing if nothing does."""
    for suspect in suspects:
        if all(same(run.gradients, theirs) for run, theirs in zip(runs, suspect.gradients, strict=True)):
            return suspect.explanations
    wrong = [(run.gradients[name], run.right_gradients[name], run) for run in runs if run.wrong]
    if found := relation(f"d{name}", wrong) or from_dout(name, wrong):
        return [found]
    single = [suspect for suspect in suspects if len(suspect.mutants) == 1]
    for suspect in single:
        if explanation := _factor_of_a_term(suspect.mutants[0], runs, suspect.gradients):
            return [explanation]
    for suspect in single:
        theirs = [(run.gradients[name], m[name], run) for run, m in zip(runs, suspect.gradients, strict=True)]
        if factor := scaled(theirs):
            return [*suspect.explanations, Explanation(factor[0], f"d{name} {factor[1]} besides")]
    for a, b in itertools.combinations(single, 2):
        if all(_adds_up(run, m, n) for run, m, n in zip(runs, a.gradients, b.gradients, strict=True)):
            return a.explanations + b.explanations
    return []


def _adds_up(run: Run, a: Gradients, b: Gradients) -> bool:
    """Whether the candidate's error is the sum of two others'."""
    return all(difference(run.gradients[n] - r, a[n] + b[n] - 2 * r) < SAME for n, r in run.right_gradients.items())


def _nearest(runs: Sequence[Run], suspects: list[Suspect], names: list[str]) -> list[Explanation]:
    """The mutant whose error points most nearly the same way, if one does; else what the cases that are right tell."""
    best, nearest = 0.5, []
    for suspect in suspects:
        cosines = []
        for run, theirs in zip(runs, suspect.gradients, strict=True):
            for name in (name for name in names if name in run.right_gradients):
                right = run.right_gradients[name]
                a, b = (run.gradients[name] - right).reshape(-1), (theirs[name] - right).reshape(-1)
                if np.linalg.norm(a) > 1e-9:
                    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
                    cosines.append(float(a @ b) / norms if norms else 0.0)
        if cosines and np.mean(cosines) > best:
            best, nearest = float(np.mean(cosines)), suspect.explanations
    dropping = [run for run in runs if run.drops]
    if dropping and len(dropping) < len(runs) and [run for run in runs if run.wrong] == dropping:
        mask = Explanation("mask", "only the cases with dropout are wrong: look at what is done with the masks")
        return nearest if nearest and nearest[0].family == "mask" else [mask, *nearest]
    return nearest


def _describe(name: str, runs: Sequence[Run]) -> str:
    """What can be said of a gradient that nothing explains, from the first case in which it is wrong."""
    run = next(run for run in runs if run.wrong)
    given, right = run.gradients[name], run.right_gradients[name]
    size = float(np.linalg.norm(given)) / max(float(np.linalg.norm(right)), 1e-300)
    said = [f"relative error {difference(given, right):.2g}, its norm {size:.3g} times the right one's"]
    fits = np.abs(given - right) <= SAME * max(float(np.abs(right).max(initial=0)), 1e-12)
    axes = [fits.all(axis=tuple(other for other in range(given.ndim) if other != axis)) for axis in range(given.ndim)]
    for axis, good in enumerate(axes):
        if good.any():
            said.append(f"right at {np.flatnonzero(good).tolist()} of the {len(good)} places of axis {axis}")
    if fits.any() and not any(good.any() for good in axes):
        said.append(f"right in {fits.sum()} of {fits.size} entries")
    return f"d{name}: " + ", ".join(said)

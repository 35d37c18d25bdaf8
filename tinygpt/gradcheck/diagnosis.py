"""What is wrong with a gradient, in words: which known mistake gives the same numbers, or what else can be said of it.

A candidate for a layer's place is run on the layer's cases beside the definition, for several seeds, and explanations
are tried from the most particular to the most general. One counts only if it gives the candidate's numbers in every
case that it speaks of:

1. a mutant of the library, or two of them together;
2. a term of the gradient, as a mutant shows by leaving it out, that has a wrong sign or a wrong factor;
3. for each wrong gradient by itself: one of the above, a relation to the right one, or two mistakes that add up;
4. for what is left, case by case: one mistake may be in some cases only, and another in the others.

Of what nothing explains it is said where it is wrong, and nothing else.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygpt.gradcheck.factors import Pair
from tinygpt.gradcheck.gradients import SAME, difference, same
from tinygpt.gradcheck.places import where_it_differs, wrong_places
from tinygpt.gradcheck.relations import close, explain, relation, sentence
from tinygpt.gradcheck.report import Diagnosis, Explanation
from tinygpt.gradcheck.rows import right_for_rows
from tinygpt.gradcheck.runs import Run, titles
from tinygpt.gradcheck.shapes import swapped
from tinygpt.gradcheck.suite import trials
from tinygpt.gradcheck.support import split
from tinygpt.gradcheck.suspects import Suspects, forwards

SEEDS = 3  # that an explanation has to hold for


def diagnose(layer: str, candidate: Any, seed: int = 0, forward_alone: bool = False) -> Diagnosis | None:
    """What is wrong with a candidate (see `check_layer`); None if it agrees with the definition to six digits.
    forward_alone: its backward is not asked, such as one that is not written yet.
    """
    runs = [run for offset in range(SEEDS) for run in _runs(layer, candidate, seed + offset, forward_alone)]
    failed = [run for run in runs if run.raised]
    diagnosis = _diagnose(layer, [run for run in runs if not run.raised])
    uncertain = failed or diagnosis and not diagnosis.certain
    if uncertain and not forward_alone and (says := right_for_rows(runs, candidate)):
        return Diagnosis([Explanation("layout", says)], True)
    if failed:
        diagnosis = diagnosis or Diagnosis([], False)
        diagnosis.certain = False
        diagnosis.raised = _raised(failed)
        diagnosis.raised += ["the other cases were looked at by themselves"] if len(failed) < len(runs) else []
    return diagnosis


def _runs(layer: str, candidate: Any, seed: int, forward_alone: bool) -> list[Run]:
    """A candidate on all cases that it has the arguments for."""
    made = list(trials(layer, seed))
    with np.errstate(all="ignore"):  # what overflows is seen in the numbers
        narrow, kept, left_out = (candidate, made, []) if layer == "model" else split(layer, candidate, made)
    kept += [trial for trial in left_out if trial.special]
    return [Run(layer, trial, narrow, forward_alone) for trial in kept]


def _raised(runs: Sequence[Run]) -> list[str]:
    """What was raised, each error once: with other sizes it is the same."""
    said: dict[str, list[Run]] = {}
    for run in runs:
        said.setdefault(re.sub(r"\d+(, ?\d+)*,?", "#", run.raised), []).append(run)
    remarks = []
    for alike in said.values():
        others = len({run.trial.title for run in alike}) - 1
        also = f" (so {'does one' if others == 1 else f'do {others}'} more)" if others else ""
        remarks.append(_in_its_case(alike[0], f"{alike[0].raised}{also}"))
    return remarks


def _in_its_case(run: Run, says: str) -> str:
    """A sentence with the title of the case that it is of, if it has one of its own."""
    return says if run.trial.title == run.layer else f"{run.trial.title}: {says}"


def _diagnose(layer: str, runs: Sequence[Run]) -> Diagnosis | None:
    if any(run.problem for run in runs):
        return _misfit(layer, runs)
    if not all(same(run.out, run.right_out) for run in runs):
        return _wrong_forward(layer, runs)
    if all(same(run.gradients, run.right_gradients) for run in runs):
        return None
    return _wrong_backward(layer, runs)


def _misfit(layer: str, runs: Sequence[Run]) -> Diagnosis:
    """Gradients of the wrong shape, too many or none: that of one mistake of the library, or each by itself."""
    if suspect := Suspects(layer, runs, any_shape=True).exact():
        return Diagnosis(suspect.explanations, True, [], [(0.0, suspect.mutants[0])])
    run = next(run for run in runs if run.problem)
    if strangers := run.gradients.keys() - run.right_gradients.keys():
        absent, unknown = "d{0} is to be None where {0} is None", "there is no {} that could have a gradient"
        said = [(absent if run.inputs.get(name, "") is None else unknown).format(name) for name in sorted(strangers)]
        missing = sorted(run.right_gradients.keys() - run.gradients.keys())
        if missing:
            said.append(f"that of {', '.join(missing)} is missing")
        rest = _diagnose(layer, [other for other in runs if not other.problem]) or Diagnosis([], True)
        if any(_speaks_of(explanation, {name}) for name in missing for explanation in rest.explanations if missing):
            return rest  # they stand in each other's place, which is why
        rest.explanations.insert(0, Explanation("formula", "; ".join(said)))
        return rest
    ill = {n for run in runs for n, g in run.right_gradients.items() if not _fits(run, n, g)}
    found = explain([run.compared for run in runs])
    told = [explanation for explanation in found if _speaks_of(explanation, ill)]
    untold = {name for name in run.misfits if not any(_speaks_of(explanation, {name}) for explanation in told)}
    remarks = [_in_its_case(run, run.says_of(untold))] if untold else []
    failing = [run for run in runs if run.problem]
    remarks += _only_in(failing, runs)
    well = {name for run in runs for name in run.right_gradients if name not in ill}
    swapped_too = {name for name in well for explanation in told if _speaks_of(explanation, {name})}
    others = [run.with_only(*(well - swapped_too)) for run in runs]
    rest = _diagnose(layer, [run for run in others if run.right_gradients]) or Diagnosis([], True)
    return Diagnosis(told + rest.explanations, bool(told) and rest.certain, remarks + rest.remarks)


def _only_in(failing: Sequence[Run], runs: Sequence[Run]) -> list[str]:
    """In which cases there is something wrong, if there are others."""
    some, every = ({run.trial.title for run in of} for of in (failing, runs))
    return [f"wrong only in: {titles(failing)}"] if some < every else []


def _fits(run: Run, name: str, right: np.ndarray) -> bool:
    return name in run.gradients and run.gradients[name].shape == right.shape


def _speaks_of(explanation: Explanation, names: set[str]) -> bool:
    return bool({f"d{name}" for name in names} & set(explanation.says.replace(",", " ").split()))


def _wrong_forward(layer: str, runs: Sequence[Run]) -> Diagnosis:
    ranking = forwards(layer, runs)
    wrong = [run for run in runs if not same(run.out, run.right_out)]
    right = [run for run in runs if run not in wrong]
    diagnosis = Diagnosis([], True, [], ranking)
    if ranking and ranking[0][0] < SAME:
        diagnosis.explanations = [Explanation("forward", ranking[0][1].says)]
    else:
        diagnosis.explanations, diagnosis.remarks = _each_output(layer, wrong)
    moved = any(((run.out["out"] == 0) != (run.right_out["out"] == 0)).any() for run in wrong)
    if moved and all(run.drops for run in wrong) and ranking[0][0] >= SAME:
        bits = "the bits that backend.random_bits hashes from key, row and place"
        diagnosis.remarks.append(f"dropout's mask must be the definition's, made of {bits}")
    if right:
        if not all(" (in " in explanation.says for explanation in diagnosis.explanations):
            few = titles(wrong) if len(wrong) <= len(right) else ""
            diagnosis.remarks.append(
                f"forward is {f'wrong only in: {few}' if few else f'right only in: {titles(right)}'}"
            )
        if rest := _diagnose(layer, right):
            diagnosis.remarks.append(f"where it is right, backward is not: {rest}")
    return diagnosis


def _each_output(layer: str, wrong: Sequence[Run]) -> tuple[list[Explanation], list[str]]:
    """What is wrong with forward's output: the same in all cases, or else a mistake in each."""
    groups: dict[str, list[Run]] = {}
    for run in wrong:
        groups.setdefault(run.trial.title, []).append(run)
    if whole := _of_output(wrong, where=True):
        return [Explanation("forward", f"forward's output {whole}")], []
    finite = [run for run in wrong if run.finite]
    if len(finite) < len(wrong) and finite and (most := _of_output(finite)):
        groups = {"": finite} | {title: runs for title, runs in groups.items() if not all(r.finite for r in runs)}
    said: dict[str, list[str]] = {}
    for title, runs in groups.items():
        some = runs if title else finite
        ranking = forwards(layer, some)
        alike = [mutant for error, mutant in ranking if error < SAME]
        broken = [run for run in some if not run.finite]
        if len(alike) == 1 and not (broken and finite):  # one infinity is like another: elsewhere it is another mistake
            words = alike[0].says
        elif broken:
            words = f"out is not finite{_where(broken)}"
        else:
            words = f"forward's output {most}" if not title else f"forward's output {_of_output(some) or ''}"
        if words.strip() != "forward's output":
            said.setdefault(words, []).extend([title] if title else dict.fromkeys(r.trial.title for r in finite))
    every = {run.trial.title for run in wrong}
    says = [words + ("" if set(where) == every else f" (in {'; '.join(where)})") for words, where in said.items()]
    covered = {title for where in said.values() for title in where}
    found = [Explanation("forward", words) for words in says]
    if covered < every:
        rest = f" (in {'; '.join(title for title in groups if title and title not in covered)})" if covered else ""
        found.append(Explanation("forward", f"forward computes another function than the layer's{rest}"))
    return found, []


def _of_output(runs: Sequence[Run], where: bool = False) -> str:
    """Words for what forward's first output is to the right one in all of these cases, or where it differs."""
    pairs = [Pair(run.out["out"], run.right_out["out"], run.compared) for run in runs]
    if any(not np.isfinite(pair.given).all() or not np.isfinite(pair.right).all() for pair in pairs):
        return ""
    found = relation(pairs) or close(pairs) or (where_it_differs(pairs) if where else None)
    return found[1] if found else ""


def _where(runs: Sequence[Run]) -> str:
    """Which places of forward's output are not finite, if there is a word for it."""
    finite = [(run, np.isfinite(run.out["out"]).astype(float)) for run in runs]
    found = where_it_differs([Pair(places, np.ones_like(places), run.compared) for run, places in finite])
    return found[1].removeprefix("is wrong only") if found else ""


def _wrong_backward(layer: str, runs: Sequence[Run]) -> Diagnosis:
    """What is wrong with a candidate whose forward is right."""
    suspects = Suspects(layer, runs)
    if suspect := suspects.exact() or suspects.pair():
        return Diagnosis(suspect.explanations, True, [], suspects.ranking())
    if explanation := suspects.term():
        return Diagnosis([explanation], True, [], suspects.ranking())
    names = list(dict.fromkeys(name for run in runs for name in run.right_gradients))
    wrong = {name for name in names for run in runs if name in run.right_gradients and run.with_only(name).wrong}
    said: dict[Explanation, list[str]] = {}
    unknown, complete = list[str](), True
    found = _swapped(runs)
    for name in names:
        if name not in wrong or any(_speaks_of(explanation, {name}) for explanation in found):
            continue
        explanations, certain = suspects.alone(name)
        for explanation in explanations:
            said.setdefault(explanation, []).append(f"d{name}")
        unknown += [] if explanations else [name]
        complete &= certain
    right = [f"d{name}" for name in names if name not in wrong]
    failing = [run for run in runs if run.wrong]
    right = [name for name in right if any(name[1:] in run.right_gradients for run in failing)]  # not merely absent
    found += [Explanation(e.family, _of_these(e.says, names, right)) for e, names in said.items()]
    remarks = [f"right: {', '.join(right)}"] if right else []
    if unknown:
        remarks.insert(0, f"no known mistake explains {'the rest' if found else 'these numbers'}")
    remarks += _only_in(failing, runs) if not complete else []
    for name in unknown:
        remarks.append(_describe(name, [run for run in failing if name in run.right_gradients]))
    return Diagnosis(found, complete, remarks, suspects.ranking())


def _swapped(runs: Sequence[Run]) -> list[Explanation]:
    return [explanation for _, explanation in swapped([run.compared for run in runs])]


def _of_these(says: str, names: list[str], right: list[str]) -> str:
    """An explanation with the gradients that it is of, none of which is right: it may name them itself."""
    if says.startswith(("is ", "has ", "lacks ", "does ", "multiplies ", "comes ", "keeps ", "agrees ")):
        return sentence(names, says)
    words = set(says.replace(",", " ").split())
    return says if says.startswith(tuple(names)) and not words & set(right) else f"{' and '.join(names)}: {says}"


def _describe(name: str, runs: Sequence[Run]) -> str:
    """What can be said of a gradient that nothing explains, from the first case in which it is wrong."""
    run = next(run for run in runs if run.with_only(name).wrong)
    given, right = run.gradients[name], run.right_gradients[name]
    size = float(np.linalg.norm(given)) / max(float(np.linalg.norm(right)), 1e-300)
    said = [f"relative error {difference(given, right):.2g}, its norm {size:.3g} times the right one's"]
    fits = ~wrong_places(Pair(given, right, run.compared))
    axes = [fits.all(axis=tuple(other for other in range(given.ndim) if other != axis)) for axis in range(given.ndim)]
    for axis, good in enumerate(axes):
        if good.any():
            said.append(f"right at {np.flatnonzero(good).tolist()} of the {good.size} places of axis {axis}")
    if fits.any() and not any(good.any() for good in axes):
        said.append(f"right in {fits.sum()} of {fits.size} entries")
    return f"d{name} in {run.trial.title}: {', '.join(said)}"

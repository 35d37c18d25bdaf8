"""A wrong backward: which known mistakes give its numbers, all of them or each gradient's, and what else they are."""

import itertools
from collections.abc import Iterator, Sequence
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

NEAR = 0.3  # relative: gradients that are further apart have little in common


class Suspect(NamedTuple):
    """A mutant, or two together, and the gradients it gives in each case."""

    mutants: tuple[Mutant, ...]
    gradients: list[Gradients]

    def explanations(self, layer: str) -> list[Explanation]:
        return [
            Explanation(m.family, m.says if m.layer == layer else f"in one of its parts, {m.layer}: {m.says}")
            for m in self.mutants
        ]


def wrong_backward(layer: str, runs: Sequence[Run]) -> Diagnosis:
    """What is wrong with a candidate whose forward is right."""
    given = [run.gradients for run in runs]
    layers = (layer, *getattr(FILES[layer], "MADE_OF", ()))  # its own mistakes first
    backwards = [mutant for part in layers for mutant in mutants(part) if mutant.family != "forward"]
    suspects = [suspect for mutant in backwards if (suspect := _suspect(runs, mutant))]
    ranking = sorted(((mean_difference(given, s.gradients), s.mutants[0]) for s in suspects), key=lambda pair: pair[0])
    pairs: list[Suspect] = []
    for suspect in itertools.chain(suspects, _pairs(runs, [s for s in suspects if s.mutants[0].layer == layer])):
        if all(map(same, given, suspect.gradients)):
            return Diagnosis(suspect.explanations(layer), True, [], ranking)
        if len(suspect.mutants) == 2:
            pairs.append(suspect)
    for suspect in suspects:
        if explanation := _factor_of_a_term(suspect.mutants[0], runs, suspect.gradients):
            return Diagnosis([explanation], True, [], ranking)
    return _one_by_one(layer, runs, suspects, pairs, ranking)


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
    return Suspect(mutants, gradients)


def _with_part(layer: str, mutant: Mutant) -> Any:
    """The definition of a composite with a mutant in the place of one of its parts."""
    original, part = definition(layer), {mutant.layer: mutant.stand_in()}

    def forward(*arguments: Any, ops: Any, **options: Any) -> tuple:
        return original.forward(*arguments, ops=ops.replace(**part), **options)

    return SimpleNamespace(forward=forward, backward=original.backward)


def _pairs(runs: Sequence[Run], suspects: list[Suspect]) -> Iterator[Suspect]:
    for a, b in itertools.combinations(suspects, 2):
        if a.mutants[0].source is b.mutants[0].source and (suspect := _suspect(runs, *a.mutants, *b.mutants)):
            yield suspect


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


def _one_by_one(
    layer: str, runs: Sequence[Run], suspects: list[Suspect], pairs: list[Suspect], ranking: list[tuple[float, Mutant]]
) -> Diagnosis:
    """Each wrong gradient by itself."""
    explanations: dict[Explanation, list[str]] = {}
    unexplained, right = [], []
    for name in dict.fromkeys(name for run in runs for name in run.right_gradients):
        lone = [run.alone(name) for run in runs if name in run.right_gradients]
        if not any(run.wrong for run in lone):
            right.append(f"d{name}")
            continue
        alone = [Suspect(s.mutants, [{name: g[name]} for g in s.gradients if name in g]) for s in (*suspects, *pairs)]
        found = _explain(layer, name, lone, alone)
        for explanation in found:
            explanations.setdefault(explanation, []).append(f"d{name}")
        if not found:
            unexplained.append(name)
    said = [
        Explanation(e.family, e.says if _speaks_of(e.says, names, right) else f"{' and '.join(names)}: {e.says}")
        for e, names in explanations.items()
    ]
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
    return Diagnosis(said, False, remarks, ranking, _nearest(layer, runs, suspects, unexplained))


def _speaks_of(says: str, names: list[str], right: list[str]) -> bool:
    """Whether words that were found for several gradients name these, and none that is right."""
    words = says.replace(",", " ").split()
    return says.startswith(tuple(names)) and not set(words) & set(right)


def _explain(layer: str, name: str, runs: Sequence[Run], suspects: list[Suspect]) -> list[Explanation]:
    """What accounts for one gradient in every case; nothing if nothing does."""
    for suspect in suspects:
        if all(same(run.gradients, theirs) for run, theirs in zip(runs, suspect.gradients, strict=True)):
            return suspect.explanations(layer)
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
            return [*suspect.explanations(layer), Explanation(factor[0], f"d{name} {factor[1]} besides")]
    for a, b in itertools.combinations(single, 2):
        if all(_adds_up(run, m, n) for run, m, n in zip(runs, a.gradients, b.gradients, strict=True)):
            return a.explanations(layer) + b.explanations(layer)
    return []


def _adds_up(run: Run, a: Gradients, b: Gradients) -> bool:
    """Whether the candidate's error is the sum of two others'."""
    return all(difference(run.gradients[n] - r, a[n] + b[n] - 2 * r) < SAME for n, r in run.right_gradients.items())


def _nearest(layer: str, runs: Sequence[Run], suspects: list[Suspect], names: list[str]) -> list[Explanation]:
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
            best, nearest = float(np.mean(cosines)), suspect.explanations(layer)
    for option in ("dropout", "p"):
        dropping = [run for run in runs if run.inputs.get(option)]
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

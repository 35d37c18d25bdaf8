"""The library's mistakes held against a candidate: which of them give its numbers, whole or gradient by gradient."""

import functools
import itertools
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from tinygpt.errors import UserError
from tinygpt.gradcheck.edits import StaleEdit
from tinygpt.gradcheck.factors import UNNAMED, Pair, name_factor, scaled
from tinygpt.gradcheck.gradients import SAME, Gradients, difference, told_by
from tinygpt.gradcheck.library import FILES, definition
from tinygpt.gradcheck.mutants import Mutant, mutants
from tinygpt.gradcheck.places import where_it_differs
from tinygpt.gradcheck.relations import close, from_dout, relation
from tinygpt.gradcheck.report import Explanation
from tinygpt.gradcheck.runs import Run, mean_difference


class Suspect(NamedTuple):
    """A mutant, or two together, the gradients it gives in each case, and what it explains them with."""

    mutants: tuple[Mutant, ...]
    gradients: list[Gradients]
    explanations: list[Explanation]


def forwards(layer: str, runs: Sequence[Run]) -> list[tuple[float, Mutant]]:
    """The mistakes of a layer's forward, each after its relative error to the candidate's outputs, the likest first;
    two together only where no one of them gives the candidate's.
    """
    single = [mutant for mutant in mutants(layer) if mutant.family == "forward"]
    ranking = sorted(((_forward_error(runs, mutant), mutant) for mutant in single), key=lambda pair: pair[0])
    if ranking and ranking[0][0] >= SAME:
        for a, b in itertools.combinations(single, 2):
            both = Mutant(layer, "both", "forward", f"{a.says}\n{b.says}", a.edits + b.edits, a.source)
            if a.source is b.source and _forward_error(runs[:1], both) < SAME and _forward_error(runs, both) < SAME:
                return [(0.0, both), *ranking]
    return ranking


def _forward_error(runs: Sequence[Run], mutant: Mutant) -> float:
    """The relative error of a mistake's outputs to the candidate's, 0 if it accounts for them, infinite where it cannot
    be run.
    """
    try:
        outs = [run.results(mutant.stand_in())[0] for run in runs]
    except (UserError, ValueError, NameError, TypeError, RecursionError) as error:  # two edits that clash
        if isinstance(error, StaleEdit) and mutant.name != "both":
            raise
        return np.inf
    if all(told_by(run.out, out, run.right_out) for run, out in zip(runs, outs, strict=True)):
        return 0.0
    return max(SAME, mean_difference([run.out for run in runs], outs))


class Suspects:
    """The mistakes of a layer's backward, and of what it is made of, in a candidate's cases."""

    def __init__(self, layer: str, runs: Sequence[Run], any_shape: bool = False):
        self.layer, self.runs, self.any_shape = layer, runs, any_shape
        layers = (layer, *getattr(FILES[layer], "MADE_OF", ()))  # its own mistakes first
        self.mutants = [mutant for part in layers for mutant in mutants(part) if mutant.family != "forward"]

    @functools.cached_property
    def single(self) -> list[Suspect]:
        return [suspect for mutant in self.mutants if (suspect := self._suspect(self.runs, mutant))]

    @functools.cached_property
    def pairs(self) -> list[Suspect]:
        """Two mistakes together, where they give one gradient at least that neither gives alone."""
        wrong = next((run for run in self.runs if run.wrong), None)
        if wrong is None:
            return []
        found = []
        for a, b in itertools.combinations((s.mutants[0] for s in self.single if s.mutants[0].layer == self.layer), 2):
            if a.source is b.source and (first := self._suspect([wrong], a, b)) and self._hits(wrong, first):
                found.append(self._suspect(self.runs, a, b))
        return [suspect for suspect in found if suspect]

    def _hits(self, run: Run, suspect: Suspect) -> bool:
        (theirs,) = suspect.gradients
        sides = ((run.gradients[name], theirs[name], right) for name, right in run.right_gradients.items())
        return any(difference(given, g) < SAME <= difference(given, right) for given, g, right in sides)

    def ranking(self) -> list[tuple[float, Mutant]]:
        """The mistakes, each after its relative error to the candidate's gradients, the likest first."""
        given = [run.gradients for run in self.runs]
        return sorted(
            ((mean_difference(given, s.gradients), s.mutants[0]) for s in self.single), key=lambda pair: pair[0]
        )

    def exact(self) -> Suspect | None:
        """The one mistake that gives all of the candidate's gradients."""
        return next(self._matching(self.single), None)

    def pair(self) -> Suspect | None:
        """Two that do together."""
        return next(self._matching(self.pairs), None)

    def _matching(self, suspects: Sequence[Suspect]) -> Iterator[Suspect]:
        sides = [(run.gradients, run.right_gradients) for run in self.runs]
        for suspect in suspects:
            if all(told_by(given, g, right) for (given, right), g in zip(sides, suspect.gradients, strict=True)):
                yield suspect

    def term(self) -> Explanation | None:
        """A term with a wrong factor that gives them all."""
        return next(filter(None, (_factor_of_a_term(s.mutants[0], self.runs, s.gradients) for s in self.single)), None)

    def alone(self, name: str) -> tuple[list[Explanation], bool]:
        """What accounts for one gradient, in every case or else case by case, and whether all its cases are covered."""
        places = [n for n, run in enumerate(self.runs) if name in run.right_gradients]
        if found := self._explain(name, places):
            return found, True
        groups: dict[str, list[int]] = {}
        for n in places:
            groups.setdefault(self.runs[n].trial.title, []).append(n)
        wrong = {t: ns for t, ns in groups.items() if any(self.runs[n].with_only(name).wrong for n in ns)}
        said: dict[tuple[Explanation, ...], list[str]] = {}
        for title, ns in wrong.items() if len(wrong) > 1 else ():
            if found := self._explain(name, ns, unique=True):
                said.setdefault(tuple(found), []).append(title)
        if wrong and sum(map(len, said.values())) == len(wrong):  # or some would be so by chance
            return [
                Explanation(e.family, f"{e.says} (in {'; '.join(where)})") for es, where in said.items() for e in es
            ], True
        pairs = self._pairs(name, places)
        broken = [pair for pair in pairs if not np.isfinite(pair.given).all()]
        where = where_it_differs(broken or pairs)
        last = where or close(pairs)
        if broken:
            titles = "; ".join(dict.fromkeys(pair.case.title for pair in broken))
            last = "formula", "is not finite" + (where[1].removeprefix("is wrong only") if where else f" in {titles}")
        return [Explanation(*last)] if last else [], False

    def _pairs(self, name: str, places: Sequence[int]) -> list[Pair]:
        """One gradient beside the right one, wherever it is wrong."""
        runs = [self.runs[n].with_only(name) for n in places]
        return [Pair(run.gradients[name], run.right_gradients[name], run.compared) for run in runs if run.wrong]

    def _explain(self, name: str, places: Sequence[int], unique: bool = False) -> list[Explanation]:
        """What accounts for one gradient in some cases; nothing if nothing does. unique: nothing if two mistakes do."""
        runs = [self.runs[n].with_only(name) for n in places]

        def of(suspects: Sequence[Suspect]) -> list[Suspect]:
            return [s._replace(gradients=[{name: s.gradients[n][name]} for n in places]) for s in suspects]

        def fit(suspect: Suspect) -> bool:
            both = zip(runs, suspect.gradients, strict=True)
            return all(told_by(run.gradients, theirs, run.right_gradients) for run, theirs in both)

        single = of([suspect for suspect in self.single if self._may_be(name, suspect)])
        alike = [suspect for suspect in single if fit(suspect)]
        if alike and (len(alike) == 1 or not unique):
            return alike[0].explanations
        if not unique and (both := next(filter(fit, of([s for s in self.pairs if self._may_be(name, s)])), None)):
            return both.explanations
        wrong = self._pairs(name, places)
        if not all(np.isfinite(pair.given).all() for pair in wrong):
            return []
        found = relation(wrong) or from_dout(name, wrong)
        if found and not (unique and found[1].startswith(UNNAMED)):
            return [Explanation(*found)]
        for suspect in single:
            explanation = _factor_of_a_term(suspect.mutants[0], runs, suspect.gradients)
            if explanation and not (unique and UNNAMED in explanation.says):
                return [explanation]
        if not unique:
            for suspect in single:
                theirs = [Pair(run.gradients[name], m[name], run.compared)
                          for run, m in zip(runs, suspect.gradients, strict=True)]  # fmt: skip
                if factor := scaled(theirs):
                    return [*suspect.explanations, Explanation(factor[0], f"d{name} {factor[1]} besides")]
            for a, b in itertools.combinations(single, 2):
                if all(_adds_up(run, m, n) for run, m, n in zip(runs, a.gradients, b.gradients, strict=True)):
                    return a.explanations + b.explanations
        return []

    def _may_be(self, name: str, suspect: Suspect) -> bool:
        """Whether no other gradient is right that a mistake would have made wrong."""
        for other in {name for run in self.runs for name in run.right_gradients} - {name}:
            both = zip(self.runs, suspect.gradients, strict=True)
            sides = [(r.gradients[other], r.right_gradients[other], g[other]) for r, g in both if other in g]
            if all(difference(given, right) < SAME for given, right, _ in sides):
                if any(difference(theirs, right) >= SAME for _, right, theirs in sides):
                    return False
        return True

    def _suspect(self, runs: Sequence[Run], *several: Mutant) -> Suspect | None:
        first = several[0]
        edits = tuple(edit for mutant in several for edit in mutant.edits)
        both = first if len(several) == 1 else Mutant(first.layer, "both", "", "", edits, first.source)
        try:
            stand_in = both.stand_in() if first.layer == self.layer else _with_part(self.layer, first)
            gradients = [run.results(stand_in)[1] for run in runs]
        except (
            UserError,
            ValueError,
            NameError,
            IndexError,
        ) as error:  # two edits of one line, or a gradient that does not fit
            if isinstance(error, StaleEdit) and len(several) == 1:
                raise
            return None
        if not self.any_shape:  # a case may be looked at with some of its gradients
            looked_at = [run.right_gradients.keys() | run.gradients.keys() for run in runs]
            gradients = [{n: g[n] for n in g if n in names} for g, names in zip(gradients, looked_at, strict=True)]
        for gradient, run in zip(gradients, runs, strict=True):
            right = run.right_gradients
            if not self.any_shape and (
                gradient.keys() != right.keys() or any(gradient[n].shape != right[n].shape for n in gradient)
            ):
                return None
        part = "" if first.layer == self.layer else f"in one of its parts, {first.layer}: "
        return Suspect(several, gradients, [Explanation(m.family, part + m.says) for m in several])


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
        if not np.linalg.norm(error - share * term) <= SAME * max(np.linalg.norm(error), np.linalg.norm(term)):
            return None
        factors.append((1 + share, run.compared))
    if not factors or all(abs(factor - 1) < SAME for factor, _ in factors):
        return None
    family, words = name_factor(factors)
    return Explanation(family, f"{mutant.term} {words}")


def _adds_up(run: Run, a: Gradients, b: Gradients) -> bool:
    """Whether the candidate's error is the sum of two others'."""
    return all(difference(run.gradients[n] - r, a[n] + b[n] - 2 * r) < SAME for n, r in run.right_gradients.items())

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

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from tinygpt.backend import to_host
from tinygpt.errors import UserError
from tinygpt.gradcheck.mutants import MUTANTS, Mutant
from tinygpt.gradcheck.suite import Trial, definition, trials

SAME = 1e-6  # relative: beyond any rounding in float64, below any mistake
NEAR = 0.3  # relative: gradients that are further apart have little in common
POWERS = {1: "{}", -1: "1/{}", 0.5: "sqrt({})", -0.5: "1/sqrt({})", 2: "{} squared", -2: "1/{} squared"}

# The letters of the axes of what a layer is given, for naming a stray factor; a layer that is not here: x is (B, T, C).
LETTERS: dict[str, dict[str, Sequence[str]]] = {
    "embedding": {"idx": "BT", "w": "VC"},
    "linear": {"x": "BTI", "w": "IO"},
    "softmax": {"x": "BTV"},
    "attention": {"qkv": ("B", "T", "3C")},
    "cross_entropy": {"logits": "BTV"},
    "lm_head_loss": {"x": "NC", "w": "VC"},
    "model": {},
}
PARTS = {  # a composite's mistake may be one of its parts'
    "mlp": ("linear", "gelu"),
    "block": ("layernorm", "attention", "linear", "dropout", "mlp"),
    "lm_head_loss": ("linear", "cross_entropy"),
}

Gradients = Mapping[str, np.ndarray]


class Explanation(NamedTuple):
    """One thing that is wrong. family: one of `mutants.FAMILIES`."""

    family: str
    says: str


@dataclass
class Diagnosis:
    """What is wrong with a candidate. Printed, it is sentences.

    explanations: what is wrong for certain; if `certain`, they account for every number. nearest: guesses at the rest,
    the best first. ranking: the library's mutants from the most to the least alike, each with the relative error of its
    gradients to these.
    """

    explanations: list[Explanation]
    certain: bool
    remarks: list[str] = field(default_factory=list)
    ranking: list[tuple[float, Mutant]] = field(default_factory=list)
    nearest: list[Explanation] = field(default_factory=list)

    @property
    def first(self) -> Explanation | None:
        """The first thing to look at: an explanation, else the nearest guess, else None."""
        return next(iter(self.explanations + self.nearest), None)

    def __str__(self) -> str:
        lines = [explanation.says for explanation in self.explanations]
        if not self.certain and self.ranking:  # it was looked for
            lines.append("no known mistake explains " + ("the rest" if lines else "these numbers"))
            lines += [f"it looks most like this one: {explanation.says}" for explanation in self.nearest]
        return "\n".join(lines + self.remarks)


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
        first = dict.fromkeys(f"{run.trial.title}: {run.raised}" for run in failed)
        diagnosis.remarks += [
            *first,
            *([] if len(failed) == len(runs) else ["the other cases were looked at by themselves"]),
        ]
    return diagnosis


def _diagnose(layer: str, runs: list["Run"]) -> Diagnosis | None:
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


class Run:
    """One case: what the candidate gives, beside what the definition gives."""

    def __init__(self, layer: str, trial: Trial, candidate: Any):
        self.layer, self.trial, self.inputs = layer, trial, trial.experiment.inputs
        self.dout = [to_host(d) for d in trial.experiment.dout]
        self.right_out, self.right_gradients = self.of(definition(layer))
        self.out, self.gradients = self.right_out, self.right_gradients
        self.problem = self.raised = ""  # gradients of another shape; an exception
        try:
            self.out, self.gradients = self.of(candidate)
        except (Exception, SystemExit) as error:  # whatever a candidate raises
            self.raised = " ".join(str(error).split()) if isinstance(error, UserError) else raised(error)
            return
        for name, right in self.right_gradients.items():
            shape = self.gradients[name].shape if name in self.gradients else None
            if shape != right.shape:
                self.problem = f"d{name} is missing"
                if shape is not None:
                    self.problem = f"d{name} has shape {shape}, where {right.shape} belongs"
        if self.gradients.keys() - self.right_gradients.keys():
            self.problem = "there are gradients too many"

    def of(self, candidate: Any, dout: Sequence[np.ndarray] | None = None) -> tuple[Gradients, Gradients]:
        """Outputs and gradients of any candidate, attention's as the three they are; dout: another than the case's."""
        forward, backward = self.trial.functions(candidate)
        outs, gradients, _ = self.trial.experiment.run(forward, backward, dout)
        named = {name: np.asarray(to_host(g), dtype=np.float64) for name, g in gradients.items() if g is not None}
        if "qkv" in named and named["qkv"].shape == self.inputs["qkv"].shape:
            B, T, width = named["qkv"].shape
            heads = named.pop("qkv").reshape(B, T, 3, self.inputs["n_head"], -1)
            named |= {part: heads[:, :, number].transpose(0, 2, 1, 3) for number, part in enumerate("qkv")}
        return {f"out {number}" if number else "out": to_host(out) for number, out in enumerate(outs)}, named

    def alone(self, name: str) -> "Run":
        """This case with one of its gradients."""
        lone = copy.copy(self)
        lone.right_gradients, lone.gradients = {name: self.right_gradients[name]}, {name: self.gradients[name]}
        return lone

    @property
    def wrong(self) -> bool:
        return not same(self.gradients, self.right_gradients)

    def sizes(self) -> dict[str, float]:
        """What a stray factor may be: the sizes of this case by their letters, and their like."""
        sizes: dict[str, float] = {}
        for name, letters in LETTERS.get(self.layer, {"x": "BTC"}).items():
            shape = np.shape(self.inputs[name])
            sizes |= {letter: float(n) for letter, n in zip(letters[len(letters) - len(shape) :], shape, strict=True)}
            if name in ("x", "idx", "qkv", "logits"):
                sizes["the number of rows"] = float(np.prod(shape if name == "idx" else shape[:-1]))
        if "n_head" in self.inputs:
            sizes["C"] = sizes.get("C", sizes.get("3C", 0) / 3)
            sizes |= {"D": sizes["C"] / self.inputs["n_head"], "H": float(self.inputs["n_head"])}
        for p in (self.inputs[name] for name in ("p", "dropout") if name in self.inputs):
            sizes |= {"1 - p": 1 - p}
        if "targets" in self.inputs:
            counted = to_host(self.inputs["targets"]) >= 0
            sizes |= {"the number of targets that count": max(1.0, float(counted.sum()))}
            sizes["the denominator"] = float(self.inputs.get("denominator") or max(1.0, float(counted.sum())))
        if self.dout[0].ndim == 0:
            sizes["dout"] = float(self.dout[0])
        return sizes


def raised(error: BaseException) -> str:
    """What was raised, in one line."""
    message = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
    return f"raised {type(error).__name__}" + (f": {message}" if message else "")


def same(a: Gradients, b: Gradients) -> bool:
    """Whether two sets of gradients hold the same numbers."""
    return a.keys() == b.keys() and all(difference(a[name], b[name]) < SAME for name in a)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """norm(a - b) / max(norm(a), norm(b)), 0 where both are rounding; 1 for different shapes, infinite for a NaN."""
    if a.shape != b.shape:
        return 1.0
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return 0.0 if np.array_equal(a, b) else np.inf
    error = float(np.linalg.norm(a - b))
    return 0.0 if error < 1e-12 else error / float(max(np.linalg.norm(a), np.linalg.norm(b)))


# Forward, and what does not fit


def _misfit(layer: str, runs: list[Run]) -> Diagnosis:
    """Gradients of the wrong shape, or none: the same mistake in the library, or a sum or transpose forgotten."""
    for mutant in MUTANTS:
        if mutant.layer == layer:
            theirs = [Run(layer, run.trial, mutant.stand_in()) for run in runs]
            if (
                any(run.problem for run in theirs)
                and not any(run.raised for run in theirs)
                and all(same(a.gradients, b.gradients) for a, b in zip(runs, theirs, strict=True))
            ):
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


def _wrong_forward(layer: str, runs: list[Run]) -> Diagnosis:
    ranking = []
    for mutant in MUTANTS:
        if mutant.layer == layer and mutant.family == "forward":
            outs = [run.of(mutant.stand_in())[0] for run in runs]
            ranking.append((_mean_difference([run.out for run in runs], outs), mutant))
    ranking.sort(key=lambda pair: pair[0])
    wrong = [run for run in runs if not same(run.out, run.right_out)]
    right = [run for run in runs if run not in wrong]
    exact = [mutant.says for error, mutant in ranking if error < SAME]
    relation = _relation("forward's output", [(run.out["out"], run.right_out["out"], run) for run in wrong])
    other = relation.says if relation else "forward computes another function than the layer's"
    diagnosis = Diagnosis([Explanation("forward", exact[0] if exact else other)], True, [], ranking)
    dropped = all(run.inputs.get("dropout") or run.inputs.get("p") for run in wrong)
    if dropped and any(((run.out["out"] == 0) != (run.right_out["out"] == 0)).any() for run in wrong):
        diagnosis.remarks.append(
            "dropout's mask must be the definition's, made of the bits that backend.random_bits hashes from key, row "
            "and place"
        )
    if right:
        diagnosis.remarks.append(f"forward is wrong only in: {_titles(wrong)}")
        if any(run.wrong for run in right):
            diagnosis.remarks.append(f"where it is right, backward is not: {_wrong_backward(layer, right)}")
    return diagnosis


def _mean_difference(a: list[Gradients], b: list[Gradients]) -> float:
    return float(np.mean([difference(x[name], y[name]) for x, y in zip(a, b, strict=True) for name in x]))


def _titles(runs: list[Run]) -> str:
    return "; ".join(dict.fromkeys(run.trial.title for run in runs))


# Backward


class Suspect(NamedTuple):
    """A mutant, or two together, and the gradients it gives in each case."""

    mutants: tuple[Mutant, ...]
    gradients: list[Gradients]

    def explanations(self, layer: str) -> list[Explanation]:
        return [
            Explanation(m.family, m.says if m.layer == layer else f"in one of its parts, {m.layer}: {m.says}")
            for m in self.mutants
        ]


def _wrong_backward(layer: str, runs: list[Run]) -> Diagnosis:
    given = [run.gradients for run in runs]
    layers = (layer, *PARTS.get(layer, ()))  # its own mistakes first
    mutants = [m for part in layers for m in MUTANTS if m.layer == part and m.family != "forward"]
    suspects = [suspect for mutant in mutants if (suspect := _suspect(runs, mutant))]
    ranking = sorted(((_mean_difference(given, s.gradients), s.mutants[0]) for s in suspects), key=lambda pair: pair[0])
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


def _suspect(runs: list[Run], *mutants: Mutant) -> Suspect | None:
    layer, first = runs[0].layer, mutants[0]
    edits = tuple(edit for mutant in mutants for edit in mutant.edits)
    both = first if len(mutants) == 1 else Mutant(first.layer, "both", "", "", edits, first.source)
    try:
        stand_in = both.stand_in() if first.layer == layer else _with_part(layer, first)
        gradients = [run.of(stand_in)[1] for run in runs]
    except (UserError, ValueError, NameError):  # two edits of the same line, or a gradient that does not fit
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


def _pairs(runs: list[Run], suspects: list[Suspect]) -> Iterator[Suspect]:
    for a, b in itertools.combinations(suspects, 2):
        if a.mutants[0].source == b.mutants[0].source and (suspect := _suspect(runs, *a.mutants, *b.mutants)):
            yield suspect


def _factor_of_a_term(mutant: Mutant, runs: list[Run], without: list[Gradients]) -> Explanation | None:
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
    family, words = _name_factor(factors)
    return Explanation(family, f"{mutant.term} {words}")


def _name_factor(factors: list[tuple[float, Run]]) -> tuple[str, str]:
    """The family and the words for a factor that should be 1, from its value in each case."""
    values = np.array([factor for factor, _ in factors])
    if np.allclose(values, 0, atol=SAME):
        return "term", "is left out"
    if np.allclose(values, -1, rtol=SAME):
        return "sign", "has the wrong sign"
    sizes = [run.sizes() for _, run in factors]
    sign = "-" if (values < 0).all() else ""
    for name in sorted(set.intersection(*map(set, sizes)), key=lambda name: (len(name), name)):
        size = np.array([s[name] for s in sizes])
        for power, words in POWERS.items():
            with np.errstate(divide="ignore"):
                if np.allclose(np.abs(values), np.abs(size) ** power, rtol=SAME):
                    what = sign + words.format(f"({name})" if " " in name and power != 1 else name)
                    if np.ptp(size) == 0:  # which it may be by chance
                        return "scale", f"is {values[0]:.6g} times what it should be, {what} in all these cases"
                    return "scale", f"is {what} times what it should be"
    if np.allclose(values, values[0], rtol=SAME):
        return "scale", f"is {values[0]:.6g} times what it should be"
    cases = {f"{factor:.6g} times in {run.trial.title}": None for factor, run in factors if abs(factor - 1) > SAME}
    return "scale", f"is not what it should be: {'; '.join(cases)}"


def _one_by_one(
    layer: str, runs: list[Run], suspects: list[Suspect], pairs: list[Suspect], ranking: list[tuple[float, Mutant]]
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
        remarks.append(f"wrong only in: {_titles(wrong)}")
    remarks += [
        _describe(name, [run.alone(name) for run in wrong if name in run.right_gradients]) for name in unexplained
    ]
    if ranking and ranking[0][0] < NEAR:
        error, mutant = ranking[0]
        remarks.append(f"of all known mistakes the nearest, {error:.1%} from these numbers: {mutant.says}")
    return Diagnosis(said, False, remarks, ranking, _nearest(layer, runs, suspects, unexplained))


def _speaks_of(says: str, names: list[str], right: list[str]) -> bool:
    """Whether words that were found for several gradients name these, and none that is right."""
    words = says.replace(",", " ").split()
    return says.startswith(tuple(names)) and not set(words) & set(right)


def _explain(layer: str, name: str, runs: list[Run], suspects: list[Suspect]) -> list[Explanation]:
    """What accounts for one gradient in every case; nothing if nothing does."""
    for suspect in suspects:
        if all(same(run.gradients, theirs) for run, theirs in zip(runs, suspect.gradients, strict=True)):
            return suspect.explanations(layer)
    wrong = [(run.gradients[name], run.right_gradients[name], run) for run in runs if run.wrong]
    if relation := _relation(f"d{name}", wrong) or _from_dout(name, wrong):
        return [relation]
    single = [suspect for suspect in suspects if len(suspect.mutants) == 1]
    for suspect in single:
        if explanation := _factor_of_a_term(suspect.mutants[0], runs, suspect.gradients):
            return [explanation]
    for suspect in single:
        theirs = [(run.gradients[name], m[name], run) for run, m in zip(runs, suspect.gradients, strict=True)]
        if factor := _scaled(theirs):
            return [*suspect.explanations(layer), Explanation(factor[0], f"d{name} {factor[1]} besides")]
    for a, b in itertools.combinations(single, 2):
        if all(_adds_up(run, m, n) for run, m, n in zip(runs, a.gradients, b.gradients, strict=True)):
            return a.explanations(layer) + b.explanations(layer)
    return []


def _adds_up(run: Run, a: Gradients, b: Gradients) -> bool:
    """Whether the candidate's error is the sum of two others'."""
    return all(difference(run.gradients[n] - r, a[n] + b[n] - 2 * r) < SAME for n, r in run.right_gradients.items())


Compared = Sequence[tuple[np.ndarray, np.ndarray, Run]]  # a gradient, the one to compare it with, and their case


def _relation(name: str, wrong: Compared) -> Explanation | None:
    """What an array is to the right one, in all the cases in which it is wrong."""
    if any(np.linalg.norm(right) <= 1e-12 for _, right, _ in wrong):
        return None
    if all(np.linalg.norm(given) < SAME * np.linalg.norm(right) for given, right, _ in wrong):
        return Explanation("zero", f"{name} is zero")
    if factor := _scaled(wrong):
        return Explanation(factor[0], f"{name} {factor[1]}")
    if found := _rearranged(wrong):
        return Explanation("layout", f"{name} {found}")
    for axis in range(-1, -1 - max(right.ndim for _, right, _ in wrong), -1):
        for what in ("sum", "mean"):
            if all(
                right.ndim >= -axis and difference(given, _spread(right, what, axis)) < SAME
                for given, right, _ in wrong
            ):
                return Explanation("axis", f"{name} is the right one's {what} over axis {axis}, spread along it")
    return None


def _scaled(pairs: Compared) -> tuple[str, str] | None:
    """The family and the words for the factor by which all arrays differ from the others; None if none does."""
    factors = []
    for given, other, run in pairs:
        if np.linalg.norm(other) <= 1e-12 and np.linalg.norm(given) <= 1e-12:
            continue
        factor = float(np.vdot(other, given)) / max(float(np.vdot(other, other)), 1e-300)
        if difference(given, factor * other) >= SAME or factor == 0:
            return None
        factors.append((factor, run))
    return _name_factor(factors) if sum(given.size for given, _, _ in pairs) > len(factors) > 0 else None


def _spread(x: np.ndarray, what: str, axis: int) -> np.ndarray:
    return np.broadcast_to(getattr(x, what)(axis=axis, keepdims=True), x.shape)


def _rearranged(wrong: Compared) -> str:
    ndim = wrong[0][1].ndim
    for axes in itertools.permutations(range(ndim)):
        if axes != tuple(range(ndim)) and all(
            right.ndim == ndim and difference(given, right.transpose(axes).reshape(right.shape)) < SAME
            for given, right, _ in wrong
        ):
            return (
                "is transposed" if ndim == 2 else f"is the right one with its axes in the order {axes}, reshaped to fit"
            )
    for axis, shift in itertools.product(range(ndim), (1, -1)):
        if all(
            right.ndim > axis and difference(given, np.roll(right, shift, axis)) < SAME for given, right, _ in wrong
        ):
            return f"is the right one shifted by {shift} along axis {axis}"
    if all(difference(np.sort(given, axis=None), np.sort(right, axis=None)) < SAME for given, right, _ in wrong):
        return "has the right numbers in the wrong places"
    return ""


def _from_dout(name: str, wrong: Compared) -> Explanation | None:
    """Backward is linear in dout, so a gradient may be what some of dout, or a rearranged dout, gives."""
    if any(run.dout[0].ndim < 2 for _, _, run in wrong):
        return None

    def given_by(change: Callable[[np.ndarray], np.ndarray]) -> bool:
        return all(
            difference(given, run.of(definition(run.layer), [change(run.dout[0])])[1][name]) < SAME
            for given, _, run in wrong
        )

    def only(part: Any) -> Callable[[np.ndarray], np.ndarray]:
        def change(dout: np.ndarray) -> np.ndarray:
            kept = np.zeros_like(dout)
            kept[part] = dout[part]
            return kept

        return change

    for words, part in (
        ("the last sequence", np.s_[-1:]), ("the first sequence", np.s_[:1]), ("the last row", np.s_[-1:, ..., -1:, :]),
        ("the last position", np.s_[..., -1:, :]), ("the first position", np.s_[..., :1, :]),
    ):  # fmt: skip
        if given_by(only(part)):
            return Explanation("accumulation", f"d{name} is what {words} alone gives: the others are lost")
    ndim = max(run.dout[0].ndim for _, _, run in wrong)
    for axes in itertools.permutations(range(ndim)):
        if axes != tuple(range(ndim)) and all(run.dout[0].ndim == ndim for _, _, run in wrong):
            if given_by(lambda dout, axes=axes: dout.transpose(axes).reshape(dout.shape)):  # type: ignore[misc]
                return Explanation(
                    "layout", f"d{name} comes from dout with its axes in the order {axes}, reshaped to fit"
                )
    return None


def _nearest(layer: str, runs: list[Run], suspects: list[Suspect], names: list[str]) -> list[Explanation]:
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


def _describe(name: str, runs: list[Run]) -> str:
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

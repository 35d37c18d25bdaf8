"""A candidate for a layer's place beside the definition, case by case: what both give."""

import copy
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from tinygpt.backend import to_host
from tinygpt.errors import UserError
from tinygpt.gradcheck.arrays import no_array
from tinygpt.gradcheck.gradients import Compared, Gradients, difference, same
from tinygpt.gradcheck.library import FILES, definition
from tinygpt.gradcheck.operands import about_shapes
from tinygpt.gradcheck.suite import Trial


class Run:
    """One case: what the candidate gives, beside what the definition gives."""

    def __init__(self, layer: str, trial: Trial, candidate: Any, forward_alone: bool = False):
        self.layer, self.trial, self.inputs = layer, trial, trial.experiment.inputs
        self.dout = [to_host(d) for d in trial.experiment.dout]
        self.right_out, right, _ = self._given(definition(layer))
        self.right_gradients = self._apart(right)
        self.out, self.gradients = self.right_out, self.right_gradients
        self.misfits: dict[str, str] = {}  # gradients that are none, or of another shape, in words
        self.problem = self.raised = ""  # those and gradients too many; an exception
        try:
            self.out, given, absent = self._given(candidate, forward_alone=forward_alone)
        except (Exception, SystemExit) as error:  # whatever a candidate raises
            self.raised = " ".join(str(error).split()) if isinstance(error, UserError) else raised(error)
            return
        if forward_alone:
            return
        self.gradients = self._apart(given)
        if "qkv" in right and "q" not in self.gradients:  # what does not come apart is one gradient
            self.right_gradients = right
        self._compare_forms(absent)

    def _compare_forms(self, absent: dict[str, str]) -> None:
        for name, right in self.right_gradients.items():
            if name not in self.gradients:
                self.misfits[name] = absent.get(name, "missing")
            elif (shape := self.gradients[name].shape) != right.shape:
                self.misfits[name] = f"has shape {shape}, where {right.shape} belongs"
        for name, what in absent.items():
            if name not in self.right_gradients and what != "None":
                self.misfits[name] = f"is {what}, where None belongs, as {name} is None"
        self.problem = self.says_of(self.misfits)
        if self.gradients.keys() - self.right_gradients.keys():
            self.problem = "there are gradients too many"

    def says_of(self, names: Collection[str]) -> str:
        """What is wrong with the form of these gradients, in a sentence."""
        alike: dict[str, list[str]] = {}
        for name, what in self.misfits.items():
            if name in names:
                alike.setdefault(what, []).append(f"d{name}")
        said = []
        for what, of in alike.items():
            verb = "" if what.startswith(("has ", "is ")) else "are " if len(of) > 1 else "is "
            belongs = ", where an array belongs" if verb and what not in ("None", "missing") else ""
            said.append(f"{in_a_row(of)} {verb}{what}{belongs}")
        return "; ".join(said)

    def results(self, candidate: Any, dout: Sequence[np.ndarray] | None = None) -> tuple[Gradients, Gradients]:
        """Outputs and gradients of any candidate, attention's as the three they are; dout: another than the case's."""
        outs, named, _ = self._given(candidate, dout)
        return outs, self._apart(named)

    def _given(
        self, candidate: Any, dout: Sequence[np.ndarray] | None = None, forward_alone: bool = False
    ) -> tuple[Gradients, Gradients, dict[str, str]]:
        """Outputs, gradients, and what stands in the place of those that are no arrays."""
        forward, backward = self.trial.functions(candidate)
        if forward_alone:
            backward = lambda dout, cache: tuple(self.trial.experiment.slots.values())  # noqa: E731
        with np.errstate(all="ignore"):  # what overflows is seen in the numbers
            outs, gradients, _ = self.trial.experiment.run(forward, backward, dout)
        absent = {name: what for name, g in gradients.items() if (what := no_array(g))}
        named = {n: np.asarray(to_host(g), dtype=np.float64) for n, g in gradients.items() if n not in absent}
        return {f"out {n}" if n else "out": to_host(out) for n, out in enumerate(outs)}, named, absent

    def _apart(self, named: Gradients) -> Gradients:
        """Gradients with attention's, if its shape is right, as the three they are."""
        if "qkv" not in named or named["qkv"].shape != self.inputs["qkv"].shape:
            return named
        B, T, width = named["qkv"].shape
        heads = named["qkv"].reshape(B, T, 3, self.inputs["n_head"], -1)
        parts = {part: heads[:, :, number].transpose(0, 2, 1, 3) for number, part in enumerate("qkv")}
        return {name: g for name, g in named.items() if name != "qkv"} | parts

    def with_only(self, *names: str) -> "Run":
        """This case with some of its gradients, which have their inputs' shapes."""
        lone = copy.copy(self)
        lone.right_gradients, lone.gradients = (
            {name: g[name] for name in names if name in g} for g in (self.right_gradients, self.gradients)
        )
        lone.problem = ""
        return lone

    @property
    def compared(self) -> Compared:
        """This case as `relations` take it."""
        return Compared(
            self.gradients, self.right_gradients, self.dout, self.inputs, self.trial.title, self.sizes(),
            lambda dout: self.results(definition(self.layer), dout)[1],
        )  # fmt: skip

    @property
    def finite(self) -> bool:
        """Whether what was given is finite wherever it should be."""
        sides = (self.out, self.right_out), (self.gradients, self.right_gradients)
        return all(
            np.isfinite(given[name]).all() or not np.isfinite(right.get(name, given[name])).all()
            for given, right in sides for name in given
        )  # fmt: skip

    @property
    def wrong(self) -> bool:
        return not same(self.gradients, self.right_gradients)

    @property
    def drops(self) -> bool:
        """Whether it is a case with dropout."""
        return bool(self.inputs.get("dropout") or self.inputs.get("p"))

    def sizes(self) -> dict[str, float]:
        """What a stray factor may be: the sizes of this case by their letters, and their like."""
        sizes: dict[str, float] = {}
        axes = getattr(FILES[self.layer], "AXES", {"x": "BTC"})
        for name, shape in ((name, np.shape(self.inputs[name])) for name in axes if name in self.inputs):
            sizes |= {letter: float(n) for letter, n in zip(axes[name][::-1], shape[::-1], strict=False)}
            if name == next(iter(axes)):
                sizes[f"len({name})"] = float(shape[0]) if shape else 1.0
                sizes["the number of rows"] = float(np.prod(shape if name == "idx" else shape[:-1]))
        if "n_head" in self.inputs:
            sizes["C"] = sizes.get("C", sizes.get("3C", 0) / 3)
            sizes |= {"D": sizes["C"] / self.inputs["n_head"], "H": float(self.inputs["n_head"])}
        for name in self.inputs.keys() & {"p", "dropout"}:
            sizes["1 - p"] = 1 - self.inputs[name]
        if "targets" in self.inputs:
            counted = max(1.0, float((to_host(self.inputs["targets"]) >= 0).sum()))
            sizes["the number of targets that count"] = counted
            sizes["the denominator"] = float(self.inputs.get("denominator") or counted)
        if self.dout[0].ndim == 0:
            sizes["dout"] = float(self.dout[0])
        return sizes


def raised(error: BaseException) -> str:
    """What was raised, in one line."""
    message = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
    return f"raised {type(error).__name__}" + (f": {message}{about_shapes(message)}" if message else "")


MOST = 6  # names in a row


def in_a_row(names: Sequence[str]) -> str:
    """Names as one would say them; of many the first ones."""
    said = [*names] if len(names) <= MOST else [*names[: MOST - 1], f"{len(names) - MOST + 1} more"]
    return " and ".join(filter(None, [", ".join(said[:-1]), said[-1]]))


def mean_difference(a: Sequence[Gradients], b: Sequence[Gradients]) -> float:
    """Over all gradients in all cases."""
    return float(np.mean([difference(x[name], y[name]) for x, y in zip(a, b, strict=True) for name in x]))


def titles(runs: Sequence[Run]) -> str:
    return "; ".join(dict.fromkeys(run.trial.title for run in runs))

"""A candidate for a layer's place beside the definition, case by case: what both give."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinygpt.backend import to_host
from tinygpt.errors import UserError
from tinygpt.gradcheck.library import FILES, definition
from tinygpt.gradcheck.suite import Trial

SAME = 1e-6  # relative: beyond any rounding in float64, below any mistake

Gradients = Mapping[str, np.ndarray]


class Run:
    """One case: what the candidate gives, beside what the definition gives."""

    def __init__(self, layer: str, trial: Trial, candidate: Any):
        self.layer, self.trial, self.inputs = layer, trial, trial.experiment.inputs
        self.dout = [to_host(d) for d in trial.experiment.dout]
        self.right_out, self.right_gradients = self.results(definition(layer))
        self.out, self.gradients = self.right_out, self.right_gradients
        self.problem = self.raised = ""  # gradients of another shape; an exception
        try:
            self.out, self.gradients = self.results(candidate)
        except (Exception, SystemExit) as error:  # whatever a candidate raises
            self.raised = " ".join(str(error).split()) if isinstance(error, UserError) else raised(error)
            return
        for name, right in self.right_gradients.items():
            if name not in self.gradients:
                self.problem = f"d{name} is missing"
            elif (shape := self.gradients[name].shape) != right.shape:
                self.problem = f"d{name} has shape {shape}, where {right.shape} belongs"
        if self.gradients.keys() - self.right_gradients.keys():
            self.problem = "there are gradients too many"

    def results(self, candidate: Any, dout: Sequence[np.ndarray] | None = None) -> tuple[Gradients, Gradients]:
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


def mean_difference(a: Sequence[Gradients], b: Sequence[Gradients]) -> float:
    """Over all gradients in all cases."""
    return float(np.mean([difference(x[name], y[name]) for x, y in zip(a, b, strict=True) for name in x]))


def titles(runs: Sequence[Run]) -> str:
    return "; ".join(dict.fromkeys(run.trial.title for run in runs))

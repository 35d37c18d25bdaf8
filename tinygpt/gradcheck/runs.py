"""A candidate for a layer's place beside the definition, case by case: what both give."""

import copy
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygpt.backend import to_host
from tinygpt.errors import UserError
from tinygpt.gradcheck.gradients import Compared, Gradients, difference, same
from tinygpt.gradcheck.library import FILES, definition
from tinygpt.gradcheck.suite import Trial


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
        with np.errstate(all="ignore"):  # what overflows is seen in the numbers
            outs, gradients, _ = self.trial.experiment.run(forward, backward, dout)
        named = {name: np.asarray(to_host(g), dtype=np.float64) for name, g in gradients.items() if g is not None}
        if "qkv" in named and named["qkv"].shape == self.inputs["qkv"].shape:
            B, T, width = named["qkv"].shape
            heads = named.pop("qkv").reshape(B, T, 3, self.inputs["n_head"], -1)
            named |= {part: heads[:, :, number].transpose(0, 2, 1, 3) for number, part in enumerate("qkv")}
        return {f"out {number}" if number else "out": to_host(out) for number, out in enumerate(outs)}, named

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
    return f"raised {type(error).__name__}" + (f": {message}{_lost_axis(message)}" if message else "")


def _lost_axis(message: str) -> str:
    """Of two shapes that do not fit each other, that one is the other without its last axis; "" if it is not."""
    shapes = [tuple(re.findall(r"\d+", shape)) for shape in re.findall(r"\(([\d, ]+)\)", message)]
    if "broadcast" not in message or len(shapes) != 2:
        return ""
    shorter, longer = sorted(shapes, key=len)
    if len(longer) < 2 or shorter != longer[:-1]:
        return ""
    names = [f"({','.join(shape)}{',' * (len(shape) == 1)})" for shape in (shorter, longer)]
    return f"; {names[0]} is {names[1]} without its last axis, which keepdims=True would keep"


def mean_difference(a: Sequence[Gradients], b: Sequence[Gradients]) -> float:
    """Over all gradients in all cases."""
    return float(np.mean([difference(x[name], y[name]) for x, y in zip(a, b, strict=True) for name in x]))


def titles(runs: Sequence[Run]) -> str:
    return "; ".join(dict.fromkeys(run.trial.title for run in runs))

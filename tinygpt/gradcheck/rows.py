"""Code that is written for rows, (N, C), and is given x with more axes: is that all that is wrong with it?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinygpt.backend import to_host
from tinygpt.gradcheck.gradients import same
from tinygpt.gradcheck.library import definition
from tinygpt.gradcheck.runs import Run


def right_for_rows(runs: Sequence[Run], candidate: Any) -> str:
    """A sentence, if the candidate is right wherever its first input has two axes, and would be with rows; else ""."""
    wrong = [run for run in runs if run.raised or run.problem or run.wrong or not same(run.out, run.right_out)]
    if not wrong or any(np.ndim(_first(run.inputs)[1]) < 3 for run in wrong):
        return ""
    for run in wrong[:4]:
        right = _as_rows(run, definition(run.layer))
        if right is None:  # it is no layer of rows
            return ""
        given = _as_rows(run, candidate)
        if given is None or not all(map(same, given, right)):
            return ""
    name, x = _first(wrong[0].inputs)
    return (
        f"it is right for rows, but {name} is {x.shape}: make rows first, {name}.reshape(-1, {name}.shape[-1]), "
        f"and give what it returns {name}'s shape at the end"
    )


def _first(inputs: Mapping[str, Any]) -> tuple[str, Any]:
    """The first input that is an array."""
    return next((name, x) for name, x in inputs.items() if hasattr(x, "shape"))


def _as_rows(run: Run, layer: Any) -> tuple[dict, dict] | None:
    """Outputs and gradients of a layer for the case's rows, as for the case itself; None if they are not its own."""
    name, x = _first(run.inputs)
    ahead = x.shape[:-1] if x.dtype.kind == "f" else x.shape
    inputs = {
        key: a.reshape(-1, *a.shape[len(ahead) :]) if getattr(a, "shape", ())[: len(ahead)] == ahead else a
        for key, a in run.inputs.items()
    }
    dout = run.trial.experiment.dout[0]
    try:
        forward, backward = run.trial.functions(layer)
        with np.errstate(all="ignore"):
            out, cache = forward(**inputs)
            given = backward(dout.reshape(-1, *dout.shape[len(ahead) :]) if dout.ndim else dout, cache)
        gradients = dict(zip(run.right_gradients, given if isinstance(given, tuple | list) else [given], strict=False))
        outs = {"out": to_host(out).reshape(run.right_out["out"].shape)}
        shaped = {n: to_host(gradients[n]).reshape(right.shape) for n, right in run.right_gradients.items()}
    except (Exception, SystemExit):  # whatever a candidate raises
        return None
    if layer is definition(run.layer) and not (same(outs, run.right_out) and same(shaped, run.right_gradients)):
        return None
    return outs, shaped

"""What a layer promises beside its numbers in float64: the form and dtype of what it gives, a cache that holds all that
backward needs, numbers that stay finite, values that it refuses.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt.gradcheck import own_file
from tinygpt.gradcheck.cases import mapped
from tinygpt.gradcheck.gradients import difference
from tinygpt.gradcheck.library import FILES, definition
from tinygpt.gradcheck.process import OwnFile
from tinygpt.gradcheck.runs import raised
from tinygpt.gradcheck.suite import trials

SINGLE_AGREES = 1e-2  # relative: far beyond what rounding does to float32
HUGE_AGREES = 1e-3  # relative, of scores of 1e12, where rounding is 1e-4
HUGE = 1e6


def breach(layer: str, module: OwnFile, path: Path, seed: int) -> str:
    """What of the layers' contract a file with the right numbers does not keep, or what it raises there."""
    for given, kept in (("float32", _contract), ("huge scores", _masked)):
        try:
            with np.errstate(all="ignore"):  # what overflows is seen in the numbers
                if wrong := kept(layer, module, seed):
                    return wrong
        except (Exception, SystemExit) as error:
            return f"with {given} {place(path, error)}"
    return ""


def _contract(layer: str, module: OwnFile, seed: int) -> str:
    """What of the layers' contract a file with the right numbers does not keep: another form or dtype of out or
    gradients, something kept outside the cache, numbers that overflow, a value that it should refuse. "" if nothing.
    """
    for trial in trials(layer, seed):
        inputs = mapped(_single, trial.experiment.inputs)
        results, dout = [], trial.experiment.dout[0]
        for candidate in (definition(layer), module):
            forward, backward = trial.functions(candidate)
            out, cache = forward(**inputs)
            results.append((out, backward(_single(dout), cache)))
        (right_out, right), (out, gradients) = results
        names = [f"d{name}" for name in trial.experiment.slots]
        if wrong := _form("out", out, right_out) or _form("backward's result", gradients, right, names):
            return f"{wrong} ({trial.title})"
        if wrong := _far("out", out, right_out) or _far("backward's result", gradients, right):
            return f"{wrong} ({trial.title})"
        if _finite(results[0]) and not _finite(results[1]):
            return f"there are numbers that are not finite where the inputs are float32 ({trial.title})"
        _, cache = forward(**inputs)
        forward(**mapped(lambda x: x / 2 + np.float32(0.25) if getattr(x, "dtype", None) == np.float32 else x, inputs))
        again = zip(_leaves(gradients), _leaves(backward(_single(dout), cache)), strict=False)
        if not all(a is b or np.array_equal(a, b, equal_nan=True) for a, b in again):
            return (
                "it keeps something outside its cache: with another forward between forward and backward, as in every "
                f"model, the gradients are others ({trial.title})"
            )
        large = {name: 30 * x if name == next(iter(trial.experiment.arrays)) else x for name, x in inputs.items()}
        finite = [np.isfinite(trial.functions(f)[0](**large)[0]).all() for f in (definition(layer), module)]
        if finite == [True, False]:
            return (
                f"out is not finite where {next(iter(large))} is 30 times as large: exp overflows, or a probability "
                f"becomes 0 before its logarithm is taken ({trial.title})"
            )
    if refused := getattr(FILES[layer], "REFUSED", None):
        name, value = refused
        try:
            forward(**inputs | {name: value})
        except ValueError:
            return ""
        except Exception as error:
            return f"{name}={value!r} {raised(error)}; expected ValueError"
        return f"{name}={value!r} was taken without a word; expected ValueError"
    return ""


def _masked(layer: str, module: OwnFile, seed: int) -> str:
    """Whether a causal layer's mask holds where a position's own score is the smallest that there could be."""
    if not getattr(FILES[layer], "CAUSAL", False):
        return ""
    trial = next(trials(layer, seed))
    inputs = {n: HUGE * x if n in trial.experiment.arrays else x for n, x in trial.experiment.inputs.items()}
    if "qkv" in inputs:
        q, k, _ = np.split(inputs["qkv"], 3, axis=-1)
        q[...] = -k
    else:
        inputs["q"] = -inputs["k"]
    right, out = (trial.functions(candidate)[0](**inputs)[0] for candidate in (definition(layer), module))
    if difference(out, right) <= HUGE_AGREES:
        return ""
    return "where scores are far below 0, out is not what a mask makes of them: a masked score is -inf, not a number"


def _leaves(tree: Any) -> list[Any]:
    """What nested tuples, lists and mappings hold."""
    branches = [tree[name] for name in sorted(tree)] if isinstance(tree, dict) else tree
    return [leaf for branch in branches for leaf in _leaves(branch)] if isinstance(branches, tuple | list) else [tree]


def _finite(tree: Any) -> bool:
    return all(x is None or np.isfinite(x).all() for x in _leaves(tree))


def _far(name: str, given: Any, right: Any) -> str:
    """How far float32 numbers are from the definition's, where that is beyond any rounding."""
    for a, b in zip(_leaves(given), _leaves(right), strict=True):
        if b is not None and np.isfinite(a).all() and np.isfinite(b).all():
            error = difference(*(np.asarray(x, np.float64) for x in (a, b)))
            if error > SINGLE_AGREES:
                return f"{name} is another where the inputs are float32: relative error {error:.1e}"
    return ""


def _single(x: Any) -> Any:
    return x.astype(np.float32) if getattr(x, "dtype", None) == np.float64 else x


def _form(name: str, given: Any, right: Any, parts: Sequence[str] = ()) -> str:
    """How the form of what was given differs from the right one: None, tuples, names and dtypes; "" if it does not.
    parts: what those of a tuple are called.
    """
    if right is None or given is None:
        return "" if given is right else f"{name} is {_kind(given)}, where {_kind(right)} belongs"
    if isinstance(right, tuple):
        if not isinstance(given, tuple | list) or len(given) != len(right):
            return f"{name} is {_kind(given)}, where {_kind(right)} belongs"
        pairs = zip(parts, given, right, strict=True)
        return next((wrong for part in pairs if (wrong := _form(*part))), "")
    if isinstance(right, dict):
        if strange := sorted(given.keys() - right.keys()):
            if all(given[key] is None for key in strange):
                return f"{name}: leave out gradients that are None, here {', '.join(strange)}"
            return f"{name} holds {', '.join(strange)}, which is no parameter here"
        if missing := sorted(right.keys() - given.keys()):
            return f"{name} lacks the gradient of {', '.join(missing)}"
        return next((wrong for key in right if (wrong := _form(f"d{key}", given[key], right[key]))), "")
    if not hasattr(given, "dtype"):
        return f"{name} is {_kind(given)}, where {_kind(right)} belongs"
    if given.dtype != right.dtype:
        return (
            f"{name} is {given.dtype} where the inputs are {right.dtype}; what makes float64: a number from NumPy such "
            f"as np.sqrt(2) (math.sqrt(2) does not), a count from .sum(), True and False divided by a float, np.zeros, "
            f"np.ones, np.full and np.tri without a dtype"
        )
    return ""


def _kind(x: Any) -> str:
    if hasattr(x, "dtype"):
        return f"an array of {x.dtype}"
    size = f" of {len(x)}" if isinstance(x, tuple | list) else ""
    return "None" if x is None else f"a {type(x).__name__}{size}"


def place(path: Path, error: BaseException) -> str:
    """What a file raised and where, or what was raised by what it called in the wrong way."""
    try:
        return own_file.blame(path, error)
    except type(error):
        return raised(error)

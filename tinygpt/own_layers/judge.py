"""Which parts there are, and is one right? Its numbers held against the engine's, then what float64 does not show."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from tinygpt.errors import UserError
from tinygpt.gradcheck import own_file
from tinygpt.gradcheck.cases import mapped
from tinygpt.gradcheck.differences import relative
from tinygpt.gradcheck.gradients import difference
from tinygpt.gradcheck.library import CASES, FILES, STEPS, definition
from tinygpt.gradcheck.process import NoAnswer, OwnFile
from tinygpt.gradcheck.runs import raised
from tinygpt.gradcheck.suite import trials
from tinygpt.gradcheck.terminal import overview
from tinygpt.gradcheck.wire import RaisedThere
from tinygpt.own_layers import outcomes
from tinygpt.own_layers.outcomes import FUNCTIONS

AGREES = 1e-6  # relative: what central differences are good for
SINGLE_AGREES = 1e-2  # relative: far beyond what rounding does to float32
WORDS_SEED = 0  # of the numbers that what is wrong is looked for with, so that the words are the same in every check
FUNCTION_SECONDS, LAYER_SECONDS = 10, 30  # that a file may compute in a check: a hundred times what it does


@dataclass(frozen=True)
class Part:
    """One part, the file `name`.py. definition: the engine's own, a layer's module or class, or a function."""

    name: str
    definition: Any

    @property
    def is_layer(self) -> bool:
        return hasattr(self.definition, "forward")

    @property
    def functions(self) -> tuple[str, ...]:
        """What the file holds."""
        return ("forward", "backward") if self.is_layer else (self.definition.__name__,)

    @property
    def source(self) -> str:
        """The engine's module that holds it."""
        own = self.definition
        return own.__name__ if isinstance(own, ModuleType) else own.__module__


PARTS = {name: Part(name, definition(name)) for name in (*CASES, *STEPS)}
PARTS |= {name: Part(name, file.DEFINITION) for name, file in FUNCTIONS.items()}


class Checked(NamedTuple):
    """The verdict on a part. text: all there is to print; wrong: what is wrong, or ""; written: whether the file is;
    answered: whether it gave any answer, wrong or right; source: the text of the file that was checked.
    """

    passed: bool
    text: str
    wrong: str = ""
    written: bool = True
    answered: bool = True
    source: bytes = b""


def check(name: str, path: Path, seed: int = 0) -> Checked:
    """Hold the file of a part against the engine's own. Another seed draws other numbers and sizes.

    The file computes in a process of its own, for so long and no longer; here its numbers are compared.
    """
    part = PARTS[name]
    seconds = LAYER_SECONDS if part.is_layer else FUNCTION_SECONDS
    try:
        with OwnFile(Path(path), part.functions, seconds, seed) as file:
            checked = (_check_layer if part.is_layer else _check_function)(part, file, Path(path), seed)
            wrong = own_file.meddling(file) if checked.passed else ""
            return (_failed(wrong) if wrong else checked)._replace(source=file.source)
    except NoAnswer as error:
        return _failed(str(error))._replace(answered=False)
    except (UserError, NotImplementedError) as error:
        return _failed(f"{path}: {error}", written=isinstance(error, UserError))._replace(answered=False)
    except RaisedThere as error:
        return _failed(own_file.blame(Path(path), error))._replace(answered=False)


def _failed(wrong: str, table: Sequence[str] = (), written: bool = True) -> Checked:
    return Checked(False, "\n".join([*table, "", "what is wrong:", wrong]) if table else wrong, wrong, written)


def _check_layer(part: Part, module: OwnFile, path: Path, seed: int) -> Checked:
    table: list[str] = []
    judged = (own_file.judge(trial, module, part.name, path) for trial in trials(part.name, seed))
    made = overview(judged, table.append)
    problems = {problem for report in made for problem in report.problems}
    no_forward, no_backward = map(own_file.UNWRITTEN.format, part.functions)
    if no_forward in problems:
        return _failed(f"{path}: {no_forward}", written=False)
    if no_backward in problems:
        if any(row.problem for report in made for row in report.rows):
            return Checked(False, "\n".join([*table, "", no_backward]), no_backward, written=False)
        return _failed(f"{path}: forward is right in all {len(made)} cases; {no_backward}", written=False)
    if not all(made):  # without rows nothing could be compared, and there is no table to show
        same = [own_file.judge(trial, module, part.name, path) for trial in trials(part.name, WORDS_SEED)]
        wrong = own_file.what_is_wrong(part.name, module, made if all(same) else same, WORDS_SEED)
        return _failed(wrong, table if any(report.rows for report in made) else ())
    if wrong := _breach(part, module, path, seed):
        return _failed(_breach(part, module, path, WORDS_SEED) or wrong, table)
    return Checked(True, "\n".join(table + _second_opinion(part, module, path, seed)))


def _breach(part: Part, module: OwnFile, path: Path, seed: int) -> str:
    """What of the layers' contract a file with the right numbers does not keep, or what it raises there."""
    try:
        with np.errstate(all="ignore"):  # what overflows is seen in the numbers
            return _contract(part, module, seed)
    except (Exception, SystemExit) as error:
        return f"with float32 {_where(path, error)}"


def _contract(part: Part, module: OwnFile, seed: int) -> str:
    """What of the layers' contract a file with the right numbers does not keep: another form or dtype of out or
    gradients, something kept outside the cache, numbers that overflow, a value that it should refuse. "" if nothing.
    """
    for trial in trials(part.name, seed):
        inputs = mapped(_single, trial.experiment.inputs)
        results, dout = [], trial.experiment.dout[0]
        for layer in (definition(part.name), module):
            forward, backward = trial.functions(layer)
            out, cache = forward(**inputs)
            results.append((out, backward(_single(dout), cache)))
        (right_out, right), (out, gradients) = results
        if wrong := _form("out", out, right_out) or _form("backward's result", gradients, right):
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
        finite = [np.isfinite(trial.functions(f)[0](**large)[0]).all() for f in (definition(part.name), module)]
        if finite == [True, False]:
            return (
                f"out is not finite where {next(iter(large))} is 30 times as large: exp overflows, or a probability "
                f"becomes 0 before its logarithm is taken ({trial.title})"
            )
    if refused := getattr(FILES[part.name], "REFUSED", None):
        name, value = refused
        try:
            forward(**inputs | {name: value})
        except ValueError:
            return ""
        except Exception as error:
            return f"{name}={value!r} {raised(error)}; expected ValueError"
        return f"{name}={value!r} was taken without a word; expected ValueError"
    return ""


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


def _form(name: str, given: Any, right: Any) -> str:
    """How the form of what was given differs from the right one: None, tuples, names and dtypes; "" if it does not."""
    if right is None or given is None:
        return "" if given is right else f"{name} is {_kind(given)}, where {_kind(right)} belongs"
    if isinstance(right, tuple):
        if not isinstance(given, tuple | list) or len(given) != len(right):
            return f"{name} is {_kind(given)}, where {_kind(right)} belongs"
        pairs = enumerate(zip(given, right, strict=True), start=1)
        return next((wrong for n, pair in pairs if (wrong := _form(f"gradient {n} of {len(right)}", *pair))), "")
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
            f"as np.sqrt(2) (math.sqrt(2) does not), a count from .sum(), True and False divided by a float, np.zeros "
            f"and np.tri without a dtype"
        )
    return ""


def _kind(x: Any) -> str:
    if hasattr(x, "dtype"):
        return f"an array of {x.dtype}"
    size = f" of {len(x)}" if isinstance(x, tuple | list) else ""
    return "None" if x is None else f"a {type(x).__name__}{size}"


def _second_opinion(part: Part, module: OwnFile, path: Path, seed: int) -> list[str]:
    """What the reader's own numerical gradient, where there is one and it is right, says of the layer's backward."""
    own = path.parent / "numerical_gradient.py"
    if not own.is_file():
        return []
    if not check("numerical_gradient", own, seed).passed:
        return [f"{own} is not right yet, so it was not asked for a second opinion"]
    trial = next(trials(part.name, seed))
    experiment, (forward, backward) = trial.experiment, trial.functions(module)
    _, gradients, _ = experiment.run(forward, backward)
    errors = []
    try:
        with OwnFile(own, PARTS["numerical_gradient"].functions, LAYER_SECONDS, seed) as theirs:
            for name, x in experiment.arrays.items():

                def scalar(moved: np.ndarray, x: np.ndarray = x) -> float:
                    kept = x.copy()
                    x[...] = moved
                    out, _ = forward(**experiment.inputs)
                    x[...] = kept
                    return float((out * experiment.dout[0]).sum())

                sides = theirs.numerical_gradient(scalar, x.copy()), gradients[name]
                errors.append(relative(np.linalg.norm(sides[0] - sides[1]), *map(np.linalg.norm, sides)))
    except (NoAnswer, Exception) as error:  # whatever it gives back, or does not
        return [f"{own} has no second opinion: {error if isinstance(error, NoAnswer) else raised(error)}"]
    verdict = "agrees" if max(errors) <= AGREES else "DISAGREES"
    return [f"your own numerical_gradient {verdict}: worst relative error {max(errors):.1e}"]


def _check_function(part: Part, module: OwnFile, path: Path, seed: int) -> Checked:
    (name,) = part.functions
    try:
        lines, wrong = _called(part, module, path, seed)
        if not wrong:
            return Checked(True, "\n".join([*lines, "", f"all {len(lines)} checks right"]))
        says = outcomes.diagnose(part.name, getattr(module, name), WORDS_SEED)
        if not says:
            first, title = next(iter((_called(part, module, path, WORDS_SEED)[1] or wrong).items()))
            says = first + (f" ({title})" if title else "")
    except NotImplementedError:
        return _failed(f"{path}: {own_file.UNWRITTEN.format(name)}", written=False)
    return _failed(says, lines)


def _called(part: Part, module: OwnFile, path: Path, seed: int) -> tuple[list[str], dict[str, str]]:
    """A line for each call of a function, and what is wrong, with the title of the call in which it was first."""
    (name,) = part.functions
    candidate, right = getattr(module, name), part.definition
    names = list(inspect.signature(right).parameters)
    lines: list[str] = []
    wrong: dict[str, str] = {}
    for call in outcomes.calls(part.name, seed):
        given, theirs = outcomes.outcome(candidate, call), outcomes.outcome(right, call)
        problem = outcomes.difference(call, names, given, theirs)
        if given.error is not None and problem:  # with the line in their file, if it is there that it was raised
            problem = "; ".join(filter(None, (_where(path, given.error), outcomes.expected(theirs))))
        title = f"{name}, {call.title}" if call.title else name
        lines.append(f"{title:<48} {'WRONG' if problem else 'right'}")
        if problem:
            lines.append(f"    {problem}" if problem not in wrong else "    the same")
            wrong.setdefault(problem, call.title)
    return lines, wrong


def _where(path: Path, error: BaseException) -> str:
    try:
        return own_file.blame(path, error)
    except type(error):  # raised by what the file called in the wrong way
        return raised(error)

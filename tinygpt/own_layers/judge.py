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
from tinygpt.gradcheck.differences import relative
from tinygpt.gradcheck.library import CASES, STEPS, definition
from tinygpt.gradcheck.process import NoAnswer, OwnFile
from tinygpt.gradcheck.report import Report
from tinygpt.gradcheck.runs import raised
from tinygpt.gradcheck.suite import Trial, trials
from tinygpt.gradcheck.terminal import overview
from tinygpt.gradcheck.wire import RaisedThere
from tinygpt.own_layers import beside, calls, kernels, outcomes
from tinygpt.own_layers.contract import breach, place
from tinygpt.own_layers.kernels import judge as of_kernels
from tinygpt.own_layers.kernels import layernorm_kernel
from tinygpt.own_layers.outcomes import FUNCTIONS

AGREES = 1e-6  # relative: what central differences are good for
SECOND = "your own numerical_gradient"
WORDS_SEED = 0  # of the numbers that what is wrong is looked for with, so that the words are the same in every check
FUNCTION_SECONDS, LAYER_SECONDS = 10, 30  # that a file may compute in a check: a hundred times what it does


@dataclass(frozen=True)
class Part:
    """One part, the file `name`.py. definition: the engine's own, a layer's module or class, or a function; of a CUDA
    kernel, whose file is `name`.cu, the module that has its launches.
    """

    name: str
    definition: Any
    suffix: str = ".py"

    @property
    def file(self) -> str:
        return self.name + self.suffix

    @property
    def is_kernel(self) -> bool:
        return self.suffix == kernels.SUFFIX

    @property
    def is_layer(self) -> bool:
        return hasattr(self.definition, "forward")

    @property
    def functions(self) -> tuple[str, ...]:
        """What the file holds."""
        if self.is_kernel:
            return (self.definition.KERNEL,)
        return ("forward", "backward") if self.is_layer else (self.definition.__name__,)

    @property
    def source(self) -> str:
        """The engine's module that holds it."""
        own = self.definition
        return own.__name__ if isinstance(own, ModuleType) else own.__module__


PARTS = {name: Part(name, definition(name)) for name in (*CASES, *STEPS)}
PARTS |= {name: Part(name, file.DEFINITION) for name, file in FUNCTIONS.items()}
PARTS["layernorm_kernel"] = Part("layernorm_kernel", layernorm_kernel, kernels.SUFFIX)


class Checked(NamedTuple):
    """The verdict on a part. text: all there is to print; wrong: what is wrong, or ""; beside: what else is worth a
    look, such as the lines that stand; written: whether the file is; answered: whether it gave any answer, wrong or
    right; source: the text of the file that was checked.
    """

    passed: bool
    text: str
    wrong: str = ""
    beside: str = ""
    written: bool = True
    answered: bool = True
    source: bytes = b""


def check(name: str, path: Path, seed: int = 0) -> Checked:
    """Hold the file of a part against the engine's own. Another seed draws other numbers and sizes.

    The file computes in a process of its own, for so long and no longer; here its numbers are compared. Raises
    `kernels.judge.NotHere`, a UserError, for a CUDA kernel where there is nothing to run it with.
    """
    part = PARTS[name]
    if part.is_kernel:
        return _check_kernel(part, Path(path), seed)
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


def _check_kernel(part: Part, path: Path, seed: int) -> Checked:
    try:
        found = of_kernels.judge(part.definition, path, seed)
    except of_kernels.NotHere:
        raise
    except UserError as error:
        return _failed(f"{path}: {error}")._replace(answered=False)
    verdict = Checked(not found.wrong, found.text, found.wrong, written=found.written)
    return verdict._replace(answered=found.answered, source=found.source)


def _failed(wrong: str, table: Sequence[str] = (), more: Sequence[str] = (), written: bool = True) -> Checked:
    says = [wrong, "", *more] if more else [wrong]
    text = [*table, "", "what is wrong:", *says] if table else says
    return Checked(False, "\n".join(text), wrong, "\n".join(more), written)


def _passed(text: Sequence[str], remarks: Sequence[str]) -> Checked:
    return Checked(True, "\n".join([*text, *remarks]), beside="\n".join(remarks))


def _check_layer(part: Part, module: OwnFile, path: Path, seed: int) -> Checked:
    cases, table, made = _judged(part, module, path, seed)
    if all(made):
        if wrong := breach(part.name, module, path, seed):
            return _failed(breach(part.name, module, path, WORDS_SEED) or wrong, table)
        remarks = _second_opinion(part, module, path, seed) + beside.remarks(part.name, module, path, cases[0])
        return _passed(table, remarks)
    if seed != WORDS_SEED and not all((same := _judged(part, module, path, WORDS_SEED))[2]):
        cases, table, made = same  # so that the table and the words are of one draw
    lines = beside.standing(module, next(t for t, report in zip(cases, made, strict=True) if not report), part.name)
    blank = own_file.yet_to_write(made)
    if blank and not any(map(own_file.wrong_so_far, made)):
        right = sum(bool(report.rows) for report in made)
        where = own_file.in_all(right) if right == len(made) else f"in {right} of {len(made)} cases"
        how = f"forward is right {where}; " if right else ""
        return _failed(f"{path}: {how}{blank}", (), lines, written=False)
    wrong = own_file.what_is_wrong(part.name, module, made, WORDS_SEED)
    # without rows nothing could be compared, and there is no table to show
    return _failed(wrong, table if any(report.rows for report in made) else (), lines, written=not blank)


def _judged(part: Part, module: OwnFile, path: Path, seed: int) -> tuple[list[Trial], list[str], list[Report]]:
    """The cases of a layer, the table of what came of them, and their reports."""
    table: list[str] = []
    cases = list(trials(part.name, seed))
    made = overview(
        (own_file.judge(trial, module, part.name, path) for trial in cases), table.append, in_full=own_file.compared
    )
    return cases, table, made


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
    return [f"{SECOND} {verdict}: worst relative error {max(errors):.1e}"]


def _check_function(part: Part, module: OwnFile, path: Path, seed: int) -> Checked:
    (name,) = part.functions
    try:
        lines, wrong, shown = _called(part, module, path, seed)
        if wrong and seed != WORDS_SEED and (same := _called(part, module, path, WORDS_SEED))[1]:
            lines, wrong, shown = same  # so that the sentence and the call are of one draw
        if not wrong:
            if name == "numerical_gradient" and not module.moves(name, np.ones((2, 3))):
                return _failed(beside.COPIED, lines)
            return _passed([*lines, "", f"all {len(lines)} checks right"], beside.blanks(path))
        says = outcomes.diagnose(part.name, getattr(module, name), WORDS_SEED)
        if not says:
            first, title = next(iter(wrong.items()))
            says = first + (f" ({title})" if title else "")
            shown = [line for line in shown if not (line.startswith("    raised ") and line.strip() in says)]
    except NotImplementedError as error:
        return _failed(f"{path}: {own_file.unwritten(path, error, name)}", written=False)
    return _failed(says, lines, shown)


def _called(part: Part, module: OwnFile, path: Path, seed: int) -> tuple[list[str], dict[str, str], list[str]]:
    """A line for each call of a function; what is wrong, with the title of the call in which it was first; and the
    first wrong call as it would be typed, with what it gave.
    """
    (name,) = part.functions
    candidate, right = getattr(module, name), part.definition
    names = list(inspect.signature(right).parameters)
    lines: list[str] = []
    wrong: dict[str, str] = {}
    shown: list[str] = []
    for call in outcomes.calls(part.name, seed):
        given, theirs = outcomes.outcome(candidate, call), outcomes.outcome(right, call)
        problem = outcomes.difference(call, names, given, theirs)
        if given.error is not None and problem:  # with the line in their file, if it is there that it was raised
            problem = "; ".join(filter(None, (place(path, given.error), outcomes.expected(theirs))))
        title = f"{name}, {call.title}" if call.title else name
        lines.append(f"{title:<48} {'WRONG' if problem else 'right'}")
        if problem:
            shown = shown or calls.shown(name, names, call, given, theirs)
            wrong.setdefault(problem, call.title)
    return lines, wrong, shown

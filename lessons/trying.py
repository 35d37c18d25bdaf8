"""`try`: a Python prompt with the numbers of one case, what the learner's file makes of them, and what it should."""

import copy
import functools
import inspect
import linecache
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from lessons import display
from lessons.checking import excerpt, first_to_do
from lessons.course import Course
from lessons.exercises import Exercise
from lessons.files import is_blank
from lessons.progress import load
from lessons.prompt import python_prompt
from tinygpt.errors import UserError

SUFFIX = "_expected"  # of a name that the definition gives a value to


class Tried(NamedTuple):
    """One case. wrong: what is wrong in it, or ""; names: for the prompt; error: what the file raised."""

    wrong: str
    names: dict[str, Any]
    error: BaseException | None = None


Case: TypeAlias = tuple[str, Callable[[], Tried]]  # its title, and what tries it


def try_(course: Course, exercises: list[Exercise], case: int | None) -> int:
    """Open a prompt on a case of the first exercise that is not right: the one asked for, or the first that fails."""
    from tinygpt.own_layers.judge import WORDS_SEED

    exercise = first_to_do(course, exercises)
    path, part = course.file(exercise), exercise.part
    module, source = _loaded(course, exercise)
    last = max(0, load(course.work).exercise(exercise.name).attempts - 1)
    for seed in dict.fromkeys((WORDS_SEED, last)):  # the numbers that a check speaks of, or else those it found it with
        cases = _layer_cases(module, path, seed) if part.is_layer else _calls(part, module, seed)
        _expect(case, cases, exercise.name)
        all_tried = {n: cases[n - 1][1]() for n in (range(1, len(cases) + 1) if case is None else [case])}
        if any(tried.wrong for tried in all_tried.values()):
            break
    number = next((n for n, tried in all_tried.items() if tried.wrong), min(all_tried))
    tried, title = all_tried[number], cases[number - 1][0]
    if case is None:
        which = "The first that is not right." if tried.wrong else "All cases are right; this is the first."
    else:
        which = "It is not right." if tried.wrong else "It is right."
    says = f"Case {number} of {len(cases)} of {exercise.name}: {title}. {which} {tried.wrong}".rstrip()
    course.say(says.replace(str(path), display.shown_path(path)).replace(" \n", "\n"))
    if tried.error is not None and (lines := excerpt(source, path, tried.wrong, course.console.width)):
        print("\n" + lines)
    print()
    python_prompt({"np": np} | tried.names, course, "Ctrl-D leaves. Names ending in _expected are the engine's. Names")
    return 0


def _expect(case: int | None, cases: list[Case], name: str) -> None:
    if case is not None and not 1 <= case <= len(cases):
        listed = "; ".join(f"{number} {title}" for number, (title, _) in enumerate(cases, 1))
        raise UserError(f"there is no case {case} of {name}; it has {len(cases)}: {listed}")


def _loaded(course: Course, exercise: Exercise) -> tuple[ModuleType, bytes]:
    """The learner's file, run in this process, and its text."""
    from tinygpt.gradcheck import own_file
    from tinygpt.gradcheck.runs import raised

    path, name = course.file(exercise), exercise.name
    shown = display.shown_path(path)
    if not path.is_file():
        raise UserError(f"{name} is not begun: there is no {shown}; write it with {course.command('start', name)}")
    if exercise.part.is_kernel:
        raise UserError(
            f"{name} is a kernel, and no prompt can call it; {course.command('check', name)} says what it did"
        )
    if is_blank(path, exercise):
        raise UserError(f"{shown} is as it was given, so there is nothing to try; fill in what is missing in it")
    sys.path.insert(0, str(path.parent.resolve()))  # for its neighbours
    source = path.read_bytes()
    try:
        return own_file.load(path, source, exercise.part.functions), source
    except UserError as error:
        raise UserError(f"{shown}: {error}") from error
    except (Exception, SystemExit) as error:
        number = own_file.line(path, error)
        place = f"{shown}, line {number}," if number else shown
        if lines := excerpt(source, path, own_file.where(path, error), course.console.width):
            print(lines)
        raise UserError(f"{place} {raised(error)}; it has to be read before it can be tried") from error


# A layer's cases


def _layer_cases(module: ModuleType, path: Path, seed: int) -> list[Case]:
    from tinygpt.gradcheck.suite import trials

    layer = path.stem
    return [
        (_title(trial.title.removeprefix(layer)), functools.partial(_tried, trial, module, layer, path))
        for trial in trials(layer, seed)
    ]


def _tried(trial: Any, module: ModuleType, layer: str, path: Path) -> Tried:
    """One case of a layer: its inputs, dout, and what came of them on both sides, as far as it came."""
    from tinygpt.gradcheck import own_file
    from tinygpt.gradcheck.experiment import call_with_fixed_random_numbers
    from tinygpt.gradcheck.library import definition
    from tinygpt.gradcheck.runs import raised

    experiment = trial.experiment
    names: dict[str, Any] = dict(experiment.inputs) | {"dout": experiment.dout[0]}
    outs, gradients, _ = experiment.run(*trial.functions(definition(layer)))
    right = {"out": outs[0]} | _named(gradients)
    error: BaseException | None = None
    try:
        with np.errstate(all="ignore"):
            forward, backward = trial.functions(module)
            (names["out"], names["cache"]), _ = call_with_fixed_random_numbers(
                forward, experiment.inputs, experiment.seed
            )
            _, mine, _ = experiment.run(forward, backward)
            names |= _named(mine)
    except (Exception, SystemExit) as raised_there:
        error = raised_there
        names = _as_far_as_it_came(path, error) | names
    names |= {name + SUFFIX: value for name, value in right.items()}
    names |= {"forward": module.forward, "backward": module.backward}
    if isinstance(error, NotImplementedError):
        return Tried(f"{own_file.unwritten(path, error, 'backward')}.{_local(path, error)}", names, error)
    if error is not None:
        place = own_file.where(path, error)
        what = str(error) if isinstance(error, UserError) and place == str(path) else f"{place} {raised(error)}"
        return Tried(f"{what}.{_local(path, error)}", names, error)
    report = trial.judge(module)
    rows = [f"{row.name} {row.problem}" for row in report.rows if row.problem]
    return Tried("" if report else "; ".join([*rows, *report.problems]) + ".", names)


def _named(gradients: dict[str, Any]) -> dict[str, Any]:
    """Gradients as dNAME, those whose names are none of Python's in a mapping."""
    plain = {f"d{name}": gradient for name, gradient in gradients.items() if name.isidentifier()}
    others = {name: gradient for name, gradient in gradients.items() if not name.isidentifier()}
    return plain | ({"dparams": others} if others else {})


# A function's calls


def _calls(part: Any, module: ModuleType, seed: int) -> list[Case]:
    from tinygpt.own_layers import outcomes

    (name,) = part.functions
    made = outcomes.calls(part.name, seed)
    return [(_title(call.title), functools.partial(_called, part, module, name, call)) for call in made]


def _title(title: str) -> str:
    return title.lstrip(", ") or "the plain one"


def _called(part: Any, module: ModuleType, function: str, call: Any) -> Tried:
    """One call of a function: its arguments, what it returned, and what became of those that it works on in place."""
    from tinygpt.gradcheck import own_file
    from tinygpt.gradcheck.runs import raised
    from tinygpt.own_layers import calls, outcomes

    path, candidate = Path(str(module.__file__)), getattr(module, function)
    names = list(inspect.signature(part.definition).parameters)
    right = outcomes.outcome(part.definition, call)
    try:
        given = outcomes.outcome(candidate, call)
    except NotImplementedError as error:
        given = outcomes.Outcome(None, call.arguments, error)
    values = dict(zip(names, copy.deepcopy(call.arguments), strict=False))
    pairs = zip(names, call.arguments, given.arguments, right.arguments, strict=False)
    for name, before, mine, theirs in pairs:
        if isinstance(before, list | np.ndarray) and not calls.same(before, theirs):  # it works in place
            values |= {f"{name}_after": mine, f"{name}_after{SUFFIX}": theirs}
    values |= {"result": given.result, f"result{SUFFIX}": right.result, function: candidate}
    wrong = outcomes.difference(call, names, given, right)
    if wrong and given.error is not None:
        values = _as_far_as_it_came(path, given.error) | values
        place = own_file.where(path, given.error)
        return Tried(f"{place} {raised(given.error)}.{_local(path, given.error)}", values, given.error)
    lines = calls.shown(function, names, call, given, right) if wrong else []
    return Tried("\n\n" * bool(lines) + "\n".join(lines), values)


# What was raised


def _frames(path: Path, error: BaseException) -> list[Any]:
    walked = traceback.walk_tb(error.__traceback__)
    return [frame for frame, _ in walked if frame.f_code.co_filename == str(path)]


def _as_far_as_it_came(path: Path, error: BaseException) -> dict[str, Any]:
    """The names of the function of the file in which an error was raised."""
    linecache.checkcache(str(path))
    frames = _frames(path, error)
    inside = bool(frames) and frames[-1].f_code.co_name != "<module>"
    return dict(frames[-1].f_locals) if inside else {}


def _local(path: Path, error: BaseException) -> str:
    frames = _frames(path, error)
    return f" The names of {frames[-1].f_code.co_name} are there as far as it came." if frames else ""

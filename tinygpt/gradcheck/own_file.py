"""A reader's own file: judged as the layer it is named after, and blamed for what it raises."""

import ast
import linecache
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tinygpt.errors import UserError
from tinygpt.gradcheck.diagnosis import diagnose
from tinygpt.gradcheck.experiment import NOTHING
from tinygpt.gradcheck.process import OwnFile
from tinygpt.gradcheck.report import Report
from tinygpt.gradcheck.runs import raised
from tinygpt.gradcheck.suite import Trial
from tinygpt.gradcheck.wire import RaisedThere

LONG = 40  # characters of an expression that are repeated
UNWRITTEN = "{} is not written yet"  # it raises NotImplementedError


def load(path: str | Path, source: bytes, functions: Sequence[str]) -> ModuleType:
    """A file's text as a module, which runs it in this process. Raises UserError if it lacks one of `functions`; what
    it raises passes.
    """
    path = Path(path)
    module = ModuleType(path.stem)
    module.__file__ = str(path)
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module  # where a dataclass looks for its annotations
    # not by import, whose cache takes two versions of one second and one size for the same
    linecache.checkcache(str(path))
    try:
        with np.errstate():  # what a file sets there is its own
            exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
    finally:
        sys.modules.pop(module.__name__, None)
        sys.modules |= {module.__name__: before} if before else {}
    for name in functions:
        if not callable(getattr(module, name, None)):
            raise UserError(f"there is no function {name}; expected {' and '.join(functions)}")
    return module


def judge(trial: Trial, module: Any, layer: str, path: Path) -> Report:
    """The report of one case; what the file raises is a problem of that case's, and so is what it has not written."""
    try:
        report = trial.judge(module)
    except NotImplementedError as error:
        try:
            report = trial.judge(module, forward_alone=True)
            report.problems.append(unwritten(path, error, "backward"))
        except NotImplementedError as error:
            report = Report("", problems=[unwritten(path, error, "forward")], tolerance=trial.tolerance)
    except UserError as error:
        says = _of_its_return(path, "backward") if str(error) == NOTHING else str(error)
        report = Report("", problems=[says], tolerance=trial.tolerance)
    except Exception as error:
        given = isinstance(error, RaisedThere)
        says = blame(path, error) if given else f"what it returned cannot be compared: {raised(error)}"
        report = Report("", problems=[says], tolerance=trial.tolerance)
    report.title = path.name + trial.title.removeprefix(layer)
    return report


def what_is_wrong(layer: str, module: OwnFile, reports: Sequence[Report], seed: int) -> str:
    """What is wrong with a layer's file that did not pass, in words: of what is yet to be written, that it is, and of
    what comes before that whatever else.
    """
    blank, failed = yet_to_write(reports), [report for report in reports if wrong_so_far(report)]
    if blank and not failed:
        return blank
    raising = [report for report in failed if not report.rows]
    diagnosis, says = diagnose(layer, module, seed, forward_alone=bool(blank)), list[str]()
    if raising:  # the same line with other sizes says no more
        first: dict[str, Report] = {}
        for report in raising:
            first.setdefault(_but_for_sizes(report.problems[0]), report)
        every = len(first) == 1 and len(raising) == len(reports)
        for report in first.values():
            where = in_all(len(reports)) if every else f"in {report.title}"
            says.append(f"{report.problems[0]} ({where})")
        if diagnosis:
            diagnosis.raised = []  # which is the same without the line
    if diagnosis:
        says += filter(None, [str(diagnosis)])
    elif len(raising) < len(failed):
        told = [problem for report in failed if report.rows for problem in report.problems]
        problems = dict.fromkeys(problem for problem in told if problem != blank)
        if any(row.problem for report in failed for row in report.rows if row.name[0] != "d"):
            problems["forward agrees to six digits, not to twelve: a rounded constant, or a small number added?"] = None
        says.append("\n".join(problems) or "every gradient agrees to six digits")
    return "\n".join([*says, *filter(None, [blank])])


def wrong_so_far(report: Report) -> bool:
    """Whether something is wrong beside what is yet to be written."""
    return any(row.problem for row in report.rows) or any(not _is_blank(problem) for problem in report.problems)


def compared(report: Report) -> bool:
    """Whether something in it was compared and is wrong: what was raised, and what is blank, is said once for all."""
    return bool(report.rows) and wrong_so_far(report)


def _but_for_sizes(problem: str) -> str:
    """What was raised, and in which line, whatever the sizes were."""
    place, raised, words = ("", "", problem) if " raised " not in problem else problem.partition(" raised ")
    return place + raised + re.sub(r"\d+(, ?\d+)*,?", "#", words)


def in_all(cases: int) -> str:
    return "in the one case" if cases == 1 else "in both cases" if cases == 2 else f"in all {cases} cases"


def _is_blank(problem: str) -> bool:
    return problem.endswith(UNWRITTEN.format(""))


def _of_its_return(path: Path, name: str) -> str:
    """Of a function that returned None, what is the matter with its return."""
    function = next((node for node in _functions(path) if node.name == name), None)
    if function is None or not isinstance(last := function.body[-1], ast.Return):
        return NOTHING
    if sum(isinstance(node, ast.Return) for node in ast.walk(function)) > 1:
        return f"{name} returned None: one of its returns gives nothing back"
    if last.value is None or isinstance(last.value, ast.Constant):
        return f"{name} returned None: the return at its end, in line {last.lineno}, gives nothing back"
    what = ast.unparse(last.value)
    if len(what) > LONG or "\n" in what:
        what = "what it gives back"
    return (
        f"{name} returned None: at its return, in line {last.lineno}, {what} is None; was it made by a function that "
        f"only changes its argument?"
    )


def unwritten(path: Path, error: BaseException, name: str) -> str:
    """That a function is not written yet: the one that raised the error, or `name` if none of the file's did."""
    at = error.line if isinstance(error, RaisedThere) else line(path, error)
    for node in _functions(path):
        if at is not None and node.lineno <= at <= (node.end_lineno or at):
            name = node.name
    return UNWRITTEN.format(name)


def yet_to_write(reports: Sequence[Report]) -> str:
    """The first of the sentences of `unwritten` among their problems, or "" if there is none."""
    return next((problem for report in reports for problem in report.problems if _is_blank(problem)), "")


def left_blank(path: Path) -> list[str]:
    """The functions of a file that do nothing but raise NotImplementedError."""
    blank = []
    for node in _functions(path):
        body = node.body[1:] if ast.get_docstring(node) else node.body
        raises = [s.exc for s in body if isinstance(s, ast.Raise) and s.exc]
        named = [x.func if isinstance(x, ast.Call) else x for x in raises]
        if len(body) == 1 and [ast.unparse(x) for x in named] == ["NotImplementedError"]:
            blank.append(node.name)
    return blank


def _functions(path: Path) -> list[ast.FunctionDef]:
    try:
        return [node for node in ast.parse(path.read_bytes()).body if isinstance(node, ast.FunctionDef)]
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):  # no longer what was run
        return []


def meddling(file: OwnFile) -> str:
    """What a file whose numbers are right has changed that is not its own, in a sentence; "" if nothing."""
    found = " and ".join(file.left_behind())
    return f"its numbers are right, but it leaves behind {found}; it should only define functions" if found else ""


def blame(path: Path, error: BaseException) -> str:
    """What a reader's file raised and where, in one line; what others raised is raised again."""
    place = where(path, error)
    if place == str(path) and not isinstance(error, RaisedThere):
        raise error
    return f"{place} {raised(error)}"


def where(path: Path, error: BaseException) -> str:
    """The file, and the line in it where an error was raised or passed through, if there is one."""
    number = error.line if isinstance(error, RaisedThere) else line(path, error)
    return f"{path}, line {number}," if number else str(path)


def line(path: str | Path, error: BaseException) -> int | None:
    """The line of a file where an error was raised or passed through; None if none was."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    return next((f.lineno for f in reversed(frames) if Path(f.filename).resolve() == Path(path).resolve()), None)

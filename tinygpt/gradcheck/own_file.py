"""A reader's own file: judged as the layer it is named after, and blamed for what it raises."""

import linecache
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tinygpt.errors import UserError
from tinygpt.gradcheck.diagnosis import diagnose
from tinygpt.gradcheck.process import OwnFile
from tinygpt.gradcheck.report import Report
from tinygpt.gradcheck.runs import raised
from tinygpt.gradcheck.suite import Trial
from tinygpt.gradcheck.wire import RaisedThere

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
    except NotImplementedError:
        try:
            report = trial.judge(module, forward_alone=True)
            report.problems.append(UNWRITTEN.format("backward"))
        except NotImplementedError:
            report = Report("", problems=[UNWRITTEN.format("forward")], tolerance=trial.tolerance)
    except UserError as error:
        report = Report("", problems=[str(error)], tolerance=trial.tolerance)
    except Exception as error:
        given = isinstance(error, RaisedThere)
        says = blame(path, error) if given else f"what it returned cannot be compared: {raised(error)}"
        report = Report("", problems=[says], tolerance=trial.tolerance)
    report.title = path.name + trial.title.removeprefix(layer)
    return report


def what_is_wrong(layer: str, module: OwnFile, reports: Sequence[Report], seed: int) -> str:
    """What is wrong with a layer's file that did not pass, in words: of what is yet to be written, that it is."""
    for name in ("forward", "backward"):
        if any(UNWRITTEN.format(name) in report.problems for report in reports):
            return UNWRITTEN.format(name)
    failed = [report for report in reports if not report.passed]
    raising = [report for report in failed if not report.rows]
    diagnosis, says = diagnose(layer, module, seed), list[str]()
    if raising:  # the same line with other sizes says no more
        where = f"in all {len(reports)} cases" if len(raising) == len(reports) else f"in {raising[0].title}"
        says.append(f"{raising[0].problems[0]} ({where})")
        if diagnosis:
            diagnosis.raised = []  # which is the same without the line
    if diagnosis:
        says += filter(None, [str(diagnosis)])
    elif len(raising) < len(failed):
        problems = dict.fromkeys(problem for report in failed if report.rows for problem in report.problems)
        if any(row.problem for report in failed for row in report.rows if row.name[0] != "d"):
            problems["forward agrees to six digits, not to twelve: a rounded constant, or a small number added?"] = None
        says.append("\n".join(problems) or "every gradient agrees to six digits")
    return "\n".join(says)


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

"""A reader's own file: loaded, judged as the layer it is named after, and blamed for what it raises."""

import contextlib
import linecache
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from tinygpt.errors import UserError
from tinygpt.gradcheck.diagnosis import diagnose
from tinygpt.gradcheck.report import Report
from tinygpt.gradcheck.runs import raised
from tinygpt.gradcheck.suite import Trial

UNWRITTEN = "{} is not written yet"  # it raises NotImplementedError


def load(path: Path, functions: Sequence[str] = ("forward", "backward")) -> ModuleType:
    """The file as a module. Raises UserError if there is none or it lacks one of `functions`; what it raises passes."""
    if not path.is_file():
        raise UserError(f"there is no such file; expected a Python file with {' and '.join(functions)}")
    module = ModuleType(path.stem)
    module.__file__ = str(path)
    # not by import, whose cache takes two versions of one second and one size for the same
    linecache.checkcache(str(path))
    with np.errstate():  # what a file sets there is its own
        exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), module.__dict__)
    for name in functions:
        if not callable(getattr(module, name, None)):
            raise UserError(f"there is no function {name}; expected {' and '.join(functions)}")
    return module


@contextlib.contextmanager
def imports_beside(path: Path) -> Iterator[None]:
    """Lets a file import its neighbours, and forgets them after, since another folder's may have the same names."""
    before, folder = set(sys.modules), str(path.parent.resolve())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(folder):
                del sys.modules[name]


def judge(trial: Trial, module: ModuleType, layer: str, path: Path) -> Report:
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
    except (Exception, SystemExit) as error:
        report = Report("", problems=[blame(path, error)], tolerance=trial.tolerance)
    report.title = path.name + trial.title.removeprefix(layer)
    return report


def what_is_wrong(layer: str, module: ModuleType, reports: Sequence[Report], seed: int) -> str:
    """What is wrong with a layer's file that did not pass, in words: of what is yet to be written, that it is."""
    for name in ("forward", "backward"):
        if any(UNWRITTEN.format(name) in report.problems for report in reports):
            return UNWRITTEN.format(name)
    failed = [report for report in reports if not report.passed]
    raising = [report for report in failed if not report.rows]
    says = []
    if raising:  # the same line with other sizes says no more
        where = f"in all {len(reports)} cases" if len(raising) == len(reports) else f"in {raising[0].title}"
        says.append(f"{raising[0].problems[0]} ({where})")
    if len(raising) < len(failed):
        diagnosis = diagnose(layer, module, seed)
        problems = dict.fromkeys(problem for report in failed if report.rows for problem in report.problems)
        if not diagnosis and any(row.problem for report in failed for row in report.rows if row.name[0] != "d"):
            problems["forward agrees to six digits, not to twelve: a rounded constant, or a small number added?"] = None
        says.append(str(diagnosis) if diagnosis else "\n".join(problems) or "every gradient agrees to six digits")
    return "\n".join(says)


def blame(path: Path, error: BaseException) -> str:
    """What a reader's file raised and where, in one line; what others raised is raised again."""
    place = where(path, error)
    if place == str(path) and not isinstance(error, SyntaxError | ValueError):  # ValueError: a source with null bytes
        raise error
    return f"{place} {raised(error)}"


def where(path: Path, error: BaseException) -> str:
    """The file, and the line in it where an error was raised or passed through, if there is one."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    line = error.lineno if isinstance(error, SyntaxError) else next(reversed(lines), None)
    return f"{path}, line {line}," if line else str(path)

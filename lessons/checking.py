"""One check of a learner's file: the verdict, what is kept of it, and the line of the file that it speaks of."""

import hashlib
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lessons import display
from lessons.course import Course
from lessons.exercises import IN_STEP, Exercise
from lessons.files import is_blank
from lessons.progress import changing, load

if TYPE_CHECKING:
    from tinygpt.own_layers import Checked

AROUND = 2  # lines above the one that is spoken of
REPORT = re.compile(r"(?m)^\S.*: WRONG")  # what the report on a layer's case begins with
VERDICT = re.compile(r"(?m)^(worst relative error|\d+ of \d+ checks?)")  # what stands below the last


class Verdict(NamedTuple):
    """right: whether the file is; says: the verdict in a sentence; checked: all that was found out, if it was run;
    source: the text of the file that was.
    """

    right: bool
    says: str
    checked: "Checked | None" = None
    source: bytes = b""


def judged(course: Course, exercise: Exercise) -> Verdict:
    """Check the file of an exercise, and keep what came of it. Raises KeyboardInterrupt, with `line`, at Ctrl-C."""
    path, name = course.file(exercise), exercise.name
    if not path.is_file():
        start = course.command("start", name)
        return Verdict(False, f"{name} is not begun: there is no {display.shown_path(path)}; write it with {start}")
    if is_blank(path, exercise):
        with changing(course.work) as progress:
            progress.exercise(name).done = False
        return Verdict(False, f"{name}: {display.shown_path(path)} is as it was given; fill in what is missing in it")
    source = path.read_bytes()  # before, for what is spoken of is not what is saved meanwhile
    checked = exercise.check(path, seed=load(course.work).exercise(name).attempts)
    source = checked.source or source
    with changing(course.work) as progress:
        kept = progress.exercise(name)
        kept.attempts += 1
        kept.done = checked.passed
        kept.right = hashlib.sha256(checked.source).hexdigest() if checked.passed else ""
    if checked.passed:
        return Verdict(True, f"{name} is right.", checked, source)
    says = f"{name} is not right yet. For a hint: {course.command('hint', name)}"
    if not exercise.part.is_kernel:
        says += f"; to look at its numbers: {course.command('try', name)}"
    if on_page(exercise, checked):
        folder = [display.shown_path(course.work)] if course.work == course.folder / "work" else []  # or --work says it
        says += f"\nSee where it parts from the engine: {course.command('page', '--mine', *folder, '--open')}"
    return Verdict(False, says, checked, source)


def on_page(exercise: Exercise, checked: "Checked | None") -> bool:
    """Whether the page of a training step shows where a file that was checked parts from the engine: if it is in that
    step, and there were numbers to compare.
    """
    if exercise.name not in IN_STEP or not checked or checked.passed or not checked.answered:
        return False
    return not checked.text.startswith(checked.wrong)


def first_to_do(course: Course, exercises: list[Exercise]) -> Exercise:
    """The first of some exercises that is not done, or the first of all if they are."""
    progress = load(course.work)
    todo = [exercise for exercise in exercises if course.exercise_state(exercise.name, progress) != "done"]
    return (todo or exercises)[0]


def line_reached(path: Path, interrupt: KeyboardInterrupt) -> str:
    """The line of the learner's file at which Ctrl-C stopped it, such as in an endless loop."""
    line = getattr(interrupt, "line", None)
    return f" in {display.shown_path(path)}, line {line}" if line else ""


def in_short(checked: "Checked", rows: int) -> str:
    """All that there is to print of a check. If it is higher than a screen of so many rows, only the first report on a
    layer's wrong cases is in it.
    """
    text = checked.text.rstrip("\n")
    reports = [found.start() for found in REPORT.finditer(text)]
    below = VERDICT.search(text, reports[-1]) if reports else None
    if len(reports) > 1 and below and text.count("\n") >= rows:
        text = text[: reports[1]] + text[below.start() :]
    return text


def excerpt(source: bytes, path: Path, wrong: str, width: int) -> str:
    """The lines of a Python file's text around the one that `wrong` speaks of, with a caret where its syntax is wrong;
    "" if it speaks of none.
    """
    found = re.search(rf"{re.escape(str(path))}, line (\d+)\b", wrong)
    if not found or path.suffix != ".py":
        return ""
    number, column = int(found[1]), 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(source, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        number, column = error.lineno or number, error.offset or 0
    except (ValueError, RecursionError, MemoryError):  # it cannot be read
        return ""
    lines = [_printable(line) for line in source.decode(errors="replace").splitlines()]
    shown = range(max(1, number - AROUND), min(number, len(lines)) + 1)
    margin = len(str(number))
    rows = [f"{'>' if n == number else ' '} {n:>{margin}} | {lines[n - 1]}"[:width] for n in shown]
    if column and number in shown:
        rows.append(f"  {' ' * margin} | {' ' * (column - 1)}^"[:width])
    return "\n".join(rows)


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else " " if c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in line)

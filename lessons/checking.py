"""One check of a learner's file: the verdict, what is kept of it, and the line of the file that it speaks of."""

import hashlib
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lessons import display
from lessons.course import Course
from lessons.exercises import IN_STEP, Exercise
from lessons.files import is_blank
from lessons.progress import changing, load

if TYPE_CHECKING:
    from tinygpt.own_layers import Checked

JOINED = {"start": "; ", "hint": " ", "try": "; ", "page": "\n"}  # how each offer follows on a verdict
AROUND = 2  # lines above the one that is spoken of
REPORT = re.compile(r"(?m)^\S.*: WRONG")  # what the report on a layer's case begins with
VERDICT = re.compile(r"(?m)^(worst relative error|\d+ of \d+ checks?)")  # what stands below the last


class Offer(NamedTuple):
    """What helps on from a verdict: one of `JOINED`, its words, and what to type for it."""

    what: str
    words: str
    command: str


class Verdict(NamedTuple):
    """right: whether the file is; short: the verdict in a sentence; checked: all that was found out, if it was run;
    source: the text of the file that was; offers: what helps on.
    """

    right: bool
    short: str
    checked: "Checked | None" = None
    source: bytes = b""
    offers: tuple[Offer, ...] = ()

    @property
    def says(self) -> str:
        """The verdict with what to type next."""
        return self.short + "".join(f"{JOINED[what]}{words} {command}" for what, words, command in self.offers)


def judged(course: Course, exercise: Exercise, check: "Callable[[Path, int], Checked] | None" = None) -> Verdict:
    """Check the file of an exercise, and keep what came of it. Raises KeyboardInterrupt, with `line`, at Ctrl-C.

    check: what is called in the place of `exercise.check`, with the file and a seed.
    """
    path, name = course.file(exercise), exercise.name
    shown = display.shown_path(path)
    if not path.is_file():
        offer = Offer("start", "write it with", course.command("start", name))
        return Verdict(False, f"{name} is not begun: there is no {shown}", offers=(offer,))
    if is_blank(path, exercise):
        with changing(course.work) as progress:
            progress.exercise(name).done = False
        return Verdict(False, f"{name}: {shown} is as it was given; fill in what is missing in it")
    source = path.read_bytes()  # before, for what is spoken of is not what is saved meanwhile
    checked = (check or exercise.check)(path, load(course.work).exercise(name).attempts)
    source = checked.source or source
    with changing(course.work) as progress:
        kept = progress.exercise(name)
        kept.attempts += 1
        kept.done = checked.passed
        kept.right = hashlib.sha256(checked.source).hexdigest() if checked.passed else ""
    if checked.passed:
        return Verdict(True, f"{name} is right.", checked, source)
    offers = [Offer("hint", "For a hint:", course.command("hint", name))]
    if not exercise.part.is_kernel:
        offers.append(Offer("try", "to look at its numbers:", course.command("try", name)))
    if on_page(exercise, checked):
        folder = [display.shown_path(course.work)] if course.work == course.folder / "work" else []  # or --work says it
        page = course.command("page", "--mine", *folder, "--open")
        offers.append(Offer("page", "See where it parts from the engine:", page))
    return Verdict(False, f"{name} is not right yet.", checked, source, tuple(offers))


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


def stopped(path: Path, interrupt: BaseException) -> str:
    """Where in the learner's file Ctrl-C or the like stopped it, as in an endless loop, in a sentence."""
    line = getattr(interrupt, "line", None)
    return f"Stopped in {display.shown_path(path)}, line {line}." if line else "Stopped."


def in_words(checked: "Checked", path: Path) -> str:
    """What is wrong, with the file named as it is typed."""
    return checked.wrong.replace(str(path), display.shown_path(path))


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


class Excerpt(NamedTuple):
    """Lines of a file around one that is spoken of. first: the number of the first of them; column: where on the line
    the syntax is wrong, counted from 1, or 0.
    """

    line: int
    first: int
    lines: list[str]
    column: int = 0


def line_spoken_of(path: Path, wrong: str) -> int:
    """The line of a file that `wrong` speaks of first, or 0. Of a kernel's file it says the name alone."""
    name = path.name if path.suffix != ".py" else str(path)
    found = re.search(rf"{re.escape(name)}, line (\d+)\b", wrong)
    return int(found[1]) if found else 0


def spoken_of(source: bytes, path: Path, wrong: str) -> Excerpt | None:
    """The lines of a Python file's text around the one that `wrong` speaks of; None if it speaks of none."""
    number, column = line_spoken_of(path, wrong), 0
    if not number or path.suffix != ".py":
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(source, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        number, column = error.lineno or number, error.offset or 0
    except (ValueError, RecursionError, MemoryError):  # it cannot be read
        return None
    lines = [_printable(line) for line in source.decode(errors="replace").splitlines()]
    first = max(1, number - AROUND)
    return Excerpt(number, first, lines[first - 1 : number], column if number <= len(lines) else 0)


def excerpt(source: bytes, path: Path, wrong: str, width: int) -> str:
    """The lines of a Python file's text around the one that `wrong` speaks of, with a caret where its syntax is wrong;
    "" if it speaks of none.
    """
    found = spoken_of(source, path, wrong)
    if found is None:
        return ""
    margin = len(str(found.line))
    rows = [
        f"{'>' if number == found.line else ' '} {number:>{margin}} | {line}"[:width]
        for number, line in enumerate(found.lines, found.first)
    ]
    if found.column:
        rows.append(f"  {' ' * margin} | {' ' * (found.column - 1)}^"[:width])
    return "\n".join(rows)


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else " " if c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in line)

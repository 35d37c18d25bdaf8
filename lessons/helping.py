"""What helps who is stuck: the hints, and how the engine's own file differs from the learner's."""

import difflib
import re
import sys
from pathlib import Path
from typing import NamedTuple

from rich.text import Text

from lessons import display
from lessons.checking import first_to_do
from lessons.course import Course
from lessons.exercises import Exercise
from lessons.files import is_blank
from lessons.progress import changing, load
from tinygpt.errors import UserError

TWO_COLUMNS = 130  # characters from which two files fit side by side
GIVES_AWAY = "It has not run yet, and the {} gives the answer away"
SAME = "There is no difference: yours is the engine's, letter for letter."
STYLES = {"-": "red", "+": "green", "@": "cyan"}  # of a difference's lines


class Hint(NamedTuple):
    """One hint, in Markdown. again: whether it was given before."""

    number: int
    of: int
    text: str
    again: bool = False


def hint(course: Course, exercises: list[Exercise], all: bool) -> int:
    """Give the next hint of the first exercise that is not done, or show those given so far."""
    for exercise in exercises if all else [first_to_do(course, exercises)]:
        name = exercise.name
        hints = given_hints(course, exercise) if all else [next_hint(course, exercise)]
        if not hints:
            course.say(f"No hint for {name} was given yet; the first: {course.command('hint', name)}")
        elif hints[0].again and not all:
            course.say(f"That was the last hint; here it is again. The solution: {course.command('solution', name)}")
        for given in hints:
            course.say(f"{name}, hint {given.number} of {given.of}\n", style="bold")
            print(display.markdown(given.text, course.console))
    return 0


def given_hints(course: Course, exercise: Exercise) -> list[Hint]:
    """The hints that were given so far."""
    hints = read_hints(course.folder, exercise.name)
    given = hints[: load(course.work).exercise(exercise.name).hints]
    return [Hint(number, len(hints), text, True) for number, text in enumerate(given, 1)]


def next_hint(course: Course, exercise: Exercise) -> Hint:
    """The hint after those that were given, and count it as given; the last one again if there is no more."""
    hints = read_hints(course.folder, exercise.name)
    given = load(course.work).exercise(exercise.name).hints
    if given >= len(hints):
        return Hint(len(hints), len(hints), hints[-1], True)
    with changing(course.work) as progress:
        progress.exercise(exercise.name).hints = given + 1
    return Hint(given + 1, len(hints), hints[given])


def read_hints(folder: Path, name: str) -> list[str]:
    """The hints for an exercise, from a question to nearly there."""
    path = folder / "hints" / f"{name}.md"
    if not path.exists():
        raise UserError(f"there are no hints for {name}; the lesson says what is to be written")
    return [part.strip() for part in re.split(r"^---+\s*$", path.read_text(encoding="utf-8"), flags=re.M)]


def solution(course: Course, exercises: list[Exercise], yes: bool, whole: bool) -> int:
    """Show how the engine's own file differs from the learner's, or both whole, once they have tried or if they
    insist.
    """
    for exercise in exercises:
        if not yes and (says := untried(course, exercise)):
            insists = course.command("solution", exercise.name, "--yes")
            raise UserError(f"{says}, or see the solution all the same with {insists}")
    for exercise in exercises:
        (_whole if whole else difference)(course, exercise)
    return 0


def untried(course: Course, exercise: Exercise) -> str:
    """Why the solution is not shown yet, in a sentence without its end; "" once there was an attempt."""
    if load(course.work).exercise(exercise.name).attempts:
        return ""
    return f"{exercise.name} was not tried yet: change its file and check it first"


class Texts(NamedTuple):
    """A learner's text, or what was given if there is none, beside the engine's."""

    begun: bool
    mine: str
    engine: str
    whose: str  # the learner's text, in words

    @property
    def difference(self) -> list[str]:
        """What is other in the engine's, as lines of which the first character says whose they are."""
        return list(difflib.unified_diff(self.mine.splitlines(), self.engine.splitlines(), lineterm=""))[2:]


def texts(course: Course, exercise: Exercise) -> Texts:
    """Both texts of an exercise."""
    path = course.file(exercise)
    begun = path.exists() and not is_blank(path, exercise)
    mine = path.read_bytes().decode(errors="replace") if begun else exercise.blank()
    whose = f"yours, {display.shown_path(path)}" if begun else "what was given"
    return Texts(begun, mine, exercise.solution(), whose)


def difference(course: Course, exercise: Exercise) -> None:
    """Print what is other in the engine's file than in the learner's, or than in what was given if there is none."""
    both, console = texts(course, exercise), course.console
    course.say(f"{exercise.name}: - {both.whose}; + the engine's\n", style="bold")
    if not both.difference:
        course.say(f"{SAME}\n")
        return
    for line in both.difference:
        style = STYLES.get(line[0], "")
        row = display.difference(line, style, console) if sys.stdout.isatty() else Text(line, style)
        console.print(row, soft_wrap=True)
    course.say(f"\nBoth files whole: {course.command('solution', exercise.name, '--whole')}\n", style="dim")


def _whole(course: Course, exercise: Exercise) -> None:
    both, console = texts(course, exercise), course.console
    shown = {both.whose: both.mine} if both.begun else {}
    shown["the engine's"] = both.engine
    if len(shown) == 2 and console.width >= TWO_COLUMNS:
        print(display.side_by_side(shown, console))
        return
    for title, text in shown.items():
        course.say(f"{exercise.name}, {title}\n", style="bold")
        print(display.code(text, console))

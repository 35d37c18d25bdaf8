"""What helps who is stuck: the hints, and how the engine's own file differs from the learner's."""

import difflib
import re
import sys
from pathlib import Path

from rich.text import Text

from lessons import display
from lessons.checking import first_to_do
from lessons.course import Course
from lessons.exercises import Exercise
from lessons.files import is_blank
from lessons.progress import changing, load
from tinygpt.errors import UserError

TWO_COLUMNS = 130  # characters from which two files fit side by side
STYLES = {"-": "red", "+": "green", "@": "cyan"}  # of a difference's lines


def hint(course: Course, exercises: list[Exercise], all: bool) -> int:
    """Give the next hint of the first exercise that is not done, or show those given so far."""
    progress = load(course.work)
    for exercise in exercises if all else [first_to_do(course, exercises)]:
        hints = read_hints(course.folder, exercise.name)
        given = min(progress.exercise(exercise.name).hints, len(hints))
        if all:
            numbers = range(given)
            if not numbers:
                course.say(
                    f"No hint for {exercise.name} was given yet; the first: {course.command('hint', exercise.name)}"
                )
        elif given < len(hints):
            numbers = range(given, given + 1)
            with changing(course.work) as progress:
                progress.exercise(exercise.name).hints = given + 1
        else:
            numbers = range(given - 1, given)
            course.say(
                f"That was the last hint; here it is again. The solution: {course.command('solution', exercise.name)}"
            )
        for number in numbers:
            course.say(f"{exercise.name}, hint {number + 1} of {len(hints)}\n", style="bold")
            print(display.markdown(hints[number], course.console))
    return 0


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
        if not yes and not load(course.work).exercise(exercise.name).attempts:
            raise UserError(
                f"{exercise.name} was not tried yet: change its file and check it first, "
                f"or see the solution all the same with {course.command('solution', exercise.name, '--yes')}"
            )
    for exercise in exercises:
        (_whole if whole else difference)(course, exercise)
    return 0


def difference(course: Course, exercise: Exercise) -> None:
    """Print what is other in the engine's file than in the learner's, or than in what was given if there is none."""
    path, console = course.file(exercise), course.console
    begun = path.exists() and not is_blank(path, exercise)
    mine = path.read_bytes().decode(errors="replace") if begun else exercise.blank()
    whose = f"yours, {display.shown_path(path)}" if begun else "what was given"
    course.say(f"{exercise.name}: - {whose}; + the engine's\n", style="bold")
    lines = list(difflib.unified_diff(mine.splitlines(), exercise.solution().splitlines(), lineterm=""))[2:]
    if not lines:
        course.say("There is no difference: yours is the engine's, letter for letter.\n")
        return
    for line in lines:
        style = STYLES.get(line[0], "")
        row = display.difference(line, style, console) if sys.stdout.isatty() else Text(line, style)
        console.print(row, soft_wrap=True)
    course.say(f"\nBoth files whole: {course.command('solution', exercise.name, '--whole')}\n", style="dim")


def _whole(course: Course, exercise: Exercise) -> None:
    path, console = course.file(exercise), course.console
    texts = {"the engine's": exercise.solution()}
    if path.exists() and not is_blank(path, exercise):
        texts = {f"yours, {display.shown_path(path)}": path.read_bytes().decode(errors="replace")} | texts
    if len(texts) == 2 and console.width >= TWO_COLUMNS:
        print(display.side_by_side(texts, console))
        return
    for title, text in texts.items():
        course.say(f"{exercise.name}, {title}\n", style="bold")
        print(display.code(text, console))

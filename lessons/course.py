"""The course as a whole: which lessons and exercises there are, how far the learner is, and what to type next."""

import difflib
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from lessons import display
from lessons.cells import Cell, Lesson, find_lessons
from lessons.exercises import ASKED, Exercise, find_exercises
from lessons.progress import Progress, load
from tinygpt.errors import UserError

NARROW = 60  # characters below which a column of its own for the exercises leaves too little for the titles
COMMANDS = ("start", "check", "hint", "solution", "reset", "answers", "try", "run", "page", "web", "site")
YOUR_TURN = re.compile(r"^## Your turn: .+$", re.MULTILINE)


@dataclass(frozen=True)
class Course:
    """The lessons in one folder, and the learner's own files in another."""

    folder: Path
    work: Path
    console: Console

    @cached_property
    def lessons(self) -> dict[int, Lesson]:
        return find_lessons(self.folder)

    @cached_property
    def exercises(self) -> dict[str, Exercise]:
        return find_exercises(self.lessons)

    def of(self, lesson: Lesson) -> list[Exercise]:
        """The exercises of a lesson."""
        return [exercise for exercise in self.exercises.values() if exercise.lesson == lesson.number]

    def asked(self, cell: Cell) -> list[str]:
        """The names of the exercises that a cell of prose asks for."""
        headings = [] if cell.is_code else YOUR_TURN.findall(cell.text)
        return [name for heading in headings for name, _ in ASKED.findall(heading.partition(": ")[2])]

    def file(self, exercise: Exercise) -> Path:
        """The learner's file: of Python, or of CUDA C for a kernel."""
        return self.work / exercise.file

    def command(self, *words: object) -> str:
        """What to type, such as "python -m lessons check 7"."""
        work = () if self.work == self.folder / "work" else ("--work", str(self.work))
        return display.shell_line("python", "-m", "lessons", *map(str, words), *work)

    def say(self, text: str, style: str | None = None) -> None:
        """Print sentences, folded between words on a terminal and in one piece anywhere else."""
        if sys.stdout.isatty():
            text = display.sentences(text, self.console)
        self.console.print(text, style=style, soft_wrap=True)

    def quote(self, line: str, mark: str) -> None:
        """Print a line of somebody else's, dim, with a mark before it and before what of it is folded."""
        rows = [line] if not sys.stdout.isatty() else display.rows(line, self.console, self.console.width - len(mark))
        for row in rows:
            self.console.print(f"{mark}{row}".rstrip(), style="dim", soft_wrap=True)

    # What a reader means by a word

    def lesson(self, word: str) -> Lesson:
        """A lesson by its number, its name or else one of its exercises."""
        if word.isdecimal():
            if int(word) not in self.lessons:
                raise UserError(f"there is no lesson {int(word)}; {self._known()}")
            return self.lessons[int(word)]
        name = _name(word)
        for lesson in self.lessons.values():
            if name in (lesson.name, lesson.path.stem):
                return lesson
        if name in self.exercises and self.exercises[name].lesson in self.lessons:
            return self.lessons[self.exercises[name].lesson]
        names = [lesson.name for lesson in self.lessons.values()]
        near = difflib.get_close_matches(name, [*self.exercises, *names, *COMMANDS], n=1)
        hint = f"did you mean {near[0]}?" if near else self._known()
        raise UserError(f"there is no lesson, exercise or command {word!r}; {hint}")

    def _known(self) -> str:
        return f"the lessons are {min(self.lessons, default=0)} to {max(self.lessons, default=0)}"

    def selected(self, words: list[str]) -> list[Exercise]:
        """The exercises that words name: one by its name or its file, all of a lesson by its number."""
        chosen: dict[str, Exercise] = {}
        for word in words:
            name = _name(word)
            if name in self.exercises:
                chosen[name] = self.exercises[name]
            else:
                lesson = self.lesson(word)
                if not self.of(lesson):
                    raise UserError(
                        f"lesson {lesson.number}, {lesson.title}, has no exercise{self._next_with_one(lesson)}"
                    )
                chosen |= {exercise.name: exercise for exercise in self.of(lesson)}
        return list(chosen.values())

    def _next_with_one(self, lesson: Lesson) -> str:
        later = [exercise.lesson for exercise in self.exercises.values() if exercise.lesson > lesson.number]
        return f"; the next that has one is lesson {min(later)}" if later else ", and no lesson after it has one"

    # How far the learner is

    def state(self, lesson: Lesson, progress: Progress) -> str:
        """ "done", "in progress" or ""."""
        own, names = progress.lesson(lesson.number), [exercise.name for exercise in self.of(lesson)]
        if own.ended and all(self.exercise_state(name, progress) == "done" for name in names):
            return "done"
        begun = own.ended or own.place > 0 or any(self.exercise_state(name, progress) for name in names)
        return "in progress" if begun else ""

    def exercise_state(self, name: str, progress: Progress) -> str:
        """ "done", "begun" or ""."""
        if not self.file(self.exercises[name]).exists():
            return ""
        return "done" if progress.exercise(name).done else "begun"

    def next(self, progress: Progress) -> str:
        """One sentence with what to type next. An optional lesson that is not begun is passed over, and named."""
        states = {number: self.state(lesson, progress) for number, lesson in self.lessons.items()}
        left = [lesson for lesson in self.lessons.values() if states[lesson.number] != "done"]
        for lesson in left:
            if lesson.optional and not states[lesson.number]:
                continue
            if not progress.lesson(lesson.number).ended:
                passed = _optional(other for other in left if other.number < lesson.number)
                return f"Next: {self.command(lesson.number)}{passed}"
            return f"Next: {self.next_of(lesson, progress)}"
        train = display.shell_line("python", "train.py", "--mine", display.shown_path(self.work))
        done = "All lessons are done" + (
            f" but what is optional: {listed(lesson.number for lesson in left)}" if left else ""
        )
        return f"{done}. Train a GPT on your own layers: {train}"

    def next_of(self, lesson: Lesson, progress: Progress) -> str:
        """What to type next in a lesson: see `following`."""
        return str(self.following(lesson, progress))

    def following(self, lesson: Lesson, progress: Progress) -> "Following":
        """What comes next in a lesson: on with its text where that was left in the midst of it, else its exercise if
        that is not done, else the next lesson.
        """
        own = progress.lesson(lesson.number)
        if own.place and not own.ended:
            return Following(self.command(lesson.number), lesson, more=f"  (from cell {own.place + 1})")
        names = [exercise.name for exercise in self.of(lesson)]
        if command := self.to_write(names, progress):
            todo = next(name for name in names if self.exercise_state(name, progress) != "done")
            return Following(command, lesson, todo)
        later = [other for number, other in self.lessons.items() if number > lesson.number]
        for following in later:
            if not following.optional:
                passed = _optional(other for other in later if other.number < following.number)
                return Following(self.command(following.number), following, more=passed)
        return Following(self.command(), more=_optional(later))

    def to_write(self, names: list[str], progress: Progress | None = None) -> str:
        """What to type for the first of some exercises that is not done, or "" if all are."""
        progress = progress or load(self.work)
        states = {name: self.exercise_state(name, progress) for name in names}
        for name, state in states.items():
            if state != "done":
                lesson = self.exercises[name].lesson
                whole = names == [exercise.name for exercise in self.of(self.lessons[lesson])]
                whole &= len(states) == 1 or not any(states.values())
                return self.command("check" if state else "start", lesson if whole else name)
        return ""

    def after(self, lesson: Lesson) -> str:
        """What comes after the end of a lesson, in a sentence."""
        progress = load(self.work)
        todo = [exercise for exercise in self.of(lesson) if self.exercise_state(exercise.name, progress) != "done"]
        return f"{'Its exercise' if todo else 'Next'}: {self.next_of(lesson, progress)}"

    def show(self) -> int:
        """The list: every lesson with what is done, in progress and next."""
        progress = load(self.work)
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(justify="right")
        table.add_column()
        narrow, timed = self.console.width < NARROW, any(lesson.minutes for lesson in self.lessons.values())
        if timed and not narrow:
            table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column()
        following = "next"
        for lesson in self.lessons.values():
            state = self.state(lesson, progress)
            if state != "done" and (state or not lesson.optional):
                state, following = state or following, ""
            names = [exercise.name for exercise in self.of(lesson)]
            exercises = ", ".join(f"{name} {self.exercise_state(name, progress)}".strip() for name in names)
            cells = [lesson.title, *([length(lesson)] if timed else []), state, exercises]
            if narrow:  # all below the title
                below = " · ".join(filter(None, (length(lesson), exercises)))
                cells = [f"{lesson.title}\n{below}".rstrip(), state]
            table.add_row(str(lesson.number), *cells, style="dim" if state == "done" else "bold" if state else None)
        print(display.rendered(table, self.console, self.console.width), end="")
        self.say(f"\n{self.next(progress)}")
        return 0


class Following(NamedTuple):
    """What comes next: what to type for it, the lesson and its exercise that it leads to, and what else is to be said;
    without a lesson it is the list.
    """

    command: str
    lesson: Lesson | None = None
    exercise: str = ""
    more: str = ""

    def __str__(self) -> str:
        return self.command + self.more


def length(lesson: Lesson) -> str:
    """How long a lesson takes, such as "40 min, optional"; "" where it does not say."""
    return (f"{lesson.minutes} min" if lesson.minutes else "") + (", optional" if lesson.optional else "")


def _name(word: str) -> str:
    """The exercise or lesson that a word names, which may be its file."""
    return Path(word).stem if word.endswith((".py", ".cu")) else word


def listed(words: Iterable[object]) -> str:
    """Words as a sentence has them: "1, 2 and 3"."""
    said = list(map(str, words))
    return " and ".join([", ".join(said[:-1])] * bool(said[1:]) + said[-1:])


def _optional(lessons: Iterable[Lesson]) -> str:
    """Which lessons were passed over, as the end of a sentence."""
    passed = [lesson for lesson in lessons if lesson.optional]
    return f"  (optional before it: {listed(lesson.number for lesson in passed)})" if passed else ""

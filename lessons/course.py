"""The course as a whole: which lessons and exercises there are, how far the learner is, and what to type next."""

import difflib
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lessons import display
from lessons.cells import Lesson, find_lessons
from lessons.exercises import Exercise, find_exercises
from lessons.progress import Progress, load
from tinygpt.errors import UserError

NARROW = 60  # characters below which a column of its own for the exercises leaves too little for the titles
COMMANDS = ("start", "check", "hint", "solution", "reset")


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

    def file(self, exercise: Exercise) -> Path:
        """The learner's file."""
        return self.work / f"{exercise.name}.py"

    def command(self, *words: object) -> str:
        """What to type, such as "python -m lessons check 7"."""
        work = () if self.work == self.folder / "work" else ("--work", str(self.work))
        return display.shell_line("python", "-m", "lessons", *map(str, words), *work)

    def say(self, text: str, style: str | None = None) -> None:
        """Print sentences, folded between words on a terminal and in one piece anywhere else."""
        self.console.print(text, style=style, soft_wrap=not sys.stdout.isatty())

    # What a reader means by a word

    def lesson(self, word: str) -> Lesson:
        """A lesson by its number, its name or else one of its exercises."""
        if word.isdecimal():
            if int(word) not in self.lessons:
                raise UserError(f"there is no lesson {int(word)}; {self._known()}")
            return self.lessons[int(word)]
        name = Path(word).stem if word.endswith(".py") else word
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
            name = Path(word).stem if word.endswith(".py") else word
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
        """One sentence with what to type next."""
        for lesson in self.lessons.values():
            if self.state(lesson, progress) == "done":
                continue
            if not progress.lesson(lesson.number).ended:
                return f"Next: {self.command(lesson.number)}"
            return f"Next: {self.next_of(lesson, progress)}"
        train = display.shell_line("python", "train.py", "--mine", display.shown_path(self.work))
        return f"All lessons are done. Train a GPT on your own layers: {train}"

    def next_of(self, lesson: Lesson, progress: Progress) -> str:
        """What to type when a lesson was read: its exercise if that is not done, else the next lesson."""
        states = {exercise.name: self.exercise_state(exercise.name, progress) for exercise in self.of(lesson)}
        for name, state in states.items():
            if state != "done":
                whole = len(states) == 1 or not any(states.values())
                return self.command("check" if state else "start", lesson.number if whole else name)
        later = [other for number, other in self.lessons.items() if number > lesson.number]
        return self.command(later[0].number) if later else self.command()

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
        table.add_column(no_wrap=True)
        table.add_column()
        following = "next"
        for lesson in self.lessons.values():
            state = self.state(lesson, progress)
            if state != "done":
                state, following = state or following, ""
            names = [exercise.name for exercise in self.of(lesson)]
            exercises = ", ".join(f"{name} {self.exercise_state(name, progress)}".strip() for name in names)
            cells = [lesson.title, state, exercises]
            if self.console.width < NARROW and exercises:  # below the title
                cells = [f"{lesson.title}\n{exercises}", state]
            table.add_row(str(lesson.number), *cells, style="dim" if state == "done" else "bold" if state else None)
        print(display.rendered(table, self.console, self.console.width), end="")
        self.say(f"\n{self.next(progress)}")
        return 0

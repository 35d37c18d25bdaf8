"""`python -m lessons 7`: a lesson in the terminal, a screenful at a time, its cells run as they are reached."""

from collections.abc import Sequence

import numpy as np

from lessons import display, printer
from lessons.cells import Lesson
from lessons.checks import is_silent
from lessons.course import Course, listed
from lessons.derivation import Derivation
from lessons.derive import derive
from lessons.progress import changing, load
from lessons.prompt import python_prompt
from lessons.runner import Runner
from lessons.screen import Left, Printing, Screen
from lessons.stale import reads

ROOM = 4  # rows of a screen left for what comes below a page: what the code prints, or a sentence and the keys
DERIVING = 8  # rows in which a derivation begins
KEYS = {
    "Enter": "run the code that is shown, or go on",
    "b": "back, to what a cell showed when it last ran",
    "r": "run the cell again",
    "s": "run all that is stale again: what read a value that has changed since",
    "c": "the cells with the checks of what the words say",
    "d": "derive again what you have derived before",
    "p": "a Python prompt with the lesson's variables",
    "w": "wait before a cell is run, or no more",
    "a": "the answers to the lesson's questions",
    "a number": "go to that cell",
    "q": "leave; the place is remembered",
    "?": "this list",
}


def step(lesson: Lesson, course: Course, from_top: bool) -> int:
    """Step through a lesson from the remembered place, or from its top."""
    place = 0 if from_top else min(load(course.work).lesson(lesson.number).place, len(lesson.body) - 1)
    with Runner(lesson) as runner:
        stepper = Stepper(lesson, course, runner)
        try:
            stepper.interact(place)
        except Left:
            pass
    if stepper.at_end:
        course.say(f"\nThe end of lesson {lesson.number}. {course.after(lesson)}")
    else:
        at, last = max(stepper.page.stop, 1), len(lesson.body)
        course.say(f"Your place, cell {at} of {last}, is kept; go on with: {course.command(lesson.number)}")
    return 0


class Stepper:
    """The reader's way through one lesson: pages of cells, and one key and Enter at a time."""

    def __init__(self, lesson: Lesson, course: Course, runner: Runner):
        self.lesson, self.course, self.runner = lesson, course, runner
        self.screen = Screen(course.console, live=True)
        self.page = range(0)  # the cells on the screen
        self.waiting = False  # whether the page's code is shown and not run yet
        self.at_end = False
        self.heights: dict[int, list[int]] = {}  # of all cells, in rows, by the width of the terminal
        progress = load(course.work)
        self.waits, self.derived = progress.waits, set(progress.lesson(lesson.number).derived)

    def interact(self, place: int) -> None:
        """Show the page of the cell `place`, and do what the reader asks until they leave."""
        np.set_printoptions(linewidth=min(np.get_printoptions()["linewidth"], self.course.console.width))
        self.screen.say(
            "Enter runs what is shown, and goes on. Or type a key and Enter: b back, p a Python prompt, q leave, "
            "? all keys.\n"
        )
        if place:
            self.screen.say("The cells up to your place are run again (under 10 seconds).\n")
        self.go(place)
        keys = {"": self.enter, "b": self.back, "r": self.run_again, "s": self.run_stale, "c": self.show_checks,
                "d": self.derive_again, "p": self.prompt, "w": self.toggle_waiting, "a": self.answers,
                "?": self.list_keys, "h": self.list_keys}  # fmt: skip
        while (line := self.ask()) not in ("q", "Q") and not (line == "" and self.at_end):
            if line.isdecimal():
                self.jump(int(line))
            elif line.lower() in keys:
                keys[line.lower()]()
            else:
                self.refuse(line)

    def ask(self) -> str:
        """What the reader types."""
        keys = "Enter runs it, q ?" if self.waiting else "Enter b r p q ?"
        return self.screen.ask(f"cell {self.page.stop} of {len(self.lesson.body)} [{keys}] ")

    def refuse(self, line: str) -> None:
        """Say that a line is no key, and where it belongs if it is Python."""
        where = ""
        if any(sign in line for sign in "=(.["):
            index = self.to_derive_here()
            if index is None:
                where = " Python is typed at the prompt that p opens."
            elif self.is_to_derive(index):
                before = "once the code that is shown has run" if self.waiting else "with the next Enter"
                where = f" Lines are asked for at derive>, which comes {before}."
            else:
                where = " Lines are asked for at derive>; d derives again."
        self.screen.say(f"There is no key {line!r}; ? lists them.{where}")

    def to_derive_here(self) -> int | None:
        """The cell whose function is derived on this page, or next, as the words of this page ask."""
        near = (index for index in (self.page[-1], self.page.stop) if index < len(self.lesson.body))
        return next((index for index in near if self.lesson.cells[index].derive), None)

    # Pages

    def pages(self) -> Sequence[range]:
        """The cells in screenfuls: as much prose as fits, and the code that it leads to."""
        width, rows = self.course.console.size
        cells = self.lesson.body
        if width not in self.heights:
            self.heights[width] = [
                DERIVING if self.is_to_derive(index) else self.shown(index).count("\n") for index in range(len(cells))
            ]
        pages, start = [], 0
        for index, cell in enumerate(cells):
            if index > start and sum(self.heights[width][start : index + 1]) > rows - ROOM:
                pages.append(range(start, index))
                start = index
            if cell.is_code or self.course.asked(cell) or index == len(cells) - 1:
                pages.append(range(start, index + 1))
                start = index + 1
        return pages

    def shown(self, index: int, whole: bool = False) -> str:
        """A cell as it stands on the screen, without its output."""
        return printer.shown(self.lesson, index, self.screen, whole)

    def go(self, index: int, again: bool = False) -> None:
        """Show the page that holds a cell, once all that stands before it has been run; stop at a cell that fails.
        again: whether what was derived is derived anew.
        """
        self.page, self.waiting = next(page for page in self.pages() if index in page), False
        for before in range(self.page.start):
            if self.is_new(before):
                self.runner.run(before)
                if before in self.runner.troubles:
                    return self.go(before)
        self.remember(self.page.start)
        for index in self.page:
            cell = self.lesson.cells[index]
            derives = self.is_to_derive(index) or again and bool(cell.derive)
            if derives:
                self.derive(index)
            self.screen.show(self.shown(index))
            if not cell.is_code:
                continue
            if not self.is_new(index):
                self.show_output(index)
            elif self.waits and not derives and not is_silent(cell.text):
                self.waiting = True
            else:
                self.run(index)
        self.close_page()

    def close_page(self) -> None:
        """What is said below a page once all of it was seen, and remembered."""
        if self.waiting:
            return
        last = self.lesson.cells[self.page[-1]]
        if names := self.course.asked(last):
            if command := self.course.to_write(names):
                self.screen.say(f"Now: {command}\nThe place is remembered if you leave by q.\n")
            else:
                self.screen.say(f"{listed(names)} {'is' if len(names) == 1 else 'are'} right already.\n")
        self.at_end = self.page.stop == len(self.lesson.body)
        if self.at_end:
            self.remember(0, ended=True)
            if len(self.lesson.cells) > len(self.lesson.body):
                self.screen.note("The answers are folded; a shows them.")

    def remember(self, place: int, ended: bool = False) -> None:
        """Keep the reader's place, and whether they were at the end."""
        self.at_end = ended
        with changing(self.course.work) as progress:
            kept = progress.lesson(self.lesson.number)
            kept.place, kept.ended = place, kept.ended or ended

    # Running

    def is_new(self, index: int) -> bool:
        return self.lesson.cells[index].is_code and index not in self.runner.outputs

    def is_to_derive(self, index: int) -> bool:
        """Whether the reader is to write a cell's function before it is shown."""
        call = self.lesson.cells[index].derive
        return bool(call) and call not in self.derived and self.is_new(index)

    def run(self, index: int) -> None:
        """Run a cell, show what it prints, and say what it makes stale and what went wrong."""
        before = set(self.runner.ledger.stale)
        with Printing(self.screen) as printing:
            self.runner.run_again(index, printing.write)
        self.say_trouble(index)
        self.say_if_stale(index)
        self.say_newly_stale(before | {index})
        self.screen.show("\n")

    def show_output(self, index: int) -> None:
        """What a cell printed when it last ran, marked if it would print something else now."""
        self.say_if_stale(index)
        self.screen.show(self.screen.printed(self.runner.outputs[index]))
        self.say_trouble(index)
        self.screen.show("\n")

    def say_trouble(self, index: int) -> None:
        if trouble := self.runner.troubles.get(index):
            self.screen.say(trouble.rstrip("\n"), style="red")
            self.screen.say("r runs the cell again, Enter goes on without it.")

    def say_if_stale(self, index: int) -> None:
        if why := self.runner.ledger.stale.get(index):
            was = "was" if len(why) == 1 else "were"
            names = ", ".join(sorted(why))
            self.screen.note(f"stale: {names} {was} changed since it ran; s runs all that is stale, r this cell")

    def say_newly_stale(self, before: set[int]) -> None:
        if new := sorted(set(self.runner.ledger.stale) - before):
            cells = ("cell " if len(new) == 1 else "cells ") + ", ".join(str(index + 1) for index in new)
            self.screen.note(f"stale now, by what has changed: {cells}; s runs all that is stale again")

    def derive(self, index: int) -> None:
        """Let the reader write the cell's function, on what the cells above have left."""
        cell = self.lesson.cells[index]
        for before in self.runner.ledger.needed(index, reads(compile(cell.derive, "<derive>", "eval"))):
            self.runner.run(before)
        try:
            derivation = Derivation(cell, self.runner.variables)
        except Exception as error:  # such as of a reader who has deleted a variable
            return self.screen.say(f"It cannot be derived here: {type(error).__name__}: {error}", style="red")
        if derive(derivation, self.screen):
            self.derived.add(cell.derive)
            with changing(self.course.work) as progress:
                kept = progress.lesson(self.lesson.number)
                kept.derived = sorted({*kept.derived, cell.derive})
        self.screen.say("The lesson's own:\n")

    # Keys

    def enter(self) -> None:
        if not self.waiting:
            return self.go(self.page.stop)
        self.waiting = False
        self.run(self.page[-1])
        self.close_page()

    def back(self) -> None:
        if self.page.start == 0:
            return self.screen.say("This is the first cell.")
        self.go(self.page.start - 1)

    def jump(self, number: int) -> None:
        if 1 <= number <= len(self.lesson.body):
            return self.go(number - 1)
        self.screen.say(f"There is no cell {number}; the lesson has {len(self.lesson.body)}.")

    def run_again(self) -> None:
        if not self.lesson.cells[self.page[-1]].is_code:
            return self.screen.say("There is no code here to run.")
        self.waiting = False
        self.run(self.page[-1])
        self.close_page()

    def run_stale(self) -> None:
        """Run what is stale in the lesson's order; what that makes stale in turn comes after it."""
        if not self.runner.ledger.stale:
            return self.screen.say("No cell is stale.")
        last = -1
        while later := [index for index in sorted(self.runner.ledger.stale) if index > last]:
            last = later[0]
            self.screen.note(f"cell {last + 1}")
            self.run(last)
            if last in self.runner.troubles:
                return

    def show_checks(self) -> None:
        for index in self.page:
            if self.lesson.cells[index].is_code:
                self.screen.show(self.shown(index, whole=True))

    def derive_again(self) -> None:
        index = self.to_derive_here()
        if index is None:
            return self.screen.say("There is nothing here to derive.")
        if index not in self.page:
            return self.go(index, again=True)
        self.derive(index)
        self.screen.show(self.shown(index))

    def prompt(self) -> None:
        before = set(self.runner.ledger.stale)
        with self.runner.changing():
            python_prompt(self.runner.variables, self.course)
        self.screen.used = 0  # the reader was there
        self.say_newly_stale(before)

    def toggle_waiting(self) -> None:
        self.waits = not self.waits
        with changing(self.course.work) as progress:
            progress.waits = self.waits
        self.screen.say(
            "From now on code is shown, and run when you press Enter." if self.waits
            else "From now on code is run as it is shown; w waits again."
        )  # fmt: skip

    def answers(self) -> None:
        if len(self.lesson.cells) == len(self.lesson.body):
            return self.screen.say("This lesson has no answers.")
        printer.print_cells(self.lesson, range(len(self.lesson.body), len(self.lesson.cells)), self.screen)

    def list_keys(self) -> None:
        self.screen.show(display.two_columns(KEYS, self.course.console))

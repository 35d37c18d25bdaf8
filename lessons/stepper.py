"""`python -m lessons 7`: a lesson in the terminal, a screenful at a time, its cells run as they are reached."""

import builtins
import code
import contextlib
import sys
import traceback
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, TextIO

import numpy as np

from lessons import display
from lessons.cells import Lesson
from lessons.course import Course
from lessons.progress import changing, load

try:
    import readline  # line editing and history, where Python has it
except ImportError:
    readline = None  # type: ignore[assignment]

ROOM = 5  # rows of a screen left for what the code prints and for the keys
KEYS = {
    "Enter": "go on",
    "b": "back, to what a cell showed when it last ran",
    "r": "run the cell again",
    "p": "a Python prompt with the lesson's variables",
    "a number": "go to that cell",
    "q": "leave; the place is remembered",
    "?": "this list",
}


class Runner:
    """Runs a lesson's cells in one namespace, the module `__main__`, and keeps what they print.

    As a context it stands in for the program's own `__main__`, so that inspect, tracebacks and `from kit import ...`
    find what they would find when the lesson is run as a file.
    """

    def __init__(self, lesson: Lesson):
        self.lesson = lesson
        self.module = ModuleType("__main__")
        self.module.__file__ = str(lesson.path)
        self.outputs: dict[int, str] = {}  # of each cell that was run, by its index
        self.troubles: dict[int, str] = {}  # of those that did not come to their end

    def __enter__(self) -> "Runner":
        self._before = sys.modules["__main__"], sys.path[:], sys.argv, np.get_printoptions()
        sys.modules["__main__"] = self.module
        sys.path.insert(0, str(self.lesson.path.parent))
        sys.argv = [str(self.lesson.path)]
        return self

    def __exit__(self, *_: Any) -> None:
        sys.modules["__main__"], sys.path[:], sys.argv, options = self._before
        np.set_printoptions(**options)

    def run(self, index: int, shown: bool) -> None:
        """Run one cell; what it prints is shown as it comes, or only kept."""
        cell = self.lesson.cells[index]
        kept: list[str] = []
        self.troubles.pop(index, None)
        try:
            with (
                contextlib.redirect_stdout(_Recorder(sys.stdout, kept, shown)),
                contextlib.redirect_stderr(_Recorder(sys.stderr, kept, shown)),
            ):
                lines = "\n" * (cell.line - 1) + cell.text  # so that line numbers are those of the file
                exec(compile(lines, str(self.lesson.path), "exec", dont_inherit=True), self.module.__dict__)
        except KeyboardInterrupt:
            self.troubles[index] = "Stopped by Ctrl-C.\n"
        except BrokenPipeError:  # whoever read the output has left
            raise
        except (Exception, SystemExit) as error:
            self.troubles[index] = self._explained(error)
        if kept and not kept[-1].endswith("\n"):
            kept.append("\n")
            if shown:
                print()
        self.outputs[index] = "".join(kept)

    def _explained(self, error: BaseException) -> str:
        """A traceback of the lesson's own lines."""
        frames = [
            f"  {self.lesson.path.name}, line {frame.lineno}, in {frame.name}\n    {frame.line}\n"
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == str(self.lesson.path)
        ]
        return "".join(frames + traceback.format_exception_only(type(error), error))


class _Recorder:
    """A stream that keeps what is written to it, and passes it on if it is to be shown."""

    def __init__(self, stream: TextIO, kept: list[str], shown: bool):
        self.stream, self.kept, self.shown = stream, kept, shown

    def write(self, text: str) -> int:
        if text:
            self.kept.append(text)
            if self.shown:
                self.stream.write(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:  # isatty, flush, encoding and the like
        return getattr(self.stream, name)


def print_all(lesson: Lesson, course: Course) -> int:
    """Everything from top to bottom, for a pipe or a file. The status is 1 if a cell raises."""
    with Runner(lesson) as runner:
        for index, cell in enumerate(lesson.cells):
            if not cell.is_code:
                print(display.markdown(cell.text, course.console), flush=True)
                continue
            print(display.code(cell.text, course.console), flush=True)
            runner.run(index, shown=True)
            if trouble := runner.troubles.get(index):
                print(trouble, end="")
                print(f"error: cell {index + 1} of lesson {lesson.number} did not come to its end", file=sys.stderr)
                return 130 if trouble.startswith("Stopped") else 1
            if runner.outputs[index]:
                print()
    with changing(course.work) as progress:
        progress.lesson(lesson.number).ended = True
    return 0


def step(lesson: Lesson, course: Course, from_top: bool) -> int:
    """Step through a lesson from the remembered place, or from its top."""
    place = 0 if from_top else min(load(course.work).lesson(lesson.number).place, len(lesson.cells) - 1)
    with Runner(lesson) as runner:
        stepper = Stepper(lesson, course, runner)
        stepper.interact(place)
    at, last = stepper.page.stop, len(lesson.cells)
    if at == last:
        course.say(f"\nThe end of lesson {lesson.number}. {course.after(lesson)}")
    else:
        course.say(f"Your place, cell {at} of {last}, is kept; go on with: {course.command(lesson.number)}")
    return 0


class Stepper:
    """The reader's way through one lesson: pages of cells, and one key and Enter at a time."""

    def __init__(self, lesson: Lesson, course: Course, runner: Runner):
        self.lesson, self.course, self.runner = lesson, course, runner
        self.page = range(0)  # the cells on the screen
        self.heights: dict[int, list[int]] = {}  # of all cells, in rows, by the width of the terminal

    def interact(self, place: int) -> None:
        """Show the page of the cell `place`, and do what the reader asks until they leave."""
        np.set_printoptions(linewidth=min(np.get_printoptions()["linewidth"], self.course.console.width))
        self.course.say(
            "Enter goes on. Or type a key and Enter: b back, r run again, p a Python prompt, q leave, ? all keys.\n"
        )
        if place:
            self.course.say("You were here before; the cells up to your place are run again (under 10 seconds).\n")
        self.go(place)
        while True:
            key = self.ask()
            if key == "q" or (key == "" and self.page.stop == len(self.lesson.cells)):
                return
            if key == "":
                self.go(self.page.stop)
            elif key == "b" and self.page.start > 0:
                self.go(self.page.start - 1)
            elif key == "b":
                print("This is the first cell.")
            elif key == "r":
                self.run_again()
            elif key == "p":
                python_prompt(self.runner.module.__dict__, self.course)
                if kit := sys.modules.get("kit"):
                    kit.exploring = True  # what the words state need not be so any more
            elif key.isdecimal():
                self.jump(int(key))
            elif key in ("?", "h"):
                for name, what in KEYS.items():
                    print(f"{name:<9} {what}")
            else:
                print(f"There is no key {key[:20]!r}; ? lists them.")

    def ask(self) -> str:
        """What the reader types; Ctrl-D and Ctrl-C are q."""
        try:
            return input(f"cell {self.page.stop} of {len(self.lesson.cells)} [Enter b r p q ?] ").strip().lower()
        except (EOFError, KeyboardInterrupt):
            print()
            return "q"

    def pages(self) -> Sequence[range]:
        """The cells in screenfuls: as much prose as fits, and the code that it leads to."""
        width, rows = self.course.console.size
        if width not in self.heights:
            self.heights[width] = [self.shown(index).count("\n") + 1 for index in range(len(self.lesson.cells))]
        pages, start = [], 0
        for index, cell in enumerate(self.lesson.cells):
            if index > start and sum(self.heights[width][start : index + 1]) > rows - ROOM:
                pages.append(range(start, index))
                start = index
            if cell.is_code or index == len(self.lesson.cells) - 1:
                pages.append(range(start, index + 1))
                start = index + 1
        return pages

    def shown(self, index: int) -> str:
        """A cell as it stands on the screen, without its output."""
        cell = self.lesson.cells[index]
        return (display.code if cell.is_code else display.markdown)(cell.text, self.course.console)

    def go(self, index: int) -> None:
        """Show the page that holds a cell, once all that stands before it has been run; stop at a cell that fails."""
        self.page = next(page for page in self.pages() if index in page)
        for before in range(self.page.start):
            if self.is_new(before):
                self.runner.run(before, shown=False)
                if before in self.runner.troubles:
                    return self.go(before)
        for index in self.page:
            print(self.shown(index), end="" if self.lesson.cells[index].is_code else "\n", flush=True)
            if self.is_new(index):
                self.runner.run(index, shown=True)
            else:
                print(self.runner.outputs.get(index, ""), end="")
        self.after_running()
        with changing(self.course.work) as progress:
            kept, at_end = progress.lesson(self.lesson.number), self.page.stop == len(self.lesson.cells)
            kept.ended |= at_end
            kept.place = 0 if at_end else self.page.start

    def is_new(self, index: int) -> bool:
        return self.lesson.cells[index].is_code and index not in self.runner.outputs

    def after_running(self) -> None:
        """Say what went wrong in the page's code, if anything did."""
        index = self.page[-1]
        if trouble := self.runner.troubles.get(index):
            self.course.say(trouble.rstrip("\n"), style="red")
            self.course.say("r runs the cell again, Enter goes on without it.")
        if self.lesson.cells[index].is_code:
            print()

    def run_again(self) -> None:
        if not self.lesson.cells[self.page[-1]].is_code:
            return print("There is no code here to run.")
        self.runner.run(self.page[-1], shown=True)
        self.after_running()

    def jump(self, number: int) -> None:
        if 1 <= number <= len(self.lesson.cells):
            return self.go(number - 1)
        print(f"There is no cell {number}; the lesson has {len(self.lesson.cells)}.")


class _Leave:
    """What `exit` and `quit` mean at the Python prompt: back to the lesson, with the brackets or without."""

    def __call__(self, *_: Any) -> None:
        raise SystemExit

    __repr__ = __call__  # type: ignore[assignment]


def python_prompt(variables: dict[str, Any], course: Course) -> None:
    """Python's own prompt on the lesson's variables, until Ctrl-D."""
    names = [name for name, value in variables.items() if name[0] != "_" and not isinstance(value, ModuleType)]
    course.say("Ctrl-D goes back to the lesson. Its names so far: " + (", ".join(names) or "none"))
    exits = builtins.exit, builtins.quit
    builtins.exit = builtins.quit = _Leave()  # type: ignore[assignment]  # Python's own close the input
    try:
        with _completion(variables), contextlib.suppress(SystemExit):
            code.InteractiveConsole(variables, filename="<prompt>").interact(banner="", exitmsg="")
    finally:
        builtins.exit, builtins.quit = exits


@contextlib.contextmanager
def _completion(variables: dict[str, Any]) -> Iterator[None]:
    """Tab completes the names of the lesson."""
    if readline is None:
        yield
        return
    import rlcompleter

    tab = "bind ^I rl_complete" if "libedit" in (readline.__doc__ or "") else "tab: complete"
    readline.parse_and_bind(tab)
    readline.set_completer(rlcompleter.Completer(variables).complete)
    try:
        yield
    finally:
        readline.set_completer(None)

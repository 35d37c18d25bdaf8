"""A lesson's cells run in one namespace, as its file would run."""

import contextlib
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import cached_property
from types import CodeType, ModuleType
from typing import Any, TextIO

import numpy as np

from lessons.cells import Lesson
from lessons.stale import Ledger, changed, fingerprints

OVERWRITTEN = re.compile(r"[^\n]*\r(?!\n)")  # a counter that ran on one line, and the like


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
        self.exploring = False  # whether the variables may be others than the lesson's own

    def __enter__(self) -> "Runner":
        self._before = sys.modules["__main__"], sys.path[:], sys.argv, np.get_printoptions()
        sys.modules["__main__"] = self.module
        sys.path.insert(0, str(self.lesson.path.parent))
        sys.argv = [str(self.lesson.path)]
        return self

    def __exit__(self, *_: Any) -> None:
        sys.modules["__main__"], sys.path[:], sys.argv, options = self._before
        np.set_printoptions(**options)

    @cached_property
    def ledger(self) -> Ledger:
        """Which cells are stale."""
        codes = {}
        for index, cell in enumerate(self.lesson.cells):
            if cell.is_code and not cell.is_answer:
                with contextlib.suppress(SyntaxError):  # which is said when the cell is run
                    codes[index] = self._compiled(index)
        return Ledger(codes)

    @property
    def variables(self) -> dict[str, Any]:
        """The lesson's namespace."""
        return self.module.__dict__

    def run(self, index: int, show: Callable[[str], None] = lambda text: None) -> None:
        """Run one cell; what it prints is kept, and given to `show` as it comes."""
        again = any(other >= index for other in self.outputs)
        before = fingerprints(self.variables) if again else {}
        if again:
            self.explore()
        kept: list[str] = []
        code = None
        self.troubles.pop(index, None)
        try:
            code = self._compiled(index)
            with (
                contextlib.redirect_stdout(_Recorder(sys.stdout, kept, show)),
                contextlib.redirect_stderr(_Recorder(sys.stderr, kept, show)),
            ):
                exec(code, self.variables)
        except KeyboardInterrupt:
            self.troubles[index] = "Stopped by Ctrl-C.\n"
        except BrokenPipeError:  # whoever read the output has left
            raise
        except (Exception, SystemExit) as error:
            self.troubles[index] = self._explained(error)
        output = OVERWRITTEN.sub("", "".join(kept))
        self.outputs[index] = output + "\n" * (output != "" and output[-1] != "\n")
        if code:
            self.ledger.ran(index, code, self.variables)
        if again:
            self.ledger.spread(changed(before, fingerprints(self.variables)), index + 1, overwritten=True)

    def run_again(self, index: int, show: Callable[[str], None] = lambda text: None) -> None:
        """Run a cell on what the cells before it bind, which are run first where later ones have overwritten that."""
        for before in self.ledger.needed(index):
            self.run(before)
        self.run(index, show)

    def explore(self) -> None:
        """From here on the words' numbers need not be so any more, since the reader changed something."""
        self.exploring = True
        if kit := sys.modules.get("kit"):
            vars(kit)["exploring"] = True

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """What is done inside may change variables; the cells that read them are stale then."""
        before = fingerprints(self.variables)
        yield
        self.explore()
        names = changed(before, fingerprints(self.variables))
        for name in names:
            self.ledger.owners.pop(name, None)  # it is the reader's from here on
        self.ledger.spread(names, 0, overwritten=False)

    def _compiled(self, index: int) -> CodeType:
        """A cell's code, with the line numbers of the file; of a reader who explores, without what it asserts."""
        cell = self.lesson.cells[index]
        lines = "\n" * (cell.line - 1) + cell.text
        return compile(lines, str(self.lesson.path), "exec", dont_inherit=True, optimize=1 if self.exploring else -1)

    def _explained(self, error: BaseException) -> str:
        """A traceback of the lesson's own lines."""
        frames = [
            f"  {self.lesson.path.name}, line {frame.lineno}, in {frame.name}\n    {frame.line}\n"
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == str(self.lesson.path)
        ]
        return "".join(frames + traceback.format_exception_only(type(error), error))


class _Recorder:
    """A stream that keeps what is written to it, and passes it on."""

    def __init__(self, stream: TextIO, kept: list[str], show: Callable[[str], None]):
        self.stream, self.kept, self.show = stream, kept, show

    def write(self, text: str) -> int:
        if text:
            self.kept.append(text)
            self.show(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:  # isatty, flush, encoding and the like
        return getattr(self.stream, name)

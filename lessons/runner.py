"""A lesson's cells run in one namespace, as its file would run."""

import contextlib
import linecache
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from types import CodeType, ModuleType
from typing import Any, TextIO

import numpy as np

from lessons.cells import Lesson
from lessons.stale import Ledger, changed, fingerprints, reads

MOST = 1_000_000  # characters that are kept of what a cell prints
LONGEST_ERROR = 10_000  # characters of what an exception says
FRAMES = 20  # of a traceback, half of them from its beginning
NO_CODE = SyntaxError, ValueError, RecursionError, MemoryError, OverflowError  # what compile may raise of a text
OVERWRITTEN = re.compile(r"^[^\n]*\r(?!\n)", re.MULTILINE)  # a counter that ran on one line, and the like


class Runner:
    """Runs a lesson's cells in one namespace, the module `__main__`, and keeps what they print.

    As a context it stands in for the program's own `__main__`, so that inspect, tracebacks and `from kit import ...`
    find what they would find when the lesson is run as a file.
    """

    def __init__(self, lesson: Lesson):
        self.lesson, self.cells = lesson, list(lesson.cells)  # as they are run, which a reader may have edited
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
        for index, cell in enumerate(self.cells):
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
        kept, code = _Kept(show), None
        self.troubles.pop(index, None)
        try:
            code = self._compiled(index)
            with (
                contextlib.redirect_stdout(_Recorder(sys.stdout, kept)),
                contextlib.redirect_stderr(_Recorder(sys.stderr, kept)),
            ):
                exec(code, self.variables)
        except KeyboardInterrupt:
            self.troubles[index] = "Stopped by Ctrl-C.\n"
        except BaseException as error:
            if kept.unread:  # whoever read the output has left
                raise
            self.troubles[index] = self._explained(error)
        self.outputs[index] = kept.text()
        if code:
            self.ledger.ran(index, code, self.variables)
        if again:
            self.ledger.spread(changed(before, fingerprints(self.variables)), index + 1, overwritten=True)

    def run_again(self, index: int, show: Callable[[str], None] = lambda text: None) -> None:
        """Run a cell on what the cells before it bind, which are run first where later ones have overwritten that."""
        for before in self.ledger.needed(index):
            self.run(before)
        self.run(index, show)

    def edit(self, index: int, text: str) -> None:
        """Put another text in the place of a cell's own, to be run from here on."""
        self.cells[index] = replace(self.cells[index], text=text)
        self.explore()
        with contextlib.suppress(*NO_CODE):  # which is said when the cell is run
            self.ledger.to_come[index] = set(reads(self._compiled(index)))

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
        """A cell's code, with the line numbers of the file, or of its own where the reader has edited it; of a reader
        who explores, without what it asserts.
        """
        cell = self.cells[index]
        if cell.text == self.lesson.cells[index].text:
            place, lines = str(self.lesson.path), "\n" * (cell.line - 1) + cell.text
        else:
            place, lines = f"<cell {index + 1} as you changed it>", cell.text
            linecache.cache[place] = len(lines), None, lines.splitlines(keepends=True), place  # for inspect as well
        return compile(lines, place, "exec", dont_inherit=True, optimize=1 if self.exploring else -1)

    def _explained(self, error: BaseException) -> str:
        """A traceback of the lesson's own lines, and of those that the reader wrote."""
        own = str(self.lesson.path)
        frames = [
            f"  {self.lesson.path.name if frame.filename == own else frame.filename[1:-1]}, line {frame.lineno}, "
            f"in {frame.name}\n    {frame.line}\n"
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == own or frame.filename.startswith("<cell ")
        ]
        if len(frames) > FRAMES:
            frames[FRAMES // 2 : -FRAMES // 2] = [f"  ... and {len(frames) - FRAMES:,} more ...\n"]
        said = "".join(traceback.format_exception_only(type(error), error))
        if len(said) > LONGEST_ERROR:
            half, left_out = LONGEST_ERROR // 2, len(said) - LONGEST_ERROR
            said = f"{said[:half]} ... ({left_out:,} characters are left out) ... {said[-half:]}"
        return "".join(frames) + said


class _Kept:
    """What a cell prints, as far as it is kept; all of it is given to `show`."""

    def __init__(self, show: Callable[[str], None]):
        self.show, self.pieces, self.room, self.left_out = show, list[str](), MOST, 0
        self.unread = False  # whether nobody is there to read it
        self.lock = threading.RLock()  # not Lock: what a finalizer prints may come in the middle of it

    def add(self, text: str) -> None:
        with self.lock:
            if piece := text[: self.room]:
                self.pieces.append(piece)
                self.room -= len(piece)
            self.left_out += len(text) - len(piece)
            if len(self.pieces) > 1000:
                self.pieces = ["".join(self.pieces)]
        try:
            self.show(text)
        except BrokenPipeError:
            self.unread = True
            raise

    def text(self) -> str:
        """In whole lines, with what was left out as the last of them."""
        with self.lock:
            output = OVERWRITTEN.sub("", "".join(self.pieces))
        output += "\n" * (output != "" and output[-1] != "\n")
        return output + (f"({self.left_out:,} more characters were printed)\n" if self.left_out else "")


class _Recorder:
    """A stream that keeps what is written to it, and passes it on."""

    def __init__(self, stream: TextIO, kept: _Kept):
        self.stream, self.kept = stream, kept

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() takes a str, not {type(text).__name__}")
        if text:
            self.kept.add(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def close(self) -> None:  # it is not the cell's, and the next cell prints too
        pass

    def __getattr__(self, name: str) -> Any:  # isatty, flush, encoding and the like
        return getattr(self.stream, name)

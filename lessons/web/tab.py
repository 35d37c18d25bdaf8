"""What stands behind an open page: a process of its own, and what that has said, and is said of it.

Events, each told by its first name:

    began: cell                     it runs
    piece: cell, text               what it prints, as far as it is sent
    raw: text, cell                 what it, or a process that it started, prints past Python; cell may be null
    asks: cell                      it waits for a line: `typed`
    came: cell, html, trouble, stale  all that it printed, whether something went wrong, and of all cells that are stale
                                    {cell: names}
    edited: cell, text, highlight, own  it has another text from here on; own: the lesson's own again
    derive: cell, there, wanted, count, total, done, line?, stands?, text?, revealed?, or broken: a sentence
    stuck: words                    what was to be stopped has not for some seconds; `end` ends the process
    ended: words, cell              the process has ended, in a cell or null; what is run next begins in a new one
    note: sentence                  such as of a place that could not be kept
"""

import contextlib
import json
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lessons.cells import Lesson
from lessons.web import markup
from lessons.web.child import BROKEN, CLOSED
from lessons.web.raw_output import RawOutput
from lessons.web.streams import Bounded
from tinygpt.errors import UserError
from tinygpt.gradcheck.own_process import OwnProcess, killed_by

LEFT = 20.0  # seconds after a page said that it is left in which it may come back, as it does when it is loaded anew
SILENT = 900.0  # seconds without a word after which a page is taken to be gone; one in the background is slow
STUCK = 3.0  # seconds after which a cell that was to be stopped has not, which is said
LONGEST_MESSAGE = 64 << 20  # bytes of what the process says at once: the output of a cell, with its plots
LONGEST_CELL = 100_000  # characters that a reader may write into one
WAITING = 100  # requests that may wait for their turn


class Tab:
    """One open page of a lesson: its process, which is there once something is run, and what came of the cells.

    reached: called with each cell that the reader runs or derives. derived: called with the call of a function that
    the reader derived without help. Both may raise UserError.
    """

    def __init__(self, lesson: Lesson, reached: Callable[[int], None], derived: Callable[[str], None]):
        self.lesson, self.reached, self.derived = lesson, reached, derived
        self.changed = threading.Condition(threading.RLock())
        self.process: OwnProcess | None = None
        self.first, self.events = 0, list[dict[str, Any]]()  # the number of the first that is kept, and those
        self.told: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()  # requests, in JSON, on their way to it
        self.asked = self.done = 0  # requests to the process, and those of them that it is done with
        self.texts: dict[int, str] = {}  # of cells that the reader edited
        self.shown: dict[int | str, dict[str, Any]] = {}  # of each cell the last that came, and of a process's end
        self.raw: dict[int | None, Bounded] = {}  # of each cell what was printed past Python
        self.derivations: dict[int, list[dict[str, Any]]] = {}  # of each that was begun all that was said
        self.running: int | None = None
        self.begun = self.marks = 0  # cells that the process has begun, and what told so past Python
        self.piece = ""  # what the cell that runs has printed
        self.asks: dict[str, Any] | None = None  # that it waits for a line
        self.by_request = ""  # why it was ended, if we did
        self.heard, self.left = time.monotonic(), False

    # What the reader asks for

    def run(self, cell: int, text: str | None = None) -> None:
        """Run a cell, with another text if one is given."""
        self._code(cell)
        if text is not None:
            self.edit(cell, text)
        self._reached(cell)
        self._ask("run", cell=cell)

    def edit(self, cell: int, text: str) -> None:
        """Take another text for a cell, which is run from here on."""
        own = self._code(cell).text
        if len(text) > LONGEST_CELL:
            raise UserError(f"a cell may have {LONGEST_CELL:,} characters, and this has {len(text):,}")
        if text != self.texts.get(cell, own):
            self._edited(cell, text)

    def reset(self, cell: int) -> None:
        """Put the lesson's own text back into a cell."""
        own = self._code(cell).text
        if self.texts.get(cell, own) != own:
            self._edited(cell, own)
            if self.process:
                self._ask("again", cell=cell)

    def run_stale(self) -> None:
        """Run what is stale."""
        self._ask("run_stale")

    def answers(self) -> None:
        """Run the answers' code."""
        self._ask("answers")

    def derive(self, cell: int) -> None:
        """Begin to derive the function of a cell."""
        if not self._code(cell).derive:
            raise UserError(f"there is nothing to derive in cell {cell + 1}")
        self._reached(cell)
        with self.changed:
            self.derivations[cell] = []
        self._ask("derive", cell=cell)

    def line(self, cell: int, line: str) -> None:
        """Judge a line of a derivation."""
        if cell not in self.derivations:
            raise UserError("there is no derivation to which this line belongs; begin it anew")
        if len(line) > LONGEST_CELL:
            raise UserError(f"a line may have {LONGEST_CELL:,} characters, and this has {len(line):,}")
        self._ask("line", cell=cell, line=line)

    def reveal(self, cell: int) -> None:
        """Give the lesson's own next line of a derivation."""
        if cell not in self.derivations:
            raise UserError("there is no derivation to which a line belongs; begin it anew")
        self._ask("reveal", cell=cell)

    def typed(self, text: str) -> None:
        """Hand a line to the cell that waits for one."""
        with self.changed:
            if not self.asks:
                raise UserError("no cell waits for a line")
            self.asks = None
            self._tell({"do": "typed", "text": text[:LONGEST_CELL]})

    DOES = {
        "run": run, "edit": edit, "reset": reset, "run_stale": run_stale, "answers": answers, "derive": derive,
        "line": line, "reveal": reveal, "typed": typed,
    }  # fmt: skip

    def stop(self) -> None:
        """End what is under way, and keep the variables. What does not end is said after some seconds."""
        with self.changed:
            if not self.busy:
                return
            self._tell({"do": "stop"})
            process, asked = self.process, self.asked

        def late() -> None:
            with self.changed:
                if self.process is process and self.done < asked:
                    self._add({"stuck": f"it has not stopped in {STUCK:g} seconds"})

        timer = threading.Timer(STUCK, late)
        timer.daemon = True
        timer.start()

    def end(self, why: str = "") -> None:
        """End the process. why: what is said of that."""
        with self.changed:
            process, self.by_request = self.process, why
        if process:
            process.end()

    def _code(self, cell: int) -> Any:
        cells = self.lesson.cells
        if not (0 <= cell < len(cells) and cells[cell].is_code):
            raise UserError(f"cell {cell + 1} of this lesson is no code")
        return cells[cell]

    def _reached(self, cell: int) -> None:
        try:
            self.reached(cell)
        except UserError as error:
            with self.changed:
                self._add({"note": f"Your place is not kept: {error}"})

    def _edited(self, cell: int, text: str) -> None:
        own = text == self.lesson.cells[cell].text
        with self.changed:
            self.texts[cell] = text
            if own:
                del self.texts[cell]
            self._add(_edit(cell, text, own))
            if self.process:  # another is told as it starts
                self._ask("edit", cell=cell, text=text)

    def _ask(self, do: str, **what: Any) -> None:
        """Have the process do something; it is started if there is none."""
        with self.changed:
            if self.process is None:
                self._start()
            if self.asked - self.done >= WAITING:
                raise UserError("there is much that waits for its turn already; stop it first")
            self.asked += 1
            self._tell({"do": do, "number": self.asked, **what})
            self.changed.notify_all()

    def _tell(self, message: dict[str, Any]) -> None:
        self.told.put(json.dumps(message).encode() + b"\n")

    # What a page hears

    @property
    def busy(self) -> bool:
        """Whether something runs, or waits to be run."""
        return self.done < self.asked

    def poll(self, seen: int, seconds: float) -> dict[str, Any]:
        """What was said after the first `seen` messages; waits for more while something runs."""
        with self.changed:
            self.heard, self.left = time.monotonic(), False
            heard = min(max(0, seen - self.first), len(self.events))
            del self.events[:heard]
            self.first += heard
            self.changed.wait_for(lambda: self.events or not self.busy, seconds)
            return {"events": list(self.events), "seen": self.first + len(self.events), "busy": self.busy}

    def state(self) -> dict[str, Any]:
        """All that a page needs to show what was before it was loaded anew."""
        with self.changed:
            self.first, self.events = self.first + len(self.events), []
            self.heard, self.left = time.monotonic(), False
            events = [_edit(cell, text, False) for cell, text in sorted(self.texts.items())]
            events += self.shown.values()
            events += [said for all_said in self.derivations.values() for said in all_said]
            if self.running is not None:
                events += [{"began": self.running}, {"piece": self.running, "text": self.piece}]
            events += [{"raw": "".join(raw.shown), "cell": cell} for cell, raw in self.raw.items() if raw.shown]
            events += [self.asks] if self.asks else []
            return {"events": events, "busy": self.busy, "seen": self.first}

    def leave(self) -> None:
        """Its page is left, or loaded anew."""
        with self.changed:
            self.heard, self.left = time.monotonic(), True

    @property
    def gone(self) -> bool:
        """Whether its page was left, and did not come back, or nothing was heard of it for long."""
        return time.monotonic() - self.heard > (LEFT if self.left else SILENT)

    # The process

    def _start(self) -> None:
        of, mark = self.lesson, secrets.token_hex(8)
        settings = {"number": of.number, "name": of.name, "path": str(of.path), "mark": mark}
        try:
            process = OwnProcess("lessons.web.child", settings, talks=True)
        except OSError as error:
            raise UserError(f"no process could be started: {error.strerror or error}") from error
        self.process, self.by_request = process, ""
        self.asked = self.done = self.begun = self.marks = 0
        self.told = queue.SimpleQueue()
        self.derivations.clear()
        readers = [
            threading.Thread(target=target, args=(process, *more), daemon=True)
            for target, more in ((self._read, ()), (self._read_raw, (mark,)), (_write, (self.told,)))
        ]
        for thread in (*readers, threading.Thread(target=self._watch, args=(process, readers), daemon=True)):
            thread.start()
        for cell, text in sorted(self.texts.items()):
            self._ask("edit", cell=cell, text=text)

    def _watch(self, process: OwnProcess, readers: list[threading.Thread]) -> None:
        """Wait for the end of the process, end what it has started, and say so."""
        status = process.popen.wait()
        names = [self.lesson.path, *(Path(f"<cell {cell + 1} as you changed it>") for cell in list(self.texts))]
        at = process.written(names)
        process.end()
        self.told.put(None)
        for reader in readers:
            reader.join(2)  # another process may hold what it reads from
        with self.changed:
            cell, self.running, self.asks = self.running, None, None
            self.process, self.asked, self.done = None, 0, 0
            self._show("ended", {"ended": self.by_request or _why(status, cell, at), "cell": cell})
        for stream in (process.popen.stdin, process.popen.stdout, process.popen.stderr):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]

    def _read(self, process: OwnProcess) -> None:
        """Take what the process says, until it ends; one that says what cannot be understood, or nothing any more, is
        ended.
        """
        is_understood = False
        with contextlib.suppress(Exception):
            while line := process.popen.stdout.readline(LONGEST_MESSAGE):  # type: ignore[union-attr]
                self._said(process, json.loads(line))
            is_understood = True
        if not is_understood or process.status() is None:
            with self.changed:
                self.by_request = self.by_request or "the process said what is not to be understood, and was ended"
            process.popen.kill()

    def _read_raw(self, process: OwnProcess, mark: str) -> None:
        """What is printed past Python, by a library or another process. The marks of the cells are between it."""
        raw = RawOutput(mark)
        with contextlib.suppress(OSError, ValueError):
            while piece := os.read(process.popen.stderr.fileno(), 1 << 16):  # type: ignore[union-attr]
                with self.changed:
                    for cell, text in raw.split(piece):
                        self._say_raw(cell, text)

    def _say_raw(self, cell: int | None, text: str | None) -> None:
        """text: None where the cell begins, of which a page is to hear first."""
        if text is None:
            self.raw[cell], self.marks = Bounded(), self.marks + 1
            self.changed.wait_for(lambda: self.begun >= self.marks, 1.0)
        elif shown := self.raw.setdefault(cell, Bounded()).take(text):
            self._add({"raw": shown, "cell": cell})

    def _said(self, process: OwnProcess, message: dict[str, Any]) -> None:
        with self.changed:
            if process is not self.process:
                return  # somebody else holds what it wrote to
            if "idle" in message:
                self.done, self.asks = message["idle"], None
                return self.changed.notify_all()
            elif "began" in message:
                self.running, self.piece = message["began"], ""
                self.begun += 1
            elif "piece" in message:
                self.piece += message["text"]
            elif "asks" in message:
                self.asks = message
            elif "came" in message:
                self.running, self.asks = None, None
                return self._show(message["came"], message)
            elif "derive" in message:
                self._derived(message)
            else:
                raise ValueError("no message")
            self._add(message)

    def _derived(self, message: dict[str, Any]) -> None:
        said = self.derivations.setdefault(message["derive"], [])
        said.append(message)
        if message.get("done") and not any(one.get("revealed") for one in said):
            try:
                self.derived(self.lesson.cells[message["derive"]].derive)
            except UserError as error:
                self._add({"note": f"That you derived it is not kept: {error}"})

    def _show(self, what: int | str, message: dict[str, Any]) -> None:
        """Say something that a page is told again when it is loaded anew, in the order of time."""
        self.shown.pop(what, None)
        self.shown[what] = message
        self._add(message)

    def _add(self, message: dict[str, Any]) -> None:
        self.events.append(message)
        self.changed.notify_all()


def _write(process: OwnProcess, told: queue.SimpleQueue) -> None:
    """Hand requests to a process, which may be slow to take them."""
    with contextlib.suppress(OSError, ValueError):  # it has just ended, which is said
        while message := told.get():
            process.popen.stdin.write(message)  # type: ignore[union-attr]
            process.popen.stdin.flush()  # type: ignore[union-attr]


def _edit(cell: int, text: str, own: bool) -> dict[str, Any]:
    return {"edited": cell, "text": text, "highlight": markup.code(text), "own": own}


def _why(status: int, cell: int | None, at: tuple[Path, int] | None) -> str:
    """How a process has ended, in the words of a sentence."""
    while_ = "" if cell is None else f" while cell {cell + 1} ran"
    if status == BROKEN:
        says = f"the process could not go on{while_}, and has ended"
    elif status == CLOSED:
        says = f"what the process answers on was closed{while_}, and it has ended"
    elif name := killed_by(status):
        says = f"the process was ended by {name}{while_}"
        says += f", in line {at[1]} of {at[0].name.strip('<>')}" if at else ""
    else:
        says = f"the process has ended, with status {status}{while_}"
    return says

"""The process in which the cells of one page are run: it is told what to do, and says what comes of it.

Messages are lines of JSON, on what were the standard input and output. What a cell prints through Python is sent as it
comes, as far as anyone would read it; what it prints past Python goes to the standard error, which is read there. Which
there are: `DOES`, and the events of `tab.py`.
"""

import contextlib
import faulthandler
import json
import os
import queue
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from lessons.cells import Lesson
from lessons.derivation import Derivation, Said
from lessons.derive import size
from lessons.runner import Runner
from lessons.stale import reads
from lessons.web import markup
from lessons.web.coloured import as_on_a_page
from lessons.web.streams import MOST, Printed, Typed

PAUSE = 0.05  # seconds between two pieces of what a cell prints
MEMORY = 4 << 30  # bytes that the cells may have, where the system can see to it
PLOTS = 20  # of one cell that are shown
BROKEN, CLOSED = 70, 71  # with what the process ends where a cell has changed or closed what it needs
Result = TypeVar("Result")


def serve(settings: dict[str, Any]) -> None:
    """Do what is asked for until nobody asks any more. settings: "number", "name" and "path" of the lesson, "mark",
    which tells the cells apart in the standard error, and "trace".
    """
    _end_with_the_server()
    _bound(settings["trace"])
    requests, replies, raw = os.dup(0), os.dup(1), os.dup(2)
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.path[:] = map(os.path.abspath, sys.path)  # a cell may change the folder
    as_on_a_page()
    lesson = Lesson(settings["number"], settings["name"], Path(settings["path"]))
    Child(lesson, requests, replies, raw, settings["mark"]).work()


def _end_with_the_server() -> None:
    """Have all of this process's group ended once the server is gone, also where code in C lets no Python run."""
    if not hasattr(os, "fork"):
        return
    if between := os.fork():
        os.waitpid(between, 0)  # so that a cell that waits for a process of its own finds no other
        return
    if os.fork():
        os._exit(0)
    os.closerange(1, 256)
    there = select.poll()
    there.register(0, 0)  # for nothing but its end
    there.poll()
    os.killpg(0, signal.SIGKILL)


def _bound(trace: int | None) -> None:
    """Limit the memory, and have a crash write down where it was."""
    if trace is not None:
        faulthandler.enable(open(trace, "w", closefd=False))  # noqa: SIM115
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))  # not RLIMIT_AS: CUDA reserves more than there is


class Child:
    """A lesson's namespace, and who asks for things in it. What can be asked for is in `DOES`.

    Requests are numbered; Stop ends those that came before it, whether they have begun or not.
    """

    def __init__(self, lesson: Lesson, requests: int, replies: int, raw: int, mark: str):
        self.lesson, self.runner = lesson, Runner(lesson)
        self.requests, self.replies, self.raw, self.mark = requests, replies, raw, mark
        self.pid = os.getpid()
        self.asked: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.typed: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.derivations: dict[int, Derivation] = {}
        self.printed = Printed(self, None)
        self.number, self.stopped = 0, 0  # of the request under way, and of the last that is not to be done any more
        self.running = False  # whether code runs that may be interrupted
        self.printing, self.saying = threading.Event(), threading.Lock()

    def work(self) -> None:
        """Take requests one after the other."""
        for target in (self._listen, self._send_pieces):
            threading.Thread(target=target, daemon=True).start()
        sys.stdin = Typed(self)
        self._hear_stop()
        try:
            with self.runner:
                while True:
                    self._answer(self.asked.get())
        except BaseException as error:  # a cell has changed what this needs, such as a builtin
            with contextlib.suppress(BaseException):
                os.write(self.raw, f"{type(error).__name__}: {error}\n".encode())
            os._exit(BROKEN)

    def _answer(self, request: dict[str, Any]) -> None:
        self.number = request.pop("number")
        with contextlib.suppress(KeyboardInterrupt):
            if self.number > self.stopped or request["do"] == "edit":
                self.DOES[request.pop("do")](self, **request)
        self.say(idle=self.number)

    def _listen(self) -> None:
        last = 0
        with contextlib.suppress(OSError), open(self.requests, encoding="utf-8") as lines:
            for line in lines:
                request = json.loads(line)
                if request["do"] == "typed":
                    self.typed.put(request["text"])
                elif request["do"] == "stop":
                    self.stopped = last
                    if self.running:
                        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                else:
                    last = request["number"]
                    self.asked.put(request)
        os._exit(CLOSED)

    def _hear_stop(self) -> None:
        def interrupted(*_: Any) -> None:
            if self.running:
                raise KeyboardInterrupt

        signal.signal(signal.SIGINT, interrupted)

    def stoppable(self, work: Callable[[], Result]) -> Result:
        """What `work` returns; raises KeyboardInterrupt where it is stopped."""
        try:
            self.running = True
            if self.number <= self.stopped:
                raise KeyboardInterrupt
            result = work()
            self.running = False
        except BaseException:
            self.running = False
            raise
        return result

    def _send_pieces(self) -> None:
        while self.printing.wait():
            self.printing.clear()
            self.printed.send()
            time.sleep(PAUSE)

    def say(self, **message: Any) -> None:
        """Send a message."""
        line = json.dumps(message).encode() + b"\n"
        with self.saying:
            try:
                while line:
                    line = line[os.write(self.replies, line) :]
            except OSError:
                os._exit(CLOSED)

    # What can be asked for

    def run(self, cell: int) -> None:
        """Run a cell, after those above it that were not run, or whose variables were overwritten since."""
        if self.lesson.cells[cell].is_answer:
            self._run_answers(cell)
        elif self._run_above(cell):
            self._one(cell)

    def edit(self, cell: int, text: str) -> None:
        """Put another text in the place of a cell's, to be run from here on. Stop does not end this."""
        self.runner.edit(cell, text)

    def again(self, cell: int) -> None:
        """Run a cell if it was run before, with another text."""
        if cell in self.runner.outputs:
            self.run(cell)

    def run_stale(self) -> None:
        """Run what is stale in the lesson's order; what that makes stale in turn comes after it."""
        last = -1
        while later := [index for index in sorted(self.runner.ledger.stale) if index > last]:
            last = later[0]
            if not self._one(last):
                return

    def answers(self) -> None:
        """Run the answers' code."""
        self._run_answers(len(self.lesson.cells))

    def _run_answers(self, last: int) -> None:
        """Run the answers' code up to a cell, in a namespace of its own."""
        with Runner(self.lesson) as runner:
            for index, cell in enumerate(self.lesson.cells[: last + 1]):
                if cell.is_code and cell.is_answer:
                    if self.runner.cells[index] != cell:
                        runner.edit(index, self.runner.cells[index].text)
                    if not self._one(index, runner):
                        return

    def derive(self, cell: int) -> None:
        """Begin to derive the function of a cell, on what the cells above have left."""
        call = self.lesson.cells[cell].derive
        if not self._run_above(cell, reads(compile(call, "<derive>", "eval"))):
            return self.say(derive=cell, broken="It cannot be derived before the cells above have run to their end.")
        try:
            made = self.stoppable(lambda: Derivation(self.lesson.cells[cell], self.runner.variables))
        except KeyboardInterrupt:
            self.say(derive=cell, broken="Stopped.")
        except BaseException as error:
            self.say(derive=cell, broken=f"It cannot be derived here: {type(error).__name__}: {error}"[:1000])
        else:
            self.derivations[cell] = made
            self._say_derived(cell)

    def line(self, cell: int, line: str) -> None:
        """Judge a line of a derivation."""
        if derivation := self._begun(cell):
            try:
                said = self.stoppable(lambda: derivation.judge(line))
            except KeyboardInterrupt:
                said = Said(False, "Stopped.")
            text = said.text.replace("Stopped by Ctrl-C.", "Stopped.")
            if len(text) > 10_000:
                text = f"{text[:10_000]} ... ({len(text) - 10_000:,} more characters)"
            self._say_derived(cell, line=line, stands=said.stands, text=text)

    def reveal(self, cell: int) -> None:
        """Give the lesson's own next line."""
        if derivation := self._begun(cell):
            if derivation.done:
                return self._say_derived(cell)
            self._say_derived(cell, line=derivation.reveal(), revealed=True)

    def _begun(self, cell: int) -> Derivation | None:
        if cell not in self.derivations:
            self.say(derive=cell, broken="Begin it anew: what stood was lost with the process that held it.")
        return self.derivations.get(cell)

    DOES = {
        "run": run, "edit": edit, "again": again, "run_stale": run_stale, "answers": answers, "derive": derive,
        "line": line, "reveal": reveal,
    }  # fmt: skip

    def _say_derived(self, cell: int, **said: Any) -> None:
        derivation = self.derivations[cell]
        there = derivation.given | derivation.found | derivation.standing
        self.say(
            derive=cell, there={name: size(value) for name, value in there.items() if name[0] != "_"},
            wanted=derivation.missing, count=derivation.count, total=derivation.total, done=derivation.done, **said,
        )  # fmt: skip

    def _run_above(self, cell: int, names: Iterable[str] = ()) -> bool:
        """Run what a cell needs; whether all of it came to its end."""
        new = [i for i, c in enumerate(self.lesson.body[:cell]) if c.is_code and i not in self.runner.outputs]
        return all(self._one(index) for index in new) and all(
            self._one(index) for index in self.runner.ledger.needed(cell, names)
        )

    def _one(self, index: int, runner: Runner | None = None) -> bool:
        """Run one cell and say what came of it; whether it came to its end."""
        runner = runner or self.runner
        if self.number <= self.stopped:
            return False
        self.printed = printed = Printed(self, index)
        with contextlib.suppress(OSError):
            os.write(self.raw, f"\0{self.mark}{index}\0".encode())
        self.say(began=index)
        self._hear_stop()  # which the cell before may have changed
        try:
            self.stoppable(lambda: runner.run(index, printed.write))
            trouble = runner.troubles.get(index, "").replace("Stopped by Ctrl-C.", "Stopped.")
        except KeyboardInterrupt:  # outside of the cell's own code, such as between two cells
            trouble = "Stopped.\n"
        if os.getpid() != self.pid:
            os._exit(0)  # a process that the cell has forked, and that came to the cell's end too
        text = runner.outputs.get(index, "")
        printed.send()
        drawn = markup.drawn(text, self.lesson.path.parent.parent)[:PLOTS]
        plots = [(markup.plot_name(path), markup.inlined(path)) for path in drawn]
        if len(text) > MOST:
            text = f"{text[:MOST]}\n({printed.total:,} characters were printed; the first {MOST:,} are shown)\n"
        self.say(
            came=index, html=markup.output(text, trouble, plots), trouble=bool(trouble),
            stale={cell: sorted(why) for cell, why in self.runner.ledger.stale.items()},
        )  # fmt: skip
        return not trouble

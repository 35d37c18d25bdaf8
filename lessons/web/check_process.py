"""A check in a process of its own, which can be stopped: a check has a process's main thread and its output to itself,
and so it is the same in the terminal and here.
"""

import contextlib
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lessons.exercises import Exercise
from tinygpt.errors import UserError
from tinygpt.gradcheck.own_process import OwnProcess, ending

if TYPE_CHECKING:
    from tinygpt.own_layers import Checked

PRINTED = 30_000  # bytes of what it prints that are shown; a check itself leaves out what is more than 20,000
PATIENCE = 5.0  # seconds in which a process that was asked to stop has to say where it was


class Stopped(Exception):
    """It was stopped. line: of the learner's file, where it was, if that is known."""

    def __init__(self, line: int | None = None):
        self.line = line


class Running:
    """What runs the learner's files in a process of its own, and can be stopped, also before that has begun."""

    def __init__(self) -> None:
        self.process: OwnProcess | None = None
        self.is_stopped = False

    def began(self, process: OwnProcess) -> None:
        """Take the process in which it runs."""
        self.process = process
        if self.is_stopped:
            self.stop()

    def stop(self) -> None:
        """End it, in whatever it is."""
        self.is_stopped = True
        if self.process:
            self.process.end()


class Check(Running):
    """One check of an exercise: called, as `Exercise.check` is, it waits for what that finds. printed: what came
    beside, as far as anyone would read it.
    """

    def __init__(self, exercise: Exercise):
        super().__init__()
        self.exercise = exercise
        self.printed = ""

    def __call__(self, path: Path, seed: int) -> "Checked":
        """Check a file. Raises UserError for what `Exercise.check` raises, and where the process ends before it has
        answered; Stopped.
        """
        from tinygpt.own_layers import Checked

        of = self.exercise
        settings = {"name": of.name, "lesson": of.lesson, "functions": of.functions, "path": str(path), "seed": seed}
        with OwnProcess(__name__, settings, talks=True) as process:
            reading = threading.Thread(target=self._read, args=(process,), daemon=True)
            reading.start()
            self.began(process)
            answer = process.popen.stdout.readline()  # type: ignore[union-attr]
            status = process.status()
        reading.join(PATIENCE)
        said = json.loads(answer) if answer.endswith(b"\n") else {}
        if "checked" in said:
            said["checked"]["source"] = said["checked"]["source"].encode("latin-1")
            return Checked(**said["checked"])
        if self.is_stopped:
            raise Stopped(said.get("line"))
        why = f"the process that checked {of.name} ended before it had an answer, {ending(status or 0)}"
        raise UserError(said.get("error") or why)

    def stop(self) -> None:
        """Have it say in which line it is, and end."""
        self.is_stopped = True
        if process := self.process:
            process.popen.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)
            late = threading.Timer(PATIENCE, process.popen.kill)
            late.daemon = True
            late.start()

    def _read(self, process: OwnProcess) -> None:
        shown = b""
        with contextlib.suppress(OSError, ValueError):
            while piece := os.read(process.popen.stderr.fileno(), 1 << 16):  # type: ignore[union-attr]
                shown += piece[: PRINTED - len(shown)]
                self.printed = shown.decode(errors="replace")


def serve(settings: dict[str, Any]) -> None:
    """Check a file, and answer with a line of JSON on what was the standard output; what is printed goes to the
    standard error. settings: the exercise, as it is made of, the file's "path" and a "seed".
    """
    answers = os.dup(1)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_until_nobody_asks, args=(os.dup(0),), daemon=True).start()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    exercise = Exercise(settings["name"], settings["lesson"], tuple(settings["functions"]))
    try:
        checked = exercise.check(Path(settings["path"]), settings["seed"])
        said = {"checked": checked._asdict() | {"source": checked.source.decode("latin-1")}}
    except KeyboardInterrupt as interrupt:
        said = {"line": getattr(interrupt, "line", None)}
    except UserError as error:
        said = {"error": str(error)}
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdout.flush()
    with open(answers, "wb") as file:
        file.write(json.dumps(said).encode() + b"\n")


def _until_nobody_asks(requests: int) -> None:
    os.read(requests, 1)
    os._exit(1)

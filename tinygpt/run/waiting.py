"""What is shown of what comes before a run: reading and encoding a text that takes more than a few seconds."""

import contextlib
import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from tinygpt.progress import Progress, heard_by
from tinygpt.run.screens import duration

PATIENCE = 2.0  # seconds in which nothing is said
BAR = 20  # characters
EVERY = 10.0  # seconds from one plain line to the next
MEGABYTE = 10**6


class Waiting:
    """Within its block, what is reported is shown on stderr: as one line that goes on a terminal, as a plain line now
    and then anywhere else.
    """

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self.last: Progress | None = None
        self.first = Progress("", 0, 0)  # of what is under way
        self.began = self.shown = self.since = time.perf_counter()  # all of it; the last line; what is under way
        self.bar: Bar | None = None
        self.length = BarColumn(bar_width=BAR)
        self.block = contextlib.ExitStack()

    def __enter__(self) -> "Waiting":
        self.block.enter_context(heard_by(self))
        self.began = self.shown = time.perf_counter()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop()
        self.block.close()

    def __call__(self, now: Progress) -> None:
        time_now = time.perf_counter()
        if now.what != self.first.what:
            self.first, self.since = now, time_now
        self.last = now
        with contextlib.suppress(OSError):  # nobody reads it, which is no reason to stop
            if now.done >= now.total:
                self._stop()
            elif time_now - self.began > PATIENCE:
                self._show(now, time_now)

    def _show(self, now: Progress, time_now: float) -> None:
        if not self.console.is_terminal:
            if self.shown == self.began or time_now - self.shown > EVERY:
                self.shown = time_now
                sys.stderr.write(f"{now.what}: {self._numbers(now, time_now)}\n")
                sys.stderr.flush()
            return
        if self.bar is None:
            columns = TextColumn("{task.description}"), self.length, TextColumn("{task.fields[numbers]}")
            self.bar = Bar(*columns, console=self.console, auto_refresh=False, transient=True)
            self.bar.add_task(now.what, total=now.total, numbers="")
            self.bar.start()
        elif time_now - self.shown < 0.1:
            return
        self.shown = time_now
        task, numbers = self.bar.task_ids[0], self._numbers(now, time_now)
        room = self.console.width - len(numbers) - 2  # the bar gives way first, then the name; never the numbers
        what = now.what if len(now.what) < room else f"{now.what[: max(room - 2, 0)]}\u2026"
        self.length.bar_width = max(1, min(BAR, room - len(what)))
        self.bar.update(task, description=what, completed=now.done, total=now.total, numbers=numbers, refresh=True)

    def _numbers(self, now: Progress, time_now: float) -> str:
        """The share that is done, how fast it goes, and how long the rest takes at that rate."""
        words = [f"{now.done / now.total:.0%}"]
        if (rate := (now.done - self.first.done) / max(time_now - self.since, 1e-9)) > 0:
            words += [f"{rate / MEGABYTE:,.1f} MB/s" if now.unit == "bytes" else f"{rate:,.0f} {now.unit}/s"]
            words += [f"{duration((now.total - now.done) / rate)} left"]
        return ", ".join(words)

    def _stop(self) -> None:
        if self.bar:
            with contextlib.suppress(OSError):
                self.bar.stop()
            self.bar = None

    def interrupted(self) -> str:
        """What is true of an interruption before the first step."""
        if self.last and self.last.kept and self.last.done < self.last.total:
            share = f"{self.last.kept / self.last.total:.0%} of it"
            return f"stopped while {self.last.what}; {share} is kept, and the next start goes on from there"
        return "stopped before the first step; there was nothing to save"

"""How far a slow check is, on a terminal: one line, written over itself and taken away at the end."""

import shutil
import sys
import time
from collections.abc import Callable
from typing import Any

PATIENCE = 2.0  # seconds without a word
ENOUGH = 5  # that are done before the time that is left is told from them


class Progress:
    """Counts what is done of `total`, and says so once the patience has run out, with the time that is left once some
    are done: the first one may have waited for something else.

    stream: where to, stderr if None; to what is no terminal nothing is said.
    """

    def __init__(self, total: int, stream: Any = None, clock: Callable[[], float] = time.perf_counter):
        self.stream = sys.stderr if stream is None else stream
        self.terminal = bool(self.stream is not None and self.stream.isatty())
        self.total, self.done, self.clock = total, 0, clock
        self.began = self.said = self.first = clock()
        self.width = 0

    def step(self, what: str) -> None:
        """One more is done."""
        self.done += 1
        if self.done == 1:
            self.first = self.clock()
        if not self.terminal or (now := self.clock()) - self.began < PATIENCE or now - self.said < PATIENCE / 8:
            return
        self.said, self.total = now, max(self.total, self.done)
        says = f"{what}: {self.done:,} of {self.total:,} entries"
        if self.done >= ENOUGH:
            left = (now - self.first) / (self.done - 1) * (self.total - self.done)
            says += f", about {left:,.0f} s left"
        self._write(says)

    def close(self) -> None:
        """Take the line away."""
        if self.width:
            self._write("")
            self.stream.write("\r")
            self.width = 0

    def _write(self, text: str) -> None:
        text = text[: shutil.get_terminal_size().columns - 1]
        self.stream.write("\r" + text.ljust(self.width))
        self.stream.flush()
        self.width = len(text)

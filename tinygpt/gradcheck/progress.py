"""How far a slow check is, on a terminal: one line, written over itself and taken away at the end."""

import sys
import time
from collections.abc import Callable
from typing import Any

PATIENCE = 2.0  # seconds without a word


class Progress:
    """Counts what is done of `total`, and says so once the patience has run out, with the time that is left.

    stream: where to, stderr if None; to what is no terminal nothing is said.
    """

    def __init__(self, total: int, stream: Any = None, clock: Callable[[], float] = time.perf_counter):
        self.stream = sys.stderr if stream is None else stream
        self.terminal = bool(self.stream is not None and self.stream.isatty())
        self.total, self.done, self.clock = total, 0, clock
        self.began = self.said = clock()
        self.width = 0

    def step(self, what: str) -> None:
        """One more is done."""
        self.done += 1
        if not self.terminal or (now := self.clock()) - self.began < PATIENCE or now - self.said < PATIENCE / 8:
            return
        self.said, self.total = now, max(self.total, self.done)
        left = (now - self.began) / self.done * (self.total - self.done)
        self._write(f"{what}: {self.done:,} of {self.total:,} entries, about {left:,.0f} s left")

    def close(self) -> None:
        """Take the line away."""
        if self.width:
            self._write("")
            self.stream.write("\r")
            self.width = 0

    def _write(self, text: str) -> None:
        text = text[:79]
        self.stream.write("\r" + text.ljust(self.width))
        self.stream.flush()
        self.width = len(text)

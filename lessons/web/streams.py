"""What a cell prints and reads, in the process that runs it: sent to its page, and typed there."""

import io
import os
import threading
from typing import TYPE_CHECKING

from lessons.web.coloured import plain

if TYPE_CHECKING:
    from lessons.web.child import Child

MOST = 200_000  # characters of what a cell prints that are sent


class Bounded:
    """A text that comes in pieces, as far as anyone would read it. shown: those of them; total: its characters."""

    def __init__(self) -> None:
        self.shown, self.total = list[str](), 0

    def take(self, piece: str) -> str:
        """What is shown of the next piece; the first that is not shown whole ends with a sentence on that."""
        room = MOST - self.total
        self.total += len(piece)
        if len(piece) > room:
            says = f"{piece[:room]}\n(more than {MOST:,} characters; what follows is not shown)\n"
            piece = says if room >= 0 else ""
        if piece:
            self.shown.append(piece)
        return piece


class Printed(Bounded):
    """What a cell prints, sent in pieces."""

    def __init__(self, child: "Child", cell: int | None):
        super().__init__()
        self.child, self.cell, self.sent = child, cell, 0
        self.lock = threading.RLock()

    def write(self, text: str) -> None:
        """Keep a piece, to be sent soon."""
        if os.getpid() != self.child.pid:  # in a process that the cell has forked
            os.write(self.child.raw, text.encode(errors="replace"))
            return
        with self.lock:
            self.take(text)
        self.child.printing.set()

    def send(self) -> None:
        """Send what is kept."""
        with self.lock:  # until it is sent, so that pieces keep their order
            text, self.sent = "".join(self.shown[self.sent :]), len(self.shown)
            if text:
                self.child.say(piece=self.cell, text=plain(text))


class Typed(io.TextIOBase):
    """What the reader types in the page, as a standard input."""

    encoding, errors = "utf-8", "replace"

    def __init__(self, child: "Child"):
        self.child = child

    def readline(self, _: int = -1) -> str:  # type: ignore[override]
        """Wait for a line."""
        child = self.child
        is_stoppable = threading.current_thread() is threading.main_thread()
        if is_stoppable:
            child.running = False  # messages go out whole
        child.printed.send()
        child.say(asks=child.printed.cell)
        if is_stoppable:
            child.running = True
            if child.number <= child.stopped:
                raise KeyboardInterrupt
        return child.typed.get() + "\n"

    def read(self, _: int | None = -1) -> str:
        """One line too: a page has no end of file."""
        return self.readline()

    def readable(self) -> bool:
        return True

    def close(self) -> None:  # as exit() does
        pass

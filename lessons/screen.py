"""What the reader sees: no row wider than the terminal, and no more at once than it has rows."""

import math
import re
import sys

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from lessons import display

ESCAPE = r"\x1b\[[0-9;?]*[A-Za-z]"  # it takes no room
PIECE = re.compile(rf"{ESCAPE}|.", re.DOTALL)
WORD = re.compile(rf"(?:{ESCAPE}|\S)+|\s")
TAB = 8
MARK = 2  # columns of the mark


class Left(Exception):
    """The reader leaves, by Ctrl-D or Ctrl-C at a question."""


class Fold:
    """Text that comes piece by piece, folded at a width, between words where they are no wider; what goes on in the
    next row begins with a mark.
    """

    def __init__(self, console: Console):
        self.width = console.width if display.has_width() else math.inf
        self.mark = display.mark(console)
        self.column = 0

    def __call__(self, text: str) -> str:
        return "".join(self._fitted(line) for line in text.splitlines(keepends=True))

    def _fitted(self, line: str) -> str:
        pieces: list[str] = []
        for word in WORD.findall(line):
            room = cell_len(re.sub(ESCAPE, "", word))
            if word.strip() and self.column + room > self.width >= MARK + room:
                self._break(pieces)
            for piece in PIECE.findall(word):
                self._place(piece, pieces)
        return "".join(pieces)

    def _place(self, piece: str, pieces: list[str]) -> None:
        """Add one character or escape sequence, in the next row if this one is full; a blank there is left out."""
        if piece in "\r\n":
            self.column = 0
        elif piece[0] != "\x1b":
            if piece == "\t":
                piece = " " * (TAB - self.column % TAB)
            room = cell_len(piece)
            if self.column + room > self.width:
                if piece.isspace():
                    return
                self._break(pieces)
            self.column += room
        pieces.append(piece)

    def _break(self, pieces: list[str]) -> None:
        pieces.append("\n" + self.mark)
        self.column = MARK


class Screen:
    """A terminal on which nothing scrolls past unseen; where there is nobody to ask (`live` is False), only a width."""

    def __init__(self, console: Console, live: bool):
        self.console, self.live = console, live
        self.used = 0  # rows since the reader was last asked

    @property
    def room(self) -> float:
        """The rows that can be shown before the reader is asked again, one being kept for the question."""
        return self.console.height - 1 - self.used if self.live else math.inf

    def ask(self, question: str) -> str:
        """What the reader types, without blanks around it. Raises Left at Ctrl-D and Ctrl-C."""
        self.used = 0
        try:
            return input(question).strip()
        except (EOFError, KeyboardInterrupt):
            print()
            raise Left from None

    def show(self, text: str) -> None:
        """Print rows that are no wider than the terminal, in screenfuls."""
        rows = text.removesuffix("\n").split("\n") if text else []
        while rows:
            if self.room < 1:
                while rows and not rows[-1].strip():  # for which nobody should have to press a key
                    rows.pop()
                if not rows:
                    return
                more = "1 more row" if len(rows) == 1 else f"{len(rows)} more rows"
                if self.ask(f"[Enter: {more}, s skips] ").lower() == "s":
                    return
            room = int(min(len(rows), max(1, self.room)))
            print("\n".join(rows[:room]), flush=True)
            self.used += room
            rows = rows[room:]

    def say(self, text: str, style: str = "") -> None:
        """Show sentences, folded between words."""
        self.show(display.rendered(Text(text, style), self.console, self.console.width))

    def note(self, text: str) -> None:
        """Show what is not the lesson's: a dim line with a mark."""
        self.show(display.note(text, self.console))

    def printed(self, text: str) -> str:
        """What a cell printed, in rows that fit."""
        return Fold(self.console)(text)


class Printing:
    """A cell's output as it comes: shown until the screen is full, the rest once the cell has run."""

    def __init__(self, screen: Screen):
        self.screen, self.fold, self.held = screen, Fold(screen.console), ""
        self.stream = sys.stdout

    def __enter__(self) -> "Printing":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not kind:
            if self.fold.column:
                self._put("\n")
            self.screen.show(self.held)

    def write(self, text: str) -> None:
        """Show or hold back what a cell prints."""
        self._put(self.fold(text))

    def _put(self, text: str) -> None:
        for row in text.splitlines(keepends=True):
            if not self.held and self.screen.room > 1:
                self.stream.write(row)
                self.screen.used += row.endswith("\n")
                continue
            if row.strip() and not self.held.strip():  # the note takes the last row
                self.stream.write(display.note("more, once the cell has run", self.screen.console))
                self.screen.used += 1
            self.held += row
        self.stream.flush()

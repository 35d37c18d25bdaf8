"""The lessons of a folder in a pseudo-terminal, and into a pipe."""

import json
import os
import re
import sys

import pytest

from tests import children

terminal = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are not on Windows")
ESCAPE = re.compile(r"\x1b\[\?2004[hl]")  # readline's bracketed paste: a line editor's own
PROMPT = "?] "


def inherited() -> dict[str, str]:
    """The environment without what would decide how wide and how colourful things are."""
    deciding = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
    return {name: value for name, value in os.environ.items() if name not in deciding}


class Terminal(children.Terminal):
    """The lessons of a folder in a pseudo-terminal."""

    def __init__(self, folder, *arguments, columns=80, rows=40, **environment):
        super().__init__(
            "-m", "lessons", *arguments, columns=columns, rows=rows, cwd=folder.parent,
            env={**inherited(), "TERM": "xterm-256color", **environment},
        )  # fmt: skip

    def until(self, expected: str = PROMPT) -> str:
        return super().until(expected)

    def until_any(self, *expected: str) -> str:
        """All that is shown until it ends with one of these."""
        shown = ""
        while not shown.endswith(expected):
            piece = self._piece()
            assert piece, f"the program ended without any of {expected}:\n{shown}"
            shown += children.decoded(piece)
        return shown

    def after(self, line: str, expected: str = PROMPT) -> str:
        """What is shown when a line is typed, until `expected`."""
        self.type(line + "\n")
        return self.until(expected)


def place(folder, number):
    return json.loads((folder / "work" / "progress.json").read_text())["lessons"][str(number)]


def piped(folder, *arguments, **environment):
    environment = {**inherited(), "PYTHONIOENCODING": "utf-8", **environment}
    return children.run("-m", "lessons", *arguments, cwd=folder.parent, env=environment, encoding="utf-8")

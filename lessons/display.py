"""Markdown and code as text for a terminal: of any width, with colours or without."""

import difflib
import os
import shlex
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown
from rich.padding import Padding
from rich.style import Style
from rich.syntax import ANSISyntaxTheme, Syntax
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

PROSE_WIDTH = 100  # longer lines are hard to read
FILE_WIDTH = 122  # of a pipe, which has no width of its own: the lessons' lines, and the bar beside their code

# The terminal's own colours, and only those that can be read on black and on white.
STYLES = Theme(
    {
        "markdown.h1": "bold",
        "markdown.h2": "bold",
        "markdown.h3": "bold",
        "markdown.code": "cyan",
        "markdown.list": "none",
        "markdown.item.bullet": "none",
        "markdown.item.number": "none",
        "markdown.block_quote": "dim",
        "markdown.link": "none",
        "markdown.link_url": "dim",
        "markdown.table.border": "dim",
        "markdown.table.header": "bold",
    }
)
CODE_COLOURS = ANSISyntaxTheme(
    {
        ("Comment",): Style(dim=True),
        ("Keyword",): Style(color="magenta"),
        ("Operator", "Word"): Style(color="magenta"),
        ("Literal", "String"): Style(color="green"),
        ("Literal", "Number"): Style(color="cyan"),
        ("Name", "Function"): Style(color="blue", bold=True),
        ("Name", "Class"): Style(color="blue", bold=True),
    }
)


def make_console(live: bool) -> Console:
    """What is printed on: with colours if it is a live terminal that has them and the reader has not declined them."""
    colours = live and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    kind: Literal["auto"] | None = "auto" if colours else None
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else FILE_WIDTH
    return Console(color_system=kind, theme=STYLES, width=width, highlight=False, markup=False, emoji=False)


def is_live() -> bool:
    """Whether a person sits at both ends: a terminal to read from and one to write to."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


class _Heading(Heading):
    """A heading on the left, and without colours with Markdown's own marks, which then say that it is one."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        marks = "" if console.color_system else "#" * int(self.tag[1:]) + " "
        yield Text(marks) + self.text


class _CodeBlock(CodeBlock):
    """A block of code or of formulas, indented and without a background."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = str(self.text).rstrip()
        longest = max(map(cell_len, text.split("\n")))
        indent = min(4, max(0, options.max_width - longest))  # a formula in one piece is worth more than its margin
        lines = highlighted(text, self.lexer_name, console, options.max_width - indent)
        yield Padding(Text("\n").join(lines), (0, 0, 0, indent))


class _Markdown(Markdown):
    elements = Markdown.elements | {"heading_open": _Heading, "fence": _CodeBlock, "code_block": _CodeBlock}


def markdown(text: str, console: Console) -> str:
    """Markdown as the terminal shows it."""
    parsed = _Markdown(text, hyperlinks=False)
    if not console.color_system:
        for token in parsed.parsed:
            for child in token.children or ():
                if child.type == "code_inline":  # what cannot be shown by a style keeps Markdown's marks
                    child.content = f"`{child.content}`"
                elif child.tag in ("em", "strong"):
                    child.type, child.content = "text", child.markup
    return rendered(parsed, console, min(console.width, PROSE_WIDTH))


def code(text: str, console: Console) -> str:
    """Code as the terminal shows it: highlighted, and with a bar on its left that sets it off from prose and output."""
    bar, folded = ("| ", ": ") if console.options.ascii_only else ("│ ", "┊ ")  # folded: the rest of a line too long
    lines = [
        Text.assemble((folded if further else bar, "dim"), piece)
        for line in highlighted(text, "python", console, console.width - 2)
        for further, piece in enumerate(line.split("\n", allow_blank=True))
    ]
    return rendered(Text("\n").join(lines), console, console.width)


def side_by_side(texts: dict[str, str], console: Console) -> str:
    """Two codes, by their titles, in two columns, with the lines that they share on the same height."""
    width = (console.width - 3) // 2
    left, right = (highlighted(text, "python", console, width) for text in texts.values())
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_row(*(Text(title + "\n", "bold") for title in texts))
    lines, other_lines = (text.splitlines() for text in texts.values())
    shared = difflib.SequenceMatcher(None, lines, other_lines, autojunk=False)
    for _, a, after_a, b, after_b in shared.get_opcodes():
        for row in zip_longest(left[a:after_a], right[b:after_b], fillvalue=Text()):
            table.add_row(*row)
    return rendered(table, console, console.width)


def highlighted(text: str, lexer: str, console: Console, width: int) -> list[Text]:
    """The lines of a code, each that is too long folded between words, with what follows further in."""
    lines = Syntax(text, lexer, theme=CODE_COLOURS).highlight(text).split("\n", allow_blank=True)
    return [_folded(line, console, width) for line in lines[: len(text.splitlines())]]


def _folded(line: Text, console: Console, width: int) -> Text:
    line.rstrip()
    first = next(iter(line.wrap(console, width)), line)
    rest = line.plain[len(first.plain) :].lstrip()
    if not rest:
        return first
    indent = len(line.plain) - len(line.plain.lstrip())
    further = Text(" " * min(indent + 4, width // 2))
    pieces = line[-len(rest) :].wrap(console, width - len(further))
    return Text("\n").join([first, *(further + piece for piece in pieces)])


def rendered(what: RenderableType, console: Console, width: int) -> str:
    """What rich would print, as text that ends with a new line and has no blanks at the ends of its lines."""
    with console.capture() as capture:
        console.print(what, width=width)
    return "".join(line.rstrip(" ") + "\n" for line in capture.get().rstrip("\n").split("\n"))


def shown_path(path: Path) -> str:
    """A path as it is typed: seen from the folder one is in, where it lies inside it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def shell_line(*words: str) -> str:
    """Words as a line to type, quoted where the shell would cut them."""
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)

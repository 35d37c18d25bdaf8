"""Markdown and code as text for a terminal: of any width, with colours or without."""

import difflib
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Literal, TextIO

from markdown_it.token import Token  # what rich reads Markdown with
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
    width = None if has_width() else FILE_WIDTH
    return Console(color_system=kind, theme=STYLES, width=width, highlight=False, markup=False, emoji=False)


def has_width() -> bool:
    """Whether what is printed has to fit: on a terminal, or where a width was asked for."""
    return sys.stdout.isatty() or "COLUMNS" in os.environ


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
        if self.lexer_name == "text":
            text = "\n\n".join(_stacked(block, options.max_width) for block in text.split("\n\n"))
        longest = max(map(cell_len, text.split("\n")))
        indent = min(4, max(0, options.max_width - longest))  # a formula in one piece is worth more than its margin
        lines = highlighted(text, self.lexer_name, console, options.max_width - indent)
        yield Padding(Text("\n").join(lines), (0, 0, 0, indent))


def _stacked(block: str, width: int) -> str:
    """Rows of columns that are too wide, one column under the other: cut at the widest gap that all rows share, of two
    blanks or more.
    """
    lines = block.split("\n")
    longest, gaps = max(map(cell_len, lines)), dict[int, int]()  # the columns that gaps end at, and how wide they are
    for at in range(2, longest) if longest > width else ():
        if all(_gap(line, at) for line in lines):
            gaps[at] = gaps.pop(at - 1, 1) + 1
    fitting = {at: gap for at, gap in gaps.items() if max(len(line[:at].rstrip()) for line in lines) <= width} or gaps
    fitting.pop(next((at for at in fitting if not any(line[:at].strip() for line in lines)), 0), None)
    if not fitting:
        return block
    at = max(fitting, key=lambda at: (fitting[at], at))
    left, right = ("\n".join(line[half].rstrip() for line in lines) for half in (slice(at), slice(at, None)))
    return f"{left.strip(chr(10))}\n\n{_stacked(right.strip(chr(10)), width)}"


def _gap(line: str, at: int) -> bool:
    """Whether something may begin at a place in a line that stands for itself: after two blanks, or after its end."""
    return not line[max(0, at - 2) : at].strip()


class _Markdown(Markdown):
    elements = Markdown.elements | {"heading_open": _Heading, "fence": _CodeBlock, "code_block": _CodeBlock}


def markdown(text: str, console: Console, page: Path | None = None, folder: Path | None = None) -> str:
    """Markdown as the terminal shows it. Links to a number on the step page show as their words; with the file of that
    page they lead there, where the terminal can. A picture is what it shows, in words, and its file, which is a link
    likewise. folder: what the paths of pictures are seen from.
    """
    parsed = _Markdown(text, hyperlinks=False)
    leading = _to_page(parsed, page) | _to_pictures(parsed, folder or Path())
    if not console.color_system:
        for token in parsed.parsed:
            for child in token.children or ():
                if child.type == "code_inline":  # what cannot be shown by a style keeps Markdown's marks
                    child.content = f"`{child.content}`"
                elif child.tag in ("em", "strong"):
                    child.type, child.content = "text", child.markup
    with console.use_theme(Theme(leading, inherit=False)):
        return rendered(parsed, console, min(console.width, PROSE_WIDTH))


def _to_page(parsed: _Markdown, page: Path | None) -> dict[str, str | Style]:
    """The styles of the links to the step page, by which they lead to its file; their addresses are not shown."""
    styles: dict[str, str | Style] = {}
    tag = ""
    for child in (child for token in parsed.parsed for child in token.children or ()):
        address = str(child.attrs.get("href", "")) if child.type == "link_open" else ""
        if address.startswith("step.html"):
            tag = f"page{len(styles)}"
            address = f"{page.absolute().as_uri()}{address.removeprefix('step.html')}" if page else ""
            styles[f"markdown.{tag}"] = Style(underline=True, link=address) if page else Style.null()
            child.type, child.tag = "text_style", tag
        elif child.type == "link_close" and tag:
            child.type, child.tag, tag = "text_style", tag, ""
    parsed.inlines = parsed.inlines | {name.removeprefix("markdown.") for name in styles}
    return styles


def _to_pictures(parsed: _Markdown, folder: Path) -> dict[str, str | Style]:
    """Put words in the place of pictures; returns the styles of their paths, by which these lead to the files."""
    styles: dict[str, str | Style] = {}
    for token in parsed.parsed:
        for child in [child for child in token.children or () if child.type == "image"]:
            path, tag = (folder / str(child.attrs["src"])).resolve(), f"picture{len(styles)}"
            styles[f"markdown.{tag}"] = Style(underline=True, link=path.as_uri())
            alt = " ".join(child.content.split())
            at = token.children.index(child)
            token.children[at : at + 1] = [
                Token("text", "", 0, content="Picture "),
                Token("text_style", tag, 1),
                Token("text", "", 0, content=shown_path(path)),
                Token("text_style", tag, -1),
                Token("text", "", 0, content=f": {alt}"),
            ]
    parsed.inlines = parsed.inlines | {name.removeprefix("markdown.") for name in styles}
    return styles


def code(text: str, console: Console) -> str:
    """Code as the terminal shows it: highlighted, and with a bar on its left that sets it off from prose and output."""
    bar, folded = _marks(console)
    lines = [
        Text.assemble((folded if further else bar, "dim"), piece)
        for line in highlighted(text, "python", console, console.width - 2)
        for further, piece in enumerate(line.split("\n", allow_blank=True))
    ]
    return rendered(Text("\n").join(lines), console, console.width)


def note(text: str, console: Console) -> str:
    """What stands beside a lesson's text without being of it: a dim line with a mark."""
    pieces = Text(text, "dim").wrap(console, max(1, console.width - 2)) or [Text()]
    lines = (Text.assemble((_marks(console)[1], "dim"), piece) for piece in pieces)
    return rendered(Text("\n").join(lines), console, console.width)


def mark(console: Console) -> str:
    """What begins the rest of a line that was too long: a dim bar and a blank."""
    with console.capture() as capture:
        console.print(Text(_marks(console)[1], "dim"), end="")
    return capture.get()


def _marks(console: Console) -> tuple[str, str]:
    """What begins a line of code, and what the rest of one that is too long."""
    return ("| ", ": ") if console.options.ascii_only else ("│ ", "┊ ")


def two_columns(rows: Mapping[str, str], console: Console) -> str:
    """Words, and beside each what it says, folded in its own column."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, says in rows.items():
        table.add_row(Text(name), Text(says))
    return rendered(table, console, console.width)


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


def _folded(line: Text, console: Console, width: int, further: int = 4) -> Text:
    """A line in rows that are no wider, cut between words; what follows the first stands `further` in than it."""
    line.rstrip()
    indent = min(len(line.plain) - len(line.plain.lstrip()), width // 2)
    first = next(iter(line[indent:].wrap(console, width - indent)), line[indent:])
    rest = line.plain[indent + len(first.plain) :].lstrip()
    first = Text(" " * indent) + first
    first.rstrip()
    if not rest:
        return first
    margin = Text(" " * min(indent + further, width // 2))
    pieces = line[-len(rest) :].wrap(console, width - len(margin))
    for piece in pieces:
        piece.rstrip()
    return Text("\n").join([first, *(margin + piece for piece in pieces)])


def sentences(text: str, console: Console) -> str:
    """Lines folded between words at the width of the terminal, what follows as far in as the line that it is of."""
    return "\n".join(row for line in text.split("\n") for row in rows(line, console, console.width))


def rows(line: str, console: Console, width: int) -> list[str]:
    """A line folded between words at a width."""
    return _folded(Text(line.expandtabs()), console, max(2, width), 0).plain.split("\n")


def fitted(text: str, stream: TextIO) -> str:
    """Sentences for a stream, folded if that is a terminal."""
    return sentences(text, Console(file=stream)) if stream.isatty() else text


def difference(line: str, style: str, console: Console) -> Text:
    """A line of a difference in rows that fit, with a mark in the place of the sign in those that follow."""
    rows = _folded(Text(line[1:].expandtabs(), style), console, max(2, console.width - 1)).split("\n", allow_blank=True)
    signs = [line[:1], *_marks(console)[1][0] * len(rows)]
    return Text("\n").join(Text(sign, style) + row for sign, row in zip(signs, rows, strict=False))


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

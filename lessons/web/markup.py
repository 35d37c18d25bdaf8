"""Prose, code and output as HTML: Markdown by markdown-it-py, Python by Pygments, and what a cell printed."""

import base64
import html
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name, get_lexer_for_filename
from pygments.util import ClassNotFound

from lessons.web.coloured import html_of

PLOT = re.compile(r"^plot: (\S+)$\n?", re.MULTILINE)  # what kit.plot prints
ADDRESS = re.compile(r'\b(src|srcset|href)="([^"]*)"')  # in a text's own HTML
PICTURES = ".svg", ".png"
FORMATTER = HtmlFormatter(nowrap=True)
WORDS = "fence", "code_block"  # the tokens that hold words as they are

Address = Callable[[str], str]  # of what a link or a picture of a text leads to, where the page is


class Heading(NamedTuple):
    """A heading in a page: how deep it is, its words, and its name in the page's addresses."""

    level: int
    words: str
    name: str


class Text:
    """A text of Markdown. taken: the names of headings in the page so far, which this one adds its own to."""

    def __init__(self, text: str, taken: dict[str, int] | None = None):
        self.tokens = _markdown().parse(text)
        self.headings: list[Heading] = []
        taken = {} if taken is None else taken
        for heading, inline in zip(self.tokens, self.tokens[1:], strict=False):
            if heading.type == "heading_open":
                words = words_of(inline)
                heading.attrs["id"] = anchor(words, taken)
                self.headings.append(Heading(int(heading.tag[1:]), words, str(heading.attrs["id"])))

        for begin, inside, end in zip(self.tokens, self.tokens[1:], self.tokens[2:], strict=False):
            if begin.type == "th_open" and not inside.content:
                begin.tag = end.tag = "td"  # the corner of a table, which heads nothing

    def targets(self) -> Iterator[str]:
        """What its links and pictures lead to."""
        for token in self._all():
            yield from (str(token.attrs[name]) for name in ("href", "src") if name in token.attrs)
            if token.type == "html_block":
                yield from (target for _, target in ADDRESS.findall(token.content))

    def html(self, address: Address = lambda target: target) -> str:
        """As HTML: its headings can be linked to, and tables and code may scroll."""
        for token in self._all():
            for name in ("href", "src"):
                if name in token.attrs:
                    token.attrs[name] = address(str(token.attrs[name]))
            if token.type == "html_block":
                token.content = ADDRESS.sub(lambda found: f'{found[1]}="{address(found[2])}"', token.content)
        return _markdown().renderer.render(self.tokens, _markdown().options, {})

    def sections(self) -> Iterator[tuple[Heading | None, str]]:
        """The words below each heading; first those before any, with None."""
        heading, words, headings = None, list[str](), iter(self.headings)
        for before, token in zip([None, *self.tokens], self.tokens, strict=False):
            if token.type == "heading_open":
                yield heading, " ".join(words)
                heading, words = next(headings), []
            elif token.type == "inline" and not (before and before.type == "heading_open"):
                words.append(words_of(token))
            elif token.type in WORDS:
                words.append(token.content)
        yield heading, " ".join(words)

    def _all(self) -> Iterator[Token]:
        for token in self.tokens:
            yield token
            yield from token.children or ()


@cache
def _markdown() -> MarkdownIt:
    made = MarkdownIt("commonmark").enable("table")  # HTML is ours to write: a picture for each width, a comment
    made.add_render_rule(
        "table_open", lambda *_: '<div class="wide" tabindex="0" role="group" aria-label="Table"><table>'
    )
    made.add_render_rule("table_close", lambda *_: "</table></div>")
    made.add_render_rule("fence", lambda _, tokens, at, *__: block(tokens[at].content, tokens[at].info.strip()))
    made.add_render_rule("code_block", lambda _, tokens, at, *__: block(tokens[at].content, ""))
    made.add_render_rule("heading_close", _heading_end)
    return made


def _heading_end(_: Any, tokens: Sequence[Token], at: int, *__: Any) -> str:
    heading = tokens[at - 2]
    if heading.tag == "h1":
        return "</h1>"
    says = html.escape(f"Link to: {words_of(tokens[at - 1])}")
    return f' <a class="anchor" href="#{heading.attrs["id"]}" aria-label="{says}">#</a></{heading.tag}>'


def title(path: Path) -> str:
    """The first heading of a file of Markdown."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((line[2:] for line in lines if line.startswith("# ")), path.stem)


def inline(text: str) -> str:
    """A line of Markdown as HTML, without the paragraph around it."""
    return _markdown().renderInline(text)


def words_of(inline: Token) -> str:
    """The words of a line of Markdown, without its marks."""
    return "".join(
        child.content if child.type in ("text", "code_inline") else " " if child.type == "softbreak" else ""
        for child in inline.children or ()
    )


def anchor(words: str, taken: dict[str, int]) -> str:
    """The name of a heading in its page, as GitHub makes it of its words; the second of a name has -1 behind it."""
    letters = (c if c.isalnum() or c in "-_" else "-" if c == " " else "" for c in unicodedata.normalize("NFC", words))
    name = "".join(letters).lower()
    taken[name] = taken.get(name, -1) + 1
    return f"{name}-{taken[name]}" if taken[name] else name


def block(text: str, language: str = "python", kind: str = "") -> str:
    """A block of code, which can be copied; one of no language is a formula, or something that was printed.

    kind: another class of the code.
    """
    if not language:
        return f'<pre class="formula" tabindex="0">{html.escape(text.rstrip())}</pre>\n'
    return (
        f'<div class="block"><pre class="{f"source {kind}".strip()}" tabindex="0"><code>{code(text, language)}'
        "</code></pre></div>\n"
    )


def code(text: str, language: str = "python") -> str:
    """Code, highlighted; of a language that is not known, as it is."""
    try:
        return highlight(text, get_lexer_by_name(language, stripnl=False), FORMATTER).rstrip("\n")
    except ClassNotFound:
        return html.escape(text)


def language_of(path: Path) -> str:
    """The language that a file is written in, by its name."""
    try:
        return "cuda" if path.suffix == ".cu" else get_lexer_for_filename(path.name).aliases[0]
    except ClassNotFound:
        return "text"


def output(text: str, trouble: str = "", plots: Sequence[tuple[str, str]] = ()) -> str:
    """What a cell printed, what went wrong in it, and what it drew. plots: a name and an address of each; they stand
    in the place of the lines that tell of them.
    """
    names = {name for name, _ in plots}
    text = PLOT.sub(lambda found: "" if plot_name(Path(found[1])) in names else found[0], text)
    parts = [f'<pre class="out" tabindex="0">{html_of(text)}</pre>'] if text else []
    if trouble:
        parts.append(f'<pre class="out trouble" tabindex="0">{html.escape(trouble)}</pre>')
    parts += [f'<img class="plot" src="{html.escape(src)}" alt="plot: {html.escape(name)}">' for name, src in plots]
    return "".join(parts)


def drawn(text: str, root: Path) -> list[Path]:
    """The plots that a cell says it has drawn, as far as there are such pictures. root: that paths are seen from."""
    paths = (root / found for found in PLOT.findall(text) if found.endswith(PICTURES))
    return [path for path in dict.fromkeys(paths) if os.path.isfile(path) and os.access(path, os.R_OK)]


def plot_name(path: Path) -> str:
    """What a plot is called: "depth" of "07_layernorm-depth.png"."""
    return path.stem.partition("-")[2]


def inlined(path: Path) -> str:
    """A picture as an address that holds it."""
    kind = "svg+xml" if path.suffix == ".svg" else path.suffix[1:]
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"

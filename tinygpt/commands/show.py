"""`tinygpt show`: a text as a model sees it, as a page: losses, what was expected, where each head looks."""

import argparse
import os
import sys
import warnings
from pathlib import Path

import numpy as np

from tinygpt.commands import texts
from tinygpt.commands.flags import add_system_flags
from tinygpt.commands.habits import add_habits, model_for, settle
from tinygpt.commands.own import asked_for, blaming
from tinygpt.errors import Note, UserError, brief
from tinygpt.files import expanded, write_atomically
from tinygpt.observed import observe
from tinygpt.pages import page
from tinygpt.pages.browser import opened
from tinygpt.pages.show import most_tokens, show_data
from tinygpt.parallel import blas_threads, thread_count
from tinygpt.run import screens
from tinygpt.run.state import OURS
from tinygpt.tokenizer import Tokenizer, unknown

HELP = "Write a page that shows a text as a model sees it: losses, what was expected, where each head looks."
PAGE = "show.html"
EXAMPLE = 'such as tinygpt show "some text", or --file=FILE, or - for what comes by a pipe'


def add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    what = "the text, in quotes; - for what comes by a pipe; last and after -- if it begins with a dash"
    add("words", nargs="*", metavar="TEXT", help=what)
    add("--file", metavar="FILE", help="the text is in this file")
    add("--out_dir", default="out", help="a run's folder, or a Hugging Face GPT-2 folder (default: out)")
    add("--out", metavar="FILE", help=f"the page (default: {PAGE} in the run's folder, or in this one)")
    add("--open", action="store_true", help="show it in a browser")
    add("--tokenizer", metavar="FILE", help="gpt2, or a tokenizer's file, in place of the one beside the model")
    add("--mine", metavar="FOLDER", help="folder with parts of your own, such as lessons/work; their code is run")
    add_system_flags(parser, device="cpu")
    add_habits(parser)
    parser.usage = '%(prog)s [CONFIG.py] "TEXT" [--flag=value ...]'


def run(arguments: argparse.Namespace, _: str) -> int:
    asked = _sorted_out(arguments)
    settle(arguments)
    path = _place(arguments)
    own = asked_for({"mine": arguments.mine})
    for note in own.remarks() if own else ():
        print(f"note: {note}", file=sys.stderr)
    model, tokenizer = model_for(arguments, own.parts if own else OURS)
    if tokenizer is None:
        raise UserError(unknown(arguments.out_dir, model.config.vocab_size, reads=False))
    text = _text_of(asked, arguments.file, tokenizer)
    tokens = tokenizer.encode(text)
    if len(tokens) == 0:
        raise UserError(f"the text is empty; give at least one character, {EXAMPLE}")
    ids, notes = tokens[: most_tokens(model.config)], []
    if len(ids) < len(tokens):
        why = "as many as the model sees at once" if len(ids) == model.config.block_size else "as many as a page holds"
        notes.append(f"the text has {len(tokens):,} tokens; the page shows the first {len(ids)}, {why}")
    if len(ids) == 1:
        notes.append("the text is one token, and nothing stands before it that would say what to expect: no loss")
    for note in notes:
        warnings.warn(note, Note, stacklevel=1)
    with blas_threads(thread_count(arguments.threads)), blaming(own), np.errstate(all="ignore"):
        observed = observe(model, ids)
    name = f"{arguments.out_dir}, {model.config.n_params:,} parameters"
    if own and own.called():
        notes.append(f"computed with parts of your own: {own.summary()}")
    data = show_data(ids, observed, tokenizer, model.config, name, notes)
    content = page("show", data, f"{_beginning(text)} · {arguments.out_dir}").encode()
    write_atomically(path, content)
    print(screens.facts({"model": name, **_summary(data, observed.losses), "page": f"{path}, {_size(len(content))}"}))
    if own:
        print(f"note: used of yours: {own.summary()}", file=sys.stderr)
    if arguments.open and not opened(path.resolve().as_uri()):
        print(f"note: there is no browser here that could be asked; open {path} in one", file=sys.stderr)
    return 0


def _sorted_out(arguments: argparse.Namespace) -> str | None:
    """The text among the words, if there is one; a configuration file before it becomes `arguments.config`."""
    words, file = list(getattr(arguments, "words", [])), getattr(arguments, "file", None)
    if words and words[0].endswith(".py") and (len(words) == 2 or file is not None):
        arguments.config = words.pop(0)
    if len(words) > 1:
        raise UserError(f"the text came as {len(words)} words; put quotes around it: {brief(' '.join(words))}")
    if words and file is not None:
        raise UserError(f"a text, {brief(words[0])}, and --file={file} were both given; expected one of them")
    if not words and file is None:
        raise UserError(f"no text was given; give one, {EXAMPLE}")
    return words[0] if words else None


def _text_of(asked: str | None, file: str, tokenizer: Tokenizer) -> str:
    if "-" in (asked, file):
        return texts.from_pipe("text", tokenizer)
    if asked and os.path.isfile(asked):
        note = f"the text is the words {brief(asked)}; --file={asked} takes what is in that file"
        warnings.warn(note, Note, stacklevel=2)
    return texts.in_file(file, "text", tokenizer) if asked is None else asked


def _place(arguments: argparse.Namespace) -> Path:
    """Where the page goes: what belongs to a run lies in its folder."""
    if arguments.out is None:
        folder = Path(arguments.out_dir)
        is_run = any((folder / part).is_dir() for part in ("last", "best"))
        return folder / PAGE if is_run else Path(PAGE)
    path = Path(expanded(arguments.out))
    if not arguments.out or path.is_dir():
        given = f"--out={arguments.out} is a folder" if arguments.out else "--out is empty"
        raise UserError(f"{given}; expected the name of a file, such as {path / PAGE}")
    if arguments.file and os.path.realpath(path) == os.path.realpath(expanded(arguments.file)):
        raise UserError(f"--out={arguments.out} is the text's own file; give the page another, such as {PAGE}")
    return path


def _summary(data: dict, losses: np.ndarray) -> dict[str, str]:
    tokens = len(data["tokens"])
    rows = {"text": f"{screens.counted(tokens, 'token')}, {len(losses)} predicted"}
    if not len(losses):
        return rows
    mean = losses.mean()
    rows["loss"] = f"{mean:.4f} nats per token"
    with np.errstate(over="ignore"):  # inf, of a model that is as wrong as can be
        rows["perplexity"] = f"{np.exp(mean):.4f} per token"
    if data["characters"]:
        rows["bits per character"] = f"{losses.sum() / np.log(2) / data['characters']:.4f}"
    return rows


def _beginning(text: str) -> str:
    words = " ".join(text.split()) or "white space"
    return words if len(words) <= 40 else f"{words[:40].rstrip()}..."


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"

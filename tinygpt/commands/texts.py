"""A text that a command is to read for a model: from a file, or from a pipe."""

import os
import sys
from pathlib import Path

from tinygpt.data.formats import BEGINNING, refuse_no_text
from tinygpt.errors import UserError
from tinygpt.files import expanded
from tinygpt.tokenizer import Tokenizer

LIMIT = 16 << 20  # bytes; a model sees the last thousand tokens or so


def in_file(named: str, what: str, tokenizer: Tokenizer) -> str:
    """What is in a file, named as a user does; what: what it is to be, such as "prompt". Raises UserError for a file
    that cannot be read, is too large or holds no text.
    """
    path = expanded(named)
    if not path:
        raise UserError(f"no file is named for the {what} to be read from; give the name of one")
    try:
        with open(path, "rb", opener=_without_waiting) as file:  # a pipe has no size before it ends
            content = file.read(LIMIT + 1)
    except OSError as error:
        why = "it is a folder; give a file" if os.path.isdir(path) else error.strerror or error
        raise UserError(f"could not read the {what} from {path}: {why}") from error
    return _decoded(content, path, what, tokenizer)


def from_pipe(what: str, tokenizer: Tokenizer) -> str:
    """What comes in by standard input, to its end; see `in_file`."""
    if sys.stdin is None:
        raise UserError(f"there is no standard input to read the {what} from")
    return _decoded(sys.stdin.buffer.read(LIMIT + 1), "standard input", what, tokenizer)


def _decoded(content: bytes, source: str, what: str, tokenizer: Tokenizer) -> str:
    """Bytes as text: UTF-8, without a byte order mark, its ends of lines as a newline each, as nanoGPT reads it; a
    character tokenizer that has learned a carriage return gets those too.
    """
    if len(content) > LIMIT:
        raise UserError(f"the {what} in {source} has more than {LIMIT:,} bytes; give its end")
    refuse_no_text(Path(source), content[:BEGINNING])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"byte 0x{content[error.start]:02x} at position {error.start:,} does not fit"
        raise UserError(f"the {what} in {source} is not UTF-8: {found}; convert it to UTF-8 first") from error
    if tokenizer.name == "char" and "\r" in tokenizer.state["characters"]:
        return text
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _without_waiting(path: str, flags: int) -> int:
    """Opens what `open` asks for; a pipe that nobody writes to is at its end at once."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if hasattr(os, "set_blocking"):
        os.set_blocking(descriptor, True)  # what somebody is writing is waited for
    return descriptor

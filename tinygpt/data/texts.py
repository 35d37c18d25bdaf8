"""The texts that have a name, and where they come from."""

import hashlib
import sysconfig
from pathlib import Path

from tinygpt.errors import UserError
from tinygpt.files import download

SHAKESPEARE_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
SHAKESPEARE_BYTES = 1_115_394
STDLIB_CHARACTERS = "\t\n" + "".join(map(chr, range(32, 127)))
STDLIB_MIN_BYTES = 500_000


def stdlib(cache: Path) -> tuple[bytes, str]:
    """The top-level modules of this Python's standard library, in order of name, in 97 characters.

    Whatever is not printable ASCII, a tab or a newline becomes "?". So the vocabulary is the same for every version of
    Python, though the text is not. UserError where an installation carries no sources.
    """
    folder = Path(sysconfig.get_paths()["stdlib"])
    sources = [path.read_bytes() for path in sorted(folder.glob("*.py"), key=lambda path: path.name) if path.is_file()]
    text = b"\n".join(sources).decode("utf-8", errors="replace").encode("ascii", errors="replace")
    text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    text = text.translate(bytes(i if chr(i) in STDLIB_CHARACTERS else ord("?") for i in range(256)))
    if len(text) < STDLIB_MIN_BYTES:
        raise UserError(
            f"This Python carries only {len(text):,} bytes of its standard library's sources in {folder}; "
            f"use {_other_datasets('stdlib')}"
        )
    return text, STDLIB_CHARACTERS


def shakespeare_char(cache: Path) -> tuple[bytes, None]:
    """Tiny Shakespeare (Karpathy 2015), 1,115,394 bytes: fetched once, and checked each time it is read."""
    path = cache / "shakespeare_char.txt"
    text = path.read_bytes() if path.is_file() else b""
    if not _is_shakespeare(text):
        way_out = f"use {_other_datasets('shakespeare_char')}"
        download(SHAKESPEARE_URL, path, way_out, check=lambda fetched: _is_shakespeare(fetched.read_bytes()))
        text = path.read_bytes()
    return text, None


def _is_shakespeare(text: bytes) -> bool:
    return len(text) == SHAKESPEARE_BYTES and hashlib.sha256(text).hexdigest() == SHAKESPEARE_SHA256


# name -> function of the cache folder that returns the text as UTF-8 bytes and, where they are fixed, its characters
TEXTS = {"stdlib": stdlib, "shakespeare_char": shakespeare_char}
DATASETS = (*TEXTS, "addition")


def _other_datasets(name: str) -> str:
    others = [f"--dataset={other}" for other in DATASETS if other != name]
    return " or ".join([*others, "--data FILE with a text of your own"])

"""Folders with nanoGPT's token files, train.bin and val.bin, mapped where they lie."""

import contextlib
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt.data.corpus import Corpus
from tinygpt.data.mapped import MappedTokens
from tinygpt.errors import UserError
from tinygpt.tokenizer import CharTokenizer, GPT2Tokenizer, Tokenizer

WAY_OUT = "; start again when it is whole (a run goes on from its last save with --init_from=resume)"


def token_folder(folder: Path, tokenizer: Any) -> Corpus:
    """The corpus of a folder with nanoGPT's train.bin and val.bin, uint16 tokens."""
    if tokenizer == "bpe":
        raise UserError(f"{folder} holds tokens already, so --tokenizer=bpe is too late; give the text as --data FILE")
    for path in (folder / "train.bin", folder / "val.bin"):
        if not path.is_file():
            raise UserError(f"{folder} has no {path.name}; --data takes a text, or a folder with train.bin and val.bin")
        if path.stat().st_size % 2:
            raise UserError(f"{path} has an odd number of bytes, so it cannot hold uint16 tokens; write it again")
    files = {part: MappedTokens(folder / f"{part}.bin", np.uint16, WAY_OUT) for part in ("train", "val")}
    train, val = (file.tokens for file in files.values())
    largest = int(max(train[:10_000_000].max(initial=0), val.max(initial=0)))  # not all: it may be many gigabytes
    if tokenizer == "char":
        tokenizer = _guess_tokenizer(folder, train, largest)
    vocab_size = tokenizer.vocab_size if tokenizer else largest + 1
    if largest >= vocab_size:
        raise UserError(
            f"{folder} holds token id {largest}, but the {tokenizer.name} vocabulary has only {vocab_size:,} tokens; "
            "use the tokenizer that the files were written with"
        )
    ends = [part[edge].tobytes() for part in (train, val) for edge in (slice(1 << 20), slice(-(1 << 20), None))]
    content = b"".join(ends) + f"{len(train)} {len(val)}".encode()  # not all: it may be many gigabytes
    fingerprint = hashlib.blake2b(content, digest_size=16).hexdigest()
    checks = {part: file.check for part, file in files.items()}
    corpus = Corpus(folder.resolve().name, train, val, tokenizer, vocab_size, fingerprint=fingerprint, checks=checks)
    if tokenizer and tokenizer.name == "char":
        corpus.n_characters, corpus.val_characters = len(train) + len(val), len(val)
    return corpus


def _guess_tokenizer(folder: Path, train: np.ndarray, largest: int) -> Tokenizer | None:
    """nanoGPT's character tokenizer if input.txt gives these very tokens; GPT-2's if the ids go beyond characters. Its
    meta.pkl, which would tell, is a pickle, and to open a pickle is to run whatever is in it.
    """
    text, path = "", folder / "input.txt"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if path.is_file():  # and no pipe, which may never end
            text = path.read_text(encoding="utf-8")  # with newlines translated, as nanoGPT reads it
    n_characters = len(set(text)) or 10_000  # without the text: more characters than nearly any text has
    if largest >= n_characters:
        return GPT2Tokenizer() if largest < GPT2Tokenizer.vocab_size else None
    if not text:
        return None
    tokenizer = CharTokenizer.train(text)
    first = train[:10_000]
    return tokenizer if np.array_equal(tokenizer.encode(text[: len(first)]), first) else None

"""Token files: a text encoded once into a cache folder, and nanoGPT's as they are; mapped, so that none takes room."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt.data.corpus import Corpus
from tinygpt.errors import UserError
from tinygpt.tokenizer import BPETokenizer, CharTokenizer, GPT2Tokenizer, Merge, Tokenizer, load, merge

FORMAT = "1"  # of the token files; a new number leaves the old files unused


def encoded_text(
    name: str, text_bytes: bytes, tokenizer: str | Tokenizer, vocab_size: int, cache: Path, merge_step: Merge
) -> Corpus:
    """The corpus of a text, from its token files in the cache; they are written where missing or damaged."""
    try:
        text = text_bytes.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{name} is not UTF-8: byte 0x{text_bytes[error.start]:02x} at position {error.start:,} does not fit; "
            "convert the file to UTF-8 first"
        ) from None
    split = int(len(text) * 0.9)  # as nanoGPT divides a text
    if tokenizer == "bpe" and merge_step is not merge:  # the cache keeps what the engine's own step has trained
        tokenizer = BPETokenizer.train(text[:split], vocab_size, merge_step)
    identity = tokenizer.state if isinstance(tokenizer, Tokenizer) else [tokenizer, vocab_size]
    fingerprint = _hash(text_bytes)
    entry = cache / _hash(json.dumps([FORMAT, identity, fingerprint]).encode())
    for _ in range(3):  # look, build, look again; the third time for another process that is at the same entry
        if found := _open_entry(entry):
            tokenizer, train, val = found
            counts = len(text), len(text) - split
            return Corpus(name, train, val, tokenizer, tokenizer.vocab_size, *counts, fingerprint)
        if not isinstance(tokenizer, Tokenizer):
            bpe = tokenizer == "bpe"
            tokenizer = BPETokenizer.train(text[:split], vocab_size) if bpe else CharTokenizer.train(text)
        _write_entry(entry, tokenizer, {"train": text[:split], "val": text[split:]})
    raise UserError(f"The token files in {entry} cannot be read back; set TINYGPT_CACHE to another folder")


def _open_entry(entry: Path) -> tuple[Tokenizer, np.ndarray, np.ndarray] | None:
    """(tokenizer, train, val) of a cache entry, or None where it is missing or damaged."""
    try:
        sizes = json.loads((entry / "sizes.json").read_bytes())
        tokenizer = load(entry / "tokenizer.json")
        dtype = _token_dtype(tokenizer.vocab_size)
        train, val = (_map_tokens(entry / f"{part}.bin", dtype) for part in ("train", "val"))
    except (OSError, ValueError):
        return None
    return (tokenizer, train, val) if sizes == [len(train), len(val)] else None


def _write_entry(entry: Path, tokenizer: Tokenizer, parts: dict[str, str]) -> None:
    """Write a cache entry beside its place, then move it there whole; of several processes at once, one wins."""
    tokens = {part: tokenizer.encode(text).astype(_token_dtype(tokenizer.vocab_size)) for part, text in parts.items()}
    try:
        beside = Path(tempfile.mkdtemp(prefix=f"{entry.name}.", dir=entry.parent))
        try:
            for part in tokens:
                tokens[part].tofile(beside / f"{part}.bin")
            tokenizer.save(beside / "tokenizer.json")
            (beside / "sizes.json").write_text(json.dumps([len(ids) for ids in tokens.values()]))
            if not _open_entry(entry):
                shutil.rmtree(entry, ignore_errors=True)
            with contextlib.suppress(OSError):  # another process was faster
                os.rename(beside, entry)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise UserError(f"Token files cannot be written in {entry.parent} ({error.strerror or error})") from error


def token_folder(folder: Path, tokenizer: Any) -> Corpus:
    """The corpus of a folder with nanoGPT's train.bin and val.bin, uint16 tokens, mapped where they lie."""
    if tokenizer == "bpe":
        raise UserError(f"{folder} holds tokens already, so --tokenizer=bpe is too late; give the text as --data FILE")
    for path in (folder / "train.bin", folder / "val.bin"):
        if not path.is_file():
            raise UserError(f"{folder} has no {path.name}; --data takes a text, or a folder with train.bin and val.bin")
        if path.stat().st_size % 2:
            raise UserError(f"{path} has an odd number of bytes, so it cannot hold uint16 tokens; write it again")
    train, val = (_map_tokens(folder / f"{part}.bin", np.uint16) for part in ("train", "val"))
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
    fingerprint = _hash(b"".join(ends) + f"{len(train)} {len(val)}".encode())  # not all: it may be many gigabytes
    corpus = Corpus(folder.resolve().name, train, val, tokenizer, vocab_size, fingerprint=fingerprint)
    if tokenizer and tokenizer.name == "char":
        corpus.n_characters, corpus.val_characters = len(train) + len(val), len(val)
    return corpus


def _guess_tokenizer(folder: Path, train: np.ndarray, largest: int) -> Tokenizer | None:
    """nanoGPT's character tokenizer if input.txt gives these very tokens; GPT-2's if the ids go beyond characters. Its
    meta.pkl, which would tell, is a pickle, and to open a pickle is to run whatever is in it.
    """
    try:
        text = (folder / "input.txt").read_text(encoding="utf-8")  # with newlines translated, as nanoGPT reads it
    except (OSError, UnicodeDecodeError):
        text = ""
    n_characters = len(set(text)) or 10_000  # without the text: more characters than nearly any text has
    if largest >= n_characters:
        return GPT2Tokenizer() if largest < GPT2Tokenizer.vocab_size else None
    if not text:
        return None
    tokenizer = CharTokenizer.train(text)
    first = train[:10_000]
    return tokenizer if np.array_equal(tokenizer.encode(text[: len(first)]), first) else None


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _token_dtype(vocab_size: int) -> type[np.unsignedinteger]:
    return np.uint16 if vocab_size <= 65_536 else np.uint32


def _map_tokens(path: Path, dtype: Any) -> np.ndarray:
    """The file's tokens, shape (n,), memory-mapped. ValueError if its size is no multiple of a token's."""
    if path.stat().st_size == 0:  # which cannot be mapped
        return np.empty(0, dtype)
    return np.memmap(path, dtype, mode="r")

"""Token files: a text encoded once into a cache folder, and nanoGPT's as they are; mapped, so that none takes room."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt.data.corpus import Corpus
from tinygpt.errors import Note, UserError
from tinygpt.files import JSON_LIMIT, flush_to_disk, parse_json, read_bytes, write_atomically
from tinygpt.tokenizer import BPETokenizer, CharTokenizer, GPT2Tokenizer, Merge, Tokenizer, load, merge

FORMAT = "2"  # of the token files; a new number leaves the old files unused
CHECKSUMS = "checksums"  # of an entry's other files: JSON, under a line with its own
MIB = 1 << 20  # bytes that have a checksum of their own
CACHE_BYTES = 4 << 30  # what all entries may take together


def encoded_text(
    name: str, text_bytes: bytes, tokenizer: str | Tokenizer, vocab_size: int, cache: Path, merge_step: Merge,
    source: str,
) -> Corpus:  # fmt: skip
    """The corpus of a text, from its token files in the cache; they are written where missing or damaged. source: the
    text's file or name; when it has another text, that takes the place of this one.
    """
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
        existed = entry.exists()
        if found := _open_entry(entry):
            tokenizer, train, val = found
            counts, checks = (len(text), len(text) - split), {"train": train.check, "val": val.check}
            vocab_size = tokenizer.vocab_size
            return Corpus(name, train.tokens, val.tokens, tokenizer, vocab_size, *counts, fingerprint, checks)
        if existed:
            warnings.warn(f"the token files in {entry} were damaged, and are made anew", Note, stacklevel=2)
        if not isinstance(tokenizer, Tokenizer):
            bpe = tokenizer == "bpe"
            tokenizer = BPETokenizer.train(text[:split], vocab_size) if bpe else CharTokenizer.train(text)
        _write_entry(entry, tokenizer, {"train": text[:split], "val": text[split:]}, source, fingerprint)
        with contextlib.suppress(OSError, ValueError):  # other processes may be doing the same
            _make_room(entry)
    raise UserError(f"The token files in {entry} cannot be read back; set TINYGPT_CACHE to another folder")


class TokenFile:
    """A token file of the cache, memory-mapped: `tokens`, (n,). Each MiB is compared with its checksum before it is
    first read, so that no start waits for all of them.
    """

    def __init__(self, path: Path, dtype: Any, checksums: list[str]):
        self.path, self.checksums = path, checksums
        self.tokens = _map_tokens(path, dtype)
        self.unread = np.ones(len(checksums), bool)

    def check(self, starts: np.ndarray, length: int) -> None:
        """Compare what is still unread of the windows of `length` tokens from `starts` on, (n,). Raises UserError for
        what is damaged, and leaves the entry to be made anew.
        """
        if not self.unread.any():
            return
        per_mib = MIB // self.tokens.itemsize
        steps = np.arange(0, length - 1 + per_mib, per_mib).clip(max=length - 1)  # to each MiB that a window may reach
        touched = (starts[:, None] + steps) // per_mib
        for number in np.unique(touched[self.unread[touched]]):
            if _hash(self.tokens[number * per_mib : (number + 1) * per_mib].data) != self.checksums[number]:
                with contextlib.suppress(OSError):
                    (self.path.parent / CHECKSUMS).unlink(missing_ok=True)
                raise UserError(
                    f"{self.path} is damaged in its MiB {number + 1} of {len(self.checksums)}; start again, and the "
                    "text is encoded anew (a run goes on from its last save with --init_from=resume)"
                )
            self.unread[number] = False


def _open_entry(entry: Path) -> tuple[Tokenizer, TokenFile, TokenFile] | None:
    """(tokenizer, train, val) of a cache entry, or None where it is missing or damaged."""
    try:
        content = _checksums(entry)
        if content["tokenizer"] != _hash((entry / "tokenizer.json").read_bytes()) or content["entry"] != entry.name:
            return None
        tokenizer = load(entry / "tokenizer.json")
        dtype = _token_dtype(tokenizer.vocab_size)
        train, val = (TokenFile(entry / f"{part}.bin", dtype, content[part]) for part in ("train", "val"))
    except (OSError, ValueError):
        return None
    with contextlib.suppress(OSError):  # a cache that others share may be theirs
        os.utime(entry / CHECKSUMS)  # used last
    return (tokenizer, train, val) if content["sizes"] == [len(train.tokens), len(val.tokens)] else None


def _checksums(entry: Path) -> dict[str, Any]:
    """What an entry's file of checksums says. Raises OSError where it is missing, ValueError where it is damaged."""
    own, _, content = read_bytes(entry / CHECKSUMS, JSON_LIMIT).partition(b"\n")
    if own != _hash(content).encode():
        raise ValueError("damaged")
    return parse_json(content, entry / CHECKSUMS)


def _write_entry(entry: Path, tokenizer: Tokenizer, parts: dict[str, str], source: str, fingerprint: str) -> None:
    """Write a cache entry beside its place, all of it to the disk itself, then move it there whole; of several
    processes at once, one wins.
    """
    content: dict[str, Any] = {"entry": entry.name, "source": source, "text": fingerprint, "sizes": []}
    try:
        beside = Path(tempfile.mkdtemp(prefix=f"{entry.name}.", dir=entry.parent))
        try:
            for part, text in parts.items():
                tokens = tokenizer.encode(text).astype(_token_dtype(tokenizer.vocab_size))
                per_mib = MIB // tokens.itemsize
                content[part] = [
                    _hash(tokens[start : start + per_mib].data) for start in range(0, len(tokens), per_mib)
                ]
                content["sizes"].append(len(tokens))
                tokens.tofile(beside / f"{part}.bin")
                flush_to_disk(beside / f"{part}.bin")
            tokenizer.save(beside / "tokenizer.json")
            content["tokenizer"] = _hash((beside / "tokenizer.json").read_bytes())
            checksums = json.dumps(content).encode()
            write_atomically(beside / CHECKSUMS, f"{_hash(checksums)}\n".encode() + checksums)
            if not _open_entry(entry):
                shutil.rmtree(entry, ignore_errors=True)
            with contextlib.suppress(OSError):  # another process was faster
                os.rename(beside, entry)
                flush_to_disk(entry.parent)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise UserError(f"Token files cannot be written in {entry.parent} ({error.strerror or error})") from error


def _make_room(entry: Path) -> None:
    """Remove what the cache no longer needs beside `entry`, just written: earlier texts of its file; what was longest
    not used, where all take more than CACHE_BYTES; and what killed processes left a day ago. A process that has such an
    entry mapped goes on reading it; where the system cannot have that (Windows), the entry stays.
    """
    own, room, day_ago = _checksums(entry), CACHE_BYTES, time.time() - 24 * 3600
    for leftover in entry.parent.rglob(".*.writing"):
        with contextlib.suppress(OSError):
            if leftover.stat().st_mtime < day_ago:
                leftover.unlink()
    folders = (path for path in entry.parent.iterdir() if path.is_dir())
    entries = [path for path in folders if re.fullmatch(r"[0-9a-f]{32}(\..*)?", path.name)]
    for other in sorted(entries, key=_last_used, reverse=True):
        size = sum(path.stat().st_size for path in other.iterdir())
        try:
            content = _checksums(other)
            needed = size <= room and (content["source"] != own["source"] or content["text"] == own["text"])
        except (OSError, ValueError, KeyError):  # being written, damaged, or of another version
            needed = _last_used(other) > day_ago
        if needed or other == entry:
            room -= size
        else:
            shutil.rmtree(other, ignore_errors=True)


def _last_used(entry: Path) -> float:
    """When an entry was last opened or, where it is not whole, written to."""
    checksums = entry / CHECKSUMS
    return (checksums if checksums.exists() else entry).stat().st_mtime


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


def _hash(content: bytes | memoryview) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _token_dtype(vocab_size: int) -> type[np.unsignedinteger]:
    return np.uint16 if vocab_size <= 65_536 else np.uint32


def _map_tokens(path: Path, dtype: Any) -> np.ndarray:
    """The file's tokens, shape (n,), memory-mapped. ValueError if its size is no multiple of a token's."""
    if path.stat().st_size == 0:  # which cannot be mapped
        return np.empty(0, dtype)
    return np.memmap(path, dtype, mode="r")

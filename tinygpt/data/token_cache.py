"""Texts, each encoded once into an entry of the cache: what damage is found by, and how little room it may take."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import uuid
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt.data.corpus import Corpus
from tinygpt.data.mapped import MappedTokens
from tinygpt.errors import Note, TextError, UserError
from tinygpt.files import JSON_LIMIT, flush_to_disk, make_folder, parse_json, read_bytes, write_atomically
from tinygpt.tokenizer import BPETokenizer, CharTokenizer, Merge, Tokenizer, load, merge

FORMAT = "2"  # of the token files; a new number leaves the old files unused
FOLDER = "texts"  # in the cache folder, which may hold anything else: that of the entries
CHECKSUMS = "checksums"  # of an entry's other files: JSON, under a line with its own
CONTENT = {"source": str, "text": str, "sizes": list, "tokenizer": str, "train": list, "val": list}
ENTRY = r"[0-9a-f]{32}(\.[a-z0-9_]+)?"  # the names of entries, and of what is not yet or no longer one
FILE = r"(train|val)\.bin|tokenizer\.json|checksums|\.(tokenizer\.json|checksums)\..*\.writing"  # of all in them
MIB = 1 << 20  # bytes that have a checksum of their own
CACHE_BYTES = 4 << 30  # what all entries may take together
FULL = errno.ENOSPC, errno.EDQUOT, errno.EFBIG
ELSEWHERE = "set TINYGPT_CACHE to another folder"


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
    entry, damaged = cache / FOLDER / _hash(json.dumps([FORMAT, identity, fingerprint]).encode()), False
    for _ in range(3):  # look, build, look again; the third time for another process that is at the same entry
        existed = os.path.exists(entry)
        if found := _open_entry(entry):
            if damaged:
                warnings.warn(f"the token files in {entry} were damaged, and are made anew", Note, stacklevel=2)
            tokenizer, train, val = found
            counts, checks = (len(text), len(text) - split), {"train": train.check, "val": val.check}
            vocab_size = tokenizer.vocab_size
            return Corpus(name, train.tokens, val.tokens, tokenizer, vocab_size, *counts, fingerprint, checks)
        damaged = damaged or existed
        if not isinstance(tokenizer, Tokenizer):
            bpe = tokenizer == "bpe"
            tokenizer = BPETokenizer.train(text[:split], vocab_size) if bpe else CharTokenizer.train(text)
        _write_entry(entry, tokenizer, {"train": text[:split], "val": text[split:]}, source, fingerprint)
        with contextlib.suppress(OSError, ValueError):  # other processes may be doing the same
            _make_room(entry)
    raise UserError(f"The token files in {entry} cannot be read back; {ELSEWHERE}")


class TokenFile(MappedTokens):
    """A token file of the cache. Each MiB is compared with its checksum before it is first read, so that no start waits
    for all of them; and again once the file was written to.
    """

    def __init__(self, path: Path, dtype: Any, checksums: list[str]):
        """Raises ValueError for what cannot be the checksums of this file."""
        anew = "; start again, and the text is encoded anew (a run goes on from its last save with --init_from=resume)"
        super().__init__(path, dtype, anew)
        self.checksums = checksums
        if [type(checksum) for checksum in checksums] != [str] * -(-self.tokens.nbytes // MIB):
            raise ValueError("damaged")
        self.seen, self.unread = self.written(), np.ones(len(checksums), bool)

    def check(self, starts: np.ndarray, length: int) -> None:
        """Compare what is still unread of the windows of `length` tokens from `starts` on, (n,). Raises TextError for
        what is damaged, and leaves the entry to be made anew.
        """
        if (now := self.written()) != self.seen:
            self.seen = now
            self.unread[:] = True
        if not self.unread.any():
            return
        per_mib = MIB // self.tokens.itemsize
        steps = np.arange(0, length - 1 + per_mib, per_mib).clip(max=length - 1)  # to each MiB that a window may reach
        touched = (starts[:, None] + steps) // per_mib
        numbers = np.unique(touched[self.unread[touched]])
        for number in numbers:
            if _hash(self.read(number * MIB, MIB)) != self.checksums[number]:
                self.written()  # a file cut short says so
                with contextlib.suppress(OSError):
                    (self.path.parent / CHECKSUMS).unlink(missing_ok=True)
                place = f"its MiB {number + 1} of {len(self.checksums)}"
                raise TextError(f"{self.path} is damaged in {place}{self.way_out}")
            self.unread[number] = False
        if len(numbers):  # which took a while: look at the file once more
            self.check(starts, length)


def _open_entry(entry: Path) -> tuple[Tokenizer, TokenFile, TokenFile] | None:
    """(tokenizer, train, val) of a cache entry, or None where it is missing or damaged."""
    try:
        content, path = _checksums(entry), entry / "tokenizer.json"
        if content["tokenizer"] != _hash(read_bytes(path, JSON_LIMIT)):
            return None
        tokenizer = load(path)
        dtype = _token_dtype(tokenizer.vocab_size)
        train, val = (TokenFile(entry / f"{part}.bin", dtype, content[part]) for part in ("train", "val"))
    except (OSError, ValueError):
        return None
    with contextlib.suppress(OSError):  # a cache that others share may be theirs
        os.utime(entry / CHECKSUMS)  # used last
    return (tokenizer, train, val) if content["sizes"] == [len(train.tokens), len(val.tokens)] else None


def _checksums(entry: Path) -> dict[str, Any]:
    """What an entry's file of checksums says. Raises ValueError where it is missing, damaged, or of another entry."""
    own, _, text = read_bytes(entry / CHECKSUMS, JSON_LIMIT).partition(b"\n")
    content = parse_json(text, entry / CHECKSUMS)
    whole = own == _hash(text).encode() and isinstance(content, dict) and content.get("entry") == entry.name
    if not whole or any(not isinstance(content.get(key), kind) for key, kind in CONTENT.items()):
        raise ValueError("damaged, or not in its place")
    return content


def _write_entry(entry: Path, tokenizer: Tokenizer, parts: dict[str, str], source: str, fingerprint: str) -> None:
    """Write a cache entry beside its place, all of it to the disk itself, then move it there whole; of several
    processes at once, one wins.
    """
    content: dict[str, Any] = {"entry": entry.name, "source": source, "text": fingerprint, "sizes": []}
    encoded = {name: tokenizer.encode(text).astype(_token_dtype(tokenizer.vocab_size)) for name, text in parts.items()}
    try:
        make_folder(entry.parent)
        beside = Path(tempfile.mkdtemp(prefix=f"{entry.name}.", dir=entry.parent))
        try:
            for part, tokens in encoded.items():
                per_mib = MIB // tokens.itemsize
                content[part] = [
                    _hash(tokens[start : start + per_mib].data) for start in range(0, len(tokens), per_mib)
                ]
                content["sizes"].append(len(tokens))
                (beside / f"{part}.bin").write_bytes(tokens.data)
                flush_to_disk(beside / f"{part}.bin")
            tokenizer.save(beside / "tokenizer.json")
            content["tokenizer"] = _hash((beside / "tokenizer.json").read_bytes())
            checksums = json.dumps(content).encode()
            write_atomically(beside / CHECKSUMS, f"{_hash(checksums)}\n".encode() + checksums)
            _put_in_place(beside, entry)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except (OSError, UserError) as error:
        reason = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(reason, OSError):
            raise
        full = "the disk is full or a limit is reached; make room, or " if reason.errno in FULL else ""
        problem = f"Token files cannot be written in {entry.parent} ({reason.strerror or reason})"
        raise UserError(f"{problem}{': ' if full else '; '}{full}{ELSEWHERE}") from error


def _put_in_place(beside: Path, entry: Path) -> None:
    """Give a whole entry its name, in place of a damaged one. Raises UserError where that cannot be."""
    for _ in range(3):  # other processes may be doing the same
        if _open_entry(entry):
            return
        try:
            _remove(entry)
            os.rename(beside, entry)
            flush_to_disk(entry.parent)
            return
        except OSError as error:
            reason = error
    raise UserError(f"{entry} cannot be replaced ({reason.strerror or reason}); remove it, or {ELSEWHERE}")


def _make_room(entry: Path) -> None:
    """Remove what the cache no longer needs beside `entry`, just written: earlier texts of its file; what was longest
    not used, where all take more than CACHE_BYTES; and what killed processes left a day ago. A process that has such an
    entry mapped goes on reading it; where the system cannot have that (Windows), the entry stays.
    """
    own, room, day_ago = _checksums(entry), CACHE_BYTES, time.time() - 24 * 3600
    for other in sorted(filter(_is_ours, entry.parent.iterdir()), key=_last_used, reverse=True):
        size = sum(path.stat().st_size for path in other.iterdir())
        try:
            content = _checksums(other)
            needed = size <= room and (content["source"] != own["source"] or content["text"] == own["text"])
        except ValueError:  # being written, damaged, or of another version
            needed = _last_used(other) > day_ago
        if needed or other == entry:
            room -= size
        else:
            with contextlib.suppress(OSError):
                _remove(other)


def _last_used(entry: Path) -> float:
    """When an entry was last opened or, where it is not whole, written to."""
    checksums = entry / CHECKSUMS
    return (checksums if checksums.exists() else entry).stat().st_mtime


def _is_ours(path: Path) -> bool:
    """Whether this is a folder as we name them, and nothing is in it but what we write."""
    if path.is_symlink() or not path.is_dir() or not re.fullmatch(ENTRY, path.name):
        return False
    try:
        with os.scandir(path) as files:
            return all(re.fullmatch(FILE, file.name) and file.is_file(follow_symlinks=False) for file in files)
    except OSError:  # it cannot be seen
        return False


def _remove(entry: Path) -> None:
    """Remove an entry, if it is ours: all of it at once, for whoever looks. Raises OSError where that cannot be."""
    if _is_ours(entry):
        gone = entry.rename(entry.with_name(f"{entry.name[:32]}.{uuid.uuid4().hex[:8]}"))
        for path in gone.iterdir():
            path.unlink()
        gone.rmdir()


def _hash(content: bytes | memoryview) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _token_dtype(vocab_size: int) -> type[np.unsignedinteger]:
    return np.uint16 if vocab_size <= 65_536 else np.uint32

"""Texts, each encoded once into an entry of the cache: what damage is found by, and how little room it may take."""

import contextlib
import errno
import json
import os
import re
import shutil
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt.data.corpus import Corpus
from tinygpt.data.encoding import MIB, PROGRESS, Encoding, hashed, read_sealed, resumed, token_dtype, write_sealed
from tinygpt.data.learning import learned, piece_counts
from tinygpt.data.mapped import MappedTokens
from tinygpt.data.texts import Taken, Text
from tinygpt.device import freed_pages_returned
from tinygpt.errors import Note, TextError, UserError
from tinygpt.files import JSON_LIMIT, flush_to_disk, lock_file, make_folder, read_bytes
from tinygpt.progress import Progress, report
from tinygpt.tokenizer import BPETokenizer, CharTokenizer, Merge, Tokenizer, load, merge

FORMAT = "2"  # of the token files; a new number leaves the old files unused
FOLDER = "texts"  # in the cache folder, which may hold anything else: that of the entries
CHECKSUMS = "checksums"  # of an entry's other files: JSON, under a line with its own
CONTENT = {"source": str, "text": str, "sizes": list, "tokenizer": str, "train": list, "val": list}
ENTRY = r"[0-9a-f]{32}(\.[a-z0-9_]+)?"  # the names of entries, and of what is not yet or no longer one
FILE = (  # of all in them
    r"(train|val)\.bin|tokenizer\.json|checksums|progress|lock|\.(tokenizer\.json|checksums|progress)\..*\.writing"
)
LASTING = 32 << 20  # bytes of a text that is not begun anew after an interruption
CACHE_BYTES = 4 << 30  # what all entries may take together
FULL = errno.ENOSPC, errno.EDQUOT, errno.EFBIG
ELSEWHERE = "set TINYGPT_CACHE to another folder"


def encoded_text(
    text: Text, tokenizer: str | Tokenizer, vocab_size: int, cache: Path, merge_step: Merge, source: str
) -> Corpus:
    """The corpus of a text, from its token files in the cache; they are written where missing or damaged. source: the
    text's file or name; when it has another text, that takes the place of this one.
    """
    fingerprint = text.fingerprint()
    split = int(text.characters * 0.9)  # as nanoGPT divides a text
    if tokenizer == "bpe" and merge_step is not merge:  # the cache keeps what the engine's own step has trained
        (counts,) = piece_counts(_train_part(text, split))
        tokenizer = BPETokenizer.train(counts, vocab_size, merge_step)
    identity = tokenizer.state if isinstance(tokenizer, Tokenizer) else [tokenizer, vocab_size]
    entry, damaged = cache / FOLDER / hashed(json.dumps([FORMAT, identity, fingerprint]).encode()), False
    for _ in range(3):  # look, build, look again; the third time for another process that is at the same entry
        existed = os.path.exists(entry)
        if found := _open_entry(entry):
            if damaged:
                warnings.warn(f"the token files in {entry} were damaged, and are made anew", Note, stacklevel=2)
            tokenizer, train, val = found
            counted, checks = (text.characters, text.characters - split), {"train": train.check, "val": val.check}
            vocab_size = tokenizer.vocab_size
            return Corpus(text.name, train.tokens, val.tokens, tokenizer, vocab_size, *counted, fingerprint, checks)
        damaged = damaged or existed
        with freed_pages_returned():
            _write_entry(entry, text, split, source, fingerprint, tokenizer, vocab_size)
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
            if hashed(self.read(number * MIB, MIB)) != self.checksums[number]:
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
        if content["tokenizer"] != hashed(read_bytes(path, JSON_LIMIT)):
            return None
        tokenizer = load(path)
        dtype = token_dtype(tokenizer.vocab_size)
        train, val = (TokenFile(entry / f"{part}.bin", dtype, content[part]) for part in ("train", "val"))
    except (OSError, ValueError):
        return None
    with contextlib.suppress(OSError):  # a cache that others share may be theirs
        os.utime(entry / CHECKSUMS)  # used last
    return (tokenizer, train, val) if content["sizes"] == [len(train.tokens), len(val.tokens)] else None


def _checksums(entry: Path) -> dict[str, Any]:
    """What an entry's file of checksums says. Raises ValueError where it is missing, damaged, or of another entry."""
    content = read_sealed(entry / CHECKSUMS, entry.name)
    if any(not isinstance(content.get(key), kind) for key, kind in CONTENT.items()):
        raise ValueError("damaged")
    return content


def _write_entry(
    entry: Path, text: Text, split: int, source: str, fingerprint: str, tokenizer: str | Tokenizer, vocab_size: int
) -> None:
    """Write a cache entry beside its place, all of it to the disk itself, then move it there whole; of several
    processes at once, one wins. What an interrupted process had written of a large text is gone on with.
    """
    try:
        make_folder(entry.parent)
        with _workplace(entry, text.size >= LASTING) as (folder, lasting):
            begun = resumed(folder, entry.name) if lasting else None
            encoding = begun or Encoding(folder, entry.name, _trained(text, split, tokenizer, vocab_size, entry.parent))
            content = {"source": source, "text": fingerprint} | encoding.run(text, split, lasting)
            write_sealed(folder / CHECKSUMS, {"entry": entry.name} | content)
            if lasting:  # another process may look for what is in this folder, so its files move to one of their own
                with _temporary(entry) as beside:
                    for name in ("train.bin", "val.bin", "tokenizer.json", CHECKSUMS):
                        os.rename(folder / name, beside / name)
                    (folder / PROGRESS).unlink(missing_ok=True)
                    _put_in_place(beside, entry)
            else:
                _put_in_place(folder, entry)
    except (OSError, UserError) as error:
        reason = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(reason, OSError) or isinstance(error, TextError):
            raise
        full = "the disk is full or a limit is reached; make room, or " if reason.errno in FULL else ""
        problem = f"Token files cannot be written in {entry.parent} ({reason.strerror or reason})"
        raise UserError(f"{problem}{': ' if full else '; '}{full}{ELSEWHERE}") from error


def _trained(text: Text, split: int, tokenizer: str | Tokenizer, vocab_size: int, folder: Path) -> Tokenizer:
    """The tokenizer for a text: the one given, or one of that name trained on it. UserError where the text is not
    UTF-8, or has what the tokenizer has not.
    """
    alphabet = text.alphabet()
    if tokenizer == "char":
        return CharTokenizer(alphabet)
    if not isinstance(tokenizer, Tokenizer):
        return learned(_train_part(text, split), vocab_size, folder)
    if isinstance(tokenizer, CharTokenizer) and (unknown := set(alphabet) - set(tokenizer.state["characters"])):
        raise tokenizer.unknown(*text.find("".join(unknown)))
    return tokenizer


def _train_part(text: Text, split: int) -> Iterator[str]:
    """The text up to its character number `split`."""
    done = 0
    for piece in Taken(text.decoded()).take(split):
        yield piece
        done += len(piece)
        report(Progress(f"counting the pieces of {text.name}", done, split, "characters"))


@contextlib.contextmanager
def _workplace(entry: Path, lasting: bool) -> Iterator[tuple[Path, bool]]:
    """A folder to make an entry in, and whether it lasts: so that another process can go on with what is in it, if this
    one ends before it is done. Where another has that folder, or nothing can be locked, it does not.
    """
    if not lasting or (handle := _claimed(folder := entry.with_name(f"{entry.name}.part"))) is None:
        with _temporary(entry) as folder:
            yield folder, False
        return
    keep = True
    try:
        yield folder, True
        keep = False
    except UserError as error:
        keep = isinstance(error.__cause__, OSError)  # and not what is the matter with the text
        raise
    finally:
        if not keep or not (folder / PROGRESS).exists():
            shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


@contextlib.contextmanager
def _temporary(entry: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f"{entry.name}.", dir=entry.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _claimed(folder: Path) -> int | None:
    """Make a folder this process's own, as long as the handle that is returned is open; None where that cannot be."""
    handle = None
    with contextlib.suppress(OSError):
        folder.mkdir(exist_ok=True)
        if not _is_ours(folder):
            return None
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        lock_file(handle)
        if os.path.samestat(os.fstat(handle), os.stat(folder / "lock")):  # nobody has removed it meanwhile
            return handle
    if handle is not None:
        os.close(handle)
    return None


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

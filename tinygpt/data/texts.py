"""The text that a run learns from: one file, several, or a folder of them, read in pieces as one text.

Each pass over it compares what it reads with what the first pass read, so that no two of them see different texts.
"""

import bisect
import codecs
import hashlib
import itertools
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tinygpt.errors import Note, TextError, UserError
from tinygpt.files import expanded
from tinygpt.progress import Progress, report

PIECE = 1 << 20  # bytes that are read at a time, and at most twice as many
DIGEST = 16  # bytes
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Text:
    """UTF-8 from files, one after the other, or from bytes. A byte order mark at the beginning of a file is left out,
    and a file that does not end with a newline is followed by one before the next begins. Nothing else is changed, and
    nothing is put between files: no `<|endoftext|>`, unless they hold it.
    """

    def __init__(
        self, name: str, sources: Sequence[Path | bytes], look: Callable[[Path, bytes], object] = lambda *_: None
    ):  # fmt: skip
        """look: called with each file's path and its first 64 KiB before the rest is read; it may raise UserError."""
        self.name, self.sources, self.look = name, sources, look
        self.characters = self.size = 0  # of the whole text, once `fingerprint` has read it; size in bytes
        self.places: list[tuple[int, Path | None, int]] = []  # of a file's text in the whole; path; bytes before it
        self.marks = bytearray()  # a digest at the end of each piece, of all that comes before

    def fingerprint(self) -> str:
        """A hash of the text's bytes: the same text, the same fingerprint. UserError for what cannot be read."""
        digest, total = hashlib.blake2b(digest_size=DIGEST), sum(map(_size, self.sources))
        self.characters = self.size = 0
        self.places.clear()
        self.marks.clear()
        for piece in self._pieces():
            digest.update(piece)
            self.marks += digest.copy().digest()
            self.size += len(piece)
            self.characters += len(piece) if piece.isascii() else _characters(piece)
            report(Progress(f"reading {self.name}", self.size, max(total, self.size)))
        if not self.size:
            where = self.sources[0] if len(self.sources) == 1 and isinstance(self.sources[0], Path) else self.name
            raise UserError(f"{where} is empty; --data takes a text to learn from")
        report(Progress(f"reading {self.name}", self.size, self.size))
        return digest.hexdigest()

    def decoded(self, start: int = 0) -> Iterator[str]:
        """The text from the byte `start` on, the first of a character, in pieces. UserError for what is not UTF-8, with
        the file and the position in it, and for what is not what `fingerprint` read.
        """
        rest, end = b"", 0
        for piece in itertools.chain(self._verified(), [b""]):  # none is empty but the last
            end += len(piece)
            if piece and end <= start:
                report(Progress(f"reading {self.name} up to where it is", end, max(start, end)))
                continue
            content = rest + piece[max(0, start - (end - len(piece))) :]
            try:
                text, used = codecs.utf_8_decode(content, "strict", not piece)
            except UnicodeDecodeError as error:
                raise self._not_utf8(end - len(content) + error.start, content[error.start]) from None
            rest = content[used:]
            if text:
                yield text

    def alphabet(self) -> str:
        """The distinct characters of the text, in code point order. UserError as for `decoded`."""
        seen = np.zeros(0x110000, bool)
        done = 0
        for text in self.decoded():
            ascii = text.isascii()  # which takes a quarter of the time
            seen[np.frombuffer(text.encode("ascii" if ascii else "utf-32-le"), np.uint8 if ascii else "<u4")] = True
            done += len(text)
            report(Progress(f"looking through {self.name}", done, self.characters, "characters"))
        return "".join(map(chr, np.flatnonzero(seen)))

    def find(self, characters: str) -> tuple[str, int]:
        """The first of these characters in the text, which has one, and its position among all."""
        done = 0
        for text in self.decoded():
            if found := [place for place in map(text.find, characters) if place >= 0]:
                return text[min(found)], done + min(found)
            done += len(text)
        raise ValueError("it has none")

    def _verified(self) -> Iterator[bytes]:
        """The pieces, each as `fingerprint` read it. Raises UserError where it no longer is."""
        digest, marks = hashlib.blake2b(digest_size=DIGEST), memoryview(self.marks)
        number = 0
        for number, piece in enumerate(self._pieces(), 1):  # noqa: B007
            digest.update(piece)
            if digest.copy().digest() != marks[(number - 1) * DIGEST : number * DIGEST]:
                raise self._changed()
            yield piece
        if number * DIGEST != len(marks):
            raise self._changed()

    def _changed(self) -> TextError:
        return TextError(f"{self.name} was changed while it was being read; start again when it is whole")

    def _pieces(self) -> Iterator[bytes]:
        """The bytes in pieces of at least PIECE, but for the last; cut alike each time."""
        parts: list[bytes] = []
        size = 0
        for part in self._parts():
            parts.append(part)
            size += len(part)
            if size >= PIECE:
                yield b"".join(parts)
                parts, size = [], 0
        if size:
            yield b"".join(parts)

    def _parts(self) -> Iterator[bytes]:
        last, done, first_pass = b"\n", 0, not self.marks
        for source in self.sources:
            skipped = 0
            for number, part in enumerate(_read(source)):
                if number == 0:
                    if first_pass and isinstance(source, Path):
                        self.look(source, part[: 1 << 16])
                    skipped = len(part)
                    part = part.removeprefix(BYTE_ORDER_MARK)
                    skipped -= len(part)
                    if last != b"\n":
                        last = b"\n"
                        done += 1
                        yield last
                    if first_pass:
                        self.places.append((done, source if isinstance(source, Path) else None, skipped))
                if part:
                    last = part[-1:]
                    done += len(part)
                    yield part

    def _not_utf8(self, place: int, byte: int) -> UserError:
        """place: in the whole text."""
        start, path, skipped = self.places[bisect.bisect_right(self.places, place, key=lambda found: found[0]) - 1]
        several = path is not None and len(self.sources) > 1
        return UserError(
            f"{path if several else self.name} is not UTF-8: byte 0x{byte:02x} at position {place - start + skipped:,} "
            "does not fit; convert the file to UTF-8 first"
        )


def _read(source: Path | bytes) -> Iterator[bytes]:
    """The bytes of a file in parts of PIECE, but for the last. UserError for a file that cannot be read."""
    if isinstance(source, bytes):
        yield from (source[start : start + PIECE] for start in range(0, len(source), PIECE))
        return
    if source.exists() and not source.is_file():
        raise UserError(f"{source} is a pipe or a device, which may never end; --data takes a file")
    try:
        with open(source, "rb") as file:
            while part := file.read(PIECE):
                yield part
    except FileNotFoundError:
        raise UserError(
            f"There is no file {source}; --data takes a UTF-8 text, a folder of .txt files, or one with token files"
        ) from None
    except OSError as error:
        raise TextError(f"{source} cannot be read ({error.strerror or error})") from error


def _characters(piece: bytes) -> int:
    """How many characters begin here: all bytes but those that in UTF-8 continue one."""
    return int(np.count_nonzero(np.frombuffer(piece, np.int8) > -65))


def _size(source: Path | bytes) -> int:
    try:
        return len(source) if isinstance(source, bytes) else os.stat(source).st_size
    except OSError:  # reading will say so
        return 0


class Taken:
    """Characters of a text as they are asked for: `take` goes on where the last one ended."""

    def __init__(self, texts: Iterator[str]):
        self.texts, self.rest = texts, ""

    def take(self, count: int) -> Iterator[str]:
        """The next `count` characters, in pieces, of a text that has them."""
        while count > 0:
            text = self.rest or next(self.texts)
            text, self.rest = text[:count], text[count:]
            count -= len(text)
            yield text

    def all_taken(self) -> None:
        """Read to the end, so that all of the text has been compared."""
        for _ in self.texts:
            pass


def is_text_folder(path: Path) -> bool:
    """Whether a folder is taken for one of texts: it has some, and no token files."""
    return path.is_dir() and not any(path.glob("*.bin")) and bool(_txt_files(path)[0])


def text_at(data: str | Path, look: Callable[[Path, bytes], object] = lambda *_: None) -> tuple[Text, str]:
    """The text that `--data` names, and what tells its source from others: a file; a folder, for all .txt files in it
    and in the folders below, in order of path; or several of either, joined by commas. UserError for a folder without a
    .txt file, or for no name; what else it holds, and a file that is there twice, are notes.
    """
    names = [str(data)]
    if "," in names[0] and not Path(data).exists():  # a file whose own name has a comma is one file
        names = [name.strip() for name in names[0].split(",") if name.strip()] or names
    paths = [Path(expanded(name)) for name in names]
    if others := [path for path in paths if path.is_dir() and not is_text_folder(path)]:
        raise UserError(f"{others[0]} is no folder of .txt files, and only texts can be joined by commas")
    files = [file for path in paths for file in (_texts_in(path) if path.is_dir() else [path])]
    if twice := [file for file, count in Counter(map(os.path.realpath, files)).items() if count > 1]:
        problem = f"{twice[0]} is there more than once: a run may validate on a copy of what it trains on"
        warnings.warn(problem, Note, stacklevel=3)
    labels = [path.resolve().name if path.is_dir() else path.name for path in paths]
    name = ", ".join(labels) if len(labels) <= 3 else f"{labels[0]} and {len(labels) - 1} others"
    return Text(name, files, look), ",".join(str(path.resolve()) for path in paths)


def _texts_in(folder: Path) -> list[Path]:
    """The .txt files in a folder and in those below it, in order of path; notes say what else there is."""
    texts, others, links = _txt_files(folder)
    if others:
        what = "1 file that is not .txt and is" if others == 1 else f"{others:,} files that are not .txt and are"
        warnings.warn(f"{folder} has {what} left out", Note, stacklevel=4)
    if links:
        what = "link to a folder that is" if len(links) == 1 else f"{len(links):,} links to folders that are"
        way_out = f"name what belongs to the text, --data={folder},{links[0]}"
        warnings.warn(f"{folder} has {'a ' * (len(links) == 1)}{what} not followed; {way_out}", Note, stacklevel=4)
    return texts


def _txt_files(folder: Path) -> tuple[list[Path], int, list[Path]]:
    """The .txt files in a folder and below, in order of path; how many other files it has; and links to folders, which
    may lead back. All without hidden ones.
    """
    texts, others, links = [], 0, []

    def unreadable(error: OSError) -> None:
        raise UserError(f"{error.filename} cannot be read ({error.strerror})") from error

    for place, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links += [Path(place) / name for name in folders if os.path.islink(os.path.join(place, name))]
        files = [name for name in files if not name.startswith(".")]
        found = [name for name in files if name.lower().endswith(".txt")]
        texts += [Path(place) / name for name in found]
        others += len(files) - len(found)
    return sorted(texts), others, sorted(links)

"""A text becomes two files of tokens, piece by piece: in little memory, and from where it was interrupted."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt.data.learning import whole_pieces
from tinygpt.data.texts import Taken, Text
from tinygpt.files import JSON_LIMIT, flush_to_disk, opened, parse_json, read_bytes, write_atomically
from tinygpt.progress import Progress, report
from tinygpt.tokenizer import Tokenizer, load

MIB = 1 << 20  # bytes that have a checksum of their own
PARTS = "train", "val"
TOKENIZER = "tokenizer.json"
PROGRESS = "progress"  # how far a file of tokens has come: JSON, sealed
KEEP = 32 << 20  # bytes of text after which that is written down; later after a part of what is done, if that is more


class TokenWriter:
    """A file of tokens, written from its beginning to its end, and a checksum of each MiB."""

    def __init__(self, path: Path, dtype: np.dtype, begun: dict[str, Any] | None = None):
        """begun: what `state` gave, to go on from there. Raises ValueError if the file no longer holds that."""
        self.path, self.dtype = path, dtype
        self.count, self.rest, self.rest_bytes = 0, _blake2b(), 0
        self.checksums: list[str] = []
        if begun:
            self._read_again(begun)
        self.file = open(path, "r+b" if begun else "wb")  # noqa: SIM115
        self.file.truncate(self.count * dtype.itemsize)
        self.file.seek(0, os.SEEK_END)

    def write(self, ids: np.ndarray) -> None:
        """Add ids, (n,). Raises OSError."""
        content = memoryview(ids.astype(self.dtype).tobytes())
        self.file.write(content)
        self.file.flush()
        start = 0
        while start < len(content):
            part = content[start : start + MIB - self.rest_bytes]
            self._hash(part)
            start += len(part)
        self.count += len(ids)

    def _hash(self, content: bytes | memoryview) -> None:
        """Count in what follows, no more than up to the end of a MiB."""
        self.rest.update(content)
        self.rest_bytes += len(content)
        if self.rest_bytes == MIB:
            self.checksums.append(self.rest.hexdigest())
            self.rest, self.rest_bytes = _blake2b(), 0

    def state(self) -> Callable[[], dict[str, Any]]:
        """What the file holds now, ready for JSON when it is called, however much is written meanwhile."""
        count, number, rest = self.count, len(self.checksums), self.rest.copy()
        return lambda: {"count": count, "checksums": self.checksums[:number], "rest": rest.hexdigest()}

    def _read_again(self, begun: dict[str, Any]) -> None:
        self.count, size = int(begun["count"]), int(begun["count"]) * self.dtype.itemsize
        left = size
        with opened(self.path) as file:
            while part := file.read(min(MIB, left)):
                self._hash(part)
                left -= len(part)
                report(Progress("comparing what is kept", size - left, size))
        if left or self.checksums != begun["checksums"] or self.rest.hexdigest() != begun["rest"]:
            raise ValueError("damaged")

    def close(self) -> list[str]:
        """The checksums of a file that is whole, and on the disk itself."""
        self.file.close()
        flush_to_disk(self.path)
        return [*self.checksums, self.rest.hexdigest()] if self.rest_bytes else self.checksums


class Encoding:
    """The two token files of a text while they are written."""

    def __init__(self, folder: Path, name: str, tokenizer: Tokenizer, begun: dict[str, Any] | None = None):
        """name: of what the files belong to. begun: what was written down when this was interrupted. Raises ValueError
        if the files no longer hold that.
        """
        self.folder, self.name, self.tokenizer = folder, name, tokenizer
        self.bytes, self.characters = (int(begun[key]) if begun else 0 for key in ("bytes", "characters"))
        self.before = str(begun["before"]) if begun else ""  # the last characters of this part, up to `context`
        self.kept = self.bytes
        self.writers: dict[str, TokenWriter] = {}
        dtype = np.dtype(token_dtype(tokenizer.vocab_size))
        try:
            for part in PARTS:
                self.writers[part] = TokenWriter(folder / f"{part}.bin", dtype, begun and begun[part])
        except BaseException:
            self._close()
            raise
        self.state = self._state()

    def run(self, text: Text, split: int, lasting: bool) -> dict[str, Any]:
        """Write the tokens of the text up to character `split` and those of the rest. lasting: write down from time to
        time how far this is, and when it is interrupted. Returns the checksums of the files, by their names, and their
        sizes in tokens. UserError for what the tokenizer does not know, OSError for what cannot be written.
        """
        try:
            if lasting and not self.kept:
                self._keep()  # the tokenizer, which may have taken long to train
            self._encode(text, split, lasting)
            content: dict[str, Any] = {part: self.writers[part].close() for part in PARTS}
            self.tokenizer.save(self.folder / TOKENIZER)
        except KeyboardInterrupt:
            if lasting:
                with contextlib.suppress(OSError, ValueError):  # then from what was written down before
                    self._keep()
                report(Progress(f"encoding {text.name}", self.kept, text.size, kept=self.kept))
            raise
        finally:
            self._close()
        content["tokenizer"] = hashed((self.folder / TOKENIZER).read_bytes())
        return content | {"sizes": [writer.count for writer in self.writers.values()]}

    def _encode(self, text: Text, split: int, lasting: bool) -> None:
        taken = Taken(text.decoded(self.bytes))
        for part, end in zip(PARTS, (split, text.characters), strict=True):
            for piece in whole_pieces(self.tokenizer, taken.take(end - self.characters)):
                self.writers[part].write(self.tokenizer.encode_after(self.before, piece))
                self.before = (self.before + piece)[max(0, len(self.before) + len(piece) - self.tokenizer.context) :]
                self.characters += len(piece)
                self.bytes += len(piece) if piece.isascii() else len(piece.encode())
                self.state = self._state()
                if lasting and self.bytes - self.kept >= max(KEEP, self.bytes >> 6):
                    self._keep()
                report(Progress(f"encoding {text.name}", self.bytes, text.size, kept=self.kept))
            self.before = ""
        taken.all_taken()

    def _state(self) -> tuple[int, int, str, dict[str, Callable[[], dict[str, Any]]]]:
        """How far this is, at once: an interruption finds this or the one before."""
        return self.bytes, self.characters, self.before, {part: writer.state() for part, writer in self.writers.items()}

    def _keep(self) -> None:
        """Write down how far this is, once what that says is on the disk itself."""
        done, characters, before, parts = self.state
        if not self.kept:
            self.tokenizer.save(self.folder / TOKENIZER)
        for writer in self.writers.values():
            flush_to_disk(writer.path)
        tokenizer = hashed((self.folder / TOKENIZER).read_bytes())
        content = {
            "entry": self.name,
            "tokenizer": tokenizer,
            "bytes": done,
            "characters": characters,
            "before": before,
        }
        write_sealed(self.folder / PROGRESS, content | {part: state() for part, state in parts.items()})
        self.kept = done

    def _close(self) -> None:
        for writer in self.writers.values():
            with contextlib.suppress(OSError):  # what could not be written has been said
                writer.file.close()


def resumed(folder: Path, name: str) -> Encoding | None:
    """What another process began to write in a folder, to go on with; None where there is nothing, or it is damaged."""
    try:
        begun = read_sealed(folder / PROGRESS, name)
        if begun["tokenizer"] == hashed(read_bytes(folder / TOKENIZER, JSON_LIMIT)):
            return Encoding(folder, name, load(folder / TOKENIZER), begun)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    """Write JSON under a line with its checksum, whole or not at all. UserError where that cannot be."""
    text = json.dumps(content).encode()
    write_atomically(path, f"{hashed(text)}\n".encode() + text)


def read_sealed(path: Path, entry: str) -> dict[str, Any]:
    """What `write_sealed` wrote of an entry. Raises ValueError where it is missing, damaged, or of another entry."""
    own, _, text = read_bytes(path, JSON_LIMIT).partition(b"\n")
    content = parse_json(text, path)
    if own != hashed(text).encode() or not isinstance(content, dict) or content.get("entry") != entry:
        raise ValueError("damaged, or not in its place")
    return content


def hashed(content: bytes | memoryview) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _blake2b() -> Any:
    return hashlib.blake2b(digest_size=16)


def token_dtype(vocab_size: int) -> type[np.unsignedinteger]:
    return np.uint16 if vocab_size <= 65_536 else np.uint32

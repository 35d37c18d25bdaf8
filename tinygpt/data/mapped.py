"""Token files, memory-mapped, so that none takes room; each is looked at again before it is read."""

import contextlib
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt.errors import TextError
from tinygpt.files import opened


class MappedTokens:
    """The tokens in a file, memory-mapped: `tokens`, (n,). A file that is replaced or removed leaves them as they are;
    one that is written to does not, which `check` sees. way_out: what to do then, the end of a sentence.
    """

    def __init__(self, path: Path, dtype: Any, way_out: str, offset: int = 0):
        """offset: bytes before the tokens. TextError if the file cannot be read, ValueError if its size is no multiple
        of a token's.
        """
        self.path, self.way_out, self.offset = path, way_out, offset
        with opened(path) as file:
            self.file = os.fdopen(os.dup(file.fileno()), "rb", buffering=0)  # its path may lead to another one later
            weakref.finalize(self, self.file.close)
            found = os.fstat(file.fileno())
            empty = found.st_size <= offset  # which cannot be mapped
            self.tokens = np.empty(0, dtype) if empty else np.memmap(file, dtype, mode="r", offset=offset)
        self.time_ns = found.st_mtime_ns

    def check(self, starts: np.ndarray, length: int) -> None:
        """Raise TextError if the windows of `length` tokens from `starts` on, (n,), are not what was mapped."""
        size, time_ns = self.written()
        if size != self.offset + self.tokens.nbytes:
            raise TextError(f"{self.path} has grown meanwhile, to {size:,} bytes{self.way_out}")
        if time_ns != self.time_ns:
            seen = "it has the same size, and another time of change"
            raise TextError(f"{self.path} was rewritten, or only touched, meanwhile ({seen}){self.way_out}")

    def written(self) -> tuple[int, int]:
        """The file's size in bytes, and when it was last written to. Raises TextError if it was cut short: whoever
        reads what is gone is ended by the system. That may still happen, to who reads just when it is being cut.
        """
        with self._reading():
            now = os.fstat(self.file.fileno())
        if now.st_size < (mapped := self.offset + self.tokens.nbytes):
            sizes = f"from {mapped:,} bytes to {now.st_size:,}"
            raise TextError(f"{self.path} was cut short meanwhile, {sizes}{self.way_out}")
        return now.st_size, now.st_mtime_ns

    def read(self, start: int, size: int) -> bytes:
        """`size` bytes of the tokens from their byte `start` on, or those that there are of what was mapped. Nothing
        ends the process here, but it takes longer than from memory.
        """
        with self._reading():
            self.file.seek(self.offset + start)
            return self.file.read(min(size, self.tokens.nbytes - start))

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # the disk fails, or the machine it is in no longer has the file
            raise TextError(f"{self.path} can no longer be read ({error.strerror}){self.way_out}") from error

"""Files that are whole or not there at all: atomic writes, downloads, and the cache folder."""

import os
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tinygpt.errors import UserError


def write_atomically(path: str | Path, write: bytes | Callable[[Path], object]) -> None:
    """Put bytes, or whatever `write(temporary_path)` writes, at `path`: after a crash the old file or the new one.

    Raises UserError if the folder cannot be written to or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(write, bytes):
            temporary.write_bytes(write)
        else:
            write(temporary)
        flush_to_disk(temporary)
        os.replace(temporary, path)
        flush_to_disk(path.parent)
    except OSError as error:
        raise UserError(f"could not write {path}: {error.strerror or error}; check the disk and --out_dir") from error
    finally:
        temporary.unlink(missing_ok=True)


def flush_to_disk(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on the disk itself and not only in the system's memory."""
    if path.is_dir():
        if os.name == "nt":  # Windows cannot open folders, and writes their entries through
            return
        handle = os.open(path, os.O_RDONLY)
    else:
        handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def cache_folder() -> Path:
    """Where downloads and token files are kept: $TINYGPT_CACHE, or `tinygpt` in the platform's usual cache folder."""
    if folder := os.environ.get("TINYGPT_CACHE"):
        return Path(folder)
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "tinygpt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    return folder if writable else Path(tempfile.gettempdir()) / f"tinygpt-{os.environ.get('USER', 'user')}"


def download(url: str, path: Path, way_out: str, check: Callable[[Path], bool] = lambda path: True) -> None:
    """Fetch `url` to `path`, whole and passing `check`, or raise UserError ending in `way_out`."""

    def fetch(temporary: Path) -> None:
        try:
            with urllib.request.urlopen(url, timeout=60) as response, temporary.open("wb") as file:
                while piece := response.read(1 << 20):
                    file.write(piece)
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", error)
            raise UserError(f"could not download {url} ({reason}); {way_out}") from error
        if not check(temporary):
            raise UserError(f"what came from {url} is not the file expected; {way_out}")

    write_atomically(path, fetch)

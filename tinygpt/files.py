"""Files that are whole or not there at all: atomic writes, reading within bounds, downloads, and the cache folder."""

import contextlib
import getpass
import glob
import hashlib
import http.client
import json
import os
import stat
import sys
import tempfile
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tinygpt.errors import UserError

UMASK = os.umask(0o077)  # there is no other way to ask for it; a program of one thread, as at its start, may
os.umask(UMASK)
JSON_LIMIT = 16 << 20  # bytes: a tokenizer of every character that Unicode has takes 13 MB


def expanded(path: str | os.PathLike) -> str:
    """A path as a user gives it, with `~` or `~name` at its beginning in full, also where no shell has seen to that; a
    folder that is called ~ is `./~`.
    """
    return os.path.expanduser(os.fspath(path))


def write_atomically(path: str | Path, write: bytes | Callable[[Path], object]) -> None:
    """Put bytes, or whatever `write(temporary_path)` writes, at `path`: after a crash the old file or the new one.
    Raises UserError if the folder cannot be written to or the disk is full.
    """
    path = Path(path)
    with contextlib.suppress(OSError):  # of processes killed while they wrote; a day old, to disturb no living one
        for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.writing"):
            if time.time() - leftover.stat().st_mtime > 24 * 3600:
                leftover.unlink()
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.writing")
    try:
        make_folder(path.parent)
        if isinstance(write, bytes):
            temporary.write_bytes(write)
        else:
            write(temporary)
            temporary.chmod(0o666 & ~UMASK)  # which whoever writes may not keep to
        flush_to_disk(temporary)
        os.replace(temporary, path)
        flush_to_disk(path.parent)
    except OSError as error:
        raise UserError(f"could not write {path}: {error.strerror or error}; check the disk and the path") from error
    finally:
        with contextlib.suppress(OSError):  # it is there only if something failed, and then perhaps out of reach
            temporary.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing; a power loss later does not take them."""
    missing = [path for path in (folder, *folder.parents) if not path.is_dir()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        flush_to_disk(made.parent)


def flush_to_disk(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on the disk itself and not only in the system's memory."""
    mode, accepted = (os.O_RDONLY, (OSError,)) if path.is_dir() else (os.O_RDWR, ())
    with contextlib.suppress(*accepted):  # Windows cannot open folders, and some network file systems not flush them
        handle = os.open(path, mode)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_bytes(path: str | Path, limit: int) -> bytes:
    """The bytes of a file. Raises UserError if it cannot be read or has more than `limit` of them."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(limit + 1) if size <= limit else b""
    if max(len(content), size) > limit:
        raise UserError(f"{path} has {max(len(content), size):,} bytes; expected at most {limit:,}")
    return content


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file. Raises UserError if it cannot be read."""
    digest = hashlib.sha256()
    with opened(path) as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[BinaryIO]:
    """A file to read bytes from. Raises UserError if it cannot be read; and for what is no file of its own, such as a
    folder, or a pipe or a device, which may never end.
    """
    try:
        kind = os.stat(path).st_mode
        if not stat.S_ISREG(kind):
            what = "folder" if stat.S_ISDIR(kind) else "pipe or a device"
            raise UserError(f"could not read {path}: it is a {what}, not a file")
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise UserError(f"could not read {path}: {error.strerror or error}") from error


def parse_json(text: str | bytes, source: str | Path) -> Any:
    """What a JSON text stands for. Raises UserError, naming `source`, for what is no JSON, or no JSON of ours."""
    try:
        return json.loads(text)
    except ValueError as error:  # not JSON, not UTF-8, or a number of thousands of digits
        raise UserError(f"{source} is damaged: not JSON ({error})") from error
    except RecursionError as error:
        raise UserError(f"{source} is damaged: its brackets are nested too deep") from error


def read_json(path: str | Path, kind: type = dict) -> Any:
    """The object, or the `kind` of value asked for, in a JSON file. Raises UserError if it is missing or damaged."""
    content = parse_json(read_bytes(path, JSON_LIMIT), path)
    if not isinstance(content, kind):
        expected = "an object" if kind is dict else f"a {kind.__name__}"
        raise UserError(f"{path} is damaged: expected {expected}, found {type(content).__name__}")
    return content


def cache_folder() -> Path:
    """The folder for token files and downloads, made if missing: $TINYGPT_CACHE, else tinygpt in the system's usual
    place. Where that cannot be written, a folder among the temporary files; UserError if not even that, or if someone
    else could put files into it.
    """
    caches = {"darwin": "~/Library/Caches", "win32": os.environ.get("LOCALAPPDATA") or "~/AppData/Local"}
    usual = caches.get(sys.platform, os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
    wanted = os.environ.get("TINYGPT_CACHE") or os.path.join(usual, "tinygpt")
    for place in (wanted, os.path.join(tempfile.gettempdir(), f"tinygpt-{user}")):
        folder = Path(expanded(place))
        with contextlib.suppress(OSError):
            for path in (*reversed(folder.parents), folder):
                path.mkdir(mode=0o700, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                found = os.stat(folder) if place == wanted else os.lstat(folder)  # a link of others' leads anywhere
            if problem := _not_ours(found) or _replaceable(folder):
                raise UserError(f"the cache folder {folder} {problem}; set TINYGPT_CACHE to a folder of your own")
            return folder
    raise UserError(f"Neither {wanted} nor the temporary folder can be written; set TINYGPT_CACHE to a folder that can")


def _not_ours(folder: os.stat_result) -> str | None:
    """Why files in a folder may be someone else's; None if only its owner, who is this user, can write them. (A group
    may: on many systems everyone's own is the only one in it. Windows keeps all these folders in the user's own.)
    """
    if stat.S_ISLNK(folder.st_mode):
        return "is a link, which another user may have put there"
    if hasattr(os, "getuid") and folder.st_uid != os.getuid():
        return "belongs to another user"
    return "can be written to by every user" if os.name == "posix" and folder.st_mode & stat.S_IWOTH else None


def _replaceable(folder: Path) -> str | None:
    """Why others could put a folder of theirs in this one's place. (Not in one such as /tmp, with the sticky bit.)"""
    for above in (folder.absolute().parent, folder.resolve().parent):
        mode = above.stat().st_mode
        if os.name == "posix" and mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return f"can be replaced by every user, since each can write to {above}"
    return None


def download(
    url: str, path: Path, way_out: str, check: Callable[[Path], object] = lambda path: None, limit: int = JSON_LIMIT
) -> None:
    """Fetch `url` to `path`, whole, or raise UserError with `way_out`. check: False or UserError for a wrong file;
    limit: the most bytes that it may have.
    """

    def fetch(temporary: Path) -> None:
        try:
            with urllib.request.urlopen(url, timeout=60) as response, temporary.open("wb") as file:
                leads_to = getattr(response, "url", None) or url
                if urllib.parse.urlsplit(leads_to).scheme != urllib.parse.urlsplit(url).scheme:
                    raise ConnectionError(f"it leads to {leads_to[:200]}, which nothing protects on its way")
                while piece := response.read(1 << 20):
                    file.write(piece)
                    if file.tell() + max(0, getattr(response, "length", 0) or 0) > limit:
                        raise ConnectionError(f"it has more than the {limit:,} bytes expected")
                if getattr(response, "length", 0):  # what the server promised and did not send
                    raise ConnectionError(f"it broke off {response.length:,} bytes before the end")
        except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: it leads to what is no address
            reason = str(getattr(error, "reason", error))[:300]
            raise UserError(f"Could not fetch {url} ({reason}); {way_out}") from error
        why = ""
        try:
            if check(temporary) is not False:
                return
        except UserError as error:
            why = f" ({str(error).replace(str(temporary), 'it')})"
        raise UserError(f"What came from {url} is not the file expected{why}; {way_out}")

    write_atomically(path, fetch)


try:
    import fcntl

    def lock_file(handle: int) -> None:
        """Take the system's lock on an open file, until it is closed. Raises OSError if another holds it."""
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

except ImportError:  # Windows
    import msvcrt

    def lock_file(handle: int) -> None:
        """Take the system's lock on an open file, until it is closed. Raises OSError if another holds it."""
        os.lseek(handle, 1 << 30, os.SEEK_SET)  # beyond what the file holds, which others could not read otherwise
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        finally:
            os.lseek(handle, 0, os.SEEK_SET)

"""One process at a time owns a run's folder, from before it touches anything in there until it ends.

The lock is the system's, on an open file: the kernel frees it however the process ends. The file itself is never moved
and never deleted, or two processes could each hold the lock of their own.
"""

import contextlib
import errno
import os
import platform
import stat
from collections.abc import Iterator
from pathlib import Path

from tinygpt.errors import UserError
from tinygpt.files import lock_file, make_folder

LOCK = "tinygpt.lock"
HELD_BY_ANOTHER = errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK
_owned: dict[tuple[int, int], "OwnedFolder"] = {}  # by this process: device and inode of the folder


class OwnedFolder:
    """A run's folder while this process owns it. note: what there is to say, such as that it could not be locked."""

    def __init__(self, path: Path, identity: tuple[int, int]):
        self.path, self.identity = path, identity
        self.handle, self.note = _locked(path)
        self.owners = 0  # within this process

    def check(self) -> None:
        """Raise UserError if the path no longer leads to the folder, so that nothing is written where no run is. A
        lock's file that was removed is made anew; UserError if another process was faster.
        """
        if _identity(self.path) != self.identity:
            raise UserError(
                f"{self.path} is no longer the folder in which this run began: it was renamed or removed meanwhile; "
                f"if it was renamed, what the run had saved is in it"
            )
        if _identity(self.path / LOCK) != _identity(self.handle):
            try:
                before, (self.handle, _) = self.handle, _locked(self.path)
            except UserError as error:
                raise UserError(f"{self.path / LOCK} was removed while this run held it, and {error}") from None
            os.close(before)


@contextlib.contextmanager
def owned(out_dir: str | Path) -> Iterator[OwnedFolder]:
    """A run's folder, made if missing, owned by this process within the block; the process may ask again within it.
    Raises UserError if another process owns it, or it cannot be written.
    """
    path = Path(out_dir)
    try:
        make_folder(path)
    except FileExistsError:
        raise UserError(f"{path} is not a folder; choose another --out_dir") from None
    except OSError as error:
        raise UserError(f"could not make {path}: {error.strerror or error}; choose another --out_dir") from error
    key = _identity(path)
    if key not in _owned:
        _owned[key] = OwnedFolder(path, key)
    folder = _owned[key]
    folder.owners += 1
    try:
        yield folder
    finally:
        folder.owners -= 1
        if not folder.owners and key in _owned:  # in a copy of the process it is not
            os.close(_owned.pop(key).handle)


def _locked(folder: Path) -> tuple[int, str]:
    """The lock's file, open and locked: a file of its own, not what a link leads to, that no program started here
    inherits. And a note where the file system has no locks.
    """
    path = folder / LOCK
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(path, flags, 0o666)
    except OSError as error:
        raise UserError(f"could not write {path}: {error.strerror or error}; choose another --out_dir") from error
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise UserError(f"{path} is not a file, as a run's lock is; remove it, or choose another --out_dir")
        return handle, _lock(handle, folder)
    except BaseException:
        os.close(handle)
        raise


def _lock(handle: int, folder: Path) -> str:
    """Lock the file, and write into it who did. Returns a note where the file system has no locks; UserError if another
    process was faster.
    """
    try:
        lock_file(handle)
    except OSError as error:
        if error.errno in HELD_BY_ANOTHER:
            raise UserError(
                f"another run is training in {folder}{_holder(handle)}; give this one another --out_dir, or wait until "
                f"it ends"
            ) from None
        return f"the file system of {folder} has no locks ({error.strerror}); take care that one run alone trains there"
    with contextlib.suppress(OSError):  # a full disk: only a name less in a message
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()} {platform.node()}\n".encode())
    return ""


def _holder(handle: int) -> str:
    """Who has the lock, as far as the file says: " (process 1234)"."""
    try:
        process, _, host = os.read(handle, 300).decode().strip().partition(" ")
    except (OSError, ValueError):
        return ""
    if not process.isdecimal():
        return ""
    return f" (process {process}" + (f" on {host}" if host != platform.node() else "") + ")"


def _identity(of: Path | int) -> tuple[int, int]:
    """What tells a file or folder, or an open file, from every other; none of them if it is not there."""
    try:
        found = os.stat(of)
    except OSError:
        return -1, -1
    return found.st_dev, found.st_ino


def _forget() -> None:
    """In a copy of the process that `fork` made: the run's folder is its parent's."""
    for folder in _owned.values():
        os.close(folder.handle)
    _owned.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

"""A site's folder: what in it is the site's, so that nothing else in it is ever written over or removed."""

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from tinygpt.errors import UserError
from tinygpt.files import read_bytes, write_atomically

OURS = "tinygpt-site.json"  # in a site's folder: which files in it are the site's
LISTED = 1 << 20  # bytes of that file


def files_of(folder: Path) -> list[str]:
    """The files in a folder that an earlier site put there. Raises UserError for a folder that holds anything and is
    no site, and for a place where none can be written.
    """
    listed = folder / OURS
    try:
        if not folder.is_dir():
            if folder.exists() or folder.is_symlink():
                what = "a file" if folder.exists() else "a link that leads nowhere"
                raise UserError(f"{folder} is {what}; give the site a folder of its own")
            above = next(path for path in folder.absolute().parents if path.exists())
            if not above.is_dir():
                raise UserError(f"{above} is a file, and {folder} cannot be made in it")
            if not os.access(above, os.W_OK | os.X_OK):
                raise PermissionError(None, "writing there is not allowed")
            return []
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(None, "writing there is not allowed")
        if not any(folder.iterdir()):
            return []
    except OSError as error:
        raise UserError(f"could not write into {folder}: {error.strerror}; give another folder") from error
    if listed.is_file():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            names = json.loads(read_bytes(listed, LISTED))["files"]
            if all(isinstance(name, str) and is_inside(name) for name in names):
                return names
    raise UserError(
        f"{folder} holds files that are no site of the lessons, and was left alone; give an empty folder or a new one"
    )


def is_inside(name: str) -> bool:
    """Whether a name leads to a place within the folder that it is seen from."""
    parts = name.split("/")
    return bool(name) and not Path(name).is_absolute() and not {"", ".", ".."} & set(parts)


def write(folder: Path, files: dict[str, bytes], taken: Sequence[str]) -> None:
    """Write the files in the place of an earlier site's. taken: its names, of which those that are no more go. What
    else is in the folder is left alone. Raises UserError, before anything is written, where that is in the way.
    """
    for name in files:
        if name not in taken and os.path.lexists(folder / name):
            raise UserError(f"{folder / name} is in the way, and no site put it there; move it, or give another folder")
    _list(folder, sorted({*taken, *files}))  # first, so that an interrupted site is known as one
    for name, content in files.items():
        write_atomically(folder / name, content)
    try:
        for name in set(taken) - set(files):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"could not remove {folder / name}: {error.strerror}") from error
    _list(folder, sorted(files))


def _list(folder: Path, names: list[str]) -> None:
    says = "The pages of tinygpt's lessons, written by python -m lessons site, which replaces the files listed here."
    write_atomically(folder / OURS, (json.dumps({"what": says, "files": names}, indent=0) + "\n").encode())

"""A run's folder, in which each state is whole or not there, and an earlier run is moved aside.

It holds

    best/                     a model's folder: the best weights so far
    last/step-00000250.1/     everything the run needs to go on exactly as if it had not stopped
    last/current              the name of the folder in use, and the SHA-256 of its state.json, which has the others'

A state is written to a new folder, flushed to disk, and becomes the one in use when `current` is replaced, which is
one atomic step; a run killed at any moment leaves the earlier state or the new one.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tinygpt.checkpoint import WEIGHTS
from tinygpt.errors import UserError, brief
from tinygpt.files import flush_to_disk, make_folder, read_bytes, read_json, sha256, write_atomically
from tinygpt.run.reading import rereading
from tinygpt.run.saved import saved_digests

RUN_FILES = (
    "metrics.jsonl",
    "marks.json",
    "loss.png",
    "show.html",
    "best",
    "last",
)  # in this order, so that what is left is still a run


def current(out_dir: str | Path) -> str:
    """What names the last state in a run's folder; nothing where there is none."""
    with contextlib.suppress(UserError):
        return read_bytes(Path(out_dir) / "last" / "current", 1000).decode(errors="replace")
    return ""


@rereading
def load_meta(out_dir: str | Path) -> tuple[dict[str, Any], Path]:
    """The last state's meta, which alone is checked, and its folder. Raises UserError as `load_state` does."""
    last = Path(out_dir) / "last"
    if not (last / "current").exists():
        raise UserError(f"{out_dir} holds no run to resume; expected {last / 'current'}, which training writes")
    name, _, digest = read_bytes(last / "current", 1000).decode(errors="replace").strip().partition("\n")
    if not re.fullmatch(r"step-[\d.]+", name):
        raise UserError(
            f"{last / 'current'} is damaged: it names {brief(name)}, and not a state such as step-00000250.1"
        )
    folder = last / name
    _check_digest(folder / "state.json", digest, out_dir)
    return read_json(folder / "state.json"), folder


@rereading
def load_state(out_dir: str | Path) -> tuple[dict[str, Any], Path]:
    """The last state's meta, and the folder of its files. Raises UserError if one is missing, or not as its digest."""
    meta, folder = load_meta(out_dir)
    for file, expected in saved_digests(meta, folder / "state.json").items():
        _check_digest(folder / file, expected, out_dir)
    return meta, folder


def _check_digest(path: Path, expected: str, out_dir: str | Path) -> None:
    best = Path(out_dir) / "best"
    way_out = "start again with another --out_dir"
    if (best / WEIGHTS).exists():
        way_out = f"start from the best weights with --init_from={best} and another --out_dir"
    if not path.exists():
        raise UserError(f"{path} is missing, so the run cannot be resumed; {way_out}")
    if sha256(path) != expected:
        raise UserError(f"{path} is damaged (its SHA-256 has changed); {way_out}")


def save_state(out_dir: str | Path, step: int, write: Callable[[Path], None], meta: Mapping[str, Any]) -> None:
    """Make a state the run's last one; the one before is removed when the new one is safely on disk.

    write: puts the state's files into a folder; meta: what JSON holds. A UserError leaves the state before as it is.
    """
    refuse_links(out_dir)
    last = Path(out_dir) / "last"
    folder = _unused(last, f"step-{step:08d}.")
    try:
        make_folder(folder)
        write(folder)
        digests = {}
        for path in sorted(folder.iterdir()):
            flush_to_disk(path)
            digests[path.name] = sha256(path)
        write_atomically(folder / "state.json", json.dumps({**meta, "sha256": digests}, indent=2).encode())
        write_atomically(last / "current", f"{folder.name}\n{sha256(folder / 'state.json')}\n".encode())
    except (OSError, UserError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(f"could not save to {folder}: {error}; the save before it, if any, is intact") from error
    remove_leftovers(Path(out_dir))


def refuse_links(out_dir: str | Path) -> None:
    """Raise UserError if a folder that a run writes into is a link: in a run's folder that somebody gave to the user it
    may lead to anything of theirs.
    """
    out_dir = Path(out_dir)
    last = out_dir / "last"
    for path in (last, out_dir / "best", *out_dir.glob("step-*"), *last.glob("step-*")):
        if path.is_symlink():
            way_out = f"put a folder in its place (to have the run on another disk, make {out_dir} itself a link)"
            raise UserError(f"{path} is a link, and a run changes nothing outside its folder; {way_out}")


def remove_leftovers(out_dir: Path) -> None:
    """Remove states that are not the last, and what killed runs left half written. Only for who alone writes there."""
    refuse_links(out_dir)
    last = out_dir / "last"
    states = [path for path in last.glob("step-*") if re.fullmatch(r"step-[0-9]+\.[0-9]+", path.name)]
    in_use = current(out_dir).partition("\n")[0]
    if last / in_use in states:  # else they may be all that is left of the run
        for state in states:
            if state.name != in_use:
                shutil.rmtree(state, ignore_errors=True)
    for folder in (out_dir, last, out_dir / "best", *out_dir.glob("step-*")):
        for leftover in folder.glob(".*.writing"):
            with contextlib.suppress(OSError):
                leftover.unlink()


def set_aside(out_dir: str | Path) -> Path | None:
    """Move an earlier run in `out_dir` into a new folder in it, `run-1`, `run-2`, ...; returns that, or None."""
    out_dir = Path(out_dir)
    parts = [path for path in out_dir.glob("step-*") if path.is_dir()]
    parts += [path for path in (out_dir / name for name in RUN_FILES) if path.exists()]
    if not any(part.is_dir() and any(part.iterdir()) or part.is_file() and part.stat().st_size for part in parts):
        return None
    remove_leftovers(out_dir)
    folder, moved = _unused(out_dir, "run-"), []
    try:
        make_folder(folder)
        for part in parts:  # each on the disk before the next, and all before a new run writes
            os.replace(part, folder / part.name)
            moved.append(part)
            flush_to_disk(folder)
            flush_to_disk(out_dir)
    except OSError as error:
        with contextlib.suppress(OSError):  # a run is not to lie in two places
            for back in reversed(moved):
                os.replace(folder / back.name, back)
            folder.rmdir()
        problem = f"could not move {part.name} of the earlier run to {folder}: {error.strerror}"
        raise UserError(f"{problem}; choose another --out_dir") from error
    return folder


def _unused(folder: Path, stem: str) -> Path:
    """The first of `stem`1, `stem`2, ... that does not exist in `folder`."""
    number = 1
    while (path := folder / f"{stem}{number}").exists():
        number += 1
    return path

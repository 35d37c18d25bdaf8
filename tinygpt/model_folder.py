"""Where a model lies in what a user names: its folder, a run's, one of the hub's cache, or a file in one of these."""

import difflib
import errno
import os
import re
import warnings
from pathlib import Path
from typing import Any

from tinygpt.conversions import CONFIG, INDEX, SHARD, WEIGHTS, what_lies_there, why_not_read
from tinygpt.errors import Note, UserError, brief
from tinygpt.files import expanded, read_bytes

OURS = CONFIG, WEIGHTS, INDEX
NAMES = "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"  # of what is fetched


def named_path(named: Any) -> Path:
    """What a user names as a path. Raises UserError for what is none, and for what no system takes as one."""
    if not isinstance(named, str | os.PathLike) or not os.fspath(named):
        raise UserError(f"the folder is {brief(named)}; expected a path, or a model's name such as 'gpt2'")
    path = Path(expanded(named))
    try:
        os.lstat(path)
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) or error.errno == errno.ENAMETOOLONG:
            raise UserError(f"the folder is {brief(os.fspath(named))}, which can name none: {error.args[-1]}") from None
    return path


def model_folder(named: Any) -> Path:
    """The folder that a path leads to: its own, if it is a model's file; the snapshot in use, if it is a model's in the
    hub's cache; else itself, whether there is one or not. Raises UserError for a file that is not read here.
    """
    path = named_path(named)
    if path.is_file():
        if path.name not in OURS and not (SHARD.search(path.name) and path.with_name(INDEX).exists()):
            expected = f"expected a model's folder, with {CONFIG} and {WEIGHTS}"
            raise UserError(why_not_read(path) or f"{path} is a file, and of no kind of weights known here; {expected}")
        path = path.parent
    if path.name == "snapshots":
        path = path.parent
    empty = path.is_dir() and not any((path / name).exists() for name in (CONFIG, "best", "last"))
    if empty and (path / "snapshots").is_dir():
        return _snapshot(path)
    models = sorted(folder.name for folder in path.glob("models--*")) if empty else []
    if models:
        raise UserError(f"{path} is the hub's cache; give the folder of one model in it, such as {path / models[0]}")
    return path


def model_files(named: Any) -> tuple[Path, Path]:
    """Config and weights, a whole file or an index, in what `model_folder` finds, or of a run's best. Raises UserError
    if there is no folder, or weights only in a form that is not read here.
    """
    folder = model_folder(named)
    if not folder.is_dir():
        raise UserError(_not_there(str(named)))
    if not (folder / CONFIG).exists() and (folder / "best" / CONFIG).exists():  # a run's folder
        folder = folder / "best"
    config, whole, index = (folder / name for name in OURS)
    for path in (config, whole, index):
        if path.is_symlink() and not path.exists():
            way_out = "of the hub's cache copy the model's whole folder, blobs and all"
            raise UserError(f"{path} is a link to {os.readlink(path)}, where there is nothing; {way_out}")
    if whole.exists() or index.exists():
        if not config.exists():
            needed = f"beside {whole if whole.exists() else index}: it says the model's shape"
            raise UserError(f"could not read {config}: no such file {needed}; take the model's own, or write it")
        if whole.exists() and index.exists():
            said = f"{folder} has both {WEIGHTS} and {INDEX}; the former is read, as transformers does"
            warnings.warn(said, Note, stacklevel=3)
    elif problem := what_lies_there(folder):
        raise UserError(problem)
    elif not config.exists() and (inner := sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))):
        raise UserError(
            f"{folder} holds no model itself, but {', '.join(map(str, inner[:3]))} may; give one by its path"
        )
    return config, index if index.exists() and not whole.exists() else whole


def _not_there(named: str) -> str:
    """The sentence for a folder that is not there; what looks like a name on the hub is told how to be fetched."""
    problem = f"there is no folder {expanded(named)}; expected one with {CONFIG} and {WEIGHTS}, or a name such as gpt2"
    on_the_hub = re.fullmatch(
        r"(?:https?:/{1,2}(?:www\.)?huggingface\.co/)?([\w.-]+(?:/[\w.-]+)?)(?:/tree/main)?/?", named
    )
    if near := difflib.get_close_matches(named.lower(), NAMES, n=1, cutoff=0.8):
        return f"{problem} (did you mean {near[0]}?)"
    if on_the_hub is None or not re.search("gpt", named, re.IGNORECASE):
        return problem
    name = on_the_hub[1]
    return f"{problem}; `hf download {name} --local-dir {name.split('/')[-1]}` fetches one of the hub's into a folder"


def _snapshot(folder: Path) -> Path:
    """The revision in use of a model in the hub's cache: what refs/main names, or the only one that there is."""
    snapshots = sorted(path for path in (folder / "snapshots").iterdir() if path.is_dir())
    if (folder / "refs" / "main").is_file():
        revision = read_bytes(folder / "refs" / "main", 1000).decode(errors="replace").strip()
        if re.fullmatch(r"[0-9A-Za-z]+", revision) and folder / "snapshots" / revision in snapshots:
            return folder / "snapshots" / revision
        if snapshots:
            there = ", ".join(path.name for path in snapshots[:3])
            problem = f"names {brief(revision)}, which is not in its snapshots"
            raise UserError(f"{folder / 'refs' / 'main'} {problem}; give one of those that are there ({there})")
    if not snapshots:
        raise UserError(f"{folder / 'snapshots'} is empty; fetch the model again")
    if len(snapshots) > 1:
        some = ", ".join(path.name for path in snapshots[:5])
        raise UserError(
            f"{folder} has {len(snapshots)} snapshots ({some}), and no refs/main that says which is in use; give one, "
            f"such as {snapshots[0]}"
        )
    return snapshots[0]

"""A model's folder: `config.json` and `model.safetensors` as Hugging Face has them; nothing is converted.

What the weights are, and what lay beside them when they were written, is told by SHA-256 digests in the weights file's
own metadata: one file and one atomic replacement, so that weights and digest are never of two saves.
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from tinygpt.backend import array_module
from tinygpt.conversions import CONFIG, WEIGHTS
from tinygpt.errors import Note, UserError, brief
from tinygpt.files import JSON_LIMIT, cache_folder, download, read_bytes, sha256, write_atomically
from tinygpt.parameters import Parameters
from tinygpt.tensors import Stored, stored_in

TOKENIZER = "tokenizer.tinygpt.json"
BESIDE = CONFIG, TOKENIZER, "tokenizer.json", "tokenizer_config.json"  # what the weights' digest covers too
OTHER_MODEL = "its config belongs to another model, or it is damaged"
HUGGING_FACE = {"format": "pt"}  # the metadata that its loaders ask for
DIGEST = "tinygpt.sha256"  # in the metadata of weights: of all of them, and of the digests of the files beside them


class Pin(NamedTuple):
    """A revision on Hugging Face, and where they are known the bytes and the SHA-256 of its weights."""

    revision: str
    size: int | None = None
    sha256: str | None = None


PINS = {
    "gpt2": Pin(
        "607a30d783dfa663caf39e06633721c8d4cfcd7e", 548_105_171,
        "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
    ),
    "gpt2-medium": Pin("6dcaa7a952f72f9298047fd5137cd6e4f05f41da"),
    "gpt2-large": Pin("32b71b12589c2f8d625668d2335a01cac3249519"),
    "gpt2-xl": Pin("15ea56dee5df4983c59b2538573817e1667135e2"),
}  # fmt: skip


def write_model(
    folder: Path, settings: Mapping[str, Any], generation: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> None:
    """Write a model's folder. settings, generation: what config.json says, and what transformers is told of drawing
    text; tensors: the parameters by name. Raises UserError if it cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; a model is saved into a folder, so give the name of one")
    for name, content in ((CONFIG, settings), ("generation_config.json", generation)):
        write_atomically(folder / name, (json.dumps(content, indent=2) + "\n").encode())
    said = HUGGING_FACE | _digests_beside(folder)
    said[DIGEST] = _digest(tensors, said)
    write_tensors(folder / WEIGHTS, tensors, said)  # last: where there are weights, there is all they need


def check_saved(stored: Stored, path: Path) -> None:
    """Raise UserError if the tensors `stored` in `path` are not those that were saved, so far as a digest tells; a file
    beside them that has changed is a note.
    """
    said = stored.metadata
    if DIGEST not in said:
        return
    saved = {name: said[name] for name in (*HUGGING_FACE, *BESIDE) if name in said}
    if said[DIGEST] != _digest(stored, saved):
        way_out = "take a copy, or other weights (those of a run's last state, once its best/ is moved away)"
        raise UserError(f"{path} is damaged: its SHA-256 is not what it was when it was saved; {way_out}")
    now = _digests_beside(path.parent)
    for name in sorted(saved.keys() - HUGGING_FACE.keys()):
        if saved[name] != now.get(name):
            problem = f"is not the one that {path.name} was saved with: it was edited, or is damaged"
            if not path.with_name(name).exists():
                problem = f"was there when {path.name} was saved, and is missing now"
            warnings.warn(f"{path.with_name(name)} {problem}", Note, stacklevel=3)


def has_digest(path: Path) -> bool:
    """Whether `check_saved` can tell if these weights are those that were saved."""
    with stored_in(path) as stored:
        return DIGEST in stored.metadata


def _digest(tensors: Mapping[str, np.ndarray], said: Mapping[str, str]) -> str:
    """One digest over names, dtypes, shapes and numbers of `tensors`, and over what else the metadata `said`."""
    whole = hashlib.sha256(json.dumps(sorted(said.items())).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        whole.update(f"\n{name} {array.dtype} {array.shape}\n".encode())
        whole.update(array.data)
    return whole.hexdigest()


def _digests_beside(folder: Path) -> dict[str, str]:
    paths = [path for path in map(folder.joinpath, BESIDE) if path.is_file()]
    return {path.name: sha256(path) for path in paths if path.stat().st_size <= JSON_LIMIT}  # what is larger is neither


def check_shapes(found: Iterable[tuple[str, tuple[int, ...]]], expected: Mapping[str, tuple], source: Any) -> None:
    """Raise UserError, naming `source`, if a name or shape that was found in it is not one of those expected."""
    found = list(found)
    _check_names("has an unknown", {name for name, _ in found} - expected.keys(), source)
    for name, shape in found:
        if shape != expected[name]:
            problem = f"{name} has shape {expected[name]}, but the array given has shape {brief(shape)}"
            raise UserError(f"{source}: {problem}; {OTHER_MODEL}")


def _check_names(problem: str, names: set[str], source: Any) -> None:
    if names:
        some = ", ".join(name[:100] for name in sorted(names)[:3])
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise UserError(f"{source} {problem} {some}{more}; {OTHER_MODEL}")


def copy_tensors(tensors: Mapping[str, np.ndarray], params: Parameters, source: str | Path) -> None:
    """Copy `tensors` into `params`, all names and shapes agreeing, every one a finite floating-point number. Raises
    UserError, naming `source`, otherwise.
    """
    _check_names("lacks", params.keys() - tensors.keys(), source)
    _check_names("has an unknown", tensors.keys() - params.keys(), source)
    for name, array in tensors.items():  # one at a time: they may not fit in memory beside the parameters
        check_shapes([(name, np.shape(array))], params.shapes, source)
        if "float" not in array.dtype.name:
            raise UserError(f"{source}: {name} holds {array.dtype}; expected floating-point numbers, such as float32")
        with np.errstate(over="ignore"):  # of float64 that is too large for float32
            params[name] = array
        check_finite(name, params[name], source)


def check_finite(name: str, array: Any, source: Any) -> None:
    """Raise UserError, naming `source`, if a number in `array` is not finite."""
    if not bool(array_module(array).isfinite(array).all()):
        problem = f"{name} has numbers that are not finite in {array.dtype}, such as NaN"
        raise UserError(f"{source}: {problem}; take an earlier save, or a copy")


def download_model(name: str, checks: Mapping[str, Callable[[Path], object]], most: int) -> Path:
    """The folder of OpenAI's GPT-2 weights, "gpt2" to "gpt2-xl", fetched from Hugging Face on first use.

    checks: of CONFIG and WEIGHTS, each raising UserError for a file of another model; most: bytes that weights may
    have. Each time the weights are held against their pin's digest or, where it has none, against that of what was
    fetched, which lies beside them (for `sha256sum -c`). Raises UserError for a file that is not the one expected.
    """
    folder, pin = cache_folder() / name, PINS[name]
    config, weights, record = folder / CONFIG, folder / WEIGHTS, folder / f"{WEIGHTS}.sha256"

    def check_weights(temporary: Path) -> None:
        digest = sha256(temporary)
        if pin.sha256 not in (None, digest):
            raise UserError(f"its SHA-256 is {digest}, and that of {name} {pin.sha256}")
        checks[WEIGHTS](temporary)
        write_atomically(record, f"{digest}  {WEIGHTS}\n".encode())  # before the weights, which are never without it

    way_out = f"with a network it is fetched once; or put {CONFIG} and {WEIGHTS} in {folder}"
    url = f"https://huggingface.co/openai-community/{name}/resolve/{pin.revision}/"
    try:
        if config.exists():
            checks[CONFIG](config)
        if weights.exists():
            checks[WEIGHTS](weights)
            recorded = read_bytes(record, 1000).decode(errors="replace") if record.exists() else None
            expected = pin.sha256 or recorded
            if expected is not None and sha256(weights) not in expected:
                way_on = "give the path of a folder for a model of your own"
                raise UserError(f"{weights} is not what is fetched as {name}: its SHA-256 is another; {way_on}")
    except UserError as error:
        raise UserError(f"{error}; remove {folder}, and {name} is fetched anew") from None
    if not config.exists():
        download(url + CONFIG, config, way_out, checks[CONFIG])
    if not weights.exists():
        download(url + WEIGHTS, weights, way_out, check_weights, pin.size or most)
    return folder


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] = HUGGING_FACE) -> None:
    """Write arrays to a safetensors file, whole or not at all. Raises UserError if it cannot be written."""
    whole = {name: np.asarray(array, order="C") for name, array in tensors.items()}  # safetensors takes it for granted

    def write(temporary: Path) -> None:
        save_file(whole, temporary, dict(metadata))
        with temporary.open("r+b") as file:  # its metadata came in any order; the same model is to be the same file
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
            header["__metadata__"] = dict(sorted(metadata.items()))
            file.seek(8)
            file.write(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length))

    try:
        write_atomically(path, write)
    except SafetensorError as error:
        raise UserError(f"could not write {path}: {error}; check the disk and the path") from error


def read_tensors(path: Path, expected: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, np.ndarray]:
    """The arrays in a safetensors file by name. expected: if given, the names and shapes that it may have. Raises
    UserError if it is missing or damaged, or has others, which may be too large to read.
    """
    if expected is not None:
        check_shapes(tensor_shapes(path).items(), expected, path)
    with stored_in(path) as stored:
        return dict(stored)


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of a safetensors file's arrays by name. Raises UserError as `read_tensors` does."""
    with stored_in(path) as stored:
        return stored.shapes

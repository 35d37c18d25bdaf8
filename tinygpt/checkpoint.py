"""A model's folder: `config.json` and `model.safetensors` as Hugging Face has them; nothing is converted.

What the weights are, and what lay beside them when they were written, is told by SHA-256 digests in the weights file's
own metadata: one file and one atomic replacement, so that weights and digest are never of two saves.
"""

import contextlib
import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tinygpt.backend import array_module
from tinygpt.errors import Note, UserError, brief
from tinygpt.files import JSON_LIMIT, cache_folder, download, opened, read_bytes, sha256, write_atomically
from tinygpt.parameters import Parameters

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.tinygpt.json"
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


def model_files(folder: Path) -> tuple[Path, Path]:
    """Config and weights in a model's folder, or in a run's of the best. Raises UserError if there is no folder."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; expected one with {CONFIG} and {WEIGHTS}")
    if not (folder / CONFIG).exists() and (folder / "best" / CONFIG).exists():  # a run's folder
        folder = folder / "best"
    return folder / CONFIG, folder / WEIGHTS


def write_model(folder: Path, settings: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Write a model's folder. settings: what config.json says; tensors: the parameters by name."""
    write_atomically(folder / CONFIG, (json.dumps(settings, indent=2) + "\n").encode())
    said = HUGGING_FACE | _digests_beside(folder)
    said[DIGEST] = _digest(tensors, said)
    write_tensors(folder / WEIGHTS, tensors, said)  # last: where there are weights, there is all they need


def read_weights(path: Path, names: Iterable[str], checked: bool = False) -> dict[str, np.ndarray]:
    """The weights of a model's folder that have these names. Raises UserError if they are missing, or not those that
    were saved, so far as a digest tells; a file beside them that has changed is a note. checked: True for files known
    to be whole.
    """
    with _tensors_in(path) as file:
        tensors, said = {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    if checked or DIGEST not in said:
        return tensors
    saved = {name: said[name] for name in (*HUGGING_FACE, CONFIG, TOKENIZER) if name in said}
    if said[DIGEST] != _digest(tensors, saved):
        way_out = "take a copy, or other weights (those of a run's last state, once its best/ is moved away)"
        raise UserError(f"{path} is damaged: its SHA-256 is not what it was when it was saved; {way_out}")
    now = _digests_beside(path.parent)
    for name in sorted(saved.keys() - HUGGING_FACE.keys()):
        if saved[name] != now.get(name):
            problem = f"is not the one that {path.name} was saved with: it was edited, or is damaged"
            if not path.with_name(name).exists():
                problem = f"was there when {path.name} was saved, and is missing now"
            warnings.warn(f"{path.with_name(name)} {problem}", Note, stacklevel=3)
    return tensors


def has_digest(path: Path) -> bool:
    """Whether `read_weights` can tell if these weights are those that were saved."""
    with _tensors_in(path) as file:
        return DIGEST in (file.metadata() or {})


def _digest(tensors: Mapping[str, np.ndarray], said: Mapping[str, str]) -> str:
    """One digest over names, dtypes, shapes and numbers of `tensors`, and over what else the metadata `said`."""
    whole = hashlib.sha256(json.dumps(sorted(said.items())).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        whole.update(f"\n{name} {array.dtype} {array.shape}\n".encode())
        whole.update(array.data)
    return whole.hexdigest()


def _digests_beside(folder: Path) -> dict[str, str]:
    paths = [path for path in (folder / CONFIG, folder / TOKENIZER) if path.is_file()]
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
    check_shapes(((name, np.shape(array)) for name, array in tensors.items()), params.shapes, source)
    for name, array in tensors.items():
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
    with _tensors_in(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of a safetensors file's arrays by name. Raises UserError as `read_tensors` does."""
    with _tensors_in(path) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


@contextlib.contextmanager
def _tensors_in(path: Path) -> Iterator[Any]:
    """A safetensors file to read from, which is no dictionary though it has keys(); a sentence for what goes wrong."""
    try:
        if path.exists():
            with opened(path):  # a pipe, which the library would wait for, is a sentence
                pass
        with safe_open(path, framework="np") as file:
            yield file
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"could not read {path}: no such file") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is damaged: not a whole safetensors file ({str(error)[:200]})") from error
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{path} holds a dtype that NumPy lacks ({error}); save it in float32") from error

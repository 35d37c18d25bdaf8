"""A model's folder: `config.json` and `model.safetensors` as Hugging Face has them; nothing is converted."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from tinygpt.errors import UserError
from tinygpt.files import cache_folder, download, write_atomically
from tinygpt.parameters import Parameters

CONFIG, WEIGHTS = "config.json", "model.safetensors"


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
    write_tensors(folder / WEIGHTS, tensors)  # last: where there are weights, there is all they need


def copy_tensors(tensors: Mapping[str, np.ndarray], params: Parameters, source: str | Path) -> None:
    """Copy `tensors` into `params`, all names and shapes agreeing. Raises UserError, naming `source`, otherwise."""
    missing, unknown = params.keys() - tensors.keys(), tensors.keys() - params.keys()
    for problem, names in (("lacks", missing), ("has an unknown", unknown)):
        if names:
            some = ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise UserError(f"{source} {problem} {some}; its config belongs to another model")
    for name, array in tensors.items():
        try:
            params[name] = array
        except UserError as error:
            raise UserError(f"{source}: {error}; its config belongs to another model") from None


def download_model(name: str) -> Path:
    """The folder of OpenAI's GPT-2 weights, "gpt2" to "gpt2-xl", fetched from Hugging Face on first use."""
    folder = cache_folder() / name
    way_out = f"with a network it is fetched once; or put {CONFIG} and {WEIGHTS} in {folder}"
    for file, reader in ((CONFIG, read_json), (WEIGHTS, read_tensors)):
        if not (folder / file).exists():
            url = f"https://huggingface.co/openai-community/{name}/resolve/main/{file}"
            download(url, folder / file, way_out, reader)
    return folder


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises UserError if it is missing or damaged."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"could not read {path}: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, or not JSON
        raise UserError(f"{path} is damaged: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged: expected an object, found {type(content).__name__}")
    return content


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write arrays to a safetensors file, whole or not at all. Raises UserError if it cannot be written."""
    whole = {name: np.asarray(array, order="C") for name, array in tensors.items()}  # safetensors takes it for granted
    try:
        write_atomically(path, lambda temporary: save_file(whole, temporary, {"format": "pt"}))
    except SafetensorError as error:
        raise UserError(f"could not write {path}: {error}; check the disk and the path") from error


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """The arrays in a safetensors file by name. Raises UserError if it is missing or damaged."""
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise UserError(f"could not read {path}: no such file") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is damaged: not a whole safetensors file ({error})") from error
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} holds a dtype that NumPy lacks ({error}); save it in float32") from error

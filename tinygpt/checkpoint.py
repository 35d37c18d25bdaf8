"""Between arrays and files: GPT-2 checkpoints in Hugging Face's form, and the whole state of a training run.

A model's folder holds `config.json` and `model.safetensors`, with GPT-2's own names and orientation, so that nothing
is converted on the way in or out. A run's folder holds

    best/                     a model's folder: the best weights so far
    last/step-00000250.1/     everything the run needs to go on exactly as if it had not stopped
    last/current              the name of the folder in use, and the SHA-256 of its state.json, which has the others'

A state is written to a new folder, flushed to disk, and becomes the one in use when `current` is replaced, which is
one atomic step; a run killed at any moment leaves the earlier state or the new one.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from tinygpt.errors import UserError
from tinygpt.files import cache_folder, download, flush_to_disk, write_atomically
from tinygpt.parameters import Parameters

# Model folders

CONFIG, WEIGHTS = "config.json", "model.safetensors"
RUN_FILES = "metrics.jsonl", "loss.png", "best", "last"  # in this order, so that what is left is still a run
BUFFERS = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")  # causal masks that some GPT-2 files carry along
NOT_GPT2 = {  # settings of Hugging Face's GPT2Config that change the computation to one we do not have
    "model_type": "gpt2",
    "tie_word_embeddings": True,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}


def save_pretrained(folder: str | Path, settings: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Write a model's folder.

    settings: the fields of GPTConfig. tensors: the parameters by name. A model without biases is written with biases
    of zero, which is the same model and one that every reader of GPT-2 knows; `"bias": false` in its config tells
    `load_pretrained` to leave them out again.
    """
    folder = Path(folder)
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": settings["vocab_size"],
        "n_positions": settings["block_size"],
        "n_embd": settings["n_embd"],
        "n_layer": settings["n_layer"],
        "n_head": settings["n_head"],
        "activation_function": settings["activation_function"],
        "layer_norm_epsilon": settings["layer_norm_epsilon"],
        "resid_pdrop": settings["dropout"],
        "embd_pdrop": settings["dropout"],
        "attn_pdrop": settings["dropout"],
        "tie_word_embeddings": True,
        "bias": settings["bias"],
    }
    tensors = dict(tensors)
    if not settings["bias"]:
        for name, weight in list(tensors.items()):
            if name.startswith(("h.", "ln_f.")):
                tensors[name.removesuffix("weight") + "bias"] = np.zeros(weight.shape[-1], weight.dtype)
    write_atomically(folder / CONFIG, (json.dumps(config, indent=2) + "\n").encode())
    write_tensors(folder / WEIGHTS, tensors)  # last: where there are weights, there is all they need


def load_pretrained(folder: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a model's folder: the fields of GPTConfig, and the parameters by name.

    Reads what Hugging Face's GPT-2 classes write, with or without the `transformer.` prefix. Three different dropout
    probabilities, which GPTConfig cannot say, become 0. Raises UserError for a file that is missing or damaged, and
    for a model that is not GPT-2's architecture.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; expected one with {CONFIG} and {WEIGHTS}")
    if not (folder / CONFIG).exists() and (folder / "best" / CONFIG).exists():  # a run's folder
        folder = folder / "best"
    config = read_json(folder / CONFIG)
    for key, expected in NOT_GPT2.items():
        if config.get(key, expected) != expected:
            raise UserError(f"{folder / CONFIG} has {key} = {config[key]!r}; this library computes only {expected!r}")
    try:
        settings = {
            "block_size": config["n_positions"],
            **{name: config[name] for name in ("vocab_size", "n_layer", "n_head", "n_embd")},
        }
    except KeyError as missing:
        raise UserError(f"{folder / CONFIG} lacks {missing}; expected the config of a GPT-2 model") from None
    if config.get("n_inner") is not None and config["n_inner"] != 4 * config["n_embd"]:
        raise UserError(f"{folder / CONFIG} has n_inner = {config['n_inner']}; this library computes only 4 * n_embd")
    dropouts = [config.get(name, 0.0) for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop")]
    activation = config.get("activation_function", "gelu_new")
    settings |= {
        "activation_function": "gelu_new" if activation == "gelu_pytorch_tanh" else activation,  # the same function
        "layer_norm_epsilon": config.get("layer_norm_epsilon", 1e-5),
        "dropout": dropouts[0] if dropouts.count(dropouts[0]) == 3 else 0.0,
        "bias": config.get("bias", True),
    }
    tensors = {name.removeprefix("transformer."): array for name, array in read_tensors(folder / WEIGHTS).items()}
    tensors = {name: array for name, array in tensors.items() if not BUFFERS.fullmatch(name)}
    head = tensors.pop("lm_head.weight", None)
    if head is not None and not np.array_equal(head, tensors.get("wte.weight", np.empty(0))):
        raise UserError(f"{folder / WEIGHTS} has a head that is not tied to wte.weight; this library ties them")
    if not settings["bias"]:
        biases = [name for name in tensors if name.endswith(".bias")]
        if any(tensors.pop(name).any() for name in biases):
            raise UserError(f"{folder / CONFIG} says the model has no biases, but {WEIGHTS} has some that are not zero")
    return settings, tensors


def copy_tensors(tensors: Mapping[str, np.ndarray], params: Parameters, source: str | Path) -> None:
    """Copy `tensors` into `params`, all names and shapes agreeing. Raises UserError, naming `source`, otherwise."""
    missing, unknown = params.keys() - tensors.keys(), tensors.keys() - params.keys()
    for problem, names in (("lacks", missing), ("has an unknown", unknown)):
        if names:
            raise UserError(f"{source} {problem} {_some(sorted(names))}; its config belongs to another model")
    for name, array in tensors.items():
        try:
            params[name] = array
        except UserError as error:
            raise UserError(f"{source}: {error}; its config belongs to another model") from None


def download_gpt2(name: str) -> Path:
    """The folder of OpenAI's GPT-2 weights, "gpt2" to "gpt2-xl", fetched from Hugging Face on first use."""
    folder = cache_folder() / name
    way_out = f"with a network it is fetched once; or put {CONFIG} and {WEIGHTS} in {folder}"
    for file, check in ((CONFIG, _reads(read_json)), (WEIGHTS, _reads(read_tensors))):
        if not (folder / file).exists():
            url = f"https://huggingface.co/openai-community/{name}/resolve/main/{file}"
            download(url, folder / file, way_out, check)
    return folder


def _reads(reader: Callable[[Path], Any]) -> Callable[[Path], bool]:
    """A check that a file can be read."""

    def check(path: Path) -> bool:
        try:
            reader(path)
        except UserError:
            return False
        return True

    return check


# Runs


def save_state(out_dir: str | Path, step: int, write: Callable[[Path], None], meta: Mapping[str, Any]) -> None:
    """Make a state the run's last one; the one before is removed when the new one is safely on disk.

    write: puts the state's files into the folder it is given; meta: anything JSON holds. Raises UserError if the state
    cannot be written, and then leaves the earlier one as it is.
    """
    last = Path(out_dir) / "last"
    attempt = 1
    while (folder := last / f"step-{step:08d}.{attempt}").exists():
        attempt += 1
    try:
        folder.mkdir(parents=True)
        write(folder)
        digests = {}
        for path in sorted(folder.iterdir()):
            flush_to_disk(path)
            digests[path.name] = _sha256(path)
        write_atomically(folder / "state.json", json.dumps({**meta, "sha256": digests}, indent=2).encode())
        flush_to_disk(last)
        write_atomically(last / "current", f"{folder.name}\n{_sha256(folder / 'state.json')}\n".encode())
    except (OSError, UserError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(f"could not save to {folder}: {error}; the save before it, if any, is intact") from error
    for other in last.glob("step-*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


def load_state(out_dir: str | Path) -> tuple[dict[str, Any], Path]:
    """The last state's meta, and the folder with its files, all of which are checked against their digests.

    Raises UserError if there is none or a file is missing or damaged.
    """
    last = Path(out_dir) / "last"
    if not (last / "current").exists():
        raise UserError(f"{out_dir} holds no run to resume; expected {last / 'current'}, which training writes")
    name, _, digest = (last / "current").read_text(errors="replace").strip().partition("\n")
    folder = last / name
    _check_digest(folder / "state.json", digest, out_dir)
    meta = read_json(folder / "state.json")
    for file, expected in meta["sha256"].items():
        _check_digest(folder / file, expected, out_dir)
    return meta, folder


def _check_digest(path: Path, expected: str, out_dir: str | Path) -> None:
    best = Path(out_dir) / "best"
    way_out = "start again with another --out_dir"
    if (best / WEIGHTS).exists():
        way_out = f"start from the best weights with --init_from={best} and another --out_dir"
    if not path.exists():
        raise UserError(f"{path} is missing, so the run cannot be resumed; {way_out}")
    if _sha256(path) != expected:
        raise UserError(f"{path} is damaged (its SHA-256 has changed); {way_out}")


def set_aside(out_dir: str | Path) -> Path | None:
    """Move an earlier run in `out_dir` into a new folder in it, `run-1`, `run-2`, ...; returns that, or None."""
    out_dir = Path(out_dir)
    parts = [path for path in (out_dir / name for name in RUN_FILES) if path.exists()]
    parts += [path for path in out_dir.glob("step-*") if path.is_dir()]
    if not any((out_dir / saved).exists() for saved in ("last/current", f"best/{WEIGHTS}")):
        return None
    number = 1
    while (folder := out_dir / f"run-{number}").exists():
        number += 1
    try:
        folder.mkdir()
        for part in parts:
            os.replace(part, folder / part.name)
    except OSError as error:
        raise UserError(f"could not move the earlier run to {folder}: {error}; choose another --out_dir") from error
    return folder


# Reading with sentences for errors


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


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

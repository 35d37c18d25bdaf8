"""Weights in forms that are not read here: what each is, and the lines that turn it into one that is."""

import contextlib
import re
import zipfile
from pathlib import Path

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
SHARD = re.compile(r"-\d{5}-of-(\d{5})\.safetensors$")
PICKLES = ".pt", ".pth", ".ckpt"
STATES = re.compile(r"(optimizer|scheduler|scaler)\.(pt|bin)|rng_state(_\d+)?\.pth|training_args\.bin")  # of a Trainer
NANOGPT = """\
import json, torch; from safetensors.torch import save_file; c = torch.load({path!r}, "cpu", weights_only=True)
save_file({{n: t.contiguous().clone() for n, t in c["model"].items()}}, {weights!r}); json.dump(c["model_args"], open({config!r}, "w"))"""  # noqa: E501
STATE_DICT = """\
import torch; from safetensors.torch import save_file; c = torch.load({path!r}, "cpu", weights_only=True)
save_file({{n: t.contiguous().clone() for n, t in c{key}.items()}}, {weights!r})"""
SHARDED = """\
from transformers import AutoModelForCausalLM
AutoModelForCausalLM.from_pretrained({folder!r}).save_pretrained({folder!r})"""
OTHERS = {  # the end of a file's name: what it is, and what to do
    ".h5": ("TensorFlow's weights", f"take the model's {WEIGHTS}, or its pytorch_model.bin"),
    ".msgpack": ("Flax's weights", f"take the model's {WEIGHTS}, or its pytorch_model.bin"),
    ".ckpt.index": ("a TensorFlow checkpoint", f"take the model's {WEIGHTS}, or its pytorch_model.bin"),
    ".ot": ("Rust's weights", f"take the model's {WEIGHTS}, or its pytorch_model.bin"),
    ".onnx": ("an ONNX graph", f"take the {WEIGHTS} of the model that it was made from"),
    ".gguf": ("llama.cpp's form, most often in a few bits a weight", f"take the {WEIGHTS} that it was made from"),
    ".tflite": ("TensorFlow Lite's graph", f"take the {WEIGHTS} of the model that it was made from"),
    ".npz": ("NumPy's archive", f"put its arrays into {WEIGHTS} with safetensors.numpy.save_file"),
    ".distcp": ("a shard of PyTorch's distributed checkpoint", "dcp_to_torch_save(folder, 'pytorch_model.bin') of "
                "torch.distributed.checkpoint.format_utils makes one file of them, which is then converted"),
    "zero_to_fp32.py": ("DeepSpeed's program for the shards beside it", "run it: it writes the model's weights"),
    "lit_model.pth": ("LitGPT's checkpoint, in names and shapes of its own", "take the model that it was made from"),
    **dict.fromkeys((".incomplete", ".part", ".crdownload"), ("a download that was not finished", "fetch it anew")),
    **dict.fromkeys((".zip", ".gz", ".tgz", ".tar", ".xz", ".zst"), ("an archive", "unpack it, and give the folder")),
}  # fmt: skip
POINTER = b"version https://git-lfs"
PICKLED = (
    "is what PyTorch writes, under another name; call it pytorch_model.bin, and the lines that convert it are told"
)
BEGINNINGS = {  # of files that are called safetensors, and are none: what they are
    POINTER: "is only Git LFS's pointer to the weights, not the weights; `git lfs pull` fetches them",
    **dict.fromkeys(
        (b"<!doctype", b"<html"), "is a web page; the weights' address has /resolve/, and not /blob/, in it"
    ),
    b"\x1f\x8b\x08": "is compressed by gzip; take what gunzip makes of it",
    **dict.fromkeys((b"pk\3\4", b"\x80\2\x8a"), PICKLED),
}
LLM_C = (20240326).to_bytes(4, "little")  # what its checkpoints begin with
WHY = "loading one can run any code, so none is read here"
ADAPTER = "adapter_model.safetensors", "adapter_model.bin", "adapter_config.json"


def why_not_read(path: Path) -> str | None:
    """Why this file's weights are not read and what to do, in one sentence; None for a name that says nothing."""
    folder, weights, config = path.parent, path.parent / WEIGHTS, path.parent / CONFIG
    if _first(path, len(POINTER)) == POINTER:
        return f"{path} {BEGINNINGS[POINTER]}"
    if path.suffix == ".bin" and _first(path, 4) == LLM_C:
        way_out = f"its dev/eval/export_hf.py --input {path} --output FOLDER writes a folder that is read"
        return f"{path} is a checkpoint of llm.c, not read here; {way_out}"
    if STATES.fullmatch(path.name):
        return None
    if path.name in ADAPTER:
        way_out = "with peft, merge_and_unload() and save_pretrained() write a whole model"
        return f"{path} belongs to an adapter (LoRA), and a model is what it is put upon; {way_out}"
    for ending, (what, way_out) in OTHERS.items():
        if path.name.endswith(ending):
            return f"{path} is {what}, not read here; {way_out}"
    if path.name == "pytorch_model.bin.index.json":
        return _pickle(path, f"names pickles of PyTorch's, and {WHY}; where transformers is", weights, SHARDED, folder)
    if path.suffix in PICKLES or (path.suffix == ".bin" and (path.name.startswith("pytorch_model") or _is_zip(path))):
        problem = f"is a pickle, as PyTorch writes them, and {WHY}; where PyTorch is"
        if path.suffix != ".bin" and (_has_key(path, "model_args") or (path.name == "ckpt.pt" and not config.exists())):
            return _pickle(path, problem, f"{weights} and {CONFIG}", NANOGPT, folder)
        beside = weights if config.exists() else f"{weights} (which takes a {CONFIG} beside it, too)"
        keys = ("state_dict", "model_state_dict", "model")  # Lightning's, that of PyTorch's tutorials, nanoGPT's
        key = next((f'["{key}"]' for key in keys if _has_key(path, key)), "")
        return _pickle(path, problem, beside, STATE_DICT, folder, key)
    if (of := SHARD.search(path.name)) and int(of[1]) > 1:
        way_out = f"take their index too, as {INDEX} beside them"
        return f"{path} is one of {int(of[1])} shards, and {path.with_name(INDEX)} is missing; {way_out}"
    if path.suffix == ".safetensors" and path.name != WEIGHTS:
        return f"{path} has another name than weights have; expected {weights}, so rename it if it is the model"
    return None


def what_it_is(path: Path) -> str | None:
    """What a file that is called safetensors is, and what to do, if it begins as something else does."""
    beginning = _first(path, 32).lower()
    return next((said for start, said in BEGINNINGS.items() if beginning.startswith(start)), None)


def what_lies_there(folder: Path) -> str | None:
    """Why a folder without weights of a known name has none that are read; None if nothing in it looks like any."""
    found = sorted((path for path in folder.iterdir() if path.is_file()), key=lambda path: _rank(path.name))
    return next((why for path in found if (why := why_not_read(path)) is not None), None)


def _pickle(path: Path, problem: str, writes: object, lines: str, folder: Path, key: str = "") -> str:
    places = {"path": path, "folder": folder, "weights": folder / WEIGHTS, "config": folder / CONFIG}
    lines = lines.format(**{name: place.as_posix() for name, place in places.items()}, key=key)
    return f"{path} {problem} installed, these two lines of Python write {writes} instead:\n\n{lines}\n"


def _rank(name: str) -> tuple[bool, bool, str]:
    """What a folder's weights are likeliest to be first: those that are converted, by their usual names."""
    usual = name in ("pytorch_model.bin", "pytorch_model.bin.index.json", "ckpt.pt")
    return not usual, Path(name).suffix not in (".safetensors", *PICKLES), name


def _is_zip(path: Path) -> bool:
    """Whether it is what PyTorch writes, and not tokens, which end in .bin too."""
    return _first(path, 4) == b"PK\3\4"


def _first(path: Path, size: int) -> bytes:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(size)
    return b""


def _has_key(path: Path, key: str) -> bool:
    """Whether a file of PyTorch's holds this string, as nanoGPT's "model_args"; its pickle is looked at, not loaded."""
    written = b"X" + len(key).to_bytes(4, "little") + key.encode()
    with contextlib.suppress(Exception):  # whatever is wrong with it, it is not read here
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            with archive.open(name) as file:
                return written in file.read(1 << 24)
    return False

"""The same GPT on either side, from one file of weights. Nothing here imports tinygpt for PyTorch's side."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from race.settings import gpt_config


def write_weights(settings: dict[str, Any], folder: str) -> str:
    """The file that every side starts from."""
    from safetensors.numpy import save_file

    from tinygpt import GPT

    path = str(Path(folder) / "weights.safetensors")
    save_file({name: np.array(array) for name, array in GPT(gpt_config(settings)).params.items()}, path)
    return path


def tiny_gpt(settings: dict[str, Any], device: str = "cpu", dtype: str = "float32") -> Any:
    """tinygpt's, with the weights that the settings name, or else with its own first ones."""
    from safetensors.numpy import load_file

    from tinygpt import GPT
    from tinygpt.ops import build

    weights = load_file(settings["weights"]) if "weights" in settings else {}
    ops = build(settings.get("kernels", "auto"), device)
    model = GPT(gpt_config(settings), device, dtype, seed=None if weights else 1337, ops=ops)
    for name, array in weights.items():
        model.params[name] = array
    return model


def torch_gpt(settings: dict[str, Any]) -> Any:
    """The tests' PyTorch GPT, likewise."""
    from safetensors.numpy import load_file

    sys.path.insert(0, str(Path(__file__).parents[2]))
    from tests.parity.torch_gpt import TorchGPT

    model = TorchGPT(SimpleNamespace(**settings, dropout=0.0))
    return model.load(load_file(settings["weights"])) if "weights" in settings else model

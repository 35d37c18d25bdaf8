"""tinygpt: a GPT whose every gradient is written by hand, in plain array code for NumPy and CuPy."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tinygpt import layers
from tinygpt.errors import UserError

if TYPE_CHECKING:
    from tinygpt.models.gpt2 import GPT, GPTConfig
    from tinygpt.run.store import load_model

__version__ = "0.1.0"
__all__ = ["GPT", "GPTConfig", "UserError", "__version__", "load_model"]

# Fetched when they are asked for, so that a command hears a signal before all of the engine is imported.
PLACES = {"GPT": "tinygpt.models.gpt2", "GPTConfig": "tinygpt.models.gpt2", "load_model": "tinygpt.run.store"}
# What GPT-2's page makes of layers, by the names that it had among them: `from tinygpt.layers import block`.
MADE_OF_LAYERS = {"mlp": "MLP", "block": "Block", "lm_head_loss": "LMHeadLoss"}


def __getattr__(name: str) -> Any:
    if name in PLACES:
        return getattr(import_module(PLACES[name]), name)
    return _module("tinygpt", name)


def _made_of_layers(name: str) -> Any:
    if name in MADE_OF_LAYERS:
        return getattr(import_module("tinygpt.models.gpt2"), MADE_OF_LAYERS[name])
    return _module("tinygpt.layers", name)


def _module(room: str, name: str) -> Any:
    """A module as an attribute of its room: `tinygpt.optim` after `import tinygpt` alone."""
    if name.startswith("_") or find_spec(f"{room}.{name}") is None:
        raise AttributeError(f"module {room!r} has no attribute {name!r}")
    return import_module(f"{room}.{name}")


layers.__getattr__ = _made_of_layers  # type: ignore[method-assign]

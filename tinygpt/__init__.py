"""tinygpt: a GPT whose every gradient is written by hand, in plain array code for NumPy and CuPy."""

from typing import TYPE_CHECKING, Any

from tinygpt import layers
from tinygpt.errors import UserError
from tinygpt.models import gpt2
from tinygpt.models.gpt2 import GPT, GPTConfig

if TYPE_CHECKING:
    from tinygpt.run.store import load_model

__version__ = "0.1.0"
__all__ = ["GPT", "GPTConfig", "UserError", "__version__", "load_model"]

# What GPT-2's page makes of layers, under the names it had among them: `from tinygpt.layers import block`.
layers.mlp, layers.block, layers.lm_head_loss = gpt2.MLP, gpt2.Block, gpt2.LMHeadLoss  # type: ignore[attr-defined]


def __getattr__(name: str) -> Any:
    """`load_model` is fetched when it is asked for: a run's files bring texts and tokenizers along."""
    if name == "load_model":
        from tinygpt.run.store import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

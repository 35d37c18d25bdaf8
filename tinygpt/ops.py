"""The ops table: through it the model reaches its layers, and in it alone an implementation is chosen.

A fast twin, a reader's own layer or a deliberately wrong one takes a definition's place by standing in the table:

    ops = DEFINITIONS.replace(layernorm=my_module)      # anything with forward and backward
    model = GPT(config, ops=ops)
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygpt import sample
from tinygpt.backend import Array, resolve_device
from tinygpt.errors import UserError
from tinygpt.kernels import cpu
from tinygpt.kernels import lm_head_loss as chunked_lm_head_loss
from tinygpt.layers import (
    attention,
    block,
    cross_entropy,
    dropout,
    embedding,
    gelu,
    layernorm,
    linear,
    lm_head_loss,
    mlp,
)


@dataclass(frozen=True)
class Ops:
    """The layers of a model. Each entry has `forward` and `backward` with the signatures of its definition in
    `tinygpt/layers/`. Three are functions, which generating text needs and which have no backward: `attention_decode`
    is `decode` of attention, `probabilities` and `draw` pick the next token (see `sample`).
    """

    embedding: Any = embedding
    linear: Any = linear
    layernorm: Any = layernorm
    gelu: Any = gelu
    attention: Any = attention
    attention_decode: Callable[[Array, Array, Array], Array] = attention.decode
    cross_entropy: Any = cross_entropy
    dropout: Any = dropout
    mlp: Any = mlp
    block: Any = block
    lm_head_loss: Any = lm_head_loss
    probabilities: Callable[..., np.ndarray] = sample.probabilities
    draw: Callable[[np.ndarray, np.random.Generator], np.ndarray] = sample.draw

    def replace(self, **entries: Any) -> "Ops":
        """A copy of the table with some entries exchanged. Raises UserError for a name that is not in it."""
        names = [field.name for field in dataclasses.fields(self)]
        for name in entries:
            if name not in names:
                raise UserError(f"there is no layer {name!r} in the table; its names are {', '.join(names)}")
        return dataclasses.replace(self, **entries)


DEFINITIONS = Ops()

KERNELS = ("auto", "reference")
TWINS: dict[str, dict[str, Any]] = {  # of each device: what takes a definition's place
    "cpu": {
        "attention": cpu.attention,
        "embedding": cpu.embedding,
        "gelu": cpu.gelu,
        "layernorm": cpu.layernorm,
        "linear": cpu.linear,
        "lm_head_loss": cpu.lm_head_loss,
    },
    "cuda": {"lm_head_loss": chunked_lm_head_loss},
}


def build(kernels: str = "auto", device: str = "cpu") -> Ops:
    """The table by name: "reference" for the definitions alone, "auto" with the device's fast twins in their places.

    device: "auto", "cpu" or "cuda". Raises UserError for another name.
    """
    if kernels == "reference":
        return DEFINITIONS
    if kernels == "auto":
        return DEFINITIONS.replace(**TWINS[resolve_device(device)[0]])
    raise UserError(f"kernels is {kernels!r}; expected one of {', '.join(KERNELS)}")

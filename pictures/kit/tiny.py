"""The model that lesson 15 trains, with its layers watched: what the pictures of a trained model are measured on."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from pictures.kit.numbers import FOLDER
from tinygpt.models.gpt2 import GPT
from tinygpt.ops import DEFINITIONS
from tinygpt.tokenizer import Tokenizer

TEXT = (FOLDER.parent / "lessons" / "text.txt").read_text(encoding="utf-8")
LEAVES = "embedding", "linear", "layernorm", "gelu", "attention", "dropout", "cross_entropy"


def trained() -> tuple[GPT, Tokenizer]:
    """The model, and its tokenizer. The first call trains it, which takes seconds."""
    from lessons.kit import tiny_gpt  # which keeps whoever imports it to one thread of BLAS

    model, tokenizer = tiny_gpt()
    assert tokenizer is not None
    return model, tokenizer


def watched(model: GPT, seen: list[tuple[str, str, Any, Any]]) -> GPT:
    """A copy of the model in float64 that adds to `seen`, for each call of a leaf: its name, "forward" or "backward",
    what it was first given, and what it returned.
    """

    def watching(name: str) -> SimpleNamespace:
        leaf = getattr(DEFINITIONS, name)

        def call(which: str) -> Any:
            def function(*arguments: Any, **named: Any) -> Any:
                returned = getattr(leaf, which)(*arguments, **named)
                seen.append((name, which, arguments[0], returned))
                return returned

            return function

        return SimpleNamespace(forward=call("forward"), backward=call("backward"))

    copy = GPT(model.config, dtype="float64", ops=DEFINITIONS.replace(**{name: watching(name) for name in LEAVES}))
    copy.params.flat[:] = np.asarray(model.params.flat, np.float64)
    return copy


def windows(tokenizer: Tokenizer, count: int, length: int) -> np.ndarray:
    """Evenly spread windows of the lessons' text: (count, length) token ids."""
    tokens = np.array(tokenizer.encode(TEXT))
    starts = np.linspace(0, len(tokens) - length, count).astype(int)
    return tokens[starts[:, None] + np.arange(length)]

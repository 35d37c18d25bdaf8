"""What is trained: models and batches, and an optimiser's settings, the same for every side."""

from typing import Any

import numpy as np

CONFIGS = {  # n_layer, n_head, n_embd; batch_size, block_size; vocab_size
    "cpu": dict(n_layer=4, n_head=4, n_embd=128, batch_size=12, block_size=64, vocab_size=65),
    "baby": dict(n_layer=6, n_head=6, n_embd=384, batch_size=8, block_size=256, vocab_size=65),
    "gpt2": dict(n_layer=12, n_head=12, n_embd=768, batch_size=2, block_size=256, vocab_size=50257),
}
ADAMW = dict(weight_decay=0.1, betas=(0.9, 0.95))
LEARNING_RATE, MAX_NORM = 1e-4, 1.0  # small, since rounding grows with it: at 1e-3 gpt2's losses part by 5e-4


def gpt_config(settings: dict[str, Any]) -> Any:
    """The model's part of the settings."""
    from tinygpt import GPTConfig

    names = ("n_layer", "n_head", "n_embd", "block_size", "vocab_size", "bias", "activation_function")
    return GPTConfig(**{name: settings[name] for name in names})


def batch(settings: dict[str, Any], number: int) -> tuple[np.ndarray, np.ndarray]:
    """The batch of one step, the same for every side."""
    shape = settings["batch_size"], settings["block_size"] + 1
    tokens = np.random.default_rng(number).integers(settings["vocab_size"], size=shape)
    return np.ascontiguousarray(tokens[:, :-1]), np.ascontiguousarray(tokens[:, 1:])

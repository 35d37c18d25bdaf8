"""Golden values: what PyTorch computes, written down, so that tests without PyTorch can compare with it.

    python -m tests.golden.generate

For each activation function, `gpt.safetensors` holds the weights (as float16, so that they are the same numbers in
every dtype), ten batches, and in float64 the logits, the loss and every gradient of the first batch, and the losses of
training on the ten in turn. Configurations and settings are JSON in the file's metadata.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from tests.parity.comparison import random_batch, randomize
from tinygpt import GPT, GPTConfig

try:
    import torch
except ImportError:
    sys.exit("Golden values come from PyTorch, which is not installed; `pip install -e '.[parity]'` brings it")

from tests.parity.test_optimizer import nanogpt_learning_rate
from tests.parity.torch_gpt import TorchGPT

PATH = Path(__file__).with_name("gpt.safetensors")

# activation function: (B, T, the sizes), as different as they can be: a transposed axis has no place to hide
CASES = {
    "gelu_new": (3, 7, dict(block_size=8, vocab_size=11, n_layer=2, n_head=2, n_embd=10)),
    "gelu": (4, 5, dict(block_size=9, vocab_size=13, n_layer=1, n_head=3, n_embd=6, layer_norm_epsilon=1e-3)),
}
STEPS = 10
ADAMW = dict(betas=(0.9, 0.95), weight_decay=0.1)
SCHEDULE = dict(learning_rate=1e-2, min_lr=1e-3, warmup_iters=3, lr_decay_iters=8)
MAX_NORM = 1.0


def generate(path):
    configs, tensors = {}, {}
    for seed, (activation, (B, T, sizes)) in enumerate(CASES.items()):
        config = GPTConfig(**sizes, activation_function=activation)
        configs[activation] = asdict(config)
        for name, array in values(config, B, T, seed).items():
            tensors[f"{activation}/{name}"] = np.ascontiguousarray(array)  # safetensors writes others as if they were
    settings = {"configs": configs, "adamw": ADAMW, "schedule": SCHEDULE, "max_norm": MAX_NORM}
    save_file(tensors, path, metadata={"settings": json.dumps(settings)})


def values(config, B, T, seed):
    """{name: array} of one case."""
    rng = np.random.default_rng(seed)
    model = GPT(config, dtype="float64", seed=None)
    randomize(model, rng)
    weights = {name: array.astype(np.float16) for name, array in model.params.items()}
    idx, targets = map(np.stack, zip(*(random_batch(config, B, T, rng) for _ in range(STEPS)), strict=True))

    theirs = TorchGPT(config).double().load(weights)
    optimizer = theirs.configure_optimizer(learning_rate=1.0, **ADAMW)
    losses = []
    for step in range(STEPS):
        logits, loss = theirs(torch.from_numpy(idx[step]), torch.from_numpy(targets[step]))
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            first_logits, gradients = logits.detach().numpy(), theirs.gradients()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), MAX_NORM)
        for group in optimizer.param_groups:
            group["lr"] = nanogpt_learning_rate(step, **SCHEDULE)
        optimizer.step()
    return {
        "idx": idx,  # (STEPS, B, T)
        "targets": targets,
        "logits": first_logits,
        "losses": np.array(losses),
        **{f"weights/{name}": array for name, array in weights.items()},
        **{f"gradients/{name}": array for name, array in gradients.items()},
    }


if __name__ == "__main__":
    generate(PATH)
    print(f"{PATH}: {PATH.stat().st_size:,} bytes")

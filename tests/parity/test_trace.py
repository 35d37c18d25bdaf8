"""Two hundred steps of training in float32 on real text: tinygpt's loss curve is PyTorch's.

Where these tests were written, over six draws of batches, the two curves were at most 9.5e-7 apart, and tinygpt's from
its own with the rows of every batch in another order, the noise floor, 7.2e-7: two to four units in the last place of a
float32 loss. Weight decay on everything moved the curve by 3e-3 or more.

That holds where training is smooth. At a learning rate of 3e-3 in place of 1e-3 rounding grows: the order of the rows
moves the curve by 1e-3, PyTorch by 4e-4, and no two implementations can agree to 1e-5.
"""

import functools

import numpy as np
import pytest

from tinygpt import GPT, GPTConfig
from tinygpt.data import load_corpus
from tinygpt.optim import AdamW, cosine_schedule
from tinygpt.parallel import blas_threads

from .comparison import NEEDS_TORCH

torch = pytest.importorskip("torch", reason=NEEDS_TORCH)

from .torch_gpt import TorchGPT  # noqa: E402

STEPS, B, T = 200, 8, 48
ADAMW = dict(betas=(0.9, 0.95), weight_decay=0.1)
LEARNING_RATES = [cosine_schedule(step, 1e-3, 1e-4, warmup_iters=20, lr_decay_iters=STEPS) for step in range(STEPS)]
MAX_NORM = 1.0


@functools.cache
def text():
    """The configuration of a model for the standard library's sources, and the batches to train it on."""
    corpus = load_corpus("stdlib")
    rng = np.random.default_rng(1)
    batches = [corpus.batch("train", B, T, rng) for _ in range(STEPS)]
    return GPTConfig(block_size=T, vocab_size=corpus.vocab_size, n_layer=3, n_head=3, n_embd=96), batches


@functools.cache
def our_losses(reordered=False, all_decayed=False):
    config, batches = text()
    model = GPT(config, dtype="float32", seed=1)
    optimizer = AdamW(model.params, **ADAMW)
    if all_decayed:
        model.params.n_decayed = len(model.params.flat)
    rng = np.random.default_rng(2)
    losses = []
    with blas_threads(1):  # as PyTorch has here
        for lr, (idx, targets) in zip(LEARNING_RATES, batches, strict=True):
            rows = rng.permutation(B) if reordered else slice(None)
            loss, cache = model.loss(idx[rows], targets[rows])
            losses.append(float(loss))
            optimizer.step(model.backward(cache), lr, MAX_NORM)
    return np.array(losses)


def pytorchs_losses():
    config, batches = text()
    model = TorchGPT(config).load(GPT(config, dtype="float32", seed=1).params)
    optimizer = model.configure_optimizer(learning_rate=1.0, **ADAMW)
    losses = []
    for lr, (idx, targets) in zip(LEARNING_RATES, batches, strict=True):
        _, loss = model(torch.from_numpy(idx), torch.from_numpy(targets))
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
    return np.array(losses)


def largest_difference(a, b):
    return float(np.abs(a - b).max())


def test_every_loss_is_pytorchs():
    ours = our_losses()
    assert ours[-1] < ours[0] - 1, "a model that does not learn would prove little"
    assert largest_difference(ours, pytorchs_losses()) < 1e-5


def test_the_order_of_a_batchs_rows_moves_no_loss():
    assert 0 < largest_difference(our_losses(), our_losses(reordered=True)) < 1e-5


def test_a_small_mistake_of_the_optimiser_shows():
    """Weight decay on biases and LayerNorms as well."""
    assert largest_difference(our_losses(), our_losses(all_decayed=True)) > 1e-4

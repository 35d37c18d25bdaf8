"""A layer of your own in the model: write it, prove its gradient, train with it.

The squared ReLU takes GELU's place: So et al., "Primer", 2021 (arXiv:2109.08668).
"""

from types import SimpleNamespace

import numpy as np
from threadpoolctl import threadpool_limits

from tinygpt import GPT, GPTConfig
from tinygpt.data import load_corpus
from tinygpt.gradcheck import gradient_check
from tinygpt.ops import DEFINITIONS
from tinygpt.optim import AdamW


def forward(x, approximate=None):  # GELU's signature: it is called with the name of an approximation
    relu = np.maximum(x, 0)
    return relu * relu, relu


def backward(dout, relu):
    return dout * 2 * relu  # (relu^2)' = 2 relu, and 0 where x < 0


def train(ops, steps=100, B=12, T=64):
    """The mean loss of the last 20 steps."""
    model = GPT(GPTConfig(block_size=T, vocab_size=corpus.vocab_size, n_layer=2, n_head=2, n_embd=64), ops=ops)
    optimizer, rng = AdamW(model.params), np.random.default_rng(1337)
    losses = []
    for _ in range(steps):
        loss, cache = model.loss(*corpus.batch("train", B, T, rng))
        optimizer.step(model.backward(cache), lr=3e-3, max_norm=1.0)
        losses.append(loss)
    return np.mean(losses[-20:])


print(gradient_check(forward, backward, {"x": np.random.default_rng(0).standard_normal((3, 5))}))

threadpool_limits(1)  # matrices as small as these are not worth a second thread
corpus = load_corpus("stdlib")
print(f"GELU          loss {train(DEFINITIONS):.3f}")
print(f"squared ReLU  loss {train(DEFINITIONS.replace(gelu=SimpleNamespace(forward=forward, backward=backward))):.3f}")

"""The hand-written gradients are autograd's: same weights, same batch, every tensor compared.

The tolerances leave room for other BLAS libraries. Where these tests were written, the largest relative error of any
tensor was 8e-15 in float64 and 2e-6 in float32.
"""

import itertools

import numpy as np
import pytest

from tinygpt import GPT, GPTConfig
from tinygpt.ops import KERNELS, build

from .comparison import NEEDS_TORCH, assert_agree, random_batch, randomize

torch = pytest.importorskip("torch", reason=NEEDS_TORCH)

from .torch_gpt import TorchGPT  # noqa: E402

# name: (B, T, the configuration). The sizes of a row differ wherever they can: a transposed axis has no place to hide.
SHAPES = {
    "one token": (1, 1, dict(block_size=4, vocab_size=7, n_layer=1, n_head=1, n_embd=5)),
    "one head": (4, 9, dict(block_size=16, vocab_size=13, n_layer=2, n_head=1, n_embd=6)),
    "three heads of five": (2, 8, dict(block_size=8, vocab_size=7, n_layer=3, n_head=3, n_embd=15)),
    "heads of one channel": (5, 6, dict(block_size=9, vocab_size=11, n_layer=1, n_head=4, n_embd=4)),
    "long sequence": (2, 150, dict(block_size=160, vocab_size=17, n_layer=1, n_head=3, n_embd=21)),
    # 17 MB of float32 logits: more than the fast head computes at once
    "vocabulary in chunks": (5, 43, dict(block_size=46, vocab_size=20_011, n_layer=2, n_head=2, n_embd=14)),
}
STYLES = [
    dict(activation_function=activation, bias=bias)
    for activation, bias in itertools.product(("gelu", "gelu_new"), (True, False))
]


def style_name(style):
    return f"{style['activation_function']}-{'bias' if style['bias'] else 'no bias'}"


def pair(config, dtype, kernels="auto"):
    """A tinygpt model with random weights, a PyTorch one with the same, and a generator for batches."""
    rng = np.random.default_rng(20)
    ours = GPT(config, device="cpu", dtype=dtype, seed=1, ops=build(kernels))
    randomize(ours, rng)
    theirs = TorchGPT(config).to(getattr(torch, dtype)).load(ours.params)
    return ours, theirs, rng


def run_both(ours, theirs, idx, targets):
    """The logits, the loss and the gradients of each, as two dictionaries."""
    loss, cache = ours.loss(idx, targets)
    grads = ours.backward(cache)
    logits, _ = ours.forward(idx)
    their_logits, their_loss = theirs(torch.from_numpy(idx), torch.from_numpy(targets))
    their_loss.backward()
    return (
        {"logits": logits, "loss": loss, **grads},
        {"logits": their_logits.detach().numpy(), "loss": their_loss.detach().numpy(), **theirs.gradients()},
    )


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("style", STYLES, ids=style_name)
@pytest.mark.parametrize("shape", SHAPES)
def test_float64_logits_loss_and_every_gradient_agree(shape, style, kernels):
    B, T, sizes = SHAPES[shape]
    ours, theirs, rng = pair(GPTConfig(**sizes, **style), "float64", kernels)
    assert_agree(*run_both(ours, theirs, *random_batch(ours.config, B, T, rng)), tolerance=1e-10)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("style", STYLES, ids=style_name)
@pytest.mark.parametrize("shape", SHAPES)
def test_float32_logits_loss_and_every_gradient_agree(shape, style, kernels):
    B, T, sizes = SHAPES[shape]
    ours, theirs, rng = pair(GPTConfig(**sizes, **style), "float32", kernels)
    assert_agree(*run_both(ours, theirs, *random_batch(ours.config, B, T, rng)), tolerance=1e-5)


@pytest.mark.parametrize("style", STYLES, ids=style_name)
def test_accumulated_micro_batches_are_the_whole_batch(style):
    """Means of means would be wrong here: the parts have 9, 1, 0 and 14 targets."""
    B, T, sizes = 8, 9, dict(block_size=10, vocab_size=13, n_layer=2, n_head=2, n_embd=14)
    ours, theirs, rng = pair(GPTConfig(**sizes, **style), "float64")
    idx = rng.integers(13, size=(B, T))
    targets = np.full((B, T), -1)
    for part, count in enumerate((9, 1, 0, 14)):
        place = rng.permutation(2 * T)[:count]
        targets[2 * part + place // T, place % T] = rng.integers(13, size=count)

    loss, grads = 0.0, None
    for rows in (slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 8)):
        part_loss, cache = ours.loss(idx[rows], targets[rows], denominator=24)
        grads = ours.backward(cache, grads)
        loss = loss + part_loss

    _, their_loss = theirs(torch.from_numpy(idx), torch.from_numpy(targets))
    their_loss.backward()
    assert_agree({"loss": loss, **grads}, {"loss": their_loss.detach().numpy(), **theirs.gradients()}, tolerance=1e-10)


@pytest.mark.parametrize("style", STYLES, ids=style_name)
def test_gradients_of_any_function_of_the_logits_agree(style):
    B, T, sizes = SHAPES["three heads of five"]
    ours, theirs, rng = pair(GPTConfig(**sizes, **style), "float64")
    idx, targets = random_batch(ours.config, B, T, rng)
    logits, cache = ours.forward(idx)
    dlogits = rng.standard_normal(logits.shape)
    grads = ours.backward(cache, dout=dlogits)
    theirs(torch.from_numpy(idx), torch.from_numpy(targets))[0].backward(torch.from_numpy(dlogits))
    assert_agree(grads, theirs.gradients(), tolerance=1e-10)


def test_backward_adds_to_the_gradients_it_is_given():
    B, T, sizes = SHAPES["three heads of five"]
    ours, theirs, rng = pair(GPTConfig(**sizes), "float64")
    idx, targets = random_batch(ours.config, B, T, rng)
    grads = ours.backward(ours.loss(idx, targets)[1])
    grads = ours.backward(ours.loss(idx, targets)[1], grads)
    for _ in range(2):  # PyTorch adds too
        theirs(torch.from_numpy(idx), torch.from_numpy(targets))[1].backward()
    assert_agree(grads, theirs.gradients(), tolerance=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_with_every_target_ignored_loss_and_gradients_are_zero(dtype):
    """Compared with zero, not with PyTorch, which divides 0 by 0 here."""
    B, T, sizes = SHAPES["three heads of five"]
    ours, theirs, rng = pair(GPTConfig(**sizes), dtype)
    idx, _ = random_batch(ours.config, B, T, rng)
    targets = np.full((B, T), -1)
    loss, cache = ours.loss(idx, targets)
    grads = ours.backward(cache)
    assert loss == 0
    assert all(np.all(grad == 0) for grad in grads.values())
    assert theirs(torch.from_numpy(idx), torch.from_numpy(targets))[1].isnan()


def greedy_by_windows(theirs, idx, max_new_tokens, block_size):
    """Generation as tinygpt does it, by PyTorch with nothing remembered: a full window falls back to its newer half."""
    seen = idx.shape[1]
    for _ in range(max_new_tokens):
        seen = seen if seen <= block_size else block_size // 2
        with torch.no_grad():
            logits, _ = theirs(torch.from_numpy(idx[:, -seen:]))
        idx = np.concatenate([idx, logits[:, -1].argmax(dim=-1, keepdim=True).numpy()], axis=1)
        seen += 1
    return idx


@pytest.mark.parametrize("style", STYLES, ids=style_name)
def test_greedy_generation_agrees_within_and_beyond_block_size(style):
    """Keys and values are remembered on one side only. Past `block_size`, `exact_window` slides as nanoGPT does."""
    B, sizes = 3, dict(block_size=9, vocab_size=29, n_layer=2, n_head=3, n_embd=42)
    ours, theirs, rng = pair(GPTConfig(**sizes, **style), "float64")
    theirs.eval()
    idx = rng.integers(29, size=(B, 4))
    remembering = greedy_by_windows(theirs, idx, 40, block_size=9)
    sliding = theirs.generate(torch.from_numpy(idx), 40, top_k=1).numpy()
    assert np.array_equal(remembering[:, :10], sliding[:, :10]), "up to the tenth token the window is not yet full"
    assert np.all(np.any(remembering != sliding, axis=1)), "a continuation that ignores its window would prove nothing"
    np.testing.assert_array_equal(ours.generate(idx, 40, top_k=1, seed=0), remembering)
    np.testing.assert_array_equal(ours.generate(idx, 40, top_k=1, seed=0, exact_window=True), sliding)

"""Training is PyTorch's training: AdamW, clipping and the learning-rate schedule, step after step."""

import math

import numpy as np
import pytest

from tinygpt import GPT, GPTConfig
from tinygpt.optim import AdamW, cosine_schedule

from .comparison import NEEDS_TORCH, assert_agree, random_batch, randomize, relative_error

torch = pytest.importorskip("torch", reason=NEEDS_TORCH)

from .torch_gpt import TorchGPT  # noqa: E402

SCHEDULE = dict(learning_rate=3e-3, min_lr=3e-4, warmup_iters=3, lr_decay_iters=8)


def nanogpt_learning_rate(step, learning_rate, min_lr, warmup_iters, lr_decay_iters):
    """nanoGPT's schedule, by cases: a ramp that does not start at 0, half a cosine, then the floor."""
    if step < warmup_iters:
        return learning_rate * (step + 1) / (warmup_iters + 1)
    if step > lr_decay_iters:
        return min_lr
    progress = (step - warmup_iters) / (lr_decay_iters - warmup_iters)
    return min_lr + (learning_rate - min_lr) * (1 + math.cos(math.pi * progress)) / 2


@pytest.mark.parametrize("warmup_iters", [0, 1, 3])
def test_the_schedule_is_nanogpts(warmup_iters):
    settings = SCHEDULE | dict(warmup_iters=warmup_iters)
    for step in range(12):
        assert cosine_schedule(step, **settings) == pytest.approx(nanogpt_learning_rate(step, **settings), rel=1e-14)


def without_key_biases(params):
    """The parameters, less the middle third of every `c_attn.bias`.

    A key's bias adds one number to a whole row of scores, which softmax does not see: its true gradient is zero. What
    either side computes instead is rounding, about 1e-17, and AdamW divides it by little more than eps: steps of 1e-9
    times the learning rate in directions of their own, so that these biases agree to 1e-11 and all else to 1e-15.
    """
    return {
        name: np.delete(values, slice(len(values) // 3, 2 * len(values) // 3)) if "c_attn.bias" in name else values
        for name, values in params.items()
    }


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_ten_clipped_steps_of_training_agree(bias):
    """Warm-up, cosine and floor are all passed through; the fifth loss is divided by 1000, too small to be clipped."""
    config = GPTConfig(block_size=8, vocab_size=11, n_layer=2, n_head=3, n_embd=15, bias=bias)
    rng = np.random.default_rng(5)
    ours = GPT(config, device="cpu", dtype="float64", seed=1)
    randomize(ours, rng)
    theirs = TorchGPT(config).double().load(ours.params)
    our_optimizer = AdamW(ours.params, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    their_optimizer = theirs.configure_optimizer(weight_decay=0.1, learning_rate=1.0, betas=(0.9, 0.95))

    norms = []
    for step in range(10):
        idx, targets = random_batch(config, 4, 7, rng)
        shrink = 1000 if step == 4 else 1

        loss, cache = ours.loss(idx, targets, denominator=shrink * np.count_nonzero(targets != -1))
        norm = our_optimizer.step(ours.backward(cache), cosine_schedule(step, **SCHEDULE), max_norm=1.0)

        their_loss = theirs(torch.from_numpy(idx), torch.from_numpy(targets))[1] / shrink
        their_optimizer.zero_grad()
        their_loss.backward()
        their_norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        for group in their_optimizer.param_groups:
            group["lr"] = nanogpt_learning_rate(step, **SCHEDULE)
        their_optimizer.step()

        assert relative_error(loss, their_loss.detach()) < 1e-10
        assert relative_error(norm, their_norm) < 1e-10
        norms.append(float(norm))

    assert [norm > 1 for norm in norms] == [step != 4 for step in range(10)], f"clipping acted elsewhere: {norms}"
    assert_agree(ours.params, theirs.parameters_numpy(), tolerance=1e-8)
    assert_agree(without_key_biases(ours.params), without_key_biases(theirs.parameters_numpy()), tolerance=1e-13)


def test_adamw_alone_agrees_to_rounding():
    """Twenty steps on gradients of very different sizes, far above and far below eps, and some exactly zero."""
    rng = np.random.default_rng(6)
    model = GPT(GPTConfig(block_size=8, vocab_size=11, n_layer=1, n_head=3, n_embd=15), dtype="float64", seed=1)
    randomize(model, rng)
    theirs = {name: torch.nn.Parameter(torch.tensor(values)) for name, values in model.params.items()}
    our_optimizer = AdamW(model.params, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    their_optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in theirs.values() if p.dim() == 2], "weight_decay": 0.1},
            {"params": [p for p in theirs.values() if p.dim() == 1], "weight_decay": 0.0},
        ],
        lr=1e-2,
        betas=(0.9, 0.95),
    )
    grads = model.backward(model.loss(*random_batch(model.config, 2, 5, rng))[1])  # a place to write gradients into
    for _ in range(20):
        for name, parameter in theirs.items():
            grads[name][...] = rng.standard_normal(parameter.shape) * 10 ** rng.uniform(-12, 2, parameter.shape)
            grads[name][rng.random(parameter.shape) < 0.1] = 0
            parameter.grad = torch.tensor(grads[name])
        our_optimizer.step(grads, 1e-2)
        their_optimizer.step()
    assert_agree(model.params, {name: p.detach().numpy() for name, p in theirs.items()}, tolerance=1e-15)

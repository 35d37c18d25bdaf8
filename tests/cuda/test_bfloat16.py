"""A model that computes in bfloat16 on a card: what is rounded, and what is not."""

import dataclasses

import numpy as np
import pytest

from tests.cuda import strict_cupy
from tests.parity.comparison import relative_error
from tests.test_model import IDX, SMALL, TARGETS, model_with_weights_of_order_one
from tinygpt import GPT
from tinygpt.backend import to_host
from tinygpt.models.gpt2 import GPTConfig
from tinygpt.optim import AdamW

CONFIGS = {
    "plain": SMALL,
    "dropout": dataclasses.replace(SMALL, dropout=0.3),
    "no biases, exact GELU": dataclasses.replace(SMALL, bias=False, activation_function="gelu"),
}


def a_step(model, step=1):
    """Loss and gradients, on the host."""
    loss, cache = model.loss(IDX, TARGETS, step=step)
    grads = model.backward(cache)
    return {"loss": to_host(loss), **grads.on_host()}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_loss_and_gradients_are_float64s_but_for_rounding(cuda, config):
    """Each activation is rounded to 2e-3 of itself, a dozen of them in a row."""
    exact = a_step(model_with_weights_of_order_one(config, dtype="float64"))
    ours = a_step(model_with_weights_of_order_one(config, device=cuda, dtype="bfloat16"))
    for name, right in exact.items():
        assert ours[name].dtype == np.float32
        if name.endswith("c_attn.bias"):  # a key's has a true gradient of zero
            C = config.n_embd
            right, ours[name] = (np.delete(d, slice(C, 2 * C)) for d in (right, ours[name]))
        assert relative_error(ours[name], right) < 4e-2, name


def test_parameters_gradients_and_moments_stay_in_float32(cuda):
    model = GPT(SMALL, cuda, "bfloat16")
    optimizer = AdamW(model.params)
    loss, cache = model.loss(IDX, TARGETS)
    grads = model.backward(cache)
    optimizer.step(grads, 1e-3, max_norm=1.0)
    buffers = model.params.flat, grads.flat, *(state.flat for state in optimizer.state.values()), loss
    assert {buffer.dtype.name for buffer in buffers} == {"float32"}
    assert model.forward(IDX)[0].dtype == np.float32


def test_a_change_too_small_for_bfloat16_is_not_lost_to_a_parameter(cuda):
    """1e-4 of a weight of 1 is less than bfloat16 can say: only float32 adds it up."""
    model = GPT(SMALL, cuda, "bfloat16")
    name = "h.0.mlp.c_fc.weight"
    model.params[name] = np.ones(model.params[name].shape)
    for _ in range(100):
        model.params[name] = model.params[name] + 1e-4
    assert to_host(model.params[name]).mean() == pytest.approx(1.01, rel=1e-4)


@pytest.mark.parametrize("name", ["wte.weight", "wpe.weight", "h.1.attn.c_attn.weight", "h.0.ln_1.bias", "ln_f.weight"])
def test_what_is_written_into_params_is_seen(cuda, name):
    """By the loss, by logits, and by text that is generated: no copy of what it was is kept."""
    model, other = GPT(SMALL, cuda, "bfloat16", seed=1), GPT(SMALL, cuda, "bfloat16", seed=2)
    results = [list(map(to_host, (m.loss(IDX, TARGETS)[0], m.forward(IDX)[0]))) for m in (model, other)]
    before = model.generate(IDX[:1, :4], 6, top_k=1)
    new = np.random.default_rng(0).standard_normal(model.params[name].shape)
    for m in (model, other):
        m.params[name] = new
    for m, (loss, logits) in zip((model, other), results, strict=True):
        assert to_host(m.loss(IDX, TARGETS)[0]) != loss
        assert not np.array_equal(to_host(m.forward(IDX)[0]), logits)
    for each in other.params:
        model.params[each] = other.params[each]
    np.testing.assert_array_equal(to_host(model.forward(IDX)[0]), to_host(other.forward(IDX)[0]))
    np.testing.assert_array_equal(
        model.generate(IDX[:1, :4], 6, top_k=1), other.generate(IDX[:1, :4], 6, top_k=1), err_msg=str(before)
    )


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_same_bits_whatever_the_order_of_blocks_and_warps(card, config):
    def ours():
        model = model_with_weights_of_order_one(config, device="cuda", dtype="bfloat16")
        return list(a_step(model).values())

    assert strict_cupy.unequal_bits(strict_cupy.in_orders(ours)) == []


def test_text_is_generated_with_memory_as_without(cuda):
    model = GPT(SMALL, cuda, "bfloat16", seed=3)
    with_memory, without = (
        model.generate(IDX[:2, :3], 12, top_k=1, exact_window=exact_window) for exact_window in (False, True)
    )
    np.testing.assert_array_equal(with_memory[:, : SMALL.block_size], without[:, : SMALL.block_size])


TEXT = "the sum of a long row of small numbers, each of which was rounded, is not the row of the sums of some. " * 3


def curve(dtype, steps=200):
    """The losses of a run on a text of few characters."""
    ids = np.unique(list(TEXT), return_inverse=True)[1]
    config = GPTConfig(block_size=16, vocab_size=int(ids.max()) + 1, n_layer=1, n_head=1, n_embd=32, bias=False)
    model = GPT(config, "cuda", dtype, seed=5)
    optimizer, losses, grads = AdamW(model.params), [], model.params.zeros_like()
    for step in range(steps):
        starts = np.random.default_rng(step).integers(len(ids) - 16, size=(4, 1))
        windows = ids[starts + np.arange(17)]
        loss, cache = model.loss(windows[:, :-1], windows[:, 1:], step=step)
        grads.flat[...] = 0
        model.backward(cache, grads)
        optimizer.step(grads, 3e-3, max_norm=1.0)
        losses.append(loss)
    return np.array([float(to_host(loss)) for loss in losses])


def test_a_run_learns_what_float32_learns(card):
    ours, float32 = curve("bfloat16"), curve("float32")
    assert float32[-10:].mean() < 0.4 * float32[0]
    assert abs(ours - float32).max() < 2e-2  # it was 7e-3
    assert abs(ours[-10:].mean() - float32[-10:].mean()) < 1e-2  # 1e-3

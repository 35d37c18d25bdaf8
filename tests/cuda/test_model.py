"""The model on a card: the same numbers, no waiting, ids checked on the host."""

import copy
import dataclasses
import gc

import numpy as np
import pytest

from tests.parity.comparison import assert_agree
from tests.test_model import IDX, SMALL, TARGETS, model_with_weights_of_order_one
from tinygpt import GPT, UserError
from tinygpt.backend import to_device, to_host
from tinygpt.models.gpt2 import MLP, Block, LMHeadLoss, costs
from tinygpt.ops import KERNELS, build
from tinygpt.optim import AdamW

CONFIGS = {
    "plain": SMALL,
    "dropout": dataclasses.replace(SMALL, dropout=0.3),
    "no biases, exact GELU": dataclasses.replace(SMALL, bias=False, activation_function="gelu"),
}


def trained(device, config, kernels, dtype):
    """Everything that two steps of training on `device` give."""
    model = model_with_weights_of_order_one(config, device=device, dtype=dtype, ops=build(kernels, device))
    optimizer = AdamW(model.params)
    results = {"logits": model.forward(IDX)[0]}
    for step in (1, 2):
        loss, cache = model.loss(IDX, TARGETS, step=step)
        grads = model.backward(cache)
        results |= {f"loss {step}": loss} | {f"d{name} {step}": grads[name] for name in grads}
        results[f"norm {step}"] = optimizer.step(grads, 1e-3, max_norm=0.1)
    results |= dict(model.params)
    if dtype == "float32":  # a key's bias has a true gradient of zero, and Adam divides its rounding by its rounding
        results = {name: array for name, array in results.items() if not name.endswith("c_attn.bias")}
    return {name: to_host(array) for name, array in results.items()}


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-5)])
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_logits_losses_gradients_and_updates_are_numpys(cuda, config, kernels, dtype, tolerance):
    here = trained("cpu", config, "reference", "float64")
    there = trained(cuda, config, kernels, dtype)
    here = {name: here[name] for name in there}
    assert {array.dtype.name for array in there.values()} == {dtype}
    assert_agree(there, here, tolerance)


def test_a_deep_copy_on_a_card_is_trained_by_itself(cuda):
    model = model_with_weights_of_order_one(device=cuda, dtype="float32")
    before, other = to_host(model.params.flat).copy(), copy.deepcopy(model)
    np.testing.assert_array_equal(to_host(other.params.flat), before)
    grads = other.backward(other.loss(IDX, TARGETS)[1])
    AdamW(other.params).step(grads, 0.1)
    np.testing.assert_array_equal(to_host(model.params.flat), before)
    assert not np.array_equal(to_host(other.forward(IDX)[0]), to_host(model.forward(IDX)[0]))


def test_ids_on_a_card_are_not_for_a_model_on_the_cpu(cuda):
    with pytest.raises(UserError, match=r"idx is on a card, and the model on the CPU; give idx.get\(\)"):
        model_with_weights_of_order_one().forward(to_device(IDX, cuda))


class OwnMLP(MLP):
    """A reader's, which computes with gradients, and writes over an array of its own once it has passed it on."""

    @staticmethod
    def backward(dout, cache):
        fc_cache, gelu_cache, proj_cache, ops = cache
        da, dw_proj, db_proj = ops.linear.backward(dout, proj_cache)
        dh = ops.gelu.backward(da, gelu_cache)
        dx, dw_fc, db_fc = ops.linear.backward(dh, fc_cache)
        dh *= 0
        return dx, 2 * dw_fc, db_fc, 2 * dw_proj, db_proj


class OwnBlock(Block):
    @staticmethod
    def backward(dout, cache):
        dx, gradients = Block.backward(dout, cache)
        return dx, {name: 2 * d for name, d in gradients.items()}


class OwnHead(LMHeadLoss):
    @staticmethod
    def backward(dout, cache):
        linear_cache, loss_cache, ops = cache
        dlogits = ops.cross_entropy.backward(dout, loss_cache)
        dx, dw_transposed, _ = ops.linear.backward(dlogits, linear_cache)
        dlogits *= 0
        return dx, 2 * dw_transposed.T


@pytest.mark.parametrize("parts", [{"mlp": OwnMLP}, {"block": OwnBlock}, {"lm_head_loss": OwnHead}], ids=str)
def test_to_a_readers_own_part_every_gradient_is_an_array(cuda, parts):
    """And none that a kernel left unfinished, made of arrays that may have changed by the time it is added."""

    def gradients(device, kernels):
        model = model_with_weights_of_order_one(device=device, ops=build(kernels, device), parts=parts)
        grads = model.backward(model.loss(IDX, TARGETS)[1])
        return {name: to_host(grads[name]) for name in grads}

    assert_agree(gradients(cuda, "auto"), gradients("cpu", "reference"), 1e-10)


@pytest.mark.parametrize("of_ones_own", [lambda x: x.astype("float64"), lambda x: x.T.copy().T], ids=["dtype", "order"])
def test_gradients_are_added_into_any_arrays_that_take_them(cuda, of_ones_own):
    model = GPT(SMALL, cuda)
    _, cache = model.loss(IDX, TARGETS)
    grads = {name: of_ones_own(zeros) for name, zeros in model.params.zeros_like().items()}
    added, expected = model.backward(cache, grads), model.backward(cache)
    assert_agree(*({name: to_host(of[name]) for name in model.params} for of in (added, expected)), 1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("dout_dtype", ["float32", "float64"])
def test_a_gradient_handed_in_may_be_of_another_dtype(cuda, dtype, dout_dtype):
    def gradients(device, kernels, dtype):
        model = model_with_weights_of_order_one(device=device, dtype=dtype, ops=build(kernels, device))
        grads = model.backward(model.loss(IDX, TARGETS)[1], dout=np.dtype(dout_dtype).type(2.5))
        logits, cache = model.forward(IDX)
        dlogits = np.random.default_rng(0).standard_normal(logits.shape).astype("float32").astype(dout_dtype)
        model.backward(cache, grads, dout=to_device(dlogits, device))
        return {name: to_host(grads[name]) for name in grads}

    there, here = gradients(cuda, "auto", dtype), gradients("cpu", "reference", "float64")
    assert_agree(there, here, {"float32": 1e-5, "float64": 1e-10}[dtype])


def test_a_model_derived_from_ours_computes_with_its_own_block(cuda):
    class Derived(GPT):
        block = OwnBlock

    doubled, ours = (
        kind(SMALL, cuda, "float64", ops=build("auto", cuda)) for kind in (Derived, GPT)
    )  # fmt: skip
    grads = [model.backward(model.loss(IDX, TARGETS)[1]) for model in (doubled, ours)]
    name = "h.1.mlp.c_fc.weight"
    np.testing.assert_allclose(to_host(grads[0][name]), 2 * to_host(grads[1][name]), rtol=1e-10)


@pytest.mark.parametrize("exact_window", [False, True])
def test_the_same_text_is_generated(cuda, exact_window):
    tokens = [
        model_with_weights_of_order_one(device=device).generate(
            IDX, 12, temperature=0.9, top_k=5, top_p=0.9, seed=3, exact_window=exact_window
        )
        for device in ("cpu", cuda)
    ]
    np.testing.assert_array_equal(*tokens)


def test_the_same_seed_gives_the_same_weights(cuda):
    here, there = (GPT(SMALL, device, seed=5).params.on_host() for device in ("cpu", cuda))
    assert all(np.array_equal(here[name], there[name]) for name in here)


def test_weights_go_to_a_file_and_back(cuda, tmp_path):
    model = GPT(SMALL, cuda, seed=5)
    model.save_pretrained(tmp_path)
    for device in ("cpu", cuda):
        again = GPT.from_pretrained(tmp_path, device)
        assert all(np.array_equal(to_host(again.params[name]), to_host(model.params[name])) for name in model.params)


@pytest.mark.parametrize("wrong", [7, -1])
def test_a_wrong_id_is_named_before_it_reaches_the_card(card, wrong):
    """Where it would be wrapped around in silence."""
    model, idx = GPT(SMALL, "cuda"), IDX.copy()
    idx[1, 2] = wrong
    card.reset()
    for call in (model.forward, lambda idx: model.loss(idx, TARGETS), lambda idx: model.upload(idx, TARGETS)):
        with pytest.raises(UserError, match=f"token id {wrong}, but vocab_size is 7"):
            call(idx)
    assert not card.uploads


def test_forward_backward_and_update_never_wait_and_nothing_t_by_t_is_copied(card):
    config = dataclasses.replace(SMALL, dropout=0.3)
    T = IDX.shape[1]
    model = GPT(config, "cuda")
    optimizer, grads = AdamW(model.params), model.params.zeros_like()
    batch = [to_device(ids, "cuda") for ids in (IDX, TARGETS)]
    card.reset()
    for step in range(2):
        _, cache = model.loss(*batch, denominator=7, step=step)
        model.backward(cache, grads)
        optimizer.step(grads, 1e-3, max_norm=1.0)
    assert not card.syncs
    assert [upload.nbytes for upload in card.uploads] == [3 * 4] * 2  # of each step, what AdamW has anew
    assert not [copy for copy in card.copies if copy.shape[-2:] == (T, T)]


@pytest.mark.parametrize("exact_window", [False, True])
def test_a_sampled_token_waits_once(card, exact_window):
    model = GPT(SMALL, "cuda")
    waits = []
    card.reset()
    for _ in model.stream(IDX, 12, seed=1, exact_window=exact_window):  # longer than the context
        waits.append(len(card.syncs))
        card.reset()
    assert waits == [1] * 12


def test_a_saved_model_is_one_transfer(card, tmp_path):
    model = GPT(SMALL, "cuda")
    card.reset()
    model.save_pretrained(tmp_path)
    assert len(card.syncs) == 1


@pytest.mark.parametrize("bias", [True, False])
def test_a_loss_keeps_what_the_table_of_costs_says(card, bias):
    config = dataclasses.replace(SMALL, bias=bias, n_embd=32, n_head=2, block_size=32, vocab_size=65, n_layer=3)
    model = GPT(config, "cuda")
    batch = [to_device(np.zeros((8, 32), int), "cuda") for _ in range(2)]
    model.loss(*batch, denominator=1)
    gc.collect()
    before = card.used
    _, cache = model.loss(*batch, denominator=1)
    gc.collect()
    tokens, padded = 8 * 32, 128
    kept = tokens * (sum(row.activations for row in costs(config, fused=True)) + padded) * 4  # and the logits' gradient
    assert 0 <= card.used - before - kept < 10_000, (card.used - before, kept)  # a few ids, and arrays rounded up
    del cache

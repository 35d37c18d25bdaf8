"""The model on a card: the same numbers, no waiting, ids checked on the host."""

import dataclasses

import numpy as np
import pytest

from tests.parity.comparison import assert_agree
from tests.test_model import IDX, SMALL, TARGETS, model_with_weights_of_order_one
from tinygpt import GPT, UserError
from tinygpt.backend import to_device, to_host
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
    assert not card.syncs and not card.uploads
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

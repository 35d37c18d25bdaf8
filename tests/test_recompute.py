"""--recompute: less is kept for backward, and the gradients are the same to the last bit."""

import dataclasses
import gc
import json
import tracemalloc
import warnings

import numpy as np
import pytest

from tests.cuda import strict_cupy
from tests.layers.implementations import arrays_in
from tests.test_model import IDX, SMALL, TARGETS, model_with_weights_of_order_one
from tests.test_train import tiny
from tinygpt import GPT, GPTConfig, UserError
from tinygpt.backend import to_device, to_host
from tinygpt.cli import main
from tinygpt.errors import Note
from tinygpt.models.gpt2 import Block, costs
from tinygpt.ops import KERNELS, build
from tinygpt.parallel import Workers
from tinygpt.recompute import RECOMPUTE
from tinygpt.run import memory
from tinygpt.run.config import TrainConfig
from tinygpt.run.memory import activations, step_memory, that_fits
from tinygpt.train import resume, start, train

CONFIGS = {
    "plain": dataclasses.replace(SMALL, bias=False),
    "biases, dropout": dataclasses.replace(SMALL, dropout=0.3),
    "exact GELU": dataclasses.replace(SMALL, activation_function="gelu"),
}
SIZES = GPTConfig(block_size=32, vocab_size=11, n_layer=4, n_head=2, n_embd=32)


@pytest.fixture
def card():
    """The stand-in for CuPy and a card."""
    with strict_cupy.installed() as card:
        yield card


def gradients(recompute, device="cpu", kernels="auto", config=SMALL, dtype="float32", parts=None):
    """The loss and every gradient of a training step."""
    ops = build(kernels, device)
    model = model_with_weights_of_order_one(config, device=device, dtype=dtype, ops=ops, parts=parts)
    model.recompute = recompute
    loss, cache = model.loss(IDX, TARGETS, step=3, row=5)
    grads = model.backward(cache)
    return {"loss": to_host(loss)} | {name: to_host(grads[name]) for name in grads}


def assert_same_bits(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype and a[name].tobytes() == b[name].tobytes(), name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_gradients_are_the_same_to_the_last_bit(request, device, config, kernels, dtype):
    if device == "cuda":
        request.getfixturevalue("card")
    kept, *others = (gradients(recompute, device, kernels, config, dtype) for recompute in RECOMPUTE)
    for again in others:
        if (device, kernels) == (
            "cuda",
            "reference",
        ):  # CuPy adds rows by atomic operations, in another order each time
            np.testing.assert_allclose(again.pop("wte.weight"), kept["wte.weight"], rtol=1e-4, atol=1e-7)
            again["wte.weight"] = kept["wte.weight"]
        assert_same_bits(again, kept)


class Counted(Block):
    """A reader's block, which counts and whose gradients are its own."""

    calls = 0

    @staticmethod
    def forward(*args, **kwargs):
        Counted.calls += 1
        out, cache = Block.forward(*args, **kwargs)
        return 0.5 * out, cache

    @staticmethod
    def backward(dout, cache):
        return Block.backward(0.5 * dout, cache)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_readers_own_block_is_computed_again(request, monkeypatch, device):
    if device == "cuda":
        request.getfixturevalue("card")
    found, calls = {}, {}
    for recompute in ("none", "blocks"):
        monkeypatch.setattr(Counted, "calls", 0)
        config = CONFIGS["biases, dropout"]
        found[recompute] = gradients(recompute, device, config=config, parts={"block": Counted})
        calls[recompute] = Counted.calls
    assert_same_bits(found["none"], found["blocks"])
    assert found["none"]["loss"] != gradients("none", device, config=CONFIGS["biases, dropout"])["loss"]
    assert calls == {"none": SMALL.n_layer, "blocks": 2 * SMALL.n_layer}


def test_threads_that_share_a_batch_each_compute_their_part_again(monkeypatch):
    found = []
    for recompute in ("none", "blocks"):
        monkeypatch.setattr(Counted, "calls", 0)
        model = model_with_weights_of_order_one(CONFIGS["biases, dropout"], parts={"block": Counted})
        model.recompute = recompute
        grads = model.params.zeros_like()
        with Workers(2) as workers:
            monkeypatch.setattr(workers, "count", 2)
            loss = workers.gradients(model, IDX, TARGETS, grads, 7, step=1)
        found.append({"loss": loss, "all": grads.flat})
        if recompute == "blocks":
            assert Counted.calls == 2 * 2 * SMALL.n_layer
    assert_same_bits(*found)


def losses(records):
    return [(r.step, r.loss, r.grad_norm) for r in records if hasattr(r, "grad_norm")]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_run_has_the_same_losses(request, tmp_path, device):
    if device == "cuda":
        request.getfixturevalue("card")
    settings = dict(device=device, dropout=0.2, bias=True, max_iters=20, eval_interval=100)
    found = {}
    for recompute in ("none", "blocks", "gelu")[: 3 if device == "cuda" else 2]:
        state = start(tiny(tmp_path / recompute, recompute=recompute, **settings))
        assert state.model.recompute == recompute
        found[recompute] = losses(train(state))
    assert len(found["none"]) == 20 and all(run == found["none"] for run in found.values())


def test_a_run_can_be_resumed_with_another_value(tmp_path):
    whole = losses(train(start(tiny(tmp_path / "whole", dropout=0.2))))
    list(train(start(tiny(tmp_path / "parts", dropout=0.2, max_iters=6, lr_decay_iters=12))))
    state = resume(tmp_path / "parts", {"max_iters": 12, "recompute": "blocks"})
    assert state.model.recompute == "blocks"
    assert losses(train(state)) == whole[6:]
    assert resume(tmp_path / "parts").config.recompute == "blocks"


# What is kept


@pytest.mark.parametrize("recompute", RECOMPUTE)
def test_a_loss_keeps_what_the_table_of_costs_says(recompute):
    model = GPT(SMALL, ops=build("reference"))
    model.recompute = recompute
    _, (_, hidden, _) = model.loss(IDX, TARGETS)
    buffers = {}
    for array in arrays_in(hidden):
        while array.base is not None:
            array = array.base
        if (
            array.dtype == np.float32
            and array.size
            and not any(np.shares_memory(array, p) for p in model.params.values())
        ):
            buffers[id(array)] = array
    expected = IDX.size * sum(row.activations for row in costs(SMALL, recompute=recompute)[:-1])
    assert abs(sum(array.size for array in buffers.values()) - expected) <= IDX.size * SMALL.n_embd  # ln_f's input


@pytest.mark.parametrize("recompute", RECOMPUTE)
def test_on_a_card_a_loss_keeps_what_the_table_of_costs_says(card, recompute):
    model = GPT(SIZES, "cuda")
    model.recompute = recompute
    batch = [to_device(np.zeros((8, 32), int), "cuda") for _ in range(2)]
    model.loss(*batch, denominator=1)
    gc.collect()
    before = card.used
    _, cache = model.loss(*batch, denominator=1)
    gc.collect()
    logits = 64
    kept = 8 * 32 * (sum(row.activations for row in costs(SIZES, True, recompute)) + logits) * 4
    assert 0 <= card.used - before - kept < 10_000, (card.used - before, kept)
    del cache


def test_on_a_card_the_peak_of_a_step_falls_by_what_the_table_says(card):
    model = GPT(SIZES, "cuda")
    batch = [to_device(np.zeros((16, 32), int), "cuda") for _ in range(2)]
    grads, peaks = model.params.zeros_like(), {}
    for recompute in RECOMPUTE:
        model.recompute = recompute
        gc.collect()
        before = card.total = card.used
        model.backward(model.loss(*batch, denominator=1)[1], grads)
        peaks[recompute] = card.total - before
    tokens = 16 * 32 * 4
    for recompute in RECOMPUTE[1:]:
        falls = tokens * (activations(model, "none") - activations(model, recompute))
        assert 0 < 0.75 * falls < peaks["none"] - peaks[recompute] < 1.25 * falls, (recompute, peaks, falls)


@pytest.mark.parametrize("kernels", KERNELS)
def test_on_a_cpu_the_peak_of_a_step_falls(kernels):
    config = dataclasses.replace(SIZES, n_layer=8)
    model, peaks = GPT(config, ops=build(kernels)), {}
    batch = [np.zeros((16, 32), int) for _ in range(2)]
    grads = model.params.zeros_like()
    for recompute in ("none", "blocks"):
        model.recompute = recompute
        model.backward(model.loss(*batch)[1], grads)
        tracemalloc.start()
        model.backward(model.loss(*batch)[1], grads)
        peaks[recompute] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    falls = 16 * 32 * 4 * (activations(model, "none") - activations(model, "blocks"))
    least = 0.75 if kernels == "reference" else 0.3  # fast twins keep less than the definitions
    assert least * falls < peaks["none"] - peaks["blocks"] < 1.1 * falls, (peaks, falls)


# What is said


def test_a_wrong_value_is_one_sentence(capsys):
    with pytest.raises(UserError, match="^--recompute is 'all'; expected none, gelu or blocks$"):
        TrainConfig(recompute="all")
    assert main(["train", "--recompute=everything"]) == 1
    assert "error: --recompute is 'everything'; expected none, gelu or blocks" in capsys.readouterr().err


def test_gelu_where_it_saves_nothing_is_said(tmp_path, card):
    with pytest.warns(Note, match="--recompute=gelu saves nothing here"):
        start(tiny(tmp_path / "cpu", recompute="gelu"))
    with pytest.warns(Note, match="--recompute=gelu saves nothing here"):
        start(tiny(tmp_path / "definitions", recompute="gelu", device="cuda", kernels="reference"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", Note)
        start(tiny(tmp_path / "card", recompute="gelu", device="cuda"))
        start(tiny(tmp_path / "blocks", recompute="blocks"))


def test_where_memory_runs_out_blocks_are_named_if_they_fit(card, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(memory, "SPARE", 0)  # there is no cuBLAS here that would need it
    settings = dict(
        device="cuda", dtype="float32", n_layer=6, n_embd=32, block_size=32, batch_size=12, max_iters=2, sample_length=0
    )
    state = start(tiny(tmp_path / "sizes", **settings))
    none, blocks = step_memory(state, 12), step_memory(state, 12, "blocks")
    assert blocks < 0.6 * none
    del state
    gc.collect()
    card.memory_limit = blocks + 50_000  # the optimiser's and the batches' few numbers
    flags = [f"--{name}={value}" for name, value in settings.items()]
    flags += [f"--data={tiny(tmp_path).data}", "--eval_iters=1", "--log_interval=1", "--n_head=2"]

    def run(name, *more):
        return main(["train", *flags, f"--out_dir={tmp_path / name}", *more])

    assert run("too large") == 1
    err = capsys.readouterr().err
    assert "; --recompute=blocks, the same step with less kept and more computed, or --batch_size=" in err
    assert run("again", "--recompute=blocks") == 0
    card.memory_limit = None
    assert run("whole") == 0
    rows = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("again", "whole")]
    again, whole = ([json.loads(line).get("loss") for line in lines] for lines in rows)
    assert again == whole and len(whole) > 2


def test_where_blocks_alone_are_not_enough_a_smaller_batch_is_named_with_them(card, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "SPARE", 0)
    state = start(tiny(tmp_path, device="cuda", n_layer=6, block_size=32, n_embd=32, batch_size=4))
    room = step_memory(state, 2, "blocks")
    assert room < step_memory(state, 1)
    monkeypatch.setattr(memory, "available_memory", lambda device: room)
    assert that_fits(state).startswith("--recompute=blocks --batch_size=2 --gradient_accumulation_steps=2, the same")
    state.config.recompute = state.model.recompute = "blocks"
    assert that_fits(state).startswith("--batch_size=2 --gradient_accumulation_steps=2, the same step in smaller parts")

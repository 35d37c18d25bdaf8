"""Training on a card: the CPU's losses, the budget of waits, checkpoints, and what a user sees."""

import json
import re

import numpy as np
import pytest

from tests.own_parts import PYTHON, fill
from tests.own_parts import run as run_of_ones_own
from tests.test_cli import TINY, outcome
from tests.test_train import TEXT, tiny
from tinygpt.backend import to_host
from tinygpt.gradcheck import check_layer
from tinygpt.gradcheck.library import CASES
from tinygpt.models.gpt2 import training_flops
from tinygpt.run import memory
from tinygpt.train import EvalRecord, StepRecord, load_model, resume, start, train


def losses(records):
    return [record.loss for record in records if isinstance(record, StepRecord)]


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_losses_are_the_cpus(cuda, tmp_path, kernels):
    settings = dict(dtype="float64", dropout=0.2, bias=True, gradient_accumulation_steps=2, grad_clip=0.1)
    here = train(start(tiny(tmp_path / "cpu", kernels="reference", threads=1, **settings)))
    there = train(start(tiny(tmp_path / "cuda", kernels=kernels, device=cuda, **settings)))
    for a, b in zip(there, here, strict=True):
        if isinstance(a, EvalRecord):
            assert (a.train_loss, a.val_loss) == pytest.approx((b.train_loss, b.val_loss), rel=1e-10)
        else:
            assert (a.loss, a.grad_norm) == pytest.approx((b.loss, b.grad_norm), rel=1e-10)


def test_the_same_run_gives_the_same_bits(cuda, tmp_path):
    """Whatever the order in which blocks and warps come, which on the stand-in is another at every launch."""
    ends = []
    for name in ("one", "other"):
        state = start(
            tiny(tmp_path / name, device=cuda, dropout=0.2, bias=True, grad_clip=0.1, batch_size=12, max_iters=4)
        )
        for _ in train(state):
            pass
        ends.append([to_host(buffer.flat) for buffer in (state.model.params, *state.optimizer.state.values())])
    for one, other in zip(*ends, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_step_never_waits_and_a_logged_one_waits_once(card, tmp_path):
    waits = {}
    card.reset()
    for record in train(start(tiny(tmp_path, device="cuda", dropout=0.2, log_interval=4, eval_interval=100))):
        if isinstance(record, StepRecord):
            waits[record.step] = [f"{wait.what} {wait.file}:{wait.line}" for wait in card.syncs]
        card.reset()
    assert {step: len(where) for step, where in waits.items()} == {n: int(n in (1, 4, 8, 12)) for n in range(1, 13)}
    assert {wait.partition(":")[0] for where in waits.values() for wait in where} == {"get tinygpt/backend.py"}


def test_the_host_has_queued_a_step_before_the_card_begins_it(cuda, tmp_path):
    """If anything in a step waited, it would wait for the products before it too, and those would be done."""
    import cupy

    records = train(start(tiny(tmp_path, device=cuda, dropout=0.2, log_interval=100, eval_interval=100, tf32=False)))
    for _ in range(3):  # the evaluation, the first step, which is read, and one that compiles what is left
        next(records)
    a = cupy.ones((4096, 4096), np.float32)
    # A quarter of a second on an H200, where a step takes the host a tenth of that. With the step's some 400 kernels
    # they fit in the queue, or the host would wait for room in it.
    for _ in range(0 if "stand-in" in cupy.__version__ else 100):
        a @ a
    before_the_step = cupy.cuda.Event()
    before_the_step.record()
    next(records)
    assert not before_the_step.done
    records.close()


def test_an_evaluation_waits_once_for_each_split_and_once_to_see_that_all_is_finite(card, tmp_path):
    """Besides the save, which fetches the weights twice and the moments once each; they wait for no batch."""
    waits = []
    for eval_iters in (2, 9):
        state = start(tiny(tmp_path / str(eval_iters), device="cuda", eval_iters=eval_iters, max_iters=0))
        card.reset()
        (record,) = train(state)
        assert isinstance(record, EvalRecord)
        waits.append(len(card.syncs))
    assert waits[0] == waits[1]


def test_the_next_batch_is_on_its_way_before_a_loss_is_read(card, tmp_path):
    state = start(tiny(tmp_path, device="cuda", eval_interval=100))
    batch, order = state.corpus.batch, []

    def noted(split, *arguments):
        order.append((split, len(card.syncs)))
        return batch(split, *arguments)

    for record in train(state):
        if isinstance(record, EvalRecord):
            card.reset()
            state.corpus.batch = noted
        elif record.step < 12:
            assert len(card.syncs) == record.step
            assert order[-1] == ("train", record.step - 1)  # asked for before this step's wait
            # idx and targets of the step after each so far (the first's came before the evaluation), and three numbers
            # of AdamW's
            assert len(card.uploads) == 2 * record.step + record.step


def test_batches_travel_whole_and_only_they_do(card, tmp_path):
    state = start(tiny(tmp_path, device="cuda", dropout=0.2, eval_interval=100))
    records = train(state)
    next(records)
    card.reset()
    next(records), next(records)
    batches = [upload.nbytes for upload in card.uploads if upload.shape == (4, 8)]
    assert batches == [4 * 8 * 8] * 4  # 4 sequences of 8 ids of 8 bytes, of the two steps after each
    assert [upload.nbytes for upload in card.uploads if upload.shape != (4, 8)] == [3 * 4] * 2  # AdamW's, of two steps


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [({}, {"32F_FAST_TF32"}), ({"tf32": False}, {"32F"}), ({"dtype": "float64"}, {"64F"})],
    ids=["float32", "off", "float64"],
)
def test_products_of_float32_are_in_tf32_unless_told(card, tmp_path, settings, kinds):
    state = start(tiny(tmp_path, device="cuda", max_iters=2, **{"dtype": "float32"} | settings))
    card.reset()
    for _ in train(state):
        assert {product.compute_type for product in card.products} == kinds
    card.reset()
    state.model.forward(np.zeros((1, 2), int))  # after training, the exact ones are back
    assert {product.compute_type for product in card.products} == ({"64F"} if kinds == {"64F"} else {"32F"})


def test_a_run_goes_on_from_a_checkpoint_on_either_device(card, tmp_path):
    settings = dict(dtype="float64", dropout=0.2, n_layer=1, eval_iters=1)
    whole = losses(train(start(tiny(tmp_path / "whole", device="cuda", **settings))))
    for first, second in (("cuda", "cpu"), ("cpu", "cuda"), ("cuda", "cuda")):
        out_dir = tmp_path / f"{first}-{second}"
        parts = losses(train(start(tiny(out_dir, device=first, **settings, max_iters=7, lr_decay_iters=12))))
        parts += losses(train(resume(out_dir, {"device": second, "max_iters": 12})))
        assert parts == pytest.approx(whole, rel=1e-10)


def test_a_run_on_parts_of_ones_own_is_the_reference_run_there_too(card, tmp_path, monkeypatch):
    fill(tmp_path)
    theirs, _, own = run_of_ones_own(tmp_path, monkeypatch, mine=str(tmp_path), device="cuda", max_iters=5)
    reference, *_ = run_of_ones_own(tmp_path, monkeypatch, kernels="reference", max_iters=5)
    assert set(own.used) == set(PYTHON)
    np.testing.assert_allclose(theirs, reference, rtol=0, atol=1e-10)


def test_utilisation_is_the_models_flops_over_the_measured_rate(card, tmp_path):
    state = start(tiny(tmp_path, device="cuda", max_iters=3))
    records = [record for record in train(state) if isinstance(record, StepRecord)]
    assert state.product_rate > 0
    for record in records:
        flops = record.tokens_per_second * training_flops(state.model.config)
        assert record.utilisation == pytest.approx(flops / state.product_rate)


def test_a_weight_that_is_no_longer_finite_is_still_seen(card, tmp_path):
    state = start(tiny(tmp_path, device="cuda", learning_rate=1e30, warmup_iters=0, eval_interval=100))
    with pytest.raises(Exception, match=r"at step \d+ the (loss|weights)"):
        list(train(state))


# What a user sees

CUDA = [flag for flag in TINY if not flag.startswith("--device")]


def test_a_run_says_what_it_computes_on(card, tmp_path, capsys):
    flags = "--device=cuda", "--dtype=float32", f"--out_dir={tmp_path}"
    status, out, err = outcome(capsys, "train", *CUDA, *flags)
    assert (status, err) == (0, "")
    for expected in ("device      cuda, ", "dtype       float32 with products in TF32\n", " of peak  ", "on the card"):
        assert expected in out
    assert "TFLOP/s of TF32 matrix products, measured at the start" in out
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all(row["utilisation"] > 0 for row in rows if "loss" in row)


def test_auto_takes_the_card_and_says_why_where_it_cannot(card, tmp_path, capsys):
    status, out, _ = outcome(capsys, "train", *CUDA, f"--out_dir={tmp_path / 'a'}")
    assert status == 0 and "device      cuda" in out
    card.broken = "no card"
    status, out, _ = outcome(capsys, "train", *CUDA, f"--out_dir={tmp_path / 'b'}")
    assert status == 0 and "device      cpu" in out and "(the NVIDIA driver finds no CUDA card)" in out
    status, _, err = outcome(capsys, "train", *CUDA, "--device=cuda", f"--out_dir={tmp_path / 'c'}")
    assert status == 1 and err.startswith("error: --device=cuda: the NVIDIA driver finds no CUDA card; check")


def test_sampling_and_evaluating_work_there_too(card, tmp_path, capsys):
    assert outcome(capsys, "train", *CUDA, "--device=cuda", f"--out_dir={tmp_path}")[0] == 0
    flags = "--seed=1", "--start=a", "--dtype=float64"
    texts = [  # and not what is said meanwhile, of what takes long
        outcome(capsys, "sample", f"--out_dir={tmp_path}", f"--device={d}", *flags)[:2] for d in ("cuda", "cpu")
    ]
    assert texts[0] == texts[1] and texts[0][0] == 0
    evaluations = [
        outcome(capsys, "eval", f"--out_dir={tmp_path}", f"--device={d}", "--dtype=float32", f"--data={TEXT}")[:2]
        for d in ("cuda", "cpu")
    ]
    assert evaluations[0] == evaluations[1] and evaluations[0][0] == 0


def test_memory_that_runs_out_is_one_sentence_and_costs_no_checkpoint(card, tmp_path, capsys):
    assert outcome(capsys, "train", *CUDA, "--device=cuda", f"--out_dir={tmp_path}")[0] == 0
    before = to_host(load_model(tmp_path)[0].params.flat)
    card.memory_limit = 1 << 20
    resumed = [f"--out_dir={tmp_path}", "--init_from=resume", "--max_iters=20", "--batch_size=500", "--device=cuda"]
    status, out, err = outcome(capsys, "train", *resumed)
    assert status == 1 and "Traceback" not in err
    assert "\nerror: out of memory on the CUDA card, allocating " in err and "limit set to: 1,048,576" in err
    assert "not even --batch_size=1 would fit into the 1.0 MB that this run can have; choose a smaller" in err
    card.memory_limit = None
    np.testing.assert_array_equal(to_host(load_model(tmp_path)[0].params.flat), before)


@pytest.mark.parametrize(
    ("kernels", "dtype", "share"),
    [
        ("auto", "float64", 0.25),
        ("auto", "float64", 0.7),
        ("reference", "float64", 0.25),
        ("auto", "bfloat16", 0.7),
        ("auto", "bfloat16", 0.25),
    ],  # fmt: skip
)
def test_where_memory_runs_out_the_batch_that_is_named_fits(card, tmp_path, capsys, monkeypatch, kernels, dtype, share):
    """And it is the same step: rows are numbered in the whole of it."""
    monkeypatch.setattr(memory, "SPARE", 0)  # there is no cuBLAS here that would need it
    flags = [*CUDA, "--device=cuda", f"--kernels={kernels}", "--dropout=0.1", "--bias=True", f"--dtype={dtype}"]
    flags += ["--block_size=32", "--max_iters=2", "--eval_iters=1", "--log_interval=1", "--sample_length=0"]

    def run(name, *more):
        return outcome(capsys, "train", *flags, f"--out_dir={tmp_path / name}", *more)

    def losses_of(name):
        rows = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        return [row["loss"] for row in rows if "loss" in row]

    assert run("whole", "--batch_size=12")[0] == 0
    fixed = 4 * load_model(tmp_path / "whole")[0].params.flat.nbytes  # of float32
    fixed *= 2 if dtype == "float64" else 1
    card.memory_limit = int(fixed + share * (card.total - fixed))
    status, _, err = run("too large", "--batch_size=12")
    assert status == 1 and err.startswith("error: out of memory on the CUDA card, allocating ")
    named = re.search(
        r"; (--batch_size=(\d+) --gradient_accumulation_steps=(\d+)), the same step in smaller parts, would", err
    )
    assert int(named[2]) * int(named[3]) == 12
    assert int(named[2]) >= 12 * share / 2  # the next larger divisor may not have fitted
    assert run("in parts", *named[1].split())[0] == 0
    assert losses_of("in parts") == pytest.approx(losses_of("whole"), rel=1e-10 if dtype == "float64" else 1e-3)


def test_the_gradient_checker_runs_there(card, capsys):
    """On every layer, on some of attention's entries; what the block and the model are made of is checked in parts."""
    layers = [name for name in CASES if name not in ("attention", "block")]
    status, out, err = outcome(capsys, "gradcheck", "--device=cuda", *layers)
    assert (status, err) == (0, "") and re.search(r"all \d+ checks right", out)
    assert len(card.launches) > 100_000
    assert all(check_layer("attention", device="cuda", max_entries=40))

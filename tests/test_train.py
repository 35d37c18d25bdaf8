import dataclasses
import hashlib
import json
import math
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests import children
from tinygpt import GPT, GPTConfig, UserError
from tinygpt.cli import main
from tinygpt.ops import DEFINITIONS
from tinygpt.optim import AdamW, cosine_schedule
from tinygpt.parallel import Workers, blas_threads
from tinygpt.random import generator
from tinygpt.run import loop
from tinygpt.run.folder import load_state
from tinygpt.run.screens import Screen
from tinygpt.tokenizer import CharTokenizer
from tinygpt.train import EvalRecord, StepRecord, TrainConfig, load_model, mean_loss, resume, start, train

TEXT = Path(__file__).with_name("memorised.txt")
ROOT = Path(__file__).parents[1]


def tiny(out_dir, **changes) -> TrainConfig:
    settings = dict(
        data=str(TEXT), out_dir=str(out_dir), n_layer=2, n_head=2, n_embd=16, block_size=8, batch_size=4, max_iters=12,
        warmup_iters=2, eval_interval=5, eval_iters=2, log_interval=1, device="cpu", threads=2,
    )  # fmt: skip
    return TrainConfig(**settings | changes)


def everything(state) -> list[np.ndarray]:
    return [state.model.params.flat, state.optimizer.m.flat, state.optimizer.v.flat]


def run(state) -> list:
    return list(train(state))


# The whole path


def test_two_kilobytes_are_memorised_and_written_back(tmp_path):
    config = tiny(
        tmp_path, n_layer=1, n_head=4, n_embd=128, block_size=64, batch_size=16, max_iters=700, warmup_iters=20,
        learning_rate=5e-3, beta2=0.95, weight_decay=0.0, eval_interval=1000, log_interval=50,
    )  # fmt: skip
    state = start(config)
    records = run(state)
    assert records[-1].train_loss < 0.15
    decode = state.corpus.tokenizer.decode
    text = state.corpus.train
    assert len(text) >= 2048
    written = state.model.generate(text[None, :64], 2048 - 64, temperature=0, exact_window=True)[0]
    assert decode(written) == decode(text[:2048])


def test_records_tell_what_happened_in_order(tmp_path):
    records = run(start(tiny(tmp_path, log_interval=4)))
    assert [r.step for r in records if isinstance(r, EvalRecord)] == [0, 5, 10, 12]
    steps = [r for r in records if isinstance(r, StepRecord)]
    assert [r.step for r in steps] == list(range(1, 13))
    assert [r.step for r in steps if r.loss is not None] == [1, 4, 8, 12]  # the first, so that one soon sees the speed
    assert all(r.loss > 0 and r.grad_norm > 0 and r.tokens_per_second > 0 for r in steps if r.loss is not None)
    assert steps[0].lr == pytest.approx(3e-3 / 3) and steps[2].lr == 3e-3
    bests = [r for r in records if isinstance(r, EvalRecord) and r.best]
    assert bests[0].step == 0 and [r.val_loss for r in bests] == sorted((r.val_loss for r in bests), reverse=True)


def test_the_learning_rate_follows_the_configuration(tmp_path):
    config = tiny(tmp_path, max_iters=100, warmup_iters=10, learning_rate=1e-3)
    assert config.lr(9) == pytest.approx(1e-3 * 10 / 11) and config.lr(99) == pytest.approx(1e-4, rel=0.01)
    assert dataclasses.replace(config, decay_lr=False).lr(0) == 1e-3
    assert dataclasses.replace(config, lr_decay_iters=50, min_lr=0.0).lr(60) == 0.0


def test_evaluation_uses_the_same_batches_every_time(tmp_path):
    config = tiny(tmp_path, learning_rate=0.0, min_lr=0.0)  # nothing changes, so the losses must not either
    losses = {(r.train_loss, r.val_loss) for r in run(start(config)) if isinstance(r, EvalRecord)}
    assert len(losses) == 1


def test_training_is_the_loop_written_out(tmp_path):
    """Every setting another than its default, so that none can be forgotten or mixed up on the way."""
    config = tiny(
        tmp_path, data=None, dataset="addition", seed=5, dtype="float64", bias=True, activation_function="gelu",
        block_size=20, dropout=0.2, gradient_accumulation_steps=2, learning_rate=0.01, min_lr=0.002, warmup_iters=3,
        lr_decay_iters=9, beta1=0.8, beta2=0.9, weight_decay=0.3, grad_clip=0.5, threads=1, max_iters=10,
    )  # fmt: skip
    state = start(config)
    records = [r for r in run(state) if isinstance(r, StepRecord)]

    shape = GPTConfig(20, 13, 2, 2, 16, dropout=0.2, bias=True, activation_function="gelu")
    model = GPT(shape, dtype="float64", seed=5)
    optimizer = AdamW(model.params, (0.8, 0.9), weight_decay=0.3)
    for step, record in enumerate(records):
        rng = generator(5, "batches", step)
        batches = [state.corpus.batch("train", 4, 20, rng) for _ in range(2)]
        counted = sum((targets >= 0).sum() for _, targets in batches)
        grads, loss = model.params.zeros_like(), 0.0
        for row, (idx, targets) in zip((0, 4), batches, strict=True):
            part, cache = model.loss(idx, targets, counted, step=step, row=row)
            grads, loss = model.backward(cache, grads), loss + part
        lr = cosine_schedule(step, 0.01, 0.002, 3, 9)
        norm = optimizer.step(grads, lr, 0.5)
        assert (record.step, record.lr) == (step + 1, lr)
        assert record.loss == pytest.approx(loss, rel=1e-12) and record.grad_norm == pytest.approx(norm, rel=1e-9)
    assert records[0].grad_norm > 0.5  # clipping acted
    np.testing.assert_allclose(state.model.params.flat, model.params.flat, rtol=1e-9, atol=1e-12)


def test_the_mean_loss_weighs_batches_by_their_targets(tmp_path):
    state = start(tiny(tmp_path))
    idx, targets = state.corpus.batch("val", 4, 8, np.random.default_rng(0))
    targets[0, :7] = -1  # batches of 1 + 8 and of 16 targets
    with Workers(2) as workers:
        loss = mean_loss(state.model, workers, iter([(idx[:2], targets[:2]), (idx[2:], targets[2:])]))
    assert loss == pytest.approx(float(state.model.loss(idx, targets, need_grad=False)[0]), rel=1e-6)


def test_best_is_by_the_validation_loss(tmp_path):
    state = start(tiny(tmp_path, max_iters=40, eval_interval=10, learning_rate=1e-2))
    batch = state.corpus.batch

    def other_text_to_validate_on(split, *arguments):
        idx, targets = batch(split, *arguments)
        return (idx, (targets + 7) % state.corpus.vocab_size) if split == "val" else (idx, targets)

    state.corpus.batch = other_text_to_validate_on
    evaluations = [r for r in run(state) if isinstance(r, EvalRecord)]
    assert evaluations[-1].train_loss < evaluations[0].train_loss < evaluations[-1].val_loss
    lowest = min(r.val_loss for r in evaluations)
    assert state.best_val_loss == lowest and not evaluations[-1].best
    assert [r.best for r in evaluations] == [
        r.val_loss < min([math.inf, *(e.val_loss for e in evaluations[:i])]) for i, r in enumerate(evaluations)
    ]


def test_speed_counts_training_alone(tmp_path, monkeypatch):
    """On a clock that a training batch moves by one second and everything an evaluation does by a hundred.

    A step prepares the batch of the next, so the first prepares two and the last none.
    """
    now = [0.0]
    monkeypatch.setattr("tinygpt.run.loop.time", SimpleNamespace(perf_counter=lambda: now[0]))
    state = start(tiny(tmp_path, log_interval=3, eval_interval=4))
    batch = state.corpus.batch

    def takes_time(split, *arguments):
        now[0] += 1.0 if split == "train" else 100.0
        return batch(split, *arguments)

    state.corpus.batch = takes_time
    speeds = [r.tokens_per_second for r in run(state) if isinstance(r, StepRecord) and r.loss is not None]
    # 4 sequences of 8 tokens in a second: steps 1, 2 to 3, 4 to 6, 7 to 9, 10 to 12
    assert speeds == pytest.approx([32 * 1 / 2, 32 * 2 / 2, 32, 32, 32 * 3 / 2])


def test_where_the_clock_has_not_moved_no_speed_is_known(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tinygpt.run.loop.time", SimpleNamespace(perf_counter=lambda: 5.0))
    state = start(tiny(tmp_path, log_interval=1, max_iters=2))
    screen = Screen(state)
    for record in run(state):
        screen.show(record)
        assert not isinstance(record, StepRecord) or record.tokens_per_second is None
    assert "tokens/s" not in capsys.readouterr().out


def saves_on_a_clock(folder, monkeypatch, **changes) -> tuple[list[int], list[int]]:
    """The steps at which a run is saved, and whose records come, on a clock that each training batch moves by 25 s."""
    now, saved = [0.0], []
    monkeypatch.setattr("tinygpt.run.loop.time", SimpleNamespace(perf_counter=lambda: now[0]))
    save = loop.save
    monkeypatch.setattr("tinygpt.run.loop.save", lambda state: (saved.append(state.step), save(state)))
    state = start(tiny(folder, **{"eval_interval": 100, "log_interval": 3, "max_iters": 14} | changes))
    batch = state.corpus.batch

    def takes_time(split, *arguments):
        now[0] += 25.0 * (split == "train")
        return batch(split, *arguments)

    state.corpus.batch = takes_time
    return saved, run(state)


def test_a_run_saves_on_a_clock_between_evaluations(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        never, straight = saves_on_a_clock(tmp_path / "never", patch, save_minutes=0)
    with monkeypatch.context() as patch:
        saved, records = saves_on_a_clock(tmp_path / "saved", patch, save_minutes=2)
    assert never == [0, 14]
    assert saved == [0, 5, 10, 14]  # a batch is prepared before the first step; 2 minutes are five of 25 s
    assert [r.loss for r in records if isinstance(r, StepRecord)] == [
        r.loss for r in straight if isinstance(r, StepRecord)
    ]


def test_a_run_saved_by_the_clock_goes_on_bit_for_bit(tmp_path, monkeypatch):
    state = start(tiny(tmp_path / "straight", dropout=0.2, eval_interval=100))
    run(state)
    again = start(tiny(tmp_path / "killed", dropout=0.2, eval_interval=100, save_minutes=1e-9))
    for record in train(again):
        if record.step == 8:
            break  # nothing more is saved
    resumed = resume(tmp_path / "killed")
    assert resumed.step == 7
    run(resumed)
    for ours, theirs in zip(everything(resumed), everything(state), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_clock_saves_nothing_that_is_not_finite(tmp_path):
    state = start(tiny(tmp_path, max_iters=30, log_interval=100, eval_interval=100, save_minutes=1e-9))
    with pytest.raises(UserError, match="at step 6 .*last good checkpoint is step 5"):
        for record in train(state):
            if record.step == 6:
                state.model.params["wpe.weight"][...] = np.inf
    assert resume(tmp_path).step == 5


def test_a_run_saved_before_there_was_a_clock_has_the_usual_one(tmp_path):
    run(start(tiny(tmp_path)))
    config = load_state(tmp_path)[0]["config"]
    del config["save_minutes"]
    rewrite_state(tmp_path, config=config)
    assert resume(tmp_path).config.save_minutes == 10


def test_a_resumed_run_keeps_its_number_of_threads_unless_told(tmp_path):
    state = start(tiny(tmp_path, threads=None))
    state.threads = 3
    run(state)
    assert resume(tmp_path).threads == 3
    assert resume(tmp_path, {"threads": 1}).threads == 1


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_accumulated_microbatches_equal_one_large_batch(tmp_path, dropout):
    """The same sums are drawn for 2 x 4 rows as for 1 x 8, and every row drops what it drops there."""
    settings = dict(
        data=None, dataset="addition", block_size=20, learning_rate=1e-3, max_iters=3, dtype="float64", dropout=dropout
    )
    small = start(tiny(tmp_path / "a", batch_size=4, gradient_accumulation_steps=2, **settings))
    large = start(tiny(tmp_path / "b", batch_size=8, **settings))
    batch = large.corpus.batch

    def same_rows(split, batch_size, block_size, rng, rows):
        parts = [batch(split, 4, block_size, rng) for _ in range(batch_size // 4)]
        return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))

    large.corpus.batch = same_rows
    run(small), run(large)
    np.testing.assert_allclose(small.model.params.flat, large.model.params.flat, rtol=1e-9, atol=1e-12)


# Resuming


@pytest.mark.parametrize("stop_at", [3, 5, 8])
def test_resumed_runs_equal_uninterrupted_ones_bit_for_bit(tmp_path, stop_at):
    options = dict(dropout=0.2, gradient_accumulation_steps=2, bias=True)
    straight = start(tiny(tmp_path / "straight", **options))
    expected = run(straight)

    first = start(tiny(tmp_path / "parts", **options))
    records = []
    for record in train(first):
        records.append(record)
        first.stop = isinstance(record, StepRecord) and record.step == stop_at
    second = resume(tmp_path / "parts")
    assert second.step == stop_at and second.threads == 2
    records += run(second)

    for ours, theirs in zip(everything(second), everything(straight), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    without_speed = [
        dataclasses.replace(r, tokens_per_second=None) if isinstance(r, StepRecord) else r for r in records
    ]
    expected = [dataclasses.replace(r, tokens_per_second=None) if isinstance(r, StepRecord) else r for r in expected]
    assert without_speed == expected
    assert second.best_val_loss == straight.best_val_loss


def test_runs_that_only_differ_in_threads_agree_to_rounding(tmp_path):
    losses = [
        [r.loss for r in run(start(tiny(tmp_path / str(n), threads=n, dropout=0.1))) if isinstance(r, StepRecord)]
        for n in (1, 2, 3)
    ]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    np.testing.assert_allclose(losses[2], losses[0], rtol=1e-5)


def test_a_run_can_be_resumed_for_longer_and_with_another_learning_rate(tmp_path):
    run(start(tiny(tmp_path)))
    state = resume(tmp_path, {"max_iters": 15, "learning_rate": 5e-4, "decay_lr": False})
    records = run(state)
    assert [r.step for r in records if isinstance(r, StepRecord)] == [13, 14, 15]
    assert all(r.lr == 5e-4 for r in records if isinstance(r, StepRecord))


def test_a_resumed_run_refuses_another_model_and_another_text(tmp_path):
    text = tmp_path / "text.txt"
    text.write_bytes(TEXT.read_bytes())
    run(start(tiny(tmp_path / "out", data=str(text))))
    with pytest.raises(UserError, match="--n_layer=3 would be another model: the run in .* has n_layer=2"):
        resume(tmp_path / "out", {"n_layer": 3})
    text.write_bytes(TEXT.read_bytes() + b"one more line\n")
    with pytest.raises(UserError, match="the text of text.txt is no longer the one"):
        resume(tmp_path / "out")
    state = resume(tmp_path / "out", {"data": str(text)})  # asked for by name
    assert state.step == 12 and state.best_val_loss == math.inf  # losses on another text do not compare
    assert state.evaluated_step == -1  # so that the first thing is an evaluation on this one
    text.write_text("text with a cedilla: ç" * 50, encoding="utf-8")
    with pytest.raises(UserError, match="ç"):
        resume(tmp_path / "out", {"data": str(text)})
    text.unlink()
    with pytest.raises(UserError, match="text.txt"):
        resume(tmp_path / "out")


def rewrite_state(out_dir, **changes) -> None:
    """Change the last state's meta as if it had been saved so, digests included."""
    meta, folder = load_state(out_dir)
    content = json.dumps(meta | changes).encode()
    (folder / "state.json").write_bytes(content)
    (out_dir / "last" / "current").write_text(f"{folder.name}\n{hashlib.sha256(content).hexdigest()}\n")


def test_a_state_of_another_version_is_explained(tmp_path):
    run(start(tiny(tmp_path)))
    rewrite_state(tmp_path, config={**load_state(tmp_path)[0]["config"], "n_wheels": 4})
    with pytest.raises(UserError, match="another version of tinygpt.*n_wheels"):
        resume(tmp_path)


@pytest.mark.parametrize("change", [{"step": "x"}, {"step": None}, {"val_loss": [1]}, {"best": {}}])
def test_a_saved_evaluation_that_no_run_writes_is_explained(tmp_path, change):
    run(start(tiny(tmp_path)))
    evaluation = load_state(tmp_path)[0]["evaluation"]
    for changed in ([1], {}, "x", evaluation | change):
        rewrite_state(tmp_path, evaluation=changed)
        with pytest.raises(UserError, match="state.json tells of an evaluation in a way"):
            resume(tmp_path)


def test_moments_of_another_model_are_explained(tmp_path):
    run(start(tiny(tmp_path / "a")))
    run(start(tiny(tmp_path / "b", n_embd=8)))
    (ours_meta, ours), (theirs_meta, theirs) = load_state(tmp_path / "a"), load_state(tmp_path / "b")
    name = "moments.safetensors"
    rewrite_state(tmp_path / "a", sha256={**ours_meta["sha256"], name: theirs_meta["sha256"][name]})
    (ours / name).write_bytes((theirs / name).read_bytes())
    with pytest.raises(UserError, match="moments.safetensors.*shape"):
        resume(tmp_path / "a")


def test_a_killed_run_resumes_from_its_last_complete_state(tmp_path):
    """SIGKILL at whatever moment it comes, several times over, while every step is saved."""
    command = [
        ROOT / "train.py", f"--data={TEXT}", f"--out_dir={tmp_path}", "--n_layer=1", "--n_head=1",
        "--n_embd=16", "--block_size=8", "--batch_size=4", "--eval_interval=1", "--eval_iters=1", "--sample_length=0",
        "--max_iters=1000000", "--threads=1",
    ]  # fmt: skip
    reached = 0
    for attempt in range(4):
        again = ["--init_from=resume"] * (attempt > 0)
        with children.started(*command, *again, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None:
                current = tmp_path / "last" / "current"
                if current.exists() and int(current.read_text()[5:13]) > reached + 3:
                    break
                time.sleep(0.003 + 0.001 * attempt)
            assert process.poll() is None, process.stderr.read()
        state = resume(tmp_path)
        assert state.step > reached and math.isfinite(state.best_val_loss)
        reached = state.step


# Trouble


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_state(tmp_path):
    state = start(tiny(tmp_path, max_iters=30, log_interval=2, eval_interval=4))
    with pytest.raises(UserError, match=r"at step 6 the loss is .* \(learning rate .*last good checkpoint is step 4"):
        for record in train(state):
            if record.step == 5:
                state.model.params["ln_f.weight"][0] = np.nan
    good = resume(tmp_path)
    assert good.step == 4 and np.isfinite(good.model.params.flat).all()


def test_trouble_is_seen_before_a_save_even_between_log_steps(tmp_path):
    state = start(tiny(tmp_path, max_iters=30, log_interval=100, eval_interval=4))
    with pytest.raises(UserError, match="at step 8 .*last good checkpoint is step 4"):
        for record in train(state):
            if record.step == 6:
                state.model.params["wpe.weight"][...] = np.inf
    assert resume(tmp_path).step == 4


@pytest.mark.parametrize("at", [4, 9])
def test_the_update_just_before_a_save_cannot_ruin_it(tmp_path, at):
    """The loss of a step is from before its update; what the update did shows only in weights and evaluation."""
    state = start(tiny(tmp_path, max_iters=30, log_interval=100, decay_lr=False))
    with pytest.raises(UserError, match=f"at step {at + 1} .*last good checkpoint is step {at - 4} .*learning_rate"):
        for record in train(state):
            if record.step == at:
                state.config.learning_rate = 1e39
    good = resume(tmp_path)
    assert good.step == at - 4 and np.abs(good.model.params.flat).max() < 10 and math.isfinite(good.best_val_loss)


def test_a_run_stopped_in_its_last_evaluation_evaluates_when_resumed(tmp_path):
    state = start(tiny(tmp_path))
    batch = state.corpus.batch

    def stops_in_the_last_evaluation(split, *arguments):
        state.stop = state.stop or (split == "val" and state.step == 12)
        return batch(split, *arguments)

    state.corpus.batch = stops_in_the_last_evaluation
    assert [r.step for r in run(state) if isinstance(r, EvalRecord)] == [0, 5, 10]
    again = resume(tmp_path)
    assert again.step == 12 and again.evaluated_step == 10
    assert [r.step for r in run(again) if isinstance(r, EvalRecord)] == [12]


def test_the_bits_do_not_depend_on_how_many_threads_blas_would_take(tmp_path):
    weights = []
    for threads in (1, 2):
        with blas_threads(threads):
            state = start(tiny(tmp_path / str(threads), threads=1, dtype="float64", grad_clip=0.1, n_embd=64))
            run(state)
        weights.append(state.model.params.flat)
    np.testing.assert_array_equal(*weights)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"batch_size": 0}, "--batch_size is 0; expected at least 1"),
        ({"batch_size": 10**19}, "at most 1,000,000"),
        ({"eval_iters": 0}, "--eval_iters is 0"),
        ({"max_iters": -1}, "--max_iters is -1"),
        ({"learning_rate": -1e-3}, "--learning_rate is -0.001"),
        ({"save_minutes": -1.0}, "--save_minutes is -1.0; expected at least 0"),
        ({"learning_rate": float("nan")}, "--learning_rate is nan"),
        ({"beta2": 1.0}, "--beta2 is 1.0; expected at least 0 and below 1"),
        ({"threads": 0}, "--threads is 0"),
        ({"n_embd": 10, "n_head": 4}, "n_embd is 10 and n_head is 4"),
        ({"dtype": "float16"}, "dtype is 'float16'; expected auto, float32, bfloat16 or float64"),
        ({"kernels": "quick"}, "kernels is 'quick'"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"block_size": 5000}, "--block_size=5000 needs at least 5,001"),
        ({"data": "nowhere.txt"}, "nowhere.txt"),
        ({"data": None, "dataset": "stdlb"}, "stdlib"),
        ({"tokenizer": "words"}, "words"),
        ({"init_from": "nowhere"}, "there is no folder nowhere"),
    ],
)
def test_settings_that_do_not_fit_are_explained(tmp_path, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        run(start(tiny(tmp_path, **changes)))


# Weights


def test_best_holds_the_best_weights_and_last_the_last_ones(tmp_path):
    state = start(tiny(tmp_path, max_iters=20, eval_interval=10, learning_rate=1e-2))
    best = None
    for record in train(state):
        if isinstance(record, EvalRecord) and record.step > 0 and record.best:
            best = state.model.params.flat.copy()
        if record.step == 12:
            state.model.params["wte.weight"][...] *= 3  # so that step 20 cannot be the best
    assert not state.model.params.flat.tolist() == best.tolist()
    model, tokenizer = load_model(tmp_path, "cpu")
    np.testing.assert_array_equal(model.params.flat, best)
    assert tokenizer == state.corpus.tokenizer
    np.testing.assert_array_equal(resume(tmp_path).model.params.flat, state.model.params.flat)


def test_every_evaluations_weights_are_kept_on_request(tmp_path):
    run(start(tiny(tmp_path, always_save_checkpoint=True)))
    expected = [f"step-{step:08d}" for step in (0, 5, 10, 12)]
    assert sorted(path.name for path in tmp_path.glob("step-*")) == expected
    assert load_model(tmp_path / "step-00000005", "cpu")[1] is not None


def test_a_run_starts_from_another_runs_weights_with_its_tokens(tmp_path):
    first = start(tiny(tmp_path / "first", tokenizer="bpe", vocab_size=280))
    run(first)
    state = start(tiny(tmp_path / "second", init_from=str(tmp_path / "first" / "best"), block_size=6, dropout=0.1))
    assert state.corpus.tokenizer == first.corpus.tokenizer and state.model.config.dropout == 0.1
    assert state.model.config.block_size == 6 and state.model.params["wpe.weight"].shape == (6, 16)
    np.testing.assert_array_equal(
        state.model.params["wpe.weight"], load_model(tmp_path / "first", "cpu")[0].params["wpe.weight"][:6]
    )
    assert len(run(state)) > 0


def test_a_loaded_model_keeps_its_context_unless_a_shorter_one_is_asked_for(tmp_path):
    run(start(tiny(tmp_path / "first")))
    folder = str(tmp_path / "first")
    assert start(tiny(tmp_path / "a", init_from=folder, block_size=None)).model.config.block_size == 8
    assert start(tiny(tmp_path / "b", init_from=folder, block_size=5)).model.config.block_size == 5
    assert start(tiny(tmp_path / "c", init_from=folder, block_size=64)).model.config.block_size == 8


def test_a_resumed_run_refuses_other_tokens(tmp_path):
    run(start(tiny(tmp_path, tokenizer="bpe", vocab_size=270)))
    assert resume(tmp_path, {"tokenizer": "bpe", "vocab_size": 270}).corpus.vocab_size == 270
    for changes in ({"tokenizer": "char"}, {"vocab_size": 300}):
        with pytest.raises(UserError, match="would be another model"):
            resume(tmp_path, changes)


def test_another_dataset_by_name_replaces_the_runs_own_file(tmp_path):
    run(start(tiny(tmp_path)))
    with pytest.raises(UserError, match="addition cannot be used with the model"):
        resume(tmp_path, {"dataset": "addition"})


def test_evaluation_only_writes_nothing(tmp_path):
    records = run(start(tiny(tmp_path, eval_only=True)))
    assert [type(record) for record in records] == [EvalRecord] and not list(tmp_path.iterdir())


def test_a_resumed_run_can_be_evaluated_only(tmp_path):
    expected = run(start(tiny(tmp_path)))[-1]
    records = run(resume(tmp_path, {"eval_only": True}))
    assert [(r.step, r.train_loss, r.val_loss) for r in records] == [(12, expected.train_loss, expected.val_loss)]


def test_a_model_that_knows_more_tokens_than_its_tokenizer_writes_only_those_that_are_text(tmp_path):
    GPT(GPTConfig(8, 500, 1, 1, 8)).save_pretrained(tmp_path / "model")
    with pytest.raises(UserError, match="knows 500 tokens, and nothing beside it says which; give --tokenizer=FILE"):
        start(tiny(tmp_path / "out", init_from=str(tmp_path / "model")))
    CharTokenizer.train(TEXT.read_text()).save(tmp_path / "model" / "tokenizer.tinygpt.json")
    state = start(tiny(tmp_path / "out", init_from=str(tmp_path / "model")))
    run(state)
    state.model.params["wte.weight"] = np.zeros((500, 8))  # every token equally likely
    assert len(state.corpus.sample(state.model, 100)) >= 100


def test_reference_kernels_train_to_the_same_losses(tmp_path):
    states = [start(tiny(tmp_path / k, kernels=k, dtype="float64")) for k in ("auto", "reference")]
    assert states[1].model.ops is DEFINITIONS and states[0].model.ops is not DEFINITIONS
    losses = [[r.loss for r in run(state) if isinstance(r, StepRecord)] for state in states]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-10)


# Patience


def constant(tmp_path, **changes):
    """A run that learns nothing, whose first evaluation is therefore its best."""
    return tiny(tmp_path, learning_rate=0.0, min_lr=0.0, eval_interval=2, max_iters=40, **changes)


def test_patience_ends_a_run_after_so_many_evaluations_without_a_lower_val_loss(tmp_path):
    state = start(constant(tmp_path, patience=3))
    records = run(state)
    assert [r.step for r in records if isinstance(r, EvalRecord)] == [0, 2, 4, 6]
    assert (state.step, state.saved_step, state.best_step, state.without_better) == (6, 6, 0, 3)
    assert state.out_of_patience and not state.stop
    assert (load_model(tmp_path)[0].params.flat == start(constant(tmp_path / "other")).model.params.flat).all()


def test_patience_waits_while_a_run_improves(tmp_path):
    state = start(tiny(tmp_path, max_iters=40, eval_interval=2, patience=1, eval_iters=20, learning_rate=1e-3))
    losses = [r.val_loss for r in run(state) if isinstance(r, EvalRecord)]
    assert len(losses) > 5 and all(after < before for before, after in zip(losses[:-2], losses[1:-1], strict=True))
    assert state.out_of_patience == (losses[-1] >= losses[-2]) and state.step == (len(losses) - 1) * 2


def test_without_patience_a_run_goes_to_its_end(tmp_path):
    state = start(constant(tmp_path))
    run(state)
    assert state.step == 40 and state.without_better == 20 and not state.out_of_patience


def test_a_run_that_was_stopped_goes_on_in_the_same_process(tmp_path):
    state = start(constant(tmp_path))
    for record in train(state):
        state.stop = record.step == 5
    assert state.step == 5
    state.stop = False
    run(state)
    assert state.step == 40


def test_patience_counts_on_when_a_run_is_resumed(tmp_path):
    state = start(constant(tmp_path, patience=4))
    for record in train(state):
        state.stop = record.step == 5
    state = resume(tmp_path)
    assert (state.best_step, state.without_better) == (0, 2)
    records = run(state)
    assert state.step == 8 and [r.step for r in records if isinstance(r, EvalRecord)] == [6, 8]
    assert run(resume(tmp_path)) == []  # it has ended
    again = resume(tmp_path, {"patience": 0, "max_iters": 10})
    assert [r.step for r in run(again)] == [9, 10, 10]


def test_a_run_on_another_text_has_all_its_patience_again(tmp_path):
    run(start(constant(tmp_path / "out", patience=3)))
    (tmp_path / "other.txt").write_text(TEXT.read_text()[::-1])
    state = resume(tmp_path / "out", {"data": str(tmp_path / "other.txt")})
    assert (state.best_step, state.without_better) == (-1, 0) and not state.out_of_patience


def test_a_state_saved_before_there_was_patience_resumes(tmp_path):
    run(start(dataclasses.replace(constant(tmp_path), max_iters=4)))
    path = load_state(tmp_path)[1] / "state.json"
    meta = json.loads(path.read_text())
    del meta["best_step"], meta["without_better"], meta["config"]["patience"], meta["config"]["advice"]
    path.write_text(json.dumps(meta))
    current = tmp_path / "last" / "current"
    current.write_text(f"{path.parent.name}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n")
    state = resume(tmp_path, {"max_iters": 6})
    assert (state.best_step, state.without_better) == (-1, 0)
    run(state)
    assert state.without_better == 1


def test_the_command_says_why_a_run_has_ended_and_how_to_go_on(tmp_path, capsys):
    flags = ["train", f"--data={TEXT}", "--n_layer=1", "--n_head=2", "--n_embd=16", "--block_size=8", "--batch_size=4"]
    flags += [
        "--eval_iters=2",
        "--eval_interval=2",
        "--max_iters=40",
        "--sample_length=0",
        "--threads=1",
        "--device=cpu",
    ]
    flags += ["--learning_rate=0", "--min_lr=0", "--patience=2", f"--out_dir={tmp_path}"]
    assert main(flags) == 0
    out = capsys.readouterr().out
    assert "ended at step 4, after 2 evaluations without a lower val loss; best/ holds its best (step 0, " in out
    assert "train longer" not in out and "sample more" in out
    assert main([*flags, "--init_from=resume"]) == 1
    err = capsys.readouterr().err
    assert "ended at step 4, after 2 evaluations without a lower val loss" in err and err.count("\n") == 1
    assert "to go on all the same, give --patience=0, or more than 2" in err
    assert main([*flags, "--init_from=resume", "--patience=0", "--max_iters=6"]) == 0
    assert "ended at step" not in capsys.readouterr().out
    assert main([*flags, "--patience=-1"]) == 1
    assert "--patience is -1; expected at least 0" in capsys.readouterr().err

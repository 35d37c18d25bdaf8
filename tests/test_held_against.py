"""What a run is held against: reference runs where they hold, marks on any text; and how it is told of them."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest

from tests.test_advice import CONFIG, MARKS_OF_97, curve, said
from tests.test_lock import SMALL
from tests.test_train import ROOT, TEXT, tiny
from tinygpt.cli import main
from tinygpt.data import AdditionCorpus, Corpus
from tinygpt.errors import Note
from tinygpt.layers import gelu
from tinygpt.run.advice import replayed
from tinygpt.run.folder import RUN_FILES
from tinygpt.run.marks import MARKS, Marks, marks_of, saved_marks
from tinygpt.run.metrics import history
from tinygpt.run.reference import CHANGES_THE_CURVE, Curves, Expected, curves, saved, text_of
from tinygpt.run.state import EvalRecord, StepRecord
from tinygpt.run.watch import Watch
from tinygpt.tokenizer import CharTokenizer
from tinygpt.train import Parts, TrainConfig, resume, start, train

# Reference runs


@pytest.mark.parametrize("name", saved())
def test_every_reference_run_is_as_the_others_and_gets_no_warning(name):
    text = saved()[name]
    everyone = curves(name.split("-")[0], text["text"])
    for seed, marks, val, train_losses in zip(
        *(text[part] for part in ("seeds", "marks", "val", "train")), strict=True
    ):
        records, best = [], math.inf
        for step, seen, unseen in zip(text["steps"], train_losses, val, strict=True):
            records.append(EvalRecord(step, seen, unseen, unseen < best))
            best = min(best, unseen)
        own = np.array(val) - marks[2] * everyone.relative
        others = np.array([losses for losses in everyone.losses if not np.allclose(losses, own)])
        assert len(others) == len(everyone.losses) - 1
        mean = Curves(everyone.steps, np.array([others.mean(axis=0)]), everyone.relative)

        def held_against(step, mean=mean, bigrams=marks[2]):
            found = mean.at(step, bigrams)
            return found and found._replace(margin=everyone.margin(step))

        for expected in (held_against, lambda step: None):  # as it is told, and where there is nothing to compare with
            lines = said(records, Marks(*marks), expected=expected)
            for bad in (" above ", "runs (", "overfits", "risen", "stays", "neither", "gradient", "a batch's"):
                assert bad not in lines, (name, seed, lines)
        assert " runs did (" in said(records, Marks(*marks), expected=held_against)


def test_reference_runs_are_five_of_each_to_their_end():
    assert {name.split("-")[0] for name in saved()} == {"stdlib", "shakespeare_char", "addition"}
    for text in saved().values():
        assert text["seeds"] == [1337, 1, 2, 3, 4] and text["steps"][0] == 0 and text["steps"][-1] == CONFIG.max_iters
        assert np.shape(text["val"]) == np.shape(text["train"]) == (5, len(text["steps"]))
        assert np.shape(text["marks"]) == (5, 3) and (np.diff(text["marks"], axis=1) < 0).all()


def test_marks_of_the_reference_runs_are_those_that_a_run_has():
    corpus = AdditionCorpus()
    for seed, marks in zip(saved()["addition"]["seeds"], saved()["addition"]["marks"], strict=True):
        assert marks_of(corpus, 13, 12, 64, 20, seed).losses == pytest.approx(marks, abs=1e-4)


HUNDREDTHS = Curves(np.array([0, 50, 100, 200]), np.array([[2.0, 0.22, 0.1, 0.0], [2.0, 0.18, 0.1, 0.02]]))


def test_the_expected_loss_is_that_of_the_runs_on_the_same_targets():
    expected = HUNDREDTHS.at(50, bigrams=2.5)
    assert (expected.mean, expected.lowest, expected.highest) == pytest.approx((2.7, 2.68, 2.72))
    assert HUNDREDTHS.at(50, bigrams=2.6).mean == pytest.approx(2.8)
    assert HUNDREDTHS.at(100, 0.0).margin >= 0.03 and HUNDREDTHS.at(50, 0.0).margin > 0.08
    between = HUNDREDTHS.at(70, 0.0).mean
    assert between == pytest.approx(0.2 - 0.1 * math.log(70 / 50) / math.log(2))
    assert HUNDREDTHS.at(49, 0.0) is None and HUNDREDTHS.at(201, 0.0) is None  # where nothing is known


def test_losses_are_taken_less_the_bigrams_where_that_brings_runs_together():
    assert curves("stdlib").relative and curves("shakespeare_char").relative
    assert not curves("addition").relative  # no sum is harder than another
    assert curves("addition").at(3000, bigrams=2.0) == curves("addition").at(3000, bigrams=9.0)
    assert curves("nothing of that name") is None


def test_a_text_that_the_reference_runs_had_is_held_against_those_and_another_version_against_all():
    versions = [text for name, text in saved().items() if name.startswith("stdlib-")]
    assert len(versions) == 2 and len({text["text"] for text in versions}) == 2
    everyone = curves("stdlib", "of another Python")
    assert len(everyone.losses) == 10
    for text in versions:
        own = curves("stdlib", text["text"])
        assert len(own.losses) == 5 and own.margin(3000) < everyone.margin(3000)
        for losses, marks in zip(text["val"], text["marks"], strict=True):  # as they would be told elsewhere
            expected = everyone.at(3000, marks[2])
            assert expected.runs == 10 and abs(losses[-1] - expected.mean) < expected.margin


def five(low, high, margin=0.05):
    return lambda step: Expected((low + high) / 2, low, high, margin, 5) if step >= 50 else None


def test_a_run_among_the_reference_runs_is_told_so_once_and_at_the_end():
    config = dataclasses.replace(CONFIG, max_iters=300)
    lines = replayed(curve([4.4] + [2.0] * 6), config, expected=five(1.98, 2.03))
    assert lines == [(50, "as five runs did (1.98 to 2.03)"), (300, "as five runs did (1.98 to 2.03)")]


def test_a_run_above_the_reference_runs_is_told_by_how_much():
    lines = said(curve([4.4] + [1.97] * 3), expected=five(1.62, 1.66))
    assert lines.startswith("0.31 above five runs (1.62 to 1.66)") and lines.count("\n") == 0
    mine = dataclasses.replace(CONFIG, mine="lessons/work")
    assert "a part of yours" in said(curve([4.4, 1.97]), config=mine, expected=five(1.62, 1.66))
    assert "yours" not in lines


def test_a_run_within_the_margin_is_not_above():
    assert "above" not in said(curve([4.4] + [1.688] * 3), expected=five(1.62, 1.66))


def test_one_jump_beyond_the_margin_is_no_run_above(tmp_path):
    once = [4.4, 1.64, 1.64, 1.75, 1.64, 1.64]
    assert "above" not in said(curve(once), expected=five(1.62, 1.66))
    twice = [4.4, 1.64, 1.64, 1.75, 1.75, 1.64]
    lines = replayed(curve(twice), CONFIG, expected=five(1.62, 1.66))
    assert [(step, line[:10]) for step, line in lines] == [(50, "as five ru"), (200, "0.09 above"), (250, "as five ru")]


def test_a_run_that_comes_back_to_the_reference_runs_is_told_so():
    lines = replayed(curve([4.4, 2.0, 1.64, 1.64]), CONFIG, expected=five(1.62, 1.66))
    assert [line.split(" (")[0] for _, line in lines] == ["0.34 above five runs", "as five runs did"]


def fresh(tmp_path, parts=None, **changes):
    """A run of the addition preset, just started."""
    settings = dict(dataset="addition", out_dir=str(tmp_path), device="cpu", threads=1)
    return start(TrainConfig(**settings | changes), *([parts] if parts else []))


BEGUN = [EvalRecord(0, 2.5, 2.5, True), StepRecord(10, CONFIG.lr(9), 2.4, 1.0, 1.0)]


@pytest.mark.parametrize(
    "changes",
    [{}, {"seed": 7}, {"eval_interval": 10}, {"eval_iters": 40}, {"max_iters": 9000, "lr_decay_iters": 3000},
     {"dtype": "float64"}, {"log_interval": 1}, {"kernels": "reference"}, {"patience": 3}],
    ids=str,
)  # fmt: skip
def test_reference_runs_hold_for_the_presets_arithmetic(tmp_path, changes):
    assert text_of(fresh(tmp_path, **changes), BEGUN) == "addition"


@pytest.mark.parametrize(
    "changes",
    [{"n_layer": 2}, {"n_embd": 64}, {"n_head": 2}, {"block_size": 48}, {"batch_size": 8}, {"dropout": 0.1},
     {"bias": True}, {"activation_function": "gelu"}, {"gradient_accumulation_steps": 2}, {"weight_decay": 0.0},
     {"beta1": 0.8}, {"beta2": 0.95}, {"grad_clip": 0.0}, {"eval_iters": 5}],
    ids=str,
)  # fmt: skip
def test_reference_runs_hold_for_nothing_else(tmp_path, changes):
    assert text_of(fresh(tmp_path, **changes), BEGUN) is None
    assert set(changes) <= {*CHANGES_THE_CURVE, "eval_iters"}


def test_reference_runs_hold_only_at_the_presets_learning_rates(tmp_path):
    for lr in (1e-3, 6e-3):
        state = fresh(tmp_path, learning_rate=lr)
        assert text_of(state, [BEGUN[0], StepRecord(500, state.config.lr(499), 2.0, 1.0, 1.0)]) is None
    shorter = fresh(tmp_path, max_iters=200)  # the warm-up is the same, what follows is not
    assert text_of(shorter, BEGUN) == "addition"
    assert text_of(shorter, [BEGUN[0], StepRecord(190, shorter.config.lr(189), 2.0, 1.0, 1.0)]) is None


def test_reference_runs_hold_only_for_a_run_from_its_beginning(tmp_path):
    state = fresh(tmp_path)
    assert text_of(state, BEGUN[1:]) is None and text_of(state, []) is None
    state.config.init_from = "some/folder"
    assert text_of(state, BEGUN) is None


def test_a_learners_parts_are_held_against_the_reference_runs(tmp_path):
    parts = Parts(leaves={"gelu": SimpleNamespace(forward=gelu.forward, backward=gelu.backward)})
    assert text_of(fresh(tmp_path, parts), BEGUN) == "addition"


def test_a_users_file_of_the_same_name_is_not_the_corpus(tmp_path):
    (tmp_path / "addition").write_text(TEXT.read_text())
    state = start(tiny(tmp_path / "out", data=str(tmp_path / "addition")))
    assert state.corpus.name == "addition"
    for name in CHANGES_THE_CURVE:
        setattr(state.config, name, getattr(CONFIG, name))
    state.config.eval_iters = 20
    assert text_of(state, BEGUN) is None


# Marks


def corpus_of(text: str, share=0.9) -> Corpus:
    tokenizer = CharTokenizer("".join(sorted(set(text))))
    tokens = tokenizer.encode(text).astype(np.uint16)
    at = int(share * len(tokens))
    return Corpus("text", tokens[:at], tokens[at:], tokenizer, tokenizer.vocab_size, len(text), len(text) - at, "f")


def test_marks_are_the_losses_of_what_they_say():
    rng = np.random.default_rng(0)
    first = rng.choice(4, p=[0.5, 0.25, 0.125, 0.125], size=40_000)
    text = "".join("abcd"[token] + "wxyz"[token] for token in first)  # the second of a pair is known from the first
    marks = marks_of(corpus_of(text), 8, 32, 64, 40, 0)
    entropy = 1.75 * math.log(2)
    assert marks.uniform == math.log(8) and marks.sure
    assert marks.unigrams == pytest.approx(entropy + math.log(2), abs=0.02)
    assert marks.bigrams == pytest.approx(entropy / 2, abs=0.02)


def test_a_table_of_pairs_and_sorted_pairs_give_the_same_marks(monkeypatch):
    corpus = corpus_of(TEXT.read_text())
    marks = marks_of(corpus, corpus.vocab_size, 4, 8, 5, 1)
    monkeypatch.setattr("tinygpt.run.marks.TABLE", 0)
    assert marks_of(corpus, corpus.vocab_size, 4, 8, 5, 1) == marks


def test_marks_are_measured_on_the_targets_of_the_runs_own_evaluation(tmp_path):
    state = start(tiny(tmp_path))
    config, corpus = state.config, state.corpus
    drawn, cut = [], corpus.cut
    corpus.cut = lambda tokens, starts, length: drawn.append(starts.tolist()) or cut(tokens, starts, length)
    marks_of(corpus, corpus.vocab_size, config.batch_size, config.block_size, config.eval_iters, config.seed)
    measured, drawn[:] = list(drawn), []
    next(iter(train(state)))
    del drawn[: 1 + config.eval_iters]  # the first step's, and those of `train`
    assert measured and drawn[: len(measured)] == measured


def test_the_marks_of_a_large_vocabulary_are_of_pieces(monkeypatch):
    monkeypatch.setattr("tinygpt.run.marks.COUNTED", {True: 1 << 14, False: 1 << 14})
    tokens = np.random.default_rng(0).integers(3000, size=60_000).astype(np.uint16)
    marks = marks_of(Corpus("many", tokens, tokens[:5000], None, 3000), 3000, 8, 64, 4, 0)
    assert marks.uniform == math.log(3000) and not marks.sure
    assert 7 < marks.unigrams < 9 and 3 < marks.bigrams < 10


def test_a_token_that_was_never_seen_has_a_mark_too():
    tokens = np.zeros(200, np.uint16)
    marks = marks_of(Corpus("zeros", tokens, tokens + np.uint16(1), None, 2), 2, 2, 8, 2, 0)
    assert all(map(math.isfinite, marks.losses)) and marks.unigrams > 5


def test_addition_is_marked_on_the_targets_that_count():
    assert marks_of(AdditionCorpus(), 13, 12, 64, 5, 0).unigrams < math.log(11)  # ten digits and the newline alone


def test_marks_are_kept_for_the_plot_and_what_is_none_is_no_mark(tmp_path):
    assert saved_marks(tmp_path) is None
    MARKS_OF_97.save(tmp_path)
    assert saved_marks(tmp_path) == MARKS_OF_97 and MARKS in RUN_FILES
    for odd in ("", "[]", '{"uniform": "4"}', '{"uniform": 1e400, "unigrams": 1, "bigrams": 1}', '{"uniform": NaN}'):
        (tmp_path / MARKS).write_text(odd)
        assert saved_marks(tmp_path) is None


# In a run


def test_advice_changes_nothing_in_a_run_but_what_is_shown(tmp_path, capsys):
    outputs = {}
    for advice in ("1", "0"):
        assert main(["train", *SMALL, f"--advice={advice}", f"--out_dir={tmp_path / advice}"]) == 0
        outputs[advice] = capsys.readouterr().out.splitlines()
        assert (tmp_path / advice / MARKS).exists() == (advice == "1")
    shown = [line for line in outputs["1"] if line.startswith("    ")]
    assert any("a guess would have" in line for line in shown)
    assert not any(line.startswith("    ") for line in outputs["0"])
    ours, theirs = (resume(tmp_path / advice) for advice in outputs)
    assert (ours.model.params.flat == theirs.model.params.flat).all() and ours.best_val_loss == theirs.best_val_loss


def test_a_resumed_run_is_not_told_again_what_it_was_told(tmp_path, capsys):
    flags = [*SMALL, "--eval_interval=10", f"--out_dir={tmp_path}"]
    assert main(["train", *flags, "--max_iters=30"]) == 0
    assert "a guess would have" in capsys.readouterr().out
    assert main(["train", *flags, "--init_from=resume", "--max_iters=60"]) == 0
    assert "a guess would have" not in capsys.readouterr().out
    watch = Watch(resume(tmp_path), history(tmp_path))
    assert [record.step for record in watch.evaluations] == [0, 10, 20, 30, 40, 50, 60] and len(watch.readings) > 3


def test_a_run_that_overfits_is_not_told_to_train_longer(tmp_path, capsys):
    (tmp_path / "little.txt").write_text((ROOT / "lessons" / "text.txt").read_text(encoding="utf-8")[:1200])
    flags = [
        "train",
        f"--data={tmp_path / 'little.txt'}",
        "--n_layer=2",
        "--n_head=2",
        "--n_embd=64",
        "--block_size=16",
    ]
    flags += ["--batch_size=16", "--max_iters=250", "--eval_interval=50", "--eval_iters=8", "--sample_length=0"]
    flags += [
        "--learning_rate=5e-3",
        "--warmup_iters=10",
        "--device=cpu",
        "--threads=1",
        f"--out_dir={tmp_path / 'out'}",
    ]
    assert main(flags) == 0
    out = capsys.readouterr().out
    evaluations = [record for record in history(tmp_path / "out") if isinstance(record, EvalRecord)]
    best = min(evaluations, key=lambda record: record.val_loss)
    assert f"it overfits. best/ holds step {best.step}; more text, dropout or a smaller model helps; lesson 15" in out
    assert f"best val loss  {best.val_loss:.4f} nats per token (step {best.step}); " in out
    assert "train longer" not in out and "go bigger" not in out
    assert "it overfits    more steps would not help" in out
    again = out.split("try dropout")[1]
    assert "--n_embd=64" in again and "--dropout=0.2 --out_dir=out-dropout" in again and "threads" not in again
    assert main([*flags, "--init_from=resume", "--max_iters=260", "--advice=0"]) == 0  # as true without advice
    out = capsys.readouterr().out
    assert "train longer" not in out and "it overfits    more steps" in out


def test_a_run_that_still_falls_is_told_how_to_go_on(tmp_path, capsys):
    assert main(["train", *SMALL, f"--out_dir={tmp_path / 'a'}"]) == 0
    out = capsys.readouterr().out
    assert f"--init_from=resume --out_dir={tmp_path / 'a'} --max_iters=200\n" in out and "overfits" not in out
    assert main(["train", *SMALL, "--lr_decay_iters=100", f"--out_dir={tmp_path / 'b'}"]) == 0
    assert "--max_iters=200 --lr_decay_iters=200\n" in capsys.readouterr().out  # else it would go on at the lowest rate


@pytest.mark.parametrize("change", ["--dropout=0.1", "--seed=7", "--eval_iters=3", "--weight_decay=0.5"])
def test_what_was_before_other_settings_is_not_held_against_what_comes_after(tmp_path, change):
    assert main(["train", *SMALL, f"--out_dir={tmp_path}"]) == 0
    name, value = change.removeprefix("--").split("=")
    state = resume(tmp_path, {name: type(getattr(CONFIG, name))(value), "max_iters": 110})
    assert state.same_since == 100 and Watch(state, history(tmp_path)).evaluations == []
    assert main(["train", "--init_from=resume", change, "--max_iters=110", f"--out_dir={tmp_path}"]) == 0
    later = resume(tmp_path, {"max_iters": 120})  # nor after that
    assert later.same_since == 100
    watch = Watch(later, history(tmp_path))
    assert [record.step for record in watch.evaluations] == [110]
    assert text_of(later, watch.evaluations) is None


def test_a_run_that_only_goes_on_has_its_whole_history(tmp_path):
    assert main(["train", *SMALL, f"--out_dir={tmp_path}"]) == 0
    state = resume(tmp_path, {"max_iters": 110, "eval_interval": 5, "log_interval": 3, "patience": 4})
    assert state.same_since == -1 and Watch(state, history(tmp_path)).evaluations[0].step == 0


def test_other_stretches_to_be_evaluated_on_are_said(tmp_path):
    assert main(["train", *SMALL, f"--out_dir={tmp_path}"]) == 0
    with pytest.warns(
        Note, match=r"^--seed and --eval_iters changed, .*: val losses do not compare with those before$"
    ):
        resume(tmp_path, {"seed": 7, "eval_iters": 3, "max_iters": 110})

"""What should be predicted and can be seen is told, and nothing is called so that is not."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.test_held_against import corpus_of
from tests.test_train import run, tiny
from tinygpt import UserError
from tinygpt.data import Corpus
from tinygpt.data.corpus import windows_at
from tinygpt.gradcheck.mutants import find
from tinygpt.run.leaks import found_in_train, leak, repeated
from tinygpt.run.state import EvalRecord
from tinygpt.run.watch import Watch
from tinygpt.train import Parts, start, train


@pytest.mark.parametrize("mutant", ["forward_sees_the_next_token", "forward_without_mask", "forward_mask_reversed"])
def test_an_attention_that_sees_ahead_is_told_before_the_first_step(tmp_path, mutant):
    parts = Parts(leaves={"attention": find("attention", mutant).stand_in()})
    state = start(tiny(tmp_path, max_iters=0), parts)
    watch = Watch(state)
    (line,) = [watch(record) for record in train(state)]
    assert line.startswith("positions see later tokens") and "lesson 10" in line
    assert watch(EvalRecord(1, 0.01, 0.01, True, 0.01)) == ""  # no praise for what is no achievement


def test_a_part_that_draws_at_random_is_no_leak(tmp_path):
    rng = np.random.default_rng(0)
    noisy = SimpleNamespace(forward=lambda x, *_: (x + rng.normal(size=x.shape), x), backward=lambda dout, cache: dout)
    state = start(tiny(tmp_path), Parts(leaves={"gelu": noisy}))
    assert leak(state.model, state.corpus) == ""


def test_targets_that_are_not_one_place_on_are_told(tmp_path):
    def unshifted(tokens, starts, block_size):
        idx, _ = windows_at(tokens, starts, block_size)
        return idx, idx

    state = start(tiny(tmp_path), Parts(windows_at=unshifted))
    assert leak(state.model, state.corpus).startswith("a batch's targets are the tokens that it shows")


@pytest.mark.parametrize(
    "changes", [{}, {"n_layer": 1, "block_size": 1}, {"dtype": "float64"}, {"kernels": "reference"}]
)
def test_the_models_own_attention_is_no_leak(tmp_path, changes):
    state = start(tiny(tmp_path, **changes))
    assert leak(state.model, state.corpus) == ""
    run(state)
    assert leak(state.model, state.corpus) == ""


def test_a_validation_text_that_stands_in_the_training_text_is_told():
    rng = np.random.default_rng(0)
    once = "".join(rng.choice(list("abcdefgh"), size=3000))
    found, looked_for = found_in_train(corpus_of(once * 10))
    assert found == looked_for >= 30
    assert repeated(corpus_of(once * 10)).startswith(f"{found} of {looked_for} stretches of 64 tokens")
    assert repeated(corpus_of(once)) == "" and found_in_train(corpus_of(once))[0] == 0


def test_half_a_token_is_no_place_in_a_text():
    """Bytes of two neighbours may read as a token: 0x0102 0x0102 shifted by one byte is 0x0201."""
    train_tokens, val = np.full(1000, 0x0102, np.uint16), np.full(300, 0x0201, np.uint16)
    assert found_in_train(Corpus("bytes", train_tokens, val, None, 600)) == (0, 4)


def test_a_loss_below_what_a_text_can_give_is_explained(tmp_path):
    once = "".join(np.random.default_rng(0).choice(list("abcdefgh \n"), size=1500))
    (tmp_path / "text.txt").write_text(once * 6)
    state = start(tiny(tmp_path, data=str(tmp_path / "text.txt")))
    watch = Watch(state)
    watch(EvalRecord(0, 2.3, 2.3, True, 3.3))
    line = watch(EvalRecord(5, 0.05, 0.06, True, 0.09))
    assert "stand word for word in the training text" in line


def test_best_is_not_said_to_hold_what_it_does_not(tmp_path):
    """As when metrics.jsonl was removed, and with it the evaluation that was best."""
    state = start(tiny(tmp_path))
    losses = {"train": [2.0, 1.9, 1.8, 1.7], "val": [2.2, 2.4, 2.6, 2.8]}
    for best, kept in ((2.2, True), (1.5, False)):
        state.best_val_loss = best
        watch = Watch(state)
        lines = [
            watch(EvalRecord(5 * n, seen, unseen, n == 0))
            for n, (seen, unseen) in enumerate(zip(*losses.values(), strict=True))
        ]
        said = "\n".join(lines)
        assert "it overfits." in said and ("best/ holds step 0;" in said) == kept


def test_a_damaged_text_takes_only_the_marks(tmp_path):
    state = start(tiny(tmp_path))

    def damaged(starts, length):
        raise UserError("damaged")

    state.corpus.checks = {"train": damaged, "val": damaged}
    watch = Watch(state)
    assert watch.marks is None and watch(EvalRecord(0, 3.0, 3.0, True)) == ""


def test_addition_may_reach_zero(tmp_path):
    state = start(tiny(tmp_path, data=None, dataset="addition", block_size=12))
    watch = Watch(state)
    lines = [watch(EvalRecord(step, loss, loss, True, accuracy=1 - loss / 3)) for step, loss in ((0, 2.5), (5, 1e-4))]
    assert all("later tokens" not in line and "word for word" not in line for line in lines)


def test_a_copied_validation_text_is_told_at_the_second_evaluation_whatever_the_loss(tmp_path):
    once = "".join(np.random.default_rng(0).choice(list("abcdefgh \n"), size=1500))
    (tmp_path / "text.txt").write_text(once * 6)
    watch = Watch(start(tiny(tmp_path, data=str(tmp_path / "text.txt"))))
    watch(EvalRecord(0, 2.3, 2.3, True, 3.3))
    assert "stand word for word in the training text" in watch(EvalRecord(5, 2.2, 2.2, True, 3.2))
    assert "word for word" not in watch(EvalRecord(10, 2.2, 2.2, False, 3.2))

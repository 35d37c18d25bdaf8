"""What is said of a run is true, and nothing is said of a healthy one but that it is."""

import dataclasses
import math

import numpy as np
import pytest

from tinygpt.run.advice import Adviser, View, of_this_text, overfitted, replayed, step_up
from tinygpt.run.marks import Marks
from tinygpt.run.state import EvalRecord, StepRecord
from tinygpt.train import TrainConfig

CONFIG = TrainConfig()
MARKS_OF_97 = Marks(math.log(97), 3.2, 2.45)


def curve(train, val=None, every=50, norms=None, batch=None, rate=None):
    """A made-up run: evaluations with these losses, and ten readings before each with a batch's loss and norm."""
    val = train if val is None else val
    records, best = [], math.inf
    for number, (seen, unseen) in enumerate(zip(train, val, strict=True)):
        for reading in range(10 if number else 0):
            step = (number - 1) * every + (reading + 1) * every // 10
            lr = CONFIG.lr(step - 1) if rate is None else rate
            loss = seen if batch is None else batch(step)
            records.append(StepRecord(step, lr, loss, 1.0 if norms is None else norms(step), 1000.0))
        records.append(EvalRecord(number * every, seen, unseen, unseen < best))
        best = min(best, unseen)
    return records


def said(records, marks=None, config=CONFIG, expected=lambda step: None) -> str:
    return "\n".join(line for _, line in replayed(records, config, marks, expected))


def falling(count, start=4.4, end=1.5):
    return list(end + (start - end) * np.exp(-np.arange(count) / 4))


def test_marks_are_told_at_the_start_and_when_they_are_passed():
    lines = replayed(curve([4.4, 3.1, 3.05, 2.3, 2.2]), CONFIG, MARKS_OF_97)
    assert lines == [
        (0, "a guess would have 4.57, single tokens' frequencies 3.20, pairs' 2.45"),
        (50, "below the 3.20 of single tokens' frequencies"),
        (150, "below the 2.45 of the frequencies of pairs: it uses more than the last token"),
    ]
    unsure = dataclasses.replace(MARKS_OF_97, sure=False)
    assert "uses more" not in said(curve([4.4, 2.3]), unsure)


# Overfitting


def test_a_run_that_overfits_is_told_since_when_and_what_best_holds():
    train_losses, val = [4.2, 2.5, 2.2, 1.9, 1.6, 1.3, 1.0], [4.2, 2.587, 2.61, 2.7, 2.83, 2.97, 3.117]
    lines = replayed(curve(train_losses, val, every=100), CONFIG)
    assert lines[0][0] == 400 and lines[0][1].startswith("0.24 above the val loss of step 100, while train loss fell")
    assert "best/ holds step 100" in lines[0][1] and "dropout" in lines[0][1] and "lesson 15" in lines[0][1]
    assert [step for step, _ in lines] == [400, 600]  # said again only when it has doubled
    over = overfitted([record for record in curve(train_losses, val, every=100) if isinstance(record, EvalRecord)])
    assert over.best.step == 100 and over.rise == pytest.approx(0.53)
    dropped = dataclasses.replace(CONFIG, dropout=0.2)
    assert "dropout" not in said(curve(train_losses, val, every=100), config=dropped)


@pytest.mark.parametrize(
    ("train_losses", "val"),
    [
        (falling(12), [loss + 0.1 for loss in falling(12)]),  # a gap that stays is none
        (falling(12), [loss + 0.3 * (n % 2) for n, loss in enumerate(falling(12))]),  # up and down
        ([4.0, 2.0, 2.1, 2.2, 2.3], [4.0, 2.2, 2.3, 2.4, 2.5]),  # both rise: that is something else
        ([4.0, 2.0, 1.9], [4.0, 2.2, 2.5]),  # once is chance
        ([4.0, 2.0, 1.9, 1.8], [4.0, 2.2, 2.21, 2.205]),  # too little to tell
        ([4.0, 0.5, 0.3, 0.22, 0.2, 0.19], [4.0, 0.4, 0.5, 0.2, 0.26, 0.23]),  # it has gone up as far before
    ],
)
def test_what_is_not_overfitting_is_not_called_so(train_losses, val):
    assert "overfits" not in said(curve(train_losses, val))


def test_where_evaluations_are_rare_one_far_above_is_enough():
    best, now = EvalRecord(100, 2.5, 2.587, True), EvalRecord(600, 1.0, 3.117, False)  # nanoGPT#461
    assert overfitted([EvalRecord(0, 4.2, 4.2, True), best, now]) == (best, pytest.approx(0.53))
    assert overfitted([EvalRecord(0, 4.2, 4.2, True), best, dataclasses.replace(now, train_loss=2.4)]) is None


def test_within_a_hundredth_of_a_mark_is_not_below_it():
    alike = Marks(2.77, 2.77, 2.77)
    assert "below" not in said(curve([2.78, 2.765, 2.765]), alike) and "below" in said(curve([2.78, 2.7, 2.7]), alike)


@pytest.mark.parametrize(
    ("records", "expected"),
    [(curve([4.4] * 12, rate=0.0), True), (curve(falling(12), norms=lambda step: 0.0), True),
     (curve([4.4, *[3.21] * 12]), True), (curve(falling(12)), False)],
)  # fmt: skip
def test_more_steps_are_not_advised_where_something_is_to_be_mended(records, expected):
    adviser = Adviser()
    evaluations = [record for record in records if isinstance(record, EvalRecord)]
    for number, record in enumerate(evaluations):
        readings = [one for one in records if isinstance(one, StepRecord) and one.step <= record.step]
        adviser.say(View(CONFIG, evaluations[: number + 1], readings, MARKS_OF_97))
    assert adviser.more_would_not_help == expected


def test_a_step_up_is_the_largest_of_the_last_twelve():
    assert step_up([5, 4, 3, 2]) == 0 and step_up([1]) == 0
    assert step_up([1, 1.2, 1, 1.1, 1]) == pytest.approx(0.2)
    assert step_up([1, 9, *[1, 1.1] * 7]) == pytest.approx(0.1)


# Gradients, spikes, a loss that rises or stays


def test_a_gradient_norm_of_ten_times_what_it_was_is_told():
    lines = said(curve(falling(8), norms=lambda step: 2.0 if step <= 300 else 35.0))
    assert "the gradient norm is 35, and was 2, clipped in every step: usually the learning rate is too high" in lines
    assert "clipped" not in said(
        curve(falling(8), norms=lambda step: 2.0 if step <= 300 else 35.0),
        config=dataclasses.replace(CONFIG, grad_clip=0.0),
    )


@pytest.mark.parametrize(
    "norms", [lambda step: 8 / step + 1, lambda step: 1 + step / 100, lambda step: 1 + 30 * (step == 200)]
)
def test_usual_gradient_norms_are_not_told(norms):
    assert "gradient" not in said(curve(falling(8), norms=norms))


@pytest.mark.parametrize("norm", [0.0, 1e-7])
def test_a_gradient_that_is_gone_is_told(norm):
    assert "nothing is learned" in said(curve([4.4] * 5, norms=lambda step: norm))
    assert "gradient" not in said(
        curve([4.4, 1.0, 0.01, 0.001], norms=lambda step: norm if step > 60 else 1.0)
    )  # solved


def test_a_learning_rate_of_0_is_told_at_once_and_nothing_else_for_it():
    lines = replayed(curve([4.4] * 12, rate=0.0), CONFIG, MARKS_OF_97)
    assert lines[1:] == [(50, "the learning rate is 0: nothing changes")]


def test_a_train_loss_that_rises_is_told_and_one_that_wavers_is_not():
    assert "train loss has risen by 0.60 since step 100" in said(curve([4.4, 2.5, 2.0, 2.6]))
    assert "risen" not in said(curve([4.4, 2.5, 2.0, 2.1, 1.9, 2.02, 1.8]))
    assert "risen" not in said(curve([2.0, 0.02, 0.001, 0.03]))  # near zero losses jump by factors


def test_a_spike_is_told_with_its_step():
    lines = said(curve(falling(9, end=2.0), batch=lambda step: 6.2 if step == 375 else 2.2))
    assert "a batch's loss was 6.20 at step 375, before 2.20 and came back; lesson 14" in lines
    assert "batch" not in said(curve(falling(9, end=2.0), batch=lambda step: 2.2 + 0.4 * math.sin(step)))


def test_a_run_that_stays_at_a_mark_is_told_which():
    single = said(curve([4.4, 3.4, *[3.22, 3.21, 3.22, 3.21] * 3]), MARKS_OF_97)
    assert "val loss stays at the 3.20 of single tokens' frequencies: what came before is not used" in single
    assert "val loss stays at that of a guess" in said(curve([4.6] * 12), MARKS_OF_97)
    during_warm_up = dataclasses.replace(CONFIG, warmup_iters=2000)
    assert "stays" not in said(curve([4.6] * 12), MARKS_OF_97, during_warm_up)
    assert "stays" not in said(curve(falling(12)), MARKS_OF_97)


def test_a_plateau_is_told_with_what_may_end_it():
    flat = [4.4, 2.5, *[2.0] * 20]
    assert "neither loss has moved since step" in said(curve(flat, every=25))
    assert "a lower learning rate" in said(curve(flat, every=25))  # the rate is still near its highest
    without_order = Marks(2.005, 2.005, 2.01)
    assert said(curve(flat, every=25), without_order).endswith("as in a text without order")
    late = dataclasses.replace(CONFIG, lr_decay_iters=150)
    assert "the learning rate is down to 3.0e-04" in said(curve(flat, every=25), config=late)


@pytest.mark.parametrize(
    ("train_losses", "val"),
    [
        ([4.4 * (n + 1) ** -0.3 for n in range(40)], None),  # slow, but it falls
        ([4.0 - 0.05 * n for n in range(40)], [3.0] * 40),  # only one of them
        ([4.0, *[0.01] * 20], None),  # nothing left
        ([4.0, *[0.2 + 0.01 * math.sin(n) for n in range(40)]], None),  # too restless to tell
    ],
)
def test_what_still_moves_or_has_arrived_is_no_plateau(train_losses, val):
    assert "moved" not in said(curve(train_losses, val))


def test_a_first_loss_far_above_a_guess_is_told():
    assert "far above the 4.57 of a guess" in said(curve([9.0, 3.0]), MARKS_OF_97)
    assert "far above" not in said(curve([4.9, 3.0]), MARKS_OF_97)


def test_a_loaded_model_may_begin_anywhere():
    view = View(CONFIG, curve([9.0]), marks=MARKS_OF_97, fresh=False)
    assert "far above" not in Adviser().say(view)


def test_another_text_begins_a_new_history():
    first, second = curve([4.4, 1.5, 1.6]), [EvalRecord(100, 3.0, 3.0, True), EvalRecord(150, 2.0, 2.0, True)]
    assert of_this_text([*first, *second]) == second and of_this_text(first) == first

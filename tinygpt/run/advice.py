"""Is this normal? What there is to say of a run's losses, from its records alone.

Each rule is a function of what is known at an evaluation, and returns a remark or None. `RULES` is in the order of
importance; `Adviser` says at most one thing at an evaluation, and each thing once, as long as it gets no worse.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from tinygpt.run.config import TrainConfig
from tinygpt.run.marks import Marks
from tinygpt.run.reference import Expected
from tinygpt.run.state import EvalRecord, Record, StepRecord

SOLVED = 0.05  # nats: below it, nothing is left to improve, and losses jump by factors
KEPT = 400  # readings of the loss that are looked back at
ONCE = 3  # times the margin: what is less is told when it is so twice in a row, since a loss may jump
SAME, BELOW = 0.03, 0.01  # nats: less is no difference from a mark, less is not below one
FIRST_OF_ALL = "leak", "no rate", "no gradient", "gradients", "rises", "guess", "single tokens", "plateau"
NUMBERS = {5: "five", 10: "ten"}


class Remark(NamedTuple):
    """Something to say. key: what it is about; size: how bad it is; it is said again when that has doubled."""

    key: str
    text: str
    size: float = 1.0


@dataclass(frozen=True)
class View:
    """What is known at an evaluation.

    evaluations: all of the run so far on its text, the last is now; readings: the steps at which the loss was read,
    at most 400 of them; expected: the reference runs at this step, where they hold; leak, repeated: clauses, "" where
    nothing is known, or None where that was not asked for.
    """

    config: TrainConfig
    evaluations: Sequence[EvalRecord]
    readings: Sequence[StepRecord] = ()
    marks: Marks | None = None
    expected: Expected | None = None
    fresh: bool = True  # whether the run began with weights drawn at random
    best_is_kept: bool = True  # whether best/ has the weights of the best of these evaluations
    leak: str = ""
    repeated: str | None = None

    @property
    def now(self) -> EvalRecord:
        return self.evaluations[-1]

    @property
    def since(self) -> list[StepRecord]:
        """The readings since the evaluation before, three at least where there are so many."""
        before = self.evaluations[-2].step if len(self.evaluations) > 1 else -1
        return list(self.readings)[-max(3, sum(reading.step > before for reading in self.readings)) :]

    @property
    def earlier(self) -> list[StepRecord]:
        return list(self.readings)[: len(self.readings) - len(self.since)]

    @property
    def warm(self) -> bool:
        """Whether the warm-up is well over."""
        return self.now.step > 2 * (self.config.warmup_iters if self.config.decay_lr else 0)

    @property
    def solved(self) -> bool:
        return self.now.val_loss < SOLVED or (self.now.accuracy or 0) >= 0.99

    @property
    def as_expected(self) -> bool:
        if self.expected is None:
            return False
        near = abs(self.now.val_loss - self.expected.mean) <= self.expected.margin
        return near or self.expected.lowest <= self.now.val_loss <= self.expected.highest


# What is certain


def a_leak(view: View) -> Remark | None:
    return Remark("leak", view.leak) if view.leak else None


def text_by_heart(view: View) -> Remark | None:
    return Remark("repeated", view.repeated) if view.repeated else None


# Too high, too low


def wrong_start(view: View) -> Remark | None:
    """The first loss of weights drawn at random is about that of a guess."""
    if not view.marks or not view.fresh or view.now.step or view.now.val_loss < view.marks.uniform + 1:
        return None
    return Remark(
        "start",
        f"far above the {view.marks.uniform:.2f} of a guess: the logits are too large at the start, usually because "
        f"weights are drawn too large; lesson 12",
    )


def no_rate(view: View) -> Remark | None:
    if len(view.evaluations) < 2 or not view.since or any(reading.lr for reading in view.since):
        return None
    return Remark("no rate", "the learning rate is 0: nothing changes")


def no_gradient(view: View) -> Remark | None:
    norms = [reading.grad_norm for reading in view.since if reading.grad_norm is not None]
    if len(norms) < 3 or max(norms) > 1e-6 or view.solved:
        return None
    return Remark("no gradient", f"the gradient norm is {max(norms):.0e}: nothing is learned; lesson 4 finds out why")


def large_gradients(view: View) -> Remark | None:
    """Ten times what they were, and far above where they are clipped."""
    before = [reading.grad_norm for reading in view.earlier if reading.grad_norm is not None]
    norms = [reading.grad_norm for reading in view.since if reading.grad_norm is not None]
    if len(before) < 10 or len(norms) < 3 or view.as_expected:
        return None
    was, limit = float(np.median(before)), view.config.grad_clip
    now = float(np.median(norms))
    if now < 10 * was or now < max(1, 5 * limit):
        return None
    clipped = ", clipped in every step" if limit and min(norms) > limit else ""
    text = (
        f"the gradient norm is {_number(now)}, and was {_number(was)}{clipped}: usually the learning rate is too high"
    )
    return Remark("gradients", f"{text}; lesson 14", now / was)


def overfitting(view: View) -> Remark | None:
    over = overfitted(view.evaluations)
    if over is None:
        return None
    kept = f" best/ holds step {over.best.step:,};" if view.best_is_kept else ""
    helps = f"more text{' or' if view.config.dropout else ', dropout or'} a smaller model helps"
    text = f"{over.rise:.2f} above the val loss of step {over.best.step:,}, while train loss fell: it overfits."
    return Remark("overfits", f"{text}{kept} {helps}; lesson 15", over.rise)


def rising(view: View) -> Remark | None:
    before = view.evaluations[:-1]
    if not before or view.as_expected:
        return None
    best = min(before, key=lambda record: record.train_loss)
    rise = view.now.train_loss - best.train_loss
    if rise < max(0.25, 0.05 * best.train_loss, 2 * step_up([record.train_loss for record in before])):
        return None
    text = f"train loss has risen by {rise:.2f} since step {best.step:,}: usually the learning rate is too high"
    return Remark("rises", f"{text}; lesson 14", rise)


def not_as_expected(view: View) -> Remark | None:
    """Above or below the reference runs by more than the margin."""
    expected, val_loss = view.expected, view.now.val_loss
    if expected is None or view.as_expected:
        return None
    runs = f"{NUMBERS.get(expected.runs, expected.runs)} runs ({_range(expected)})"
    if val_loss < expected.mean:
        nothing = " and neither later tokens nor val's text in train is why" if view.repeated == "" else ""
        text = f"{expected.lowest - val_loss:.2f} below {runs}{nothing}: see docs/normal.md"
        return Remark("below", text, (expected.mean - val_loss) / expected.margin)
    why = "usually a layer is not what it should be: tinygpt gradcheck"
    if view.config.mine:
        why = "usually a part of yours: tinygpt gradcheck, or lesson 15 by its curve"
    return Remark(
        "above",
        f"{val_loss - expected.highest:.2f} above {runs}: {why}",
        (val_loss - expected.mean) / expected.margin,
    )


def stuck(view: View) -> Remark | None:
    """Nothing is learned beyond a mark: the guess, or single tokens."""
    recent = view.evaluations[-4:]
    if not view.marks or len(recent) < 4 or not recent[0].step or not view.warm or view.as_expected or no_rate(view):
        return None
    uniform, unigrams, _ = view.marks.losses
    losses = [record.val_loss for record in recent]
    if max(losses) - min(losses) > 0.05 or losses[0] - losses[-1] > 0.03:
        return None
    apart = uniform - unigrams
    if apart > 0.3 and abs(losses[-1] - uniform) < 0.25 * apart:
        return Remark("guess", "val loss stays at that of a guess: nothing is learned; lesson 15 shows why that may be")
    if apart > 0.1 and abs(losses[-1] - unigrams) < min(0.1, 0.25 * apart):
        text = f"val loss stays at the {unigrams:.2f} of single tokens' frequencies: what came before is not used"
        return Remark("single tokens", f"{text}; a learning rate far too high, or a gradient that is lost; lesson 15")
    return None


def spike(view: View) -> Remark | None:
    """A batch's loss far above those before it."""
    before = [reading.loss for reading in view.earlier[-30:] if reading.loss is not None]
    losses = [(reading.loss, reading.step) for reading in view.since if reading.loss is not None]
    if len(before) < 20 or not losses or view.as_expected:
        return None
    usual = float(np.median(before))
    spread = float(np.median(np.abs(np.array(before) - usual)))
    loss, step = max(losses)
    if loss < usual + max(1.0, 8 * spread):
        return None
    back = " and came back" if losses[-1][0] < usual + max(0.5, 4 * spread) else ""
    return Remark(
        f"spike {step}", f"a batch's loss was {loss:.2f} at step {step:,}, before {usual:.2f}{back}; lesson 14"
    )


def plateau(view: View) -> Remark | None:
    """Neither loss has moved for a fifth of the run so far, and five evaluations at least."""
    if not view.warm or view.solved or view.as_expected or no_rate(view):
        return None
    recent = [record for record in view.evaluations if record.step >= 0.8 * view.now.step]
    recent = recent if len(recent) >= 5 else list(view.evaluations[-5:])
    if len(recent) < 5 or not recent[0].step:
        return None
    for losses in ([record.train_loss for record in recent], [record.val_loss for record in recent]):
        if max(losses) - min(losses) > 0.01 * max(losses):
            return None
    config, text = view.config, f"neither loss has moved since step {recent[0].step:,}"
    if view.marks and max(abs(view.now.val_loss - mark) for mark in view.marks.losses) < SAME:
        return Remark("plateau", f"{text}: a guess, single tokens and pairs are no worse, as in a text without order")
    rate = config.lr(max(0, view.now.step - 1))
    if rate > 0.5 * config.learning_rate:
        return Remark("plateau", f"{text}: a lower learning rate, {rate / 3:.0e}, may go further; lesson 14")
    return Remark("plateau", f"{text}: the learning rate is down to {rate:.1e}, and a larger model may go further")


# What is as it should be


def below_marks(view: View) -> Remark | None:
    if not view.marks or not view.now.step or len(view.evaluations) < 2:
        return None
    _, unigrams, bigrams = view.marks.losses
    if view.now.val_loss < bigrams - BELOW and bigrams < unigrams:
        more = ": it uses more than the last token" if view.marks.sure else ""
        return Remark("below bigrams", f"below the {bigrams:.2f} of the frequencies of pairs{more}")
    if view.now.val_loss < unigrams - BELOW:
        return Remark("below unigrams", f"below the {unigrams:.2f} of single tokens' frequencies")
    return None


def as_expected(view: View) -> Remark | None:
    if view.expected is None or not view.as_expected:
        return None
    runs = NUMBERS.get(view.expected.runs, view.expected.runs)
    return Remark("as expected", f"as {runs} runs did ({_range(view.expected)})")


def first_marks(view: View) -> Remark | None:
    if not view.marks or len(view.evaluations) > 1:
        return None
    uniform, unigrams, bigrams = view.marks.losses
    return Remark(
        "marks", f"a guess would have {uniform:.2f}, single tokens' frequencies {unigrams:.2f}, pairs' {bigrams:.2f}"
    )


TROUBLE: tuple[Callable[[View], Remark | None], ...] = (
    a_leak, wrong_start, no_rate, no_gradient, large_gradients, text_by_heart, overfitting, rising, not_as_expected,
    stuck, spike, plateau,
)  # fmt: skip
COMFORT: tuple[Callable[[View], Remark | None], ...] = below_marks, as_expected, first_marks


@dataclass
class Adviser:
    """Says what is new in view after view."""

    said: dict[str, float] = field(default_factory=dict)  # by key, the size at which it was said
    troubles: tuple[str, ...] = ()  # what they are about at the last evaluation, whether said now or before
    was_off: str = ""  # "above" or "below" the reference runs at the evaluation before

    @property
    def more_would_not_help(self) -> bool:
        """Whether something is to be mended before more steps, or a larger model, make sense."""
        return any(key in FIRST_OF_ALL for key in self.troubles)

    def say(self, view: View) -> str:
        """What there is to say now, in one line; "" if nothing that was not said before."""
        if "leak" in self.said:  # then no loss means anything
            return ""
        troubles = [remark for rule in TROUBLE if (remark := rule(view))]
        off = next((remark for remark in troubles if remark.key in ("above", "below")), None)
        if off and off.key != self.was_off and off.size < ONCE:
            troubles.remove(off)
        self.was_off = off.key if off else ""
        self.troubles = tuple(remark.key for remark in troubles)
        for remark in troubles:
            again = remark.size >= 2 * self.said.get(remark.key, 0)
            if again or remark.key in ("above", "below") and _last(view):
                self.said[remark.key] = remark.size
                self.said.pop("as expected", None)  # if it comes back, that is to be said again
                return remark.text
        if troubles:
            return ""
        if view.expected and _last(view):
            self.said.pop("as expected", None)
        for key in ("above", "below") if view.as_expected else ():
            self.said.pop(key, None)
        new = [remark for rule in COMFORT if (remark := rule(view)) and remark.key not in self.said]
        self.said |= {remark.key: 1.0 for remark in new}
        if "below bigrams" in self.said:
            self.said["below unigrams"] = 1.0
        return "; ".join(remark.text for remark in new)


def _last(view: View) -> bool:
    return view.now.step >= view.config.max_iters


def replayed(
    records: Sequence[Record], config: TrainConfig, marks: Marks | None = None,
    expected: Callable[[int], Expected | None] = lambda step: None,
) -> list[tuple[int, str]]:  # fmt: skip
    """What would have been said of a run, from its records: the steps and the lines. expected: what the reference runs
    have at a step.
    """
    adviser, evaluations, readings, lines = Adviser(), [], [], []
    for record in records:
        if isinstance(record, StepRecord):
            readings += [record] if record.loss is not None else []
            continue
        evaluations.append(record)
        view = View(config, tuple(evaluations), tuple(readings[-KEPT:]), marks, expected(record.step))
        lines.append((record.step, adviser.say(view)))
    return [(step, line) for step, line in lines if line]


class Overfitted(NamedTuple):
    best: EvalRecord
    rise: float  # of val loss since then, in nats


def overfitted(evaluations: Sequence[EvalRecord]) -> Overfitted | None:
    """Whether the last two evaluations were above the best one, by more than val loss ever went up before that one,
    while train loss fell, or the last one by far, as where evaluations are rare; None otherwise.
    """
    if not evaluations:
        return None
    best, now = min(evaluations, key=lambda record: record.val_loss), evaluations[-1]
    before = [record.val_loss for record in evaluations if record.step <= best.step]
    least = max(0.02, 0.01 * best.val_loss, 1.5 * step_up(before))
    above = [
        record for record in evaluations[-2:] if record.step > best.step and record.val_loss > best.val_loss + least
    ]
    rise, learned = now.val_loss - best.val_loss, best.train_loss - now.train_loss
    by_far = rise > max(0.3, 3 * least) and learned > 0.2
    return Overfitted(best, rise) if by_far or len(above) == 2 and learned > 0.01 else None


def step_up(losses: Sequence[float]) -> float:
    """The largest rise from one evaluation to the next among the last twelve; 0 for losses that only fell. Evaluations
    take the same batches each time, so nothing but the weights makes them differ.
    """
    return float(np.diff(losses[-13:]).max(initial=0.0))


def of_this_text(history: Sequence[Record]) -> list[Record]:
    """The records of a run since it has had its text: one that went on with another has a best evaluation again that
    is worse than an earlier one.
    """
    begins, best = 0, math.inf
    for place, record in enumerate(history):
        if isinstance(record, EvalRecord):
            if record.best and record.val_loss > best:
                begins, best = place, math.inf
            best = min(best, record.val_loss)
    return list(history[begins:])


def _range(expected: Expected) -> str:
    return f"{expected.lowest:.2f} to {expected.highest:.2f}"


def _number(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"

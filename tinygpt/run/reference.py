"""What the `cpu` preset's losses are on the corpora that have a name: runs of several seeds, to hold a run against.

`benchmarks/reference_curves.py` makes them, into `reference.json`. They hold for a run that computes what the preset
does: `text_of` says whether it does.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygpt.data import STDLIB_CHARACTERS
from tinygpt.run.config import CHANGES_THE_CURVE, TrainConfig
from tinygpt.run.state import OURS, Record, StepRecord, TrainState

REFERENCE = Path(__file__).with_name("reference.json")
FIRST = 50  # the first step that is compared: before it the loss falls faster than two steps tell
SETTLED = 500  # from here on, what differs between runs differs for long
LEAST = 0.06  # nats, of a margin
DEVIATIONS = 5
NEARBY = 2  # times as many steps, or half as many: deviations there are taken together, since five runs are few


class Expected(NamedTuple):
    """The val losses of the reference runs at a step, on the batches of the run that is held against them."""

    mean: float  # nats per token
    lowest: float
    highest: float
    margin: float  # around the mean, of what a run may show
    runs: int


@dataclass(frozen=True)
class Curves:
    """The val losses of runs with several seeds on one text, or on versions of it.

    steps: (S,), ascending; losses: (R, S), of each run. relative: whether they are what val loss is above the bigrams'
    loss on the same targets: which stretches of a text a seed evaluates on moves both alike.
    """

    steps: np.ndarray
    losses: np.ndarray
    relative: bool = True

    def at(self, step: int, bigrams: float) -> Expected | None:
        """What the runs had at `step`, where the bigrams' loss is `bigrams`; linear in the logarithm of the steps
        between two of theirs. None before step 50 and after their last.
        """
        if not FIRST <= step <= self.steps[-1]:
            return None
        place = np.log(np.maximum(1, self.steps))
        runs = np.array([np.interp(math.log(step), place, run) for run in self.losses]) + bigrams * self.relative
        return Expected(float(runs.mean()), float(runs.min()), float(runs.max()), self.margin(step), len(runs))

    def margin(self, step: int) -> float:
        """Five standard deviations between the runs, those from half of `step` to twice as many taken together, and at
        least 0.06 nats.
        """
        near = (self.steps * NEARBY >= step) & (self.steps <= step * NEARBY) & (self.steps >= FIRST)
        several = len(self.losses) > 1 and near.any()
        variance = self.losses[:, near].var(axis=0, ddof=1).mean() if several else 0.0
        return max(LEAST, DEVIATIONS * math.sqrt(variance))


@cache
def saved() -> dict[str, dict[str, Any]]:
    """What `reference.json` holds: by text, such as "stdlib-3.11", its fingerprint, seeds, steps, losses and marks."""
    return json.loads(REFERENCE.read_text(encoding="utf-8"))


def curves(dataset: str, fingerprint: str = "", content: dict[str, dict[str, Any]] | None = None) -> Curves | None:
    """The reference runs on a dataset: those on the very text with this fingerprint where there are such, else those on
    all its versions together. None for a dataset that has none.
    """
    content = saved() if content is None else content
    texts = [text for name, text in content.items() if name.split("-")[0] == dataset]
    texts = [text for text in texts if text["text"] == fingerprint] or texts
    if not texts:
        return None
    steps = np.array(texts[0]["steps"])
    losses = np.concatenate([text["val"] for text in texts])
    marks = np.concatenate([text["marks"] for text in texts])
    relative = losses - marks[:, 2:]
    settled = steps >= SETTLED
    if spread(relative[:, settled]) < spread(losses[:, settled]):
        return Curves(steps, relative)
    return Curves(steps, losses, relative=False)  # as of sums, of which one is no harder than another


def spread(losses: np.ndarray) -> float:
    """The standard deviation between runs, (R, S), on average over the steps."""
    return float(losses.std(axis=0, ddof=1).mean())


def text_of(state: TrainState, history: Sequence[Record]) -> str | None:
    """The dataset whose reference runs a run can be held against: it learns from that text, with the model, the
    optimiser and the dtype of the `cpu` preset, from its own beginning, and at the learning rates that the preset would
    have had so far. Seed, threads, device, intervals and parts of the reader's own make no difference. None else.

    history: the run's records so far, the first evaluation included.
    """
    config, corpus, preset = state.config, state.corpus, TrainConfig()
    if any(getattr(config, name) != getattr(preset, name) for name in CHANGES_THE_CURVE):
        return None
    exact = {np.dtype(np.float32), np.dtype(np.float64)}
    if not {np.dtype(state.model.dtype)} <= exact or state.tf32 or config.eval_iters < preset.eval_iters:
        return None
    if config.init_from not in ("scratch", "resume") or not _same_text(state) or not history or history[0].step:
        return None
    own = state.parts.cosine_schedule is not OURS.cosine_schedule  # which may be what is wrong
    rates = [(record.step - 1, record.lr) for record in history if isinstance(record, StepRecord)]
    if own:
        rates = [(step, config.lr(step)) for step, _ in rates]
    if any(abs(rate - preset.lr(step)) > 0.02 * preset.lr(step) for step, rate in rates):
        return None
    return corpus.name


def _same_text(state: TrainState) -> bool:
    """Whether a run learns from a text that has reference runs. Of the standard library there are many versions."""
    config, corpus = state.config, state.corpus
    if config.data is not None or corpus.name != config.dataset:
        return False
    if corpus.name == "stdlib":
        return corpus.tokenizer is not None and corpus.tokenizer.state.get("characters") == STDLIB_CHARACTERS
    return corpus.name in saved() and saved()[corpus.name]["text"] == corpus.fingerprint

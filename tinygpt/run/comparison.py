"""Runs side by side: what differs in their settings, and their losses at equal steps or equal tokens."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

from tinygpt.errors import UserError, brief
from tinygpt.run.config import EVALUATED_ON, TrainConfig
from tinygpt.run.folder import load_meta
from tinygpt.run.marks import Marks, saved_marks
from tinygpt.run.metrics import history
from tinygpt.run.saved import saved_config
from tinygpt.run.state import EvalRecord, StepRecord

SAYS_NOTHING = (
    "out_dir",
    "init_from",
    "eval_only",
    "sample_length",
    "advice",
    "save_minutes",
    "always_save_checkpoint",
)
UNKNOWN = "?"
LONGEST_LABEL = 18  # characters, since each run has two columns


@dataclass(frozen=True)
class Run:
    """A run as its folder tells of it. config, text: None where the folder has no state, only metrics; block_size: the
    model's.
    """

    folder: Path
    label: str
    evaluations: list[EvalRecord]
    readings: list[StepRecord]
    config: TrainConfig | None
    text: str | None  # a hash of it
    block_size: int | None
    marks: Marks | None = None

    @property
    def tokens_per_step(self) -> int | None:
        if self.config is None or self.block_size is None:
            return None
        return self.config.batch_size * self.config.gradient_accumulation_steps * self.block_size

    @property
    def best(self) -> EvalRecord:
        return min(self.evaluations, key=lambda record: record.val_loss)

    @property
    def tokens_per_second(self) -> float | None:
        speeds = [reading.tokens_per_second for reading in self.readings if reading.tokens_per_second]
        return median(speeds) if speeds else None


def read(folder: Path, label: str) -> Run:
    """The run in a folder. Raises UserError where there is none that was evaluated."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; expected the --out_dir of a run")
    if not (folder / "metrics.jsonl").is_file():
        near = f"; do you mean {folder.parent}?" if (folder.parent / "metrics.jsonl").is_file() else ""
        raise UserError(f"{folder} has no metrics.jsonl; expected the --out_dir of a run, which writes one{near}")
    by_step: dict[int, EvalRecord] = {}
    readings = []
    for record in history(folder):
        if isinstance(record, EvalRecord):
            by_step[record.step] = record  # on another text it is evaluated again: the last counts
        else:
            readings.append(record)
    if not by_step:
        raise UserError(f"the run in {folder} has not been evaluated yet, so there are no losses to compare")
    config, text, block_size = None, None, None
    if (folder / "last" / "current").exists():
        meta, state = load_meta(folder)
        config, text = saved_config(meta, state / "state.json"), meta["text"]
        block_size = config.block_size
    evaluations = [by_step[step] for step in sorted(by_step)]
    return Run(folder, label, evaluations, readings, config, text, block_size, saved_marks(folder))


def labels(folders: Sequence[Path]) -> list[str]:
    """A short name for each: its last part, or the whole path where two end alike; of long ones the end, or a number
    where that does not tell them apart.
    """
    names = [folder.name or str(folder) for folder in folders]
    names = names if len(set(names)) == len(names) else [str(folder) for folder in folders]
    names = [name if len(name) <= LONGEST_LABEL else "..." + name[3 - LONGEST_LABEL :] for name in names]
    return names if len(set(names)) == len(names) else [f"run {number}" for number, _ in enumerate(folders, 1)]


def differences(runs: Sequence[Run]) -> dict[str, list[str]]:
    """The settings in which the runs differ, and each one's."""
    rows = {}
    for field in fields(TrainConfig):
        values = [UNKNOWN if run.config is None else _value(run.config, field.name) for run in runs]
        if field.name not in SAYS_NOTHING and len(set(values) - {UNKNOWN}) > 1:
            rows[field.name] = values
    return rows


def _value(config: TrainConfig, name: str) -> str:
    value: Any = getattr(config, name)
    return brief(value)[1:-1] if isinstance(value, str) else str(value)


def not_comparable(runs: Sequence[Run]) -> str:
    """Why the runs' losses per token do not compare, in a clause; "" where they do, or it is not known."""
    known = [run for run in runs if run.config is not None]
    tokenizers = len({(run.config.tokenizer, run.config.vocab_size) for run in known if run.config}) > 1
    parts = ["have different tokenizers"] * tokenizers + ["learned from different texts"] * of_different_texts(runs)
    return f"the runs {' and '.join(parts)}" if parts else ""


def of_different_texts(runs: Sequence[Run]) -> bool:
    return len({run.text for run in runs if run.config is not None}) > 1


def other_stretches(runs: Sequence[Run]) -> list[str]:
    """The settings by which the runs were evaluated on other stretches of their text."""
    known = [one.config for one in runs if one.config]
    return [name for name in EVALUATED_ON if len({getattr(config, name) for config in known}) > 1]


def have_bits(runs: Sequence[Run]) -> bool:
    return all(record.bits_per_character is not None for run in runs for record in run.evaluations)


def at_tokens(run: Run, tokens: float, loss: Any) -> float | None:
    """`loss` of a run's evaluations when it had seen so many tokens, linear between two of them; None beyond them."""
    assert run.tokens_per_step
    points = [(record.step * run.tokens_per_step, loss(record)) for record in run.evaluations]
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        if x0 <= tokens <= x1:
            return y0 + (y1 - y0) * (tokens - x0) / (x1 - x0) if x1 > x0 else y1
    return points[0][1] if tokens == points[0][0] else None


def thinned(steps: Sequence[int], most: int = 16) -> list[int]:
    """At most about `most` of the steps, evenly picked, the first and the last among them."""
    every = max(1, math.ceil((len(steps) - 1) / (most - 1)))
    picked = list(steps[::every])
    return picked if not steps or picked[-1] == steps[-1] else [*picked, steps[-1]]

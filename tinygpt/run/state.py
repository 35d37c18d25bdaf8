"""A run as it stands, and the records of what happens in it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygpt.backend import has_tf32
from tinygpt.data import Corpus, windows_at
from tinygpt.errors import TextError
from tinygpt.models.gpt2 import GPT
from tinygpt.optim import Optimizer, cosine_schedule, global_norm
from tinygpt.run.config import TrainConfig
from tinygpt.run.group import ALONE, Group
from tinygpt.run.lock import OwnedFolder
from tinygpt.tokenizer import merge


@dataclass(frozen=True)
class Parts:
    """What a run computes with where that is not the engine's own.

    leaves: put into the table of leaves, by name; model: the parts of a model, as GPT takes them; optimizers: by name,
    what one is made with; merge: the step of training byte pairs; windows_at: what cuts batches out of a text;
    global_norm: the length of the gradients; cosine_schedule: the learning rate of a step; ring_step: of the ring in
    which several ranks add up their gradients, None where MPI or NCCL does it.
    """

    leaves: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    optimizers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    merge: Callable = merge
    windows_at: Callable = windows_at
    global_norm: Callable = global_norm
    cosine_schedule: Callable = cosine_schedule
    ring_step: Callable | None = None


OURS = Parts()
STOP = 1 << 10  # a request without a signal, whose numbers are below


@dataclass
class TrainState:
    """A run: what it is made of, where it stands, and the request to stop."""

    config: TrainConfig
    corpus: Corpus
    model: GPT
    optimizer: Optimizer
    threads: int  # workers' cores; the same number gives the same bits
    parts: Parts = OURS  # what in it is not the engine's own
    group: Group = ALONE  # the processes that share the run
    shard: slice | None = None  # of the flat buffer, whose optimiser's state this rank keeps; None for all of it
    step: int = 0
    best_val_loss: float = math.inf
    best_step: int = -1  # where that was; -1 where it is not known
    without_better: int = 0  # evaluations since then
    same_since: int = -1  # the step at which a resumed run was last given other settings that change its losses
    evaluated_step: int = -1  # the last step that was evaluated
    saved_step: int = -1  # the last step that was saved
    saved_as: str = ""  # what `last/current` said of it then
    stop: bool = False  # a request, read between micro-batches; a step begun is then dropped
    ending: bool = False  # whether the ranks have agreed to stop
    problem: TextError | None = None  # why this rank asks them to
    stopped_by: int = 0  # the signal that asked for it, if one did
    evaluation: "EvalRecord | None" = None  # the last one
    folder: OwnedFolder | None = None  # out_dir, while it trains
    before_save: Callable[[], object] = lambda: None  # called when a save begins
    product_rate: float | None = None  # the card's largest rate of matrix products, in FLOP/s; None on a CPU

    def hear(self, overdue: bool = False) -> bool:
        """Let all ranks know of a request to stop, and whether a save is overdue; returns that. All come here as often,
        so whatever follows from it is the same on all.
        """
        code, due = self.group.agree(self.stopped_by or STOP * self.stop, int(overdue))
        if code:
            self.stop = self.ending = True
            self.stopped_by = self.stopped_by or code % STOP
        return bool(due)

    @property
    def tf32(self) -> bool:
        """Whether matrix products are in TF32."""
        return self.config.tf32 and self.model.dtype == np.float32 and has_tf32(self.model.device)

    @property
    def out_of_patience(self) -> bool:
        """Whether as many evaluations as `--patience` allows have found no lower validation loss."""
        return 0 < self.config.patience <= self.without_better

    @property
    def tokens_per_step(self) -> int:
        """Tokens in a step, over all its micro-batches."""
        return self.config.gradient_accumulation_steps * self.config.batch_size * self.model.config.block_size


@dataclass(frozen=True)
class StepRecord:
    """A step done. The loss, gradient norm and speed are read every `log_interval` steps and None between."""

    step: int  # steps done so far
    lr: float
    loss: float | None = None  # nats per token, mean over the step's batch
    grad_norm: float | None = None  # before clipping
    tokens_per_second: float | None = None
    utilisation: float | None = None  # of a card: its share of the product rate that the model's FLOPs need


@dataclass(frozen=True)
class EvalRecord:
    """An evaluation, on the same batches each time."""

    step: int
    train_loss: float  # nats per token
    val_loss: float
    best: bool  # the lowest val_loss so far
    bits_per_character: float | None = None  # of val_loss
    accuracy: float | None = None  # share of unseen problems solved exactly, where the corpus has problems


Record = StepRecord | EvalRecord

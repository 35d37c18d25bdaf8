"""The way to a run from Python: `from tinygpt.train import TrainConfig, start, train`; the rooms are in `run/`."""

from tinygpt.run.config import PRESETS, TrainConfig
from tinygpt.run.joining import joined
from tinygpt.run.loop import mean_loss, train
from tinygpt.run.state import EvalRecord, Parts, Record, StepRecord, TrainState
from tinygpt.run.store import load_model, resume, save, start

__all__ = [
    "PRESETS", "EvalRecord", "Parts", "Record", "StepRecord", "TrainConfig", "TrainState", "joined", "load_model",
    "mean_loss", "resume", "save", "start", "train",
]  # fmt: skip

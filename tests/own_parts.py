"""The engine's own parts as a reader's files, whole or spoilt, and a short run with them."""

import hashlib
from pathlib import Path

from lessons.exercises import Exercise
from tinygpt.own_layers import PARTS, load_own_layers
from tinygpt.train import TrainConfig, start, train

TEXT = "lessons/text.txt"
PROJECT = Path(__file__).parents[1]
PYTHON = {name: part for name, part in PARTS.items() if not part.is_kernel}


def fill(folder, *names):
    """The engine's own parts as a reader's files."""
    for name in names or PYTHON:
        (folder / PARTS[name].file).write_text(Exercise(name, 0).solution(), encoding="utf-8")
    return folder


def loaded(folder, **options):
    """The parts in a folder, where those that are the engine's own are known to be right: `test_own_layers` judges
    them, which takes each a process.
    """
    known = {name: hashlib.sha256(Exercise(name, 0).solution().encode()).hexdigest() for name in PYTHON}
    return load_own_layers(folder, known=known, **options)


def spoil(folder, name, old, new):
    path = folder / f"{name}.py"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def run(folder, monkeypatch, own=None, **changes):
    monkeypatch.chdir(PROJECT)
    settings = {
        "data": TEXT, "out_dir": str(folder / "out"), "n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 12,
        "batch_size": 6, "max_iters": 20, "eval_interval": 20, "eval_iters": 1, "log_interval": 1, "dropout": 0.1,
        "sample_length": 0, "device": "cpu", "dtype": "float64", "threads": 2, "learning_rate": 1e-2, "bias": True,
    }  # fmt: skip
    own = own or (loaded(changes["mine"]) if "mine" in changes else None)
    state = start(TrainConfig(**(settings | changes)), *([own.parts] if own else []))
    return [record.loss for record in train(state) if hasattr(record, "loss")], state, own

"""What ranks do together for test_losses.py: `python -m tests.ranks.runs FOLDER` trains the runs below and continues
those that others left in FOLDER; rank 0 writes what came out into FOLDER/N.json for N ranks.
"""

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np

from tinygpt.data import windows_at
from tinygpt.layers import layernorm
from tinygpt.run.ring import ring_step
from tinygpt.run.state import OURS
from tinygpt.train import EvalRecord, Parts, StepRecord, TrainConfig, joined, resume, start, train

TEXT = Path(__file__).parents[1] / "memorised.txt"
STEPS, HALF = 6, 3
SHARDED = {"shard_optimizer": True}
RUNS = {  # 10 rows a step: 3 ranks have 3, 3 and 4 of them, 4 have 2 and 3; sums leave other targets out in each row
    "text": {},
    "again": {},
    "sharded": SHARDED,
    "sums": {"data": None, "dataset": "addition", "block_size": 25},
    "sums, sharded": {"data": None, "dataset": "addition", "block_size": 25, "bias": True} | SHARDED,
    "float32": {"dtype": "float32"},
    "float32, sharded": {"dtype": "float32"} | SHARDED,
    "own parts, few rows": {"batch_size": 2, "eval_iters": 1} | SHARDED,  # some ranks have none to evaluate
    "own ring": {},
}
GOES_ON = {  # the number of ranks it began on, and how it goes on
    "4, whole": (4, {}, {}), "4, sharded": (4, SHARDED, {}), "4, to be sharded": (4, {}, SHARDED), "1": (1, {}, {}),
}  # fmt: skip


def config(folder: Path, **changes) -> TrainConfig:
    settings = dict(
        data=str(TEXT), out_dir=str(folder), n_layer=1, n_head=2, n_embd=12, block_size=8, batch_size=5, dropout=0.2,
        gradient_accumulation_steps=2, max_iters=STEPS, warmup_iters=1, learning_rate=1e-2, eval_interval=HALF,
        eval_iters=3, log_interval=1, grad_clip=0.5, device="cpu", threads=1, dtype="float64",
    )  # fmt: skip
    return TrainConfig(**settings | changes)


class OwnLayerNorm:
    """A reader's, as `--mine` brings one."""

    used = 0

    @classmethod
    def forward(cls, *arguments):
        cls.used += 1
        return layernorm.forward(*arguments)

    backward = staticmethod(layernorm.backward)


def own_norm(arrays, each=map):
    return np.sqrt(np.sum([float(square) for square in each(lambda x: np.vdot(x, x), arrays)]))


def own_windows(stream, starts, block_size):
    assert len(starts)
    return windows_at(stream, starts, block_size)


class OwnRingStep:
    used = 0

    def __call__(self, *arguments):
        OwnRingStep.used += 1
        return ring_step(*arguments)


OWN = {
    "own parts, few rows": Parts({"layernorm": OwnLayerNorm}, global_norm=own_norm, windows_at=own_windows),
    "own ring": Parts(ring_step=OwnRingStep()),
}


def result(state, records) -> dict:
    return {
        "losses": [r.loss for r in records if isinstance(r, StepRecord)],
        "norms": [r.grad_norm for r in records if isinstance(r, StepRecord)],
        "evaluations": [[r.train_loss, r.val_loss] for r in records if isinstance(r, EvalRecord)],
        "weights": hashlib.sha256(state.model.params.flat.tobytes()).hexdigest(),
        "moments": sum(buffer.flat.size for buffer in state.optimizer.state.values()),
        "of": 2 * state.model.params.flat.size,
    }


def main(folder: Path) -> None:
    os.fsync = lambda handle: None  # no power is lost here
    found = {}
    with joined() as group:
        here = folder / f"of-{group.size}"
        for name, changes in RUNS.items():
            state = start(config(here / name, **changes), OWN.get(name, OURS), group)
            found[name] = result(state, list(train(state)))
        assert OwnLayerNorm.used and OwnRingStep.used == STEPS * (2 * group.size - 1) * (group.size > 1)
        for name, (ranks, before, after) in GOES_ON.items():
            if ranks == group.size:
                state = start(config(folder / "begun" / name, **before), group=group)
                for record in train(state):
                    state.stop = record.step == HALF
                assert state.saved_step == HALF
            if (folder / "begun" / name).exists() and ranks != group.size:
                group.first(lambda: str(shutil.copytree(folder / "begun" / name, here / f"on from {name}")))  # noqa: B023
                state = resume(here / f"on from {name}", after, group=group)
                found[f"on from {name}"] = result(state, list(train(state)))
        if group.rank == 0:
            (folder / f"{group.size}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

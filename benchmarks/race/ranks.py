"""What a rank does in the benchmark of many ranks: trains as train.py does, sums, agrees; when it is told to."""

import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

PARAMETERS = 124_439_808  # GPT-2's smallest


class Rank:
    """One of a group, which does the same as all others."""

    def __init__(self, group: Any, settings: dict[str, Any], folder: Path):
        self.group, self.settings, self.folder = group, settings, folder
        self.runs: dict[int, Iterator] = {}  # by the micro-batches of a step
        self.size = 0  # bytes of the model's gradient

    def run(self, accumulation: int) -> Iterator:
        """A run that has been evaluated and has done a step."""
        from tinygpt.run.config import TrainConfig
        from tinygpt.run.loop import train
        from tinygpt.run.state import StepRecord
        from tinygpt.run.store import start

        config = TrainConfig(
            gradient_accumulation_steps=accumulation, out_dir=str(self.folder / f"out-{accumulation}"), device="cpu",
            log_interval=1, eval_iters=1, eval_interval=10**9, save_minutes=0, max_iters=10**9, decay_lr=False,
            warmup_iters=0, learning_rate=1e-4,  # small, since rounding grows with it
            threads=self.settings["threads"],
        )  # fmt: skip
        state = start(config, group=self.group)
        self.size = state.model.params.flat.nbytes
        records = (record for record in train(state) if isinstance(record, StepRecord))
        next(records)
        return records

    def train(self, accumulation: int, steps: int) -> dict[str, Any]:
        """The losses of the next steps, and the seconds that they took."""
        if accumulation not in self.runs:
            self.runs[accumulation] = self.run(accumulation)
        self.group.exchange()
        began = time.perf_counter()
        losses = [next(self.runs[accumulation]).loss for _ in range(steps)]
        return {"losses": losses, "seconds": time.perf_counter() - began, "bytes": self.size}

    def sum(self, elements: int, times: int, pieces: list[int]) -> list[list[float]]:
        """Seconds of sums of so many float32, one after the other in pieces of each of the sizes, 0 for the usual."""
        from tinygpt.run import group as module

        array, usual, taken = np.zeros(elements, np.float32), module.PIECE, [[] for _ in pieces]
        array += self.group.rank  # every page of it exists
        for turn in range(times + 1):
            for seconds, piece in zip(taken, pieces, strict=True):
                module.PIECE = piece or usual
                self.group.exchange()
                began = time.perf_counter()
                self.group.sum(array)
                if turn:
                    seconds.append(time.perf_counter() - began)
        module.PIECE = usual
        return taken

    def agree(self, times: int) -> list[float]:
        """Seconds of agreements on one number."""
        taken = []
        for _ in range(times):
            began = time.perf_counter()
            self.group.agree(0)
            taken.append(time.perf_counter() - began)
        return taken


def worker(settings: dict[str, Any]) -> None:
    """A rank's process: rank 0 hears what to do in each line of its standard input, and answers with a line of JSON."""
    from tinygpt.run.joining import joined

    def told() -> Any:
        line = sys.stdin.readline()
        return json.loads(line) if line else None

    with joined() as group, contextlib.ExitStack() as stack:
        folder = group.first(lambda: stack.enter_context(tempfile.TemporaryDirectory()))
        rank = Rank(group, settings, Path(folder))
        answer: Any = group.size
        while True:
            if group.rank == 0:
                print(json.dumps(answer), flush=True)
            wish = group.first(told)
            if wish is None:
                break
            answer = getattr(rank, wish.pop("do"))(**wish)
        for run in rank.runs.values():
            run.close()

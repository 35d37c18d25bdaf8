"""How fast is a run of one rank, whose gradients go through NCCL, beside the same run alone?

A launcher's run of one process asks nothing of NCCL, so here its group is made by hand: `MPIGroup` of this process
alone. All that several ranks do is then done: the agreement on the host before each micro-batch, and the sum of all
gradients on the card, which here has one term. What it cannot tell is how long cards take to exchange numbers.
"""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from report.report import Report

PLACE, SECONDS = 78, 20
NEEDS_CORPUS = True

MODELS = {
    "baby": dict(n_layer=6, n_head=6, n_embd=384, block_size=256, batch_size=64),
    "gpt2's blocks, B=12": dict(n_layer=12, n_head=12, n_embd=768, block_size=1024, batch_size=12),
}
SMALL = dict(n_layer=1, n_head=2, n_embd=32, block_size=32, batch_size=4)
MUST = 0.99  # of the speed of the run alone
TURNS, TURN_SECONDS = 12, 0.4


class Run:
    """A run under way, step by step."""

    def __init__(self, settings: dict[str, Any], folder: Path, group: Any):
        from tinygpt.train import TrainConfig, start, train

        never = 10**9
        config = TrainConfig(
            **settings, out_dir=str(folder), device="cuda", max_iters=never, eval_interval=never, log_interval=never,
            eval_iters=1, save_minutes=0, gradient_accumulation_steps=2,
        )  # fmt: skip
        self.state, self.seconds = start(config, group=group), []
        self.records: Iterator[Any] = train(self.state)
        self.turn(6)  # the evaluation, the first step, and those that compile what is left

    def turn(self, steps: int) -> float:
        """Train so many steps; returns the seconds of each."""
        from tinygpt.backend import synchronize

        began = time.perf_counter()
        for _ in range(steps):
            next(self.records)
        synchronize("cuda")
        self.seconds.append((time.perf_counter() - began) / steps)
        return self.seconds[-1]


def run(report: Report) -> None:
    from tinygpt.device import out_of_memory
    from tinygpt.errors import UserError
    from tinygpt.run import loop
    from tinygpt.run.group import ALONE, MPIGroup

    try:
        from mpi4py import MPI
    except ImportError:
        report.answer("not asked, since mpi4py is not installed (`pip install -e '.[mpich]'`)")
        return
    loop.RATE_SECONDS = 0.0  # nobody asks here for the card's rate
    group = MPIGroup(MPI.COMM_SELF)
    rows, answers = [], []
    for number, (name, shape) in enumerate(MODELS.items()):
        until = time.perf_counter() + report.left() / (len(MODELS) - number)
        settings = (SMALL if report.stand_in else shape) | {"data": report.corpus}
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
            sides = []
            try:
                for side, its_group in (("alone", ALONE), ("one rank", group)):
                    sides.append(Run(settings, Path(folder) / side, its_group))
                    stack.callback(sides[-1].records.close)  # type: ignore[attr-defined]
            except Exception as error:  # such as that there is no NCCL
                what = str(error) if isinstance(error, UserError) else out_of_memory(error)
                if what is None:
                    raise
                answers.append(f"{name}: not asked ({what})")
                report.answer("; ".join(answers))
                report.check(f"{name}: a run that could not be begun", 1, 0)
                continue
            alone, ranked = sides
            took = max(side.turn(2) for side in sides)
            steps = 1 if report.stand_in else max(1, round(TURN_SECONDS / took))
            ratios: list[float] = []
            while len(ratios) < (2 if report.stand_in else TURNS) and time.perf_counter() < until - 3 * TURN_SECONDS:
                ratios.append(alone.turn(steps) / ranked.turn(steps))
            weights = [side.state.model.params.flat.get().view(np.uint8) for side in sides]
        tokens = alone.state.tokens_per_step
        best = [tokens / min(side.seconds[2:], default=np.inf) or None for side in sides]
        ratio = median(ratios) if ratios else None
        rows.append({
            "model": name, "alone, tokens/s": best[0], "one rank, tokens/s": best[1],
            "one rank over alone, x": ratio, "least, x": min(ratios, default=None), "pairs": len(ratios),
        })  # fmt: skip
        report.table("Two micro-batches a step, characters of the text as tokens", rows)
        report.check(f"{name}: NCCL was left out", int(group._nccl is None), 0)
        report.check(f"{name}: bytes of weights that differ", int((weights[0] != weights[1]).sum()), 0)
        if ratio is not None and not report.stand_in:
            report.check(f"{name}: speed of one rank over the run alone", ratio, MUST, at_least=True)
        answers.append(f"{name}: {report.number(ratio, 'x')}" if ratio is not None else f"{name}: no time was left")
        report.answer("; ".join(answers))
    report.say(
        "Both runs are `tinygpt.train`'s, in one process, and take turns; a turn is some steps between two "
        "synchronisations. One rank over alone: the median over pairs of neighbouring turns (1 is no loss)."
    )

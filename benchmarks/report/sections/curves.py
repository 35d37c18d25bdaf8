"""Do the losses of a training run stay with those of the same run on the CPU?"""

import tempfile
from typing import Any

import numpy as np

from report.report import Report

PLACE, SECONDS = 60, None
NEEDS_CORPUS = True


def run(report: Report) -> None:
    from tinygpt import train
    from tinygpt.run import loop

    loop.RATE_SECONDS = 0.0  # nothing is said of the card's rates here
    steps, rows, losses = 4 if report.stand_in else 200, [], {}
    small: dict[str, Any] = dict(n_layer=1, n_head=2, n_embd=32, block_size=16, batch_size=2) if report.stand_in else {}
    for name, device, tf32 in (("CPU", "cpu", False), ("float32", "cuda", False), ("TF32", "cuda", True)):
        with tempfile.TemporaryDirectory() as folder:
            config = train.TrainConfig(
                data=report.corpus, device=device, dtype="float32", tf32=tf32, max_iters=steps, log_interval=1,
                eval_iters=1, eval_interval=10**9, out_dir=folder, **small,
            )  # fmt: skip
            records = list(train.train(train.start(config)))
        losses[name] = np.array([record.loss for record in records if isinstance(record, train.StepRecord)])
        report.raw(name, losses[name].tolist())
        apart = np.abs(losses[name] - losses["CPU"])
        ends = {"first loss, nats": losses[name][0], "last loss, nats": losses[name][-1]}
        rows.append(
            {"run": name, "steps": steps, **ends, "most apart, error": apart.max(), "at step": int(apart.argmax()) + 1}
        )
        report.table("Losses of the preset `cpu` on tiny Shakespeare, the CPU's in float32", rows)
        if name == "float32":
            report.check("losses apart, float32", apart.max(), 1e-3)
    apart = {row["run"]: row["most apart, error"] for row in rows}
    report.answer(f"{steps} losses at most {apart['float32']:.1e} apart in float32, {apart['TF32']:.1e} in TF32")

"""Do the losses of a training run stay with those of the same run on the CPU?"""

import tempfile
from typing import Any

import numpy as np

from report.report import Report

PLACE, SECONDS = 60, None
NEEDS_CORPUS = True

APART: dict[str, tuple[str, float | None]] = {  # what a run on the card is in: its dtype, and how far it may be
    "float32": ("float32", 1e-3), "TF32": ("float32", None), "bf16": ("bfloat16", 2e-2),
}  # fmt: skip


def run(report: Report) -> None:
    from tinygpt import train
    from tinygpt.run import loop

    loop.RATE_SECONDS = 0.0  # nothing is said of the card's rates here
    steps, rows, losses = 4 if report.stand_in else 200, [], {}
    small: dict[str, Any] = dict(n_layer=1, n_head=2, n_embd=32, block_size=16, batch_size=2) if report.stand_in else {}
    runs = {"CPU": ("cpu", "float32", False)} | {
        name: ("cuda", dtype, name == "TF32") for name, (dtype, _) in APART.items()
    }
    for name, (device, dtype, tf32) in runs.items():
        with tempfile.TemporaryDirectory() as folder:
            config = train.TrainConfig(
                data=report.corpus, device=device, dtype=dtype, tf32=tf32, max_iters=steps, log_interval=1,
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
        if (allowed := APART.get(name, ("", None))[1]) is not None:
            report.check(f"losses apart, {name}", apart.max(), allowed)
    apart = {row["run"]: row["most apart, error"] for row in rows}
    far = (f"{apart[name]:.1e} in {name}" for name in APART)
    report.answer(f"{steps} losses are apart by at most {', '.join(far)}")

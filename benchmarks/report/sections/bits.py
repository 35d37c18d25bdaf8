"""Does the same run, twice, give the same bits?"""

import dataclasses
from typing import Any

import numpy as np
from race.settings import batch

from report.report import Report
from report.training import Ours, configurations

PLACE, SECONDS = 55, None


def run(report: Report) -> None:
    steps, ours = 2 if report.stand_in else 20, Ours("bf16")
    rows, differing = [], 0
    for config, dropout in (("baby", 0.2), ("gpt2, B=4", 0.1)):
        settings = configurations(report.stand_in)[config] | {"bias": True, "n_layer": 2}
        first, second = (trained(ours, settings, dropout, steps) for _ in range(2))
        differ = {name: int((first[name].view(np.uint8) != second[name].view(np.uint8)).sum()) for name in first}
        differing += sum(differ.values())
        rows += [
            {"model": config, "what": name, "bytes": first[name].nbytes, "differing": differ[name]} for name in first
        ]
        report.check(f"{config}, {steps} steps with dropout, twice: bytes that differ", sum(differ.values()), 0)
        report.table(f"{steps} steps of two blocks with biases and dropout, twice", rows)
    report.answer(f"{differing} bytes differ")


def trained(ours: Ours, settings: dict[str, Any], dropout: float, steps: int) -> dict[str, np.ndarray]:
    """What a run leaves: losses, weights and moments, on the host."""
    from tinygpt.backend import to_host

    ours.prepare(settings)
    ours.model.config = dataclasses.replace(ours.model.config, dropout=dropout)
    losses = [float(ours.step(*batch(settings, number))) for number in range(steps)]
    optimizer = ours.optimizer
    left = {"weights": ours.model.params, "m": optimizer.m, "v": optimizer.v, "last gradients": ours.grads}
    found = {name: to_host(parameters.flat).copy() for name, parameters in left.items()}
    ours.release(everything=True)
    return {"losses": np.array(losses)} | found

"""Where does a step's time go, and how far is each layer from the least that it could take?"""

import dataclasses
import itertools
import linecache
import sys
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from race.settings import batch

from report import ROOT
from report.lines import Lines
from report.rates import event_seconds, largest_rates
from report.report import Report
from report.stopwatch import Stopwatch
from report.training import Ours, configurations

PLACE, SECONDS = 80, 20

LINES_SHOWN = 30


def run(report: Report) -> None:
    ours = Ours(tf32=True)
    by_layer(report, ours)
    by_line(report, ours, "gpt2, B=12", dropout=0.0)
    by_line(report, ours, "baby", dropout=0.2)


def by_layer(report: Report, ours: Ours) -> None:
    """A step's time on the card, layer by layer, beside the least that each could take."""
    import cupy

    rates, settings = largest_rates(report), configurations(report.stand_in)["gpt2, B=12"]
    watch = Stopwatch(rates, settings["vocab_size"])
    ours.prepare(settings)
    numbers = iter(range(100))

    def step() -> None:
        ours.step(*batch(settings, next(numbers)))

    plain = event_seconds(step, 3)
    watch.attach(ours.model)
    update, n = ours.optimizer.step, len(ours.model.params.flat)
    adamw = "AdamW with clipping", "", (n,), ()
    watch.floors[adamw] = 8 * 4 * n / rates["copies"], "bytes"  # the norm reads once; w, m, v, dw: 4 read, 3 written

    def timed_update(*arguments: Any) -> None:
        with watch.timed(adamw):
            update(*arguments)

    ours.optimizer.step = timed_update
    wholes, steps = [], []
    for _ in range(3 if report.stand_in else 6):
        watch.events = []
        with watch.timed(("step",)):
            step()
        ours.wait()
        sums: dict[tuple, np.ndarray] = {}
        for call, start, end, queued in watch.events:
            sums[call] = sums.get(call, 0) + np.array((1, cupy.cuda.get_elapsed_time(start, end), queued * 1e3))
        wholes.append(sums.pop(("step",))[1])
        steps.append(sums)
    wholes, steps = wholes[1:], steps[1:]  # in the first the floors were found, which takes the host a while
    whole, rows = median(wholes), []
    for call in steps[0]:
        calls, ms, queued = np.median([sums[call] for sums in steps], axis=0).tolist()
        floor, bound = watch.floors[call]
        name, direction, x, w = call
        rows.append({
            "layer": f"{name} {direction}", "x": "x".join(map(str, x)), "w": "x".join(map(str, w)), "calls": int(calls),
            "on the card, ms": ms, "of the step, %": ms / whole, "floor, ms": floor * calls * 1e3, "set by": bound,
            "over floor, x": ms / (floor * calls * 1e3), "queueing it, ms": queued,
        })  # fmt: skip
    if not report.stand_in:
        rows.sort(key=lambda row: -row["on the card, ms"])
    total = {
        name: sum(row[name] for row in rows) for name in ("calls", "on the card, ms", "floor, ms", "queueing it, ms")
    }
    known = total["on the card, ms"]
    over = known / total["floor, ms"]
    farthest = sorted(rows, key=lambda row: row["floor, ms"] - row["on the card, ms"])[:3]
    rows += [
        {"layer": "all of these", **total, "of the step, %": known / whole, "over floor, x": over},
        {"layer": "all else (residual sums, gradients added up, gaps)", "on the card, ms": whole - known}
        | {"of the step, %": 1 - known / whole},
    ]
    rows = [{heading: row.get(heading) for heading in rows[0]} for row in rows]
    report.table("A step of gpt2 in TF32, {batch_size}x{block_size} tokens".format(**settings), rows)
    report.say(
        f"The step takes {report.number(whole, 'ms')} with these events and {report.number(plain * 1e3, 'ms')} "
        "without. The floor is the larger of FLOPs over the measured rate of TF32 products and of bytes (inputs, "
        "outputs and cache once) over the measured rate of copies; one that keeps less can be below it. Queueing is "
        "the host's time: if all of it took longer than the step, the card would wait for the host."
    )
    most = "" if report.stand_in else "; most above it: " + ", ".join(row["layer"] for row in farthest)
    report.answer(f"{report.number(whole, 'ms')}, {report.number(over, 'x')} its floor in all{most}")
    ours.release(everything=True)


def by_line(report: Report, ours: Ours, config: str, dropout: float) -> None:
    """A step's time on the card, source line by source line, for the most expensive ones."""
    settings = configurations(report.stand_in)[config]
    ours.prepare(settings)
    ours.model.config = dataclasses.replace(ours.model.config, dropout=dropout)
    batches = itertools.cycle([batch(settings, number) for number in range(3)])
    plain = event_seconds(lambda: ours.step(*next(batches)), 3)
    watch = Lines()
    sys.settrace(watch.trace)
    try:
        ours.step(*next(batches))
    finally:
        sys.settrace(None)
    ours.wait()
    ms = watch.milliseconds()
    whole, rows = sum(ms.values()), []
    for file, number in sorted(ms, key=lambda line: -ms[line])[:LINES_SHOWN]:
        rows.append({
            "line": f"{Path(file).relative_to(ROOT / 'tinygpt')}:{number}" if file else "elsewhere",
            "what it says": f"`{linecache.getline(file, number).partition('  #')[0].strip()}`" if file else "",
            "runs": watch.runs.get((file, number)),
            "on the card, ms": ms[file, number], "of the step, %": ms[file, number] / whole,
        })  # fmt: skip
    if report.stand_in:
        rows.sort(key=lambda row: row["line"])
    report.table(f"The lines that take most of a step of {config}, dropout {dropout}", rows)
    report.say(
        f"Between these events a step of {config} takes {report.number(whole, 'ms')}, and without them "
        f"{report.number(plain * 1e3, 'ms')}: what is more is the host's time to set them, while the card waits."
    )
    ours.release(everything=True)

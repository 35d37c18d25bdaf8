"""Where does a step's time go, and how far is each kernel from the least that it could take?"""

import dataclasses
import itertools
import linecache
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from race.settings import batch

from report import ROOT
from report.launches import Call, Launches
from report.lines import Lines
from report.rates import Ahead, event_seconds, largest_rates
from report.report import Report
from report.training import Ours, configurations

PLACE, SECONDS = 80, 30

LINES_SHOWN, GAPS_SHOWN = 30, 8
STEPS = 5


def run(report: Report) -> None:
    ours = Ours("bf16")
    ahead = Ahead(report.stand_in)
    answers = []
    for config, dropout in (("gpt2, B=12", 0.0), ("baby", 0.2)):
        answers.append(by_kernel(report, ours, ahead, config, dropout))
        report.answer("; ".join(answers))
        by_line(report, ours, ahead, config, dropout)


def prepared(report: Report, ours: Ours, config: str, dropout: float) -> Any:
    """A step of a model, as a function."""
    settings = configurations(report.stand_in)[config]
    ours.prepare(settings)
    ours.model.config = dataclasses.replace(ours.model.config, dropout=dropout)
    batches = itertools.cycle([batch(settings, number) for number in range(3)])
    return lambda: ours.step(*next(batches))


def by_kernel(report: Report, ours: Ours, ahead: Ahead, config: str, dropout: float) -> str:
    """A step's time on the card, launch by launch, beside the least that each could take. Returns it in a few words."""
    rates, step = largest_rates(report), prepared(report, ours, config, dropout)
    plain = event_seconds(step, 1 if report.stand_in else 3) * 1e3
    count = 1 if report.stand_in else STEPS
    timed = [one_step(ours, ahead, step) for _ in range(count)]
    queued = [queueing(ours, step) for _ in range(count)]
    calls = timed[0][1].calls
    ms = np.median([seen.milliseconds() for _, seen in timed], axis=0)
    host = np.median([seen.seconds for _, seen in queued], axis=0) * 1e3
    whole, of_host = (median(ms for ms, _ in runs) for runs in (timed, queued))
    rows = kernel_rows(calls, ms.tolist(), host.tolist(), whole, rates)
    if not report.stand_in:
        rows.sort(key=lambda row: -row["on the card, ms"])
    numbers = "launches", "on the card, ms", "floor, ms", "queueing it, ms"
    total = {name: sum(row[name] for row in rows) for name in numbers}
    known, floor = total["on the card, ms"], total["floor, ms"]
    far = sorted(rows, key=lambda row: row["floor, ms"] - row["on the card, ms"])[:3]
    most = "" if report.stand_in else ", most above it: " + ", ".join(f"{row['kernel']} {row['of']}" for row in far)
    rest = {"on the card, ms": whole - known, "of the step, %": 1 - known / whole}
    rows += [
        {"kernel": "all of these", **total, "of the step, %": known / whole, "over floor, x": known / floor},
        {"kernel": "CuPy's own operations, and gaps", **rest, "queueing it, ms": of_host - total["queueing it, ms"]},
    ]
    rows = [{heading: row.get(heading) for heading in rows[0]} for row in rows]
    tokens = "{batch_size}x{block_size}".format(**configurations(report.stand_in)[config])
    report.table(f"A step of {config} in bf16, {tokens} tokens, dropout {dropout}", rows)
    gap_table(report, config, [seen for _, seen in timed])
    report.say(
        f"The step of {config} takes {report.number(whole, 'ms')} with these events and {report.number(plain, 'ms')} "
        f"without; to queue it takes the host {report.number(of_host, 'ms')}, and where that is more, the card waits. "
        "The floor is the larger of FLOPs over the measured rate of products in their dtype and of bytes (each array "
        "of a kernel once) over the measured rate of copies."
    )
    ours.release(everything=True)
    over = report.number(known / floor, "x")
    return f"{config}: {report.number(whole, 'ms')}, {over} the floor of its {len(calls)} launches{most}"


def one_step(ours: Ours, ahead: Ahead, step: Any) -> tuple[float, Launches]:
    """The card's milliseconds for a step, and the launches in it, timed. The host is ahead: no gap is its fault."""
    import cupy

    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    ahead.queue()
    with Launches(timed=True) as seen:
        start.record()
        step()
        end.record()
    ours.wait()
    return cupy.cuda.get_elapsed_time(start, end), seen


def queueing(ours: Ours, step: Any) -> tuple[float, Launches]:
    """The host's milliseconds to queue a step, and the launches in it."""
    with Launches() as seen:
        began = time.perf_counter()
        step()
        took = time.perf_counter() - began
    ours.wait()
    return took * 1e3, seen


def kernel_rows(
    calls: list[Call], ms: list[float], host: list[float], whole: float, rates: dict[str, float]
) -> list[dict[str, Any]]:
    """A row for all launches of a kernel with arrays of one shape."""
    of_call: dict[Call, list[tuple[float, float]]] = {}
    for call, on_card, queued in zip(calls, ms, host, strict=True):
        of_call.setdefault(call, []).append((on_card, queued))
    rows = []
    for call, times in of_call.items():
        least = {"FLOPs": call.flops / rates[call.rate], "bytes": call.bytes / rates["copies"]}
        bound = max(least, key=lambda what: least[what])
        took, queued = (sum(column) for column in zip(*times, strict=True))
        floor = least[bound] * len(times) * 1e3
        rows.append({
            "kernel": call.kernel, "of": call.shape, "launches": len(times), "on the card, ms": took,
            "of the step, %": took / whole, "floor, ms": floor, "set by": bound,
            "over floor, x": took / floor if floor else None, "TFLOP/s": call.flops * len(times) / took / 1e9 or None,
            "GB/s": call.bytes * len(times) / took / 1e6, "queueing it, ms": queued,
        })  # fmt: skip
    return rows


def gap_table(report: Report, config: str, seen: list[Launches]) -> None:
    """What passes between launches of ours: CuPy's own operations, the events, and nothing."""
    each = [step.gaps() for step in seen]
    medians = np.median([[ms for _, _, ms in gaps] for gaps in each], axis=0).tolist()
    sums: dict[tuple[str, str], list[float]] = {}
    for (before, after, _), ms in zip(each[0], medians, strict=True):
        sums.setdefault((before, after), []).append(ms)
    rows: list[dict[str, Any]] = [
        {"after": before, "before": after, "times": len(ms), "on the card, ms": sum(ms), "each, µs": 1e3 * median(ms)}
        for (before, after), ms in sorted(sums.items(), key=lambda item: -sum(item[1]))
    ]
    if report.stand_in:
        rows.sort(key=lambda row: (row["after"], row["before"]))
    report.table(f"Where CuPy's own operations of {config} are, between which launches", rows[:GAPS_SHOWN])


def by_line(report: Report, ours: Ours, ahead: Ahead, config: str, dropout: float) -> None:
    """A step's time on the card, source line by source line, for the most expensive ones."""
    step = prepared(report, ours, config, dropout)
    step()
    watch = Lines()
    ahead.queue()
    sys.settrace(watch.trace)
    try:
        step()
    finally:
        sys.settrace(None)
    ours.wait()
    ms = watch.milliseconds()
    whole = sum(ms.values())
    rows: list[dict[str, Any]] = []
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
    report.say(f"Between these events, a mark at each line, a step of {config} takes {report.number(whole, 'ms')}.")
    ours.release(everything=True)

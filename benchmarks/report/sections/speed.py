"""How fast does it train, beside PyTorch and beside the card's own largest rates?"""

import contextlib
import math
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from race.models import write_weights
from race.settings import gpt_config
from race.side import has_torch

from report.opponent import BF16, COMPILED, OURS, OURS_FLOAT32, OURS_TF32, SIDES, Opponent
from report.rates import largest_rates
from report.report import Report
from report.training import configurations

PLACE, SECONDS = 70, 160

FLOAT32_AT = "baby", "gpt2, B=12"
# Must, aim: times the speed of PyTorch in bf16, with flash attention and compiled; of its peak memory
SPEED = {"gpt2, B=12": (1.0, 1.15), "gpt2, B=4": (1.15, 1.4), "baby": (1.5, 2.5)}
MEMORY = {"gpt2, B=12": (0.75, 0.6)}
ROUNDS, TURN_SECONDS = 4, 0.4


def run(report: Report) -> None:
    rates, configs = largest_rates(report), configurations(report.stand_in)
    sides = {name: Opponent(name, report.stand_in) for name in SIDES if name.startswith("tinygpt") or has_torch()}
    if len(sides) < len(SIDES):
        report.say("PyTorch is not installed, so tinygpt is alone here.")
    for side in sides.values():  # or the first configuration's time would pay for it
        with contextlib.suppress(TimeoutError, SystemExit, OSError):  # what went wrong is said when it is asked
            side.ready(report.left() / 4)
    rows: list[dict[str, Any]] = []
    answers = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (config, settings) in enumerate(configs.items()):
            share = report.left() / (len(configs) - number)
            if share < 6:
                report.say(f"{config}: no time was left.")
                continue
            (weights := Path(folder) / config.partition(",")[0]).mkdir(exist_ok=True)
            path = weights / "weights.safetensors"
            settings = settings | {"weights": str(path) if path.exists() else write_weights(settings, str(weights))}
            compiled = config in report.of("compiling").get("done", []) or (
                config == "baby" if report.stand_in else 0 < report.compile_seconds < share
            )
            playing = {name: side for name, side in sides.items() if name != OURS_FLOAT32 or config in FLOAT32_AT}
            found = play(report, playing, settings, time.perf_counter() + share, compiled)
            report.raw(config, {"settings": configs[config], "sides": found})
            new = speed_rows(report, config, settings, found, rates)
            report.table("Training", rows := rows + new)
            if config in SPEED and not report.stand_in:
                demands(report, config, {row["side"]: row for row in new})
            over = [(r["ours over it, x"], r["side"]) for r in new if not r["side"].startswith("tinygpt")]
            over = ", ".join(f"{report.number(x, 'x')} {side}" for x, side in over)
            answers.append(f"{config}: {report.number(new[0]['best, tokens/s'], 'tokens/s')} ({over})")
            report.answer("; ".join(answers))
    report.say(
        "A turn is some steps between two synchronisations, after one that is not timed; sides take turns, and give "
        "back their memory in between. Best: of a side's turns. Ours over it: the median over pairs of neighbouring "
        "turns of our speed in bf16 over that side's (above 1, tinygpt is faster). Share of peak: the model's FLOPs of "
        "the largest rate of products in the same dtype. Peak memory: what the side's allocator held."
    )
    for side in sides.values():
        side.process.kill()


def demands(report: Report, config: str, sides: dict[str, dict[str, Any]]) -> None:
    """Speed and memory beside PyTorch's, where it is there and trained."""
    compiled = sides.get(COMPILED, {})
    if over := compiled.get("ours over it, x"):
        report.demand(f"{config}: speed over {COMPILED}", over, *SPEED[config])
    ours, theirs = (side.get("peak memory, MiB") for side in (sides[OURS], compiled))
    if ours and theirs and config in MEMORY:
        report.demand(f"{config}: peak memory over {COMPILED}'s", ours / theirs, *MEMORY[config])


def play(
    report: Report, sides: dict[str, Opponent], settings: dict[str, Any], until: float, compiled: bool
) -> dict[str, dict[str, Any]]:
    """For each side its losses, the seconds of its turns' steps, its peak memory, and what went wrong."""

    def left() -> float:
        return until - time.perf_counter()

    def prepare(compiled: bool) -> dict[str, Any]:
        return {"settings": settings, "compiled": compiled}

    if compiler := sides.get(COMPILED) if compiled else None:
        compiler.request(prepare(True))  # meanwhile the others prepare, one at a time, so that two hold memory at most
    found = {name: side.ask(prepare(False), report.left()) for name, side in sides.items() if side is not compiler}
    if compiler:
        found[COMPILED] = compiler.answer(left() * 2 / 3)
        if problem := found[COMPILED].get("error"):
            found[COMPILED] = compiler.ask(prepare(False), report.left()) | {"note": f"not compiled: {problem}"}
    elif COMPILED in sides:
        found[COMPILED]["note"] = "not compiled, for want of time"
    for name, side in sides.items():
        if found[name].get("error") == "out of memory":  # perhaps only because two prepared at once
            found[name] = side.ask(prepare(False), report.left())
        found[name] |= {"turns": [], "peak": 0}
    first = found[OURS].get("step", TURN_SECONDS)
    steps = max(1, min(10, round(TURN_SECONDS / max(first, 1e-3))))
    took = 0.0
    for turn in range(ROUNDS):
        began = time.perf_counter()
        if turn and left() < took:  # as long as another one may take
            break
        numbers = list(range(5 + turn * steps, 5 + (turn + 1) * steps))
        for name, side in sides.items():
            if "error" not in found[name]:
                answer = side.ask({"settings": settings, "numbers": numbers}, report.left())
                found[name]["turns"] += [answer.pop("seconds")] if "seconds" in answer else []
                found[name] |= answer | {"peak": max(found[name]["peak"], answer.get("peak", 0))}
        took = time.perf_counter() - began
    return {name: found[name] for name in sides}


def speed_rows(
    report: Report, config: str, settings: dict[str, Any], found: dict[str, dict[str, Any]], rates: dict[str, float]
) -> list[dict[str, Any]]:
    """A row for each side."""
    from tinygpt.models.gpt2 import training_flops

    tokens, flops = settings["batch_size"] * settings["block_size"], training_flops(gpt_config(settings))
    rows = []
    for name, result in found.items():
        rate = rates.get(next(kind for kind in ("TF32", "float32", "bf16") if kind in name))
        best = tokens / min(result["turns"], default=math.inf) or None
        ratios = [theirs / ours for ours, theirs in zip(found[OURS]["turns"], result["turns"], strict=False)]
        losses = zip(result.get("losses", []), found[OURS_TF32].get("losses", []), strict=False)
        apart = max((abs(a - b) for a, b in losses), default=None)
        notes = [result.get("note"), result.get("error")]
        if name == OURS:
            report.check(f"{config}: tinygpt did not train", int(not result["turns"]), 0)
        if apart is not None:
            report.check(f"{config}: losses of {name}", apart, SIDES[name])
            notes.append(None if apart <= SIDES[name] else "different work")
        side = BF16 if name == COMPILED and "note" in result else name
        rows.append({
            "model": config, "blocks x channels": "{n_layer}x{n_embd}".format(**settings),
            "tokens": "{batch_size}x{block_size}".format(**settings), "side": side, "best, tokens/s": best,
            "ours over it, x": median(ratios) if ratios and best else None,
            "share of peak, %": best * flops / rate if best and rate else None,
            "peak memory, MiB": result["peak"] / 2**20 or None, "losses apart, error": apart,
            "": "; ".join(filter(None, notes)),
        })  # fmt: skip
    return rows

"""What a token costs in training on a CPU, as the model and the batch grow: a table and a plot.

    python benchmarks/scaling.py [--config=cpu|baby] [--only=threads] [--rounds=5] [--plot=scaling.png]
                                                                                  (the plot needs the plot extra)

From one base model, one thing at a time is changed: depth, width, context, batch, threads. All of them are measured in
turn, round after round, and each row is the median of its rounds (forward, backward, clipping and AdamW). Were the cost
proportional to FLOPs, the rate, in the last columns, would be the same everywhere.
"""

import argparse
import sys
import textwrap
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from race.products import sgemm_rate
from race.settings import ADAMW, CONFIGS, LEARNING_RATE, MAX_NORM, batch, gpt_config

from tinygpt import GPT
from tinygpt.device import cpu_count, keep_freed_pages
from tinygpt.models.gpt2 import costs
from tinygpt.optim import AdamW
from tinygpt.parallel import Workers

BASE = CONFIGS["cpu"] | {"batch_size": 8, "block_size": 128}
SETTING = dict(depth="n_layer", width="n_embd", context="block_size", batch="batch_size", threads="threads")
WHY = {
    "depth": "Blocks are alike, so each costs the same; what is paid once a step (embeddings, head, the start of the "
    "workers) weighs more the fewer there are.",
    "width": "Products grow with the width squared, all else (GELU, LayerNorm, softmax, Python's own time) with the "
    "width or not at all. So narrow models are far from the products' rate and wide ones near it.",
    "context": "The FLOPs count the whole square of scores. Beyond 64 queries most of its masked half is not computed, "
    "so long contexts look faster than they are; the exponentials, counted as nothing, pull the other way.",
    "batch": "Work that does not depend on the tokens (AdamW, clipping, adding up gradients, Python) is shared by few; "
    "a batch of one sequence cannot be split over workers at all, only its products are.",
    "threads": "Workers share the memory and, between array operations, the interpreter's lock.",
}


def variations(base: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """{what changes: settings, one for each row}."""
    L, H, C, B, T = (base[name] for name in ("n_layer", "n_head", "n_embd", "batch_size", "block_size"))
    threads = cpu_count()
    base = base | {"threads": threads, "activation_function": "gelu", "bias": False}
    times = (0.25, 0.5, 1, 2, 4)
    changes: dict[str, list[dict[str, Any]]] = {
        "depth": [{"n_layer": int(L * n)} for n in times if L * n >= 1],
        "width": [{"n_embd": int(C * n), "n_head": max(1, int(H * n))} for n in times],
        "context": [{"block_size": int(T * n), "batch_size": int(B / n)} for n in times],
        "batch": [{"batch_size": int(B * n)} for n in (0.125, *times) if B * n >= 1],
        "threads": [{"threads": n} for n in range(1, threads + 1)],
    }
    return {name: [base | change for change in rows] for name, rows in changes.items()}


class Run:
    """A model that trains, a step at a time."""

    def __init__(self, settings: dict[str, Any]):
        self.settings = settings
        self.model = GPT(gpt_config(settings))
        self.grads = self.model.params.zeros_like()
        self.optimizer = AdamW(self.model.params, **ADAMW)
        self.batch = batch(settings, 0)
        self.flops = 3 * sum(row.flops for row in costs(self.model.config))  # of a token
        self.tokens = settings["batch_size"] * settings["block_size"]

    def seconds(self, workers: Workers) -> float:
        """Of one step."""
        began = time.perf_counter()
        self.grads.flat[...] = 0
        workers.gradients(self.model, *self.batch, self.grads, self.tokens)
        self.optimizer.step(self.grads, LEARNING_RATE, MAX_NORM, workers.map)
        return time.perf_counter() - began


def measure(runs: list[Run], rounds: int) -> list[float]:
    """The seconds of a step of each run: the median over the rounds, each the mean of a few steps in a row."""
    times: list[list[float]] = [[] for _ in runs]
    for turn in range(rounds + 1):
        for run, taken in zip(runs, times, strict=True):
            steps = max(3, int(1e10 / (run.flops * run.tokens)))
            with Workers(run.settings["threads"]) as workers:
                run.seconds(workers)  # its arrays come back into the cache
                mean = float(np.mean([run.seconds(workers) for _ in range(steps)]))
            if turn:  # the first warms up
                taken.append(mean)
    return [median(taken) for taken in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", choices=["cpu", "baby"], help="base model (default: cpu's, on 8x128 tokens)")
    parser.add_argument("--only", choices=list(WHY), help="what to change (default: everything in turn)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    parser.add_argument("--plot", default="scaling.png", help="file to draw into (default: scaling.png)")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        sys.exit(f"--rounds={arguments.rounds}: expected at least 1")
    keep_freed_pages()
    base = CONFIGS[arguments.config] if arguments.config else BASE
    chosen = {name: rows for name, rows in variations(base).items() if arguments.only in (None, name)}
    rows = [(name, Run(settings)) for name, several in chosen.items() for settings in several]
    best_product = sgemm_rate(cpu_count())
    seconds = measure([run for _, run in rows], arguments.rounds)
    best_product = max(best_product, sgemm_rate(cpu_count()))
    print(
        "base: {n_layer} layers, {n_head} heads, {n_embd} channels, {batch_size}x{block_size} tokens, ".format(**base)
        + f"{cpu_count()} threads; matrix products at most {best_product / 1e9:.0f} GFLOP/s"
    )
    curves: dict[str, list[tuple[int, float, float]]] = {name: [] for name in chosen}
    for (name, run), step in zip(rows, seconds, strict=True):
        rate = run.flops * run.tokens / step
        if not curves[name]:
            print(f"\n{name:<10}{'tokens':>8}{'step':>12}{'a token':>12}{'MFLOPs':>9}{'GFLOP/s':>9}{'of products':>13}")
        value = run.settings[SETTING[name]]
        curves[name].append((value, step / run.tokens, rate))
        print(
            f"{value:<10}{run.tokens:>8,}{step * 1e3:>9.1f} ms{step / run.tokens * 1e6:>9.2f} us"
            f"{run.flops / 1e6:>9.2f}{rate / 1e9:>9.1f}{rate / best_product:>13.0%}"
        )
        if len(curves[name]) == sum(other == name for other, _ in rows):
            if name == "threads":
                cost = [cost for _, cost, _ in curves[name]]
                print("speed over one thread: " + ", ".join(f"{cost[0] / other:.2f}" for other in cost))
            print(textwrap.fill(WHY[name], 80))
    draw(curves, Path(arguments.plot))


def draw(curves: dict[str, list[tuple[int, float, float]]], path: Path) -> None:
    """A panel for each thing that changes: what a token costs, and would cost in proportion to FLOPs or threads."""
    try:
        import matplotlib
    except ImportError:
        print("\nmatplotlib is not installed, so there is no plot; pip install -e '.[plot]' brings it")
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        1, len(curves), figsize=(2.4 * len(curves), 3), sharey=True, squeeze=False, layout="constrained"
    )
    panels = panels[0]
    for panel, (name, points) in zip(panels, curves.items(), strict=True):
        values, seconds, rates = (np.array(column) for column in zip(*points, strict=True))
        proportional = seconds[0] / values if name == "threads" else seconds * rates / max(rates)
        panel.loglog(values, seconds * 1e6, "o-", label="measured")
        panel.loglog(values, proportional * 1e6, "--", color="grey", label="in proportion")
        panel.set_xticks(values, values)
        panel.minorticks_off()
        panel.yaxis.set_major_formatter("{x:g}")
        panel.set_xlabel(name)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("µs of training for a token")
    panels[0].legend(frameon=False)
    figure.savefig(path, dpi=150)
    print(f"\nplot: {path}")


if __name__ == "__main__":
    main()

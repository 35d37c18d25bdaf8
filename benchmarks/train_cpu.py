"""Training on a CPU: tinygpt beside the same GPT in PyTorch, eager and compiled, in one run.

    python benchmarks/train_cpu.py [--config=cpu|baby|gpt2] [--rounds=10] [--threads=N]    (needs the parity extra)
    python benchmarks/train_cpu.py --sides=tinygpt --against=FOLDER       this checkout of tinygpt beside another one

Same weights, batches, float32, clipping, AdamW and thread count. Each side is a process that lives through the whole
run and works only when it is its turn, so that neither's threads disturb the other. First the losses of ten steps are
compared. Prints for each side its tokens/s, the time of forward and backward and of the optimiser, the share of the
largest matrix-product rate measured here, its peak memory, the time from the start of the process to the end of its
first step; and the median of the ratios of neighbouring turns.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from race.models import tiny_gpt, torch_gpt, write_weights
from race.products import sgemm_rate
from race.settings import ADAMW, CONFIGS, LEARNING_RATE, MAX_NORM, batch, gpt_config
from race.side import Side, require_torch

STEPS = {"cpu": 20, "baby": 2, "gpt2": 1}  # of a turn
SIDES = ("tinygpt", "eager", "compile")


# What a side does


class TinyGPT:
    """tinygpt, as its training loop runs it."""

    def __init__(self, settings: dict[str, Any]):
        from tinygpt.device import keep_freed_pages
        from tinygpt.optim import AdamW
        from tinygpt.parallel import Workers

        self.model = tiny_gpt(settings)
        self.optimizer = AdamW(self.model.params, **ADAMW)
        keep_freed_pages()
        self.grads = self.model.params.zeros_like()
        self.workers = Workers(settings["threads"]).__enter__()

    def step(self, idx: np.ndarray, targets: np.ndarray) -> tuple[float, float, float]:
        """The loss, and the seconds of forward and backward and of the optimiser."""
        began = time.perf_counter()
        self.grads.flat[...] = 0
        loss = self.workers.gradients(self.model, idx, targets, self.grads, idx.size)
        computed = time.perf_counter()
        self.optimizer.step(self.grads, LEARNING_RATE, MAX_NORM, self.workers.map)
        return float(loss), computed - began, time.perf_counter() - computed


class PyTorch:
    """The tests' PyTorch GPT, as nanoGPT runs its own."""

    def __init__(self, settings: dict[str, Any], compiled: bool):
        import torch

        torch.set_num_threads(settings["threads"])
        self.torch = torch
        self.model = torch_gpt(settings)
        self.run = torch.compile(self.model) if compiled else self.model
        self.optimizer = self.model.configure_optimizer(learning_rate=LEARNING_RATE, **ADAMW)
        if settings["fused"]:
            for group in self.optimizer.param_groups:
                group.update(fused=True, foreach=False)

    def step(self, idx: np.ndarray, targets: np.ndarray) -> tuple[float, float, float]:
        torch = self.torch
        began = time.perf_counter()
        _, loss = self.run(torch.from_numpy(idx), torch.from_numpy(targets))
        loss.backward()
        computed = time.perf_counter()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), MAX_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item(), computed - began, time.perf_counter() - computed


def worker(side: str, settings: dict[str, Any]) -> None:
    """A side's process: does what each line of standard input asks for, and answers with a line of JSON."""
    player = TinyGPT(settings) if side == "tinygpt" else PyTorch(settings, compiled=side == "compile")
    first = player.step(*batch(settings, 0))
    print(json.dumps(first), flush=True)
    for line in sys.stdin:
        steps = [player.step(*batch(settings, number)) for number in json.loads(line)]
        print(json.dumps({"steps": steps, "peak": peak_memory()}), flush=True)


def peak_memory() -> int:
    """The most resident memory of this process so far, in bytes. Not tinygpt's own function: PyTorch's side must not
    carry tinygpt along.
    """
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# The run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", choices=list(CONFIGS), default="cpu")
    parser.add_argument("--sides", default=",".join(SIDES), help="which to run (default: all)")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="another checkout of tinygpt, as one more side")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each side (default: 10)")
    parser.add_argument("--threads", type=int, help="(default: all cores)")
    parser.add_argument("--kernels", default="auto", help="tinygpt's: auto or reference (default: auto)")
    parser.add_argument("--activation_function", default="gelu", choices=["gelu", "gelu_new"])
    parser.add_argument("--bias", action="store_true", help="biases on both sides")
    parser.add_argument("--fused", action="store_true", help="PyTorch's fused AdamW, which nanoGPT uses on cards only")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--settings", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return worker(arguments.worker, json.loads(arguments.settings))

    from tinygpt.device import cpu_count

    names = arguments.sides.split(",")
    if unknown := [name for name in names if name not in SIDES]:
        sys.exit(f"--sides={arguments.sides}: there is no side {unknown[0]!r}; expected some of {', '.join(SIDES)}")
    if arguments.rounds < 1:
        sys.exit(f"--rounds={arguments.rounds}: expected at least 1")
    if names != ["tinygpt"]:
        require_torch()
    other = arguments.against and arguments.against / "benchmarks" / Path(__file__).name
    if other and not other.is_file():
        sys.exit(f"--against={arguments.against}: expected the folder of a checkout, with {other} in it")
    arguments.threads = arguments.threads or cpu_count()
    options = ("threads", "kernels", "activation_function", "bias", "fused")
    settings = CONFIGS[arguments.config] | {name: getattr(arguments, name) for name in options}
    sides: dict[str, Side] = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            settings["weights"] = write_weights(settings, folder)
            for name in names:
                sides[name] = Side(name, settings, __file__)
            if other:
                sides["against"] = Side("tinygpt", settings, str(other))
        compare_losses(sides)
        # of a turn: tokens/s, the most of them, seconds of forward and backward, of the optimiser
        rates: dict[str, list] = {name: [] for name in sides}
        peaks, number, best_product = dict.fromkeys(sides, 0), 10, sgemm_rate(arguments.threads)
        for turn in range(arguments.rounds + 1):
            steps = list(range(number, number + STEPS[arguments.config]))
            number += len(steps)
            for name, side in list(sides.items())[:: 1 if turn % 2 else -1]:  # who comes first is about 2% slower
                done = side.ask(steps)
                peaks[name] = done["peak"]
                _, forward_backward, optimizer = (np.array(column) for column in zip(*done["steps"], strict=True))
                if turn:  # the first warms up
                    tokens = settings["batch_size"] * settings["block_size"]
                    speed = tokens / (forward_backward + optimizer)
                    rates[name].append((median(speed), max(speed), median(forward_backward), median(optimizer)))
            best_product = max(best_product, sgemm_rate(arguments.threads))
    finally:
        for side in sides.values():
            side.close()
    show(arguments.config, settings, sides, rates, peaks, best_product)


def compare_losses(sides: dict[str, Side]) -> None:
    """Compares the losses of the first ten steps. Ends the run where they differ."""
    losses = {}
    for name, side in sides.items():
        losses[name] = [loss for loss, _, _ in (side.first, *side.ask(list(range(1, 10)))["steps"])]
    first = next(iter(losses.values()))
    worst = max(abs(a - b) for other in losses.values() for a, b in zip(first, other, strict=True))
    print(f"losses of ten steps, {first[0]:.4f} to {first[-1]:.4f}: at most {worst:.1e} apart")
    if worst > 1e-4:
        sys.exit("the sides do not compute the same: there is nothing to compare")


def show(
    config: str, settings: dict[str, Any], sides: dict[str, Side], rates: dict, peaks: dict, best_product: float
) -> None:
    from tinygpt.models.gpt2 import costs

    flops = 3 * sum(row.flops for row in costs(gpt_config(settings)))  # of a token
    print(
        f"{config}: {settings['n_layer']} layers, {settings['n_head']} heads, {settings['n_embd']} channels, "
        f"{settings['batch_size']}x{settings['block_size']} tokens, {settings['threads']} threads, "
        f"matrix products at most {best_product / 1e9:.0f} GFLOP/s\n"
    )
    print(f"{'':<9}{'tokens/s':>10}{'best':>9}{'fwd+bwd':>10}{'AdamW':>9}{'FLOP/s':>8}{'peak':>10}{'first step':>12}")
    for name, turns in rates.items():
        speed, best, forward_backward, optimizer = (list(column) for column in zip(*turns, strict=True))
        print(
            f"{name:<9}{median(speed):>10,.0f}{max(best):>9,.0f}{median(forward_backward) * 1e3:>7.1f} ms"
            f"{median(optimizer) * 1e3:>6.1f} ms{max(best) * flops / best_product:>8.0%}"
            f"{peaks[name] / 2**20:>6,.0f} MiB{sides[name].started:>10.2f} s"
        )
    ours = next(iter(rates))
    for name in list(rates)[1:]:
        ratios = [a[0] / b[0] for a, b in zip(rates[ours], rates[name], strict=True)]
        print(
            f"{ours} over {name}: tokens/s {median(ratios):.2f}, peak memory {peaks[ours] / peaks[name]:.2f}, "
            f"first step {sides[ours].started / sides[name].started:.2f}"
        )


if __name__ == "__main__":
    main()

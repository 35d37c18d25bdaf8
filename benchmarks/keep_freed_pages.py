"""Does keeping freed pages pay? A training step of the `cpu` preset with and without it, in processes that take turns.

    python benchmarks/keep_freed_pages.py [--rounds=8] [--steps=40]

Prints each side's fastest step, its median, and the median of the ratios of neighbouring processes. Linux with glibc.
"""

import argparse
import subprocess
import sys
import time
from statistics import median

import numpy as np

from tinygpt import GPT, GPTConfig
from tinygpt.device import cpu_count, keep_freed_pages
from tinygpt.optim import AdamW
from tinygpt.parallel import Workers


def measure(steps: int) -> list[float]:
    """Seconds of each of `steps` training steps, the same ones every time, after five to warm up."""
    model = GPT(GPTConfig(block_size=64, vocab_size=97, n_layer=4, n_head=4, n_embd=128, bias=False))
    optimizer, grads = AdamW(model.params), model.params.zeros_like()
    idx = np.random.default_rng(0).integers(97, size=(12, 65))
    seconds = []
    with Workers() as workers:
        for _ in range(steps + 5):
            began = time.perf_counter()
            grads.flat[...] = 0
            workers.gradients(model, idx[:, :-1], idx[:, 1:], grads, 12 * 64)
            optimizer.step(grads, 1e-3, 1.0, workers.map)
            seconds.append(time.perf_counter() - began)
    return seconds[5:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--side", choices=["keep", "return"], help=argparse.SUPPRESS)  # what a child process measures
    arguments = parser.parse_args()
    if arguments.side:
        if arguments.side == "keep" and not keep_freed_pages():
            sys.exit("this system's allocator is not glibc's: there is nothing to compare")
        print(*measure(arguments.steps))
        return
    sides: dict[str, list[list[float]]] = {"keep": [], "return": []}
    for _ in range(arguments.rounds):
        for side, runs in sides.items():
            command = [sys.executable, __file__, f"--side={side}", f"--steps={arguments.steps}"]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            runs.append([float(number) for number in output.split()])
    print(f"training step of 768 tokens, 808,192 parameters, float32, {cpu_count()} threads")
    for side, runs in sides.items():
        best, middle = min(map(min, runs)), median(map(median, runs))
        print(f"{side:<6}  fastest {best * 1e3:6.1f} ms   median {middle * 1e3:6.1f} ms")
    ratios = [median(kept) / median(returned) for kept, returned in zip(*sides.values(), strict=True)]
    print(f"keep / return, median of {len(ratios)} paired ratios: {median(ratios):.2f}")


if __name__ == "__main__":
    main()

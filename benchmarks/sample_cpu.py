"""Generation on a CPU: tinygpt with and without its key/value cache, beside the PyTorch GPT generating as nanoGPT does.

    python benchmarks/sample_cpu.py [--config=baby|cpu|gpt2] [--tokens=1000] [--rounds=3]    (needs the parity extra)

Same weights, prompt and float32. Each side generates in its own process, in turn. "exact window" is tinygpt without
the cache, which slides the window by one token as nanoGPT does. With the cache, a full window is cut to its newer half
and encoded anew. First the greedy tokens are compared: with the cache until the window is full, without it beyond.
"""

import argparse
import json
import sys
import tempfile
import time
from statistics import median
from typing import Any

import numpy as np
from race.models import tiny_gpt, torch_gpt, write_weights
from race.settings import CONFIGS
from race.side import Side, require_torch

PROMPT = np.zeros((1, 1), np.int64)  # a newline, where a vocabulary of characters begins
SIDES = {"cache": "tinygpt", "exact window": "tinygpt, exact window", "torch": "PyTorch"}


def player(side: str, settings: dict[str, Any]) -> Any:
    """generate(number of tokens, greedy) -> tokens after the prompt, as a list."""
    if side == "torch":
        import torch

        torch.set_num_threads(settings["threads"])
        model = torch_gpt(settings).eval()
        return lambda n, greedy: model.generate(torch.from_numpy(PROMPT), n, top_k=1 if greedy else 200)[0, 1:].tolist()
    from tinygpt.parallel import blas_threads

    ours = tiny_gpt(settings)

    def generate(n: int, greedy: bool) -> list[int]:
        rules = {"temperature": 0.0} if greedy else {"top_k": 200}
        with blas_threads(settings["threads"]):
            return ours.generate(PROMPT, n, **rules, exact_window=side == "exact window")[0, 1:].tolist()

    return generate


def worker(side: str, settings: dict[str, Any]) -> None:
    """A side's process: does what each line of standard input asks for, and answers with a line of JSON."""
    generate = player(side, settings)
    print(json.dumps(generate(settings["block_size"] + 20, greedy=True)), flush=True)
    for line in sys.stdin:
        n = json.loads(line)
        began = time.perf_counter()
        generate(n, greedy=False)
        print(json.dumps(time.perf_counter() - began), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", choices=list(CONFIGS), default="baby")
    parser.add_argument("--tokens", type=int, default=1000, help="to generate (default: 1000)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side (default: 3)")
    parser.add_argument("--threads", type=int, help="(default: all cores)")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--settings", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return worker(arguments.worker, json.loads(arguments.settings))

    from tinygpt.device import cpu_count

    require_torch()
    if min(arguments.rounds, arguments.tokens) < 1:
        sys.exit("--rounds and --tokens: expected at least 1")
    threads = arguments.threads or cpu_count()
    settings = CONFIGS[arguments.config] | {"threads": threads, "activation_function": "gelu", "bias": False}
    sides: dict[str, Side] = {}
    seconds: dict[str, list[float]] = {name: [] for name in SIDES}
    try:
        with tempfile.TemporaryDirectory() as folder:
            settings["weights"] = write_weights(settings, folder)
            for name in SIDES:
                sides[name] = Side(name, settings, __file__)
        cached, exact, theirs = (side.first for side in sides.values())
        if exact != theirs or cached[: settings["block_size"]] != theirs[: settings["block_size"]]:
            sys.exit("the sides do not generate the same tokens: there is nothing to compare")
        for _ in range(arguments.rounds):
            for name, side in sides.items():
                seconds[name].append(side.ask(arguments.tokens))
    finally:
        for side in sides.values():
            side.close()
    print(
        f"{arguments.config}: {settings['n_layer']} layers, {settings['n_head']} heads, {settings['n_embd']} channels, "
        f"context of {settings['block_size']}, {arguments.tokens:,} tokens, {threads} threads; "
        f"greedy tokens are the same\n"
    )
    print(f"{'':<24}{'tokens/s':>10}{'best':>8}{'over PyTorch':>15}")
    for name, title in SIDES.items():
        ratio = median(theirs / ours for ours, theirs in zip(seconds[name], seconds["torch"], strict=True))
        speed = arguments.tokens / median(seconds[name]), arguments.tokens / min(seconds[name])
        print(f"{title:<24}{speed[0]:>10,.0f}{speed[1]:>8,.0f}{ratio:>15.2f}")


if __name__ == "__main__":
    main()

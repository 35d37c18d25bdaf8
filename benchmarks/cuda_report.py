"""All that a CUDA card is to be asked, in one command and a limited time.

    python benchmarks/cuda_report.py [--only=parity,speed] [--minutes=8] [--corpus=FILE] [--out=FOLDER] [--stand-in]

Each question is a section, in a process of its own, with a share of the time that is left; those that measure no time
run side by side. What a section has found when its time is over stays in the report: cuda.json (everything measured)
and cuda.md (its tables) in --out, written anew after every section. PyTorch, where it is installed, is the opponent in
`speed`. With --stand-in everything runs in small on tests/cuda/strict_cupy.py, without a card: a rehearsal, whose times
mean nothing.
"""

import argparse
import contextlib
import dataclasses
import functools
import gc
import importlib.metadata
import importlib.util
import itertools
import json
import linecache
import math
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np
from train_cpu import ADAMW, CONFIGS, LEARNING_RATE, MAX_NORM, Side, batch, gpt_config, write_weights

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

TOGETHER = 120  # the share of those that run side by side, in seconds
SECTIONS = {  # its share of eight minutes in seconds, and what is asked
    "machine": (30, "What is the card, and what are its largest rates?"),
    "stand-in": (TOGETHER, "Is its CuPy the one that the tests pretend?"),
    "parity": (TOGETHER, "Do every layer, the model, AdamW and generation compute there what a CPU computes?"),
    "gradcheck": (TOGETHER, "Is every gradient right there, by numerical derivatives?"),
    "tests": (TOGETHER, "Do the tests that can use a card pass on it?"),
    "curves": (TOGETHER, "Do the losses of a training run stay with those of the same run on the CPU?"),
    "speed": (95, "How fast does it train, beside PyTorch and beside the card's own largest rates?"),
    "kernels": (20, "Where does a step's time go, and how far is each layer from the least that it could take?"),
    "baby": (215, "Does train.py reach nanoGPT's loss on tiny Shakespeare (1.47), and how soon?"),
}
# These run side by side, and meanwhile PyTorch may compile `speed`'s models.
UNTIMED = "stand-in", "parity", "gradcheck", "tests", "curves"
NEED_CORPUS = "curves", "baby"
UNITS = {  # what follows a heading's last comma, and how its numbers are written
    "ms": "{:,.2f}", "µs": "{:,.1f}", "s": "{:,.1f}", "tokens/s": "{:,.0f}", "TFLOP/s": "{:,.1f}", "GB/s": "{:,.0f}",
    "%": "{:.1%}", "x": "{:.2f}", "MiB": "{:,.0f}", "nats": "{:.4f}", "error": "{:.1e}", "steps": "{:,}",
}  # fmt: skip
MEANINGLESS = "ms", "µs", "s", "tokens/s", "TFLOP/s", "GB/s", "%", "x"  # on the stand-in
KINDS = {  # what a card computes in: the dtype, whether its products are in TF32, and the error allowed
    "float64": ("float64", False, 1e-10), "float32": ("float32", False, 1e-5), "TF32": ("float32", True, None),
}  # fmt: skip
GOAL = 1.47  # nanoGPT's README: 1.4697 in about three minutes on an A100


class Report:
    """What one section has found, in a file that is written anew with each finding."""

    def __init__(self, name: str, options: argparse.Namespace):
        self.folder, self.stand_in, self.corpus = Path(options.into), options.stand_in, options.corpus
        self.path = self.folder / f"{name}.json"
        self.began = time.perf_counter()
        self.end, self.compile_seconds = self.began + options.seconds, options.compile_seconds
        self.found: dict[str, Any] = {"answer": "", "says": [], "checks": [], "tables": {}, "raw": {}}

    def left(self) -> float:
        return self.end - time.perf_counter()

    def answer(self, sentence: str) -> None:
        """The section's result, in a few words."""
        self.found["answer"] = sentence
        self.save()

    def say(self, sentence: str) -> None:
        self.found["says"].append(sentence)
        self.save()

    def table(self, title: str, rows: list[dict[str, Any]]) -> None:
        self.found["tables"][title] = rows
        self.save()

    def check(self, what: str, value: float, allowed: float) -> None:
        self.found["checks"].append({"what": what, "value": value, "allowed": allowed, "right": value <= allowed})
        self.save()

    def raw(self, name: str, value: Any) -> None:
        """Something for the JSON file alone, and for later sections."""
        self.found["raw"][name] = value
        self.save()

    def save(self) -> None:
        self.found["seconds"] = time.perf_counter() - self.began
        self.path.with_suffix(".partial").write_text(json.dumps(self.found, default=float))
        os.replace(self.path.with_suffix(".partial"), self.path)

    def of(self, section: str) -> dict[str, Any]:
        """What an earlier section kept; nothing if it did not run."""
        path = self.folder / f"{section}.json"
        return json.loads(path.read_text())["raw"] if path.exists() else {}

    def number(self, value: float, unit: str) -> str:
        """A number with its unit in a sentence."""
        return f"{written(value, unit, self.stand_in)} {unit}"


def written(value: Any, unit: str, stand_in: bool) -> str:
    if value is None:
        return "-"
    if isinstance(value, str) or unit not in UNITS:
        return str(value)
    return "void" if stand_in and unit in MEANINGLESS else UNITS[unit].format(value)


def row(name: str, value: Any, unit: str = "") -> dict[str, Any]:
    """Of a table whose rows have units of their own."""
    return {"": name, "value": value, "unit": unit}


def last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")


# machine


def machine(report: Report) -> None:
    from tinygpt.backend import device_module, synchronize
    from tinygpt.device import device_name

    cupy = device_module("cuda")
    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(cupy.cuda.Device().id)
    free, memory = runtime.memGetInfo()
    smi = ["nvidia-smi", "--query-gpu=driver_version,power.limit,clocks.max.sm", "--format=csv,noheader"]
    try:
        driver = subprocess.run(smi, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        driver = "nvidia-smi does not answer"
    facts = {
        "card": device_name("cuda"),
        "compute capability": cupy.cuda.Device().compute_capability,
        "multiprocessors": properties.get("multiProcessorCount"),
        "memory": f"{memory / 2**20:,.0f} MiB, {free / 2**20:,.0f} of them free",
        "driver, power limit, clock": driver,
        "CUDA of the driver, of CuPy": f"{runtime.driverGetVersion()}, {runtime.runtimeGetVersion()}",
        "Python, NumPy, CuPy": f"{platform.python_version()}, {np.__version__}, {cupy.__version__}",
        "PyTorch": importlib.metadata.version("torch") if has_torch() else "not installed",
        "CPU cores": os.cpu_count(),
    }
    report.table("The machine", [{"": name, "is": str(value)} for name, value in facts.items()])
    rates = largest_rates(report)
    report.raw("rates", rates)
    x, costs = cupy.ones(1, dtype=np.float32), {}
    for name, work, count in (("launch", lambda: x + x, 500), ("read", lambda: float(x[0]), 200)):
        for _ in range(20):
            work()
        synchronize("cuda")
        began = time.perf_counter()
        for _ in range(count):  # fewer than a launch queue holds, or the host would wait for the card
            work()
        costs[name] = (time.perf_counter() - began) / count
        synchronize("cuda")
    rows = [row(f"{kind} products", rates[kind] / 1e12, "TFLOP/s") for kind in (*KINDS, "bf16") if kind in rates]
    rows += [
        row("copies on the card, bytes read and written", rates["copies"] / 1e9, "GB/s"),
        row("the host's time for `x + x` of one element", costs["launch"] * 1e6, "µs"),
        row("the host's time for `float(x[0])`", costs["read"] * 1e6, "µs"),
    ]
    report.table("Its largest rates, and what an operation costs", rows)
    tf32, copies = report.number(rates["TF32"] / 1e12, "TFLOP/s"), report.number(rates["copies"] / 1e9, "GB/s")
    report.answer(f"{facts['card']}, {tf32} in TF32, copies at {copies}")


def largest_rates(report: Report) -> dict[str, float]:
    """Of products in FLOP/s and of copies in bytes/s: what the section `machine` measured, or measured now."""
    if known := report.of("machine").get("rates"):
        return known
    from tinygpt.backend import device_module, tf32_products
    from tinygpt.device import product_rate

    rates = {}
    for kind, (dtype, tf32, _) in KINDS.items():
        with tf32_products(tf32, "cuda"):
            rates[kind] = product_rate("cuda", dtype, 0.02 if report.stand_in else 1.0)
    cupy, size = device_module("cuda"), 1 << (20 if report.stand_in else 30)
    x = cupy.zeros((2, size), dtype=np.uint8)
    rates["copies"] = 2 * size / event_seconds(functools.partial(x.__setitem__, 0, x[1]), 10)
    del x
    cupy.get_default_memory_pool().free_all_blocks()
    if has_torch() and not report.stand_in:  # in a process of its own, since both bring CUDA's libraries along
        with contextlib.suppress(subprocess.SubprocessError, ValueError):
            command = [sys.executable, __file__, "--worker=rate"]
            out = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True, timeout=30)
            rates["bf16"] = float(out.stdout)
    return rates


def has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def bf16_rate() -> float:
    """As `backend.product_rate`, through PyTorch."""
    import torch

    best = 0.0
    for n in (1024, 2048, 4096, 8192):
        a = torch.randn(n, n, device="cuda", dtype=torch.bfloat16)
        for repeats in (2, 20):  # the first time to load the kernel
            torch.cuda.synchronize()
            began = time.perf_counter()
            for _ in range(repeats):
                a @ a
            torch.cuda.synchronize()
        best = max(best, repeats * 2 * n**3 / (time.perf_counter() - began))
    return best


def event_seconds(work: Callable[[], Any], repeats: int) -> float:
    """What the card takes for `work`, the mean of some in a row, after two that load its kernels."""
    import cupy

    for _ in range(2):
        work()
    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    start.record()
    for _ in range(repeats):
        work()
    end.record()
    end.synchronize()
    return cupy.cuda.get_elapsed_time(start, end) / 1e3 / repeats


# stand-in


def stand_in(report: Report) -> None:
    import cupy

    from tests.cuda.expressions import EXPRESSIONS, differences

    found = differences(cupy)
    report.check("expressions that CuPy does not compute as the stand-in does", len(found), 0)
    if found:
        report.table("CuPy is not what the tests pretend", [{"expression": line} for line in found])
    report.answer(f"{len(EXPRESSIONS)} expressions, {len(found)} of them not as the stand-in has them")


# parity

GPTS: dict[str, dict[str, Any]] = {
    "model": {},
    "model, dropout": {"dropout": 0.2},
    "model, no biases, exact GELU": {"bias": False, "activation_function": "gelu"},
}
OPTIMISER = "AdamW, 5 steps with clipping"


def parity(report: Report) -> None:
    from tinygpt.backend import tf32_products
    from tinygpt.gradcheck.cases import CASES, cases
    from tinygpt.gradcheck.suite import candidates, definition

    title = "Largest relative error of a tensor, the CPU's definitions in float64 being right"
    right = {  # by layer: of each case, what is right
        layer: {case: layer_tensors(definition(layer), same(x, "float64", "cpu")) for case, x in cases(layer)}
        for layer in CASES
    }
    right |= {name: {"": whole_tensors(name, "float64", "cpu")} for name in (*GPTS, OPTIMISER)}
    right_tokens, differing, rows = generated("float64", "cpu"), [], {}
    for kind, (dtype, tf32, allowed) in KINDS.items():
        found: dict[str, tuple[float, str]] = {}
        with tf32_products(tf32, "cuda"):
            for layer in CASES:
                drawn = {case: same(inputs, dtype, "cuda") for case, inputs in cases(layer)}
                for name, entry in candidates(layer, "cuda").items():  # the definition, and what the table has for it
                    entry = entry or definition(layer)
                    found[name] = worst({case: layer_tensors(entry, x) for case, x in drawn.items()}, right[layer])
            for name in (*GPTS, OPTIMISER):
                found[name] = worst({"": whole_tensors(name, dtype, "cuda")}, right[name])
            differ = int((generated(dtype, "cuda") != right_tokens).sum())
        for name, (error, tensor) in found.items():
            rows.setdefault(name, {"": name}).update({f"{kind}, error": error, f"of ({kind})": tensor})
            if allowed is not None:
                report.check(f"{name}, {kind}", error, allowed)
        if allowed is not None:
            report.check(f"generated tokens that differ, {kind}", differ, 0)
        report.table(title, list(rows.values()))
        differing.append(f"{differ} in {kind}")
    report.say("Allowed: 1e-10 in float64 and 1e-5 in float32, of the same float32 inputs; TF32 is only stated.")
    report.say(f"Of {right_tokens.size} tokens that a model generates, there differ {', '.join(differing)}.")
    errors = {kind: max(row[f"{kind}, error"] for row in rows.values()) for kind in KINDS}
    report.answer("errors are at most " + ", ".join(f"{error:.1e} in {kind}" for kind, error in errors.items()))


def layer_tensors(layer: Any, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
    """A layer's output, and its gradient for each input, by name on the host."""
    from tinygpt.backend import array_module, to_host
    from tinygpt.random import generator

    out, cache = layer.forward(**inputs)
    dout = generator(0, "dout").standard_normal(out.shape, dtype=np.float32)
    gradients = layer.backward(array_module(out).asarray(dout, dtype=out.dtype), cache)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    names = [f"d{name}" for name, x in inputs.items() if x is None or isinstance(x, dict) or is_float(x)]
    found = {"out": out} | dict(zip(names, gradients, strict=True))
    found |= {f"d{name}": d for name, d in found.pop("dparams", {}).items()}
    return {name: to_host(array) for name, array in found.items() if array is not None}


def is_float(x: Any) -> bool:
    return hasattr(x, "dtype") and x.dtype.kind == "f"


def same(x: Any, dtype: str, device: str) -> Any:
    """Inputs in a dtype on a device, rounded to float32 before: in every dtype the same numbers."""
    from tinygpt.backend import to_device

    if isinstance(x, dict):
        return {name: same(value, dtype, device) for name, value in x.items()}
    if not isinstance(x, np.ndarray):
        return x
    return to_device(x.astype(np.float32).astype(dtype) if is_float(x) else x, device)


def worst(ours: dict[str, dict], right: dict[str, dict]) -> tuple[float, str]:
    """The largest error, and of which tensor (in which case)."""
    from tests.parity.comparison import relative_error

    errors = {}
    for case, tensors in right.items():
        for name, tensor in tensors.items():
            error = relative_error(ours[case][name], tensor)
            errors[f"{name} ({case})" if case else name] = math.inf if math.isnan(error) else error
    name = max(errors, key=lambda name: errors[name])
    return errors[name], name


def small_gpt(dtype: str, device: str, **changes: Any) -> Any:
    """A model of random float32 numbers: on the CPU with the definitions, on a card with the table that it gets."""
    from tests.parity.comparison import randomize
    from tinygpt import GPT, GPTConfig
    from tinygpt.ops import build

    config = GPTConfig(block_size=32, vocab_size=65, n_layer=2, n_head=4, n_embd=64, **changes)
    drawn = GPT(config, "cpu", "float32", seed=None)
    randomize(drawn, np.random.default_rng(0))
    model = GPT(config, device, dtype, ops=build("reference" if device == "cpu" else "auto", device))
    for name, array in drawn.params.items():
        model.params[name] = array
    return model


def whole_tensors(name: str, dtype: str, device: str) -> dict[str, np.ndarray]:
    """A model's logits, loss and gradients, or what AdamW makes of its parameters, by name on the host."""
    from tests.parity.comparison import random_batch
    from tinygpt.backend import to_host
    from tinygpt.optim import AdamW

    model, rng = small_gpt(dtype, device, **GPTS.get(name, {})), np.random.default_rng(1)
    if name == OPTIMISER:
        optimizer, grads = AdamW(model.params, **ADAMW), model.params.zeros_like()
        for _ in range(5):
            for parameter, array in grads.items():
                grads[parameter] = rng.standard_normal(array.shape, dtype=np.float32)
            norm = optimizer.step(grads, lr=1e-2, max_norm=1.0)
        found = {"w": model.params.flat, "m": optimizer.m.flat, "v": optimizer.v.flat, "norm": norm}
    else:
        idx, targets = random_batch(model.config, 3, 32, rng)
        logits, _ = model.forward(idx)
        loss, cache = model.loss(idx, targets, step=3)
        found = {"logits": logits, "loss": loss} | {f"d{n}": d for n, d in model.backward(cache).items()}
    return {name: to_host(array) for name, array in found.items()}


def generated(dtype: str, device: str) -> np.ndarray:
    """48 tokens by likelihood and 48 drawn, past the end of the window."""
    model, prompt = small_gpt(dtype, device), np.zeros((1, 1), np.int64)
    rules: tuple[dict[str, Any], ...] = {"temperature": 0.0}, {"temperature": 0.8, "top_k": 20, "seed": 1}
    return np.concatenate([model.generate(prompt, 48, **rule)[:, 1:] for rule in rules])


# gradcheck, tests, curves


def gradcheck(report: Report) -> None:
    cheap = ["embedding", "linear", "softmax", "cross_entropy", "dropout", "lm_head_loss"] if report.stand_in else []
    status, seconds, lines = command(["gradcheck", "--device=cuda", *cheap])
    report.check("status of `tinygpt gradcheck --device=cuda`", status, 0)
    said = [line for line in lines if line.startswith("worst") or "WRONG" in line] + lines[-1:]
    report.table("Its last lines", [{"line": line.rpartition(", in ")[0] or line} for line in dict.fromkeys(said)])
    report.raw("lines", lines)
    report.answer(f"{len(cheap) or 'all'} layers, in {report.number(seconds, 's')}")


class Tee:
    """A stream that keeps what is written to it."""

    def __init__(self, stream: Any):
        self.stream, self.text = stream, ""

    def write(self, text: str) -> int:
        self.text += text
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def command(arguments: list[str]) -> tuple[int, float, list[str]]:
    """A command of tinygpt's in this process, where the stand-in is: its status, seconds and lines."""
    from tinygpt import cli

    began, out = time.perf_counter(), Tee(sys.stdout)
    with contextlib.redirect_stdout(out):
        status = cli.main(arguments)
    return status, time.perf_counter() - began, [line for line in out.text.splitlines() if line.strip()]


def tests(report: Report) -> None:
    arguments = "-m pytest tests/cuda tests/test_golden.py -q -p no:cacheprovider".split()
    arguments += ["-k", "not gradient_checker"]  # a minute on the stand-in; here it is a section of its own
    done = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = []
    for line in done.stdout or ():
        print(line, end="")  # so that the report has the last ones if it takes too long
        lines.append(line.rstrip())
    report.check("status of pytest", done.wait(), 0)
    if failures := [line for line in lines if line.startswith(("FAILED", "ERROR"))]:
        report.table("What failed", [{"test": line} for line in failures])
    report.answer(last_line("\n".join(lines)).strip("= ").partition(" in ")[0])


def curves(report: Report) -> None:
    from tinygpt import train

    train.RATE_SECONDS = 0.0  # nothing is said of the card's rates here
    steps, rows, losses = 12 if report.stand_in else 200, [], {}
    for name, device, tf32 in (("CPU", "cpu", False), ("float32", "cuda", False), ("TF32", "cuda", True)):
        with tempfile.TemporaryDirectory() as folder:
            config = train.TrainConfig(
                data=report.corpus, device=device, tf32=tf32, max_iters=steps, log_interval=1, eval_iters=1,
                eval_interval=10**9, out_dir=folder,
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


# speed: a side is a process that makes ready for one configuration after the other, and works when it is its turn

OURS, OURS_FLOAT32 = "tinygpt (TF32)", "tinygpt (float32)"
EAGER, COMPILED = "PyTorch eager (TF32)", "PyTorch compiled (bf16)"
BF16 = "PyTorch eager (bf16)"  # what is left of it where the compiler had no time
SIDES = {OURS: 1e-3, OURS_FLOAT32: 1e-3, EAGER: 1e-3, COMPILED: 5e-2}  # how far losses may be from the first's
FLOAT32_AT = "baby", "gpt2, B=12"
ROUNDS, TURN_SECONDS = 4, 0.4


def configurations(stand_in: bool) -> dict[str, dict[str, Any]]:
    """The models and batches to train, what is to be known first at the beginning."""
    baby, gpt2 = CONFIGS["baby"] | {"batch_size": 64}, CONFIGS["gpt2"] | {"block_size": 1024}
    sizes = {12: 12, 4: 4, 32: 32}
    if stand_in:
        baby |= dict(n_layer=1, n_head=2, n_embd=32, block_size=32, batch_size=4)
        gpt2 |= dict(n_layer=2, n_head=3, n_embd=48, block_size=64, vocab_size=257)
        sizes = {12: 3, 4: 1, 32: 4}
    found = {"baby": baby} | {f"gpt2, B={name}": gpt2 | {"batch_size": size} for name, size in sizes.items()}
    more = {"activation_function": "gelu_new", "bias": False, "threads": os.cpu_count()}
    return {name: settings | more for name, settings in found.items()}


class Ours:
    """tinygpt's training step, as `tinygpt.train` runs it; the losses stay on the card."""

    def __init__(self, tf32: bool):
        from tinygpt.backend import tf32_products
        from tinygpt.parallel import Workers

        self.products = tf32_products(tf32, "cuda")
        self.products.__enter__()  # as long as the process lives
        self.workers = Workers(1).__enter__()

    def prepare(self, settings: dict[str, Any], compiled: bool = False) -> None:
        from safetensors.numpy import load_file

        from tinygpt import GPT
        from tinygpt.ops import build
        from tinygpt.optim import AdamW

        weights = load_file(settings["weights"]) if "weights" in settings else {}
        self.model = GPT(gpt_config(settings), "cuda", seed=None if weights else 1337, ops=build("auto", "cuda"))
        for name, array in weights.items():
            self.model.params[name] = array
        self.optimizer, self.grads = AdamW(self.model.params, **ADAMW), self.model.params.zeros_like()

    def step(self, idx: np.ndarray, targets: np.ndarray) -> Any:
        self.grads.flat[...] = 0
        loss = self.workers.gradients(self.model, *self.model.place(idx, targets), self.grads, idx.size)
        self.optimizer.step(self.grads, LEARNING_RATE, MAX_NORM, self.workers.map)
        return loss

    def wait(self) -> None:
        from tinygpt.backend import synchronize

        synchronize("cuda")

    def peak(self) -> int:
        from tinygpt.device import peak_memory

        return peak_memory("cuda") or 0

    def release(self, everything: bool = False) -> None:
        """Give back what the pool keeps: others need room, and the next peak is to be the next turn's own."""
        import cupy

        if everything:
            self.model = self.optimizer = self.grads = None
        gc.collect()
        cupy.get_default_memory_pool().free_all_blocks()


class Theirs:
    """The tests' PyTorch GPT, as nanoGPT trains its own: flash attention where PyTorch chooses it, fused AdamW."""

    def __init__(self, bf16: bool, stand_in: bool):
        import torch

        self.torch, self.bf16, self.device = torch, bf16, "cpu" if stand_in else "cuda"
        torch.set_float32_matmul_precision("high")  # float32 products in TF32

    def prepare(self, settings: dict[str, Any], compiled: bool = False) -> None:
        from safetensors.numpy import load_file

        from tests.parity.torch_gpt import TorchGPT

        self.model = TorchGPT(SimpleNamespace(**settings, dropout=0.0))
        if "weights" in settings:
            self.model.load(load_file(settings["weights"]))
        self.model.to(self.device)
        self.torch._dynamo.reset()  # or a second batch size would be compiled for all sizes
        self.run = self.torch.compile(self.model, dynamic=False) if compiled else self.model
        self.optimizer = self.model.configure_optimizer(learning_rate=LEARNING_RATE, **ADAMW)

    def step(self, idx: np.ndarray, targets: np.ndarray) -> Any:
        torch = self.torch
        x, y = torch.from_numpy(idx), torch.from_numpy(targets)
        if self.device == "cuda":
            x, y = (tensor.pin_memory().to("cuda", non_blocking=True) for tensor in (x, y))
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            _, loss = self.run(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), MAX_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def wait(self) -> None:
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def peak(self) -> int:
        return self.torch.cuda.max_memory_reserved() if self.device == "cuda" else 0

    def release(self, everything: bool = False) -> None:
        if everything:
            self.model = self.run = self.optimizer = None
        gc.collect()
        if self.device == "cuda":
            self.torch.cuda.empty_cache()
            self.torch.cuda.reset_peak_memory_stats()


def serve(who: Any, request: dict[str, Any]) -> dict[str, Any]:
    """The losses of a new model's first steps; or, with `numbers`, the seconds of each of those, after a first one."""
    settings = request["settings"]
    if "numbers" not in request:
        who.release(everything=True)
        who.prepare(settings, request["compiled"])
        losses = [float(who.step(*batch(settings, number))) for number in range(4)]
        began = time.perf_counter()
        losses.append(float(who.step(*batch(settings, 4))))
        return {"losses": losses, "step": time.perf_counter() - began}
    batches = [batch(settings, number) for number in request["numbers"]]
    who.step(*batches[0])
    who.wait()
    began = time.perf_counter()
    for idx, targets in batches:
        who.step(idx, targets)
    who.wait()
    return {"seconds": (time.perf_counter() - began) / len(batches), "peak": who.peak()}


def worker(side: str, settings: dict[str, Any]) -> None:
    """A side's process: a line of JSON for each line of standard input. Whatever else is printed goes to its errors."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if side == "rate":
        print(bf16_rate(), file=answers, flush=True)
        return
    with card(settings["stand_in"]):
        who = Ours(side == OURS) if side in (OURS, OURS_FLOAT32) else Theirs(side == COMPILED, settings["stand_in"])
        print(json.dumps("ready"), file=answers, flush=True)
        for line in sys.stdin:
            problem = None
            try:
                answer = serve(who, json.loads(line))
            except Exception as error:  # its traceback holds arrays, until this block is left
                problem = f"{type(error).__name__}: {error}"
            if problem is not None:
                print(f"{side}: {problem}", file=sys.stderr, flush=True)
                memory = any(text in problem.lower() for text in ("out of memory", "outofmemory", "memoryallocation"))
                answer = {"error": "out of memory" if memory else " ".join(problem.split())[:150]}
            who.release(everything=problem is not None)
            print(json.dumps(answer), file=answers, flush=True)


class Opponent(Side):
    """A side that may fail, hang or run out of memory: its answer then says so, and a hanging one is begun anew."""

    def __init__(self, name: str, stand_in: bool):
        self.name, self.stand_in = name, stand_in
        self.begin()

    def begin(self) -> None:
        settings = {"threads": os.cpu_count(), "stand_in": self.stand_in}
        super().__init__(self.name, settings, __file__, wait=False)
        self.is_ready = False

    def request(self, what: Any) -> None:
        if self.process.poll() is not None:
            self.begin()
        with contextlib.suppress(OSError):  # it ended just now, as its answer will tell
            super().request(what)

    def ready(self, seconds: float) -> None:
        """Wait until it has imported what it needs."""
        if not self.is_ready:
            super().answer(seconds)
            self.is_ready = True

    def answer(self, seconds: float | None = None) -> dict[str, Any]:
        until = time.perf_counter() + max(1, seconds or 0)
        try:
            self.ready(until - time.perf_counter())
            return super().answer(until - time.perf_counter())
        except (TimeoutError, SystemExit, OSError) as error:
            self.process.kill()
            self.process.wait()
            return {"error": str(error)}

    def ask(self, what: Any, seconds: float = 0) -> dict[str, Any]:
        self.request(what)
        return self.answer(seconds)


def compiling(report: Report) -> None:
    """Lets PyTorch compile the models of `speed` beforehand, into its cache on the disk, until a file says stop."""
    who, done = Theirs(True, report.stand_in), []
    for name, settings in configurations(report.stand_in).items():
        if not (report.folder / "stop").exists():
            who.release(everything=True)
            who.prepare(settings, compiled=True)
            who.step(*batch(settings, 0))
            done.append(name)
            report.raw("done", done)


def speed(report: Report) -> None:
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
            over = [(r["ours over it, x"], r["side"]) for r in new if r["side"] not in (OURS, OURS_FLOAT32)]
            over = ", ".join(f"{report.number(x, 'x')} {side}" for x, side in over)
            answers.append(f"{config}: {report.number(new[0]['best, tokens/s'], 'tokens/s')} ({over})")
            report.answer("; ".join(answers))
    report.say(
        "A turn is some steps between two synchronisations, after one that is not timed; sides take turns, and give "
        "back their memory in between. Best: of a side's turns. Ours over it: the median over pairs of neighbouring "
        "turns of our speed over that side's (above 1, tinygpt is faster). Share of peak: the model's FLOPs of the "
        "largest rate of products in the same dtype. Peak memory: what the side's allocator held."
    )
    for side in sides.values():
        side.process.kill()


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
        losses = zip(result.get("losses", []), found[OURS].get("losses", []), strict=False)
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


# kernels: a step's layers between events

LINES_SHOWN = 30
LEAVES = "embedding", "linear", "layernorm", "gelu", "attention", "lm_head_loss"


class Kept(tuple):
    """A layer's cache that knows of what call it is."""

    call: tuple


class Stopwatch:
    """Notes when the card begins and ends with a layer, and the least time that it could take."""

    def __init__(self, rates: dict[str, float], vocab_size: int):
        self.rates, self.vocab_size = rates, vocab_size
        self.floors: dict[tuple, tuple[float, str]] = {}
        self.events: list[tuple] = []

    @contextlib.contextmanager
    def timed(self, call: tuple) -> Iterator[None]:
        import cupy

        start, end, began = cupy.cuda.Event(), cupy.cuda.Event(), time.perf_counter()
        start.record()
        yield
        end.record()
        self.events.append((call, start, end, time.perf_counter() - began))

    def table(self, ops: Any) -> Any:
        """A table of layers whose leaves are timed."""
        return ops.replace(**{name: self.layer(name, getattr(ops, name)) for name in LEAVES})

    def layer(self, name: str, layer: Any) -> Any:
        def forward(x: Any, *others: Any, **options: Any) -> tuple:
            call = name, "forward", x.shape, others[0].shape if name == "linear" else ()
            with self.timed(call):
                out, cache = layer.forward(x, *others, **options)
            if call not in self.floors:
                self.floors[call] = self.floor(call, layer, (x, others), out, cache)
            kept = Kept(cache)
            kept.call = call
            return out, kept

        def backward(dout: Any, cache: Kept) -> Any:
            call = (name, "backward", *cache.call[2:])
            with self.timed(call):
                gradients = layer.backward(dout, tuple(cache))
            if call not in self.floors:
                self.floors[call] = self.floor(call, layer, dout, gradients, cache)
            return gradients

        return SimpleNamespace(forward=forward, backward=backward)

    def floor(self, call: tuple, layer: Any, inputs: Any, out: Any, cache: Any) -> tuple[float, str]:
        """Seconds, and what sets them: the FLOPs of products, or the bytes that are read or written once."""
        from tinygpt.ops import DEFINITIONS

        name, direction, x, w = call
        products = {"forward": 1, "backward": 2}[direction]
        if name == "lm_head_loss" and layer is not DEFINITIONS.lm_head_loss:
            products = {"forward": 3, "backward": 0}[direction]  # a twin takes gradients where the logits are
        flops = products * 2 * math.prod(x) * {
            "linear": w[-1] if w else 0,
            "attention": 2 * x[-2] // 3 if len(x) == 3 else 0,  # x has 3C; of T x T scores the masked ones included
            "lm_head_loss": self.vocab_size,
        }.get(name, 0)  # fmt: skip
        size = extent((inputs, out, cache))
        if name == "embedding":  # of the table as many rows are read as come out
            size = 2 * extent(out) if direction == "forward" else extent((inputs, out))
        seconds = {"FLOPs": flops / self.rates["TF32"], "bytes": size / self.rates["copies"]}
        bound = max(seconds, key=lambda what: seconds[what])
        return seconds[bound], bound


def extent(tree: Any) -> int:
    """The bytes that all arrays in nested tuples lie in, shared ones counted once."""
    spans, trees = [], [tree]
    while trees:
        x = trees.pop()
        if isinstance(x, tuple):
            trees += x
        elif hasattr(getattr(x, "data", None), "ptr") and x.size:
            last = sum((n - 1) * step for n, step in zip(x.shape, x.strides, strict=True))
            spans.append((x.data.ptr, x.data.ptr + last + x.itemsize))
    total = reached = 0
    for start, end in sorted(spans):
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total


def kernels(report: Report) -> None:
    import cupy

    rates, settings = largest_rates(report), configurations(report.stand_in)["gpt2, B=12"]
    ours, watch = Ours(tf32=True), Stopwatch(rates, settings["vocab_size"])
    ours.prepare(settings)
    numbers = iter(range(100))

    def step() -> None:
        ours.step(*batch(settings, next(numbers)))

    plain = event_seconds(step, 3)
    ours.model.ops = watch.table(ours.model.ops)
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
    by_line(report, ours, "gpt2, B=12", dropout=0.0)
    by_line(report, ours, "baby", dropout=0.2)


class Lines:
    """The card's time for each line of layers, model and optimiser: events between them, set by a trace function."""

    FILES = tuple(str(ROOT / "tinygpt" / name) for name in ("layers", "kernels", "model.py", "optim.py", "parallel.py"))

    def __init__(self) -> None:
        self.under_way: list[tuple[str, int]] = [("", 0)]  # the line that each function has reached, outermost first
        self.marks: list[tuple[tuple[str, int], Any]] = []
        self.runs: dict[tuple[str, int], int] = {}

    def trace(self, frame: Any, what: str, _: Any) -> Any:
        import cupy

        if not frame.f_code.co_filename.startswith(self.FILES):
            return None
        if what == "call":
            self.under_way.append(("", 0))
        elif what == "return":
            self.under_way.pop()
        elif what == "line":
            line = self.under_way[-1] = frame.f_code.co_filename, frame.f_lineno
            self.runs[line] = self.runs.get(line, 0) + 1
        event = cupy.cuda.Event()
        event.record()
        self.marks.append((self.under_way[-1], event))
        return self.trace

    def milliseconds(self) -> dict[tuple[str, int], float]:
        """By line, the time from each of its marks to the next, whosever that is; after a synchronisation."""
        import cupy

        sums: dict[tuple[str, int], float] = {}
        for (line, start), (_, end) in itertools.pairwise(self.marks):
            sums[line] = sums.get(line, 0.0) + cupy.cuda.get_elapsed_time(start, end)
        return sums


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


# baby: the run that it is all for


def baby(report: Report) -> None:
    from tinygpt.run.screens import read_metrics

    with tempfile.TemporaryDirectory() as folder:
        flags = f"--preset=baby --device=cuda --sample_length=0 --out_dir={folder}/out".split()
        flags.append(f"--data={report.corpus}")
        if report.stand_in:
            small = "--n_layer=1 --n_head=2 --n_embd=32 --block_size=32 --batch_size=4 --max_iters=4 --log_interval=1"
            status, seconds, lines = command(["train", *flags, *small.split(), "--eval_interval=2", "--eval_iters=1"])
        else:
            flags += ["--eval_interval=250", "--eval_iters=100"]  # nanoGPT's, with half its batches
            status, seconds, lines = until_interrupted([sys.executable, "train.py", *flags], report)
        metrics = read_metrics(Path(folder) / "out" / "metrics.jsonl")
    report.raw("metrics", metrics)
    steps, evaluations = ([record for record in metrics if name in record] for name in ("loss", "val_loss"))
    if not evaluations or len(steps) < 2:
        report.check("status of train.py", status, 0)
        report.answer(f"{len(steps)} steps were logged and {len(evaluations)} evaluations")
        report.table("Its last lines", [{"line": line} for line in lines[-10:]])
        return
    best, last = min(evaluations, key=lambda record: record["val_loss"]), evaluations[-1]
    shares = [record["utilisation"] for record in steps[1:] if "utilisation" in record]
    memory = next((line.split()[2] for line in lines if line.startswith("peak memory")), None)
    tokens = median(record["tokens_per_second"] for record in steps[1:])
    rows = [
        row("best validation loss", best["val_loss"], "nats"),
        row("reached at", best["step"], "steps"),
        row("last validation loss", last["val_loss"], "nats"),
        row("measured at", last["step"], "steps"),
        row("trained for", steps[-1]["step"], "steps"),
        row("all of it, evaluations included", seconds, "s"),
        row("speed", tokens, "tokens/s"),
        row(
            "share of the largest rate of TF32 products",
            written(median(shares) if shares else None, "%", report.stand_in),
        ),
        row("peak memory on the card (said at the end of a whole run)", memory, "MiB"),
    ]
    report.table("`python train.py --preset=baby` on tiny Shakespeare", rows)
    ended = {0: "", 130: ", stopped there since time was over"}.get(status, f", status {status}")
    if not report.stand_in:
        report.check("best validation loss", best["val_loss"], GOAL)
    report.check("status of train.py", 0 if status == 130 else status, 0)
    report.answer(
        f"best loss {best['val_loss']:.4f} at step {best['step']:,} of {steps[-1]['step']:,}{ended}, "
        f"in {report.number(seconds, 's')}, {report.number(tokens, 'tokens/s')}"
    )


def until_interrupted(arguments: list[str], report: Report) -> tuple[int, float, list[str]]:
    """A command's status, seconds and lines; when time is over it gets a Ctrl-C, and a while to save."""
    began, log = time.perf_counter(), report.folder / "train.log"
    with log.open("w") as file:
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT)
        for signal_number, seconds in ((signal.SIGINT, report.left() - 18), (signal.SIGKILL, 14), (None, 2)):
            try:
                process.wait(max(1, seconds))
                break
            except subprocess.TimeoutExpired:
                if signal_number:
                    process.send_signal(signal_number)
    text = log.read_text(errors="replace")
    print(text[-3000:])
    return process.returncode or 0, time.perf_counter() - began, text.splitlines()


# The processes


def check_card(report: Report) -> None:
    from tinygpt.device import resolve_device
    from tinygpt.errors import UserError

    try:
        resolve_device("cuda")
    except UserError as error:
        report.raw("problem", str(error))


FUNCTIONS: dict[str, Callable[[Report], None]] = {
    "card": check_card, "compiling": compiling, "machine": machine, "stand-in": stand_in, "parity": parity,
    "gradcheck": gradcheck, "tests": tests, "curves": curves, "speed": speed, "kernels": kernels, "baby": baby,
}  # fmt: skip


@contextlib.contextmanager
def card(stand_in: bool) -> Iterator[None]:
    """CuPy as it is, or the stand-in in its place."""
    if not stand_in:
        yield
        return
    from tests.cuda import strict_cupy

    with strict_cupy.installed():
        yield


def start(name: str, options: argparse.Namespace, folder: Path, seconds: float) -> subprocess.Popen:
    """A section in a process of its own, and in a group, with which all that it starts can be ended."""
    command = [sys.executable, __file__, f"--section={name}", f"--into={folder}", f"--seconds={max(1, seconds):.0f}"]
    command += [f"--compile_seconds={options.compile_seconds}"] + ["--stand-in"] * options.stand_in
    command += [f"--corpus={options.corpus}"] if options.corpus else []
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        "PYTHONUNBUFFERED": "1",
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),  # which `compiling` fills for `speed`
        "TORCHINDUCTOR_FX_GRAPH_CACHE": "1",
        "TORCHINDUCTOR_AUTOGRAD_CACHE": "1",
    }
    with (folder / f"{name}.log").open("w") as log:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, env=environment,
            start_new_session=True,
        )  # fmt: skip


def stop(process: subprocess.Popen | None) -> None:
    """End a section, if it has not ended, and whatever it has started."""
    if process is not None:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):  # one that hangs in the driver is left behind
            process.wait(5)


def outcome(name: str, process: subprocess.Popen, folder: Path, seconds: float) -> dict[str, Any]:
    """What a section found, and how it ended, after so many seconds at most."""
    try:
        status = "done" if process.wait(max(1, seconds)) == 0 else f"failed with status {process.returncode}"
    except subprocess.TimeoutExpired:
        status = "out of time"
    finally:
        stop(process)
    path, log = folder / f"{name}.json", folder / f"{name}.log"
    found = {"status": status} | (json.loads(path.read_text()) if path.exists() else {})
    if status != "done":
        found.pop("seconds", None)  # only until it last wrote
        found["last_lines"] = log.read_text(errors="replace").splitlines()[-20:]
    return found


def run(names: list[str], options: argparse.Namespace) -> bool:
    """The sections one after the other, each with its share of the time that is left. True if all is done and right."""
    end = time.perf_counter() + 60 * options.minutes - 10  # for ending what hangs, and for writing
    results: dict[str, Any] = {}
    running: dict[str, subprocess.Popen] = {}
    early = "speed" in names and options.compile_seconds > 0 and has_torch() and not options.stand_in
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        try:
            if not options.stand_in:
                running["card"] = start("card", options, folder, 60)
                found = outcome("card", running["card"], folder, 60)
                if problem := found.get("raw", {}).get("problem"):
                    sys.exit(problem)
            groups = [list(group) for _, group in itertools.groupby(names, lambda name: name in UNTIMED or name)]
            for number, group in enumerate(groups):
                if group[0] in UNTIMED and early:
                    running["compiling"] = start("compiling", options, folder, 600)
                later = sum(SECTIONS[others[0]][0] for others in groups[number + 1 :])
                share = SECTIONS[group[0]][0] / (SECTIONS[group[0]][0] + later)
                if options.stand_in and later:  # where no run at the end needs most of the time
                    share = 0.4
                began = time.perf_counter()
                seconds = (end - began) * share
                if group[0] not in UNTIMED and "compiling" in running:  # it ends what it is at, in `speed`'s time
                    (folder / "stop").touch()
                    outcome("compiling", running.pop("compiling"), folder, min(options.compile_seconds, seconds / 3))
                    seconds -= time.perf_counter() - began
                until = time.perf_counter() + seconds
                for name in group:
                    print(f"{name}: {SECTIONS[name][1]} (at most {seconds:.0f} s)", flush=True)
                    if name not in NEED_CORPUS or options.corpus:
                        running[name] = start(name, options, folder, seconds - 3)
                for name in group:
                    if name in running:
                        results[name] = outcome(name, running.pop(name), folder, until - time.perf_counter())
                    else:
                        sentence = "there is no shared/data/tinyshakespeare.txt here, and --corpus names no other text"
                        results[name] = {"status": "skipped", "answer": sentence}
                    write(results, options)
                    print("\n".join([name, *section_text(name, results[name], options.stand_in)[4:]]), flush=True)
        finally:
            for process in running.values():
                stop(process)
    print(f"written: {options.out}/{file_name(options.stand_in)}.md and .json")
    return all(found["status"] == "done" and not wrong_checks(found) for found in results.values())


# The report


def file_name(stand_in: bool) -> str:
    return "cuda-stand-in" if stand_in else "cuda"


@functools.cache  # and so from before the report itself changes files
def tinygpt_version() -> str:
    """The package's, and the revision of the checkout where git knows one."""
    from tinygpt import __version__

    try:
        git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return __version__
    return f"{__version__} at {git.stdout.strip()}" if git.returncode == 0 else __version__


def wrong_checks(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [check for check in found.get("checks", []) if not check["right"]]


def verdict(found: dict[str, Any]) -> str:
    """How a section ended, in a few words."""
    checks, wrong = found.get("checks", []), len(wrong_checks(found))
    counted = f"{wrong} of {len(checks)} WRONG" if wrong else f"{len(checks)} of {len(checks)} right" if checks else ""
    status = "" if found["status"] == "done" else found["status"]
    return "; ".join(filter(None, (status, counted, found.get("answer"))))


def markdown_table(rows: list[dict[str, Any]], stand_in: bool) -> list[str]:
    headings = list(rows[0])
    numbers = [any(isinstance(row.get(heading), int | float) for row in rows) for heading in headings]
    lines = [headings, ["---:" if number else "---" for number in numbers]]
    for row in rows:
        units = [row["unit"] if heading == "value" else heading.rpartition(", ")[2] for heading in headings]
        cells = [written(row.get(heading), unit, stand_in) for heading, unit in zip(headings, units, strict=True)]
        lines.append([cell.replace("|", "\\|") for cell in cells])
    return ["| " + " | ".join(line) + " |" for line in lines]


def section_text(name: str, found: dict[str, Any], stand_in: bool) -> list[str]:
    """A section in Markdown."""
    took = f" ({found['seconds']:.0f} s)" if "seconds" in found and not stand_in else ""
    lines = [f"## {name}{took}", "", SECTIONS[name][1], "", f"**{verdict(found)}**", ""]
    if wrong := wrong_checks(found):
        rows = [{"WRONG": c["what"], "is": f"{c['value']:.5g}", "allowed": f"{c['allowed']:.5g}"} for c in wrong]
        lines += [*markdown_table(rows, stand_in), ""]
    for title, rows in found.get("tables", {}).items():
        lines += [f"{title}:", "", *markdown_table(rows, stand_in), ""]
    lines += [text for sentence in found.get("says", []) for text in (sentence, "")]
    if "last_lines" in found:
        lines += ["The last lines that it printed:", "", "```", *found["last_lines"], "```", ""]
    return lines


def write(results: dict[str, Any], options: argparse.Namespace) -> None:
    """Both files."""
    out, stand_in = Path(options.out), options.stand_in
    said = f"On {time.strftime('%Y-%m-%d')}, with tinygpt {tinygpt_version()}, in {options.minutes:g} minutes at most."
    lines = ["# tinygpt on a CUDA card", "", said, ""]
    if stand_in:
        lines = ["**A rehearsal on a stand-in: no card was involved, and times mean nothing.**", "", *lines]
    rows = [{"": name, "asked": SECTIONS[name][1], "found": verdict(found)} for name, found in results.items()]
    lines += [*markdown_table(rows, stand_in), ""]
    lines += [line for name, found in results.items() for line in section_text(name, found, stand_in)]
    everything = {name: getattr(options, name) for name in ("stand_in", "minutes", "compile_seconds")}
    contents = {".json": json.dumps(everything | {"sections": results}, indent=1), ".md": "\n".join(lines)}
    out.mkdir(parents=True, exist_ok=True)
    for suffix, text in contents.items():
        partial = out / f"{file_name(stand_in)}.partial"
        partial.write_text(text.rstrip() + "\n", encoding="utf-8")
        os.replace(partial, out / f"{file_name(stand_in)}{suffix}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="sections:\n" + "\n".join(f"  {name:<11}{question}" for name, (_, question) in SECTIONS.items()),
    )  # fmt: skip
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, separated by commas (default: all)")
    parser.add_argument("--minutes", type=float, default=8.0, help="in all (default: 8)")
    parser.add_argument("--corpus", help="tiny Shakespeare (default: shared/data/tinyshakespeare.txt here or above)")
    parser.add_argument("--out", default=str(ROOT / "benchmarks" / "results"), help="(default: benchmarks/results)")
    limit = "to wait for PyTorch's compiler where a model is not compiled yet, 0 to do without (default: 60)"
    parser.add_argument("--compile_seconds", type=float, default=60.0, help=limit)
    parser.add_argument("--stand-in", action="store_true", help="rehearse in small, without a card")
    for hidden in ("--section", "--into", "--worker"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--settings", default="{}", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=60, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(options.worker, json.loads(options.settings))
    if options.section:
        with card(options.stand_in and options.section != "tests"):  # these install it themselves
            return FUNCTIONS[options.section](Report(options.section, options))
    chosen = options.only.split(",")
    if unknown := [name for name in chosen if name not in SECTIONS]:
        sys.exit(f"--only={options.only}: there is no section {unknown[0]!r}; expected some of {', '.join(SECTIONS)}")
    texts = [folder / "shared" / "data" / "tinyshakespeare.txt" for folder in (ROOT, ROOT.parent)]
    corpus = Path(options.corpus) if options.corpus else next((text for text in texts if text.exists()), None)
    if corpus and not corpus.is_file():
        sys.exit(f"--corpus={corpus}: there is no such file")
    options.corpus = str(corpus.resolve()) if corpus else None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the sections end with this
    sys.exit(not run([name for name in SECTIONS if name in chosen], options))


if __name__ == "__main__":
    main()

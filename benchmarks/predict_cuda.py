"""What a training step would take on a card, predicted without one: its launches, counted but not carried out.

    python benchmarks/predict_cuda.py [--only=gpt2,baby] [--rates=bf16,TF32] [--gap=1.5] [--small]

A step runs on the stand-in for CuPy (tests/cuda/strict_cupy/) at its full size, but kernels and products are only
noted. The floor of each follows from its bytes and FLOPs and an H200's rates, the prediction from the shares of these
that its kind reaches, which are assumptions: 75% for products, 85% for bytes, 50% for CuPy's own kernels; attention in
TF32 50% or 25%, in bf16 as FLASH has it. Nothing was measured but the rates, and PyTorch's tokens/s and memory beside
(benchmarks/results/cuda.md).
"""

import argparse
import collections
import dataclasses
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

from race.settings import LEARNING_RATE, MAX_NORM, batch, gpt_config
from report import ROOT
from report.launches import ATTENTION, PRODUCT, Call, Launches, extent
from report.training import configurations

sys.path.insert(0, str(ROOT))

COPIES = 4.09e12  # bytes/s of an H200, measured
RATES = {"bf16": 808e12, "TF32": 410e12, "float32": 67e12}  # its FLOP/s: measured, measured, published
DTYPES = {"bf16": "bfloat16", "TF32": "float32"}  # what a model computes in
SHARES = {"product": 0.75, "bytes": 0.85, "CuPy": 0.5}  # of these that are reached: assumed
# 1,044 GFLOP of gpt2's twelve layers in 2.65 ms, by a model of a multiprocessor's schedulers that runs the compiled
# loops of a kernel with mma.sync; in 4.4 ms at the rates that FlashAttention-2 publishes for an H100
FLASH = 394e12 / RATES["bf16"], 237e12 / RATES["bf16"]
ATTENTION_SHARES = {"bf16": FLASH, "TF32": (0.5, 0.25), "float32": (0.5, 0.25)}  # likely, and if it turns out slow
QUEUEING = 14e-6  # s of the host's for an operation: CuPy's smallest, measured
PYTORCH = {  # its tokens/s and peak memory in MiB, measured: eager in TF32; with flash attention and compiled in bf16
    ("gpt2", "TF32"): (137_567, 18_036), ("baby", "TF32"): (1_339_895, 2_692),
    ("gpt2", "bf16"): (453_200, 11_768), ("baby", "bf16"): (1_584_890, 1_626),
}  # fmt: skip
MODELS = {  # of `configurations`, and dropout
    "gpt2": ("gpt2, B=12", 0.0), "baby": ("baby", 0.0), "baby, dropout 0.2": ("baby", 0.2),
}  # fmt: skip
ALIGNED = 64  # numbers: where rows of logits begin
CUPY = "CuPy's "  # how the names of its own operations begin


class Step(NamedTuple):
    """What a step asks for."""

    calls: list[Call]  # launches of ours
    operations: list[tuple[str, Call]]  # CuPy's own, after the line that asks for each
    peak: int  # bytes of the pool
    peak_at: str  # the line that last asked for more
    kept: int  # bytes of parameters, gradients and moments in it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="gpt2,baby", help="models, separated by commas (default: gpt2,baby)")
    parser.add_argument("--rates", default="bf16,TF32", help="what products are in (default: bf16,TF32)")
    parser.add_argument("--gap", type=float, default=1.5, help="µs on the card for each launch (default: 1.5, assumed)")
    parser.add_argument("--small", action="store_true", help="models as small as in a rehearsal")
    options = parser.parse_args()
    chosen, rates = options.only.split(","), options.rates.split(",")
    for flag, names, known in (("only", chosen, ["gpt2", "baby"]), ("rates", rates, list(DTYPES))):
        if unknown := [name for name in names if name not in known]:
            sys.exit(f"--{flag}={','.join(names)}: there is no {unknown[0]!r}; expected some of {', '.join(known)}")
    rows = [
        show(name, configurations(options.small)[config], dropout, options.gap * 1e-6, rate)
        for name, (config, dropout) in MODELS.items() if name.partition(",")[0] in chosen for rate in rates
    ]  # fmt: skip
    print("\n\nPREDICTED, not measured, but for PyTorch's (bf16: flash attention, compiled; TF32: eager):\n")
    print(f"{'':<23}{'ms a step':>14}{'tokens/s':>22}{'over PyTorch':>14}{'MiB':>8}{'of PyTorch':>12}{'host, ms':>10}")
    print("\n".join(rows))


def show(name: str, settings: dict[str, Any], dropout: float, gap: float, rate: str) -> str:
    """A model's tables. Returns its line in the last one."""
    step = counted(settings, dropout, dtype=DTYPES[rate])
    tokens, model = settings["batch_size"] * settings["block_size"], name.partition(",")[0]
    calls = [*step.calls, *(call for _, call in step.operations)]
    print(f"\n\n{name}: {settings['batch_size']} x {settings['block_size']:,} tokens, {rate}. PREDICTED, not measured.")
    by_kernel(calls, gap)
    parts = floors(settings, rate)
    by_part(calls, parts, settings, gap, rate)
    by_place(step.operations, gap)
    ms, least = total_ms(calls, gap), sum(least_seconds(*part, rate) for part in parts.values()) * 1e3
    slow = total_ms(calls, gap, slow=True)
    (speed, memory), peak = PYTORCH[model, rate], step.peak / 2**20
    print(f"\nPredicted: {sentence(ms, tokens, speed)};")
    print(f"  with slow attention {sentence(slow, tokens, speed)}.")
    print(f"  PyTorch in {rate}, without dropout: {speed:,} tokens/s, measured.")
    print(f"  The floor of a step whose kernels are fused as far as they can be: {least:.2f} ms.")
    host = len(calls) * QUEUEING
    print(f"  To queue {len(calls)} launches takes the host {host * 1e3:.1f} ms, at {QUEUEING * 1e6:g} µs each.")
    print(f"  Peak memory: {peak:,.0f} MiB, {peak / memory:.2f} times PyTorch's {memory:,}, measured; of them", end=" ")
    print(f"{step.kept / 2**20:,.0f} are parameters, gradients and moments. It is reached in {step.peak_at}.")
    rates = [tokens / took * 1e3 for took in (ms, slow)]
    return (
        f"{name + ', ' + rate:<23}{f'{ms:.2f}; {slow:.2f}':>14}{'; '.join(f'{x:,.0f}' for x in rates):>22}"
        f"{'; '.join(f'{x / speed:.2f}' for x in rates):>14}{peak:>8,.0f}{peak / memory:>12.2f}{host * 1e3:>10.1f}"
    )


def sentence(ms: float, tokens: int, speed: float) -> str:
    rate = tokens / ms * 1e3
    return f"{ms:.2f} ms a step on the card, {rate:,.0f} tokens/s, {rate / speed:.2f} times PyTorch's"


def by_kernel(calls: list[Call], gap: float) -> None:
    """A line for all launches of a kernel with arrays of one shape, those that take longest first."""
    print(f"\n{'kernel':<58}{'launches':>9}{'MB':>9}{'GFLOP':>8}{'floor, ms':>11}{'predicted, ms':>15}")

    def line(name: str, some: list[Call]) -> None:
        numbers = f"{len(some):>9}{sum(c.bytes for c in some) / 1e6:>9,.0f}{sum(c.flops for c in some) / 1e9:>8,.0f}"
        print(f"{name:<58}{numbers}{floor_ms(some):>11.3f}{total_ms(some, gap):>15.3f}")

    counts = collections.Counter(calls)
    for call in sorted(counts, key=lambda call: -total_ms([call] * counts[call], gap)):
        line(f"{call.kernel} {call.shape}", [call] * counts[call])
    line("all", calls)


def by_part(
    calls: list[Call], parts: dict[str, tuple[float, float]], settings: dict[str, Any], gap: float, rate: str
) -> None:
    """A line for each part of a fused step, beside the least that it moves."""
    print(f"\n{'part':<30}{'GB':>8}{'least GB':>10}{'more':>8}{'floor, ms':>11}{'predicted, ms':>15}")
    of_part: dict[str, list[Call]] = {part: [] for part in [*parts, "all else"]}
    for call in calls:
        part = part_of(call, settings)
        of_part[part if part in parts else "all else"].append(call)
    took = sum(least_seconds(*part, rate) for part in parts.values())
    whole = float(sum(bytes_ for bytes_, _ in parts.values())), took
    for part, some in [*of_part.items(), ("all", calls)]:
        moved, least, floor = sum(c.bytes for c in some), "", ""
        if part != "all else":
            bytes_, took = whole if part == "all" else (parts[part][0], least_seconds(*parts[part], rate))
            least, floor = f"{bytes_ / 1e9:.2f}{moved / bytes_ - 1:>8.0%}", f"{took * 1e3:.2f}"
        print(f"{part:<30}{moved / 1e9:>8.2f}{least:>18}{floor:>11}{total_ms(some, gap):>15.2f}")


def by_place(operations: list[tuple[str, Call]], gap: float) -> None:
    """CuPy's own operations by the line that asks for them."""
    print(f"\n{'CuPy operation':<40}{'times':>6}{'MB each':>9}{'predicted, ms':>15}  asked for in")
    counts = collections.Counter(operations)
    for place, call in sorted(counts, key=lambda key: -key[1].bytes * counts[key]):
        some = [call] * counts[place, call]
        print(f"{call.kernel} {call.shape}".ljust(40), end="")
        print(f"{len(some):>6}{call.bytes / 1e6:>9.2f}{total_ms(some, gap):>15.3f}  {place}")


# What a launch takes


def total_ms(calls: list[Call], gap: float, slow: bool = False) -> float:
    return sum(seconds(call, slow) + gap for call in calls) * 1e3


def floor_ms(calls: list[Call]) -> float:
    return sum(least_seconds(call.bytes, call.flops, call.rate) for call in calls) * 1e3


def seconds(call: Call, slow: bool) -> float:
    """The larger of what its bytes and what its FLOPs take, at such shares of the card's rates."""
    share = ATTENTION_SHARES[call.rate][slow] if call.kernel in ATTENTION else SHARES["product"]
    memory = SHARES["CuPy" if call.kernel.startswith(CUPY) else "bytes"] * COPIES
    return max(call.bytes / memory, call.flops / (share * RATES[call.rate]))


def least_seconds(bytes_: float, flops: float, rate: str = "TF32") -> float:
    return max(bytes_ / COPIES, flops / RATES[rate])


def floors(settings: dict[str, Any], rate: str = "TF32") -> dict[str, tuple[float, float]]:
    """The least bytes, and the FLOPs, of each part of a step whose kernels are fused as far as they can be, over
    all layers. In TF32 all is float32, in bf16 that is left of it which AdamW reads, and a weight's gradient, and AdamW
    writes matrices in both; V is rounded up; attention counts the causal half, five products in backward; dropout
    costs nothing.
    """
    B, T, C, H, L, V = (settings[n] for n in ("batch_size", "block_size", "n_embd", "n_head", "n_layer", "vocab_size"))
    V = -(-V // ALIGNED) * ALIGNED if V > 1000 else V
    N, parameters, size = B * T, gpt_config(settings).n_params, 2 if rate == "bf16" else 4
    half = 2 * B * H * T * T / 2 * (C // H)  # FLOPs of a product of T x T x D of which half is masked

    def product(inner: int, outer: int, results: int = 1) -> tuple[float, float]:
        return size * (N * inner + inner * outer + results * N * outer), 2.0 * N * inner * outer

    def both(inner: int, outer: int, more: int = 0) -> tuple[float, float]:  # dx and dw
        bytes_, flops = product(inner, outer)
        return 2 * bytes_ + (4 - size) * inner * outer + size * more, 2 * flops

    row = size * N * C
    each = {
        "embedding": (1, 3 * row + (size + 4) * min(N, V) * C, 0.0),
        "LayerNorm forward": (1, (2 + 4 * 2 * L) * row, 0.0),
        "c_attn": (L, *product(C, 3 * C)),
        "attention forward": (L, 4 * row, 2 * half),
        "c_proj": (L, *product(C, C)),
        "c_fc, GELU": (L, *product(C, 4 * C, results=2)),
        "mlp c_proj": (L, *product(4 * C, C)),
        "head": (1, *product(C, V)),
        "classifier": (1, 2 * size * N * V, 0.0),
        "head dx, dw": (1, *both(C, V)),
        "LayerNorm backward": (1, (3 + 4 * 2 * L) * row, 0.0),
        "mlp c_proj dx, dw, GELU": (L, *both(4 * C, C, more=4 * N * C)),
        "c_fc dx, dw": (L, *both(C, 4 * C)),
        "c_proj dx, dw": (L, *both(C, C)),
        "attention backward": (L, 8 * row, 5 * half),
        "c_attn dx, dw": (L, *both(C, 3 * C)),
        "norm, AdamW": (1, (32 + 4 - size) * parameters, 0.0),
    }
    return {part: (count * bytes_, count * flops) for part, (count, bytes_, flops) in each.items()}


KERNELS = {  # the part of a step that a kernel belongs to
    "embedding_forward": "embedding", "embedding_sort": "embedding", "embedding_runs": "embedding",
    "embedding_join": "embedding", "layernorm_forward": "LayerNorm forward",
    "residual_layernorm_forward": "LayerNorm forward", "layernorm_backward": "LayerNorm backward",
    "residual_layernorm_backward": "LayerNorm backward", "attention_forward": "attention forward",
    "attention_backward_q": "attention backward", "attention_backward_kv": "attention backward",
    "flash_forward": "attention forward", "flash_backward_q": "attention backward",
    "flash_backward_kv": "attention backward",
    "gelu_forward": "c_fc, GELU", "gelu_backward": "mlp c_proj dx, dw, GELU", "cross_entropy": "classifier",
    "count_targets": "classifier", "sum_losses": "classifier", "sum_squares": "norm, AdamW", "adamw": "norm, AdamW",
}  # fmt: skip


def part_of(call: Call, settings: dict[str, Any]) -> str:
    """The part of `floors` that a launch belongs to, or another name."""
    if call.kernel != PRODUCT:
        return KERNELS.get(call.kernel, call.kernel)
    N, C, V = settings["batch_size"] * settings["block_size"], settings["n_embd"], settings["vocab_size"]
    of_weights = {
        (C, 3 * C): "c_attn", (C, C): "c_proj", (C, 4 * C): "c_fc", (4 * C, C): "mlp c_proj", (C, V): "head",
    }  # fmt: skip
    for (inner, outer), name in of_weights.items():
        backward = f"{name} dx, dw" + ", GELU" * (name == "mlp c_proj")
        forms = {
            f"{N}x{inner} @ {inner}x{outer}": "c_fc, GELU" if name == "c_fc" else name,
            f"{N}x{outer} @ {inner}x{outer}^T": backward, f"{N}x{inner}^T @ {N}x{outer}, added": backward,
            # The head's weights are (V, C)
            f"{N}x{C} @ {V}x{C}^T": "head", f"{N}x{V} @ {V}x{C}": "head dx, dw",
            f"{N}x{V}^T @ {N}x{C}, added": "head dx, dw",
        }  # fmt: skip
        if call.shape in forms:
            return forms[call.shape]
    return call.shape


# A step that is counted


def counted(settings: dict[str, Any], dropout: float, executed: bool = False, dtype: str = "float32") -> Step:
    """What the second training step of a model asks for, and what the pool has held until its end. executed: carry it
    out (in the emulator, slowly); what the stand-in counts for launches of ours is then among the operations.
    """
    from tests.cuda import strict_cupy
    from tinygpt import GPT
    from tinygpt.backend import tf32_products
    from tinygpt.optim import AdamW
    from tinygpt.parallel import Workers

    memory = nullcontext() if executed else untouched()
    with strict_cupy.installed() as card, memory, tf32_products(True, "cuda"), Workers(1) as workers:
        model = GPT(gpt_config(settings), "cuda", dtype, seed=None)
        model.config = dataclasses.replace(model.config, dropout=dropout)
        optimizer, grads = AdamW(model.params), model.params.zeros_like()
        kept, operations, peaks = card.used, list[tuple[str, Call]](), [""]
        for number in range(2):
            idx, targets = batch(settings, number)
            launches = Launches(executed=executed)
            with launches as seen, noting(card, operations, peaks):
                operations.clear()
                grads.flat[...] = 0
                workers.gradients(model, *model.upload(idx, targets), grads, idx.size, step=number)
                optimizer.step(grads, LEARNING_RATE, MAX_NORM, workers.map)
        return Step(seen.calls, operations, card.total, peaks[-1], kept)


@contextmanager
def untouched() -> Iterator[None]:
    """Within it the stand-in's new memory is not filled with junk: it takes no room before it is written to."""
    from tests.cuda.strict_cupy import array, creation, indexing

    original = array.allocate

    def allocate(shape: Any, dtype: Any = float, order: str = "C", strides: Any = None, junk: bool = True) -> Any:
        return original(shape, dtype, order, strides, junk=False)

    files: list[Any] = [array, creation, indexing]
    for file in files:
        file.allocate = allocate
    try:
        yield
    finally:
        for file in files:
            file.allocate = original


@contextmanager
def noting(card: Any, operations: list[tuple[str, Call]], peaks: list[str]) -> Iterator[None]:
    """Within it, CuPy's own operations are noted, what each reads and writes and the line that asks for it; and the
    lines at which the pool grows.
    """

    def launch(what: str, nbytes: int = 0, size: int = 1, reads: Any = (), noted: int | None = None) -> None:
        reads = list(reads)
        if size:
            moved = int(nbytes) + sum(map(extent, reads))
            shape = max((x.shape for x in reads), key=len, default=())
            text = "x".join(map(str, shape)) or f"{size}"
            operations.append((caller(), Call(CUPY + what, text, moved, 0.0)))
        type(card).launch(card, what, nbytes, size, reads, noted)

    def allocate(size: int) -> None:
        before = card.total
        type(card).allocate(card, size)
        if card.total > before:
            peaks.append(caller())

    card.launch, card.allocate = launch, allocate
    try:
        yield
    finally:
        del card.launch, card.allocate


def caller() -> str:
    """The innermost line of tinygpt's, or else of `counted`, that is under way."""
    frame, engine = sys._getframe(2), str(ROOT / "tinygpt")
    while frame.f_back is not None and frame.f_code is not counted.__code__:
        if frame.f_code.co_filename.startswith(engine):
            break
        frame = frame.f_back
    return f"{os.path.relpath(frame.f_code.co_filename, ROOT)}:{frame.f_lineno}"


if __name__ == "__main__":
    main()

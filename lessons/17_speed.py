# %% [markdown]
# # 17. Where the time goes
#
# *40 minutes, optional*
#
# Count the multiplications and additions of a training step, divide by what this computer can do in a second, and you
# have the time that the step should take. It takes longer. Most of it does go into products of matrices, which stay
# below the computer's peak. But LayerNorm and GELU, which have next to none of the arithmetic, take something like a
# tenth of the time; you will measure how much.
#
# **If not in arithmetic, where does the time go?** And how do you write a layer that computes the same numbers and
# wastes less of it?

# %%
import math
import sys
import time
from functools import partial
from types import SimpleNamespace

import numpy as np

import tinygpt

sys.path += [f"{tinygpt.__path__[0]}/../lessons"]  # where kit is, whatever folder a notebook runs in
from kit import plot, stated

from tinygpt import GPT, GPTConfig
from tinygpt.backend import BLOCK
from tinygpt.device import cpu_count, keep_freed_pages
from tinygpt.gradcheck import check_layer
from tinygpt.kernels import twins
from tinygpt.kernels.cpu import layernorm as fast_layernorm
from tinygpt.layers import gelu, layernorm, lm_head_loss
from tinygpt.models.gpt2 import costs
from tinygpt.ops import DEFINITIONS, build
from tinygpt.parallel import Workers, blas_threads

# %% [markdown]
# ## On paper
#
# Two prices are paid: *operations* (FLOPs: multiplications and additions) and *bytes* that travel between the
# memory and the core. Their quotient, FLOPs for each byte, is called the arithmetic intensity. Take 768 tokens of
# 128 channels in float32, 4 bytes a number, and the MLP's first product, to 512 channels:
#
# ```
# x @ w        (768, 128) @ (128, 512) -> (768, 512)
# FLOPs        2 · 768 · 128 · 512                   = 100,663,296
#              a product and a sum are 2
# bytes        4 (768 · 128 + 128 · 512 + 768 · 512) =   2,228,224
#              each number moved once
# intensity                                          = 45.2 FLOPs for each byte
#
# h + b        (768, 512) + (512,) -> (768, 512)
# FLOPs        768 · 512                             =     393,216
# bytes        4 · 2 · 768 · 512                     =   3,145,728
#              h is read, the sum is written
# intensity                                          = 0.125
# ```
#
# The bias has 256 times fewer operations, and more bytes to move. How many times faster than the product will it be?

# %%
N, C, out_C = 768, 128, 512
product_flops, product_bytes = 2 * N * C * out_C, 4 * (N * C + C * out_C + N * out_C)
bias_flops, bias_bytes = N * out_C, 4 * 2 * N * out_C
stated("100,663,296", product_flops)
stated("2,228,224", product_bytes)
stated("45.2", product_flops / product_bytes)
stated("393,216", bias_flops)
stated("3,145,728", bias_bytes)
stated("0.125", bias_flops / bias_bytes)
stated("256", product_flops / bias_flops)

# %% [markdown]
# ## A stopwatch
#
# A computer does other things besides, and its clock rate changes. So candidates run in turns, several times over,
# and of each we keep the shortest time: whatever else happens can only make it longer. One time alone says little.
# What is worth comparing are times from the same race. For now everything runs on one thread.

# %%
TICK = time.get_clock_info("perf_counter").resolution  # what is shorter, the clock cannot tell from 0


def race(rounds=7, **candidates):
    """The shortest time of each candidate, in seconds, all taking turns on one thread."""
    best = dict.fromkeys(candidates, math.inf)
    with blas_threads(1):
        for _ in range(rounds):
            for name, run in candidates.items():
                start = time.perf_counter()
                run()
                best[name] = min(best[name], max(time.perf_counter() - start, TICK))
    return best


rng = np.random.default_rng(17)
x, w, b = (rng.standard_normal(shape, dtype=np.float32) for shape in ((N, C), (C, out_C), out_C))
h = x @ w
times = race(rounds=20, product=lambda: x @ w, bias=lambda: h + b)
for name, flops in (("product", product_flops), ("bias", bias_flops)):
    print(f"{name:<8} {1e6 * times[name]:8.1f} µs  {flops / times[name] / 1e9:7.2f} GFLOPs in a second")

# %% [markdown]
# ## The roofline
#
# The bias is nowhere near 256 times as fast. A core has two limits: the operations it can do in a second (its peak)
# and the bytes it can fetch in a second (its bandwidth). Work of intensity I reaches at most
#
# ```
# FLOPs in a second  ≤  min(peak, I · bandwidth)
# ```
#
# (Williams, Waterman and Patterson, "Roofline", Communications of the ACM, 2009). Drawn over I, it is a roof: a
# slope, where memory decides, and a flat part, where arithmetic does. We need both numbers for this machine. The
# peak is the best rate of three products: NumPy hands them to a BLAS, the library of basic linear algebra routines,
# which cuts each into blocks that are used many times over once they have been fetched. The bandwidth comes from
# adding two arrays into a third, 96 MiB together, too large for most caches. (The line to be written is often
# fetched first: a fourth 4 bytes that we do not count.)

# %%
small, large = (rng.standard_normal((n, n), dtype=np.float32) for n in (512, 1024))
large_a, large_b, large_out = np.ones((3, 1 << 23), np.float32)
times = race(
    rounds=12,
    small=lambda: small @ small,
    mlp=lambda: x @ w,
    large=lambda: large @ large,
    add=lambda: np.add(large_a, large_b, out=large_out),
)
peak = max(2 * 512**3 / times["small"], product_flops / times["mlp"], 2 * 1024**3 / times["large"])
bandwidth = 12 * large_a.size / times["add"]  # two numbers read and one written, 4 bytes each
print(f"peak       {peak / 1e9:6.1f} GFLOPs in a second")
print(f"bandwidth  {bandwidth / 1e9:6.1f} GB in a second")
print(f"the roof bends at {peak / bandwidth:.1f} FLOPs for each byte")
stated("96", 3 * large_a.nbytes / 2**20)

# %% [markdown]
# Now walk along the roof. The product (2048, K) @ (K, 2048) writes the same output for every K and does K times the
# work, so its intensity grows with K. The roof supposes that fetching and computing go on at the same time, each at its
# best. If one had to wait for the other, their times would add up: with I · bandwidth as the slope, the rate would be
# 1 / (1 / peak + 1 / slope), half of the roof where it bends. Which of the two will the products be nearer to?

# %%
points = []
print("     K   FLOPs/byte   GFLOP/s   the roof there   one after the other")
for K in (1, 4, 16, 64, 128):
    left, right = (rng.standard_normal(shape, dtype=np.float32) for shape in ((2048, K), (K, 2048)))
    out = large_out[: 2048**2].reshape(2048, 2048)
    seconds = race(rounds=3, product=partial(np.matmul, left, right, out=out))["product"]
    flops, moved = 2 * 2048 * K * 2048, 4 * (2 * 2048 * K + 2048**2)
    points.append((flops / moved, flops / seconds))
    roof = min(peak, flops / moved * bandwidth)
    print(f"{K:>6} {flops / moved:12.1f} {flops / seconds / 1e9:9.1f}", end="")
    waiting = 1 / (1 / peak + moved / flops / bandwidth)
    print(f" {roof / 1e9:16.1f} {waiting / 1e9:21.1f}")

with plot("roofline") as axes:
    intensity = np.geomspace(0.05, 300, 200)
    axes.loglog(intensity, np.minimum(peak, intensity * bandwidth) / 1e9, "k-", label="roof, from memory")
    axes.loglog(intensity, 1 / (1 / peak + 1 / (intensity * bandwidth)) / 1e9, "k:", label="one after the other")
    axes.loglog([i for i, _ in points], [f / 1e9 for _, f in points], "o", label="products, K = 1 to 128")
    axes.loglog([1 / 12], [large_a.size / times["add"] / 1e9], "s", label="addition")
    axes.set(xlabel="FLOPs for each byte moved", ylabel="GFLOPs in a second")
    axes.legend(frameon=False)

# %% [markdown]
# Points lie *below* the roof, and they may: it is a bound, which says what cannot be exceeded and promises nothing.
# There are three reasons to be below it here.
#
# - Near the bend, both limits are felt. A BLAS fetches a block, copies it into the order in which it will be read, and
#   then multiplies; what of this does not overlap adds up. On the server that this was written on, the dotted line is a
#   good guess from K = 4 on.
# - Some bytes are not counted: those of the copies, and of the output, whose lines are often fetched before they are
#   written.
# - At K = 1, the code is the wrong one. A BLAS is made for blocks that are used many times, and here each number of the
#   output takes one multiplication. The same numbers from NumPy's multiplication of a column and a row, which is a
#   plain loop:

# %%
column, row, out = left[:, :1].copy(), right[:1].copy(), large_out[: 2048**2].reshape(2048, 2048)
times = race(product=partial(np.matmul, column, row, out=out), loop=partial(np.multiply, column, row, out=out))
for name, seconds in times.items():
    print(f"{name:<8} {1e3 * seconds:6.2f} ms   {4 * out.size / seconds / 1e9:6.1f} GB in a second written")

# %% [markdown]
# A point *above* the slope is no error either. Its numbers did not come from the memory but from a *cache*, the small
# fast memory beside the core. (A point above the flat part does mean that the measurement of the peak was disturbed.)
#
# The addition does one operation for 12 bytes, and no cleverness in the adding itself will help. To make such work fast
# there is one way: fetch less. The same addition on arrays of different sizes; at which size do they leave the cache?

# %%
for exponent in (14, 16, 18, 20, 23):
    size = 1 << exponent
    seconds = race(add=partial(np.add, large_a[:size], large_b[:size], out=large_out[:size]))["add"]
    print(f"three arrays of {4 * size / 2**10:7.0f} KiB   {12 * size / seconds / 1e9:6.1f} GB in a second")

# %% [markdown]
# ## A training step, layer by layer
#
# The ops table is where the model finds its layers (`tinygpt/ops.py`), so it is also the place for a stopwatch.
# `timed` wraps a layer. The head with its loss stands in no table: the model makes it of two layers (lesson 12), or
# takes a twin that computes both as one. So it is given to the model itself. Where a timed layer calls others, their
# time is taken off its own.


# %%
def timed(layer, name, seconds):
    def clocked(function):
        def run(*arguments, **options):
            start, inner = time.perf_counter(), sum(seconds.values())
            result = function(*arguments, **options)
            seconds[name] += time.perf_counter() - start - (sum(seconds.values()) - inner)
            return result

        return run

    return SimpleNamespace(forward=clocked(layer.forward), backward=clocked(layer.backward))


LEAVES = "linear", "cross_entropy", "attention", "gelu", "layernorm", "embedding"
TIMED = *LEAVES, "lm_head_loss"


def step_times(rounds=3, **tables):
    """For each ops table, the seconds by layer of its fastest forward and backward pass, all taking turns."""
    best = {}
    with blas_threads(1):
        for _ in range(rounds):
            for label, ops in tables.items():
                seconds = dict.fromkeys(TIMED, 0.0)
                leaves = {name: timed(getattr(ops, name), name, seconds) for name in LEAVES}
                head = timed(ops.fused("lm_head_loss") or lm_head_loss, "lm_head_loss", seconds)
                model = GPT(config, ops=ops.replace(**leaves), parts={"lm_head_loss": head})
                grads = model.params.zeros_like()
                start = time.perf_counter()
                _, cache = model.loss(idx, targets)
                model.backward(cache, grads)
                whole = max(time.perf_counter() - start, TICK)
                if label not in best or whole < best[label]["whole"]:
                    best[label] = {**seconds, "other": whole - sum(seconds.values()), "whole": whole}
    return best


config = GPTConfig(block_size=256, vocab_size=65, n_layer=1, n_head=6, n_embd=384)  # one block of --preset=baby
idx, targets = rng.integers(65, size=(2, 4, 256))
defined = step_times(definitions=DEFINITIONS)["definitions"]

# FLOPs of matrix products, forward and backward: a backward pass has two products for each one of forward (lesson 5).
flops = dict.fromkeys(defined, 0)
for row in costs(config):
    flops["attention" if row.name == "attn" else "linear"] += 3 * row.flops * idx.size
flops["whole"] = sum(flops.values())
print(f"{'':<15}share of FLOPs    time      share of time")
for name, seconds in defined.items():
    share = flops[name] / flops["whole"], seconds / defined["whole"]
    print(f"{name:<15}{share[0]:10.1%} {1e3 * seconds:12.2f} ms {share[1]:12.1%}")
print(f"at the peak the products alone would take {1e3 * flops['whole'] / peak:.1f} ms")
assert all(defined[name] > 0 for name in ("gelu", "layernorm"))

# %% [markdown]
# Only matrix products are counted here, as is the custom. GELU and LayerNorm do compute, but some ten operations
# for each number, where a linear layer does 2C. So their share of the FLOPs is all but zero, and their share of the
# time is not. They lie far down the slope, and we count their bytes.
#
# ## From a definition to its fast twin
#
# LayerNorm, forward, for N tokens of C channels. Each NumPy operation is a loop of its own: it reads whole arrays
# and writes a whole one. If they are larger than the cache, each loop fetches them again.
#
# ```
#                          read   written
# x.mean(axis=-1)           NC              the (N, 1) arrays count for nothing
# centred = x - mean        NC      NC
# centred * centred         NC      NC
# (...).mean(axis=-1)       NC
# xhat = centred * rstd     NC      NC
# xhat * w                  NC      NC
# (...) + b                 NC      NC
#                          7 NC    5 NC     12 NC numbers, where 2 NC must move
# ```
#
# x has to be read once and `out` has to be written once. The other ten are in our hands. Three rungs up:


# %%
def in_place(x, w, b, eps=1e-5, out=None):
    """1. One array, used again and again: `out=` says where a result goes, and `h *= ...` writes where it read."""
    h = np.subtract(x, x.mean(axis=-1, keepdims=True), out=out)
    std = (h * h).mean(axis=-1, keepdims=True)
    std += eps
    np.sqrt(std, out=std)
    h /= std
    h *= w
    h += b
    return h


def in_blocks(x, w, b, layer=in_place):
    """2. A few rows at a time, so that what one loop has written is still in the cache when the next one reads it."""
    out = np.empty_like(x)
    rows = max(1, BLOCK // x.shape[1])
    for start in range(0, len(x), rows):
        block = slice(start, start + rows)
        layer(x[block], w, b, out=out[block])
    return out


def sums_by_blas(x, w, b, eps=1e-5, out=None):
    """3. NumPy's sums along a short axis are slow. A mean is a product with a vector of 1/C, and BLAS is good at it."""
    C = x.shape[1]
    h = np.subtract(x, x @ np.full((C, 1), 1 / C, x.dtype), out=out)
    std = np.vecdot(h, h)[:, None]  # of each row with itself, with no array for the squares
    std /= C
    std += eps
    np.sqrt(std, out=std)
    h /= std
    h *= w
    h += b
    return h


# %% [markdown]
# Right first, then fast: all of them against the definition, in float64. Then the race, on 8 MiB of float32. Which rung
# will gain the most?

# %%
rungs = {
    "definition": lambda x, w, b: layernorm.forward(x, w, b)[0],
    "in place": in_place,
    "in blocks": in_blocks,
    "in blocks, sums by BLAS": lambda x, w, b: in_blocks(x, w, b, sums_by_blas),
    "the engine's twin": lambda x, w, b: fast_layernorm.forward(x, w, b)[0],
}
x64, w64, b64 = rng.standard_normal((300, 512)), rng.standard_normal(512), rng.standard_normal(512)
expected = rungs["definition"](x64, w64, b64)
for name, rung in rungs.items():
    print(f"{name:<26}{'the same' if np.allclose(rung(x64, w64, b64), expected) else 'WRONG'}")

x32 = rng.standard_normal((4096, 512), dtype=np.float32)
w32, b32 = w64.astype(np.float32), b64.astype(np.float32)


def ladder():
    best = race(**{name: partial(rung, x32, w32, b32) for name, rung in rungs.items()})
    for name, seconds in best.items():
        print(f"{name:<26}{1e3 * seconds:7.2f} ms   speed {best['definition'] / seconds:5.2f}")


ladder()
stated("8", x32.nbytes / 2**20)
print(f"\na block is {BLOCK:,} numbers, {BLOCK * 4 / 2**10:.0f} KiB in float32")

# %% [markdown]
# The engine's twin does more than ours: it keeps x̂ for backward, and takes the mean a second time, for what
# rounding left of it.
#
# The definition pays for something else. A fresh large array is not memory yet, only a promise of it: the system
# supplies each page (often 4 KiB) when it is first written, and clears it before. What is freed goes back to the
# system, and the next step begins anew. On Linux `keep_freed_pages` asks the allocator to keep what it was given,
# and training begins with that call. The same race, after it:

# %%
print("asked for, and granted:", keep_freed_pages())
ladder()

# %% [markdown]
# ## A bug on purpose
#
# A bug of speed computes the right numbers, and no gradient check will find it. Here are two of the kind, in GELU.
# The first writes the cube as `x**3`, which goes through the general power function: only a few exponents, such as
# 2, have a loop of their own. The second takes √(2/π) from NumPy, not from `math`. It is then a float64 *scalar of
# NumPy's*, and float32 times that is float64. From there on every number is twice as large.


# %%
def gelu_with(cube, constant):
    return lambda x: 0.5 * x * (1 + np.tanh(constant * (x + 0.044715 * cube(x))))


spellings = {
    "x * x * x": gelu_with(lambda x: x * x * x, math.sqrt(2 / math.pi)),
    "x**3": gelu_with(lambda x: x**3, math.sqrt(2 / math.pi)),
    "np.sqrt(2 / np.pi)": gelu_with(lambda x: x * x * x, np.sqrt(2 / np.pi)),
}
times = race(rounds=3, **{name: partial(spelling, x32[:1024]) for name, spelling in spellings.items()})
for name, spelling in spellings.items():
    right, dtype = np.allclose(spelling(x64), gelu.forward(x64)[0]), spelling(x32[:1]).dtype
    print(f"{name:<20}right: {right}   float32 becomes {dtype}   {1e3 * times[name]:7.2f} ms")
assert spellings["x * x * x"](x32[:1]).dtype == np.float32
assert spellings["np.sqrt(2 / np.pi)"](x32[:1]).dtype == np.float64

# %% [markdown]
# What catches the second is a test that puts float32 in and asks for the dtype of what comes out. What catches the
# first is a stopwatch, so the engine's fast twins are raced against their definitions before they are kept.
#
# ## The engine's twins
#
# `tinygpt/kernels/cpu/` holds a twin for five entries of the table, which `build("auto", "cpu")` puts in their places,
# and one for the head with its loss. What each of them does:
#
# - *layernorm*: blocks, in place, sums by BLAS, as above. The sums over rows for dw and db are products with ones.
# - *gelu*: blocks. The derivative is taken in forward, while x and Φ are in the cache, so backward is one product.
# - *attention*: queries in blocks, each against the keys up to its own end: the masked half is mostly not computed.
# - *linear*: the bias is added in place, and its gradient is a product with ones.
# - *embedding*, *lm_head_loss*: the embeddings' gradient is computed as it is added, some rows at a time, and never
#   exists whole.
#
# A twin has to be the same function as its definition, so it passes the same checks:

# %%
for name, twin in twins("cpu").items():
    reports = check_layer(name, twin)
    print(f"{name:<14}{len(reports):2} checks, {sum(not report.passed for report in reports)} wrong")
    assert all(report.passed for report in reports)

# %% [markdown]
# And the step again, definitions and twins in turns. Two products have changed places: the head's is now in
# `lm_head_loss`, and that of a weight gradient of more than half a million numbers is made, piece by piece, where
# the gradients are added up, which is `other`.

# %%
both = step_times(definitions=DEFINITIONS, twins=build("auto", "cpu"))
print(f"{'':<15}definitions       twins")
for name in (*TIMED, "other", "whole"):
    print(f"{name:<15}" + "".join(f"{1e3 * seconds[name]:8.2f} ms " for seconds in both.values()))
reached = [flops["whole"] / seconds["whole"] / peak for seconds in both.values()]
print(f"{'of the peak':<15}{reached[0]:11.0%} {reached[1]:11.0%}")

# %% [markdown]
# ## Threads
#
# A machine has several cores, and BLAS would share out each product over all of them by itself. Then the products
# get faster and the loops of NumPy do not. If a share s of the work stays on one core, n cores make the whole
# faster by
#
# ```
# 1 / (s + (1 − s) / n)            Amdahl, 1967
# ```
#
# With s = 0.3 that is 2.11 on four cores, and never more than 3.33. So the engine cuts the batch instead:
# `tinygpt.parallel.Workers` gives each thread some of the rows, for which it computes everything, with BLAS kept to
# one thread. NumPy lets go of Python's lock inside its loops, so threads do run at the same time.
#
# Each worker's gradients are added into the same arrays, and a floating-point sum depends on the order of its
# terms. What the workers have is therefore always added in one order, first, second, ..., to the same bits.
# Another number gives other bits, equal to rounding.


# %%
def speedup(serial, cores):
    return 1 / (serial + (1 - serial) / cores)


stated("2.11", speedup(0.3, 4))
stated("3.33", speedup(0.3, math.inf))

model = GPT(config)


def gradients(threads):
    grads = model.params.zeros_like()
    with Workers(threads) as workers:
        workers.gradients(model, idx, targets, grads, denominator=targets.size)
    return grads.flat


threads = max(2, min(4, cpu_count()))
once, again, alone = gradients(threads), gradients(threads), gradients(1)
print(f"{threads} workers, twice: the same bits: {np.array_equal(once, again)}")
print(f"{threads} workers and 1: the same bits: {np.array_equal(once, alone)}, ", end="")
print(f"apart by {np.linalg.norm(once - alone) / np.linalg.norm(alone):.1e} of their length")
assert np.array_equal(once, again) and np.allclose(once, alone, atol=1e-6)

times = race(rounds=3, one=lambda: gradients(1), several=lambda: gradients(threads))
print(f"1 worker {1e3 * times['one']:.1f} ms, {threads} workers {1e3 * times['several']:.1f} ms:")
print(f"speed {times['one'] / times['several']:.2f}, on {cpu_count()} cores that others may be using too")

# %% [markdown]
# ## Something to try
#
# There is no exercise in this lesson. If you like to see a cache, change one thing: give `in_blocks` other numbers
# of rows, from 1 to all of them, and race them. With few rows the time goes into Python, which has to start the
# loops; with many, where the cache is small, into fetching. Is there a valley between them on this machine? In the
# stepper, `p` gives you a prompt with everything that was defined here:
#
# ```
# for rows in (1, 4, 16, 64, 256, 1024, 4096):
#     BLOCK = rows * 512
#     print(rows, race(run=lambda: in_blocks(x32, w32, b32, sums_by_blas)))
# ```
#
# ## Questions to think about
#
# 1. When a model generates for one reader, x is one row: (1, C) @ (C, O). What is the intensity of that product?
#    What does it cost to generate for eight readers at once?
# 2. Two threads may well multiply matrices twice as fast as one, and yet not add large arrays twice as fast. What
#    do two cores share?
# 3. The twin of GELU computes the derivative in forward. When is that a bad bargain?
#
# Answers: `python -m lessons answers 17`
#
# ## To read on
#
# - Williams, Waterman, Patterson: "Roofline: An Insightful Visual Performance Model for Multicore Architectures",
#   Communications of the ACM 52(4), 2009.
# - Goto, van de Geijn: "Anatomy of High-Performance Matrix Multiplication", ACM Transactions on Mathematical
#   Software 34(3), 2008: what a BLAS does inside a product.
# - Dao et al.: "FlashAttention", 2022, arXiv:2205.14135: attention by counting bytes.
# - `tinygpt/kernels/cpu/`, `tinygpt/parallel.py`, and `benchmarks/`, where the engine is raced against PyTorch.

# %% [markdown]
# ## Answers
#
# 1. *One row.* (1, C) @ (C, C) does 2C² operations and fetches the C² weights, 4C² bytes: 0.5 FLOPs for each byte, far
#    down the slope. For eight readers the weights are fetched once for all of them, so there is eight times the work
#    for hardly more bytes, at an intensity of 3.9: nearly free. This is why servers gather their readers.
# 2. *Two cores* have each their own arithmetic and their own small caches, and share the memory. A product fetches a
#    block once and uses it many times. An addition only fetches, and if one core nearly fills the road to the memory,
#    the second finds it full.
# 3. *The slope in forward* is a bad bargain when nobody will ask for it: in evaluation and generation it is computed
#    and thrown away. In training, backward always follows. Then what is kept is one array in place of two, x and Φ, and
#    backward is one product, with no tanh and no temporaries.

# %%
import numpy as np
from kit import stated

from tinygpt.kernels.cpu import gelu as fast_gelu
from tinygpt.layers import gelu


def intensity(rows, C=768):
    return 2 * rows * C * C / (4 * (rows * C + C * C + rows * C))


stated("0.5", intensity(1))
stated("3.9", intensity(8))
x = np.random.default_rng(17).standard_normal((1024, 512), dtype=np.float32)
for name, layer in (("definition", gelu), ("twin", fast_gelu)):
    kept = sum(part.nbytes for part in layer.forward(x)[1] if isinstance(part, np.ndarray))
    print(f"GELU's {name:<11} keeps {kept / 2**20:.0f} MiB of an x of {x.nbytes / 2**20:.0f} MiB")

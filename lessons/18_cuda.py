# %% [markdown]
# # 18. A CUDA kernel
#
# *80 minutes, optional*
#
# A graphics card multiplies matrices tens or hundreds of times as fast as a core, and has a memory of its own, which is
# faster too. CuPy, a library with NumPy's functions for arrays that lie on the card, runs the layers that you wrote as
# they are. But each of its calls reads whole arrays and writes whole arrays. So the engine does LayerNorm in a *kernel*
# of its own there: a function in CUDA C, which is C++ with a few words more, that thousands of threads run at once.
#
# **How do a thousand threads add up one row, when none of them knows how far the others are?**
#
# You will write that kernel, and you need no card for it. An emulator compiles it with g++, runs every thread, checks
# each access to memory, and counts what costs a card its time. The cell below prepares that and may be skipped over:
# `launch` compiles a text and launches its kernel; `emulated` runs a cell with kernels, or shows what it printed
# elsewhere if there is no g++.

# %%
import contextlib
import io
import re
import sys
import time

import numpy as np

import tinygpt

sys.path += [f"{tinygpt.__path__[0]}/../lessons"]  # where kit is, whatever folder a notebook runs in
from kit import FOLDER, OUT, plot, stated

from tinygpt import GPT, GPTConfig, emulator
from tinygpt.backend import device_module, has_tf32, synchronize, tf32_products, to_device, to_host
from tinygpt.device import device_name, product_rate, resolve_device
from tinygpt.kernels.cuda import compiled
from tinygpt.layers import block, cross_entropy
from tinygpt.ops import DEFINITIONS
from tinygpt.optim import AdamW, adamw_update
from tinygpt.own_layers import kernels as own_kernels
from tinygpt.parallel import blas_threads

RECORDED = FOLDER / "recorded" / "18_cuda.txt"
MISSING = emulator.missing()  # why kernels cannot be run here, or None
said = {}  # what each of the cells with kernels printed

if MISSING:
    print(f"Kernels cannot be run here: {MISSING}.\nWhat they print below was recorded where they can.")
    print("To run them, install g++ and the binutils; on Debian or Ubuntu:\n    sudo apt install g++ binutils")


def recorded(name):
    """What a cell printed where kernels can be run."""
    return dict(re.findall(r"^## (\w+)\n(.*?)\n(?=\n## |\Z)", RECORDED.read_text("utf-8"), re.M | re.S))[name]


def emulated(function):
    """Runs a function with kernels, and prints what it prints; where they cannot be run, what it printed elsewhere."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        if MISSING:
            print(recorded(function.__name__))
        else:
            function()
    said[function.__name__] = out.getvalue()
    if "--record" in sys.argv and not MISSING:  # for those who have no g++
        RECORDED.write_text("\n".join(f"## {name}\n{text}" for name, text in said.items()), encoding="utf-8")
    print(out.getvalue(), end="")


def launch(source, blocks, threads, *arguments, seed=0, options=(), name="kernel.cu", kernel=None):
    """Compiles a text, which takes a fraction of a second, and launches its kernel. Returns what it moved, by line."""
    module = emulator.Module(source, options, name)
    emulator.settings.seed, emulator.settings.profile = seed, True
    try:
        module.get_function(kernel or next(iter(module.parameters)))((blocks,), (threads,), arguments)
    finally:
        emulator.settings.seed, emulator.settings.profile = 0, False
        moved = emulator.profile(module)
    return moved


# %% [markdown]
# ## Threads, warps, blocks
#
# A launch names a kernel and starts a *grid* of *blocks* of *threads*. All of them run the same function on the same
# arguments. What a thread has of its own is its number: `threadIdx.x` in its block of `blockDim.x`, and `blockIdx.x`,
# the number of its block. So the first line of most kernels makes a place of these.
#
# - 32 neighbouring threads are a *warp*, which the card runs side by side, and its threads are the warp's *lanes*.
# - The threads of a block share a small memory, and can wait for each other.
# - Blocks cannot: they run in any order, at once or one after the other, as the card has room.
#
# Here two blocks of four threads double seven numbers. Which thread has nothing to do?

# %%
DOUBLED = """\
extern "C" __global__ void doubled(const float* x, float* out, int* by, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  out[i] = 2 * x[i];
  by[i] = 10 * blockIdx.x + threadIdx.x;
}
"""


@emulated
def seven_numbers_doubled():
    x = emulator.asarray([3, 1, 4, 1, 5, 9, 2], "float32")
    out, by = emulator.empty(7), emulator.empty(7, "int32")
    launch(DOUBLED, 2, 4, x, out, by, np.int32(7))
    for i in range(7):
        print(f"out[{i}] = {out[i]:2g}, by block {by[i] // 10}, thread {by[i] % 10}")


# %% [markdown]
# Thread 3 of block 1: its place would be 7, and `x` ends at 6. Without line 3 it would read what lies behind the array.
# A card says nothing to that. Here it is an error, with the line that did it:


# %%
@emulated
def a_line_left_out():
    x, out, by = emulator.asarray(np.ones(7), "float32"), emulator.empty(7), emulator.empty(7, "int32")
    try:
        launch(DOUBLED.replace("  if (i >= n) return;\n", "\n"), 2, 4, x, out, by, np.int32(7))
    except emulator.KernelError as error:
        print(error)


# %% [markdown]
# ## Eight numbers, four threads
#
# LayerNorm needs two sums over each row: of x for the mean, of (x − mean)² for the variance. Let four threads add up
# eight numbers. No thread can see another's variables, so what one has found it puts into *shared memory*, an array
# that the whole block sees:
#
# 1. Thread t adds the numbers t and t + 4, and puts that into place t. Call the four places `parts`.
# 2. Threads 0 and 1 each add to their place the one two further on: `halves`, two numbers.
# 3. Thread 0 adds those two: `total`.
#
# Do it by hand first. With x = 3, 1, 4, 1, 5, 9, 2, 6, what are `parts`, `halves` and `total`, as expressions in NumPy?

# %%
eight = np.array([3.0, 1, 4, 1, 5, 9, 2, 6], np.float32)


# %% derive: block_sum(eight)
def block_sum(x):
    parts = x[:4] + x[4:]
    halves = parts[:2] + parts[2:]
    total = halves[0] + halves[1]
    return total


# %% [markdown]
# The same as a kernel. `__shared__` says where the array lies, and `__syncthreads()` is a *barrier*: no thread of the
# block goes on before all have come to it. The array `steps` is there for us to look at.

# %%
SUM = """\
extern "C" __global__ void block_sum(const float* x, float* steps, float* out) {
  __shared__ float parts[128];
  int t = threadIdx.x, step = 0;
  parts[t] = x[t] + x[t + blockDim.x];
  __syncthreads();
  steps[t] = parts[t];
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    if (t < half) parts[t] += parts[t + half];
    __syncthreads();
    steps[++step * blockDim.x + t] = parts[t];
  }
  if (t == 0) out[0] = parts[0];
}
"""
stated("31", block_sum(eight))


def sum_of_eight(source, seed=0):
    steps, out = emulator.empty((3, 4)), emulator.empty(1)
    launch(source, 1, 4, emulator.asarray(eight), steps, out, seed=seed)
    return steps, out[0]


@emulated
def eight_numbers_by_four_threads():
    steps, total = sum_of_eight(SUM)
    print("thread      0  1  2  3")
    for step, numbers in zip(("parts", "half = 2", "half = 1"), steps, strict=True):
        print(f"{step:<10}", *(f"{number:2g}" for number in numbers))
    print(f"sum        {total:2g}")


stated("31", said["eight_numbers_by_four_threads"].split()[-1])


# %% [markdown]
# Three steps for eight numbers, and ten for a row of 1,024: each halves what is left. Threads 2 and 3 have nothing to
# add after the first step, but they come to the barriers all the same. They must: a barrier waits for the whole block.
#
# ## A bug on purpose: a barrier left out
#
# Line 5 looks as if it did nothing. Before you go on: what goes wrong without it, and on which line is that seen?


# %%
@emulated
def a_barrier_left_out():
    without = SUM.replace("  __syncthreads();\n  steps", "\n  steps")
    for seed in (0, 84):
        try:
            sum_of_eight(without, seed)
        except emulator.KernelError as error:
            print(error, end="\n\n")
    print(*(f"{number}  {line}" for number, line in enumerate(without.splitlines()[3:8], start=4)), sep="\n")


# %% [markdown]
# One mistake, two faces. In one order of the threads the reader comes before the writer, and finds what nobody has
# written. In another the number is there by luck, and that is a *race*: the two lines are not in any order, and line 8
# may read before or after line 4 writes. The emulator names both. A card names nothing. There the threads of a warp run
# side by side, so the sum may be right in every launch today, and wrong in some with another card or compiler.
#
# ## Within a warp: no barrier
#
# A warp's lanes can hand each other numbers without shared memory. `__shfl_xor_sync(mask, x, 16)` gives each lane the x
# of the lane whose number differs in the bit 16: lane 0 that of lane 16, and lane 16 that of lane 0. All lanes of the
# mask take part, so they wait for each other there, and it needs no barrier. (A shuffle orders no shared memory,
# though.) Let lane l begin with x = l. What has lane 0 after the distances 16, 8, 4, 2 and 1?

# %%
WARP_SUM = """\
extern "C" __global__ void warp_sum(float* steps) {
  float x = threadIdx.x;
  int step = 0;
  for (int distance = 16; distance > 0; distance /= 2) {
    x += __shfl_xor_sync(0xffffffff, x, distance);
    steps[step++ * 32 + threadIdx.x] = x;
  }
}
"""


@emulated
def a_sum_over_a_warp():
    steps = emulator.empty((5, 32))
    launch(WARP_SUM, 1, 32, steps)
    print("lane           0    1    2    3 ...  31")
    for distance, x in zip((16, 8, 4, 2, 1), steps, strict=True):
        print(f"distance {distance:2}", *(f"{number:4g}" for number in x[:4]), f"... {x[31]:3g}")
    print("barriers:", emulator.barriers())


stated("496", said["a_sum_over_a_warp"].split("distance  1")[1].split()[0])


# %% [markdown]
# 496 in *every* lane, after five steps, with no barrier and no shared memory. But a warp is 32 threads, and a block has
# up to 1,024, which is 32 warps, each with a sum of its own. How do these come together, in every thread, with one
# barrier? That will be yours.
#
# ## What a card's time goes into
#
# LayerNorm computes little: some operations for each number that it reads. So its time is that of the bytes which go
# between the card's memory and its processors, and the *floor* is what each array takes if it is moved once. Two things
# put a kernel above it, though it asks for no byte too many.
#
# Memory comes in *sectors* of 32 bytes, eight floats, whole or not at all. If the 32 lanes of a warp read
# neighbouring floats, that takes 4 sectors: the access is *coalesced*. If they read a column of a matrix, each lane
# needs a sector of its own and uses an eighth of it. And shared memory lies in 32 *banks*: the floats 0, 32, 64 ...
# in the first, 1, 33, 65 ... in the second. Lanes that want different words of one bank get them one after the other.
#
# The standard example is a transpose, here of 32 × 32 numbers by 1,024 threads. Line 3 or line 4 has to walk down
# columns. Through shared memory neither has to, but then shared memory is walked down. What does one more column in the
# tile, which nobody uses, change? Say for each of the three how many sectors a warp reads, and in how many passes the
# banks answer.

# %%
DIRECT = """\
extern "C" __global__ void transpose(const float* x, float* out) {
  int row = threadIdx.x / 32, column = threadIdx.x % 32;
  float number = x[column * 32 + row];
  out[row * 32 + column] = number;
}
"""
TILED = """\
extern "C" __global__ void transpose(const float* x, float* out) {
  __shared__ float tile[32][32];
  int row = threadIdx.x / 32, column = threadIdx.x % 32;
  tile[row][column] = x[row * 32 + column];
  __syncthreads();
  out[row * 32 + column] = tile[column][row];
}
"""


@emulated
def three_ways_to_transpose():
    x, sources = emulator.asarray(np.arange(1024.0).reshape(32, 32), "float32"), {
        "direct": DIRECT, "a tile of 32 x 32": TILED, "a tile of 32 x 33": TILED.replace("[32][32]", "[32][33]"),
    }  # fmt: skip
    print(f"{'':<18}{'sectors a read':>16}{'bytes read':>12}{'over the floor':>16}{'passes':>8}")
    for name, source in sources.items():
        out = emulator.empty((32, 32))
        moved = launch(source, 1, 1024, x, out)
        assert (out == x.T).all()
        read, tile = moved.total(shared=False, write=False), moved.total(shared=True, write=False)
        passes = f"{tile.units / tile.requests:g}" if tile.requests else "none"
        sectors, over = read.units / read.requests, 32 * read.units / x.nbytes
        print(f"{name:<18}{sectors:16g}{32 * read.units:12,}{over:16g}{passes:>8}")


# %% [markdown]
# Eight times the floor, or shared memory that answers in 32 passes, and with one column more than needed neither. In a
# tile of 33 columns the numbers below each other are 33 words apart, so they lie in different banks.
#
# ## Your turn: layernorm_kernel
#
# LayerNorm's forward, for a row of any length, with a block for each row:
#
# ```
# mean[n] = Σ x[n, c] / C
# rstd[n] = 1 / √(Σ (x[n, c] − mean[n])² / C + eps)
# out[n, c] = (x[n, c] − mean[n]) · rstd[n] · w[c] + b[c]
# ```
#
# The grid has N blocks, and block n has row n, which begins at x + n · C. A block has a multiple of 32 threads, from 32
# to 1,024; C is 1, or 5, or 768, more than the block has threads or fewer. b may be a null pointer. Think of these
# before you write:
#
# - Which columns has thread t, so that neighbouring threads read neighbouring numbers, and C may be anything?
# - Where must all threads have come before one may go on? And if shared memory serves for the first sum and then for
#   the second, what may a quick thread do to a slow one?
# - Why not Σ x² / C − mean², which would take one pass in place of two? What is left of that in float32 for numbers
#   near 1,000?
#
# ```
# python -m lessons start 18            writes lessons/work/layernorm_kernel.cu
# python -m lessons check 18 --watch    launches it in the emulator at each save
# python -m lessons hint 18             if you are stuck
# ```
#
# `check` launches it with rows and blocks of many sizes, each in three orders of blocks and warps. Races, barriers
# that not all threads reach, accesses out of bounds and shared memory that nobody wrote are named with your line, and
# usual mistakes in the numbers in a sentence. When it is right you are told what it moves beside the floor.
#
# On a card `python train.py --mine lessons/work` compiles the same file, unchanged, and trains with it: forward is
# yours, and the way back the engine's. On a CPU such a run says that the kernel needs a card, and goes on without it.

# %% [markdown]
# ## The engine's own, line by line
#
# Here are the lines of the engine's kernel that decide how fast it is, as they stand in `tinygpt/kernels/cuda/`, and
# what it moves for the same 8 rows of 768 numbers as a kernel with a block for each row, the exercise's solution. (If
# yours is not written yet, write it first: what follows gives away how one can do better.)


# %%
def quoted(file, *fragments):
    """The lines of a file in which these stand, with their numbers."""
    lines = (compiled.FOLDER / file).read_text(encoding="utf-8").splitlines()
    for fragment in fragments:
        (number,) = [n for n, line in enumerate(lines, start=1) if fragment in line]
        print(f"{file}:{number:<4} {lines[number - 1].strip()}")


quoted("layernorm.cu", "int row = blockIdx.x * (blockDim.x / WARP)", "read_row(v, x")
quoted("rows.h", "typedef real Row[PER_LANE]", "v[i] = is_column(i, C)")
quoted("common.h", "x += __shfl_xor_sync(ALL_LANES, x, distance)")
quoted("rows.h", "// what rounding left of a mean", "real rstd = 1 / sqrt(var + eps)")

# %% [markdown]
# - *A warp has a row, not a block.* Then shuffles alone add it up: no shared memory, no barrier. With 12,288 rows, as
#   GPT-2's smallest has in a step of 12 sequences, there are warps enough to fill a card all the same.
# - *A row lies in registers*, the variables of a lane: 24 numbers each for 768. The loop over them has a length that
#   the compiler knows (`PER_LANE`, a macro), or they could not lie there: registers have no index. So x is read once,
#   whatever is computed of it, and lane l has the columns l, l + 32, l + 64 ..., coalesced.
# - *The mean is taken away twice.* In float32 the first one is off by a rounding, and of numbers far from 0 that is
#   much beside what is left. A second subtraction costs some arithmetic and no byte.
# - *rstd is not kept.* The way back computes it anew from x, which it reads anyway.


# %%
def what_a_row_moves():
    rng = np.random.default_rng(18)
    N, C = 8, 768
    x, w, b = (emulator.asarray(rng.standard_normal(shape), "float32") for shape in ((N, C), C, C))
    out, mean, rstd = emulator.empty((N, C)), emulator.empty(N), emulator.empty(N)
    block_a_row = own_kernels.solution("layernorm_kernel")
    moved = launch(block_a_row, N, 256, x, w, b, out, mean, rstd, np.int32(C), np.float32(1e-5))
    yield "a block a row", moved, emulator.barriers() / N, out.copy()
    warp_a_row, options = compiled.source("layernorm.cu"), ("-DREAL=float", f"-DPER_LANE={C // 32}")
    arguments = x, w, b, out, np.int32(N), np.int32(C), np.float32(1e-5)
    moved = launch(warp_a_row, 1, 256, *arguments, options=options, name="layernorm.cu")
    yield "a warp a row", moved, emulator.barriers(), out.copy()


@emulated
def the_engines_kernel_beside_the_solution():
    outputs = []
    for name, moved, barriers, out in what_a_row_moves():
        read, written = moved.total(shared=False, write=False), moved.total(shared=False, write=True)
        read, written = 32 * read.units, 32 * written.units
        print(f"{name:<14} reads {read:>7,} bytes, writes {written:,}, {barriers:g} barriers a block")
        outputs.append(out)
    print("the same numbers:", np.allclose(*outputs, atol=1e-5))


stated("30,720", 4 * (8 * 768 + 768 + 768))
read = re.findall(r"reads +([\d,]+) bytes", said["the_engines_kernel_beside_the_solution"])
assert read == ["122,880", "73,728"]


# %% [markdown]
# The floor for reading is 30,720 bytes, for x, w and b once. The solution reads x three times, once for each sum and
# once for out, and w and b for each row: 122,880. The engine's reads 73,728, where w and b are two thirds: each warp
# fetches them anew, though they come from a cache close by, whoever read them first. Of 12,288 rows they are the same
# 6,144 bytes. So on a card the floor is set by x and out.
#
# What would that be worth? With CuPy's calls, LayerNorm's 25 forward passes of a training step, 12,288 rows of 768
# each, were measured on an H200 to take 6.62 ms (`benchmarks/results/cuda.md`), 9.6 times what the bytes take that
# the definition cannot do without: x, out, and xhat, which it keeps. One pass reads and writes 75.5 MB, which takes
# 18 µs at the 4.09 TB/s at which that card copies. For the kernel 23 µs are *predicted* (85% of that rate, and 1.5 µs
# between launches), 0.6 ms for all 25. Nobody has measured that yet: `python benchmarks/cuda_report.py` would, on
# your card.

# %%
stated("73,728", 3 * 4 * 8 * 768)
stated("6,144", 2 * 4 * 768)
stated("12,288", 12 * 1024)
stated("9.6", 6.62 / (25 * 3 * 4 * 12_288 * 768 / 4.09e9), within=0.05)  # x, out, and xhat, which it keeps
pass_bytes = 2 * 4 * 12_288 * 768
stated("75.5", pass_bytes / 1e6)
stated("18", pass_bytes / 4.09e6)
predicted = pass_bytes / 4.09e6 / 0.85 + 1.5  # µs; the shares are those of benchmarks/predict_cuda.py
stated("23", predicted)
stated("0.6", 25 * predicted / 1000)
stated("85%", 0.85)

# %% [markdown]
# ## What waits
#
# A kernel is one line of a step. The rest of this lesson is what lies between kernels. A launch does not compute: it
# puts the kernel into a queue and returns, and the card takes one after the other from there. So the host, which is the
# computer that has the card, runs ahead, until the program wants to *know* a number: to print it, or to choose a branch
# by it. Then it has to wait until the card has come that far. The wait is not yet the loss, since the card is busy
# meanwhile. The loss comes after it: the queue is empty, and the card idles until the host has launched again.
#
# A card on paper, with round numbers: a launch takes the host 5 µs, and reading a number takes 10 µs after the wait.
# Ten steps of 400 kernels each:
#
# ```
# kernels of 20 µs, nothing read     5 + 4,000 · 20           =  80,005 µs
# the loss read after each step      10 (5 + 400 · 20 + 10)   =  80,150 µs
# a number read after each kernel    4,000 (5 + 20 + 10)      = 140,000 µs
# kernels of 2 µs, nothing read      4,000 · 5 + 2            =  20,002 µs
# ```
#
# Reading the loss once in a step is cheap: the card idles for 15 µs. What ruins a step is to wait inside of it, and
# what ruins a small model is that its kernels are shorter than their launch: in the last row the card is idle 60% of
# the time, and a card twice as fast would change nothing.

# %%
LAUNCH, READ = 5, 10  # microseconds


class PaperCard:
    """Two clocks, in microseconds: the host's, and the time at which the card will have done all that is queued."""

    def __init__(self):
        self.host = self.card = self.busy = 0
        self.spans = []  # (who, start, length), for the picture

    def launch(self, length):
        self.spans.append(("host", self.host, LAUNCH))
        self.host += LAUNCH
        start = max(self.host, self.card)  # not before it is launched, nor before the card is free
        self.spans.append(("card", start, length))
        self.card = start + length
        self.busy += length

    def read(self):
        self.host = max(self.host, self.card) + READ


def run(steps, kernels, length, read_every):
    """Steps of equal kernels, with a number read after every so many kernels (None: never)."""
    paper = PaperCard()
    for kernel in range(1, steps * kernels + 1):
        paper.launch(length)
        if read_every and kernel % read_every == 0:
            paper.read()
    return paper


cases = {
    "20 µs, nothing read": (20, None),
    "20 µs, the loss each step": (20, 400),
    "20 µs, after each kernel": (20, 1),
    "2 µs, nothing read": (2, None),
}
took = []
for name, (length, read_every) in cases.items():
    paper = run(10, 400, length, read_every)
    total = max(paper.host, paper.card)
    took.append(total)
    print(f"{name:<28}{total:8,} µs   the card is busy {paper.busy / total:6.1%}")
for words, total in zip(("80,005", "80,150", "140,000", "20,002"), took, strict=True):
    stated(words, total)
stated("60%", 1 - paper.busy / total)
stated("4,000", 10 * 400)
step = run(1, 400, 20, None)
stated("2,000", step.host)
stated("8,005", step.card)

with plot("timeline", columns=2, size=(8, 2.4)) as panels:
    for axes, read_every, title in zip(panels, (None, 1), ("nothing read", "a number read each time"), strict=True):
        for who, start, length in run(1, 6, 20, read_every).spans:
            axes.barh(who, length, left=start, color="tab:blue" if who == "card" else "tab:orange", edgecolor="white")
        axes.set(title=title, xlabel="µs", xlim=(0, 220))

# %% [markdown]
# The first thing that everyone measures on a card is wrong for the same reason: a stopwatch around one step says 2,000
# µs here, for what takes 8,005, since it has timed the launching. A measurement waits at both ends; `synchronize` does.
#
# `float(loss)` is an honest wait: one sees it. Others hide: `if norm > 1:`, `losses[mask]`, whose size has to be known,
# `print(x)`, `int(x.max())`, an `assert` on values. All are questions that the host asks of an array. So they can be
# counted without a card, with a NumPy array that notes each question:


# %%
class Asked(np.ndarray):
    """An array that plays one on a card: it computes as ever, and notes whenever the host has to know its values."""

    waits = []

    def __float__(self):
        self.waits.append("float()")
        return float(self.view(np.ndarray))

    def __bool__(self):
        self.waits.append("a comparison decides a branch")
        return bool(self.view(np.ndarray))

    def __getitem__(self, key):
        parts = key if isinstance(key, tuple) else (key,)
        if any(isinstance(part, np.ndarray) and part.dtype.kind == "b" for part in parts):
            self.waits.append("a mask selects")
        return super().__getitem__(key)

    def __array_function__(self, function, types, arguments, options):
        result = super().__array_function__(function, types, arguments, options)
        return result.view(Asked) if isinstance(result, np.ndarray) else result  # np.where and others lose it


def waits_of(function):
    Asked.waits.clear()
    function()
    return list(Asked.waits)


rng = np.random.default_rng(18)
B, T, C, H, V = 2, 6, 32, 4, 50
params = {
    name.removeprefix("h.0."): rng.standard_normal(shape).view(Asked) / 8
    for name, shape in GPTConfig(block_size=T, vocab_size=V, n_layer=1, n_head=H, n_embd=C).shapes().items()
    if name.startswith("h.0.")
}
x = rng.standard_normal((B, T, C)).view(Asked)
logits, targets = rng.standard_normal((B * T, V)).view(Asked), rng.integers(V, size=B * T).view(Asked)


def the_engines_block():
    out, cache = block.forward(x, params, H, ops=DEFINITIONS)
    return block.backward(out, cache)


def the_engines_loss():
    loss, cache = cross_entropy.forward(logits, targets)
    return cross_entropy.backward(np.ones(()), cache)


def the_engines_update():
    w, dw, m, v = (np.ones(1000).view(Asked) for _ in range(4))
    scale = np.minimum(1, 1.0 / np.sqrt((dw * dw).sum()))  # clipping, as tinygpt.optim has it: no question asked
    adamw_update(w, dw * scale, m, v, step=1, lr=1e-3, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1)


def a_careless_loss():
    shifted = logits - logits.max(axis=-1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=-1)) - shifted[np.arange(len(targets)), targets]
    counted = targets != -1
    if not counted.any():
        return 0.0
    return losses[counted].mean()


def a_careless_clipping():
    dw = np.ones(1000).view(Asked)
    norm = np.sqrt((dw * dw).sum())
    return dw / norm if norm > 1 else dw


for function in (the_engines_block, the_engines_loss, the_engines_update, a_careless_loss, a_careless_clipping):
    print(f"{function.__name__:<20}{len(waits_of(function))} waits", *Asked.waits, sep="  ")
print("the same loss:", np.allclose(a_careless_loss(), cross_entropy.forward(logits, targets)[0]))
assert not any(map(waits_of, (the_engines_block, the_engines_loss, the_engines_update)))
assert all(map(waits_of, (a_careless_loss, a_careless_clipping)))

# %% [markdown]
# No line of the careless ones looks wrong, and the loss is the same. This is why `cross_entropy` writes
# `xp.where(counted, losses, 0).sum()`, why clipping is a `minimum`, and why a run looks at its loss only every
# `log_interval` steps.
#
# ## What moves
#
# Host and card have each a memory of their own, joined by a PCI Express bus. In its fourth generation it has 16 lanes
# of 16 gigabits a second, of which 128 in 130 are data: 31.5 GB in a second. For GPT-2's smallest, with 12 sequences
# of 1,024 tokens in a step:
#
# ```
#                             bytes       over the bus    when
# parameters               497,759,232       15.8 ms      once; back to be saved
# ids and targets, int64       196,608        6.2 µs      each step
# loss and gradient norm             8   next to nothing  when they are read
# gradients, activations                                  never
# ```
#
# So parameters go over once and stay, ids go over each step, and everything between is made on the card and stays
# there. The eight bytes are the dangerous ones, for the wait. And ids are checked while they are still on the host:
# to raise an error the host has to know, so CuPy wraps a wrong index around in silence.
#
# ## What to measure
#
# *Agreement* first: loss and gradients beside the CPU's, in the same dtype. Then the largest rates of products and of
# additions (the roof of lesson 17), the bus, a tiny kernel's launch and a read. Then a step: if it takes hardly longer
# with twice the batch, the card is waiting for launches. This cell does that on whatever device it finds, and on a card
# writes it to `lessons/out/18_cuda.txt`.

# %%
bus = 16e9 * 16 * 128 / 130 / 8  # bytes in a second
stated("31.5", bus / 1e9)
stated("497,759,232", 4 * GPTConfig().n_params)
stated("15.8", 1e3 * 4 * GPTConfig().n_params / bus)
stated("196,608", 2 * 12 * 1024 * 8)
stated("6.2", 1e6 * 2 * 12 * 1024 * 8 / bus)

device, remark = resolve_device("auto")
xp = device_module(device)
print(f"this lesson runs on {device}, with {xp.__name__}.")
if remark:
    print(remark)


def seconds_of(function, repeats=10):
    """The mean time of a call on the device, without the first, which compiles kernels and allocates memory."""
    function()
    synchronize(device)
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    synchronize(device)
    return (time.perf_counter() - start) / repeats


def measure():
    """Lines of text: agreement, the roof, the bus, a step."""
    on_card = device == "cuda"
    yield f"device      {device_name(device) or 'this CPU'}, {xp.__name__} {xp.__version__}"

    config = GPTConfig(block_size=64, vocab_size=65, n_layer=4, n_head=4, n_embd=128)
    idx, targets = np.random.default_rng(1).integers(65, size=(2, 12, 64))
    flat = {}
    for label, model in (("reference", GPT(config, "cpu", ops=DEFINITIONS)), ("here", GPT(config, device))):
        loss, cache = model.loss(idx, targets)
        flat[label] = to_host(model.backward(cache).flat), float(loss)
    apart = np.linalg.norm(flat["here"][0] - flat["reference"][0]) / np.linalg.norm(flat["reference"][0])
    yield f"agreement   loss {flat['here'][1]:.6f}, by the definitions on a CPU {flat['reference'][1]:.6f}"
    yield f"            gradients apart by {apart:.1e} of their length"
    assert apart < 1e-4

    for kind in ("float32", "TF32")[: 1 + has_tf32(device)]:
        with tf32_products(kind == "TF32", device):
            rate = product_rate(device, "float32", seconds=0.3)
        yield f"product     {rate / 1e12:.2f} TFLOP/s at best, in {kind}"
    size = 1 << 26 if on_card else 1 << 22
    b, out = xp.ones(size, np.float32), xp.ones(size, np.float32)
    yield f"addition    {12 * size / seconds_of(lambda: xp.add(b, b, out=out)) / 1e9:,.0f} GB/s"
    if on_card:
        host = np.ones(1 << 24, np.float32)  # 64 MiB
        there = to_device(host, device)
        yield (
            f"bus         {host.nbytes / seconds_of(lambda: to_device(host, device)) / 1e9:.1f} GB/s to the card, "
            + (f"{host.nbytes / seconds_of(lambda: to_host(there)) / 1e9:.1f} GB/s back")
        )
    tiny = xp.ones((), np.float32)
    launched, read = seconds_of(lambda: tiny + 1, 200), seconds_of(lambda: float(tiny + 1), 200)
    yield f"a tiny sum  {1e6 * launched:.1f} µs, and {1e6 * read:.1f} µs when it is read each time"

    model = GPT(config, device)
    optimizer, grads = AdamW(model.params), model.params.zeros_like()
    for times in (1, 2):
        rows = np.concatenate([idx] * times), np.concatenate([targets] * times)

        def train_step(rows=rows):
            grads.flat[...] = 0
            _, cache = model.loss(*rows)
            model.backward(cache, grads)
            optimizer.step(grads, 1e-3, max_norm=1.0)

        seconds = seconds_of(train_step, 5)
        yield f"a step      {1e3 * seconds:7.2f} ms for {rows[0].size:,} tokens, {rows[0].size / seconds:,.0f} tokens/s"


lines = []
with blas_threads(1):
    for line in measure():
        print(line)
        lines.append(line)

if device == "cuda":
    OUT.mkdir(exist_ok=True)
    (OUT / "18_cuda.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")

# %% [markdown]
# On an H200 in a virtual machine it gave:
#
# ```recorded
# device      NVIDIA H200, cupy 14.2.0
# agreement   loss 4.229177, by the definitions on a CPU 4.229177
#             gradients apart by 5.6e-07 of their length
# product     51.31 TFLOP/s at best, in float32
# product     410.77 TFLOP/s at best, in TF32
# addition    2,480 GB/s
# bus         5.6 GB/s to the card, 2.7 GB/s back
# a tiny sum  18.5 µs, and 37.8 µs when it is read each time
# a step        23.42 ms for 768 tokens, 32,793 tokens/s
# a step        21.59 ms for 1,536 tokens, 71,139 tokens/s
# ```
#
# Line by line:
#
# - *agreement*: a card adds in another order, so the last digits differ.
# - *product*: in TF32 the operands are rounded to 10 bits behind the first, three digits, and sums are taken in
#   float32. For that a product is 8 times as fast. The engine trains so and checks gradients in float32 or float64.
# - *addition*: 2,480 GB/s, 61% of the 4,090 at which the card copies. CuPy's kernels read one number at a time.
# - *bus*: slower than on paper, since what goes over it is copied once more on the host. Ids are few, and nobody waits.
# - *a tiny sum*: 18.5 µs to launch, nearly four times the paper card's. With a read each time it is 37.8 µs, twice
#   that.
# - *a step*: twice the tokens take no longer, so this step is all launches, several hundred. A model of this size is no
#   work for such a card. This was before the engine had kernels of its own: each of CuPy's calls is a launch, and a
#   kernel in the place of ten calls is nine launches fewer. That is the other half of why you wrote one.
#
# What a large model does there, layer by layer and line by line, stands in `benchmarks/results/cuda.md`. To train
# there, and to check the gradients there:
#
# ```
# python train.py --device=cuda --preset=baby --out_dir=out-baby
# tinygpt gradcheck --device=cuda
# ```

# %%
stated("8", 410.77 / 51.31)
stated("4", 18.5 / LAUNCH, within=0.5)
stated("2", 37.8 / 18.5, within=0.1)
stated("61%", 2480 / 4090)

# %% [markdown]
# ## Questions to think about
#
# 1. In the engine LayerNorm gives a row to a warp, and the cross-entropy of 50,257 logits gives it to a block. Why
#    not to a warp as well?
# 2. Reading the loss after each step costs the paper card 15 µs of idling, whatever the model. Which models mind?
# 3. Ids travel as int64, 8 bytes each, where 2 would do for GPT-2's vocabulary. Would it pay to send them as uint16?
# 4. Generating text waits for the card at each token. Where does the engine wait, and what would it take not to?
#
# Answers: `python -m lessons answers 18`
#
# ## To read on
#
# - NVIDIA's "CUDA C++ Programming Guide": the chapters on the programming model, and on shared memory and its banks.
# - Mark Harris, "Optimizing Parallel Reduction in CUDA", 2007: a block's sum in seven versions, each measured.
# - `tinygpt/emulator/__init__.py`: what the emulator sees, and what it does not; `docs/cuda.md`: all of the kernels.

# %% [markdown]
# ## Answers
#
# 1. *A row of 50,257* would be 1,571 numbers for each lane of a warp, and a thread has 255 registers at most. So the
#    row cannot stay in one warp's registers; a block of 1,024 threads would have 50 each. And with as many bytes in a
#    row, a barrier is little beside them.
# 2. *Which models mind the 15 µs?* Those whose step is not much longer than that. A step of 8,000 µs loses 0.2% to
#    it, a step of 100 µs loses 13%. Small models are also those whose kernels are barely longer than their launches,
#    so the host never gets ahead, and a wait takes away what lead it has.
# 3. *uint16* would save three quarters of 196,608 bytes, 4.7 µs of the 6.2 that they need on the bus: less than a
#    launch (5 µs in the paper card). Indexing would also need them converted, which is one more launch. It does not
#    pay. (In the files of a corpus it does: there the engine keeps 2 bytes.)
# 4. *Generation* waits in `_stream` (`tinygpt/models/model.py`), where the logits come to the host and the token is
#    drawn there, from the same random numbers on every device. Not to wait, the rules and the draw would have to run on
#    the card, with random numbers sent ahead, and the text would appear some tokens later.

# %%
from kit import stated

stated("1,571", -(-50_257 // 32))
stated("50", -(-50_257 // 1024))
assert -(-50_257 // 1024) < 255 < -(-50_257 // 32)  # registers that CUDA gives a thread at most
stated("0.2%", 15 / (8000 + 15))
stated("13%", 15 / (100 + 15))
stated("196,608", 2 * 12 * 1024 * 8)
stated("6.2", 1e6 * 196_608 / 31.5e9)
stated("4.7", 0.75 * 1e6 * 196_608 / 31.5e9)

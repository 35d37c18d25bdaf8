# %% [markdown]
# # 18. On a CUDA card
#
# A graphics card multiplies matrices tens or hundreds of times as fast as a core, and has a memory of its own,
# which is faster too. The layers that you wrote run on it as they are: CuPy is a library with NumPy's functions for
# arrays that lie on the card. Then the first run is disappointing, and often it is for one line that looked
# harmless.
#
# **Which lines of a program make the computer wait for its card, and how would you find them without a card?**
#
# Everything in this lesson runs without one. Where there is a card, the measurements at the end are made on it.

# %%
import time

import numpy as np
from kit import OUT, plot, stated

from tinygpt import GPT, GPTConfig
from tinygpt.backend import (
    array_module,
    bmm,
    device_module,
    has_tf32,
    random_bits,
    synchronize,
    tf32_products,
    to_device,
    to_host,
)
from tinygpt.device import device_name, product_rate, resolve_device
from tinygpt.errors import UserError
from tinygpt.kernels.cpu import gelu as fast_gelu
from tinygpt.layers import block, cross_entropy, gelu, layernorm
from tinygpt.layers.attention import split_heads
from tinygpt.ops import DEFINITIONS
from tinygpt.optim import AdamW, adamw_update
from tinygpt.parallel import blas_threads

# %% [markdown]
# ## Last lesson's questions
#
# 1. *One row.* (1, C) @ (C, C) does 2C² operations and fetches the C² weights, 4C² bytes: 0.5 FLOPs for each byte,
#    far down the slope. For eight readers the weights are fetched once for all of them, so there is eight times the
#    work for hardly more bytes, at an intensity of 3.9: nearly free. This is why servers gather their readers.
# 2. *Two cores* have each their own arithmetic and their own small caches, and share the memory. A product fetches
#    a block once and uses it many times. An addition only fetches, and if one core nearly fills the road to the
#    memory, the second finds it full.
# 3. *The slope in forward* is a bad bargain when nobody will ask for it: in evaluation and generation it is
#    computed and thrown away. In training, backward always follows. Then what is kept is one array in place of two,
#    x and Φ, and backward is one product, with no tanh and no temporaries.


# %%
def intensity(rows, C=768):
    return 2 * rows * C * C / (4 * (rows * C + C * C + rows * C))


stated("0.5", intensity(1))
stated("3.9", intensity(8))
x = np.random.default_rng(17).standard_normal((1024, 512), dtype=np.float32)
for name, layer in (("definition", gelu), ("twin", fast_gelu)):
    kept = sum(part.nbytes for part in layer.forward(x)[1] if isinstance(part, np.ndarray))
    print(f"GELU's {name:<11} keeps {kept / 2**20:.0f} MiB of an x of {x.nbytes / 2**20:.0f} MiB")

# %% [markdown]
# ## Two memories
#
# The computer with its processor is called the *host*, the card the *device*. Each can only compute with what lies
# in its own memory. A NumPy array lies on the host, a CuPy array on the device, and the two do not mix: CuPy
# refuses to turn its array into NumPy's unasked, so a copy is always something that you wrote.
#
# Every layer begins by asking where its array lives. `array_module(x)` answers `numpy` or `cupy`, and the layer
# calls it `xp` and goes on as ever. There is no second copy of the mathematics.

# %%
device, remark = resolve_device("auto")
xp = device_module(device)
print(f"this lesson runs on {device}, with {xp.__name__}. {remark}")

x_device, w_device = to_device(x, device), to_device(np.ones(512, np.float32), device)
out, _ = layernorm.forward(x_device, w_device)
on_host, _ = layernorm.forward(x, np.ones(512, np.float32))
print("a layer's output belongs to", array_module(out).__name__)
print("back on the host it is the same:", np.allclose(to_host(out), on_host, atol=1e-5))

# %% [markdown]
# ## What moves, on paper
#
# Host and card are joined by a PCI Express bus. In its fourth generation it has 16 lanes of 16 gigabits a second,
# of which 128 in 130 are data: 31.5 GB in a second. The memory on a card is far faster. For an A100 the maker
# states 1,555 GB in a second, and 19.5 TFLOPs in float32 (NVIDIA A100 datasheet, 40 GB): its roof bends at 12.5
# FLOPs for each byte. For GPT-2's smallest, with 12 sequences of 1024 tokens in a step:
#
# ```
#                             bytes       over the bus    when
# parameters               497,759,232       15.8 ms      once; back to be saved
# AdamW's two moments      995,518,464       31.6 ms      back to be saved
# ids and targets, int64       196,608        6.2 µs      each step
# loss and gradient norm             8   next to nothing  when they are read
# gradients, activations                                  never
# ```
#
# On the card itself, all parameters can be read in 0.32 ms. So the rule is easy: parameters go over once and stay,
# ids go over each step, and everything between them is made on the card and stays there. The bus is then no
# problem at all. But look at the fourth row. Those 8 bytes are the dangerous ones.

# %%
bus = 16e9 * 16 * 128 / 130 / 8  # bytes in a second
parameter_bytes = 4 * GPTConfig().n_params
batch_bytes = 2 * 12 * 1024 * 8
stated("31.5", bus / 1e9)
stated("497,759,232", parameter_bytes)
stated("15.8", 1e3 * parameter_bytes / bus)
stated("196,608", batch_bytes)
stated("6.2", 1e6 * batch_bytes / bus)
stated("995,518,464", 2 * parameter_bytes)
stated("31.6", 1e3 * 2 * parameter_bytes / bus)
a100_peak, a100_bandwidth = 19.5e12, 1555e9
stated("1,555", a100_bandwidth / 1e9)
stated("0.32", 1e3 * parameter_bytes / a100_bandwidth)
stated("12.5", a100_peak / a100_bandwidth)

# %% [markdown]
# ## What waits
#
# A call of CuPy's does not compute. It puts the work, called a *kernel*, into a queue and returns at once. The card
# takes kernels from the queue, one after the other. So host and card work at the same time, and the host runs
# ahead.
#
# Until the program wants to *know* a number: to print it, to compare it, to choose a branch by it. Then the host
# has to wait until the card has come that far (a *synchronisation*). That wait is not yet the loss: the card is
# busy meanwhile. The loss comes after it. The queue is now empty, and the card idles until the host has launched
# again.
#
# Let us build a card on paper, with round numbers: a launch takes the host 5 µs, and reading a number takes 10 µs
# after the wait.

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


# %% [markdown]
# Ten steps of 400 kernels each:
#
# ```
# kernels of 20 µs, nothing read     5 + 4,000 · 20           =  80,005 µs
#     the card never idles
# the loss read after each step      10 (5 + 400 · 20 + 10)   =  80,150 µs
#     the card idles for 15 µs in each step
# a number read after each kernel    4,000 (5 + 20 + 10)      = 140,000 µs
# kernels of 2 µs, nothing read      4,000 · 5 + 2            =  20,002 µs
#     the card waits for launches
# ```
#
# One wait in a step is cheap here. What ruins a step is to wait inside of it, and what ruins a small model is that
# its kernels are shorter than their launch. In the last row, the card is idle 60% of the time, and a card twice as
# fast would change nothing.

# %%
cases = {
    "20 µs, nothing read": (20, None, "80,005"),
    "20 µs, the loss each step": (20, 400, "80,150"),
    "20 µs, after each kernel": (20, 1, "140,000"),
    "2 µs, nothing read": (2, None, "20,002"),
}
for name, (length, read_every, words) in cases.items():
    paper = run(10, 400, length, read_every)
    total = max(paper.host, paper.card)
    stated(words, total)
    stated("4,000", sum(who == "card" for who, _, _ in paper.spans))
    print(f"{name:<28}{total:8,} µs   the card is busy {paper.busy / total:6.1%}")
stated("60%", 1 - paper.busy / total)

with plot("timeline", columns=2, size=(8, 2.4)) as panels:
    for axes, read_every, title in zip(panels, (None, 1), ("nothing read", "a number read each time"), strict=True):
        for who, start, length in run(1, 6, 20, read_every).spans:
            axes.barh(who, length, left=start, color="tab:blue" if who == "card" else "tab:orange", edgecolor="white")
        axes.set(title=title, xlabel="µs", xlim=(0, 220))

# %% [markdown]
# ## A bug on purpose
#
# The first thing everyone measures on a card is wrong in the same way. The stopwatch is started, the step is
# called, the stopwatch is stopped: and it has timed the launching. On the paper card that is 2,000 µs for a step
# which takes 8,005 µs: four times as fast as the card can be. So a measurement waits at both ends.
# `synchronize(device)` does that on a card and nothing on a CPU.

# %%
step = run(1, 400, 20, None)
print(f"the stopwatch says {step.host:,} µs, and the card is done after {step.card:,} µs")
stated("2,000", step.host)
stated("8,005", step.card)


def seconds_of(function, repeats=10):
    """The mean time of a call on the device, without the first, which compiles kernels and allocates memory."""
    function()
    synchronize(device)
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    synchronize(device)
    return (time.perf_counter() - start) / repeats


# %% [markdown]
# ## Finding hidden waits
#
# `float(loss)` is an honest wait: one sees it. Others hide.
#
# - `if norm > 1:` asks a number of the card before it knows how to go on.
# - `losses[mask]` selects as many elements as the mask has ones, so the size of the result has to be known.
# - `print(x)`, `x.tolist()`, `x.item()`, `int(x.max())`, `np.nonzero(x)`, and an `assert` on values.
#
# All of these are questions that the host asks of an array. So they can be counted without a card, with a NumPy
# array that notes each question. It is still an array, and every layer takes it.


# %%
class Asked(np.ndarray):
    """An array that plays one on a card: it computes as ever, and notes whenever the host has to know its values."""

    waits = []

    def __float__(self):
        self.waits.append("float()")
        return float(self.view(np.ndarray))

    def __int__(self):
        self.waits.append("int()")
        return int(self.view(np.ndarray))

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


def waits_of(function, *arguments):
    Asked.waits.clear()
    function(*arguments)
    return list(Asked.waits)


# %% [markdown]
# A block's forward and backward, the loss with its gradient, and AdamW's update, as the engine's definitions have
# them:

# %%
rng = np.random.default_rng(18)
B, T, C, H, V = 2, 6, 32, 4, 50
config = GPTConfig(block_size=T, vocab_size=V, n_layer=1, n_head=H, n_embd=C)
params = {
    name.removeprefix("h.0."): rng.standard_normal(shape).view(Asked) / 8
    for name, shape in config.shapes().items()
    if name.startswith("h.0.")
}
x = rng.standard_normal((B, T, C)).view(Asked)
logits, targets = rng.standard_normal((B * T, V)).view(Asked), rng.integers(V, size=B * T).view(Asked)


def through_block():
    out, cache = block.forward(x, params, H, ops=DEFINITIONS)
    return block.backward(out, cache)


def through_loss():
    loss, cache = cross_entropy.forward(logits, targets)
    return cross_entropy.backward(np.ones(()), cache)


def update():
    w, dw, m, v = (np.ones(1000).view(Asked) for _ in range(4))
    scale = np.minimum(1, 1.0 / np.sqrt((dw * dw).sum()))  # clipping, as tinygpt.optim has it: no question asked
    adamw_update(w, dw * scale, m, v, step=1, lr=1e-3, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1)


for function in (through_block, through_loss, update):
    print(f"{function.__name__:<14}{len(waits_of(function))} waits")
    assert not Asked.waits

# %% [markdown]
# Now the loss and the clipping as one writes them at first. No line of it looks wrong, and the loss is the same.


# %%
def careless_loss():
    shifted = logits - logits.max(axis=-1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=-1)) - shifted[np.arange(len(targets)), targets]
    counted = targets != -1
    if not counted.any():
        return 0.0
    return losses[counted].mean()


def careless_clipping():
    dw = np.ones(1000).view(Asked)
    norm = np.sqrt((dw * dw).sum())
    if norm > 1:
        dw = dw / norm
    return dw


for function in (careless_loss, careless_clipping):
    print(f"{function.__name__:<18}", ", ".join(waits_of(function)))
    assert Asked.waits
print("the same loss:", np.allclose(careless_loss(), cross_entropy.forward(logits, targets)[0]))

# %% [markdown]
# So this is why `cross_entropy` writes `xp.where(counted, losses, 0).sum()` and divides by a count of at least 1,
# why clipping is a `minimum`, and why training looks at the loss only every `log_interval` steps. Until then loss
# and norm are arrays with no axes, on the card.
#
# ## Why ids are checked on the host
#
# A token id that is not in the vocabulary is a mistake which should be said in a sentence. But a layer on the card
# cannot say it: to raise an error, the host has to know. NumPy raises IndexError; CuPy, which must not wait, wraps
# the index around, and the model would train on a wrong row in silence. So ids are checked before they go over the
# bus, while they are still NumPy's and looking at them is free.

# %%
model = GPT(config)
ids = np.full((1, T), 7)
ids[0, 3] = V
try:
    model.loss(ids, ids)
except UserError as error:
    print("error:", error)

# %% [markdown]
# ## Products in batches
#
# Attention multiplies q by k transposed for each sequence and each head: with 12 sequences and 12 heads, 144 small
# products. One by one they would need 144 launches, 720 µs on the paper card, and each is too small to fill a card.
# Both cuBLAS (the card's BLAS) and NumPy take the whole stack in one call, over the last two axes.
#
# A transpose is not copied for it. It changes only the *strides*, the number of bytes from one element to the next
# along each axis, and a product can be told to walk through its operand in the other order. cuBLAS asks for one thing
# more: each matrix of the stack as far from the last as any other. The heads that `split_heads` cuts out of packed q,
# k and v are not. From head to head of a sequence it is D elements, and to the first head of the next sequence a long
# way. So on a card these are copied first, and that is cheap: each has BTC elements, and the scores, which are never
# copied, have BHT², for GPT-2's smallest 16 times as many. In the engine, `backend.bmm` is the one place where such
# products are called, so what is best for a card is decided there.

# %%
stated("720", 144 * LAUNCH)
stated("16", GPTConfig().n_head * GPTConfig().block_size / GPTConfig().n_embd)
qkv = rng.standard_normal((B, T, 3 * C), dtype=np.float32)
q, k, v = split_heads(to_device(qkv, device), H)  # 3 x (B, H, T, D)
print("q", q.shape, "strides", q.strides, "in bytes")
print("k", k.swapaxes(2, 3).shape, "strides", k.swapaxes(2, 3).strides, "transposed")
scores = to_host(bmm(q, k, transpose_b=True))  # (B, H, T, D) @ (B, H, D, T) -> (B, H, T, T)
one_by_one = [to_host(q[i, j]) @ to_host(k[i, j]).T for i in range(B) for j in range(H)]
print("one call, the same numbers:", np.allclose(scores, np.reshape(one_by_one, scores.shape), atol=1e-5))

# %% [markdown]
# ## The same numbers on both
#
# A card adds in another order, so its sums differ in the last digits, as those of two CPUs may. Random numbers are
# a harder matter: a generator on the card gives other ones than NumPy's, and then a run with dropout can no longer
# be compared. So weights, batches and draws come from NumPy on the host, and dropout's masks are computed where
# they are needed, as a hash of key and place in integers (lesson 15). Integers have no last digits to differ in.

# %%
whole = random_bits((8, 3), key=5, first_row=0, xp=xp)
lower_half = random_bits((4, 3), key=5, first_row=4, xp=xp)
print("rows 4 to 7, computed alone: the same bits:", np.array_equal(to_host(whole)[4:], to_host(lower_half)))
print("as NumPy has them:", np.array_equal(to_host(whole), random_bits((8, 3), 5, 0, np)))

# %% [markdown]
# ## Fewer digits, for speed
#
# A float32 number has 23 bits after its leading one. NVIDIA's cards since 2020 (Ampere) multiply matrices faster if
# 10 are enough: for the A100 the maker states 156 TFLOPs, 8 times as many. In *TF32*, the operands of a product are
# rounded to 10 bits, and its sums are taken in float32. Rounding to 10 bits is off by at most half a unit of the last,
# 2⁻¹¹ of the number: three digits are left. How many of them a product keeps can be computed here, since to round is
# to add half of the last place and to clear what is behind it:


# %%
def tf32(x):
    bits = x.view(np.uint32)
    half = np.uint32(0x0FFF) + (bits >> np.uint32(13) & np.uint32(1))  # a tie goes to the even neighbour
    return ((bits + half) & np.uint32(0xFFFFE000)).view(np.float32)


a100_tf32 = 156e12
stated("8", a100_tf32 / a100_peak)
a, b = rng.standard_normal((2, 256, 256), dtype=np.float32)
exact = a.astype(np.float64) @ b.astype(np.float64)
off = {
    "float32": np.linalg.norm(a @ b - exact) / np.linalg.norm(exact),
    "TF32": np.linalg.norm(tf32(a) @ tf32(b) - exact) / np.linalg.norm(exact),
}
print(", ".join(f"{kind} is off by {error:.1e}" for kind, error in off.items()))
worst = np.abs(tf32(a) / a - 1).max()
print(f"one number at most by {worst:.6f}, and 2⁻¹¹ is {2**-11:.6f}")
assert off["float32"] < 1e-6 < 1e-4 < off["TF32"] < 1e-3 and 0.9 * 2**-11 < worst <= 2**-11

# %% [markdown]
# So the errors of a product's terms, of either sign, do not add up to more than one of them, and it keeps three digits
# too. That is enough to train with, and not enough to prove a gradient with. The engine trains in TF32 on a card that
# has it (`--tf32=0` turns it off), and checks gradients, loads models and writes text in float32 or float64.
#
# ## What to measure
#
# 1. *Agreement* first: loss and gradients against the CPU's, in the same dtype. Speed comes after.
# 2. *The roof* (lesson 17): a large product, and an addition of large arrays.
# 3. *The bus* both ways, the launch of a tiny kernel, and what a read costs.
# 4. *A step*, of the size that you mean to train, after a first one. If it takes hardly longer with twice the
#    batch, the card is waiting for launches.
# 5. *Utilisation*: the model's FLOPs in a second, over the fastest product that this card was seen to do. A run on a
#    card measures that at its start, in a second, and shows the share; the maker's table says what no program reaches.
#
# This cell does that on whatever device the lesson runs on. Where that is a card, it also writes what it printed to
# `lessons/out/18_cuda.txt`.


# %%
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
# On a card, a large one in a virtual machine, it gave:
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
# Read the last two lines first. Twice the tokens take no longer, so this step is all launches: of several hundred
# kernels, and the host takes longer over one than on our paper card. A model of this size is no work for such a card.
# The bus is slower than on paper, since what goes over it is copied once more on the host; ids are few, and nobody
# waits for them. The addition does not reach the rate at which this card copies (`benchmarks/results/cuda.md`), as
# CuPy's kernels read one number at a time. And TF32 is 8 times as fast as float32, as on the A100's paper.
#
# What a large model does there, layer by layer and line by line, stands in the same file.

# %% [markdown]
# To train there, and to check the gradients there:
#
# ```
# python train.py --device=cuda --preset=baby --out_dir=out-baby
# tinygpt gradcheck --device=cuda
# ```
#
# With the default, `--device=auto`, the card is taken where CuPy can compute on one. Your own layers go along, if
# they ask `array_module` for their functions: that was what the exercises meant by "NumPy and CuPy alike".
#
# ## Questions to think about
#
# 1. Reading the loss after each step costs the paper card 15 µs of idling, whatever the model. Which models mind?
# 2. Ids travel as int64, 8 bytes each, where 2 would do for GPT-2's vocabulary. Would it pay to send them as
#    uint16?
# 3. Generating text waits for the card at each token. Where does the engine wait, and what would it take not to?
#
# They are answered at the beginning of lesson 19.
#
# ## To read on
#
# - The CuPy documentation, "Performance Best Practices", on benchmarking and synchronisation.
# - NVIDIA's "CUDA C++ Programming Guide", on asynchronous concurrent execution.
# - `tinygpt/backend.py`, the only file that imports CuPy, and `tinygpt/optim/`, where nothing asks.

# %% [markdown]
# # 19. Many machines
#
# *50 minutes, optional*
#
# A batch is rows, and rows do not know of each other: what one costs in the loss, and its gradient, can be computed
# anywhere. So several machines could share a step, each with a copy of the model and a part of the rows. But then
# they have to agree on the step, all of them, or they are training as many models as they are machines.
#
# **How can eight machines train one model, so that nobody can tell from its losses that they are eight?** And what
# has to pass between them in each step, and how long does that take?

# %%
import hashlib
import sys

import numpy as np

import tinygpt

sys.path += [f"{tinygpt.__path__[0]}/../lessons"]  # where kit is, whatever folder a notebook runs in
from kit import TEXT, plot, stated
from ranks import on_ranks

from tinygpt.data import windows_at
from tinygpt.layers import cross_entropy
from tinygpt.models.gpt2 import GPT, GPTConfig
from tinygpt.optim import AdamW
from tinygpt.run.ring import ring_step

characters = sorted(set(TEXT))
tokens = np.array([characters.index(c) for c in TEXT])
config = GPTConfig(vocab_size=len(characters), block_size=32, n_layer=2, n_head=2, n_embd=32, dropout=0.1)

# %% [markdown]
# ## Which sums may be split
#
# The processes that share a run are its *ranks*, numbered from 0. Two ranks, and the losses of their targets:
#
# ```
# rank 0    1, 2, 3      mean 2
# rank 1    6            mean 6       (its other targets do not count)
# ```
#
# What is the loss of the step? Say it before you run this.

# %%
here, there = np.array([1.0, 2, 3]), np.array([6.0])
print("mean of the means:", (here.mean() + there.mean()) / 2)
print("mean of them all: ", np.concatenate([here, there]).mean())
stated("4", (here.mean() + there.mean()) / 2)
stated("3", np.concatenate([here, there]).mean())

# %% [markdown]
# The loss of a step is the mean over all its targets that count, here 3. Means cannot be averaged, unless all are of
# equally many; the 6 would weigh as much as the other three together. What can be added are sums and counts.
#
# The same holds for the gradient, since the gradient of a sum is the sum of the gradients. Each rank has the sum of
# its losses, their number, and the gradient of that sum, which for three parameters is three numbers. With a row for
# each rank:

# %%
sums, counts = np.array([6.0, 6.0]), np.array([3, 1])
grad_sums = np.array([[3.0, 0.0, -6.0], [1.0, 2.0, 2.0]])  # (ranks, parameters)

# %% [markdown]
# Three lines: the number of targets of the whole step, its loss, and its gradient. In what order?


# %% derive: of_the_step(sums, counts, grad_sums)
def of_the_step(sums, counts, grad_sums):
    count = counts.sum()
    loss = sums.sum() / count
    gradient = grad_sums.sum(axis=0) / count
    return loss, gradient


# %% [markdown]
# Three things pass between ranks: **a sum of losses, a count, and one flat gradient**. The count may go ahead, since it
# is known from the targets before anything is computed. Then each rank divides its own sums by the count of *all*, and
# what is left to do is one addition over all ranks.
#
# That addition is an *all-reduce*: each rank comes with an array, and each leaves with the sum. Then all make the same
# step, from the same weights by the same gradient, and have the same weights again. No weight is ever sent.
#
# ## The same losses, whoever shares the work
#
# Two things in a step are random: which rows it has, and what dropout drops. If each rank drew for itself, two ranks
# would see other numbers than one. So nothing may depend on who asks:
#
# - *Rows* follow from the seed and the number of the step. Each rank can draw the places of the whole batch, which is a
#   few numbers, and cut out its own part.
# - *Dropout's bits* are a hash of the seed, the step and the row's place in the whole batch (lesson 15). A rank tells
#   the model where its first row stands.
#
# Here are 1, 2 and 4 ranks in float64, one after another in this process, on rows of which the last two are cut short,
# so that the ranks' counts differ. (One model stands for all copies: they would be the same.) By how much will the
# losses differ?

# %%
SEED, B, T = 19, 8, config.block_size


def batch(*purpose):
    """A step's rows; of the last two only 5 targets count."""
    idx, targets = windows_at(tokens, np.random.default_rng(purpose).integers(len(tokens) - T, size=B), T)
    targets[-2:, 5:] = cross_entropy.IGNORED
    return idx, targets


def train(ranks, broken="", steps=12, dtype="float64"):
    """A fresh GPT trained by so many ranks: its losses."""
    model = GPT(config, dtype=dtype, seed=1)
    optimizer, losses = AdamW(model.params), []
    for step in range(steps):
        idx, targets = batch(SEED, step)
        count = int((targets != cross_entropy.IGNORED).sum())
        loss, gradient = 0.0, model.params.zeros_like()
        for rank in range(ranks):
            mine = slice(B * rank // ranks, B * (rank + 1) // ranks)
            divide_by, first_row = count, mine.start
            if broken == "batches":  # each rank draws its own
                idx, targets = batch(SEED, step, rank)
            if broken == "dropout":  # each rank numbers its rows from 0
                first_row = 0
            if broken == "means":  # the mean of the ranks' means
                divide_by = ranks * int((targets[mine] != cross_entropy.IGNORED).sum())
            part, cache = model.loss(idx[mine], targets[mine], divide_by, step=step, row=first_row)
            loss += part
            gradient.flat[...] += model.backward(cache).flat  # the all-reduce
        optimizer.step(gradient, 3e-3, max_norm=1.0)
        losses.append(float(loss))
    return np.array(losses)


one = train(1)
apart = {ranks: np.abs(train(ranks) - one).max() for ranks in (2, 4)}
print("the losses of one rank:", one[:3].round(3), "...", one[-3:].round(3))
for ranks, most in apart.items():
    print(f"{ranks} ranks: no loss differs by more than {most:.1e}")
assert max(apart.values()) < 1e-12

# %% [markdown]
# They are the same but for rounding, and so would any other number be. Whoever resumes the run may do so with another
# number of ranks, and nobody can tell.
#
# Now the three ways to get it nearly right. Which of them would you notice in a list of losses?

# %%
print(f"{'one rank':10}", *(f"{loss:.3f}" for loss in one[::2]), "   differ by at most")
off = {}
for broken in ("batches", "dropout", "means"):
    losses = train(4, broken)
    off[broken] = np.abs(losses - one).max()
    print(f"{broken:10}", *(f"{loss:.3f}" for loss in losses[::2]), f"   {off[broken]:.3f}")
assert 0.001 < min(off.values()) and max(off.values()) < 0.5

# %% [markdown]
# None of them. All three fall, and each could be a run of one rank. What gives them away is that the losses are others
# than those of one rank, and that can only be asked where they are meant to be the same: to the rounding, and not by
# the look of a curve.
#
# ## All to one
#
# Now the addition itself, between real processes. `on_ranks` starts one for each array, joined by pipes, each to each,
# and runs a program in all of them. A pipe carries bytes one way, from a process to another. `send` and `receive` are
# all that the program has; the bytes are counted as they pass. (`lessons/ranks.py` has how it is done, if you are
# curious. Between machines a network takes the place of the pipes.)
#
# The first idea: all send their array to rank 0, which adds them up and sends the sum back. An array has S bytes. How
# many go in and out at rank 0, with four ranks? And at the others?


# %%
def all_to_one(x, rank, size, send, receive):
    if rank == 0:
        for other in range(1, size):
            x += receive(other)
        for other in range(1, size):
            send(x, other)
    else:
        send(x, 0)
        x[...] = receive(0)


def report(results):
    for rank, result in enumerate(results):
        sent, received = sum(result.sent.values()) / S, sum(result.received.values()) / S
        print(f"rank {rank}: sent {sent:.4f} S to {[*result.sent]}, received {received:.4f} S")


def gradients(size, step=0):
    """Each rank's part of the gradient of a step, in float32."""
    model = GPT(config, seed=1)
    idx, targets = batch(SEED, step)
    count = int((targets != cross_entropy.IGNORED).sum())
    shares = [slice(B * rank // size, B * (rank + 1) // size) for rank in range(size)]
    caches = [model.loss(idx[mine], targets[mine], count, step=step, row=mine.start)[1] for mine in shares]
    return [model.backward(cache).flat.copy() for cache in caches]


parts = gradients(4)
S = parts[0].nbytes
print(f"four gradients of {parts[0].size:,} numbers, S = {S:,} bytes each")
naive = on_ranks(all_to_one, parts)
report(naive)
assert all(np.array_equal(result.x, naive[0].x) for result in naive)
stated("3", sum(naive[0].sent.values()) / S)
stated("3", sum(naive[0].received.values()) / S)

# %% [markdown]
# Three times S in and three times S out, through the one link of rank 0 to the network, while the links of the others
# are idle most of the time. With N ranks it is N − 1 times: whoever adds machines makes the exchange slower.
#
# ## The ring
#
# So that all links work all the time, each rank adds up a part of the array. Put the ranks in a circle, in which each
# sends to the right and receives from the left, and cut the array into N chunks.
#
# - *First half.* At step 0 each rank gives away the chunk of its own number. What comes is added to the chunk of the
#   same number here, and that sum goes on. After N − 1 steps a chunk has been everywhere, and is whole. This half is
#   called *reduce-scatter*: it leaves each rank with the sum of one chunk.
# - *Second half.* The whole chunks go round once more, in another N − 1 steps, and are stored. This is the
#   *all-gather*.
#
# ![Two halves of a ring of four ranks. In steps 1 to 3 each rank adds the chunk that comes from the
# rank above, its left neighbour, to its own, so that after step 3 each has one chunk with the numbers
# of all four; in steps 4 to 6 the whole chunks are passed on and stored, until every rank has all
# four.](../pictures/ring.svg)
#
# A chunk has S/N bytes, and each rank sends 2 (N − 1) of them:
#
# ```
# a rank sends      2 (N − 1)/N · S
# N = 2                       1 · S
# N = 4                     1.5 · S
# N = 1000                1.998 · S
# ```
#
# Less than 2 S, however many there are. That is the whole trick, and for large arrays nothing is better (Patarasuk and
# Yuan, 2009): what a rank does not have comes in, and what others do not have goes out.

# %%
for words, N in (("1", 2), ("1.5", 4), ("1.998", 1000)):
    stated(words, 2 * (N - 1) / N)

# %% [markdown]
# ## Your turn: ring_step
#
# ```
# python -m lessons start 19       writes lessons/work/ring_step.py
# python -m lessons check 19       holds it against the definition
# python -m lessons hint 19        if you are stuck
# ```
#
# The ring is the same step again and again: a chunk comes, is taken in, and goes on. `ring_step(x, came, step, rank,
# size)` takes in what came from the left and returns what goes to the right. That is one and the same chunk, so there
# is one index to find. Follow one chunk in the picture to see how its number depends on the step and the rank, and at
# which step adding ends and storing begins. At step 0 nothing has come; what the last step returns nobody needs.
#
# `np.array_split(x, size)` cuts x into chunks, of which some are longer by one where size does not divide. They are
# views: what you write into a chunk is in x. The judge looks at x afterwards, and at what you return.
#
# `python -m lessons run 19` trains on four ranks whose gradients go round by your step, beside the engine's one. And
# `python train.py --mine lessons/work` takes it in where several processes share the run, as at the end of this lesson.
#
# ## Four processes
#
# Around the step there is little left to write. What does rank 0 send now, in multiples of S?


# %%
def ring(x, rank, size, send, receive):
    came = None
    for step in range(2 * size - 2):
        send(ring_step(x, came, step, rank, size), (rank + 1) % size)
        came = receive((rank - 1) % size)
    ring_step(x, came, 2 * size - 2, rank, size)


results = on_ranks(ring, parts, ring_step)
report(results)
total = np.sum(parts, axis=0, dtype=np.float64)
assert max(np.abs(result.x - total).max() for result in results) < 1e-6
for result in results:
    stated("1.5", sum(result.sent.values()) / S)
    stated("1.5", sum(result.received.values()) / S)
    assert len(result.sent) == 1

# %% [markdown]
# 1.5 S for each, to a single neighbour, and as much from the other: as it was to be.
#
# One thing is hidden in `send`. A pipe holds some tens of thousands of bytes, and a writer into a full one has to wait
# until somebody reads. If every rank wrote first and read afterwards, then with large chunks all would wait for ever,
# each for its neighbour to read. So `send` returns at once, and the bytes are written beside the program, in a *thread*
# of their own. MPI, the *message passing interface* by which clusters do this, has one call for both, `Sendrecv`, and
# another for all that we did here, `Allreduce`.
#
# ## Another order of adding
#
# A sum of floats depends on its order, in its last bit. Where does the sum of chunk 0 begin in the ring, and where that
# of chunk 1? So how many numbers of each chunk will differ from the sum in the order of the ranks? And how many will
# differ between two ranks?

# %%
in_order = parts[0] + parts[1] + parts[2] + parts[3]
differing = [chunk.mean() for chunk in np.array_split(results[0].x != in_order, 4)]
print("not as in the ranks' order, of each chunk:", *(f"{share:.1%}" for share in differing))
for rank, result in enumerate(results):
    print(f"rank {rank}: {hashlib.sha256(result.x.tobytes()).hexdigest()[:16]}")
assert len({result.x.tobytes() for result in results}) == 1 and differing[0] == 0
assert 0.05 < min(differing[1:]) and max(differing) < 0.9

# %% [markdown]
# The sum of chunk c begins at rank c, so each chunk has an order of its own, and only chunk 0 has that of the ranks.
# The bits are others than those of one process: "the same losses" is meant to 12 digits or so in float64. But they are
# *the same on all ranks*, to the last bit, since each chunk is added up once and then only copied. That is no nicety.
# Weights that differ in a bit are two models, and nothing in a step ever brings them together again.
#
# ## How long it takes
#
# A link carries B bytes in a second, and a message needs the time a before its first byte is there (the *latency*). The
# ring has 2 (N − 1) steps, one after another:
#
# ```
# t = 2 (N − 1)/N · S/B + 2 (N − 1) a
# ```
#
# GPT-2's smallest has 124,439,808 parameters; S is 497,759,232 bytes in float32. Between the cards of one server lies
# NVLink, for an H200 371 GB/s each way and a = 3.4 µs, with which NCCL plans, NVIDIA's library for this
# (`docs/scale.md`). Between two offices lies an Ethernet of 1 Gbit/s, 0.125 GB/s (say a = 50 µs). With eight ranks, how
# long does the exchange take over each?

# %%
GPT2 = GPTConfig().n_params


def seconds(N, size, bandwidth, latency):
    """Of an all-reduce of `size` bytes in a ring of N."""
    return 2 * (N - 1) / N * size / bandwidth + 2 * (N - 1) * latency


NVLINK, ETHERNET = (371e9, 3.4e-6), (0.125e9, 50e-6)
nvlink, ethernet = seconds(8, 4 * GPT2, *NVLINK), seconds(8, 4 * GPT2, *ETHERNET)
print(f"NVLink {1e3 * nvlink:.2f} ms, Ethernet {ethernet:.2f} s: {ethernet / nvlink:,.0f} times as long")
stated("124,439,808", GPT2)
stated("497,759,232", 4 * GPT2)
stated("2.40", 1e3 * nvlink)
stated("6.97", ethernet)
assert np.isclose(1e9 / 8, ETHERNET[0])

# %% [markdown]
# 2.40 ms and 6.97 s. Is that long? It depends on what the ranks do in between. An H200 on the engine's kernels was
# measured at 46,930 tokens in a second (`benchmarks/results/cuda.md`), so that 12 sequences of 1,024 tokens take it 262
# ms. If a step is one such *micro-batch* and then the exchange, the share of the time in which it computes is
#
# ```
# 0.262 / (0.262 + t)
# ```
#
# And there is a way out for a slow network. A step may have several micro-batches on each rank, whose gradients it adds
# up by itself; they are exchanged once, after the last (`--gradient_accumulation_steps` is their number on all ranks
# together). Sums do not mind. With A of them on each the share is 0.262 A / (0.262 A + t). How many does the Ethernet
# need for nine tenths?

# %%
compute = 12 * 1024 / 46_930
print(f"{'micro-batches':>14}{'NVLink':>10}{'Ethernet':>10}")
for A in (1, 4, 16, 64, 256):
    shares = [A * compute / (A * compute + t) for t in (nvlink, ethernet)]
    print(f"{A:>14}{shares[0]:>10.1%}{shares[1]:>10.1%}")
needed = 9 * ethernet / compute
print(f"nine tenths over Ethernet: {needed:.0f} micro-batches a step")
stated("262", 1e3 * compute)
stated("0.262", compute)
stated("99.1%", compute / (compute + nvlink))
stated("3.6%", compute / (compute + ethernet))
stated("240", needed)
assert 8 * compute / (compute + ethernet) < 1
stated("23.6", 8 * 240 * 12 * 1024 / 1e6)
stated("48", 8 * 240 * 12 / 480)

small = GPTConfig(block_size=64, vocab_size=97, n_layer=4, n_head=4, n_embd=128, bias=False)
alone = 12 * 64 / 26_000  # seconds of a micro-batch on two cores (docs/using.md)
exchange = seconds(2, 4 * small.n_params, *ETHERNET)
gains = {A: 2 * A * alone / (A * alone + exchange) for A in (1, 8)}
print(f"two machines, {small.n_params:,} parameters, an exchange of {1e3 * exchange:.0f} ms")
for A, gain in gains.items():
    print(f"    with {A} micro-batch{'es' * (A > 1)} on each {gain:.2f} times as fast as one")
with plot("accumulation") as axes:
    numbers = np.geomspace(1, 1000, 50)
    for name, t in (("NVLink", nvlink), ("1 Gbit/s", ethernet)):
        axes.semilogx(numbers, numbers * compute / (numbers * compute + t), label=name)
    axes.set(xlabel="micro-batches in a step", ylabel="share of the time that computes", ylim=(0, 1.02))
    axes.legend(frameon=False)

# %% [markdown]
# Over NVLink eight cards compute 99.1% of the time, without any accumulation. Over the Ethernet it is 3.6%: eight such
# cards would be slower than one. With 240 micro-batches on each it would pay, but that is a batch of 23.6 million
# tokens in a step, 48 times that of `--preset=gpt2`. Two machines and the small model of `python train.py` come over
# the same Ethernet to 1.06 times one of them, and with eight micro-batches on each to 1.80 times (by the formula;
# `docs/scale.md` has what was measured). So the first question is never how fast a network is, but how much is computed
# for each byte of the gradient.

# %%
stated("1.06", gains[1])
stated("1.80", gains[8])

# %% [markdown]
# The ring's first half leaves each rank with the whole sum of one chunk, and that is all that it needs to update one
# N-th of the parameters: so it can keep one N-th of AdamW's m and v, and the second half sends the new parameters round
# in the place of the gradient. This is the first stage of ZeRO (Rajbhandari et al., 2020), `--shard_optimizer` here: as
# many bytes on the links, and the moments' memory divided by N.
#
# ## The replica that drifts
#
# Four copies of the model now, each with its own weights, gradient and optimiser, as in four processes; the exchange is
# the ring. Its author knows that a pipe wants its bytes in one piece, and takes care of it. On rank 3 the gradient lies
# beside other numbers in one table, which is nobody else's business. There is a mistake in this cell. What does the
# list of losses say about it?


# %%
def all_reduce(arrays):
    """The sum over all ranks, in the array of each: the ring, one rank after another in one process."""
    arrays = [np.ascontiguousarray(x) for x in arrays]
    size = len(arrays)
    came = [None] * size
    for step in range(2 * size - 1):
        goes = [ring_step(arrays[rank], came[rank], step, rank, size).copy() for rank in range(size)]
        came = [goes[rank - 1] for rank in range(size)]


def four_copies(reduce, steps=40):
    """Losses and, after each step, a hash of every rank's weights."""
    copies = [GPT(config, dtype="float64", seed=1) for _ in range(4)]
    optimizers = [AdamW(model.params) for model in copies]
    of_each = [model.params.zeros_like() for model in copies]
    flats = [gradient.flat for gradient in of_each[:3]] + [np.zeros((of_each[3].flat.size, 2))[:, 0]]
    losses, hashes = [], []
    for step in range(steps):
        idx, targets = batch(SEED, step)
        count, loss = int((targets != cross_entropy.IGNORED).sum()), 0.0
        for rank, model in enumerate(copies):
            mine = slice(2 * rank, 2 * rank + 2)
            part, cache = model.loss(idx[mine], targets[mine], count, step=step, row=mine.start)
            flats[rank][...] = model.backward(cache).flat
            loss += part
        reduce(flats)
        for optimizer, gradient, flat in zip(optimizers, of_each, flats, strict=True):
            gradient.flat[...] = flat
            optimizer.step(gradient, 3e-3, max_norm=1.0)
        losses.append(float(loss))
        hashes.append([hashlib.sha256(model.params.flat.tobytes()).hexdigest()[:8] for model in copies])
    return np.array(losses), hashes


right = train(1, steps=40)
losses, hashes = four_copies(all_reduce)
print("step     one rank    four copies")
for step in (0, 1, 2, 5, 10, 20, 39):
    print(f"{step:4} {right[step]:12.3f} {losses[step]:14.3f}")
assert losses[-1] < losses[0] - 0.5 and 0 < np.abs(losses - right).max() < off["batches"]

# %% [markdown]
# They fall as they should, and stay nearer to those of one rank than they did with other batches, further above. If you
# did not have the left column, you would be content.
#
# Weights are what has to be the same, so look at them. Not number by number, of which there may be billions: a hash of
# their bytes is as long for any model, and other bytes have another. After the first step:

# %%
print("step 0:", *hashes[0])
strangers = [rank for rank in range(4) if hashes[0][rank] != hashes[0][0]]
print("ranks whose weights are not those of rank 0:", strangers)
assert strangers == [3]

# %% [markdown]
# At once, and it says which. Now find the line in `all_reduce`. What is special about rank 3's array, and which line
# minds? (At the prompt, `p`, you can ask arrays whether they share their memory.)

# %%
table = np.zeros((5, 2))
for name, x in (("a gradient of its own", np.zeros(5)), ("a column of a table", table[:, 0])):
    print(f"{name:22} in one piece: {x.flags.c_contiguous!s:5}", end="")
    print("  what comes back is its own memory:", np.shares_memory(x, np.ascontiguousarray(x)))
assert not np.shares_memory(table[:, 0], np.ascontiguousarray(table[:, 0]))

# %% [markdown]
# `np.ascontiguousarray` gives back what it was given, if that is in one piece, and a *copy* if it is not. On rank 3 the
# ring did its work in a copy, which nobody looked at afterwards: rank 3 gave its numbers to the others and went on by
# its own gradient alone. No shape is wrong, no message is lost, the other three do what they should.
#
# The remedy is a line, and the proof is the hash:


# %%
def mended(arrays):
    whole = [np.ascontiguousarray(x) for x in arrays]
    all_reduce(whole)
    for x, summed in zip(arrays, whole, strict=True):
        x[...] = summed


losses, hashes = four_copies(mended, steps=12)
print("after 12 steps:", *hashes[-1])
print(f"from one rank's losses: at most {np.abs(losses - one).max():.0e}")
assert all(len(set(row)) == 1 for row in hashes) and np.abs(losses - one).max() < 1e-12

# %% [markdown]
# The engine asks for this hash at every save, and saves nothing if a rank has another (`tinygpt/run/alike.py`).
#
# ## The real thing
#
# Several processes that find each other are MPI's business. With the engine's source:
#
# ```
# pip install -e '.[mpich]'
# mpiexec -n 2 python train.py
# ```
#
# It is the run of one process, with the same losses; one line tells that there are two:
#
# ```recorded
# device      cpu, 1 thread, auto kernels, each of 2 ranks on 1 machine
# ```
#
# On the cores of one machine threads share the work without an exchange. But the same words, with a list of hosts, are
# a run over many. `tinygpt/run/group.py` is the place to read: what ranks tell each other, over MPI, or over NCCL where
# the arrays lie on cards. `tinygpt/run/rows.py` has which rows are whose. And `docs/scale.md` has the figures, and what
# fails how.
#
# With your own ring in the place of MPI's all-reduce:
#
# ```
# mpiexec -n 2 python train.py --mine lessons/work
# ```
#
# ## Questions to think about
#
# 1. Eight machines, of which one is half as fast as the others. How fast is the run? What would you change?
# 2. Rank 0 could draw each step's rows and send them to the others. What is better about drawing them everywhere?
# 3. With 1,000 ranks over the Ethernet above and a gradient of a million numbers, what takes the time? And of how many
#    numbers must the gradient be, for bytes and latency to take as long as each other?
#
# Answers: `python -m lessons answers 19`
#
# ## To read on
#
# - Patarasuk and Yuan: "Bandwidth optimal all-reduce algorithms for clusters of workstations", Journal of Parallel and
#   Distributed Computing, 2009: the ring, and why nothing is better for large arrays.
# - Goyal et al.: "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour", 2017, arXiv:1706.02677: what large
#   batches do to the learning rate, and the usual mistakes of distributed training.
# - Sergeev and Del Balso: "Horovod", 2018, arXiv:1802.05799: the ring comes to deep learning.
# - Rajbhandari et al.: "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", 2020, arXiv:1910.02054.

# %% [markdown]
# ## Answers
#
# 1. *The slow one* sets the pace, since all wait for its gradient: the run is as fast as 4 of the fast machines.
#    Without the slow one it would be as fast as 7, and with half as many rows for it as 7.5: nothing in the sums asks
#    that the shares are equal, if each rank divides by the count of all.
# 2. *Drawing them everywhere* needs no message, so nobody waits for rank 0, and no step depends on how many there are.
#    It costs each rank the places of rows that it will not read, a few numbers. And the batches of a step follow from
#    the run alone, so that it can be resumed anywhere.
# 3. *The latency.* The bytes take 64 ms, and the 1,998 steps take 100 ms of waiting for first bytes. They are equal
#    at 1.56 million numbers. For small arrays a tree is better: about 10 levels up and 10 down in the place of 1,998
#    steps, though all of the array goes through each. MPI and NCCL choose by the size.

# %%
from kit import stated

B, a, N = 0.125e9, 50e-6, 1000
bytes_take, waiting = 2 * (N - 1) / N * 4e6 / B, 2 * (N - 1) * a
print(f"bytes {1e3 * bytes_take:.1f} ms, latency {1e3 * waiting:.1f} ms")
stated("64", 1e3 * bytes_take)
stated("100", 1e3 * waiting)
stated("1,998", 2 * (N - 1))
stated("1.56", N * a * B / 4 / 1e6)
stated("10", N.bit_length())
stated("4", 8 * 0.5)
stated("7.5", 7 + 0.5)

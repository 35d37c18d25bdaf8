# %% [markdown]
# # 12. The GPT
#
# *40 minutes*
#
# Every part has been written and proved. Between them and a model three things are missing: a way in, from token ids
# to vectors, a way out, from vectors to a loss, and numbers to begin with.
#
# **What does a GPT say before it has learned anything, and what should it say? And how does one number, the loss, find
# its way back into every array of the model?**

# %%
import sys

import numpy as np

import tinygpt

sys.path += [f"{tinygpt.__path__[0]}/../lessons"]  # where kit is, whatever folder a notebook runs in
from kit import TEXT, plot, stated

from tinygpt.data import windows_at
from tinygpt.gradcheck import diagnose, gradient_check
from tinygpt.gradcheck.mutants import find
from tinygpt.gradcheck.suite import random_model
from tinygpt.layers import block, cross_entropy, embedding, layernorm
from tinygpt.models.gpt2 import GPT, GPTConfig
from tinygpt.ops import DEFINITIONS

characters = sorted(set(TEXT))
tokens = np.array([characters.index(c) for c in TEXT])
V = len(characters)
print(f"{len(tokens):,} characters, {V} different ones")

# %% [markdown]
# ## On paper
#
# The smallest GPT there is has no blocks at all. Three tokens, two channels, no positions, no LayerNorm. The table of
# embeddings `wte` has one row for each token, and serves twice: a row of it goes in, and the head multiplies with all
# of its rows to get one logit for each token. The text is token 0, and token 1 follows.
#
# ```
# wte      token 0: (1, 0)     token 1: (0, 1)     token 2: (0, 0)
# x        = wte[0]                      = (1, 0)
# logits   = x · each row                = (1, 0, 0)
# p        = softmax                     = (0.576, 0.212, 0.212)
# loss     = −ln 0.212                   =  1.551
#
# dlogits  = p − (0, 1, 0)               = (0.576, −0.788, 0.212)
# ```
#
# `wte` was used twice, and so its gradient has two halves. Which of its three rows get one from the head, and which
# from the embedding? Write down your guess; the numbers come in a moment.

# %%
wte = np.array([[1.0, 0], [0, 1], [0, 0]])
x = wte[0]
logits = wte @ x  # (V, C) @ (C,) -> (V,)
p = np.exp(logits) / np.exp(logits).sum()
dlogits = p - np.eye(3)[1]
print("p", p.round(3), " loss", -np.log(p[1]).round(3), " dlogits", dlogits.round(3))
stated("0.576", p[0])
stated("0.212", p[1])
stated("1.551", -np.log(p[1]))
stated("−0.788", dlogits[1])

# %% [markdown]
# ## The whole of it
#
# Radford et al. (2019), GPT-2. Everything between the first line and the last is (B, T, C).
#
# ```
# x      = wte[idx] + wpe[0 .. T−1]        (B, T) -> (B, T, C)     what, where
# x      = block(x)                        n_layer times           lesson 11
# x      = ln_f(x)                                                 lesson 7
# logits = x wteᵀ                          (B, T, C) -> (B, T, V)  tied head
# loss   = cross_entropy(logits, targets)  -> one number           lesson 6
# ```
#
# `wpe` is a second table, with one row for each *position*. To attention by itself, the tokens before a token are a
# set, in no order. That the head uses the table of embeddings again (*weight tying*, a *tied* head) is from Press and
# Wolf (2016, arXiv:1608.05859): what makes two tokens alike as input makes them alike as output.
#
# These are all the arrays there are, for V tokens, at most T positions, C channels and L layers:
#
# ```
# wte                              V C
# wpe                              T C
# each block, four matrices        3 C² + C² + 4 C² + 4 C²  =  12 C²
# each block, biases and norms     (3 + 1 + 4 + 1) C + 4 C  =  13 C
# ln_f                             2 C
# ```
#
# ![GPT-2 from token ids to the loss, its arrays drawn as wide as they have channels, with their shapes and the
# parameters of every layer.](../pictures/gpt2_shapes.svg)

# %%
gpt2 = GPTConfig()  # GPT-2's smallest
V2, T2, C2, L2 = gpt2.vocab_size, gpt2.block_size, gpt2.n_embd, gpt2.n_layer
for name, count in (("wte", V2 * C2), ("wpe", T2 * C2), ("blocks", L2 * (12 * C2**2 + 13 * C2)), ("ln_f", 2 * C2)):
    print(f"{name:8}{count:>14,}{count / gpt2.n_params:>8.1%}")
print(f"{'GPT-2':8}{gpt2.n_params:>14,}")
assert V2 * C2 + T2 * C2 + L2 * (12 * C2**2 + 13 * C2) + 2 * C2 == gpt2.n_params

# %% [markdown]
# ## Backward, without the blocks
#
# The blocks and `ln_f` have their backward. What is new is at the two ends, so leave the middle out, and here is a GPT
# with nothing in it, for a batch of sequences and with positions:


# %%
def forward_without(wte, wpe, idx, targets):
    B, T = idx.shape
    token, wte_cache = embedding.forward(idx, wte)  # (B, T) -> (B, T, C)
    position, wpe_cache = embedding.forward(np.arange(T), wpe)  # (T,) -> (T, C)
    x = token + position  # (B, T, C) + (T, C) -> (B, T, C)
    rows = x.reshape(B * T, -1)  # (B, T, C) -> (N, C), N = B T
    logits = rows @ wte.T  # (N, C) @ (C, V) -> (N, V)
    loss, loss_cache = cross_entropy.forward(logits, targets.reshape(-1))  # -> ()
    return loss, (wte, x.shape, wte_cache, wpe_cache, rows, loss_cache)


rng = np.random.default_rng(12)
idx, targets = np.array([[0, 3, 3], [1, 0, 4]]), np.array([[3, 3, 2], [0, 4, 1]])  # (B, T) = (2, 3)
wte, wpe = rng.standard_normal((5, 4)), rng.standard_normal((6, 4))  # V = 5, C = 4, and 6 positions at most
print(f"loss {forward_without(wte, wpe, idx, targets)[0]:.3f}")

# %% [markdown]
# From the last line to the first, and every rule is an old one. A loss's backward (lesson 6) turns dout into dlogits.
# A product hands to each of its factors dlogits times the other, in the order in which the shapes fit (lesson 5). An
# addition hands on its gradient, and where one of its terms was broadcast, the sum over the axis along which it was
# (lesson 1). A table is read by `embedding`, whose backward puts each gradient into the row it was read from
# (lesson 5). And what was used twice receives the sum.
#
# Write eight lines: dlogits; dhead, the head's half of the gradient of wte; drows; dx; dposition; dwpe; dread, the
# embedding's half; and dwte. The first and the ones of the tables are calls, `cross_entropy.backward(...)` and
# `embedding.backward(...)`, each with its gradient and its cache.


# %% derive: backward_without(1.0, forward_without(wte, wpe, idx, targets)[1])
def backward_without(dout, cache):
    wte, shape, wte_cache, wpe_cache, rows, loss_cache = cache
    dlogits = cross_entropy.backward(dout, loss_cache)  # (N, V)
    dhead = dlogits.T @ rows  # (V, N) @ (N, C) -> (V, C)
    drows = dlogits @ wte  # (N, V) @ (V, C) -> (N, C)
    dx = drows.reshape(shape)  # (N, C) -> (B, T, C)
    dposition = dx.sum(axis=0)  # (B, T, C) -> (T, C)
    dwpe = embedding.backward(dposition, wpe_cache)  # (T, C) -> (6, C)
    dread = embedding.backward(dx, wte_cache)  # (B, T, C) -> (V, C)
    dwte = dhead + dread
    return dwte, dwpe


# %% [markdown]
# ```
# logits = rows wteᵀ         drows = dlogits wte          a linear layer, w = wteᵀ
#                            dhead = dlogitsᵀ rows        the head's half
# x = token + position       dtoken    = dx               an addition: to both
#                            dposition = Σ_B dx           one row, B sequences
# token = wte[idx]           dread = scattered dtoken     the embedding's half
#                            dwte  = dhead + dread
# position = wpe[0 .. T−1]   dwpe  = scattered dposition  rows past T get 0
# ```

# %%
report = gradient_check(forward_without, backward_without, {"wte": wte, "wpe": wpe, "idx": idx, "targets": targets})
print(report)
assert report.passed

# %% [markdown]
# And your guess, with the three tokens of the beginning:
#
# ```
# dx       = Σ dlogits of a row · row    = (0.576, −0.788)
#
# dwte     the head's half      the embedding's half     together
# row 0    ( 0.576, 0)          (0.576, −0.788)          ( 1.152, −0.788)
# row 1    (−0.788, 0)          (0, 0)                   (−0.788, 0)
# row 2    ( 0.212, 0)          (0, 0)                   ( 0.212, 0)
# ```
#
# The head has a gradient for all rows. A step goes against it, so the right token's row moves towards x and the others
# away from it. The embedding has one for the row that was read. Row 0 was used in both ways and receives the sum.
#
# In the step of a whole GPT, for the letter a: [the head's half](step.html#head/dw~2[2,0]),
# [the embedding's half](step.html#wte/dw[2,0]), and [what they add up to](step.html#embed/dwte.weight[2,0]), with the
# whole model between them. Forward its row began in [what, where](step.html#embed/x[0,1,0]) and ended in
# [a logit](step.html#head/out[0,2]).

# %%
wte = np.array([[1.0, 0], [0, 1], [0, 0]])
dx = dlogits @ wte  # (V,) @ (V, C) -> (C,)
dwte = np.outer(dlogits, x)
dwte[0] += dx
print("dx", dx.round(3))
print(dwte.round(3))
stated("1.152", dwte[0, 0])
stated("−0.788", dwte[0, 1])

# %% [markdown]
# ## Numbers to begin with
#
# A model that knows nothing should say so: every token has the probability 1/V, and the loss is −ln(1/V) = ln V.
# Here that is ln 49 = 3.89. A loss far above it at the start means a model that is sure of something without a
# reason, and its first steps are spent on unlearning that.
#
# So the logits must be small. GPT's authors draw all matrices and both tables from a normal distribution with
# standard deviation 0.02 (Radford et al., 2018, section 4.1; GPT-2's published code has `stddev=0.01` for the
# positions). Biases begin at 0, the weights of LayerNorms at 1. What comes out of ln_f has a size of about 1 in
# each channel, whatever happened below, so it is the scale of `wte` that decides.
#
# Four scales, a fresh model each. At which does the loss begin at ln V? And the last column: which next character
# does each model hold to be the likeliest?


# %%
def batch(rng, B, T):
    return windows_at(tokens, rng.integers(len(tokens) - T, size=B), T)


config = GPTConfig(vocab_size=V, block_size=32, n_layer=2, n_head=4, n_embd=32)
idx, targets = batch(np.random.default_rng(1), 8, 32)
starts = {}
for std in (0.02, 0.1, 0.3, 1.0):
    model = GPT(config, dtype="float64", seed=1)
    model.params["wte.weight"] *= std / 0.02
    starts[std], _ = model.loss(idx, targets)
    logits, _ = model.forward(idx)
    first = (logits.argmax(axis=-1) == idx).mean()
    print(f"wte of {std:<5} loss {starts[std]:6.2f}   likeliest next: the same again, in {first:.0%} of cases")
print(f"characters of this batch that are in fact said twice: {(targets == idx).mean():.0%}")
stated("3.89", np.log(V))
stated("3.9", starts[0.02])

# %% [markdown]
# With 0.02 the loss is 3.9. The last column is the tied head's peculiarity: the stream still carries the embedding
# that it began with, and of all rows of `wte` that one resembles it most. A tied model is born with the belief that
# everything is said twice. At 0.02 it is a whisper. At 1 it is shouted, and nearly always wrong.
#
# There is one exception to 0.02. Each of the 2 · n_layer branches adds to the residual stream, and independent
# numbers add their variances. If each adds as much as was there at the start, then after n layers
#
# ```
# variance   1 + 2n · 1            standard deviation   √(1 + 2n)
# ```
#
# and the deeper the model, the less what its first layers wrote weighs in what the head reads. With the last matrix
# of each branch, `c_proj`, divided by √(2n), each branch adds 1/(2n) of the variance, and all of them together add
# 1: the stream grows by √2, at any depth. (Radford et al., 2019, section 2.3, scale by 1/√N, N being the number of
# residual layers.) With the weights that a model really has at the start:


# %%
def of_block(params, layer):
    """A block's arrays by their names within the block."""
    prefix = f"h.{layer}."
    return {name.removeprefix(prefix): array for name, array in params.items() if name.startswith(prefix)}


def stream(n_layer, scaled):
    """The stream's standard deviation at the entrance and after each block, as multiples of the first."""
    model = GPT(GPTConfig(vocab_size=V, block_size=32, n_layer=n_layer, n_head=4, n_embd=64), dtype="float64", seed=1)
    x = model.params["wte.weight"][idx] + model.params["wpe.weight"]  # (B, T) -> (B, T, C)
    sizes = [x.std()]
    for layer in range(n_layer):
        params = of_block(model.params, layer)
        if not scaled:
            for name in ("attn.c_proj.weight", "mlp.c_proj.weight"):
                params[name] = params[name] * np.sqrt(2 * n_layer)
        x, _ = block.forward(x, params, 4, ops=DEFINITIONS)
        sizes.append(x.std())
    return np.array(sizes) / sizes[0]


growth = {(n_layer, scaled): stream(n_layer, scaled) for n_layer in (2, 8, 32) for scaled in (False, True)}
print("the stream at the top, as a multiple of what went in at the bottom")
for n_layer in (2, 8, 32):
    flat, scaled = growth[n_layer, False][-1], growth[n_layer, True][-1]
    print(f"{n_layer:4} blocks   0.02 everywhere {flat:5.2f}   c_proj by 1/sqrt(2 n_layer) {scaled:5.2f}")
stated("6.2", growth[32, False][-1])
stated("1.2", growth[2, True][-1])
stated("1.2", growth[32, True][-1])

with plot("stream") as axes:
    for (n_layer, scaled), sizes in growth.items():
        colour = {2: "tab:blue", 8: "tab:orange", 32: "tab:green"}[n_layer]
        label = f"{n_layer} blocks, " + ("c_proj scaled" if scaled else "0.02 everywhere")
        axes.plot(sizes, "-" if scaled else "--", color=colour, label=label)
    axes.set(xlabel="block", ylabel="standard deviation of the stream, relative")
    axes.legend(frameon=False)

# %% [markdown]
# 0.02 everywhere makes the stream of 32 blocks grow to 6.2 times its size. With the scaling it is 1.2 times, for 2
# blocks as for 32. (Not √2, because at 64 channels and 0.02 a branch adds less than what was there.)
#
# ## Forward, by hand
#
# Now all of it in one function, in the order of the table above, with the blocks and `ln_f` in their place. Every
# layer's cache is kept.


# %%
def forward(params, n_layer, n_head, idx, targets):
    B, T = idx.shape
    token, wte_cache = embedding.forward(idx, params["wte.weight"])  # (B, T) -> (B, T, C)
    position, wpe_cache = embedding.forward(np.arange(T), params["wpe.weight"])  # (T,) -> (T, C)
    x = token + position  # (B, T, C) + (T, C) -> (B, T, C)
    blocks = []
    for layer in range(n_layer):
        x, cache = block.forward(x, of_block(params, layer), n_head, ops=DEFINITIONS)  # (B, T, C)
        blocks.append(cache)
    x, ln_f_cache = layernorm.forward(x, params["ln_f.weight"], params["ln_f.bias"])  # (B, T, C)
    rows = x.reshape(B * T, -1)  # (B, T, C) -> (N, C), N = B T
    logits = rows @ params["wte.weight"].T  # (N, C) @ (C, V) -> (N, V)
    loss, loss_cache = cross_entropy.forward(logits, targets.reshape(-1))  # -> ()
    return loss, (params, x.shape, wte_cache, wpe_cache, blocks, ln_f_cache, rows, loss_cache)


# %% [markdown]
# ## Backward, one line at a time
#
# The lines that you derived, with `ln_f` and the blocks between them, each from the last to the first. The gradient of
# `wte` is begun in backward's first lines and completed in its last: two halves, with the whole model between them.


# %%
def backward(dout, cache):
    params, shape, wte_cache, wpe_cache, blocks, ln_f_cache, rows, loss_cache = cache
    grads = {}
    dlogits = cross_entropy.backward(dout, loss_cache)  # (N, V)
    head_half = dlogits.T @ rows  # (V, N) @ (N, C) -> (V, C)
    drows = dlogits @ params["wte.weight"]  # (N, V) @ (V, C) -> (N, C)
    dx = drows.reshape(shape)  # (N, C) -> (B, T, C)
    dx, grads["ln_f.weight"], grads["ln_f.bias"] = layernorm.backward(dx, ln_f_cache)
    for layer in reversed(range(len(blocks))):
        dx, of_this = block.backward(dx, blocks[layer])
        grads |= {f"h.{layer}.{name}": gradient for name, gradient in of_this.items()}
    dposition = dx.sum(axis=0)  # (B, T, C) -> (T, C)
    grads["wpe.weight"] = embedding.backward(dposition, wpe_cache)  # (T, C) -> (block_size, C)
    embedding_half = embedding.backward(dx, wte_cache)  # (B, T, C) -> (V, C)
    grads["wte.weight"] = head_half + embedding_half
    return grads, head_half, embedding_half


# %% [markdown]
# ## Is it right?
#
# Asked twice. The gradients are compared with those of `tinygpt.GPT`, which computes with fast layers of its
# own. And they are compared with numerical derivatives, at twelve entries of each array and along a random
# direction. The sequences are shorter than the block size, so the last rows of `wpe` must get nothing. The weights
# are larger than a fresh model's, for lesson 11's reason.

# %%
small = GPTConfig(vocab_size=V, block_size=10, n_layer=2, n_head=2, n_embd=8)
model = random_model(small)  # float64, matrices of variance 1 / (number of inputs)
params = {name: array.copy() for name, array in model.params.items()}
idx, targets = batch(np.random.default_rng(2), 3, 7)

loss, cache = forward(params, small.n_layer, small.n_head, idx, targets)
grads, _, _ = backward(1.0, cache)
engine_loss, engine_cache = model.loss(idx, targets)
engine = model.backward(engine_cache)

report = gradient_check(
    lambda params: forward(params, small.n_layer, small.n_head, idx, targets),
    lambda dout, cache: (backward(dout, cache)[0],),
    {"params": params},
    max_entries=12,
    tolerance=1e-8,  # many layers, many roundings
)
assert report.passed and np.isclose(loss, engine_loss)
print(f"{'loss':25}{'':10}{abs(loss - engine_loss) / loss:14.1e}")
print(f"{'relative difference from':25}{'shape':>10}{'engine':>14}{'numerical':>14}")
for row in report.gradients:
    name = row.name[1:]
    difference = np.linalg.norm(grads[name] - engine[name]) / np.linalg.norm(engine[name])
    print(f"{name:25}{str(row.shape):>10}{difference:14.1e}{row.error:14.1e}")
    assert difference < 1e-10
print("rows of wpe past the sequence's end:", np.abs(grads["wpe.weight"][7:]).max())

# %% [markdown]
# 28 arrays, and you know what each of them is for and how its gradient comes about. There are no others in GPT-2,
# only more of the same.
#
# ## Two halves of one gradient
#
# Which half is the larger? Guess, and ask a fresh model: the text's most frequent character, a rare one, and one that
# is not in this batch at all.

# %%
model = GPT(config, dtype="float64", seed=1)
idx, targets = batch(np.random.default_rng(3), 8, 32)
loss, cache = forward(model.params, config.n_layer, config.n_head, idx, targets)
_, head_half, embedding_half = backward(1.0, cache)
count = (idx[..., None] == np.arange(V)).sum(axis=(0, 1))  # (V,), how often each was read
rarest = int(np.where(count > 0, count, count.max()).argmin())
print(f"{'':26}lengths of the row's gradient")
print(f"{'':14}{'times read':>12}{'head half':>12}{'embedding half':>17}")
for token in (int(count.argmax()), rarest, int(count.argmin())):
    head, own = np.linalg.norm(head_half[token]), np.linalg.norm(embedding_half[token])
    print(f"{characters[token]!r:14}{count[token]:12}{head:12.2g}{own:17.2g}")
assert count.min() == 0 and not embedding_half[count == 0].any() and head_half[count == 0].any(axis=1).all()

# %% [markdown]
# A character that was not read has no embedding half. It does have a head half: at each of the 256 places its row
# is pushed away from what the model had in hand there, unless it was the next one. The tied head keeps every row of
# the table in motion.
#
# ## Does it learn?
#
# 100 steps of the plainest training there is, `w −= 0.3 · dw`, a fresh batch for each. Beside ln V there is a
# second line to know: a model that has learned nothing but how frequent each character is has the entropy of these
# frequencies as its loss (lesson 3).

# %%
stated("256", idx.size)
p = np.bincount(tokens) / len(tokens)
frequencies = -(p * np.log(p)).sum()


def train(steps, lr, head_only=False):
    rng = np.random.default_rng(4)
    model = GPT(config, dtype="float64", seed=1)
    params = {name: array.copy() for name, array in model.params.items()}
    losses = []
    for _ in range(steps):
        loss, cache = forward(params, config.n_layer, config.n_head, *batch(rng, 8, 32))
        grads, head_half, _ = backward(1.0, cache)
        if head_only:
            grads["wte.weight"] = head_half
        params = {name: array - lr * grads[name] for name, array in params.items()}
        losses.append(loss)
    return losses


losses = train(100, 0.3)
end = np.mean(losses[-20:])
print(f"ln V                      {np.log(V):.2f}\nthe first step            {losses[0]:.2f}")
print(f"frequencies alone         {frequencies:.2f}\nthe last 20 of 100 steps  {end:.2f}")
stated("2.9", end, within=0.1)

# %% [markdown]
# It learns: from ln V to about 2.9. It also has just arrived at what counting characters would have given in a
# second. All that attention and the MLP are for is to go below that line, and at this pace it will take a long
# while. That is the subject of lesson 13.
#
# ## A bug on purpose
#
# Forget one half of dwte. Nothing breaks. The shapes are right, and the loss falls as before:

# %%
broken = train(100, 0.3, head_only=True)
print(f"with both halves {end:.2f}   with the head's half alone {np.mean(broken[-20:]):.2f}")
assert abs(np.mean(broken[-20:]) - end) < 0.1

# %% [markdown]
# A loss curve does not tell a right gradient from a wrong one. The check does, and knows what it is:

# %%
print(diagnose("model", find("model", "tied_embedding_forgotten").stand_in()))

# %% [markdown]
# ## What it costs
#
# A matrix product needs two operations for each weight and token. So forward costs twice the number of weights that
# stand in matrix products, which is `wte` (as the head, looking up costs nothing) and the blocks' 12 C² each, and
# attention's 4TC for each block. Backward costs twice what forward does. For GPT-2 at its full context of 1,024
# tokens:

# %%
products = V2 * C2 + L2 * 12 * C2**2
forward_cost = 2 * products + L2 * 4 * T2 * C2
print(f"forward   {forward_cost:>13,} operations for each token")
print(f"training  {3 * forward_cost:>13,} operations for each token")
logits_bytes = 8 * T2 * V2 * 4
print(f"logits    {logits_bytes:>13,} bytes for 8 sequences in float32")
stated("1,024", T2)
stated("1.6", logits_bytes / 1e9)

# %% [markdown]
# Mind the last line. Eight sequences have 1.6 GB of logits, and the same again of dlogits, and both are gone as
# soon as dx and dwte are known. In GPT-2 the widest thing by far is the last. That is why the engine makes one
# layer of the head and the loss, `lm_head_loss`: its fast twins take some rows at a time from logits to dx and
# dwte, and the whole of the logits never exists. What the twins have to agree with is a definition of a few lines,
# which is yours to write.
#
# ## Your turn: lm_head_loss
#
# ```
# python -m lessons start 12     writes lessons/work/lm_head_loss.py
# python -m lessons check 12     checks it, forward and both gradients
# python -m lessons hint 12      if you are stuck
# ```
#
# `forward` takes the rows x (N, C), the table w (V, C) and the targets, and gives the loss. `backward` gives dx and dw.
# You derived it above in the model's own lines. In the file
#
# - linear and cross_entropy are in the table `ops`, as in lesson 11, and `backward` finds that in the cache;
# - `denominator` goes to cross_entropy: the number to divide the sum of losses by, when these rows are only a part of a
#   batch. `need_grad` may be ignored, it is for the twins;
# - linear takes its weights as (inputs, outputs), which w is not, and returns its dw in that shape too.
#
# `python -m lessons run 12` then ends each forward and begins each backward of a small model in your file, and
# `python train.py --mine lessons/work` does it at any size.
#
# ## Questions to think about
#
# 1. Untie the head: give it a matrix of its own, also (V, C). How many parameters more has GPT-2 then, and what can no
#    longer happen to the row of a token that is never read?
# 2. Which array decides how long a sequence the model can take? What would it have to say about a position that no
#    training sequence was long enough to reach?
# 3. All arrays are zero at the start, LayerNorm weights too. What is the loss, and which arrays have a gradient that is
#    not zero?
#
# Answers: `python -m lessons answers 12`
#
# ## To read on
#
# - Radford et al.: "Improving Language Understanding by Generative Pre-Training", 2018 (GPT), and "Language Models are
#   Unsupervised Multitask Learners", 2019 (GPT-2).
# - Press and Wolf: "Using the Output Embedding to Improve Language Models", 2016, arXiv:1608.05859.
# - `tinygpt/models/gpt2.py`: forward and backward as here, and `LMHeadLoss`, the head with its loss.

# %% [markdown]
# ## Answers
#
# 1. *An untied head* has V · C parameters, for GPT-2 38,597,376 more. A row of `wte` that is never read then gets no
#    gradient at all and stays as it was drawn. With the tied head, the head's half moves it.
# 2. *The length of a sequence* is limited by `wpe`, which has block_size rows. A row that no training sequence reached
#    holds the random numbers that it began with, and that is what it would say.
# 3. *All zero* is a trap. The loss is ln V, as it should be at the start. But what comes out of ln_f is zero, so the
#    head's half is zero, and `wte` is zero, so nothing comes back through it. No array has a gradient, and none ever
#    will:

# %%
import numpy as np
from kit import stated

from tinygpt.models.gpt2 import GPT, GPTConfig

model = GPT(GPTConfig(vocab_size=49, block_size=8, n_layer=2, n_head=2, n_embd=8), dtype="float64", seed=None)  # zeros
idx = np.random.default_rng(0).integers(49, size=(4, 8))
loss, cache = model.loss(idx, np.roll(idx, -1))
moved = [name for name, gradient in model.backward(cache).items() if gradient.any()]
print(f"loss {loss:.4f}, ln V {np.log(49):.4f}, arrays with a gradient: {len(moved)}")
assert np.isclose(loss, np.log(49)) and not moved
stated("38,597,376", GPTConfig().vocab_size * GPTConfig().n_embd)

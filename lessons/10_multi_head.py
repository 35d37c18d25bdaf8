# %% [markdown]
# # 10. Causal, multi-head
#
# *70 minutes*
#
# A text of T tokens holds T exercises for a model that guesses the next one: after the first token, after the first
# two, and so on. Lesson 9's head shows every query the whole text, so it can do one exercise at a time, and would have
# to read the text T times.
#
# **How do you let all T tokens ask at once, and make sure that none of them reads the answer, which stands one
# place on?** And one head gives one mixture of values. A token may want to ask several things. What does it cost to
# give it more?

# %%
import math
import sys

import numpy as np

import tinygpt

sys.path += [f"{tinygpt.__path__[0]}/../lessons"]  # where kit is, whatever folder a notebook runs in
from heat import heat
from kit import plot, stated

from tinygpt.backend import random_bits
from tinygpt.gradcheck import check_layer, diagnose, gradient_check
from tinygpt.gradcheck.mutants import find
from tinygpt.gradcheck.numerical import numerical_gradient
from tinygpt.gradcheck.steps.causal_head import CausalHead
from tinygpt.gradcheck.steps.head import Head
from tinygpt.gradcheck.steps.multi_head import MultiHead
from tinygpt.layers import attention, softmax

# %% [markdown]
# There are three steps from lesson 9's head to the attention of a GPT, with one new thing in each, and each is a piece
# to write: the mask, several heads in one array, and weights that are dropped at random.
#
# ## On paper: who may look where
#
# Three tokens with the values 6, 12 and 3, and all queries agree equally with all keys: every score is 0. Token t may
# look at itself and at what came before it. What are the weights of each token, and what does it receive?
#
# The naive way to compute it is one query after the other, each with the keys and values up to its own place:


# %%
def causal_in_loops(q, k, v):
    outs = [Head.forward(q[t : t + 1], k[: t + 1], v[: t + 1])[0] for t in range(len(q))]  # T x (1, D)
    return np.concatenate(outs)  # (T, D)


out = causal_in_loops(np.zeros((3, 2)), np.zeros((3, 2)), np.array([[6.0], [12], [3]]))
print("out", out[:, 0])
assert np.allclose(out[:, 0], [6, 9, 7])

# %% [markdown]
# Now all at once. The scores of all queries with all keys are one product, (T, T), but a query must not see what comes
# later. So those scores are set to −∞ before the softmax, since e^(−∞) = 0:
#
# ```
#                 scores            weights                  values        out
# token 0      0   −∞   −∞        1     0     0                 6           6
# token 1      0    0   −∞        1/2   1/2   0                12           9
# token 2      0    0    0        1/3   1/3   1/3               3           7
# ```
#
# Each row is one token's exercise, and row t is what it would be if the text ended there. This is called *causal*
# attention. With equal scores it is the mean of what has been so far.
#
# In NumPy: an array of the positions 0 … T − 1; compared with itself as a column, it gives the (T, T) of who may look
# where, True where key s is not later than query t; and `np.where(past, scores, -np.inf)` keeps a score or replaces it.
# `softmax.forward(...)[0]` is lesson 9's softmax.

# %%
rng = np.random.default_rng(10)
T, D = 5, 4
q, k, v, dout = rng.standard_normal((4, T, D))
scores = q @ k.T / math.sqrt(D)  # (T, D) @ (D, T) -> (T, T)


# %% derive: causal_weights(scores)
def causal_weights(scores):
    positions = np.arange(len(scores))  # (T,)
    past = positions <= positions[:, None]  # (T,) and (T, 1) -> (T, T): key s is not later than query t
    weights = softmax.forward(np.where(past, scores, -np.inf))[0]  # (T, T)
    return weights


# %%
weights = causal_weights(scores)
print(weights.round(2))
print("agrees with the loops:", np.allclose(weights @ v, causal_in_loops(q, k, v)))

# %%
heat(np.where(np.tri(T), scores, -np.inf), range(T), range(T), title="masked scores: a row for each query")
heat(weights, range(T), range(T), title="weights")

# %% [markdown]
# Is it causal? Change the last token, and no earlier output may change, not even in the last digit. Which of the five
# outputs will move?

# %%
changed = k.copy()
changed[-1] += 10
moved = (causal_weights(q @ changed.T / math.sqrt(D)) @ v != weights @ v).any(axis=-1)
print("outputs that moved, by position:", moved)
assert moved.tolist() == [False] * (T - 1) + [True]

# %% [markdown]
# ## The mask, backward
#
# Two lines of forward are to be gone through backward, the last one first:
#
# ```
# weights = softmax of masked                  wanted: dmasked
# masked  = np.where(past, scores, −∞)                 dscores
# ```
#
# dmasked is lesson 9's one line. And what comes back to a score that was replaced by a constant?

# %%
past = np.arange(T) <= np.arange(T)[:, None]
dweights = dout @ v.T  # (T, D) @ (D, T) -> (T, T)


# %% derive: masked_backward(dweights, weights, past)
def masked_backward(dweights, weights, past):
    dmasked = weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True))  # (T, T)
    dscores = np.where(past, dmasked, 0)
    return dmasked, dscores


# %% [markdown]
# Nothing comes back to it: its gradient is 0. Look at the two lines once more, though. What is dmasked where the weight
# is 0?

# %%
dmasked, dscores = masked_backward(dweights, weights, past)
print(dmasked.round(2))
print("the second line changes nothing:", np.array_equal(dmasked, dscores))

# %% [markdown]
# Zero already, for p is in front of p (dp − Σ dp p). So the mask adds no line to lesson 9's backward: the weights
# remember who could not be seen. (In a GPT's step: [a masked score](step.html#h.0.attn/scores~2[0,1,2,3]), and
# [what comes back to it](step.html#h.0.attn/dscores[0,1,2,3]).)
#
# ## Why −∞, and not −1e9
#
# Much code adds a large negative number to the masked scores. As long as scores are small, the result is the same
# to the last digit: exp of −1e9, or of −1e4, is 0. So is it a matter of taste? Here are three ways, with ordinary
# scores, with a row of which nothing may be seen, and with a forbidden score of 20,000. In which of the nine does a
# forbidden key get weight?

# %%
ordinary, allowed = np.array([1.0, 3.0, 2.0], np.float32), np.array([True, True, False])
large = np.array([0.0, 0.0, 20000.0], np.float32)
nothing = np.array([False, False, False])
print(f"{'':<18}{'ordinary scores':<22}{'nothing allowed':<22}a score of 20,000")
for name, mask in (
    ("− 1e9, added", lambda s, allowed: s + np.where(allowed, 0, -1e9).astype(s.dtype)),
    ("− 1e4, added", lambda s, allowed: s + np.where(allowed, 0, -1e4).astype(s.dtype)),
    ("−∞, in its place", lambda s, allowed: np.where(allowed, s, -np.inf)),
):
    rows = (mask(ordinary, allowed), mask(ordinary, nothing), mask(large, allowed))
    first, second, third = (str(softmax.forward(row)[0].round(2)) for row in rows)
    print(f"{name:<18}{first:<22}{second:<22}{third}")
stated("65,504", np.finfo(np.float16).max)
stated("10,000", large[2] - 1e4)
assert np.allclose(softmax.forward(ordinary + np.float32(-1e9))[0], 1 / 3)

# %% [markdown]
# The difference shows on the day when something else is wrong.
#
# - *A row with nothing to look at*, as padding can make one. All its scores get the same −1e9, beside which in
#   float32 they vanish themselves. Softmax gives equal weights to everything that was forbidden, and nobody is
#   told.
# - *float16* ends at 65,504. −1e9 is not a number it has, so people write −1e4. Then a run whose scores have grown
#   too large looks into the future: a forbidden 20,000 becomes 10,000, and beats an allowed 0.
#
# No score is below −∞, in any precision. And the empty row has to be thought of, once, in the softmax, where lesson
# 9 gave it zeros.
#
# Another way, to multiply the weights by 0 after the softmax, is worse than either: what is left no longer sums to
# 1, and what is left still depends on the forbidden scores, through the sum that it was divided by.
#
# ## Your turn: causal_head
#
# ```
# python -m lessons start causal_head           writes lessons/work/causal_head.py
# python -m lessons check causal_head --watch   at each save
# python -m lessons hint causal_head            if you are stuck
# ```
#
# (`python -m lessons start 10` begins all three pieces of this lesson.)
#
# Your head from lesson 9, and one thing more: position t sees positions 0 to t. q, k and v are all (..., T, D). The
# mask is an array, and no loop over positions is needed. The check also takes scores so far below 0 that −1e9 is no
# mask beside them. On CuPy `arange` and `where` are the array's own module's, `array_module(q)`.
#
# `python -m lessons run 10` trains a small GPT with it for some seconds, asking it head by head, and so does
# `python train.py --mine lessons/work` until the next piece is there.
#
# ## Several heads
#
# Vaswani et al. (2017, arXiv:1706.03762, section 3.2.2, and for the mask section 3.2.3). H heads, each with
# queries, keys and values of D = C / H channels, work side by side. Their results are put next to each other, C
# channels again, and a linear layer mixes them (`c_proj`; it stands outside of attention, and so does `c_attn`,
# which makes the queries, keys and values).
#
# GPT-2 makes all three in one linear layer from C to 3C channels, one large product in the place of three. So what
# attention gets is *packed*: for each token, the queries of all heads, then the keys, then the values.
#
# ```
# qkv  (B, T, 3C)      C = 4, H = 2:      0 1 | 2 3     4 5 | 6 7     8 9 | 10 11
#                                         q₀    q₁      k₀    k₁      v₀    v₁
# out  (B, T, C)                          head 0's D channels, then head 1's
# ```
#
# The naive way: cut each head's channels out, let a causal head work on them, put the results side by side.


# %%
def channels(head, part, C, D):
    """Where in the 3C channels one head's queries (part 0), keys (1) or values (2) lie."""
    return slice(part * C + head * D, part * C + (head + 1) * D)


def heads_in_loops(qkv, n_head):
    C = qkv.shape[-1] // 3
    D = C // n_head
    outs = []
    for head in range(n_head):
        q, k, v = (qkv[..., channels(head, part, C, D)] for part in range(3))  # 3 x (B, T, D)
        outs.append(CausalHead.forward(q, k, v)[0])
    return np.concatenate(outs, axis=-1)  # H x (B, T, D) -> (B, T, C)


B, T, H, D = 2, 5, 4, 2  # four heads
C = H * D
qkv = rng.standard_normal((B, T, 3 * C))
out = heads_in_loops(qkv, H)
print("agrees with the engine:", np.allclose(out, attention.forward(qkv, H)[0]))

# %% [markdown]
# ## Split
#
# The loop over heads is not needed. A causal head takes any axes before the last two, so it may have a batch of heads
# as well: (B, H, T, D). To get there the last axis is cut into three with `reshape`, which moves no numbers, and then
# the axes are put in another order with `transpose`. Two lines:
#
# ```
# parts   from qkv (B, T, 3C)     (B, T, 3, H, D)      reshape
# heads   from parts              (3, B, H, T, D)      transpose
# ```
#
# `parts.transpose(...)` is told for each new axis which old one it was. In the reshape, −1 stands for the size that is
# left over.


# %% derive: split(qkv, H)
def split(qkv, n_head):
    parts = qkv.reshape(*qkv.shape[:2], 3, n_head, -1)  # (B, T, 3C) -> (B, T, 3, H, D)
    heads = parts.transpose(2, 0, 3, 1, 4)  # (3, B, H, T, D)
    return heads


# %% [markdown]
# The order in the reshape is not a matter of taste. It must be the order in which the numbers lie: parts outermost,
# then heads, then channels. Would a single reshape to (3, B, H, T, D) not do, with no transpose? Its shape is right.
# Here are two tokens, B = 1, T = 2, C = 4 and H = 2, the first token being 0 to 11 and the second 12 to 23. What are
# the queries of head 0, token by token?

# %%
row = np.arange(2 * 12).reshape(1, 2, 12)
print("queries of head 0, token by token:", split(row, 2)[0, 0, 0].tolist())
print("wrong, by reshape alone:          ", row.reshape(3, 1, 2, 2, 2)[0, 0, 0].tolist())
q, k, v = split(qkv, H)  # 3 x (B, H, T, D)
together, head_cache = CausalHead.forward(q, k, v)  # (B, H, T, D)
print("agrees with the loops:", np.allclose(together.transpose(0, 2, 1, 3).reshape(B, T, C), out))

# %% [markdown]
# By reshape alone head 0's queries would be the first token's first four numbers, half of them another head's.
#
# Each head has a map of its own. Here are two of the four, of the first sequence. (`tinygpt show`, on a model of yours,
# has those of all its heads.)

# %%
for head in range(2):
    heat(causal_weights(q[0, head] @ k[0, head].T / math.sqrt(D)), range(T), range(T), title=f"head {head}")

# %% [markdown]
# The last line of the cell *merges* the heads, (B, H, T, D) to (B, T, C): the transpose first, then the reshape.
#
# ## Split and merge, backward
#
# Both only carry numbers from one place to another. So backward carries the gradients back the same way: the backward
# of split is a merge, and the backward of merge is a split. (In a GPT's step
# [a number of head 1's query](step.html#h.0.attn/q[0,1,3,2]) came from [qkv](step.html#h.0.attn.c_attn/out~2[3,6]), and
# its gradient goes back to [the same place in dqkv](step.html#h.0.attn/dqkv~2[0,3,6]).)
#
# A causal head gives dq, dk and dv, each (B, H, T, D). They are to be dqkv (B, T, 3C), each number where its own came
# from, in three lines: dheads (3, B, H, T, D), by `np.stack`; dparts (B, T, 3, H, D); dqkv. Which old axis comes first,
# which second, and so on?

# %%
dout = rng.standard_normal((B, T, C))
dq, dk, dv = CausalHead.backward(dout.reshape(B, T, H, D).transpose(0, 2, 1, 3), head_cache)  # merge's backward: split


# %% derive: pack(dq, dk, dv)
def pack(dq, dk, dv):
    dheads = np.stack((dq, dk, dv))  # (3, B, H, T, D)
    dparts = dheads.transpose(1, 3, 0, 2, 4)  # (B, T, 3, H, D)
    dqkv = dparts.reshape(*dparts.shape[:2], -1)  # (B, T, 3C)
    return dqkv


# %%
dqkv = pack(dq, dk, dv)
print("agrees with the engine:", np.allclose(dqkv, attention.backward(dout, attention.forward(qkv, H)[1])))
print("pack undoes split:     ", np.array_equal(pack(*split(qkv, H)), qkv))

# %% [markdown]
# ## Your turn: multi_head
#
# ```
# python -m lessons start multi_head           writes lessons/work/multi_head.py
# python -m lessons check multi_head --watch   at each save
# python -m lessons hint multi_head            if you are stuck
# ```
#
# Packed in, packed out: forward(qkv, n_head) and backward. `CausalHead` does the attention in it, with a forward and a
# backward; what is yours is the way there and back. backward is given n_head by the cache alone.
#
# `python -m lessons run 10` then goes through it, and so does `python train.py --mine lessons/work` where the run has
# no dropout.
#
# ## Is it right?

# %%
report = gradient_check(MultiHead.forward, MultiHead.backward, {"qkv": qkv, "n_head": H}, title="four heads")
print(report)
assert report.passed

# %% [markdown]
# A loss that looks at position 2 alone, of five: at which positions does a query have a gradient, at which a key, at
# which a value?

# %%
only = np.zeros_like(dout)
only[:, 2] = 1
dqkv = MultiHead.backward(only, MultiHead.forward(qkv, H)[1])
reached = dqkv.any(axis=0).reshape(T, 3, C).any(axis=-1)  # (B, T, 3C) -> (T, 3)
print("position, and whether its q, k, v have a gradient from output 2:")
for position, parts in enumerate(reached):
    print(f"  {position}  {parts}")
assert np.array_equal(reached[:, 0], np.arange(T) == 2) and np.array_equal(reached[:, 1], np.arange(T) <= 2)

# %% [markdown]
# ## Dropped weights
#
# The third thing. In training, a weight is set to 0 with probability p, after the softmax, and the others are divided
# by 1 − p, so that the mean stays. (Lesson 15 is about why.) Which ones is left to chance, but to a chance that can be
# asked again, so that dropout can be checked like everything else. `random_bits(shape, key, first_row, xp)` makes for
# each place of the shape a whole number from 0 to 2³² − 1, which looks drawn at random and is a hash: computed from the
# place and from `key`, a number that stands for the draw (and has nothing to do with the keys of attention). The same
# place and key give the same number, always. `first_row` is the number of the first row, and xp the module of the
# arrays, here np. A weight stays where its number is at least p · 2³². There `keep` is True:

# %%
p = 0.25
keep = random_bits((1, 1, 4, 4), key=7, first_row=0, xp=np) >= np.uint32(p * 2**32)
print(keep[0, 0].astype(int))
print(f"kept, of many: {(random_bits((100, 100), 7, 0, np) >= np.uint32(p * 2**32)).mean():.2f}")

# %% [markdown]
# In forward there is one line more, and out is made of what it leaves. From the last line up:
#
# ```
# out     = left @ v                            wanted: dleft, dv
# left    = weights * keep / (1 − p)                    dweights
# weights = softmax of the masked scores
# ```
#
# keep / (1 − p) is a constant factor at every weight. And softmax's backward goes on from dweights, with the weights
# as they came from the softmax.

# %%
weights = causal_weights(rng.standard_normal((4, 4)))
v, dout, keep = rng.standard_normal((4, 3)), rng.standard_normal((4, 3)), keep[0, 0]


# %% derive: dropped_backward(dout, weights, keep, v, p)
def dropped_backward(dout, weights, keep, v, p):
    left = weights * keep / (1 - p)  # (T, T)
    dleft = dout @ v.T  # (T, D) @ (D, T) -> (T, T)
    dv = left.T @ dout  # (T, T) @ (T, D) -> (T, D)
    dweights = dleft * keep / (1 - p)  # (T, T)
    return dweights, dv


# %% [markdown]
# dv takes the weights that are left, since out was made of those, and dweights passes through the same factor as the
# weights did.

# %%
report = gradient_check(
    lambda weights, v: (weights * keep / (1 - p) @ v, v),
    lambda dout, v: dropped_backward(dout, weights, keep, v, p),
    {"weights": weights, "v": v},
    title="what dropout leaves",
)
print(report)
assert report.passed

# %% [markdown]
# ## Your turn: attention (forward, backward, _causal_softmax)
#
# ```
# python -m lessons start attention           writes lessons/work/attention.py
# python -m lessons check attention --watch   at each save
# python -m lessons hint attention            if you are stuck
# ```
#
# All three in one: the engine's own attention, packed, causal and with dropout. Nothing in it is new, and you have each
# line of it somewhere:
#
# ```
# the way in and out     multi_head; here split_heads and merge_heads are given
# scores, dq, dk         causal_head, with bmm
# mask and softmax       causal_weights, with lesson 9's softmax written out, is
#                        _causal_softmax here; backward has lesson 9's one line
# dropped weights, dv    dropped_backward above
# ```
#
# So write forward in the order in which the numbers go through it, and backward from its end; `check` says which of
# your lines stand. The docstring of `_causal_softmax` speaks of t queries that are the last of S positions: here t = S
# always, and lesson 16 is about the other case. The random bits have the shape of the weights, `key` is forward's
# own, and `row`, which says where in the whole batch qkv begins, is the first row. Where `dropout` is 0, nothing is
# dropped.
#
# With this piece `python -m lessons run 10` trains on your own attention, and so does `python train.py --mine
# lessons/work`, where `--dropout=0.1` drops weights by your lines too.

# %% [markdown]
# ## Why √D
#
# Let the entries of q and k be independent, of mean 0 and variance 1, which is what LayerNorm and a matrix of
# variance 1/C give. q · k is a sum of D products of variance 1, so its variance is D, and its standard deviation
# √D. The paper gives this reason in a footnote of section 3.2.1. Does it matter? Where one score is far above the
# others, what is its weight, and what is left of p (dp − Σ dp p)? Measured with 32 keys, without the scale and with it
# (the size of dscores is the sum of its absolute values in a row, for a random dweights, and the table shows the median
# row):

# %%
sizes, keys, trials = [4, 16, 64, 256], 32, 400
measured = {False: [], True: []}
print("   D   scale    std of scores   largest weight   size of dscores")
for D in sizes:
    q, k = rng.standard_normal((trials, 1, D)), rng.standard_normal((trials, keys, D))
    dweights = rng.standard_normal((trials, 1, keys))
    for scaled in (False, True):
        scores = q @ k.swapaxes(1, 2) * (D**-0.5 if scaled else 1)  # (trials, 1, keys)
        weights, cache = softmax.forward(scores)
        dscores = np.abs(softmax.backward(dweights, cache)).sum(-1)
        measured[scaled].append((scores.std(), weights.max(-1).mean(), np.median(dscores)))
        row = measured[scaled][-1]
        print(f"{D:>4}   {'1/√D' if scaled else '1':<8}{row[0]:>12.2f}{row[1]:>17.2f}{row[2]:>18.3f}")

with plot("scale", columns=2, size=(9, 3.4)) as both:
    for axes, column, label in zip(both, (1, 2), ("mean of the largest weight", "median size of dscores"), strict=True):
        for scaled, colour in ((False, "tab:red"), (True, "tab:blue")):
            values = [row[column] for row in measured[scaled]]
            axes.semilogx(sizes, values, "o-", color=colour, label="q · k / √D" if scaled else "q · k")
        axes.set(xlabel="D", ylabel=label, ylim=(0, 1), xticks=sizes, xticklabels=sizes)
        axes.minorticks_off()
        axes.legend(frameon=False)

stated("8", measured[False][2][0], within=0.5)
stated("0.8", measured[False][2][1], within=0.08)
stated("0.16", measured[True][2][1], within=0.02)
assert measured[False][3][2] < 0.05 < 0.6 < measured[True][3][2]

# %% [markdown]
# At D = 64, as in GPT-2, scores without the scale have a standard deviation of 8. One key out of 32, chosen by
# chance, then holds about 0.8 of the weight, where it is 0.16 with the scale. And where one weight is near 1 and
# the others near 0, softmax is flat: p (dp − Σ dp p) is nearly 0 for all of them. At D = 256 the gradient of a
# typical row is less than a tenth of what it is with the scale. The head has made up its mind before it has seen
# anything, and can hardly be taught otherwise.

# %% [markdown]
# ## A bug on purpose
#
# dk is dscoresᵀ q. Leave out the transpose: queries and keys are both T, so the shape fits. Now a check as one
# often sees it: weights as they are when training begins, the loss is the mean of the output, and `allclose` with a
# tolerance of 1e-4. Will it see that?

# %%
wrong = find("attention", "dk_transposed").stand_in()
B, T, H, D = 2, 6, 2, 8
C = H * D
small = rng.standard_normal((B, T, 3 * C)) * 0.02 * math.sqrt(C)  # behind matrices of standard deviation 0.02
out, cache = attention.forward(small, H)
numerical = numerical_gradient(lambda qkv: attention.forward(qkv, H)[0].mean(), small)
analytic = wrong.backward(np.full_like(out, 1 / out.size), cache)
off = analytic - numerical
dk = np.s_[..., C : 2 * C]  # an index to use several times: the keys' channels
print("careless check:", "passed" if np.allclose(analytic, numerical, atol=1e-4) else "WRONG")
print(f"relative error of dqkv {np.linalg.norm(off) / np.linalg.norm(numerical):.4f}")
print(f"relative error of dk   {np.linalg.norm(off[dk]) / np.linalg.norm(numerical[dk]):.2f}")
print(f"largest entry of dk    {np.abs(numerical[dk]).max():.1e}")
assert np.allclose(analytic, numerical, atol=1e-4)
assert np.linalg.norm(off) < 1e-2 * np.linalg.norm(numerical) and np.abs(numerical[dk]).max() < 1e-4
assert np.linalg.norm(off[dk]) > 0.8 * np.linalg.norm(numerical[dk])

# %% [markdown]
# It passes, and dk is off by about its own size. At small weights attention is nearly uniform, and dq and dk are
# tiny. All of dk lies below the tolerance, so that zeros in its place would have passed as well. And beside dv it
# is so small that even a relative error of one in a hundred, taken over dqkv as a whole, would have let the mistake
# through. Since the shape is right, nothing else complains.
#
# The engine's check draws inputs of order one and a random dout, and compares to 1e-9:

# %%
print([("passed" if report.passed else "WRONG") for report in check_layer("attention", wrong)])
print(diagnose("attention", wrong))

# %% [markdown]
# (The third case has one token only, where a transpose does nothing. That is why there are others.)
#
# ## What it costs
#
# For each token, forward, with C channels and T tokens to look at:
#
# ```
#                        operations   C = 128, T = 64   GPT-2: C = 768, T = 1024
# c_attn, to q, k and v     6 C²           98,304              3,538,944
# scores and out            4 T C          32,768              3,145,728
# c_proj                    2 C²           32,768              1,179,648
# ```
#
# The number of heads is not in it: H heads of D channels multiply as much as one of C. It is in the memory. There
# is a map for each head, B · H · T² numbers: for one sequence of GPT-2, with 12 heads, 50,331,648 bytes in every
# layer.
#
# Half of each map is masked. The definition computes it all the same; `tinygpt/kernels/cpu/attention.py` goes
# through the queries in blocks, and meets only the keys up to each block's end.

# %%
for width, length, texts in ((128, 64, ("98,304", "32,768", "32,768")),
                             (768, 1024, ("3,538,944", "3,145,728", "1,179,648"))):  # fmt: skip
    for text, operations in zip(texts, (6 * width**2, 4 * length * width, 2 * width**2), strict=True):
        stated(text, operations)
stated("50,331,648", 12 * 1024**2 * 4)

# %% [markdown]
# ## Questions to think about
#
# 1. What is the output at position 0, in every head, whatever its query? What, then, is the gradient of its query?
# 2. H heads of D channels cost as many operations as one head of C. What can two heads do in one layer that one of
#    twice the width cannot?
# 3. A trained model writes a text, one token at a time. At each step, which of the queries, keys and values of
#    earlier positions are needed again? Which outputs have changed?
#
# Answers: `python -m lessons answers 10`
#
# ## To read on
#
# - Vaswani et al.: "Attention Is All You Need", 2017, arXiv:1706.03762, section 3.2.
# - Dao et al.: "FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness", 2022,
#   arXiv:2205.14135: the same numbers without ever storing a map.
# - `tinygpt/layers/attention.py`, the definition, and `tinygpt/kernels/cpu/attention.py`, its fast twin.

# %% [markdown]
# ## Answers
#
# **1. Position 0** sees itself alone. The softmax of one score is 1 whatever the score is, so its output is its own
# value in every head. Its query has no part in that: dq at position 0 is zero. Its key and value serve all later
# positions, and do have gradients.
#
# **2. Two heads have two maps.** Each can put its weight elsewhere and pass on other channels: one looks at the
# word before, the other at the captain. One head of twice the width has one row of weights that sums to 1, and to
# look at two places it must halve what it takes from each, and mix their values channel by channel.
#
# **3. The keys and values of earlier positions**, for the new token looks at all of them. Their queries are not
# needed: a query makes its own position's output and nothing else. And no earlier output has changed, since none
# may look at the new token. So a model that writes keeps keys and values, and computes one position at a time
# (lesson 16).

# %%
import numpy as np

from tinygpt.layers import attention

rng = np.random.default_rng(11)
B, T, H, D = 2, 5, 3, 4
C = H * D
qkv = rng.standard_normal((B, T, 3 * C))
out, cache = attention.forward(qkv, H)
dq, dk, dv = np.split(attention.backward(rng.standard_normal(out.shape), cache), 3, axis=-1)  # 3 x (B, T, C)
print("1. output 0 is value 0:     ", np.allclose(out[:, 0], qkv[:, 0, 2 * C :]))
print("   dq, dk, dv at 0 are zero:", *(not np.abs(part[:, 0]).max() > 1e-12 for part in (dq, dk, dv)))

q, k, v = attention.split_heads(qkv, H)  # (B, T, 3C) -> 3 x (B, H, T, D)
newest = attention.decode(q[:, :, -1:], k, v)  # the last query alone, all keys and values: (B, 1, C)
print("3. one position at a time:  ", np.allclose(newest[:, 0], out[:, -1]))
print("   earlier outputs, without the last token:", np.allclose(attention.forward(qkv[:, :-1], H)[0], out[:, :-1]))

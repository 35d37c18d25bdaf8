# %% [markdown]
# # 10. Causal, multi-head
#
# A text of T tokens holds T exercises for a model that guesses the next one: after the first token, after the first
# two, and so on. Lesson 9's head could do one at a time. It would be a waste to read the text T times.
#
# **How do you let all T tokens ask at once, and make sure that none of them reads the answer, which stands one
# place on?** And one head gives one mixture of values. A token may want to ask several things. What does it cost to
# give it more?

# %%
import math

import numpy as np
from kit import plot, stated

from tinygpt.backend import random_bits
from tinygpt.gradcheck import check_layer, diagnose, gradient_check
from tinygpt.gradcheck.mutants import find
from tinygpt.gradcheck.numerical import numerical_gradient
from tinygpt.layers import attention, softmax

# %% [markdown]
# ## Last lesson's questions
#
# **1. Keys and values in another order:** out is the same sum in another order. A head knows nothing of where a
# word stands. So the position must be in x, and a GPT adds to each token's embedding one for its position (lesson
# 12).
#
# **2. W_q doubled, W_k halved:** the product is the same, so nothing changes. One matrix of C × C would do, but a
# head has D channels, fewer than C: with C = 768 and D = 64, as in GPT-2, the two have 98,304 numbers and the one
# 589,824. And with q and k apart, a token makes its sign once, D numbers, for all who will look at it.
#
# **3. A bias c in the keys** adds q · c to all scores of a row, which cancels in the softmax. The weights do not
# change, and the gradient of c, the sum of dk over the keys, is zero. (GPT-2 has this bias all the same.)


# %%
def weights_of(q, k):
    return softmax.forward(q @ k.T / math.sqrt(q.shape[1]))[0]


rng = np.random.default_rng(10)
q, k, v, dout = rng.standard_normal((4, 6, 3))
order, bias = rng.permutation(6), rng.standard_normal(3)
print("another order:", np.allclose(weights_of(q, k) @ v, weights_of(q, k[order]) @ v[order]))
print("2 q, k / 2:   ", np.allclose(weights_of(q, k), weights_of(2 * q, k / 2)))
print("k + c:        ", np.allclose(weights_of(q, k), weights_of(q, k + bias)))
dc = numerical_gradient(lambda c: (weights_of(q, k + c) @ v * dout).sum(), bias)
print("gradient of c:", np.abs(dc).max() < 1e-8)
stated("98,304", 2 * 768 * 64)
stated("589,824", 768**2)

# %% [markdown]
# ## On paper: who may look where
#
# Three tokens, and all queries agree equally with all keys: every score is 0. Token t may look at itself and at
# what came before it. The others' scores are set to −∞ before the softmax, since e^(−∞) = 0:
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

# %%
T = 3
past = np.arange(T) <= np.arange(T)[:, None]  # (T, T): key s is not later than query t
scores = np.where(past, np.zeros((T, T)), -np.inf)
weights, _ = softmax.forward(scores)
print(weights.round(3))
print("out", weights @ np.array([6.0, 12, 3]))
assert np.allclose(weights @ np.array([6.0, 12, 3]), [6, 9, 7])

# %% [markdown]
# ## The formula
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
# The long way: cut each head's channels out, do lesson 9's attention with a mask, put the results side by side.


# %%
def causal_softmax(scores):
    T = scores.shape[-1]
    past = np.arange(T) <= np.arange(T)[:, None]  # (T, T)
    return softmax.forward(np.where(past, scores, -np.inf))


def channels(head, part, C, D):
    """Where in the 3C channels one head's queries (part 0), keys (1) or values (2) lie."""
    return slice(part * C + head * D, part * C + (head + 1) * D)


def forward(qkv, n_head):
    C = qkv.shape[-1] // 3
    D = C // n_head
    outs, heads = [], []
    for head in range(n_head):
        q, k, v = (qkv[..., channels(head, part, C, D)] for part in range(3))  # 3 x (B, T, D)
        weights, softmax_cache = causal_softmax(q @ k.swapaxes(-1, -2) * D**-0.5)  # (B, T, T)
        outs.append(weights @ v)  # (B, T, D)
        heads.append((q, k, v, weights, softmax_cache))
    return np.concatenate(outs, axis=-1), heads  # H x (B, T, D) -> (B, T, C)


B, T, H, D = 2, 5, 3, 4
C = H * D
qkv = rng.standard_normal((B, T, 3 * C))
out, _ = forward(qkv, H)
print("agrees with the engine:", np.allclose(out, attention.forward(qkv, H)[0]))

# %% [markdown]
# Is it causal? Change the last token, and no earlier output may change, not even in the last digit:

# %%
changed = qkv.copy()
changed[:, -1] += 10
moved = (forward(changed, H)[0] != out).any(axis=(0, 2))
print("outputs that moved, by position:", moved)
assert moved.tolist() == [False] * (T - 1) + [True]

# %% [markdown]
# ## Split and merge
#
# The loop over heads is not needed. The H products can be one `@` over an array of shape (B, H, T, D). To get
# there, the last axis is cut into three with `reshape`, which moves no numbers, and the axes are put in another
# order with `transpose`:
#
# ```
# split   (B, T, 3C)    reshape                   (B, T, 3, H, D)
#                       transpose(2, 0, 3, 1, 4)  (3, B, H, T, D)
# merge   (B, H, T, D)  transpose(0, 2, 1, 3)     (B, T, H, D)
#                       reshape                   (B, T, C)
# ```
#
# The order in the reshape is not a matter of taste. It must be the order in which the numbers lie: parts outermost,
# then heads, then channels. reshape(B, H, T, D) at once has the right shape, too, and mixes tokens and heads:

# %%
row = np.arange(2 * 12).reshape(1, 2, 12)  # B = 1, T = 2, C = 4: token 0 is 0 to 11, token 1 is 12 to 23
split = row.reshape(1, 2, 3, 2, 2).transpose(2, 0, 3, 1, 4)  # (1, 2, 12) -> (3, 1, 2, 2, 2)
print("queries of head 0, token by token:", split[0, 0, 0].tolist())
print("values of head 1:                 ", split[2, 0, 1].tolist())
print("all queries, (T, C):              ", row[0, :, :4].tolist())
print("wrong: head 0 by reshape alone:   ", row[:, :, :4].reshape(1, 2, 2, 2)[0, 0].tolist())
merged = split[0].transpose(0, 2, 1, 3).reshape(1, 2, 4)  # (1, 2, 2, 2) -> (1, 2, 4)
print("merge undoes split:", np.array_equal(merged, row[:, :, :4]))

# %% [markdown]
# Both only carry numbers from one place to another. So backward carries the gradients back the same way: the
# backward of split is merge, and the backward of merge is split.
#
# ## Backward
#
# The mask adds no line to lesson 9's backward. A masked score was replaced by a constant, so its gradient is 0. And
# softmax's backward, p (dp − Σ dp p), gives 0 there unasked, because p is 0.
#
# ```
# out  = heads side by side          dout of a head = its D channels of dout
# out  = weights v                   dweights = dout vᵀ     dv = weightsᵀ dout
# weights = softmax(scores or −∞)    dscores  = weights ·
#                                               (dweights − Σ dweights weights)
# scores = q kᵀ / √D                 dq = dscores k / √D    dk = dscoresᵀ q / √D
# qkv cut into q, k, v               dqkv: dq, dk, dv, each in its place
# ```


# %%
def backward(dout, heads):
    C = dout.shape[-1]
    D = C // len(heads)
    dqkv = np.empty((*dout.shape[:-1], 3 * C))  # (B, T, 3C)
    for head, (q, k, v, weights, softmax_cache) in enumerate(heads):
        dhead = dout[..., head * D : (head + 1) * D]  # (B, T, D)
        dweights = dhead @ v.swapaxes(-1, -2)  # (B, T, D) @ (B, D, T) -> (B, T, T)
        dscores = softmax.backward(dweights, softmax_cache) * D**-0.5  # (B, T, T)
        dqkv[..., channels(head, 0, C, D)] = dscores @ k  # (B, T, T) @ (B, T, D) -> (B, T, D)
        dqkv[..., channels(head, 1, C, D)] = dscores.swapaxes(-1, -2) @ q
        dqkv[..., channels(head, 2, C, D)] = weights.swapaxes(-1, -2) @ dhead
    return dqkv


# %% [markdown]
# ## Is it right?

# %%
report = gradient_check(forward, backward, {"qkv": qkv, "n_head": H}, title="attention, three heads")
print(report)
assert report.passed
dout = rng.standard_normal((B, T, C))
dqkv = backward(dout, forward(qkv, H)[1])
print("agrees with the engine:", np.allclose(dqkv, attention.backward(dout, attention.forward(qkv, H)[1])))

only = np.zeros_like(dout)
only[:, 2] = 1  # a loss that looks at position 2 alone
reached = backward(only, forward(qkv, H)[1]).any(axis=0).reshape(T, 3, C).any(axis=-1)  # (B, T, 3C) -> (T, 3)
print("position, and whether its q, k, v have a gradient from output 2:")
for position, parts in enumerate(reached):
    print(f"  {position}  {parts}")
assert np.array_equal(reached[:, 0], np.arange(T) == 2) and np.array_equal(reached[:, 1], np.arange(T) <= 2)

# %% [markdown]
# ## Why −∞, and not −1e9
#
# Much code adds a large negative number to the masked scores. As long as scores are small, the result is the same
# to the last digit: exp of −1e9, or of −1e4, is 0. The difference shows on the day when something else is wrong.
#
# - *A row with nothing to look at*, as padding can make one. All its scores get the same −1e9, beside which in
#   float32 they vanish themselves. Softmax gives equal weights to everything that was forbidden, and nobody is
#   told.
# - *float16* ends at 65,504. −1e9 is not a number it has, so people write −1e4. Then a run whose scores have grown
#   too large looks into the future: a forbidden 20,000 becomes 10,000, and beats an allowed 0.
#
# No score is below −∞, in any precision. And the empty row has to be thought of, once, in the softmax, where lesson
# 9 gave it zeros.

# %%
ordinary, allowed = np.array([1.0, 3.0, 2.0], np.float32), np.array([True, True, False])
large = np.array([0.0, 0.0, 20000.0], np.float32)
nothing = np.array([False, False, False])
print(f"{'':<26}{'ordinary scores':<22}{'nothing allowed':<22}a score of 20,000")
for name, mask in (
    ("− 1e9, added", lambda s, allowed: s + np.where(allowed, 0, -1e9).astype(s.dtype)),
    ("− 1e4, added", lambda s, allowed: s + np.where(allowed, 0, -1e4).astype(s.dtype)),
    ("−∞, in its place", lambda s, allowed: np.where(allowed, s, -np.inf)),
):
    rows = (mask(ordinary, allowed), mask(ordinary, nothing), mask(large, allowed))
    print(f"{name:<26}" + "".join(f"{str(softmax.forward(row)[0].round(2)):<22}" for row in rows))
stated("65,504", np.finfo(np.float16).max)
stated("10,000", large[2] - 1e4)
assert np.allclose(softmax.forward(ordinary + np.float32(-1e9))[0], 1 / 3)

# %% [markdown]
# A third way, to multiply the weights by 0 after the softmax, is worse than either: what is left no longer sums to
# 1, and what is left still depends on the forbidden scores, through the sum that it was divided by.

# %% [markdown]
# ## Why √D
#
# Let the entries of q and k be independent, of mean 0 and variance 1, which is what LayerNorm and a matrix of
# variance 1/C give. q · k is a sum of D products of variance 1, so its variance is D, and its standard deviation
# √D. The paper gives this reason in a footnote of section 3.2.1. Does it matter? Measured with 32 keys, without the
# scale and with it (the size of dscores is the sum of its absolute values in a row, for a random dweights, and the
# table shows the median row):

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
# tolerance of 1e-4.

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
# ## Your turn: attention (forward, backward, _causal_softmax)
#
# ```
# python -m lessons start 10    writes lessons/work/attention.py
# python -m lessons check 10    against the definition and numerical derivatives
# python -m lessons hint 10     if you are stuck
# ```
#
# Asked for are forward, backward and the causal softmax, all heads at once, without a loop; `split_heads` and
# `merge_heads` are given. A product of the last two axes is `bmm(a, b, transpose_a, transpose_b)` from
# `tinygpt.backend`, on NumPy and CuPy alike. The causal softmax's docstring speaks of t queries that are the last
# of S positions: here t = S always, and lesson 16 is about the other case.
#
# One thing is new. With `dropout` = p above 0, forward sets each weight to 0 with probability p, after the softmax,
# and divides the others by 1 − p, so that the mean stays. (Lesson 15 is about why.) Which ones, a hash of `key` and
# of the place decides: the same every time, so that it can be checked like everything else.

# %%
p = 0.25
keep = random_bits((1, 1, 4, 4), key=7, first_row=0, xp=np) >= np.uint32(p * 2**32)
print(keep[0, 0].astype(int))
print(f"kept, of many: {(random_bits((100, 100), 7, 0, np) >= np.uint32(p * 2**32)).mean():.2f}")

# %% [markdown]
# In backward, `keep / (1 - p)` is a constant factor at every weight. out was made with what dropout left of the
# weights, and softmax's backward wants them as they were before. Which of the two does dv need, and where does
# dweights pass through the factor?
#
# With this piece, `python train.py --mine lessons/work` trains on your own attention.

# %% [markdown]
# ## Questions to think about
#
# 1. What is the output at position 0, in every head, whatever its query? What, then, is the gradient of its query?
# 2. H heads of D channels cost as many operations as one head of C. What can two heads do in one layer that one of
#    twice the width cannot?
# 3. A trained model writes a text, one token at a time. At each step, which of the queries, keys and values of
#    earlier positions are needed again? Which outputs have changed?
#
# They are answered at the beginning of lesson 11.
#
# ## To read on
#
# - Vaswani et al.: "Attention Is All You Need", 2017, arXiv:1706.03762, section 3.2.
# - Dao et al.: "FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness", 2022,
#   arXiv:2205.14135: the same numbers without ever storing a map.
# - `tinygpt/layers/attention.py`, the definition, and `tinygpt/kernels/cpu/attention.py`, its fast twin.

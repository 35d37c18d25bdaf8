# %% [markdown]
# # 9. Attention, one head
#
# *55 minutes*
#
# Every layer so far looked at one token at a time. LayerNorm, the linear layers and the MLP would do the same to a
# word whatever stood before it. But what "it" means in "the captain looked for it" was said earlier in the
# sentence, and which of the earlier words matters differs from sentence to sentence.
#
# In the story that these lessons rest on, Ada has a proposal: "Let each word ask a question of the words before it.
# Let each of the words before it hold up a sign that says what it is. Where the question and the sign agree, let
# the word pass on what it knows. … The sum of what is passed on is always one cup."
#
# **How would you let a word look back at others, in arrays, so that all of it has a derivative?**

# %%
import math
import sys

import numpy as np

import tinygpt

sys.path += [f"{tinygpt.__path__[0]}/../lessons"]  # where kit is, whatever folder a notebook runs in
from heat import heat
from kit import plot, stated

from tinygpt.gradcheck import check_layer, diagnose, gradient_check
from tinygpt.gradcheck.mutants import find
from tinygpt.gradcheck.steps.head import Head
from tinygpt.layers import cross_entropy, linear, softmax

# %% [markdown]
# ## On paper
#
# Three words were said: hat, ship, sank. Now comes "it", which looks back. Each of the three holds up a *key*, the
# sign, of four channels: is it a thing, a deed, has it to do with the sea, is it worn. "it" has a *query*, the
# question: it is looking for a thing that has to do with the sea. And each has a *value*, what it passes on (two
# channels here):
#
# ```
#              thing  deed  sea  worn         q · k                     value
# k hat         1      0     0    1           2 ln 2                    4  0
# k ship        1      0     1    0           4 ln 2                    0  4
# k sank        0      1     1    0           2 ln 2                    8  8
#
# q it        2 ln 2   0   2 ln 2  0
# ```
#
# How far a question and a sign agree is their dot product, multiplied channel by channel and summed. It is divided
# by the root of the number of channels, √4 = 2 (lesson 10 measures why). Softmax (lesson 6) makes weights of the
# three scores, positive and with sum 1: the one cup. What "it" receives is the values' sum with these weights.
#
# On paper, before you go on: what are the three scores, what are the weights, and what does "it" receive?

# %%
k3 = np.array([[1.0, 0, 0, 1], [1, 0, 1, 0], [0, 1, 1, 0]])  # (3, 4)
v3 = np.array([[4.0, 0], [0, 4], [8, 8]])  # (3, 2)
q1 = 2 * math.log(2) * np.array([[1.0, 0, 1, 0]])  # (1, 4)
scores = q1 @ k3.T / math.sqrt(4)  # (1, 4) @ (4, 3) -> (1, 3)
weights = np.exp(scores) / np.exp(scores).sum()
out = weights @ v3  # (1, 3) @ (3, 2) -> (1, 2)
print("scores ", scores.round(3))
print("weights", weights)
print("out    ", out)
assert np.allclose(weights, [[1 / 4, 1 / 2, 1 / 4]]) and np.allclose(out, [[3, 4]])

# %% [markdown]
# The ship, which is a thing and of the sea, gets half of the cup:
#
# ```
#            hat     ship    sank
# score      ln 2    2 ln 2  ln 2
# exp        2       4       2              sum 8
# weight     1/4     1/2     1/4
# out        1/4 (4, 0) + 1/2 (0, 4) + 1/4 (8, 8)  =  (3, 4)
# ```
#
# ## The formula
#
# Vaswani et al. (2017, arXiv:1706.03762, equation 1), all queries at once:
#
# ```
# Attention(Q, K, V) = softmax(Q Kᵀ / √D) V
#
# q: (T, D)  k: (S, D)  v: (S, D)    T queries, S keys and values, D channels
# scores  = q kᵀ / √D     (T, S)     row t: how far query t agrees with each key
# weights = softmax       (T, S)     each row sums to 1
# out     = weights v     (T, D)     row t: what token t receives
# ```
#
# In a GPT's step: [a score](step.html#h.0.attn/scores[0,1,3,2]), [its weight](step.html#h.0.attn/weights[0,1,3,2]),
# and [out](step.html#h.0.attn/out[0,1,3,2]).
#
# In *self*-attention every token has all three. They come from the same x, by three linear layers of their own: q =
# x W_q, k = x W_k, v = x W_v. So T = S, and (T, S) is a square. The weights as a picture are called an *attention
# map*.
#
# Nothing in it is chosen by hand, and all of it has a derivative. It is also nothing but a mean: out is a weighted
# mean of the values, and never outside their range. The naive way first, one query after the other, and for each one
# key after the other:


# %%
def attention_in_loops(q, k, v):
    T, S, D = len(q), len(k), q.shape[1]
    out = np.zeros((T, v.shape[1]))
    for t in range(T):
        scores = [sum(q[t, d] * k[s, d] for d in range(D)) / math.sqrt(D) for s in range(S)]
        exps = [math.exp(score) for score in scores]
        for s in range(S):
            out[t] += exps[s] / sum(exps) * v[s]
    return out


print("on paper's numbers", attention_in_loops(q1, k3, v3))

# %% [markdown]
# Two matrix products with a softmax between. The products' backward is known since lesson 5, so begin with the softmax.
#
# ## Softmax, backward one line at a time
#
# In lesson 6 the softmax stood inside the loss, and most of it cancelled. Here it stands alone. The largest x of the
# row is subtracted first, so that exp cannot overflow. It has no part in the derivative: a number that is added to the
# whole row cancels in p, so take it for a constant.


# %%
def softmax_forward(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))  # (..., S)
    total = e.sum(axis=-1, keepdims=True)  # (..., 1)
    p = e / total  # (..., S)
    return p, (e, total)


rng = np.random.default_rng(9)
x, dp = rng.standard_normal((2, 4, 6))  # four rows of scores, and what comes back to their softmax
print(softmax_forward(x)[0].round(3))

# %% [markdown]
# We are given dp and want dx. Which name is used twice, and which line spreads one number over a row? (Lesson 7's two
# rules are all that is needed.)
#
# ```
# p     = e / total             wanted: de, its first part, and dtotal
# total = sum of e                      de again: what is added to it?
# e     = np.exp(x − largest)           dx
# ```


# %% derive: softmax_backward(dp, softmax_forward(x)[1])
def softmax_backward(dp, cache):
    e, total = cache
    de = dp / total  # first part
    dtotal = -(dp * e).sum(axis=-1, keepdims=True) / total**2  # (..., S) -> (..., 1)
    de = de + dtotal  # second part, spread over the row
    dx = de * e
    return dx


# %% [markdown]
# For one row:
#
# ```
# p     = e / total       first:  de  = dp / total
#                                 dtotal = −Σ dp e / total²
# total = Σ e                     de += dtotal             spread over the row
# e     = exp(x)          last:   dx  = de · e
# ```

# %%
report = gradient_check(softmax_forward, softmax_backward, {"x": x}, title="softmax")
print(report)
assert report.passed

# %% [markdown]
# ## Simplified
#
# Put the parts together: dx = e (dp / total − Σ dp e / total²). There is p = e / total in it, twice. What is dx, made
# of dp and p alone?


# %% derive: softmax_one_line(dp, softmax_forward(x)[0])
def softmax_one_line(dp, p):
    dx = p * (dp - (dp * p).sum(axis=-1, keepdims=True))
    return dx


# %% [markdown]
# The factor p in front, and Σ dp p behind:
#
# ```
# dx = e (dp / total − Σ dp e / total²)
#    = p (dp − Σ dp p)
# ```
#
# Σ dp p is the mean of dp with p as weights. So softmax's backward asks of each entry: is its gradient better than
# the row's mean? That is all it passes on, and in proportion to p. What has no weight learns nothing. And dx sums
# to 0 in each row, as it must: adding to all scores moves nothing. (Entry by entry the same says ∂pᵢ/∂xⱼ = pᵢ ([i = j]
# − pⱼ), where [i = j] is 1 for i = j and 0 otherwise.)

# %%
p, cache = softmax_forward(x)
dx = softmax_backward(dp, cache)
print("one line, the same:", np.allclose(softmax_one_line(dp, p), dx))
print("the engine's, too: ", np.allclose(softmax.backward(dp, softmax.forward(x)[1]), dx))
print("sums of dx by row: ", np.abs(dx.sum(-1)).max() < 1e-12)
jacobian = np.diag(p[0]) - np.outer(p[0], p[0])  # (S, S): the derivative of each p by each x, first row
print("entry by entry:    ", np.allclose(dp[0] @ jacobian, dx[0]))

# %% [markdown]
# ## Your turn: softmax
#
# ```
# python -m lessons start softmax           writes lessons/work/softmax.py
# python -m lessons check softmax --watch   at each save, against the definition
#                                           and numerical derivatives
# python -m lessons hint softmax            if you are stuck
# ```
#
# (`python -m lessons start 9` begins this piece and the lesson's other one, head, together.)
#
# One thing goes beyond the code above. Scores may be −∞, which is how a mask says "not this one": exp makes 0 of it,
# as it should, but a row of nothing but −∞ has no largest number to subtract and no sum to divide by. It should give
# zeros. With the one line, the cache needs one array only; the check says so where yours holds more.
#
# The engine's attention has a softmax written into it. So in a run yours is used where a softmax stands alone: where
# text is written, and the probabilities of the next token are made (lesson 16). `python -m lessons run 9`, some seconds
# of training on the lessons' text, and `python train.py --mine lessons/work` say which of your parts they used.
#
# ## Attention, all queries at once
#
# Now the loops of `attention_in_loops` as matrices, in three lines: scores (T, S), weights (T, S), out (T, D).
# `softmax_forward(scores)[0]` is the softmax of each row.

# %%
q, k, v = (rng.standard_normal((n, 3)) for n in (5, 7, 7))  # five queries, seven keys and values
dout = rng.standard_normal((5, 3))


# %% derive: forward(q, k, v)
def forward(q, k, v):
    scores = q @ k.T / math.sqrt(q.shape[-1])  # (T, D) @ (D, S) -> (T, S)
    weights = softmax_forward(scores)[0]  # (T, S)
    out = weights @ v  # (T, S) @ (S, D) -> (T, D)
    return out, (q, k, v, weights)


# %%
print("agrees with the loops:", np.allclose(forward(q, k, v)[0], attention_in_loops(q, k, v)))

# %% [markdown]
# Both (T, S) as colours, orange above zero and blue below: a row for each query, a column for each key. Where do you
# find the one cup? (The page has every number of such maps, of a model that is being trained.)

# %%
queries, keys = [f"q{t}" for t in range(5)], [f"k{s}" for s in range(7)]
heat(q @ k.T / math.sqrt(3), queries, keys, title="scores")
heat(forward(q, k, v)[1][3], queries, keys, title="weights")

# %% [markdown]
# ## Attention, backward
#
# A matrix product's backward is lesson 5's: write it with indices, and each gradient sums over the index that it
# lacks. Query t meets key s in one number of the map:
#
# ```
# out[t]      = Σₛ weights[t,s] v[s]        wanted: dweights, dv
# weights     = softmax of scores                   dscores, by the one line
# scores[t,s] = q[t] · k[s] / √D                    dq, dk
# ```
#
# Before you write the five as matrices: which of them sum over the queries, and need a map that is transposed?


# %% derive: backward(dout, forward(q, k, v)[1])
def backward(dout, cache):
    q, k, v, weights = cache
    dweights = dout @ v.T  # (T, D) @ (D, S) -> (T, S)
    dv = weights.T @ dout  # (S, T) @ (T, D) -> (S, D)
    dscores = weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True))  # (T, S)
    dq = dscores @ k / math.sqrt(q.shape[-1])  # (T, S) @ (S, D) -> (T, D)
    dk = dscores.T @ q / math.sqrt(q.shape[-1])  # (S, T) @ (T, D) -> (S, D)
    return dq, dk, dv


# %% [markdown]
# Over the queries t sum dv and dk:
#
# ```
# out[t]      = Σₛ weights[t,s] v[s]   dweights[t,s] = dout[t] · v[s]
#                                      dv[s]         = Σₜ weights[t,s] dout[t]
# dscores     = softmax's backward of dweights
# scores[t,s] = q[t] · k[s] / √D       dq[t]         = Σₛ dscores[t,s] k[s] / √D
#                                      dk[s]         = Σₜ dscores[t,s] q[t] / √D
# ```
#
# A query gathers along its *row* of the map, over the keys that it saw. A key or a value gathers along its *column*,
# over the queries that looked at it. Hence the transposes in dv and dk.
#
# In a GPT's step: [one number of dq](step.html#h.0.attn/dq[0,1,3,2]) is made from row 3 of dscores, that of its own
# query, and [one of dk](step.html#h.0.attn/dk[0,1,2,2]) from column 2, that of its key. They meet in
# [dscores at 3, 2](step.html#h.0.attn/dscores~2[0,1,3,2]), as query and key met in
# [the score](step.html#h.0.attn/scores[0,1,3,2]).
#
# ## Is it right?
#
# Five queries and seven keys, different numbers on purpose: where T = S, a forgotten transpose has a fitting shape, and
# only the numbers are wrong.

# %%
report = gradient_check(forward, backward, {"q": q, "k": k, "v": v}, title="attention, one head")
print(report)
assert report.passed

# %% [markdown]
# ## On paper, backward
#
# "it" again, with the first channel of out as the loss: dout = (1, 0). The values are (4, 0), (0, 4) and (8, 8), the
# weights 1/4, 1/2 and 1/4. To raise that first channel, whom should "it" listen to more, and whom less? Find dweights,
# their mean by weight, and dscores.

# %%
dq, dk, dv = backward(np.array([[1.0, 0]]), forward(q1, k3, v3)[1])
print("dq     ", dq[0])
print("dk ship", dk[1].round(4))
print("dv     ", dv.tolist())
for text, value in zip(("−0.625", "0.625", "−0.125", "0.125"), dq[0], strict=True):
    stated(text, value)
assert np.allclose(dk[1], -3 / 2 * q1 / 2) and np.allclose(dv, [[1 / 4, 0], [1 / 2, 0], [1 / 4, 0]])

# %% [markdown]
# To "sank" more and to the ship less:
#
# ```
#                       hat      ship     sank
# dweights = dout · v   4        0        8     mean by weight: 1 + 0 + 2 = 3
# minus the mean        1       −3        5
# dscores               1/4     −3/2      5/4   times the weights; they sum to 0
# dv                   (1/4, 0) (1/2, 0) (1/4, 0)
#
# dq = (1/4 k_hat − 3/2 k_ship + 5/4 k_sank) / 2
#    = (−0.625, 0.625, −0.125, 0.125)
# ```
#
# Read dq: to raise out (the loss here is out itself; in training it would be minus this), ask less for a thing and
# more for a deed, for the ship passes on 0 here and "sank" passes on 8. The keys get the same message from the
# other side, each in the direction of q: dk_ship is −3/2 · q / 2.
#
# The mean by weight, 3, is also dout · out = 1 · 3 + 0 · 4. This is so for every query, since Σₛ weights[s] (dout ·
# v[s]) is dout · Σₛ weights[s] v[s]. The engine's fast version uses it, for out is (T, D) and the weights are (T,
# S).
#
# ## Your turn: head
#
# ```
# python -m lessons start head           writes lessons/work/head.py
# python -m lessons check head --watch   at each save
# python -m lessons hint head            if you are stuck
# ```
#
# One head, forward and backward, for any axes before the last two: a batch of sequences, say. `.T` would turn those
# round too. So the file has the engine's product of the last two axes, on NumPy and CuPy alike: `bmm(a, b)` is a @ b,
# and `transpose_a=True` or `transpose_b=True` exchanges the last two axes of a or of b first. v may have another number
# of channels than q and k, and D in √D is theirs. `softmax` is there as well, the engine's, with a forward and a
# backward. float32 in, float32 out: a factor `q.shape[-1] ** -0.5` is a plain Python number, which leaves the dtype
# alone, where one from np.sqrt would not.
#
# A GPT's attention has many heads, and none may see what comes later. All the same a run can be made with this one:
# `python -m lessons run 9` asks your head for each position by itself, with the keys and values of what stands there
# and before. So does `python train.py --mine lessons/work`, slowly, until you have lesson 10's.

# %% [markdown]
# ## No one chooses the questions
#
# Now let one head learn. A sequence is six positions, each with a letter and a digit, as in `c5 a2 f0 b5 e1 d4`.
# Then a letter is asked, and the answer is its digit. Where a letter stands, and with which digit, is drawn anew
# each time, so there is nothing to know by heart: to answer, the head must look for the position with that letter.
#
# A position goes in as twelve numbers: a 1 at its letter, a 1 at its digit, and zeros. (The product of such a
# vector with a matrix picks two rows out and adds them, where the embedding picks one.) The question has the letter
# alone. Three matrices are learned, from random numbers: W_q, W_k to four channels, W_v to six, which are read as
# the logits of the six digits.
#
# A batch of such sequences is (B, 6, 12), so we take `Head`, the definition that your piece is held against. How often
# will an answer be right before training, by chance, and what is the loss then?

# %%
LETTERS, D, BATCH = 6, 4, 64
task = np.random.default_rng(6)


def draw_batch():
    """x: (B, 6, 12) positions; asked: (B, 1, 12) the question; answer: (B,) digits."""
    letters = task.permuted(np.tile(np.arange(LETTERS), (BATCH, 1)), axis=1)  # (B, 6), every letter once
    digits = task.integers(LETTERS, size=(BATCH, LETTERS))
    one_hot = np.eye(LETTERS)
    x = np.concatenate([one_hot[letters], one_hot[digits]], axis=-1)  # (B, 6) -> (B, 6, 12)
    place = task.integers(LETTERS, size=BATCH)
    rows = np.arange(BATCH)
    asked = np.concatenate([one_hot[letters[rows, place]], np.zeros((BATCH, LETTERS))], axis=-1)[:, None]
    return x, asked, digits[rows, place]


def attention_map():
    """For one sequence, row by row, where a question for each letter looks."""
    questions = np.eye(LETTERS, 2 * LETTERS)  # (6, 12)
    return forward(questions @ w_q, shown @ w_k, shown @ w_v)[1][3]  # the weights, (6, 6)


w_q, w_k, w_v = (task.standard_normal((2 * LETTERS, n)) / math.sqrt(2 * LETTERS) for n in (D, D, LETTERS))
shown = draw_batch()[0][0]
maps = [attention_map()]
for step in range(501):
    x, asked, answer = draw_batch()
    q, q_cache = linear.forward(asked, w_q)  # (B, 1, 12) -> (B, 1, D)
    k, k_cache = linear.forward(x, w_k)  # (B, 6, 12) -> (B, 6, D)
    v, v_cache = linear.forward(x, w_v)  # (B, 6, 12) -> (B, 6, 6)
    logits, head_cache = Head.forward(q, k, v)  # (B, 1, 6)
    loss, loss_cache = cross_entropy.forward(logits, answer[:, None])
    if step % 100 == 0:
        right = (logits[:, 0].argmax(-1) == answer).mean()
        print(f"step {step:>3}   loss {loss:6.3f}   right {right:4.0%}")
    dq, dk, dv = Head.backward(cross_entropy.backward(1.0, loss_cache), head_cache)
    w_q -= 3 * linear.backward(dq, q_cache)[1]
    w_k -= 3 * linear.backward(dk, k_cache)[1]
    w_v -= 3 * linear.backward(dv, v_cache)[1]
maps.append(attention_map())
assert right == 1 and loss < 0.05
stated("1.79", math.log(LETTERS))

# %% [markdown]
# It begins near chance, one in six, which is a loss of ln 6 = 1.79, and ends with every answer right. Here is where
# each question looks in one sequence, before and after. A bright cell is a large weight; a row sums to 1.

# %%
names = ["abcdef"[row[:LETTERS].argmax()] + str(row[LETTERS:].argmax()) for row in shown]
print("after training, in per cent:\n    " + "".join(f"{name:>5}" for name in names))
for letter, row in zip("abcdef", maps[1], strict=True):
    print(f"  {letter}?" + "".join(f"{100 * weight:5.0f}" for weight in row))
matches = [names[column][0] for column in maps[1].argmax(-1)]
assert "".join(matches) == "abcdef" and maps[1].max(-1).min() > 0.9

with plot("map", columns=2, size=(8, 3.8)) as both:
    for axes, weights, title in zip(both, maps, ("before training", "after training"), strict=True):
        axes.imshow(weights, vmin=0, vmax=1, cmap="magma")
        axes.set(title=title, xlabel="looks at", ylabel="question", xticks=range(LETTERS), yticks=range(LETTERS))
        axes.set_xticklabels(names)
        axes.set_yticklabels([f"{letter}?" for letter in "abcdef"])

# %%
for weights, title in zip(maps, ("before training", "after training"), strict=True):
    heat(weights, [f"{letter}?" for letter in "abcdef"], names, title=title, largest=1)

# %% [markdown]
# Nobody told W_q and W_k that equal letters should agree. The only message was the loss at the digit, and it
# reached them through dscores: this position's value helped more than the mean, so look there more.

# %% [markdown]
# ## A bug on purpose
#
# Softmax looks like a cousin of the *sigmoid*, p = 1 / (1 + exp(−x)), which makes a probability of a single number.
# The sigmoid's derivative is p (1 − p). Taken over, that is the diagonal of the Jacobian, without the share of the
# others:

# %%
wrong = find("softmax", "diagonal_only")
print([("passed" if report.passed else "WRONG") for report in check_layer("softmax", wrong.stand_in())])
print(diagnose("softmax", wrong.stand_in()))

# %% [markdown]
# And once more (lesson 7): let `dout` be 1 everywhere. What is the true gradient of softmax, and what would that check
# let through? And in attention, what are dq and dk if the values are all alike?

# %%
print("dx is zero for dout = 1:             ", np.abs(softmax_backward(np.ones_like(p), cache)).max() < 1e-12)
alike = np.broadcast_to(rng.standard_normal(3), (7, 3))
q, k = rng.standard_normal((5, 3)), rng.standard_normal((7, 3))
dq, dk, _ = backward(rng.standard_normal((5, 3)), forward(q, k, alike)[1])
print("dq and dk are, where values are alike:", max(np.abs(dq).max(), np.abs(dk).max()) < 1e-12)

# %% [markdown]
# Both are zero, to rounding: a row of weights has sum 1 whatever the scores are, and a mean of equal values is that
# value. A backward of zeros would pass.

# %% [markdown]
# ## What it costs
#
# For a sequence of T tokens and D channels: scores 2T²D operations, out as many; backward twice that, two products
# for each of forward's. The map is T² numbers, written, read, normalised, and kept for backward.
#
# ```
# T        scores and out, D = 32           map, in 4-byte numbers
#   64        524,288 operations               16,384 bytes
#  128      2,097,152                          65,536
# 1024    134,217,728                       4,194,304
# ```
#
# Everything else in a GPT grows with T. Attention alone grows with its square: twice the text, four times the work
# and the memory. Lesson 10 puts it beside the linear layers.

# %%
for length, operations, size in (("64", "524,288", "16,384"), ("128", "2,097,152", "65,536"),
                                 ("1024", "134,217,728", "4,194,304")):  # fmt: skip
    stated(operations, 4 * int(length) ** 2 * 32)
    stated(size, 4 * int(length) ** 2)

# %% [markdown]
# ## Questions to think about
#
# 1. Put the keys and values in another order, both in the same one. What happens to out? What does a head know of
#    the order of the words?
# 2. W_q and W_k enter only through q kᵀ = x W_q W_kᵀ xᵀ. What happens if W_q is doubled and W_k halved? One matrix
#    of C × C numbers could stand in the place of the two. Why are there two?
# 3. Add the same vector c to every key, as a bias of W_k does. What happens to the weights, and what is the
#    gradient of c?
#
# Answers: `python -m lessons answers 9`
#
# ## To read on
#
# - Vaswani et al.: "Attention Is All You Need", 2017, arXiv:1706.03762, section 3.2.
# - Bahdanau, Cho, Bengio: "Neural Machine Translation by Jointly Learning to Align and Translate", 2014,
#   arXiv:1409.0473: where attention comes from, with maps between a sentence and its translation.
# - `tinygpt/layers/softmax.py`, the definition; `tinygpt/layers/attention.py`, where lesson 10 goes.

# %% [markdown]
# ## Answers
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
import math

import numpy as np
from kit import stated

from tinygpt.gradcheck import numerical_gradient
from tinygpt.layers import softmax


def weights_of(q, k):
    return softmax.forward(q @ k.T / math.sqrt(q.shape[1]))[0]


rng = np.random.default_rng(10)
q, k, v, dout = rng.standard_normal((4, 6, 3))
order, bias = rng.permutation(6), rng.standard_normal(3)
print("1. another order:", np.allclose(weights_of(q, k) @ v, weights_of(q, k[order]) @ v[order]))
print("2. 2 q, k / 2:   ", np.allclose(weights_of(q, k), weights_of(2 * q, k / 2)))
print("3. k + c:        ", np.allclose(weights_of(q, k), weights_of(q, k + bias)))
dc = numerical_gradient(lambda c: (weights_of(q, k + c) @ v * dout).sum(), bias)
print("   gradient of c:", np.abs(dc).max() < 1e-8)
stated("98,304", 2 * 768 * 64)
stated("589,824", 768**2)

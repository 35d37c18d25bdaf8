# %% [markdown]
# # 5. The smallest network
#
# *55 minutes*
#
# Lesson 3 kept a page for every character: 49 pages of 49 counts, and no page knew of any other. "Then do not keep a
# page for each," said Ada. "Keep a few numbers for each word." And who will choose the numbers? "No one. You begin
# with any numbers at all, and they are wrong."
#
# **Can numbers that begin at random be moved, a little at a time, until they predict as well as the counts?** For
# that you need the derivative of the loss with respect to each of them, with two layers in between. One of them is a
# table, and is only looked up. What is the derivative of looking something up?

# %%
import sys

import numpy as np

import tinygpt

sys.path += [f"{tinygpt.__path__[0]}/../lessons"]  # where kit is, whatever folder a notebook runs in
from kit import TEXT, plot, stated

from tinygpt.gradcheck import check_layer, diagnose, gradient_check
from tinygpt.gradcheck.mutants import find
from tinygpt.layers import cross_entropy, embedding, linear

# %% [markdown]
# ## The network
#
# ```
# idx     (N,)       N tokens, as integers
# x       (N, C)     embedding: row idx[n] of a table E with V rows of C numbers
# logits  (N, V)     linear: x @ w + b
# loss    ()         what lesson 3 measured: the mean of −ln P(target)
# ```
#
# An *embedding* gives each token C numbers, its vector. A *linear layer* makes of these C numbers a score for each of
# the V tokens that could come next: weighted sums, the weights being a column of w, plus a bias. The scores are
# called *logits*.
#
# On paper, three tokens (V = 3) with two numbers each (C = 2). The text is 2 0 0 0, so token 0 is met three times:
#
# ```
#      E           w               b          x = E[idx]    logits = x w + b
# 0    1   2       1   0   2       0  1  0    3  −1         3   0   7
# 1    0   1       0   1  −1                  1   2         .   .   .
# 2    3  −1                                  1   2         .   .   .
#                                             1   2         .   .   .
# ```
#
# Fill in the rest of the logits.

# %%
E = np.array([[1.0, 2], [0, 1], [3, -1]])
w = np.array([[1.0, 0, 2], [0, 1, -1]])
b = np.array([0.0, 1, 0])
idx = np.array([2, 0, 0, 0])
x = E[idx]  # (N,) -> (N, C): an array of integers as the index takes that row for each of them
print(x @ w + b)
assert np.array_equal(x @ w + b, [[3, 0, 7], [1, 3, 0], [1, 3, 0], [1, 3, 0]])

# %% [markdown]
# ## The chain rule, and the contract
#
# Lesson 1 had it for one number: multiply along a way, add up over the ways. With arrays an entry xᵢ has many ways to
# reach the loss, one through each entry of out:
#
# ```
# ∂L/∂xᵢ = Σ_o ∂L/∂out_o · ∂out_o/∂xᵢ
# ```
#
# The first factor is what the layer is told, `dout`. The second is the layer's own business. So no layer needs to
# know what comes before or after it, and all of them can keep the same contract, which is that of the whole engine:
#
# ```
# out, cache = forward(x, w, b)
# dx, dw, db = backward(dout, cache)
# ```
#
# `cache` is what backward needs of forward's numbers. Each gradient has the shape of what it belongs to. A network's
# forward goes through the layers from first to last, its backward from last to first, and each dx is the next dout.
#
# To try one layer by itself, any dout of the right shape will do. Here is one for the logits above:

# %%
dout = np.array([[1.0, 0, 2], [3, 2, 0], [0, 1, -1], [3, -1, 0]])  # (N, V)

# %% [markdown]
# ## Backward of the linear layer, one entry
#
# x is (N, I), with I numbers for each of N tokens; w is (I, O), b is (O,), out and dout are (N, O). One entry of out:
#
# ```
# out[n, o] = Σ_i x[n, i] w[i, o] + b[o]
# ```
#
# Now take one entry of each of b, w and x: b[o], w[i, o], x[n, i]. For each there are two questions. In which entries
# of out does it stand? And with which slope? Its gradient is the sum over those entries, of dout times the slope.
# Write the three numbers db_o, dw_io and dx_ni. (`dout[:, o]` are the N numbers that output o has for all tokens,
# `dout[n]` the O numbers of token n.)


# %% derive: one_entry(dout, x, w, 3, 1, 0)
def one_entry(dout, x, w, n, i, o):
    db_o = dout[:, o].sum()  # b[o] stands in out[n, o] for every n, with slope 1
    dw_io = (dout[:, o] * x[:, i]).sum()  # w[i, o] in out[n, o] for every n, with slope x[n, i]
    dx_ni = (dout[n] * w[i]).sum()  # x[n, i] in out[n, o] for every o, with slope w[i, o]
    return db_o, dw_io, dx_ni


# %% [markdown]
# ```
# ∂out[n, o] / ∂b[o]    = 1             db[o]    = Σ_n dout[n, o]
# ∂out[n, o] / ∂w[i, o] = x[n, i]       dw[i, o] = Σ_n dout[n, o] x[n, i]
# ∂out[n, o] / ∂x[n, i] = w[i, o]       dx[n, i] = Σ_o dout[n, o] w[i, o]
# ```
#
# b and w serve all tokens, so their gradients are sums over the tokens n. x[n, i] reaches all outputs o of its token.
# In each line the sum is over the one letter that the left-hand side lacks. For all entries, in loops:


# %%
def linear_backward_in_loops(dout, x, w):
    dx, dw, db = np.zeros_like(x), np.zeros_like(w), np.zeros(w.shape[1])
    for n in range(len(x)):
        for i in range(w.shape[0]):
            for o in range(w.shape[1]):
                dw[i, o] += dout[n, o] * x[n, i]
                dx[n, i] += dout[n, o] * w[i, o]
        db += dout[n]
    return dx, dw, db


for name, gradient in zip(("dx", "dw", "db"), linear_backward_in_loops(dout, x, w), strict=True):
    print(name, gradient.tolist())

# %% [markdown]
# ## All entries at once
#
# Loops are slow. A matrix product is a sum over a letter too, the one in the middle:
#
# ```
# (A B)[p, q] = Σ_k A[p, k] B[k, q]        (P, K) @ (K, Q) -> (P, Q)
# ```
#
# The letter that is summed is the last of A and the first of B. Compare this with your three sums. `.T` exchanges the
# two letters of a matrix, where they stand the wrong way round. Write dx, dw and db, one line each, without a loop.


# %% derive: linear_backward(dout, x, w)
def linear_backward(dout, x, w):
    dx = dout @ w.T  # (N, O) @ (O, I) -> (N, I)
    dw = x.T @ dout  # (I, N) @ (N, O) -> (I, O)
    db = dout.sum(axis=0)  # (N, O) -> (O,)
    return dx, dw, db


# %% [markdown]
# With three different sizes N, I and O, here 4, 2 and 3, the shapes leave no other way to multiply. (With equal sizes
# they do, which is why checks use different ones.) db is lesson 1's: b was spread over the rows.
#
# The same two sums in a step of a GPT of eight channels, on eight tokens: [one output](step.html#h.0.mlp.c_fc/out[2,5])
# adds up over the channels of its token, [one number of dw](step.html#h.0.mlp.c_fc/dw[1,5]) over the tokens.

# %%
dx, dw, db = linear_backward(dout, x, w)
for loops, product in zip(linear_backward_in_loops(dout, x, w), (dx, dw, db), strict=True):
    assert np.array_equal(loops, product)
assert one_entry(dout, x, w, 3, 1, 0) == (db[0], dw[1, 0], dx[3, 1])
for ours, engine in zip((dx, dw, db), linear.backward(dout, linear.forward(x, w, b)[1]), strict=True):
    assert np.array_equal(ours, engine)
print("two products and a sum give what the loops give, and the engine's too")

# %% [markdown]
# ## Your turn: linear
#
# ```
# python -m lessons start linear     writes lessons/work/linear.py
# python -m lessons check linear     holds it against the definition
#                                    and numerical derivatives
#                                    (with --watch: after every save)
# python -m lessons hint linear      if you are stuck
# ```
#
# (`python -m lessons start 5` writes both files of this lesson.) Two things are asked that the code above does not
# do. x may have any number of axes before the last, such as (B, T, I): reshape to rows first, and back at the end.
# And b may be None; then nothing is added, and its gradient is None.
#
# All matrix products of a GPT but attention's are this layer. Once it is right, `python -m lessons run 5` trains a
# small one in which they are yours, in some seconds, and `python train.py --mine lessons/work` one of any size.

# %% [markdown]
# ## Backward of a look-up
#
# Now the question of the beginning. Forward is x[n] = E[idx[n]]: row n of x is a copy of row idx[n] of the table.
# Here idx is 2 0 0 0, and dx, which comes back from the linear layer, has a row for each of the four places:
#
# ```
# n      idx[n]     dx[n]
# 0        2         5   −2
# 1        0         3    2
# 2        0        −2    2
# 3        0         3   −1
# ```
#
# Take row v of the table. Into which rows of x was it copied? What does the chain rule do with several ways? Write
# dE_v, the gradient of row v, (C,). (`dx[idx == v]` are those rows of dx whose place has token v.)


# %% derive: one_row(dx, idx, 0)
def one_row(dx, idx, v):
    dE_v = dx[idx == v].sum(axis=0)  # (how often v stands there, C) -> (C,)
    return dE_v


# %% [markdown]
# Row v of dE is the sum of the dx of all places where token v stands. Token 0 stands at three places and receives (3,
# 2) + (−2, 2) + (3, −1) = (4, 3), token 2 receives (5, −2). Token 1 was not met and receives nothing: its gradient
# is 0. (In the step on the page the letter a stands at two places, and
# [its row of dE](step.html#wte/dw[2,0]) receives from both.)
#
# For all rows at once there is a trick. Write each token as a row of zeros with a 1 at its place, a *one-hot* vector.

# %%
onehot = np.eye(3)[idx]  # (N,) -> (N, V)
print(onehot)
assert np.array_equal(onehot @ E, x)

# %% [markdown]
# With them the look-up is a matrix product, x = onehot E, (N, V) @ (V, C) → (N, C). And of a matrix product you have
# derived the backward. Write dE.


# %% derive: lookup_backward(dx, onehot)
def lookup_backward(dx, onehot):
    dE = onehot.T @ dx  # (V, N) @ (N, C) -> (V, C)
    return dE


# %%
print("by rows ", [one_row(dx, idx, v).tolist() for v in range(3)])
print("one-hot ", lookup_backward(dx, onehot).tolist())
assert lookup_backward(dx, onehot).tolist() == [one_row(dx, idx, v).tolist() for v in range(3)]
assert lookup_backward(dx, onehot).tolist() == [[4, 3], [0, 0], [5, -2]]

# %% [markdown]
# Nobody multiplies by all those zeros. One goes through the places and adds each dx to its token's row. That is
# called *scatter-add*. There is a trap: `dE[idx] += dx` looks as if it did that. What will it leave in row 0?

# %%
trap = np.zeros_like(E)
trap[idx] += dx
print("dE[idx] += dx leaves", trap.tolist())
assert trap[0].tolist() == [3, -1]

# %% [markdown]
# NumPy reads all rows, adds, and writes all back. Of a token that is met several times, the last write is what
# stays, and token 0 has lost its first two places.
#
# ## Your turn: embedding
#
# ```
# python -m lessons start embedding     writes lessons/work/embedding.py
# python -m lessons check embedding     holds it against the definition
#                                       and numerical derivatives
# python -m lessons hint embedding      if you are stuck
# ```
#
# The table is called w here, as all weights are. It takes ids of any shape, such as (B, T). Scatter-add comes from
# `tinygpt.backend`: `scatter_add(out, index, values)` does out[index[n]] += values[n], for one n after another, on
# NumPy and on CuPy. index is (N,), values (N, C), and out is changed in place, so it returns nothing. The ids are
# integers and have no derivative, so backward returns dw alone.
#
# Once it is right, every token of `python -m lessons run 5`, and of `python train.py --mine lessons/work`, comes into
# the network through yours, and every position too (lesson 12).

# %%
dE = np.zeros_like(E)
np.add.at(dE, idx, dx)  # NumPy's own scatter-add
print("scatter-add ", dE.tolist())
print("the engine's", embedding.backward(dx, embedding.forward(idx, E)[1]).tolist())
assert np.array_equal(dE, onehot.T @ dx)

# %% [markdown]
# ## The loss, as a closed box
#
# Logits may be any numbers, and probabilities may not. What stands between them is the subject of lesson 6. Today we
# take the engine's layer as it is: it keeps the contract, and that is all one needs to know. Two things we can test
# from outside. If the logits are the logarithms of lesson 3's probabilities, the loss is lesson 3's. And its backward
# is the derivative of its forward (lesson 4).

# %%
characters = sorted(set(TEXT))
V = len(characters)
ids = np.array([characters.index(character) for character in TEXT])
cut = int(0.9 * len(ids))
train, val = ids[:cut], ids[cut:]

counts = np.zeros((V, V))
np.add.at(counts, (train[:-1], train[1:]), 1)  # lesson 3's loop: a scatter-add
P = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
with np.errstate(divide="ignore"):  # ln 0 = −inf, where a pair was never counted
    counting, _ = cross_entropy.forward(np.log(P)[train[:-1]], train[1:])
print(f"the counts' loss on the training text {counting:.3f} nats per character")
stated("49", V)
stated("2.17", counting)
small = np.random.default_rng(5).standard_normal((4, 3))
report = gradient_check(
    cross_entropy.forward, cross_entropy.backward, {"logits": small, "targets": np.array([0, 2, 1, 0])}
)
print(report)
assert report.passed

# %% [markdown]
# ## The whole network, and is it right?
#
# Three layers, each with its forward and its backward. Forward calls them in order and keeps their caches.


# %%
def forward(idx, targets, E, w, b):
    x, embedding_cache = embedding.forward(idx, E)  # (N,) -> (N, C)
    logits, linear_cache = linear.forward(x, w, b)  # (N, C) -> (N, V)
    loss, loss_cache = cross_entropy.forward(logits, targets)  # (N, V) -> ()
    return loss, (embedding_cache, linear_cache, loss_cache)


def start(C, seed=5):
    """Random numbers to begin with: E (V, C), w (C, V), b (V,)."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((V, C)), rng.standard_normal((C, V)) / np.sqrt(C), np.zeros(V)]


E, w, b = start(C=3)
print("loss at the beginning:", forward(train[:40], train[1:41], E, w, b)[0].round(3))

# %% [markdown]
# In which order does backward call theirs, and what does it hand to each? dloss is ∂L/∂loss, and as the loss is L
# itself, it is 1. Write three lines: dlogits; then dx, dw and db, in one line; then dE. (Each `backward(dout, cache)`
# returns what the contract says.)


# %% derive: backward(1.0, forward(train[:40], train[1:41], E, w, b)[1])
def backward(dloss, cache):
    embedding_cache, linear_cache, loss_cache = cache
    dlogits = cross_entropy.backward(dloss, loss_cache)  # () -> (N, V)
    dx, dw, db = linear.backward(dlogits, linear_cache)  # (N, V) -> (N, C)
    dE = embedding.backward(dx, embedding_cache)  # (N, C) -> (V, C)
    return dE, dw, db


# %%
report = gradient_check(forward, backward, {"idx": train[:40], "targets": train[1:41], "E": E, "w": w, "b": b})
print(report)
assert report.passed
print("tokens met more than once among the 40:", int((np.bincount(train[:40]) > 1).sum()))

# %% [markdown]
# The last line matters. Where every token is met once, scatter-add and its wrong twin are the same, and the check
# would have seen nothing.
#
# ## Gradient descent
#
# The gradient says of each number: if you were a little larger, by how much would the loss rise? So move each one a
# little way against it.
#
# ```
# E ← E − lr · dE        w ← w − lr · dw        b ← b − lr · db
# ```
#
# `lr`, the *learning rate*, is how little. Each number moves by −lr times its slope, and the loss by its slope times
# that. So for a small enough step the loss must fall, by lr times the sum of the squares of all slopes. How large may
# lr be, before this is no longer so: 0.001, 0.1, 10, 100?

# %%
parameters = start(C=16)
before, cache = forward(train[:-1], train[1:], *parameters)
grads = backward(1.0, cache)
squares = sum((d * d).sum() for d in grads)
for lr in (0.001, 0.1, 10, 100):
    moved = [p - lr * d for p, d in zip(parameters, grads, strict=True)]
    after, _ = forward(train[:-1], train[1:], *moved)
    print(f"lr {lr:<6} loss {before:.4f} -> {after:.4f}   foretold: {before - lr * squares:.4f}")

# %% [markdown]
# A derivative is true only nearby. At 10 the loss still falls, but by less than was foretold, and at 100 it rises.
#
# Now many steps. Each takes 512 places of the training text at random, a *batch*: its gradient is nearly that of the
# whole text, at a twelfth of the price. The steps become shorter towards the end, because each batch pulls a little
# to its own side. The table below has C = 2, 4 and 16 numbers for each character. Which of them will come near the
# counts, 2.17? And which of the four does best on the text that none has seen?


# %%
def descend(C, steps=1500, lr=10.0, backward=backward):
    rng = np.random.default_rng(1)
    parameters, losses = start(C), []
    for step in range(steps):
        if step % 50 == 0:
            losses.append(forward(train[:-1], train[1:], *parameters)[0])
        places = rng.integers(len(train) - 1, size=512)
        _, cache = forward(train[places], train[places + 1], *parameters)
        for p, d in zip(parameters, backward(1.0, cache), strict=True):
            p -= lr * (1 - step / steps) * d
    return parameters, [*losses, forward(train[:-1], train[1:], *parameters)[0]]


results = {C: descend(C) for C in (2, 4, 16)}
print(f"{'':<22}numbers   training loss   validation loss")
print(f"{'counts':<22}{V * V:>7,}{counting:>16.3f}{'infinite':>18}")
with plot("descent") as axes:
    for C, (parameters, losses) in results.items():
        unseen, _ = forward(val[:-1], val[1:], *parameters)
        print(f"{f'network, C = {C}':<22}{sum(p.size for p in parameters):>7,}{losses[-1]:>16.3f}{unseen:>18.3f}")
        axes.plot(range(0, 1501, 50), losses, label=f"C = {C}")
    axes.axhline(counting, color="black", linestyle="--", linewidth=1, label="the counts of lesson 3")
    axes.set(xlabel="step", ylabel="training loss, nats per character", ylim=(2, 4))
    axes.legend(frameon=False)
parameters, losses = results[16]
stated("2.18", losses[-1], within=0.01)
stated("2.34", forward(val[:-1], val[1:], *parameters)[0], within=0.02)
stated("1,617", sum(p.size for p in parameters))
stated("2,401", V * V)
stated("2.36", -np.log(((counts + 0.1) / (counts.sum(axis=1, keepdims=True) + 0.1 * V))[val[:-1], val[1:]]).mean())

# %% [markdown]
# With C = 16, the network comes to 2.18 nats per character where the counts have 2.17, and lesson 3 proved that no
# bigram model can be better on the training text. It started at random and never counted anything. It holds 1,617
# numbers instead of 2,401. And it has no white pages: on the validation text, where the counts' loss is infinite and
# the best smoothed ones came to 2.36, it has about 2.34, with no coin put aside.

# %% [markdown]
# Where does that come from? Characters that are used alike must share their few numbers, and so what is learned of
# one is known of the other. For some characters, here are the three whose vectors point most nearly the same way:

# %%
common = np.argsort(-np.bincount(train, minlength=V))[:26]
vectors = parameters[0][common]
vectors = vectors - vectors.mean(axis=0)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
alike = vectors @ vectors.T  # (26, 26): the cosine of the angle between each two
names = [characters[i] for i in common]
nearest = {name: [names[i] for i in np.argsort(-alike[names.index(name)])[1:4]] for name in "ao,n"}
for name, others in nearest.items():
    print(f"{name!r}: {'  '.join(map(repr, others))}")
assert {*nearest["a"], *nearest["o"]} <= set("aeiou")

# %% [markdown]
# No one told it what a vowel is.
#
# ## A bug on purpose
#
# Train with the trap: the last place of each token wins, the others are lost. With 512 places and 49 characters, that
# throws nearly everything away. Will it learn at all?


# %%
def backward_last_wins(dloss, cache):
    (idx, E), linear_cache, loss_cache = cache  # what embedding keeps
    dx, dw, db = linear.backward(cross_entropy.backward(dloss, loss_cache), linear_cache)
    dE = np.zeros_like(E)
    dE[idx] = dx
    return dE, dw, db


_, wrong_losses = descend(16, backward=backward_last_wins)
print(f"training loss {losses[-1]:.3f} with the right gradient, {wrong_losses[-1]:.3f} with the wrong one")
assert losses[-1] < wrong_losses[-1] < losses[-1] + 0.1

# %% [markdown]
# It learns, and almost as well: the linear layer's gradient is still right and makes up for most of it. Had you not
# known the better number, you would have been content. The loss does not tell you that a gradient is wrong. The check
# does, and this one is in the library:

# %%
mutant = find("embedding", "last_occurrence_wins").stand_in()
print(["passed" if report.passed else "WRONG" for report in check_layer("embedding", mutant)])
print(diagnose("embedding", mutant))

# %% [markdown]
# In the second and third case that the engine looks at, no row is read twice, and the mutant passes. The first one
# has repeated tokens.
#
# ## What it costs
#
# For N tokens, a product (N, I) @ (I, O) is N · O sums of I products: 2NIO operations.
#
# ```
#                forward     backward                   kept for backward
# linear         2NIO        dx and dw: 2 · 2NIO        x and w
# embedding      none        NC additions               idx
# ```
#
# Backward costs twice what forward does. Each of the I · O weights takes part in 2 operations forward and in 4
# backward, for each token: 6 operations for each weight and token. That count will carry us to GPT-2, nearly all of
# whose operations are in linear layers. The embedding computes nothing, it moves numbers: C of them for each token,
# where the one-hot product would have cost 2NVC operations.
#
# ## Questions to think about
#
# 1. Let C = 1, so that each token is a single number, and leave out the bias. Over all 49 tokens, how many different
#    characters can be the likeliest next one? And with the bias?
# 2. Leave out E and w. What remains is a network of nothing but b, with the same logits for every token. At which
#    probabilities does it end, and how large is its loss there? (Lesson 3 has both.)
# 3. What happens if E and w both begin at zero? And if only w does?
#
# Answers: `python -m lessons answers 5`
#
# ## To read on
#
# - Bengio, Ducharme, Vincent, Jauvin: "A Neural Probabilistic Language Model", Journal of Machine Learning Research
#   3, 2003: words as learned vectors, with more than one of them looked back at.
# - Rumelhart, Hinton, Williams: "Learning representations by back-propagating errors", Nature, 1986: this lesson's
#   method, in four pages.
# - `tinygpt/layers/embedding.py`, `tinygpt/layers/linear.py`, and `scatter_add` in `tinygpt/backend.py`.

# %% [markdown]
# ## Answers
#
# **1. One number for each token.** The logits of a token with number e are e w_o. Where e is positive the largest w
# wins, where it is negative the smallest: two characters, whatever e is. With a bias, e w_o + b_o is a straight line
# for each o, and another line may be on top at each e. Take w_o = o and b_o = −o²/2: on top at e is the o nearest to
# e. So all 49 can be the likeliest, though not with any probabilities one likes.

# %%
import numpy as np
from kit import TEXT, stated

V = len(set(TEXT))
o, e = np.arange(V), np.arange(V)[:, None]  # (V,), and (V, 1): token v has the number v
without_bias, with_bias = ((e - 24.5) * o).argmax(axis=1), (e * o - o**2 / 2).argmax(axis=1)
print("without a bias:", len(set(without_bias)), "  with one:", len(set(with_bias)))
stated("49", len(set(with_bias)))

# %% [markdown]
# **2. Nothing but b.** It looks at no token: lesson 3's counting with k = 0. There it was proved that no
# probabilities are better for a text than the shares that are counted in it. So it ends at the frequencies of the
# characters, with the loss that stands in lesson 3's table for k = 0, 2.99.

# %%
import numpy as np
from kit import TEXT, stated

from tinygpt.layers import cross_entropy

V = len(set(TEXT))
ids = np.array([sorted(set(TEXT)).index(character) for character in TEXT])[: int(0.9 * len(TEXT))]
b = np.zeros(V)
for _ in range(400):
    loss, cache = cross_entropy.forward(np.broadcast_to(b, (len(ids), V)), ids)
    b -= 10 * cross_entropy.backward(1.0, cache).sum(axis=0)
probabilities, frequencies = np.exp(b) / np.exp(b).sum(), np.bincount(ids, minlength=V) / len(ids)
print(f"loss {loss:.3f}, largest difference from the frequencies {np.abs(probabilities - frequencies).max():.0e}")
assert np.allclose(probabilities, frequencies, atol=1e-3)
stated("2.99", loss)

# %% [markdown]
# **3. Both zero.** dE sums the rows of dx = dlogits wᵀ, which are zero because w is, and dw = xᵀ dlogits is zero
# because x is. Neither ever moves. Only b learns, and the network ends at the frequencies. If only w begins at zero,
# dw is not zero, so w moves in the first step and E from the second on.

# %%
import numpy as np
from kit import TEXT

from tinygpt.layers import cross_entropy

V = len(set(TEXT))
ids = np.array([sorted(set(TEXT)).index(character) for character in TEXT])
for title, E in (("both zero", np.zeros((V, 4))), ("w alone", np.random.default_rng(6).standard_normal((V, 4)))):
    w = np.zeros((4, V))
    _, cache = cross_entropy.forward(E[ids[:-1]] @ w, ids[1:])
    dlogits = cross_entropy.backward(1.0, cache)
    print(f"{title:<10} E moves: {(dlogits @ w.T).any()}   w moves: {(E[ids[:-1]].T @ dlogits).any()}")

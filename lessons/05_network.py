# %% [markdown]
# # 5. The smallest network
#
# Lesson 3 kept a page for every character: 49 pages of 49 counts, and no page knew of any other. "Then do not keep
# a page for each," said Ada. "Keep a few numbers for each word." And who will choose the numbers? "No one. You
# begin with any numbers at all, and they are wrong."
#
# **Can numbers that begin at random be moved, a little at a time, until they predict as well as the counts?** For
# that you need the derivative of the loss with respect to each of them, with two layers in between. One of them is
# a table, and is only looked up. What is the derivative of looking something up?

# %%
import numpy as np
from kit import TEXT, plot, stated

from tinygpt.gradcheck import check_layer, diagnose, gradient_check, numerical_gradient
from tinygpt.gradcheck.mutants import find
from tinygpt.layers import cross_entropy, embedding, linear

# %% [markdown]
# ## Last lesson's questions
#
# **1. Large x.** A float64 near 10¹² has a neighbour every 1.2e-4, so x + 1e-5 is x again, and the difference is 0.
# Near 10⁹ the neighbours are 1.2e-7 apart, and the two steps are rounded to them. A step in proportion to x helps,
# best the power of two nearest to x / 65,536, so that x + h is exact.

# %%
for size in (1e9, 1e12):
    estimate = numerical_gradient(lambda x: float(x), np.array(size))
    better = numerical_gradient(lambda x: float(x), np.array(size), h=2.0 ** np.round(np.log2(size / 65_536)))
    print(f"x = {size:.0e}: neighbours {np.spacing(size):.1e} apart", end="")
    print(f", h = 1e-5 says {estimate:.4f}, h in proportion {better:.4f}")
stated("1.2e-4", np.spacing(1e12))
stated("1.2e-7", np.spacing(1e9))

# %% [markdown]
# **2. An error of 1e-7.** Change h. The formula's error falls with h², rounding's rises with 1/h, and a mistake
# stays where it is.
#
# **3. One entry of ten thousand, off by a tenth of itself.** If the entries are alike, the gradient's norm is 100
# times one entry, so the relative error is about 0.1 / 100, one thousandth. A random direction sees as much, more
# or less. A tolerance of 1e-2 lets it pass. One of 1e-9 does not, and the check by entries also says which one it
# is.

# %%
rng = np.random.default_rng(5)
right, u = np.ones(10_000), rng.standard_normal(10_000)
wrong = right.copy()
wrong[0] *= 1.1
print(f"relative error of the whole {np.linalg.norm(wrong - right) / np.linalg.norm(wrong):.1e}", end="")
print(f", along a direction {abs((wrong - right) @ u) / np.linalg.norm(wrong):.1e}")
stated("100", np.linalg.norm(right))

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
# An *embedding* gives each token C numbers, its vector. A *linear layer* makes of these C numbers a score for each
# of the V tokens that could come next: weighted sums, the weights being a column of w, plus a bias. The scores are
# called *logits*.
#
# On paper, three tokens (V = 3) with two numbers each (C = 2). The text is 0 2 0, so token 0 is met twice:
#
# ```
#      E           w               b          x = E[idx]    logits = x w + b
# 0    1   2       1   0   2       0  1  0    1   2         1   3   0
# 1    0   1       0   1  −1                  3  −1         3   0   7
# 2    3  −1                                  1   2         1   3   0
# ```

# %%
E = np.array([[1.0, 2], [0, 1], [3, -1]])
w = np.array([[1.0, 0, 2], [0, 1, -1]])
b = np.array([0.0, 1, 0])
idx = np.array([0, 2, 0])
x = E[idx]  # (N,) -> (N, C): an array of integers as the index takes that row for each of them
print(x @ w + b)
assert np.array_equal(x @ w + b, [[1, 3, 0], [3, 0, 7], [1, 3, 0]])

# %% [markdown]
# ## The chain rule, and the contract
#
# In one variable: if the loss depends on out, and out on x, then dL/dx = dL/dout · dout/dx. With arrays x has many
# ways to reach the loss, one through each entry of out, and their contributions add up:
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
# `cache` is what backward needs of forward's numbers. Each gradient has the shape of what it belongs to. A
# network's forward goes through the layers from first to last, its backward from last to first, and each dx is the
# next dout.
#
# ## Backward of the linear layer
#
# One entry of the output, and its derivatives:
#
# ```
# out[n, o] = Σ_i x[n, i] w[i, o] + b[o]
#
# ∂out[n, o] / ∂b[o]    = 1             db[o]    = Σ_n dout[n, o]
# ∂out[n, o] / ∂w[i, o] = x[n, i]       dw[i, o] = Σ_n dout[n, o] x[n, i]
# ∂out[n, o] / ∂x[n, i] = w[i, o]       dx[n, i] = Σ_o dout[n, o] w[i, o]
# ```
#
# b and w serve all tokens, so their gradients are sums over the tokens n. x[n, i] reaches all outputs o of its
# token. In each line the sum is over the one letter that the left-hand side lacks. In loops:


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


dout = np.array([[1.0, 0, 0], [0, 2, 0], [1, 0, -1]])  # any numbers will do
dx, dw, db = linear_backward_in_loops(dout, x, w)
print("dx", dx.tolist(), "\ndw", dw.tolist(), "\ndb", db.tolist())

# %% [markdown]
# ## Simplified
#
# A sum over n of something with (n, i) times something with (n, o) is a matrix product, once the first is
# transposed:
#
# ```
# dx = dout wᵀ        (N, O) @ (O, I) → (N, I)
# dw = xᵀ dout        (I, N) @ (N, O) → (I, O)
# db = Σ_n dout              (N, O) → (O,)
# ```
#
# With three different sizes, the shapes leave no other way to multiply. (With equal sizes they do, which is why
# checks use different ones.)


# %%
def linear_backward(dout, x, w):
    return dout @ w.T, x.T @ dout, dout.sum(axis=0)


for loops, product in zip((dx, dw, db), linear_backward(dout, x, w), strict=True):
    assert np.array_equal(loops, product)
for ours, engine in zip((dx, dw, db), linear.backward(dout, linear.forward(x, w, b)[1]), strict=True):
    assert np.array_equal(ours, engine)
print("the same in two products and a sum, and the engine's too")

# %% [markdown]
# ## Backward of a look-up
#
# Write each token as a row of zeros with a 1 at its place, a *one-hot* vector. Then the look-up is a matrix
# product, and we know its derivative already:
#
# ```
# x  = onehot E              (N, V) @ (V, C) → (N, C)
# dE = onehotᵀ dx            (V, N) @ (N, C) → (V, C)
# ```
#
# Row v of dE is the sum of the dx of all places where token v stands. Nobody multiplies by all those zeros: one
# goes through the places and adds each dx to its token's row, which is called *scatter-add*. Here token 0 stands at
# two places, with dx (1, 0) and (−1, 1), and receives their sum (0, 1). Token 1 was not met and receives nothing.

# %%
onehot = np.eye(3)[idx]  # (N,) -> (N, V)
assert np.array_equal(onehot @ E, x)
dE = np.zeros_like(E)
np.add.at(dE, idx, dx)  # dE[idx[n]] += dx[n], for one n after another
print("one-hot     ", (onehot.T @ dx).tolist())
print("scatter-add ", dE.tolist())
print("the engine's", embedding.backward(dx, embedding.forward(idx, E)[1]).tolist())
assert np.array_equal(dE, onehot.T @ dx) and dE.tolist() == [[0, 1], [0, 0], [0, 2]]

# %% [markdown]
# There is a trap. `dE[idx] += dx` looks like the same thing. NumPy reads all rows, adds, and writes all back: of a
# token that is met twice, the last write is what stays.

# %%
trap = np.zeros_like(E)
trap[idx] += dx
print("dE[idx] += dx", trap.tolist(), "where token 0 has lost its first place")
assert trap[0].tolist() == [-1, 1]

# %% [markdown]
# ## The loss, as a closed box
#
# Logits may be any numbers, and probabilities may not. What stands between them is the subject of lesson 6. Today
# we take the engine's layer as it is: it keeps the contract, and that is all one needs to know. Two things we can
# test from outside. If the logits are the logarithms of lesson 3's probabilities, the loss is lesson 3's. And its
# backward is the derivative of its forward.

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
small = rng.standard_normal((4, 3))
report = gradient_check(
    cross_entropy.forward, cross_entropy.backward, {"logits": small, "targets": np.array([0, 2, 1, 0])}
)
print(report)
assert report.passed

# %% [markdown]
# ## The whole network, and is it right?


# %%
def forward(idx, targets, E, w, b):
    x = E[idx]  # (N,) -> (N, C)
    logits = x @ w + b  # (N, C) -> (N, V)
    loss, loss_cache = cross_entropy.forward(logits, targets)  # (N, V) -> ()
    return loss, (idx, E, x, w, loss_cache)


def backward(dloss, cache):
    idx, E, x, w, loss_cache = cache
    dlogits = cross_entropy.backward(dloss, loss_cache)  # () -> (N, V)
    dx, dw, db = linear_backward(dlogits, x, w)  # (N, V) -> (N, C)
    dE = np.zeros_like(E)
    np.add.at(dE, idx, dx)  # (N, C) -> (V, C)
    return dE, dw, db


def start(C, seed=5):
    """Random numbers to begin with: E (V, C), w (C, V), b (V,)."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((V, C)), rng.standard_normal((C, V)) / np.sqrt(C), np.zeros(V)]


E, w, b = start(C=3)
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
# `lr`, the *learning rate*, is how little. For a small enough step the loss must fall, by lr times the sum of
# squares of the gradient:

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
# Now many steps. Each takes 512 places of the training text at random, a *batch*: its gradient is nearly that of
# the whole text, at a twelfth of the price. The steps become shorter towards the end, because each batch pulls a
# little to its own side.


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

# %% [markdown]
# With C = 16, the network comes to 2.18 nats per character where the counts have 2.17, and lesson 3 proved that no
# bigram model can be better on the training text. It started at random and never counted anything. It holds 1,617
# numbers instead of 2,401. And it has no white pages: on the validation text, where the counts' loss is infinite
# and the best smoothed ones came to 2.36, it has about 2.34, with no coin put aside.

# %%
parameters, losses = results[16]
stated("2.18", losses[-1], within=0.01)
stated("2.34", forward(val[:-1], val[1:], *parameters)[0], within=0.02)
stated("1,617", sum(p.size for p in parameters))
stated("2,401", V * V)
alpha = 0.1
smoothed = (counts + alpha) / (counts.sum(axis=1, keepdims=True) + alpha * V)
stated("2.36", -np.log(smoothed[val[:-1], val[1:]]).mean())

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
for name in "ao,n":
    nearest = np.argsort(-alike[names.index(name)])[1:4]
    print(f"{name!r}: {'  '.join(repr(names[i]) for i in nearest)}")
    assert name not in "ao" or {names[i] for i in nearest} <= set("aeiou")

# %% [markdown]
# No one told it what a vowel is.
#
# ## A bug on purpose
#
# Train with the trap: the last place of each token wins, the others are lost. With 512 places and 49 characters,
# that throws nearly everything away.


# %%
def backward_last_wins(dloss, cache):
    idx, E, x, w, loss_cache = cache
    dx, dw, db = linear_backward(cross_entropy.backward(dloss, loss_cache), x, w)
    dE = np.zeros_like(E)
    dE[idx] = dx
    return dE, dw, db


_, wrong_losses = descend(16, backward=backward_last_wins)
print(f"training loss {losses[-1]:.3f} with the right gradient, {wrong_losses[-1]:.3f} with the wrong one")
assert losses[-1] < wrong_losses[-1] < losses[-1] + 0.1

# %% [markdown]
# It learns, and almost as well: the linear layer's gradient is still right and makes up for most of it. Had you not
# known the better number, you would have been content. The loss does not tell you that a gradient is wrong. The
# check does, and this one is in the library:

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
# ## Your turn: embedding, linear
#
# ```
# python -m lessons start 5        writes lessons/work/embedding.py
#                                  and lessons/work/linear.py
# python -m lessons check 5        holds each against its definition
#                                  and numerical derivatives
# python -m lessons hint linear    if you are stuck; or hint embedding
# ```
#
# `linear` takes x with any number of axes before the last, and b may be None, whose gradient is None. Reshape to
# rows first, and back at the end. `embedding` takes ids of any shape. Scatter-add comes from `tinygpt.backend`,
# because NumPy's `np.add.at` is slow and CuPy has another. `scatter_add(out, index, values)` does out[index[n]] +=
# values[n]. The ids are integers and have no derivative, so backward returns dw alone.
#
# All matrix products of a GPT but attention's are this `linear`. With `python train.py --mine lessons/work`, they
# are yours.
#
# ## Questions to think about
#
# 1. Let C = 1, so that each token is a single number, and leave out the bias. Over all 49 tokens, how many
#    different characters can be the likeliest next one? And with the bias?
# 2. Lesson 6 will show that dlogits is, row by row, the predicted probabilities minus the target's one-hot row,
#    over N. At a minimum of the loss, db is zero. What does that say about the predictions?
# 3. What happens if E and w both begin at zero? And if only w does?
#
# They are answered at the beginning of lesson 6.
#
# ## To read on
#
# - Bengio, Ducharme, Vincent, Jauvin: "A Neural Probabilistic Language Model", Journal of Machine Learning Research
#   3, 2003: words as learned vectors, with more than one of them looked back at.
# - Rumelhart, Hinton, Williams: "Learning representations by back-propagating errors", Nature, 1986: this lesson's
#   method, in four pages.
# - `tinygpt/layers/embedding.py`, `tinygpt/layers/linear.py`, and `scatter_add` in `tinygpt/backend.py`.

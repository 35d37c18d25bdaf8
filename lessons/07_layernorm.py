# %% [markdown]
# # 7. LayerNorm
#
# *40 minutes*
#
# A network of twelve layers multiplies by a matrix some fifty times. If each product makes its numbers 1.5 times
# larger, what comes out is larger by 1.5⁵⁰, about 600 million; if each makes them 1.5 times smaller, nothing is left.
# And it is not enough to begin right: every step of training changes the matrices.
#
# **What would you do to a vector, so that the next layer need not care how large it is or where its middle lies?**
# And when you have done it, what is the derivative?

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
from tinygpt.layers import layernorm

stated("600", 1.5**50 / 1e6, within=50)

# %% [markdown]
# ## On paper
#
# Take eight numbers: 2, 4, 4, 4, 5, 5, 7, 9.
#
# ```
# mean      (2+4+4+4+5+5+7+9) / 8                =  5
# centred   −3  −1  −1  −1   0   0   2   4          sum to 0
# variance  (9+1+1+1+0+0+4+16) / 8               =  4
# rstd      1 / √4                               =  0.5
# x̂         −1.5  −0.5  −0.5  −0.5  0  0  1  2      mean 0, variance 1
# ```
#
# `rstd` is the reciprocal of the standard deviation, and x̂ ("x hat") is x seen from its own mean, in its own units.
#
# Before you go on: what becomes of x̂ if 100 is added to all eight numbers? If all are multiplied by 7? By −7?

# %%
x = np.array([2.0, 4, 4, 4, 5, 5, 7, 9])
centred = x - x.mean()
var = (centred**2).mean()
rstd = 1 / np.sqrt(var)
xhat = centred * rstd
print("mean", x.mean(), " variance", var, " rstd", rstd)
print("xhat     ", xhat)
stated("5", x.mean())
stated("4", var)
stated("0.5", rstd)
assert np.allclose(xhat, [-1.5, -0.5, -0.5, -0.5, 0, 0, 1, 2])

for name, changed in (("plus 100", x + 100), ("times 7", 7 * x), ("times −7", -7 * x)):
    print(f"{name:<9}", (changed - changed.mean()) / np.sqrt(changed.var()))

# %% [markdown]
# Neither the place of the numbers nor their size is left, only how they lie to each other. A negative factor turns
# them round.
#
# ## The formula
#
# Ba, Kiros and Hinton (2016, arXiv:1607.06450, equations 3 and 4), for a vector x of C numbers, with mean μ ("mu") and
# variance σ² ("sigma squared"):
#
# ```
# μ    = 1/C Σ xᵢ
# σ²   = 1/C Σ (xᵢ − μ)²
# x̂ᵢ   = (xᵢ − μ) / √(σ² + ε)
# outᵢ = wᵢ x̂ᵢ + bᵢ
# ```
#
# - The mean is over the C channels of *one* token. No token sees another, so it makes no difference what else is in
#   the batch, and training and use are the same thing. (BatchNorm takes its mean over the batch.)
# - ε ("epsilon") = 1e-5 keeps a vector of equal numbers from dividing by zero.
# - w and b are learned, one of each for every channel. They start at 1 and 0. They let the network undo part of what
#   was done, where that helps.
#
# The naive way first, one number after the other, for N tokens of C channels:


# %%
def forward_in_loops(x, w, b, eps=1e-5):
    N, C = x.shape
    out = np.empty((N, C))
    for n in range(N):
        mean = sum(x[n]) / C
        var = sum((x[n, i] - mean) ** 2 for i in range(C)) / C
        for i in range(C):
            out[n, i] = (x[n, i] - mean) / math.sqrt(var + eps) * w[i] + b[i]
    return out


# %% [markdown]
# Then all tokens at once. Each step has a line and a name of its own, because backward will have a line for each.
# `keepdims=True` keeps the axis that was averaged, with size 1, so that an (N, 1) is spread over an (N, C). What
# backward will need goes into the cache.


# %%
def forward(x, w, b, eps=1e-5):
    mean = x.mean(axis=-1, keepdims=True)  # (N, 1)
    centred = x - mean  # (N, C)
    var = (centred * centred).mean(axis=-1, keepdims=True)  # (N, 1)
    rstd = 1 / np.sqrt(var + eps)  # (N, 1)
    xhat = centred * rstd  # (N, C)
    out = xhat * w + b  # (N, C)
    return out, (centred, rstd, xhat, w)


rng = np.random.default_rng(7)
N, C = 3, 6
x, w, b = rng.standard_normal((N, C)), rng.standard_normal(C), rng.standard_normal(C)
dout = rng.standard_normal((N, C))  # what would come from the layers behind
out, cache = forward(x, w, b)
print(out.round(3))
print("agrees with the loops: ", np.allclose(out, forward_in_loops(x, w, b)))
print("agrees with the engine:", np.allclose(out, layernorm.forward(x, w, b)[0]))

# %%
heat(x, title="x: a row for each token, a column for each channel")
heat(cache[2], title="xhat: each row around 0, and each as wide as the others")

# %% [markdown]
# ## Backward, one line at a time
#
# We are given `dout`, the derivative of the loss with respect to each entry of `out`, and walk forward's lines from
# the last to the first. Beside the calculus of one variable, two rules are enough.
#
# - A value used in several places receives the *sum* of what comes back from each.
# - Where forward *spreads* one number over many (broadcasting), backward sums over them; where forward *sums* many
#   into one, backward spreads. A mean over C spreads 1/C of what it got.
#
# Each gradient has the name and the shape of what it belongs to: drstd is (N, 1), because rstd is. Where the shapes do
# not fit, a sum is missing.
#
# ```
# forward, from the last line up                    wanted
#
# out     = xhat * w + b                            db, dw, dxhat
# xhat    = centred * rstd                          drstd, dcentred
# rstd    = 1 / np.sqrt(var + eps)                  dvar
# var     = mean of centred * centred               dcentred, added to the first
# centred = x - mean                                dmean, dx
# mean    = mean of x                               dx, added to the first
# ```
#
# centred and x are used in two lines each, so dcentred and dx have two parts. For dvar, recall that the derivative of
# s^(−1/2) is −½ s^(−3/2). The cache has no var, but what is s^(−3/2) in terms of rstd?
#
# Now write them, one after the other, on paper or here, before you look at the lesson's own.


# %% derive: backward(dout, forward(x, w, b)[1])
def backward(dout, cache):
    centred, rstd, xhat, w = cache
    C = centred.shape[-1]
    db = dout.sum(axis=0)  # (N, C) -> (C,)
    dw = (dout * xhat).sum(axis=0)  # (N, C) -> (C,)
    dxhat = dout * w  # (N, C)
    drstd = (dxhat * centred).sum(axis=-1, keepdims=True)  # (N, C) -> (N, 1)
    dcentred = dxhat * rstd  # (N, C), first part
    dvar = drstd * -0.5 * rstd**3  # (N, 1)
    dcentred = dcentred + dvar * 2 * centred / C  # (N, C), second part
    dmean = -dcentred.sum(axis=-1, keepdims=True)  # (N, C) -> (N, 1)
    dx = dcentred  # (N, C), first part
    dx = dx + dmean / C  # (N, C), second part
    return dx, dw, db


# %% [markdown]
# Line by line, in the formula's letters: μ is the mean, σ² the variance, Σ_rows runs over the tokens and Σ_channels
# over the C numbers of one:
#
# ```
# out = x̂ w + b             db  = Σ_rows dout
#                           dw  = Σ_rows dout x̂
#                           dx̂  = dout w
# x̂ = centred · rstd        drstd    = Σ_channels dx̂ centred
#                           dcentred = dx̂ rstd                     (first part)
# rstd = (σ² + ε)^(−1/2)    dσ² = drstd · (−1/2) (σ² + ε)^(−3/2)
#                               = drstd · (−1/2) rstd³
# σ² = 1/C Σ centred²       dcentred += dσ² · 2 centred / C        (second part)
# centred = x − μ           dx  = dcentred                         (first part)
#                           dμ  = −Σ_channels dcentred
# μ = 1/C Σ x               dx += dμ / C                           (second part)
# ```
#
# ## Is it right?
#
# Do not believe it, not even here. Nudge every entry of x, w and b up and down and see how far the output moves
# (lesson 4), with a random `dout`:

# %%
report = gradient_check(forward, backward, {"x": x, "w": w, "b": b})
print(report)
assert report.passed

# %% [markdown]
# ## All in one line
#
# Between dx̂ and dx stand six lines, and most of what they compute falls away again. Write m(·) for the mean over the
# channels of a row, so that Σ_channels = C · m. Two facts will help: centred = x̂ / rstd, and m(x̂) = 0.

# %%
_, rstd, xhat, _ = cache
dxhat = dout * w
print("m(xhat) is 0 in every row:", np.allclose(xhat.mean(axis=-1), 0))

# %% [markdown]
# Begin at the end,
#
# ```
# dx = dcentred − m(dcentred)
# ```
#
# and put in what dcentred is, with dvar and drstd in it. What is dx, made of dx̂, x̂, rstd and two means, and nothing
# else? Write it in one line.


# %% derive: one_line(dxhat, xhat, rstd)
def one_line(dxhat, xhat, rstd):
    dx = rstd * (dxhat - dxhat.mean(-1, keepdims=True) - xhat * (dxhat * xhat).mean(-1, keepdims=True))
    return dx


# %% [markdown]
# From dvar on, one after the other:
#
# ```
# drstd    = Σ dx̂ centred = C m(dx̂ x̂) / rstd       centred = x̂ / rstd
# dσ²      = −½ rstd³ drstd = −½ C rstd² m(dx̂ x̂)
# second part of dcentred = dσ² · 2 centred / C
#          = −rstd² m(dx̂ x̂) · x̂ / rstd
#          = −rstd · x̂ m(dx̂ x̂)
# dcentred = rstd (dx̂ − x̂ m(dx̂ x̂))
# dx       = dcentred − m(dcentred)
#          = rstd (dx̂ − m(dx̂) − x̂ m(dx̂ x̂))
#            m(x̂) = 0, so the mean of the last term is 0
# ```
#
# (With ε in the root, centred = x̂ / rstd still holds: rstd contains ε. Nothing was approximated.)
#
# Read it as geometry. In the space of C channels there are two directions in which moving x does not move x̂: adding
# the same number to every channel, and stretching x about its mean, which is the direction of x̂ itself. A gradient
# along them would be a promise that cannot be kept. The formula takes dx̂, removes its component along
# (1, 1, …, 1), removes its component along x̂, and scales what is left by rstd.
#
# So two numbers must be zero for every row, whatever `dout` is: the sum of dx, and the dot product of dx with x̂.
# (The second only as nearly as ε is nothing beside the variance.)
#
# In a GPT's step, number by number: [one of centred](step.html#h.0.ln_1/centred[0,3,2]) goes into its x̂, and into the
# variance of its row; what comes back by both is there beside a nudge of the loss. And
# [its dx](step.html#h.0.ln_1/dx[0,3,2]) is the one line, with [m(dx̂ x̂)](step.html#h.0.ln_1/along[0,3,0]) in it.
#
# ![In three channels: x̂ lies on a circle around the direction of all ones; a gradient loses its part along that
# direction, then its part along x̂, and what is left runs along the circle.](../pictures/layernorm_directions.svg)

# %%
dx, dw, db = backward(dout, cache)
print("one line, the same numbers:", np.allclose(one_line(dxhat, xhat, rstd), dx))
print("sum of dx, row by row     ", dx.sum(-1))
print("dx · xhat, row by row     ", (dx * xhat).sum(-1))
assert np.allclose(dx.sum(-1), 0) and np.allclose((dx * xhat).sum(-1), 0, atol=1e-3)

# %%
heat(dout * w, title="dxhat, what comes in")
heat(dx, title="dx, what goes on: in each row what is above zero is made up for below")

# %% [markdown]
# ## On paper, backward
#
# The eight numbers again, with w = 1, and a loss that is the first output alone: dx̂ = (1, 0, 0, 0, 0, 0, 0, 0).
# Then m(dx̂) = 1/8 and m(dx̂ x̂) = −1.5/8, and rstd = 0.5.
#
# Guess before you calculate: the first number is 2, a neighbour is 4, and far out on the other side is the 9. Raise
# one of the three a little. Does x̂₁ rise or fall?

# %%
x8 = np.array([[2.0, 4, 4, 4, 5, 5, 7, 9]])
_, cache8 = layernorm.forward(x8, np.ones(8), None, eps=0)
dx8, _, _ = layernorm.backward(np.eye(8)[:1], cache8)
print(dx8[0])
stated("0.296875", dx8[0, 0])
stated("−0.109375", dx8[0, 1])
stated("0.125", dx8[0, 7])

# %% [markdown]
# By the one line:
#
# ```
# dx₁ = 0.5 (1 − 1/8 − (−1.5)(−1.5/8)) =  0.296875   itself: raising x₁ raises x̂₁
# dx₂ = 0.5 (0 − 1/8 − (−0.5)(−1.5/8)) = −0.109375   a neighbour: raises the mean
# dx₈ = 0.5 (0 − 1/8 −   2 · (−1.5/8)) =  0.125      far out on the other side:
#                                                    raises the variance, which
#                                                    draws x̂₁ = −1.5 towards 0
# ```
#
# The last one is worth a moment. Raising x₈ raises the mean, which lowers x̂₁; but it also stretches the ruler, and
# the second effect is the stronger.
#
# ![The eight numbers through LayerNorm and back: the gradient of x is the sum of three ways, directly, through the
# variance and through the mean.](../pictures/layernorm_graph.svg)
#
# ## Your turn: layernorm
#
# ```
# python -m lessons start 7           writes lessons/work/layernorm.py
# python -m lessons check 7 --watch   at each save, against the definition
#                                     and numerical derivatives
# python -m lessons hint 7            if you are stuck
# ```
#
# The file is the engine's own with the two bodies left out. Three things are asked that the code above does not do:
# x may have any number of axes before the last, so the rows to sum over are all axes but one; b may be None, and has no
# gradient then; and it must run on NumPy and CuPy alike, so ask `array_module(x)` for `sqrt`. With the one line for dx,
# the cache needs no more than x̂, rstd, w and whether there was a bias. (A larger one passes too, and the check says
# how much is enough.)
#
# Then see it at work. `python -m lessons run 7` trains a small GPT on the lessons' text for some seconds, and every
# LayerNorm in it is yours. In a real run it takes the same places: `python train.py --mine lessons/work`.

# %% [markdown]
# ## What it does to a network
#
# Fifty random matrices, each 1.5 times too large, one after the other, with and without a LayerNorm in front of each.
# And the same with matrices that are too small. Without it you know the end from the beginning of this lesson. What is
# the standard deviation of the numbers after fifty layers *with* it, in the two cases?

# %%
width, depth = 64, 50
start, ends = rng.standard_normal(width), []
with plot("depth") as axes:
    for gain, colour in ((1.5, "tab:red"), (1 / 1.5, "tab:blue")):
        for normalise, style in ((False, "--"), (True, "-")):
            h, sizes = start, []
            for _ in range(depth):
                matrix = rng.standard_normal((width, width)) * gain / np.sqrt(width)
                if normalise:
                    h, _ = layernorm.forward(h, np.ones(width))
                h = h @ matrix
                sizes.append(h.std())
            label = f"times {gain:.2f}" + (", with LayerNorm" if normalise else "")
            axes.semilogy(sizes, style, color=colour, label=label)
            ends.append(sizes[-1])
            print(f"{label:<28} after {depth} layers: standard deviation {sizes[-1]:.3g}")
    axes.set(xlabel="layer", ylabel="standard deviation of the activations")
    axes.legend(frameon=False)
stated("1.5", ends[1], within=0.3)
stated("0.67", ends[3], within=0.13)

# %% [markdown]
# With it the fifty layers before leave no trace: the last matrix is given numbers of standard deviation 1, and what
# comes out has about that of the matrix, 1.5 or 0.67.
#
# ## A bug on purpose
#
# The usual mistake is to treat mean and variance as constants: `dx = rstd * dxhat`. It is the first thing one writes,
# and it has the right shape and about the right size. The check sees it at once, and because this mistake is in the
# library of wrong layers, the diagnosis can name it:

# %%
wrong = find("layernorm", "statistics_as_constants")
print([("passed" if report.passed else "WRONG") for report in check_layer("layernorm", wrong.stand_in())])
print(diagnose("layernorm", wrong.stand_in()))

# %% [markdown]
# Another check sees nothing at all. Let `dout` be 1 everywhere, and w = 1. Which wrong backward passes would it let
# through? (What is the sum of x̂, however x is moved?)

# %%
_, cache1 = layernorm.forward(x, np.ones(C))
print("dx for dout = 1:", np.abs(layernorm.backward(np.ones((N, C)), cache1)[0]).max())

# %% [markdown]
# The sum of x̂ is 0 and stays 0, so the true dx is zero: a backward that returns zeros passes, and so does one that
# returns any multiple of the right numbers.
#
# ## What it costs
#
# For N tokens of C channels, forward reads x once and writes x̂ and out: 3NC numbers moved, and about 7NC
# operations (the square root and the division of each row are not counted). Backward reads dout and x̂ and writes
# dx: 3NC numbers again. Beside it stands the linear layer behind it (`c_attn`, lesson 10), with 2 · C · 3C operations
# for each token.
#
# ```
#                      operations    numbers moved    operations for each number
# LayerNorm, forward      7 NC             3 NC                 2.3
# linear layer, forward   6 NC²      about 4 NC                 1.5 C
# ```
#
# For C = 128, that is about 2 against 192. LayerNorm has almost nothing to compute and is bound by memory: the way to
# make it fast is to touch every number once, which `tinygpt/kernels/cpu/layernorm.py` does in blocks that stay in the
# cache. Lesson 17 measures it.

# %%
stated("2.3", 7 / 3)
stated("192", 1.5 * 128)

# %% [markdown]
# ## Questions to think about
#
# 1. A LayerNorm stands in front of a linear layer. Could w and b be folded into that layer's weights, so that they
#    need not exist? What would change in training, if anything?
# 2. RMSNorm (Zhang and Sennrich, 2019, arXiv:1910.07467) leaves out the mean. Which of the three terms of dx is then
#    gone, and which direction of x does the network see that LayerNorm hides from it?
# 3. All C numbers of a token are equal. What are out, dx and dw, with ε and without?
#
# Answers: `python -m lessons answers 7`
#
# ## To read on
#
# - Ba, Kiros, Hinton: "Layer Normalization", 2016, arXiv:1607.06450.
# - Xiong et al.: "On Layer Normalization in the Transformer Architecture", 2020, arXiv:2002.04745: why it stands in
#   front of each part (pre-norm), as in GPT-2, and not behind.
# - `tinygpt/layers/layernorm.py`, the definition, and `tinygpt/kernels/cpu/layernorm.py`, its fast twin.

# %% [markdown]
# ## Answers
#
# **1. Folding w and b into the linear layer that follows.** It can be done: (x̂ w + b) W + c is x̂ W′ + c′ with W′
# = W with each row i multiplied by wᵢ, and c′ = b W + c. The function is the same. Training is not: one step of
# gradient descent moves w and W each a little, and their product moves differently from how W′ would move on its
# own. After training, folding changes nothing and saves the work.
#
# **2. RMSNorm** divides by the root of the mean square and takes no mean away, so the middle term, m(dx̂), is gone:
# dx = rstd (dx̂ − x̂ m(dx̂ x̂)), with the root of the mean square in rstd. The direction (1, 1, …, 1) is no longer
# hidden: add 100 to every channel, and the network sees it.
#
# **3. All C numbers equal.** centred is 0, so x̂ is 0 and out is b. dw is 0. With ε, rstd is 1/√1e-5, about 316,
# and dx = rstd (dx̂ − m(dx̂)): finite, but large. Without ε, 0/0: out is not a number, and neither is anything
# after it.

# %%
import numpy as np
from kit import stated

from tinygpt.layers import layernorm

rng = np.random.default_rng(8)
xhat, W, c = rng.standard_normal((3, 6)), rng.standard_normal((6, 4)), rng.standard_normal(4)
w, b, dout = rng.standard_normal(6), rng.standard_normal(6), rng.standard_normal((3, 4))
folded, shift = w[:, None] * W, b @ W + c
print("1. folded, the same:", np.allclose((xhat * w + b) @ W + c, xhat @ folded + shift))
da = dout @ W.T  # backward through both, then one step of 0.1 on every parameter
apart = (xhat * (w - 0.1 * (da * xhat).sum(0)) + b - 0.1 * da.sum(0)) @ (W - 0.1 * (xhat * w + b).T @ dout)
apart += c - 0.1 * dout.sum(0)
together = xhat @ (folded - 0.1 * xhat.T @ dout) + shift - 0.1 * dout.sum(0)
print("   after one step of training, the same:", np.allclose(apart, together))

x = rng.standard_normal((1, 6))
layernorm_sees = np.abs(layernorm.forward(x + 100, w)[0] - layernorm.forward(x, w)[0]).max()
rms_sees = np.abs((x + 100) / np.sqrt(((x + 100) ** 2).mean()) - x / np.sqrt((x**2).mean())).max()
print(f"2. 100 added moves LayerNorm by {layernorm_sees:.1g}, RMSNorm by {rms_sees:.1g}")

equal = np.full((1, 6), 3.0)
out, cache = layernorm.forward(equal, w, b)
dx, dw, _ = layernorm.backward(np.ones((1, 6)), cache)
print("3. out is b:", np.allclose(out, b), "  dw is 0:", not dw.any(), f"  rstd {cache[1].item():.1f}")
stated("316", cache[1].item())
assert np.allclose(dx, cache[1] * (w - w.mean()))
with np.errstate(invalid="ignore", divide="ignore"):
    print("   without eps:", layernorm.forward(equal, w, b, eps=0)[0])

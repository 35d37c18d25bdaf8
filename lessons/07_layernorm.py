# %% [markdown]
# # 7. LayerNorm
#
# A network of twelve layers multiplies by a matrix some fifty times. If each product makes its numbers 1.5 times
# larger, what comes out is larger by 1.5⁵⁰, about 600 million; if each makes them 1.5 times smaller, nothing is left.
# And it is not enough to begin right: every step of training changes the matrices.
#
# **What would you do to a vector, so that the next layer need not care how large it is or where its middle lies?**
# And when you have done it, what is the derivative?

# %%
import numpy as np
from kit import plot, stated

from tinygpt.gradcheck import check_layer, diagnose, gradient_check
from tinygpt.gradcheck.mutants import find
from tinygpt.layers import layernorm

stated("600", 1.5**50 / 1e6, within=50)

# %% [markdown]
# ## Last lesson's questions
#
# **1. A constant added to all logits.** The loss does not move in that direction, so the derivative along it is zero:
# the entries of dlogits sum to zero in every row. With V = 2, only the difference of the two logits counts, and one
# number z in its place is enough: p = 1 / (1 + exp(−z)), the *sigmoid*. In general V − 1 would do. One keeps all V,
# because a rule without exceptions is simpler.
#
# **2. A distribution as the target.** L = −Σ q_i (z_i − ln Σ_k exp(z_k)) = ln Σ_k exp(z_k) − Σ q_i z_i, since the q_i
# sum to 1. So dlogits = p − q, of which the one-hot target was a special case. It is zero where p = q. The loss there
# is not zero but −Σ q_i ln q_i, the *entropy* of q: what remains uncertain even to somebody who knows q.
#
# **3. The mean of two means.** Each of the 5 targets weighs 1/(2 · 5) where 1/30 is right, 3 times too much, and each
# of the 25 weighs 1/(2 · 25), which is 0.6 of what it should be. With `denominator` = 30 in both halves, and a sum in
# place of the mean, all weigh the same.

# %%
q = np.array([0.5, 0.3, 0.2])


def soft_target_loss(z):
    log_total = np.log(np.exp(z).sum())
    return np.array(log_total - (q * z).sum()), np.exp(z - log_total)


z = np.array([0.3, -1.0, 2.0])
assert gradient_check(soft_target_loss, lambda dout, p: dout * (p - q), {"z": z}).passed
assert np.isclose(soft_target_loss(np.log(q))[0], -(q * np.log(q)).sum())
print(f"loss at p = q: {soft_target_loss(np.log(q))[0]:.3f} nats, the entropy of q")
print("dlogits sums to zero:", abs((soft_target_loss(z)[1] - q).sum()) < 1e-12)
stated("3", (1 / (2 * 5)) / (1 / 30))
stated("0.6", (1 / (2 * 25)) / (1 / 30))

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
# Add 100 to every number, or multiply them all by 7, and x̂ stays what it is. (Multiply by −7, and it changes sign.)

# %%
x = np.array([2.0, 4, 4, 4, 5, 5, 7, 9])
centred = x - x.mean()
var = (centred**2).mean()
rstd = 1 / np.sqrt(var)
xhat = centred * rstd
print("mean", x.mean(), " variance", var, " rstd", rstd)
print("xhat", xhat)
stated("5", x.mean())
stated("4", var)
stated("0.5", rstd)
assert np.allclose(xhat, [-1.5, -0.5, -0.5, -0.5, 0, 0, 1, 2])

for changed in (x + 100, 7 * x):
    again = (changed - changed.mean()) / np.sqrt(changed.var())
    print("the same:", np.allclose(again, xhat))

# %% [markdown]
# ## The formula
#
# Ba, Kiros and Hinton (2016, arXiv:1607.06450, equations 3 and 4), for a vector x of C numbers:
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
# - ε = 1e-5 keeps a vector of equal numbers from dividing by zero.
# - w and b are learned, one of each for every channel. They start at 1 and 0. They let the network undo part of what
#   was done, where that helps.
#
# A batch of text is (B, T, C). The layer works on the last axis and lets the others be:


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
out, cache = forward(x, w, b)
print(out.round(3))
print("agrees with the engine:", np.allclose(out, layernorm.forward(x, w, b)[0]))

# %% [markdown]
# ## Backward, one line at a time
#
# We are given `dout`, the derivative of the loss with respect to each entry of `out`, and walk forward's lines from
# the last to the first. Two rules are enough.
#
# - A value used in several places receives the *sum* of what comes back from each.
# - Where forward *spreads* one number over many (broadcasting), backward sums over them; where forward *sums* many
#   into one, backward spreads. A mean over C spreads 1/C of what it got.
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
# Every line is one rule of the calculus of one variable. The code is the right-hand column:


# %%
def backward(dout, cache):
    centred, rstd, xhat, w = cache
    C = centred.shape[-1]
    db = dout.sum(axis=0)  # (N, C) -> (C,)
    dw = (dout * xhat).sum(axis=0)  # (N, C) -> (C,)
    dxhat = dout * w  # (N, C)
    drstd = (dxhat * centred).sum(axis=-1, keepdims=True)  # (N, C) -> (N, 1)
    dcentred = dxhat * rstd  # (N, C)
    dvar = drstd * -0.5 * rstd**3  # (N, 1)
    dcentred = dcentred + dvar * 2 * centred / C  # (N, C)
    dmean = -dcentred.sum(axis=-1, keepdims=True)  # (N, C) -> (N, 1)
    dx = dcentred + dmean / C  # (N, C)
    return dx, dw, db


# %% [markdown]
# ## Is it right?
#
# Do not believe it, not even here. Nudge every entry of x, w and b up and down and see how far the output moves
# (lesson 4), with a random `dout`:

# %%
report = gradient_check(forward, backward, {"x": x, "w": w, "b": b})
print(report)
assert report.passed

# %% [markdown]
# ## Simplified
#
# Now put the parts of dx together. Write m(·) for the mean over the channels of a row; Σ = C · m.
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
# One line is left. (With ε in the root, centred = x̂ / rstd still holds: rstd contains ε. Nothing was approximated.)
#
# ```
# dx = rstd · ( dx̂ − m(dx̂) − x̂ · m(dx̂ x̂) )
# ```
#
# Read it as geometry. In the space of C channels there are two directions in which moving x does not move x̂: adding
# the same number to every channel, and stretching x about its mean, which is the direction of x̂ itself. A gradient
# along them would be a promise that cannot be kept. The formula takes dx̂, removes its component along
# (1, 1, …, 1), removes its component along x̂, and scales what is left by rstd.
#
# So two numbers must be zero for every row, whatever `dout` is: the sum of dx, and the dot product of dx with x̂.
# (The second only as nearly as ε is nothing beside the variance.)

# %%
dout = rng.standard_normal((N, C))
dx, dw, db = backward(dout, cache)
_, rstd, xhat, _ = cache
dxhat = dout * w
short = rstd * (dxhat - dxhat.mean(-1, keepdims=True) - xhat * (dxhat * xhat).mean(-1, keepdims=True))
print("one line, the same numbers:", np.allclose(short, dx))
print("sum of dx, row by row     ", dx.sum(-1))
print("dx · xhat, row by row     ", (dx * xhat).sum(-1))
assert np.allclose(dx.sum(-1), 0) and np.allclose((dx * xhat).sum(-1), 0, atol=1e-3)

# %% [markdown]
# ## On paper, backward
#
# The eight numbers again, with w = 1, and a loss that is the first output alone: dx̂ = (1, 0, 0, 0, 0, 0, 0, 0).
# Then m(dx̂) = 1/8 and m(dx̂ x̂) = −1.5/8, and with rstd = 0.5
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

# %%
x8 = np.array([[2.0, 4, 4, 4, 5, 5, 7, 9]])
_, cache8 = layernorm.forward(x8, np.ones(8), None, eps=0)
dx8, _, _ = layernorm.backward(np.eye(8)[:1], cache8)
print(dx8[0])
stated("0.296875", dx8[0, 0])
stated("−0.109375", dx8[0, 1])
stated("0.125", dx8[0, 7])

# %% [markdown]
# ## What it does to a network
#
# Fifty random matrices, each 1.5 times too large, one after the other, with and without a LayerNorm in front of each.
# And the same with matrices that are too small.

# %%
width, depth = 64, 50
start = rng.standard_normal(width)
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
            print(f"{label:<28} after {depth} layers: standard deviation {sizes[-1]:.3g}")
    axes.set(xlabel="layer", ylabel="standard deviation of the activations")
    axes.legend(frameon=False)

# %% [markdown]
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
# A careless check may see nothing. With `dout` = 1 everywhere and w = 1, the true dx is zero: the sum of x̂ does not
# move at all. A backward that returns zeros then passes.

# %%
_, cache1 = layernorm.forward(x, np.ones(C))
print("dx for dout = 1:", np.abs(layernorm.backward(np.ones((N, C)), cache1)[0]).max())

# %% [markdown]
# ## What it costs
#
# For N tokens of C channels, forward reads x once and writes x̂ and out: 3NC numbers moved, and about 7NC
# operations (the square root and the division of each row are not counted). Backward reads dout and x̂ and writes
# dx: as much again. Beside it stands the linear layer behind it (`c_attn`, lesson 10), with 2 · C · 3C operations
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
# ## Your turn: layernorm
#
# ```
# python -m lessons start 7     writes lessons/work/layernorm.py
# python -m lessons check 7     against the definition and numerical derivatives
# python -m lessons hint 7      if you are stuck
# ```
#
# The file is the engine's own with the two bodies left out. Three things are asked that the code above does not do:
# x may have any number of axes before the last, so the rows to sum over are all axes but one; b may be None; and it
# must run on NumPy and CuPy alike, so ask `array_module(x)` for `sqrt`. Use the one line for dx, and keep in the
# cache no more than it needs.

# %% [markdown]
# ## Questions to think about
#
# 1. A LayerNorm stands in front of a linear layer. Could w and b be folded into that layer's weights, so that they
#    need not exist? What would change in training, if anything?
# 2. RMSNorm (Zhang and Sennrich, 2019, arXiv:1910.07467) leaves out the mean. Which of the three terms of dx is then
#    gone, and which direction of x does the network see that LayerNorm hides from it?
# 3. All C numbers of a token are equal. What are out, dx and dw, with ε and without?
#
# They are answered at the beginning of lesson 8.
#
# ## To read on
#
# - Ba, Kiros, Hinton: "Layer Normalization", 2016, arXiv:1607.06450.
# - Xiong et al.: "On Layer Normalization in the Transformer Architecture", 2020, arXiv:2002.04745: why it stands in
#   front of each part (pre-norm), as in GPT-2, and not behind.
# - `tinygpt/layers/layernorm.py`, the definition, and `tinygpt/kernels/cpu/layernorm.py`, its fast twin.

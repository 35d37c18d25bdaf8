# %% [markdown]
# # 8. GELU and the MLP
#
# *45 minutes*
#
# The layers of lesson 5 were linear: a matrix product and a bias. Put two of them one after the other:
#
# ```
# (x W₁ + b₁) W₂ + b₂  =  x (W₁ W₂) + (b₁ W₂ + b₂)
# ```
#
# The right-hand side is one linear layer, with the matrix W₁ W₂. Twenty of them are still one, and all that was
# paid for the other nineteen is wasted.
#
# **What is the least that must stand between two linear layers, so that the second adds something?** And how do you
# write the backward of a layer that is made of other layers, without writing theirs again?

# %%
import math
import sys
from types import SimpleNamespace

import numpy as np

import tinygpt

sys.path += [f"{tinygpt.__path__[0]}/../lessons"]  # where kit is, whatever folder a notebook runs in
from kit import plot, stated

from tinygpt.gradcheck import check_layer, diagnose, gradient_check
from tinygpt.gradcheck.mutants import find
from tinygpt.layers import gelu, mlp
from tinygpt.models.gpt2 import Leaves
from tinygpt.ops import DEFINITIONS

# %% [markdown]
# ## On paper
#
# The smallest thing that a linear layer cannot do: is *exactly one* of two inputs 1? (Exclusive or.)
#
# ```
# x₁ x₂   wanted
# 0  0      0
# 0  1      1
# 1  0      1
# 1  1      0
# ```
#
# Any linear f, with its bias, satisfies f(0, 0) + f(1, 1) = f(0, 1) + f(1, 0). Wanted are 0 and 2. What is the nearest
# that it can come, in the sense of least squares?

# %%
x = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
wanted = np.array([0.0, 1, 1, 0])
with_bias = np.column_stack([x, np.ones(4)])
best, *_ = np.linalg.lstsq(with_bias, wanted)  # the weights and bias with the least squared error
print("the best linear layer  ", (with_bias @ best).round(3))
stated("0.5", (with_bias @ best).max())

# %% [markdown]
# It says 0.5 to everything. Now put a *bend* behind it: h₁ = max(0, x₁ + x₂) and h₂ = max(0, x₁ + x₂ − 1), a linear
# layer to two hidden numbers, from each of which all that is negative is cut off. Which weighted sum of h₁ and h₂ is
# what is wanted?

# %%
hidden = np.maximum(0, x @ np.array([[1.0, 1], [1, 1]]) + np.array([0.0, -1]))  # (4, 2) -> (4, 2)
print("hidden", *hidden.tolist())
print("h₁ − 2 h₂", hidden @ np.array([1.0, -2]))
assert np.array_equal(hidden @ np.array([1.0, -2]), wanted)

# %% [markdown]
# A linear layer, a bend, and a second linear layer. (The example is in Goodfellow, Bengio and Courville, "Deep
# Learning", 2016, section 6.1.)
#
# ## The formula
#
# The bend, max(0, x), is called ReLU (rectified linear unit). Its slope is 0 on the left and 1 on the
# right, with a corner between. Hendrycks and Gimpel (2016, arXiv:1606.08415) round the corner off:
#
# ```
# GELU(x) = x · Φ(x)
# Φ(x)    = the probability that a standard normal number is below x
#         = (1 + erf(x / √2)) / 2
# ```
#
# One way to read it: draw a number from the normal distribution; if it is below x, let x pass, else pass 0. GELU is
# what passes on average. A large x always passes, a very negative one never, and near 0 it is a matter of degree.
# erf, the error function, is a curve from −1 to 1 that has no formula in simpler functions. Python has it as
# `math.erf`.
#
# By hand, from the table of Φ in any book on statistics:
#
# ```
# x        −2         −1         0       1         2
# Φ(x)      0.0228     0.1587    0.5     0.8413    0.9772
# GELU     −0.0455    −0.1587    0       0.8413    1.9545
# ```


# %%
rng = np.random.default_rng(8)


def normal_cdf(x):  # Φ, exact, one number after the other
    return np.array([(1 + math.erf(value / math.sqrt(2))) / 2 for value in x.flat]).reshape(x.shape)


five = np.array([-2.0, -1, 0, 1, 2])
phi = normal_cdf(five)
print("Φ   ", phi.round(4))
print("GELU", (five * phi).round(4))
for text, value in zip(("0.0228", "0.1587", "0.5", "0.8413", "0.9772"), phi, strict=True):
    stated(text, value)
for text, value in zip(("−0.0455", "−0.1587", "0", "0.8413", "1.9545"), five * phi, strict=True):
    stated(text, value)
passed = (rng.standard_normal(200_000) < 1).mean()
print(f"Φ(1) by drawing: {passed:.3f}")
stated("0.8413", passed, within=0.005)

# %% [markdown]
# ## The tanh form
#
# GPT-2 does not use erf but a stand-in for Φ, which the same paper gives (section 2):
#
# ```
# Φ(x) ≈ (1 + tanh u) / 2          u = √(2/π) (x + 0.044715 x³)
# ```
#
# tanh is an S from −1 to 1 as well, of slope 1 at 0. The factor √(2/π) gives the two curves the same slope there,
# and the cube corrects the shape further out. (Asking that the third derivatives at 0 agree too gives 2/(3π) − 1/6
# = 0.0455 in its place. Moved to 0.044715, the curve is a little worse for |x| below 1.5 and better beyond, and its
# largest error falls.)
#
# GELU in this form is nowhere off by more than 0.0005. It matters all the same which one a model was trained with:
# its weights fit that one. So the engine has both, `approximate="tanh"` and `"none"`.

# %%
root = math.sqrt(2 / math.pi)
stated("0.0455", 2 / (3 * math.pi) - 1 / 6)
many = np.linspace(-6, 6, 4001)
off = {}
for cubic in (0, 2 / (3 * math.pi) - 1 / 6, 0.044715):
    off[cubic] = np.abs(many * (1 + np.tanh(root * (many + cubic * many**3))) / 2 - many * normal_cdf(many))
    print(f"with {cubic:.6f} x³ the largest error of GELU is {off[cubic].max():.5f}")
_, agreeing, moved = off.values()
stated("0.0005", moved.max())
stated("1.5", np.abs(many[moved > agreeing + 1e-9]).max())  # from here on it is the better one

# %% [markdown]
# ## Backward, one line at a time
#
# GELU works on each number by itself, so its backward is dx = dout · GELU′(x), and all that is asked is the derivative
# of one variable. First forward, in small steps:


# %%
def forward(x):
    u = root * (x + 0.044715 * x**3)
    t = np.tanh(u)
    phi = (1 + t) / 2
    return x * phi, (x, t, phi)


x, dout = 2 * rng.standard_normal((3, 5)), rng.standard_normal((3, 5))
print("agrees with the engine:", np.allclose(forward(x)[0], gelu.forward(x)[0]))

# %% [markdown]
# Then back, from the last line up. The derivative of tanh u is 1 − tanh² u.
#
# ```
# out = x · phi                         wanted: dx, its first part, and dphi
# phi = (1 + t) / 2                             dt
# t   = tanh u                                  du
# u   = root · (x + 0.044715 x³)                dx again: what is added to it?
# ```
#
# x is used twice, once as a factor and once inside Φ, so dx has two parts (lesson 7). Write the five lines.


# %% derive: backward(dout, forward(x)[1])
def backward(dout, cache):
    x, t, phi = cache
    dx = dout * phi  # first part
    dphi = dout * x
    dt = dphi / 2
    du = dt * (1 - t**2)
    dx = dx + du * root * (1 + 3 * 0.044715 * x**2)  # second part
    return dx


# %% [markdown]
# In the formula's letters, with Φ for phi:
#
# ```
# out = x Φ                       first: dx  = dout Φ,   dΦ = dout x
# Φ = (1 + t) / 2                        dt  = dΦ / 2
# t = tanh u                             du  = dt · (1 − t²)
# u = √(2/π) (x + 0.044715 x³)    last:  dx += du · √(2/π) (1 + 3 · 0.044715 x²)
# ```
#
# The two parts are the product rule, (xΦ)′ = Φ + x Φ′. In the exact form it is the same product, with another Φ:


# %%
def exact_forward(x):
    phi = normal_cdf(x)
    return x * phi, (x, phi)


# %% [markdown]
# Its Φ′ is the density of the normal distribution, the bell curve exp(−x²/2) / √(2π), because Φ(x) is the area under
# that curve up to x. It is given as `bell`. Write dx in one line.


# %% derive: exact_backward(dout, exact_forward(x)[1])
def exact_backward(dout, cache):
    x, phi = cache
    bell = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    dx = dout * (phi + x * bell)
    return dx


# %% [markdown]
# ## Is it right?

# %%
report = gradient_check(forward, backward, {"x": x}, title="the tanh form")
exact = gradient_check(exact_forward, exact_backward, {"x": x}, title="the exact form")
print(report, exact, sep="\n")
assert report.passed and exact.passed

# %% [markdown]
# ## Simplified
#
# The tanh form keeps three arrays for its backward, x, t and Φ, and one of them is not needed. From Φ = (1 + t) / 2,
# what is 1 − t², written in Φ? Then dx needs dout, x and Φ, and the slope of u, which is made of x and given as
# `slope`. Write dx in one line.


# %% derive: short_backward(dout, x, forward(x)[1][2])
def short_backward(dout, x, phi):
    slope = root * (1 + 3 * 0.044715 * x**2)  # of u
    dx = dout * (phi + x * 2 * phi * (1 - phi) * slope)
    return dx


# %% [markdown]
# From t = 2Φ − 1 follows 1 − t² = (1 − t)(1 + t) = 4 Φ (1 − Φ), and so, with u′ for the slope of u:
#
# ```
# Φ′ = ½ (1 − t²) u′ = 2 Φ (1 − Φ) u′
# dx = dout (Φ + x Φ′)
# ```
#
# The engine has it so: [one Φ](step.html#h.0.mlp.gelu/phi[0,3,5]) of a GPT's step, and
# [the dx](step.html#h.0.mlp.gelu/dx[0,3,5]) that is made with it.
#
# Before you run the next cell: ReLU's slope is 0 or 1. Can GELU's be more than 1 anywhere? Can it be negative?

# %%
print("the same:", np.allclose(short_backward(dout, x, forward(x)[1][2]), backward(dout, forward(x)[1])))
slope = exact_backward(np.ones(5), exact_forward(five)[1])
print("x                      ", five)
print("slope of the exact form", slope.round(4))
stated("0.2420", math.exp(-0.5) / math.sqrt(2 * math.pi))
stated("1.0833", slope[3])
stated("−0.0833", slope[1])
stated("−0.17", exact_forward(many)[0].min())
stated("−0.75", many[exact_forward(many)[0].argmin()])

# %% [markdown]
# Both. On paper, at x = 1: Φ + x Φ′ = 0.8413 + 0.2420 = 1.0833. At x = −1: 0.1587 − 0.2420 = −0.0833. For GELU dips
# to −0.17 near x = −0.75 before it comes back to 0.
#
# ## Your turn: gelu
#
# ```
# python -m lessons start gelu           writes lessons/work/gelu.py
# python -m lessons check gelu --watch   at each save, against the definition
#                                        and numerical derivatives
# python -m lessons hint gelu            if you are stuck
# ```
#
# (`python -m lessons start 8` begins this piece and the lesson's other one, mlp, together.)
#
# Asked for are both forms behind one `forward(x, approximate)`, a ValueError where `approximate` is neither "tanh" nor
# "none", and code that runs on NumPy and CuPy: `array_module(x)` has tanh and exp, and erf comes from
# `tinygpt.backend`. In the simplified form backward needs no more of forward than x, Φ and which form it was. (A larger
# cache passes too, and the check says how much is enough.)
#
# `python -m lessons run 8` then trains a small GPT for some seconds with your GELU in its MLPs. In a real run it takes
# the same places: `python train.py --mine lessons/work`.

# %% [markdown]
# ## The MLP
#
# A transformer's MLP (multilayer perceptron: linear layers with bends between) is what solved the exclusive or, in
# large. It goes from C channels to 4C hidden ones, bends each, and comes back to C:
#
# ```
# h = x W_fc + b_fc          (N, C)  -> (N, 4C)
# a = GELU(h)                (N, 4C) -> (N, 4C)
# out = a W_proj + b_proj    (N, 4C) -> (N, C)
# ```
#
# Each token goes through by itself. The factor 4 is a habit: Vaswani et al. (2017, arXiv:1706.03762, section 3.3)
# chose it, and GPT-2 kept it.


# %%
def long_forward(x, w_fc, b_fc, w_proj, b_proj):
    h = x @ w_fc + b_fc  # (N, C) @ (C, 4C) -> (N, 4C)
    a, gelu_cache = forward(h)  # (N, 4C)
    return a @ w_proj + b_proj, (x, w_fc, gelu_cache, a, w_proj)  # (N, 4C) @ (4C, C) -> (N, C)


N, C = 5, 3
inputs = {
    "x": rng.standard_normal((N, C)),
    "w_fc": rng.standard_normal((C, 4 * C)) / math.sqrt(C),
    "b_fc": rng.standard_normal(4 * C),
    "w_proj": rng.standard_normal((4 * C, C)) / math.sqrt(4 * C),
    "b_proj": rng.standard_normal(C),
}
dout = rng.standard_normal((N, C))
print("agrees with the engine:", end=" ")
print(np.allclose(long_forward(**inputs)[0], mlp.forward(**inputs, ops=DEFINITIONS)[0]))

# %% [markdown]
# Its backward has no new rule in it. A linear layer's is three lines (lesson 5), and here are two of them, with GELU's
# between, `backward(da, gelu_cache)`. Seven lines in all, from the last layer to the first:
#
# ```
# out = a @ w_proj + b_proj         wanted: db_proj, dw_proj, da
# a   = GELU(h)                             dh
# h   = x @ w_fc + b_fc                     db_fc, dw_fc, dx
# ```
#
# Where in doubt, write the shapes down: there is one way to multiply that fits.


# %% derive: long_backward(dout, long_forward(**inputs)[1])
def long_backward(dout, cache):
    x, w_fc, gelu_cache, a, w_proj = cache
    db_proj = dout.sum(axis=0)  # (N, C) -> (C,)
    dw_proj = a.T @ dout  # (4C, N) @ (N, C) -> (4C, C)
    da = dout @ w_proj.T  # (N, C) @ (C, 4C) -> (N, 4C)
    dh = backward(da, gelu_cache)  # (N, 4C)
    db_fc = dh.sum(axis=0)  # (N, 4C) -> (4C,)
    dw_fc = x.T @ dh  # (C, N) @ (N, 4C) -> (C, 4C)
    dx = dh @ w_fc.T  # (N, 4C) @ (4C, C) -> (N, C)
    return dx, dw_fc, db_fc, dw_proj, db_proj


# %%
report = gradient_check(long_forward, long_backward, inputs, title="the MLP, the long way")
print(report)
assert report.passed

# %% [markdown]
# ## Layers that call layers
#
# Six of the seven steps of that backward are lesson 5's three, written out twice. It is better to call them. For
# that, a composed layer needs to know very little about its parts:
#
# - forward calls theirs in order, and its cache is their caches;
# - backward calls theirs in reverse order, each with its own cache, and hands every `dx` on as the next one's
#   `dout`; the parameters' gradients are collected on the way. So in a GPT's step
#   [the dx of `c_proj`](step.html#h.0.mlp.c_proj/dx[3,5]) is GELU's `dout`, and
#   [GELU's dx](step.html#h.0.mlp.gelu/dx[0,3,5]) is that of `c_fc`.
#
# Nobody but the linear layer knows what lies in a linear layer's cache. Here is a linear layer with a LayerNorm
# behind it:


# %%
def linear_layernorm_forward(x, w, b, gain, *, ops):
    out, linear_cache = ops.linear.forward(x, w, b)
    out, layernorm_cache = ops.layernorm.forward(out, gain)
    return out, (linear_cache, layernorm_cache, ops)


def linear_layernorm_backward(dout, cache):
    linear_cache, layernorm_cache, ops = cache
    dout, dgain, _ = ops.layernorm.backward(dout, layernorm_cache)
    dx, dw, db = ops.linear.backward(dout, linear_cache)
    return dx, dw, db, dgain


small = {"x": inputs["x"], "w": inputs["w_fc"], "b": inputs["b_fc"], "gain": rng.standard_normal(4 * C)}
report = gradient_check(linear_layernorm_forward, linear_layernorm_backward, {**small, "ops": DEFINITIONS})
print(report)
assert report.passed

# %% [markdown]
# `ops` is the *ops table*: an object with one entry for each kind of layer, `ops.linear`, `ops.gelu` and so on,
# each with a forward and a backward. A composed layer is handed the table and looks its parts up there, where it
# might have imported them. Whoever exchanges an entry exchanges that layer wherever it is used, in every block of a
# GPT at once. So fast versions take the place of definitions, and so yours will.
#
# Here the engine's MLP runs on the GELU of this lesson, and says what the long way said:

# %%
print("the entries that GPT-2 uses:")
print(", ".join(name for name in vars(Leaves) if not name.startswith("_")))
ours = SimpleNamespace(forward=lambda x, approximate: forward(x), backward=backward)
out, cache = long_forward(*inputs.values())
theirs, their_cache = mlp.forward(*inputs.values(), ops=DEFINITIONS.replace(gelu=ours))
pairs = zip(long_backward(dout, cache), mlp.backward(dout, their_cache), strict=True)
print("out and five gradients, the same:", np.allclose(out, theirs), *(np.allclose(a, b) for a, b in pairs))

# %% [markdown]
# ## Your turn: mlp
#
# ```
# python -m lessons start mlp            writes lessons/work/mlp.py
# python -m lessons check mlp --watch    at each save
# python -m lessons hint mlp             if you are stuck
# ```
#
# This one is written in calls through `ops`, so that either bias may be None and x may have any number of leading axes
# without a word about it: the parts see to that.
#
# With it, `python -m lessons run 8` goes through your MLP, and through the layers in it that are yours.

# %% [markdown]
# ## What it does
#
# One number in, 16 hidden, one number out, to follow sin 2x by plain gradient descent (lesson 5). The best straight
# line has an error of 0.44. How near will sixteen bends come?

# %%
x = np.linspace(-3, 3, 200)[:, None]  # (N, 1)
y = np.sin(2 * x)
line = np.column_stack([x, np.ones(200)])
line = line @ np.linalg.lstsq(line, y)[0]
stated("0.44", ((line - y) ** 2).mean())

width = 16
start = np.random.default_rng(8)
weights = [start.standard_normal(shape) for shape in ((1, width), (width,), (width, 1))] + [np.zeros(1)]
weights[2] /= math.sqrt(width)
for step in range(3001):
    out, cache = long_forward(x, *weights)
    if step % 1000 == 0:
        print(f"step {step:>5}   mean squared error {((out - y) ** 2).mean():.3f}")
    _, *gradients = long_backward(2 * (out - y) / len(x), cache)
    for weight, gradient in zip(weights, gradients, strict=True):
        weight -= 0.02 * gradient
assert ((out - y) ** 2).mean() < 0.1

with plot("bend", columns=2, size=(9, 3.6)) as (left, right):
    near = many[np.abs(many) <= 4]
    left.plot(near, np.maximum(0, near), "--", color="tab:grey", label="ReLU")
    left.plot(near, forward(near)[0], color="tab:blue", label="GELU")
    left.plot(near, backward(np.ones_like(near), forward(near)[1]), color="tab:orange", label="slope of GELU")
    left.set(xlabel="x", ylim=(-0.5, 3))
    right.plot(x, y, color="tab:grey", label="sin 2x")
    right.plot(x, line, "--", color="tab:red", label="best line")
    right.plot(x, out, color="tab:blue", label="MLP, 16 hidden")
    right.set(xlabel="x", ylim=(-1.3, 2.3))
    for axes in (left, right):
        axes.legend(frameon=False)

# %% [markdown]
# The picture on the left has the bend and its slope, the one on the right what sixteen of them can do together.
#
# ## A bug on purpose
#
# Take the tanh form forward, and the bell curve backward. Φ is nearly the same in both, so why not its derivative? Two
# habits of checking: one allows an error of one in a hundred, as some tests do, and the engine's allows 1e-9. Which of
# them will see it?

# %%
wrong = find("gelu", "tanh_with_exact_density")
for report in check_layer("gelu", wrong.stand_in()):
    print(report)
assert 1e-9 < check_layer("gelu", wrong.stand_in())[0].error < 1e-3
print(diagnose("gelu", wrong.stand_in()))

# %% [markdown]
# The gradient is wrong by less than a thousandth of its size: the first check is content.
#
# Mistakes in the composition are larger, and the pattern of what is right and what is wrong tells where they lie.
# If backward forgets GELU, everything before it is wrong, and everything behind it right:

# %%
forgetful = find("mlp", "gelu_forgotten").stand_in()
report = check_layer("mlp", forgetful)[0]
print("  ".join(f"{row.name} {row.problem or 'right'}" for row in report.gradients))
print(diagnose("mlp", forgetful))
assert {row.name for row in report.gradients if not row.problem} == {"dw_proj", "db_proj"}

# %% [markdown]
# ## What it costs
#
# For each token, forward, with a multiplication and an addition counted as two, and without the weights, which are
# read once for all tokens:
#
# ```
#             operations          numbers moved     operations for each number
# W_fc          8 C²                about 5 C                1.6 C
# GELU         32 C, 4 C tanh          12 C                  2.7
# W_proj        8 C²                about 5 C                1.6 C
# ```
#
# GELU has the fewest operations and moves the most, so its fast version, `tinygpt/kernels/cpu/gelu.py`, works in
# blocks that stay in the cache.

# %%
stated("2.7", 32 / 12)
stated("1.6", 8 / 5)

# %% [markdown]
# ## Questions to think about
#
# 1. Show that GELU(x) − GELU(−x) = x, for the exact form and for the tanh form. What follows for the slopes at x
#    and −x?
# 2. Exchange two hidden channels: two columns of W_fc, two entries of b_fc, two rows of W_proj. What happens to the
#    output? And what would happen in training if two hidden channels began with the same weights?
# 3. ReLU has no derivative at 0. What do central differences say there, and why does nobody mind?
#
# Answers: `python -m lessons answers 8`
#
# ## To read on
#
# - Hendrycks, Gimpel: "Gaussian Error Linear Units (GELUs)", 2016, arXiv:1606.08415.
# - Vaswani et al.: "Attention Is All You Need", 2017, arXiv:1706.03762, section 3.3: the MLP, there with ReLU.
# - Goodfellow, Bengio, Courville: "Deep Learning", 2016, chapter 6.
# - `tinygpt/layers/gelu.py`, and `MLP` in `tinygpt/models/gpt2.py`, the definitions; `tinygpt/ops.py`, the table.

# %% [markdown]
# ## Answers
#
# **1. GELU(x) − GELU(−x)** = x Φ(x) + x Φ(−x) = x, for Φ(x) + Φ(−x) = 1: the bell curve is symmetric, and in the
# tanh form u and tanh u change their sign with x. The derivative of both sides says that the slopes at x and at −x
# sum to 1.
#
# **2. Two hidden channels exchanged:** the output is the same sum in another order. So the 4C hidden channels can
# stand in (4C)! orders, all of them the same function. If two begin with equal weights, going in and coming out,
# they receive equal gradients, and stay equal for ever: two for the price of one, but paid twice. That is why
# weights begin random.
#
# **3. ReLU at 0:** central differences give (h − 0) / 2h = 0.5, the mean of the two slopes. Nobody minds, because a
# number is hardly ever exactly 0, and any slope between 0 and 1 would do for it.

# %%
import numpy as np
from kit import stated

from tinygpt.layers import gelu, mlp
from tinygpt.ops import DEFINITIONS

rng = np.random.default_rng(9)
x = rng.standard_normal(5)
for form in ("none", "tanh"):
    right, left = (gelu.forward(side, form) for side in (x, -x))
    slopes = gelu.backward(np.ones(5), right[1]) + gelu.backward(np.ones(5), left[1])
    print("1. difference is x:", np.allclose(right[0] - left[0], x), "  slopes sum to 1:", np.allclose(slopes, 1))

C = 3
x, dout = rng.standard_normal((2, 5, C))
w_fc, b_fc = rng.standard_normal((C, 4 * C)), rng.standard_normal(4 * C)
w_proj, b_proj = rng.standard_normal((4 * C, C)), rng.standard_normal(C)
w_fc[:, 1], b_fc[1], w_proj[1] = w_fc[:, 0], b_fc[0], w_proj[0]  # channels 0 and 1 begin equal
_, dw_fc, _, dw_proj, _ = mlp.backward(dout, mlp.forward(x, w_fc, b_fc, w_proj, b_proj, ops=DEFINITIONS)[1])
print("2. equal gradients:", np.allclose(dw_fc[:, 0], dw_fc[:, 1]) and np.allclose(dw_proj[0], dw_proj[1]))
stated("0.5", (max(0, 1e-5) - max(0, -1e-5)) / 2e-5)

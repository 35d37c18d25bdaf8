# %% [markdown]
# # 8. GELU and the MLP
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
from types import SimpleNamespace

import numpy as np
from kit import plot, stated

from tinygpt.gradcheck import check_layer, diagnose, gradient_check
from tinygpt.gradcheck.mutants import find
from tinygpt.layers import gelu, layernorm, mlp
from tinygpt.models.gpt2 import Leaves
from tinygpt.ops import DEFINITIONS

# %% [markdown]
# ## Last lesson's questions
#
# **1. Folding w and b into the linear layer that follows.** It can be done: (x̂ w + b) W + c is x̂ W′ + c′ with W′
# = W with each row i multiplied by wᵢ, and c′ = b W + c. The function is the same. Training is not: one step of
# gradient descent moves w and W each a little, and their product moves differently from how W′ would move on its
# own. After training, folding changes nothing and saves the work.

# %%
rng = np.random.default_rng(8)
xhat, W, c = rng.standard_normal((3, 6)), rng.standard_normal((6, 4)), rng.standard_normal(4)
w, b, dout = rng.standard_normal(6), rng.standard_normal(6), rng.standard_normal((3, 4))
folded, shift = w[:, None] * W, b @ W + c
print("folded, the same:", np.allclose((xhat * w + b) @ W + c, xhat @ folded + shift))

da = dout @ W.T  # backward through both, then one step of 0.1 on every parameter
apart = (xhat * (w - 0.1 * (da * xhat).sum(0)) + b - 0.1 * da.sum(0)) @ (W - 0.1 * (xhat * w + b).T @ dout)
apart += c - 0.1 * dout.sum(0)
together = xhat @ (folded - 0.1 * xhat.T @ dout) + shift - 0.1 * dout.sum(0)
print("after one step of training, the same:", np.allclose(apart, together))

# %% [markdown]
# **2. RMSNorm** divides by the root of the mean square and takes no mean away, so the middle term, m(dx̂), is gone:
# dx = rstd (dx̂ − x̂ m(dx̂ x̂)). The direction (1, 1, …, 1) is no longer hidden: add 100 to every channel, and the
# network sees it.
#
# **3. All C numbers equal.** centred is 0, so x̂ is 0 and out is b. dw is 0. With ε, rstd is 1/√1e-5, about 316,
# and dx = rstd (dx̂ − m(dx̂)): finite, but large. Without ε, 0/0: out is not a number, and neither is anything
# after it.

# %%
x = rng.standard_normal((1, 6))
layernorm_sees = np.abs(layernorm.forward(x + 100, w)[0] - layernorm.forward(x, w)[0]).max()
rms_sees = np.abs((x + 100) / np.sqrt(((x + 100) ** 2).mean()) - x / np.sqrt((x**2).mean())).max()
print(f"100 added moves LayerNorm by {layernorm_sees:.1g}, RMSNorm by {rms_sees:.1g}")

equal = np.full((1, 6), 3.0)
out, cache = layernorm.forward(equal, w, b)
dx, dw, _ = layernorm.backward(np.ones((1, 6)), cache)
print("out is b:", np.allclose(out, b), "  dw is 0:", not dw.any(), f"  rstd {cache[1].item():.1f}")
stated("316", cache[1].item())
assert np.allclose(dx, cache[1] * (w - w.mean()))
with np.errstate(invalid="ignore", divide="ignore"):
    print("without eps:", layernorm.forward(equal, w, b, eps=0)[0])

# %% [markdown]
# ## On paper
#
# The smallest thing that a linear layer cannot do: is *exactly one* of two inputs 1? (Exclusive or.)
#
# ```
# x₁ x₂   wanted   h₁ = max(0, x₁ + x₂)   h₂ = max(0, x₁ + x₂ − 1)   h₁ − 2 h₂
# 0  0      0               0                        0                   0
# 0  1      1               1                        0                   1
# 1  0      1               1                        0                   1
# 1  1      0               2                        1                   0
# ```
#
# Any linear f, with its bias, satisfies f(0, 0) + f(1, 1) = f(0, 1) + f(1, 0). Wanted are 0 and 2. The nearest it
# comes, in the sense of least squares, is to say 0.5 to everything. The right half of the table gets it: a linear
# layer to two hidden numbers, a *bend* in each of them, and a second linear layer. (The example is in Goodfellow,
# Bengio and Courville, "Deep Learning", 2016, section 6.1.)

# %%
x = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
wanted = np.array([0.0, 1, 1, 0])
with_bias = np.column_stack([x, np.ones(4)])
best, *_ = np.linalg.lstsq(with_bias, wanted)  # the weights and bias with the least squared error
print("the best linear layer  ", (with_bias @ best).round(3))
stated("0.5", (with_bias @ best).max())

hidden = np.maximum(0, x @ np.array([[1.0, 1], [1, 1]]) + np.array([0.0, -1]))  # (4, 2) -> (4, 2)
print("two layers and a bend  ", hidden @ np.array([1.0, -2]))
assert np.array_equal(hidden @ np.array([1.0, -2]), wanted)

# %% [markdown]
# ## The formula
#
# The bend in the table, max(0, x), is called ReLU (rectified linear unit). Its slope is 0 on the left and 1 on the
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
def normal_cdf(x):  # Φ, exact
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
# GELU works on each number by itself, so its backward is dx = dout · GELU′(x), and all that is asked is the
# derivative of one variable. The tanh form, first forward in small steps and then back:
#
# ```
# u = √(2/π) (x + 0.044715 x³)    last:  dx += du · √(2/π) (1 + 3 · 0.044715 x²)
# t = tanh u                             du  = dt · (1 − t²)
# Φ = (1 + t) / 2                        dt  = dΦ / 2
# out = x Φ                       first: dx  = dout Φ,   dΦ = dout x
# ```
#
# x is used twice, once as a factor and once inside Φ, so dx receives two parts: the product rule, (xΦ)′ = Φ + x Φ′.
# In the exact form Φ′ is the density of the normal distribution, the bell curve, because Φ is its integral: Φ′ =
# exp(−x²/2) / √(2π).


# %%
def forward(x):
    u = root * (x + 0.044715 * x**3)
    t = np.tanh(u)
    phi = (1 + t) / 2
    return x * phi, (x, t, phi)


def backward(dout, cache):
    x, t, phi = cache
    dx = dout * phi  # first part
    dphi = dout * x
    dt = dphi / 2
    du = dt * (1 - t**2)
    return dx + du * root * (1 + 3 * 0.044715 * x**2)  # second part


def exact_forward(x):
    phi = normal_cdf(x)
    return x * phi, (x, phi)


def exact_backward(dout, cache):
    x, phi = cache
    return dout * (phi + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi))


# %% [markdown]
# ## Is it right?

# %%
x = 2 * rng.standard_normal((3, 5))
report = gradient_check(forward, backward, {"x": x}, title="the tanh form")
exact = gradient_check(exact_forward, exact_backward, {"x": x}, title="the exact form")
print(report, exact, sep="\n")
assert report.passed and exact.passed
print("forward agrees with the engine:", np.allclose(forward(x)[0], gelu.forward(x)[0]), end=", ")
print(np.allclose(exact_forward(x)[0], gelu.forward(x, "none")[0]))

# %% [markdown]
# ## Simplified
#
# Forward keeps three arrays, and one of them is not needed. From t = 2Φ − 1 follows 1 − t² = (1 − t)(1 + t) = 4 Φ
# (1 − Φ), and so, with u′ for the derivative of u by x:
#
# ```
# Φ′ = ½ (1 − t²) u′ = 2 Φ (1 − Φ) u′
# dx = dout (Φ + x Φ′)
# ```
#
# On paper, exact form, at x = 1: Φ + x Φ′ = 0.8413 + 0.2420 = 1.0833. At x = −1: 0.1587 − 0.2420 = −0.0833. Both
# may surprise: the slope is more than 1 to the right of the bend, and negative to the left, for GELU dips to −0.17
# near x = −0.75 before it comes back to 0.

# %%
_, (_, t, phi) = forward(x)
u_slope = root * (1 + 3 * 0.044715 * x**2)
print("the same:", np.allclose(phi + x * 2 * phi * (1 - phi) * u_slope, backward(np.ones_like(x), forward(x)[1])))

slope = exact_backward(np.ones(5), exact_forward(five)[1])
print("slope at", five, "is", slope.round(4))
stated("0.2420", math.exp(-0.5) / math.sqrt(2 * math.pi))
stated("1.0833", slope[3])
stated("−0.0833", slope[1])
low = exact_forward(many)[0]
stated("−0.17", low.min())
stated("−0.75", many[low.argmin()])

# %% [markdown]
# ## The MLP
#
# A transformer's MLP (multilayer perceptron: layers of linear maps with bends between) is the table of exclusive
# or, in large. It goes from C channels to 4C hidden ones, bends each, and comes back to C:
#
# ```
# h = x W_fc + b_fc          (N, C)  -> (N, 4C)
# a = GELU(h)                (N, 4C) -> (N, 4C)
# out = a W_proj + b_proj    (N, 4C) -> (N, C)
# ```
#
# Each token goes through by itself. The factor 4 is a habit: Vaswani et al. (2017, arXiv:1706.03762, section 3.3)
# chose it, and GPT-2 kept it. The backward is lesson 5's twice, with GELU's between:


# %%
def long_forward(x, w_fc, b_fc, w_proj, b_proj):
    h = x @ w_fc + b_fc
    a, gelu_cache = forward(h)
    return a @ w_proj + b_proj, (x, w_fc, gelu_cache, a, w_proj)


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


N, C = 5, 3
inputs = {
    "x": rng.standard_normal((N, C)),
    "w_fc": rng.standard_normal((C, 4 * C)) / math.sqrt(C),
    "b_fc": rng.standard_normal(4 * C),
    "w_proj": rng.standard_normal((4 * C, C)) / math.sqrt(4 * C),
    "b_proj": rng.standard_normal(C),
}
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
#   `dout`; the parameters' gradients are collected on the way.
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
print("entries that GPT-2 uses:", ", ".join(name for name in vars(Leaves) if not name.startswith("_")))
ours = SimpleNamespace(forward=lambda x, approximate: forward(x), backward=backward)
dout = rng.standard_normal((N, C))
out, cache = long_forward(*inputs.values())
theirs, their_cache = mlp.forward(*inputs.values(), ops=DEFINITIONS.replace(gelu=ours))
pairs = zip(long_backward(dout, cache), mlp.backward(dout, their_cache), strict=True)
print("out and five gradients, the same:", np.allclose(out, theirs), *(np.allclose(a, b) for a, b in pairs))

# %% [markdown]
# ## What it does
#
# One number in, 16 hidden, one number out, to follow sin 2x by plain gradient descent (lesson 5). The best straight
# line has an error of 0.44. The picture on the left is the bend and its slope, and the one on the right what
# sixteen bends can do.

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
# ## A bug on purpose
#
# Take the tanh form forward, and the bell curve backward. Φ is nearly the same in both, so why not its derivative?
# The gradient is then wrong by less than a thousandth of its size, and a check that allows one in a hundred, as
# some do, is content. The engine's allows 1e-9:

# %%
wrong = find("gelu", "tanh_with_exact_density")
for report in check_layer("gelu", wrong.stand_in()):
    print(report)
error = check_layer("gelu", wrong.stand_in())[0].error
assert 1e-9 < error < 1e-3
print(diagnose("gelu", wrong.stand_in()))

# %% [markdown]
# Mistakes in the composition are larger, and the pattern of what is right and what is wrong tells where they lie.
# If backward forgets GELU, everything before it is wrong, and everything behind it right:

# %%
forgetful = find("mlp", "gelu_forgotten").stand_in()
report = check_layer("mlp", forgetful)[0]
print({row.name: row.problem or "right" for row in report.gradients})
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
# c_fc          8 C²                about 5 C                1.6 C
# GELU         32 C, 4 C tanh          12 C                  2.7
# c_proj        8 C²                about 5 C                1.6 C
# ```
#
# GELU has the fewest operations and moves the most, so its fast version, `tinygpt/kernels/cpu/gelu.py`, works in
# blocks that stay in the cache.

# %%
stated("2.7", 32 / 12)
stated("1.6", 8 / 5)

# %% [markdown]
# ## Your turn: gelu, mlp
#
# ```
# python -m lessons start 8        writes lessons/work/gelu.py
#                                  and lessons/work/mlp.py
# python -m lessons check 8        holds each against its definition
#                                  and numerical derivatives
# python -m lessons hint gelu      if you are stuck; or hint mlp
# ```
#
# `gelu` asks for both forms behind one `forward(x, approximate)`, for a ValueError where `approximate` is neither
# "tanh" nor "none", and for code that runs on NumPy and CuPy: `array_module(x)` has tanh and exp, and erf comes
# from `tinygpt.backend`. Keep no more in the cache than the simplified backward needs.
#
# `mlp` is written in calls through `ops`, so that either bias may be None and x may have any number of leading axes
# without a word about it: the parts see to that.
#
# `python train.py --mine lessons/work` trains a GPT with the pieces that you have finished.

# %% [markdown]
# ## Questions to think about
#
# 1. Show that GELU(x) − GELU(−x) = x, for the exact form and for the tanh form. What follows for the slopes at x
#    and −x?
# 2. Exchange two hidden channels: two columns of W_fc, two entries of b_fc, two rows of W_proj. What happens to the
#    output? And what would happen in training if two hidden channels began with the same weights?
# 3. ReLU has no derivative at 0. What do central differences say there, and why does nobody mind?
#
# They are answered at the beginning of lesson 9.
#
# ## To read on
#
# - Hendrycks, Gimpel: "Gaussian Error Linear Units (GELUs)", 2016, arXiv:1606.08415.
# - Vaswani et al.: "Attention Is All You Need", 2017, arXiv:1706.03762, section 3.3: the MLP, there with ReLU.
# - Goodfellow, Bengio, Courville: "Deep Learning", 2016, chapter 6.
# - `tinygpt/layers/gelu.py`, and `MLP` in `tinygpt/models/gpt2.py`, the definitions; `tinygpt/ops.py`, the table.

# %% [markdown]
# # 13. From SGD to AdamW
#
# *30 minutes*
#
# Lesson 12 had every gradient of a GPT, went a hundred steps along them, and knew little more in the end than how
# frequent each letter is. Every parameter moved by the same share of its gradient. That is the simplest rule there
# is, and nobody trains a GPT by it.
#
# **Should every parameter go equally far? And if not, how does each of them find out how far?**

# %%
import sys

import numpy as np

import tinygpt

sys.path += [f"{tinygpt.__path__[0]}/../lessons"]  # where kit is, whatever folder a notebook runs in
from kit import TEXT, plot, stated

from tinygpt.data import windows_at
from tinygpt.models.gpt2 import GPT, GPTConfig
from tinygpt.optim import adamw_update

characters = sorted(set(TEXT))
tokens = np.array([characters.index(c) for c in TEXT])
config = GPTConfig(vocab_size=len(characters), block_size=32, n_layer=2, n_head=4, n_embd=32)


def batch(rng, B=8, T=config.block_size):
    return windows_at(tokens, rng.integers(len(tokens) - T, size=B), T)


# %% [markdown]
# ## One learning rate for all
#
# Gradient descent by single batches is called SGD, stochastic gradient descent: w ← w − η dw, with one learning
# rate η for all parameters. Take the simplest loss with two of them, a valley that is a hundred times as steep
# across as along:
#
# ```
# loss = ½ (x² + 100 y²)        dx = x             x ← (1 −     η) x
#                               dy = 100 y         y ← (1 − 100 η) y
# ```
#
# If η is above 0.02, then |1 − 100 η| is above 1: y changes its sign at every step, and grows. The steep direction
# dictates the learning rate, and the flat one has to live with it: at η = 0.018, x shrinks by 1.8% a step. From
# (1, 0.3), how many steps will it take until the loss is below 1e-4? Guess before you run this.

# %%
STEEPNESS = np.array([1.0, 100.0])


def descend(rule, steps=300, start=(1.0, 0.3)):
    """The path of rule(w, dw, state, step) -> w, state through the valley, and its losses."""
    w, state, path = np.array(start), (0.0, 0.0), []
    for step in range(1, steps + 1):
        path.append(w)
        w, state = rule(w, STEEPNESS * w, state, step)
    path = np.array(path)
    return path, 0.5 * (STEEPNESS * path**2).sum(axis=1)


def sgd(lr):
    return lambda w, dw, state, step: (w - lr * dw, state)


def steps_to(losses, target=1e-4):
    return int(np.argmax(losses < target))  # the first place that is True


slow, slow_losses = descend(sgd(0.018))
print("eta 0.021: y after 0, 100, 200 steps", *(f"{descend(sgd(0.021))[0][t, 1]:.2g}" for t in (0, 100, 200)))
print("eta 0.018: steps until the loss is below 1e-4:", steps_to(slow_losses))
stated("1.8%", 1 - slow[1, 0] / slow[0, 0])
assert abs(1 - 100 * 0.021) > 1 > abs(1 - 100 * 0.018)

# %% [markdown]
# A GPT has thousands of directions. How different are they? Here are the gradients of a fresh one, array by array:

# %%
model = GPT(config, dtype="float64", seed=1)
loss, cache = model.loss(*batch(np.random.default_rng(3)))
grads = model.backward(cache)
rms = {name: np.sqrt((gradient**2).mean()) for name, gradient in grads.items()}  # root of the mean square
for name in ("wte.weight", "h.0.ln_1.weight", "h.0.attn.c_attn.weight", "h.0.mlp.c_fc.weight", "h.0.mlp.c_proj.bias"):
    print(f"{name:25} typical entry of the gradient {rms[name]:.4f}")
print(f"largest and smallest differ by a factor of {max(rms.values()) / min(rms.values()):.0f}")
assert max(rms, key=rms.get).endswith("c_proj.bias") and "ln_" in min(rms, key=rms.get)
stated("640", max(rms.values()) / min(rms.values()), within=5)

# %% [markdown]
# About 640 between the largest and the smallest. With one learning rate, the biases of a `c_proj` move 640 times
# as far as the parameters of a LayerNorm.
#
# ## Momentum
#
# The first remedy gives the moving point a mass (Polyak, 1964). m remembers past gradients and forgets them slowly:
#
# ```
# m ← β m + dw            w ← w − η m
# ```
#
# A gradient that always points the same way adds up to 1 + β + β² + … = 1/(1 − β) times itself, 10 times for β =
# 0.9. One that changes its sign at every step adds up to about half of one. So the flat direction is gone along much
# faster at the same learning rate. The price is that a mass overshoots.


# %%
def momentum(lr, beta=0.9):
    def rule(w, dw, m, step):
        m = beta * np.asarray(m) + dw
        return w - lr * m, m

    return rule


fast, fast_losses = descend(momentum(0.018))
print("steps until the loss is below 1e-4: SGD", steps_to(slow_losses), " momentum", steps_to(fast_losses))
assert steps_to(fast_losses) < steps_to(slow_losses) / 2

# %% [markdown]
# ## Two averages
#
# The second remedy gives each parameter its own learning rate. Kingma and Ba (2015, arXiv:1412.6980, algorithm 1)
# keep two running averages for each parameter. A running average takes the share β of what it was and the share
# 1 − β of what is new, so that it reaches over about the last 1 / (1 − β) numbers:
#
# - **m**, of the gradient, with β₁: momentum.
# - **v**, of the gradient's square, with β₂: how large gradients are here.
#
# Both begin at zero, so at first they are averages of a few gradients and many zeros, and too small. By how much? If
# every gradient were the same g, then m would be (1 − β₁) g after the first step, and β₁ (1 − β₁) g + (1 − β₁) g after
# the second. Sum the geometric series for t steps: what must m be divided by, so that g comes out, exactly? The
# quotient is called m̂, in the code `m_hat`. The same is done for v, which gives v̂.
#
# Then the parameter goes against m̂, and the learning rate η is divided by the root of v̂. To that root a small ε is
# added, for the parameter whose gradients are all zero.
#
# β₁ = 0.9 and β₂ = 0.95 are usual for GPTs (Brown et al., 2020, arXiv:2005.14165, appendix B), and we take them here.
# Small batches want a longer memory, and `train.py` has 0.99. ε is usually 1e-8; here is one large enough to be seen,
# and a parameter in the middle of its run, at step 3:

# %%
beta1, beta2, eps, lr, step = 0.9, 0.95, 0.1, 0.01, 3
rng = np.random.default_rng(13)
w, dw, m, v = rng.standard_normal((4, 5))
v = v**2
print("w ", w.round(3), "\ndw", dw.round(3), "\nm ", m.round(3), "\nv ", v.round(3))

# %% [markdown]
# Now write Adam's step, five lines: m, v, m_hat and v_hat from what came in, and then w. `step` is t and counts from
# 1; `lr` is η. Which of them may use which?


# %% derive: adam(w, dw, m, v, step, lr, beta1, beta2, eps)
def adam(w, dw, m, v, step, lr, beta1=0.9, beta2=0.95, eps=1e-8):
    m = beta1 * m + (1 - beta1) * dw
    v = beta2 * v + (1 - beta2) * dw**2
    m_hat = m / (1 - beta1**step)
    v_hat = v / (1 - beta2**step)
    w = w - lr * m_hat / (np.sqrt(v_hat) + eps)
    return w, m, v


# %% [markdown]
# Beside their reasons:
#
# ```
# m ← β₁ m + (1 − β₁) dw          the average gradient
# v ← β₂ v + (1 − β₂) dw²         the average square
# m̂ = m / (1 − β₁ᵗ)               since (1 − β₁) (1 + β₁ + … + β₁ᵗ⁻¹) = 1 − β₁ᵗ
# v̂ = v / (1 − β₂ᵗ)
# w ← w − η m̂ / (√v̂ + ε)
# ```
#
# m̂ / √v̂ has no unit. If the gradients of a parameter agree with each other it is near ±1, and the parameter moves by
# η. If they are noise around zero, m̂ is small beside √v̂, and it stays about where it is. How large the gradients are
# makes no difference. m and v themselves go on uncorrected to the next step.
#
# ## On paper
#
# One parameter, w = 1, with η = 0.01. Two steps, with the gradients 0.5 and −0.1. Which way does w go in the second?

# %%
w, m, v, lr, beta1, beta2, eps = 1.0, 0.0, 0.0, 0.01, 0.9, 0.95, 1e-8
went = []
for step, dw in ((1, 0.5), (2, -0.1)):
    m = beta1 * m + (1 - beta1) * dw
    v = beta2 * v + (1 - beta2) * dw**2
    m_hat = m / (1 - beta1**step)
    v_hat = v / (1 - beta2**step)
    w = w - lr * m_hat / (np.sqrt(v_hat) + eps)
    print(f"step {step}: m {m:.4f}  v {v:.6f}  m_hat {m_hat:.4f}  v_hat {v_hat:.4f}  w {w:.5f}")
    went.append((m, v, m_hat, v_hat, w))
for words, value in zip(("0.05", "0.0125", "0.5", "0.25", "0.99"), went[0], strict=True):
    stated(words, value)
stated("0.035", m)
stated("0.012375", v)
stated("0.19", 1 - beta1**2)
stated("0.0975", 1 - beta2**2)
stated("0.1842", m_hat)
stated("0.1269", v_hat)
stated("0.98483", w)

# %% [markdown]
# ```
# step 1   m = 0.1 · 0.5                       = 0.05
#          v = 0.05 · 0.25                     = 0.0125
#          m̂ = 0.05 / 0.1                      = 0.5
#          v̂ = 0.0125 / 0.05                   = 0.25
#          w = 1 − 0.01 · 0.5 / √0.25          = 0.99
# step 2   m = 0.9 · 0.05 + 0.1 · (−0.1)       = 0.035
#          v = 0.95 · 0.0125 + 0.05 · 0.01     = 0.012375
#          m̂ = 0.035 / 0.19                    = 0.1842        0.19   = 1 − 0.9²
#          v̂ = 0.012375 / 0.0975               = 0.1269        0.0975 = 1 − 0.95²
#          w = 0.99 − 0.01 · 0.1842 / √0.1269  = 0.98483
# ```
#
# The first step is the whole η, and would be for any other gradient. In the second the gradient is negative, so by
# itself it would have w grow. w falls all the same, by about half of η: nine tenths of the first step's m are still
# there. That is momentum.
#
# ## Why the averages are corrected
#
# Without the corrections m is too small and v is too, by different amounts, and the step is wrong by the factor
# (1 − β₁ᵗ) / √(1 − β₂ᵗ). With Adam's original β₂ = 0.999, are the first steps too short or too long?

# %%
print("step      " + "".join(f"{t:>8}" for t in (1, 2, 5, 10, 30, 100, 1000)))
for b2 in (0.95, 0.999):
    factors = {t: (1 - 0.9**t) / np.sqrt(1 - b2**t) for t in (1, 2, 5, 10, 30, 100, 1000)}
    print(f"b2 = {b2:<5}" + "".join(f"{factor:8.2f}" for factor in factors.values()))
too_large = [(1 - 0.9**t) / np.sqrt(1 - 0.999**t) for t in range(1, 1001)]
stated("6.6", max(too_large))
stated("12", 1 + np.argmax(too_large))
stated("0.45", 0.1 / np.sqrt(0.05))

# %% [markdown]
# With β₂ = 0.95 the first step would be 0.45 of what it should be, a sort of warm-up. With Adam's original 0.999 the
# steps would be too long for more than a thousand of them, most of all around step 12, about 6.6 times, just when the
# model knows least.
#
# ## Weight decay, and why it is decoupled
#
# A weight that the loss does not need should become small. The classical way adds ½ λ w² to the loss, so λ w to the
# gradient. In SGD that multiplies w by 1 − η λ at every step. In Adam it does not: λ w goes into m and is divided by
# √v̂ like everything else, so where gradients are large there is hardly any decay, and where they are small there is
# too much. Loshchilov and Hutter (2019, arXiv:1711.05101, algorithm 2) take it out of the gradient:
#
# ```
# w ← w − η λ w − η m̂ / (√v̂ + ε)
# ```
#
# That is AdamW, the W for weight decay: one line more. (In the paper λ is multiplied by the schedule's factor alone.
# Multiplying it by the whole η, as here, is PyTorch's convention and nanoGPT's.)


# %%
def adamw(w, dw, m, v, step, lr, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.0):
    moved, m, v = adam(w, dw, m, v, step, lr, beta1, beta2, eps)
    return moved - lr * weight_decay * w, m, v


# %% [markdown]
# Three kinds of weights, a thousand of each, all at 1 in the beginning. Their gradients are nothing but noise, so
# only the decay should move them, and after 500 steps with η λ = 0.001 all should be at 0.999⁵⁰⁰ = 0.61. Which of
# the three will the classical way pull to zero, and which will it hardly touch?

# %%
rng = np.random.default_rng(13)
noise = np.array([[0.01], [1.0], [100.0]])
both = np.ones((3, 1000)), np.ones((3, 1000))
moments = [(0.0, 0.0), (0.0, 0.0)]
for step in range(1, 501):
    dw = noise * rng.standard_normal((3, 1000))
    in_gradient, *moments[0] = adamw(both[0], dw + 0.1 * both[0], *moments[0], step, lr=0.01)
    decoupled, *moments[1] = adamw(both[1], dw, *moments[1], step, lr=0.01, weight_decay=0.1)
    both = in_gradient, decoupled
print("size of the gradients      ", "".join(f"{size:9.2f}" for size in noise[:, 0]))
for title, w in zip(("decay in the gradient", "decoupled"), both, strict=True):
    print(f"{title:27}", "".join(f"{mean:9.2f}" for mean in w.mean(axis=1)))
stated("0.001", 0.01 * 0.1)
stated("0.61", 0.999**500)
stated("0.61", both[1].mean(), within=0.03)
assert both[0][0].mean() < 0.05 and both[0][2].mean() > 0.9

# %% [markdown]
# The mean of the decoupled weights is about 0.61, whatever the gradients. In a GPT the matrices and tables decay;
# biases and LayerNorms, the arrays of one axis, do not. One step of a small one, with m, v and the parameter before and
# after: [a weight](step.html#h.0.attn.c_attn.weight[0,6]), which decays, and
# [a bias](step.html#h.0.attn.c_attn.bias[6]), which does not.
#
# ## Is it right?
#
# There is no derivative to check here, but there are three things to hold it to. It must agree with the engine's,
# which works in place. The first step must be η in each parameter. And a loss in other units, with all gradients a
# thousand times as large, must take the same path.

# %%
w, m, v = rng.standard_normal((3, 4, 5))
v = v**2
engine_w, engine_m, engine_v = w.copy(), m.copy(), v.copy()
for step in range(1, 6):
    dw = rng.standard_normal(w.shape)
    w, m, v = adamw(w, dw, m, v, step, lr=0.01, weight_decay=0.1)
    adamw_update(engine_w, dw, engine_m, engine_v, step, 0.01, 0.9, 0.95, 1e-8, 0.1)
print("five steps as the engine's:", np.allclose(w, engine_w) and np.allclose(m, engine_m) and np.allclose(v, engine_v))

dw = rng.standard_normal(8)
first, _, _ = adamw(np.zeros(8), dw, 0, 0, 1, lr=0.01)
print("the first step:", first.round(6))
assert np.allclose(first, -0.01 * np.sign(dw))


def adam_rule(lr, unit=1.0):
    def rule(w, dw, state, step):
        w, m, v = adamw(w, unit * dw, *state, step, lr)
        return w, (m, v)

    return rule


one, one_losses = descend(adam_rule(0.02))
thousand, _ = descend(adam_rule(0.02, unit=1000))
print("gradients times 1000, furthest apart of the two paths:", f"{np.abs(one - thousand).max():.1e}")
assert np.allclose(one, thousand, atol=1e-5)

# %% [markdown]
# In the valley, then, Adam does not see that one direction is a hundred times as steep as the other. It sets out at
# the same speed in both, where SGD springs from wall to wall and creeps along the ground:

# %%
print("steps until the loss is below 1e-4: SGD", steps_to(slow_losses), " momentum", steps_to(fast_losses),
      " Adam", steps_to(one_losses))  # fmt: skip
with plot("valley", columns=3, size=(10, 3.4)) as panels:
    grid = np.meshgrid(np.linspace(-0.6, 1.1, 80), np.linspace(-0.45, 0.45, 80))
    contours = 0.5 * (grid[0] ** 2 + 100 * grid[1] ** 2)
    for axes, (title, path) in zip(
        panels, (("SGD, 0.018", slow), ("momentum, 0.018", fast), ("Adam, 0.02", one)), strict=True
    ):
        axes.contour(*grid, contours, levels=[0.01, 0.1, 0.5, 2, 5], colors="lightgrey")
        axes.plot(*path[:100].T, ".-", markersize=3, linewidth=0.8)
        axes.set(title=title, xlabel="x (flat)", xlim=(-0.6, 1.1), ylim=(-0.45, 0.45))
    panels[0].set(ylabel="y (steep)")

# %% [markdown]
# ## A bug on purpose
#
# The update is to work *in place*: the arrays w, m and v that come in are changed, and nothing is returned, because
# a model has too many parameters to make new ones at every step. In NumPy `m *= beta1` changes the array, and `m =
# beta1 * m` makes a new one and leaves the old one as it was. Here is an update in place made of the one above:
# `w[:] = ...` writes into the array that came in. What is forgotten?


# %%
def forgetful(w, dw, m, v, step, lr, beta1, beta2, eps, weight_decay):
    w[:], m, v = adamw(w, dw, m, v, step, lr, beta1, beta2, eps, weight_decay)


rng = np.random.default_rng(7)
ours, theirs = ([np.ones(4), np.zeros(4), np.zeros(4)] for _ in range(2))
for step in range(1, 5):
    dw = rng.standard_normal(4)
    forgetful(ours[0], dw, *ours[1:], step, 0.01, 0.9, 0.95, 1e-8, 0.1)
    adamw_update(theirs[0], dw, *theirs[1:], step, 0.01, 0.9, 0.95, 1e-8, 0.1)
    off_w, off_m = np.abs(ours[0] - theirs[0]).max(), np.abs(ours[1] - theirs[1]).max()
    print(f"step {step}: w differs by {off_w:.4f}, m by {off_m:.4f}")
assert not ours[1].any()

# %% [markdown]
# m and v: the names have new arrays, which are gone when the function returns, and the caller's are still 0. After the
# first step w is right to the last digit, and a check that looks at w after one step is content. Two steps, or one look
# at m, and it is caught.
#
# ## What it costs
#
# For each parameter the update reads w, dw, m and v and writes w, m and v: seven numbers moved, for some fifteen
# operations. Like LayerNorm it is bound by memory. The engine keeps all parameters in one long array and goes through
# it in pieces that stay in the cache. Beside the model's own work it is little: forward and backward cost about six
# operations for each parameter *and token*, and a step has hundreds of tokens.
#
# What it does cost is room. Parameters, gradients, m and v make four numbers for each parameter, for GPT-2 in float32
# 2.0 GB before the first activation is computed.

# %%
stated("2.0", GPTConfig().n_params * 4 * 4 / 1e9)

# %% [markdown]
# ## Your turn: adamw_update
#
# ```
# python -m lessons start 13       writes lessons/work/adamw_update.py
# python -m lessons check 13       holds it against the definition
# python -m lessons hint 13        if you are stuck
# ```
#
# `adamw_update` changes w, m and v in place and returns nothing. dw is only read. With `sqrt` from `array_module(w)`
# the same file runs on a card. The two corrections are plain numbers, the same for all parameters. m̂ and v̂ are new
# arrays: m and v themselves go on uncorrected. And the decay takes w as it came in.
#
# `python -m lessons run 13` then takes each of its steps with your update, and so does a real run,
# `python train.py --mine lessons/work`.
#
# ## Questions to think about
#
# 1. By mistake a loss is the sum over a thousand tokens instead of their mean, so all gradients are a thousand times
#    as large. What changes for SGD, and what for AdamW?
# 2. In an untied table of embeddings the row of a rare token has a gradient of zero in all batches but a few. What
#    does AdamW do to this row in the meantime, and how far does it move when the token comes?
# 3. A run is resumed from its weights alone: m and v are zero again. What is the first step if the count of steps
#    goes on from a thousand, and what is it if the count begins again at 1?
#
# Answers: `python -m lessons answers 13`
#
# ## To read on
#
# - Kingma and Ba: "Adam: A Method for Stochastic Optimization", 2015, arXiv:1412.6980.
# - Loshchilov and Hutter: "Decoupled Weight Decay Regularization", 2019, arXiv:1711.05101.
# - `tinygpt/optim/adamw.py`: the update, and the optimiser around it.

# %% [markdown]
# ## Answers
#
# 1. *The sum instead of the mean.* For SGD the steps are a thousand times as long, and it leaves the valley at once.
#    AdamW takes the same steps as before, but for ε, which is now smaller beside the gradients.
# 2. *The rare token's row.* Each step without it takes m by β₁ and v by β₂ closer to zero, and weight decay goes on
#    pulling. In the first steps after the token was seen, momentum still moves the row. When at last it comes again,
#    m is 0.1 g and v is 0.05 g², the corrections of a long run are 1, and the row moves by 0.45 η, whatever the size
#    of g. It then coasts for a while, in all several η:

# %%
import numpy as np
from kit import stated

from tinygpt.optim import adamw_update

w, m, v = np.zeros(1), np.zeros(1), np.zeros(1)
path = [0.0]
for step in range(1000, 1041):
    dw = np.array([1.0 if step == 1000 else 0.0])
    adamw_update(w, dw, m, v, step, 1.0, 0.9, 0.95, 1e-8, 0.0)
    path.append(-w[0])
    if step == 1000:
        stated("0.1", m[0])
        stated("0.05", v[0])
print("moved in all, in units of lr, after 1, 2, 10, 40 steps:", np.round([path[k] for k in (1, 2, 10, 40)], 2))
stated("0.45", path[1])

# %% [markdown]
# 3. *A resumed run.* If the count goes on from a thousand, the corrections are 1, and with m = 0.1 g and v = 0.05 g²
#    the first step is 0.45 η in every parameter. If it begins again at 1, the correction makes it the whole η in every
#    parameter, against the sign of a single batch's gradient, in a model that was trained with care. Both are wrong,
#    the second more so, and a run without its moments wants to begin with small steps again (lesson 14). This is why
#    `train.py` saves m, v and the count beside the weights.

# %%
import numpy as np

from tinygpt.optim import adamw_update

for count in (1001, 1):
    w, m, v = np.zeros(1), np.zeros(1), np.zeros(1)
    adamw_update(w, np.array([0.3]), m, v, count, 1.0, 0.9, 0.95, 1e-8, 0.0)
    print(f"count {count:4}: the first step is {-w[0]:.2f} of the learning rate")

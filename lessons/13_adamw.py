# %% [markdown]
# # 13. From SGD to AdamW
#
# Lesson 12 had every gradient of a GPT, went a hundred steps along them, and knew little more in the end than how
# frequent each letter is. Gradients say in which direction the loss falls, for a step that is infinitely small.
# Steps are not.
#
# **How far do you go? And should every parameter go equally far?**

# %%
import numpy as np
from kit import TEXT, plot, stated

from tinygpt.data import windows_at
from tinygpt.models.gpt2 import GPT, GPTConfig
from tinygpt.optim import adamw_update, cosine_schedule

characters = sorted(set(TEXT))
tokens = np.array([characters.index(c) for c in TEXT])
config = GPTConfig(vocab_size=len(characters), block_size=32, n_layer=2, n_head=4, n_embd=32)


def batch(rng, B=8, T=config.block_size):
    return windows_at(tokens, rng.integers(len(tokens) - T, size=B), T)


# %% [markdown]
# ## Last lesson's questions
#
# **An untied head** has V · C parameters, for GPT-2 38,597,376 more. A row of `wte` that is never read then gets no
# gradient at all and stays as it was drawn. With the tied head, the head's half moves it.
#
# **The length of a sequence** is limited by `wpe`, which has block_size rows. A row that no training sequence
# reached holds the random numbers that it began with, and that is what it would say.
#
# **All zero** is a trap. The loss is ln V, as it should be at the start. But what comes out of ln_f is zero, so the
# head's half is zero, and `wte` is zero, so nothing comes back through it. No array has a gradient, and none ever
# will:

# %%
model = GPT(config, dtype="float64", seed=None)  # all parameters zero
loss, cache = model.loss(*batch(np.random.default_rng(0)))
moved = [name for name, gradient in model.backward(cache).items() if gradient.any()]
print(f"loss {loss:.4f}, ln V {np.log(config.vocab_size):.4f}, arrays with a gradient: {len(moved)}")
assert np.isclose(loss, np.log(config.vocab_size)) and not moved
stated("38,597,376", GPTConfig().vocab_size * GPTConfig().n_embd)

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
# If η is above 0.02, then |1 − 100 η| is above 1, and y grows with every step. The steep direction dictates the
# learning rate, and the flat one has to live with it: at η = 0.018, x shrinks by 1.8% a step.

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
print("eta 0.021: y after 0, 100, 200 steps", descend(sgd(0.021))[0][[0, 100, 200], 1].round(1))
print("eta 0.018: steps until the loss is below 1e-4:", steps_to(slow_losses))
stated("1.8%", 1 - slow[1, 0] / slow[0, 0])
assert abs(1 - 100 * 0.021) > 1 > abs(1 - 100 * 0.018)

# %% [markdown]
# A GPT has thousands of directions. How different are they? Here are the gradients of a fresh one, array by array:

# %%
model = GPT(config, dtype="float64", seed=1)
loss, cache = model.loss(*batch(np.random.default_rng(3)))
grads = model.backward(cache)
rms = {name: np.sqrt((gradient**2).mean()) for name, gradient in grads.items()}
for name in ("wte.weight", "h.0.ln_1.weight", "h.0.attn.c_attn.weight", "h.0.mlp.c_fc.weight", "h.0.mlp.c_proj.bias"):
    print(f"{name:25} typical entry of the gradient {rms[name]:.4f}")
print(f"largest and smallest differ by a factor of {max(rms.values()) / min(rms.values()):.0f}")
stated("640", max(rms.values()) / min(rms.values()), within=5)

# %% [markdown]
# About 640 between the largest and the smallest. With one learning rate, the biases of `c_proj` move 640 times as
# far as the weights of a LayerNorm.
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
# ## Adam
#
# The second remedy gives each parameter its own learning rate. Kingma and Ba (2015, arXiv:1412.6980, algorithm 1)
# keep two running averages for each parameter, of its gradient and of its square, and divide one by the root of the
# other:
#
# ```
# m ← β₁ m + (1 − β₁) dw          the average gradient: momentum
# v ← β₂ v + (1 − β₂) dw²         the average square: how large gradients are
# m̂ = m / (1 − β₁ᵗ)               t counts the steps from 1
# v̂ = v / (1 − β₂ᵗ)
# w ← w − η m̂ / (√v̂ + ε)
# ```
#
# m̂ / √v̂ has no unit. If the gradients of a parameter agree with each other it is near ±1, and the parameter moves
# by η. If they are noise around zero, m̂ is small beside √v̂, and it stays about where it is. How large the
# gradients are makes no difference. ε = 1e-8 is there for the parameter whose gradients are all zero.
#
# β₁ = 0.9 and β₂ = 0.95 are usual for GPTs (Brown et al., 2020, arXiv:2005.14165, appendix B), and we take them
# here: the averages reach over about 10 and 20 steps. Small batches want a longer memory, and `train.py` has 0.99.
#
# ## On paper
#
# One parameter, w = 1, with η = 0.01. Two steps, with the gradients 0.5 and −0.1:
#
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
# The first step is the whole η, and would be for any other gradient. The second still goes downwards, against the
# new gradient: momentum.

# %%
w, m, v, lr, beta1, beta2, eps = 1.0, 0.0, 0.0, 0.01, 0.9, 0.95, 1e-8
for step, dw in ((1, 0.5), (2, -0.1)):
    m = beta1 * m + (1 - beta1) * dw
    v = beta2 * v + (1 - beta2) * dw**2
    m_hat = m / (1 - beta1**step)
    v_hat = v / (1 - beta2**step)
    w = w - lr * m_hat / (np.sqrt(v_hat) + eps)
    print(f"step {step}: m {m:.4f}  v {v:.6f}  m_hat {m_hat:.4f}  v_hat {v_hat:.4f}  w {w:.5f}")
    if step == 1:
        stated("0.05", m)
        stated("0.0125", v)
        stated("0.5", m_hat)
        stated("0.25", v_hat)
        stated("0.99", w)
stated("0.035", m)
stated("0.012375", v)
stated("0.19", 1 - beta1**2)
stated("0.0975", 1 - beta2**2)
stated("0.1842", m_hat)
stated("0.1269", v_hat)
stated("0.98483", w)

# %% [markdown]
# ## Why the averages are corrected
#
# m and v begin at zero, so at first they are averages of a few gradients and many zeros. After t steps with the
# same gradient g the sum of a geometric series gives
#
# ```
# m = (1 − β₁) (1 + β₁ + … + β₁ᵗ⁻¹) g  =  (1 − β₁ᵗ) g
# ```
#
# and dividing by (1 − β₁ᵗ) gives back g, exactly. Without it m is too small and v is too, by different amounts, and
# the step is wrong by the factor (1 − β₁ᵗ) / √(1 − β₂ᵗ):

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
# With β₂ = 0.95 the first step would be 0.45 of what it should be, a sort of warm-up. With Adam's original 0.999
# the steps would be too large, about 6.6 times around step 12, just when the model knows least.
#
# ## Weight decay, and why it is decoupled
#
# A weight that the loss does not need should become small. The classical way adds ½ λ w² to the loss, so λ w to the
# gradient. In SGD that multiplies w by 1 − η λ at every step. In Adam it does not: λ w goes into m and is divided
# by √v̂ like everything else, so where gradients are large there is hardly any decay, and where they are small
# there is too much. Loshchilov and Hutter (2019, arXiv:1711.05101, algorithm 2) take it out of the gradient:
#
# ```
# w ← w − η λ w − η m̂ / (√v̂ + ε)
# ```
#
# That is AdamW, the W for weight decay. (In the paper λ is multiplied by the schedule's factor alone. Multiplying it
# by the whole η, as here, is PyTorch's convention and nanoGPT's.) With every intermediate:


# %%
def adamw(w, dw, m, v, step, lr, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.0):
    m = beta1 * m + (1 - beta1) * dw
    v = beta2 * v + (1 - beta2) * dw**2
    m_hat = m / (1 - beta1**step)
    v_hat = v / (1 - beta2**step)
    decay = lr * weight_decay * w
    move = lr * m_hat / (np.sqrt(v_hat) + eps)
    return w - decay - move, m, v


# %% [markdown]
# Three kinds of weights, a thousand of each, all at 1 in the beginning. Their gradients are nothing but noise, so
# only the decay should move them, and after 500 steps with η λ = 0.001 all should be at 0.999⁵⁰⁰ = 0.61.

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
stated("0.61", 0.999**500)
stated("0.61", both[1].mean(), within=0.03)
assert both[0][0].mean() < 0.05 and both[0][2].mean() > 0.9

# %% [markdown]
# The mean of the decoupled weights is about 0.61, whatever the gradients. In a GPT the matrices and tables decay;
# biases and LayerNorms, the arrays of one axis, do not.
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


def adam(lr, unit=1.0):
    def rule(w, dw, state, step):
        w, m, v = adamw(w, unit * dw, *state, step, lr)
        return w, (m, v)

    return rule


one, one_losses = descend(adam(0.02))
thousand, _ = descend(adam(0.02, unit=1000))
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
# ## Clipping
#
# Once in a while a batch has a huge gradient. Clipping scales all gradients together, so that their length as one
# vector (the *global norm*) is at most some c, usually 1. The direction stays as it is (Pascanu, Mikolov and
# Bengio, 2012, arXiv:1211.5063):
#
# ```
# dw ← dw · min(1, c / ‖dw‖)
# ```
#
# The gradient (3, 4) has the length 5. Clipped to 1 it is (0.6, 0.8).
#
# Adam does not care about the scale of its gradients. Does it need this? Take a parameter whose gradient is always
# 1, and let a single one be −100:

# %%
dw = np.array([3.0, 4.0])
clipped = dw * min(1, 1 / np.linalg.norm(dw))
print("clipped:", clipped)
stated("0.6", clipped[0])
stated("0.8", clipped[1])

gradients = np.ones(200)
gradients[100] = -100.0
kept = {}
for title, limit in (("as it comes", np.inf), ("clipped to 2", 2.0)):
    m, v, kept[title] = 0.0, 0.0, []
    for step, g in enumerate(gradients, start=1):
        move, m, v = adamw(0.0, g * min(1, limit / abs(g)), m, v, step, lr=1.0)
        kept[title].append(-move)
    steps = "".join(f"{k - 100:+5}:{kept[title][k]:6.2f}" for k in (99, 100, 110, 130, 160))
    print(f"{title:14} step taken, in units of lr, at{steps}")

stated("0.05", kept["as it comes"][130])
stated("0.97", kept["clipped to 2"][130])

# %% [markdown]
# The one gradient makes Adam walk the wrong way for more than ten steps. Then v remembers its square for so long
# that after 30 steps the parameter moves by 0.05 of the learning rate, where with clipping it is 0.97 again. In a
# model, that would happen to all parameters that the bad batch reached, at once.
#
# ## Schedules
#
# Two things are wrong with a constant learning rate. In the beginning m and v rest on few gradients, and still
# every parameter moves by the full η, all of them at once. So η starts small and rises: *warm-up*. And at the end
# the noise of the batches keeps every parameter moving about, in proportion to η, so η should fall. A cosine has
# become usual (Loshchilov and Hutter, 2017, arXiv:1608.03983, equation 5):
#
# ```
# warm-up    η = η_max (t + 1) / (W + 1)                       for W steps
# cosine     η = η_min + ½ (η_max − η_min) (1 + cos(π p))      p from 0 to 1
# ```
#
# t counts the steps from 0, and p is how much of what is left after the warm-up has been done. Halfway down, p = ½,
# the cosine is 0 and η is the mean of the two.

# %%
schedule = [cosine_schedule(t, 3e-3, 3e-4, 10, 100) for t in range(120)]
print("steps 0, 9, 10, 55, 100, 119:", [float(f"{schedule[t]:.2e}") for t in (0, 9, 10, 55, 100, 119)])
assert np.isclose(schedule[55], (3e-3 + 3e-4) / 2)
with plot("schedule") as axes:
    axes.plot(schedule)
    axes.set(xlabel="step", ylabel="learning rate", ylim=(0, None))

# %% [markdown]
# What the falling end is good for, on a thousand parameters with the loss ½ w² and noise in the gradient:

# %%
for title, rate in (
    ("constant", lambda t: 0.1),
    ("cosine to a hundredth", lambda t: cosine_schedule(t, 0.1, 0.001, 10, 300)),
):
    rng, w = np.random.default_rng(5), np.ones(1000)
    for t in range(300):
        w = w - rate(t) * (w + rng.standard_normal(1000))
    print(f"{title:24} typical distance from the minimum after 300 steps: {np.sqrt((w**2).mean()):.3f}")

# %% [markdown]
# ## The landscape of a learning rate
#
# Now the GPT. On the left, one step: from the same place, with the same batch, and the loss of that batch after a
# step of each length. On the right, whole runs: 80 steps at each learning rate, and the mean loss of the last ten.

# %%
SGD, MOMENTUM, ADAM = "SGD", "momentum", "AdamW"


def train(rule, lr, steps=80, warmup=0):
    """A fresh GPT trained by rule: the model, the moments, and the losses, cut off at 20."""
    model = GPT(config, seed=1)
    rng, w = np.random.default_rng(3), model.params.flat  # all parameters as one vector: what is written here is there
    m, v, losses = np.zeros_like(w), np.zeros_like(w), []
    for step in range(1, steps + 1):
        loss, cache = model.loss(*batch(rng))
        losses.append(float(loss))
        if not losses[-1] < 20:
            return model, (m, v), [*losses[:-1], *[20.0] * (steps - len(losses) + 1)]
        dw = model.backward(cache).flat
        eta = lr * min(1, step / (warmup + 1))
        if rule == ADAM:
            adamw_update(w, dw, m, v, step, eta, 0.9, 0.95, 1e-8, 0.1)
        else:
            m[:] = (0.9 if rule == MOMENTUM else 0) * m + dw
            w -= eta * m
    return model, (m, v), losses


rates = {
    SGD: [0.03, 0.1, 0.3, 1, 3],
    MOMENTUM: [0.003, 0.03, 0.1, 0.3, 1],
    ADAM: [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2],
}
ends = {rule: [np.mean(train(rule, lr)[2][-10:]) for lr in lrs] for rule, lrs in rates.items()}
for rule, lrs in rates.items():
    print(f"{rule:9}" + "".join(f"{lr:>8g}" for lr in lrs) + "   learning rate")
    print(f"{'':9}" + "".join(f"{end:8.2f}" for end in ends[rule]) + "   loss")

# %%
model, (m, v), _ = train(ADAM, 3e-3, steps=20)
here, again = model.params.flat.copy(), batch(np.random.default_rng(6))
_, cache = model.loss(*again)
dw = model.backward(cache).flat
adam_direction = adamw(np.zeros_like(here), dw, m, v, 21, lr=1.0)[0]
lengths = np.geomspace(1e-4, 10, 31)
landscape = {}
for title, direction in ((SGD, -dw), (ADAM, adam_direction)):
    landscape[title] = []
    for length in lengths:
        model.params.flat[:] = here + length * direction
        landscape[title].append(float(model.loss(*again, need_grad=False)[0]))
    best = int(np.argmin(landscape[title]))
    start, least = landscape[title][0], landscape[title][best]
    print(f"{title:9} best single step: learning rate {lengths[best]:.2g}, loss {start:.2f} -> {least:.2f}")
with plot("landscape", columns=2, size=(9, 3.8)) as (left, right):
    for title, colour in ((SGD, "tab:blue"), (ADAM, "tab:red")):
        left.semilogx(lengths, landscape[title], color=colour, label=title)
    left.set(title="one step", xlabel="learning rate", ylabel="loss", ylim=(2.95, 3.5))
    for (rule, lrs), colour in zip(rates.items(), ("tab:blue", "tab:orange", "tab:red"), strict=True):
        right.semilogx(lrs, ends[rule], "o-", color=colour, label=rule)
    right.set(title="80 steps", xlabel="learning rate", ylim=(2.4, 3.8))
    right.legend(frameon=False)

# %% [markdown]
# On the left both curves fall slowly for as long as the step is too short, and end at a wall. On the right SGD and
# momentum run into theirs. AdamW has none in this range, because no step is much longer than η: it only learns
# less, and less predictably. Two things are worth seeing.
#
# - A single step gains about the same with either, 0.04 or 0.05. In 80 steps it is another story. SGD comes to
#   about 3.0 at its best learning rate, which is what the frequencies of letters give (lesson 12), and momentum
#   does no better. AdamW comes to about 2.6.
# - For AdamW, the best learning rate of a run is several times smaller than that of one step.
#
# 0.003 is also what `python train.py` uses for its much larger GPT. A step that has no unit can be carried from one
# model to the next. SGD's best learning rate depends on how large the gradients happen to be.

# %%
stated("3.0", min(ends[SGD]), within=0.1)
stated("3.0", min(ends[MOMENTUM]), within=0.1)
stated("2.6", min(ends[ADAM]), within=0.15)
stated("0.04", landscape[SGD][0] - min(landscape[SGD]), within=0.015)
stated("0.05", landscape[ADAM][0] - min(landscape[ADAM]), within=0.015)
assert rates[ADAM][int(np.argmin(ends[ADAM]))] <= 3e-3 < lengths[int(np.argmin(landscape[ADAM]))] / 5

# %% [markdown]
# And warm-up? At a learning rate of 0.1, far on the wrong side, it is what keeps the first steps from throwing the
# model away. At a good rate a model of this size does well without.

# %%
for lr in (0.1, 3e-3):
    for warmup in (0, 10):
        losses = train(ADAM, lr, steps=12, warmup=warmup)[2]
        print(f"lr {lr:<6} warm-up {warmup:2} steps: highest loss among steps 2 to 12: {max(losses[1:]):.1f}")

# %% [markdown]
# ## A bug on purpose
#
# The update is to work *in place*: the arrays w, m and v that come in are changed, and nothing is returned, because
# a model has too many parameters to make new ones at every step. In NumPy `m *= beta1` changes the array, and `m =
# beta1 * m` makes a new one and leaves the old one as it was. So this looks right and is not:


# %%
def forgetful(w, dw, m, v, step, lr, beta1, beta2, eps, weight_decay):
    m = beta1 * m + (1 - beta1) * dw
    v = beta2 * v + (1 - beta2) * dw**2
    w *= 1 - lr * weight_decay
    w -= lr * (m / (1 - beta1**step)) / (np.sqrt(v / (1 - beta2**step)) + eps)


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
# After the first step w is right to the last digit, and a check that looks at w after one step is content. Two
# steps, or one look at m, and it is caught.
#
# ## What it costs
#
# For each parameter the update reads w, dw, m and v and writes w, m and v: seven numbers moved, for some fifteen
# operations. Like LayerNorm it is bound by memory. The engine keeps all parameters in one long array and goes
# through it in pieces that stay in the cache. Beside the model's own work it is little: forward and backward cost
# about six operations for each parameter *and token*, and a step has hundreds of tokens.
#
# What it does cost is room. Parameters, gradients, m and v make four numbers for each parameter, for GPT-2 in
# float32 2.0 GB before the first activation is computed.

# %%
stated("2.0", GPTConfig().n_params * 4 * 4 / 1e9)

# %% [markdown]
# ## Your turn: adamw_update
#
# ```
# python -m lessons start 13       writes lessons/work/adamw_update.py
# python -m lessons check 13       holds it against the definition, step by step
# python -m lessons hint 13        if you are stuck
# ```
#
# `adamw_update` changes w, m and v in place and returns nothing. dw is only read. It must run on NumPy and CuPy
# alike, so ask `array_module(w)` for `sqrt`, and float32 arrays must stay float32. The two corrections are plain
# numbers, the same for all parameters. m̂ and v̂ are new arrays: m and v themselves go on uncorrected.
#
# `python train.py --mine lessons/work` then takes each of its steps with your update.

# %% [markdown]
# ## Questions to think about
#
# 1. By mistake a loss is the sum over a thousand tokens instead of their mean, so all gradients are a thousand
#    times as large. What changes for SGD, for AdamW, and for AdamW with clipping at 1?
# 2. In an untied table of embeddings the row of a rare token has a gradient of zero in all batches but a few. What
#    does AdamW do to this row in the meantime, and how far does it move when the token comes?
# 3. A run is resumed from its weights alone: m and v are zero again. What is the first step if the count of steps
#    goes on from a thousand, and what is it if the count begins again at 1?
#
# They are answered at the beginning of lesson 15.
#
# ## To read on
#
# - Kingma and Ba: "Adam: A Method for Stochastic Optimization", 2015, arXiv:1412.6980.
# - Loshchilov and Hutter: "Decoupled Weight Decay Regularization", 2019, arXiv:1711.05101.
# - Liu et al.: "On the Variance of the Adaptive Learning Rate and Beyond", 2020, arXiv:1908.03265: why warm-up.
# - `tinygpt/optim/`: the update, clipping and the schedule.

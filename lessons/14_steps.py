# %% [markdown]
# # 14. The length of a step
#
# *30 minutes*
#
# AdamW has given each parameter a scale of its own. One number is left to you, the learning rate η, and nearly every
# run that fails fails by it.
#
# **How long may a step be: on an ordinary day, in the first steps of a run, in its last ones, and on the day when one
# batch goes wrong?**

# %%
import math
import sys

import numpy as np

import tinygpt

sys.path += [f"{tinygpt.__path__[0]}/../lessons"]  # where kit is, whatever folder a notebook runs in
from kit import TEXT, plot, stated

from tinygpt.data import windows_at
from tinygpt.models.gpt2 import GPT, GPTConfig
from tinygpt.optim import adamw_update, cosine_schedule, global_norm

characters = sorted(set(TEXT))
tokens = np.array([characters.index(c) for c in TEXT])
config = GPTConfig(vocab_size=len(characters), block_size=32, n_layer=2, n_head=4, n_embd=32)


def batch(rng, B=8, T=config.block_size):
    return windows_at(tokens, rng.integers(len(tokens) - T, size=B), T)


# %% [markdown]
# ## Clipping, on paper
#
# Once in a while a batch has a huge gradient. Clipping scales all gradients together, so that their length as one
# vector, the *global norm*, is at most some c, usually 1 (Pascanu, Mikolov and Bengio, 2012, arXiv:1211.5063):
#
# ```
# ‖dw‖  =  √(sum of the squares of all entries of all gradients)
# dw    ←  dw · min(1, c / ‖dw‖)
# ```
#
# Two parameters with the gradients 3 and 4: the norm is √(9 + 16) = 5. Clipped to 1 they are 0.6 and 0.8, and their
# ratio is what it was: the direction stays.
#
# Adam does not care about the scale of its gradients. Does it need this? Take a parameter whose gradient is always 1,
# and let a single one be −100. A step of 1 in the table is a whole η in the direction that all the others ask for.
# Guess, before you run it: how many steps go the wrong way? And thirty steps later, how long are they?

# %%
dw = np.array([3.0, 4.0])
clipped = dw * min(1, 1 / np.linalg.norm(dw))
print("clipped:", clipped)
stated("0.6", clipped[0])
stated("0.8", clipped[1])


def steps_along(gradients):
    """The steps that AdamW takes with these gradients, in units of the learning rate: above 0 is against a gradient
    of 1.
    """
    w, m, v, path = np.zeros(1), np.zeros(1), np.zeros(1), [0.0]
    for step, g in enumerate(gradients, start=1):
        adamw_update(w, np.array([g]), m, v, step, 1.0, 0.9, 0.95, 1e-8, 0.0)
        path.append(-w[0])
    return np.diff(path)


gradients = np.ones(200)
gradients[100] = -100.0
taken, at = {}, (99, 100, 110, 130, 160)
print(f"{'after the bad one':17}" + "".join(f"{k - 100:+7}" for k in at) + "   steps, in units of lr:")
for title, limit in (("as it comes", np.inf), ("clipped to 2", 2.0)):
    taken[title] = steps_along(gradients * np.minimum(1, limit / np.abs(gradients)))
    print(f"{title:17}" + "".join(f"{taken[title][k]:7.2f}" for k in at))
print("steps the wrong way:", {title: int((steps < 0).sum()) for title, steps in taken.items()})

stated("22", (taken["as it comes"] < 0).sum())
assert not (taken["clipped to 2"] < 0).any()
stated("0.05", taken["as it comes"][130])
stated("0.97", taken["clipped to 2"][130])

# %% [markdown]
# The one gradient makes Adam walk the wrong way for 22 steps. Then v remembers its square for so long that after 30
# steps the parameter moves by 0.05 of the learning rate, where with clipping it is 0.97 again. In a model, that would
# happen to all parameters that the bad batch reached, at once.
#
# What is the usual length, from which a bad one stands apart? Here are the norms of a fresh GPT's gradients for 40
# batches. And for the last of them, is the norm the sum of the lengths of its arrays?

# %%
model = GPT(config, dtype="float64", seed=1)
rng = np.random.default_rng(14)
norms = []
for _ in range(40):
    _, cache = model.loss(*batch(rng))
    grads = model.backward(cache)
    norms.append(float(global_norm(grads.values())))
lengths = [np.linalg.norm(array) for array in grads.values()]
print(f"norms of 40 batches: {min(norms):.2f} to {max(norms):.2f}")
print(f"the last one: {norms[-1]:.2f}; the lengths of its {len(lengths)} arrays add up to {sum(lengths):.2f}")
assert np.isclose(norms[-1], math.sqrt(sum(length**2 for length in lengths)))

# %% [markdown]
# They lie close together, so one that is many times as long is a bad batch. And lengths do not add up: the parts have
# more of it together than the whole. What adds up is their squares.
#
# ## Your turn: global_norm
#
# ```
# python -m lessons start global_norm       writes lessons/work/global_norm.py
# python -m lessons check global_norm       holds it against the definition
# python -m lessons hint global_norm        if you are stuck
# ```
#
# (`python -m lessons start 14` begins both pieces of this lesson.) The length of several arrays of any shapes as one
# vector. To make that vector is to copy every gradient of the model; sums of squares need no copy. It returns an array
# without axes, in the gradients' dtype: to make it a Python number is to wait for a card (lesson 18). `each` stands
# where `map` would, and may be left alone: a run with several threads hands in its own.
#
# `python -m lessons run 14` clips by it, and so does `python train.py --mine lessons/work`, in every step.
#
# ## Schedules
#
# Two things are wrong with a constant learning rate. In the beginning m and v rest on few gradients, and still every
# parameter moves by the full η, all of them at once. So η starts small and rises: *warm-up*. And at the end the noise
# of the batches keeps every parameter moving about, the more the larger η is, so η should fall. A cosine has become
# usual (Loshchilov and Hutter, 2017, arXiv:1608.03983, equation 5). There are W steps of warm-up and N in all, and t
# counts them from 0:
#
# ```
# warm-up    t < W        η = η_max (t + 1) / (W + 1)
# cosine     W ≤ t < N    η = η_min + ½ (η_max − η_min) (1 + cos(π p))
#                         p = (t − W) / (N − W)
# after it   N ≤ t        η = η_min
# ```
#
# p is how much of what is left after the warm-up has been done, from 0 to 1. Why W + 1? At t = W the cosine begins,
# with the whole η_max: the warm-up is the way there in W + 1 equal parts, and its first step has one of them, not
# none. With η_max = 0.003, η_min = 0.0003, W = 10 and N = 100, what is η at step 55, halfway down?

# %%
schedule = [cosine_schedule(t, 3e-3, 3e-4, 10, 100) for t in range(120)]
for t in (0, 9, 10, 55, 100, 119):
    print(f"step {t:3}: {schedule[t]:.6f}")
assert np.isclose(schedule[55], (3e-3 + 3e-4) / 2) and schedule[10] == 3e-3
with plot("schedule") as axes:
    axes.plot(schedule)
    axes.set(xlabel="step", ylabel="learning rate", ylim=(0, None))

# %% [markdown]
# Halfway down the cosine is 0, and η is the mean of the two.
#
# What the falling end is good for, on a thousand parameters with the loss ½ w² and noise in the gradient. All of them
# begin at 1, and belong at 0:

# %%
for title, rate in (
    ("constant", lambda t: 0.1),
    ("cosine to a hundredth", lambda t: cosine_schedule(t, 0.1, 0.001, 10, 300)),
):
    rng, w = np.random.default_rng(5), np.ones(1000)
    for t in range(300):
        w = w - rate(t) * (w + rng.standard_normal(1000))
    far = np.sqrt((w**2).mean())
    print(f"{title:24} typical distance from 0 after 300 steps: {far:.3f}")

# %% [markdown]
# ## Your turn: cosine_schedule
#
# ```
# python -m lessons start cosine_schedule   writes lessons/work/cosine_schedule.py
# python -m lessons check cosine_schedule   holds it against the definition
# python -m lessons hint cosine_schedule    if you are stuck
# ```
#
# Three lines of mathematics and three stretches of a run, in plain numbers: `step` is t, `learning_rate` η_max,
# `min_lr` η_min, `warmup_iters` W and `lr_decay_iters` N. Mind the edges: the first step, the last of the warm-up, the
# one after it, the last of the run, and a run without any warm-up.
#
# `python -m lessons run 14` takes each step's learning rate from it, and so does `python train.py --mine lessons/work`.

# %% [markdown]
# ## The landscape of a learning rate
#
# Now the GPT, without clipping and without a schedule. First, whole runs: 80 steps at each learning rate, and the mean
# loss of the last ten. A model that knows how frequent each character is, and nothing else, is at 3.0 (lesson 12).
# Which of the three rules will come below it, and which is the least particular about its learning rate?

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

# %% [markdown]
# Then one step: from the same place, with the same batch, and the loss of that batch after a step of each length.

# %%
model, (m, v), _ = train(ADAM, 3e-3, steps=20)
here, again = model.params.flat.copy(), batch(np.random.default_rng(6))
_, cache = model.loss(*again)
dw = model.backward(cache).flat
adam_direction = np.zeros_like(here)
adamw_update(adam_direction, dw, m.copy(), v.copy(), 21, 1.0, 0.9, 0.95, 1e-8, 0.0)
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
# And warm-up? Two learning rates, one of them far too large, with it and without:

# %%
highest = {}
for lr in (0.1, 3e-3):
    for warmup in (0, 10):
        losses = train(ADAM, lr, steps=12, warmup=warmup)[2]
        highest[lr, warmup] = max(losses[1:])
        print(f"lr {lr:<6} warm-up {warmup:2} steps: highest loss among steps 2 to 12: {highest[lr, warmup]:.1f}")
assert highest[0.1, 0] > highest[0.1, 10] + 1 and abs(highest[3e-3, 0] - highest[3e-3, 10]) < 0.5

# %% [markdown]
# At 0.1 it is what keeps the first steps from throwing the model away. At a good rate a model of this size does well
# without.
#
# ## A bug on purpose
#
# Clip each array by its own length instead of all of them by the global norm: it looks tidier, needs no sum over the
# model, and every array is now at most 1 long.


# %%
def by_the_whole(arrays):
    scale = min(1, 1 / float(global_norm(arrays)))
    return [array * scale for array in arrays]


def each_by_its_own(arrays):
    return [array * min(1, 1 / np.linalg.norm(array)) for array in arrays]


def angle(some, others):
    """Degrees between two lists of arrays, each as one vector."""
    a, b = (np.concatenate([array.reshape(-1) for array in arrays]) for arrays in (some, others))
    return math.degrees(math.acos(min(1, a @ b / np.linalg.norm(a) / np.linalg.norm(b))))


turned = {}
for batch_is, factor in (("an ordinary batch", 1), ("a bad one, 100 times", 100)):
    came = [factor * array for array in grads.values()]
    for clip in (by_the_whole, each_by_its_own):
        left = clip(came)
        turned[factor, clip] = angle(left, came)
        print(f"{batch_is:22}{clip.__name__:16} norm {float(global_norm(came)):7.2f} -> ", end="")
        print(f"{float(global_norm(left)):.2f}, turned by {turned[factor, clip]:.0f}°")
assert max(turned[factor, by_the_whole] for factor in (1, 100)) < 0.01
assert turned[100, each_by_its_own] > 20 and turned[1, each_by_its_own] > 1

# %% [markdown]
# It breaks both promises: the whole is longer than 1, and it points elsewhere, because the long arrays were cut and
# the short ones were not. In a bad batch nearly all of them are cut, each to the
# length 1, whatever its share was. No shape is wrong, and nothing complains. A test on numbers sees it: after clipping
# the norm is at most c, and all ratios are what they were.
#
# ## What it costs
#
# The norm reads every gradient once before the update may begin: one more walk through memory, and on several
# machines it has to wait for all of them. The schedule is a cosine a step.
#
# ## Questions to think about
#
# 1. Last lesson's mistake, the loss as a sum over a thousand tokens, all gradients a thousand times as large, went by
#    AdamW nearly unnoticed. What does clipping at 1 do to it?
# 2. A run of 1,000 steps with a cosine schedule is done, and you go on with it to 2,000. What does the learning rate do
#    at step 1,000?
# 3. At the end the noise of the batches holds the loss up. Halve the learning rate, or double the batch: which gains
#    more, and which costs more?
#
# Answers: `python -m lessons answers 14`
#
# ## To read on
#
# - Pascanu, Mikolov, Bengio: "On the difficulty of training recurrent neural networks", 2012, arXiv:1211.5063:
#   clipping.
# - Loshchilov and Hutter: "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, arXiv:1608.03983.
# - Liu et al.: "On the Variance of the Adaptive Learning Rate and Beyond", 2020, arXiv:1908.03265: why warm-up.
# - Smith et al.: "Don't Decay the Learning Rate, Increase the Batch Size", 2018, arXiv:1711.00489.
# - `tinygpt/optim/optimizer.py` and `tinygpt/optim/schedule.py`: clipping and the schedule.

# %% [markdown]
# ## Answers
#
# 1. *Clipping a sum.* Nearly every gradient is cut, down to the length 1, the ordinary ones like the bad ones. AdamW
#    then sees gradients that are all of the same length, and clipping no longer singles out the bad batch from the
#    others: it does so only if the limit stands a little above the usual norm.
# 2. *It jumps up.* The old schedule had come down to η_min. The new one, with 2,000 steps, is about halfway down at
#    step 1,000, so the model that had settled is shaken up again, and the loss rises before it falls. Whoever wants to
#    go on keeps η_min, or plans a new warm-up.

# %%
from tinygpt.optim import cosine_schedule

old, new = (cosine_schedule(1000, 3e-3, 3e-4, 100, steps) for steps in (1000, 2000))
print(f"at step 1,000: {old:.5f} in the old run, {new:.5f} in the new one, {new / old:.1f} times as much")
assert new > 5 * old

# %% [markdown]
# 3. *They gain the same.* In the loss ½ w², with noise of variance s² in the gradient, w ← (1 − η) w − η · noise. When
#    the variance of w no longer changes, it is (1 − η)² of itself and η² s² more, so it is η s² / (2 − η), nearly
#    η s² / 2. Half of η about halves it. So does a doubled batch, which halves s², and costs twice as much for each
#    step. But the smaller η takes twice as many steps to come as far, and steps of a large batch can be shared by
#    several cards. (Smith et al., above.)

# %%
import numpy as np

for title, lr, size in (("as it was", 0.1, 1), ("half the rate", 0.05, 1), ("twice the batch", 0.1, 2)):
    rng, w = np.random.default_rng(5), np.zeros(20_000)
    for _ in range(300):
        w = w - lr * (w + rng.standard_normal(len(w)) / np.sqrt(size))
    print(f"{title:16} variance of w {w.var():.4f}, by the formula {lr / size / (2 - lr):.4f}")
    assert abs(w.var() / (lr / size / (2 - lr)) - 1) < 0.05

# %% [markdown]
# # 4. Proving a gradient
#
# *45 minutes*
#
# Every layer of the coming lessons is two functions: one computes something, the other its derivative. The second is
# derived on paper, and mistakes are made there. Such a mistake raises no error: the array that comes back has the
# right shape, and often about the right size.
#
# **Somebody hands you a function and says that it is the derivative of another one. How would you find out whether
# that is true, without deriving anything yourself?** And when your test says yes, what would it have let through?

# %%
import sys
from textwrap import fill

import numpy as np

import tinygpt

sys.path += [f"{tinygpt.__path__[0]}/../lessons"]  # where kit is, whatever folder a notebook runs in
from kit import plot, stated

from tinygpt.gradcheck import gradient_check, numerical_gradient
from tinygpt.gradcheck.measure import USUAL_CHECKS, verdicts
from tinygpt.gradcheck.mutants import MUTANTS, find

# %% [markdown]
# ## On paper
#
# The derivative says how far the value of a function moves when its argument moves a little. So move it a little, and
# look. Take f(x) = x³ at x = 2, where the derivative is 3x² = 12, and a step of h = 0.1. Nudge x up alone, or both up
# and down: how near to 12 does each come? 2.1³ is 9.261, and 1.9³ is 6.859.

# %% [markdown]
# ```
# one-sided     (2.1³ − 2³) / 0.1   = (9.261 − 8) / 0.1     = 12.61
# central       (2.1³ − 1.9³) / (2 · 0.1) = (9.261 − 6.859) / (2 · 0.1) = 12.01
# ```
#
# The same step, two evaluations each, and the central difference has an error some 60 times smaller.


# %%
def one_sided(f, x, h):
    return (f(x + h) - f(x)) / h


def central(f, x, h):
    return (f(x + h) - f(x - h)) / (2 * h)


def cube(x):
    return x**3


print(f"one-sided {one_sided(cube, 2, 0.1):.2f}")
print(f"central   {central(cube, 2, 0.1):.2f}")
stated("9.261", cube(2.1))
stated("6.859", cube(1.9))
stated("12.61", one_sided(cube, 2, 0.1))
stated("12.01", central(cube, 2, 0.1))
stated("60", (one_sided(cube, 2, 0.1) - 12) / (central(cube, 2, 0.1) - 12), within=1.5)

# %% [markdown]
# ## The formula
#
# Taylor's series says where the error comes from:
#
# ```
# f(x + h) = f + h f′ + h²/2 f″ + h³/6 f‴ + …
# f(x − h) = f − h f′ + h²/2 f″ − h³/6 f‴ + …
#
# (f(x + h) − f(x)) / h      = f′ + h/2 f″ + …    one-sided: an error of order h
# (f(x + h) − f(x − h)) / 2h = f′ + h²/6 f‴ + …   central: of order h²
# ```
#
# In the difference of the two series everything even cancels. With two more points the h² goes too, and an error of
# h⁴/30 times the fifth derivative is left (Fornberg, "Generation of finite difference formulas on arbitrarily spaced
# grids", Mathematics of Computation 51, 1988):
#
# ```
# (8 (f(x + h) − f(x − h)) − (f(x + 2h) − f(x − 2h))) / 12h
# ```
#
# A cube has no fifth derivative, so five points give exactly 12, whatever h is.


# %%
def five_points(f, x, h):
    near, far = f(x + h) - f(x - h), f(x + 2 * h) - f(x - 2 * h)
    return (8 * near - far) / (12 * h)


for h in (1, 0.5, 0.1):
    print(f"h = {h:<4} one-sided {one_sided(cube, 2, h):.4f}", end="  ")
    print(f"central {central(cube, 2, h):.4f}", end="  ")
    print(f"five points {five_points(cube, 2, h):.4f}")
assert all(np.isclose(five_points(cube, 2, h), 12) for h in (1, 0.5, 0.1))

# %% [markdown]
# ## How small a step?
#
# The smaller the better, says the formula. The computer disagrees. A float64 carries about 16 digits: f(x) is known
# to about ε = 2.2e-16 of itself. f(x + h) and f(x − h) agree in almost all of their digits, so their difference is
# made of the few that are left, and dividing by h makes the error of those large:
#
# ```
# error ≈ h²/6 |f‴|  +  ε |f| / h           the formula's error, and rounding's
# ```
#
# As h gets smaller, the first part falls and the second rises. Between them lies a valley, whose floor is where both
# are about equal: at h of about ε^(1/3), with an error of about ε^(2/3). For one side only it lies at ε^(1/2), for
# five points at ε^(1/5). So which of the three needs the smallest step, and which comes nearest to the truth? Here is
# the valley, for f(x) = exp(sin x) at x = 1:


# %%
def f(x):
    return np.exp(np.sin(x))


true = np.cos(1.0) * f(1.0)
eps = np.finfo(np.float64).eps
stated("2.2e-16", eps)
steps = 10.0 ** np.arange(-13, 0.1, 0.125)
powers = {one_sided: 1 / 2, central: 1 / 3, five_points: 1 / 5}
nearest = {}
with plot("valley") as axes:
    for rule, power in powers.items():
        name = rule.__name__.replace("_", " ")
        errors = np.array([abs(rule(f, 1.0, h) - true) / true for h in steps])
        axes.loglog(steps, np.maximum(errors, 1e-16), label=name)
        near = errors[np.abs(np.log10(steps / eps**power)) < 0.5].max()
        nearest[rule] = near
        print(f"{name:<11} valley near h = {eps**power:.0e}", end="   ")
        print(f"worst error at a third to 3 times it: {near:.0e}")
    single, large = np.float32, steps[steps > 1e-6]
    errors = [central(f, single(1), single(h)) / true - 1 for h in large]
    errors = np.maximum(np.abs(errors), 1e-16)
    axes.loglog(large, errors, "--", color="grey", label="central, float32")
    print(f"float32     at its best: {min(errors):.0e}")
    axes.set(xlabel="step h", ylabel="relative error of the derivative")
    axes.legend(frameon=False)
assert all(nearest[rule] < 100 * eps ** (1 - power) for rule, power in powers.items())
assert min(errors) < 1e-4

# %% [markdown]
# The left flanks are ragged because rounding is, and the right ones are straight: their slopes are 1, 2 and 4, the
# powers of h. The dashed line is the central difference in float32, which networks are trained in. At its best it is
# right to five digits or so. That is why gradients are checked in float64, whatever they are later computed in.
#
# A wrong derivative has no valley: it is as wrong at one h as at another. Where you are in doubt, change h and look,
# here at a right one and at one that is 1.001 times as large.

# %%
for h in (1e-2, 1e-3, 1e-4, 1e-5):
    right, wrong = true, 1.001 * true
    measured = central(f, 1.0, h)
    print(f"h = {h:.0e}   right one is off by {abs(measured - right):.0e}", end="")
    print(f"   wrong one by {abs(measured - wrong):.0e}")

# %% [markdown]
# ## Many numbers
#
# Layers take arrays. The gradient of a number with respect to an array has the array's shape: each entry says what
# moving that one entry does, while all others stay where they are. So move them one at a time. For g(x) = x₀² x₁ + x₂
# at (3, 2, 5), on paper: (2 x₀ x₁, x₀², 1) = (12, 9, 1).


# %%
def g(x):
    return x[0] ** 2 * x[1] + x[2]


x = np.array([3.0, 2, 5])
for unit in np.eye(3):  # (1, 0, 0), (0, 1, 0), (0, 0, 1)
    print(unit, (g(x + 1e-5 * unit) - g(x - 1e-5 * unit)) / 2e-5)
print("the engine's:", numerical_gradient(g, x))
assert np.allclose(numerical_gradient(g, x), [12, 9, 1])

# %% [markdown]
# ## Your turn: numerical_gradient
#
# ```
# python -m lessons start 4     writes lessons/work/numerical_gradient.py
# python -m lessons check 4     holds it against the engine's,
#                               then looks at x (with --watch: after every save)
# python -m lessons hint 4      if you are stuck
# ```
#
# Write `numerical_gradient(f, x, h)` by central differences. What the code above does not do: x may have any shape,
# () included. It is moved in place, one entry at a time, with no copy of the whole array. And afterwards every entry
# is what it was, to the last bit. Does adding h, taking 2h away and adding h again do that? Below is 0.1,
# with h = 1e-5.

# %%
entry = 0.1
back = entry + 1e-5 - 2e-5 + 1e-5
print("put back by adding, is it what it was?", back == entry)
assert entry + 1e-5 - 2e-5 + 1e-5 != entry

# %% [markdown]
# This one is yours to keep. Once it is right, `check` asks it for a second opinion on every layer that you write,
# beside the engine's five points: your own layers, proved by your own proof. You see it at work whenever you check a
# layer, from `python -m lessons check linear` in the next lesson on. And now: `python -m lessons run 4` trains a small
# model for some seconds, then has yours move every number of one of its parameter arrays, and compares. A real run,
# `python train.py --mine lessons/work`, does not ask it: it is far too slow for that, as the end of this lesson
# counts.

# %% [markdown]
# ## A layer
#
# A layer gives back an array, and the proof above was for a function that gives one number. But a layer stands in a
# network, at whose end there is one number, the loss L. The layer does not know what will be made of its `out`. It
# will be told `dout`: ∂L/∂out, for each entry of `out` (lesson 1). Given that, its backward is to say what ∂L/∂x is:
# dx.
#
# A small change of out changes the loss by Σ dout · (change of out). So for the derivative the loss may as well *be*
# Σ dout · out. That is a number: choose any `dout`, and differentiate it.
#
# Here is a layer to try it on, which lesson 3 used without calling it one: each row of counts becomes shares of its
# sum. x is (N, C): N rows of C counts. For one row:
#
# ```
# s   = Σ_c x_c          the sum of the row                        (C,) -> ()
# r   = 1 / s            one over it                                ()  -> ()
# out = x r              out_c = x_c r, each count's share         (C,) -> (C,)
# ```


# %%
def forward(x):
    s = x.sum(axis=-1, keepdims=True)  # (N, C) -> (N, 1)
    r = 1 / s  # (N, 1)
    out = x * r  # (N, C) · (N, 1) -> (N, C)
    return out, (x, r, out)


x = np.array([[3.0, 1, 4], [2, 1, 2]])
dout = np.array([[8.0, 0, 0], [0, 5, -5]])  # any numbers will do
print(forward(x)[0])

# %% [markdown]
# Now backward, for (N, C) at once. `cache` is what forward kept for it. As in lesson 1, dr means ∂L/∂r, and ds ∂L/∂s;
# both are (N, 1), as r and s are. What is needed:
#
# - Walk forward's lines from the last to the first.
# - In each line, multiply what comes back by the slope of the line: of out_c by r it is x_c. (And of 1/s by s it is
#   −1/s², which is −r².)
# - What forward spreads over many places, backward sums over them; what forward sums, backward spreads. Which of the
#   two happens to r, and which to x in the line of s?
# - What is used in two lines gets two parts, added up. That is x.
#
# Write dx, the first part, from the last line; then dr; then ds; then dx with its second part added.


# %% derive: long_backward(dout, forward(x)[1])
def long_backward(dout, cache):
    x, r, out = cache
    dx = dout * r  # out = x r, first part
    dr = (dout * x).sum(axis=-1, keepdims=True)  # out = x r; (N, C) -> (N, 1)
    ds = -dr * r**2  # r = 1 / s
    dx = dx + ds  # s = Σ x, second part; (N, 1) is spread over the row
    return dx


# %% [markdown]
# ```
# out = x r              dx = dout r              first part
#                        dr = Σ_c dout_c x_c      r was spread over the row
# r = 1 / s              ds = −dr r²
# s = Σ_c x_c            dx = dx + ds             second part, spread over the row
# ```
#
# On paper, for the first row, x = (3, 1, 4) and dout = (8, 0, 0): s = 8, r = 1/8, the first part of dx is (1, 0, 0),
# dr = 24, ds = −3/8, and dx = (5/8, −3/8, −3/8). Raise the first count, and its share rises; raise another, and it
# falls.
#
# ![The same as a graph: x goes into out directly and through s and r, and dx is the sum of what comes back on the two
# ways.](../pictures/shares_graph.svg)
#
# ## Is it right?
#
# The loss is Σ dout · out. Nudge each entry of x. And not only x: any number on the way can be nudged, with only the
# lines behind it. So each line of your backward can be proved by itself:

# %%
s = x.sum(axis=-1, keepdims=True)
r = 1 / s
dx = long_backward(dout, forward(x)[1])
dr = (dout * x).sum(axis=-1, keepdims=True)
ds = -dr * r**2
for name, ours, loss, a in (
    ("dx", dx, lambda x: (dout * forward(x)[0]).sum(), x),
    ("dr", dr, lambda r: (dout * (x * r)).sum(), r),
    ("ds", ds, lambda s: (dout * (x / s)).sum(), s),
):
    measured = numerical_gradient(loss, a)
    print(name, "by backward", ours.round(9).tolist())
    print("   numerically", measured.round(9).tolist())
assert np.allclose(dx, numerical_gradient(lambda x: (dout * forward(x)[0]).sum(), x))
assert np.allclose(dr, numerical_gradient(lambda r: (dout * (x * r)).sum(), r))
assert np.allclose(ds, numerical_gradient(lambda s: (dout * (x / s)).sum(), s))
assert np.allclose(dx[0], [5 / 8, -3 / 8, -3 / 8])

# %% [markdown]
# ## Simplified
#
# Put the parts together: dx = dout r − r² Σ_c dout_c x_c. Both terms have a factor r. Take it out; what is x r, which
# then stands in the sum? Write dx in one line, with r and out alone.


# %% derive: backward(dout, forward(x)[1])
def backward(dout, cache):
    x, r, out = cache
    dx = r * (dout - (dout * out).sum(axis=-1, keepdims=True))  # (N, C)
    return dx


# %% [markdown]
# dx = r (dout − Σ dout · out). On paper, in the first row: Σ dout · out = 3, and dx = (8 − 3, −3, −3) / 8. So x need
# not be kept at all. Lesson 6 will meet these lines again, in the middle of something larger.

# %%
in_one_line = backward(dout, forward(x)[1])
print("in one line, the same:", np.allclose(in_one_line, dx))
assert np.allclose(backward(dout, forward(x)[1]), dx)

# %% [markdown]
# ## Why dout = ones lies
#
# The easiest `dout` is 1 everywhere: differentiate `out.sum()`. Let us hand the check some wrong backward passes. A
# layer with a mistake put in on purpose is called a *mutant*. A check is worth what it catches of them. There are
# five below. With ones, which of them will get through? (How far does `out.sum()` move, when a count does?)


# %%
def sum_of(rows):
    return rows.sum(axis=-1, keepdims=True)


BACKWARDS = {
    "right": lambda dout, r, out: r * (dout - sum_of(dout * out)),
    "zeros": lambda dout, r, out: 0 * dout,
    "sign": lambda dout, r, out: -r * (dout - sum_of(dout * out)),
    "r forgotten": lambda dout, r, out: dout - sum_of(dout * out),
    "sum taken for constant": lambda dout, r, out: r * dout,
    "sum over the wrong axis": lambda dout, r, out: r * (dout - (dout * out).sum(axis=0)),
}


def compare(x, dout):
    """Of each: its name, what it says, and what numerical differences say."""
    _, (_, r, out) = forward(x)
    numerical = numerical_gradient(lambda x: (dout * forward(x)[0]).sum(), x)
    return [(name, f(dout, r, out), numerical) for name, f in BACKWARDS.items()]


# %%
rng = np.random.default_rng(4)
x = rng.uniform(1, 5, (4, 6))
ones, random = np.ones((4, 6)), rng.standard_normal((4, 6))
print("largest difference           dout = ones   random dout")
for one, other in zip(compare(x, ones), compare(x, random), strict=True):
    off = [np.abs(ours - measured).max() for _, ours, measured in (one, other)]
    print(f"    {one[0]:<24} {off[0]:>11.0e} {off[1]:>13.0e}")
assert {name for name, a, n in compare(x, ones) if not np.allclose(a, n, atol=1e-6)} == {
    "sum taken for constant", "sum over the wrong axis"
}  # fmt: skip
assert all(np.allclose(a, n, atol=1e-6) == (name == "right") for name, a, n in compare(x, random))

# %% [markdown]
# With ones, three wrong layers cannot be told from the right one. Shares always add up to 1, so `out.sum()` does not
# move at all: the true gradient is zero, and any multiple of zero passes. The softmax of lesson 6 and the LayerNorm
# of lesson 7 have the same property. A random `dout` has no such blind spot, except by an accident of probability
# zero.
#
# ## Relative error, and why not absolute
#
# What is a small difference? Many tests say 1e-4. But that number has a unit, that of the gradient. Give the layer
# larger counts, and its gradient becomes small, for r is one over their sum. Then nearly everything is within 1e-4.
# Give it a `dout` in other units, and the right one is no longer.
#
# The relative error has no unit: ‖a − n‖ / max(‖a‖, ‖n‖), where a is what backward says, n what the numerical
# gradient says, and ‖·‖ the root of the sum of squares over the whole array.


# %%
def relative(a, n):
    return np.linalg.norm(a - n) / max(np.linalg.norm(a), np.linalg.norm(n))


for title, x_now, dout_now in (
    ("counts near 30,000", 1e4 * x, random),
    ("dout of 1e8", x, 1e8 * random),
):
    print(f"{title:<28} absolute 1e-4   relative error")
    for name, a, n in compare(x_now, dout_now):
        absolute = "passes" if np.abs(a - n).max() <= 1e-4 else "fails"
        print(f"    {name:<24} {absolute:<15} {relative(a, n):.0e}")
assert all(
    relative(a, n) < 1e-5 if name == "right" else relative(a, n) > 0.1
    for name, a, n in [*compare(1e4 * x, random), *compare(x, 1e8 * random)]
)

# %% [markdown]
# The relative error of the right one, a few millionths at most, and those of the wrong ones, a tenth or more, leave a
# wide gap to put a tolerance in. It is less good for large counts, because the same h is then a very small step:
# where x is large, the engine takes h in proportion to it. One thing the relative error cannot do. Where the true
# gradient is zero it compares rounding with rounding, and the right answer looks wholly wrong:

# %%
_, a, n = compare(x, ones)[0]
print(f"norms of the right one {np.linalg.norm(a):.0e}", end=" ")
print(f"and of the numerical {np.linalg.norm(n):.0e}")
print(f"relative error {relative(a, n):.1f}")
assert relative(a, n) > 0.5

# %% [markdown]
# So the divisor needs a floor: what rounding alone may make of a zero. The engine's `gradient_check` has all of this,
# with five points and a random `dout`. It takes forward, backward and the inputs by name, and prints a row for each
# gradient. In "r forgotten" nothing is missing but a factor, and it shows:

# %%
print(gradient_check(forward, backward, {"x": x}))
assert gradient_check(forward, backward, {"x": x}).passed


def r_forgotten(dout, cache):
    x, r, out = cache
    return BACKWARDS["r forgotten"](dout, r, out)


print(gradient_check(forward, r_forgotten, {"x": x}))
assert not gradient_check(forward, r_forgotten, {"x": x}).passed

# %% [markdown]
# ## A library of wrong layers
#
# `tinygpt/gradcheck/layers/` holds the mistakes people make, for every layer of a GPT, each as the few words of the
# source that it changes. For instance, in the linear layer of the next lesson:

# %%
mutant = find("linear", "db_mean")
print(mutant.says)
print("   ".join(f"{old}  becomes  {new}" for old, new in mutant.edits))
wrong_forward = [m for m in MUTANTS if m.family == "forward"]
print(f"{len(MUTANTS)} mutants, {len(wrong_forward)} with a wrong forward")

# %% [markdown]
# What do two usual habits of checking let through, for four layers of the lessons to come? They are run here, on the
# same inputs as the engine's own check. Named are the wrong backward passes that get through; the others are wrong
# forwards, about which more below.

# %%
for name, usual in USUAL_CHECKS.items():
    print(f"{name}: {usual.says}")
print(f"\n{'':<15}        mutants that get through")
print(f"{'':<15}mutants   the engine's   atol 1e-4   one index")
forwards, backwards, survivors = [], [], 0
for layer in ("embedding", "linear", "softmax", "cross_entropy"):
    found = list(verdicts(layer))
    engines = sum(not v.killed for v in found)
    usual = [sum(v.passes[name] for v in found) for name in USUAL_CHECKS]
    print(f"{layer:<15}{len(found):>7}{engines:>15}", end="")
    print("".join(f"{passed:>12.1f}" for passed in usual))
    survivors += engines
    for v in found:
        if v.mutant.family == "forward":
            forwards.append(set(v.passes.values()) == {1})
        elif v.passes["atol 1e-4"] == 1:
            backwards.append(f"{layer}: {v.mutant.says}")
print("\nwrong backwards that get through the first habit:")
print("\n".join(fill(says, 76, subsequent_indent="    ") for says in backwards))
print(f"\nwrong forwards that survive both: {sum(forwards)} of {len(forwards)}")
assert not survivors
assert sum(forwards) > 0.6 * len(forwards)

# %% [markdown]
# The tenths come from the second habit's luck: it looks at one random entry, and was given ten draws.
#
# Most mutants with a wrong forward survive both habits, for a reason that is worth keeping in mind. They bring their
# own derivative. A gradient check says that backward is the derivative of *this* forward, not that this forward is
# what you wanted. Against that there is only a definition to compare with, and when you ask
# `python -m lessons check`, that comes first.

# %% [markdown]
# ## What it costs
#
# For one row of C counts: forward is C − 1 additions, one division and C products, about 2C operations. Backward is
# about 4C. Numerical differences run forward twice for each entry, which is 2C · 2C.
#
# ```
#                    operations        C = 1,000       memory beside x
# backward              4C                 4,000       the cache
# numerical             4C²            4,000,000       one gradient
# ```
#
# So the numerical gradient is for proving things, on small arrays. (On the page of one training step a whole GPT of
# eight channels is nudged so, number by number: [a weight](step.html#h.0.mlp.c_fc.weight[0,5]), or
# [a number on the way](step.html#h.0.mlp.c_fc/out[2,5]).) For large ones there is a way between: move all
# entries at once along one random direction u. What comes out is one number, gradient · u, for two evaluations,
# however many entries there are. `tinygpt gradcheck gpt2` does this for each of the parameter arrays of GPT-2.

# %%
stated("1,000", 1000)
stated("4,000", 4 * 1000)
stated("4,000,000", 4 * 1000**2)
gradient = backward(random, forward(x)[1])
u = rng.standard_normal(x.shape)
above = (random * forward(x + 1e-5 * u)[0]).sum()
below = (random * forward(x - 1e-5 * u)[0]).sum()
along = (above - below) / 2e-5
print(f"gradient · u     {(gradient * u).sum():.9f}")
print(f"measured along u {along:.9f}")
assert np.isclose((gradient * u).sum(), along)

# %% [markdown]
# ## Questions to think about
#
# 1. f(x) = x, and x is 10⁹, or 10¹². What does your `numerical_gradient` say of it, with h = 1e-5? What would you do
#    about it?
# 2. Your check reports a relative error of 1e-7, where it usually reports 1e-11. How do you find out whether it is
#    the derivative or the check?
# 3. A gradient of ten thousand entries is right but for one, which is off by a tenth of itself. Does the relative
#    error of the whole see it? Does a random direction? What would a tolerance of 1e-2 say?
#
# Answers: `python -m lessons answers 4`
#
# ## To read on
#
# - Fornberg's paper above: weights for any points and any derivative, in a page of code.
# - Baydin, Pearlmutter, Radul, Siskind: "Automatic differentiation in machine learning: a survey", 2015,
#   arXiv:1502.05767. Sections 2 and 3 say what numerical and symbolic derivatives are, and what automatic ones are
#   instead.
# - `tinygpt/gradcheck/numerical.py`, then `differences.py`, the same with more care, and `layers/`.

# %% [markdown]
# ## Answers
#
# **1. Large x.** A float64 near 10¹² has a neighbour every 1.2e-4, so x + 1e-5 is x again, and the difference is 0.
# Near 10⁹ the neighbours are 1.2e-7 apart, and the two steps are rounded to them. A step in proportion to x helps,
# best the power of two nearest to x / 65,536, so that x + h is exact.

# %%
import numpy as np
from kit import stated

from tinygpt.gradcheck import numerical_gradient

for size in (1e9, 1e12):
    estimate = numerical_gradient(lambda x: float(x), np.array(size))
    h = 2.0 ** np.round(np.log2(size / 65_536))
    better = numerical_gradient(lambda x: float(x), np.array(size), h)
    print(f"{size:.0e}, neighbours {np.spacing(size):.1e} apart:", end=" ")
    print(f"h = 1e-5 says {estimate:.4f}, h in proportion {better:.4f}")
stated("1.2e-4", np.spacing(1e12))
stated("1.2e-7", np.spacing(1e9))

# %% [markdown]
# **2. An error of 1e-7.** Change h. The formula's error falls with h², rounding's rises with 1/h, and a mistake stays
# where it is.
#
# **3. One entry of ten thousand, off by a tenth of itself.** If the entries are alike, the gradient's norm is 100
# times one entry, so the relative error is about 0.1 / 100, one thousandth. A random direction sees as much, more or
# less. A tolerance of 1e-2 lets it pass. One of 1e-9 does not, and the check by entries also says which one it is.

# %%
import numpy as np
from kit import stated

rng = np.random.default_rng(5)
right, u = np.ones(10_000), rng.standard_normal(10_000)
wrong = right.copy()
wrong[0] *= 1.1
norm = np.linalg.norm
print(f"relative error of the whole {norm(wrong - right) / norm(wrong):.1e}")
print(f"along a direction           {abs((wrong - right) @ u) / norm(wrong):.1e}")
stated("100", np.linalg.norm(right))

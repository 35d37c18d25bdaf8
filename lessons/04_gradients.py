# %% [markdown]
# # 4. Proving a gradient
#
# Every layer of the coming lessons is two functions: one computes something, the other its derivative. The second
# is derived on paper, and mistakes are made there. Such a mistake raises no error: the array that comes back has
# the right shape, and often about the right size.
#
# **Somebody hands you a function and says that it is the derivative of another one. How would you find out whether
# that is true, without deriving anything yourself?** And when your test says yes, what would it have let through?

# %%
from collections import Counter, defaultdict

import numpy as np
from kit import TEXT, plot, stated

from tinygpt.gradcheck import gradient_check, numerical_gradient
from tinygpt.gradcheck.measure import USUAL_CHECKS, verdicts
from tinygpt.gradcheck.mutants import MUTANTS, find

# %% [markdown]
# ## Last lesson's questions
#
# **1.** ln 50,257 = 10.82 is the loss of a model that knows nothing and says so, every token being equally likely.
# So it is right at the start, and no more than that. A loss of 13 is worse than knowing nothing: the model is
# certain of something before it has seen anything, and wrong. Its first numbers are too large.
#
# **2.** Neither is known to be better, since a token is not a character. Divide by the characters that a token
# stands for. With 2.5 of them to a token, 4 nats per token are 1.6 per character, and the second model is better
# than the first. At fewer than 2 it would be the worse one. The engine prints bits per character for this reason.
#
# **3.** Look at the page of the shorter context, which has more marks. So do not lay the same coin on every
# character, but share out a purse of coins as the shorter context would, which does the same with a still shorter
# one. With 5 coins and three characters of context that comes to 1.84, where the same coin for all, α = 0.1, had
# 2.02 at its best. The idea goes back to Jelinek and Mercer (1980). It takes the edge off the white pages. It still
# does not know that a ship is like a boat.

# %%
stated("10.82", np.log(50_257))
stated("1.6", 4 / 2.5)

cut, V = int(0.9 * len(TEXT)), len(set(TEXT))
pages = defaultdict(Counter)
for t in range(cut):
    for k in range(min(t, 5) + 1):
        pages[TEXT[t - k : t]][TEXT[t]] += 1


def shared_out(context, character, coins=5):
    """P(character | context), the coins laid as the context shorter by one would lay them."""
    shorter = shared_out(context[1:], character, coins) if context else 1 / V
    page = pages.get(context, Counter())
    return (page[character] + coins * shorter) / (page.total() + coins)


same = [
    (pages[TEXT[t - 2 : t]][TEXT[t]] + 0.1) / (pages[TEXT[t - 2 : t]].total() + 0.1 * V)
    for t in range(cut + 2, len(TEXT))
]
stated("2.02", -np.mean(np.log(same)))
losses = [-np.mean([np.log(shared_out(TEXT[t - k : t], TEXT[t])) for t in range(cut + k, len(TEXT))]) for k in range(6)]
print("validation loss by characters of context:", "  ".join(f"{k}: {loss:.2f}" for k, loss in enumerate(losses)))
stated("1.84", losses[3])

# %% [markdown]
# ## On paper
#
# The derivative says how far the value of a function moves when its argument moves a little. So move it a little,
# and look. Take f(x) = x³ at x = 2, where the derivative is 3x² = 12, and a step of h = 0.1:
#
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


print("one-sided", round(one_sided(cube, 2, 0.1), 6), "  central", round(central(cube, 2, 0.1), 6))
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
# h⁴/30 times the fifth derivative is left (Fornberg, "Generation of finite difference formulas on arbitrarily
# spaced grids", Mathematics of Computation 51, 1988):
#
# ```
# (8 (f(x + h) − f(x − h)) − (f(x + 2h) − f(x − 2h))) / 12h
# ```
#
# A cube has no fifth derivative, so five points give exactly 12, whatever h is.


# %%
def five_points(f, x, h):
    return (8 * (f(x + h) - f(x - h)) - (f(x + 2 * h) - f(x - 2 * h))) / (12 * h)


for h in (1, 0.5, 0.1):
    print(f"h = {h:<4} one-sided {one_sided(cube, 2, h):.4f}  central {central(cube, 2, h):.4f}", end="")
    print(f"  five points {five_points(cube, 2, h):.4f}")
    assert np.isclose(five_points(cube, 2, h), 12)

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
# The first part falls with h and the second rises. Between them lies a valley, whose floor is where both are equal:
# at h of about ε^(1/3), with an error of about ε^(2/3). For one side only it lies at ε^(1/2), for five points at
# ε^(1/5). Here it is, for f(x) = exp(sin x) at x = 1:


# %%
def f(x):
    return np.exp(np.sin(x))


true = np.cos(1.0) * f(1.0)
eps = np.finfo(np.float64).eps
stated("2.2e-16", eps)
steps = 10.0 ** np.arange(-13, 0.1, 0.125)
with plot("valley") as axes:
    for rule, power in ((one_sided, 1 / 2), (central, 1 / 3), (five_points, 1 / 5)):
        name = rule.__name__.replace("_", " ")
        errors = np.array([abs(rule(f, 1.0, h) - true) / true for h in steps])
        axes.loglog(steps, np.maximum(errors, 1e-16), label=name)
        near = errors[np.abs(np.log10(steps / eps**power)) < 0.5].max()
        print(f"{name:<11} valley near h = {eps**power:.0e}   worst error within a factor of 3 of it: {near:.0e}")
        assert near < 100 * eps ** (1 - power)
    single = np.float32
    errors = [abs(central(f, single(1), single(h)) - true) / true for h in steps[steps > 1e-6]]
    axes.loglog(steps[steps > 1e-6], np.maximum(errors, 1e-16), "--", color="grey", label="central, float32")
    print(f"float32     at its best: {min(errors):.0e}")
    assert min(errors) < 1e-4
    axes.set(xlabel="step h", ylabel="relative error of the derivative")
    axes.legend(frameon=False)

# %% [markdown]
# The left flanks are ragged because rounding is, and the right ones are straight: their slopes are 1, 2 and 4, the
# powers of h. The dashed line is the central difference in float32, which networks are trained in. At its best it
# is right to five digits or so. That is why gradients are checked in float64, whatever they are later computed in.
#
# A wrong derivative has no valley: it is as wrong at one h as at another. Where you are in doubt, change h and
# look.

# %%
for h in (1e-2, 1e-3, 1e-4, 1e-5):
    right, wrong = true, 1.001 * true
    measured = central(f, 1.0, h)
    print(f"h = {h:.0e}   right one is off by {abs(measured - right):.0e}   wrong one by {abs(measured - wrong):.0e}")

# %% [markdown]
# ## Many numbers
#
# Layers take arrays. The gradient of a number with respect to an array has the array's shape: each entry says what
# moving that one entry does, while all others stay where they are. So move them one at a time. For g(x) = x₀² x₁ +
# x₂ at (3, 2, 5), on paper: (2 x₀ x₁, x₀², 1) = (12, 9, 1).


# %%
def g(x):
    return x[0] ** 2 * x[1] + x[2]


x = np.array([3.0, 2, 5])
for unit in np.eye(3):  # (1, 0, 0), (0, 1, 0), (0, 0, 1)
    print(unit, (g(x + 1e-5 * unit) - g(x - 1e-5 * unit)) / 2e-5)
print("the engine's:", numerical_gradient(g, x))
assert np.allclose(numerical_gradient(g, x), [12, 9, 1])

# %% [markdown]
# And a layer gives back an array too. It does not know what will be made of its output, only that in the end there
# is one number, the loss, and that it will be told `dout`: the derivative of the loss with respect to each entry of
# `out`. A small change of out changes the loss by Σ dout · (change of out). So, for the derivative, the loss may as
# well be Σ dout · out. That is a number: choose any `dout`, and differentiate it.
#
# Here is a layer to try it on, which lesson 3 used without calling it one: a row of counts becomes shares of their
# sum.
#
# ```
# s    = Σ x        ds = −dr r²      dx += ds (spread over the row: second part)
# r    = 1 / s      dr = Σ dout x
# outᵢ = xᵢ r       dx = dout r      (first part)
# ```
#
# Read it from the last line up: backward walks forward's lines in reverse. x is used twice, so dx has two parts.
# With x r = out they become one line, dx = r (dout − Σ dout · out). On paper, for x = (1, 3, 4) and dout = (8, 0,
# 0): s = 8, out = (1/8, 3/8, 4/8), Σ dout · out = 1, and dx = (8 − 1, −1, −1) / 8.


# %%
def forward(x):
    r = 1 / x.sum(axis=-1, keepdims=True)  # (N, C) -> (N, 1)
    out = x * r  # (N, C)
    return out, (r, out)


def backward(dout, cache):
    r, out = cache
    return r * (dout - (dout * out).sum(axis=-1, keepdims=True))  # (N, C)


x, dout = np.array([[1.0, 3, 4]]), np.array([[8.0, 0, 0]])
print("backward   ", backward(dout, forward(x)[1]))
print("numerically", numerical_gradient(lambda x: (dout * forward(x)[0]).sum(), x))
assert np.allclose(backward(dout, forward(x)[1]), [[7 / 8, -1 / 8, -1 / 8]])

# %% [markdown]
# ## Why dout = ones lies
#
# The easiest `dout` is 1 everywhere: differentiate `out.sum()`. Let us hand the check some wrong backward passes. A
# layer with a mistake put in on purpose is called a *mutant*. A check is worth what it catches of them.

# %%
MISTAKES = {
    "right": lambda dout, r, out: r * (dout - (dout * out).sum(axis=-1, keepdims=True)),
    "zeros": lambda dout, r, out: 0 * dout,
    "sign": lambda dout, r, out: -r * (dout - (dout * out).sum(axis=-1, keepdims=True)),
    "r forgotten": lambda dout, r, out: dout - (dout * out).sum(axis=-1, keepdims=True),
    "sum taken for constant": lambda dout, r, out: r * dout,
    "sum over the wrong axis": lambda dout, r, out: r * (dout - (dout * out).sum(axis=0)),
}


def compare(x, dout):
    """Both sides of each of MISTAKES: its name, what it says, and what numerical differences say."""
    _, cache = forward(x)
    numerical = numerical_gradient(lambda x: (dout * forward(x)[0]).sum(), x)
    return [(name, wrong(dout, *cache), numerical) for name, wrong in MISTAKES.items()]


rng = np.random.default_rng(4)
x = rng.uniform(1, 5, (4, 6))
random = rng.standard_normal((4, 6))
for (name, a, n), (_, b, m) in zip(compare(x, np.ones((4, 6))), compare(x, random), strict=True):
    off = f"with ones {np.abs(a - n).max():.0e}   with random dout {np.abs(b - m).max():.0e}"
    print(f"{name:<24} largest difference {off}")

# %% [markdown]
# With ones, three wrong layers cannot be told from the right one. Shares always add up to 1, so `out.sum()` does
# not move at all: the true gradient is zero, and any multiple of zero passes. The softmax of lesson 6 and the
# LayerNorm of lesson 7 have the same property. A random `dout` has no such blind spot, except by an accident of
# probability zero.

# %%
caught = {name for name, a, n in compare(x, np.ones((4, 6))) if not np.allclose(a, n, atol=1e-6)}
assert caught == {"sum taken for constant", "sum over the wrong axis"}
assert all(np.allclose(a, n, atol=1e-6) == (name == "right") for name, a, n in compare(x, random))

# %% [markdown]
# ## Relative error, and why not absolute
#
# What is a small difference? Many tests say 1e-4. But that number has a unit, that of the gradient. Give the layer
# larger counts, and its gradient becomes small, for r is one over their sum. Then nearly everything is within 1e-4.
# Give it a `dout` in other units, and the right one is no longer.
#
# The relative error has no unit: ‖a − n‖ / max(‖a‖, ‖n‖), with ‖·‖ the root of the sum of squares over the whole
# array.


# %%
def relative(a, n):
    return np.linalg.norm(a - n) / max(np.linalg.norm(a), np.linalg.norm(n))


for title, x_now, dout_now in (("counts near 30,000", 1e4 * x, random), ("dout of 1e8", x, 1e8 * random)):
    print(title)
    for name, a, n in compare(x_now, dout_now):
        absolute = "passes" if np.abs(a - n).max() <= 1e-4 else "fails"
        print(f"    {name:<24} absolute 1e-4: {absolute:<7} relative error {relative(a, n):.0e}")
        assert relative(a, n) < 1e-5 if name == "right" else relative(a, n) > 0.1

# %% [markdown]
# The relative error of the right one, a few millionths at most, and those of the wrong ones, a tenth or more, leave
# a wide gap to put a tolerance in. It is less good for large counts, because the same h is then a very small step:
# where x is large, the engine takes h in proportion to it. One thing the relative error cannot do. Where the true
# gradient is zero it compares rounding with rounding, and the right answer looks wholly wrong:

# %%
_, a, n = compare(x, np.ones((4, 6)))[0]
print(f"right one: norms {np.linalg.norm(a):.0e} and {np.linalg.norm(n):.0e}, relative error {relative(a, n):.1f}")
assert relative(a, n) > 0.5

# %% [markdown]
# So the divisor needs a floor: what rounding alone may make of a zero. The engine's `gradient_check` has all of
# this, with five points and a random `dout`. It takes forward, backward and the inputs by name, and prints a row
# for each gradient. In "r forgotten" nothing is missing but a factor, and it shows:

# %%
print(gradient_check(forward, backward, {"x": x}))
assert gradient_check(forward, backward, {"x": x}).passed
report = gradient_check(forward, lambda dout, cache: MISTAKES["r forgotten"](dout, *cache), {"x": x})
print(report)
assert not report.passed

# %% [markdown]
# ## A library of wrong layers
#
# `tinygpt/gradcheck/layers/` holds the mistakes people make, for every layer of a GPT, each as the few words of the
# source that it changes. For instance, in the linear layer of the next lesson:

# %%
mutant = find("linear", "db_mean")
print(mutant.says)
print("   ".join(f"{old}  becomes  {new}" for old, new in mutant.edits))
print(f"{len(MUTANTS)} mutants, {sum(m.family == 'forward' for m in MUTANTS)} of them with a wrong forward")

# %% [markdown]
# What do two usual habits of checking let through, for the layers of the next two lessons? They are run here, on
# the same inputs as the engine's own check. Named are the wrong backward passes that get through; the others are
# wrong forwards, about which more below.

# %%
for name, usual in USUAL_CHECKS.items():
    print(f"{name}: {usual.says}")
forwards: list[bool] = []
print(f"\n{'':<15}mutants   survive the check   survive {'   '.join(USUAL_CHECKS)}")
for layer in ("embedding", "linear", "softmax", "cross_entropy"):
    found = list(verdicts(layer))
    passed = "".join(f"{sum(v.passes[name] for v in found):>12.1f}" for name in USUAL_CHECKS)
    print(f"{layer:<15}{len(found):>7}{sum(not v.killed for v in found):>20}{passed:>27}")
    assert all(v.killed for v in found)
    for v in found:
        if v.passes["atol 1e-4"] == 1 and v.mutant.family != "forward":
            print(f"    survives the first habit: {v.mutant.says}")
    forwards += [set(v.passes.values()) == {1} for v in found if v.mutant.family == "forward"]
print(f"wrong forwards that survive both habits: {sum(forwards)} of {len(forwards)}")
assert sum(forwards) > 0.6 * len(forwards)

# %% [markdown]
# The tenths come from the second habit's luck: it looks at one random entry, and was given ten draws.
#
# Most mutants with a wrong forward survive both habits, for a reason that is worth keeping in mind. They bring their
# own derivative. A gradient check says that backward is the derivative of *this* forward, not that this forward is
# what you wanted. Against that there is only a definition to compare with, and when you ask
# `python -m lessons check`, that comes first.
#
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
# So the numerical gradient is for proving things, on small arrays. For large ones there is a way between: move all
# entries at once along one random direction u. What comes out is one number, gradient · u, for two evaluations,
# however many entries there are. `tinygpt gradcheck gpt2` does this for each of the parameter arrays of GPT-2.

# %%
C = 1000
stated("1,000", C)
stated("4,000", 4 * C)
stated("4,000,000", 4 * C**2)
gradient = backward(random, forward(x)[1])
u = rng.standard_normal(x.shape)
along = ((random * forward(x + 1e-5 * u)[0]).sum() - (random * forward(x - 1e-5 * u)[0]).sum()) / 2e-5
print(f"gradient · u {(gradient * u).sum():.9f}   measured along u {along:.9f}")
assert np.isclose((gradient * u).sum(), along)

# %% [markdown]
# ## Your turn: numerical_gradient
#
# ```
# python -m lessons start 4        writes lessons/work/numerical_gradient.py
# python -m lessons check 4        holds it against the engine's, then looks at x
# python -m lessons hint 4         if you are stuck
# ```
#
# Write `numerical_gradient(f, x, h)` by central differences. What the code above does not do: x may have any shape,
# () included. It is moved in place, one entry at a time, with no copy of the whole array. And afterwards every
# entry is what it was, to the last bit. Adding h, taking 2h away and adding h again does not always do that:

# %%
entry = 0.1
print("put back by adding:", entry + 1e-5 - 2e-5 + 1e-5 == entry)

# %% [markdown]
# This one is yours to keep. Once it is right, `check` asks it for a second opinion on every layer that you write,
# beside the engine's five points: your own layers, proved by your own proof.
#
# ## Questions to think about
#
# 1. f(x) = x, and x is 10⁹, or 10¹². What does your `numerical_gradient` say of it, with h = 1e-5? What would you
#    do about it?
# 2. Your check reports a relative error of 1e-7, where it usually reports 1e-11. How do you find out whether it is
#    the derivative or the check?
# 3. A gradient of ten thousand entries is right but for one, which is off by a tenth of itself. Does the relative
#    error of the whole see it? Does a random direction? What would a tolerance of 1e-2 say?
#
# They are answered at the beginning of lesson 5.
#
# ## To read on
#
# - Fornberg's paper above: weights for any points and any derivative, in a page of code.
# - Baydin, Pearlmutter, Radul, Siskind: "Automatic differentiation in machine learning: a survey", 2015,
#   arXiv:1502.05767. Sections 2 and 3 say what numerical and symbolic derivatives are, and what automatic ones are
#   instead.
# - `tinygpt/gradcheck/numerical.py`, then `differences.py`, the same with more care, and `layers/`.

# %% [markdown]
# # 6. Softmax and cross-entropy
#
# *50 minutes*
#
# In lesson 5 a closed box stood at the end of the network. It took logits, which may be any numbers, and made of them
# the loss, the mean of −ln P(target). Somewhere inside, logits must become probabilities: all positive, with sum 1.
#
# **How do you make probabilities of any numbers at all, and what is the derivative of the loss that follows?** There
# are exponentials in it, a division by a sum, and a logarithm, and yet hardly anything is left of it all. Why? And
# what becomes of exp(1000)?

# %%
import sys

import numpy as np

import tinygpt

sys.path += [f"{tinygpt.__path__[0]}/../lessons"]  # where kit is, whatever folder a notebook runs in
from kit import TEXT, plot, stated

from tinygpt.gradcheck import check_layer, diagnose, gradient_check, numerical_gradient
from tinygpt.gradcheck.mutants import find
from tinygpt.layers import cross_entropy

# %% [markdown]
# ## On paper
#
# Take the logits z = (ln 1, ln 2, ln 5). To make them positive, take exp: 1, 2, 5. To make their sum 1, divide by it.
# This is *softmax*:
#
# ```
# z            ln 1    ln 2    ln 5
# exp z          1       2       5            sum 8
# p            1/8     2/8     5/8            sum 1
# ```
#
# The loss is lesson 3's, −ln p of the target. What is it, if the target is the second one? And say of each of the
# three logits: if it were a little larger, would the loss rise or fall?

# %%
z, t = np.log([1.0, 2, 5]), 1
p = np.exp(z) / np.exp(z).sum()
print("p       ", p)
print("loss    ", -np.log(p[t]))
assert np.allclose(p, [1 / 8, 2 / 8, 5 / 8])
stated("1.386", -np.log(p[t]))

# %% [markdown]
# The loss is −ln(2/8) = ln 4 = 1.386. It falls if the target's logit rises, and rises with both others.
#
# ## The formula
#
# ```
# p_i = exp(z_i) / Σ_k exp(z_k)       softmax (the name is Bridle's, 1990)
# L   = −ln p_t                       cross-entropy, for the target t
# ```
#
# One sign more will be of use: a bracket round an equation is 1 where it holds, and 0 where it does not. So [i = j]
# is 1 if i and j are the same, and 0 if not. As i runs over the tokens, [i = t] is the target's one-hot row, lesson
# 5's; in code, `onehot`.
#
# ## Backward, one line at a time
#
# What is the gradient of L with respect to the logits? Forward in small steps, each a thing of lessons 1 to 5:
#
# ```
# e = exp(z)       e_i = exp(z_i)                                   (V,)
# S = Σ_k e_k                                                       ()
# p = e / S        p_i = e_i / S      lesson 4's shares of a sum    (V,)
# L = −ln p_t      = −Σ_i [i = t] ln p_i                            ()
# ```

# %%
onehot = np.eye(3)[t]
e = np.exp(z)
S = e.sum()
print("[i = t]", onehot, "  e", e, f"  S {S:.0f}")

# %% [markdown]
# From calculus: ln p has the slope 1/p, exp(z) has the slope exp(z), and e/S has the slope 1/S by e and −e/S² by S.
# Walk back from L, which is the loss itself, so that nothing comes back to it but 1. Which name is spread forward,
# and so summed over backward? Which one is used in two lines? Write dp; then dS; then de, its first part from the
# line of p, and with the second part from the line of S; then dz. dp, de and dz are (V,), dS is ().


# %% derive: long_backward(onehot, e, S, p)
def long_backward(onehot, e, S, p):
    dp = -onehot / p  # L = −Σ [i = t] ln p_i
    dS = -(dp * e).sum() / S**2  # p = e / S, where S was spread over all
    de = dp / S  # p = e / S, first part
    de = de + dS  # S = Σ e, second part, spread
    dz = de * e  # e = exp(z)
    return dz


# %% [markdown]
# ```
# L = −Σ_i [i = t] ln p_i     dp_i = −[i = t] / p_i
# p_i = e_i / S               dS   = −Σ_i dp_i e_i / S²
#                             de_i = dp_i / S             first part
# S = Σ_k e_k                 de_i = de_i + dS            second part
# e_i = exp(z_i)              dz_i = de_i e_i
#
# on paper, e = (1, 2, 5), S = 8:
# dp = (0, −4, 0)      dS = 4 · 2 / 64 = 1/8
# de = (1/8, −3/8, 1/8)                  dz = (1/8, −6/8, 5/8)
# ```
#
# Is it right? And lay dz beside p, which is (1/8, 2/8, 5/8). What has happened?

# %%
dz = long_backward(onehot, e, S, p)
print("dz         ", dz)
print("numerically", numerical_gradient(lambda z: -np.log(np.exp(z) / np.exp(z).sum())[t], z))
print("p          ", p)
assert np.allclose(dz, [1 / 8, -6 / 8, 5 / 8])
assert np.allclose(dz, numerical_gradient(lambda z: -np.log(np.exp(z) / np.exp(z).sum())[t], z))

# %% [markdown]
# ## Simplified
#
# Five lines, and so little is left. That is no accident: the logarithm undoes the exponential. Put the two together
# before differentiating:
#
# ```
# L = −ln (exp(z_t) / Σ_k exp(z_k))
#   = ln Σ_k exp(z_k) − z_t
# ```
#
# Differentiate these two terms by z_i. The first one, called *log-sum-exp*, is a logarithm of a sum of exponentials:
# what is its slope, in terms of p? The second one depends on z_t alone. Write dz in one line, with p and onehot.


# %% derive: short_backward(z, onehot)
def short_backward(z, onehot):
    p = np.exp(z) / np.exp(z).sum()
    dz = p - onehot
    return dz


# %% [markdown]
# ```
# ∂L/∂z_i = exp(z_i) / Σ_k exp(z_k) − [i = t]
#         = p_i − [i = t]
# ```
#
# The gradient of log-sum-exp is the softmax, and one subtraction is left of it all. In the long way, the 1/p_t of the
# logarithm met the p_t of the softmax, and both were gone.
#
# ![The long way as a graph: from z by exp, the sum and the quotient to the loss, and back to dz, which is p minus the
# one-hot row.](../pictures/cross_entropy_graph.svg)
#
# Read the gradient as a redistribution. The wrong tokens are pushed down, each by the probability it was given, and
# the target is pushed up by what it lacks. The two add up to zero, because adding a constant to all logits changes
# nothing. And no entry is ever larger than 1, however wrong the prediction is.
#
# In a GPT's step it is two lines: [the target's p](step.html#loss/dlogits[3,9]), and
# [p − 1](step.html#loss/dlogits~2[3,9]).

# %%
print("p − [i = t]", short_backward(z, onehot))
assert np.allclose(short_backward(z, onehot), dz)

# %% [markdown]
# ## Softmax alone, as a table
#
# Where softmax is used without a logarithm behind it, as in attention (lesson 9), nothing goes away. The derivative
# of every p_j by every z_i is then a table, the *Jacobian*. z_i stands above the line in p_i alone, and below the
# line in all of them. The quotient rule:
#
# ```
# ∂p_j/∂z_i = ([i = j] e_j S − e_j e_i) / S²
#           = p_j ([i = j] − p_i)
#
# on paper:      7   −2   −5
#               −2   12  −10   / 64     the first entry is 1/8 (1 − 1/8) = 7/64
#               −5  −10   15
# ```
#
# The chain rule adds up over all j, dz_i = Σ_j dp_j ∂p_j/∂z_i. Here only dp_t is not zero, so only row t of the table
# counts: −4 · (−2, 12, −10) / 64 is (1/8, −6/8, 5/8) once more.

# %%
jacobian = np.diag(p) - np.outer(p, p)  # (V, V): p_j [i = j] − p_j p_i
measured = [numerical_gradient(lambda z, j=j: (np.exp(z) / np.exp(z).sum())[j], z) for j in range(3)]
print((64 * jacobian).round(9))
dp = np.array([0, -1 / p[t], 0])
print("dp", dp, "  dz", dp @ jacobian)
assert np.allclose(jacobian, measured)
assert np.allclose(64 * jacobian, [[7, -2, -5], [-2, 12, -10], [-5, -10, 15]])
assert np.allclose(dp @ jacobian, [1 / 8, -6 / 8, 5 / 8])

# %% [markdown]
# ## Why not the squared error?
#
# One could also ask for (1 − p_t)² to be small. With two tokens, logits (z, 0) and the first as the target, here is
# what each of the two losses tells z. Where should the pull be strongest, and where is it?

# %%
z_line = np.linspace(-10, 10, 201)
p_line = 1 / (1 + np.exp(-z_line))
with plot("losses", columns=2, size=(8, 3.4)) as (left, right):
    left.plot(z_line, -np.log(p_line), label="cross-entropy")
    left.plot(z_line, (1 - p_line) ** 2, label="squared error")
    right.plot(z_line, p_line - 1, label="cross-entropy")
    right.plot(z_line, -2 * (1 - p_line) * p_line * (1 - p_line), label="squared error")
    left.set(xlabel="logit of the target, z", ylabel="loss")
    right.set(xlabel="logit of the target, z", ylabel="gradient with respect to z")
    left.legend(frameon=False)
for at in (-10, -5, 0, 5):
    q = 1 / (1 + np.exp(-at))
    slopes = f"cross-entropy {q - 1:+.4f}, squared error {-2 * q * (1 - q) ** 2:+.4f}"
    print(f"z = {at:>3}  p = {q:.5f}  gradient: {slopes}")

# %% [markdown]
# At z = −10 the network is certain, and wrong. The squared error's gradient has the factor p, which the softmax
# brings and no logarithm removes, so it hardly pulls at all there. Cross-entropy pulls with all its strength.
#
# ## Overflow, and the maximum
#
# float64 ends near 10³⁰⁸, which is exp(709.8), and float32 at exp(88.7). Logits of 1000 are not unheard of. Then exp
# is infinite, and infinity over infinity is not a number. At the other end exp(−800) is 0, and ln 0 is −∞.
#
# What could you add to all logits, or take away from them, so that no exp overflows and no probability changes?


# %%
def naive(z, t):
    p = np.exp(z) / np.exp(z).sum()
    return -np.log(p[t])


def log_sum_exp_loss(z, t):
    shifted = z - z.max()
    return np.log(np.exp(shifted).sum()) - shifted[t]


for title, case, t in (("small", z, 1), ("plus 1000", z + 1000, 1), ("far apart", np.array([0.0, -800]), 1)):
    with np.errstate(all="ignore"):
        print(f"{title:<10} naive {naive(case, t):<20.6g} with the maximum taken away {log_sum_exp_loss(case, t):.6g}")
assert np.isclose(log_sum_exp_loss(z + 1000, 1), log_sum_exp_loss(z, 1))
assert log_sum_exp_loss(np.array([0.0, -800]), 1) == 800

apart = np.exp([0.0, -800])  # the probabilities, the second of which is 0
with np.errstate(all="ignore"):
    print("gradient, in two layers", -1 / apart[1] * apart[1] * (np.array([0, 1]) - apart), end="")
print("  in one", apart - np.array([0, 1]))
stated("709.8", np.log(np.finfo(np.float64).max))
stated("88.7", np.log(np.finfo(np.float32).max))

# %% [markdown]
# Adding the same number to every logit changes no probability, so take the largest away first. Then the largest
# exponential is exp(0) = 1, none overflows, and the sum lies between 1 and V. Those that become 0 were too small to
# count beside that 1. And the loss never takes the logarithm of a probability, only that of the sum. A probability
# too small for a float64 still has its loss, 800, and its gradient, −1 at the target.
#
# So softmax and loss belong in one layer. In two, backward divides by p_t = 0 and multiplies by it again: infinity
# times 0 is no number, as the last line shows.
#
# ## A whole batch
#
# logits is now (N, V), and so are p, the softmax of each row, and onehot:

# %%
rng = np.random.default_rng(6)
logits, targets = 2 * rng.standard_normal((5, 7)), np.array([3, 1, 0, 3, 6])
onehot = np.eye(7)[targets]  # (N,) -> (N, V)
exps = np.exp(logits - logits.max(axis=1, keepdims=True))  # (N, V) - (N, 1)
p = exps / exps.sum(axis=1, keepdims=True)  # (N, V) / (N, 1)

# %% [markdown]
# The loss of a batch of N targets is the mean of their losses, so each row's loss enters it with the factor 1/N. And
# `dout`, ∂L/∂loss, is 1 at the top of the network, but a layer keeps the contract for any. Write dlogits.


# %% derive: batch_backward(0.5, p, onehot)
def batch_backward(dout, p, onehot):
    N = len(p)
    dlogits = dout * (p - onehot) / N  # (N, V)
    return dlogits


# %%
_, engine_cache = cross_entropy.forward(logits, targets)
print("the engine's too:", np.allclose(batch_backward(0.5, p, onehot), cross_entropy.backward(0.5, engine_cache)))
print("sum of each row of dlogits:", np.abs(batch_backward(0.5, p, onehot).sum(axis=1)).max().round(12))
assert np.allclose(batch_backward(0.5, p, onehot), cross_entropy.backward(0.5, engine_cache))

# %% [markdown]
# Some targets may not count: padding behind a short text, or a question whose answer alone is to be learned. They are
# marked −1. The mean is then over those that count, N of them, and the gradient of an ignored row is zero. Row by
# row:


# %%
def forward(logits, targets):
    counted = [n for n, t in enumerate(targets) if t != -1]
    loss = sum(log_sum_exp_loss(logits[n], targets[n]) for n in counted) / len(counted)
    return np.array(loss), (logits, targets, counted)


def backward(dout, cache):
    logits, targets, counted = cache
    dlogits = np.zeros_like(logits)  # (N, V), and zero it stays where a target is ignored
    for n in counted:
        shifted = logits[n] - logits[n].max()
        dlogits[n] = np.exp(shifted) / np.exp(shifted).sum()
        dlogits[n, targets[n]] -= 1
    return dlogits * dout / len(counted)


targets = np.array([3, -1, 0, 3, 6])
report = gradient_check(forward, backward, {"logits": logits, "targets": targets})
print(report)
assert report.passed
assert np.isclose(forward(logits, targets)[0], cross_entropy.forward(logits, targets)[0])
assert np.allclose(
    backward(1.0, forward(logits, targets)[1]), cross_entropy.backward(1.0, cross_entropy.forward(logits, targets)[1])
)

# %% [markdown]
# A batch may be too large to be computed at once. Its parts must then be divided by the number of targets in the
# whole of it, not in the part. That is why the engine's forward has a third argument, `denominator`. And if no target
# counts at all, the engine's loss is 0, not 0/0. (In the step on the page
# [the 1/N](step.html#loss/scale[3]) comes last: p − [i = t] times it is
# [what the network is told](step.html#loss/dlogits~3[3,9]).)

# %%
whole, count = cross_entropy.forward(logits, targets)[0], (targets != -1).sum()
parts = [cross_entropy.forward(logits[rows], targets[rows], count) for rows in (slice(0, 2), slice(2, 5))]
print(f"whole {whole:.9f}   sum of two parts {sum(part for part, _ in parts):.9f}")
assert np.isclose(whole, sum(part for part, _ in parts))
assert cross_entropy.forward(logits, np.full(5, -1))[0] == 0

# %% [markdown]
# ## Your turn: cross_entropy
#
# ```
# python -m lessons start 6     writes lessons/work/cross_entropy.py
# python -m lessons check 6     against the definition and numerical derivatives
#                               (with --watch: after every save)
# python -m lessons hint 6      if you are stuck
# ```
#
# No loop over rows this time: all of them at once. logits may be (B, T, V) with targets (B, T). An ignored target is
# −1, which as an index would be the last token, so send it somewhere harmless and leave its loss out of the sum. Of
# rows, one entry each is `logits[np.arange(N), targets]`, the index pair of lesson 3. The loss keeps the dtype of the
# logits, float32 in, float32 out: a count from `.sum()` is an int64, and float32 divided by it becomes float64, so
# give the count the dtype first. Mind `denominator`, and the batch in which nothing counts.
#
# Once it is right, `python -m lessons run 6` computes its loss with it, and its first gradient, the one that all
# others come from. So does `python train.py --mine lessons/work`.

# %% [markdown]
# ## A number to know by heart
#
# What is the loss if all logits are equal? And if they are random, of size 0.1, 1 or 10: larger or smaller than that?

# %%
V = len(set(TEXT))
for size in (0, 0.1, 1, 10):
    random_logits = size * rng.standard_normal((2000, V))
    first, _ = cross_entropy.forward(random_logits, rng.integers(V, size=2000))
    print(f"logits of size {size:<4} loss {first:.3f}   ln V = {np.log(V):.3f}")

# %% [markdown]
# If all logits are equal, every p is 1/V and the loss is ln V. A network whose first loss is far above this is
# certain of something before it has seen anything. (Lesson 3's first question.)
#
# ## A bug on purpose
#
# The favourite one: forward takes the mean, and backward forgets the 1/N. Every gradient is N times too large, all in
# the right direction. Whoever meets it turns the learning rate down until it works, and then changes the batch size.

# %%
mean_forgotten = find("cross_entropy", "mean_forgotten").stand_in()
print(["passed" if report.passed else "WRONG" for report in check_layer("cross_entropy", mean_forgotten)])
print(diagnose("cross_entropy", mean_forgotten))

# %% [markdown]
# Another one is invisible in training: to forget `dout`. At the top of the network it is 1, so the mistake shows only
# when someone adds two losses with different weights, or scales the loss.

# %%
print(diagnose("cross_entropy", find("cross_entropy", "dout_forgotten").stand_in()))

# %% [markdown]
# ## What it costs
#
# For N targets and V tokens, forward finds a maximum, subtracts, takes exp and adds: 4NV operations, if exp is
# counted as one, though it takes longer than the other three. Backward is about as much. There are few operations for
# each number moved, so the time goes with the size of the arrays, and these are the largest in the whole model. For
# 1,024 tokens with GPT-2's vocabulary of 50,257, in float32:
#
# ```
# logits, or shifted, or dlogits    NV numbers        206 MB each
# kept for backward                 shifted, and the log of the sum for each row
# ```
#
# Backward takes exp a second time, because that is cheaper than keeping a second array of this size. Lesson 12 makes
# them smaller, by never having all of the rows at once.

# %%
stated("50,257", 256 + 50_000 + 1)  # bytes, merges, and the end of a text: lesson 2
stated("206", 1024 * 50_257 * 4 / 1e6)

# %% [markdown]
# ## Questions to think about
#
# 1. Adding the same number to all logits of a row changes nothing. What does that say about dlogits, before any
#    calculation? With V = 2, is one logit enough?
# 2. Let the target be not one token but a distribution q, with L = −Σ q_i ln p_i. What is dlogits? Where is it zero,
#    and how large is the loss there?
# 3. A batch in two halves has 25 targets that count in the first and 5 in the second. Somebody takes the mean of each
#    half, and then the mean of the two. Which tokens learn too much, and by what factor?
# 4. In lesson 5's network db is the sum of dlogits over the places. At a minimum of the loss it is zero. What does
#    that say about the predictions?
#
# Answers: `python -m lessons answers 6`
#
# ## To read on
#
# - Goodfellow, Bengio, Courville: "Deep Learning", 2016, section 4.1 on overflow, and section 6.2.2.3 on softmax as
#   the output of a network.
# - Bridle: "Probabilistic Interpretation of Feedforward Classification Network Outputs, with Relationships to
#   Statistical Pattern Recognition", 1990.
# - `tinygpt/layers/cross_entropy.py`, and `tinygpt/layers/softmax.py`, where softmax stands alone, as attention will
#   need it.

# %% [markdown]
# ## Answers
#
# **1. A constant added to all logits.** The loss does not move in that direction, so the derivative along it is zero:
# the entries of dlogits sum to zero in every row. With V = 2, only the difference of the two logits counts, and one
# number z in its place is enough: p = 1 / (1 + exp(−z)), the *sigmoid*. In general V − 1 would do. One keeps all V,
# because a rule without exceptions is simpler.
#
# **2. A distribution as the target.** L = −Σ q_i (z_i − ln Σ_k exp(z_k)) = ln Σ_k exp(z_k) − Σ q_i z_i, since the q_i
# sum to 1. So dlogits = p − q, of which the one-hot target was a special case. It is zero where p = q. The loss there
# is not zero but −Σ q_i ln q_i, the *entropy* of q: what remains uncertain even to somebody who knows q.

# %%
import numpy as np

from tinygpt.gradcheck import gradient_check

q = np.array([0.5, 0.3, 0.2])


def soft_target_loss(z):
    log_total = np.log(np.exp(z).sum())
    return np.array(log_total - (q * z).sum()), np.exp(z - log_total)


z = np.array([0.3, -1.0, 2.0])
assert gradient_check(soft_target_loss, lambda dout, p: dout * (p - q), {"z": z}).passed
assert np.isclose(soft_target_loss(np.log(q))[0], -(q * np.log(q)).sum())
print(f"loss at p = q: {soft_target_loss(np.log(q))[0]:.3f} nats, the entropy of q")
print("dlogits sums to zero:", abs((soft_target_loss(z)[1] - q).sum()) < 1e-12)

# %% [markdown]
# **3. The mean of two means.** Each of the 5 targets weighs 1/(2 · 5) where 1/30 is right, 3 times too much, and each
# of the 25 weighs 1/(2 · 25), which is 0.6 of what it should be. With `denominator` = 30 in both halves, and a sum in
# place of the mean, all weigh the same.

# %%
from kit import stated

print(f"too much by {(1 / (2 * 5)) / (1 / 30):.1f}, too little by {(1 / (2 * 25)) / (1 / 30):.1f}")
stated("3", (1 / (2 * 5)) / (1 / 30))
stated("0.6", (1 / (2 * 25)) / (1 / 30))

# %% [markdown]
# **4. db = 0.** db is the sum over the places of (p − onehot) / N, so it is the mean prediction minus the frequency
# of each target. Where it is zero, the network predicts each character as often, on average, as it occurs. Here is
# lesson 5's network of nothing but b, whose db is that difference:

# %%
import numpy as np
from kit import TEXT

V = len(set(TEXT))
ids = np.array([sorted(set(TEXT)).index(character) for character in TEXT])
frequency, b = np.bincount(ids, minlength=V) / len(ids), np.zeros(V)
for _ in range(2000):
    probabilities = np.exp(b) / np.exp(b).sum()
    b -= 10 * (probabilities - frequency)
print(f"largest difference from the frequencies {np.abs(probabilities - frequency).max():.0e}")
assert np.allclose(probabilities, frequency, atol=1e-4)

# %% [markdown]
# # 6. Softmax and cross-entropy
#
# In lesson 5 a closed box stood at the end of the network. It took logits, which may be any numbers, and made of
# them the loss, the mean of −ln P(target). Somewhere inside, logits must become probabilities: all positive, with
# sum 1.
#
# **How do you make probabilities of any numbers at all, and what is the derivative of the loss that follows?**
# There are exponentials in it, a division by a sum, and a logarithm, and yet one subtraction is left of it all.
# Why? And what becomes of exp(1000)?

# %%
import numpy as np
from kit import TEXT, plot, stated

from tinygpt.gradcheck import check_layer, diagnose, gradient_check, numerical_gradient
from tinygpt.gradcheck.mutants import find
from tinygpt.layers import cross_entropy

# %% [markdown]
# ## Last lesson's questions
#
# **1. One number for each token.** The logits of a token with number e are e w_o. Where e is positive the largest w
# wins, where it is negative the smallest: two characters, whatever e is. With a bias, e w_o + b_o is a straight
# line for each o, and another line may be on top at each e. Take w_o = o and b_o = −o²/2: on top at e is the o
# nearest to e. So all 49 can be the likeliest, though not with any probabilities one likes.

# %%
V = len(set(TEXT))
o, e = np.arange(V), np.arange(V)[:, None]  # (V,), and (V, 1): token v has the number v
without_bias, with_bias = ((e - 24.5) * o).argmax(axis=1), (e * o - o**2 / 2).argmax(axis=1)
print("without a bias:", len(set(without_bias)), "  with one:", len(set(with_bias)))
stated("49", len(set(with_bias)))

# %% [markdown]
# **2. db = 0.** db is the sum over the places of (probabilities − one-hot) / N, so it is the mean prediction minus
# the frequency of each target. Where it is zero, the network predicts each character as often, on average, as it
# occurs. A network of nothing but b ends at exactly these frequencies:

# %%
ids = np.array([sorted(set(TEXT)).index(character) for character in TEXT])
frequency, b = np.bincount(ids, minlength=V) / len(ids), np.zeros(V)
for _ in range(2000):
    probabilities = np.exp(b) / np.exp(b).sum()
    b -= 10 * (probabilities - frequency)
print(f"largest difference from the frequencies {np.abs(probabilities - frequency).max():.0e}")
assert np.allclose(probabilities, frequency, atol=1e-4)

# %% [markdown]
# **3. Both zero.** dE = Σ dlogits wᵀ is zero because w is, and dw = xᵀ dlogits is zero because x is. Neither ever
# moves. Only b learns, and the network ends at the frequencies. If only w begins at zero, dw is not zero, so w
# moves in the first step and E from the second on.

# %%
rng = np.random.default_rng(6)
for title, E in (("both zero", np.zeros((V, 4))), ("w alone", rng.standard_normal((V, 4)))):
    w = np.zeros((4, V))
    _, cache = cross_entropy.forward(E[ids[:-1]] @ w, ids[1:])
    dlogits = cross_entropy.backward(1.0, cache)
    print(f"{title:<10} E moves: {(dlogits @ w.T).any()}   w moves: {(E[ids[:-1]].T @ dlogits).any()}")

# %% [markdown]
# ## On paper
#
# Take the logits z = (ln 1, ln 2, ln 5). To make them positive, take exp: 1, 2, 5. To make their sum 1, divide by
# it. This is *softmax*:
#
# ```
# z            ln 1    ln 2    ln 5
# exp z          1       2       5            sum 8
# p            1/8     2/8     5/8            sum 1
# ```
#
# If the target is the second one, the loss is −ln(2/8) = ln 4 = 1.386. And the gradient of the loss with respect to
# z, measured:

# %%
z, target = np.log([1.0, 2, 5]), 1
p = np.exp(z) / np.exp(z).sum()
print("p       ", p)
print("loss    ", -np.log(p[target]))
print("gradient", numerical_gradient(lambda z: -np.log(np.exp(z) / np.exp(z).sum())[target], z))
print("p − 1   ", p - np.eye(3)[target], "  the 1 at the target alone")
assert np.allclose(p, [1 / 8, 2 / 8, 5 / 8])
stated("1.386", -np.log(p[target]))

# %% [markdown]
# ## The formula
#
# ```
# p_i = exp(z_i) / Σ_k exp(z_k)       softmax (the name is Bridle's, 1990)
# L   = −ln p_t                       cross-entropy, for the target t
# ∂L/∂z_j = p_j − [j = t]             [j = t] is 1 where j is t, and 0 elsewhere
# ```
#
# The last line asks to be proved, and there are two ways.
#
# ## Backward, the long way
#
# First L to p, then p to z. From L = −ln p_t:
#
# ```
# dp_t = −1 / p_t           dp_i = 0 for all other i
# ```
#
# For p to z we need the derivative of every output with respect to every input. Written as a table, that is the
# *Jacobian*. Each z_j stands above the line in p_j alone, and below the line in all of them. The quotient rule,
# with S = Σ_k exp(z_k):
#
# ```
# ∂p_i/∂z_j = ([i = j] exp(z_i) S − exp(z_i) exp(z_j)) / S²
#           = p_i ([i = j] − p_j)
#
# on paper:      7   −2   −5
#               −2   12  −10   / 64     the first entry is 1/8 (1 − 1/8) = 7/64
#               −5  −10   15
# ```
#
# The chain rule adds up over all i. But only dp_t is not zero, so only row t of the table counts:
#
# ```
# dz_j = Σ_i dp_i ∂p_i/∂z_j
#      = −1/p_t · p_t ([t = j] − p_j)
#      = p_j − [j = t]
#
# on paper: −4 · (−2, 12, −10) / 64 = (1/8, −6/8, 5/8)
# ```

# %%
jacobian = np.diag(p) - np.outer(p, p)  # (V, V): p_i [i = j] − p_i p_j
measured = [numerical_gradient(lambda z, i=i: (np.exp(z) / np.exp(z).sum())[i], z) for i in range(3)]
print((64 * jacobian).round(9))
assert np.allclose(jacobian, measured)
assert np.allclose(64 * jacobian, [[7, -2, -5], [-2, 12, -10], [-5, -10, 15]])
dp = np.array([0, -1 / p[target], 0])
print("dp", dp, "  dz", dp @ jacobian)
assert np.allclose(dp @ jacobian, [1 / 8, -6 / 8, 5 / 8])

# %% [markdown]
# ## Simplified
#
# The 1/p_t of the logarithm met the p_t of the softmax, and both were gone. That is no accident: the logarithm
# undoes the exponential. Put the two together before differentiating:
#
# ```
# L = −ln (exp(z_t) / Σ_k exp(z_k))
#   = ln Σ_k exp(z_k) − z_t
#
# ∂L/∂z_j = exp(z_j) / Σ_k exp(z_k) − [j = t]
# ```
#
# That is the second way, and it takes one line. The first term of L is called *log-sum-exp*, and its gradient is
# the softmax.
#
# Read the gradient as a redistribution. The wrong tokens are pushed down, each by the probability it was given, and
# the target is pushed up by what it lacks. The two add up to zero, because adding a constant to all logits changes
# nothing. And no entry is ever larger than 1, however wrong the prediction is.
#
# ## Why not the squared error?
#
# One could also ask for (1 − p_t)² to be small. With two tokens, logits (z, 0) and the first as the target, here is
# what each of the two losses tells z:

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
    pulls = f"cross-entropy pulls with {q - 1:+.4f}, squared error with {-2 * q * (1 - q) ** 2:+.4f}"
    print(f"z = {at:>3}   p = {q:.5f}   {pulls}")

# %% [markdown]
# At z = −10 the network is certain, and wrong. The squared error's gradient has the factor p, which the softmax
# brings and no logarithm removes, so it hardly pulls at all there. Cross-entropy pulls with all its strength.
#
# ## Overflow, and the maximum
#
# float64 ends near 10³⁰⁸, which is exp(709.8), and float32 at exp(88.7). Logits of 1000 are not unheard of. Then
# exp is infinite, and infinity over infinity is not a number. At the other end exp(−800) is 0, and ln 0 is −∞.


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
# The loss of a batch is the mean over its targets. Some may not count: padding behind a short text, or a question
# whose answer alone is to be learned. They are marked −1. The mean is over those that count, N of them, so each
# row's gradient has a factor 1/N, and an ignored row's is zero. Row by row:


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


logits, targets = 2 * rng.standard_normal((5, 7)), np.array([3, -1, 0, 3, 6])
report = gradient_check(forward, backward, {"logits": logits, "targets": targets})
print(report)
assert report.passed
loss, cache = forward(logits, targets)
engine_loss, engine_cache = cross_entropy.forward(logits, targets)
assert np.isclose(loss, engine_loss)
assert np.allclose(backward(1.0, cache), cross_entropy.backward(1.0, engine_cache))
print("sum of each row of dlogits:", np.abs(backward(1.0, cache).sum(axis=1)).max().round(12))

# %% [markdown]
# A batch may be too large to be computed at once. Its parts must then be divided by the number of targets in the
# whole of it, not in the part. That is why the engine's forward has a third argument, `denominator`. And if no
# target counts at all, the engine's loss is 0, not 0/0.

# %%
count = (targets != -1).sum()
parts = [cross_entropy.forward(logits[rows], targets[rows], count) for rows in (slice(0, 2), slice(2, 5))]
print(f"whole {loss:.9f}   sum of two parts {sum(part for part, _ in parts):.9f}")
assert np.isclose(loss, sum(part for part, _ in parts))
assert cross_entropy.forward(logits, np.full(5, -1))[0] == 0

# %% [markdown]
# ## A number to know by heart
#
# If all logits are equal, every p is 1/V and the loss is ln V. A network whose first loss is far above this is
# certain of something before it has seen anything. Larger random logits show it:

# %%
for size in (0, 0.1, 1, 10):
    random_logits = size * rng.standard_normal((2000, V))
    first, _ = cross_entropy.forward(random_logits, rng.integers(V, size=2000))
    print(f"logits of size {size:<4} loss {first:.3f}   ln V = {np.log(V):.3f}")

# %% [markdown]
# ## A bug on purpose
#
# The favourite one: forward takes the mean, and backward forgets the 1/N. Every gradient is N times too large, all
# in the right direction. Whoever meets it turns the learning rate down until it works, and then changes the batch
# size.

# %%
mean_forgotten = find("cross_entropy", "mean_forgotten").stand_in()
print(["passed" if report.passed else "WRONG" for report in check_layer("cross_entropy", mean_forgotten)])
print(diagnose("cross_entropy", mean_forgotten))

# %% [markdown]
# Another one is invisible in training: to forget `dout`. At the top of the network it is 1, so the mistake shows
# only when someone adds two losses with different weights, or scales the loss.

# %%
print(diagnose("cross_entropy", find("cross_entropy", "dout_forgotten").stand_in()))

# %% [markdown]
# ## What it costs
#
# For N targets and V tokens, forward finds a maximum, subtracts, takes exp and adds: 4NV operations, of which exp
# is the dear one. Backward is about as much. There are few operations for each number moved, so the time goes with
# the size of the arrays, and these are the largest in the whole model. For 1,024 tokens with GPT-2's vocabulary of
# 50,257, in float32:
#
# ```
# logits, or shifted, or dlogits    NV numbers        206 MB each
# kept for backward                 shifted, and the log of the sum for each row
# ```
#
# Backward takes exp a second time, because that is cheaper than keeping a second array of this size. Lesson 12
# makes them smaller, by never having all of the rows at once.

# %%
N, vocabulary = 1024, 256 + 50_000 + 1  # the second is bytes, merges, and the end of a text: lesson 2
stated("1,024", N)
stated("50,257", vocabulary)
stated("206", N * vocabulary * 4 / 1e6)

# %% [markdown]
# ## Your turn: cross_entropy
#
# ```
# python -m lessons start 6     writes lessons/work/cross_entropy.py
# python -m lessons check 6     against the definition and numerical derivatives
# python -m lessons hint 6      if you are stuck
# ```
#
# No loop over rows this time: all of them at once. logits may be (B, T, V) with targets (B, T). An ignored target
# is −1, which as an index would be the last token, so send it somewhere harmless and leave its loss out of the sum.
# Of rows, one entry each is `logits[np.arange(N), targets]`, the index pair of lesson 3. The loss keeps the dtype of
# the logits, float32 in, float32 out: a count from `.sum()` is an int64, and float32 divided by it becomes float64,
# so give the count the dtype first. Mind `denominator`, and the batch in which nothing counts.
#
# `train.py --mine lessons/work` then computes its loss and its first gradient, the one that all others come from,
# with yours.
#
# ## Questions to think about
#
# 1. Adding the same number to all logits of a row changes nothing. What does that say about dlogits, before any
#    calculation? With V = 2, is one logit enough?
# 2. Let the target be not one token but a distribution q, with L = −Σ q_i ln p_i. What is dlogits? Where is it
#    zero, and how large is the loss there?
# 3. A batch in two halves has 25 targets that count in the first and 5 in the second. Somebody takes the mean of
#    each half, and then the mean of the two. Which tokens learn too much, and by what factor?
#
# They are answered at the beginning of lesson 7.
#
# ## To read on
#
# - Goodfellow, Bengio, Courville: "Deep Learning", 2016, section 4.1 on overflow, and section 6.2.2.3 on softmax as
#   the output of a network.
# - Bridle: "Probabilistic Interpretation of Feedforward Classification Network Outputs, with Relationships to
#   Statistical Pattern Recognition", 1990.
# - `tinygpt/layers/cross_entropy.py`, and `tinygpt/layers/softmax.py`, where softmax stands alone, as
#   attention will need it.

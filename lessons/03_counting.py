# %% [markdown]
# # 3. Counting
#
# *40 minutes*
#
# "With the marks," says the oldest counter in the story (lesson 2), "we can tell what comes next." A *language model*
# is no more than that: for every beginning of a text it gives each possible next token a probability. The simplest
# one is made by counting, with a pencil.
#
# **How good is a model that counts, and what number would you use to say so? And if it is good to look one token back,
# why not ten?**

# %%
import re
import sys
from collections import defaultdict
from itertools import pairwise

import numpy as np

import tinygpt

sys.path += [f"{tinygpt.__path__[0]}/../lessons"]  # where kit is, whatever folder a notebook runs in
from heat import heat
from kit import TEXT, plot, stated

from tinygpt import GPTConfig
from tinygpt.models.gpt2 import costs
from tinygpt.sample import draw

# %% [markdown]
# ## On paper
#
# A text in three letters: c a a b a c a b. Count what follows what. Such a pair of neighbours is called a *bigram*.
#
# ```
#             next: a   b   c                       a     b     c
# after a           1   2   1     of 4     P(·|a)  1/4   1/2   1/4
# after b           1   0   0     of 1     P(·|b)   1     0     0
# after c           2   0   0     of 2     P(·|c)   1     0     0
# ```
#
# P(b|a) is the probability that b comes next, given that the last token was a: the share of the a's after which b
# came. Each row sums to 1. The *likelihood* of a text is the probability that the model gives to all of it, here
# after the first letter: the product of seven probabilities. What is it? Work it out before you go on.

# %% [markdown]
# ```
# c→a   a→a   a→b   b→a   a→c   c→a   a→b
#  1  · 1/4 · 1/2 ·  1  · 1/4 ·  1  · 1/2   =  1/64
# ```
#
# A longer text has a smaller likelihood, soon too small for a computer. So take the logarithm, which makes a sum of
# the product, turn its sign, and divide by the number of tokens that were predicted. This is the *cross-entropy*:
#
# ```
# ln 64 / 7   = 0.594 nats per token   with the natural logarithm
# log₂ 64 / 7 = 0.857 bits per token   six yes-or-no questions for seven letters
# 64^(1/7)    = 1.81                   the perplexity, e to the nats
# ```
#
# *Perplexity* is the number of equally likely tokens among which one would be as uncertain. Small is good for all
# three. A model that is always certain, and right, has cross-entropy 0 and perplexity 1.

# %% [markdown]
# ## The formula
#
# For tokens x₁ … x_N, with n_ab for how often b came after a, and n_a for how often anything did:
#
# ```
# P(b|a) = n_ab / n_a
# L = −1/(N−1) Σ_t ln P(x_t+1 | x_t)
# ```
#
# (Shannon, "A Mathematical Theory of Communication", 1948, section 3, makes texts in this way. Perplexity is from
# Jelinek, Mercer, Bahl and Baker, 1977.)
#
# In arrays, it is lesson 1 again. `counts` is (V, V), its row a what came after a. `before` and `after` are the
# tokens of the seven pairs, (7,). Two arrays as an index, `P[before, after]`, look up one entry for each pair: the
# result is (7,). Write four lines, without a loop: `totals`, the n_a as a column; `P`; `p`, the seven probabilities;
# and `L`.

# %%
small = "caabacab"
letters = np.array(["abc".index(letter) for letter in small])
before, after = letters[:-1], letters[1:]
counts = np.zeros((3, 3))
for a, b in pairwise(letters):
    counts[a, b] += 1
print(counts)


# %% derive: measure(counts, before, after)
def measure(counts, before, after):
    totals = counts.sum(axis=1, keepdims=True)  # (V, V) -> (V, 1)
    P = counts / totals  # (V, V) / (V, 1): each row by its own sum
    p = P[before, after]  # (7,)
    L = -np.log(p).mean()  # () in nats
    return P, p, L


# %%
P, p, L = measure(counts, before, after)
print(P)
print("likelihood 1 /", 1 / p.prod())
print(f"cross-entropy {L:.3f} nats = {-np.log2(p).mean():.3f} bits per token")
print(f"perplexity {np.exp(L):.2f}")
stated("64", 1 / p.prod())
stated("0.594", -np.log(p).mean())
stated("0.857", -np.log2(p).mean())
stated("1.81", np.exp(-np.log(p).mean()))

# %% [markdown]
# ## Why the counts are best
#
# Why divide the counts, and not their squares? Because no other table makes the text likelier. Take one row, with the
# shares p_b = n_ab / n_a, and let someone else put q_b there. Per token their loss is −Σ p_b ln q_b. It exceeds ours
# by
#
# ```
# −Σ p ln q + Σ p ln p = −Σ p ln(q/p)
#                      ≥ −Σ p (q/p − 1)    as ln z ≤ z − 1, equal only at z = 1
#                      = −Σ q + Σ p = −1 + 1 = 0
# ```
#
# (The sums are over the b with p_b > 0. There the q sum to 1 at most, which can only raise the result.) So the counts
# are best for *this* text.

# %%
rng = np.random.default_rng(3)
share = P[0]
# (100000, 3), each row sums to 1
others = rng.dirichlet(np.ones(3), size=100_000)
losses = -(share * np.log(others)).sum(axis=1)
print(f"ours {-(share * np.log(share)).sum():.7f}")
print(f"the best of {len(losses):,} others {losses.min():.7f}")
assert losses.min() >= -(share * np.log(share)).sum()

# %% [markdown]
# ## The lessons' text
#
# Now the story, character by character. Before anything is counted, the last tenth of it is put aside. The first part
# is for *training*, the last for *validation*: a model is judged by a text that it has not seen, as each sailor is
# new.
#
# Three guesses before you run the cell. What comes after q? A model that knows nothing gives each of the 49
# characters the same probability: what is its loss? And how large is the loss of the counts on the part that they
# have not seen?

# %%
characters = sorted(set(TEXT))
V = len(characters)
ids = np.array([characters.index(character) for character in TEXT])
cut = int(0.9 * len(ids))
train, val = ids[:cut], ids[cut:]
print(f"{V} characters, {len(train):,} to train on, {len(val)} to validate")

counts = np.zeros((V, V))
for before, after in pairwise(train):
    counts[before, after] += 1
P = counts / counts.sum(axis=1, keepdims=True)
for character in "qt.\n":
    order = np.argsort(-P[characters.index(character)])[:4]
    shown = "  ".join(f"{characters[i]!r} {P[characters.index(character), i]:.0%}" for i in order)
    print(f"after {character!r:<5}{shown}")
assert P[characters.index("q"), characters.index("u")] == 1

# %% [markdown]
# Every q had its u. And a table of numbers is seen at once if each number is a colour. Here are the sixteen most
# frequent characters, a row for the one that was read and a column for the one that comes next. What follows a blank,
# what a vowel, and what an h?

# %%
common = np.bincount(train).argsort()[::-1][:16]
heat(P[np.ix_(common, common)], [characters[i] for i in common], [characters[i] for i in common])
blank, h, *vowels = (characters.index(character) for character in " haeiou")
assert P[blank, blank] == 0 and P[h, vowels].sum() > 0.9
assert 1 / 8.5 < counts[vowels][:, vowels].sum() / counts[vowels].sum() < 1 / 7.5

# %% [markdown]
# No blank follows a blank. After a vowel another comes in one case of eight, and after an h one comes in nine of ten.
# And the losses?


# %%
def loss(P, tokens):
    """The cross-entropy of P on a row of tokens, in nats per token."""
    before, after = tokens[:-1], tokens[1:]
    with np.errstate(divide="ignore"):  # ln 0 is −inf: let us see it
        return -np.log(P[before, after]).mean()


print(f"knowing nothing  {np.log(V):.3f} nats, perplexity {V}")
print(f"training         {loss(P, train):.3f} nats,", end=" ")
print(f"perplexity {np.exp(loss(P, train)):.2f}")
print(f"validation       {loss(P, val):.3f}")
pairs = set(pairwise(val.tolist()))
for a, b in sorted((a, b) for a, b in pairs if P[a, b] == 0)[:4]:
    print(f"    {characters[b]!r} after {characters[a]!r} was never counted")
stated("3.89", np.log(V))
stated("2.17", loss(P, train))
stated("8.75", np.exp(loss(P, train)))

# %%
with plot("bigrams", size=(6.4, 6)) as axes:
    axes.imshow(np.sqrt(P), cmap="Blues")  # the square root, so that small probabilities show
    names = [{"\n": "\\n", " ": "␣"}.get(character, character) for character in characters]
    axes.set_xticks(range(V), names, fontsize=7)
    axes.set_yticks(range(V), names, fontsize=7)
    axes.set(xlabel="next character", ylabel="character")

# %% [markdown]
# Without any knowledge the loss is ln V = 3.89: each of 49 characters is equally likely. On the training text the
# counts bring it down to 2.17, as if one chose among 8.75 characters.
#
# On the validation text it is infinite. Some pair stands there that was never counted, the model had called it
# impossible, and a single zero makes the whole likelihood zero. "I had nothing on whale, and I lost the house."
#
# ## Smoothing
#
# So keep a coin in your pocket: before counting, put the same small number α on every pair. (For α = 1 that is
# Laplace's rule. Chen and Goodman, 1996, compare it with better ones.)
#
# ```
# P(b|a) = (n_ab + α) / (n_a + α V)
# ```
#
# The row still sums to 1: α was added V times above, and α V below. Write it for the whole table, in two lines again:
# `totals`, the divisor as a column, and `P`. (α is called `alpha`.)


# %% derive: smoothed(counts, 0.1)
def smoothed(counts, alpha):
    totals = counts.sum(axis=1, keepdims=True) + alpha * V  # (V, V) -> (V, 1)
    P = (counts + alpha) / totals
    return P


# %% [markdown]
# The smaller α, the nearer to the counts. Which α is the best for the training text, and which for the validation
# text?

# %%
print("alpha   training   validation")
for alpha in (0, 0.001, 0.01, 0.1, 1, 10):
    P = smoothed(counts, alpha)
    print(f"{alpha:<6} {loss(P, train):>9.3f} {loss(P, val):>12.3f}")
assert all(np.allclose(smoothed(counts, alpha).sum(axis=1), 1) for alpha in (0, 0.001, 0.1, 10))
stated("2.36", loss(smoothed(counts, 0.1), val))
stated("2.44", loss(smoothed(counts, 1), val))

# %% [markdown]
# For the training text every α makes it worse, as was proved above. For the validation text α = 0.1 is the best of
# these, 2.36. With α = 1 the coins on what never happens are too many, 2.44. A number such as α, which the training
# text cannot choose, is called a *hyperparameter*. It is chosen by the validation text.
#
# ## A bug on purpose
#
# Lesson 1's trap again. P is square, so a forgotten `keepdims` goes unnoticed. Is the loss at least much worse?

# %%
sums = counts.sum(axis=1) + 0.1 * V  # (V,)
wrong = (counts + 0.1) / sums  # (V, V) / (V,): column b by the sum of row b
right = smoothed(counts, 0.1)
print(f"validation loss {loss(wrong, val):.4f}")
print(f"           and  {loss(right, val):.4f} with the right table")
row_sums = wrong.sum(axis=1)
print(f"rows sum to between {row_sums.min():.2f} and {row_sums.max():.2f}")
assert np.isclose(loss(wrong, val) - loss(right, val), np.log(sums[val[-1]] / sums[val[0]]) / (len(val) - 1))

# %% [markdown]
# The loss is nearly the same, and a longer text would only bring the two closer. Each token but the first and the
# last comes once before another, and once after one: with the right table L counts the sum of its row in the first
# case, with the wrong table in the second. All that differs is which end of the text is left out. So a good loss
# proves nothing where the rows are no probabilities. (A table of ones has the loss 0.) What catches it is the sum of
# each row, one line of code.

# %% [markdown]
# ## Drawing text
#
# To write, draw the next token by its probability, again and again. A computer gives us a number u, equally likely
# anywhere between 0 and 1. Lay the probabilities end to end, and see in which one u falls:
#
# ```
# P(·|a)           a 1/4        b 1/2            c 1/4
#              |---------|-------------------|---------|
# cumulative   0        0.25                0.75       1
#                                      ↑ u = 0.6 falls in b,
#                                        the first whose end lies beyond u
# ```
#
# A longer piece is hit more often, in proportion. This is called inverting the cumulative distribution.


# %%
def draw_one(p, u):
    end = 0.0
    for token, share in enumerate(p):
        end += share
        if end > u:
            return token


p = np.array([0.25, 0.5, 0.25])
stated("0.75", p.cumsum()[1])
print("u = 0.6 draws", "abc"[draw_one(p, 0.6)])
for name, tokens in {
    "one by one": [draw_one(p, u) for u in rng.random(20_000)],
    "the engine's draw": draw(np.tile(p, (20_000, 1)), rng),
}.items():
    print(f"{name:<18}", np.bincount(tokens) / 20_000)

# %% [markdown]
# ## Your turn: draw
#
# ```
# python -m lessons start 3     writes lessons/work/draw.py
# python -m lessons check 3     holds it against the engine's
#                               (with --watch: after every save)
# python -m lessons hint 3      if you are stuck
# ```
#
# `draw(probs, rng)` draws one token for each row of probs, (B, V) -> (B,), without a loop: a cumulative sum along an
# axis, and a comparison with a column. The numbers u come from `rng.random`, one for each row. Two things are to be
# kept in mind. The sum of a row may be a little off 1 by rounding, so u has to be scaled by the sum that is really
# there. And a token with probability 0 is never drawn, not even where u is exactly 0.

# %%
rows = np.array([[0.25, 0.5, 0.25], [0, 1, 0]])
print("four draws from each:", [draw(rows, rng).tolist() for _ in range(4)])

# %% [markdown]
# Once it is right, `python -m lessons run 3` writes some text with it, and so does the end of a real run,
# `python train.py --mine lessons/work`.
#
# ## Looking further back
#
# To look further back than one, count what follows each *context* of k characters. One dictionary holds them all:
# context → counts of the next character. (With its next character a context has k + 1, hence the name n-gram.) What
# will it write with k = 0, 1, 2 and 5?


# %%
def count(text, k):
    """{context of k characters: what came after it how often, (V,)}."""
    pages = defaultdict(lambda: np.zeros(V))
    for t in range(k, len(text)):
        pages[text[t - k : t]][characters.index(text[t])] += 1
    return dict(pages)


books = {k: count(TEXT[:cut], k) for k in range(6)}
for k in (0, 1, 2, 5):
    text = TEXT[:k]
    for _ in range(62):
        context = text[len(text) - k :]
        page = books[k].get(context, books[0][""])  # a white page: as if k = 0
        text += characters[draw_one(page / page.sum(), rng.random())]
    print(f"k = {k}: {text!r}")

# %% [markdown]
# With k = 2 there are words. With k = 5 there are sentences, or so it seems.
#
# ## Why not ten?
#
# Now the loss for each k: on the training text at its best, with next to no α, and on the validation text with 0.1.
# Draw the two curves on paper first: which way does each go?


# %%
def context_loss(pages, text, k, alpha=0.1):
    """Cross-entropy in nats per character, and the share of white pages met."""
    nothing, total, white = np.zeros(V), 0.0, 0
    for t in range(k, len(text)):
        page = pages.get(text[t - k : t], nothing)
        white += page is nothing
        marks = page[characters.index(text[t])]
        total -= np.log((marks + alpha) / (page.sum() + alpha * V))
    return total / (len(text) - k), white / (len(text) - k)


print("k  pages possible   written   training   validation   white pages met")
curves = {"training": [], "validation": []}
for k, pages in books.items():
    train_loss, _ = context_loss(pages, TEXT[:cut], k, alpha=1e-9)
    val_loss, white = context_loss(pages, TEXT[cut:], k)
    print(f"{k} {V**k:>15,} {len(pages):>9,} {train_loss:>10.2f}", end="")
    print(f" {val_loss:>12.2f} {white:>17.0%}")
    curves["training"].append(train_loss)
    curves["validation"].append(val_loss)

stated("2.02", curves["validation"][2])
stated("3.07", curves["validation"][5])
stated("0.33", curves["training"][5])
stated("48%", white)
stated("282,475,249", V**5)
stated("3,426", len(books[5]))

# %%
with plot("context") as axes:
    for name, losses in curves.items():
        axes.plot(losses, marker="o", label=name)
    axes.axhline(np.log(V), color="gray", linestyle=":", label="knowing nothing")
    axes.set(xlabel="characters of context, k", ylabel="cross-entropy, nats per character", ylim=(0, None))
    axes.legend(frameon=False)

# %% [markdown]
# On the training text the loss falls and falls, to 0.33. On the validation text it falls until k = 2, to 2.02, and
# then it rises. With k = 5 it is 3.07, worse than with k = 0. That is *overfitting*: the table knows its text by
# heart. What it wrote above is stitched together from the text, six characters at a time.
#
# The reason is in the story. Five characters can be written in 282,475,249 ways, and 3,426 of these pages have a
# mark. Of the characters to validate on, 48% come after a context that was never seen, whose page has nothing to say.
# With words it is worse:

# %%
words = re.findall(r"[a-z']+", TEXT.lower())
pairs = list(pairwise(words))
first = int(0.9 * len(pairs))
new = np.mean([pair not in set(pairs[:first]) for pair in pairs[first:]])
print(f"pairs of words in the last tenth that stand nowhere before: {new:.0%}")
stated("73%", new)

# %% [markdown]
# Of the pairs of neighbouring words, 73% are new, in a text that speaks of the same sea and the same hill. More text
# helps. But each further word of context multiplies the pages by the number of words there are.
#
# The fault is not in counting as such. It is that two pages know nothing of each other. What was learned of the ship
# is written on the page of the ship, and the page of the boat stays white. "Keep a few numbers for each word," says
# Ada. "Let words that are used alike have numbers that are alike." (Bengio, Ducharme, Vincent and Jauvin, 2003, did
# that.) "And who," asks the old man, "will choose the numbers?" That takes derivatives, and with them the next lesson
# begins.
#
# ## What it costs
#
# Counting is one addition for each token. What it costs is room. Looking k tokens back there are V^(k+1) counts, of 4
# bytes each if all were kept:

# %%
gpt2 = GPTConfig(
    vocab_size=50_257, block_size=1024, n_layer=12, n_head=12, n_embd=768
)  # fmt: skip
numbers = sum(cost.params for cost in costs(gpt2))
for name, k, n, what in (
    ("characters", 1, V**2, "counts"),
    ("characters", 5, V**6, "counts"),
    ("GPT-2's tokens", 1, gpt2.vocab_size**2, "counts"),
    ("GPT-2, smallest", gpt2.block_size, numbers, "numbers"),
):
    print(f"{name:<15} k = {k:<5,} {n:>14,} {what:<7} {4 * n / 1e9:>7.3f} GB")
stated("2,526", 50_257**2 / 1e6)
stated("124", numbers / 1e6)
stated("1,024", gpt2.block_size)
stated("10.82", np.log(gpt2.vocab_size))

# %% [markdown]
# A table that looks one token back in GPT-2's vocabulary has 2,526 million entries. The smallest GPT-2 looks back as
# far as 1,024 tokens, and has 124 million numbers.

# %% [markdown]
# ## Questions to think about
#
# 1. You train a network with V = 50,257. Before the first step, its loss is 10.82. Is that good news? A colleague's
#    begins at 13. What do you tell them?
# 2. A model of characters has a loss of 2 nats per token, one with a BPE vocabulary a loss of 4, on the same text.
#    Which is the better one? What do you need to know?
# 3. Smoothing puts the same coin on all that was never seen. If the page for the last two characters is white, or
#    nearly so, where could you look for a better guess? Try it: can you come below 2.02 by counting?
#
# Answers: `python -m lessons answers 3`
#
# ## To read on
#
# - Shannon: "A Mathematical Theory of Communication", 1948: section 3 draws English from counts, by hand.
# - Bengio, Ducharme, Vincent, Jauvin: "A Neural Probabilistic Language Model", Journal of Machine Learning Research,
#   2003: why counting fails, and a network that did better.
# - Jurafsky and Martin: "Speech and Language Processing", the chapter on n-gram language models.
# - `tinygpt/sample.py`, and the story itself, `lessons/text.txt`.

# %% [markdown]
# ## Answers
#
# **1.** ln 50,257 = 10.82 is the loss of a model that knows nothing and says so, every token being equally likely. So
# it is right at the start, and no more than that. A loss of 13 is worse than knowing nothing: the model is certain of
# something before it has seen anything, and wrong. Its first numbers are too large.
#
# **2.** Neither is known to be better, since a token is not a character. Divide by the characters that a token stands
# for. With 2.5 of them to a token, 4 nats per token are 1.6 per character, and the second model is better than the
# first. At fewer than 2 it would be the worse one. The engine prints bits per character for this reason.
#
# **3.** Look at the page of the shorter context, which has more marks. So do not lay the same coin on every
# character, but share out a purse of coins as the shorter context would, which does the same with a still shorter
# one. With 5 coins and three characters of context that comes to 1.84, where the same coin for all, α = 0.1, had 2.02
# at its best. The idea goes back to Jelinek and Mercer (1980). It takes the edge off the white pages. It still does
# not know that a ship is like a boat.

# %%
from collections import Counter, defaultdict

import numpy as np
from kit import TEXT, stated

stated("10.82", np.log(50_257))
stated("1.6", 4 / 2.5)

cut, V = int(0.9 * len(TEXT)), len(set(TEXT))
pages = defaultdict(Counter)
for t in range(cut):
    for k in range(min(t, 5) + 1):
        pages[TEXT[t - k : t]][TEXT[t]] += 1


def shared_out(context, character, coins=5):
    """P(character | context), the coins laid as the next shorter context would."""
    shorter = shared_out(context[1:], character, coins) if context else 1 / V
    page = pages.get(context, Counter())
    return (page[character] + coins * shorter) / (page.total() + coins)


same = [
    (pages[TEXT[t - 2 : t]][TEXT[t]] + 0.1) / (pages[TEXT[t - 2 : t]].total() + 0.1 * V)
    for t in range(cut + 2, len(TEXT))
]
stated("2.02", -np.mean(np.log(same)))
losses = []
for k in range(6):
    places = range(cut + k, len(TEXT))
    P = [shared_out(TEXT[t - k : t], TEXT[t]) for t in places]
    losses.append(-np.mean(np.log(P)))
    print(f"characters of context {k}   validation loss {losses[k]:.2f}")
stated("1.84", losses[3])

# %% [markdown]
# # 16. Sampling
#
# *45 minutes*
#
# The model of lesson 15 gives 49 probabilities for the next character, and that is all it gives. To write, you
# choose one, put it behind the text, and ask again.
#
# **Which character do you choose, when each has a probability?** Always the likeliest is the obvious answer and a bad
# one. And each time you ask again, the model reads the whole text from its beginning, of which it has read all but one
# character before. **What of that need not be computed twice?**

# %%
import dataclasses
import math
import sys
import time
from types import SimpleNamespace

import numpy as np

import tinygpt

sys.path += [f"{tinygpt.__path__[0]}/../lessons"]  # where kit is, whatever folder a notebook runs in
from kit import TEXT, plot, stated, tiny_gpt

from tinygpt import GPT, GPTConfig
from tinygpt.gradcheck.mutants import find
from tinygpt.layers import attention, cross_entropy, gelu, layernorm, softmax
from tinygpt.layers.attention import split_heads
from tinygpt.ops import DEFINITIONS
from tinygpt.parallel import blas_threads
from tinygpt.sample import draw, probabilities

trained, tokenizer = tiny_gpt()  # float32, from lesson 15's run; trained now if that has not been done


def same_weights(**changes):
    """The trained model in float64, where two ways can be seen to agree; other settings or attention on request."""
    layer = changes.pop("attention", attention)
    config = dataclasses.replace(trained.config, **changes)
    copy = GPT(config, dtype="float64", seed=None, ops=DEFINITIONS.replace(attention=layer))
    copy.params.flat[...] = trained.params.flat
    return copy


def encode(text):
    return tokenizer.encode(text).astype(np.int64)[None]  # (1, T)


model = same_weights()
rng = np.random.default_rng(15)

# %% [markdown]
# ## On paper
#
# Four tokens a, b, c, d with probabilities 1/2, 1/4, 1/8, 1/8. Three rules change them before one is drawn.
#
# ```
#                    a      b      c      d
# the model's        0.5    0.25   0.125  0.125
#
# temperature 1/2    1/4    1/16   1/64   1/64    each squared,
#                    0.727  0.182  0.045  0.045   divided by their sum, 22/64
# temperature 2      0.369  0.261  0.185  0.185   the same with square roots
#
# top-k, k = 2       2/3    1/3    0      0       the two likeliest
# top-p, p = 0.7     2/3    1/3    0      0       0.5 is below 0.7, 0.75 is not
# top-p, p = 0.5     ?      ?      ?      ?
# ```
#
# - **Temperature** T divides the logits by T. Below 1 it prefers what is likely more strongly, and near 0 it takes
#   nothing but the likeliest. Above 1 it levels. (In physics, a hotter gas visits improbable states more often.)
# - **Top-k** (Fan et al., 2018, arXiv:1805.04833) cuts off the tail: many tokens, each hardly likely, that together
#   are drawn far too often, and one nonsense leads to the next.
# - **Top-p**, or nucleus sampling (Holtzman et al., 2020, arXiv:1904.09751), cuts where the probabilities
#   themselves say: where the model is certain one token is left, where it is not, many.
#
# ## The formula
#
# ```
# p_i(T)  =  exp(z_i / T) / Σ_j exp(z_j / T)  =  p_i^(1/T) / Σ_j p_j^(1/T)
# ```
#
# (exp(z_i) is p_i times a constant, which cancels.) In code, for one row, the plain way. What are the four
# numbers in the last row above?


# %%
def tempered(p, T):
    powers = p ** (1 / T)
    return powers / powers.sum()


def top_k(p, k):
    kept = np.zeros_like(p)
    for token in sorted(range(len(p)), key=lambda token: -p[token])[:k]:
        kept[token] = p[token]
    return kept / kept.sum()


def top_p(p, reach):
    kept = np.zeros_like(p)
    for token in sorted(range(len(p)), key=lambda token: -p[token]):
        if kept.sum() >= reach:
            break
        kept[token] = p[token]
    return kept / kept.sum()


p = np.array([1 / 2, 1 / 4, 1 / 8, 1 / 8])
for name, q in (
    ("temperature 1/2", tempered(p, 1 / 2)),
    ("temperature 2", tempered(p, 2)),
    ("top-k, k = 2", top_k(p, 2)),
    ("top-p, p = 0.7", top_p(p, 0.7)),
    ("top-p, p = 0.5", top_p(p, 0.5)),
):
    print(f"{name:<16}", q.round(3))
for text, value in zip(("0.5", "0.25", "0.125", "0.125"), p, strict=True):
    stated(text, value)
stated("0.75", p[:2].sum())
for text, value in zip(("0.727", "0.182", "0.045", "0.045"), tempered(p, 1 / 2), strict=True):
    stated(text, value)
for text, value in zip(("0.369", "0.261", "0.185", "0.185"), tempered(p, 2), strict=True):
    stated(text, value)
assert np.allclose(top_k(p, 2), [2 / 3, 1 / 3, 0, 0]) and np.allclose(top_p(p, 0.7), top_k(p, 2))

logits = 2 * rng.standard_normal((5, 20))
ours = [top_p(top_k(tempered(softmax.forward(row)[0], 1.3), 8), 0.8) for row in logits]
print("all three at once agree with the engine:", np.allclose(ours, probabilities(logits, 1.3, 8, 0.8)))
assert np.allclose(ours, probabilities(logits, 1.3, 8, 0.8))
assert np.allclose(top_p(p, 0.5), [1, 0, 0, 0])

# %% [markdown]
# With p = 0.5 the first token reaches it alone, and takes everything.
#
# ## On the trained model
#
# What comes after "the s", what after "the old m"? The rules meet the two differently: top-k keeps five in either case,
# top-p keeps few where the model is sure. After which of the two is it surer?

# %%
for prompt in ("the s", "the old m"):
    row = model.forward(encode(prompt))[0][0, -1]  # (V,): the last position's logits
    p = softmax.forward(row)[0]
    order = np.argsort(-p)
    print(f"{prompt!r:<12}", "  ".join(f"{tokenizer.decode([i])!r} {p[i]:.2f}" for i in order[:6]))
    kept = [np.count_nonzero(probabilities(row[None], top_p=reach)) for reach in (0.5, 0.8, 0.95)]
    print(f"{'':<12} tokens kept: top_k=5 {np.count_nonzero(probabilities(row[None], top_k=5))},", end="")
    print(f"  top_p=0.5 {kept[0]},  top_p=0.8 {kept[1]},  top_p=0.95 {kept[2]}")

print()
for rules in ({"temperature": 0}, {"temperature": 0.5}, {"temperature": 1.0}, {"temperature": 1.5}, {"top_p": 0.7}):
    text = tokenizer.decode(model.generate(encode("The "), 56, seed=1, **rules)[0]).replace("\n", " ")
    print(*(f"{name}={value}:" for name, value in rules.items()), text, sep="  ")

# %% [markdown]
# The likeliest character every time soon repeats itself. High temperature spells nothing. It is a small model, and
# no rule makes it a better one, but we can measure what the rules trade. Let it write a few hundred words by each
# rule, and count two things: which share of them are words of the text it learned from, and which share are
# different from each other.


# %%
def words_of(text):
    return "".join(character if character.isalpha() else " " for character in text).split()


likeliest = words_of(tokenizer.decode(model.generate(encode("The "), 400, temperature=0)[0]))
print(f"temperature 0: {len(set(likeliest))} different words among {len(likeliest)}")
assert len(set(likeliest)) < 0.5 * len(likeliest)

known = set(words_of(TEXT))


def write(**rules):
    """Shares of the written words that the text has, and that are different from each other."""
    rows = trained.generate(np.repeat(encode("The "), 16, axis=0), 150, seed=1, **rules)
    words = [word for row in rows for word in words_of(tokenizer.decode(row))[1:-1]]
    return np.mean([word in known for word in words]), len(set(words)) / len(words)


with blas_threads(1):
    temperatures = (0.1, 0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5)
    by_temperature = np.array([write(temperature=T) for T in temperatures])
    by_reach = np.array([write(top_p=reach) for reach in (0.1, 0.3, 0.5, 0.7, 0.9)])
print("temperature  words of the text  different")
for T, (right, different) in zip(temperatures, by_temperature, strict=True):
    print(f"{T:>11}  {right:17.0%}  {different:9.0%}")
print("top-p")
for reach, (right, different) in zip((0.1, 0.3, 0.5, 0.7, 0.9), by_reach, strict=True):
    print(f"{reach:>11}  {right:17.0%}  {different:9.0%}")
with plot("trade") as axes:
    axes.plot(by_temperature[:, 1], by_temperature[:, 0], "o-", label="temperature 0.1 to 1.5")
    axes.plot(by_reach[:, 1], by_reach[:, 0], "s--", label="top-p 0.1 to 0.9, temperature 1")
    axes.set(xlabel="share of words that are different", ylabel="share of words that the text has")
    axes.legend(frameon=False)
assert by_temperature[1, 0] > by_temperature[-1, 0] + 0.2 and by_temperature[1, 1] < by_temperature[-1, 1] - 0.4

# %% [markdown]
# Correct and repetitive at one end, various and wrong at the other. There is no right setting, only a place on this
# curve. (The samples that a training run shows are drawn at 0.8.) What is left to do is lesson 3's: `draw(probs, rng)`.
#
# ## Your turn: probabilities
#
# ```
# python -m lessons start probabilities     writes lessons/work/probabilities.py
# python -m lessons check probabilities     holds it against the engine's
# python -m lessons hint probabilities      if you are stuck
# ```
#
# (`python -m lessons start 16` begins both pieces of this lesson.) It takes (B, V) logits, float32 as a model gives
# them, and all three rules, for all rows at once, and computes in float64. It must stand a temperature of 0 (everything
# on the likeliest) and one so small that a quotient overflows, equal logits at the edge of top-k (all stay), a top_k
# beyond the vocabulary, and it refuses logits that are not finite. Use the `softmax` it is given.
#
# `python -m lessons run 16` then draws by your rules, and so does each text that `python train.py --mine lessons/work`
# shows.
#
# ## What the past is worth
#
# Now the second question. To write token t + 1, the model needs the logits of position t. Go through it and ask, of
# each thing that is computed for an *earlier* position s, whether the new token t can change it:
#
# ```
# embedding     wte[token s] + wpe[s]                       position s alone
# LayerNorm, linear, GELU, MLP, residual                    position s alone
# attention     out_s = Σ over u ≤ s of weight(q_s, k_u) v_u   up to s; t is later
# ```
#
# So in the first layer x_s does not change, hence q_s, k_s, v_s do not, hence out_s does not, and so x_s in the second
# layer does not: by induction, layer after layer, **nothing at an earlier position ever changes**. And of all that,
# position t needs only what attention reads there: k_s and v_s of each layer. Not q_s: a query is asked once.
#
# Keep the keys and values, and a step computes one position instead of all. Is it so? Look at the keys of 20 characters
# when a 21st is added, in each layer, with the right attention and with one that has no mask. Without the mask, will
# the keys of the first layer move, of the second, or of both?


# %%
def keys_of(idx, layer_attention=attention):
    """The keys of every layer, each (B, H, T, D), read on their way through the table of layers."""
    seen = []

    def forward(qkv, n_head, *rest):
        seen.append(split_heads(qkv, n_head)[1])
        return layer_attention.forward(qkv, n_head, *rest)

    watched = same_weights(attention=SimpleNamespace(forward=forward))
    watched.forward(idx)
    return seen


longer, moved = encode(TEXT[100:121]), {}
for name, one in (("causal", attention), ("no mask", find("attention", "forward_without_mask").stand_in())):
    pairs = zip(keys_of(longer, one), keys_of(longer[:, :20], one), strict=True)
    moved[name] = [np.abs(with_21[:, :, :20] - with_20).max() for with_21, with_20 in pairs]
    print(f"{name:<8} largest change of an earlier key:", *(f" layer {i} {m:.1e}" for i, m in enumerate(moved[name])))
assert max(moved["causal"]) < 1e-12 and moved["no mask"][0] < 1e-12 < moved["no mask"][1]

# %% [markdown]
# Without the mask the first layer's keys still stay, since they come from the embeddings alone, and the second's
# move.
#
# ## One head, one query
#
# In lesson 10 a head had T queries at once, and a mask. Now there is one, that of the newest token, and the keys and
# values of all S tokens so far, its own among them:
#
# ```
# q       (D,)        scores    of q with each key, by √D      (S,)
# keys    (S, D)      weights   softmax of them                (S,)
# values  (S, D)      out       what the values weigh to       (D,)
# ```
#
# Write the three lines. `softmax.forward(x)` returns a pair, its result first. Where does the mask go?

# %%
q, keys, values = rng.standard_normal(4), rng.standard_normal((6, 4)), rng.standard_normal((6, 4))


# %% derive: one_head(q, keys, values)
def one_head(q, keys, values):
    scores = keys @ q / math.sqrt(len(q))
    weights = softmax.forward(scores)[0]
    out = weights @ values
    return out


# %% [markdown]
# The mask has become the order of time: the future is not among the keys yet.
#
# ## One step, with memory
#
# All of GPT for one token, with the past in two lists for each layer. There is no T in it: the vectors have C
# numbers, only the scores have one for each position so far.


# %%
def step(token, memory):
    """The logits after one more token, (V,). memory: each layer's keys and values so far; they grow by one."""
    w, H = model.params, model.config.n_head
    position = len(memory[0][0])
    x = w["wte.weight"][token] + w["wpe.weight"][position]  # (C,)
    D = len(x) // H
    for layer, (keys, values) in enumerate(memory):
        p = {name.removeprefix(f"h.{layer}."): array for name, array in w.items()}  # this layer's by short names
        a, _ = layernorm.forward(x, p["ln_1.weight"], p["ln_1.bias"])
        q, k, v = np.split(a @ p["attn.c_attn.weight"] + p["attn.c_attn.bias"], 3)  # (C,) -> (3C,) -> 3 x (C,)
        keys.append(k)
        values.append(v)
        heads = []
        for h in range(H):
            own = slice(h * D, (h + 1) * D)
            heads.append(one_head(q[own], np.array(keys)[:, own], np.array(values)[:, own]))  # (D,)
        x = x + np.concatenate(heads) @ p["attn.c_proj.weight"] + p["attn.c_proj.bias"]
        m, _ = layernorm.forward(x, p["ln_2.weight"], p["ln_2.bias"])
        hidden, _ = gelu.forward(m @ p["mlp.c_fc.weight"] + p["mlp.c_fc.bias"])  # (C,) -> (4C,)
        x = x + hidden @ p["mlp.c_proj.weight"] + p["mlp.c_proj.bias"]
    x, _ = layernorm.forward(x, w["ln_f.weight"], w["ln_f.bias"])
    return w["wte.weight"] @ x  # (V, C) @ (C,) -> (V,)


def empty():
    return [([], []) for _ in range(model.config.n_layer)]


# %% [markdown]
# ## Is it right?
#
# It must give, token by token, the logits that the whole model gives for the whole text at once:

# %%
idx = encode(TEXT[:48])
whole, _ = model.forward(idx)  # (1, 48, V)
memory = empty()
one_by_one = np.array([step(token, memory) for token in idx[0]])  # (48, V)
print(f"largest logit {np.abs(whole).max():.1f}, largest difference {np.abs(one_by_one - whole[0]).max():.1e}")
assert np.allclose(one_by_one, whole[0], atol=1e-10)

rng, memory, tokens = np.random.default_rng(3), empty(), list(encode("The ")[0])
for token in tokens:  # the prompt: only its last logits are used
    logits = step(token, memory)
while len(tokens) < model.config.block_size:
    tokens.append(draw(probabilities(logits[None], temperature=0.5), rng)[0])
    logits = step(tokens[-1], memory)
print(repr(tokenizer.decode(tokens)))

# %% [markdown]
# A prompt need not go in one by one: its positions are all known, so they go through as one piece, each under the mask,
# and only what is written comes singly. The engine's `decode` does both. It takes the queries of the newest t positions
# and the keys and values of all S; t = S is the attention of lesson 10, t = 1 one step of writing:

# %%
qkv = rng.standard_normal((2, 7, 3 * 12))  # (B, T, 3C)
q, k, v = split_heads(qkv, 3)  # 3 x (B, H, T, D)
full, _ = attention.forward(qkv, 3)  # (B, T, C)
for t in (7, 3, 1):
    same = np.allclose(attention.decode(q[:, :, -t:], k, v), full[:, -t:])
    print(f"the newest {t} of 7: the same as the last {t} of all at once: {same}")
assert all(np.allclose(attention.decode(q[:, :, -t:], k, v), full[:, -t:]) for t in (7, 3, 1))

# %% [markdown]
# ## Your turn: attention_decode
#
# ```
# python -m lessons start attention_decode     writes its file in lessons/work
# python -m lessons check attention_decode     holds it against the engine's
# python -m lessons hint attention_decode      if you are stuck
# ```
#
# `decode` is attention for the newest t of S positions, all heads and rows at once. Lesson 10's causal softmax stands
# in the file, and knows that the queries are the *last* t of S; so does the function that puts the heads side by side.
#
# `python -m lessons run 16` then writes with your attention and a memory of the past, and so does
# `python train.py --mine lessons/work`.

# %% [markdown]
# ## When the window is full
#
# The model has `block_size` positions, and then? One would like to drop the oldest token and move on. But a key
# holds its position: wpe went into x before any key was made. Move the text by one place, and every key is another:

# %%
text20 = encode(TEXT[100:120])
shifted = [np.abs(a[:, :, 1:] - b).max() for a, b in zip(keys_of(text20), keys_of(text20[:, 1:]), strict=True)]
print("the same 19 characters, one place further left; keys differ by", *(f"{d:.2f}" for d in shifted))
assert min(shifted) > 0.01

# %% [markdown]
# So nothing remembered survives a shift. `model.generate` drops the older half of the window when it is full, reads
# the newer half again in one piece, and goes on with memory. Models whose attention sees only distances (rotary
# positions: Su et al., 2021, arXiv:2104.09864) have better ways out.
#
# ## A bug on purpose
#
# The usual mistake is the position. A model that is fed one token at a time sees a text of length 1, so a line such
# as `wpe[: len(tokens)]` quietly gives every new token position 0:

# %%
positions = model.params["wpe.weight"].copy()
model.params["wpe.weight"] = np.repeat(positions[:1], len(positions), axis=0)  # what such a step reads
memory = empty()
bugged = np.array([step(token, memory) for token in idx[0]])
model.params["wpe.weight"] = positions


def mean_loss(logits):
    return float(cross_entropy.forward(logits[:-1], idx[0, 1:])[0])


print(f"largest difference to the whole model: {np.abs(bugged - whole[0]).max():.1f}")
print(f"loss on the text: {mean_loss(bugged):.2f}, where it should be {mean_loss(one_by_one):.2f}")
assert np.abs(bugged - whole[0]).max() > 0.1
assert np.array_equal(bugged[0], one_by_one[0])  # position 0 is right: a test with one token sees nothing

# %% [markdown]
# It does not crash, and it writes. Text from a small model looks odd anyway, so nobody would see it there. What
# finds it is the comparison above, against the slow way that is known to be right, over more than one token.
#
# ## What it costs
#
# With P weights in matrices, L layers and S tokens so far, one more token costs
#
# ```
#                    recomputing               with memory
# operations         S (2 P + 2 L S C)         2 P + 4 L S C
# n tokens in all    n² P + ...                2 n P + 2 L C n²
# memory             -                         2 L S C numbers
# ```
#
# (Half of the scores are masked, hence 2 L S C on average and 4 L S C for the last.) For GPT-2's smallest and 1,024
# tokens the memory is 75.5 million bytes in float32, beside 498 million for the weights. And time?

# %%
gpt2 = GPTConfig()
stated("1,024", gpt2.block_size)
stated("75.5", 2 * gpt2.n_layer * gpt2.block_size * gpt2.n_embd * 4 / 1e6)
stated("498", gpt2.n_params * 4 / 1e6)

larger = GPT(GPTConfig(block_size=128, vocab_size=97, n_layer=4, n_head=4, n_embd=128))  # the cpu preset's shape
start = np.zeros((1, 1), dtype=np.int64)
lengths, remembered, recomputed = (8, 16, 32, 64, 127), [], []


def milliseconds_per_token(n, exact_window):
    began = time.perf_counter()
    tokens = larger.generate(start, n, seed=1, exact_window=exact_window)  # exact_window: nothing is remembered
    return (time.perf_counter() - began) * 1e3 / n, tokens


print("tokens   recomputing   with memory   (ms a token)")
with blas_threads(1):
    for n in lengths:
        (slow, a), (fast, b) = milliseconds_per_token(n, True), milliseconds_per_token(n, False)
        assert np.array_equal(a, b)
        recomputed.append(slow)
        remembered.append(fast)
        print(f"{n:>6}   {slow:11.2f}   {fast:11.2f}")
with plot("cache") as axes:
    axes.plot(lengths, recomputed, "o-", label="recomputing")
    axes.plot(lengths, remembered, "s-", label="with memory")
    axes.set(xlabel="tokens written", ylabel="ms a token", ylim=(0, None))
    axes.legend(frameon=False)

# %% [markdown]
# The same tokens, and one line rises, and the other does not. The ratio is smaller than that of the operations.
# With memory each weight is fetched for one vector and used for 2 operations, 0.5 for each byte of float32, while
# recomputing uses it for S vectors: fewer operations, done less well (lesson 17). This is why serving a model to
# many at once is cheaper than to each alone: their vectors share the fetch. On a longer context:
#
# ```recorded
# python benchmarks/sample_cpu.py: 1,000 tokens with the baby preset's shapes,
# beside PyTorch, which recomputes: 12 to 14 times as fast with memory,
# 0.86 to 0.93 without (docs/speed.md; 2 cores of a shared server, AMD EPYC)
# ```
#
# ## Questions to think about
#
# 1. Temperature is applied before top-k and top-p. Would the other order keep the same tokens?
# 2. Nothing is kept of the queries, and nothing of the residual stream. Which of the two would be enough to keep
#    *instead* of keys and values, and what would it cost?
# 3. GPT-2 XL has 48 layers, 1,600 channels and 1.56 billion weights. In float16, after how many tokens of context
#    does the memory of keys and values weigh as much as the model?
#
# Answers: `python -m lessons answers 16`
#
# ## To read on
#
# - Holtzman et al.: "The Curious Case of Neural Text Degeneration", 2020, arXiv:1904.09751: why the likeliest text
#   is not the best one.
# - Fan, Lewis, Dauphin: "Hierarchical Neural Story Generation", 2018, arXiv:1805.04833: top-k.
# - Shazeer: "Fast Transformer Decoding: One Write-Head is All You Need", 2019, arXiv:1911.02150: what the memory of
#   keys and values costs, and how to make it smaller.
# - Pope et al.: "Efficiently Scaling Transformer Inference", 2022, arXiv:2211.05102.
# - `tinygpt/sample.py`: the rules; `tinygpt/layers/attention.py`: `decode`; `KeyValueCache`, the memory, and
#   `Model.stream` in `tinygpt/models/model.py`; `Block.decode` in `tinygpt/models/gpt2.py`.

# %% [markdown]
# ## Answers
#
# 1. *Temperature before or after top-k and top-p?* For top-k it makes no difference: dividing by T keeps the order, so
#    the same k tokens stay, with the same probabilities in the end. For top-p it does: a high temperature first levels
#    the distribution, and more tokens are needed to reach p. Below, 0.9 is reached by 3 tokens or by 4.

# %%
import numpy as np
from kit import stated

from tinygpt.sample import probabilities

logits = np.log([[0.6, 0.2, 0.12, 0.08]])
before = probabilities(logits, temperature=2.0, top_p=0.9)
kept = probabilities(logits, top_p=0.9)
after = kept ** (1 / 2.0) / (kept ** (1 / 2.0)).sum()
print("temperature 2, then top-p:", before.round(3)[0])
print("top-p, then temperature 2:", after.round(3)[0])
stated("4", np.count_nonzero(before))
stated("3", np.count_nonzero(after))

# %% [markdown]
# 2. *What else could be kept?* The residual stream x of each layer is enough, since keys and values are made from it,
#    and it is half as much: C numbers instead of 2 C. But each step would have to make the keys and values of all the
#    past anew, 4 C² operations for each position and layer. The queries are of no use: nobody asks for them again.
# 3. *When does the memory weigh as much as GPT-2 XL?* 2 · 48 · 1,600 numbers of two bytes are 307,200 bytes for each
#    token. The weights are 3.1 billion bytes, so after about ten thousand tokens, ten times the context it was trained
#    with. For several texts at once, sooner.

# %%
from kit import stated

from tinygpt import GPTConfig

xl = GPTConfig.preset("gpt2-xl")
per_token = 2 * xl.n_layer * xl.n_embd * 2
stated("1,600", xl.n_embd)
stated("307,200", per_token)
stated("3.1", 2 * xl.n_params / 1e9)
print(f"GPT-2 XL: the memory weighs as much as the weights after {2 * xl.n_params / per_token:,.0f} tokens")
stated("1.56", xl.n_params / 1e9)

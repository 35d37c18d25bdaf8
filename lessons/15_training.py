# %% [markdown]
# # 15. A real training run
#
# *40 minutes*
#
# Everything is there: the text as tokens, the model, every gradient, the optimiser. This lesson trains a GPT on the
# lessons' own text, with the engine's training loop, and keeps it: later lessons sample from it and train it on.
#
# A training run shows you almost nothing of itself. You see a number that falls.
#
# **When is a falling loss good news?** And if a gradient somewhere is wrong, would you see it in that number?

# %%
import itertools
import math
import sys
import time
from types import SimpleNamespace

import numpy as np

import tinygpt

sys.path += [f"{tinygpt.__path__[0]}/../lessons"]  # where kit is, whatever folder a notebook runs in
from heat import heat
from kit import OUT, TINY, plot, stated

from tinygpt import GPT, GPTConfig
from tinygpt.backend import random_bits
from tinygpt.data import windows_at
from tinygpt.errors import UserError
from tinygpt.gradcheck import diagnose, gradient_check
from tinygpt.gradcheck.mutants import find
from tinygpt.layers import dropout
from tinygpt.models.gpt2 import costs
from tinygpt.observed import observe
from tinygpt.ops import DEFINITIONS
from tinygpt.optim import AdamW
from tinygpt.parallel import blas_threads
from tinygpt.train import EvalRecord, StepRecord, TrainConfig, start, train

# %% [markdown]
# ## Landmarks
#
# `start` reads the text, splits it into a first part to train on and a last part to *validate* on (which no gradient
# ever sees), and makes model and optimiser:

# %%
state = start(TrainConfig(**TINY))
text, model = state.corpus, state.model
print(f"{len(text.train):,} characters to train on, {len(text.val):,} to validate, {text.vocab_size} different")
print(f"{model.config.n_layer} layers, {model.config.n_embd} channels, {model.config.n_params:,} parameters")

# %% [markdown]
# A loss in nats says little by itself, so before anything runs put marks beside it that need no network, only counting
# (lesson 3):
#
# - A model that knows nothing gives each of the 49 characters 1/49, and loses ln 49 = 3.89. **A run must begin here.**
#   Far above, and the first logits are too large; far below, and something leaks.
# - A model that knows how frequent each character is, and nothing else, loses their entropy: 2.99.
# - A model that knows how often each character follows each other one in this very text loses 2.17.


# %%
def entropy_after(tokens, n):
    """Nats per token lost by one who has counted, in these very tokens, what follows each run of n tokens."""
    runs = np.lib.stride_tricks.sliding_window_view(tokens, n + 1)
    _, whole = np.unique(runs, axis=0, return_counts=True)
    _, context = np.unique(runs[:, :n], axis=0, return_counts=True)
    return ((context * np.log(context)).sum() - (whole * np.log(whole)).sum()) / len(runs)


V = text.vocab_size
marks = {"nothing": math.log(V), "letters": entropy_after(text.train, 0), "pairs": entropy_after(text.train, 1)}
stated("49", V)
stated("3.89", marks["nothing"])
stated("2.99", marks["letters"])
stated("2.17", marks["pairs"])

# %% [markdown]
# ## The run
#
# `train` is a generator: each step, and each evaluation, is a record that we may print, plot or ignore. At each
# evaluation it saves the run, and the best weights so far, in a folder. The run has 600 steps of 8 windows of 48
# characters. At which step will a batch's loss be below 2.99, and at which below 2.17? Which of the two losses will be
# the lower in the end, train or validation? Guess, then run it.

# %%
began = time.perf_counter()
records = list(train(state))
seconds = time.perf_counter() - began
steps = [r for r in records if isinstance(r, StepRecord) and r.loss is not None]
evaluations = [r for r in records if isinstance(r, EvalRecord)]
print("\n step   train   validation   (nats per character)")
for r in evaluations[:: max(1, len(evaluations) // 8)]:
    print(f"{r.step:>5}   {r.train_loss:5.2f}   {r.val_loss:10.2f}")
print(f"\nin {seconds:.1f} s; the best weights are in {(OUT / 'tiny-gpt' / 'best').relative_to(OUT.parent.parent)}")

# %%
assert abs(evaluations[0].train_loss - marks["nothing"]) < 0.15
with plot("loss") as axes:
    axes.plot([r.step for r in steps], [r.loss for r in steps], color="0.75", lw=0.8, label="one batch")
    axes.plot([r.step for r in evaluations], [r.train_loss for r in evaluations], label="train")
    axes.plot([r.step for r in evaluations], [r.val_loss for r in evaluations], label="validation")
    for name, level in marks.items():
        axes.axhline(level, color="0.5", lw=0.8, ls=":")
        axes.text(steps[-1].step, level + 0.03, f"knows {name}", ha="right", color="0.4", fontsize=8)
    axes.set(xlabel="step", ylabel="loss, nats per character")
    axes.legend(frameon=False, loc="upper center")
passed = {}
for name, level in marks.items():
    passed[name] = next(r.step for r in [*steps, steps[-1]] if r.loss < level or r is steps[-1])
    print(f"{name:<8} {level:.2f} nats: a batch is below it at step {passed[name]}")
assert passed["letters"] < 40

# %% [markdown]
# Read the curve from the left. In some twenty steps it is below 2.99: which letters are frequent is learned first,
# because every token's gradient agrees about it. (Some runs rest there a while, as you will see below: what follows
# which letter can only be learned once the letters' embeddings differ.) Then it bends, and falls slowly, through
# what pairs tell, to what only attention can know.
#
# The grey line is the loss of each step's own batch. It jumps because batches differ in difficulty, not because the
# model does. Judge a run by the same batches every time, which is what an evaluation is.
#
# At the end there is a gap: about 1.6 on the text that it trains on, about 2.0 on text that it has never seen.

# %%
stated("1.6", evaluations[-1].train_loss, within=0.15)
stated("2.0", evaluations[-1].val_loss, within=0.15)
last = evaluations[-1]
print(f"perplexity {math.exp(last.val_loss):.1f} of {V}, {last.bits_per_character:.2f} bits a character")

# %% [markdown]
# ## A look inside
#
# What has it learned? Here is this model as it was after such a run, in three pictures. First its attention, in a
# sentence that it was trained on and in one of the validation text. In the first block both heads look at what has just
# been. In the second each row has chosen a few characters, often the same ones as its neighbours.
#
# ![What each of four heads looks at in two sentences, as triangles of weights: near the diagonal in the first block, in
# columns in the second.](../pictures/attention_maps.svg)
#
# Then its embeddings, in the two directions in which they differ most. The first is, nearly, how frequent a character
# is. In the second the vowels lie on one side, all but e, and the marks at which one pauses far out on the other.
# Nobody told it what a vowel is.
#
# ![The characters by the first two principal components of their embeddings: capitals on the left, frequent letters on
# the right, the vowels but e below, and punctuation above.](../pictures/embeddings.svg)
#
# And what the loss has to say to it, at each place, on its way back: before training it arrives at the embeddings as
# it left the top, as lesson 11 promised. Afterwards most of it comes through the first block.
#
# ![The norm of the gradient at each place of the model as a width, before and after training: an even stream before,
# and after it a thin one that widens at the first block.](../pictures/gradient_flow.svg)
#
# Yours can be looked at just so: here is the head of it that looks back at the last character more than the others do,
# on a few words. A row is a character that looks, a column one that it looks at. What else does it look for?

# %%
words = "the sea was calm"
seen = observe(model, text.tokenizer.encode(words))
back = np.diagonal(seen.weights, -1, axis1=2, axis2=3).mean(-1)  # (L, H): what goes to the character before
block, head = np.unravel_index(back.argmax(), back.shape)
heat(seen.weights[block, head], words, words, title=f"block {block}, head {head}")

# %% [markdown]
# All heads, and what was expected after each character, are on a page that this makes of any model and any text:
#
# ```
# tinygpt show --out_dir=lessons/out/tiny-gpt "the sea was calm" --open
# ```

# %% [markdown]
# ## Too little, too much
#
# Two things can be wrong with a finished run. **Underfitting**: both losses are high and close together, and both
# still fall; the model is too small, or has not trained for long enough. **Overfitting**: the train loss falls and
# the validation loss turns and rises. The model spends its parameters on the accidents of this text.
#
# We want to see that, so we make it happen: a small model on the whole text, and the same one on the first 600
# characters of it. Here is the loop once more, written out so that it can take any table of layers:


# %%
def short_run(tokens, steps=100, ops=None, parts=None, learning_rate=4e-3, clip=1.0, p=0.0, every=None):
    """Train a small GPT, with the engine's fast layers if ops is None. Returns its model, each step's loss and gradient
    norm, and [step, train, val] losses.
    """
    T = 16
    config = GPTConfig(block_size=T, vocab_size=V, n_layer=2, n_head=2, n_embd=32, dropout=p)
    model = GPT(config, seed=1, ops=ops, parts=parts)
    optimizer, grads = AdamW(model.params, betas=(0.9, 0.99)), model.params.zeros_like()
    rng = np.random.default_rng(1)
    run = SimpleNamespace(model=model, losses=[], norms=[], evaluations=[])
    seen = [windows_at(part, np.linspace(0, len(part) - T - 1, 40).astype(int), T) for part in (tokens, text.val)]
    with np.errstate(all="ignore"), blas_threads(1):
        for step in range(steps + 1):
            if every and step % every == 0:
                run.evaluations.append([step, *(float(model.loss(*both, need_grad=False)[0]) for both in seen)])
            idx, targets = windows_at(tokens, rng.integers(len(tokens) - T, size=16), T)  # (16, 16)
            loss, cache = model.loss(idx, targets, step=step)
            grads.flat[...] = 0
            model.backward(cache, grads)
            norm = optimizer.step(grads, learning_rate * min(1, (step + 1) / 20), clip)
            run.losses.append(float(loss))
            run.norms.append(float(norm))
    run.evaluations = np.array(run.evaluations).T
    return run


little = text.train[:600]
whole_text = short_run(text.train, 160, every=20)
little_text = short_run(little, 160, every=20)
for name, run in (("whole text", whole_text), ("600 characters", little_text)):
    at, seen, unseen = run.evaluations
    best = unseen.argmin()
    print(f"{name:<15} train {seen[-1]:.2f}  validation {unseen[-1]:.2f}", end="   ")
    print(f"best {unseen[best]:.2f} at step {at[best]:.0f}")

# %% [markdown]
# On the whole text this small model underfits: after 160 steps 2.1 and 2.4, close together and falling. On a tenth
# of the text it is at 1.7 on what it has seen, and on what it has not it came down to 2.7 and then went *up* to
# 3.0, which is no better than knowing letters.
#
# What to do: for underfitting a larger model, more steps, a higher learning rate. For overfitting more text, before
# anything else. Or stop where the validation loss is lowest, which is why `train` keeps the *best* weights beside
# the last ones. Or make remembering harder, which comes next.

# %%
stated("2.1", whole_text.evaluations[1, -1], within=0.15)
stated("2.4", whole_text.evaluations[2, -1], within=0.15)
stated("1.7", little_text.evaluations[1, -1], within=0.15)
stated("2.7", little_text.evaluations[2].min(), within=0.15)
stated("3.0", little_text.evaluations[2, -1], within=0.15)
assert little_text.evaluations[2, -1] > little_text.evaluations[2].min() + 0.1

# %% [markdown]
# ## Dropout, on paper
#
# In training, each activation is set to 0 with probability p, anew in every step, and what stays is divided by 1 −
# p. A model that cannot rely on any single number being there must spread what it knows. Take x = (4, 8, 2, 6) and
# p = 0.2:
#
# ```
# mask k              1    0    1    1          drawn: 1 with probability 0.8
# x k / 0.8           5    0    2.5  7.5
# ```
#
# The formula (Srivastava et al., JMLR 2014), and what it does to an entry on average, over masks:
#
# ```
# out    = x k / (1 − p)               P(k = 1) = 1 − p,  k² = k
# E[out] = x (1 − p) / (1 − p)                       =  x
# var    = x² (1 − p) / (1 − p)²  −  x²              =  x² p / (1 − p)
# ```
#
# The mean stays what it was. So evaluation and sampling leave dropout out altogether and change nothing else. The
# price is noise: with p = 0.2 a standard deviation of x/2. Four entries have 16 masks; weigh each by its
# probability:

# %%
x, p = np.array([4.0, 8, 2, 6]), 0.2
masks = np.array(list(itertools.product((0, 1), repeat=4)))  # (16, 4)
chance = ((1 - p) ** masks * p ** (1 - masks)).prod(axis=1)  # (16,)
outs = x * masks / (1 - p)  # (16, 4)
mean = chance @ outs
deviation = np.sqrt(chance @ (outs - mean) ** 2)
print("mean", mean.round(12), " standard deviation", deviation)
print("the mask above gives", x * [1, 0, 1, 1] / (1 - p))
assert np.allclose(x * [1, 0, 1, 1] / (1 - p), [5, 0, 2.5, 7.5])
assert np.allclose(mean, x) and np.allclose(deviation, x / 2) and math.isclose(chance.sum(), 1)

# %% [markdown]
# ## Backward
#
# Once the mask is drawn, out is x times a number, entry by entry:


# %%
def forward(x, p, seed):
    keep = np.random.default_rng(seed).random(x.shape) >= p  # the seed is an argument: called again, the same mask
    return x * keep / (1 - p), (keep, p)


rng = np.random.default_rng(14)
x, dout, p, seed = rng.standard_normal((3, 5)), rng.standard_normal((3, 5)), 0.4, 3
print(forward(x, p, seed)[0].round(2))

# %% [markdown]
# What is the gradient of x, where x was kept and where it was dropped? One line: dx.


# %% derive: backward(dout, forward(x, p, seed)[1])
def backward(dout, cache):
    keep, p = cache
    dx = dout * keep / (1 - p)
    return dx


# %% [markdown]
# ```
# dx = dout k / (1 − p)
# ```
#
# It must be the *same* mask: that is all that the cache holds. And a check of it meets a difficulty of its own. Write
# dropout with a generator that draws a new mask at every call, and hand it to the gradient check. What will it say?


# %%
def restless_forward(x, p):
    keep = rng.random(x.shape) >= p
    return x * keep / (1 - p), (keep, p)


inputs = {"x": x, "p": p}
try:
    gradient_check(restless_forward, backward, inputs)
except UserError as error:
    print(error)
report = gradient_check(forward, backward, inputs | {"seed": seed})
print(report)
assert report.passed

# %% [markdown]
# A function that gives something else each time has no derivative. The engine goes a step further than a seed:
# `random_bits(shape, key, row, xp)` is a *hash* of the key (made of seed, step, layer and place in the block) and
# of each element's place, 32 bits that look random. An element is kept where its bits, a whole number from 0 to 2³²
# − 1, are at least p · 2³². A worker that holds rows 2 and 3 of a batch computes the bits that the whole batch has
# there:

# %%
bits = random_bits((4, 1000), key=7, first_row=0, xp=np)  # uint32
print("share below 0.2 · 2³²:", (bits < np.uint32(0.2 * 2**32)).mean())
ones = np.ones((4, 6))
whole, _ = dropout.forward(ones, 0.2, key=7)
part, _ = dropout.forward(ones[2:], 0.2, key=7, row=2)
print("rows 2 and 3 alone, the same mask:", (part == whole[2:]).all())
assert (part == whole[2:]).all() and abs((bits < np.uint32(0.2 * 2**32)).mean() - 0.2) < 0.03

# %% [markdown]
# ## Your turn: dropout
#
# ```
# python -m lessons start 15     writes lessons/work/dropout.py
# python -m lessons check 15     against the definition and numerical derivatives
# python -m lessons hint 15      if you are stuck
# ```
#
# The file is the engine's own with the two bodies left out. Three things are asked that the code above does not do: the
# mask comes from `random_bits`, bit for bit as the engine's, so that a run on your layer repeats the engine's; with
# p = 0 x comes back as it is; and float32 must stay float32. Then see it at work, in
# `python -m lessons run 15`, and on a text that you like, with all that you have written so far:
#
# ```
# python train.py --mine lessons/work --dropout=0.1 --data=my.txt --out_dir=out-me
# ```
#
# ## What it is worth
#
# A GPT drops in four places: the sum of the embeddings, the attention weights, and what attention and MLP add to the
# residual stream. Now the little text again, with p = 0.3. Which will fall, the train loss, the validation loss, or
# both?

# %%
dropped = short_run(little, 160, p=0.3, every=20)
with plot("overfitting") as axes:
    for name, run, colour in (
        ("whole text", whole_text, "tab:green"),
        ("600 characters", little_text, "tab:red"),
        ("600 characters, dropout", dropped, "tab:blue"),
    ):
        at, seen, unseen = run.evaluations
        axes.plot(at, seen, "--", color=colour)
        axes.plot(at, unseen, color=colour, label=name)
        print(f"{name:<26} train {seen[-1]:.2f}  validation {unseen[-1]:.2f}  gap {unseen[-1] - seen[-1]:.2f}")
    axes.set(xlabel="step", ylabel="loss: train dashed, validation solid")
    axes.legend(frameon=False)
gap, gap_dropped = (run.evaluations[2, -1] - run.evaluations[1, -1] for run in (little_text, dropped))
assert gap_dropped < gap - 0.2 and dropped.evaluations[2, -1] < little_text.evaluations[2, -1]
assert dropped.evaluations[2].min() > little_text.evaluations[2].min() - 0.1

# %% [markdown]
# It remembers less, and the validation loss rises less. But it is no better than the other's best: dropout cannot
# say what the missing nine tenths of the text would have said.
#
# ## A bug on purpose
#
# Forget the mask in backward, and what was dropped learns from an error that it had no part in:

# %%
print(diagnose("dropout", find("dropout", "mask_forgotten").stand_in()))

# %% [markdown]
# ## What a bug does to the curve
#
# Now the second question of the beginning. Eight short runs, each with one thing wrong: three settings, and five
# bugs, each put into the place of a layer. Before you read on, guess: which of them would you notice?


# %%
def with_bug(layer, name):
    wrong = {layer: find(layer, name).stand_in()}
    return {"parts": wrong} if layer == "block" else {"ops": DEFINITIONS.replace(**wrong)}


trouble = {
    "learning rate times 10": {"learning_rate": 4e-2},
    "learning rate over 10": {"learning_rate": 4e-4},
    "no clipping": {"clip": 0.0},
    "no residual path in backward": with_bug("block", "attention_residual_forgotten"),
    "dk transposed": with_bug("attention", "dk_transposed"),
    "db a mean": with_bug("linear", "db_mean"),
    "1/N forgotten in dlogits": with_bug("cross_entropy", "mean_forgotten"),
    "mask one place too far": with_bug("attention", "forward_sees_the_next_token"),
}
runs = {"nothing wrong": SimpleNamespace(losses=whole_text.losses[:101], norms=whole_text.norms)}
runs |= {name: short_run(text.train, **settings) for name, settings in trouble.items()}
final = {name: np.mean(run.losses[-10:]) for name, run in runs.items()}
print(f"{'':<30}loss after 100 steps   first gradient norm")
for name, run in runs.items():
    print(f"{name:<30}{final[name]:20.2f}   {run.norms[0]:19.2f}")

with plot("bugs", columns=2, size=(9.6, 3.8)) as both:
    groups = list(trouble)[:3], list(trouble)[3:]
    for axes, group, title in zip(both, groups, ("a setting", "a bug"), strict=True):
        for name in ("nothing wrong", *group):
            smooth = np.convolve(runs[name].losses, np.ones(8) / 8, mode="valid")
            axes.plot(smooth, label=name, **({"color": "black", "lw": 2.5} if name == "nothing wrong" else {}))
        axes.axhline(marks["letters"], color="0.5", lw=0.8, ls=":")
        axes.set(xlabel="step", ylabel="loss of the batches", title=title)
        axes.legend(frameon=False, fontsize=8)

# %% [markdown]
# - **Stuck at 2.99.** The learning rate ten times too large, and the gradient that does not pass around attention,
#   look alike: the model knows which letters are frequent and learns nothing else. A curve says *that* something is
#   wrong.
# - **Slow, and smooth.** The learning rate ten times too small. It is the one fault that more patience mends.
# - **Nothing to see.** dk transposed, db a mean, 1/N forgotten: by eye, you would call each of them a healthy run.
#   AdamW divides every gradient by its own usual size (lesson 13), so a factor cancels; and a transposed dk
#   misleads the keys alone, while all else is right. This is why lesson 4 came before this one: **a loss that falls
#   proves no gradient.**
# - **Behind.** Without clipping (lesson 14) one batch's gradient was many times as large as usual. AdamW's v remembers
#   that for about a hundred steps (β₂ = 0.99), and makes each of them smaller. (Another seed shows less of it, or
#   more.)
# - **Too good.** With the mask one place too far each token sees the one that it should predict. After 100 steps it
#   is at 1.2 nats, where the larger model of this lesson came to 1.6 after all of its own. Luck is no explanation.
#
# The forgotten 1/N hides from the loss but not from the gradient's norm, in the last column: it is 256 times too
# large, the number of targets in a batch. Print the norm. And ask the run that was too good for honest work:

# %%
right = final["nothing wrong"]
for name in ("learning rate times 10", "no residual path in backward"):
    stated("2.99", final[name], within=0.12)
for name in ("dk transposed", "db a mean", "1/N forgotten in dlogits"):
    assert abs(final[name] - right) < 0.25, name
assert final["learning rate over 10"] > right + 0.15
assert final["no clipping"] > right + 0.1
print(f"largest gradient norm without clipping {max(runs['no clipping'].norms):.1f},", end=" ")
print(f"median {np.median(runs['no clipping'].norms):.1f}")
stated("1.2", final["mask one place too far"], within=0.15)
stated("256", runs["1/N forgotten in dlogits"].norms[0] / runs["nothing wrong"].norms[0], within=1)

cheat = runs["mask one place too far"].model
window = windows_at(text.val, np.arange(0, 600, 16), 16)
print(f"validation loss with the mask it trained with {float(cheat.loss(*window, need_grad=False)[0]):5.2f}")
cheat.ops = DEFINITIONS
honest = float(cheat.loss(*window, need_grad=False)[0])
print(f"                     with the right mask      {honest:5.2f}")
assert honest > marks["nothing"]

# %% [markdown]
# Its validation loss is as good as its train loss, because the answer stands there too. Take the answer away and it
# is worse than one that knows nothing.
#
# ## Is this normal?
#
# Your own runs will be of the presets, so here is what these gave. First the `cpu` preset (`python train.py`), then
# others. Outside a band, look for a reason; inside it, there may still be a bug.
#
# ```recorded
# python train.py --seed=1337, 1 and 2, on 2 cores of a shared server (AMD EPYC)
#
# step             0         250        500        750       1,500     3,000
# train loss   4.33-4.42  2.32-2.38  2.08-2.14  1.94-1.98    1.70      1.42
# validation   4.34-4.43  2.32-2.38  2.07-2.16  1.93-2.01    1.74      1.51
# normal       4.2-4.7    2.2-2.5    2.0-2.3    1.8-2.1    1.65-1.85  1.4-1.6
#
# from step 1,500 on: seed 1337 alone
# gradient norm before clipping: 7-8 at first, then 0.7-2
# speed: 15,000-21,000 tokens/s; in a quieter hour 26,000 (docs/using.md)
# ```
#
# ```recorded
# run                                      validation loss     source
# tiny Shakespeare, cpu, 2,000 steps       1.76, 1.78, 1.79    docs/gradients.md
#   learning rate 1e-3                     1.90, 1.91, 1.92    docs/gradients.md
#   nanoGPT's own code, 1e-3               1.88                nanoGPT's README
# tiny Shakespeare, baby, on a card        1.46 at its best    docs/cuda.md
#   nanoGPT's own code                     1.47 at its best    nanoGPT's README
# gpt2 on OpenWebText, 8 A100, 4 days      about 2.85          nanoGPT's README
#
# gpt2 before training: 10.97, where ln V is 10.82 (benchmarks/results/cpu.txt)
# ```
#
# Other questions that come up.
#
# - *Is the loss nan?* `train` stops and says at which step. Lower the learning rate, and go on from what was saved
#   last.
# - *Does it jump up and come back?* A rare batch. If it jumps often, lower the learning rate.
# - *Is validation below train?* By luck in a few batches, or the validation text is the easier one.
# - *Does it begin below ln V?* The text of `python train.py` alone is source code, Python's own, with 97 different
#   characters. ln 97 is 4.57, and all three seeds above begin below it. The head is tied to the embeddings, so an
#   untrained model bets on the token that it has just read, and source code has runs of spaces:

# %%
fresh = GPT(GPTConfig(block_size=64, vocab_size=97, n_layer=4, n_head=4, n_embd=128, bias=False))
idx = np.random.default_rng(0).integers(97, size=(4, 64))
logits, _ = fresh.forward(idx)
same = np.exp(np.take_along_axis(logits, idx[..., None], -1)[..., 0]) / np.exp(logits).sum(-1)
print(f"probability of the same token again: {same.mean():.1%}, where 1/97 is {1 / 97:.1%}")
stated("4.57", math.log(97))
assert same.mean() > 2 / 97

# %% [markdown]
# ## What it costs
#
# A training step costs about three forward passes: one forward, and two products in backward for each of forward's.
# For each token that is 6 operations for every weight in a matrix product, and attention's scores on top.

# %%
per_token = 3 * sum(row.flops for row in costs(model.config))
tokens = steps[-1].step * state.tokens_per_step
print(f"{per_token / 1e6:.2f} MFLOPs a token, {tokens:,} tokens")
print(f"{per_token * tokens / 1e9:.0f} GFLOPs, in {seconds:.1f} s with evaluations and saving")
print(f"each character was seen {tokens / len(text.train):.0f} times")
rule = 6 * model.config.n_params
print(f"by the rule of six: {rule / 1e6:.2f} MFLOPs a token (Kaplan et al., 2020)")
assert 0.8 < rule / per_token < 1.2

# %% [markdown]
# Dropout does nothing but move numbers: forward reads x and writes out and the mask, which is one byte for each element
# beside float32's four. The bits are a dozen integer operations each, which is why p = 0 returns x itself.
#
# ## Questions to think about
#
# 1. Training with dropout, a run prints a higher loss for the batch of a step than an evaluation on the training text
#    gives right after. Nothing is wrong. Why do they differ?
# 2. We validate on the last tenth of the text. Why not on windows picked at random from all of it?
# 3. The run that was too good has excellent losses on both texts. Which single measurement on the finished model shows
#    what it does, without a look at its code?
#
# Answers: `python -m lessons answers 15`
#
# ## To read on
#
# - Srivastava et al.: "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 15, 2014.
# - Pascanu, Mikolov, Bengio: "On the difficulty of training recurrent neural networks", 2012, arXiv:1211.5063:
#   clipping.
# - Kaplan et al.: "Scaling Laws for Neural Language Models", 2020, arXiv:2001.08361: section 2.1 counts operations.
# - Karpathy: "A Recipe for Training Neural Networks", 2019, on his blog: how to look for what makes no noise.
# - `tinygpt/run/loop.py`, the loop; `tinygpt/layers/dropout.py`; `random_bits` in `tinygpt/random.py`.

# %% [markdown]
# ## Answers
#
# 1. *Why does a training batch have a higher loss than an evaluation on the same text?* The batch is computed with
#    dropout, with a fifth of the activations gone if p is 0.2, and the evaluation without. (It is also computed before
#    the step.)
# 2. *Why not validate on windows picked at random?* Windows of the training text would overlap them nearly everywhere.
#    The model would be examined in what it has learned by heart, and the gap between the two losses would not show.
# 3. *Which measurement shows that a model sees the future?* Change the last token of an input and look at the logits
#    before it. In a causal model they cannot move. Keep this one in mind, the second half of lesson 16 rests on it.

# %%
import dataclasses

import numpy as np
from kit import TEXT, tiny_gpt

from tinygpt import GPT
from tinygpt.gradcheck.mutants import find
from tinygpt.ops import DEFINITIONS

trained, tokenizer = tiny_gpt()
idx, targets = (tokenizer.encode(part).astype(np.int64)[None] for part in (TEXT[:48], TEXT[1:49]))


def trained_with(ops=DEFINITIONS, **changes):
    """The trained model in float64, with other settings or layers."""
    copy = GPT(dataclasses.replace(trained.config, **changes), dtype="float64", seed=None, ops=ops)
    copy.params.flat[...] = trained.params.flat
    return copy


with_dropout = trained_with(dropout=0.2)
training, evaluating = (float(with_dropout.loss(idx, targets, need_grad=need)[0]) for need in (True, False))
print(f"loss of the same 48 characters: {training:.2f} with dropout, {evaluating:.2f} without")

changed = idx.copy()
changed[0, -1] = (changed[0, -1] + 1) % trained.config.vocab_size
cheat = DEFINITIONS.replace(attention=find("attention", "forward_sees_the_next_token").stand_in())
for name, one in (("causal", trained_with()), ("sees the next token", trained_with(cheat))):
    moved = np.abs(one.forward(changed)[0] - one.forward(idx)[0])[0, :-1].max()
    print(f"{name:<20} the last token changed, earlier logits moved by {moved:.2g}")
    assert (moved > 0) == (name != "causal")

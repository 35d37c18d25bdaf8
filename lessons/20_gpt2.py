# %% [markdown]
# # 20. GPT-2
#
# *30 minutes*
#
# In 2019 OpenAI published GPT-2's weights. You have written every function that uses them.
#
# **What is still missing between your model and GPT-2?** And if it is only numbers: how do they get in, and how do
# you make them write like your own text?
#
# The real weights are half a gigabyte on the network, and this course needs no network. So the model of lesson 15,
# saved in the very same format, stands in for them. All that is done with it here is done with GPT-2 in the same
# way, by the commands near the end.

# %%
import dataclasses
import json
import math
import shutil
import sys

import numpy as np

import tinygpt

sys.path += [f"{tinygpt.__path__[0]}/../lessons"]  # where kit is, whatever folder a notebook runs in
from kit import FOLDER, OUT, TEXT, plot, stated, tiny_gpt
from safetensors.numpy import load_file, save_file

from tinygpt import GPT, GPTConfig
from tinygpt.data import windows_at
from tinygpt.errors import UserError
from tinygpt.models.gpt2 import costs
from tinygpt.optim import AdamW
from tinygpt.parallel import blas_threads

tiny, tokenizer = tiny_gpt()
best = OUT / "tiny-gpt" / "best"
print("the stand-in:", sorted(path.name for path in best.iterdir()))

# %% [markdown]
# ## On paper
#
# GPT-2's smallest has 12 layers, 12 heads, 768 channels, a context of 1024 tokens and a vocabulary of 50,257: the
# 256 bytes, 50,000 merges (lesson 2) and one token for the end of a text. How many parameters?
#
# ```
# wte           50,257 · 768          38,597,376    the head is the same: 0 more
# wpe            1,024 · 768             786,432
#
# ln_1          2 · 768                    1,536    w and b
# attn.c_attn   768 · 2,304 + 2,304    1,771,776    q, k and v side by side
# attn.c_proj   768 · 768 + 768          590,592
# ln_2          2 · 768                    1,536
# mlp.c_fc      768 · 3,072 + 3,072    2,362,368
# mlp.c_proj    3,072 · 768 + 768      2,360,064
# one block                            7,087,872
# twelve blocks                       85,054,464
#
# ln_f          2 · 768                    1,536
# all                                124,439,808
# ```
#
# With a head of its own it would have 38,597,376 more. The paper (Radford et al., 2019, table 2) says 117M; OpenAI
# noted later that its counts had been wrong.

# %%
gpt2 = GPTConfig()  # its defaults are GPT-2's smallest
C, V, T = gpt2.n_embd, gpt2.vocab_size, gpt2.block_size
sizes = {name: math.prod(shape) for name, shape in gpt2.shapes().items()}
stated("50,257", 256 + 50_000 + 1)
stated("50,257", V)
stated("50,000", V - 256 - 1)
stated("38,597,376", V * C)
stated("786,432", T * C)
for part, words in (
    ("ln_1", "1,536"), ("attn.c_attn", "1,771,776"), ("attn.c_proj", "590,592"),
    ("ln_2", "1,536"), ("mlp.c_fc", "2,362,368"), ("mlp.c_proj", "2,360,064"),
):  # fmt: skip
    stated(words, sizes[f"h.0.{part}.weight"] + sizes[f"h.0.{part}.bias"])
in_a_block = sum(size for name, size in sizes.items() if name.startswith("h.0."))
stated("7,087,872", in_a_block)
stated("85,054,464", 12 * in_a_block)
stated("124,439,808", sum(sizes.values()))
stated("768", C)
stated("2,304", 3 * C)
stated("3,072", 4 * C)
stated("1,024", T)
print(f"{len(sizes)} tensors, {sum(sizes.values()):,} parameters; the paper says 117M")

# %% [markdown]
# ## What a checkpoint is
#
# A folder with two files. `config.json` says what shape the model has, and `model.safetensors` holds the numbers.
# That format is soon told: 8 bytes with the length of a header, the header, which is JSON, and the arrays one after
# the other. A few lines read it. Nothing in it can be executed, which cannot be said of a pickle, the form in which
# models used to be passed around.


# %%
def read_safetensors(path):
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header, data = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    header.pop("__metadata__", None)
    return {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], {"F32": "<f4"}[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in header.items()
    }


print((best / "config.json").read_text())
by_hand = read_safetensors(best / "model.safetensors")
by_library = load_file(best / "model.safetensors")
print("as the library reads it:", all(np.array_equal(by_hand[name], by_library[name]) for name in by_library))

# %% [markdown]
# Here are the stand-in's tensors beside GPT-2's. The names are the same, up to the number of blocks: they are the
# names that you have met since lesson 5. The shapes differ only in the sizes.

# %%
theirs = gpt2.shapes()
for name, array in sorted(by_hand.items(), key=lambda item: list(theirs).index(item[0])):
    if not name.startswith("h.1."):
        print(f"{name:<24}{array.shape!s:>12}      GPT-2: {theirs[name]!s:>14}")
assert by_hand.keys() == GPTConfig(**dataclasses.asdict(tiny.config)).shapes().keys()

# %% [markdown]
# There is no tensor for the head: it is tied, and `wte.weight` serves twice. What is also missing is the tokenizer.
# The numbers mean something only together with the table of tokens they were trained with. The engine puts its own
# beside the weights, and a folder without one and with a vocabulary of 50,257 is given GPT-2's.
#
# Files from elsewhere vary a little. Some writers put `transformer.` before each name, some store the causal mask
# as if it had been learned, some write the tied head a second time. We make such a file and load it:


# %%
def checkpoint(name, tensors):
    """A folder in lessons/out like the stand-in's, with other tensors."""
    folder = OUT / name
    folder.mkdir(exist_ok=True)
    shutil.copy(best / "config.json", folder)
    save_file(tensors, folder / "model.safetensors")
    return folder


from_elsewhere = {f"transformer.{name}": array for name, array in by_hand.items()}
from_elsewhere["transformer.h.0.attn.bias"] = np.tril(np.ones((1, 1, 48, 48), np.float32))  # not a bias: the mask
from_elsewhere["lm_head.weight"] = by_hand["wte.weight"]
loaded = GPT.from_pretrained(checkpoint("gpt2-from-elsewhere", from_elsewhere), device="cpu")
ids = tokenizer.encode(TEXT).astype(np.int64)
idx, targets = windows_at(ids, np.arange(0, len(ids) - 48, 48), 48)
print("the same logits, to the bit:", np.array_equal(loaded.forward(idx[:4])[0], tiny.forward(idx[:4])[0]))

# %% [markdown]
# The masks explain the size of the real file. In float32 the parameters are 498 MB, and twelve masks of 1024 × 1024
# are 50 MB: together 548 MB, which is what is downloaded.

# %%
stated("498", 4 * gpt2.n_params / 1e6)
stated("50", 4 * 12 * 1024**2 / 1e6)
stated("548", 4 * (gpt2.n_params + 12 * 1024**2) / 1e6)

# %% [markdown]
# ## A bug on purpose
#
# GPT-2's matrices are stored (in, out), for `x @ w`. PyTorch's own linear layer stores (out, in). Whoever converts
# between them transposes, and may transpose once too often. Where the matrix is not square, the shape gives it
# away:

# %%
wrong = dict(by_hand)
wrong["h.0.attn.c_attn.weight"] = np.ascontiguousarray(by_hand["h.0.attn.c_attn.weight"].T)
try:
    GPT.from_pretrained(checkpoint("gpt2-transposed", wrong), device="cpu")
except UserError as error:
    print("error:", error)

# %% [markdown]
# But attention's `c_proj` is square. Its transpose fits, nothing complains, and the model writes worse than before.
# Only a number shows it, the loss on a text that it should know:

# %%
wrong = dict(by_hand)
for layer in range(tiny.config.n_layer):
    name = f"h.{layer}.attn.c_proj.weight"
    wrong[name] = np.ascontiguousarray(by_hand[name].T)
transposed = GPT.from_pretrained(checkpoint("gpt2-transposed", wrong), device="cpu")
right_loss, wrong_loss = (float(model.loss(idx, targets, need_grad=False)[0]) for model in (tiny, transposed))
print(f"loss {right_loss:.2f} nats per token, and with c_proj transposed {wrong_loss:.2f}, and no error")
assert wrong_loss > right_loss + 0.1

# %% [markdown]
# So a converted model is compared before it is believed: logits, to the last digits, with those of the program that
# it came from. The engine's parity tests do that with PyTorch's GPT-2.
#
# ## Fine-tuning
#
# To fine-tune is to train on, with another text and smaller steps. There is no new mathematics in it. Here is a
# text of another kind than the one the stand-in knows, in the same characters; we keep its last days for the test.

# %%
BOOK = (FOLDER / "harbour.txt").read_text(encoding="utf-8")
print(BOOK[:360])
cut = BOOK.index("Thirteenth day")
new, test = (tokenizer.encode(part).astype(np.int64) for part in (BOOK[:cut], BOOK[cut:]))
old = ids
print(f"{len(new):,} tokens to train on, {len(test)} to test with")

try:
    tokenizer.encode("Thirteen days, 13.")
except UserError as error:
    print("error:", error)

# %% [markdown]
# (The last line: a character that the model has no row for cannot be learned by fine-tuning. GPT-2's byte pairs
# know every text.)
#
# The loop is that of lesson 15, as short as it can be. It measures the test's loss on the way. Three learning rates,
# and beside them a fresh model that has never read anything: guess where each begins, and which of the three will
# remember least of its old text.


# %%
def loss_on(model, tokens):
    idx, targets = windows_at(tokens, np.arange(0, len(tokens) - 48, 48), 48)
    return float(model.loss(idx, targets, need_grad=False)[0])


def tune(model, learning_rate, texts=(new,), steps=60, batch_size=8):
    """Train `model` on windows of each of the texts in turn; the test's loss before and after every ten steps."""
    rng = np.random.default_rng(3)
    optimizer, grads = AdamW(model.params, betas=(0.9, 0.99)), model.params.zeros_like()
    curve = [loss_on(model, test)]
    with blas_threads(1):
        for step in range(1, steps + 1):
            tokens = texts[step % len(texts)]
            idx, targets = windows_at(tokens, rng.integers(len(tokens) - 48, size=batch_size), 48)
            _, cache = model.loss(idx, targets)
            grads.flat[...] = 0
            model.backward(cache, grads)
            optimizer.step(grads, learning_rate * min(1, step / 10), max_norm=1.0)
            if step % 10 == 0:
                curve.append(loss_on(model, test))
    return curve


rates = (3e-4, 1e-3, 3e-3)
tuned = {rate: GPT.from_pretrained(best, device="cpu") for rate in rates}
curves = {f"tuned, {rate:g}": tune(tuned[rate], rate) for rate in rates}
fresh = GPT(tiny.config, device="cpu", seed=1)
curves["from scratch, 0.01"] = tune(fresh, 1e-2)

forgotten = {label: loss_on(model, old) for label, model in zip(curves, (*tuned.values(), fresh), strict=True)}
forgotten["not tuned"] = loss_on(tiny, old)
print(f"{'':<20}   before   after   the old text")
for label, curve in curves.items():
    print(f"{label:<20}{curve[0]:9.2f}{curve[-1]:8.2f}{forgotten[label]:15.2f}")
print(f"{'not tuned':<20}{'':>17}{forgotten['not tuned']:15.2f}")

with plot("tuning") as axes:
    for label, curve in curves.items():
        axes.plot(range(0, 61, 10), curve, "--" if "scratch" in label else "-", label=label)
    axes.set(xlabel="step", ylabel="loss on the test, nats per token")
    axes.legend(frameon=False)

# %% [markdown]
# Three things are to be seen.
#
# - The loaded model begins at about 2.4 nats, where the fresh one begins at 3.9, and sixty steps later they are at
#   about 1.1 and 1.9. The loaded one knew letters, words and sentences already, and had to learn what this book
#   says.
# - A larger learning rate is quicker and more destructive. Each larger one leaves the model with a higher loss on
#   its old text, which was about 1.6. This is called forgetting: the weights serve both texts, and nobody asks for
#   the old.
# - The run is short. Sixty batches have read each day of the book about seventeen times, and going on would be
#   learning it by heart (lesson 15).
#
# For GPT-2 itself a common choice is `--learning_rate=3e-5`, as in nanoGPT's example: larger models want smaller steps.

# %%
stated("2.4", curves["tuned, 0.001"][0], within=0.3)
stated("3.9", curves["from scratch, 0.01"][0], within=0.2)
stated("1.1", curves["tuned, 0.001"][-1], within=0.3)
stated("1.9", curves["from scratch, 0.01"][-1], within=0.3)
stated("1.6", forgotten["not tuned"], within=0.3)
assert curves["tuned, 0.001"][-1] < curves["from scratch, 0.01"][-1]
in_order = [forgotten[label] for label in ("not tuned", "tuned, 0.0003", "tuned, 0.001", "tuned, 0.003")]
assert in_order == sorted(in_order)
readings = 60 * 8 * 48 / len(new)  # batches, windows, tokens
print(f"readings of each place in the text: {readings:.0f}")
stated("17", readings)

prompt = tokenizer.encode("Sixteenth day. ").astype(np.int64)[None]
for label, model in (("before", tiny), ("after", tuned[1e-3])):
    written = model.generate(prompt, max_new_tokens=160, temperature=0.5, seed=3)[0]
    print(f"\n{label}:\n{tokenizer.decode(written)}")

# %% [markdown]
# Everyday fine-tuning is one command. This one does much the same as the loop above, with the engine's schedule and
# split, and batches of 12, from a folder to a folder, with evaluations, checkpoints and samples:
#
# ```
# python train.py --init_from=lessons/out/tiny-gpt \
#     --data=lessons/harbour.txt --out_dir=lessons/out/tuned \
#     --learning_rate=1e-3 --warmup_iters=10 --max_iters=60 --eval_interval=20
# tinygpt sample --out_dir=lessons/out/tuned --start="Sixteenth day. "
# ```
#
# ## The real one
#
# ```
# tinygpt sample --out_dir=gpt2 --start="The meaning of life is"
# ```
#
# fetches `config.json` and `model.safetensors` once, 548 MB, into the cache folder, and the two files of GPT-2's
# encoding. Then it does what you know: it checks names and shapes, copies 148 tensors, encodes the prompt, runs
# twelve blocks, keeps keys and values, draws, decodes. And
#
# ```
# python train.py --init_from=gpt2 --data=my.txt --out_dir=out-tuned \
#     --batch_size=1 --block_size=256 --learning_rate=3e-5 \
#     --warmup_iters=20 --max_iters=200 --eval_interval=50
# ```
#
# loads the same weights, puts your text into GPT-2's tokens, keeps the first 256 rows of `wpe`, since shorter
# sequences need no more, and trains, with AdamW's moments at zero. What it writes to `out-tuned/best` is a GPT-2
# folder again, which other programs read.
#
# What it costs: parameters, gradients and two moments are four times 498 MB, 1,991 MB before any activation. A
# token takes 0.28 GFLOPs forward and three times that in training (lesson 12). And a token of text, generated for
# one reader, reads all weights once. With 30 GB in a second from memory, that alone takes 17 ms.

# %%
stated("148", len(sizes))
stated("1,991", 4 * 4 * gpt2.n_params / 1e6)
stated("0.28", sum(row.flops for row in costs(gpt2)) / 1e9)
stated("3e-5", 3e-5)  # as the command above has it
stated("17", 1e3 * 4 * gpt2.n_params / 30e9)

# %% [markdown]
# ## What you now have
#
# A folder, `lessons/work/`, with the parts of a GPT in your own words: a sum that undoes a broadcast, the windows cut
# from a text, a merge, a draw, the numerical gradient that proved the rest, embedding, linear, cross-entropy,
# LayerNorm, GELU, MLP, softmax, attention in its steps, the block's backward, the head, AdamW, the length of a gradient
# and of a step, dropout, the sampling rules and attention that remembers. Each was checked, and each one can be put to
# work:
#
# ```
# python train.py --mine lessons/work
# ```
#
# trains a model with all of them that pass their checks, and says which they are. What it learns, it learns through
# your derivatives. `python -m lessons` shows what is still open.
#
# ## Where to go on
#
# Each of these changes a page of code that you know. Write forward and backward, hold them against
# `gradient_check`, put them into the ops table, and see what the loss says.
#
# - RMSNorm in place of LayerNorm: Zhang and Sennrich, 2019, arXiv:1910.07467. `docs/using.md` has it.
# - SwiGLU in place of GELU: Shazeer, 2020, arXiv:2002.05202.
# - Rotary positions in place of `wpe`: Su et al., 2021, arXiv:2104.09864.
# - Fine-tuning a few numbers instead of all: LoRA, Hu et al., 2021, arXiv:2106.09685.
# - How large a model, and how much text: Kaplan et al., 2020, arXiv:2001.08361, and Hoffmann et al., 2022,
#   arXiv:2203.15556.
# - From a model that continues texts to one that answers: Ouyang et al., 2022, arXiv:2203.02155.
#
# Or leave the mathematics as it is and change the scale: `--preset=baby`, a text of your own with
# `--tokenizer=bpe`, a card.
#
# ## Questions to think about
#
# 1. How would you teach a model a new text and keep the old one?
# 2. A batch holds a small part of the vocabulary. Which rows of `wte` does its gradient change?
# 3. You are handed a converted file, perhaps one like the transposed one, and the program that it came from is
#    gone: there are no logits to compare with. How would you notice?
#
# Answers: `python -m lessons answers 20`
#
# ## To read on
#
# - Radford, Wu, Child, Luan, Amodei, Sutskever: "Language Models are Unsupervised Multitask Learners", 2019: GPT-2.
# - Brown et al.: "Language Models are Few-Shot Learners", 2020, arXiv:2005.14165: GPT-3, the same model, larger.
# - `tinygpt/checkpoint.py` and `tinygpt/run/`; `tests/parity`, where GPT-2's arithmetic is compared with
#   PyTorch's.

# %% [markdown]
# ## Answers
#
# 1. *Show it both.* If every other batch comes from the old text, the old loss stays near where it was, and the new
#    one still falls. Half the steps go to the old text, so the new one comes down less far than it might. Where the old
#    text is not at hand, smaller steps and fewer of them are what remains.

# %%
import numpy as np
from kit import FOLDER, TEXT, tiny_gpt

from tinygpt.data import windows_at
from tinygpt.optim import AdamW
from tinygpt.parallel import blas_threads

_, tokenizer = tiny_gpt()
book = (FOLDER / "harbour.txt").read_text(encoding="utf-8")
cut = book.index("Thirteenth day")
new, test, old = (tokenizer.encode(part).astype(np.int64) for part in (book[:cut], book[cut:], TEXT))


def loss_on(model, tokens):
    idx, targets = windows_at(tokens, np.arange(0, len(tokens) - 48, 48), 48)
    return float(model.loss(idx, targets, need_grad=False)[0])


def tuned(*texts):
    """The trained model after 60 steps more, on each of the texts in turn."""
    model, _ = tiny_gpt()
    rng, optimizer = np.random.default_rng(3), AdamW(model.params, betas=(0.9, 0.99))
    for step in range(60):
        tokens = texts[step % len(texts)]
        _, cache = model.loss(*windows_at(tokens, rng.integers(len(tokens) - 48, size=8), 48))
        optimizer.step(model.backward(cache), 1e-3 * min(1, (step + 1) / 10), max_norm=1.0)
    return model


with blas_threads(1):
    models = {"not tuned": tiny_gpt()[0], "new text only": tuned(new), "both in turns": tuned(new, old)}
losses = {name: (loss_on(model, test), loss_on(model, old)) for name, model in models.items()}
for name, (on_test, on_old) in losses.items():
    print(f"{name:15}  the test {on_test:.2f}, the old text {on_old:.2f}")
assert losses["both in turns"][1] < losses["new text only"][1]
assert losses["both in turns"][0] < losses["not tuned"][0]

# %% [markdown]
# 2. *All of them.* As an embedding, a row has a gradient only where its token was read. But `wte` is the head too, and
#    softmax gives every token some probability, so every logit has a gradient, and with it every row. A row whose token
#    is neither read nor a target gets only the head's push, away from what the model had in hand.

# %%
import numpy as np
from kit import TEXT, tiny_gpt

from tinygpt.data import windows_at

tiny, tokenizer = tiny_gpt()
idx, targets = windows_at(tokenizer.encode(TEXT).astype(np.int64), np.array([100, 200]), 48)
_, cache = tiny.loss(idx, targets)
d_wte = tiny.backward(cache)["wte.weight"]
present = np.isin(np.arange(len(d_wte)), np.concatenate([idx, targets]))
lengths = np.linalg.norm(d_wte, axis=1)
print(f"rows of tokens in the batch: {present.sum()}, gradient of median length {np.median(lengths[present]):.1e}")
print(f"rows of the others: {(~present).sum()}, of median length {np.median(lengths[~present]):.1e}, none of them zero")
assert (lengths > 0).all() and np.median(lengths[~present]) < np.median(lengths[present])

# %% [markdown]
# 3. *Let it read*, an ordinary text in its own tokens. A loss near ln V or above it says that these numbers are no
#    model. The transposed file passes that. What gives it away is what is known of the model, here the 1.6 at which its
#    training ended. Where nothing is known, ask at least that it beats a table of pairs (lesson 3), which has 2.18 on
#    this text:

# %%
import math

import numpy as np
from kit import TEXT, stated, tiny_gpt

from tinygpt.data import windows_at

tiny, tokenizer = tiny_gpt()
tokens, V = tokenizer.encode(TEXT).astype(np.int64), tiny.config.vocab_size
windows = windows_at(tokens, np.arange(0, len(tokens) - 48, 48), 48)
as_it_was = float(tiny.loss(*windows, need_grad=False)[0])
for layer in range(tiny.config.n_layer):
    weight = tiny.params[f"h.{layer}.attn.c_proj.weight"]
    weight[...] = weight.T.copy()
transposed = float(tiny.loss(*windows, need_grad=False)[0])
counts = np.zeros((V, V))
np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
with_pairs = -np.log((counts / counts.sum(axis=1, keepdims=True))[tokens[:-1], tokens[1:]]).mean()
print(
    f"as it was {as_it_was:.2f}, transposed {transposed:.2f}; a table of pairs {with_pairs:.2f}, ln V {math.log(V):.2f}"
)
stated("2.18", with_pairs)
assert as_it_was < with_pairs - 0.2 and transposed < math.log(V)

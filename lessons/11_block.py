# %% [markdown]
# # 11. The residual block
#
# *40 minutes*
#
# All the parts are there: LayerNorm, attention, the MLP. A GPT stacks them, GPT-2's smallest twelve times, 24 parts
# one after the other. By the chain rule the gradient that reaches the first part is a product of 24 derivatives. If
# each of them halves it, the first part hears less than a ten-millionth of what the loss has to say, and learns
# nothing.
#
# **How do you stack 24 functions so that the first one still learns?**

# %%
import sys

import numpy as np

import tinygpt

sys.path += [f"{tinygpt.__path__[0]}/../lessons"]  # where kit is, whatever folder a notebook runs in
from kit import plot, stated

from tinygpt.gradcheck import check_layer, diagnose, gradient_check
from tinygpt.gradcheck.mutants import find
from tinygpt.layers import attention, block, gelu, layernorm, linear
from tinygpt.ops import DEFINITIONS

print(f"a half, 24 times over: {0.5**24:.1e}")
assert 0.5**24 < 1e-7

# %% [markdown]
# ## On paper
#
# Two functions of one number, f(x) = 0.5 x and g(x) = −0.3 x, and x = 2. One after the other they give
#
# ```
# plain      y = g(f(x)) = −0.3 · 0.5 · 2 = −0.3   dy/dx = 0.5 · (−0.3) = −0.15
# ```
#
# Now let each be *added* to what came in: h = x + f(x), and y = h + g(h). What is y, and what is dy/dx? Work it out
# before you run this.

# %%
f, g, x = 0.5, -0.3, 2.0
paths = {"past both": 1.0, "through f": f, "through g": g, "through both": f * g}
h = x + f * x
print(f"plain     y {g * f * x:5.2f}   derivative {f * g:5.2f}")
print(
    f"residual  y {h + g * h:5.2f}   derivative {(1 + f) * (1 + g):5.2f}   sum of the paths {sum(paths.values()):5.2f}"
)
stated("−0.15", f * g)
stated("1.5", 1 + f)
stated("0.9", -g * h)
stated("2.1", h + g * h)
stated("1.05", sum(paths.values()))
assert np.isclose((1 + f) * (1 + g), sum(paths.values()))

# %% [markdown]
# ```
# residual   h = x + f(x) = 2 + 1   = 3            dh/dx = 1 + 0.5         =  1.5
#            y = h + g(h) = 3 − 0.9 = 2.1          dy/dx = 1.5 · (1 − 0.3) =  1.05
# ```
#
# Multiply the last product out:
#
# ```
# (1 + 0.5) (1 − 0.3)  =   1          past both
#                        + 0.5        through f, past g
#                        − 0.3        past f, through g
#                        − 0.15       through both: all that the plain stack has
# ```
#
# There are four paths from x to y, and each multiplies only the derivatives of what it goes through. One path goes
# through nothing, and its derivative is 1, however many functions there are. With n functions there are 2ⁿ paths
# (Veit, Wilber and Belongie, 2016, arXiv:1605.06431, draw them), and the gradient is their sum.
#
# ![The same two functions as branches beside a stream: each reads from it and adds to it, and the gradient comes back
# along the stream unchanged and receives each branch's part.](../pictures/residual_stream.svg)

# %% [markdown]
# ## The formula
#
# He, Zhang, Ren and Sun (2015, arXiv:1512.03385) added its input to the output of every part of an image network,
# and could train networks eight times as deep as those before. A part then has to learn only the difference that it
# makes, the *residual*. What runs through from the bottom to the top, and is only ever added to, is the *residual
# stream*.
#
# The block of GPT-2 (Radford et al., 2019, section 2.3) is two such additions. A LayerNorm stands at the entrance
# of each branch and none in the stream itself, which is called *pre-norm*:
#
# ```
# x₁  = x  + c_proj(attention(c_attn(ln_1(x))))         tokens look at each other
# out = x₁ + c_proj(gelu(c_fc(ln_2(x₁))))               each token by itself
# ```
#
# Both end in a linear layer called `c_proj` (`attn.c_proj`, lesson 10, and `mlp.c_proj`, lesson 8), which writes
# the branch's result into the stream.

# %% [markdown]
# ## A branch is a chain
#
# Nothing in the block is new, so we write no formulas but only how things are put together. A branch is a list of
# layers. Forward walks through it and keeps each layer with its cache. Backward walks the same list from the end, and
# what one layer returns as dx is the next one's dout.


# %%
def chain(x, layers):
    """x through a list of (layer, further arguments of its forward)."""
    tape = []
    for layer, *arguments in layers:
        x, cache = layer.forward(x, *arguments)
        tape.append((layer, cache))
    return x, tape


def chain_back(dout, tape):
    """dx, and a list of the parameters' gradients in the order in which forward met them."""
    grads = []
    for layer, cache in reversed(tape):
        gradients = layer.backward(dout, cache)
        dout, *dparams = gradients if isinstance(gradients, tuple) else (gradients,)  # attention has no parameters
        grads = dparams + grads
    return dout, grads


# %% [markdown]
# ## Two additions
#
# Here is the block's forward, with its two branches as lists, and the same four lines in short:
#
# ```
# a   = attention's branch of x
# x₁  = x + a
# m   = the MLP's branch of x₁
# out = x₁ + m
# ```


# %%
def two_branches(x, first, second):
    a, tape_1 = chain(x, first)  # (B, T, C) -> (B, T, C)
    x1 = x + a
    m, tape_2 = chain(x1, second)
    out = x1 + m
    return out, (tape_1, tape_2)


rng = np.random.default_rng(11)
B, T, C, n_head = 2, 4, 6, 2


def matrix(inputs, outputs):
    return rng.standard_normal((inputs, outputs)) * inputs**-0.5


first = [(layernorm, np.ones(C)), (linear, matrix(C, 3 * C)), (attention, n_head), (linear, matrix(C, C))]
second = [(layernorm, np.ones(C)), (linear, matrix(C, 4 * C)), (gelu,), (linear, matrix(4 * C, C))]
x, dout = rng.standard_normal((2, B, T, C))
print("out", two_branches(x, first, second)[0].shape)

# %% [markdown]
# Now backward, from the last line to the first. Two rules are enough, and you know both: an addition hands its
# gradient to each of its terms, and a value that is used in several places receives the sum of what comes back from
# each (lesson 7). Through a branch, `chain_back(..., tape)[0]` takes a gradient from its end to its beginning.
#
# Two of the values are used twice. Which? Write four lines, each sum in one: dm, dx1, da, dx. Mind what goes into which
# branch.


# %% derive: backward(dout, two_branches(x, first, second)[1])
def backward(dout, cache):
    tape_1, tape_2 = cache
    dm = dout
    dx1 = dout + chain_back(dm, tape_2)[0]
    da = dx1
    dx = dx1 + chain_back(da, tape_1)[0]
    return dx


# %% [markdown]
# ```
# out = x₁ + m                     dm  = dout
#                                  dx₁ = dout + dm taken back through the MLP
# x₁  = x + a                      da  = dx₁
#                                  dx  = dx₁ + da taken back through attention
# ```
#
# What goes back through the MLP is the `dout` that the block is given. What goes back through attention is dx₁, the
# whole of it, because x₁ reaches the output in two ways. And `dout` itself arrives at x unchanged, whatever the
# branches are, and their shares are added to it: that is the 1 of (1 + f′).
#
# In a GPT's step: [a number of x₁](step.html#h.0/x[0,3,2]), [its dx₁](step.html#h.0/dx[0,3,2]) with the two that it is
# the sum of, and below it [dx](step.html#h.0/dx~2[0,3,2]).
#
# Twice the same, so one function for it, now with the parameters' gradients, which `chain_back` returns beside dx; and
# the block, with its parameters under GPT-2's names:


# %%
def residual(x, layers):
    added, tape = chain(x, layers)  # (B, T, C) -> (B, T, C)
    return x + added, tape


def residual_back(dout, tape):
    through, grads = chain_back(dout, tape)
    return dout + through, grads


NAMES = ["ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"]  # GPT-2's names
WEIGHTS = [f"{name}.{part}" for name in NAMES for part in ("weight", "bias")]


def block_forward(x, params, n_head):
    ln_1, c_attn, attn_proj, ln_2, c_fc, mlp_proj = (
        (params[name + ".weight"], params[name + ".bias"]) for name in NAMES
    )
    x1, tape_1 = residual(x, [(layernorm, *ln_1), (linear, *c_attn), (attention, n_head), (linear, *attn_proj)])
    out, tape_2 = residual(x1, [(layernorm, *ln_2), (linear, *c_fc), (gelu,), (linear, *mlp_proj)])
    return out, (tape_1, tape_2)


def block_backward(dout, tapes):
    tape_1, tape_2 = tapes
    dx1, grads_2 = residual_back(dout, tape_2)
    dx, grads_1 = residual_back(dx1, tape_1)
    return dx, dict(zip(WEIGHTS, grads_1 + grads_2, strict=True))


def new_block(C, std=None):
    """A block's parameters: matrices of variance 1 / (number of inputs), or of standard deviation std."""
    params = {}
    for name, inputs, outputs in (
        ("ln_1", None, C), ("attn.c_attn", C, 3 * C), ("attn.c_proj", C, C),
        ("ln_2", None, C), ("mlp.c_fc", C, 4 * C), ("mlp.c_proj", 4 * C, C),
    ):  # fmt: skip
        matrix = inputs and rng.standard_normal((inputs, outputs)) * (std or inputs**-0.5)
        params[name + ".weight"] = np.ones(outputs) if inputs is None else matrix
        params[name + ".bias"] = np.zeros(outputs)
    return params


params = new_block(C)
out, tapes = block_forward(x, params, n_head)
dx, grads = block_backward(dout, tapes)
engine_out, cache = block.forward(x, params, n_head, ops=DEFINITIONS)
engine_dx, engine_grads = block.backward(dout, cache)
print("forward agrees with the engine ", np.allclose(out, engine_out))
print(
    "backward agrees with the engine",
    np.allclose(dx, engine_dx),
    all(np.allclose(grads[n], engine_grads[n]) for n in grads),
)

# %% [markdown]
# ## Is it right?
#
# The layers have been proved one by one. Whether they are put together rightly has not, so the whole block is
# differentiated numerically, x and all twelve arrays of parameters:

# %%
report = gradient_check(block_forward, block_backward, {"x": x, "params": params, "n_head": n_head})
print(report)
assert report.passed

# %% [markdown]
# ## What survives depth
#
# Now measure it. 24 blocks of 48 channels with random matrices, one sequence of 16 tokens, and five ways to put the
# same branches together:
#
# ```
# plain            x = f(x)
# norm only        x = f(ln(x))
# residual only    x = x + f(x)
# post-norm        x = ln(x + f(x))        Vaswani et al., 2017, arXiv:1706.03762
# pre-norm         x = x + f(ln(x))        GPT-2
# ```
#
# At the top, a random gradient of length 1 comes in *at the last token*. Two things are measured at each depth. How
# long is the gradient that arrives, over all tokens? And how long is the part of it that arrives at that same
# token? The second asks whether the top can still tell this token what to be, or speaks to all of them at once.
#
# Guess first: which of the five will have lost the gradient at the bottom, which will have blown it up, and which of
# them lose only the second?

# %%
depth, T, C, n_head = 24, 16, 48, 4
norm = [(layernorm, np.ones(C))]


def add_branch(x, f, kind):
    """x after one branch f, a list of layers; and its steps, pairs of a backward and its tape, in forward's order."""
    if kind in ("plain", "norm only"):
        x, tape = chain(x, f if kind == "plain" else norm + f)
        return x, [(chain_back, tape)]
    x, tape = residual(x, norm + f if kind == "pre-norm" else f)
    if kind != "post-norm":
        return x, [(residual_back, tape)]
    x, outer = chain(x, norm)
    return x, [(residual_back, tape), (chain_back, outer)]


def measure(kind):
    """What comes out of the stack; and by depth, the gradient's length, and the length of the last token's part."""
    rng = np.random.default_rng(11)  # the same matrices for each kind

    def w(inputs, outputs):
        return rng.standard_normal((inputs, outputs)) * inputs**-0.5

    x, blocks = rng.standard_normal((1, T, C)), []
    for _ in range(depth):
        x, steps_1 = add_branch(x, [(linear, w(C, 3 * C)), (attention, n_head), (linear, w(C, C))], kind)
        x, steps_2 = add_branch(x, [(linear, w(C, 4 * C)), (gelu,), (linear, w(4 * C, C))], kind)
        blocks.append(steps_1 + steps_2)
    d = np.zeros_like(x)
    d[0, -1] = rng.standard_normal(C)
    d /= np.linalg.norm(d)
    everywhere, own = [1.0], [1.0]
    for steps in reversed(blocks):
        for backward, tape in reversed(steps):
            d, _ = backward(d, tape)
        everywhere.append(np.linalg.norm(d))
        own.append(np.linalg.norm(d[0, -1]))
    return x, everywhere[::-1], own[::-1]


found = {kind: measure(kind) for kind in ("plain", "norm only", "residual only", "post-norm", "pre-norm")}
print(f"{'':14}{'at the top':>23}{'at the bottom':>26}")
print(f"{'':14}{'stream':>10}{'tokens differ':>16}{'gradient':>13}{'same token':>13}")
for kind, (x, everywhere, own) in found.items():
    apart = np.linalg.norm(x - x.mean(axis=1, keepdims=True)) / np.linalg.norm(x)
    print(f"{kind:14}{x.std():10.2g}{apart:16.2g}{everywhere[0]:13.2g}{own[0]:13.2g}")

with plot("depth", columns=2, size=(9, 3.8)) as panels:
    for axes, which, title in zip(panels, (1, 2), ("all of the gradient", "at the token it started from"), strict=True):
        for kind in found:
            axes.semilogy(range(depth + 1), found[kind][which], label=kind)
        axes.set(xlabel="height in the stack, in blocks", title=title, ylim=(1e-12, 1e8))
    panels[0].set(ylabel="length of the gradient")
    panels[0].legend(frameon=False)

# %% [markdown]
# The plain stack loses half of the gradient in each block, and what goes up through it vanishes in the same way.
#
# A LayerNorm before each branch keeps numbers in their range, and the left picture looks healed. The right one
# shows what is wrong: nothing of the gradient comes back to the token that it started from. Without a residual path
# the only way up is through attention, which mixes tokens. After 24 mixtures all of them are alike, as the table's
# second column says, and the top can no longer speak to one of them alone. (Dong, Cordonnier and Loukas, 2021,
# arXiv:2103.03404, prove it for attention by itself.)
#
# Residual paths alone bring the gradient back, but everything grows, the stream more than a hundred thousandfold:
# each branch adds something about as large as the stream itself.
#
# Both together work. In post-norm the LayerNorm lies across the stream, so it shrinks the straight path too, 48
# times, and about 0.0025 of the gradient comes back to its own token. In pre-norm the straight path is an addition
# and nothing else: with these matrices what started as 1 arrives as 5.3, the straight path's 1 and what all the
# others add to it.

# %%
plain, post, pre = found["plain"], found["post-norm"], found["pre-norm"]
print("plain, a block's factor, mean of 24:", round(plain[1][0] ** (1 / depth), 2))
stated("0.5", plain[1][0] ** (1 / depth), within=0.05)
stated("0.0025", post[2][0])
stated("5.3", pre[2][0])
assert 0.01 < found["norm only"][1][0] < 1 and found["norm only"][2][0] < 1e-20
assert found["residual only"][0].std() > 1e5 and found["residual only"][1][0] > 1e5

# %% [markdown]
# ## A bug on purpose
#
# The mistake that is easiest to make in the block's backward: attention's branch is given `dout` instead of dx₁.
# The shapes fit, and all the gradients of the MLP are right.

# %%
wrong = find("block", "attention_from_dout")
print([("passed" if report.passed else "WRONG") for report in check_layer("block", wrong.stand_in())])
print(diagnose("block", wrong.stand_in()))

# %% [markdown]
# How wrong is it? That depends on the weights. In a fresh GPT-2 they have a standard deviation of 0.02 (lesson 12
# asks why). The branches then add so little that dout and dx₁ are nearly the same, and with them the wrong gradient
# and the right one. The checks of this course draw larger weights, at which a mistake has nowhere to hide.

# %%
for std, title in ((0.02, "weights of 0.02"), (None, "variance 1 / number of inputs")):
    params = new_block(C, std)
    x, dout = rng.standard_normal((2, 1, T, C))
    _, cache = block.forward(x, params, n_head, ops=DEFINITIONS)
    right, _ = block.backward(dout, cache)
    off = np.linalg.norm(wrong.stand_in().backward(dout, cache)[0] - right) / np.linalg.norm(right)
    print(f"{title:32} the wrong dx is off by {off:.2%}")

# %% [markdown]
# ## What it costs
#
# For each token, forward, with T tokens in the sequence and two operations for each multiply-and-add:
#
# ```
# c_attn        2 · C · 3C   =  6 C²
# attention     2 · 2TC      =  4 TC        scores, then the weighted sum
# attn.c_proj   2 · C · C    =  2 C²
# c_fc          2 · C · 4C   =  8 C²
# mlp.c_proj    2 · 4C · C   =  8 C²
# together                     24 C² + 4 TC
# two additions                 2 C
# ```
#
# For C = 128 and T = 64 that is 393,216 + 32,768 operations, and the additions are 256 of them. Backward costs
# twice as much: every product of matrices becomes two, one for the input and one for the weights. The parameters
# are 12 C², and 13 C more for biases and LayerNorms. And the addition has no cache: its backward needs nothing of
# what went in.

# %%
C, T = 128, 64
stated("393,216", 24 * C * C)
stated("32,768", 4 * T * C)
stated("256", 2 * C)
n_params = sum(array.size for array in new_block(C).values())
print(f"parameters of a block of {C} channels: {n_params:,}")
assert n_params == 12 * C * C + 13 * C

# %% [markdown]
# ## Your turn: block (backward)
#
# ```
# python -m lessons start 11       writes lessons/work/block.py
# python -m lessons check 11       holds it against numerical derivatives
# python -m lessons hint 11        if you are stuck
# ```
#
# Forward is given and is the engine's own: no lists, every line by its name. You write `backward`, the same lines from
# the last to the first. Three things are other than in the code above:
#
# - The layers come from a table called `ops` (lesson 8), which forward puts into the cache. So their backwards are
#   `ops.linear.backward` and the like: what one linear layer has put into its cache, another need not be able to read.
# - The MLP stands beside them in that table, which `BlockOps` sees to, and returns five gradients.
# - Behind each branch stands a layer called dropout, which in training sets some numbers to zero at random. It is a
#   layer like the others, with a backward that takes dout and its cache, and with no parameters.
#
# Return dx and a dict of the parameters' gradients under the names that `params` has, without those that are None.
#
# `python -m lessons run 11` then trains a small GPT for some steps through your block, and through all other pieces
# that you have finished. `python train.py --mine lessons/work` trains a larger one.
#
# ## Questions to think about
#
# 1. In pre-norm nothing normalises the stream itself. After 24 blocks it had grown; see the table. What must stand
#    between the last block and whatever reads the stream?
# 2. The weights and biases of both `c_proj` are set to zero at the start. What does the block compute? Which of its
#    parameters have a gradient that is not zero, and do the others ever get one?
# 3. Some models compute both branches from the same x: out = x + attention(ln_1(x)) + mlp(ln_2(x)). What is its
#    backward, and which code in this lesson comes very near to it?
#
# Answers: `python -m lessons answers 11`
#
# ## To read on
#
# - He, Zhang, Ren, Sun: "Identity Mappings in Deep Residual Networks", 2016, arXiv:1603.05027: equations 4 and 5
#   are the sum of the stream and the 1 in its derivative, and it moves the normalisation into the branch.
# - Veit, Wilber, Belongie: "Residual Networks Behave Like Ensembles of Relatively Shallow Networks", 2016,
#   arXiv:1605.06431.
# - Xiong et al.: "On Layer Normalization in the Transformer Architecture", 2020, arXiv:2002.04745: pre-norm and
#   post-norm compared.
# - `Block` in `tinygpt/models/gpt2.py`, the definition.

# %% [markdown]
# ## Answers
#
# 1. *What must stand between the last block and whatever reads the stream?* One more LayerNorm, `ln_f`. Inside a block
#    each reader brings its own; the last reader is the head, and it needs one too.
# 2. *Both `c_proj` are zero.* Then both branches add zero, and the block is the identity. A gradient arrives at both
#    `c_proj`, because what they are multiplied with is not zero. It goes no further into the branch, because it is
#    multiplied by their weights. After one step these are no longer zero, and everything has a gradient:

# %%
import numpy as np

from tinygpt.layers import block
from tinygpt.models.gpt2 import GPTConfig
from tinygpt.ops import DEFINITIONS

rng = np.random.default_rng(12)
C, n_head = 16, 2
shapes = GPTConfig(vocab_size=2, block_size=8, n_layer=1, n_head=n_head, n_embd=C).shapes()
params = {name[4:]: rng.standard_normal(shape) * 0.25 for name, shape in shapes.items() if name.startswith("h.0.")}
for name in params:
    if "c_proj" in name:
        params[name] = np.zeros_like(params[name])
x, dout = rng.standard_normal((2, 2, 8, C))
for step in (1, 2):
    out, cache = block.forward(x, params, n_head, ops=DEFINITIONS)
    _, grads = block.backward(dout, cache)
    moved = [name for name in params if np.abs(grads[name]).max() > 1e-9]
    print(f"step {step}: out is x: {np.array_equal(out, x)}; a gradient in {len(moved)} arrays of {len(params)}")
    print("   ", ", ".join(moved) if len(moved) < 5 else "all of them")
    params = {name: array - 0.1 * grads[name] for name, array in params.items()}

# %% [markdown]
# 3. *Both branches from the same x.* Then x is used three times, so dx is the sum of three: dout, what comes back from
#    dout through the MLP, and what comes back from dout through attention. It is nearly this lesson's bug, in which
#    attention's branch gets dout too: the right backward of another block. (In the bug the MLP's branch reads x₁.)
#    GPT-NeoX-20B computes its blocks in this way (Black et al., 2022, arXiv:2204.06745, section 2). GPT-J does too,
#    with one LayerNorm for both.

# %% [markdown]
# # 1. Arrays
#
# *50 minutes*
#
# A GPT reads text in batches: B rows of T tokens (pieces of text: lesson 2 makes them), and for every token C
# numbers, its *channels*, which say what the network makes of it so far. Some layers add a bias, one number for each
# of the C channels, to all of that. In an array library this is `out = x + b`, although x holds B · T · C numbers and
# b only C.
#
# **Which entry of b is added to which entry of x? And if you know how the error of the network changes with each
# entry of `out`, how does it change with each entry of b?** The second question, asked again and again, is what this
# course is made of.
#
# Here and there the lesson stops and asks for a line before it shows its own. Write yours first. In the stepper,
# `python -m lessons 1`, and in a browser, `python -m lessons web 1`, it is compared at once; where you read the file,
# on paper, before you look at the next cell.

# %%
import sys

import numpy as np

import tinygpt

sys.path += [f"{tinygpt.__path__[0]}/../lessons"]  # where kit is, whatever folder a notebook runs in
from kit import stated

from tinygpt.backend import array_module, to_device, to_host
from tinygpt.data import windows_at
from tinygpt.device import resolve_device
from tinygpt.own_layers.functions.sum_to import sum_to

# %% [markdown]
# ## Shapes
#
# An array is a block of numbers of one kind (its `dtype`) and a `shape`, which says how they are counted off. Each
# place in the shape is an *axis*. Axes are numbered from the front, 0, 1, 2, or from the back, −1, −2, −3. The last
# axis is the one whose neighbours lie side by side in memory.
#
# ```
# x.shape = (2, 3, 4)     axis 0: B = 2 rows of text
#                         axis 1: T = 3 tokens in each
#                         axis 2: C = 4 channels for each token; also axis −1
# ```
#
# The letters keep their meaning through all lessons. Where an operation changes a shape, a comment says so, such as
# `# (B, T, C) -> (B, T)`.

# %%
x = np.arange(24.0).reshape(2, 3, 4)
print(x)
print("shape", x.shape, " dtype", x.dtype)
print("entries", x.size, " bytes", x.nbytes)
print("x[1, 2], the last token's channels:", x[1, 2])
print("x[:, -1], the last token of each row, has shape", x[:, -1].shape)

# %% [markdown]
# Models are trained in float32, 4 bytes a number. To see whether a formula is right we compute in float64, 8 bytes
# and about 16 digits. The two together give float64, which can happen unnoticed: a number from NumPy has a dtype of
# its own, a plain Python number has not.

# %%
x32 = x.astype(np.float32)
print("x32 / np.sqrt(8) is", (x32 / np.sqrt(8)).dtype)
print("x32 / 8**0.5 is    ", (x32 / 8**0.5).dtype)

# %% [markdown]
# ## On paper: the axis that disappears
#
# To sum over an axis is to make it disappear. `keepdims=True` leaves an axis of length 1 in its place.
#
# ```
# x    1  2  3      x.sum(axis=0)                  5  7  9      (2, 3) -> (3,)
#      4  5  6      x.sum(axis=1)                  6  15        (2, 3) -> (2,)
#                   x.sum(axis=1, keepdims=True)   6            (2, 3) -> (2, 1)
#                                                 15
# ```
#
# The last two hold the same numbers. What they fit beside is different, and that is the next subject. (What is the
# sum over both axes, `axis=(0, 1)`, and of which shape is it? And with `keepdims`? Say it before you run the cell.)

# %%
x = np.array([[1.0, 2, 3], [4, 5, 6]])
for axis in (0, 1, (0, 1)):
    kept = x.sum(axis, keepdims=True)
    print(f"axis={axis!s:<7} {x.sum(axis)!s:<12} with keepdims {kept.shape}")
assert np.array_equal(x.sum(axis=0), [5, 7, 9])
assert np.array_equal(x.sum(axis=1, keepdims=True), [[6], [15]])

# %% [markdown]
# ## Broadcasting
#
# An operation on two arrays of unlike shapes follows one rule. Write the shapes below each other, *aligned at the
# right*. Two axes fit if they are equal, or if one of them is 1 or missing. An axis that is 1 or missing is repeated
# until it fits.
#
# ```
# (2, 3, 4)     (2, 3, 4)     (2, 3)      (3, 1)      (2, 3)
#       (4)     (2, 3, 1)        (3)         (4)         (2)
# ---------     ---------     ------      ------      ------
# (2, 3, 4)     (2, 3, 4)     (2, 3)      (3, 4)      does not fit: 3 and 2
# ```
#
# That answers the first half of the question: b, of shape (C,), lies under the last axis of x, and every token of
# every row has the same C numbers added.
#
# Two more, for you, before you run the cell: what does (4, 1) with (3,) give, and what (2, 3, 4) with (3, 1)?

# %%
for a, b in (
    ((2, 3, 4), (4,)), ((2, 3, 4), (2, 3, 1)), ((2, 3), (3,)),
    ((3, 1), (4,)), ((2, 3), (2,)), ((4, 1), (3,)), ((2, 3, 4), (3, 1)),
):  # fmt: skip
    print(f"{a!s:<10} with {b!s:<10}", end=" ")
    try:
        print("gives", (np.zeros(a) + np.zeros(b)).shape)
    except ValueError as error:
        print(f"fails:\n    {error}")

# %% [markdown]
# ## On paper: a column and a row
#
# A column beside a row fills a table: with · it is the *outer product*, with + the outer sum. `a[:, None]` is a with
# a new axis of length 1 behind it, which makes a column of it.
#
# ```
#  ·     10   20   30   40           +     0   1   2   3
#  1     10   20   30   40           10    10  11  12  13
#  2     20   40   60   80           50    50  51  52  53
#  3     30   60   90  120           20    20  21  22  23
#
# (3, 1) with (4,) -> (3, 4)         (3, 1) with (4,) -> (3, 4)
# ```
#
# An array of whole numbers can also stand in the brackets of another array, as an index. Then each of its entries is
# looked up, and the result has *the index's* shape: `price[basket]` below holds, at each place of basket, the price
# of what basket names there.

# %%
print(np.array([1, 2, 3])[:, None] * np.array([10, 20, 30, 40]))
print(np.array([10, 50, 20])[:, None] + np.array([0, 1, 2, 3]))
stated("120", (np.array([1, 2, 3])[:, None] * np.array([10, 20, 30, 40]))[2, 3])

price = np.array([5, 12, 7])  # (3,)
basket = np.array([[0, 0], [2, 1], [1, 1], [0, 2]])  # (4, 2) places in price
prices = price[basket]  # (4, 2)
print("each customer's prices:", prices.tolist(), " shape", prices.shape)
print("each customer pays:    ", prices.sum(axis=1))

# %% [markdown]
# ## Your turn: windows_at
#
# These two, a table of sums and a look-up, make the first piece that you write: a few minutes, two or three lines.
#
# ```
# python -m lessons start windows_at     writes lessons/work/windows_at.py
# python -m lessons check windows_at     holds it against the engine's
#                                        (with --watch: after every save)
# python -m lessons hint windows_at      if you are stuck
# ```
#
# (`python -m lessons start 1` writes both files of this lesson. The other one comes below.)
#
# A text is one long row of N tokens. A network learns from windows of it: from every window of T tokens it is to
# predict, for each, the token that follows. `windows_at(tokens, starts, block_size)` cuts B windows at once, without
# a loop: `starts` says where each begins, `block_size` is T. It returns a pair of arrays, idx and targets. (`Batch`,
# in the file, is a name for such a pair.) The tokens of a large text are uint16, whole numbers of 2 bytes, to take
# little room; idx and targets come as int64, the usual dtype of an index. Below is what it gives.

# %%
tokens = np.arange(100, 120, dtype=np.uint16)
idx, targets = windows_at(tokens, np.array([0, 5, 3]), 4)
print("idx", idx.dtype)
print(idx)
print("targets", targets.dtype)
print(targets)

# %% [markdown]
# Once it is right, `python -m lessons run 1` trains a small model on the lessons' text for some seconds, and yours
# cuts its batches. It does the same in a real run: `python train.py --mine lessons/work`.
#
# ## A bug on purpose
#
# To centre each row, take away its mean. Without `keepdims` the means lie down as a row. What will then happen to an
# x of shape (2, 3)? And to one of shape (3, 3)?


# %%
def centre_rows(x):
    return x - x.mean(axis=1)  # (n, m) - (n,): means of rows, under columns


try:
    centre_rows(x)
except ValueError as error:
    print("(2, 3):", error)
square = np.array([[0.0, 0, 3], [1, 2, 3], [6, 6, 6]])
wrong = centre_rows(square)
right = square - square.mean(axis=1, keepdims=True)
print("(3, 3): no error, and the rows' means are", wrong.mean(axis=1))
print("        where they should be             ", right.mean(axis=1))

# %% [markdown]
# With unlike sizes NumPy refuses. With a square array it does as it is told, and takes mean j away from *column* j.
#
# Two habits follow. Test with axes of *different* lengths, which all checks of this course do. And test a property
# that the result must have: here, that the rows' means are 0.

# %% [markdown]
# ## The chain rule, on one number
#
# Now the second half. The error of a network is one number, called the *loss* and written L. Training asks of every
# number x in the network: if x were a little larger, and all else stayed, how much would L rise? The answer is the
# derivative of L by x, written ∂L/∂x. Raise x by a small h, and L rises by h · ∂L/∂x, the more exactly the smaller h
# is. (The round ∂, "partial", is the d of dL/dx where there are other numbers beside x, which are held still.)
#
# L is always the same, so in code its name is left out. This holds in the whole course:
#
# ```
# dx  means  ∂L/∂x        db means ∂L/∂b        dout means ∂L/∂out
# ```
#
# It is a derivative, of the shape of x, and no small piece of x. Here it is for a chain of two steps:
#
# ```
# forward, at x = 3       backward, from the last line up
# u = 2 x − 1  = 5        dx = du · 2  = 20   u rises 2 times as fast as x
# L = u²       = 25       du = 2 u     = 10   L rises 10 times as fast as u
# ```
#
# A nudge h of x moves u by 2 h, and u moves L by 10 times that. So the two slopes are multiplied. That is the *chain
# rule*: each step takes what comes back to it, here du, and multiplies it by its own slope.

# %% [markdown]
# What if a number is used twice? Take L = u x in the last line. A nudge of x now reaches L in two ways, through u and
# directly, and the two add up: dx = du · 2 + u, where du = x.
#
# ```
# L = u x      = 15       du = x           = 3
#                         dx = du · 2 + u  = 6 + 5 = 11
# ```
#
# Two rules, then: *multiply along a way, add up over the ways.* There is no third. Through all
# layers of a network, from the loss back, this is *backpropagation*. Believe neither rule, but nudge x:


# %%
def slopes(loss, a, h=0.5):
    """How fast loss(a) rises with each entry of a, moved up and down by h."""
    places = [place.reshape(a.shape) for place in np.eye(a.size)]
    rises = [loss(a + h * place) - loss(a - h * place) for place in places]
    return np.array(rises).reshape(a.shape) / (2 * h)


x = np.array(3.0)
print("L = u²:   20, and by nudging", slopes(lambda x: (2 * x - 1) ** 2, x))
print("L = u x:  11, and by nudging", slopes(lambda x: (2 * x - 1) * x, x))
stated("20", slopes(lambda x: (2 * x - 1) ** 2, x))
stated("11", slopes(lambda x: (2 * x - 1) * x, x))

# %% [markdown]
# (These nudges need not be small: up and down together give the slope of a parabola exactly. Lesson 4 is about how
# small they should be for other curves.)
#
# Now you, with three lines of forward, again at x = 3:
#
# ```
# u = x²             = 9
# v = 3 u + 1        = 28
# L = u v            = 252
# ```
#
# Walk back from the last line. Which of the three numbers is used in two places? Write dv; then du, first the part
# from the last line, then with the part from the line of v added; then dx.


# %% derive: three_lines(3.0)
def three_lines(x):
    u = x**2
    v = 3 * u + 1
    L = u * v
    dv = u  # L = u v
    du = v  # L = u v, first part
    du = du + dv * 3  # v = 3 u + 1, second part
    dx = du * 2 * x  # u = x²
    return L, dv, du, dx


# %%
print("L, dv, du, dx =", three_lines(3.0))
nudged = slopes(lambda x: three_lines(x)[0], np.array(3.0), h=0.001)
print("dx by nudging", nudged.round(3))
assert three_lines(3.0) == (252, 9, 55, 330)

# %% [markdown]
# u is used twice. dv = u = 9. From the last line du gets v = 28, from the one before it dv · 3 = 27, together 55. And
# dx = 55 · 2 x = 330: forward's lines in reverse, each multiplied by its slope, and what comes to the same number
# added up. Every backward of this course is that, for arrays.
#
# ## What a broadcast means backward
#
# Back to `out = x + b`. Whatever happens between `out` and L, let it be summed up in an array `dout`, of out's shape,
# whose entries are the derivatives ∂L/∂out: raise that entry of out by a small h, and L rises by h times this number.
# Wanted are db and dx, the same for b and x.
#
# ```
# out = x + b        out₀₀ = x₀₀ + b₀      out₀₁ = x₀₁ + b₁      out₀₂ = x₀₂ + b₂
#                    out₁₀ = x₁₀ + b₀      out₁₁ = x₁₁ + b₁      out₁₂ = x₁₂ + b₂
#
# dout    1   0   2
#         3   5  −1
# ```
#
# Begin with one entry. Raise b₀ by h: which entries of out rise, and by how much does L? What is the number db₀? Then
# write dx and db as arrays, of the shapes of x, (2, 3), and of b, (3,).

# %%
x, b = np.array([[1.0, 2, 3], [4, 5, 6]]), np.array([10.0, 20, 30])
dout = np.array([[1.0, 0, 2], [3, 5, -1]])


# %% derive: add_backward(dout)
def add_backward(dout):
    dx = dout
    db = dout.sum(axis=0)  # (2, 3) -> (3,)
    return dx, db


# %% [markdown]
# b₀ stands in out₀₀ and in out₁₀. Both rise by h, so L rises by h · (dout₀₀ + dout₁₀), and db₀ = 1 + 3 = 4: two ways,
# added up.
#
# ```
# db_j  = Σ_i dout_ij     forward (3,) is spread over (2, 3),
#                         backward (2, 3) is summed to (3,)
# dx_ij = dout_ij         each x is used once
#
# db = (1+3, 0+5, 2−1) = (4, 5, 1)
# ```
#
# **What forward spreads, backward sums.** To try it without a network, let L be the sum of dout · out, so that
# ∂L/∂out is dout.

# %%
dx, db = add_backward(dout)
print("db", db, " by nudging", slopes(lambda b: (dout * (x + b)).sum(), b))
assert np.array_equal(db, [4, 5, 1])
assert np.allclose(slopes(lambda b: (dout * (x + b)).sum(), b), db)
assert np.allclose(slopes(lambda x: (dout * (x + b)).sum(), x), dx)

# %% [markdown]
# Another one. Each row of x is scaled by a number of its own, out_ij = w_i x_ij, with w of shape (2, 1). The slope of
# out_ij by w_i is no longer 1. Which is it, and over which places does w_i get the sum? Write dw, of shape (2, 1),
# and dx, of shape (2, 3).

# %%
w = np.array([[2.0], [3]])


# %% derive: scale_backward(dout, x, w)
def scale_backward(dout, x, w):
    dw = (dout * x).sum(axis=1, keepdims=True)  # (2, 3) -> (2, 1)
    dx = dout * w  # (2, 3) · (2, 1) -> (2, 3)
    return dw, dx


# %% [markdown]
# ```
# out_ij = w_i x_ij   dw_i  = Σ_j dout_ij x_ij   w (2, 1) is spread, so summed
#                     dx_ij = dout_ij w_i        each x is used once
# ```
#
# And the other way round, where forward *sums*? One number of the result then depends on many. Each of them has the
# slope 1, and gets all of what comes back to that number. (For a mean, its share.) **What forward sums, backward
# spreads.**
#
# ```
# s = x.sum(axis=1)    dx_ij = ds_i                to (2,), and back to (2, 3)
# m = x.mean(axis=1)   dx_ij = dm_i / 3            three numbers share it
# ```

# %%
dw, dx = scale_backward(dout, x, w)
print("dw        ", dw.tolist())
print("by nudging", slopes(lambda w: (dout * (w * x)).sum(), w).tolist())
ds = np.array([7.0, -2])
dx_of_s = np.broadcast_to(ds[:, None], (2, 3))  # (2,) -> (2, 1) -> (2, 3)
print("dx of s   ", dx_of_s.tolist())
print("by nudging", slopes(lambda x: (ds * x.sum(axis=1)).sum(), x).tolist())
assert np.allclose(slopes(lambda w: (dout * (w * x)).sum(), w), dw)
assert np.allclose(slopes(lambda x: (dout * (w * x)).sum(), x), dx)
assert np.allclose(slopes(lambda x: (ds * x.sum(axis=1)).sum(), x), dx_of_s)
assert np.allclose(slopes(lambda x: (ds * x.mean(axis=1)).sum(), x), dx_of_s / 3)

# %% [markdown]
# ## Your turn: sum_to
#
# Now for any two shapes. `sum_to(dout, shape)` is the gradient of an operand of `shape` that was spread to dout's.
#
# ```
# python -m lessons start sum_to     writes lessons/work/sum_to.py
# python -m lessons check sum_to     holds it against the engine's
# python -m lessons hint sum_to      if you are stuck
# ```
#
# Which axes were spread? Look at the rule for broadcasting once more: there are two kinds. The result has `shape`
# itself, with its axes of length 1, and without those that it never had.

# %%
rng = np.random.default_rng(1)
dout4 = rng.standard_normal((2, 3, 4))
shapes = ((4,), (3, 1), (2, 1, 4), (), (2, 3, 4))
for shape in shapes:
    a = rng.standard_normal(shape)
    nudged = slopes(lambda a: (dout4 * (a + np.zeros((2, 3, 4)))).sum(), a)
    back = sum_to(dout4, shape)
    says = "as by nudging" if np.allclose(back, nudged) else "WRONG"
    print(f"{shape!s:<9} spread to (2, 3, 4), back to {back.shape!s:<9}", says)
assert all(
    np.allclose(sum_to(dout4, shape), slopes(lambda a: (dout4 * (a + np.zeros((2, 3, 4)))).sum(), np.zeros(shape)))
    for shape in shapes
)

# %% [markdown]
# Once it is right, `python -m lessons run 1` puts it to work: in a small model, the gradient of every bias that is
# added to a matrix product is then summed by yours. So it is in a real run, `python train.py --mine lessons/work`,
# until you write that whole layer yourself, in lesson 5.
#
# ## A matrix product is both
#
# The engine's layers do without `sum_to`: each knows its own axes. The matrix product of x, (N, I), and w, (I, O), is
# made of the same two steps, a broadcast product and a sum over the axis in the middle:
#
# ```
# out_no = Σ_i x_ni w_io
# (N, I, 1) · (1, I, O) -> (N, I, O), summed over I -> (N, O)
# ```

# %%
x, w = rng.standard_normal((5, 3)), rng.standard_normal((3, 4))
by_hand = (x[:, :, None] * w[None, :, :]).sum(axis=1)  # (N, I, O) -> (N, O)
print("the matrix product, by broadcasting:", np.allclose(by_hand, x @ w))

# %% [markdown]
# ## Views and copies
#
# A slice, a reshape or a transpose gives a *view*: a new shape over the same memory. Other operations make a *copy*.
# What tells them apart is how an array finds its numbers. They lie in one row in memory, and `strides` says, for each
# axis, how many bytes to go on for the next entry along it:
#
# ```
#                                strides
# x, (2, 3, 4) of float64        (96, 32, 8)
# x.swapaxes(0, 2), (4, 3, 2)    (8, 32, 96)   the same bytes, counted otherwise
# b, (4,), spread to (2, 3, 4)   (0, 0, 8)     the first two steps go nowhere
#
# x[1, 2, 3] begins at byte 1·96 + 2·32 + 3·8 = 184 of 192
# ```
#
# The third line is what broadcasting is: nothing is repeated in memory. A reshape is a view wherever one stride for
# each new axis can describe it. After a transpose that is seldom so, and the numbers are copied into their new order.
#
# The cell names six arrays that are made of x. Which of them are views, which are copies? Decide before you run it.

# %%
x = np.arange(24.0).reshape(2, 3, 4)
assert x.strides == (96, 32, 8)
stated("184", 1 * x.strides[0] + 2 * x.strides[1] + 3 * x.strides[2])
stated("192", x.nbytes)
spread = np.broadcast_to(np.zeros(4), (2, 3, 4))
print("b spread to (2, 3, 4) has strides", spread.strides)
for name, y in {
    "x[:, 1:]": x[:, 1:],
    "x.reshape(6, 4)": x.reshape(6, 4),
    "x.swapaxes(0, 2)": x.swapaxes(0, 2),
    "x.swapaxes(0, 2).reshape(12, 2)": x.swapaxes(0, 2).reshape(12, 2),
    "x[[0, 1]], an index": x[[0, 1]],
    "x + 0": x + 0,
}.items():
    kind = "view" if np.shares_memory(x, y) else "copy"
    print(f"{name:<32} {kind}   strides {y.strides}")

# %% [markdown]
# Writing into a view writes into the array it came from. So a layer of this course never writes into what it was
# handed, for others may still want to read it:

# %%
x = np.array([[1.0, 2, 3], [4, 5, 6]])
first = x[0]
first -= first.mean()  # writes where x lies; first - first.mean() does not
print("x after its first row was centred elsewhere:", x.tolist())

# %% [markdown]
# ## What it costs
#
# A batch of 12 rows of 64 tokens with 128 channels in float32 is 393,216 bytes. Adding a bias does 98,304 additions;
# for each it reads 4 bytes of x and writes 4 of out. The matrix product does far more with each number it reads. Its
# broadcast form above would be 150,994,944 bytes in between for a matrix of 128 by 384, where `@` needs none of them.

# %%
B, T, C = 12, 64, 128
print(f"activations  {B * T * C:>12,} numbers {B * T * C * 4:>13,} bytes")
print(f"(N, I, O)    {B * T * C * 384:>12,} numbers {B * T * C * 384 * 4:>13,} bytes")
stated("98,304", B * T * C)
stated("393,216", B * T * C * 4)
stated("150,994,944", B * T * C * 384 * 4)

# %% [markdown]
# Memory is fetched in lines, on most CPUs of 64 bytes, 16 float32 that lie side by side. Along the last axis all 16
# are used. Along another axis the next number may lie in another line, of which the other 15 are fetched, and gone
# again before they are used. So the same numbers, summed in another order, may take another time:
#
# ```recorded
# x is 4,096 × 4,096 float32; one thread of an AMD EPYC
# [x[i].sum() for i in range(4096)]       9 ms  stride 4: side by side
# [x[:, j].sum() for j in range(4096)]  133 ms  stride 16384: each in a new line
# x.sum(axis=0)                           4 ms  row by row, whole rows added
# ```
#
# The last row shows the way out: the columns' sums, in the order in which the numbers lie.

# %% [markdown]
# ## One layer, two libraries
#
# NumPy computes on the CPU. CuPy is a library with the same names whose arrays lie in the memory of a CUDA graphics
# card and are computed on there. A layer that names neither runs on both. Most of what it does belongs to the
# *array*: operators, indexing, methods such as `.sum` and `.reshape`. What is left are functions, `sqrt`, `exp`,
# `where`, `arange`, and for these it asks the array which library it is from:


# %%
def fade(x):
    """Token t of each row times 1 / sqrt(1 + t). x: (B, T, C)."""
    xp = array_module(x)  # numpy, or cupy
    # made where x lies: CuPy refuses a NumPy array beside its own
    t = xp.arange(x.shape[1], dtype=x.dtype)
    return x / xp.sqrt(1 + t)[:, None]  # (B, T, C) / (T, 1)


x = np.ones((1, 3, 2))
# "cuda" where CuPy and a card are found, else "cpu"
device, _ = resolve_device("auto")
for there in (x, to_device(x, device)):
    library = array_module(there).__name__
    print(to_host(fade(there))[0, :, 0], "computed by", library)
try:
    array_module([1.0, 2.0])
except TypeError as error:
    print("a list:", error)

# %% [markdown]
# The engine keeps what the two libraries do not share in one file, `tinygpt/backend.py`. Its layers are written like
# `fade`, and so are those that you will write.

# %% [markdown]
# ## Questions to think about
#
# 1. x is (B, T, C). What are the shapes of `x.mean(axis=(0, 1))`, `x.mean(axis=-1)`, `x[:, -1]` and `x[:, -1:]`?
#    Which of them can be taken away from x as they are, and which only for some sizes, and then with another meaning?
# 2. `np.lib.stride_tricks.sliding_window_view(tokens, T)` gives *all* windows of T tokens, as a view. What are its
#    strides? How many bytes does it add, and why does `windows_at` make copies all the same?
# 3. `out = x[:, None] * x` is the outer product of a vector with itself. x is used twice, and spread in two ways.
#    What is dx?
#
# Answers: `python -m lessons answers 1`
#
# ## To read on
#
# - Harris et al.: "Array programming with NumPy", Nature, 2020, arXiv:2006.10256: shapes, strides, views and
#   broadcasting in one figure.
# - NumPy's user guide, the page "Broadcasting", for the rule with more examples.
# - `tinygpt/backend.py`, and `tinygpt/layers/linear.py`, whose `db` is this lesson's.

# %% [markdown]
# ## Answers
#
# **1.** The mean over axes 0 and 1 is (C,) and fits. The mean over the last axis is (B, T): aligned at the right, T
# lies under C and B under T. It fits only where these are equal (or 1), and then a token's mean is taken from a
# channel. `x[:, -1]` is (B, C) and fits where B = T (or 1): each row's last token is then taken from one token of
# *every* row. `x[:, -1:]`, (B, 1, C), means what it says.
#
# **2.** Both strides are one token, 8 bytes for int64: the next window begins one further on. It adds no bytes. But
# the windows of a batch lie at random places, which no strides describe. And they overlap: whoever wrote into one
# would change the others.

# %%
import numpy as np

tokens = np.arange(10)
windows = np.lib.stride_tricks.sliding_window_view(tokens, 4)
print("strides of all windows:", windows.strides)

# %% [markdown]
# **3.** out_ij = x_i x_j, and x_k stands in row k and in column k. So dx_k = Σ_j dout_kj x_j + Σ_i dout_ik x_i.

# %%
import numpy as np

rng = np.random.default_rng(2)
x, dout = rng.standard_normal(3), rng.standard_normal((3, 3))
dx = (dout * x).sum(axis=1) + (dout * x[:, None]).sum(axis=0)


def loss(x):
    return (dout * np.outer(x, x)).sum()


# up and down by 1: exact for a parabola
nudged = [(loss(x + e) - loss(x - e)) / 2 for e in np.eye(3)]
print("dx        ", dx)
print("by nudging", np.array(nudged))
assert np.allclose(dx, nudged)

# %% [markdown]
# # 1. Arrays
#
# A GPT reads text in batches: B rows of T tokens, and for every token C numbers, which say what the network makes
# of it so far. Some layers add a bias, one number for each of the C channels, to all of that. In an array library
# this is `out = x + b`, although x holds B · T · C numbers and b only C.
#
# **Which entry of b is added to which entry of x? And if you know how the error of the network changes with each
# entry of `out`, how does it change with each entry of b?** The second question, asked again and again, is what
# this course is made of.

# %%
import numpy as np
from kit import stated

from tinygpt.backend import array_module, to_device, to_host
from tinygpt.data import windows_at
from tinygpt.device import resolve_device

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
print("shape", x.shape, " dtype", x.dtype, " entries", x.size, " bytes", x.nbytes)
print("x[1, 2], the last token's channels:", x[1, 2])
print("x[:, -1], the last token of each row, has shape", x[:, -1].shape)

# %% [markdown]
# Models are trained in float32, 4 bytes a number. To see whether a formula is right we compute in float64, 8 bytes
# and about 16 digits. The two together give float64, which can happen unnoticed: a number from NumPy has a dtype of
# its own, a plain Python number has not.

# %%
x32 = x.astype(np.float32)
print("x32 / np.sqrt(8) is", (x32 / np.sqrt(8)).dtype, "but x32 / 8**0.5 is", (x32 / 8**0.5).dtype)

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
# The last two hold the same numbers. What they fit beside is different, and that is the next subject.

# %%
x = np.array([[1.0, 2, 3], [4, 5, 6]])
for axis in (0, 1, (0, 1)):
    print(f"axis={axis!s:<7} {x.sum(axis=axis)!s:<12} with keepdims {x.sum(axis=axis, keepdims=True).shape}")
assert np.array_equal(x.sum(axis=0), [5, 7, 9])
assert np.array_equal(x.sum(axis=1, keepdims=True), [[6], [15]])

# %% [markdown]
# ## Broadcasting
#
# An operation on two arrays of unlike shapes follows one rule. Write the shapes below each other, *aligned at the
# right*. Two axes fit if they are equal, or if one of them is 1 or missing. An axis that is 1 or missing is
# repeated until it fits.
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

# %%
for a, b in (((2, 3, 4), (4,)), ((2, 3, 4), (2, 3, 1)), ((2, 3), (3,)), ((3, 1), (4,)), ((2, 3), (2,))):
    try:
        print(f"{a!s:<10} with {b!s:<10} gives {(np.zeros(a) + np.zeros(b)).shape}")
    except ValueError as error:
        print(f"{a!s:<10} with {b!s:<10} fails: {error}")

# %% [markdown]
# ## On paper: a column and a row
#
# A column beside a row fills a table: with · it is the *outer product*, with + the outer sum. `a[:, None]` is a
# with a new axis of length 1 behind it, which makes a column of it.
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
# An array of whole numbers can also stand in the brackets of another array, as an index. Then each of its entries
# is looked up, and the result has *the index's* shape. (These two, a table of sums and a look-up, are what the
# exercise at the end asks for.)

# %%
print(np.array([1, 2, 3])[:, None] * np.array([10, 20, 30, 40]))
print(np.array([10, 50, 20])[:, None] + np.array([0, 1, 2, 3]))
stated("120", (np.array([1, 2, 3])[:, None] * np.array([10, 20, 30, 40]))[2, 3])

price = np.array([5, 12, 7])  # (3,)
basket = np.array([[0, 0], [2, 1], [1, 1], [0, 2]])  # (4, 2), each entry a place in price
print("each customer's prices:", price[basket].tolist(), " shape", price[basket].shape)
print("each customer pays:    ", price[basket].sum(axis=1))

# %% [markdown]
# ## A bug on purpose
#
# To centre each row, take away its mean. Without `keepdims` the means lie down as a row, and the rule then puts
# mean j under *column* j. With unlike sizes NumPy refuses. With a square array it does as it is told:


# %%
def centre_rows(x):
    return x - x.mean(axis=1)  # (n, m) - (n,): the means belong to rows and are laid under columns


try:
    centre_rows(x)
except ValueError as error:
    print("(2, 3):", error)
square = np.array([[0.0, 0, 3], [1, 2, 3], [6, 6, 6]])
wrong = centre_rows(square)
right = square - square.mean(axis=1, keepdims=True)
print("(3, 3): no error, and the rows' means are", wrong.mean(axis=1), "instead of", right.mean(axis=1))

# %% [markdown]
# Two habits follow. Test with axes of *different* lengths, which all checks of this course do. And test a property
# that the result must have: here, that the rows' means are 0.
#
# ## Broadcasting forward means summing backward
#
# Now the second half. The error of a network is one number, called the *loss* and written L. Whatever happens
# between `out` and L, let it be summed up in an array `dout`, of out's shape, whose entries are the derivatives
# ∂L/∂out: raise that entry of out by a small h, and L rises by h times this number. Wanted are db and dx, the same
# for b and x.
#
# ```
# out = x + b        out₀₀ = x₀₀ + b₀      out₀₁ = x₀₁ + b₁      out₀₂ = x₀₂ + b₂
#                    out₁₀ = x₁₀ + b₀      out₁₁ = x₁₁ + b₁      out₁₂ = x₁₂ + b₂
# ```
#
# Raise b₀ by h. Then out₀₀ rises by h, and out₁₀ does too, because b₀ stands in both. So L rises by h · (dout₀₀ +
# dout₁₀). That is the chain rule for a number that is used in several places: its derivative is the sum over the
# places.
#
# ```
# db_j  = Σ_i dout_ij     forward (3,) is spread over (2, 3),
#                         backward (2, 3) is summed to (3,)
# dx_ij = dout_ij         each x is used once
#
# dout    1   0   2       db = (1+3, 0+5, 2−1)
#         3   5  −1          = (4, 5, 1)
# ```
#
# The other way round, where forward *sums*, one number of the result depends on many, and each of them gets all of
# what comes back (for a mean, its share): backward *spreads*.
#
# ```
# s = x.sum(axis=1)    dx_ij = ds_i                to (2,), and back to (2, 3)
# m = x.mean(axis=1)   dx_ij = dm_i / 3            three numbers share it
# out_ij = w_i x_ij    dw_i  = Σ_j dout_ij x_ij    w (2, 1) is spread, so summed
# ```
#
# To try it without a network, let L be the sum of dout · out, so that ∂L/∂out is dout. As a function of any one
# entry this L is a straight line, and a nudge of any size shows its slope.

# %%
dout = np.array([[1.0, 0, 2], [3, 5, -1]])
b, w = np.array([10.0, 20, 30]), np.array([[2.0], [3]])


def slopes(loss, a, h=0.5):
    """How fast loss(a) rises with each entry of a, by nudging one after the other."""
    return np.array([loss(a + h * place.reshape(a.shape)) - loss(a) for place in np.eye(a.size)]).reshape(a.shape) / h


db = dout.sum(axis=0)  # (2, 3) -> (3,)
dw = (dout * x).sum(axis=1, keepdims=True)  # (2, 3) -> (2, 1)
print("db     ", db, "          by nudging", slopes(lambda b: (dout * (x + b)).sum(), b))
print("dw     ", dw.tolist(), " by nudging", slopes(lambda w: (dout * (w * x)).sum(), w).tolist())
ds = np.array([7.0, -2])
dx = np.broadcast_to(ds[:, None], (2, 3))  # (2,) -> (2, 3)
print("dx of s", dx.tolist(), " by nudging", slopes(lambda x: (ds * x.sum(axis=1)).sum(), x).tolist())
assert np.array_equal(db, [4, 5, 1])
assert np.allclose(slopes(lambda w: (dout * (w * x)).sum(), w), dw)
assert np.allclose(slopes(lambda x: (ds * x.sum(axis=1)).sum(), x), dx)
assert np.allclose(slopes(lambda x: (ds * x.mean(axis=1)).sum(), x), dx / 3)

# %% [markdown]
# For any two shapes the rule is: sum over the axes that were missing, and over those that were 1.


# %%
def sum_to(dout, shape):
    """The gradient of an operand of `shape` that was broadcast to dout's shape."""
    missing = dout.ndim - len(shape)
    repeated = tuple(missing + i for i, length in enumerate(shape) if length == 1)
    return dout.sum(axis=tuple(range(missing)) + repeated, keepdims=True).reshape(shape)


rng = np.random.default_rng(1)
dout4 = rng.standard_normal((2, 3, 4))
for shape in ((4,), (3, 1), (2, 1, 4), (1, 1, 1), (2, 3, 4)):
    a = rng.standard_normal(shape)
    nudged = slopes(lambda a: (dout4 * (a + np.zeros((2, 3, 4)))).sum(), a)
    print(f"{shape!s:<10} spread to (2, 3, 4):", "right" if np.allclose(sum_to(dout4, shape), nudged) else "WRONG")
    assert np.allclose(sum_to(dout4, shape), nudged)

# %% [markdown]
# The engine's layers do without `sum_to`: each knows its own axes. The matrix product is made of the same two
# steps, a broadcast product and a sum over the axis in the middle:
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
# A slice, a reshape or a transpose gives a *view*: a new shape over the same memory. Other operations make a
# *copy*. What tells them apart is how an array finds its numbers. They lie in one row in memory, and `strides`
# says, for each axis, how many bytes to go on for the next entry along it:
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
# each new axis can describe it. After a transpose that is seldom so, and the numbers are copied into their new
# order.

# %%
x = np.arange(24.0).reshape(2, 3, 4)
assert x.strides == (96, 32, 8)
stated("184", 1 * x.strides[0] + 2 * x.strides[1] + 3 * x.strides[2])
stated("192", x.nbytes)
print("b broadcast to (2, 3, 4) has strides", np.broadcast_to(np.zeros(4), (2, 3, 4)).strides)
for name, y in {
    "x[:, 1:]": x[:, 1:],
    "x.reshape(6, 4)": x.reshape(6, 4),
    "x.swapaxes(0, 2)": x.swapaxes(0, 2),
    "x.swapaxes(0, 2).reshape(12, 2)": x.swapaxes(0, 2).reshape(12, 2),
    "x[[0, 1]], an index": x[[0, 1]],
    "x + 0": x + 0,
}.items():
    print(f"{name:<32} {'view' if np.shares_memory(x, y) else 'copy'}   strides {y.strides}")

# %% [markdown]
# Writing into a view writes into the array it came from. So a layer of this course never writes into what it was
# handed, for others may still want to read it:

# %%
x = np.array([[1.0, 2, 3], [4, 5, 6]])
first = x[0]
first -= first.mean()  # writes where x lies; first = first - first.mean() would make a new array
print("x after its first row was centred elsewhere:", x.tolist())

# %% [markdown]
# ## What it costs
#
# A batch of 12 rows of 64 tokens with 128 channels in float32 is 393,216 bytes. Adding a bias does 98,304
# additions; for each it reads 4 bytes of x and writes 4 of out. The matrix product does far more with each number
# it reads. Its broadcast form above would be 150,994,944 bytes in between for a matrix of 128 by 384, where `@`
# needs none of them.

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
#
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
    t = xp.arange(x.shape[1], dtype=x.dtype)  # made where x lies: CuPy refuses a NumPy array beside its own
    return x / xp.sqrt(1 + t)[:, None]  # (B, T, C) / (T, 1)


x = np.ones((1, 3, 2))
device, _ = resolve_device("auto")  # "cuda" where CuPy and a card are found, else "cpu"
for there in (x, to_device(x, device)):
    print(to_host(fade(there))[0, :, 0], "computed by", array_module(there).__name__)
try:
    array_module([1.0, 2.0])
except TypeError as error:
    print("a list:", error)

# %% [markdown]
# The engine keeps what the two libraries do not share in one file, `tinygpt/backend.py`. Its layers are written
# like `fade`, and so are those that you will write.
#
# ## Your turn: windows_at
#
# ```
# python -m lessons start 1        writes lessons/work/windows_at.py
# python -m lessons check 1        holds it against the engine's
# python -m lessons hint 1         if you are stuck
# ```
#
# A text is one long row of N tokens. A network learns from windows of it: from every window of T tokens it is to
# predict, for each, the token that follows. `windows_at(tokens, starts, block_size)` cuts B windows at once,
# without a loop. The tokens of a large text are uint16, to take little room; idx and targets come as int64, the
# usual dtype of an index.

# %%
idx, targets = windows_at(np.arange(100, 120, dtype=np.uint16), np.array([0, 5, 3]), 4)
print("idx      ", idx.tolist(), idx.dtype)
print("targets  ", targets.tolist(), targets.dtype)

# %% [markdown]
# Once it passes, `python train.py --mine lessons/work` cuts its batches with it.
#
# ## Questions to think about
#
# 1. x is (B, T, C). What are the shapes of `x.mean(axis=(0, 1))`, `x.mean(axis=-1)`, `x[:, -1]` and `x[:, -1:]`?
#    Which of them can be taken away from x as they are, and which only for some sizes, and then with another
#    meaning?
# 2. `np.lib.stride_tricks.sliding_window_view(tokens, T)` gives *all* windows of T tokens, as a view. What are its
#    strides? How many bytes does it add, and why does `windows_at` make copies all the same?
# 3. `out = x[:, None] * x` is the outer product of a vector with itself. x is used twice, and spread in two ways.
#    What is dx?
#
# They are answered at the beginning of lesson 2.
#
# ## To read on
#
# - Harris et al.: "Array programming with NumPy", Nature, 2020, arXiv:2006.10256: shapes, strides, views and
#   broadcasting in one figure.
# - NumPy's user guide, the page "Broadcasting", for the rule with more examples.
# - `tinygpt/backend.py`, and `tinygpt/layers/linear.py`, whose `db` is this lesson's.

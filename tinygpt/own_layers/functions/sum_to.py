"""`sum_to`, the backward of a broadcast, a step to linear's `db`: its definition, its calls, its usual mistakes."""

import numpy as np

from tinygpt.backend import Array
from tinygpt.own_layers.functions import Call, Calls


def sum_to(dout: Array, shape: tuple[int, ...]) -> Array:
    """The gradient of an operand of `shape` that forward broadcast to the shape of `dout`.

    dout: the gradient of the result. shape: one that broadcasts to dout's. Returns an array of `shape`, in the dtype
    of dout, which stays as it is.
    """
    missing = dout.ndim - len(shape)  # axes that the operand did not have: the first ones
    repeated = tuple(missing + i for i, length in enumerate(shape) if length == 1)
    return dout.sum(axis=tuple(range(missing)) + repeated, keepdims=True).reshape(shape)


DEFINITION = sum_to


def calls(rng: np.random.Generator) -> Calls:
    B, T, C = (int(n) for n in rng.permutation(np.arange(2, 7))[:3])
    dout = rng.standard_normal((B, T, C))
    for title, shape in (
        ("two axes missing", (C,)), ("one axis missing", (T, C)), ("an axis of 1 in the middle", (B, 1, C)),
        ("an axis of 1 at the end", (B, T, 1)), ("two axes of 1", (1, T, 1)), ("an axis missing and one of 1", (T, 1)),
        ("an axis missing and one of 1 in front", (1, C)), ("three axes of 1", (1, 1, 1)), ("a single number", ()),
        ("nothing was spread", (B, T, C)),
    ):  # fmt: skip
        yield Call(title, (dout, shape))
    square = rng.standard_normal((T, T))
    yield Call("a square, one axis missing", (square, (T,)))
    yield Call("a square, an axis of 1", (square, (T, 1)))
    yield Call("an axis that was 1 before and after", (rng.standard_normal((B, 1)), (1, 1)))
    yield Call("float32", (rng.standard_normal((B, C)).astype(np.float32), (C,)))


# fmt: off
_AXES, _SUM = "tuple(range(missing)) + repeated", "dout.sum(axis=tuple(range(missing)) + repeated, keepdims=True)"
_LAST = f"{_SUM}.reshape(shape)"
_RETURN = f"return {_LAST}"
_MISSING = "dout = dout.sum(axis=tuple(range(missing)))\n"
_REPEATED = "for i, length in enumerate(shape):\n    if length == 1:\n        dout = dout"
_ONE = f"dout[tuple(slice(*([...] if i in {_AXES} else [None])) for i in range(dout.ndim))]"
MISTAKES = [
    ("it is the mean over the places, where their sum belongs", (_SUM, _SUM.replace("sum", "mean"))),
    ("the axes of 1 are not summed: an axis of length 1 was repeated just as a missing one was",
     (_AXES, "tuple(range(missing))")),
    ("the axes of 1 are not summed: an axis of length 1 was repeated just as a missing one was",
     (_LAST, "dout.sum(axis=tuple(range(missing)))")),
    ("the missing axes are not summed, only those of 1", (_AXES, "repeated")),
    ("the missing axes are not summed, only those of 1",
     ("missing + i", "i"), (_LAST, "dout.sum(axis=repeated, keepdims=True)")),
    ("shapes are aligned at the left, where broadcasting aligns them at the right: the missing axes are the first ones",
     (_AXES, "tuple(range(len(shape), dout.ndim)) + repeated"), ("missing + i", "i")),
    ("an axis of 1 is looked for at its place in shape: in dout it stands so many axes further on as are missing",
     ("missing + i", "i")),
    ("the axes of 1 disappear, where they are to stay as axes of length 1: sum with keepdims, or reshape to shape",
     (_LAST, f"dout.sum(axis={_AXES})")),
    ("the axes of 1 are summed without keepdims, so that they disappear, and those behind them move one place on",
     (_RETURN, f"{_MISSING}{_REPEATED}.sum(axis=i)\nreturn dout")),
    ("the axes of 1 are summed without keepdims, so that they disappear, and the missing ones are not summed",
     (_RETURN, f"{_REPEATED}.sum(axis=i)\nreturn dout")),
    ("over the axes of 1 it is the mean, where the sum belongs",
     (_SUM, "dout.sum(axis=tuple(range(missing)), keepdims=True).mean(axis=repeated, keepdims=True)")),
    ("the last axes are summed as the missing ones, where they are the first: shapes are aligned at the right",
     (_RETURN, f"while dout.ndim > len(shape):\n    dout = dout.sum(axis=-1)\n{_REPEATED}.sum(axis=i, keepdims=True)\n"
               "return dout")),
    ("the missing axes stay as axes of length 1, where they are to disappear: reshape to shape", (_LAST, _SUM)),
    ("nothing is summed: the first of the places is taken, where all of them count",
     (_SUM, _ONE.replace("...", "1"))),
    ("nothing is summed: the last of the places is taken, where all of them count (=, where += belongs)",
     (_SUM, _ONE.replace("...", "-1, None"))),
    ("all is summed to one number, and every entry gets that: only the axes that were spread are to be summed",
     (_LAST, "np.full(shape, dout.sum(), dout.dtype)")),
    ("the axes are summed that were not spread, where those belong that were",
     (_AXES, f"tuple(set(range(dout.ndim)) - set({_AXES}))")),
    ("where dout and shape have the same number of axes nothing is summed: an axis of 1 was repeated too",
     ("missing = dout.ndim - len(shape)", "missing = dout.ndim - len(shape)\nif not missing:\n    return dout")),
    ("dout comes back as it is: nothing is summed", (_LAST, "dout")),
    ("dout is reshaped, which sums nothing", (_SUM, "dout")),
    ("axis 0 is summed and no other: the axes to be summed follow from the two shapes", (_LAST, "dout.sum(axis=0)")),
]

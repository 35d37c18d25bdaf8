"""`global_norm`, the length of all gradients together: its calls, and the mistakes it is usually made with."""

import numpy as np

from tinygpt.optim.optimizer import global_norm
from tinygpt.own_layers.functions import Call, Calls

DEFINITION = global_norm


def calls(rng: np.random.Generator) -> Calls:
    yield Call("3 and 4", ((np.array([3.0]), np.array([4.0])),))
    shapes = [tuple(int(n) for n in rng.integers(2, 7, size=axes)) for axes in (2, 1, 3, 1)]
    yield Call("several shapes", (tuple(rng.standard_normal(shape) for shape in shapes),))
    yield Call("one array", ((rng.standard_normal((3, 4)),),))
    yield Call("one far longer than the others", ((rng.standard_normal(5), 100 * rng.standard_normal(7)),))
    whole = (rng.integers(-9, 10, shape).astype(np.float32) for shape in shapes)  # exact in any order of adding
    yield Call("float32", (tuple(whole),))
    yield Call("zeros", ((np.zeros(3), np.zeros((2, 2))),))


# fmt: off
_SQUARES, _ROOT = "(x * x).sum()", "xp.sqrt(xp.stack(squares).sum())"
MISTAKES = [
    ("the lengths of the arrays are added, where their squares belong: the root is taken once, of the whole sum",
     (_SQUARES, "array_module(x).sqrt((x * x).sum())"), (_ROOT, "xp.stack(squares).sum()")),
    ("there is no root: it is the sum of all squares", (_ROOT, "xp.stack(squares).sum()")),
    ("the absolute values are added, where the squares belong, and there is no root",
     (_SQUARES, "abs(x).sum()"), (_ROOT, "xp.stack(squares).sum()")),
    ("the absolute values are added under the root, where the squares belong", (_SQUARES, "abs(x).sum()")),
    ("the largest of the arrays' lengths is taken, where all of them belong together",
     (_ROOT, "xp.sqrt(xp.stack(squares).max())")),
    ("it is the largest entry, where the length of all of them belongs",
     (_SQUARES, "abs(x).max()"), (_ROOT, "xp.stack(squares).max()")),
    ("the squares are averaged within each array, where they are to be added", (_SQUARES, "(x * x).mean()")),
    ("the arrays' sums of squares are averaged, where they are to be added",
     (_ROOT, "xp.sqrt(xp.stack(squares).mean())")),
    ("the squares are averaged over all entries, where they are to be added",
     (_ROOT, "xp.sqrt(xp.stack(squares).sum() / sum(x.size for x in arrays))")),
    ("each array is summed before it is squared: positive and negative entries cancel", (_SQUARES, "x.sum() ** 2")),
    ("only the first array is measured", (_ROOT, "xp.sqrt(squares[0])")),
    ("only the last array is measured", (_ROOT, "xp.sqrt(squares[-1])")),
    ("the length is divided by the number of arrays: nothing is to be averaged",
     (_ROOT, "xp.sqrt(xp.stack(squares).sum()) / len(squares)")),
    ("the root of each array's mean square is added, where all squares are to be added before one root is taken",
     (_SQUARES, "array_module(x).sqrt((x * x).mean())"), (_ROOT, "xp.stack(squares).sum()")),
]

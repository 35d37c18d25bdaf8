"""`numerical_gradient`: its calls, and the mistakes it is usually made with."""

import numpy as np

from tinygpt.gradcheck.numerical import numerical_gradient
from tinygpt.own_layers.functions import Call, Calls

DEFINITION = numerical_gradient


def calls(rng: np.random.Generator) -> Calls:
    a = rng.standard_normal((2, 3))
    yield Call("a polynomial", (lambda x: float((a * x * x + x**4).sum()), rng.standard_normal((2, 3)), 1e-3))
    yield Call("exp", (lambda x: float(np.exp(x).sum()), rng.standard_normal(5), 1e-3))
    yield Call("entries that depend on each other", (lambda x: float(np.prod(x)), rng.uniform(1, 2, (2, 2)), 1e-3))
    yield Call("many entries", (lambda x: float((x**3).sum()), rng.standard_normal((4, 30)), 1e-3))
    yield Call("a single number", (lambda x: np.sin(x), np.array(rng.standard_normal()), 1e-3))
    yield Call("a large step", (lambda x: float(np.exp(x).sum()), rng.standard_normal(4), 0.1))
    yield Call("the usual step", (lambda x: float(np.sin(3 * x).sum()), rng.standard_normal((1, 2, 2))))


# fmt: off
MISTAKES = [
    ("the difference is one-sided, (f(x + h) - f(x)) / h, whose error is of the order of h: use both sides",
     ("x[place] = kept - h", "x[place] = kept"), ("2 * h", "h")),
    ("the difference is one-sided, (f(x) - f(x - h)) / h, whose error is of the order of h: use both sides",
     ("x[place] = kept + h", "x[place] = kept"), ("2 * h", "h")),
    ("f(x + h) and f(x - h) are 2h apart, but the difference is divided by h", ("2 * h", "h")),
    ("/ 2 * h divides by 2 and multiplies by h: write / (2 * h)", ("... / (2 * h)", "... / 2 * h")),
    ("range(len(x)) goes over the first axis alone, so that whole rows are moved at once: go over every entry, with "
     "np.ndindex(x.shape)", ("np.ndindex(x.shape)", "range(len(x))"), ("float(x[place])", "x[place].copy()")),
    ("range(len(x)) goes over the first axis alone, so that whole rows are moved at once: go over every entry, with "
     "np.ndindex(x.shape)", ("np.ndindex(x.shape)", "range(len(x))"), ("float(x[place])", "x[place]")),
    ("each entry is put back by adding and taking away, which rounds: keep its value, and set the entry to that",
     ("x[place] = kept + h", "x[place] += h"), ("x[place] = kept - h", "x[place] -= 2 * h"),
     ("x[place] = kept", "x[place] += h")),
    ("there is a loop for each of two axes, where x may have any number of them: np.ndindex(x.shape) goes over all",
     ("np.ndindex(x.shape)", "((i, j) for i in range(x.shape[0]) for j in range(x.shape[1]))"),
     ("float(x[place])", "x[place]")),
    ("the entries are counted one by one, and the gradient is asked by that number, where it has x's shape: fill "
     "gradient.reshape(-1), or go over np.ndindex(x.shape)",
     ("gradient[place] = ...", "gradient[list(np.ndindex(x.shape)).index(place)] = ...")),
    ("the gradient is one long row, where it has the shape of x", ("return gradient", "return gradient.ravel()")),
    ("f is called with all of x moved at once, so that one number comes back: move one entry at a time",
     ("return gradient", "return (f(x + h) - f(x - h)) / (2 * h)")),
    ("the difference is not divided by 2h", ("... / (2 * h)", "...")),
    ("it is 0 everywhere: are the entries of x itself moved, or those of a copy, as of x.flatten()?",
     ("above - below", "above - above")),
    ("the sign is wrong: it is f(x + h) - f(x - h)", ("above - below", "below - above")),
    ("an entry is not put back before the next one is moved", ("x[place] = kept", "")),
    ("its numbers are those of a step of 1e-5, whatever h it is given",
     ("kept + h", "kept + 1e-5"), ("kept - h", "kept - 1e-5"), ("2 * h", "2e-5")),
    ("below is f at x, where x - h belongs: after x[place] += h, to take h away leads back to x",
     ("x[place] = kept - h", "x[place] = kept")),
]

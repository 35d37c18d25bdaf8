"""`draw`, which takes the next token: its calls, and the mistakes it is usually made with."""

import numpy as np

from tinygpt.own_layers.functions import Call, Calls, Uniform
from tinygpt.sample import draw

DEFINITION = draw


def calls(rng: np.random.Generator) -> Calls:
    probs = rng.dirichlet(np.ones(6), size=5)
    yield Call("", (probs, Uniform(*rng.random(5))))
    yield Call("many rows of the same", (np.repeat(probs[:1], 40, axis=0), Uniform(*rng.random(40))))
    yield Call("probabilities of zero", (np.array([[0, 0.5, 0, 0.5], [0, 0, 0, 1.0]]), Uniform(0.0, 0.0)))
    yield Call("sums a little below 1", (np.array([[0.5, 0.25, 0.25 - 1e-9]]), Uniform(1 - 1e-12)))


# fmt: off
MISTAKES = [
    ("the likeliest token is taken, where one is to be drawn",
     ("cumulative > threshold", "probs >= probs.max(axis=-1, keepdims=True)")),
    ("a token of probability 0 can be drawn: its cumulative probability is equal to a threshold of 0, not above it",
     ("cumulative > threshold", "cumulative >= threshold")),
    ("one random number serves all rows, where each row has its own", ("len(probs), 1", "1, 1")),
    ("a row's probabilities add up to 1 only nearly, and a number above their sum finds no token: scale it by the sum",
     ("rng.random(...) * ...", "rng.random((len(probs), 1))")),
    ("the token after the right one is taken", ("(cumulative > threshold).argmax(...)",
      "np.minimum((cumulative > threshold).argmax(...) + 1, probs.shape[-1] - 1)")),
    ("the comparison is the wrong way round: the first token whose cumulative probability is above the number is drawn",
     ("cumulative > threshold", "cumulative < threshold")),
    ("the token after the right one is taken",
     ("(cumulative > threshold).argmax(...)", "(cumulative > threshold).argmax(...) + 1")),
    ("argmax goes down the columns and gives a row for each token, where it is to give a token for each row: axis -1",
     ("(cumulative > threshold).argmax(...)", "(cumulative > threshold).argmax(axis=0)")),
    ("the tokens stand in a column, (B, 1), where (B,) is expected: argmax without keepdims",
     ("(cumulative > threshold).argmax(...)", "(cumulative > threshold).argmax(axis=-1, keepdims=True)")),
    ("every token whose end lies beyond the number is taken, where the first alone is drawn",
     ("return (cumulative > threshold).argmax(...)",
      "return np.array([token for row in cumulative > threshold for token in np.flatnonzero(row)])")),
    ("the probabilities are added up over the rows, where each row is added up by itself",
     ("probs.cumsum(...)", "probs.cumsum(axis=0)")),
]

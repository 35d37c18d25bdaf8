"""`decode` of attention, which generates: its calls, and the mistakes it is usually made with."""

import numpy as np

from tinygpt.layers.attention import decode
from tinygpt.own_layers.functions import Call, Calls

DEFINITION = decode


def calls(rng: np.random.Generator) -> Calls:
    B, H, D, S = (int(n) for n in rng.permutation(np.arange(2, 7))[:4])
    S += 2 * (S == 2) * 3  # longer than two, and unlike the others
    for title, t, size in (
        ("one new position", 1, 1), ("several", 2, 1), ("all of them", S, 1), ("large scores", 2, 40),
    ):  # fmt: skip
        q, keys, values = rng.standard_normal((B, H, t, D)), *(rng.standard_normal((B, H, S, D)) for _ in range(2))
        yield Call(title, (q * size, keys * size, values))


# fmt: off
MISTAKES = [
    ("the scores are not divided by sqrt(D)", ("bmm(q, keys, ...) * ...", "bmm(q, keys, ...)")),
    ("the scores are divided by D, where its root belongs",
     ("bmm(q, keys, ...) * ...", "bmm(q, keys, ...) / q.shape[-1]")),
    ("a new position sees those after it: the mask is missing", ("scores = xp.where(past, ...)", "")),
    ("the mask takes the new positions for the first ones, where they are the last",
     ("xp.arange(S - t, S)", "xp.arange(t)")),
    ("the heads are not put side by side: (B, H, t, D) is reshaped without moving the heads behind the time",
     ("x.transpose(...)", "x")),
]

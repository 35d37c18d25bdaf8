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
    ("only the newest keys and values are used: a new position sees all S, those before it too",
     ("bmm(q, keys, ...)", "bmm(q, keys[:, :, -q.shape[2] :], ...)"),
     ("bmm(_causal_softmax(scores), values)", "bmm(_causal_softmax(scores), values[:, :, -q.shape[2] :])")),
    ("the softmax runs over the new positions, where the keys belong: the last axis of the scores",
     ("scores.max(...)", "scores.max(axis=-2, keepdims=True)"), ("exps.sum(...)", "exps.sum(axis=-2, keepdims=True)")),
    ("the scores are divided by sqrt(C), where sqrt(D) belongs",
     ("bmm(q, keys, ...) * ...", "bmm(q, keys, ...) * (q.shape[1] * q.shape[-1]) ** -0.5")),
    ("the scores are multiplied by sqrt(D), where dividing by it belongs",
     ("bmm(q, keys, ...) * ...", "bmm(q, keys, ...) * q.shape[-1] ** 0.5")),
    ("masked scores are 0, where -inf belongs: exp(0) is 1",
     ("scores = xp.where(past, ...)", "scores = scores * past")),
    ("the mask is strict: a position does not see itself", ("xp.arange(S) <= ...", "xp.arange(S) < ...")),
    ("softmax does not subtract the maximum before exp, which overflows",
     ("xp.exp(scores - ...)", "xp.exp(scores)")),
    ("the mask is off by one: each new position sees the next one too",
     ("xp.arange(S - t, S)[:, None]", "xp.arange(S - t, S)[:, None] + 1")),
    ("the weights are divided by the sum over the whole array, where each query has its own",
     ("exps.sum(...)", "exps.sum()")),
    ("the weights multiply the keys, where the values belong",
     ("bmm(_causal_softmax(scores), values)", "bmm(_causal_softmax(scores), keys)")),
    ("the scores are divided by sqrt(S), the root of the number of keys, where sqrt(D) belongs",
     ("bmm(q, keys, ...) * ...", "bmm(q, keys, ...) * keys.shape[2] ** -0.5")),
    ("there is no softmax: the scores stand in the place of the weights",
     ("bmm(_causal_softmax(scores), values)", "bmm(scores, values)")),
]

"""Embedding: what it is checked on, and the mistakes it is usually made with."""

import numpy as np

from tinygpt.gradcheck.cases import Case, Draw

AXES = {"idx": "BT", "w": "VC"}
NAMES = {"forward": "idx w out", "backward": "dout cache idx w dw"}


def cases(draw: Draw) -> list[Case]:
    B, T, V, C = draw.sizes(4)
    return [
        Case("tokens", {"idx": draw.tokens(B, T, vocab_size=V), "w": draw.matrix(V, C, fan_in=C)}),
        Case("positions", {"idx": np.arange(T), "w": draw.matrix(T + 1, C, fan_in=C)}),
        Case("one token", {"idx": draw.tokens(1, 1, vocab_size=V), "w": draw.matrix(V, C, fan_in=C)}),
    ]


# fmt: off
MISTAKES = [
    ("last_occurrence_wins", "accumulation", ("scatter_add(...)", "dw[idx.reshape(-1)] = dout.reshape(-1, w.shape[1])"),
     "a token that occurs n times should receive the sum of n gradients, but only the last one is kept"),
    ("mean_over_occurrences", "accumulation",
     ("return dw", "xp = array_module(w)\ncount = (idx.reshape(-1)[:, None] == xp.arange(len(w))).sum(axis=0)\n"
      "return dw / xp.maximum(count, 1)[:, None]"),
     "a token that occurs n times should receive the sum of n gradients, but receives their mean"),
    ("ids_transposed", "layout", ("idx.reshape(-1)", "idx.T.reshape(-1)"),
     "batch and time are swapped in the ids, so each gradient goes to another token's row"),
    ("next_row", "layout", ("idx.reshape(-1)", "(idx.reshape(-1) + 1) % len(w)"),
     "every gradient lands one row further down, as if ids counted from 1"),
    ("scaled_by_sqrt_width", "scale", ("return dw", "return dw * w.shape[1] ** 0.5"),
     "dw has the factor sqrt(C) of the first transformer's embeddings, which GPT-2 does not have"),
    ("mean_over_places", "scale", ("return dw", "return dw / idx.size"),
     "dw is divided by the number of tokens, but the mean is taken in the loss already"),
    ("not_computed", "zero", ("scatter_add(...)", ""), "dw is zero: the gradient never reaches the table"),
    ("forward_scaled", "forward", ("w[idx]", "w[idx] * w.shape[1] ** 0.5"),
     ("return dw", "return dw * w.shape[1] ** 0.5"),
     "forward multiplies by sqrt(C), as the first transformer did and GPT-2 does not"),
]

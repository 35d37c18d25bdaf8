"""`probabilities`, the rules of sampling: its calls, and the mistakes it is usually made with."""

from types import SimpleNamespace

import numpy as np

from tinygpt.layers import softmax
from tinygpt.own_layers.functions import Call, Calls
from tinygpt.sample import probabilities

DEFINITION = probabilities
SOFTER = SimpleNamespace(forward=lambda x: softmax.forward(x / 3))  # whoever does not ask it, shows


def calls(rng: np.random.Generator) -> Calls:
    logits = rng.standard_normal((3, 9)).astype(np.float32) * 2
    ties = np.array([[1.0, 3.0, 2.0, 2.0, 0.0]])
    yield Call("", (logits,))
    yield Call("temperature", (logits, 0.7))
    yield Call("temperature 0", (logits, 0))
    yield Call("a low temperature", (logits * 100, 1e-3))
    yield Call("a temperature next to 0", (logits, 1e-310))
    yield Call("top_k", (logits * np.array([[1], [4], [0.25]], np.float32), 1.0, 4))
    yield Call("top_k, equal logits", (ties, 1.0, 2))
    yield Call("top_k beyond the vocabulary", (logits, 1.0, 50))
    yield Call("top_p", (logits, 1.0, None, 0.7))
    yield Call("top_p below the likeliest", (logits, 1.0, None, 1e-3))
    yield Call("top_p, exactly reached", (np.log(np.array([[0.5, 0.25, 0.125, 0.125]])), 1.0, None, 0.5))
    yield Call("top_k, then top_p", (np.log(np.array([[0.4, 0.3, 0.2, 0.1]])), 1.0, 2, 0.5))
    yield Call("all three", (logits, 1.3, 5, 0.8))
    yield Call("another softmax", (logits, 1.0, None, None, SOFTER))
    yield Call("logits that are not a number", (np.array([[0.0, np.nan]]),))
    yield Call("logits that are infinite", (np.array([[0.0, np.inf]]),))


# fmt: off
_SOFTMAX, _SHIFT = "probs, _ = softmax.forward(logits)", "(logits - logits.max(...)) / temperature"
MISTAKES = [
    ("logits are multiplied by the temperature, where they are to be divided by it",
     ("... / temperature", "... * temperature")),
    ("the softmax that it was given is not asked",
     (_SOFTMAX, "probs = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)")),
    ("the temperature has no effect: the logits are to be divided by it before softmax", ("... / temperature", "...")),
    ("the temperature divides the probabilities, where it belongs in the logits, before softmax",
     ("... / temperature", "..."), (_SOFTMAX, f"{_SOFTMAX}\nprobs = probs / temperature")),
    ("what top_k leaves out gets a logit of 0, where -inf belongs: exp(0) is 1", (_SHIFT, "logits / temperature"),
     ("np.where(logits < smallest_kept, -np.inf, logits)", "np.where(logits < smallest_kept, 0.0, logits)")),
    ("what top_k leaves out gets a logit of 0, where -inf belongs: exp(0) is 1, as likely as the largest",
     ("np.where(logits < smallest_kept, -np.inf, logits)", "np.where(logits < smallest_kept, 0.0, logits)")),
    ("what is left after top_k is not divided by its sum: cut the logits, before softmax, not the probabilities",
     ("np.where(logits < smallest_kept, -np.inf, logits)", "logits"),
     (_SOFTMAX, f"{_SOFTMAX}\nif top_k is not None and top_k < logits.shape[-1]:\n"
      "    probs = np.where(logits < smallest_kept, 0.0, probs)")),
    ("logits that are not finite are let through: raise UserError", ("not np.isfinite(...).all()", "False")),
    ("top_k is not used", ("top_k is not None and top_k < logits.shape[-1]", "False")),
    ("top_p is not used", ("top_p is not None and top_p < 1", "False")),
    ("a temperature of 0 is divided by, where all probability belongs on the largest logit",
     ("temperature == 0", "False")),
    ("top_k keeps one token too many", ("np.partition(...)[:, -top_k, None]",
      "np.sort(logits, axis=-1)[:, max(-top_k - 1, -logits.shape[-1]), None]")),
    ("of equal logits at the edge of top_k only some are kept, or more are dropped than asked for",
     ("logits < smallest_kept", "logits <= smallest_kept")),
    ("of equal logits at the edge of top_k only some are kept, or more are dropped than asked for",
     ("logits < smallest_kept", "np.argsort(np.argsort(-logits, axis=-1, kind='stable'), axis=-1) >= top_k")),
    ("at a very small temperature what comes out is no number: take each row's largest logit away before dividing, so "
     "that it is 0 whatever the temperature", (_SHIFT, "logits / temperature")),
    ("top_k keeps the smallest logits",
     ("logits < smallest_kept", "logits > np.partition(logits, top_k - 1, axis=-1)[:, top_k - 1, None]")),
    ("the token that crosses top_p is dropped: it belongs to those that together reach it",
     ("before < top_p", "(before + ordered <= top_p) | (np.arange(ordered.shape[-1]) == 0)")),
    ("one token too many is kept where the likeliest reach top_p exactly", ("before < top_p", "before <= top_p")),
    ("what is left after top_p is not divided by its sum", ("probs /= probs.sum(...)", "")),
    ("top_p keeps the unlikeliest tokens", ("np.argsort(-probs, ...)", "np.argsort(probs, ...)")),
    ("the kept probabilities are left in the order of their size, not put back in their tokens' places",
     ("np.put_along_axis(probs, order, ...)", "probs = ordered")),
    ("the edge of top_k is counted from the smallest logit, where the largest belongs",
     ("np.partition(...)[:, -top_k, None]", "np.sort(logits, axis=-1)[:, top_k, None]")),
    ("the token that crosses top_p is dropped: it belongs to those that together reach it",
     ("before < top_p", "before + ordered <= top_p")),
    ("the maximum of the whole array is subtracted, where each row has its own", ("logits.max(...)", "logits.max()")),
    ("the token that crosses top_p is dropped: it belongs to those that together reach it",
     ("before = ...", "before = ordered.cumsum(axis=-1)")),
    ("the token that crosses top_p is dropped: it belongs to those that together reach it",
     ("before < top_p", "(before + ordered < top_p) | (np.arange(ordered.shape[-1]) == 0)")),
    ("top_p adds the tokens up in their own order, where the likeliest come first",
     ("np.argsort(...)", "np.arange(probs.shape[-1]) + np.zeros(probs.shape, dtype=int)")),
    ("the edge of top_k is that of the whole batch, where each row has its own",
     ("np.partition(...)[:, -top_k, None]", "np.sort(logits, axis=None)[-top_k]")),
    ("the edge of top_k is that of the whole batch, where each row has its own", (_SHIFT, "logits / temperature"),
     ("np.partition(...)[:, -top_k, None]", "np.sort(logits, axis=None)[-top_k]")),
    ("the temperature divides the probabilities, where it belongs in the logits: dividing by their sum undoes it",
     ("... / temperature", "..."),
     (_SOFTMAX, f"{_SOFTMAX}\nprobs = probs / temperature\nprobs = probs / probs.sum(axis=-1, keepdims=True)")),
]

"""From logits to text: the rules that pick the next token, and a stream of pieces that can be printed."""

import codecs
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from tinygpt.errors import UserError
from tinygpt.layers import softmax
from tinygpt.values import SMALLEST, real_number, whole_number


def check_rules(
    temperature: float, top_k: int | None, top_p: float | None
) -> tuple[float, int | None, float | None]:  # fmt: skip
    """Sampling rules as Python's numbers. Raises UserError, in one sentence, for those that mean nothing."""
    temperature = real_number(temperature, "temperature", "0 (always the likeliest token) or more", 0)
    if top_k is not None:
        top_k = whole_number(top_k, "top_k", 1, else_=", or leave it out to consider every token")
    if top_p is not None:
        top_p = real_number(top_p, "top_p", "more than 0 and at most 1", SMALLEST, 1)
    return temperature, top_k, top_p


def probabilities(
    logits: np.ndarray, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None,
    softmax: Any = softmax,
) -> np.ndarray:  # fmt: skip
    """The distribution to draw the next token from: (B, V) float64, rows summing to 1.

    logits: (B, V). They are divided by `temperature` (0: all probability on the largest), cut down to the `top_k`
    largest (Fan et al., 2018, arXiv:1805.04833), then to the likeliest tokens that together reach `top_p`, at least
    one (nucleus sampling: Holtzman et al., 2020, arXiv:1904.09751). `softmax` is the layer that makes probabilities of
    them. Raises UserError for logits that are not finite.
    """
    if not np.isfinite(logits).all():
        raise UserError("the model's logits are not finite, so there is nothing to draw from; its training diverged")
    logits = logits.astype(np.float64)
    if temperature == 0:
        return (np.arange(logits.shape[-1]) == logits.argmax(axis=-1)[:, None]).astype(np.float64)
    with np.errstate(over="ignore"):  # far below the largest, -inf is right
        logits = (logits - logits.max(axis=-1, keepdims=True)) / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        smallest_kept = np.partition(logits, -top_k, axis=-1)[:, -top_k, None]
        logits = np.where(logits < smallest_kept, -np.inf, logits)
    probs, _ = softmax.forward(logits)
    if top_p is not None and top_p < 1:
        order = np.argsort(-probs, axis=-1, kind="stable")
        ordered = np.take_along_axis(probs, order, axis=-1)
        before = ordered.cumsum(axis=-1) - ordered  # probability of all likelier tokens
        ordered = np.where(before < top_p, ordered, 0.0)
        np.put_along_axis(probs, order, ordered, axis=-1)
        probs /= probs.sum(axis=-1, keepdims=True)
    return probs


def draw(probs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One token for each row of `probs`, (B, V) -> (B,) int64, by inverting the cumulative distribution."""
    cumulative = probs.cumsum(axis=-1)
    threshold = rng.random((len(probs), 1)) * cumulative[:, -1:]
    return (cumulative > threshold).argmax(axis=-1)


def text_stream(tokens: Iterable[int], decode_bytes: Callable[[list[int]], bytes], stop: str = "") -> Iterator[str]:
    """Pieces of text as the tokens come, ending before `stop` if it appears. A character whose bytes are spread over
    several tokens appears when it is complete, and text that may turn out to be the beginning of `stop` is held back
    until that is known.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    pending = ""
    for token in tokens:
        pending += decoder.decode(decode_bytes([token]))
        if stop and stop in pending:
            yield pending[: pending.index(stop)]
            return
        held = next((n for n in range(min(len(stop) - 1, len(pending)), 0, -1) if stop.startswith(pending[-n:])), 0)
        if len(pending) > held:
            yield pending[: len(pending) - held]
            pending = pending[len(pending) - held :]
    pending += decoder.decode(b"", final=True)
    if pending:
        yield pending

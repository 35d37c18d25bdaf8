"""The page of `tinygpt show`: a text as a model sees it."""

from typing import Any

import numpy as np

from tinygpt.models.gpt2 import GPTConfig
from tinygpt.observed import Observed
from tinygpt.pages import packed
from tinygpt.tokenizer import Tokenizer

MOST = 256  # tokens: more could not be told apart on a screen
BYTES = 6_000_000  # of all weights of attention, a byte each, which make 8 MB of the page
LEVELS = 255  # of a weight: a byte's


def most_tokens(config: GPTConfig) -> int:
    """How many tokens of a text a page shows of such a model: no more than it sees at once, than `MOST`, and than keep
    the file small. Of each head's map the page holds the lower triangle, T (T + 1) / 2 bytes.
    """
    heads = config.n_layer * config.n_head
    room = int((np.sqrt(1 + 8 * BYTES / heads) - 1) / 2)
    return max(1, min(config.block_size, MOST, room))


def show_data(
    ids: np.ndarray, observed: Observed, tokenizer: Tokenizer, config: GPTConfig, model: str, notes: list[str]
) -> dict[str, Any]:
    """What the page is made from. ids: (T,), the text's tokens; model: what is said of the model; notes: sentences."""
    used = sorted({*ids.tolist(), *observed.likeliest.ravel().tolist()})
    below = np.tril_indices(len(ids))
    return {
        "version": 1,
        "model": model,
        "notes": notes,
        "config": {name: getattr(config, name) for name in ("n_layer", "n_head", "block_size", "vocab_size")},
        "tokens": ids.tolist(),
        "names": {str(token): name_of(token, tokenizer) for token in used},
        "losses": packed(observed.losses),
        "ranks": observed.ranks.tolist(),
        "likeliest": observed.likeliest.tolist(),
        "probabilities": packed(observed.probabilities),
        "characters": characters_in(ids[1:], tokenizer),
        "levels": LEVELS,
        "attention": packed(np.rint(observed.weights[..., below[0], below[1]] * LEVELS), "u1"),  # (L, H, T (T + 1) / 2)
    }


def name_of(token: int, tokenizer: Tokenizer) -> str:
    """A token as text; what is only a part of a character as bytes, such as \\xe2\\x80."""
    if token >= tokenizer.vocab_size:
        return f"[{token}]"  # of the padding behind the tokenizer's own
    return tokenizer.decode_bytes([token]).decode(errors="backslashreplace")


def characters_in(ids: np.ndarray, tokenizer: Tokenizer) -> int | None:
    """How many characters some tokens stand for; None where a tokenizer's tokens do not give its text back."""
    if not tokenizer.exact:
        return None
    return sum(byte & 0xC0 != 0x80 for byte in tokenizer.decode_bytes(ids))  # all but those that continue a character

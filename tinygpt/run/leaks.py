"""Whether a loss is low because what is to be predicted can be seen. Tests that are certain, not guesses."""

import numpy as np

from tinygpt.backend import to_host
from tinygpt.data import Corpus
from tinygpt.layers.cross_entropy import IGNORED
from tinygpt.models.gpt2 import GPT
from tinygpt.random import generator

WINDOW = 16  # tokens in which positions are looked at
STRETCH, STRETCHES = 64, 32  # tokens of `val` that are looked for in `train`, and how many times
SEARCHED = 1 << 24  # tokens of `train` that are searched at most


def sees_later_tokens(model: GPT, vocab_size: int, seed: int = 0) -> bool:
    """Whether another last token changes the logits of positions before it, as it cannot in a model that predicts."""
    T = min(WINDOW, model.config.block_size)
    if T < 2 or vocab_size < 2:
        return False
    idx = generator(seed, "leaks").integers(vocab_size, size=(1, T))
    other = idx.copy()
    other[0, -1] = (idx[0, -1] + 1) % vocab_size
    before, again, after = (
        to_host(model.forward(tokens)[0])[0, :-1].astype(np.float64) for tokens in (idx, idx, other)
    )
    noise = np.abs(again - before).max()  # none, but in a part of a reader's own that draws at random
    return bool(np.abs(after - before).max() > max(1e-5 * np.abs(before).max(), 10 * noise))


def targets_are_inputs(corpus: Corpus, block_size: int, seed: int = 0) -> bool:
    """Whether a batch asks for the very tokens that it shows."""
    idx, targets = corpus.batch("train", 4, block_size, generator(seed, "leaks"))
    counted = targets != IGNORED
    return bool(counted.any() and len(np.unique(idx)) > 1 and (idx == targets)[counted].all())


def found_in_train(corpus: Corpus) -> tuple[int, int] | None:
    """Of stretches of 64 tokens, evenly spaced in `val`, how many stand word for word in `train`, and how many were
    looked for. None where that would take long, or there are fewer than 4 such stretches.
    """
    train, val = corpus.streams["train"], corpus.streams["val"]
    if len(train) > SEARCHED or len(val) < 4 * STRETCH:
        return None
    text, size = np.asarray(corpus.train).tobytes(), train.dtype.itemsize
    starts = np.linspace(0, len(val) - STRETCH, min(STRETCHES, len(val) // STRETCH)).astype(np.int64)
    found = 0
    for start in starts.tolist():
        wanted = np.asarray(corpus.extract("val", start, STRETCH)).astype(train.dtype).tobytes()
        place = text.find(wanted)
        while place % size and place >= 0:  # half a token further
            place = text.find(wanted, place + 1)
        found += place >= 0
    return found, len(starts)


def leak(model: GPT, corpus: Corpus, seed: int = 0) -> str:
    """What is known to be seen that should be predicted, in a clause; "" where these tests find nothing."""
    if sees_later_tokens(model, corpus.vocab_size, seed):
        return "positions see later tokens: another last token changes the predictions before it (lesson 10)"
    if targets_are_inputs(corpus, model.config.block_size, seed):
        return "a batch's targets are the tokens that it shows, not those that follow (lesson 1)"
    return ""


def repeated(corpus: Corpus) -> str:
    """Whether most of `val` can be had by heart, in a clause; "" where it cannot, or it is not known."""
    found, looked_for = found_in_train(corpus) or (0, 1)
    if 2 * found <= looked_for:
        return ""
    return (
        f"{found} of {looked_for} stretches of {STRETCH} tokens of the validation text stand word for word in the "
        f"training text, so val loss does not tell what was only learned by heart"
    )

"""Losses to measure a run's against: what predictors give that know far less than a model does.

Three of them, on any text: every token is equally likely; the tokens' frequencies; the frequencies of tokens after the
one before. A model below the second uses what came before a token, one below the third more than the last token.
"""

import itertools
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tinygpt.data import Batch, Corpus
from tinygpt.errors import UserError
from tinygpt.files import read_json, write_atomically
from tinygpt.layers.cross_entropy import IGNORED
from tinygpt.random import generator

MARKS = "marks.json"
TABLE = 1 << 22  # pairs that are counted in a table of all; beyond, they are sorted, which takes longer
COUNTED = {True: 1 << 23, False: 1 << 20}  # tokens that are counted at most, by whether there is such a table
AT_ONCE = 1 << 17  # tokens
PIECES = 16  # of a longer text
SURE = 50  # times that each pair could have been seen
MEASURED = 1 << 18  # targets that are measured on at most


@dataclass(frozen=True)
class Marks:
    """Losses in nats per token, on the targets of the run's own evaluation of `val`, so that they compare with its val
    losses as they are; of more than 262,144 targets on the first of them.

    uniform: ln V, of a guess among V tokens. unigrams: of the frequencies in `train`, each count taken as one more.
    bigrams: after a token that was seen n times, before t different ones, b has the probability
    (count(a, b) + t * unigram(b)) / (n + t) (Witten and Bell, 1991). All of `train` is counted, up to 8,388,608 tokens,
    or 1,048,576 where the vocabulary has more than 2,048; of a longer text 16 evenly spaced pieces are. Where only some
    targets count, as in addition, only they do here. sure: whether each pair could have been seen 50 times, so that no
    other use of the last token alone does better by much.
    """

    uniform: float
    unigrams: float
    bigrams: float
    sure: bool = True

    @property
    def losses(self) -> tuple[float, float, float]:
        return self.uniform, self.unigrams, self.bigrams

    def save(self, out_dir: str | Path) -> None:
        """Write them beside a run's metrics, for its plot. Raises UserError if that cannot be done."""
        write_atomically(Path(out_dir) / MARKS, json.dumps(asdict(self)).encode())


def saved_marks(out_dir: str | Path) -> Marks | None:
    """The marks of a run's folder; None where it has none, or what is there is none of ours."""
    try:
        saved = read_json(Path(out_dir) / MARKS)
    except UserError:
        return None
    uniform, unigrams, bigrams = (saved.get(name) for name in ("uniform", "unigrams", "bigrams"))
    if all(isinstance(loss, float | int) and abs(loss) < 1e6 for loss in (uniform, unigrams, bigrams)):
        return Marks(float(uniform), float(unigrams), float(bigrams), saved.get("sure") is True)
    return None


def marks_of(corpus: Corpus, vocab_size: int, batch_size: int, block_size: int, eval_iters: int, seed: int) -> Marks:
    """The marks for a run with these settings. Raises UserError for a text that is damaged, or too short."""
    rng = generator(seed, "evaluation", "val")  # as `evaluate` draws them
    batches = (corpus.batch("val", batch_size, block_size, rng) for _ in range(eval_iters))
    before, targets = _targets(itertools.islice(batches, -(-MEASURED // (batch_size * block_size))))
    known = max(vocab_size, 1 + max(int(before.max(initial=0)), int(targets.max(initial=0))))
    in_a_table = known * known <= TABLE
    pieces = _pieces(corpus, COUNTED[in_a_table])
    rows = max(1, AT_ONCE // block_size)
    parts = (_targets([batch]) for piece in pieces for batch in corpus.windows(piece, rows, block_size))
    pairs, count, tokens = _count(parts, known)
    unigram = (tokens + 1) / (tokens.sum() + known)

    seen_before = np.bincount(pairs // known, weights=count, minlength=known)
    different = np.bincount(pairs // known, minlength=known)
    wanted = before * known + targets
    place = np.minimum(np.searchsorted(pairs, wanted), max(0, len(pairs) - 1))
    seen = np.where(pairs[place] == wanted, count[place], 0) if len(pairs) else np.zeros(len(wanted))
    n, t = seen_before[before], different[before]
    bigram = np.where(n > 0, (seen + t * unigram[targets]) / np.maximum(1, n + t), unigram[targets])
    losses = [float(-np.log(p).mean()) for p in (unigram[targets], bigram)]
    return Marks(math.log(vocab_size), losses[0], losses[1], bool(tokens.sum() >= SURE * known * known))


def _targets(batches: Iterable[Batch]) -> tuple[np.ndarray, np.ndarray]:
    """The targets that count in some batches, and the token before each: int64 (n,) both."""
    kept = [(idx[targets != IGNORED], targets[targets != IGNORED]) for idx, targets in batches]
    if not kept:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    before, targets = (np.concatenate(part).astype(np.int64) for part in zip(*kept, strict=True))
    return before, targets


def _pieces(corpus: Corpus, limit: int) -> Iterator[np.ndarray]:
    """The tokens of `train`, checked, or evenly spaced pieces with `limit` of them."""
    length = len(corpus.streams["train"])
    if length <= limit:
        return iter([corpus.train])
    size = limit // PIECES
    starts = np.linspace(0, length - size, PIECES).astype(np.int64)
    return (corpus.extract("train", start, size) for start in starts)


def _count(parts: Iterable[tuple[np.ndarray, np.ndarray]], known: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs (a, b) as a * known + b, ascending; how often each was seen; and how often each token was a target."""
    tokens = np.zeros(known, np.int64)
    if known * known <= TABLE:
        table = np.zeros(known * known, np.int64)
        for before, targets in parts:
            table += np.bincount(before * known + targets, minlength=known * known)
        pairs = np.flatnonzero(table)
        return pairs, table[pairs], table.reshape(known, known).sum(axis=0)
    every = []
    for before, targets in parts:
        tokens += np.bincount(targets, minlength=known)
        every.append(before * known + targets)
    pairs, count = np.unique(np.concatenate(every), return_counts=True)
    return pairs, count, tokens

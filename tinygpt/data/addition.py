"""Sums to learn from, made rather than read."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinygpt.data.corpus import Batch, Corpus
from tinygpt.errors import UserError
from tinygpt.layers.cross_entropy import IGNORED
from tinygpt.tokenizer import CharTokenizer


class AdditionCorpus(Corpus):
    """Sums of two numbers of up to three digits, one to a line: 123 + 45 = 168 is written `123+045=8610`.

    The sum comes last digit first, the order in which it is computed and carried; zeros make every line 13 characters,
    so that a digit's place is its value. A batch's lines are drawn anew; each starts a row, and the loss counts only
    what can be known: the sum and the newline after it. A tenth of all pairs, chosen by a hash of the two numbers in
    either order, is never trained on. `train` and `val` are extracts: 10,000 lines, and the 1,000 sums of `accuracy`.
    """

    CHARACTERS = "\n+0123456789="
    LINE = 13  # characters, of which the last ANSWER are the sum and the newline
    ANSWER = 5

    def __init__(self) -> None:
        tokenizer = self.alphabet = CharTokenizer(self.CHARACTERS)
        rng = np.random.default_rng(12345)
        unseen = rng.integers(1000, size=(12_000, 2))
        self.unseen = unseen[self.held_out(*unseen.T)][:1000]  # (1000, 2), each pair equally likely
        extracts = self.draw(10_000, rng), self.unseen
        train, val = (self.lines(pairs).reshape(-1).astype(np.uint16) for pairs in extracts)
        super().__init__("addition", train, val, tokenizer, tokenizer.vocab_size, fingerprint="addition 1")

    @staticmethod
    def held_out(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """True for the pairs kept for evaluation, (n,) -> (n,): one in ten, and b + a with a + b."""
        pair = np.minimum(a, b).astype(np.uint64) * np.uint64(1000) + np.maximum(a, b).astype(np.uint64)
        pair *= np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing: the last digits alone would hold out whole columns
        return (pair ^ pair >> np.uint64(32)) % np.uint64(10) == 0

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Pairs of numbers to train on, (count, 2): each of one, two or three digits, equally likely. Numbers equally
        likely from 0 to 999 would nearly all have three digits. Short ones leave zeros, and columns whose sum is a
        copy; that is where learning gets hold: without them it stays at chance.
        """
        pairs = np.empty((0, 2), np.int64)
        while len(pairs) < count:
            digits = rng.integers(1, 4, size=(2 * count + 20, 2))
            more = rng.integers(np.where(digits == 1, 0, 10 ** (digits - 1)), 10**digits)
            pairs = np.concatenate([pairs, more[~self.held_out(*more.T)]])
        return pairs[:count]

    def lines(self, pairs: np.ndarray) -> np.ndarray:
        """The token ids of the pairs' lines: (n, 2) -> (n, 13) int64."""
        text = "".join(f"{a:03d}+{b:03d}=" + f"{a + b:04d}"[::-1] + "\n" for a, b in pairs.tolist())
        return self.alphabet.encode(text).astype(np.int64).reshape(-1, self.LINE)

    def batch(
        self, split: str, batch_size: int, block_size: int, rng: np.random.Generator, rows: slice = slice(None)
    ) -> Batch:
        """Rows of whole lines, the last one cut where the row ends; shapes and dtypes as every corpus's. For "train"
        the pairs are drawn anew, for "val" from the unseen ones.
        """
        if block_size < self.LINE - 1:
            raise UserError(f"--block_size is {block_size}; addition needs at least {self.LINE - 1}, one whole sum")
        count = batch_size * -(-(block_size + 1) // self.LINE)
        pairs = self.draw(count, rng) if split == "train" else rng.choice(self.unseen, count)
        lines = self.lines(pairs).reshape(batch_size, -1)[rows, : block_size + 1]
        return np.ascontiguousarray(lines[:, :-1]), self._answers(lines[:, 1:])

    def windows(self, tokens: np.ndarray, batch_size: int, block_size: int) -> Iterator[Batch]:
        """As every corpus's, with whole lines in each row and the targets that can be known."""
        lines = max(1, (block_size + 1) // self.LINE)
        for start in range(0, len(tokens), batch_size * lines * self.LINE):
            rows = tokens[start : start + batch_size * lines * self.LINE].astype(np.int64)
            rows = np.pad(rows, (0, -len(rows) % (lines * self.LINE)), constant_values=IGNORED)
            rows = rows.reshape(-1, lines * self.LINE)[:, : block_size + 1]
            yield np.maximum(rows[:, :-1], 0), self._answers(rows[:, 1:])

    def _answers(self, targets: np.ndarray) -> np.ndarray:
        """`targets`, (B, T), of rows that start a line, where they belong to an answer, and -1 elsewhere."""
        place = np.arange(1, targets.shape[1] + 1) % self.LINE
        return np.where(place >= self.LINE - self.ANSWER, targets, IGNORED)

    def describe(self) -> str:
        return (
            "addition: sums of two numbers of up to three digits, drawn anew for every batch, a tenth of all held out"
        )

    def sample(self, model: Any, length: int, stopped: Callable[[], bool] = lambda: False) -> str:
        """`length` tokens' worth of unseen sums as `model` completes them, in the usual order of digits."""
        pairs = self.unseen[: max(1, length // (3 * self.LINE))]
        out = self._complete(model, pairs)
        sums = [self.alphabet.decode(answer[:-1])[::-1].replace("\n", " ") for answer in out[:, -self.ANSWER :]]
        return "\n".join(
            f"{a} + {b} = {total.lstrip('0') or '0'}" + ("" if total == f"{a + b:04d}" else f"  (wrong: {a + b})")
            for (a, b), total in zip(pairs.tolist(), sums, strict=True)
        )

    def accuracy(self, model: Any, stopped: Callable[[], bool] = lambda: False) -> float | None:
        """The share of the 1,000 unseen sums that `model` completes exactly, newline included, taking the likeliest.
        None if `stopped` says so meanwhile.
        """
        right = []
        for pairs in np.split(self.unseen, 10):
            if stopped():
                return None
            right.append((self._complete(model, pairs) == self.lines(pairs)).all(axis=1))
        return float(np.mean(right))

    def _complete(self, model: Any, pairs: np.ndarray) -> np.ndarray:
        """The pairs' lines with the likeliest answers of `model`: (n, 2) -> (n, 13) token ids."""
        return model.generate(self.lines(pairs)[:, : -self.ANSWER], self.ANSWER, temperature=0)

"""A text as two streams of tokens, one to train on and one to validate, and batches cut out of it."""

import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from tinygpt.errors import Note, UserError
from tinygpt.layers.cross_entropy import IGNORED
from tinygpt.tokenizer import Tokenizer

Batch: TypeAlias = tuple[np.ndarray, np.ndarray]  # idx and targets, int64 (B, T) each


def windows_at(tokens: np.ndarray, starts: np.ndarray, block_size: int) -> Batch:
    """The windows of `tokens` that begin at `starts`, and what is to be predicted in them: the tokens one place on.

    tokens: (N,) integers; starts: (B,), at most N - block_size - 1. Returns idx, targets, int64 (B, block_size) each.
    """
    places = starts[:, None] + np.arange(block_size)  # (B, 1) + (T,) -> (B, T)
    return tokens[places].astype(np.int64), tokens[places + 1].astype(np.int64)


class Corpus:
    """Two streams of token ids, `train` and `val`: 1-D, memory-mapped, uint16 (uint32 beyond 65,536 tokens).
    `tokenizer` is None, and the numbers of characters too, where a folder of token files does not tell.
    """

    def __init__(
        self, name: str, train: np.ndarray, val: np.ndarray, tokenizer: Tokenizer | None, vocab_size: int,
        n_characters: int | None = None, val_characters: int | None = None, fingerprint: str = "",
        checks: Mapping[str, Callable[[np.ndarray, int], None]] | None = None,
    ):  # fmt: skip
        """n_characters: of the whole text; val_characters: of the part that became `val`. fingerprint: a hash of the
        text: the same text, the same fingerprint. checks: by stream, what is called with windows' starts and length
        before they are read, and raises UserError for damaged ones.
        """
        self.name = name
        self.streams = {"train": train, "val": val}
        self.tokenizer, self.vocab_size = tokenizer, vocab_size
        self.n_characters, self.val_characters = n_characters, val_characters
        self.fingerprint = fingerprint
        self.why_no_tokenizer = ""  # where `tokenizer` is None: a sentence
        self.largest: int | None = None  # of all ids, where a folder of token files was looked through
        self.checks = checks or {}
        self._said = False  # why no sample can be shown
        self.cut: Callable[[np.ndarray, np.ndarray, int], Batch] = windows_at  # out of a stream

    @property
    def train(self) -> np.ndarray:
        """The tokens to train on, checked whole; `batch` checks only what it reads."""
        return self._read("train", np.zeros(1, np.int64), len(self.streams["train"]))

    @property
    def val(self) -> np.ndarray:
        """The tokens to validate on, checked whole."""
        return self._read("val", np.zeros(1, np.int64), len(self.streams["val"]))

    def _read(self, split: str, starts: np.ndarray, length: int) -> np.ndarray:
        """The stream, of which the windows of `length` tokens from `starts` on, (n,), are about to be read."""
        if split in self.checks:
            self.checks[split](starts, length)
        return self.streams[split]

    def extract(self, split: str, start: int, length: int) -> np.ndarray:
        """The `length` tokens of `split` from `start` on, checked as `batch` checks what it reads."""
        return self._read(split, np.array([start], np.int64), length)[start : start + length]

    def batch(
        self, split: str, batch_size: int, block_size: int, rng: np.random.Generator, rows: slice = slice(None)
    ) -> Batch:
        """Windows at random places of `split`, "train" or "val", each equally likely. Returns idx and targets, int64
        (batch_size, block_size) each, or those of its `rows` alone, which are the same whichever they are. UserError
        for fewer than block_size + 1 tokens.
        """
        n_tokens = len(self.streams[split])
        if n_tokens <= block_size:
            raise UserError(
                f"The {split} part of {self.name} has {n_tokens:,} tokens, but --block_size={block_size} needs at "
                f"least {block_size + 1:,}; choose a smaller --block_size or give more text"
            )
        starts = rng.integers(n_tokens - block_size, size=batch_size)[rows]
        if not len(starts):
            return np.empty((0, block_size), np.int64), np.empty((0, block_size), np.int64)
        return self.cut(self._read(split, starts, block_size + 1), starts, block_size)

    def windows(self, tokens: Any, batch_size: int, block_size: int) -> Iterator[Batch]:
        """All of `tokens`, (n,), of which slices are taken, as batches of idx and targets, int64 (B, T) each, in order
        and without overlap. Every token but the first is a target once; what fills up the last window is ignored (-1).
        """
        per_batch = batch_size * block_size
        for start in range(0, len(tokens) - 1, per_batch):
            piece = tokens[start : start + per_batch + 1].astype(np.int64)
            filling = 0, -(len(piece) - 1) % block_size
            idx, targets = np.pad(piece[:-1], filling), np.pad(piece[1:], filling, constant_values=IGNORED)
            yield idx.reshape(-1, block_size), targets.reshape(-1, block_size)

    def describe(self) -> str:
        """What there is to learn from, in a line."""
        train, val = (f"{len(tokens):,}" for tokens in self.streams.values())
        wide = self.streams["train"].dtype.itemsize > 2
        tokens = f"{train} {'uint32 ' * wide}tokens to train on, {val} to validate"
        files = sum(len(getattr(tokens, "parts", "1")) for tokens in self.streams.values())  # shards have parts
        tokens += f", in {files} files" if files > 2 else ""
        return f"{self.name}: " + (f"{self.n_characters:,} characters, {tokens}" if self.n_characters else tokens)

    def sample(self, model: Any, length: int, stopped: Callable[[], bool] = lambda: False) -> str | None:
        """About `length` tokens of text from `model`, the same draws each time, or those until `stopped` says so; None
        where it cannot be said.
        """
        if self.tokenizer is None:
            return None
        try:
            prompt = self.tokenizer.encode(self.tokenizer.first_prompt).astype(np.int64)
            stream = model.stream(prompt[None], length, temperature=0.8, top_k=200, seed=1)
            tokens = itertools.takewhile(lambda _: not stopped(), stream)
            return self.tokenizer.decode(np.concatenate([prompt, *tokens])).removeprefix("\n")
        except UserError as error:  # such as that GPT-2's encoding cannot be had here
            if not self._said:
                warnings.warn(f"no sample can be shown: {error}", Note, stacklevel=2)
            self._said = True
            return None

    def accuracy(self, model: Any, stopped: Callable[[], bool] = lambda: False) -> float | None:
        """The share of unseen problems that `model` solves exactly; None for a corpus of plain text, and if `stopped`
        says so meanwhile.
        """
        return None

    def bits_per_character(self, loss: float) -> float | None:
        """Loss on `val` in nats per token -> bits per character, comparable between tokenizers; None if unknown, or if
        the tokens leave something out of the text.
        """
        if not self.val_characters or (self.tokenizer is not None and not self.tokenizer.exact):
            return None
        return loss / math.log(2) * len(self.streams["val"]) / self.val_characters

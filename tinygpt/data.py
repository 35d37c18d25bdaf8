"""Texts to learn from, their token files, and batches.

`load_corpus` finds a text, encodes it once into `train.bin` and `val.bin` in a cache folder, and maps these files into
memory, so that a corpus of any size starts at once and takes no room. A folder that already holds such files, as
nanoGPT writes them, is read as it is.
"""

import contextlib
import difflib
import hashlib
import json
import math
import os
import shutil
import sysconfig
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from tinygpt.errors import UserError
from tinygpt.files import cache_folder, download
from tinygpt.layers.cross_entropy import IGNORED
from tinygpt.tokenizer import BPETokenizer, CharTokenizer, GPT2Tokenizer, Merge, Tokenizer, load, merge

FORMAT = "1"  # of the token files; a new number leaves the old files unused
SHAKESPEARE_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
SHAKESPEARE_BYTES = 1_115_394
STDLIB_CHARACTERS = "\t\n" + "".join(map(chr, range(32, 127)))
STDLIB_MIN_BYTES = 500_000
Batch: TypeAlias = tuple[np.ndarray, np.ndarray]  # idx and targets, int64 (B, T) each


def windows_at(tokens: np.ndarray, starts: np.ndarray, block_size: int) -> Batch:
    """The windows of `tokens` that begin at `starts`, and what is to be predicted in them: the tokens one place on.

    tokens: (N,) integers; starts: (B,) integers, at most N - block_size - 1. Returns idx and targets, int64 of shape
    (B, block_size) each.
    """
    places = starts[:, None] + np.arange(block_size)  # (B, 1) + (T,) -> (B, T)
    return tokens[places].astype(np.int64), tokens[places + 1].astype(np.int64)


@dataclass
class Corpus:
    """Two streams of token ids, `train` and `val`: 1-D, memory-mapped, uint16 (uint32 beyond 65,536 tokens).

    `tokenizer` is None, and the numbers of bytes and characters too, where a folder of token files does not tell.
    """

    name: str
    train: np.ndarray
    val: np.ndarray
    tokenizer: Tokenizer | None
    vocab_size: int
    n_bytes: int | None = None  # of the whole text as UTF-8
    n_characters: int | None = None  # of the whole text
    val_characters: int | None = None  # of the part that became `val`
    fingerprint: str = ""  # a hash of the text: the same text, the same fingerprint
    cut: Callable[[np.ndarray, np.ndarray, int], Batch] = windows_at  # out of a stream

    def batch(self, split: str, batch_size: int, block_size: int, rng: np.random.Generator) -> Batch:
        """Windows at random places of `split`, "train" or "val", each equally likely.

        Returns idx and targets, int64 arrays of shape (batch_size, block_size); targets are the tokens one place on.
        UserError for a split of fewer than block_size + 1 tokens.
        """
        tokens = {"train": self.train, "val": self.val}[split]
        if len(tokens) <= block_size:
            raise UserError(
                f"The {split} part of {self.name} has {len(tokens):,} tokens, but --block_size={block_size} needs at "
                f"least {block_size + 1:,}; choose a smaller --block_size or give more text"
            )
        return self.cut(tokens, rng.integers(len(tokens) - block_size, size=batch_size), block_size)

    def windows(self, tokens: np.ndarray, batch_size: int, block_size: int) -> Iterator[Batch]:
        """All of `tokens`, (n,), as batches of idx and targets, int64 (B, T) each, in order and without overlap.

        Every token but the first is a target once; what fills up the last window is ignored (-1).
        """
        per_batch = batch_size * block_size
        for start in range(0, len(tokens) - 1, per_batch):
            piece = tokens[start : start + per_batch + 1].astype(np.int64)
            rows = -(-(len(piece) - 1) // block_size)
            idx = np.zeros(rows * block_size, np.int64)
            targets = np.full(rows * block_size, IGNORED)
            idx[: len(piece) - 1], targets[: len(piece) - 1] = piece[:-1], piece[1:]
            yield idx.reshape(rows, block_size), targets.reshape(rows, block_size)

    def describe(self) -> str:
        """What there is to learn from, in a line."""
        tokens = f"{len(self.train):,} tokens to train on, {len(self.val):,} to validate"
        return f"{self.name}: " + (f"{self.n_characters:,} characters, {tokens}" if self.n_characters else tokens)

    def sample(self, model: Any, length: int) -> str | None:
        """About `length` tokens of text from `model`, the same draws each time; None where it cannot be said."""
        if self.tokenizer is None:
            return None
        try:
            prompt = self.tokenizer.encode(first_prompt(self.tokenizer)).astype(np.int64)
            tokens = model.generate(prompt[None], length, temperature=0.8, top_k=200, seed=1)[0]
            return self.tokenizer.decode(tokens).removeprefix("\n")
        except UserError:  # GPT-2's encoding cannot be had here, or the model knows more tokens than the text
            return None

    def accuracy(self, model: Any) -> float | None:
        """The share of unseen problems that `model` solves exactly; None for a corpus of plain text."""
        return None

    def bits_per_character(self, loss: float) -> float | None:
        """Loss on `val` in nats per token -> bits per character, comparable between tokenizers; None if unknown."""
        if not self.val_characters:
            return None
        return loss / math.log(2) * len(self.val) / self.val_characters


def first_prompt(tokenizer: Tokenizer) -> str:
    """What a text starts from if nothing is given: a newline, or the first character of a tokenizer that lacks it."""
    return tokenizer.state["characters"][0] if "\n" not in tokenizer.state.get("characters", "\n") else "\n"


class AdditionCorpus(Corpus):
    """Sums of two numbers of up to three digits, one to a line: 123 + 45 = 168 is written `123+045=8610`.

    The sum comes last digit first, the order in which it is computed and carried; zeros make every line 13 characters,
    so that a digit's place is its value. A batch's lines are drawn anew; each starts a row, and the loss counts only
    what can be known: the sum and the newline after it. A tenth of all pairs, chosen by a hash of the two numbers in
    either order, is never trained on. `train` and `val` are extracts: 10,000 lines, and the 1,000 sums that `accuracy`
    asks.
    """

    CHARACTERS = "\n+0123456789="
    LINE = 13  # characters, of which the last ANSWER are the sum and the newline
    ANSWER = 5

    def __init__(self) -> None:
        tokenizer = self.alphabet = CharTokenizer(self.CHARACTERS)
        rng = np.random.default_rng(12345)
        unseen = rng.integers(1000, size=(12_000, 2))
        self.unseen = unseen[self.held_out(*unseen.T)][:1000]  # (1000, 2), each pair equally likely
        super().__init__(
            "addition", np.empty(0), np.empty(0), tokenizer, tokenizer.vocab_size, fingerprint="addition 1"
        )
        self.train = self.lines(self.draw(10_000, rng)).reshape(-1).astype(np.uint16)
        self.val = self.lines(self.unseen).reshape(-1).astype(np.uint16)

    @staticmethod
    def held_out(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """True for the pairs kept for evaluation, (n,) -> (n,): one in ten, and b + a with a + b."""
        pair = np.minimum(a, b).astype(np.uint64) * np.uint64(1000) + np.maximum(a, b).astype(np.uint64)
        pair *= np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing: the last digits alone would hold out whole columns
        return (pair ^ pair >> np.uint64(32)) % np.uint64(10) == 0

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Pairs of numbers to train on, (count, 2): each of one, two or three digits, equally likely.

        Numbers equally likely from 0 to 999 would nearly all have three digits. Short ones leave zeros, and columns
        whose sum is a copy; that is where learning gets hold: without them it stays at chance.
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

    def batch(self, split: str, batch_size: int, block_size: int, rng: np.random.Generator) -> Batch:
        """Rows of whole lines, the last one cut where the row ends; shapes and dtypes as every corpus's.

        For "train" the pairs are drawn anew, for "val" from the unseen ones.
        """
        if block_size < self.LINE - 1:
            raise UserError(f"--block_size is {block_size}; addition needs at least {self.LINE - 1}, one whole sum")
        count = batch_size * -(-(block_size + 1) // self.LINE)
        pairs = self.draw(count, rng) if split == "train" else rng.choice(self.unseen, count)
        rows = self.lines(pairs).reshape(batch_size, -1)[:, : block_size + 1]
        return np.ascontiguousarray(rows[:, :-1]), self._answers(rows[:, 1:])

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
        """What there is to learn from, in a line."""
        return (
            "addition: sums of two numbers of up to three digits, drawn anew for every batch, a tenth of all held out"
        )

    def sample(self, model: Any, length: int) -> str:
        """`length` tokens' worth of unseen sums as `model` completes them, in the usual order of digits."""
        pairs = self.unseen[: max(1, length // (3 * self.LINE))]
        out = self._complete(model, pairs)
        sums = [self.alphabet.decode(answer[:-1])[::-1].replace("\n", " ") for answer in out[:, -self.ANSWER :]]
        return "\n".join(
            f"{a} + {b} = {total.lstrip('0') or '0'}" + ("" if total == f"{a + b:04d}" else f"  (wrong: {a + b})")
            for (a, b), total in zip(pairs.tolist(), sums, strict=True)
        )

    def accuracy(self, model: Any) -> float:
        """The share of the 1,000 unseen sums that `model` completes exactly, newline included, taking the likeliest."""
        return float((self._complete(model, self.unseen) == self.lines(self.unseen)).all(axis=1).mean())

    def _complete(self, model: Any, pairs: np.ndarray) -> np.ndarray:
        """The pairs' lines with the likeliest answers of `model`: (n, 2) -> (n, 13) token ids."""
        return model.generate(self.lines(pairs)[:, : -self.ANSWER], self.ANSWER, temperature=0)


def load_corpus(
    dataset: str = "stdlib",
    data: str | Path | None = None,
    tokenizer: str | Tokenizer = "char",
    vocab_size: int | None = None,
    merge: Merge = merge,
) -> Corpus:
    """The corpus of that name, or of the user's own `data`: a UTF-8 text file or a folder with train.bin and val.bin.

    `tokenizer` is "char", "bpe" (with `vocab_size` tokens, 1024 if None), "gpt2", or a tokenizer made before. `merge`
    is the step that training "bpe" takes for each new token.
    UserError, in a sentence, for whatever cannot be found, read, encoded or fetched.
    """
    if not isinstance(tokenizer, Tokenizer) and tokenizer not in TOKENIZERS:
        raise UserError(_unknown("tokenizer", tokenizer, TOKENIZERS))
    if vocab_size is not None and tokenizer != "bpe":
        raise UserError(f"--vocab_size={vocab_size} goes with --tokenizer=bpe; every other has a size of its own")
    if data is None:  # a folder of token files goes before a name: as nanoGPT finds it, or by its path
        folders = [path for path in (Path("data") / dataset, Path(dataset)) if (path / "train.bin").is_file()]
        data = folders[0] if folders else None
    if data is not None and Path(data).is_dir():
        return _read_token_folder(Path(data), tokenizer)

    if data is None and dataset == "addition":
        corpus = AdditionCorpus()
        if tokenizer not in ("char", corpus.tokenizer):
            raise UserError("addition is written in 13 characters of its own, and goes with no other tokenizer")
        return corpus

    cache = cache_folder()
    characters = None
    if data is not None:
        name, text_bytes = Path(data).name, _read_file(Path(data))
    elif dataset in TEXTS:
        name, (text_bytes, characters) = dataset, TEXTS[dataset](cache)
    else:
        raise UserError(_unknown("dataset", dataset, DATASETS) + "; your own text goes in with --data FILE")
    if tokenizer == "char" and characters:
        tokenizer = CharTokenizer(characters)
    if tokenizer == "gpt2":
        tokenizer = GPT2Tokenizer()
    return _load_text(name, text_bytes, tokenizer, 1024 if vocab_size is None else vocab_size, cache, merge)


def stdlib(cache: Path) -> tuple[bytes, str]:
    """The top-level modules of this Python's standard library, in order of name, in 97 characters.

    Whatever is not printable ASCII, a tab or a newline becomes "?". So the vocabulary is the same for every version of
    Python, though the text is not. UserError where an installation carries no sources.
    """
    folder = Path(sysconfig.get_paths()["stdlib"])
    sources = [path.read_bytes() for path in sorted(folder.glob("*.py"), key=lambda path: path.name) if path.is_file()]
    text = b"\n".join(sources).decode("utf-8", errors="replace").encode("ascii", errors="replace")
    text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    text = text.translate(bytes(i if chr(i) in STDLIB_CHARACTERS else ord("?") for i in range(256)))
    if len(text) < STDLIB_MIN_BYTES:
        raise UserError(
            f"This Python carries only {len(text):,} bytes of its standard library's sources in {folder}; "
            f"use {_other_datasets('stdlib')}"
        )
    return text, STDLIB_CHARACTERS


def shakespeare_char(cache: Path) -> tuple[bytes, None]:
    """Tiny Shakespeare (Karpathy 2015), 1,115,394 bytes: fetched once, and checked each time it is read."""
    path = cache / "shakespeare_char.txt"
    text = path.read_bytes() if path.is_file() else b""
    if not _is_shakespeare(text):
        way_out = f"use {_other_datasets('shakespeare_char')}"
        download(SHAKESPEARE_URL, path, way_out, check=lambda fetched: _is_shakespeare(fetched.read_bytes()))
        text = path.read_bytes()
    return text, None


def _is_shakespeare(text: bytes) -> bool:
    return len(text) == SHAKESPEARE_BYTES and hashlib.sha256(text).hexdigest() == SHAKESPEARE_SHA256


# name -> function of the cache folder that returns the text as UTF-8 bytes and, where they are fixed, its characters
TEXTS = {"stdlib": stdlib, "shakespeare_char": shakespeare_char}
DATASETS = (*TEXTS, "addition")
TOKENIZERS = ("char", "bpe", "gpt2")


def _other_datasets(name: str) -> str:
    others = [f"--dataset={other}" for other in DATASETS if other != name]
    return " or ".join([*others, "--data FILE with a text of your own"])


def _unknown(kind: str, name: str, names: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(str(name), names, n=1)
    hint = f" (did you mean {nearest[0]}?)" if nearest else ""
    return f"There is no {kind} {name!r}{hint}; choose from {', '.join(names)}"


def _read_file(path: Path) -> bytes:
    """The file's bytes as they are, but for a byte order mark. UserError for a missing or empty file."""
    try:
        text = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except FileNotFoundError:
        raise UserError(f"There is no file {path}; --data takes a UTF-8 text, or a folder with token files") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from error
    if not text:
        raise UserError(f"{path} is empty; --data takes a text to learn from")
    return text


def _load_text(
    name: str, text_bytes: bytes, tokenizer: str | Tokenizer, vocab_size: int, cache: Path, merge_step: Merge
) -> Corpus:
    """The corpus of a text, from its token files in the cache; they are written where missing or damaged."""
    try:
        text = text_bytes.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{name} is not UTF-8: byte 0x{text_bytes[error.start]:02x} at position {error.start:,} does not fit; "
            "convert the file to UTF-8 first"
        ) from None
    split = int(len(text) * 0.9)  # as nanoGPT divides a text
    if tokenizer == "bpe" and merge_step is not merge:  # the cache keeps what the engine's own step has trained
        tokenizer = BPETokenizer.train(text[:split], vocab_size, merge_step)
    identity = tokenizer.state if isinstance(tokenizer, Tokenizer) else [tokenizer, vocab_size]
    fingerprint = _hash(text_bytes)
    entry = cache / _hash(json.dumps([FORMAT, identity, fingerprint]).encode())
    for _ in range(3):  # look, build, look again; the third time for another process that is at the same entry
        if found := _open_entry(entry):
            tokenizer, train, val = found
            counts = len(text_bytes), len(text), len(text) - split
            return Corpus(name, train, val, tokenizer, tokenizer.vocab_size, *counts, fingerprint)
        if not isinstance(tokenizer, Tokenizer):
            bpe = tokenizer == "bpe"
            tokenizer = BPETokenizer.train(text[:split], vocab_size) if bpe else CharTokenizer.train(text)
        _write_entry(entry, tokenizer, {"train": text[:split], "val": text[split:]})
    raise UserError(f"The token files in {entry} cannot be read back; set TINYGPT_CACHE to another folder")


def _open_entry(entry: Path) -> tuple[Tokenizer, np.ndarray, np.ndarray] | None:
    """(tokenizer, train, val) of a cache entry, or None where it is missing or damaged."""
    try:
        sizes = json.loads((entry / "sizes.json").read_bytes())
        tokenizer = load(entry / "tokenizer.json")
        dtype = _token_dtype(tokenizer.vocab_size)
        train, val = (_map_tokens(entry / f"{part}.bin", dtype) for part in ("train", "val"))
    except (OSError, ValueError):
        return None
    return (tokenizer, train, val) if sizes == [len(train), len(val)] else None


def _write_entry(entry: Path, tokenizer: Tokenizer, parts: dict[str, str]) -> None:
    """Write a cache entry beside its place, then move it there whole; of several processes at once, one wins."""
    tokens = {part: tokenizer.encode(text).astype(_token_dtype(tokenizer.vocab_size)) for part, text in parts.items()}
    try:
        beside = Path(tempfile.mkdtemp(prefix=f"{entry.name}.", dir=entry.parent))
        try:
            for part in tokens:
                tokens[part].tofile(beside / f"{part}.bin")
            tokenizer.save(beside / "tokenizer.json")
            (beside / "sizes.json").write_text(json.dumps([len(ids) for ids in tokens.values()]))
            if not _open_entry(entry):
                shutil.rmtree(entry, ignore_errors=True)
            with contextlib.suppress(OSError):  # another process was faster
                os.rename(beside, entry)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise UserError(f"Token files cannot be written in {entry.parent} ({error.strerror or error})") from error


def _read_token_folder(folder: Path, tokenizer: Any) -> Corpus:
    """The corpus of a folder with nanoGPT's train.bin and val.bin, uint16 tokens, mapped where they lie."""
    if tokenizer == "bpe":
        raise UserError(f"{folder} holds tokens already, so --tokenizer=bpe is too late; give the text as --data FILE")
    splits = []
    for path in (folder / "train.bin", folder / "val.bin"):
        if not path.is_file():
            raise UserError(f"{folder} has no {path.name}; --data takes a text, or a folder with train.bin and val.bin")
        if path.stat().st_size % 2:
            raise UserError(f"{path} has an odd number of bytes, so it cannot hold uint16 tokens; write it again")
        splits.append(_map_tokens(path, np.uint16))
    train, val = splits
    largest = int(max(train[:10_000_000].max(initial=0), val.max(initial=0)))  # not all: it may be many gigabytes
    if tokenizer == "char":
        tokenizer = _guess_tokenizer(folder, train, largest)
    elif tokenizer == "gpt2":
        tokenizer = GPT2Tokenizer()
    vocab_size = tokenizer.vocab_size if tokenizer else largest + 1
    if largest >= vocab_size:
        raise UserError(
            f"{folder} holds token id {largest}, but the {tokenizer.name} vocabulary has only {vocab_size:,} tokens; "
            "use the tokenizer that the files were written with"
        )
    ends = [part[edge].tobytes() for part in (train, val) for edge in (slice(1 << 20), slice(-(1 << 20), None))]
    fingerprint = _hash(b"".join(ends) + f"{len(train)} {len(val)}".encode())  # not all: it may be many gigabytes
    corpus = Corpus(folder.resolve().name, train, val, tokenizer, vocab_size, fingerprint=fingerprint)
    if tokenizer and tokenizer.name == "char":
        corpus.n_characters, corpus.val_characters = len(train) + len(val), len(val)
    return corpus


def _guess_tokenizer(folder: Path, train: np.ndarray, largest: int) -> Tokenizer | None:
    """nanoGPT's character tokenizer if input.txt gives these very tokens; GPT-2's if the ids go beyond characters.

    Its meta.pkl, which would tell, is a pickle, and to open a pickle is to run whatever is in it.
    """
    try:
        text = (folder / "input.txt").read_text(encoding="utf-8")  # with newlines translated, as nanoGPT reads it
    except (OSError, UnicodeDecodeError):
        text = ""
    n_characters = len(set(text)) or 10_000  # without the text: more characters than nearly any text has
    if largest >= n_characters:
        return GPT2Tokenizer() if largest < GPT2Tokenizer.vocab_size else None
    if not text:
        return None
    tokenizer = CharTokenizer.train(text)
    first = train[:10_000]
    return tokenizer if np.array_equal(tokenizer.encode(text[: len(first)]), first) else None


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _token_dtype(vocab_size: int) -> type[np.unsignedinteger]:
    return np.uint16 if vocab_size <= 65_536 else np.uint32


def _map_tokens(path: Path, dtype: Any) -> np.ndarray:
    """The file's tokens, shape (n,), memory-mapped. ValueError if its size is no multiple of a token's."""
    if path.stat().st_size == 0:  # which cannot be mapped
        return np.empty(0, dtype)
    return np.memmap(path, dtype, mode="r")

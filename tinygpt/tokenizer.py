"""Text to token ids and back: single characters, byte-pair encoding trained here, and GPT-2's own encoding.

Byte-pair encoding was brought to text by Sennrich, Haddow and Birch (2016, "Neural Machine Translation of Rare Words
with Subword Units", algorithm 1). Its byte-level form, which knows every text, is that of Radford et al. (2019,
"Language Models are Unsupervised Multitask Learners", section 2.2).
"""

import heapq
import json
import operator
import re
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import numpy as np
import tiktoken

from tinygpt.errors import UserError, brief
from tinygpt.files import read_json, write_atomically

FORMAT = "tinygpt tokenizer 1"

# Merges never cross the pieces that this pattern cuts a text into: words, numbers, punctuation, each with the one space
# before it, and runs of white space. Everything beyond ASCII counts as a letter. It has to mean the same to Python's
# `re`, which trains, and to tiktoken's Rust, which encodes: so only explicit code points, first alternative first, no
# look-around and no Unicode classes, whose tables differ between the two. At most 64 characters, so that a text without
# spaces costs no more than another.
SPLIT = (
    r" ?[^\x00-@\[-^`{-\x7f]{1,64}"  # letters and _
    r"| ?[0-9]{1,64}"
    r"| ?[!-/:-@\[-^`{-~]{1,64}"
    r"|[\x00-\x20\x7f]{1,64}"
)
PIECE_BYTES = 1 + 64 * 4  # the most that SPLIT cuts off, and so the longest token that training can come to
VOCAB_LIMIT = 1 << 18  # tokens: as many as the largest vocabularies in use


def merge(ids: list[int], pair: tuple[int, int], new_id: int) -> list[int]:
    """Replace each `pair` of neighbours by `new_id`, from left to right: merge([7, 7, 7], (7, 7), 9) is [9, 7]."""
    merged = []
    i = 0
    while i < len(ids):
        if i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


Merge: TypeAlias = Callable[[list[int], tuple[int, int], int], list[int]]


class Tokenizer(ABC):
    """What the three tokenizers share. They are equal, `==`, where their states are."""

    name: str
    vocab_size: int  # ids run from 0 to vocab_size - 1
    token_bytes: list[bytes]  # of each token, by id
    state: dict  # all that makes it what it is, ready for JSON

    @abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """text -> ids, uint32 of shape (number of tokens,). UserError for what the vocabulary cannot express."""

    def decode_bytes(self, ids: Sequence[int] | np.ndarray) -> bytes:
        """ids, a list or array of shape (n,) -> the bytes of all tokens. UserError for what is no id. This is what a
        stream of tokens needs, since a token may end in the middle of a character.
        """
        ids = np.asarray(ids)
        if ids.size == 0:
            return b""
        if ids.ndim != 1 or ids.dtype.kind not in "iu":
            raise UserError(f"decode takes a flat list of token ids, but got {ids.dtype} of shape {ids.shape}")
        if ids.min() < 0 or ids.max() >= self.vocab_size:
            wrong = ids[(ids < 0) | (ids >= self.vocab_size)][0]
            raise UserError(
                f"Token id {wrong} is outside this {self.name} vocabulary of {self.vocab_size:,} tokens; "
                "decode with the tokenizer that the model was trained with"
            )
        return b"".join(map(self.token_bytes.__getitem__, ids.tolist()))

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """ids, a list or array of shape (n,) -> text; bytes that are no UTF-8 become U+FFFD. Errors: `decode_bytes`."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def save(self, path: str | Path) -> None:
        """Write a JSON file that `load` reads; whoever looks sees the old file or the new one, never half of one."""
        write_atomically(path, json.dumps({"format": FORMAT, **self.state}).encode())

    def __eq__(self, other: object) -> bool:
        return self.state == other.state if isinstance(other, Tokenizer) else NotImplemented


class CharTokenizer(Tokenizer):
    """One token per character. The id of a character is its place in `characters`, a string without repeats."""

    name = "char"

    def __init__(self, characters: str):
        if not isinstance(characters, str):
            raise UserError(f"A character tokenizer is made of a text, but its characters are {brief(characters)}")
        if not characters:
            raise UserError("A character tokenizer needs at least one character, but the text is empty")
        character, count = Counter(characters).most_common(1)[0]
        if count > 1:
            raise UserError(f"Character {character!r} is listed {count} times in the vocabulary; list it once")
        try:
            self.token_bytes = [c.encode() for c in characters]
        except UnicodeEncodeError as error:
            raise _lone_surrogate(error) from None
        self.vocab_size = len(characters)
        self.state = {"name": self.name, "characters": characters}
        # A table from code point to id; its last entry stands for every code point beyond the largest known one.
        codes = _code_points(characters)
        self._ids = np.full(codes.max() + 2, len(codes), dtype=np.uint32)
        self._ids[codes] = np.arange(len(codes), dtype=np.uint32)

    @classmethod
    def train(cls, text: str) -> "CharTokenizer":
        """The distinct characters of text, in code point order, as nanoGPT numbers them."""
        return cls("".join(sorted(set(text))))

    def encode(self, text: str) -> np.ndarray:
        ids = self._ids[np.minimum(_code_points(text), len(self._ids) - 1)]
        unknown = ids == self.vocab_size
        if unknown.any():
            position = int(unknown.argmax())
            raise UserError(
                f"Character {text[position]!r} (U+{ord(text[position]):04X}) at position {position:,} is not among the "
                f"{self.vocab_size} characters of this tokenizer; "
                "leave it out, or train with --tokenizer=bpe, which knows every character"
            )
        return ids


class TiktokenTokenizer(Tokenizer):
    """A byte-level byte-pair encoding, which tiktoken applies, several megabytes a second."""

    _encoding: tiktoken.Encoding

    def encode(self, text: str) -> np.ndarray:
        try:
            return self._encoding.encode_to_numpy(text, allowed_special="all")
        except UnicodeEncodeError as error:
            raise _lone_surrogate(error) from None
        except ValueError as error:
            raise UserError(
                f"tiktoken could not split this text ({error}); shorten its longest run of white space"
            ) from error


class BPETokenizer(TiktokenTokenizer):
    """An encoding trained on a text. Ids 0 to 255 are the bytes; id 256 + i is the pair of ids `merges[i]`. tiktoken
    joins the two neighbours whose joint bytes have the lowest rank. With rank = id that is the order of the merges,
    because training never forms the same bytes in two ways: what lies between two boundaries is merged alike wherever
    it stands.
    """

    name = "bpe"

    def __init__(self, merges: Iterable[Sequence[int]]):
        self.token_bytes = [bytes([i]) for i in range(256)]
        pairs = []
        for pair in merges:
            try:
                a, b = map(operator.index, pair)
            except (TypeError, ValueError):
                raise UserError(f"Merge {brief(pair)} is no pair of token ids; the list of merges is damaged") from None
            if min(a, b) < 0 or max(a, b) >= len(self.token_bytes):
                problem = f"Merge {brief((a, b))} comes before the tokens that it joins"
                raise UserError(f"{problem}; the list of merges is damaged")
            token = self.token_bytes[a] + self.token_bytes[b]
            if len(token) > PIECE_BYTES:
                problem = f"Merge {a, b} makes a token of {len(token)} bytes, and no text has one above {PIECE_BYTES}"
                raise UserError(f"{problem}; the list of merges is damaged")
            pairs.append([a, b])
            self.token_bytes.append(token)
            if len(self.token_bytes) > VOCAB_LIMIT:
                raise UserError(f"There are more than {VOCAB_LIMIT:,} tokens; no vocabulary in use has that many")
        ranks = {token: i for i, token in enumerate(self.token_bytes)}
        if len(ranks) < len(self.token_bytes):
            raise UserError("Two merges spell the same token; the list of merges is damaged")
        self.vocab_size = len(ranks)
        self.state = {"name": self.name, "merges": pairs}
        self._encoding = tiktoken.Encoding("tinygpt-bpe", pat_str=SPLIT, mergeable_ranks=ranks, special_tokens={})

    @classmethod
    def train(cls, text: str, vocab_size: int = 1024, merge: Merge = merge) -> "BPETokenizer":
        """Join the most frequent pair of neighbours, the smallest of equals, until there are `vocab_size` tokens.
        Counts are kept per distinct piece of the text and corrected only for the pieces that a merge changes. UserError
        where `vocab_size` is below 257 or the text has too few pairs to reach it.
        """
        if vocab_size < 257:
            raise UserError(
                f"vocab_size is {vocab_size}, but byte-pair encoding starts from the 256 bytes and adds to them; "
                "ask for --vocab_size=257 or more"
            )
        distinct = Counter(re.findall(SPLIT, text))
        try:
            pieces = [list(piece.encode()) for piece in distinct]
        except UnicodeEncodeError as error:
            raise _lone_surrogate(error) from None
        repeats = list(distinct.values())
        counts: Counter = Counter()  # pair -> how often it occurs
        holders = defaultdict(set)  # pair -> the pieces that it occurs in, or once did
        for i, piece in enumerate(pieces):
            for pair in pairwise(piece):
                counts[pair] += repeats[i]
                holders[pair].add(i)
        queue = [(-count, pair) for pair, count in counts.items()]
        heapq.heapify(queue)

        merges: list[tuple[int, int]] = []
        while len(merges) < vocab_size - 256:
            if not queue:
                raise UserError(
                    f"vocab_size is {vocab_size:,}, but this text allows only {len(merges):,} merges; "
                    f"ask for at most {256 + len(merges):,}, or give more text"
                )
            count, pair = heapq.heappop(queue)
            if counts[pair] != -count:  # counted anew since: a fresher entry waits, or none is left
                continue
            changed = set()
            for i in holders.pop(pair):
                before = pieces[i]
                pieces[i] = merge(before, pair, 256 + len(merges))
                for old in pairwise(before):
                    counts[old] -= repeats[i]
                for new in pairwise(pieces[i]):
                    counts[new] += repeats[i]
                    holders[new].add(i)
                changed |= {*pairwise(before), *pairwise(pieces[i])}
            for other in changed:
                if counts[other]:
                    heapq.heappush(queue, (-counts[other], other))
            merges.append(pair)
        return cls(merges)


class GPT2Tokenizer(TiktokenTokenizer):
    """GPT-2's encoding (Radford et al. 2019), through tiktoken, which fetches its two files on first use.
    `<|endoftext|>` in a text becomes its special token, 50256, as in nanoGPT's sampling.
    """

    name = "gpt2"
    vocab_size = 50257  # known without the files
    state = {"name": "gpt2"}

    @cached_property
    def _encoding(self) -> tiktoken.Encoding:  # type: ignore[override]
        try:
            return tiktoken.get_encoding("gpt2")
        except (OSError, ValueError) as error:  # OSError covers every network error of requests
            raise UserError(
                f"GPT-2's encoding is not on this machine and could not be fetched ({type(error).__name__}); connect "
                "to the internet once, or set TIKTOKEN_CACHE_DIR to a folder that holds tiktoken's two files for it, "
                "or use --tokenizer=char or --tokenizer=bpe, which need no network"
            ) from error

    @cached_property
    def token_bytes(self) -> list[bytes]:  # type: ignore[override]
        return [self._encoding.decode_single_token_bytes(i) for i in range(self.vocab_size)]


def load(path: str | Path) -> Tokenizer:
    """The tokenizer that `save` wrote to `path`. UserError where the file is missing, damaged or something else."""
    if not Path(path).exists():
        raise UserError(f"There is no tokenizer file {path}")
    try:
        state = read_json(path)
        if state["format"] != FORMAT:
            raise ValueError(f"its format is {brief(state['format'])}")
        if state["name"] == "char":
            return CharTokenizer(state["characters"])
        if state["name"] == "bpe":
            return BPETokenizer(state["merges"])
        if state["name"] == "gpt2":
            return GPT2Tokenizer()
        raise ValueError(f"its name is {brief(state['name'])}")
    except (KeyError, TypeError, ValueError) as error:  # or no JSON: UserError
        raise UserError(
            f"{path} is not a tokenizer file that this version can read ({error}); expected JSON with "
            f'"format": "{FORMAT}"'
        ) from error


def _code_points(text: str) -> np.ndarray:
    """text -> its code points, uint32 of shape (len(text),)."""
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype="<u4")


def _lone_surrogate(error: UnicodeEncodeError) -> UserError:
    code = ord(error.object[error.start])
    return UserError(
        f"The text holds a lone surrogate, U+{code:04X}, which is half a character and has no UTF-8 form; "
        "read the text again with the encoding that it was written in"
    )

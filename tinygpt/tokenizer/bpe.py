"""Byte-pair encoding, trained here.

It was brought to text by Sennrich, Haddow and Birch (2016, "Neural Machine Translation of Rare Words with Subword
Units", algorithm 1). Its byte-level form, which knows every text, is that of Radford et al. (2019, "Language Models are
Unsupervised Multitask Learners", section 2.2).
"""

import heapq
import operator
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import tiktoken

from tinygpt.errors import UserError, brief
from tinygpt.tokenizer.base import VOCAB_LIMIT, TiktokenTokenizer, lone_surrogate
from tinygpt.tokenizer.pretrained import BYTE_LEVEL, byte_pairs, cut_by, document, spelled

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
CONTROLS = "".join(map(chr, [*range(33), 127]))  # what alone the last alternative of SPLIT takes


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

    def safe_cut(self, text: str) -> int:
        """Before white space, which begins a piece wherever something else ends; or else before the last piece."""
        last = max(text.rfind(" "), text.rfind("\n"))
        return len(text[: last + 1].rstrip(CONTROLS)) or max((m.start() for m in re.finditer(SPLIT, text)), default=0)

    @classmethod
    def train(cls, text: str | Mapping[str, int], vocab_size: int = 1024, merge: Merge = merge) -> "BPETokenizer":
        """Join the most frequent pair of neighbours, the smallest of equals, until there are `vocab_size` tokens.
        Counts are kept per distinct piece of the text and corrected only for the pieces that a merge changes. UserError
        where `vocab_size` is below 257 or the text has too few pairs to reach it. text: or how often it has each piece.
        """
        if vocab_size < 257:
            raise UserError(
                f"vocab_size is {vocab_size}, but byte-pair encoding starts from the 256 bytes and adds to them; "
                "ask for --vocab_size=257 or more"
            )
        distinct = Counter(re.findall(SPLIT, text)) if isinstance(text, str) else text
        try:
            pieces = [list(piece.encode()) for piece in distinct]
        except UnicodeEncodeError as error:
            raise lone_surrogate(error) from None
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
                raise too_few_pairs(vocab_size, len(merges))
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

    def to_pretrained(self) -> dict[str, Any]:
        """The pieces that SPLIT cuts, then the merges in their order."""
        tokens = [spelled(token) for token in self.token_bytes]
        model = byte_pairs(
            {token: i for i, token in enumerate(tokens)}, [[tokens[a], tokens[b]] for a, b in self.state["merges"]]
        )
        bytes_alone = BYTE_LEVEL | {"use_regex": False}
        cut = {"type": "Sequence", "pretokenizers": [cut_by(SPLIT), bytes_alone]}
        return document(model, cut, bytes_alone, {})


def too_few_pairs(vocab_size: int, merges: int) -> UserError:
    """What there is to say of a text in which no pair is left after this many merges."""
    return UserError(
        f"vocab_size is {vocab_size:,}, but this text allows only {merges:,} merges; "
        f"ask for at most {256 + merges:,}, or give more text"
    )

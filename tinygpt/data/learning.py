"""The merges of byte-pair encoding, learned from a text of any size: what `BPETokenizer.train` defines, out of arrays.

The pieces of the text lie in blocks of token ids, each piece followed by SEPARATOR. A piece may be there more than
once, since what a pair counts is a sum over all; so what has been counted is put away, with its counts, whenever it
takes too much room, and no table of all distinct pieces is ever needed.
"""

import bisect
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path

import numpy as np

from tinygpt.errors import Note
from tinygpt.progress import Progress, report
from tinygpt.tokenizer import SPLIT, BPETokenizer, Tokenizer, too_few_pairs

DISTINCT = 300_000  # pieces, counted before they are put away: about 60 MB
BLOCK = 50_000  # pieces that are looked at together, fewer where they are long
BLOCK_BYTES = 1 << 20  # of a block: merging takes a hundred times as much
HELD = 64 << 20  # characters: about what encoding at once takes 500 MB for
IN_MEMORY = 16 << 20  # bytes of blocks; the rest is in a temporary file
SEPARATOR = 255  # a byte that UTF-8 never has


def piece_counts(texts: Iterable[str], distinct: int | None = None) -> Iterator[Counter]:
    """How often the text that these make up has each piece: one counter; or, one after the other in the same counter,
    several that add up to it, of about `distinct` pieces each.
    """
    counts: Counter = Counter()
    for text in whole_pieces(BPETokenizer([]), texts):
        counts.update(re.findall(SPLIT, text))
        if distinct and len(counts) >= distinct:
            yield counts
            counts.clear()  # whoever has it is done with it, and two at once would take twice the room
    yield counts


def whole_pieces(tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[str]:
    """The same text, cut where the tokenizer may cut it; only as much is held back as that takes."""
    held: list[str] = []
    size = enough = 0
    told = False
    for text in texts:
        held.append(text)
        size += len(text)
        if size >= enough:
            whole = "".join(held)
            cut = tokenizer.safe_cut(whole)
            if cut:
                yield whole[:cut]
            held, size = [whole[cut:]], len(whole) - cut
            enough = 0 if cut else 2 * size  # so that a text without such a place is not looked at again and again
            if size > HELD and not told:
                told = True
                problem = f"for {size:,} characters and more there is no place where the {tokenizer.name} tokenizer"
                warnings.warn(f"{problem} may cut the text, so they are held in memory", Note, stacklevel=2)
    if size:
        yield "".join(held)


def learned(texts: Iterable[str], vocab_size: int, folder: Path) -> BPETokenizer:
    """`BPETokenizer.train` on the text that `texts` make up, to the same merges, in less than 300 MB and less time.
    folder: for a temporary file. Raises OSError where that cannot be written.
    """
    if vocab_size < 257:
        return BPETokenizer.train({}, vocab_size)  # which says why not
    with _Blocks(folder, np.uint16 if vocab_size <= 65_536 else np.uint32) as blocks:
        for counts in piece_counts(texts, DISTINCT):
            blocks.add(counts)
        pairs = _PairCounts(*blocks.pairs())
        merges: list[tuple[int, int]] = []
        while len(merges) < vocab_size - 256:
            if (pair := pairs.most_frequent()) is None:
                raise too_few_pairs(vocab_size, len(merges))
            pairs.change(*blocks.merge(*pair, 256 + len(merges)))
            merges.append(pair)
            report(Progress("learning merges", len(merges), vocab_size - 256, "merges"))
    return BPETokenizer(merges)


class _PairCounts:
    """How often each pair of neighbours occurs. keys: sorted, the first id's above the second's 32 bits."""

    def __init__(self, keys: np.ndarray, counts: np.ndarray):
        self.keys, self.counts = keys, counts

    def most_frequent(self) -> tuple[int, int] | None:
        """The pair that occurs most often, the smallest of equals; None where there is none."""
        if not len(self.counts) or not self.counts[best := int(self.counts.argmax())]:
            return None
        return int(self.keys[best]) >> 32, int(self.keys[best]) & 0xFFFFFFFF

    def change(self, keys: np.ndarray, changes: np.ndarray) -> None:
        """Add to the counts: keys, (n,), sorted and distinct; changes, (n,)."""
        places = np.searchsorted(self.keys, keys)
        known = places < len(self.keys)
        known[known] = self.keys[places[known]] == keys[known]
        self.counts[places[known]] += changes[known]
        new = ~known & (changes != 0)
        if new.any():
            left = self.counts != 0
            if not left.all():  # the pairs that no longer occur go
                places = np.concatenate([[0], left.cumsum()])[places]
                self.keys, self.counts = self.keys[left], self.counts[left]
            self.keys = np.insert(self.keys, places[new], keys[new])
            self.counts = np.insert(self.counts, places[new], changes[new])


class _Blocks:
    """The pieces of a text as token ids, block by block, in memory and, where they do not fit, in a temporary file."""

    def __init__(self, folder: Path, dtype: type[np.unsignedinteger]):
        self.dtype = np.dtype(dtype)
        self.file: tempfile.SpooledTemporaryFile[bytes]
        self.file = tempfile.SpooledTemporaryFile(IN_MEMORY, "w+b", dir=str(folder))  # noqa: SIM115
        self.sizes: list[int] = []  # of each block now, in tokens; merging makes them smaller where they are
        self.places: list[int] = []  # of each in the file, in bytes
        self.weights: list[tuple[np.ndarray, np.ndarray]] = []  # of a block's pieces: weights, and how far each reaches

    def __enter__(self) -> "_Blocks":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def add(self, counts: Counter) -> None:
        """Put pieces away, each once, with their counts; those of the same count beside each other."""
        ordered = counts.most_common()
        start = 0
        while start < len(ordered):
            pieces, repeats = zip(*ordered[start : start + BLOCK], strict=True)
            encoded = list(map(str.encode, pieces))
            within = max(1, bisect.bisect_right(list(accumulate(len(piece) + 1 for piece in encoded)), BLOCK_BYTES))
            encoded, repeats = encoded[:within], repeats[:within]
            start += within
            content = b"\xff".join(encoded) + b"\xff"
            weights, lengths = _runs(np.array(repeats, np.int64))
            self.places.append(self.file.seek(0, 2))
            self.weights.append((weights, lengths.cumsum()))
            self.sizes.append(len(content))
            self.file.write(np.frombuffer(content, np.uint8).astype(self.dtype).tobytes())

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Keys of all pairs of neighbours, sorted, and their counts."""
        total = np.zeros(1 << 16, np.int64)
        for number in range(len(self.sizes)):
            ids = self._read(number).astype(np.int64)
            ends = ids == SEPARATOR
            inside = np.flatnonzero(~(ends[:-1] | ends[1:]))
            weights = self._weights(number, ids, inside)
            total += np.bincount(ids[inside] << 8 | ids[inside + 1], weights, 1 << 16).astype(
                np.int64
            )  # exact to 2**53
        found = np.flatnonzero(total)
        return found >> 8 << 32 | found & 255, total[found]

    def merge(self, a: int, b: int, new: int) -> tuple[np.ndarray, np.ndarray]:
        """Put `new` in the place of each a, b, from left to right. Returns the keys of the pairs whose counts that
        changes, sorted, and by how much.
        """
        keys, changes = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for number in range(len(self.sizes)):
            ids = self._read(number)
            found = np.flatnonzero((ids[:-1] == a) & (ids[1:] == b))
            if a == b and len(found):  # of a row of them every other one
                starts = np.concatenate([[0], np.flatnonzero(np.diff(found) != 1) + 1])
                lengths = np.diff(np.append(starts, len(found)))
                found = found[(np.arange(len(found)) - np.repeat(starts, lengths)) % 2 == 0]
            if not len(found):
                continue
            weights = self._weights(number, ids, found)
            kept = np.ones(len(ids), bool)
            kept[found + 1] = False
            merged = ids.copy()
            merged[found] = new
            merged = merged[kept]
            here = found - np.arange(len(found))
            before = _neighbours(ids, [found - 1, found, found + 1], weights)
            after = _neighbours(merged, [here - 1, here], weights)
            distinct, inverse = np.unique(np.concatenate([before[0], after[0]]), return_inverse=True)
            keys.append(distinct)
            changes.append(_added(inverse, np.concatenate([-before[1], after[1]]), len(distinct)))
            self.sizes[number] = len(merged)
            self.file.seek(self.places[number])
            self.file.write(merged.tobytes())
        distinct, inverse = np.unique(np.concatenate(keys), return_inverse=True)
        return distinct, _added(inverse, np.concatenate(changes), len(distinct))

    def _read(self, number: int) -> np.ndarray:
        self.file.seek(self.places[number])
        return np.frombuffer(self.file.read(self.sizes[number] * self.dtype.itemsize), self.dtype)

    def _weights(self, number: int, ids: np.ndarray, places: np.ndarray) -> np.ndarray:
        """How often the text has the pieces at these places of a block, (n,) -> (n,)."""
        weights, reach = self.weights[number]
        if len(weights) == 1:
            return np.full(len(places), weights[0])
        pieces = np.searchsorted(np.flatnonzero(ids == SEPARATOR), places)
        return weights[np.searchsorted(reach, pieces, "right")]


def _neighbours(ids: np.ndarray, places: list[np.ndarray], weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keys and weights of the pairs that begin at any of these places, within a piece; each place counts once. A pair
    is in the piece, and has the weight, of the merge that it stands beside.
    """
    everywhere, first = np.unique(np.concatenate(places), return_index=True)
    weights = np.tile(weights, len(places))[first]
    inside = (everywhere >= 0) & (everywhere < len(ids) - 1)
    everywhere, weights = everywhere[inside], weights[inside]
    left, right = ids[everywhere].astype(np.int64), ids[everywhere + 1].astype(np.int64)
    inside = (left != SEPARATOR) & (right != SEPARATOR)
    return (left << 32 | right)[inside], weights[inside]


def _added(groups: np.ndarray, values: np.ndarray, number: int) -> np.ndarray:
    """The sum of the values of each group, int64 (number,)."""
    sums = np.zeros(number, np.int64)
    np.add.at(sums, groups.reshape(-1), values)
    return sums


def _runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values of a sequence without repeats of neighbours, and how often each is repeated."""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(values)) + 1])
    return values[starts], np.diff(np.append(starts, len(values)))

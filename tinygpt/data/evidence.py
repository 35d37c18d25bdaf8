"""Which tokenizer a folder's tokens are of: what lies beside them tells, or they themselves; their size never does.

Strongest first: a header; nanoGPT's meta.pkl; input.txt, which a tokenizer turns into these very ids; and the ids
themselves, which only their own byte-pair encoding gives back when it has decoded them. No sample of text can be shown
in the wrong tokens, and no model be trained on with them, by somebody who believes that they are the right ones.
"""

import codecs
import contextlib
import difflib
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygpt.errors import Note, UserError
from tinygpt.tokenizer import CharTokenizer, GPT2Tokenizer, Tokenizer
from tinygpt.tokenizer.meta import NAME, Meta, read_meta

TEXT = "input.txt"
COMPARED = 10_000  # characters of the text
STRETCHES, STRETCH = 16, 256  # ids that are decoded and encoded again: how many times, and how many
LLAMA_3 = 128_256  # tokens
FEWEST = 64  # ids that tell anything by coming back
# GPT-2's own ids: at least 98.7% of those in a stretch came back, in prose, Python, Chinese and a mix of scripts. Of
# other ids, those of 8,000 byte pairs, of characters, and random ones, a stretch gave back 0% to 83% (medians).
OWN, OTHERS = 0.95, 0.9


class Found(NamedTuple):
    """What a folder tells of its tokenizer."""

    tokenizer: Tokenizer | None
    why: str  # it is this one, or none is known: words for brackets
    certain: bool = True  # not only likely
    vocab_size: int | None = None  # where only that is told


def what_tells(folder: Path, train: Any, largest: int, header: str, asked: Tokenizer | None = None) -> Found:
    """The tokenizer of a folder's tokens, and how it is known.

    train: (n,) ids; largest: of all ids; header: whose tokens the files' header says they are, "" for none; asked: a
    tokenizer that is likely. Raises UserError for ids that meta.pkl does not allow.
    """
    gpt2 = GPT2Tokenizer()
    if header == "GPT-2" and largest < gpt2.vocab_size:
        return Found(gpt2, "the header of its files, llm.c's, says so")
    if header:
        vocab_size = LLAMA_3 if header == "Llama 3" and largest < LLAMA_3 else None
        why = f"the header of its files, llm.c's, says {header}'s, and the largest id is {largest:,}"
        return Found(None, why, vocab_size=vocab_size)
    meta = _meta(folder / NAME)
    if meta and largest >= meta.vocab_size:
        raise UserError(
            f"{folder} holds token id {largest:,}, but its {NAME} tells of only {meta.vocab_size:,} tokens; if that is "
            "left over from other token files, take it away"
        )
    if meta and meta.tokenizer:
        return Found(meta.tokenizer, f"its {NAME} lists them")
    if characters := characters_of(folder / TEXT, train, largest):
        return Found(characters, f"its {TEXT} gives these ids, character by character")

    told = meta.vocab_size if meta else None
    plausible = 256 <= largest < gpt2.vocab_size and (told is None or told >= gpt2.vocab_size)
    missing = _missing(gpt2) if plausible else ""
    text = _beginning(folder / TEXT)
    candidates: list[Tokenizer] = [gpt2] if plausible and not missing else []
    for tokenizer in candidates + ([asked] if asked and asked != gpt2 else []):
        if text and largest < tokenizer.vocab_size and _spells(tokenizer, text, train):
            return Found(tokenizer, f"its {TEXT} gives these ids")
    fewest = 2 if largest == gpt2.vocab_size - 1 else FEWEST  # that id ends a text in GPT-2's tokens
    back = comes_back(gpt2, train, fewest) if plausible and not missing else None
    if back:
        return Found(gpt2, "decoded and encoded again, its ids come back", certain=False)
    if meta and not meta.tokens_listed:
        why = f"its {NAME} says that there are {told:,}, but not which"
    elif meta:
        why = f"its {NAME} lists tokens of several characters, but not how a text is cut into them"
    elif missing:
        why = f"they may be GPT-2's, which only its encoding would show: {missing}"
    elif back is False:
        why = "they are not GPT-2's, which would come back when they are decoded and encoded again"
    elif text:
        why = f"its {TEXT} gives other ids"
    elif (folder / NAME).exists():
        why = f"its {NAME} cannot be read, and there is no {TEXT} that would tell"
    else:
        why = f"there is neither a {NAME} nor an {TEXT} that would tell"
    return Found(None, why, vocab_size=told)


def agreed(folder: Path, found: Found, asked: Tokenizer, explicit: bool, train: Any, largest: int) -> Tokenizer:
    """`asked`, the tokenizer that the user names, if `explicit`, or that the model has, where what the folder tells
    does not contradict it. Raises UserError where it does; what is only likely is a note to who names one.
    """
    likely = "seems to hold other tokens"
    if found.tokenizer is not None:
        if _read_alike(found.tokenizer, asked, train, largest):
            return asked
        holds, certain = "holds" if found.certain else "seems to hold", found.certain
        contradiction = f"{holds} {_kind(found.tokenizer)} ({found.why})"
    elif found.vocab_size is not None and not is_padded(asked.vocab_size, found.vocab_size):
        contradiction, certain = f"holds other tokens ({found.why})", True
    elif asked.name == "gpt2" and largest < 256 <= len(train):
        contradiction, certain = f"{likely} (none of {len(train):,} ids is above {largest}, as of characters)", False
    elif (asked.name != "gpt2" or not _missing(asked)) and comes_back(asked, train) is False:
        contradiction, certain = f"{likely} (decoded and encoded again, its ids are others)", False
    else:
        return asked
    theirs = f"--tokenizer names {_kind(asked)}" if explicit else f"the model's own are {_kind(asked)}"
    certain = certain or largest >= asked.vocab_size
    if explicit and not certain:
        warnings.warn(f"{folder} {contradiction}, but {theirs}, so these are taken", Note, stacklevel=3)
        return asked
    if not certain:
        name = "gpt2" if asked.name == "gpt2" else "FILE, the tokenizer file of the model"
        way_out = f"if they are right all the same, say so with --tokenizer={name}"
    else:
        name = found.tokenizer.name if found.tokenizer else "FILE, where you have the file of theirs"
        way_out = f"give files in those tokens, or train a new model with --tokenizer={name}"
    raise UserError(f"{folder} {contradiction}, but {theirs}; {way_out}")


def is_padded(vocab_size: int, padded: int) -> bool:
    """Whether a vocabulary may have been filled up to `padded`, a rounder number, with tokens that no text has."""
    return vocab_size <= padded <= (vocab_size // 1024 + 1) * 1024


def comes_back(tokenizer: Tokenizer, ids: Any, fewest: int = FEWEST) -> bool | None:
    """Whether ids, (n,), come back when they are decoded and encoded again, cuts aside: a byte-pair encoding cuts each
    text in one way, and has no ids for the texts that other ids stand for. None where they are too few to tell, or in
    between; and for characters, which always come back.
    """
    if tokenizer.name == "char" or len(ids) < fewest:
        return None
    starts = np.unique(np.linspace(0, max(0, len(ids) - STRETCH), STRETCHES).astype(int)).tolist()
    share = float(np.median([_share_back(tokenizer, np.asarray(ids[s : s + STRETCH])) for s in starts]))
    return True if share >= OWN else False if share < OTHERS else None


def _share_back(tokenizer: Tokenizer, ids: np.ndarray) -> float:
    """The share of ids, (n,), that come back, in their order; 0 for those that stand for no text."""
    try:
        content = tokenizer.decode_bytes(ids)
        lead = next((i for i, byte in enumerate(content[:4]) if byte & 0xC0 != 0x80), 0)  # the rest of a character
        again = tokenizer.encode(codecs.getincrementaldecoder("utf-8")().decode(content[lead:]))  # one may be begun
    except (UserError, UnicodeDecodeError):
        return 0.0
    blocks = difflib.SequenceMatcher(None, ids.tolist(), again.tolist(), autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) / max(len(ids), len(again))


def _meta(path: Path) -> Meta | None:
    """What meta.pkl says, if there is one; a note why, if it cannot be believed."""
    try:
        return read_meta(path) if path.exists() else None
    except UserError as error:
        warnings.warn(str(error), Note, stacklevel=4)
        return None


def _missing(tokenizer: Tokenizer) -> str:
    """Why there is no encoding to ask; "" where there is one."""
    try:
        tokenizer.decode_bytes([0])
        return ""
    except UserError as error:
        return str(error).partition(";")[0]


def _beginning(path: Path, newline: str | None = None) -> str:
    """The first characters of a text; "" where there is none, or it is no UTF-8. Newlines as nanoGPT reads them."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if path.is_file():  # and no pipe, which may never end
            with path.open(encoding="utf-8", newline=newline) as file:
                return file.read(COMPARED)
    return ""


def characters_of(path: Path, train: Any, largest: int = 0) -> CharTokenizer | None:
    """The distinct characters of a text, in order, if their places give these ids; newlines as nanoGPT reads them, or
    as they are.
    """
    for newline in (None, ""):
        start = _beginning(path, newline)
        ids = np.asarray(train[: len(start)])
        codes = np.frombuffer(start[: len(ids)].encode("utf-32-le"), np.uint32)
        pairs = np.unique(np.stack([ids, codes]), axis=1).astype(np.int64)  # each id with its character, in order
        if not len(ids) or not (np.diff(pairs) > 0).all():  # which needs a small part of the text, unlike the rest
            continue
        with contextlib.suppress(OSError, UnicodeDecodeError), path.open(encoding="utf-8", newline=newline) as file:
            characters = set(start)
            while piece := file.read(1 << 20):
                characters |= set(piece)
            tokenizer = CharTokenizer("".join(sorted(characters)))
            if largest < tokenizer.vocab_size and np.array_equal(tokenizer.encode(start[: len(ids)]), ids):
                return tokenizer
    return None


def _spells(tokenizer: Tokenizer, text: str, train: Any) -> bool:
    """Whether the encoding of a text's beginning begins with these ids, but for the few at the end of either."""
    try:
        expected = tokenizer.encode(text)
    except UserError:
        return False
    n = min(len(expected), len(train))
    differ = np.asarray(train[:n]) != expected[:n]
    same = int(differ.argmax()) if differ.any() else n
    return same >= max(n - 16, n * 3 / 4, 1)


def _read_alike(one: Tokenizer, other: Tokenizer, train: Any, largest: int) -> bool:
    """Whether the ids stand for the same text in both tokenizers."""
    if one == other:
        return True
    if one.name == other.name == "char":
        return one.token_bytes[: largest + 1] == other.token_bytes[: largest + 1]
    ids = np.asarray(train[:COMPARED])
    try:
        return len(ids) > 0 and one.decode_bytes(ids) == other.decode_bytes(ids)
    except UserError:
        return False


def _kind(tokenizer: Tokenizer) -> str:
    names = {"gpt2": "GPT-2's tokens", "char": f"characters, {tokenizer.vocab_size:,} of them"}
    return names.get(tokenizer.name, f"{tokenizer.vocab_size:,} tokens ({tokenizer.name})")

"""Folders of token files, nanoGPT's train.bin and val.bin or shards of them, mapped where they lie."""

import contextlib
import hashlib
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygpt.data.corpus import Corpus
from tinygpt.data.evidence import TEXT, agreed, comes_back, what_tells
from tinygpt.data.formats import BEGINNING, other_format, refuse_other_formats
from tinygpt.data.mapped import MappedTokens
from tinygpt.data.shards import Shards
from tinygpt.data.token_dtype import one_dtype
from tinygpt.errors import Note, UserError
from tinygpt.files import opened
from tinygpt.tokenizer import VOCAB_LIMIT, Tokenizer

WAY_OUT = "; start again when it is whole (a run goes on from its last save with --init_from=resume)"
PARTS = "train", "val"
SHARD = re.compile(r"(.*?)(train|val)(?:[_.-]?([0-9]+)(?:-of-([0-9]+))?)?\.bin")  # fineweb_train_000001.bin
PIECE = 16 << 20  # bytes that are read at a time
HEADER = 256 * 4  # bytes: 256 int32 numbers, of which the first are a magic number, a version and the count of tokens
LLM_C = {20240520: (1, "uint16", "GPT-2"), 20240801: (7, "uint32", "Llama 3")}  # llm.c's dev/data/data_common.py
LLM_C_OTHERS = {20240522: "llm.c's questions for an evaluation", 20240326: "a model's weights, of llm.c"}


class Header(NamedTuple):
    """What the first bytes of a token file say: how many of them are no tokens, the dtype, and whose tokens."""

    size: int = 0
    dtype: str = ""
    tokens_of: str = ""


def holds_tokens(folder: Path) -> bool:
    """Whether a folder has token files of a text, or at least those to train on."""
    return (folder / "train.bin").is_file() or bool(_shards(folder, "train"))


def token_folder(
    folder: Path, tokenizer: str | Tokenizer = "char", explicit: bool = False, token_dtype: str = "auto"
) -> Corpus:
    """The corpus of a folder with train.bin and val.bin, or with shards of them, each with or without llm.c's header.

    tokenizer: "char" where nobody says which, or one that the user names, if `explicit`, or that the model has;
    what the folder tells of its tokens must agree. token_dtype: "auto", "uint16" or "uint32". Raises UserError, in a
    sentence, for whatever is missing, damaged, of another format, or contradicts itself.
    """
    if tokenizer == "bpe":
        raise UserError(f"{folder} holds tokens already, so --tokenizer=bpe is too late; give the text as --data FILE")
    paths = {part: token_paths(folder, part) for part in PARTS}
    every = [path for part in PARTS for path in paths[part]]
    headers = {path: read_header(path) for path in every}
    if len(set(headers.values())) > 1:
        other = next(path for path in every if headers[path] != headers[every[0]])
        raise UserError(f"{every[0]} and {other.name} have different headers; expected token files of one kind")
    header = headers[every[0]]
    dtype = header.dtype or one_dtype(every, token_dtype, folder / TEXT)
    if token_dtype not in ("auto", dtype):
        raise UserError(f"--token_dtype={token_dtype} contradicts the header of {every[0]}, which says {dtype}")
    files = {part: [MappedTokens(path, dtype, WAY_OUT, header.size) for path in paths[part]] for part in PARTS}
    largest = max(_largest(file) for part in PARTS for file in files[part])
    parts = {part: files[part][0] if len(files[part]) == 1 else Shards(files[part]) for part in PARTS}
    train, val = (parts[part].tokens for part in PARTS)

    asked = tokenizer if isinstance(tokenizer, Tokenizer) else None
    found = what_tells(folder, train, largest, header.tokens_of, asked)
    known = agreed(folder, found, asked, explicit, train, largest) if asked else found.tokenizer
    vocab_size = known.vocab_size if known else found.vocab_size or largest + 1
    if known and largest >= vocab_size:
        raise UserError(
            f"{folder} holds token id {largest}, but the {known.name} vocabulary has only {vocab_size:,} tokens; "
            "use the tokenizer that the files were written with"
        )
    told = isinstance(tokenizer, Tokenizer) and explicit
    own = None if told or header.tokens_of else found.tokenizer
    if own and own.name == "gpt2" and comes_back(own, val) is False:
        raise UserError(
            f"{folder} holds GPT-2's tokens to train on ({found.why}), but others to validate on (decoded and encoded "
            "again, the ids of val are others); write both anew with one tokenizer"
        )
    checks = {part: parts[part].check for part in PARTS}
    name, fingerprint = folder.resolve().name, _fingerprint([f for part in PARTS for f in files[part]], train, val)
    corpus = Corpus(name, train, val, known, vocab_size, fingerprint=fingerprint, checks=checks)  # type: ignore[arg-type]
    corpus.largest = largest
    if known is None:
        unknown = f"which tokenizer the tokens in {folder} are of is not known ({found.why})"
        corpus.why_no_tokenizer = f"{unknown}, so no sample of text is shown; name it with --tokenizer"
    elif known.name == "char":
        corpus.n_characters, corpus.val_characters = len(train) + len(val), len(val)
    return corpus


def token_paths(folder: Path, part: str) -> list[Path]:
    """The file of a part, or its shards in the order of their numbers. Raises UserError where one is missing."""
    single = folder / f"{part}.bin"
    shards = _shards(folder, part)
    if single.is_file():
        if len(shards) > 1:
            others = shards[0].name if shards[0] != single else shards[1].name
            warnings.warn(f"{single} is the text, and {others} beside it is left alone", Note, stacklevel=3)
        return [single]
    if not shards:
        trained = _shards(folder, "train")
        if part == "val" and trained and not (folder / "train.bin").is_file():
            last = trained[-1].name
            raise UserError(
                f"{folder} has {len(trained)} shards to train on, up to {last}, and no val.bin or shard of it to "
                f"validate on; keep one back: rename {last} to {_renamed(last)}"
            )
        way_out = "--data takes a text, a folder of .txt files, or one with train.bin and val.bin"
        raise UserError(f"{folder} has no {part}.bin; {way_out}{_instead(folder)}")
    return shards


def _instead(folder: Path) -> str:
    """What lies in a folder in the place of token files, where that is known: the end of a sentence."""
    for path in _files(folder)[:100]:
        with opened(path) as file:
            if what := other_format(path, file.read(BEGINNING)):
                return f"; {path.name} in it is {what}"
    texts, tokens = (sorted(folder.glob(f"*.{ending}")) for ending in ("txt", "bin"))
    if texts and tokens:
        return f"; {texts[0].name} in it is read as a text only where no .bin lies beside it, as {tokens[0].name} does"
    return ""


def _files(folder: Path) -> list[Path]:
    """The files in a folder, in order of name; none where it is none, or cannot be read."""
    with contextlib.suppress(OSError):
        return sorted(path for path in folder.iterdir() if path.is_file())
    return []


def _renamed(name: str) -> str:
    """The name that makes a shard to train on one to validate on."""
    stem, _, number, _ = _named(name)
    return f"{stem}val{name[len(stem) + 5 :]}" if number else f"{stem}val.bin"


def _named(name: str) -> tuple[str, str, str | None, str | None]:
    """(what comes before, part, number, of how many) of a token file's name; part is "" for another file's."""
    match = SHARD.fullmatch(name)
    return match.groups() if match else ("", "", None, None)  # type: ignore[return-value]


def _shards(folder: Path, part: str) -> list[Path]:
    """The token files of a part, in order. Raises UserError for those of several texts, and for gaps."""
    names = [path.name for path in _files(folder) if _named(path.name)[1] == part]
    stems = sorted({_named(name)[0] for name in names if name != f"{part}.bin"})
    if len(stems) > 1:
        raise UserError(
            f"{folder} holds token files of several texts, {stems[0]}{part} and {stems[1]}{part}; keep those of one "
            "in a folder of its own"
        )
    names.sort(key=lambda name: int(_named(name)[2] or -1))
    numbers = [int(number) for name in names if (number := _named(name)[2]) is not None]
    for here, there, name in zip(numbers, numbers[1:], names[len(names) - len(numbers) + 1 :], strict=False):
        if there != here + 1:
            found = f"{there - here - 1} of the shards before" if there > here else "another shard with the number of"
            what = "missing" if there > here else "there too"
            raise UserError(
                f"{folder}: {found} {name} {'are' if there > here + 2 else 'is'} {what}; shards are read in the order "
                "of their numbers, as one text, so number them without gaps"
            )
    if numbers and (of := _named(names[-1])[3]) is not None and numbers[-1] - numbers[0] + 1 != int(of):
        raise UserError(
            f"{folder} has {len(numbers)} of the {int(of)} shards that {names[-1]} tells of; fetch the rest"
        )
    return [folder / name for name in names]


def read_header(path: Path) -> Header:
    """What a token file begins with. Raises UserError for another program's file, or a header that contradicts it."""
    with opened(path) as file:
        beginning = file.read(BEGINNING)
        size = file.seek(0, 2)
    refuse_other_formats(path, beginning)
    if len(beginning) < HEADER:
        return Header()
    magic, version, count = np.frombuffer(beginning, "<i4", 3).tolist()
    if magic in LLM_C_OTHERS and version < 100:
        raise UserError(f"{path} holds {LLM_C_OTHERS[magic]}, not a text's tokens")
    if magic not in LLM_C:
        return Header()
    expected, dtype, tokens_of = LLM_C[magic]
    if version != expected:
        raise UserError(f"{path} has version {version} of llm.c's header {magic}; expected {expected}")
    if size != HEADER + count * np.dtype(dtype).itemsize:
        there = (size - HEADER) // np.dtype(dtype).itemsize
        raise UserError(
            f"{path} is damaged: its header tells of {count:,} {dtype} tokens, but there are {there:,}; fetch or write "
            "it again"
        )
    return Header(HEADER, dtype, tokens_of)


def _largest(file: MappedTokens) -> int:
    """The largest id in a file, all of which is read: an id that no model has is to be known before a run begins."""
    largest = 0
    for start in range(0, file.tokens.nbytes, PIECE):
        piece = np.frombuffer(file.read(start, PIECE), file.tokens.dtype)
        largest = max(largest, int(piece.max(initial=0)))
    if largest >= VOCAB_LIMIT:
        below = f" ({largest - (1 << 32)} if it was int32)" if largest >= 1 << 31 else ""
        raise UserError(
            f"{file.path}, read as {file.tokens.dtype}, holds token id {largest:,}{below}, and no vocabulary has more "
            f"than {VOCAB_LIMIT:,} tokens; if it holds others, say which with --token_dtype, or write it again"
        )
    return largest


def _fingerprint(files: Sequence[MappedTokens], train: Any, val: Any) -> str:
    """A hash of the ends of all files, not of all that is in them, which may be many gigabytes."""
    end = max((1 << 20) * 2 // len(files), 1024)
    ends = [file.tokens[edge].tobytes() for file in files for edge in (slice(end), slice(-end, None))]
    return hashlib.blake2b(b"".join(ends) + f"{len(train)} {len(val)}".encode(), digest_size=16).hexdigest()

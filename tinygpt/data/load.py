"""Which text a run learns from: one that has a name, and where it comes from, or the reader's own."""

import difflib
import hashlib
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from tinygpt.data.addition import AdditionCorpus
from tinygpt.data.corpus import Corpus
from tinygpt.data.formats import refuse_no_text
from tinygpt.data.texts import Text, is_text_folder, text_at
from tinygpt.data.token_cache import encoded_text
from tinygpt.data.token_dtype import TOKEN_DTYPES
from tinygpt.data.token_files import holds_tokens, token_folder
from tinygpt.errors import UserError
from tinygpt.files import cache_folder, download, expanded
from tinygpt.tokenizer import CharTokenizer, Merge, Tokenizer, merge, named

SHAKESPEARE_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
STDLIB_CHARACTERS = "\t\n" + "".join(map(chr, range(32, 127)))
STDLIB_MIN_BYTES = 500_000


def load_corpus(
    dataset: str = "stdlib", data: str | Path | None = None, tokenizer: str | Tokenizer = "char",
    vocab_size: int | None = None, merge: Merge = merge, token_dtype: str = "auto", explicit: bool = False,
) -> Corpus:  # fmt: skip
    """The corpus of that name, or of the user's own `data`: a UTF-8 text file, a folder of .txt files, or several of
    these joined by commas (`texts.Text` says how they become one text); or a folder with token files. `tokenizer` is
    "char", "bpe" (with `vocab_size` tokens, 1024 if None), "gpt2", a file that holds one, or one made before. `merge`
    is the step of training "bpe". Of token files, `token_dtype` is "auto", "uint16" or "uint32", and `explicit` says
    that it was the user who named the tokenizer, and no model that has it. UserError, in a sentence, for whatever
    cannot be found, read, encoded or fetched.
    """
    if token_dtype not in TOKEN_DTYPES:
        raise UserError(_unknown("token_dtype", token_dtype, TOKEN_DTYPES))
    if not isinstance(tokenizer, Tokenizer):
        tokenizer = named(tokenizer)
        explicit = explicit or isinstance(tokenizer, Tokenizer)
    if vocab_size is not None and tokenizer != "bpe":
        raise UserError(f"--vocab_size={vocab_size} goes with --tokenizer=bpe; every other has a size of its own")
    if data == "":
        raise UserError("--data is empty; it takes a text, a folder of .txt files, or one with token files")
    if data is None:  # a folder of token files goes before a name: as nanoGPT finds it, or by its path
        folders = [path for path in (Path("data") / dataset, Path(dataset)) if holds_tokens(path)]
        data = folders[0] if folders else None
    data = None if data is None else expanded(data)
    if data is not None and Path(data).is_dir() and not is_text_folder(Path(data)):
        return token_folder(Path(data), tokenizer, explicit, token_dtype)
    if token_dtype != "auto":
        raise UserError(f"--token_dtype={token_dtype} goes with a folder of token files; a text is read as UTF-8")

    if data is None and dataset == "addition":
        corpus = AdditionCorpus()
        if tokenizer not in ("char", corpus.tokenizer):
            raise UserError("addition is written in 13 characters of its own, and goes with no other tokenizer")
        return corpus

    cache = cache_folder()
    characters = None
    if data is not None:
        text, source = text_at(data, refuse_no_text)
    elif dataset in TEXTS:
        content, characters = TEXTS[dataset](cache)
        text, source = Text(dataset, [content]), dataset
    else:
        raise UserError(_unknown("dataset", dataset, DATASETS) + "; your own text goes in with --data FILE")
    if tokenizer == "char" and characters:
        tokenizer = CharTokenizer(characters)
    vocab_size = 1024 if vocab_size is None else vocab_size
    return encoded_text(text, tokenizer, vocab_size, cache, merge, source)


def _unknown(kind: str, name: str, names: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(str(name), names, n=1)
    hint = f" (did you mean {nearest[0]}?)" if nearest else ""
    return f"There is no {kind} {name!r}{hint}; choose from {', '.join(names)}"


def stdlib(cache: Path) -> tuple[bytes, str]:
    """The top-level modules of this Python's standard library, in order of name, in 97 characters. Whatever is not
    printable ASCII, a tab or a newline becomes "?". So the vocabulary is the same for every version of Python, though
    the text is not. UserError where an installation carries no sources.
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
    if not (path.is_file() and _is_shakespeare(path)):
        download(SHAKESPEARE_URL, path, f"use {_other_datasets('shakespeare_char')}", _is_shakespeare)
    return path.read_bytes(), None


def _is_shakespeare(path: Path) -> bool:
    return hashlib.sha256(path.read_bytes()).hexdigest() == SHAKESPEARE_SHA256


# name -> function of the cache folder that returns the text as UTF-8 bytes and, where they are fixed, its characters
TEXTS = {"stdlib": stdlib, "shakespeare_char": shakespeare_char}
DATASETS = (*TEXTS, "addition")


def _other_datasets(name: str) -> str:
    others = [f"--dataset={other}" for other in DATASETS if other != name]
    return " or ".join([*others, "--data FILE with a text of your own"])

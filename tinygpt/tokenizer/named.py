"""A tokenizer by its name or from its file."""

import codecs
import contextlib
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinygpt.checkpoint import TOKENIZER
from tinygpt.errors import UserError, brief
from tinygpt.files import JSON_LIMIT, expanded, parse_json, read_bytes, read_json
from tinygpt.tokenizer.base import FORMAT, Tokenizer
from tinygpt.tokenizer.bpe import SPLIT, BPETokenizer
from tinygpt.tokenizer.char import CharTokenizer
from tinygpt.tokenizer.gpt2 import END, GPT2Tokenizer, is_gpt2
from tinygpt.tokenizer.meta import read_meta
from tinygpt.tokenizer.own import OwnTokenizer
from tinygpt.tokenizer.pretrained import BYTE_LEVEL, cut_by

NAMES = "char", "bpe", "gpt2"
FILE_LIMIT = 64 << 20  # bytes of a tokenizer.json with its indentation
WRITES = "transformers' AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes one"


def named(value: str | Path) -> Tokenizer | str:
    """The tokenizer that a --tokenizer stands for: GPT-2's by its name, or what is in a file, ours or a
    `tokenizer.json`; "char" and "bpe" stay names, for they are made from a text. UserError, with the nearest name or
    what the file is instead, for anything else.
    """
    value = str(value)
    if value in NAMES:
        return GPT2Tokenizer() if value == "gpt2" else value
    if not value.strip():
        raise UserError(f"--tokenizer is empty; expected {', '.join(NAMES)}, or the path of a tokenizer.json")
    path = Path(expanded(value))
    if path.is_dir():
        files = [path / name for name in ("tokenizer.json", "best/tokenizer.json", TOKENIZER)]
        found = next((f", such as {file}" for file in files if file.is_file()), f"; {WRITES}")
        raise UserError(f"--tokenizer={value} is a folder; expected the file of a tokenizer{found}")
    if not path.exists():
        nearest = difflib.get_close_matches(value.lower(), NAMES, n=1)
        hint = f" (did you mean {nearest[0]}?)" if nearest else ""
        names = f"choose from {', '.join(NAMES)}, or give the path of a tokenizer.json"
        raise UserError(f"There is no tokenizer {value!r}{hint}; {names}")
    tokenizer = in_file(path)
    if isinstance(tokenizer, OwnTokenizer):
        tokenizer.open()
    return tokenizer


def in_file(path: Path) -> Tokenizer:
    """The tokenizer in a file: ours, GPT-2's own, another, or nanoGPT's meta.pkl. UserError for one that holds none."""
    if path.suffix == ".pkl":
        if (characters := read_meta(path).tokenizer) is None:
            raise UserError(f"{path} does not say which character each token is, so it is no tokenizer")
        return characters
    content = read_bytes(path, FILE_LIMIT).removeprefix(codecs.BOM_UTF8)
    if path.suffix == ".model" or content[:1] == b"\n" and b"<unk>" in content[:100]:
        raise UserError(f"{path} is SentencePiece's format, which is not read here; a tokenizer.json is: {WRITES}")
    if content.lstrip()[:1] not in (b"{", b"["):
        raise UserError(f"{path} is no JSON, so it is no tokenizer.json; of a tokenizer in another format {WRITES}")
    parsed = parse_json(content, path)
    if isinstance(parsed, dict) and isinstance(parsed.get("format"), str):  # a vocabulary may have it as a token
        return load(path)
    return of_content(parsed, path)


def of_content(content: Any, source: object) -> Tokenizer:
    """The tokenizer of a parsed tokenizer.json: GPT-2's own is recognised, and then needs no library."""
    tokenizer = OwnTokenizer(content, source)
    model, added = content["model"], content.get("added_tokens") or []
    cut = content.get("pre_tokenizer")
    plain = all(not model.get(name) for name in ("continuing_subword_prefix", "end_of_word_suffix", "ignore_merges"))
    if (
        plain and tokenizer.vocab_size == GPT2Tokenizer.vocab_size and isinstance(model.get("merges"), list)
        and content.get("normalizer") is None and isinstance(cut, dict) and cut.get("use_regex", True)
        and all(cut.get(name) == BYTE_LEVEL[name] for name in ("type", "add_prefix_space"))
        and all((token["id"], token["content"]) == END for token in added)
        and is_gpt2(model["vocab"], [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]])
    ):  # fmt: skip
        return GPT2Tokenizer()
    if ours := _ours(content):
        return ours
    if tokenizer.n_bytes > JSON_LIMIT - 100:
        problem = f"has {tokenizer.n_bytes:,} bytes without its indentation, and at most {JSON_LIMIT:,} can be saved"
        raise UserError(f"{source} {problem} with a model; take a smaller vocabulary")
    return tokenizer


def _ours(content: Mapping[str, Any]) -> Tokenizer | None:
    """The tokenizer that `save_pretrained` wrote this tokenizer.json of, which needs no library either."""
    model, cut = content["model"], content.get("pre_tokenizer")
    made: Tokenizer
    with contextlib.suppress(UserError, KeyError, TypeError, ValueError):
        if cut == cut_by(CharTokenizer.SPLIT):
            made = CharTokenizer("".join(sorted(model["vocab"], key=model["vocab"].get)))
        elif isinstance(cut, dict) and cut_by(SPLIT) in cut.get("pretokenizers", ()):
            made = BPETokenizer([[model["vocab"][part] for part in pair] for pair in model["merges"]])
        else:
            return None
        return made if made.to_pretrained() == content else None
    return None


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
        if state["name"] == OwnTokenizer.name:
            return OwnTokenizer(state["content"], path)
        raise ValueError(f"its name is {brief(state['name'])}")
    except (KeyError, TypeError, ValueError) as error:  # or no JSON: UserError
        raise UserError(
            f"{path} is not a tokenizer file that this version can read ({error}); expected JSON with "
            f'"format": "{FORMAT}"'
        ) from error

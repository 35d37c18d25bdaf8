"""The tokenizer of a model, by what lies beside its weights."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinygpt.checkpoint import TOKENIZER
from tinygpt.errors import UserError
from tinygpt.files import parse_json, read_bytes, read_json
from tinygpt.tokenizer.base import Tokenizer
from tinygpt.tokenizer.gpt2 import END, GPT2Tokenizer
from tinygpt.tokenizer.named import FILE_LIMIT, in_file, load, of_content
from tinygpt.tokenizer.pretrained import BYTE_LEVEL, byte_pairs, document

# Of tokenizers in formats that are not read here; a model with one of them beside it has no other's tokens.
OTHERS = "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model"


def beside(folder: Path, vocab_size: int) -> Tokenizer | None:
    """The tokenizer of the model of `vocab_size` tokens in `folder`: tinygpt's own file, a tokenizer.json, vocab.json
    with merges.txt; GPT-2's where there is none of them and the size is GPT-2's; None where it cannot be known. Raises
    UserError for a file that is damaged.
    """
    if (folder / TOKENIZER).exists():
        return load(folder / TOKENIZER)
    if (folder / "tokenizer.json").exists():
        return in_file(folder / "tokenizer.json")
    if (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
        return _byte_level(folder)
    unread = any((folder / name).exists() for name in OTHERS)
    return GPT2Tokenizer() if vocab_size == GPT2Tokenizer.vocab_size and not unread else None


def unknown(source: object, vocab_size: int, reads: bool = True) -> str:
    """The sentence for a model, from `source`, that is to read, or only write, a text in tokens that nobody knows."""
    padding = vocab_size - GPT2Tokenizer.vocab_size
    gpt2 = f"--tokenizer=gpt2 if they are GPT-2's {GPT2Tokenizer.vocab_size:,} and padding, or "
    tokens = ", or as --data a folder with train.bin and val.bin in its own tokens" * reads
    unread = next((name for name in OTHERS if (Path(str(source)) / name).exists()), None)
    nothing = f"{unread} beside it is not read here" if unread else "nothing beside it says which"
    return (
        f"the model in {source} knows {vocab_size:,} tokens, and {nothing}; give "
        f"{gpt2 if 0 <= padding < 1024 else ''}--tokenizer=FILE, a tokenizer.json{tokens}"
    )


def _byte_level(folder: Path) -> Tokenizer:
    """The byte-level tokenizer of a vocab.json and a merges.txt, with the settings that may lie beside them."""
    vocabulary, path = read_json(folder / "vocab.json"), folder / "merges.txt"
    try:
        lines = read_bytes(path, FILE_LIMIT).decode().split("\n")
    except UnicodeDecodeError:
        raise UserError(f"{path} is damaged: not UTF-8") from None
    merges = [line.split() for line in lines if line.strip() and not line.startswith("#version")]
    if wrong := next((pair for pair in merges if len(pair) != 2), None):
        raise UserError(f"{path} is damaged: {' '.join(wrong)[:60]!r} is no pair of tokens")
    settings = _settings(folder / "tokenizer_config.json")
    added = {str(token): id for token, id in _settings(folder / "added_tokens.json").items()}
    named = [*_contents(_settings(folder / "special_tokens_map.json")), *_contents(settings), END[1]]
    special = {token: vocabulary[token] for token in dict.fromkeys(named) if token in vocabulary} | added
    cut = BYTE_LEVEL | {"add_prefix_space": settings.get("add_prefix_space") is True}
    model = byte_pairs(vocabulary, merges)
    return of_content(document(model, cut, BYTE_LEVEL, special), folder / "vocab.json")


def _settings(path: Path) -> dict[str, Any]:
    content = parse_json(read_bytes(path, FILE_LIMIT), path) if path.exists() else {}
    return content if isinstance(content, dict) else {}


def _contents(settings: dict[str, Any]) -> Iterator[str]:
    """The special tokens that settings name, such as "eos_token": "</s>", or the same as an object."""
    for name, value in settings.items():
        content = value.get("content") if isinstance(value, dict) else value
        if name.endswith("_token") and isinstance(content, str):
            yield content

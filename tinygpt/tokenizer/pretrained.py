"""A tokenizer as other programs read it: `tokenizer.json`, the format of Hugging Face's `tokenizers`, written by hand.

It is a vocabulary and three rules: how a text is cut into pieces, how a piece becomes tokens, how tokens become text.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

# GPT-2's alphabet spells bytes as characters: those that print as themselves, the others from U+0100 on, in order.
_PRINTED = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHERS = [byte for byte in range(256) if byte not in _PRINTED]
ALPHABET = {byte: chr(byte) for byte in _PRINTED} | {byte: chr(0x100 + i) for i, byte in enumerate(_OTHERS)}
BYTES = {character: byte for byte, character in ALPHABET.items()}

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}  # GPT-2's


def spelled(token: bytes) -> str:
    """A token in GPT-2's alphabet."""
    return "".join(map(ALPHABET.__getitem__, token))


def cut_by(pattern: str) -> dict[str, Any]:
    """The rule that each match of `pattern` is a piece."""
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def byte_pairs(tokens: Mapping[str, int], merges: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The model of byte-pair encoding. tokens: id by spelling; merges: pairs of spellings, the first one first."""
    return {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
        "vocab": dict(tokens), "merges": [list(pair) for pair in merges],
    }  # fmt: skip


def document(
    model: Mapping[str, Any], cut: Mapping[str, Any], decoder: Mapping[str, Any], special: Mapping[str, int]
) -> dict[str, Any]:
    """What tokenizer.json holds. special: id by content of tokens that stand for no text."""
    added = [
        {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for content, id in special.items()
    ]  # fmt: skip
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": cut, "post_processor": None, "decoder": decoder, "model": model,
    }  # fmt: skip


def written(content: Mapping[str, Any], end: str | None = None) -> dict[str, bytes]:
    """The two files by name. content: of tokenizer.json; end: the token that ends a text, if one does."""
    # without a class of its own transformers would take GPT-2's for a model of type gpt2; and it would tidy up spaces
    settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    settings |= dict.fromkeys(("bos_token", "eos_token", "unk_token"), end) if end else {}
    return {
        "tokenizer.json": json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(),
        "tokenizer_config.json": (json.dumps(settings, indent=2) + "\n").encode(),
    }

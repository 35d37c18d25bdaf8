"""Single characters as tokens."""

from collections import Counter
from typing import Any

import numpy as np

from tinygpt.errors import UserError, brief
from tinygpt.tokenizer.base import Tokenizer, lone_surrogate
from tinygpt.tokenizer.pretrained import cut_by, document


class CharTokenizer(Tokenizer):
    """One token per character. The id of a character is its place in `characters`, a string without repeats."""

    name = "char"
    SPLIT = r"[\s\S]"  # each character by itself, in the language of regular expressions

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
            raise lone_surrogate(error) from None
        self.vocab_size = len(characters)
        self.first_prompt = "\n" if "\n" in characters else characters[0]
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
            raise self.unknown(text[position], position)
        return ids

    def unknown(self, character: str, position: int) -> UserError:
        """What there is to say of a character, at this position of a text, that is not in the vocabulary."""
        return UserError(
            f"Character {character!r} (U+{ord(character):04X}) at position {position:,} is not among the "
            f"{self.vocab_size} characters of this tokenizer; "
            "leave it out, or train with --tokenizer=bpe, which knows every character"
        )

    def safe_cut(self, text: str) -> int:
        return len(text)

    def to_pretrained(self) -> dict[str, Any]:
        """Each character is a word. An unknown one is an error there too, for its token is in no vocabulary."""
        words = {character: i for i, character in enumerate(self.state["characters"])}
        model = {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"}
        return document(model, cut_by(self.SPLIT), {"type": "Fuse"}, {})


def _code_points(text: str) -> np.ndarray:
    """text -> its code points, uint32 of shape (len(text),)."""
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype="<u4")

"""What all tokenizers share: ids are checked, bytes become text, and a tokenizer is a file."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tiktoken

from tinygpt.checkpoint import TOKENIZER
from tinygpt.errors import UserError
from tinygpt.files import write_atomically
from tinygpt.tokenizer.pretrained import written

FORMAT = "tinygpt tokenizer 1"
VOCAB_LIMIT = 1 << 18  # tokens: as many as the largest vocabularies in use


class Tokenizer(ABC):
    """What all tokenizers share. They are equal, `==`, where their states are."""

    name: str
    vocab_size: int  # ids run from 0 to vocab_size - 1
    token_bytes: list[bytes]  # of each token, by id
    state: dict  # all that makes it what it is, ready for JSON
    context = 0  # characters that `encode_after` looks back at
    first_prompt = "\n"  # what a text starts from if nothing is given
    exact = True  # every text that it encodes comes back, so that what it predicts is each of its characters
    end_id: int | None = None  # of the token that ends a text, where there is one

    @abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """text -> ids, uint32 of shape (number of tokens,). UserError for what the vocabulary cannot express."""

    def safe_cut(self, text: str) -> int:
        """A place late in `text`, what is not yet encoded of a longer text, where that may be cut: what stands before
        it has the same ids alone as in the whole, whatever follows, and what follows has by `encode_after`. 0 where
        none is known.
        """
        return 0

    def encode_after(self, before: str, text: str) -> np.ndarray:
        """The ids of a text that follows a safe cut, (n,); before: up to `context` characters that stand before it."""
        return self.encode(text)

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
        write_atomically(path, self._saved)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write what lies beside a model: tokenizer.tinygpt.json, which `load` reads, and tokenizer.json with
        tokenizer_config.json, which transformers reads. UserError if it cannot be written.
        """
        self.save(Path(folder) / TOKENIZER)
        for name, content in self._written.items():
            write_atomically(Path(folder) / name, content)

    def to_pretrained(self) -> dict[str, Any] | None:
        """What tokenizer.json says of it; None, and a note, where that is not known."""
        return None

    @cached_property
    def _saved(self) -> bytes:  # every save of a run writes it
        return json.dumps({"format": FORMAT, **self.state}, ensure_ascii=False).encode()

    @cached_property
    def _written(self) -> dict[str, bytes]:
        content = self.to_pretrained()
        return {} if content is None else written(content, None if self.end_id is None else self.decode([self.end_id]))

    def __eq__(self, other: object) -> bool:
        return self.state == other.state if isinstance(other, Tokenizer) else NotImplemented


class TiktokenTokenizer(Tokenizer):
    """A byte-level byte-pair encoding, which tiktoken applies, several megabytes a second."""

    _encoding: tiktoken.Encoding

    def encode(self, text: str) -> np.ndarray:
        try:
            return self._encoding.encode_to_numpy(text, allowed_special="all")
        except UnicodeEncodeError as error:
            raise lone_surrogate(error) from None
        except UserError:  # there is no encoding
            raise
        except ValueError as error:
            raise UserError(
                f"tiktoken could not split this text ({error}); shorten its longest run of white space"
            ) from error


def lone_surrogate(error: UnicodeEncodeError) -> UserError:
    code = ord(error.object[error.start])
    return UserError(
        f"The text holds a lone surrogate, U+{code:04X}, which is half a character and has no UTF-8 form; "
        "read the text again with the encoding that it was written in"
    )

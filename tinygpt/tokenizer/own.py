"""A tokenizer of one's own: a `tokenizer.json`, which Hugging Face's `tokenizers` applies.

Encoding is the library's. Decoding is made of each token's bytes, so that a stream of tokens gives every byte as it
comes; that the two agree is tried on a few texts when the library is first used.
"""

import contextlib
import functools
import json
import re
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from tinygpt.errors import Note, UserError, brief
from tinygpt.tokenizer.base import VOCAB_LIMIT, Tokenizer, lone_surrogate
from tinygpt.tokenizer.pretrained import BYTES

# What these do to a token depends on nothing but whether it is the first or the last.
TOKEN_BY_TOKEN = {
    "ByteLevel", "ByteFallback", "Metaspace", "WordPiece", "BPEDecoder", "Sequence", "Replace", "Fuse", "Strip",
}  # fmt: skip
CHUNK = 1 << 18  # characters that the library encodes at a time: it takes more than 100 bytes for each
# Where a text may be cut, if anywhere: before a space; in a text without, where words, signs and white space meet.
PLACES = re.compile("(?<=[a-z]) "), re.compile(r"(?<=\S)(?=\s)|(?<=\w)(?=[^\w\s])|(?<=[^\w\s])(?=\w)")
TRIED = 32  # places of each kind
NEAR, FAR = 64, 256  # characters that are enough to see whether it may
TRIALS = "Hello, World! It's 3.5 of them", "def f(x):\n    return 'x'", "na\u00efve, \u6771\u4eac \U0001f642"
T = TypeVar("T")


class OwnTokenizer(Tokenizer):
    """What the content of a tokenizer.json says, as the `tokenizers` library reads it. No special tokens are added, but
    those that a text spells out are taken for what they are, as GPT-2's <|endoftext|> is.
    """

    name = "tokenizer.json"
    context = NEAR  # without which some, such as Llama's, put a space before the text

    def __init__(self, content: Mapping[str, Any], source: object = "tokenizer.json"):
        """content: the parsed JSON; source: where it came from, for errors. Raises UserError for what is none; what
        the library alone can see is said when it is first used.
        """
        self.source = source
        self.vocab_size = _vocab_size(content, source)
        if (dropout := content["model"].get("dropout")) not in (None, 0):
            problem = f"{source} has a dropout of {brief(dropout)}, and so encodes a text differently each time"
            raise UserError(f"{problem}; set it to null")
        content = dict(content) | dict.fromkeys(("post_processor", "truncation", "padding"))  # not applied
        self.state = {"name": self.name, "content": content}
        self.json = json.dumps(content, ensure_ascii=False)
        try:
            self.n_bytes = len(self.json.encode())
        except UnicodeEncodeError as error:
            raise UserError(f"{source} is damaged: {lone_surrogate(error)}") from None

    def open(self) -> None:
        """Have the library read it now. Raises UserError for what it cannot apply, or if it is not installed."""
        assert self._opened

    def encode(self, text: str) -> np.ndarray:
        return self.encode_after("", text)

    def encode_after(self, before: str, text: str) -> np.ndarray:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise lone_surrogate(error) from None
        ids = self._encoded(before + text, len(before))
        if not self._opened.told and text not in (back := self.decode(ids), super().decode(ids)):  # in a longer text
            self._opened.told = True
            warnings.warn(f"{self.source} does not give back every text: {_difference(text, back)}", Note, stacklevel=2)
        return ids

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """ids, a list or array of shape (n,) -> text, without the space that some rules put before the first word, or
        after the last.
        """
        text = super().decode(ids)
        if not text:
            return text
        first, last = (self._opened.tokens[int(id)] for id in (ids[0], ids[-1]))
        spaces = super().decode(ids[:1])
        spaces = spaces[: len(spaces) - len(spaces.lstrip(" "))] or " "  # that it begins with, perhaps several
        if text.startswith(" ") and not self._opened.decoded([first, "a"]).startswith(spaces):
            text = text[1:]
        return text[:-1] if text.endswith(" ") and not self._opened.decoded(["a", last]).endswith(" ") else text

    @property
    def exact(self) -> bool:  # type: ignore[override]
        return self._opened.exact

    @property
    def token_bytes(self) -> list[bytes]:  # type: ignore[override]
        return self._opened.token_bytes

    @cached_property
    def first_prompt(self) -> str:  # type: ignore[override]
        """A newline, where it is a token; else a text that is."""
        for text in ("\n", "The", "a", *(token.decode(errors="replace") for token in self.token_bytes)):
            with contextlib.suppress(UserError):
                if len(self._encoded(text)):
                    return text
        return "\n"

    def to_pretrained(self) -> dict[str, Any]:
        """The content as it came, without what would add tokens or cut a text short for others, and does not here."""
        return self.state["content"]

    def safe_cut(self, text: str) -> int:
        """A place late in `text` where it may be cut into two that are encoded alone; 0 where none is found."""
        places = (place.finditer(text, max(NEAR, len(text) - CHUNK), len(text) - FAR) for place in PLACES)
        last = (match.start() for found in places for match in reversed(deque(found, TRIED)))
        return next((at for at in last if self._may_be_cut(text, at)), 0)

    def _encoded(self, text: str, begin: int = 0) -> np.ndarray:
        """The ids of a text of any length from `begin` on, as the library gives them for all of it at once."""
        chunks, start = [], begin
        while start < len(text):
            places = (islice(place.finditer(text, start + CHUNK), TRIED) for place in PLACES)
            first = (match.start() for found in places for match in found)
            end = next((at for at in first if self._may_be_cut(text, at)), len(text))
            before = self._ids(text[max(0, start - NEAR) : start])
            ids = self._ids(text[max(0, start - NEAR) : end])
            if ids[: len(before)] != before:  # the place was no good one after all
                if begin:
                    where = brief(text[max(0, begin - 20) : begin + 20])
                    raise UserError(f"{self.source} cannot encode this text in pieces, since it cuts it differently "
                                    f"around {where}; put a new line there, or give a shorter text")  # fmt: skip
                return np.array(self._ids(text), dtype=np.uint32)
            chunks.append(np.array(ids[len(before) :], dtype=np.uint32))
            start = end
        return np.concatenate(chunks) if chunks else np.zeros(0, np.uint32)

    def _may_be_cut(self, text: str, at: int) -> bool:
        """Whether both sides of a place have the ids of the whole: the left alone, the right with NEAR characters
        before it, as far as FAR characters to each side tell.
        """
        far, near, after = text[max(0, at - FAR) : at], text[max(0, at - NEAR) : at], text[at : at + FAR]
        left, whole, before, right = map(self._ids, (far, far + after, near, near + after))
        return right[: len(before)] == before and whole == left + right[len(before) :]

    def _ids(self, text: str) -> list[int]:
        library = self._opened.library
        return self._asked("cannot encode this text", lambda: library.encode(text, add_special_tokens=False).ids)

    @cached_property
    def _opened(self) -> "_Opened":
        opened = self._asked("cannot be used", lambda: _open(self.json))
        if (size := len(opened.token_bytes)) != self.vocab_size:
            problem = f"its tokens are numbered up to {self.vocab_size - 1:,}, and by tokenizers up to {size - 1:,}"
            raise UserError(f"{self.source} cannot be used: {problem}; save it anew with that library")
        self.__dict__["_opened"] = opened  # which the trials use
        for text in TRIALS:
            try:
                ids = self._encoded(text)
            except UserError:  # it does not know all of its characters
                continue
            opened.exact = opened.exact and self.decode(ids) == text
            if self.decode(ids) != opened.library.decode(ids.tolist(), skip_special_tokens=False):
                del self.__dict__["_opened"]
                problem = "what its tokens say depends on their neighbours, so no text can be printed as it comes"
                raise UserError(f"{self.source} cannot be used: {problem}")
        return opened

    def _asked(self, problem: str, question: Callable[[], T]) -> T:
        """What the library answers; a sentence with the problem for what it raises, a panic of its Rust included."""
        try:
            return question()
        except UserError:
            raise
        except ImportError:
            needed = f"{self.source} is read by the tokenizers library, which is not installed"
            way_out = "`pip install tokenizers` brings it, as `pip install -e '.[hf]'` does in tinygpt's source"
            raise UserError(f"{needed}; {way_out}") from None
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise UserError(f"{self.source} {problem}: the tokenizers library says {str(error)[:300]!r}") from None


class _Opened:
    """A tokenizer.json that the library has read: its tokens by id, and the bytes of each within a text."""

    def __init__(self, text: str):
        from tokenizers import Tokenizer as Library

        self.library: Any = Library.from_str(text)
        self.library.no_truncation()
        self.library.no_padding()
        self.told = False  # that a text does not come back
        self.exact = True
        kinds = set(_kinds(json.loads(text).get("decoder")))
        if unknown := kinds - TOKEN_BY_TOKEN:
            raise ValueError(f"a decoder of type {brief(unknown.pop())} cannot be followed token by token")
        vocabulary = self.library.get_vocab(with_added_tokens=True)
        self.tokens = [""] * (max(vocabulary.values(), default=-1) + 1)  # an id that no token has stands for nothing
        for token, id in vocabulary.items():
            self.tokens[id] = token
        after = len(self.decoded(["a", "a"])) - 1  # of the second a, with the space that may be before it

        def bytes_of(token: str) -> bytes:
            if "ByteLevel" in kinds:
                known = BYTES.keys() >= set(token)
                return bytes(map(BYTES.__getitem__, token)) if known else token.encode()
            if "ByteFallback" in kinds and re.fullmatch(r"<0x[0-9A-F]{2}>", token):
                return bytes([int(token[3:5], 16)])
            return self.decoded(["a", token, "a"])[1:-after].encode() if token else b""

        self.token_bytes = [bytes_of(token) for token in self.tokens]

    def decoded(self, tokens: list[str]) -> str:
        """What the library makes of tokens, given as they are in the vocabulary."""
        decoder = self.library.decoder
        return " ".join(tokens) if decoder is None else decoder.decode(tokens)


@functools.lru_cache(maxsize=4)
def _open(text: str) -> _Opened:
    return _Opened(text)


def _kinds(decoder: Any) -> Iterator[str]:
    if isinstance(decoder, dict):
        yield str(decoder.get("type"))
        for part in decoder.get("decoders") or ():
            yield from _kinds(part)


def _vocab_size(content: Mapping[str, Any], source: object) -> int:
    """The largest id, and one. Raises UserError for what is no tokenizer.json."""
    try:
        vocabulary = content["model"]["vocab"]
        ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else list(range(len(vocabulary)))
        ids += [token["id"] for token in content.get("added_tokens") or ()]
    except (AttributeError, KeyError, TypeError):
        raise UserError(f"{source} {_what_it_is(content)}") from None
    if not ids or not all(type(id) is int and 0 <= id < VOCAB_LIMIT for id in ids):
        wrong = next((id for id in ids if type(id) is not int or not 0 <= id < VOCAB_LIMIT), "none")
        raise UserError(f"{source} numbers a token {brief(wrong)}; expected ids from 0 to {VOCAB_LIMIT - 1:,}")
    return max(ids) + 1


def _what_it_is(content: Any) -> str:
    """What was taken for a tokenizer.json, and what to do."""
    what, one_class = "is no tokenizer.json: it has no model with a vocabulary", "transformers' AutoTokenizer"
    if isinstance(content, dict) and {"model_type", "architectures"} & content.keys():
        what = "is a model's config.json, which says nothing of its tokens"
    elif isinstance(content, dict) and {"tokenizer_class", "model_max_length", "bos_token"} & content.keys():
        what = "is a tokenizer's settings (tokenizer_config.json), without its vocabulary"
    elif isinstance(content, dict) and content and all(type(value) is int for value in content.values()):
        what = "is a vocabulary alone (vocab.json), which does not say how a text is cut into its tokens"
    return f"{what}; give the tokenizer.json, which {one_class}.from_pretrained(FOLDER).save_pretrained(FOLDER) writes"


def _difference(text: str, back: str) -> str:
    """Where a text and what came back of it part, with what stands there."""
    parted = (i for i, (a, b) in enumerate(zip(text, back, strict=False)) if a != b)
    place = next(parted, min(len(text), len(back)))
    start = max(0, place - 12)
    return (
        f"{text[start : place + 12]!r}, at position {start:,}, comes back as {back[start : place + 12]!r}; "
        "a model learns and writes what comes back"
    )

"""nanoGPT's meta.pkl, which lists the characters that a folder's tokens stand for: a pickle, read without unpickling.

A pickle is a program for a small machine with a stack, and Python's machine for it can call any function there is. The
one here knows no more of its instructions than a dict of strings and whole numbers is written with, by whichever of
the protocols 0 to 5, so that there is nothing else that it could make. `pickletools` takes the file apart.
"""

import io
import pickletools
from pathlib import Path
from typing import Any, NamedTuple

from tinygpt.errors import UserError, brief
from tinygpt.files import read_bytes
from tinygpt.tokenizer.base import VOCAB_LIMIT
from tinygpt.tokenizer.char import CharTokenizer

NAME = "meta.pkl"
BYTES = 8 << 20  # of the file: one with every character that Unicode has takes fewer
INSTRUCTIONS = 2_000_000
DICTS = 16
LINE = 1000  # bytes of a number that is written in digits


class Meta(NamedTuple):
    """What a meta.pkl says: how many tokens there are, and the characters that they are, where they are characters."""

    vocab_size: int
    tokenizer: CharTokenizer | None
    tokens_listed: bool  # though they may be longer than a character


def read_meta(path: Path) -> Meta:
    """What a meta.pkl of nanoGPT's says. Raises UserError, with the reason, if it says anything else or contradicts
    itself.
    """
    try:
        meta = plain_pickle(read_bytes(path, BYTES))
        if not isinstance(meta, dict):
            raise ValueError(f"it holds a {type(meta).__name__}, where a dict was expected")
        itos, stoi = meta.get("itos"), meta.get("stoi")
        if itos is None and isinstance(stoi, dict):
            itos = {i: token for token, i in stoi.items()}
        if itos is None and "vocab_size" not in meta:
            raise ValueError("it tells of no vocabulary")
        vocab_size = meta.get("vocab_size", len(itos) if isinstance(itos, dict) else None)
        if type(vocab_size) is not int or not 1 <= vocab_size <= VOCAB_LIMIT:
            raise ValueError(f"its vocab_size is {brief(vocab_size)}")
        if itos is None:
            return Meta(vocab_size, None, False)
        if not isinstance(itos, dict) or set(itos) != set(range(vocab_size)):
            raise ValueError(f"its itos does not list the ids from 0 to vocab_size - 1, {vocab_size - 1:,}")
        tokens = [itos[i] for i in range(vocab_size)]
        if not all(isinstance(token, str) for token in tokens):
            raise ValueError("its itos has what is no string")
        if stoi is not None and stoi != {token: i for i, token in enumerate(tokens)}:
            raise ValueError("its itos and its stoi contradict each other")
        characters = all(len(token) == 1 for token in tokens)
        return Meta(vocab_size, CharTokenizer("".join(tokens)) if characters else None, True)
    except (ValueError, TypeError) as error:  # UserError of the tokenizer and of reading among them
        raise UserError(f"{path} is left alone: {error}") from None


class _Lines(io.BytesIO):
    """The bytes of a pickle, of which no line is longer than needed."""

    def readline(self, size: int | None = -1, /) -> bytes:
        return super().readline(LINE)


def plain_pickle(content: bytes) -> Any:
    """The dicts, strings and whole numbers that a pickle of protocol 0 to 5 holds. Raises ValueError if it holds
    anything else, or is damaged.
    """
    stack: list[Any] = []
    marks: list[int] = []  # how long the stack was
    memo: dict[int, Any] = {}
    dicts = 0
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(_Lines(content))):
            if number >= INSTRUCTIONS or dicts > DICTS:
                raise ValueError("it holds more than a vocabulary could")
            place: Any = argument  # in the memo
            match opcode.name:
                case "PROTO" | "FRAME":
                    pass
                case "INT" | "BININT" | "BININT1" | "BININT2" | "LONG" | "LONG1" | "LONG4" if type(argument) is int:
                    stack.append(argument)
                case "UNICODE" | "SHORT_BINUNICODE" | "BINUNICODE" | "BINUNICODE8":
                    stack.append(argument)
                case "EMPTY_DICT":
                    dicts += 1
                    stack.append({})
                case "MARK":
                    marks.append(len(stack))
                case "DICT":
                    dicts += 1
                    stack.append(_filled({}, _above(stack, marks.pop())))
                case "SETITEM":
                    _filled(stack[-3], _above(stack, len(stack) - 2))
                case "SETITEMS":
                    items = _above(stack, marks.pop())
                    _filled(stack[-1], items)
                case "PUT" | "BINPUT" | "LONG_BINPUT":
                    memo[place] = stack[-1]
                case "MEMOIZE":
                    memo[len(memo)] = stack[-1]
                case "GET" | "BINGET" | "LONG_BINGET":
                    stack.append(memo[place])
                case "STOP" if len(stack) == 1 and not marks:
                    return stack[0]
                case "STOP":
                    break
                case name:
                    raise ValueError(f"it holds more than dicts, strings and numbers (the instruction {name})")
    except (IndexError, KeyError, TypeError, OverflowError):
        pass
    except UnicodeError:
        raise ValueError("it is no whole pickle (a string in it is damaged)") from None
    raise ValueError("it is no whole pickle")


def _above(stack: list[Any], length: int) -> list[Any]:
    """What is on the stack above its first `length` things, taken off it."""
    items = stack[length:]
    del stack[length:]
    return items


def _filled(filled: Any, items: list[Any]) -> dict:
    """A dict with more items, keys and values by turns. TypeError for what is no dict, or no key."""
    if type(filled) is not dict or len(items) % 2 or not all(type(key) in (str, int) for key in items[::2]):
        raise TypeError
    filled.update(zip(items[::2], items[1::2], strict=True))
    return filled

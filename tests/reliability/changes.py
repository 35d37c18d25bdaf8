"""What is done to a good file to make another of it: to its bytes, to its JSON, to the head of its tensors."""

import contextlib
import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np


def changed(content: bytes, rng: np.random.Generator) -> tuple[str, bytes | None]:
    """The name of a change, and what it makes of a file; None for a folder, a pipe or nothing in its place."""
    changes: list[Callable] = [*BYTES_CHANGES, *BYTES_CHANGES, removed]
    with contextlib.suppress(ValueError):
        json.loads(content)
        changes += 3 * JSON_CHANGES
    if len(content) > 8 and content[8:9] == b"{":
        changes += 3 * [header_changed]
    change = changes[rng.integers(len(changes))]
    return change.__name__.replace("_", " "), change(content, rng)


def removed(content: bytes, rng: np.random.Generator) -> None:
    """Something else, or nothing, is to come in the file's place."""


def bits_flipped(content: bytes, rng: np.random.Generator) -> bytes:
    array = np.frombuffer(content or b"\0", np.uint8).copy()
    array[rng.integers(len(array), size=rng.integers(1, 9))] ^= np.uint8(1 << rng.integers(8))
    return array.tobytes()


def cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: rng.integers(len(content) + 1)]


def emptied(content: bytes, rng: np.random.Generator) -> bytes:
    return b""


def doubled(content: bytes, rng: np.random.Generator) -> bytes:
    start, end = sorted(rng.integers(len(content) + 1, size=2))
    return content[:end] + content[start:end] * int(rng.integers(1, 4)) + content[end:]


def zeros_in_it(content: bytes, rng: np.random.Generator) -> bytes:
    start, end = sorted(rng.integers(len(content) + 1, size=2))
    return content[:start] + bytes(int(end - start)) + content[end:]


def bytes_put_in(content: bytes, rng: np.random.Generator) -> bytes:
    pieces = b"\xff\xfe", b"\0", b"\xed\xa0\x80", b"[" * 10**5, b"(" * 10**6, b'"', b"\n", b"9" * 5000, b"\xef\xbb\xbf"
    place = rng.integers(len(content) + 1)
    return content[:place] + pieces[rng.integers(len(pieces))] + content[place:]


def noise(content: bytes, rng: np.random.Generator) -> bytes:
    return rng.bytes(int(rng.integers(1, 2 * len(content) + 2)))


def lines_shuffled(content: bytes, rng: np.random.Generator) -> bytes:
    lines = content.split(b"\n")
    return b"\n".join(lines[i] for i in rng.integers(len(lines), size=len(lines)))


def numbers_replaced(content: bytes, rng: np.random.Generator) -> bytes:
    """A digit, wherever it stands, becomes an odd number."""
    places = [place for place, byte in enumerate(content) if 48 <= byte < 58] or [0]
    place = places[rng.integers(len(places))]
    odd = b"-1", b"1e999", b"NaN", b"9" * 30, b"0", b"1" + b"0" * 9, b"-Infinity", b"None", b"1j", b"[]", b"9**9**9**9"
    return content[:place] + odd[rng.integers(len(odd))] + content[place + 1 :]


BYTES_CHANGES = [
    bits_flipped, cut, emptied, doubled, zeros_in_it, bytes_put_in, noise, lines_shuffled, numbers_replaced,
]  # fmt: skip
ODD: list[Any] = [
    None, True, False, 0, -1, 1.5, 10**9, 10**30, -(10**400), 1e308, float("nan"), float("inf"), "", "1", "x" * 10**5,
    "\0", "\ud800", "../../..", "/dev/zero", "nan", [], {}, [[]], [None], {"": None}, [1, 2, 3], [0] * 10**5,
]  # fmt: skip


def parts(tree: Any) -> list[tuple[Any, Any]]:
    """(container, key) of all that JSON holds."""
    keys = tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    return [place for key in keys for place in ((tree, key), *parts(tree[key]))]


def value_replaced(content: bytes, rng: np.random.Generator) -> bytes:
    tree = json.loads(content)
    places = parts(tree)
    if places:
        for _ in range(rng.integers(1, 3)):
            container, key = places[rng.integers(len(places))]
            container[key] = ODD[rng.integers(len(ODD))]
    return json.dumps(tree).encode()


def value_moved(content: bytes, rng: np.random.Generator) -> bytes:
    """A value gets another's in its place."""
    tree = json.loads(content)
    if places := parts(tree):
        (to, key), (container, other) = (places[rng.integers(len(places))] for _ in range(2))
        to[key] = json.loads(json.dumps(container[other]))
    return json.dumps(tree).encode()


def key_missing(content: bytes, rng: np.random.Generator) -> bytes:
    tree = json.loads(content)
    if places := [(holder, key) for holder, key in parts(tree) if isinstance(holder, dict)]:
        holder, key = places[rng.integers(len(places))]
        del holder[key]
    return json.dumps(tree).encode()


def key_added(content: bytes, rng: np.random.Generator) -> bytes:
    tree = json.loads(content)
    holders = [tree, *(holder[key] for holder, key in parts(tree))]
    holders = [holder for holder in holders if isinstance(holder, dict)]
    if holders:
        names = "", "mine", "__class__", "seed", "wte.weight", "../x", "\0", "a" * 1000
        holders[rng.integers(len(holders))][names[rng.integers(len(names))]] = ODD[rng.integers(len(ODD))]
    return json.dumps(tree).encode()


def wholly_other(content: bytes, rng: np.random.Generator) -> bytes:
    return json.dumps(ODD[rng.integers(len(ODD))]).encode()


def nested(content: bytes, rng: np.random.Generator) -> bytes:
    depth = int(rng.choice([100, 1_000, 10**5, 5 * 10**6]))
    if rng.integers(2):
        return b"[" * depth + b"]" * depth
    tree = json.loads(content)
    if not (places := parts(tree)):
        return b'{"a":' * depth + b"1" + b"}" * depth
    container, key = places[rng.integers(len(places))]
    container[key] = "HERE"
    return json.dumps(tree).encode().replace(b'"HERE"', b"[" * depth + b"]" * depth)


def merges_doubled(content: bytes, rng: np.random.Generator) -> bytes:
    """Each merge of a tokenizer twice as long as the one before."""
    tree = json.loads(content)
    if isinstance(tree, dict) and "merges" in tree:
        tree["merges"] = [[97, 97], *([256 + n, 256 + n] for n in range(int(rng.integers(20, 60))))]
    return json.dumps(tree).encode()


JSON_CHANGES = [value_replaced, value_moved, key_missing, key_added, wholly_other, nested, merges_doubled]


def header_changed(content: bytes, rng: np.random.Generator) -> bytes:
    """The JSON at the head of a safetensors file."""
    (size,) = struct.unpack("<Q", content[:8])
    header = JSON_CHANGES[rng.integers(len(JSON_CHANGES))](content[8 : 8 + size], rng)
    odd = 0, 1, len(content), 2**40, 2**63, 2**64 - 1
    length = len(header) if rng.integers(4) else odd[rng.integers(len(odd))]
    return struct.pack("<Q", length) + header + content[8 + size :]

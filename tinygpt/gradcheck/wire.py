"""What passes between a reader's file, in a process of its own, and its judge: values and arrays, nothing that runs.

A message is a header in JSON, and after it the bytes of its arrays. What is neither a plain value nor an array stays on
its own side; in its place goes whatever `other` says.
"""

import builtins
import contextlib
import json
import os
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np

from tinygpt.backend import array_module, to_device, to_host
from tinygpt.errors import UserError

NAMES = 100  # characters of a name, and names, that are shown
LENGTHS = struct.Struct(">QQ")  # of header and arrays, in bytes
LARGEST = 4 << 20, 64 << 20  # that are sent and read
DEPTH = 20  # of lists within lists
DTYPE = re.compile(r"[<>|=][biufc]\d{1,2}")  # NumPy would read others as Python


def pack(value: Any, other: Callable[[Any], dict], seen: list, depth: int = 0) -> Any:
    """`value` as JSON holds it. `seen` gets the arrays and lists in it, in the order in which `unpack` meets them."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.generic) and value.dtype.kind in "biufc":
        seen.append(np.asarray(value))
        return {"array": value.dtype.str, "shape": [], "scalar": True}
    if hasattr(value, "__array_function__") and getattr(value, "dtype", np.dtype(object)).kind in "biufc":
        value = value.view(np.ndarray) if isinstance(value, np.ndarray) else value  # of no class of the reader's
        seen.append(value)
        where = {} if array_module(value) is np else {"device": "cuda"}
        return {"array": value.dtype.str, "shape": list(value.shape), **where}
    if depth < DEPTH:
        if isinstance(value, list):
            seen.append(value)
            return [pack(item, other, seen, depth + 1) for item in value]
        if isinstance(value, tuple):
            return {"tuple": [pack(item, other, seen, depth + 1) for item in value]}
        if isinstance(value, Mapping):
            pairs = value.items()
            return {"dict": [[pack(x, other, seen, depth + 1) for x in pair] for pair in pairs]}
    return other(value)


def unpack(packed: Any, arrays: memoryview, other: Callable[[dict], Any], seen: list, device: str = "cpu") -> Any:
    """What `pack` was given. `arrays`: the bytes of those not yet in `seen`, which gets them; device: "cuda" where some
    may be for a card. Raises ValueError, TypeError or KeyError for what no `pack` has made.
    """

    def made(packed: Any) -> Any:
        nonlocal arrays
        if isinstance(packed, list):
            value: list = []
            seen.append(value)
            value += map(made, packed)
            return value
        if not isinstance(packed, dict):
            return packed
        if "tuple" in packed:
            return tuple(map(made, packed["tuple"]))
        if "dict" in packed:
            return {made(key): made(x) for key, x in packed["dict"]}
        if "array" not in packed:
            return other(packed)
        shape, on = tuple(packed["shape"]), packed.get("device", "cpu")
        if not all(type(n) is int and n >= 0 for n in shape) or on not in ("cpu", device):
            raise ValueError(f"an array of shape {shape} on {on}")
        if not DTYPE.fullmatch(packed["array"]):
            raise ValueError(f"an array of {packed['array']}")
        dtype = np.dtype(packed["array"])
        count = int(np.prod(shape, dtype=object))
        x = np.frombuffer(arrays, dtype, count).reshape(shape).copy() if count else np.empty(shape, dtype)
        arrays = arrays[count * dtype.itemsize :]
        seen.append(x := to_device(x, on))
        return x[()] if packed.get("scalar") else x

    return made(packed)


def change(mine: Any, theirs: Any) -> None:
    """Do to an argument what the file did to its copy."""
    if isinstance(mine, list):
        mine[:] = theirs
    elif mine.shape == theirs.shape and mine.dtype == theirs.dtype:
        mine[...] = theirs
    else:
        raise UserError("changed the shape of an argument; it must leave its arguments as they are")


def content(seen: list) -> bytes:
    """The bytes of the arrays among `seen`. Raises MemoryError if they are more than a message may hold."""
    arrays = [x for x in seen if not isinstance(x, list)]
    if (size := sum(x.nbytes for x in arrays)) > LARGEST[1]:
        raise MemoryError(f"{size >> 20:,} MiB of arrays at once")
    return b"".join(to_host(x).tobytes() for x in arrays)


def send(pipe: int, header: Any, arrays: bytes = b"") -> None:
    """Write a message. Raises OSError if nobody is there to read it, ValueError if the header is too large."""
    text = json.dumps(header).encode()
    if len(text) > LARGEST[0]:
        raise ValueError(f"{len(text) >> 20:,} MiB of values at once")
    for part in (LENGTHS.pack(len(text), len(arrays)), text, arrays):
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(pipe, rest) :]


def receive(pipe: int) -> tuple[Any, memoryview] | None:
    """Read a message: its header and the bytes of its arrays; None at the end. Raises ValueError or RecursionError for
    what is none.
    """
    if not (start := _read(pipe, LENGTHS.size)):
        return None
    lengths = LENGTHS.unpack(start)
    if lengths[0] > LARGEST[0] or lengths[1] > LARGEST[1]:
        raise ValueError("a message that is too large")
    parts = [_read(pipe, length) for length in lengths]
    return None if None in parts else (json.loads(bytes(parts[0] or b"")), memoryview(parts[1] or b""))


def _read(pipe: int, count: int) -> bytearray | None:
    """`count` bytes; None if they end before."""
    content = bytearray()
    while len(content) < count:
        if not (piece := os.read(pipe, min(count - len(content), 1 << 20))):
            return None
        content += piece
    return content


class RaisedThere(Exception):
    """What a file raised in its process; each is of a class of the same name and the same built-in base as there.
    line: in the file, or None.
    """

    line: int | None = None


def raised(said: dict[str, Any]) -> RaisedThere:
    """An exception such as the file raised: its name, its words, and the nearest class of ours."""
    message, line = short(said["message"], 1000), said["line"]
    words = {"__str__": lambda _: message, "line": line if isinstance(line, int) else None, "msg": message}
    ours = [getattr(builtins, name, None) for name in said["bases"] if isinstance(name, str)]
    bases: list[type] = [UserError] if "UserError" in said["bases"] else []
    bases += [kind for kind in ours if isinstance(kind, type) and issubclass(kind, Exception)]
    for base in (*bases, Exception):
        kind: Any = type(short(said["type"]), (RaisedThere, base), words)
        with contextlib.suppress(TypeError):  # of a group of exceptions, which is not made of nothing
            return cast(Any, base).__new__(kind)
    raise AssertionError("Exception is a base that will do")


def short(text: Any, length: int = NAMES) -> str:
    """Words from over there, as far as they can be shown."""
    return str(text)[:length].encode("utf-8", "replace").decode()

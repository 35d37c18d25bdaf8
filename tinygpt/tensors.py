"""Safetensors files, one or the shards of an index: their tensors by name, each read when it is asked for."""

import contextlib
import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from tinygpt.conversions import what_it_is
from tinygpt.errors import UserError, brief
from tinygpt.files import opened, read_json

NUMPYS = "F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL", "C64"


class Stored(Mapping[str, np.ndarray]):
    """Tensors on the disk by name. shapes: theirs, known without reading them; metadata: what a file says of itself."""

    def __init__(self, tensors: Mapping[str, "TensorFile"], metadata: Mapping[str, str]):
        self._tensors, self.metadata = dict(tensors), dict(metadata)
        self.shapes = {name: file.shapes[name] for name, file in tensors.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._tensors[name].read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def only(self, names: list[str]) -> "Stored":
        """Those of these names."""
        return Stored({name: self._tensors[name] for name in names}, self.metadata)


class TensorFile:
    """One safetensors file, as the library has opened and checked it."""

    def __init__(self, path: Path, file: Any):
        self.path, self._file = path, file
        self.metadata: dict[str, str] = file.metadata() or {}
        self.shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118

    def read(self, name: str) -> np.ndarray:
        """A tensor; one in bfloat16 as float32, which has all its numbers. Raises UserError for another dtype that
        NumPy lacks, or if it cannot be read.
        """
        with _said_of(self.path):
            dtype = self._file.get_slice(name).get_dtype()
            if dtype == "BF16":
                return self._bfloat16(name)
            if dtype not in NUMPYS:
                problem = f"holds a dtype that NumPy lacks ({dtype} in {name[:100]})"
                raise UserError(f"{self.path} {problem}; save it in float32, float16 or bfloat16")
            return self._file.get_tensor(name)

    def _bfloat16(self, name: str) -> np.ndarray:
        """By hand, since NumPy has no bfloat16: it is the upper half of a float32."""
        length, header = self._header
        begin, end = header[name]["data_offsets"]
        with self.path.open("rb") as file:
            file.seek(8 + length + begin)
            halves = np.frombuffer(file.read(end - begin), "<u2")
        bits = halves.astype(np.uint32)
        bits <<= np.uint32(16)
        return bits.view(np.float32).reshape(self.shapes[name])

    @functools.cached_property
    def _header(self) -> tuple[int, dict[str, Any]]:
        """Its length in bytes, and where each tensor lies after it; the library has checked both."""
        with self.path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            return length, json.loads(file.read(length))


@contextlib.contextmanager
def stored_in(path: Path) -> Iterator[Stored]:
    """The tensors of a safetensors file, or of all the shards that an index names. Raises UserError for what is
    missing, damaged or no safetensors file.
    """
    with contextlib.ExitStack() as stack:
        if not path.name.endswith(".index.json"):
            file = _opened(path, stack)
            yield Stored(dict.fromkeys(file.shapes, file), file.metadata)
            return
        shard_of = _weight_map(path)
        files = {name: _opened(path.with_name(name), stack) for name in sorted(set(shard_of.values()))}
        for name, shard in shard_of.items():
            if name not in files[shard].shapes:
                problem = f"says that {name[:100]} is in {shard}, but that lacks it"
                raise UserError(f"{path} {problem}; they are not of one save, so take all files of one")
        yield Stored({name: files[shard] for name, shard in shard_of.items()}, {})


def _weight_map(index: Path) -> dict[str, str]:
    """Which shard holds which tensor. Raises UserError for an index that is damaged, leads out of its folder, or names
    shards that are missing.
    """
    shard_of = read_json(index).get("weight_map")
    if not isinstance(shard_of, dict) or not shard_of:
        raise UserError(f"{index} is damaged: its weight_map is {brief(shard_of)}; expected names of tensors and files")
    for shard in shard_of.values():
        if not isinstance(shard, str) or not re.fullmatch(r"[^/\\:\0]+\.safetensors", shard):
            raise UserError(
                f"{index} names the file {brief(shard)}; expected the name of a .safetensors file beside it"
            )
    shards = sorted(set(shard_of.values()))
    missing = [shard for shard in shards if not index.with_name(shard).exists()]
    if missing:
        some = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise UserError(
            f"{index.parent} lacks {some}, of the {len(shards)} files that {index.name} names; fetch them too"
        )
    return shard_of


def _opened(path: Path, stack: contextlib.ExitStack) -> TensorFile:
    with _said_of(path):
        if path.exists():
            with opened(path):  # a pipe, which the library would wait for, is a sentence
                pass
        return TensorFile(path, stack.enter_context(safe_open(path, framework="np")))


@contextlib.contextmanager
def _said_of(path: Path) -> Iterator[None]:
    """A sentence for what goes wrong while a file is read."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"could not read {path}: no such file") from error
    except (SafetensorError, OSError, ValueError) as error:
        if problem := what_it_is(path):
            raise UserError(f"{path} {problem}") from error
        raise UserError(f"{path} is damaged: not a whole safetensors file ({str(error)[:200]})") from error

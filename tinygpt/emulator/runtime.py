"""The runtime that kernels are linked with: compiled the first time, then loaded from the cache."""

import ctypes
from collections.abc import Mapping
from pathlib import Path

from tinygpt.emulator.compiling import HERE, Unit, library, missing
from tinygpt.emulator.errors import KernelError

FLAGS = (
    "-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing", "-fno-math-errno",
    "-U_FORTIFY_SOURCE",  # or longjmp refuses to leave a fiber's stack
    "-fcf-protection=none",  # nor may the processor keep a second stack of return addresses
)  # fmt: skip
Address, Size, Int = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int


class Argument(ctypes.Structure):
    """An array of a launch, as launch.cpp has it."""

    _fields_ = [("start", Size), ("size", Size), ("number", Int), ("item", Int)]


class Variable(ctypes.Structure):
    """A static shared variable."""

    _fields_ = [("start", Size), ("size", Size)]


class Launch(ctypes.Structure):
    """All else of a launch."""

    _fields_ = [
        ("enter", Address), ("arguments", Address),
        ("base", Size), ("code_end", Size),
        ("variables", ctypes.POINTER(Variable)), ("n_variables", Int), ("dynamic_size", Int),
        ("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3), ("checks", Int), ("profile", Int),
        ("seed", ctypes.c_uint64), ("seconds", ctypes.c_double),
    ]  # fmt: skip


class Line(ctypes.Structure):
    """What a source line moved, as profile.cpp has it."""

    _fields_ = [
        ("base", ctypes.c_uint64), ("pc", ctypes.c_uint32), ("shared", Int), ("write", Int),
        ("requests", ctypes.c_uint64), ("bytes", ctypes.c_uint64), ("units", ctypes.c_uint64),
        ("ideal", ctypes.c_uint64),
    ]  # fmt: skip


def build(changed: Mapping[str, str] | None = None) -> Path:
    """The runtime's library. changed: other texts for some of its files."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted(HERE.glob("*.cpp"))}
    return library([Unit(name, text, FLAGS) for name, text in (texts | dict(changed or {})).items()])


def load(path: Path) -> ctypes.PyDLL:
    """A runtime, loaded. PyDLL: no other Python thread runs meanwhile."""
    runtime = ctypes.PyDLL(str(path))
    longs = ctypes.POINTER(ctypes.c_long)
    runtime.emu_launch.restype, runtime.emu_launch.argtypes = ctypes.c_char_p, [Address, Address, Int]
    runtime.emu_register.restype, runtime.emu_register.argtypes = None, [Size, Size, ctypes.c_bool]
    runtime.emu_forget.restype, runtime.emu_forget.argtypes = None, [Size]
    runtime.emu_unwritten.restype = ctypes.c_long
    runtime.emu_unwritten.argtypes = [Size, Int, longs, longs, ctypes.c_long, ctypes.c_bool]
    runtime.emu_profile.argtypes = [Size, ctypes.POINTER(Line)]
    return runtime


_current: list[tuple[Path, ctypes.PyDLL]] = []


def current() -> ctypes.PyDLL:
    """The runtime of this process."""
    if not _current:
        if why := missing():
            raise KernelError(f"CUDA kernels cannot be emulated here: {why}")
        path = build()
        _current.append((path, load(path)))
    return _current[0][1]


def current_path() -> Path:
    current()
    return _current[0][0]


def build_current() -> Path:
    """The library of this process's runtime, made again if it is no longer there: kernels are linked with it."""
    path = current_path()
    return path if path.exists() else build()

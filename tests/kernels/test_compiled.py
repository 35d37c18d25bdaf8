"""How a card's kernels are found, compiled and launched, and what becomes of what they do not take."""

import re
import threading
import warnings

import numpy as np
import pytest

from tinygpt.errors import Note
from tinygpt.kernels.cuda import compiled


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "FOLDER", tmp_path)
    return tmp_path


class Module:
    """What a RawModule is asked for, kept."""

    def __init__(self):
        self.calls = []
        self.max_dynamic_shared_size_bytes = compiled.STATIC_SHARED

    def get_function(self, name):
        self.name = name
        return self

    def __call__(self, grid, block, args, shared_mem):
        self.calls.append((self.name, grid, block, args, shared_mem))


def test_included_files_stand_in_their_places_and_lines_keep_their_numbers(folder):
    (folder / "inner.h").write_text("int one;\n")
    (folder / "outer.h").write_text('#pragma once\n#include "inner.h"\nint two;\n')
    (folder / "k.cu").write_text('// a kernel\n#include "outer.h"\nint three;\n')
    place, numbered = ("k.cu", 1), {}
    for line in compiled.source("k.cu").splitlines():
        if line.startswith("#line"):
            _, number, name = line.split()
            place = name.strip('"'), int(number)
            continue
        numbered[line] = place
        place = place[0], place[1] + 1
    assert numbered["int one;"] == ("inner.h", 1)
    assert numbered["int two;"] == ("outer.h", 3)
    assert numbered["int three;"] == ("k.cu", 3)


def test_a_change_in_an_included_file_changes_the_text_that_is_compiled(folder):
    (folder / "a.h").write_text("int one;\n")
    (folder / "k.cu").write_text('#include "a.h"\n')
    before = compiled.source("k.cu")
    (folder / "a.h").write_text("int two;\n")
    assert compiled.source("k.cu") != before


def test_every_kernel_file_is_launched_from_a_module_beside_it():
    names = {path.stem for path in compiled.FOLDER.glob("*.cu")}
    text = "".join(path.read_text(encoding="utf-8") for path in compiled.FOLDER.glob("*.py"))
    named = set(re.findall(r'(?:compiled|kernels)\("(\w+)"', text))
    assert names and named >= names, names - named


@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_arguments_become_what_the_kernel_declares(real):
    module, x = Module(), np.ones(3)
    compiled.Kernels(module, real).launch("k", 2, (32, 4), x, None, 7, 0.5, np.uint64(2**63))
    ((name, grid, block, args, shared),) = module.calls
    assert (name, grid, block, shared) == ("k", (2,), (32, 4), 0)
    assert args[0] is x and [type(value) for value in args[1:]] == [np.uint64, np.int32, real, np.uint64]
    with pytest.raises(OverflowError):
        compiled.Kernels(module, real).launch("k", 1, 1, 2**31)


def test_more_shared_memory_than_usual_is_asked_for_first():
    module = Module()
    compiled.Kernels(module, np.float32).launch("k", 1, 32, shared=99 << 10)
    assert module.max_dynamic_shared_size_bytes == 99 << 10
    compiled.Kernels(module, np.float32).launch("k", 1, 32, shared=64 << 10)
    assert module.max_dynamic_shared_size_bytes == 99 << 10


def test_what_a_kernel_does_not_take_is_said_once_and_its_cache_is_known_again(monkeypatch):
    monkeypatch.setattr(compiled, "_told", set())
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for why in ("float16", "float16", "rows of 5,000"):
            out, cache = compiled.fall_back("layernorm", why, ("out", ("kept",)))
    assert out == "out" and isinstance(cache, compiled.OfDefinition) and cache == ("kept",)
    assert [str(note.message) for note in said] == [
        "the kernel of layernorm does not take float16; its definition computes it",
        "the kernel of layernorm does not take rows of 5,000; its definition computes it",
    ]
    assert all(note.category is Note for note in said)


def test_compiling_is_said_once_it_has_taken_a_second_in_all_and_only_then(monkeypatch):
    said = []
    monkeypatch.setattr(compiled._SaidIfSlow, "spent", 0.0)
    monkeypatch.setattr(compiled._SaidIfSlow, "said", False)
    monkeypatch.setattr(compiled.warnings, "warn", lambda note, **_: said.append(note))
    compiled.Kernels(Module(), np.float32).launch("k", 1, 32)
    assert not said and 0 < compiled._SaidIfSlow.spent < 1
    monkeypatch.setattr(compiled._SaidIfSlow, "spent", 1.5)  # as if the kernels before had taken that
    for _ in range(2):
        with compiled._SaidIfSlow() as slow:
            slow.timer.join(60)
    assert [str(note).partition(" ")[0] for note in said] == ["compiling"] and isinstance(said[0], Note)


def test_compiling_is_said_while_a_kernel_is_asked_for_as_cupy_compiles_only_then(monkeypatch):
    said = threading.Event()
    monkeypatch.setattr(compiled._SaidIfSlow, "spent", 1.5)
    monkeypatch.setattr(compiled._SaidIfSlow, "said", False)
    monkeypatch.setattr(compiled.warnings, "warn", lambda note, **_: said.set())

    class Compiling(Module):
        def get_function(self, name):
            assert said.wait(60)
            return super().get_function(name)

    compiled.Kernels(Compiling(), np.float32).launch("k", 1, 32)

"""Lesson 18 on a card, where it measures and keeps what it printed; where there is no g++, what it shows instead."""

import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest

from tinygpt import emulator, ops
from tinygpt.emulator import compiling
from tinygpt.parallel import blas_threads

LESSONS = Path(__file__).parents[2] / "lessons"
RECORDED = LESSONS / "recorded" / "18_cuda.txt"


@pytest.fixture
def lesson(tmp_path, monkeypatch):
    """Runs the lesson in a folder of its own, and returns what it has named."""
    for name in ("18_cuda.py", "kit.py", "text.txt"):
        shutil.copy(LESSONS / name, tmp_path)
    shutil.copytree(LESSONS / "recorded", tmp_path / "recorded")
    monkeypatch.delitem(sys.modules, "kit", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "argv", ["18_cuda.py"])

    def run():
        with blas_threads(1):  # as the lessons' kit leaves it
            return runpy.run_path(str(tmp_path / "18_cuda.py"), run_name="__main__")

    yield run
    sys.modules.pop("kit", None)


def test_lesson_18_measures_the_card_and_writes_it_down(card, lesson, tmp_path, monkeypatch, capsys):
    # the emulator would take minutes for the lesson's large arrays
    monkeypatch.setattr(ops, "twins", lambda device: {})
    lesson()
    printed = capsys.readouterr().out
    assert "this lesson runs on cuda, with cupy" in printed
    written = (tmp_path / "out" / "18_cuda.txt").read_text(encoding="utf-8")
    assert written in printed and "in TF32" in written and " to the card, " in written


@pytest.mark.skipif(emulator.missing() is not None, reason=f"kernels are emulated: {emulator.missing()}")
def test_what_is_recorded_is_what_the_kernels_print(lesson):
    """If not: python lessons/18_cuda.py --record"""
    printed = lesson()["said"]
    recorded = RECORDED.read_text(encoding="utf-8")
    assert "\n".join(f"## {name}\n{text}" for name, text in printed.items()) == recorded
    assert emulator.settings.seed == 0 and not emulator.settings.profile


def test_without_a_compiler_the_lesson_shows_what_was_recorded_and_says_what_to_install(lesson, monkeypatch, capsys):
    monkeypatch.setattr(emulator, "missing", lambda: "there is no g++, which compiles kernels")
    monkeypatch.setattr(compiling.shutil, "which", lambda program: None)
    lesson()
    printed = capsys.readouterr().out
    assert "Kernels cannot be run here: there is no g++" in printed and "sudo apt install g++ binutils" in printed
    for text in re.split(r"^## \w+\n", RECORDED.read_text(encoding="utf-8"), flags=re.M)[1:]:
        assert text.rstrip("\n") in printed

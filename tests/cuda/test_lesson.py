"""Lesson 18 on a card: it measures there, and keeps what it printed."""

import runpy
import shutil
import sys
from pathlib import Path

from tinygpt import ops
from tinygpt.parallel import blas_threads

LESSONS = Path(__file__).parents[2] / "lessons"


def test_lesson_17_measures_the_card_and_writes_it_down(card, tmp_path, monkeypatch, capsys):
    for name in ("18_cuda.py", "kit.py", "text.txt"):
        shutil.copy(LESSONS / name, tmp_path)
    monkeypatch.setattr(
        ops, "twins", lambda device: {}
    )  # the emulator would take minutes for the lesson's large arrays
    monkeypatch.delitem(sys.modules, "kit", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with blas_threads(1):  # as the lessons' kit leaves it
        runpy.run_path(str(tmp_path / "18_cuda.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "this lesson runs on cuda, with cupy" in printed
    written = (tmp_path / "out" / "18_cuda.txt").read_text(encoding="utf-8")
    assert written in printed and "in TF32" in written and " to the card, " in written
    sys.modules.pop("kit")

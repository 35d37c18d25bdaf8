"""The file in which a learner's progress is kept: those of earlier versions are read, damaged ones are put aside."""

import json

import pytest

from lessons.progress import changing, load

EARLIER = {
    "version": 1,
    "lessons": {"3": {"place": 4, "ended": True}},
    "exercises": {"merge": {"attempts": 2, "hints": 1, "done": True}},
}


def test_a_file_from_before_there_was_anything_to_derive_is_read(tmp_path):
    (tmp_path / "progress.json").write_text(json.dumps(EARLIER))
    progress = load(tmp_path)
    assert progress.lesson(3).ended and progress.exercise("merge").done
    assert progress.lesson(3).derived == [] and progress.waits is True


def test_what_was_derived_and_whether_to_wait_are_kept(tmp_path):
    with changing(tmp_path) as progress:
        progress.lesson(3).derived = ["backward(dout, cache)"]
        progress.waits = False
    assert load(tmp_path).lesson(3).derived == ["backward(dout, cache)"] and load(tmp_path).waits is False


@pytest.mark.parametrize(
    "damage",
    [
        {"waits": 1}, {"waits": None}, {"lessons": {"3": {"derived": [1]}}}, {"lessons": {"3": {"derived": "f(x)"}}},
        {"lessons": {"3": {"derived": None}}}, {"lessons": {"3": {"place": []}}},
    ],
)  # fmt: skip
def test_damaged_ones_are_put_aside(tmp_path, damage, capsys):
    (tmp_path / "progress.json").write_text(json.dumps(EARLIER | damage))
    assert load(tmp_path).lessons == {} and "kept as progress.1.json.bak" in capsys.readouterr().out

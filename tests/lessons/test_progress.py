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


def test_who_had_finished_gpt2_as_lesson_19_has_finished_lesson_20(tmp_path):
    kept = {"18": {"place": 1, "ended": False}, "19": {"place": 4, "ended": True}}
    (tmp_path / "progress.json").write_text(json.dumps(EARLIER | {"lessons": kept}))
    with changing(tmp_path) as progress:
        assert list(progress.lessons) == ["18", "20"] and progress.lesson(20).ended
    assert list(load(tmp_path).lessons) == ["18", "20"]  # and once written, is moved no further


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


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"version": 3, "lessons": {}, "exercises": {}}',
        b'{"version": [], "lessons": {}, "exercises": {}}',
        b'{"version": 1, "lessons": {}}',
        b'{"version": 1, "lessons": {"one": {"place": 0, "ended": true}}, "exercises": {}}',
        b'{"version": 1, "lessons": {"1": {"place": "0", "ended": true}}, "exercises": {}}',
        b'{"version": 1, "lessons": {"1": {"place": -1, "ended": true}}, "exercises": {}}',
        b'{"version": 1, "lessons": {}, "exercises": {"windows_at": {"tries": 1}}}',
        b'{"version": 1, "lessons": {}, "exercises": {"windows_at": {"right": 1}}}',
    ],
)
def test_progress_that_cannot_be_understood_is_kept_aside(lessons, work, content):
    work.mkdir()
    (work / "progress.json").write_bytes(content)
    (work / "progress.1.json.bak").write_bytes(b"an earlier one")
    status, out, _ = lessons("")
    assert status == 0 and out.count("note: ") == 1 and "kept as progress.2.json.bak, and progress starts anew" in out
    found = {path.name: path.read_bytes() for path in work.iterdir()}
    assert found == {"progress.1.json.bak": b"an earlier one", "progress.2.json.bak": content}
    assert "note" not in lessons("")[1]


def test_progress_of_two_commands_at_once_is_not_lost(work):
    with changing(work) as progress:
        progress.lesson(1).place = 3
    with changing(work) as progress:
        progress.exercise("windows_at").hints = 2
    kept = load(work)
    assert kept.lesson(1).place == 3 and kept.exercise("windows_at").hints == 2
    with pytest.raises(RuntimeError), changing(work) as progress:
        progress.lesson(1).place = 9
        raise RuntimeError
    assert load(work).lesson(1).place == 3  # what failed is not written

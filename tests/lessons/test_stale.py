"""What a change makes stale: the cells that read what was changed, and those that read what these bind."""

import threading
import types

import numpy as np
import pytest

from lessons.cells import Lesson
from lessons.runner import Runner
from lessons.stale import changed, fingerprints, reads


@pytest.fixture
def run(tmp_path):
    """Runs the cells of a made-up lesson, all of them, and gives its runner."""

    def run(*cells: str) -> Runner:
        path = tmp_path / "01_stale.py"
        path.write_text("".join(f"# %%\n{cell}\n" for cell in cells))
        runner = Runner(Lesson(1, "stale", path))
        with runner:
            for index in range(len(cells)):
                runner.run(index)
        assert not runner.troubles and not runner.ledger.stale
        return runner

    return run


def stale_after(runner, change):
    with runner, runner.changing():
        exec(change, runner.variables)
    return set(runner.ledger.stale)


FUNCTIONS = (
    "a = 1\nb = [1, 2]",
    "def f():\n    return g() + a\n\n\ndef g():\n    return len(b)",
    "print(f())",
    "a2 = 5\nprint(a2)",
    "class C:\n    def m(self):\n        return [a for _ in range(2)]\n\n\nc = C()",
    "print(c.m())",
)


@pytest.mark.parametrize(
    "change, stale",
    [
        ("a = 2", {2, 4, 5}),  # through functions, methods and comprehensions; making a C may run them
        ("a = 1", set()),  # the same value is no change
        ("b.append(3)", {2}),  # in place
        ("a2 = 6", set()),  # the cell that binds it would undo the change
        ("new = 1", set()),
        ("def g():\n    return 0", {2}),
        ("def g():\n\n    return len(b)", set()),  # on other lines the same function
        ("del b", {2}),
    ],
)
def test_a_change_at_the_prompt(run, change, stale):
    assert stale_after(run(*FUNCTIONS), change) == stale


def test_it_spreads_to_what_stale_cells_bind_and_is_undone_by_running_them(run):
    runner = run("x = np = 1", "y = x + 1", "print(y)", "print('alone')")
    assert stale_after(runner, "x = 5") == {1, 2}
    with runner:
        runner.run(2)  # it reads what a stale cell has left
        assert set(runner.ledger.stale) == {1, 2}
        runner.run(1)
        assert set(runner.ledger.stale) == {2}
        runner.run(2)
    assert not runner.ledger.stale and runner.outputs[2] == "6\n"


def test_running_a_cell_again_makes_stale_what_had_overwritten_its_names_if_anything_reads_them(run):
    runner = run("x = 1\nfor i in range(3):\n    pass", "x = 2\nfor i in range(5):\n    pass", "print(x)")
    with runner:
        runner.run(0)  # x is 1 again, which the third cell must not see
        assert set(runner.ledger.stale) == {1, 2}  # by x; i is read nowhere
        assert runner.ledger.stale[1] == {"x"}
        for index in (1, 2):
            runner.run(index)
    assert not runner.ledger.stale and runner.outputs[2] == "2\n"


def test_a_cell_to_come_that_reads_an_overwritten_name_counts_too(tmp_path):
    path = tmp_path / "01_stale.py"
    path.write_text("# %%\nx = 1\n\n# %%\nx = 2\n\n# %%\nprint(x)\n")
    with Runner(Lesson(1, "stale", path)) as runner:
        runner.run(0)
        runner.run(1)
        runner.run(0)
        assert set(runner.ledger.stale) == {1}
        runner.run(2)
        assert set(runner.ledger.stale) == {1, 2}  # its output is not the lesson's


def test_a_cell_that_is_run_again_finds_what_the_cells_before_it_bind_and_not_what_later_ones_do(run):
    runner = run("a = 1", "w = a + 1", "print(w)", "a = 10\nw = 0", "print(a, w)")
    with runner:
        assert runner.ledger.needed(2) == [0, 1]  # w, and a for it
        assert runner.ledger.needed(1, ["a"]) == [0] and runner.ledger.needed(4, ["a", "w"]) == []
        runner.run_again(2)
        assert runner.outputs[2] == "2\n" and set(runner.ledger.stale) == {3, 4}
        for index in (3, 4):
            runner.run_again(index)
        assert runner.outputs[4] == "10 0\n" and not runner.ledger.stale
        with runner.changing():
            runner.variables["w"] = 7
        assert runner.ledger.needed(2) == []  # what the reader has set holds
        runner.run_again(2)
    assert runner.outputs[2] == "7\n"


def test_running_a_cell_again_that_gives_the_same_makes_nothing_stale(run):
    runner = run("import random\nx = {'a': [1, 'b']}\n\n\ndef f():\n    return x", "print(f(), x, random)")
    with runner:
        runner.run(0)
    assert not runner.ledger.stale


def test_a_reader_who_explores_is_not_stopped_by_what_the_words_say(run):
    runner = run("x = 1", "assert x == 1\nprint('on')")
    assert stale_after(runner, "x = 2") == {1}
    with runner:
        runner.run(1)
    assert not runner.troubles and runner.outputs[1] == "on\n"


def test_what_is_read_before_it_is_bound_is_read_outside():
    cell = "a = b\nb = c\nprint([a + d for _ in c])\nclass C:\n    e = f\ndef g():\n    return h\n"
    assert reads(compile(cell, "<test>", "exec")) >= {"b", "c", "print", "d", "f"}
    assert not reads(compile(cell, "<test>", "exec")) & {"a", "e", "g", "h"}


@pytest.mark.parametrize(
    "value, change",
    [
        (np.zeros(3), lambda value: value.__setitem__(0, 1)),
        (np.random.default_rng(1), lambda value: value.random()),
        ({"a": [np.zeros(2)]}, lambda value: value["a"].append(1)),
        (types.SimpleNamespace(x=1), lambda value: setattr(value, "x", 2)),
        ([lambda: 1], lambda value: value.__setitem__(0, lambda: 2)),
    ],
)
def test_what_is_changed_in_place_is_seen(value, change):
    before = fingerprints({"value": value})
    assert not changed(before, fingerprints({"value": value}))
    change(value)
    assert changed(before, fingerprints({"value": value})) == {"value"}


def test_what_cannot_be_written_down_is_another_if_it_is_another_object():
    ring: list = []
    ring.append(ring)
    values = {"lock": threading.Lock(), "generator": (one for one in "ab"), "ring": ring, "module": types}
    assert not changed(fingerprints(values), fingerprints(values))
    assert changed(fingerprints(values), fingerprints(values | {"lock": threading.Lock()})) == {"lock"}

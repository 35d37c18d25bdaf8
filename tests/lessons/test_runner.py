"""A lesson's cells run in one namespace: what is kept of what they print, and what is said of what goes wrong."""

import pytest

from lessons import runner
from lessons.cells import Lesson
from lessons.runner import Runner


@pytest.fixture
def made(tmp_path):
    """Makes the runner of a lesson of some cells."""

    def make(*cells):
        path = tmp_path / "01_made.py"
        path.write_text("\n".join(f"# %%\n{cell}" for cell in cells), encoding="utf-8")
        return Runner(Lesson(1, "made", path))

    return make


def test_all_that_is_printed_is_shown_and_what_is_kept_is_bounded(made):
    shown = []
    with made("for _ in range(300):\n    print('x' * 9_999)") as run:
        run.run(0, lambda text: shown.append(len(text)))
    assert sum(shown) == 3_000_000
    assert run.outputs[0].endswith("x\n(2,000,000 more characters were printed)\n")
    assert len(run.outputs[0]) < runner.MOST + 100


def test_many_small_pieces_are_kept_in_order(made):
    with made("for i in range(5000):\n    print(i, end=' ')") as run:
        run.run(0)
    assert run.outputs[0] == "".join(f"{i} " for i in range(5000)) + "\n"


def test_who_reads_no_more_ends_a_lesson_and_a_cell_that_says_so_does_not(made):
    def left(text):
        raise BrokenPipeError

    with made("print('to nobody')", "raise BrokenPipeError('of the cell')") as run:
        with pytest.raises(BrokenPipeError):
            run.run(0, left)
        run.run(1)
    assert run.troubles[1].endswith("BrokenPipeError: of the cell\n")


def test_a_traceback_has_the_lines_of_the_text_that_was_run(made):
    with made("def f():\n    return 1", "f()") as run:
        run.run(0)
        run.edit(0, "# longer than the cell was\n\n\n\ndef f():\n    return 1 / 0")
        run.run(0)
        run.run(1)
        assert run.troubles[1] == (
            "  01_made.py, line 5, in <module>\n    f()\n"
            "  cell 1 as you changed it, line 6, in f\n    return 1 / 0\nZeroDivisionError: division by zero\n"
        )
        run.edit(0, "def f(n=0):\n    return f(n + 1)")
        run.run(0)
        run.run(1)
    assert " more ...\n" in run.troubles[1] and run.troubles[1].count("line 2, in f") == runner.FRAMES - 1
    assert "RecursionError" in run.troubles[1]


@pytest.mark.parametrize("text", ["x = (", "\0", "'\ud800'", "(" * 300 + ")" * 300])
def test_a_text_that_is_no_code_can_be_put_into_a_cell_and_is_said_when_it_is_run(made, text):
    with made("x = 1") as run:
        run.edit(0, text)
        run.run(0)
        assert run.troubles[0]
        run.edit(0, "x = 2")
        run.run(0)
        assert not run.troubles and run.variables["x"] == 2


def test_output_that_a_cell_closes_is_there_for_the_next(made):
    with made("import sys\nsys.stdout.close()\nsys.stderr.close()", "print('on')") as run:
        run.run(0)
        run.run(1)
    assert run.outputs[1] == "on\n"

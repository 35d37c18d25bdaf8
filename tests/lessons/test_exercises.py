"""A lesson declares its exercises itself: a heading is all there is to it."""

import pytest

from lessons.__main__ import main
from lessons.cells import Lesson, find_lessons
from lessons.exercises import EXERCISES, Exercise, asked_in, find_exercises
from tests.lessons.conftest import HINTS, LESSONS
from tinygpt.errors import UserError

FOURTH = """\
# %% [markdown]
# # 4. Softmax once more
#
# ## Your turn: softmax (backward)
"""


@pytest.mark.parametrize(
    "heading, asked",
    [
        ("## Your turn: layernorm", [("layernorm", ())]),
        ("## Your turn: embedding, linear", [("embedding", ()), ("linear", ())]),
        ("## Your turn: block (backward)", [("block", ("backward",))]),
        ("## Your turn: gelu, mlp (forward, _half), draw", [("gelu", ()), ("mlp", ("forward", "_half")), ("draw", ())]),
        ("## Your turn", []),
        ("Your turn: layernorm", []),
    ],
)
def test_what_a_heading_asks_for(tmp_path, heading, asked):
    path = tmp_path / "04_softmax.py"
    path.write_text(f"# %% [markdown]\n# # 4. Softmax\n#\n# {heading}\n#\n# Words.\n\n# %%\nraise SystemExit\n")
    assert asked_in(Lesson(4, "softmax", path)) == [Exercise(name, 4, functions) for name, functions in asked]


def test_the_exercises_of_the_course_are_those_of_its_lessons():
    assert EXERCISES == find_exercises(find_lessons(LESSONS)) and EXERCISES["attention"].lesson == 10


def test_a_lesson_that_is_dropped_into_the_folder_is_found_with_its_exercise(folder, capsys):
    (folder / "04_softmax.py").write_text(FOURTH)
    (folder / "hints" / "softmax.md").write_text(HINTS)
    file = folder / "work" / "softmax.py"

    def said(*arguments, status=0):
        assert main([*arguments], folder) == status
        return capsys.readouterr().out

    assert "4  Softmax once more        softmax\n" in said()
    assert "softmax.py is written." in said("start", "4")
    exercise = find_exercises(find_lessons(folder))["softmax"]
    assert file.read_text() == exercise.blank() and file.read_text().count("is yours to write") == 1
    assert "is as it was given" in said("check", "4", status=1)
    file.write_text(exercise.blank() + "\n")
    assert "forward is right in all" in said("check", "softmax", status=1)
    file.write_text(exercise.solution())
    assert "softmax is right." in said("check", "4")
    assert "softmax, hint 1 of 3" in said("hint", "4")
    assert "the engine's" in said("solution", "4") and "softmax.1.py.bak" in said("reset", "4")


def test_what_is_no_part_of_the_engine_is_listed_and_said_when_it_is_begun(folder, capsys):
    (folder / "04_softmax.py").write_text(FOURTH.replace("softmax (backward)", "sofmax"))
    assert main([], folder) == 0 and "sofmax" in capsys.readouterr().out
    assert main(["start", "4"], folder) == 1
    assert "lesson 4 asks for sofmax, which is no part of the engine; expected one of " in capsys.readouterr().err
    with pytest.raises(UserError, match="layernorm"):
        Exercise("sofmax", 4).blank()

"""A lesson's file read as cells."""

import pytest

from lessons import checks
from lessons.cells import Cell, Lesson, find_lessons, parse
from tests.lessons.conftest import DERIVING, FIRST, LESSONS


def test_prose_loses_its_comment_marks_and_code_stays_as_it_is():
    prose, code = "# # 1. A title\n#\n#     indented\n#no blank\n", "# a comment\nx = 1\n\n\ny = 2\n\n"
    source = f"# %% [markdown]\n{prose}\n# %%\n{code}\n# %%\nz = 3"
    assert list(parse(source)) == [
        Cell("# 1. A title\n\n    indented\nno blank", 2, is_code=False),
        Cell("# a comment\nx = 1\n\n\ny = 2", 8, is_code=True),
        Cell("z = 3", 16, is_code=True),
    ]


def test_a_cell_knows_the_line_on_which_it_begins():
    lines = FIRST.splitlines()
    for cell in parse(FIRST):
        first = cell.text.splitlines()[0]
        assert lines[cell.line - 1] == (first if cell.is_code else f"# {first}")


def test_what_stands_before_the_first_marker_is_code_and_empty_cells_are_left_out():
    cells = list(parse('"""A docstring."""\n\n# %%\n\n# %% [markdown]\n#\n\n# %% a name of the cell\npass\n# %%\n'))
    assert [(cell.text, cell.line, cell.is_code) for cell in cells] == [
        ('"""A docstring."""', 1, True),
        ("pass", 9, True),
    ]
    assert list(parse("")) == []


def test_a_marker_inside_a_line_or_an_indented_one_begins_no_cell():
    assert [cell.text for cell in parse("# %%\nx = '# %%'\n    # %%\n# %%% three")] == [
        "x = '# %%'\n    # %%\n# %%% three"
    ]


def test_lessons_are_found_by_number_with_their_titles(folder):
    lessons = find_lessons(folder)
    assert [(number, one.number, one.name, one.title) for number, one in lessons.items()] == [
        (1, 1, "arrays", "Small arrays"), (2, 2, "trouble", "Trouble"), (3, 3, "reading", "To read")
    ]  # fmt: skip
    (folder / "04_untitled.py").write_text("# %%\n# # 4. A comment, no heading\n")
    assert find_lessons(folder)[4].title == "untitled"


def test_every_lesson_of_the_course_has_a_title_and_begins_with_prose():
    lessons = find_lessons(LESSONS)
    assert lessons
    for lesson in lessons.values():
        assert lesson.cells[0].text.startswith(f"# {lesson.number}. {lesson.title}"), lesson.path


def test_a_marker_names_the_call_that_is_derived_and_answers_come_last():
    cells = list(parse(DERIVING))
    assert [cell.derive for cell in cells if cell.derive] == ["backward(dout, forward(x, w)[1])"]
    assert [cell.is_answer for cell in cells] == [False] * 10 + [True] * 2
    assert next(parse("# %% derive:f(x)\nf = 1")).derive == "f(x)"
    assert not next(parse("# %% to derive: f(x)\nf = 1")).derive


@pytest.mark.parametrize(
    "second, minutes, optional",
    [("*25 minutes*", 25, False), ("*40 minutes, optional*", 40, True), ("25 minutes", 0, False), ("Prose.", 0, False)],
)
def test_a_lesson_says_how_long_it_takes(tmp_path, second, minutes, optional):
    path = tmp_path / "01_one.py"
    path.write_text(f"# %% [markdown]\n# # 1. One\n#\n# {second}\n#\n# *5 minutes, optional*\n")
    lesson = Lesson(1, "one", path)
    assert (lesson.minutes, lesson.optional) == (minutes, optional)
    path.write_text("")
    assert not Lesson(1, "one", path).minutes


@pytest.mark.parametrize(
    "code, shown, number",
    [
        ("x = 1\nstated('1', x)\nassert x\nprint(x)", "x = 1\nprint(x)", 2),
        ("x = 1\n\n# why\nassert (\n    x\n)\n\ny = 2", "x = 1\n\ny = 2", 1),
        ("for a, b in c:\n    stated(a, b)\n", "", 1),
        ("for a in c:\n    print(a)\n    stated('1', a)", "for a in c:\n    print(a)\n    stated('1', a)", 0),
        ("def f(x):\n    assert x\n    return x", "def f(x):\n    assert x\n    return x", 0),
    ],
)
def test_what_checks_the_words_is_folded_and_nothing_else(code, shown, number):
    assert checks.fold(code) == (shown, number)


@pytest.mark.parametrize(
    "code",
    ["import os", "'''says'''\n\ndef f():\n    print(1)\n\nassert f", "stated('1', 1)", "for i in x:\n    y = i"],
)
def test_there_is_nothing_to_foresee_where_nothing_comes_out(code):
    assert checks.is_silent(code)
    assert not checks.is_silent(code + "\nwith plot('x') as axes:\n    axes.plot(x)")
    assert not checks.is_silent(code + "\nfor i in x:\n    print(i)")

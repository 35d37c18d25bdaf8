"""A lesson's file read as cells."""

from lessons.cells import Cell, find_lessons, parse
from tests.lessons.conftest import FIRST, LESSONS


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

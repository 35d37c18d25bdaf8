"""What stands on the screen: no more than a screenful, no wider than it, and checks folded into a line."""

import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from lessons import display
from lessons.screen import Fold, Printing, Screen
from tests.lessons.conftest import LESSONS
from tests.lessons.terminal import ESCAPE, Terminal, piped, terminal


def walked(folder, *arguments, columns):
    """What a lesson shows from its top to its end, between one question to the reader and the next, all derivations
    skipped: none of it higher or wider than the terminal.
    """
    shown = [""]
    with Terminal(folder, *arguments, rows=24, columns=columns, NO_COLOR="1") as screen:
        while not re.search(r"cell (\d+) of \1 \[Enter b", shown[-1]):
            shown.append(ESCAPE.sub("", screen.until_any("?] ", "skips] ", "derive> ")))
            screen.type("s\n" if shown[-1].endswith("derive> ") else "\n")
            assert shown[-1].count("\n") <= 24, shown[-1]  # the row of what was typed has scrolled up, seen
            assert max(map(cell_len, re.split("[\n\r]", shown[-1]))) <= columns, shown[-1]
            assert len(shown) < 150
    return shown


@terminal
@pytest.mark.parametrize("columns", [80, 40])
def test_nothing_scrolls_past_unseen_and_nothing_is_wider_than_the_terminal(deriving, columns):
    shown = walked(deriving, 4, columns=columns)
    whole = ESCAPE.sub("", "".join(shown))
    assert [line for line in whole.split("\n") if line.startswith("row ")] == [f"row {n} of forty" for n in range(40)]
    assert "more, once the cell has run" in whole and re.search(r"\[Enter: \d+ more rows, s skips\]", whole)
    wide = "wide " + 30 * "0123456789"
    assert wide in re.sub(r"\n┊ ", "", whole)


@terminal
@pytest.mark.parametrize("columns", [80, 40])
def test_a_lesson_of_the_course_fits_the_terminal(columns, tmp_path):
    shown = "".join(walked(LESSONS, 7, "--work", tmp_path, columns=columns))
    assert "# 7. LayerNorm" in shown and "## To read on" in shown and "│ def backward" in shown
    assert "Traceback" not in shown and "is stale" not in shown


@terminal
def test_checks_are_folded_into_a_line_and_run_and_c_unfolds_them(deriving):
    with Terminal(deriving, 4, rows=24, NO_COLOR="1") as screen:
        first = screen.until()
        assert "┊ 1 check of what the words say\n" in first and 'stated("6"' not in first
        assert '│ stated("6", x.size)' in screen.after("c")
        shown = screen.after("8")
        assert "┊ 2 checks of what the words say" in shown and "# three" not in shown and "for text" not in shown
        assert "1 of 2\r2 of 2\r" in screen.after("")
        assert "of 2\r" not in screen.after("8")  # what a counter wrote over itself is not shown again
    text = (deriving / "04_deriving.py").read_text()
    (deriving / "04_deriving.py").write_text(text.replace('stated("6"', 'stated("7"'))
    process = piped(deriving, 4)
    assert process.returncode == 1 and "┊ 1 check of what the words say" in process.stdout
    assert "AssertionError" in process.stdout


@terminal
def test_with_colours_what_is_printed_is_no_wider_either(deriving):
    with Terminal(deriving, 4, rows=60) as screen:
        screen.until()
        screen.after("8")
        shown = screen.after("")
    rows = re.split("[\n\r]", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown))
    assert max(map(cell_len, rows)) == 80 and f"┊ {'0123456789' * 8}"[:80] not in rows[0]


def test_what_a_cell_prints_is_folded_between_words_and_inside_those_that_are_too_wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    fold = Fold(Console(width=20, color_system=None))
    assert fold("of the town that is there\n") == "of the town that is \n┊ there\n"
    assert fold("in the middle of it, a town\n") == "in the middle of it,\n┊ a town\n"
    assert fold("it is " + "0123456789" * 2 + "\n") == "it is 01234567890123\n┊ 456789\n"
    assert fold("12345678901234567890\n") == "12345678901234567890\n"
    assert fold("one") + fold(" ") + fold("two of them at once\n") == "one two of them at \n┊ once\n"
    assert fold("\x1b[1mone two three four five\x1b[0m\n") == "\x1b[1mone two three four \n┊ five\x1b[0m\n"


def test_columns_that_are_too_wide_stand_one_under_the_other():
    block = """\
```
x = (2, 3)     axis 0: 2 rows     (3,)
               axis 1: 3 columns  (2,)

dx  means      what comes back
```"""
    narrow, wide = (Console(width=width, color_system=None) for width in (22, 40))
    assert display.markdown(block, wide).split("\n")[0].strip() == "x = (2, 3)     axis 0: 2 rows     (3,)"
    rows = [row.strip() for row in display.markdown(block, narrow).split("\n")]
    assert rows == [
        "x = (2, 3)", "", "axis 0: 2 rows", "axis 1: 3 columns", "", "(3,)", "(2,)", "",
        "dx  means", "", "what comes back", "",
    ]  # fmt: skip
    code = "```python\nx = 3          # a comment here\n```"  # is no row of columns
    assert display.markdown(code, narrow).count("\n") == 2


def test_nobody_is_asked_to_go_on_to_blank_rows(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or "")
    screen = Screen(Console(height=4, width=20), live=True)
    screen.show("1\n2\n3\n\n \n")
    assert not asked and capsys.readouterr().out == "1\n2\n3\n"
    screen.show("\n")
    assert not asked
    screen.show("4\n\n")
    assert asked == ["[Enter: 1 more row, s skips] "] and capsys.readouterr().out == "4\n"
    screen.used = 1
    with Printing(screen) as printing:  # no note on what is held back either
        printing.write("5\n\n\n")
    assert len(asked) == 1 and capsys.readouterr().out == "5\n\n"

"""`python -m lessons 1`, in a real pseudo-terminal."""

import json
import re

import pytest

from tests.lessons.terminal import ESCAPE, Terminal, place, terminal


@terminal
def test_enter_goes_on_to_the_end_and_each_cell_is_run_once_as_it_is_reached(at_once):
    with Terminal(at_once, 1, NO_COLOR="1") as screen:
        first = screen.until()
        assert "1. Small arrays" in first and "first cell 01_arrays.py" in first and "x is" not in first
        assert "cell 2 of 6" in first
        second = screen.after("")
        assert "## More" in second and "\nx is 2 after" in second and "cell 4 of 6" in second
        assert "y is 20" in screen.after("")
        assert "The last words." in screen.after("")
        screen.type("\n")
        closing = screen.rest()
        assert "The end of lesson 1. Its exercise: python -m lessons start 1" in closing
        assert screen.status == 0 and place(at_once, 1) == {"place": 0, "ended": True, "derived": []}


@terminal
def test_back_shows_a_cell_again_without_running_it_and_r_runs_it(at_once):
    with Terminal(at_once, 1, NO_COLOR="1") as screen:
        screen.until()
        assert "\nx is 2 after" in screen.after("")
        screen.after("p", ">>> ")
        screen.after("x = 7", ">>> ")
        screen.after("exit()")
        assert "y is 70" in screen.after("")  # a change at the prompt has its effect on what follows
        back = screen.after("b")
        assert "\nx is 2 after" in back and "x is 7" not in back and "cell 4 of 6" in back
        assert "\nx is 7 after" in screen.after("r")
        assert "\ny is 70" in screen.after("")  # it was run before and is not again: y is 10 times the old x
        assert "\nfirst cell" in screen.after("1")
        assert "This is the first cell." in screen.after("b")


@terminal
@pytest.mark.parametrize("leaving", ["exit", "quit()", "\x04"])
def test_the_prompt_holds_the_lessons_variables_and_comes_back(at_once, leaving):
    with Terminal(at_once, 1, NO_COLOR="1") as screen:
        screen.until()
        assert "names so far: x" in screen.after("p", ">>> ")
        assert "\n40\n" in screen.after("x * 20", ">>> ")
        assert "ZeroDivisionError" in screen.after("1 / 0", ">>> ")
        screen.type(leaving + ("" if leaving == "\x04" else "\n"))
        assert "cell 2 of 6" in screen.until()
        assert "cell 4 of 6" in screen.after("")


@terminal
@pytest.mark.parametrize("leaving", ["q\n", "\x04", "\x03"])
def test_leaving_remembers_the_place_and_resuming_runs_what_stands_before_it(at_once, leaving):
    with Terminal(at_once, 1, NO_COLOR="1") as screen:
        screen.until()
        screen.after("")
        screen.after("")
        screen.type(leaving)
        assert "Your place, cell 5 of 6, is kept; go on with: python -m lessons 1" in screen.rest()
        assert screen.status == 0
    assert place(at_once, 1) == {"place": 4, "ended": False, "derived": []}
    with Terminal(at_once, 1, NO_COLOR="1") as screen:
        resumed = screen.until()
        assert "y is 20" in resumed and "cell 5 of 6" in resumed
        assert "first cell" not in resumed and "x is" not in resumed  # run, but silently
    with Terminal(at_once, 1, "--start", NO_COLOR="1") as screen:
        assert "cell 2 of 6" in screen.until()


@terminal
def test_another_work_folder_has_its_own_place(folder):
    with Terminal(folder, 1, "--work", "mine") as screen:
        screen.until()
        screen.type("q\n")
        assert "go on with: python -m lessons 1 --work mine" in screen.rest()
    assert (folder.parent / "mine" / "progress.json").exists() and not (folder / "work").exists()


@terminal
def test_a_number_goes_to_that_cell_and_keys_that_are_none_get_a_line(at_once):
    with Terminal(at_once, 1, NO_COLOR="1") as screen:
        screen.until()
        jumped = screen.after("5")
        assert "y is 20" in jumped and "x is 2" not in jumped and "cell 5 of 6" in jumped
        assert "There is no cell 7; the lesson has 6." in screen.after("7")
        assert "There is no cell 0; the lesson has 6." in screen.after("0")
        assert "There is no key 'z'; ? lists them." in screen.after("z")
        for key in ("?", "h"):
            assert "run the cell again" in screen.after(key)
        assert "There is no code here to run." in (screen.after("") and screen.after("r"))


@terminal
def test_a_cell_that_raises_shows_its_own_lines_and_stays(at_once):
    source = (at_once / "02_trouble.py").read_text().splitlines()
    with Terminal(at_once, 2, NO_COLOR="1") as screen:
        assert "Now: python -m lessons start 2" in screen.until()  # below what asks for it
        screen.after("")
        shown = screen.after("")
        calling, raising = source.index('    fail("on purpose")') + 1, source.index("    raise ValueError(what)") + 1
        assert f'02_trouble.py, line {calling}, in <module>\n    fail("on purpose")\n' in shown
        assert f"02_trouble.py, line {raising}, in fail\n    raise ValueError(what)\n" in shown
        assert "ValueError: on purpose\n" in shown and "stepper.py" not in shown and "cell 3 of 4" in shown
        assert "ValueError: on purpose" in screen.after("r")
        assert "r runs the cell again, Enter goes on without it." in screen.after("b") + screen.after("")
        (at_once.parent / "do not wait").touch()
        assert "waited" in screen.after("")


@terminal
def test_jumping_over_a_cell_that_raises_stops_there(at_once):
    with Terminal(at_once, 2, NO_COLOR="1") as screen:
        screen.until()
        shown = screen.after("4")
        assert "ValueError: on purpose" in shown and "cell 3 of 4" in shown and "waiting" not in shown


@terminal
def test_ctrl_c_stops_a_cell_and_stays(at_once):
    with Terminal(at_once, 2, NO_COLOR="1") as screen:
        screen.until()
        screen.after("")
        screen.after("")
        screen.after("", "\nwaiting\n")
        screen.type("\x03")
        shown = screen.until()
        assert "Stopped by Ctrl-C." in shown and "cell 4 of 4" in shown and "waited" not in shown
        (at_once.parent / "do not wait").touch()
        assert "\nwaiting\nwaited\n" in screen.after("r")


@terminal
def test_a_narrow_terminal_gets_no_line_that_is_wider(at_once):
    with Terminal(at_once, 1, columns=40, NO_COLOR="1") as screen:
        shown = screen.until() + screen.after("")
    shown = ESCAPE.sub("", shown)
    assert '│ print("x is", x, "after a line of code\n┊     that' in shown and "A second piece of prose, long" in shown
    assert "\nx is 2 after a line of code that is \n┊ longer than forty characters\n" in shown
    assert max(map(len, shown.split("\n"))) <= 40, max(shown.split("\n"), key=len)


@terminal
@pytest.mark.parametrize("without", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_without_colour_there_are_no_escape_sequences(at_once, without):
    with Terminal(at_once, 1, **without) as screen:
        shown = screen.until() + screen.after("") + screen.after("?")
        screen.type("q\n")
        shown += screen.rest()
    assert "\x1b" not in ESCAPE.sub("", shown)
    assert "# 1. Small arrays" in shown and "`code`, **weight**" in shown  # marked by Markdown's own marks instead


@terminal
def test_with_colour_code_is_highlighted_and_prose_rendered(folder):
    with Terminal(folder, 1) as screen:
        shown = screen.until()
    assert "\x1b[1m1. Small arrays" in shown and "\x1b[1mweight\x1b[0m" in shown and "**" not in shown
    assert re.search(r"\x1b\[\d+mimport\x1b\[0m os", shown)
    assert "source (\x1b[2mhttps://example.org/page" in shown  # an address that can be read, and not only clicked


@terminal
def test_a_screen_that_is_too_low_for_prose_and_code_shows_them_one_after_the_other(at_once):
    with Terminal(at_once, 1, rows=11, NO_COLOR="1") as screen:
        shown = screen.until()
        assert "1. Small arrays" in shown and "import os" not in shown and "cell 1 of 6" in shown
        assert "first cell" in screen.after("")


@terminal
def test_a_lesson_that_became_shorter_since_is_resumed_at_its_end(folder):
    (folder / "work").mkdir()
    kept = {"version": 1, "lessons": {"1": {"place": 99, "ended": False}}, "exercises": {}}
    (folder / "work" / "progress.json").write_text(json.dumps(kept))
    with Terminal(folder, 1, NO_COLOR="1") as screen:
        assert "The last words." in screen.until()


# Look first


@terminal
def test_code_is_shown_and_run_by_the_next_enter_and_w_turns_that_off_and_on(folder):
    with Terminal(folder, 1, NO_COLOR="1") as screen:
        first = screen.until()
        assert 'print("first cell"' in first and "\nfirst cell" not in first and "[Enter runs it" in first
        assert "\nfirst cell" in screen.after("")
        assert "\nx is 2" not in screen.after("")
        screen.after("p", ">>> ")
        screen.after("x = 7", ">>> ")
        assert "[Enter runs it" in screen.after("exit()")
        assert "\nx is 7" in screen.after("")
        assert "run as it is shown" in screen.after("w")
        assert "\ny is 70" in screen.after("")
        screen.type("q\n")
        screen.rest()
    with Terminal(folder, 1, "--start", NO_COLOR="1") as screen:
        assert "\nfirst cell" in screen.until()
        assert "when you press Enter" in screen.after("w")
        assert "\nx is 2" not in screen.after("")


@terminal
def test_leaving_before_the_last_cell_was_run_is_not_reading_to_the_end(folder):
    (folder / "01_arrays.py").write_text("# %% [markdown]\n# # 1. Last\n\n# %%\nprint('last words')\n")
    with Terminal(folder, 1, NO_COLOR="1") as screen:
        screen.until()
        screen.type("q\n")
        assert "is kept" in screen.rest()
    assert not place(folder, 1)["ended"]
    with Terminal(folder, 1, NO_COLOR="1") as screen:
        screen.until()
        screen.after("")
        screen.type("\n")
        assert "The end of lesson 1." in screen.rest()
    assert place(folder, 1)["ended"]


# Stale


@terminal
def test_what_read_a_changed_name_is_marked_and_run_again_one_or_all(at_once):
    with Terminal(at_once, 1, NO_COLOR="1") as screen:
        screen.until()
        screen.after("")
        assert "stale" not in screen.after("")
        screen.after("p", ">>> ")
        screen.after("x = 7", ">>> ")
        assert "stale now, by what has changed: cells 4, 5; s runs" in screen.after("exit()")
        back = screen.after("b")
        assert back.index("stale: x was changed since") < back.index("\nx is 2")
        again = screen.after("r")
        assert "\nx is 7" in again and "stale" not in again
        assert "stale: x was changed" in screen.after("")  # cell 5 is still to be run
        everything = screen.after("s")
        assert "cell 5\ny is 70" in everything and "x is 7" not in everything
        assert "No cell is stale." in screen.after("s")
        assert "stale" not in screen.after("4") + screen.after("5")
        screen.after("2")
        assert "stale now, by what has changed: cells 4, 5" in screen.after("r")  # x is 2 again
        everything = screen.after("s")
        assert everything.index("x is 2") < everything.index("y is 20")


# Stop and derive


@terminal
def test_a_line_of_python_at_a_key_prompt_is_told_where_it_belongs(deriving):
    with Terminal(deriving, 4, rows=13, NO_COLOR="1") as screen:
        assert "typed at the prompt that p opens." in screen.until() + screen.after("x.shape").replace("\n", " ")
        assert "Now you:" in screen.after("5")
        said = screen.after("dscaled = dout @ W.T * 12345678").replace("\n", " ")
        assert "There is no key 'dscaled = dout @ W.T * 12345678'; ? lists them." in said
        assert "Lines are asked for at derive>, which comes with the next Enter." in said
        screen.after("", "derive> ")
        screen.after("s")
        screen.after("b")
        assert "at derive>; d derives again." in screen.after("dx = dout").replace("\n", " ")
        assert "Write it before you read it" in screen.after("d", "derive> ")  # as the words on this page ask
        assert "cell 6 of 10" in screen.after("s")
        screen.after("1")
        assert "There is nothing here to derive." in screen.after("D")


@terminal
def test_a_function_is_derived_line_by_line_before_it_is_shown(deriving):
    def says(line):
        return " ".join(screen.after(line, "derive> ").split())

    with Terminal(deriving, 4, rows=24, NO_COLOR="1") as screen:
        screen.until()
        asked = screen.after("5", "derive> ")
        assert "def backward" not in asked and "(dscaled * x)" not in asked
        assert "x (2,3), w (3,)" in asked and "wanted dx (2 parts), dscaled, dw" in re.sub(" +", " ", asked)
        assert "dw is not there yet" not in says("dscaled = dout") and "(1 of 4)" not in says("dscaled.shape")
        assert "dscaled stands already" in says("dscaled = -dout")
        assert "dw has the shape (2, 3), and (3,) is expected." in says("dw = dscaled * x")
        assert "The sign of dw is the wrong one." in says("dw = -(dscaled * x).sum(axis=0)")
        assert "constant factor: it is 2 times" in says("dw = 2 * (dscaled * x).sum(axis=0)")
        assert "dx is not there yet" in says("dw = dx")
        assert "SyntaxError" in says("dw = (dscaled") and "^" in says("dw = = 1")
        assert "The first part of dx stands (2 of 4); another comes back from a second place." in says("dx = dout")
        assert "dx stands (3 of 4)." in says("dx = dx + dscaled * w")
        assert "wanted dw" in says("?")
        done = screen.after("dw = (dscaled * x).sum(axis=0)")
        assert "All 4 stand." in done and done.index("All 4") < done.index("│ def backward")
        screen.type("q\n")
        screen.rest()
    assert place(deriving, 4)["derived"] == ["backward(dout, forward(x, w)[1])"]
    with Terminal(deriving, 4, NO_COLOR="1") as screen:
        assert "│ def backward" in screen.until()  # it is remembered, and asked for again only by d
        assert "Write it before you read it" in screen.after("d", "derive> ")


@terminal
@pytest.mark.parametrize("lines", [["", ""], ["s"], ["!", "!", "!", "!"]])
def test_a_derivation_can_be_left_to_the_lesson_and_is_not_remembered_as_done(deriving, lines):
    with Terminal(deriving, 4, rows=24, NO_COLOR="1") as screen:
        screen.until()
        screen.after("5", "derive> ")
        for line in lines[:-1]:
            shown = screen.after(line, "derive> ")
            assert ("Show the lesson's own?" if line == "" else "│ d") in shown and "def backward" not in shown
        assert "│ def backward" in screen.after(lines[-1])
        screen.after("p", ">>> ")
        assert "\n(2, 3)\n" in screen.after("backward(dout, (x, w))[0].shape", ">>> ")  # it was run
        screen.after("exit()")
    assert place(deriving, 4)["derived"] == []


@terminal
def test_a_key_that_is_a_name_of_the_lesson_is_not_offered(deriving):
    path = deriving / "04_deriving.py"
    path.write_text(path.read_text().replace("import numpy as np\n", "import numpy as np\n\ns = 8.0\n", 1))
    with Terminal(deriving, 4, NO_COLOR="1") as screen:
        screen.until()
        assert "Enter twice skips. Any other" in " ".join(screen.after("5", "derive> ").split())
        assert "skip: the lesson's own" not in screen.after("?", "derive> ")
        assert "\n8.0\n" in screen.after("s", "derive> ")
        screen.after("", "derive> ")
        assert "│ def backward" in screen.after("")


@terminal
def test_leaving_a_derivation_keeps_the_place(deriving):
    with Terminal(deriving, 4, rows=24, NO_COLOR="1") as screen:
        screen.until()
        screen.after("5", "derive> ")
        screen.type("\x04")
        assert "is kept; go on with: python -m lessons 4" in screen.rest()
    with Terminal(deriving, 4, NO_COLOR="1") as screen:
        screen.until("derive> ")


# Your turn, and the answers


@terminal
def test_a_piece_that_is_right_is_not_asked_for_again(deriving):
    work = deriving / "work"
    work.mkdir()
    (work / "merge.py").touch()
    kept = {"lessons": {"4": {"place": 8}}, "exercises": {"merge": {"done": True}}}
    (work / "progress.json").write_text(json.dumps({"version": 1} | kept))
    with Terminal(deriving, 4, NO_COLOR="1") as screen:
        shown = screen.until()
        assert "Your turn: merge" in shown and "merge is right already." in shown and "Now:" not in shown


@terminal
def test_below_your_turn_stands_what_to_type_and_at_the_end_are_the_answers(deriving):
    with Terminal(deriving, 4, rows=24, NO_COLOR="1") as screen:
        screen.until()
        shown = screen.after("9")
        assert "Your turn: merge" in shown and "Questions" not in shown
        assert "Now: python -m lessons start 4" in shown
        end = screen.after("")
        assert "The answers are folded; a shows them." in end and "Twice" not in end
        answers = screen.after("a")
        assert "**1. Twice.**" in answers and "answered: False" in answers  # on their own

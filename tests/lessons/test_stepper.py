"""`python -m lessons 1`, in a real pseudo-terminal and into a pipe."""

import json
import os
import re
import sys

import pytest

from tests import children

terminal = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are not on Windows")
ESCAPE = re.compile(r"\x1b\[\?2004[hl]")  # readline's bracketed paste: a line editor's own
PROMPT = "[Enter b r p q ?] "


def inherited() -> dict[str, str]:
    """The environment without what would decide how wide and how colourful things are."""
    deciding = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
    return {name: value for name, value in os.environ.items() if name not in deciding}


class Terminal(children.Terminal):
    """The lessons of a folder in a pseudo-terminal."""

    def __init__(self, folder, *arguments, columns=80, rows=40, **environment):
        super().__init__(
            "-m", "lessons", *arguments, columns=columns, rows=rows, cwd=folder.parent,
            env={**inherited(), "TERM": "xterm-256color", **environment},
        )  # fmt: skip

    def until(self, expected: str = PROMPT) -> str:
        return super().until(expected)

    def after(self, line: str, expected: str = PROMPT) -> str:
        """What is shown when a line is typed, until `expected`."""
        self.type(line + "\n")
        return self.until(expected)


def place(folder, number):
    return json.loads((folder / "work" / "progress.json").read_text())["lessons"][str(number)]


def piped(folder, *arguments, **environment):
    environment = {**inherited(), "PYTHONIOENCODING": "utf-8", **environment}
    return children.run("-m", "lessons", *arguments, cwd=folder.parent, env=environment, encoding="utf-8")


@terminal
def test_enter_goes_on_to_the_end_and_each_cell_is_run_once_as_it_is_reached(folder):
    with Terminal(folder, 1, NO_COLOR="1") as screen:
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
        assert screen.status == 0 and place(folder, 1) == {"place": 0, "ended": True}


@terminal
def test_back_shows_a_cell_again_without_running_it_and_r_runs_it(folder):
    with Terminal(folder, 1, NO_COLOR="1") as screen:
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
def test_the_prompt_holds_the_lessons_variables_and_comes_back(folder, leaving):
    with Terminal(folder, 1, NO_COLOR="1") as screen:
        screen.until()
        assert "names so far: x" in screen.after("p", ">>> ")
        assert "\n40\n" in screen.after("x * 20", ">>> ")
        assert "ZeroDivisionError" in screen.after("1 / 0", ">>> ")
        screen.type(leaving + ("" if leaving == "\x04" else "\n"))
        assert "cell 2 of 6" in screen.until()
        assert "cell 4 of 6" in screen.after("")


@terminal
@pytest.mark.parametrize("leaving", ["q\n", "\x04", "\x03"])
def test_leaving_remembers_the_place_and_resuming_runs_what_stands_before_it(folder, leaving):
    with Terminal(folder, 1, NO_COLOR="1") as screen:
        screen.until()
        screen.after("")
        screen.after("")
        screen.type(leaving)
        assert "Your place, cell 5 of 6, is kept; go on with: python -m lessons 1" in screen.rest()
        assert screen.status == 0
    assert place(folder, 1) == {"place": 4, "ended": False}
    with Terminal(folder, 1, NO_COLOR="1") as screen:
        resumed = screen.until()
        assert "y is 20" in resumed and "cell 5 of 6" in resumed
        assert "first cell" not in resumed and "x is" not in resumed  # run, but silently
    with Terminal(folder, 1, "--start", NO_COLOR="1") as screen:
        assert "cell 2 of 6" in screen.until()


@terminal
def test_another_work_folder_has_its_own_place(folder):
    with Terminal(folder, 1, "--work", "mine") as screen:
        screen.until()
        screen.type("q\n")
        assert "go on with: python -m lessons 1 --work mine" in screen.rest()
    assert (folder.parent / "mine" / "progress.json").exists() and not (folder / "work").exists()


@terminal
def test_a_number_goes_to_that_cell_and_keys_that_are_none_get_a_line(folder):
    with Terminal(folder, 1, NO_COLOR="1") as screen:
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
def test_a_cell_that_raises_shows_its_own_lines_and_stays(folder):
    source = (folder / "02_trouble.py").read_text().splitlines()
    with Terminal(folder, 2, NO_COLOR="1") as screen:
        screen.until()
        shown = screen.after("")
        calling, raising = source.index('    fail("on purpose")') + 1, source.index("    raise ValueError(what)") + 1
        assert f'02_trouble.py, line {calling}, in <module>\n    fail("on purpose")\n' in shown
        assert f"02_trouble.py, line {raising}, in fail\n    raise ValueError(what)\n" in shown
        assert "ValueError: on purpose\n" in shown and "stepper.py" not in shown and "cell 3 of 4" in shown
        assert "ValueError: on purpose" in screen.after("r")
        assert "r runs the cell again, Enter goes on without it." in screen.after("b") + screen.after("")
        (folder.parent / "do not wait").touch()
        assert "waited" in screen.after("")


@terminal
def test_jumping_over_a_cell_that_raises_stops_there(folder):
    with Terminal(folder, 2, NO_COLOR="1") as screen:
        screen.until()
        shown = screen.after("4")
        assert "ValueError: on purpose" in shown and "cell 3 of 4" in shown and "waiting" not in shown


@terminal
def test_ctrl_c_stops_a_cell_and_stays(folder):
    with Terminal(folder, 2, NO_COLOR="1") as screen:
        screen.until()
        screen.after("")
        screen.after("", "\nwaiting\n")
        screen.type("\x03")
        shown = screen.until()
        assert "Stopped by Ctrl-C." in shown and "cell 4 of 4" in shown and "waited" not in shown
        (folder.parent / "do not wait").touch()
        assert "\nwaiting\nwaited\n" in screen.after("r")


@terminal
def test_a_narrow_terminal_gets_no_line_that_is_wider(folder):
    with Terminal(folder, 1, columns=40, NO_COLOR="1") as screen:
        shown = screen.until() + screen.after("")
    shown = ESCAPE.sub("", shown)
    assert '│ print("x is", x, "after a line of code\n┊     that' in shown and "A second piece of prose, long" in shown
    written = [line for line in shown.split("\n") if not line.startswith("x is 2")]  # what code prints is left as it is
    assert max(map(len, written)) <= 40, max(written, key=len)


@terminal
@pytest.mark.parametrize("without", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_without_colour_there_are_no_escape_sequences(folder, without):
    with Terminal(folder, 1, **without) as screen:
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
def test_a_screen_that_is_too_low_for_prose_and_code_shows_them_one_after_the_other(folder):
    with Terminal(folder, 1, rows=12, NO_COLOR="1") as screen:
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


def test_into_a_pipe_everything_is_printed_from_top_to_bottom(folder):
    process = piped(folder, 1)
    assert process.returncode == 0 and process.stderr == ""
    parts = ["# 1. Small arrays", "│ x = 2", "\nfirst cell", "## More", "x is 2 after", "y is 20", "The last words."]
    places = [process.stdout.index(part) for part in parts]
    assert places == sorted(places)
    assert all(c == "\n" or c.isprintable() for c in process.stdout)
    assert '│ print("x is", x, "after a line of code that is longer than forty characters")\n' in process.stdout
    assert "Enter" not in process.stdout and "cell 2 of" not in process.stdout
    assert not [line for line in process.stdout.split("\n") if line != line.rstrip()]
    assert place(folder, 1)["ended"]


def test_into_a_pipe_a_width_can_be_asked_for(folder):
    lines = piped(folder, 1, COLUMNS="40").stdout.split("\n")
    assert max(len(line) for line in lines if not line.startswith("x is 2")) <= 40


def test_into_a_pipe_a_forced_colour_is_no_reason_for_escape_sequences(folder):
    assert "\x1b" not in piped(folder, 1, FORCE_COLOR="1", TERM="xterm-256color").stdout


def test_into_a_pipe_a_cell_that_raises_ends_it_with_status_1(folder):
    process = piped(folder, 2)
    assert process.returncode == 1 and process.stderr.startswith("error: cell 3 of lesson 2")
    assert process.stdout.endswith("ValueError: on purpose\n") and "waiting" not in process.stdout


@terminal
def test_a_reader_of_the_pipe_who_leaves_is_no_traceback(folder):
    (folder / "01_arrays.py").write_text("# %%\nfor number in range(10**5):\n    print(number)\n")
    with children.started("-m", "lessons", 1, cwd=folder.parent) as process:
        assert process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == "" and process.wait() == 1
    assert not (folder / "work").exists()  # nobody read it to its end


def test_a_cell_finds_what_it_would_find_when_its_lesson_is_run_as_a_file(folder):
    (folder / "kit.py").write_text("import sys\n\n\ndef whose():\n    return sys.modules['__main__'].__file__\n")
    lesson = folder / "04_itself.py"
    lesson.write_text(
        "# %% [markdown]\n# # 4. Itself\n\n# %%\nimport inspect\nimport sys\n\nfrom kit import whose\n\n\n"
        "def function():\n    return 1\n\n\nclass Class:\n    two = 2\n\n\n# %%\n"
        "print(inspect.getsource(function), inspect.getsource(Class))\n"
        "print(whose() == __file__ == sys.argv[0], __name__, function.__module__)\n"
    )
    process = piped(folder, 4)
    assert process.returncode == 0, process.stdout + process.stderr
    as_a_file = children.run(lesson, encoding="utf-8")
    printed = process.stdout[process.stdout.rindex("│") :].split("\n", 1)[1]
    assert printed.strip() == as_a_file.stdout.strip() and "True __main__ __main__" in printed

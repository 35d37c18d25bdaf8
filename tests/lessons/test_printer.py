"""A lesson into a pipe, from top to bottom, and its answers."""

from tests import children
from tests.lessons.terminal import inherited, piped, place, terminal


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
    assert not (folder / "work").exists()  # nobody read it


@terminal
def test_into_a_pipe_from_a_terminal_a_lesson_counts_as_read(folder):
    printing = "import subprocess, sys; subprocess.run([sys.executable, '-m', 'lessons', '1'], stdout=subprocess.PIPE)"
    with children.Terminal("-c", printing, cwd=folder.parent, env=inherited()) as screen:
        screen.rest()
    assert place(folder, 1)["ended"]


@terminal
def test_onto_a_terminal_from_nowhere_a_lesson_is_printed_and_not_read(folder):
    printing = (
        "import subprocess, sys; "
        "subprocess.run([sys.executable, '-m', 'lessons', '1'], stdin=subprocess.DEVNULL, check=True)"
    )
    with children.Terminal("-c", printing, rows=10, cwd=folder.parent, env=inherited()) as screen:
        assert "The last words." in screen.rest()
    assert not (folder / "work").exists()


def test_into_a_pipe_a_width_can_be_asked_for(folder):
    lines = piped(folder, 1, COLUMNS="40").stdout.split("\n")
    assert max(map(len, lines)) <= 40


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


def test_answers_are_printed_and_run_on_their_own(deriving):
    process = piped(deriving, "answers", 4)
    assert process.returncode == 0 and process.stderr == ""
    assert "Twice." in process.stdout and "\nanswered: False\n" in process.stdout and "# 4." not in process.stdout
    assert "Twice." not in piped(deriving, 4).stdout and not (deriving / "work").exists()
    process = piped(deriving, "answers", 1)
    assert process.returncode == 1
    assert process.stderr == "error: lesson 1, Small arrays, has no answers; it asks no questions\n"
    assert "one lesson at a time: python -m lessons answers 4" in piped(deriving, "answers", 4, 1).stderr

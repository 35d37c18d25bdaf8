"""`python -m lessons`: the list, and start, check, hint, solution, reset."""

import json
import os
import re
import sys

import pytest

from lessons.checking import in_short
from lessons.exercises import Exercise
from tests.lessons.terminal import Terminal, terminal
from tinygpt.own_layers.judge import Checked

WRONG = "def windows_at(tokens, starts, block_size):\n    return 3\n"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def solve(lessons, work, *names):
    work.mkdir(exist_ok=True)
    for name in names:
        (work / f"{name}.py").write_text(lessons.exercises[name].solution())


def read(work, *numbers):
    """As if these lessons had been stepped through."""
    work.mkdir(exist_ok=True)
    path = work / "progress.json"
    kept = json.loads(path.read_text()) if path.exists() else {"version": 1, "lessons": {}, "exercises": {}}
    kept["lessons"] |= {str(number): {"place": 0, "ended": True} for number in numbers}
    path.write_text(json.dumps(kept))


# The list


def test_the_list_says_what_is_done_in_progress_and_next(lessons, work):
    status, out, err = lessons("")
    assert status == 0 and err == "" and not work.exists()
    rows = [re.split(r"  +", line.strip()) for line in out.splitlines()[:3]]
    assert rows == [["1", "Small arrays", "next", "windows_at"], ["2", "Trouble", "merge, draw"], ["3", "To read"]]
    assert out.endswith("\n\nNext: python -m lessons 1\n")

    read(work, 1)
    assert "in progress" in lessons("")[1] and "Next: python -m lessons start 1" in lessons("")[1]
    lessons("start 1")
    assert "windows_at begun" in lessons("")[1] and "Next: python -m lessons check 1" in lessons("")[1]
    solve(lessons, work, "windows_at")
    lessons("check 1")
    rows = [re.split(r"  +", line.strip()) for line in lessons("")[1].splitlines()[:2]]
    assert rows == [["1", "Small arrays", "done", "windows_at done"], ["2", "Trouble", "next", "merge, draw"]]

    read(work, 2)
    solve(lessons, work, "merge")
    lessons("check merge")
    out = lessons("")[1]
    assert "in progress  merge done, draw" in out and "Next: python -m lessons start draw" in out
    solve(lessons, work, "draw")
    lessons("check draw")
    assert "3  To read       next" in lessons("")[1]  # it has no exercise: reading it is all
    read(work, 3)
    assert "All lessons are done." in lessons("")[1] and "python train.py --mine lessons" in lessons("")[1]


def test_a_finished_exercise_does_not_make_a_lesson_done_that_was_not_read(lessons, work):
    solve(lessons, work, "windows_at")
    lessons("check windows_at")
    out = lessons("")[1]
    assert "in progress  windows_at done" in out and "Next: python -m lessons 1" in out


def test_the_list_fits_a_narrow_terminal(lessons, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    out = lessons("")[1]
    assert max(map(len, out.splitlines())) <= 40 and "draw" in out


# start


def test_start_writes_the_blank_and_never_over_a_file(lessons, work):
    status, out, _ = lessons("start 2")
    assert status == 0 and out.count("is written") == 2 and "python -m lessons check draw" in out
    assert contents(work) == {f"{name}.py": lessons.exercises[name].blank().encode() for name in ("merge", "draw")}
    (work / "merge.py").write_text("mine = True\n")
    before = contents(work)
    status, out, _ = lessons("start merge")
    assert status == 0 and contents(work) == before
    path = os.path.join("lessons", "work", "merge.py")
    assert out == f"{path} is there already and was left alone; to begin anew: python -m lessons reset merge\n"


def test_another_work_folder(lessons, tmp_path, work):
    status, out, _ = lessons("start 1 --work elsewhere")
    assert status == 0 and (tmp_path / "elsewhere" / "windows_at.py").exists() and not work.exists()
    assert "python -m lessons check windows_at --work elsewhere" in out
    assert lessons("--work elsewhere check 1")[0] == 1 and lessons("--work elsewhere")[0] == 0


# check


def test_check_says_what_is_wrong_and_what_is_right(lessons, work):
    lessons("start 1")
    status, out, _ = lessons("check 1")
    assert status == 1 and "is as it was given; fill in what is missing" in out and "WRONG" not in out
    (work / "windows_at.py").write_text(WRONG)
    for _ in range(2):
        status, out, _ = lessons("check windows_at")
        assert status == 1 and "WRONG" in out and "what is wrong:" in out
        assert "windows_at is not right yet. For a hint: python -m lessons hint windows_at" in out
    solve(lessons, work, "windows_at")
    status, out, _ = lessons("check lessons/work/windows_at.py")  # a file says which exercise it is
    assert status == 0 and "checks right" in out and "windows_at is right." in out
    assert out.endswith("Next: python -m lessons 2\n")
    (work / "windows_at.py").write_text(WRONG)
    assert lessons("check 1")[0] == 1
    assert "windows_at begun" in lessons("")[1]  # done means that it is right, and no longer that it was


def test_every_attempt_is_checked_with_other_numbers(lessons, work, monkeypatch):
    seeds, check = [], Exercise.check
    monkeypatch.setattr(Exercise, "check", lambda self, path, seed: seeds.append(seed) or check(self, path, seed))
    lessons("start 1")
    lessons("check 1")  # of the blank: no attempt
    (work / "windows_at.py").write_text(WRONG)
    lessons("check 1")
    solve(lessons, work, "windows_at")
    lessons("check 1")
    assert seeds == [0, 1]


def test_check_of_two_exercises_needs_both(lessons, work):
    solve(lessons, work, "merge")
    status, out, _ = lessons("check 2")
    assert status == 1 and "merge is right." in out and "draw is not begun: there is no" in out
    assert "python -m lessons start draw" in out
    solve(lessons, work, "draw")
    assert lessons("check 2")[0] == 0 and lessons("check merge draw")[0] == 0


def test_after_a_piece_that_is_right_comes_the_rest_of_a_lesson_that_was_left(lessons, work):
    solve(lessons, work, "windows_at")
    (work / "progress.json").write_text('{"version": 1, "lessons": {"1": {"place": 3}}, "exercises": {}}')
    assert lessons("check 1")[1].endswith("Next: python -m lessons 1  (from cell 4)\n")
    read(work, 1)
    assert lessons("check 1")[1].endswith("Next: python -m lessons 2\n")


def test_what_is_the_same_in_every_case_is_said_once(lessons, work):
    work.mkdir()
    (work / "windows_at.py").write_text(WRONG.replace("3", "tokens.no_such"))
    out = lessons("check 1")[1]
    cases = out.partition("\n\nwhat is wrong:\n")[0].splitlines()
    assert len(cases) > 2 and all(re.fullmatch(r"windows_at\S*.* +WRONG", case) for case in cases)
    assert out.count("AttributeError") == 1 and out.count("> 2 |     return tokens.no_such") == 1


def test_of_a_check_that_is_higher_than_the_screen_only_the_first_report_is_whole():
    report = "{}: WRONG, dx by 1.0 (tolerance 1e-09)\n\n     shape\ndx   (2,)\n"
    below = "worst relative error 1.0\n3 of 3 checks WRONG\n\nwhat is wrong:\nthe sign"
    text = "\n".join(["layer.py  WRONG", "", *map(report.format, ("layer.py", "layer.py, no bias")), below])
    checked = Checked(False, text, "the sign")
    assert in_short(checked, 40) == text
    short = in_short(checked, 10)
    assert short.count("dx by") == 1 and "no bias" not in short and short.endswith("\n\n" + below)
    assert in_short(Checked(True, "all right\n"), 1) == "all right"


@terminal
def test_no_sentence_is_wider_than_the_terminal_and_no_word_is_cut(folder):
    path = folder / "work" / "windows_at.py"
    path.parent.mkdir()
    text = "def windows_at(tokens, starts, block_size):\n    return tokens.no_such_thing, 'a long line of some words'\n"
    path.write_text(text)

    def shown(*arguments):
        with Terminal(folder, *arguments, columns=50, NO_COLOR="1") as screen:
            rows = screen.rest().split("\n")
        assert max(map(len, rows)) <= 50 and not any(row.endswith(" ") for row in rows), rows
        return rows

    checked = shown("check", 1)
    assert "'numpy.ndarray'" in " ".join(checked) and "python -m lessons hint" in " ".join(checked)
    difference = shown("solution", 1)
    assert "-    return tokens.no_such_thing, 'a long line of" in difference and "┊        some words'" in difference
    assert "draw was not tried yet" in " ".join(shown("solution", "draw"))
    assert "see python -m lessons check --help" in " ".join(shown("check", 1, "--such-a-flag-is-not-there"))
    assert "second" in " ".join(shown("--help"))
    (folder / "work" / "progress.json").write_text("no JSON")
    assert "and progress starts anew" in " ".join(shown("hint", 1))


# hint


def test_hints_come_one_after_the_other_and_the_last_again(lessons):
    assert "No hint for windows_at was given yet" in lessons("hint 1 --all")[1]
    for number, words in enumerate(["Which number?", "A **small** one.", "`1`"], start=1):
        status, out, _ = lessons("hint 1")
        assert status == 0 and out == f"windows_at, hint {number} of 3\n\n{words}\n\n"
    status, out, _ = lessons("hint windows_at")
    assert status == 0 and out.startswith("That was the last hint; here it is again.")
    assert "hint 3 of 3" in out and "python -m lessons solution windows_at" in out
    assert re.findall(r"hint \d of 3", lessons("hint 1 --all")[1]) == ["hint 1 of 3", "hint 2 of 3", "hint 3 of 3"]
    assert "merge, hint 1 of 3" in lessons("hint merge")[1]  # each exercise has its own count


def test_of_a_lesson_with_two_exercises_a_hint_is_spent_of_the_first_that_is_not_done(lessons, work):
    assert re.findall(r"\w+, hint \d", lessons("hint 2")[1]) == ["merge, hint 1"]
    solve(lessons, work, "merge")
    lessons("check merge")
    assert re.findall(r"\w+, hint \d", lessons("hint 2")[1]) == ["draw, hint 1"]
    assert re.findall(r"\w+, hint \d", lessons("hint 2 --all")[1]) == ["merge, hint 1", "draw, hint 1"]


def test_an_exercise_without_hints_says_so(lessons, folder):
    (folder / "hints" / "windows_at.md").unlink()
    status, _, err = lessons("hint 1")
    assert status == 1 and err == "error: there are no hints for windows_at; the lesson says what is to be written\n"


# solution


def test_the_solution_is_shown_after_an_attempt_or_to_who_insists(lessons, work):
    lessons("start 1")
    lessons("check 1")  # of the blank: no attempt
    status, out, err = lessons("solution 1")
    assert status == 1 and out == "" and "windows_at was not tried yet" in err and "solution windows_at --yes" in err
    status, out, _ = lessons("solution 1 --yes")
    assert status == 0 and out.startswith("windows_at: - what was given; + the engine's\n")
    assert re.search(r"^-    raise NotImpl.*\n\+    places = .*\n\+    return tokens\[places\]", out, re.M)
    (work / "windows_at.py").write_text(WRONG)
    lessons("check 1")
    status, out, _ = lessons("solution 1")
    assert (
        status == 0
        and "- yours, lessons" in out
        and "\n-    return 3\n" in out
        and "\n+    return tokens[places]" in out
    )
    assert "solution windows_at --whole" in out


def test_the_difference_is_short_where_little_is_other_and_none_where_nothing_is(lessons, work):
    work.mkdir()
    (work / "merge.py").write_text(lessons.exercises["merge"].solution().replace("i += 2", "i += 3"))
    out = lessons("solution merge --yes")[1]
    assert re.search(r"\n-            i \+= 3\n\+            i \+= 2\n", out) and out.count("\n") < 16
    solve(lessons, work, "merge")
    assert "There is no difference" in lessons("solution merge --yes")[1]


def test_both_files_are_shown_whole_where_that_is_asked_for(lessons, work):
    work.mkdir()
    assert "yours" not in lessons("solution windows_at --yes --whole")[1]  # nothing is begun
    (work / "windows_at.py").write_text(WRONG)
    out = lessons("solution windows_at --yes --whole")[1]
    places = [out.index(words) for words in ("yours", "return 3", "engine's", "tokens[places]")]
    assert places == sorted(places)


def test_where_there_is_room_the_solution_stands_beside_the_learners_file(lessons, work, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    work.mkdir()
    (work / "merge.py").write_text("# mine\n" + lessons.exercises["merge"].solution().replace("i += 2", "i += 3"))
    out = lessons("solution merge --yes --whole")[1]
    assert re.search(r"\n# mine\n", out)  # what only one of them has stands alone
    assert re.search(r"\n    merged = \[\] +merged = \[\]\n", out)
    assert re.search(r"\n +i \+= 3 +i \+= 2\n", out)
    assert max(map(len, out.splitlines())) <= 140


# reset


def test_reset_keeps_what_was_written_each_time_under_a_new_name(lessons, work):
    blank = lessons.exercises["windows_at"].blank().encode()
    assert lessons("reset 1")[0] == 0 and contents(work) == {"windows_at.py": blank}
    assert "still as it was given" in lessons("reset 1")[1] and contents(work) == {"windows_at.py": blank}
    solve(lessons, work, "windows_at")
    assert lessons("check 1")[0] == 0
    for number, text in enumerate([(work / "windows_at.py").read_bytes(), b"\xff no UTF-8"], start=1):
        (work / "windows_at.py").write_bytes(text)
        status, out, _ = lessons("reset 1")
        assert status == 0 and f"windows_at.{number}.py.bak" in out
        assert contents(work)["windows_at.py"] == blank and contents(work)[f"windows_at.{number}.py.bak"] == text
    assert (work / "windows_at.1.py.bak").read_bytes() == lessons.exercises["windows_at"].solution().encode()
    assert "windows_at begun" in lessons("")[1]


# Mistakes


@pytest.mark.parametrize(
    ("line", "status", "sentence"),
    [
        ("27", 1, "there is no lesson 27; the lessons are 1 to 3"),
        ("check 27", 1, "there is no lesson 27; the lessons are 1 to 3"),
        ("check 3", 1, "lesson 3, To read, has no exercise, and no lesson after it has one"),
        ("check window_at", 1, "there is no lesson, exercise or command 'window_at'; did you mean windows_at?"),
        ("chekc 1", 1, "there is no lesson, exercise or command 'chekc'; did you mean check?"),
        ("1 2", 1, "one lesson at a time: python -m lessons 1"),
        ("start xyzzy", 1, "'xyzzy'; the lessons are 1 to 3"),
        ("check", 2, "LESSON"),
        ("check 1 --wach", 2, "did you mean --watch?"),
        ("hint 1 --watch", 2, "unknown flag --watch"),
    ],
)
def test_mistakes_get_one_sentence(lessons, work, line, status, sentence):
    actual, out, err = lessons(line)
    assert actual == status and sentence in err and out == "", (actual, out, err)
    assert err.startswith("error: ") and err.count("\n") == 1 and not work.exists()


def test_a_lesson_without_an_exercise_names_the_next_that_has_one(lessons, folder):
    (folder / "03_reading.py").rename(folder / "00_reading.py")
    err = lessons("start 0")[2]
    assert err == "error: lesson 0, To read, has no exercise; the next that has one is lesson 1\n"


def test_help_names_every_command(lessons):
    status, out, _ = lessons("--help")
    assert status == 0
    for command in ("start 7", "check 7", "hint 7", "solution 7", "reset 7", "try 7", "run 7", "7 --start"):
        assert f"python -m lessons {command}" in out
    assert max(map(len, out.splitlines())) <= 80
    assert "--watch" in lessons("check --help")[1]


# Folders


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_cannot_be_written_gets_a_sentence(lessons, folder):
    folder.chmod(0o500)
    try:
        status, _, err = lessons("start 1")
    finally:
        folder.chmod(0o700)
    assert status == 1 and "could not write" in err and "--work FOLDER" in err and err.count("\n") == 1


def test_a_work_folder_that_is_a_file_gets_a_sentence(lessons, folder):
    (folder / "work").write_text("in the way")
    for line in ("start 1", "hint 1"):
        status, _, err = lessons(line)
        assert status == 1 and err.startswith("error: ") and err.count("\n") == 1, err
    assert (folder / "work").read_text() == "in the way"

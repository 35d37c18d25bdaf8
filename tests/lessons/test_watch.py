"""`check --watch`: on a pseudo-terminal, with keys and from piece to piece, and into a pipe as it comes."""

import json
import re
import signal
import sys

import pytest
from rich.console import Console

from lessons.cells import find_lessons
from lessons.checking import excerpt, judged
from lessons.course import Course
from lessons.exercises import Exercise, find_exercises
from lessons.watch import Saves
from tests import children
from tests.lessons.terminal import Terminal

terminal = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are not on Windows")
WRONG = "def windows_at(tokens, starts, block_size):\n    return 3\n"
KEYS = "[q] leave"
CLEAR = "\x1b[H\x1b[2J\x1b[3J"


@pytest.fixture
def work(folder):
    return folder / "work"


def save(folder, name, text=None):
    path = folder / "work" / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(find_exercises(find_lessons(folder))[name].solution() if text is None else text)
    return path


def watch(folder, *arguments, **options):
    return Terminal(folder, "check", *arguments, "--watch", **options)


@terminal
def test_a_save_is_checked_on_a_clear_screen_in_words_and_the_table_waits_for_a_key(folder):
    save(folder, "windows_at", WRONG)
    with watch(folder, 1) as screen:
        first = screen.until(KEYS)
        assert CLEAR in first and "returned 3" in first and "WRONG" not in first and "0 of 3 pieces" in first
        assert "windows_at(array([" in first.replace("\n", "") or "windows_at(<uint16" in first
        screen.type("t")
        table = screen.until(KEYS)
        assert "WRONG" in table and "what is wrong:" in table and CLEAR not in table
        save(folder, "windows_at", WRONG.replace("3", "4"))
        again = screen.until(KEYS)
        assert CLEAR in again and "returned 4" in again
        screen.type("q")
        screen.rest()
        assert screen.status == 1


@terminal
def test_keys_give_a_hint_and_after_an_attempt_the_difference_without_enter(folder, work):
    with watch(folder, 1, NO_COLOR="1") as screen:
        assert "windows_at.py is written.\n" in screen.until(KEYS)
        screen.type("d")
        assert "windows_at was not tried yet: save an attempt first." in screen.until(KEYS)
        screen.type("h")
        assert "windows_at, hint 1 of 3\n\nWhich number?" in screen.until(KEYS)
        save(folder, "windows_at", WRONG)
        assert "returned 3" in screen.until(KEYS)
        screen.type("d")
        assert "\n-    return 3\n" in screen.until(KEYS)
        screen.type("h")
        assert "hint 2 of 3" in screen.until(KEYS)
        screen.type("\x1b[A")  # an arrow is no key of these
        screen.type("\x03")
        shown = screen.rest()
        assert screen.status == 1 and "Traceback" not in shown
    kept = json.loads((work / "progress.json").read_text())["exercises"]
    assert kept["windows_at"]["hints"] == 2 and list(kept) == ["windows_at"]


@terminal
def test_a_piece_that_is_right_leads_to_the_next_whose_file_is_begun(folder, work):
    with watch(folder, 1, NO_COLOR="1") as screen:
        screen.until(KEYS)
        save(folder, "windows_at")
        shown = screen.until(KEYS)
        assert "windows_at is right." in shown and "Next: merge, of lesson 2, Trouble: python -m lessons 2" in shown
        assert re.search(r"merge.py is written.\n.*merge.py is as it was given", shown.replace("\n\n", "\n"), re.S)
        assert "1 of 3 pieces" in shown and (work / "merge.py").exists() and not (work / "draw.py").exists()
        save(folder, "draw")  # whichever is saved is the one that is worked on
        shown = screen.until(KEYS)
        assert "draw is right." in shown and "Next: merge" in shown and "2 of 3 pieces" in shown
        save(folder, "merge")
        shown = screen.until(KEYS)
        assert "merge is right." in shown and "All pieces are right." in shown and "3 of 3 pieces" in shown
        screen.type("q")
        screen.rest()
        assert screen.status == 0


@terminal
def test_a_file_that_is_deleted_is_said_to_be_gone_and_checked_when_it_is_there_again(folder):
    path = save(folder, "windows_at", WRONG)
    with watch(folder, 1, NO_COLOR="1") as screen:
        screen.until(KEYS)
        path.unlink()
        assert "windows_at.py is gone. It is checked when it is there again" in screen.until(KEYS).replace("\n", " ")
        save(folder, "windows_at", WRONG)
        assert "returned 3" in screen.until(KEYS)
        screen.type("q")
        screen.rest()


@terminal
def test_where_the_syntax_is_wrong_there_is_a_caret_and_where_something_is_raised_its_line(folder):
    save(folder, "windows_at", "def windows_at(tokens, starts, block_size):\n    x = = 3\n    return x\n")
    with watch(folder, 1, NO_COLOR="1") as screen:
        shown = screen.until(KEYS)
        assert "line 2, raised SyntaxError" in shown.replace("\n", " ")
        assert "\n> 2 |     x = = 3\n    |         ^\n" in shown
        save(
            folder, "windows_at", "def windows_at(tokens, starts, block_size):\n    x = tokens.no_such\n    return x\n"
        )
        shown = screen.until(KEYS)
        assert "AttributeError" in shown and "\n> 2 |     x = tokens.no_such\n" in shown and "^" not in shown
        screen.type("q")
        screen.rest()


@terminal
def test_what_the_file_prints_stays_on_the_screen_and_its_debugger_has_the_keys(folder):
    save(folder, "windows_at", WRONG.replace("    return", "    print('seen here')\n    breakpoint()\n    return"))
    with watch(folder, 1, NO_COLOR="1") as screen:
        assert "seen here" in screen.until("(Pdb) ")
        screen.type("tokens.dtype\n")
        assert "uint16" in screen.until("(Pdb) ")
        screen.type("\x03")
        assert "Stopped in" in screen.until(KEYS).replace("\n", " ")
        screen.type("q")
        screen.rest()


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process on Windows")
def test_into_a_pipe_a_file_is_checked_again_after_every_save_until_ctrl_c(folder, work):
    save(folder, "windows_at", find_exercises(find_lessons(folder))["windows_at"].blank())
    shown = []
    with children.started("-m", "lessons", "check", 1, "--watch", cwd=folder.parent) as process:
        for line in process.stdout:
            shown.append(line)
            if line.startswith("Watching"):
                watched = sum(line.startswith("Watching") for line in shown)
                if watched == 1:
                    save(folder, "windows_at", WRONG)
                elif watched == 2:
                    (work / "windows_at.py").unlink()
                elif watched == 3:
                    save(folder, "windows_at")
                else:
                    process.send_signal(signal.SIGINT)
        assert process.wait() == 0
    text = "".join(shown)
    assert "as it was given" in text and "windows_at is not right yet" in text and "windows_at is right." in text
    assert text.count("was saved") == 2 and text.count("windows_at.py is gone; it is checked when") == 1
    assert CLEAR not in text and "[q]" not in text and "WRONG" in text
    assert json.loads((work / "progress.json").read_text())["exercises"]["windows_at"]["done"] is True


def test_a_file_counts_as_saved_or_gone_once_it_has_stopped_changing(tmp_path):
    path, saves = tmp_path / "mine.py", Saves()
    saves.take(path)
    assert saves.look(path) == ""
    path.write_text("1")
    assert [saves.look(path) for _ in range(3)] == ["", "saved", ""]
    path.write_text("12")
    assert saves.look(path) == ""
    path.write_text("123")  # in the midst of a save
    assert [saves.look(path) for _ in range(3)] == ["", "saved", ""]
    path.unlink()
    assert [saves.look(path) for _ in range(3)] == ["", "gone", ""]
    path.unlink(missing_ok=True)
    path.write_text("123")
    assert [saves.look(path) for _ in range(2)] == ["", "saved"]


def test_the_excerpt_is_of_the_text_that_was_checked_and_not_of_one_saved_meanwhile(folder, work, monkeypatch):
    path, check = save(folder, "windows_at", WRONG.replace("return 3", "return (3")), Exercise.check

    def saved_meanwhile(self, path, seed):
        checked = check(self, path, seed)
        save(folder, "windows_at", "# mended\n" * 9)
        return checked

    monkeypatch.setattr(Exercise, "check", saved_meanwhile)
    course = Course(folder, work, Console())
    verdict = judged(course, course.exercises["windows_at"])
    assert "> 2 |     return (3\n" in excerpt(verdict.source, path, verdict.checked.wrong, 80) + "\n"


@terminal
def test_pieces_of_the_same_lesson_come_first_though_they_stand_before(folder):
    (folder / "hints" / "sum_to.md").write_text("One?\n\n---\n\nTwo.\n\n---\n\nThree.\n")
    lesson = folder / "01_arrays.py"
    lesson.write_text(lesson.read_text().replace("turn: windows_at", "turn: sum_to, windows_at"))
    save(folder, "windows_at")
    with watch(folder, "windows_at", NO_COLOR="1") as screen:
        assert "windows_at is right.\n\nNext: sum_to, of lesson 1" in screen.until(KEYS)
        screen.type("q")
        screen.rest()


@terminal
def test_the_answer_is_shown_only_to_who_asks_twice_where_nothing_has_run(folder):
    save(folder, "windows_at", "def windows_at(tokens, starts, block_size):\n    return (\n")
    with watch(folder, 1, NO_COLOR="1") as screen:
        screen.until(KEYS)
        screen.type("d")
        assert "the difference gives the answer away: d again shows it." in screen.until(KEYS).replace("\n", " ")
        screen.type("d")
        assert "\n+    places = " in screen.until(KEYS)
        screen.type("q")
        screen.rest()


@terminal
def test_the_rest_of_a_lesson_that_was_left_is_not_forgotten(folder, work):
    save(folder, "windows_at")
    (work / "progress.json").write_text('{"version": 1, "lessons": {"1": {"place": 3}}, "exercises": {}}')
    with watch(folder, 1, NO_COLOR="1") as screen:
        assert "Lesson 1 goes on: python -m lessons 1  (from cell 4)\nNext: merge" in screen.until(KEYS)
        screen.type("q")
        screen.rest()


def test_an_excerpt_is_no_wider_than_it_may_be_and_of_no_other_file(tmp_path):
    path = tmp_path / "mine.py"
    source = b"one = 1\ntwo = 2\nthree = " + b"3" * 90 + b"\nfour = 4\n"
    wrong = f"{path}, line 3, raised ValueError"
    assert excerpt(source, path, wrong, 20) == "  1 | one = 1\n  2 | two = 2\n> 3 | three = 333333"
    assert excerpt(source, path, "other.py, line 3, raised ValueError", 80) == ""
    assert excerpt(source, path, "dx is zero", 80) == ""
    assert excerpt(b"one = 1\n", path, wrong, 80) == "  1 | one = 1"
    assert not {"\0", "\x1b"} & set(excerpt(b"one = \0\x1b[2J", path, wrong, 80))

"""The lessons themselves: each runs, says what is so, and asks for what can be written with what was taught."""

import ast
import difflib
import json
import os
import re
import shutil
import textwrap
from pathlib import Path

import pytest
from rich.cells import cell_len

from lessons import display, printer
from lessons.__main__ import main
from lessons.cells import find_lessons, parse
from lessons.commands import read_hints
from lessons.exercises import EXERCISES, asked_in
from lessons.screen import Screen
from tests import children
from tinygpt import emulator
from tinygpt.own_layers import PARTS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "lessons"
PYTHON = [exercise for exercise in EXERCISES.values() if exercise.file.endswith(".py")]
README = FOLDER / "README.md"
LESSONS = sorted(FOLDER.glob("[0-9][0-9]_*.py"))


def cells(path):
    """(kind, text) of each cell, "markdown" with its comment signs taken off, or "code"."""
    for cell in parse(path.read_text(encoding="utf-8")):
        yield "code" if cell.is_code else "markdown", cell.text


def number(path):
    return int(path.name[:2])


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The folder of lessons as a clean clone has it, where the walk below may write."""
    folder = tmp_path_factory.mktemp("clone")
    ignored = shutil.ignore_patterns("out", "work", "__pycache__")
    shutil.copytree(FOLDER, folder / "lessons", ignore=ignored)
    return folder


@pytest.fixture
def copy_so_far(copy, path):
    """The same as if nothing after the lesson `path` were written yet."""
    for lesson in LESSONS:
        if number(lesson) <= number(path):
            shutil.copy(lesson, copy / "lessons")
        else:
            (copy / "lessons" / lesson.name).unlink(missing_ok=True)
    yield copy
    for lesson in LESSONS:
        shutil.copy(lesson, copy / "lessons")


def run(copy, *arguments, check=True, **settings):
    environment = os.environ | {"PYTHONWARNINGS": "error::RuntimeWarning", "PYTHONIOENCODING": "utf-8"}
    environment |= {"TINYGPT_CACHE": str(copy / "cache")} | settings
    encoding = environment["PYTHONIOENCODING"]
    done = children.run(*arguments, cwd=copy, env=environment, encoding=encoding, seconds=250)
    assert not check or done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done


# The walk: every lesson in order from a clean clone, every exercise filled from the engine


def test_the_lessons_are_numbered_from_one_on_and_each_exercise_is_a_part_that_one_of_them_asks_for():
    assert [number(path) for path in LESSONS] == list(range(1, len(LESSONS) + 1))
    asked = [exercise for lesson in find_lessons(FOLDER).values() for exercise in asked_in(lesson)]
    assert asked == list(EXERCISES.values()) and len(asked) >= 18
    assert {exercise.name for exercise in asked} <= set(PARTS)


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_and_needs_no_later_one_and_its_exercises_fail_blank_and_pass_filled(path, copy_so_far, capsys):
    copy, lesson = copy_so_far, find_lessons(FOLDER)[number(path)]

    def command(*words, status=0):
        assert main(words, copy / "lessons") == status
        return capsys.readouterr().out

    done = run(copy, f"lessons/{path.name}")
    assert done.stdout and "Traceback" not in done.stderr and "Warning" not in done.stderr
    if len(lesson.body) < len(lesson.cells):
        run(copy, "-m", "lessons", "answers", number(path))
    for exercise in asked_in(lesson):
        if exercise not in PYTHON and emulator.missing():
            continue
        work = copy / "lessons" / "work" / exercise.file
        command("start", exercise.name)
        assert work.read_text(encoding="utf-8") == exercise.blank()
        assert "is as it was given" in command("check", exercise.name, status=1)
        checked = exercise.check(work, seed=1)
        assert not checked.passed and not checked.written and "is not written yet" in checked.text
        work.write_text(exercise.solution(), encoding="utf-8")
        filled = command("check", exercise.name)
        assert "right" in filled and "WRONG" not in filled
        progress = json.loads((copy / "lessons" / "work" / "progress.json").read_text())
        assert progress["exercises"][exercise.name]["done"]


def test_a_lesson_can_be_sent_to_a_file_whose_encoding_lacks_its_letters(copy):
    done = run(copy, "lessons/08_mlp.py", PYTHONIOENCODING="cp1252")
    assert "the tanh form" in done.stdout


def test_a_lesson_runs_without_matplotlib_and_says_what_is_missing(copy):
    hidden = (
        "import runpy, sys; sys.modules['matplotlib'] = None; sys.path.insert(0, 'lessons'); "
        "runpy.run_path('lessons/09_attention.py', run_name='__main__')"
    )
    done = run(copy, "-c", hidden)
    assert "(no plot of map: it needs matplotlib" in done.stdout


# What it says


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_numbers_in_the_words_are_computed(path):
    """A number that could be a result is stated(), or is one that the lesson's code was given."""
    code = "\n".join(text for kind, text in cells(path) if kind == "code")
    stated = set(re.findall(r"stated\(\s*[\"']([^\"']+)[\"']", code))
    given = {
        float(node.value) for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant) and is_number(node)
    }
    given |= {
        float(mantissa.replace("_", "")) for mantissa in re.findall(r"\b\d[\d_]*(?:\.\d+)?", code)
    }  # of 19.5e12 too
    quoted = "\n".join(
        node.value
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    for kind, words in cells(path):
        if kind == "code":
            continue
        words = re.sub(r"```recorded\n.*?```", "", words, flags=re.DOTALL)
        words = re.sub(r"arXiv:(?:cmp-lg\/)?[\d.]+|https?://\S+|`[^`\n]*`", "", words)
        words = re.sub(r"\b(1[6-9]|20)\d\d\b", "", words)  # years
        words = re.sub(
            r"(?i)\b(section|chapter|equation|python|version|algorithm|table|figure|appendix|§)s? ?[\d.]+(?:[\w.]*)",
            "",
            words,
        )
        for found in re.findall(r"(?<!\w)[−-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[−-]?\d+)?%?", words):
            plain = found.lstrip("−-")
            if plain.startswith("1e") or not ("." in plain or "%" in plain or "," in plain or len(plain) >= 3):
                continue  # a tolerance, or small and whole
            number = float(plain.replace(",", "").replace("−", "-").removesuffix("%"))
            if not ({found, plain} & stated or number in given or plain in quoted):
                raise AssertionError(f"{path.name} says {found}, which no cell states: {near(words, found)}")


def is_number(node):
    return type(node.value) in (int, float)


def near(words, found):
    place = words.index(found)
    return words[max(0, place - 60) : place + 40].replace("\n", " ")


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_the_form(path):
    made = list(cells(path))
    assert made[0][0] == "markdown" and made[0][1].startswith(f"# {number(path)}. ")
    words = "\n".join(text for kind, text in made if kind == "markdown")
    assert "?" in made[0][1], "a lesson begins with a question"
    assert "Last lesson's questions" not in words
    assert "TODO" not in words and "\\frac" not in words and "$" not in words
    assert not re.search(r"[A-Za-z][!]", re.sub(r"```.*?```|`[^`]*`", "", words, flags=re.DOTALL)), (
        "an exclamation mark"
    )
    assert not re.search("[\U0001f300-\U0001faff]", words)
    for line in path.read_text(encoding="utf-8").splitlines():
        assert len(line) <= 120
    for fence in re.findall(r"```\w*\n(.*?)```", words, flags=re.DOTALL):
        assert max(map(cell_len, fence.splitlines())) <= 80  # what a terminal shows in one piece


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_says_how_long_it_takes(path):
    lesson = find_lessons(FOLDER)[number(path)]
    assert 10 <= lesson.minutes <= 90 and lesson.minutes % 5 == 0
    assert lesson.optional == (lesson.name in ("speed", "cuda", "many_machines"))


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_answers_its_questions_at_its_end(path):
    lesson = find_lessons(FOLDER)[number(path)]
    words = "\n".join(cell.text for cell in lesson.body if not cell.is_code)
    asked = words.partition("## Questions to think about\n")[2].partition("\n## ")[0]
    questions = re.findall(r"^(\d+)\. ", asked, flags=re.MULTILINE)
    assert questions and questions == [str(1 + place) for place in range(len(questions))]
    assert f"Answers: `python -m lessons answers {number(path)}`" in asked
    answers = lesson.cells[len(lesson.body) :]
    answered = "\n".join(cell.text for cell in answers if not cell.is_code)
    assert answered.startswith("## Answers\n")
    assert set(questions) <= set(re.findall(r"^(?:\*\*)?(\d+)\.", answered, flags=re.MULTILINE))


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_no_backward_is_shown_before_one_is_derived(path):
    derived = False
    for cell in find_lessons(FOLDER)[number(path)].body:
        derived |= bool(cell.derive)
        if cell.is_code and not derived:
            shown = [node.name for node in ast.parse(cell.text).body if isinstance(node, ast.FunctionDef)]
            assert not [name for name in shown if "backward" in name], "shown before it is derived"


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=lambda exercise: exercise.name)
def test_what_is_asked_for_is_asked_with_what_to_type(exercise):
    lesson = find_lessons(FOLDER)[exercise.lesson]
    words = "\n".join(cell.text for cell in lesson.body if not cell.is_code)
    for command in ("start", "check", "hint"):
        assert re.search(rf"python -m lessons {command} ({lesson.number}|{exercise.name})\b", words), command
    assert "python train.py" in words and "--mine" in words
    assert exercise.name.endswith("_kernel") or re.search(r"python -m lessons run\b", words)  # which needs no card


@pytest.mark.parametrize("columns", [80, 40])
def test_no_line_is_wider_than_the_terminal(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    screen = Screen(display.make_console(live=False), live=False)
    for lesson in find_lessons(FOLDER).values():
        for index in range(len(lesson.cells)):
            shown = printer.shown(lesson, index, screen)
            assert max(map(cell_len, shown.split("\n"))) <= columns, (lesson.number, shown)


def test_the_table_in_the_readme_is_that_of_the_lessons():
    text = README.read_text(encoding="utf-8")
    assert "".join(re.findall(r"^\|.*\n", text, flags=re.MULTILINE)) == table()
    for named in re.findall(r"\]\((\d\d_\w+\.py)\)", text):
        assert (FOLDER / named).exists()


def table():
    """The lessons with their minutes and exercises, in Markdown."""
    rows = [["", "lesson", "minutes", "what you write"], ["-"] * 4]
    for lesson in find_lessons(FOLDER).values():
        names = ", ".join(f"`{exercise.name}`" for exercise in asked_in(lesson))
        length = f"{lesson.minutes or ''}{', optional' if lesson.optional else ''}"
        rows.append([str(lesson.number), f"[{lesson.title}]({lesson.path.name})", length, names])
    return "".join(f"|{'|'.join(f' {cell} ' if cell.strip('-') else cell or ' ' for cell in row)}|\n" for row in rows)


def test_every_mentioned_file_is_there():
    for path in LESSONS:
        for name in re.findall(
            r"\b((?:tinygpt|lessons|tests|benchmarks|docs)/[\w/.]+\.\w+)", path.read_text(encoding="utf-8")
        ):
            if not name.startswith(("lessons/work/", "lessons/out/", "lessons/recorded/")):  # made by the reader
                assert (ROOT / name).exists(), f"{path.name}: {name}"


# The exercises


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=lambda exercise: exercise.name)
def test_there_are_three_hints_that_are_not_the_solution(exercise):
    hints = read_hints(FOLDER, exercise.name)
    assert len(hints) == 3 and all(len(hint.split()) >= 12 for hint in hints)
    assert "?" in hints[0]
    for line in left_out(exercise):
        assert line not in "\n".join(hints), "a hint holds a whole line of the solution"


@pytest.mark.parametrize("exercise", PYTHON, ids=lambda exercise: exercise.name)
def test_a_blank_keeps_what_is_asked_and_holds_nothing_of_the_solution(exercise):
    blank, solution = exercise.blank(), exercise.solution()
    assert [signature(node) for node in functions(blank)] == [signature(node) for node in functions(solution)]
    assert blank.count("is yours to write") == len(exercise.blanks)
    assert left_out(exercise) and not [line for line in left_out(exercise) if line in blank]
    changed = [line for line in difflib.ndiff(solution.splitlines(), blank.splitlines()) if line[0] == "+"]
    assert len(changed) == len(exercise.blanks)  # nothing else was touched


def functions(text):
    return [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]


def signature(node):
    return node.name, ast.unparse(node.args), ast.get_docstring(node)


def left_out(exercise):
    """The lines of the blanked bodies that say something."""
    solution = exercise.solution().splitlines()
    lines = [] if exercise in PYTHON else [line.strip() for line in solution if line not in exercise.blank()]
    for node in functions("\n".join(solution)) if exercise in PYTHON else ():
        if node.name in exercise.blanks:
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines += [line.split("  #")[0].strip() for line in solution[body[0].lineno - 1 : node.end_lineno]]
    return [line for line in lines if len(line) > 14 and any(sign in line for sign in "=(")]


@pytest.mark.parametrize("exercise", PYTHON, ids=lambda exercise: exercise.name)
def test_the_engine_and_the_exercise_are_one_text(exercise):
    engine = (ROOT / (PARTS[exercise.name].source.replace(".", "/") + ".py")).read_text(encoding="utf-8")
    for node in functions(exercise.solution()):
        function = ast.get_source_segment(exercise.solution(), node)
        assert function in engine or textwrap.indent(function, "    ") in engine  # in a class

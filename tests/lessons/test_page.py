"""`python -m lessons page`: what it writes and says, with a reader's own parts, and links of the lessons both ways."""

import json
import re
import shutil
import webbrowser
from types import SimpleNamespace
from unittest import mock
from unittest.mock import Mock

import pytest
from rich.console import Console

import tinygpt.recorder
from lessons import display, links, page_child, page_process, printer, watch
from lessons.__main__ import main
from lessons.cells import Cell, Lesson, find_lessons
from lessons.checking import on_page
from lessons.course import Course
from lessons.exercises import EXERCISES, IN_STEP
from lessons.screen import Screen
from tests.gradcheck.learners.mistakes import mistakes
from tests.lessons.conftest import LESSONS
from tests.own_parts import fill, spoil
from tinygpt.errors import UserError
from tinygpt.own_layers import PARTS
from tinygpt.own_layers.judge import Checked
from tinygpt.recorder import record_step, step
from tinygpt.recorder.step import TEXT

DOCS = LESSONS.parent / "docs" / "gradients.md"
SHORT = "abca"  # a text whose step is recorded in a third of the time
SPEAKING = range(4, 14)  # the lessons that speak of numbers on the page
HERE = "import sys\nRECORDED = 'lessons.page_child' in sys.modules  # and not in a check\n"


@pytest.fixture(scope="module")
def steps():
    """The engine's recordings, each made once, and not nudged, which takes most of the time."""
    return {text: record_step(text, nudging=False) for text in (TEXT, SHORT)}


@pytest.fixture
def page(tmp_path, monkeypatch, capsys, steps):
    """Runs `python -m lessons page` with recordings that are made already; returns its status, and what it printed."""
    monkeypatch.setattr(tinygpt.recorder, "record_step", lambda text: steps.get(text) or record_step(text))
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*line):
        status = main(["page", *line, f"--work={tmp_path / 'work'}"], LESSONS)
        return status, *capsys.readouterr()

    return run


def data(path):
    """What a page was made of."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text("utf-8"))
    return json.loads(found[1])


# The command


def test_a_page_is_written_and_said_to_be_where_with_the_loss_before_and_after(page, tmp_path, steps):
    path = tmp_path / "new" / "step.html"
    status, out, err = page(f"--out={path}")
    assert (status, err) == (0, "") and path.is_file()
    loss, after = steps[TEXT].loss, steps[TEXT].after
    assert f"{path}: one training step on 'cat sat '" in out and "the engine alone" in out
    assert f"{loss:.4f} before it and {after:.4f} after it" in out and after < loss
    assert out.endswith(f"{path.as_uri()}\n")
    written = data(path)
    assert len(written["arrays"]) == len(steps[TEXT].arrays) and written["mine"] is None and written["start"] is None


def test_a_lesson_is_where_the_page_opens(page, tmp_path):
    path = tmp_path / "step.html"
    status, out, _ = page("9", f"--out={path}")
    first = links.of_lesson(find_lessons(LESSONS)[9])[0]
    place = f"{first.key}[{','.join(map(str, first.index))}]"
    assert status == 0 and data(path)["start"] == place
    assert out.endswith(f"{path.as_uri()}#{place.replace('[', '%5B').replace(']', '%5D')}\n")


def test_a_number_that_a_shorter_text_lacks_is_left_out_of_the_address(page, tmp_path):
    path = tmp_path / "step.html"
    assert page("9", f"--text={SHORT}", f"--out={path}")[0] == 0
    assert data(path)["start"] == links.of_lesson(find_lessons(LESSONS)[9])[0].key


@pytest.mark.parametrize("line, said", [
    (["--text="], "the text has 0 characters; expected at least 3"),
    (["--text=a"], "expected at least 3"),
    (["--text=abcdefghijklmnopqrstuvwxy"], "25 distinct characters, and the page has room for 24"),
    (["3"], "lesson 3, Counting, speaks of no number on the page; those that do are 4, 5,"),
    (["4", "5"], "one lesson at a time: python -m lessons page 4"),
    (["--out={tmp}"], "is a folder; give the page a name in it"),
    (["--out={tmp}/file/step.html"], "could not write {tmp}/file/step.html: "),
    (["--mine={tmp}/nowhere"], "nowhere is no folder; expected one with your files"),
    (["--mine"], "there is no {tmp}/work yet; begin your parts of a step with python -m lessons start 7"),
    (["--mine={tmp}"], "holds no part of a training step; expected files such as layernorm.py"),
    (["--mine", "9"], "--mine takes a folder, and 9 is none; for a lesson: python -m lessons page 9 --"),
])  # fmt: skip
def test_what_cannot_be_is_said_in_a_sentence(page, tmp_path, line, said):
    (tmp_path / "file").write_text("no folder")
    status, out, err = page(*(word.format(tmp=tmp_path) for word in line))
    assert status == 1 and out == "" and said.format(tmp=tmp_path) in err and err.startswith("error: ")
    assert not (tmp_path / "step.html").exists()


def test_a_browser_is_asked_to_open_it_where_there_is_one(page, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(webbrowser, "get", lambda: SimpleNamespace(open=lambda where: not asked.append(where)))
    path = tmp_path / "step.html"
    assert "no browser" not in page("--open", f"--out={path}")[1] and asked == [path.as_uri()]
    monkeypatch.delenv("BROWSER", raising=False)
    for none in ({"side_effect": webbrowser.Error}, {"return_value": webbrowser.GenericBrowser("w3m")}):
        monkeypatch.setattr(webbrowser, "get", Mock(**none))
        assert "There is no browser here to show it; open this in one:" in page("--open", f"--out={path}")[1]


# With parts of one's own


@pytest.fixture
def mine(tmp_path):
    """Records a short text with the parts in a folder, in this process, in a model of one block."""

    def record():
        with mock.patch.multiple(step, LAYERS=1, CHANNELS=4, _shapes_apart=lambda own: {}):
            return page_child.data_with_own(SHORT, tmp_path)

    return record


def test_parts_that_are_right_agree_with_the_engine_in_every_number_and_what_they_print_is_not_shown(page, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    fill(work, "layernorm", "attention", "adamw_update", "head")  # head has nothing to do where there is attention
    begins = "    xp = array_module(x)\n    centred"
    spoil(work, "layernorm", begins, f"    print(10**3 * 'x')\n{begins}")
    path = tmp_path / "step.html"
    status, out, err = page("--mine", f"--text={SHORT}", f"--out={path}")
    written = data(path)
    assert status == 0 and written["first"] is None
    idle, printed, says, cases = out.splitlines()[:4]
    assert "in all cases" in cases and "python -m lessons check layernorm attention adamw_update" in cases
    assert idle == "note: of no use in the step, since another part does the same and more: head"
    assert re.fullmatch(r"note: your files printed \d+(,\d{3}){2,} bytes, which are not shown here", printed)
    assert "xxx" not in out + err
    assert written["mine"] == {"parts": ["layernorm", "attention", "adamw_update"], "at": [], "says": says}
    assert "layernorm, attention, adamw_update" in says and "every number is the engine's" in says
    assert {"layernorm", "attention"} <= {call["name"] for call in written["calls"] if call["mine"]}


WRONG = {  # the function in which each mistake stands
    "layernorm/sample_variance": "forward", "attention/dk_not_transposed": "backward",
    "cross_entropy/mean_forgotten": "backward",
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_the_first_array_that_parts_lies_in_the_function_that_is_wrong(mine, tmp_path, name):
    exercise = name.partition("/")[0]
    (mistake,) = (one for one in mistakes(exercise) if str(one) == name)
    path = tmp_path / f"{exercise}.py"
    path.write_text(mistake.source(), encoding="utf-8")
    made = mine()
    first = next(array for array in made["data"]["arrays"] if array["key"] == made["data"]["first"])
    (call,) = (call for call in made["data"]["calls"] if call["id"] == first["call"])
    assert call["mine"] and call["fn"] == WRONG[name] and first["mine"] and first["differs"]
    assert made["data"]["mine"]["parts"] == [exercise]
    says = made["data"]["mine"]["says"]
    assert f"{first['name']} ({path}, line {first['line']})" in says
    assert not made["remarks"]
    if first["name"] == "dk":  # which the docs quote
        quoted = f"{says.replace(str(path), 'lessons/work/attention.py')}\n    {first['code']}\n"
        printed, docs = (re.sub(r"-?\d[\d.e-]*", "#", text) for text in (quoted, DOCS.read_text(encoding="utf-8")))
        assert printed in docs


def test_among_all_parts_of_a_step_the_one_that_is_wrong_is_found(mine, tmp_path):
    """In a block of one's own x has other uses than the layer it is given to, whose dx is not all of its gradient."""
    fill(tmp_path, "layernorm", "linear", "attention", "gelu", "mlp", "block")
    path = spoil(tmp_path, "attention", "dk = bmm(dscores, q, transpose_a=True)", "dk = bmm(dscores, q)")
    made = mine()["data"]
    first = next(array for array in made["arrays"] if array["key"] == made["first"])
    assert (first["name"], first["file"], first["code"]) == ("dk", str(path), "dk = bmm(dscores, q)")


def test_a_loss_that_is_not_finite_is_said_to_be_so(mine, tmp_path):
    fill(tmp_path, "layernorm")
    spoil(tmp_path, "layernorm", "rstd = 1 / xp.sqrt(var + eps)", "rstd = xp.log(-var - eps)")
    made = mine()["data"]
    assert made["mine"]["says"].startswith("With layernorm of yours the loss is nan, ") and made["loss"] is None


def test_what_a_block_hands_on_and_did_not_make_is_said_of_the_block(mine, tmp_path):
    fill(tmp_path, "layernorm", "linear", "attention", "gelu", "mlp")
    (mistake,) = (one for one in mistakes("block") if one.name == "attention_residual_forgotten")
    (tmp_path / "block.py").write_text(mistake.source(), encoding="utf-8")
    assert str(tmp_path / "block.py") in mine()["data"]["mine"]["says"]


def test_parts_that_are_not_written_or_cannot_be_loaded_are_named(mine, tmp_path):
    fill(tmp_path, "gelu", "linear")
    (tmp_path / "layernorm.py").write_text(EXERCISES["layernorm"].blank(), encoding="utf-8")
    spoil(tmp_path, "linear", "out = rows @ w", "out = rows @ w @ nothing")
    made = mine()
    assert made["data"]["mine"]["parts"] == ["gelu"] and made["data"]["first"] is None
    unwritten, left_out = made["remarks"]
    assert unwritten == f"not written yet in {tmp_path}: layernorm"
    at = (tmp_path / "linear.py").read_text("utf-8").partition("nothing")[0].count("\n") + 1
    says = "raised NameError: name 'nothing' is not defined"
    assert left_out == f"linear is left out: {tmp_path / 'linear.py'}, line {at}, {says}"
    (tmp_path / "gelu.py").unlink()
    with pytest.raises(UserError, match="nothing in .* can be recorded: not written yet in .*: layernorm; .*NameError"):
        mine()


MISCHIEF = {  # what a part does in the step, though not in its check: and what is then said
    "sys.exit(0)": r"gelu.py, line 7, raised SystemExit: 0$",
    "input()": r"gelu.py, line 7, raised EOFError",
    "__import__('os')._exit(3)": r"ended the process that recorded the step, with status 3$",
    "__import__('os').kill(__import__('os').getpid(), 9)": r"was ended by SIGKILL$",
    "__import__('threading').Event().wait()": r"gelu.py, line 7, had not come back after 6 s; is there a loop",
}


@pytest.mark.parametrize("does", MISCHIEF)
def test_what_a_part_does_to_its_process_is_a_sentence(tmp_path, does):
    fill(tmp_path, "gelu")
    path = tmp_path / "gelu.py"
    text = path.read_text(encoding="utf-8")
    begin = re.search(r"def forward\(.*?\n    \"\"\".*?\"\"\"\n", text, re.DOTALL).end()
    lines = f"{HERE}{text[:begin]}    if RECORDED:\n        {does}\n{text[begin:]}"
    path.write_text(lines, encoding="utf-8")
    line = lines[: lines.index(does)].count("\n") + 1
    with pytest.raises(UserError, match=MISCHIEF[does].replace("line 7", f"line {line}")):
        page_process.data_with_own("aba", tmp_path, silence=6 if "wait()" in does else 60)


# What a check offers


def test_a_check_that_fails_offers_the_page_for_a_part_of_the_step(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")

    def says(name):
        main(["check", name, f"--work={tmp_path}"], LESSONS)
        return capsys.readouterr().out

    offer = "See where it parts from the engine: python -m lessons page --mine"
    fill(tmp_path, "gelu", "windows_at")
    assert offer not in says("gelu")
    spoil(tmp_path, "gelu", "return x * phi", "return phi")
    assert says("gelu").splitlines()[-1] == f"{offer} --open --work {tmp_path}"
    spoil(tmp_path, "gelu", "return phi", "return nothing")
    (tmp_path / "windows_at.py").write_text("def windows_at(tokens, starts, block_size):\n    return 3\n")
    assert offer not in says("gelu") + says("windows_at")  # it gives no numbers; it is in no step


def test_the_offer_names_the_folder_of_the_learner(lessons, folder):
    (folder / "01_arrays.py").write_text("# %% [markdown]\n# # 1. Bends\n#\n# ## Your turn: gelu\n")
    (folder / "work").mkdir()
    fill(folder / "work", "gelu")
    spoil(folder / "work", "gelu", "return x * phi", "return phi")
    offer = "See where it parts from the engine: python -m lessons page --mine lessons/work --open"
    assert offer in " ".join(lessons("check gelu")[1].split())


def test_a_watch_has_a_key_for_it(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(watch, "page", lambda course, lessons, **flags: asked.append((course.work, lessons, flags)))
    fill(tmp_path, "gelu")
    spoil(tmp_path, "gelu", "return x * phi", "return phi")
    course = Course(LESSONS, tmp_path, display.make_console(live=False))
    live = watch._Live(course, course.exercises["gelu"])
    assert live.act("p", live.current) and not asked  # nothing was checked yet
    live.check()
    assert "[p] where it parts" in capsys.readouterr().out
    live.act("p", live.current)
    assert asked == [(tmp_path, [], {"out": None, "text": None, "mine": "", "open": True})]


def test_every_part_of_a_step_is_one_that_a_lesson_asks_for():
    assert set(IN_STEP) <= set(EXERCISES) and not any(PARTS[name].is_kernel for name in IN_STEP)
    wrong = Checked(False, "", "wrong")
    assert [name for name, exercise in EXERCISES.items() if on_page(exercise, wrong)] == [
        name for name in EXERCISES if name in IN_STEP
    ]


# Links


def test_every_link_of_a_lesson_leads_to_a_number_that_is_on_the_page(steps):
    keys = [{array.key for array in step.arrays} for step in steps.values()]
    for number, lesson in find_lessons(LESSONS).items():
        found = links.of_lesson(lesson)
        assert bool(found) == (number in SPEAKING), number
        prose = "".join(cell.text for cell in lesson.cells if not cell.is_code)
        assert prose.count("step.html") == len(found), "a link that is not understood"
        for link in found:
            assert all(link.key in there for there in keys), (number, link)  # whatever the text is
            shape = steps[TEXT][link.key].values.shape
            assert len(link.index) in (0, len(shape)), (number, link)
            assert all(at < size for at, size in zip(link.index, shape, strict=False)), (number, link)


def test_from_the_page_every_lesson_is_led_back_to_by_the_arrays_that_it_speaks_of(steps):
    lessons = find_lessons(LESSONS)
    told = links.backwards(lessons.values(), [array.key for array in steps[TEXT].arrays])
    assert [lesson["number"] for lesson in told] == list(SPEAKING)
    for lesson in told:
        spoken_of = [link.key for link in links.of_lesson(lessons[lesson["number"]])]
        assert set(lesson["keys"]) == set(spoken_of) and len(lesson["keys"]) == len(set(lesson["keys"]))
        assert lesson["command"] == f"python -m lessons {lesson['number']}"
        there = lessons[lesson["number"]]
        assert (lesson["title"], lesson["minutes"]) == (there.title, there.minutes)
    assert links.backwards(lessons.values(), ["h.0.attn/dk"])[0]["keys"] == ["h.0.attn/dk"]


PROSE = "See [the\nscores](step.html#h.0.attn/scores~2[0,1,3,2]), [dk](step.html#h.0.attn/dk) and [a book](https://example.org/a)."


def test_a_link_is_read_with_its_key_and_its_index():
    assert list(links.links(PROSE)) == [("the scores", "h.0.attn/scores~2", (0, 1, 3, 2)), ("dk", "h.0.attn/dk", ())]


def test_in_a_terminal_a_link_shows_as_its_words_and_leads_to_the_page_where_there_is_one(tmp_path):
    def shown(page, colours):
        console = Console(force_terminal=True, color_system=colours, theme=display.STYLES, width=100)
        return display.markdown(PROSE, console, page)

    words = "See the scores, dk and a book (https://example.org/a).\n"
    assert shown(None, None) == shown(tmp_path / "step.html", None) == words
    assert re.sub(r"\x1b\[\d*m", "", shown(None, "standard")) == words
    led = shown(tmp_path / "step.html", "standard")
    where = list(dict.fromkeys(re.findall(r"\x1b\]8;id=\d+;(.+?)\x1b\\", led)))
    file = (tmp_path / "step.html").as_uri()
    assert where == [f"{file}#h.0.attn/scores~2%5B0,1,3,2%5D", f"{file}#h.0.attn/dk"]
    assert re.sub(r"\x1b\[\d*m|\x1b\]8;.*?\x1b\\", "", led) == words


def test_a_lesson_says_once_how_its_numbers_are_seen(tmp_path):
    shutil.copy(LESSONS / "09_attention.py", tmp_path)
    lesson = Lesson(9, "attention", tmp_path / "09_attention.py")
    screen = Screen(Console(color_system=None, theme=display.STYLES, width=100), live=False)
    shown = [printer.shown(lesson, index, screen) for index in range(len(lesson.cells))]
    (place,) = (index for index, text in enumerate(shown) if "on a page: python -m lessons page 9 --open" in text)
    assert place == links.first_cell(lesson) and isinstance(lesson.cells[place], Cell)
    assert links.page_file(lesson) is None
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "step.html").touch()
    assert links.page_file(lesson) == tmp_path / "out" / "step.html"

"""What the live pages' exercises are answered: on the terminal's files and progress, and in its words."""

import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from lessons.__main__ import main
from lessons.exercises import EXERCISES
from lessons.web.check_process import PRINTED, Check, Stopped
from tests import children
from tests.lessons.serving import asked, serving, small_steps
from tests.lessons.test_kernel_exercise import needs_compiler

HEAD = "def backward(dout, cache):\n    return dout\n\n\ndef forward(x, approximate):\n"
WRONG = HEAD + "    return 3, x\n"
ENDLESS = HEAD + "    print('here')\n    while True:\n        pass\n"
GONE = 60  # seconds in which a process that was ended must be gone


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("course") / "work") as server:
        yield server


@pytest.fixture
def work(server):
    """The learner's folder, empty."""
    folder = server.course.work
    if folder.exists():
        for path in folder.iterdir():
            path.unlink()
    server.exercises.last.clear()
    return folder


@pytest.fixture
def ask(server, work):
    def ask(do, name="gelu", **what):
        status, text = asked(server, "/exercise", {"do": do, "name": name, **what})
        answer = json.loads(text)
        assert status == (400 if "error" in answer else 200), text
        return answer

    return ask


@pytest.fixture
def write(ask):
    """Has a page begin an exercise and save another text in it."""

    def write(text, name="gelu"):
        answer = ask("save", name, text=text, digest=ask("start", name)["digest"])
        assert answer["saved"] is True
        return answer

    return write


@pytest.fixture
def typed(work, capsys, monkeypatch):
    """What the terminal prints for a command, in lines that are not folded."""
    monkeypatch.setenv("COLUMNS", "500")

    def typed(*words):
        main([*words, f"--work={work}"])
        return capsys.readouterr().out

    return typed


def kept(work, name="gelu"):
    return json.loads((work / "progress.json").read_text())["exercises"][name]


def until(done):
    """Wait for what another thread or process is about to do."""
    late = time.monotonic() + GONE
    while not done():
        assert time.monotonic() < late, "it has not come about"
        threading.Event().wait(0.02)


# The file


def test_every_exercise_can_be_read_and_begun_and_a_file_is_left_alone(ask, work):
    for name, exercise in EXERCISES.items():
        answer = ask("read", name)
        assert (answer["begun"], answer["text"], answer["digest"], answer["state"]) == (False, "", "", ""), name
        answer = ask("start", name)
        path = work / exercise.file
        assert answer["text"] == exercise.blank() == path.read_text("utf-8") and answer["state"] == "begun"
        assert answer["says"].startswith(f"{path} is written. Fill in what is missing, then check it")
        path.write_text("mine = True\n")
        answer = ask("start", name)
        assert answer["text"] == "mine = True\n" and f"{path} is there already and was left alone" in answer["says"]


def test_what_was_changed_elsewhere_is_not_written_over_and_both_texts_are_kept(ask, write, work):
    path = work / "gelu.py"
    digest = write("page = 1\n")["digest"]
    path.write_text("terminal = 1\n")
    answer = ask("save", text="page = 2\n", digest=digest)
    assert not answer["saved"] and answer["text"] == path.read_text() == "terminal = 1\n"
    answer = ask("save", text="page = 2\n", digest=digest, over=True)
    assert answer["saved"] and path.read_text() == "page = 2\n"
    assert (work / "gelu.1.py.bak").read_text() == "terminal = 1\n" and "gelu.1.py.bak" in answer["says"]
    path.write_text("terminal = 2\n")
    answer = ask("take", text="page = 3\n")
    assert answer["text"] == path.read_text() == "terminal = 2\n"
    assert (work / "gelu.2.py.bak").read_text() == "page = 3\n" and "gelu.2.py.bak" in answer["says"]
    path.unlink()
    answer = ask("save", text="page = 4\n", digest=answer["digest"])
    assert not answer["saved"] and not answer["begun"] and not path.exists()


def test_the_line_ends_of_a_file_stay_and_what_is_no_text_is_not_touched(ask, work):
    path = work / "gelu.py"
    work.mkdir(exist_ok=True)
    path.write_bytes(b"one = 1\r\ntwo = 2\r\n")
    answer = ask("read")
    assert answer["text"] == "one = 1\ntwo = 2\n"
    assert ask("save", text="one = 1\n", digest=answer["digest"])["saved"] and path.read_bytes() == b"one = 1\r\n"
    path.write_bytes(b"one = '\xff'\n")
    for do, what in {"read": {}, "save": {"text": "", "digest": ""}, "hint": {}}.items():
        assert ask(do, **what)["error"].startswith(f"{path} is not UTF-8 text, at byte 7; mend it in another editor")
    assert path.read_bytes() == b"one = '\xff'\n"
    path.unlink()
    assert "half a character" in ask("save", text="x = '\ud800'", digest="")["error"]
    assert "expected at most 1,048,576" in ask("save", text="#" * (1 << 20) + "\n", digest="")["error"]
    assert not path.exists()


def test_what_cannot_be_done_is_a_sentence(ask, server, work):
    assert ask("read", "no_such")["error"] == "there is no exercise 'no_such'"
    assert "and not 'answer'" in ask("answer")["error"]
    assert asked(server, "/exercise", {"do": "read", "name": "gelu"}, **{"X-Key": "no"})[0] == 403
    for wrong in ({"do": "save", "text": 3, "digest": ""}, {"do": "save"}, {"do": "check", "more": 1}):
        assert asked(server, "/exercise", wrong | {"name": "gelu"})[0] == 400
    (work / "gelu.py").mkdir(parents=True)
    try:
        assert "it is a folder, not a file" in ask("read")["error"]
    finally:
        (work / "gelu.py").rmdir()


def test_a_work_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "work").write_text("in the way")
    with serving(tmp_path / "work") as server:
        for do, what in {"start": {}, "save": {"text": "x", "digest": ""}}.items():
            answer = json.loads(asked(server, "/exercise", {"do": do, "name": "gelu", **what})[1])
            assert list(answer) == ["error"] and answer["error"].startswith("could not write"), answer
    assert (tmp_path / "work").read_text() == "in the way"


# Checks


def test_a_blank_is_as_it_was_given_and_no_attempt(ask, typed, work):
    ask("start")
    said = ask("check")["last"]
    assert not said["right"] and "is as it was given; fill in what is missing in it" in said["short"]
    assert said["short"] in typed("check", "gelu") and kept(work)["attempts"] == 0


def test_wrong_and_right_are_said_as_in_the_terminal_and_the_progress_is_one(ask, write, typed, work):
    write(HEAD + "    print('seen')\n    return x.no_such, x\n")
    answer = ask("check")
    said, printed = answer["last"], typed("check", "gelu")
    assert said["line"] == 7 and said["excerpt"]["lines"][said["line"] - said["excerpt"]["first"]].endswith(
        ".no_such, x"
    )
    assert said["printed"] and set(said["printed"].split()) == {"seen"}
    assert said["table"] in printed and f"{said['short']} {said['offers']['hint']['words']}" in printed
    assert said["wrong"] in printed and said["next"] is None and "page" not in said["offers"]
    assert answer["state"] == "begun" and answer["attempts"] == 1 and kept(work)["attempts"] == 2
    assert ask("read")["last"] == said
    write(EXERCISES["gelu"].solution())
    assert ask("read")["last"] is None  # it was of another text
    answer = ask("check")
    assert answer["last"]["right"] and answer["state"] == "done" and kept(work)["done"] is True
    following = answer["last"]["next"]
    assert following["href"] == "08_mlp.html#exercise-mlp" and "lessons start mlp" in following["command"]
    assert "gelu done" in typed()
    (work / "gelu.py").write_text(WRONG)
    typed("check", "gelu")
    assert ask("read")["state"] == "begun"


@pytest.fixture
def small():
    with small_steps():
        yield


def test_a_wrong_layer_leads_to_the_step_page_at_the_first_array_that_parts(ask, write, server, small):
    write(EXERCISES["gelu"].solution().replace("return x * phi", "return phi"))
    said = ask("check")["last"]
    assert not said["right"] and said["offers"]["page"]["words"] == "See where it parts from the engine:"
    answer = ask("step")
    address, _, place = answer["address"].partition("#")
    assert place.startswith("h.0.mlp") and "gelu.py, line" in answer["says"] and answer["remarks"] == []
    status, page = asked(server, f"/{address}")
    assert status == 200 and "One training step" in page and '<a href="08_mlp.html">8. GELU and the MLP</a>' in page
    assert asked(server, "/step-of-another.html")[0] == 404
    write(EXERCISES["gelu"].blank())
    assert "nothing in" in ask("step")["error"] and "not written yet" in ask("step")["error"]


def test_a_step_that_is_recorded_without_end_is_stopped(ask, write, server):
    write("while True:\n    pass\n")
    found = []
    recording = threading.Thread(target=lambda: found.append(ask("step")))
    recording.start()
    until(lambda: "gelu" in server.exercises.running and server.exercises.running["gelu"].process)
    ask("stop")
    recording.join(GONE)
    assert found[0]["says"] == "Stopped." and not found[0]["running"] and "address" not in found[0]


def test_of_what_a_file_prints_only_so_much_is_sent(ask, write):
    write("print('x' * 10**6)\n" + WRONG)
    printed = ask("check")["last"]["printed"]
    assert printed.startswith("xxx") and "printed more, which is left out" in printed and len(printed) <= PRINTED


def test_two_endless_checks_do_not_mix_and_are_stopped_where_they_are(ask, write, server, work):
    other = "def merge(*arguments):\n    print('elsewhere')\n\n    while True:\n        pass\n"
    found = {}
    checks = [
        threading.Thread(target=lambda name=name: found.update({name: ask("check", name)["last"]}))
        for name, text in {"gelu": ENDLESS, "merge": other}.items()
        if write(text, name)
    ]
    for check in checks:
        check.start()
    running = server.exercises.running
    until(lambda: len(running) == 2 and all(check.printed for check in list(running.values())))
    assert ask("read")["running"] and asked(server, "/style.css")[0] == 200
    assert "is being checked or recorded already" in ask("check")["error"]
    processes = [check.process.popen for check in running.values()]
    ask("stop")
    checks[0].join(GONE)
    assert re.fullmatch(rf"Stopped in {work / 'gelu.py'}, line [78]\.", found["gelu"]["short"])
    assert found["gelu"]["line"] in (7, 8) and found["gelu"]["printed"] == "here\n"
    assert list(running) == ["merge"]
    server.exercises.end()
    checks[1].join(GONE)
    assert f"{work / 'merge.py'}, line" in found["merge"]["short"] and found["merge"]["printed"] == "elsewhere\n"
    assert all(process.poll() is not None for process in processes) and not ask("read")["running"]
    assert not (work / "progress.json").exists()  # what was stopped is no attempt


def test_a_check_that_is_stopped_before_it_has_begun_ends(work):
    check = Check(EXERCISES["gelu"])
    check.stop()
    work.mkdir(exist_ok=True)
    (work / "gelu.py").write_text(ENDLESS)
    with pytest.raises(Stopped):
        check(work / "gelu.py", 0)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process on Windows")
def test_ctrl_c_on_the_server_ends_what_it_checks(tmp_path):
    (tmp_path / "gelu.py").write_text(
        f"import os\nopen({str(tmp_path / 'pid')!r}, 'w').write(f'{{os.getpid()}} ')\n{ENDLESS}"
    )
    with children.started("-m", "lessons", "web", "--work", tmp_path, cwd=Path(__file__).parents[2]) as process:
        shown = ""
        while not (address := re.search(r"127\.0\.0\.1:(\d+)/\S*#key=(\S+)", shown)):
            assert (line := process.stdout.readline()), shown
            shown += line

        class Server:
            server_port, key = int(address[1]), address[2]

        def check():
            with pytest.raises(OSError):
                asked(Server, "/exercise", {"do": "check", "name": "gelu"})

        threading.Thread(target=check, daemon=True).start()
        until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith(" "))
        process.send_signal(signal.SIGINT)
        assert process.wait(GONE) == 130
    pid = (tmp_path / "pid").read_text().split()[0]
    until(lambda: not _runs(int(pid)))


def _runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


# Kernels


@needs_compiler
def test_of_a_kernel_the_line_is_found_too(ask, write):
    write(EXERCISES["layernorm_kernel"].solution().replace("sqrtf(block", "std::sqrt(block"), "layernorm_kernel")
    said = ask("check", "layernorm_kernel")["last"]
    assert not said["right"] and said["line"] == 28 and "line 28: std::" in said["wrong"] and not said["excerpt"]
    assert set(said["offers"]) == {"hint"}


def test_where_there_is_no_compiler_a_kernel_is_not_judged(ask, write, monkeypatch, work):
    write(EXERCISES["layernorm_kernel"].solution(), "layernorm_kernel")
    monkeypatch.setenv("PATH", str(work / "nothing"))
    assert "layernorm_kernel.cu cannot be checked here: " in ask("check", "layernorm_kernel")["error"]
    assert not (work / "progress.json").exists()


# What helps


def test_hints_are_counted_with_those_of_the_terminal(ask, typed, work):
    assert ask("read")["hints"] == []
    first = ask("hint")
    assert (
        first["hint"]["number"] == 1
        and first["hint"]["of"] == 3
        and first["hints"] == [first["hint"] | {"again": True}]
    )
    assert "gelu, hint 2 of 3" in typed("hint", "gelu")
    assert ask("hint")["hint"]["number"] == 3
    again = ask("hint")
    assert again["hint"]["again"] and again["hint"]["number"] == 3 and len(again["hints"]) == 3
    assert "here it is again" in typed("hint", "gelu") and kept(work)["hints"] == 3


def test_the_answer_is_shown_once_one_has_tried_or_insists(ask, write, typed):
    assert ask("diff")["error"] == "gelu was not tried yet: change its file and check it first."
    asks = ask("solution")
    assert asks["ask"].startswith("gelu was not tried yet") and "html" not in asks
    assert "phi" in ask("solution", sure=True)["html"]
    write(HEAD + "    return (\n")
    ask("check")
    for do, what in {"diff": "difference", "solution": "solution"}.items():
        assert ask(do)["ask"] == f"It has not run yet, and the {what} gives the answer away."
    shown = ask("diff", sure=True)
    printed = typed("solution", "gelu")
    assert "-    return (" in shown["difference"] and "\n".join([shown["title"], "", *shown["difference"]]) in printed
    write(EXERCISES["gelu"].solution())
    assert "letter for letter" in ask("diff", sure=True)["same"]


def test_reset_keeps_what_was_written(ask, write, work):
    write(WRONG)
    answer = ask("reset")
    assert answer["text"] == EXERCISES["gelu"].blank() and answer["state"] == "begun"
    assert (work / "gelu.1.py.bak").read_text() == WRONG and "gelu.1.py.bak" in answer["says"]
    assert "still as it was given; nothing was changed" in ask("reset")["says"]

"""Cells that do what they should not, in the process behind a live page: the reader is told, and can go on."""

import html
import os
import queue
import re
import select
import sys
from types import SimpleNamespace

import pytest

from lessons.web import child, streams, tab
from lessons.web.raw_output import RawOutput
from tests.lessons.serving import OpenPage, of, serving

pytestmark = pytest.mark.skipif(os.name != "posix", reason="how a process ends is said by signals")

CELLS = [
    "import ctypes, os, re, signal, subprocess, sys, threading, time",
    "x = 1\nprint('x is', x)",
    "y = x + 1\nprint(y)",
    "print('the last', y)",
]
PROSE = "# %% [markdown]\n# # 1. Small\n#\n# **What?**\n\n"
ANSWERS = "\n\n# %% [markdown]\n# ## Answers\n\n# %%\nprint('answered', 'x' in globals())\n"
IMPORTS, X, Y, LAST, ANSWER = 1, 2, 3, 4, 6  # the cells of code


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web") / "lessons"
    folder.mkdir()
    text = PROSE + "\n\n".join(f"# %%\n{cell}" for cell in CELLS) + ANSWERS
    (folder / "01_small.py").write_text(text, encoding="utf-8")
    with serving(folder / "work", folder) as server:
        yield server


@pytest.fixture(scope="module")
def page(server):
    """One page, whose process is started anew where a cell has ended it."""
    return OpenPage(server)


def outcome(events):
    """What came last: what was printed, and what went wrong, as text."""
    return html.unescape(re.sub("<[^>]+>", "", of(events, "came")[-1]["html"]))


def ended(events):
    (end,) = of(events, "ended")
    return end["ended"]


# What a cell prints, asks for, and leaves behind


def test_what_is_above_is_run_first_and_an_edit_makes_stale_what_is_below(server):
    page = OpenPage(server)
    assert [event["began"] for event in of(page.run(Y), "began")] == [IMPORTS, X, Y]
    events = page.run(X, "x = 5\nprint('x is', x)")
    (edited,), (came,) = of(events, "edited"), of(events, "came")
    assert (edited["text"], edited["own"]) == ("x = 5\nprint('x is', x)", False) and "mi" in edited["highlight"]
    assert came["stale"] == {str(Y): ["x"]} and "x is 5" in came["html"]
    page.do("run_stale")
    assert outcome(page.until()) == "6\n"
    page.do("reset", cell=X)
    events = page.until()
    assert of(events, "edited")[0]["own"] and outcome(events) == "x is 1\n"
    assert of(events, "came")[-1]["stale"] == {str(Y): ["x"]}
    page.do("answers")
    assert outcome(page.until()) == "answered False\n"


def test_ten_megabytes_are_told_and_not_kept(page):
    events = page.run(X, "for i in range(1000):\n    print('x' * 10_199)")
    sent = sum(len(event["text"]) for event in of(events, "piece"))
    assert sent < streams.MOST + 100 and len(outcome(events)) < streams.MOST + 200
    assert "(more than 200,000 characters; what follows is not shown)" in of(events, "piece")[-1]["text"]
    assert outcome(events).endswith("(10,200,000 characters were printed; the first 200,000 are shown)\n")


def test_a_terminals_colours_are_the_pages_and_a_piece_is_plain(page):
    events = page.run(X, "import numpy\nfrom lessons.heat import heat\nheat(numpy.array([[1, -1]]))")
    assert "linear-gradient(#c45200 50%,#c45200 50%)" in of(events, "came")[-1]["html"]
    assert "▀" in "".join(event["text"] for event in of(events, "piece"))
    assert not any("\x1b" in event["text"] for event in of(events, "piece"))


def test_what_only_looks_like_a_plot_or_a_colour_harms_nothing(page):
    path, code = f"plot: {'a' * 300}.png", "\x1b[" + "1" * 5000 + "m"
    events = page.run(X, f"print({path!r}); print({code!r} + 'text')")
    assert not of(events, "ended") and outcome(events) == f"{path}\ntext\n"


def test_stop_cuts_no_message_in_two_where_a_line_is_asked_for():
    stoppable = []
    told = lambda **_: stoppable.append(child.running)  # noqa: E731
    child = SimpleNamespace(running=True, number=2, stopped=1, typed=queue.SimpleQueue(), say=told)
    child.printed = SimpleNamespace(cell=3, send=told)
    child.typed.put("a line")
    assert streams.Typed(child).readline() == "a line\n"
    assert stoppable == [False, False] and child.running


def test_what_is_printed_past_python_is_on_its_cell_and_bounded(page):
    page.do("run", cell=X, text="os.write(1, b'one\\n'); os.system('echo two >&2')")
    page.do("run", cell=Y, text="os.write(2, b'x' * 300_000)")
    events = page.until()
    while sum(len(event["raw"]) for event in of(events, "raw") if event["cell"] == Y) < streams.MOST:
        events += page.until("raw")
    assert "".join(event["raw"] for event in of(events, "raw") if event["cell"] == X) == "one\ntwo\n"
    (last,) = [event for event in of(events, "raw") if "not shown" in event["raw"]]
    assert last["cell"] == Y
    raw = {event["cell"]: event["raw"] for event in of(page.anew().state["events"], "raw")}
    assert raw[X] == "one\ntwo\n" and len(raw[Y]) < streams.MOST + 100


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_what_is_printed_past_python_is_taken_apart_wherever_a_piece_ends(size):
    told = RawOutput("mark")
    sent = b"before\0mark1\0one \xc3\xa9\0\0mark\0mark12\0two\0marked"
    pieces = [told.split(sent[at : at + size]) for at in range(0, len(sent), size)]
    texts, begun = {}, []
    for cell, text in sum(pieces, []):
        begun += [cell] if text is None else []
        texts[cell] = texts.get(cell, "") + (text or "")
    assert texts == {None: "before", 1: "one \u00e9\0\0mark", 12: "two\0marked"}
    assert begun == [1, 12]


def test_a_cell_that_asks_gets_a_line_and_can_be_stopped_as_it_waits(server):
    page = OpenPage(server)
    page.do("run", cell=X, text="print('hello', input('name? '), sys.stdin.readline())")
    assert of(page.until("asks"), "asks") == [{"asks": X}]
    page.do("typed", text="Ada")
    page.until("asks")
    assert of(page.anew().state["events"], "asks") == [{"asks": X}]
    page = page.anew()
    page.do("typed", text="second")
    assert outcome(page.until()) == "name? hello Ada second\n\n"
    page.do("run", cell=X, text="input()")
    page.until("asks")
    page.ask("stop", tab=page.tab)
    assert outcome(page.until()) == "Stopped.\n"


@pytest.mark.parametrize(("text", "came"), [
    ("raise BrokenPipeError('on purpose')", "BrokenPipeError: on purpose"),
    ("class Own(BaseException): pass\nraise Own('on purpose')", "Own: on purpose"),
    ("exit()", "SystemExit: None"),
    ("raise ValueError('x' * 10**6)", "x ... (990,013 characters are left out) ... x"),
    ("def f(n): return f(n)\nf(1)", "RecursionError"),
    ("x = (", "SyntaxError"),
    ("x = '\\0'\nprint(\0)", "null bytes"),
    ("print('\ud800')", "UnicodeEncodeError"),
    ("(" * 5000 + ")" * 5000, "too many nested parentheses"),
    ("def f():\n    1 / 0\nf()", "cell 3 as you changed it, line 2, in f\n    1 / 0\nZeroDivisionError"),
    ("import inspect\ndef f():\n    return 1\nprint(inspect.getsource(f))", "def f():\n    return 1\n"),
    ("os.chdir('/')\nimport wave\nprint(os.getcwd())", "/\n"),
    ("sys.stdout.close()\nprint('still')", "still\n"),
    ("sys.stdout = None\nprint('nowhere')", ""),
    ("signal.signal(signal.SIGINT, signal.SIG_IGN)", ""),
    ("del x", "NameError"),
])  # fmt: skip
def test_what_goes_wrong_in_a_cell_is_told_and_the_next_one_runs(page, text, came):
    assert came in outcome(page.run(X, text))
    assert not of(page.run(IMPORTS), "came")[-1]["trouble"]


@pytest.mark.skipif(sys.platform != "linux", reason="it is Linux that bounds the memory")
def test_the_memory_is_bounded(page):
    assert "MemoryError" in outcome(page.run(X, f"x = bytearray({2 * child.MEMORY})"))


def test_a_process_that_a_cell_forks_says_nothing_in_its_name(page):
    text = "p = os.fork()\nif p: os.waitpid(p, 0)\nprint('here' if p else 'there')"
    events = page.run(X, text)
    assert [event["came"] for event in of(events, "came")].count(X) == 1 and outcome(events) == "here\n"
    events += page.until("raw") if not of(events, "raw") else []
    assert of(events, "raw")[0]["cell"] == X


# Stop


def test_stop_ends_what_runs_and_what_waits_and_keeps_the_variables(server):
    page = OpenPage(server)
    page.do("run", cell=LAST, text="z = 8\nwhile True: pass")
    page.do("run", cell=Y, text="print('never')")
    while {"began": LAST} not in page.until("began"):
        pass
    page.ask("stop", tab=page.tab)
    events = page.until()
    assert outcome(events) == "Stopped.\n" and not [event for event in of(events, "began") if event["began"] == Y]
    assert outcome(page.run(Y, "print(z)")) == "8\n"


def test_stop_of_an_endless_output(page):
    page.do("run", cell=X, text="while True: print('again and again')")
    page.until("piece")
    page.ask("stop", tab=page.tab)
    assert outcome(page.until()).endswith("Stopped.\n")


def test_a_page_that_is_loaded_anew_shows_what_was_there_and_what_runs(server):
    page = OpenPage(server)
    page.run(X)
    page.do("run", cell=Y, text="y = 'kept'\nprint('begun')\nwhile True: pass")
    while not of(page.until("piece"), "piece"):
        pass
    page = page.anew()
    events = page.state["events"]
    assert [next(iter(event)) for event in events] == ["edited", "came", "came", "began", "piece"]
    assert events[-1] == {"piece": Y, "text": "begun\n"} and page.state["busy"]
    page.ask("stop", tab=page.tab)
    assert outcome(page.until()) == "begun\nStopped.\n"
    assert outcome(page.run(LAST)) == "the last kept\n"


@pytest.mark.parametrize("text", [
    "while True:\n    try:\n        time.sleep(9)\n    except KeyboardInterrupt: pass",
    "signal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('on')\nwhile True: pass",
    "print('on')\nre.match(r'(a+)+$', 'a' * 50 + 'b')",
])  # fmt: skip
def test_what_does_not_stop_is_said_and_can_be_ended(page, monkeypatch, text):
    monkeypatch.setattr(tab, "STUCK", 0.1)
    page.do("run", cell=X, text=text)
    while {"began": X} not in page.until("began"):
        pass
    page.ask("stop", tab=page.tab)
    assert of(page.until("stuck"), "stuck") == [{"stuck": "it has not stopped in 0.1 seconds"}]
    page.ask("end", tab=page.tab)
    assert ended(page.until()) == "the process was ended, as you asked"
    assert outcome(page.run(X, "print('anew')")) == "anew\n"


@pytest.mark.skipif(sys.platform != "linux", reason="it is the C library's usleep")
def test_what_is_asked_for_while_c_lets_no_python_run_is_taken_and_the_process_can_be_ended(page, monkeypatch):
    monkeypatch.setattr(tab, "STUCK", 0.1)
    page.do("run", cell=X, text="ctypes.PyDLL(None).usleep(2**31)")
    while {"began": X} not in page.until("began"):
        pass
    for number in range(3):  # more than a pipe holds
        page.do("run", cell=Y, text=f"print({number})" + "#" * 90_000)
    page.ask("stop", tab=page.tab)
    page.until("stuck")
    page.ask("end", tab=page.tab)
    assert ended(page.until()) == "the process was ended, as you asked"
    assert of(page.anew().state["events"], "edited")[-1]["text"].startswith("print(2)#")
    page.do("reset", cell=Y)
    assert outcome(page.run(X, "print('anew')")) == "anew\n"


def test_a_text_is_kept_whose_run_was_stopped_before_it_began(server):
    page = OpenPage(server)
    page.do("run", cell=X, text="x = 1\nwhile True: pass")
    while {"began": X} not in page.until("began"):
        pass
    page.do("run", cell=Y, text="y = 'edited'")
    page.ask("stop", tab=page.tab)
    page.until()
    assert outcome(page.run(LAST)) == "the last edited\n"


# The end of the process


@pytest.mark.parametrize(("text", "why"), [
    ("os._exit(3)", "the process has ended, with status 3 while cell 3 ran"),
    ("os.kill(os.getpid(), signal.SIGKILL)", "the process was ended by SIGKILL while cell 3 ran"),
    ("os.killpg(0, signal.SIGKILL)", "the process was ended by SIGKILL while cell 3 ran"),
    ("\nctypes.string_at(0)", "by SIGSEGV while cell 3 ran, in line 2 of cell 3 as you changed it"),
    ("os.closerange(0, 256)", "what the process answers on was closed while cell 3 ran, and it has ended"),
    ("import builtins\nbuiltins.len = None", "the process could not go on while cell 3 ran, and has ended"),
    ("for n in range(3, 50):\n    try: os.write(n, b'no message\\n')\n    except OSError: pass",
     "the process said what is not to be understood, and was ended"),
])  # fmt: skip
def test_the_end_of_the_process_is_said_and_what_is_run_next_begins_in_a_new_one(page, text, why):
    events = page.run(X, text)
    assert ended(events).endswith(why) and of(events, "ended")[0]["cell"] == X
    events = page.run(X, "x = 4")
    assert [event["began"] for event in of(events, "began")] == [IMPORTS, X]
    texts = {event["edited"]: event["text"] for event in of(page.anew().state["events"], "edited")}
    assert texts[X] == "x = 4"


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="a process that is not ours is waited for by Linux alone")
def test_all_that_a_page_has_started_ends_with_it_and_with_no_other(server):
    first, second = OpenPage(server), OpenPage(server)
    for page in (first, second):
        page.run(X, "p = subprocess.Popen(['sleep', '600'], start_new_session=True)\nprint(os.getpid(), p.pid)")
    handles = [[os.pidfd_open(int(pid)) for pid in outcome(page.events).split()] for page in (first, second)]
    first.ask("bye", tab=first.tab)
    server.tabs[first.tab].heard -= tab.LEFT
    server.tabs.sweep()
    assert all(select.select([handle], [], [], 60)[0] for handle in handles[0])
    assert not any(select.select([handle], [], [], 0)[0] for handle in handles[1])
    assert outcome(second.run(X, "print(p.poll())")) == "None\n"
    server.tabs[second.tab].end()
    assert all(select.select([handle], [], [], 60)[0] for handle in handles[1])
    for handle in sum(handles, []):
        os.close(handle)

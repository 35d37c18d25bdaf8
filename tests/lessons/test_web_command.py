"""`python -m lessons web`: what it says, and that all it has started ends with it."""

import contextlib
import http.client
import json
import os
import re
import select
import signal
import socket
import sys

import pytest

from lessons.__main__ import main
from tests import children
from tests.lessons.terminal import inherited

ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)/([\w.]*)#key=([\w-]{20,})")
HOLDS = """\
import ctypes, os, subprocess
p = subprocess.Popen(['sleep', '600'])
os.write(1, f'{os.getpid()} {p.pid}\\n'.encode())
"""
IN_C = HOLDS + "ctypes.PyDLL(None).usleep(2**31)\n"  # with the interpreter's lock, so that no thread of it runs
IN_PYTHON = HOLDS + "while True: pass\n"


@contextlib.contextmanager
def running(folder, *arguments):
    """The command, and how to ask it: (process, ask), once it has said where it is."""
    environment = {**inherited(), "BROWSER": "true"}
    with children.started("-m", "lessons", "web", *arguments, cwd=folder.parent, env=environment) as process:
        said = ""
        while not (found := ADDRESS.search(said)):
            line = process.stdout.readline()
            assert line, said + process.stderr.read()
            said += line
        process.port, process.page, key = int(found[1]), found[2], found[3]

        def ask(what, **request):
            connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=60)
            with contextlib.closing(connection):
                headers = {
                    "Origin": f"http://127.0.0.1:{process.port}",
                    "X-Key": key,
                    "Content-Type": "application/json",
                }
                connection.request("POST", f"/{what}", json.dumps(request), headers)
                return json.loads(connection.getresponse().read())

        yield process, ask


def printed(ask, tab, text):
    """What a cell prints, past Python, that does not come to its end."""
    ask("do", tab=tab, do="run", cell=1, text=text)
    shown, seen = "", 0
    while not shown.endswith("\n"):
        answer = ask("poll", tab=tab, seen=seen)
        seen = answer["seen"]
        shown += "".join(event.get("raw", "") for event in answer["events"])
    return shown


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="a process that is not ours is waited for by Linux alone")
@pytest.mark.parametrize(("number", "text"), [
    (signal.SIGINT, IN_PYTHON), (signal.SIGTERM, IN_C), (signal.SIGHUP, IN_PYTHON), (signal.SIGKILL, IN_C),
])  # fmt: skip
def test_a_signal_ends_all_with_requests_under_way(folder, number, text):
    with running(folder, "1", "--work", "mine") as (process, ask):
        assert process.page == "01_arrays.html" and (folder.parent / "mine" / "progress.json").exists()
        state = ask("hello", lesson=1, tab="")
        tab = state["tab"]
        assert state["command"] == "python -m lessons web 1 --work mine"
        handles = [os.pidfd_open(int(pid)) for pid in printed(ask, tab, text).split()]
        with socket.create_connection(("127.0.0.1", process.port)):  # a request that does not come to its end
            process.send_signal(number)
            out, err = process.communicate()
        assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
        assert err == "" and "Traceback" not in out
        for handle in handles:
            assert select.select([handle], [], [], 60)[0]
            os.close(handle)


def test_a_port_that_cannot_be_had_is_said(lessons):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, _, err = lessons(f"web --port {port}")
    assert (status, err.count("\n")) == (1, 1)
    assert err.startswith(
        f"error: could not listen on port {port}: Address already in use; give another one with --port"
    )
    for port in (-1, 65536, 10**30):
        status, _, err = lessons(f"web --port={port}")
        assert status == 1 and " ".join(err.split()).startswith(f"error: ports are 0 to 65535, and {port} is none;")


def test_wrong_arguments_are_a_sentence_each(lessons, folder, monkeypatch):
    for line, status, says in [
        ("web --port x", 2, "argument --port: invalid int value: 'x'"),
        ("web --nothing", 2, "error: unknown flag --nothing; see python -m lessons web --help"),
        ("web 99", 1, "there is no lesson 99; the lessons are 1 to 3"),
        ("web 1 2", 1, "one lesson at a time: python -m lessons web 1"),
        ("web nothing", 1, "there is no lesson, exercise or command 'nothing'"),
    ]:
        got, _, err = lessons(line)
        assert (got, says in " ".join(err.split())) == (status, True), (line, err)
        assert "Traceback" not in err
    (folder / "taken").write_text("a file")
    status, _, err = lessons(f"web --work {folder / 'taken'}")
    assert status == 1 and err.startswith("error: ") and "Traceback" not in err
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setenv("PMI_RANK", "0")
    status, _, err = lessons("web")
    assert status == 1 and "python -m lessons is one process, and mpiexec started 2" in " ".join(err.split())


def test_its_help_says_what_it_takes(capsys):
    with pytest.raises(SystemExit) as end:
        main(["web", "--help"])
    shown = capsys.readouterr().out
    assert end.value.code == 0 and all(flag in shown for flag in ("--port N", "--open", "--work FOLDER"))


def test_nothing_that_pages_need_is_imported_by_the_list():
    code = "import sys, lessons.__main__\nprint([name for name in sys.modules if name.startswith('lessons.web')"
    code += " or name in ('http.server', 'socketserver', 'tinygpt.gradcheck', 'pygments.formatters.html')])"
    assert children.run("-c", code).stdout == "[]\n", sys.path

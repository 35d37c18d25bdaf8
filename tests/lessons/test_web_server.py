"""The lessons' server answers its own pages, and nobody else; what is wrong with a request is a sentence."""

import contextlib
import http.client
import json
import os
import socket
import threading

import pytest

from lessons.progress import load
from lessons.web import handler, number_pages
from tests.lessons.serving import FOLDER, OpenPage, asked, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("web") / "work") as server:
        yield server


def sent(server, text, end=True):
    """What a server answers to bytes: the status, the headers and the content."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as connection:
        connection.sendall(text)
        if end:
            connection.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, dict(answer.getheaders()), answer.read().decode()


def head(server, *lines, first="POST /hello HTTP/1.1", without=()):
    """The head of a request, as a page would send it but for some lines."""
    host = f"127.0.0.1:{server.server_port}"
    usual = {"Host": host, "Origin": f"http://{host}", "X-Key": server.key, "Content-Type": "application/json"}
    kept = [f"{name}: {value}" for name, value in usual.items() if name not in without]
    return "\r\n".join([first, *kept, *lines, "", ""]).encode()


def is_a_sentence(content):
    said = json.loads(content)["error"] if content.startswith("{") else content
    return 5 < len(said) < 200 and "Traceback" not in said and "\n" not in said.strip() and "<" not in said


# Who asks


def test_it_listens_on_this_machine_alone(server):
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("headers", [
    {"Host": "evil.example"}, {"Host": "evil.example:80"}, {"Host": "127.0.0.1"}, {"Host": "0.0.0.0:80"},
    {"Host": "127.0.0.1.evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": ""},
    {"Origin": None}, {"Origin": "http://127.0.0.1"}, {"Origin": "https://127.0.0.1"}, {"X-Key": None}, {"X-Key": ""},
    {"X-Key": "wrong"}, {"X-Key": "\u00e9"},
])  # fmt: skip
def test_who_is_not_its_own_page_is_refused(server, headers):
    before = dict(server.tabs.tabs)
    status, content = asked(server, "/hello", {"lesson": 7, "tab": ""}, **headers)
    assert status == 403 and is_a_sentence(content)
    assert server.tabs.tabs == before


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}])
def test_a_page_is_not_shown_to_others(server, headers):
    status, content = asked(server, "/index.html", **headers)
    assert status == 403 and is_a_sentence(content)


def test_both_names_of_this_machine_will_do(server):
    for name in ("127.0.0.1", "localhost"):
        host = f"{name}:{server.server_port}"
        assert asked(server, "/index.html", Host=host)[0] == 200
        assert asked(server, "/waits", {"waits": True}, Host=host, Origin=f"http://{host}")[0] == 200
    mixed = f"http://localhost:{server.server_port}"
    assert asked(server, "/waits", {"waits": True}, Origin=mixed)[0] == 403


def test_the_name_is_given_once(server):
    no_host = head(server, "Content-Length: 2", without=["Host"]) + b"{}"
    assert sent(server, no_host)[0] == 403
    twice = head(server, f"Host: 127.0.0.1:{server.server_port}", "Content-Length: 2") + b"{}"
    assert sent(server, twice)[0] == 403


def test_a_form_of_another_page_cannot_ask(server):
    status, content = asked(server, "/waits", {"waits": False}, **{"Content-Type": "text/plain"})
    assert status == 415 and is_a_sentence(content)
    assert load(server.course.work).waits


# What is asked for


@pytest.mark.parametrize(("path", "request_"), [
    ("/nothing", {}), ("/__class__", {}), ("/_send", {}), ("/answer_hello", {}),
    ("/hello/", {"lesson": 7, "tab": ""}),
    ("/hello", {}), ("/hello", {"lesson": 7}), ("/hello", {"lesson": 99, "tab": ""}),
    ("/hello", {"lesson": "7", "tab": ""}),
    ("/hello", {"lesson": True, "tab": ""}), ("/hello", {"lesson": 7.0, "tab": ""}),
    ("/hello", {"lesson": 7, "tab": None}),
    ("/hello", {"lesson": -1, "tab": ""}), ("/hello", {"lesson": 10**400, "tab": ""}),
    ("/hello", {"lesson": 7, "tab": "", "more": 1}), ("/hello", {"lesson": 7, "tab": "", "server": 1}),
    ("/hello", []), ("/hello", "hello"), ("/hello", None), ("/poll", {"tab": "", "seen": "0"}),
    ("/poll", {"tab": ""}),
    ("/place", {"lesson": 7, "cell": 10**6}), ("/place", {"lesson": 7, "cell": -1}),
    ("/place", {"lesson": 99, "cell": 0}),
    ("/waits", {"waits": 1}), ("/waits", {"waits": "yes"}),
    ("/exercise", {"do": "save", "name": "layernorm"}), ("/exercise", {"do": "save", "name": "layernorm",
    "text": 1, "digest": ""}),
    ("/exercise", {"do": "read", "name": 7}), ("/exercise", {"do": "hint", "name": "layernorm", "more": 1}),
])  # fmt: skip
def test_what_is_none_of_what_can_be_asked_for_is_refused(server, path, request_):
    text = json.dumps(request_).encode()
    status, headers, content = sent(
        server, head(server, f"Content-Length: {len(text)}", first=f"POST {path} HTTP/1.1") + text
    )
    assert 400 <= status < 500 and is_a_sentence(content)
    assert headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize("what", [
    {"do": "nothing"}, {"do": "__init__"}, {"do": "_ask"}, {"do": "stop"}, {"do": 1}, {}, {"do": "run"},
    {"do": "run", "cell": 0},
    {"do": "run", "cell": 10**9}, {"do": "run", "cell": -1}, {"do": "run", "cell": "1"}, {"do": "run", "cell": True},
    {"do": "run", "cell": 1, "text": 1}, {"do": "run", "cell": 1, "text": "x" * 200_000}, {"do": "run",
    "cell": 1, "self": 1},
    {"do": "derive", "cell": 1}, {"do": "derive", "cell": 10**9}, {"do": "line", "cell": 1, "line": "x"},
    {"do": "line", "cell": 1}, {"do": "reveal", "cell": 1}, {"do": "typed", "text": "x"}, {"do": "typed"},
    {"do": "reset", "cell": 0}, {"do": "run_stale", "cell": 1}, {"do": "edit", "cell": 0, "text": ""},
    {"do": "edit", "cell": 1, "text": "x" * 200_000}, {"do": "again", "cell": 1},
])  # fmt: skip
def test_what_cannot_be_done_in_a_tab_is_refused(opened, what):
    status, content = asked(opened.server, "/do", {"tab": opened.tab, **what})
    assert status == 400 and is_a_sentence(content)
    assert not opened.server.tabs[opened.tab].process


@pytest.fixture(scope="module")
def opened(server):
    return OpenPage(server, 7)


def test_a_tab_that_is_gone_says_so_by_a_status_of_its_own(server):
    for path, more in (
        ("/poll", {"seen": 0}),
        ("/stop", {}),
        ("/end", {}),
        ("/bye", {}),
        ("/ended", {}),
        ("/do", {"do": "answers"}),
    ):
        status, content = asked(server, path, {"tab": "unknown", **more})
        assert status == 410 and is_a_sentence(content)


@pytest.mark.parametrize(("lines", "body", "status"), [
    ((), b"", 411),
    (("Transfer-Encoding: chunked",), b"2\r\n{}\r\n0\r\n\r\n", 411),
    (("Content-Length: 2", "Content-Length: 3"), b"{}", 411),
    (("Content-Length: 2", "Transfer-Encoding: chunked"), b"{}", 411),
    (("Content-Length: -1",), b"{}", 400),
    (("Content-Length: two",), b"{}", 400),
    (("Content-Length: \u0662".encode().decode("latin-1"),), b"{}", 400),
    (("Content-Length: 1e3",), b"{}", 400),
    (("Content-Length: 9999999",), b"{}", 413),
    (("Content-Length: " + "9" * 30,), b"{}", 413),
    (("Content-Length: 100",), b"{}", 400),
    (("Content-Length: 1",), b"{", 400),
    (("Content-Length: 3",), b"\xff\xfe\xfd", 400),
    (("Content-Length: 200000",), b"[" * 200_000, 400),
    (("Content-Length: 6000",), b"1" * 6000, 400),
])  # fmt: skip
def test_a_body_that_is_none_is_refused(server, lines, body, status):
    got, headers, content = sent(
        server, head(server)[:-2] + "".join(f"{one}\r\n" for one in lines).encode("latin-1") + b"\r\n" + body
    )
    assert got == status and is_a_sentence(content)
    assert status == 400 or headers["Connection"] == "close"  # what was not read is not taken for a request


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get", "__init__"])
def test_other_methods_are_refused(server, method):
    status, _, content = sent(server, head(server, first=f"{method} /index.html HTTP/1.1"))
    assert status == 405 and is_a_sentence(content)


@pytest.mark.parametrize("text", [
    b"\r\n\r\n\r\n", b"nonsense\r\n\r\n", b"GET\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
    b"GET / SMTP\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"GET / HTTP/1.1\r\nA: " + b"b" * 70_000 + b"\r\n\r\n",
])  # fmt: skip
def test_what_is_no_request_is_refused_and_the_server_goes_on(server, text, capfd):
    with contextlib.suppress(ConnectionError, http.client.HTTPException):  # HTTP/0.9, which has no status, is cut off
        status, _, content = sent(server, text)
        assert 400 <= status < 600 and is_a_sentence(content)
    assert asked(server, "/style.css")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_a_request_that_does_not_come_to_its_end_is_given_up(server, monkeypatch):
    monkeypatch.setattr(handler.Handler, "timeout", 0.2)
    status, _, content = sent(server, head(server, "Content-Length: 100") + b"{", end=False)
    assert status == 408 and is_a_sentence(content)


def test_what_was_not_understood_is_not_taken_for_the_next_request(server):
    hidden = head(server, "Content-Length: 16", first="POST /waits HTTP/1.1") + b'{"waits": false}'
    sent(server, head(server, f"Content-Length: {len(hidden)}", without=["X-Key"]) + hidden)
    assert load(server.course.work).waits


# Pages


@pytest.mark.parametrize("path", [
    "/../pyproject.toml", "/%2e%2e/pyproject.toml", "/..%2fpyproject.toml", "/docs/../../etc/passwd", "//etc/passwd",
    "/%00", "/lessons/01_arrays.py", "/pages.py", "/server.py", "/work/layernorm.py", "/07_layernorm.html/",
    "/step-.html",
    "/docs", "/.", "/pages.py", "/live.css", "/\\..\\x", "/07_layernorm.html%00.css", "/%", "/%ff",
])  # fmt: skip
def test_nothing_but_its_pages_lies_there(server, path):
    status, content = asked(server, path)
    assert status == 404 and content == "there is no such page here\n"


def test_pages_of_every_kind_are_sent_and_kept_to_themselves(server):
    of_a_kind = {
        address.rpartition("/")[0] + address.rpartition(".")[2]: address for address in server.pages.addresses()
    }
    pages = {*of_a_kind.values(), "index.html", "07_layernorm.html", "style.css", "live.js"}
    pages -= {*server.pages.number_pages}
    policies = {}
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    kinds = {name: f"text/{name}; charset=utf-8" for name in ("html", "css")}
    kinds |= {"js": "text/javascript; charset=utf-8", "svg": "image/svg+xml", "png": "image/png"}
    with contextlib.closing(connection):
        for address in ["", *pages]:
            connection.request("GET", f"/{address}?x=1")
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status == 200 and content, address
            assert answer.headers["Content-Type"] == kinds[(address or "index.html").rpartition(".")[2]], address
            assert b"<script>" not in content, address  # which the policy would refuse
            policies[address] = answer.headers["Content-Security-Policy"]
    policy = policies["07_layernorm.html"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'; " in policy and "frame-ancestors 'none'" in policy
    others = {
        name: answer.headers[name]
        for name in ("X-Content-Type-Options", "Referrer-Policy", "X-Frame-Options", "Cache-Control")
    }
    assert list(others.values()) == ["nosniff", "no-referrer", "DENY", "no-store"]


def test_head_is_get_without_the_content(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    with contextlib.closing(connection):
        answers = []
        for method in ("GET", "HEAD"):
            connection.request(method, "/style.css")
            answer = connection.getresponse()
            answers.append((answer.status, answer.headers["Content-Length"], len(answer.read())))
        (_, length, size), head_ = answers
        assert size == int(length) and head_ == (200, length, 0)
        connection.request("HEAD", "/nothing")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (404, b"")


def test_a_page_that_takes_long_is_made_once_and_the_server_is_free_meanwhile(server, monkeypatch):
    begun, go_on, made = threading.Event(), threading.Event(), []

    def page(_, address):
        made.append(address)
        begun.set()
        assert go_on.wait(60)
        return b"<script>recorded</script>"

    monkeypatch.setattr(number_pages.MadeApart, "_made", page)
    answers = []
    waiting = [threading.Thread(target=lambda: answers.append(asked(server, "/step.html"))) for _ in range(2)]
    for thread in waiting:
        thread.start()
    assert begun.wait(60)
    assert asked(server, "/index.html")[0] == 200
    go_on.set()
    for thread in waiting:
        thread.join(60)
    assert answers == 2 * [(200, "<script>recorded</script>")] and made == ["step.html"]
    server.number_pages.kept.clear()


def test_the_making_of_a_page_is_in_a_process_of_its_own(server, monkeypatch, tmp_path):
    said = "import os\n\ndef serve(settings):\n    print(settings['folder'], os.getpid())\n"
    (tmp_path / "says_what_it_is_given.py").write_text(said)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(number_pages, "__name__", "says_what_it_is_given")
    folder, pid = server.number_pages._made("step.html").decode().split()
    assert folder == str(FOLDER) and int(pid) != os.getpid()
    monkeypatch.setattr(number_pages, "__name__", "no_module_of_this_name")
    status, content = asked(server, "/step.html")
    assert status == 500 and "python -m lessons page" in content and is_a_sentence(content)

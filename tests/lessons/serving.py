"""The lessons' server in this process, and requests to it as a page makes them."""

import contextlib
import http.client
import json
import threading
import time
from pathlib import Path
from unittest import mock

from lessons import display, page_child, page_process
from lessons.course import Course
from lessons.web.server import Server
from tinygpt.recorder import step

FOLDER = Path(__file__).parents[2] / "lessons"
SECONDS = 60  # for what a page waits for


@contextlib.contextmanager
def serving(work, folder=FOLDER):
    """A server of the course, with the learner's files in `work`, until the end of the block."""
    server = Server(Course(folder, work, display.make_console(False)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.end()
        thread.join(10)


def asked(server, path, request=None, seconds=60, **headers):
    """(status, content) of a request: GET, or POST of what JSON holds. headers: others than a page would send."""
    host = f"127.0.0.1:{server.server_port}"
    sent = {"Host": host}
    if request is not None:
        sent |= {"Origin": f"http://{host}", "X-Key": server.key, "Content-Type": "application/json"}
    sent = {name: value for name, value in (sent | headers).items() if value is not None}
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=seconds)
    with contextlib.closing(connection):
        connection.request("GET" if request is None else "POST", path, request and json.dumps(request), sent)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


class OpenPage:
    """A page of a lesson that is open: what it asks for, and what it hears. events: all that it has heard."""

    def __init__(self, server, lesson=1, tab=""):
        self.server, self.lesson, self.events = server, lesson, []
        self.state = self.ask("hello", lesson=lesson, tab=tab)
        self.tab, self.seen = self.state["tab"], self.state["seen"]

    def ask(self, what, **request):
        """The answer to a request."""
        status, content = asked(self.server, f"/{what}", request)
        assert status == 200, content
        return json.loads(content)

    def do(self, do, **what):
        self.ask("do", tab=self.tab, do=do, **what)

    def until(self, *names):
        """What is heard until there is an event of one of these names, or nothing runs any more."""
        heard, end = [], time.monotonic() + SECONDS
        while time.monotonic() < end:
            answer = self.ask("poll", tab=self.tab, seen=self.seen)
            self.seen = answer["seen"]
            self.events += answer["events"]
            heard += answer["events"]
            if any(name in event for event in heard for name in names) or not names and not answer["busy"]:
                return heard
        raise AssertionError(f"none of {names} in {SECONDS} s, but {heard}")

    def run(self, cell, text=None):
        """What is heard of a cell that is run, until nothing runs any more."""
        self.do("run", cell=cell, **({} if text is None else {"text": text}))
        return self.until()

    def anew(self):
        """The page as it is when it is loaded anew."""
        self.ask("bye", tab=self.tab)
        return OpenPage(self.server, self.lesson, self.tab)


def of(events, name):
    """The events of a name."""
    return [event for event in events if name in event]


@contextlib.contextmanager
def small_steps():
    """Training steps with a learner's parts are recorded in this process, in a model of one block, on a short text."""

    def data_with_own(text, folder, began):
        with mock.patch.multiple(step, LAYERS=1, CHANNELS=4, _shapes_apart=lambda own: {}):
            return page_child.data_with_own("aba", folder)

    with mock.patch.object(page_process, "data_with_own", data_with_own):
        yield

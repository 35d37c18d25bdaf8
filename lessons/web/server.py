"""`python -m lessons web`: the lessons' pages from this machine to itself, with a process behind each that runs its
cells.

It listens on 127.0.0.1 alone. Whoever may open a page there is asked for nothing, for the lessons are public; what
runs code, and what reads or writes the learner's files, is answered only with the key, which stands in the part of the
address that browsers do not send, and only to pages of this very server (Host and Origin).
"""

import contextlib
import secrets
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from typing import Any

from lessons.cells import Lesson
from lessons.course import Course
from lessons.progress import changing
from lessons.web.exercises import Exercises
from lessons.web.handler import Handler
from lessons.web.lesson_page import page_of
from lessons.web.number_pages import MadeApart
from lessons.web.pages import Pages
from lessons.web.tab import Tab
from lessons.web.tabs import Tabs
from tinygpt.errors import UserError
from tinygpt.pages.browser import opened
from tinygpt.signals import answered_by, interrupt

SWEPT = 1.0  # seconds between two looks for pages that were left
SHUT = 0.1  # seconds after which a server that is to end does
HIGHEST = 65535  # of the ports


def web(course: Course, lessons: list[Lesson], port: int, open: bool) -> int:
    """Serve until Ctrl-C or another signal to end, which is raised on. lessons: none, or the one whose page the address
    leads to. Raises UserError for a port that cannot be had, and a folder of the learner's that cannot be written.
    """
    with changing(course.work):  # which the pages write in
        pass
    with answered_by(interrupt), _listening(course, port) as server:
        page = page_of(lessons[0]) if lessons else ""
        address = f"http://127.0.0.1:{server.server_port}/{page}#key={server.key}"
        course.say("A browser was asked to show this:" if open and opened(address) else "Open this in a browser:")
        course.console.print(address, soft_wrap=True)
        course.say("Ctrl-C ends it.")
        while True:
            threading.Event().wait(SWEPT)
            server.tabs.sweep()


@contextlib.contextmanager
def _listening(course: Course, port: int) -> Iterator["Server"]:
    """A server that answers within the block; all that it has started is ended with that."""
    if not 0 <= port <= HIGHEST:
        raise UserError(f"ports are 0 to {HIGHEST}, and {port} is none; give another one with --port")
    try:
        server = Server(course, port)
    except OSError as error:
        raise UserError(f"could not listen on port {port}: {error.strerror}; give another one with --port") from error
    threading.Thread(target=server.serve_forever, args=(SHUT,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.end()


class Server(ThreadingHTTPServer):
    """The pages and the tabs of a course."""

    daemon_threads = True
    request_queue_size = 64  # several tabs ask for some files each

    def __init__(self, course: Course, port: int = 0):
        super().__init__(("127.0.0.1", port), Handler)
        self.course, self.pages, self.number_pages = course, Pages(course, live=True), MadeApart(course)
        self.tabs, self.exercises = Tabs(), Exercises(course)
        self.key = secrets.token_urlsafe(16)
        self.hosts = {f"{name}:{self.server_port}" for name in ("127.0.0.1", "localhost")}

    def handle_error(self, *_: Any) -> None:
        """A connection that broke off; whoever it was to hears nothing, and nobody else need."""

    def end(self) -> None:
        """End all that it has started, and listen no more."""
        for part in (self.tabs, self.exercises, self.number_pages):
            part.end()
        self.server_close()

    def reached(self, lesson: Lesson, cell: int) -> None:
        """Keep a reader's place, as far as the lesson without its answers goes. Raises UserError."""
        if cell < len(lesson.body):
            with changing(self.course.work) as progress:
                progress.lesson(lesson.number).place = cell

    def tab(self, lesson: Lesson) -> Tab:
        """What stands behind a page that is opened."""

        def derived(call: str) -> None:
            with changing(self.course.work) as progress:
                kept = progress.lesson(lesson.number)
                kept.derived = sorted({*kept.derived, call})

        return Tab(lesson, lambda cell: self.reached(lesson, cell), derived)

"""What a live page may ask for: the functions of `ANSWERS`, which take what their signatures say, and no others.

Each is a POST of JSON, answered by JSON, or by a sentence in {"error"}:

    hello {lesson, tab}     the page is there; tab: the name that it had, or "". Its answer has "tab", the name, and
                            "events", which are shown as those of a poll are, "busy", "seen", "place", "ended", "waits"
    poll {tab, seen}        "events" after the first `seen`, and the new "seen"; at once if there are any or nothing
                            runs, else after some seconds
    do {tab, do, ...}       run {cell, text?}, edit {cell, text}, run_stale, answers, derive {cell}, line {cell, line},
                            reveal {cell}, typed {text}, reset {cell}: the lesson's own text again, which is run if the
                            other was
    stop {tab}              end what is under way, and keep the variables
    end {tab}               end the process, with its variables
    place {lesson, cell}    keep the place; that of a cell that is run or derived is kept anyhow
    ended {tab}             the end of the page is in view: "ended", whether all code was run and it is kept, and "next"
    waits {waits}           whether the stepper waits before it runs a cell
    bye {tab}               the page is left, or loaded anew
    exercise {do, name, ..} what `Exercises.ASKED` names, of the exercise of this name
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lessons.cells import Lesson
from lessons.progress import changing, load
from lessons.web.requests import QUOTED, called
from lessons.web.tab import Tab
from tinygpt.errors import UserError

if TYPE_CHECKING:
    from lessons.web.server import Server

WAITS = 2.0  # seconds that a page is kept waiting; a browser has six connections to a server, for all of its pages


def hello(server: "Server", lesson: int, tab: str) -> dict[str, Any]:
    """A page is there: its tab, and what came of its cells before it was loaded anew."""
    of = _lesson(server, lesson)
    name, opened = server.tabs.open(tab, lesson, lambda: server.tab(of))
    progress = load(server.course.work)
    kept = progress.lesson(lesson)
    return opened.state() | {
        "tab": name, "place": kept.place, "ended": kept.ended, "waits": progress.waits,
        "command": server.course.command("web", lesson),
    }  # fmt: skip


def poll(server: "Server", tab: str, seen: int) -> dict[str, Any]:
    """What has been said since."""
    return server.tabs[tab].poll(seen, WAITS)


def do(server: "Server", tab: str, do: str, **what: Any) -> dict[str, Any]:
    """Have a cell run, and the like: see `Tab.DOES`."""
    if do not in Tab.DOES:
        raise UserError(f"a page cannot do {do[:QUOTED]!r}")
    called(Tab.DOES[do], server.tabs[tab], what)
    return {}


def stop(server: "Server", tab: str) -> dict[str, Any]:
    """End what is under way."""
    server.tabs[tab].stop()
    return {}


def end(server: "Server", tab: str) -> dict[str, Any]:
    """End the process."""
    server.tabs[tab].end("the process was ended, as you asked")
    return {}


def bye(server: "Server", tab: str) -> dict[str, Any]:
    """The page is left, or loaded anew."""
    server.tabs[tab].leave()
    return {}


def place(server: "Server", lesson: int, cell: int) -> dict[str, Any]:
    """Keep the reader's place."""
    of = _lesson(server, lesson)
    if not 0 <= cell < len(of.body):
        raise UserError(f"lesson {lesson} has no cell {cell + 1}")
    server.reached(of, cell)
    return {}


def ended(server: "Server", tab: str) -> dict[str, Any]:
    """The end of the page is in view; with all of its code run the lesson is ended, and begins at its top again."""
    of = server.tabs[tab]
    all_run = all(index in of.shown for index, cell in enumerate(of.lesson.body) if cell.is_code)
    if all_run:
        with changing(server.course.work) as progress:
            kept = progress.lesson(of.lesson.number)
            kept.place, kept.ended = 0, True
    return {"ended": all_run, "next": server.exercises.following(of.lesson)}


def waits(server: "Server", waits: bool) -> dict[str, Any]:
    """Whether code is run as it is shown, or waits to be run."""
    with changing(server.course.work) as progress:
        progress.waits = waits
    return {"waits": waits}


def exercise(server: "Server", do: str, name: str, **what: Any) -> dict[str, Any]:
    """Read, save or check an exercise and the like: see `Exercises.ASKED`."""
    return server.exercises.answer(do, name, **what)


ANSWERS: dict[str, Callable] = {
    one.__name__: one for one in (hello, poll, do, stop, end, bye, place, ended, waits, exercise)
}


def _lesson(server: "Server", number: int) -> Lesson:
    if number not in server.course.lessons:
        raise UserError(f"there is no lesson {number}"[:QUOTED])
    return server.course.lessons[number]

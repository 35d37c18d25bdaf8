"""The exercises of the live pages: what a page may ask for, on the files, the progress and in the words that the
terminal has too.
"""

import contextlib
import hashlib
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lessons import display, helping
from lessons.cells import Lesson
from lessons.checking import Verdict, in_words, judged, line_spoken_of, spoken_of, stopped
from lessons.course import Course
from lessons.exercises import Exercise
from lessons.files import begin, begun_anew, put_aside
from lessons.page import as_html, place, recorded
from lessons.progress import load
from lessons.web import markup
from lessons.web.check_process import Check, Running, Stopped
from lessons.web.lesson_page import name_of, page_of
from lessons.web.requests import QUOTED, called
from tinygpt.errors import UserError
from tinygpt.files import read_bytes, write_atomically

LONGEST = 1 << 20  # bytes of a file
KEPT = 4  # step pages that are kept, to be loaded anew


class Exercises:
    """The exercises of a course, for its pages. What can be asked for are the methods of `ASKED`, each with the
    exercise and what else it takes; each answers with what there is to say, and raises UserError.

    pages: step pages by their addresses, which nobody can guess, for the learner's code is in them.
    """

    ASKED = "read", "start", "save", "take", "check", "stop", "hint", "diff", "solution", "reset", "step"

    def __init__(self, course: Course):
        self.course = course
        self.pages: dict[str, str] = {}
        self.running: dict[str, Running] = {}  # by exercise
        self.last: dict[str, dict[str, Any]] = {}  # of each exercise what the last check here found
        self.lock = threading.Lock()

    def answer(self, do: str, name: str, **what: Any) -> dict[str, Any]:
        """What a page has asked for, and the `state` after it. Raises UserError if that cannot be done."""
        if do not in self.ASKED:
            raise UserError(f"an exercise can do {', '.join(self.ASKED)}, and not {do[:QUOTED]!r}")
        if name not in self.course.exercises:
            raise UserError(f"there is no exercise {name[:QUOTED]!r}")
        exercise = self.course.exercises[name]
        try:
            said = called(getattr(self, do), exercise, what)
            return self.state(exercise) | said
        except OSError as error:
            raise UserError(f"{error.filename or self.course.work}: {error.strerror or error}") from error

    def end(self) -> None:
        """End what runs."""
        for running in list(self.running.values()):
            running.stop()

    def state(self, exercise: Exercise) -> dict[str, Any]:
        """What there is: the file's text and its digest, how far the learner is, and what was said of that text."""
        path, name, progress = self.course.file(exercise), exercise.name, load(self.course.work)
        content, last = self._content(exercise), self.last.get(name)
        kept = progress.exercise(name)
        return {
            "name": name, "file": display.shown_path(path), "begun": content is not None,
            "text": (content or b"").decode().replace("\r\n", "\n"), "digest": _digest(content),
            "state": self.course.exercise_state(name, progress), "attempts": kept.attempts,
            "hints": self._hints(exercise), "running": name in self.running,
            "last": last if last and last["digest"] == _digest(content) else None,
        }  # fmt: skip

    def _content(self, exercise: Exercise) -> bytes | None:
        """The learner's file; None if there is none. Raises UserError if it is no text, or too long for a page."""
        path = self.course.file(exercise)
        if not path.exists() and not path.is_symlink():
            return None
        content = read_bytes(path, LONGEST)
        try:
            content.decode()
        except UnicodeDecodeError as error:
            says = f"{display.shown_path(path)} is not UTF-8 text, at byte {error.start:,}; mend it in another editor"
            raise UserError(f"{says}, or begin anew: {self.course.command('reset', exercise.name)}") from None
        return content

    def _hints(self, exercise: Exercise) -> list[dict[str, Any]]:
        with contextlib.suppress(UserError):  # there are none, which is said where one is asked for
            return [_as_html(hint) for hint in helping.given_hints(self.course, exercise)]
        return []

    # The file

    def read(self, _: Exercise) -> dict[str, Any]:
        """The state alone."""
        return {}

    def start(self, exercise: Exercise) -> dict[str, Any]:
        """Write the file to be filled in."""
        path = self.course.file(exercise)
        if begin(path, exercise):
            return {"says": f"{display.shown_path(path)} is written. Fill in what is missing, then check it."}
        return {"says": f"{display.shown_path(path)} is there already and was left alone."}

    def save(self, exercise: Exercise, text: str, digest: str, over: bool = False) -> dict[str, Any]:
        """Write the file, if it still is what the page began from, which the digest tells. over: write it all the same,
        and keep beside it what it was.
        """
        path = self.course.file(exercise)
        with self.lock:
            content = self._content(exercise)
            if _digest(content) != digest and not over:
                return {"saved": (content or b"").decode().replace("\r\n", "\n") == text and content is not None}
            says = {}
            if _digest(content) != digest and content is not None:
                says = {"says": f"What it was is kept in {display.shown_path(put_aside(path, content))}."}
            new = _bytes(text.replace("\n", "\r\n") if content and b"\r\n" in content else text)
            if new != content:
                write_atomically(path, new)
            return {"saved": True, **says}

    def take(self, exercise: Exercise, text: str) -> dict[str, Any]:
        """Keep the page's text beside the file, which the page then takes over as it is."""
        backup = put_aside(self.course.file(exercise), _bytes(text))
        return {"says": f"What stood here is kept in {display.shown_path(backup)}."}

    def reset(self, exercise: Exercise) -> dict[str, Any]:
        """Write the blank anew, with what the learner wrote kept beside it."""
        with self.lock:
            return {"says": f"{begun_anew(self.course, exercise)}."}

    # What runs it

    def check(self, exercise: Exercise) -> dict[str, Any]:
        """Check the file, and wait for the verdict."""
        path, name, check = self.course.file(exercise), exercise.name, Check(exercise)
        line = {}
        with self._runs(name, check):
            try:
                verdict = judged(self.course, exercise, check)
            except Stopped as end:
                verdict, line = Verdict(False, stopped(path, end)), {"line": end.line or 0}
        source = verdict.source or self._content(exercise) or b""
        self.last[name] = self._said(exercise, verdict, source) | {"printed": check.printed} | line
        return {"last": self.last[name]}

    def step(self, exercise: Exercise) -> dict[str, Any]:
        """Record a training step with the learner's layers, and say where its page is."""
        recording = Running()
        with self._runs(exercise.name, recording):
            try:
                data, remarks = recorded(self.course, None, "", began=recording.began)
            except UserError:
                if not recording.is_stopped:
                    raise
                return {"says": "Stopped."}
        lesson = self.course.lessons[exercise.lesson]
        address = f"step-{secrets.token_urlsafe(16)}.html"
        with self.lock:
            self.pages[address] = as_html(data, (page_of(lesson), name_of(lesson)))
            for old in list(self.pages)[:-KEPT]:
                del self.pages[old]
        return {"address": address + place(data["start"]), "says": data["mine"]["says"], "remarks": remarks}

    def stop(self, exercise: Exercise) -> dict[str, Any]:
        """End what runs; who waits for it is told."""
        if running := self.running.get(exercise.name):
            running.stop()
        return {}

    @contextlib.contextmanager
    def _runs(self, name: str, running: Running) -> Iterator[None]:
        with self.lock:
            if name in self.running:
                raise UserError(f"{name} is being checked or recorded already; stop that first, or wait for it")
            self.running[name] = running
        try:
            yield
        finally:
            del self.running[name]

    def _said(self, exercise: Exercise, verdict: Verdict, source: bytes) -> dict[str, Any]:
        """A verdict as the page shows it: in words, with the lines that they speak of, and what comes next."""
        path, checked = self.course.file(exercise), verdict.checked
        wrong = in_words(checked, path) if checked and not verdict.right else ""
        around = spoken_of(source, path, checked.wrong) if checked and wrong else None
        line = around.line if around else line_spoken_of(path, checked.wrong) if checked else 0
        table = checked.text.rstrip("\n") if checked and checked.text != checked.wrong else ""
        return {
            "right": verdict.right, "short": verdict.short, "wrong": wrong, "line": line,
            "excerpt": around._asdict() if around else None, "beside": checked.beside if checked else "",
            "table": table, "ran": bool(checked and checked.answered),
            "offers": {offer.what: offer._asdict() for offer in verdict.offers},
            "next": self.following(self.course.lessons[exercise.lesson]) if verdict.right else None,
            "digest": _digest(source),
        }  # fmt: skip

    def following(self, lesson: Lesson) -> dict[str, str]:
        """What comes next in a lesson, as a link."""
        progress = load(self.course.work)
        following = self.course.following(lesson, progress)
        words, href, leads = "the list of the lessons", "index.html", following.lesson
        if leads:
            words, href = name_of(leads), page_of(leads)
        if following.exercise:
            words, href = f"write {following.exercise}", f"{href}#exercise-{following.exercise}"
        elif leads is lesson:
            href = f"{href}#cell-{progress.lesson(lesson.number).place + 1}"
            return {"words": "on with the lesson", "href": href, "more": "", "command": following.command}
        return {"words": words, "href": href, "more": following.more, "command": following.command}

    # What helps

    def hint(self, exercise: Exercise) -> dict[str, Any]:
        """The next hint, or the last again."""
        return {"hint": _as_html(helping.next_hint(self.course, exercise))}

    def diff(self, exercise: Exercise, sure: bool = False) -> dict[str, Any]:
        """How the engine's file differs from the learner's, once they have tried; "ask": why one should be sure."""
        if says := helping.untried(self.course, exercise):
            raise UserError(f"{says}.")
        if not sure and not self._has_run(exercise):
            return {"ask": f"{helping.GIVES_AWAY.format('difference')}."}
        both = helping.texts(self.course, exercise)
        return {
            "title": f"{exercise.name}: - {both.whose}; + the engine's", "difference": both.difference,
            "same": "" if both.difference else helping.SAME,
        }  # fmt: skip

    def solution(self, exercise: Exercise, sure: bool = False) -> dict[str, Any]:
        """The engine's file, once they have tried or if they insist; "ask": why one should be sure."""
        if not sure and (says := helping.untried(self.course, exercise)):
            return {"ask": f"{says}."}
        if not sure and not self._has_run(exercise):
            return {"ask": f"{helping.GIVES_AWAY.format('solution')}."}
        code = markup.code(exercise.solution(), markup.language_of(Path(exercise.file)))
        return {"title": f"{exercise.name}, the engine's", "html": code}

    def _has_run(self, exercise: Exercise) -> bool:
        """Whether the last check here found anything that ran; of one in the terminal that is not known."""
        last = self.last.get(exercise.name)
        return last is None or last["ran"]


def _as_html(hint: helping.Hint) -> dict[str, Any]:
    return {"number": hint.number, "of": hint.of, "html": markup.Text(hint.text).html(), "again": hint.again}


def _bytes(text: str) -> bytes:
    """A page's text as a file has it. Raises UserError if that cannot be."""
    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"there is half a character in the text, after {text[: error.start][-20:]!r}") from None
    if len(content) > LONGEST:
        raise UserError(f"the text has {len(content):,} bytes; expected at most {LONGEST:,}")
    return content


def _digest(content: bytes | None) -> str:
    """What tells whether a file is still the same; "" for none."""
    return "" if content is None else hashlib.sha256(content).hexdigest()

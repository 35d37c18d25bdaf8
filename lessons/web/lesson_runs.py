"""Lessons run from their top to their end, answers too, each in a process of its own: what came of every cell."""

import json
import os
import queue
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lessons.cells import Lesson
from lessons.runner import Runner
from lessons.web.coloured import as_on_a_page
from tinygpt.device import cpu_count
from tinygpt.gradcheck.own_process import OwnProcess, ending
from tinygpt.progress import Progress, report

LONGEST = 600.0  # seconds that a cell may take
Outcomes = dict[int, tuple[str, str]]  # of each cell that was run, by its index, what it printed, and what went wrong


def run_all(lessons: Sequence[Lesson]) -> tuple[dict[int, Outcomes], list[str]]:
    """What came of every lesson's cells, by its number, and what went wrong, in sentences. A few are run at once."""
    ran: dict[int, Outcomes] = {}
    wrong: dict[int, str] = {}
    total = sum(cell.is_code for lesson in lessons for cell in lesson.cells)
    done = 0
    for some in in_turns(lessons):
        for said in at_once(some):
            if isinstance(said, LessonRun):
                ran[said.lesson.number] = said.outcomes
                wrong[said.lesson.number] = said.wrong
            else:
                done += 1
                report(Progress("running the lessons", done, total, "cells"))
    return ran, [wrong[number] for number in sorted(wrong) if wrong[number]]


def in_turns(lessons: Iterable[Lesson]) -> list[list[Lesson]]:
    """Lessons that may be run at once; those that take up the model of lesson 15 come after it is trained."""
    first, then = [], []
    for lesson in lessons:
        (then if "tiny_gpt" in "".join(cell.text for cell in lesson.body if cell.is_code) else first).append(lesson)
    return [first, then]


def at_once(lessons: Iterable[Lesson]) -> Iterator["int | LessonRun"]:
    """Of lessons that are run at once, as many as there are cores: the index of each cell that is done, and each run
    that is. Whatever way this is left, no process of theirs stays.
    """
    left = list(lessons)
    running: list[LessonRun] = []
    told = queue.SimpleQueue[int | LessonRun]()
    try:
        while left or running:
            while left and len(running) < cpu_count():
                running.append(run := LessonRun(left.pop(0)))
                threading.Thread(target=run.read, args=(told,), daemon=True).start()
            said = told.get()
            if isinstance(said, LessonRun):
                running.remove(said)
            yield said
    finally:
        for run in running:
            run.process.end()


class LessonRun:
    """A lesson that is being run. outcomes: those of the cells so far; wrong: what went wrong first, in a sentence, or
    "", once it has come to its end.
    """

    def __init__(self, lesson: Lesson):
        self.lesson = lesson
        self.outcomes: Outcomes = {}
        self.wrong = f"lesson {lesson.number} was not run to its end"
        of = {"number": lesson.number, "name": lesson.name, "path": str(lesson.path)}
        self.process = OwnProcess(__name__, of)

    def read(self, told: queue.SimpleQueue) -> None:
        """Tell of every cell as it comes to its end, and of the run at last."""
        try:
            with self.process:
                while line := self._line():
                    index, printed, trouble = json.loads(line)
                    self.outcomes[index] = printed, trouble
                    told.put(index)
                self.wrong = self._wrong()
        finally:
            told.put(self)

    def _line(self) -> bytes:
        """What is said of the next cell; nothing at the process's end, to which one that takes too long is brought."""
        late = threading.Timer(LONGEST, self._end_late)
        late.start()
        try:
            return self.process.popen.stdout.readline()  # type: ignore[union-attr]
        finally:
            late.cancel()

    def _end_late(self) -> None:
        cells = self.lesson.cells
        index = next((n for n, cell in enumerate(cells) if cell.is_code and n not in self.outcomes), len(cells) - 1)
        self.outcomes[index] = "", f"stopped after {LONGEST:g} s; is there a loop without an end?\n"
        self.process.end()

    def _wrong(self) -> str:
        number = self.lesson.number
        for index, (_, trouble) in self.outcomes.items():
            if trouble:
                why = trouble.strip().splitlines()[-1]
                return f"cell {index + 1} of lesson {number} did not come to its end: {why}"
        if status := self.process.status():
            after = f" after cell {max(self.outcomes) + 1}" if self.outcomes else ""
            return f"the process of lesson {number} ended{after}, {ending(status)}"
        return ""


def serve(settings: dict[str, Any]) -> None:
    """Run a lesson, and write a line of JSON for each cell of code on what was the standard output. settings: "number",
    "name" and "path" of the lesson.
    """
    lesson = Lesson(settings["number"], settings["name"], Path(settings["path"]))
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    as_on_a_page()
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    body = len(lesson.body)
    for part in (range(body), range(body, len(lesson.cells))):
        with Runner(lesson) as runner:
            for index in part:
                if lesson.cells[index].is_code:
                    runner.run(index)
                    said = [index, runner.outputs[index], runner.troubles.get(index, "")]
                    replies.write(json.dumps(said) + "\n")
                    replies.flush()

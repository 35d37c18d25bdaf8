"""The exercises on the command line: start, check, hint, solution, reset."""

import os
import re
import time
from pathlib import Path

from lessons import display
from lessons.course import Course
from lessons.exercises import Exercise
from lessons.progress import changing, load, numbered
from tinygpt.errors import UserError
from tinygpt.files import write_atomically

TWO_COLUMNS = 130  # characters from which two files fit side by side
WATCH_SECONDS = 0.2


def start(course: Course, exercises: list[Exercise]) -> int:
    """Write the files to fill in; one that is there already is left alone."""
    for exercise in exercises:
        path = course.file(exercise)
        name, shown = exercise.name, display.shown_path(path)
        if _write_new(path, exercise.blank().encode()):
            course.say(f"{shown} is written. Fill in what is missing, then: {course.command('check', name)}")
        else:
            course.say(f"{shown} is there already and was left alone; to begin anew: {course.command('reset', name)}")
    return 0


def check(course: Course, exercises: list[Exercise], watch: bool) -> int:
    """Check the learner's files, once or after every save; the status is 1 if one of them is not right."""
    if watch:
        return _watch(course, exercises)
    right: list[bool] = []
    for exercise in exercises:
        if right:
            print()
        right.append(_check(course, exercise))
    if all(right):
        course.say(f"Next: {course.next_of(course.lessons[exercises[-1].lesson], load(course.work))}")
    return 0 if all(right) else 1


def _check(course: Course, exercise: Exercise) -> bool:
    path = course.file(exercise)
    if not path.is_file():
        course.say(
            f"{exercise.name} is not begun: there is no {display.shown_path(path)}; "
            f"write it with {course.command('start', exercise.name)}"
        )
        return False
    if _is_blank(path, exercise):
        with changing(course.work) as progress:
            progress.exercise(exercise.name).done = False
        course.say(f"{exercise.name}: {display.shown_path(path)} is as it was given; fill in what is missing in it")
        return False
    try:
        checked = exercise.check(path, seed=load(course.work).exercise(exercise.name).attempts)
    except KeyboardInterrupt as interrupt:
        course.say(f"\nStopped{_line_reached(path, interrupt)}.")
        return False
    with changing(course.work) as progress:
        kept = progress.exercise(exercise.name)
        kept.attempts += 1
        kept.done = checked.passed
    print(checked.text.rstrip("\n") + "\n")
    if checked.passed:
        course.say(f"{exercise.name} is right.", style="green")
    else:
        course.say(
            f"{exercise.name} is not right yet. For a hint: {course.command('hint', exercise.name)}", style="red"
        )
    return checked.passed


def _line_reached(path: Path, interrupt: KeyboardInterrupt) -> str:
    """The line of the learner's file at which Ctrl-C stopped it, such as in an endless loop."""
    line = getattr(interrupt, "line", None)
    return f" in {display.shown_path(path)}, line {line}" if line else ""


def _watch(course: Course, exercises: list[Exercise]) -> int:
    """Check now and after every save, until Ctrl-C."""
    right = dict.fromkeys((exercise.name for exercise in exercises), False)
    checked: dict[str, tuple[int, int] | None] = {}
    seen: dict[str, tuple[int, int] | None] = {}
    try:
        while True:
            for exercise in exercises:
                stamp = _stamp(course.file(exercise))
                first = exercise.name not in checked
                # A file that changed is checked once it has stopped changing; one in the midst of a save may be gone.
                if first or (stamp and stamp != checked[exercise.name] and stamp == seen[exercise.name]):
                    if not first:
                        course.say(
                            f"\n{time.strftime('%H:%M:%S')}  {display.shown_path(course.file(exercise))} was saved"
                        )
                    right[exercise.name] = _check(course, exercise)
                    checked[exercise.name] = stamp
                    print("Watching for the next save; Ctrl-C leaves.", flush=True)
                seen[exercise.name] = stamp
            time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        print()
    return 0 if all(right.values()) else 1


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def hint(course: Course, exercises: list[Exercise], all: bool) -> int:
    """Give the next hint, or show those given so far."""
    for exercise in exercises:
        hints = read_hints(course.folder, exercise.name)
        given = min(load(course.work).exercise(exercise.name).hints, len(hints))
        if all:
            numbers = range(given)
            if not numbers:
                course.say(
                    f"No hint for {exercise.name} was given yet; the first: {course.command('hint', exercise.name)}"
                )
        elif given < len(hints):
            numbers = range(given, given + 1)
            with changing(course.work) as progress:
                progress.exercise(exercise.name).hints = given + 1
        else:
            numbers = range(given - 1, given)
            course.say(
                f"That was the last hint; here it is again. The solution: {course.command('solution', exercise.name)}"
            )
        for number in numbers:
            course.console.print(f"{exercise.name}, hint {number + 1} of {len(hints)}\n", style="bold")
            print(display.markdown(hints[number], course.console))
    return 0


def read_hints(folder: Path, name: str) -> list[str]:
    """The hints for an exercise, from a question to nearly there."""
    path = folder / "hints" / f"{name}.md"
    if not path.exists():
        raise UserError(f"there are no hints for {name}; the lesson says what is to be written")
    return [part.strip() for part in re.split(r"^---+\s*$", path.read_text(encoding="utf-8"), flags=re.M)]


def solution(course: Course, exercises: list[Exercise], yes: bool) -> int:
    """Show the engine's own file beside the learner's, once they have tried or if they insist."""
    for exercise in exercises:
        if not yes and not load(course.work).exercise(exercise.name).attempts:
            raise UserError(
                f"{exercise.name} was not tried yet: change its file and check it first, "
                f"or see the solution all the same with {course.command('solution', exercise.name, '--yes')}"
            )
    for exercise in exercises:
        path, console = course.file(exercise), course.console
        texts = {"the engine's": exercise.solution()}
        if path.exists() and not _is_blank(path, exercise):
            texts = {f"yours, {display.shown_path(path)}": path.read_bytes().decode(errors="replace")} | texts
        if len(texts) == 2 and console.width >= TWO_COLUMNS:
            print(display.side_by_side(texts, console))
            continue
        for title, text in texts.items():
            console.print(f"{exercise.name}, {title}\n", style="bold")
            print(display.code(text, console))
    return 0


def reset(course: Course, exercises: list[Exercise]) -> int:
    """Write the blank anew; what the learner wrote is kept beside it."""
    for exercise in exercises:
        path = course.file(exercise)
        if not path.exists():
            start(course, [exercise])
        elif _is_blank(path, exercise):
            course.say(f"{display.shown_path(path)} is still as it was given; nothing was changed")
        else:
            backup = numbered(path)
            _write_new(backup, path.read_bytes())
            write_atomically(path, exercise.blank().encode())
            with changing(course.work) as progress:
                progress.exercise(exercise.name).done = False
            course.say(
                f"{display.shown_path(path)} is blank again; what you wrote is kept in {display.shown_path(backup)}"
            )
    return 0


def _is_blank(path: Path, exercise: Exercise) -> bool:
    return path.read_bytes().replace(b"\r\n", b"\n") == exercise.blank().encode()


def _write_new(path: Path, content: bytes) -> bool:
    """Write a file that does not exist; False, and nothing written, if it does."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path):
            return False
        with path.open("xb") as file:
            file.write(content)
    except OSError as error:
        raise UserError(f"could not write {path}: {error.strerror}; check the disk, or give --work FOLDER") from error
    return True

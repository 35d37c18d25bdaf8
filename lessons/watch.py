"""`check --watch`: a file is checked whenever it is saved. On a terminal single keys help, and a piece that is right
leads to the next one.
"""

import os
import sys
import time
from pathlib import Path

from lessons import display, helping
from lessons.checking import Verdict, excerpt, first_to_do, in_short, in_words, judged, on_page, stopped
from lessons.course import Course
from lessons.exercises import Exercise
from lessons.files import begin
from lessons.keys import Keys
from lessons.page import page
from lessons.progress import load
from tinygpt.errors import UserError

SECONDS = 0.2  # between two looks at the files
BAR = 26  # characters of the bar at most
CLEAR = "\x1b[H\x1b[2J\x1b[3J"


class Saves:
    """What has happened to files since they were last looked at."""

    def __init__(self) -> None:
        self.known: dict[Path, tuple[int, int] | None] = {}
        self.seen: dict[Path, tuple[int, int] | None] = {}

    def take(self, path: Path) -> None:
        """A file as it is now is known."""
        self.known[path] = self.seen[path] = _stamp(path)

    def look(self, path: Path) -> str:
        """ "saved" or "gone" once a file has stopped changing, for one in the midst of a save may be gone; else ""."""
        stamp = _stamp(path)
        settled, self.seen[path] = stamp == self.seen[path], stamp
        if not settled or stamp == self.known[path]:
            return ""
        self.known[path] = stamp
        return "saved" if stamp else "gone"


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def say(course: Course, exercise: Exercise) -> bool:
    """Check a file, and print all that there is to say of it; whether it is right."""
    path = course.file(exercise)
    try:
        verdict = judged(course, exercise)
    except KeyboardInterrupt as interrupt:
        course.say(f"\n{stopped(path, interrupt)}")
        return False
    if verdict.checked:
        course.say(in_short(verdict.checked, _height(course)) + "\n")
        if lines := excerpt(verdict.source, path, verdict.checked.wrong, course.console.width):
            print(lines + "\n")
    style = "green" if verdict.right else "red" if verdict.checked else None
    course.say(verdict.says, style=style)
    return verdict.right


def _height(course: Course) -> int:
    """The rows that there are for what is said of one check, which ends in two sentences."""
    return course.console.height - 4 if sys.stdout.isatty() else sys.maxsize


def plain(course: Course, exercises: list[Exercise]) -> int:
    """Check now and after every save, until Ctrl-C, where there is no terminal."""
    right = dict.fromkeys((exercise.name for exercise in exercises), False)
    saves = Saves()
    try:
        for exercise in exercises:
            saves.take(course.file(exercise))
            right[exercise.name] = say(course, exercise)
            print("Watching for the next save; Ctrl-C leaves.", flush=True)
        while True:
            time.sleep(SECONDS)
            for exercise in exercises:
                shown, event = display.shown_path(course.file(exercise)), saves.look(course.file(exercise))
                if event == "saved":
                    course.say(f"\n{time.strftime('%H:%M:%S')}  {shown} was saved")
                    right[exercise.name] = say(course, exercise)
                elif event == "gone":
                    course.say(f"\n{time.strftime('%H:%M:%S')}  {shown} is gone; it is checked when it is there again")
                if event:
                    print("Watching for the next save; Ctrl-C leaves.", flush=True)
    except KeyboardInterrupt:
        print()
    return 0 if all(right.values()) else 1


def live(course: Course, exercises: list[Exercise]) -> int:
    """The same on a terminal, from the first of them that is not right on to what follows in the course."""
    watch = _Live(course, first_to_do(course, exercises))
    try:
        watch.check()
        while watch.act(*watch.next_event()):
            pass
    except KeyboardInterrupt:
        print()
    progress = load(course.work)
    return 0 if all(course.exercise_state(exercise.name, progress) == "done" for exercise in exercises) else 1


class _Live:
    """The piece that is worked on. Whichever is saved becomes that."""

    def __init__(self, course: Course, exercise: Exercise):
        self.course, self.current = course, exercise
        self.saves, self.verdict = Saves(), Verdict(False, "")
        self.warned = False  # whether it was said what the difference gives away
        self.begun = begin(course.file(exercise), exercise)
        for each in course.exercises.values():
            self.saves.take(course.file(each))

    def check(self) -> None:
        """Clear the screen, check the piece, and say what is wrong with it, or go on to the next."""
        print("\n" if os.environ.get("TERM") == "dumb" else CLEAR, end="")
        while True:
            path = self.course.file(self.current)
            self.saves.take(path)
            self.warned = False
            self.course.say(f"{time.strftime('%H:%M:%S')}  {self.course.lessons[self.current.lesson].title}: "
                            f"{display.shown_path(path)}\n", style="dim")  # fmt: skip
            if self.begun:
                self.course.say(f"{display.shown_path(path)} is written.\n")
                self.begun = False
            try:
                self.verdict = judged(self.course, self.current)
            except KeyboardInterrupt as interrupt:
                self.verdict = Verdict(False, stopped(path, interrupt))
            except UserError as error:
                self.verdict = Verdict(False, str(error))
            self.say_short(path)
            if not self.verdict.right or not self.go_on():
                return self.foot()

    def say_short(self, path: Path) -> None:
        """The verdict in words, the line that they speak of, and what stands beside it."""
        checked, width = self.verdict.checked, self.course.console.width
        if checked and not self.verdict.right:
            self.course.say(in_words(checked, path), style="red")
            if lines := excerpt(self.verdict.source, path, checked.wrong, width):
                print(f"\n{lines}")
        else:
            self.course.say(self.verdict.says, style="green" if self.verdict.right else None)
        if checked and checked.beside:
            self.course.say(f"\n{checked.beside}")
        print()

    def go_on(self) -> bool:
        """Turn to the next piece that is not done, those of the same lesson first, and begin its file; False if all are
        done.
        """
        progress, pieces = load(self.course.work), list(self.course.exercises.values())
        place = pieces.index(self.current) + 1
        following = sorted([*pieces[place:], *pieces[:place]], key=lambda piece: piece.lesson != self.current.lesson)
        todo = [piece for piece in following if self.course.exercise_state(piece.name, progress) != "done"]
        if not todo:
            self.course.say("All pieces are right.", style="green")
            return False
        self.say_unread(todo[0])
        self.current = todo[0]
        lesson, path = self.course.lessons[self.current.lesson], self.course.file(self.current)
        says = f"Next: {self.current.name}, of lesson {lesson.number}, {lesson.title}: "
        says += f"{self.course.command(lesson.number)}\n"
        self.begun = begin(path, self.current)
        self.course.say(says)
        return True

    def say_unread(self, following: Exercise) -> None:
        """That the lesson of the piece that is right was left in the midst of it, where the next piece is another's."""
        lesson, progress = self.course.lessons[self.current.lesson], load(self.course.work)
        own = progress.lesson(lesson.number)
        if following.lesson != lesson.number and own.place and not own.ended:
            self.course.say(f"Lesson {lesson.number} goes on: {self.course.next_of(lesson, progress)}")

    def foot(self) -> None:
        """How far one is, and the keys."""
        console, progress = self.course.console, load(self.course.work)
        pieces = list(self.course.exercises)
        done = sum(self.course.exercise_state(name, progress) == "done" for name in pieces)
        length = min(BAR, len(pieces), max(4, console.width - 24))
        full = done * length // len(pieces)
        marks = ("#", "-") if console.options.ascii_only else ("█", "░")
        print(f"{marks[0] * full}{marks[1] * (length - full)}  {done} of {len(pieces)} pieces")
        parts = "[p] where it parts from the engine  " if on_page(self.current, self.verdict.checked) else ""
        self.course.say(f"[h] hint  [d] diff  {parts}[t] table  [q] leave", style="dim")

    def next_event(self) -> tuple[str, Exercise]:
        """What happens next: a key, with the piece that is worked on, or "saved" or "gone", with the one that is."""
        with Keys() as keys:
            while True:
                if key := keys.pressed(SECONDS):
                    return key, self.current
                for piece in self.course.exercises.values():
                    if event := self.saves.look(self.course.file(piece)):
                        return event, piece

    def act(self, event: str, piece: Exercise) -> bool:
        """Do what a key asks for, or what a save calls for; False to leave."""
        if event == "q":
            return False
        if event == "saved":
            self.current = piece
            self.check()
            return True
        if event == "gone" and piece is self.current:
            shown, start = display.shown_path(self.course.file(piece)), self.course.command("start", piece.name)
            self.course.say(f"\n{shown} is gone. It is checked when it is there again; a blank one: {start}\n")
        elif event in ("h", "d", "t") or event == "p" and on_page(self.current, self.verdict.checked):
            print()
            {"h": self.hint, "d": self.diff, "t": self.table, "p": self.page}[event]()
        else:
            return True
        self.foot()
        return True

    def hint(self) -> None:
        try:
            helping.hint(self.course, [self.current], all=False)
        except UserError as error:
            self.course.say(f"{error}\n")

    def diff(self) -> None:
        checked = self.verdict.checked
        if not load(self.course.work).exercise(self.current.name).attempts:
            self.course.say(f"{self.current.name} was not tried yet: save an attempt first.\n")
        elif self.warned or checked and checked.answered:
            helping.difference(self.course, self.current)
        else:
            self.warned = True
            self.course.say(f"{helping.GIVES_AWAY.format('difference')}: d again shows it.\n")

    def page(self) -> None:
        """The page of a training step, at the first array that parts from the engine's."""
        try:
            page(self.course, [], out=None, text=None, mine="", open=True)
        except UserError as error:
            self.course.say(str(error))
        except KeyboardInterrupt:
            self.course.say("\nStopped.")
        print()

    def table(self) -> None:
        checked = self.verdict.checked
        self.course.say((checked.text.rstrip("\n") if checked else "There is no table: nothing was run yet.") + "\n")

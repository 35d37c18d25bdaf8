"""What is shown while a text is read and encoded: how far it is, if that takes more than a few seconds."""

import io
import re

import pytest

from tinygpt.progress import Progress
from tinygpt.run import waiting
from tinygpt.run.waiting import Waiting


class Clock:
    """Seconds that pass only when they are told to."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(waiting.time, "perf_counter", lambda: self.now)


def reports(clock, seconds, what="encoding t.txt", size=200_000_000, kept=0):
    """Reports from a screen's point of view, twice a second, of what takes that many seconds."""
    for half in range(2 * seconds + 1):
        yield Progress(what, size * half // (2 * seconds), size, kept=kept)
        clock.now += 0.5


def test_without_a_terminal_a_line_now_and_then_says_how_far_it_is(monkeypatch, capsys):
    clock = Clock(monkeypatch)
    with Waiting() as shown:
        for progress in reports(clock, 40):
            shown(progress)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and len(lines) == 4
    assert lines[0] == "encoding t.txt: 6%, 5.0 MB/s, 38 s left"
    assert lines[2] == "encoding t.txt: 59%, 5.0 MB/s, 16 s left"


def test_what_is_quick_says_nothing(monkeypatch, capsys):
    clock = Clock(monkeypatch)
    with Waiting() as shown:
        for progress in reports(clock, 2):
            shown(progress)
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_one_line_goes_on_and_goes_away(monkeypatch, capsys):
    clock = Clock(monkeypatch)
    shown = Waiting()
    file = io.StringIO()
    shown.console = type(shown.console)(file=file, force_terminal=True, width=100, soft_wrap=True)
    with shown:
        for progress in reports(clock, 10):
            shown(progress)
        assert shown.bar is None  # it is done, and what follows has the screen for itself
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", file.getvalue())
    assert "encoding t.txt" in text and "50%, 20.0 MB/s, 5 s left" in text
    assert capsys.readouterr() == ("", "")


def test_a_screen_that_is_gone_ends_nothing(monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    clock = Clock(monkeypatch)
    monkeypatch.setattr("sys.stderr", Gone())
    with Waiting() as shown:
        for progress in reports(clock, 10):
            shown(progress)


def test_an_interruption_says_what_is_true(monkeypatch):
    nothing = "stopped before the first step; there was nothing to save"
    shown = Waiting()
    assert shown.interrupted() == nothing
    shown(Progress("reading t.txt", 5, 10))
    assert shown.interrupted() == nothing
    shown(Progress("encoding t.txt", 5, 10, kept=4))
    kept = "stopped while encoding t.txt; 40% of it is kept, and the next start goes on from there"
    assert shown.interrupted() == kept
    shown(Progress("encoding t.txt", 10, 10, kept=8))
    assert shown.interrupted() == nothing


@pytest.mark.parametrize("width", [40, 60, 80])
def test_on_a_narrow_terminal_the_name_is_cut_and_the_numbers_are_whole(monkeypatch, width):
    clock, shown, file = Clock(monkeypatch), Waiting(), io.StringIO()
    shown.console = type(shown.console)(file=file, force_terminal=True, width=width, soft_wrap=True)
    with shown:
        for progress in reports(clock, 10, "encoding a text with a long name that nobody reads to its very end.txt"):
            shown(progress)
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", file.getvalue()))
    lines = [line.strip() for line in lines if "%" in line]
    assert lines and max(map(len, lines)) <= width
    assert all(re.search(r"^encoding .*\u2026 .*[0-9]+%, 20.0 MB/s, [0-9]+ s left$", line) for line in lines)

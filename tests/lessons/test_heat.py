"""Heat maps in the terminal: every size fits, signs and masks are told apart, with colours and without."""

import re
import sys
from importlib.resources import files
from io import StringIO

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from tests import children
from tests.lessons.conftest import LESSONS
from tests.lessons.terminal import terminal
from tinygpt import pages

sys.path.append(str(LESSONS))  # where the lessons find it
from heat import ABOVE, BELOW, HATCHED, LINES, ZERO, _half_blocks, heat  # noqa: E402

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def drawn(capsys, monkeypatch):
    """Draws on a terminal of some columns; returns the lines."""
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")

    def draw(array, *labels, width=80, colours=False, **settings):
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr(sys.stdout, "isatty", lambda: colours, raising=False)
        heat(array, *labels, **settings)
        lines = capsys.readouterr().out.splitlines()
        assert all(cell_len(ESCAPE.sub("", line)) <= width for line in lines), lines
        assert colours or not any("\x1b" in line for line in lines)
        return lines

    return draw


def colours_of(line):
    """The colour of the upper and of the lower square in each column of a line."""
    text = Text.from_ansi(line)
    found = []
    for place, letter in enumerate(text.plain):
        style = text.get_style_at_offset(Console(), place)
        pair = [colour and tuple(colour.get_truecolor()) for colour in (style.color, style.bgcolor)]
        found.append((letter, *pair))
    return found


@pytest.mark.parametrize("colours", [False, True])
@pytest.mark.parametrize("width", [1, 5, 20, 80, 200])
@pytest.mark.parametrize(
    "shape", [(), (1,), (7,), (0,), (0, 3), (3, 0), (1, 1), (2, 3), (5, 5), (6, 90), (21, 4), (49, 49)]
)
def test_every_size_fits_every_terminal(drawn, rng, shape, width, colours):
    array = rng.standard_normal(shape)
    labels = [[f"label {k}" for k in range(n)] for n in np.atleast_2d(array).shape]
    assert drawn(array, width=width, colours=colours)
    assert drawn(array, *labels, title="a title", width=width, colours=colours)


def test_without_colours_a_row_of_numbers_is_a_row_of_shades(drawn):
    array = [[4, 1, 0.25, 0], [-4, -1, -np.inf, np.nan]]
    assert drawn(array, "ab", "wxyz", title="both") == [
        "both",
        "  w   x   y   z",
        "a ████▒▒▒▒░░░░",
        "b ####====╱╱╱╱╱╱╱╱",
        "−4 ##≡≡≡==- 0 ░▒▒▓▓▓██ 4  ╱ −∞, nan",
    ]


def test_a_stream_without_such_letters_gets_others(drawn, monkeypatch):
    monkeypatch.setattr(type(sys.stdout), "encoding", "ascii", raising=False)
    if sys.stdout.encoding != "ascii":
        pytest.skip("this stream's encoding cannot be replaced")
    assert drawn([[4, 1, -4, -np.inf]], ["\n "]) == ["\\_ @@@@++++####////", "-4 ##%%%==- 0 .++***@@ 4  / -inf"]


@pytest.mark.parametrize("setting", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": "xterm", "COLORTERM": ""}])
def test_colours_are_left_out_where_there_are_none_or_they_were_declined(drawn, monkeypatch, setting):
    assert any("\x1b" in line for line in drawn([[1, 2]], colours=True))
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    assert not any("\x1b" in line for line in drawn([[1, 2]], colours=True))


def test_a_page_asks_for_colours_without_a_terminal(drawn, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    heat([[1, -1]])
    assert [line for line in capsys.readouterr().out.splitlines() if "\x1b" in line]


def test_two_rows_of_squares_share_a_row_of_the_terminal_in_half_blocks():
    values = np.array([[1.0, 0, -1], [-1, 1, 0], [0, -np.inf, np.nan]]).repeat(7, axis=0)  # 21 rows: a line has two
    lines = _half_blocks(values, 1, 1.0)
    assert len(lines) == 11 and {len(line) for line in lines} == {3}
    first, fourth, last = (colours_of(_ansi(lines[place])) for place in (0, 3, 10))
    assert first == [("▀", ABOVE, ABOVE), ("▀", ZERO, ZERO), ("▀", BELOW, BELOW)]
    assert fourth == [("▀", ABOVE, BELOW), ("▀", ZERO, ABOVE), ("▀", BELOW, ZERO)]
    assert [letter for letter, *_ in last] == ["▀", "╱", "╱"] and last[0][1:] == (ZERO, None)


def _ansi(line):
    console = Console(file=StringIO(), force_terminal=True, color_system="truecolor", width=100, _environ={})
    console.print(line, end="")
    return console.file.getvalue()


def test_in_colours_a_small_array_has_large_squares_and_masks_are_hatched(drawn):
    lines = drawn([[1, -np.inf], [-1, 0]], "ab", "xy", colours=True)
    plain = [ESCAPE.sub("", line) for line in lines]
    assert plain[:3] == ["  x   y", "a ▀▀▀▀╱╱╱╱", "  ▀▀▀▀╱╱╱╱"] and plain[3:5] == ["b ▀▀▀▀▀▀▀▀", "  ▀▀▀▀▀▀▀▀"]
    (_, colour, ground), hatched = colours_of(lines[1])[2], colours_of(lines[1])[6]
    assert colour == ground == ABOVE and hatched[0] == "╱" and hatched[2] == HATCHED
    assert colours_of(lines[3])[2][1] == BELOW and colours_of(lines[3])[6][1] == ZERO
    assert plain[5].endswith("╱ −∞") and plain[5].startswith("−1 ")


def test_what_does_not_fit_is_said_to_be_left_out(drawn):
    lines = drawn(np.ones((2, 100)), width=50)
    assert lines[0] == "█" * 50 and lines[-1] == "columns 0 to 49 of 100, as many as fit"
    assert "as many as fit" not in " ".join(drawn(np.ones((2, 100)), width=100))


def test_two_rows_in_one_have_both_their_labels_where_there_is_room(drawn):
    rows = [f"{row:x}" for row in range(31)]
    for width, expected in ((60, ["0 1", "2 3"]), (6, ["0", "2"])):
        lines = [ESCAPE.sub("", line) for line in drawn(np.ones((31, 4)), rows, width=width, colours=True)]
        assert [line.partition(" ▀")[0].rstrip() for line in lines[:2]] == expected and "▀" in lines[15]


def test_labels_that_would_touch_are_left_out_and_none_is_cut(drawn):
    above = drawn(np.ones((30, 24)), None, range(24))[0]
    assert above == "0123456789 11 14 17 20" and "e" in drawn(np.ones((30, 3)), None, "abe")[0]
    assert drawn(np.ones((2, 2)), "\n ")[0].startswith("⏎ ")


def test_what_is_all_zero_all_masked_or_nothing_is_said_to_be(drawn):
    assert drawn(np.zeros((2, 2)))[-1] == "all 0"
    assert drawn(np.full((2, 2), -np.inf))[-1] == "╱ −∞"
    assert drawn([[0, np.nan]])[-1] == "all 0  ╱ nan"
    assert drawn(np.zeros((0, 4))) == ["no numbers"]


def test_whole_numbers_and_truth_values_are_numbers(drawn):
    assert drawn(np.array([[3, 0]]))[0] == "████"
    assert drawn([[False, True]])[0] == "    ████"


def test_maps_that_are_to_be_compared_have_one_scale(drawn):
    assert drawn([[1.0, 0.25]], largest=4) == ["▒▒▒▒░░░░", "0 ░▒▒▓▓▓██ 4"]
    assert drawn([[9.0]], largest=4)[0] == "████"


def test_what_cannot_be_drawn_is_an_error():
    with pytest.raises(ValueError, match=r"one or two axes, and this one is \(1, 2, 3\)"):
        heat(np.zeros((1, 2, 3)))
    with pytest.raises(ValueError, match="there are 3 labels for 2 rows"):
        heat(np.zeros((2, 3)), "abc")


@terminal
def test_a_lesson_in_a_terminal_has_colours_and_in_a_pipe_shades(tmp_path):
    cell = f"import sys; sys.path.append({str(LESSONS)!r}); from heat import heat; heat([[1, -1]])"
    (tmp_path / "cell.py").write_text(cell)
    environment = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": "40", "PATH": ""}
    with children.Terminal(tmp_path / "cell.py", env=environment) as screen:
        shown = screen.rest()
    assert "\x1b[38;2;196;82;0;48;2;196;82;0m▀▀▀▀" in shown
    piped = children.run(tmp_path / "cell.py", env=environment | {"PYTHONIOENCODING": "utf-8"}, encoding="utf-8")
    assert piped.stdout.startswith("████####") and "\x1b" not in piped.stdout


def test_the_colours_are_those_of_the_pages():
    script = (files(pages) / "common.js").read_text(encoding="utf-8")
    assert str([list(colour) for colour in (ZERO, ABOVE, BELOW)]) in script
    assert all("#" + bytes(colour).hex() in script for colour in (HATCHED, LINES))

"""A heat map in the terminal: numbers as colours, orange above zero and blue below, as on the lessons' page."""

import math
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

ZERO, ABOVE, BELOW = (255, 255, 255), (196, 82, 0), (0, 88, 176)
HATCHED, LINES = (239, 238, 233), (154, 152, 144)
SHADES = {  # above zero, below, and what is no number, where there are no colours; the second where no such letters
    True: (" ░▒▓█", " -=≡#", "╱"),
    False: (" .+*@", " -=%#", "/"),
}
SIZES = {4: 6, 2: 20}  # columns of the terminal for a number, and up to how many rows of numbers; else one
RAMP = 8  # steps of the scale on either side of zero; with fewer the faintest shade is not among them


def heat(
    array: Any, rows: Iterable | None = None, columns: Iterable | None = None, title: str = "", largest: Any = None
) -> None:
    """Print numbers as a heat map, no wider than the terminal.

    array: (R, C), or (C,), which is a row; what is not finite is hatched. rows, columns: a label for each. largest:
    what has the deepest colour, for maps that are to be compared; the largest there is by default. Two rows of squares
    share a row of the terminal, in half blocks. Where there are no colours (no terminal, NO_COLOR, TERM=dumb) it is
    shaded by characters. Raises ValueError for an array of more axes, or labels of another number.
    """
    values = np.atleast_2d(np.asarray(array, dtype=np.float64))
    if values.ndim > 2:
        raise ValueError(f"heat shows arrays of one or two axes, and this one is {values.shape}")
    beside, above = _labels(rows, values.shape[0], "rows"), _labels(columns, values.shape[1], "columns")
    width, coloured = shutil.get_terminal_size().columns, _has_colours()
    margin = _margin(beside, width)
    fitting = (size for size, most in SIZES.items() if len(values) <= most)
    size = next((size for size in fitting if margin + size * values.shape[1] <= width), 1)
    if coloured:
        beside = _beside_lines(beside, size, width)
        margin = _margin(beside, width)
    shown = max(1, (width - margin) // size)
    cut = f"columns 0 to {shown - 1} of {values.shape[1]}, as many as fit" if shown < values.shape[1] else ""
    values, above = values[:, :shown], above[:shown]
    finite = np.abs(values[np.isfinite(values)])
    largest = float(largest if largest else finite.max() if finite.size else 0)
    draw = _half_blocks if coloured else _shaded
    lines = [Text(title)] if title else []
    if any(above):
        lines.append(Text(" " * margin + _placed(above, size)))
    if values.size:
        margins = [set_cell_size(label, margin - 1) + " " if margin else "" for label in beside]
        lines += [Text(label) + row for label, row in zip(margins, draw(values, size, largest), strict=True)]
    lines += [_scale(values, largest, coloured), Text(cut)]
    console = Console(file=sys.stdout, width=width, highlight=False, force_terminal=coloured)
    for line in lines:
        if line.plain.strip():
            for row in line.wrap(console, width) if line.cell_len > width else [line]:
                row.rstrip()
                console.print(row, soft_wrap=True)


def _labels(given: Iterable | None, count: int, what: str) -> list[str]:
    """Labels as they are printed, white space made visible; none are empty ones."""
    if given is None:
        return [""] * count
    labels = ["".join({" ": "␣", "\n": "⏎", "\t": "⇥"}.get(letter, letter) for letter in str(one)) for one in given]
    if len(labels) != count:
        raise ValueError(f"there are {len(labels)} labels for {count} {what}")
    return labels if _can_print("␣⏎⇥") else [label.translate({9251: "_", 9166: "\\", 8677: ">"}) for label in labels]


def _has_colours() -> bool:
    """Whether what is printed reaches a terminal that has colours enough, or a page, which asks for them by
    FORCE_COLOR; and the reader has not declined them.
    """
    declined = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    if declined or not (sys.stdout.isatty() or os.environ.get("FORCE_COLOR")) or not _can_print("▀╱"):
        return False
    return Console(file=sys.stdout).color_system in ("truecolor", "256")


def _can_print(letters: str) -> bool:
    try:
        letters.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _margin(labels: list[str], width: int) -> int:
    """The columns that labels take beside the numbers, with a blank after them; a third of the terminal at most."""
    longest = min(max(map(cell_len, labels), default=0), width // 3)
    return longest + 1 if longest else 0


def _beside_lines(labels: list[str], size: int, width: int) -> list[str]:
    """The labels beside the rows of the terminal, where two rows of squares share one."""
    places = [label if place == 0 else "" for label in labels for place in range(size)]
    pairs = [[label for label in places[top : top + 2] if label] for top in range(0, len(places), 2)]
    together = [" ".join(pair) for pair in pairs]
    fits = max(map(cell_len, together), default=0) <= width // 3
    return together if fits else ["".join(pair[:1]) for pair in pairs]


def _placed(labels: Sequence[str], size: int) -> str:
    """Labels above their columns; one that would touch the one before it is left out."""
    line = ""
    for column, label in enumerate(labels):
        place, end = column * size, column * size + cell_len(label)
        gap = 0 if not line or cell_len(label) == 1 and cell_len(line) == column else 1
        if label and cell_len(line) + gap <= place and end <= size * len(labels):
            line = set_cell_size(line, place) + label
    return line


def _part(value: float, largest: float) -> float:
    """How deep a colour is, from -1 to 1: the root, so that small numbers can be told apart."""
    return math.copysign(math.sqrt(min(1, abs(value) / largest)), value) if largest else 0.0


def _colour(part: float) -> tuple[int, int, int]:
    far = ABOVE if part >= 0 else BELOW
    red, green, blue = (round(zero + (end - zero) * abs(part)) for zero, end in zip(ZERO, far, strict=True))
    return red, green, blue


def _style(upper: tuple[int, int, int], lower: tuple[int, int, int] | None) -> Style:
    return Style(color=Color.from_rgb(*upper), bgcolor=None if lower is None else Color.from_rgb(*lower))


def _half_blocks(values: np.ndarray, size: int, largest: float) -> list[Text]:
    """The rows of the terminal, two rows of squares in each: the upper one in the colour of the letter, the lower one
    in that of its ground.
    """
    squares = values.repeat(size, axis=0)
    lines = []
    for top in range(0, len(squares), 2):
        line = Text()
        for column in squares[top : top + 2].T:
            colours = [_colour(_part(value, largest)) if np.isfinite(value) else HATCHED for value in column]
            if not np.isfinite(column).any():
                line.append("╱" * size, _style(LINES, HATCHED if len(column) == 2 else None))
            else:
                line.append("▀" * size, _style(colours[0], colours[1] if len(column) == 2 else None))
        lines.append(line)
    return lines


def _shaded(values: np.ndarray, size: int, largest: float) -> list[Text]:
    """A row of the terminal for each row of numbers, in characters."""
    above, below, hatch = SHADES[_can_print("░▒▓█≡╱")]

    def shade(value: float) -> str:
        if not np.isfinite(value):
            return hatch
        part = _part(value, largest)
        return (above if part >= 0 else below)[round(4 * abs(part))]

    return [Text("".join(shade(value) * size for value in row)) for row in values]


def _scale(values: np.ndarray, largest: float, coloured: bool) -> Text:
    """What the colours mean."""
    above, below, hatch = SHADES[_can_print("░▒▓█≡╱")]
    minus, infinity = ("−", "∞") if _can_print("−∞") else ("-", "inf")
    kinds = {f"{minus}{infinity}": np.isneginf(values), infinity: np.isposinf(values), "nan": np.isnan(values)}
    unseen = [name for name, there in kinds.items() if there.any()]
    line = Text()
    signs = [sign for sign, there in ((-1, (values < 0) & np.isfinite(values)), (1, values >= 0)) if there.any()]
    for sign in signs if largest else ():
        parts = [sign * (step / RAMP) ** 0.5 for step in range(RAMP + 1)][::sign]
        end = f"{largest:.3g}"
        line.append(f"{minus}{end} " if sign < 0 else "" if -1 in signs else "0 ")
        for part in parts:
            if coloured:
                line.append("█", _style(_colour(part), None))
            elif round(4 * abs(part)):
                line.append((above if part >= 0 else below)[round(4 * abs(part))])
        line.append(" 0 " if sign < 0 else f" {end}")
    if not largest:
        line.append("all 0" if np.isfinite(values).any() else "no numbers" if values.size == 0 else "")
    if unseen:
        line.append("  " if line.plain else "").append(hatch, _style(LINES, HATCHED) if coloured else "")
        line.append(" " + ", ".join(unseen))
    return line

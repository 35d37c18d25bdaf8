"""A computation graph: cards for what is computed, and between them lanes, forward in ink and back in violet.

A card has a row for the values and rows for the gradient: each part of it by where it comes from, and their sum.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pictures.kit.svg import Drawing, shown

ROW = 25  # the height of a card's row
HALF = 5  # half the way between the two lanes


class Row(NamedTuple):
    """A row of a card. kind: "value", "part" of a gradient, or the whole "gradient"."""

    label: str
    numbers: Sequence[str]
    kind: str


class Card(NamedTuple):
    """A card as it was drawn."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        return self.x + self.width / 2

    @property
    def bottom(self) -> float:
        return self.y + self.height

    def row(self, index: int) -> float:
        """The height at which a row's middle lies."""
        return self.y + 6 + (index + 0.5) * ROW


def eighths(values: Iterable[float]) -> list[str]:
    """Numbers as so many eighths, whole ones as they are."""
    return [shown(v, 0) if abs(v - round(v)) < 1e-9 else f"{shown(8 * v, 0)}/8" for v in values]


def card(drawing: Drawing, x: float, y: float, rows: Sequence[Row], label: float, cell: float) -> Card:
    """Draw a card at (x, y). label, cell: the widths of its first column, and of each number's."""
    width, height = label + cell * max(len(row.numbers) for row in rows) + 20, ROW * len(rows) + 12
    placed = Card(x, y, width, height)
    drawing.rect(x, y, width, height, "card", 6)
    for index, row in enumerate(rows):
        baseline = placed.row(index) + 5
        cls = {"value": "", "part": "back", "gradient": "back bold"}[row.kind]
        name = {"value": "bold", "part": "back small", "gradient": "back bold"}[row.kind]
        drawing.text(x + 10, baseline, row.label, name)
        for column, number in enumerate(row.numbers):
            drawing.text(x + 10 + label + (column + 1) * cell - 3, baseline, number, cls, "end")
        if row.kind == "gradient" and index and rows[index - 1].kind == "part":
            top = y + 6 + index * ROW
            drawing.line((x + 10 + label, top), (x + width - 10, top), cls="back-line", stroke_opacity="0.5")
    return placed


def lanes(drawing: Drawing, *points: tuple[float, float]) -> None:
    """Forward along points, which go straight down or straight to a side, and back beside it."""
    (x0, y0), (x1, y1) = points[0], points[1]
    if len(points) == 2 and x0 == x1:
        drawing.arrow((x0 - HALF, y0), (x0 - HALF, y1))
        drawing.arrow((x0 + HALF, y1), (x0 + HALF, y0), ink="back")
    elif len(points) == 2:
        drawing.arrow((x0, y0 - HALF), (x1, y1 - HALF))
        drawing.arrow((x1, y1 + HALF), (x0, y0 + HALF), ink="back")
    else:  # down, then to the left
        x2, y2 = points[2]
        drawing.arrow((x0 - HALF, y0), (x0 - HALF, y1 - HALF), (x2, y2 - HALF))
        drawing.arrow((x2, y2 + HALF), (x0 + HALF, y1 + HALF), (x0 + HALF, y0), ink="back")


def operation(drawing: Drawing, x: float, y: float, text: str, width: float = 28) -> None:
    """What is done to make the next card, in a pill on the lanes."""
    drawing.rect(x - width / 2, y - 14, width, 28, "paper ink-line", 14)
    drawing.text(x, y + 5, text, anchor="middle")


def key(drawing: Drawing, x: float, y: float, more: str = "") -> None:
    """Which lane is which, and `more` of the gradients."""
    drawing.arrow((x, y - 5), (x + 30, y - 5))
    drawing.text(x + 38, y, "forward: values", "small")
    drawing.arrow((x + 200, y - 5), (x + 170, y - 5), ink="back")
    drawing.text(x + 208, y, f"backward: gradients of the loss{more}", "back small")

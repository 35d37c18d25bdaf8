"""Lesson 19: an all-reduce in a ring of four ranks, step by step, by the engine's own step."""

import numpy as np

from pictures.kit.svg import Drawing
from tinygpt.run.ring import ring_step

RANKS = 4
CELL, GAP = 27, 30  # the side of a chunk, and what lies between two tables
TOP, LEFT = 84, 60
HALF = 206  # from the top of one half to that of the other


def states() -> list[tuple[np.ndarray, list[int]]]:
    """After each step from 0 on, whose numbers are in which chunk, (rank, chunk) a set of bits, and the chunk that each
    rank took in.
    """
    arrays = [np.full(RANKS, 1 << rank) for rank in range(RANKS)]
    came: list[np.ndarray | None] = [None] * RANKS
    found = []
    for step in range(2 * RANKS - 1):
        goes = [ring_step(arrays[rank], came[rank], step, rank, RANKS).copy() for rank in range(RANKS)]
        came = [goes[rank - 1] for rank in range(RANKS)]
        found.append((np.array(arrays), [(rank - step) % RANKS for rank in range(RANKS)]))
    return found


def draw() -> str:
    drawing = Drawing(
        600, 464, "An all-reduce in a ring",
        "Four ranks, a row each, with four chunks. At first each chunk holds the numbers of its own rank alone, "
        "one bar of four. In each of steps 1 to 3 every rank takes one chunk in from the rank above it, rank 0 "
        "from rank 3, and adds it to its own: chunk 3 at rank 0, 0 at rank 1, 1 at rank 2, 2 at rank 3, and each "
        "time one lower. After step 3 every rank has one whole chunk of four bars: rank 0 chunk 1, rank 1 chunk 2, "
        "rank 2 chunk 3, rank 3 chunk 0. In steps 4 to 6 the whole chunks go on in the same way and are stored, "
        "and at last all of them are everywhere.",
    )  # fmt: skip
    made = states()
    drawing.text(16, 26, "reduce-scatter: what comes is added", "bold")
    drawing.text(16, TOP + HALF - 58, "all-gather: what comes is stored", "bold")
    for number, (held, taken) in enumerate(made):
        half, column = (0, number) if number < RANKS else (1, number - RANKS)
        x, y = LEFT + column * (RANKS * CELL + GAP), TOP + half * HALF
        title = f"step {number}" if number else "at first"
        drawing.text(x, y - 28, title, "soft small")
        if column == 0:
            drawing.text(x - 8, y - 8, "chunk", "soft small", "end")
        for chunk in range(RANKS):
            drawing.text(x + (chunk + 0.5) * CELL, y - 8, str(chunk), "soft small", "middle")
        for rank in range(RANKS):
            if column == 0:
                drawing.text(x - 8, y + (rank + 0.5) * CELL + 5, f"rank {rank}", "soft small", "end")
            for chunk in range(RANKS):
                _chunk(drawing, x + chunk * CELL, y + rank * CELL, int(held[rank, chunk]))
        if number:
            for rank, chunk in enumerate(taken):
                _frame(drawing, x + chunk * CELL, y + rank * CELL)
    _key(drawing, LEFT + 3 * (RANKS * CELL + GAP) - 6, TOP + HALF)
    drawing.text(16, 430, "What is taken in comes from the rank above, and at rank 0 from rank 3.", "small")
    drawing.text(16, 450, "In the next step it goes on, so that each frame moves a row down.", "small")
    return str(drawing)


def _chunk(drawing: Drawing, x: float, y: float, bits: int) -> None:
    """A cell with a bar for each rank whose numbers are in it."""
    whole = bits == (1 << RANKS) - 1
    drawing.rect(x, y, CELL - 1, CELL - 1, "card", 2)
    for rank in range(RANKS):
        if bits >> rank & 1:
            drawing.rect(x + 4 + 5 * rank, y + 6, 3.5, CELL - 13, "back" if whole else "soft")


def _frame(drawing: Drawing, x: float, y: float) -> None:
    """Around the chunk that is taken in."""
    a, b, c, d = x + 0.5, y + 0.5, x + CELL - 1.5, y + CELL - 1.5
    drawing.line((a, b), (c, b), (c, d), (a, d), (a, b - 0.7), cls="above-line")


def _key(drawing: Drawing, x: float, y: float) -> None:
    """What the bars and the frames mean."""
    for row, (bits, says) in enumerate(((1, "rank 0's"), (6, "1's and 2's"), (15, "whole"))):
        _chunk(drawing, x, y + row * (CELL + 3), bits)
        drawing.text(x + CELL + 6, y + row * (CELL + 3) + 18, says, "back small" if bits == 15 else "small")
    _frame(drawing, x, y + 3 * (CELL + 3))
    drawing.text(x + CELL + 6, y + 3 * (CELL + 3) + 18, "taken in", "small")

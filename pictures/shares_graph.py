"""Lesson 4: counts become shares of their sum, forward and backward, with the numbers of the lesson's first row."""

import numpy as np

from pictures.kit.graph import Row, card, eighths, key, lanes, operation
from pictures.kit.svg import Drawing, shown


def draw() -> str:
    x, dout = np.array([3.0, 1, 4]), np.array([8.0, 0, 0])
    s = x.sum()
    r = 1 / s
    out = x * r
    first = dout * r
    dr = (dout * x).sum()
    ds = -dr * r**2
    dx = first + ds

    drawing = Drawing(
        600, 396, "Shares of a sum as a computation graph",
        "x = (3, 1, 4) goes two ways: through its sum s = 8 and r = 1/8, and directly into out = x times r = "
        "(3/8, 1/8, 4/8). Back come dout = (8, 0, 0), dr = 24, ds = -3/8, and to x two parts, (1, 0, 0) from "
        "out and -3/8 for each through s, which add up to dx = (5/8, -3/8, -3/8).",
    )  # fmt: skip
    key(drawing, 16, 26)
    rows = [
        Row("x", [shown(v) for v in x], "value"),
        Row("from out", eighths(first), "part"),
        Row("through s", eighths(np.full(3, ds)), "part"),
        Row("dx", eighths(dx), "gradient"),
    ]
    at_x = card(drawing, 16, 50, rows, 80, 58)
    at_s = card(drawing, 440, 50, [Row("s", [shown(s)], "value"), Row("ds", eighths([ds]), "gradient")], 50, 74)
    at_r = card(drawing, 440, 160, [Row("r", eighths([r]), "value"), Row("dr", [shown(dr)], "gradient")], 50, 74)
    at_out = card(
        drawing, 16, 318,
        [Row("out", eighths(out), "value"), Row("dout", eighths(dout), "gradient")], 80, 58,
    )  # fmt: skip
    product = at_x.bottom + 98
    lanes(drawing, (at_x.x + at_x.width + 2, at_x.row(0) + 12), (at_s.x - 2, at_x.row(0) + 12))
    drawing.text((at_x.x + at_x.width + at_s.x) / 2, at_x.row(0) - 4, "sum", anchor="middle")
    lanes(drawing, (at_s.middle, at_s.bottom + 2), (at_s.middle, at_r.y - 2))
    drawing.text(at_s.middle + 16, (at_s.bottom + at_r.y) / 2 + 5, "1 / s")
    lanes(drawing, (at_x.middle, at_x.bottom + 2), (at_x.middle, product - 16))
    lanes(drawing, (at_r.middle, at_r.bottom + 2), (at_r.middle, product), (at_x.middle + 16, product))
    lanes(drawing, (at_x.middle, product + 16), (at_x.middle, at_out.y - 2))
    operation(drawing, at_x.middle, product, "×")
    return str(drawing)

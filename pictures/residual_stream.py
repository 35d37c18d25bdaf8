"""Lesson 11: blocks read from the residual stream and add to it, with the numbers of the lesson's two branches."""

from pictures.kit.graph import Row, card, key, lanes, operation
from pictures.kit.svg import Drawing, shown


def draw() -> str:
    f, g, x = 0.5, -0.3, 2.0
    a = f * x
    h = x + a
    m = g * h
    y = h + m
    dy = 1.0
    dh = dy + g * dy
    dx = dh + f * dh

    drawing = Drawing(
        600, 560, "The residual stream",
        "x = 2 runs down the stream. The branch f reads it and adds 1, which makes 3; the branch g reads that and adds "
        "-0.9, which makes y = 2.1. The gradient of y, 1, runs back up the stream unchanged past both additions, and "
        "each branch adds its own part: -0.3 through g, which makes 0.7, and 0.35 through f, which makes dx = 1.05.",
    )  # fmt: skip
    key(drawing, 16, 26)
    middle = 134.0
    drawing.rect(middle - 26, 60, 52, 456, "card")

    def row(label: str, value: float, kind: str) -> Row:
        return Row(label, [shown(value)], kind)

    stream = dict(label=130, cell=64)
    at_x = card(
        drawing, 27, 48,
        [row("x", x, "value"), row("along the stream", dh, "part"), row("through f", f * dh, "part"),
         row("dx", dx, "gradient")], **stream,
    )  # fmt: skip
    at_h = card(
        drawing, 27, 252,
        [row("h = x + f(x)", h, "value"), row("along the stream", dy, "part"), row("through g", g * dy, "part"),
         row("dh", dh, "gradient")], **stream,
    )  # fmt: skip
    at_y = card(drawing, 27, 456, [row("y = h + g(h)", y, "value"), row("dy", dy, "gradient")], **stream)
    for placed, after, letter, value, gradient, factor, what in (
        (at_x, at_h, "f", a, dh, "0.5", "ln_1, attention"),
        (at_h, at_y, "g", m, dy, "−0.3", "ln_2, MLP"),
    ):
        branch = card(
            drawing, 420, placed.y,
            [Row(f"{letter}({'x' if letter == 'f' else 'h'})", [shown(value)], "value"),
             Row(f"d{letter}", [shown(gradient)], "gradient")], 60, 64,
        )  # fmt: skip
        plus = (placed.bottom + after.y) / 2
        side = placed.row(0) + 12
        lanes(drawing, (placed.x + placed.width + 2, side), (branch.x - 2, side))
        drawing.text((placed.x + placed.width + branch.x) / 2, side - 14, f"{letter}: times {factor}", anchor="middle")
        drawing.text(branch.x, branch.bottom + 20, f"in a GPT: {what}", "soft small")
        lanes(drawing, (placed.middle, placed.bottom + 2), (placed.middle, plus - 16))
        lanes(drawing, (branch.x + 20, branch.bottom + 30), (branch.x + 20, plus), (placed.middle + 16, plus))
        lanes(drawing, (placed.middle, plus + 16), (placed.middle, after.y - 2))
        operation(drawing, placed.middle, plus, "+")
    drawing.text(middle + 36, at_h.bottom + 24, "the residual stream", "soft small")
    drawing.text(264, at_y.row(1) + 5, "reaches x unchanged, whatever f and g are", "back small")
    drawing.text(27, 544, "1.05  =  1 past both  + 0.5 through f  − 0.3 through g  − 0.15 through both", "back small")
    return str(drawing)

"""Lesson 7: LayerNorm forward and backward, with the lesson's eight numbers, and the three ways back to x."""

from typing import Any

import numpy as np

from pictures.kit.graph import Card, Row, card, key, lanes, operation
from pictures.kit.svg import Drawing, shown


def computed() -> dict[str, Any]:
    """Every value and gradient, each named as in the lesson; `dcentred_1`, `dcentred_2`: the parts of a sum."""
    x, dxhat = np.array([2.0, 4, 4, 4, 5, 5, 7, 9]), np.eye(8)[0]
    mean = x.mean()
    centred = x - mean
    var = (centred**2).mean()
    rstd = 1 / np.sqrt(var)
    xhat = centred * rstd
    drstd = (dxhat * centred).sum()
    dcentred_1 = dxhat * rstd
    dvar = drstd * -0.5 * rstd**3
    dcentred_2 = dvar * 2 * centred / 8
    dcentred = dcentred_1 + dcentred_2
    dmean = -dcentred.sum()
    dx_2 = np.full(8, dmean / 8)
    dx = dcentred + dx_2
    return dict(locals())


def draw() -> str:
    of = computed()

    def row(label: str, name: str, kind: str) -> Row:
        scale = 1 if kind == "value" else 64
        return Row(label, [shown(scale * v, 3) for v in of[name]], kind)

    def scalar(y: float, label: str, value: str, gradient: str) -> Card:
        rows = [Row(label, [shown(of[value], 4)], "value"), Row("d" + label, [shown(of[gradient], 4)], "gradient")]
        return card(drawing, 500, y, rows, 62, 66)

    drawing = Drawing(
        664, 720, "LayerNorm as a computation graph, forward and backward",
        "x = (2, 4, 4, 4, 5, 5, 7, 9) has the mean 5. centred = x - 5 has the variance 4, so rstd is 0.5, and"
        " x hat = centred times 0.5 = (-1.5, -0.5, -0.5, -0.5, 0, 0, 1, 2), which is out, for w is 1 and b 0."
        " The loss is the first out alone. Its gradient comes back to x in three ways, in 64ths: directly "
        "(32, 0, 0, 0, 0, 0, 0, 0); through the variance (-9, -3, -3, -3, 0, 0, 6, 12); through the mean -4 "
        "for each. Together dx is (19, -7, -7, -7, -4, -4, 2, 8), which sums to 0.",
    )  # fmt: skip
    key(drawing, 16, 26, "; in rows of eight in 64ths")
    wide = dict(label=90, cell=41)
    rows = [
        row("x", "x", "value"),
        row("from centred", "dcentred", "part"),
        row("through mean", "dx_2", "part"),
        row("dx", "dx", "gradient"),
    ]
    at_x = card(drawing, 16, 48, rows, **wide)
    rows = [
        row("centred", "centred", "value"),
        row("from x̂", "dcentred_1", "part"),
        row("through var", "dcentred_2", "part"),
        row("dcentred", "dcentred", "gradient"),
    ]
    at_mean = scalar(at_x.y, "mean", "mean", "dmean")
    at_centred = card(drawing, 16, at_x.bottom + 96, rows, **wide)
    at_var = scalar(at_centred.y, "var", "var", "dvar")
    at_rstd = scalar(at_centred.y + 106, "rstd", "rstd", "drstd")
    rows = [row("x̂", "xhat", "value"), row("dx̂", "dxhat", "gradient")]
    at_xhat = card(drawing, 16, at_centred.bottom + 142, rows, **wide)
    middle, minus, times = at_x.middle, at_x.bottom + 48, at_centred.bottom + 94
    side, beside = at_x.x + at_x.width + 2, at_mean.x - 2
    lanes(drawing, (side, at_x.row(0) + 12), (beside, at_x.row(0) + 12))
    lanes(drawing, (middle, at_x.bottom + 2), (middle, minus - 16))
    lanes(drawing, (at_mean.middle, at_mean.bottom + 2), (at_mean.middle, minus), (middle + 16, minus))
    lanes(drawing, (middle, minus + 16), (middle, at_centred.y - 2))
    lanes(drawing, (side, at_centred.row(0) + 12), (beside, at_centred.row(0) + 12))
    lanes(drawing, (at_var.middle, at_var.bottom + 2), (at_var.middle, at_rstd.y - 2))
    lanes(drawing, (middle, at_centred.bottom + 2), (middle, times - 16))
    lanes(drawing, (at_rstd.middle, at_rstd.bottom + 2), (at_rstd.middle, times), (middle + 16, times))
    lanes(drawing, (middle, times + 16), (middle, at_xhat.y - 2))
    drawing.text(at_var.middle + 16, (at_var.bottom + at_rstd.y) / 2 + 5, "1 / √var", "small")
    operation(drawing, middle, minus, "−")
    operation(drawing, middle, times, "×")
    ones = [Row("out", rows[0].numbers, "value"), Row("dout", rows[1].numbers, "gradient")]
    at_out = card(drawing, 16, at_xhat.bottom + 66, ones, **wide)
    lanes(drawing, (middle, at_xhat.bottom + 2), (middle, at_out.y - 2))
    operation(drawing, middle, at_xhat.bottom + 33, "× w + b", 84)
    drawing.text(at_out.x + at_out.width + 16, at_out.row(0) + 5, "here w is 1, b is 0", "soft small")
    drawing.text(at_out.x + at_out.width + 16, at_out.row(1) + 5, "loss: the first out", "soft small")
    foot = at_out.bottom + 32
    drawing.text(26, foot, "The three ways back to x, in 64ths", "bold")
    ways = [
        ("directly", "dcentred_1", "part"),
        ("through var", "dcentred_2", "part"),
        ("through mean", "dx_2", "part"),
        ("dx", "dx", "gradient"),
    ]
    sums = card(drawing, 16, foot + 10, [row(*way) for way in ways], **wide)
    drawing.text(sums.x + sums.width + 16, sums.row(3) + 5, "and dx · x̂ = 0", "back")
    drawing.text(sums.x + sums.width + 16, sums.row(2) + 5, "dx sums to 0", "back")
    drawing.height = sums.bottom + 16
    return str(drawing)

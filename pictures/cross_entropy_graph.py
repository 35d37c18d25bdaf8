"""Lesson 6: from logits to the loss and back, with the lesson's numbers, down to softmax minus one-hot."""

import numpy as np

from pictures.kit.graph import Row, card, eighths, key, lanes, operation
from pictures.kit.svg import Drawing, shown


def draw() -> str:
    e, onehot = np.array([1.0, 2, 5]), np.array([0.0, 1, 0])
    S = e.sum()
    p = e / S
    loss = -(onehot * np.log(p)).sum()
    dp = -onehot / p
    dS = -(dp * e).sum() / S**2
    first = dp / S
    de = first + dS
    dz = de * e

    drawing = Drawing(
        600, 612, "Softmax and cross-entropy as a computation graph",
        "Logits z = (ln 1, ln 2, ln 5) become e = exp z = (1, 2, 5), their sum S = 8, probabilities p = (1/8,"
        " 2/8, 5/8) and, the second token being the target, the loss -ln 2/8 = 1.386. Back come dp = (0, -4, "
        "0), dS = 1/8, de in two parts, (0, -4/8, 0) from p and 1/8 for each through S, and dz = (1/8, -6/8, "
        "5/8): the probabilities minus the one-hot row (0, 1, 0).",
    )  # fmt: skip
    key(drawing, 16, 26)
    wide = dict(label=80, cell=58)
    at_z = card(
        drawing, 16, 50, [Row("z", ["ln 1", "ln 2", "ln 5"], "value"), Row("dz", eighths(dz), "gradient")], **wide
    )
    drawing.text(304, at_z.row(1) + 5, "= p − (0, 1, 0)", "back bold")
    drawing.text(440, at_z.row(1) + 5, "softmax − one-hot", "back small")
    rows = [
        Row("e", eighths(e), "value"),
        Row("from p", eighths(first), "part"),
        Row("through S", eighths(np.full(3, dS)), "part"),
        Row("de", eighths(de), "gradient"),
    ]
    at_e = card(drawing, 16, 182, rows, **wide)
    at_S = card(drawing, 440, 182, [Row("S", [shown(S)], "value"), Row("dS", eighths([dS]), "gradient")], 50, 74)
    rows = [Row("p", eighths(p), "value"), Row("dp", eighths(dp), "gradient")]
    at_p = card(drawing, 16, 404, rows, **wide)
    rows = [Row("loss", [shown(loss, 3)], "value"), Row("dloss", ["1"], "gradient")]
    at_loss = card(drawing, 16, 536, rows, 80, 174)
    middle, quotient = at_e.middle, at_e.bottom + 52
    lanes(drawing, (middle, at_z.bottom + 2), (middle, at_e.y - 2))
    lanes(drawing, (middle, at_e.bottom + 2), (middle, quotient - 16))
    lanes(drawing, (middle, quotient + 16), (middle, at_p.y - 2))
    lanes(drawing, (middle, at_p.bottom + 2), (middle, at_loss.y - 2))
    lanes(drawing, (at_e.x + at_e.width + 2, at_e.row(0) + 12), (at_S.x - 2, at_e.row(0) + 12))
    lanes(drawing, (at_S.middle, at_S.bottom + 2), (at_S.middle, quotient), (middle + 16, quotient))
    drawing.text((at_e.x + at_e.width + at_S.x) / 2, at_e.row(0) - 4, "sum", anchor="middle")
    operation(drawing, middle, (at_z.bottom + at_e.y) / 2, "exp", 52)
    operation(drawing, middle, quotient, "÷")
    operation(drawing, middle, (at_p.bottom + at_loss.y) / 2, "−ln p of the target", 164)
    return str(drawing)

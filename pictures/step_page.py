"""One number of a training step as the step page shows it: an attention score, what it is made from, its gradient."""

import numpy as np

from pictures.kit.numbers import measured
from pictures.kit.svg import Drawing, path, shown
from tinygpt.recorder import record_step

HEAD, ROW, COLUMN = 1, 3, 2  # of block 0: what the fourth character takes from the third
LINE = 22.0


def measure() -> dict:
    """The score at (HEAD, ROW, COLUMN), its head's scores and gradients, and all that the picture says of them."""
    step = record_step()
    scores, weights = step["h.0.attn/scores"], step["h.0.attn/weights"]
    assert scores.gradient is not None and scores.derivative is not None and weights.gradient is not None
    at = 0, HEAD, ROW, COLUMN
    row = weights.values[at[:-1]]
    moves = row * ((np.arange(len(row)) == COLUMN) - row[COLUMN])  # softmax, lesson 6: of each weight by this score

    def numbers(array: np.ndarray) -> list:
        return np.array([[float(f"{v:.6g}") for v in line] for line in np.atleast_2d(array)]).squeeze().tolist()

    return {
        "letters": [step.chars[token] for token in step.idx],
        "code": scores.code,
        "where": f"{scores.file}:{scores.line}",
        "scores": numbers(scores.values[0, HEAD]),
        "gradients": numbers(scores.gradient.values[0, HEAD]),
        "q": numbers(step["h.0.attn/q"].values[0, HEAD, ROW]),
        "k": numbers(step["h.0.attn/k"].values[0, HEAD, COLUMN]),
        "moves": numbers(moves[: ROW + 1]),
        "dweights": numbers(weights.gradient.values[0, HEAD, ROW, : ROW + 1]),
        "engine": float(scores.gradient.values[at]),
        "chain": float(moves @ weights.gradient.values[at[:-1]]),
        "nudged": float(scores.derivative[at]),
    }


def draw() -> str:
    found = measured("step_page")
    letters = [letter.replace(" ", "␣") for letter in found["letters"]]
    score = found["scores"][ROW][COLUMN]
    asks, asked = (f"“{letters[i]}”" for i in (ROW, COLUMN))
    drawing = Drawing(
        600, 640, "One attention score of a training step, and its gradient three ways",
        f"A small GPT reads {''.join(found['letters'])!r}. Left a head's scores, right their gradients, as "
        f"heat maps with the masked half hatched. One score is chosen, {shown(score, 4)}: how far the query of"
        f" {asks} agrees with the key of {asked}. It is made from four products of q and k. Its gradient is "
        f"{shown(found['engine'], 7)} by the engine's backward, by the chain rule over the four weights of its"
        " row, and by nudging it and running the model again.",
    )  # fmt: skip
    drawing.text(16, 30, f"scores[0, {HEAD}, {ROW}, {COLUMN}] = {shown(score, 4)}", "large")
    drawing.text(584, 30, "block 0, head 1", "soft small", "end")
    drawing.code(16, 54, found["code"])
    drawing.text(584, 54, found["where"].removeprefix("tinygpt/layers/"), "soft small", "end")
    cell = 24.0
    for x, title, key, ink in ((38.0, "the scores", "scores", ""), (340.0, "their gradients", "gradients", "back")):
        drawing.text(x, 90, title, f"bold {ink}".strip())
        hatched(drawing, x, 122, cell, letters)
        for r in range(len(letters)):
            drawing.rect(x, 122 + r * cell, (r + 1) * cell - 1, cell - 1, "card")
        rows = [[v if c <= r else None for c, v in enumerate(row)] for r, row in enumerate(found[key])]
        largest = max(abs(v) for row in rows for v in row if v is not None)
        drawing.heat_map(x, 122, cell, rows, largest)
        left, top = x + COLUMN * cell - 0.5, 122 + ROW * cell - 0.5
        drawing.element("rect", x=left - 1, y=top - 1, width=cell + 2, height=cell + 2, fill="none", cls="ink-line",
                        stroke_width=2.5)  # fmt: skip
    y = 350.0
    drawing.text(16, y, "Made from", "bold")
    for column, title in ((200, f"q of {asks}"), (320, f"k of {asked}"), (440, "product")):
        drawing.text(column, y, title, "soft small", "end")
    products = [q * k for q, k in zip(found["q"], found["k"], strict=True)]
    for channel, (q, k, product) in enumerate(zip(found["q"], found["k"], products, strict=True)):
        y += LINE
        drawing.text(26, y, f"channel {channel}", "small")
        for column, value in ((200, q), (320, k), (440, product)):
            drawing.text(column, y, f"{value:.4f}".replace("-", "−"), "", "end")
    drawing.line((360, y + 6), (440, y + 6))
    y += LINE
    drawing.text(440, y + 2, shown(sum(products), 4), "", "end")
    drawing.text(584, y + 2, f"/ √4 = {shown(sum(products) / 2, 4)}", "bold", "end")
    y += 40
    drawing.text(16, y, "Its gradient, three ways", "bold back")
    terms = " ".join(
        f"{'−' if move * d < 0 else '+' if i else ''}{' ' if i else ''}{abs(move * d):.4f}"
        for i, (move, d) in enumerate(zip(found["moves"], found["dweights"], strict=True))
    )
    for name, how, value in (
        ("the engine’s backward", "dscores", found["engine"]),
        ("the chain rule", terms, found["chain"]),
        ("a nudge, the model run again", "Δ loss / Δ score", found["nudged"]),
    ):
        y += LINE + 2
        drawing.text(26, y, name, "small")
        drawing.text(482, y, how, "soft small", "end")
        drawing.text(584, y, f"{value:.7f}".replace("-", "−"), "back", "end")
    y += 26
    drawing.text(26, y, "The chain rule’s terms, for the four weights of the score’s row:", "soft small")
    y += 18
    drawing.text(26, y, "how far the score moves a weight, times that weight’s gradient.", "soft small")
    drawing.height = y + 16
    return str(drawing)


def hatched(drawing: Drawing, x: float, y: float, cell: float, letters: list[str]) -> None:
    """The masked half of a map, and its letters."""
    n = len(letters)
    d = ""
    for r in range(n):
        for c in range(r + 1, n):
            left, top = x + c * cell, y + r * cell
            d += path((left + 5, top + cell - 6), (left + cell - 6, top + 5))
    drawing.element("path", d=d, cls="line-line")
    for i, letter in enumerate(letters):
        drawing.text(x - 12, y + (i + 0.5) * cell + 4, letter, "code", "middle")
        drawing.text(x + (i + 0.5) * cell - 0.5, y - 8, letter, "code soft", "middle")

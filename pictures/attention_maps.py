"""Lesson 15: what the trained model's heads look at, in a sentence that it was trained on and one it never saw."""

import numpy as np

from pictures.kit import tiny
from pictures.kit.numbers import measured
from pictures.kit.svg import Drawing

SCALE = 0.05, 0.25, 0.5, 1
SENTENCES = "So feel the ground.", "It may be the sea."  # which it was trained on, and which it never saw


def measure() -> list[dict]:
    """Each sentence's weights, rounded: of each layer and head, and each row up to its own character."""
    model, tokenizer = tiny.trained()
    found = []
    for sentence in SENTENCES:
        seen: list = []
        tiny.watched(model, seen).hidden(np.array(tokenizer.encode(sentence))[None])
        layers = [cache[3][0] for name, _, _, (_, cache) in seen if name == "attention"]
        weights = [[[[round(w, 3) for w in row[: t + 1]] for t, row in enumerate(head)] for head in layer.tolist()]
                   for layer in layers]  # fmt: skip
        found.append({"sentence": sentence, "weights": weights})
    return found


def draw() -> str:
    found = measured("attention_maps")
    sentences = [one["sentence"] for one in found]
    drawing = Drawing(
        600, 100, "Attention maps of a small trained model",
        f"What the four heads of the model of lesson 15 look at, for {' and '.join(sentences)} Each row is a "
        "character, and shows by the strength of orange how much of it comes from each character up to "
        "itself. The heads of block 0 look mostly at the nearest characters; those of block 1 in columns, at "
        "a few single characters from many rows, also from far.",
    )  # fmt: skip
    cell, top = 13.0, 84.0
    drawing.text(16, 26, "What a character (a row) takes from which, of 1:", "small soft")
    for i, weight in enumerate(SCALE):
        drawing.heat_map(356 + 60 * i, 15, cell, [[weight]], 1.0)
        drawing.text(356 + 60 * i + cell + 3, 26, f"{weight:g}", "small soft")
    for one in found:
        drawing.text(36, top - 22, f"“{one['sentence']}”", "large")
        letters = [letter.replace(" ", "·") for letter in one["sentence"]]
        for layer, heads in enumerate(one["weights"]):
            for head, rows in enumerate(heads):
                x, y = 36 + 294 * head, top + 30
                drawing.text(x, top + 6, f"block {layer}, head {head}", "bold small")
                for i, letter in enumerate(letters):
                    drawing.text(x - 8, y + (i + 0.5) * cell + 4, letter, "code", "middle")
                    drawing.text(x + (i + 0.5) * cell, y - 5, letter, "code soft", "middle")
                drawing.heat_map(x, y, cell, rows, 1.0)
                size = len(rows) * cell
                drawing.line((x - 0.5, y - 0.5), (x - 0.5, y + size), (x + size, y + size), cls="line-line")
            top += len(letters) * cell + 52
        top += 44
    drawing.height = top - 58
    return str(drawing)

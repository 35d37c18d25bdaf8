"""Lesson 15: the trained model's characters by their embeddings, in the two directions in which they differ most."""

import itertools
import math

import numpy as np

from pictures.kit import tiny
from pictures.kit.numbers import measured
from pictures.kit.svg import Drawing

UNIT = 300.0
APART = 22.0  # between the middles of two characters


def measure() -> dict:
    """Each character's first two principal components (by SVD of the centred table), and what share they have."""
    model, tokenizer = tiny.trained()
    wte = np.asarray(model.params["wte.weight"], np.float64)
    u, s, _ = np.linalg.svd(wte - wte.mean(axis=0), full_matrices=False)
    characters = [tokenizer.decode([token]) for token in range(len(wte))]
    places = u[:, :2] * s[:2]
    places *= np.sign(places[characters.index("e")])  # which way a component points is nobody's choice: e right and up
    counts = np.log([tiny.TEXT.count(character) for character in characters])
    return {
        "places": {c: np.round(place, 3).tolist() for c, place in zip(characters, places, strict=True)},
        "shares": np.round(s[:2] ** 2 / (s**2).sum(), 3).tolist(),
        "frequency": round(float(np.corrcoef(places[:, 0], counts)[0, 1]), 2),
    }


def draw() -> str:
    found = measured("embeddings")
    first, second = found["shares"]
    drawing = Drawing(
        600, 500, "A small model's embeddings in two dimensions",
        "The characters of the model of lesson 15 by the first two principal components of their embeddings. "
        "Along the first, from rare to frequent: capitals on the left, e and the space on the right. Along "
        "the second, comma, full stop, question mark, colon and semicolon on one side, the vowels a, i, o, u "
        "on the other, and e between. Where two would lie on each other they are drawn a little apart.",
    )  # fmt: skip
    drawing.text(16, 26, "vowels in discs, marks in frames (␣ space, ↵ end of a line), capitals grey", "small soft")
    says = f"first component ({first:.0%}): how frequent; correlation with ln count {found['frequency']:.2f} →"
    drawing.text(584, 486, says, "small soft", "end")  # fmt: skip
    drawing.text(0, 0, f"second component ({second:.0%}) →", "small soft", transform="translate(24 486) rotate(-90)")
    true = {character: (296 + UNIT * x, 284 - UNIT * y) for character, (x, y) in found["places"].items()}
    for character, place in apart(true).items():
        name = {" ": "␣", "\n": "↵"}.get(character, character)
        if character in "aeiou":
            drawing.element("circle", cx=place[0], cy=place[1], r=11, cls="ink")
            drawing.text(place[0], place[1] + 5, name, "paper bold", "middle")
            continue
        if not character.isalpha():
            drawing.rect(place[0] - 10, place[1] - 10, 20, 20, "paper soft-line", 3)
        drawing.text(place[0], place[1] + 5, name, "soft" if character.isupper() else "", "middle")
    return str(drawing)


def apart(places: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """The places with those that would lie on each other pushed apart."""
    moved = {character: np.array(place) for character, place in places.items()}
    for _ in range(60):
        for one, other in itertools.combinations(moved, 2):
            way = moved[one] - moved[other]
            distance = max(1.0, math.hypot(*way))
            if distance < APART - 3 * (one.isalpha() and other.isalpha()):
                push = way / distance * (APART - distance) / 4
                moved[one], moved[other] = moved[one] + push, moved[other] - push
    return {character: (float(x), float(y)) for character, (x, y) in moved.items()}

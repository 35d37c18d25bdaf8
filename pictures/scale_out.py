"""How near N ranks come to N times the speed of one: two hosts as measured, cards by the model."""

import json
from math import log2
from typing import Any

from pictures.kit.numbers import FOLDER
from pictures.kit.svg import Drawing

RESULTS = FOLDER.parent / "benchmarks" / "results" / "scale_out.json"  # benchmarks/scale_out.py --write measures it
LEFT, WIDTH, HEIGHT = 52.0, 400.0, 170.0
TOPS = 88.0, 344.0, 600.0
MOST = 64  # micro-batches, where the axis ends
INKS = "param", "back", "above"


def draw() -> str:
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    (newest, slow), (goal, fast) = found["steps"].items()
    drawing = Drawing(600, TOPS[2] + HEIGHT + 52, "What a network leaves of the speed of many ranks", described(found))
    curves = [
        {"label": host["name"], "micro-batch": host["micro-batch"], "sum": host["sum"], "points": host["points"]}
        for host in found["hosts"]
    ]
    panel(drawing, TOPS[0], "Two hosts, 0.8M parameters: measured (dots), and by the model", curves, INKS[1:])
    for top, name, step in ((TOPS[1], newest, slow), (TOPS[2], goal, fast)):
        curves = [
            {"label": card["name"], "micro-batch": step, "sum": card["sum"], "many": card["ranks"] > 8}
            for card in found["cards"]
        ]
        title = f"8 cards (64: dashed), 124M, {name.partition(' (')[0]} each: by the model"
        panel(drawing, top, title, curves, INKS)
    drawing.text(16, 30, "What is left of N times the speed of one rank", "bold")
    drawing.text(LEFT + WIDTH / 2, TOPS[2] + HEIGHT + 40, "micro-batches between two sums", "small", "middle")
    return str(drawing)


def panel(drawing: Drawing, top: float, title: str, curves: list[dict[str, Any]], inks: tuple[str, ...]) -> None:
    drawing.text(16, top - 22, title, "small")
    for tenths in (0, 5, 10):
        y = top + HEIGHT * (1 - tenths / 10)
        drawing.line((LEFT, y), (LEFT + WIDTH, y))
        drawing.text(LEFT - 8, y + 5, f"{tenths / 10:g}", "soft small", "end")
    for power in range(round(log2(MOST)) + 1):
        drawing.text(across(2**power), top + HEIGHT + 18, str(2**power), "soft small", "middle")
    names = list(dict.fromkeys(curve["label"] for curve in curves))
    for curve in curves:
        ink = inks[names.index(curve["label"])]
        places = [2 ** (step / 4) for step in range(4 * round(log2(MOST)) + 1)]
        points = [(across(n), top + HEIGHT * (1 - share(curve, n))) for n in places]
        drawing.line(*points, cls=f"{ink}-line", stroke_dasharray="5 4" if curve.get("many") else "")
        for n, measured in curve.get("points", {}).items():
            drawing.element("circle", cx=across(float(n)), cy=top + HEIGHT * (1 - measured), r=4, cls=ink)
    above = top - 18.0  # the last label, and none lies on another
    for curve in curves[: len(names)]:  # those of 8 cards, where there are two
        above = max(above + 18, top + HEIGHT * (1 - share(curve, MOST)) + 5)
        drawing.text(LEFT + WIDTH + 10, above, curve["label"], f"{inks[names.index(curve['label'])]} small")


def across(micro_batches: float) -> float:
    return LEFT + WIDTH * log2(micro_batches) / log2(MOST)


def share(curve: dict[str, Any], micro_batches: float) -> float:
    """Of the speed of as many ranks that would never wait."""
    computing = micro_batches * curve["micro-batch"]
    return computing / (computing + curve["sum"])


def described(found: dict[str, Any]) -> str:
    hosts = "; ".join(
        f"over {host['name']} "
        + ", ".join(f"{measured:.2f} with {n} micro-batch{'es' * (n != '1')}" for n, measured in host["points"].items())
        for host in found["hosts"]
    )
    cards = "; ".join(
        f"at {name.partition(' (')[0]} a card "
        + ", ".join(
            f"{share({'micro-batch': step, 'sum': card['sum']}, 1):.2f} over {card['name']}"
            for card in found["cards"]
            if card["ranks"] == 8
        )
        for name, step in found["steps"].items()
    )
    measured = f"Two hosts, measured, have of twice one's speed {hosts}. " if hosts else ""
    return f"{measured}Eight cards by the model have of eight times one's speed, without accumulation: {cards}."

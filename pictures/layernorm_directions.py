"""Lesson 7: the two directions that LayerNorm takes out of a gradient, in three channels, where they can be seen.

With three channels x hat lies on a circle: in the plane through zero across (1, 1, 1), at the distance of the root of
3. Nothing but its place on the circle can be changed by x, so nothing but a gradient along the circle can come back.
"""

import math

import numpy as np

from pictures.kit.svg import Drawing
from tinygpt.layers import layernorm

X = np.array([1.0, 2, 6])
DXHAT = np.array([1.0, -0.3, 1.5])
TURN, HEIGHT = math.radians(-35), math.radians(24)  # how x hat is turned towards us, and how far above the plane we are
UNIT = 58.0


def vectors() -> dict[str, np.ndarray]:
    """x hat, the gradient that comes to it, that without its mean, and what LayerNorm's backward leaves (dx / rstd)."""
    xhat, cache = layernorm.forward(X, np.ones(3), None, eps=0)
    dx, _, _ = layernorm.backward(DXHAT, cache)
    rstd = 1 / np.sqrt(X.var())
    return {"xhat": xhat, "dxhat": DXHAT, "in_plane": DXHAT - DXHAT.mean(), "left": dx / rstd}


def draw() -> str:
    v = vectors()
    up = np.ones(3) / math.sqrt(3)
    out = v["xhat"] / np.linalg.norm(v["xhat"])
    along = np.cross(up, out)
    right = math.cos(TURN) * out - math.sin(TURN) * along
    away = math.sin(TURN) * out + math.cos(TURN) * along

    def from_side(p: np.ndarray) -> tuple[float, float]:
        return 112 + UNIT * (p @ right), 196 - UNIT * (p @ up * math.cos(HEIGHT) + p @ away * math.sin(HEIGHT))

    def from_above(p: np.ndarray) -> tuple[float, float]:
        return 404 + UNIT * (p @ right), 180 - UNIT * (p @ away)

    drawing = Drawing(
        600, 368, "The two directions that LayerNorm takes out of a gradient",
        "Three channels. x hat lies on a circle in the plane across (1, 1, 1). Left, from the side: of the "
        "gradient that comes to x hat, the part along (1, 1, 1), its mean, is taken out, and it falls into "
        "the plane. Right, from above the plane: then the part along x hat is taken out. What is left runs "
        "along the circle, at a right angle to both; times rstd it is dx.",
    )  # fmt: skip
    drawing.text(16, 28, "1  from the side: without its mean", "bold")
    drawing.text(318, 28, "2  from above: without x̂", "bold")
    for project, ry in ((from_side, math.sin(HEIGHT)), (from_above, 1.0)):
        x, y = project(np.zeros(3))
        radius = math.sqrt(3) * UNIT
        drawing.element("ellipse", cx=x, cy=y, rx=radius, ry=radius * ry, cls="card ink-line")
    axis = dict(cls="soft-line", stroke_dasharray="3 4")
    zero, tip = np.zeros(3), v["xhat"]
    drawing.line(from_side(-0.6 * up), from_side(2.3 * up), **axis)
    x, y = from_side(2.3 * up)
    drawing.text(x - 8, y + 8, "(1, 1, 1)", "soft", "end")
    drawing.arrow(from_side(zero), from_side(tip))
    x, y = from_side(tip)
    drawing.text(x - 44, y + 6, "x̂", "bold", "end")
    drawing.line(from_side(tip + v["dxhat"]), from_side(tip + v["in_plane"]), cls="back-line", stroke_dasharray="4 4")
    drawing.arrow(from_side(tip), from_side(tip + v["dxhat"]), ink="back")
    drawing.arrow(from_side(tip), from_side(tip + v["in_plane"]), ink="back", stroke_width=3)
    x, y = from_side(tip + v["dxhat"])
    drawing.text(x, y - 8, "dx̂", "back bold", "middle")
    x, y = from_side(tip + v["in_plane"])
    drawing.text(x + 6, y + 42, "g = dx̂ − m(dx̂)", "back", "end")

    drawing.arrow(from_above(zero), from_above(tip))
    x, y = from_above(0.5 * tip)
    drawing.text(x - 6, y + 20, "x̂", "bold", "end")
    drawing.line(from_above(1.0 * tip), from_above(1.9 * tip), **axis)
    drawing.line(from_above(tip + v["in_plane"]), from_above(tip + v["left"]), cls="back-line", stroke_dasharray="4 4")
    drawing.arrow(from_above(tip), from_above(tip + v["in_plane"]), ink="back")
    drawing.arrow(from_above(tip), from_above(tip + v["left"]), ink="back", stroke_width=3)
    corner = 0.2
    for project, origin, one, other in (
        (from_side, tip + v["in_plane"], up, -v["in_plane"] / np.linalg.norm(v["in_plane"])),
        (from_above, tip, -out, v["left"] / np.linalg.norm(v["left"])),
    ):
        ends = origin + corner * one, origin + corner * (one + other), origin + corner * other
        drawing.line(*(project(p) for p in ends), cls="soft-line")
    x, y = from_above(tip + v["left"])
    drawing.text(x - 2, y - 8, "dx / rstd", "back bold")
    x, y = from_above(tip + v["in_plane"])
    drawing.text(x + 6, y + 8, "g", "back")
    drawing.text(16, 322, "dashed: what is taken out, along (1, 1, 1) and then along x̂", "soft small")
    drawing.text(16, 346, "dx = rstd (dx̂ − m(dx̂) − x̂ m(dx̂ x̂))", "back")
    return str(drawing)

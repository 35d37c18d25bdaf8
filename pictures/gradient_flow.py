"""Lesson 15: how much gradient there is at each place of a model, before its training and after it."""

import numpy as np

from pictures.kit import tiny
from pictures.kit.numbers import measured
from pictures.kit.svg import Drawing
from tinygpt.models.gpt2 import GPT

BRANCHES = [("c_proj", "attention", "c_attn", "ln_1"), ("c_proj", "gelu", "c_fc", "ln_2")]  # as a gradient meets them
TOP, STEP, WIDEST = 92.0, 34.0, 62.0
BRANCH = 4.6 * STEP  # the height of a branch


def measure() -> dict[str, list[dict]]:
    """Norms of the loss's gradient at places, from the loss to the embeddings: {"stream": at the end of a branch,
    "branch": from there through each of its layers}, and at last the embeddings' alone. The same 32 windows for both.
    """
    trained, tokenizer = tiny.trained()
    windows = tiny.windows(tokenizer, 32, trained.config.block_size + 1)
    return {
        "before training": norms(GPT(trained.config, seed=1), windows),
        "after 600 steps": norms(trained, windows),
    }


def norms(model: GPT, windows: np.ndarray) -> list[dict]:
    seen: list = []
    copy = tiny.watched(model, seen)
    _, cache = copy.loss(windows[:, :-1], windows[:, 1:])
    copy.backward(cache)

    def size(array) -> float:
        return float(f"{np.linalg.norm(array):.4g}")

    backward = [(name, dout, out if isinstance(out, np.ndarray) else out[0])
                for name, which, dout, out in seen if which == "backward"]  # fmt: skip
    places: list[dict] = []
    for name, dout, dx in backward:
        if name == "dropout":  # a branch ends, or the stream begins
            places.append({"stream": size(dout), "branch": [size(dout)]})
        elif places and name in ("linear", "layernorm", "gelu", "attention") and len(places[-1]["branch"]) < 5:
            places[-1]["branch"].append(size(dx))
    places[-1].pop("branch")
    assert len(places) == 2 * model.config.n_layer + 1
    return places


def draw() -> str:
    found = measured("gradient_flow")
    drawing = Drawing(
        600, 600, "Where gradients flow",
        "The norm of the loss's gradient at each place of the model of lesson 15, as the width of what flows from the "
        "loss at the bottom up to the embeddings. "
        + " ".join(
            f"{title[0].upper() + title[1:]} it is {places[0]['stream']:.2g} at the end of the stream and "
            f"{places[-1]['stream']:.2g} at the embeddings."
            for title, places in found.items()
        )
        + " Before training the branches add little; after it most of what reaches the embeddings comes through the "
        "first block's LayerNorm.",
    )  # fmt: skip
    for column, (title, places) in enumerate(found.items()):
        draw_model(drawing, 16 + 292 * column, title, places[::-1])
    drawing.height = TOP + BRANCH * (len(places) - 1) + 42
    return str(drawing)


def draw_model(drawing: Drawing, x: float, title: str, places: list[dict]) -> None:
    """The stream, and beside it the branches. places: from the embeddings down."""
    scale = WIDEST / max(place["stream"] for place in places)
    stream, branch = x + 78, x + 182
    drawing.text(x, 28, title, "bold")
    drawing.text(x, 50, "norm of the gradient", "back small")
    drawing.text(stream, TOP - 20, "embeddings", "small", "middle")
    for i, (place, below) in enumerate(zip(places, [*places[1:], None], strict=True)):
        y, half = TOP + BRANCH * i, scale * place["stream"] / 2
        drawing.text(stream - max(8, half) - 6, y + 5, figure(place["stream"]), "back small", "end")
        if below is None:
            drawing.text(stream, y + 24, "ln_f, head, loss", "small", "middle")
            break
        above, under = 2 * half, scale * below["stream"]
        flow(drawing, stream, [(y, above), (y + 18, under), (y + BRANCH, under)])
        levels = [y + BRANCH - 14 - k * STEP for k in range(5)]
        flow(drawing, branch, [(at, scale * norm) for at, norm in zip(levels, below["branch"], strict=True)])
        for at, name in zip(levels, BRANCHES[i % 2], strict=False):
            drawing.text(branch + 36, at - STEP / 2 + 5, name, "small soft")
        into, back = levels[0] + 6, levels[4] - 8
        for points in (
            ((stream + under / 2 + 3, into), (branch, into), (branch, into - 5)),
            ((branch, back + 7), (branch, back), (stream + half + 3, back)),
        ):
            drawing.arrow(*points, ink="back", stroke_opacity="0.6")
        returned = below["branch"][4]
        drawing.text(branch - scale * returned / 2 - 6, back + 16, figure(returned), "back small", "end")


def figure(value: float) -> str:
    """A norm with two digits."""
    return f"{value:#.2g}"


def flow(drawing: Drawing, x: float, widths: list[tuple[float, float]]) -> None:
    """A band about x, as wide at each height as is said."""
    left = [(x - w / 2, y) for y, w in widths]
    right = [(x + w / 2, y) for y, w in reversed(widths)]
    d = "M" + "L".join(f"{round(a, 1):g} {round(b, 1):g}" for a, b in [*left, *right]) + "z"
    drawing.element("path", d=d, cls="back")

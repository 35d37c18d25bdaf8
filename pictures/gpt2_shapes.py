"""Lesson 12: all of GPT-2, its arrays as wide as they have channels, and where its parameters are."""

from math import prod
from typing import NamedTuple

from pictures.kit.svg import Drawing
from tinygpt.models.gpt2 import GPTConfig

TOP, ROW = 62.0, 34.0
STREAM, LEFT, NAME, SHAPE, PARAMS = 34.0, 66.0, 262.0, 374.0, 584.0  # where a row's parts are
CHANNEL = 180 / (4 * 768)  # how wide a channel is drawn


class Layer(NamedTuple):
    """A row: a layer, the shape of what it gives, how many channels of that are drawn, its parameters, and a remark."""

    name: str
    gives: str
    channels: int = 0
    params: str = ""
    remark: str = ""


def layers(config: GPTConfig) -> list[Layer]:
    """The model's layers in the order of forward, one block for all."""
    C, V = config.n_embd, config.vocab_size

    def of_block(name: str) -> Layer:
        channels = config.shapes()[f"h.0.{name}.weight"][-1]
        return Layer(name, f"(B, T, {channels})", channels, f"{config.n_layer} × {count(config, f'h.0.{name}.'):,}")

    return [
        Layer("idx", "(B, T)", remark="token ids"),
        Layer("wte", f"(B, T, {C})", C, f"{count(config, 'wte.'):,}"),
        Layer("wpe", f"(T, {C})", C, f"{count(config, 'wpe.'):,}"),
        of_block("ln_1"),
        of_block("attn.c_attn"),
        Layer("attention", f"(B, T, {C})", C, remark=f"{config.n_head} heads"),
        of_block("attn.c_proj"),
        of_block("ln_2"),
        of_block("mlp.c_fc"),
        of_block("mlp.c_proj")._replace(name="gelu", gives=f"(B, T, {4 * C})", channels=4 * C, params=""),
        of_block("mlp.c_proj"),
        Layer("ln_f", f"(B, T, {C})", C, f"{count(config, 'ln_f.'):,}"),
        Layer("head: wteᵀ", f"(B, T, {V})", 4 * C, "wte’s"),  # drawn cut off
        Layer("loss", "()", remark="cross-entropy"),
    ]


def count(config: GPTConfig, *beginnings: str) -> int:
    """The parameters of the arrays whose names begin so."""
    return sum(prod(shape) for name, shape in config.shapes().items() if name.startswith(beginnings))


def draw() -> str:
    config = GPTConfig()
    L, C = config.n_layer, config.n_embd
    rows = layers(config)
    drawing = Drawing(
        600, 664, "GPT-2 with the shapes of its arrays",
        f"Token ids (B, T) become (B, T, {C}), the sum of rows of wte and wpe. Then {L} blocks: ln_1, c_attn "
        f"to (B, T, {3 * C}), attention of {config.n_head} heads, c_proj, added to the stream; ln_2, c_fc to "
        f"(B, T, {4 * C}), gelu, c_proj, added to the stream. Then ln_f, and the head, which is wte again, to "
        f"{rows[-2].gives}, and the loss. In all {config.n_params:,} parameters: {rows[1].params} in wte.",
    )  # fmt: skip
    drawing.text(16, 28, "GPT-2, the smallest", "bold")
    drawing.text(NAME, 28, "layer", "soft small")
    drawing.text(SHAPE, 28, "gives", "soft small")
    drawing.text(PARAMS, 28, "parameters", "param small", "end")
    at = {layer.name: TOP + ROW * index for index, layer in enumerate(rows)}
    top, bottom = at["ln_1"] - 19, at["mlp.c_proj"] + 19
    drawing.element("rect", x=8, y=top, width=584, height=bottom - top, rx=6, fill="none", cls="line-line")
    for layer in rows:
        draw_layer(drawing, layer, at[layer.name])
    for x in range(1, config.n_head):
        x = LEFT + x * C / config.n_head * CHANNEL
        drawing.line((x, at["attention"] - 7), (x, at["attention"] + 7), cls="soft-line", stroke_width=0.7)
    for x in (LEFT + 170, LEFT + 178):
        drawing.line((x, at[rows[-2].name] + 11), (x + 8, at[rows[-2].name] - 11), cls="paper-line", stroke_width=4)
    draw_stream(drawing, at)
    turned = f"translate(21 {(top + bottom) / 2:g}) rotate(-90)"
    drawing.text(0, 0, f"{L} blocks", "bold small", "middle", transform=turned)
    draw_parts(drawing, config, at["loss"] + ROW + 14)
    drawing.height = at["loss"] + ROW + 80
    return str(drawing)


def draw_layer(drawing: Drawing, layer: Layer, y: float) -> None:
    drawing.text(NAME, y + 5, layer.name, "bold")
    drawing.text(SHAPE, y + 5, layer.gives)
    if layer.params:
        drawing.text(PARAMS, y + 5, layer.params, "param small", "end")
    if layer.channels:
        drawing.rect(LEFT, y - 7, layer.channels * CHANNEL, 14, "card ink-line")
    if layer.remark:
        drawing.text(LEFT + layer.channels * CHANNEL + 8, y + 5, layer.remark, "soft small")


def draw_stream(drawing: Drawing, at: dict[str, float]) -> None:
    """The residual stream on the left: what begins it, who reads it, who adds to it, and where it ends."""
    drawing.arrow((STREAM, at["idx"] - 8), (STREAM, at["wte"] - 8), ink="soft")
    drawing.line((STREAM, at["wte"]), (STREAM, at["ln_f"] - 10), cls="ink-line", stroke_width=3)
    drawing.arrow((STREAM, at["ln_f"] - 10), (STREAM, at["ln_f"]), (LEFT - 3, at["ln_f"]))
    for name in ("wte", "wpe"):
        drawing.line((STREAM, at[name]), (LEFT, at[name]), cls="ink-line")
    for name in ("ln_1", "ln_2"):
        drawing.arrow((STREAM, at[name]), (LEFT - 3, at[name]))
    for name in ("attn.c_proj", "mlp.c_proj"):
        drawing.arrow((LEFT, at[name]), (STREAM + 11, at[name]))
        drawing.element("circle", cx=STREAM, cy=at[name], r=9, cls="paper ink-line")
        drawing.text(STREAM, at[name] + 5, "+", anchor="middle")


def draw_parts(drawing: Drawing, config: GPTConfig, top: float) -> None:
    """All parameters as one bar, cut into the parts of the model."""
    total, blocks = config.n_params, [f"h.{i}." for i in range(config.n_layer)]
    parts = {
        "wte": count(config, "wte."),
        "wpe": count(config, "wpe."),
        "attention": count(config, *(f"{block}attn." for block in blocks)),
        "MLP": count(config, *(f"{block}mlp." for block in blocks)),
    }
    parts["LayerNorms"] = total - sum(parts.values())
    drawing.text(16, top, f"{total:,} parameters", "param bold")
    x = 16.0
    for name, number in parts.items():
        width = 568 * number / total
        drawing.rect(x, top + 12, max(0.6, width - 1.5), 20, "param")
        if width > 40:
            drawing.text(x, top + 50, f"{name} {number / total:.1%}", "small")
        x += width
    small = ", ".join(f"{name} {parts[name] / total:.2%}" for name in ("wpe", "LayerNorms"))
    drawing.text(PARAMS, top, small, "soft small", "end")

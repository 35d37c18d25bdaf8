"""Where in the model a call is, by the parameters that it was given; and a name for each array that says so."""

from collections import Counter
from collections.abc import Sequence

from tinygpt.recorder.recording import Array, Call

WITHIN = {  # in a block, a layer without parameters of its own
    "attention": "attn", "multi_head": "attn", "causal_head": "attn", "head": "attn", "places": "attn",
    "gelu": "mlp.gelu", "mlp": "mlp",
}  # fmt: skip
MODEL = {"loss": "loss", "hidden": "embed", "hidden_backward": "embed"}  # the model's own methods
MEANINGS = {
    "embed": "embeddings", "wte": "token embedding", "wpe": "position embedding", "ln_f": "last LayerNorm",
    "head": "head, tied to wte", "loss": "cross-entropy",
}  # fmt: skip
BLOCK = {
    "": "residual stream", "ln_1": "LayerNorm 1", "attn.c_attn": "queries, keys, values", "attn": "attention",
    "attn.c_proj": "projection of attention", "ln_2": "LayerNorm 2", "mlp": "MLP", "mlp.c_fc": "MLP, out to 4C",
    "mlp.gelu": "GELU", "mlp.c_proj": "MLP, back to C",
}  # fmt: skip


def name_calls(calls: Sequence[Call]) -> None:
    """Give each call its path. A backward call has that of its forward."""
    for call in calls:
        call.path = call.of.path if call.of else _path(call)


def _path(call: Call) -> str:
    above = call.parent.path if call.parent else ""
    if call.function in MODEL:
        return MODEL[call.function]
    if call.function not in ("forward", "backward"):
        return above
    above = "" if above in MODEL.values() else above
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in call.parameters_given))
    if call.module == "cross_entropy":
        return "loss"
    if layers == ["wte"]:
        return "wte" if call.module == "embedding" else "head"
    if layers:
        return layers[0] if len(layers) == 1 else _shared(layers)
    if call.module == "dropout":
        return above or "embed"
    within = WITHIN.get(call.module, call.module)
    if f".{above}".endswith(f".{within}"):  # a head within attention
        return above
    block = above.removesuffix(".mlp") if within.startswith("mlp") else above
    return f"{block}.{within}".lstrip(".")


def _shared(names: Sequence[str]) -> str:
    """The layers' common beginning: "h.0" of h.0.ln_1 and h.0.attn.c_attn."""
    common: list[str] = []
    for parts in zip(*(name.split(".") for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return ".".join(common) if common[1:] else ""


def title(path: str) -> str:
    """What a reader is told: "block 0 · attention" for "h.0.attn"."""
    if not path.startswith("h."):
        return MEANINGS.get(path, path.replace(".", " · "))
    _, layer, *rest = path.split(".")
    within = ".".join(rest)
    return f"block {layer} · {BLOCK.get(within, within.replace('.', ' · '))}"


def name_arrays(arrays: Sequence[Array]) -> None:
    """Give each array its key: where it was made, and its name there, numbered where there are several."""
    seen: Counter[str] = Counter()
    for array in arrays:
        key = array.name if array.kind == "param" else f"{array.path}/{array.name}"
        seen[key] += 1
        array.key = key if seen[key] == 1 else f"{key}~{seen[key]}"

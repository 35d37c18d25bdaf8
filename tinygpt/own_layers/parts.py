"""The parts of the engine that a reader may write, each a file of its own."""

from dataclasses import dataclass

from tinygpt import layers


@dataclass(frozen=True)
class Part:
    """One part: the file `name`.py, which holds `functions` as the engine's module `source` does, or a class in it."""

    name: str
    source: str
    functions: tuple[str, ...] = ("forward", "backward")
    within: str = ""

    @property
    def is_layer(self) -> bool:
        return self.functions == ("forward", "backward")


def _layer(name: str) -> Part:
    return Part(name, f"{layers.__name__}.{name}")


def _composite(name: str, within: str) -> Part:
    return Part(name, "tinygpt.models.gpt2", within=within)


PARTS = {  # in the order of the lessons
    part.name: part
    for part in (
        Part("windows_at", "tinygpt.data.corpus", ("windows_at",)),
        Part("merge", "tinygpt.tokenizer", ("merge",)),
        Part("draw", "tinygpt.sample", ("draw",)),
        Part("numerical_gradient", "tinygpt.gradcheck.numerical", ("numerical_gradient",)),
        *map(_layer, ("embedding", "linear", "cross_entropy", "layernorm", "gelu")),
        _composite("mlp", "MLP"),
        *map(_layer, ("softmax", "attention")),
        _composite("block", "Block"),
        _composite("lm_head_loss", "LMHeadLoss"),
        Part("adamw_update", "tinygpt.optim.adamw", ("adamw_update",)),
        _layer("dropout"),
        Part("probabilities", "tinygpt.sample", ("probabilities",)),
        Part("attention_decode", "tinygpt.layers.attention", ("decode",)),
    )
}

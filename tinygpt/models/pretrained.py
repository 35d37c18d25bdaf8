"""GPT-2's config.json and weights as Hugging Face, PyTorch and nanoGPT write them: what their names and shapes mean."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt.checkpoint import check_finite, check_shapes
from tinygpt.conversions import CONFIG
from tinygpt.errors import UserError, brief
from tinygpt.tensors import Stored

DROPOUTS = ("resid_pdrop", "embd_pdrop", "attn_pdrop")  # Hugging Face's names
ONLY = {  # settings of Hugging Face's configs that change the computation, and the only value that it is done for
    "model_type": "gpt2", "tie_word_embeddings": True, "scale_attn_weights": True, "add_cross_attention": False,
    "scale_attn_by_inverse_layer_idx": False, "is_encoder_decoder": False, "quantization_config": None,
}  # fmt: skip
NAMES = {  # what sizes are called, Hugging Face's names first; the last is nanoGPT's
    "vocab_size": ("vocab_size",), "n_layer": ("n_layer", "num_hidden_layers"), "n_embd": ("n_embd", "hidden_size"),
    "n_head": ("n_head", "num_attention_heads"),
    "n_positions": ("n_positions", "max_position_embeddings", "block_size"),
}  # fmt: skip
SAME_GELU = {  # other names of Hugging Face's for the two functions
    "gelu_pytorch_tanh": "gelu_new", "gelu_python_tanh": "gelu_new", "gelu_fast": "gelu_new",
    "gelu_accurate": "gelu_new", "gelu_python": "gelu",
}  # fmt: skip
WRAPPERS = {  # parts of names that say what a model was wrapped in: Hugging Face's and nanoGPT's class, Lightning's,
    "transformer", "model", "module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module",
}  # PyTorch's DataParallel, compile, FSDP, and checkpointing  # fmt: skip
EMBEDDINGS, HEAD = "wte.weight", "lm_head.weight"
OTHERS = {  # names of what is put upon GPT-2: what it is, and what to do
    re.compile(r"(.*\.)?(score|classifier|qa_outputs|multiple_choice_head|v_head|value_head|reward_head)\..*"): (
        "a head for another task", "this library computes the language model only, so save that by itself"),
    re.compile(r".*\.(base_layer|lora_[AB])\..*"): (
        "an adapter (LoRA) beside its model", "merge_and_unload() of peft makes one of them"),
}  # fmt: skip
MASK = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")  # causal masks that some GPT-2 files carry along
MATRIX = re.compile(r"h\.\d+\.(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight")


def understood_config(settings: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """GPTConfig's fields, as a config.json, read from `source`, means them: Hugging Face's, or nanoGPT's `model_args`.
    Three different dropout probabilities, which GPTConfig cannot say, become 0. Raises UserError for a model that is
    not GPT-2's architecture.
    """
    for key, expected in ONLY.items():
        if settings.get(key, expected) != expected:
            raise UserError(f"{source} has {key} = {brief(settings[key])}; this library computes only {expected!r}")
    sizes = {name: _size(settings, name, source) for name in NAMES}
    nanogpts = "block_size" in settings and not {"n_positions", "model_type"} & settings.keys()
    activation = settings.get("activation_function", "gelu" if nanogpts else "gelu_new")
    dropouts = [settings.get("dropout", 0.0)] if nanogpts else [settings.get(name, 0.0) for name in DROPOUTS]
    return sizes | {
        "block_size": sizes.pop("n_positions"), "bias": settings.get("bias", True),
        "layer_norm_epsilon": settings.get("layer_norm_epsilon", 1e-5),
        "activation_function": SAME_GELU.get(activation, activation) if isinstance(activation, str) else activation,
        "dropout": dropouts[0] if dropouts.count(dropouts[0]) == len(dropouts) else 0.0,
    }  # fmt: skip


def _size(settings: Mapping[str, Any], size: str, source: Path) -> Any:
    said = {name: settings[name] for name in NAMES[size] if name in settings}
    if not said and size == "n_positions" and "n_ctx" in settings:  # so early files say it, and later ones both
        return settings["n_ctx"]
    if not said:
        raise UserError(f"{source} lacks {size!r}; expected the config of a GPT-2 model")
    (name, value), *others = said.items()
    for other, another in others:
        if another != value:
            problem = f"has {name} = {brief(value)} and {other} = {brief(another)}"
            raise UserError(f"{source} {problem}, which mean the same; take one of them out")
    return value


def _wrappers(stored: Stored) -> set[str]:
    """What else a model was wrapped in: whatever stands before the one name that ends as the embeddings' does."""
    found = [name for name in stored if name.endswith(f".{EMBEDDINGS}")]
    return set(found[0].removesuffix(f".{EMBEDDINGS}").split(".")) if len(found) == 1 else set()


class Understood(Mapping[str, np.ndarray]):
    """What a file of weights holds, as GPT-2's parameters by name, each read and turned when it is asked for.

    Its names may be wrapped in others (`_orig_mod.transformer.h.0...`), its matrices all transposed, as nn.Linear of
    PyTorch's keeps them, and the tied head stored a second time, or alone. stored_names: what in the file they are read
    from. Raises UserError, naming `source`, for names and shapes that are not the model's, and when it is read for two
    tensors of one parameter that are not equal, such as a head that is not tied.
    """

    def __init__(self, stored: Stored, shapes: Mapping[str, tuple[int, ...]], source: Path):
        """shapes: of all parameters that the model can have, biases included."""
        self._stored, self._source = stored, source
        wrappers = WRAPPERS | _wrappers(stored)
        plain = {name: ".".join(part for part in name.split(".") if part not in wrappers) for name in stored}
        self.masks = [name for name in stored if MASK.fullmatch(plain[name])]
        self.stored_names = [name for name in stored if not MASK.fullmatch(plain[name])]
        matrices = [name for name in self.stored_names if MATRIX.fullmatch(plain[name]) and plain[name] in shapes]
        told = [name for name in matrices if shapes[plain[name]][0] != shapes[plain[name]][1]]
        turned = told and all(stored.shapes[name] == shapes[plain[name]][::-1] for name in told)
        self._turned = set(matrices) if turned else set()
        known = {**shapes, HEAD: shapes[EMBEDDINGS]}
        expected = {name: known[plain[name]] for name in self.stored_names if plain[name] in known}
        expected = {name: shape[::-1] if name in self._turned else shape for name, shape in expected.items()}
        for others, (what, way_out) in OTHERS.items():
            if found := [name for name in self.stored_names if name not in expected and others.fullmatch(name)]:
                raise UserError(f"{source} has {what} ({found[0][:100]}); {way_out}")
        for name, size in ((EMBEDDINGS, "vocab_size"), ("wpe.weight", "n_positions")):
            for stored_as in [other for other in expected if plain[other] == name]:
                (rows, *width), (stored_rows, *stored_width) = shapes[name], stored.shapes[stored_as] or (0,)
                if rows != stored_rows and width == stored_width:
                    problem = f"{stored_as} has {stored_rows:,} rows, but {CONFIG} beside it says {size} = {rows:,}"
                    raise UserError(
                        f"{source}: {problem}; they are of two saves, or the number was not kept up to date"
                    )
        check_shapes(((name, stored.shapes[name]) for name in self.stored_names), expected, source)
        self._stored_as: dict[str, list[str]] = {}
        for name in self.stored_names:
            self._stored_as.setdefault(EMBEDDINGS if plain[name] == HEAD else plain[name], []).append(name)

    def __getitem__(self, parameter: str) -> np.ndarray:
        first, *others = sorted(self._stored_as[parameter], key=lambda name: name.endswith(HEAD))
        array = self._read(first)
        for other in others:
            if np.array_equal(array, self._read(other), equal_nan=True):
                continue
            if other.endswith(HEAD):
                raise UserError(f"{self._source} has a head that is not tied to wte.weight; this library ties them")
            raise UserError(f"{self._source} has {parameter} twice, as {first} and {other}, and they are not equal")
        return array

    def _read(self, name: str) -> np.ndarray:
        array = self._stored[name]
        return array.T if name in self._turned else array

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored_as)

    def __len__(self) -> int:
        return len(self._stored_as)

    def without_biases(self, config: Path) -> None:
        """Leave out biases, which must be zero: those of a model of which `config` says that it has none."""
        for name in [name for name in self if name.endswith(".bias")]:
            bias = self[name]
            check_finite(name, bias, self._source)
            if bias.any():
                said = f"{config} says the model has no biases"
                raise UserError(f"{said}, but {self._source.name} has some that are not zero")
            del self._stored_as[name]

    def check_masks(self, block_size: int) -> None:
        """Raise UserError if a mask that is left out is another than the one that is computed with."""
        for name in self.masks:
            if self._stored.shapes[name] != (1, 1, block_size, block_size):
                continue  # a number, or no mask that the model could be meant to have
            if not np.array_equal(self._stored[name][0, 0] != 0, np.tri(block_size, dtype=bool)):
                raise UserError(f"{self._source}: {name} is not the causal mask, and this library computes no other")

"""nanoGPT's settings as its train.py and sample.py have them, and what a run here has other than they do."""

import math
from typing import Any

from tinygpt.run.config import MODEL_SHAPE, TrainConfig

# nanoGPT's settings that have no meaning here: accepted and left alone, so that its commands and files work
WITHOUT_MEANING = ("compile", "backend", "wandb_log", "wandb_project", "wandb_run_name")
# The defaults in nanoGPT's train.py (github.com/karpathy/nanoGPT, commit 3adf61e), as far as there are such settings
# here; its model.py computes the exact GELU.
NANOGPTS: dict[str, Any] = {
    "eval_interval": 2000, "log_interval": 1, "eval_iters": 200, "eval_only": False, "always_save_checkpoint": True,
    "init_from": "scratch", "out_dir": "out", "dataset": "openwebtext", "gradient_accumulation_steps": 40,
    "batch_size": 12, "block_size": 1024, "n_layer": 12, "n_head": 12, "n_embd": 768, "dropout": 0.0, "bias": False,
    "activation_function": "gelu", "learning_rate": 6e-4, "max_iters": 600_000, "weight_decay": 0.1, "beta1": 0.9,
    "beta2": 0.95, "grad_clip": 1.0, "decay_lr": True, "warmup_iters": 2000, "lr_decay_iters": 600_000, "min_lr": 6e-5,
    "device": "cuda", "dtype": "bfloat16 or float16",
}  # fmt: skip
LEFT_ALONE = {  # what those without meaning are in nanoGPT, for a file that reads them
    "compile": True, "backend": "nccl", "wandb_log": False, "wandb_project": "owt", "wandb_run_name": "gpt2",
    "__name__": "__main__",
}  # fmt: skip
IMPORTED = {"os", "time", "math", "pickle", "nullcontext", "np", "torch"}  # by its train.py, for its files too
OF_SAMPLE = {  # the settings of `sample` that training does not have: nanoGPT's sample.py reads the same kind of file
    "start": str, "num_samples": int, "max_new_tokens": int, "temperature": float, "top_k": int, "top_p": float,
    "stop": str,
}  # fmt: skip


def others_than_nanogpts(config: TrainConfig, named: set[str]) -> list[str]:
    """What a run has other than nanoGPT's defaults though nobody named it, such as "block_size=64 (1024)", with
    nanoGPT's in brackets. named: the settings that a file, a flag or a preset set.
    """
    if config.init_from == "resume":
        return []  # all of it is as the run was saved
    elsewhere = {*named, *(("dataset",) if config.data else ())}
    elsewhere |= {*MODEL_SHAPE} if config.init_from != "scratch" else set()  # the model's own
    ours = vars(config) | {
        "lr_decay_iters": config.max_iters if config.lr_decay_iters is None else config.lr_decay_iters,
        "min_lr": config.learning_rate / 10 if config.min_lr is None else config.min_lr,
    }
    return [
        f"{name}={short(ours[name])} ({short(theirs)})"
        for name, theirs in NANOGPTS.items()
        if name not in elsewhere and not same(ours[name], theirs)
    ]


def another(name: str, ours: Any) -> str:
    """Words for a value that nanoGPT has another of, such as "n_layer=4 here, 12 in nanoGPT"; "" where it has not."""
    if name not in NANOGPTS or same(ours, NANOGPTS[name]):
        return ""
    return f"{name}={short(ours)} here, {short(NANOGPTS[name])} in nanoGPT"


def as_here(name: str, value: Any) -> tuple[Any, str]:
    """nanoGPT's value of a setting as it is here, and why it is another; "" where it means the same."""
    others = {
        ("dtype", "float16"): (
            "auto",
            "float16 needs its gradients scaled: bfloat16 on a card that has it, else float32",
        ),
        ("device", "mps"): ("cpu", "Apple's cards are not computed on here"),
        ("device", "cuda:0"): ("cuda", ""),
    }
    return others.get((name, value), (value, "")) if isinstance(value, str) else (value, "")


def auto_is(name: str, where_a_card_is: frozenset[str]) -> str:
    """What `auto` is of a setting for which nanoGPT asks PyTorch whether there is a card, and if so takes one of these;
    "" where it is not what nanoGPT would take.
    """
    if name == "device" and where_a_card_is & {"cuda", "cuda:0"}:
        return "cuda where there is a card, else cpu"
    if name == "dtype" and where_a_card_is & {"bfloat16", "float16"}:
        return "bfloat16 on a card that has it, else float32"
    return ""


def same(ours: Any, theirs: Any) -> bool:
    return math.isclose(ours, theirs) if isinstance(theirs, float) else ours == theirs


def short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)

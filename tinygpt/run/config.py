"""What a run is made of: every setting with its default and what `--help` says about it, and the presets."""

import errno
import math
import os
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygpt.errors import UserError, brief
from tinygpt.files import expanded
from tinygpt.optim import cosine_schedule
from tinygpt.parallel import MOST_THREADS
from tinygpt.recompute import RECOMPUTE
from tinygpt.tokenizer import VOCAB_LIMIT

MODEL_SHAPE = "block_size", "n_layer", "n_head", "n_embd", "bias", "activation_function"
CHANGES_THE_CURVE = (  # beside the text, the learning rates and the dtype
    "n_layer", "n_head", "n_embd", "block_size", "dropout", "bias", "activation_function", "batch_size",
    "gradient_accumulation_steps", "optimizer", "weight_decay", "beta1", "beta2", "grad_clip", "tokenizer",
)  # fmt: skip
EVALUATED_ON = "seed", "batch_size", "block_size", "eval_iters"  # which stretches of the text
A_VALUE_OF = {int: "a whole number", float: "a number", bool: "True or False", str: "text in quotes"}
# What becomes a setting of each type, though True is no number: from Python it may be one of NumPy's, or a Path
TAKEN_AS: dict[type, Any] = {
    int: int | np.integer, float: int | float | np.integer | np.floating, bool: bool | np.bool_, str: str | os.PathLike,
}  # fmt: skip
AT_MOST = {  # where nothing else sets a bound
    "batch_size": 10**6, "gradient_accumulation_steps": 10**5, "eval_iters": 10**6, "sample_length": 10**6,
    "vocab_size": VOCAB_LIMIT, "threads": MOST_THREADS, "seed": 2**64 - 1,
}  # fmt: skip


PATHS = "dataset", "data", "tokenizer", "out_dir", "init_from", "mine"  # or may be: with ~ for the user's own folder


def option(default: Any, group: str, help: str) -> Any:
    """A field of TrainConfig, with what `--help` says about it."""
    return field(default=default, metadata={"group": group, "help": help})


@dataclass
class TrainConfig:
    """Everything a run is made of, under nanoGPT's names. The defaults are the `cpu` preset. Raises UserError, naming
    the field, for a value that no run can have; what depends on others' values is seen where they are known.
    """

    dataset: str = option("stdlib", "data", "stdlib, shakespeare_char, addition, or a folder of token files")
    data: str | None = option(
        None, "data", "a UTF-8 text, a folder of .txt files, several joined by commas, or a folder of token files"
    )
    tokenizer: str = option("char", "data", "char, bpe (trained on the text), gpt2, or the path of a tokenizer.json")
    vocab_size: int | None = option(None, "data", "tokens of a bpe tokenizer (1024 if not given)")
    token_dtype: str = option("auto", "data", "of token files without a header: auto, uint16 or uint32")
    out_dir: str = option("out", "output", "folder for checkpoints, metrics.jsonl and loss.png")
    eval_interval: int = option(250, "output", "steps between evaluations, each of which saves the run")
    save_minutes: float = option(10, "output", "minutes between saves where evaluations are rarer, 0 for none")
    eval_iters: int = option(20, "output", "batches in an evaluation, the same ones every time")
    eval_only: bool = option(False, "output", "evaluate once and stop")
    sample_length: int = option(200, "output", "tokens of text shown at each evaluation, 0 for none")
    log_interval: int = option(10, "output", "steps between readings of the loss")
    advice: bool = option(True, "output", "a line under an evaluation where there is something to say of it")
    always_save_checkpoint: bool = option(False, "output", "keep the weights of every evaluation, not only the best")
    init_from: str = option("scratch", "model", "scratch, resume, a Hugging Face GPT-2 folder, or gpt2 to gpt2-xl")
    n_layer: int = option(4, "model", "blocks")
    n_head: int = option(4, "model", "attention heads in a block")
    n_embd: int = option(128, "model", "channels, a multiple of n_head")
    block_size: int | None = option(64, "model", "context, in tokens; with --init_from=FOLDER the model's if not given")
    dropout: float = option(0.0, "model", "probability that an activation is dropped in training")
    bias: bool = option(False, "model", "biases in linear layers and LayerNorms, as GPT-2 has")
    activation_function: str = option("gelu_new", "model", "gelu_new (tanh, GPT-2's) or gelu (exact, nanoGPT's)")
    mine: str | None = option(None, "model", "folder with parts of your own, such as lessons/work; their code is run")
    mine_unchecked: bool = option(False, "model", "take in also those that do not pass their check")
    batch_size: int = option(12, "optimisation", "sequences in a micro-batch")
    gradient_accumulation_steps: int = option(1, "optimisation", "micro-batches in a step")
    max_iters: int = option(3000, "optimisation", "steps in all")
    patience: int = option(0, "optimisation", "end after so many evaluations without a lower val loss, 0 for never")
    learning_rate: float = option(3e-3, "optimisation", "the largest learning rate")
    decay_lr: bool = option(True, "optimisation", "warm up, then decay along a cosine; otherwise constant")
    warmup_iters: int = option(100, "optimisation", "steps of linear warm-up")
    lr_decay_iters: int | None = option(None, "optimisation", "step that reaches min_lr (max_iters if not given)")
    min_lr: float | None = option(None, "optimisation", "learning rate at the end (learning_rate / 10 if not given)")
    optimizer: str = option("adamw", "optimisation", "the name of a file in tinygpt/optim that holds one")
    weight_decay: float = option(0.1, "optimisation", "decay of matrices and embeddings")
    beta1: float = option(0.9, "optimisation", "AdamW's decay of the first moment")
    beta2: float = option(0.99, "optimisation", "AdamW's decay of the second moment")
    grad_clip: float = option(1.0, "optimisation", "largest global gradient norm, 0 for no limit")
    device: str = option("auto", "system", "auto, cpu or cuda")
    dtype: str = option("auto", "system", "auto, float32, bfloat16 or float64; auto is bfloat16 on cards that have it")
    tf32: bool = option(True, "system", "on a card that can, float32 matrix products in TF32: less exact, faster")
    recompute: str = option("none", "system", "none, gelu (on a card) or blocks: computed again, to hold less memory")
    shard_optimizer: bool = option(False, "system", "of several ranks each keeps a share of the optimizer's state")
    seed: int = option(1337, "system", "of initialisation, batches and dropout")
    threads: int | None = option(None, "system", "CPU cores to use (OMP_NUM_THREADS, or as many as help, if not given)")
    kernels: str = option("auto", "system", "auto, or reference for the definitions in tinygpt/layers alone")

    def __post_init__(self) -> None:
        for name, hint in typing.get_type_hints(type(self)).items():
            if getattr(self, name) is not None or plain_type(hint) is hint:
                setattr(self, name, _setting(name, getattr(self, name), plain_type(hint)))
        for name in PATHS:
            setattr(self, name, in_full(name, getattr(self, name)))
        for name in PATHS:
            if getattr(self, name) == "" and name != "mine":  # which takes a reader's own parts out of a run
                expected = "the name of a folder" if name == "out_dir" else "a name, or that of a file or a folder"
                raise UserError(f"--{name} is empty; expected {expected}")
        at_least = dict.fromkeys(("eval_interval", "eval_iters", "log_interval", "batch_size"), 1)
        at_least |= {"sample_length": 0, "save_minutes": 0}
        at_least |= {
            "gradient_accumulation_steps": 1,
            "max_iters": 0,
            "warmup_iters": 0,
            "patience": 0,
            "threads": 1,
            "seed": 0,
        }
        at_least |= {"learning_rate": 0, "min_lr": 0, "weight_decay": 0, "grad_clip": 0, "lr_decay_iters": 1}
        for name, least in at_least.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"--{name} is {value}; expected at least {least}")
        if self.mine_unchecked and not self.mine:
            raise UserError("--mine_unchecked goes with --mine=FOLDER; give the folder with your own parts too")
        if self.recompute not in RECOMPUTE:
            raise UserError(
                f"--recompute is {brief(self.recompute)}; expected {', '.join(RECOMPUTE[:-1])} or {RECOMPUTE[-1]}"
            )
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"--{name} is {getattr(self, name)}; expected at least 0 and below 1")

    def lr(self, step: int, schedule: Callable[..., float] = cosine_schedule) -> float:
        """The learning rate of a step, counted from 0."""
        if not self.decay_lr:
            return self.learning_rate
        min_lr = self.learning_rate / 10 if self.min_lr is None else self.min_lr
        decay_iters = self.max_iters if self.lr_decay_iters is None else self.lr_decay_iters
        return schedule(step, self.learning_rate, min_lr, self.warmup_iters, decay_iters)


def _setting(name: str, value: Any, kind: Any) -> Any:
    """`value` as a plain `kind`: int, float, bool or str. Raises UserError for what is none, or beyond all bounds."""
    if not isinstance(value, TAKEN_AS[kind]) or (isinstance(value, bool) and kind is not bool):
        raise UserError(f"--{name} is {brief(value)}; expected {A_VALUE_OF[kind]}")
    if kind is str and not _can_be_a_name(str(value)):
        raise UserError(f"--{name} is {brief(value)}; expected what can name a file, and is no longer than names are")
    if kind is float and not _is_finite(value):
        raise UserError(f"--{name} is {brief(value)}; expected a finite number")
    if kind is int and abs(value) > (most := AT_MOST.get(name, 10**15)):
        raise UserError(f"--{name} is {brief(value)}; expected at most {most:,}")
    return kind(value)


def in_full(name: str, value: Any) -> Any:
    """A setting with `~` in full, if it is one of PATHS; `data` may be several, with commas between them."""
    if not value or name not in PATHS:
        return value
    return ",".join(map(expanded, value.split(","))) if name == "data" else expanded(value)


def _is_finite(number: Any) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number that no float can be
        return False


def _can_be_a_name(text: str) -> bool:
    """Whether a file can have the name, or a folder with files in it, on this system."""
    if len(text) > 4096:
        return False
    try:
        os.stat(os.path.join(text, "x" * 100))
    except OSError as error:
        return error.errno != errno.ENAMETOOLONG
    except ValueError:  # a zero byte, or half a character
        return False
    return True


def plain_type(hint: Any) -> type:
    """int for `int | None`, and so on."""
    if isinstance(hint, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not type(None))
    return hint


# Presets: what differs from the defaults above; flags override them.
PRESETS: dict[str, dict[str, Any]] = {
    "cpu": {},  # 4 layers, 4 heads, 128 channels, context 64: minutes on a laptop
    "baby": {  # nanoGPT's train_shakespeare_char
        "n_layer": 6, "n_head": 6, "n_embd": 384, "block_size": 256, "batch_size": 64, "dropout": 0.2,
        "max_iters": 5000, "learning_rate": 1e-3,
    },
    "gpt2": {  # GPT-2's smallest, 124M parameters, trained as nanoGPT trains it
        "n_layer": 12, "n_head": 12, "n_embd": 768, "block_size": 1024, "batch_size": 12, "tokenizer": "gpt2",
        "gradient_accumulation_steps": 40, "max_iters": 600_000, "learning_rate": 6e-4, "warmup_iters": 2000,
        "beta2": 0.95, "eval_interval": 2000, "eval_iters": 200, "log_interval": 1,
    },
}  # fmt: skip

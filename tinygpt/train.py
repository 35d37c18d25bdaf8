"""The training loop: a generator of records over a state that the caller owns. It knows no screen.

    state = start(TrainConfig(max_iters=100))       # or resume("out")
    for record in train(state):
        ...                                         # print it, plot it, write it down

Setting `state.stop` ends the loop after the step under way, with everything saved.
"""

import dataclasses
import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from tinygpt import checkpoint
from tinygpt.backend import (
    Array,
    array_module,
    device_module,
    generator,
    has_tf32,
    keep_freed_pages,
    product_rate,
    resolve_device,
    tf32_products,
    to_host,
)
from tinygpt.costs import training_flops
from tinygpt.data import Batch, Corpus, load_corpus
from tinygpt.errors import UserError
from tinygpt.model import GPT, GPTConfig
from tinygpt.ops import Ops, build
from tinygpt.optim import AdamW, cosine_schedule
from tinygpt.parallel import Workers, count_targets, thread_count
from tinygpt.parameters import Parameters
from tinygpt.tokenizer import GPT2Tokenizer, Tokenizer
from tinygpt.tokenizer import load as load_tokenizer

MODEL_SHAPE = "block_size", "n_layer", "n_head", "n_embd", "bias", "activation_function"
MOMENTS, TOKENIZER = "moments.safetensors", "tokenizer.tinygpt.json"
RATE_SECONDS = 1.0  # to find a card's largest rate of matrix products in


def option(default: Any, group: str, help: str) -> Any:
    """A field of TrainConfig, with what `--help` says about it."""
    return field(default=default, metadata={"group": group, "help": help})


@dataclass
class TrainConfig:
    """Everything a run is made of, under nanoGPT's names. The defaults are the `cpu` preset."""

    dataset: str = option(
        "stdlib", "data", "stdlib, shakespeare_char, addition, or a folder with train.bin and val.bin"
    )
    data: str | None = option(None, "data", "a UTF-8 text file, or a folder with train.bin and val.bin, instead")
    tokenizer: str = option("char", "data", "char, bpe (trained on the text) or gpt2")
    vocab_size: int | None = option(None, "data", "tokens of a bpe tokenizer (1024 if not given)")
    out_dir: str = option("out", "output", "folder for checkpoints, metrics.jsonl and loss.png")
    eval_interval: int = option(250, "output", "steps between evaluations, each of which saves the run")
    eval_iters: int = option(20, "output", "batches in an evaluation, the same ones every time")
    eval_only: bool = option(False, "output", "evaluate once and stop")
    sample_length: int = option(200, "output", "tokens of text shown at each evaluation, 0 for none")
    log_interval: int = option(10, "output", "steps between readings of the loss")
    always_save_checkpoint: bool = option(False, "output", "keep the weights of every evaluation, not only the best")
    init_from: str = option("scratch", "model", "scratch, resume, a Hugging Face GPT-2 folder, or gpt2 to gpt2-xl")
    n_layer: int = option(4, "model", "blocks")
    n_head: int = option(4, "model", "attention heads in a block")
    n_embd: int = option(128, "model", "channels, a multiple of n_head")
    block_size: int | None = option(64, "model", "context, in tokens; with --init_from=FOLDER the model's if not given")
    dropout: float = option(0.0, "model", "probability that an activation is dropped in training")
    bias: bool = option(False, "model", "biases in linear layers and LayerNorms, as GPT-2 has")
    activation_function: str = option("gelu_new", "model", "gelu_new (tanh, GPT-2's) or gelu (exact, nanoGPT's)")
    mine: str | None = option(None, "model", "folder with parts of your own, from the lessons: lessons/work")
    mine_unchecked: bool = option(False, "model", "take in also those that do not pass their check")
    batch_size: int = option(12, "optimisation", "sequences in a micro-batch")
    gradient_accumulation_steps: int = option(1, "optimisation", "micro-batches in a step")
    max_iters: int = option(3000, "optimisation", "steps in all")
    learning_rate: float = option(3e-3, "optimisation", "the largest learning rate")
    decay_lr: bool = option(True, "optimisation", "warm up, then decay along a cosine; otherwise constant")
    warmup_iters: int = option(100, "optimisation", "steps of linear warm-up")
    lr_decay_iters: int | None = option(None, "optimisation", "step that reaches min_lr (max_iters if not given)")
    min_lr: float | None = option(None, "optimisation", "learning rate at the end (learning_rate / 10 if not given)")
    weight_decay: float = option(0.1, "optimisation", "decay of matrices and embeddings")
    beta1: float = option(0.9, "optimisation", "AdamW's decay of the first moment")
    beta2: float = option(0.99, "optimisation", "AdamW's decay of the second moment")
    grad_clip: float = option(1.0, "optimisation", "largest global gradient norm, 0 for no limit")
    device: str = option("auto", "system", "auto, cpu or cuda")
    dtype: str = option("float32", "system", "float32 or float64")
    tf32: bool = option(True, "system", "on a card that can, float32 matrix products in TF32: less exact, faster")
    seed: int = option(1337, "system", "of initialisation, batches and dropout")
    threads: int | None = option(None, "system", "CPU cores to use (all if not given)")
    kernels: str = option("auto", "system", "auto, or reference for the definitions in tinygpt/layers alone")

    def __post_init__(self) -> None:
        if not self.out_dir:
            raise UserError("--out_dir is empty; expected the name of a folder")
        at_least = dict.fromkeys(("eval_interval", "eval_iters", "log_interval", "batch_size"), 1)
        at_least |= {"sample_length": 0}
        at_least |= {"gradient_accumulation_steps": 1, "max_iters": 0, "warmup_iters": 0, "threads": 1, "seed": 0}
        at_least |= {"learning_rate": 0, "min_lr": 0, "weight_decay": 0, "grad_clip": 0, "lr_decay_iters": 1}
        for name, least in at_least.items():
            value = getattr(self, name)
            if value is not None and not value >= least:  # "not >=" also refuses NaN
                raise UserError(f"--{name} is {value}; expected at least {least}")
        if self.mine_unchecked and not self.mine:
            raise UserError("--mine_unchecked goes with --mine=FOLDER; give the folder with your own parts too")
        if self.batch_size > 10**6:
            raise UserError(f"--batch_size is {self.batch_size}; expected at most a million sequences")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"--{name} is {getattr(self, name)}; expected at least 0 and below 1")

    def lr(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if not self.decay_lr:
            return self.learning_rate
        min_lr = self.learning_rate / 10 if self.min_lr is None else self.min_lr
        decay_iters = self.max_iters if self.lr_decay_iters is None else self.lr_decay_iters
        return cosine_schedule(step, self.learning_rate, min_lr, self.warmup_iters, decay_iters)


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


@dataclass
class TrainState:
    """A run: what it is made of, where it stands, and the request to stop."""

    config: TrainConfig
    corpus: Corpus
    model: GPT
    optimizer: AdamW
    threads: int  # workers' cores; the same number gives the same bits
    mine: Any = None  # the reader's own parts, a `tinygpt.mine.Mine`
    step: int = 0
    best_val_loss: float = math.inf
    evaluated_step: int = -1  # the last step that was evaluated
    saved_step: int = -1  # the last step that was saved
    stop: bool = False  # read between steps
    product_rate: float | None = None  # the card's largest rate of matrix products, in FLOP/s; None on a CPU

    @property
    def tf32(self) -> bool:
        """Whether matrix products are in TF32."""
        return self.config.tf32 and self.model.dtype == np.float32 and has_tf32(self.model.device)

    @property
    def tokens_per_step(self) -> int:
        """Tokens in a step, over all its micro-batches."""
        return self.config.gradient_accumulation_steps * self.config.batch_size * self.model.config.block_size

    @property
    def best_folder(self) -> Path:
        """The folder of the best weights so far."""
        return Path(self.config.out_dir) / "best"


@dataclass(frozen=True)
class StepRecord:
    """A step done. The loss, gradient norm and speed are read every `log_interval` steps and None between."""

    step: int  # steps done so far
    lr: float
    loss: float | None = None  # nats per token, mean over the step's batch
    grad_norm: float | None = None  # before clipping
    tokens_per_second: float | None = None
    utilisation: float | None = None  # of a card: its share of the product rate that the model's FLOPs need


@dataclass(frozen=True)
class EvalRecord:
    """An evaluation, on the same batches each time."""

    step: int
    train_loss: float  # nats per token
    val_loss: float
    best: bool  # the lowest val_loss so far
    bits_per_character: float | None = None  # of val_loss
    accuracy: float | None = None  # share of unseen problems solved exactly, where the corpus has problems


Record = StepRecord | EvalRecord
Batches: TypeAlias = tuple[list[Batch], int]  # a step's, and the number of their targets


# Starting and resuming


def start(config: TrainConfig) -> TrainState:
    """A new run: corpus, model and optimiser. Raises UserError for whatever does not fit together."""
    mine = _mine(config)
    if config.init_from == "scratch":
        own = {"merge": mine.merge} if mine else {}
        corpus = load_corpus(config.dataset, config.data, config.tokenizer, config.vocab_size, **own)
        shape = {name: getattr(config, name) for name in MODEL_SHAPE}
        model_config = GPTConfig(vocab_size=corpus.vocab_size, dropout=config.dropout, **shape)
        ops = table(config.kernels, config.device, mine)
        model = GPT(model_config, config.device, config.dtype, config.seed, ops)
        return _state(config, corpus, model, mine)
    model, tokenizer = load_model(config.init_from, config.device, config.dtype, config.kernels, mine)
    model = _fit(model, config)
    return _state(config, _corpus(config, tokenizer, model, config.init_from), model, mine)


def _mine(config: TrainConfig) -> Any:
    """The reader's own parts, if the run has any."""
    if not config.mine:
        return None
    from tinygpt.mine import load_mine  # here, since other runs should not wait for the checker to be imported

    return load_mine(config.mine, config.mine_unchecked)


def table(kernels: str, device: str, mine: Any = None) -> Ops:
    """The ops table of a run: by name (see `ops.build`), with the reader's own layers in their places if there are."""
    ops = build(kernels, device)
    return mine.table(ops) if mine else ops


def _corpus(config: TrainConfig, tokenizer: Any, model: GPT, source: str | Path) -> Corpus:
    """The run's text in the tokens of a model that was loaded from `source`."""
    try:
        if tokenizer is None:
            corpus = load_corpus(config.dataset, config.data, config.tokenizer, config.vocab_size)
        else:
            corpus = load_corpus(config.dataset, config.data, tokenizer)
    except UserError as error:
        text = config.data or config.dataset
        raise UserError(
            f"{text} cannot be used with the model in {source}: {error}; choose the text with --data"
        ) from None
    check_vocabulary(corpus, model, source)
    return corpus


def check_vocabulary(corpus: Corpus, model: GPT, source: str | Path) -> None:
    """Raise UserError if the text has tokens that the model, which came from `source`, does not know."""
    if corpus.vocab_size > model.config.vocab_size:
        raise UserError(
            f"{corpus.name} has a vocabulary of {corpus.vocab_size:,} tokens, but the model in {source} has only "
            f"{model.config.vocab_size:,}; choose a text in its own tokens"
        )


def _state(config: TrainConfig, corpus: Corpus, model: GPT, mine: Any) -> TrainState:
    for split in ("train", "val"):  # a text that is too short should be known before anything is written
        corpus.batch(split, 1, model.config.block_size, np.random.default_rng(0))
    if corpus.tokenizer is not None:  # what it turned out to be
        config.tokenizer = corpus.tokenizer.name
        config.vocab_size = corpus.vocab_size if config.tokenizer == "bpe" else None
    own = {"update": mine.adamw_update} if mine else {}
    optimizer = AdamW(model.params, (config.beta1, config.beta2), weight_decay=config.weight_decay, **own)
    if mine:
        corpus.cut = mine.windows_at
    return TrainState(config, corpus, model, optimizer, thread_count(config.threads, model.device), mine)


def _fit(model: GPT, config: TrainConfig) -> GPT:
    """A loaded model with the run's dropout and, where that is shorter, its context; `config` then says its shape."""
    shape = dataclasses.asdict(model.config) | {"dropout": config.dropout}
    shape["block_size"] = min(config.block_size or shape["block_size"], shape["block_size"])
    if shape["block_size"] < model.config.block_size:
        whole, model = model, GPT(GPTConfig(**shape), model.device, str(model.dtype), seed=None, ops=model.ops)
        for name, array in whole.params.items():
            model.params[name] = array[: shape["block_size"]] if name == "wpe.weight" else array
    model.config = GPTConfig(**shape)
    model.seed = config.seed
    for name in MODEL_SHAPE:
        setattr(config, name, shape[name])
    return model


def load_model(
    folder: str | Path, device: str = "auto", dtype: str = "float32", kernels: str = "auto", mine: Any = None
) -> tuple[GPT, Tokenizer | None]:
    """A model and, where one is known, its tokenizer.

    folder: a run's (its best weights, or its last ones if none were evaluated yet), a Hugging Face GPT-2 folder, or
    "gpt2" to "gpt2-xl". mine: a reader's own parts, from `tinygpt.mine.load_mine`. Raises UserError if there is no
    model or it is damaged.
    """
    device, _ = resolve_device(device)
    if (Path(folder) / "best" / checkpoint.WEIGHTS).exists():
        folder = Path(folder) / "best"
    elif (Path(folder) / "last").is_dir():
        _, folder = checkpoint.load_state(folder)
    model = GPT.from_pretrained(folder, device, dtype, table(kernels, device, mine))
    if (Path(folder) / TOKENIZER).exists():
        return model, load_tokenizer(Path(folder) / TOKENIZER)
    return model, GPT2Tokenizer() if model.config.vocab_size == GPT2Tokenizer.vocab_size else None


def resume(out_dir: str | Path, changes: dict[str, Any] | None = None) -> TrainState:
    """The run saved in `out_dir`, as it was; `changes` are settings to change from here on.

    Raises UserError if nothing is saved there, a file is damaged, the text is no longer the same, or a change would
    make it another model.
    """
    changes = {name: value for name, value in (changes or {}).items() if name != "init_from"}
    if "dataset" in changes:
        changes.setdefault("data", None)  # which would go before it
    meta, folder = checkpoint.load_state(out_dir)
    try:
        saved = meta["config"]
        config = TrainConfig(**(saved | changes | {"init_from": "resume", "out_dir": str(out_dir)}))
        numbers = {name: meta[name] for name in ("step", "evaluated_step", "best_val_loss")}
        config.threads = config.threads or meta["threads"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder / 'state.json'} is of another version of tinygpt ({error}); start anew") from None
    for name in (*MODEL_SHAPE, "dtype", "tokenizer", "vocab_size"):
        if name in changes and changes[name] != saved[name]:
            raise UserError(
                f"--{name}={changes[name]} would be another model: the run in {out_dir} has {name}={saved[name]}; "
                f"leave the flag out, or start a new run with another --out_dir"
            )
    mine = _mine(config)
    model, tokenizer = load_model(folder, config.device, config.dtype, config.kernels, mine)
    model = _fit(model, config)
    corpus = _corpus(config, tokenizer, model, folder)
    if meta["text"] != corpus.fingerprint and not changes.keys() & {"dataset", "data"}:
        raise UserError(
            f"the text of {corpus.name} is no longer the one that the run in {out_dir} was saved with, so it cannot go "
            f"on exactly; name the text to go on with (--data FILE or --dataset={config.dataset}), or start a new run"
        )
    state = _state(config, corpus, model, mine)
    moments = checkpoint.read_tensors(folder / MOMENTS)
    for prefix, target in (("m.", state.optimizer.m), ("v.", state.optimizer.v)):
        part = {name.removeprefix(prefix): array for name, array in moments.items() if name.startswith(prefix)}
        checkpoint.copy_tensors(part, target, folder / MOMENTS)
    state.optimizer.steps = state.step = state.saved_step = numbers["step"]
    state.evaluated_step = numbers["evaluated_step"]
    state.best_val_loss = math.inf if numbers["best_val_loss"] is None else numbers["best_val_loss"]
    if meta["text"] != corpus.fingerprint:  # losses on another text do not compare
        state.best_val_loss, state.evaluated_step = math.inf, -1
    return state


def save(state: TrainState) -> None:
    """Save the run in `out_dir/last`, so that `resume` goes on bit for bit. Raises UserError if it cannot."""
    meta = {
        "step": state.step,
        "evaluated_step": state.evaluated_step,
        "best_val_loss": None if math.isinf(state.best_val_loss) else state.best_val_loss,
        "threads": state.threads,
        "text": state.corpus.fingerprint,
        "config": dataclasses.asdict(state.config),
    }

    def write(folder: Path) -> None:
        save_weights(state, folder)
        moments = {f"m.{name}": array for name, array in state.optimizer.m.on_host().items()}
        moments |= {f"v.{name}": array for name, array in state.optimizer.v.on_host().items()}
        checkpoint.write_tensors(folder / MOMENTS, moments)

    checkpoint.save_state(state.config.out_dir, state.step, write, meta)
    state.saved_step = state.step


def save_weights(state: TrainState, folder: Path) -> None:
    """Write a model's folder, with the tokenizer beside it, for sampling or for another program."""
    if state.corpus.tokenizer:
        state.corpus.tokenizer.save(folder / TOKENIZER)
    state.model.save_pretrained(folder)


# The loop


def train(state: TrainState) -> Iterator[Record]:
    """Train from where `state` stands to `max_iters`, yielding a record for each step and each evaluation.

    Each evaluation, the first before any step, saves the run and, if it is the best so far, the weights. Raises
    UserError when the loss, the gradient or a weight is no longer finite; what was last saved is then from before.
    """
    keep_freed_pages()
    config, model = state.config, state.model
    grads = model.params.zeros_like()
    measured: Array | None = None  # loss and gradient norm of the last step, still on the device
    first = state.step + 1  # is read too, so that a slow run soon says how slow
    with Workers(state.threads) as workers, tf32_products(config.tf32, model.device):
        if model.device == "cuda" and not config.eval_only:
            state.product_rate = product_rate(model.device, model.dtype, RATE_SECONDS)
        clock, clock_step = time.perf_counter(), state.step
        batches: Batches | None = None
        while True:
            due = state.step % config.eval_interval == 0 or state.step >= config.max_iters
            if (due and state.evaluated_step != state.step) or config.eval_only:
                began = time.perf_counter()
                _check_finite(state, measured)
                record = evaluate(state, workers)
                if record is not None:
                    yield record
                clock += time.perf_counter() - began  # neither the evaluation nor who watches it counts as training
            if state.step >= config.max_iters or state.stop or config.eval_only:
                break
            lr = config.lr(state.step)
            measured = _step(state, workers, grads, lr, batches or _batches(state))
            state.step += 1
            batches = _batches(state) if state.step < config.max_iters else None  # while a card is still at the step
            if state.step % config.log_interval == 0 or state.step in (first, config.max_iters):
                loss, norm = _check_finite(state, measured)
                now = time.perf_counter()
                speed = (state.step - clock_step) * state.tokens_per_step / (now - clock)
                clock, clock_step = now, state.step
                share = speed * training_flops(model.config) / state.product_rate if state.product_rate else None
                yield StepRecord(state.step, lr, loss, norm, speed, share)
            else:
                yield StepRecord(state.step, lr)
        if state.saved_step != state.step and not config.eval_only:
            _check_finite(state, measured)
            _check_weights(state)
            save(state)


def _batches(state: TrainState) -> Batches:
    """The micro-batches of the step that `state` stands at, on the model's device, and how many targets count."""
    config, model = state.config, state.model
    rng = generator(config.seed, "batches", state.step)  # from the step alone, so that there is nothing to save
    shape = config.batch_size, model.config.block_size
    batches = [state.corpus.batch("train", *shape, rng) for _ in range(config.gradient_accumulation_steps)]
    counted = sum(count_targets(targets) for _, targets in batches)
    return [model.place(*batch) for batch in batches], counted


def _step(state: TrainState, workers: Workers, grads: Parameters, lr: float, batches: Batches) -> Array:
    """One optimiser step over all its micro-batches; returns loss and gradient norm, (2,), on the device."""
    config, model = state.config, state.model
    micro_batches, counted = batches
    grads.flat[...] = 0
    loss = device_module(model.device).zeros((), dtype=model.precision.accumulation)
    for number, (idx, targets) in enumerate(micro_batches):
        row = number * config.batch_size
        loss = loss + workers.gradients(model, idx, targets, grads, max(1, counted), state.step, row)
    with np.errstate(all="ignore"):  # _check_finite sees what is no longer finite, and says more
        norm = state.optimizer.step(grads, lr, config.grad_clip, workers.map)
    return array_module(norm).stack((loss, norm))


def evaluate(state: TrainState, workers: Workers) -> EvalRecord | None:
    """Measure the loss on both splits, and save the run and the weights as the configuration says.

    None, with nothing saved, if `state.stop` was set meanwhile.
    """
    config, model, corpus = state.config, state.model, state.corpus
    shape = config.batch_size, model.config.block_size
    losses = {}
    for split in ("train", "val"):
        rng = generator(config.seed, "evaluation", split)  # the same batches every time, so that losses compare
        batches = (corpus.batch(split, *shape, rng) for _ in range(config.eval_iters))
        losses[split] = mean_loss(model, workers, itertools.takewhile(lambda _: not state.stop, batches))
    if state.stop:
        return None
    if not all(map(math.isfinite, losses.values())):
        raise _diverged(state, "losses of the evaluation are {train:.4g} and {val:.4g}".format(**losses))
    accuracy = corpus.accuracy(model)
    best = losses["val"] < state.best_val_loss
    if not config.eval_only:
        state.best_val_loss = min(losses["val"], state.best_val_loss)
        state.evaluated_step = state.step
        _check_weights(state)
        if best:
            save_weights(state, state.best_folder)
        if config.always_save_checkpoint:
            save_weights(state, Path(config.out_dir) / f"step-{state.step:08d}")
        save(state)
    bits = corpus.bits_per_character(losses["val"])
    return EvalRecord(state.step, losses["train"], losses["val"], best, bits, accuracy)


def mean_loss(model: GPT, workers: Workers, batches: Iterator[tuple[np.ndarray, np.ndarray]]) -> float:
    """The mean loss over all counted targets of the batches, in nats per token."""
    sums, counts = [], []
    for idx, targets in batches:
        counts.append(count_targets(targets))
        sums.append(workers.loss(model, idx, targets) * counts[-1])
    if not sums:
        return math.nan
    return float(to_host(array_module(sums[0]).stack(sums)).astype(np.float64).sum()) / max(1, sum(counts))


def _check_finite(state: TrainState, measured: Array | None) -> tuple[float, float]:
    """Loss and gradient norm of the last step as numbers. Raises UserError if one of them is not finite."""
    if measured is None:
        return math.nan, math.nan
    loss, norm = (float(number) for number in to_host(measured))
    if math.isfinite(loss) and math.isfinite(norm):
        return loss, norm
    raise _diverged(state, f"loss is {loss:.4g} and the gradient norm {norm:.4g}")


def _check_weights(state: TrainState) -> None:
    """Raise UserError if the last update left a weight that is not finite: its loss, seen next, would come too late."""
    xp = array_module(state.model.params.flat)
    if not bool(xp.isfinite(state.model.params.flat).all()):
        raise _diverged(state, "weights are no longer finite")


def _diverged(state: TrainState, what: str) -> UserError:
    lr = state.config.lr(max(state.step - 1, 0))
    last = Path(state.config.out_dir) / "last"
    good = (
        f"the last good checkpoint is step {state.saved_step:,} in {last}" if state.saved_step >= 0 else "none is saved"
    )
    return UserError(
        f"at step {state.step:,} the {what} (learning rate {lr:.3g}); {good}: "
        f"go on from it, or start again, with a lower --learning_rate"
    )

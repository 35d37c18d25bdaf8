"""A run started, saved, resumed, and its model read; `folder.py` has what its folder holds."""

import dataclasses
import math
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt import precision
from tinygpt.backend import Array, array_module
from tinygpt.checkpoint import TOKENIZER, WEIGHTS, copy_tensors, has_digest, read_tensors, write_tensors
from tinygpt.data import Corpus, load_corpus
from tinygpt.device import check_memory, resolve_device
from tinygpt.errors import Note, UserError
from tinygpt.files import expanded
from tinygpt.model_folder import model_folder
from tinygpt.models.gpt2 import GPT, GPTConfig
from tinygpt.ops import build
from tinygpt.optim import Optimizer
from tinygpt.optim import find as find_optimizer
from tinygpt.parallel import training_threads
from tinygpt.run.alike import check_alike, check_settings
from tinygpt.run.config import CHANGES_THE_CURVE, EVALUATED_ON, MODEL_SHAPE, TrainConfig
from tinygpt.run.folder import current, load_meta, load_state, refuse_links, save_state
from tinygpt.run.group import ALONE, Group
from tinygpt.run.lock import LOCK
from tinygpt.run.memory import activations
from tinygpt.run.reading import rereading
from tinygpt.run.saved import saved_best, saved_config, saved_evaluation
from tinygpt.run.state import OURS, Parts, TrainState
from tinygpt.run.tokens import asked_for, check_agreement, check_corpus, check_room, is_same, is_text, ready_made
from tinygpt.tokenizer import NAMES, Tokenizer, beside, unknown

STEP_TOKENS = 1 << 24  # as many as the largest models learn from at a time; their batches take 0.3 GB
OPTIMIZER_STATE = "moments.safetensors"


def start(config: TrainConfig, parts: Parts = OURS, group: Group = ALONE) -> TrainState:
    """A new run: corpus, model and optimiser. Raises UserError for whatever does not fit together.

    parts: what is to be used in place of the engine's own; from the command line `--mine` brings it. group: the
    processes that share the run, each of which calls this.
    """
    settings = dataclasses.asdict(config)
    return _alike(group, settings, lambda: config.device, lambda: _start(config, parts, group))


def _alike(
    group: Group, settings: dict[str, Any], device: Callable[[], str], make: Callable[[], TrainState]
) -> TrainState:  # fmt: skip
    """The state that every rank makes, of these settings and on the device that it is to be on, the same on all of
    them. Raises UserError where it is not.
    """
    if group.size == 1:
        return make()
    check_settings(group, settings)
    if (asked := group.each(device)) != "cpu":
        group.use_card(asked)
    state = group.each(make, in_turn=True)
    check_alike(state)
    group.broadcast(state.model.params.flat)
    return state


def _start(config: TrainConfig, parts: Parts, group: Group) -> TrainState:
    if config.init_from == "scratch":
        device, _ = resolve_device(config.device)
        dtype = _possible(config.dtype, device, config.kernels, parts)
        text = config.dataset, config.data, config.tokenizer, config.vocab_size, parts.merge, config.token_dtype
        corpus = load_corpus(*text)
        shape = {name: getattr(config, name) for name in MODEL_SHAPE}
        model_config = GPTConfig(vocab_size=corpus.vocab_size, dropout=config.dropout, **shape)
        ops = build(config.kernels, device).replace(**parts.leaves)
        model = GPT(model_config, device, dtype, config.seed, ops, parts.model)
        return _state(config, corpus, model, parts, group)
    return _state(config, *_loaded(config, config.init_from, parts, asked=asked_for(config)), parts, group)


def _possible(dtype: str, device: str, kernels: str, parts: Parts) -> str:
    """The dtype to compute in; that it is not the one asked for is a note."""
    name, why = precision.resolve(dtype, device, kernels, parts != OURS)
    if dtype != "auto" and why:
        warnings.warn(f"{why}, so this computes in {name}", Note, stacklevel=3)
    return name


def _loaded(
    config: TrainConfig, source: str | Path, parts: Parts, checked: bool = False, asked: Tokenizer | str | None = None
) -> tuple[Corpus, GPT]:
    """The model in `source`, with the run's dropout and, where that is shorter, its context, and the run's text in its
    tokens. `config` then says the model's shape. checked: see `load_model`; asked: the tokenizer that the run is to
    have, if it says so.
    """
    given = asked if isinstance(asked, Tokenizer) else None
    model, tokenizer = load_model(source, config.device, config.dtype, config.kernels, parts, checked, given)
    check_agreement(asked, config.tokenizer, tokenizer, source)
    if config.block_size and config.block_size < model.config.block_size:
        model = model.cropped(config.block_size)
    model.config = dataclasses.replace(model.config, dropout=config.dropout)
    model.seed = config.seed
    for name in MODEL_SHAPE:
        setattr(config, name, getattr(model.config, name))
    tokens: tuple = (config.tokenizer, config.vocab_size) if tokenizer is None else (tokenizer,)
    if tokenizer is None and is_text(config):
        raise UserError(unknown(source, model.config.vocab_size))
    try:
        named = config.tokenizer != TrainConfig.tokenizer  # by the user, or by this run when it began
        files: dict[str, Any] = {"token_dtype": config.token_dtype, "explicit": named}
        corpus = load_corpus(config.dataset, config.data, *tokens, **files)
    except UserError as error:
        problem = f"{config.data or config.dataset} cannot be used with the model in {source}"
        way_out = "" if config.data else "; choose the text with --data"
        raise UserError(f"{problem}: {error}{way_out}") from None
    check_corpus(corpus, tokenizer, model.config.vocab_size, source)
    return corpus, model


def _state(config: TrainConfig, corpus: Corpus, model: GPT, parts: Parts, group: Group) -> TrainState:
    if config.mine and parts is OURS:
        raise UserError(
            f"--mine={config.mine} is for the command line; from Python give the parts themselves: "
            f'start(config, load_own_layers("{config.mine}").parts)'
        )
    for split in ("train", "val"):  # a text that is too short should be known before anything is written
        corpus.batch(split, 1, model.config.block_size, np.random.default_rng(0))
    if corpus.tokenizer is not None:  # what it turned out to be
        model.drawable = corpus.tokenizer.vocab_size
        if corpus.tokenizer.name in NAMES:
            config.tokenizer = corpus.tokenizer.name
        elif config.tokenizer in NAMES:  # it came with a model, and is saved with this one
            config.tokenizer = str(Path(config.out_dir) / "best" / "tokenizer.json")
        config.vocab_size = corpus.vocab_size if config.tokenizer == "bpe" else None
    corpus.cut = parts.windows_at
    model.recompute = config.recompute
    if config.recompute == "gelu" and model.fused_stack is None:
        note = "--recompute=gelu saves nothing here, where no card's kernels compute the MLP; --recompute=blocks does"
        warnings.warn(note, Note, stacklevel=2)
    optimizer, shard = _optimizer(config, model, parts, group)
    threads = training_threads(config.threads, model, config.batch_size, group.cores)
    state = TrainState(config, corpus, model, optimizer, threads, parts, group, shard)
    rows, here = config.gradient_accumulation_steps * config.batch_size, group.ranks_here
    if group.size > rows:
        raise UserError(
            f"{group.size} ranks share a step, which has fewer rows ({rows:,}: --gradient_accumulation_steps x "
            f"--batch_size), and each rank needs one; start fewer ranks, or choose a larger step"
        )
    if state.tokens_per_step > STEP_TOKENS:
        raise UserError(
            f"a step would have {state.tokens_per_step:,} tokens, and its batches are held all at once; expected at "
            f"most {STEP_TOKENS:,}, so choose a smaller --batch_size or --gradient_accumulation_steps"
        )
    if not config.eval_only:
        refuse_links(config.out_dir)
        held = 2 * model.params.flat.nbytes + sum(buffer.flat.nbytes for buffer in optimizer.state.values())
        what = "the model, its gradients and the optimizer's state"
        of_all = f", on each of the {here} ranks here," if here > 1 else ""
        check_memory(held * here, what + of_all, model.device)
        tokens = config.batch_size * model.config.block_size
        kept = tokens * activations(model, config.recompute) * model.dtype.itemsize
        sequences = f"the activations of --batch_size={config.batch_size} sequences, even a quarter of them"
        # a quarter, since a CPU's fast twins keep less than what is counted
        check_memory(kept * here // 4, sequences + (of_all or ","), model.device)
    return state


def _optimizer(config: TrainConfig, model: GPT, parts: Parts, group: Group) -> tuple[Optimizer, slice | None]:
    """The run's optimiser, and the elements of the flat buffer whose state it keeps where ranks share it; else None.

    Rajbhandari and others, "ZeRO: memory optimizations toward training trillion parameter models", 2020
    (arXiv:1910.02054), the first stage. Raises UserError for an optimiser that needs whole parameters.
    """
    kind, own = find_optimizer(config.optimizer), parts.optimizers.get(config.optimizer, {})
    if config.shard_optimizer and group.size == 1:
        note = "--shard_optimizer saves nothing here, where one process alone trains"
        warnings.warn(note, Note, stacklevel=2)
    if not config.shard_optimizer or group.size == 1:
        optimizer = kind.from_config(model.params, config, **own)
        optimizer.norm = parts.global_norm
        return optimizer, None
    if not kind.elementwise:
        raise UserError(
            f"--shard_optimizer cuts parameters anywhere, and {config.optimizer} updates each as a whole; leave it out"
        )
    shard = group.shards(len(model.params.flat))[group.rank]
    optimizer = kind.from_config(model.params.part(shard), config, **own)

    def norm_of_all(arrays: Iterable[Array], each: Callable[..., Iterable] = map) -> Array:
        norm = parts.global_norm(arrays, each)
        square = (norm * norm).reshape(1)
        group.sum(square)
        return array_module(square).sqrt(square)[0]

    optimizer.norm = norm_of_all
    return optimizer, shard


@rereading
def load_model(
    folder: str | Path, device: str = "auto", dtype: str = "float32", kernels: str = "auto", parts: Parts = OURS,
    checked: bool = False, tokenizer: Tokenizer | str | Path | None = None,
) -> tuple[GPT, Tokenizer | None]:  # fmt: skip
    """A model and, where one is known, its tokenizer.

    folder: a run's (its best weights, or its last ones if none were evaluated yet), a Hugging Face GPT-2 folder, or
    "gpt2" to "gpt2-xl". dtype: that of a model, or "auto"; bfloat16 where it is not possible is float32, and a note.
    parts: see `start`. checked: True where its files are known to be whole already. tokenizer: in place of the one that
    lies beside the model, one made before, "gpt2", or the path of a tokenizer.json. A model may know more tokens than
    its tokenizer, whose number is then `model.drawable`: what is beyond is never drawn. Raises UserError if there is no
    model, it is damaged or it knows fewer; what damage there may be that cannot be told is a note.
    """
    given = ready_made(tokenizer, folder)
    device, _ = resolve_device(device)
    dtype = _possible(dtype, device, kernels, parts)
    folder = model_folder(folder)
    best = Path(folder) / "best"
    if (best / WEIGHTS).exists():
        folder = best
    elif (Path(folder) / "last").is_dir():
        (meta, folder), checked = load_state(folder), True
        if meta.get("best_val_loss") is not None:
            warnings.warn(f"{best / WEIGHTS} is missing, so these are the run's last weights", Note, stacklevel=2)
    elif any((Path(folder) / name).exists() for name in (LOCK, "metrics.jsonl")):
        raise UserError(f"{folder} holds no weights yet: the run in it saves its first ones when it is first evaluated")
    weights, ours = Path(folder) / WEIGHTS, (Path(folder) / TOKENIZER).exists()  # by tinygpt, at least at first
    if weights.exists() and ours and not checked and not has_digest(weights):
        note = f"{weights} has no digest that would tell damage: another program wrote it, or an earlier tinygpt"
        warnings.warn(note, Note, stacklevel=2)
    ops = build(kernels, device).replace(**parts.leaves)
    model = GPT.from_pretrained(folder, device, dtype, ops, parts.model, checked)
    known = given or beside(Path(folder), model.config.vocab_size)
    check_room(known, model.config.vocab_size, folder)
    model.drawable = known.vocab_size if known else None
    return model, known


def resume(
    out_dir: str | Path, changes: dict[str, Any] | None = None, parts: Parts = OURS, group: Group = ALONE
) -> TrainState:
    """The run saved in `out_dir`, as it was; `changes` are settings to change from here on. parts, group: see `start`;
    the run may have been another number of ranks' before. Raises UserError if nothing is saved, a file is damaged, the
    text is another, or a change makes it another model.
    """

    def device() -> str:
        meta, folder = load_meta(expanded(out_dir))
        return (changes or {}).get("device") or saved_config(meta, folder / "state.json").device

    settings = (changes or {}) | {"out_dir": str(out_dir)}
    return _alike(group, settings, device, lambda: _resume(out_dir, changes, parts, group))


@rereading
def _resume(out_dir: str | Path, changes: dict[str, Any] | None, parts: Parts, group: Group) -> TrainState:
    changes = {name: value for name, value in (changes or {}).items() if name != "init_from"}
    if "dataset" in changes:
        changes.setdefault("data", None)  # which would go before it
    out_dir = expanded(out_dir)
    saved_as = current(out_dir)
    meta, folder = load_state(out_dir)
    saved = saved_config(meta, folder / "state.json")
    config = dataclasses.replace(saved, **changes | {"init_from": "resume", "out_dir": str(out_dir)})
    if meta.get("ranks", 1) == group.size:  # else it cannot go on bit for bit anyway
        config.threads = config.threads or meta["threads"]
    step, evaluated_step, best_val_loss = meta["step"], meta["evaluated_step"], meta["best_val_loss"]
    way_out = "leave it out, or start a new run with another --out_dir"
    others = [n for n in (*MODEL_SHAPE, "vocab_size") if getattr(config, n) != getattr(saved, n)]
    known = beside(folder, 0)
    asked = asked_for(config) if known is None and "tokenizer" in changes else None  # whose tokens they are is said now
    if "tokenizer" in changes and asked is None and not is_same(config, saved, known):
        others.append("tokenizer")
    others += ["dtype"] if precision.kind(config.dtype) != precision.kind(saved.dtype) else []
    for name in others:
        before = getattr(saved, name)
        problem = f"--{name}={changes[name]} would be another model: the run in {out_dir} has {name}={before}"
        raise UserError(f"{problem}; {way_out}")
    if config.optimizer != saved.optimizer:
        problem = f"--optimizer={config.optimizer} cannot go on from what {saved.optimizer} has kept in {out_dir}"
        raise UserError(f"{problem}; {way_out}")
    corpus, model = _loaded(config, folder, parts, checked=True, asked=asked)
    if meta["text"] != corpus.fingerprint and not changes.keys() & {"dataset", "data"}:
        raise UserError(
            f"the text of {corpus.name} is no longer the one that the run in {out_dir} was saved with, so it cannot go "
            f"on exactly; name the text to go on with (--data FILE or --dataset={config.dataset}), or start a new run"
        )
    state = _state(config, corpus, model, parts, group)
    names, shapes = state.optimizer.state, model.params.shapes
    kept = read_tensors(folder / OPTIMIZER_STATE, {f"{n}.{key}": shape for n in names for key, shape in shapes.items()})
    for name, buffer in names.items():
        target = buffer if state.shard is None else model.params.zeros_like()
        own = {key.removeprefix(f"{name}."): array for key, array in kept.items() if key.startswith(f"{name}.")}
        copy_tensors(own, target, folder / OPTIMIZER_STATE)
        if name in state.optimizer.never_negative and bool((target.flat < 0).any()):
            raise UserError(f"{folder / OPTIMIZER_STATE} has numbers below 0 in {name}, which cannot be; start anew")
        if state.shard is not None:
            buffer.flat[...] = target.flat[state.shard]
    state.optimizer.steps = state.step = state.saved_step = step
    state.saved_as = saved_as
    state.evaluation = saved_evaluation(meta, folder / "state.json")
    same_text = meta["text"] == corpus.fingerprint
    changed = [n for n in CHANGES_THE_CURVE + EVALUATED_ON if getattr(config, n) != getattr(saved, n)]
    state.same_since = step if changed or not same_text else meta.get("same_since", -1)
    if step and same_text and (other := [f"--{name}" for name in EVALUATED_ON if name in changed]):
        note = f"{' and '.join(other)} changed, so it is evaluated on other stretches of the text"
        warnings.warn(f"{note}: val losses do not compare with those before", Note, stacklevel=2)
    if same_text:  # losses on another text do not compare
        state.evaluated_step = evaluated_step
        state.best_val_loss = math.inf if best_val_loss is None else best_val_loss
        state.best_step, state.without_better = saved_best(meta, state.evaluation)
    return state


def save(state: TrainState) -> None:
    """Save the run in `out_dir/last`, so that `resume` goes on bit for bit. Raises UserError if it cannot. Where ranks
    share the run each of them calls this, rank 0 writes, and all know how that went.
    """
    meta = {
        "step": state.step, "evaluated_step": state.evaluated_step,
        "best_val_loss": None if math.isinf(state.best_val_loss) else state.best_val_loss,
        "best_step": state.best_step, "without_better": state.without_better, "same_since": state.same_since,
        "evaluation": state.evaluation and dataclasses.asdict(state.evaluation),
        "threads": state.threads, "ranks": state.group.size, "text": state.corpus.fingerprint,
        "config": dataclasses.asdict(state.config),
    }  # fmt: skip

    def write(folder: Path) -> None:
        save_weights(state, folder)
        write_tensors(folder / OPTIMIZER_STATE, moments)

    def written() -> str:
        state.before_save()
        save_state(state.config.out_dir, state.step, write, meta)
        return current(state.config.out_dir)

    moments = _optimizer_state(state)
    state.saved_as = state.group.first(written)
    state.saved_step = state.step


def _optimizer_state(state: TrainState) -> dict[str, np.ndarray]:
    """What the optimiser keeps, on the host of rank 0, tensor by tensor; of ranks that share it, put together."""
    kept: dict[str, np.ndarray] = {}
    for name, buffer in state.optimizer.state.items():
        if state.shard is not None:
            whole = state.model.params.zeros_like()
            whole.flat[state.shard] = buffer.flat
            state.group.gather_shards(whole.flat)
            buffer = whole
        if state.group.rank == 0:
            kept |= {f"{name}.{key}": array for key, array in buffer.on_host().items()}
    return kept


def save_weights(state: TrainState, folder: Path) -> None:
    """Write a model's folder, with the tokenizer beside it, for sampling or for another program."""
    end = None
    if state.corpus.tokenizer:
        state.corpus.tokenizer.save_pretrained(folder)
        end = state.corpus.tokenizer.end_id
    state.model.save_pretrained(folder, bos_token_id=end, eos_token_id=end)

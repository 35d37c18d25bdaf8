"""A run on disk: started, saved, resumed.

A run's folder holds

    best/                     a model's folder: the best weights so far
    last/step-00000250.1/     everything the run needs to go on exactly as if it had not stopped
    last/current              the name of the folder in use, and the SHA-256 of its state.json, which has the others'

A state is written to a new folder, flushed to disk, and becomes the one in use when `current` is replaced, which is
one atomic step; a run killed at any moment leaves the earlier state or the new one.
"""

import contextlib
import dataclasses
import json
import math
import os
import re
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt import precision
from tinygpt.checkpoint import TOKENIZER, WEIGHTS, copy_tensors, has_digest, read_tensors, write_tensors
from tinygpt.data import Corpus, load_corpus
from tinygpt.device import check_memory, resolve_device
from tinygpt.errors import Note, UserError, brief
from tinygpt.files import flush_to_disk, make_folder, read_bytes, read_json, sha256, write_atomically
from tinygpt.models.gpt2 import GPT, GPTConfig
from tinygpt.ops import build
from tinygpt.optim import find as find_optimizer
from tinygpt.parallel import training_threads
from tinygpt.run.config import MODEL_SHAPE, TrainConfig
from tinygpt.run.lock import LOCK
from tinygpt.run.memory import activations
from tinygpt.run.reading import rereading
from tinygpt.run.saved import saved_config, saved_digests, saved_evaluation
from tinygpt.run.state import OURS, Parts, TrainState
from tinygpt.tokenizer import GPT2Tokenizer, Tokenizer
from tinygpt.tokenizer import load as load_tokenizer

STEP_TOKENS = 1 << 24  # as many as the largest models learn from at a time; their batches take 0.3 GB
OPTIMIZER_STATE = "moments.safetensors"
RUN_FILES = "metrics.jsonl", "loss.png", "best", "last"  # in this order, so that what is left is still a run


def start(config: TrainConfig, parts: Parts = OURS) -> TrainState:
    """A new run: corpus, model and optimiser. Raises UserError for whatever does not fit together.

    parts: what is to be used in place of the engine's own; from the command line `--mine` brings it.
    """
    if config.init_from == "scratch":
        device, _ = resolve_device(config.device)
        dtype = _possible(config.dtype, device, config.kernels, parts)
        corpus = load_corpus(config.dataset, config.data, config.tokenizer, config.vocab_size, parts.merge)
        shape = {name: getattr(config, name) for name in MODEL_SHAPE}
        model_config = GPTConfig(vocab_size=corpus.vocab_size, dropout=config.dropout, **shape)
        ops = build(config.kernels, device).replace(**parts.leaves)
        model = GPT(model_config, device, dtype, config.seed, ops, parts.model)
        return _state(config, corpus, model, parts)
    return _state(config, *_loaded(config, config.init_from, parts), parts)


def _possible(dtype: str, device: str, kernels: str, parts: Parts) -> str:
    """The dtype to compute in; that it is not the one asked for is a note."""
    name, why = precision.resolve(dtype, device, kernels, parts != OURS)
    if dtype != "auto" and why:
        warnings.warn(f"{why}, so this computes in {name}", Note, stacklevel=3)
    return name


def _loaded(config: TrainConfig, source: str | Path, parts: Parts, checked: bool = False) -> tuple[Corpus, GPT]:
    """The model in `source`, with the run's dropout and, where that is shorter, its context, and the run's text in its
    tokens. `config` then says the model's shape. checked: see `load_model`.
    """
    model, tokenizer = load_model(source, config.device, config.dtype, config.kernels, parts, checked)
    if config.block_size and config.block_size < model.config.block_size:
        model = model.cropped(config.block_size)
    model.config = dataclasses.replace(model.config, dropout=config.dropout)
    model.seed = config.seed
    for name in MODEL_SHAPE:
        setattr(config, name, getattr(model.config, name))
    tokens: tuple = (config.tokenizer, config.vocab_size) if tokenizer is None else (tokenizer,)
    try:
        corpus = load_corpus(config.dataset, config.data, *tokens)
    except UserError as error:
        problem = f"{config.data or config.dataset} cannot be used with the model in {source}"
        raise UserError(f"{problem}: {error}; choose the text with --data") from None
    check_vocabulary(corpus, model, source)
    return corpus, model


def check_vocabulary(corpus: Corpus, model: GPT, source: str | Path) -> None:
    """Raise UserError if the text has tokens that the model, which came from `source`, does not know."""
    if corpus.vocab_size > model.config.vocab_size:
        raise UserError(
            f"{corpus.name} has a vocabulary of {corpus.vocab_size:,} tokens, but the model in {source} has only "
            f"{model.config.vocab_size:,}; choose a text in its own tokens"
        )


def _state(config: TrainConfig, corpus: Corpus, model: GPT, parts: Parts) -> TrainState:
    if config.mine and parts is OURS:
        raise UserError(
            f"--mine={config.mine} is for the command line; from Python give the parts themselves: "
            f'start(config, load_own_layers("{config.mine}").parts)'
        )
    for split in ("train", "val"):  # a text that is too short should be known before anything is written
        corpus.batch(split, 1, model.config.block_size, np.random.default_rng(0))
    if corpus.tokenizer is not None:  # what it turned out to be
        config.tokenizer = corpus.tokenizer.name
        config.vocab_size = corpus.vocab_size if config.tokenizer == "bpe" else None
    corpus.cut = parts.windows_at
    model.recompute = config.recompute
    if config.recompute == "gelu" and model.fused_stack is None:
        note = "--recompute=gelu saves nothing here, where no card's kernels compute the MLP; --recompute=blocks does"
        warnings.warn(note, Note, stacklevel=2)
    own = parts.optimizers.get(config.optimizer, {})
    optimizer = find_optimizer(config.optimizer).from_config(model.params, config, **own)
    optimizer.norm = parts.global_norm
    threads = training_threads(config.threads, model, config.batch_size)
    state = TrainState(config, corpus, model, optimizer, threads, parts)
    if state.tokens_per_step > STEP_TOKENS:
        raise UserError(
            f"a step would have {state.tokens_per_step:,} tokens, and its batches are held all at once; expected at "
            f"most {STEP_TOKENS:,}, so choose a smaller --batch_size or --gradient_accumulation_steps"
        )
    if not config.eval_only:
        refuse_links(config.out_dir)
        needed = model.params.flat.nbytes * (2 + len(optimizer.state))
        check_memory(needed, "the model, its gradients and the optimizer's state", model.device)
        tokens = config.batch_size * model.config.block_size
        kept = tokens * activations(model, config.recompute) * model.dtype.itemsize
        sequences = f"the activations of --batch_size={config.batch_size} sequences, even a quarter of them,"
        check_memory(kept // 4, sequences, model.device)  # a CPU's fast twins keep less than what is counted
    return state


@rereading
def load_model(
    folder: str | Path, device: str = "auto", dtype: str = "float32", kernels: str = "auto", parts: Parts = OURS,
    checked: bool = False,
) -> tuple[GPT, Tokenizer | None]:  # fmt: skip
    """A model and, where one is known, its tokenizer.

    folder: a run's (its best weights, or its last ones if none were evaluated yet), a Hugging Face GPT-2 folder, or
    "gpt2" to "gpt2-xl". dtype: that of a model, or "auto"; bfloat16 where it is not possible is float32, and a note.
    parts: see `start`. checked: True where its files are known to be whole already. Raises UserError if there is no
    model or it is damaged; what damage there may be that cannot be told is a note.
    """
    device, _ = resolve_device(device)
    dtype = _possible(dtype, device, kernels, parts)
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
    if (Path(folder) / TOKENIZER).exists():
        return model, load_tokenizer(Path(folder) / TOKENIZER)
    return model, GPT2Tokenizer() if model.config.vocab_size == GPT2Tokenizer.vocab_size else None


@rereading
def resume(out_dir: str | Path, changes: dict[str, Any] | None = None, parts: Parts = OURS) -> TrainState:
    """The run saved in `out_dir`, as it was; `changes` are settings to change from here on. parts: see `start`. Raises
    UserError if nothing is saved, a file is damaged, the text is another, or a change makes it another model.
    """
    changes = {name: value for name, value in (changes or {}).items() if name != "init_from"}
    if "dataset" in changes:
        changes.setdefault("data", None)  # which would go before it
    saved_as = current(out_dir)
    meta, folder = load_state(out_dir)
    saved = saved_config(meta, folder / "state.json")
    config = dataclasses.replace(saved, **changes | {"init_from": "resume", "out_dir": str(out_dir)})
    config.threads = config.threads or meta["threads"]
    step, evaluated_step, best_val_loss = meta["step"], meta["evaluated_step"], meta["best_val_loss"]
    way_out = "leave the flag out, or start a new run with another --out_dir"
    others = [n for n in (*MODEL_SHAPE, "tokenizer", "vocab_size") if getattr(config, n) != getattr(saved, n)]
    others += ["dtype"] if precision.kind(config.dtype) != precision.kind(saved.dtype) else []
    for name in others:
        before = getattr(saved, name)
        problem = f"--{name}={changes[name]} would be another model: the run in {out_dir} has {name}={before}"
        raise UserError(f"{problem}; {way_out}")
    if config.optimizer != saved.optimizer:
        problem = f"--optimizer={config.optimizer} cannot go on from what {saved.optimizer} has kept in {out_dir}"
        raise UserError(f"{problem}; {way_out}")
    corpus, model = _loaded(config, folder, parts, checked=True)
    if meta["text"] != corpus.fingerprint and not changes.keys() & {"dataset", "data"}:
        raise UserError(
            f"the text of {corpus.name} is no longer the one that the run in {out_dir} was saved with, so it cannot go "
            f"on exactly; name the text to go on with (--data FILE or --dataset={config.dataset}), or start a new run"
        )
    state = _state(config, corpus, model, parts)
    shapes = {name: target.shapes for name, target in state.optimizer.state.items()}
    moments = {f"{name}.{key}": shape for name, own in shapes.items() for key, shape in own.items()}
    kept = read_tensors(folder / OPTIMIZER_STATE, moments)
    for name, target in state.optimizer.state.items():
        own = {key.removeprefix(f"{name}."): array for key, array in kept.items() if key.startswith(f"{name}.")}
        copy_tensors(own, target, folder / OPTIMIZER_STATE)
        if name in state.optimizer.never_negative and bool((target.flat < 0).any()):
            raise UserError(f"{folder / OPTIMIZER_STATE} has numbers below 0 in {name}, which cannot be; start anew")
    state.optimizer.steps = state.step = state.saved_step = step
    state.saved_as = saved_as
    state.evaluation = saved_evaluation(meta, folder / "state.json")
    if meta["text"] == corpus.fingerprint:  # losses on another text do not compare
        state.evaluated_step = evaluated_step
        state.best_val_loss = math.inf if best_val_loss is None else best_val_loss
    return state


def save(state: TrainState) -> None:
    """Save the run in `out_dir/last`, so that `resume` goes on bit for bit. Raises UserError if it cannot."""
    meta = {
        "step": state.step, "evaluated_step": state.evaluated_step,
        "best_val_loss": None if math.isinf(state.best_val_loss) else state.best_val_loss,
        "evaluation": state.evaluation and dataclasses.asdict(state.evaluation),
        "threads": state.threads, "text": state.corpus.fingerprint, "config": dataclasses.asdict(state.config),
    }  # fmt: skip

    def write(folder: Path) -> None:
        save_weights(state, folder)
        buffers = {name: buffer.on_host() for name, buffer in state.optimizer.state.items()}
        kept = {f"{name}.{key}": array for name, arrays in buffers.items() for key, array in arrays.items()}
        write_tensors(folder / OPTIMIZER_STATE, kept)

    state.before_save()
    save_state(state.config.out_dir, state.step, write, meta)
    state.saved_step, state.saved_as = state.step, current(state.config.out_dir)


def current(out_dir: str | Path) -> str:
    """What names the last state in a run's folder; nothing where there is none."""
    with contextlib.suppress(UserError):
        return read_bytes(Path(out_dir) / "last" / "current", 1000).decode(errors="replace")
    return ""


def save_weights(state: TrainState, folder: Path) -> None:
    """Write a model's folder, with the tokenizer beside it, for sampling or for another program."""
    if state.corpus.tokenizer:
        state.corpus.tokenizer.save(folder / TOKENIZER)
    state.model.save_pretrained(folder)


def save_state(out_dir: str | Path, step: int, write: Callable[[Path], None], meta: Mapping[str, Any]) -> None:
    """Make a state the run's last one; the one before is removed when the new one is safely on disk.

    write: puts the state's files into a folder; meta: what JSON holds. A UserError leaves the state before as it is.
    """
    refuse_links(out_dir)
    last = Path(out_dir) / "last"
    folder = _unused(last, f"step-{step:08d}.")
    try:
        make_folder(folder)
        write(folder)
        digests = {}
        for path in sorted(folder.iterdir()):
            flush_to_disk(path)
            digests[path.name] = sha256(path)
        write_atomically(folder / "state.json", json.dumps({**meta, "sha256": digests}, indent=2).encode())
        write_atomically(last / "current", f"{folder.name}\n{sha256(folder / 'state.json')}\n".encode())
    except (OSError, UserError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(f"could not save to {folder}: {error}; the save before it, if any, is intact") from error
    remove_leftovers(Path(out_dir))


def refuse_links(out_dir: str | Path) -> None:
    """Raise UserError if a folder that a run writes into is a link: in a run's folder that somebody gave to the user it
    may lead to anything of theirs.
    """
    out_dir = Path(out_dir)
    last = out_dir / "last"
    for path in (last, out_dir / "best", *out_dir.glob("step-*"), *last.glob("step-*")):
        if path.is_symlink():
            way_out = f"put a folder in its place (to have the run on another disk, make {out_dir} itself a link)"
            raise UserError(f"{path} is a link, and a run changes nothing outside its folder; {way_out}")


def remove_leftovers(out_dir: Path) -> None:
    """Remove states that are not the last, and what killed runs left half written. Only for who alone writes there."""
    refuse_links(out_dir)
    last = out_dir / "last"
    states = [path for path in last.glob("step-*") if re.fullmatch(r"step-[0-9]+\.[0-9]+", path.name)]
    in_use = current(out_dir).partition("\n")[0]
    if last / in_use in states:  # else they may be all that is left of the run
        for state in states:
            if state.name != in_use:
                shutil.rmtree(state, ignore_errors=True)
    for folder in (out_dir, last, out_dir / "best", *out_dir.glob("step-*")):
        for leftover in folder.glob(".*.writing"):
            with contextlib.suppress(OSError):
                leftover.unlink()


@rereading
def load_meta(out_dir: str | Path) -> tuple[dict[str, Any], Path]:
    """The last state's meta, which alone is checked, and its folder. Raises UserError as `load_state` does."""
    last = Path(out_dir) / "last"
    if not (last / "current").exists():
        raise UserError(f"{out_dir} holds no run to resume; expected {last / 'current'}, which training writes")
    name, _, digest = read_bytes(last / "current", 1000).decode(errors="replace").strip().partition("\n")
    if not re.fullmatch(r"step-[\d.]+", name):
        raise UserError(
            f"{last / 'current'} is damaged: it names {brief(name)}, and not a state such as step-00000250.1"
        )
    folder = last / name
    _check_digest(folder / "state.json", digest, out_dir)
    return read_json(folder / "state.json"), folder


@rereading
def load_state(out_dir: str | Path) -> tuple[dict[str, Any], Path]:
    """The last state's meta, and the folder of its files. Raises UserError if one is missing, or not as its digest."""
    meta, folder = load_meta(out_dir)
    for file, expected in saved_digests(meta, folder / "state.json").items():
        _check_digest(folder / file, expected, out_dir)
    return meta, folder


def _check_digest(path: Path, expected: str, out_dir: str | Path) -> None:
    best = Path(out_dir) / "best"
    way_out = "start again with another --out_dir"
    if (best / WEIGHTS).exists():
        way_out = f"start from the best weights with --init_from={best} and another --out_dir"
    if not path.exists():
        raise UserError(f"{path} is missing, so the run cannot be resumed; {way_out}")
    if sha256(path) != expected:
        raise UserError(f"{path} is damaged (its SHA-256 has changed); {way_out}")


def set_aside(out_dir: str | Path) -> Path | None:
    """Move an earlier run in `out_dir` into a new folder in it, `run-1`, `run-2`, ...; returns that, or None."""
    out_dir = Path(out_dir)
    parts = [path for path in out_dir.glob("step-*") if path.is_dir()]
    parts += [path for path in (out_dir / name for name in RUN_FILES) if path.exists()]
    if not any(part.is_dir() and any(part.iterdir()) or part.is_file() and part.stat().st_size for part in parts):
        return None
    remove_leftovers(out_dir)
    folder, moved = _unused(out_dir, "run-"), []
    try:
        make_folder(folder)
        for part in parts:  # each on the disk before the next, and all before a new run writes
            os.replace(part, folder / part.name)
            moved.append(part)
            flush_to_disk(folder)
            flush_to_disk(out_dir)
    except OSError as error:
        with contextlib.suppress(OSError):  # a run is not to lie in two places
            for back in reversed(moved):
                os.replace(folder / back.name, back)
            folder.rmdir()
        problem = f"could not move {part.name} of the earlier run to {folder}: {error.strerror}"
        raise UserError(f"{problem}; choose another --out_dir") from error
    return folder


def _unused(folder: Path, stem: str) -> Path:
    """The first of `stem`1, `stem`2, ... that does not exist in `folder`."""
    number = 1
    while (path := folder / f"{stem}{number}").exists():
        number += 1
    return path

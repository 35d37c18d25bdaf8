"""`tinygpt train`: train a GPT, showing and writing down what happens."""

import argparse
import contextlib
import time
import typing
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from tinygpt.commands.flags import boolean
from tinygpt.commands.own import asked_for, blaming
from tinygpt.device import out_of_memory, resolve_device
from tinygpt.errors import UserError
from tinygpt.parallel import training_threads
from tinygpt.run import screens
from tinygpt.run.config import MODEL_SHAPE, PRESETS, TrainConfig, plain_type
from tinygpt.run.lock import LOCK, owned
from tinygpt.run.loop import train
from tinygpt.run.memory import that_fits
from tinygpt.run.metrics import Metrics, plot
from tinygpt.run.nanogpt import WITHOUT_MEANING, read_nanogpt_config
from tinygpt.run.screens import counted
from tinygpt.run.state import OURS, Parts, Record, TrainState
from tinygpt.run.store import resume, set_aside, start
from tinygpt.signals import answered_by

HELP = "Train a GPT; with no flags a small one, on this computer, in minutes."


def add_flags(parser: argparse.ArgumentParser) -> None:
    """A flag for every field of TrainConfig; those not given stay out of the namespace."""
    parser.epilog = "presets (flags override them):\n" + "\n".join(
        f"  {name:<6}" + (", ".join(f"{key}={value}" for key, value in preset.items()) or "the defaults above")
        for name, preset in PRESETS.items()
    )
    parser.usage = "%(prog)s [CONFIG.py] [--flag=value ...]"
    parser.add_argument("config", nargs="?", metavar="CONFIG.py", help="a nanoGPT configuration file, read as literals")
    parser.add_argument("--preset", default="cpu", choices=list(PRESETS), help="where to start from (default: cpu)")
    hints = typing.get_type_hints(TrainConfig)
    groups: dict[str, Any] = {}
    for field in fields(TrainConfig):
        title, help, kind = field.metadata["group"], field.metadata["help"], plain_type(hints[field.name])
        group = groups[title] = groups.get(title) or parser.add_argument_group(title)
        help += "" if field.default is None else f" (default: {field.default})"
        options = boolean(argparse.SUPPRESS)
        if kind is not bool:
            options = {"type": kind, "metavar": {int: "N", float: "X", str: "TEXT"}[kind], "default": argparse.SUPPRESS}
        group.add_argument(f"--{field.name}", help=help.replace("%", "%%"), **options)
    for name in WITHOUT_MEANING:
        parser.add_argument(f"--{name}", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace, command: str) -> int:
    try:
        return _run(arguments, command)
    except KeyboardInterrupt:  # before there was a run that could be asked to stop
        with contextlib.suppress(OSError):
            print("\nstopped before the first step; there was nothing to save", end="", flush=True)
        raise


def _run(arguments: argparse.Namespace, command: str) -> int:
    changes, notes = _train_settings(arguments)
    preset = PRESETS[arguments.preset]
    out_dir = TrainConfig(out_dir=changes.get("out_dir", TrainConfig.out_dir)).out_dir  # which may not be one
    with contextlib.ExitStack() as stack:
        writes = not changes.get("eval_only", False)
        if writes and out_dir and any((Path(out_dir) / name).exists() for name in (LOCK, "last")):
            stack.enter_context(owned(out_dir))  # before anything in it is read
        own = asked_for(changes)
        parts = own.parts if own else OURS
        resumed = changes.get("init_from") == "resume"
        state = resume(out_dir, preset | changes, parts) if resumed else _start(preset, changes, parts)
        stack.enter_context(answered_by(lambda number: screens.ask_to_stop(state, number)))
        if resumed:
            notes += _on_resuming(state, changes)
        metrics = None
        if writes:
            notes += [note] if (note := stack.enter_context(owned(out_dir)).note) else []
            if not resumed and (folder := set_aside(out_dir)):
                notes.append(f"the earlier run in {out_dir} is kept in {folder}")
            metrics = Metrics(state)
            stack.callback(metrics.close)
            notes += metrics.notes
            if state.evaluated_step == state.step >= state.config.max_iters:
                if not (Path(out_dir) / "loss.png").exists():  # killed before it was drawn
                    _plot(out_dir)
                done = f"the run in {out_dir} has finished its {state.step:,} steps"
                raise UserError(f"{done}; to go on, give --max_iters more than that")
        if own:
            notes += own.remarks()
        return _train(state, metrics, notes, own, command)


def _on_resuming(state: TrainState, changes: dict[str, Any]) -> list[str]:
    """What there is to say of a run that goes on."""
    notes = [f"resumed at step {state.step:,}, learning rate {state.config.lr(state.step):.2e}"]
    if state.evaluated_step < 0 < state.step:
        notes.append("on another text, so its best validation loss and best weights start anew")
    usual = training_threads(None, state.model, state.config.batch_size)
    if changes.get("threads") is None and state.threads != usual:
        notes.append(f"with {counted(state.threads, 'thread')}, as the run began, so that it goes on bit for bit")
    return notes


def _train(state: TrainState, metrics: Metrics | None, notes: list[str], own: Any, command: str) -> int:
    """Train to the end, or until a signal; returns the exit status."""
    config, out_dir = state.config, state.config.out_dir
    _, remark = resolve_device(config.device)
    began = time.perf_counter()
    problem: UserError | None = None
    with blaming(own), screens.Screen(state) as screen:
        for note in notes:
            screen.line(f"note: {note}")
        screen.line(screens.heading(state, remark, {"loaded": own.loaded()} if own else None) + "\n")
        for record in fitting(state, train(state)):
            try:
                if metrics and (note := metrics.write(record)):
                    screen.line(f"note: {note}")
            except UserError as error:  # the run is saved before it ends for that
                problem, state.stop, metrics = error, True, None
            screen.show(record)
    if problem or screen.problem and not isinstance(screen.problem, BrokenPipeError) and not state.stopped_by:
        reason = problem or f"what was to be shown could not be written: {screen.problem and screen.problem.strerror}"
        raise UserError(f"{reason}; the run has stopped, saved at step {state.saved_step:,}")
    if metrics and (note := _plot(out_dir)):
        screen.line(f"note: {note}")
    if own and (state.stop or config.eval_only):
        screen.line(f"\nused of yours: {own.summary()}")
    if state.stop and config.eval_only:
        screen.line("\nstopped; there was nothing to save")
    elif state.stop and state.evaluated_step < config.max_iters:
        where = screens.out_dir_flag(out_dir)
        screen.line(f"\nstopped, saved at step {state.saved_step:,}; go on with: {command} --init_from=resume{where}")
    elif not config.eval_only:
        with blaming(own):
            screen.sample(config.sample_length * 5 // 2)
        if own:
            screen.line(f"\nused of yours: {own.summary()}")
        screen.line("\n" + screens.closing(state, time.perf_counter() - began, command))
    return 128 + state.stopped_by if state.stopped_by else int(state.stop)


def fitting(state: TrainState, records: Iterator[Record]) -> Iterator[Record]:
    """The records, up to where a card's memory runs out: the batch that would fit is said."""
    try:
        yield from records
    except Exception as error:
        if state.model.device != "cuda" or (what := out_of_memory(error)) is None:
            raise
        raise UserError(f"{what}; {that_fits(state)}") from None


def _plot(out_dir: str) -> str:
    """Draw the losses; returns a note if that could not be done, whatever matplotlib raised: the run has ended well."""
    try:
        plot(out_dir)
        return ""
    except Exception as error:
        why = str(error).partition("\n")[0] or type(error).__name__
        return f"{Path(out_dir) / 'loss.png'} could not be drawn ({why[:200]})"


def _start(preset: dict[str, Any], changes: dict[str, Any], parts: Parts) -> TrainState:
    """A new run. Raises UserError for a flag that contradicts the model it starts from."""
    if changes.get("init_from", "scratch") == "scratch":
        return start(TrainConfig(**(preset | changes)), parts)
    state = start(TrainConfig(**(preset | {"block_size": None} | changes)), parts)  # None: the model's own
    for name in (*MODEL_SHAPE, "tokenizer", "vocab_size"):
        if name in changes and getattr(state.config, name) != changes[name]:
            raise UserError(
                f"--{name}={changes[name]} does not fit the model in {state.config.init_from}, which has "
                f"{name}={getattr(state.config, name)}; leave the flag out"
            )
    return state


def _train_settings(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """The settings given by file and by flags, flags last, and notes on what was left alone."""
    given = vars(arguments)
    settings, notes = read_nanogpt_config(arguments.config) if arguments.config is not None else ({}, [])
    if {"data", "dataset"} <= given.keys():
        raise UserError("--data and --dataset were both given; expected one of them, since a run has one text")
    settings |= {field.name: given[field.name] for field in fields(TrainConfig) if field.name in given}
    if arguments.config is not None and arguments.preset == "cpu":
        ours = {name: getattr(TrainConfig(), name) for name in (*MODEL_SHAPE, "dataset", "learning_rate", "batch_size")}
        unset = [f"{name}={value}" for name, value in ours.items() if name not in settings]
        if unset:
            notes.append(f"not set by {arguments.config}, so tinygpt's defaults: {', '.join(unset)}")
    if ignored := [f"--{name}" for name in WITHOUT_MEANING if name in given]:
        notes.append(f"{', '.join(ignored)} has no meaning here and is left alone")
    return settings, notes

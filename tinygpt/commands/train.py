"""`tinygpt train`: train a GPT, showing and writing down what happens."""

import argparse
import signal
import time
import typing
from dataclasses import fields
from typing import Any

from tinygpt.commands.flags import boolean
from tinygpt.commands.own import asked_for, blaming
from tinygpt.device import resolve_device
from tinygpt.errors import UserError
from tinygpt.parallel import training_threads
from tinygpt.run import screens
from tinygpt.run.config import MODEL_SHAPE, PRESETS, TrainConfig, plain_type
from tinygpt.run.loop import train
from tinygpt.run.nanogpt import WITHOUT_MEANING, read_nanogpt_config
from tinygpt.run.screens import counted
from tinygpt.run.state import OURS, Parts, TrainState
from tinygpt.run.store import resume, set_aside, start

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
    changes, notes = _train_settings(arguments)
    preset = PRESETS[arguments.preset]
    own = asked_for(changes)
    parts = own.parts if own else OURS
    if changes.get("init_from") == "resume":
        state = resume(changes.get("out_dir", "out"), preset | changes, parts)
        notes.append(f"resumed at step {state.step:,}, learning rate {state.config.lr(state.step):.2e}")
        if state.evaluated_step < 0 < state.step:
            notes.append("on another text, so its best validation loss and best weights start anew")
        usual = training_threads(None, state.model, state.config.batch_size)
        if changes.get("threads") is None and state.threads != usual:
            notes.append(f"with {counted(state.threads, 'thread')}, as the run began, so that it goes on bit for bit")
    else:
        state = _start(preset, changes, parts)
        if not state.config.eval_only and (folder := set_aside(state.config.out_dir)):
            notes.append(f"the earlier run in {state.config.out_dir} is kept in {folder}")
    if own:
        notes += own.remarks()
    _, remark = resolve_device(state.config.device)
    if state.evaluated_step == state.step >= state.config.max_iters and not state.config.eval_only:
        done = f"the run in {state.config.out_dir} has finished its {state.step:,} steps"
        raise UserError(f"{done}; to go on, give --max_iters more than that")

    began = time.perf_counter()
    metrics = None if state.config.eval_only else screens.Metrics(state)
    before = signal.signal(signal.SIGINT, lambda *_: screens.interrupt(state))
    try:
        with blaming(own), screens.Screen(state) as screen:
            for note in notes:
                screen.line(f"note: {note}")
            screen.line(screens.heading(state, remark, {"yours": own.summary()} if own else None) + "\n")
            for record in train(state):
                screen.show(record)
                if metrics:
                    metrics.write(record)
        if metrics:
            metrics.file.close()
            screens.plot(state.config.out_dir)
    finally:
        signal.signal(signal.SIGINT, before)
    if state.stop and state.config.eval_only:
        screen.line("\nstopped; nothing was to be saved")
        return 130
    if state.stop and state.evaluated_step < state.config.max_iters:
        where = screens.out_dir_flag(state.config.out_dir)
        screen.line(f"\nstopped, saved at step {state.saved_step:,}; go on with: {command} --init_from=resume{where}")
        return 130
    if not state.config.eval_only:
        with blaming(own):
            screen.sample(state.config.sample_length * 5 // 2)
        screen.line("\n" + screens.closing(state, time.perf_counter() - began, command))
    return 0


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

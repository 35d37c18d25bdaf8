"""`tinygpt train`: train a GPT, showing and writing down what happens."""

import argparse
import contextlib
import time
import warnings
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from tinygpt.commands.flags import add_settings
from tinygpt.commands.own import asked_for, blaming
from tinygpt.data import load_corpus
from tinygpt.data.load import DATASETS
from tinygpt.device import out_of_memory, resolve_device
from tinygpt.errors import Note, UserError
from tinygpt.parallel import training_threads
from tinygpt.run import screens
from tinygpt.run.alike import check_settings
from tinygpt.run.config import MODEL_SHAPE, PRESETS, TrainConfig, in_full
from tinygpt.run.folder import set_aside
from tinygpt.run.group import Group
from tinygpt.run.joining import joined
from tinygpt.run.lock import LOCK, owned
from tinygpt.run.loop import train
from tinygpt.run.memory import that_fits
from tinygpt.run.metrics import Metrics, history, plot
from tinygpt.run.nanogpt import read_nanogpt_config
from tinygpt.run.nanogpt_defaults import WITHOUT_MEANING, others_than_nanogpts
from tinygpt.run.screens import counted
from tinygpt.run.state import OURS, Parts, Record, TrainState
from tinygpt.run.store import resume, start
from tinygpt.run.waiting import Waiting
from tinygpt.run.watch import Watch
from tinygpt.signals import answered_by
from tinygpt.tokenizer import NAMES

HELP = "Train a GPT; with no flags a small one, on this computer, in minutes."


def add_flags(parser: argparse.ArgumentParser) -> None:
    """A flag for every field of TrainConfig; those not given stay out of the namespace."""
    parser.epilog = "presets (flags override them):\n" + "\n".join(
        f"  {name:<6}" + (", ".join(f"{key}={value}" for key, value in preset.items()) or "the defaults above")
        for name, preset in PRESETS.items()
    )
    parser.usage = "%(prog)s [CONFIG.py] [--flag=value ...]"
    parser.add_argument(
        "config", nargs="?", metavar="CONFIG.py", help="a nanoGPT configuration file; it is not executed"
    )
    parser.add_argument("--preset", choices=list(PRESETS), help="where to start from (default: cpu)")
    add_settings(parser)


def run(arguments: argparse.Namespace, command: str) -> int:
    waiting = Waiting()
    try:
        with joined() as group:
            if group.rank:  # rank 0 alone shows what there is
                screens.silence()
                warnings.simplefilter("ignore", Note)
            return _run(arguments, command, waiting, group)
    except KeyboardInterrupt as error:  # before there was a run that could be asked to stop, or at the second asking
        words = error.args[1] if len(error.args) > 1 else waiting.interrupted()
        with contextlib.suppress(OSError):
            print(f"\n{words}", end="", flush=True)
        raise


def _run(arguments: argparse.Namespace, command: str, waiting: Waiting, group: Group) -> int:
    changes, notes = group.each(lambda: _train_settings(arguments))
    preset = PRESETS[arguments.preset or "cpu"]
    check_settings(group, preset | changes)
    out_dir = TrainConfig(out_dir=changes.get("out_dir", TrainConfig.out_dir)).out_dir  # which may not be one
    with contextlib.ExitStack() as stack:
        writes = not changes.get("eval_only", False)
        if writes and out_dir:
            group.first(lambda: _own_earlier(out_dir, stack))  # before anything in it is read
        own = group.each(lambda: asked_for(changes))
        parts = own.parts if own else OURS
        resumed = changes.get("init_from") == "resume"
        with contextlib.nullcontext() if group.rank else waiting:
            if resumed:
                state = resume(out_dir, preset | changes, parts, group)
            else:
                state = _start(preset, changes, parts, group)
        stack.enter_context(answered_by(lambda number: screens.ask_to_stop(state, number)))
        if resumed:
            notes += _on_resuming(state, changes)
        if state.corpus.why_no_tokenizer:
            notes.append(state.corpus.why_no_tokenizer)
        metrics: Metrics | None = None
        before: list[Record] = []

        def prepare() -> None:
            nonlocal metrics, before
            notes.extend([note] if (note := stack.enter_context(owned(out_dir)).note) else [])
            if not resumed and (folder := set_aside(out_dir)):
                notes.append(f"the earlier run in {out_dir} is kept in {folder}")
            metrics = Metrics(state)
            stack.callback(metrics.close)
            notes.extend(metrics.notes)
            if resumed and 0 <= state.evaluated_step:  # else the text is another, and what was before does not compare
                before = history(out_dir)
            _refuse_finished(state)

        if writes:
            group.first(prepare)
        if group.rank:
            with blaming(own):
                for _ in fitting(state, train(state)):
                    pass
            return _status(state)
        if own:
            notes += own.remarks()
        return _train(state, metrics, before, notes, own, command)


def _own_earlier(out_dir: str, stack: contextlib.ExitStack) -> None:
    """Own a run's folder until the end of `stack`, where there is a run in it."""
    if any((Path(out_dir) / name).exists() for name in (LOCK, "last")):
        stack.enter_context(owned(out_dir))


def _refuse_finished(state: TrainState) -> None:
    """Raise UserError for a run that has come to its end, and is asked for nothing more."""
    out_dir = state.config.out_dir
    if state.evaluated_step == state.step >= state.config.max_iters:
        if not (Path(out_dir) / "loss.png").exists():  # killed before it was drawn
            _plot(out_dir)
        done = f"the run in {out_dir} has finished its {state.step:,} steps"
        raise UserError(f"{done}; to go on, give --max_iters more than that")
    if state.out_of_patience:
        more = f"give --patience=0, or more than {state.without_better}"
        raise UserError(f"the run in {out_dir} {_lost_patience(state)}; to go on all the same, {more}")


def _on_resuming(state: TrainState, changes: dict[str, Any]) -> list[str]:
    """What there is to say of a run that goes on."""
    notes = [f"resumed at step {state.step:,}, learning rate {state.config.lr(state.step):.2e}"]
    if state.evaluated_step < 0 < state.step:
        notes.append("on another text, so its best validation loss and best weights start anew")
    usual = training_threads(None, state.model, state.config.batch_size, state.group.cores)
    if changes.get("threads") is None and state.threads != usual:
        notes.append(f"with {counted(state.threads, 'thread')}, as the run began, so that it goes on bit for bit")
    return notes


def _lost_patience(state: TrainState) -> str:
    """Why a run with `--patience` has ended, in a clause."""
    best = f" (step {state.best_step:,}, {state.best_val_loss:.4f})" if state.best_step >= 0 else ""
    waited = counted(state.without_better, "evaluation")
    return f"ended at step {state.step:,}, after {waited} without a lower val loss; best/ holds its best{best}"


def _train(
    state: TrainState, metrics: Metrics | None, before: list[Record], notes: list[str], own: Any, command: str
) -> int:  # fmt: skip
    """Train to the end, or until a signal; returns the exit status. before: the records of a run that goes on."""
    config, out_dir = state.config, state.config.out_dir
    _, remark = resolve_device(config.device)
    began = time.perf_counter()
    problem: UserError | None = None
    with blaming(own), screens.Screen(state) as screen:
        watch: Watch | None = None
        for note in notes:
            screen.line(f"note: {note}")
        screen.line(screens.heading(state, remark, {"loaded": own.loaded()} if own else None) + "\n")
        if metrics:
            watch = Watch(state, before)
            screen.advice = watch
            if watch.marks:
                with contextlib.suppress(UserError):  # a full disk: only lines less in the plot
                    watch.marks.save(out_dir)
        try:
            for record in fitting(state, train(state)):
                try:
                    if metrics and (note := metrics.write(record)):
                        screen.line(f"note: {note}")
                except UserError as error:  # the run is saved before it ends for that
                    problem, state.stop, metrics = error, True, None
                screen.show(record)
        except UserError:  # such as of losses that are no longer finite: the picture shows how they came to it
            if metrics and watch and watch.evaluations:
                _plot(out_dir)
            raise
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
        if state.out_of_patience and state.step < config.max_iters:
            screen.line(f"\n{_lost_patience(state)}")
        evaluations = watch.evaluations if watch else ()
        more = not (watch and watch.adviser.more_would_not_help)
        screen.line("\n" + screens.closing(state, time.perf_counter() - began, command, evaluations, more))
    return _status(state)


def _status(state: TrainState) -> int:
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


def _start(preset: dict[str, Any], changes: dict[str, Any], parts: Parts, group: Group) -> TrainState:
    """A new run. Raises UserError for a flag that contradicts the model it starts from."""
    if changes.get("init_from", "scratch") == "scratch":
        return start(TrainConfig(**(preset | changes)), parts, group)
    own = {"block_size": None, "tokenizer": TrainConfig.tokenizer}  # the model's, unless told
    config = TrainConfig(**(preset | own | changes))
    group.each(lambda: _refuse_no_text(config))  # before gigabytes are fetched for it
    state = start(config, parts, group)
    for name in (*MODEL_SHAPE, "tokenizer", "vocab_size"):
        if name == "tokenizer" and changes.get(name) not in NAMES:  # a file, which `start` has held against the model's
            continue
        if name in changes and getattr(state.config, name) != changes[name]:
            raise UserError(
                f"--{name}={changes[name]} does not fit the model in {state.config.init_from}, which has "
                f"{name}={getattr(state.config, name)}; leave it out"
            )
    return state


def _refuse_no_text(config: TrainConfig) -> None:
    """Raise UserError, as `load_corpus` does, where there is no such text."""
    place = config.data or config.dataset
    if place not in (*DATASETS, "") and not any(Path(path).exists() for path in (place, Path("data") / place)):
        if "," not in place:  # which may be several
            load_corpus(config.dataset, config.data)


def _train_settings(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """The settings given by file and by flags, flags last, and notes on what was left alone."""
    names, config = [field.name for field in fields(TrainConfig)], arguments.config
    given = {name: value for name, value in vars(arguments).items() if name in names}
    if {"data", "dataset"} <= given.keys():
        raise UserError("--data and --dataset were both given; expected one of them, since a run has one text")
    settings: dict[str, Any] = {}
    notes: list[str] = []
    preset = PRESETS[arguments.preset or "cpu"]
    if config is not None:
        settings, notes = read_nanogpt_config(config, vars(TrainConfig(**preset | given)))
        if "dataset" in given:
            settings.pop("data", None)  # which would go before it
    settings = {name: in_full(name, value) for name, value in (settings | given).items()}
    if config is not None:
        named = settings.keys() | (preset if arguments.preset else {}).keys()
        if others := others_than_nanogpts(TrainConfig(**preset | settings), named):
            by = (
                f"set by neither {config} nor --preset={arguments.preset}"
                if arguments.preset
                else f"not set by {config}"
            )
            notes.append(f"{by}, and other here than in nanoGPT (its value in brackets): {', '.join(others)}")
    if ignored := [f"--{name}" for name in WITHOUT_MEANING if name in vars(arguments)]:
        alone = "has no meaning here and is" if len(ignored) == 1 else "have no meaning here and are"
        notes.append(f"{', '.join(ignored)} {alone} left alone")
    return settings, notes

"""What a training run shows: a consumer of the records that `train` yields."""

import contextlib
import errno
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from tinygpt.device import device_name, peak_memory
from tinygpt.precision import resolve
from tinygpt.run.advice import SOLVED, overfitted
from tinygpt.run.config import PRESETS, TrainConfig
from tinygpt.run.state import OURS, EvalRecord, Record, StepRecord, TrainState
from tinygpt.signals import leave

NOT_AGAIN = "out_dir", "init_from", "threads", "dropout"  # what a run that is to be another one does not take over


def facts(rows: dict[str, str]) -> str:
    """Names and values in two aligned columns."""
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def duration(seconds: float) -> str:
    """Seconds as a person says them: "48 s", "2 min 5 s", "1 h 2 min"."""
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    return f"{minutes // 60} h {minutes % 60} min"


def heading(state: TrainState, remark: str = "", more: Mapping[str, str] | None = None) -> str:
    """What is about to be trained, on what, with what more there is to say, and where to."""
    config, corpus, model, group = state.config, state.corpus, state.model, state.group
    shape = model.config
    batch = f"{config.batch_size} sequences of {shape.block_size}"
    if config.gradient_accumulation_steps > 1:
        batch += f", {config.gradient_accumulation_steps} times"
    ranks = f", each of {counted(group.size, 'rank')} on {counted(group.machines, 'machine')}" if group.size > 1 else ""
    computes_on = (  # the device, how much of it or its name, the kernels
        model.device,
        device_name(model.device) or counted(state.threads, "thread"),
        f"{config.kernels} kernels",
    )
    _, why = resolve(config.dtype, model.device, config.kernels, state.parts != OURS)
    why = f" ({'auto: ' * (config.dtype == 'auto')}{why})" if why else ""
    rows = {
        "corpus": corpus.describe(),
        "vocabulary": f"{corpus.vocab_size:,} " + (f"({corpus.tokenizer.name})" if corpus.tokenizer else "tokens"),
        "model": f"{counted(shape.n_layer, 'layer')}, {counted(shape.n_head, 'head')}, "
        f"{counted(shape.n_embd, 'channel')}, context {shape.block_size}, {shape.n_params:,} parameters",
        "step": f"{state.tokens_per_step:,} tokens ({batch})",
        "device": ", ".join(computes_on) + ranks + (f" ({remark.split(';')[0]})" if remark else ""),
        "dtype": f"{model.dtype}" + " with products in TF32" * state.tf32 + why,
    }
    rows |= more or {}
    if not config.eval_only:
        rows["writes to"] = f"{Path(config.out_dir)}{os.sep}"
    return facts(rows)


def counted(number: int, noun: str) -> str:
    """A number of things: "1 layer", "2 layers"."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # rich would end the process, and the run with it


class Screen:
    """A live progress line on a terminal, plain lines anywhere else, and a sample of text at each evaluation.

    advice: called with each record, returns the line to show below an evaluation, or "".
    """

    def __init__(self, state: TrainState, advice: Callable[[Record], str] = lambda record: ""):
        self.state, self.advice = state, advice
        self.console = _Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self.began = self.shown = time.perf_counter()
        self.evaluations: list[float] = []  # seconds that each one took, its sample included
        self.first_step = state.step
        self.problem: OSError | None = None  # why nothing more can be shown
        self.progress: Progress | None = None
        if self.console.is_terminal:
            self.progress = Progress(
                TextColumn("step {task.completed:,.0f} of {task.total:,.0f}"), BarColumn(bar_width=20),
                TextColumn("{task.fields[numbers]}"), console=self.console,
                auto_refresh=False,  # nothing moves between steps, and a refreshing thread costs training time
            )  # fmt: skip
            self.task = self.progress.add_task("", total=state.config.max_iters, completed=state.step, numbers="")

    def __enter__(self) -> "Screen":
        if self.progress:
            self.progress.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.progress:
            with self._while_read():
                self.progress.stop()

    @contextlib.contextmanager
    def _while_read(self) -> Iterator[None]:
        """If what is printed within reaches nobody any more, the run says no more. After a pipe (into `head`, or into a
        `tee` that Ctrl-C ended) or a full disk it is asked to stop, so that it is saved. Without its terminal it goes
        on, unless SIGHUP asks it to stop, which `nohup` sees to that it does not.
        """
        try:
            yield
        except OSError as error:
            silence()
            if error.errno != errno.EIO:
                self.problem, self.state.stop = error, True

    def line(self, text: str, style: str | None = None) -> None:
        """Print a line, above the progress line where there is one."""
        with self._while_read():
            self.console.print(text, style=style)

    def show(self, record: Record) -> None:
        """Show one record."""
        advice = self.advice(record)
        if isinstance(record, EvalRecord):
            self._evaluation(record, advice)
            self.evaluations.append(time.perf_counter() - self.shown)
        elif record.loss is not None:
            self._step(record)
        self.shown = time.perf_counter()

    def _step(self, record: StepRecord) -> None:
        steps_left = self.state.config.max_iters - record.step  # like evaluations, each at the mean duration so far
        training = time.perf_counter() - self.began - sum(self.evaluations)
        seconds_left = steps_left * training / (record.step - self.first_step)
        evaluations_left = -(-steps_left // self.state.config.eval_interval)
        seconds_left += evaluations_left * sum(self.evaluations) / max(1, len(self.evaluations))
        numbers = f"loss {record.loss:.4f}  lr {record.lr:.2e}  "
        numbers += f"{record.tokens_per_second:,.0f} tokens/s  " if record.tokens_per_second is not None else ""
        numbers += f"{record.utilisation:.0%} of peak  " if record.utilisation is not None else ""
        numbers += f"{duration(seconds_left)} left"
        if self.progress:
            with self._while_read():
                self.progress.update(self.task, completed=record.step, numbers=numbers, refresh=True)
        else:
            self.line(f"step {record.step:>6,}  {numbers}")

    def _evaluation(self, record: EvalRecord, advice: str = "") -> None:
        text = f"step {record.step:>6,}  train loss {record.train_loss:.4f}  val loss {record.val_loss:.4f}"
        if record.bits_per_character is not None:
            text += f"  ({record.bits_per_character:.3f} bits per character)"
        if record.accuracy is not None:
            text += f"  {record.accuracy:.1%} of unseen sums right"
        self.line(text + ("  best so far" if record.best else ""), style="bold")
        if advice:
            self.line(f"    {advice}", style="dim")
        if record.step < self.state.config.max_iters:  # then comes a longer one
            self.sample(self.state.config.sample_length)

    def sample(self, length: int) -> None:
        """Print `length` tokens of text from the model as it is, set off from the other lines; nothing if the run is
        asked to stop meanwhile.
        """
        text = self.state.corpus.sample(self.state.model, length, lambda: self.state.stop) if length else None
        if text is not None and not self.state.stop:
            width = max(20, self.console.width - 6) if self.console.is_terminal else max(1, len(text))
            for line in printable(text).split("\n"):
                for start in range(0, max(1, len(line)), width):
                    self.line(f"    | {line[start : start + width]}", style="dim")


def printable(text: str) -> str:
    """`text` without the control characters that would act on a terminal, tabs and newlines aside."""
    text = text.replace("\r", "")  # half of Windows' end of line
    return "".join(c if c in "\t\n" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def closing(
    state: TrainState, seconds: float, command: str, evaluations: Sequence[EvalRecord] = (), more: bool = True
) -> str:  # fmt: skip
    """How the run ended, and the commands that go on from here. evaluations: all of the run on its text: to one that
    overfits, or has nothing left to learn, more of the same is not advised. more: whether it is to any.
    """
    out_dir = state.config.out_dir
    run = "tinygpt" if command == "tinygpt train" else "python -m tinygpt"
    tail = out_dir_flag(out_dir)
    rows = {"time": duration(seconds)}
    if state.best_val_loss < float("inf"):
        rows = {"best val loss": f"{state.best_val_loss:.4f} nats per token"} | rows
    if memory := peak_memory(state.model.device):
        rows["peak memory"] = f"{memory / 2**20:,.0f} MiB" + (" on the card" if state.model.device == "cuda" else "")
    if state.product_rate:
        kind = "TF32" if state.tf32 else str(state.model.dtype)
        rows["peak rate"] = f"{state.product_rate / 1e12:.1f} TFLOP/s of {kind} matrix products, measured at the start"
    prompts = {"stdlib": ' --start="def "', "addition": ' --start="012+034=" --max_new_tokens=4'}
    rows["sample more"] = f"{run} sample{tail}{prompts.get(state.corpus.name, '')}"
    end = evaluations[-1] if evaluations else None
    overfits = overfitted(evaluations) is not None
    known = state.best_step > state.same_since  # on the same stretches of the text
    worse = end is not None and known and end.val_loss > state.best_val_loss + 0.1
    if end and (overfits or worse):
        best = f" (step {state.best_step:,})" if state.best_step >= 0 else ""
        rows["best val loss"] += f"{best}; {end.val_loss:.4f} at the end"
    if overfits:
        rows["it overfits"] = "more steps would not help; more text, dropout or a smaller model does"
        if not state.config.dropout:
            changed = _changed(
                state.config, [field.name for field in fields(TrainConfig) if field.name not in NOT_AGAIN]
            )
            rows["try dropout"] = f"{command}{changed} --dropout=0.2 --out_dir=out-dropout"
        return facts(rows)
    if not more or worse or end and (end.val_loss < SOLVED or (end.accuracy or 0) >= 1):
        return facts(rows)
    if not state.out_of_patience:
        steps = max(2 * state.step, 1)
        decay = f" --lr_decay_iters={steps}" if state.config.decay_lr and state.config.lr_decay_iters else ""
        rows["train longer"] = f"{command} --init_from=resume{tail} --max_iters={steps}{decay}"
    if state.model.config.n_embd < PRESETS["baby"]["n_embd"]:
        hours = "   (hours on a CPU)" if state.model.device == "cpu" else ""
        text = _changed(state.config, ["dataset", "data", "tokenizer", "vocab_size"])
        rows["go bigger"] = f"{command} --preset=baby{text} --out_dir=out-baby{hours}"
    return facts(rows)


def _changed(config: TrainConfig, names: Iterable[str]) -> str:
    """The flags among these that a run has of its own, as to be typed, with a space before each."""
    chosen = {name: getattr(config, name) for name in names}
    changed = {name: str(value) for name, value in chosen.items() if value != getattr(TrainConfig, name)}
    return "".join(f" --{name}={quoted(value)}" for name, value in changed.items())


def out_dir_flag(out_dir: str) -> str:
    """The flag that names a run's folder, as to be typed, with a space before it; nothing for the default."""
    return "" if out_dir == "out" else f" --out_dir={quoted(out_dir)}"


def quoted(argument: str) -> str:
    """`argument` as the shell takes it whole."""
    return subprocess.list2cmdline([argument]) if os.name == "nt" else shlex.quote(argument)


def silence() -> None:
    """Send what is still printed to nowhere, because its reader has left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def ask_to_stop(state: TrainState, number: int) -> None:
    """What a signal does: the run ends with the last whole step, saved. A second Ctrl-C leaves at once; other signals
    may be repeated, as a batch system does. It writes past Python's own buffers, which may be in the middle of
    something when the signal comes.
    """
    if not state.stopped_by:
        state.stop, state.stopped_by = True, number
        name, again = ("", "Ctrl-C again") if number == signal.SIGINT else (signal.Signals(number).name, "Ctrl-C")
        with contextlib.suppress(OSError):  # the same Ctrl-C may have ended who reads this, or the terminal is gone
            os.write(
                1, f"\n{name}{': ' * bool(name)}stopping with the last whole step; {again} leaves at once\n".encode()
            )
    elif number == signal.SIGINT:
        saved = f"the last save is of step {state.saved_step:,}" if state.saved_step >= 0 else "nothing was saved"
        cursor = "\x1b[?25h" if sys.stdout.isatty() else ""  # the progress line had hidden it
        leave(number, f"{cursor}left at once; {saved}")

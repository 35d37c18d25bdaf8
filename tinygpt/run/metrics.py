"""`metrics.jsonl`, a run's rows, and the picture that is drawn of them."""

import contextlib
import errno
import json
import math
import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt.errors import UserError
from tinygpt.files import parse_json, write_atomically
from tinygpt.run.marks import Marks, saved_marks
from tinygpt.run.state import EvalRecord, Record, StepRecord, TrainState

EXPLODED = 5  # times the first loss
LONGEST_ROW = 1 << 16  # bytes of a line; ours have some hundred


class Metrics:
    """`metrics.jsonl`: one JSON object for each logged step and each evaluation. A resumed run continues the file: what
    a killed one wrote after its last save goes, since it comes again, and the last evaluation's row is there, even if
    the run was killed between saving and writing it. notes: what there is to say of that.
    """

    def __init__(self, state: TrainState):
        self.state, self.path = state, Path(state.config.out_dir) / "metrics.jsonl"
        self.notes: list[str] = []
        if state.saved_step > 0 and not self.path.exists():
            self.notes.append(f"{self.path} is missing, so it begins here")
        rows = _rows(self.path) if state.saved_step >= 0 else []
        done = [(line, row) for line, row in rows if row and row["step"] <= state.step]
        kept = [(row["step"], "val_loss" in row, line.strip()) for line, row in done]
        last = state.evaluation
        if last and not any(evaluated and step == last.step for step, evaluated, _ in kept):
            place = sum(step <= last.step for step, *_ in kept)
            kept.insert(place, (last.step, True, _line(last)))
        if odd := sum(row is None and line.endswith(b"\n") for line, row in rows):  # others a kill has cut short
            self.notes.append(f"left out of {self.path}: {odd} line{'s' * (odd > 1)} that no run writes")
        write_atomically(self.path, b"".join(line + b"\n" for *_, line in kept))
        with self._problems_told():
            self._open()
        state.before_save = self.flush

    def write(self, record: Record) -> str:
        """Write one record, unless it is a step that was not logged. Returns a note if another program has removed or
        changed the file, "" otherwise. Raises UserError if it cannot be written, or the run's folder is gone.
        """
        if isinstance(record, StepRecord) and record.loss is None:
            return ""
        with self._problems_told():
            note = self._look_after()
            self.file.write(_line(record) + b"\n")
            self.file.flush()
            self.size = self.file.tell()
        return note

    def close(self) -> None:
        with contextlib.suppress(OSError):  # of a row that could not be written: that was said
            self.file.close()

    def flush(self) -> None:
        """Wait until the rows are on the disk, as they must be when a state is that was saved after them."""
        with self._problems_told():
            os.fsync(self.file.fileno())

    def _look_after(self) -> str:
        """See to it that the open file is the one at its path, and say so if it had to be seen to."""
        there = self.path.stat() if self.path.exists() else None
        if there and os.path.samestat(there, os.fstat(self.file.fileno())):
            return f"{self.path} was cut short meanwhile; the next rows follow" if there.st_size < self.size else ""
        if self.state.folder:
            self.state.folder.check()
        if there is None:  # what was removed can still be read by who has it open
            self.file.seek(0)
            write_atomically(self.path, self.file.read())
        before = self.file
        self._open()
        before.close()
        what = "removed meanwhile, and is written anew" if there is None else "replaced meanwhile; the next rows follow"
        return f"{self.path} was {what}"

    def _open(self) -> None:
        self.file = self.path.open("a+b")
        self.size = self.file.seek(0, os.SEEK_END)

    @contextlib.contextmanager
    def _problems_told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            room = "make room on the disk, or " * (error.errno in (errno.ENOSPC, errno.EDQUOT))
            problem = f"could not write {self.path}: {error.strerror}"
            raise UserError(f"{problem}; {room}choose another --out_dir") from error


def _line(record: Record) -> bytes:
    """A record as a row of `metrics.jsonl`, without the line's end."""
    return json.dumps({name: value for name, value in vars(record).items() if value is not None}).encode()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file that a run writes; none if there is no file."""
    return [row for _, row in _rows(path) if row]


def history(out_dir: str | Path) -> list[Record]:
    """The records that a run's metrics tell of, without rows that lack a number that all of their kind have."""
    records: list[Record] = []
    for row in read_metrics(Path(out_dir) / "metrics.jsonl"):
        kind: Any = EvalRecord if "val_loss" in row else StepRecord
        needed = {"train_loss", "val_loss"} if kind is EvalRecord else {"lr", "loss"}
        if needed <= row.keys():
            known = {field.name: row.get(field.name) for field in fields(kind)}
            records.append(kind(**known | ({"best": row.get("best") is True} if kind is EvalRecord else {})))
    return records


def _rows(path: Path) -> list[tuple[bytes, dict[str, Any] | None]]:
    """The lines of a metrics file, each with the row that it holds, or None where that is none that a run writes; no
    lines if there is no file.
    """
    if not path.is_file():
        return []
    numbers = {name for record in (StepRecord, EvalRecord) for name in record.__annotations__} - {"best"}
    with path.open("rb") as file:
        lines = list(iter(lambda: file.readline(LONGEST_ROW), b""))

    def parsed(line: bytes) -> dict[str, Any] | None:
        try:
            row = parse_json(line, path)
        except UserError:
            return None
        right = isinstance(row, dict) and type(row.get("step")) is int and row["step"] >= 0
        return row if right and all(_is_number(row[name]) for name in numbers & row.keys()) else None

    return [(line, parsed(line)) for line in lines]


def _is_number(value: Any) -> bool:
    return type(value) is float and math.isfinite(value) or type(value) is int and abs(value) < 1 << 53


def draw_marks(axes: Any, marks: Marks, losses: list[float]) -> None:
    """Dashed lines at the marks that lie where the losses do, each with its name."""
    if not losses:
        return
    low, high, together = min(losses) - 0.2, max(losses) + 0.5, 0.04 * (max(losses) - min(losses))
    names: dict[float, str] = {}  # of marks that lie close together, at the highest of them
    for name, mark in zip(("a guess", "single tokens", "pairs of tokens"), marks.losses, strict=True):
        if low <= mark <= high:
            axes.axhline(mark, color="0.4", lw=0.8, ls="--", zorder=1)
            near = next((other for other in names if abs(other - mark) <= together), None)
            before = "" if near is None else names.pop(near) + ", "
            names[mark if near is None else max(near, mark)] = f"{before}{name}: {mark:.2f}"
    for mark, text in names.items():
        place = {"xy": (1, mark), "xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
        axes.annotate(text, xytext=(-4, 2), textcoords="offset points", fontsize=8, color="0.3", **place)


def fit_losses(axes: Any, losses: list[float]) -> None:
    """A logarithmic axis for losses that explode, where a plain one would show nothing else; steps are whole."""
    if losses and min(losses) > 0 and max(losses) > EXPLODED * losses[0]:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        if max(losses) < 100 * min(losses):  # else there is no room
            axes.yaxis.set_minor_formatter("{x:g}")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)


def plot(out_dir: str | Path) -> Path | None:
    """Draw `loss.png` from `metrics.jsonl`; None where matplotlib (the `plot` extra) is not installed."""
    try:
        from matplotlib.figure import Figure  # not pyplot, which looks for a display
    except ModuleNotFoundError:
        return None
    rows = read_metrics(Path(out_dir) / "metrics.jsonl")
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()

    def curve(name: str, *style: str, **looks: Any) -> None:
        measured = [row for row in rows if name in row]
        if measured:
            axes.plot([row["step"] for row in measured], [row[name] for row in measured], *style, **looks)

    curve("loss", color="0.75", lw=0.8, label="batch")
    curve("train_loss", "o-", color="tab:blue", ms=3, label="train")
    curve("val_loss", "o-", color="tab:red", ms=3, label="val")
    if marks := saved_marks(out_dir):
        draw_marks(axes, marks, [row[name] for row in rows for name in ("train_loss", "val_loss") if name in row])
    axes.set(xlabel="step", ylabel="loss (nats per token)")
    axes.margins(y=0.08)  # room for the name of the highest mark
    fit_losses(axes, [row[name] for row in rows for name in ("loss", "train_loss", "val_loss") if name in row])
    if axes.lines:
        axes.legend(frameon=False)
    path = Path(out_dir) / "loss.png"
    with np.errstate(all="ignore"):  # of losses that no axis can hold
        write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=120, format="png"))
    return path

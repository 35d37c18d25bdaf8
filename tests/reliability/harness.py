"""What the figures share: a small run and its text, the commands, and a report that ends with its verdict."""

import argparse
import contextlib
import hashlib
import io
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests import children
from tinygpt.cli import main as command_line

ROOT = Path(__file__).parents[2]
SMALL = (
    "--data=text.txt", "--n_layer=1", "--n_embd=16", "--n_head=2", "--block_size=16", "--batch_size=4", "--threads=1",
    "--eval_interval=2", "--eval_iters=1", "--warmup_iters=2", "--log_interval=1", "--sample_length=0",
)  # fmt: skip
SHOWN = 20  # faults that a report prints; it counts all


@dataclass
class Report:
    """What a figure found. promise: what it proves where there are no faults; rows: what was counted, by name."""

    promise: str
    rows: dict[str, object] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        names = [*self.rows, "machine", "verdict"]
        verdict = self.promise if not self.faults else f"{len(self.faults):,} FAULTS; expected: {self.promise}"
        values = [*(f"{v:,}" if isinstance(v, int) else str(v) for v in self.rows.values()), machine(), verdict]
        width = max(map(len, names))
        lines = [f"fault: {fault}" for fault in self.faults[:SHOWN]]
        if len(self.faults) > SHOWN:
            lines.append(f"and {len(self.faults) - SHOWN:,} faults more")
        return "\n".join(lines + [f"{name:<{width}}  {value}" for name, value in zip(names, values, strict=True)])


def machine() -> str:
    """Where and when a figure was measured."""
    python = f"Python {platform.python_version()}, NumPy {np.__version__}"
    return f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, {python}, {time.strftime('%Y-%m-%d')}"


def run_as_command(measure: Callable[[Path, int, int], Report], count: int) -> None:
    """Measure a figure from the command line and print it; the exit status is 1 if there are faults."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--count", type=int, default=count, metavar="N", help=f"(default: {count:,})")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of all that is drawn (default: 1)")
    given = parser.parse_args()
    children.give_default_signals()
    with tempfile.TemporaryDirectory(prefix="tinygpt-reliability-") as folder:
        began = time.perf_counter()
        report = measure(Path(folder), given.count, given.seed)
    report.rows |= {"seed": str(given.seed), "time": f"{time.perf_counter() - began:,.0f} s"}
    print(report)
    sys.exit(1 if report.faults else 0)


def write_text(folder: Path, seed: int = 1, size: int = 40_000) -> Path:
    """`folder`/text.txt: words of one to eight letters, about `size` bytes of them."""
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list("etaoinshrdlu"), length)) for length in rng.integers(1, 9, 300)]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "text.txt"
    path.write_text("\n".join(" ".join(rng.choice(words, 12)) for _ in range(size // 65)) + "\n")
    return path


def environment(folder: Path) -> dict[str, str]:
    """For a child program in `folder`: this repository, and a cache of the folder's own."""
    return os.environ | {"PYTHONPATH": str(ROOT), "TINYGPT_CACHE": str(folder / "cache"), "PYTHONUNBUFFERED": "1"}


def started(folder: Path, *arguments: str, **options):
    """`tinygpt arguments`, running in `folder`."""
    return children.started("-m", "tinygpt", *arguments, cwd=folder, env=environment(folder), **options)


def finished(folder: Path, *arguments: str, **options):
    """`tinygpt arguments`, run in `folder` to its end: its returncode, stdout and stderr."""
    return children.run("-m", "tinygpt", *arguments, cwd=folder, env=environment(folder), **options)


def train(*more: str) -> tuple[str, ...]:
    return ("train", *SMALL, "--out_dir=out", *more)


def in_process(*arguments: str) -> tuple[int, str, str]:
    """`tinygpt arguments` in this process, which is some fifty times faster: status, stdout and stderr. Whatever is no
    exit raises, as it would in the command.
    """
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = command_line([*map(str, arguments)])
        except SystemExit as left:  # a wrong flag
            status = left.code
    return status, out.getvalue(), err.getvalue()


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """This process in `folder`, with a cache of the folder's own."""
    before = os.getcwd(), os.environ.get("TINYGPT_CACHE")
    os.chdir(folder)
    os.environ["TINYGPT_CACHE"] = str(folder / "cache")
    try:
        yield
    finally:
        os.chdir(before[0])
        os.environ.pop("TINYGPT_CACHE")
        if before[1] is not None:
            os.environ["TINYGPT_CACHE"] = before[1]


def metrics(out_dir: Path) -> list[dict]:
    """The rows of a run, without what depends on the moment."""
    timed = "tokens_per_second", "utilisation"
    rows = map(json.loads, (out_dir / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in row.items() if name not in timed} for row in rows]


def kept(out_dir: Path) -> dict[str, object]:
    """All that a run has saved, by name: the digests of its files, and what state.json says but for how it began."""
    folders = {"best": out_dir / "best", "last": last_state(out_dir)}
    found: dict[str, object] = {}
    for name, folder in folders.items():
        for path in sorted(folder.iterdir()):
            content: object = hashlib.sha256(path.read_bytes()).hexdigest()
            if path.name == "state.json":
                content = json.loads(path.read_bytes())
                content["config"].pop("init_from")
            found[f"{name}/{path.name}"] = content
    return found


def last_state(out_dir: Path) -> Path:
    """The folder of a run's last state."""
    return out_dir / "last" / (out_dir / "last" / "current").read_text().split("\n")[0]


def differences(out_dir: Path, right: Path) -> list[str]:
    """In what the run in `out_dir` differs from the one in `right`: rows missing, twice or out of order, and bits."""
    rows, expected, wrong = metrics(out_dir), metrics(right), []
    for what, left, others in (("missing from", expected, rows), ("never measured, but in", rows, expected)):
        if odd := [row for row in left if row not in others]:
            wrong.append(f"{len(odd):,} rows {what} metrics.jsonl, such as {odd[0]}")
    if not wrong and rows != expected:
        wrong.append(f"rows of metrics.jsonl twice or out of order: {[row['step'] for row in rows]}")
    files, whole = kept(out_dir), kept(right)
    if odd := sorted(name for name in files.keys() | whole.keys() if files.get(name) != whole.get(name)):
        wrong.append(f"other bits in {', '.join(odd)}")
    return wrong

"""Runs of two to four ranks, each of which is killed in turn, at random moments: all end soon, and no step is lost.

Fifty SIGKILLs (--count=50; of each of the others a tenth of it) strike the ranks of runs over MPI, plain and with
--shard_optimizer, that evaluate, save and log all the time. SIGTERM and SIGHUP strike a rank, SIGTERM and SIGKILL the
launcher, and Ctrl-C, once or twice, comes through it from a terminal. Within ten seconds no process of the run may be
left. It is resumed until it has finished, by as many ranks or by another number of them: its losses must be, to 1e-9 in
float64, those of a run to which nothing happened, and all that it saved the same bit for bit where the number was the
same. Then something goes wrong on one rank (faulty.py): a file that cannot be written, an exception, a sleep of three
seconds, no memory, an exit, an exit before MPI is there; and the run is held against the other likewise.
"""

import contextlib
import math
import os
import re
import select
import signal
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tests import children
from tests.ranks.together import MPIEXEC, WHY_NOT
from tests.reliability import harness
from tests.reliability.harness import Report

STEPS = 60  # every second one is evaluated and saved
SECONDS = 10  # within which all have ended
RUNS = [(size, sharded) for size in (2, 3, 4) for sharded in (False, True)]
SAID = {"TERM to a rank": 143, "TERM to mpiexec": 143, "Ctrl-C": 130, "HUP to a rank": 129}
OTHERS = "KILL to mpiexec", "Ctrl-C twice"
FAULTS = {  # what is said of each
    "disk": "error: could not save", "exception": "RuntimeError: made up", "sleep": "already that all wait for rank",
    "memory": "error: out of memory", "os._exit": "", "start": "",
}  # fmt: skip


def measure(folder: Path, count: int, seed: int) -> Report:
    trials = Trials(folder, RUNS[:count], np.random.default_rng(seed))
    times = {kind: max(kind == "Ctrl-C", count // 10) for kind in (*SAID, *OTHERS)}
    kinds = ["KILL to a rank"] * count + [kind for kind, number in times.items() for _ in range(number)]
    trials.rng.shuffle(kinds)
    while kinds:
        trials.chain(kinds)
    on_the_last, on_the_first = [(fault, -1) for fault in FAULTS], [("exception", 0), ("memory", 0), ("os._exit", 0)]
    wrong = (on_the_last + on_the_first)[:count]
    for number, (fault, victim) in enumerate(wrong):
        trials.goes_wrong(fault, victim, *trials.runs[number % len(trials.runs)])
    rows: dict[str, object] = {kind: number for kind, number in sorted(trials.struck.items())}
    rows |= {"faults on a rank": len(wrong), "runs": trials.begun, "slowest end": f"{trials.slowest:.1f} s"}
    return Report(f"all end within {SECONDS} s, and no row, bit or message is lost", rows, trials.faults)


class Launched:
    """`tinygpt train` on several ranks, in `place`; in a terminal, so that Ctrl-C comes through the launcher."""

    def __init__(self, place: Path, size: int, *arguments: str, faulty: tuple = ()):
        self.mark = f"TINYGPT_TRIAL={uuid.uuid4().hex}"  # in the environment of all that belongs to it
        name, _, value = self.mark.partition("=")
        program = ("tests.reliability.faulty", *map(str, faulty)) if faulty else ("tinygpt",)
        self.terminal = children.Terminal(
            "-n", size, sys.executable, "-m", *program, *arguments, python=MPIEXEC, cwd=place, columns=1000,
            env=harness.environment(place) | {name: value},
        )  # fmt: skip
        self.process, self.size, self.out = self.terminal.process, size, ""

    def ranks(self) -> dict[int, int]:
        """The process of each rank that lives."""
        found = {}
        for process, environment in self.living():
            if b"PMI_RANK" in environment:
                found[int(environment[b"PMI_RANK"])] = process
        return found

    def living(self) -> Iterator[tuple[int, dict[bytes, bytes]]]:
        """All processes of the run, and their environments."""
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, IndexError):  # it has ended meanwhile
                content = (folder / "environ").read_bytes()
                if self.mark.encode() in content and (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                    entries = (entry.partition(b"=") for entry in content.split(b"\0"))
                    yield int(folder.name), {name: value for name, _, value in entries}

    def hear(self, seconds: float) -> bool:
        """Take what is said for so long; False if nothing more comes, since all who could say it have ended."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self.terminal.leader], [], [], left)[0]:
                if not (piece := self.terminal._piece()):
                    return False
                self.out += children.decoded(piece)
        return True

    def rank(self, number: int) -> int | None:
        """The process of a rank, as soon as it is there; None if the run has ended."""
        while number not in (found := self.ranks()):
            if not self.hear(0.01):
                return None
        return found[number]

    def end(self, since: float) -> tuple[int, float]:
        """The exit status, and the seconds that all processes took to end; what has not ended in time is killed."""
        while self.hear(0.02) and time.time() - since < SECONDS:
            pass
        while (left := [*self.living()]) and time.time() - since < SECONDS:
            time.sleep(0.02)
        took = time.time() - since
        for process, _ in left:
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
        status = self.process.wait(SECONDS)
        while self.hear(0.1):
            pass
        with contextlib.suppress(OSError):
            self.terminal.__exit__(None, None, None)
        return status, math.inf if left else took


class Trials:
    """Runs to which things happen, and what is wrong with their ends."""

    def __init__(self, folder: Path, runs: list[tuple[int, bool]], rng: np.random.Generator):
        self.folder, self.runs, self.rng = folder, runs, rng
        self.struck: Counter[str] = Counter()
        self.faults: list[str] = []
        self.begun, self.slowest, self.seconds = 0, 0.0, 0.0

    def right(self, size: int, sharded: bool) -> Path:
        """A run that nothing happened to."""
        place = self.folder / f"right-{size}-{sharded}"
        if not place.exists():
            harness.write_text(place)
            began = time.time()
            run = Launched(place, size, *arguments(sharded))
            while run.hear(1):
                pass
            status, _ = run.end(time.time())
            if status:
                raise RuntimeError(f"a run of {size} ranks gave status {status}: {run.out[-500:]}")
            self.seconds = time.time() - began
        return place / "out"

    def place(self) -> Path:
        self.begun += 1
        place = self.folder / f"{self.begun}"
        harness.write_text(place)
        return place

    def chain(self, kinds: list[str]) -> None:
        """A run that is struck, of `kinds` one after the other, and resumed until it has finished."""
        size, sharded = self.runs[self.rng.integers(len(self.runs))]
        right, place = self.right(size, sharded), self.place()
        sizes, finished = [size], False
        wrong: list[str] = []
        while not finished and not wrong:
            kind, before = kinds.pop() if kinds else None, self.struck.total()
            run = Launched(place, sizes[-1], *arguments(sharded, place))
            finished = self.strike(run, kind, before % sizes[-1], place, wrong)
            if kind and self.struck.total() == before:
                kinds.append(kind)  # it came too late
            if self.rng.random() < 0.2:
                sizes.append(self.runs[self.rng.integers(len(self.runs))][0])
        self.compare(place / "out", right, len(set(sizes)) == 1, f"run {place.name} of {sizes} ranks", wrong)

    def strike(self, run: Launched, kind: str | None, victim: int, place: Path, wrong: list[str]) -> bool:
        """Do what `kind` says at a random moment. True if the run finished."""
        moment = self.rng.uniform(0, self.seconds) if kind else math.inf
        acts: dict[str, Callable[[int], object]] = {
            "KILL to a rank": lambda rank: os.kill(rank, signal.SIGKILL),
            "TERM to a rank": lambda rank: os.kill(rank, signal.SIGTERM),
            "HUP to a rank": lambda rank: os.kill(rank, signal.SIGHUP),
            "KILL to mpiexec": lambda _: run.process.kill(),
            "TERM to mpiexec": lambda _: run.process.terminate(),
            "Ctrl-C": lambda _: os.write(run.terminal.leader, b"\x03"),
            "Ctrl-C twice": lambda _: (os.write(run.terminal.leader, b"\x03"), run.hear(self.rng.uniform(0, 0.3)),
                                       os.write(run.terminal.leader, b"\x03")),
        }  # fmt: skip
        began = time.time()
        rank = run.rank(victim)
        alive = run.hear(min(max(0.0, moment - (time.time() - began)), 100))
        since = time.time()
        if kind and alive and rank is not None:
            self.struck[kind] += 1
            with contextlib.suppress(OSError):
                acts[kind](rank)
        status, took = run.end(since)
        self.slowest = max(self.slowest, took)
        if took > SECONDS:
            wrong.append(f"{kind}: not all had ended after {SECONDS} s: {run.out[-300:]!r}")
        finished, begun = "sample more" in run.out or "has finished its" in run.out, "writes to" in run.out
        if "Traceback" in run.out and not (not begun and "KeyboardInterrupt" in run.out):  # while Python starts
            wrong.append(f"{kind}: a traceback: {run.out[-600:]!r}")
        if not finished and kind in SAID and begun:
            check_ending(kind, status, run.out, place, wrong)
        if not finished and not kind:
            wrong.append(f"status {status} and {run.out[-300:]!r} in place of an end")
        return finished

    def goes_wrong(self, fault: str, victim: int, size: int, sharded: bool) -> None:
        """Something goes wrong on a rank; the run is resumed after it."""
        victim = 0 if fault == "disk" else victim % size  # rank 0 alone writes
        right, place = self.right(size, sharded), self.place()
        run = Launched(place, size, *arguments(sharded), faulty=(fault, victim))
        wrong: list[str] = []
        while run.hear(0.02) and not (place / "fault").exists():
            pass
        since = (place / "fault").stat().st_mtime if (place / "fault").exists() else 0.0
        if fault == "sleep":
            run.hear(3)
            os.kill(run.ranks()[victim], signal.SIGCONT)
            while run.hear(1):
                pass
            since = time.time()
        status, took = run.end(since)
        self.slowest = max(self.slowest, took)
        if took > SECONDS:
            wrong.append(f"not all had ended {SECONDS} s later: {run.out[-300:]!r}")
        named = not victim or fault not in ("exception", "memory", "sleep") or f"rank {victim} of {size} on" in run.out
        named &= len(re.findall("^error: ", run.out, re.M)) == (fault in ("disk", "memory"))
        if FAULTS[fault] not in run.out or not named or (fault == "sleep") != (status == 0):
            wrong.append(f"status {status} and {run.out[-600:]!r}, expected {FAULTS[fault]!r}")
        if ("Traceback" in run.out) != (fault == "exception"):
            wrong.append(f"a traceback, or none: {run.out[-600:]!r}")
        if fault != "sleep" and not wrong:
            self.strike(Launched(place, size, *arguments(sharded, place)), None, 0, place, wrong)
        self.compare(place / "out", right, True, f"{fault} on rank {victim} of {size}", wrong)

    def compare(self, out_dir: Path, right: Path, same: bool, what: str, wrong: list[str]) -> None:
        """Write down what is wrong with a run that has finished."""
        if not wrong:
            wrong = harness.differences(out_dir, right) if same else other_losses(out_dir, right)
        if wrong:
            self.faults.append(f"{what}: {'; '.join(wrong)}")


def arguments(sharded: bool, place: Path | None = None) -> tuple[str, ...]:
    """What starts a run, or has the one in `place` go on."""
    if place and (place / "out" / "last" / "current").exists():
        return "train", "--init_from=resume", "--out_dir=out"
    more = ("--shard_optimizer",) if sharded else ()
    return harness.train(f"--max_iters={STEPS}", "--dtype=float64", "--device=cpu", *more)


def check_ending(kind: str, status: int, out: str, place: Path, wrong: list[str]) -> None:
    """What a run that was asked to end has said and saved."""
    if status != SAID[kind]:
        wrong.append(f"{kind} gave status {status}, expected {SAID[kind]}: {out[-600:]!r}")
    elif "saved at step" not in out:
        wrong.append(f"{kind}: nothing said of what is saved: {out[-300:]!r}")
    logged = [int(step.replace(",", "")) for step in re.findall(r"^step +([\d,]+)  (?:train )?loss", out, re.M)]
    if logged and not wrong:
        step = int(re.findall(r"step-(\d+)", harness.last_state(place / "out").name)[0])
        if step < logged[-1]:
            wrong.append(f"{kind}: step {logged[-1]} was shown, but step {step} is the last saved")


def other_losses(out_dir: Path, right: Path) -> list[str]:
    """In what the losses of one run differ from another's, by more than rounding."""
    rows, expected = harness.metrics(out_dir), harness.metrics(right)
    if [row["step"] for row in rows] != [row["step"] for row in expected]:
        return [f"rows missing, twice or out of order: {[row['step'] for row in rows]}"]
    for row, other in zip(rows, expected, strict=True):
        for name, value in other.items():
            if isinstance(value, float) and not math.isclose(row[name], value, rel_tol=1e-9, abs_tol=1e-9):
                return [f"at step {row['step']} {name} is {row[name]!r}, expected {value!r}"]
    return []


if __name__ == "__main__":
    if WHY_NOT:
        sys.exit(WHY_NOT)
    harness.run_as_command(measure, count=50)

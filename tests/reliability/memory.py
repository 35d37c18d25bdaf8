"""Memory that runs out at each allocation of a save: the last state stays intact, and a sentence says what happened.

A run that has saved one state saves the next, over and over from the same point. Each time another allocation fails:
once alone, then with all of 1 KiB and more that come after it. --count of them are tried, spread over the whole save:
Python's objects, NumPy's arrays and what safetensors needs in Rust (allocations.c; each try is a process, forked off).
Then a MemoryError is raised at --count of the calls that a save makes. After each try the run must resume bit for bit,
from the state before or from the new one, and the program must have ended with a sentence. Where safetensors runs out
of memory, the sentence is Rust's, which ends the program itself: "memory allocation of 30032 bytes failed". Where an
allocation of a few bytes fails, Python itself may raise another error ("stat: path should be string ..., not
PosixPath"), a traceback that nobody can foresee; these are counted apart.
"""

import ctypes
import json
import os
import shutil
import signal
import sys
import traceback
from collections import Counter
from pathlib import Path

import numpy as np

from tests import children
from tests.reliability import harness
from tests.reliability.harness import Report

WAYS = {"one": "one allocation fails", "all": "all large ones fail from one on", "call": "MemoryError at a call"}
SECONDS = 10  # that a save may take
PYTHONS_OWN = ("TypeError: ", "SystemError: ", "RuntimeError: ", "ValueError: ")  # what it makes of a failed allocation


def measure(folder: Path, count: int, seed: int) -> Report:
    library, source = folder / "allocations.so", Path(__file__).with_name("allocations.c")
    children.compiled(source, library)
    harness.write_text(folder)
    harness.finished(folder, *harness.train("--max_iters=2")).check_returncode()
    environment = harness.environment(folder) | {"LD_PRELOAD": str(library), "PYTHONMALLOC": "malloc"}
    rows: dict[str, object] = {}
    faults = []
    for way, meaning in WAYS.items():
        arguments = "-m", "tests.reliability.memory", "--tries", way, str(count)
        ended = children.run(*arguments, cwd=folder, env=environment, seconds=3600)
        if ended.returncode != 0:
            raise RuntimeError(ended.stderr)
        results = [json.loads(line) for line in ended.stdout.splitlines()]
        rows[meaning] = f"{len(results):,} tries of {results[0]['of']:,}: " + ", ".join(
            f"{times:,} {outcome}" for outcome, times in Counter(result["outcome"] for result in results).most_common()
        )
        for fault, times in Counter(result["fault"] for result in results).items():
            if fault:
                first = next(result["number"] for result in results if result["fault"] == fault)
                faults.append(f"{meaning}: {fault} ({times:,} times, first at {first:,} of {results[0]['of']:,})")
    return Report("the last state is intact each time, and a sentence says what happened", rows, faults)


def tries(way: str, count: int) -> None:
    """In a process of its own, in the run's folder: make a save fail in `count` places, a line of JSON for each."""
    from tests.reliability.power import digest
    from tinygpt.run.loop import train
    from tinygpt.run.store import resume, save

    def saved() -> str:
        state = resume("out")
        return digest(state.model.params.flat, *(buffer.flat for buffer in state.optimizer.state.values()))

    state = resume("out", {"max_iters": 4, "eval_interval": 100})
    before = saved()
    records = train(state)
    while state.step < 3:
        next(records)
    after = digest(state.model.params.flat, *(buffer.flat for buffer in state.optimizer.state.values()))
    failing = Failing(way)
    of = failing.count(lambda: save(state), keep="out")
    for number in sorted({int(place) for place in np.linspace(1, of, count)}):
        status, said = failing.attempt(number, lambda: save(state))
        line = (said.strip().splitlines() or [""])[-1]
        outcome, fault = {0: ("saved", ""), 1: ("said", "")}.get(status, ("died", f"status {status}, {line[:200]!r}"))
        if status == -signal.SIGABRT and "memory allocation of" in said:
            outcome, fault = "said by Rust", ""
        elif "Traceback" in said and way != "call" and line.startswith(PYTHONS_OWN):
            outcome, fault = "another error of Python's", ""
        elif "Traceback" in said:
            outcome, fault = "died", f"a traceback that ends with {line[:200]!r}"
        elif status == 1 and not said.startswith("error: "):
            outcome, fault = "died", f"no sentence, but {said[:200]!r}"
        try:
            if (left := saved()) not in (before, after):
                fault = "another state than the two was left"
            elif status == 0 and left != after:
                fault = "it did not save, and did not say so"
        except Exception as error:
            outcome, fault = "lost", f"the last state is lost: {error}"
        print(json.dumps({"number": number, "of": of, "outcome": outcome, "fault": fault}), flush=True)
        failing.restore()


class Failing:
    """Saves in forked processes, in each of which memory runs out at another place."""

    def __init__(self, way: str):
        self.way = way
        self.library = ctypes.CDLL(None)

    def count(self, work, keep: str) -> int:
        """How many places there are in `work`; what is saved in the folder `keep` is the same after each try."""
        self.kept = {path: path.read_bytes() for path in Path(keep).rglob("*") if path.is_file()}
        reading, writing = os.pipe()
        if not (child := os.fork()):
            calls = [0]

            def called(_frame, event: str, _argument) -> None:
                calls[0] += event in ("call", "c_call")

            if self.way == "call":
                sys.setprofile(called)
            self.library.fail_from(10**9, 0)
            work()
            made = self.library.allocations()
            sys.setprofile(None)
            os.write(writing, str(calls[0] if self.way == "call" else made).encode())
            os._exit(0)
        os.waitpid(child, 0)
        self.restore()
        return int(os.read(reading, 100))

    def restore(self) -> None:
        """Put back what was saved."""
        for path in Path("out/last").glob("*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path, content in self.kept.items():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)

    def attempt(self, number: int, work) -> tuple[int, str]:
        """`work` in a process where the place `number` fails: its exit status and what it printed."""
        from tinygpt.cli import guarded

        reading, writing = os.pipe()
        if not (child := os.fork()):
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            sys.stdout = sys.stderr = os.fdopen(writing, "w")

            signal.alarm(SECONDS)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)

            def command() -> int:
                left = [number]

                def called(_frame, event: str, _argument) -> None:
                    if event in ("call", "c_call"):
                        left[0] -= 1
                        if left[0] == 0:
                            raise MemoryError

                try:
                    if self.way == "call":
                        sys.setprofile(called)
                    else:
                        self.library.fail_from(number, self.way == "all")
                    work()
                    return 0
                finally:
                    self.library.fail_from(0, 0)
                    sys.setprofile(None)

            status = 3
            try:
                status = guarded(command)
                sys.stdout.flush()
            except BaseException:
                traceback.print_exc()
                sys.stdout.flush()
            os._exit(status)
        os.close(writing)
        said = b""
        while piece := os.read(reading, 65536):
            said += piece
        os.close(reading)
        ended = os.waitpid(child, 0)[1]
        return os.waitstatus_to_exitcode(ended), said.decode(errors="replace")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--tries"]:
        tries(sys.argv[2], int(sys.argv[3]))
    else:
        harness.run_as_command(measure, count=2000)

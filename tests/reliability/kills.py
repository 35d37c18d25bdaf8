"""Runs killed at random moments and resumed until they finish: no row, no bit and no message is lost.

Two hundred SIGKILLs, 50 SIGTERMs and 20 SIGHUPs (--count=200; the others are a quarter and a tenth of it) strike runs
that evaluate, save and log all the time. What a chain of killed runs leaves at its end is held against a run that was
never killed: weights, moments, best/ and the settings bit for bit, and metrics.jsonl row for row.
"""

import re
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tests.reliability import harness
from tests.reliability.harness import Report

STEPS = 120  # every second one is evaluated and saved
SAID = {signal.SIGTERM: 143, signal.SIGHUP: 129}  # the exit status of a run that a signal ended


def measure(folder: Path, count: int, seed: int) -> Report:
    rng = np.random.default_rng(seed)
    harness.write_text(folder / "right")
    began = time.perf_counter()
    harness.finished(folder / "right", *harness.train(f"--max_iters={STEPS}")).check_returncode()
    seconds = time.perf_counter() - began

    numbers = {signal.SIGKILL: count, signal.SIGTERM: -(-count // 4), signal.SIGHUP: -(-count // 10)}
    waiting = [number for number, times in numbers.items() for _ in range(times)]
    rng.shuffle(waiting)
    chains = Chains(folder, waiting, seconds, rng)
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(chains.work) for _ in range(2)]:
            done.result()
    rows = {signal.Signals(number).name: times for number, times in numbers.items()}
    return Report("no row, bit or message lost", rows | {"runs": chains.begun}, chains.faults)


class Chains:
    """Runs that are killed and resumed until each is finished, while there are signals `waiting`."""

    def __init__(self, folder: Path, waiting: list[int], seconds: float, rng: np.random.Generator):
        self.folder, self.waiting, self.seconds, self.rng = folder, waiting, seconds, rng
        self.begun = 0
        self.faults: list[str] = []
        self.lock = threading.Lock()

    def work(self) -> None:
        while self.waiting:
            with self.lock:
                self.begun += 1
                place = self.folder / f"{self.begun}"
            harness.write_text(place)
            wrong, said = [], "until it finished"
            while said and not wrong:
                said = self.strike(place, wrong)
            wrong = wrong or harness.differences(place / "out", self.folder / "right" / "out")
            if wrong:
                self.faults.append(f"run {place.name}: {'; '.join(wrong)}")

    def strike(self, place: Path, wrong: list[str]) -> bool:
        """Start or resume the run in `place`, and send it a signal at a random moment. False if it finished."""
        saved = (place / "out" / "last" / "current").exists()
        arguments = ("train", "--init_from=resume", "--out_dir=out") if saved else harness.train(f"--max_iters={STEPS}")
        with self.lock:
            number = self.waiting.pop() if self.waiting else None
            moment = self.rng.uniform(0, self.seconds)
        with harness.started(place, *arguments) as process:
            try:
                out, err = process.communicate(timeout=moment if number else None)
                if number:
                    self.waiting.append(number)  # it came too late
                    number = None
            except subprocess.TimeoutExpired:
                process.send_signal(number)
                out, err = process.communicate()
                self.check_ending(place, number, process.returncode, out, wrong)
        if number is None and process.returncode != 0 and "has finished its" not in err:
            wrong.append(f"status {process.returncode} and {err[-300:]!r} in place of an end")
        if "Traceback" in err:
            wrong.append(f"a traceback: {err[-300:]!r}")
        return number is not None and "sample more" not in out

    def check_ending(self, place: Path, number: int, status: int, out: str, wrong: list[str]) -> None:
        """What a run that `number` ended has said and saved."""
        shown = [int(step.replace(",", "")) for step in re.findall(r"^step +([\d,]+)  train loss", out, re.M)]
        if shown and not (place / "out" / "last" / "current").exists():
            wrong.append(f"step {shown[-1]} was shown as evaluated, and nothing is saved")
        if number not in SAID or "sample more" in out:  # the second: it had finished
            return
        name = signal.Signals(number).name
        begun = "writes to" in out  # before, there is nothing to save, and the system's own status says as much
        if status != SAID[number] and not (status == -number and not begun):
            wrong.append(f"{name} gave status {status}, expected {SAID[number]}")
        elif begun and status == SAID[number] and "saved at step" not in out:
            wrong.append(f"{name}: nothing said of what is saved: {out[-200:]!r}")
        logged = [int(step.replace(",", "")) for step in re.findall(r"^step +([\d,]+)  (?:train )?loss", out, re.M)]
        if logged and status == SAID[number]:
            step = int(re.findall(r"step-(\d+)", harness.last_state(place / "out").name)[0])
            if step < logged[-1]:
                wrong.append(f"{name}: step {logged[-1]} was shown, but step {step} is the last saved")


if __name__ == "__main__":
    harness.run_as_command(measure, count=200)

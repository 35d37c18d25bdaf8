"""A learner's file that does its worst: a verdict each time, within the time limit, and never "right".

Each of the hostile files (hostile_files.py) goes through each door: `own_layers.check`, `lessons check`, `gradcheck
FILE` and `train --mine`. --count of them are tried. Each door must end by itself within two minutes, with a verdict
that is not "right", in less than a megabyte; and it must leave no process behind. All
run with at most 4 GB of addresses.
"""

import os
import resource
import select
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests import children
from tests.reliability import harness
from tests.reliability.harness import Report
from tests.reliability.hostile_files import LAYERS, hostile_files

SECONDS, PRINTED, ADDRESSES = 120, 1 << 20, 4 << 30
CHECK = """
import sys
from pathlib import Path
from tinygpt.own_layers import check
checked = check(sys.argv[1], Path(sys.argv[2]), 0)
print("\\nVERDICT:", "right" if checked.passed else "wrong", "in words" if checked.wrong else "without a word")
"""


def measure(folder: Path, count: int, seed: int) -> Report:
    trials = [
        (number, door, what, part, text)
        for number, (what, part, text) in enumerate(hostile_files())
        for door in DOORS
        if door != "gradcheck FILE" or part in LAYERS
    ]
    files = {number for number, *_ in trials}
    step = max(1, len(files) // count)
    trials = [trial for trial in trials if trial[0] % step == seed % step]
    with ThreadPoolExecutor(2) as pool:
        wrongs = list(pool.map(lambda trial: judged(folder, *trial), trials))
    ended = list(zip(trials, wrongs, strict=True))
    faults = [f"{door}, {what} ({part}): {wrong}" for (_, door, what, part, _), wrong in ended if wrong]
    asked, good = (Counter(trial[1] for trial, wrong in ended if keep or not wrong) for keep in (True, False))
    verdicts = {f"verdicts of {door}": f"{good[door]} of {asked[door]}" for door in DOORS}
    return Report("a verdict each time, none of them right", {"files": len({t[0] for t in trials}), **verdicts}, faults)


# The doors: what is run, and what is wrong about how it ended.


def of_check(status: int, out: str, part: str) -> str:
    return "" if status == 0 and "VERDICT: wrong in words" in out else "no verdict that it is wrong"


def of_lessons(status: int, out: str, part: str) -> str:
    return "" if status == 1 and out.strip() and "Next: " not in out else "not found to be wrong"


def of_gradcheck(status: int, out: str, part: str) -> str:
    return "" if status == 1 and out.strip() else "not found to be wrong"


def of_train(status: int, out: str, part: str) -> str:
    if status == 0 and any(line.startswith("yours") and part in line for line in out.splitlines()):
        return "it was taken in"
    if status == 0 and "train longer" in out and ("left out" in out or "not written yet" in out):
        return ""
    return "" if status == 1 and "error: " in out else "neither trained without it nor said why not"


DOORS: dict[str, tuple[tuple[str, ...], Callable[[int, str, str], str]]] = {
    "own_layers.check": (("-c", CHECK, "PART", "work/PART.py"), of_check),
    "lessons check": (("-m", "lessons", "check", "PART", "--work=work"), of_lessons),
    "gradcheck FILE": (("-m", "tinygpt", "gradcheck", "work/PART.py"), of_gradcheck),
    "train --mine": (("-m", "tinygpt", *harness.train("--max_iters=2", "--mine=work")), of_train),
}


def judged(folder: Path, number: int, door: str, what: str, part: str, text: str) -> str:
    """Put a file through a door; what is wrong with what came of it."""
    place = folder / f"{number}-{door.replace(' ', '-')}"
    harness.write_text(place)
    (place / "work").mkdir()
    (place / "work" / f"{part}.py").write_text(text)
    arguments, verdict = DOORS[door]
    arguments = tuple(argument.replace("PART", part) for argument in arguments)
    out = b""
    began = time.monotonic()
    ended = ""
    with children.started(
        *arguments, cwd=place, env=harness.environment(place), stderr=subprocess.STDOUT, seconds=2 * SECONDS,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES)),
    ) as process:  # fmt: skip
        while True:
            left = began + SECONDS - time.monotonic()
            if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                ended = f"no end after {SECONDS} s"
                break
            piece = os.read(process.stdout.fileno(), 1 << 16)
            out += piece
            if not piece or len(out) > PRINTED:
                break
        if not ended and len(out) > PRINTED:
            ended = f"more than {PRINTED >> 20} MB printed"
        if not ended:
            try:
                status = process.wait(max(1.0, began + SECONDS - time.monotonic()))
            except subprocess.TimeoutExpired:
                ended = f"no end after {SECONDS} s, its output closed"
    left_running = end_all(place)
    shutil.rmtree(place)
    text = out.decode(errors="replace")
    if not ended and (wrong := verdict(status, text, part)):
        ended = f"{wrong}: status {status} and {text.strip()[-200:]!r}"
    if not ended and "Traceback (most recent call last)" in text:
        ended = f"a traceback: {text.strip()[-200:]!r}"
    return ended or (f"{left_running} processes were left running" if left_running else "")


def end_all(place: Path) -> int:
    """Kill what still runs of what was started in `place`; how many there were."""
    found = 0
    mark = f"TINYGPT_CACHE={place}/".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes() and int(process.name) != os.getpid():
                state = (process / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z":
                    found += 1
                    os.kill(int(process.name), signal.SIGKILL)
        except OSError:  # it has ended since, or is another user's
            pass
    return found


if __name__ == "__main__":
    harness.run_as_command(measure, count=1000)

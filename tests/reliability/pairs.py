"""Two runs started at the same moment in one folder: one trains, the other says in a sentence that it cannot.

Twenty pairs, in turn of two new runs, of two that resume, and of one each. Exactly one may train: it ends well, and
leaves bit for bit what it leaves when it is alone. The other ends with status 1 and one sentence, and nothing is moved
or lost. Then `sample` and `eval` read a folder again and again while a run saves into it: none may fail.
"""

import shutil
import subprocess
from pathlib import Path

import numpy as np

from tests.reliability import harness
from tests.reliability.harness import Report

BEFORE, STEPS = 40, 300  # the steps of the earlier run, and of each of the pair
NEW, RESUME = harness.train(f"--max_iters={STEPS}"), ("train", "--init_from=resume", "--out_dir=out")
KINDS = {"new and new": (NEW, NEW), "resume and resume": (RESUME, RESUME), "new and resume": (NEW, RESUME)}
READINGS = 100  # for each pair


def measure(folder: Path, count: int, seed: int) -> Report:
    rng = np.random.default_rng(seed)
    alone = {NEW: folder / "new", RESUME: folder / "resumed"}
    earlier = folder / "earlier"
    harness.write_text(earlier)
    harness.finished(earlier, *harness.train(f"--max_iters={BEFORE}")).check_returncode()
    for arguments, place in alone.items():
        shutil.copytree(earlier, place)
        if arguments is NEW:
            shutil.rmtree(place / "out")
        harness.finished(place, *arguments, f"--max_iters={STEPS}").check_returncode()

    faults = []
    for number in range(count):
        kind = list(KINDS)[number % len(KINDS)]
        place = folder / f"pair-{number}"
        shutil.copytree(earlier, place)
        if kind == "new and new" and number % 2:  # half of them where there was a run before
            shutil.rmtree(place / "out")
        wrong = pair(place, KINDS[kind], rng.uniform(0, 0.1), alone, earlier / "out")
        if wrong:
            faults.append(f"pair {number}, {kind}: {'; '.join(wrong)}")
        shutil.rmtree(place)
    wrong, read = readings(folder, READINGS * count)
    rows = {"pairs": count, "right": count - len(faults), "readings": read, "failed": len(wrong)}
    return Report("one of each pair trains as if alone, the other says why not; no reading fails", rows, faults + wrong)


def pair(place: Path, both: tuple, pause: float, alone: dict, earlier: Path) -> list[str]:
    """Start two runs in `place`, the second `pause` seconds after the first; what is wrong with their ends."""
    had_run = (place / "out").exists()
    runs = [harness.started(place, *arguments, f"--max_iters={STEPS}") for arguments in both]
    ended = []
    with runs[0] as first:
        try:
            first.wait(pause)
        except subprocess.TimeoutExpired:
            pass
        with runs[1] as second:
            for process in (first, second):
                out, err = process.communicate()
                ended.append((process.returncode, out, err))
    trained = [number for number, (status, _, _) in enumerate(ended) if status == 0]
    if len(trained) != 1:
        what = "; ".join(f"status {status} {err[-150:]!r}" for status, _, err in ended)
        return [f"{len(trained)} trained to the end, expected one: {what}"]
    winner = trained[0]
    status, out, err = ended[1 - winner]
    wrong = harness.differences(place / "out", alone[both[winner]] / "out")
    if status != 1 or not err.startswith("error: ") or err.count("\n") != 1 or "step " in out:
        wrong.append(f"the other ended with status {status} and {err[-300:]!r}, expected 1 and one sentence")
    aside = sorted(path.name for path in (place / "out").glob("run-*"))
    if aside != (["run-1"] if had_run and both[winner] is NEW else []):
        wrong.append(f"moved aside: {aside}")
    elif aside:
        wrong += [f"the earlier run: {fault}" for fault in harness.differences(place / "out" / "run-1", earlier)]
    return wrong


def readings(folder: Path, count: int) -> tuple[list[str], int]:
    """Read a folder `count` times with eval and sample while runs save into it, the next as soon as one has ended."""
    place, read, wrong = folder / "read", 0, []
    harness.write_text(place)
    harness.finished(place, *harness.train("--max_iters=2")).check_returncode()
    commands = [
        ("eval", "--out_dir=out", "--threads=1", "--device=cpu"),
        ("sample", "--out_dir=out", "--max_new_tokens=1", "--threads=1", "--device=cpu"),
    ]
    while read < count:
        with harness.inside(place), harness.started(place, *RESUME, f"--max_iters={10**6}") as process:
            while read < count and process.poll() is None:
                status, _, err = harness.in_process(*commands[read % 2])
                read += 1
                if status != 0:
                    wrong.append(f"{commands[read % 2][0]}, reading {read}: status {status} and {err[-300:]!r}")
    return wrong, read


if __name__ == "__main__":
    harness.run_as_command(measure, count=20)

"""Who runs when, and for how long."""

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from race.side import has_torch

from report.processes import outcome, start, stop
from report.sections import SECTIONS
from report.writing import file_name, section_text, write, wrong_checks


def run(names: list[str], options: argparse.Namespace) -> bool:
    """The sections one after the other, each with its share of the time that is left. True if all is done and right."""
    end = time.perf_counter() + 60 * options.minutes - 10  # for ending what hangs, and for writing
    results: dict[str, Any] = {}
    running: dict[str, subprocess.Popen] = {}
    early = "speed" in names and options.compile_seconds > 0 and has_torch() and not options.stand_in
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        try:
            if not options.stand_in:
                running["card"] = start("card", options, folder, 60)
                found = outcome("card", running["card"], folder, 60)
                if problem := found.get("raw", {}).get("problem"):
                    sys.exit(problem)
            alone_or_together = itertools.groupby(names, lambda name: name if SECTIONS[name].timed else None)
            groups = [list(group) for _, group in alone_or_together]
            for number, group in enumerate(groups):
                first = SECTIONS[group[0]]
                if early and not first.timed:
                    running["compiling"] = start("compiling", options, folder, 600)
                later = sum(SECTIONS[others[0]].seconds for others in groups[number + 1 :])
                share = first.seconds / (first.seconds + later)
                if options.stand_in and later:  # where no run at the end needs most of the time
                    share = 0.4
                began = time.perf_counter()
                seconds = (end - began) * share
                if first.timed and "compiling" in running:  # it ends what it is at, in `speed`'s time
                    (folder / "stop").touch()
                    outcome("compiling", running.pop("compiling"), folder, min(options.compile_seconds, seconds / 3))
                    seconds -= time.perf_counter() - began
                until = time.perf_counter() + seconds
                for name in group:
                    print(f"{name}: {SECTIONS[name].question} (at most {seconds:.0f} s)", flush=True)
                    if options.corpus or not SECTIONS[name].needs_corpus:
                        running[name] = start(name, options, folder, seconds - 3)
                for name in group:
                    if name in running:
                        results[name] = outcome(name, running.pop(name), folder, until - time.perf_counter())
                    else:
                        sentence = "there is no shared/data/tinyshakespeare.txt here, and --corpus names no other text"
                        results[name] = {"status": "skipped", "answer": sentence}
                    write(results, options)
                    print("\n".join([name, *section_text(name, results[name], options.stand_in)[4:]]), flush=True)
        finally:
            for process in running.values():
                stop(process)
    print(f"written: {options.out}/{file_name(options.stand_in)}.md and .json")
    return all(found["status"] == "done" and not wrong_checks(found) for found in results.values())

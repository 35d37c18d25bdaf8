"""Every section is a process of its own."""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from report import ROOT, SCRIPT
from report.card import card
from report.errands import ERRANDS
from report.report import Report
from report.sections import SECTIONS


def work(options: argparse.Namespace) -> None:
    """What the process of a section does."""
    functions = ERRANDS | {name: section.run for name, section in SECTIONS.items()}
    with card(options.stand_in and options.section != "tests"):  # these install it themselves
        functions[options.section](Report(options.section, options))


def start(name: str, options: argparse.Namespace, folder: Path, seconds: float) -> subprocess.Popen:
    """A section in a process of its own, and in a group, with which all that it starts can be ended."""
    command = [sys.executable, SCRIPT, f"--section={name}", f"--into={folder}", f"--seconds={max(1, seconds):.0f}"]
    command += [f"--compile_seconds={options.compile_seconds}"] + ["--stand-in"] * options.stand_in
    command += [f"--corpus={options.corpus}"] if options.corpus else []
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        "PYTHONUNBUFFERED": "1",
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),  # which `compiling` fills for `speed`
        "TORCHINDUCTOR_FX_GRAPH_CACHE": "1",
        "TORCHINDUCTOR_AUTOGRAD_CACHE": "1",
    }
    with (folder / f"{name}.log").open("w") as log:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, env=environment,
            start_new_session=True,
        )  # fmt: skip


def stop(process: subprocess.Popen | None) -> None:
    """End a section, if it has not ended, and whatever it has started."""
    if process is not None:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):  # one that hangs in the driver is left behind
            process.wait(5)


def outcome(name: str, process: subprocess.Popen, folder: Path, seconds: float) -> dict[str, Any]:
    """What a section found, and how it ended, after so many seconds at most."""
    try:
        status = "done" if process.wait(max(1, seconds)) == 0 else f"failed with status {process.returncode}"
    except subprocess.TimeoutExpired:
        status = "out of time"
    finally:
        stop(process)
    path, log = folder / f"{name}.json", folder / f"{name}.log"
    found = {"status": status} | (json.loads(path.read_text()) if path.exists() else {})
    if status != "done":
        found.pop("seconds", None)  # only until it last wrote
        found["last_lines"] = log.read_text(errors="replace").splitlines()[-20:]
    return found

"""tinygpt's commands, run by a section: a status, seconds, and the lines with the seconds until each."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from report import ROOT
from report.report import Report

Lines = list[tuple[float, str]]


class Tee:
    """A stream that keeps the lines written to it."""

    def __init__(self, stream: Any):
        self.stream, self.rest, self.began = stream, "", time.perf_counter()
        self.lines: Lines = []

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        self.lines += [(time.perf_counter() - self.began, line) for line in lines if line.strip()]
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def command(arguments: list[str]) -> tuple[int, float, Lines]:
    """A command of tinygpt's in this process, where the stand-in is."""
    from tinygpt import cli

    began, out = time.perf_counter(), Tee(sys.stdout)
    with contextlib.redirect_stdout(out):
        status = cli.main(arguments)
    return status, time.perf_counter() - began, out.lines


def until_interrupted(arguments: list[str], report: Report) -> tuple[int, float, Lines]:
    """A command in a process of its own; when time is over it gets a Ctrl-C, and a while to save."""
    began, out = time.perf_counter(), Tee(sys.stdout)
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    unbuffered = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(arguments, **pipes, cwd=ROOT, env=unbuffered, text=True, errors="replace")

    def read() -> None:
        for line in process.stdout or ():
            out.write(line)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    for signal_number, seconds in ((signal.SIGINT, report.left() - 18), (signal.SIGKILL, 14), (None, 2)):
        try:
            process.wait(max(1, seconds))
            break
        except subprocess.TimeoutExpired:
            if signal_number:
                process.send_signal(signal_number)
    reader.join(2)
    return process.returncode or 0, time.perf_counter() - began, out.lines

"""tinygpt's commands, run by a section."""

import contextlib
import signal
import subprocess
import sys
import time
from typing import Any

from report import ROOT
from report.report import Report


class Tee:
    """A stream that keeps what is written to it."""

    def __init__(self, stream: Any):
        self.stream, self.text = stream, ""

    def write(self, text: str) -> int:
        self.text += text
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def command(arguments: list[str]) -> tuple[int, float, list[str]]:
    """A command of tinygpt's in this process, where the stand-in is: its status, seconds and lines."""
    from tinygpt import cli

    began, out = time.perf_counter(), Tee(sys.stdout)
    with contextlib.redirect_stdout(out):
        status = cli.main(arguments)
    return status, time.perf_counter() - began, [line for line in out.text.splitlines() if line.strip()]


def until_interrupted(arguments: list[str], report: Report) -> tuple[int, float, list[str]]:
    """A command's status, seconds and lines; when time is over it gets a Ctrl-C, and a while to save."""
    began, log = time.perf_counter(), report.folder / "train.log"
    with log.open("w") as file:
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT)
        for signal_number, seconds in ((signal.SIGINT, report.left() - 18), (signal.SIGKILL, 14), (None, 2)):
            try:
                process.wait(max(1, seconds))
                break
            except subprocess.TimeoutExpired:
                if signal_number:
                    process.send_signal(signal_number)
    text = log.read_text(errors="replace")
    print(text[-3000:])
    return process.returncode or 0, time.perf_counter() - began, text.splitlines()

"""A process that runs what a reader wrote: started apart, asked where it is, ended with all that it started."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

MARK = "TINYGPT_CHILD"  # in the environment of all that it starts
BLAS = "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"
SERVE = """
import importlib, json, sys
_, module, settings, *sys.path[:] = sys.argv  # it imports what we import
importlib.import_module(module).serve(json.loads(settings))
"""


class OwnProcess:
    """Python running the function `serve` of a module, which is handed the settings, on one thread of BLAS; as a
    context it is ended with that. Raises OSError where none can be started.

    What it says comes by `popen.stdout`; where it `talks`, it is told by `popen.stdin`, and what it prints comes by
    `popen.stderr`. settings: what JSON can hold; they get "trace", for `child.bounded`: the descriptor of the file in
    which it writes where it is, None where it cannot.
    """

    def __init__(self, module: str, settings: Mapping[str, Any], talks: bool = False):
        self.trace, self.mark = tempfile.TemporaryFile(), uuid.uuid4().hex  # noqa: SIM115  closed with the process
        trace = self.trace.fileno() if os.name == "posix" else None
        other = subprocess.PIPE if talks else subprocess.DEVNULL
        self.popen = subprocess.Popen(
            [sys.executable, "-u", "-c", SERVE, module, json.dumps({**settings, "trace": trace}), *sys.path],
            stdin=other, stdout=subprocess.PIPE, stderr=other,
            env=os.environ | dict.fromkeys(BLAS, "1") | {MARK: self.mark},
            start_new_session=True,  # a group of its own, to be ended whole
            pass_fds=[trace] if trace is not None else [],
        )  # fmt: skip

    def __enter__(self) -> "OwnProcess":
        return self

    def __exit__(self, *_: Any) -> None:
        self.end()

    def status(self) -> int | None:
        """With what it ended, which it may be about to; None if it has not."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(2)
        return self.popen.poll()

    def written(self, files: Iterable[Path]) -> tuple[Path, int] | None:
        """Which of some files it was in, and the line, by the innermost frame that it has written down."""
        names = {str(path).encode("ascii", "backslashreplace").decode(): path for path in files}
        with contextlib.suppress(OSError, ValueError):
            self.trace.seek(0)
            text = self.trace.read(1 << 20).decode(errors="replace")
            for name, line in re.findall(r'File "(.+)", line (\d{1,7})', text):
                if name in names:
                    return names[name], int(line)
        return None

    def where(self, files: Iterable[Path]) -> tuple[Path, int] | None:
        """Which of some files it is in now, and the line, if it will say."""
        if os.name != "posix":
            return None
        for _ in range(20):  # asked each time: on a machine that stood still it may only be on its way there
            with contextlib.suppress(OSError):
                os.kill(self.popen.pid, signal.SIGUSR1)
            time.sleep(0.05)
            if place := self.written(files):
                return place
        return None

    def end(self) -> None:
        """End it, and whatever it has started, as far as the system tells."""
        with contextlib.suppress(OSError):
            if os.name == "posix":
                os.killpg(self.popen.pid, signal.SIGKILL)
            else:
                self.popen.kill()
        self.popen.wait()
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if f"{MARK}={self.mark}".encode() in environment.read_bytes().split(b"\0"):
                    os.kill(int(environment.parent.name), signal.SIGKILL)
        self.trace.close()


def killed_by(status: int) -> str:
    """The name of the signal that has ended a process, such as "SIGKILL"; "" if it has ended by itself."""
    if status >= 0:
        return ""
    return signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"


def ending(status: int) -> str:
    """How a process has ended, in words that follow on "ended": "by SIGKILL", "with status 3"."""
    return f"by {killed_by(status)}" if status < 0 else f"with status {status}"

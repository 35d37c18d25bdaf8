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
HERE = "import sys; sys.path[:] = sys.argv[2:]; "  # it imports what we import


class OwnProcess:
    """Python running `code`, which is handed `settings` as JSON in sys.argv[1], on one thread of BLAS.

    What it says comes by `popen.stdout`; where it `talks`, it is told by `popen.stdin`, and what it prints comes by
    `popen.stderr`. settings: gets "trace", for `child.bounded`: the descriptor of the file in which it writes where it
    is, None where it cannot.
    """

    def __init__(self, code: str, settings: Mapping[str, Any], talks: bool = False):
        self.trace, self.mark = tempfile.TemporaryFile(), uuid.uuid4().hex  # noqa: SIM115  closed with the process
        trace = self.trace.fileno() if os.name == "posix" else None
        other = subprocess.PIPE if talks else subprocess.DEVNULL
        self.popen = subprocess.Popen(
            [sys.executable, "-u", "-c", HERE + code, json.dumps({**settings, "trace": trace}), *sys.path],
            stdin=other, stdout=subprocess.PIPE, stderr=other,
            env=os.environ | dict.fromkeys(BLAS, "1") | {MARK: self.mark},
            start_new_session=True,  # a group of its own, to be ended whole
            pass_fds=[trace] if trace is not None else [],
        )  # fmt: skip

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
        with contextlib.suppress(OSError):
            os.kill(self.popen.pid, signal.SIGUSR1)
        for _ in range(20):
            if place := self.written(files):
                return place
            time.sleep(0.05)
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

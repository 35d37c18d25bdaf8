"""A side of a race: a process that lives through the whole run and works only when it is its turn."""

import importlib.util
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def require_torch() -> None:
    """Ends the run, in one sentence, where PyTorch is not installed."""
    if not has_torch():
        sys.exit("PyTorch is not installed, so there is nothing to compare with; pip install -e '.[parity]' brings it")


class Side:
    """The other end of a worker's pipe. `first` is what it says unasked, `started` the seconds until then.

    script: whose worker it is; it computes with the tinygpt of the same checkout. Who does not `wait` for that calls
    `ready` later. An answer that takes more than so many seconds is a TimeoutError. launcher: what starts it, such as
    mpiexec; more: what is in its environment besides.
    """

    def __init__(
        self, side: str, settings: dict[str, Any], script: str, wait: bool = True,
        launcher: Sequence[str] = (), more: dict[str, str] | None = None,
    ):  # fmt: skip
        self.began = time.perf_counter()
        command = [*launcher, sys.executable, script, f"--worker={side}", f"--settings={json.dumps(settings)}"]
        path = [str(Path(script).resolve().parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"OMP_NUM_THREADS": str(settings["threads"]), "PYTHONPATH": os.pathsep.join(path)}
        environment |= more or {}
        self.process = subprocess.Popen(  # no buffer, in which a line could wait while `select` sees none
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=environment
        )
        if wait:
            self.ready()

    def ready(self, seconds: float | None = None) -> None:
        self.first = self.answer(seconds)
        self.started = time.perf_counter() - self.began

    def answer(self, seconds: float | None = None) -> Any:
        assert self.process.stdout is not None
        if seconds is not None and not select.select([self.process.stdout], [], [], max(0, seconds))[0]:
            raise TimeoutError(f"no answer in {seconds:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            sys.exit("a side ended early; its error is above")
        return json.loads(line)

    def request(self, what: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what).encode() + b"\n")

    def ask(self, what: Any) -> Any:
        self.request(what)
        return self.answer()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

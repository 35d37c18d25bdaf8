"""Launches a reader's kernel in the emulator, in a process of its own, which the kernel may end as it likes.

In a folder lies what is asked, `asked.json` and `asked.npz`; what came of it goes to `answer.json` and `answer.npz`.
"""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt import emulator
from tinygpt.emulator import KernelError
from tinygpt.own_layers.kernels import ORDERS


def serve(folder: Path) -> None:
    """Launch what is asked, until something is wrong."""
    asked = json.loads((folder / "asked.json").read_text(encoding="utf-8"))
    answer: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    emulator.settings.seconds = asked["seconds"]
    try:
        module = emulator.Module(asked["source"], name=asked["file"])
        function = module.get_function(asked["kernel"])
        answer["compiled"] = True
        with np.load(folder / "asked.npz") as given:
            for number, launch in enumerate(asked["launches"]):
                answer["launch"] = number
                for seed in range(ORDERS):
                    found = _run(function, launch, given, seed)
                    arrays |= {f"{number}.{seed}.{name}": x for name, x in found.items()}
            emulator.settings.profile = True
            _run(function, asked["launches"][-1], given, 0)
            answer["barriers"] = emulator.barriers()
            answer["traffic"] = [list(row) for row in emulator.profile(module)]
    except KernelError as error:
        answer["error"] = str(error)
        if line := _unwritten_at(error, asked["file"]):
            with np.load(folder / "asked.npz") as given:
                answer["barrier"] = _would_be_there(asked, answer["launch"], given, line)
    finally:
        emulator.settings.profile = False
    np.savez(folder / "answer.npz", **arrays)  # type: ignore[arg-type]
    (folder / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


def _would_be_there(asked: dict, number: int, given: Any, line: int) -> bool:
    """Whether what nobody had written in a line is there with a barrier before it: tried, on another copy."""
    lines = asked["source"].split("\n")
    lines[line - 1] = f"__syncthreads(); {lines[line - 1]}"
    try:
        module = emulator.Module("\n".join(lines), name=asked["file"])
        _run(module.get_function(asked["kernel"]), asked["launches"][number], given, 0)
    except KernelError as error:
        return not str(error).startswith("g++") and _unwritten_at(error, asked["file"]) != line
    return True


def _unwritten_at(error: KernelError, file: str) -> int:
    """The line that reads shared memory that nobody had written; 0 for another error."""
    match = re.search(rf"{re.escape(file)}:(\d+): reads .*, which nobody in this block has written yet", str(error))
    return int(match[1]) if match else 0


def _run(function: Any, launch: dict, given: Any, seed: int) -> dict[str, np.ndarray]:
    """What one launch wrote, by the parameters' names."""
    arguments: list[Any] = []
    written: dict[str, np.ndarray] = {}
    for kind, name, value in launch["arguments"]:
        if kind == "array":
            arguments.append(emulator.asarray(given[value]))
        elif kind == "written":
            written[name] = emulator.empty(tuple(value))
            arguments.append(written[name])
        else:
            arguments.append(None if kind == "null" else np.dtype(kind).type(value))
    emulator.settings.seed = seed
    function((launch["blocks"],), (launch["threads"],), arguments)
    return {name: x.copy() for name, x in written.items()}


def _bounded() -> None:
    """No core file, and an end with the process that asks."""
    import ctypes
    import resource
    import signal

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


if __name__ == "__main__":
    _bounded()
    serve(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)

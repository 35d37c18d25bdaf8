"""What the process does in which a step is recorded with a learner's parts: see `page_process.py`."""

import io
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

from lessons.exercises import IN_STEP
from tinygpt.errors import UserError
from tinygpt.files import read_bytes
from tinygpt.gradcheck.child import bounded
from tinygpt.gradcheck.process import LONGEST
from tinygpt.gradcheck.runs import in_a_row
from tinygpt.own_layers import PARTS
from tinygpt.own_layers.folder import OwnLayers
from tinygpt.progress import heard_by
from tinygpt.recorder import record_step
from tinygpt.recorder.blame import InFile
from tinygpt.recorder.data import page_data
from tinygpt.recorder.parting import mark
from tinygpt.run.state import Parts

SECONDS = 600  # of computing, should nobody be there any more to end it


def serve(settings: dict[str, Any]) -> None:
    """Record, and write messages on what was the standard output, a line of JSON each; what a file prints goes nowhere,
    since a part is called some ten thousand times.
    """
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    printed = _Printed()
    sys.stdout = sys.stderr = io.TextIOWrapper(printed, "utf-8", "replace", write_through=True)
    bounded({"trace": settings["trace"], "seconds": SECONDS, "bounded": True})
    sys.breakpointhook = _no_debugger

    def tell(**said: Any) -> None:
        messages.write(json.dumps(said) + "\n")
        messages.flush()

    try:
        with heard_by(lambda now: tell(progress=astuple(now))):
            said = data_with_own(settings["text"], Path(settings["folder"]))
        if printed.size:
            said["remarks"].append(f"your files printed {printed.size:,} bytes, which are not shown here")
        tell(**said)
    except UserError as error:
        tell(error=str(error))
    finally:  # whatever a file has done to what this needs
        os._exit(0)


class _Printed(io.BufferedIOBase):
    """Takes what is printed, and counts it."""

    size = 0

    def writable(self) -> bool:
        return True

    def write(self, text: Any) -> int:
        self.size += len(text)
        return len(text)


def _no_debugger(*_: Any, **__: Any) -> None:
    raise RuntimeError("breakpoint() cannot stop while a step is recorded; take it out, or use lessons check")


def data_with_own(text: str, folder: Path) -> dict[str, Any]:
    """The page's data, under "data", of a step on `text` with the parts in `folder`, right or wrong; under "remarks"
    what there is to say of those. One that is not written, or raises, is left out. Raises UserError if there is none
    left, or if the engine can make nothing of what they return.
    """
    own = OwnLayers(folder)
    sources = {name: read_bytes(folder / PARTS[name].file, LONGEST) for name in _there(folder)}
    while True:
        try:
            mine = record_step(text, own=lambda copy: _copied(own, sources, copy))
            break
        except BaseException as error:  # whatever it is that a file raises
            _leave_out(own, sources, error)
    mine.parts = [name for name in sources if name in own.called()]
    idle = [name for name in sources if name not in mine.parts]
    of_no_use = [f"of no use in the step, since another part does the same and more: {in_a_row(idle)}"] if idle else []
    mark(mine, record_step(text, nudging=False))
    data = page_data(mine)
    if not mine.parts:
        data["mine"] = {"parts": [], "at": [], "says": f"The step has no use for what there is in {folder}."}
    return {"data": data, "remarks": [*_remarks(own), *of_no_use]}


def _there(folder: Path) -> list[str]:
    """The parts of a step that a folder holds."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; expected one with your files, such as lessons/work")
    there = [name for name in IN_STEP if (folder / PARTS[name].file).is_file()]
    if not there:
        raise UserError(
            f"{folder} holds no part of a training step; expected files such as layernorm.py, which "
            f"`python -m lessons start 7` begins for you"
        )
    sys.path.append(str(folder.resolve()))  # for their neighbours
    return there


def _copied(own: OwnLayers, sources: Mapping[str, bytes], copy: Callable[[str, str], Any]) -> Parts:
    """The parts as a run takes them, made of copies that tell what they do."""
    own.used = {}
    own.calls.clear()
    for name, source in sources.items():
        path = own.folder / PARTS[name].file
        module = copy(str(path), source)
        missing = [f for f in PARTS[name].functions if not callable(getattr(module, f, None))]
        if missing:
            raise _Lacking(name, f"{path} defines no function {missing[0]}")
        own.used[name] = module
    return own.parts


class _Lacking(Exception):
    """A file, by its part's name, lacks a function."""


def _leave_out(own: OwnLayers, sources: dict[str, bytes], error: BaseException) -> None:
    """Take out the part that an error came from, and keep why. Raises UserError if it came from none, or was the
    last.
    """
    raising = error.__cause__ if isinstance(error, UserError) and error.__cause__ else error
    if isinstance(error, _Lacking):
        name, why = error.args
    elif isinstance(error, InFile):
        name, why = next(name for name in sources if str(own.folder / PARTS[name].file) == error.file), str(error)
    else:
        raise error if isinstance(error, UserError) else UserError(own.blame(error)) from error
    del sources[name]
    if isinstance(raising, NotImplementedError):
        own.unwritten.append(name)
    else:
        own.left_out[name] = why
    if not sources:
        raise UserError(f"nothing in {own.folder} can be recorded: {'; '.join(_remarks(own))}") from error


def _remarks(own: OwnLayers) -> list[str]:
    blank = [f"not written yet in {own.folder}: {in_a_row(own.unwritten)}"] if own.unwritten else []
    return [*blank, *(f"{name} is left out: {why}" for name, why in own.left_out.items())]

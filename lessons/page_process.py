"""The step page's data, recorded with a learner's parts: in a process of its own, so that whatever a file of theirs
does is done to that process, and its end is a sentence. What that process does: `page_child.py`.
"""

import contextlib
import json
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from tinygpt.errors import UserError
from tinygpt.gradcheck.own_process import OwnProcess, killed_by
from tinygpt.progress import Progress, report

SILENCE = 60.0  # seconds without a word from the process, in which it tells at every array how far it is


def data_with_own(text: str, folder: Path, silence: float = SILENCE,
                  began: Callable[[OwnProcess], object] = lambda process: None) -> dict[str, Any]:  # fmt: skip
    """What `page_child.data_with_own` makes of a text and the parts in `folder`; how far it is, is reported. Raises
    UserError for what that raises, and where a part ends the process, or does not come back. began: is handed the
    process, so that it can be ended before.
    """
    with OwnProcess("lessons.page_child", {"text": text, "folder": str(folder)}) as process:
        began(process)
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=_lines, args=(process.popen.stdout, lines), daemon=True).start()
        while True:
            try:
                line = lines.get(timeout=silence)
            except queue.Empty:
                place = _place(process.where(_files(folder)), folder)
                says = f"had not come back after {silence:g} s; is there a loop without an end?"
                raise UserError(f"{place} {says}") from None
            if line is None:
                raise UserError(_ended(process, folder))
            said = _understood(line)
            if "progress" in said:
                report(Progress(*said["progress"]))
            elif "error" in said:
                raise UserError(said["error"])
            elif "data" in said:
                return said


def _lines(stream: IO[bytes], lines: queue.SimpleQueue) -> None:
    with contextlib.suppress(OSError, ValueError), stream:
        for line in stream:
            lines.put(line)
    lines.put(None)


def _understood(line: str) -> dict[str, Any]:
    """A message. Raises UserError for what is none, such as of a file that writes there too."""
    try:
        said = json.loads(line)
        if isinstance(said, dict):
            return said
    except (ValueError, RecursionError):
        pass
    raise UserError("what came back from the process that recorded your parts cannot be read; does one write there?")


def _ended(process: OwnProcess, folder: Path) -> str:
    """Why nothing came of a process that is no more."""
    status, place = process.status(), _place(process.written(_files(folder)), folder)
    if status is None:
        return f"{place} closed what its process answers on; it should only define functions"
    if name := killed_by(status):
        return f"{place}: the process that recorded the step was ended by {name}"
    return f"{place} ended the process that recorded the step, with status {status}"


def _files(folder: Path) -> list[Path]:
    """What a learner's code may be in, by either name that Python may have for it."""
    return [where / path.name for path in sorted(folder.glob("*.py")) for where in (folder, folder.resolve())]


def _place(at: tuple[Path, int] | None, folder: Path) -> str:
    return f"{folder / at[0].name}, line {at[1]}," if at else f"a part in {folder}"

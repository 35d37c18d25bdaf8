"""The card's time for each source line of a step."""

import itertools
from typing import Any

from report import ROOT


class Lines:
    """The card's time for each line of layers, model and optimiser: events between them, set by a trace function. What
    a twin does within is its line's; only the one that stands for the model's page is traced as that is.
    """

    NAMES = "layers", "models", "optim", "parallel.py", "parameters.py", "kernels/cuda/stack.py"
    FILES = tuple(str(ROOT / "tinygpt" / name) for name in NAMES)

    def __init__(self) -> None:
        self.under_way: list[tuple[str, int]] = [("", 0)]  # the line that each function has reached, outermost first
        self.marks: list[tuple[tuple[str, int], Any]] = []
        self.runs: dict[tuple[str, int], int] = {}

    def trace(self, frame: Any, what: str, _: Any) -> Any:
        import cupy

        if not frame.f_code.co_filename.startswith(self.FILES):
            return None
        if what == "call":
            self.under_way.append(("", 0))
        elif what == "return":
            self.under_way.pop()
        elif what == "line":
            line = self.under_way[-1] = frame.f_code.co_filename, frame.f_lineno
            self.runs[line] = self.runs.get(line, 0) + 1
        event = cupy.cuda.Event()
        event.record()
        self.marks.append((self.under_way[-1], event))
        return self.trace

    def milliseconds(self) -> dict[tuple[str, int], float]:
        """By line, the time from each of its marks to the next, whosever that is; after a synchronisation."""
        import cupy

        sums: dict[tuple[str, int], float] = {}
        for (line, start), (_, end) in itertools.pairwise(self.marks):
            sums[line] = sums.get(line, 0.0) + cupy.cuda.get_elapsed_time(start, end)
        return sums

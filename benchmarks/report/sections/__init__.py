"""The sections, one a file: its docstring is what it asks, and `run` finds the answer and tells a Report.

PLACE orders them. SECONDS is a section's share of eight minutes; None is for one that measures no time: such sections
run side by side, as many as follow each other, and share TOGETHER. NEEDS_CORPUS says that a section reads a text.
"""

import pkgutil
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import NamedTuple

from report.report import Report

TOGETHER = 120


class Section(NamedTuple):
    question: str
    timed: bool
    seconds: float
    needs_corpus: bool
    run: Callable[[Report], None]


def _section(file: ModuleType) -> Section:
    timed = file.SECONDS is not None
    question = (file.__doc__ or "").splitlines()[0]
    needs_corpus = getattr(file, "NEEDS_CORPUS", False)
    return Section(question, timed, file.SECONDS if timed else TOGETHER, needs_corpus, file.run)


_files = {name: import_module(f"{__name__}.{name}") for _, name, _ in pkgutil.iter_modules(__path__)}
SECTIONS = {
    name.replace("_", "-"): _section(file) for name, file in sorted(_files.items(), key=lambda item: item[1].PLACE)
}

"""A folder of a reader's own parts, and the way to their places.

Layers, and what generation needs, stand in the ops table. What else there is has a place of its own: AdamW's update in
the optimiser, the BPE merge step in the tokenizer's training, the cutting of windows in the corpus, and the numerical
gradient in the check of all the others.
"""

import difflib
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tinygpt.data import windows_at
from tinygpt.errors import UserError
from tinygpt.gradcheck.diagnosis import raised
from tinygpt.layers import lm_head_loss
from tinygpt.mine.checking import load_and_check
from tinygpt.mine.parts import PARTS
from tinygpt.ops import Ops
from tinygpt.optim import adamw_update
from tinygpt.tokenizer import merge


@dataclass
class Mine:
    """The parts of a folder. used: those that a run takes in, by name; left_out: those that are wrong, with what is
    wrong; unchecked: those of `used` that are wrong and were asked for all the same, likewise; unwritten: the rest.
    unknown: files whose names are nearly a part's, with that part's.
    """

    folder: Path
    used: dict[str, ModuleType] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    unchecked: dict[str, str] = field(default_factory=dict)
    unwritten: list[str] = field(default_factory=list)
    unknown: dict[str, str] = field(default_factory=dict)

    def table(self, ops: Ops) -> Ops:
        """The table of layers with the reader's in their places."""
        names = [name for name in self.used if hasattr(ops, name)]
        entries: dict[str, Any] = {name: self._entry(name) for name in names}
        if {"linear", "cross_entropy"} & entries.keys():  # a fast twin would go without them
            entries.setdefault("lm_head_loss", lm_head_loss)
        if "softmax" in self.used:
            entries["probabilities"] = _with_softmax(
                entries.get("probabilities", ops.probabilities), self.used["softmax"]
            )
        return ops.replace(**entries)

    def _entry(self, name: str) -> Any:
        module = self.used[name]
        return module if PARTS[name].is_layer else getattr(module, PARTS[name].functions[0])

    @property
    def merge(self) -> Callable:
        return self._entry("merge") if "merge" in self.used else merge

    @property
    def windows_at(self) -> Callable:
        return self._entry("windows_at") if "windows_at" in self.used else windows_at

    @property
    def adamw_update(self) -> Callable:
        return self._entry("adamw_update") if "adamw_update" in self.used else adamw_update

    def blame(self, error: BaseException) -> str:
        """What a part of the reader's raised while it was used, and where, or what came of it in the engine."""
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if Path(frame.filename).resolve().parent == self.folder.resolve():
                return f"{self.folder / Path(frame.filename).name}, line {frame.lineno}, {raised(error)}"
        return f"the engine could not use what one of your parts ({', '.join(self.used)}) returned: {raised(error)}"


def load_mine(folder: str | Path, unchecked: bool = False) -> Mine:
    """The parts in `folder` that pass their checks; with `unchecked` also those that are written and do not.

    Raises UserError if there is no such folder or no part in it.
    """
    mine = Mine(Path(folder))
    found = [part for part in PARTS.values() if (mine.folder / f"{part.name}.py").is_file()]
    if not found:
        what = "holds no part of the engine" if mine.folder.is_dir() else "is no folder"
        raise UserError(
            f"{folder} {what}; expected files such as layernorm.py, which `python -m lessons start 7` begins for you; "
            f"a run that was begun with your parts goes on without them with --mine="
        )
    for path in sorted(mine.folder.glob("*.py")):
        if path.stem not in PARTS and (near := difflib.get_close_matches(path.stem, PARTS, n=1, cutoff=0.8)):
            mine.unknown[path.stem] = near[0]
    for part in found:
        module, checked = load_and_check(part, mine.folder / f"{part.name}.py", seed=0)
        if not checked.written:
            mine.unwritten.append(part.name)
        elif module is not None and (checked.passed or unchecked):
            mine.used[part.name] = module
            if not checked.passed:
                mine.unchecked[part.name] = checked.wrong
        else:
            mine.left_out[part.name] = checked.wrong
    return mine


def _with_softmax(rule: Callable, softmax: Any) -> Callable:
    def probabilities(
        logits: np.ndarray, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
    ) -> np.ndarray:
        return rule(logits, temperature, top_k, top_p, softmax)

    return probabilities

"""A folder of a reader's own parts, and the way to their places.

Leaves stand in the ops table; what is made of them, and the rules of sampling, in the model; AdamW's update in the
optimiser, the BPE merge in the tokenizer's training, the cutting of windows in the corpus.
"""

import difflib
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from tinygpt.backend import Array
from tinygpt.errors import UserError
from tinygpt.gradcheck import own_file
from tinygpt.gradcheck.runs import raised
from tinygpt.layers import attention as engine_attention
from tinygpt.models.gpt2 import GPT
from tinygpt.own_layers.judge import PARTS, check
from tinygpt.run.state import Parts


@dataclass
class OwnLayers:
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

    @property
    def parts(self) -> Parts:
        """The reader's parts in the places where a run takes them."""
        model = {name: self._entry(name) for name in self.used if hasattr(GPT, name)}
        if "block" in model:
            model["block"] = _RememberingBlock(model["block"])
        leaves: dict[str, Any] = {n: m for n, m in self.used.items() if PARTS[n].is_layer and n not in model}
        if "attention_decode" in self.used:
            attention = leaves.get("attention", engine_attention)
            leaves["attention"] = SimpleNamespace(**vars(attention) | {"decode": self._entry("attention_decode")})
        optimizers = {"adamw": {"update": self._entry("adamw_update")}} if "adamw_update" in self.used else {}
        others = {name: self._entry(name) for name in ("merge", "windows_at") if name in self.used}
        return Parts(leaves, model, optimizers, **others)

    def _entry(self, name: str) -> Any:
        module = self.used[name]
        return module if PARTS[name].is_layer else getattr(module, PARTS[name].functions[0])

    def summary(self) -> str:
        """The parts that are taken in, in a line."""
        names = [name for name in self.used if name != "numerical_gradient"]
        checking = "numerical_gradient in the checks" if "numerical_gradient" in self.used else ""
        return "; ".join(filter(None, (", ".join(names), checking))) or "nothing yet"

    def remarks(self) -> Iterator[str]:
        """What else there is to say of them: which are left out, and which are wrong or misnamed."""
        for name, near in self.unknown.items():
            yield f"{self.folder / name}.py is no part of the engine; did you mean {near}.py?"
        if self.unwritten:
            yield f"not written yet in {self.folder}: {', '.join(self.unwritten)}"
        for name, wrong in (self.left_out | self.unchecked).items():
            what = "left out" if name in self.left_out else "taken in all the same"
            first_line = wrong.partition("\n")[0]
            yield f"{self.folder / name}.py does not pass its check and is {what}: {first_line}"

    def blame(self, error: BaseException) -> str:
        """What a part of the reader's raised while it was used, and where, or what came of it in the engine."""
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if Path(frame.filename).resolve().parent == self.folder.resolve():
                return f"{self.folder / Path(frame.filename).name}, line {frame.lineno}, {raised(error)}"
        return f"the engine could not use what one of your parts ({', '.join(self.used)}) returned: {raised(error)}"


def load_own_layers(folder: str | Path, unchecked: bool = False) -> OwnLayers:
    """The parts in `folder` that pass their checks, or with `unchecked` all that give any answer in them. Those that a
    run takes in are loaded into this process, which runs them. Raises UserError if the folder holds none.
    """
    own = OwnLayers(Path(folder))
    found = [part for part in PARTS.values() if (own.folder / f"{part.name}.py").is_file()]
    if not found:
        what = "holds no part of the engine" if own.folder.is_dir() else "is no folder"
        raise UserError(
            f"{folder} {what}; expected files such as layernorm.py, which `python -m lessons start 7` begins for you; "
            f"a run that was begun with your parts goes on without them with --mine="
        )
    for path in sorted(own.folder.glob("*.py")):
        if path.stem not in PARTS and (near := difflib.get_close_matches(path.stem, PARTS, n=1, cutoff=0.8)):
            own.unknown[path.stem] = near[0]
    sys.path.append(str(own.folder.resolve()))  # for their neighbours, whenever they are imported
    verdicts = [check(part.name, own.folder / f"{part.name}.py") for part in found]  # all, before any is loaded here
    for part, checked in zip(found, verdicts, strict=True):
        path = own.folder / f"{part.name}.py"
        if not checked.written:
            own.unwritten.append(part.name)
        elif checked.passed or unchecked and checked.answered:
            try:
                own.used[part.name] = own_file.load(path, checked.source, part.functions)
            except (Exception, SystemExit) as error:
                own.left_out[part.name] = f"{own_file.where(path, error)} {raised(error)}"
                continue
            if not checked.passed:
                own.unchecked[part.name] = checked.wrong
        else:
            own.left_out[part.name] = checked.wrong
    return own


class _RememberingBlock:
    """A reader's block that can decode too: to it nothing changes, but the attention that it is handed stores the new
    keys and values among those before, and looks at all of them.
    """

    def __init__(self, block: Any):
        self.forward, self.backward = block.forward, block.backward

    def decode(
        self, x: Array, params: Mapping[str, Array], keys: Array, values: Array, start: int, *settings: Any, ops: Any
    ) -> Array:
        """As `Block.decode` in `models/gpt2.py`."""
        end = start + x.shape[1]

        def forward(qkv: Array, n_head: int, *_: Any) -> tuple[Array, tuple]:
            q, keys[:, :, start:end], values[:, :, start:end] = engine_attention.split_heads(qkv, n_head)
            decode = getattr(ops.attention, "decode", engine_attention.decode)
            return decode(q, keys[:, :, :end], values[:, :, :end]), ()

        return self.forward(x, params, *settings, ops=ops.replace(attention=SimpleNamespace(forward=forward)))[0]

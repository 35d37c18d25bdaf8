"""A folder of a reader's own parts: which are right, and which of those a run has used."""

import difflib
import functools
import hashlib
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from tinygpt.errors import UserError
from tinygpt.gradcheck import own_file
from tinygpt.gradcheck.runs import raised
from tinygpt.own_layers import kernels
from tinygpt.own_layers.judge import PARTS, SECOND, Checked, check
from tinygpt.own_layers.kernels.judge import NotHere
from tinygpt.own_layers.kernels.leaf import KernelLayerNorm, Otherwise
from tinygpt.own_layers.places import places
from tinygpt.run.state import Parts


@dataclass
class OwnLayers:
    """The parts of a folder. used: those that a run takes in, by name; left_out: those that are wrong, with what is
    wrong; unchecked: those of `used` that are wrong and were asked for all the same, likewise; unwritten: the rest.
    unknown: files whose names are nearly that of a part's file, with that.
    """

    folder: Path
    used: dict[str, ModuleType] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    unchecked: dict[str, str] = field(default_factory=dict)
    unwritten: list[str] = field(default_factory=list)
    unknown: dict[str, str] = field(default_factory=dict)

    # of a part's functions, by its name and theirs; exact in one thread
    calls: Counter = field(default_factory=Counter)
    asked: bool = False  # whether the reader's numerical gradient was, in the checks

    @property
    def parts(self) -> Parts:
        """The reader's parts in the places where a run takes them, each counting its calls."""
        return places({name: self.part(name) for name in self.used})

    def part(self, name: str) -> Any:
        """A part as a run takes it in, a layer or a function, counting its calls."""
        module, part = self.used[name], PARTS[name]
        if part.is_kernel:
            return functools.partial(self._kernel, name)
        functions = {function: self._counted(name, function) for function in part.functions}
        if not part.is_layer:
            return functions[part.functions[0]]
        layer = SimpleNamespace(**vars(module) | functions)
        return _where_it_drops(layer, module) if name == "dropout" else layer

    def _counted(self, name: str, called: str) -> Callable:
        function = getattr(self.used[name], called)

        @functools.wraps(function)
        def counted(*arguments: Any, **named: Any) -> Any:
            self.calls[name, called] += 1
            return function(*arguments, **named)

        return counted

    def _kernel(self, name: str, otherwise: Any) -> Any:
        leaf = KernelLayerNorm(self.used[name], otherwise)

        def forward(*arguments: Any, **named: Any) -> tuple[Any, tuple]:
            out, cache = leaf.forward(*arguments, **named)
            self.calls[name, "forward"] += not isinstance(cache, Otherwise)
            return out, cache

        return SimpleNamespace(forward=forward, backward=leaf.backward)

    def called(self) -> dict[str, dict[str, int]]:
        """The parts that were called so far: of each its functions that were, and how often."""
        found: dict[str, dict[str, int]] = {}
        for name in self.used:
            if calls := {function: n for (of, function), n in self.calls.items() if of == name and n}:
                found[name] = calls
        return found

    def loaded(self) -> str:
        """The parts that there are for a run to take in, in a line."""
        return f"{', '.join(self.used) or 'nothing yet'}, from {self.folder}"

    def summary(self) -> str:
        """The parts that were used so far, in a line."""
        checking = "numerical_gradient in the checks" * self.asked
        why_none = "the run had no use for it" if self.used else "there was nothing to take in"
        return "; ".join(filter(None, (", ".join(self.called()), checking))) or f"nothing: {why_none}"

    def remarks(self) -> Iterator[str]:
        """What else there is to say of them: which are left out, and which are wrong or misnamed."""
        for name, near in self.unknown.items():
            yield f"{self.folder / name} is no part of the engine; did you mean {near}?"
        if self.unwritten:
            yield f"not written yet in {self.folder}: {', '.join(self.unwritten)}"
        for name, wrong in (self.left_out | self.unchecked).items():
            what = "left out" if name in self.left_out else "taken in all the same"
            first_line = wrong.partition("\n")[0]
            yield f"{self.folder / PARTS[name].file} does not pass its check and is {what}: {first_line}"

    def blame(self, error: BaseException) -> str:
        """What a part of the reader's raised while it was used, and where, or what came of it in the engine."""
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if Path(frame.filename).resolve().parent == self.folder.resolve():
                return f"{self.folder / Path(frame.filename).name}, line {frame.lineno}, {raised(error)}"
        return f"the engine could not use what one of your parts ({', '.join(self.used)}) returned: {raised(error)}"


def load_own_layers(
    folder: str | Path, unchecked: bool = False, names: Collection[str] = tuple(PARTS), known: Mapping[str, str] = {}
) -> OwnLayers:
    """The parts in `folder` that pass their checks, or with `unchecked` all that give any answer in them. Those that a
    run takes in are loaded into this process, which runs them. Raises UserError if the folder holds none.

    names: which to look for. known: by name, the SHA-256 of a file that has passed, and is not checked again.
    """
    own = OwnLayers(Path(folder))
    found = [part for part in PARTS.values() if part.name in names and (own.folder / part.file).is_file()]
    if not found:
        what = "holds no part of the engine" if own.folder.is_dir() else "is no folder"
        raise UserError(
            f"{folder} {what}; expected files such as layernorm.py, which `python -m lessons start 7` begins for you; "
            f"a run that was begun with your parts goes on without them with --mine="
        )
    files = [part.file for part in PARTS.values()]
    for path in sorted((*own.folder.glob("*.py"), *own.folder.glob("*.cu"))):
        if path.name not in files and (near := difflib.get_close_matches(path.name, files, n=1, cutoff=0.8)):
            own.unknown[path.name] = near[0]
    sys.path.append(str(own.folder.resolve()))  # for their neighbours, whenever they are imported
    # all, before any is loaded here
    verdicts = [_checked(part.name, own.folder / part.file, known.get(part.name, "")) for part in found]
    for part, checked in zip(found, verdicts, strict=True):
        path = own.folder / part.file
        if not checked.written:
            own.unwritten.append(part.name)
        elif checked.passed or unchecked and checked.answered:
            own.asked |= SECOND in checked.beside
            try:
                load = own_file.load if not part.is_kernel else kernels.load
                own.used[part.name] = load(path, checked.source, part.functions)
            except (Exception, SystemExit) as error:
                own.left_out[part.name] = f"{own_file.where(path, error)} {raised(error)}"
                continue
            if not checked.passed:
                own.unchecked[part.name] = checked.wrong
        else:
            own.left_out[part.name] = checked.wrong
    return own


def _checked(name: str, path: Path, known: str) -> Checked:
    """The verdict; a kernel that cannot be checked on this machine gives its answer on a card."""
    source = path.read_bytes()
    if hashlib.sha256(source).hexdigest() == known:
        return Checked(True, "", source=source)
    try:
        return check(name, path)
    except NotHere as error:
        return Checked(False, str(error), str(error), source=path.read_bytes())


def _where_it_drops(counting: Any, dropout: Any) -> Any:
    """Dropout whose calls count where something is dropped; a model asks for it with a probability of 0 too."""

    def forward(x: Any, probability: float, *place: Any) -> tuple[Any, tuple]:
        layer = counting if probability > 0 else dropout
        out, cache = layer.forward(x, probability, *place)
        return out, (layer, cache)

    return SimpleNamespace(forward=forward, backward=lambda dout, cache: cache[0].backward(dout, cache[1]))

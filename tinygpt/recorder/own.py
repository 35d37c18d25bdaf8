"""A reader's own parts in a step that is recorded: instrumented copies of them, and of what hands on to them."""

import copy
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import decode_source
from pathlib import Path
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import tinygpt
from tinygpt.errors import UserError
from tinygpt.gradcheck.runs import raised
from tinygpt.recorder.blame import InFile, unfitting
from tinygpt.recorder.instrument import HOOKS, instrumented, instrumented_function
from tinygpt.recorder.recorder import Recorder
from tinygpt.recorder.recording import Call
from tinygpt.recorder.values import OWN
from tinygpt.run.state import Parts

PLACES = "tinygpt.own_layers.places"  # what moves arrays on their way to a reader's part
ADAPTERS, LEAVES = "tinygpt.own_layers.", "tinygpt.layers."
ROOT = Path(tinygpt.__file__).parents[1]

Own = Callable[[Callable[[str | Path, str | bytes], ModuleType]], Parts]


class OwnParts:
    """What a recorded step computes with in place of the engine's own. files: those that were copied; names: theirs."""

    def __init__(self, own: Own, recorder: Recorder, leaves: Mapping[str, ModuleType]):
        self.files: list[str] = []
        self._recorder, self._leaves = recorder, leaves
        self._told: dict[int, tuple[Any, Any]] = {}
        self._scopes: dict[str, dict[str, Any]] = {}
        parts = own(self._copy)
        self.parts = replace(parts, leaves=self._each(parts.leaves), model=self._each(parts.model))

    @property
    def names(self) -> list[str]:
        return [Path(file).stem for file in self.files]

    def _copy(self, path: str | Path, source: str | bytes) -> ModuleType:
        """A reader's file as a module that tells what it does. Raises UserError for what it raises."""
        file = str(path)
        self.files.append(file)
        try:
            text = decode_source(source) if isinstance(source, bytes) else source
            return instrumented(text, file, self._recorder, OWN + Path(file).stem, mine=True)
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            raise self.blame(error) from error

    def _each(self, parts: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._telling(part) for name, part in parts.items()}

    def _telling(self, part: Any) -> Any:
        """A part whose functions tell what they do, those of the engine's that stand around a reader's included."""
        if id(part) not in self._told:
            self._told[id(part)] = part, self._made_telling(part)
        return self._told[id(part)][1]

    def _made_telling(self, part: Any) -> Any:
        if isinstance(part, ModuleType):
            return self._leaves[part.__name__.removeprefix(LEAVES)] if part.__name__.startswith(LEAVES) else part
        if isinstance(part, FunctionType):
            return self._function(part)
        if isinstance(part, SimpleNamespace):
            return SimpleNamespace(**self._each(vars(part)))
        if type(part).__module__.startswith(ADAPTERS):
            told = copy.copy(part)
            vars(told).update(self._each(vars(part)))
            return told
        return part

    def _function(self, function: FunctionType) -> FunctionType:
        scope, file = function.__globals__, Path(function.__code__.co_filename)
        module = str(scope.get("__name__"))
        if HOOKS in scope:
            return function
        if module.startswith(LEAVES):
            return getattr(self._leaves[module.removeprefix(LEAVES)], function.__name__)
        if not module.startswith(ADAPTERS):
            return function
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        held = {name: self._telling(cell.cell_contents) for name, cell in cells}
        if module not in self._scopes:
            self._scopes[module] = {
                name: self._telling(value) if isinstance(value, ModuleType) else value for name, value in scope.items()
            } | {HOOKS: self._recorder}
        said = file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else file.name
        text = file.read_text(encoding="utf-8") if module == PLACES else ""  # what only counts moves nothing
        return instrumented_function(function, text, said, self._recorder, self._scopes[module], held)

    def blame(self, error: BaseException, engine: Callable[[], Sequence[Call]] = lambda: []) -> UserError:
        """What a reader's part returned that has not the form of what the engine's returns in its place, or raised, and
        where; or what came of it in the engine. engine: gives the calls of the engine's own step.
        """
        if isinstance(error, SyntaxError) and error.filename in self.files:
            return InFile(f"{error.filename}, line {error.lineno}, {raised(error)}", error.filename)
        if self._recorder.calls and (unfit := unfitting(self._recorder.calls, engine())):
            return unfit
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if frame.filename in self.files:
                return InFile(f"{frame.filename}, line {frame.lineno}, {raised(error)}", frame.filename)
        if last := self._recorder.last_mine:
            what = f"the engine could not use what {last.function} returned: it {raised(error)}"
            return UserError(f"{last.file}, line {last.line}: {what}")
        return InFile(f"{self.files[-1]} cannot be read: {raised(error)}", self.files[-1])

"""Who listens to the instrumented copies, keeps every array that they make, and nudges it."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tinygpt.recorder.derivatives import CONSTANT, NOBODY, made_from, reads_of
from tinygpt.recorder.instrument import VALUE, Statement
from tinygpt.recorder.memory import Memory
from tinygpt.recorder.recording import Array, Call, Terms
from tinygpt.recorder.values import (
    Path,
    as_array,
    copied,
    form,
    is_coarse,
    is_numbers,
    leaves,
    like,
    put,
    taken,
    written,
)


class _Before(NamedTuple):
    """The names that a statement reads, copied before it ran, and the originals of the numbers in them; and what calls
    in it have returned, by made-up names.
    """

    names: dict[str, Any]
    originals: dict[tuple[str, Path], Any]

    def take(self, value: Any) -> None:
        name = f"{RESULT}{len(self.names)}"
        self.originals.update({(name, path): numbers for path, numbers in leaves(value)})
        self.names[name] = copied(value)


RESULT = "result of call "


class _Span(NamedTuple):  # of a forward call
    moment: int  # at which it ended
    ordinal: int  # of the last call in it
    value: Any  # what it returned


class Recorder(Memory):
    """The hooks of instrumented modules. While `recording`, every array is kept; else one may be nudged. With
    `shapes_alone` it is not asked what arrays are made from.
    """

    def __init__(self, shapes_alone: bool = False) -> None:
        super().__init__()
        self.shapes_alone = shapes_alone
        self.recording = self.answered = False
        self.calls: list[Call] = []
        self.backward = False  # whether the step is on its way back
        self.coarse = False  # whether a forward array is in less than float64
        self.last_mine: Call | None = None  # the reader's function that was called last
        self._statements: list[Statement] = []
        self._functions: list[tuple[str, str, str, int, list[str], bool]] = []
        self._stack: list[Call] = []
        self._before: dict[int, _Before] = {}  # of each call that is going on
        self._unnamed: set[int] = set()  # arrays whose name is but a stand-in for the first that they get
        self._grads: dict[str, np.ndarray] = {}  # of each parameter, the numbers of its gradient's elements so far
        self._heard: list[bool] = []
        self._moment = self._target = self._ordinal = self._since = -1
        self._nudging: Array | None = None
        self._nudge: Any = None
        self._spans: dict[int, _Span] = {}
        self._answer: Any = None
        self._results: list[Any] = []  # of calls, while the line that they are in is run again

    # Said by the instrumented copies before they run

    def statement(self, statement: Statement) -> int:
        self._statements.append(statement)
        return len(self._statements) - 1

    def function(self, module: str, name: str, file: str, line: int, parameters: list[str], mine: bool) -> int:
        self._functions.append((module, name, file, line, parameters, mine))
        return len(self._functions) - 1

    # Said while they run

    def entered(self, number: int, given: dict[str, Any]) -> Call | None:
        """A function begins. Where what it returns is known beforehand, it is `answered`."""
        self._ordinal += 1
        if self._results:  # a line is run again, which begins where this has returned
            self._answer, self.answered = self._results.pop(0), True
            return None
        if not self.recording:
            span = self._spans.get(self._ordinal)
            if span is not None and span.moment < self._since:
                self._moment, self._ordinal, self._answer, self.answered = *span, True
            return None
        parent = self._stack[-1] if self._stack else None
        call = Call(len(self.calls), *self._functions[number], parent, self.backward, self._moment + 1, self._ordinal)
        self.last_mine = call if call.mine else self.last_mine
        if parent and call.helper:
            parent.helpers.append(call)
        self.calls.append(call)
        self._stack.append(call)
        for parameter in call.parameters:
            value = given.get(parameter)
            if isinstance(value, float) and not (parent and parent.mine) and self._source(value)[0] == NOBODY:
                self._constants.update(self._kept(value))  # a setting
            array = self.known(value)
            call.arguments.append(array)
            if isinstance(value, np.ndarray) and is_numbers(value):
                call.takes.append(parameter)
            if array is not None:
                call.named.append((parameter, array))
        call.of = self._forward_of(call, list(given.values())) if self.backward else None
        call.parameters_given = self._parameters_in(given)
        return call

    def answer(self) -> Any:
        self.answered = False
        return self._answer

    def before(self, call: Call, site: int, names: dict[str, Any]) -> None:
        """A statement begins, where these names are known."""
        while self._stack[-1] is not call:  # of those that raised something that was caught
            self._stack.pop()
        if self.shapes_alone:
            return
        statement = self._statements[site]
        held = {n: names[n] if n in names else statement.scope.get(n) for n in statement.reads}
        held = {n: value for n, value in held.items() if n in names or any(True for _ in leaves(value))}
        originals = {(n, path): numbers for n, value in held.items() for path, numbers in leaves(value)}
        self._before[call.number] = _Before({n: copied(value) for n, value in held.items()}, originals)

    def made(self, call: Call | None, site: int, name: str, value: Any) -> Any:
        """A statement has given a value to a name, or may have written into it."""
        self._moment += 1
        if self._moment == self._target:
            return self._nudged(value)
        if self.recording and call is not None:
            for path, numbers in list(leaves(value)):
                known = self.known(numbers)
                if path and (known is not None or not call.owned):
                    continue  # it has a name, as all that the engine's own caches hold has
                if known is not None:
                    self._also(call, name, known)
                elif self._is_new(call, site, path, numbers):
                    self._add(call, site, written(name, path), name, path, numbers)
        return value

    def inner(self, call: Call | None, site: int, names: dict[str, Any], value: Any) -> Any:
        """Something has been computed on its way into a layer."""
        self._moment += 1
        if self._moment == self._target:
            return self._nudged(value)
        if self.recording and call is not None and is_numbers(value) and self._source(value).min() < 0:
            around = self._before.get(call.number)
            self.before(call, site, names)
            if array := self._add(call, site, "sum", VALUE, (), value):
                self._unnamed.add(array.id)
            if around is not None:
                self._before[call.number] = around
        return value

    def left(self, call: Call | None, site: int | None, moved: tuple[bool, ...], value: Any) -> Any:
        """A function returns. moved: of each part of what it returns, whether it is moved only, and not computed."""
        self._moment += 1
        if self._moment == self._target:
            return self._nudged(value)
        if not self.recording or call is None:
            return value
        for path, numbers in list(leaves(value)):
            assert site is not None
            place = path[0] if path and isinstance(value, tuple | list) else 0
            if path[1:] and not call.owned:  # only of a reader's are caches looked through
                continue
            only_moved = len(moved) > place and moved[place]
            known = self.known(numbers) or (self._same_as_last(call, numbers) if only_moved else None)
            handed_on = call.helper and only_moved and not call.owned
            if known is None and not handed_on and self._is_new(call, site, path[1:], numbers):
                known = self._add(call, site, self._result_name(call, place, path), VALUE, path, numbers)
                if known and call.helper:
                    self._unnamed.add(known.id)
        parts = value if isinstance(value, tuple | list) and not is_numbers(value) else [value]
        call.form, call.end = form(value, call.backward), self._statements[site].line if site is not None else call.line
        call.results = [self.known(part) for part in parts]
        if not call.helper:
            there = leaves(parts[0] if not call.backward else value)
            call.returned = {path: (as_array(numbers), self.known(numbers)) for path, numbers in there}
        call.cache = parts[1] if len(parts) == 2 and not call.backward else None
        while self._stack.pop() is not call:
            pass
        self._before.pop(call.number, None)
        if self._stack and self._stack[-1].number in self._before:
            self._before[self._stack[-1].number].take(value)
        if not call.backward:
            self._spans[call.ordinal] = _Span(self._moment, self._ordinal, value)
        return value

    def added(self, call: Call | None, site: int, target: Any, key: Any, value: Any) -> None:
        """target[key] += value, which adds to a parameter's gradient where target is the model's."""
        if not self.recording or call is None or not isinstance(key, str) or isinstance(target, dict):
            return
        value = value if is_numbers(value) else np.full(1, np.nan)
        part = np.broadcast_to(self._source(value).reshape(np.shape(value)), np.shape(target[key])).ravel()
        if key not in self._grads:
            self._grads[key] = part
            return
        before, of = self._grads[key], np.arange(part.size)
        array = self._new(call, site, f"d{key}", np.array(target[key]))
        if NOBODY not in before and NOBODY not in part:
            numbers = np.concatenate([before, part])
            array.terms = self._terms(np.concatenate([of, of]), numbers, np.ones(numbers.size))
        self._register(array, array.values)
        self._grads[key] = self._starts[array.id] + of

    def quiet(self, on: bool) -> None:
        """Whether to hear nothing until told otherwise: in a loop, which is told of as a whole."""
        if on:
            self._heard.append(self.recording)
            self.recording = False
        else:
            self.recording = self._heard.pop()

    # What is known

    def _is_new(self, call: Call, site: int, within: Path, numbers: Any) -> bool:
        """Whether numbers that are no array yet were made by this statement, and not handed on by it. within: where in
        what holds others, such as a cache.
        """
        statement = self._statements[site]
        if statement.unpacks is not None and not isinstance(numbers, np.ndarray):
            return False
        if statement.makes_room:
            self._constants.update(self._kept(numbers))
            return False
        sources = self._source(numbers)
        if isinstance(numbers, float) and sources[0] == CONSTANT:
            return False
        if within and sources.min() >= 0:  # a view
            return False
        held = self._before.get(call.number)
        taken = held is not None and statement.unpacks is not None and not is_numbers(held.names.get(statement.unpacks))
        return not taken

    def gradient_of(self, name: str) -> Array | None:
        """The array that is a parameter's whole gradient, if one is."""
        numbers = self._grads.get(name)
        if numbers is None or numbers[0] < 0:
            return None
        array = self._array_of(int(numbers[0]))
        return array if np.array_equal(numbers, self._starts[array.id] + np.arange(array.values.size)) else None

    def _add(self, call: Call, site: int, name: str, result: str, path: Path, numbers: Any) -> Array | None:
        """A new array; None for floats that are made of nothing, and so constants, or of what nobody knows."""
        made = self._new(call, site, name, numbers)
        made.within = path
        if not self.shapes_alone:
            made.terms = self._made_from(call, site, result, path, numbers)
        if not hasattr(numbers, "dtype") and (made.terms is None or not len(made.terms.of)):
            self._constants.update(self._kept(numbers) if made.terms is not None else ())
            return None
        self.coarse |= not call.backward and is_coarse(numbers)
        call.named.append((name, made))
        return self._register(made, numbers)

    def _new(self, call: Call, site: int, name: str, numbers: Any) -> Array:
        said, kind = self._statements[site], "backward" if self.backward else "forward"
        where = said.file, said.line, said.end, said.code, said.comment
        return Array(len(self.arrays), name, kind, as_array(numbers), call, *where, self._moment)

    def _made_from(self, call: Call, site: int, result: str, path: Path, numbers: Any) -> Terms | None:
        held = self._before.get(call.number)
        if held is None:
            return None

        def sources(name: str, place: Path) -> np.ndarray:
            """Of the numbers there: those whose values are others than when they were recorded are nobody's."""
            found = self._source(held.originals[name, place])
            values = as_array(taken(held.names[name], place)).ravel()
            recorded = np.array([self._values[n] if n >= 0 else np.nan for n in found])
            stale = (found >= 0) & ~((recorded == values) | np.isnan(recorded) & np.isnan(values))
            return np.where(stale, NOBODY, found)

        statement = self._statements[site]
        with self._aside(statement.scope):
            names, reads = held.names, reads_of(held.names, sources)
            if any(read.name.startswith(RESULT) and NOBODY in read.sources for read in reads):  # it is run all through
                names = {name: value for name, value in names.items() if not name.startswith(RESULT)}
                reads = [read for read in reads if read.name in names]
            made = made_from(statement, result, path, numbers, names, reads, self._begin)
        return None if made is None else self._terms(*made)

    def _begin(self, given: dict[str, Any]) -> None:
        """A line is about to be run again."""
        self._results = [value for name, value in given.items() if name.startswith(RESULT)]

    @contextlib.contextmanager
    def _aside(self, scope: dict[str, Any]) -> Iterator[None]:
        """Something is run that is not of the step."""
        kept, names = (self.recording, self._moment, self._ordinal), dict(scope)
        self.recording = False
        try:
            yield
        finally:
            self.recording, self._moment, self._ordinal = kept
            self._results, self.answered = [], False
            scope.clear()
            scope.update(names)

    def _same_as_last(self, call: Call, numbers: Any) -> Array | None:
        """The array that a call named last, where these are but a copy of it, such as out.astype(dtype)."""
        last = call.named[-1][1] if call.named else None
        if last is None or not np.array_equal(last.values.ravel(), as_array(numbers).ravel()):
            return None
        start = self._starts[last.id]
        self._numbers |= {address: start + n for n, address in enumerate(self._kept(numbers))}
        return last

    def _also(self, call: Call, name: str, array: Array) -> None:
        call.named.append((name, array))
        if array.id in self._unnamed:
            array.name = name
            self._unnamed.discard(array.id)
        elif name not in array.names:
            array.also.append(name)

    def _forward_of(self, call: Call, given: list[Any]) -> Call | None:
        """The forward call whose cache a backward call was given; of a cache that several may have returned, such as
        None, the last of them that waits for it.
        """
        paired = {one.of.number for one in self.calls if one.of}
        waiting = [one for one in reversed(self.calls) if not one.backward and one.number not in paired]
        for one in waiting:
            if one.cache is not None and any(one.cache is value for value in given):
                return one
        alike = (one for one in waiting if (one.module, one.function) == (call.module, "forward"))
        return next(alike, None) if call.function == "backward" and call.mine else None

    def _parameters_in(self, given: dict[str, Any]) -> list[str]:
        """Which parameters a call was given, by which it is known where in the model it is."""
        found: dict[str, None] = {}
        for value in given.values():
            for _, numbers in leaves(dict(value) if isinstance(value, Mapping) else value):
                number = self._source(numbers)[0]
                array = self._array_of(int(number)) if number >= 0 else None
                if array is not None and array.kind == "param":
                    found[array.name] = None
        return list(found)

    @staticmethod
    def _result_name(call: Call, place: int, path: Path) -> str:
        """What to call what a function returns at a place, or within what it returns there."""
        if len(path) > 1:
            return f"d{path[-1]}" if call.backward and isinstance(path[-1], str) else written("cache", path[1:])
        if call.function == "forward":
            return "out" if place == 0 else "cache"
        if call.function != "backward":
            return call.function.strip("_")
        arguments = call.of.takes if call.of else []
        return f"d{arguments[place]}" if place < len(arguments) else f"d{place}"

    # Running the step

    def _nudged(self, value: Any) -> Any:
        array = self._nudging
        assert array is not None
        numbers = taken(value, array.within)
        if array.in_place and isinstance(numbers, np.ndarray):  # others hold it
            numbers += self._nudge
            return value
        return put(value, array.within, like(as_array(numbers) + self._nudge, numbers))

    def run(
        self, step: Callable[[], Any], array: Array | None = None, nudge: Any = 0.0, since: int | None = None
    ) -> Any:
        """`step()`, with `nudge` added to a forward array where it is made. since: the moment from which on anything
        may be other than it was recorded, where there is no array; calls that ended before it are not made again.
        """
        self._moment, self._ordinal, self._nudging, self._nudge = -1, -1, array, nudge
        if array is not None:
            self._target = since = array.at
        self._since = -1 if self.overwrites or since is None else since
        try:
            return step()
        finally:
            self._target = self._since = -1

    def record(self, step: Callable[[], Any]) -> Any:
        """`step()`, every array of which is kept."""
        self.recording = True
        try:
            return self.run(step)
        finally:
            self.recording = False
            self._stack.clear()

"""Which of the cells that were run would now give something else, because a name that they read was changed."""

import dis
import hashlib
import inspect
import pickle
from collections.abc import Iterable, Mapping
from functools import cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

READING = ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS")
BINDING = ("STORE_NAME", "STORE_GLOBAL", "DELETE_NAME", "DELETE_GLOBAL")


@cache
def reads(code: CodeType) -> frozenset[str]:
    """The names that code finds outside when it is run: read before it has bound them itself."""
    found: set[str] = set()
    bound: set[str] = set()
    for instruction in dis.get_instructions(code):
        if instruction.opname in READING and instruction.argval not in bound:
            found.add(instruction.argval)
        elif instruction.opname in BINDING:
            bound.add(instruction.argval)
    return frozenset(found.union(*(reads(inner) - bound for inner in _run_with(code))))


@cache
def loads(code: CodeType) -> frozenset[str]:
    """All names that code reads when it is run, wherever they come from."""
    own = {one.argval for one in dis.get_instructions(code) if one.opname in READING}
    return frozenset(own.union(*map(loads, _run_with(code))))


def _run_with(code: CodeType) -> list[CodeType]:
    """What is inside: of a cell its comprehensions and class bodies, since a function runs only where it is called."""
    inner = [one for one in code.co_consts if isinstance(one, CodeType)]
    is_function = code.co_flags & inspect.CO_OPTIMIZED
    return [one for one in inner if is_function or one.co_name[0] == "<" or not one.co_flags & inspect.CO_OPTIMIZED]


@cache
def binds(code: CodeType) -> frozenset[str]:
    """The names that a cell's code binds."""
    return frozenset(one.argval for one in dis.get_instructions(code) if one.opname in BINDING)


def reached(code: CodeType, namespace: Mapping[str, Any]) -> set[str]:
    """The names that a cell's code finds outside, and those that the lesson's functions find which it uses."""
    waiting, seen = set(loads(code)), set(loads(code))
    while waiting:
        used = namespace.get(waiting.pop())
        new = set().union(*map(loads, _codes(used, namespace))) - seen
        seen |= new
        waiting |= new
    return seen - binds(code) | reads(code)


def _codes(value: Any, namespace: Mapping[str, Any]) -> list[CodeType]:
    """The code of a function, or of a class's functions, that the lesson defined."""
    of = value if isinstance(value, type) else type(value)
    values = [value, *(vars(of).values() if of.__module__ == "__main__" else ())]
    functions = [one for one in values if isinstance(one, FunctionType) and one.__globals__ is namespace]
    return [function.__code__ for function in functions]


def fingerprints(namespace: Mapping[str, Any]) -> dict[str, bytes]:
    """What stands for the content of each variable: equal as long as that is."""
    return {name: _fingerprint(value) for name, value in list(namespace.items()) if not name.startswith("__")}


def changed(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> set[str]:
    """The names whose content differs, or that are on one side only."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


class _Hash:
    """A file that keeps a hash of what is written to it."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.write = self.hash.update


class _Pickler(pickle.Pickler):
    """Writes functions by their code, and what cannot be pickled by its identity."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, ModuleType):
            return str, (value.__name__,)
        if isinstance(value, FunctionType):
            return bytes, (_without_places(value.__code__), value.__defaults__, value.__kwdefaults__)
        if isinstance(value, type):
            if value.__module__ != "__main__":
                return NotImplemented
            return str, (value.__qualname__, [one for one in vars(value).items() if isinstance(one[1], FunctionType)])
        try:
            value.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        except Exception:
            return str, (f"{type(value)} at {id(value)}",)
        return NotImplemented


def _without_places(code: CodeType) -> bytes:
    """A code without its line numbers."""
    consts = [_without_places(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts]
    return repr((code.co_code, consts, code.co_names, code.co_varnames)).encode()


def _fingerprint(value: Any) -> bytes:
    into = _Hash()
    pickler = _Pickler(into, pickle.HIGHEST_PROTOCOL)
    pickler.fast = True  # whether two equal values are one object makes no difference
    try:
        pickler.dump(value)
    except Exception:  # such as an object that holds itself
        return f"{type(value)} at {id(value)}".encode()
    return into.hash.digest()


class Ledger:
    """Of each cell that was run: its code, and the names it reached; and which are stale, by which names.

    codes: of all cells of the lesson, run or not.
    """

    def __init__(self, codes: Mapping[int, CodeType]) -> None:
        self.to_come = {index: set(reads(code)) for index, code in codes.items()}
        self.codes: dict[int, CodeType] = {}
        self.reached: dict[int, set[str]] = {}
        self.stale: dict[int, set[str]] = {}
        self.owners: dict[str, int] = {}  # the cell that has bound a name last, if it was a cell

    def ran(self, index: int, code: CodeType, namespace: Mapping[str, Any]) -> None:
        """A cell was run: it is as fresh as the cells before it whose names it reads."""
        self.codes[index], self.reached[index] = code, reached(code, namespace)
        self.owners |= dict.fromkeys(binds(code), index)
        left = set().union(*(binds(self.codes[other]) for other in self.stale if other < index))
        self.stale.pop(index, None)
        if old := self.reached[index] & left:
            self.stale[index] = old

    def needed(self, index: int, names: Iterable[str] = ()) -> list[int]:
        """The cells to run before a cell is run again: those that bind what it reads, and `names`, where a later cell
        has bound it to something else since.
        """
        found: set[int] = set()
        waiting = [index]
        while waiting:
            reader = waiting.pop()
            wanted = self.reached.get(reader, set()) | (set(names) if reader == index else set())
            for name in (name for name in wanted if self.owners.get(name, -1) > reader):
                binders = [other for other in self.codes if other < reader and name in binds(self.codes[other])]
                if binders and max(binders) not in found:
                    found.add(max(binders))
                    waiting.append(max(binders))
        return sorted(found)

    def spread(self, names: Iterable[str], start: int, overwritten: bool) -> None:
        """Names were changed: the cells from `start` on that read them are stale, and those that read what these bind.

        overwritten: the change may have undone what a later cell had bound; if any cell reads that, it is stale too.
        """
        dirty = set(names)
        for index in sorted(self.codes):
            if index < start:
                continue
            why = self.reached[index] & dirty
            if overwritten:
                wanted = self.to_come | self.reached
                read_later = set().union(*(names for other, names in wanted.items() if other > index))
                why |= binds(self.codes[index]) & dirty & read_later
            if why:
                self.stale[index] = self.stale.get(index, set()) | why
                dirty |= binds(self.codes[index])

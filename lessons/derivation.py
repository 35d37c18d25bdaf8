"""A function derived line by line: each line's values are compared with those in the lesson's own function."""

import ast
import contextlib
import copy
import difflib
import inspect
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from lessons.cells import Cell
from lessons.likeness import numbers_of, same, unlike

WANTED_BY_DEFAULT = "d"  # a derivative's name begins with it
UPSTREAM = "dout"  # which is given

Parts = frozenset[int]


@dataclass(frozen=True)
class Said:
    """What comes of one line. stands: whether it was added; None if it was only looked at."""

    stands: bool | None
    text: str


class Derivation:
    """What the function of a cell assigns, on the arguments of the cell's call, and how much of it stands.

    namespace: the lesson's, as the cells above have left it; it is not changed. Raises what the cell or its call
    raises.
    """

    def __init__(self, cell: Cell, namespace: Mapping[str, Any]):
        space = dict(namespace)
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(cell.text, "<derive>", "exec"), space)
        call = ast.parse(cell.derive, mode="eval").body
        assert isinstance(call, ast.Call) and isinstance(call.func, ast.Name), f"{cell.derive} is no call"
        self.call, self.name = cell.derive, call.func.id
        self.own: list[tuple[str, list[str]]] = []  # the lesson's lines, and the wanted names that each assigns
        self.values: dict[str, list[Any]] = {}  # of each wanted name, one for each line that assigns it
        self.given = _arguments(call, space)
        definition = _definition(cell.text, self.name)
        self._trace(definition, space)
        hidden = {*self.values, self.name}
        self.there = {name: value for name, value in space.items() if name not in hidden} | self.given
        read = {name for statement in definition.body for name in _names(statement)} - self.given.keys()
        found = {name: self.there.get(name) for name in sorted(read)}
        self.found = {name: value for name, value in found.items() if numbers_of(value) is not None}  # in other cells
        self.standing: dict[str, Any] = {}  # the reader's values
        self.parts: dict[str, Parts] = {name: frozenset() for name in self.values}
        self.refused: set[str] = set()  # names that a line gave a value that does not stand

    def _trace(self, definition: ast.FunctionDef, space: dict[str, Any]) -> None:
        """Run the function's body statement by statement, and keep what each assigns."""
        values = space | {name: _copied(value) for name, value in self.given.items()}
        steps: list[tuple[ast.stmt, dict[str, Any]]] = []
        for statement in definition.body:
            if isinstance(statement, ast.Return):
                break
            steps.append((statement, {name: _copied(values[name]) for name in _run(statement, values)}))
        open_names = [name for statement, assigned in steps if not _unpacks(statement) for name in assigned]
        derivatives = [name for name in open_names if name.startswith(WANTED_BY_DEFAULT) and name != UPSTREAM]
        wanted = set(derivatives or open_names)
        for statement, assigned in steps:
            for name in assigned:
                if name in wanted:
                    self.values.setdefault(name, []).append(assigned[name])
                else:
                    self.given[name] = assigned[name]
            if names := [name for name in assigned if name in wanted]:
                self.own.append((ast.unparse(statement), names))

    @property
    def total(self) -> int:
        """How many assignments are wanted."""
        return sum(map(len, self.values.values()))

    @property
    def count(self) -> int:
        """How many of them stand."""
        return sum(map(len, self.parts.values()))

    @property
    def done(self) -> bool:
        """Whether all stand."""
        return self.count == self.total

    @property
    def missing(self) -> dict[str, int]:
        """The wanted names that do not stand, and how many of their assignments are missing."""
        open_parts = {name: len(self.values[name]) - len(parts) for name, parts in self.parts.items()}
        return {name: number for name, number in open_parts.items() if number}

    def judge(self, line: str) -> Said:
        """Run one line on what is there; it is added if all that it assigns stands, and else changes nothing."""
        try:
            body = ast.parse(line).body
        except SyntaxError as error:
            return Said(False, _pointed(line, error))
        if len(body) != 1 or not isinstance(body[0], ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Expr):
            return Said(False, "One line assigns one name, or is an expression to look at.")
        values = self.there | self.standing
        values |= {name: _copied(values[name]) for name in _names(body[0]) if name in values}
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                assigned = _run(body[0], values, printed)
        except KeyboardInterrupt:
            return Said(False, "Stopped by Ctrl-C.")
        except NameError as error:
            return Said(False, self._without(error.name or str(error)))
        except (Exception, SystemExit) as error:
            what = f"{type(error).__name__}: {error}".rstrip(" .:")
            return Said(False, f"{what}. {self._shapes_in(body[0])}".rstrip())
        if not assigned:
            return Said(None, printed.getvalue().rstrip("\n") or "Nothing is assigned by this line.")
        said = self._added({name: values[name] for name in assigned})
        if said.stands is False:
            lacking = (name for name in _names(body[0]) if name not in assigned and self._lacks_a_part(name))
            return Said(False, said.text + "".join(f" Of {name} a part is still wanted." for name in lacking))
        return said

    def _added(self, assigned: dict[str, Any]) -> Said:
        """Compare what a line assigned; add it if it stands."""
        parts: dict[str, Parts] = {}
        for name, value in assigned.items():
            if name in self.values:
                found = self._parts_in(name, value)
                if found is None:
                    self.refused.add(name)
                    not_kept = "" if name in self.standing else " The line is not kept."
                    return Said(False, self._difference(name, value) + not_kept)
                parts[name] = found
            elif name in self.given:
                return Said(False, f"{name} is given; what is yours needs another name.")
        self.parts |= parts
        self.standing |= assigned
        return Said(True, " ".join(self._standing(name) for name in assigned))

    def _parts_in(self, name: str, value: Any) -> Parts | None:
        """Which of a name's parts a value is the sum of, the more the better; those that stood must be among them."""
        before = self.parts[name]
        for parts, expected in _sums(self.values[name]):
            if same(value, expected) and (before < parts or before == parts == self._all(name)):
                return parts
        return None

    def _all(self, name: str) -> Parts:
        return frozenset(range(len(self.values[name])))

    def _lacks_a_part(self, name: str) -> bool:
        return bool(self.parts.get(name)) and self.parts[name] != self._all(name)

    def _standing(self, name: str) -> str:
        if name not in self.values:
            alike = [other for other, values in self.values.items() if same(self.standing[name], values[-1])]
            named = f" It has the numbers of {alike[0]}, by which name it is wanted." if alike else ""
            return f"{name} is kept; it is none of the wanted.{named}"
        score = f"({self.count} of {self.total})"
        if self.parts[name] == self._all(name):
            return f"{name} stands {score}."
        which = "The first part" if self.parts[name] == frozenset({0}) else "A part"
        places = "a second place" if len(self.values[name]) == 2 else "other places"
        return f"{which} of {name} stands {score}; another comes back from {places}."

    def _difference(self, name: str, value: Any) -> str:
        """What is wrong with a value, as far as that can be said."""
        if self.parts[name] == self._all(name):
            return f"{name} stands already, and this line gives something else."
        if self.parts[name] and same(value, self.standing[name]):
            return f"This is the part of {name} that stands; another comes back and is added to it."
        sums = list(_sums(self.values[name]))
        if any(same(value, expected) for parts, expected in sums if not parts & self.parts[name]):
            return f"This is another part of {name}, to be added to the one that stands: {name} = {name} + ..."
        due = sorted((one for one in sums if self.parts[name] < one[0]), key=lambda one: len(one[0]))
        nearest = min((unlike(name, value, expected) for _, expected in due), key=lambda one: one.far)
        for other, values in self.values.items():
            if nearest.far and other != name and same(value, values[-1]):
                return f"These are the numbers of {other}, and not of {name}."
        return nearest.text

    def _without(self, name: str) -> str:
        if name in self.refused:
            return f"{name} is not there: the line that gave it was not kept, and this line needs it first."
        if name in self.values:
            return f"{name} is not there yet: this line needs it first."
        if name == self.name:
            return f"{name} is what is being derived."
        near = difflib.get_close_matches(name, [*self.given, *self.standing, *self.there], n=1)
        return f"There is no {name}." + (f" Did you mean {near[0]}?" if near else "")

    def _shapes_in(self, statement: ast.stmt) -> str:
        values = self.there | self.standing
        arrays = {name: values[name] for name in _names(statement) if isinstance(values.get(name), np.ndarray)}
        return ", ".join(f"{name} {value.shape}" for name, value in arrays.items())

    def reveal(self) -> str:
        """The lesson's next line, which stands from here on."""
        reached = dict.fromkeys(self.values, 0)
        for line, names in self.own:
            for name in names:
                reached[name] += 1
            if any(reached[name] - 1 not in self.parts[name] for name in names):
                for name in names:
                    self.parts[name] = frozenset(range(reached[name]))
                    self.standing[name] = _copied(self.values[name][reached[name] - 1])
                return line
        raise ValueError("all lines stand")


def _definition(source: str, name: str) -> ast.FunctionDef:
    """The function of a name in a cell's code."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node
    raise ValueError(f"the cell defines no function {name}")


def _arguments(call: ast.Call, space: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call by the names that they have in the function."""
    given: Callable[..., Any] = lambda *positional, **named: (positional, named)  # noqa: E731
    catching = ast.Call(ast.Name("<given>", ast.Load()), call.args, call.keywords)
    code = compile(ast.fix_missing_locations(ast.Expression(catching)), "<derive>", "eval")
    positional, named = eval(code, space | {"<given>": given})
    assert isinstance(call.func, ast.Name)
    bound = inspect.signature(space[call.func.id]).bind(*positional, **named)
    bound.apply_defaults()
    return {name: _copied(value) for name, value in bound.arguments.items()}


def _run(statement: ast.stmt, values: dict[str, Any], printed: io.StringIO | None = None) -> list[str]:
    """Run a statement; returns the names that it assigned or whose value it changed in place. An expression's value
    is printed."""
    before = {name: _copied(values[name]) for name in _names(statement) if name in values}
    comparable = [name for name, value in before.items() if same(values[name], value)]
    if isinstance(statement, ast.Expr):
        value = eval(compile(ast.Expression(statement.value), "<derive>", "eval"), values)
        if printed is not None and value is not None:
            print(repr(value), file=printed)
    else:
        exec(compile(ast.Module([statement], []), "<derive>", "exec"), values)
    changed = [name for name in comparable if not same(values[name], before[name])]
    return list(dict.fromkeys(name for name in [*_stored(statement), *changed] if name in values))


def _stored(statement: ast.stmt) -> list[str]:
    """The names that a statement binds; the variable of a comprehension is its own."""
    nodes = list(ast.walk(statement))
    inner = [name for one in nodes if isinstance(one, ast.comprehension) for name in ast.walk(one.target)]
    return [
        one.id for one in nodes if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store) and one not in inner
    ]


def _unpacks(statement: ast.stmt) -> bool:
    """Whether it only takes apart what is there, such as `xhat, rstd = cache`."""
    if not isinstance(statement, ast.Assign) or not isinstance(statement.value, ast.Name | ast.Subscript):
        return False
    return all(isinstance(target, ast.Tuple | ast.List) for target in statement.targets)


def _names(statement: ast.stmt) -> list[str]:
    return list(dict.fromkeys(node.id for node in ast.walk(statement) if isinstance(node, ast.Name)))


def _copied(value: Any) -> Any:
    """A value of which nothing is shared; what cannot be copied is the same one."""
    try:
        return copy.deepcopy(value)
    except Exception:
        return value


def _sums(values: list[Any]) -> Iterator[tuple[Parts, Any]]:
    """What a name holds while it is put together: the sum of any of its parts, those of all first.

    Part k is what the k-th assignment adds; the lesson's own order is only one of them.
    """
    last = len(values)
    for number in range(last, 0, -1):
        yield frozenset(range(number)), values[number - 1]
    shapes = {None if numbers is None else numbers.shape for numbers in map(numbers_of, values)}
    if last > 1 and len(shapes) == 1 and None not in shapes:
        added = [values[0], *(after - before for before, after in zip(values, values[1:], strict=False))]
        for number in range(last - 1, 0, -1):
            for chosen in combinations(range(last), number):
                if chosen != tuple(range(number)):
                    yield frozenset(chosen), sum(added[part] for part in chosen)


def _pointed(line: str, error: SyntaxError) -> str:
    """A mistake of Python's grammar with a caret below its place, which may be moved to be seen at any width."""
    place = max(0, min((error.offset or 1) - 1, len(line)))
    start = max(0, place - 30)
    return f"{line[start : start + 38]}\n{' ' * (place - start)}^\nSyntaxError: {error.msg}"

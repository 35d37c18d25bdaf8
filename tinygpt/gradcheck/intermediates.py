"""Each intermediate gradient of a backward: every local dNAME held against the derivative of the loss by NAME.

What a backward is made of can be checked line by line, for forward says what each name is: its local NAME is nudged
where it is assigned, and how far the loss moves is what dNAME should be. A name that is used in several places is
nudged in each alone as well, which tells a part of its gradient from a wrong one. Of `scores = bmm(q, k) / c`, with a
number c, dscores may be the derivative by either side of the division.
"""

import ast
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from tinygpt.gradcheck.differences import relative
from tinygpt.gradcheck.randomness import call_with_fixed_random_numbers

AGREES = 1e-6  # relative error that five points are surely better than
STEP = 1e-3  # of a nudge, relative to what is nudged
LARGEST = 2000  # entries of an array that is nudged
PLACES = 6  # in which a name is used, of which every choice is tried

Site = tuple[str, int, int]  # a name, and the line and column at which it is assigned or used


class Line(NamedTuple):
    """A line of backward, by its number in the file, and the name that it gives a value to.

    verdict: "stands"; "part" if some of the places from which its gradient comes back are in it and others are not;
    "wrong". says: what it is instead, as the end of a sentence that begins with the name, or "".
    """

    name: str
    number: int
    verdict: str
    says: str = ""


def judge(source: str, inputs: Mapping[str, Any], dout: Any, filename: str = "<file>") -> list[Line]:
    """The lines of `backward` in `source` that give a value to a dNAME, where NAME is an array of `forward`'s, in the
    order in which they are run. One that stops half way, or raises, is judged as far as it came. A name that stands is
    free for other use; of one that never does, the last line is judged, and those before it where they hold a part.
    Where both forward and backward use a name for several things, no line is called wrong: which is meant is open.
    Of a wrong line that is made of another one, only that is said.

    source: a file with forward(**inputs) -> out, cache and backward(dout, cache). dout: of out's shape. Whatever the
    file raises elsewhere passes.
    """
    run = _Run(source, inputs, dout, filename)
    lines = [line for name, number, values in run.backward() if (line := run.line(name, number, values))]
    last = {line.name: line.number for line in lines}
    standing = {line.name for line in lines if line.verdict == "stands"}
    several = {
        line.name
        for line in lines
        if line.number != last[line.name] and len({at for _, at, _ in run.sites(line.name)}) > 1
    }
    told: list[Line] = []
    for line in lines:
        if line.verdict == "part" and line.name in standing:  # what is missing is added later
            line = line._replace(says=line.says.split(";")[0])
        elif line.verdict == "wrong":
            if line.name in standing | several or line.number != last[line.name]:
                continue
            unsound = [one.name for one in told if one.verdict != "stands" and one.name not in standing | {line.name}]
            if made_of := [name for name in dict.fromkeys(unsound) if name in run.read.get(line.number, ())]:
                are = "are" if len(made_of) > 1 else "is"
                line = line._replace(says=f"is made of {' and '.join(made_of)}, which {are} not right")
        told.append(line)
    return told


@dataclass
class _Run:
    """The file with its forward and backward made to tell what they do."""

    source: str
    inputs: Mapping[str, Any]
    dout: Any
    filename: str
    assigned: dict[Site, np.ndarray] = field(default_factory=dict)  # forward's arrays, where they got their names
    used: dict[Site, np.ndarray] = field(default_factory=dict)  # and where they were read
    written: dict[tuple[str, int], tuple] = field(default_factory=dict)  # backward's, by name and line: now, and itself
    nudged: Site | None = None
    nudge: Any = 0.0
    repeated: set[Site] = field(default_factory=set)  # in a loop: a nudge there would be several
    known: dict[Site, np.ndarray] = field(default_factory=dict)  # gradients that were measured
    read: dict[int, set[str]] = field(default_factory=dict)  # the names that backward's lines read

    def __post_init__(self) -> None:
        tree = ast.parse(self.source, self.filename)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name == "forward":
                _Forward(node).visit_function()
            elif isinstance(node, ast.FunctionDef) and node.name == "backward":
                self.read = _read(node)
                _after_assignments(node.body, lambda name, at: ast.Expr(_call("__wrote", name, at)))
        module = ModuleType("judged")
        hooks = {"__assigned": self._assigned, "__scaled": self._scaled, "__used": self._used, "__wrote": self._wrote}
        vars(module).update(hooks, __file__=self.filename)
        exec(compile(ast.fix_missing_locations(tree), self.filename, "exec", dont_inherit=True), vars(module))
        self.module = module

    def _assigned(self, name: str, line: int, column: int, value: Any) -> Any:
        return self._met(self.assigned, (name, line, column), value)

    def _scaled(self, name: str, line: int, column: int, value: Any, number: Any, times: bool) -> Any:
        if np.ndim(number) == 0:
            value = self._met(self.assigned, (name, line, column), value)
        return value * number if times else value / number

    def _used(self, name: str, line: int, column: int, value: Any) -> Any:
        return self._met(self.used, (name, -line, column), value)  # minus: another site than where it is assigned

    def _met(self, sites: dict[Site, np.ndarray], site: Site, value: Any) -> Any:
        if not isinstance(value, np.ndarray | np.floating) or value.dtype.kind != "f" or value.size > LARGEST:
            return value
        if self.nudged is None:
            self.repeated |= {site} & sites.keys()
            sites[site] = np.array(value)
        return value + self.nudge if site == self.nudged else value

    def _wrote(self, name: str, line: int, _: int, value: Any) -> None:
        if isinstance(value, np.ndarray | np.floating) and value.dtype.kind == "f":
            self.written.pop((name, line), None)  # of a line that is run again, the last value
            self.written[name, line] = np.array(value), value

    def forward(self) -> tuple[Any, Any]:
        with np.errstate(all="ignore"):
            return call_with_fixed_random_numbers(self.module.forward, dict(self.inputs), 0)[0]

    def backward(self) -> list[tuple[str, int, list[np.ndarray]]]:
        """What it gave values to: the name, the line, the value there, and what has become of it in place since."""
        _, cache = self.forward()
        try:
            with np.errstate(all="ignore"):
                self.module.backward(self.dout, cache)
        except Exception:  # it goes no further
            pass
        last = {name: line for name, line in self.written}
        return [
            (name, line, [value, np.array(now)] if line == last[name] else [value])
            for (name, line), (value, now) in self.written.items()
        ]

    def line(self, name: str, number: int, values: list[np.ndarray]) -> Line | None:
        """The verdict on one line, or None if forward has no array of that name, nor of such a shape."""
        of, sites = named_after(name), self.sites(name)
        if not sites:
            return None
        fitting = [(x.reshape(self.assigned[s].shape), s) for x in values for s in sites if _fits(x, self.assigned[s])]
        if not fitting:
            shapes = dict.fromkeys(self.assigned[site].shape for site in sites)
            near = [shape for shape in shapes if _is_near(values[-1].shape, shape)]
            says = f"has shape {values[-1].shape}, and {of} has {' or '.join(map(str, shapes))}"
            return Line(name, number, "wrong", says) if near else None
        if any(self.agree(value, self.gradient(site)) for value, site in fitting):
            return Line(name, number, "stands")
        if says := self.part(of, values[-1]):
            return Line(name, number, "part", says)
        value, site = fitting[-1]
        return Line(name, number, "wrong", _instead(value, self.gradient(site), of))

    def sites(self, name: str) -> list[Site]:
        """Where forward gives a value to what `name` is the gradient of."""
        return [site for site in self.assigned if site[0] == named_after(name) and site not in self.repeated]

    def part(self, of: str, value: np.ndarray) -> str:
        """Which of the places that `of` is used in `value` comes back from, where it is some and not all of them."""
        places = [s for s, x in self.used.items() if s[0] == of and s not in self.repeated and x.shape == value.shape]
        places = [place for place in places if np.abs(self.gradient(place)).max(initial=0) > self.noise()]
        if not 1 < len(places) <= PLACES:
            return ""
        for count in range(1, len(places)):
            for some in itertools.combinations(places, count):
                if self.agree(value, sum(map(self.gradient, some))):
                    missing = set(places).difference(some)
                    again = {place[1] for place in some} & {place[1] for place in missing}  # x * x, differentiated once
                    there, absent = _lines(some), _lines(missing) + f", where {of} is used again," * bool(again)
                    return f"holds what comes back from {there}; what comes back from {absent} is missing"
        return ""

    def gradient(self, site: Site) -> np.ndarray:
        """The derivative of the loss, the sum of dout * out, by the array at a site: five points for each entry."""
        if site not in self.known:
            value = (self.assigned | self.used)[site]
            gradient, steps = (
                np.zeros(value.shape),
                STEP * np.maximum(np.abs(value), 0.1 * np.abs(value).max(initial=0)),
            )
            for place in np.ndindex(value.shape):
                h = steps[place] if np.isfinite(steps[place]) and steps[place] > 0 else STEP
                losses = [self.loss(site, place, value.shape, n * h) for n in (-2, -1, 1, 2)]
                gradient[place] = (losses[0] - 8 * losses[1] + 8 * losses[2] - losses[3]) / (12 * h)
            self.known[site] = gradient
        return self.known[site]

    def loss(self, site: Site, place: tuple[int, ...], shape: tuple[int, ...], by: float) -> float:
        nudge = np.zeros(shape)
        nudge[place] = by
        self.nudged, self.nudge = site, nudge
        try:
            return float((self.dout * self.forward()[0]).sum())
        finally:
            self.nudged = None

    def noise(self) -> float:
        """What rounding alone may make of a gradient that is zero."""
        return 1e-9 * float(np.abs(self.dout).sum())

    def agree(self, value: np.ndarray, right: Any) -> bool:
        apart = float(np.linalg.norm(value - right))
        return apart <= self.noise() or relative(apart, *map(np.linalg.norm, (value, right))) <= AGREES


class _Forward(ast.NodeTransformer):
    """A forward that reports each array where it gets its name, its arguments at the top, and where it is read."""

    def __init__(self, function: ast.FunctionDef):
        self.function = function
        given = function.args
        self.names = {a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)}
        self.arguments = sorted(self.names)
        for node in ast.walk(function):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self.names.add(node.id)

    def visit_function(self) -> None:
        body = self.function.body
        self.function.body = [self.visit(statement) for statement in body]
        _after_assignments(self.function.body, _told)
        told = [_told(name, self.function) for name in self.arguments]
        self.function.body[:0] = [ast.copy_location(statement, body[0]) for statement in told]

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        self.generic_visit(node)
        match node:
            case ast.Assign([ast.Name(name)], ast.BinOp(left, ast.Mult() | ast.Div() as sign, right)):
                given = [ast.Constant(x) for x in (name, node.lineno, node.value.col_offset + 1)]
                times = ast.Constant(isinstance(sign, ast.Mult))
                scaled = ast.Call(ast.Name("__scaled", ast.Load()), [*given, left, right, times], [])
                node.value = ast.copy_location(scaled, node.value)
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if isinstance(node.ctx, ast.Load) and node.id in self.names:
            return ast.copy_location(_call("__used", node.id, node), node)
        return node

    def _as_it_is(self, node: ast.AST) -> ast.AST:
        """What may be run several times, or later, or by another name."""
        return node

    visit_Lambda = visit_FunctionDef = visit_ListComp = visit_GeneratorExp = visit_DictComp = _as_it_is
    visit_SetComp = visit_ClassDef = visit_AsyncFunctionDef = visit_Delete = _as_it_is


def _call(hook: str, name: str, at: Any) -> ast.Call:
    """hook(name, line, column, value of name)"""
    given: list[ast.expr] = [ast.Constant(x) for x in (name, at.lineno, at.col_offset)]
    return ast.Call(ast.Name(hook, ast.Load()), [*given, ast.Name(name, ast.Load())], [])


def _told(name: str, at: Any) -> ast.Assign:
    return ast.Assign([ast.Name(name, ast.Store())], _call("__assigned", name, at))


def _after_assignments(body: list[ast.stmt], made: Callable[[str, Any], ast.stmt]) -> None:
    """Put a statement behind each assignment of a name, in a function's body and the blocks in it."""
    for place, statement in reversed(list(enumerate(body))):
        for block in ("body", "orelse", "finalbody"):
            inner = getattr(statement, block, None)
            if isinstance(inner, list) and not isinstance(statement, ast.FunctionDef | ast.ClassDef):
                _after_assignments(inner, made)
        body[place + 1 : place + 1] = [ast.copy_location(made(n.id, n), statement) for n in _names(statement)]


def _names(statement: ast.stmt) -> Iterator[ast.Name]:
    """The names that a statement assigns."""
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AugAssign) or isinstance(statement, ast.AnnAssign) and statement.value:
        targets = [statement.target]
    else:
        return
    for target in targets:
        if isinstance(target, ast.Subscript):  # dx[...] = ...: dx has another value afterwards
            while isinstance(target, ast.Subscript):
                target = target.value
        for node in ast.walk(target):
            if isinstance(node, ast.Name):
                yield node


def _read(function: ast.FunctionDef) -> dict[int, set[str]]:
    """The names that the assignments of a function read, by the line that each begins on."""
    read: dict[int, set[str]] = {}
    for statement in ast.walk(function):
        if isinstance(statement, ast.Assign | ast.AugAssign | ast.AnnAssign) and statement.value:
            names = {node.id for node in ast.walk(statement.value) if isinstance(node, ast.Name)}
            read.setdefault(statement.lineno, set()).update(names)
    return read


def named_after(name: str) -> str:
    """What a gradient is named after: x, of dx or d_x; "" of what is no gradient."""
    return name[1:].removeprefix("_") if name.startswith("d") else ""


def _fits(value: np.ndarray, other: np.ndarray) -> bool:
    """Whether one is the other's shape, or its entries in rows."""
    return value.shape == other.shape or value.size == other.size and _is_rows(value.shape, other.shape)


def _is_rows(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether all axes but the last are one in one of the shapes: (B * T, C) of (B, T, C)."""
    return 2 in (len(shape), len(other)) and min(len(shape), len(other)) > 1 and shape[-1] == other[-1]


def _is_near(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two shapes differ by a sum that was forgotten or taken, or over another axis, by keepdims or by a
    transpose.
    """
    try:
        both = np.broadcast_shapes(shape, other)
    except ValueError:
        both = ()
    return both in (shape, other) or len(both) == len(shape) == len(other) > 0 or _squeezed(shape) == _squeezed(other)


def _squeezed(shape: tuple[int, ...]) -> list[int]:
    return sorted(length for length in shape if length > 1)


def _instead(value: np.ndarray, right: np.ndarray, of: str) -> str:
    """What a value is, where the derivative of the loss by `of` belongs."""
    if not value.any():
        return "is zero"
    squares = float((right * right).sum())
    ratio = float((value * right).sum()) / squares if squares else 0.0
    if not np.linalg.norm(value - ratio * right) <= AGREES * np.linalg.norm(value):
        error = relative(*map(np.linalg.norm, (value - right, value, right)))
        return f"has the right shape and other numbers than the derivative by {of} (relative error {error:.1e})"
    times = "minus" if abs(ratio + 1) < AGREES else f"{ratio:.6g} times"
    return f"is {times} the derivative of the loss by {of}"


def _lines(places: Iterable[Site]) -> str:
    numbers = sorted({-line for _, line, _ in places})
    return f"line {numbers[0]}" if len(numbers) == 1 else "lines " + ", ".join(map(str, numbers))

"""Copies of modules that tell what they do: each statement of a function says when it begins and what it made.

The copy is made from the syntax tree, so that it computes what the file says, line for line, and needs no tracing.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from tinygpt.recorder.values import OWN

HOOKS, CALL, VALUE = "_recorder", "_recorder_call", "_recorder_value"  # names that a file will not have
SIMPLE = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.Return)
LATER = (ast.Lambda, ast.FunctionDef, ast.ClassDef, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
DIRECTIVES = re.compile(r"(fmt|noqa|type|mypy|ruff)\b")  # comments that speak to a tool
LAYERS = ("forward", "backward")


@dataclass(frozen=True, eq=False)
class Statement:
    """A statement of the file as it stands, which may be a whole loop, or an expression in one that gets no name there.

    code: in one line, without comments. comment: what stands behind it. scope: the globals of its module.
    """

    file: str
    line: int
    end: int
    code: str
    comment: str
    node: Any
    scope: dict[str, Any]

    @cached_property
    def reads(self) -> list[str]:
        """The names whose values it may read, in order: those that it writes into as well."""
        written = {id(root) for target in _targets(self.node) if (root := _root(target)) is not target}
        written |= {id(node.target) for node in ast.walk(self.node) if isinstance(node, ast.AugAssign)}
        names = [node for node in ast.walk(self.node) if isinstance(node, ast.Name)]
        if isinstance(self.node, ast.For | ast.While):  # what one round leaves, the next may read
            return list(dict.fromkeys(node.id for node in names))
        return list(dict.fromkeys(n.id for n in names if isinstance(n.ctx, ast.Load) or id(n) in written))

    @cached_property
    def unpacks(self) -> str | None:
        """The name that it only takes something out of, `cache` in `x, w = cache` and in `w = cache[1]`."""
        value = getattr(self.node, "value", None)
        while isinstance(value, ast.Subscript | ast.Attribute):
            value = value.value
        return value.id if isinstance(self.node, ast.Assign) and isinstance(value, ast.Name) else None

    @cached_property
    def makes_room(self) -> bool:
        """Whether it makes an array that is yet to be filled: dw = xp.zeros_like(w)."""
        value = getattr(self.node, "value", None)
        name = getattr(value.func, "attr", "") if isinstance(value, ast.Call) else ""
        return isinstance(self.node, ast.Assign) and name.removesuffix("_like") in ("zeros", "empty")

    @cached_property
    def draws(self) -> bool:
        """Whether it may draw random numbers, and be another thing the next time."""
        return any("random" in (getattr(node, "attr", ""), getattr(node, "id", "")) for node in ast.walk(self.node))

    @cached_property
    def _compiled(self) -> CodeType:
        expression = self.node.value if isinstance(self.node, ast.Return) else self.node
        if isinstance(expression, ast.expr):
            return compile(ast.fix_missing_locations(ast.Expression(expression)), "<line>", "eval")
        return compile(ast.fix_missing_locations(ast.Module([self.node], [])), "<line>", "exec")

    def run(self, given: dict[str, Any]) -> dict[str, Any]:
        """The names as they are after it, VALUE being what it returns or is. What it raises passes."""
        scope = {**self.scope, **given}
        scope[VALUE] = eval(self._compiled, scope)  # of statements None
        return scope


class Source:
    """The text of a file, and what is in each line: code and comment apart."""

    def __init__(self, text: str, file: str):
        self.file = file
        self.tree = ast.parse(text, file)
        self.functions = {node.name for node in self.tree.body if isinstance(node, ast.FunctionDef)}
        self.lines, self.comments = text.split("\n"), dict[int, str]()
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                row, column = token.start
                said = token.string.lstrip("# ").strip()
                self.comments[row] = "" if DIRECTIVES.match(said) else said
                self.lines[row - 1] = self.lines[row - 1][:column]

    def code(self, first: int, last: int, loop: bool = False) -> str:
        """Some lines as one."""
        rows = [row for line in self.lines[first - 1 : last] if (row := line.strip())]
        joined = "\n".join(rows)
        joined = re.sub(r"([(\[{])\n", r"\1", joined)
        joined = re.sub(r",?\n([)\]}])", r"\1", joined)
        return joined.replace(":\n", ": ").replace("\n", "; ") if loop else joined.replace("\n", " ")

    def comment(self, first: int, last: int) -> str:
        """What is said behind some lines."""
        return " ".join(filter(None, (self.comments.get(row, "") for row in range(first, last + 1))))


def instrumented(
    text: str, file: str, hooks: Any, name: str, only: Collection[str] | None = None, mine: bool = False
) -> ModuleType:
    """The module in `text`, whose functions call `hooks`: those named in `only`, such as "Block.forward", or all that
    stand at its top. file: what is said of it, and its __file__; name: its __name__. Whatever it raises passes.
    """
    source, module = Source(text, file), ModuleType(name)
    owners: list[Any] = [source.tree]
    owners += [node for node in source.tree.body if isinstance(node, ast.ClassDef) and only]
    vars(module).update({HOOKS: hooks, "__file__": file})
    about = name.removeprefix(OWN).rpartition(".")[2]
    for owner in owners:
        prefix = f"{owner.name}." if isinstance(owner, ast.ClassDef) else ""
        for node in owner.body:
            if isinstance(node, ast.FunctionDef) and (only is None or prefix + node.name in only):
                _Instrument(node, source, hooks, vars(module), about, mine).apply()
    known = sys.modules.setdefault(name, module)  # where a dataclass looks for its annotations
    try:
        exec(compile(ast.fix_missing_locations(source.tree), file, "exec", dont_inherit=True), vars(module))
    finally:
        if known is module:
            sys.modules.pop(name, None)
    hooks.constants(vars(module))
    return module


def instrumented_function(
    function: FunctionType, text: str, file: str, hooks: Any, scope: dict[str, Any], held: dict[str, Any]
) -> FunctionType:
    """A function that stands inside another one, made to tell what it does.

    text, file: where it stands; where the text is "", it is not made to tell. scope: its globals from now on; held:
    what its closure holds from now on, by name.
    """
    code, source = function.__code__, Source(text, file)
    nodes = (node for node in ast.walk(source.tree) if isinstance(node, ast.FunctionDef))
    node = next((n for n in nodes if n.name == code.co_name and n.lineno == code.co_firstlineno), None)
    if node is not None:
        about = file.rpartition("/")[2].removesuffix(".py")
        _Instrument(node, source, hooks, scope, about, False).apply()
        lines = [f"def outer({', '.join(code.co_freevars)}):", f"    return {node.name}"]
        outer: Any = ast.parse("\n".join(lines)).body[0]
        outer.body.insert(0, node)
        made: dict[str, Any] = {}
        exec(compile(ast.fix_missing_locations(ast.Module([outer], [])), file, "exec", dont_inherit=True), scope, made)
        code = made["outer"](*code.co_freevars).__code__
    cells = tuple(CellType(held[name]) for name in code.co_freevars)
    told = FunctionType(code, scope, function.__name__, function.__defaults__, cells)
    told.__kwdefaults__ = function.__kwdefaults__
    return told


class _Instrument:
    """One function made to tell what it does."""

    def __init__(
        self, function: ast.FunctionDef, source: Source, hooks: Any, scope: dict[str, Any], about: str, mine: bool
    ):
        self.function, self.source, self.hooks, self.scope = function, source, hooks, scope
        self.about, self.mine = about, mine

    def apply(self) -> None:
        """Change the function's body. One that yields stays as it is: what it does, it does later."""
        function, given = self.function, self.function.args
        if any(isinstance(node, ast.Yield | ast.YieldFrom | ast.Await) for node in ast.walk(function)):
            return
        parameters = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        others = [a.arg for a in (given.vararg, given.kwarg) if a]
        self.local = {*parameters, *others, *_stored(function)}
        place = self.about, function.name, self.source.file, function.lineno, parameters, self.mine
        number = self.hooks.function(*place)
        documented = ast.get_docstring(function) is not None
        said, body = function.body[:documented], function.body[documented:]
        begins = f"{CALL} = {HOOKS}.entered({number}, locals())\nif {HOOKS}.answered: return {HOOKS}.answer()"
        end = ast.Expr(_hook("left", _name(CALL), ast.Constant(None), _flags([]), ast.Constant(None)))
        function.body = [*said, *ast.parse(begins).body, *self.block(body), end]

    def block(self, body: list[ast.stmt]) -> list[ast.stmt]:
        return [made for statement in body for made in self.statement(statement)]

    def statement(self, node: Any) -> list[ast.stmt]:
        if isinstance(node, SIMPLE):
            return self.simple(node)
        if isinstance(node, ast.For | ast.While) and self.mine and not _calls_layers(node):
            return self.loop(node)
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            return [node]
        first: list[ast.stmt] = []
        if isinstance(node, ast.If) and (names := _walrus(node.test)):
            asked = ast.copy_location(_assign(VALUE, node.test), node)
            site = self.site(node.test)
            first = [self.before(site), asked, *self.made(names, site)]
            node.test = _name(VALUE)
        for block in ("body", "orelse", "finalbody"):
            if isinstance(inner := getattr(node, block, None), list):
                setattr(node, block, self.block(inner))
        for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            part.body = self.block(part.body)
        return [*first, node]

    def simple(self, node: Any) -> list[ast.stmt]:
        site = self.site(node)
        before: list[ast.stmt] = [self.before(site)]
        if isinstance(node, ast.Return):
            return [*before, self.returned(node, site)]
        if isinstance(node, ast.Expr):
            return [*before, node, *self.made([*_walrus(node), *_written_by(node.value)], site)]
        if node.value is None:  # an annotation alone
            return [node]
        names = dict.fromkeys([*_walrus(node), *(_root(target).id for target in _targets(node))])
        node.value = self.arguments_told(node.value)
        added: list[ast.stmt] = []
        if _adds_to_a_part(node):
            before.append(ast.copy_location(_assign(VALUE, node.value), node))
            node.value = _name(VALUE)
            of, key = node.target.value, node.target.slice
            added = [ast.Expr(_hook("added", _name(CALL), site, of, key, _name(VALUE)))]
        return [*before, node, *added, *self.made(list(names), site)]

    def loop(self, node: Any) -> list[ast.stmt]:
        """A loop is told of as one statement, which makes what is read after it or was there before it."""
        site = self.site(node)
        inside = {id(n) for n in ast.walk(node)}
        outside = {n.id for n in ast.walk(self.function) if isinstance(n, ast.Name) and id(n) not in inside}
        targets = [target for part in ast.walk(node) for target in _targets(part)]
        written = [name for part in ast.walk(node) if isinstance(part, ast.Expr) for name in _written_by(part.value)]
        names = [n for n in dict.fromkeys([*(_root(t).id for t in targets), *written]) if n in outside]
        quiet = [ast.Expr(_hook("quiet", ast.Constant(on))) for on in (True, False)]
        whole = ast.Try([node], [], [], [quiet[1]])
        unbound = ast.Name("NameError", ast.Load())  # of a name that no round gave a value to
        made = [
            ast.Try([one], [ast.ExceptHandler(unbound, None, [ast.Pass()])], [], []) for one in self.made(names, site)
        ]
        return [self.before(site), quiet[0], whole, *made]

    def returned(self, node: ast.Return, site: ast.expr) -> ast.stmt:
        """Each part of a returned tuple is a result of its own."""
        value = node.value or ast.Constant(None)
        parts = value.elts if isinstance(value, ast.Tuple) else [value]
        moved = _flags([not _computes(part) for part in parts])
        return ast.copy_location(ast.Return(_hook("left", _name(CALL), site, moved, self.arguments_told(value))), node)

    def arguments_told(self, value: ast.expr) -> ast.expr:
        """`value`, in which what is computed on the way into a layer, `forward(a + b)`, is told of, too; in a reader's
        file also what is on its way into another function of it.
        """
        for call in [node for node in _now(value) if isinstance(node, ast.Call)]:
            layer = isinstance(call.func, ast.Attribute) and call.func.attr in LAYERS
            layer = layer and getattr(_root(call.func), "id", "") == "ops"
            if layer or isinstance(call.func, ast.Name) and self.mine and call.func.id in self.source.functions:
                for place, argument in enumerate(call.args):
                    if isinstance(argument, ast.BinOp) or self.mine and isinstance(argument, ast.Call | ast.Attribute):
                        site = self.site(argument)
                        call.args[place] = _hook("inner", _name(CALL), site, _call("locals"), argument)
        return value

    def before(self, site: ast.expr) -> ast.stmt:
        """hooks.recording and hooks.before(call, site, locals())"""
        recording = ast.Attribute(_name(HOOKS), "recording", ast.Load())
        return ast.Expr(ast.BoolOp(ast.And(), [recording, _hook("before", _name(CALL), site, _call("locals"))]))

    def made(self, names: list[str], site: ast.expr) -> list[ast.stmt]:
        """name = hooks.made(call, site, "name", name); of a name that is not the function's own, without `name =`."""
        told = {name: _hook("made", _name(CALL), site, ast.Constant(name), _name(name)) for name in names}
        return [_assign(name, hook) if name in self.local else ast.Expr(hook) for name, hook in told.items()]

    def site(self, node: Any) -> ast.expr:
        inner, loop = isinstance(node, ast.expr), isinstance(node, ast.For | ast.While)
        first, last, source = node.lineno, node.end_lineno, self.source
        code = ast.unparse(node) if inner else source.code(first, last, loop)
        text = ast.unparse(node)
        plain = ast.parse(text, mode="eval").body if inner else ast.parse(text).body[0]
        statement = Statement(source.file, first, last, code, source.comment(first, last), plain, self.scope)
        return ast.Constant(self.hooks.statement(statement))


def _stored(function: ast.FunctionDef) -> set[str]:
    """The names that a function itself gives values to, those that it declares global or nonlocal included."""
    now = [node for statement in function.body if not isinstance(statement, LATER) for node in _now(statement)]
    names = {node.id for node in now if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return names.union(*(_walrus(statement) for statement in function.body))


def _now(node: ast.AST, but: tuple = LATER) -> Iterator[ast.AST]:
    """The nodes of what runs by itself, without what runs in a scope of its own."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, but):
            yield from _now(child, but)


def _adds_to_a_part(node: Any) -> bool:
    """Whether it is `target[key] += value`, the key being no slice."""
    sliced = isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Subscript) and isinstance(node.op, ast.Add)
    return sliced and not any(isinstance(part, ast.Slice) for part in ast.walk(node.target.slice))


def _targets(node: ast.AST) -> list[Any]:
    """What a statement gives values to, or writes into: names, subscripts, attributes."""
    given: list[Any] = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    found: list[Any] = []
    for target in given:
        if isinstance(target, ast.Tuple | ast.List):
            found += [one for part in target.elts for one in _targets(ast.Assign([part], ast.Constant(0)))]
        elif isinstance(target, ast.Starred):
            found += _targets(ast.Assign([target.value], ast.Constant(0)))
        elif target is not None and isinstance(_root(target), ast.Name):
            found.append(target)
    return found


def _root(node: Any) -> Any:
    """`x` of x[0].y"""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return node


def _walrus(node: ast.AST) -> list[str]:
    """The names that := gives values to."""
    return [n.target.id for n in _now(node, (ast.Lambda,)) if isinstance(n, ast.NamedExpr)]


def _written_by(value: ast.expr) -> list[str]:
    """The names that a call may write into: dw in `scatter_add(dw, ...)`, outs in `outs.append(out)`."""
    if not isinstance(value, ast.Call):
        return []
    method = [value.func] if isinstance(value.func, ast.Attribute) else []
    roots = [_root(part) for part in (*value.args, *(k.value for k in value.keywords), *method)]
    return list(dict.fromkeys(root.id for root in roots if isinstance(root, ast.Name)))


def _calls_layers(loop: ast.AST) -> bool:
    """Whether a loop calls layers or returns, so that it is gone through round by round."""
    nodes = list(ast.walk(loop))
    called = {getattr(node.func, "attr", getattr(node.func, "id", "")) for node in nodes if isinstance(node, ast.Call)}
    return bool(called & {*LAYERS}) or any(isinstance(node, ast.Return) for node in nodes)


def _computes(value: ast.expr) -> bool:
    """Whether an expression computes, and does not only move: x.reshape(n * m) moves, (x + y).reshape(n) computes."""
    if isinstance(value, ast.Call):
        return _computes(value.func)
    if isinstance(value, ast.Attribute | ast.Subscript):
        return _computes(value.value)
    return not isinstance(value, ast.Name | ast.Constant)


def _flags(flags: list[bool]) -> ast.Tuple:
    return ast.Tuple([ast.Constant(flag) for flag in flags], ast.Load())


def _name(name: str, context: Any = None) -> ast.Name:
    return ast.Name(name, context or ast.Load())


def _call(function: str) -> ast.Call:
    return ast.Call(_name(function), [], [])


def _hook(method: str, *given: ast.expr) -> ast.Call:
    return ast.Call(ast.Attribute(_name(HOOKS), method, ast.Load()), list(given), [])


def _assign(name: str, value: ast.expr) -> ast.Assign:
    return ast.Assign([_name(name, ast.Store())], value)

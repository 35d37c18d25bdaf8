"""nanoGPT's configuration files: Python files of assignments, read here without being executed.

nanoGPT executes such a file, so whatever assigns in one can change a run. Here an assignment is evaluated, or it is an
error: a run never trains with other settings than its file says.
"""

import ast
import difflib
import re
import typing
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from tinygpt.errors import UserError, brief
from tinygpt.files import expanded, read_bytes
from tinygpt.models.gpt2 import GPTConfig
from tinygpt.run.config import A_VALUE_OF, MODEL_SHAPE, TrainConfig, plain_type
from tinygpt.run.expressions import NotEvaluated, Unknown, asks_pytorch, bounded, combine, evaluate
from tinygpt.run.nanogpt_defaults import IMPORTED, LEFT_ALONE, OF_SAMPLE, WITHOUT_MEANING, another, as_here, auto_is

HARMLESS = {  # functions that change nothing where a file calls them
    *("print", "str", "int", "float", "bool", "abs", "min", "max", "round", "len", "repr", "format", "sum", "sorted"),
    *("range", "list", "tuple", "dict", "set", "zip", "enumerate", "any", "all", "isinstance", "type"),
}
MEDDLING = {  # modules that reach what a file's names are kept in
    *("sys", "builtins", "inspect", "importlib", "ctypes", "gc", "__main__", "runpy", "types", "code", "operator"),
}
LIMIT = 1 << 16  # bytes of a file: nanoGPT's longest has two thousand, and Python's tree of it a thousand times that
SHOWN = 60  # characters of a line of it, and as many of its lines, in a message
HINTS = typing.get_type_hints(TrainConfig)
KINDS: dict[str, type] = {name: plain_type(hint) for name, hint in HINTS.items()} | OF_SAMPLE
MAY_BE_NONE = {name for name, hint in HINTS.items() if plain_type(hint) is not hint} | {"top_k", "top_p"}


def read_nanogpt_config(path: str, here: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], list[str]]:
    """The settings of training in a nanoGPT configuration file, and notes on what in it was left alone; see
    `read_settings`.
    """
    settings, left, notes = read_settings(path, here)
    left += [name for name in settings if name in OF_SAMPLE]
    notes = [left_alone(path, left)] * bool(left) + notes
    return {name: value for name, value in settings.items() if name not in OF_SAMPLE}, notes


def left_alone(path: str, what: list[str]) -> str:
    """A note on what of a file is not used."""
    more = f" and {len(what) - SHOWN} more" if len(what) > SHOWN else ""
    return f"{path}: left alone: {', '.join(what[:SHOWN])}{more}"


def read_settings(path: str, here: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], list[str], list[str]]:
    """What a nanoGPT configuration file sets, of training and of sampling; what in it has no meaning here; and notes on
    what has another. Nothing is executed: see `expressions.evaluate` for what values may be made of.

    here: the settings before the file, which it may read as nanoGPT's files read its defaults; ours if not given.
    Raises UserError, with the line, for a file that cannot be read, an unknown setting, one that cannot be evaluated or
    has a value of another kind, and for whatever else could change a setting.
    """
    reader = _Reader(path, vars(TrainConfig()) if here is None else here)
    try:
        reader.read()
    except RecursionError:
        raise UserError(f"{path} is not a configuration file of assignments: it is nested too deep") from None
    return reader.settings, reader.left, reader.notes()


class _Later:
    """A name that a file gives to something without a value here: a module, the time, what a call would return."""

    def __init__(self, line: int, harmless: bool):
        self.line, self.harmless = line, harmless


class _Reader:
    """Goes through a file as Python would, statement by statement."""

    def __init__(self, path: str, here: Mapping[str, Any]):
        self.path, self.here = path, here
        # What the file assigns: values, or _Later. What nanoGPT's train.py imports is there without being imported
        self.names: dict[str, Any] = {name: _Later(0, True) for name in IMPORTED}
        self.modules: set[str] = {*IMPORTED}  # names that it imports
        self.settings: dict[str, Any] = {}
        self.left: list[str] = []  # alone
        self.said: list[str] = []  # of values that are others here
        self.lines_of: dict[str, int] = {}  # where settings and helpers were assigned last
        self.helpers: dict[str, int] = {}  # names that are no settings, and where they came first
        self.used: set[str] = set()  # names that an assignment or a condition reads
        self.counted_on: set[str] = set()  # settings that it reads as they are before the file

    def read(self) -> None:
        try:
            text = read_bytes(expanded(self.path), LIMIT).decode("utf-8-sig")
        except UserError as error:
            problem = str(error).removeprefix(f"could not read {expanded(self.path)}: ")
            raise UserError(f"could not read the configuration file {self.path}: {problem}") from None
        except UnicodeDecodeError as error:
            if error.object.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise UserError(f"{self.path} is text in UTF-16, as Windows may write it; save it as UTF-8") from None
            line = error.object[: error.start].count(b"\n") + 1
            raise UserError(f"{self.path}, line {line} is not UTF-8 ({error.reason}); save the file as UTF-8") from None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a backslash in a text
                tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the last for brackets nested too deep
            problem = str(error) or "it is nested too deep"
            if isinstance(error, SyntaxError) and error.lineno:
                problem = f"line {error.lineno}: {error.msg}"
            raise UserError(
                f"{self.path} is not a configuration file of assignments such as `n_layer = 6` ({problem})"
            ) from error
        self.lines = re.split("\r\n|\r|\n", text)  # as Python counts them
        for statement in tree.body:
            self.statement(statement)
        for name, line in self.helpers.items():
            if name not in self.used and not name.startswith("_"):
                raise self.unknown(name, line)
        for name, value in self.settings.items():
            if name not in OF_SAMPLE:
                self.check(name, value)

    def check(self, name: str, value: Any) -> None:
        """Raise UserError, with the line, for a setting that no run, or no model, can have."""
        place = f"{self.path}, line {self.lines_of[name]}"
        try:
            TrainConfig(**{name: value})
        except UserError as error:
            raise UserError(f"{place}: {error}") from None
        if name in (*MODEL_SHAPE, "dropout") and value is not None:
            try:
                GPTConfig(**{"vocab_size": 1, "n_embd": value if name == "n_head" else 1, "n_head": 1, name: value})
            except UserError as error:
                problem = str(error).partition("; ")[2]
                raise UserError(f"{place}: {self.lines[self.lines_of[name] - 1].strip()[:SHOWN]}; {problem}") from None

    def notes(self) -> list[str]:
        for name in sorted(self.counted_on):
            if words := another(name, self.here.get(name)):
                self.said.append(f"{self.path} reads {name} without setting it: {words}")
        return self.said

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Pass() | ast.Expr(value=ast.Constant()):  # a docstring
                return
            case ast.Import() | ast.ImportFrom():
                self.imported(node)
            case ast.Assign():
                values = self.values(node.value, node)
                for target in node.targets:
                    self.assign(target, values, node)
            case ast.AnnAssign():
                if not self.is_harmless(node.annotation):
                    raise self.refused(node, "its annotation is not evaluated")
                if node.value is not None:
                    self.assign(node.target, self.values(node.value, node), node)
            case ast.AugAssign(target=ast.Name(id=name)):
                self.assign(node.target, self.augmented(name, node), node)
            case ast.If():
                self.branch(node)
            case ast.Assert():
                self.assertion(node)
            case ast.Expr():
                used = set(self.used)  # to print a name is no use of it
                if not self.is_harmless(node.value):
                    raise self.refused(node, "what it does to the settings cannot be told")
                self.left.append(self.line(node))
                self.used = used
            case _:
                kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(node).__name__).lower()
                raise self.refused(node, f"{kind} is not evaluated, and could change a setting")

    def line(self, node: ast.stmt) -> str:
        return self.lines[node.lineno - 1].strip()[:SHOWN].rstrip(":")

    def refused(self, node: ast.stmt, why: str) -> UserError:
        return UserError(
            f"{self.path}, line {node.lineno}: {self.line(node)}: {why}, since nothing in the file is executed; write "
            "the settings that it leads to, such as n_layer = 6"
        )

    def unknown(self, name: str, line: int) -> UserError:
        nearest = difflib.get_close_matches(name[:SHOWN], [*KINDS, *WITHOUT_MEANING], n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else "; tinygpt train --help lists what there is"
        return UserError(f"{self.path}, line {line}: unknown setting {name[:SHOWN]}{hint}")

    # values

    def lookup(self, name: str) -> Any:
        """What a name stands for: what the file has assigned, or what it was before the file."""
        self.used.add(name)
        if name in self.names:
            value = self.names[name]
            if isinstance(value, _Later):
                whence = f", from line {value.line}," if value.line else ""
                raise NotEvaluated(f"{name[:SHOWN]}{whence} has no value without executing the file")
            return value
        value = self.here.get(name) if name in KINDS else LEFT_ALONE.get(name)
        if value is None:
            raise Unknown(name)
        self.counted_on.add(name)
        return value

    def why(self, error: NotEvaluated) -> str:
        """Why there is no value, in a few words."""
        if not isinstance(error, Unknown):
            return str(error)
        name = str(error)[:SHOWN]
        known = [*self.names.keys() - IMPORTED, *KINDS]
        nearest = [near for near in difflib.get_close_matches(name, known, n=1) if near != name]
        return f"{name} is not set above" + (f" (did you mean {nearest[0]}?)" if nearest else "")

    def values(self, value: ast.expr, node: ast.stmt) -> Any:
        """The value of what is assigned, for `a, b = ...` of each part; _Unevaluated, with why, where there is none."""
        if isinstance(value, ast.Tuple) and any(
            isinstance(target, ast.Tuple | ast.List) for target in getattr(node, "targets", ())
        ):
            return tuple(self.values(part, ast.Pass()) for part in value.elts)
        try:
            return evaluate(value, self.lookup)
        except NotEvaluated as error:
            asked = asks_pytorch(value) if "torch" in self.modules else frozenset()
            return _Unevaluated(error, self.is_harmless(value), asked)

    def augmented(self, name: str, node: ast.AugAssign) -> Any:
        if isinstance(self.names.get(name), list):  # which may have other names
            raise self.refused(node, "a list that is changed is not followed")
        read_before = name in self.used
        try:
            before = self.lookup(name)
            value = bounded(combine(node.op, before, evaluate(node.value, self.lookup)))
        except NotEvaluated as error:
            value = _Unevaluated(error, self.is_harmless(node.value))
        except (ArithmeticError, TypeError, ValueError, LookupError) as error:
            value = _Unevaluated(NotEvaluated(f"Python says {str(error)[:100]!r}"), True)
        if not read_before:
            self.used.discard(name)  # to add to a name is no use of it
        return value

    def is_harmless(self, node: ast.AST) -> bool:
        """Whether an expression that has no value here would change no setting if it were executed: it calls only what
        is known to change nothing, and knows of nothing that could.
        """
        for part in ast.walk(node):
            match part:
                case ast.NamedExpr() | ast.Await() | ast.Yield() | ast.YieldFrom() | ast.Starred():
                    return False
                case ast.Attribute(attr=name) if name.startswith("_") or name in MEDDLING:
                    return False
                case ast.Name(id=name):
                    if name in self.names:
                        self.used.add(name)
                        value = self.names[name]
                        if isinstance(value, list) or isinstance(value, _Later) and not value.harmless:
                            return False
                    elif name not in KINDS and name not in LEFT_ALONE and name not in HARMLESS:
                        return False
                case ast.Call(func=function):
                    while isinstance(function, ast.Attribute | ast.Subscript | ast.Call):
                        function = function.func if isinstance(function, ast.Call) else function.value
                    if not isinstance(function, ast.Name | ast.Constant | ast.JoinedStr):
                        return False
        return True

    # statements

    def imported(self, node: ast.Import | ast.ImportFrom) -> None:
        modules = [getattr(node, "module", None) or alias.name for alias in node.names]
        for alias, module in zip(node.names, modules, strict=True):
            name = alias.asname or alias.name.partition(".")[0]
            if name == "*" or name in KINDS:
                raise self.refused(node, "what it brings is not read, and could be a setting")
            parts = {*module.split("."), alias.name}
            self.modules.add(name)
            self.names[name] = _Later(node.lineno, not parts & MEDDLING and not getattr(node, "level", 0))
        self.left.append(self.line(node))

    def assign(self, target: ast.expr, value: Any, node: ast.stmt) -> None:
        if isinstance(target, ast.Name):
            if isinstance(value, tuple) and any(isinstance(part, _Unevaluated | tuple) for part in value):
                raise self.refused(node, "which name gets which value cannot be told")
            self.bind(target.id, value, node)
        elif isinstance(target, ast.Tuple | ast.List):
            parts = value if isinstance(value, tuple | list) else ()
            if len(parts) != len(target.elts) or any(isinstance(part, ast.Starred) for part in target.elts):
                raise self.refused(node, "which name gets which value cannot be told")
            for part, one in zip(target.elts, parts, strict=True):
                self.assign(part, one, node)
        elif not self.is_in_a_module(target) or isinstance(value, _Unevaluated) and not value.harmless:
            raise self.refused(node, "what it changes cannot be told")
        else:
            self.left.append(self.line(node))

    def is_in_a_module(self, target: ast.expr) -> bool:
        """Whether the target, such as `os.environ["X"]`, is in a module, where no setting is kept."""
        root = target
        while isinstance(root, ast.Attribute | ast.Subscript):
            root = root.value
        return isinstance(root, ast.Name) and root.id in self.modules and self.is_harmless(target)

    def bind(self, name: str, value: Any, node: ast.stmt) -> None:
        line = node.lineno
        unevaluated = isinstance(value, _Unevaluated)
        if name.startswith("mine") and name in KINDS:
            raise UserError(
                f"{self.path}, line {line}: {name} makes a run execute files, which is for you to say and not for a "
                "file; give --mine=FOLDER on the command line"
            )
        if name in KINDS:
            kept = self.setting(name, value, node)
            self.settings[name], self.lines_of[name] = kept, line
        elif unevaluated and not value.harmless:
            raise self.refused(node, f"{self.why(value.why)}, and whether it changes a setting cannot be told")
        elif name in WITHOUT_MEANING:
            if name not in self.left:
                self.left.append(name)
        elif name not in self.names:
            self.helpers[name] = line
        self.names[name] = _Later(line, True) if unevaluated else value
        self.modules.discard(name)

    def setting(self, name: str, value: Any, node: ast.stmt) -> Any:
        """`value` as the setting of that name. Raises UserError for another kind of value."""
        kind, problem = KINDS[name], f"{self.path}, line {node.lineno}: {self.line(node)}"
        expected = A_VALUE_OF[kind]
        if isinstance(value, _Unevaluated) and (meaning := auto_is(name, value.asks_pytorch)):
            self.said.append(f"{self.path}, line {node.lineno}: {name} is auto: {meaning}")
            return "auto"
        if isinstance(value, _Unevaluated):
            such = {"device": ", such as 'auto'", "dtype": ", such as 'auto'"}.get(name, "")
            why = f"but {self.why(value.why)}, and nothing in the file is executed"
            way_out = f"write the value itself{such}, or leave the line out and give --{name}"
            raise UserError(f"{problem}; expected {expected}, {why}; {way_out}")
        if value is None and name in MAY_BE_NONE:
            return None  # as if it were not given
        if kind is float and type(value) is int and abs(value) < 2**64:
            value = float(value)
        if kind is int and type(value) is float and value.is_integer() and abs(value) < 2**64:
            value = int(value)
        if type(value) is not kind:
            raise UserError(f"{problem}; expected {expected}, and it is {brief(value)}")
        value, why = as_here(name, value)
        self.said += [f"{self.path}: {name} is {value}, since {why}"] * bool(why)
        return value

    def condition(self, test: ast.expr, node: ast.stmt) -> bool:
        try:
            return bool(evaluate(test, self.lookup))
        except NotEvaluated as error:
            raise self.refused(node, f"whether this is so cannot be told ({self.why(error)})") from None

    def branch(self, node: ast.If) -> None:
        for test, body in _branches(node):
            if test is None or self.condition(test, node):
                for statement in body:
                    self.statement(statement)
                return

    def assertion(self, node: ast.Assert) -> None:
        try:
            holds = bool(evaluate(node.test, self.lookup))
        except NotEvaluated:
            if not self.is_harmless(node.test):
                raise self.refused(node, "what it does to the settings cannot be told") from None
            self.left.append(self.line(node))
            return
        if not holds:
            raise UserError(f"{self.path}, line {node.lineno}: {self.line(node)}: this does not hold")


class _Unevaluated:
    """In place of a value that there is not: why, whether to make it would change nothing else, and between which texts
    it chooses by what PyTorch says of the machine.
    """

    def __init__(self, why: NotEvaluated, harmless: bool, asks_pytorch: frozenset[str] = frozenset()):
        self.why, self.harmless, self.asks_pytorch = why, harmless, asks_pytorch


def _branches(node: ast.If) -> Iterator[tuple[ast.expr | None, list[ast.stmt]]]:
    """An `if`, its `elif`s and its `else`, as (condition, statements)."""
    while True:
        yield node.test, node.body
        if len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
            node = node.orelse[0]
        else:
            yield None, node.orelse
            return

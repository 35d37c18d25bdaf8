"""The value of a Python expression, worked out on its syntax tree: nothing is executed, and nothing can grow large."""

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

LARGEST = 1 << 128  # of whole numbers; no setting is a larger one
LONGEST = 1 << 16  # characters of a text
ENTRIES = 1000  # of a tuple or a list
DEEPEST = 100  # expressions within expressions
WIDEST = 3  # digits of a number in a format, such as the width in f"{x:8}"
BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow, ast.LShift: operator.lshift,
    ast.RShift: operator.rshift, ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor,
}  # fmt: skip
UNARY: dict[type, Callable[[Any], Any]] = {
    ast.UAdd: operator.pos, ast.USub: operator.neg, ast.Not: operator.not_, ast.Invert: operator.invert,
}  # fmt: skip
COMPARISONS: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
    ast.Is: operator.is_, ast.IsNot: operator.is_not,
}  # fmt: skip
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "int": int, "float": float, "str": str, "bool": bool, "abs": abs, "min": min, "max": max, "round": round,
    "len": len,
}  # fmt: skip
CONVERSIONS: dict[int, Callable[[Any], str]] = {ord("r"): repr, ord("s"): str, ord("a"): ascii}
_PYTORCHS = r"torch\.(cuda\.is_available|cuda\.is_bf16_supported|backends\.mps\.is_available)\(\)"
ASKED = re.compile(rf"{_PYTORCHS}( and {_PYTORCHS})*")
KINDS = {
    ast.NamedExpr: "an assignment within an expression", ast.Lambda: "a function", ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension", ast.DictComp: "a comprehension", ast.GeneratorExp: "a comprehension",
    ast.Dict: "a dict", ast.Set: "a set", ast.Starred: "a star",
}  # fmt: skip


class NotEvaluated(Exception):
    """Why an expression has no value here, in a few words."""


def evaluate(node: ast.expr, lookup: Callable[[str], Any], depth: int = 0) -> Any:
    """The value of an expression of literals, names, arithmetic, comparisons, conditions, f-strings, and calls of the
    few FUNCTIONS: a number, a text, True, False, None, or a tuple or a list of those.

    lookup: a name's value; it raises NotEvaluated for a name that has none. Raises NotEvaluated for everything else,
    for what Python would not compute either, and for what would be larger than any setting.
    """
    if depth > DEEPEST:
        raise NotEvaluated("it is nested too deep")
    try:
        return bounded(_value(node, lookup, lambda part: evaluate(part, lookup, depth + 1)))
    except (ArithmeticError, TypeError, ValueError, LookupError) as error:
        raise NotEvaluated(f"Python says {str(error)[:100]!r}") from None


def bounded(value: Any) -> Any:
    """`value`, if it is of a kind and a size that a setting can have. Raises NotEvaluated otherwise."""
    if isinstance(value, tuple | list):
        if len(value) > ENTRIES or any(isinstance(entry, tuple | list) for entry in value):
            raise NotEvaluated("it is a list of lists, or longer than any that a setting needs")
    elif value is not None and not isinstance(value, int | float | str):
        raise NotEvaluated(f"a value of the type {type(value).__name__} is no setting")
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise NotEvaluated("a number in it is larger than any setting")
    elif isinstance(value, str) and len(value) > LONGEST:
        raise NotEvaluated("a text in it is longer than any setting")
    return value


def _value(node: ast.expr, lookup: Callable[[str], Any], of: Callable[[ast.expr], Any]) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return lookup(node.id)
        case ast.Tuple() | ast.List():
            return (tuple if isinstance(node, ast.Tuple) else list)(map(of, node.elts))
        case ast.UnaryOp():
            return UNARY[type(node.op)](of(node.operand))
        case ast.BinOp() if type(node.op) in BINARY:
            return combine(node.op, of(node.left), of(node.right))
        case ast.BoolOp():
            for part in node.values:
                value = of(part)
                if bool(value) is isinstance(node.op, ast.Or):
                    break
            return value
        case ast.Compare():
            return _compared(node, of)
        case ast.IfExp():
            return of(node.body if of(node.test) else node.orelse)
        case ast.Subscript() if not isinstance(node.slice, ast.Slice):
            return of(node.value)[of(node.slice)]
        case ast.JoinedStr():
            return _joined(node, of)
        case ast.Call():
            return _called(node, lookup, of)
    raise NotEvaluated(f"{KINDS.get(type(node)) or _named(node)} is not evaluated")


def combine(op: ast.operator, left: Any, right: Any) -> Any:
    """`left op right`. Raises NotEvaluated where the result would be too large to begin with."""
    whole = isinstance(left, int) and isinstance(right, int)
    if isinstance(op, ast.Pow) and whole and right * abs(left).bit_length() > 512 and abs(left) > 1:
        raise NotEvaluated("a number in it is larger than any setting")
    if isinstance(op, ast.LShift) and whole and right > 512:
        raise NotEvaluated("a number in it is larger than any setting")
    if isinstance(op, ast.Mult) and any(isinstance(side, str | tuple | list) for side in (left, right)):
        sizes = [side if isinstance(side, int) else len(side) for side in (left, right)]
        if sizes[0] * sizes[1] > LONGEST:
            raise NotEvaluated("a text in it is longer than any setting")
    if isinstance(op, ast.Mod) and isinstance(left, str):
        _check_format(left)
        parts = right if isinstance(right, tuple) else (right,)
        if "*" in left or len(left) + sum(len(str(part)) for part in parts) > LONGEST:
            raise NotEvaluated("a text in it is longer than any setting")
    return BINARY[type(op)](left, right)


def _compared(node: ast.Compare, of: Callable[[ast.expr], Any]) -> bool:
    left = of(node.left)
    for op, part in zip(node.ops, node.comparators, strict=True):
        right = of(part)
        if isinstance(op, ast.Is | ast.IsNot) and not any(
            side is None or isinstance(side, bool) for side in (left, right)
        ):
            raise NotEvaluated("`is` between two numbers or texts depends on the Python that computes it; write ==")
        if not COMPARISONS[type(op)](left, right):
            return False
        left = right
    return True


def _joined(node: ast.JoinedStr, of: Callable[[ast.expr], Any]) -> str:
    text = ""
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            specification = of(part.format_spec) if part.format_spec else ""
            _check_format(specification)
            value = of(part.value)
            if part.conversion in CONVERSIONS:
                value = CONVERSIONS[part.conversion](value)
            text += format(value, specification)
        else:
            text += of(part)
        bounded(text)
    return text


def _check_format(specification: str) -> None:
    """Raise NotEvaluated for a width, or a number of digits, that would make a text of millions of characters."""
    if re.search(rf"\d{{{WIDEST + 1}}}", specification):
        raise NotEvaluated("a text in it is longer than any setting")


def _called(node: ast.Call, lookup: Callable[[str], Any], of: Callable[[ast.expr], Any]) -> Any:
    function = node.func.id if isinstance(node.func, ast.Name) else ""
    if function not in FUNCTIONS or node.keywords or _is_assigned(function, lookup):
        raise NotEvaluated(f"{_named(node.func)}(...) is not called")
    values = list(map(of, node.args))
    if function == "round" and len(values) == 2 and not (isinstance(values[1], int) and abs(values[1]) < 1000):
        raise NotEvaluated("a number in it is larger than any setting")
    return FUNCTIONS[function](*values)


def _is_assigned(name: str, lookup: Callable[[str], Any]) -> bool:
    """Whether a file has given the name of a function to something of its own."""
    try:
        lookup(name)
    except NotEvaluated as error:
        return not isinstance(error, Unknown)
    return True


class Unknown(NotEvaluated):
    """Nothing has the name."""


def asks_pytorch(node: ast.expr) -> frozenset[str]:
    """What an expression such as "cuda" if torch.cuda.is_available() else "cpu" takes where there is a card; nothing
    for any other.
    """
    match node:
        case ast.IfExp(body=ast.Constant(value=str(card))) if card not in ("cpu", "float32") and ASKED.fullmatch(
            ast.unparse(node.test)
        ):
            if isinstance(node.orelse, ast.Constant) and isinstance(node.orelse.value, str):
                return frozenset({card})
            return asks_pytorch(node.orelse) and frozenset({card}) | asks_pytorch(node.orelse)
    return frozenset()


def _named(node: ast.expr) -> str:
    """An expression's name, such as `os.environ.get`, as far as it is made of names."""
    names: list[str] = []
    while isinstance(node, ast.Attribute) and len(names) < 5:
        names.append(node.attr[:40])
        node = node.value
    if isinstance(node, ast.Call):
        names.append(f"{_named(node.func)}(...)" if len(names) < 5 and not isinstance(node.func, ast.Call) else "...")
    else:
        names.append(node.id[:40] if isinstance(node, ast.Name) else "...")
    return ".".join(reversed(names))

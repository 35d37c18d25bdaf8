"""Edits of source as trees: a mistake is a few words of its definition, and what stands there instead.

Both texts of an edit are Python, an expression or some statements, and are compared with the definition as trees, so
that comments, spacing, quotes and line breaks never matter. The first must be found just once. In it `...` stands for
any one expression, or at the end of a call for the rest of its arguments, and in the second for the same again:

    ("dx = rstd * ...", "dx = ...")                      without the factor in front
    ("bmm(dscores, q, ...)", "bmm(dscores, k, ...)")     of another array
    ("scale(...)", "")                                   not at all

Names do not matter either. Beside the mistakes stand, for each function, the names in which they are written, in the
order in which the function binds them; a definition that binds as many goes by those, whatever it calls them itself,
and one that binds more or fewer by its own.
"""

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from tinygpt.errors import UserError


class StaleEdit(UserError):
    """An edit that does not fit its definition any more."""


def edited(source: str, edits: Sequence[tuple[str, str]]) -> ast.Module:
    """The tree of `source` after the edits, each made in what the ones before have left. Raises StaleEdit."""
    tree = ast.parse(source)
    for old, new in edits:
        _replace(tree, old, new)
    return tree


def bound_names(function: ast.FunctionDef) -> list[str]:
    """The names that a function binds, its arguments first, in the order of the text."""
    nodes = [n for n in ast.walk(function) if isinstance(n, ast.arg | ast.Name)]
    bound = [n for n in nodes if isinstance(n, ast.arg) or isinstance(n.ctx, ast.Store)]
    bound.sort(key=lambda n: (n.lineno, n.col_offset))
    return list(dict.fromkeys(n.arg if isinstance(n, ast.arg) else n.id for n in bound))


def renamed(source: str, names: Mapping[str, str]) -> str:
    """`source`, the locals of its functions called what edits call them. names: by function, with spaces between."""
    tree = ast.parse(source)
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in names]:
        bound, known = bound_names(function), names[function.name].split()
        called = dict(zip(bound, known, strict=True)) if len(bound) == len(known) else {}
        for node in ast.walk(function):
            if isinstance(node, ast.Name):
                node.id = called.get(node.id, node.id)
            elif isinstance(node, ast.arg):
                node.arg = called.get(node.arg, node.arg)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function.name:
                for keyword in node.keywords:
                    keyword.arg = called.get(keyword.arg or "", keyword.arg)
    return ast.unparse(tree)


def _replace(tree: ast.Module, old: str, new: str) -> None:
    wanted, instead = _parsed(old), _parsed(new or "pass")
    if isinstance(wanted[0], ast.Expr) and isinstance(instead[0], ast.Expr):
        wanted, instead = [wanted[0].value], [instead[0].value]
    found, nodes = [], list[Any]([tree])
    for node in nodes:  # of which there are more as it goes
        for field, value in ast.iter_fields(node):
            several = value if isinstance(value, list) else [value]
            nodes += [part for part in several if isinstance(part, ast.AST)]
            for start in (n for n, part in enumerate(several) if type(part) is type(wanted[0])):
                where, holes = slice(start, start + len(wanted)), list[Any]()
                if _fits(wanted, several[where], holes):
                    found.append((node, field, several, where, holes))
    if len(found) != 1:
        raise StaleEdit(f"{old!r} is found {len(found)} times, where once is expected")
    ((node, field, several, where, holes),) = found
    several[where] = [_Filled(holes).visit(part) for part in instead]
    if not isinstance(getattr(node, field), list):
        setattr(node, field, *several)


def _parsed(text: str) -> list[Any]:
    try:
        return ast.parse(text).body
    except SyntaxError as error:
        raise StaleEdit(f"{text!r} is no Python: {error.msg}") from error


def _fits(pattern: Any, node: Any, holes: list[Any]) -> bool:
    """Whether a tree, or a list of them, is as the pattern has it; what its `...` stand for goes into `holes`."""
    if _is_hole(pattern):
        holes.append(node)
        return isinstance(node, ast.expr)
    if type(pattern) is not type(node):
        return False
    if _is_open(pattern):
        given = len(pattern.args) - 1
        fits = _fits([pattern.func, *pattern.args[:-1]], [node.func, *node.args[:given]], holes)
        holes.append((node.args[given:], node.keywords))
        return fits
    if isinstance(pattern, list):
        return len(pattern) == len(node) and all(_fits(p, n, holes) for p, n in zip(pattern, node, strict=True))
    if isinstance(pattern, ast.AST):
        return all(_fits(value, getattr(node, field), holes) for field, value in ast.iter_fields(pattern))
    return pattern == node


def _is_hole(node: Any) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _is_open(node: Any) -> bool:
    """Whether it is a call that ends with `...`."""
    return isinstance(node, ast.Call) and bool(node.args) and not node.keywords and _is_hole(node.args[-1])


class _Filled(ast.NodeTransformer):
    """What stands instead, with what the `...` of the pattern stood for in their places."""

    def __init__(self, holes: list[Any]):
        self.holes = iter(holes)

    def visit_Constant(self, node: ast.Constant) -> Any:
        return next(self.holes, node) if _is_hole(node) else node

    def visit_Call(self, node: ast.Call) -> ast.Call:
        rest = node.args.pop() if _is_open(node) else None
        self.generic_visit(node)
        if rest:
            arguments, node.keywords = next(self.holes)
            node.args += arguments
        return node

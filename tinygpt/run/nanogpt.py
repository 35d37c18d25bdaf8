"""nanoGPT's configuration files: Python files of assignments, read here without being executed."""

import ast
import difflib
import operator
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinygpt.errors import UserError
from tinygpt.run.config import TrainConfig

# nanoGPT's settings that have no meaning here: accepted and left alone, so that its commands and files work
WITHOUT_MEANING = ("compile", "backend", "wandb_log", "wandb_project", "wandb_run_name")
ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}  # fmt: skip
A_VALUE_OF = {int: "a whole number", float: "a number", bool: "True or False", str: "text in quotes"}


def read_nanogpt_config(path: str) -> tuple[dict[str, Any], list[str]]:
    """The assignments of a nanoGPT configuration file, and notes on what in it was left alone. Nothing is executed:
    values are literals, or arithmetic on numbers (`5 * 8`). Raises UserError for a file that cannot be read, an unknown
    setting, or one whose value is neither.
    """
    try:
        tree = ast.parse(Path(path).read_bytes())
    except OSError as error:
        raise UserError(f"could not read the configuration file {path}: {error.strerror}") from error
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{path} is not a configuration file of assignments such as `n_layer = 6` ({error})") from error
    hints = typing.get_type_hints(TrainConfig)
    settings: dict[str, Any] = {}
    ignored = []
    for statement in tree.body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue  # a docstring
        if not isinstance(statement, ast.Assign) or not all(isinstance(name, ast.Name) for name in statement.targets):
            ignored.append(ast.unparse(statement).splitlines()[0])
            continue
        for target in statement.targets:
            name = target.id  # type: ignore[attr-defined]
            if name in WITHOUT_MEANING:
                ignored.append(name)
                continue
            if name not in hints:
                nearest = difflib.get_close_matches(name, hints, n=1)
                hint = f"; did you mean {nearest[0]}?" if nearest else "; tinygpt train --help lists what there is"
                raise UserError(f"{path}, line {statement.lineno}: unknown setting {name}{hint}")
            if name.startswith("mine"):
                raise UserError(
                    f"{path}, line {statement.lineno}: {name} makes a run execute files, which is for you to say and "
                    "not for a file; give --mine=FOLDER on the command line"
                )
            kind = plain_type(hints[name])
            value = _literal(statement.value)
            if kind is float and type(value) is int and abs(value) < 1e300:
                value = float(value)
            if type(value) is not kind:
                written = ast.unparse(statement.value)
                raise UserError(f"{path}, line {statement.lineno}: {name} = {written}; expected {A_VALUE_OF[kind]}")
            settings[name] = value
    return settings, [f"{path}: left alone: {', '.join(ignored)}"] if ignored else []


def _literal(node: ast.expr) -> Any:
    """The value of a literal or of arithmetic on numbers; None for anything else."""
    try:
        if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            left, right = _literal(node.left), _literal(node.right)
            numbers = all(type(value) in (int, float) for value in (left, right))
            return ARITHMETIC[type(node.op)](left, right) if numbers else None
        return ast.literal_eval(node)
    except (ValueError, TypeError, ZeroDivisionError, MemoryError, RecursionError):
        return None


def plain_type(hint: Any) -> type:
    """int for `int | None`, and so on."""
    if isinstance(hint, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not type(None))
    return hint

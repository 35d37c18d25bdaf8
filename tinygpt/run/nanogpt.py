"""nanoGPT's configuration files: Python files of assignments, read here without being executed."""

import ast
import difflib
import operator
import re
import typing
from collections.abc import Callable
from typing import Any

from tinygpt.errors import UserError
from tinygpt.files import read_bytes
from tinygpt.run.config import A_VALUE_OF, TrainConfig, plain_type

# nanoGPT's settings that have no meaning here: accepted and left alone, so that its commands and files work
WITHOUT_MEANING = ("compile", "backend", "wandb_log", "wandb_project", "wandb_run_name")
ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}  # fmt: skip
LIMIT = 1 << 16  # bytes of a file: nanoGPT's longest has two thousand, and Python's tree of it a thousand times that
SHOWN = 60  # characters of a line of it, and as many of its lines, in a message


def read_nanogpt_config(path: str) -> tuple[dict[str, Any], list[str]]:
    """The assignments of a nanoGPT configuration file, and notes on what in it was left alone. Nothing is executed:
    values are literals, or arithmetic on numbers (`5 * 8`). Raises UserError for a file that cannot be read, an unknown
    setting, or one whose value is neither.
    """
    try:
        text = read_bytes(path, LIMIT).decode("utf-8-sig")
    except UserError as error:
        problem = str(error).removeprefix(f"could not read {path}: ")
        raise UserError(f"could not read the configuration file {path}: {problem}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"the configuration file {path} is not UTF-8 ({error})") from None
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the last for brackets nested too deep
        problem = str(error) or "it is nested too deep"
        raise UserError(
            f"{path} is not a configuration file of assignments such as `n_layer = 6` ({problem})"
        ) from error
    lines = re.split("\r\n|\r|\n", text)  # as Python counts them
    hints = typing.get_type_hints(TrainConfig)
    settings: dict[str, Any] = {}
    ignored = []
    for statement in tree.body:
        line = lines[statement.lineno - 1].strip()[:SHOWN]
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue  # a docstring
        if not isinstance(statement, ast.Assign) or not all(isinstance(name, ast.Name) for name in statement.targets):
            ignored.append(line)
            continue
        for target in statement.targets:
            name = target.id  # type: ignore[attr-defined]
            if name in WITHOUT_MEANING:
                ignored.append(name)
                continue
            if name not in hints:
                nearest = difflib.get_close_matches(name, hints, n=1)
                hint = f"; did you mean {nearest[0]}?" if nearest else "; tinygpt train --help lists what there is"
                raise UserError(f"{path}, line {statement.lineno}: unknown setting {name[:SHOWN]}{hint}")
            if name.startswith("mine"):
                raise UserError(
                    f"{path}, line {statement.lineno}: {name} makes a run execute files, which is for you to say and "
                    "not for a file; give --mine=FOLDER on the command line"
                )
            kind = plain_type(hints[name])
            value = _literal(statement.value)
            if kind is float and type(value) is int:
                value = float(value)
            if type(value) is not kind:
                raise UserError(f"{path}, line {statement.lineno}: {line}; expected {A_VALUE_OF[kind]}")
            settings[name] = value
    more = f" and {len(ignored) - SHOWN} more" if len(ignored) > SHOWN else ""
    return settings, [f"{path}: left alone: {', '.join(ignored[:SHOWN])}{more}"] if ignored else []


def _literal(node: ast.expr) -> Any:
    """The value of a literal or of arithmetic on numbers; None for anything else, and for numbers of no use."""
    try:
        if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            left, right = _literal(node.left), _literal(node.right)
            numbers = all(type(value) in (int, float) for value in (left, right))
            value = ARITHMETIC[type(node.op)](left, right) if numbers else None
        else:
            value = ast.literal_eval(node)
        return value if type(value) is not int or abs(value) < 2**64 else None
    except (ValueError, TypeError, ArithmeticError, MemoryError, RecursionError):
        return None

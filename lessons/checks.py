"""What a cell checks of the lesson's words: `stated(...)` and `assert` are run, and folded where code is shown."""

import ast


def fold(code: str) -> tuple[str, int]:
    """The code without its checks, and how many there were.

    Checks are `stated(...)` and `assert` at the top level, and loops of nothing else; a comment directly above one
    goes with it.
    """
    lines, found = code.split("\n"), 0
    for statement in reversed(ast.parse(code).body):
        if number := _checks(statement):
            first, last = statement.lineno - 1, statement.end_lineno or statement.lineno
            while first and lines[first - 1].startswith("#"):
                first -= 1
            while first and not lines[first - 1].strip() and not "".join(lines[last : last + 1]).strip():
                first -= 1  # the blank lines that set it off
            del lines[first:last]
            found += number
    return "\n".join(lines).strip("\n"), found


def _checks(statement: ast.stmt) -> int:
    """How many checks a statement is; 0 if it is, or holds, anything else."""
    if isinstance(statement, ast.Assert):
        return 1
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        function = statement.value.func
        return int(isinstance(function, ast.Name) and function.id == "stated")
    if isinstance(statement, ast.For) and not statement.orelse:
        inside = [_checks(inner) for inner in statement.body]
        return sum(inside) if all(inside) else 0
    return 0


def is_silent(code: str) -> bool:
    """Whether there is nothing to foresee: it only imports, defines, assigns and checks, and nothing comes out."""
    waiting: list[ast.AST] = [statement for statement in ast.parse(code).body if not _checks(statement)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant):
            return False
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            waiting += ast.iter_child_nodes(node)
    return True

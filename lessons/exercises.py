"""The exercises: files to write, made from the engine's own by leaving bodies out, so that there is one solution."""

import ast
import importlib
import inspect
import textwrap
from dataclasses import dataclass
from pathlib import Path

from tinygpt.own_layers import PARTS, Checked, check


@dataclass(frozen=True)
class Exercise:
    """One file to write, `name`.py, in one lesson.

    given: of the part's functions, those that the learner finds written; also_blank: helpers of theirs that are to be
    written too; without: functions of the engine's file that are another exercise's.
    """

    name: str
    lesson: int
    given: tuple[str, ...] = ()
    also_blank: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    @property
    def blanks(self) -> list[str]:
        """The functions whose bodies are left out."""
        return [name for name in PARTS[self.name].functions if name not in self.given] + list(self.also_blank)

    def solution(self) -> str:
        """The engine's own text of the file: a layer's module, or a function with what it imports."""
        part = PARTS[self.name]
        source = inspect.getsource(importlib.import_module(part.source))
        if part.is_layer and not part.within:
            return _without(source, self.without)
        return _extracted(source, part.source, part.functions, part.within)

    def blank(self) -> str:
        """The solution with the bodies left out, and signatures and docstrings kept."""
        return _blanked(self.solution(), self.blanks)

    def check(self, path: Path, seed: int) -> Checked:
        """The verdict on the learner's file; another seed, other numbers and shapes."""
        return check(self.name, path, seed)


EXERCISES = {
    exercise.name: exercise
    for exercise in (
        Exercise("windows_at", 1),
        Exercise("merge", 2),
        Exercise("draw", 3),
        Exercise("numerical_gradient", 4),
        Exercise("embedding", 5),
        Exercise("linear", 5),
        Exercise("cross_entropy", 6),
        Exercise("layernorm", 7),
        Exercise("gelu", 8),
        Exercise("mlp", 8),
        Exercise("softmax", 9),
        Exercise("attention", 10, also_blank=("_causal_softmax",), without=("decode",)),
        Exercise("block", 11, given=("forward",)),
        Exercise("lm_head_loss", 12),
        Exercise("adamw_update", 13),
        Exercise("dropout", 14),
        Exercise("probabilities", 15),
        Exercise("attention_decode", 15),
    )
}


def _functions(source: str) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}


def _blanked(source: str, names: list[str]) -> str:
    lines = source.splitlines()
    for name, function in reversed(_functions(source).items()):
        if name in names:
            body = function.body[1:] if ast.get_docstring(function) else function.body
            first, last = body[0].lineno - 1, function.end_lineno
            while lines[first - 1].lstrip().startswith("#"):  # a comment on the body's first line
                first -= 1
            lines[first:last] = [f'    raise NotImplementedError("{name} is yours to write")']
    return "\n".join(lines) + "\n"


def _without(source: str, names: tuple[str, ...]) -> str:
    lines = source.splitlines()
    for name, function in reversed(_functions(source).items()):
        if name in names:
            last = function.end_lineno or len(lines)
            while last < len(lines) and not lines[last]:
                last += 1
            del lines[function.lineno - 1 : last]
    return "\n".join(lines) + "\n"


def _extracted(source: str, module: str, names: tuple[str, ...], within: str = "") -> str:
    """Functions of a module, or of a class in it, as a file of their own: what they use of the module's imports is
    imported as there, what they use of the module itself from the module.
    """
    tree, head = ast.parse(source), f"`{names[0]}`, as {module.replace('.', '/')}.py has it."
    home = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == within), tree)
    if home is not tree:
        head = ast.get_docstring(home) or ""
    functions = [node for node in home.body if isinstance(node, ast.FunctionDef) and node.name in names]
    body = [node for function in functions for statement in function.body for node in ast.walk(statement)]
    outer = [node for function in functions for node in ast.walk(function) if node not in body]
    local = {node.id for node in body if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    local |= {node.arg for node in (*body, *outer) if isinstance(node, ast.arg)}
    used = {node.id for node in body if isinstance(node, ast.Name)} - local
    used |= {node.id for node in outer if isinstance(node, ast.Name)}
    outside, own = [], set()
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            node.names = [alias for alias in node.names if (alias.asname or alias.name) in used]
            outside += [node] if node.names else []
        elif isinstance(node, ast.FunctionDef | ast.ClassDef) and node not in functions:
            own |= {node.name} & used
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            stored = {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
            own |= stored & used
    theirs = [node for node in outside if (getattr(node, "module", "") or "").startswith("tinygpt")]
    standard = [ast.unparse(node) for node in outside if node not in theirs and "numpy" not in ast.unparse(node)]
    third = [ast.unparse(node) for node in outside if "numpy" in ast.unparse(node)]
    engine = sorted(map(ast.unparse, theirs))
    engine += [f"from {module} import {', '.join(sorted(own))}"] if own else []
    lines = source.splitlines()
    texts = [textwrap.dedent("\n".join(lines[f.lineno - 1 : f.end_lineno])) for f in functions]
    blocks = ["\n".join(block) for block in (standard, third, engine) if block]
    return "\n\n".join([f'"""{head}"""', *blocks]) + "".join(f"\n\n\n{text}" for text in texts) + "\n"

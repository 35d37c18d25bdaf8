"""The exercises: files to write, made from the engine's own by leaving bodies out, so that there is one solution.

A lesson asks for them in a heading: "## Your turn: embedding, linear", each a part of the engine by its name. Where
other functions than the part's own are to be written, it says which: "## Your turn: block (backward)".
"""

import ast
import importlib
import inspect
import re
import symtable
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from lessons.cells import Lesson, find_lessons
from tinygpt.errors import UserError

if TYPE_CHECKING:
    from tinygpt.own_layers import Checked, Part

HEADING = re.compile(r"^# ## Your turn: (.+)$", re.MULTILINE)
IN_STEP = (  # those that a training step without dropout takes in, which is what the step page shows
    "linear", "sum_to", "embedding", "cross_entropy", "layernorm", "gelu", "mlp", "head", "causal_head", "multi_head",
    "attention", "block", "lm_head_loss", "adamw_update",
)  # fmt: skip
ASKED = re.compile(r"(\w+)(?: \((.+?)\))?")  # a part, and the functions to be written


@dataclass(frozen=True)
class Exercise:
    """One file to write, `name`.py, or `name`.cu for a CUDA kernel, in one lesson. functions: those to be written, if
    they are not the part's own.
    """

    name: str
    lesson: int
    functions: tuple[str, ...] = ()

    @property
    def part(self) -> "Part":
        """The part of the engine that the file takes the place of."""
        from tinygpt.own_layers import PARTS  # here, since neither --help nor the list should wait for it

        if self.name not in PARTS:
            raise UserError(
                f"lesson {self.lesson} asks for {self.name}, which is no part of the engine; expected one of "
                f"{', '.join(PARTS)}"
            )
        return PARTS[self.name]

    @property
    def file(self) -> str:
        """The name of the file; the list asks for it, and should not wait for the parts."""
        return self.name + (".cu" if self.name.endswith("_kernel") else ".py")

    @property
    def blanks(self) -> tuple[str, ...]:
        """The functions whose bodies are left out."""
        return self.functions or self.part.functions

    def solution(self) -> str:
        """The engine's own text of the file: a layer's module, or functions with what they import."""
        from tinygpt.own_layers import PARTS, kernels

        part = self.part
        if part.is_kernel:
            return kernels.solution(self.name)
        if isinstance(part.definition, ModuleType):
            others = [other for other in PARTS.values() if other.source == part.source and other is not part]
            return _without(inspect.getsource(part.definition), [name for other in others for name in other.functions])
        return _extracted(part)

    def blank(self) -> str:
        """The solution with the bodies left out, and signatures and docstrings kept."""
        from tinygpt.own_layers import kernels

        if self.part.is_kernel:
            return kernels.blank(self.name)
        return _blanked(self.solution(), self.blanks)

    def check(self, path: Path, seed: int) -> "Checked":
        """The verdict on the learner's file; another seed, other numbers and shapes."""
        from tinygpt.own_layers import check

        return check(self.name, path, seed)


def asked_in(lesson: Lesson) -> list[Exercise]:
    """What a lesson asks for. Its text is read, and nothing in it is run."""
    return [
        Exercise(name, lesson.number, tuple(re.findall(r"\w+", functions)))
        for heading in HEADING.findall(lesson.path.read_text(encoding="utf-8"))
        for name, functions in ASKED.findall(heading)
    ]


def find_exercises(lessons: Mapping[int, Lesson]) -> dict[str, Exercise]:
    """What all lessons ask for, by name and in their order."""
    return {exercise.name: exercise for lesson in lessons.values() for exercise in asked_in(lesson)}


EXERCISES = find_exercises(find_lessons(Path(__file__).parent))


def _functions(source: str) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}


def _blanked(source: str, names: tuple[str, ...]) -> str:
    lines = source.splitlines()
    for name, function in reversed(_functions(source).items()):
        if name in names:
            body = function.body[1:] if ast.get_docstring(function) else function.body
            first, last = body[0].lineno - 1, function.end_lineno
            while lines[first - 1].lstrip().startswith("#"):  # a comment on the body's first line
                first -= 1
            lines[first:last] = [f'    raise NotImplementedError("{name} is yours to write")']
    return "\n".join(lines) + "\n"


def _without(source: str, names: list[str]) -> str:
    lines = source.splitlines()
    for name, function in reversed(_functions(source).items()):
        if name in names:
            last = function.end_lineno or len(lines)
            while last < len(lines) and not lines[last]:
                last += 1
            del lines[function.lineno - 1 : last]
    return "\n".join(lines).rstrip() + "\n"


def _extracted(part: "Part") -> str:
    """A function, or those of a class, as a file of their own: what they use of their module's imports is imported as
    there. What they use of the module itself stands below where it is a function, since the module shows the answer
    beside it, and is imported otherwise.
    """
    if isinstance(part.definition, type):
        functions = [getattr(part.definition, name) for name in part.functions]
        says = inspect.getdoc(part.definition) or ""
    else:
        functions = [part.definition]
        says = f"`{part.functions[0]}`, as {part.source.replace('.', '/')}.py has it."
    texts = [textwrap.dedent(inspect.getsource(function)).removeprefix("@staticmethod\n") for function in functions]
    module = importlib.import_module(part.source)
    for text in texts:  # which grow by those they use
        names = set(_globals(symtable.symtable(text, module.__name__, "exec")))
        helpers = (getattr(module, name) for name in sorted(names) if inspect.isfunction(vars(module).get(name)))
        sources = (inspect.getsource(helper) for helper in helpers if helper.__module__ == module.__name__)
        texts += [source for source in sources if source not in texts]
    defined = {name for text in texts for name in _functions(text)}
    used = set(_globals(symtable.symtable("\n".join(texts), module.__name__, "exec"))) - defined
    imports = []
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            node.names = [alias for alias in node.names if (alias.asname or alias.name) in used]
            used -= {alias.asname or alias.name for alias in node.names}
            imports += [ast.unparse(node)] if node.names else []
    if own := sorted(used & vars(module).keys()):
        imports.append(f"from {module.__name__} import {', '.join(own)}")
    groups = ["\n".join(lines) for _, lines in groupby(sorted(imports, key=_group), _group)]
    head = f'"""{says}\n"""' if "\n" in says else f'"""{says}"""'
    return "\n\n\n".join(["\n\n".join([head, *groups]), *map(str.rstrip, texts)]) + "\n"


def _globals(table: symtable.SymbolTable) -> Iterator[str]:
    """The names that a piece of code finds outside its functions."""
    whole = table.get_type() == "module"
    yield from (symbol.get_name() for symbol in table.get_symbols() if whole or symbol.is_global())
    for inner in table.get_children():
        yield from _globals(inner)


def _group(line: str) -> int:
    """Where an import stands: the standard library's first, then others', then the engine's."""
    root = re.split(r"[ .]", line)[1]
    return 2 if root == "tinygpt" else root not in sys.stdlib_module_names

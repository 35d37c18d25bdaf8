"""The mistakes as data: a file an exercise, `NAME.toml`, a table a mistake.

    wrong = "what the learner did wrong"            what a good sentence points to
    edit = [["old text", "new text"], ...]          of the lesson's own solution; each old text stands in it once
    body.forward = '''...'''                        or a whole body in the place of that function's
    held_out = true                                 of the third that random.Random(18) drew
    right = "why"                                   it is not a mistake: the file is right, for this reason

And how the words that the check prints were judged, by a reader:

    named = '...'           a pattern (`re.search`): words that hold it name the mistake
    points = '...'          words that hold it clearly point to the mistake
    untrue = '...'          words that hold it say something that is not so
    judged = "1f0c9a2b"     the digest of the words that were read when this was written; of others, read them again
"""

import ast
import hashlib
import re
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from lessons.exercises import EXERCISES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # which pytest needs there

PYTHON = [name for name, exercise in EXERCISES.items() if exercise.file.endswith(".py")]  # a kernel's are in its tests
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Mistake:
    """One mistake in the file of one exercise."""

    exercise: str
    name: str
    wrong: str
    edit: list[list[str]] = field(default_factory=list)
    body: dict[str, str] = field(default_factory=dict)
    held_out: bool = False
    right: str = ""
    named: str = ""
    points: str = ""
    untrue: str = ""
    judged: str = ""

    def __str__(self) -> str:
        return f"{self.exercise}/{self.name}"

    def source(self) -> str:
        """The learner's file. Raises ValueError if an edit does not fit the solution."""
        text = EXERCISES[self.exercise].solution()
        for old, new in self.edit:
            if text.count(old) != 1:
                raise ValueError(f"{self}: {old!r} stands {text.count(old)} times in the solution; expected once")
            text = text.replace(old, new)
        for function, body in self.body.items():
            text = _with_body(text, function, body)
        return text

    def says(self, words: str) -> str:
        """How good these words are: "untrue", "named", "pointed to" or "only WRONG"."""
        for verdict, pattern in (("untrue", self.untrue), ("named", self.named), ("pointed to", self.points)):
            if pattern and re.search(pattern, words):
                return verdict
        return "only WRONG"


def _with_body(text: str, function: str, body: str) -> str:
    node = next(node for node in ast.parse(text).body if getattr(node, "name", "") == function)
    assert isinstance(node, ast.FunctionDef)
    statements = node.body[1:] if ast.get_docstring(node) else node.body
    lines = text.splitlines()
    lines[statements[0].lineno - 1 : node.end_lineno] = textwrap.indent(textwrap.dedent(body), "    ").splitlines()
    return "\n".join(lines) + "\n"


def digest(words: str) -> str:
    """A short mark of these words, by which to see whether they are those that were read; numbers do not count."""
    return hashlib.sha256(re.sub(r"[-+]?\d[\d.]*(e[-+]\d+)?", "0", words).encode()).hexdigest()[:8]


def mistakes(*exercises: str) -> list[Mistake]:
    """Those of some exercises, or of all in Python, in the lessons' order."""
    return [
        Mistake(exercise, name, **fields)
        for exercise in exercises or PYTHON
        for name, fields in tomllib.loads((FOLDER / f"{exercise}.toml").read_text(encoding="utf-8")).items()
    ]

"""One lesson as the body of a page, the same for the site and live: prose, code with its checks folded, what the code
printed, and the answers folded. What is live is made so by its script, which finds its places by what stands here.
"""

import ast
import html
import re
from collections.abc import Mapping
from typing import NamedTuple

from lessons.cells import Cell, Lesson
from lessons.checks import fold, is_silent
from lessons.course import Course
from lessons.web import markup

PART = re.compile(r"(?=<h2 )")  # what begins one


def page_of(lesson: Lesson) -> str:
    """The address of a lesson's page: "07_layernorm.html"."""
    return f"{lesson.path.stem}.html"


def name_of(lesson: Lesson) -> str:
    """A lesson's number and title: "7. LayerNorm"."""
    return f"{lesson.number}. {lesson.title}"


class Ran(NamedTuple):
    """What came of a cell: what it printed, what went wrong, and the names and addresses of its plots."""

    printed: str = ""
    trouble: str = ""
    plots: tuple[tuple[str, str], ...] = ()


class Body:
    """The cells of a lesson as HTML. headings: those of its prose, the answers' last.

    ran: of each cell that was run what came of it; None where the page is live. derived: the calls of the functions
    that the reader has derived before.
    """

    def __init__(self, lesson: Lesson, course: Course, address: markup.Address, ran: Mapping[int, Ran] | None = None,
                 derived: frozenset[str] = frozenset()):  # fmt: skip
        self.lesson, self.course, self.address, self.ran, self.derived = lesson, course, address, ran, derived
        self.headings: list[markup.Heading] = []
        self.taken: dict[str, int] = {}
        self.asked: list[str] = []  # the exercises of the part that is being written, which stand at its end
        cells = [self._cell(index, cell) for index, cell in enumerate(lesson.cells)]
        last = len(lesson.body)
        answers = f'<details class="answers"><summary>The answers</summary>{"".join(cells[last:])}</details>'
        self.html = "\n".join([*cells[:last], answers * bool(cells[last:])])

    def _cell(self, index: int, cell: Cell) -> str:
        kind, inside = ("code", self._code(index, cell)) if cell.is_code else ("prose", self._prose(cell))
        following = self.lesson.cells[index + 1 : index + 2]
        if not following or following[0].text.startswith("## "):
            inside += self._exercises()
        return f'<section class="cell {kind}" id="cell-{index + 1}" data-cell="{index}">{inside}</section>'

    def _prose(self, cell: Cell) -> str:
        text = markup.Text(cell.text, self.taken)
        self.headings += text.headings
        before, *parts = PART.split(text.html(self.address))
        written = [before]
        for part in parts:
            written += [self._exercises(), part]
            if part.startswith('<h2 id="your-turn'):
                self.asked += self.course.asked(cell)
        return "".join(written)

    def _exercises(self) -> str:
        """The exercises of the part that ends here."""
        names, self.asked = self.asked, []
        return "".join(map(self._exercise, names))

    def _exercise(self, name: str) -> str:
        """Where something is to be written; without a server behind it, what to type, and the file as it is given."""
        exercise = self.course.exercises[name]
        inside = ""
        if self.ran is not None:
            number = exercise.lesson
            typed = {
                f"web {number}": "write it in the browser, below the lesson",
                f"start {name}": f"or write the file lessons/work/{exercise.file}",
                f"check {name}": "and have it checked",
            }
            width = max(map(len, typed))
            commands = "\n".join(f"python -m lessons {what:<{width}}  # {says}" for what, says in typed.items())
            blank = markup.block(exercise.blank(), markup.language_of(self.course.file(exercise)))
            inside = (
                f'<p class="small quiet">In a terminal, in the folder of this repository:</p>'
                f"{markup.block(commands, 'sh')}"
                f"<details><summary>The file to fill in, {html.escape(exercise.file)}</summary>{blank}</details>"
            )
        names = f'id="exercise-{name}" data-exercise="{name}" data-file="{exercise.file}"'
        return f'<section class="exercise" {names}>{inside}</section>'

    def _code(self, index: int, cell: Cell) -> str:
        """The code, without what it checks, and with it in a fold; below it what it printed."""
        text, checks = fold(cell.text)
        text, imports = without_imports(text)
        live = self.ran is None
        to_derive = live and cell.derive and cell.derive not in self.derived
        shown = markup.block(text) if text else ""
        if checks or imports:
            count = "1 check" if checks == 1 else f"{checks} checks"
            folded = ["What it imports"] * imports + [f"{count} of what the words say"] * bool(checks)
            shown += (
                f'<details class="checks"><summary>{", and ".join(folded)}</summary>'
                f"{markup.block(cell.text, kind='whole')}</details>"
            )
        derive = ""
        if live and cell.derive:  # it can be derived again
            call = html.escape(cell.derive)
            derive = f'<div class="derive" data-call="{call}"{"" if to_derive else " hidden"}></div>'
        silent = " data-silent" if is_silent(cell.text) else ""
        came = "" if self.ran is None else markup.output(*self.ran.get(index, Ran()))
        return (
            f'{derive}<div class="own"{" hidden" if to_derive else ""}{silent}>{shown}</div>'
            f'<div class="came" aria-live="polite">{came}</div>'
        )


def without_imports(code: str) -> tuple[str, bool]:
    """The code without the imports that it begins with, and whether there were any that tell Python where the lessons
    are: those say nothing of what is taught.
    """
    last = 0
    for statement in ast.parse(code).body:
        if not isinstance(statement, ast.Import | ast.ImportFrom) and not _is_path(statement):
            break
        last = statement.end_lineno or last
    lines = code.split("\n")
    if not any(line.startswith("sys.path") for line in lines[:last]):
        return code, False
    return "\n".join(lines[last:]).strip("\n"), True


def _is_path(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.AugAssign) and ast.unparse(statement.target) == "sys.path"

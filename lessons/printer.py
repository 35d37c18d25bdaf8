"""A lesson printed from top to bottom, and its answers."""

import sys
from collections.abc import Iterable

from lessons import display, links
from lessons.cells import Lesson
from lessons.checks import fold
from lessons.course import Course
from lessons.progress import changing
from lessons.runner import Runner
from lessons.screen import Left, Printing, Screen
from tinygpt.errors import UserError


def print_all(lesson: Lesson, course: Course) -> int:
    """Everything but the answers, for a pipe or a file. The status is 1 if a cell raises.

    It counts as read where somebody sits at the terminal, as with `python -m lessons 7 | less`.
    """
    status = print_cells(lesson, range(len(lesson.body)), Screen(course.console, live=False))
    if status == 0 and sys.stdin is not None and sys.stdin.isatty():
        with changing(course.work) as progress:
            progress.lesson(lesson.number).ended = True
    return status


def answers(lesson: Lesson, course: Course) -> int:
    """The answers to a lesson's questions, with their code run on its own. The status is 1 if a cell raises."""
    if not len(lesson.body) < len(lesson.cells):
        raise UserError(f"lesson {lesson.number}, {lesson.title}, has no answers; it asks no questions")
    screen = Screen(course.console, live=display.is_live())
    try:
        return print_cells(lesson, range(len(lesson.body), len(lesson.cells)), screen)
    except Left:
        return 0


def print_cells(lesson: Lesson, cells: Iterable[int], screen: Screen) -> int:
    """Show some cells of a lesson, run in a namespace of their own; the status is 1 if one raises."""
    with Runner(lesson) as runner:
        for index in cells:
            screen.show(shown(lesson, index, screen))
            if not lesson.cells[index].is_code:
                continue
            with Printing(screen) as printing:
                runner.run(index, printing.write)
            if trouble := runner.troubles.get(index):
                screen.show(screen.printed(trouble))
                print(f"error: cell {index + 1} of lesson {lesson.number} did not come to its end", file=sys.stderr)
                return 130 if trouble.startswith("Stopped") else 1
            if runner.outputs[index]:
                screen.show("\n")
    return 0


def shown(lesson: Lesson, index: int, screen: Screen, whole: bool = False) -> str:
    """A cell as it stands on the screen, without its output; what it checks is folded unless the whole is asked for."""
    cell = lesson.cells[index]
    if not cell.is_code:
        words = display.markdown(cell.text, screen.console, links.page_file(lesson), lesson.path.parent)
        said = f"the numbers themselves, on a page: python -m lessons page {lesson.number} --open"
        return words + (display.note(said, screen.console) if index == links.first_cell(lesson) else "") + "\n"
    text, number = (cell.text, 0) if whole else fold(cell.text)
    code = display.code(text, screen.console) if text else ""
    checks = "1 check" if number == 1 else f"{number} checks"
    return code + (display.note(f"{checks} of what the words say", screen.console) if number else "")

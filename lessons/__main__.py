"""`python -m lessons`: the list of lessons, a lesson in the terminal, and the exercises."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

if not __package__:  # `python lessons`, without -m
    sys.path.insert(0, str(Path(__file__).parents[1]))

from lessons import commands, display, printer, stepper
from lessons.course import COMMANDS, Course
from tinygpt.cli import guarded
from tinygpt.commands.flags import Parser
from tinygpt.errors import UserError
from tinygpt.run.launched import alone

DESCRIPTIONS = {
    "": """\
From an array to a GPT that runs on your own layers: lessons to step through,
exercises to write.

  python -m lessons             what is done, in progress and next
  python -m lessons 7           step through lesson 7, from where you left it
  python -m lessons 7 --start   the same from its top
  python -m lessons start 7     write the file of its exercise, to be filled in
  python -m lessons check 7     check that; with --watch again after every save
  python -m lessons hint 7      the next of three hints; --all shows those given
  python -m lessons solution 7  the engine's own file beside yours
                                (once you have tried, or with --yes)
  python -m lessons try 7       a Python prompt with the numbers of a case;
                                --case=2 for the second
  python -m lessons run 7       a run of seconds with the pieces that are right
  python -m lessons reset 7     begin the exercise anew; what you wrote is kept
  python -m lessons answers 7   the answers to the lesson's questions
  python -m lessons page 7      a page with every number of one training step,
                                at those of lesson 7; --open shows it, and
                                --mine makes it of a step of your layers
  python -m lessons web 7       lesson 7 in a browser, to run, edit and write in
  python -m lessons site        all lessons as pages to read, in a folder""",
    "start": "Write the file of an exercise, for you to fill in. A file that is there already is left alone.",
    "check": "Check an exercise: its forward with the engine's, its backward with numerical derivatives.",
    "hint": "Give the next of three hints, from a question to nearly there.",
    "solution": "Show how the engine's own file differs from yours, once you have tried.",
    "try": "Open a Python prompt with the numbers of a case, what your file makes of them and what it should.",
    "run": "Train for seconds on the lessons' text with the pieces that are right, beside the engine alone.",
    "reset": "Begin an exercise anew. What you wrote is kept in a numbered copy beside it.",
    "answers": "Show the answers to a lesson's questions, and run their code.",
    "page": "Write a page for a browser with every number of one training step of a tiny GPT: what it was made from, "
    "what it goes into, and its gradient. It opens at the first number that LESSON speaks of; with --mine where your "
    "layers part from the engine's.",
    "web": "Open the lessons in a browser: its pages run the cells here, on this machine, and use the same files and "
    "progress as the terminal.",
    "site": "Write all lessons and docs as pages to read, with what their cells print and draw, into a folder.",
}
SWITCH: dict[str, Any] = {"action": "store_true"}
FLAGS: dict[str, dict[str, dict[str, Any]]] = {  # of each command: what add_argument takes
    "": {"--start": SWITCH | {"help": "from the top, and not from where you left"}},
    "check": {"--watch": SWITCH | {"help": "again after every save, with keys for hints and more; q or Ctrl-C leaves"}},
    "hint": {"--all": SWITCH | {"help": "those given so far, and no new one"}},
    "solution": {
        "--yes": SWITCH | {"help": "even if you have not tried yet"},
        "--whole": SWITCH | {"help": "both files whole, and not the difference alone"},
    },
    "page": {
        "--out": {"metavar": "FILE", "help": "of the page (default: lessons/out/step.html)"},
        "--text": {
            "metavar": "TEXT",
            "help": 'what its model learns and reads (default: "the cat sat on the mat. ")',
        },
        "--mine": {
            "nargs": "?",
            "const": "",
            "metavar": "FOLDER",
            "help": "with the layers in a folder of yours (default of FOLDER: lessons/work)",
        },
        "--open": SWITCH | {"help": "show it in a browser"},
    },
    "web": {
        "--port": {"type": int, "default": 0, "metavar": "N", "help": "of this machine (default: one that is free)"},
        "--open": SWITCH | {"help": "show it in a browser"},
    },
    "try": {"--case": {"type": int, "metavar": "N", "help": "which case (default: the first that is not right)"}},
}
OF_LESSONS = ("answers", "page", "web")  # what is asked for of a lesson, and not of exercises
WHICH = "a lesson's number, or an exercise's name, such as layernorm"


def main(argv: Sequence[str] | None = None, folder: Path = Path(__file__).parent) -> int:
    """Run one command; returns the exit status: 0, 1 for what is not right, 2 for a wrong flag, 130 for Ctrl-C."""

    def run() -> int:
        alone("python -m lessons")
        return _run(_arguments(list(sys.argv[1:] if argv is None else argv)), folder)

    return guarded(lambda: _fitting(run))


def _fitting(command: Callable[[], int]) -> int:
    """A command, with a user's mistake in rows that fit the terminal."""
    try:
        return command()
    except UserError as error:
        raise UserError(display.fitted(f"error: {error}", sys.stderr).removeprefix("error: ")) from error


class _Parser(Parser):
    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        super().exit(status, message and display.fitted(message, sys.stderr))

    def format_help(self) -> str:
        return display.fitted(super().format_help(), sys.stdout)


def _run(arguments: argparse.Namespace, folder: Path) -> int:
    if arguments.command == "site":
        course = Course(folder, folder / "work", display.make_console(sys.stdout.isatty()))
        return commands.site(course, arguments.which)
    live = display.is_live()
    reads = bool(arguments.which) and arguments.command in ("", "answers")
    console = display.make_console(live if reads else sys.stdout.isatty())
    course = Course(folder, arguments.work or folder / "work", console)
    flags = {name: value for name, value in vars(arguments).items() if name not in ("command", "which", "work")}
    if arguments.command and arguments.command not in OF_LESSONS:
        command = getattr(commands, arguments.command, None) or getattr(commands, f"{arguments.command}_")
        return command(course, course.selected(arguments.which), **flags)
    chosen = [course.lesson(word) for word in arguments.which]
    if len(chosen) > 1:
        raise UserError(f"one lesson at a time: {course.command(*arguments.command.split(), chosen[0].number)}")
    if arguments.command in ("page", "web"):
        return getattr(commands, arguments.command)(course, chosen, **flags)
    if not chosen:
        return course.show()
    (lesson,) = chosen
    if arguments.command:
        return printer.answers(lesson, course)
    if live:
        return stepper.step(lesson, course, from_top=arguments.start)
    return printer.print_all(lesson, course)


def _arguments(argv: list[str]) -> argparse.Namespace:
    """The arguments understood, with the command wherever it stands among them."""
    command = next((word for word in argv if word in COMMANDS), "")
    if command:
        argv.remove(command)
    parser = _Parser(
        prog=f"python -m lessons {command}".rstrip(), description=DESCRIPTIONS[command], allow_abbrev=False,
        usage=None if command else "python -m lessons [COMMAND] [LESSON] [--flags]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(command=command)
    if command == "site":
        parser.add_argument("which", nargs="?", metavar="FOLDER", help="of the site (default: lessons/out/site)")
        return parser.parse_args(argv)
    parser.add_argument(
        "which", nargs="+" if command not in ("", "run", "page", "web") else "*", metavar="LESSON", help=WHICH
    )
    for flag, takes in FLAGS.get(command, {}).items():
        parser.add_argument(flag, **takes)
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="of your files (default: lessons/work)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())

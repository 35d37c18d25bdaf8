"""`python -m lessons`: the list of lessons, a lesson in the terminal, and the exercises."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # `python lessons`, without -m
    sys.path.insert(0, str(Path(__file__).parents[1]))

from lessons import commands, display, stepper
from lessons.course import COMMANDS, Course
from tinygpt.cli import guarded
from tinygpt.commands.flags import Parser
from tinygpt.errors import UserError

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
  python -m lessons reset 7     begin the exercise anew; what you wrote is kept""",
    "start": "Write the file of an exercise, for you to fill in. A file that is there already is left alone.",
    "check": "Check an exercise: its forward with the engine's, its backward with numerical derivatives.",
    "hint": "Give the next of three hints, from a question to nearly there.",
    "solution": "Show the engine's own file beside yours, once you have tried.",
    "reset": "Begin an exercise anew. What you wrote is kept in a numbered copy beside it.",
}
FLAGS = {
    "": ("--start", "from the top, and not from where you left"),
    "check": ("--watch", "again after every save, until Ctrl-C"),
    "hint": ("--all", "those given so far, and no new one"),
    "solution": ("--yes", "even if you have not tried yet"),
}
WHICH = "a lesson's number, or an exercise's name, such as layernorm"


def main(argv: Sequence[str] | None = None, folder: Path = Path(__file__).parent) -> int:
    """Run one command; returns the exit status: 0, 1 for what is not right, 2 for a wrong flag, 130 for Ctrl-C."""
    return guarded(lambda: _run(_arguments(list(sys.argv[1:] if argv is None else argv)), folder))


def _run(arguments: argparse.Namespace, folder: Path) -> int:
    live = display.is_live()
    reads = bool(arguments.which) and not arguments.command
    console = display.make_console(live if reads else sys.stdout.isatty())
    course = Course(folder, arguments.work or folder / "work", console)
    if arguments.command:
        flags = {name: value for name, value in vars(arguments).items() if name in ("watch", "all", "yes")}
        return getattr(commands, arguments.command)(course, course.selected(arguments.which), **flags)
    if not arguments.which:
        return course.show()
    lesson, *others = map(course.lesson, arguments.which)
    if others:
        raise UserError(f"one lesson at a time: {course.command(lesson.number)}")
    if live:
        return stepper.step(lesson, course, from_top=arguments.start)
    return stepper.print_all(lesson, course)


def _arguments(argv: list[str]) -> argparse.Namespace:
    """The arguments understood, with the command wherever it stands among them."""
    command = next((word for word in argv if word in COMMANDS), "")
    if command:
        argv.remove(command)
    parser = Parser(
        prog=f"python -m lessons {command}".rstrip(), description=DESCRIPTIONS[command], allow_abbrev=False,
        usage=None if command else "python -m lessons [COMMAND] [LESSON] [--flags]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(command=command)
    parser.add_argument("which", nargs="+" if command else "*", metavar="LESSON", help=WHICH)
    if flag := FLAGS.get(command):
        parser.add_argument(flag[0], action="store_true", help=flag[1])
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="of your files (default: lessons/work)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())

"""The command line: `tinygpt train | sample | eval | show | compare | info | gradcheck`; `python train.py` is the
first.
"""

import argparse
import contextlib
import io
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from tinygpt import __version__
from tinygpt.commands import compare, eval, gradcheck, info, sample, show, train
from tinygpt.commands.flags import Parser
from tinygpt.device import out_of_memory
from tinygpt.errors import Note, UserError
from tinygpt.run import screens
from tinygpt.run.joining import joined
from tinygpt.run.launched import alone, launched
from tinygpt.signals import Interrupted, answered_by, interrupt, leave

COMMANDS = {  # as --help has them
    "train": train, "sample": sample, "eval": eval, "show": show, "compare": compare, "info": info,
    "gradcheck": gradcheck,
}  # fmt: skip


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 for a user's mistake, 2 for a wrong flag, 130 for Ctrl-C, 143 for
    SIGTERM, 129 for SIGHUP.
    """

    def run() -> int:
        with answered_by(interrupt if launched().program in ("", "SLURM") else leave):  # until `joined` has all
            arguments = _understood(_parser(prog), argv)
            if arguments.run is not train.run:
                alone(arguments.parser.prog)
            return arguments.run(arguments, prog or "tinygpt train")

    return guarded(run)


def _understood(parser: Parser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments. Where several processes were started the first says what is wrong with them, and another one only
    what is wrong with its own alone.
    """
    if launched().size == 1:
        return parser.parse_args(argv)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            return parser.parse_args(argv)
    except SystemExit as end:
        if launched().rank == 0:
            print(said.getvalue(), end="", file=sys.stderr if end.code else sys.stdout)
        if end.code:
            try:
                with joined():
                    raise UserError(said.getvalue().strip())
            except UserError as error:
                if launched().rank:
                    print(error, file=sys.stderr)
            except SystemExit:
                pass  # they are wrong alike
        raise


def guarded(command: Callable[[], int]) -> int:
    """The exit status of a command, whose user's mistakes and interruptions are a sentence each, not a traceback."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # a sample may hold characters that a redirected stream's encoding lacks
                stream.reconfigure(errors="replace")
        with warnings.catch_warnings():
            warnings.simplefilter("always", Note)
            warnings.showwarning = _show_warning
            return command()
    except BrokenPipeError:  # whoever read the output has left, as `| head` does
        screens.silence()
        return 1
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # such as a full disk under a redirected output, or a folder that may not be read
        why = error.strerror or str(error)
        place = f"{error.filename}: " if error.filename else ""
        print(f"error: {place}{why}; check the disk, and who may read and write there", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        try:
            print(flush=True)
        except OSError:  # the terminal is gone
            screens.silence()
        return 128 + (error.args[0] if isinstance(error, Interrupted) else signal.SIGINT)
    except Exception as error:
        if (what := out_of_memory(error)) is None:
            raise
        way_out = "use a smaller --batch_size (with more --gradient_accumulation_steps), --block_size or model"
        print(f"error: {what}; {way_out}", file=sys.stderr)
        return 1


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    note = issubclass(category, Note)
    sys.stderr.write(f"note: {message}\n" if note else warnings.formatwarning(message, category, filename, lineno))


def _parser(prog: str | None) -> Parser:
    """One parser for all commands; with `prog` ("python train.py") only that of `train`, under that name."""
    parser = Parser(prog="tinygpt", description="A GPT whose every gradient is written by hand.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"tinygpt {__version__}")
    commands = parser.add_subparsers(required=True, metavar=" | ".join(COMMANDS))
    for name, command in COMMANDS.items():
        sub = commands.add_parser(
            name, help=command.HELP, description=command.HELP, allow_abbrev=False, prog=prog or f"tinygpt {name}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        sub.set_defaults(run=command.run, parser=sub)
        command.add_flags(sub)
    return parser

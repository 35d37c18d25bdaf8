"""Flags that several commands have, and the parser that answers a mistake with one sentence."""

import argparse
import difflib
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from tinygpt.errors import brief
from tinygpt.run.config import AT_MOST


class Parser(argparse.ArgumentParser):
    """argparse with one sentence for an error, and the nearest flag for an unknown one."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see {self.prog} --help\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """--batch-size is --batch_size."""
        known = self._option_string_actions

        def underscored(argument: str) -> str:
            flag, equals, value = argument.partition("=")
            name = "--" + flag[2:].replace("-", "_")
            return name + equals + value if flag.startswith("--") and flag not in known and name in known else argument

        return super().parse_known_args(list(map(underscored, sys.argv[1:] if args is None else args)), namespace)

    def parse_args(self, args: Any = None, namespace: Any = None) -> argparse.Namespace:  # type: ignore[override]
        arguments, unknown = self.parse_known_args(args, namespace)
        if unknown:
            parser = getattr(arguments, "parser", self)
            flag = unknown[0].split("=")[0]
            known = [name for name in parser._option_string_actions if name.startswith("--")]
            nearest = difflib.get_close_matches(flag, known, n=1)
            kind = "flag" if flag.startswith("-") else "argument"
            parser.error(f"unknown {kind} {flag}" + (f"; did you mean {nearest[0]}?" if nearest else ""))
        return arguments


def add_system_flags(parser: argparse.ArgumentParser) -> None:
    """Where and how to compute."""
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--dtype", default="auto", help="auto, float32, bfloat16 or float64 (default: auto)")
    parser.add_argument(
        "--threads", type=at_least(1, AT_MOST["threads"]), metavar="N", help="CPU cores to use (default: all)"
    )
    parser.add_argument("--kernels", default="auto", help="auto or reference (default: auto)")


def boolean(default: Any) -> dict[str, Any]:
    """The options of a flag that is written --bias, --bias=True or --bias False."""

    def parse(text: str) -> bool:
        values = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if text.lower() not in values:
            raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
        return values[text.lower()]

    return {"type": parse, "nargs": "?", "const": True, "default": default, "metavar": "True|False"}


def at_least(least: int, most: int = 10**15) -> Callable[[str], int]:
    """The type of a flag that takes a whole number, no less than `least`, and no more than makes sense."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{brief(text)} is not a whole number") from None
        if number < least:
            raise argparse.ArgumentTypeError(f"{brief(number)} is less than {least}")
        if number > most:
            raise argparse.ArgumentTypeError(f"{brief(number)} is more than {most:,}")
        return number

    return parse

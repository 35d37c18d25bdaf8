"""Flags that several commands have, and the parser that answers a mistake with one sentence."""

import argparse
import difflib
import sys
import typing
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, NoReturn

from tinygpt.errors import brief
from tinygpt.run.config import AT_MOST, TrainConfig, plain_type
from tinygpt.run.nanogpt_defaults import WITHOUT_MEANING

TEXT_ITSELF = "start", "stop"  # flags whose value may be any text, one that begins with - included
LONGEST = 300  # characters of a message


class Parser(argparse.ArgumentParser):
    """argparse with one sentence for an error, and the nearest flag for an unknown one."""

    def error(self, message: str) -> NoReturn:
        message = message if len(message) <= LONGEST else f"{message[:LONGEST]}..."
        self.exit(2, f"error: {message}; see {self.prog} --help\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """--batch-size is --batch_size, and what begins with - may be a value: `--start -hello`, `--top_p -.5`. Where
        a command takes any number of words, they may stand on both sides of a flag, which argparse does not see to.
        """
        known = self._option_string_actions

        def underscored(argument: str) -> str:
            flag, equals, value = argument.partition("=")
            name = "--" + flag[2:].replace("-", "_")
            return name + equals + value if flag.startswith("--") and flag not in known and name in known else argument

        arguments = self._joined(list(map(underscored, sys.argv[1:] if args is None else args)))
        found, rest = super().parse_known_args(arguments, namespace)
        for action in self._actions:
            if action.nargs == argparse.ZERO_OR_MORE:
                words = [argument for argument in rest if not argument.startswith("-")]
                setattr(found, action.dest, [*getattr(found, action.dest, []), *words])
                rest = [argument for argument in rest if argument.startswith("-")]
        return found, rest

    def _joined(self, arguments: Sequence[str]) -> list[str]:
        """`--flag -value` as `--flag=-value`, where the value is a number, or a text that is no flag."""
        joined: list[str] = []
        for argument in arguments:
            action = self._option_string_actions.get(joined[-1]) if joined else None
            if action is None or action.nargs is not None or not argument.startswith("-"):
                joined.append(argument)
            elif action.dest in TEXT_ITSELF and (flag := argument.partition("=")[0]) in self._option_string_actions:
                self.error(
                    f"{joined[-1]} takes a text, and {flag} after it is a flag; if it is the text, write "
                    f"{joined[-1]}={argument[:40]}"
                )
            elif action.dest in TEXT_ITSELF or _is_number(argument):
                joined[-1] += f"={argument}"
            else:
                joined.append(argument)
        return joined

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """`--start=--` is the text --, which argparse before Python 3.13 takes for the end of the flags."""
        if action.option_strings and action.nargs is None and arg_strings == ["--"]:
            return self._get_value(action, "--")
        return super()._get_values(action, arg_strings)

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


def add_settings(parser: argparse.ArgumentParser, hidden: bool = False) -> None:
    """A flag for every field of TrainConfig, and for nanoGPT's settings that have no meaning here, but for those that
    the parser has; what is not given stays out of the namespace. hidden: accepted, and not in --help.
    """
    hints = typing.get_type_hints(TrainConfig)
    groups: dict[str, Any] = {}
    for field in fields(TrainConfig):
        if f"--{field.name}" in parser._option_string_actions:
            continue
        title, help, kind = field.metadata["group"], field.metadata["help"], plain_type(hints[field.name])
        group: Any = parser
        if not hidden:
            group = groups[title] = groups.get(title) or parser.add_argument_group(title)
        help += "" if field.default is None else f" (default: {field.default})"
        options = boolean(argparse.SUPPRESS)
        if kind is not bool:
            metavar = {int: "N", float: "X", str: "TEXT"}[kind]
            options = {"type": TYPES[kind], "metavar": metavar, "default": argparse.SUPPRESS}
        group.add_argument(f"--{field.name}", help=argparse.SUPPRESS if hidden else help.replace("%", "%%"), **options)
    for name in WITHOUT_MEANING:
        parser.add_argument(f"--{name}", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def add_system_flags(parser: argparse.ArgumentParser, device: str = "auto") -> None:
    """Where and how to compute. device: the default."""
    parser.add_argument("--device", default=device, help=f"auto, cpu or cuda (default: {device})")
    parser.add_argument("--dtype", default="auto", help="auto, float32, bfloat16 or float64 (default: auto)")
    parser.add_argument(
        "--threads",
        type=at_least(1, AT_MOST["threads"]),
        metavar="N",
        help="CPU cores to use (default: OMP_NUM_THREADS, else all)",
    )
    parser.add_argument("--kernels", default="auto", help="auto or reference (default: auto)")


def whole(text: str) -> int:
    """The type of a flag that takes a whole number; 2e3 is one."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not number.is_integer():  # nor is NaN, nor infinity
        raise argparse.ArgumentTypeError(f"{brief(text)} is not a whole number")
    return int(number)


def number(text: str) -> float:
    """The type of a flag that takes a number; 1/3 is none."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{brief(text)} is not a number") from None


TYPES: dict[type, Callable[[str], Any]] = {int: whole, float: number, str: str}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def boolean(default: Any) -> dict[str, Any]:
    """The options of a flag that is written --bias, --bias=True or --bias False."""

    def parse(text: str) -> bool:
        values = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if text.lower() not in values:
            raise argparse.ArgumentTypeError(f"{brief(text)} is neither True nor False")
        return values[text.lower()]

    return {"type": parse, "nargs": "?", "const": True, "default": default, "metavar": "True|False"}


def at_least(least: int, most: int = 10**15) -> Callable[[str], int]:
    """The type of a flag that takes a whole number, no less than `least`, and no more than makes sense."""

    def parse(text: str) -> int:
        number = whole(text)
        if number < least:
            raise argparse.ArgumentTypeError(f"{brief(number)} is less than {least}")
        if number > most:
            raise argparse.ArgumentTypeError(f"{brief(number)} is more than {most:,}")
        return number

    return parse

"""What `sample`, `eval` and `show` take from a run's own flags and from nanoGPT's configuration files, and what they
leave.
"""

import argparse
import warnings
from pathlib import Path
from typing import Any

from tinygpt.commands.flags import add_settings
from tinygpt.errors import Note, UserError
from tinygpt.files import expanded
from tinygpt.models.gpt2 import GPT
from tinygpt.run.config import PRESETS, TrainConfig, in_full
from tinygpt.run.nanogpt import left_alone, read_settings
from tinygpt.run.nanogpt_defaults import WITHOUT_MEANING
from tinygpt.run.state import OURS, Parts
from tinygpt.run.store import load_model
from tinygpt.tokenizer import Tokenizer

A_NEW_MODELS = "char", "bpe"  # tokenizers that training makes; a model that there is has its own


def add_habits(parser: argparse.ArgumentParser) -> None:
    """Let a command that has its flags already take a configuration file and `train`'s flags too. Its own defaults stay
    out of the namespace, for `settle` to put in what neither a flag nor the file says.
    """
    parser.usage = "%(prog)s [CONFIG.py] [--flag=value ...]"
    parser.add_argument(
        "--init_from", metavar="NAME", help="resume for --out_dir, or gpt2 to gpt2-xl, or a folder instead"
    )
    defaults = {action.dest: action.default for action in parser._actions if action.default is not argparse.SUPPRESS}
    for action in parser._actions:
        action.default = argparse.SUPPRESS
    parser.set_defaults(defaults=defaults)
    parser.add_argument(
        "config", nargs="?", metavar="CONFIG.py",
        help="a nanoGPT configuration file; what it says of training is left alone",
    )  # fmt: skip
    parser.add_argument("--preset", choices=list(PRESETS), default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    add_settings(parser, hidden=True)


def settle(arguments: argparse.Namespace) -> set[str]:
    """Put into `arguments` what the file says and no flag does, then the defaults; `out_dir` becomes the model's folder
    or name. What of the file or of the flags is left alone is a note. Returns the names that the file has set.
    """
    own, given = arguments.defaults, {name: value for name, value in vars(arguments).items() if value is not None}
    of_file: dict[str, Any] = {}
    if arguments.config is not None:
        preset = PRESETS[given.get("preset", "cpu")]
        flags_of_runs = {name: value for name, value in given.items() if name in vars(TrainConfig())}
        here = vars(TrainConfig(**preset | flags_of_runs))
        settings, left, notes = read_settings(arguments.config, here)
        of_file = {name: value for name, value in settings.items() if name in own and name != "tokenizer"}
        for name in {"data", "dataset"} & given.keys():
            of_file.pop("data" if name == "dataset" else "dataset", None)  # a flag says what the text is
        left += [name for name in settings if name not in of_file and name not in given]
        for note in [left_alone(arguments.config, left)] * bool(left) + notes:
            warnings.warn(note, Note, stacklevel=2)
    trains = {*vars(TrainConfig()), *WITHOUT_MEANING, "preset"} - own.keys()
    if flags := [f"--{name}" for name in given if name in trains]:
        warnings.warn(f"left alone, since they are for training: {', '.join(flags)}", Note, stacklevel=2)
    values = {name: _as_flag(arguments, name, value) for name, value in of_file.items() if name not in given}
    model = _model(arguments, given, of_file)
    for name, value in (own | values | {name: given[name] for name in own if name in given}).items():
        setattr(arguments, name, in_full(name, value))
    arguments.out_dir = expanded(model)
    return values.keys() - given.keys()


def _as_flag(arguments: argparse.Namespace, name: str, value: Any) -> Any:
    """A file's value, as the flag of that name would take it."""
    action = next(action for action in arguments.parser._actions if action.dest == name)
    try:
        return value if value is None or action.type is None else action.type(str(value))
    except argparse.ArgumentTypeError as error:
        raise UserError(f"{arguments.config}: {name}: {error}") from None


def _model(arguments: argparse.Namespace, given: dict[str, Any], of_file: dict[str, Any]) -> str:
    """Where the model is. As in nanoGPT, `init_from` says so, and "resume" that it is in `out_dir`."""
    folder, start = given.get("out_dir"), given.get("init_from", "resume")
    if "" in (folder, start):
        raise UserError("--out_dir or --init_from is empty; expected the name of a folder")
    if start not in ("resume", "scratch"):
        if folder is not None:
            warnings.warn(f"--out_dir={folder} is left alone: --init_from={start} says which model", Note, stacklevel=3)
        return start
    if folder is not None or "init_from" in given:
        theirs = of_file.get("init_from", "resume")
        if "init_from" not in given and theirs not in ("resume", "scratch", folder):
            note = f"{arguments.config} says init_from={theirs}; this is what is in {folder}, as --out_dir says"
            warnings.warn(note, Note, stacklevel=3)
        return folder or of_file.get("out_dir") or arguments.defaults["out_dir"]
    folder, start = of_file.get("out_dir"), of_file.get("init_from", "resume")
    if start in ("resume", "scratch"):
        return folder or arguments.defaults["out_dir"]
    if folder is not None and Path(expanded(folder)).is_dir():
        note = f"{arguments.config} starts from {start} and trains it in {folder}; this is what is in {folder}"
        warnings.warn(f"{note} (--init_from={start} takes the other)", Note, stacklevel=3)
        return folder
    return start


def model_for(arguments: argparse.Namespace, parts: Parts = OURS) -> tuple[GPT, Tokenizer | None]:
    """The model that the arguments name, with its own tokenizer or the one asked for."""
    named = arguments.tokenizer
    other = None if named in A_NEW_MODELS else named
    model, tokenizer = load_model(
        arguments.out_dir, arguments.device, arguments.dtype, arguments.kernels, parts, tokenizer=other
    )
    if named in A_NEW_MODELS and (tokenizer is None or tokenizer.name != named):
        has = f"is {tokenizer.name}" if tokenizer else "is not known"
        raise UserError(
            f"--tokenizer={named}, but that of the model in {arguments.out_dir} {has}; leave the flag out, or give the "
            "file of a tokenizer"
        )
    return model, tokenizer

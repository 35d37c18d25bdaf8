"""The command line: `tinygpt train | sample | eval | info | gradcheck`. `python train.py` is `tinygpt train`."""

import argparse
import contextlib
import difflib
import signal
import sys
import time
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from tinygpt import __version__
from tinygpt.data import STDLIB_CHARACTERS, Batch, Corpus, first_prompt, load_corpus
from tinygpt.device import out_of_memory, resolve_device
from tinygpt.errors import UserError
from tinygpt.layers.cross_entropy import IGNORED
from tinygpt.models.gpt2 import GPT2_SIZES, GPTConfig
from tinygpt.parallel import Workers, blas_threads, thread_count
from tinygpt.run import screens
from tinygpt.run.config import MODEL_SHAPE, PRESETS, TrainConfig
from tinygpt.run.costs import cost_table
from tinygpt.run.loop import mean_loss, train
from tinygpt.run.nanogpt import WITHOUT_MEANING, plain_type, read_nanogpt_config
from tinygpt.run.state import OURS, Parts, TrainState
from tinygpt.run.store import check_vocabulary, load_model, load_state, resume, saved_setting, set_aside, start
from tinygpt.sample import check_rules, text_stream


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 for a user's mistake, 2 for a wrong flag, 130 for Ctrl-C."""
    return guarded(lambda: _run(argv, prog))


def _run(argv: Sequence[str] | None, prog: str | None) -> int:
    arguments = _parser(prog).parse_args(argv)
    return arguments.run(arguments, prog or "tinygpt train")


def guarded(command: Callable[[], int]) -> int:
    """The exit status of a command, whose user's mistakes and interruptions are a sentence each, not a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a sample may hold characters that a redirected stream's encoding lacks
            stream.reconfigure(errors="replace")
    try:
        return command()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read the output has left, as `| head` does
        screens.silence()
        return 1
    except OSError as error:  # such as a full disk under a redirected output
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
        return 130
    except Exception as error:
        if (what := out_of_memory(error)) is None:
            raise
        way_out = "use a smaller --batch_size (with more --gradient_accumulation_steps), --block_size or model"
        print(f"error: {what}; {way_out}", file=sys.stderr)
        return 1


# Commands


def train_command(arguments: argparse.Namespace, command: str) -> int:
    """Train, showing and writing down what happens."""
    changes, notes = _train_settings(arguments)
    preset = PRESETS[arguments.preset]
    own = _own_layers(changes)
    parts = own.parts if own else OURS
    if changes.get("init_from") == "resume":
        state = resume(changes.get("out_dir", "out"), preset | changes, parts)
        notes.append(f"resumed at step {state.step:,}, learning rate {state.config.lr(state.step):.2e}")
        if state.evaluated_step < 0 < state.step:
            notes.append("on another text, so its best validation loss and best weights start anew")
        if changes.get("threads") is None and state.threads != thread_count(device=state.model.device):
            threads = screens.counted(state.threads, "thread")
            notes.append(f"with {threads}, as the run began, so that it goes on bit for bit")
    else:
        state = _start(preset, changes, parts)
        if not state.config.eval_only and (folder := set_aside(state.config.out_dir)):
            notes.append(f"the earlier run in {state.config.out_dir} is kept in {folder}")
    if own:
        notes += own.remarks()
    _, remark = resolve_device(state.config.device)
    if state.evaluated_step == state.step >= state.config.max_iters and not state.config.eval_only:
        raise UserError(
            f"the run in {state.config.out_dir} has finished its {state.step:,} steps; "
            f"to go on, give --max_iters more than that"
        )

    began = time.perf_counter()
    metrics = None if state.config.eval_only else screens.Metrics(state)
    before = signal.signal(signal.SIGINT, lambda *_: screens.interrupt(state))
    try:
        with _blaming(own), screens.Screen(state) as screen:
            for note in notes:
                screen.line(f"note: {note}")
            screen.line(screens.heading(state, remark, {"yours": own.summary()} if own else None) + "\n")
            for record in train(state):
                screen.show(record)
                if metrics:
                    metrics.write(record)
        if metrics:
            metrics.close()
            screens.plot(state.config.out_dir)
    finally:
        signal.signal(signal.SIGINT, before)
    if state.stop and state.config.eval_only:
        screen.line("\nstopped; nothing was to be saved")
        return 130
    if state.stop and state.evaluated_step < state.config.max_iters:
        where = screens.out_dir_flag(state.config.out_dir)
        screen.line(f"\nstopped, saved at step {state.saved_step:,}; go on with: {command} --init_from=resume{where}")
        return 130
    if not state.config.eval_only:
        with _blaming(own):
            screen.sample(state.config.sample_length * 5 // 2)
        screen.line("\n" + screens.closing(state, time.perf_counter() - began, command))
    return 0


def _own_layers(settings: Mapping[str, Any]) -> Any:
    """The reader's own layers, if `settings` ask for any; a resumed run has what it was saved with, unless they say."""
    folder, unchecked = settings.get("mine"), settings.get("mine_unchecked")
    if settings.get("init_from") == "resume":
        out_dir = settings.get("out_dir", "out")
        folder = settings["mine"] if "mine" in settings else saved_setting(out_dir, "mine")
        unchecked = saved_setting(out_dir, "mine_unchecked") if unchecked is None else unchecked
    if not folder:
        return None
    from tinygpt.own_layers import load_own_layers  # here, since other runs should not wait for the checker

    return load_own_layers(folder, bool(unchecked))


@contextlib.contextmanager
def _blaming(own: Any) -> Iterator[None]:
    """Turns an error from a reader's own part, if there are any, into one sentence with their file and line in it."""
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:
        if own and own.used and out_of_memory(error) is None:
            raise UserError(own.blame(error)) from error
        raise


def _start(preset: dict[str, Any], changes: dict[str, Any], parts: Parts) -> TrainState:
    """A new run. Raises UserError for a flag that contradicts the model it starts from."""
    if changes.get("init_from", "scratch") == "scratch":
        return start(TrainConfig(**(preset | changes)), parts)
    state = start(TrainConfig(**(preset | {"block_size": None} | changes)), parts)  # None: the model's own
    for name in (*MODEL_SHAPE, "tokenizer", "vocab_size"):
        if name in changes and getattr(state.config, name) != changes[name]:
            raise UserError(
                f"--{name}={changes[name]} does not fit the model in {state.config.init_from}, which has "
                f"{name}={getattr(state.config, name)}; leave the flag out"
            )
    return state


def sample_command(arguments: argparse.Namespace, _: str) -> int:
    """Print text from a trained model as it comes."""
    check_rules(arguments.temperature, arguments.top_k, arguments.top_p)
    if arguments.out_dir == "resume":  # nanoGPT's --init_from=resume
        arguments.out_dir = "out"
    own = _own_layers({"mine": arguments.mine})
    for note in (*own.remarks(), f"yours: {own.summary()}") if own else ():
        print(f"note: {note}", file=sys.stderr)
    parts = own.parts if own else OURS
    model, tokenizer = load_model(arguments.out_dir, arguments.device, arguments.dtype, arguments.kernels, parts)
    if tokenizer is None:
        raise UserError(f"{arguments.out_dir} has no tokenizer, so there is no text to print; use GPT.generate")
    start_text = arguments.start if arguments.start is not None else first_prompt(tokenizer)
    if start_text.startswith("FILE:"):
        try:
            start_text = Path(start_text[5:]).read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"could not read the prompt from {start_text[5:]} ({error})") from error
    prompt = tokenizer.encode(start_text)
    if len(prompt) == 0:
        raise UserError('the prompt is empty; give --start at least one character, such as --start="a"')
    with blas_threads(thread_count(arguments.threads)), _blaming(own):
        for number in range(arguments.num_samples):
            if number > 0:
                print("\n---------------")
            seed = None if arguments.seed is None else arguments.seed + number
            tokens = model.stream(
                prompt[None], arguments.max_new_tokens, arguments.temperature, arguments.top_k, arguments.top_p,
                seed, arguments.exact_window,
            )  # fmt: skip
            new = (int(token[0]) for token in tokens)
            for piece in chain([start_text], text_stream(new, tokenizer.decode_bytes, arguments.stop)):
                print(screens.printable(piece) if sys.stdout.isatty() else piece, end="", flush=True)
    print()
    return 0


def eval_command(arguments: argparse.Namespace, _: str) -> int:
    """Print the loss, perplexity and bits per character of a checkpoint on a whole text, every token counted once."""
    model, tokenizer = load_model(arguments.out_dir, arguments.device, arguments.dtype, arguments.kernels)
    corpus, parts = _evaluation_text(arguments, tokenizer)
    check_vocabulary(corpus, model, arguments.out_dir)
    if tokenizer is None and corpus.tokenizer is not None:
        raise UserError(
            f"{arguments.out_dir} has no tokenizer, so its loss on a text would mean nothing; "
            f"give --data a folder with train.bin and val.bin in the model's own tokens"
        )
    tokens = np.concatenate([getattr(corpus, part) for part in parts])
    if len(tokens) < 2:
        raise UserError(f"{corpus.name} has {len(tokens)} tokens; expected at least 2, one to predict from another")
    predicted = characters = 0

    def batches() -> Iterator[Batch]:
        nonlocal predicted, characters
        for idx, targets in corpus.windows(tokens, arguments.batch_size, model.config.block_size):
            counted = targets[targets != IGNORED]
            predicted += len(counted)
            if tokenizer is not None:  # all bytes but those that continue a character in UTF-8, which tokens may cut
                characters += sum(byte & 0xC0 != 0x80 for byte in tokenizer.decode_bytes(counted))
            yield idx, targets

    with Workers(thread_count(arguments.threads, model.device)) as workers:
        loss = mean_loss(model, workers, batches())
    rows = {
        "model": f"{arguments.out_dir}, {model.config.n_params:,} parameters",
        "text": f"{corpus.name} ({' and '.join(parts)}), {predicted:,} tokens predicted",
        "loss": f"{loss:.4f} nats per token",
        "perplexity": f"{np.exp(loss):.4f} per token",
    }
    if characters:
        rows["bits per character"] = f"{loss / np.log(2) * predicted / characters:.4f}"
    if (accuracy := corpus.accuracy(model)) is not None:
        rows["unseen sums"] = f"{accuracy:.1%} right"
    print(screens.facts(rows))
    return 0


def _evaluation_text(arguments: argparse.Namespace, tokenizer: Any) -> tuple[Corpus, tuple[str, ...]]:
    """The text to evaluate on: the one given, whole; else the validation part of the run's own."""
    own = tokenizer if tokenizer is not None else "char"
    if arguments.data is not None:
        return load_corpus(data=arguments.data, tokenizer=own), ("train", "val")
    if arguments.dataset is not None:
        return load_corpus(arguments.dataset, tokenizer=own), ("val",)
    if (Path(arguments.out_dir) / "last").is_dir():
        config = load_state(arguments.out_dir)[0]["config"]
        return load_corpus(config["dataset"], config["data"], own), ("val",)
    raise UserError(f"{arguments.out_dir} does not say what it was trained on; give --data FILE or --dataset NAME")


def info_command(arguments: argparse.Namespace, _: str) -> int:
    """Print a model's parameters, FLOPs and memory, layer by layer."""
    if arguments.out_dir is not None:
        config, batch_size = load_model(arguments.out_dir, "cpu")[0].config, 1
    elif arguments.preset in GPT2_SIZES:
        config, batch_size = GPTConfig.preset(arguments.preset), 1
    else:
        run = TrainConfig(**PRESETS[arguments.preset])
        shape = {name: getattr(run, name) for name in MODEL_SHAPE}
        config, batch_size = GPTConfig(vocab_size=len(STDLIB_CHARACTERS), **shape), run.batch_size
    print(cost_table(config, arguments.batch_size or batch_size))
    return 0


def gradcheck_command(arguments: argparse.Namespace, _: str) -> int:
    """Check gradients; the status is 1 if any is wrong."""
    from tinygpt.gradcheck import command as gradcheck  # here, since training should not wait for it to be imported

    if arguments.mutants:
        if arguments.device != "cpu" or arguments.all_entries or arguments.layer or arguments.verbose:
            raise UserError("--mutants goes with names of layers and --seed only; leave the other flags out")
        return 0 if gradcheck.measure(arguments.what, arguments.seed) else 1
    device, remark = resolve_device(arguments.device)
    if remark:
        print(f"note: {remark}")
    with blas_threads(1):  # the arrays are too small to share out
        right = gradcheck.check(
            arguments.what, device, arguments.all_entries, arguments.seed, arguments.layer, arguments.verbose
        )
    return 0 if right else 1


# Flags


class Parser(argparse.ArgumentParser):
    """argparse with one sentence for an error, and the nearest flag for an unknown one."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see {self.prog} --help\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """--batch-size is --batch_size."""
        known = self._option_string_actions
        args = [
            a if (flag := a.partition("=")[0]) in known else a.replace(flag, _underscored(flag, known), 1)
            for a in (sys.argv[1:] if args is None else args)
        ]
        return super().parse_known_args(args, namespace)

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


def _underscored(flag: str, known: Mapping[str, Any]) -> str:
    name = "--" + flag[2:].replace("-", "_")
    return name if flag.startswith("--") and name in known else flag


def _parser(prog: str | None) -> Parser:
    """One parser for all commands; with `prog` ("python train.py") only that of `train`, under that name."""
    parser = Parser(prog="tinygpt", description="A GPT whose every gradient is written by hand.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"tinygpt {__version__}")
    commands = parser.add_subparsers(required=True, metavar="train | sample | eval | info | gradcheck")

    def command(name: str, run: Callable[[argparse.Namespace, str], int], help: str) -> Parser:
        sub = commands.add_parser(
            name, help=help, description=help, allow_abbrev=False, prog=prog or f"tinygpt {name}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        sub.set_defaults(run=run, parser=sub)
        return sub

    sub = command("train", train_command, "Train a GPT; with no flags a small one, on this computer, in minutes.")
    _add_train_flags(sub)

    sub = command("sample", sample_command, "Print text from a trained model.")
    sub.add_argument("--out_dir", default="out", help="a run's folder, or a Hugging Face GPT-2 folder (default: out)")
    sub.add_argument("--init_from", dest="out_dir", default=argparse.SUPPRESS, help=argparse.SUPPRESS)  # nanoGPT's name
    sub.add_argument("--start", metavar="TEXT", help="the prompt, or FILE:path (default: a newline)")
    sub.add_argument("--num_samples", type=_at_least(1), default=1, metavar="N", help="samples (default: 1)")
    sub.add_argument("--max_new_tokens", type=_at_least(0), default=500, metavar="N", help="tokens (default: 500)")
    sub.add_argument("--temperature", type=float, default=0.8, metavar="X", help="0 for the likeliest (default: 0.8)")
    sub.add_argument("--top_k", type=int, default=200, metavar="N", help="draw from the N likeliest (default: 200)")
    sub.add_argument("--top_p", type=float, metavar="P", help="draw from the likeliest that reach P together")
    sub.add_argument("--stop", default="", metavar="TEXT", help="end a sample before this text")
    sub.add_argument("--seed", type=_at_least(0), metavar="N", help="the same text again (default: another each time)")
    sub.add_argument("--mine", metavar="FOLDER", help="take in parts of your own, from the lessons: lessons/work")
    sub.add_argument("--exact_window", **_bool(False), help="slide the context by one token, uncached, as nanoGPT does")
    _add_system_flags(sub)

    sub = command("eval", eval_command, "Print loss, perplexity and bits per character of a model on a text.")
    sub.add_argument("--out_dir", default="out", help="a run's folder, or a Hugging Face GPT-2 folder (default: out)")
    sub.add_argument("--data", metavar="FILE", help="a UTF-8 text, all of it (default: the run's validation text)")
    sub.add_argument("--dataset", metavar="NAME", help="the validation part of a corpus instead")
    sub.add_argument("--batch_size", type=_at_least(1), default=16, metavar="N", help="windows at a time (default: 16)")
    _add_system_flags(sub)

    sub = command("info", info_command, "Print a model's parameters, FLOPs and memory by layer.")
    sub.add_argument(
        "--preset", default="cpu", choices=list(dict.fromkeys((*PRESETS, *GPT2_SIZES))), help="(default: cpu)"
    )
    sub.add_argument("--out_dir", help="a run's folder, or a Hugging Face GPT-2 folder, instead of a preset")
    sub.add_argument("--batch_size", type=_at_least(1), metavar="N", help="sequences held for a step")

    sub = command(
        "gradcheck", gradcheck_command, "Check every backward pass, or your own, against numerical derivatives."
    )
    sub.add_argument(
        "what", nargs="*", metavar="LAYER | model | gpt2 | FILE.py",
        help="layers by name, model, a size of GPT-2, or your own file with forward and backward, and with inputs, a "
        "dict of forward's arguments, if it is no layer (default: all layers and the model)",
    )  # fmt: skip
    sub.add_argument("--as", dest="layer", type=_layer, metavar="LAYER", help="the layer that FILE.py implements")
    sub.add_argument("--mutants", action="store_true", help="measure the checker on a library of wrong layers instead")
    sub.add_argument("--all_entries", action="store_true", help="every entry of the model's parameters (default: some)")
    sub.add_argument("-v", "--verbose", action="store_true", help="a row for every gradient of every check")
    sub.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    sub.add_argument("--seed", type=_at_least(0), default=0, metavar="N", help="of the inputs and sizes (default: 0)")
    return parser


def _add_system_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--dtype", default="float32", help="float32 or float64 (default: float32)")
    parser.add_argument("--threads", type=_at_least(1), metavar="N", help="CPU cores to use (default: all)")
    parser.add_argument("--kernels", default="auto", help="auto or reference (default: auto)")


def _add_train_flags(parser: argparse.ArgumentParser) -> None:
    """A flag for every field of TrainConfig; those not given stay out of the namespace."""
    parser.epilog = "presets (flags override them):\n" + "\n".join(
        f"  {name:<6}" + (", ".join(f"{key}={value}" for key, value in preset.items()) or "the defaults above")
        for name, preset in PRESETS.items()
    )
    parser.usage = "%(prog)s [CONFIG.py] [--flag=value ...]"
    parser.add_argument("config", nargs="?", metavar="CONFIG.py", help="a nanoGPT configuration file, read as literals")
    parser.add_argument("--preset", default="cpu", choices=list(PRESETS), help="where to start from (default: cpu)")
    hints = typing.get_type_hints(TrainConfig)
    groups: dict[str, Any] = {}
    for field in fields(TrainConfig):
        group = field.metadata["group"]
        if group not in groups:
            groups[group] = parser.add_argument_group(group)
        help = field.metadata["help"] + ("" if field.default is None else f" (default: {field.default})")
        kind = plain_type(hints[field.name])
        options = _bool(argparse.SUPPRESS) if kind is bool else {"type": kind, "default": argparse.SUPPRESS}
        if kind is not bool:
            options["metavar"] = {int: "N", float: "X", str: "TEXT"}[kind]
        groups[group].add_argument(f"--{field.name}", help=help.replace("%", "%%"), **options)
    for name in WITHOUT_MEANING:
        parser.add_argument(f"--{name}", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def _bool(default: Any) -> dict[str, Any]:
    """The options of a flag that is written --bias, --bias=True or --bias False."""

    def parse(text: str) -> bool:
        values = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if text.lower() not in values:
            raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
        return values[text.lower()]

    return {"type": parse, "nargs": "?", "const": True, "default": default, "metavar": "True|False"}


def _layer(text: str) -> str:
    from tinygpt.gradcheck.cases import CASES

    if text not in CASES:
        raise argparse.ArgumentTypeError(f"invalid choice: {text!r} (choose from {', '.join(map(repr, CASES))})")
    return text


def _at_least(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if number < least:
            raise argparse.ArgumentTypeError(f"{number} is less than {least}")
        return number

    return parse


def _train_settings(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """The settings given by file and by flags, flags last, and notes on what was left alone."""
    known = {field.name for field in fields(TrainConfig)}
    given = vars(arguments)
    settings: dict[str, Any] = {}
    notes: list[str] = []
    if arguments.config is not None:
        settings, notes = read_nanogpt_config(arguments.config)
    if {"data", "dataset"} <= given.keys():
        raise UserError("--data and --dataset were both given; expected one of them, since a run has one text")
    settings |= {name: given[name] for name in known & given.keys()}
    if arguments.config is not None and arguments.preset == "cpu":
        ours = {name: getattr(TrainConfig(), name) for name in (*MODEL_SHAPE, "dataset", "learning_rate", "batch_size")}
        unset = [f"{name}={value}" for name, value in ours.items() if name not in settings]
        if unset:
            notes.append(f"not set by {arguments.config}, so tinygpt's defaults: {', '.join(unset)}")
    if ignored := [f"--{name}" for name in WITHOUT_MEANING if name in given]:
        notes.append(f"{', '.join(ignored)} has no meaning here and is left alone")
    return settings, notes

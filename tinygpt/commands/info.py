"""`tinygpt info`: a model's parameters, FLOPs and memory, layer by layer."""

import argparse

from tinygpt.commands.flags import at_least
from tinygpt.data import STDLIB_CHARACTERS
from tinygpt.models.gpt2 import GPT2_SIZES, GPTConfig
from tinygpt.run.config import MODEL_SHAPE, PRESETS, TrainConfig
from tinygpt.run.costs import cost_table
from tinygpt.run.store import load_model

HELP = "Print a model's parameters, FLOPs and memory by layer."


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--preset", default="cpu", choices=list(dict.fromkeys((*PRESETS, *GPT2_SIZES))), help="(default: cpu)"
    )
    parser.add_argument("--out_dir", help="a run's folder, or a Hugging Face GPT-2 folder, instead of a preset")
    parser.add_argument("--batch_size", type=at_least(1), metavar="N", help="sequences held for a step")


def run(arguments: argparse.Namespace, _: str) -> int:
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

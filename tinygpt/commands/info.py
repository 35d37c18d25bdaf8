"""`tinygpt info`: a model's parameters, FLOPs and memory, layer by layer."""

import argparse

from rich.console import Console
from rich.table import Table

from tinygpt.commands.flags import at_least
from tinygpt.data import STDLIB_CHARACTERS
from tinygpt.models.gpt2 import GPT2_SIZES, GPTConfig, costs, training_flops
from tinygpt.run.config import MODEL_SHAPE, PRESETS, TrainConfig
from tinygpt.run.store import load_model

HELP = "Print a model's parameters, FLOPs and memory by layer."


def add_flags(parser: argparse.ArgumentParser) -> None:
    presets = list(dict.fromkeys((*PRESETS, *GPT2_SIZES)))
    parser.add_argument("--preset", default="cpu", choices=presets, help="(default: cpu)")
    parser.add_argument("--out_dir", help="a run's folder, or a Hugging Face GPT-2 folder, instead of a preset")
    parser.add_argument("--batch_size", type=at_least(1, 10**6), metavar="N", help="sequences held for a step")


def run(arguments: argparse.Namespace, _: str) -> int:
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


def cost_table(config: GPTConfig, batch_size: int) -> str:
    """The costs of each layer as a table, and the totals of a float32 training step on `batch_size` sequences."""
    rows = costs(config)
    tokens = batch_size * config.block_size
    params, flops, activations = (sum(column) for column in list(zip(*rows, strict=True))[1:])
    table = Table(box=None, pad_edge=False, show_footer=True)
    table.add_column("layer", footer="all")
    titles = "parameters", "share", "MFLOPs/token", f"MiB at B={batch_size}"
    totals = f"{params:,}", "100.0%", f"{flops / 1e6:,.2f}", f"{activations * tokens * 4 / 2**20:,.1f}"
    for title, total in zip(titles, totals, strict=True):
        table.add_column(title, footer=total, justify="right")
    for row in rows:
        memory = f"{row.activations * tokens * 4 / 2**20:,.1f}"
        table.add_row(row.name, f"{row.params:,}", f"{row.params / params:.1%}", f"{row.flops / 1e6:,.2f}", memory)
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return f"""{capture.get()}
n_layer={config.n_layer}, n_head={config.n_head}, n_embd={config.n_embd}, block_size={config.block_size}, \
vocab_size={config.vocab_size}
MFLOPs/token: of a forward pass, matrix products only; MiB: activations that backward needs
a training step on {tokens:,} tokens: {training_flops(config) * tokens / 1e9:,.3g} GFLOPs
parameters, gradients and two moments in 32-bit numbers: {4 * params * 4 / 2**20:,.1f} MiB"""

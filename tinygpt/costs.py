"""What a model costs: parameters, floating-point operations and memory, layer by layer.

FLOPs count a multiplication and an addition as two, matrix products only; a backward pass computes two products for
each of forward's, hence the usual "three times forward" for a training step (Kaplan et al., "Scaling Laws for Neural
Language Models", 2020, arXiv:2001.08361, section 2.1).
"""

from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from tinygpt.model import GPTConfig


class Cost(NamedTuple):
    """One layer of the model. FLOPs are a forward pass's, for a token of a full context; activations are what the
    definitions keep for backward, in array elements for one token.
    """

    name: str
    params: int
    flops: int
    activations: int


def costs(config: GPTConfig) -> list[Cost]:
    """The rows of the table: embeddings, the parts of one block times n_layer, ln_f, head."""
    L, H, T = config.n_layer, config.n_head, config.block_size
    C, V = config.n_embd, config.vocab_size
    b = int(config.bias)
    return [
        Cost("wte", V * C, 0, 0),
        Cost("wpe", T * C, 0, 0),
        Cost("ln_1", L * (1 + b) * C, 0, L * (C + 1)),  # xhat, rstd
        Cost("attn.c_attn", L * (3 * C + b * 3) * C, L * 2 * C * 3 * C, L * C),  # its input
        Cost("attn", 0, L * 2 * 2 * T * C, L * (3 * C + H * T)),  # q, k, v and the weights; masked half included
        Cost("attn.c_proj", L * (C + b) * C, L * 2 * C * C, L * C),
        Cost("ln_2", L * (1 + b) * C, 0, L * (C + 1)),
        Cost("mlp.c_fc", L * 4 * (C + b) * C, L * 2 * C * 4 * C, L * C),
        Cost("mlp.gelu", 0, 0, L * 2 * 4 * C),  # x and Phi(x)
        Cost("mlp.c_proj", L * (4 * C + b) * C, L * 2 * 4 * C * C, L * 4 * C),
        Cost("ln_f", (1 + b) * C, 0, C + 1),
        Cost("head (tied to wte)", 0, 2 * C * V, C),  # in chunks of rows: only its input's gradient is kept
    ]


def training_flops(config: GPTConfig) -> int:
    """The FLOPs of a training step for one token of a full context."""
    return 3 * sum(row.flops for row in costs(config))


def cost_table(config: GPTConfig, batch_size: int, itemsize: int = 4) -> str:
    """The table as text, and the totals of a training step on batch_size sequences in numbers of `itemsize` bytes."""
    rows = costs(config)
    tokens = batch_size * config.block_size
    params, flops, activations = (sum(column) for column in list(zip(*rows, strict=True))[1:])
    table = Table(box=None, pad_edge=False, show_footer=True)
    table.add_column("layer", footer="all")
    for title, total in (
        ("parameters", f"{params:,}"),
        ("share", "100.0%"),
        ("MFLOPs/token", f"{flops / 1e6:,.2f}"),
        (f"MiB at B={batch_size}", f"{activations * tokens * itemsize / 2**20:,.1f}"),
    ):
        table.add_column(title, footer=total, justify="right")
    for row in rows:
        table.add_row(
            row.name, f"{row.params:,}", f"{row.params / params:.1%}", f"{row.flops / 1e6:,.2f}",
            f"{row.activations * tokens * itemsize / 2**20:,.1f}",
        )  # fmt: skip
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(table)
    state = 4 * params * itemsize / 2**20
    return (
        capture.get()
        + f"\nn_layer={config.n_layer}, n_head={config.n_head}, n_embd={config.n_embd}, "
        + f"block_size={config.block_size}, vocab_size={config.vocab_size}\n"
        + "MFLOPs/token: of a forward pass, matrix products only; MiB: activations that backward needs\n"
        + f"a training step on {tokens:,} tokens: {training_flops(config) * tokens / 1e9:,.3g} GFLOPs\n"
        + f"parameters, gradients and two moments in {8 * itemsize}-bit numbers: {state:,.1f} MiB\n"
    ).rstrip()

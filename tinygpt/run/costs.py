"""What `tinygpt info` shows: a model's costs as a table."""

from rich.console import Console
from rich.table import Table

from tinygpt.models.gpt2 import GPTConfig, costs, training_flops


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

"""What a training step holds on a card at once, by the table of costs, and the batch that would fit."""

from tinygpt.device import available_memory
from tinygpt.models.gpt2 import LMHeadLoss, costs
from tinygpt.run.state import TrainState

SPARE = 64 << 20  # bytes: cuBLAS's workspace, and what rounds every array up


def step_memory(state: TrainState, batch_size: int) -> int:
    """An upper estimate of the bytes that a step of `batch_size` sequences at a time holds at once: parameters,
    gradients and the optimiser's state, what the forward pass keeps for the backward one, the logits, and what the
    widest of the layers computes with.
    """
    config, model = state.model.config, state.model
    C, V = config.n_embd, config.vocab_size
    fused = model.fused_stack is not None and model.head_loss is not LMHeadLoss
    kept = sum(row.activations for row in costs(config, fused))
    if fused:
        kept += 12 * C + -(-V // 64) * 64
    else:
        kept += max(5 * config.n_head * config.block_size, 10 * 4 * C) + 4 * V
    fixed = model.params.flat.nbytes * (2 + len(state.optimizer.state))
    return fixed + batch_size * config.block_size * kept * model.dtype.itemsize + SPARE


def that_fits(state: TrainState) -> str:
    """What to do about a step that does not fit on the card, in a clause: the largest batch that would, with as many
    more of them accumulated as make the same step.
    """
    config, available = state.config, available_memory(state.model.device)
    sequences = config.batch_size * config.gradient_accumulation_steps
    for batch_size in range(config.batch_size - 1, 0, -1):
        if sequences % batch_size == 0 and step_memory(state, batch_size) <= available:
            return (
                f"--batch_size={batch_size} --gradient_accumulation_steps={sequences // batch_size}, the same step in "
                f"smaller parts, would fit into the {_size(available)} that this run can have"
            )
    return (
        f"not even --batch_size=1 would fit into the {_size(available)} that this run can have; choose a smaller "
        "--block_size or model"
    )


def _size(nbytes: int) -> str:
    return f"{nbytes / 1e9:,.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:,.1f} MB"

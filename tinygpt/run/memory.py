"""What a training step holds on a card at once, by the table of costs, and the batch that would fit."""

from dataclasses import replace

from tinygpt.device import available_memory
from tinygpt.kernels.cuda.flash_attention import HEADS, PADDED
from tinygpt.models.gpt2 import GPT, LMHeadLoss, costs
from tinygpt.run.state import TrainState

SPARE = 64 << 20  # bytes: cuBLAS's workspace, and what rounds every array up


def has_kernels(model: GPT) -> bool:
    """Whether a card's kernels compute the blocks and the head."""
    return model.fused_stack is not None and model.head_loss is not LMHeadLoss


def activations(model: GPT, recompute: str) -> int:
    """How many numbers are held at once for the backward pass of one token: what is kept, and where blocks are
    computed again, what the one at hand keeps meanwhile.
    """
    kept = sum(row.activations for row in costs(model.config, has_kernels(model), recompute))
    if recompute == "blocks":
        one = costs(replace(model.config, n_layer=1), has_kernels(model))
        kept += sum(row.activations for row in one if row.name.startswith(("ln_1", "attn", "ln_2", "mlp")))
    return kept


def step_memory(state: TrainState, batch_size: int, recompute: str | None = None) -> int:
    """An upper estimate of the bytes that a step of `batch_size` sequences at a time holds at once: parameters,
    gradients and the optimiser's state, of which ranks may have a part each, what the forward pass keeps for the
    backward one, the logits, and what the widest of the layers computes with. recompute: what backward computes again,
    as in the run if None.
    """
    config, model = state.model.config, state.model
    C, V = config.n_embd, config.vocab_size
    kept = activations(model, recompute or model.recompute)
    if has_kernels(model):
        kept += 12 * C + -(-V // 64) * 64
    else:
        kept += max(5 * config.n_head * config.block_size, 10 * 4 * C) + 4 * V
    fixed = 2 * model.params.flat.nbytes + sum(buffer.flat.nbytes for buffer in state.optimizer.state.values())
    extra = 0  # bytes of a sequence
    if model.dtype != model.params.dtype:
        fixed += model.params.n_decayed * model.dtype.itemsize  # the matrices as products take them
        extra = _beside_bfloat16(model, 1 if (recompute or model.recompute) == "blocks" else config.n_layer)
    computing = batch_size * (config.block_size * kept * model.dtype.itemsize + extra)
    saving = 0 if state.shard is None else model.params.flat.nbytes  # a moment is put together between steps
    return fixed + max(computing, saving) + SPARE


def _beside_bfloat16(model: GPT, layers: int) -> int:
    """Bytes of a sequence's attention in so many layers that are no bfloat16: a number for each row of weights and,
    with dropout, a bit for each weight; or qkv and out in float32, two numbers for each row, and once their gradients.
    """
    config = model.config
    T, heads = config.block_size, config.n_head
    if config.n_embd // heads not in HEADS:
        return layers * 4 * T * (4 * config.n_embd + 2 * heads) + 4 * T * 4 * config.n_embd
    rows = -(-T // PADDED) * PADDED
    return layers * heads * (4 * rows + (rows * rows // 8 if config.dropout else 0))


def that_fits(state: TrainState) -> str:
    """What to do about a step that does not fit on the card, in a clause: compute the blocks again, where that is
    enough, or take the largest batch that would fit, with as many more of them accumulated as make the same step.
    """
    config, available = state.config, available_memory(state.model.device)
    would_fit = f"would fit into the {_size(available)} that this run can have"
    ways = []
    if config.recompute != "blocks" and step_memory(state, _at_once(state, config.batch_size), "blocks") <= available:
        ways.append("--recompute=blocks, the same step with less kept and more computed,")
    if smaller := _smaller(state, available, config.recompute):
        ways.append(f"{smaller}, the same step in smaller parts,")
    if not ways and (smaller := _smaller(state, available, "blocks")):
        ways.append(f"--recompute=blocks {smaller}, the same step in smaller parts with less kept,")
    if ways:
        return f"{' or '.join(ways)} {would_fit}"
    return f"not even --batch_size=1 {would_fit}; choose a smaller --block_size or model"


def _smaller(state: TrainState, available: int, recompute: str) -> str:
    """The flags of the largest smaller batch that would fit; nothing if none would."""
    config = state.config
    sequences = config.batch_size * config.gradient_accumulation_steps
    before = _at_once(state, config.batch_size)
    for batch_size in range(config.batch_size - 1, 0, -1):
        rows = _at_once(state, batch_size)
        if sequences % batch_size == 0 and rows < before and step_memory(state, rows, recompute) <= available:
            return f"--batch_size={batch_size} --gradient_accumulation_steps={sequences // batch_size}"
    return ""


def _at_once(state: TrainState, batch_size: int) -> int:
    """How many of a step's sequences a rank computes on at a time: its share, in as few even parts as may be."""
    sequences = state.config.batch_size * state.config.gradient_accumulation_steps
    share = -(-sequences // state.group.size)
    return -(-share // -(-share // batch_size))


def _size(nbytes: int) -> str:
    return f"{nbytes / 1e9:,.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:,.1f} MB"

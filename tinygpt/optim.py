"""AdamW, gradient clipping by global norm, and the learning-rate schedule, as nanoGPT trains with them."""

import math
from collections.abc import Callable, Iterable

from tinygpt.backend import BLOCK, Array, array_module
from tinygpt.parameters import Parameters


def adamw_update(
    w: Array, dw: Array, m: Array, v: Array, step: int,
    lr: float, beta1: float, beta2: float, eps: float, weight_decay: float,
) -> None:  # fmt: skip
    """One AdamW step on `w`, `m` and `v` in place; `dw` is only read. All of one shape.

    Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019 (arXiv:1711.05101), algorithm 2; the moments
    and their bias correction from Kingma and Ba, "Adam", 2015 (arXiv:1412.6980), algorithm 1. `step` counts from 1.
    """
    xp = array_module(w)
    m *= beta1
    m += (1 - beta1) * dw
    v *= beta2
    v += (1 - beta2) * dw * dw
    w *= 1 - lr * weight_decay
    w -= (lr / (1 - beta1**step)) * m / (xp.sqrt(v) / math.sqrt(1 - beta2**step) + eps)


class AdamW:
    """AdamW over the flat buffer of `params`, which it updates in place.

    Weight decay acts on the parameters of two or more dimensions only. `m` and `v` are the first and second moments,
    `steps` the number of steps taken; together they are all the state there is. `update` is the rule for one array.
    """

    def __init__(
        self,
        params: Parameters,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
        update: Callable[..., None] = adamw_update,
    ):
        self.params = params
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay
        self.update = update
        self.m = params.zeros_like()
        self.v = params.zeros_like()
        self.steps = 0

    def step(self, grads: Parameters, lr: float, max_norm: float = 0.0, each: Callable[..., Iterable] = map) -> Array:
        """Update the parameters from `grads`, first scaled so that their global norm is at most `max_norm` (0: not).

        each: calls a function for every block of the buffer; `Workers.map` spreads the calls over threads. Returns the
        norm before scaling, a 0-d array on the parameters' device: reading it is left to the caller, because on a card
        that waits.
        """
        norm = global_norm(grads, each)
        xp = array_module(grads.flat)
        # PyTorch's clip_grad_norm_ adds the 1e-6, and so do we
        scale = xp.minimum(1, max_norm / (norm + 1e-6)).astype(self.params.dtype) if max_norm > 0 else None
        self.steps += 1

        def update_block(block: slice) -> None:
            dw = grads.flat[block] if scale is None else grads.flat[block] * scale
            decay = self.weight_decay if block.start < self.params.n_decayed else 0.0
            self.update(
                self.params.flat[block], dw, self.m.flat[block], self.v.flat[block],
                self.steps, lr, *self.betas, self.eps, decay,
            )  # fmt: skip

        list(each(update_block, _blocks(self.params)))
        return norm


def global_norm(grads: Parameters, each: Callable[..., Iterable] = map) -> Array:
    """The Euclidean norm of all gradients as one vector, a 0-d array on their device. each: see AdamW.step."""
    xp = array_module(grads.flat)
    # not xp.dot: BLAS would split it over as many threads as it likes, and the bits would depend on their number
    squares = each(lambda block: (grads.flat[block] * grads.flat[block]).sum(), _blocks(grads))
    return xp.sqrt(xp.stack(list(squares)).sum())


def _blocks(params: Parameters) -> list[slice]:
    """The flat buffer in pieces: cache-sized on a CPU, whole on a card, none across the end of what decays."""
    size = len(params.flat)
    length = BLOCK if params.device == "cpu" else max(size, 1)
    return [
        slice(start, min(start + length, end))
        for begin, end in ((0, params.n_decayed), (params.n_decayed, size))
        for start in range(begin, end, length)
    ]


def cosine_schedule(step: int, learning_rate: float, min_lr: float, warmup_iters: int, lr_decay_iters: int) -> float:
    """The learning rate of `step` (counted from 0): linear warm-up, then a cosine down to `min_lr`, then `min_lr`.

    Loshchilov and Hutter, "SGDR", 2017 (arXiv:1608.03983), equation 5, with the warm-up of nanoGPT.
    """
    if step < warmup_iters:
        return learning_rate * (step + 1) / (warmup_iters + 1)
    if step >= lr_decay_iters:
        return min_lr
    progress = (step - warmup_iters) / (lr_decay_iters - warmup_iters)
    return min_lr + 0.5 * (1 + math.cos(math.pi * progress)) * (learning_rate - min_lr)

"""The learning rate over the steps of a run."""

import math


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

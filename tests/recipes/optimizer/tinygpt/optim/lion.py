"""Lion: steps of one size, in the direction of a momentum's sign.

Chen and others, "Symbolic Discovery of Optimization Algorithms", 2023 (arXiv:2302.06675), algorithm 2.
"""

from typing import Any

from tinygpt.backend import Array, array_module
from tinygpt.optim.optimizer import Optimizer
from tinygpt.parameters import Parameters


class Lion(Optimizer):
    """Lion over the flat buffer of `params`. `m` is the momentum; weight decay acts as in AdamW."""

    state_names = ("m",)

    def __init__(self, params: Parameters, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.1):
        super().__init__(params)
        self.betas, self.weight_decay = betas, weight_decay

    @classmethod
    def from_config(cls, params: Parameters, config: Any, **own: Any) -> "Lion":
        return cls(params, (config.beta1, config.beta2), config.weight_decay, **own)

    def apply(self, w: Array, dw: Array, lr: float, decayed: bool, **state: Array) -> None:
        m, (beta1, beta2) = state["m"], self.betas
        direction = array_module(w).sign(beta1 * m + (1 - beta1) * dw)
        m *= beta2
        m += (1 - beta2) * dw
        if decayed:
            w *= 1 - lr * self.weight_decay
        w -= lr * direction

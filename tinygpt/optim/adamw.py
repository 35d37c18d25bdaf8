"""AdamW: a running mean of the gradient over the root of one of its square, and weight decay beside it."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from tinygpt.backend import Array, array_module
from tinygpt.errors import UserError, brief
from tinygpt.kernels import modules
from tinygpt.optim.optimizer import Optimizer, global_norm
from tinygpt.parameters import Parameters
from tinygpt.values import real_number

BELOW_1 = math.nextafter(1.0, 0.0)


def adamw_update(
    w: Array, dw: Array, m: Array, v: Array, step: int,
    lr: float, beta1: float, beta2: float, eps: float, weight_decay: float,
) -> None:  # fmt: skip
    """One AdamW step on `w` and its moments `m` and `v`, in place; `dw` is only read. All of one shape.

    Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019 (arXiv:1711.05101), algorithm 2; the moments
    and their bias correction from Kingma and Ba, "Adam", 2015 (arXiv:1412.6980), algorithm 1. `step` counts from 1.
    """
    xp = array_module(w)
    m *= beta1
    m += (1 - beta1) * dw
    v *= beta2
    v += (1 - beta2) * dw * dw
    m_hat = m / (1 - beta1**step)
    v_hat = v / (1 - beta2**step)
    w *= 1 - lr * weight_decay
    w -= lr * m_hat / (xp.sqrt(v_hat) + eps)


class AdamW(Optimizer):
    """AdamW over the flat buffer of `params`, which it updates in place. Weight decay acts on the parameters of two or
    more dimensions only. `m` and `v` are the first and second moments. `update` is the rule for one array; if None,
    `adamw_update` or the device's fast twin of it, or its twin of the whole step, clipping included.
    """

    state_names = ("m", "v")
    never_negative = ("v",)

    def __init__(
        self, params: Parameters, betas: tuple[float, float] = (0.9, 0.95), eps: float = 1e-8,
        weight_decay: float = 0.1, update: Callable[..., None] | None = None,
    ):  # fmt: skip
        super().__init__(params)
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise UserError(f"betas is {brief(betas)}; expected two numbers, such as (0.9, 0.95)")
        beta1, beta2 = (real_number(beta, "a beta", "at least 0 and below 1", 0, BELOW_1) for beta in betas)
        self.betas = beta1, beta2
        self.eps = real_number(eps, "eps", "a finite number of at least 0", 0)
        self.weight_decay = real_number(weight_decay, "weight_decay", "a finite number of at least 0", 0)
        twin: Any = modules(params.device).get("adamw")
        rule: Callable[..., None] = getattr(twin, "adamw_update", adamw_update)
        self.update = update or rule
        fits = update is None and params.dtype.name in getattr(twin, "DTYPES", ())
        self.whole_step: Callable[..., Array] | None = twin.whole_step if fits else None
        self.m, self.v = self.state["m"], self.state["v"]

    @classmethod
    def from_config(cls, params: Parameters, config: Any, **own: Any) -> "AdamW":
        own.setdefault("update", adamw_update if config.kernels == "reference" else None)
        return cls(params, (config.beta1, config.beta2), weight_decay=config.weight_decay, **own)

    def step(self, grads: Parameters, lr: float, max_norm: float = 0.0, each: Callable[..., Iterable] = map) -> Array:
        """As every optimiser's; in one piece where the device has a twin of the whole step."""
        if self.whole_step is None or type(self).apply is not AdamW.apply or self.norm is not global_norm:
            return super().step(grads, lr, max_norm, each)
        lr, max_norm = self.checked(grads, lr, max_norm)
        self.steps += 1
        buffers = self.params.flat, grads.flat, self.m.flat, self.v.flat
        rule = self.steps, lr, *self.betas, self.eps, self.weight_decay
        return self.whole_step(*buffers, self.params.n_decayed, *rule, max_norm)

    def apply(self, w: Array, dw: Array, lr: float, decayed: bool, **state: Array) -> None:
        decay = self.weight_decay if decayed else 0.0
        self.update(w, dw, state["m"], state["v"], self.steps, lr, *self.betas, self.eps, decay)

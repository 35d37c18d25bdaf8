"""`adamw_update`, one step of AdamW: its calls, and the mistakes it is usually made with."""

import numpy as np

from tinygpt.optim.adamw import adamw_update
from tinygpt.own_layers.functions import Call, Calls

DEFINITION = adamw_update


def calls(rng: np.random.Generator) -> Calls:
    for title, step, decay, shape in (
        ("the first step", 1, 0.1, (3, 4)), ("later", 7, 0.1, (5,)), ("no decay", 3, 0.0, (2, 3)),
        ("a gradient of zero", 2, 0.1, (4,)),
    ):  # fmt: skip
        w, dw, m = (rng.standard_normal(shape) for _ in range(3))
        v = rng.uniform(0.1, 1, shape)
        dw, v = (dw * 0, v * 1e-12) if title == "a gradient of zero" else (dw, v)
        if step == 1:
            m, v = np.zeros(shape), np.zeros(shape)
        lr, beta1, beta2, eps = rng.uniform((0.01, 0.8, 0.9, 1e-5), (0.1, 0.95, 0.99, 1e-3)).tolist()
        yield Call(title, (w, dw, m, v, step, lr, beta1, beta2, eps, decay))


# fmt: off
_M, _V, _ROOT = "m_hat = m / (1 - beta1**step)", "v_hat = v / (1 - beta2**step)", "xp.sqrt(v_hat)"
_DECAY, _STEP = "w *= 1 - lr * weight_decay", "w -= lr * m_hat / (xp.sqrt(v_hat) + eps)"
MISTAKES = [
    ("w is not updated in place, so nothing is learned",
     (f"{_DECAY}\nw -= ...", "w = w * (1 - lr * weight_decay)\nw = w - ...")),
    ("the step divides by the second moment, where its root belongs", (_ROOT, "v_hat")),
    ("neither moment is corrected for its start at zero", (_M, "m_hat = m"), (_V, "v_hat = v")),
    ("the first moment is not corrected for its start at zero", (_M, "m_hat = m")),
    ("the second moment is not corrected for its start at zero", (_V, "v_hat = v")),
    ("the correction of the second moment stands outside the root", (_ROOT, "xp.sqrt(v) / (1 - beta2**step)")),
    ("steps are counted from 0: step is 1 the first time",
     ("beta1**step", "beta1 ** (step + 1)"), ("beta2**step", "beta2 ** (step + 1)")),
    ("eps stands under the root, where it is added to the root", ("xp.sqrt(v_hat) + eps", "xp.sqrt(v_hat + eps)")),
    ("eps is added before the second moment is corrected",
     ("xp.sqrt(v_hat) + eps", "(xp.sqrt(v) + eps) / xp.sqrt(1 - beta2**step)")),
    ("the decay goes into the gradient, as in Adam with L2 regularisation: in AdamW it acts on w alone",
     ("m *= beta1", "dw = dw + weight_decay * w\nm *= beta1"), (_DECAY, "")),
    ("the decay is not multiplied by the learning rate", (_DECAY, "w *= 1 - weight_decay")),
    ("there is no weight decay", (_DECAY, "")),
    ("the decay comes after the step, and takes from what the step has just added",
     (_DECAY, ""), (_STEP, f"{_STEP}\n{_DECAY}")),
    ("the new gradient enters the first moment whole, where 1 - beta1 of it belongs", ("m += ...", "m += dw")),
    ("the new gradient enters the second moment whole, where 1 - beta2 of its square belongs",
     ("v += ...", "v += dw * dw")),
    ("the second moment is of the gradient, where its square belongs", ("v += ...", "v += (1 - beta2) * abs(dw)")),
    ("beta1 and beta2 have changed places", ("m *= beta1", "beta1, beta2 = beta2, beta1\nm *= beta1")),
    ("w moves up the gradient, where it belongs down", ("w -= ...", "w += ...")),
    ("m and v are not updated in place, so the next step does not know them",
     ("m *= beta1", "m, v = m.copy(), v.copy()\nm *= beta1")),
]

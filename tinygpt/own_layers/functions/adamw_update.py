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
    ("beta1 and beta2 of the corrections lack their power: it is 1 - beta1**step and 1 - beta2**step",
     ("beta1**step", "beta1"), ("beta2**step", "beta2")),
    ("the first moment's correction is 1 - beta1, where beta1**step belongs in it", ("beta1**step", "beta1")),
    ("the second moment's correction is 1 - beta2, where beta2**step belongs in it", ("beta2**step", "beta2")),
    ("the corrections have beta * step, where beta**step belongs",
     ("beta1**step", "beta1 * step"), ("beta2**step", "beta2 * step")),
    ("the second moment is corrected with beta1, where beta2 belongs", ("beta2**step", "beta1**step")),
    ("the first moment is corrected with beta2, where beta1 belongs", ("beta1**step", "beta2**step")),
    ("m and v are corrected in place, so the next step starts from corrected ones: m_hat and v_hat are new arrays",
     (_M, "m /= 1 - beta1**step\nm_hat = m"), (_V, "v /= 1 - beta2**step\nv_hat = v")),
    ("m is corrected in place, so the next step starts from a corrected one: m_hat is a new array",
     (_M, "m /= 1 - beta1**step\nm_hat = m")),
    ("v is corrected in place, so the next step starts from a corrected one: v_hat is a new array",
     (_V, "v /= 1 - beta2**step\nv_hat = v")),
    ("the second moment takes dw, where dw * dw belongs", ("v += ...", "v += (1 - beta2) * dw")),
    ("the second moment takes the square of (1 - beta2) * dw: only dw is to be squared",
     ("v += ...", "v += ((1 - beta2) * dw) ** 2")),
    ("the decay goes into the gradient, as in Adam with L2 regularisation, and changes dw too: in AdamW it acts on w "
     "alone", ("m *= beta1", "dw += weight_decay * w\nm *= beta1"), (_DECAY, "")),
    ("the decay acts twice, once through the gradient: in AdamW it acts on w alone",
     ("m *= beta1", "dw = dw + weight_decay * w\nm *= beta1")),
    ("the decay is added to w, where it belongs subtracted", (_DECAY, "w *= 1 + lr * weight_decay")),
    ("there is no eps", ("xp.sqrt(v_hat) + eps", "xp.sqrt(v_hat)")),
    ("m is not updated in place, so the next step does not know it", ("m *= beta1", "m = m.copy()\nm *= beta1")),
    ("v is not updated in place, so the next step does not know it", ("v *= beta2", "v = v.copy()\nv *= beta2")),
    ("the step is not taken in place, so that only the decay is left of it", (_STEP, _STEP.replace("w -=", "w = w -"))),
    ("the first moment is averaged with beta2, where beta1 belongs",
     ("m *= beta1", "m *= beta2"), ("m += ...", "m += (1 - beta2) * dw")),
    ("the second moment is averaged with beta1, where beta2 belongs",
     ("v *= beta2", "v *= beta1"), ("v += ...", "v += (1 - beta1) * dw * dw")),
    ("the new gradient enters the first moment with 1 - beta2, where 1 - beta1 belongs",
     ("m += ...", "m += (1 - beta2) * dw")),
    ("the new gradient enters the second moment with 1 - beta1, where 1 - beta2 belongs",
     ("v += ...", "v += (1 - beta1) * dw * dw")),
    ("the step takes the gradient itself, where the first moment belongs", (_STEP, _STEP.replace("m_hat", "dw"))),
    ("the decay takes lr * weight_decay away, where that times w belongs", (_DECAY, "w -= lr * weight_decay")),
    ("the corrections have the power step - 1, where step belongs: it counts from 1",
     ("beta1**step", "beta1 ** (step - 1)"), ("beta2**step", "beta2 ** (step - 1)")),
    ("the corrections divide by beta**step, where 1 - beta**step belongs",
     ("1 - beta1**step", "beta1**step"), ("1 - beta2**step", "beta2**step")),
    ("the corrections have (1 - beta)**step, where 1 - beta**step belongs",
     ("1 - beta1**step", "(1 - beta1) ** step"), ("1 - beta2**step", "(1 - beta2) ** step")),
    ("the moments are multiplied by their corrections, where they are to be divided",
     (_M, "m_hat = m * (1 - beta1**step)"), (_V, "v_hat = v * (1 - beta2**step)")),
    ("eps is 1e-8, whatever it is given", ("xp.sqrt(v_hat) + eps", "xp.sqrt(v_hat) + 1e-8")),
    ("eps is added after the division, where it belongs to the root",
     (_STEP, "w -= lr * m_hat / xp.sqrt(v_hat) + eps")),
    ("eps is added after the division, where it belongs to the root",
     (_STEP, "w -= lr * (m_hat / xp.sqrt(v_hat) + eps)")),
    ("beta and 1 - beta stand in each other's place in both moments: beta is the share of the old one that stays",
     ("m *= beta1", "m *= 1 - beta1"), ("m += ...", "m += beta1 * dw"),
     ("v *= beta2", "v *= 1 - beta2"), ("v += ...", "v += beta2 * dw * dw")),
    ("beta1 and 1 - beta1 stand in each other's place in the first moment",
     ("m *= beta1", "m *= 1 - beta1"), ("m += ...", "m += beta1 * dw")),
    ("beta2 and 1 - beta2 stand in each other's place in the second moment",
     ("v *= beta2", "v *= 1 - beta2"), ("v += ...", "v += beta2 * dw * dw")),
]

"""`cosine_schedule`, the learning rate over a run: its calls, and the mistakes it is usually made with."""

import numpy as np

from tinygpt.optim.schedule import cosine_schedule
from tinygpt.own_layers.functions import Call, Calls

DEFINITION = cosine_schedule


def calls(rng: np.random.Generator) -> Calls:
    warmup, falling = (int(n) for n in rng.integers((5, 20), (10, 40)))
    top = float(rng.uniform(0.5, 1.0))
    rest = top, top / 10, warmup, warmup + 2 * falling
    for title, step in (
        ("step 0", 0), ("the middle of the warm-up", warmup // 2), ("the last step of the warm-up", warmup - 1),
        ("the first step after it", warmup), ("a quarter of the way down", warmup + falling // 2),
        ("half of the way down", warmup + falling), ("the last step", warmup + 2 * falling - 1),
        ("at the end", warmup + 2 * falling), ("long after the end", warmup + 5 * falling),
    ):  # fmt: skip
        yield Call(title, (step, *rest))
    yield Call("no warm-up, step 0", (0, top, 0.0, 0, falling))
    yield Call("no warm-up, step 1", (1, top, 0.0, 0, falling))
    yield Call("nothing left after the warm-up", (warmup, top, top / 10, warmup, warmup))


# fmt: off
_WARM, _DONE = "learning_rate * (step + 1) / (warmup_iters + 1)", "if step >= lr_decay_iters:\n    return min_lr"
_PROGRESS = "progress = (step - warmup_iters) / (lr_decay_iters - warmup_iters)"
_FALL = "min_lr + 0.5 * (1 + math.cos(math.pi * progress)) * (learning_rate - min_lr)"
MISTAKES = [
    ("the first step of the warm-up has a learning rate of 0, so nothing is learned in it: step counts from 0",
     (_WARM, "learning_rate * step / warmup_iters")),
    ("the warm-up is divided by warmup_iters, so its last step has the whole learning rate already, where "
     "warmup_iters + 1 belongs", (_WARM, "learning_rate * (step + 1) / warmup_iters")),
    ("the warm-up has step / (warmup_iters + 1), where step + 1 belongs: step counts from 0",
     (_WARM, "learning_rate * step / (warmup_iters + 1)")),
    ("the warm-up rises from min_lr, where it rises from 0",
     (_WARM, "min_lr + (learning_rate - min_lr) * (step + 1) / (warmup_iters + 1)")),
    ("there is no warm-up", ("step < warmup_iters", "False")),
    ("the warm-up lasts a step too long: at step = warmup_iters the cosine begins",
     ("step < warmup_iters", "step <= warmup_iters")),
    ("after the end the cosine goes on and rises again, where min_lr belongs", (_DONE, "pass")),
    ("after the end the learning rate is 0, where min_lr belongs", ("return min_lr", "return 0.0")),
    ("the way down is counted from step 0, where it begins after the warm-up",
     (_PROGRESS, "progress = step / lr_decay_iters")),
    ("the way down is as long as the whole run, where the warm-up is to be taken from it",
     (_PROGRESS, "progress = (step - warmup_iters) / lr_decay_iters")),
    ("the cosine is not halved: 1 + cos goes from 2 down to 0", (_FALL, _FALL.replace("0.5 * ", ""))),
    ("the cosine lacks pi: it ends before half a turn", (_FALL, _FALL.replace("math.pi * ", ""))),
    ("the cosine is taken of degrees, where math.cos takes radians: half a turn is pi",
     (_FALL, _FALL.replace("math.pi", "180"))),
    ("it is a whole turn of the cosine, down and up again: half a turn is pi",
     (_FALL, _FALL.replace("math.pi", "2 * math.pi"))),
    ("the cosine runs the wrong way, up: it is 1 + cos", (_FALL, _FALL.replace("1 + math", "1 - math"))),
    ("the cosine lacks the 1, and falls below 0", (_FALL, _FALL.replace("(1 + math.cos(math.pi * progress))",
                                                                    "math.cos(math.pi * progress)"))),
    ("the way down ends at 0, where it ends at min_lr: what falls is learning_rate - min_lr, and min_lr is added",
     (_FALL, "0.5 * (1 + math.cos(math.pi * progress)) * learning_rate")),
    ("min_lr is not added, so the learning rate falls to 0", (_FALL, _FALL.replace("min_lr + ", ""))),
    ("the cosine spans the whole learning rate, where learning_rate - min_lr belongs",
     (_FALL, _FALL.replace("(learning_rate - min_lr)", "learning_rate"))),
    ("the cosine falls to 0, and min_lr is only its lower bound: it falls to min_lr",
     (_FALL, "max(min_lr, 0.5 * (1 + math.cos(math.pi * progress)) * learning_rate)")),
    ("it falls along a straight line, where the cosine belongs",
     (_FALL, "min_lr + (1 - progress) * (learning_rate - min_lr)")),
    ("the learning rate stays where the warm-up ends: nothing falls", (_FALL, "learning_rate")),
]

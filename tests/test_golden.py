"""tinygpt computes what PyTorch computed: a file keeps its values, for where no PyTorch is installed.

`tests/golden/generate.py` made the file, and says what is in it. The tolerances leave room for other BLAS libraries and
for a card. Where these tests were written, the largest relative error was 3e-15 in float64 and 5e-7 in float32.
"""

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from tests.cuda import strict_cupy
from tests.cuda.conftest import on_a_card
from tests.parity.comparison import assert_agree
from tinygpt import GPT, GPTConfig
from tinygpt.backend import to_host
from tinygpt.ops import KERNELS, build
from tinygpt.optim import AdamW, cosine_schedule

with safe_open(Path(__file__).parent / "golden" / "gpt.safetensors", "numpy") as file:
    SETTINGS = json.loads(file.metadata()["settings"])
    TENSORS = {name: file.get_tensor(name) for name in file.keys()}
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}

pytestmark = [
    pytest.mark.parametrize("dtype", TOLERANCE),
    pytest.mark.parametrize("kernels", KERNELS),
    pytest.mark.parametrize("device", ["cpu", "cuda", "stand-in"]),
    pytest.mark.parametrize("activation", SETTINGS["configs"]),
]


def golden(prefix):
    """The file's tensors whose names start with `prefix`, by what follows it."""
    return {name.removeprefix(prefix): array for name, array in TENSORS.items() if name.startswith(prefix)}


@pytest.fixture
def model(activation, device, kernels, dtype):
    with strict_cupy.installed() if device == "stand-in" else nullcontext():
        device = on_a_card() if device == "cuda" else device.replace("stand-in", "cuda")
        ops = build(kernels, device)
        model = GPT(GPTConfig(**SETTINGS["configs"][activation]), device, dtype, seed=None, ops=ops)
        weights = golden(f"{activation}/weights/")
        assert weights.keys() == model.params.keys()
        for name, array in weights.items():
            model.params[name] = array
        yield model


def test_logits_loss_and_every_gradient_are_pytorchs(model, activation, dtype):
    # A key's bias adds one number to a whole row of scores, which softmax does not see: the middle third of every
    # c_attn.bias has a true gradient of zero, and what either side computes is rounding. As in tests/parity it counts
    # within its tensor, whose norm is the queries' and values'. No loss depends on where training moves it.
    case = golden(f"{activation}/")
    idx, targets = case["idx"][0], case["targets"][0]
    logits, _ = model.forward(idx)
    loss, cache = model.loss(idx, targets)
    ours = {"logits": logits, "loss": loss, **model.backward(cache)}
    theirs = {"logits": case["logits"], "loss": case["losses"][0], **golden(f"{activation}/gradients/")}
    assert_agree({name: to_host(array) for name, array in ours.items()}, theirs, TOLERANCE[dtype])


def test_the_losses_of_ten_steps_of_training_are_pytorchs(model, activation, dtype):
    """Each but the first tells of all the steps before it: clipping, decay, both moments and the schedule."""
    case = golden(f"{activation}/")
    optimizer = AdamW(model.params, **SETTINGS["adamw"])
    losses = []
    for step, (idx, targets) in enumerate(zip(case["idx"], case["targets"], strict=True)):
        loss, cache = model.loss(idx, targets)
        losses.append(float(loss))
        optimizer.step(model.backward(cache), cosine_schedule(step, **SETTINGS["schedule"]), SETTINGS["max_norm"])
    np.testing.assert_allclose(losses, case["losses"], rtol=TOLERANCE[dtype])

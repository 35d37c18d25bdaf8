"""What a training step asks of a card: how many kernels are queued, and how many bytes they move."""

import collections

import pytest

from tests.test_train import tiny
from tinygpt.models.gpt2 import GPTConfig, costs
from tinygpt.train import StepRecord, start, train

LAYERS = {"gpt2": 12, "baby": 6}
BUDGET = {  # launches of a step of one micro-batch, products included
    ("gpt2", "plain"): 300, ("gpt2", "biases, dropout"): 380, ("baby", "plain"): 180, ("baby", "biases, dropout"): 230,
}  # fmt: skip


def second_step(card, tmp_path, n_layer, dtype="float32", **settings):
    """Train two steps and leave in `card` what the second asked for."""
    config = tiny(
        tmp_path,
        device="cuda",
        n_layer=n_layer,
        dtype=dtype,
        eval_interval=100,
        log_interval=100,
        max_iters=3,
        eval_iters=1,
        **settings,
    )
    records = (record for record in train(start(config)) if isinstance(record, StepRecord))
    next(records)
    card.reset()
    next(records)
    counted = collections.Counter(launch.what for launch in card.launches)
    records.close()
    return counted


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("preset", "what"), BUDGET)
def test_a_step_queues_few_kernels(card, tmp_path, preset, what, dtype):
    extras = {"bias": True, "dropout": 0.2} if what == "biases, dropout" else {"bias": False, "dropout": 0.0}
    counted = second_step(card, tmp_path, LAYERS[preset], dtype=dtype, n_embd=64, **extras)
    assert counted.total() <= BUDGET[preset, what], counted.most_common()


@pytest.mark.parametrize("extras", [{}, {"bias": True, "dropout": 0.2}], ids=["plain", "biases, dropout"])
def test_a_step_copies_nothing_and_makes_few_arrays_beside_those_it_keeps(card, tmp_path, extras):
    """`python benchmarks/predict_cuda.py` counts the bytes of a full-size step, kernel by kernel, beside the least."""
    sizes = dict(n_embd=32, block_size=32, batch_size=8)
    second_step(card, tmp_path, 2, **sizes, **extras)
    assert not card.copies
    kept = sum(row.activations for row in costs(GPTConfig(n_layer=2, n_head=2, n_embd=32, block_size=32), fused=True))
    assert card.allocated <= 2.3 * kept * 8 * 32 * 4
    assert card.moved <= 9.5 * kept * 8 * 32 * 4  # it is 8.1 and 9.3 times; another pass over what is kept would be 1

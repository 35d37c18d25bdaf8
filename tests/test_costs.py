import numpy as np
import pytest

from tests.layers.implementations import arrays_in
from tinygpt import GPT, GPTConfig
from tinygpt.commands.info import cost_table
from tinygpt.kernels.cpu import lm_head_loss as chunked_lm_head_loss
from tinygpt.models.gpt2 import costs
from tinygpt.ops import DEFINITIONS

CONFIG = GPTConfig(block_size=6, vocab_size=11, n_layer=3, n_head=2, n_embd=8)


@pytest.mark.parametrize("bias", [True, False])
def test_parameters_add_up_to_the_models(bias):
    config = GPTConfig(block_size=6, vocab_size=11, n_layer=3, n_head=2, n_embd=8, bias=bias)
    assert (
        sum(row.params for row in costs(config))
        == config.n_params
        == GPT(config).params.flat[:0].size + sum(array.size for array in GPT(config).params.values())
    )


def test_flops_are_those_of_the_products_forward_makes():
    counted = [0]

    class Linear:
        def forward(self, x, w, b=None):
            counted[0] += 2 * x.size * w.shape[1]
            return DEFINITIONS.linear.forward(x, w, b)

    class Attention:
        def forward(self, qkv, n_head, *rest):
            B, T, width = qkv.shape
            counted[0] += 2 * (2 * B * T * T * width // 3)  # q k^T and weights v, for all heads together
            return DEFINITIONS.attention.forward(qkv, n_head, *rest)

    model = GPT(CONFIG, ops=DEFINITIONS.replace(linear=Linear(), attention=Attention()))
    model.loss(np.zeros((2, 6), int), np.zeros((2, 6), int), need_grad=False)
    assert counted[0] == 2 * 6 * sum(row.flops for row in costs(CONFIG))


def test_activations_are_what_a_loss_keeps_for_backward():
    model = GPT(CONFIG, ops=DEFINITIONS, parts={"lm_head_loss": chunked_lm_head_loss})
    _, cache = model.loss(np.zeros((2, 6), int), np.zeros((2, 6), int))
    mine = [array for array in model.params.values()]
    buffers = {}
    for array in arrays_in(cache):
        while array.base is not None:
            array = array.base
        if array.dtype == np.float32 and array.size and not any(np.shares_memory(array, p) for p in mine):
            buffers[id(array)] = array
    kept = sum(array.size for array in buffers.values())
    head_gradient = 11 * 8  # the head's chunked twin also holds dw: not per token
    assert abs(kept - 2 * 6 * sum(row.activations for row in costs(CONFIG)) - head_gradient) <= 1


def test_table_of_gpt2():
    table = cost_table(GPTConfig(), batch_size=1)
    assert "124,439,808" in table and "wte" in table and "31.0%" in table
    assert "1,898.8 MiB" in table  # 124,439,808 numbers x 4 copies x 4 bytes

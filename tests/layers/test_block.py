import numpy as np
import pytest

from tests.derivatives import assert_gradients
from tinygpt.layers import block
from tinygpt.models.gpt2 import GPTConfig
from tinygpt.ops import DEFINITIONS


def block_params(rng, C, bias):
    shapes = GPTConfig(n_layer=1, n_head=1, n_embd=C, bias=bias).shapes()
    names = {name.removeprefix("h.0."): shape for name, shape in shapes.items() if name.startswith("h.0.")}
    return {name: rng.standard_normal(shape) / np.sqrt(shape[0]) for name, shape in names.items()}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients(rng, bias, dropout):
    params = block_params(rng, 4, bias)

    def forward(x, **params):
        return block.forward(x, params, n_head=2, dropout=dropout, key=9, ops=DEFINITIONS)

    def backward(dout, cache):
        dx, dparams = block.backward(dout, cache)
        assert dparams.keys() == params.keys()
        return dx, *(dparams[name] for name in params)

    assert_gradients(forward, backward, {"x": rng.standard_normal((2, 3, 4))} | params)


def test_with_projections_at_zero_the_residual_stream_passes_unchanged(rng):
    params = block_params(rng, 4, bias=True)
    for name in params:
        if "c_proj" in name:
            params[name][...] = 0
    x = rng.standard_normal((2, 3, 4))
    out, cache = block.forward(x, params, n_head=2, ops=DEFINITIONS)
    np.testing.assert_array_equal(out, x)
    dout = rng.standard_normal(x.shape)
    np.testing.assert_array_equal(block.backward(dout, cache)[0], dout)

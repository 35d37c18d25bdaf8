import numpy as np
import pytest

from tests.derivatives import assert_gradients
from tinygpt.layers import layernorm


@pytest.mark.parametrize("shape", [(5,), (1, 7), (2, 3, 6)])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients(rng, shape, bias):
    C = shape[-1]
    b = rng.standard_normal(C) if bias else None
    inputs = {"x": rng.standard_normal(shape) * 2 + 1, "w": rng.standard_normal(C), "b": b}
    assert_gradients(layernorm.forward, layernorm.backward, inputs)


def test_output_has_mean_zero_and_variance_one(rng):
    x = rng.standard_normal((4, 64)) * 3 + 5
    out, _ = layernorm.forward(x, np.ones(64))
    var = x.var(axis=-1)
    np.testing.assert_allclose(out.mean(axis=-1), 0, atol=1e-14)
    np.testing.assert_allclose(out.var(axis=-1), var / (var + 1e-5), rtol=1e-12)


def test_weight_and_bias_stretch_and_move(rng):
    x, w, b = rng.standard_normal((3, 4)), rng.standard_normal(4), rng.standard_normal(4)
    plain, _ = layernorm.forward(x, np.ones(4))
    np.testing.assert_allclose(layernorm.forward(x, w, b)[0], plain * w + b, rtol=1e-14)


@pytest.mark.parametrize("value", [0.0, 1e4, -1e4])
def test_equal_inputs_stay_finite_in_float32(value):
    x = np.full((2, 8), value, dtype=np.float32)
    out, cache = layernorm.forward(x, np.ones(8, np.float32), np.zeros(8, np.float32))
    gradients = layernorm.backward(np.ones_like(x), cache)
    assert np.isfinite(out).all() and all(np.isfinite(g).all() for g in gradients)

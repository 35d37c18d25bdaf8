import math

import numpy as np
import pytest

from tests.derivatives import assert_gradients
from tinygpt.layers import gelu


@pytest.mark.parametrize("approximate", ["tanh", "none"])
def test_gradient(rng, approximate):
    x = rng.standard_normal((3, 7)) * 3
    assert_gradients(lambda x: gelu.forward(x, approximate), gelu.backward, {"x": x})


def test_exact_form_is_x_times_the_normal_distribution_function():
    x = np.linspace(-6, 6, 101)
    expected = [value * 0.5 * math.erfc(-value / math.sqrt(2)) for value in x]
    np.testing.assert_allclose(gelu.forward(x, "none")[0], expected, rtol=1e-12, atol=2e-15)


def test_tanh_form_is_close_to_the_exact_one_but_not_the_same():
    x = np.linspace(-4, 4, 1001)
    difference = np.abs(gelu.forward(x, "tanh")[0] - gelu.forward(x, "none")[0]).max()
    assert 1e-4 < difference < 1e-3  # Hendrycks and Gimpel's approximation errs by 5e-4 at most


@pytest.mark.parametrize("approximate", ["tanh", "none"])
def test_extreme_inputs_stay_finite_in_float32(approximate):
    x = np.array([-1e4, -30, 0, 30, 1e4], dtype=np.float32)
    out, cache = gelu.forward(x, approximate)
    np.testing.assert_allclose(out, [0, 0, 0, 30, 1e4], atol=1e-6)
    np.testing.assert_allclose(gelu.backward(np.ones_like(x), cache), [0, 0, 0.5, 1, 1], atol=1e-6)


def test_unknown_form_is_named():
    with pytest.raises(ValueError, match="'relu'"):
        gelu.forward(np.zeros(2), "relu")

import numpy as np
import pytest

from tests.derivatives import assert_gradients
from tinygpt.layers import linear


@pytest.mark.parametrize("lead", [(), (1,), (2, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients(rng, lead, bias):
    b = rng.standard_normal(5) if bias else None
    inputs = {"x": rng.standard_normal((*lead, 4)), "w": rng.standard_normal((4, 5)), "b": b}
    assert_gradients(linear.forward, linear.backward, inputs)


def test_forward_by_hand():
    x, w, b = np.array([[1.0, 2.0]]), np.array([[1.0, 0.0, -1.0], [0.5, 2.0, 3.0]]), np.array([10.0, 20.0, 30.0])
    np.testing.assert_array_equal(linear.forward(x, w, b)[0], [[12.0, 24.0, 35.0]])


def test_transposed_weights_need_no_copy(rng):
    x, w = rng.standard_normal((2, 3, 4)), rng.standard_normal((6, 4))
    np.testing.assert_allclose(linear.forward(x, w.T)[0], x @ w.T, rtol=1e-14)

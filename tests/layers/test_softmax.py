import numpy as np

from tests.derivatives import assert_gradients
from tinygpt.layers import softmax


def test_gradient(rng):
    assert_gradients(softmax.forward, softmax.backward, {"x": rng.standard_normal((2, 3, 5)) * 2})


def test_rows_sum_to_one_and_large_scores_do_not_overflow():
    out, _ = softmax.forward(np.array([[1e4, 1e4 - 1, -1e4], [0, 0, 0]], dtype=np.float32))
    np.testing.assert_allclose(out.sum(axis=-1), 1, rtol=1e-6)
    np.testing.assert_allclose(out[1], 1 / 3, rtol=1e-6)


def test_a_row_with_everything_masked_gives_zeros_and_no_gradient():
    x = np.array([[-np.inf, -np.inf], [0.0, -np.inf]])
    out, cache = softmax.forward(x)
    np.testing.assert_array_equal(out, [[0, 0], [1, 0]])
    np.testing.assert_array_equal(softmax.backward(np.array([[1.0, 2.0], [3.0, 4.0]]), cache), 0)

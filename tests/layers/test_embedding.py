import numpy as np
import pytest

from tests.derivatives import assert_gradients
from tinygpt.layers import embedding


def test_forward_picks_rows(rng):
    w = rng.standard_normal((5, 3))
    out, _ = embedding.forward(np.array([[4, 0], [4, 4]]), w)
    np.testing.assert_array_equal(out, [[w[4], w[0]], [w[4], w[4]]])


def test_gradient_counts_repeated_tokens(rng):
    idx = np.array([[1, 3, 1, 1], [0, 3, 6, 1]])  # with repeats, or scatter-add and assignment look the same
    assert_gradients(lambda w: embedding.forward(idx, w), embedding.backward, {"w": rng.standard_normal((7, 3))})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_is_kept(rng, dtype):
    out, cache = embedding.forward(np.array([[1, 1]]), rng.standard_normal((4, 3)).astype(dtype))
    assert out.dtype == dtype and embedding.backward(out, cache).dtype == dtype

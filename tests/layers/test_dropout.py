import numpy as np

from tests.derivatives import assert_gradients
from tinygpt.layers import dropout


def test_gradient_goes_where_the_output_came_from(rng):
    x = rng.standard_normal((3, 4, 5))
    assert_gradients(lambda x: dropout.forward(x, 0.4, key=3), dropout.backward, {"x": x})


def test_share_and_mean_are_as_asked():
    x = np.ones((40, 50, 50))
    out, _ = dropout.forward(x, 0.2, key=11)
    assert abs((out == 0).mean() - 0.2) < 0.005  # 100,000 elements: four standard deviations
    assert set(np.unique(out)) == {0.0, 1.25}


def test_no_dropout_is_the_input_itself(rng):
    x = rng.standard_normal((2, 3))
    out, cache = dropout.forward(x, 0.0)
    assert out is x and dropout.backward(x, cache) is x


def test_a_worker_with_some_rows_drops_what_the_whole_batch_drops():
    x = np.ones((6, 3, 5), dtype=np.float32)
    whole, _ = dropout.forward(x, 0.5, key=7)
    part, _ = dropout.forward(x[2:5], 0.5, key=7, row=2)
    np.testing.assert_array_equal(whole[2:5], part)


def test_keys_and_rows_give_different_masks():
    x = np.ones((2, 1000))
    out, other = dropout.forward(x, 0.5, key=1)[0], dropout.forward(x, 0.5, key=2)[0]
    assert 0.4 < (out == other).mean() < 0.6
    assert 0.4 < (out[0] == out[1]).mean() < 0.6

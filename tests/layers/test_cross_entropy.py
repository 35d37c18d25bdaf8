import numpy as np
import pytest

from tests.derivatives import assert_gradients
from tinygpt.layers import cross_entropy

TARGETS = np.array([[0, 4, -1], [4, 2, -1]])


@pytest.mark.parametrize("denominator", [None, 10.0])
def test_gradient_with_ignored_targets(rng, denominator):
    logits = rng.standard_normal((2, 3, 5))
    forward = lambda logits: cross_entropy.forward(logits, TARGETS, denominator)  # noqa: E731
    assert_gradients(forward, cross_entropy.backward, {"logits": logits})


def test_equal_logits_cost_log_of_the_vocabulary():
    loss, _ = cross_entropy.forward(np.zeros((3, 7)), np.array([0, 3, 6]))
    np.testing.assert_allclose(loss, np.log(7), rtol=1e-15)


def test_loss_is_the_mean_over_targets_that_count(rng):
    logits = rng.standard_normal((2, 3, 5))
    probs = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    expected = -np.mean([np.log(probs[b, t, TARGETS[b, t]]) for b, t in np.argwhere(TARGETS >= 0)])
    np.testing.assert_allclose(cross_entropy.forward(logits, TARGETS)[0], expected, rtol=1e-14)


def test_all_targets_ignored_cost_nothing_and_teach_nothing(rng):
    logits = rng.standard_normal((2, 5))
    loss, cache = cross_entropy.forward(logits, np.array([-1, -1]))
    assert loss == 0
    np.testing.assert_array_equal(cross_entropy.backward(1.0, cache), 0)


def test_parts_with_a_common_denominator_sum_to_the_whole(rng):
    logits = rng.standard_normal((2, 3, 5))
    whole, cache = cross_entropy.forward(logits, TARGETS)
    parts = [cross_entropy.forward(logits[b], TARGETS[b], 4.0) for b in range(2)]
    np.testing.assert_allclose(sum(loss for loss, _ in parts), whole, rtol=1e-14)
    gradients = [cross_entropy.backward(1.0, part) for _, part in parts]
    np.testing.assert_allclose(np.stack(gradients), cross_entropy.backward(1.0, cache), rtol=1e-14)


def test_float32_stays_float32_and_large_logits_finite():
    logits = np.array([[1e4, -1e4, 0], [0, 0, 0]], dtype=np.float32)
    loss, cache = cross_entropy.forward(logits, np.array([0, 1]))
    dlogits = cross_entropy.backward(np.float32(1), cache)
    assert loss.dtype == dlogits.dtype == np.float32
    np.testing.assert_allclose(loss, np.log(3) / 2, rtol=1e-6)

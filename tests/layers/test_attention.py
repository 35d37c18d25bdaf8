import numpy as np
import pytest

from tests.derivatives import assert_gradients
from tinygpt.layers import attention


@pytest.mark.parametrize(("B", "T", "n_head", "D"), [(2, 5, 3, 2), (1, 1, 2, 3), (2, 4, 1, 5), (1, 7, 2, 1)])
def test_gradient(rng, B, T, n_head, D):
    qkv = rng.standard_normal((B, T, 3 * n_head * D))
    assert_gradients(lambda qkv: attention.forward(qkv, n_head), attention.backward, {"qkv": qkv})


def test_gradient_with_dropped_weights(rng):
    qkv = rng.standard_normal((2, 4, 3 * 6))
    forward = lambda qkv: attention.forward(qkv, 2, 0.3, key=5)  # noqa: E731
    assert np.abs(forward(qkv)[0] - attention.forward(qkv, 2)[0]).max() > 0.1  # something is dropped at all
    assert_gradients(forward, attention.backward, {"qkv": qkv})


def test_dropped_weights_are_as_many_as_asked_and_the_rest_makes_up_for_them():
    qkv = np.concatenate([np.zeros((8, 60, 8)), np.ones((8, 60, 4))], axis=2)  # equal weights, values of one
    out, _ = attention.forward(qkv, 2, 0.2, key=1)
    assert abs(out[:, 10:].mean() - 1) < 0.02  # kept with probability 0.8, scaled up by 1 / 0.8
    assert not np.array_equal(out, attention.forward(qkv, 2, 0.2, key=2)[0])
    np.testing.assert_array_equal(attention.forward(qkv[3:5], 2, 0.2, key=1, row=3)[0], out[3:5])


def attention_by_loops(qkv, n_head):
    """One query at a time, straight from the paper's equation."""
    B, T, width = qkv.shape
    C, D = width // 3, width // 3 // n_head
    out = np.zeros((B, T, C))
    for b in range(B):
        for head in range(n_head):
            columns = slice(head * D, (head + 1) * D)
            q, k, v = (qkv[b, :, part * C : (part + 1) * C][:, columns] for part in range(3))
            for t in range(T):
                scores = [q[t] @ k[s] / np.sqrt(D) for s in range(t + 1)]
                weights = np.exp(scores) / np.exp(scores).sum()
                out[b, t, columns] = sum(weight * v[s] for s, weight in enumerate(weights))
    return out


def test_forward_equals_loops_over_queries(rng):
    qkv = rng.standard_normal((2, 5, 3 * 12))
    np.testing.assert_allclose(attention.forward(qkv, 3)[0], attention_by_loops(qkv, 3), rtol=1e-12)


def test_output_never_moves_when_a_later_token_changes(rng):
    qkv = rng.standard_normal((1, 6, 3 * 4))
    later = qkv.copy()
    later[:, 4:] += rng.standard_normal((1, 2, 3 * 4))
    before, after = attention.forward(qkv, 2)[0], attention.forward(later, 2)[0]
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert not np.allclose(before[:, 4:], after[:, 4:])


@pytest.mark.parametrize("t", [1, 2, 6])
def test_decode_of_the_newest_positions_equals_forward(rng, t):
    qkv = rng.standard_normal((2, 6, 3 * 8))
    q, k, v = attention.split_heads(qkv, 4)
    np.testing.assert_allclose(attention.decode(q[:, :, -t:], k, v), attention.forward(qkv, 4)[0][:, -t:], rtol=1e-12)


def test_extreme_scores_stay_finite_in_float32(rng):
    qkv = (rng.standard_normal((1, 4, 3 * 4)) * 1e4).astype(np.float32)
    out, cache = attention.forward(qkv, 2)
    assert np.isfinite(out).all() and np.isfinite(attention.backward(np.ones_like(out), cache)).all()

"""What mathematics says of every layer, whatever its sizes: linearity, purity, symmetry, finite numbers."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.layers.implementations import (
    arrays_in,
    cut_blocks,
    definitions,
    each_array,
    examples,
    of_rows,
    random_like,
    twins,
)
from tests.parity.comparison import randomize
from tinygpt import GPT, GPTConfig
from tinygpt.gradcheck.library import definition
from tinygpt.layers import cross_entropy, layernorm, softmax

PLACED = [
    found for found in [*definitions(), *twins("cpu")] if "row" in inspect.signature(found.functions.forward).parameters
]
DTYPES, SEEDS = st.sampled_from(["float32", "float64"]), st.integers(0, 2**32 - 1)
NORMAL = st.builds(
    lambda dtype, seed, *shape: np.random.default_rng(seed).standard_normal(shape).astype(dtype),
    DTYPES, SEEDS, st.integers(1, 4), st.integers(1, 5), st.integers(1, 7),
)  # fmt: skip
repeatable = settings(max_examples=25, deadline=None, derandomize=True)


def assert_same(a, b, *terms):
    """Equal up to rounding, in proportion to the results and to `terms`, the numbers that they were added up from.

    A result may be what is left of larger terms: LayerNorm's dx with two channels, or any sum that cancels.
    """
    scale = sum(np.abs(term).max() for term in (a, b, *terms))
    np.testing.assert_allclose(a, b, rtol=0, atol=1000 * np.finfo(a.dtype).eps * scale)


@pytest.fixture(autouse=True)
def a_few_elements_at_a_time(monkeypatch):
    cut_blocks(monkeypatch, 8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_backward_is_linear_in_dout(implementation, dtype):
    for inputs in implementation.examples(dtype):
        out, cache = implementation.forward(inputs)
        a, b = random_like(out, 1), random_like(out, 2)
        gradients = [arrays_in(implementation.backward(dout, cache)) for dout in (a, b, 2 * a - 3 * b)]
        for of_a, of_b, of_both in zip(*gradients, strict=True):
            assert_same(of_both, 2 * of_a - 3 * of_b, 2 * of_a, 3 * of_b, 2 * a, 3 * b)


def test_nothing_given_is_written_to_and_the_same_call_gives_the_same_result(implementation):
    for inputs in implementation.examples():
        given, results = implementation.placed(each_array(np.copy, inputs)), []
        for _ in range(2):
            out, cache = implementation.forward(given)
            (before,) = arrays_in(out.copy())
            dout = implementation.placed(random_like(out))
            results.append([before, *arrays_in(implementation.backward(dout, cache))])
            np.testing.assert_array_equal(*arrays_in([out, before]))
            np.testing.assert_array_equal(*arrays_in([dout, random_like(out)]))
        for after, before in zip(arrays_in(given), arrays_in(inputs), strict=True):
            np.testing.assert_array_equal(after, before)
        for first, again in zip(*results, strict=True):
            np.testing.assert_array_equal(first, again)


def test_permuting_the_batch_permutes_what_belongs_to_its_rows_and_nothing_else(implementation):
    """Without dropout, whose mask belongs to the place of a row: see the next test."""
    for inputs in implementation.examples():
        if "key" in inputs:
            continue
        first = next(iter(inputs.values()))
        order = np.random.default_rng(len(first)).permutation(len(first))
        out, cache = implementation.forward(inputs)
        new_out, new_cache = implementation.forward(of_rows(inputs, order))
        dout = random_like(out)
        rows = order if out.ndim else ...  # a loss has none
        gradients = arrays_in(implementation.backward(dout, cache))
        if first.dtype.kind == "f":  # else it has no gradient
            gradients[0] = gradients[0][order]
        (out, new_out), new_gradients = (
            arrays_in([out, new_out]),
            arrays_in(implementation.backward(dout[rows], new_cache)),
        )
        assert_same(new_out, out[rows])
        for new, expected in zip(new_gradients, gradients, strict=True):
            assert_same(new, expected, dout)


@pytest.mark.parametrize("placed", PLACED, ids=lambda placed: placed.title)
def test_rows_that_know_their_place_drop_what_they_drop_in_the_whole_batch(placed):
    for inputs in placed.examples():
        first, x = next(iter(inputs.items()))
        if "key" not in inputs or len(x) < 2:
            continue
        out, cache = placed.forward(inputs)
        dout = random_like(out)
        dx, *dparams = arrays_in(placed.backward(dout, cache))
        sums = [np.zeros_like(d) for d in dparams]
        for rows in (slice(0, 1), slice(1, None)):
            row = inputs.get("row", 0) + rows.start
            part, part_cache = placed.forward(inputs | {first: x[rows], "row": row})
            part_dx, *part_dparams = arrays_in(placed.backward(dout[rows], part_cache))
            assert_same(part, out[rows])
            assert_same(part_dx, dx[rows], dout)
            sums = [total + d for total, d in zip(sums, part_dparams, strict=True)]
        for total, d in zip(sums, dparams, strict=True):
            assert_same(total, d, dout)


@pytest.mark.parametrize("layer", ["attention", "block"])
def test_no_output_moves_when_later_ones_change(layer):
    for inputs in examples(layer):
        first, x = next(iter(inputs.items()))
        out, _ = definition(layer).forward(**inputs)
        for t in range(1, x.shape[1]):
            later = x.copy()
            later[:, t:] += random_like(later[:, t:])
            new, _ = definition(layer).forward(**(inputs | {first: later}))
            np.testing.assert_array_equal(new[:, :t], out[:, :t])
            assert not np.array_equal(new[:, t:], out[:, t:])


@repeatable
@given(DTYPES, SEEDS, st.booleans(), st.integers(1, 4), st.integers(2, 6), st.integers(1, 3), st.integers(3, 4))
def test_no_logits_move_when_later_tokens_change(dtype, seed, bias, B, T, H, D):
    V = 7
    model = GPT(GPTConfig(T, V, 2, H, H * D, bias=bias), dtype=dtype, seed=None)
    rng = np.random.default_rng(seed)
    randomize(model, rng)
    idx = rng.integers(V, size=(B, T))
    logits, _ = model.forward(idx)
    for t in range(1, T):
        later = idx.copy()
        later[:, t:] = (later[:, t:] + 1) % V
        new, _ = model.forward(later)
        np.testing.assert_array_equal(new[:, :t], logits[:, :t])
        assert not np.array_equal(new[:, t:], logits[:, t:])


@repeatable
@given(NORMAL, st.sampled_from([1e-3, 1.0, 1e4]))
def test_softmax_rows_sum_to_one(x, scale):
    out, _ = softmax.forward(x * scale)
    assert out.min() >= 0
    assert_same(out.sum(axis=-1), np.ones_like(out[..., 0]))


@repeatable
@given(NORMAL, st.sampled_from([1e-3, 1.0, 1e4]))
def test_layernorms_output_has_mean_zero_and_the_variance_that_eps_leaves(x, scale):
    x = x * scale
    out, _ = layernorm.forward(x, np.ones_like(x[0, 0]), np.zeros_like(x[0, 0]))
    var = x.var(axis=-1, dtype=np.float64)
    assert_same(out.mean(axis=-1), np.zeros_like(out[..., 0]), out)
    assert_same(out.var(axis=-1), var / (var + 1e-5))


@repeatable
@given(NORMAL, SEEDS, st.sampled_from([None, 7.0]))
def test_cross_entropys_gradient_sums_to_zero_over_each_row(logits, seed, denominator):
    targets = np.random.default_rng(seed).integers(-1, logits.shape[-1], size=logits.shape[:-1])
    loss, cache = cross_entropy.forward(logits, targets, denominator)
    dlogits = cross_entropy.backward(random_like(loss), cache)
    assert_same(dlogits.sum(axis=-1), np.zeros_like(dlogits[..., 0]), dlogits)


def extreme(rng, shape):
    """One of: 1e4 of either sign, all equal, one-hot, ordinary; each array of a case is one of its own."""
    one_hot = np.zeros(shape)
    one_hot[..., rng.integers(shape[-1])] = 1
    kinds = [
        1e4 * rng.choice([-1, 1], shape),
        np.full(shape, rng.choice([-1e4, 0, 1, 1e4])),
        one_hot * rng.choice([1, 1e4]),
        rng.standard_normal(shape),
    ]
    return kinds[rng.integers(len(kinds))]


def assert_finite(implementation, values):
    """A NaN or an overflow on the way would be a RuntimeWarning, which pyproject.toml makes an error."""
    for inputs in implementation.examples("float32", values=values):
        out, cache = implementation.forward(inputs)
        gradients = implementation.backward(random_like(out), cache)
        assert all(np.isfinite(array).all() for array in arrays_in([out, gradients]))


def test_extreme_inputs_and_weights_stay_finite_in_float32(implementation):
    assert_finite(implementation, extreme)


@pytest.mark.parametrize("layer", ["softmax", "cross_entropy", "lm_head_loss", "attention"])
def test_huge_logits_stay_finite_in_float32(layer):
    """About 1e30 where they are products."""
    for implementation in [*definitions(), *twins("cpu")]:
        if implementation.layer == layer:
            assert_finite(implementation, lambda rng, shape: 1e15 * rng.choice([-1, 1], shape))

"""What mathematics says of every layer, whatever its sizes: linearity, purity, symmetry, causality, finite numbers."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.layers.test_contract import arrays_in, by_layer, cases, definition_of, name
from tests.parity.comparison import randomize
from tinygpt import GPT, GPTConfig
from tinygpt.kernels import twins as twins_of
from tinygpt.kernels.cpu import pieces as pieces_module
from tinygpt.kernels.cuda import lm_head_loss as chunked_lm_head_loss
from tinygpt.layers import attention, block, cross_entropy, dropout, embedding, layernorm, lm_head_loss, softmax

cpu = SimpleNamespace(**twins_of("cpu"))

# which arguments have a row for each of the batch; of every other layer, the first
OF_THE_BATCH = {cross_entropy: (0, 1), lm_head_loss: (0, 2)}

repeatable = settings(max_examples=25, deadline=None, derandomize=True)


def sizes(**fixed):
    """Keyword arguments for `cases`, drawn but for the `fixed` ones."""
    drawn = dict(
        dtype=st.sampled_from(["float32", "float64"]),
        B=st.integers(1, 4),
        T=st.integers(1, 5),
        H=st.integers(1, 3),
        D=st.integers(1, 4),
        V=st.integers(1, 7),
        bias=st.booleans(),
        approximate=st.sampled_from(["tanh", "none"]),
        denominator=st.sampled_from([None, 7.0]),
        p=st.sampled_from([0.0, 0.4]),
        seed=st.integers(0, 2**32 - 1),
    )
    fixed = {key: value if isinstance(value, st.SearchStrategy) else st.just(value) for key, value in fixed.items()}
    return st.fixed_dictionaries(drawn | fixed)


def random_like(out, seed=1):
    return np.random.default_rng(seed).standard_normal(np.shape(out)).astype(out.dtype)


def assert_same(a, b, *terms):
    """Equal up to rounding, in proportion to the results and to `terms`, the numbers that they were added up from.

    A result may be what is left of larger terms: LayerNorm's dx with two channels, or any sum that cancels.
    """
    scale = sum(np.abs(term).max() for term in (a, b, *terms))
    np.testing.assert_allclose(a, b, rtol=0, atol=1000 * np.finfo(a.dtype).eps * scale)


@pytest.fixture(scope="module", autouse=True)
def chunks_of_a_few_rows():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunked_lm_head_loss, "CHUNK_BYTES", 64)
        patch.setattr(cpu.lm_head_loss, "FEW", 8)
        patch.setattr(pieces_module, "PIECE", 8)
        patch.setattr(cpu.gelu, "BLOCK", 8)
        patch.setattr(cpu.layernorm, "BLOCK", 8)
        yield


@by_layer
@repeatable
@given(sizes())
def test_backward_is_linear_in_dout(layer, sizes):
    arguments, options = cases(**sizes)[layer]

    def gradients(dout):
        _, cache = layer.forward(*arguments, **options)
        return arrays_in(layer.backward(dout, cache))

    out, _ = layer.forward(*arguments, **options)
    a, b = random_like(out, 1), random_like(out, 2)
    for of_a, of_b, of_both in zip(gradients(a), gradients(b), gradients(2 * a - 3 * b), strict=True):
        assert_same(of_both, 2 * of_a - 3 * of_b, 2 * of_a, 3 * of_b, 2 * a, 3 * b)


@by_layer
@repeatable
@given(sizes())
def test_nothing_given_is_written_to_and_the_same_call_gives_the_same_result(layer, sizes):
    arguments, options = cases(**sizes)[layer]
    results = []
    for _ in range(2):
        out, cache = layer.forward(*arguments, **options)
        out_before, dout = out.copy(), random_like(out)
        results.append(arrays_in([out_before, layer.backward(dout, cache)]))
        np.testing.assert_array_equal(out, out_before)
        np.testing.assert_array_equal(dout, random_like(out))
    for argument, fresh in zip(arrays_in(arguments), arrays_in(cases(**sizes)[layer][0]), strict=True):
        np.testing.assert_array_equal(argument, fresh)
    for first, again in zip(*results, strict=True):
        np.testing.assert_array_equal(first, again)


@by_layer
@repeatable
@given(sizes(B=st.integers(2, 5), p=0.0))
def test_permuting_the_batch_permutes_what_belongs_to_its_rows_and_nothing_else(layer, sizes):
    """Without dropout, whose mask belongs to the place of a row: see the next test."""
    arguments, options = cases(**sizes)[layer]
    order = np.random.default_rng(sizes["seed"]).permutation(len(arguments[0]))
    permuted = [a[order] if i in OF_THE_BATCH.get(definition_of(layer), (0,)) else a for i, a in enumerate(arguments)]
    out, cache = layer.forward(*arguments, **options)
    new_out, new_cache = layer.forward(*permuted, **options)
    dout = random_like(out)
    is_loss = out.ndim == 0
    gradients = arrays_in(layer.backward(dout, cache))
    new_gradients = arrays_in(layer.backward(dout if is_loss else dout[order], new_cache))
    # token ids have no gradient; every other layer's first one is its input's
    if definition_of(layer) is not embedding:
        gradients[0] = gradients[0][order]
    assert_same(new_out, out if is_loss else out[order])
    for new, expected in zip(new_gradients, gradients, strict=True):
        assert_same(new, expected, dout)


@pytest.mark.parametrize("layer", [attention, block, dropout], ids=name)
@repeatable
@given(sizes(B=st.integers(2, 5), p=0.4))
def test_rows_that_know_their_place_drop_what_they_drop_in_the_whole_batch(layer, sizes):
    (x, *others), options = cases(**sizes)[layer]
    out, cache = layer.forward(x, *others, **options)
    dout = random_like(out)
    dx, *dparams = arrays_in(layer.backward(dout, cache))
    sums = [np.zeros_like(d) for d in dparams]
    for rows in (slice(0, 1), slice(1, None)):
        part, part_cache = layer.forward(x[rows], *others, **options, row=rows.start)
        part_dx, *part_dparams = arrays_in(layer.backward(dout[rows], part_cache))
        assert_same(part, out[rows])
        assert_same(part_dx, dx[rows], dout)
        sums = [total + d for total, d in zip(sums, part_dparams, strict=True)]
    for total, d in zip(sums, dparams, strict=True):
        assert_same(total, d, dout)


@pytest.mark.parametrize("layer", [attention, block], ids=name)
@repeatable
@given(sizes(T=st.integers(2, 6)))
def test_no_output_moves_when_later_ones_change(layer, sizes):
    (x, *others), options = cases(**sizes)[layer]
    out, _ = layer.forward(x, *others, **options)
    for t in range(1, sizes["T"]):
        later = x.copy()
        later[:, t:] += random_like(later[:, t:])
        new, _ = layer.forward(later, *others, **options)
        np.testing.assert_array_equal(new[:, :t], out[:, :t])
        assert sizes["p"] > 0 or not np.array_equal(new[:, t:], out[:, t:])  # of one channel, all may be dropped


@repeatable
@given(sizes(T=st.integers(2, 6), V=st.integers(2, 7), D=st.integers(3, 4)))
def test_no_logits_move_when_later_tokens_change(sizes):
    B, T, H, D, V = (sizes[letter] for letter in "BTHDV")
    config = GPTConfig(T, V, 2, H, H * D, bias=sizes["bias"])
    model = GPT(config, dtype=sizes["dtype"], seed=None)
    rng = np.random.default_rng(sizes["seed"])
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
@given(sizes(), st.sampled_from([1e-3, 1.0, 1e4]))
def test_softmax_rows_sum_to_one(sizes, scale):
    (x,), _ = cases(**sizes)[softmax]
    out, _ = softmax.forward(x * scale)
    assert out.min() >= 0
    assert_same(out.sum(axis=-1), np.ones_like(out[..., 0]))


@repeatable
@given(sizes(), st.sampled_from([1e-3, 1.0, 1e4]))
def test_layernorms_output_has_mean_zero_and_the_variance_that_eps_leaves(sizes, scale):
    (x, w, _), _ = cases(**sizes)[layernorm]
    x = x * scale
    out, _ = layernorm.forward(x, np.ones_like(w), np.zeros_like(w))
    var = x.var(axis=-1, dtype=np.float64)
    assert_same(out.mean(axis=-1), np.zeros_like(out[..., 0]), out)
    assert_same(out.var(axis=-1), var / (var + 1e-5))


@repeatable
@given(sizes())
def test_cross_entropys_gradient_sums_to_zero_over_each_row(sizes):
    arguments, _ = cases(**sizes)[cross_entropy]
    loss, cache = cross_entropy.forward(*arguments)
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


def assert_finite(layer, arguments, options):
    out, cache = layer.forward(*arguments, **options)
    gradients = layer.backward(random_like(out), cache)
    assert all(np.isfinite(array).all() for array in arrays_in([out, gradients]))


@by_layer
@repeatable
@given(sizes(dtype="float32"))
def test_extreme_inputs_and_weights_stay_finite_in_float32(layer, sizes):
    """A NaN or an overflow on the way would be a RuntimeWarning, which pyproject.toml makes an error."""
    assert_finite(layer, *cases(**sizes, values=extreme)[layer])


@pytest.mark.parametrize("layer", [softmax, cross_entropy, lm_head_loss, chunked_lm_head_loss, attention], ids=name)
@repeatable
@given(sizes(dtype="float32"))
def test_huge_logits_stay_finite_in_float32(layer, sizes):
    """About 1e30 where they are products."""
    assert_finite(layer, *cases(**sizes, values=lambda rng, shape: 1e15 * rng.choice([-1, 1], shape))[layer])

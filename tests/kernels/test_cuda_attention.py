"""The kernels of attention on the stand-in for a card, beside the definition in float64."""

import warnings

import numpy as np
import pytest

from tests.cuda import strict_cupy
from tests.parity.comparison import assert_agree
from tinygpt.backend import tf32_products
from tinygpt.errors import Note
from tinygpt.kernels.cuda import attention as kernel
from tinygpt.kernels.cuda import compiled
from tinygpt.layers import attention

TOLERANCE = {"float32": 1e-5, "float64": 1e-10, "TF32": 2e-3}
KEY = 0xFEDCBA9876543210

every = pytest.mark.parametrize("number", TOLERANCE)
both = pytest.mark.parametrize("number", ["float32", "float64"])


@pytest.fixture
def card():
    with strict_cupy.installed() as card:
        yield card


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def on_card(qkv, dout, H, number="float32", *dropout, arranged=lambda x: x):
    """out and dqkv, on the host; the kernels' numbers are float32, float64, or float32 with products in TF32."""
    import cupy

    qkv, dout = (
        arranged(cupy.asarray(x.astype(number if number in ("float32", "float64") else "float32"))) for x in (qkv, dout)
    )
    with tf32_products(number == "TF32", "cuda"):
        out, cache = kernel.forward(qkv, H, *dropout)
        return out.get(), kernel.backward(dout, cache).get()


def assert_is_attention(ours, qkv, dout, H, tolerance, *dropout):
    """out and dqkv are the definition's: dq, dk and dv each, beside the largest where they ought to be zero."""
    out, cache = attention.forward(qkv, H, *dropout)
    dq, dk, dv = np.split(attention.backward(dout, cache), 3, axis=-1)
    exact = {"out": out, "dq": dq, "dk": dk, "dv": dv}
    ours = dict(zip(exact, (ours[0], *np.split(ours[1], 3, axis=-1)), strict=True))
    for name in ("dq", "dk"):
        if not exact[name].any():
            assert np.abs(ours.pop(name)).max() <= tolerance * np.abs(exact.pop(name) + dv).max()
    assert_agree(ours, exact, tolerance)


def assert_agrees(B, T, H, D, number, *dropout):
    qkv, dout = normal(B, T, 3 * H * D), normal(B, T, H * D, seed=1)
    assert_is_attention(on_card(qkv, dout, H, number, *dropout), qkv, dout, H, TOLERANCE[number], *dropout)


# What it computes


@every
@pytest.mark.parametrize("T", [1, 2, 65, 129])
@pytest.mark.parametrize("D", [1, 8, 20])
def test_sequences_of_any_length_and_small_heads(T, D, number, card):
    assert_agrees(1, T, 2, D, number)


@pytest.mark.parametrize(
    ("T", "D", "number"),
    [
        (70, 64, "float32"), (33, 64, "float64"), (70, 64, "TF32"), (33, 80, "float32"), (17, 128, "float32"),
        (20, 160, "TF32"), (18, 250, "float64"),
    ],
)  # fmt: skip
def test_large_heads(T, D, number, card):
    assert_agrees(1, T, 2, D, number)


@every
@pytest.mark.parametrize(("B", "H"), [(1, 1), (3, 1), (2, 4)])
def test_heads_and_sequences_do_not_meet(B, H, number, card):
    assert_agrees(B, 9, H, 5, number)


@every
def test_dropout_drops_what_the_definition_drops(number, card):
    assert_agrees(3, 70, 3, 5, number, 0.3, KEY, (1 << 33) + 5)


@both
def test_scores_of_ten_thousand(number, card):
    """Most weights are 0 or 1. Of dweights - delta then little is left, in which the rounding of both counts."""
    qkv = np.random.default_rng(0).integers(-70, 71, (2, 65, 3 * 2 * 4)).astype(float)  # the sums are exact in float32
    qkv[..., 16:] /= 64
    dout = normal(2, 65, 8)
    q, k, _ = attention.split_heads(qkv, 2)
    scores = np.tril(q @ k.swapaxes(-1, -2)) / 2
    assert scores.max() > 6000 and scores.min() < -6000
    out, dqkv = on_card(qkv, dout, 2, number)
    assert_agree({"out": out}, {"out": attention.forward(qkv, 2)[0]}, TOLERANCE[number])
    assert_is_attention((out, dqkv), qkv, dout, 2, 20 * TOLERANCE[number])


@both
def test_what_is_masked_has_no_weight_beside_the_lowest_scores(number, card):
    """Every score is about -1e31; out is still a mean of what a position sees."""
    qkv = np.ones((1, 20, 3))
    qkv[..., 0], qkv[..., 1], qkv[..., 2] = 3e15, -3e15, np.arange(20)
    out, _ = on_card(qkv, np.ones((1, 20, 1)), 1, number)
    np.testing.assert_allclose(out.ravel(), np.arange(20) / 2, rtol=1e-6)


def test_dout_may_be_of_another_dtype_and_heads_are_of_equal_size(card):
    import cupy

    qkv, dout = cupy.asarray(normal(1, 5, 12)), normal(1, 5, 4).astype("float32")
    out, cache = kernel.forward(qkv, 2)
    ours = [kernel.backward(cupy.asarray(given), cache).get() for given in (dout, dout.astype("float64"))]
    np.testing.assert_array_equal(*ours)
    for wrong in (3, 5):
        with pytest.raises(ValueError, match=f"12 channels, which are not three times {wrong} heads of equal size"):
            kernel.forward(qkv, wrong)


@every
def test_a_row_of_equal_scores_is_a_mean(number, card):
    qkv = np.repeat(normal(1, 1, 24), 66, axis=1)
    out, _ = on_card(qkv, normal(1, 66, 8), 2, number)
    np.testing.assert_allclose(out, np.repeat(qkv[..., 16:], 66, axis=1)[:, :66], rtol=TOLERANCE[number])


@both
def test_what_is_not_contiguous(number, card):
    qkv, dout = normal(2, 9, 30), normal(2, 9, 10, seed=1)

    def turned(x):
        return x.swapaxes(0, 1).copy().swapaxes(0, 1)

    assert_is_attention(on_card(qkv, dout, 2, number, arranged=turned), qkv, dout, 2, TOLERANCE[number])


@both
def test_memory_that_begins_anywhere(number, card):
    """Where rows are not aligned to what is read at once, numbers are read one by one."""
    import cupy

    def moved(x):
        memory = cupy.empty(x.size + 1, x.dtype)
        memory[1:] = x.ravel()
        return memory[1:].reshape(x.shape)

    qkv, dout = normal(1, 9, 48), normal(1, 9, 16, seed=1)
    assert_is_attention(on_card(qkv, dout, 2, number, arranged=moved), qkv, dout, 2, TOLERANCE[number])


def test_nothing_is_computed_of_an_empty_batch(card):
    out, dqkv = on_card(normal(0, 5, 24), normal(0, 5, 8), 2)
    assert out.shape == (0, 5, 8) and dqkv.shape == (0, 5, 24) and not card.launches


def test_the_inputs_stay_as_they_are(card):
    import cupy

    qkv, dout = (cupy.asarray(x) for x in (normal(1, 9, 30), normal(1, 9, 10)))
    before = qkv.get(), dout.get()
    _, cache = kernel.forward(qkv, 2, 0.5, KEY)
    first, second = kernel.backward(dout, cache).get(), kernel.backward(dout, cache).get()
    assert (qkv.get() == before[0]).all() and (dout.get() == before[1]).all() and (first == second).all()


# How


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_three_launches_no_copies_and_nobody_waits(dropout, card):
    import cupy

    qkv, dout = cupy.asarray(normal(2, 9, 30)), cupy.asarray(normal(2, 9, 10))
    card.reset()
    _, cache = kernel.forward(qkv, 2, dropout, KEY)
    kernel.backward(dout, cache)
    launched = [event.what for event in card.launches]
    assert launched == ["attention_forward", "attention_backward_q", "attention_backward_kv"]
    assert not card.copies and not card.syncs and not card.uploads and not card.products


def test_no_array_is_t_by_t(card):
    import cupy

    T = 300
    qkv = cupy.asarray(normal(1, T, 3).astype("float32"))
    before = card.used
    _, cache = kernel.forward(qkv, 1)
    assert card.used - before < T * T


@every
def test_the_order_of_blocks_and_warps_changes_no_bit(number, card):
    qkv, dout = normal(2, 70, 3 * 2 * 5), normal(2, 70, 10, seed=1)
    results = []
    for card.seed in range(3):
        results.append([x.tobytes() for x in on_card(qkv, dout, 2, number, 0.2, KEY)])
    assert results[0] == results[1] == results[2]


# Which kernel


@pytest.fixture
def macros(monkeypatch):
    """The macros that kernels were compiled with."""
    seen = []

    def recording(name, dtype, **constants):
        seen.append(constants)
        return compiled.compiled(name, dtype, **constants)

    monkeypatch.setattr(kernel, "compiled", recording)
    return seen


def test_tf32_is_where_products_are_in_tf32(card, macros):
    qkv, dout = normal(1, 20, 24), normal(1, 20, 8)
    exact, tf32 = on_card(qkv, dout, 1), on_card(qkv, dout, 1, "TF32")
    assert [m["TF32"] for m in macros] == [0] * 3 + [1] * 3
    for a, b in zip(exact, tf32, strict=True):
        assert np.abs(a - b).max() > 1e-5 * np.abs(a).max()


def test_tf32_is_not_for_float64(card, macros):
    import cupy

    with tf32_products(True, "cuda"):
        kernel.forward(cupy.asarray(normal(1, 3, 12)), 1)
    assert macros[0]["TF32"] == 0


def test_an_older_card_has_smaller_tiles(card, macros):
    card.compute_capability = "75"
    assert_agrees(1, 20, 1, 128, "float32")
    assert macros[0]["ROWS"] == 32


@pytest.mark.parametrize("card", [75, 80, 120])
def test_tiles_fit_into_shared_memory(card):
    for head in range(32, kernel.WIDEST + 1, 32):
        for itemsize, tf32 in ((4, False), (8, False), (4, True)):
            if tf32 and (card < 80 or head > kernel.WIDEST_TF32) or (card, itemsize) == (75, 8) and head > 160:
                continue
            rows, columns = kernel.tiles(head, 1024, itemsize, tf32, card)
            assert kernel.shared_bytes(head, rows, columns, 2, itemsize, tf32) <= (64 if card == 75 else 99) << 10
    assert not kernel.tiles(256, 1024, 8, False, 75)


@pytest.mark.parametrize(("dtype", "D", "why"), [("float16", 4, "float16"), ("float32", 300, "300 channels")])
def test_what_it_does_not_take_goes_to_the_definition(dtype, D, why, card):
    import cupy

    compiled._told.clear()
    qkv, dout = cupy.asarray(normal(1, 3, 3 * D).astype(dtype)), cupy.asarray(normal(1, 3, D).astype(dtype))
    with pytest.warns(Note, match=f"attention.*{why}"):
        out, cache = kernel.forward(qkv, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is said once
        kernel.forward(qkv, 1)
    dqkv = kernel.backward(dout, cache)
    assert out.dtype == dtype and dqkv.dtype == dtype and "attention_forward" not in [e.what for e in card.launches]

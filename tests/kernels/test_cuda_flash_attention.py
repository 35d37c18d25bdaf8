"""The kernels of attention in bfloat16 on the stand-in for a card, beside the definition in float64."""

import numpy as np
import pytest

from tests.cuda import strict_cupy
from tests.kernels.beside import launches, normal
from tests.parity.comparison import relative_error
from tinygpt.kernels.cuda import attention as kernel
from tinygpt.kernels.cuda import flash_attention
from tinygpt.layers import attention

TOLERANCE = 6e-3  # by norm, of out, dq, dk and dv; bfloat16 rounds by up to 4e-3
DROPOUT = 0.2, 0xFEDCBA9876543210, (1 << 33) + 5
FLASH = ["flash_forward", "flash_backward_q", "flash_backward_kv"]


@pytest.fixture
def card():
    with strict_cupy.installed() as card:
        yield card


def bfloat16(x):
    import ml_dtypes

    return x.astype(ml_dtypes.bfloat16)


def inputs(B, T, H, D):
    return bfloat16(normal(B, T, 3 * H * D)), bfloat16(normal(B, T, H * D, seed=1))


def on_card(qkv, dout, H, *dropout, arranged=lambda x: x):
    """out and dqkv, on the host, as the kernels write them."""
    import cupy

    qkv, dout = (arranged(cupy.asarray(x)) for x in (qkv, dout))
    out, cache = kernel.forward(qkv, H, *dropout)
    dqkv = kernel.backward(dout, cache)
    assert (out.shape, out.dtype, dqkv.shape, dqkv.dtype) == (dout.shape, dout.dtype, qkv.shape, qkv.dtype)
    return out.get(), dqkv.get()


def errors(ours, qkv, dout, H, *dropout):
    """Of out, dq, dk and dv, by norm. Where a gradient is zero, of a single position, its error is beside dv's norm."""
    out, cache = attention.forward(qkv.astype("float64"), H, *dropout)
    exact = out, *np.split(attention.backward(dout.astype("float64"), cache), 3, axis=-1)
    got = [x.astype("float64") for x in (ours[0], *np.split(ours[1], 3, axis=-1))]
    found = []
    for a, b in zip(got, exact, strict=True):
        zero = np.linalg.norm(b) <= 1e-10 * np.linalg.norm(exact[-1])
        found.append(np.linalg.norm(a) / max(np.linalg.norm(exact[-1]), 1e-300) if zero else relative_error(a, b))
    return found


def assert_is_attention(qkv, dout, H, *dropout, arranged=lambda x: x):
    found = errors(on_card(qkv, dout, H, *dropout, arranged=arranged), qkv, dout, H, *dropout)
    assert max(found) <= TOLERANCE, found


# What it computes


@pytest.mark.parametrize("dropout", [(), DROPOUT], ids=["all kept", "dropout"])
@pytest.mark.parametrize("T", [1, 63, 64, 65, 192, 200])
@pytest.mark.parametrize("D", flash_attention.HEADS)
def test_sequences_of_any_length(D, T, dropout, card):
    assert_is_attention(*inputs(2, T, 2, D), 2, *dropout)
    assert launches(card) == FLASH


@pytest.mark.parametrize(("B", "H"), [(1, 1), (3, 1), (1, 4), (2, 3)])
def test_heads_and_sequences_do_not_meet(B, H, card):
    assert_is_attention(*inputs(B, 70, H, 32), H, *DROPOUT)


def test_dropout_drops_what_the_definition_drops(card):
    """Bit by bit: of equal scores, a weight that is kept is seen in out, whose channels are the keys."""
    import cupy

    T, p, key, row = 32, 0.5, 7, 3
    qkv = np.zeros((2, T, 3 * 32), "float32")
    qkv[..., 64:] = np.eye(T)
    out, _ = kernel.forward(cupy.asarray(bfloat16(qkv)), 1, p, key, row)
    exact, _ = attention.forward(qkv.astype("float64"), 1, p, key, row)
    np.testing.assert_array_equal(out.get().astype("float32") != 0, exact != 0)


def test_large_scores(card):
    """Most weights are 0 or 1: of dweights - delta little is left, and delta comes from out after its rounding."""
    qkv, dout = inputs(1, 130, 2, 64)
    qkv = bfloat16(qkv.astype("float32") * 8)
    found = errors(on_card(qkv, dout, 2), qkv, dout, 2)
    assert max(found) <= 2e-2 and found[0] <= TOLERANCE, found


def test_what_is_not_contiguous_and_begins_anywhere(card):
    import cupy

    def turned(x):
        return x.swapaxes(0, 1).copy().swapaxes(0, 1)

    def moved(x):
        memory = cupy.empty(x.size + 1, x.dtype)
        memory[1:] = x.ravel()
        return memory[1:].reshape(x.shape)

    for arranged in (turned, moved):
        assert_is_attention(*inputs(2, 9, 2, 32), 2, arranged=arranged)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0)])
def test_nothing_is_computed_of_an_empty_batch(shape, card):
    out, dqkv = on_card(*inputs(*shape, 2, 32), 2)
    assert out.shape == (*shape, 64) and dqkv.shape == (*shape, 192) and not card.launches


def test_the_inputs_stay_as_they_are(card):
    import cupy

    qkv, dout = map(cupy.asarray, inputs(1, 65, 2, 32))
    before = qkv.get().tobytes(), dout.get().tobytes()
    _, cache = kernel.forward(qkv, 2, *DROPOUT)
    first, second = (kernel.backward(dout, cache).get().tobytes() for _ in range(2))
    assert (qkv.get().tobytes(), dout.get().tobytes()) == before and first == second


# How


@pytest.mark.parametrize("D", flash_attention.HEADS)
def test_the_order_of_blocks_and_warps_changes_no_bit(D, card):
    results = []
    for card.seed in range(3):
        results.append([x.tobytes() for x in on_card(*inputs(2, 150, 2, D), 2, *DROPOUT)])
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("dropout", [(), DROPOUT], ids=["all kept", "dropout"])
def test_three_launches_no_copies_and_nobody_waits(dropout, card):
    import cupy

    qkv, dout = map(cupy.asarray, inputs(2, 9, 2, 64))
    card.reset()
    _, cache = kernel.forward(qkv, 2, *dropout)
    kernel.backward(dout, cache)
    assert launches(card) == FLASH
    assert not card.copies and not card.syncs and not card.uploads and not card.products


def test_no_array_is_t_by_t(card):
    import cupy

    T = 300
    qkv = cupy.asarray(inputs(1, T, 1, 32)[0])
    before = card.used
    _, cache = kernel.forward(qkv, 1)
    assert card.used - before < T * T


@pytest.mark.parametrize("D", flash_attention.HEADS)
def test_blocks_fit_into_shared_memory(D):
    for name in FLASH:
        assert flash_attention.cut(name, D, dropout=False)[1] <= 99 << 10


# Which kernel


@pytest.mark.parametrize(("D", "dropout"), [(20, ()), (20, DROPOUT), (96, ())])
def test_other_heads_are_computed_in_float32(D, dropout, card):
    assert_is_attention(*inputs(2, 33, 2, D), 2, *dropout)
    names = [name for name in launches(card) if name.startswith(("flash", "attention"))]
    assert names == ["attention_forward", "attention_backward_q", "attention_backward_kv"]


def test_heads_are_of_equal_size(card):
    import cupy

    with pytest.raises(ValueError, match="not three times 5 heads of equal size"):
        kernel.forward(cupy.asarray(inputs(1, 3, 2, 32)[0]), 5)

"""Linear on the card: two kernels and products, on the stand-in."""

import warnings

import numpy as np
import pytest

from tests.cuda import strict_cupy
from tests.kernels.beside import assert_right, launches, normal, placed, same_bits
from tinygpt.errors import Note
from tinygpt.kernels.cuda import columns, compiled
from tinygpt.kernels.cuda import linear as kernel
from tinygpt.kernels.cuda.unfinished import Product, Sums
from tinygpt.layers import linear


@pytest.fixture
def card():
    with strict_cupy.installed() as card:
        yield card


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("lead", "n_in", "n_out"),
    [((), 4, 3), ((1,), 1, 1), ((0,), 4, 3), ((2, 3), 5, 7), ((7, 11), 33, 65), ((130,), 3, 40), ((3, 50), 6, 31)],
)
def test_any_shape_gives_the_definitions_results(card, lead, n_in, n_out, bias):
    b = normal(n_out) if bias else None
    assert_right("linear", {"x": normal(*lead, n_in), "w": normal(n_in, n_out), "b": b})


def test_rows_beyond_the_first_of_each_block_are_computed_too(card, monkeypatch):
    monkeypatch.setattr(columns, "PARTS", 2)
    assert_right("linear", {"x": normal(200, 4), "w": normal(4, 35), "b": normal(35)})


@pytest.mark.parametrize("shape", [(3, 5), (1, 5), (5, 1)])
def test_a_transposed_weight_is_read_as_it_lies(card, shape):
    x, w, dout = placed(normal(4, shape[1])), placed(normal(*shape)), placed(normal(4, shape[0]))
    card.reset()
    out, cache = kernel.forward(x, w.T)
    dx, dw, _ = kernel.backward(dout, cache)
    total = placed(np.ones(shape, np.float32))
    Product.add_all([(dw.T, total)])
    assert not card.copies
    np.testing.assert_allclose(out.get(), x.get() @ w.get().T, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(dx.get(), dout.get() @ w.get(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(total.get(), 1 + dout.get().T @ x.get(), rtol=1e-5, atol=1e-6)


def test_a_slice_of_a_weights_rows_or_columns_is_right(card):
    wide = placed(normal(9, 12))
    x = placed(normal(4, 9))
    for w in (wide[:, 2:7], wide[:, ::2], wide[::-1], wide[:, 3:].T[:, :].T):
        out, cache = kernel.forward(x, w)
        np.testing.assert_allclose(out.get(), x.get() @ w.get(), rtol=1e-5, atol=1e-5)
        dx, dw, _ = kernel.backward(out, cache)
        np.testing.assert_allclose(dx.get(), out.get() @ w.get().T, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(dw.get(), x.get().T @ out.get(), rtol=1e-5, atol=1e-4)


def test_launches(card):
    x, w, b, dout = (placed(normal(*shape)) for shape in ((5, 3), (3, 4), (4,), (5, 4)))
    for bias, forward, backward in ((None, ["gemm"], ["gemm"]), (b, ["gemm", "add_bias"], ["sum_columns", "gemm"])):
        card.reset()
        _, cache = kernel.forward(x, w, bias)
        assert launches(card) == forward
        card.reset()
        dx, dw, db = kernel.backward(dout, cache)
        assert launches(card) == backward
        assert not card.syncs and not card.uploads and not card.copies
        assert (dw.shape, dw.dtype, db is None) == ((3, 4), "float32", bias is None)
    assert isinstance(db, Sums) and db.shape == (4,)


def test_weights_gradients_are_added_where_they_belong_by_one_product_each(card):
    x, w, dout = placed(normal(5, 3)), placed(normal(3, 4)), placed(normal(5, 4))
    _, dw, _ = kernel.backward(dout, kernel.forward(x, w)[1])
    flat = placed(np.ones(20, np.float32))
    card.reset()
    dw.add_all([(dw, flat[4:16].reshape(3, 4))])
    assert launches(card) == ["gemm"]
    np.testing.assert_allclose(flat[4:16].get().reshape(3, 4), 1 + x.get().T @ dout.get(), rtol=1e-5)
    assert (flat.get()[:4] == 1).all() and (flat.get()[16:] == 1).all()


def test_arrays_that_do_not_lie_in_one_piece_are_right_and_left_alone(card):
    given = normal(6, 4, 10), normal(5, 7), normal(14), normal(7, 4, 6)
    x, w, b, dout = (placed(array) for array in given)
    views = x.swapaxes(0, 1)[..., ::2], w, b[::2]
    out, cache = kernel.forward(*views)
    expected, right = linear.forward(*(view.get() for view in views))
    np.testing.assert_allclose(out.get(), expected, rtol=1e-5, atol=1e-5)
    gradients = kernel.backward(dout.T.swapaxes(0, 1), cache)
    for ours, theirs in zip(gradients, linear.backward(dout.get().T.swapaxes(0, 1), right), strict=True):
        np.testing.assert_allclose(ours.get(), theirs, rtol=1e-5, atol=1e-5)
    for array, before in zip((x, w, b, dout), given, strict=True):
        np.testing.assert_array_equal(array.get(), before)


def test_a_bias_of_another_length_is_refused(card):
    with pytest.raises(ValueError, match=r"b has the shape \(3,\); expected \(4,\)"):
        kernel.forward(placed(normal(2, 3)), placed(normal(3, 4)), placed(normal(3)))


@pytest.mark.parametrize(
    ("dtypes", "said"), [(("float16",) * 3, "float16"), (("float32", "float64", "float64"), "float32 with float64")]
)
def test_other_dtypes_are_the_definitions_and_that_is_said_once(card, monkeypatch, dtypes, said):
    monkeypatch.setattr(compiled, "_told", set())
    x, w, b = (placed(normal(*s, dtype=d)) for s, d in zip(((2, 3), (3, 4), (4,)), dtypes, strict=True))
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        for _ in range(2):
            out, cache = kernel.forward(x, w, b)
            gradients = kernel.backward(out, cache)
    assert [str(note.message) for note in notes if note.category is Note] == [
        f"the kernel of linear does not take {said}; its definition computes it"
    ]
    expected, right = linear.forward(x.get(), w.get(), b.get())
    for ours, theirs in zip((out, *gradients), (expected, *linear.backward(expected, right)), strict=True):
        np.testing.assert_allclose(ours.get(), theirs, rtol=1e-2, atol=1e-2)


def test_the_same_bits_in_any_order(card, monkeypatch):
    x, w, b, dout = (placed(normal(*shape)) for shape in ((300, 3), (3, 40), (40,), (300, 40)))

    def compute():
        out, cache = kernel.forward(x, w, b)
        return out, kernel.backward(dout, cache)

    assert same_bits(card, monkeypatch, compute)


@pytest.mark.parametrize(
    ("N", "C", "parts"),
    [
        (12288, 768, 85),
        (12288, 3072, 21),
        (16384, 256, 256),
        (8, 50257, 1),
        (100_000, 1, 512),
        (33, 6400, 2),
        (0, 3, 0),
    ],
)
def test_a_columns_sum_has_parts_by_its_shape(card, N, C, parts):
    """2,048 blocks in all where there are rows enough, and at most 512 parts."""
    import cupy

    assert columns.room_for_sums(cupy.empty((N, C), np.float32), C).shape == (parts, C)

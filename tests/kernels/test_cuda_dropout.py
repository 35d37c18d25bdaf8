"""Dropout's kernel, on the stand-in for a card."""

import warnings

import numpy as np
import pytest

from tests.cuda import strict_cupy
from tests.kernels.beside import assert_right, launches, normal, placed, same_bits
from tinygpt.errors import Note
from tinygpt.kernels.cuda import compiled
from tinygpt.kernels.cuda import dropout as kernel
from tinygpt.layers import dropout
from tinygpt.random import fold_in, random_bits


@pytest.fixture
def card():
    with strict_cupy.installed() as card:
        yield card


@pytest.mark.parametrize("shape", [(1,), (0,), (3, 0), (0, 4), (5,), (2, 3, 5), (3, 1024), (2, 1025), (4, 7, 300)])
def test_any_shape_gives_the_definitions_results(card, shape):
    assert_right("dropout", {"x": normal(*shape), "p": 0.3, "key": 11, "row": 5})


@pytest.mark.parametrize("key", [0, 1, fold_in(3, 4, 5), 2**64 - 1])
@pytest.mark.parametrize("row", [0, 7, 2**33, 2**63])
@pytest.mark.parametrize("p", [0.1, 0.5, 1 - 1e-9])
def test_a_number_is_dropped_by_its_bits_to_the_last(card, key, row, p):
    shape = (3, 5, 11)
    x = placed(np.ones(shape))
    out, cache = kernel.forward(x, p, key, row)
    keep = random_bits(shape, key, row, np) >= np.uint32(p * 2**32)
    np.testing.assert_array_equal(out.get(), keep * (1 / (1 - p)))
    np.testing.assert_array_equal(kernel.backward(x, cache).get(), out.get())


def test_the_threshold_is_exact(card):
    """p at which the least of the kept bits is the threshold itself, and just above it."""
    bits = random_bits((1, 1000), 3, 0, np).reshape(-1)
    x = placed(np.ones((1, 1000)))
    for threshold, dropped in ((int(bits.min()), 0), (int(bits.min()) + 1, 1)):
        out, _ = kernel.forward(x, threshold / 2**32, 3)
        assert (out.get() == 0).sum() == dropped


def test_rows_of_a_batch_drop_what_the_whole_batch_drops(card):
    x = placed(normal(6, 3, 50))
    whole, _ = kernel.forward(x, 0.5, key=7)
    part, _ = kernel.forward(x[2:5], 0.5, key=7, row=2)
    np.testing.assert_array_equal(whole[2:5].get(), part.get())


def test_more_rows_than_a_grid_has(card, monkeypatch):
    monkeypatch.setattr(kernel, "MOST_ROWS", 3)
    assert_right("dropout", {"x": normal(8, 5), "p": 0.3, "key": 11, "row": 5})


def test_no_dropout_is_the_input_itself(card):
    x = placed(normal(2, 3))
    card.reset()
    out, cache = kernel.forward(x, 0.0)
    assert out is x and kernel.backward(x, cache) is x and not card.launches


def test_one_launch_each_way_and_nothing_is_kept(card):
    x, dout = placed(normal(5, 7)), placed(normal(5, 7))
    card.reset()
    _, cache = kernel.forward(x, 0.4, key=3)
    kernel.backward(dout, cache)
    assert launches(card) == ["dropout", "dropout"]
    assert cache == (3, 0, 0.4)
    assert not card.syncs and not card.uploads and not card.copies


def test_what_does_not_lie_in_one_piece_is_right_and_left_alone(card):
    x = placed(normal(6, 10))
    out, cache = kernel.forward(x.T[::2], 0.4, 3, 2)
    expected, right = dropout.forward(x.get().T[::2], 0.4, 3, 2)
    np.testing.assert_allclose(out.get(), expected, rtol=1e-6)
    dx = kernel.backward(x.T[1::2], cache)
    np.testing.assert_allclose(dx.get(), dropout.backward(x.get().T[1::2], right), rtol=1e-6)
    np.testing.assert_array_equal(x.get(), normal(6, 10))


def test_what_is_dropped_may_be_infinite_as_in_the_definition(card):
    x = np.array([[np.inf, -np.inf, np.nan, 1e38, 0.0] * 4], np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        expected, _ = dropout.forward(x, 0.5, 3)
    np.testing.assert_array_equal(kernel.forward(placed(x), 0.5, 3)[0].get(), expected)


def test_float16_is_the_definitions_and_is_said_once(card, monkeypatch):
    monkeypatch.setattr(compiled, "_told", set())
    x = placed(normal(3, 4, dtype="float16"))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(2):
            out, cache = kernel.forward(x, 0.5, 3)
            dx = kernel.backward(x, cache)
    assert [str(w.message) for w in said if w.category is Note] == [
        "the kernel of dropout does not take float16; its definition computes it"
    ]
    np.testing.assert_array_equal(out.get(), dx.get())
    np.testing.assert_array_equal(out.get(), dropout.forward(x.get(), 0.5, 3)[0])


def test_the_same_bits_in_any_order(card, monkeypatch):
    x = placed(normal(5, 1500))
    assert same_bits(card, monkeypatch, lambda: kernel.forward(x, 0.5, 3)[0])

"""GELU's kernels, on the stand-in for a card."""

import warnings

import numpy as np
import pytest

from tests.cuda import strict_cupy
from tests.kernels.beside import assert_right, both_ways, launches, normal, placed, same_bits
from tinygpt.errors import Note
from tinygpt.kernels.cuda import columns, compiled
from tinygpt.kernels.cuda import gelu as kernel
from tinygpt.layers import gelu

forms = pytest.mark.parametrize("approximate", ["tanh", "none"])


@pytest.fixture
def card():
    with strict_cupy.installed() as card:
        yield card


@forms
@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0, 2), (7,), (33, 31), (2, 3, 5), (5, 1024), (3, 1025)])
def test_any_shape_gives_the_definitions_results(card, shape, approximate):
    assert_right("gelu", {"x": np.asarray(2 * normal(*shape)), "approximate": approximate})


@forms
def test_rows_beyond_the_first_of_each_block_are_computed_too(card, monkeypatch, approximate):
    monkeypatch.setattr(kernel, "WIDTH", 8)
    monkeypatch.setattr(columns, "PARTS", 2)
    assert_right("gelu", {"x": 2 * normal(1003), "approximate": approximate})


@forms
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_number_is_right_by_itself_and_extreme_ones_are_finite(card, dtype, approximate):
    x = np.r_[np.linspace(-12, 12, 2001), -1e4, 1e4, -30, 30, -0.0, 1e-30, -1e-30].astype(dtype)
    for ours, right in zip(*both_ways("gelu", {"x": x, "approximate": approximate}), strict=True):
        np.testing.assert_allclose(
            ours, right, rtol=1e-5 if dtype == "float32" else 1e-12, atol=1e-5 * (dtype == "float32") + 1e-12
        )


def test_one_launch_each_way_and_nothing_is_kept_but_x(card):
    x, dout = placed(normal(5, 7)), placed(normal(5, 7))
    card.reset()
    out, cache = kernel.forward(x)
    kernel.backward(dout, cache)
    assert launches(card) == ["gelu_forward", "gelu_backward"]
    assert cache[0] is x and cache[1:] == ("tanh",)
    assert not card.syncs and not card.uploads and not card.copies


def test_what_does_not_lie_in_one_piece_is_copied_and_left_alone(card):
    x, dout = placed(normal(6, 10)), placed(normal(10, 6))
    expected, right = gelu.forward(x.get()[:, ::2])
    out, cache = kernel.forward(x[:, ::2])
    np.testing.assert_allclose(out.get(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        kernel.backward(dout.T[:, ::2], cache).get(), gelu.backward(dout.get().T[:, ::2], right), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(x.get(), normal(6, 10))
    np.testing.assert_array_equal(dout.get(), normal(10, 6))


def test_another_form_is_refused_as_the_definition_refuses_it(card):
    with pytest.raises(ValueError, match="'relu'"):
        kernel.forward(placed(normal(3)), "relu")


def test_float16_is_the_definitions_and_is_said_once(card, monkeypatch):
    monkeypatch.setattr(compiled, "_told", set())
    x = placed(normal(3, 4, dtype="float16"))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(2):
            out, cache = kernel.forward(x)
            dx = kernel.backward(x, cache)
    assert [str(w.message) for w in said if w.category is Note] == [
        "the kernel of gelu does not take float16; its definition computes it"
    ]
    assert out.dtype == dx.dtype == "float16"
    expected, right = gelu.forward(x.get())
    np.testing.assert_allclose(dx.get(), gelu.backward(x.get(), right), rtol=1e-2, atol=1e-3)


def test_the_same_bits_in_any_order(card, monkeypatch):
    x, dout = placed(normal(300, 40)), placed(normal(300, 40))

    def compute():
        out, cache = kernel.forward(x)
        return out, kernel.backward(dout, cache)

    assert same_bits(card, monkeypatch, compute)


@pytest.mark.parametrize(("approximate", "dtype"), [("tanh", "float64"), ("none", "float32")])
def test_dx_may_take_the_place_of_dout_and_its_sums_are_the_biass_gradient(card, approximate, dtype, monkeypatch):
    monkeypatch.setattr(columns, "PARTS", 3)
    x, b, dout = (normal(*shape, dtype=dtype) for shape in ((131, 37), (37,), (131, 37)))
    dx = placed(dout)
    parts = columns.room_for_sums(dx, 37)
    assert parts.shape == (3, 37)
    kernel.gradient_of_sum(dx, placed(x), placed(b), approximate, dx, parts)
    right = gelu.backward(dout, gelu.forward(x + b, approximate)[1])
    np.testing.assert_allclose(dx.get(), right, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(parts.get().sum(axis=0), right.sum(axis=0), rtol=1e-5, atol=1e-4)

"""Sums that other kernels left in parts, added into the gradients."""

import numpy as np
import pytest

from tests.cuda import strict_cupy
from tests.kernels.beside import launches, normal, placed, same_bits
from tinygpt.kernels.cuda.unfinished import Sums


@pytest.fixture
def card():
    with strict_cupy.installed() as card:
        yield card


SHAPES = [(1, 1), (5, 33), (512, 3), (40, 31), (33, 64), (7, 100), (0, 5), (85, 32), (2, 4, 6), (3, 0), (4, 9)]


def drawn(shapes, dtype="float32"):
    """Sums, with the gradients that they belong to, which are neighbours in one array, and that array."""
    parts = [placed(normal(*shape, dtype=dtype, seed=n)) for n, shape in enumerate(shapes)]
    flat = placed(normal(sum(int(np.prod(shape[1:])) for shape in shapes), dtype=dtype))
    totals, start = [], 0
    for shape in shapes:
        size = int(np.prod(shape[1:]))
        totals.append(flat[start : start + size].reshape(shape[1:]))
        start += size
    return [(Sums(p), total) for p, total in zip(parts, totals, strict=True)], flat


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-13)])
def test_many_are_added_eight_in_a_launch(card, count, dtype, tolerance):
    sums, flat = drawn(SHAPES[:count], dtype)
    right = [total.get() + gradient.parts.get().sum(axis=0) for gradient, total in sums]
    card.reset()
    Sums.add_all(sums)
    some = sum(total.size > 0 for _, total in sums)
    assert launches(card) == ["add_sums"] * -(-some // 8)
    assert not card.syncs and not card.uploads and not card.copies
    for (_, total), expected in zip(sums, right, strict=True):
        np.testing.assert_allclose(total.get(), expected, rtol=tolerance, atol=20 * tolerance)


def test_two_for_the_same_gradient_follow_each_other(card):
    total = placed(np.ones(3, np.float32))
    card.reset()
    Sums.add_all([(Sums(placed(normal(4, 3, seed=n))), total) for n in range(3)])
    assert launches(card) == ["add_sums"] * 3
    expected = 1 + sum(normal(4, 3, seed=n).sum(axis=0) for n in range(3))
    np.testing.assert_allclose(total.get(), expected, rtol=1e-5)


def test_the_same_bits_in_any_order_and_in_any_company(card, monkeypatch):
    sums, flat = drawn(SHAPES)
    before = flat.copy()

    def compute():
        flat[...] = before
        Sums.add_all(sums)
        return flat

    assert same_bits(card, monkeypatch, compute)
    together = compute().get()
    flat[...] = before
    for pair in reversed(sums):
        Sums.add_all([pair])
    np.testing.assert_array_equal(flat.get(), together)


def test_a_gradient_by_itself_is_the_sum(card):
    parts = placed(normal(70, 35, dtype="float64"))
    np.testing.assert_allclose(Sums(parts).get(), parts.get().sum(axis=0), rtol=1e-12)


@pytest.mark.parametrize(
    "total", [np.ones(4, np.float32), np.ones(3), np.ones(6, np.float32)[::2]], ids=["shape", "dtype", "strides"]
)
def test_a_total_that_does_not_fit_is_refused(card, total):
    total = placed(total) if total.flags.c_contiguous else placed(np.ones(6, np.float32))[::2]
    with pytest.raises(ValueError, match=r"sums of float32 \(3,\) for"):
        Sums.add_all([(Sums(placed(normal(2, 3))), total)])

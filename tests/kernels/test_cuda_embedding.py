"""The kernels of the embedding, on the stand-in for a card."""

import re
import warnings

import ml_dtypes  # noqa: F401, which makes bfloat16 known to NumPy
import numpy as np
import pytest

from tests.cuda import strict_cupy
from tests.parity.comparison import relative_error
from tinygpt import emulator
from tinygpt.errors import Note
from tinygpt.gradcheck.suite import check_layer
from tinygpt.kernels.cuda import compiled
from tinygpt.kernels.cuda import embedding as kernel
from tinygpt.kernels.cuda.unfinished import Unfinished
from tinygpt.layers import embedding

TOLERANCE = {"float32": 1e-6, "float64": 1e-14, "bfloat16": 1e-6}  # of sums, which are in float32

both = pytest.mark.parametrize("dtype", TOLERANCE)
rng = np.random.default_rng(0)


@pytest.fixture
def card():
    with strict_cupy.installed() as card:
        yield card


def normal(*shape, dtype="float32"):
    return rng.standard_normal(shape).astype(dtype)


def assert_right(ids, V, C, dtype="float32"):
    """Out is w's rows to the bit; dw is added to what is there, and rows that were not read keep their bits."""
    import cupy

    summed = "float32" if dtype == "bfloat16" else dtype
    w, dout, total = normal(V, C, dtype=dtype), normal(*ids.shape, C, dtype=dtype), normal(V, C, dtype=summed)
    out, cache = kernel.forward(cupy.asarray(ids), cupy.asarray(w))
    np.testing.assert_array_equal(out.get(), w[ids % V])
    dw, added = kernel.backward(cupy.asarray(dout), cache), cupy.asarray(total)
    assert isinstance(dw, Unfinished) and dw.shape == (V, C) and dw.dtype == summed
    right = np.zeros((V, C))
    np.add.at(right, ids.reshape(-1) % V, dout.reshape(-1, C).astype(np.float64))
    assert relative_error(dw.get(), right) < TOLERANCE[dtype]
    dw.add_all([(dw, added)])
    assert relative_error(added.get(), total + right) < TOLERANCE[dtype]
    unread = np.setdiff1d(np.arange(V), ids % V)
    np.testing.assert_array_equal(added.get()[unread], total[unread])


@both
@pytest.mark.parametrize("N", [1, 2, 31, 32, 33, 63, 64, 65, 100, 1000])
@pytest.mark.parametrize(("V", "C"), [(1, 3), (2, 1), (7, 33), (65, 40), (50_257, 4)])
def test_any_number_of_ids(N, V, C, dtype, card):
    assert_right(rng.integers(V, size=N), V, C, dtype)


@both
@pytest.mark.parametrize("C", [1, 31, 32, 33, 255, 256, 257, 768])
def test_rows_of_any_width(C, dtype, card):
    assert_right(rng.integers(20, size=(3, 50)), 20, C, dtype)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (2, 3, 7), (40, 5)])
def test_ids_of_any_shape(shape, card):
    assert_right(np.asarray(rng.integers(11, size=shape)), 11, 6)


@both
@pytest.mark.parametrize("N", [5, 32, 33, 96, 97, 700])
def test_all_ids_the_same(N, dtype, card):
    assert_right(np.full(N, 3), 5, 7, dtype)


@pytest.mark.parametrize("N", [32, 96, 333])
def test_all_ids_different(N, card):
    assert_right(rng.permutation(N), N, 5)
    assert_right(np.arange(N), N + 3, 5)  # positions


@both
@pytest.mark.parametrize("lengths", [(32, 32, 32), (31, 1, 64, 1), (1, 64, 1), (16, 32, 48), (33, 33, 33), (1, 1, 200)])
def test_runs_that_end_where_chunks_do_and_elsewhere(lengths, dtype, card):
    ids = np.repeat(np.arange(len(lengths)), lengths)
    assert_right(ids, len(lengths), 5, dtype)
    assert_right(rng.permutation(ids), len(lengths), 5, dtype)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "uint32", "int64", "uint64"])
def test_ids_of_any_integer_type(dtype, card):
    assert_right(rng.integers(65, size=(3, 40)).astype(dtype), 65, 5)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_negative_ids_count_from_the_end_and_large_ones_wrap_around(dtype, card):
    ids = rng.integers(-3 * 13, 3 * 13, size=150).astype(dtype)
    ids[:4] = -1, 12, np.iinfo(dtype).max, np.iinfo(dtype).min
    assert_right(ids, 13, 5)


def test_inputs_that_are_not_contiguous(card):
    import cupy

    ids, w, dout = rng.integers(9, size=(4, 6)), normal(9, 10), normal(6, 4, 10)
    out, cache = kernel.forward(cupy.asarray(ids).T, cupy.asarray(np.repeat(w, 2, axis=1))[:, ::2])
    np.testing.assert_array_equal(out.get(), w[ids.T])
    right = np.zeros((9, 10))
    np.add.at(right, ids.T.reshape(-1), dout.reshape(-1, 10))
    dout = cupy.asarray(dout.swapaxes(0, 1).copy()).swapaxes(0, 1)
    assert relative_error(kernel.backward(dout, cache).get(), right) < 1e-6


@pytest.mark.parametrize("N", [20, 500])
def test_one_launch_forward_three_backward_and_nobody_waits(N, card):
    import cupy

    ids, w, dout = cupy.asarray(rng.integers(65, size=N)), cupy.asarray(normal(65, 40)), cupy.asarray(normal(N, 40))
    total = cupy.zeros_like(w)
    card.reset()
    _, cache = kernel.forward(ids, w)
    assert [launch.what for launch in card.launches] == ["embedding_forward"]
    card.reset()
    dw = kernel.backward(dout, cache)
    dw.add_all([(dw, total)])
    launches = ["embedding_sort", "embedding_runs"] + ["embedding_join"] * (N > 32)
    assert [launch.what for launch in card.launches] == launches
    assert not card.syncs and not card.copies and not card.uploads


def test_no_array_is_of_the_size_of_the_table(card):
    import cupy

    ids, w = cupy.asarray(rng.integers(50_257, size=100)), cupy.asarray(normal(50_257, 40))
    total = cupy.zeros_like(w)
    out, cache = kernel.forward(ids, w)
    before, card.total = card.used, card.used
    dw = kernel.backward(out, cache)
    dw.add_all([(dw, total)])
    assert card.total - before < w.nbytes / 10


def test_the_same_bits_whatever_the_order(card, monkeypatch):
    import cupy

    ids, w, dout = (cupy.asarray(x) for x in (rng.integers(7, size=600), normal(7, 300), normal(600, 300)))
    found = []
    for seed in (0, 1):
        card.seed = seed
        monkeypatch.setattr(emulator.settings, "seed", seed)
        found.append(kernel.backward(dout, kernel.forward(ids, w)[1]).get())
    np.testing.assert_array_equal(*found)


def test_positions_are_added_up_in_their_own_order(card):
    """Of numbers whose sum depends on the order, in float32: 1 is lost beside 1e8."""
    import cupy

    dout = np.array([[1.0], [1e8], [-1e8], [1e8], [-1e8], [1.0]], np.float32)
    cache = kernel.forward(cupy.zeros(6, "int64"), cupy.zeros((1, 1), "float32"))[1]
    assert kernel.backward(cupy.asarray(dout), cache).get()[0, 0] == 1


@pytest.mark.parametrize("wrong", [(65, 41), (64, 40), "float64", "turned"])
def test_a_total_that_does_not_fit_is_refused(wrong, card):
    import cupy

    w = cupy.zeros((65, 40), "float32")
    dw = kernel.backward(cupy.zeros((3, 40), "float32"), kernel.forward(cupy.zeros(3, "int64"), w)[1])
    total = cupy.zeros(wrong, "float32") if isinstance(wrong, tuple) else w.astype("float64")
    if wrong == "turned":
        total = cupy.zeros((40, 65), "float32").T
    with pytest.raises(ValueError, match=re.escape("a gradient (65, 40) in float32 cannot be added to")):
        dw.add_all([(dw, total)])


@pytest.mark.parametrize(
    ("N", "V", "C", "dtype", "what"),
    [
        (3, 5, 4, "float16", "float16"),
        (0, 5, 4, "float32", "empty arrays"),
        ((1 << 17) + 1, 5, 1, "float32", "131,073 ids"),
    ],
)
def test_what_the_kernel_does_not_take_the_definition_does_and_it_is_said_once(N, V, C, dtype, what, card, monkeypatch):
    import cupy

    monkeypatch.setattr(compiled, "_told", set())
    ids, w, dout = cupy.asarray(rng.integers(V, size=N)), cupy.asarray(normal(V, C, dtype=dtype)), normal(N, C)
    dout = cupy.asarray(dout.astype(dtype))
    with pytest.warns(Note, match=re.escape(f"the kernel of embedding does not take {what}")):
        out, cache = kernel.forward(ids, w)
    with warnings.catch_warnings(action="error"):
        kernel.forward(ids, w)
    defined, right = embedding.forward(ids, w)
    np.testing.assert_array_equal(out.get(), defined.get())
    if N < 100:  # atomics on a card, so that the last bits differ
        np.testing.assert_allclose(kernel.backward(dout, cache).get(), embedding.backward(dout, right).get(), rtol=1e-3)


def test_the_gradient_checker_finds_it_right(card):
    for seed in (0, 1):
        for report in check_layer("embedding", kernel, seed=seed, device="cuda"):
            assert report.passed, report

"""The kernels of LayerNorm, alone and with the residual connection before it, on the stand-in for a card."""

import re
import warnings

import ml_dtypes  # noqa: F401, which makes bfloat16 known to NumPy
import numpy as np
import pytest

from tests.cuda import strict_cupy
from tests.parity.comparison import relative_error
from tinygpt import emulator
from tinygpt.errors import Note
from tinygpt.gradcheck.experiment import Experiment
from tinygpt.gradcheck.suite import check_layer
from tinygpt.kernels.cuda import compiled, residual_layernorm
from tinygpt.kernels.cuda import layernorm as kernel
from tinygpt.layers import dropout, layernorm
from tinygpt.ops import DEFINITIONS
from tinygpt.random import random_bits

TOLERANCE = {"float32": 1e-5, "float64": 1e-10, "bfloat16": 1e-2}  # xhat comes from a sum that was rounded
KEY = 0x9876543210FEDCBA

both = pytest.mark.parametrize("dtype", TOLERANCE)
rng = np.random.default_rng(0)


@pytest.fixture
def card():
    with strict_cupy.installed() as card:
        yield card


def normal(*shape, dtype="float32", mean=0.0):
    return (rng.standard_normal(shape) + mean).astype(dtype)


def vector(C, dtype="float32"):
    """A parameter's, which beside bfloat16 is float32."""
    return normal(C, dtype="float32" if dtype == "bfloat16" else dtype)


def on_card(x):
    import cupy

    return None if x is None else cupy.asarray(x)


def on_host(results):
    return [x if x is None else x.get() for x in results]


def assert_close(ours, exact, tolerance):
    for number, (a, b) in enumerate(zip(ours, exact, strict=True)):
        assert (a is None) == (b is None), number
        if a is not None:
            assert a.shape == b.shape and relative_error(a, b) < tolerance, number


# LayerNorm


def ours(x, w, b, dout, eps=1e-5):
    out, cache = kernel.forward(*map(on_card, (x, w, b)), eps)
    return on_host([out, *kernel.backward(on_card(dout), cache)])


def exact(x, w, b, dout, eps=1e-5):
    """The definition in float64."""
    x, w, b, dout = (array if array is None else array.astype(np.float64) for array in (x, w, b, dout))
    out, cache = layernorm.forward(x, w, b, eps)
    return [out, *layernorm.backward(dout, cache)]


def arrays(*shape, dtype="float32", mean=0.0, bias=True):
    C = shape[-1]
    x, w, dout = normal(*shape, dtype=dtype, mean=mean), vector(C, dtype), normal(*shape, dtype=dtype)
    return x, w, vector(C, dtype) if bias else None, dout


@both
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("C", [1, 3, 31, 32, 33, 257, 384, 768, 1024])
def test_rows_of_any_width(C, bias, dtype, card):
    inputs = arrays(9, C, dtype=dtype, bias=bias)
    assert_close(ours(*inputs), exact(*inputs), TOLERANCE[dtype])


@pytest.mark.parametrize("C", [1600, 2047, 2048])
def test_rows_as_wide_as_registers_allow(C, card):
    inputs = arrays(9, C)
    with warnings.catch_warnings(action="error", category=Note):
        assert_close(ours(*inputs), exact(*inputs), 1e-5)
    assert [launch.what for launch in card.launches if "layernorm" in launch.what]


@both
@pytest.mark.parametrize("shape", [(7,), (1, 40), (2, 3, 5, 33), (1, 1, 1), (2047, 5), (2081, 9)])
def test_any_number_of_rows(shape, dtype, card):
    inputs = arrays(*shape, dtype=dtype)
    assert_close(ours(*inputs), exact(*inputs), TOLERANCE[dtype])


def test_of_no_rows_the_gradients_are_zero(card):
    out, dx, dw, db = ours(*arrays(0, 3, 5))
    assert out.shape == dx.shape == (0, 3, 5)
    np.testing.assert_array_equal([dw, db], np.zeros((2, 5)))


@pytest.mark.parametrize("mean", [0.1, 123.456, 1e4 / 3, 1e4, -1e4])
def test_a_large_mean_costs_no_more_than_in_the_definition(mean, card):
    x, w, b, dout = arrays(50, 768)
    x = (mean + 0.01 * x).astype(np.float32)
    right, (out, cache) = exact(x, w, b, dout), layernorm.forward(x, w, b)
    errors = [list(map(relative_error, found, right)) for found in
              (ours(x, w, b, dout), [out, *layernorm.backward(dout, cache)])]  # fmt: skip
    assert all(mine < 2e-6 or mine <= theirs for mine, theirs in zip(*errors, strict=True)), errors


@pytest.mark.parametrize("value", [0.0, 1e4 / 3, -1e4, 1e20])
def test_equal_inputs_stay_finite(value, card):
    w = np.ones(384, np.float32)
    x = np.full((3, 384), value, np.float32)
    results = ours(x, w, w, np.ones_like(x))
    assert all(np.isfinite(result).all() for result in results)
    np.testing.assert_allclose(results[0], 1, atol=1e-6)


@both
def test_eps_counts(dtype, card):
    x, w, b, dout = arrays(5, 20, dtype=dtype)
    inputs = 1e-3 * x, w, b, dout, 0.3
    assert_close(ours(*inputs), exact(*inputs), TOLERANCE[dtype])


def test_a_row_that_is_not_finite_spoils_no_other(card):
    x, w, b, _ = arrays(9, 40)
    right = kernel.forward(*map(on_card, (x, w, b)))[0].get()
    x[4, 7], x[6, 3] = np.inf, np.nan
    out = kernel.forward(*map(on_card, (x, w, b)))[0].get()
    np.testing.assert_array_equal(np.isnan(out).all(axis=1), [row in (4, 6) for row in range(9)])
    np.testing.assert_array_equal(out[[0, 1, 2, 3, 5, 7, 8]], right[[0, 1, 2, 3, 5, 7, 8]])


def test_inputs_that_are_not_contiguous(card):
    x, w, b, dout = arrays(6, 4, 10)
    turned = [on_card(array.swapaxes(0, 1).copy()).swapaxes(0, 1) for array in (x, dout)]
    out, cache = kernel.forward(turned[0], on_card(np.repeat(w, 2))[::2], on_card(np.repeat(b, 3))[::3])
    found = on_host([out, *kernel.backward(turned[1], cache)])
    assert_close(found, exact(x, w, b, dout), 1e-5)


@pytest.mark.parametrize(
    ("dtype", "C", "what"),
    [
        ("float32", 2049, "rows of 2,049 numbers in float32"),
        ("float64", 1025, "rows of 1,025 numbers in float64"),
        ("float16", 8, "float16"),
    ],
)
def test_what_the_kernel_does_not_take_the_definition_does_and_it_is_said_once(dtype, C, what, card, monkeypatch):
    monkeypatch.setattr(compiled, "_told", set())
    x, w, b, dout = map(on_card, arrays(3, C, dtype=dtype))
    with pytest.warns(Note, match=re.escape(f"the kernel of layernorm does not take {what}")):
        out, cache = kernel.forward(x, w, b)
    with warnings.catch_warnings(action="error"):
        kernel.forward(x, w, b)
    right, defined = layernorm.forward(x, w, b)
    for mine, theirs in zip(
        [out, *kernel.backward(dout, cache)], [right, *layernorm.backward(dout, defined)], strict=True
    ):
        np.testing.assert_array_equal(mine.get(), theirs.get())


def test_rows_of_bfloat16_wider_than_the_kernels_take_are_computed_in_float32(card, monkeypatch):
    monkeypatch.setattr(compiled, "_told", set())
    inputs = arrays(5, 2049, dtype="bfloat16")
    with pytest.warns(Note, match="does not take rows of 2,049 numbers in bfloat16"):
        results = ours(*inputs)
    assert [x.dtype.name for x in results] == ["bfloat16", "bfloat16", "float32", "float32"]
    assert_close(results, exact(*inputs), TOLERANCE["bfloat16"])


@pytest.mark.parametrize("w_shape, b_shape", [((1,), (5,)), ((5,), (1,)), ((3, 5), (5,))])
def test_what_only_numpys_rules_make_fit_is_left_to_the_definition(w_shape, b_shape, card):
    x, w, b = map(on_card, (normal(3, 5), normal(*w_shape), normal(*b_shape)))
    residual = residual_layernorm.forward(x, x, w, b, ops=DEFINITIONS)[0][1]
    for given, out in ((x, kernel.forward(x, w, b)[0]), (x + x, residual)):
        np.testing.assert_array_equal(out.get(), layernorm.forward(given, w, b)[0].get())


@pytest.mark.parametrize("wrong", [(7,), (3,)])
def test_parameters_of_another_length_are_refused_not_read_beyond(wrong, card):
    x, w = on_card(normal(4, 5)), on_card(normal(*wrong))
    for forward in (kernel.forward, lambda x, w: residual_layernorm.forward(x, x, w, ops=DEFINITIONS)):
        with pytest.raises(ValueError, match="broadcast"):
            forward(x, w)


def test_one_launch_each_way_and_nobody_waits(card):
    x, w, b, dout = map(on_card, arrays(40, 33))
    card.reset()
    _, cache = kernel.forward(x, w, b)
    assert [launch.what for launch in card.launches] == ["layernorm_forward"]
    card.reset()
    kernel.backward(dout, cache)
    assert [launch.what for launch in card.launches] == ["layernorm_backward"]
    assert not card.syncs and not card.copies and not card.uploads


def test_nothing_is_kept_but_the_input(card):
    x, w, b, _ = map(on_card, arrays(40, 33))
    _, cache = kernel.forward(x, w, b)
    assert [part for part in cache if hasattr(part, "shape")] == [x, w] or cache[0] is x and cache[1] is w


@pytest.mark.parametrize(("N", "C"), [(300, 33), (20, 1600)])
def test_the_same_bits_whatever_the_order(N, C, card, monkeypatch):
    inputs, found = arrays(N, C), []
    for seed in (0, 1):
        card.seed = seed
        monkeypatch.setattr(emulator.settings, "seed", seed)
        found.append(ours(*inputs))
    for first, second in zip(*found, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(("N", "C", "parts"), [(1, 768, 1), (20, 768, 3), (12_288, 768, 256), (12_288, 2048, 256)])
def test_the_number_of_parts_follows_from_the_shape(N, C, parts, card):
    import cupy

    dw, db, (blocks, threads, shared) = kernel.parts(cupy.empty((N, C), "float32"), True)
    assert dw.shape == db.shape == (parts, C) and blocks == parts
    assert threads % 32 == 0 and threads <= 256 and shared == threads // 32 * 2 * C * 4 <= 48 << 10


def test_the_gradient_checker_finds_it_right(card):
    for seed in (0, 1):
        for report in check_layer("layernorm", kernel, seed=seed, device="cuda"):
            assert report.passed, report


# The residual connection and LayerNorm


class Defined:
    """The composite in NumPy or on the stand-in, of its definitions."""

    @staticmethod
    def forward(x, a, w, b=None, eps=1e-5, p=0.0, key=0, row=0):
        a, drop = dropout.forward(a, p, key, row)
        total = x + a
        out, ln = layernorm.forward(total, w, b, eps)
        return (total, out), (drop, ln)

    @staticmethod
    def backward(douts, cache):
        (dsum, dout), (drop, ln) = douts, cache
        dx, dw, db = layernorm.backward(dout, ln)
        dx = dx if dsum is None else dsum + dx
        return dx, dropout.backward(dx, drop), dw, db


def ours_of_residual(arrays, douts, *options):
    outs, cache = residual_layernorm.forward(*map(on_card, arrays), *options, ops=DEFINITIONS)
    return on_host([*outs, *residual_layernorm.backward(tuple(map(on_card, douts)), cache)])


def exact_of_residual(arrays, douts, *options):
    arrays, douts = ([x if x is None else x.astype(np.float64) for x in found] for found in (arrays, douts))
    outs, cache = Defined.forward(*arrays, *options)
    return [*outs, *Defined.backward(douts, cache)]


@both
@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(3, 40), (2, 5, 33), (2, 3, 4, 7), (1, 1, 1), (0, 3, 5), (2, 9, 384), (1, 3, 768)])
def test_residual(shape, p, dtype, card):
    C = shape[-1]
    for bias, summed in [(True, True), (False, True), (True, False)]:
        inputs = normal(*shape, dtype=dtype), normal(*shape, dtype=dtype), vector(C, dtype)
        inputs = *inputs, vector(C, dtype) if bias else None
        douts = normal(*shape, dtype=dtype) if summed else None, normal(*shape, dtype=dtype)
        options = 1e-5, p, KEY, 5
        assert_close(
            ours_of_residual(inputs, douts, *options), exact_of_residual(inputs, douts, *options), TOLERANCE[dtype]
        )


@pytest.mark.parametrize("C", [1600, 2048])
def test_residual_of_wide_rows(C, card):
    inputs, douts = (normal(2, 4, C), normal(2, 4, C), normal(C), normal(C)), (normal(2, 4, C), normal(2, 4, C))
    for options in [(), (1e-5, 0.1, KEY, 2)]:
        assert_close(ours_of_residual(inputs, douts, *options), exact_of_residual(inputs, douts, *options), 1e-5)


@pytest.mark.parametrize("shape", [(4, 50), (4, 3, 50), (3, 2, 5, 17)])
@pytest.mark.parametrize("row", [0, 6, 2**33])
@pytest.mark.parametrize("p", [0.25, 0.999, 1e-11])
def test_what_is_dropped_are_the_bits_of_the_hash(shape, row, p, card):
    """Of x = 0 and a = 1 the sum is 0 where a was dropped; and there da is 0."""
    kept = random_bits(shape, KEY, row, np) >= np.uint32(p * 2**32)
    a, w = np.ones(shape), np.ones(shape[-1])
    total, _, dx, da, *_ = ours_of_residual(
        (0 * a, a, w, None), (normal(*shape, dtype="float64"), a), 1e-5, p, KEY, row
    )
    np.testing.assert_array_equal(total != 0, kept)
    np.testing.assert_allclose(total, kept / (1 - p), rtol=1e-15)
    np.testing.assert_allclose(da, dx * kept / (1 - p), rtol=1e-15)


def test_a_part_of_a_batch_drops_what_the_whole_batch_drops_there(card):
    x, a, w = normal(6, 5, 40), normal(6, 5, 40), normal(40)
    whole = ours_of_residual((x, a, w, None), (None, x), 1e-5, 0.4, KEY, 3)
    part = ours_of_residual((x[2:5], a[2:5], w, None), (None, x[2:5]), 1e-5, 0.4, KEY, 5)
    for number in range(4):  # sum, out, dx, da
        np.testing.assert_array_equal(whole[number][2:5], part[number])


def test_without_dropout_both_terms_have_one_gradient(card):
    x, w = on_card(normal(2, 5, 40)), on_card(normal(40))
    _, cache = residual_layernorm.forward(x, x, w, None, ops=DEFINITIONS)
    dx, da, _, db = residual_layernorm.backward((None, x), cache)
    assert dx is da and db is None
    _, cache = residual_layernorm.forward(x, x, w, None, 1e-5, 0.1, ops=DEFINITIONS)
    dx, da, *_ = residual_layernorm.backward((None, x), cache)
    assert dx is not da


@pytest.mark.parametrize("p", [0.0, 0.1])
def test_the_residual_is_one_launch_each_way_and_nobody_waits(p, card):
    x, a, dout = (on_card(normal(2, 5, 40)) for _ in range(3))
    w = on_card(normal(40))
    before = [array.get() for array in (x, a, dout)]
    card.reset()
    _, cache = residual_layernorm.forward(x, a, w, w, 1e-5, p, KEY, ops=DEFINITIONS)
    assert [launch.what for launch in card.launches] == ["residual_layernorm_forward"]
    card.reset()
    residual_layernorm.backward((dout, dout), cache)
    assert [launch.what for launch in card.launches] == ["residual_layernorm_backward"]
    assert not card.syncs and not card.copies and not card.uploads
    for array, copy in zip((x, a, dout), before, strict=True):
        np.testing.assert_array_equal(array.get(), copy)


@pytest.mark.parametrize("p", [0.0, 0.2])
@pytest.mark.parametrize(("shape", "dtype"), [((2, 3, 2049), "float32"), ((2, 3, 8), "float16"), ((12,), "float32")])
def test_a_residual_that_the_kernel_does_not_take_its_leaves_do(shape, dtype, p, card, monkeypatch):
    monkeypatch.setattr(compiled, "_told", set())
    x, a, dsum, dout = (on_card(normal(*shape, dtype=dtype)) for _ in range(4))
    w = on_card(normal(shape[-1], dtype=dtype))
    with warnings.catch_warnings(record=True):
        outs, cache = residual_layernorm.forward(x, a, w, w, 1e-5, p, KEY, 1, ops=DEFINITIONS)
    found = *outs, *residual_layernorm.backward((dsum, dout), cache)
    outs, cache = Defined.forward(x, a, w, w, 1e-5, p, KEY, 1)
    tolerance = 1e-5 if len(shape) == 1 else 0  # one vector without dropout is a row that the kernel does take
    for mine, theirs in zip(found, (*outs, *Defined.backward((dsum, dout), cache)), strict=True):
        assert relative_error(mine.get(), theirs.get()) <= tolerance


def test_the_same_bits_of_the_residual_whatever_the_order(card, monkeypatch):
    inputs = normal(2, 150, 70), normal(2, 150, 70), normal(70), normal(70)
    douts, found = (normal(2, 150, 70), normal(2, 150, 70)), []
    for seed in (0, 1):
        card.seed = seed
        monkeypatch.setattr(emulator.settings, "seed", seed)
        found.append(ours_of_residual(inputs, douts, 1e-5, 0.2, KEY))
    for first, second in zip(*found, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("p", [0.0, 0.3])
def test_the_gradient_checker_finds_the_residual_right(p, card):
    x, a, w, b = (on_card(normal(*shape, dtype="float64")) for shape in [(2, 3, 5), (2, 3, 5), (5,), (5,)])
    inputs = {"x": x, "a": a, "w": w, "b": b, "eps": 1e-5, "p": p, "key": KEY, "row": 2}

    def forward(x, a, w, b, eps, p, key, row):
        return residual_layernorm.forward(x, a, w, b, eps, p, key, row, ops=DEFINITIONS)

    report = Experiment(Defined.forward, inputs).judge(forward, residual_layernorm.backward, 1e-9, "residual_layernorm")
    assert report.passed, report

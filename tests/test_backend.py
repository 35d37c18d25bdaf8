import math
import sys

import numpy as np
import pytest

from tinygpt import backend, special
from tinygpt.device import resolve_device
from tinygpt.errors import UserError
from tinygpt.random import generator


def test_array_module_of_host_arrays_is_numpy():
    assert backend.array_module(np.zeros(2)) is np and backend.array_module(np.float32(1)) is np


def test_array_module_refuses_what_is_no_array():
    with pytest.raises(TypeError, match="list"):
        backend.array_module([1, 2])


def test_cuda_without_cupy_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # as if it were not installed
    with pytest.raises(UserError, match=r"pip install -e '\.\[cuda13\]'` or .* in the folder of tinygpt's source"):
        resolve_device("cuda")
    device, remark = resolve_device("auto")
    assert device == "cpu" and "CuPy is not installed" in remark


def test_unknown_device_is_named():
    with pytest.raises(UserError, match="'tpu'.*auto, cpu or cuda"):
        resolve_device("tpu")


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-15), ("float32", 5e-7)])
def test_erf_equals_the_standard_librarys(dtype, tolerance):
    x = np.concatenate([np.linspace(-7, 7, 20001), [-1e30, 1e30, -np.inf, np.inf]]).astype(dtype)
    expected = np.array([math.erf(value) for value in x])
    out = backend.erf(x)
    assert out.dtype == dtype and np.abs(out - expected).max() < tolerance


def test_erf_keeps_nan_and_shape():
    x = np.array([[np.nan, 0.5]])
    assert np.isnan(backend.erf(x)[0, 0]) and backend.erf(x).shape == (1, 2)


def test_erf_coefficients_are_the_cosine_transform_they_claim_to_be():
    n = 128
    angles = np.pi * (np.arange(n) + 0.5) / n
    t = (np.cos(angles) + 1) / 2
    x = 2 / t - 2
    # log(erfc(x) exp(x^2) / t); beyond x = 5 by the continued fraction of erfc (Abramowitz and Stegun, 7.1.14)
    fraction = np.zeros(n)
    for k in range(200, 0, -1):
        fraction = (k / 2) / (x + fraction)
    scaled = np.where(x < 5, [math.erfc(min(v, 25)) * math.exp(min(v, 25) ** 2) for v in x], 0)
    scaled = np.where(x < 5, scaled, 1 / (math.sqrt(math.pi) * (x + fraction)))
    f = np.log(scaled / t)
    series = [2 / n * (f * np.cos(j * angles)).sum() for j in range(len(special._ERFC_SERIES))]
    np.testing.assert_allclose(series, special._ERFC_SERIES, rtol=0, atol=1e-14)


@pytest.mark.parametrize("size", [0, 1, 50])
def test_scatter_add_counts_repeats(rng, size):
    index, values = rng.integers(7, size=size), rng.standard_normal((size, 3))
    out = rng.standard_normal((7, 3))
    expected = out.copy()
    np.add.at(expected, index, values)
    backend.scatter_add(out, index, values)
    np.testing.assert_allclose(out, expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_bmm_transposes_either_operand(rng, transpose_a, transpose_b):
    a, b = rng.standard_normal((2, 3, 4, 5)), rng.standard_normal((2, 3, 5, 6))
    given_a, given_b = (x.swapaxes(-1, -2).copy() if t else x for x, t in ((a, transpose_a), (b, transpose_b)))
    np.testing.assert_allclose(backend.bmm(given_a, given_b, transpose_a, transpose_b), a @ b, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_aligned_zeros_begin_at_a_cache_line(dtype):
    assert backend.aligned_zeros(0, dtype, "cpu").shape == (0,)
    for size in (1, 7, 1000):
        x = backend.aligned_zeros(size, dtype, "cpu")
        assert x.shape == (size,) and x.dtype == dtype and x.ctypes.data % 64 == 0 and not x.any()


def test_generators_of_different_purposes_are_different_and_repeatable():
    draws = {name: generator(1, name).random() for name in ("batches", "initialisation", "sampling")}
    assert len(set(draws.values())) == 3
    assert generator(1, "batches").random() == draws["batches"]
    assert generator(1, "batches", 5).random() != generator(1, "batches", 6).random()
    assert generator(1 << 40, "batches").random() != generator(0, "batches").random()


def test_fold_in_separates_every_argument():
    keys = [backend.fold_in(seed, step, layer) for seed in range(5) for step in range(5) for layer in range(5)]
    assert len(set(keys)) == 125 and all(0 <= key < 1 << 64 for key in keys)


def test_random_bits_are_the_documented_hash_of_key_row_and_place():
    def mix(bits):
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
            bits = ((bits ^ bits >> shift) * factor) & 0xFFFFFFFF
        return bits ^ bits >> 16

    bits = backend.random_bits((2, 3, 4), key=123456789012345678, first_row=6, xp=np)
    assert bits.dtype == np.uint32
    for row in range(2):
        key = backend.fold_in(123456789012345678, 6 + row)
        expected = [mix(mix((place + key) & 0xFFFFFFFF) ^ key >> 32) for place in range(12)]
        np.testing.assert_array_equal(bits[row].reshape(-1), expected)


def test_random_bits_pass_simple_tests_of_randomness():
    bits = backend.random_bits((64, 4096), key=42, first_row=0, xp=np)
    uniform = bits / 2**32
    n = uniform.size
    assert abs(uniform.mean() - 0.5) < 5 * math.sqrt(1 / 12 / n)
    for bit in range(32):  # every bit is set half of the time
        assert abs((bits >> np.uint32(bit) & np.uint32(1)).mean() - 0.5) < 5 * 0.5 / math.sqrt(n)
    centred = uniform - 0.5
    for neighbour in (centred[:, 1:] * centred[:, :-1], centred[1:] * centred[:-1]):  # neighbours are not correlated
        assert abs(neighbour.mean()) < 5 / 12 / math.sqrt(neighbour.size)
    histogram = np.bincount(bits.reshape(-1) >> np.uint32(24), minlength=256)
    chi_squared = ((histogram - n / 256) ** 2 / (n / 256)).sum()
    assert abs(chi_squared - 255) < 5 * math.sqrt(2 * 255)

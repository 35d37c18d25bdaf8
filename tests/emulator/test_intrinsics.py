"""What a kernel may call, against NumPy."""

import math

import ml_dtypes
import numpy as np
import pytest

from tests.emulator.running import module
from tinygpt import emulator

BF16 = np.dtype(ml_dtypes.bfloat16)


def patterns(rng, n):
    """Floats of all kinds: every upper half with some lower halves, and n random ones; no NaN."""
    upper = np.arange(0, 1 << 16, 7, dtype=np.uint32) << 16
    bits = [upper | low for low in (0, 1, 0xFFF, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001, 0xFFFF)]
    x = np.concatenate([*bits, rng.integers(0, 1 << 32, n, dtype=np.uint32)]).view(np.float32)
    return x[~np.isnan(x)]


def test_bf16_is_rounded_as_ml_dtypes_rounds(rng):
    x = emulator.asarray(patterns(rng, 1 << 14))
    out, back = emulator.empty(x.size, BF16), emulator.empty(x.size)
    kernel = module("intrinsics.cu").get_function("to_bf16_and_back")
    kernel((-(-x.size // 256),), (256,), (x, out, back, np.int32(x.size)))
    with np.errstate(over="ignore"):
        expected = x.astype(BF16)
    assert (out.view(np.uint16) == expected.view(np.uint16)).all() and (back == expected.astype(np.float32)).all()


def test_a_nan_stays_one_in_bf16():
    x = emulator.asarray(np.array([0x7F800001, 0xFFFFFFFF], np.uint32).view(np.float32))
    out, back = emulator.empty(2, BF16), emulator.empty(2)
    module("intrinsics.cu").get_function("to_bf16_and_back")((1,), (32,), (x, out, back, np.int32(2)))
    assert np.isnan(back).all()


def test_bf16_arithmetic_is_rounded_each_time(rng):
    a, b = (emulator.asarray(rng.standard_normal(256), BF16) for _ in "ab")
    out = emulator.empty((6, 256), BF16)
    module("intrinsics.cu").get_function("bf16_arithmetic")((1,), (256,), (a, b, out, np.int32(256)))
    assert (out == np.stack([a + b, a - b, a * b, a / b, a, b])).all()


@pytest.mark.parametrize("width", [4, 8, 16, 32])
@pytest.mark.parametrize("real", ["float", "double"])
def test_shuffles(rng, real, width):
    dtype = {"float": "float32", "double": "float64"}[real]
    x, lane = rng.standard_normal(32).astype(dtype), np.arange(32)
    out = emulator.empty((4, 32), dtype)
    exchange = module("intrinsics.cu", f"-DREAL={real}").get_function("exchange")
    exchange((1,), (32,), (emulator.asarray(x), out, np.int32(width)))
    first, last = lane & -width, lane | width - 1
    xor = np.where((lane ^ 5) > last, lane, lane ^ 5)  # a lane may read an earlier segment and no later one
    down = np.where(lane + 3 > last, lane, lane + 3)
    up = np.where(lane - 3 < first, lane, lane - 3)
    assert (out == x[[xor, down, up, first | (lane + 9) & width - 1]]).all()


def test_votes(rng):
    x = rng.integers(0, 9, 64).astype("int32")
    out = emulator.empty((6, 64), "uint32")
    module("intrinsics.cu").get_function("votes")((1,), (64,), (emulator.asarray(x), out))
    ballots = [sum(1 << int(lane) for lane in np.flatnonzero(x[part : part + 32] % 3 == 0)) for part in (0, 32)]
    assert (out[0] == np.repeat(ballots, 32)).all()
    expected = [0, 1, (x % 3 == 0).sum(), (x == 7).any(), (x != 7).all()]
    assert (out[1:] == np.array(expected, "uint32")[:, None]).all()


def test_atomics(rng):
    x = emulator.asarray(rng.random(1000), "float32")
    device = emulator.asarray
    total, total32, most, least = device([0.0]), device([0], "float32"), device([-1], "int32"), device([9999], "int32")
    bits, wraps, down, taken = device([0], "uint64"), *(device([0], "uint32") for _ in range(3))
    args = (total, total32, most, least, bits, wraps, down, taken, x, np.int32(1000))
    module("intrinsics.cu").get_function("atomics")((8,), (128,), args)
    thousands = (x * np.float32(1000)).astype(int)
    assert math.isclose(total[0], x.sum(dtype="float64")) and total32[0] == 1000
    assert (most[0], least[0]) == (thousands.max(), thousands.min()) and bits[0] == 2**64 - 1
    assert (wraps[0], down[0], taken[0]) == (1000 % 7, -1000 % 7, 5)


def test_wide_types_and_bits(rng):
    a = emulator.asarray(rng.random((8, 4)), "float32")
    b = emulator.asarray(rng.integers(1, 2**32, (8, 2)), "uint32")
    c, d, e = emulator.empty((8, 2), "float64"), emulator.empty((8, 4), "uint32"), emulator.empty((8, 3), "int32")
    module("intrinsics.cu").get_function("wide")((1,), (8,), (a, b, c, d, e))
    assert (c == np.stack([a[:, 0].astype(float) + a[:, 3], np.maximum(a[:, 1], a[:, 2])], 1)).all()
    assert (d[:, :2] == b).all() and (d[:, 2] == a[:, 0].view("uint32")).all()
    high = [int(x) * int(y) >> 32 for x, y in b]
    counts = [(int(x).bit_count(), 32 - int(x).bit_length(), (int(y) & -int(y)).bit_length()) for x, y in b]
    assert (d[:, 3] == high).all() and e.tolist() == [list(row) for row in counts]


def test_lanes_that_have_left_are_not_waited_for():
    out = emulator.empty(16)
    module("intrinsics.cu").get_function("left_lanes")((1,), (64,), (out,))
    lane = np.arange(16)
    assert (out == (lane ^ 1) + (lane ^ 9)).all()


@pytest.mark.parametrize(("real", "tolerance"), [("float", 1e-6), ("double", 1e-15)])
def test_functions_of_real_numbers(rng, real, tolerance):
    dtype = {"float": "float32", "double": "float64"}[real]
    x, y = rng.standard_normal((2, 64)).astype(dtype)
    x[:3], y[3] = (np.inf, -np.inf, np.nan), np.nan
    out = emulator.empty((14, 64), dtype)
    args = (emulator.asarray(x), emulator.asarray(y), out, np.int32(64))
    module("intrinsics.cu", f"-DREAL={real}").get_function("functions")((1,), (64,), args)
    a = np.abs(x)
    with np.errstate(all="ignore"):
        expected = [
            np.exp(x), np.log(a), np.sqrt(a), 1 / np.sqrt(a), np.tanh(x), np.array([math.erf(v) for v in x]),
            np.fmax(x, y), np.fmin(x, y), np.isinf(x), np.isnan(x), x.astype("longdouble") * y + x, x, np.log1p(a),
            a**y,
        ]  # fmt: skip
    for got, wanted in zip(out, expected, strict=True):
        np.testing.assert_allclose(got, np.asarray(wanted, dtype), rtol=8 * tolerance, atol=tolerance)


def test_a_float_stays_a_float():
    out = emulator.empty(12, "int32")
    module("intrinsics.cu").get_function("types")((1,), (1,), (out,))
    assert out.tolist() == [4, 8, 4, 4, 8, 4, 8, 8, 4, 4, 4, 8]


def test_memcpy_and_memset_are_checked(rng):
    x, out = emulator.asarray(rng.random(8), "float32"), emulator.empty(8)
    copies = module("intrinsics.cu").get_function("copies")
    copies((1,), (32,), (x, out, np.int32(8)))
    assert (out == np.where(np.arange(8) < 2, 0, x)).all()
    with pytest.raises(emulator.KernelError, match="out of bounds: reads .* after the end of 'x'"):
        copies((1,), (32,), (x, emulator.empty(16), np.int32(9)))
    with pytest.raises(emulator.KernelError, match="out of bounds: writes .* after the end of 'out'"):
        copies((1,), (32,), (x, out[:7], np.int32(8)))


# Small matrices


def tf32(x):
    """Rounded to 10 bits of fraction, ties away from zero; an infinity stays one."""
    bits = x.view("uint32")
    return np.where(np.isinf(x), x, ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view("float32"))


def test_tf32_is_rounded_to_nearest_ties_away(rng):
    x = emulator.asarray(patterns(rng, 1 << 14))
    out = emulator.empty(x.size, "uint32")
    module("matrices.cu").get_function("round_tf32")((-(-x.size // 256),), (256,), (x, out, np.int32(x.size)))
    rounded = out.view("float32")
    assert (rounded == tf32(x)).all() and not (out & 0x1FFF).any()
    finite = np.isfinite(rounded) & (np.abs(x) > 2.0**-126)
    x, rounded = np.abs(x[finite].astype(float)), np.abs(rounded[finite].astype(float))
    error, half = np.abs(rounded - x), 2.0 ** (np.floor(np.log2(x)) - 11)
    assert (error <= half).all()
    ties = error == half
    assert ties.sum() > 1000 and (rounded[ties] > x[ties]).all()


def test_a_product_in_tf32(rng):
    a, b = rng.standard_normal((16, 8)).astype("float32"), rng.standard_normal((8, 8)).astype("float32")
    out = emulator.empty((16, 8))
    module("matrices.cu").get_function("product_tf32")((1,), (32,), (emulator.asarray(a), emulator.asarray(b), out))
    np.testing.assert_allclose(out, tf32(a).astype(float) @ tf32(b), rtol=1e-5, atol=1e-6)


def test_a_product_in_tf32_reads_the_upper_bits_alone():
    out = emulator.empty((32, 4))
    module("matrices.cu").get_function("product_of_unrounded")((1,), (32,), (out,))
    assert (out == 1 + 8).all()


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_product_in_bf16(rng, transposed):
    a, b = rng.standard_normal((16, 16)).astype(BF16), rng.standard_normal((16, 8)).astype(BF16)
    out = emulator.empty((16, 8))
    given = emulator.asarray(a), emulator.asarray(b.T.copy() if transposed else b)
    module("matrices.cu").get_function("product_bf16")((1,), (32,), (*given, out, np.int32(transposed)))
    np.testing.assert_allclose(out, a.astype(float) @ b.astype(float), rtol=1e-5, atol=1e-5)


def test_the_rest_of_a_copy_is_zeros():
    out = emulator.empty(4)
    module("pipeline.cu").get_function("filled")((1,), (1,), (emulator.asarray([1.0, 2.0], "float32"), out))
    assert out.tolist() == [1, 2, 0, 0]

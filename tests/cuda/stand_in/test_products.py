"""The stand-in multiplies as cuBLAS does, and notes what it was told."""

import itertools

import numpy as np
import pytest

from tests.cuda import strict_cupy


def test_products_are_noted_as_cublas_is_told_of_them(cupy, card, a):
    a @ cupy.ones((4, 5), np.float32)
    cupy.ones((2, 3, 4)) @ cupy.ones((2, 4, 5))
    assert card.products == [(5, 3, 4, 1, "float32", "32F"), (5, 3, 4, 2, "float64", "64F")]


def test_tf32_is_for_products_of_two_dimensions_in_float32(cupy, card):
    from cupy._core import _routines_linalg as linalg

    linalg.set_compute_type(np.float32, linalg.COMPUTE_TYPE_TF32)
    x = cupy.full((1, 2, 2), 1 + 2.0**-12, np.float32)
    assert float((x[0] @ x[0])[0, 0]) == 2 and float((x @ x)[0, 0, 0]) > 2
    cupy.ones((2, 2)) @ cupy.ones((2, 2))
    assert [product.compute_type for product in card.products] == ["32F_FAST_TF32", "32F", "64F"]


def test_an_old_card_warns_and_has_no_tf32(cupy, card):
    from cupy._core import _routines_linalg as linalg

    card.compute_capability = "61"
    with pytest.warns(UserWarning, match="compute capability 8.0"):
        linalg.set_compute_type("float32", linalg.COMPUTE_TYPE_TF32)
    assert linalg.get_compute_type(np.float32) == linalg.COMPUTE_TYPE_DEFAULT


def test_tf32_rounds_to_ten_bits_of_mantissa():
    x = np.array([1 + 2**-10, 1 + 2**-11, 1 + 2**-12, -3.0, 0.0, np.inf, np.nan, 1e-30], np.float32)
    expected = [1 + 2**-10, 1 + 2**-10, 1, -3, 0, np.inf, np.nan, np.float32(1e-30)]
    np.testing.assert_allclose(strict_cupy.round_to_tf32(x), expected, rtol=2**-11)
    assert strict_cupy.round_to_tf32(x)[:3].tolist() == expected[:3]


def gemm(cupy, a, b, c, transposed, shape, ld, strides, types, batch=2, compute=68, alpha=1.0, beta=0.0, offset=0):
    from cupy.cuda import cublas

    constants = np.array([alpha, beta], np.float64 if compute == 70 else np.float32)
    cublas.gemmStridedBatchedEx(
        cupy.cuda.get_cublas_handle(), *transposed, *shape, constants.ctypes.data,
        a.data.ptr + offset, types[0], ld[0], strides[0], b.data.ptr, types[1], ld[1], strides[1],
        constants.ctypes.data + constants.itemsize, c.data.ptr, types[2], ld[2], strides[2],
        batch, compute, cublas.CUBLAS_GEMM_DEFAULT,
    )  # fmt: skip


@pytest.mark.parametrize("transposed", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize(("dtype", "code", "compute"), [("float32", 0, 68), ("float64", 1, 70), ("float16", 2, 68)])
def test_gemm_reads_column_by_column_with_any_strides(cupy, transposed, dtype, code, compute, rng):
    m, n, k, ld, strides = 3, 4, 5, (7, 8, 6), (61, 53, 41)
    sizes = [strides[i] + ld[i] * 8 for i in range(3)]
    host = [rng.standard_normal(size).astype(dtype) for size in sizes]
    there = [cupy.asarray(x) for x in host]
    gemm(cupy, *there, transposed, (m, n, k), ld, strides, (code,) * 3, compute=compute, alpha=2.0, beta=0.5)

    def matrix(i, batch, rows, columns, turned):
        rows, columns = (columns, rows) if turned else (rows, columns)
        x = np.array([[host[i][batch * strides[i] + c * ld[i] + r] for c in range(columns)] for r in range(rows)])
        return (x.T if turned else x).astype(np.float64)

    expected = host[2].astype(np.float64)
    for batch in range(2):
        product = matrix(0, batch, m, k, transposed[0]) @ matrix(1, batch, k, n, transposed[1])
        for r, c in itertools.product(range(m), range(n)):
            place = batch * strides[2] + c * ld[2] + r
            expected[place] = 2 * product[r, c] + 0.5 * expected[place]
    tolerance = {"float16": 1e-2, "float32": 1e-5, "float64": 1e-13}[dtype]
    np.testing.assert_allclose(there[2].get(), expected, rtol=tolerance, atol=tolerance)


def test_gemm_reads_bfloat16(cupy):
    x = cupy.full((1, 2, 2), 0x4040, np.uint16)  # 3.0
    gemm(cupy, x, x, c := cupy.zeros((1, 2, 2), np.uint16), (0, 0), (2, 2, 2), (2,) * 3, (4,) * 3, (14,) * 3, 1)
    assert set(c.get().ravel().tolist()) == {0x4190}  # 18.0


def test_gemm_with_beta_zero_does_not_read_what_it_overwrites(cupy):
    x, c = cupy.ones((1, 2, 2), np.float32), cupy.empty((1, 2, 2), np.float32)
    gemm(cupy, x, x, c, (0, 0), (2, 2, 2), (2,) * 3, (4,) * 3, (0,) * 3, 1)
    assert (c.get() == 2).all()


def test_gemm_in_tf32_shows_in_the_numbers(cupy, card):
    x, c = cupy.full((1, 2, 2), 1 + 2.0**-12, np.float32), cupy.empty((1, 2, 2), np.float32)
    gemm(cupy, x, x, c, (0, 0), (2, 2, 2), (2,) * 3, (4,) * 3, (0,) * 3, 1, compute=77)
    assert (c.get() == 2).all() and card.products[-1].compute_type == "32F_FAST_TF32"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (dict(ld=(1, 2, 2)), "CUBLAS_STATUS_INVALID_VALUE"),
        (dict(ld=(2, 2, 1)), "CUBLAS_STATUS_INVALID_VALUE"),
        (dict(shape=(2, -1, 2)), "CUBLAS_STATUS_INVALID_VALUE"),
        (dict(types=(0, 1, 0)), "CUBLAS_STATUS_NOT_SUPPORTED"),
        (dict(types=(2, 2, 2), compute=77), "CUBLAS_STATUS_NOT_SUPPORTED"),
        (dict(compute=70), "CUBLAS_STATUS_NOT_SUPPORTED"),
        (dict(strides=(1000, 4, 4)), "cudaErrorIllegalAddress"),
        (dict(ld=(400, 2, 2)), "cudaErrorIllegalAddress"),
        (dict(offset=4), "cudaErrorIllegalAddress"),
        (dict(strides=(4, 4, 1)), "matrices of C overlap"),
    ],
)
def test_gemm_refuses(cupy, change, status):
    arrays = [cupy.ones((2, 2, 2), np.float32) for _ in range(3)]
    given = dict(transposed=(0, 0), shape=(2, 2, 2), ld=(2,) * 3, strides=(4,) * 3, types=(0,) * 3)
    with pytest.raises((RuntimeError, ValueError), match=status):
        gemm(cupy, *arrays, **given | change)


def single(cupy, a, b, c, beta=0.0, offset=0, types=(0, 0, 0)):
    """c = a b + beta c by gemmEx, for matrices of two rows and columns."""
    from cupy.cuda import cublas

    constants = np.array([1, beta], np.float32)
    cublas.gemmEx(
        cupy.cuda.get_cublas_handle(), 0, 0, 2, 2, 2, constants.ctypes.data, a.data.ptr + offset, types[0], 2,
        b.data.ptr, types[1], 2, constants.ctypes.data + 4, c.data.ptr, types[2], 2, 68, cublas.CUBLAS_GEMM_DEFAULT,
    )  # fmt: skip


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_gemm_ex_is_the_product_of_one_matrix_each(cupy, card, beta, rng):
    a, b, c = (rng.standard_normal((2, 2)).astype(np.float32) for _ in range(3))
    there = [cupy.asarray(x) for x in (a, b, c)]
    single(cupy, *there, beta)
    np.testing.assert_allclose(there[2].get(), (a.T @ b.T).T + beta * c, rtol=1e-5)  # column by column
    assert card.products[-1] == (2, 2, 2, 1, "float32", "32F")


def test_gemm_ex_adds_products_of_bfloat16_in_float32(cupy):
    x, c = cupy.full((2, 2), 0x4040, np.uint16), cupy.ones((2, 2), np.float32)  # 3.0
    single(cupy, x, x, c, 1.0, types=(14, 14, 0))
    assert (c.get() == 19).all()


def test_gemm_refuses_addresses_between_numbers_and_results_among_operands(cupy):
    a, b = cupy.ones((2, 3), np.float32), cupy.ones((2, 2), np.float32)
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="misaligned address"):
        single(cupy, a, b, cupy.ones((2, 2), np.float32), offset=2)
    for operands in ((b, a, b), (a, b, a)):
        with pytest.raises(ValueError, match="C is one of the operands"):
            single(cupy, *operands)


def test_gemm_refuses_the_host_and_the_freed(cupy):
    x = cupy.ones((2, 2, 2), np.float32)
    host = np.ones((2, 2, 2), np.float32)

    class Freed:
        class data:
            ptr = cupy.ones(1000).data.ptr

    class Host:
        class data:
            ptr = host.ctypes.data

    for wrong in (Freed, Host):
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="illegal memory access"):
            gemm(cupy, wrong, x, x, (0, 0), (2, 2, 2), (2,) * 3, (4,) * 3, (0,) * 3)

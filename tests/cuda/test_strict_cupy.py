"""The stand-in for CuPy: as strict as CuPy, and it counts what a card would do in silence."""

import gc
import inspect
import itertools
import sys

import numpy as np
import pytest

from tests.cuda import strict_cupy
from tests.cuda.expressions import EXPRESSIONS, SAME, differences, evaluate

HERE = "tests/cuda/test_strict_cupy.py"


@pytest.fixture
def card():
    with strict_cupy.installed() as card:
        yield card


@pytest.fixture
def cupy(card):
    import cupy

    return cupy


@pytest.fixture
def a(cupy, card):
    a = cupy.asarray(np.arange(12, dtype=np.float32).reshape(3, 4))
    card.reset()
    return a


def line():
    """The number of the line that calls this."""
    return inspect.currentframe().f_back.f_lineno


# What it gives


def test_it_gives_what_cupy_gives(cupy):
    assert differences(cupy) == []


@pytest.mark.parametrize(("name", "expression"), [(n, e) for n, e, expected in EXPRESSIONS if expected is SAME])
def test_what_is_the_same_is_something_on_numpy(name, expression):
    outcome = evaluate(expression, np)
    assert outcome.error not in ("NameError", "AttributeError", "SyntaxError")


def test_no_expression_is_named_twice():
    assert len({name for name, _, _ in EXPRESSIONS}) == len(EXPRESSIONS)


def test_a_name_nobody_checked_does_not_exist(cupy, a):
    for owner, name in ((cupy, "einsum"), (cupy.cuda.runtime, "memcpy"), (cupy.random.default_rng(0), "shuffle")):
        with pytest.raises(AttributeError, match=f"the stand-in does not know .*{name}"):
            getattr(owner, name)
    with pytest.raises(AttributeError, match="cupy.ndarray.itemset"):
        a.itemset(1)


def test_new_memory_holds_junk(cupy):
    assert np.isnan(cupy.empty(3, np.float16).get()).all()
    assert abs(cupy.empty(3, np.int64).get()).min() > 10**15
    assert np.isnan(cupy.empty_like(cupy.zeros((2, 2))).get()).all()


def test_a_float_that_fits_no_integer_becomes_junk(cupy):
    assert cupy.asarray([1.7, -1.0, np.nan, 1e10]).astype(np.uint32).get().tolist() == [1] + [0xA5A5A5A5] * 3


def test_atomic_additions_come_in_any_order(cupy):
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    sums = set()
    for _ in range(5):
        x = cupy.zeros(1, np.float32)
        cupy.add.at(x, cupy.zeros(1000, np.int64), cupy.asarray(values))
        sums.add(float(x[0]))
    assert len(sums) > 1 and all(np.isclose(total, values.sum(), atol=1e-4) for total in sums)


def test_of_assignments_to_one_place_any_may_be_the_last(cupy):
    last = set()
    for _ in range(20):
        x = cupy.zeros(1)
        x[cupy.zeros(5, np.int64)] = cupy.arange(5.0)
        last.add(float(x[0]))
    assert len(last) > 1 and last <= {0.0, 1.0, 2.0, 3.0, 4.0}


def test_bfloat16_multiplies_as_matrices_but_neither_in_batches_nor_in_add_at(cupy):
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    x = cupy.ones((2, 2, 2), bfloat16)
    assert (x[0] @ x[0]).dtype == bfloat16 and float((x[0] @ x[0])[0, 0]) == 2
    with pytest.raises(TypeError, match="'E' not understood"):
        x @ x
    with pytest.raises(TypeError, match="only supports"):
        cupy.add.at(x, cupy.asarray([0]), x[:1])


def test_no_floating_point_warning_is_raised(cupy):
    cupy.log(cupy.zeros(3)), cupy.ones(3) / 0, cupy.full(3, np.inf) - np.inf, cupy.exp(cupy.full(3, 1e4))


# Waiting

WAITS = {
    "get": lambda xp, x: x.get(),
    "get of numpy's": lambda xp, x: xp.asnumpy(x),
    "float": lambda xp, x: float(x.sum()),
    "int": lambda xp, x: int(x.sum()),
    "bool": lambda xp, x: bool(x.sum()),
    "bool of if": lambda xp, x: 1 if x.sum() > 0 else 0,
    "bool of array_equal": lambda xp, x: bool(xp.array_equal(x, x)),
    "complex": lambda xp, x: complex(x.sum()),
    "item": lambda xp, x: x.sum().item(),
    "tolist": lambda xp, x: x.tolist(),
    "repr": lambda xp, x: repr(x),
    "str": lambda xp, x: str(x),
    "format": lambda xp, x: f"{x.sum():.1f}",
    "boolean index": lambda xp, x: x[x > 2],
    "boolean index to set": lambda xp, x: x.__setitem__(x > 2, 0),
    "nonzero": lambda xp, x: x.nonzero(),
    "nonzero of where": lambda xp, x: xp.where(x),
    "flatnonzero": lambda xp, x: xp.flatnonzero(x),
    "argwhere": lambda xp, x: xp.argwhere(x),
    "unique": lambda xp, x: xp.unique(x),
    "repeat": lambda xp, x: xp.repeat(x, xp.asarray([2])),
    "int of a slice's end": lambda xp, x: x[: xp.argmax(x[0])],
    "stream.synchronize": lambda xp, x: xp.cuda.get_current_stream().synchronize(),
    "device.synchronize": lambda xp, x: xp.cuda.Device().synchronize(),
    "event.synchronize": lambda xp, x: xp.cuda.Stream.null.record().synchronize(),
}


@pytest.mark.parametrize("what", WAITS)
def test_this_waits_once(cupy, card, a, what):
    WAITS[what](cupy, a)
    (event,) = card.syncs
    assert event.file == HERE and what.startswith(event.what)


def test_what_reads_more_than_one_value_waits_for_each(cupy, card, a):
    counts = []
    for call in (
        lambda: cupy.repeat(a, cupy.arange(12)),
        lambda: cupy.bincount(cupy.arange(3)),
        lambda: cupy.array_equal(a, a, equal_nan=True),
        lambda: a[a > 1][a[a > 1] > 2],
    ):
        card.reset()
        call()
        counts.append(len(card.syncs))
    assert counts == [2, 2, 3, 3]


def test_a_wait_is_noted_with_its_line(card, a):
    float(a.sum()); where = line()  # fmt: skip # noqa: E702
    assert card.syncs == [strict_cupy.Event("float", 4, HERE, where)]


def test_a_wait_within_numpy_is_that_of_its_caller(card, a):
    np.unique(a); where = line()  # fmt: skip # noqa: E702
    assert [(e.file, e.line) for e in card.syncs] == [(HERE, where)]


def test_most_things_never_wait(cupy, card, a):
    a[cupy.asarray([0, 5])], a[cupy.argmax(a[0])], a @ a.T, a.copy(), cupy.where(a > 1, a, 0), cupy.add.at(a, 0, 1)
    cupy.asarray(np.ones(3)), cupy.allclose(a, a), cupy.array_equal(a, a), cupy.asarray([a.sum(), a.max()]), list(a)
    a[1:] = cupy.zeros(4)
    a[0] = a.max()
    assert a.shape == (3, 4) and len(a) == 3 and not card.syncs


def test_an_element_of_an_iteration_waits_when_it_is_read(card, a):
    assert [float(x) for x in a[0]] == [0, 1, 2, 3]
    assert len(card.syncs) == 4


def test_events_must_be_waited_for_before_their_times_are_read(cupy):
    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    start.record()
    end.record()
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorNotReady"):
        cupy.cuda.get_elapsed_time(start, end)
    end.synchronize()
    assert cupy.cuda.get_elapsed_time(start, end) >= 0 and end.done


def test_waiting_for_one_stream_is_not_waiting_for_another(cupy):
    with cupy.cuda.Stream(non_blocking=True) as stream:
        event = stream.record()
    cupy.cuda.get_current_stream().synchronize()
    assert not event.done
    stream.synchronize()
    assert event.done


# Copies and uploads

COPIES = {
    "copy": lambda xp, x: x.copy(),
    "astype": lambda xp, x: x.astype(x.dtype),
    "ascontiguousarray": lambda xp, x: xp.ascontiguousarray(x.T),
    "reshape": lambda xp, x: x.T.reshape(-1),
    "reshape by ravel": lambda xp, x: x.T.ravel(),
    "flatten": lambda xp, x: x.flatten(),
    "matmul": lambda xp, x: x[:, ::2] @ x[:2],
    "matmul in batches": lambda xp, x: xp.matmul(x[None], x.T[None]),
    "matmul in batches, upcast": lambda xp, x: xp.zeros((1, 1, 12), "float16") @ x.reshape(1, 12, 1),
    "add into overlapping memory": lambda xp, x: xp.add(x[1:], 1, out=x[:-1]),
    "setitem": lambda xp, x: x.__setitem__(slice(1, None), x[:-1]),
    "get": lambda xp, x: x[:, 1].get(),
    "array": lambda xp, x: xp.array(x),
}
NO_COPIES = {
    "views": lambda xp, x: (x.T, x[1:], x[:, 1], x.swapaxes(0, 1), x.reshape(4, 3), x.ravel(), xp.flip(x, 0)),
    "products of two dimensions": lambda xp, x: (x @ x.T, x.T @ x, x[1:] @ x.T),
    "astype without copy": lambda xp, x: x.astype(x.dtype, copy=False),
    "astype to another dtype": lambda xp, x: x.astype("float64"),
    "concatenate and stack": lambda xp, x: (xp.concatenate([x, x]), xp.stack([x, x])),
    "in place": lambda xp, x: x.__iadd__(x),
    "the array itself": lambda xp, x: (xp.asarray(x), x.__setitem__(slice(None), x)),
}  # fmt: skip


@pytest.mark.parametrize("what", COPIES)
def test_this_copies_once(cupy, card, a, what):
    COPIES[what](cupy, a)
    (event,) = card.copies
    assert what.startswith(event.what) or what == "array"
    assert event.file == HERE and event.nbytes == 4 * np.prod(event.shape)


@pytest.mark.parametrize("what", NO_COPIES)
def test_this_copies_nothing(cupy, card, a, what):
    NO_COPIES[what](cupy, a)
    assert not card.copies


def test_a_transposed_operand_is_copied_in_batches_only(cupy, card, a):
    p = cupy.ones((2, 3, 4), np.float32)
    p.swapaxes(1, 2) @ p
    assert [copy.shape for copy in card.copies] == [(2, 4, 3)]


def test_arrays_lists_and_host_indices_are_uploaded_but_numbers_are_not(cupy, card, a):
    cupy.asarray(np.ones(3)), cupy.array([1, 2]), a[np.array([0, 1])], a[[0]]
    assert [(e.nbytes, e.file) for e in card.uploads] == [(24, HERE), (16, HERE), (16, HERE), (8, HERE)]
    card.reset()
    cupy.asarray(1.5), cupy.full(3, 2), cupy.zeros(3), cupy.arange(3), a + 1
    assert not card.uploads and not card.syncs


def test_launches_are_counted_by_function(cupy, card, a):
    cupy.exp(a * 2).sum(axis=0)
    assert [launch.what for launch in card.launches] == ["multiply", "exp", "sum"]
    card.reset()
    cupy.exp(a[:0])
    assert not card.launches and not card.syncs


# Products


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


# Memory


def test_memory_is_counted_in_units_until_the_last_view_dies(cupy):
    pool = cupy.get_default_memory_pool()
    x = cupy.zeros(129, np.float32)
    assert pool.used_bytes() == pool.total_bytes() == 1024
    view = x[5:].reshape(4, 31).T
    del x
    gc.collect()
    assert pool.used_bytes() == 1024
    del view
    gc.collect()
    assert (pool.used_bytes(), pool.total_bytes(), pool.free_bytes()) == (0, 1024, 1024)
    pool.free_all_blocks()
    assert pool.total_bytes() == 0


@pytest.mark.parametrize("by_pool", [False, True])
def test_more_than_the_limit_is_out_of_memory(cupy, card, by_pool):
    if by_pool:
        cupy.get_default_memory_pool().set_limit(size=2048)
    else:
        card.memory_limit = 2048
    x = cupy.zeros(256, np.float32)
    message = r"Out of memory allocating 2,048 bytes \(allocated so far: 1,024 bytes, limit set to: 2,048 bytes\)"
    with pytest.raises(cupy.cuda.memory.OutOfMemoryError, match=message):
        cupy.zeros(512, np.float32)
    assert issubclass(cupy.cuda.memory.OutOfMemoryError, MemoryError)
    del x
    cupy.zeros(512, np.float32)


def test_addresses_are_real_and_views_lie_where_they_should(cupy, a):
    assert a.data.ptr % 512 == 0 and a[1, 2:].data.ptr - a.data.ptr == (4 + 2) * 4
    again = cupy.ndarray((2,), np.float32, a[1].data, (8,))
    assert again.get().tolist() == [4, 6]


# Machines


def test_a_machine_without_a_card_says_so(cupy, card):
    card.broken = "no card"
    assert not cupy.cuda.is_available()
    for use in (lambda: cupy.zeros(3), cupy.cuda.runtime.getDeviceCount):
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorNoDevice"):
            use()


def test_a_machine_without_cublas_fails_at_the_first_product(cupy, card, a):
    card.broken = "first product"
    cupy.exp(a)
    with pytest.raises(RuntimeError, match="CUBLAS_STATUS_NOT_INITIALIZED"):
        a @ a.T


def test_a_machine_that_computes_wrong_gives_zeros(cupy, card, a):
    card.broken = "wrong product"
    assert not (a @ a.T).get().any()


def test_a_card_describes_itself(cupy, card):
    card.compute_capability = "61"
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    assert isinstance(properties["name"], bytes) and (properties["major"], properties["minor"]) == (6, 1)
    assert cupy.cuda.Device().compute_capability == "61" and cupy.cuda.runtime.runtimeGetVersion() == 13000
    assert cupy.__version__ == "14.2.0 (stand-in)"


# Coming and going


def test_what_was_installed_before_is_there_again():
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] in strict_cupy.PACKAGES}
    sys.modules["cupy"] = sys.modules["cupy.fft"] = real = object()
    try:
        with strict_cupy.installed():
            import cupy
            from cupyx.scipy.special import erf

            assert cupy is not real and "cupy.fft" not in sys.modules and callable(erf)
            with pytest.raises(ModuleNotFoundError):
                import cupy.fft  # noqa: F401
        assert sys.modules["cupy"] is sys.modules["cupy.fft"] is real
    finally:
        for name in ("cupy", "cupy.fft"):
            del sys.modules[name]
        sys.modules.update(before)
    assert not any(name.split(".")[0] in strict_cupy.PACKAGES for name in sys.modules.keys() - before.keys())


def test_one_within_another_counts_for_itself():
    with strict_cupy.installed() as outer:
        import cupy

        with strict_cupy.installed() as inner:
            float(cupy.ones(2).sum())
        assert len(inner.syncs) == 1 and not outer.syncs
        cupy.ones(2)
        assert outer.launches

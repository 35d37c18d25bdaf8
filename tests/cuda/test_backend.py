"""The backend on a card: products in batches, TF32, detection, memory."""

import sys

import numpy as np
import pytest

from tinygpt import backend
from tinygpt import device as machine
from tinygpt.errors import UserError

SHAPES = [(), (3,), (2, 3)]  # of the batch


@pytest.mark.parametrize("batch", SHAPES)
@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-13), ("float32", 1e-5), ("float16", 1e-2)])
def test_bmm_is_numpys(cuda, rng, batch, transpose_a, transpose_b, dtype, tolerance):
    a, b = rng.standard_normal((*batch, 4, 5)).astype(dtype), rng.standard_normal((*batch, 5, 6)).astype(dtype)
    given = [
        backend.to_device(x.swapaxes(-1, -2).copy() if turned else x, cuda)
        for x, turned in ((a, transpose_a), (b, transpose_b))
    ]
    out = backend.bmm(*given, transpose_a, transpose_b)
    assert out.dtype == dtype and out.flags.c_contiguous
    np.testing.assert_allclose(backend.to_host(out), a @ b, rtol=tolerance, atol=tolerance)


def views(rng):
    """Pairs of views whose last two axes multiply, with the number of operands that must be packed."""
    qkv = rng.standard_normal((2, 5, 3, 4, 6))  # (B, T, 3, H, D)
    q, k, _ = qkv.transpose(2, 0, 3, 1, 4)  # (B, H, T, D)
    remembered = rng.standard_normal((2, 4, 9, 6))[:, :, :7]  # keys so far, of room for nine
    return {
        "heads of packed q, k, v": (q, k.swapaxes(2, 3).copy().swapaxes(2, 3), 2),
        "heads of one sequence": (q[:1], k[:1], 0),
        "the filled part of a cache": (remembered, remembered, 0),
        "every other matrix": (qkv[0, ::2, 0], qkv[1, ::2, 1], 0),
        "every other row": (remembered[..., ::2, :], remembered[..., ::2, :], 0),
        "every other column": (remembered[..., ::2], remembered[..., ::2], 2),
        "repeated by broadcasting": tuple(np.broadcast_to(remembered[:1, :1], (2, 4, 7, 6)) for _ in "ab") + (None,),
    }


@pytest.mark.parametrize("case", list(views(np.random.default_rng(0))))
def test_bmm_packs_only_what_cublas_cannot_read(card, rng, case):
    a, b, packed = views(rng)[case]
    there = [place_view(x) for x in (a, b)]
    card.reset()
    out = backend.bmm(*there, transpose_b=True)
    np.testing.assert_allclose(backend.to_host(out), a @ b.swapaxes(-1, -2), rtol=1e-12)
    if packed is not None:
        assert len(card.copies) == packed


def place_view(x):
    """A NumPy view's like on the card: the same strides into a copy of the same memory."""
    import cupy

    base = x
    while base.base is not None:
        base = base.base
    start = (x.__array_interface__["data"][0] - base.__array_interface__["data"][0]) // x.itemsize
    flat = cupy.asarray(base.reshape(-1))
    return cupy.lib.stride_tricks.as_strided(flat[start:], x.shape, x.strides)


@pytest.mark.parametrize(
    ("a", "b"), [((2, 3, 4), (2, 5, 6)), ((2, 3, 4), (3, 4, 5)), ((1, 3, 4), (2, 4, 5))], ids=["inner", "batch", "one"]
)
def test_bmm_refuses_shapes_that_do_not_fit(cuda, a, b):
    with pytest.raises(ValueError, match="do not fit together"):
        backend.bmm(*(backend.to_device(np.ones(shape), cuda) for shape in (a, b)))


def test_bmm_of_nothing_is_zeros(cuda):
    empty = backend.to_device(np.ones((2, 3, 0), np.float32), cuda)
    assert not backend.to_host(backend.bmm(empty, empty, transpose_b=True)).any()


def test_tf32_is_for_all_float32_products_within_its_context_and_for_nothing_else(card):
    import cupy

    def kinds(dtype):
        card.reset()
        a = cupy.ones((2, 4, 4), dtype)
        backend.bmm(a, a), a[0] @ a[0]
        return {product.compute_type for product in card.products}

    assert kinds("float32") == {"32F"}
    with backend.tf32_products(True, "cuda"):
        assert kinds("float32") == {"32F_FAST_TF32"} and kinds("float64") == {"64F"}
        with backend.tf32_products(False, "cuda"):
            assert kinds("float32") == {"32F"}
        assert kinds("float32") == {"32F_FAST_TF32"}
    assert kinds("float32") == {"32F"}
    card.compute_capability = "75"
    with backend.tf32_products(True, "cuda"):  # Turing has no TF32; nothing is said, nothing changes
        assert kinds("float32") == {"32F"}


def test_tf32_shows_in_the_numbers(cuda, rng):
    if not backend.has_tf32(cuda):
        pytest.skip("this card has no TF32")
    a = rng.standard_normal((2, 64, 64)).astype(np.float32)
    exact = a.astype(np.float64) @ a.astype(np.float64)
    errors = []
    for enabled in (True, False):
        with backend.tf32_products(enabled, cuda):
            out = backend.to_host(backend.bmm(*[backend.to_device(a, cuda)] * 2))
        errors.append(np.linalg.norm(out - exact) / np.linalg.norm(exact))
    assert 1e-5 < errors[0] < 2e-3 and errors[1] < 1e-6


def test_random_bits_are_the_same_on_a_card(cuda):
    there = backend.random_bits((5, 3, 4), 1234567890123456789, 7, backend.device_module(cuda))
    np.testing.assert_array_equal(backend.to_host(there), backend.random_bits((5, 3, 4), 1234567890123456789, 7, np))


def test_random_bits_come_from_nowhere_but_the_card_and_from_one_kernel(card):
    backend.random_bits((5, 3, 4), 1, 0, backend.device_module("cuda"))
    assert not card.uploads and not card.syncs
    assert [launch.what for launch in card.launches] == ["arange", "arange", "_hash"]


def test_scatter_add_counts_repeats(cuda, rng):
    index, values = rng.integers(4, size=50), rng.standard_normal((50, 3))
    out = np.zeros((4, 3))
    np.add.at(out, index, values)
    there = backend.to_device(np.zeros((4, 3)), cuda)
    backend.scatter_add(there, backend.to_device(index, cuda), backend.to_device(values, cuda))
    np.testing.assert_allclose(backend.to_host(there), out, rtol=1e-12)


def test_scatter_add_counts_a_row_and_its_alias_from_the_end_as_one():
    out = np.zeros((4, 1))
    backend.scatter_add(out, np.array([-1, 3, 0]), np.ones((3, 1)))
    assert out.ravel().tolist() == [1, 0, 0, 2]


def test_erf_is_the_error_function(cuda):
    x = np.linspace(-5, 5, 101)
    there = backend.erf(backend.to_device(x, cuda))
    np.testing.assert_allclose(backend.to_host(there), backend.erf(x), rtol=1e-13, atol=1e-15)


# Is there a card?


def test_a_card_that_computes_is_taken(card):
    assert machine.resolve_device("cuda") == machine.resolve_device("auto") == ("cuda", "")


@pytest.mark.parametrize(
    ("properties", "sentence"),
    [
        (dict(broken="no card", driver_version=0), "there is no NVIDIA driver here; install one"),
        (dict(broken="no card", driver_version=11040), "the NVIDIA driver is one for CUDA 11.4, and CuPy is for 13.0"),
        (dict(broken="no card"), "the NVIDIA driver finds no CUDA card; check `nvidia-smi`"),
        (dict(compute_capability="61"), r"too old: its compute capability is 6.1, .*13.0 begins at 7.5.*\[cuda12\]"),
        (dict(compute_capability="35"), "too old: its compute capability is 3.5, .*use --device=cpu"),
        (dict(compute_capability="35", runtime_version=12020), "CUDA 12.2 begins at 5.0; use --device=cpu"),
        (dict(broken="first product"), r"a first matrix product failed \(.*\); install CuPy with its CUDA libraries"),
        (dict(broken="wrong product"), "a first matrix product on the CUDA card came out wrong; check the driver"),
        (dict(memory_limit=0), "the CUDA card has no memory left; `nvidia-smi` shows who has it"),
    ],
    ids=lambda value: ", ".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_what_is_in_the_way_is_said_in_a_sentence_with_the_way_out(card, properties, sentence):
    for name, value in properties.items():
        setattr(card, name, value)
    with pytest.raises(UserError, match=sentence) as refused:
        machine.resolve_device("cuda")
    assert "\n" not in str(refused.value) and "--device=cpu" in str(refused.value)
    device, remark = machine.resolve_device("auto")
    assert device == "cpu" and f"--device=cuda: {remark}" == str(refused.value)


def test_a_card_just_new_enough_is_taken(card):
    card.compute_capability, card.runtime_version = "61", 12090
    assert machine.resolve_device("cuda")[0] == "cuda"


def test_cupy_that_cannot_be_imported_is_a_sentence(monkeypatch, tmp_path):
    (tmp_path / "cupy.py").write_text("raise ImportError('libcudart.so.11: cannot open\\nand much more')")
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"CuPy cannot be imported \(libcudart.so.11: cannot open\); install it anew"):
        machine.resolve_device("cuda")


# Memory and rates


def test_peak_memory_is_what_the_pool_holds(card):
    import cupy

    before = machine.peak_memory("cuda")
    x = cupy.ones(1 << 20, np.float32)
    del x
    assert machine.peak_memory("cuda") - before == 4 << 20


def test_memory_that_runs_out_is_told_from_other_errors(card):
    import cupy

    card.memory_limit = 1 << 20
    with pytest.raises(MemoryError) as error:
        cupy.ones(1 << 20, np.float32)
    assert machine.out_of_memory(error.value).startswith("out of memory on the CUDA card, allocating 4,194,304 bytes")
    assert (
        machine.out_of_memory(MemoryError("Unable to allocate 4.0 GiB")) == "out of memory (Unable to allocate 4.0 GiB)"
    )
    assert machine.out_of_memory(MemoryError()) == "out of memory"
    assert machine.out_of_memory(RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")) == "out of memory on the CUDA card"
    assert machine.out_of_memory(RuntimeError("cudaErrorIllegalAddress")) is None


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_product_rate_is_that_of_products_that_were_timed(card, device):
    assert 1e6 < machine.product_rate(device, "float32", 0.0) < 1e16
    assert device == "cpu" or {product[:3] for product in card.products} == {(256, 256, 256)}


def test_measuring_the_rate_leaves_no_memory_behind(card):
    import cupy

    before = cupy.get_default_memory_pool().total_bytes()
    machine.product_rate("cuda", "float32", 0.0)
    assert cupy.get_default_memory_pool().total_bytes() == before

"""The array backend: NumPy on the CPU, CuPy on a CUDA card. The only file that imports cupy.

A layer asks `xp = array_module(x)` and then writes ordinary array code; whatever the two libraries do not share
(an error function, a scatter-add that repeats indices, random bits that are the same on both, products in batches)
stands here.
"""

import contextlib
import ctypes
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from tinygpt.errors import UserError

Array: TypeAlias = Any  # numpy.ndarray or cupy.ndarray: the same interface, two libraries without a common type

ALIGNMENT = 64  # bytes: a cache line, and one AVX-512 register
BLOCK = 65536  # elements: a few float32 blocks of this size fit in a core's L2 cache
OLDEST_CARD = {12: 50, 13: 75}  # CUDA's major version: the compute capability it begins at, times ten (release notes)
TF32_CARD = 80  # Ampere, the first with TF32
EXTRAS = "`pip install 'tinygpt[cuda13]'` or `pip install 'tinygpt[cuda12]'`"


# Where arrays live


def array_module(x: Array) -> Any:
    """The module whose functions compute on `x`: `numpy` for host arrays, `cupy` for arrays on a CUDA card.

    Raises TypeError if `x` is an array of neither.
    """
    if isinstance(x, np.ndarray | np.generic | np.lib.mixins.NDArrayOperatorsMixin):  # the last: what acts like one
        return np
    cupy = sys.modules.get("cupy")  # an array of cupy's exists only if cupy was imported
    if cupy is not None and isinstance(x, cupy.ndarray):
        return cupy
    raise TypeError(f"expected a numpy or cupy array, got {type(x).__name__}; wrap it in np.asarray(...)")


def resolve_device(device: str) -> tuple[str, str]:
    """Turn "auto", "cpu" or "cuda" into the device to use and a remark on why ("" if there is nothing to say).

    "auto" takes the CUDA card if CuPy can compute on one, and says so when it falls back to the CPU.

    Raises UserError for "cuda" where that is not possible, and for any other name.
    """
    if device == "cpu":
        return "cpu", ""
    if device not in ("auto", "cuda"):
        raise UserError(f"device is {device!r}; expected auto, cpu or cuda")
    problem = _cuda_problem()
    if problem is None:
        return "cuda", ""
    if device == "cuda":
        raise UserError(f"--device=cuda: {problem}")
    return "cpu", problem


def _cuda_problem() -> str | None:
    """Why CuPy cannot compute here, in one sentence; None if it can."""
    try:
        import cupy
    except ModuleNotFoundError:
        return f"CuPy is not installed; install the extra for your CUDA version, {EXTRAS}, or use --device=cpu"
    except Exception as error:  # two versions side by side, or one for another Python
        return f"CuPy cannot be imported ({_first_line(error)}); install it anew, {EXTRAS}, or use --device=cpu"
    try:
        toolkit, driver = cupy.cuda.runtime.runtimeGetVersion(), cupy.cuda.runtime.driverGetVersion()
        if not cupy.cuda.is_available():
            if driver == 0:
                return "there is no NVIDIA driver here; install one for your card, or use --device=cpu"
            if driver // 1000 < toolkit // 1000:
                return (
                    f"the NVIDIA driver is one for CUDA {_version(driver)}, and CuPy is for {_version(toolkit)}; "
                    "update the driver, or use --device=cpu"
                )
            return (
                "the NVIDIA driver finds no CUDA card; check `nvidia-smi` and the variable CUDA_VISIBLE_DEVICES, "
                "or use --device=cpu"
            )
        capability, oldest = _compute_capability(), OLDEST_CARD.get(toolkit // 1000, 0)
        if capability < oldest:
            way_out = "`pip install 'tinygpt[cuda12]'` instead, or " if capability >= OLDEST_CARD[12] else ""
            return (
                f"the card, {device_name('cuda')}, is too old: its compute capability is {capability / 10}, and "
                f"CUDA {_version(toolkit)} begins at {oldest / 10}; {way_out}use --device=cpu"
            )
        ones = cupy.ones((2, 2), dtype=np.float32)
        if float((ones @ ones)[0, 0]) != 2.0:  # a driver alone does not prove that cuBLAS loads
            return "a first matrix product on the CUDA card came out wrong; check the driver, or use --device=cpu"
    except Exception as error:  # whatever CuPy, the driver or cuBLAS raises: the reader needs the first line of it
        if out_of_memory(error):
            return "the CUDA card has no memory left; `nvidia-smi` shows who has it; make room, or use --device=cpu"
        return (
            f"CuPy is installed but a first matrix product failed ({_first_line(error)}); install CuPy with its CUDA "
            f"libraries, {EXTRAS}, check the driver, or use --device=cpu"
        )
    return None


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _version(number: int) -> str:
    """13020 -> "13.2", CUDA's way of writing its versions."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _compute_capability() -> int:
    """The card's generation: 80 for 8.0, and so on."""
    return int(device_module("cuda").cuda.Device().compute_capability)


def device_name(device: str) -> str:
    """The card's name, such as "NVIDIA A100-SXM4-40GB"; "" for a CPU."""
    if device == "cpu":
        return ""
    cuda = device_module(device).cuda
    return cuda.runtime.getDeviceProperties(cuda.Device().id)["name"].decode()


def out_of_memory(error: BaseException) -> str | None:
    """What `error` says of memory that ran out, on the host or on a card; None if it is about something else."""
    text = str(error).strip().rstrip(".")
    if isinstance(error, MemoryError):
        if text.startswith("Out of memory"):  # CuPy's
            return text.replace("Out of memory", "out of memory on the CUDA card,", 1)
        return f"out of memory ({text})" if text else "out of memory"
    names = "cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"
    return "out of memory on the CUDA card" if any(name in text for name in names) else None


def device_module(device: str) -> Any:
    """`numpy` for "cpu", `cupy` for "cuda"."""
    if device == "cpu":
        return np
    import cupy

    return cupy


def to_device(x: np.ndarray, device: str) -> Array:
    """`x` as an array on `device` ("cpu" or "cuda"); copies only where it must.

    To a card nobody waits: CuPy copies `x` into pinned memory and queues its transfer.
    """
    return device_module(device).asarray(x)


def to_host(x: Array) -> np.ndarray:
    """`x` as a NumPy array; from a card this waits for the result and copies it."""
    return x.get() if array_module(x) is not np else np.asarray(x)


def synchronize(device: str) -> None:
    """Wait until everything queued on `device` is done; a CPU has nothing queued."""
    if device == "cuda":
        device_module(device).cuda.get_current_stream().synchronize()


def peak_memory(device: str) -> int | None:
    """The most memory used so far, in bytes: resident memory of this process, or on a card what CuPy's pool holds.

    The pool keeps what was freed for the next array, so it holds what was needed at once, at most what the variable
    CUPY_GPU_MEMORY_LIMIT allows. None where the system does not say (Windows).
    """
    if device == "cuda":
        return int(device_module(device).get_default_memory_pool().total_bytes())
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux kilobytes


def cpu_count() -> int:
    """The number of CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux: respects taskset and containers' CPU sets
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def keep_freed_pages() -> bool:
    """Ask glibc to keep freed memory for the next allocation instead of returning it to the system.

    A training step allocates and frees the same arrays again and again; by default each large one is mapped anew and
    the kernel clears its pages. True if it was done; elsewhere than on glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):  # musl has mallopt's name but not its meaning
        return False
    M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h
    # The largest values malloc accepts: allocations below 1 GiB come from the heap, and the heap never shrinks. Threads
    # have heaps of 64 MiB, which are unmapped when they empty, unless the padding to keep is as large.
    settings = (M_MMAP_THRESHOLD, 1 << 30), (M_TRIM_THRESHOLD, (1 << 31) - 1), (M_TOP_PAD, 64 << 20)
    return all([libc.mallopt(*setting) for setting in settings])


# Matrix products: how exact, and how fast


def has_tf32(device: str) -> bool:
    """Whether the card can multiply float32 matrices in TF32."""
    return device == "cuda" and _compute_capability() >= TF32_CARD


@contextlib.contextmanager
def tf32_products(enabled: bool, device: str) -> Iterator[None]:
    """Within it, matrix products of float32 arrays on a card are in TF32 or, if not `enabled`, in float32.

    TF32 rounds the operands to 10 bits of mantissa instead of 23 and adds up in float32: a relative error of about
    1e-3 for each of the products' terms, for several times the speed. It is left off where the card lacks it.
    """
    if device == "cpu":
        yield
        return
    from cupy._core import _routines_linalg as linalg  # the setting that the variable CUPY_TF32 makes at the start

    before = linalg.get_compute_type(np.float32)
    chosen = linalg.COMPUTE_TYPE_TF32 if enabled and has_tf32(device) else linalg.COMPUTE_TYPE_DEFAULT
    linalg.set_compute_type(np.float32, chosen)
    try:
        yield
    finally:
        linalg.set_compute_type(np.float32, before)


def product_rate(device: str, dtype: Any, seconds: float = 1.0) -> float:
    """The largest rate of matrix products found on `device` in about so many seconds, in FLOP/s.

    The products are of square matrices of random numbers (constant ones heat a card less, and make it look faster), of
    256 rows and then ever more, as long as the time allows. On a card, they are in TF32 within `tf32_products`.
    """
    xp = device_module(device)
    best = end = 0.0
    for n in (256, 512, 1024, 2048, 4096, 8192):
        flops, repeats = 2 * n**3, 10
        if best and (repeats + 1) * flops / best > end - time.perf_counter():
            break
        a = (random_bits((n, n), n, 0, xp) * 2.0**-32 - 0.5).astype(dtype)
        a @ a  # the first of a size also chooses and loads its kernel
        synchronize(device)
        began = time.perf_counter()
        end = end or began + seconds  # not before: CuPy's first kernels may take seconds to compile
        for _ in range(repeats):
            a @ a
        synchronize(device)
        best = max(best, repeats * flops / (time.perf_counter() - began))
    if xp is not np:
        del a
        xp.get_default_memory_pool().free_all_blocks()  # or it would count as memory that training needs
    return best


# Arrays with names in one buffer


def aligned_zeros(size: int, dtype: Any, device: str) -> Array:
    """`size` zeros whose first byte is aligned to `ALIGNMENT` bytes (a card's allocator aligns further by itself)."""
    xp = device_module(device)
    if xp is not np:
        return xp.zeros(size, dtype=dtype)
    itemsize = np.dtype(dtype).itemsize
    buffer = np.zeros(size * itemsize + ALIGNMENT, dtype=np.uint8)
    start = -buffer.ctypes.data % ALIGNMENT
    return buffer[start : start + size * itemsize].view(dtype)


# What NumPy and CuPy do not share


def bmm(a: Array, b: Array, transpose_a: bool = False, transpose_b: bool = False) -> Array:
    """Batched matrix product over the last two axes, either operand transposed first without copying it.

    a: (..., M, K), or (..., K, M) with `transpose_a`; b: (..., K, N), or (..., N, K) with `transpose_b`; the axes
    before the last two are the same. Returns (..., M, N).
    """
    if array_module(a) is not np:
        return _cublas_bmm(a, b, transpose_a, transpose_b)
    a = a.swapaxes(-1, -2) if transpose_a else a
    b = b.swapaxes(-1, -2) if transpose_b else b
    return np.matmul(a, b)


def _cublas_bmm(a: Array, b: Array, transpose_a: bool, transpose_b: bool) -> Array:
    """`bmm` on a card. CuPy's own matmul would copy transposed operands, and compute neither TF32 nor bfloat16.

    cuBLAS reads memory column by column, where ours lies row by row, so it sees each matrix transposed. It is asked for
    out^T = b^T a^T: the operands in reverse order, and what it writes column by column is out row by row.
    """
    import cupy
    from cupy._core import _routines_linalg as linalg
    from cupy.cuda import cublas, runtime

    M, K = a.shape[:-3:-1] if transpose_a else a.shape[-2:]
    K_b, N = b.shape[:-3:-1] if transpose_b else b.shape[-2:]
    if K != K_b or a.shape[:-2] != b.shape[:-2] or a.dtype != b.dtype:
        raise ValueError(f"bmm got {a.dtype} {a.shape} and {b.dtype} {b.shape}, which do not fit together")
    out = cupy.empty((*a.shape[:-2], M, N), a.dtype)
    if out.size == 0 or K == 0:
        return cupy.zeros_like(out)
    tf32 = linalg.get_compute_type(np.float32) == linalg.COMPUTE_TYPE_TF32
    stored, computed, scalar = {
        "float16": (runtime.CUDA_R_16F, cublas.CUBLAS_COMPUTE_32F, np.float32),
        "bfloat16": (runtime.CUDA_R_16BF, cublas.CUBLAS_COMPUTE_32F, np.float32),
        "float32": (
            runtime.CUDA_R_32F,
            cublas.CUBLAS_COMPUTE_32F_FAST_TF32 if tf32 else cublas.CUBLAS_COMPUTE_32F,
            np.float32,
        ),
        "float64": (runtime.CUDA_R_64F, cublas.CUBLAS_COMPUTE_64F, np.float64),
    }[a.dtype.name]
    one, zero = np.ones((), scalar), np.zeros((), scalar)
    (a, row_a, step_a), (b, row_b, step_b) = _matrices(a), _matrices(b)
    cublas.gemmStridedBatchedEx(
        cupy.cuda.Device().cublas_handle, int(transpose_b), int(transpose_a), N, M, K, one.ctypes.data,
        b.data.ptr, stored, row_b, step_b, a.data.ptr, stored, row_a, step_a, zero.ctypes.data,
        out.data.ptr, stored, N, M * N, out.size // (M * N), computed, cublas.CUBLAS_GEMM_DEFAULT,
    )  # fmt: skip
    return out


def _matrices(x: Array) -> tuple[Array, int, int]:
    """`x` as a batch that cuBLAS can read, and the elements from a row to the next and from a matrix to the next.

    A row's elements must be neighbours and the matrices equally far apart. Where they are not, as the heads in packed
    queries, keys and values, `x` is copied.
    """
    *_, rows, columns = x.shape
    if not x.flags.c_contiguous:
        *outer, row, column = (stride // x.itemsize for stride in x.strides)
        steps = [(n, step) for n, step in zip(x.shape, outer, strict=False) if n > 1]
        even = all(step == n * inner for (_, step), (n, inner) in zip(steps, steps[1:], strict=False))
        if column == 1 and row >= columns and even:
            return x, row, steps[-1][1] if steps else 0
        x = array_module(x).ascontiguousarray(x)
    return x, columns, rows * columns


def scatter_add(out: Array, index: Array, values: Array) -> None:
    """`out[index[n]] += values[n]` for every n, in place, counting repeated indices each time.

    out: (V, C); index: (N,) integers in [0, V); values: (N, C).

    On NumPy the rows are sorted by index and each run of equal ones is summed at once, in their original order: the
    same bits every time, and several times the speed of `np.add.at`.
    """
    xp = array_module(out)
    if xp is not np:
        xp.add.at(out, index, values)
        return
    index, sums = sum_by_index(index, values)
    out[index] += sums


def sum_by_index(index: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different indices in ascending order, (M,), and the sum of the values of each: (N,), (N, C) -> (M, C)."""
    if index.size == 0:
        return index, values
    order = np.argsort(index, kind="stable")
    sorted_index = index[order]
    starts = np.flatnonzero(np.r_[True, sorted_index[1:] != sorted_index[:-1]])
    return sorted_index[starts], np.add.reduceat(values[order], starts, axis=0)


# log(erfc(x) exp(x^2) / t) as a Chebyshev series in 2t - 1, where t = 2 / (2 + x) maps x >= 0 onto (0, 1].
# The coefficients are the cosine transform of that function, computed with 50 digits (tests/test_backend.py does it
# again); 28 of them reach float64 rounding, the first 12 float32 rounding.
_ERFC_SERIES = (
    -1.30265371978170943, 0.64196979235649026, 0.0194764732041858363, -0.00956151478680863164,
    -9.46595344482036866e-4, 3.66839497852761452e-4, 4.25233248069077716e-5, -2.02785781125342432e-5,
    -1.62429000464702551e-6, 1.3036558355805232e-6, 1.56264417220661432e-8, -8.52380959149265425e-8,
    6.5290544390988515e-9, 5.05934349555146894e-9, -9.91364156493033087e-10, -2.27365122293183586e-10,
    9.6467911020155268e-11, 2.39403808303911474e-12, -6.8860275264975534e-12, 8.94487927309072572e-13,
    3.13092139934295808e-13, -1.12708223613672524e-13, 3.81090525518923206e-16, 7.10609761360923699e-15,
    -1.5230282014571043e-15, -9.457494571291234e-17, 1.21023718922427899e-16, -2.81666308774717697e-17,
)  # fmt: skip


def erf(x: Array) -> Array:
    """The error function, 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x; same shape and dtype as `x`.

    CuPy has it; for NumPy it is 1 - t exp(-x^2 + P(t)) with t = 2 / (2 + |x|), P a Chebyshev series summed by
    Clenshaw's recurrence (Press et al., Numerical Recipes, 3rd ed., section 6.2.2, gives the form).
    Absolute error below 1e-15 in float64 and 5e-7 in float32.
    """
    xp = array_module(x)
    if xp is not np:
        from cupyx.scipy.special import erf as cupy_erf

        return cupy_erf(x)
    out = np.empty(x.shape, x.dtype)
    series = _ERFC_SERIES[: 12 if x.dtype.itemsize <= 4 else None]
    flat_x, flat_out = np.ascontiguousarray(x).reshape(-1), out.reshape(-1)
    for start in range(0, flat_x.size, BLOCK):  # in blocks, so that the recurrence's four arrays stay in the cache
        block = flat_x[start : start + BLOCK]
        flat_out[start : start + BLOCK] = _erf_block(block, series)
    return out


def _erf_block(x: np.ndarray, series: tuple[float, ...]) -> np.ndarray:
    z = np.minimum(np.abs(x), 30)  # beyond, erf is 1 in every precision, and z * z must not overflow
    t = 2 / (2 + z)
    u = 4 * t - 2  # twice the Chebyshev variable
    b1, b2 = np.zeros_like(u), np.zeros_like(u)
    for coefficient in reversed(series[1:]):
        b1, b2 = u * b1 - b2 + coefficient, b1
    log_series = 0.5 * (series[0] + u * b1) - b2
    return np.copysign(1 - t * np.exp(log_series - z * z), x)


# Random numbers


def generator(seed: int, *purpose: int | str) -> np.random.Generator:
    """An independent NumPy generator for one purpose: the same (seed, purpose) always gives the same stream."""
    words = [seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF]
    for part in purpose:
        words += part.encode() if isinstance(part, str) else [part]
    return np.random.default_rng(words)


def fold_in(key: int, *data: int) -> int:
    """A new 64-bit key from `key` and integers such as step, layer and place; different data, unrelated keys.

    Each round is the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
    generators", 2014).
    """
    for number in data:
        key = _finalise(_finalise(key) ^ number)  # the key first, or seed 1, step 2 would meet seed 2, step 1
    return key


def _finalise(z: Any, uint64: Any = int) -> Any:
    """The finaliser, of a Python integer, or of an array of np.uint64, whose own overflow is the mask."""
    mask = uint64((1 << 64) - 1)
    z = z + uint64(0x9E3779B97F4A7C15) & mask
    z = (z ^ z >> uint64(30)) * uint64(0xBF58476D1CE4E5B9) & mask
    z = (z ^ z >> uint64(27)) * uint64(0x94D049BB133111EB) & mask
    return z ^ z >> uint64(31)


def random_bits(shape: tuple[int, ...], key: int, first_row: int, xp: Any) -> Array:
    """uint32 bits of the given shape: a hash of (key, row, place within the row), and of nothing else.

    Rows are the first axis and are numbered from `first_row`, so a worker that holds rows 4 to 7 of a batch computes
    the bits that the whole batch has there. Integer operations only: NumPy, CuPy and a CUDA kernel agree exactly.
    The hash is a multiply-xorshift finaliser applied twice with the row's 64-bit key between (constants: Wellons,
    "Prospecting for hash functions", 2018). A row has at most 2^32 elements.
    """
    rows = xp.arange(first_row, first_row + shape[0], dtype=np.uint64).reshape(shape[:1] + (1,) * (len(shape) - 1))
    places = xp.arange(int(np.prod(shape[1:])), dtype=np.uint32).reshape((1, *shape[1:]))
    return _fused(_hash, xp)(rows, places, np.uint64(_finalise(key)))


@functools.cache
def _fused(function: Callable[..., Array], xp: Any) -> Callable[..., Array]:
    """A function made of element-wise operations; on a card one kernel, which CuPy makes of the same lines."""
    return function if xp is np else xp.fuse(function)


def _hash(row: Array, place: Array, key: Any) -> Array:
    key = _finalise(row ^ key, np.uint64)  # fold_in(key, row); on a card for each element anew
    low, high = key.astype(np.uint32), (key >> np.uint64(32)).astype(np.uint32)
    return _mix(_mix(place + low) ^ high)


def _mix(bits: Array) -> Array:
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        bits = bits ^ (bits >> np.uint32(shift))
        bits = bits * np.uint32(factor)
    return bits ^ (bits >> np.uint32(16))

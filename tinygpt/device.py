"""The machine: which device to compute on and why, its name, its memory, its cores, and how fast it multiplies."""

import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt.backend import compute_capability, device_module, synchronize
from tinygpt.errors import UserError, brief
from tinygpt.random import random_bits

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h
_mapped_from = 32 << 20  # bytes, from which on malloc maps what is asked for; as far as glibc would come by itself
OLDEST_CARD = {12: 50, 13: 75}  # CUDA's major version: the compute capability it begins at, times ten (release notes)
# Never by the name alone: no index has a tinygpt of ours, and whoever takes the name there would be installed.
EXTRAS = "`pip install -e '.[cuda13]'` or `pip install -e '.[cuda12]'` in the folder of tinygpt's source"


def resolve_device(device: str) -> tuple[str, str]:
    """Turn "auto", "cpu" or "cuda" into the device to use and a remark on why ("" if there is nothing to say). "auto"
    takes the CUDA card if CuPy can compute on one, and says so when it falls back to the CPU. Raises UserError for
    "cuda" where that is not possible, and for any other name.
    """
    if device == "cpu":
        return "cpu", ""
    if device not in ("auto", "cuda"):
        hint, name = "", str(device)
        if name.startswith("mps"):
            hint = "; Apple's cards are not computed on here, take cpu"
        elif name.startswith("cuda:"):
            hint = f"; to choose a card set CUDA_VISIBLE_DEVICES={name[5:]}, and take cuda"
        raise UserError(f"device is {brief(device)}; expected auto, cpu or cuda{hint}")
    problem = _cuda_problem()
    if problem is None:
        return "cuda", ""
    if device == "cuda":
        raise UserError(f"--device=cuda: {problem}")
    return "cpu", problem


def _cuda_problem() -> str | None:
    """Why CuPy cannot compute here, in one sentence; None if it can."""
    try:
        cupy = device_module("cuda")
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
        capability, oldest = compute_capability(), OLDEST_CARD.get(toolkit // 1000, 0)
        if capability < oldest:
            way_out = "`pip install -e '.[cuda12]'` instead, or " if capability >= OLDEST_CARD[12] else ""
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


def peak_memory(device: str) -> int | None:
    """The most memory used so far, in bytes: resident memory of this process, or on a card what CuPy's pool holds. The
    pool keeps what was freed for the next array, so it holds what was needed at once, at most what the variable
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


def memory_size() -> int | None:
    """The bytes of memory that a process may have here: the machine's, or its container's if they are fewer. None where
    the system does not say (Windows).
    """
    sizes = []
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sizes.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # there is no such file, or "max" in it
            sizes.append(int(Path(limit).read_text()))
    return min(sizes, default=None)


def available_memory(device: str) -> int:
    """The bytes of a card's memory that this process has or could have: what is free, and what CuPy's pool holds, at
    most what the variable CUPY_GPU_MEMORY_LIMIT allows.
    """
    cupy = device_module(device)
    pool = cupy.get_default_memory_pool()
    free, _ = cupy.cuda.runtime.memGetInfo()
    available = free + pool.total_bytes()
    return int(min(available, pool.get_limit() or available))


def check_memory(needed: int, what: str, device: str) -> None:
    """Raise UserError if `what` takes more bytes than there are: the system would end the process in the middle of it,
    without a word. (A card refuses by itself.)
    """
    size = memory_size()
    if device == "cpu" and size is not None and needed > size:
        have = f"but this machine has {size / 1e9:,.1f} GB of memory"
        raise UserError(f"{what} take {needed / 1e9:,.1f} GB, {have}; choose smaller sizes")


def cpu_count() -> int:
    """The number of CPU cores this process may use, or has the time of."""
    if hasattr(os, "sched_getaffinity"):  # Linux: respects taskset and containers' CPU sets
        return max(1, min(len(os.sched_getaffinity(0)), _cpu_quota()))
    return os.cpu_count() or 1


def _cpu_quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """How many cores' time the control groups of this process give it, as `docker run --cpus=2` does, rounded up; more
    than any machine has where they say nothing. In a container its own group may be the root of what can be seen.
    """
    quotas = [1 << 20]
    with contextlib.suppress(OSError, ValueError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            top = root / "cpu" if controllers else root  # the first version of control groups, or the second
            files = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if controllers else ("cpu.max",)
            group = top / path.lstrip("/")
            for place in (group, *group.parents):
                if not place.is_relative_to(top):
                    break
                with contextlib.suppress(OSError, ValueError):  # no such file, or "max" in it
                    quota, period = (int(n) for file in files for n in (place / file).read_text().split())
                    quotas += [-(-quota // period)] if quota > 0 < period else []
    return min(quotas)


def keep_freed_pages() -> bool:
    """Ask glibc to keep freed memory for the next allocation instead of returning it to the system. A training step
    allocates and frees the same arrays again and again; by default each large one is mapped anew and the kernel clears
    its pages. True if it was done; elsewhere than on glibc nothing happens.
    """
    global _mapped_from
    _mapped_from = 1 << 30
    # The largest values malloc accepts: allocations below 1 GiB come from the heap, and the heap never shrinks. Threads
    # have heaps of 64 MiB, which are unmapped when they empty, unless the padding to keep is as large.
    return _tell_malloc((M_MMAP_THRESHOLD, _mapped_from), (M_TRIM_THRESHOLD, (1 << 31) - 1), (M_TOP_PAD, 64 << 20))


@contextlib.contextmanager
def freed_pages_returned() -> Iterator[None]:
    """Within its block glibc returns freed memory to the system, allocations from 128 KiB on at once. By default it
    takes what is freed for a sign that as much is needed again, from the heap, where large pieces of ever other sizes
    leave holes: counting the pieces of half a gigabyte of text, 152 of its 174 MB were free.
    """
    _tell_malloc((M_MMAP_THRESHOLD, 1 << 17))
    try:
        yield
    finally:
        _tell_malloc((M_MMAP_THRESHOLD, _mapped_from))


def _tell_malloc(*settings: tuple[int, int]) -> bool:
    """Set parameters of glibc's malloc; False where there is another."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):  # musl has mallopt's name but not its meaning
        return False
    return all([libc.mallopt(*setting) for setting in settings])


def product_rate(device: str, dtype: Any, seconds: float = 1.0) -> float:
    """The largest rate of matrix products found on `device` in about so many seconds, in FLOP/s. The products are of
    square matrices of random numbers (constant ones heat a card less, and make it look faster), of 256 rows and then
    ever more, as long as the time and the memory allow; 0 where it does not allow any. On a card, they are in TF32
    within `tf32_products`.
    """
    xp = device_module(device)
    best = end = 0.0
    for n in (256, 512, 1024, 2048, 4096, 8192):
        flops, repeats = 2 * n**3, 10
        if best and (repeats + 1) * flops / best > end - time.perf_counter():
            break
        try:
            a = (random_bits((n, n), n, 0, xp) * 2.0**-32 - 0.5).astype(dtype)
            a @ a  # the first of a size also chooses and loads its kernel
            synchronize(device)
            began = time.perf_counter()
            end = end or began + seconds  # not before: CuPy's first kernels may take seconds to compile
            for _ in range(repeats):
                a @ a
            synchronize(device)
        except Exception as error:
            if out_of_memory(error) is None:
                raise
            break
        best = max(best, repeats * flops / (time.perf_counter() - began))
    if xp is not np:
        a = None
        xp.get_default_memory_pool().free_all_blocks()  # or it would count as memory that training needs
    return best

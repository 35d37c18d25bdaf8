"""A card's largest rates, and how long it takes for something."""

import contextlib
import functools
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from race.side import has_torch

from report import SCRIPT
from report.report import Report

KINDS = {  # what a card computes in: the dtype, whether its products are in TF32, and the error allowed
    "float64": ("float64", False, 1e-10), "float32": ("float32", False, 1e-5), "TF32": ("float32", True, None),
}  # fmt: skip


def largest_rates(report: Report) -> dict[str, float]:
    """Of products in FLOP/s and of copies in bytes/s: what the section `machine` measured, or measured now."""
    if known := report.of("machine").get("rates"):
        return known
    from tinygpt.backend import device_module, tf32_products
    from tinygpt.device import product_rate
    from tinygpt.precision import dtype_of

    rates = {}
    for kind, (dtype, tf32, _) in KINDS.items():
        with tf32_products(tf32, "cuda"):
            rates[kind] = product_rate("cuda", dtype, 0.02 if report.stand_in else 1.0)
    rates["bf16"] = product_rate("cuda", dtype_of("bfloat16"), 0.02 if report.stand_in else 1.0)
    cupy, size = device_module("cuda"), 1 << (20 if report.stand_in else 30)
    x = cupy.zeros((2, size), dtype=np.uint8)
    rates["copies"] = 2 * size / event_seconds(functools.partial(x.__setitem__, 0, x[1]), 10)
    del x
    cupy.get_default_memory_pool().free_all_blocks()
    if has_torch() and not report.stand_in:  # in a process of its own, since both bring CUDA's libraries along
        with contextlib.suppress(subprocess.SubprocessError, ValueError):
            command = [sys.executable, SCRIPT, "--worker=rate"]
            out = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True, timeout=30)
            rates["bf16"] = max(rates["bf16"], float(out.stdout))
    return rates


def bf16_rate() -> float:
    """As `device.product_rate`, through PyTorch."""
    import torch

    best = 0.0
    for n in (1024, 2048, 4096, 8192):
        a = torch.randn(n, n, device="cuda", dtype=torch.bfloat16)
        for repeats in (2, 20):  # the first time to load the kernel
            torch.cuda.synchronize()
            began = time.perf_counter()
            for _ in range(repeats):
                a @ a
            torch.cuda.synchronize()
        best = max(best, repeats * 2 * n**3 / (time.perf_counter() - began))
    return best


class Ahead:
    """Work that keeps the card busy while the host queues what is to be timed, so that the card waits for nobody."""

    def __init__(self, stand_in: bool):
        import cupy

        n, seconds = (64, 0.0) if stand_in else (8192, 0.1)
        self.matrices = cupy.ones((2, n, n), dtype=np.float32)
        self.count = 1
        self.count = max(1, round(seconds / event_seconds(self.queue, 1)))

    def queue(self) -> None:
        from tinygpt.backend import gemm

        a, out = self.matrices
        for _ in range(self.count):
            gemm(a, a, out)


def event_seconds(work: Callable[[], Any], repeats: int, ahead: Ahead | None = None) -> float:
    """What the card takes for `work`, the mean of some in a row, after two that load its kernels, and after `ahead`."""
    import cupy

    for _ in range(2):
        work()
    if ahead:
        ahead.queue()
    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    start.record()
    for _ in range(repeats):
        work()
    end.record()
    end.synchronize()
    return cupy.cuda.get_elapsed_time(start, end) / 1e3 / repeats

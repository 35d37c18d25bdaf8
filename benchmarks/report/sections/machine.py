"""What is the card, and what are its largest rates?"""

import importlib.metadata
import os
import platform
import subprocess
import time

import numpy as np
from race.side import has_torch

from report.rates import KINDS, largest_rates
from report.report import Report, row

PLACE, SECONDS = 10, 30


def run(report: Report) -> None:
    from tinygpt.backend import device_module, synchronize
    from tinygpt.device import device_name

    cupy = device_module("cuda")
    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(cupy.cuda.Device().id)
    free, memory = runtime.memGetInfo()
    smi = ["nvidia-smi", "--query-gpu=driver_version,power.limit,clocks.max.sm", "--format=csv,noheader"]
    try:
        driver = subprocess.run(smi, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        driver = "nvidia-smi does not answer"
    facts = {
        "card": device_name("cuda"),
        "compute capability": cupy.cuda.Device().compute_capability,
        "multiprocessors": properties.get("multiProcessorCount"),
        "memory": f"{memory / 2**20:,.0f} MiB, {free / 2**20:,.0f} of them free",
        "driver, power limit, clock": driver,
        "CUDA of the driver, of CuPy": f"{runtime.driverGetVersion()}, {runtime.runtimeGetVersion()}",
        "Python, NumPy, CuPy": f"{platform.python_version()}, {np.__version__}, {cupy.__version__}",
        "PyTorch": importlib.metadata.version("torch") if has_torch() else "not installed",
        "CPU cores": os.cpu_count(),
    }
    report.table("The machine", [{"": name, "is": str(value)} for name, value in facts.items()])
    rates = largest_rates(report)
    report.raw("rates", rates)
    x, costs = cupy.ones(1, dtype=np.float32), {}
    for name, work, count in (("launch", lambda: x + x, 500), ("read", lambda: float(x[0]), 200)):
        for _ in range(20):
            work()
        synchronize("cuda")
        began = time.perf_counter()
        for _ in range(count):  # fewer than a launch queue holds, or the host would wait for the card
            work()
        costs[name] = (time.perf_counter() - began) / count
        synchronize("cuda")
    rows = [row(f"{kind} products", rates[kind] / 1e12, "TFLOP/s") for kind in (*KINDS, "bf16") if kind in rates]
    rows += [
        row("copies on the card, bytes read and written", rates["copies"] / 1e9, "GB/s"),
        row("the host's time for `x + x` of one element", costs["launch"] * 1e6, "µs"),
        row("the host's time for `float(x[0])`", costs["read"] * 1e6, "µs"),
    ]
    report.table("Its largest rates, and what an operation costs", rows)
    tf32, copies = report.number(rates["TF32"] / 1e12, "TFLOP/s"), report.number(rates["copies"] / 1e9, "GB/s")
    report.answer(f"{facts['card']}, {tf32} in TF32, copies at {copies}")

"""The largest rate of matrix products that a CPU reaches."""

import time

import numpy as np


def sgemm_rate(threads: int) -> float:
    """The largest rate of float32 matrix products reached here, in FLOP/s."""
    from threadpoolctl import threadpool_limits

    best = 0.0
    with threadpool_limits(threads):
        for n in (512, 1024, 2048):
            a, b = np.ones((n, n), np.float32), np.ones((n, n), np.float32)
            for _ in range(8):
                began = time.perf_counter()
                a @ b
                best = max(best, 2 * n**3 / (time.perf_counter() - began))
    return best

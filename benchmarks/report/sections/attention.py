"""How fast is attention alone, forward and backward?"""

from typing import Any

import numpy as np

from report.rates import event_seconds
from report.report import Report

PLACE, SECONDS = 75, 8

MUST, AIM = 110, 200  # TFLOP/s in bf16


def run(report: Report) -> None:
    import cupy

    from tinygpt.backend import tf32_products
    from tinygpt.ops import build
    from tinygpt.precision import dtype_of
    from tinygpt.random import random_bits

    attention, rows = build(device="cuda").attention, list[dict[str, Any]]()
    B, T, H, D = (1, 64, 2, 32) if report.stand_in else (12, 1024, 12, 64)
    bits = random_bits((B * T, 4 * H * D), 1, 0, cupy)
    drawn = (bits * np.float32(2.0**-32) - np.float32(0.5)).astype(np.float32).reshape(B, T, -1)
    for kind, dtype in (("bf16", "bfloat16"), ("TF32", "float32")):
        qkv, dout = (cupy.ascontiguousarray(x).astype(dtype_of(dtype)) for x in np.split(drawn, [3 * H * D], axis=2))
        with tf32_products(kind == "TF32", "cuda"):
            _, cache = attention.forward(qkv, H)
            repeats = 1 if report.stand_in else 20
            forward = event_seconds(lambda qkv=qkv: attention.forward(qkv, H), repeats)
            backward = event_seconds(lambda dout=dout, cache=cache: attention.backward(dout, cache), repeats)
        product = 2 * B * H * D * T * (T + 1) / 2
        rows.append({
            "in": kind, "forward, ms": forward * 1e3, "backward, ms": backward * 1e3,
            "forward, TFLOP/s": 2 * product / forward / 1e12, "backward, TFLOP/s": 5 * product / backward / 1e12,
            "both, TFLOP/s": 7 * product / (forward + backward) / 1e12,
        })  # fmt: skip
        report.table(f"Attention of {B} sequences of {T:,}, {H} heads of {D} channels", rows)
    report.say("FLOPs by the causal count: half of each product, two of them forward and five backward.")
    both = rows[0]["both, TFLOP/s"]
    if not report.stand_in:
        report.demand("attention in bf16, TFLOP/s", both, MUST, AIM)
    report.answer(f"{report.number(both, 'TFLOP/s')} in bf16, forward and backward")

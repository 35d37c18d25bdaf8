"""Every launch of a kernel or product of ours: its name and shape, the bytes it must move and its FLOPs.

A kernel must move each of its arrays once: what it reads, what it writes, and both of what it changes in place. Which
it only reads, its parameters in the `.cu` file say (`const`); of what it changes, or has only a part of, two tables.
"""

import functools
import math
import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from tinygpt import backend
from tinygpt.kernels.cuda import compiled

UPDATED = {  # what kernels read of that which they write, by their parameters' names
    "adamw": "w m v", "add_bias": "out", "cross_entropy": "logits", "add_sums": " ".join(f"total{i}" for i in range(8)),
}  # fmt: skip
PARTLY: dict[tuple[str, str], Callable[[dict[str, int]], float]] = {  # of the bytes of a kernel's arrays, by name
    ("attention_backward_q", "dqkv"): lambda size: size["dqkv"] / 3,
    ("attention_backward_kv", "dqkv"): lambda size: size["dqkv"] * 2 / 3,
    ("flash_backward_q", "dqkv"): lambda size: size["dqkv"] / 3,
    ("flash_backward_kv", "dqkv"): lambda size: size["dqkv"] * 2 / 3,
    ("flash_forward", "mask"): lambda size: size["mask"] / 2,  # of the causal half
    ("flash_backward_q", "mask"): lambda size: size["mask"] / 2,
    ("flash_backward_kv", "mask"): lambda size: size["mask"] / 2,
    ("embedding_forward", "w"): lambda size: min(size["w"], size["out"]),  # a row for each id, at most
    ("embedding_runs", "dw"): lambda size: 2 * min(size["dw"], size["dout"]),
    ("embedding_join", "dw"): lambda size: min(2 * size["dw"], size["pieces"]),
}
ATTENTION = {  # products of (T, T, D)
    "attention_forward": 2, "attention_backward_q": 3, "attention_backward_kv": 4,
    "flash_forward": 2, "flash_backward_q": 3, "flash_backward_kv": 4,
}  # fmt: skip
PRODUCT = "product"


class Call(NamedTuple):
    """A launch."""

    kernel: str  # or PRODUCT
    shape: str
    bytes: int
    flops: float
    rate: str = "TF32"  # of the card's largest ones of products, the one that bounds it


class Parameter(NamedTuple):
    name: str
    const: bool


class Launches:
    """A context that sees every launch in it. calls: each; seconds: the host's for each. timed: by events around each,
    whose times `milliseconds` and `gaps` have after a synchronisation. executed: False to let none of them happen.
    """

    def __init__(self, timed: bool = False, executed: bool = True):
        self.timed, self.executed = timed, executed
        self.calls: list[Call] = []
        self.seconds: list[float] = []
        self.events: list[tuple[Any, Any]] = []

    def __enter__(self) -> "Launches":
        self.originals = launch, cublas = compiled.Kernels.launch, backend._cublas

        def see_kernel(kernels: Any, kernel: str, grid: Any, block: Any, *args: Any, shared: int = 0) -> None:
            self._see(kernel_call(kernels, kernel, args), launch, kernels, kernel, grid, block, *args, shared=shared)

        def see_product(*args: Any) -> None:
            self._see(product_call(*args), cublas, *args)

        compiled.Kernels.launch, backend._cublas = see_kernel, see_product  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: Any) -> None:
        compiled.Kernels.launch, backend._cublas = self.originals  # type: ignore[method-assign]

    def _see(self, call: Call, launch: Callable[..., None], *args: Any, **options: Any) -> None:
        self.calls.append(call)
        if not self.executed:
            return
        if self.timed:
            import cupy

            start, end = cupy.cuda.Event(), cupy.cuda.Event()
            start.record()
        began = time.perf_counter()
        launch(*args, **options)
        self.seconds.append(time.perf_counter() - began)
        if self.timed:
            end.record()
            self.events.append((start, end))

    def milliseconds(self) -> list[float]:
        """The card's time for each call."""
        import cupy

        return [cupy.cuda.get_elapsed_time(start, end) for start, end in self.events]

    def gaps(self) -> list[tuple[str, str, float]]:
        """Between each call and the next: both kernels' names, and milliseconds, for CuPy's own operations or none."""
        import cupy

        pairs = zip(self.calls, self.calls[1:], self.events, self.events[1:], strict=False)
        return [(a.kernel, b.kernel, cupy.cuda.get_elapsed_time(x[1], y[0])) for a, b, x, y in pairs]


def kernel_call(kernels: Any, kernel: str, args: tuple) -> Call:
    """What a launch of a kernel is, by its arguments."""
    known = parameters().get(kernel) or tuple(Parameter(f"argument {i}", True) for i in range(len(args)))
    named = dict(zip((parameter.name for parameter in known), args, strict=True))
    arrays = {name: x for name, x in named.items() if hasattr(x, "nbytes") and hasattr(x, "data") and hasattr(x, "get")}
    size = {name: extent(x) for name, x in arrays.items()}
    updated, total = UPDATED.get(kernel, "").split(), 0.0
    for name, bytes_ in size.items():
        of_part = PARTLY.get((kernel, name))
        total += of_part(size) if of_part else bytes_ * (2 if name in updated else 1)
    flops = 0.0
    if kernel in ATTENTION:
        B, T, width = named["qkv"].shape  # three times all heads' channels
        flops = ATTENTION[kernel] * 2 * B * T * (T + 1) / 2 * width / 3
    largest = max(arrays.values(), key=extent, default=None)
    shape = "" if largest is None else "x".join(map(str, largest.shape))
    options = getattr(kernels.module, "options", None) or ()
    rate = "bf16" if "-DSTORED=bfloat16" in options else "TF32" if "-DTF32=1" in options else "float32"
    return Call(kernel, shape, round(total), flops, rate)


def product_call(a: tuple, b: tuple, out: tuple, sizes: tuple, transposed: tuple, beta: float) -> Call:
    """What a product is, by the arguments of `backend._cublas`."""
    M, N, K = sizes
    batch = out[0].size // (M * N)
    left, right = (f"{K}x{M}^T" if transposed[0] else f"{M}x{K}"), (f"{N}x{K}^T" if transposed[1] else f"{K}x{N}")
    shape = f"{batch} of " * (batch > 1) + f"{left} @ {right}" + ", added" * (beta != 0)
    moved = batch * ((M * K + K * N) * a[0].itemsize + M * N * (2 if beta else 1) * out[0].itemsize)
    return Call(PRODUCT, shape, moved, 2 * M * N * K * batch, "bf16" if a[0].dtype.name == "bfloat16" else "TF32")


def extent(x: Any) -> int:
    """The bytes of an array's elements, repeated ones counted once."""
    return x.itemsize * math.prod(n for n, step in zip(x.shape, x.strides, strict=True) if step) if x.size else 0


@functools.cache
def parameters() -> dict[str, tuple[Parameter, ...]]:
    """Of every kernel in the folder of `.cu` files."""
    found = {}
    for path in sorted(compiled.FOLDER.glob("*.cu")):
        text = re.sub(r"//[^\n]*|/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.S)
        kernel = r"__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(([^)]*)\)"
        for name, declared in re.findall(kernel, text):
            each = [" ".join(parameter.split()) for parameter in declared.split(",")]
            found[name] = tuple(Parameter(re.findall(r"\w+", text)[-1], text.startswith("const ")) for text in each)
    return found

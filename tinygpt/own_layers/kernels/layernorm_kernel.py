"""LayerNorm's forward as a kernel: what it is launched with, and what usually comes of it instead."""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from tinygpt.own_layers.kernels import Case

KERNEL = "layernorm_forward"
PARAMETERS = "x", "w", "b", "out", "mean", "rstd", "C", "eps"
FAR = "numbers far from 0"  # beside their spread

Outputs: TypeAlias = dict[str, np.ndarray]


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """The launches that a file is held to; rng draws the numbers and the number of rows."""
    yield case(rng, C=100, threads=64)
    yield case(rng, C=32, threads=32)
    yield case(rng, C=5, threads=32, bias=False)
    yield case(rng, C=100, threads=256)
    yield case(rng, C=768, threads=256)
    yield case(rng, C=90, threads=96)
    yield case(rng, C=768, threads=1024, bias=False)
    yield case(rng, C=200, threads=64, eps=0.3)
    yield case(rng, C=1, threads=64)
    yield case(rng, C=768, threads=128, title=FAR, offset=1000.0)


def case(
    rng: np.random.Generator, C: int, threads: int, bias: bool = True, eps: float = 1e-5, title: str = "",
    offset: float = 0.0, rows: int = 0,
) -> Case:  # fmt: skip
    """One launch, with so many rows or a few. offset: what is added to numbers of variance 1/4."""
    rows = rows or int(rng.integers(2, 7))
    x = rng.standard_normal((rows, C)) / 2 + rng.uniform(0.5, 2) * rng.choice([-1, 1], (rows, 1)) + offset
    w, b = rng.uniform(0.5, 2, (2, C)).astype(np.float32)
    given = {"x": x.astype(np.float32), "w": w, "b": b if bias else None, "C": np.int32(C), "eps": np.float32(eps)}
    says = f"{rows} rows of {C}, {threads} threads" + ", b null" * (not bias) + f", {title}" * bool(title)
    right = layernorm(**_exact(given), threads=threads)
    return Case(says, rows, threads, PARAMETERS, given, right, 1e-2 if offset else 1e-4)


def large(rng: np.random.Generator) -> Case:
    """What is launched for the report on what a right kernel moves."""
    return case(rng, C=768, threads=256, rows=8)


def _exact(given: dict[str, Any]) -> dict[str, Any]:
    """In float64."""
    wide = {name: None if x is None else np.asarray(x, np.float64) for name, x in given.items() if name != "C"}
    return wide | {"C": int(given["C"])}


def layernorm(
    x: np.ndarray, w: np.ndarray, b: np.ndarray | None, C: int, eps: float, threads: int, mean: Any = None,
    var: Any = None, rstd: Any = None,
) -> Outputs:  # fmt: skip
    """What the kernel should write, or would with another mean, variance or rstd, (N,) or (N, C) each."""
    mean = _column(x.mean(axis=1) if mean is None else mean)
    var = _column(((x - mean) ** 2).mean(axis=1) if var is None else var)
    with np.errstate(all="ignore"):
        rstd = 1 / np.sqrt(var + eps) if rstd is None else _column(rstd)
        out = (x - mean) * rstd * w + (0 if b is None else b)
    return {"out": out, "mean": mean[:, 0], "rstd": rstd[:, 0]}


def _column(x: np.ndarray) -> np.ndarray:
    return x if x.ndim == 2 else x[:, None]


# The usual mistakes, each as the function of the same arguments that a kernel with it computes


def _mean_over_threads(x: np.ndarray, threads: int, **given: Any) -> Outputs:
    mean = x.sum(axis=1) / threads
    return layernorm(x, threads=threads, mean=mean, var=((x - mean[:, None]) ** 2).sum(axis=1) / threads, **given)


def _mean_alone_over_threads(x: np.ndarray, threads: int, **given: Any) -> Outputs:
    return layernorm(x, threads=threads, mean=x.sum(axis=1) / threads, **given)


def _var_over_threads(x: np.ndarray, threads: int, **given: Any) -> Outputs:
    return layernorm(x, threads=threads, var=x.var(axis=1) * x.shape[1] / threads, **given)


def _of_own_warp(x: np.ndarray, threads: int, **given: Any) -> Outputs:
    """Each warp takes the sums of its own columns for those of the row."""
    C = x.shape[1]
    same = _warp_of(C, threads)[:, None] == _warp_of(C, threads)  # (C, C)
    mean = x @ same / C
    var = ((x[:, :, None] - mean[:, None, :]) ** 2 * same).sum(axis=1) / C
    return layernorm(x, threads=threads, mean=mean, var=var, **given)


def _mean_of_own_warp(x: np.ndarray, threads: int, **given: Any) -> Outputs:
    """So only for the mean: the squares are those of all threads, each about the mean of its warp."""
    warps = _warp_of(x.shape[1], threads)
    return layernorm(x, threads=threads, mean=x @ (warps[:, None] == warps) / x.shape[1], **given)


def _var_of_own_warp(x: np.ndarray, threads: int, **given: Any) -> Outputs:
    warps = _warp_of(x.shape[1], threads)
    squares = (x - x.mean(axis=1, keepdims=True)) ** 2
    return layernorm(x, threads=threads, var=squares @ (warps[:, None] == warps) / x.shape[1], **given)


def _of_first_warp(x: np.ndarray, threads: int, **given: Any) -> Outputs:
    first = _warp_of(x.shape[1], threads) == 0
    mean = x[:, first].sum(axis=1) / x.shape[1]
    var = ((x[:, first] - mean[:, None]) ** 2).sum(axis=1) / x.shape[1]
    return layernorm(x, threads=threads, mean=mean, var=var, **given)


def _warp_of(C: int, threads: int) -> np.ndarray:
    """The warp that has each column, if thread t has the columns t, t + threads ..."""
    return np.arange(C) % threads // 32


def _without_loop(x: np.ndarray, threads: int, **given: Any) -> Outputs:
    """A column a thread, and no more: what is not written is not a number."""
    first, C = x[:, :threads], x.shape[1]
    mean = first.sum(axis=1) / C
    var = ((first - mean[:, None]) ** 2).sum(axis=1) / C
    return _unwritten_after(threads, layernorm(x, threads=threads, mean=mean, var=var, **given))


def _without_loop_in_the_mean(x: np.ndarray, threads: int, **given: Any) -> Outputs:
    mean = x[:, :threads].sum(axis=1) / x.shape[1]
    return layernorm(x, threads=threads, mean=mean, **given)


def _without_loop_in_the_variance(x: np.ndarray, threads: int, **given: Any) -> Outputs:
    first, C = (x - x.mean(axis=1, keepdims=True))[:, :threads], x.shape[1]
    return layernorm(x, threads=threads, var=(first**2).sum(axis=1) / C, **given)


def _without_loop_at_the_end(x: np.ndarray, threads: int, **given: Any) -> Outputs:
    return _unwritten_after(threads, layernorm(x, threads=threads, **given))


def _unwritten_after(threads: int, outputs: Outputs) -> Outputs:
    outputs["out"][:, threads:] = np.nan
    return outputs


def _halved(of_threads: bool, x: np.ndarray, threads: int, **given: Any) -> Outputs:
    """Halves are added to halves, of as many threads, or warps, as no power of two is."""

    def total(numbers: np.ndarray) -> np.ndarray:
        padded = np.pad(numbers, ((0, 0), (0, -numbers.shape[1] % threads)))
        parts = padded.reshape(len(x), -1, threads).sum(axis=1)  # (N, threads)
        if not of_threads:
            parts = parts.reshape(len(x), -1, 32).sum(axis=2)
        half = parts.shape[1] // 2
        while half:
            parts[:, :half] += parts[:, half : 2 * half]
            half //= 2
        return parts[:, 0] / x.shape[1]

    mean = total(x)
    return layernorm(x, threads=threads, mean=mean, var=total((x - mean[:, None]) ** 2), **given)


def _mean_not_divided(x: np.ndarray, **given: Any) -> Outputs:
    return layernorm(x, mean=x.sum(axis=1), **given)


def _var_not_divided(x: np.ndarray, C: int, **given: Any) -> Outputs:
    return layernorm(x, C=C, var=x.var(axis=1) * C, **given)


def _unbiased(x: np.ndarray, C: int, **given: Any) -> Outputs:
    with np.errstate(all="ignore"):
        var = x.var(axis=1) * C / np.float64(C - 1)
    return layernorm(x, C=C, var=var, **given)


def _eps_forgotten(eps: float, **given: Any) -> Outputs:
    return layernorm(eps=0, **given)


def _eps_outside(x: np.ndarray, eps: float, **given: Any) -> Outputs:
    return layernorm(x, eps=eps, rstd=1 / (x.std(axis=1) + eps), **given)


def _not_inverted(x: np.ndarray, eps: float, **given: Any) -> Outputs:
    return layernorm(x, eps=eps, rstd=np.sqrt(x.var(axis=1) + eps), **given)


def _no_root(x: np.ndarray, eps: float, **given: Any) -> Outputs:
    return layernorm(x, eps=eps, rstd=1 / (x.var(axis=1) + eps), **given)


def _not_centred(x: np.ndarray, **given: Any) -> Outputs:
    return layernorm(x, var=(x * x).mean(axis=1), **given)


def _mean_kept_in_out(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, **given: Any) -> Outputs:
    right = layernorm(x, w, b, **given)
    return right | {"out": x * right["rstd"][:, None] * w + (0 if b is None else b)}


def _without_w(w: np.ndarray, **given: Any) -> Outputs:
    return layernorm(w=np.ones_like(w), **given)


def _without_b(b: np.ndarray | None, **given: Any) -> Outputs:
    return layernorm(b=None, **given)


def _b_before_w(w: np.ndarray, b: np.ndarray | None, **given: Any) -> Outputs:
    return layernorm(w=w, b=None if b is None else w * b, **given)


def _first_row(x: np.ndarray, **given: Any) -> Outputs:
    return layernorm(np.repeat(x[:1], len(x), axis=0), **given)


_POWERS = (
    "halves are added to halves, as if the block had a power of two of threads: of 96 threads, or 3 warps, some are "
    "left out of the sum"
)
_DIVIDE = "the sum over a row is divided by blockDim.x, the number of threads; a row has C numbers"
MISTAKES: list[tuple[str, Callable[..., Outputs]]] = [
    (_DIVIDE, _mean_over_threads),
    (_DIVIDE, _mean_alone_over_threads),
    (_DIVIDE, _var_over_threads),
    ("the sums are those of a warp: each warp of the block has another mean. What the warps have found goes through "
     "shared memory, behind a barrier, to be added up", _of_own_warp),
    ("the sum for the mean is that of a warp: each warp of the block has another mean. What the warps have found goes "
     "through shared memory, behind a barrier, to be added up", _mean_of_own_warp),
    ("the sum for the variance is that of a warp: each warp of the block has another rstd. What the warps have found "
     "goes through shared memory, behind a barrier, to be added up", _var_of_own_warp),
    ("the sums are those of the first warp alone: the block's other warps have part of the row too", _of_first_warp),
    ("a row with more numbers than the block has threads is not done to its end: each thread has the columns "
     "threadIdx.x, threadIdx.x + blockDim.x, ... below C, in a loop", _without_loop),
    ("the mean is that of a column a thread: where a row has more numbers than the block has threads, the sum takes a "
     "loop", _without_loop_in_the_mean),
    ("the variance is that of a column a thread: where a row has more numbers than the block has threads, the sum "
     "takes a loop", _without_loop_in_the_variance),
    ("out is not written to its end where a row has more numbers than the block has threads: it takes a loop there "
     "too", _without_loop_at_the_end),
    (_POWERS, lambda **given: _halved(True, **given)),
    (_POWERS, lambda **given: _halved(False, **given)),
    ("the mean is not divided by C: it is the sum of the row", _mean_not_divided),
    ("the variance is not divided by C: it is the sum of the squares", _var_not_divided),
    ("the variance is divided by C - 1; LayerNorm's is the mean of the squares, over C", _unbiased),
    ("eps is forgotten: rstd = 1 / sqrt(var + eps), and without it a row of equal numbers divides by 0",
     _eps_forgotten),
    ("eps is added to the root; it belongs under it, to the variance", _eps_outside),
    ("rstd is the standard deviation itself; it is 1 over that", _not_inverted),
    ("rstd lacks the root: 1 / sqrt(var + eps)", _no_root),
    ("the variance is the mean of x²: the mean is to be taken from x first", _not_centred),
    ("out is made of x; the mean is to be taken from x first", _mean_kept_in_out),
    ("w is not used", _without_w),
    ("b is not used", _without_b),
    ("b is added before the product with w; it comes last", _b_before_w),
    ("every block computes the first row: the one of block i begins at x + i * C", _first_row),
]  # fmt: skip
CANCELLATION = (
    "right but where the numbers lie far from 0 beside their spread, as by E[x²] - mean²: of two large and nearly "
    "equal numbers float32 has no digits left for what is between them. Sum (x - mean)² in a second pass over the row"
)


def diagnose(launches: list[Case], agrees: Any) -> str:
    """The usual mistake that explains what a kernel wrote in every launch, or "". agrees(launch, outputs) says whether
    it wrote those.
    """
    wrong = [launch for launch in launches if not agrees(launch, launch.right)]
    if wrong and all(launch.title.endswith(FAR) for launch in wrong):
        return CANCELLATION
    near = [launch for launch in launches if not launch.title.endswith(FAR)]
    for says, mistake in MISTAKES:
        if all(agrees(launch, mistake(**_exact(dict(launch.arguments)), threads=launch.threads)) for launch in near):
            return says
    return ""

"""The checkers, each given a case in its own way and asked for its verdict. Each is called as its documentation says,
with its own steps and tolerances; for code that computes in float32, where a step and a tolerance can be set, with
those of float32.

A side takes a case and returns the words with which it rejects the code, or "" where it lets it pass; what it raises
are such words too. What the code writes to is given as the checker would give it, so some arrays cannot be written to.
"""

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

from peers.cases import Case
from tinygpt.gradcheck import check_gradients

STEP, TOLERANCE = 1e-2, 1e-2  # for float32, where one can say so
HABIT_STEP, HABIT_THRESHOLD = 1e-5, 1e-7  # cs231n: "1e-7 and less you should be happy"
SCIPY_THRESHOLD = 1e-6  # a forward difference is good for about 1e-7


def ours(case: Case) -> str:
    report = check_gradients((case.forward, case.backward), dict(case.inputs), title="a pair")  # no names of functions
    return "" if report.passed and not report.warnings else str(report)


def torch(case: Case) -> str:
    import torch

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, *inputs: Any) -> Any:
            out, context.cache = case.forward(*(x.detach().numpy() for x in inputs))
            return torch.from_numpy(np.asarray(out))

        @staticmethod
        def backward(context: Any, dout: Any) -> Any:
            return tuple(map(torch.from_numpy, case.backward(dout.numpy(), context.cache)))

    arrays = [_dtype(case, x) for x in case.inputs.values()]
    tensors = [torch.from_numpy(x).requires_grad_() for x in arrays]
    options = {"eps": STEP, "atol": TOLERANCE, "rtol": TOLERANCE} if case.single else {}
    torch.autograd.gradcheck(Function.apply, tensors, **options)
    return ""


def jax(case: Case) -> str:
    import jax
    from jax.test_util import check_grads

    jax.config.update("jax_enable_x64", True)
    arrays = [_dtype(case, x) for x in case.inputs.values()]
    out, _ = case.forward(*(x.copy() for x in arrays))
    shape = jax.ShapeDtypeStruct(np.shape(out), np.asarray(out).dtype)
    caches: list[Any] = []

    def run_forward(*inputs: Any) -> Any:
        out, cache = case.forward(*map(np.asarray, inputs))
        caches[:] = [cache]
        return np.asarray(out)

    def run_backward(dout: Any) -> Any:
        return tuple(case.backward(np.asarray(dout), caches[0]))

    @jax.custom_vjp
    def function(*inputs: Any) -> Any:
        return jax.pure_callback(run_forward, shape, *inputs)

    def forward(*inputs: Any) -> Any:
        return function(*inputs), inputs

    def backward(inputs: Any, dout: Any) -> Any:
        jax.pure_callback(run_forward, shape, *inputs)  # the cache of these inputs
        return jax.pure_callback(run_backward, tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs), dout)

    function.defvjp(forward, backward)
    options = {"eps": STEP, "atol": TOLERANCE, "rtol": TOLERANCE} if case.single else {}
    check_grads(function, tuple(map(jax.numpy.asarray, arrays)), order=1, modes=["rev"], **options)
    return ""


def autograd(case: Case) -> str:
    from autograd.extend import defvjp, primitive
    from autograd.test_util import check_grads

    caches: dict[int, Any] = {}

    @primitive
    def function(*inputs: Any) -> Any:
        out, cache = case.forward(*inputs)
        caches[0] = cache
        return out

    def gradient(number: int) -> Callable:
        def made(out: Any, *inputs: Any) -> Callable:
            cache = caches[0]
            return lambda dout: case.backward(dout, cache)[number]

        return made

    arrays = [_dtype(case, x) for x in case.inputs.values()]
    defvjp(function, *map(gradient, range(len(arrays))))
    for number in range(len(arrays)):  # one input after another, as its documentation has it

        def one(x: Any, number: int = number) -> Any:
            return function(*arrays[:number], x, *arrays[number + 1 :])

        check_grads(one, modes=["rev"], order=1)(arrays[number].copy())
    return ""


def scipy(case: Case) -> str:
    from scipy.optimize import check_grad

    arrays = list(case.inputs.values())
    ends = np.cumsum([x.size for x in arrays])[:-1]
    dout = _dout(case)

    def split(flat: np.ndarray) -> list[np.ndarray]:
        return [part.reshape(x.shape) for part, x in zip(np.split(flat, ends), arrays, strict=True)]

    def loss(flat: np.ndarray) -> float:
        return float((case.forward(*split(flat))[0] * dout).sum())

    def gradient(flat: np.ndarray) -> np.ndarray:
        _, cache = case.forward(*split(flat))
        return np.concatenate([g.reshape(-1) for g in case.backward(dout.copy(), cache)])

    start = np.concatenate([x.reshape(-1) for x in arrays])
    error = check_grad(loss, gradient, start, **({"epsilon": STEP} if case.single else {}))
    size = float(np.linalg.norm(gradient(start.copy())))
    allowed = (TOLERANCE if case.single else SCIPY_THRESHOLD) * max(size, 1.0)
    return "" if error <= allowed else f"check_grad gives {error:.3g}; at most {allowed:.1g} is allowed"


def habit(case: Case) -> str:
    """Central differences and a relative error, entry by entry, whose largest is read by eye."""
    step, threshold = (STEP, TOLERANCE) if case.single else (HABIT_STEP, HABIT_THRESHOLD)
    arrays = [x.copy() for x in case.inputs.values()]
    dout = _dout(case)
    _, cache = case.forward(*arrays)
    gradients = case.backward(dout, cache)
    for name, x, analytic in zip(case.inputs, arrays, gradients, strict=True):
        numerical = np.zeros(x.shape)
        for place in np.ndindex(x.shape):
            kept, sides = x[place], []
            for moved in (kept + step, kept - step):
                x[place] = moved
                sides.append(np.array(case.forward(*arrays)[0], np.float64))
            x[place] = kept
            numerical[place] = ((sides[0] - sides[1]) * dout).sum() / (2 * step)
        error = np.abs(analytic - numerical) / np.maximum(np.abs(analytic) + np.abs(numerical), 1e-8)
        if error.max() > threshold:
            return f"d{name}: relative error {error.max():.2g}"
    return ""


def _dtype(case: Case, x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32 if case.single else np.float64)


def _dout(case: Case) -> np.ndarray:
    out, _ = case.forward(*(x.copy() for x in case.inputs.values()))
    return np.random.default_rng(1).standard_normal(np.shape(out)).astype(np.asarray(out).dtype)


SIDES: dict[str, Callable[[Case], str]] = {
    "tinygpt": ours, "torch": torch, "jax": jax, "autograd": autograd, "scipy": scipy, "cs231n": habit,
}  # fmt: skip


def missing(side: str) -> bool:
    """Whether a side's package is not installed."""
    return side not in ("tinygpt", "cs231n") and importlib.util.find_spec(side) is None

"""Numerical derivatives for the tests: a layer's backward against five-point differences of its forward."""

import numpy as np

WEIGHTS = ((-2, 1 / 12), (-1, -8 / 12), (1, 8 / 12), (2, -1 / 12))  # f' h = sum of w f(x + k h), error O(h^4)


def numerical_gradient(f, x: np.ndarray) -> np.ndarray:
    """The gradient of the scalar function f with respect to every element of the float64 array x, changed in place."""
    gradient = np.empty_like(x)
    for place in np.ndindex(x.shape):
        centre = x[place]
        h = 3e-4 * max(1.0, abs(centre))
        total = 0.0
        for k, weight in WEIGHTS:
            x[place] = centre + k * h
            total += weight * f()
        x[place] = centre
        gradient[place] = total / h
    return gradient


def relative_error(a: np.ndarray, b: np.ndarray, floor: float = 1e-9) -> float:
    """norm(a - b) / max(norm(a), norm(b), floor): one number for a whole tensor."""
    return float(np.linalg.norm(a - b) / max(np.linalg.norm(a), np.linalg.norm(b), floor))


def check_gradients(forward, backward, inputs: dict[str, np.ndarray | None], seed: int = 0) -> dict[str, float]:
    """The relative error of each gradient of `forward(**inputs)`; backward must give one for each input, in order.

    `dout` is random: with ones, softmax's and LayerNorm's true gradients are zero and a backward of zeros passes.
    """
    out, cache = forward(**inputs)
    dout = np.random.default_rng([seed, 99]).standard_normal(np.shape(out))
    gradients = backward(dout, cache)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    assert len(gradients) == len(inputs)
    errors = {}
    for (name, x), gradient in zip(inputs.items(), gradients, strict=True):
        if x is None:
            assert gradient is None, f"d{name} of an input that was None"
            continue
        assert gradient.shape == x.shape, f"d{name} has shape {gradient.shape}, {name} has {x.shape}"
        numerical = numerical_gradient(lambda: float((forward(**inputs)[0] * dout).sum()), x)
        errors[name] = relative_error(gradient, numerical)
    return errors


def assert_gradients(forward, backward, inputs, tolerance: float = 1e-9) -> None:
    errors = check_gradients(forward, backward, inputs)
    assert errors and max(errors.values()) < tolerance, errors

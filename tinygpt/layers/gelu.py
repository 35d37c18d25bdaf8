"""GELU: x times the probability that a standard normal variable is below x; a smooth ReLU.

Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016 (arXiv:1606.08415): the exact form, and the tanh
approximation (section 2) that GPT-2 uses.
"""

import math

from tinygpt.backend import Array, array_module, erf

SQRT_2_OVER_PI = math.sqrt(2 / math.pi)  # Python floats: they take the dtype of the array they meet
SQRT_HALF = math.sqrt(1 / 2)


def forward(x: Array, approximate: str = "tanh") -> tuple[Array, tuple]:
    """out = x * Phi(x), Phi the standard normal distribution function.

    x: any shape. approximate: "tanh" for Phi(x) = (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2, "none" for
    Phi(x) = (1 + erf(x / sqrt(2))) / 2. Returns out: the shape of x, cache. Raises ValueError for another name.
    """
    if approximate == "tanh":
        xp = array_module(x)
        phi = 0.5 * (1 + xp.tanh(SQRT_2_OVER_PI * (x + 0.044715 * x * x * x)))
    elif approximate == "none":
        phi = 0.5 * (1 + erf(x * SQRT_HALF))
    else:
        raise ValueError(f'approximate is {approximate!r}; expected "tanh" or "none"')
    return x * phi, (x, phi, approximate)


def backward(dout: Array, cache: tuple) -> Array:
    """dx: the shape of x; d(x Phi)/dx = Phi + x Phi'.

    dout: the shape of x. With Phi = (1 + tanh u) / 2, Phi' = (1 - tanh(u)^2) / 2 * u' = 2 Phi (1 - Phi) u'; exactly,
    Phi' is the normal density.
    """
    x, phi, approximate = cache
    if approximate == "tanh":
        du = SQRT_2_OVER_PI * (1 + 3 * 0.044715 * x * x)
        density = 2 * phi * (1 - phi) * du
    else:
        density = array_module(x).exp(-0.5 * x * x) * (SQRT_2_OVER_PI / 2)
    return dout * (phi + x * density)

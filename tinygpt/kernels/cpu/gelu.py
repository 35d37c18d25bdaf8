"""GELU in cache-sized blocks. Both forms are x Phi(x) with Phi(x) = (1 + tanh(x P(x^2))) / 2, and the derivative is
taken along in forward, where x, Phi and x^2 are at hand: backward is one product.
"""

import numpy as np

from tinygpt.backend import BLOCK, erf
from tinygpt.layers.gelu import SQRT_2_OVER_PI, SQRT_HALF

_TANH = (SQRT_2_OVER_PI, SQRT_2_OVER_PI * 0.044715)  # P's coefficients, the constant first: the approximation's own
# P for the exact form is atanh(erf(x / sqrt(2))) / x, here a polynomial in x^2 whose largest error in Phi is 2.9e-8,
# half of float32's rounding at 1 (tests/kernels/test_cpu.py measures it).
_EXACT = (
    0.797884941, 0.0363330846, -3.25949779e-05, -5.53061926e-05, 3.96474418e-06, -1.32263319e-07, 1.75617010e-09
)  # fmt: skip


def forward(x: np.ndarray, approximate: str = "tanh") -> tuple[np.ndarray, tuple]:
    """As the definition, `tinygpt/layers/gelu.py`."""
    if approximate not in ("tanh", "none"):
        raise ValueError(f'approximate is {approximate!r}; expected "tanh" or "none"')
    flat = np.ascontiguousarray(x).reshape(-1)
    out, slope = np.empty_like(flat), np.empty_like(flat)
    scratch = np.empty((2, min(BLOCK, flat.size)), flat.dtype)
    with np.errstate(over="ignore"):  # far out the polynomial overflows, and tanh of infinity is the 1 it should be
        for start in range(0, flat.size, BLOCK):
            block = slice(start, start + BLOCK)
            _block(flat[block], out[block], slope[block], scratch, approximate)
    return out.reshape(x.shape), (slope.reshape(x.shape),)


def _block(x: np.ndarray, out: np.ndarray, slope: np.ndarray, scratch: np.ndarray, approximate: str) -> None:
    square, phi = scratch[:, : x.size]
    np.multiply(x, x, out=square)
    if approximate == "none" and x.dtype.itemsize > 4:
        np.add(erf(x * SQRT_HALF), 1, out=phi)  # the polynomial is for float32
    else:
        highest, *rest = reversed(_TANH if approximate == "tanh" else _EXACT)
        np.multiply(square, highest, out=phi)
        for coefficient in rest[:-1]:  # Horner's scheme
            phi += coefficient
            phi *= square
        phi += rest[-1]
        phi *= x
        np.tanh(phi, out=phi)
        phi += 1
    phi *= 0.5
    np.multiply(x, phi, out=out)
    # The slope is Phi + x Phi', Phi' as in the definition; `square` becomes x Phi'.
    if approximate == "tanh":
        square *= 6 * _TANH[1]
        square += 2 * _TANH[0]  # 2 u'
        np.subtract(1, phi, out=slope)
        square *= slope
        square *= out  # x Phi
    else:
        square *= -0.5
        np.exp(square, out=square)
        square *= SQRT_2_OVER_PI / 2
        square *= x
    np.add(phi, square, out=slope)


def backward(dout: np.ndarray, cache: tuple) -> np.ndarray:
    """dx: the shape of x, as the definition."""
    (slope,) = cache
    return dout * slope

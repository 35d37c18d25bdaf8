"""The derivative of any function of an array, by moving each entry a little: slow, approximate, and hard to get wrong.

`differences.py` does the same with more care, where a difference of 1e-9 has to mean something.
"""

from collections.abc import Callable

import numpy as np

from tinygpt.backend import Array, array_module


def numerical_gradient(f: Callable[[Array], float], x: Array, h: float = 1e-5) -> Array:
    """df/dx by central differences: (f(x + h) - f(x - h)) / 2h for each entry of x, its error of the order of h^2.

    f: takes x and returns a number; x: float64 of any shape, each entry of which is moved in place and put back as it
    was. Returns an array of x's shape.
    """
    gradient = array_module(x).zeros_like(x)
    for place in np.ndindex(x.shape):
        kept = float(x[place])
        x[place] = kept + h
        above = f(x)
        x[place] = kept - h
        below = f(x)
        x[place] = kept
        gradient[place] = (above - below) / (2 * h)
    return gradient

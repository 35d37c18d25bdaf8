"""Random numbers."""

import numpy as np

from tests.cuda.strict_cupy.array import into, store


class Generator:
    """cupy.random.Generator, what of it was checked; it draws other numbers than CuPy's."""

    def __init__(self, seed):
        self._generator = np.random.default_rng(seed)

    def random(self, size=None, dtype=np.float64, out=None):
        return into("random", self._generator.random(size, dtype), out, "no")

    def standard_normal(self, size=None, dtype=np.float64, out=None):
        return into("standard_normal", self._generator.standard_normal(size, dtype), out, "no")

    def integers(self, low, high=None, size=None, dtype=np.int64, endpoint=False):
        return store("integers", self._generator.integers(low, high, size, dtype, endpoint))

    def __getattr__(self, name):
        raise AttributeError(f"the stand-in does not know cupy.random.Generator.{name}")

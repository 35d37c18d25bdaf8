import numpy as np
import pytest


@pytest.fixture
def cupy(card):
    import cupy

    return cupy


@pytest.fixture
def a(cupy, card):
    a = cupy.asarray(np.arange(12, dtype=np.float32).reshape(3, 4))
    card.reset()
    return a

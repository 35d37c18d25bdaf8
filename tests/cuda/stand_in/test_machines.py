"""The stand-in can be another machine, and describes itself."""

import pytest


def test_a_machine_without_a_card_says_so(cupy, card):
    card.broken = "no card"
    assert not cupy.cuda.is_available()
    for use in (lambda: cupy.zeros(3), cupy.cuda.runtime.getDeviceCount):
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorNoDevice"):
            use()


def test_a_machine_without_cublas_fails_at_the_first_product(cupy, card, a):
    card.broken = "first product"
    cupy.exp(a)
    with pytest.raises(RuntimeError, match="CUBLAS_STATUS_NOT_INITIALIZED"):
        a @ a.T


def test_a_machine_that_computes_wrong_gives_zeros(cupy, card, a):
    card.broken = "wrong product"
    assert not (a @ a.T).get().any()


def test_a_card_describes_itself(cupy, card):
    card.compute_capability = "61"
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    assert isinstance(properties["name"], bytes) and (properties["major"], properties["minor"]) == (6, 1)
    assert cupy.cuda.Device().compute_capability == "61" and cupy.cuda.runtime.runtimeGetVersion() == 13000
    assert cupy.__version__ == "14.2.0 (stand-in)"

"""The stand-in can be another machine, and describes itself."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
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


def test_a_machine_has_cards_of_which_one_is_current(cupy, card, a):
    card.bus_ids = ["0000:17:00.0", "0000:65:00.0"]
    runtime = cupy.cuda.runtime
    assert [runtime.deviceGetPCIBusId(n) for n in range(runtime.getDeviceCount())] == card.bus_ids
    cupy.cuda.Device(1).use()
    assert runtime.getDevice() == cupy.cuda.get_device_id() == cupy.cuda.Device().id == 1
    b = cupy.ones((3, 4), np.float32)
    assert (a.device.id, b.device.id, a.data.device_id, b.data.device_id) == (0, 1, 0, 1)
    for mix in (lambda: a + b, lambda: cupy.exp(a), lambda: a @ b.T, lambda: a.fill(0), lambda: a.astype("float64")):
        with pytest.raises(ValueError, match="array device = 0 while current = 1"):
            mix()
    with cupy.cuda.Device(0):
        cupy.exp(a)
    assert runtime.getDevice() == 1
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(runtime.getDevice).result() == 0  # each thread has its own
    for wrong in (lambda: cupy.cuda.Device(2).use(), lambda: runtime.deviceGetPCIBusId(2)):
        with pytest.raises(runtime.CUDARuntimeError, match="cudaErrorInvalidDevice"):
            wrong()


@pytest.mark.parametrize(
    ("visible", "seen"), [("1", ["b"]), ("1,0", ["b", "a"]), ("0,7,1", ["a"]), ("", []), ("-1", []), (None, ["a", "b"])]
)
def test_a_process_sees_some_of_the_cards(cupy, card, visible, seen):
    card.bus_ids, card.visible_devices = ["a", "b"], visible
    if seen:
        assert [cupy.cuda.Device(n).pci_bus_id for n in range(cupy.cuda.runtime.getDeviceCount())] == seen
    else:
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorNoDevice"):
            cupy.cuda.runtime.getDeviceCount()
        assert not cupy.cuda.is_available()

"""Device arrays: what of them was written, and memory that others own."""

import gc

import numpy as np
import pytest

from tests.emulator.running import module
from tinygpt import emulator


def copy(x, out, threads=32):
    module("right.cu").get_function("copy")((1,), (threads,), (x, out, np.int32(threads)))


def test_an_empty_array_is_not_written():
    out = emulator.empty((3, 5))
    assert emulator.unwritten(out) == 60 and np.isnan(out).all()
    assert emulator.unwritten(emulator.empty((3, 0))) == 0 == emulator.unwritten(emulator.asarray([1.0]))


VIEWS = {  # of an array (4, 6, 5), and how many elements they show
    "rows": (lambda x: x[:2], 60),
    "one": (lambda x: x[3, 5, 4:], 1),
    "columns": (lambda x: x[..., 1::2], 48),
    "backwards": (lambda x: x[::-2, ::-1], 60),
    "turned": (lambda x: x.transpose(2, 0, 1)[:2], 48),
    "repeated": (lambda x: np.broadcast_to(x[:1, :1], (4, 6, 5)), 5),
    "all": (lambda x: x, 120),
    "all turned": (lambda x: x.T, 120),
    "none": (lambda x: x[:0], 0),
}


@pytest.mark.parametrize("dtype", ["int8", "float16", "float32", "float64"])
@pytest.mark.parametrize("name", VIEWS)
def test_what_the_host_writes_through_a_view_is_written(name, dtype):
    x = emulator.empty((4, 6, 5), dtype)
    view, elements = VIEWS[name][0](x), VIEWS[name][1]
    assert emulator.unwritten(view) == elements * x.itemsize
    emulator.mark_written(view)
    assert emulator.unwritten(view) == 0
    assert emulator.unwritten(x) == (120 - elements) * x.itemsize


def test_what_a_kernel_writes_is_written():
    x, out = emulator.asarray(np.arange(32), "float32"), emulator.empty((2, 32))
    copy(x, out[1])
    assert emulator.unwritten(out) == emulator.unwritten(out[0]) == 128 and (out[1] == np.arange(32)).all()


def test_plain_arrays_count_as_written():
    x, out = np.ones(32, "float32"), np.zeros(32, "float32")
    copy(x, out)
    assert (out == 1).all() and emulator.unwritten(out) == 0


def test_plain_arrays_that_overlap_share_what_is_known_of_them():
    x = np.ones(64, "float32")
    with pytest.raises(emulator.KernelError, match="race"):
        copy(x[:32], x[1:33])


def test_a_view_with_strides_is_bounded_by_its_extent():
    x = emulator.asarray(np.arange(64), "float32")
    out = emulator.empty(32)
    copy(x[::2], out)  # the kernel reads it as it lies in memory
    assert (out == np.arange(32)).all()
    with pytest.raises(emulator.KernelError, match="out of bounds: reads .* after the end of 'x'"):
        copy(x[:32][::2], out)


def test_memory_that_others_own(monkeypatch):
    memory = np.zeros(1024, "float32")
    address, out = memory.ctypes.data, np.zeros(32, "float32")
    emulator.register(address, memory.nbytes, written=False)
    assert emulator.unwritten(memory) == memory.nbytes
    with pytest.raises(emulator.KernelError, match=r"'x' \(float32 \(32,\)\), element \d+, which was never written"):
        copy(memory[16:48], out)
    emulator.mark_written_at(address + 64, 128)
    assert emulator.unwritten_at(address, memory.nbytes) == memory.nbytes - 128
    copy(memory[16:48], out)
    with pytest.raises(emulator.KernelError, match="out of bounds"):
        copy(memory[16:32], out)
    emulator.mark_written_at(address, memory.nbytes)
    assert emulator.unwritten(memory) == 0

    emulator.register(address, memory.nbytes)  # used again for something else
    assert emulator.unwritten(memory) == memory.nbytes
    emulator.register(address + 128, 128, written=True)  # by someone who did not say that it was free
    assert emulator.unwritten(memory) == 0
    emulator.forget(address + 128)
    copy(memory[16:48], out)


def test_an_argument_that_reaches_beyond_what_was_registered():
    memory = np.zeros(64, "float32")
    emulator.register(memory.ctypes.data, 64, written=True)
    try:
        with pytest.raises(emulator.KernelError, match=r"^copy, 'x' \(float32 \(64,\)\) reaches beyond the memory"):
            copy(memory, np.zeros(32, "float32"))
    finally:
        emulator.forget(memory.ctypes.data)


def test_the_memory_of_an_array_that_is_gone_is_forgotten():
    x = emulator.empty(1000)
    address = x.ctypes.data
    assert emulator.unwritten_at(address, 4000) == 4000
    del x
    gc.collect()
    assert emulator.unwritten_at(address, 4000) == 0

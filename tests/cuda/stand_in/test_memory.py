"""The stand-in's memory is counted, limited, and has addresses."""

import gc

import numpy as np
import pytest


def test_memory_is_counted_in_units_until_the_last_view_dies(cupy):
    pool = cupy.get_default_memory_pool()
    x = cupy.zeros(129, np.float32)
    assert pool.used_bytes() == pool.total_bytes() == 1024
    view = x[5:].reshape(4, 31).T
    del x
    gc.collect()
    assert pool.used_bytes() == 1024
    del view
    gc.collect()
    assert (pool.used_bytes(), pool.total_bytes(), pool.free_bytes()) == (0, 1024, 1024)
    pool.free_all_blocks()
    assert pool.total_bytes() == 0


@pytest.mark.parametrize("by_pool", [False, True])
def test_more_than_the_limit_is_out_of_memory(cupy, card, by_pool):
    if by_pool:
        cupy.get_default_memory_pool().set_limit(size=2048)
    else:
        card.memory_limit = 2048
    x = cupy.zeros(256, np.float32)
    message = r"Out of memory allocating 2,048 bytes \(allocated so far: 1,024 bytes, limit set to: 2,048 bytes\)"
    with pytest.raises(cupy.cuda.memory.OutOfMemoryError, match=message):
        cupy.zeros(512, np.float32)
    assert issubclass(cupy.cuda.memory.OutOfMemoryError, MemoryError)
    del x
    cupy.zeros(512, np.float32)


def test_addresses_are_real_and_views_lie_where_they_should(cupy, a):
    assert a.data.ptr % 512 == 0 and a[1, 2:].data.ptr - a.data.ptr == (4 + 2) * 4
    again = cupy.ndarray((2,), np.float32, a[1].data, (8,))
    assert again.get().tolist() == [4, 6]

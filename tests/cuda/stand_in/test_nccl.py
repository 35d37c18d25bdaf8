"""The stand-in for NCCL refuses, in one process, what the real one would take on trust; between processes see
`tests/cuda/test_ranks.py`.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.cuda import strict_cupy
from tests.cuda.strict_cupy import nccl as stand_in
from tinygpt import backend

EACH = 8  # elements


@pytest.fixture
def nccl(card):
    from cupy.cuda import nccl

    return nccl


@pytest.fixture
def comm(nccl):
    return nccl.NcclCommunicator(1, nccl.get_unique_id(), 0)


@pytest.fixture
def x(cupy, nccl):
    return cupy.arange(EACH, dtype=np.float32)


def refused(words):
    return pytest.raises(strict_cupy.NcclMisuse, match=words)


def test_one_rank_keeps_what_it_has(cupy, card, nccl, comm, x):
    y, address, before = cupy.zeros(EACH, np.float32), x.data.ptr, x.get()
    kind, of_sum, stream = nccl.NCCL_FLOAT32, nccl.NCCL_SUM, cupy.cuda.get_current_stream().ptr
    comm.allReduce(address, address, EACH, kind, of_sum, stream)
    comm.reduce(address, address, EACH, kind, of_sum, 0, stream)
    comm.reduceScatter(address, address, EACH, kind, of_sum, stream)
    comm.allGather(address, address, EACH, kind, stream)
    card.reset()
    nccl.groupStart()
    comm.broadcast(address, y.data.ptr, EACH, kind, 0, stream)
    assert not y._np.any()  # nothing before the end of the group
    nccl.groupEnd()
    np.testing.assert_array_equal(y.get(), before)
    np.testing.assert_array_equal(x.get(), before)
    ((noted,),) = card.collectives
    assert (noted.what, noted.count, noted.dtype, noted.nbytes, noted.root) == ("broadcast", EACH, "float32", 32, 0)
    assert (comm.size(), comm.rank_id(), comm.device_id()) == (1, 0, 0)


def all_reduce(comm, x, count=None, kind=7, op=0, stream=0, to=None):
    comm.allReduce(x.data.ptr, (x if to is None else to).data.ptr, count or x.size, kind, op, stream)


def test_memory_that_is_not_meant_is_refused(cupy, card, comm, x):
    host, doubles = np.zeros(EACH, np.float32), cupy.zeros(EACH)
    with refused("allReduce sends at 0x.*, which is no memory of a card"):
        comm.allReduce(host.ctypes.data, x.data.ptr, EACH, 7, 0, 0)
    with refused("allReduce receives at 0x.*, which is no memory of a card"):
        comm.allReduce(x.data.ptr, host.ctypes.data, EACH, 7, 0, 0)
    with refused("allReduce sends 36 bytes, of which the array at 0x.* has not all"):
        all_reduce(comm, x, EACH + 1)
    with refused("sends 32 bytes, of which"):
        comm.allReduce(x[1:].data.ptr, x[1:].data.ptr, EACH, 7, 0, 0)
    with refused("sends float32, and the array there has float64"):
        all_reduce(comm, doubles)
    with refused("receives into a part of what it sends"):
        all_reduce(comm, x[1:], to=x[:-1])
    with refused("allReduce sends 32 bytes that nobody has written"):
        all_reduce(comm, cupy.empty(EACH, np.float32))


def test_another_card_is_refused(cupy, card, nccl, comm, x):
    card.bus_ids.append("0000:65:00.0")
    with cupy.cuda.Device(1):
        y = cupy.zeros(EACH, np.float32)
        with refused("while card 1 is current, on a communicator of card 0"):
            all_reduce(comm, y)
        other = nccl.NcclCommunicator(1, nccl.get_unique_id(), 0)
        with refused("of card 1 sends in memory of card 0"):
            all_reduce(other, x)
        assert other.device_id() == 1


def test_a_stream_that_is_not_the_current_one_is_refused(cupy, comm, x):
    with cupy.cuda.Stream() as stream:
        with refused("on a stream that is not the current one"):
            all_reduce(comm, x)
        all_reduce(comm, x, stream=stream.ptr)


def test_forgotten_calls_of_a_group_are_refused(cupy, card, nccl, comm, x):
    with pytest.raises(nccl.NcclError, match="INVALID_USAGE"):
        nccl.groupEnd()
    nccl.groupStart()
    all_reduce(comm, x)
    for wait in (x.get, cupy.cuda.Device().synchronize, lambda: float(x[0])):
        with refused("waits within a group of NCCL's calls"):
            wait()
    with refused("allReduce and allReduce of one group share memory that one of them writes"):
        all_reduce(comm, x)
    with refused("destroyed within a group"):
        comm.destroy()
    nccl.groupEnd()
    with refused("begun and never ended"), strict_cupy.installed():
        nccl.groupStart()


def test_a_communicator_is_of_one_id_size_and_rank(cupy, nccl, comm, x):
    identity = nccl.get_unique_id()
    assert type(identity) is bytes and len(identity) == 128
    with pytest.raises(TypeError, match=r"expected bytes, got tuple"):  # as CuPy had it before its version 14
        nccl.NcclCommunicator(1, tuple(identity), 0)
    with pytest.raises(ValueError, match="commId length 3 != 128"):
        nccl.NcclCommunicator(1, b"abc", 0)
    for size, rank in ((0, 0), (1, 1), (1, -1)):
        with pytest.raises(nccl.NcclError, match="INVALID_ARGUMENT"):
            nccl.NcclCommunicator(size, identity, rank)
    with refused("an id that none of them has made"):
        nccl.NcclCommunicator(1, bytes(128), 0)
    nccl.NcclCommunicator(1, identity, 0)
    with refused("an id is used a second time"):
        nccl.NcclCommunicator(1, identity, 0)
    comm.destroy()
    with refused("on a communicator that was destroyed"):
        all_reduce(comm, x)


def test_a_rank_that_does_not_come_is_not_waited_for_without_end(monkeypatch):
    monkeypatch.setattr(stand_in, "DEADLINE", 0.01)
    with refused("another rank has not begun the same within 0 s"):
        stand_in._until(SimpleNamespace(Test=lambda: False))


def test_what_nccl_itself_refuses(nccl, comm, x):
    for wrong in ({"kind": 10}, {"kind": -1}, {"op": 5}):
        with pytest.raises(nccl.NcclError, match="INVALID_ARGUMENT"):
            all_reduce(comm, x, **wrong)
    with pytest.raises(nccl.NcclError, match="INVALID_ARGUMENT"):
        comm.broadcast(x.data.ptr, x.data.ptr, EACH, 7, 1, 0)
    with pytest.raises(OverflowError):
        all_reduce(comm, x, count=-1)
    with pytest.raises(TypeError):
        all_reduce(comm, x, count=1.0)


def test_nccl_is_no_attribute_until_it_is_imported_and_may_be_missing(cupy, card):
    with pytest.raises(AttributeError):
        cupy.cuda.nccl  # noqa: B018
    assert backend.nccl().available
    card.nccl = False
    assert backend.nccl() is None
    from cupy.cuda import nccl

    with pytest.raises(AttributeError):
        nccl.NcclCommunicator  # noqa: B018

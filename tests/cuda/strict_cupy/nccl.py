"""NCCL as CuPy 14.2 has it (cupy_backends/cuda/libs/nccl.pyx), between processes that mpiexec started, or in one alone.

What a rank asks for is held against the memory it names, then against what every other rank asks for. NCCL itself takes
addresses and counts on trust: where it would hang, crash or compute something else, this raises NcclMisuse, on all
ranks where they disagree. Numbers travel over MPI when the outermost group ends, or at once where there is none. They
are added up as a ring does: a rank's part of the buffer begins with the next rank's, so that the order of the terms is
another in each part and the same on every rank.

Stricter than NCCL: a group is the same on every rank; calls are on the current stream, which alone orders them after
what wrote the memory; no two calls of a group share memory that one of them writes; and a rank that the others wait for
has DEADLINE seconds.
"""

import json
import operator
import os
import platform
import time
from typing import NamedTuple

import numpy as np

from tests.cuda.strict_cupy.card import card
from tests.cuda.strict_cupy.errors import NcclError, NcclMisuse

DEADLINE = 20.0  # seconds
ROOM = 4096  # bytes, for what a rank says of a group
OPERATIONS = {"NCCL_SUM": 0, "NCCL_PROD": 1, "NCCL_MAX": 2, "NCCL_MIN": 3, "NCCL_AVG": 4}
KINDS = {
    "NCCL_INT8": 0, "NCCL_CHAR": 0, "NCCL_UINT8": 1, "NCCL_INT32": 2, "NCCL_INT": 2, "NCCL_UINT32": 3, "NCCL_INT64": 4,
    "NCCL_UINT64": 5, "NCCL_FLOAT16": 6, "NCCL_HALF": 6, "NCCL_FLOAT32": 7, "NCCL_FLOAT": 7, "NCCL_FLOAT64": 8,
    "NCCL_DOUBLE": 8, "NCCL_BFLOAT16": 9,
}  # fmt: skip
DTYPES = list(map(np.dtype, "int8 uint8 int32 uint32 int64 uint64 float16 float32 float64".split()))

_made: set[bytes] = set()  # the ids that this process has made, and those of which it is a rank
_used: set[bytes] = set()


class Collective(NamedTuple):
    """What is noted of a call, the same on every rank."""

    what: str
    count: int  # as NCCL is told, of a rank's part where there are parts
    dtype: str
    nbytes: int  # of the whole buffer
    op: int | None = None
    root: int | None = None


class _Span(NamedTuple):
    """Memory of a card."""

    buffer: object
    start: int
    nbytes: int

    def array(self, dtype):
        return self.buffer.memory[self.start - self.buffer.ptr :][: self.nbytes].view(dtype)

    def meets(self, other):
        return self.start < other.start + other.nbytes and other.start < self.start + self.nbytes


class _Call(NamedTuple):
    noted: Collective
    dtype: np.dtype
    reads: _Span | None
    writes: _Span | None


def get_unique_id():
    made = b"\0\xff" + os.urandom(126)  # any bytes, zeros and negative chars among them
    _made.add(made)
    return made


def get_version():
    return 22707


get_build_version = get_version


def groupStart():
    card().groups += 1


def groupEnd():
    if not card().groups:
        raise NcclError(5)
    card().groups -= 1
    if not card().groups:
        begun, card().begun = card().begun, []
        for comm in dict.fromkeys(comm for comm, _ in begun):
            comm._run([call for other, call in begun if other is comm])


class NcclCommunicator:
    def __init__(self, ndev, commId, rank, config=None):
        if not isinstance(commId, bytes):
            got = type(commId).__name__
            raise TypeError(f"Argument 'commId' has incorrect type (expected bytes, got {got})")
        if len(commId) != 128:
            raise ValueError(f"commId length {len(commId)} != 128.")
        if config is not None:
            raise NotImplementedError("the stand-in has no NcclConfig")
        card().require()
        if ndev < 1 or not 0 <= rank < ndev:
            raise NcclError(4)
        if card().groups:
            raise NcclMisuse("a communicator is made within a group, where no rank's call waits for the others'")
        if commId in _used:
            raise NcclMisuse("an id is used a second time; each communicator needs one of its own")
        self._size, self._rank, self._device = ndev, rank, card().current
        self._between = _among_processes(ndev)
        place = f"{platform.node()} {card().visible[self._device]}"
        ranks = self._everyones([rank, ndev, commId.hex(), commId in _made, place])
        if len({tuple(said[1:3]) for said in ranks}) > 1 or not any(said[3] for said in ranks):
            raise NcclMisuse("the ranks of a communicator have other sizes or ids, or an id that none of them has made")
        if sorted(said[0] for said in ranks) != list(range(ndev)):
            raise NcclMisuse(f"the ranks of a communicator are {[said[0] for said in ranks]}")
        if len({said[4] for said in ranks}) < ndev:
            raise NcclError(5)  # Duplicate GPU detected
        _used.add(commId)

    def size(self):
        return self._size

    def rank_id(self):
        return self._rank

    def device_id(self):
        return self._device

    def destroy(self):
        if any(comm is self for comm, _ in card().begun):
            raise NcclMisuse("a communicator is destroyed within a group, before its calls")
        self._size = 0

    def allReduce(self, sendbuf, recvbuf, count, datatype, op, stream):
        self._begin("allReduce", sendbuf, recvbuf, count, datatype, stream, op=op)

    def reduce(self, sendbuf, recvbuf, count, datatype, op, root, stream):
        self._begin("reduce", sendbuf, recvbuf, count, datatype, stream, op=op, root=root)

    def broadcast(self, sendbuff, recvbuff, count, datatype, root, stream):
        self._begin("broadcast", sendbuff, recvbuff, count, datatype, stream, root=root)

    def reduceScatter(self, sendbuf, recvbuf, recvcount, datatype, op, stream):
        self._begin("reduceScatter", sendbuf, recvbuf, recvcount, datatype, stream, op=op)

    def allGather(self, sendbuf, recvbuf, count, datatype, stream):
        self._begin("allGather", sendbuf, recvbuf, count, datatype, stream)

    def _begin(self, what, send, receive, count, datatype, stream, op=None, root=None):
        send, receive, count, stream = map(operator.index, (send, receive, count, stream))
        if count < 0:
            raise OverflowError("can't convert negative value to size_t")
        if not self._size:
            raise NcclMisuse(f"{what} on a communicator that was destroyed")
        if datatype == KINDS["NCCL_BFLOAT16"]:
            raise NotImplementedError(
                "the stand-in adds up no bfloat16, in which sums over ranks would lose their digits"
            )
        if not 0 <= datatype < len(DTYPES) or op not in (None, *OPERATIONS.values()):
            raise NcclError(4)
        if root is not None and not 0 <= root < self._size:
            raise NcclError(4)
        if card().current != self._device:
            raise NcclMisuse(f"{what} while card {card().current} is current, on a communicator of card {self._device}")
        if stream != card().streams[-1].ptr:
            raise NcclMisuse(f"{what} on a stream that is not the current one, and so waits for nothing written there")
        dtype = DTYPES[datatype]
        whole, part = count * dtype.itemsize * self._size, count * dtype.itemsize
        sends, receives = (whole if what == name else part for name in ("reduceScatter", "allGather"))
        reads = writes = None
        if what != "broadcast" or self._rank == root:
            reads = self._span(what, "sends", send, sends, dtype)
        if what != "reduce" or self._rank == root:
            writes = self._span(what, "receives", receive, receives, dtype)
        own = self._rank * part
        in_place = (receive == send + own) if what == "reduceScatter" else (send == receive + own)
        in_place = in_place if what in ("reduceScatter", "allGather") else send == receive
        if reads and writes and reads.meets(writes) and not in_place:
            raise NcclMisuse(f"{what} receives into a part of what it sends, which is not the part it may")
        if reads and (unwritten := reads.buffer.unwritten(reads.array(dtype))):
            raise NcclMisuse(f"{what} sends {unwritten:,} bytes that nobody has written")
        nbytes = whole if what in ("reduceScatter", "allGather") else part
        call = _Call(Collective(what, count, dtype.name, nbytes, op, root), dtype, reads, writes)
        for other in (call for comm, call in card().begun if comm is self):
            if any(a.meets(b) for a, b in ((call.writes, other.writes), (call.writes, other.reads)) if a and b) or (
                call.reads and other.writes and call.reads.meets(other.writes)
            ):
                raise NcclMisuse(f"{what} and {other.noted.what} of one group share memory that one of them writes")
        if card().groups:
            card().begun.append((self, call))
        else:
            self._run([call])

    def _span(self, what, does, address, nbytes, dtype):
        """The memory that a call names, of its own card, whole, and of the dtype it says."""
        buffer = card().buffer_at(address, 1) if nbytes else None
        if nbytes and buffer is None:
            raise NcclMisuse(f"{what} {does} at {address:#x}, which is no memory of a card")
        if buffer is None:
            return None
        if buffer.device != self._device:
            raise NcclMisuse(f"{what} of card {self._device} {does} in memory of card {buffer.device}")
        if address + nbytes > buffer.ptr + buffer.nbytes:
            raise NcclMisuse(f"{what} {does} {nbytes:,} bytes, of which the array at {address:#x} has not all")
        if buffer.dtype is not None and buffer.dtype != dtype:
            raise NcclMisuse(f"{what} {does} {dtype.name}, and the array there has {buffer.dtype.name}")
        return _Span(buffer, address, nbytes)

    def _run(self, calls):
        """The calls of a group, once all ranks have begun the same."""
        noted = [call.noted for call in calls]
        for rank, others in enumerate(self._everyones(noted)):
            if others != json.loads(json.dumps(noted)):
                others = [Collective(*other) for other in others]
                raise NcclMisuse(f"rank {self._rank} has begun {noted}, and rank {rank} {others}")
        for call in calls:
            self._exchange(call)
        card().collectives.append(noted)

    def _exchange(self, call):
        what, count, root = call.noted.what, call.noted.count, call.noted.root
        sent = np.zeros(call.noted.nbytes if what == "broadcast" else 0, np.uint8)  # of ranks that have nothing to send
        if call.reads:
            sent = call.reads.array(call.dtype).view(np.uint8)
        everyones = self._gathered(sent).view(call.dtype)
        if what in ("allReduce", "reduce", "reduceScatter"):
            result = _added_up(everyones, call.noted.op)
            if what == "reduceScatter":
                result = result[self._rank * count :][:count]
        else:
            result = everyones[root] if what == "broadcast" else everyones.reshape(-1)
        if call.writes:
            received = call.writes.array(call.dtype)
            received[...] = result
            call.writes.buffer.mark(received)

    def _everyones(self, value):
        said = np.zeros(ROOM, np.uint8)
        text = json.dumps(value).encode()
        said[: len(text)] = np.frombuffer(text, np.uint8)
        return [json.loads(row.tobytes().rstrip(b"\0")) for row in self._gathered(said)]

    def _gathered(self, row):
        """Every rank's bytes, (ranks, n), when all are there."""
        if self._between is None:
            return row.reshape(1, -1).copy()
        table = np.empty((self._size, row.size), np.uint8)
        _until(self._between.Iallgather(row.copy(), table))
        return table


def _among_processes(ndev):
    """MPI's communicator for as many; None for one."""
    if ndev == 1:
        return None
    from mpi4py import MPI

    if ndev != MPI.COMM_WORLD.size:
        raise NcclMisuse(f"a communicator of {ndev} ranks, and {MPI.COMM_WORLD.size} processes were started")
    between, request = MPI.COMM_WORLD.Idup()
    _until(request)
    return between


def _until(request):
    end = time.monotonic() + DEADLINE
    while not request.Test():
        if time.monotonic() > end:
            raise NcclMisuse(f"another rank has not begun the same within {DEADLINE:.0f} s: NCCL would wait for ever")
        time.sleep(1e-4)


def _added_up(rows, op):
    """Every rank's numbers as one, each part of them in the order in which it goes round a ring."""
    together = {0: np.add, 1: np.multiply, 2: np.maximum, 3: np.minimum, 4: np.add}[op]
    result, ranks = np.empty_like(rows[0]), len(rows)
    for first, part in enumerate(np.array_split(np.arange(rows.shape[1]), ranks)):
        part = slice(part[0], part[-1] + 1) if part.size else slice(0)
        result[part] = rows[(first + 1) % ranks, part]
        for step in range(2, ranks + 1):
            result[part] = together(result[part], rows[(first + step) % ranks, part])
    return result / ranks if op == 4 else result


MEMBERS = {
    **OPERATIONS, **KINDS, "NcclCommunicator": NcclCommunicator, "NcclError": NcclError, "groupStart": groupStart,
    "groupEnd": groupEnd, "get_unique_id": get_unique_id, "get_version": get_version,
    "get_build_version": get_build_version,
}  # fmt: skip

"""The processes that share a run: rank, size, and what they tell each other, over nothing, MPI or NCCL.

A program has a group of one, ALONE, unless a launcher (`mpiexec`, `srun`) started several of it: then `joined`, in
joining.py, gives each of them its place in the group. Numbers of the host travel over MPI, arrays of a card over NCCL.
Whatever waits for another rank waits with the processor left to others, and says for whom if that takes long.
"""

import contextlib
import json
import os
import platform
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from tinygpt.backend import Array, array_module
from tinygpt.device import cpu_count
from tinygpt.errors import Note, UserError
from tinygpt.run.cards import Cards, take_card

T = TypeVar("T")
PIECE = 4 << 20  # elements that are summed at a time: MPI needs as many again to sum them in
LONG = 30.0  # seconds after which a wait is worth a note
HEARD = 0.2  # seconds that the launcher gets to read a rank's last words
LEAVING = 5.0  # seconds that a rank which failed waits for the others to say the same
AWAKE = 5e-5  # seconds in which a message is looked for without a nap; the shortest nap takes as long
NAP = 5e-4  # seconds, the longest nap
BOUNDARY = 16  # elements, to which shards are rounded: a cache line of float32


class Everyones(UserError):
    """A mistake that every rank comes to at once, with the same words; rank 0 may still be long at its last ones."""


class Group:
    """One process, which needs nobody; `MPIGroup` has several."""

    rank, size = 0, 1
    machines, ranks_here = 1, 1  # on how many machines they are, and how many on this rank's
    names: Sequence[str] = ("this process",)  # of all ranks, as sentences have them

    @property
    def cores(self) -> int:
        """Of this rank: those of the machine, shared by all ranks that may use the same ones."""
        return cpu_count()

    def use_card(self, device: str) -> None:
        """Compute on this rank's own card from here on, where `device` (auto, cuda) comes to mean one."""

    def sum(self, *arrays: Array) -> None:
        """Add up each of the arrays over all ranks, in place: the same bits on all of them."""

    def broadcast(self, *arrays: Array) -> None:
        """Fill each of the arrays with rank 0's."""

    def exchange(self, *numbers: int, seconds: float | None = None) -> np.ndarray:
        """Everyone's numbers, int64 (size, n), in the order of the ranks. Raises TimeoutError after `seconds`."""
        return np.array([numbers], np.int64)

    def agree(self, *numbers: int) -> list[int]:
        """Of each of the numbers the largest that a rank gives."""
        return list(numbers)

    def everyones(self, value: Any) -> list[Any]:
        """What each rank gives, in their order; whatever JSON can hold."""
        return [value]

    def each(self, function: Callable[[], T], in_turn: bool = False) -> T:
        """`function()` on every rank. A UserError on any of them is one on all, with the same words, which name the
        rank where it is not everyone's. in_turn: the first rank of each machine goes before the others, which find
        what it left in the machine's cache.
        """
        return function()

    def first(self, function: Callable[[], T]) -> T:
        """`function()` on rank 0 alone, for everyone: its value, which JSON can hold, or its UserError."""
        return function()

    def shares(self, rows: int) -> list[slice]:
        """Each rank's rows of so many, as even as can be."""
        ends = [rows * (rank + 1) // self.size for rank in range(self.size)]
        return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]

    def shards(self, length: int) -> list[slice]:
        """Each rank's elements of a flat buffer: alike but for the last one, which has what is left over besides."""
        each = length // self.size // BOUNDARY * BOUNDARY
        ends = [each * (rank + 1) for rank in range(self.size - 1)] + [length]
        return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]

    def sum_shard(self, flat: Array) -> None:
        """Add up a flat buffer over all ranks, of which each gets its shard, in place; what else is in it is lost."""

    def gather_shards(self, flat: Array) -> None:
        """Fill a flat buffer, of which each rank has its shard, with everyone's."""

    def pass_on(self, goes: np.ndarray, comes: np.ndarray) -> None:
        """Give an array of the host to the next rank, and fill one with what the rank before gives."""
        comes[...] = goes


ALONE = Group()


class MPIGroup(Group):
    """The processes of an MPI communicator."""

    def __init__(self, comm: Any):
        from mpi4py import MPI

        self._mpi = MPI
        self._comm, self._asking, self._leaving = comm, comm.Dup(), comm.Dup()
        self._tables: list[np.ndarray] = []  # of what is being exchanged
        self.rank, self.size = comm.rank, comm.size
        affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        self._places = self.everyones([platform.node(), affinity])
        self.hosts = [host for host, _ in self._places]
        self.machines, self.ranks_here = len(set(self.hosts)), self.hosts.count(self.hosts[self.rank])
        self.names = [f"rank {rank} of {self.size} on {host}" for rank, host in enumerate(self.hosts)]
        self._nccl: Cards | None = None  # from the first array of a card on

    @property
    def cores(self) -> int:
        sharing = self._places.count(self._places[self.rank])
        return max(1, cpu_count() // sharing)

    def use_card(self, device: str) -> None:
        take_card(self, device)

    def sum(self, *arrays: Array) -> None:
        with self._cards(*arrays) as cards:
            for array in arrays:
                if cards:
                    cards.comm.allReduce(array.data.ptr, array.data.ptr, array.size, *cards.summed(array))
                else:
                    for piece in _pieces(array):
                        self._comm.Allreduce(self._mpi.IN_PLACE, piece)

    def broadcast(self, *arrays: Array) -> None:
        with self._cards(*arrays) as cards:
            for array in arrays:
                if cards:
                    cards.comm.broadcast(array.data.ptr, array.data.ptr, array.size, *cards.moved(array, 0))
                else:
                    for piece in _pieces(array):
                        self._comm.Bcast(piece)

    def sum_shard(self, flat: Array) -> None:
        shards = self.shards(len(flat))
        mine, each = flat[shards[self.rank]], shards[0].stop
        rest = flat[each * self.size :]  # of the last one's shard
        with self._cards(flat) as cards:
            if cards:
                cards.comm.reduceScatter(flat.data.ptr, mine.data.ptr, each, *cards.summed(flat))
                if rest.size:
                    kind, op, stream = cards.summed(flat)
                    cards.comm.reduce(rest.data.ptr, rest.data.ptr, rest.size, kind, op, self.size - 1, stream)
            else:
                counts = [shard.stop - shard.start for shard in shards]
                summed = np.empty_like(mine)
                self._comm.Reduce_scatter(flat, summed, counts)
                mine[...] = summed

    def gather_shards(self, flat: Array) -> None:
        shards = self.shards(len(flat))
        mine, each = flat[shards[self.rank]], shards[0].stop
        rest = flat[each * self.size :]
        with self._cards(flat) as cards:
            if cards:
                cards.comm.allGather(mine.data.ptr, flat.data.ptr, each, *cards.moved(flat))
                if rest.size:
                    cards.comm.broadcast(rest.data.ptr, rest.data.ptr, rest.size, *cards.moved(flat, self.size - 1))
            else:
                counts = [shard.stop - shard.start for shard in shards]
                starts = [shard.start for shard in shards]
                self._comm.Allgatherv(self._mpi.IN_PLACE, [flat, (counts, starts)])

    def pass_on(self, goes: np.ndarray, comes: np.ndarray) -> None:
        before, after = (self.rank - 1) % self.size, (self.rank + 1) % self.size
        self._comm.Sendrecv(goes, after, recvbuf=comes, source=before)

    def exchange(self, *numbers: int, seconds: float | None = None) -> np.ndarray:
        """Through rank 0, which so knows whom all wait for."""
        table = np.empty((self.size, len(numbers)), np.int64)
        table[self.rank] = numbers
        comm = self._asking if seconds is None else self._leaving
        self._tables.append(table)  # kept if a signal ends the wait: MPI may still write there
        if self.rank:
            self._wait({0: comm.Isend(table[self.rank], 0)}, seconds)
        else:
            self._wait({rank: comm.Irecv(table[rank], rank) for rank in range(1, self.size)}, seconds)
        self._wait({0: comm.Ibcast(table)}, seconds)
        self._tables.pop()
        return table

    def agree(self, *numbers: int) -> list[int]:
        return [int(number) for number in self.exchange(*numbers).max(axis=0)]

    def _wait(self, requests: dict[int, Any], seconds: float | None) -> None:
        """Until all messages from or to some ranks have passed."""
        began, said = time.monotonic(), False
        while requests := {rank: request for rank, request in requests.items() if not request.Test()}:
            waited = time.monotonic() - began
            if waited > AWAKE:
                time.sleep(min(NAP, waited / 8))
            if seconds is not None and waited > seconds:
                raise TimeoutError
            if waited > LONG and not said and self.rank == 0:
                said = True
                names = ", ".join(self.names[rank] for rank in requests)
                warnings.warn(f"{LONG:.0f} s already that all wait for {names}", Note, stacklevel=2)

    def everyones(self, value: Any) -> list[Any]:
        said = json.dumps(value).encode()
        lengths = [int(length) for length, *_ in self.exchange(len(said))]
        starts = np.cumsum([0, *lengths])
        heard = bytearray(int(starts[-1]))
        self._comm.Allgatherv(said, [heard, lengths, starts[:-1].tolist(), self._mpi.BYTE])
        return [json.loads(heard[start:end]) for start, end in zip(starts, starts[1:], strict=False)]

    def each(self, function: Callable[[], T], in_turn: bool = False) -> T:
        value: Any = None
        first = [self.hosts.index(host) == rank for rank, host in enumerate(self.hosts)]  # of their machines
        everyone = list(range(self.size))
        turns = [[r for r in everyone if first[r]], [r for r in everyone if not first[r]]] if in_turn else [everyone]
        for turn in turns:
            problem = None
            if self.rank in turn:
                try:
                    value = function()
                except UserError as error:
                    problem = str(error)
            problems = self.everyones(problem)
            if failed := [rank for rank in turn if problems[rank] is not None]:
                words = problems[failed[0]]
                alike = turn is turns[0] and all(problems[rank] == words for rank in turn)
                raise Everyones(words if alike else f"{self.names[failed[0]]}: {words}")
        return value

    def first(self, function: Callable[[], T]) -> T:
        value, problem = None, None
        if self.rank == 0:
            try:
                value = function()
            except UserError as error:
                problem = str(error)
        value, problem = self.everyones([value, problem])[0]
        if problem is not None:
            raise Everyones(problem)
        return value  # type: ignore[return-value]

    def _cards(self, *arrays: Array) -> contextlib.AbstractContextManager[Cards | None]:
        """For arrays of a card NCCL, whose calls within the block are begun together. None for the host's."""
        if array_module(arrays[0]) is np:
            return contextlib.nullcontext()
        if self._nccl is None:
            self._nccl = Cards(self)
        return self._nccl.together()

    def agree_on_end(self, error: BaseException | None) -> bool:
        """Tell the others that this rank comes to its end, with an error or None, and wait for theirs, not long after
        an error that may be this rank's alone. Returns whether rank 0 says the same. Raises TimeoutError where it does
        not come.
        """
        code = 0 if error is None else 1 + zlib.crc32(f"{type(error).__name__} {error}".encode())
        together = error is None or isinstance(error, Everyones)
        codes = self.exchange(code, seconds=float("inf") if together else LEAVING)
        return bool(codes[0, 0] == code)

    def end(self) -> None:
        """End MPI together, once all have said what there is to say; `python -m mpi4py` would have one that failed end
        the others before.
        """
        if not self._mpi.Is_finalized():
            with contextlib.suppress(TimeoutError):
                self.exchange(seconds=LEAVING)
                self._mpi.Finalize()

    def abort(self, status: int) -> None:
        """End all ranks; the launcher, when it hears of that, at times drops what it has not read."""
        time.sleep(HEARD)
        self._comm.Abort(status)


def _pieces(array: np.ndarray) -> Iterator[np.ndarray]:
    flat = array.reshape(-1)
    return (flat[start : start + PIECE] for start in range(0, len(flat), PIECE))

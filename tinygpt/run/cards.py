"""The cards that a group's ranks compute on: one for each of them, and NCCL, by which they exchange arrays."""

import contextlib
from collections.abc import Iterator
from typing import Any

from tinygpt.backend import Array, device_module, nccl
from tinygpt.device import EXTRAS, resolve_device
from tinygpt.errors import UserError


def take_card(group: Any, device: str) -> None:
    """Compute on this rank's own card from here on, where `device` (auto, cuda) comes to mean one. The ranks of a
    machine take its cards in turn: those that see the same ones, as SLURM may give each its own. Raises UserError, on
    every rank of the group, for more ranks than cards.
    """
    seen: list[str] = []
    with contextlib.suppress(Exception):  # no CuPy, no driver: `resolve_device` says so
        runtime = device_module("cuda").cuda.runtime
        seen = [runtime.deviceGetPCIBusId(card) for card in range(runtime.getDeviceCount())]
    everyones = group.everyones([group.hosts[group.rank], seen])
    alike = [rank for rank in range(group.size) if everyones[rank] == everyones[group.rank]]

    def use() -> None:
        if seen:
            device_module("cuda").cuda.Device(alike.index(group.rank) % len(seen)).use()
        if len(alike) > len(seen) and resolve_device(device)[0] == "cuda":
            cards = f"{len(seen)} card" + "s" * (len(seen) != 1)
            raise UserError(
                f"{len(alike)} ranks on {group.hosts[group.rank]} share {cards}, and each needs one of its own; "
                f"start at most {len(seen)} there, or use --device=cpu"
            )

    group.each(use)


class Cards:
    """NCCL between the cards of a group, as it is told of arrays.

    Raises UserError where NCCL cannot be loaded, on every rank, and where it fails.
    """

    def __init__(self, group: Any):
        self.library = nccl()

        def check() -> None:
            if self.library is None:
                raise UserError(
                    "NCCL, over which cards exchange their gradients, cannot be loaded; install the extra with it, "
                    f"{EXTRAS}, or train with one process"
                )

        def identity() -> list[int]:
            with self._in_words():
                return list(self.library.get_unique_id())

        group.each(check)
        found = bytes(group.first(identity))
        with self._in_words():
            self.comm = self.library.NcclCommunicator(group.size, found, group.rank)

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        """Within it NCCL's errors are sentences, those of one rank or of all."""
        try:
            yield
        except self.library.NcclError as error:
            raise UserError(
                f"NCCL, over which cards exchange their gradients, has failed ({error}); with the variable "
                "NCCL_DEBUG=WARN it says why"
            ) from None

    @contextlib.contextmanager
    def together(self) -> Iterator["Cards"]:
        """Within it calls are begun together; each is queued on the current stream, and the host waits for none."""
        with self._in_words():
            self.library.groupStart()
            try:
                yield self
            finally:
                self.library.groupEnd()

    def summed(self, array: Array) -> tuple[int, int, int]:
        """The end of a call's arguments: dtype, operation and stream."""
        return self._kind(array), self.library.NCCL_SUM, self._stream()

    def moved(self, array: Array, *root: int) -> tuple[int, ...]:
        """The same of a call without an operation, perhaps with a root."""
        return self._kind(array), *root, self._stream()

    def _kind(self, array: Array) -> int:
        return {"float32": self.library.NCCL_FLOAT32, "float64": self.library.NCCL_FLOAT64}[array.dtype.name]

    def _stream(self) -> int:
        return int(device_module("cuda").cuda.get_current_stream().ptr)

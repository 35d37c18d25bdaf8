"""What launches moved, by source line."""

from typing import NamedTuple

from tinygpt.emulator.module import Module
from tinygpt.emulator.runtime import Line, current

SECTOR = 32  # bytes


class Traffic(NamedTuple):
    """The accesses of a line. A request is one access by a warp. units: what it took, in sectors of 32 bytes of global
    memory, or in passes over the 32 banks of shared memory; ideal: the least for the bytes asked for.
    """

    line: str
    shared: bool
    write: bool
    bytes: int
    requests: int
    units: int
    ideal: int

    @property
    def ratio(self) -> float:
        return self.units / self.ideal

    @property
    def what(self) -> str:
        return f"{'shared' if self.shared else 'global'} {'write' if self.write else 'read'}"


class Profile(list[Traffic]):
    """Of each line, most bytes first; as a text, a table."""

    def total(self, shared: bool, write: bool) -> Traffic:
        """All lines together."""
        rows = [row for row in self if (row.shared, row.write) == (shared, write)]
        bytes_, requests, units, ideal = (sum(row[i] for row in rows) for i in range(3, 7))  # type: ignore[misc]
        return Traffic("all lines", shared, write, bytes_, requests, units, ideal)

    def __str__(self) -> str:
        lines = [f"{'bytes':>14} {'requests':>11} {'units':>11} {'ideal':>11}  ratio"]
        totals = [self.total(shared, write) for write in (False, True) for shared in (False, True)]
        for row in [*self, *(total for total in totals if total.requests)]:
            numbers = f"{row.bytes:14,} {row.requests:11,} {row.units:11,} {row.ideal:11,} {row.ratio:6.2f}"
            unit = "bank passes" if row.shared else f"sectors, {row.units * SECTOR:,} bytes"
            lines.append(f"{numbers}  {row.what} ({unit})  {row.line}")
        return "\n".join(lines)


def profile(module: Module) -> Profile:
    """What a module's launches moved since the last call, while `settings.profile` was set."""
    runtime = current()
    found = (Line * runtime.emu_profile(module.base, None))()
    runtime.emu_profile(module.base, found)
    sums: dict[tuple[str, bool, bool], list[int]] = {}
    for row, line in zip(found, module.lines.of(row.pc for row in found), strict=True):
        total = sums.setdefault((line, bool(row.shared), bool(row.write)), [0, 0, 0, 0])
        for i, number in enumerate((row.bytes, row.requests, row.units, row.ideal)):
            total[i] += number
    rows = [Traffic(*where, *total) for where, total in sums.items()]
    return Profile(sorted(rows, key=lambda row: (-row.bytes, row.line, row.what)))


def barriers() -> int:
    """How many barriers the blocks of the last launch came to, all together."""
    return current().emu_barriers()

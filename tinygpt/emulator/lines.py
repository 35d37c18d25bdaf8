"""From addresses in a compiled library to source lines and variables, by addr2line and nm of the binutils."""

import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tinygpt.emulator.compiling import HERE
from tinygpt.emulator.source import GAPPED

GAP = 256  # EMU_GAP of device.h


class SharedVariable(NamedTuple):
    name: str
    function: str | None  # that it belongs to
    start: int  # from the library's beginning
    size: int


class Lines:
    """The source lines of one library."""

    def __init__(self, path: Path):
        self.path = path
        self.known: dict[int, str] = {}

    def of(self, addresses: Iterable[int]) -> list[str]:
        """Of return addresses, counted from the library's beginning; what was inlined names its caller too."""
        addresses = list(addresses)
        new = [address for address in dict.fromkeys(addresses) if address not in self.known]
        if new:
            calls = [hex(address - 1) for address in new]  # of the call, not of what follows it
            command = ["addr2line", "-e", str(self.path), "-ifCa", *calls]
            answer = subprocess.run(command, capture_output=True, text=True).stdout
            for address, part in zip(new, re.split(r"^0x[0-9a-f]+\n", answer, flags=re.M)[1:], strict=False):
                self.known[address] = _line(part.splitlines())
        return [self.known.get(address, "?") for address in addresses]


def _line(rows: list[str]) -> str:
    frames = []
    for function, place in zip(rows[::2], rows[1::2], strict=False):
        if not place.startswith(str(HERE)):  # what device.h and its like define stands for the line that uses it
            file_and_line = re.sub(r" \(discriminator \d+\)", "", place).rsplit("/", 1)[-1]
            frames.append((function.split("(")[0], file_and_line))
    if not frames:
        return "?"
    line = frames[0][1]
    if len(frames) > 1:
        line += f" (in {frames[0][0]}, called at {frames[1][1]})"
    return line


def shared_variables(path: Path, start: int, end: int) -> Iterator[SharedVariable]:
    """The static shared variables of a library: those with a gap, and what lies between start and end."""
    answer = subprocess.run(["nm", "-SC", str(path)], capture_output=True, text=True).stdout
    pattern = re.compile(r"([0-9a-f]+) ([0-9a-f]+) \w (?:.*?(\w+)(?:<.*>)?(?:\(.*\))?::)?(\w+)$")
    for match in filter(None, map(pattern.match, answer.splitlines())):
        at, size, function, name = int(match[1], 16), int(match[2], 16), match[3], match[4]
        if name.startswith(GAPPED):
            yield SharedVariable(name.removeprefix(GAPPED), function, at, size - GAP)
        elif start <= at < end:
            yield SharedVariable(name, function, at, size)

"""Is a reader's kernel right? Launched in the emulator, in several orders of blocks and warps, its numbers compared."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from tinygpt.emulator import missing
from tinygpt.emulator.profile import SECTOR, Profile, Traffic
from tinygpt.errors import UserError
from tinygpt.files import read_bytes
from tinygpt.own_layers.kernels import ORDERS, Case, words
from tinygpt.random import generator

SECONDS = 120.0  # that compiling and all launches may take; it takes two at most
LAUNCH_SECONDS = 5.0  # a launch, which takes a hundredth of one
LONGEST = 1 << 20  # bytes of a file
PRINTED = 5_000  # characters of what a kernel prints
UNWRITTEN = 0xFFFFFFFF  # the bits of a number that nobody has written
FAR_FROM_FLOOR = 1.25  # from where it is worth a remark
INSTALL = "install g++ and the binutils (on Debian or Ubuntu: sudo apt install g++ binutils)"


class NotHere(UserError):
    """Kernels cannot be run on this machine, and why."""


class Verdict(NamedTuple):
    """text: all there is to print; wrong: what is wrong, or ""; written, answered, source: as `Checked` has them."""

    text: str
    wrong: str
    written: bool
    answered: bool
    source: bytes


def judge(kernel: ModuleType, path: Path, seed: int) -> Verdict:
    """The verdict on a file. Raises UserError if it is missing or too long, NotHere if it cannot be checked here."""
    if not path.is_file():
        raise UserError("there is no such file; expected the path of a CUDA C file")
    content = read_bytes(path, LONGEST)
    source = content.decode("utf-8", errors="replace")
    if why := missing():
        raise NotHere(f"{path.name} cannot be checked here: {why}; {INSTALL}")
    if wrong := words.not_for_a_card(source):
        return Verdict(*2 * (f"{path.name}, {wrong}",), True, False, content)
    launches = [*kernel.cases(generator(seed, kernel.KERNEL)), kernel.large(generator(seed, kernel.KERNEL, "large"))]
    answer, arrays, why = _asked(kernel.KERNEL, path.name, source, launches)
    if why:
        return Verdict(why, why, True, False, content)
    if "error" in answer:
        title = launches[answer["launch"]].title if "compiled" in answer and "launch" in answer else ""
        wrong = words.explained(answer["error"], path.name, source, title, answer.get("barrier", False))
        return Verdict(wrong, wrong, True, "compiled" in answer, content)
    given = _outputs(launches, arrays)
    if all(_unwritten(x).all() for outputs in given for order in outputs for x in order.values()):
        wrong = f"{path.name}: {kernel.KERNEL} is not written yet: it writes nothing"
        return Verdict(wrong, wrong, False, False, content)
    lines, wrong = _compared(kernel, launches, given)
    if wrong:
        return Verdict("\n".join([*lines, "", "what is wrong:", wrong]), wrong, True, True, content)
    report = _report(launches[-1], answer, given)
    return Verdict("\n".join([*lines, "", *report]), "", True, True, content)


# The process


def _asked(kernel: str, file: str, source: str, launches: list[Case]) -> tuple[dict, dict, str]:
    """What came of the launches, and their arrays; or why there is none, in a sentence."""
    arrays: dict[str, Any] = {}
    asked = []
    for number, launch in enumerate(launches):
        arguments: list[tuple] = []
        for name in launch.parameters:
            value = launch.arguments.get(name)
            if name in launch.right:
                arguments.append(("written", name, launch.right[name].shape))
            elif isinstance(value, np.ndarray):
                arrays[key := f"{number}.{name}"] = value
                arguments.append(("array", name, key))
            else:
                arguments.append(("null", name, 0) if value is None else (value.dtype.name, name, value.item()))
        asked.append({"blocks": launch.blocks, "threads": launch.threads, "arguments": arguments})
    request = {"kernel": kernel, "file": file, "source": source, "seconds": LAUNCH_SECONDS, "launches": asked}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "asked.json").write_text(json.dumps(request), encoding="utf-8")
        np.savez(Path(folder, "asked.npz"), **arrays)
        why = _run([sys.executable, "-m", "tinygpt.own_layers.kernels.child", folder])
        if why:
            return {}, {}, f"{file}: {why}"
        try:
            answer = json.loads(Path(folder, "answer.json").read_text(encoding="utf-8"))
            with np.load(Path(folder, "answer.npz")) as found:
                return answer, dict(found), ""
        except (OSError, ValueError, KeyError):
            return {}, {}, f"{file}: the kernel ended the process that it ran in"


def _run(command: list[str]) -> str:
    """Run the process that launches, and show what the kernel printed. Why there is no answer, or ""."""
    path = os.pathsep.join(filter(None, sys.path))
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", start_new_session=True, env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    try:
        said, _ = child.communicate(timeout=SECONDS)
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):  # with whatever it has started
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            return f"it had not come back after {SECONDS:g} s; is there a loop without an end?"
        raise
    if said:
        print(said[:PRINTED] + "\n(it printed more, which is left out)" * (len(said) > PRINTED), flush=True)
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        return f"the kernel ended the process that it ran in ({name}); does a function call itself without an end?"
    return "" if not child.returncode else "the process that launches the kernel failed; what it said stands above"


# Numbers


def _outputs(launches: list[Case], arrays: Mapping[str, np.ndarray]) -> list[list[dict[str, np.ndarray]]]:
    """What each launch wrote, in each order, by the parameters' names."""
    return [
        [{name: arrays[f"{n}.{seed}.{name}"] for name in launch.right} for seed in range(ORDERS)]
        for n, launch in enumerate(launches)
    ]


def _unwritten(x: np.ndarray) -> np.ndarray:
    return x.view(np.uint32) == UNWRITTEN


def _computed_nan(x: np.ndarray) -> np.ndarray:
    return np.isnan(x) & ~_unwritten(x)


def _agree(given: np.ndarray, right: np.ndarray, tolerance: float) -> bool:
    """Within the tolerance of the largest number, and of those alone that are finite in both; the others in kind."""
    finite = np.isfinite(right)
    if not np.array_equal(finite, np.isfinite(given)):
        return False
    size = np.abs(right[finite]).max(initial=1e-30)
    return bool(np.abs(given[finite] - right[finite]).max(initial=0) <= tolerance * size)


def _compared(kernel: ModuleType, launches: list[Case], given: list) -> tuple[list[str], str]:
    """A line for each launch, and what is wrong."""
    lines, wrong = [], []
    for launch, orders in zip(launches, given, strict=True):
        problem = next(filter(None, (_problem(launch, outputs) for outputs in orders)), "")
        lines.append(f"{launch.title:<56} {'WRONG' if problem else 'right'}")
        if problem:
            lines.append(f"    {problem}")
            wrong.append((launch, problem))
    if not wrong:
        return lines, ""
    by_title = {launch.title: orders for launch, orders in zip(launches, given, strict=True)}

    def agrees(launch: Case, outputs: Mapping[str, np.ndarray]) -> bool:
        return all(
            _agree(order[name], x, launch.tolerance) for order in by_title[launch.title] for name, x in outputs.items()
        )

    says = kernel.diagnose(launches, agrees)
    if says:
        return lines, says
    launch, problem = wrong[0]
    if all(any(_computed_nan(x).any() for x in order.values()) for orders in given for order in orders):
        problem += "; in every launch something is not a number: does each sum begin with a value, float sum = 0?"
    right = [name for name in launch.right if all(agrees(at, {name: at.right[name]}) for at in launches)]
    also = f"; {' and '.join(right)} {'are' if len(right) > 1 else 'is'} right in all cases" if right else ""
    return lines, f"{problem} ({launch.title}){also}"


def _problem(launch: Case, outputs: Mapping[str, np.ndarray]) -> str:
    """What is wrong with what a launch wrote, by the first place where it is."""
    for name, right in launch.right.items():
        given = outputs[name]
        if (never := _unwritten(given)).any():
            count = f"{never.sum():,} of the {given.size:,} numbers of {name}"
            return f"{count} were never written, {_at(name, never)} first"
        if not _agree(given, right, launch.tolerance):
            size = np.abs(right).max()
            off = ~(np.abs(given - right) <= launch.tolerance * size)
            first = tuple(np.argwhere(off)[0])
            return f"{_at(name, off)} is {given[first]:.6g}, where {right[first]:.6g} belongs"
    return ""


def _at(name: str, where: np.ndarray) -> str:
    return f"{name}[{', '.join(map(str, np.argwhere(where)[0]))}]"


# What a right kernel moves


def _report(launch: Case, answer: dict[str, Any], given: list) -> Iterator[str]:
    """A line for each thing that decides how fast a card is with it, and a remark where it is far from the floor."""
    traffic = Profile(Traffic(*row) for row in answer["traffic"])
    yield f"in the last of these launches ({launch.blocks} blocks), counted by the emulator:"
    for write, what in ((False, "read"), (True, "written")):
        total, floor = traffic.total(False, write), launch.floor[what]
        moved, lanes = total.units * SECTOR, total.bytes / max(1, 4 * total.requests)
        yield f"  {what:<12}{moved:>9,} bytes, {moved / floor:.2f} times the floor of {floor:,}"
        if moved > FAR_FROM_FLOOR * floor and lanes < 16:
            yield f"              a warp's request is for {lanes:.1f} numbers: its other lanes could have some too"
        elif not write and moved > FAR_FROM_FLOOR * floor:
            yield "              each pass over the row reads it again, and each block w and b; registers read it once"
    yield from _worst(traffic, False, "coalescing", "sectors for each that the numbers fill", (
        "neighbouring threads take places that lie apart: let thread t have the columns t, t + blockDim.x, ..."
    ))  # fmt: skip
    yield from _worst(traffic, True, "banks", "passes for each access", (
        "threads of a warp want different words of one bank at once: leave a place free after each 32, or let "
        "neighbours have neighbouring words"
    ))  # fmt: skip
    barriers = answer["barriers"] / launch.blocks
    yield f"  {'barriers':<12}{barriers:g} in a block"
    if barriers > 4:
        yield "              two sums can do with one each: shuffles need none within a warp"
    bits = [[outputs[name].tobytes() for name in launch.right] for orders in given for outputs in orders]
    same = all(bits[n] == bits[n - n % ORDERS] for n in range(len(bits)))
    yield f"  {'order':<12}" + (
        f"the same bits in {ORDERS} orders of blocks and warps" if same else
        "other bits in another order of warps: an atomic adds in the order in which they come"
    )  # fmt: skip


def _worst(traffic: Profile, shared: bool, name: str, unit: str, remark: str) -> Iterator[str]:
    """Units for each that would be the least, over all lines, and the line that is farthest from it."""
    rows = [row for row in traffic if row.shared == shared]
    if not rows:
        yield f"  {name:<12}none is used"
        return
    yield f"  {name:<12}{sum(row.units for row in rows) / sum(row.ideal for row in rows):.2f} {unit}"
    worst = max(rows, key=lambda row: row.ratio)
    if worst.ratio > FAR_FROM_FLOOR and worst.units - worst.ideal > worst.requests / 2:
        yield f"              {worst.line}: {worst.ratio:.1f}; {remark}"

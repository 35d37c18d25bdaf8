"""Changes to the emulator itself, each of which drops or weakens one check, and a kernel that then passes unseen:

python -m tests.emulator.mutants
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from typing import NamedTuple

from tests.emulator import running
from tinygpt import emulator
from tinygpt.emulator import runtime


class Mutant(NamedTuple):
    title: str
    file: str
    old: str  # occurs once
    new: str
    kernel: str  # of errors.cu: an error, and with the change none
    launch: dict = {}  # noqa: RUF012


MUTANTS = [
    Mutant("the end of an array is not looked at", "races.cpp",
           "  if (p + n > window->start + window->size) out_of_bounds(p, n, access, pc);\n", "", "straddles_the_end"),
    Mutant("an array begins 8 bytes early", "memory.cpp", "if (p - window.start < window.size) return last_window",
           "if (p + 8 - window.start < window.size) return last_window", "writes_before_the_start"),
    Mutant("the gap after a shared array belongs to it", "launch.cpp",
           "windows.push_back({variable.start, variable.size,",
           "windows.push_back({variable.start, variable.size + 256,", "runs_past_a_shared_array"),
    Mutant("dynamic shared memory is what there is", "launch.cpp", "(size_t)launch.dynamic_size, region, DYNAMIC",
           "DYNAMIC_SIZE, region, DYNAMIC", "runs_past_dynamic_shared_memory", {"shared": 256}),
    Mutant("alignment to half the size is enough", "races.cpp", "if (p & (n - 1)) misaligned",
           "if (p & (n / 2 - 1)) misaligned", "is_misaligned"),
    Mutant("global memory counts as written", "races.cpp",
           "if (window.region->shared || (!cell.write_epoch && !window.region->written)) never_written(now());",
           "if (window.region->shared) never_written(now());", "reads_what_was_never_written"),
    Mutant("shared memory counts as written", "races.cpp",
           "} else if (cell.write_epoch < block_first) {",
           "} else if (cell.write_epoch < block_first && !window.region->shared) {",
           "reads_shared_memory_of_an_earlier_block", {"blocks": 2}),
    Mutant("an atomic may be the first to write", "races.cpp",
           "(shared ? cell.write_epoch < block_first : !cell.write_epoch && !window.region->written)", "false",
           "adds_to_what_was_never_written"),
    Mutant("stacks are everybody's", "races.cpp", "if (owner == me->id) return nullptr;", "return nullptr;",
           "looks_at_another_threads_variable"),
    Mutant("two writes are no race", "races.cpp",
           "    if (!both_atomic && unordered_write(cell))\n", "    if (false)\n", "two_warps_write"),
    Mutant("lanes of a warp are in order", "races.cpp", "bool other = (cell.writer & ID) != me->id;",
           "bool other = !in_my_warp(cell.writer);", "two_lanes_write"),
    Mutant("a read of what another thread wrote is no race", "races.cpp", "    if (unordered_write(cell)) race(",
           "    if (false) race(", "a_lane_reads_what_another_writes"),
    Mutant("a write of what another thread read is no race", "races.cpp",
           "if (cell.read_epoch == epoch && unordered_read(cell))", "if (false)", "a_lane_writes_what_several_read"),
    Mutant("the last reader alone is remembered", "races.cpp",
           "    if ((cell.reader & ID) != me->id) cell.reader |= SEVERAL_LANES;\n    return;\n",
           "    cell.reader = me->id;\n",
           "a_lane_writes_what_several_read"),
    Mutant("blocks are in order when they write", "races.cpp",
           "} else if (!shared && !both_atomic && in_disorder_with(cell.write_epoch, cell.writer)) {",
           "} else if (false) {", "blocks_write_the_same", {"blocks": 2}),
    Mutant("blocks are in order when one reads", "races.cpp",
           "    if (in_disorder_with(cell.write_epoch, cell.writer))\n", "    if (false)\n",
           "a_block_reads_what_another_writes", {"blocks": 2}),
    Mutant("an atomic is in order with any write", "races.cpp", "access == UPDATE && cell.writer & ATOMIC;",
           "access == UPDATE;", "an_atomic_beside_a_plain_write", {"blocks": 2}),
    Mutant("an atomic orders blocks without a fence", "races.cpp",
           "return blocks.back().released && other.released && other.fenced[thread & ID] >= when;", "return true;",
           "the_last_block_without_a_fence", {"blocks": 2}),
    Mutant("threads that have left count as waiting", "threads.cpp",
           "    if (t.state == LEFT)\n", "    if (t.state == LEFT) continue;\n    if (false)\n",
           "a_thread_leaves_before_the_barrier"),
    Mutant("all barriers are one", "threads.cpp", "if (t.line != first->line)", "if (false)", "two_barriers"),
    Mutant("a shuffle reads from lanes that have left", "lanes.cpp",
           "if (t.meeting == SHUFFLE && !(here >> t.from & 1))", "if (t.meeting == SHUFFLE && !(mask >> t.from & 1))",
           "shuffles_from_a_lane_that_left"),
    Mutant("a shuffle reads from lanes outside the mask", "lanes.cpp",
           "if (t.meeting == SHUFFLE && !(here >> t.from & 1))",
           "if (t.meeting == SHUFFLE && !(warp_alive[w] >> t.from & 1))", "shuffles_from_a_lane_outside_the_mask"),
    Mutant("lanes outside the mask take part", "lanes.cpp",
           '  if (!(mask >> me->lane & 1)) fail(pc, "a lane that is not in the mask takes part");\n',
           "  mask |= 1u << me->lane;\n",
           "takes_part_outside_the_mask"),
    Mutant("lanes meet wherever they are", "lanes.cpp", "t.mask != first.mask || t.line != first.line",
           "t.mask != first.mask", "lanes_shuffle_in_two_places"),
    Mutant("a product needs not all lanes", "lanes.cpp", "first.meeting >= LDMATRIX && here != ~0u", "false",
           "a_lane_skips_a_product"),
    Mutant("a copy has landed at once", "races.cpp", "access == COPY ? IN_FLIGHT : 0", "0",
           "reads_a_copy_before_waiting"),
    Mutant("a copy may be written over", "races.cpp",
           "  if (cell.write_epoch >= block_first && cell.writer & IN_FLIGHT) in_flight(now(), cell);\n\n", "\n",
           "writes_where_a_copy_is_arriving"),
    Mutant("a wait is for all copies", "copies.cpp", "(int)groups.size() - keep", "(int)groups.size()",
           "waits_for_one_copy_too_few"),
    Mutant("what a thread waited for is there for all", "copies.cpp", "cell->write_epoch = epoch;",
           "cell->write_epoch = block_first;", "reads_anothers_copy_without_a_barrier"),
    Mutant("copies may be left in flight", "threads.cpp", "if (copies_in_flight())", "if (false)",
           "leaves_with_a_copy_in_flight"),
    Mutant("the source of a copy may lie anywhere", "copies.cpp", "if ((uintptr_t)from % size)", "if (false)",
           "copies_from_a_misaligned_source"),
    Mutant("a copy may go to global memory", "copies.cpp", "if (checking && !(window && window->region->shared))",
           "if (false)", "copies_to_global_memory"),
    Mutant("a matrix may come from global memory", "matrices.cpp",
           "if (checking && !(window && window->region->shared))", "if (false)", "loads_a_matrix_of_global_memory"),
    Mutant("indices are not looked at", "callbacks.cpp",
           'fail(CALLER, format("index %d is outside %s", (int)index, source->type->name));', "",
           "leaves_an_array_in_registers"),
    Mutant("overflow is no error", "callbacks.cpp",
           'fail(CALLER, format(#NAME ": the result does not fit %s", source->type->name));      ', "", "overflows"),
]  # fmt: skip


def changed(mutant: Mutant) -> str:
    """The text of the mutant's file."""
    text = (runtime.HERE / mutant.file).read_text(encoding="utf-8")
    assert text.count(mutant.old) == 1, f"{mutant.title}: {mutant.file} has it {text.count(mutant.old)} times"
    return text.replace(mutant.old, mutant.new)


@contextlib.contextmanager
def in_place(mutant: Mutant) -> Iterator[None]:
    """The runtime with this change, for modules and arrays that are made meanwhile."""
    before = runtime._current[:]
    path = runtime.build({mutant.file: changed(mutant)})
    runtime._current[:] = [(path, runtime.load(path))]
    try:
        yield
    finally:
        runtime._current[:] = before


def survivor(mutant: Mutant) -> str | None:
    """Why a change does not show; None if the kernel's mistake is seen without it, and with it is not."""
    seen = running.launch_error(mutant.kernel, **mutant.launch)
    if seen is None:
        return f"{mutant.kernel} is no error"
    with in_place(mutant):
        compiled = emulator.Module(running.text("errors.cu"), name="errors.cu")
        with_change = running.launch_error(mutant.kernel, **mutant.launch, compiled=compiled)
    return with_change and f"the mistake is seen all the same: {with_change}"


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    emulator.settings.seconds = 0.2
    survivors = 0
    for mutant in MUTANTS:
        why = survivor(mutant)
        survivors += why is not None
        print(f"{'SURVIVES' if why else 'killed':9} {mutant.title}{': ' + why if why else ''}", flush=True)
    print(f"{len(MUTANTS)} mutants, {survivors} survive")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())

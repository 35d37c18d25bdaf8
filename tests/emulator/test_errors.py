"""Each thing that a kernel may do wrong, with the kernel, the block, the thread and the line that the error names."""

import re

import numpy as np
import pytest

from tests.emulator.running import launch_error, module, text
from tinygpt import emulator

# kernel of errors.cu -> (blocks, threads or shared memory if not 1, 64, 0), block and thread, what is said of them.
# STOPS and OTHER stand for its lines that are so marked, T for any thread's number, B for any block's.
T, B = r"\(\d+,0,0\)", r"\([01],0,0\)"
ZEROS = r"'zeros' \(float32 \(64,\)\), element 3"
UNORDERED = r"; blocks run in any order"
ERRORS = {
    "reads_after_the_end": ({}, "(0,0,0)", "(7,0,0)",
        r"out of bounds: reads 4 bytes ending 4 bytes after the end of 'x' \(float32 \(64,\)\)"),
    "writes_before_the_start": ({}, "(0,0,0)", "(3,0,0)",
        r"out of bounds: writes 4 bytes starting 8 bytes before 'out' \(float32 \(64,\)\)"),
    "straddles_the_end": ({}, "(0,0,0)", "(6,0,0)",
        r"out of bounds: writes 8 bytes ending 4 bytes after the end of 'counter' \(uint32 \(1,\)\)"),
    "reads_what_was_never_written": ({}, "(0,0,0)", "(9,0,0)",
        r"reads 'out' \(float32 \(64,\)\), element 9, which was never written"),
    "adds_to_what_was_never_written": ({}, "(0,0,0)", "(9,0,0)",
        r"atomic on 'out' \(float32 \(64,\)\), element 0, which was never written"),
    "is_misaligned": ({}, "(0,0,0)", "(4,0,0)",
        r"misaligned: reads 8 bytes at an address that 8 does not divide, 'x' \(float32 \(64,\)\), element 1"),
    "reads_shared_memory_of_an_earlier_block": ({"blocks": 2}, B, "(1,0,0)",
        r"reads shared memory kept, byte 4, which nobody in this block has written yet"),
    "runs_past_a_shared_array": ({}, "(0,0,0)", "(2,0,0)",
        r"out of bounds: writes 4 bytes ending 4 bytes after the end of shared memory (one|two)"),
    "runs_past_dynamic_shared_memory": ({"shared": 256}, "(0,0,0)", "(2,0,0)",
        r"out of bounds: writes 4 bytes ending 4 bytes after the end of dynamic shared memory"),
    "looks_at_another_threads_variable": ({}, "(0,0,0)", "(2,0,0)",
        r"reads a variable of thread \(1,0,0\), which that thread alone can see"),
    "two_warps_write": ({}, "(0,0,0)", T,
        rf"race: writes shared memory sum, byte 0, which thread {T} writes at OTHER, with no barrier between"),
    "a_warp_writes_what_another_reads": ({}, "(0,0,0)", T,
        rf"race: (reads|writes) shared memory s, byte \d+, which thread {T} (writes|reads) at OTHER, with no .*"),
    "two_lanes_write": ({}, "(0,0,0)", T,
        rf"race: writes 'out' \(float32 \(64,\)\), element 0, which thread {T} writes at OTHER, with no barrier .*"),
    "a_lane_reads_what_another_writes": ({}, "(0,0,0)", T,
        r"race: (reads shared memory s, byte 0, which thread \(0,0,0\) writes"
        r"|writes shared memory s, byte 0, which thread \(1,0,0\) reads) at OTHER, with no barrier between"),
    "a_lane_writes_what_several_read": ({}, "(0,0,0)", "(5,0,0)",
        rf"race: writes shared memory s, byte 0, which thread {T} reads at OTHER, with no barrier between"),
    "blocks_write_the_same": ({"blocks": 2}, B, "(0,0,0)",
        rf"race: writes 'out' \(float32 \(64,\)\), element 5, which block {B} writes at OTHER{UNORDERED}"),
    "a_block_reads_what_another_writes": ({"blocks": 2}, B, "(0,0,0)",
        rf"race: (reads|writes) {ZEROS}, which block {B} (writes|reads) at OTHER{UNORDERED}"),
    "an_atomic_beside_a_plain_write": ({"blocks": 2}, B, "(0,0,0)",
        rf"race: (writes|atomically changes) 'zeros' .*, element 3, which block {B} writes at OTHER{UNORDERED}"),
    "the_last_block_without_a_fence": ({"blocks": 2}, B, "(0,0,0)",
        rf"race: reads 'out' \(float32 \(64,\)\), element [01], which block {B} writes at OTHER{UNORDERED}"),
    "a_thread_leaves_before_the_barrier": ({}, "(0,0,0)", "(0,0,0)",
        r"diverging barrier: thread \(40,0,0\) has left the kernel and never comes here"),
    "two_barriers": ({}, "(0,0,0)", "(0,0,0)",
        r"diverging barrier: thread \(32,0,0\) waits at another one, OTHER"),
    "shuffles_from_a_lane_that_left": ({}, "(0,0,0)", "(4,0,0)",
        r"shuffle reads from lane 31, which has left the kernel"),
    "shuffles_from_a_lane_outside_the_mask": ({}, "(0,0,0)", "(4,0,0)",
        r"shuffle reads from lane 9, which is not in the mask"),
    "takes_part_outside_the_mask": ({}, "(0,0,0)", "(8,0,0)", r"a lane that is not in the mask takes part"),
    "shuffles_in_a_small_block": ({"threads": 16}, "(0,0,0)", "(0,0,0)",
        r"shuffle reads from lane 16, which does not exist"),
    "lanes_shuffle_in_two_places": ({}, "(0,0,0)", "(33,0,0)",
        r"lanes of a warp diverge: lane 0 is at OTHER, this lane is here"),
    "a_lane_skips_a_product": ({}, "(0,0,0)", "(0,0,0)", r"ldmatrix and mma need all 32 lanes of the warp"),
    "reads_a_copy_before_waiting": ({}, "(0,0,0)", "(6,0,0)",
        r"reads shared memory s, byte 8, which thread \(6,0,0\) copies with cp.async at OTHER and has not waited for"),
    "writes_where_a_copy_is_arriving": ({}, "(0,0,0)", "(6,0,0)",
        r"writes shared memory s, byte 4 while the cp.async at OTHER is in flight"),
    "reads_anothers_copy_without_a_barrier": ({}, "(0,0,0)", "(8,0,0)",
        r"race: reads shared memory s, byte 8, which thread \(6,0,0\) writes at OTHER, with no barrier between"),
    "waits_for_one_copy_too_few": ({}, "(0,0,0)", "(6,0,0)",
        r"reads shared memory s, byte 16, which thread \(6,0,0\) copies with cp.async at OTHER and has not waited for"),
    "leaves_with_a_copy_in_flight": ({}, "(0,0,0)", "(6,0,0)",
        r"leaves the kernel with a cp.async that is not waited for"),
    "copies_from_a_misaligned_source": ({}, "(0,0,0)", "(6,0,0)", r"misaligned: source of cp.async"),
    "copies_to_global_memory": ({}, "(0,0,0)", "(6,0,0)", r"cp.async copies into shared memory only"),
    "loads_a_matrix_of_global_memory": ({}, "(0,0,0)", "(0,0,0)", r"ldmatrix reads shared memory only"),
    "leaves_an_array_in_registers": ({}, "(0,0,0)", "(12,0,0)", r"index 8 is outside 'float \[8\]'"),
    "leaves_a_row_of_a_tile": ({}, "(0,0,0)", "(12,0,0)", r"index 9 is outside 'float \[9\]'"),
    "overflows": ({}, "(0,0,0)", "(12,0,0)", r"mul: the result does not fit 'int'"),
    "shifts_too_far": ({}, "(0,0,0)", "(12,0,0)", r"shift by 64 bits"),
    "divides_by_zero": ({}, "(0,0,0)", "(12,0,0)", r"division by zero"),
}  # fmt: skip


def body(kernel):
    """The lines of a kernel of errors.cu, with their numbers."""
    lines = list(enumerate(text("errors.cu").splitlines(), 1))
    start = next(number for number, line in lines if f" {kernel}(" in line)
    end = next((number for number, line in lines if number > start and line.startswith("}")), len(lines))
    return lines[start - 1 : end]


def marked(kernel, mark):
    """A pattern for the lines of a kernel with this mark."""
    numbers = [str(number) for number, line in body(kernel) if re.search(rf"//.*\b{mark}\b", line)]
    return rf"errors\.cu:({'|'.join(numbers)})"


def test_every_kernel_of_errors_is_tried():
    kernels = set(re.findall(r"__global__ void (\w+)\(", text("errors.cu")))
    endless = {"loops_for_ever", "waits_for_another_block", "meets_for_ever"}
    assert kernels == ERRORS.keys() | endless | {"some_wait_for_the_block_and_some_for_the_warp"}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kernel", ERRORS)
def test_an_error_names_its_place(kernel, seed):
    launch, block, thread, what = ERRORS[kernel]
    block, thread = (re.escape(i) if i not in (B, T) else i for i in (block, thread))
    emulator.settings.seed = seed
    error = launch_error(kernel, **launch)
    what = what.replace("OTHER", marked(kernel, "other"))
    place = rf"{kernel}, block {block}, thread {thread}, {marked(kernel, 'stops')}"
    assert error and re.fullmatch(f"{place}: {what}", error)


def test_after_an_error_the_next_launch_is_right(rng):
    launch_error("a_thread_leaves_before_the_barrier")
    x, out = emulator.asarray(rng.standard_normal(64), "float32"), emulator.empty(64)
    module("right.cu").get_function("copy")((2,), (32,), (x, out, np.int32(64)))
    assert (out == x).all()


def test_threads_that_wait_for_each_other_are_named():
    kernel = "some_wait_for_the_block_and_some_for_the_warp"
    error = launch_error(kernel)
    block = rf"thread {T} waits for the block at {marked(kernel, 'block')}"
    lanes = rf"thread {T} waits for lanes 0xffff at {marked(kernel, 'lanes')}"
    assert re.fullmatch(rf"{kernel}, block \(0,0,0\), all threads, .*: nobody can go on: {block}; {lanes}", error)


@pytest.mark.parametrize("checks", [True, False])
@pytest.mark.parametrize("kernel", ["loops_for_ever", "waits_for_another_block", "meets_for_ever"])
def test_a_kernel_that_does_not_end_is_stopped(kernel, checks):
    emulator.settings.seconds = 0.02
    error = launch_error(kernel, compiled=module("errors.cu", checks=checks))
    first, *_, last = (number for number, line in body(kernel))
    found = re.fullmatch(rf"{kernel}, block \(0,0,0\), thread {T}, errors\.cu:(\d+): still running after .*", error)
    assert found and first <= int(found[1]) <= last  # the first is where a thread stands that has not begun


def test_memory_behind_a_null_pointer():
    out = emulator.empty(64)
    with pytest.raises(emulator.KernelError, match=r"out of bounds: reads 4 bytes at 0x\w+: a null pointer"):
        module("right.cu").get_function("copy")((1,), (64,), (None, out, np.int32(64)))


def test_a_slice_of_a_buffer_is_its_own_bounds():
    buffer, x = emulator.asarray(np.zeros(256), "float32"), emulator.asarray(np.ones(64), "float32")
    with pytest.raises(emulator.KernelError, match=r"bounds: writes .* after the end of 'out' \(float32 \(32,\)\)"):
        module("right.cu").get_function("copy")((1,), (64,), (x, buffer[:32], np.int32(64)))


# What is wrong before a thread runs


F = np.zeros(64, "float32")
REFUSED = {
    "another dtype": ((F.astype("float64"), F, 64), r"argument 0 \(x\) points to float32, but the array holds float64"),
    "no array": ((3, F, 64), r"argument 0 \(x\) is a pointer, but was given int"),
    "an array for a number": ((F, F, F), r"argument 2 \(n\) is a int32, but was given ndarray"),
    "a real number for a whole one": ((F, F, 1.0), r"argument 2 \(n\) is a int32: a Python float is passed as float64"),
    "a number too wide": ((F, F, np.int64(1)), r"argument 2 \(n\) is a int32, but was given a int64"),
    "a number too large": ((F, F, 2**31), r"argument 2 \(n\) is a int32: 2147483648 does not fit"),
    "too few": ((F, F), r"copy has 3 parameters, 2 were given"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_arguments_are_refused(what):
    args, why = REFUSED[what]
    with pytest.raises(emulator.KernelError, match=why):
        module("right.cu").get_function("copy")((1,), (32,), args)


@pytest.mark.parametrize("value", [1.0, 1, np.float64(1)])
def test_a_float_is_given_as_one(value):
    with pytest.raises(emulator.KernelError, match=r"argument 2 \(by\) is a float32"):
        module("right.cu").get_function("scale")((1,), (32,), (F, F.copy(), value))


@pytest.mark.parametrize(
    ("grid", "block", "why"),
    [((0,), (32,), "cannot"), ((1,), (1025,), "cannot"), ((1,), (1, 1, 65), "cannot"), ((1, 65536), (1,), "cannot"),
     ((1,), (129,), r"129 threads a block, but __launch_bounds__\(128\)")],
)  # fmt: skip
def test_a_launch_is_refused(grid, block, why):
    with pytest.raises(emulator.KernelError, match=why):
        module("right.cu").get_function("bounded")(grid, block, (F,))


def test_shared_memory_is_limited():
    function = module("right.cu").get_function("shared")
    with pytest.raises(emulator.KernelError, match="4096 bytes of static and 49153 of dynamic shared memory"):
        function((1,), (32,), (F,), shared_mem=49153)
    function.max_dynamic_shared_size_bytes = 98 << 10
    with pytest.raises(emulator.KernelError, match="101376 together"):
        function((1,), (32,), (F,), shared_mem=98 << 10)
    function((1,), (32,), (F,), shared_mem=95 << 10)


def test_a_kernel_that_is_not_there():
    with pytest.raises(emulator.KernelError, match="no kernel 'missing'; this module has copy, "):
        module("right.cu").get_function("missing")


@pytest.mark.parametrize(
    ("line", "why"),
    [("x[0] = y;", r"kernel\.cu:2:.*'y' was not declared"), ("float v; x[0] = v;", "is used uninitialized"),
     ("x[0] = max(x[0], 1);", "ambiguous"), ("atomicMax(x, 1.0f);", "CUDA has no such atomic"),
     ("float v[1 << 15]; v[(int)x[0]] = 1; x[0] = v[(int)x[1]];", "frame size"), ("forgotten(x);", "not declared")],
)  # fmt: skip
def test_a_text_is_refused(line, why):
    source = f'extern "C" __global__ void kernel(float* x) {{\n  {line}\n}}\n'
    with pytest.raises(emulator.KernelError, match=why):
        emulator.Module(source)

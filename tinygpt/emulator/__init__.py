"""A strict emulator of CUDA C: kernels given as text run on NumPy arrays, and every access that they make is checked.

    from tinygpt import emulator

    module = emulator.Module(open("kernel.cu").read(), options=["-DREAL=float"])
    x, out = emulator.asarray(values, "float32"), emulator.empty(values.shape)
    module.get_function("double_it")((4,), (32,), (x, out, np.int32(x.size)))  # blocks, threads, arguments
    assert emulator.unwritten(out) == 0

It needs g++ and the binutils, on Linux on x86-64, and no card, driver or header of CUDA's; `missing()` says what is not
there. g++ compiles a kernel as it compiles C++, with a call before each access (`-fsanitize=thread`) that comes to the
runtime here, the `.cpp` files. A thread is a fiber; blocks, and the warps of a block, run in an order that follows from
`settings.seed`.

An error is a `KernelError` that names kernel, block, thread, file and line, and the other line where there are two:

- outside of an array, a slice, a shared array or an array in registers; misaligned; never written
- races: within a block, within a warp (no `__syncwarp`), between blocks; a fence that is missing
- barriers and shuffles that not all reach, or that lanes reach in different places; shuffles from lanes that are gone
- cp.async read before it was waited for, or its buffer filled again while others read it
- int overflow, division by zero, shifts too wide; arguments of another type than the parameter; too many threads, too
  much shared memory; kernels that do not end

With `settings.profile` set, `profile(module)` tells by line how many sectors of global memory, and how many passes over
the banks of shared memory, were needed; `barriers()` counts those of the last launch. Two seeds with the same bits are
a test that sums are in a fixed order.

What it does not see:

- Registers, occupancy, time; what g++ accepts and nvcc does not (`__device__` forgotten, functions of the host).
- Approximate intrinsics are exact here, products are not contracted to fused multiply-adds, subnormals stay, and mma
  adds in one order in float32. Results agree with a card's to rounding, not to the bit.
- An index past the end of one array into its neighbour within one dynamic shared buffer that a kernel divides itself,
  and from one plain NumPy argument into another that touches it (arrays of `empty` have gaps).
- A fence between the same two barriers as the write, but before it. Of several atomics between two barriers on one
  address the last alone is remembered. `__syncwarp(part)` counts as ordering the whole warp.
- The order of float atomics is no error; neither are blocks that wait for each other, but they never end, since blocks
  run one after another, and are stopped after `settings.seconds`. Ctrl-C waits for the launch to end.
- Memory that no argument holds: `__device__` variables and arrays behind pointers kept in memory are out of bounds;
  tables (`__constant__`, `static const`) are not checked. A shared variable whose declaration is not plain (a structure
  defined on the spot, attributes after its type) has no gap after it.
- A thread's stack has 128 KiB: g++ refuses a function whose variables take half of it, but recursion may go deeper.
- No textures, named barriers, mbarrier, wgmma, fp16, cooperative groups; no parameters that are structures.

On purpose it is stricter than a card: writing the same value twice is a race, a thread that has left never comes to a
barrier, a shuffle orders no memory, and a launch may touch the extent of its arguments only, not what lies beside them
in the same allocation.
"""

from tinygpt.emulator.arrays import (
    asarray,
    empty,
    forget,
    mark_written,
    mark_written_at,
    register,
    unwritten,
    unwritten_at,
)
from tinygpt.emulator.compiling import missing
from tinygpt.emulator.errors import KernelError
from tinygpt.emulator.module import Function, Module, Settings, settings
from tinygpt.emulator.profile import Profile, Traffic, barriers, profile

__all__ = [
    "Function", "KernelError", "Module", "Profile", "Settings", "Traffic", "asarray", "barriers", "empty", "forget",
    "mark_written", "mark_written_at", "missing", "profile", "register", "settings", "unwritten", "unwritten_at",
]  # fmt: skip

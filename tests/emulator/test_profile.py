"""What launches move: sectors of global memory, passes over the banks of shared memory."""

import functools

import numpy as np
import pytest

from tests.emulator import launches
from tests.emulator.running import module
from tinygpt import emulator

R, C = 96, 64  # of the array transposed
WHOLE = R * C * 4


def profiled(kernel, *options):
    compiled = module("transpose.cu", *options)
    emulator.profile(compiled)
    emulator.settings.profile = True
    launches.transpose(np.random.default_rng(0), R, C, kernel, options)
    return emulator.profile(compiled)


def test_a_transpose_through_a_padded_tile_needs_the_least():
    profile = profiled("transpose")
    assert len(profile) == 4
    for shared in (False, True):
        for write in (False, True):
            total = profile.total(shared, write)
            assert (total.bytes, total.requests) == (WHOLE, WHOLE // 128)
            assert total.units == total.ideal == (WHOLE // 128 if shared else WHOLE // 32)


def test_without_the_pad_a_column_is_read_in_32_passes():
    profile = profiled("transpose", "-DPAD=0")
    assert profile.total(shared=True, write=False).ratio == 32
    assert profile.total(shared=True, write=True).ratio == 1


def test_a_naive_transpose_writes_eight_times_the_sectors():
    profile = profiled("transpose_naive")
    assert profile.total(shared=False, write=True).ratio == 8
    assert profile.total(shared=False, write=False).ratio == 1
    (written,) = (row for row in profile if row.write)
    assert written.line.startswith("transpose.cu:") and written.bytes == WHOLE
    assert "8.00  global write (sectors, 196,608 bytes)  transpose.cu:" in str(profile)


def test_a_profile_is_of_one_module_and_of_what_came_since_the_last():
    compiled, other = module("transpose.cu"), module("right.cu")
    assert profiled("transpose")
    x, out = emulator.asarray(np.zeros(64), "float32"), emulator.empty(64)
    other.get_function("copy")((2,), (32,), (x, out, np.int32(64)))
    assert not emulator.profile(compiled)
    (read, write) = sorted(emulator.profile(other), key=lambda row: row.write)
    assert (read.requests, read.units, write.units) == (2, 8, 8)
    emulator.settings.profile = False
    other.get_function("copy")((2,), (32,), (x, out, np.int32(64)))
    assert not emulator.profile(other)


# One request of a warp: what is read, the units it takes, the least, the bytes. x is global memory, s shared.
REQUESTS = [
    ("x[lane]", 4, 4, 128), ("x[lane + 1]", 5, 4, 128), ("x[lane * 2]", 8, 4, 128), ("x[lane * 7]", 28, 4, 128),
    ("x[0]", 1, 1, 128), ("x[lane / 8]", 1, 1, 128), ("x[31 - lane]", 4, 4, 128),
    ("sum4(((float4*)x)[lane])", 16, 16, 512),
    ("s[lane]", 1, 1, 128), ("s[lane * 2]", 2, 1, 128), ("s[lane * 32]", 32, 1, 128), ("s[lane * 33]", 1, 1, 128),
    ("s[5]", 1, 1, 128), ("s[lane / 2]", 1, 1, 128), ("s[lane % 2 * 32]", 2, 1, 128),
    ("sum4(((float4*)s)[lane])", 4, 4, 512), ("sum4(((float4*)s)[lane * 2])", 8, 4, 512),
]  # fmt: skip


@functools.cache
def requests():
    """A kernel for each of REQUESTS."""
    kernels = [
        f"""
extern "C" __global__ void kernel{i}(const float* x, float* out) {{
  __shared__ __align__(16) float s[1056];
  int lane = threadIdx.x;
  for (int i = lane; i < 1056; i += 32) s[i] = 0;
  __syncthreads();
  float got = {what};
  if (got != 0) out[0] = got;
}}
"""
        for i, (what, *_) in enumerate(REQUESTS)
    ]
    sum4 = "__device__ inline float sum4(float4 v) { return v.x + v.y + v.z + v.w; }\n"
    return emulator.Module(sum4 + "".join(kernels))


@pytest.mark.parametrize("i", range(len(REQUESTS)), ids=[what for what, *_ in REQUESTS])
def test_units_of_a_request(i):
    what, units, ideal, bytes_ = REQUESTS[i]
    emulator.settings.profile = True
    x, out = emulator.asarray(np.zeros(256), "float32"), emulator.empty(1)
    requests().get_function(f"kernel{i}")((1,), (32,), (x, out))
    rows = [row[1:] for row in emulator.profile(requests()) if not row.write]
    assert rows == [("s[" in what or ")s)" in what, False, bytes_, 1, units, ideal)]


def test_barriers_of_the_last_launch_are_counted_over_its_blocks():
    source = """extern "C" __global__ void k(int n) {
      for (int i = 0; i < n; i++) __syncthreads();
    }"""
    kernel = emulator.Module(source).get_function("k")
    for blocks, n in ((3, 2), (1, 0), (2, 5)):
        kernel((blocks,), (64,), (np.int32(n),))
        assert emulator.barriers() == blocks * n

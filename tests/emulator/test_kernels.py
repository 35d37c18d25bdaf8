"""Kernels that are right: their values are NumPy's, all of the outputs is written, and no order gives a false alarm."""

import numpy as np
import pytest

from tests.emulator import launches
from tests.emulator.running import module
from tinygpt import emulator


@pytest.mark.parametrize("launch", launches.RIGHT, ids=lambda launch: launch.__name__)
def test_a_right_kernel_is_right_in_every_order(launch):
    for emulator.settings.seed in range(8):
        error, outputs = launch(np.random.default_rng(emulator.settings.seed))
        assert error <= launches.RIGHT[launch]
        assert not any(map(emulator.unwritten, outputs))


@pytest.mark.parametrize("launch", [launches.layernorm, launches.embedding, launches.total])
def test_sums_in_a_fixed_order_have_the_same_bits_in_every_order_of_blocks(launch):
    assert len(bits_of_ten_orders(launch)) == 1


def test_sums_by_atomics_have_not():
    assert len(bits_of_ten_orders(launches.embedding_atomic)) > 1


def bits_of_ten_orders(launch):
    found = set()
    for emulator.settings.seed in range(10):
        found.add(launch(np.random.default_rng(0))[1][-1].tobytes())
    return found


def test_the_same_seed_gives_the_same_order():
    for emulator.settings.seed in range(3):
        bits = {launches.embedding_atomic(np.random.default_rng(0))[1][0].tobytes() for _ in range(3)}
        assert len(bits) == 1


@pytest.mark.parametrize("launch", [launches.layernorm, launches.row_sums], ids=lambda launch: launch.__name__)
def test_unchecked_a_kernel_gives_the_same_bits(launch, monkeypatch):
    checked = launch(np.random.default_rng(0))[1]
    monkeypatch.setattr(launches, "module", lambda name, *options: module(name, *options, checks=False))
    for array, same in zip(checked, launch(np.random.default_rng(0))[1], strict=True):
        assert np.allclose(array, same, rtol=1e-6)


def test_unchecked_nothing_is_checked():
    out = emulator.empty(32)
    copy = module("right.cu", checks=False).get_function("copy")
    copy((1,), (32,), (out, out, np.int32(32)))  # reads what nobody has written


def test_all_of_a_three_dimensional_grid_and_block_is_run():
    source = """
extern "C" __global__ void places(int* out) {
  int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] = block * 1000 + thread;
}
"""
    out = emulator.empty(2 * 3 * 4 * 5 * 6 * 7, "int32")
    emulator.Module(source).get_function("places")((2, 3, 4), (5, 6, 7), (out,))
    assert (out == (np.arange(24)[:, None] * 1000 + np.arange(210)).reshape(-1)).all()


def test_arguments_of_every_kind():
    source = """
extern "C" __global__ void numbers(double* out, int a, unsigned b, long long c, unsigned long long d, float e, double f,
                                   bool g, const float* none) {
  double all[8] = {(double)a, (double)b, (double)c, (double)(d >> 11), e, f, (double)g, (double)(none == nullptr)};
  for (int i = 0; i < 8; i++) out[i] = all[i];
}
"""
    out = emulator.empty(8, "float64")
    numbers = (-5, np.uint32(2**32 - 1), np.int64(-(2**40)), np.uint64(2**64 - 1), np.float32(0.1), 0.1, True)
    emulator.Module(source).get_function("numbers")((1,), (1,), (out, *numbers, None))
    assert out.tolist() == [-5, 2**32 - 1, -(2**40), 2**53 - 1, np.float32(0.1), 0.1, 1, 1]


def test_several_shared_variables_of_a_declaration_and_of_functions():
    source = """
constexpr int N = 32;
typedef float Tile[N][N + 1];
template <class T> __device__ T twice(T x) {
  __shared__ T kept[N];
  kept[threadIdx.x] = x;
  return kept[threadIdx.x] * 2;
}
__device__ inline float thrice(float x) {
  static __shared__ float kept[N];  // one of an inline function
  kept[threadIdx.x] = x;
  return kept[threadIdx.x] * 3;
}
extern "C" __global__ void shared(float* out) {
  __shared__ Tile a, b; __shared__ float c[N], d;
  __shared__ unsigned long long e [2] [N];
  int i = threadIdx.x;
  a[i][0] = b[i][0] = c[i] = e[1][i] = i;
  if (i == 0) d = 1;
  __syncthreads();
  out[i] = twice(a[i][0]) + thrice(b[i][0]) + c[i] + e[1][i] + d;
}
"""
    out = emulator.empty(32)
    function = emulator.Module(source).get_function("shared")
    function((1,), (32,), (out,))
    assert (out == np.arange(32) * 7 + 1).all()
    assert function.static_shared == 2 * 32 * 33 * 4 + 32 * 4 + 4 + 2 * 32 * 8 + 2 * 32 * 4


def test_a_shared_structure_defined_on_the_spot():
    source = """
extern "C" __global__ void shared(float* out) {
  __shared__ struct { float a[32]; int b; } both;
  both.a[threadIdx.x] = threadIdx.x;
  if (threadIdx.x == 3) both.b = 5;
  __syncthreads();
  out[threadIdx.x] = both.a[31 - threadIdx.x] + both.b;
}
"""
    out = emulator.empty(32)
    function = emulator.Module(source).get_function("shared")
    function((1,), (32,), (out,))
    assert (out == 36 - np.arange(32)).all() and function.static_shared == 132


def test_dynamic_shared_memory_declared_for_all_kernels_or_for_one():
    source = """
extern __shared__ __align__(16) unsigned char bytes[];
extern __shared__ float all[];
__device__ float other() { return all[31 - threadIdx.x]; }
extern "C" __global__ void first(float* out) {
  all[threadIdx.x] = threadIdx.x;
  __syncthreads();
  out[threadIdx.x] = other() + (bytes[0] == 0);
}
extern "C" __global__ void second(float* out) {
  extern __shared__ double mine[];
  mine[threadIdx.x] = threadIdx.x;
  __syncthreads();
  out[threadIdx.x] = mine[31 - threadIdx.x];
}
"""
    compiled = emulator.Module(source)
    for name, size, more in (("first", 4, 1), ("second", 8, 0)):
        out = emulator.empty(32)
        compiled.get_function(name)((1,), (32,), (out,), shared_mem=32 * size)
        assert (out == np.arange(31, -1, -1) + more).all()
        with pytest.raises(emulator.KernelError, match="after the end of dynamic shared memory"):
            compiled.get_function(name)((1,), (32,), (out,), shared_mem=31 * size)

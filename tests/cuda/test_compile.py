"""CUDA's own compiler takes every kernel, without spilling registers; a card is not needed for that."""

import pytest

from tests.cuda import resources
from tests.cuda.resources import MULTIPROCESSORS, Source, Used, launched, occupancy, rows, table, used
from tinygpt.kernels.cuda import compiled

needs_compiler = pytest.mark.skipif(
    resources.compiler() is None,
    reason="they compile for a card, and there is no NVRTC (pip install nvidia-cuda-nvrtc) and no nvcc",
)


@needs_compiler
def test_every_kernel_of_a_training_step_compiles_without_spills_and_fits():
    found = list(rows(["gpt2, TF32", "baby, bfloat16"], [80, 90]))  # the command does all
    wrong = [
        f"{row.used.kernel} of {row.source.title} for sm_{row.architecture}: {row.used}, {row.dynamic} dynamic"
        for row in found
        if row.used.spilled or row.used.shared + row.dynamic > 99 << 10 or (row.threads and not row.occupancy)
    ]
    assert not wrong, "\n".join(wrong)
    assert table(found).count("\n") == 1 + len({(row.used.kernel, row.source) for row in found})


@needs_compiler
def test_what_the_compiler_refuses_is_said():
    with pytest.raises(RuntimeError, match='refuses the kernels:\n.*wrong.cu"?[:(]3.*undefined'):
        resources.compiler()(Source("wrong", (), '#line 1 "wrong.cu"\n\n\n__global__ void f() { g(); }\n'), 90)


@needs_compiler
def test_spills_and_shared_memory_are_seen():
    text = """
    extern "C" __global__ void __launch_bounds__(1024, 2) crowded(const float* x, float* y) {
      __shared__ float s[256];
      float r[64];
      for (int i = 0; i < 64; i++) r[i] = x[i * 1024 + threadIdx.x];
      s[threadIdx.x % 256] = r[0];
      __syncthreads();
      for (int k = 0; k < 9; k++)
        for (int i = 0; i < 64; i++) r[i] = r[i] * r[(i + 1) % 64] + s[(threadIdx.x + k) % 256];
      for (int i = 0; i < 64; i++) y[i * 1024 + threadIdx.x] = r[i];
    }"""
    (kernel,) = used(resources.compiler()(Source("crowded", (), text), 90))
    assert kernel.kernel == "crowded" and kernel.shared == 1024 and kernel.spilled > 0


def test_a_step_says_which_kernels_it_launches_and_how():
    launches = launched("gpt2")
    assert {source.file for source in launches} <= {path.stem for path in compiled.FOLDER.glob("*.cu")}
    for source, kernels in launches.items():
        assert "-DREAL=float" in source.options
        for kernel, (threads, shared) in kernels.items():
            assert f" {kernel}(" in source.text and 0 < threads <= 1024 and 0 <= shared <= 99 << 10


@pytest.mark.parametrize(
    ("architecture", "threads", "registers", "shared", "blocks"),
    [
        (90, 256, 32, 0, 8),  # threads
        (90, 32, 16, 0, 32),  # blocks
        (90, 256, 128, 0, 2),  # registers
        (90, 128, 65, 0, 7),  # registers are given in units of 8: 72 of a thread, 7 warps a scheduler
        (90, 128, 32, 48 << 10, 4),  # shared memory, with 1 KB of a block for CUDA
        (90, 1024, 255, 0, 0),  # none
        (120, 256, 32, 0, 6),
        (80, 256, 32, 80 << 10, 2),
    ],
)
def test_occupancy_is_what_cudas_calculator_says(architecture, threads, registers, shared, blocks):
    warps = threads / 32 * blocks / MULTIPROCESSORS[architecture].warps
    assert occupancy(architecture, threads, registers, shared) == pytest.approx(warps)


def test_what_the_assembler_says_is_read():
    log = """ptxas info    : Compiling entry function 'f' for 'sm_90'
ptxas info    : Function properties for f
    16 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 256 bytes smem
ptxas info    : Compiling entry function 'g' for 'sm_90'
ptxas info    : Used 10 registers"""
    assert list(used(log)) == [Used("f", 40, 256, 12, 16), Used("g", 10, 0, 0, 0)]

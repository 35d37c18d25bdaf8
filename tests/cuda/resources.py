"""What the kernels take of a card: registers, shared memory and spills, as CUDA's compiler says without a card.

Compiled are the kernels that a training step and a generated token launch, with the constants and the shared memory
that they give them: both on the stand-in say which, its kernels doing nothing. Occupancy follows from CUDA's rules: the
warps that a multiprocessor can hold at once, of those it has room for.

    python -m tests.cuda.resources  # a table, in Markdown
"""

import argparse
import ctypes
import functools
import importlib.util
import math
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests import children
from tests.cuda import strict_cupy
from tinygpt import GPT
from tinygpt.backend import tf32_products, to_device
from tinygpt.kernels.cuda import compiled
from tinygpt.models.gpt2 import GPTConfig
from tinygpt.ops import build
from tinygpt.optim import AdamW
from tinygpt.run.config import PRESETS

ARCHITECTURES = (80, 89, 90, 120)
SHAPE = ("n_head", "n_embd", "block_size", "dropout")
STEPS = {  # whose kernels are compiled: the preset, dtype, and whether products are in TF32
    "gpt2": ("gpt2", "float32", False),
    "gpt2, TF32": ("gpt2", "float32", True),
    "gpt2, float64": ("gpt2", "float64", False),
    "gpt2, bfloat16": ("gpt2", "bfloat16", False),
    "baby": ("baby", "float32", False),
    "baby, TF32": ("baby", "float32", True),
    "baby, bfloat16": ("baby", "bfloat16", False),
}
VOCABULARY = {"gpt2": 8192, "baby": 65}  # of GPT-2's tokens enough for as large blocks
OPTIONS = ("-std=c++17", "-ftz=true")  # CuPy adds the second (cupy/cuda/compiler.py)


class Source(NamedTuple):
    """A file of kernels with its constants."""

    file: str
    options: tuple[str, ...]
    text: str

    @property
    def title(self) -> str:
        return " ".join([self.file, *(option.removeprefix("-D") for option in self.options if option.startswith("-D"))])


class Multiprocessor(NamedTuple):
    """What bounds the blocks that run at once on a generation of cards (CUDA C++ Programming Guide)."""

    warps: int
    blocks: int
    shared: int  # bytes, of which each block takes 1,024 for CUDA itself
    most_shared: int  # bytes of a block


MULTIPROCESSORS = {
    80: Multiprocessor(64, 32, 164 << 10, 163 << 10),
    89: Multiprocessor(48, 24, 100 << 10, 99 << 10),
    90: Multiprocessor(64, 32, 228 << 10, 227 << 10),
    120: Multiprocessor(48, 24, 100 << 10, 99 << 10),
}


class Used(NamedTuple):
    """What a kernel takes."""

    kernel: str
    registers: int  # of a thread
    shared: int  # bytes, static
    spilled: int  # bytes, stores and loads
    stack: int


def occupancy(architecture: int, threads: int, registers: int, shared: int) -> float:
    """The part of a multiprocessor's warps that blocks of such kernels fill; shared: static and dynamic."""
    sm = MULTIPROCESSORS[architecture]
    warps = -(-threads // 32)
    of_a_warp = -(-registers * 32 // 256) * 256  # allocated in units of 256, to warps of one of four schedulers
    blocks = [sm.blocks, sm.warps // warps, 4 * (16384 // of_a_warp) // warps]
    blocks.append(sm.shared // (-(-shared // 128) * 128 + 1024))
    return min(blocks) * warps / sm.warps


# What a step launches


class _Launched:
    """A kernel that does nothing but say how it was launched."""

    max_dynamic_shared_size_bytes = 48 << 10

    def __init__(self, launches: dict, source: Source, name: str):
        self.note = functools.partial(self._note, launches.setdefault(source, {}), name)

    @staticmethod
    def _note(launches: dict, name: str, threads: int, shared: int) -> None:
        before = launches.get(name, (0, 0))
        launches[name] = max(before[0], threads), max(before[1], shared)

    def __call__(self, grid: tuple, block: tuple, args: tuple, *, shared_mem: int = 0) -> None:
        self.note(math.prod(block), shared_mem)


class _Module:
    def __init__(self, launches: dict, code: str, options: Iterable[str]):
        self.source = Source(code.split('"', 2)[1].removesuffix(".cu"), tuple(options), code)
        self.launches = launches

    def get_function(self, name: str) -> _Launched:
        return _Launched(self.launches, self.source, name)


@functools.cache
def launched(step: str) -> dict[Source, dict[str, tuple[int, int]]]:
    """By source and kernel, the most threads of a block and bytes of dynamic shared memory in a step of training."""
    preset, dtype, tf32 = STEPS[step]
    shape = {name: PRESETS[preset][name] for name in SHAPE if name in PRESETS[preset]}
    config = GPTConfig(n_layer=1, vocab_size=VOCABULARY[preset], **shape)
    launches: dict[Source, dict] = {}
    original = compiled.raw_module
    compiled._compiled.cache_clear()
    with strict_cupy.installed(), tf32_products(tf32, "cuda"):
        compiled.raw_module = lambda code, options=(): _Module(launches, code, options)
        try:
            model = GPT(config, "cuda", dtype, seed=None, ops=build("auto", "cuda"))
            ids = to_device(np.arange(64).reshape(2, 32), "cuda")
            _, cache = model.loss(ids, ids, step=1)
            grads = model.params.zeros_like()
            model.backward(cache, grads)
            AdamW(model.params).step(grads, 1e-3, max_norm=1.0)
            for B in (1, 8):  # and to generate a token
                x = model.decode(to_device(np.zeros((B, 1), int), "cuda"), 0, model._memory(B, 8))
                model.logits(x[:, -1], model.computing()[model.head])
        finally:
            compiled.raw_module = original
            compiled._compiled.cache_clear()
    return launches


# CUDA's compilers


def compiler() -> Callable[[Source, int], str] | None:
    """What compiles for a card of some architecture and returns what the assembler says, or None."""
    if found := _nvrtc_library():
        return functools.partial(_by_nvrtc, found)
    return _by_nvcc if shutil.which("nvcc") else None


def _nvrtc_library() -> Path | None:
    """NVRTC, which comes with `pip install nvidia-cuda-nvrtc` and with CuPy's [ctk]."""
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    return next((path for folder in folders for path in sorted(folder.glob("*/lib/libnvrtc.so.*"))), None)


def _by_nvrtc(library: Path, source: Source, architecture: int) -> str:
    nvrtc, program, size = ctypes.CDLL(str(library)), ctypes.c_void_p(), ctypes.c_size_t()
    options = [*OPTIONS, *source.options, f"-arch=sm_{architecture}", "--ptxas-options=-v"]
    given = [option.encode() for option in [*options, "--device-as-default-execution-space"]]
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.text.encode(), b"kernels.cu", 0, None, None)
    try:
        failed = nvrtc.nvrtcCompileProgram(program, len(given), (ctypes.c_char_p * len(given))(*given))
        nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetProgramLog(program, log)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return _said(failed, log.value.decode())


def _by_nvcc(source: Source, architecture: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernels.cu")
        path.write_text(source.text, encoding="utf-8")
        options = [*OPTIONS, *source.options, f"-arch=sm_{architecture}", "-cubin", "-Xptxas", "-v"]
        done = children.run(*dict.fromkeys(options), "-o", "kernels.cubin", path, python="nvcc", cwd=folder)
    return _said(done.returncode, done.stdout + done.stderr)


def _said(failed: int, log: str) -> str:
    if failed:
        raise RuntimeError(f"CUDA's compiler refuses the kernels:\n{log}")
    return log


def used(log: str) -> Iterator[Used]:
    """What `ptxas -v` says of each kernel."""
    for part in log.split("Compiling entry function ")[1:]:
        numbers = [re.search(pattern, part) for pattern in (
            r"Used (\d+) registers", r"(\d+) bytes smem", r"(\d+) bytes spill stores", r"(\d+) bytes spill loads",
            r"(\d+) bytes stack frame",
        )]  # fmt: skip
        registers, shared, stores, loads, stack = (int(match[1]) if match else 0 for match in numbers)
        yield Used(part.split("'", 2)[1], registers, shared, stores + loads, stack)


class Row(NamedTuple):
    source: Source
    architecture: int
    used: Used
    threads: int  # of a block; 0 where the step has no use for this kernel
    dynamic: int

    @property
    def occupancy(self) -> float:
        return self.threads and occupancy(
            self.architecture, self.threads, self.used.registers, self.used.shared + self.dynamic
        )


def rows(steps: Iterable[str] = tuple(STEPS), architectures: Iterable[int] = ARCHITECTURES) -> Iterator[Row]:
    """What each kernel of these steps takes, for each architecture."""
    launches: dict[Source, dict[str, tuple[int, int]]] = {}
    for step in steps:
        for source, kernels in launched(step).items():
            for kernel, most in kernels.items():
                before = launches.setdefault(source, {}).get(kernel, most)
                launches[source][kernel] = max(before[0], most[0]), max(before[1], most[1])
    compile_ = compiler()
    assert compile_, "there is no NVRTC and no nvcc"
    jobs = [(source, architecture) for source in launches for architecture in architectures]
    with ThreadPoolExecutor(2) as pool:
        for (source, architecture), log in zip(jobs, pool.map(lambda job: compile_(*job), jobs), strict=True):
            for kernel in used(log):
                yield Row(source, architecture, kernel, *launches[source].get(kernel.kernel, (0, 0)))


def table(found: Iterable[Row]) -> str:
    """In Markdown: a line for each kernel and its constants, with the registers for each architecture."""
    lines: dict[tuple, dict[int, Row]] = {}
    for row in found:
        lines.setdefault((row.used.kernel, row.source), {})[row.architecture] = row
    architectures = sorted({architecture for of_kernel in lines.values() for architecture in of_kernel})
    names = " | ".join(f"sm_{architecture}" for architecture in architectures)
    text = [f"| kernel | constants | threads | shared memory | {names} | spills | occupancy on sm_90 |"]
    text.append("|---|---|---|---|" + "---|" * (len(architectures) + 2))
    for (kernel, source), of_kernel in sorted(lines.items(), key=lambda item: (item[0][1].file, item[0][0])):
        first = next(iter(of_kernel.values()))
        constants = source.title.split(" ", 1)[1].replace("REAL=", "")
        registers = " | ".join(str(of_kernel[a].used.registers) if a in of_kernel else "" for a in architectures)
        spilled = max(row.used.spilled for row in of_kernel.values())
        occupied = f"{of_kernel[90].occupancy:.0%}" if 90 in of_kernel and first.threads else ""
        shared = f"{first.used.shared + first.dynamic:,}"
        text.append(
            f"| {kernel} | {constants} | {first.threads or ''} | {shared} | {registers} | {spilled or 'none'} | "
            f"{occupied} |"
        )
    return "\n".join(text)


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(
        "python -m tests.cuda.resources", description=__doc__, formatter_class=formatter
    ).parse_args()
    if compiler() is None:
        sys.exit("there is no NVRTC (pip install nvidia-cuda-nvrtc) and no nvcc")
    print("Registers of a thread, by generation of cards; shared memory in bytes a block.\n")
    print(table(list(rows())))


if __name__ == "__main__":
    main()

"""Kernels of one's own: CUDA C, which the emulator compiles with g++ and runs on the host, every access checked.

As CuPy's RawModule and RawKernel (cupy/_core/raw.pyx, cupy/cuda/function.pyx): the same parameters, compiled when the
first kernel is asked for, the same errors. Stricter where CuPy would pass on to the card what cannot be meant:
arguments that are not what the parameters say, or too few (the emulator knows them), a tuple of more than three sizes,
host arrays by value.

Where the emulator has no compiler, a test that comes to a kernel ends here as skipped: not earlier, because only here
it is known that it needs one, and most tests do not. What was compiled is kept in the caller's own cache, not in that
which each run of the tests has anew.
"""

import contextlib
import functools
import operator
import os
import re
import warnings

import numpy as np
import pytest

from tests.cuda.strict_cupy.array import ndarray
from tests.cuda.strict_cupy.card import card
from tests.cuda.strict_cupy.device import device_attributes
from tests.cuda.strict_cupy.errors import CompileException, CUDADriverError, unsupported
from tests.cuda.strict_cupy.memory import MemoryPointer
from tinygpt import emulator

OPTIONS = (  # NVRTC's, or how they begin (NVRTC 13.0 manual, Supported Compile Options)
    *"-D -U -I --define-macro= --undefine-macro= --include-path= --pre-include= -include= -std= --std=".split(),
    *"--gpu-architecture= -arch= --maxrregcount= -maxrregcount= --ptxas-options -Xptxas --ftz= -ftz= ".split(),
    *"--prec-sqrt= -prec-sqrt= --prec-div= -prec-div= --fmad= -fmad= --use_fast_math -use_fast_math".split(),
    *"--extra-device-vectorization --device-debug -G --generate-line-info -lineinfo --restrict -restrict".split(),
    *"--disable-warnings -w --diag- -diag- --display-error-number --no-display-error-number --time= -time=".split(),
    *"--device-as-default-execution-space -default-device --device-int128 -device-int128 --split-compile=".split(),
    *"--Werror= -Werror= --brief-diagnostics= --minimal -minimal --relocatable-device-code= -rdc= -dc".split(),
)
CACHE = os.environ.get("TINYGPT_CACHE")
ELSEWHERE = "num_regs local_size_bytes const_size_bytes ptx_version binary_version cache_mode_ca attributes".split()


class RawModule:
    """cupy.RawModule: the kernels of a text, declared `extern "C"`."""

    def __init__(
        self, *, code=None, path=None, options=(), backend="nvrtc", translate_cucomplex=False,
        enable_cooperative_groups=False, name_expressions=None, jitify=None,
    ):  # fmt: skip
        _check_types(code=(code, str), path=(path, str), options=(options, tuple), backend=(backend, str))
        if (code is None) == (path is None):
            raise TypeError("Exactly one of `code` and `path` keyword arguments must be given.")
        if path is not None or translate_cucomplex or enable_cooperative_groups or name_expressions is not None:
            raise NotImplementedError('the stand-in compiles plain CUDA C with extern "C" kernels, and nothing else')
        if jitify is not None:
            warnings.warn("The jitify argument is deprecated", DeprecationWarning, stacklevel=2)
        self.code, self.options, self.backend = code, options, backend

    def compile(self, log_stream=None):
        card().require()
        _compiled(self.code, self.options, self.backend)

    def get_function(self, name):
        kernel = RawKernel(self.code, name, self.options, self.backend)
        kernel.compile()
        return kernel

    def __getattr__(self, name):
        raise AttributeError(f"the stand-in does not know cupy.RawModule.{name}")


class RawKernel:
    """cupy.RawKernel, compiled at its first use."""

    def __init__(
        self, code, name, options=(), backend="nvrtc", *, translate_cucomplex=False, enable_cooperative_groups=False,
        jitify=None,
    ):  # fmt: skip
        _check_types(code=(code, str), name=(name, str), options=(options, tuple), backend=(backend, str))
        if translate_cucomplex or enable_cooperative_groups:
            raise NotImplementedError("the stand-in has neither cuComplex.h nor cooperative groups")
        if jitify is not None:
            warnings.warn("The jitify argument is deprecated", DeprecationWarning, stacklevel=2)
        self.code, self.name, self.options, self.backend = code, name, options, backend
        self.__name__ = name

    def compile(self, log_stream=None):
        self._function  # noqa: B018

    @property
    def _function(self):
        card().require()
        return _function(_compiled(self.code, self.options, self.backend), self.name)

    kernel = _function
    shared_size_bytes = property(lambda self: self._function.static_shared)
    max_threads_per_block = property(lambda self: self._function.most_threads or 1024)

    @property
    def max_dynamic_shared_size_bytes(self):
        return self._function.max_dynamic_shared_size_bytes

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size):
        most = device_attributes()["MaxSharedMemoryPerBlockOptin"] - self.shared_size_bytes
        if not 0 <= operator.index(size) <= most:
            raise CUDADriverError(1, f"{self.name}: a block can have {most:,} bytes of dynamic shared memory here")
        self._function.max_dynamic_shared_size_bytes = operator.index(size)

    def __getattr__(self, name):
        why = ": g++ cannot know it" if name in ELSEWHERE else ""
        raise AttributeError(f"the stand-in does not know cupy.RawKernel.{name}{why}")

    def __call__(self, grid, block, args, *, shared_mem=0, stream=None):
        """Run the kernel, now: whoever looks at its results would wait for it anyway.

        As CuPy has it, a size of 0 becomes 1, so that a kernel over nothing still runs one block.
        """
        function = self._function
        _check_types(grid=(grid, tuple), block=(block, tuple), args=(args, tuple))
        grid, block, shared_mem = _sizes("grid", grid), _sizes("block", block), operator.index(shared_mem)
        self._check_launch(function, grid, block, shared_mem)
        if len(args) != len(function.parameters):
            raise TypeError(f"{self.name} has {len(function.parameters)} parameters, {len(args)} arguments were given")
        values = [_argument(value) for value in args]
        arrays = [x for x in args if isinstance(x, ndarray)]
        for x in arrays:
            if x.nbytes:
                x._buffer.watch()
        reads, writes = _traffic(args, _points_to_const(self.code, self.name, len(args)))
        before, emulator.settings.seed = emulator.settings.seed, card().next_seed()
        try:
            function(grid, block, values, shared_mem=shared_mem)
        finally:
            emulator.settings.seed = before
        for x in arrays:
            x._buffer.look()
        card().launch(self.name, writes, reads=reads, noted=sum(x.nbytes for x in arrays))

    def _check_launch(self, function, grid, block, shared_mem):
        limits = device_attributes()
        threads = block[0] * block[1] * block[2]
        most = [limits[f"Max{what}Dim{axis}"] for what in ("Grid", "Block") for axis in "XYZ"]
        if any(n > limit for n, limit in zip(grid + block, most, strict=True)) or threads > 1024:
            raise CUDADriverError(1, f"{self.name}: a grid of {grid} blocks of {block} threads")
        if function.most_threads and threads > function.most_threads:
            raise CUDADriverError(701, f"{self.name}: {threads} threads a block, bounded to {function.most_threads}")
        most = min(function.max_dynamic_shared_size_bytes, limits["MaxSharedMemoryPerBlockOptin"])
        if not 0 <= shared_mem <= most:
            raise CUDADriverError(1, f"{self.name}: {shared_mem:,} bytes of dynamic shared memory, of {most:,} allowed")


@functools.cache
def _compiled(code, options, backend):
    """The emulator's module: once for each text and options, as CuPy has it."""
    if emulator.missing():
        pytest.skip(emulator.missing())
    if backend != "nvrtc":
        raise NotImplementedError(f"the stand-in compiles for nvrtc, not for {backend!r}")
    for option in options:
        if not isinstance(option, str):
            raise TypeError(f"an option is a string, not {option!r}")
    named = re.match(r'#line 1 "([^"]+)"\n', code)
    name = named[1] if named else "kernel.cu"
    wrong = [option for option in options if not option.startswith(OPTIONS)]
    if wrong:
        message = f"nvrtc: error: unrecognized option {wrong[0]} found"
        raise CompileException(message, code, name, options)
    try:
        with _callers_cache():
            return emulator.Module(code, options, name=name)
    except emulator.KernelError as error:
        raise CompileException(str(error), code, name, options) from None


@contextlib.contextmanager
def _callers_cache():
    of_tests = os.environ.pop("TINYGPT_CACHE", None)
    if CACHE is not None:
        os.environ["TINYGPT_CACHE"] = CACHE
    try:
        yield
    finally:
        os.environ.pop("TINYGPT_CACHE", None)
        if of_tests is not None:
            os.environ["TINYGPT_CACHE"] = of_tests


@functools.cache
def _function(module, name):
    """A kernel of a module. CUDA has one handle of each, with its attributes, however often one asks for it."""
    try:
        return module.get_function(name)
    except emulator.KernelError as error:
        if name in module.parameters:
            raise
        raise CUDADriverError(500, str(error)) from None


@functools.cache
def _points_to_const(code, name, count):
    """For each parameter of a kernel, whether it points to what the kernel only reads, as far as its text says."""
    code = re.sub(r"//[^\n]*|/\*.*?\*/", "", code, flags=re.S)
    given = re.search(rf"\b{name}\s*\(([^()]*)\)\s*\{{", code)
    found = given[1].split(",") if given else []
    if len(found) != count:
        return [False] * count
    return [bool(re.match(r"\s*const\b[^*]*\*|[^*]*\bconst\s*\*", parameter)) for parameter in found]


def _check_types(**given):
    """As Cython refuses what is of another type; None is of any."""
    for name, (value, kind) in given.items():
        if value is not None and type(value) is not kind:
            got = type(value).__name__
            raise TypeError(f"Argument {name!r} has incorrect type (expected {kind.__name__}, got {got})")


def _sizes(what, sizes):
    if not 1 <= len(sizes) <= 3:
        raise ValueError(f"{what} is a tuple of one to three sizes, got {sizes}")
    return tuple(max(1, operator.index(n)) for n in (*sizes, 1, 1)[:3])


def _argument(value):
    """An argument for the emulator, which compares it with the parameter: an array, or a scalar with the bytes that
    CuPy would pass (_scalar.pyx: 8 of a Python int or float, 1 of a bool, a NumPy scalar's own).
    """
    if value is None:
        return None
    if isinstance(value, ndarray):
        value._buffer.here()
        if not _lies_row_by_row(value._np):
            raise ValueError(
                f"a kernel is passed an address, and would not know that this array {value.shape} has the strides "
                f"{value.strides}; the stand-in passes rows that may be apart, nothing else"
            )
        return value._np
    if isinstance(value, np.ndarray):
        raise TypeError(
            f"You are trying to pass a numpy.ndarray of shape {value.shape} as a kernel parameter; the stand-in takes "
            "none, CuPy those of size one by value"
        )
    if isinstance(value, MemoryPointer):
        raise TypeError("the stand-in wants an array, whose bounds it knows, not its pointer")
    if isinstance(value, complex) or not isinstance(value, int | float | np.number | np.bool_):
        raise unsupported(value)
    if isinstance(value, bool | np.bool_):
        return np.uint8(value)
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        raise OverflowError("Python integer out of bounds for int64")
    return value


def _lies_row_by_row(x):
    if x.flags.c_contiguous:
        return True
    steps = [step for n, step in zip(x.shape, x.strides, strict=True) if n > 1]
    in_a_row = x.shape[-1] == 1 or x.strides[-1] == x.itemsize  # its numbers are neighbours
    return in_a_row and steps == sorted(steps, reverse=True)


def _traffic(args, points_to_const):
    """The arrays a kernel reads, and the bytes it writes, each once. A parameter that points to const is read; another
    is written, and read as well if its memory was written before, as what is added to or changed in place.
    """
    reads, writes = [], 0
    for value, constant in zip(args, points_to_const, strict=True):
        if isinstance(value, ndarray):
            if constant or value._buffer.unwritten(value._np) == 0:
                reads.append(value._np)
            if not constant:
                writes += value.nbytes
    return reads, writes

"""The kernels of a text, and a launch of one: what CuPy calls RawModule and RawKernel."""

import ctypes
import functools
import re
import struct
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from tinygpt.emulator import runtime
from tinygpt.emulator.compiling import Unit, library
from tinygpt.emulator.errors import KernelError
from tinygpt.emulator.lines import Lines, SharedVariable, shared_variables
from tinygpt.emulator.source import prepare

COMMON = (
    "-std=c++17", "-g", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing", "-U_FORTIFY_SOURCE",
    "-fcf-protection=none", "-Wno-unknown-pragmas",
    "-fno-plt",  # all code is the kernel's: a launch that is stopped is stopped on one of its lines
    "-fno-finite-loops",  # a loop that never ends is not left out
    "-fno-gnu-unique",  # or two libraries share a static variable of an inline function
    "-Werror=frame-larger-than=65536",  # bytes of a thread's variables; its stack has 128 KiB
    "-include", "device.h", "-DEMULATED",
)  # fmt: skip
PLAIN = ("-O2", "-fno-math-errno")
STRICT = (
    "-O1", "-fsanitize=thread", "--param", "tsan-instrument-func-entry-exit=0",
    # Arrays and integers that the check of addresses cannot see
    "-fsanitize=bounds,shift-exponent,integer-divide-by-zero,signed-integer-overflow",
    # Or g++ splits the copy of a float4 into four accesses of 4 bytes, and alignment and coalescing are lost
    "-fno-tree-sra", "-fno-ipa-sra",
    "-finline-functions",
    "-ftrivial-auto-var-init=pattern",  # what is not initialised has a value that is seen
    "-Wall", "-Wno-unused", "-Werror=uninitialized",
    "-Wno-error=maybe-uninitialized",  # under the sanitizers it is sometimes wrong
)  # fmt: skip
# NumPy's names for the letters of entry.h
DTYPES = {
    "f": "float32", "d": "float64", "E": "bfloat16", "b": "int8", "B": "uint8", "h": "int16", "H": "uint16",
    "i": "int32", "I": "uint32", "q": "int64", "Q": "uint64",
}  # fmt: skip
FORMATS = {name: letter for letter, name in DTYPES.items() if letter != "E"}
STATIC_SHARED = 48 << 10  # bytes of shared memory that a block may have without asking
MOST_SHARED = 99 << 10  # of a card of the smallest kind
MOST_THREADS = 1024


class Settings:
    """How launches are run. seed: the order of blocks and warps; profile: count what they move; seconds: allowed to a
    launch.
    """

    seed: int = 0
    profile: bool = False
    seconds: float = 60.0


settings = Settings()
_one_launch = threading.Lock()  # the runtime runs one at a time


class Module:
    """The kernels (`extern "C" __global__`) of a CUDA C text. options: nvcc's, of which those for the preprocessor
    matter here; name: the file's, for messages. With checks=False they run about as fast as g++ can make them.
    """

    def __init__(self, source: str, options: Sequence[str] = (), name: str = "kernel.cu", checks: bool = True):
        runtime.current()
        prepared = prepare(source)
        self.parameters, self.checks, self.uses_shared = prepared.parameters, checks, "__shared__" in source
        flags = (*COMMON, *(STRICT if checks else PLAIN), *_for_the_preprocessor(options))
        self.path = library(
            [Unit(name, prepared.text, flags)],
            links=lambda: [str(runtime.build_current())],
            of=runtime.current_path().name,
        )
        self.library = ctypes.PyDLL(str(self.path))
        ends = (ctypes.c_size_t * 4)()
        self.library.emu_module(ends)
        *self.shared_section, self.base, self.code_end = ends
        self.lines = Lines(self.path)

    def get_function(self, name: str) -> "Function":
        if name not in self.parameters or not hasattr(self.library, f"emu_enter_{name}"):
            raise KernelError(f"no kernel {name!r}; this module has {', '.join(self.parameters)}")
        return Function(self, name)

    @functools.cached_property
    def shared_variables(self) -> list[SharedVariable]:
        start, end = self.shared_section
        return list(shared_variables(self.path, start - self.base, end - self.base)) if self.uses_shared else []


class Function:
    """A kernel. Called with a grid of blocks, the threads of a block, and the arguments: arrays, None for a null
    pointer, NumPy scalars of the parameters' types, or whole numbers. It tells the names of its `parameters`, its bytes
    of `static_shared` memory, and how many threads `__launch_bounds__` allows, `most_threads` (0: it does not say).
    """

    max_dynamic_shared_size_bytes = STATIC_SHARED  # as in CuPy: raise it before asking for more

    def __init__(self, module: Module, name: str):
        self.module, self.name = module, name
        code = ctypes.create_string_buffer(1000)
        self.most_threads = module.library[f"emu_signature_{name}"](code)
        self.parameters = module.parameters[name]
        codes = re.findall("..", code.value.decode())
        # Static variables of this kernel, and of functions that it may call
        mine = {name, *(v.function for v in module.shared_variables)} - (module.parameters.keys() - {name})
        self.variables = [v for v in module.shared_variables if v.function in mine]
        self.static_shared = sum(v.size for v in self.variables)
        self.values = ctypes.create_string_buffer(8 * max(1, len(codes)))
        self.arrays = ctypes.create_string_buffer(ctypes.sizeof(runtime.Argument) * max(1, len(codes)))
        self.converters = [self._converter(i, code) for i, code in enumerate(codes)]
        self.launch = self._launch(len(codes))

    def _launch(self, n: int) -> runtime.Launch:
        """What does not change from launch to launch."""
        module = self.module
        first = ctypes.addressof(self.values)
        self.pointers = (ctypes.c_void_p * max(1, n))(*(first + 8 * i for i in range(n)))
        variables = (runtime.Variable * len(self.variables))(
            *(runtime.Variable(module.base + v.start, v.size) for v in self.variables)
        )
        return runtime.Launch(
            enter=ctypes.cast(module.library[f"emu_enter_{self.name}"], ctypes.c_void_p),
            arguments=ctypes.addressof(self.pointers),
            base=module.base,
            code_end=module.code_end,
            variables=variables,
            n_variables=len(variables),
            checks=module.checks,
        )

    # Arguments, after the checks that CuPy leaves out

    def _converter(self, i: int, code: str) -> Callable[[Any, int], int]:
        """What puts argument i in its place and its array, if it is one, at the n-th; it returns how many there are."""
        wanted = DTYPES.get(code[1])
        what = f"{self.name}: argument {i} ({self.parameters[i]})"
        if code[0] == "p":
            return self._pointer(i, what, wanted)
        if wanted is None or code[0] == "s" or wanted == "bfloat16":
            raise KernelError(f"{what} is neither a pointer nor a number, which the emulator cannot pass")
        return self._number(i, what, wanted)

    def _pointer(self, i: int, what: str, wanted: str | None) -> Callable[[Any, int], int]:
        place, put_array = struct.Struct("Q").pack_into, struct.Struct("QQii").pack_into
        fits: dict[np.dtype, bool] = {}

        def put(value: Any, n: int) -> int:
            if not isinstance(value, np.ndarray):
                if value is not None and not (isinstance(value, int | np.integer) and value == 0):
                    raise KernelError(f"{what} is a pointer, but was given {type(value).__name__}")
                place(self.values, 8 * i, 0)
                return n
            dtype = value.dtype
            if dtype not in fits:
                have = "uint8" if dtype.kind == "b" else dtype.name
                fits[dtype] = wanted in (None, have) or {have, wanted} == {"bfloat16", "uint16"}
            if not fits[dtype]:
                raise KernelError(f"{what} points to {wanted}, but the array holds {dtype.name}")
            address = value.__array_interface__["data"][0]
            place(self.values, 8 * i, address)
            if not value.size:
                return n
            low, high = (address, address + value.nbytes) if value.flags.c_contiguous else byte_bounds(value)
            put_array(self.arrays, 24 * n, low, high - low, i, value.itemsize)
            return n + 1

        return put

    def _number(self, i: int, what: str, wanted: str) -> Callable[[Any, int], int]:
        place = struct.Struct(FORMATS[wanted]).pack_into
        exact = np.dtype(wanted).type

        def put(value: Any, n: int) -> int:
            if type(value) is not exact:
                _check_number(value, what, wanted)
            try:
                place(self.values, 8 * i, value)
            except struct.error as error:
                raise KernelError(f"{what} is a {wanted}: {value} does not fit") from error
            return n

        return put

    # Launches

    def __call__(self, grid: tuple, block: tuple, args: Sequence[Any], shared_mem: int = 0) -> None:
        if len(args) != len(self.converters):
            raise KernelError(f"{self.name} has {len(self.converters)} parameters, {len(args)} were given")
        blocks, threads = _three(grid), _three(block)
        self._check_shape(blocks, threads, shared_mem)
        launch, rt = self.launch, runtime.current()
        with _one_launch:
            n = 0
            for convert, value in zip(self.converters, args, strict=True):
                n = convert(value, n)
            launch.grid[:], launch.block[:], launch.dynamic_size = blocks, threads, shared_mem
            launch.seed, launch.seconds = settings.seed, settings.seconds
            launch.profile = settings.profile and self.module.checks
            error = rt.emu_launch(ctypes.byref(launch), self.arrays, n)
        if error is not None:
            raise KernelError(f"{self.name}, {self._explained(error.decode(), args)}")

    def _check_shape(self, grid: tuple[int, ...], block: tuple[int, ...], dynamic_shared: int) -> None:
        threads = block[0] * block[1] * block[2]
        if min(grid + block) < 1 or threads > MOST_THREADS or block[2] > 64 or max(grid[1:]) > 65535:
            raise KernelError(f"{self.name}: grid {grid} of blocks {block} cannot be launched")
        if self.most_threads and threads > self.most_threads:
            raise KernelError(f"{self.name}: {threads} threads a block, but __launch_bounds__({self.most_threads})")
        most = self.max_dynamic_shared_size_bytes
        too_much = self.static_shared > STATIC_SHARED or self.static_shared + dynamic_shared > MOST_SHARED
        if too_much or not 0 <= dynamic_shared <= most:
            raise KernelError(
                f"{self.name}: {self.static_shared} bytes of static and {dynamic_shared} of dynamic shared memory: "
                f"at most {STATIC_SHARED}, {most}, and {MOST_SHARED} together"
            )

    def _explained(self, text: str, args: Sequence[Any]) -> str:
        """The runtime's message with lines, arguments and variables by their names."""

        def argument(match: re.Match) -> str:
            array = args[int(match[1])]
            return f"'{self.parameters[int(match[1])]}' ({array.dtype.name} {tuple(array.shape)})"

        text = re.sub(r"<@([0-9a-f]+)>", lambda match: self.module.lines.of([int(match[1], 16)])[0], text)
        text = re.sub(r"<s:(\d+)>", lambda match: self.variables[int(match[1])].name, text)
        return re.sub(r"<a:(\d+)>", argument, text)


def _for_the_preprocessor(options: Sequence[str]) -> list[str]:
    """Options of nvcc or NVRTC that g++ has too; what is for a card alone is left out."""
    long = {"--define-macro=": "-D", "--undefine-macro=": "-U", "--include-path=": "-I"}
    short = (re.sub("^--[a-z-]+=", lambda match: long.get(match[0], match[0]), option) for option in options)
    return [option for option in short if re.match("-[DUI]", option)]


def _three(shape: Any) -> tuple[int, ...]:
    return (*(int(n) for n in shape), 1, 1)[:3]


def _check_number(value: Any, what: str, wanted: str) -> None:
    if isinstance(value, np.generic):
        same_size = isinstance(value, np.integer) and value.itemsize == np.dtype(wanted).itemsize
        if value.dtype.name != wanted and not (same_size and not wanted.startswith("float")):
            is_bool = value.dtype.kind == "b" and wanted == "uint8"
            if not is_bool:
                raise KernelError(f"{what} is a {wanted}, but was given a {value.dtype.name}")
    elif isinstance(value, float):
        if wanted != "float64":
            raise KernelError(
                f"{what} is a {wanted}: a Python float is passed as float64; write numpy.{wanted}({value!r})"
            )
    elif not isinstance(value, int):
        raise KernelError(f"{what} is a {wanted}, but was given {type(value).__name__}")
    elif wanted.startswith("float"):
        raise KernelError(f"{what} is a {wanted}, but was given an int")

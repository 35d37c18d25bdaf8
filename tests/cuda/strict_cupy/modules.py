"""The modules, and what each has."""

import functools
import inspect
import types

import numpy as np

from tests.cuda.strict_cupy import creation, device, functions, nccl, products
from tests.cuda.strict_cupy.array import device_array, ndarray, view_of
from tests.cuda.strict_cupy.card import card
from tests.cuda.strict_cupy.cublas import gemmEx, gemmStridedBatchedEx
from tests.cuda.strict_cupy.errors import (
    CompileException,
    CUBLASError,
    CUDADriverError,
    CUDARuntimeError,
    OutOfMemoryError,
)
from tests.cuda.strict_cupy.fusion import fuse
from tests.cuda.strict_cupy.lifted import LIFTED
from tests.cuda.strict_cupy.memory import MemoryPointer
from tests.cuda.strict_cupy.precision import COMPUTE, COMPUTE_TYPES, get_compute_type, set_compute_type
from tests.cuda.strict_cupy.random import Generator
from tests.cuda.strict_cupy.raw import RawKernel, RawModule
from tests.cuda.strict_cupy.ufuncs import COMPARISONS, UFUNCS, erf, scatter_add

SAME = {  # CuPy has these very objects of NumPy's
    name: getattr(np, name)
    for name in (
        *"bool_ int8 int16 int32 int64 intp uint8 uint16 uint32 uint64 float16 float32 float64 complex64".split(),
        *"complex128 generic number integer signedinteger unsignedinteger inexact floating dtype finfo iinfo".split(),
        *"pi e inf nan newaxis promote_types issubdtype broadcast_shapes".split(),
    )
}


class _Module(types.ModuleType):
    def __init__(self, name, **members):
        super().__init__(name)
        vars(self).update(members)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(f"the stand-in does not know {self.__name__}.{name}")


class _Nccl(_Module):
    """Without NCCL's library it has nothing but `available`, and has warned of that when it was imported."""

    available = property(lambda self: card().nccl)

    def __getattr__(self, name):
        return nccl.MEMBERS[name] if name in nccl.MEMBERS and card().nccl else super().__getattr__(name)

    def __dir__(self):
        return [*nccl.MEMBERS, "available"]


def _as_strided(x, shape=None, strides=None):
    return view_of(np.lib.stride_tricks.as_strided(device_array(x)._np, shape, strides), x)


def _functions(file):
    """The public functions that a file of this package defines."""
    own = {name: f for name, f in vars(file).items() if inspect.isfunction(f) and f.__module__ == file.__name__}
    return {name: function for name, function in own.items() if not name.startswith("_")}


def _modules():
    """Every module by its name, with what it has."""
    events = {"Event": device.CudaEvent, "Stream": device.Stream, "get_elapsed_time": device.get_elapsed_time}
    events["get_current_stream"] = lambda device_id=-1: card().streams[-1]
    handles = {"Device": device.Device, "get_cublas_handle": lambda: device.HANDLE}
    handles["get_device_id"] = lambda: card().current
    runtime = {
        "CUDARuntimeError": CUDARuntimeError, "getDeviceCount": device.device_count, "deviceGetPCIBusId": device.bus_id,
        "getDevice": lambda: card().current,
        "getDeviceProperties": device.device_properties, "runtimeGetVersion": lambda: card().runtime_version,
        "driverGetVersion": lambda: card().driver_version, "memGetInfo": device.mem_get_info, "is_hip": False,
        "deviceSynchronize": device.Device(0).synchronize,
        "CUDA_R_32F": 0, "CUDA_R_64F": 1, "CUDA_R_16F": 2, "CUDA_R_16BF": 14,
    }  # fmt: skip
    cublas = {
        "CUBLASError": CUBLASError, "gemmStridedBatchedEx": gemmStridedBatchedEx, "gemmEx": gemmEx,
        "CUBLAS_OP_N": 0, "CUBLAS_OP_T": 1, "CUBLAS_OP_C": 2,
        "CUBLAS_GEMM_DEFAULT": -1, "CUBLAS_GEMM_DEFAULT_TENSOR_OP": 99,
        **{f"CUBLAS_COMPUTE_{name}": code for code, name in COMPUTE.items() if code >= 64},
    }  # fmt: skip
    compute_types = {f"COMPUTE_TYPE_{name}": code for name, code in COMPUTE_TYPES.items()}
    pool, is_available = device.MemoryPool(), lambda: card().broken != "no card" and bool(card().visible)
    cupy = {
        **SAME, **UFUNCS, **{name: function for name, function in LIFTED.items() if "." not in name},
        **_functions(creation), **_functions(functions), **_functions(products),
        "ndarray": ndarray, "fuse": fuse, "RawModule": RawModule, "RawKernel": RawKernel,
        "__version__": "14.2.0 (stand-in)", "bool": np.bool_, "is_available": is_available,
        "get_default_memory_pool": lambda: pool,
        "get_array_module": lambda *args: MODULES["cupy"] if any(isinstance(x, ndarray) for x in args) else np,
    }  # fmt: skip
    contents = {
        "cupy": cupy,
        "cupy.cuda": events
        | handles
        | {"is_available": is_available, "alloc_pinned_memory": device.alloc_pinned_memory},
        "cupy.cuda.memory": {"OutOfMemoryError": OutOfMemoryError, "MemoryPointer": MemoryPointer},
        "cupy.cuda.compiler": {"CompileException": CompileException},
        "cupy.cuda.stream": events,
        "cupy.cuda.device": {**handles, "get_compute_capability": lambda: card().compute_capability},
        "cupy._core": {"ndarray": ndarray},
        "cupy._core._routines_linalg": {f.__name__: f for f in (set_compute_type, get_compute_type)} | compute_types,
        "cupy.linalg": {"norm": LIFTED["linalg.norm"]},
        "cupy.lib": {},
        "cupy.lib.stride_tricks": {"as_strided": _as_strided},
        "cupy.random": {"default_rng": Generator, "Generator": Generator},
        "cupyx": {"scatter_add": scatter_add, "empty_pinned": device.empty_pinned},
        "cupyx.scipy": {},
        "cupyx.scipy.special": {"erf": erf},
        **dict.fromkeys(("cupy_backends", "cupy_backends.cuda", "cupy_backends.cuda.api"), {}),
        "cupy_backends.cuda.api.runtime": runtime,
        "cupy_backends.cuda.api.driver": {"CUDADriverError": CUDADriverError},
        "cupy_backends.cuda.libs": {},
        "cupy_backends.cuda.libs.cublas": cublas,
    }
    modules = {name: _Module(name, **members) for name, members in contents.items()}
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    # No attribute of cupy.cuda: with CuPy it becomes one when somebody imports it, on which nobody is to count.
    modules["cupy.cuda.nccl"] = _Nccl("cupy.cuda.nccl")
    modules["cupy.cuda.driver"] = modules["cupy.cuda"].driver = modules["cupy_backends.cuda.api.driver"]
    modules["cupy.cuda.runtime"] = modules["cupy.cuda"].runtime = modules["cupy_backends.cuda.api.runtime"]
    modules["cupy.cuda"].cublas = modules["cupy_backends.cuda.libs.cublas"]  # an attribute, but no module of that name
    return modules


MODULES = _modules()


# NumPy's protocols: a function of NumPy's that is given a device array becomes the one of that name here


def _array_ufunc(self, ufunc, method, *inputs, **kwargs):
    out = kwargs.pop("out", ())
    function = vars(MODULES["cupy"]).get(ufunc.__name__)
    if method != "__call__":
        function = getattr(function, method, None)
    scalars = (int, float, bool, complex, np.number, np.bool_)
    if function is None or not all(isinstance(x, scalars + (ndarray, np.ndarray)) for x in inputs + out):
        return NotImplemented
    if ufunc.__name__ in COMPARISONS:  # these take a host array of no dimensions
        inputs = [x.item() if isinstance(x, np.ndarray) and x.ndim == 0 else x for x in inputs]
    return function(*inputs, **kwargs, **({"out": out[0]} if out else {}))


def _array_function(self, function, types, args, kwargs):
    try:
        module = functools.reduce(getattr, function.__module__.split(".")[1:], MODULES["cupy"])
        ours = getattr(module, function.__name__)
    except AttributeError:
        return NotImplemented
    return NotImplemented if ours is function else ours(*args, **kwargs)


ndarray.__array_ufunc__, ndarray.__array_function__ = _array_ufunc, _array_function

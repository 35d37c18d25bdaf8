"""Errors, in CuPy's words."""


class CUDARuntimeError(RuntimeError):
    TEXTS = {
        2: "cudaErrorMemoryAllocation: out of memory",
        100: "cudaErrorNoDevice: no CUDA-capable device is detected",
        101: "cudaErrorInvalidDevice: invalid device ordinal",
        600: "cudaErrorNotReady: device not ready",
        700: "cudaErrorIllegalAddress: an illegal memory access was encountered",
        716: "cudaErrorMisalignedAddress: misaligned address",
    }

    def __init__(self, status):
        self.status = status
        super().__init__(self.TEXTS[status])


class CUDADriverError(RuntimeError):
    TEXTS = {
        1: "CUDA_ERROR_INVALID_VALUE: invalid argument",
        500: "CUDA_ERROR_NOT_FOUND: named symbol not found",
        701: "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES: too many resources requested for launch",
    }

    def __init__(self, status, why=""):
        self.status = status
        super().__init__(self.TEXTS[status] + (f" ({why})" if why else ""))  # the reason is the stand-in's


class CompileException(Exception):
    """cupy.cuda.compiler.CompileException: its sentence is what the compiler said."""

    def __init__(self, msg, source, name, options, backend="nvrtc"):
        self._msg, self.source, self.name, self.options, self.backend = msg, source, name, options, backend
        super().__init__()

    def __str__(self):
        return self._msg

    get_message = __repr__ = __str__


class CUBLASError(RuntimeError):
    TEXTS = {1: "NOT_INITIALIZED", 7: "INVALID_VALUE", 13: "EXECUTION_FAILED", 15: "NOT_SUPPORTED"}

    def __init__(self, status):
        self.status = status
        super().__init__("CUBLAS_STATUS_" + self.TEXTS[status])


class NcclError(RuntimeError):
    TEXTS = {
        1: "NCCL_ERROR_UNHANDLED_CUDA_ERROR: unhandled cuda error (run with NCCL_DEBUG=INFO for details)",
        4: "NCCL_ERROR_INVALID_ARGUMENT: invalid argument (run with NCCL_DEBUG=WARN for details)",
        5: "NCCL_ERROR_INVALID_USAGE: invalid usage (run with NCCL_DEBUG=WARN for details)",
    }

    def __init__(self, status):
        self.status = status
        super().__init__(self.TEXTS[status])


class NcclMisuse(Exception):
    """What NCCL would take, and then hang, crash or compute something else."""


class OutOfMemoryError(MemoryError):
    def __init__(self, size, total, limit=0):
        message = f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes"
        super().__init__(message + (f", limit set to: {limit:,} bytes)." if limit else ")."))


def unsupported(x):
    return TypeError(f"Unsupported type {type(x)}")  # _scalar.pyx, CScalar

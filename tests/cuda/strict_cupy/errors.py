"""Errors, in CuPy's words."""


class CUDARuntimeError(RuntimeError):
    TEXTS = {
        2: "cudaErrorMemoryAllocation: out of memory",
        100: "cudaErrorNoDevice: no CUDA-capable device is detected",
        600: "cudaErrorNotReady: device not ready",
        700: "cudaErrorIllegalAddress: an illegal memory access was encountered",
    }

    def __init__(self, status):
        self.status = status
        super().__init__(self.TEXTS[status])


class CUBLASError(RuntimeError):
    TEXTS = {1: "NOT_INITIALIZED", 7: "INVALID_VALUE", 13: "EXECUTION_FAILED", 15: "NOT_SUPPORTED"}

    def __init__(self, status):
        self.status = status
        super().__init__("CUBLAS_STATUS_" + self.TEXTS[status])


class OutOfMemoryError(MemoryError):
    def __init__(self, size, total, limit=0):
        message = f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes"
        super().__init__(message + (f", limit set to: {limit:,} bytes)." if limit else ")."))


def unsupported(x):
    return TypeError(f"Unsupported type {type(x)}")  # _scalar.pyx, CScalar

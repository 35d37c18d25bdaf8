"""What a kernel did wrong."""


class KernelError(RuntimeError):
    """What is wrong with a kernel or its launch: kernel, block, thread, file:line, and the other line where there are
    two; or what g++ says of its text.
    """

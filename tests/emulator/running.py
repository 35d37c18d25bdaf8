"""The kernels of `kernels/`, compiled once a run, and the launch that the kernels of errors.cu have in common."""

import functools
from pathlib import Path

import numpy as np

from tinygpt import emulator

FOLDER = Path(__file__).parent / "kernels"


def text(name):
    return (FOLDER / name).read_text(encoding="utf-8")


@functools.cache
def module(name, *options, checks=True):
    return emulator.Module(text(name), options, name, checks)


def launch_error(kernel, blocks=1, threads=64, shared=0, compiled=None):
    """What the emulator says of a kernel of errors.cu; None if nothing."""
    x = emulator.asarray(np.arange(64), "float32")
    zeros, counter = emulator.asarray(np.zeros(64), "float32"), emulator.asarray([0], "uint32")
    function = (compiled or module("errors.cu")).get_function(kernel)
    try:
        function((blocks,), (threads,), (x, emulator.empty(64), zeros, counter, np.int32(64)), shared_mem=shared)
    except emulator.KernelError as error:
        return str(error)
    return None

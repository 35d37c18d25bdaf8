"""Whether CuPy has whatever its stand-in has, with the same numbers and parameters. It must be installed for that, but
there need not be a card, nor a driver; without NCCL's library its part is left out:

    python -m tests.cuda.names
"""

import importlib
import inspect
import re
import sys
from typing import Any

from tests.cuda import strict_cupy
from tests.cuda.strict_cupy.nccl import NcclCommunicator

CLASSES = ("ndarray", "RawModule", "RawKernel")
CLASSES_OF_CUDA = ("Device", "Stream", "Event")
UNTOLD = ("matmul",)  # a generalised ufunc of CuPy's, whose parameters its signature does not say


def differences() -> list[str]:
    """What the stand-in has and CuPy has not, or has otherwise."""
    import cupy

    wrong = []
    ours = strict_cupy.MODULES
    with strict_cupy.installed():
        members = {name: {member: getattr(module, member) for member in dir(module)} for name, module in ours.items()}
    has_nccl = _module("cupy.cuda.nccl").available
    for name, module in members.items():
        theirs = _module(name)
        if name == "cupy.cuda.nccl" and not has_nccl:
            continue
        for member, value in module.items():
            if member.startswith("__"):
                continue
            if not hasattr(theirs, member):
                wrong.append(f"there is no {name}.{member}")
                continue
            of_cupy = getattr(theirs, member)
            if type(value) is int and value != of_cupy:
                wrong.append(f"{name}.{member} is {of_cupy}, not {value}")
            if inspect.isfunction(value) and member not in UNTOLD:
                strangers = [x for x in _parameters(value) if x not in (_parameters(of_cupy) or _parameters(value))]
                wrong += [f"{name}.{member} has no parameter {x}" for x in strangers]
    pairs = [(getattr(ours["cupy"], name), getattr(cupy, name)) for name in CLASSES]
    pairs += [(getattr(ours["cupy.cuda"], name), getattr(cupy.cuda, name)) for name in CLASSES_OF_CUDA]
    if has_nccl:
        theirs = _module("cupy.cuda.nccl").NcclCommunicator
        pairs.append((NcclCommunicator, theirs))
        for name, method in inspect.getmembers(NcclCommunicator, inspect.isfunction):
            of_cupy = _told_by_cython(getattr(theirs, name, None))
            if not name.startswith("_") and _parameters(method) != of_cupy:
                wrong.append(f"the parameters of NcclCommunicator.{name} are {of_cupy}")
    pairs.append((ours["cupy"].get_default_memory_pool(), cupy.get_default_memory_pool()))
    for mine, of_cupy in pairs:
        public = [name for name in dir(mine) if not name.startswith("_")]
        wrong += [f"there is no {name} of {of_cupy}" for name in public if not hasattr(of_cupy, name)]
    return wrong


def _module(name: str) -> Any:
    """A module of CuPy's, or what is one for the stand-in: cupy.cuda.runtime is an attribute of cupy.cuda."""
    try:
        return importlib.import_module(name)
    except ImportError:
        parent, _, child = name.rpartition(".")
        return getattr(importlib.import_module(parent), child)


def _parameters(function: Any) -> list[str]:
    """Their names, but for those of Python's own (*args, **kwargs); none where it does not say."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [x.name for x in parameters if x.kind not in (x.VAR_POSITIONAL, x.VAR_KEYWORD)]


def _told_by_cython(method: Any) -> list[str]:
    """The names of a compiled method's parameters, from the first line of its help."""
    told = re.search(r"\((.*?)\)", getattr(method, "__doc__", None) or "")
    return [words.partition("=")[0].split()[-1] for words in told[1].split(",")] if told else []


if __name__ == "__main__":
    print("\n".join(found := differences()))
    sys.exit(bool(found))

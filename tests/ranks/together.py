"""Programs that several ranks run together, begun by the MPI launcher of this Python; of one rank, without it."""

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests import children

ROOT = Path(__file__).parents[2]
BESIDE = Path(sys.executable).with_name("mpiexec")  # of the wheel that the `test` extra brings
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")
WHY_NOT = (
    "mpi4py, over which ranks find each other, is not installed (`pip install -e '.[mpich]'`)"
    if find_spec("mpi4py") is None
    else "" if MPIEXEC else "there is no mpiexec, which starts ranks (`pip install -e '.[mpich]'` brings one)"
)  # fmt: skip
needs_ranks = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


def together(ranks: int, *arguments, **options) -> CompletedProcess:
    """`python arguments` on so many ranks, run to the end of all."""
    options = {"cwd": ROOT} | options
    if ranks == 1:
        return children.run(*arguments, **options)
    return children.run("-n", ranks, sys.executable, *arguments, python=MPIEXEC, **options)


def apart(*commands, **options) -> CompletedProcess:
    """The same for ranks that are each given arguments of their own."""
    ranks = [["-n", 1, sys.executable, *command, ":"] for command in commands]
    return children.run(*sum(ranks, [])[:-1], python=MPIEXEC, **({"cwd": ROOT} | options))

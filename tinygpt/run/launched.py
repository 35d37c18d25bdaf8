"""How many processes a launcher (mpiexec, srun) says that it has started together, before any MPI is asked."""

import os
from typing import NamedTuple

from tinygpt.errors import UserError

LAUNCHERS = (  # its name, and where it says how many they are and which this one is
    ("mpiexec", "PMI_SIZE", "PMI_RANK"),  # MPICH and Intel MPI
    ("mpiexec", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),  # Open MPI
    ("srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
)


class Launched(NamedTuple):
    """The processes that were started together."""

    program: str
    size: int
    rank: int

    def __str__(self) -> str:
        if self.program == "SLURM":
            return f"this SLURM job has {self.size} tasks"
        return f"{self.program} started {self.size} processes"


def launched() -> Launched:
    """What the launcher of this process says; one process where there was none."""
    for program, size, rank in LAUNCHERS:
        if _number(size) > 1:
            return Launched(program, _number(size), _number(rank))
    if _number("SLURM_NTASKS") > 1 and not _number("SLURM_STEP_NUM_TASKS"):  # a batch script, without srun
        return Launched("SLURM", _number("SLURM_NTASKS"), _number("SLURM_PROCID"))
    return Launched("", 1, 0)


def alone(command: str) -> None:
    """Raise UserError where a launcher started several processes of what one does; the first of them says so."""
    program, size, rank = launched()
    if size == 1 or program == "SLURM":
        return
    if rank:
        raise SystemExit(1)
    raise UserError(
        f"{command} is one process, and {program} started {size}, which would all do the same; start it without "
        f"{program} (several train together: {program} with `train`)"
    )


def _number(variable: str) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0

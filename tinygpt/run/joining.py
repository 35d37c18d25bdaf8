"""How the processes that a launcher started become the ranks of one run, and how they come to their end together."""

import atexit
import contextlib
import platform
import signal
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from tinygpt.errors import UserError
from tinygpt.run.group import ALONE, Group, MPIGroup
from tinygpt.run.launched import launched
from tinygpt.signals import Interrupted, answered_by, interrupt, leave, left_to_the_system, listen

COMING = 120  # seconds that all have to find each other


@contextlib.contextmanager
def joined() -> Iterator[Group]:
    """The group of the processes that a launcher started, while they share a run; ALONE where this is the only one. Who
    leaves with an error waits a moment for the others to have the same; where it has one of its own the whole group is
    ended, after the error was shown. Raises UserError where several were started that cannot find each other.
    """
    if launched().size == 1 and "mpi4py" not in sys.modules:
        yield ALONE
        return
    with left_to_the_system():
        comm = _world()
        if comm.size > 1:
            yield from _shared(MPIGroup(comm))
            return
    yield ALONE


def _shared(group: MPIGroup) -> Iterator[Group]:
    alone = [1]  # the status to end the group with, until it has ended together

    def end() -> None:
        if alone:
            group.abort(alone[0])
        group.end()

    atexit.register(end)  # runs before mpi4py's own, which waits for all ranks
    try:
        with answered_by(interrupt):
            yield group
            listen(_once)  # what a signal asks for is here already; rank 0 may still be at its last words
            group.agree_on_end(None)
            alone.clear()
    except BaseException as error:
        if isinstance(error, Interrupted):
            alone[0] = 128 + error.args[0]
        with contextlib.suppress(TimeoutError):
            same = group.agree_on_end(error)
            alone.clear()
            if same and group.rank and isinstance(error, UserError):
                raise SystemExit(1) from None  # rank 0 says it
        if group.rank and isinstance(error, UserError):
            raise UserError(f"{group.names[group.rank]}: {error}") from error
        if group.rank and isinstance(error, Exception):  # what it is, is said next
            print(f"{group.names[group.rank]} has failed:", file=sys.stderr, flush=True)
        raise


def _once(number: int) -> None:
    """Let a signal pass; the next one ends this process at once."""
    listen(lambda number: leave(number, "left at once"))


def _world() -> Any:
    """MPI's communicator of all processes that were started together. Raises UserError where it has fewer of them than
    the launcher says.
    """
    try:
        with _within(COMING), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # mpi4py's of what is said below
            from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # mpi4py's own wheel raises the latter where it finds no MPI
        errors = "; ".join(str(error).splitlines())
        why, way = f"does not load ({errors})", "load the cluster's MPI (often `module load openmpi`)"
        if isinstance(error, ModuleNotFoundError):
            why, way = "is not installed", "install the extra `.[mpi]` for a cluster's own MPI"
        raise UserError(
            f"{launched()}, and on {platform.node()} mpi4py, by which they would find each other, {why}; {way}, or "
            f"install `.[mpich]`, which brings one, or start one process"
        ) from None
    if MPI.COMM_WORLD.size < launched().size:
        library = MPI.Get_library_version().partition("\n")[0].strip("\0 ")
        raise UserError(
            f"{launched()}, but MPI here ({library}) knows of {MPI.COMM_WORLD.size}, so each would train a run of its "
            f"own in the same folder; use the launcher of that MPI (with srun perhaps --mpi=pmi2 or --mpi=pmix), or "
            f"start one process (with srun -n 1)"
        )
    return MPI.COMM_WORLD


@contextlib.contextmanager
def _within(seconds: int) -> Iterator[None]:
    """The system ends this process if the block takes longer: in it MPI waits for all ranks and lets no Python run, and
    of one that has ended before, with an error, it does not hear.
    """
    alarm = hasattr(signal, "alarm") and signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    if alarm:
        signal.alarm(seconds)
    try:
        yield
    finally:
        if alarm:
            signal.alarm(0)

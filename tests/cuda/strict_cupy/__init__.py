"""A stand-in for CuPy 14.2 on NumPy, for machines without a card: as strict as CuPy or stricter, never more lenient.

    with strict_cupy.installed() as card:
        import cupy  # the stand-in, until the block ends
        ...
    assert card.syncs == []

An array here is a NumPy array over memory that belongs to a pretended card. Whatever CuPy refuses is refused (a host
array beside a device array, a broadcast `out`), whatever a card does silently is noted in `card` with the line that
asked for it (waits, copies, uploads, kernels, matrix products), and whatever a card leaves to chance is left to chance
(the order of atomic additions and of repeated assignments, that of the blocks and warps of a kernel, the contents of
new memory). Kernels of one's own, in CUDA C, run in the emulator (`tinygpt/emulator/`), which checks every access.

How it decides. Values and dtypes are NumPy's: CuPy 14 resolves the dtypes of all ufuncs here as NumPy 2 does. What
exists and which keywords it takes stands in tables; a name that is in none was never checked against CuPy's source and
is an AttributeError. Where CuPy silently computes on the host (`cupy.sum(host)` calls `host.sum()`), this raises. Not
modelled: time, the pool's fragmentation, races between streams and with transfers under way, the last bits of a sum.
"""

import contextlib
import sys

from tests.cuda.strict_cupy.card import CARDS, Card, Event
from tests.cuda.strict_cupy.device import Stream
from tests.cuda.strict_cupy.errors import NcclMisuse
from tests.cuda.strict_cupy.modules import MODULES
from tests.cuda.strict_cupy.orders import in_orders, unequal_bits
from tests.cuda.strict_cupy.precision import round_to_tf32

__all__ = ["PACKAGES", "Event", "NcclMisuse", "in_orders", "installed", "round_to_tf32", "unequal_bits"]

PACKAGES = ("cupy", "cupyx", "cupy_backends")


@contextlib.contextmanager
def installed():
    """A new card, and the stand-in in place of cupy and cupyx until the end of the block, whatever was there before.
    Raises NcclMisuse if a group of NCCL's calls was not ended by then.
    """
    before = {name: sys.modules[name] for name in sys.modules if name.split(".")[0] in PACKAGES}
    for name in before:
        del sys.modules[name]
    sys.modules.update(MODULES)
    CARDS.append(Card(Stream.null))
    try:
        yield CARDS[-1]
        if CARDS[-1].groups:
            raise NcclMisuse("a group of NCCL's calls was begun and never ended, so none of them has begun")
    finally:
        CARDS.pop()
        for name in [name for name in sys.modules if name.split(".")[0] in PACKAGES]:
            del sys.modules[name]
        sys.modules.update(before)

"""The card, or what stands in for it."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def card(stand_in: bool) -> Iterator[None]:
    """CuPy as it is, or the stand-in in its place."""
    if not stand_in:
        yield
        return
    from tests.cuda import strict_cupy

    with strict_cupy.installed():
        yield

import contextlib

import pytest

from tests.cuda import strict_cupy
from tests.layers.implementations import definitions, twins


@pytest.fixture(params=[*definitions(), *twins("cpu"), *twins("cuda")], ids=lambda found: found.title)
def implementation(request):
    """Each layer's definition, each fast twin of the CPU, and each of a card's, on the stand-in for a card."""
    with strict_cupy.installed() if request.param.device == "cuda" else contextlib.nullcontext():
        yield request.param

import pytest

from tests.cuda import strict_cupy
from tinygpt import train
from tinygpt.backend import resolve_device
from tinygpt.errors import UserError


@pytest.fixture
def card(monkeypatch):
    """The stand-in for CuPy and a card, with what it counts."""
    monkeypatch.setattr(train, "RATE_SECONDS", 0.0)  # a stand-in's rate means nothing
    with strict_cupy.installed() as card:
        yield card


@pytest.fixture(params=["stand-in", "card"])
def cuda(request):
    """ "cuda", on the stand-in, and on a card where there is one."""
    if request.param == "stand-in":
        request.getfixturevalue("card")
        return "cuda"
    try:
        return resolve_device("cuda")[0]
    except UserError as error:
        pytest.skip(str(error))

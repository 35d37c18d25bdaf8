import pytest

from tests.cuda import strict_cupy
from tinygpt.device import resolve_device
from tinygpt.errors import UserError
from tinygpt.run import loop


@pytest.fixture(scope="package", autouse=True)
def no_rates():
    """The largest rate of products, which takes a second to measure, is not what these tests are about."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "RATE_SECONDS", 0.0)
        yield


def on_a_card():
    """ "cuda", or a test that is not run where there is no card."""
    try:
        return resolve_device("cuda")[0]
    except UserError as error:
        missing = str(error).removeprefix("--device=cuda: ").partition(";")[0]
        pytest.skip(f"they need a CUDA card, and {missing}")


@pytest.fixture
def card():
    """The stand-in for CuPy and a card, with what it counts."""
    with strict_cupy.installed() as card:
        yield card


@pytest.fixture(params=["stand-in", "card"])
def cuda(request):
    """ "cuda", on the stand-in, and on a card where there is one."""
    if request.param == "stand-in":
        request.getfixturevalue("card")
        return "cuda"
    return on_a_card()

"""Steps that are recorded once for all tests, since each takes seconds."""

import pytest

from tests.recorder.recording import recorded, small
from tinygpt.recorder import Recording


@pytest.fixture(scope="session")
def step() -> Recording:
    """The step of the page as it is without any argument."""
    return recorded()


@pytest.fixture(scope="session")
def engine() -> Recording:
    """A step with one block on four characters, by the engine alone."""
    return small()

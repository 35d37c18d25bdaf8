import numpy as np
import pytest

from tests import children


def pytest_configure():
    children.give_default_signals()


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Token files of the tests go into a folder of their own, shared by all tests of a run."""
    monkeypatch.setenv("TINYGPT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))

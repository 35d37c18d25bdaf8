"""What the stand-in has, CuPy has, wherever that is installed."""

import importlib.util
from pathlib import Path

import pytest

from tests import children


@pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="they compare with CuPy, which is not installed")
def test_cupy_has_every_name_number_and_parameter():
    done = children.run("-m", "tests.cuda.names", cwd=Path(__file__).parents[3])  # as other tests are without CuPy
    assert done.returncode == 0, done.stdout + done.stderr

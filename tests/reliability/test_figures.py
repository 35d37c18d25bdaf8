"""Each figure of docs/reliability.md, with a count that takes seconds: its harness works, and finds no fault."""

import importlib
import shutil
import sys

import pytest

from tests.ranks.together import WHY_NOT

SHORT = {"kills": 2, "pairs": 1, "power": 60, "memory": 6, "fuzz": 63, "damage": 3, "hostile": 2, "ranks": 1}
COMPILED = "power", "memory"


@pytest.mark.skipif(sys.platform != "linux", reason="limits, signals and LD_PRELOAD as on Linux")
@pytest.mark.filterwarnings("default::RuntimeWarning")  # of damaged numbers, as in a command
@pytest.mark.parametrize("figure", SHORT)
def test_the_figure_holds_in_a_short_run(figure, tmp_path):
    if figure in COMPILED and not shutil.which("cc"):
        pytest.skip("there is no C compiler, cc")
    if figure == "ranks" and WHY_NOT:
        pytest.skip(WHY_NOT)
    report = importlib.import_module(f"tests.reliability.{figure}").measure(tmp_path, SHORT[figure], seed=1)
    assert not report.faults, str(report)

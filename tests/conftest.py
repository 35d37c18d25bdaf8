"""What all tests share, and what a run of them says of those that cannot run here."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests import children
from tinygpt.kernels.cuda import compiled

SLOWEST = (  # the files that take longest, which begin first, so that two processes come to their end together
    "gradcheck/test_diagnosis.py", "test_own_layers.py", "lessons/test_lessons.py", "test_own_runs.py",
    "cuda/test_train.py", "reliability/test_figures.py", "recorder/test_own.py", "cuda/test_bfloat16.py",
    "test_own_beside.py", "test_recipes.py", "recorder/test_parting.py", "gradcheck/test_process.py",
)  # fmt: skip


def pytest_configure(config):
    config.option.loadscopereorder = False  # xdist's own order has the files of the fewest tests last, of minutes each
    children.give_default_signals()
    compiled._SaidIfSlow.said = True  # the emulator compiles for longer than a second, and nobody wants to know


def pytest_collection_modifyitems(items):
    places = {str(Path(__file__).parent / name): place for place, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: places.get(str(item.path), len(places)))  # which keeps the order of all others


def pytest_report_teststatus(report):
    """No letter for a test that cannot run here: the end says why, in one line for all that have the same reason."""
    return ("skipped", "", "SKIPPED") if report.skipped else None


def pytest_terminal_summary(terminalreporter):
    def what_and_why(report):
        what = "test" if isinstance(report, pytest.TestReport) else "file"
        return what, report.longrepr[2].removeprefix("Skipped: ")

    for (what, why), count in Counter(map(what_and_why, terminalreporter.stats.get("skipped", []))).items():
        terminalreporter.line(f"{count} {what}{'s' * (count > 1)} not run: {why}")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def gpt2_files(monkeypatch):
    """GPT-2's encoding without a network, from tiktoken's two files where this machine has them."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR") or Path(__file__).resolve().parents[2] / "shared" / "tiktoken"
    if not Path(folder).is_dir():
        pytest.skip("GPT-2's two encoding files are not beside this checkout, and tests stay off the network")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(folder))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Token files of the tests go into a folder of their own, shared by all tests of a run; threads are the default."""
    with pytest.MonkeyPatch.context() as patch:  # of the session, so that what a module's tests share has them, too
        patch.delenv("OMP_NUM_THREADS", raising=False)
        patch.setenv("TINYGPT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield

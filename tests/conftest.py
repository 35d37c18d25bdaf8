"""What all tests share, and what a run of them says of those that cannot run here."""

from collections import Counter

import numpy as np
import pytest

from tests import children
from tinygpt.kernels.cuda import compiled


def pytest_configure():
    children.give_default_signals()
    compiled._SaidIfSlow.said = True  # the emulator compiles for longer than a second, and nobody wants to know


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


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Token files of the tests go into a folder of their own, shared by all tests of a run."""
    monkeypatch.setenv("TINYGPT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))

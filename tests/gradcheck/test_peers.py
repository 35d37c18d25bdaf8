"""The benchmark beside other checkers: its cases are what they say, and it runs with whichever of them are there."""

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("gradcheck_peers")


def test_ours_finds_every_gross_bug_and_every_small_error_and_lets_the_right_code_pass(peers):
    cases = importlib.import_module("peers.cases")
    assert len(cases.CASES) == 22 and [case.kind for case in cases.CASES].count(cases.GROSS) == 14
    for case in cases.CASES:
        if case.kind in (cases.GROSS, cases.SMALL, cases.RIGHT):
            assert peers.outcome("tinygpt", case).verdict in (("found", "named") if case.wrong else ("right",)), case


def test_it_prints_one_table_of_at_most_100_columns_and_says_who_is_left_out(peers, monkeypatch, capsys):
    monkeypatch.setattr(peers, "missing", lambda side: side not in ("tinygpt", "cs231n"))
    monkeypatch.setattr(sys, "argv", ["gradcheck_peers.py", "--small"])
    peers.main()
    said = capsys.readouterr().out
    assert "torch is left out: its package is not installed (pip install torch)\n" in said
    assert max(map(len, said.splitlines())) <= 100
    assert "tinygpt   cs231n\n" in said and "gross bugs, judged rightly of 1 " in said and "\nseconds " in said


@pytest.mark.parametrize("side", ["torch", "jax", "autograd", "scipy"])
def test_each_of_the_others_lets_right_code_pass_and_finds_a_transposed_gradient(peers, side):
    pytest.importorskip(side)
    first, *_, last = importlib.import_module("peers.cases").CASES
    assert peers.outcome(side, last).verdict == "right"
    assert peers.outcome(side, first).verdict == "found"

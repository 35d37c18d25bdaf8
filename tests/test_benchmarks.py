"""Benchmarks are run by hand; here only that they start, and that ours is the model they say it is."""

import json
import os
from pathlib import Path

import pytest

from tests import children

BENCHMARKS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_a_benchmark_says_what_it_does(path):
    done = children.run(path, "--help")
    assert done.returncode == 0, done.stderr
    assert f"python benchmarks/{path.name}" in done.stdout  # its docstring, which begins with what it measures


def rehearsal(tmp_path, only, corpus):
    """The exit status of the card's report without a card, and what it wrote."""
    report = next(path for path in BENCHMARKS if path.stem == "cuda_report")
    done = children.run(report, "--stand-in", f"--only={only}", f"--out={tmp_path}", f"--corpus={corpus}", seconds=250)
    written = tmp_path / "cuda-stand-in.json"
    assert written.exists(), done.stderr
    return done.returncode, json.loads(written.read_text())["sections"]


no_groups = pytest.mark.skipif(os.name == "nt", reason="the report ends groups of processes, which Windows has not")


@no_groups
def test_the_cards_report_can_be_rehearsed_without_a_card(tmp_path):
    only = "machine,stand-in,curves,kernels"
    status, sections = rehearsal(tmp_path, only, Path(__file__).with_name("memorised.txt"))
    assert {name: found["status"] for name, found in sections.items()} == dict.fromkeys(only.split(","), "done"), (
        sections
    )
    assert status == 0, sections
    assert "times mean nothing" in (tmp_path / "cuda-stand-in.md").read_text().splitlines()[0]


@no_groups
def test_the_cards_report_ends_with_an_error_if_a_section_does(tmp_path):
    (tmp_path / "short.txt").write_text("too short")
    status, sections = rehearsal(tmp_path, "stand-in,curves", tmp_path / "short.txt")
    assert status == 1
    assert sections["stand-in"]["status"] == "done" and sections["curves"]["status"] == "failed with status 1"
    assert "short.txt" in sections["curves"]["last_lines"][-1]

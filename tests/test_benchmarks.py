"""Benchmarks are run by hand; here only that they start, and that ours is the model they say it is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_a_benchmark_says_what_it_does(path):
    done = subprocess.run([sys.executable, str(path), "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"python benchmarks/{path.name}" in done.stdout  # its docstring, which begins with what it measures


@pytest.mark.skipif(os.name == "nt", reason="the card's report ends groups of processes, which Windows has not")
def test_the_cards_report_can_be_rehearsed_without_a_card(tmp_path):
    report = next(path for path in BENCHMARKS if path.stem == "cuda_report")
    command = [sys.executable, str(report), "--stand-in", "--only=machine,kernels", f"--out={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    sections = json.loads((tmp_path / "cuda-stand-in.json").read_text())["sections"]
    assert {name: found["status"] for name, found in sections.items()} == {"machine": "done", "kernels": "done"}, (
        sections
    )
    assert "times mean nothing" in (tmp_path / "cuda-stand-in.md").read_text().splitlines()[0]

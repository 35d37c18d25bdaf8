"""Benchmarks are run by hand; here only that they start, and that ours is the model they say it is."""

import argparse
import importlib
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
    only = "machine,first,stand-in,bits,curves,kernels"
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


# What a launch must move


@pytest.fixture
def benchmark(monkeypatch):
    """Imports a file of the benchmarks' folder."""
    monkeypatch.syspath_prepend(BENCHMARKS[0].parent)
    return importlib.import_module


def test_a_step_is_predicted_without_a_card():
    predict = next(path for path in BENCHMARKS if path.stem == "predict_cuda")
    done = children.run(predict, "--small")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("PREDICTED, not measured") == 3  # gpt2, and baby with and without dropout
    assert "attention_backward_kv 3x32x144" in done.stdout and "product 96x48 @ 48x144" in done.stdout


def test_the_least_of_a_fused_step_is_what_is_counted_by_hand(benchmark):
    predict, training = benchmark("predict_cuda"), benchmark("report.training")
    parts = predict.floors(training.configurations(stand_in=False)["gpt2, B=12"])
    assert sum(bytes_ for bytes_, _ in parts.values()) == pytest.approx(56.4e9, rel=1e-3)
    assert sum(predict.least_seconds(*part) for part in parts.values()) == pytest.approx(28.2e-3, rel=2e-3)


def test_a_launch_moves_what_the_stand_in_counts(benchmark):
    launches, predict = benchmark("report.launches"), benchmark("predict_cuda")
    settings = benchmark("report.training").configurations(stand_in=True)["baby"] | {"bias": True}
    noted, done = (predict.counted(settings, dropout=0.2, executed=executed) for executed in (False, True))
    assert noted.calls == done.calls
    ours = {"gemm", *launches.parameters()}
    counted = [call for _, call in done.operations if call.kernel.removeprefix(predict.CUPY) in ours]
    partly = {kernel for kernel, _ in launches.PARTLY} | {"gelu_backward"}  # this writes to what it reads
    for call, by_stand_in in zip(done.calls, counted, strict=True):
        if call.kernel in partly:
            assert call.bytes <= by_stand_in.bytes, call
        else:
            assert call.bytes == by_stand_in.bytes, (call, by_stand_in)
    kernels = {call.kernel for call in done.calls}
    assert {"product", "attention_forward", "add_bias", "sum_columns", "dropout", "cross_entropy", "adamw"} <= kernels


def test_what_is_known_of_kernels_is_of_kernels_that_exist(benchmark):
    launches = benchmark("report.launches")
    exist = {(kernel, parameter.name) for kernel, all_ in launches.parameters().items() for parameter in all_}
    updated = {(kernel, name) for kernel, names in launches.UPDATED.items() for name in names.split()}
    assert updated | set(launches.PARTLY) <= exist
    assert {(kernel, "qkv") for kernel in launches.ATTENTION} <= exist
    assert set(benchmark("predict_cuda").KERNELS) <= {kernel for kernel, _ in exist}


# What is demanded of a card


@pytest.mark.parametrize(
    ("over", "memory", "wrong"), [(1.2, 1000, 0), (1.1, 1000, 1), (1.2, 1101, 1), (0.5, 2000, 2), (None, None, 0)]
)
def test_a_card_must_be_faster_than_pytorch_and_need_no_more_memory(benchmark, over, memory, wrong, tmp_path):
    speed, opponent = benchmark("report.sections.speed"), benchmark("report.opponent")
    options = argparse.Namespace(into=tmp_path, stand_in=False, corpus=None, seconds=1, compile_seconds=0)
    report = benchmark("report.report").Report("speed", options)
    sides = {
        opponent.OURS: {"peak memory, MiB": memory},
        opponent.EAGER: {"ours over it, x": over, "peak memory, MiB": 1000},
    }
    speed.demands(report, "gpt2, B=12", sides)
    assert len(benchmark("report.writing").wrong_checks(report.found)) == wrong

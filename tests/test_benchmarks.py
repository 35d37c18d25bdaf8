"""Benchmarks are run by hand; here only that they start, and that ours is the model they say it is."""

import argparse
import importlib
import json
import os
from pathlib import Path

import pytest

from tests import children
from tinygpt import GPTConfig

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
    only = "machine,first,stand-in,attention,kernels"  # the others take minutes
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
    assert done.stdout.count("tokens, bf16. PREDICTED, not measured") == 3  # gpt2, and baby with and without dropout
    assert done.stdout.count("tokens, TF32. PREDICTED, not measured") == 3
    assert "attention_backward_kv 3x32x192" in done.stdout and "flash_backward_kv 3x32x192" in done.stdout
    assert "product 96x64 @ 64x192" in done.stdout


def test_the_least_of_a_fused_step_is_what_is_counted_by_hand(benchmark):
    predict, training = benchmark("predict_cuda"), benchmark("report.training")
    settings = training.configurations(stand_in=False)["gpt2, B=12"]
    for rate, bytes_by_hand, seconds in (("TF32", 56.4e9, 28.2e-3), ("bf16", 30.7e9, 14.85e-3)):
        parts = predict.floors(settings, rate).values()
        assert sum(bytes_ for bytes_, _ in parts) == pytest.approx(bytes_by_hand, rel=1e-3)
        assert sum(predict.least_seconds(*part, rate) for part in parts) == pytest.approx(seconds, rel=2e-3)


def test_attention_in_bfloat16_is_predicted_as_what_its_source_says(benchmark):
    """2.65 ms, or 4.4 if it is slow, for gpt2's twelve layers."""
    launches, predict = benchmark("report.launches"), benchmark("predict_cuda")
    pairs = 12 * 12 * 12 * 1024 * 1025 / 2  # layers, sequences, heads, pairs of positions
    flash = {name: products for name, products in launches.ATTENTION.items() if name.startswith("flash")}
    calls = [launches.Call(name, "", 0, 2 * n * pairs * 64, "bf16") for name, n in flash.items()]
    for slow, ms in ((False, 2.65), (True, 4.4)):
        assert predict.total_ms(calls, 0, slow) == pytest.approx(ms, rel=5e-3)


def test_bfloat16_halves_what_activations_move(benchmark):
    predict = benchmark("predict_cuda")
    settings = benchmark("report.training").configurations(stand_in=True)["gpt2, B=12"]
    steps = {dtype: predict.counted(settings, 0.0, dtype=dtype) for dtype in ("float32", "bfloat16")}
    of = {dtype: {(c.kernel, c.shape): c for c in step.calls} for dtype, step in steps.items()}
    attention = {kernel for kernel, _ in of["float32"].keys() ^ of["bfloat16"].keys()}
    assert attention == set(benchmark("report.launches").ATTENTION)
    assert {call.rate for call in steps["bfloat16"].calls if call.flops} == {"bf16"}
    for kernel, shape in (("gelu_forward", "96x256"), ("product", "96x64 @ 64x192"), ("cross_entropy", "96x257")):
        whole, half = (of[dtype][kernel, shape].bytes for dtype in ("float32", "bfloat16"))
        assert half == pytest.approx(whole / 2, rel=1e-2)
    adds = "product", "96x64^T @ 96x192, added"  # a weight's gradient stays in float32
    assert of["bfloat16"][adds].bytes == (96 * 64 + 96 * 192) * 2 + 2 * 64 * 192 * 4
    assert steps["bfloat16"].peak < steps["float32"].peak


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
    ("over", "memory", "wrong", "reached"),
    [
        (1.2, 500, 0, ["aim", "aim"]), (1.1, 700, 0, ["must", "must"]), (0.9, 700, 1, ["NEITHER", "must"]),
        (1.2, 751, 1, ["aim", "NEITHER"]), (0.5, 2000, 2, ["NEITHER"] * 2), (None, None, 0, []),
    ],
)  # fmt: skip
def test_a_card_must_be_faster_than_pytorch_and_need_no_more_memory(
    benchmark, over, memory, wrong, reached, tmp_path
):  # fmt: skip
    speed, opponent = benchmark("report.sections.speed"), benchmark("report.opponent")
    options = argparse.Namespace(into=tmp_path, stand_in=False, corpus=None, seconds=1, compile_seconds=0)
    report = benchmark("report.report").Report("speed", options)
    sides = {
        opponent.OURS: {"peak memory, MiB": memory},
        opponent.COMPILED: {"ours over it, x": over, "peak memory, MiB": 1000},
    }
    speed.demands(report, "gpt2, B=12", sides)
    assert len(benchmark("report.writing").wrong_checks(report.found)) == wrong
    assert [row["reached"] for row in report.found["tables"].get("Demanded", [])] == reached


# Many ranks


def test_the_model_of_a_sum_over_ranks_says_what_eight_cards_would_reach(benchmark):
    network = benchmark("race.network")
    size, tokens = 4 * benchmark("race.ranks").PARAMETERS, 12 * 1024
    assert GPTConfig().n_params == benchmark("race.ranks").PARAMETERS
    summing = network.seconds(8, size, network.NVLINK)
    assert summing == pytest.approx(2 * 7 / 8 * 497_759_232 / 370.8e9 + 14 * 3.4e-6)  # 2.4 ms
    step = tokens / network.GOAL
    assert [round(network.share(n * step, summing), 2) for n in (1, 5)] == [0.92, 0.98]
    assert network.sent(2, size) == size and network.sent(64, size) == pytest.approx(2 * size, rel=0.02)
    (lesson,) = (BENCHMARKS[0].parents[1] / "lessons").glob("*_many_machines.py")  # reckons with the same link
    link = f"NVLINK, ETHERNET = ({network.NVLINK.bandwidth / 1e9:.0f}e9, {network.NVLINK.latency * 1e6:.1f}e-6), "
    assert link in lesson.read_text(encoding="utf-8")


def test_the_newest_step_of_a_card_is_the_fastest_of_ours_in_the_report(benchmark):
    how, rate, tokens = benchmark("race.network").newest_step()
    report = benchmark("race.network").CUDA_REPORT.read_text(encoding="utf-8")
    assert f"tinygpt ({how}) | {rate:,.0f} |" in report and rate > 40_000 and tokens == 12 * 1024


def test_what_many_ranks_were_measured_at_is_the_same_in_the_page_the_tables_and_the_picture():
    results = BENCHMARKS[0].parent / "results"
    tables = (results / "scale_out.md").read_text(encoding="utf-8")
    drawn = json.loads((results / "scale_out.json").read_text(encoding="utf-8"))
    for host in drawn["hosts"]:
        for accumulation, share in host["points"].items():
            (row,) = [line for line in tables.splitlines() if line.startswith(f"| {host['name']} | {accumulation} |")]
            assert f"| {2 * share:.2f} |" in row
    page = (BENCHMARKS[0].parents[1] / "docs" / "scale.md").read_text(encoding="utf-8")
    assert tables.removeprefix("# Many ranks\n\n").replace("## ", "### ") in page
    assert len(drawn["hosts"]) == 2 and len(drawn["cards"]) == 6 and len(drawn["steps"]) == 2


def test_sides_that_do_not_do_the_same_work_end_the_benchmark(benchmark):
    scale_out = benchmark("scale_out")
    assert scale_out.check_losses({"a": [4.0, 2.0], "b": [4.0, 2.00001, 9.0]}) == pytest.approx(5e-6)
    for other in ([4.0, 2.1], [4.0, float("nan")]):
        with pytest.raises(SystemExit, match="they do not do the same work"):
            scale_out.check_losses({"a": [4.0, 2.0], "b": other})

"""`run`: a few steps with what is right so far, said to be used only where it was called."""

import json

import pytest
from rich.console import Console

from lessons.__main__ import main
from lessons.course import Course
from lessons.exercises import EXERCISES
from tests.lessons.conftest import LESSONS
from tinygpt.own_layers.places import STEPS, before


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs `python -m lessons` with a work folder; returns its status, and what it printed and complained of."""
    monkeypatch.setattr("lessons.running.STEPS", 4)
    monkeypatch.setattr("lessons.running.SAMPLE", 12)

    def run_it(line):
        status = main([*line.split(), f"--work={tmp_path}"], LESSONS)
        return status, *capsys.readouterr()

    return run_it


def solve(tmp_path, *names):
    """The solutions, as files that were found right: what `run` need not check again."""
    from hashlib import sha256

    kept = {}
    for name in names:
        path = tmp_path / EXERCISES[name].file
        path.write_text(EXERCISES[name].solution(), encoding="utf-8")
        kept[name] = {"attempts": 1, "done": True, "right": sha256(path.read_bytes()).hexdigest()}
    (tmp_path / "progress.json").write_text(json.dumps({"version": 1, "lessons": {}, "exercises": kept}))


def used(out):
    """The pieces that it says were used."""
    lines = out.partition("yours, in this run:\n")[2].partition("\n\n")[0].splitlines()
    return {line.split()[0] for line in lines}


ELSEWHERE = {"numerical_gradient"} | {name for name in EXERCISES if name.endswith("_kernel")}


@pytest.mark.parametrize("name", [name for name in EXERCISES if name not in ELSEWHERE])
def test_a_run_for_a_piece_uses_it_with_the_engines_losses(name, tmp_path, run):
    solve(tmp_path, name, *before(name))
    status, out, _ = run(f"run {name}")
    assert status == 0 and name in used(out), out
    same, near = (
        "The losses of all 4 steps are the engine's own, to the last bit.",
        "differ from the engine's by at most",
    )
    apart = float(out.partition(near)[2].split()[0].rstrip(".")) if near in out else 0.0
    assert (same in out) is (apart == 0) and apart < 1e-12 and "    | " in out


def test_a_run_with_all_of_them_names_those_that_it_had_a_use_for(tmp_path, run):
    solve(tmp_path, *(set(EXERCISES) - {name for name in EXERCISES if name.endswith("_kernel")}))
    out = run("run")[1]
    idle = {"dropout", "merge", "numerical_gradient", "ring_step", *STEPS}
    assert used(out) == {name for name in EXERCISES if not name.endswith("_kernel")} - idle
    assert set(out.partition("right too, and of no use in this run: ")[2].strip().split(", ")) == idle


def test_of_a_lesson_whose_pieces_do_more_of_the_same_the_last_is_used_and_how_to_see_the_others(tmp_path, run):
    solve(tmp_path, "causal_head", "multi_head")
    out = run("run causal_head multi_head")[1]
    assert used(out) == {"multi_head"}
    assert (
        "causal_head was not used: multi_head does what it does, and more; without that: python -m lessons run" in out
    )
    assert used(run("run causal_head")[1]) == {"causal_head"}


def test_the_learners_numerical_gradient_proves_one_of_the_models(tmp_path, run):
    solve(tmp_path, "numerical_gradient")
    status, out, _ = run("run 4")
    error = float(out.partition("the relative error is ")[2].split()[0].rstrip("."))
    assert status == 0 and error < 1e-6 and used(out) == {"numerical_gradient"}


def test_what_is_not_right_is_said_and_not_used(tmp_path, run):
    status, out, _ = run("run 7")
    assert status == 1 and out.startswith(
        "layernorm is not begun, so it is in no run yet: python -m lessons start layer"
    )
    assert "No piece is right yet, so there is nothing to run" in run("run")[1]
    solve(tmp_path, "gelu", "merge")
    (tmp_path / "layernorm.py").write_text(EXERCISES["layernorm"].solution().replace("dout * w", "dout"))
    status, out, _ = run("run 7")
    assert status == 1 and "layernorm is not right yet, so it is in no run: python -m lessons check layernorm" in out
    (tmp_path / "layernorm.py").write_text(EXERCISES["layernorm"].blank())
    status, out, _ = run("run 7")
    assert status == 1 and "layernorm is not begun, so it is in no run yet: " in out and "is as it was given" in out
    path = tmp_path / "gelu.py"
    path.write_text(path.read_text().replace("math.sqrt(2 / math.pi)", "math.sqrt(3 / math.pi)"))
    status, out, _ = run("run merge")
    assert status == 0 and "gelu is no longer right, so it is in no run: " in out and used(out) == {"merge"}


def test_a_file_that_was_found_right_is_not_checked_again_and_a_changed_one_is(tmp_path, run, monkeypatch):
    from tinygpt.own_layers import folder

    checked, check = [], folder.check
    monkeypatch.setattr(folder, "check", lambda name, path: checked.append(name) or check(name, path))
    (tmp_path / "merge.py").write_text(EXERCISES["merge"].solution())
    assert run("check merge")[0] == 0
    assert run("run merge")[0] == 0 and not checked
    (tmp_path / "merge.py").write_text(EXERCISES["merge"].solution() + "\n")
    assert run("run merge")[0] == 0 and checked == ["merge"]


def test_a_piece_that_a_run_finds_right_is_done_and_one_that_it_finds_wrong_is_not(tmp_path, run):
    solve(tmp_path, "gelu")
    (tmp_path / "merge.py").write_text(EXERCISES["merge"].solution())
    (tmp_path / "gelu.py").write_text(EXERCISES["gelu"].solution().replace("sqrt(2 / math.pi)", "sqrt(3 / math.pi)"))
    assert run("run merge")[0] == 0
    kept = json.loads((tmp_path / "progress.json").read_text())["exercises"]
    assert kept["merge"]["done"] and kept["merge"]["right"] and not kept["gelu"]["done"] and not kept["gelu"]["right"]


def test_what_is_begun_and_was_never_found_right_is_named_with_its_check(tmp_path, run):
    solve(tmp_path, "gelu")
    assert "begun, and in no run" not in run("run gelu")[1]
    (tmp_path / "merge.py").write_text(EXERCISES["merge"].solution())
    (tmp_path / "draw.py").write_text(EXERCISES["draw"].blank())  # as it was given
    once = "merge is begun, and in no run until a check finds it right: python -m lessons check merge"
    assert once in run("run gelu")[1]
    (tmp_path / "layernorm.py").write_text("wrong")
    out = run("run 18")[1]
    assert "merge and layernorm are begun, and in no run until a check finds them right: " in out


def test_a_kernel_that_cannot_be_checked_here_is_not_called_wrong(tmp_path, run, monkeypatch):
    monkeypatch.setattr("tinygpt.emulator.missing", lambda: "there is no g++")
    monkeypatch.setattr("tinygpt.own_layers.kernels.judge.missing", lambda: "there is no g++")
    (tmp_path / "layernorm_kernel.cu").write_text("// mine")
    status, out, _ = run("run 18")
    assert status == 1 and "layernorm_kernel.cu cannot be checked here: there is no g++" in out
    assert "not right" not in out
    kept = {"layernorm_kernel": {"attempts": 1, "done": True, "right": "of another text"}}
    (tmp_path / "progress.json").write_text(json.dumps({"version": 1, "lessons": {}, "exercises": kept}))
    assert "no longer right" not in run("run")[1]
    assert json.loads((tmp_path / "progress.json").read_text())["exercises"]["layernorm_kernel"]["done"]


def test_the_sample_keeps_its_bar_in_every_row(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    Course(LESSONS, tmp_path, Console(width=30, color_system=None)).quote(
        "words that are wider than the terminal is", "    | "
    )
    assert capsys.readouterr().out == "    | words that are wider\n    | than the terminal is\n"


def test_a_lesson_without_a_piece_has_nothing_to_run(run):
    assert run("run 20")[2].startswith("error: lesson 20, ") and "has no exercise" in run("run 20")[2]

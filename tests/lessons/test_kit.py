"""What the lessons share: numbers that are stated must be so, plots are files, the small model is whole."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

KIT = Path(__file__).parents[2] / "lessons" / "kit.py"


@pytest.fixture
def kit(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("kit", KIT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "OUT", tmp_path / "lessons" / "out")
    monkeypatch.setattr(module, "FOLDER", tmp_path / "lessons")
    (tmp_path / "lessons").mkdir()
    return module


@pytest.mark.parametrize(
    "text, value",
    [("3.30", 3.2951), ("−0.109375", -0.109375), ("1,024", 1024), ("97%", 0.9749), ("1.8%", 0.018),
     ("2.2e-16", 2.22e-16), ("5", np.float64(5)), ("1e-9", 1.4e-9), ("600", 637.6)],
)  # fmt: skip
def test_a_number_that_rounds_to_what_is_said_passes(kit, text, value):
    kit.stated(text, value, *([50] if text == "600" else []))


@pytest.mark.parametrize(
    "text, value",
    [("3.30", 3.306), ("−0.109", 0.109), ("1,024", 1025), ("97%", 0.9649), ("2.2e-16", 2.3e-16), ("5", 4.4)],
)
def test_any_other_number_does_not(kit, text, value):
    with pytest.raises(AssertionError, match="the lesson says"):
        kit.stated(text, value)


def test_not_a_number_is_never_what_is_said(kit):
    with pytest.raises(AssertionError):
        kit.stated("0", float("nan"))


def test_a_plot_is_a_file_and_a_line_that_names_it(kit, capsys):
    pytest.importorskip("matplotlib")
    with kit.plot("two", columns=2) as (left, right):
        left.plot([1, 2])
        right.plot([2, 1])
    (path,) = kit.OUT.glob("*-two.png")
    assert path.read_bytes().startswith(b"\x89PNG") and path.name in capsys.readouterr().out


def test_without_matplotlib_drawing_goes_nowhere_and_a_line_says_so(kit, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with kit.plot("one") as axes:
        axes.plot([1, 2], label="x").nothing_of_this_name(3)
    with kit.plot("two", columns=2) as (left, _):
        left.imshow([[1]])
    assert capsys.readouterr().out.count("it needs matplotlib") == 2 and not kit.OUT.exists()


def test_a_small_model_whose_training_was_cut_short_is_trained_anew(kit, tmp_path, monkeypatch):
    out = tmp_path / "lessons" / "out" / "tiny-gpt"
    short = kit.TINY | {"out_dir": str(out), "n_layer": 1, "n_head": 1, "n_embd": 8, "block_size": 8, "eval_iters": 1}
    monkeypatch.setattr(kit, "TINY", short | {"max_iters": 1})
    first, _ = kit.tiny_gpt()
    monkeypatch.setattr(kit, "TINY", short | {"max_iters": 3})
    second, tokenizer = kit.tiny_gpt()
    assert not np.array_equal(first.params.flat, second.params.flat)
    written = (out / "best" / "model.safetensors").stat().st_mtime_ns
    third, _ = kit.tiny_gpt()
    assert (out / "best" / "model.safetensors").stat().st_mtime_ns == written  # not trained again
    assert np.array_equal(second.params.flat, third.params.flat) and tokenizer.decode(tokenizer.encode("sea")) == "sea"

"""`tinygpt gradcheck`, as typed."""

import re

import pytest

from tinygpt import GPTConfig
from tinygpt.cli import main
from tinygpt.gradcheck import command

RIGHT = """
import numpy as np

def forward(x):
    shifted = np.exp(x - np.max(x, axis=-1, keepdims=True))
    out = shifted / shifted.sum(axis=-1, keepdims=True)
    return out, out

def backward(dout, out):
    return out * (dout - (dout * out).sum(axis=-1, keepdims=True))
"""
WRONG = RIGHT.replace("out * (dout - (dout * out).sum(axis=-1, keepdims=True))", "-out * (1 - out) * dout")
OWN = """
def inputs(rng):
    return {"x": rng.standard_normal((2, 3)), "y": rng.standard_normal((2, 3))}

def forward(x, y):
    return x * y, (x, y)

def backward(dout, cache):
    return dout * cache[1], dout * cache[0]
"""


@pytest.fixture
def file(tmp_path):
    def write(text, name="softmax.py"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return write


def test_layers_by_name_are_a_line_for_each_case_and_a_verdict(capsys):
    assert main(["gradcheck", "layernorm", "softmax"]) == 0
    out = capsys.readouterr().out
    assert "layernorm, no bias" in out and "softmax, masked" in out
    assert "all 5 checks right" in out and "at most 1e-09 allowed" in out


def test_verbose_shows_every_gradient(capsys):
    assert main(["gradcheck", "linear", "-v"]) == 0
    out = capsys.readouterr().out
    assert out.count("\ndx ") == 3 and out.count("\ndb ") == 1 and "analytic" in out


def test_the_model_and_the_fast_twins_are_checked_too(capsys):
    assert main(["gradcheck", "lm_head_loss", "model"]) == 0
    out = capsys.readouterr().out
    assert "lm_head_loss, fast twin" in out and "model, dropout" in out and "at most 1e-08 allowed" in out


def test_a_readers_file_is_checked_as_the_layer_it_is_named_after(file, capsys):
    assert main(["gradcheck", file(RIGHT)]) == 0
    assert "all 2 checks right" in capsys.readouterr().out


def test_a_wrong_file_fails_and_is_told_what_is_wrong(file, capsys):
    assert main(["gradcheck", file(WRONG, "mine.py"), "--as=softmax"]) == 1
    out = capsys.readouterr().out
    assert "2 of 2 checks WRONG" in out and "what is wrong:" in out
    assert "only the diagonal of the Jacobian is there" in out and "dx has the wrong sign" in out


def test_a_file_that_is_no_layer_brings_its_inputs_and_is_checked_for_consistency(file, capsys):
    assert main(["gradcheck", file(OWN, "product.py")]) == 0
    assert "consistency only" in capsys.readouterr().out
    assert main(["gradcheck", file(OWN.replace("dout * cache[0]", "dout + cache[0]"), "product.py")]) == 1
    assert "WRONG" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "name", "sentence"),
    [
        (RIGHT, "mine.py", "is not named after a layer.*--as=embedding.*or give it a function inputs"),
        ("x = 1", "softmax.py", "softmax.py has no function forward"),
        ("def forward(x: pass", "softmax.py", "softmax.py, line 1, raised SyntaxError"),
        ("import numppy", "softmax.py", "softmax.py, line 1, raised ModuleNotFoundError: No module named 'numppy'"),
        (RIGHT.replace("dout - ", "dout @ dout - "), "softmax.py", "softmax.py, line 10, raised ValueError: matmul"),
        (RIGHT.replace("return out, out", "return out"), "softmax.py", "softmax.py: forward returned a ndarray"),
        (RIGHT.replace("return out, out", "return out[0], out"), "softmax.py", r"output has shape \(.*expected \("),
    ],
)
def test_a_mistake_in_a_file_is_one_sentence_with_its_place(file, capsys, text, name, sentence):
    assert main(["gradcheck", file(text, name)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert re.search(sentence, error), error


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["layernrm"], "there is no layer 'layernrm'; did you mean layernorm?"),
        (["x"], "expected embedding, linear"),
        (["none.py"], "there is no file none.py"),
        (["softmax", "--device=tpu"], "device is 'tpu'"),
    ],
)
def test_names_that_mean_nothing_are_explained(arguments, sentence, capsys):
    assert main(["gradcheck", *arguments]) == 1
    assert sentence in capsys.readouterr().err


def test_a_size_of_gpt2_is_checked_along_directions(monkeypatch, capsys):
    small = GPTConfig(block_size=8, vocab_size=11, n_layer=1, n_head=2, n_embd=8)
    monkeypatch.setattr(command.GPTConfig, "preset", lambda name: small)
    assert main(["gradcheck", "gpt2"]) == 0
    out = capsys.readouterr().out
    assert out.count("\nd") == 16 and "16 parameters, worst error" in out and "all right" in out


def test_the_measurement_prints_kills_names_habits_and_false_alarms(monkeypatch, capsys):
    monkeypatch.setattr(command, "LAYERS", ("softmax", "dropout"))
    assert command.measure(seeds=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:4] == ["softmax", "11", "11", "11"] and lines[3].split()[:4] == ["all", "18", "18", "18"]
    assert lines[-1].startswith("false alarms: 0 in ") and lines[-1].endswith("checks of the right code, 1 seeds")

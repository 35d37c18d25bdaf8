"""`tinygpt gradcheck`, as typed."""

import re

import pytest

from tinygpt import GPTConfig
from tinygpt.cli import main
from tinygpt.gradcheck import library, terminal
from tinygpt.gradcheck.mutants import mutants

RIGHT = """
import numpy as np

def forward(x):
    largest = np.max(x, axis=-1, keepdims=True)
    exps = np.exp(x - np.where(np.isinf(largest), 0, largest))
    total = exps.sum(axis=-1, keepdims=True)
    out = exps / np.where(total == 0, 1, total)
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
    assert "layernorm, no bias" in out and "layernorm, fast twin, no bias" in out and "softmax, masked" in out
    lines = [line for line in out.splitlines() if line.startswith(("layernorm", "softmax"))]
    assert f"all {len(lines)} checks right" in out and "where 1e-09 is allowed" in out


def test_verbose_shows_every_gradient(capsys):
    assert main(["gradcheck", "mlp", "-v"]) == 0
    out = capsys.readouterr().out
    assert out.count("\ndx ") == 2 and out.count("\ndb_fc ") == 1 and "worst entry" in out


def test_the_model_and_the_fast_twins_are_checked_too(capsys):
    assert main(["gradcheck", "lm_head_loss", "model"]) == 0
    out = capsys.readouterr().out
    assert "lm_head_loss, chunked twin" in out and "model, dropout" in out and "where 1e-08 is allowed" in out


def test_a_readers_file_is_checked_as_the_layer_it_is_named_after(file, capsys):
    assert main(["gradcheck", file(RIGHT)]) == 0
    assert re.search(r"all \d checks right", capsys.readouterr().out)


def test_a_wrong_file_fails_and_is_told_what_is_wrong(file, capsys):
    assert main(["gradcheck", file(WRONG, "mine.py"), "--as=softmax"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"(\d) of \1 checks WRONG", out) and "what is wrong:" in out
    assert "only the diagonal of the Jacobian is there" in out and "dx has the wrong sign" in out


def test_a_file_that_is_no_layer_brings_its_inputs_and_is_checked_for_consistency(file, capsys):
    assert main(["gradcheck", file(OWN, "product.py")]) == 0
    assert "consistency only" in capsys.readouterr().out
    assert main(["gradcheck", file(OWN.replace("dout * cache[0]", "dout + cache[0]"), "product.py")]) == 1
    assert "WRONG" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "name", "sentence"),
    [
        (RIGHT, "mine.py", "the file is not named after a layer.*--as=embedding.*or give it inputs"),
        ("x = 1", "softmax.py", "there is no function forward.*; or say with --class or --function what to check"),
        ("def forward(x: pass", "softmax.py", "softmax.py, line 1, raised SyntaxError"),
        ("import numppy", "softmax.py", "softmax.py, line 1, raised ModuleNotFoundError: No module named 'numppy'"),
        ("import sys\nsys.exit(0)", "softmax.py", "softmax.py, line 2, raised SystemExit: 0"),
        (OWN.replace("x * y", "x @ y"), "product.py", "product.py, line 6, raised ValueError: matmul"),
        (OWN.replace("return x * y, (x, y)", "return x * y"), "product.py", "backward takes cache, which"),
    ],
)
def test_a_file_that_cannot_be_checked_is_one_sentence_with_its_place(file, capsys, text, name, sentence):
    assert main(["gradcheck", file(text, name)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert re.search(sentence, error), error


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("dout - ", "dout @ dout - ", "softmax.py, line 12, raised ValueError: matmul"),
        ("return out, out", "return out", "forward returned one ndarray; expected two things"),
        ("return out, out", "return out[0], out", r"forward's output has shape \(.*expected \("),
        ("return out, out", "raise SystemExit", "softmax.py, line 9, raised SystemExit"),
        ("forward(x)", "forward(x, axis)", "forward does not take softmax's arguments .*'axis'"),
        ("largest = np.max", "x *= 1.5; largest = np.max", "wrote to its input x"),
    ],
)
def test_what_a_file_does_wrong_in_a_case_is_said_there(file, capsys, old, new, sentence):
    assert main(["gradcheck", file(RIGHT.replace(old, new))]) == 1
    out = capsys.readouterr().out
    assert re.search(sentence, out) and re.search(r"(\d) of \1 checks WRONG", out) and "what is wrong:" in out


@pytest.mark.parametrize("arguments", [["--mutants", "softmax"], ["mine.py", "--as=softmax"]])
def test_a_mistake_that_fits_its_layer_no_more_is_one_sentence(file, arguments, monkeypatch, capsys):
    """And never a mistake that is silently not looked for."""
    monkeypatch.setattr(library.FILES["softmax"], "MISTAKES", [("lost", "sign", ("no_such_line", "x"), "dx is lost")])
    mutants.cache_clear()
    try:
        arguments = [file(WRONG, "mine.py") if name == "mine.py" else name for name in arguments]
        assert main(["gradcheck", *arguments]) == 1
    finally:
        mutants.cache_clear()
    assert capsys.readouterr().err == (
        "error: the mistake 'lost' of softmax does not fit tinygpt.layers.softmax any more: "
        "'no_such_line' is found 0 times, where once is expected; mend it where the mistakes of softmax stand\n"
    )


LAYERS = """
import numpy as np

class Scale:
    def __init__(self, dim):
        self.w = np.ones(dim)

    def forward(self, x):
        self.x = x
        return x * self.w

    def backward(self, dout):
        self.dw = (dout * self.x).sum(axis=0)
        return dout * self.w

class Half:
    def forward(self, x):
        return x / 2

def affine_forward(x, w):
    return x @ w, (x, w)

def affine_backward(dout, cache):
    return dout @ cache[1].T, cache[0].T @ dout

x = np.arange(6.0).reshape(2, 3)
"""


@pytest.mark.parametrize(
    ("more", "flag"),
    [
        ("inputs = {'x': x, 'dim': 3}", "--class=Scale"),
        ("inputs = {'x': x}\nmake = lambda: Scale(3)", "--class=Scale"),
        ("inputs = [x]\nmake = {'Scale': lambda: Scale(3)}", "--class=Scale"),
        ("inputs = lambda rng: [x, rng.random((3, 2))]", "--function=affine"),
        ("inputs = {'x': x, 'w': x.T}", "--seed=3"),
        ("inputs = {'affine': [x, x.T], 'Scale': {'x': x, 'dim': 3}}\nmax_entries = 2\nconstant = ['nothing']", "-v"),
    ],
)
def test_a_class_or_function_of_a_file_is_checked_by_name_or_found(more, flag, file, capsys):
    assert main(["gradcheck", file(LAYERS + more, "mine.py"), flag]) == 0, capsys.readouterr()
    wrong = LAYERS.replace("return dout * self.w", "return dout").replace("cache[1].T", "cache[1].T * 2")
    assert main(["gradcheck", file(wrong + more, "mine.py"), flag]) == 1
    out = capsys.readouterr().out
    assert "WRONG" in out and ("what is wrong:\ndx" in out or "Scale" in flag)


@pytest.mark.parametrize(
    ("more", "flag", "sentence"),
    [
        ("inputs = [x]", "--class=Scael", "there is no class Scael in the file; did you mean Scale?"),
        ("inputs = [x]", "--class=Half", "the class Half has no method backward; expected forward and backward"),
        ("inputs = [x]", "--class=Scale", "Scale cannot be made: .*'dim'; give dim with the inputs, or an object"),
        ("", "--class=Scale", r'there are no inputs for Scale; give it inputs: inputs = {"x": ...}'),
        ("inputs = {'x': x, 'dim': 4}", "--class=Scale", "mine.py, line 10, raised ValueError: operands could not be"),
        ("inputs = {'x': x}", "--function=affine", r"the inputs do not fit affine_forward\(x, w\): missing a"),
        ("inputs = {'x': x}", "--function=afine", "there is no function afine in the file; did you mean affine"),
        ("inputs = {'x': x, 'dim': 3}\ntolerance = -1", "--class=Scale", "tolerance is -1; expected a number between"),
        ("inputs = {'x': x, 'dim': 3}\nconstant = 'y'", "--class=Scale", "constant names 'y', which is not an input"),
        ("def inputs(): raise KeyError('here')", "--class=Scale", "mine.py, line 27, raised KeyError: 'here'"),
    ],
)
def test_what_a_file_lacks_is_one_sentence(more, flag, sentence, file, capsys):
    assert main(["gradcheck", file(LAYERS + more, "mine.py"), flag]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and re.search(sentence, error), error


def test_arguments_may_have_names_of_their_own(file):
    text = RIGHT.replace("forward(x)", "forward(scores)").replace("x - np.where", "scores - np.where")
    assert main(["gradcheck", file(text.replace("np.max(x,", "np.max(scores,"))]) == 0


def test_neighbours_are_imported_from_the_files_own_folder(tmp_path, capsys):
    for folder, factor in (("a", 1), ("b", 3)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "helper.py").write_text(f"FACTOR = {factor}\n")
        text = RIGHT.replace("return out * (", "from helper import FACTOR\n    return FACTOR * out * (")
        (tmp_path / folder / "softmax.py").write_text(text)
    assert main(["gradcheck", str(tmp_path / "a" / "softmax.py"), str(tmp_path / "b" / "softmax.py")]) == 1
    assert "dx is 3 times what it should be" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["layernrm"], "there is no layer 'layernrm'; did you mean layernorm?"),
        (["x"], "expected embedding, linear"),
        (["none.py"], "none.py: there is no such file"),
        (["softmax", "--device=tpu"], "device is 'tpu'"),
        (["softmax", "--as=gelu"], "--as=gelu says what a file is; give the file too"),
        (["softmax", "--class=Soft"], "--class=Soft says what of a file; give the file too"),
        (["mine.py", "--class=A", "--as=gelu"], "--as, --class and --function each say what of a file"),
        (["--mutants", "--device=cuda"], "--mutants goes with names of layers and --seed only"),
        (["--mutants", "layernrm"], "did you mean layernorm?"),
    ],
)
def test_names_that_mean_nothing_are_explained(arguments, sentence, capsys):
    assert main(["gradcheck", *arguments]) == 1
    assert sentence in capsys.readouterr().err


def test_a_size_of_gpt2_is_checked_along_directions(monkeypatch, capsys):
    small = GPTConfig(block_size=8, vocab_size=11, n_layer=1, n_head=2, n_embd=8)
    monkeypatch.setattr(terminal.GPTConfig, "preset", lambda name: small)
    assert main(["gradcheck", "gpt2"]) == 0
    out = capsys.readouterr().out
    assert out.count("\nd") == 16 and "16 parameters, worst error" in out and "all right" in out


def test_the_measurement_prints_kills_names_habits_and_false_alarms(capsys):
    assert terminal.measure_checker(["softmax", "dropout"], seed=0, seeds=1)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines[1:5]] == ["softmax", "dropout", "backwards", "forwards"]
    made = [int(line[1]) for line in lines[1:5]]
    assert made[0] >= 11 and made[1] >= 7 and sum(made[:2]) == sum(made[2:])
    assert all(line[1] == line[2] == line[3] for line in lines[1:5])  # made, killed and named
    assert lines[-1][:4] == ["false", "alarms:", "0", "in"]


# Only what a file does


NO_BIAS = """
def forward(x, w):
    return x @ w, (x, w)


def backward(dout, cache):
    x, w = cache
    rows = x.reshape(-1, x.shape[-1])
    return dout @ w.T, rows.T @ dout.reshape(-1, w.shape[1])
"""
NO_MASK = """
import numpy as np


def forward(x):
    exps = np.exp(x - x.max(-1, keepdims=True))
    out = exps / exps.sum(-1, keepdims=True)
    return out, out


def backward(dout, out):
    return out * (dout - (dout * out).sum(-1, keepdims=True))
"""
ONE_FORM = """
import numpy as np

ROOT = np.sqrt(2 / np.pi)


def forward(x):
    t = np.tanh(ROOT * (x + 0.044715 * x**3))
    return 0.5 * x * (1 + t), (x, t)


def backward(dout, cache):
    x, t = cache
    return dout * (0.5 * (1 + t) + 0.5 * x * (1 - t**2) * ROOT * (1 + 3 * 0.044715 * x**2))
"""


@pytest.mark.parametrize(
    ("layer", "text", "left_out"),
    [
        ("linear", NO_BIAS, "linear with b"), ("softmax", NO_MASK, "softmax, a row all masked"),
        ("gelu", ONE_FORM, "gelu, exact"),
    ],
)  # fmt: skip
def test_a_file_is_checked_on_what_it_does_and_the_rest_is_named(file, capsys, layer, text, left_out):
    assert main(["gradcheck", file(text, f"{layer}.py")]) == 0
    out = capsys.readouterr().out
    assert (
        re.search(r"\n(all \d checks|1 check) right", out)
        and f"not supported: {left_out}\n" in out
        and "inf" not in out
    )


def test_a_file_that_does_less_is_still_told_what_is_wrong(file, capsys):
    wrong = NO_BIAS.replace("dout @ w.T", "dout @ w.T / 2")
    assert main(["gradcheck", file(wrong, "linear.py")]) == 1
    assert "dx is 1/2 times what it should be" in capsys.readouterr().out

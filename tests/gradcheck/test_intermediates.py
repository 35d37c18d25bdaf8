"""Each line of a backward is judged by itself: what stands, what is a part, what is wrong, and nothing untrue."""

import numpy as np
import pytest

from lessons.exercises import Exercise
from tinygpt.gradcheck.intermediates import Line, judge
from tinygpt.gradcheck.library import CASES, STEPS
from tinygpt.gradcheck.suite import trials

FORWARD = """\
import numpy as np

def forward(x, w, b=None):
    mean = x.mean(axis=-1, keepdims=True)
    centred = x - mean
    var = (centred * centred).mean(axis=-1, keepdims=True)
    rstd = 1 / np.sqrt(var + 1e-5)
    xhat = centred * rstd
    out = xhat * w
    if b is not None:
        out = out + b
    return out, (centred, rstd, xhat, w)

def backward(dout, cache):
    centred, rstd, xhat, w = cache
    C = centred.shape[-1]
"""
RIGHT = """\
db = dout.sum(axis=0)
dw = (dout * xhat).sum(axis=0)
dxhat = dout * w
drstd = (dxhat * centred).sum(axis=-1, keepdims=True)
dcentred = dxhat * rstd
dvar = drstd * -0.5 * rstd**3
dcentred = dcentred + dvar * 2 * centred / C
dmean = -dcentred.sum(axis=-1, keepdims=True)
dx = dcentred + dmean / C
return dx, dw, db
"""
FIRST = FORWARD.count("\n") + 1  # the line on which backward's own lines begin


def judged(lines, bias=True):
    rng = np.random.default_rng(1)
    inputs = {"x": rng.standard_normal((3, 5)), "w": rng.standard_normal(5), "b": rng.standard_normal(5)}
    inputs["b"] = inputs["b"] if bias else None
    body = "".join(f"    {line}\n" for line in lines.splitlines())
    return judge(FORWARD + body, inputs, rng.standard_normal((3, 5)))


@pytest.mark.parametrize("bias", [True, False])
def test_all_lines_of_a_right_backward_stand_and_a_name_given_twice_is_a_part_first(bias):
    lines = judged(RIGHT, bias)
    named = [(line.name, line.number - FIRST, line.verdict) for line in lines]
    expected = [(line.split(" ")[0], number, "stands") for number, line in enumerate(RIGHT.splitlines()[:-1])]
    expected[4] = ("dcentred", 4, "part")
    assert named == (expected if bias else expected[1:])
    part = "holds what comes back from line 8"  # and what is missing is added by a line below
    assert lines[4 - (not bias)].says == part and not any(line.says for line in lines if line.verdict == "stands")


@pytest.mark.parametrize("end", ["raise NotImplementedError", "return None", "no_such_name", "pass"])
def test_half_a_backward_is_judged_as_far_as_it_came(end):
    half = "\n".join([*RIGHT.splitlines()[:4], end])
    assert [line.name for line in judged(half) if line.verdict == "stands"] == ["db", "dw", "dxhat", "drstd"]


@pytest.mark.parametrize(
    "right, wrong, name, says",
    [
        ("drstd * -0.5", "drstd * 0.5", "dvar", "is minus the derivative of the loss by var"),
        ("-0.5 * rstd**3", "-1.5 * rstd**3", "dvar", "is 3 times the derivative of the loss by var"),
        ("rstd**3", "rstd**2", "dvar", "has the right shape and other numbers than the derivative by var"),
        ("-dcentred.sum(axis=-1, keepdims=True)", "-dcentred.sum(axis=-1)", "dmean",
         "has shape (3,), and mean has (3, 1)"),
        ("dout.sum(axis=0)", "dout", "db", "has shape (3, 5), and b has (5,)"),
        ("-dcentred.sum(axis=-1, keepdims=True)", "-dcentred.sum(axis=0, keepdims=True)", "dmean",
         "has shape (1, 5), and mean has (3, 1)"),
        ("dxhat = dout * w", "dxhat = (dout * w).T", "dxhat", "has shape (5, 3), and xhat has (3, 5)"),
        ("dvar * 2 * centred / C", "dvar * centred / C", "dcentred", "holds what comes back from lines 6, 8; what "
         "comes back from line 6, where centred is used again, is missing"),
        ("dxhat = dout * w", "dxhat = 0 * dout", "dxhat", "is zero"),
        ("dx = dcentred + dmean / C", "dx = dcentred", "dx",
         "holds what comes back from line 5; what comes back from line 4 is missing"),
        ("dcentred + dvar * 2 * centred / C", "dvar * 2 * centred / C", "dcentred",
         "holds what comes back from line 6; what comes back from line 8 is missing"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_said_to_be_what_it_is(right, wrong, name, says):
    assert RIGHT.count(right) == 1
    lines = judged(RIGHT.replace(right, wrong))
    found = [line for line in lines if line.name == name][-1]
    assert found.says.startswith(says) and found.verdict == ("part" if says.startswith("holds") else "wrong")
    before = lines[: lines.index(found)]
    assert all(line.verdict == "stands" for line in before if line.name != "dcentred")


def test_of_a_line_that_is_made_of_a_wrong_one_only_that_is_said():
    lines = judged(RIGHT.replace("dxhat = dout * w", "dxhat = dout").replace("drstd * -0.5", "drstd * 0.5"))
    said = {line.name: line.says for line in lines if line.verdict == "wrong"}
    assert said.pop("dxhat").startswith("has the right shape and other numbers")
    assert said == {
        "drstd": "is made of dxhat, which is not right", "dvar": "is made of drstd, which is not right",
        "dcentred": "is made of dvar, which is not right", "dmean": "is made of dcentred, which is not right",
        "dx": "is made of dcentred and dmean, which are not right",
    }  # fmt: skip


def test_a_name_that_stands_may_be_used_for_something_else_afterwards():
    lines = judged(RIGHT.replace("dmean =", "drstd = 7 * drstd\ndmean ="))
    assert [line.verdict for line in lines if line.name == "drstd"] == ["stands"]


def test_where_a_name_is_of_several_things_on_both_sides_nothing_is_called_wrong():
    source = "def forward(x):\n    a = x * x\n    a = a * x\n    return a, x\n\n"
    source += "def backward(dout, x):\n    da = 5 * dout\n    da = da * x\n    return da\n"
    x = np.random.default_rng(2).standard_normal((2, 3))
    assert judge(source, {"x": x}, np.ones((2, 3))) == []
    once = source.replace("    a = x * x\n    a = a * x\n", "    a = x * x\n    out = a * x\n").replace(
        "return a", "return out"
    )
    assert judge(once, {"x": x}, np.ones((2, 3)))[-1].verdict == "wrong"


@pytest.mark.parametrize("scaling", ["(x * w) * 0.5", "(x * w) / 2"])
@pytest.mark.parametrize(
    "lines", ["dscores = dout * out\ndw = dscores * x * 0.5", "dscores = dout * out / 2\ndw = dscores * x"]
)
def test_of_a_product_with_a_number_either_side_may_be_meant(scaling, lines):
    forward = f"def forward(x, w):\n    scores = {scaling}\n    out = np.exp(scores)\n    return out, (x, w, out)\n\n"
    backward = "def backward(dout, cache):\n    x, w, out = cache\n"
    backward += "".join(f"    {line}\n" for line in lines.splitlines())
    rng = np.random.default_rng(3)
    inputs = {"x": rng.standard_normal((2, 3)), "w": rng.standard_normal((2, 3))}
    found = judge(f"import numpy as np\n\n{forward}{backward}", inputs, rng.standard_normal((2, 3)))
    assert [line.verdict for line in found] == ["stands"] * 2
    product = FORWARD + "    dxhat = dout * w * rstd\n"  # of a product with an array, one side is not the other
    assert judge(product, dict.fromkeys("xw", rng.standard_normal((3, 5))), np.ones((3, 5)))[0].verdict == "wrong"


def test_names_that_forward_does_not_have_and_what_is_no_array_are_passed_over():
    assert judged("dnone = 1\ndepth = 2.0\ndother = dout * 2\nC = dout\nd = dout") == []


def test_what_is_written_into_in_place_is_judged_by_what_it_became():
    source = "import numpy as np\n\ndef forward(idx, w):\n    return w[idx], (idx, w)\n\ndef backward(dout, cache):\n"
    source += "    idx, w = cache\n    dw = np.zeros_like(w)\n    np.add.at(dw, idx, dout)\n    return dw\n"
    inputs = {"idx": np.array([0, 2, 0]), "w": np.arange(6.0).reshape(3, 2)}
    assert judge(source, inputs, np.ones((3, 2))) == [Line("dw", 8, "stands")]
    by_index = source.replace("np.add.at(dw, idx, dout)", "for n in range(3):\n        dw[idx[n]] += dout[n]")
    assert judge(by_index, inputs, np.ones((3, 2)))[-1] == Line("dw", 10, "stands")
    lost = source.replace("np.add.at(dw, idx, dout)", "dw[idx] += dout")
    assert judge(lost, inputs, np.ones((3, 2)))[-1].verdict == "wrong"


def test_what_forward_raises_passes():
    with pytest.raises(KeyError):
        judge("def forward(x):\n    raise KeyError\ndef backward(dout, cache): pass", {"x": np.ones(2)}, np.ones(2))


@pytest.mark.parametrize("name", [*CASES, *STEPS])
def test_of_the_definitions_nothing_is_called_wrong(name):
    for trial in list(trials(name))[:2]:
        lines = judge(Exercise(name, 1).solution(), trial.experiment.inputs, trial.experiment.dout[0])
        assert {line.verdict for line in lines} <= {"stands", "part"}

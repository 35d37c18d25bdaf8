"""`try`: a Python prompt with the numbers of a case, here with its input from a pipe."""

import re
import sys

import pytest

from lessons.exercises import EXERCISES
from tests import children
from tests.lessons.conftest import LESSONS

HALF = """\
from tinygpt.layers.layernorm import forward


def backward(dout, cache):
    xhat, rstd, w, has_bias = cache
    dxhat = dout * w
    raise NotImplementedError
"""


@pytest.fixture
def tried(tmp_path):
    """Types lines at the prompt of a case; returns the status, what was printed and what was complained of."""

    def try_it(name, text, *flags, typed=""):
        if text is not None:
            (tmp_path / EXERCISES[name].file).write_text(text, encoding="utf-8")
        command = ["-m", "lessons", "try", name, *flags, "--work", tmp_path]
        environment = {"env": children.os.environ | {"COLUMNS": "200", "PYTHONIOENCODING": "utf-8"}}
        with children.started(*command, cwd=LESSONS.parent, stdin=children.subprocess.PIPE, **environment) as process:
            out, err = process.communicate(typed)
        return process.returncode, out, err

    return try_it


def changed(name, old, new):
    text = EXERCISES[name].solution()
    assert text.count(old) == 1
    return text.replace(old, new)


def test_a_layer_that_is_wrong_in_one_case_opens_on_that(tried):
    wrong = changed("layernorm", "if has_bias else None", "")
    status, out, _ = tried("layernorm", wrong, typed="print(b, db.shape, db_expected, dx.shape == dx_expected.shape)\n")
    assert status == 0 and "Case 2 of 3 of layernorm: no bias. The first that is not right." in out
    assert re.search(r"Names: x, w, b, eps?|Names: x, w, b", out) and ">>> None (" in out and ") None True" in out


def test_the_case_can_be_chosen_and_a_right_one_says_so(tried):
    typed = "print(abs(dx - dx_expected).max() < 1e-12, dout.shape == out.shape, np.pi > 3)\n"
    status, out, _ = tried("layernorm", EXERCISES["layernorm"].solution(), "--case=3", typed=typed)
    assert status == 0 and "Case 3 of 3 of layernorm: two axes, large eps. It is right." in out
    assert ">>> True True True\n" in out
    assert "All cases are right; this is the first." in tried("layernorm", None)[1]


def test_gradients_by_names_with_dots_are_in_a_mapping(tried):
    wrong = changed("block", "return dx + da, {", "return dx, {")
    typed = "print(dparams.keys() == dparams_expected.keys() == params.keys(), dx.shape == x.shape)\n"
    assert ">>> True True\n" in tried("block", wrong, typed=typed)[1]


def test_a_function_has_its_arguments_its_result_and_what_was_expected(tried):
    wrong = changed("merge", "i += 2", "i += 1")
    typed = "print(ids, pair, new_id, result, result_expected, merge([7, 7], (7, 7), 9))\n"
    status, out, _ = tried("merge", wrong, "--case=2", typed=typed)
    assert (
        status == 0 and "Case 2 of 9 of merge: the pair twice." in out and "merge([1, 2, 3, 1, 2], (1, 2), 9)\n" in out
    )
    assert "[1, 2, 3, 1, 2] (1, 2) 9 [9, 2, 3, 9, 2] [9, 3, 9]" in out


def test_what_is_changed_in_place_has_its_values_before_and_after(tried):
    wrong = changed("adamw_update", "w *= 1 - lr * weight_decay", "w *= 1 - weight_decay")
    typed = "print((w != w_after).all(), (w_after != w_after_expected).all(), (m_after == m_after_expected).all())\n"
    assert ">>> True True True\n" in tried("adamw_update", wrong, typed=typed)[1]


@pytest.mark.parametrize("end, says", [("raise NotImplementedError", "backward is not written yet"),
                                       ("dxhat.nothing", "layernorm.py, line 7, raised AttributeError")])  # fmt: skip
def test_where_the_file_raises_the_names_are_there_as_far_as_it_came(end, says, tried):
    text = HALF.replace("raise NotImplementedError", end)
    status, out, _ = tried("layernorm", text, typed="print(dxhat.shape == x.shape, out.shape, dx_expected.shape)\n")
    assert status == 0 and says in out and "The names of backward are there as far as it came." in out
    assert ">>> True (" in out and ("> 7 |     dxhat.nothing\n" in out) is ("nothing" in end)


def test_where_a_function_raises_its_names_are_there_too(tried):
    raising = changed("merge", "    return merged", "    return merged[99]")
    status, out, _ = tried("merge", raising, typed="print(merged, ids)\n")
    assert status == 0 and "raised IndexError: list index out of range" in out and ">>> [3, 9] [3, 2, 1, 2]" not in out
    assert re.search(r">>> \[3, 2, 9\] \[3, 2, 1, 2\]", out), out


@pytest.mark.parametrize(
    "name, text, flags, says",
    [
        ("layernorm", None, [], "layernorm is not begun: there is no"),
        ("layernorm", EXERCISES["layernorm"].blank(), [], "is as it was given, so there is nothing to try"),
        ("layernorm", "def forward(:", [], "line 1, raised SyntaxError"),
        ("layernorm", "import sys\nsys.exit(3)", [], "line 2, raised SystemExit: 3"),
        ("layernorm", "def forward(x):\n    return x", [], "there is no function backward; expected forward and"),
        ("layernorm", HALF, ["--case=9"], "there is no case 9 of layernorm; it has 3: 1 the plain one; 2 no bias"),
        ("merge", changed("merge", "i += 2", "i += 1"), ["--case=0"], "there is no case 0 of merge; it has 9: 1 the"),
    ],
)  # fmt: skip
def test_what_cannot_be_tried_gets_a_sentence(name, text, flags, says, tried):
    status, out, err = tried(name, text, *flags)
    assert status == 1 and err.startswith("error: ") and says in err and err.count("\n") == 1 and ">>>" not in out


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are not on Windows")
def test_on_a_terminal_tab_completes_the_names(tmp_path):
    (tmp_path / "layernorm.py").write_text(HALF)
    command = "-m", "lessons", "try", "layernorm", "--work", tmp_path
    with children.Terminal(*command, cwd=LESSONS.parent, env=children.os.environ | {"TERM": "xterm"}) as screen:
        screen.until(">>> ")
        screen.type("dxhat.sha\t == x.shape\n")
        assert "True" in screen.until("\n>>> ")
        screen.type("exit()\n")
        screen.rest()
        assert screen.status == 0

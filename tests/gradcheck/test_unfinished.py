"""What a file hears that is on its way: gradients that are not there yet, a backward still blank, one exception."""

import pytest

from tests.own_parts import fill, spoil
from tinygpt.gradcheck import diagnose
from tinygpt.own_layers import check


@pytest.fixture
def said(tmp_path):
    """What the check says is wrong with the engine's own file of a part, some of its text changed."""

    def of_changed(name, *changes, seed=1):
        path = fill(tmp_path, name) / f"{name}.py"
        for old, new in changes:
            spoil(tmp_path, name, old, new)
        checked = check(name, path, seed)
        assert not checked.passed and checked.wrong in checked.text
        return checked

    return of_changed


RETURN = "return dx.reshape(x.shape), dw, db"
MERGED = "return dqkv.transpose(1, 3, 0, 2, 4).reshape(B, T, 3 * C)"


@pytest.mark.parametrize(
    ("name", "change", "wrong"),
    [
        ("linear", (RETURN, "return dx.reshape(x.shape), None, None"), "dw and db are None"),
        ("linear", (RETURN, "return dx.reshape(x.shape), dw, ..."), "db is ... (Ellipsis), where an array belongs"),
        ("linear", (RETURN, "return dx.reshape(x.shape), ..., [db]"),
         "the gradient of b is a list of 1; expected an array (in all 3 cases)"),
        ("head", ("return dq, dk, dv", "return None, None, dv"), "dq and dk are None"),
        ("block", ("return dx + da, {", "return dx + da, {} if da is not None else {"),
         "dmlp.c_fc.weight, dmlp.c_fc.bias, dmlp.c_proj.weight, dmlp.c_proj.bias, dln_2.weight and 7 more are missing"),
        ("attention", (MERGED, "return xp.concatenate([dq, dk, dv], axis=-1)"),
         "dqkv has shape (7, 3, 5, 6), where (7, 5, 18) belongs"),
        ("attention", (MERGED, "return (None,)"), "dqkv is None"),
    ],
)  # fmt: skip
def test_all_gradients_that_are_not_there_are_named_with_what_is_there(name, change, wrong, said):
    assert said(name, change).wrong.splitlines()[0] == wrong


def test_where_none_belongs_and_something_else_stands_it_is_said_what(said):
    text = said("linear", (RETURN, "return dx.reshape(x.shape), dw, ...")).text
    assert "b is None here, so db is to be None, but it is ... (Ellipsis)" in text and "an array\n" not in text


def test_a_learner_who_calls_no_check_is_given_no_argument_for_it(said):
    wrong = said("linear", (RETURN, "return dx.reshape(x.shape)")).wrong
    assert wrong.startswith("backward returned 1 gradient, but forward has 3 inputs") and "constant" not in wrong


@pytest.mark.parametrize(
    ("name", "wrong", "blank", "words"),
    [
        (
            "cross_entropy",
            ("xp.where(counted, losses, 0).sum()", "losses.sum()"),
            "xp = array_module(shifted)",
            "forward adds a loss for targets of -1",
        ),
        ("linear", ("out = out + b", "pass"), "x, w, has_bias = cache", "forward"),
        ("layernorm", ("xhat * w", "xhat"), "xhat, rstd, w, has_bias = cache", "forward"),
    ],
)
def test_a_wrong_forward_is_diagnosed_while_backward_is_blank(name, wrong, blank, words, said):
    checked = said(name, wrong, (blank, f"raise NotImplementedError\n    {blank}"))
    first, *_, last = checked.wrong.splitlines()
    assert first.startswith(words) and last == "backward is not written yet" and not checked.written


def test_a_forward_that_raises_in_some_cases_is_not_said_to_be_right_in_all(said):
    blank = "x, w, has_bias = cache"
    changes = ("if b is not None:", "if b is not 1:"), (blank, f"raise NotImplementedError\n    {blank}")
    raised, *_, last = said("linear", *changes).wrong.splitlines()
    assert "raised TypeError" in raised and last == "backward is not written yet"


def test_of_two_cases_it_is_said_that_they_are_both(said):
    half = said("gelu", ("x, phi, approximate = cache", "raise NotImplementedError"))
    assert half.wrong.endswith("gelu.py: forward is right in both cases; backward is not written yet")


def test_what_is_raised_in_two_ways_is_said_of_both(said):
    shapes, raised = said("embedding", ("out = w[idx]", "out = w.T[idx]")).wrong.splitlines()
    assert shapes.startswith("forward's output has shape (") and shapes.endswith("(in embedding.py, tokens)")
    assert "raised IndexError" in raised


def test_an_exception_is_said_once(said):
    one = said("linear", ("db = drows.sum(axis=0) if has_bias else None", "db = drows.sum(axis=0 if has_bias else 7)"))
    assert one.text.count("AxisError") == 1 and "linear.py, line 30, raised" in one.wrong
    call = said("sum_to", ("return dout.sum(", "return dout.nothing("))
    assert call.text.count("AttributeError") == 1


def test_a_forward_is_diagnosed_by_its_output_alone():
    class Half:
        forward = staticmethod(lambda x: (2 * x, None))

        @staticmethod
        def backward(dout, cache):
            raise AssertionError("it is not asked")

    assert "forward" in str(diagnose("softmax", Half, forward_alone=True))


def test_a_case_without_a_title_is_not_named():
    class Wrong:
        forward = staticmethod(lambda x, w, b=None: (x @ w + (0 if b is None else b), None))
        backward = staticmethod(lambda dout, cache: (None, None, None))

    assert str(diagnose("linear", Wrong)).startswith("dx, dw and db are None")

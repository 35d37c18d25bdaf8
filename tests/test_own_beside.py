"""What stands beside a verdict: lines that stand, the call that went wrong, and what numbers do not show."""

import ast
import re

import numpy as np
import pytest

from lessons.exercises import Exercise
from tests.own_parts import fill, spoil
from tinygpt.own_layers import PARTS, check, outcomes
from tinygpt.own_layers.calls import shown, written
from tinygpt.own_layers.functions import Call, Uniform


@pytest.fixture
def checked(tmp_path):
    """Checks the engine's own file of a part with some of its text changed."""

    def check_changed(name, *changes, seed=0):
        path = fill(tmp_path, name) / f"{name}.py"
        for old, new in changes:
            spoil(tmp_path, name, old, new)
        return check(name, path, seed)

    return check_changed


def verdicts(checked):
    """Name and verdict of each line of backward that is spoken of."""
    rows = [line.split(maxsplit=3) for line in checked.beside.splitlines() if line.startswith("    line ")]
    return {name: says for _, _, name, says in rows}


# The lines of backward


@pytest.mark.parametrize("end", ["raise NotImplementedError", "return", "raise ValueError('here')"])
def test_of_half_a_backward_the_lines_that_are_there_stand(end, checked):
    half = checked("layernorm", ("    along = ", f"    {end}\n    along = "))
    assert not half.passed and verdicts(half) == {"db": "stands", "dw": "stands", "dxhat": "stands"}
    assert half.beside.startswith("of backward so far, by your own forward:\n") and half.text.endswith(half.beside)
    assert ("forward is right in all 3 cases; backward is not written yet" in half.wrong) is ("NotImpl" in end)


def test_a_wrong_line_is_said_beside_the_words_and_the_others_stand(checked):
    wrong = checked("layernorm", ("dxhat = dout * w", "dxhat = -dout * w"))
    assert "dxhat" not in wrong.wrong.splitlines()[0] and verdicts(wrong)["dw"] == "stands"
    assert verdicts(wrong)["dxhat"] == "is minus the derivative of the loss by xhat"


def test_the_lines_are_those_of_a_case_that_is_wrong(checked):
    wrong = checked("attention", ("dweights = dweights * keep / (1 - dropout)", "pass"))
    assert wrong.beside.splitlines()[0] == "of backward so far, by your own forward (dropout):"
    assert verdicts(wrong)["dweights"] != "stands" == verdicts(wrong)["dv"]


def test_a_forward_with_arguments_of_other_names_has_its_lines_too(checked):
    names = ("def forward(x: Array, w: Array, b", "def forward(a: Array, w: Array, b"), (
        "    xp = array_module(x)\n", "    x = a\n    xp = array_module(x)\n"
    )  # fmt: skip
    wrong = checked("layernorm", *names, ("dxhat = dout * w", "dxhat = 2 * dout * w"))
    assert verdicts(wrong)["dxhat"] == "is 2 times the derivative of the loss by xhat"


@pytest.mark.parametrize("old, new", [("xhat * w", "xhat * w * 2"), ("dxhat = dout * w", "while True: pass")])
def test_where_forward_is_wrong_or_nothing_comes_back_no_line_is_said_to_stand(old, new, checked, monkeypatch):
    monkeypatch.setattr("tinygpt.own_layers.judge.LAYER_SECONDS", 2)
    wrong = checked("layernorm", (old, new))
    assert not wrong.passed and not wrong.beside and "stands" not in wrong.text


@pytest.mark.parametrize("name", [name for name, part in PARTS.items() if part.is_layer])
def test_of_each_piece_half_of_the_right_backward_is_judged_and_nothing_in_it_called_wrong(name, tmp_path):
    text = Exercise(name, 0).solution()
    (backward,) = (n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef) and n.name == "backward")
    last = backward.body[-1]
    names = [n for n in backward.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]).startswith("d")]
    lines = text.splitlines()
    lines[last.lineno - 1 : last.end_lineno] = ["    raise NotImplementedError"]
    path = tmp_path / f"{name}.py"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    half = check(name, path)
    assert not half.written and half.wrong.endswith("cases; backward is not written yet")
    assert set(re.sub(r"^holds.*", "holds", says) for says in verdicts(half).values()) <= {"stands", "holds"}
    assert bool(verdicts(half)) or not names


# Helpers


def test_a_helper_that_is_blank_is_named_and_not_forward(checked):
    blank = (
        'def _causal_softmax(scores: Array) -> Array:\n    raise NotImplementedError("yours")\n\n\ndef _old(scores):'
    )
    without = checked("attention", ("def _causal_softmax(scores: Array) -> Array:", blank))
    assert not without.written and without.wrong.endswith("attention.py: _causal_softmax is not written yet")


def test_a_helper_that_is_blank_and_not_needed_passes_with_a_remark(checked):
    blank = 'def spare(x):\n    """Words."""\n    raise NotImplementedError("yours")\n\n\ndef merge('
    spare = checked("merge", ("def merge(", blank))
    assert spare.passed and spare.beside == "spare is still blank, and nothing calls it: its work is done elsewhere"


def test_a_helper_that_is_not_written_is_named_where_a_function_calls_it(checked):
    start = "def start():\n    raise NotImplementedError\n\n\n"
    helped = ("    merged = []", "    merged = start()"), ("def merge(", f"{start}def merge(")
    assert checked("merge", *helped).wrong.endswith("merge.py: start is not written yet")


# What numbers do not show


@pytest.mark.parametrize("name", ["attention", "causal_head"])
def test_a_mask_by_a_number_that_is_only_large_is_seen(name, checked):
    wrong = checked(name, ("-xp.inf", "-1e9"), seed=1)
    assert wrong.wrong.endswith("a masked score is -inf, not a number")


def test_a_numerical_gradient_that_moves_a_copy_is_told_so(checked):
    copied = checked(
        "numerical_gradient", ("    gradient = ", "    x = x.copy()\n    gradient = ")
    )  # fmt: skip
    assert not copied.passed and "f is called with another array than x" in copied.wrong


def test_a_cache_that_holds_more_than_it_needs_is_weighed(checked):
    keeping = (
        "return out, (xhat, rstd, w, b is not None)",
        "return out, (xhat, rstd, w, b is not None, x, x[:1], 1 * x)",
    )
    full = checked("layernorm", keeping, ("xhat, rstd, w, has_bias = cache", "xhat, rstd, w, has_bias, *_ = cache"))
    assert (
        full.passed and full.beside == "your cache holds 2,696 bytes, where 1,016 are enough for the engine's backward"
    )


# The call


def test_the_first_wrong_call_is_shown_once(checked):
    wrong = checked("merge", ("i += 2", "i += 1"))
    assert wrong.beside == "merge([3, 2, 1, 2], (1, 2), 9)\n    returned [3, 2, 9, 2]\n    expected [3, 2, 9]"
    assert wrong.text.count("merge([") == 1 and wrong.wrong.startswith("after a merge the second token")


def test_of_what_works_in_place_it_is_shown_what_became_of_its_arguments(checked):
    wrong = checked("adamw_update", ("w *= 1 - lr * weight_decay", "w *= 1 - weight_decay"))
    lines = [line.strip() for line in wrong.beside.splitlines()]
    assert lines[0] == "adamw_update(w, dw, m, v, step, lr, beta1, beta2, eps, weight_decay)" and "step = 1" in lines
    assert lines[-2].startswith("w is then array([[") and lines[-1].startswith("expected  array([[")


def test_of_a_call_only_the_arrays_that_are_wrong_are_shown(checked):
    late = ("    w *= 1 - lr * weight_decay\n", ""), (
        "+ eps)", "+ eps)\n    w *= 1 - lr * weight_decay"), ("dw * dw", "dw**2")  # fmt: skip
    names = [line.split()[0] for line in checked("adamw_update", *late).beside.splitlines() if " is then " in line]
    assert names == ["w"]


def test_what_works_in_place_and_returns_something_is_told_so_in_one_line(checked):
    wrong = checked("adamw_update", ("+ eps)", "+ eps)\n    return w, m, v"))
    assert wrong.wrong == "returned a tuple of 3, where nothing is to be returned: it works in place (the first step)"
    returned = [line for line in wrong.beside.splitlines() if line.startswith("    returned (array([[")]
    assert len(returned) == 1 and returned[0].endswith("]]))")


def test_numbers_that_are_not_the_same_are_written_so_that_it_shows():
    x, step = np.array([1 / 3, -1.5]), np.array([0, 1e-9])
    names, left = ["f", "x"], outcomes.Outcome(1.0, (None, x + step), None)
    lines = shown("g", names, Call("", (None, x)), left, outcomes.Outcome(1.0, (None, x), None))
    assert lines[-2:] == [
        "    x is then array([ 0.3333, -1.5 ]), -1.499999999 at [1]",
        "    expected  array([ 0.3333, -1.5 ]), -1.5 at [1]",
    ]
    close = outcomes.Outcome(np.float32(11.631401), (), None), outcomes.Outcome(np.float32(11.631437), (), None)
    said = shown("g", [], Call("", ()), *close)
    assert said[1].split()[1] != said[2].split()[1]
    assert outcomes.differs(np.float64(11.6314011), np.float64(11.6314012)).startswith(
        "11.6314011; expected 11.6314012"
    )
    assert outcomes.differs(11.6314011, 11.6314012) == "11.6314011; expected 11.6314012"


def test_float32_is_held_to_what_float32_can_do(checked):
    whole = "    squares = list(each(lambda x: (x * x).sum(), arrays))\n    xp = array_module(squares[0])\n"
    other = "    import numpy as np\n    x = np.concatenate([a.reshape(-1) for a in arrays])\n"
    root = ("    return xp.sqrt(xp.stack(squares).sum())", "    return np.sqrt((x * x).sum())")
    assert checked("global_norm", (whole, other), root).passed
    x = np.linspace(1, 2, 9, dtype=np.float32)
    assert not outcomes.differs(x * np.float32(1 + 2e-7), x) and outcomes.differs(x * np.float32(1 + 1e-5), x)
    assert outcomes.differs(x.astype(float) * (1 + 2e-7), x.astype(float))


def test_one_of_two_results_is_named_in_words(checked):
    wrong = checked("windows_at", ("tokens[places + 1].astype(np.int64)", "tokens[places + 1]"))
    assert wrong.wrong.endswith(", in the second of the two")


@pytest.mark.parametrize("seed", range(3))
def test_the_sentence_and_the_call_are_of_one_draw(seed, checked):
    last = ("return dout.sum(axis=tuple(range(missing)) + repeated, keepdims=True).reshape(shape)",
            "return dout.sum(axis=1) if dout.ndim > 2 else dout")  # fmt: skip
    wrong = checked("sum_to", last, seed=seed)
    given, expected = re.findall(r"of shape (\(.*?\))", wrong.wrong)
    call, returned, _ = wrong.beside.splitlines()
    assert call.endswith(f", {expected})") and returned == f"    returned <float64 of shape {given}>"


def test_the_table_of_a_function_has_a_line_for_each_call(checked):
    wrong = checked("sum_to", ("return dout.sum(", "return 2 * dout.sum("))
    table = wrong.text.partition("\n\nwhat is wrong:")[0].splitlines()
    assert len(table) == len(outcomes.calls("sum_to", 0)) and all(len(line) <= 80 for line in table)


def test_an_error_of_another_module_is_known_by_the_nearest_that_is_built_in():
    """As which it comes back from a file's process."""
    of_numpy = type("AxisError", (ValueError, IndexError), {"__module__": "numpy.exceptions"})
    raising = [outcomes.Outcome(None, (), error) for error in (ValueError(), KeyError(), of_numpy())]
    said = [outcomes.difference(Call("", ()), [], given, raising[2]) for given in raising]
    assert said == ["", "raised KeyError; expected AxisError", ""]


@pytest.mark.parametrize("name", outcomes.FUNCTIONS)
def test_every_call_can_be_shown_in_lines_that_are_not_too_long(name):
    for call in outcomes.calls(name, 3):
        right = outcomes.outcome(outcomes.FUNCTIONS[name].DEFINITION, call)
        nothing = outcomes.Outcome(None, call.arguments, None)
        lines = shown(name, ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"], call, nothing, right)
        assert lines[0].startswith(f"{name}(") and max(map(len, lines)) <= 200 and "object at 0x" not in str(lines)


def test_values_are_written_as_python_has_them_and_large_arrays_by_shape():
    ids, rng = np.array([1, 2], np.uint16), Uniform(0.25)
    assert written((ids, [1, 2], None, 0.1, "char")) == "(array([1, 2], uint16), [1, 2], None, 0.1, 'char')"
    assert written(np.zeros((3, 5))) == "<float64 of shape (3, 5)>" and written(rng, "rng") == "rng"
    assert written(list(range(99))).endswith(", ... 99 items]") and written((3,)) == "(3,)"
    right = outcomes.Outcome(np.array([1]), (), None)
    raising = outcomes.Outcome(None, (), ValueError("no"))
    assert shown("draw", ["rng"], Call("", (rng,)), raising, right) == [
        "draw(rng)", "    where rng.random gives 0.25", "    raised ValueError: no", "    expected array([1])"
    ]  # fmt: skip
    refused = outcomes.Outcome(None, (), ValueError("why it was"))
    assert shown("draw", [], Call("", ()), right, refused) == [
        "draw()",
        "    returned array([1])",
        "    expected ValueError",
    ]

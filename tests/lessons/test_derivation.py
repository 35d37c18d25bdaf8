"""A function derived line by line: right lines stand, wrong ones are refused with what is wrong of them."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from lessons.cells import Cell, Lesson, find_lessons
from lessons.derivation import Derivation
from lessons.likeness import same, unlike
from lessons.runner import Runner
from tests.lessons.conftest import DERIVING, LESSONS

RNG = np.random.default_rng(3)
SPACE = {"np": np, "x": RNG.standard_normal((4, 3)), "w": RNG.standard_normal(3), "dout": RNG.standard_normal((4, 3))}
SPACE |= {"dx": "an earlier cell's", "tokens": np.array([0, 2, 2])}

TWICE = """\
def backward(dout, x, w, eps=1e-5):
    (scale, _), n = (w, eps), len(x)
    dx = dout * w
    ddouble = 2 * dout
    dx = dx + ddouble * x
    return dx, ddouble
"""
IN_PLACE = """\
def backward(dout, tokens):
    dtable = np.zeros((4, 3))
    np.add.at(dtable, tokens, dout[:3])
    dtable[0] *= 2
    dtable /= len(tokens)
    return dtable
"""


def derivation(source=TWICE, call="backward(dout, x, w)", **more):
    return Derivation(Cell(source, 1, is_code=True, derive=call), SPACE | more)


def test_what_is_there_and_what_is_wanted():
    one = derivation()
    assert one.given.keys() == {"dout", "x", "w", "eps", "scale", "_", "n"} and one.given["n"] == 4
    assert one.missing == {"dx": 2, "ddouble": 1} and one.total == 3 and not one.done
    reading = derivation("def f(x):\n    _, y = x, len(x) * w\n    return y", "f(x)")
    assert list(reading.found) == ["w"] and reading.judge("y = 4 * w").stands and not one.found
    forward = derivation("def f(x):\n    y = x + 1\n    z = y * y\n    return z", "f(x)")
    assert forward.missing == {"y": 1, "z": 1}


def test_right_lines_stand_in_any_order_and_any_form():
    one = derivation()
    assert one.judge("ddouble = dout + dout").text == "ddouble stands (1 of 3)."
    second = one.judge("dx = ddouble * x")
    assert second.text == "A part of dx stands (2 of 3); another comes back from a second place."
    assert one.judge("dx += w * dout").text == "dx stands (3 of 3)." and one.done
    at_once = derivation()
    assert at_once.judge("dx = dout * w + 2 * dout * x").text == "dx stands (2 of 3)."
    assert at_once.judge("dx = 0 * dx").text == "dx stands already, and this line gives something else."


@pytest.mark.parametrize(
    "line, says",
    [
        ("ddouble = -2 * dout", "The sign of ddouble is the wrong one."),
        ("ddouble = dout", "ddouble is wrong by a constant factor: it is 0.5 times what is expected."),
        ("ddouble = dout.sum(0)", "ddouble has the shape (3,), and (4, 3) is expected."),
        ("ddouble = 2 * dout.T", "ddouble is the transpose of what is expected."),
        ("ddouble = 2 * dout[None]", "The numbers are right, but ddouble has the shape (1, 4, 3)"),
        ("dx = (2 * dout * x)[:1]", "dx has the shape (1, 3), and (4, 3) is expected."),
        ("ddouble = dout * w", "These are the numbers of dx, and not of ddouble."),
        ("ddouble = dout + 1", r"ddouble is wrong in 12 of 12 entries, such as \[0, 0\]: it is [-\d.]+ there, and"),
        ("ddouble = 'no number'", "ddouble is 'no number', and an array (4, 3) is expected."),
        ("dx = ddouble * x", "ddouble is not there yet: this line needs it first."),
        ("dx = dx + 1", "dx is not there yet: this line needs it first."),
        ("dx += 1", "dx is not there yet: this line needs it first."),
        ("ddouble = (dout, 2)", "ddouble is a tuple of 2, and an array (4, 3) is expected. The line is not kept."),
        ("ddouble = range(5)", "ddouble is a range of 5, and an array (4, 3) is expected."),
        ("ddouble = len", "ddouble is a function, and an array (4, 3) is expected."),
        ("ddouble = None", "ddouble is None, and an array (4, 3) is expected."),
        ("ddouble = np.linalg.inv(np.zeros((2, 2)))", r"LinAlgError: Singular matrix\.$"),
        ("dx = duot * w", "There is no duot. Did you mean dout?"),
        ("dx = backward(dout, x, w)[0]", "backward is what is being derived."),
        ("dx = dout @ x", r"ValueError: matmul: .*\. dout \(4, 3\), x \(4, 3\)"),
        ("w = 3", "w is given; what is yours needs another name."),
        ("dx = dout *", r"dx = dout \*\n           \^\nSyntaxError: invalid syntax"),
        ("dx = (dout", r"dx = \(dout\n     \^\nSyntaxError: '\(' was never closed"),
        ("dx = 1; dx = 2", "One line assigns one name"),
        ("import os", "One line assigns one name"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_refused_with_what_is_wrong_and_changes_nothing(line, says):
    one = derivation()
    if "numbers of dx" in says:
        one.values["dx"] = one.values["dx"][:1]
    said = one.judge(line)
    pattern = says if "\\" in says else re.escape(says)
    assert said.stands is False and re.match(pattern, said.text), said.text
    assert one.count == 0 and not one.standing and all(same(one.there[name], SPACE[name]) for name in ("x", "w"))
    assert one.judge("ddouble = 2 * dout").stands


def test_a_part_once_more_and_a_wrong_second_part():
    one = derivation()
    assert one.judge("dx = dout * w").text == (
        "The first part of dx stands (1 of 3); another comes back from a second place."
    )
    assert one.judge("dx = w * dout").text.startswith("This is the part of dx that stands; another comes back")
    one.judge("ddouble = 2 * dout")
    assert one.judge("dx = dx - ddouble * x").stands is False
    assert one.judge("dx = ddouble * x").text == (
        "This is another part of dx, to be added to the one that stands: dx = dx + ..."
    )
    assert one.judge("dx = ddouble * x").stands is False  # the first part is lost
    assert one.judge("dx = dx + ddouble * x").stands and one.done


def test_a_wrong_line_is_compared_with_the_part_that_is_due_and_a_later_part_may_come_first():
    twice = "def f(a, b):\n    du = a\n    du = du + b * 3\n    return du"
    one = derivation(twice, "f(28, 9)")
    assert one.judge("du = 8").text == "du is 8, and 28 is expected. The line is not kept."
    assert one.judge("du = b * 3").text.startswith("A part of du stands (1 of 2)")


def test_a_wrong_line_made_of_what_lacks_a_part_says_so():
    one = derivation("def f(a, b):\n    du = a\n    du = du + b * 3\n    dx = du * 2\n    return dx", "f(28, 9)")
    assert one.judge("du = b * 3").stands
    assert one.judge("dx = 2 * du").text.endswith("is expected. The line is not kept. Of du a part is still wanted.")
    assert one.judge("du = du + a").stands and "still wanted" not in one.judge("dx = 3 * du").text


def test_what_a_refused_line_would_have_given_is_said_not_to_be_there():
    one = derivation()
    assert one.judge("ddouble = dout + 1").text.endswith("is expected. The line is not kept.")
    assert one.judge("dx = ddouble * x").text == (
        "ddouble is not there: the line that gave it was not kept, and this line needs it first."
    )
    one.judge("dx = dout * w")
    assert "not kept" not in one.judge("dx = dx + 1").text  # the dx that stands is there


def test_what_is_only_looked_at_is_shown_and_what_is_changed_on_the_way_is_not():
    one = derivation()
    assert one.judge("dout.shape").text == "(4, 3)" and one.judge("x.fill(0)").stands is False
    assert np.abs(SPACE["x"]).sum() > 0 and same(one.there["x"], SPACE["x"])
    assert one.judge("print('words')").text == "words" and one.judge("dout.shape").stands is None


def test_names_of_ones_own_are_kept_and_said_if_they_are_a_wanted_one():
    one = derivation()
    assert one.judge("twice = 2 * dout").text == (
        "twice is kept; it is none of the wanted. It has the numbers of ddouble, by which name it is wanted."
    )
    assert one.judge("half = dout / 2").text == "half is kept; it is none of the wanted."
    assert one.judge("ddouble = 4 * half").stands and one.count == 1


def test_what_is_changed_in_place_is_wanted_as_what_is_assigned():
    one = derivation(IN_PLACE, "backward(dout, tokens)")
    assert one.missing == {"dtable": 4} and [line for line, _ in one.own][1] == "np.add.at(dtable, tokens, dout[:3])"
    for line, _ in one.own:
        assert one.judge(line).stands, line
    assert one.done


def test_the_lessons_lines_come_one_by_one():
    one = derivation()
    one.judge("ddouble = 2 * dout")
    assert one.reveal() == "dx = dout * w" and one.count == 2
    assert one.reveal() == "dx = dx + ddouble * x" and one.done
    with pytest.raises(ValueError, match="all lines stand"):
        one.reveal()


def test_a_call_that_cannot_be_made_raises():
    with pytest.raises(NameError, match="elsewhere"):
        derivation(call="backward(elsewhere, x, w)")
    with pytest.raises(ValueError, match="no function forward"):
        derivation(call="forward(x)", forward=lambda x: x)


@pytest.mark.parametrize(
    "value, expected, is_same",
    [
        (1.0, np.float64(1 + 1e-9), True), (1.0, 1 + 1e-5, False), (1e-14, 0.0, True), (True, 1, True),
        (np.float32([1, 2]), np.array([1, 2 + 1e-5]), True), (np.array([1, 2]), np.array([1, 2 + 1e-5]), False),
        (np.ones(3), np.ones((3, 1)), False), (np.array([np.nan]), np.array([np.nan]), True),
        ((1, np.ones(2)), [1, np.ones(2)], True), ((1,), (1, 2), False), ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"b": 1}, False), (None, None, True), (None, 1, False), ("a", "a", True), ("1", 1, False),
        (np.array([1e9, 1]), np.array([1e9, 1]), True), (np.array([np.inf]), np.array([1.0]), False),
    ],
)  # fmt: skip
def test_values_are_the_same_up_to_rounding(value, expected, is_same):
    assert same(value, expected) is is_same


def test_a_number_is_named_and_not_a_place():
    assert unlike("dx", 3.0, 2.0).text == "dx is 3, and 2 is expected."
    assert unlike("dx", -2.0, 2.0).text == "The sign of dx is the wrong one."
    assert unlike("dx", -8.0, -0.0).text == "dx is -8, and 0 is expected."
    assert unlike("dx", -0.0, 8).text == "dx is 0, and 8 is expected."
    assert "it is 1.000001 times" in unlike("dx", np.arange(3) * 1.000001, np.arange(3.0)).text
    assert unlike("w", np.array([1.81501, 1]), np.array([1.81502, 1])).text == (
        "w is wrong in 1 of 2 entries, such as [0]: it is 1.81501 there, and 1.81502 is expected."
    )


def test_truth_values_have_their_names_and_what_is_no_number_is_said_to_be_what_it_is():
    truths = np.array([False, True]), np.array([True, True])
    assert "it is False there, and True is expected." in unlike("past", *truths).text
    assert unlike("past", True, False).text == "past is True, and False is expected."
    assert unlike("n", (1, 2), 3).text == "n is a tuple of 2, and the number 3 is expected."
    assert unlike("t", (1, np.ones(2)), (1, np.zeros(2))).text.startswith("t[1] is wrong in 2 of 2 entries")
    assert unlike("d", {"a": 1}, {"a": 2}).text == "d['a'] is 1, and 2 is expected."
    assert unlike("d", {"a": 1}, {"b": 2}).text == "d is a dict of 1, and another is expected."
    assert unlike("s", "a", "b").text == "s is 'a', and 'b' is expected."
    assert unlike("e", ..., 2).text == "e is Ellipsis, and the number 2 is expected."


def test_a_transpose_is_named():
    a, b = RNG.standard_normal((3, 3)), RNG.standard_normal((2, 3, 4))
    assert unlike("dw", a.T, a).text == "dw is the transpose of what is expected."
    assert unlike("dw", b.transpose(0, 2, 1), b).text == (
        "The axes of dw are in another order: dw.transpose(0, 2, 1) is expected."
    )
    assert "transpose" not in unlike("dw", a + 1, a).text + unlike("dw", 2 * a, a).text


def test_numbers_that_are_still_to_be_spread_are_said_to_be_right():
    spread = "def f(dout):\n    dtotal = dout.sum(axis=1, keepdims=True)\n    de = dtotal + 0 * dout\n    return de"
    one = derivation(spread, "f(dout)")
    assert one.judge("dtotal = dout.sum(axis=1, keepdims=True)").stands
    assert one.judge("de = dtotal").text == (
        "The numbers are right, but are still to be spread: de has the shape (4, 1), and (4, 3) is expected."
        " The line is not kept."
    )
    assert one.judge("de = dout").stands is False


# Every derivation of the course


def derivations():
    made = {f"{number}_{lesson.name}": lesson for number, lesson in find_lessons(LESSONS).items()}
    return [
        pytest.param(lesson, index, id=f"{name}-{lesson.cells[index].line}")
        for name, lesson in made.items()
        for index, cell in enumerate(lesson.cells)
        if cell.derive
    ]


@pytest.fixture(scope="module")
def walked():
    """The variables that a lesson's cells leave before a derivation; each lesson is run once, as far as needed."""
    runners: dict[Path, Runner] = {}

    def variables(lesson: Lesson, index: int):
        runner = runners.setdefault(lesson.path, Runner(lesson))
        with runner:
            for before, cell in enumerate(lesson.cells[:index]):
                if cell.is_code and before not in runner.outputs:
                    runner.run(before)
                    assert before not in runner.troubles, runner.troubles[before]
        return runner.variables

    return variables


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "04_deriving.py"
    path.write_text(DERIVING)
    return Lesson(4, "deriving", path)


def stands_and_wrong_lines_do_not(cell, variables):
    one = Derivation(cell, variables)
    definition = next(node for node in ast.parse(cell.text).body if isinstance(node, ast.FunctionDef))
    assert not [node for node in definition.body if isinstance(node, ast.For | ast.While | ast.If | ast.With | ast.Try)]
    assert one.own, "nothing is wanted"
    for line, _ in one.own:
        for wrong in wrong_lines(line):
            before = one.count
            said = one.judge(wrong)
            assert said.stands is False and one.count == before, f"{wrong} is not refused: {said.text}"
        said = one.judge(line)
        assert said.stands, f"{line}: {said.text}"
    assert one.done


def wrong_lines(line):
    """A line with what it assigns negated, and doubled, and with its sums over the other axis."""
    for axis, other in (("axis=0", "axis=-1"), ("axis=1", "axis=0"), ("axis=-1", "axis=0")):
        if axis in line:
            yield line.replace(axis, other)
    for factor in ("-", "2 * "):
        statement = ast.parse(line).body[0]
        if isinstance(statement, ast.Assign | ast.AugAssign) and not isinstance(statement.value, ast.Tuple):
            if "np.zeros" not in line:
                statement.value = ast.parse(f"{factor}({ast.unparse(statement.value)})", mode="eval").body
                yield ast.unparse(statement)


def test_a_made_up_derivation_stands_and_its_wrong_lines_do_not(small, walked):
    index = next(index for index, cell in enumerate(small.cells) if cell.derive)
    with pytest.raises(AssertionError, match="is not refused"):  # dx is dout twice: what is doubled is right
        stands_and_wrong_lines_do_not(
            Cell("def f(dout):\n    dx = dout\n    dx = dx + dout", 1, True, "f(dout)"), walked(small, index)
        )
    stands_and_wrong_lines_do_not(small.cells[index], walked(small, index))


@pytest.mark.parametrize("lesson, index", derivations())
def test_a_lessons_own_lines_make_all_stand_and_its_wrong_lines_do_not(lesson, index, walked):
    stands_and_wrong_lines_do_not(lesson.cells[index], walked(lesson, index))

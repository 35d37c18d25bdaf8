"""What is printed: short first, within 80 columns, with the numbers that tell two sides apart."""

import io

import numpy as np
import pytest

from tinygpt.gradcheck import check_layer, gradient_check
from tinygpt.gradcheck.progress import Progress
from tinygpt.gradcheck.report import apart
from tinygpt.layers import softmax

X = np.array([[0.5, -1.5, 2.0], [1.0, 3.0, -0.25]])


def square(x):
    return x * x, x


def test_the_report_is_a_verdict_in_a_line_and_a_table():
    wrong = lambda dout, x: 2 * x * dout * [[1, 1, 1], [1, 2, 1]]  # noqa: E731
    report = gradient_check(square, wrong, {"x": X}, title="mine")
    verdict, empty, head, row, inputs, *numbers, note = str(report).splitlines()
    assert verdict.startswith("mine: WRONG, dx by ") and verdict.endswith(" (tolerance 1e-09)")
    assert head.split() == ["shape", "error", "worst", "entry", "yours", "expected"]
    assert row.startswith("dx  (2, 3)") and "[1, 1]" in row and row.endswith("WRONG") and not empty
    assert inputs == "inputs: x (2, 3); seed 0"
    assert note == "forward was taken as it is: there is no definition to compare it with"
    values = eval("{" + "".join(numbers).replace("x = ", "'x': ").replace("dout = ", ", 'dout': ") + "}")
    np.testing.assert_array_equal(values["x"], X)  # with all digits: what was found can be found again
    yours = 2 * X * values["dout"] * [[1, 1, 1], [1, 2, 1]]
    assert report.rows[0].analytic == yours[1, 1]


def test_a_report_has_80_columns_and_no_infinities():
    name = "a_parameter_with_a_long_name"
    forward = lambda **inputs: (inputs[name] * 2, None)  # noqa: E731
    for backward in (lambda dout, _: dout, lambda dout, _: dout[:1], lambda dout, _: dout * np.inf):
        text = str(gradient_check(forward, backward, {name: np.ones((20, 30, 40, 5))}, max_entries=3))
        assert max(map(len, text.splitlines())) <= 80 and "inf " not in text, text


@pytest.mark.parametrize(
    ("backward", "says"),
    [
        (lambda dout, x: 0 * x, "dx is zero"),
        (lambda dout, x: -2 * x * dout, "dx has the wrong sign"),
        (lambda dout, x: 5 * x * dout, "dx is 2.5 times what is expected"),
        (lambda dout, x: dout[:1], "dx has shape (1, 3); expected (2, 3)"),
        (lambda dout, x: dout * np.nan, "dx is not finite"),
        (lambda dout, x: dout + 0j, "dx has dtype complex128"),
        (lambda dout, x: (None,), "dx is None, where a gradient was expected; constant=['x'] if it has none"),
    ],
)
def test_what_is_wrong_with_a_gradient_is_said_above_the_table(backward, says):
    assert f"\n  {says}\n" in str(gradient_check(square, backward, [X]))


def test_two_numbers_have_the_digits_that_tell_them_apart():
    assert apart(1.0, 2.0, wrong=True) == ["1", "2"]
    assert apart(1 / 3, 1 / 3 + 1e-9, wrong=True) == ["0.333333333", "0.333333334"]
    assert apart(1 / 3, 1 / 3 + 1e-9, wrong=False) == ["0.333333", "0.333333"]


def test_reports_of_a_layer_print_a_line_for_each_case_and_the_first_wrong_one_whole():
    class Wrong:
        forward = staticmethod(softmax.forward)
        backward = staticmethod(lambda dout, cache: 2 * softmax.backward(dout, cache))

    text = str(check_layer("softmax", Wrong))
    assert text.startswith("softmax                    WRONG  dx\nsoftmax, masked            WRONG  dx\n")
    assert text.count("yours") == 1 and "  dx is 2 times what is expected\n" in text
    assert not check_layer("softmax", Wrong).passed and check_layer("softmax").passed


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_what_takes_long_says_how_far_it_is_and_takes_the_line_away():
    now, terminal = [0.0], Terminal()
    progress = Progress(100, terminal, lambda: now[0])
    for _ in range(50):
        now[0] += 0.1
        progress.step("dx")
    lines = terminal.getvalue().split("\r")[1:]
    assert lines[0] == "dx: 20 of 100 entries, about 8 s left"  # and nothing in the first two seconds
    assert lines[-1].startswith("dx: ") and len(lines) < 20
    progress.close()
    assert terminal.getvalue().endswith("\r" + " " * len(lines[-1]) + "\r")


def test_from_one_entry_no_time_is_told():
    now, terminal = [0.0], Terminal()
    progress = Progress(500, terminal, lambda: now[0])
    for seconds in (30, 1, 1, 1, 1):  # the first one waited for something else
        now[0] += seconds
        progress.step("dx")
    *early, last = terminal.getvalue().split("\r")[1:]
    assert early[0] == "dx: 1 of 500 entries" and not any("left" in line for line in early)
    assert last.rstrip() == "dx: 5 of 500 entries, about 495 s left"


def test_what_is_no_terminal_is_told_nothing():
    now, stream = [0.0], io.StringIO()
    progress = Progress(3, stream, lambda: now[0])
    for _ in range(3):
        now[0] += 10
        progress.step("dx")
    progress.close()
    assert not stream.getvalue()

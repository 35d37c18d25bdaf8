"""What is found in a file, and what a file may say."""

import sys
from types import ModuleType

import numpy as np
import pytest

from tests.gradcheck.adapted import Linear, x
from tinygpt.errors import UserError
from tinygpt.gradcheck import check_gradients
from tinygpt.gradcheck.adapters import files


def module(text: str) -> ModuleType:
    made = ModuleType("mine")
    made.__dict__["np"] = np
    exec(text, made.__dict__)
    return made


PAIRS = "def a_forward(x): return x, None\ndef a_backward(d, cache): return d\n"
CLASS = "class A:\n  def forward(self, x): return x\n  def backward(self, d): return d\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (PAIRS.replace("a_", ""), [""]),
        (PAIRS, ["a"]),
        (CLASS, ["A"]),
        ("def conv_forward_fast(x): pass\ndef conv_backward_fast(d, cache): pass", ["conv_fast"]),
        ("def forward_a(x): pass\ndef backward_a(d, cache): pass", ["a"]),
        ("def soft(x): pass\ndef soft_backward(d, cache): pass", ["soft"]),
        ("def soft_fwd(x): pass\ndef soft_bwd(d, cache): pass", ["soft"]),
        (CLASS + PAIRS + "inputs = {'a': {'x': 1.0}, 'A': [1.0]}", ["a", "A"]),
        (CLASS + PAIRS.replace("(x)", "(y)") + "inputs = {'y': 1.0}", ["a"]),
        (CLASS + "make = A", ["make"]),
    ],
)
def test_what_is_in_a_file_is_found(text, found):
    assert files.chosen(module(text), "", "") == found


def test_the_file_says_which_and_how():
    made = module(PAIRS + CLASS + "inputs = {'x': np.ones(3)}\ntolerance = 1e-6\nmax_entries = 5\nconstant = 'x'")
    with pytest.raises(UserError, match="there are a, A; say which with --class or --function, or give the"):
        files.chosen(made, "", "")
    assert files.chosen(made, "class", "A") == ["A"] and files.chosen(made, "function", "a_forward") == ["a_forward"]
    assert files.options(made) == {"tolerance": 1e-6, "max_entries": 5}
    assert files.adapted(made, "a", 0).constant == ("x",)


@pytest.mark.parametrize(
    ("kind", "name", "sentence"),
    [
        ("class", "B", "there is no class B in the file; did you mean A|it has A"),
        ("class", "a_forward", "there is no class a_forward in the file; it has A"),
        ("function", "a_forwrad", "there is no function a_forwrad in the file; did you mean a_forward?"),
        ("function", "nothing", "there is no function nothing in the file; it has a, A"),
    ],
)
def test_a_name_that_is_not_there_is_one_sentence(kind, name, sentence):
    with pytest.raises(UserError, match=sentence):
        files.chosen(module(PAIRS + CLASS), kind, name)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("tolerance = 'small'", "tolerance is 'small'; expected a number between 0 and 1"),
        ("tolerance = True", "tolerance is True"),
        ("tolerance = 0", "tolerance is 0"),
        ("max_entries = 2.5", "max_entries is 2.5; expected a whole number above 0, or None for all"),
        ("constant = 3", r"constant is 3; expected names of inputs, such as \['x'\]"),
    ],
)
def test_what_a_file_says_is_looked_at(line, sentence):
    with pytest.raises(UserError, match=sentence):
        files.options(module(PAIRS + line))


def test_no_library_is_imported_for_code_that_does_not_use_it():
    before = set(sys.modules)
    check_gradients(Linear(3, 2), [x])
    assert not {"torch", "jax"} & (set(sys.modules) - before)

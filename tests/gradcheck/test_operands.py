"""What is said of two shapes that do not fit: of which arrays they are, and where they meet."""

import numpy as np
import pytest

from tinygpt.gradcheck.operands import about_shapes, of_a_product
from tinygpt.layers import linear


def message(function, *shapes):
    with pytest.raises(ValueError) as error:
        function(*map(np.ones, shapes))
    return " ".join(str(error.value).split())


@pytest.mark.parametrize(
    ("function", "shapes", "says"),
    [
        (np.matmul, [(7, 6, 3), (3, 6, 7)],
         "; the last axis of the left array is 3, and the one of the right that it meets is 6"),
        (np.matmul, [(2, 3), (5,)],
         "; the last axis of the left array is 3, and the one of the right that it meets is 5"),
        (np.matmul, [(7, 5, 3, 2), (7, 3, 2, 5)],
         "; these are arrays of (7,5,3,2) and (7,3,2,5), whose axes but the last two have to be the same"),
        (np.add, [(7, 5), (7,)], "; (7,) is (7,5) without its last axis, which keepdims=True would keep"),
        (np.add, [(6, 4), (5,)], "; shapes are aligned at the right, where 4 meets 5"),
        (np.add, [(2, 6, 4), (3, 1, 5)], "; shapes are aligned at the right, where 4 meets 5 and 2 meets 3"),
        (np.dot, [(2, 3), (2, 3)], ""),
    ],
)  # fmt: skip
def test_a_word_of_help_stands_behind_numpys(function, shapes, says):
    assert about_shapes(message(function, *shapes)) == says


SOURCE = """
def f(q, k, rows):
    {}
"""


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("return q @ k.T", "; q has shape (7, 6, 3) and k.T has shape (3, 6, 7): .T turns all axes round, "
                           "k.swapaxes(-1, -2) the last two"),
        ("return (q @ rows) @ (q @ k)", "; q has shape (7, 6, 3) and k has shape (7, 6, 3)"),
        ("return rows[:, :1].T @ rows.T[:, 0]", "; rows[:, :1].T has shape (1, 3) and rows.T[:, 0] has shape (4,)"),
        ("return rows.dot(rows) + q", ""),
        ("return q.sum(axis=0) @ (1 * rows).T", ""),  # which would have to be computed once more
        ("raise ValueError('matmul: Input operand 1')", ""),
    ],
)  # fmt: skip
def test_the_arrays_of_a_product_are_named_with_their_shapes(line, says):
    source, names = SOURCE.format(line), {}
    exec(compile(source, "mine.py", "exec"), names)
    with pytest.raises(ValueError) as error:
        names["f"](np.ones((7, 6, 3)), np.ones((7, 6, 3)), np.ones((3, 4)))
    assert of_a_product(error.value, "mine.py", source) == says


def test_a_function_that_could_not_multiply_is_named_with_the_arrays_it_was_given():
    source, names = "def f(w, d, product):\n    return product(w, d, True) + 1\n", {}
    exec(compile(source, "mine.py", "exec"), names)
    with pytest.raises(ValueError) as error:
        names["f"](np.ones((6, 3, 7)), np.ones((6, 3, 5)), lambda a, b, _: a @ b)
    says = "; product was given w of shape (6, 3, 7) and d of shape (6, 3, 5)"
    assert of_a_product(error.value, "mine.py", source) == says
    assert of_a_product(error.value, "other.py", source) == ""


def test_where_no_array_is_seen_in_the_line_those_of_the_function_that_it_calls_are():
    names = {"linear": linear}
    source = "def f(dout, cache):\n    return linear.backward(dout, cache)\n"
    exec(compile(source, "mine.py", "exec"), names)
    with pytest.raises(ValueError) as error:
        names["f"](np.ones((2, 3)), (np.ones((4, 5)), np.ones((5, 3)), False))
    says = of_a_product(error.value, "mine.py", source)
    assert says.startswith("; in linear.py, line ") and says.endswith(
        ", rows.T has shape (5, 4) and drows has shape (2, 3)"
    )

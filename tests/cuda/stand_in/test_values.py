"""The stand-in gives what CuPy gives, and leaves to chance what a card does."""

import numpy as np
import pytest

from tests.cuda.expressions import EXPRESSIONS, SAME, differences, evaluate


def test_it_gives_what_cupy_gives(cupy):
    assert differences(cupy) == []


@pytest.mark.parametrize(("name", "expression"), [(n, e) for n, e, expected in EXPRESSIONS if expected is SAME])
def test_what_is_the_same_is_something_on_numpy(name, expression):
    outcome = evaluate(expression, np)
    assert outcome.error not in ("NameError", "AttributeError", "SyntaxError")


def test_no_expression_is_named_twice():
    assert len({name for name, _, _ in EXPRESSIONS}) == len(EXPRESSIONS)


def test_a_name_nobody_checked_does_not_exist(cupy, a):
    for owner, name in ((cupy, "einsum"), (cupy.cuda.runtime, "memcpy"), (cupy.random.default_rng(0), "shuffle")):
        with pytest.raises(AttributeError, match=f"the stand-in does not know .*{name}"):
            getattr(owner, name)
    with pytest.raises(AttributeError, match="cupy.ndarray.itemset"):
        a.itemset(1)


def test_new_memory_holds_junk(cupy):
    assert np.isnan(cupy.empty(3, np.float16).get()).all()
    assert abs(cupy.empty(3, np.int64).get()).min() > 10**15
    assert np.isnan(cupy.empty_like(cupy.zeros((2, 2))).get()).all()


def test_a_float_that_fits_no_integer_becomes_junk(cupy):
    assert cupy.asarray([1.7, -1.0, np.nan, 1e10]).astype(np.uint32).get().tolist() == [1] + [0xA5A5A5A5] * 3


def test_atomic_additions_come_in_any_order(cupy):
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    sums = set()
    for _ in range(5):
        x = cupy.zeros(1, np.float32)
        cupy.add.at(x, cupy.zeros(1000, np.int64), cupy.asarray(values))
        sums.add(float(x[0]))
    assert len(sums) > 1 and all(np.isclose(total, values.sum(), atol=1e-4) for total in sums)


def test_of_assignments_to_one_place_any_may_be_the_last(cupy):
    last = set()
    for _ in range(20):
        x = cupy.zeros(1)
        x[cupy.zeros(5, np.int64)] = cupy.arange(5.0)
        last.add(float(x[0]))
    assert len(last) > 1 and last <= {0.0, 1.0, 2.0, 3.0, 4.0}


def test_bfloat16_multiplies_as_matrices_but_neither_in_batches_nor_in_add_at(cupy):
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    x = cupy.ones((2, 2, 2), bfloat16)
    assert (x[0] @ x[0]).dtype == bfloat16 and float((x[0] @ x[0])[0, 0]) == 2
    with pytest.raises(TypeError, match="'E' not understood"):
        x @ x
    with pytest.raises(TypeError, match="only supports"):
        cupy.add.at(x, cupy.asarray([0]), x[:1])


def test_no_floating_point_warning_is_raised(cupy):
    cupy.log(cupy.zeros(3)), cupy.ones(3) / 0, cupy.full(3, np.inf) - np.inf, cupy.exp(cupy.full(3, 1e4))

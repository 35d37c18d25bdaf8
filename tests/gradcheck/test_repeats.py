"""What is not the same when it is repeated has a sentence of its own."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from tinygpt import UserError
from tinygpt.gradcheck import check_layer, gradient_check

X = np.array([[0.5, -1.5, 2.0], [1.0, 3.0, -0.25]])


def square(x):
    return x * x, x


def square_backward(dout, x):
    return 2 * x * dout


@pytest.mark.parametrize("period", [2, 3, 4, 7])
def test_a_forward_that_differs_in_every_nth_call_is_refused(period):
    calls = itertools.count(1)

    def forward(x):
        return x * x + 1e-3 * (next(calls) % period == 0), x

    with pytest.raises(UserError, match="another output in call . with the same inputs, .* keeps something between"):
        gradient_check(forward, square_backward, [X])


def test_state_that_is_kept_between_calls_is_refused():
    state = {"mean": 0.0}

    def forward(x):
        state["mean"] = 0.9 * state["mean"] + 0.1 * x.mean()
        return x - state["mean"], None

    with pytest.raises(UserError, match="another output each time.* keep nothing between calls"):
        gradient_check(forward, lambda dout, _: dout, [X])


def test_a_backward_that_accumulates_is_said_to():
    kept = {"w": np.zeros((3, 2)), "x": None}

    def forward(x, w):
        kept["x"] = x
        return x @ w, w

    def backward(dout, w):
        kept["w"] += kept["x"].T @ dout
        return dout @ w.T, kept["w"]

    report = gradient_check(forward, backward, [X, np.ones((3, 2))])
    assert report.problems == ["backward adds to what it gave before: dw must begin at zero in every call"]
    assert not any(row.problem for row in report.rows)  # what it adds is right


def test_a_backward_that_is_called_again_after_one_forward():
    def adds(dout, total):
        total += 3 * dout
        return total.copy()

    def overwrites(dout, cache):
        cache *= 2
        return dout * cache

    report = gradient_check(lambda x: (3 * x, 0 * x), adds, [X])
    assert (
        report.problems == ["backward adds to what it gave before when it is called again after one forward: dx"]
        and not report.rows[0].problem
    )
    report = gradient_check(lambda x: (x * x, x.copy()), overwrites, [X])
    assert report.passed and report.warnings[0].startswith("backward changes its cache: called again after one forward")
    report = gradient_check(lambda x: (x * x, [x]), lambda dout, cache: 2 * dout * cache.pop(), [X])
    assert report.passed and not report.warnings


@pytest.mark.parametrize("own", [True, False])
def test_a_layer_that_adds_to_what_its_cache_holds_is_found(own):
    def forward(idx, w):
        return w[idx], (idx, np.zeros_like(w))

    def backward(dout, cache):
        idx, dw = cache
        dw = dw if own else dw.copy()
        np.add.at(dw, idx.reshape(-1), dout.reshape(-1, dw.shape[1]))
        return dw

    says = ["backward adds to what it gave before when it is called again after one forward: dw"]
    reports = check_layer("embedding", SimpleNamespace(forward=forward, backward=backward))
    assert [report.problems for report in reports] == [says if own else []] * len(reports)


@pytest.mark.parametrize("size", [1e-13, 1e-6, 1.0])
def test_a_backward_that_is_random_is_said_to_be(size):
    rng = np.random.default_rng(0)
    report = gradient_check(square, lambda dout, x: 2 * x * dout + size * rng.standard_normal(x.shape), [X])
    assert not report.passed and "draws random numbers, or keeps something between calls" in report.problems[0]


def test_a_mask_drawn_again_in_backward_is_said_to_be_random():
    def forward(x):
        return x * (np.random.rand(*x.shape) > 0.5), None  # noqa: NPY002  as readers write it

    report = gradient_check(forward, lambda dout, _: dout * (np.random.rand(*dout.shape) > 0.5), [np.ones((8, 9))])  # noqa: NPY002
    assert "backward gives other gradients when forward and backward are called again" in report.problems[0]


def test_a_candidate_whose_forward_differs_is_told_from_one_that_is_wrong():
    calls = itertools.count()
    forward = lambda x: (x * x + (next(calls) == 1), x)  # noqa: E731
    report = gradient_check(forward, square_backward, [X], definition=square)
    assert report.problems[0].startswith("forward gives another output when it is called again with the same inputs")

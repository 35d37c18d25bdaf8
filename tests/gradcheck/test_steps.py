"""Steps that suit the function, tolerances that suit its dtype, and entries at kinks."""

import numpy as np
import pytest

from tinygpt.gradcheck import gradient_check
from tinygpt.gradcheck.experiment import Experiment
from tinygpt.gradcheck.library import cases, definition
from tinygpt.gradcheck.precision import FLOAT16, FLOAT32, FLOAT64, of_numbers
from tinygpt.gradcheck.trees import mapped
from tinygpt.layers import layernorm

X = np.random.default_rng(0).standard_normal((3, 4))


@pytest.mark.parametrize("width", [2, 3, 8])
def test_a_forward_that_bends_sharply_raises_no_alarm(rng, width):
    x = 1 + 1e-3 * rng.standard_normal((4, width))  # LayerNorm of almost equal numbers
    report = gradient_check(layernorm.forward, layernorm.backward, [x, np.ones(width)])
    assert report.passed, report


@pytest.mark.parametrize(
    ("forward", "derivative", "x"),
    [
        (np.log, lambda x: 1 / x, np.array([5e-4, 0.3, 7.0])),  # where the first step leaves the domain
        (np.sqrt, lambda x: 0.5 / np.sqrt(x), np.array([4e-4, 1.0])),
        (np.sin, np.cos, np.array([1e4, -1e4, 0.5])),  # where it is a radian
        (lambda x: np.sin(x * 1e5), lambda x: 1e5 * np.cos(x * 1e5), np.array([1e-5, -3e-5, 2e-5])),
        (lambda x: np.sin(x * 1e4), lambda x: 1e4 * np.cos(x * 1e4), X),
        (lambda x: np.sin(x * 1e6), lambda x: 1e6 * np.cos(x * 1e6), X),
        (lambda x: np.exp(-((x * 1e8) ** 2)), lambda x: -2e16 * x * np.exp(-((x * 1e8) ** 2)), X * 1e-8),
        (lambda x: np.logaddexp(0, x * 1e7), lambda x: 1e7 / (1 + np.exp(-x * 1e7)), np.array([0.0, 1e-8, -2e-8])),
        (lambda x: np.exp(20 * x), lambda x: 20 * np.exp(20 * x), np.array([1.0, -1.0, 0.1])),
        (lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0, np.array([1e-5, -1e-5, 2.0])),
    ],
    ids=["log", "sqrt", "sin far away", "sin of small", "sin 1e4 x", "sin 1e6 x", "bump", "softplus", "exp", "relu"],
)
def test_a_step_that_does_not_suit_forward_raises_no_alarm(forward, derivative, x):
    report = gradient_check(lambda x: (forward(x), x), lambda dout, x: derivative(x) * dout, {"x": x})
    assert report.passed and report.error < 1e-9, report
    assert not gradient_check(lambda x: (forward(x), x), lambda dout, x: 1.0001 * derivative(x) * dout, {"x": x}).passed


@pytest.mark.parametrize("size", [1e-3, 1e-8, 1e-12])
def test_l2_normalisation_of_small_numbers_without_an_eps(size):
    def forward(x):
        norm = np.sqrt((x * x).sum(axis=-1, keepdims=True))
        return x / norm, (x / norm, norm)

    def backward(dout, cache):
        out, norm = cache
        return (dout - out * (dout * out).sum(axis=-1, keepdims=True)) / norm

    assert gradient_check(forward, backward, [X * size]).error < 1e-9
    assert not gradient_check(forward, lambda dout, cache: backward(dout, cache) * (1 + 1e-7), [X * size]).passed
    assert not gradient_check(forward, lambda dout, cache: dout / cache[1], [X * size]).passed


def relu(x):
    return np.maximum(x, 0), x


def test_an_entry_at_a_kink_is_taken_out_and_said_to_be():
    x = np.array([0.0, 1.0, -1.0, 0.5, 0.0])
    for choice in (0.0, 0.3, 1.0):  # at 0 every one of these is as good
        report = gradient_check(relu, lambda dout, x, c=choice: dout * np.where(x == 0, c, x > 0), [x])
        assert report.passed and report.rows[0].entries == 3
        assert (
            len(report.warnings) == 1 and "x[0] is 0, at a kink of forward (slope 0 on the left" in report.warnings[0]
        )
        assert report.warnings[0].endswith("and 1 more like it")
    alone = gradient_check(relu, lambda dout, x: dout * (x > 0), [x[:2]])
    assert alone.passed and len(alone.warnings) == 1 and alone.warnings[0].endswith(": taken out")
    wrong = gradient_check(relu, lambda dout, x: dout * (x > -2), [x])
    assert wrong.rows[0].place == (2,) and wrong.rows[0].problem == "WRONG"
    tied = gradient_check(
        lambda x: (x.max(), x), lambda dout, x: dout * (x == x.max()) / 2, [np.array([1.0, 2.0, 2.0])]
    )
    assert tied.passed


def test_a_bend_is_no_kink():
    sharp = lambda x: (np.logaddexp(0, x * 1e4), x)  # noqa: E731
    report = gradient_check(sharp, lambda dout, x: dout * 1e4 * (x > 0), [np.array([0.0, 1.0])])
    assert not report.passed and not report.warnings


@pytest.mark.parametrize(
    ("x", "says"),
    [(np.zeros(3), "nothing is left to check, so this proves nothing"), (-np.ones(3), "zeros would pass")],
)
def test_a_check_that_proves_nothing_says_so(x, says):
    report = gradient_check(relu, lambda dout, x: 0 * dout, [x])
    assert report.passed and says in report.warnings[-1] and says in " ".join(str(report).split())
    assert ("gradient check: nothing could be checked" in str(report)) == (not x.any())


def test_an_output_that_does_not_move_proves_nothing():
    constant = lambda x: (np.ones(3), x)  # noqa: E731
    assert "zeros would pass" in gradient_check(constant, lambda dout, x: 0 * x, [X]).warnings[0]
    assert not gradient_check(constant, lambda dout, x: 1e-3 * x, [X]).passed


def test_of_a_large_input_some_entries_and_a_direction_are_looked_at(rng):
    x = rng.standard_normal((200, 200))
    report = gradient_check(relu, lambda dout, x: dout * (x > 0), [x])
    assert report.passed and report.rows[0].entries == 500 and "500 of 40,000 entries of dx" in str(report)


def test_a_kink_on_the_way_of_the_direction_is_no_mistake():
    x = np.where(np.arange(1000) % 50, 1.0, 0.0)
    report = gradient_check(relu, lambda dout, x: dout * (x > 0), [x], max_entries=20)
    assert report.passed and any("direction says nothing" in warning for warning in report.warnings)
    dense = lambda dout, x: dout * (x > 0) * np.where(np.arange(1000) < 900, 1, 2)  # noqa: E731
    assert not gradient_check(relu, dense, [x + 1], max_entries=20).passed


# Which dtype computes


def single(x, dtype=np.float32):
    x = x.astype(dtype)
    exps = np.exp(x - x.max(axis=-1, keepdims=True))
    out = exps / exps.sum(axis=-1, keepdims=True)
    return out, out


def softmax_backward(dout, out):
    return out * (dout - (dout * out).sum(axis=-1, keepdims=True))


def precision(forward, x=X):
    return Experiment(forward, {"x": x}).precision


def test_the_dtype_that_computes_is_found_whatever_is_returned():
    double = lambda x: (single(x)[0].astype(np.float64), None)  # noqa: E731
    scaled = lambda x: (single(x)[0].astype(np.float64) * np.pi, None)  # noqa: E731
    residual = lambda x: (x + single(x)[0], None)  # noqa: E731
    half = lambda x: (single(x, np.float16)[0].astype(np.float32), None)  # noqa: E731
    assert [precision(f) for f in (single, double, scaled, residual, half)] == [FLOAT32] * 4 + [FLOAT16]
    for exact in (
        lambda x: single(x, np.float64), relu, lambda x: (np.sin(1e6 * x), x), lambda x: (np.round(x) + x, x),
        lambda x: (np.where(x > 0, x, -1e9), x), lambda x: (1e9 + x, x), lambda x: (0 * x, x),
    ):  # fmt: skip
        assert precision(exact) is FLOAT64
    assert precision(relu, X.astype(np.float32)) is FLOAT64  # short numbers, computed with in full


@pytest.mark.parametrize("returned", [np.float32, np.float64])
def test_right_float32_code_passes_and_wrong_does_not(returned):
    forward = lambda x: (single(x)[0].astype(returned), single(x)[1])  # noqa: E731
    report = gradient_check(forward, softmax_backward, [X])
    assert report.passed and report.tolerance == 1e-3 and "computes in float32" in str(report)
    assert not gradient_check(forward, lambda dout, out: 1.01 * softmax_backward(dout, out), [X]).passed
    for tolerance in (0.5, 0.99):
        assert gradient_check(forward, softmax_backward, [X], tolerance=tolerance).passed


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_entry_that_was_not_looked_at_shows_along_the_direction(rng, dtype):
    """In float32 the shortest steps give any slope, so that one of them might agree."""
    forward = lambda x: (np.sin(x.astype(dtype)), x)  # noqa: E731
    x = rng.standard_normal(300)
    for place in range(0, 300, 30):
        wrong = lambda dout, x, n=place: dout * np.cos(x) * np.where(np.arange(300) == n, 5.0, 1.0)  # noqa: E731
        assert not gradient_check(forward, wrong, [x], max_entries=20).passed


def test_a_tolerance_is_no_stricter_than_it_says():
    forward, wrong = lambda x: (x * x, x), lambda dout, x: 2 * x * dout * (1 + 0.005 * np.sign(x))
    assert gradient_check(forward, wrong, [X], tolerance=0.01).passed
    assert not gradient_check(forward, wrong, [X], tolerance=0.001).passed


def test_float32_gradients_of_a_float64_forward_are_said_to_be():
    forward = lambda x: (x * x, x)  # noqa: E731
    backward = lambda dout, x: (2 * x * dout).astype(np.float32)  # noqa: E731
    report = gradient_check(forward, backward, [X])
    assert report.passed and report.warnings == ["dx is of float32's precision, so 1e-03 was allowed"]
    (row,) = gradient_check(forward, backward, [X], tolerance=1e-9).rows
    assert row.problem == "right to float32's 7 digits"
    assert of_numbers(np.array([0.1, 0.2, 0.3, 0.4])) is FLOAT64 and of_numbers(np.ones(9)) is FLOAT64
    assert of_numbers(np.array([0.1, 0.2, 0.3, 0.4], np.float32).astype(np.float64)) is FLOAT32


@pytest.mark.parametrize("layer", ["linear", "layernorm", "gelu", "softmax", "attention", "cross_entropy"])
def test_the_layers_in_float32_raise_no_alarm(layer):
    lower = lambda x: x.astype(np.float32) if getattr(x, "dtype", None) == np.float64 else x  # noqa: E731
    right = definition(layer)
    _, inputs = cases(layer)[0]
    forward = lambda **inputs: right.forward(**mapped(lower, inputs))  # noqa: E731
    report = gradient_check(forward, right.backward, inputs)
    assert report.passed and report.error < 1e-3 and report.tolerance == 1e-3, report

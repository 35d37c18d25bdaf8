"""Code as people write it, checked as it is: pairs of functions, what is said in tests, and what is refused."""

import re

import numpy as np
import pytest

from tests.gradcheck.adapted import Linear, gradients, matmul_backward, matmul_forward, w, x
from tinygpt.errors import UserError
from tinygpt.gradcheck import assert_gradients, check_gradients
from tinygpt.gradcheck.adapters import names

# Names


@pytest.mark.parametrize(
    ("name", "found", "wrong"),
    [
        ("W", "dW", "dWx"), ("w", "grad_w", "w"), ("weight", "weight_grad", "bias_grad"), ("weights", "dw", "db"),
        ("bias", "dbiases", "dx"), ("x", "dinputs", "dout"), ("W1", "dW1", "dW2"), ("Wx", "dWx", "dW"),
        ("gamma", "d_gamma", "dbeta"), ("b", "b_gradient", "db1"), ("w", "dL_dw", "dL_db"),
    ],
)  # fmt: skip
def test_a_gradient_is_known_by_its_name(name, found, wrong):
    assert names.find(name, [wrong, found, "out", 3]) == found
    assert names.find(name, [wrong]) is None


def test_the_likest_name_is_the_gradient():
    assert names.find("w", ["dW", "dw"]) == "dw" and names.find("W", ["dW", "dw"]) == "dW"
    assert names.find("w", ["w"]) is None and names.find("w", ["w"], itself=True) == "w"


@pytest.mark.parametrize(
    "name", ["dout", "dy", "grad_output", "output_gradient", "dA", "upstream", "delta", "g", "error"]
)
def test_an_argument_may_be_the_gradient_from_above(name):
    assert names.is_above(name)


@pytest.mark.parametrize("name", ["cache", "x", "dropout_param", "data", "gamma", "dim", "y", "ctx", "weights"])
def test_other_arguments_are_not(name):
    assert not names.is_above(name)


# Pairs of functions


@pytest.mark.parametrize(
    "backward",
    [
        matmul_backward,
        lambda cache, dout: matmul_backward(dout, cache),
        lambda dout, x, w: matmul_backward(dout, (x, w)),
        lambda x, w, dout: list(matmul_backward(dout, (x, w))),
        lambda up, cache, scale=1.0: matmul_backward(up, cache),
        lambda dout, cache: dict(zip(("w", "x"), matmul_backward(dout, cache)[::-1], strict=True)),
        lambda dout, cache: dict(zip(("dx", "grad_w"), matmul_backward(dout, cache), strict=True)),
    ],
)
def test_a_backward_is_called_as_its_arguments_are_named(backward):
    assert gradients((matmul_forward, backward), [x, w]) == ["dx", "dw"]
    assert gradients((matmul_forward, backward), {"w": w, "x": x} if "x" in "xw" else None) in (
        ["dx", "dw"],
        ["dw", "dx"],
    )


def test_a_forward_without_a_cache_and_one_with_several():
    def forward(x, w):
        return x @ w

    def backward(dout, x, w):
        return dout @ w.T, x.T @ dout

    def norm(x):
        mean, std = x.mean(-1, keepdims=True), x.std(-1, keepdims=True)
        return (x - mean) / std, mean, std

    def norm_backward(dout, x, mean, std):
        xhat = (x - mean) / std
        return (dout - dout.mean(-1, keepdims=True) - xhat * (dout * xhat).mean(-1, keepdims=True)) / std

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    assert gradients((forward, backward), [x, w]) == ["dx", "dw"]
    assert gradients((norm, norm_backward), [x]) == ["dx"]
    assert gradients((sigmoid, lambda dout, out: dout * out * (1 - out)), [x]) == ["dx"]


def test_gradients_of_a_dict_of_parameters_come_by_name():
    def forward(params, x):
        return x @ params["W"] + params["b"], (x, params["W"])

    def backward(dout, cache):
        return {"dW": cache[0].T @ dout, "db": dout.sum(0), "dx": dout @ cache[1].T}

    assert gradients((forward, backward), {"params": {"W": w, "b": np.ones(4)}, "x": x}) == ["dW", "db", "dx"]


def test_several_outputs_each_with_a_gradient_from_above():
    def step(x, h):
        return x * h, x + h, (x, h)

    def step_backward(dnext_x, dnext_h, cache):
        x, h = cache
        return dnext_x * h + dnext_h, dnext_x * x + dnext_h

    assert gradients((step, step_backward), [x, x + 1]) == ["dx", "dh"]


def test_a_loss_gives_its_gradient_with_it_or_takes_no_dout():
    def mse(pred, target):
        return ((pred - target) ** 2).mean(), 2 * (pred - target) / pred.size

    def mse_forward(pred, target):
        return ((pred - target) ** 2).mean()

    def mse_backward(pred, target):
        return 2 * (pred - target) / pred.size

    for code in (mse, (mse_forward, mse_backward)):
        report = check_gradients(code, [x, x**2])
        assert report.passed and [row.name for row in report.rows] == ["dpred"] and report.unchecked == ["target"]


# In tests


def test_a_wrong_gradient_fails_with_the_table_the_sentence_and_the_seed():
    def wrong(dout, cache):
        return dout @ cache[1].T, 2 * cache[0].T @ dout

    assert assert_gradients((matmul_forward, matmul_backward), [x, w]) is None
    with pytest.raises(AssertionError) as caught:
        assert_gradients((matmul_forward, wrong), [x, w], seed=3)
    said = str(caught.value)
    assert "dw  (3, 4)" in said and "WRONG" in said and "dw is 2 times what it should be" in said
    assert said.endswith("seed=3 draws these numbers again")


def test_large_inputs_are_cut_for_the_words_and_a_factor_is_an_axis_only_if_it_follows_it():
    def backward(dout, cache):
        x, w = cache
        return dout @ w.T / x.shape[1], 2 * x.T @ dout

    rng = np.random.default_rng(0)
    inputs = {"x": rng.standard_normal((4, 40)), "w": rng.standard_normal((40, 30))}
    said = str(check_gradients((matmul_forward, backward), inputs, max_entries=5))
    assert re.search(r"dx is 1/\(the length of axis (1 of x|0 of w)\) times what it should be", " ".join(said.split()))
    assert "dw is 2 times what it should be\n" in said + "\n"


def test_of_gradients_that_change_from_call_to_call_nothing_is_said_but_that():
    rng = np.random.default_rng(0)

    def noisy(dout, cache):
        dx, dw = matmul_backward(dout, cache)
        return dx * (1 + 1e-3 * rng.random()), dw

    report = check_gradients((matmul_forward, noisy), [x, w])
    assert not report.passed and "gives other gradients" in report.problems[0] and "what is wrong" not in report.note


def test_the_seed_draws_the_inputs():
    drawn = []
    for seed in (0, 0, 1):
        check_gradients((matmul_forward, matmul_backward), lambda rng: [drawn.append(rng.random()) or x, w], seed=seed)
    assert drawn[0] == drawn[1] != drawn[2]


# What is refused


class Empty:
    pass


class OneWay:
    def forward(self, x):
        return x


@pytest.mark.parametrize(
    ("code", "inputs", "sentence"),
    [
        (Empty, [x], "the class Empty has no method forward; expected forward and backward"),
        (OneWay, [x], "the class OneWay has no method backward"),
        (OneWay(), [x], "OneWay has no method backward"),
        (Linear, {"x": x, "n_in": 3}, r"Linear cannot be made: .*; give n_out with the inputs.*lambda: Linear\("),
        (Linear(3, 2), {"y": x}, r"the inputs do not fit forward\(x\)"),
        (Linear(3, 2), x, "inputs is one ndarray; expected forward's arguments as a dict, tuple or list"),
        ((matmul_forward, matmul_backward), [x], "the inputs do not fit matmul_forward"),
        ((matmul_forward,), [x, w], "expected a pair of functions"),
        ((matmul_forward, 3), [x, w], "expected a pair of functions"),
        (3, [x], "the code to check is one int; expected a class or an object with forward and backward"),
        (type("Scores", (), {"loss": lambda self, x: x})(), [x], "Scores has no method backward, and loss does not"),
        (lambda x: x, [x], "there is no backward for <lambda>: .* returns a loss, one number, and its gradients"),
        ((lambda x: x, lambda: 1), [x], r"only a loss may leave out, and forward's output has shape \(5, 3\)"),
        ((lambda x: (), lambda dout: dout), [x], "forward returned an empty tuple"),
        (type("Silent", (OneWay,), {"forward": lambda s, x: None, "backward": Linear.backward})(), [x],
         "forward returned None; is there a return at its end"),
    ],
)  # fmt: skip
def test_what_cannot_be_checked_is_one_sentence(code, inputs, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        check_gradients(code, inputs)
    assert "\n" not in str(caught.value)


def test_an_object_that_cannot_be_copied_is_refused():
    layer = Linear(3, 2)
    layer.lines = (line for line in ())
    with pytest.raises(UserError, match="Linear cannot be copied: .*generator.*; each call needs an object of its own"):
        check_gradients(layer, [x])

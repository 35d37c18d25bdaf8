"""What gradient_check takes: lists, tuples, arrays of other libraries, a reader's own dicts; and what it leaves out."""

from collections import namedtuple

import numpy as np
import pytest

from tinygpt import UserError
from tinygpt.gradcheck import gradient_check
from tinygpt.gradcheck.trees import labels, mapped
from tinygpt.layers import linear

X = np.array([[0.5, -1.5, 2.0], [1.0, 3.0, -0.25]])
W, B = np.array([[1.0, 2.0], [-0.5, 0.25], [3.0, 1.5]]), np.array([0.5, -1.0])


def listed(x, params):
    return linear.forward(x, *params)


@pytest.mark.parametrize("kind", [list, tuple])
def test_lists_and_tuples_of_arrays_are_differentiated(kind):
    def backward(dout, cache, factor=1):
        dx, dw, db = linear.backward(dout, cache)
        return dx, kind([dw, factor * db])

    inputs = {"x": X, "params": kind([W, B])}
    report = gradient_check(listed, backward, inputs)
    assert report.passed and [row.name for row in report.rows] == ["dx", "dparams[0]", "dparams[1]"]
    wrong = gradient_check(listed, lambda dout, cache: backward(dout, cache, 2), inputs)
    assert [row.name for row in wrong.rows if row.problem] == ["dparams[1]"]


def test_a_list_without_a_gradient_is_no_longer_passed_over_in_silence():
    with pytest.raises(UserError, match=r"1 gradient, but forward has 2 inputs .*constant=\['params'\] leaves out"):
        gradient_check(listed, lambda dout, cache: linear.backward(dout, cache)[0], {"x": X, "params": [W, B]})
    dx_alone = lambda dout, cache: linear.backward(dout, cache)[0]  # noqa: E731
    report = gradient_check(listed, dx_alone, {"x": X, "params": [W, B]}, constant=["params"])
    assert report.passed and report.unchecked == ["params"] and "not checked: params" in str(report)


@pytest.mark.parametrize("wrap", [lambda gradients: gradients, lambda gradients: (gradients,)])
def test_one_list_alone_may_come_back_by_itself(wrap):
    forward = lambda pair: (pair[0] * pair[1], pair)  # noqa: E731
    report = gradient_check(forward, lambda dout, pair: wrap([dout * pair[1], dout * pair[0]]), {"pair": [X, X + 1]})
    assert report.passed and len(report.rows) == 2
    report = gradient_check(lambda one: (one[0] ** 2, one), lambda dout, one: wrap([2 * one[0] * dout]), [[X]])
    assert report.passed and [row.name for row in report.rows] == ["done[0]"]


def test_a_list_of_another_length_is_a_sentence():
    for gradient, given in ([W], "a list of 1"), (W, "a ndarray"):
        with pytest.raises(UserError, match=f"the gradient of params is {given}; expected a list or tuple of 2"):
            gradient_check(listed, lambda dout, cache, g=gradient: (dout @ W.T, g), {"x": X, "params": [W, B]})


def test_trees_keep_their_kinds_and_name_their_leaves():
    pair = namedtuple("pair", "w b")
    tree = {"x": 1, "layers": [{"w": 2, "b": None}, {"w": 3}], "pair": pair(4, 5), "p": ({"only": 6},)}
    doubled = mapped(lambda x: x and 2 * x, tree)
    assert doubled["pair"] == pair(8, 10) and doubled["layers"][1] == {"w": 6} and isinstance(doubled["p"], tuple)
    assert list(labels(tree).values()) == [
        "x", "layers[0].w", "b", "layers[1].w", "pair[0]", "pair[1]", "only",
    ]  # fmt: skip


class Layer:
    def __init__(self):
        self.w, self.unused, self.scale = W.copy(), W.copy(), 2.0

    def forward(self, x):
        self.cache = x
        return x @ self.w, x

    def backward(self, dout, cache):
        return dout @ self.w.T


def test_what_is_hidden_in_an_object_a_closure_or_the_module_is_named_as_not_checked():
    layer = Layer()
    layer.forward(X)  # and its cache of a call before is no parameter
    before = layer.w.copy()
    report = gradient_check(layer.forward, layer.backward, [X])
    assert report.passed and report.unchecked == ["w"]
    np.testing.assert_array_equal(layer.w, before)
    w = W.copy()
    assert gradient_check(lambda x: (x @ w, x), lambda dout, x: dout @ w.T, [X]).unchecked == ["w"]
    assert gradient_check(lambda x: (x @ W, x), lambda dout, x: dout @ W.T, [X]).unchecked == ["W"]
    layer.itself = [layer]  # which has no end
    layer.inner = {"deep": [W.copy()]}
    forward = lambda x: layer.forward(x * layer.inner["deep"][0][0, 1])  # noqa: E731
    backward = lambda dout, x: layer.backward(dout, x) * layer.inner["deep"][0][0, 1]  # noqa: E731
    assert gradient_check(forward, backward, [X]).unchecked == ["layer.w", "layer.inner.deep[0]"]
    through = lambda x, layer: (x @ layer.w, layer)  # noqa: E731
    assert gradient_check(through, lambda dout, layer: dout @ layer.w.T, [X, Layer()]).unchecked == ["layer.w"]


def test_numbers_that_are_passed_on_are_named_and_settings_are_not():
    forward = lambda x, p, n, name: (x * p, p)  # noqa: E731
    report = gradient_check(forward, lambda dout, p: dout * p, {"x": X, "p": 0.4, "n": 3, "name": "relu"})
    assert report.passed and report.unchecked == ["p"]


def test_a_readers_dict_is_lent_and_not_changed():
    """As cs231n's bn_param, which gains a running mean in every call of forward."""

    def forward(x, bn_param):
        kept = bn_param.get("running_mean", np.zeros(x.shape[1]))
        bn_param["running_mean"] = 0.9 * kept + 0.1 * x.mean(axis=0)
        return x - x.mean(axis=0), None

    bn_param, history = {"mode": "train"}, []
    for _ in range(2):
        assert gradient_check(forward, lambda dout, _: dout - dout.mean(axis=0), [X, bn_param]).passed
    assert bn_param == {"mode": "train"}
    logging = lambda x, history: (x * x, history.append(x) or x)  # noqa: E731
    assert gradient_check(logging, lambda dout, x: 2 * x * dout, [X, history]).passed and history == []


def test_torch_tensors_are_lent_as_tensors_and_said_to_be():
    torch = pytest.importorskip("torch")
    idx = torch.tensor([0, 1, 1])

    def forward(x, idx):
        assert isinstance(x, torch.Tensor) and x.dtype == torch.float64
        return torch.exp(x)[idx], (x, idx)

    def backward(dout, cache):
        x, idx = cache
        assert isinstance(dout, torch.Tensor)
        return torch.zeros_like(x).index_add(0, idx, dout) * torch.exp(x)

    x = torch.tensor(X, dtype=torch.float32)
    report = gradient_check(forward, backward, [x, idx])
    assert report.passed and report.error < 1e-11
    assert str(report).count("torch arrays were lent to forward and backward") == 1
    assert not gradient_check(forward, lambda dout, cache: backward(dout, cache) * 1.001, [x, idx]).passed
    assert x.dtype == torch.float32 and float(x[0, 1]) == -1.5
    single = lambda x: (torch.exp(x.float()), x)  # noqa: E731
    report = gradient_check(single, lambda dout, x: dout * torch.exp(x.float()), [x])
    assert report.passed and report.tolerance == 1e-3
    random = lambda x: (x * (torch.rand(x.shape) > 0.5), x)  # noqa: E731
    assert not gradient_check(random, lambda dout, x: dout * 3, [x]).passed  # its random numbers are held fixed


def test_numpy_inputs_and_torch_results_are_compared():
    torch = pytest.importorskip("torch")
    forward = lambda x: (torch.from_numpy(x.copy()) ** 2, x)  # noqa: E731
    assert gradient_check(forward, lambda dout, x: 2 * torch.from_numpy(x) * dout, [X]).passed


def test_jax_arrays_are_lent_as_such():
    jax = pytest.importorskip("jax")
    forward = lambda x: (jax.numpy.exp(x), x)  # noqa: E731
    report = gradient_check(forward, lambda dout, x: dout * jax.numpy.exp(x), [jax.numpy.asarray(X)])
    assert report.passed and "jax arrays were lent" in str(report)
    assert not gradient_check(forward, lambda dout, x: 2 * dout * jax.numpy.exp(x), [jax.numpy.asarray(X)]).passed

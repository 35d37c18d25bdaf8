"""Classes as people write them: where parameters and gradients are found, and what is said of those that are not."""

import numpy as np
import pytest

from tests.gradcheck.adapted import Linear, gradients, x
from tinygpt.gradcheck import check_gradients


def test_a_class_takes_what_is_named_like_its_arguments_and_an_object_nothing():
    assert gradients(Linear, {"x": x, "n_in": 3, "n_out": 2}) == ["dx", "dW", "db"]
    assert gradients(Linear(3, 2), [x]) == ["dx", "dW", "db"]


def test_parameters_that_are_all_alike_are_varied_and_the_object_stays_as_it_was():
    class Scale(Linear):
        def __init__(self):
            self.gamma = np.ones(3)

        def forward(self, x):
            self.x = x
            return x * self.gamma

        def backward(self, dout):
            self.dgamma = (dout * self.x).sum(0)
            return dout  # right for a gamma of 1

    layer = Scale()
    report = check_gradients(layer, [x])
    assert [bool(row.problem) for row in report.rows] == [True, False]
    assert vars(layer).keys() == {"gamma"} and (layer.gamma == 1).all()


def test_what_a_call_leaves_in_an_object_or_adds_to_has_no_part_in_the_next():
    class Adding(Linear):
        def __init__(self):
            super().__init__(3, 2)
            self.dW, self.db, self.seen = np.zeros((3, 2)), np.zeros(2), 0

        def forward(self, x):
            self.seen += 1
            return super().forward(x) * self.seen

        def backward(self, dout):
            dout = dout * self.seen
            self.dW += self.x.T @ dout
            self.db += dout.sum(0)
            return dout @ self.W.T

    assert gradients(Adding(), [x]) == ["dx", "dW", "db"]


def returned(layer, dout):
    return dout @ layer.W.T, layer.x.T @ dout, dout.sum(0)


@pytest.mark.parametrize(
    "backward",
    [
        returned,
        lambda layer, dout: (returned(layer, dout)[0], list(returned(layer, dout)[1:])),
        lambda layer, dout: (returned(layer, dout)[0], {"W": returned(layer, dout)[1], "db": returned(layer, dout)[2]}),
        lambda layer, dout: (returned(layer, dout)[0], returned(layer, dout)[2], returned(layer, dout)[1]),
        lambda layer, dout: dict(zip(("dx", "dW", "db"), returned(layer, dout), strict=True)),
        lambda layer, dout: setattr(layer, "grads", dict(zip(("x", "W", "b"), returned(layer, dout), strict=True))),
    ],
)
def test_gradients_are_returned_in_order_in_a_list_in_a_dict_or_left_in_the_object(backward):
    code = type("Own", (Linear,), {"backward": backward, "pe": np.ones(2)})
    assert gradients(code(3, 2), [x]) == ["dx", "dW", "db"]


def test_an_output_may_be_left_in_the_object_and_so_may_the_gradient_of_the_input():
    class Dense:
        def __init__(self, n_inputs, n_neurons):
            self.weights = 0.01 * np.random.randn(n_inputs, n_neurons)  # noqa: NPY002
            self.biases = np.zeros((1, n_neurons))

        def forward(self, inputs):
            self.inputs = inputs
            self.output = inputs @ self.weights + self.biases

        def backward(self, dvalues):
            self.dweights = self.inputs.T @ dvalues
            self.dbiases = dvalues.sum(axis=0, keepdims=True)
            self.dinputs = dvalues @ self.weights.T

    inputs = {"inputs": x, "n_inputs": 3, "n_neurons": 2}
    assert gradients(Dense, inputs) == ["dinputs", "dweights", "dbiases"]


def test_parameters_may_be_made_in_the_first_call():
    class Lazy:
        def __init__(self, n_out):
            self.n_out, self.parameters, self.gradients, self.is_initialized = n_out, {"W": None, "b": None}, {}, False
            self.X, self.derived = [], {"Z": []}

        def forward(self, X, retain_derived=True):
            if not self.is_initialized:
                self.parameters = {"W": np.random.randn(X.shape[1], self.n_out), "b": np.zeros((1, self.n_out))}  # noqa: NPY002
                self.gradients = {name: np.zeros_like(p) for name, p in self.parameters.items()}
                self.is_initialized = True
            Z = X @ self.parameters["W"] + self.parameters["b"]
            if retain_derived:
                self.X.append(X)
                self.derived["Z"].append(Z)
            return np.tanh(Z)

        def backward(self, dLdy, retain_grads=True):
            dX = []
            for dy, X, Z in zip([dLdy], self.X, self.derived["Z"], strict=True):
                dZ = dy * (1 - np.tanh(Z) ** 2)
                dX.append(dZ @ self.parameters["W"].T)
                self.gradients["W"] += X.T @ dZ
                self.gradients["b"] += dZ.sum(axis=0, keepdims=True)
            return dX[0]

    assert gradients(Lazy, {"X": x, "n_out": 2}) == ["dX", "dW", "db"]


def test_a_loss_of_a_class_has_other_names_for_its_methods():
    class Squares:
        def loss(self, predicted, actual):
            return ((predicted - actual) ** 2).sum()

        def grad(self, predicted, actual):
            return 2 * (predicted - actual)

    assert gradients(Squares(), [x, x**2], constant="actual") == ["dpredicted"]


def test_a_model_whose_loss_returns_its_gradients_by_name():
    class Model:
        def __init__(self, n_in, n_out):
            self.params = {"W1": 1e-3 * np.random.randn(n_in, n_out), "b1": np.zeros(n_out)}  # noqa: NPY002

        def loss(self, X, y=None):
            scores = X @ self.params["W1"] + self.params["b1"]
            if y is None:
                return scores
            off = scores - y
            return (off**2).sum(), {"W1": 2 * X.T @ off, "b1": 2 * off.sum(0)}

    inputs = {"X": x, "y": x[:, :2]}
    for code, given in ((Model(3, 2), inputs), (Model(3, 2).loss, inputs), (Model, inputs | {"n_in": 3, "n_out": 2})):
        report = check_gradients(code, given)
        assert report.passed and [row.name for row in report.rows] == ["dW1", "db1"] and report.unchecked == ["X", "y"]


def test_functions_of_a_context():
    class Multiply:
        @staticmethod
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            return a * b

        @staticmethod
        def backward(ctx, grad_output):
            a, b = ctx.saved_tensors
            return grad_output * b, grad_output * a

    assert gradients(Multiply, [x, x + 1]) == ["da", "db"]


def test_methods_that_are_functions():
    class Double:
        @staticmethod
        def forward(x):
            return 2 * x, None

        @staticmethod
        def backward(dout, cache):
            return 2 * dout

    assert gradients(Double, [x]) == ["dx"]


def test_an_average_that_forward_updates_in_place_has_no_part_in_the_next_call():
    class Centre:
        def __init__(self):
            self.mean = np.zeros(3)

        def forward(self, x):
            self.mean *= 0.9
            self.mean += 0.1 * x.mean(0)
            return x - self.mean

        def backward(self, dout):
            return dout - 0.1 * dout.mean(0)

    report = check_gradients(Centre(), [x])
    assert report.passed and report.unchecked == ["mean"]


def test_arrays_from_where_a_function_was_made_are_named():
    scale = np.full(3, 2.0)
    report = check_gradients((lambda x: (x * scale, None), lambda dout, cache: dout * scale), [x])
    assert report.passed and report.unchecked == ["scale"] and (scale == 2).all()

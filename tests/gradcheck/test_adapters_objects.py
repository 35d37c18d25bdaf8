"""Objects that train in backward, share arrays, hold functions and numbers, or are none."""

import numpy as np
import pytest

from tests.gradcheck.adapted import Linear, gradients, x
from tinygpt.errors import UserError
from tinygpt.gradcheck import check_gradients


class SGD:
    def __init__(self, learning_rate=0.01):
        self.learning_rate = learning_rate

    def update(self, w, grad):
        return w - self.learning_rate * grad


class Signs(SGD):
    def update(self, w, grad):
        return w - self.learning_rate * np.sign(grad)


class Trained(Linear):
    def __init__(self, optimizer):
        super().__init__(3, 2)
        self.optimizer = optimizer

    def backward(self, dout):
        W = self.W
        self.W = self.optimizer.update(self.W, self.x.T @ dout)
        self.b = self.optimizer.update(self.b, dout.sum(0))
        return dout @ W.T


def test_a_training_step_inside_backward_is_said_and_what_it_subtracts_is_checked():
    class Training(Linear):
        def __init__(self):
            super().__init__(3, 2)
            self.lr, self.factor = 0.5, 1.0

        def backward(self, dout):
            W = self.W
            self.W = W - self.lr * self.factor * self.x.T @ dout
            self.b -= self.lr * dout.sum(0)
            return dout @ W.T

    layer = Training()
    report = check_gradients(layer, [x])
    assert report.passed and [row.name for row in report.rows] == ["dx", "dW", "db"]
    says = "backward changes W, b itself; the gradient of W, b was taken from that change, at a rate of 0.5"
    assert report.warnings == [says]
    layer.factor = 2.0
    assert [bool(row.problem) for row in check_gradients(layer, [x]).rows] == [False, True, False]


@pytest.mark.parametrize("optimizer", [SGD(), Signs()])
def test_what_an_optimiser_makes_of_a_gradient_cannot_be_checked_and_the_way_out_is_said(optimizer):
    report = check_gradients(Trained(optimizer), [x])
    assert report.passed and [row.name for row in report.rows] == ["dx"] and report.unchecked == ["W", "b"]
    assert "the gradient of W, b cannot be seen: keep it, as in self.dW = ..., and change W in a" in report.warnings[0]


def test_a_parameter_without_a_gradient_is_named_and_what_has_no_effect_is_not():
    class Forgetful(Linear):
        def __init__(self):
            super().__init__(3, 2)
            self.velocity = np.zeros((3, 2))

        def backward(self, dout):
            self.dW = self.x.T @ dout
            return dout @ self.W.T

    report = check_gradients(Forgetful(), [x])
    assert report.passed and report.unchecked == ["b"] and "not checked: b" in str(report)


def test_layers_within_layers_and_parameters_that_are_objects():
    class Parameter:
        __slots__ = ("data", "grad")

        def __init__(self, data):
            self.data, self.grad = data, None

    class Layer:
        def __init__(self, *shape):
            self.W = Parameter(np.random.randn(*shape))  # noqa: NPY002

        def __call__(self, x):
            self.x = x
            return x @ self.W.data

        def backward(self, dout):
            self.W.grad = self.x.T @ dout
            return dout @ self.W.data.T

    class Network:
        numpy = np  # which no copy can be made of

        def __init__(self):
            self.layers, self.library = [Layer(3, 4), Layer(4, 2)], np

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

        def backward(self, dout):
            for layer in self.layers[::-1]:
                dout = layer.backward(dout)
            return dout

    assert gradients(Network(), [x]) == ["dx", "dlayers[0].W", "dlayers[1].W"]


def test_what_backward_alone_takes_may_be_among_the_inputs():
    class Scaled(Linear):
        def backward(self, dout, factor):
            return super().backward(dout * factor) / factor

    assert gradients(Scaled(3, 2), {"x": x, "factor": 1.0}) == ["dx", "dW", "db"]
    with pytest.raises(UserError, match="backward takes factor, which forward neither takes nor returns; give it with"):
        check_gradients(Scaled(3, 2), [x])


def test_a_loss_leaves_the_gradients_of_one_in_its_layers():
    class Model:
        def __init__(self):
            self.params = {"W1": np.random.randn(3, 4), "b1": np.zeros(4)}  # noqa: NPY002
            self.layer = Linear(3, 4)
            self.layer.W, self.layer.b = self.params["W1"], self.params["b1"]

        def loss(self, x, t):
            self.off = self.layer.forward(x) - t
            return (self.off**2).sum()

        def gradient(self, x, t):
            self.loss(x, t)
            self.layer.backward(2 * self.off)
            return {"W1": self.layer.dW, "b1": self.layer.db}

    report = check_gradients(Model(), {"x": x, "t": x[:, :1]})
    assert report.passed and [row.name for row in report.rows] == ["dW1", "db1"] and report.unchecked == ["x", "t"]


def test_functions_that_an_object_holds_see_its_parameters():
    class Chosen(Linear):
        def __init__(self):
            super().__init__(3, 2)
            self.functions = {"forward": lambda x: x @ self.W + self.b}

        def forward(self, x):
            self.x = x
            return self.functions["forward"](x)

    assert gradients(Chosen(), [x]) == ["dx", "dW", "db"]


def test_any_number_of_arguments():
    class Multiply:
        def forward(self, *xs):
            self.xs = xs
            return xs[0] * xs[1]

        def backward(self, gy):
            return gy * self.xs[1], gy * self.xs[0]

    assert gradients(Multiply(), [x, x + 1]) == ["dxs0", "dxs1"]


def test_an_array_that_two_layers_share_has_the_sum_of_their_gradients():
    class Tied:
        def __init__(self):
            self.first, self.second = Linear(3, 3), Linear(3, 3)
            self.second.W = self.first.W

        def forward(self, x):
            return self.second.forward(self.first.forward(x))

        def backward(self, dout):
            return self.first.backward(self.second.backward(dout))

    assert gradients(Tied(), [x]) == ["dx", "dW", "dfirst.b", "dsecond.b"]


def test_an_array_of_which_others_are_views_is_not_asked_for():
    class Flat(Linear):
        def __init__(self):
            self.theta = np.random.randn(8)  # noqa: NPY002
            self.W, self.b = self.theta[:6].reshape(3, 2), self.theta[6:]

        def backward(self, dout):
            dx = super().backward(dout)
            self.dtheta = np.concatenate([self.dW.ravel(), self.db])
            return dx

    assert gradients(Flat(), [x]) == ["dx", "dW", "db"]


def test_a_parameter_that_is_a_number_is_named_with_the_way_out():
    class Slope:
        def __init__(self):
            self.slope = 0.25

        def forward(self, x):
            self.x = x
            return np.where(x > 0, x, self.slope * x)

        def backward(self, dout):
            self.dslope = float((dout * np.minimum(self.x, 0)).sum())
            return dout * np.where(self.x > 0, 1, self.slope)

    report = check_gradients(Slope(), [x])
    assert report.passed and report.unchecked == ["slope"]
    assert report.warnings == ["slope is a number: make it an array, np.array(slope), to have its gradient checked"]
    layer = Slope()
    layer.slope = np.array(0.25)
    assert gradients(layer, [x]) == ["dx", "dslope"]


def test_a_counter_that_backward_moves_is_no_parameter():
    class Counting(Linear):
        def __init__(self):
            super().__init__(3, 2)
            self.steps = np.zeros(1)

        def backward(self, dout):
            self.steps += 1
            return super().backward(dout)

    report = check_gradients(Counting(), [x])
    assert report.passed and not report.warnings and not report.unchecked


def test_a_loss_for_each_sample_that_calculates_their_mean():
    class Loss:
        def calculate(self, output, y):
            return np.mean(self.forward(output, y))

    class CrossEntropy(Loss):
        def forward(self, y_pred, y_true):
            return -np.log(y_pred[range(len(y_pred)), y_true])

        def backward(self, dvalues, y_true):
            self.dinputs = -np.eye(dvalues.shape[1])[y_true] / dvalues / len(dvalues)

    class Doubled(CrossEntropy):
        def backward(self, dvalues, y_true):
            super().backward(dvalues, y_true)
            self.dinputs *= 2

    inputs = {"output": np.linspace(0.1, 0.9, 12).reshape(4, 3), "y": np.array([0, 1, 2, 1])}
    assert gradients(CrossEntropy(), inputs) == ["doutput"] == gradients(CrossEntropy().calculate, inputs)
    assert not check_gradients(Doubled(), inputs).passed


def test_a_helper_called_calculate_is_no_forward():
    class Helped(Linear):
        def calculate(self, x, scale):
            return scale * x

    assert gradients(Helped(3, 2), [x]) == ["dx", "dW", "db"]

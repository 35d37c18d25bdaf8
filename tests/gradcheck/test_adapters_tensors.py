"""Backwards that are written for PyTorch and JAX."""

from types import ModuleType

import pytest

from tests.gradcheck.adapted import gradients, w, x
from tinygpt.errors import UserError
from tinygpt.gradcheck import check_gradients
from tinygpt.gradcheck.adapters import files


def test_a_torch_function_is_checked_in_float64_whatever_its_inputs_are():
    torch = pytest.importorskip("torch")

    class Scale(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w, power):
            ctx.save_for_backward(x, w)
            ctx.power = power
            return x**power * w, w + 1

        @staticmethod
        def backward(ctx, g, h):
            x, w = ctx.saved_tensors
            return g * ctx.power * x ** (ctx.power - 1) * w, (g * x**ctx.power).sum(0) + h, None

    class Wrong(Scale):
        @staticmethod
        def backward(ctx, g, h):
            dx, dw, _ = Scale.backward(ctx, g, h)
            return dx, dw - h, None

    inputs = [torch.randn(5, 3), torch.randn(3), 3]
    assert gradients(Scale, inputs) == ["dx", "dw"]
    assert [bool(row.problem) for row in check_gradients(Wrong, inputs).rows] == [False, True]
    with pytest.raises(UserError, match="Scale takes x, w, power; the inputs have y"):
        check_gradients(Scale, {"x": inputs[0], "y": inputs[1]})


def test_a_torch_function_with_a_context_of_its_own_and_one_that_marks_nothing():
    torch = pytest.importorskip("torch")

    class Tanh(torch.autograd.Function):
        @staticmethod
        def forward(x):
            return torch.tanh(x)

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(output)

        @staticmethod
        def backward(ctx, g):
            return g * (1 - ctx.saved_tensors[0] ** 2)

    assert gradients(Tanh, {"x": x}) == ["dx"]


def test_classes_and_pairs_that_compute_with_tensors():
    torch = pytest.importorskip("torch")

    class Layer:
        def __init__(self):
            self.weight, self.steps = torch.randn(3, 2), 0

        def forward(self, x):
            self.x = x
            return torch.relu(x @ self.weight)

        def backward(self, grad):
            grad = grad * (self.x @ self.weight > 0)
            self.weight_grad = self.x.T @ grad
            return grad @ self.weight.T

    def forward(x, w):
        return torch.tanh(x @ w), (x, w)

    def backward(dout, cache):
        x, w = cache
        dout = dout * (1 - torch.tanh(x @ w) ** 2)
        return dout @ w.T, x.T @ dout

    assert gradients(Layer(), [x]) == ["dx", "dweight"]
    assert gradients((forward, backward), [torch.tensor(x), torch.tensor(w)]) == ["dx", "dw"]


def test_a_jax_function_with_a_rule_of_its_own():
    jax = pytest.importorskip("jax")

    @jax.custom_vjp
    def layer(x, w, factor):
        return jax.numpy.tanh(x @ w) * factor

    def backward(kept, dout):
        x, w, factor = kept
        dout = dout * (1 - jax.numpy.tanh(x @ w) ** 2) * factor
        return dout @ w.T, x.T @ dout, None

    layer.defvjp(lambda *inputs: (layer(*inputs), inputs), backward)
    assert gradients(layer, [x, jax.numpy.asarray(w), 2]) == ["dx", "dw"]
    layer.defvjp(lambda *inputs: (layer(*inputs), inputs), lambda kept, dout: (dout @ w.T, *backward(kept, dout)[1:]))
    report = check_gradients(layer, [x, w, 2])
    assert [bool(row.problem) for row in report.rows] == [True, False]


def test_pairs_that_compute_with_jax_do_so_in_float64_and_a_file_may_hold_a_rule():
    jax = pytest.importorskip("jax")

    def forward(x, w):
        return jax.numpy.tanh(x @ w), (x, w)

    def backward(cache, g):
        x, w = cache
        g = g * (1 - jax.numpy.tanh(x @ w) ** 2)
        return g @ w.T, x.T @ g

    before = jax.config.jax_enable_x64
    assert gradients((forward, backward), [x, w]) == ["dx", "dw"]
    assert gradients((forward, backward), [x, jax.numpy.asarray(w)]) == ["dx", "dw"]
    assert jax.config.jax_enable_x64 == before
    rule = jax.custom_vjp(lambda x, w: forward(x, w)[0])
    rule.defvjp(forward, backward)
    module = ModuleType("mine")
    module.rule, module.rule_fwd, module.rule_bwd, module.inputs = rule, forward, backward, [x, w]
    assert files.chosen(module, "", "") == ["rule"]
    assert files.adapted(module, "rule", 0).inputs.keys() == {"x", "w"}

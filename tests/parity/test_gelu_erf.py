"""The error function and both kinds of GELU are PyTorch's."""

import numpy as np
import pytest

from tinygpt.backend import erf
from tinygpt.layers import gelu

from .comparison import NEEDS_TORCH

torch = pytest.importorskip("torch", reason=NEEDS_TORCH)

# What the docstring of erf promises.
ERF_ERROR = {"float64": 1e-15, "float32": 5e-7}


def places(dtype):
    """Where the function bends, where it is flat, numbers of every size, and the two infinities."""
    sizes = 10.0 ** np.linspace(-30, 15, 5001)
    x = np.concatenate([np.linspace(-7, 7, 200_001), sizes, -sizes, [0.0, np.inf, -np.inf]])
    return x.astype(dtype)


@pytest.mark.parametrize("dtype", ERF_ERROR)
def test_erf_is_pytorchs(dtype):
    x = places(dtype)
    truth = torch.erf(torch.from_numpy(x).double()).numpy()
    ours = erf(x)
    assert ours.dtype == x.dtype
    assert np.max(np.abs(ours - truth)) < ERF_ERROR[dtype]


# The tanh form's backward loses two digits in 1 - tanh(u)^2 near |x| = 5, in PyTorch's float32 as here.
@pytest.mark.parametrize("approximate", ["tanh", "none"])
@pytest.mark.parametrize(
    ("dtype", "forward_error", "backward_error"), [("float64", 5e-16, 2e-14), ("float32", 2e-7, 4e-6)]
)
def test_gelu_and_its_derivative_are_pytorchs(approximate, dtype, forward_error, backward_error):
    rng = np.random.default_rng(40)
    x = np.concatenate([np.linspace(-100, 100, 100_001), np.linspace(-8, 8, 100_001)]).astype(dtype)
    dout = rng.standard_normal(x.shape).astype(dtype)
    out, cache = gelu.forward(x, approximate)
    dx = gelu.backward(dout, cache)

    their_x = torch.from_numpy(x).double().requires_grad_()
    their_out = torch.nn.functional.gelu(their_x, approximate=approximate)
    their_out.backward(torch.from_numpy(dout).double())

    assert out.dtype == dx.dtype == x.dtype
    assert np.max(np.abs(out - their_out.detach().numpy()) / np.maximum(1, np.abs(x))) < forward_error
    assert np.max(np.abs(dx - their_x.grad.numpy()) / np.maximum(1, np.abs(dout))) < backward_error

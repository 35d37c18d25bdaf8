"""Every layer computes on a card what it computes in NumPy."""

import numpy as np
import pytest

from tests.layers.test_contract import DEFINED, cases, name
from tests.parity.comparison import assert_agree
from tinygpt.backend import array_module, to_device, to_host
from tinygpt.kernels.cuda import lm_head_loss as chunked_lm_head_loss

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
LAYERS = [*DEFINED, chunked_lm_head_loss]


def placed(tree, device):
    """Nested arguments with their arrays on a device."""
    if isinstance(tree, np.ndarray):
        return to_device(tree, device)
    if isinstance(tree, tuple):
        return tuple(placed(part, device) for part in tree)
    if isinstance(tree, dict):
        return {key: placed(part, device) for key, part in tree.items()}
    return tree


def named(tree, prefix=""):
    """{path: array} of the arrays in nested tuples and dicts."""
    if isinstance(tree, tuple):
        return {key: a for n, part in enumerate(tree) for key, a in named(part, f"{prefix}.{n}").items()}
    if isinstance(tree, dict):
        return {key: a for n, part in tree.items() for key, a in named(part, f"{prefix}.{n}").items()}
    return {} if tree is None else {prefix: tree}


@pytest.mark.parametrize("variant", [{}, dict(bias=False, approximate="none", denominator=7.0), dict(p=0.0, B=1, T=1)])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("layer", LAYERS, ids=name)
def test_forward_and_backward_are_numpys(layer, dtype, variant, cuda):
    results = {}
    for device in ("cpu", cuda):
        arguments, options = cases(dtype, **variant)[layer]
        out, cache = layer.forward(*placed(arguments, device), **placed(options, device))
        dout = np.random.default_rng(1).standard_normal(out.shape).astype(dtype)
        gradients = layer.backward(to_device(dout, device), cache)
        results[device] = named({"out": out, "gradients": gradients})
        assert all(array.dtype == dtype for array in results[device].values())
        assert device == "cpu" or all(array_module(array) is not np for array in results[device].values())
    assert_agree({key: to_host(array) for key, array in results[cuda].items()}, results["cpu"], TOLERANCE[dtype])


@pytest.mark.parametrize("layer", LAYERS, ids=name)
def test_no_layer_makes_the_host_wait_or_copies_what_is_t_by_t(layer, card):
    T = 7
    arguments, options = cases("float32", T=T)[layer]
    arguments, options = placed(arguments, "cuda"), placed(options, "cuda")
    dout = to_device(np.ones(layer.forward(*arguments, **options)[0].shape, np.float32), "cuda")
    card.reset()
    _, cache = layer.forward(*arguments, **options)
    layer.backward(dout, cache)
    assert not card.syncs and not card.uploads
    assert not [copy for copy in card.copies if copy.shape[-2:] == (T, T)]

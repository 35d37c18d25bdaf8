"""What holds for every layer alike: purity, dtypes, and the letters of the contract."""

import inspect
import pkgutil

import numpy as np
import pytest

from tests.layers.test_block import block_params
from tinygpt import layers
from tinygpt.layers import (
    attention,
    block,
    cross_entropy,
    dropout,
    embedding,
    gelu,
    layernorm,
    linear,
    lm_head_loss,
    mlp,
    softmax,
)
from tinygpt.ops import DEFINITIONS

IDX = np.array([[1, 0, 1], [2, 1, 1]])
C = 4


def cases(dtype):
    rng = np.random.default_rng(0)

    def array(*shape):
        return rng.standard_normal(shape).astype(dtype)

    params = {name: value.astype(dtype) for name, value in block_params(rng, C, bias=True).items()}
    return {
        attention: ((array(2, 3, 3 * C), 2, 0.2), {}),
        block: ((array(2, 3, C), params, 2, "tanh", 1e-5, 0.1), {"ops": DEFINITIONS}),
        cross_entropy: ((array(2, 3, 5), IDX), {}),
        dropout: ((array(2, 3, C), 0.5), {}),
        embedding: ((IDX, array(5, C)), {}),
        gelu: ((array(2, 3),), {}),
        layernorm: ((array(2, 3, C), array(C), array(C)), {}),
        linear: ((array(2, 3, C), array(C, 5), array(5)), {}),
        lm_head_loss: ((array(6, C), array(5, C), IDX.reshape(-1)), {"ops": DEFINITIONS}),
        mlp: ((array(2, 3, C), array(C, 16), array(16), array(16, C), array(C)), {"ops": DEFINITIONS}),
        softmax: ((array(2, 3, 5),), {}),
    }


LAYERS = list(cases("float64"))
by_layer = pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.__name__.split(".")[-1])


def arrays_in(tree):
    """Every array in nested tuples, lists and mappings."""
    if isinstance(tree, np.ndarray | np.generic):
        return [tree]
    if isinstance(tree, dict):
        return arrays_in(list(tree.values()))
    if isinstance(tree, tuple | list):
        return [array for part in tree for array in arrays_in(part)]
    return []


def test_every_layer_is_here():

    assert {layer.__name__.split(".")[-1] for layer in LAYERS} == {
        m.name for m in pkgutil.iter_modules(layers.__path__)
    }


@by_layer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_array_keeps_the_dtype(layer, dtype):
    arguments, options = cases(dtype)[layer]
    out, cache = layer.forward(*arguments, **options)
    gradients = layer.backward(np.ones_like(out), cache)
    floats = [a for a in arrays_in([out, gradients]) if a.dtype.kind == "f"]
    assert floats and {str(array.dtype) for array in floats} == {dtype}


@by_layer
def test_nothing_given_is_written_to_and_the_same_call_gives_the_same_result(layer):
    arguments, options = cases("float64")[layer]
    before = [array.copy() for array in arrays_in(arguments)]
    out, cache = layer.forward(*arguments, **options)
    dout = np.random.default_rng(1).standard_normal(np.shape(out))
    dout_before, cache_before = dout.copy(), [array.copy() for array in arrays_in(cache)]
    first = layer.backward(dout, cache)
    for array, copy in zip(arrays_in(arguments), before, strict=True):
        np.testing.assert_array_equal(array, copy)
    for array, copy in zip(arrays_in(cache), cache_before, strict=True):
        np.testing.assert_array_equal(array, copy)
    np.testing.assert_array_equal(dout, dout_before)
    again = layer.backward(dout, cache)
    for a, b in zip(arrays_in(first), arrays_in(again), strict=True):
        np.testing.assert_array_equal(a, b)


@by_layer
def test_backward_is_linear_in_dout(layer):
    arguments, options = cases("float64")[layer]
    out, cache = layer.forward(*arguments, **options)
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal(np.shape(out)), rng.standard_normal(np.shape(out))
    parts = zip(*(arrays_in(layer.backward(d, cache)) for d in (a, b, 2 * a - 3 * b)), strict=True)
    for ga, gb, combined in parts:
        np.testing.assert_allclose(combined, 2 * ga - 3 * gb, rtol=1e-10, atol=1e-12)


@by_layer
def test_both_functions_say_what_they_take(layer):
    for function in (layer.forward, layer.backward):
        arguments = [name for name in inspect.signature(function).parameters if name != "cache"]
        assert all(name in (inspect.getdoc(function) or "") for name in arguments)
        assert all(p.annotation is not p.empty for p in inspect.signature(function).parameters.values())

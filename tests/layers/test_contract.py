"""What holds for every layer alike: dtypes and the letters of the contract; test_properties.py has the mathematics."""

import inspect
import math
import pkgutil
from types import SimpleNamespace

import numpy as np
import pytest

from tests.layers.test_block import block_params
from tinygpt import layers
from tinygpt.gradcheck.suite import definition
from tinygpt.kernels import twins as twins_of
from tinygpt.kernels.cpu.pieces import Pieces
from tinygpt.kernels.cuda import lm_head_loss as chunked_lm_head_loss
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

cpu = SimpleNamespace(**twins_of("cpu"))

TWINS = (cpu.attention, cpu.embedding, cpu.gelu, cpu.layernorm, cpu.linear, cpu.lm_head_loss)


def definition_of(layer):
    """The definition that bears the name of a twin; a definition itself."""
    return definition(layer.__name__.rpartition(".")[2]) if ".kernels." in layer.__name__ else layer


def cases(
    dtype, B=2, T=3, H=2, D=2, V=5, bias=True, approximate="tanh", denominator=None, p=0.2, seed=0,
    values=np.random.Generator.standard_normal,
):  # fmt: skip
    """{layer: (arguments, options)} of its forward, for every layer and twin; `values(rng, shape)` makes the arrays."""
    rng = np.random.default_rng(seed)
    C = H * D

    def array(*shape):
        return values(rng, shape).astype(dtype)

    def optional(*shape):
        return array(*shape) if bias else None

    params = {n: array(*w.shape) / math.sqrt(len(w)) for n, w in block_params(rng, C, bias).items()}
    idx, targets = rng.integers(V, size=(B, T)), rng.integers(-1, V, size=(B, T))
    head = (array(B * T, C), array(V, C), targets.reshape(-1), denominator), {"ops": DEFINITIONS}
    definitions = {
        attention: ((array(B, T, 3 * C), H, p), {"key": 3}),
        block: ((array(B, T, C), params, H, approximate, 1e-5, p), {"key": 3, "ops": DEFINITIONS}),
        cross_entropy: ((array(B, T, V), targets, denominator), {}),
        dropout: ((array(B, T, C), p), {"key": 3}),
        embedding: ((idx, array(V, C)), {}),
        gelu: ((array(B, T, C), approximate), {}),
        layernorm: ((array(B, T, C), array(C), optional(C)), {}),
        linear: ((array(B, T, C), array(C, V), optional(V)), {}),
        lm_head_loss: head,
        mlp: (
            (array(B, T, C), array(C, 4 * C), optional(4 * C), array(4 * C, C), optional(C), approximate),
            {"ops": DEFINITIONS},
        ),
        softmax: ((array(B, T, V),), {}),
    }
    twins = {twin: definitions[definition_of(twin)] for twin in TWINS}
    arguments, options = twins[cpu.attention]
    twins[cpu.attention] = arguments, options | {"rows": 2}  # several blocks of queries
    return definitions | twins | {chunked_lm_head_loss: head}


LAYERS = list(cases("float64"))
DEFINED = [layer for layer in LAYERS if ".kernels." not in layer.__name__]


def name(layer):
    return layer.__name__.removeprefix("tinygpt.")  # layers.linear, kernels.cpu.linear


by_layer = pytest.mark.parametrize("layer", LAYERS, ids=name)


def arrays_in(tree):
    """Every array in nested tuples, lists and mappings."""
    if isinstance(tree, np.ndarray | np.generic | Pieces):
        return [np.asarray(tree)]
    if isinstance(tree, dict):
        return arrays_in(list(tree.values()))
    if isinstance(tree, tuple | list):
        return [array for part in tree for array in arrays_in(part)]
    return []


def test_every_layer_is_here():
    leaves = {f"layers.{module.name}" for module in pkgutil.iter_modules(layers.__path__)}
    assert {name(layer) for layer in DEFINED} == leaves | {"MLP", "Block", "LMHeadLoss"}


@by_layer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_array_keeps_the_dtype(layer, dtype):
    arguments, options = cases(dtype)[layer]
    out, cache = layer.forward(*arguments, **options)
    gradients = layer.backward(np.ones_like(out), cache)
    floats = [a for a in arrays_in([out, gradients]) if a.dtype.kind == "f"]
    assert floats and {str(array.dtype) for array in floats} == {dtype}


@by_layer
def test_backward_leaves_its_cache_as_it_was(layer):
    arguments, options = cases("float64")[layer]
    out, cache = layer.forward(*arguments, **options)
    before = [array.copy() for array in arrays_in(cache)]
    layer.backward(np.random.default_rng(1).standard_normal(np.shape(out)), cache)
    for array, copy in zip(arrays_in(cache), before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("layer", DEFINED, ids=name)
def test_both_functions_say_what_they_take(layer):
    for function in (layer.forward, layer.backward):
        arguments = [name for name in inspect.signature(function).parameters if name != "cache"]
        assert all(name in (inspect.getdoc(function) or "") for name in arguments)
        assert all(p.annotation is not p.empty for p in inspect.signature(function).parameters.values())

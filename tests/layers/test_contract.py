"""What holds for every layer alike: dtypes and the letters of the contract; test_properties.py has the mathematics."""

import inspect
import pkgutil
from types import ModuleType

import numpy as np
import pytest

from tests.layers.implementations import arrays_in, definitions, random_like, twins
from tinygpt import layers
from tinygpt.gradcheck.library import CASES, definition

FILES = [twin for twin in [*twins("cpu"), *twins("cuda")] if isinstance(twin.functions, ModuleType)]


def parameters(function):
    return list(inspect.signature(function).parameters.values())


def test_every_layer_has_its_proof():
    missing = {module.name for module in pkgutil.iter_modules(layers.__path__)} - set(CASES)
    assert not missing, f"{missing}: a layer's cases and mistakes stand in tinygpt/gradcheck/layers/, under its name"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_array_keeps_the_dtype(implementation, dtype):
    for inputs in implementation.examples(dtype):
        out, cache = implementation.forward(inputs)
        gradients = implementation.backward(random_like(out), cache)
        floats = [array for array in arrays_in([out, gradients]) if array.dtype.kind == "f"]
        assert floats and {str(array.dtype) for array in floats} == {dtype}


def test_backward_leaves_its_cache_as_it_was(implementation):
    for inputs in implementation.examples():
        out, cache = implementation.forward(inputs)
        before = [array.copy() for array in arrays_in(cache)]
        implementation.backward(random_like(out), cache)
        for array, copy in zip(arrays_in(cache), before, strict=True):
            np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("twin", FILES, ids=lambda twin: twin.title)
def test_a_twin_takes_what_its_definition_takes(twin):
    """More may only be options of its own."""
    taken, defined = parameters(twin.functions.forward), parameters(definition(twin.layer).forward)
    own = {parameter.name for parameter in taken} - {parameter.name for parameter in defined}
    assert [p.name for p in taken if p.name not in own] == [p.name for p in defined]
    assert all(p.default is not p.empty and p.kind is p.KEYWORD_ONLY for p in taken if p.name in own)


@pytest.mark.parametrize("layer", definitions(), ids=lambda layer: layer.title)
def test_both_functions_say_what_they_take(layer):
    for function in (layer.functions.forward, layer.functions.backward):
        names = [parameter.name for parameter in parameters(function) if parameter.name != "cache"]
        assert all(name in (inspect.getdoc(function) or "") for name in names)
        assert all(parameter.annotation is not parameter.empty for parameter in parameters(function))

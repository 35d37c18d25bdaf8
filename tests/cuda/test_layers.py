"""Every layer, and every fast twin for a card, computes on a card what its definition computes in NumPy."""

import numpy as np
import pytest

from tests.layers.implementations import arrays_in, definitions, draws, examples, leaves, random_like, twins
from tests.parity.comparison import assert_agree
from tinygpt.backend import array_module
from tinygpt.gradcheck.cases import Draw
from tinygpt.gradcheck.library import definition

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}

every = pytest.mark.parametrize("layer", [*definitions("cuda"), *twins("cuda")], ids=lambda layer: layer.title)


@pytest.mark.parametrize("dtype", TOLERANCE)
@every
def test_forward_and_backward_are_numpys(layer, dtype, cuda):
    defined = definition(layer.layer)
    for inputs in examples(layer.layer, dtype, draws(Draw, 2)):
        out, cache = layer.forward(inputs)
        dout = random_like(out)
        on_card = leaves([out, layer.backward(dout, cache)])
        assert all(array.dtype == dtype and array_module(array) is not np for array in on_card)
        expected, cache = defined.forward(**inputs)
        expected = arrays_in([expected, defined.backward(dout, cache)])
        names = ["out", *(f"gradient {number}" for number in range(1, len(expected)))]
        ours = dict(zip(names, arrays_in(on_card), strict=True))
        assert_agree(ours, dict(zip(names, expected, strict=True)), TOLERANCE[dtype])


@every
def test_no_layer_makes_the_host_wait_or_copies_what_is_t_by_t(layer, card):
    for inputs in examples(layer.layer, "float32", draws(Draw, 1)):
        inputs = layer.placed(inputs)
        dout = layer.placed(random_like(layer.forward(inputs)[0]))
        card.reset()
        _, cache = layer.functions.forward(**inputs)
        layer.functions.backward(dout, cache)
        assert not card.syncs and not card.uploads
        x = next(iter(inputs.values()))
        assert x.ndim < 3 or x.shape[1] == 1 or not [c for c in card.copies if c.shape[-2:] == (x.shape[1],) * 2]

import numpy as np
import pytest

from tests.derivatives import assert_gradients
from tinygpt.kernels.cpu import lm_head_loss as chunked
from tinygpt.layers import lm_head_loss
from tinygpt.ops import DEFINITIONS

TARGETS = np.array([3, -1, 0, 3, 6])


@pytest.mark.parametrize("denominator", [None, 9.0])
@pytest.mark.parametrize("rows", [None, 2], ids=["definition", "chunked"])
def test_gradients(rng, rows, denominator):
    layer, options = (chunked, {"rows": rows}) if rows else (lm_head_loss, {})
    inputs = {"x": rng.standard_normal((5, 4)), "w": rng.standard_normal((7, 4))}

    def forward(x, w):
        return layer.forward(x, w, TARGETS, denominator, ops=DEFINITIONS, **options)

    assert_gradients(forward, lambda dout, cache: tuple(map(np.asarray, layer.backward(dout, cache))), inputs)


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_chunks_of_any_size_give_the_definition(rng, rows):
    x, w, dout = rng.standard_normal((5, 4)), rng.standard_normal((7, 4)), np.float64(1.7)
    expected, cache = lm_head_loss.forward(x, w, TARGETS, ops=DEFINITIONS)
    loss, chunk_cache = chunked.forward(x, w, TARGETS, ops=DEFINITIONS, rows=rows)
    np.testing.assert_allclose(loss, expected, rtol=1e-14)
    for ours, definition in zip(chunked.backward(dout, chunk_cache), lm_head_loss.backward(dout, cache), strict=True):
        np.testing.assert_allclose(np.asarray(ours), definition, rtol=1e-13, atol=1e-16)


def test_evaluation_keeps_nothing(rng):
    x, w = rng.standard_normal((5, 4)), rng.standard_normal((7, 4))
    loss, cache = chunked.forward(x, w, TARGETS, need_grad=False, ops=DEFINITIONS)
    assert cache is None
    np.testing.assert_allclose(loss, lm_head_loss.forward(x, w, TARGETS, ops=DEFINITIONS)[0], rtol=1e-14)


def test_logits_of_chunks_never_exist_whole(rng):
    seen = []

    class Spy:
        def forward(self, logits, *arguments):
            seen.append(logits.shape)
            return DEFINITIONS.cross_entropy.forward(logits, *arguments)

        backward = staticmethod(DEFINITIONS.cross_entropy.backward)

    ops = DEFINITIONS.replace(cross_entropy=Spy())
    chunked.forward(rng.standard_normal((5, 4)), rng.standard_normal((7, 4)), TARGETS, ops=ops, rows=2)
    assert seen == [(2, 7), (2, 7), (1, 7)]

import pytest

from tests.derivatives import assert_gradients
from tinygpt.layers import mlp
from tinygpt.ops import DEFINITIONS


@pytest.mark.parametrize("approximate", ["tanh", "none"])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients(rng, approximate, bias):
    C = 3
    inputs = {
        "x": rng.standard_normal((2, 2, C)),
        "w_fc": rng.standard_normal((C, 4 * C)),
        "b_fc": rng.standard_normal(4 * C) if bias else None,
        "w_proj": rng.standard_normal((4 * C, C)),
        "b_proj": rng.standard_normal(C) if bias else None,
    }
    assert_gradients(lambda **x: mlp.forward(**x, approximate=approximate, ops=DEFINITIONS), mlp.backward, inputs)

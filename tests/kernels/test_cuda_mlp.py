"""The fused MLP, on the stand-in for a card."""

import warnings

import numpy as np
import pytest

from tests.cuda import strict_cupy
from tests.kernels.beside import assert_right, launches, normal, placed, same_bits
from tests.layers.implementations import leaves
from tinygpt.errors import Note
from tinygpt.kernels import twins
from tinygpt.kernels.cuda import columns, compiled
from tinygpt.kernels.cuda import mlp as kernel
from tinygpt.kernels.cuda.unfinished import Product, Sums
from tinygpt.models.gpt2 import MLP
from tinygpt.ops import DEFINITIONS, build

biases = pytest.mark.parametrize("bias", ["both", "none", "fc", "proj"])


@pytest.fixture
def card():
    with strict_cupy.installed() as card:
        yield card


def drawn(lead, C, hidden, n_out, bias="both", dtype="float32", approximate="tanh"):
    return {
        "x": normal(*lead, C, dtype=dtype),
        "w_fc": normal(C, hidden, dtype=dtype),
        "b_fc": normal(hidden, dtype=dtype) if bias in ("both", "fc") else None,
        "w_proj": normal(hidden, n_out, dtype=dtype),
        "b_proj": normal(n_out, dtype=dtype, seed=1) if bias in ("both", "proj") else None,
        "approximate": approximate,
        "ops": DEFINITIONS,
    }


@biases
@pytest.mark.parametrize("approximate", ["tanh", "none"])
@pytest.mark.parametrize("sizes", [((2, 3), 5, 20, 5), ((1,), 1, 1, 1), ((0, 2), 3, 12, 3), ((3, 67), 6, 45, 4)])
def test_any_shape_gives_the_definitions_results(card, sizes, approximate, bias):
    assert_right("mlp", drawn(*sizes, bias, approximate=approximate))


@biases
def test_rows_beyond_the_first_of_each_block_are_computed_too(card, monkeypatch, bias):
    monkeypatch.setattr(columns, "PARTS", 2)
    assert_right("mlp", drawn((300,), 3, 37, 4, bias))


@pytest.mark.parametrize(
    ("bias", "forward", "backward"), [("none", 3, 5), ("both", 4, 6), ("fc", 3, 5), ("proj", 4, 6)]
)
def test_launches(card, bias, forward, backward):
    """Backward with the weights' gradients, which are added by a product each; the biases' are added all at once."""
    inputs = placed(drawn((4, 9), 3, 12, 3, bias))
    dout = placed(normal(4, 9, 3))
    card.reset()
    _, cache = kernel.forward(**inputs)
    assert len(card.launches) == forward
    card.reset()
    _, dw_fc, db_fc, dw_proj, db_proj = kernel.backward(dout, cache)
    totals = [(dw, placed(np.zeros(dw.shape, np.float32))) for dw in (dw_fc, dw_proj)]
    card.launches = [launch for launch in card.launches if launch.what != "full"]
    Product.add_all(totals)
    assert len(card.launches) == backward
    sums = [(db, placed(np.zeros(db.shape, np.float32))) for db in (db_fc, db_proj) if db is not None]
    Sums.add_all(sums)
    assert launches(card).count("add_sums") == (len(sums) > 0)
    assert not card.syncs and not card.copies


def test_x_h_and_a_are_kept_and_nothing_else_of_their_size(card):
    inputs = placed(drawn((4, 9), 3, 12, 3))
    _, cache = kernel.forward(**inputs)
    ours = [array for array in leaves(cache) if not any(array is given for given in inputs.values())]
    assert [array.shape for array in ours] == [(36, 12), (36, 12)]


def test_backward_writes_to_nothing_that_was_given_and_can_be_called_again(card):
    inputs = placed(drawn((4, 9), 3, 12, 3))
    _, cache = kernel.forward(**inputs)
    before = [array.get() for array in leaves(cache)]
    dout = placed(normal(4, 9, 3))
    first, second = ([array.get() for array in leaves(kernel.backward(dout, cache))] for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    for array, copy in zip(leaves(cache), before, strict=True):
        np.testing.assert_array_equal(array.get(), copy)
    np.testing.assert_array_equal(dout.get(), normal(4, 9, 3))


def test_extreme_inputs_stay_finite(card):
    inputs = drawn((3, 5), 4, 16, 4)
    inputs["x"] *= np.float32(1e4)
    assert_right("mlp", inputs)
    out, cache = kernel.forward(**placed(inputs))
    gradients = kernel.backward(placed(normal(3, 5, 4)), cache)
    assert all(np.isfinite(array.get()).all() for array in leaves([out, gradients]))


def test_transposed_weights_are_read_as_they_lie(card):
    inputs = placed(drawn((3,), 4, 16, 4))
    turned = inputs | {name: inputs[name].T.copy().T for name in ("w_fc", "w_proj")}
    card.reset()
    out, cache = kernel.forward(**turned)
    dx, *_ = kernel.backward(out, cache)
    assert not card.copies
    right, right_cache = kernel.forward(**inputs)
    np.testing.assert_allclose(out.get(), right.get(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dx.get(), kernel.backward(out, right_cache)[0].get(), rtol=1e-4, atol=1e-4)


def test_another_form_is_refused_as_the_definition_refuses_it(card):
    with pytest.raises(ValueError, match="'relu'"):
        kernel.forward(**placed(drawn((2,), 3, 12, 3, approximate="relu")))


def test_biases_of_other_lengths_are_refused(card):
    for name, n in (("b_fc", 12), ("b_proj", 3)):
        inputs = placed(drawn((2,), 3, 12, 3) | {name: normal(5)})
        with pytest.raises(ValueError, match=rf"b has the shape \(5,\); expected \({n},\)"):
            kernel.forward(**inputs)


def test_float16_is_the_layers_own_affair(card, monkeypatch):
    monkeypatch.setattr(compiled, "_told", set())
    inputs = drawn((2, 3), 3, 12, 3, dtype="float16")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        out, cache = kernel.forward(**placed(inputs) | {"ops": build("auto", "cuda")})
        gradients = kernel.backward(out, cache)
    said = {str(w.message).partition(" does")[0] for w in said if w.category is Note}
    assert said == {"the kernel of linear", "the kernel of gelu"}
    expected, right = MLP.forward(**inputs)
    for ours, theirs in zip((out, *gradients), (expected, *MLP.backward(expected, right)), strict=True):
        np.testing.assert_allclose(ours.get(), theirs, rtol=0.05, atol=0.5)


def test_the_same_bits_in_any_order(card, monkeypatch):
    inputs, dout = placed(drawn((300,), 3, 40, 3)), placed(normal(300, 3))

    def compute():
        out, cache = kernel.forward(**inputs)
        return out, kernel.backward(dout, cache)

    assert same_bits(card, monkeypatch, compute)


@pytest.mark.parametrize("layer", ["gelu", "mlp", "linear"])
def test_a_gradient_of_another_dtype_is_taken_as_the_definition_takes_it(card, layer):
    inputs = {"x": normal(3, 4), "w_fc": normal(4, 8), "b_fc": normal(8), "w_proj": normal(8, 4), "b_proj": normal(4)}
    inputs = {"gelu": {"x": normal(3, 4)}, "linear": {"x": normal(3, 4), "w": normal(4, 4)}, "mlp": inputs}[layer]
    more = {"ops": build("auto", "cuda")} if layer == "mlp" else {}
    twin = twins("cuda")[layer]
    gradients = [
        leaves(twin.backward(placed(dout), twin.forward(**placed(inputs), **more)[1]))
        for dout in (normal(3, 4), normal(3, 4).astype("float64"))
    ]
    for one, other in zip(*gradients, strict=True):
        assert one.dtype == other.dtype == "float32"
        np.testing.assert_array_equal(one.get(), other.get())

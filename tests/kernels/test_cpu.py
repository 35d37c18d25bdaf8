"""The CPU's fast twins, held against their definitions."""

import math
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from tests.layers.implementations import arrays_in, cut_blocks, draws, each_array, examples, random_like, twins
from tests.parity.comparison import relative_error
from tinygpt.gradcheck.cases import Draw
from tinygpt.gradcheck.library import definition
from tinygpt.kernels import twins as twins_of
from tinygpt.kernels.cpu.pieces import Pieces
from tinygpt.layers import attention, embedding, gelu, layernorm
from tinygpt.ops import DEFINITIONS

cpu = SimpleNamespace(**twins_of("cpu"))
rng = np.random.default_rng(0)


def normal(*shape, dtype="float32"):
    return rng.standard_normal(shape).astype(dtype)


class Large(Draw):
    """Sizes that make several blocks of everything, most of them odd; those that a layer keeps small stay small."""

    def sizes(self, count: int, least: int = 2, most: int = 7) -> list[int]:
        large = [int(n) for n in self.rng.permutation([5, 12, 31, 67, 101])[:count]]
        return large if most == 7 else super().sizes(count, least, most)


def turned(x):
    """The same numbers, neither contiguous nor the transpose of what is."""
    if x.dtype.kind != "f" or x.ndim < 2:
        return x
    wide = np.empty((*x.shape[:-2], 2 * x.shape[-1], x.shape[-2]), x.dtype)
    view = wide[..., ::-2, :].swapaxes(-1, -2)
    view[...] = x
    return view


def as_float64(x):
    return x.astype(np.float64) if x.dtype.kind == "f" else x


def assert_computes_what_its_definition_does(twin, inputs, arranged=np.copy, **own):
    """own: options that the definition has not."""
    exactly = definition(twin.layer)
    exact, exact_cache = exactly.forward(**each_array(as_float64, inputs))
    out, cache = twin.forward(each_array(arranged, inputs) | own)
    dout = random_like(out)
    ours = arrays_in([out, twin.backward(arranged(dout), cache)])
    expected = arrays_in([exact, exactly.backward(as_float64(dout), exact_cache)])
    largest = max(np.abs(x).max() for x in arrays_in(inputs) if x.dtype.kind == "f")
    for number, (a, b) in enumerate(zip(ours, expected, strict=True)):
        assert a.dtype == out.dtype and a.shape == b.shape
        # a saturated softmax leaves little of large terms, whose rounding then counts
        tolerance = {"float32": 2e-6, "float64": 2e-14}[str(a.dtype)] * (50 if largest > 20 else 1)
        assert relative_error(a, b) < tolerance, (number, inputs)


@pytest.mark.parametrize("arranged", [np.copy, turned])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("twin", twins("cpu"), ids=lambda twin: twin.title)
def test_a_twin_computes_what_its_definition_does(twin, dtype, arranged, monkeypatch):
    cut_blocks(monkeypatch, 1000)
    for inputs in examples(twin.layer, dtype, draws(Large, 3)):
        assert_computes_what_its_definition_does(twin, inputs, arranged)


@pytest.mark.parametrize(
    ("layer", "inputs"),
    [
        ("attention", {"qkv": normal(1, 200, 96), "n_head": 2}),
        ("embedding", {"idx": rng.integers(1000, size=(4, 50)), "w": normal(1000, 8)}),
        ("gelu", {"x": normal(3, 70001), "approximate": "none"}),
        ("layernorm", {"x": normal(3001, 65), "w": normal(65)}),
        ("layernorm", {"x": normal(30, 1), "w": normal(1), "b": normal(1)}),
        ("linear", {"x": normal(3, 800), "w": normal(800, 900)}),
        ("lm_head_loss", {
            "x": normal(70, 40), "w": normal(30011, 40), "targets": rng.integers(30011, size=70), "ops": DEFINITIONS,
        }),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_twin_works_on_real_sizes_too(layer, inputs):
    """More than one block without making them smaller: the constants are right as they stand."""
    twin = next(twin for twin in twins("cpu") if twin.layer == layer)
    assert_computes_what_its_definition_does(twin, inputs)


# GELU


def test_the_polynomial_of_the_exact_form_is_within_half_a_rounding_of_float32():
    x = np.linspace(-12, 12, 240_001)
    exact = np.array([0.5 * math.erfc(-point / math.sqrt(2)) for point in x])
    approximation = 0.5 * (1 + np.tanh(x * np.polynomial.polynomial.polyval(x * x, cpu.gelu._EXACT)))
    assert 2.8e-8 < np.abs(approximation - exact).max() < 2.95e-8 < np.finfo(np.float32).eps / 4


@pytest.mark.parametrize("approximate", ["tanh", "none"])
def test_float32_is_at_most_twice_as_far_off_as_the_definition_near_and_far(approximate):
    x = np.concatenate([np.linspace(-12, 12, 100_001), [-1e18, -2000, -60, 0, 60, 2000, 1e18]]).astype(np.float32)
    dout = np.ones_like(x)
    exact, exact_cache = gelu.forward(x.astype(np.float64), approximate)
    worst = {}
    for module in (gelu, cpu.gelu):
        with np.errstate(over="ignore"):  # the cube of 1e18
            out, cache = module.forward(x, approximate)
        errors = (
            (out - exact) / np.maximum(1, abs(exact)),
            module.backward(dout, cache) - gelu.backward(dout, exact_cache),
        )
        worst[module] = [np.abs(error).max() for error in errors]
    assert np.all(np.array(worst[cpu.gelu]) <= 2 * np.array(worst[gelu])), worst


def test_the_twin_of_gelu_refuses_what_its_definition_refuses():
    for module in (gelu, cpu.gelu):
        with pytest.raises(ValueError, match="approximate is 'relu'"):
            module.forward(np.ones(3), "relu")


# LayerNorm


@pytest.mark.parametrize("offset", [0.1, 123.456, 1e4 / 3])
def test_a_large_mean_costs_no_more_than_in_the_definition(offset):
    w = np.ones(768, np.float32)
    constant = np.full((3, 768), offset, np.float32)
    assert np.abs(cpu.layernorm.forward(constant, w)[0]).max() <= np.abs(layernorm.forward(constant, w)[0]).max() + 1e-6
    x = (offset + 0.01 * rng.standard_normal((50, 768))).astype(np.float32)
    exact = layernorm.forward(x.astype(np.float64), w)[0]
    errors = [relative_error(module.forward(x, w)[0], exact) for module in (cpu.layernorm, layernorm)]
    assert errors[0] <= errors[1]


# Attention


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("arranged", [np.copy, turned])
@pytest.mark.parametrize(
    ("n_head", "size", "dropped", "own"),
    [
        (3, 1, {}, {}),
        (3, 1, {"dropout": 0.3, "key": 11, "row": 4}, {}),
        (15, 1, {}, {"rows": 10}),
        (3, 40, {}, {}),  # scores beyond what exp can take
    ],
)
def test_attention_over_several_blocks_of_queries(n_head, size, dropped, own, arranged, dtype):
    attention = next(twin for twin in twins("cpu") if twin.layer == "attention")
    qkv = size * normal(3, 67, 3 * 15, dtype=dtype)
    assert_computes_what_its_definition_does(attention, {"qkv": qkv, "n_head": n_head} | dropped, arranged, **own)


def test_an_overflow_that_only_a_later_position_has_stays_there():
    qkv = np.ones((1, 3, 6), np.float32)
    qkv[0, 2, 2:4] = 3e38
    with np.errstate(all="ignore"):
        for module in (attention, cpu.attention):
            np.testing.assert_array_equal(np.isnan(module.forward(3 * qkv, 1)[0][0, :, 0]), [False, False, True])


@pytest.mark.parametrize("size", [1.0, 5.0, 30.0, 1e3, 1e18])
def test_scores_of_any_size_are_finite_and_right(size):
    qkv = normal(2, 9, 12, dtype="float32") * np.float32(size)
    out, cache = cpu.attention.forward(qkv, 2)
    dqkv = cpu.attention.backward(np.ones_like(out), cache)
    assert np.isfinite(out).all() and np.isfinite(dqkv).all()
    assert relative_error(out, attention.forward(qkv.astype(np.float64), 2)[0]) < 1e-6 * max(1, min(size, 30)) ** 2


def test_a_score_that_only_a_later_position_has_does_not_starve_the_earlier_ones():
    qkv = np.zeros((1, 4, 6), np.float32)
    qkv[0, 3, 2:4] = 1e4  # the last key, large for queries that may not see it
    qkv[..., :2] = 1
    qkv[0, :, 4:] = normal(4, 2, dtype="float32")
    out, _ = cpu.attention.forward(qkv, 1)
    np.testing.assert_allclose(out, attention.forward(qkv, 1)[0], rtol=1e-5)


def test_half_of_the_scores_are_not_computed():
    _, (_, _, _, blocks, exps, *_) = cpu.attention.forward(normal(1, 1024, 24, dtype="float32"), 2)
    computed = sum(e.shape[2] * e.shape[3] for e in exps)
    assert len(blocks) == 16 and computed / 1024**2 == (16 + 1) / 32


# Gradients in pieces


def test_rows_of_a_gradient_in_pieces_are_made_when_they_are_read_and_only_then():
    made = []
    whole = normal(7, 4)
    pieces = Pieces((7, 4), "float32", lambda rows: made.append(rows) or whole[rows])
    assert made == [] and pieces.shape == (7, 4) and pieces.dtype == np.float32
    np.testing.assert_array_equal(pieces[2:5], whole[2:5])
    assert made == [slice(2, 5)]


def test_gradients_in_pieces_can_be_added_to_arrays():
    whole, start = normal(7, 4), normal(7, 4)
    grads = {"w": start.copy()}
    grads["w"] += Pieces((7, 4), "float32", lambda rows: whole[rows])
    np.testing.assert_array_equal(grads["w"], start + whole)
    assert np.asarray(Pieces((7, 4), "float32", lambda rows: whole[rows]), np.float64).dtype == np.float64


@pytest.mark.parametrize("name", ["embedding", "lm_head_loss"])
def test_every_piece_is_those_rows_of_the_whole(name):
    x, w, idx = normal(9, 6, dtype="float64"), normal(20, 6, dtype="float64"), rng.integers(20, size=9)
    if name == "embedding":
        dw = cpu.embedding.backward(x, cpu.embedding.forward(idx, w)[1])
    else:
        dw = cpu.lm_head_loss.backward(np.float64(2), cpu.lm_head_loss.forward(x, w, idx, ops=DEFINITIONS)[1])[1]
    for rows in (slice(0, 20), slice(0, 7), slice(3, 4), slice(5, 5), slice(14, 99)):
        np.testing.assert_allclose(dw[rows], np.asarray(dw)[rows], rtol=1e-13)


def test_ids_from_the_end_get_their_gradient_as_in_the_definition():
    w, idx = normal(10, 3, dtype="float64"), np.array([[-1, 2, -1]])
    dout = normal(1, 3, 3, dtype="float64")
    dw = [m.backward(dout, m.forward(idx, w)[1]) for m in (cpu.embedding, embedding)]
    np.testing.assert_array_equal(*dw)


def test_the_gradient_of_a_large_vocabulary_is_only_the_rows_that_were_read():
    w = normal(20_000, 50)
    out, cache = cpu.embedding.forward(np.array([[7, 3, 7]]), w)
    tracemalloc.start()
    try:
        dw = cpu.embedding.backward(out, cache)
        assert isinstance(dw, Pieces) and tracemalloc.get_traced_memory()[1] < w.nbytes / 100
    finally:
        tracemalloc.stop()


def test_the_head_makes_nothing_of_the_embeddings_size_where_the_batch_is_small():
    x, w = normal(3, 50, dtype="float32"), normal(20_000, 50, dtype="float32")
    tracemalloc.start()
    try:
        _, cache = cpu.lm_head_loss.forward(x, w, np.array([1, 2, 3]), ops=DEFINITIONS)
        _, dw = cpu.lm_head_loss.backward(np.float32(1), cache)
        assert isinstance(dw, Pieces) and tracemalloc.get_traced_memory()[1] < w.nbytes / 2
    finally:
        tracemalloc.stop()


def test_evaluation_keeps_nothing():
    x, w = normal(3, 8, dtype="float32"), normal(10, 8, dtype="float32")
    assert cpu.lm_head_loss.forward(x, w, np.array([1, 2, 3]), need_grad=False, ops=DEFINITIONS)[1] is None

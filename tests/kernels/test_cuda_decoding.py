"""What generates one token of each of few sequences on a card, held against the definitions in float64."""

import dataclasses

import ml_dtypes
import numpy as np
import pytest

from tests.cuda import strict_cupy
from tests.kernels.beside import launches, normal, same_bits
from tests.parity.comparison import relative_error
from tests.test_model import SMALL, model_with_weights_of_order_one
from tinygpt import GPT
from tinygpt.backend import to_device, to_host
from tinygpt.kernels.cuda import decoding, stack
from tinygpt.layers import attention, gelu, layernorm
from tinygpt.layers import linear as linear_definition
from tinygpt.ops import build

TOLERANCE = {"float64": 1e-10, "float32": 1e-5, "bfloat16": 2e-2}
EPS = 1e-5


@pytest.fixture(autouse=True)
def card():
    with strict_cupy.installed() as card:
        yield card


def numbers(dtype, *shape, seed=0, scale=1.0):
    """As a card keeps them, and the same on the host in float64. Vectors are in what is computed in."""
    return kept(scale * normal(*shape, dtype="float64", seed=seed), dtype)


def kept(array, dtype):
    if dtype == "bfloat16":
        dtype = "float32" if array.ndim == 1 else ml_dtypes.bfloat16
    return to_device(array.astype(dtype), "cuda"), array.astype(dtype).astype("float64")


def assert_right(ours, right, dtype):
    assert relative_error(to_host(ours).astype("float64"), right) <= TOLERANCE[dtype]


def linear_by_leaves(x, w, b, norm, approximate, residual):
    if norm:
        x, _ = layernorm.forward(x, *norm)
    h, _ = linear_definition.forward(x, w, b)
    if approximate:
        h, _ = gelu.forward(h, approximate)
    return h if residual is None else residual + h


def linear_both(dtype, B, n_in, n_out, bias=True, norm=True, approximate=None, residual=False):
    (x, x64), (w, w64) = numbers(dtype, B, n_in), numbers(dtype, n_in, n_out, scale=n_in**-0.5)
    b, b64 = numbers(dtype, n_out, seed=1) if bias else (None, None)
    r, r64 = numbers(dtype, B, n_out, seed=2) if residual else (None, None)
    (g, g64), (s, s64) = numbers(dtype, n_in, seed=3), numbers(dtype, n_in, seed=4) if bias else (None, None)
    ours = decoding.linear(x, w, b, (g, s, EPS) if norm else None, approximate, r)
    return ours, linear_by_leaves(x64, w64, b64, (g64, s64, EPS) if norm else None, approximate, r64)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("B", range(1, 9))
def test_linear_of_every_number_of_rows(B, dtype):
    assert_right(*linear_both(dtype, B, 33, 19, approximate="tanh"), dtype)
    assert_right(*linear_both(dtype, B, 33, 19, norm=False, residual=True), dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("n_in, n_out", [(1, 1), (2, 16), (31, 15), (32, 17), (129, 8), (517, 33), (1031, 5)])
def test_linear_of_odd_sizes(n_in, n_out, dtype):
    for B in (1, 3):
        assert_right(*linear_both(dtype, B, n_in, n_out, norm=n_in > 1), dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("approximate", [None, "tanh", "none"])
@pytest.mark.parametrize("residual", [True, False])
def test_linear_with_and_without_what_surrounds_it(residual, approximate, norm, bias, dtype):
    assert_right(*linear_both(dtype, 2, 40, 21, bias, norm, approximate, residual), dtype)


@pytest.mark.parametrize("dtype, mean", [("float64", 1e4), ("float32", 100.0)])
def test_layernorm_of_rows_with_a_large_mean(dtype, mean):
    """The input is rounded as it is made, on both sides alike."""
    x = (normal(3, 70, dtype="float64") + mean).astype(dtype)
    (w, w64), (b, b64) = numbers(dtype, 70, seed=1), numbers(dtype, 70, seed=2)
    right, _ = layernorm.forward(x.astype("float64"), w64, b64, EPS)
    assert_right(decoding.layernorm(to_device(x, "cuda"), w, b, EPS), right, dtype)
    m, m64 = numbers(dtype, 70, 9, seed=3)
    assert_right(decoding.linear(to_device(x, "cuda"), m, norm=(w, b, EPS)), right @ m64, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("B, C", [(1, 1), (2, 31), (8, 257), (1, 768)])
def test_layernorm(B, C, dtype):
    (x, x64), (w, w64), (b, b64) = (numbers(dtype, *shape, seed=len(shape)) for shape in ((B, C), (C,), (C,)))
    for bias, bias64 in ((b, b64), (None, None)):
        assert_right(decoding.layernorm(x, w, bias, EPS), layernorm.forward(x64, w64, bias64, EPS)[0], dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("B, V, C", [(1, 1, 1), (2, 65, 31), (3, 9, 200), (8, 17, 129), (1, 50, 768)])
def test_head(B, V, C, dtype):
    (x, x64), (w, w64) = numbers(dtype, B, C), numbers(dtype, V, C, seed=1)
    logits = stack.logits(x, w)
    assert logits.dtype.name == ("float32" if dtype == "bfloat16" else dtype)
    assert_right(logits, x64 @ w64.T, dtype)


def attention_both(dtype, B, H, D, start, capacity, scale=1.0):
    """(ours, right): out, keys and values, what is beyond `start` zero."""
    (qkv, qkv64) = numbers(dtype, B, 3 * H * D, scale=scale)
    stored, right = zip(*(numbers(dtype, B, H, capacity, D, seed=seed) for seed in (1, 2)), strict=True)
    q, right[0][:, :, start : start + 1], right[1][:, :, start : start + 1] = attention.split_heads(qkv64[:, None], H)
    out = decoding.attention(qkv, *stored, start, H)
    return (out, *stored), (attention.decode(q, *(x[:, :, : start + 1] for x in right))[:, 0], *right)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("start", [0, 1, 31, 32, 200])
def test_attention_at_every_length_takes_in_the_new_key_and_value(start, dtype):
    ours, right = attention_both(dtype, 2, 3, 10, start, start + 3)
    assert_right(ours[0], right[0], dtype)
    for cache, expected in zip(ours[1:], right[1:], strict=True):
        np.testing.assert_array_equal(to_host(cache).astype("float64"), expected)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("D", [1, 31, 32, 33, 64, 100, 160, 256])
def test_attention_of_every_size_of_head(D, dtype):
    ours, right = attention_both(dtype, 1, 2, D, 70, 71)
    assert_right(ours[0], right[0], dtype)


@pytest.mark.parametrize("dtype, scale", [("float64", 1e3), ("float32", 30.0), ("float64", 1e150)])
def test_attention_of_large_scores(dtype, scale):
    ours, right = attention_both(dtype, 2, 2, 8, 90, 91, scale)
    assert_right(ours[0], right[0], dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_bits_are_the_same_in_any_order(card, monkeypatch, dtype):
    def compute():
        (x, _), (w, _) = numbers(dtype, 3, 70), numbers(dtype, 40, 70)
        return [
            linear_both(dtype, 3, 70, 40, approximate="tanh", residual=True)[0],
            *attention_both(dtype, 2, 2, 40, 150, 151)[0],
            stack.logits(x, w),
        ]

    assert same_bits(card, monkeypatch, lambda: tuple(x.astype("float64") for x in map(to_host, compute())))


# In the model

CONFIGS = {
    "plain": dataclasses.replace(SMALL, n_layer=3, block_size=40),
    "no biases, exact GELU": dataclasses.replace(SMALL, bias=False, activation_function="gelu", block_size=40),
}


def models(config, dtype):
    """On a card, on a card without these kernels, and by the definitions in float64."""

    def model(device, dtype, kernels):
        return model_with_weights_of_order_one(config, device=device, dtype=dtype, ops=build(kernels, device))

    return model("cuda", dtype, "auto"), model("cuda", dtype, "reference"), model("cpu", "float64", "reference")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("B", [1, 3, 8])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_token_is_decoded_as_by_the_definitions(card, config, B, dtype):
    model, _, right = models(config, dtype)
    ids = np.random.default_rng(0).integers(0, config.vocab_size, (B, 8))
    ours, expected = (m._memory(B, 8) for m in (model, right))
    for start, end in ((0, 3), (3, 4), (4, 6), (6, 7), (7, 8)):
        idx, out = to_device(ids[:, start:end], "cuda"), right.decode(ids[:, start:end], start, expected)
        card.reset()
        assert_right(model.decode(idx, start, ours), out, dtype)
        assert ("decode_attention" in launches(card)) == (end - start == 1)
        for cache, its in zip(ours, expected, strict=True):
            assert_right(cache[..., :end, :], its[..., :end, :], dtype)


def test_a_token_in_bfloat16_is_decoded_as_by_the_definitions():
    """Matrices rounded to bfloat16 on both sides."""
    config = CONFIGS["plain"]
    right = models(config, "float64")[2]
    layers = []
    for params in right.layer_params:
        pairs = {name: kept(array, "bfloat16") for name, array in params.items()}
        layers.append({name: ours for name, (ours, _) in pairs.items()})
        for name, (_, array) in pairs.items():
            params[name][...] = array
    B, length, (x, x64) = 3, 5, numbers("bfloat16", 3, 1, config.n_embd)
    shape = (config.n_layer, B, config.n_head, 8, config.n_embd // config.n_head)
    (keys, keys64), (values, values64) = (numbers("bfloat16", *shape, seed=seed) for seed in (1, 2))
    w, b = (to_device(right.params[f"ln_f.{name}"].astype("float32"), "cuda") for name in ("weight", "bias"))
    assert stack.decodes(x, layers, keys, values)
    out = stack.decode(x, layers, w, b, keys, values, length, config.n_head)
    for params, k, v in zip(right.layer_params, keys64, values64, strict=True):
        x64 = right.block.decode(x64, params, k, v, length, config.n_head, ops=right.ops)
    expected, _ = layernorm.forward(x64, right.params["ln_f.weight"], right.params["ln_f.bias"])
    assert out.dtype == x.dtype
    assert_right(out, expected, "bfloat16")
    assert_right(keys, keys64, "bfloat16")
    assert_right(values, values64, "bfloat16")


@pytest.mark.parametrize("B, length", [(1, 1), (2, 5), (9, 3)])
def test_generated_text_is_the_same_as_without_the_kernels(card, B, length):
    """Beyond the window, whose older half is encoded anew; nine sequences are more than the kernels take."""
    config = dataclasses.replace(SMALL, block_size=12)
    model, plain, _ = models(config, "float64")
    prompt = np.random.default_rng(1).integers(0, config.vocab_size, (B, length))
    ours, theirs = (m.generate(prompt, 20, seed=3) for m in (model, plain))
    np.testing.assert_array_equal(ours, theirs)
    assert ("decode_attention" in launches(card)) == (B <= decoding.ROWS)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_token_is_few_launches_and_one_upload(card, config, dtype):
    model = GPT(config, "cuda", dtype)
    tokens = model.stream(np.zeros((2, 1), int), 4, seed=1)
    next(tokens)
    next(tokens)
    card.reset()
    next(tokens)
    assert len(launches(card)) == 5 * config.n_layer + 6, launches(card)
    assert len(card.uploads) == 1 and not card.copies


def test_what_the_kernels_do_not_take_goes_the_pages_way(card):
    config = dataclasses.replace(SMALL, n_head=1, n_embd=264)
    model, _, right = models(config, "float64")
    idx = np.zeros((1, 1), int)
    out = model.decode(to_device(idx, "cuda"), 0, model._memory(1, 4))
    assert_right(out, right.decode(idx, 0, right._memory(1, 4)), "float64")
    assert "decode_attention" not in launches(card)

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from tinygpt import GPT, GPTConfig, UserError, ops
from tinygpt.layers import attention
from tinygpt.models.gpt2 import GPT2_SIZES
from tinygpt.random import generator
from tinygpt.sample import draw, probabilities

SMALL = GPTConfig(block_size=5, vocab_size=7, n_layer=2, n_head=2, n_embd=6)
IDX = np.array([[3, 0, 3, 6], [1, 3, 3, 2]])  # repeated tokens, two unused ones
TARGETS = np.array([[0, 3, -1, 3], [3, -1, 2, 5]])


def model_with_weights_of_order_one(config=SMALL, **options) -> GPT:
    """Weights of variance 1/fan_in: at nanoGPT's 0.02 a wrong gradient hides in the rounding of a right one."""
    model = GPT(config, **{"dtype": "float64"} | options)
    rng = generator(1, "test")
    for name, shape in config.shapes().items():
        scale = 1 / np.sqrt(config.n_embd if name.startswith("w") else shape[0]) if len(shape) == 2 else 0.5
        model.params[name] = rng.standard_normal(shape) * scale + (name.startswith("ln") and name.endswith("weight"))
    return model


# Configuration


@pytest.mark.parametrize(
    ("name", "count"),
    [("gpt2", 124_439_808), ("gpt2-medium", 354_823_168), ("gpt2-large", 774_030_080), ("gpt2-xl", 1_557_611_200)],
)
def test_presets_have_openais_parameter_counts(name, count):
    assert GPTConfig.preset(name).n_params == count


def test_default_configuration_is_gpt2():
    assert GPTConfig() == GPTConfig.preset("gpt2") and len(GPT2_SIZES) == 4


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"n_layer": 0}, "n_layer is 0; expected a whole number of at least 1"),
        ({"vocab_size": -3}, "vocab_size is -3"),
        ({"block_size": 2.5}, "block_size is 2.5"),
        ({"n_head": True}, "n_head is True"),
        ({"n_embd": 10, "n_head": 4}, "n_embd is 10 and n_head is 4.*such as 12"),
        ({"n_embd": 4 * 10**9, "n_head": 1}, r"about 2e\+21 parameters"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"dropout": -0.1}, "dropout is -0.1"),
        ({"activation_function": "relu"}, "activation_function is 'relu'; expected gelu_new"),
        ({"layer_norm_epsilon": 0.0}, "layer_norm_epsilon is 0.0"),
    ],
)
def test_impossible_configurations_are_refused_by_name(wrong, sentence):
    with pytest.raises(UserError, match=sentence):
        GPTConfig(**wrong)


def test_numpys_numbers_become_pythons():
    """A float64 scalar would turn a float32 model's arrays into float64, and an int64 cannot be written as JSON."""
    config = GPTConfig(
        np.int64(5),
        np.int32(7),
        1,
        1,
        np.int64(6),
        np.float64(0.1),
        np.bool_(True),
        layer_norm_epsilon=np.float64(1e-5),
    )
    assert all(type(value) in (int, float, bool, str) for value in dataclasses.asdict(config).values())
    loss, _ = GPT(config).loss(IDX, TARGETS)
    assert loss.dtype == np.float32


def test_unknown_preset_dtype_and_kernels_are_named():
    with pytest.raises(UserError, match="'gpt3'.*gpt2-xl"):
        GPTConfig.preset("gpt3")
    with pytest.raises(UserError, match="'int8'; expected float32, bfloat16 or float64"):
        GPT(SMALL, dtype="int8")
    with pytest.raises(UserError, match="'fast'; expected one of auto, reference"):
        ops.build("fast")


@pytest.mark.parametrize("dtype", ["float64", np.float64, np.dtype("float64")])
def test_a_dtype_may_be_said_numpys_way(dtype):
    assert GPT(SMALL, dtype=dtype).params["wte.weight"].dtype == np.float64


# Initialisation


def test_initialisation_is_nanogpts():
    config = GPTConfig(block_size=64, vocab_size=500, n_layer=8, n_head=2, n_embd=64)
    params = GPT(config).params
    for name, array in params.items():
        if name.endswith("c_proj.weight"):
            expected = 0.02 / np.sqrt(2 * 8)
        elif array.ndim == 2:
            expected = 0.02
        else:
            np.testing.assert_array_equal(array, 1 if name.endswith("weight") else 0)
            continue
        assert abs(array.std() / expected - 1) < 5 / np.sqrt(2 * array.size), name
        assert abs(array.mean()) < 5 * expected / np.sqrt(array.size), name


def test_same_seed_same_numbers_in_either_dtype_and_another_seed_others():
    a, b, c = GPT(SMALL, seed=1), GPT(SMALL, seed=1, dtype="float64"), GPT(SMALL, seed=2)
    np.testing.assert_array_equal(a.params.flat[:84], b.params.flat[:84].astype(np.float32))
    assert not np.array_equal(a.params["wte.weight"], c.params["wte.weight"])


def test_untrained_loss_is_log_of_the_vocabulary():
    config = GPTConfig(block_size=16, vocab_size=97, n_layer=2, n_head=2, n_embd=32)
    idx = np.random.default_rng(0).integers(97, size=(8, 16))
    loss, _ = GPT(config).loss(idx, np.roll(idx, 1))
    assert abs(float(loss) - np.log(97)) < 0.05


# Gradients (each against numerical derivatives: tests/gradcheck/test_suite.py)


def test_backward_adds_into_gradients_and_leaves_the_cache_usable():
    model = model_with_weights_of_order_one()
    _, cache = model.loss(IDX, TARGETS)
    once = model.backward(cache)
    twice = model.backward(cache, model.backward(cache))
    for name in once:
        np.testing.assert_allclose(twice[name], 2 * once[name], rtol=1e-14)


def test_gradients_may_be_collected_in_a_plain_dictionary():
    model = model_with_weights_of_order_one()
    _, cache = model.loss(IDX, TARGETS)
    mine = {name: np.zeros(array.shape) for name, array in model.params.items()}
    model.backward(cache, mine)
    for name, expected in model.backward(cache).items():
        np.testing.assert_array_equal(mine[name], expected)


def test_both_uses_of_the_tied_table_reach_one_gradient():
    model = model_with_weights_of_order_one()
    grads = model.backward(model.loss(IDX, TARGETS)[1])
    unseen = sorted(set(range(7)) - set(IDX.reshape(-1).tolist()))  # rows only the head reaches
    assert unseen and all(np.abs(grads["wte.weight"][row]).max() > 0 for row in unseen)


def test_microbatches_with_unequal_counts_sum_to_the_whole():
    model = model_with_weights_of_order_one()
    targets = np.array([[0, 3, 1, 3], [-1, -1, -1, 5]])
    whole, cache = model.loss(IDX, targets)
    expected, grads, loss = model.backward(cache), None, 0.0
    for row in range(2):
        part, cache = model.loss(IDX[row : row + 1], targets[row : row + 1], denominator=5, row=row)
        grads, loss = model.backward(cache, grads), loss + part
    np.testing.assert_allclose(loss, whole, rtol=1e-14)
    for name in expected:
        np.testing.assert_allclose(grads[name], expected[name], rtol=1e-10, atol=1e-14)


def test_a_denominator_below_one_divides_too():
    model = model_with_weights_of_order_one()
    for build in ("auto", "reference"):
        model.ops = ops.build(build)
        whole, half = (model.loss(IDX, TARGETS, denominator=d)[0] for d in (1.0, 0.5))
        np.testing.assert_allclose(half, 2 * whole, rtol=1e-14)


def test_all_targets_ignored_is_zero_not_nan():
    model = model_with_weights_of_order_one()
    loss, cache = model.loss(IDX, np.full_like(IDX, -1))
    assert loss == 0 and not any(gradient.any() for gradient in model.backward(cache).values())


def test_dropout_acts_in_training_only_and_changes_with_the_step():
    model = model_with_weights_of_order_one(dataclasses.replace(SMALL, dropout=0.5))
    plain = model_with_weights_of_order_one()
    assert model.loss(IDX, TARGETS, need_grad=False)[0] == plain.loss(IDX, TARGETS, need_grad=False)[0]
    losses = {float(model.loss(IDX, TARGETS, step=step)[0]) for step in (0, 1, 2)}
    assert len(losses) == 3 and model.loss(IDX, TARGETS, step=1)[0] in losses


def test_every_place_of_dropout_has_a_mask_of_its_own():
    masks = []

    class Spy:
        def forward(self, x, p, key, row):
            masks.append(ops.DEFINITIONS.dropout.forward(np.ones((2, 4, 6)), 0.5, key, row)[0])
            return ops.DEFINITIONS.dropout.forward(x, p, key, row)

    class AttentionSpy:
        def forward(self, qkv, n_head, p, key, row):
            masks.append(ops.DEFINITIONS.dropout.forward(np.ones((2, 4, 6)), 0.5, key, row)[0])
            return ops.DEFINITIONS.attention.forward(qkv, n_head, p, key, row)

    table = ops.DEFINITIONS.replace(dropout=Spy(), attention=AttentionSpy())
    GPT(dataclasses.replace(SMALL, dropout=0.5), ops=table).loss(IDX, TARGETS)
    assert len(masks) == 1 + 2 * 3  # after the embeddings, and in each block within attention and after both halves
    assert len({mask.tobytes() for mask in masks}) == len(masks)


def test_dropout_depends_on_the_models_seed():
    config = dataclasses.replace(SMALL, dropout=0.5)
    losses = {float(model_with_weights_of_order_one(config, seed=seed).loss(IDX, TARGETS)[0]) for seed in (0, 1, 2)}
    assert len(losses) == 3


def test_every_layernorm_is_given_the_configurations_epsilon():
    seen = []

    class Spy:
        def forward(self, x, w, b, eps=1e-5):
            seen.append(eps)
            return ops.DEFINITIONS.layernorm.forward(x, w, b, eps)

    table = ops.DEFINITIONS.replace(layernorm=Spy())
    GPT(dataclasses.replace(SMALL, layer_norm_epsilon=0.25), ops=table).forward(IDX)
    assert seen == [0.25] * 5


def test_evaluation_keeps_no_activations():
    _, (*_, blocks, _) = GPT(SMALL).hidden(IDX, need_grad=False)
    assert blocks == []


def test_a_layer_that_is_not_in_the_table_is_named():
    with pytest.raises(UserError, match="no layer 'layernrm' in the table; its names are attention, cross_entropy"):
        ops.DEFINITIONS.replace(layernrm=None)


def test_a_layer_in_the_table_stands_in_for_its_definition():
    calls = []

    class Spy:
        def forward(self, *arguments):
            calls.append("forward")
            return ops.DEFINITIONS.gelu.forward(*arguments)

        def backward(self, *arguments):
            calls.append("backward")
            return ops.DEFINITIONS.gelu.backward(*arguments)

    model = model_with_weights_of_order_one(ops=ops.DEFINITIONS.replace(gelu=Spy()))
    model.backward(model.loss(IDX, TARGETS)[1])
    assert calls == ["forward"] * 2 + ["backward"] * 2


# Wrong input


@pytest.mark.parametrize(
    ("idx", "sentence"),
    [
        (np.array([[1, 7]]), "token id 7, but vocab_size is 7"),
        (np.array([[-1, 2]]), "token id -1"),
        (np.zeros((1, 6), int), "block_size is 5, but the sequence has 6 tokens.*idx\\[:, -5:\\].*--block_size=6"),
        (np.zeros(3, int), r"shape \(3,\)"),
        (np.zeros((1, 3)), "dtype float64"),
        (np.zeros((1, 0), int), r"shape \(1, 0\)"),
    ],
)
def test_wrong_tokens_are_explained(idx, sentence):
    with pytest.raises(UserError, match=sentence):
        GPT(SMALL).forward(idx)


def test_wrong_targets_are_explained():
    model = GPT(SMALL)
    with pytest.raises(UserError, match="targets has the token id 7"):
        model.loss(IDX, np.full_like(IDX, 7))
    with pytest.raises(UserError, match=r"idx has shape \(2, 4\) but targets has shape \(1, 4\)"):
        model.loss(IDX, TARGETS[:1])


def test_backward_without_a_cache_says_what_to_do():
    model = GPT(SMALL)
    with pytest.raises(UserError, match="need_grad=True"):
        model.backward(model.loss(IDX, TARGETS, need_grad=False)[1])
    with pytest.raises(UserError, match="needs dout"):
        model.backward(model.forward(IDX)[1])


def test_parameters_are_copied_and_their_shape_checked():
    model = GPT(SMALL)
    mine = np.ones(6)
    model.params["ln_f.weight"] = mine
    mine[0] = 5
    assert model.params["ln_f.weight"][0] == 1
    with pytest.raises(UserError, match=r"ln_f.weight has shape \(6,\), but the array given has shape \(1, 6\)"):
        model.params["ln_f.weight"] = np.ones((1, 6))
    with pytest.raises(KeyError):
        model.params["ln_g.weight"] = mine


# Generation


def test_cached_logits_equal_uncached_ones_on_the_same_window():
    config = dataclasses.replace(SMALL, block_size=12)
    model = model_with_weights_of_order_one(config, dtype="float32")
    idx = np.random.default_rng(3).integers(7, size=(2, 12))
    whole, _ = model.forward(idx)
    memory, logits = model._memory(2, 12), []
    for start, end in ((0, 5), (5, 6), (6, 8), (8, 12)):
        logits.append(model.decode(idx[:, start:end], start, memory) @ model.params["wte.weight"].T)
    np.testing.assert_allclose(np.concatenate(logits, axis=1), whole, rtol=1e-4, atol=1e-5)


def generated_without_a_cache(model, idx, count, window, seed):
    """Generation written out: the whole window forward for every token, drawn as the model draws."""
    rng = generator(seed, "sampling")
    for _ in range(count):
        logits, _ = model.forward(window(idx))
        idx = np.concatenate([idx, draw(probabilities(logits[:, -1]), rng)[:, None]], axis=1)
    return idx


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_exact_window_slides_by_one_token(seed):
    model = model_with_weights_of_order_one()
    expected = generated_without_a_cache(model, IDX, 20, lambda idx: idx[:, -5:], seed)
    np.testing.assert_array_equal(model.generate(IDX, 20, seed=seed, exact_window=True), expected)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_full_window_drops_its_older_half(seed):
    model = model_with_weights_of_order_one(dataclasses.replace(SMALL, block_size=6))
    lengths = iter([4, 5, 6] + [3, 4, 5, 6] * 5)  # the prompt grows to 6, then the newest 3 are encoded anew
    expected = generated_without_a_cache(model, IDX, 23, lambda idx: idx[:, -next(lengths) :], seed)
    np.testing.assert_array_equal(model.generate(IDX, 23, seed=seed), expected)


def test_temperature_zero_takes_the_likeliest():
    model = model_with_weights_of_order_one()
    out = model.generate(IDX, 1, temperature=0)
    np.testing.assert_array_equal(out[:, -1], model.forward(IDX)[0][:, -1].argmax(axis=-1))


def test_generation_reaches_cached_attention_through_the_table():
    seen = []

    def spy(q, keys, values):
        seen.append((q.shape[2], keys.shape[2]))
        return attention.decode(q, keys, values)

    remembering = SimpleNamespace(forward=attention.forward, backward=attention.backward, decode=spy)
    model = GPT(SMALL, ops=ops.DEFINITIONS.replace(attention=remembering))
    assert next(model.stream(IDX, 2)).dtype == np.int64
    model.generate(IDX[:, :3], 3)
    assert seen == [(4, 4)] * 2 + [(3, 3)] * 2 + [(1, 4)] * 2 + [(1, 5)] * 2  # two layers each


@pytest.mark.parametrize("block_size", [1, 2, 5])
@pytest.mark.parametrize("exact_window", [False, True])
def test_generation_keeps_the_prompt_and_goes_on_as_long_as_asked(block_size, exact_window):
    model = GPT(dataclasses.replace(SMALL, block_size=block_size))
    prompt = np.array([[1, 2, 3, 4, 5, 6, 0]])  # longer than the window
    out = model.generate(prompt, 9, seed=1, exact_window=exact_window)
    assert out.shape == (1, 16) and out.dtype == np.int64
    np.testing.assert_array_equal(out[:, :7], prompt)
    np.testing.assert_array_equal(model.generate(prompt, 0), prompt)


def test_same_seed_same_text_and_rows_draw_independently():
    model = GPT(SMALL)
    prompt = np.zeros((2, 1), int)
    a, b, c = (model.generate(prompt, 20, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c) and not np.array_equal(a[0], a[1])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"temperature": -1}, "temperature is -1"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"max_new_tokens": -1}, "max_new_tokens is -1"),
        ({"idx": np.zeros((1, 0), int)}, "the prompt has no tokens"),
        ({"idx": [[9]]}, "token id 9"),
    ],
)
def test_wrong_sampling_rules_and_prompts_are_explained(options, sentence):
    with pytest.raises(UserError, match=sentence):
        GPT(SMALL).generate(**{"idx": [[1]], "max_new_tokens": 2} | options)

"""What a user may give a model, and what comes of it where it is not what was meant: a sentence, never a traceback."""

import array
import copy
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from tests.test_model import IDX, SMALL, TARGETS, model_with_weights_of_order_one
from tinygpt import GPT, GPTConfig, UserError
from tinygpt.layers import gelu
from tinygpt.ops import DEFINITIONS
from tinygpt.optim import AdamW, global_norm
from tinygpt.parameters import Parameters
from tinygpt.random import generator

DOORS = {
    "forward": lambda model, idx: model.forward(idx),
    "loss": lambda model, idx: model.loss(idx, TARGETS),
    "generate": lambda model, idx: model.generate(idx, 2),
    "stream": lambda model, idx: model.stream(idx, 2),
}


class Elsewhere:
    """An array of another library, as JAX's are: it has what NumPy's have."""

    __module__ = "jaxlib.xla"
    shape, dtype, ndim = (1, 2), np.dtype("int32"), 2

    def __array__(self, dtype=None, copy=None):
        return np.array([[1, 2]], dtype)

    def __getitem__(self, key):
        return self

    def __repr__(self):  # without its address: a test's name is the same in every process
        return "Array"


# Token ids


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("idx", "sentence"),
    [
        (None, "idx is None; expected an array of integers"),
        ("hello", r"idx is 'hello'; .*tokenizer.encode\(idx\)\[None\]"),
        (b"hello", "idx is b'hello'"),
        (5, "idx is 5; expected an array of integers"),
        ({1: 2}, "idx is {1: 2}; expected an array"),
        (range(3), r"idx is range\(0, 3\); expected an array"),
        ([[1, 2, 3], [1]], "idx has rows of different lengths, from 1 to 3; .*cut or fill them up to one length"),
        ([[1, [2]], [3, 4]], "idx is .*, which makes no array"),
        ([["a", "b"]], "idx holds 'a', which is no token id"),
        (["hello"], "idx holds 'hello', which is no token id"),
        ([[1, None]], "idx holds None, which is no token id"),
        ([[1.0, 2.0]], "dtype float64; expected integers"),
        ([[True, False]], "dtype bool; expected integers"),
        ([1, 2], r"shape \(2,\).*; for one sequence give idx\[None\]"),
        ([], r"shape \(0,\)|the prompt has no tokens"),
        ([[]], r"shape \(1, 0\)|the prompt has no tokens"),
        (np.zeros((1, 1, 2), int), r"shape \(1, 1, 2\)"),
        (np.array(3), r"shape \(\)"),
        (Elsewhere(), r"idx is a jaxlib.Elsewhere; give np.asarray\(idx\)"),
        ([[1, 10**30]], "idx holds 1000000000000000000000000000000, which is no token id"),
        (np.ma.masked_array([[1, 2]], [[True, False]]), r"idx is a masked array; give idx.filled\(-1\)"),
        ([[1, 10]], "token id 10, but vocab_size is 7"),
    ],
    ids=str,
)  # fmt: skip
def test_what_are_no_token_ids_is_told_at_every_door(door, idx, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        DOORS[door](GPT(SMALL), idx)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    "idx", [[[3, 0], [1, 3]], ((3, 0), (1, 3)), [np.array([3, 0]), np.array([1, 3])], np.array([[3, 0], [1, 3]], "u2")]
)
def test_lists_and_integers_of_any_width_are_taken(idx):
    model = model_with_weights_of_order_one()
    np.testing.assert_array_equal(model.forward(idx)[0], model.forward(IDX[:, :2] * 0 + np.array(idx))[0])
    assert model.generate(idx, 1, seed=0).shape == (2, 3)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_a_matrix_is_taken_as_an_array():
    model = model_with_weights_of_order_one()
    assert model.loss(np.matrix(IDX), np.matrix(TARGETS))[0] == model.loss(IDX, TARGETS)[0]


def test_targets_that_are_masked_are_left_out_as_is_told():
    model, masked = model_with_weights_of_order_one(), np.ma.masked_equal(TARGETS, -1)
    with pytest.raises(UserError, match="targets is a masked array"):
        model.loss(IDX, masked)
    assert model.loss(IDX, masked.filled(-1))[0] == model.loss(IDX, TARGETS)[0]


@pytest.mark.parametrize("targets", [None, "hello", [[1], [2, 3]], Elsewhere()], ids=str)
def test_wrong_targets_are_called_targets(targets):
    with pytest.raises(UserError, match="^targets (is|has)"):
        GPT(SMALL).loss(IDX, targets)


@pytest.mark.parametrize("dtype", [np.int64, np.int16])
def test_what_pytorch_leaves_out_is_told_how_to_be_left_out_here(dtype):
    model = model_with_weights_of_order_one()
    theirs = np.where(TARGETS == -1, -100, TARGETS).astype(dtype)
    with pytest.raises(
        UserError, match=r"has -100, .*PyTorch.*; here -1 does: give np.where\(targets == -100, -1, tar"
    ):
        model.loss(IDX, theirs)
    assert model.loss(IDX, np.where(theirs == -100, -1, theirs))[0] == model.loss(IDX, TARGETS)[0]
    with pytest.raises(UserError, match="targets has the token id -101"):
        model.loss(IDX, theirs - 1)


@pytest.mark.parametrize(
    ("name", "values"),
    [("step", [1.5, "1"]), ("row", [None, True]), ("denominator", [0, -1, "2", float("nan"), True, np.ones(2)])],
)
def test_what_else_a_loss_takes_is_checked(name, values):
    for value in values:
        with pytest.raises(UserError, match=f"^{name} is"):
            GPT(SMALL).loss(IDX, TARGETS, **{name: value})


def test_numpys_numbers_serve_where_a_number_is_expected():
    config = GPTConfig(np.array(5), np.uint8(7), np.int64(2), np.array(2), 6, dropout=np.array(0.5))
    assert config == GPTConfig(5, 7, 2, 2, 6, dropout=0.5)
    model, same = GPT(config, seed=np.int64(3)), GPT(config, seed=3)
    for step in (np.int64(4), np.array(4)):
        assert model.loss(IDX, TARGETS, step=step, row=np.uint8(0))[0] == same.loss(IDX, TARGETS, step=4)[0]
    assert model.loss(IDX, TARGETS, np.float32(7), False)[0] == same.loss(IDX, TARGETS, 7, False)[0]
    rules = {"temperature": np.float32(0.5), "top_k": np.array(3), "top_p": np.float64(0.5), "seed": np.uint64(1)}
    plain = {"temperature": 0.5, "top_k": 3, "top_p": 0.5, "seed": 1}
    np.testing.assert_array_equal(model.generate(IDX, np.int32(9), **rules), same.generate(IDX, 9, **plain))


# Rules and seeds


@pytest.mark.parametrize("door", ["generate", "stream"])
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("top_k", [2.5, True, "40", 0, -1, float("nan"), [1]]),
        ("temperature", [None, float("nan"), "1", -1, float("inf"), True, 10**400]),
        ("top_p", ["0.5", 0, 1.5, float("nan"), True, [0.5]]),
        ("max_new_tokens", [2.5, -1, None, "5", True]),
        ("seed", [2**70, 2**64, -1, 1.5, "1", True, [1]]),
    ],
)
def test_rules_that_mean_nothing_are_told_before_anything_is_drawn(door, name, values):
    for value in values:
        with pytest.raises(UserError, match=f"^{name} is "):
            getattr(GPT(SMALL), door)(**{"idx": IDX, "max_new_tokens": 2, name: value})


@pytest.mark.parametrize("seed", [2**70, 2**64, -1, 1.5, "1337", True, float("nan")])
def test_a_seed_that_is_no_seed_of_64_bits_is_told_and_not_cut(seed):
    for made in (lambda: GPT(SMALL, seed=seed), lambda: generator(seed, "batches")):
        with pytest.raises(UserError, match="seed is .*; expected a whole number of at least 0 and at most 1844674"):
            made()


def test_every_seed_of_64_bits_is_another():
    seeds = [0, 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1]
    assert len({GPT(SMALL, seed=seed).params.flat.tobytes() for seed in seeds}) == len(seeds)
    assert not GPT(SMALL, seed=None).params.flat.any()  # for loading into


# Copies


def trained(model):
    """Its loss after a step."""
    AdamW(model.params).step(model.backward(model.loss(IDX, TARGETS)[1]), 0.1)
    return float(model.loss(IDX, TARGETS)[0])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
                         ids=["deepcopy", "pickle"])  # fmt: skip
@pytest.mark.parametrize("ops", [None, DEFINITIONS], ids=["twins", "definitions"])
def test_a_copy_is_trained_by_itself(copied, ops):
    model = model_with_weights_of_order_one(dtype="float32", ops=ops)
    before, loss = model.params.flat.copy(), float(model.loss(IDX, TARGETS)[0])
    other = copied(model)
    assert float(other.loss(IDX, TARGETS)[0]) == loss and other.config == model.config and other.seed == model.seed
    for name, array_ in other.params.items():
        assert np.shares_memory(array_, other.params.flat) and not np.shares_memory(array_, model.params.flat)
        layer = name.split(".")[1]
        if name.startswith("h."):
            assert other.layer_params[int(layer)][name.split(".", 2)[2]] is array_
    after = trained(other)
    assert after < loss and float(model.loss(IDX, TARGETS)[0]) == loss
    np.testing.assert_array_equal(model.params.flat, before)
    assert trained(model) == after


def test_a_shallow_copy_shares_the_parameters():
    model = model_with_weights_of_order_one()
    other = copy.copy(model)
    trained(other)
    assert other.params is model.params and other.loss(IDX, TARGETS)[0] == model.loss(IDX, TARGETS)[0]


def test_an_own_layer_goes_along_with_a_copy():
    own = SimpleNamespace(forward=gelu.forward, backward=gelu.backward, module=np)  # a module cannot be copied
    model = GPT(SMALL, ops=DEFINITIONS.replace(gelu=own), parts={"mlp": own})
    other = copy.deepcopy(model)
    assert other.ops.gelu is own and other.mlp is own and other.params is not model.params


def test_a_model_and_its_optimiser_are_copied_together():
    model = model_with_weights_of_order_one()
    optimizer = AdamW(model.params)
    other, its = copy.deepcopy((model, optimizer))
    assert its.params is other.params and its.m is its.state["m"] and its.m is not optimizer.m
    its.step(other.backward(other.loss(IDX, TARGETS)[1]), 0.1)
    assert not np.array_equal(other.params.flat, model.params.flat) and not optimizer.m.flat.any()


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda params: pickle.loads(pickle.dumps(params))])
def test_parameters_are_copied_as_views_of_their_own_buffer(copied):
    params = Parameters({"w": (3, 2), "b": (2,)}, "float64")
    params["w"] = np.arange(6.0).reshape(3, 2)
    other = copied(params)
    np.testing.assert_array_equal(other["w"], params["w"])
    other.flat[...] = 7
    assert (other["w"] == 7).all() and params["w"][2, 1] == 5 and other.n_decayed == params.n_decayed


# Configurations


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("n_layer", [2.0, "4", True, 0, -1, None, [2], np.float64(2), np.array([2]), 10**400]),
        ("block_size", [0, -5, 1.5, "64", None]),
        ("vocab_size", [0, False, "65"]),
        ("n_embd", [0, 7, "128", np.bool_(True)]),
        ("n_head", [0, 4, 1.0]),
        ("dropout", [1, -0.1, "0.1", None, float("nan"), True]),
        ("bias", [1, 0, None, "False"]),
        ("layer_norm_epsilon", [0, -1e-5, "1e-5", float("inf")]),
        ("activation_function", ["relu", None, 1]),
    ],
)
def test_a_setting_that_no_model_has_is_named(name, values):
    for value in values:
        with pytest.raises(UserError, match=rf"\b{name}\b"):
            GPTConfig(**{"block_size": 5, "vocab_size": 7, "n_layer": 2, "n_head": 2, "n_embd": 6} | {name: value})


@pytest.mark.parametrize("config", [None, "gpt2", {"n_layer": 2}, 5, GPTConfig])
def test_a_model_made_of_no_config_says_what_it_is_made_of(config):
    with pytest.raises(
        UserError, match=r"a GPT got .* for its config; expected one such as in GPT\(GPTConfig\(n_layer"
    ):
        GPT(config)


def test_a_name_for_a_config_is_told_where_names_are_taken():
    with pytest.raises(UserError, match="what is saved is loaded with GPT.from_pretrained"):
        GPT("gpt2")


@pytest.mark.parametrize("options", [{"device": 0}, {"device": "gpu"}, {"dtype": "float16"}, {"dtype": int},
                                     {"parts": ["mlp"]}, {"ops": "reference"}], ids=str)  # fmt: skip
def test_other_options_of_a_model_are_checked(options):
    with pytest.raises(UserError, match=f"{next(iter(options))} is"):
        GPT(SMALL, **options)


@pytest.mark.parametrize("block_size", [6, 0, 2.0, None])
def test_a_context_is_only_made_shorter(block_size):
    with pytest.raises(UserError, match="block_size is .*; expected a whole number of at least 1 and at most 5"):
        GPT(SMALL).cropped(block_size)


# Gradients and optimisers


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda grads: {},
            "grads lacks h.0.attn.c_attn.bias and 27 more; expected arrays by the names of model.params",
        ),
        (lambda grads: grads | {"wte.weight": np.zeros((2, 7, 6))}, r"grads\['wte.weight'\] is .* shape \(2, 7, 6\)"),
        (lambda grads: grads | {"wte.weight": np.zeros((7, 6), int)}, "dtype int64, and wte.weight has shape"),
        (lambda grads: grads | {"wte.weight": None}, r"grads\['wte.weight'\] is None"),
        (lambda grads: grads | {"wte.weight": []}, r"grads\['wte.weight'\] is \[\]"),
        (lambda grads: list(grads.values()), "backward got a list for grads"),
        (lambda grads: np.zeros(5), "backward got a ndarray for grads"),
        (lambda grads: GPT(GPTConfig(5, 8, 2, 2, 6)).params.zeros_like(), r"grads\['wte.weight'\] is .*\(8, 6\)"),
    ],
)
def test_gradients_of_another_model_are_not_added_into(spoil, sentence):
    model = model_with_weights_of_order_one()
    _, cache = model.loss(IDX, TARGETS)
    with pytest.raises(UserError, match=sentence):
        model.backward(cache, spoil(dict(model.params.zeros_like())))
    model.backward(cache, dict(model.params.zeros_like()))


def test_gradients_are_not_added_to_the_weights():
    model = model_with_weights_of_order_one()
    with pytest.raises(UserError, match="backward got model.params for grads, and would add to the weights"):
        model.backward(model.loss(IDX, TARGETS)[1], model.params)


@pytest.mark.parametrize(
    ("cache", "sentence"), [(5, "a int"), (np.array(1.0), "a ndarray"), ((1, 2), "both that loss")]
)
def test_what_is_no_cache_is_told(cache, sentence):
    with pytest.raises(
        UserError, match=f"backward got {sentence}.*; expected the cache, as in loss, cache = model.loss"
    ):
        GPT(SMALL).backward(cache)


@pytest.mark.parametrize(
    "dout", ["x", np.ones((1, 3, 7)), np.ones(3), None, [1.0], np.ones((2, 4, 7), complex)], ids=str
)
def test_a_gradient_of_another_shape_than_the_logits_is_told(dout):
    model = model_with_weights_of_order_one()
    logits, cache = model.forward(IDX)
    with pytest.raises(UserError, match=r"dout (has|is) .*with respect to logits of shape \(2, 4, 7\)|needs dout"):
        model.backward(cache, dout=dout)
    model.backward(cache, dout=np.ones_like(logits))


@pytest.mark.parametrize("dout", ["x", np.ones(3), np.ones((2, 4, 7)), [1.0]], ids=str)
def test_the_gradient_of_a_loss_is_a_number(dout):
    model = model_with_weights_of_order_one()
    _, cache = model.loss(IDX, TARGETS)
    with pytest.raises(UserError, match="dout .*with respect to a loss, which is a number"):
        model.backward(cache, dout=dout)
    twice = model.backward(cache, dout=np.float64(2))["wte.weight"]
    np.testing.assert_allclose(twice, 2 * model.backward(cache)["wte.weight"], rtol=1e-12)


def test_the_norm_of_gradients_by_name_is_that_of_the_arrays():
    params = model_with_weights_of_order_one().params
    assert global_norm(params) == global_norm(list(params.values()))


@pytest.mark.parametrize(
    "made",
    [
        lambda params: AdamW(GPT(SMALL)),
        lambda params: AdamW(dict(params)),
        lambda params: AdamW(list(params.values())),
        lambda params: AdamW(params, betas=0.9),
        lambda params: AdamW(params, betas=(0.9,)),
        lambda params: AdamW(params, betas=(0.9, 1.0)),
        lambda params: AdamW(params, betas=("0.9", 0.95)),
        lambda params: AdamW(params, eps=-1e-8),
        lambda params: AdamW(params, weight_decay=None),
        lambda params: AdamW(params, weight_decay=float("nan")),
    ],
)
def test_an_optimiser_that_cannot_be_is_a_sentence(made):
    with pytest.raises(UserError, match="expected (a model's|two numbers|at least 0|a finite number)"):
        made(GPT(SMALL).params)


@pytest.mark.parametrize("options", [{"lr": None}, {"lr": float("nan")}, {"lr": -1.0}, {"lr": "3e-4"}, {"lr": True},
                                     {"max_norm": None}, {"max_norm": -1}, {"max_norm": float("nan")},
                                     {"grads": {}}, {"grads": None}], ids=str)  # fmt: skip
def test_a_step_that_cannot_be_taken_leaves_everything_as_it_was(options):
    model = GPT(SMALL)
    optimizer, grads = AdamW(model.params), model.backward(model.loss(IDX, TARGETS)[1])
    before = model.params.flat.copy()
    with pytest.raises(UserError, match="lr is|max_norm is|step got gradients"):
        optimizer.step(**{"grads": grads, "lr": 0.1} | options)
    assert optimizer.steps == 0 and np.array_equal(model.params.flat, before)


def test_bytes_in_an_array_of_pythons_own_are_told_how_to_be_given():
    with pytest.raises(UserError, match="idx is array.*; expected an array of integers"):
        GPT(SMALL).forward(array.array("i", [1, 2]))

"""A saved model is a GPT-2 checkpoint: transformers reads what tinygpt wrote, and the other way round."""

import os

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tinygpt import GPT, GPTConfig

from .comparison import NEEDS_TORCH, NEEDS_TRANSFORMERS, assert_agree, randomize, relative_error

os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported: nothing here may wait for a network
torch = pytest.importorskip("torch", reason=NEEDS_TORCH)
transformers = pytest.importorskip("transformers", reason=NEEDS_TRANSFORMERS)

TOLERANCE = {"float64": 1e-10, "float32": 1e-5}


def random_gpt2(activation_function="gelu_new", **settings):
    """A small GPT2LMHeadModel in float64 whose weights are all random and of order 1."""
    config = transformers.GPT2Config(
        vocab_size=23,
        n_positions=12,
        n_layer=3,
        n_head=3,
        n_embd=15,
        activation_function=activation_function,
        bos_token_id=0,
        eos_token_id=0,
        **settings,
    )
    model = transformers.GPT2LMHeadModel(config).double().eval()
    rng = np.random.default_rng(30)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.from_numpy(rng.standard_normal(parameter.shape) / np.sqrt(parameter.shape[0])))
    return model


def tokens():
    return np.random.default_rng(31).integers(23, size=(2, 9))


def logits_of(gpt2):
    with torch.no_grad():
        return gpt2(torch.from_numpy(tokens())).logits.numpy()


def edit_file(folder, edit):
    """Rewrites the folder's weights: `edit` turns the dictionary of arrays into another one."""
    path = folder / "model.safetensors"
    save_file(edit(load_file(path)), path, metadata={"format": "pt"})


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("activation_function", ["gelu", "gelu_new"])
def test_a_checkpoint_of_transformers_gives_the_same_logits_here(tmp_path, activation_function, dtype):
    gpt2 = random_gpt2(activation_function)
    gpt2.save_pretrained(tmp_path)
    model = GPT.from_pretrained(tmp_path, dtype=dtype)
    assert model.config.activation_function == activation_function
    assert relative_error(model.forward(tokens())[0], logits_of(gpt2)) < TOLERANCE[dtype]


def test_the_epsilon_of_a_checkpoint_is_kept(tmp_path):
    gpt2 = random_gpt2(layer_norm_epsilon=0.1)
    gpt2.save_pretrained(tmp_path / "theirs")
    model = GPT.from_pretrained(tmp_path / "theirs", dtype="float64")
    assert relative_error(model.forward(tokens())[0], logits_of(gpt2)) < 1e-10
    model.save_pretrained(tmp_path / "ours")
    again = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "ours", dtype=torch.float64)
    assert relative_error(logits_of(again), logits_of(gpt2)) < 1e-10


def test_bare_names_are_read_like_prefixed_ones(tmp_path):
    """GPT2LMHeadModel writes `transformer.h.0...`, GPT2Model and OpenAI's own checkpoints write `h.0...`."""
    gpt2 = random_gpt2()
    gpt2.save_pretrained(tmp_path / "prefixed")
    gpt2.transformer.save_pretrained(tmp_path / "bare")
    assert all(name.startswith("transformer.") for name in load_file(tmp_path / "prefixed" / "model.safetensors"))
    assert "h.0.ln_1.weight" in load_file(tmp_path / "bare" / "model.safetensors")
    prefixed, bare = (GPT.from_pretrained(tmp_path / name, dtype="float64") for name in ("prefixed", "bare"))
    assert_agree(bare.params, prefixed.params, tolerance=0)
    assert relative_error(bare.forward(tokens())[0], logits_of(gpt2)) < 1e-10


@pytest.mark.parametrize("prefix", ["transformer.", ""], ids=["prefixed", "bare"])
def test_buffers_of_old_checkpoints_and_a_copy_of_the_head_are_ignored(tmp_path, prefix):
    """The files of GPT-2 itself still hold each layer's causal mask, and some writers store the tied head twice."""
    gpt2 = random_gpt2()
    (gpt2 if prefix else gpt2.transformer).save_pretrained(tmp_path)

    def add_buffers(weights):
        for layer in range(3):
            weights[f"{prefix}h.{layer}.attn.bias"] = np.tril(np.ones((1, 1, 12, 12), dtype=np.float32))
            weights[f"{prefix}h.{layer}.attn.masked_bias"] = np.array(-1e4, dtype=np.float32)
        weights["lm_head.weight"] = weights[f"{prefix}wte.weight"].copy()
        return weights

    edit_file(tmp_path, add_buffers)
    model = GPT.from_pretrained(tmp_path, dtype="float64")
    assert model.params.keys() == model.config.shapes().keys()
    assert relative_error(model.forward(tokens())[0], logits_of(gpt2)) < 1e-10


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("activation_function", ["gelu", "gelu_new"])
def test_transformers_reads_what_tinygpt_saved(tmp_path, activation_function, bias, dtype):
    """Also without biases, which transformers' GPT-2 always has."""
    config = GPTConfig(
        block_size=12,
        vocab_size=23,
        n_layer=2,
        n_head=3,
        n_embd=15,
        bias=bias,
        activation_function=activation_function,
    )
    model = GPT(config, dtype=dtype, seed=1)
    randomize(model, np.random.default_rng(32))
    model.save_pretrained(tmp_path)
    gpt2, report = transformers.GPT2LMHeadModel.from_pretrained(
        tmp_path, dtype=getattr(torch, dtype), output_loading_info=True
    )
    assert not any(report.values()), report
    assert relative_error(logits_of(gpt2.eval()), model.forward(tokens())[0]) < TOLERANCE[dtype]


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_a_model_survives_the_round_trip_through_transformers(tmp_path, bias):
    """Read there, saved there, read here: the same logits, bit for bit the same weights."""
    config = GPTConfig(block_size=12, vocab_size=23, n_layer=2, n_head=3, n_embd=15, bias=bias)
    model = GPT(config, dtype="float32", seed=1)
    randomize(model, np.random.default_rng(33))
    model.save_pretrained(tmp_path / "ours")
    transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    again = GPT.from_pretrained(tmp_path / "theirs", dtype="float32")
    assert_agree({name: again.params[name] for name in model.params}, model.params, tolerance=0)
    assert relative_error(again.forward(tokens())[0], model.forward(tokens())[0]) < 1e-6

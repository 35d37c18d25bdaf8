"""Weights as others write them: shards, half precision, wrapped names, nanoGPT's matrices. What is read has the right
numbers, and what is not is a sentence that says what to do.
"""

import json
import tracemalloc

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.test_model import IDX, model_with_weights_of_order_one
from tinygpt import GPT, GPTConfig, UserError, load_model
from tinygpt.errors import Note
from tinygpt.models.pretrained import MATRIX

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


@pytest.fixture
def model():
    return model_with_weights_of_order_one(dtype="float32")


@pytest.fixture
def folder(model, tmp_path):
    return written_by_another(model, tmp_path / "model")


def written_by_another(model, folder):
    """The model as another program leaves it: no digest, no tokenizer."""
    model.save_pretrained(folder)
    write(folder, load_file(folder / WEIGHTS))
    return folder


def tensors_of(folder):
    return load_file(folder / WEIGHTS)


def write(folder, tensors):
    whole = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    save_file(whole, folder / WEIGHTS, metadata={"format": "pt"})


def assert_same(folder, model):
    np.testing.assert_array_equal(GPT.from_pretrained(folder).params.flat, model.params.flat)


# Shards


def shard(folder, **index):
    """The whole file in two, as transformers names them, and their index."""
    names, tensors = sorted(tensors_of(folder)), tensors_of(folder)
    shard_of = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        shard_of |= dict.fromkeys(part, file)
    content = {"metadata": {"total_size": 1}, "weight_map": shard_of} | index
    (folder / INDEX).write_text(json.dumps(content))
    (folder / WEIGHTS).unlink()
    return content


def test_shards_are_read_as_one_model(folder, model):
    shard(folder)
    assert_same(folder, model)
    assert load_model(folder, "cpu")[0].config == model.config


def test_a_shard_that_is_missing_is_named(folder):
    shard(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(
        UserError, match="model lacks model-00002-of-00002.safetensors, of the 2 files that .*index.json"
    ):
        GPT.from_pretrained(folder)


def test_the_path_of_a_shard_leads_to_the_model(folder, model):
    shard(folder)
    assert_same(folder / "model-00002-of-00002.safetensors", model)


def test_a_tensor_that_its_shard_lacks_is_named(folder):
    content = shard(folder)
    shard_of = content["weight_map"] | {"ln_f.weight": content["weight_map"]["wte.weight"]}
    other = next(file for file in content["weight_map"].values() if file != content["weight_map"]["ln_f.weight"])
    shard_of["ln_f.weight"] = other
    (folder / INDEX).write_text(json.dumps(content | {"weight_map": shard_of}))
    with pytest.raises(UserError, match=f"index.json says that ln_f.weight is in {other}, but that lacks it"):
        GPT.from_pretrained(folder)


@pytest.mark.parametrize(
    "path", ["../secret.safetensors", "/etc/x.safetensors", "a/b.safetensors", r"..\x.safetensors", "C:x.safetensors",
             "\0.safetensors", "config.json", "", 5, None, ["x"]],
)  # fmt: skip
def test_an_index_leads_to_no_file_outside_its_folder(folder, tmp_path, path):
    (tmp_path / "secret.safetensors").write_bytes((folder / WEIGHTS).read_bytes())
    content = shard(folder)
    (folder / INDEX).write_text(json.dumps(content | {"weight_map": content["weight_map"] | {"wte.weight": path}}))
    with pytest.raises(
        UserError, match="index.json names the file .*; expected the name of a .safetensors file beside"
    ):
        GPT.from_pretrained(folder)


@pytest.mark.parametrize("weight_map", [None, [], {}, "x", 3])
def test_an_index_without_a_map_is_damaged(folder, weight_map):
    shard(folder, weight_map=weight_map)
    with pytest.raises(UserError, match="index.json is damaged: its weight_map is"):
        GPT.from_pretrained(folder)


def test_where_there_are_both_the_whole_file_is_read_and_a_note_says_so(folder, model):
    whole = (folder / WEIGHTS).read_bytes()
    content = shard(folder)
    (folder / WEIGHTS).write_bytes(whole)
    for file in set(content["weight_map"].values()):
        (folder / file).unlink()
    with pytest.warns(Note, match="has both model.safetensors and model.safetensors.index.json; the former is read"):
        assert_same(folder, model)


def test_a_damaged_shard_is_named(folder):
    shard(folder)
    path = folder / "model-00001-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match="model-00001-of-00002.safetensors is damaged"):
        GPT.from_pretrained(folder)


def test_what_git_lfs_left_in_the_place_of_weights_is_called_so(folder):
    (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 548105171\n")
    with pytest.raises(UserError, match="is only Git LFS's pointer to the weights, not the weights; `git lfs pull`"):
        GPT.from_pretrained(folder)


# Dtypes


def write_bfloat16(path, tensors):
    """A safetensors file by hand, each number cut to the upper half of a float32."""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, array in tensors.items():
        halves = (np.ascontiguousarray(array, np.float32).view(np.uint32) >> 16).astype("<u2").tobytes()
        header[name] = {"dtype": "BF16", "shape": array.shape, "data_offsets": [len(data), len(data) + len(halves)]}
        data += halves
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def test_bfloat16_is_read_to_the_bit(folder, model):
    write_bfloat16(folder / WEIGHTS, tensors_of(folder))
    again = GPT.from_pretrained(folder)
    for name, array in model.params.items():
        cut = (np.array(array).view(np.uint32) & 0xFFFF0000).view(np.float32)
        np.testing.assert_array_equal(again.params[name], cut)
    assert again.params["wte.weight"].any()


def test_bfloat16_keeps_its_range(folder):
    tensors = tensors_of(folder)
    tensors["ln_f.weight"][:3] = [3e38, -1e-40, 1e-38]  # far beyond float16; the second one is subnormal
    write_bfloat16(folder / WEIGHTS, tensors)
    np.testing.assert_allclose(GPT.from_pretrained(folder).params["ln_f.weight"][:3], [3e38, -1e-40, 1e-38], rtol=0.1)


def test_bfloat16_in_shards_wrapped_and_with_a_head_is_the_same(folder):
    tensors = tensors_of(folder)
    write_bfloat16(folder / WEIGHTS, tensors)
    expected = GPT.from_pretrained(folder).params.flat.copy()
    (folder / WEIGHTS).unlink()
    wrapped = {f"_orig_mod.transformer.{name}": array for name, array in tensors.items()}
    wrapped["_orig_mod.lm_head.weight"] = tensors["wte.weight"]
    write_bfloat16(folder / "a.safetensors", wrapped)
    (folder / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(wrapped, "a.safetensors")}))
    np.testing.assert_array_equal(GPT.from_pretrained(folder).params.flat, expected)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_half_and_double_precision_are_exact_in_a_model_of_float64(folder, model, dtype):
    tensors = {name: array.astype(dtype) for name, array in tensors_of(folder).items()}
    write(folder, tensors)
    again = GPT.from_pretrained(folder, dtype="float64")
    for name, array in tensors.items():
        np.testing.assert_array_equal(again.params[name], array.astype(np.float64))


def test_float16_that_overflowed_is_said(folder):
    with np.errstate(over="ignore"):
        write(folder, {name: (array * 1e6).astype("float16") for name, array in tensors_of(folder).items()})
    with pytest.raises(UserError, match="has numbers that are not finite"):
        GPT.from_pretrained(folder)


@pytest.mark.parametrize("written", ["float32", "bfloat16"])
def test_loading_holds_one_copy_of_the_weights_and_the_tensor_at_hand(tmp_path, written):
    model = GPT(GPTConfig(block_size=8, vocab_size=16, n_layer=12, n_head=2, n_embd=192, bias=False))
    model.save_pretrained(tmp_path)
    if written == "bfloat16":
        write_bfloat16(tmp_path / WEIGHTS, tensors_of(tmp_path))
    size = model.params.flat.nbytes
    del model
    tracemalloc.start()
    GPT.from_pretrained(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.3 * size


# Names


@pytest.mark.parametrize(
    "prefix",
    ["_orig_mod.", "module.", "transformer.", "_orig_mod.module.transformer.", "module._orig_mod.transformer.",
     "model.transformer.", "_orig_mod._orig_mod."],
)  # fmt: skip
def test_what_a_model_was_wrapped_in_is_taken_off(folder, model, prefix):
    wrapped = {f"{prefix}{name}": array for name, array in tensors_of(folder).items()}
    wrapped[f"{prefix.removesuffix('transformer.')}lm_head.weight"] = tensors_of(folder)["wte.weight"]
    wrapped[f"{prefix}h.0.attn.bias"] = np.tril(np.ones((1, 1, 5, 5), np.float32))
    write(folder, wrapped)
    assert_same(folder, model)


def test_any_name_before_the_embeddings_is_a_wrapper(folder, model):
    for prefix in ("net.", "base_model.model.transformer.", "pretrained_model.transformer."):
        write(folder, {prefix + name.split(prefix)[-1]: array for name, array in tensors_of(folder).items()})
        assert_same(folder, model)
        write(folder, {name.removeprefix(prefix): array for name, array in tensors_of(folder).items()})


@pytest.mark.parametrize("name", ["score.weight", "multiple_choice_head.summary.bias", "v_head.summary.weight"])
def test_a_head_for_another_task_is_called_so(folder, name):
    write(folder, tensors_of(folder) | {name: np.zeros((2, 6), np.float32)})
    with pytest.raises(UserError, match=f"has a head for another task .{name}.; .*the language model only"):
        GPT.from_pretrained(folder)


def test_an_adapter_that_is_not_merged_is_called_so(folder):
    write(folder, tensors_of(folder) | {"h.0.attn.c_attn.lora_A.default.weight": np.zeros((2, 6), np.float32)})
    with pytest.raises(UserError, match="has an adapter .LoRA. beside its model .h.0.*lora_A.*; merge_and_unload"):
        GPT.from_pretrained(folder)


@pytest.mark.parametrize(("size", "name"), [("vocab_size", "wte.weight"), ("n_positions", "wpe.weight")])
def test_a_size_that_the_config_does_not_have_is_named(folder, size, name):
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {size: settings[size] + 1}))
    told = f"{name} has {settings[size]} rows, but config.json beside it says {size} = {settings[size] + 1}"
    with pytest.raises(UserError, match=told):
        GPT.from_pretrained(folder)


def test_blocks_that_were_wrapped_one_by_one_are_understood(folder, model):
    write(folder, {name.replace("h.1.", "h.1._orig_mod."): array for name, array in tensors_of(folder).items()})
    assert_same(folder, model)


def test_one_tensor_under_two_names_is_fine_where_they_are_equal_and_else_a_sentence(folder, model):
    tensors = tensors_of(folder)
    write(folder, tensors | {"module.ln_f.weight": tensors["ln_f.weight"]})
    assert_same(folder, model)
    write(folder, tensors | {"module.ln_f.weight": tensors["ln_f.weight"] + 1})
    with pytest.raises(UserError, match="has ln_f.weight twice, as .*module.ln_f.weight.*, and they are not equal"):
        GPT.from_pretrained(folder)


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_a_head_that_is_the_embeddings_is_fine_also_alone(folder, model, prefix):
    """As torch's save_model leaves it: of two names of one tensor the first in the alphabet."""
    tensors = {f"{prefix}{name}": array for name, array in tensors_of(folder).items()}
    write(folder, tensors | {"lm_head.weight": tensors[f"{prefix}wte.weight"]})
    assert_same(folder, model)
    tensors["lm_head.weight"] = tensors.pop(f"{prefix}wte.weight")
    write(folder, tensors)
    assert_same(folder, model)


@pytest.mark.parametrize("name", ["lm_head.weight", "module.lm_head.weight"])
def test_a_head_of_its_own_is_refused(folder, name):
    tensors = tensors_of(folder)
    write(folder, tensors | {name: tensors["wte.weight"] * np.float32(1.001)})
    with pytest.raises(UserError, match="has a head that is not tied to wte.weight; this library ties them"):
        GPT.from_pretrained(folder)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "bool"])
def test_a_causal_mask_is_left_out_and_another_is_refused(folder, model, dtype):
    mask = np.tril(np.ones((1, 1, 5, 5), dtype))
    tensors = tensors_of(folder)
    write(folder, tensors | {"h.0.attn.bias": mask, "h.0.attn.masked_bias": np.array(-1e4, np.float32)})
    assert_same(folder, model)
    write(folder, tensors | {"h.0.attn.bias": np.triu(mask, -2)})  # each position sees the last three alone
    with pytest.raises(UserError, match="h.0.attn.bias is not the causal mask, and this library computes no other"):
        GPT.from_pretrained(folder)


# nanoGPT


def nanogpts(tensors):
    """Matrices turned, as nn.Linear keeps them, and the names of a compiled model."""
    turned = {name: array.T if MATRIX.fullmatch(name) else array for name, array in tensors.items()}
    turned = {f"_orig_mod.transformer.{name}": array for name, array in turned.items()}
    return turned | {"_orig_mod.lm_head.weight": tensors["wte.weight"]}


def test_matrices_that_lie_as_nn_linear_keeps_them_are_turned(folder, model):
    write(folder, nanogpts(tensors_of(folder)))
    assert_same(folder, model)


@pytest.mark.parametrize("turned_back", ["h.0.attn.c_attn.weight", "h.1.mlp.c_fc.weight"])
def test_matrices_of_which_only_some_are_turned_are_refused(folder, turned_back):
    tensors = nanogpts(tensors_of(folder))
    tensors[f"_orig_mod.transformer.{turned_back}"] = tensors_of(folder)[turned_back]
    write(folder, tensors)
    with pytest.raises(UserError, match="weight has shape .*, but the array given has shape"):
        GPT.from_pretrained(folder)


@pytest.mark.parametrize("bias", [True, False])
def test_model_args_are_a_config_whose_gelu_is_the_exact_one(tmp_path, bias):
    config = GPTConfig(5, 7, 2, 2, 6, dropout=0.2, bias=bias, activation_function="gelu")
    model = model_with_weights_of_order_one(config, dtype="float32")
    write(tmp_path, nanogpts(dict(model.params)))
    args = {"n_layer": 2, "n_head": 2, "n_embd": 6, "block_size": 5, "bias": bias, "vocab_size": 7, "dropout": 0.2}
    (tmp_path / "config.json").write_text(json.dumps(args))
    again = GPT.from_pretrained(tmp_path)
    assert again.config == config
    np.testing.assert_array_equal(again.forward(IDX)[0], model.forward(IDX)[0])

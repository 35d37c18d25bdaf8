"""Folders of others: the hub's cache, configurations by other names, and weights that have to be converted first."""

import ast
import json
import os
import re
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.test_foreign_weights import WEIGHTS, assert_same, written_by_another
from tests.test_model import IDX, SMALL, model_with_weights_of_order_one
from tinygpt import GPT, UserError, load_model
from tinygpt.cli import main
from tinygpt.model_folder import NAMES

ROOT = Path(__file__).parents[1]


@pytest.fixture
def model():
    return model_with_weights_of_order_one(dtype="float32")


@pytest.fixture
def folder(model, tmp_path):
    return written_by_another(model, tmp_path / "model")


# The hub's cache


@pytest.fixture
def hub(folder, tmp_path):
    """A model's folder in the hub's cache: snapshots of links to blobs."""
    cache = tmp_path / "hub" / "models--openai-community--gpt2"
    (cache / "blobs").mkdir(parents=True)
    (cache / "snapshots" / "abc123").mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("abc123")
    for number, name in enumerate(("config.json", WEIGHTS)):
        (cache / "blobs" / f"{number}").write_bytes((folder / name).read_bytes())
        try:
            (cache / "snapshots" / "abc123" / name).symlink_to(f"../../blobs/{number}")
        except OSError:
            pytest.skip("on Windows not every user may make links")
    return cache


@pytest.mark.parametrize("given", ["", "snapshots", "snapshots/abc123", "snapshots/abc123/config.json"])
def test_a_folder_of_the_hubs_cache_leads_to_the_snapshot_in_use(hub, model, given):
    assert_same(hub / given, model)
    assert load_model(hub / given, "cpu")[0].config == model.config
    (hub / "snapshots" / "def456").mkdir()  # an older one, of which there are no files
    assert_same(hub / given, model)


def test_the_only_snapshot_needs_no_name(hub, model):
    (hub / "refs" / "main").unlink()
    assert_same(hub, model)


def test_of_several_snapshots_one_must_be_named(hub):
    (hub / "refs" / "main").unlink()
    (hub / "snapshots" / "def456").mkdir()
    for given in (hub, hub / "snapshots"):
        with pytest.raises(
            UserError, match=r"has 2 snapshots \(abc123, def456\), and no refs/main .*; give one, such as"
        ):
            GPT.from_pretrained(given)


@pytest.mark.parametrize("revision", ["def456", "../../elsewhere", "", "..", "."])
def test_refs_lead_only_to_snapshots(hub, tmp_path, revision):
    (hub / "refs" / "main").write_text(revision)
    with pytest.raises(UserError, match=r"refs/main names .*, which is not in its snapshots; give one of .*abc123"):
        GPT.from_pretrained(hub)


def test_a_cache_of_several_models_and_an_empty_one_are_told(hub):
    with pytest.raises(UserError, match="is the hub's cache; give the folder of one model in it, such as .*models--"):
        GPT.from_pretrained(hub.parent)
    for name in ("config.json", WEIGHTS):
        (hub / "snapshots" / "abc123" / name).unlink()
    (hub / "snapshots" / "abc123").rmdir()
    (hub / "refs" / "main").unlink()
    with pytest.raises(UserError, match="snapshots is empty; fetch the model again"):
        GPT.from_pretrained(hub)


def test_a_link_whose_blob_was_left_behind_is_told(hub):
    (hub / "blobs" / "1").unlink()
    with pytest.raises(
        UserError, match="model.safetensors is a link to .*blobs/1, where there is nothing; .*blobs and"
    ):
        GPT.from_pretrained(hub)


# What is converted, and what is not read


def torch_file(path, *words):
    """A file as torch.save leaves it, so far as it is looked at here."""
    with zipfile.ZipFile(path, "w") as archive:
        words = [b"X" + len(word).to_bytes(4, "little") + word.encode() for word in words]  # as a pickle has strings
        archive.writestr("archive/data.pkl", b"\x80\x02 " + b" ".join(words))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth", "weights.pt", "last.ckpt", "consolidated.bin"])
def test_a_pickle_is_named_with_the_two_lines_that_convert_it(folder, name):
    (folder / WEIGHTS).unlink()
    torch_file(folder / name, "wte.weight")
    for given in (folder, folder / name):
        with pytest.raises(
            UserError, match="is a pickle, .*loading one can run any code, so none is read here"
        ) as error:
            GPT.from_pretrained(given)
        lines = str(error.value).split("\n\n")[1].splitlines()
        assert len(lines) == 2 and all(compile(line, "line", "exec") for line in lines)
        assert (
            f"torch.load('{(folder / name).as_posix()}'" in lines[0] and f"'{folder.as_posix()}/{WEIGHTS}'" in lines[1]
        )


@pytest.mark.parametrize("given", ["", "ckpt.pt"])
def test_nanogpts_checkpoint_is_named_with_lines_that_write_a_config_too(tmp_path, capsys, given):
    torch_file(tmp_path / "ckpt.pt", "model", "optimizer", "model_args")
    assert main(["sample", f"--out_dir={tmp_path / given}", "--device=cpu"]) == 1
    said = capsys.readouterr().err
    lines = said.split("\n\n")[1].splitlines()
    assert said.startswith(f"error: {tmp_path / 'ckpt.pt'} is a pickle") and len(lines) == 2
    assert 'json.dump(c["model_args"], open(' in lines[1] and all(compile(line, "line", "exec") for line in lines)


def test_sharded_pickles_go_through_transformers(folder):
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin.index.json").write_text("{}")
    (folder / "pytorch_model-00001-of-00002.bin").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"(?s)index.json names pickles.*AutoModelForCausalLM.from_pretrained\('.*save_pre"
    ):
        GPT.from_pretrained(folder)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("tf_model.h5", "is TensorFlow's weights, not read here; take the model's model.safetensors"),
        ("flax_model.msgpack", "is Flax's weights"),
        ("model.ckpt.index", "is a TensorFlow checkpoint"),
        ("gpt2.Q4_K_M.gguf", "is llama.cpp's form, most often in a few bits a weight"),
        ("model.onnx", "is an ONNX graph"),
        ("weights.npz", "is NumPy's archive"),
        ("adapter_model.safetensors", r"belongs to an adapter \(LoRA\).*merge_and_unload"),
        ("64.tflite", "is TensorFlow Lite's graph"),
        ("model.safetensors.incomplete", "is a download that was not finished, not read here; fetch it anew"),
        ("model.safetensors.gz", "is an archive, not read here; unpack it"),
        ("__0_0.distcp", "is a shard of PyTorch's distributed checkpoint, .*dcp_to_torch_save"),
        ("lit_model.pth", "is LitGPT's checkpoint"),
        ("model-00001-of-00002.safetensors", "is one of 2 shards, and .*/model.safetensors.index.json is missing"),
        ("model-00001-of-00001.safetensors", "has another name"),
        ("model.fp16.safetensors", "has another name than weights have; expected .*model.safetensors, so rename it"),
    ],
)
def test_other_forms_are_named_by_folder_and_by_path(folder, name, sentence):
    (folder / WEIGHTS).rename(folder / name)
    for given in (folder, folder / name):
        with pytest.raises(UserError, match=f"{name} {sentence}"):
            GPT.from_pretrained(given)


def test_a_checkpoint_of_llm_c_is_named_with_what_writes_a_folder_of_it(folder):
    (folder / WEIGHTS).unlink()
    (folder / "gpt2_124M.bin").write_bytes(np.array([20240326, 3, 32], np.int32).tobytes())
    for given in (folder, folder / "gpt2_124M.bin"):
        with pytest.raises(
            UserError, match="gpt2_124M.bin is a checkpoint of llm.c, not read here; its .*export_hf.py"
        ):
            GPT.from_pretrained(given)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_the_lines_for_a_pickle_take_the_weights_from_where_they_are_in_it(folder, key):
    (folder / WEIGHTS).unlink()
    torch_file(folder / "step-5.ckpt", "epoch", key, "optimizer_state_dict")
    assert f'in c["{key}"].items()' in lines_told(folder)


def test_what_a_trainer_keeps_beside_weights_is_not_taken_for_them(folder):
    (folder / WEIGHTS).unlink()
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "rng_state_0.pth", "training_args.bin"):
        torch_file(folder / name)
    with pytest.raises(UserError, match="could not read .*model.safetensors: no such file"):
        GPT.from_pretrained(folder)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"<!DOCTYPE html><html>", "is a web page; .*/resolve/"),
        (b"\x1f\x8b\x08\0", "is compressed by gzip"),
        (b"PK\3\4", "is what PyTorch writes, under another name; call it pytorch_model.bin"),
        (b"\x80\2\x8a\nl\xfc", "is what PyTorch writes, under another name"),
        (b"\x80\2\0\0\0\0\0\0{", "is damaged: not a whole safetensors file"),
    ],
)
def test_what_is_only_called_safetensors_is_told(folder, content, sentence):
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(UserError, match=f"model.safetensors {sentence}"):
        GPT.from_pretrained(folder)


def test_git_lfs_pointers_of_pickles_are_called_so(folder):
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    with pytest.raises(UserError, match="pytorch_model.bin is only Git LFS's pointer"):
        GPT.from_pretrained(folder)


def test_folders_inside_that_may_be_meant_are_named(folder):
    with pytest.raises(UserError, match="holds no model itself, but .*model may; give one by its path"):
        GPT.from_pretrained(folder.parent)


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("distilgpt2", "hf download distilgpt2 --local-dir distilgpt2"),
        ("distilbert/distilgpt2", "hf download distilbert/distilgpt2 --local-dir distilgpt2"),
        ("https://huggingface.co/me/my-gpt", "hf download me/my-gpt --local-dir my-gpt"),
    ],
)
def test_a_name_on_the_hub_is_told_how_to_be_fetched(tmp_path, monkeypatch, named, told):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"there is no folder .*`{told}` fetches"):
        load_model(named)


@pytest.mark.parametrize(("named", "meant"), [("GPT2", "gpt2"), ("gpt-2", "gpt2"), ("gpt2_medium", "gpt2-medium")])
def test_a_name_that_is_nearly_one_of_gpt2s_is_told_which(tmp_path, monkeypatch, named, meant):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"there is no folder {named}; .*did you mean {meant}"):
        load_model(named)


def test_the_names_that_are_near_are_those_that_are_fetched():
    assert tuple(GPT.sizes) == NAMES


@pytest.mark.parametrize("named", ["nowhere", "a/b/c/gpt", "/tmp/none/gpt2"])
def test_what_is_no_name_on_the_hub_is_not_called_one(tmp_path, monkeypatch, named):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="there is no folder .*or a name such as gpt2$"):
        load_model(named)


@pytest.mark.parametrize("named", ["x" * 300, "a\0b", ""])
def test_what_can_name_no_folder_is_told(model, named):
    for use in (GPT.from_pretrained, load_model, model.save_pretrained):
        with pytest.raises(UserError, match="the folder is "):
            use(named)


def test_tokens_are_not_taken_for_pickles(folder):
    (folder / WEIGHTS).unlink()
    np.arange(640, 900, dtype=np.uint16).tofile(folder / "train.bin")  # 640 are the first bytes of a pickle
    (folder / "meta.pkl").write_bytes(b"\x80\x02}.")
    with pytest.raises(UserError, match="could not read .*model.safetensors: no such file"):
        GPT.from_pretrained(folder)
    with pytest.raises(
        UserError, match="train.bin is a file, and of no kind of weights known here; expected a model's"
    ):
        GPT.from_pretrained(folder / "train.bin")


def test_weights_without_a_config_say_what_it_is_for(folder):
    (folder / "config.json").unlink()
    with pytest.raises(
        UserError, match="could not read .*config.json: no such file beside .*it says the model's shape"
    ):
        GPT.from_pretrained(folder)


@pytest.mark.parametrize("name", ["config.json", WEIGHTS])
def test_a_models_own_file_leads_to_its_folder(folder, model, name):
    assert_same(folder / name, model)


@pytest.mark.parametrize("given", [None, 5, b"folder", ["gpt2"]])
def test_what_is_no_path_is_told(given):
    for load in (GPT.from_pretrained, load_model):
        with pytest.raises(UserError, match="the folder is .*; expected a path, or a model's name such as 'gpt2'"):
            load(given)


def lines_told(place):
    with pytest.raises(UserError, match="none is read here") as error:
        GPT.from_pretrained(place)
    return str(error.value).split("\n\n")[1].strip()


def test_the_page_about_checkpoints_shows_the_lines_that_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("out-nano/ckpt.pt", "gpt2-old/pytorch_model.bin", "gpt2-shards/pytorch_model.bin.index.json"):
        Path(name).parent.mkdir()
        Path(name).touch()
    Path("gpt2-old/config.json").touch()
    page = (ROOT / "docs" / "checkpoints.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```py\n(.*?)\n```$", page, flags=re.DOTALL | re.MULTILINE)
    told = [lines_told(folder) for folder in ("out-nano", "gpt2-old", "gpt2-shards")]
    assert [ast.dump(ast.parse(lines)) for lines in shown] == [ast.dump(ast.parse(lines)) for lines in told]


# config.json


def edit_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({name: v for name, v in config.items() if v != "remove"}))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model_type": "gpt_neo"}, "model_type = 'gpt_neo'; this library computes only 'gpt2'"),
        ({"model_type": "opt"}, "model_type = 'opt'"),
        ({"scale_attn_weights": False}, "scale_attn_weights = False; this library computes only True"),
        ({"add_cross_attention": True}, "add_cross_attention = True"),
        ({"is_encoder_decoder": True}, "is_encoder_decoder = True"),
        ({"quantization_config": {"load_in_8bit": True}}, "quantization_config = {'load_in_8bit': True}"),
        ({"activation_function": "gelu_10"}, "activation_function is 'gelu_10'; expected gelu_new"),
        ({"activation_function": "quick_gelu"}, "activation_function is 'quick_gelu'"),
        ({"hidden_size": 8}, "has n_embd = 6 and hidden_size = 8, which mean the same; take one of them out"),
        ({"n_layer": 2.0}, "n_layer is 2.0; expected a whole number"),
        ({"n_positions": "5"}, "n_positions|block_size is '5'"),
    ],
)
def test_a_config_that_would_be_other_numbers_is_refused(folder, changes, sentence):
    edit_config(folder, **changes)
    with pytest.raises(UserError, match=sentence):
        GPT.from_pretrained(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"n_embd": "remove", "hidden_size": 6},
        {"n_layer": "remove", "num_hidden_layers": 2},
        {"n_head": "remove", "num_attention_heads": 2},
        {"n_positions": "remove", "max_position_embeddings": 5},
        {"n_positions": "remove", "n_ctx": 5},
        {"n_ctx": 5},
        {"n_ctx": 1024},  # the size of the mask's buffer, and not the model's
        {"reorder_and_upcast_attn": True},  # an order of the same operations
        {"quantization_config": None},
        {"torch_dtype": "bfloat16", "use_cache": False, "summary_type": "cls_index"},
        {"activation_function": "gelu_pytorch_tanh"},
        {"activation_function": "gelu_fast"},
        {"activation_function": "gelu_accurate"},
        {"model_type": "remove"},
    ],
)
def test_a_config_that_means_the_same_is_read_the_same(folder, model, changes):
    edit_config(folder, **changes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(GPT.from_pretrained(folder).forward(IDX)[0], model.forward(IDX)[0])


def test_an_epsilon_of_ones_own_is_used(folder):
    before = GPT.from_pretrained(folder).forward(IDX)[0]
    edit_config(folder, layer_norm_epsilon=0.5)
    assert np.abs(GPT.from_pretrained(folder).forward(IDX)[0] - before).max() > 0.01


def test_a_model_is_not_saved_over_a_file(model, tmp_path):
    (tmp_path / "file").write_text("the user's own")
    with pytest.raises(UserError, match="file is a file; a model is saved into a folder"):
        model.save_pretrained(tmp_path / "file")
    with pytest.raises(UserError, match="could not write"):
        model.save_pretrained(tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "the user's own" and os.listdir(tmp_path) == ["file"]
    assert SMALL == model.config

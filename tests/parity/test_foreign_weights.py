"""Weights as PyTorch's programs write them give the same logits here; and the lines that convert what is not read."""

import json
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from tinygpt import GPT, UserError
from tinygpt.models.pretrained import SAME_GELU

from .comparison import NEEDS_TORCH, NEEDS_TRANSFORMERS, relative_error

os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported: nothing here may wait for a network
torch = pytest.importorskip("torch", reason=NEEDS_TORCH)
transformers = pytest.importorskip("transformers", reason=NEEDS_TRANSFORMERS)

from torch import nn  # noqa: E402

from .test_transformers import logits_of, random_gpt2, tokens  # noqa: E402

ARGS = {"n_layer": 2, "n_head": 3, "n_embd": 12, "block_size": 12, "bias": True, "vocab_size": 23, "dropout": 0.0}


# What transformers writes


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_shards_of_transformers_in_any_dtype_give_its_logits(tmp_path, dtype):
    gpt2 = random_gpt2().to(getattr(torch, dtype))
    gpt2.save_pretrained(tmp_path, max_shard_size="5KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2 and (tmp_path / "model.safetensors.index.json").exists()
    with safe_open(next(tmp_path.glob("model-*.safetensors")), "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {getattr(torch, dtype)}  # noqa: SIM118
    model = GPT.from_pretrained(tmp_path, dtype="float64")
    assert relative_error(model.forward(tokens())[0], logits_of(gpt2.double())) < 1e-10


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", *SAME_GELU])
def test_every_name_of_a_gelu_that_is_read_is_the_function_that_transformers_means(tmp_path, activation):
    gpt2 = random_gpt2(activation)
    gpt2.save_pretrained(tmp_path)
    model = GPT.from_pretrained(tmp_path, dtype="float64")
    assert relative_error(model.forward(tokens())[0], logits_of(gpt2)) < 1e-10


def test_attention_in_another_order_is_the_same_function(tmp_path):
    gpt2 = random_gpt2(reorder_and_upcast_attn=True)
    gpt2.save_pretrained(tmp_path)
    model = GPT.from_pretrained(tmp_path, dtype="float64")
    assert relative_error(model.forward(tokens())[0], logits_of(gpt2)) < 1e-6  # theirs is in float32


@pytest.mark.parametrize("settings", [{"scale_attn_weights": False}, {"scale_attn_by_inverse_layer_idx": True}])
def test_what_would_be_other_logits_is_refused(tmp_path, settings):
    random_gpt2(**settings).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=next(iter(settings))):
        GPT.from_pretrained(tmp_path)


# nanoGPT: a model of its kind, with nn.Linear's matrices, compiled names and a tied head


class Norm(nn.Module):
    def __init__(self, width, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x):
        return nn.functional.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)


class Attention(nn.Module):
    def __init__(self, args):
        super().__init__()
        C = args["n_embd"]
        self.heads = args["n_head"]
        self.c_attn = nn.Linear(C, 3 * C, bias=args["bias"])
        self.c_proj = nn.Linear(C, C, bias=args["bias"])
        mask = torch.tril(torch.ones(args["block_size"], args["block_size"]))
        self.register_buffer("bias", mask[None, None])

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = (part.view(B, T, self.heads, -1).transpose(1, 2) for part in self.c_attn(x).split(C, dim=2))
        scores = (q @ k.transpose(-2, -1)) / math.sqrt(C // self.heads)
        scores = scores.masked_fill(self.bias[:, :, :T, :T] == 0, -torch.inf)
        return self.c_proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, C))


class Feed(nn.Module):
    def __init__(self, args):
        super().__init__()
        C = args["n_embd"]
        self.c_fc = nn.Linear(C, 4 * C, bias=args["bias"])
        self.c_proj = nn.Linear(4 * C, C, bias=args["bias"])

    def forward(self, x):
        return self.c_proj(nn.functional.gelu(self.c_fc(x)))


class Layer(nn.Module):
    def __init__(self, args):
        super().__init__()
        self.ln_1, self.attn = Norm(args["n_embd"], args["bias"]), Attention(args)
        self.ln_2, self.mlp = Norm(args["n_embd"], args["bias"]), Feed(args)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class NanoGPT(nn.Module):
    def __init__(self, args):
        super().__init__()
        C = args["n_embd"]
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(args["vocab_size"], C),
                "wpe": nn.Embedding(args["block_size"], C),
                "h": nn.ModuleList(Layer(args) for _ in range(args["n_layer"])),
                "ln_f": Norm(C, args["bias"]),
            }
        )
        self.lm_head = nn.Linear(C, args["vocab_size"], bias=False)
        self.transformer.wte.weight = self.lm_head.weight

    def forward(self, idx):
        t = self.transformer
        x = t.wte(idx) + t.wpe(torch.arange(idx.shape[1]))
        for layer in t.h:
            x = layer(x)
        return self.lm_head(t.ln_f(x))


def random_nanogpt(args):
    model, rng = NanoGPT(args).double(), np.random.default_rng(40)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.from_numpy(rng.standard_normal(parameter.shape) / math.sqrt(parameter.shape[-1])))
    return model


def test_the_lines_of_the_page_about_checkpoints_convert(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "checkpoints.md").read_text(encoding="utf-8")
    nano, gpt2 = random_nanogpt(ARGS), random_gpt2()
    for folder in ("out-nano", "gpt2-old", "gpt2-shards"):
        Path(folder).mkdir()
    torch.save({"model": nano.state_dict(), "model_args": ARGS}, "out-nano/ckpt.pt")
    for folder in ("gpt2-old", "gpt2-shards"):
        gpt2.config.save_pretrained(folder)
    torch.save(gpt2.state_dict(), "gpt2-old/pytorch_model.bin")
    in_shards(gpt2, Path("gpt2-shards"))
    for lines in re.findall(r"^```py\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE):
        exec(lines, {})
    with torch.no_grad():
        expected = nano(torch.from_numpy(tokens())).numpy()
    assert relative_error(GPT.from_pretrained("out-nano", dtype="float64").forward(tokens())[0], expected) < 1e-10
    for folder in ("gpt2-old", "gpt2-shards"):
        logits = GPT.from_pretrained(folder, dtype="float64").forward(tokens())[0]
        assert relative_error(logits, logits_of(gpt2)) < 1e-10


def converted_as_told(given):
    """Load, and run the two lines that the sentence shows."""
    with pytest.raises(UserError, match="is a pickle|names pickles") as error:
        GPT.from_pretrained(given)
    lines = str(error.value).split("\n\n")[1]
    assert len(lines.splitlines()) == 2
    exec(lines, {})


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("compiled", ["", "_orig_mod."], ids=["plain", "compiled"])
def test_nanogpts_checkpoint_is_converted_by_the_two_lines_that_are_told(tmp_path, bias, compiled):
    args = ARGS | {"bias": bias}
    theirs = random_nanogpt(args)
    state = {f"{compiled}{name}": tensor for name, tensor in theirs.state_dict().items()}
    optimizer = torch.optim.AdamW(theirs.parameters()).state_dict()
    checkpoint = {"model": state, "optimizer": optimizer, "model_args": args, "iter_num": 5, "config": dict(args)}
    torch.save(checkpoint | {"best_val_loss": torch.tensor(1.5)}, tmp_path / "ckpt.pt")
    converted_as_told(tmp_path)
    model = GPT.from_pretrained(tmp_path, dtype="float64")
    assert model.config.bias == bias and model.config.activation_function == "gelu"
    idx = np.random.default_rng(41).integers(23, size=(2, 12))
    with torch.no_grad():
        expected = theirs(torch.from_numpy(idx)).numpy()
    assert relative_error(model.forward(idx)[0], expected) < 1e-10


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pth"])
def test_a_state_dict_of_transformers_is_converted_by_the_two_lines_that_are_told(tmp_path, name):
    gpt2 = random_gpt2()
    gpt2.config.save_pretrained(tmp_path)
    torch.save(gpt2.state_dict(), tmp_path / name)
    converted_as_told(tmp_path / name)
    model = GPT.from_pretrained(tmp_path, dtype="float64")
    assert relative_error(model.forward(tokens())[0], logits_of(gpt2)) < 1e-10


def in_shards(gpt2, folder):
    """Its weights in two pickles and their index, as transformers wrote them before safetensors."""
    state = {name: tensor.clone() for name, tensor in gpt2.state_dict().items() if name != "lm_head.weight"}
    files = {}
    for number, names in enumerate((sorted(state)[::2], sorted(state)[1::2]), start=1):
        file = f"pytorch_model-{number:05}-of-00002.bin"
        torch.save({name: state[name] for name in names}, folder / file)
        files |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": 1}, "weight_map": files}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def test_sharded_pickles_are_converted_by_the_two_lines_that_are_told(tmp_path):
    gpt2 = random_gpt2()
    gpt2.config.save_pretrained(tmp_path)
    in_shards(gpt2, tmp_path)
    converted_as_told(tmp_path)
    model = GPT.from_pretrained(tmp_path, dtype="float64")
    assert relative_error(model.forward(tokens())[0], logits_of(gpt2)) < 1e-10


def test_what_save_model_of_safetensors_leaves_is_read(tmp_path):
    """Of two names of one tensor it keeps one, which may be the head's."""
    from safetensors.torch import save_model

    theirs = random_nanogpt(ARGS)
    save_model(theirs, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(ARGS))
    model = GPT.from_pretrained(tmp_path, dtype="float64")
    idx = np.random.default_rng(41).integers(23, size=(2, 12))
    with torch.no_grad():
        assert relative_error(model.forward(idx)[0], theirs(torch.from_numpy(idx)).numpy()) < 1e-10


# The API


@pytest.mark.parametrize("of", [lambda model: model.forward, lambda model: lambda idx: model.generate(idx, 2)])
def test_torchs_tensors_are_a_sentence_that_says_what_to_give(of):
    from tests.test_model import SMALL

    model = GPT(SMALL)
    idx = torch.ones((1, 3), dtype=torch.long)
    for given, name in ((idx, "idx"), (idx.double().requires_grad_(), "idx")):
        with pytest.raises(UserError, match=rf"{name} is a torch.Tensor; give (np.asarray\(.*\))$") as error:
            of(model)(given)
        way_out = re.search(r"give (.*)$", str(error.value))[1]
        assert isinstance(eval(way_out, {"np": np, "idx": given}), np.ndarray)
    with pytest.raises(UserError, match="targets is a torch.Tensor"):
        model.loss(idx.numpy(), idx)
    with pytest.raises(UserError, match=r"give np.where\(targets == -100, -1, targets\)"):
        model.loss(idx.numpy(), np.full((1, 3), -100))

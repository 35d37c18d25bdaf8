"""Weights on disk: damage is said, what another program wrote is named, and what cannot be right is refused."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.damage import damage
from tinygpt import GPT, UserError, load_model
from tinygpt.cli import main
from tinygpt.errors import Note
from tinygpt.run.folder import load_state
from tinygpt.run.store import resume
from tinygpt.tensors import TensorFile

ROOT = Path(__file__).parents[1]

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small run, and the text that it learned from."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "text.txt").write_text("to be or not to be, that is the question\n" * 200)
    small = "--n_layer=1 --n_embd=16 --n_head=2 --block_size=16 --batch_size=4 --eval_interval=4 --eval_iters=1"
    small += " --max_iters=8 --sample_length=0 --device=cpu --threads=1 --warmup_iters=2"
    assert main(["train", f"--data={folder / 'text.txt'}", f"--out_dir={folder / 'out'}", *small.split()]) == 0
    return folder


@pytest.fixture
def out(finished, tmp_path):
    return Path(shutil.copytree(finished / "out", tmp_path / "out"))


def command(name, out, *flags):
    flags += {"sample": ("--max_new_tokens=5", "--seed=1"), "eval": ()}[name]
    return main([name, f"--out_dir={out}", "--device=cpu", *flags])


def rewrite(weights, change, metadata=None):
    """Write weights anew, as another program does that reads safetensors."""
    tensors = load_file(weights)
    tensors.update(change({name: array.copy() for name, array in tensors.items()}))
    save_file(tensors, weights, metadata or {"format": "pt"})


# damage


def test_damage_anywhere_in_best_is_said(out, tmp_path):
    best, whole, rng = out / "best", shutil.copytree(out / "best", tmp_path / "whole"), np.random.default_rng(0)
    for _ in range(200):
        what = damage(best / rng.choice([WEIGHTS, WEIGHTS, "config.json", "tokenizer.tinygpt.json"]), rng)
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            try:
                load_model(out, "cpu")
                said = [str(note.message) for note in notes if note.category is Note]
            except UserError as error:
                said = [str(error)]
        assert said and str(best) in said[0], what
        for path in whole.iterdir():
            shutil.copy(path, best)


def test_every_byte_of_the_weights_header_is_covered(out):
    path = out / "best" / WEIGHTS
    whole = path.read_bytes()
    length = 8 + int.from_bytes(whole[:8], "little")
    for place in range(length):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            try:
                load_model(out, "cpu")
                assert notes, whole[max(0, place - 20) : place + 20]
            except UserError:
                pass


@pytest.mark.parametrize("name", ["sample", "eval"])
def test_a_flipped_bit_of_a_weight_ends_a_command(out, capsys, name):
    path = out / "best" / WEIGHTS
    content = bytearray(path.read_bytes())
    content[-100] ^= 1  # in a mantissa: every number is as finite as before
    path.write_bytes(content)
    assert command(name, out) == 1
    assert "model.safetensors is damaged: its SHA-256 is not what it was when it was saved" in capsys.readouterr().err
    shutil.move(out / "best", out / "aside")  # as the sentence says
    assert command(name, out) == 0
    assert "is missing, so these are the run's last weights" in capsys.readouterr().err


def test_the_same_model_is_the_same_file_each_time(out, tmp_path):
    model, _ = load_model(out, "cpu")
    for number in range(8):  # metadata of four entries would hardly come in one order by chance
        model.save_pretrained(tmp_path / f"{number}")
    assert len({(tmp_path / f"{number}" / WEIGHTS).read_bytes() for number in range(8)}) == 1


# other programs


def test_weights_that_another_program_wrote_are_named_and_used(out, capsys):
    rewrite(out / "best" / WEIGHTS, lambda tensors: {"wte.weight": tensors["wte.weight"] * 1.01})
    for name in ("sample", "eval"):
        assert command(name, out) == 0
        note = f"note: {out / 'best' / WEIGHTS} has no digest that would tell damage: another program wrote it"
        assert note in capsys.readouterr().err
    best = f"--init_from={out / 'best'}"
    text = "--data=" + load_state(out)[0]["config"]["data"]
    assert main(["train", best, text, f"--out_dir={out / 'new'}", "--eval_only", "--eval_iters=1", "--device=cpu"]) == 0
    assert note in capsys.readouterr().err


@pytest.mark.parametrize("name", ["config.json", "tokenizer.tinygpt.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_file_edited_beside_the_weights_is_named_and_used(out, capsys, name):
    path = out / "best" / name
    path.write_text(json.dumps(json.loads(path.read_text()) | {"someone": "was here"}))
    assert command("sample", out) == 0
    assert f"note: {path} is not the one that {WEIGHTS} was saved with" in capsys.readouterr().err


def test_what_is_as_it_was_saved_gives_no_note(out, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", Note)
        load_model(out, "cpu")
        load_model(shutil.copytree(out / "best", tmp_path / "a copy"), "cpu")
        resume(out, {"max_iters": 12})


def test_best_weights_that_are_missing_are_told_where_the_last_ones_are_used(out):
    (out / "best" / WEIGHTS).unlink()
    with pytest.warns(Note, match="best/model.safetensors is missing, so these are the run's last weights"):
        load_model(out, "cpu")


# weights that cannot be right


@pytest.mark.parametrize("dtype", ["int32", "int8", "uint8", "bool", "complex64", "int64"])
def test_weights_that_are_no_floating_point_numbers_are_refused(out, dtype):
    rewrite(out / "best" / WEIGHTS, lambda tensors: {"wpe.weight": tensors["wpe.weight"].astype(dtype)})
    with pytest.raises(UserError, match=f"wpe.weight holds {dtype}; expected floating-point numbers"):
        GPT.from_pretrained(out / "best")


def put_a_terabyte(path: Path, name: str) -> None:
    """A tensor of a terabyte, of which nothing is on the disk, beside those in a safetensors file."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    if name in header:
        header["h.7.attn.bias"] = header[name]  # no byte may be without a name; this is one that is left alone
    header[name] = {"dtype": "U8", "shape": [1 << 40], "data_offsets": [len(data), len(data) + (1 << 40)]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    with path.open("r+b") as file:
        file.truncate(8 + len(text) + len(data) + (1 << 40))


@pytest.fixture
def none_of_them_read(monkeypatch):
    read = TensorFile.read

    def watched(self, name):
        assert self.shapes[name] != (1 << 40,), f"{name} is read"
        return read(self, name)

    monkeypatch.setattr(TensorFile, "read", watched)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("bomb", "has an unknown bomb; its config belongs to another model, or it is damaged"),
        ("wte.weight", r"wte.weight has shape \(.*, 16\), but the array given has shape \(1099511627776,\)"),
        ("transformer.wte.weight", "wte.weight has shape"),
        ("lm_head.weight", "lm_head.weight has shape"),
        ("h.0.ln_1.bias", "ln_1.bias has shape"),
        ("h.0.attn.bias", None),  # a mask, which is left alone
    ],
)
def test_weights_of_another_model_are_refused_unread(out, none_of_them_read, name, sentence):
    put_a_terabyte(out / "best" / WEIGHTS, name)
    if sentence is None:
        GPT.from_pretrained(out / "best")
        return
    with pytest.raises(UserError, match=f"{out}/best/{WEIGHTS}.*{sentence}"):
        GPT.from_pretrained(out / "best")


@pytest.mark.parametrize("name", ["bomb", "m.bomb"])
def test_moments_of_another_model_are_refused_unread(out, monkeypatch, none_of_them_read, name):
    monkeypatch.setattr("tinygpt.run.folder._check_digest", lambda *_: None)
    path = load_state(out)[1] / "moments.safetensors"
    put_a_terabyte(path, name)
    with pytest.raises(UserError, match=f"{path}.* {name}.*its config belongs to another model"):
        resume(out, {"max_iters": 12})


def test_a_file_beside_the_weights_that_is_too_large_is_left_unread(out):
    path = out / "best" / "tokenizer.tinygpt.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.warns(Note, match=f"{path} is not the one that {WEIGHTS} was saved with"):
        model = GPT.from_pretrained(out / "best")
    model.save_pretrained(out / "best")
    with pytest.raises(UserError, match=r"tokenizer.tinygpt.json has 1,099,511,627,776 bytes; expected at most"):
        load_model(out)


def test_a_number_that_is_not_finite_is_called_so_wherever_it_is(out):
    rewrite(out / "best" / WEIGHTS, lambda tensors: {"h.0.ln_1.bias": tensors["h.0.ln_1.bias"] + np.float32(np.nan)})
    with pytest.raises(UserError, match="h.0.ln_1.bias has numbers that are not finite"):
        GPT.from_pretrained(out / "best")


def test_a_tied_head_that_is_not_finite_is_not_called_untied(out):
    def spoil(tensors):
        tensors["wte.weight"].flat[0] = np.nan
        return tensors | {"lm_head.weight": tensors["wte.weight"]}

    rewrite(out / "best" / WEIGHTS, spoil)
    with pytest.raises(UserError, match="wte.weight has numbers that are not finite"):
        GPT.from_pretrained(out / "best")


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["wte.weight", "h.0.ln_1.weight"])
def test_weights_that_are_not_finite_are_refused(out, capsys, number, name):
    def spoil(tensors):
        tensors[name].flat[-1] = number
        return tensors

    rewrite(out / "best" / WEIGHTS, spoil)
    for what in ("sample", "eval"):
        assert command(what, out) == 1
        assert f"{name} has numbers that are not finite in float32" in capsys.readouterr().err


def test_weights_too_large_for_the_dtype_asked_for_are_refused(out):
    rewrite(out / "best" / WEIGHTS, lambda tensors: {"wpe.weight": tensors["wpe.weight"].astype("float64") + 1e300})
    with pytest.raises(UserError, match="wpe.weight has numbers that are not finite in float32"):
        GPT.from_pretrained(out / "best")
    assert GPT.from_pretrained(out / "best", dtype="float64").params["wpe.weight"].max() == 1e300


def test_half_precision_weights_are_read(out):
    before = GPT.from_pretrained(out / "best")
    rewrite(out / "best" / WEIGHTS, lambda tensors: {name: a.astype("float16") for name, a in tensors.items()})
    np.testing.assert_allclose(GPT.from_pretrained(out / "best").params.flat, before.params.flat, atol=1e-3)


def test_a_dtype_that_numpy_lacks_is_a_sentence(out):
    path = out / "best" / WEIGHTS
    save_file({name: array.astype(np.uint8) for name, array in load_file(path).items()}, path)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].replace(b'"U8"', b'"F8_E4M3"')
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
    with pytest.raises(UserError, match=r"holds a dtype that NumPy lacks \(F8_E4M3 in .*; save it in float32"):
        GPT.from_pretrained(out / "best")


def test_a_model_whose_loss_is_not_finite_is_no_result_of_eval(out, capsys):
    """Every weight is finite, but not what comes of them."""
    names = "h.0.mlp.c_fc.weight", "h.0.mlp.c_proj.weight"
    rewrite(out / "best" / WEIGHTS, lambda tensors: {name: tensors[name] * np.float32(1e30) for name in names})
    assert command("eval", out) == 1
    shown = capsys.readouterr()
    assert "on text.txt is nan, so its weights are of no use" in shown.err and shown.out == ""


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda name, a: a.astype("int32"), "holds int32; expected floating-point"),
        (lambda name, a: a + np.float32(np.nan), "numbers that are not finite"),
        (lambda name, a: a - 1 if name.startswith("v.") else a, "numbers below 0 in v, which cannot be"),
    ],
)
def test_moments_that_cannot_be_are_refused(out, monkeypatch, spoil, sentence):
    """Even where the digests of the state fit."""
    monkeypatch.setattr("tinygpt.run.folder._check_digest", lambda *_: None)
    _, folder = load_state(out)
    rewrite(folder / "moments.safetensors", lambda tensors: {name: spoil(name, a) for name, a in tensors.items()})
    with pytest.raises(UserError, match=f"moments.safetensors.*{sentence}"):
        resume(out, {"max_iters": 12})


def test_a_folder_of_another_program_that_had_no_digest_is_no_news(out, capsys):
    rewrite(out / "best" / WEIGHTS, lambda tensors: tensors)
    (out / "best" / "tokenizer.tinygpt.json").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_model(out / "best", "cpu")


def test_the_note_that_explains_an_error_is_said_with_it(out, capsys):
    path = out / "best" / "config.json"
    path.write_text(path.read_text().replace('"n_layer": 1', '"n_layer": 2'))
    assert command("sample", out) == 1
    said = capsys.readouterr().err
    assert f"note: {path} is not the one that {WEIGHTS} was saved with" in said and "error: " in said


def test_weights_may_be_read_by_whoever_may_read_what_lies_beside_them(out):
    modes = {path.name: path.stat().st_mode for path in (out / "best").iterdir()}
    assert len(set(modes.values())) == 1, modes


def test_a_run_that_was_not_evaluated_yet_has_no_weights_and_says_so(tmp_path):
    (tmp_path / "metrics.jsonl").touch()
    with pytest.raises(UserError, match="holds no weights yet: the run in it saves its first ones when it is first"):
        load_model(tmp_path)

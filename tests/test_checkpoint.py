import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError

from tests.test_model import IDX, model_with_weights_of_order_one
from tinygpt import GPT, GPTConfig, UserError, checkpoint
from tinygpt.checkpoint import read_tensors, save_file, write_tensors
from tinygpt.files import write_atomically
from tinygpt.run.folder import load_state, remove_leftovers, save_state, set_aside


@pytest.fixture
def model():
    return model_with_weights_of_order_one(dtype="float32")


# Model folders


@pytest.mark.parametrize("bias", [True, False])
def test_a_saved_model_comes_back_the_same(tmp_path, bias):
    config = GPTConfig(5, 7, 2, 2, 6, dropout=0.25, bias=bias, activation_function="gelu", layer_norm_epsilon=1e-3)
    model = model_with_weights_of_order_one(config, dtype="float32")
    model.save_pretrained(tmp_path)
    again = GPT.from_pretrained(tmp_path)
    assert again.config == config
    np.testing.assert_array_equal(again.params.flat, model.params.flat)


def test_names_and_shapes_on_disk_are_gpt2s(model, tmp_path):
    model.save_pretrained(tmp_path)
    tensors = read_tensors(tmp_path / "model.safetensors")
    assert tensors["h.1.attn.c_attn.weight"].shape == (6, 18) and tensors["wpe.weight"].shape == (5, 6)
    assert tensors.keys() == model.params.keys()
    config = json.loads((tmp_path / "config.json").read_text())
    assert (
        config["model_type"] == "gpt2" and config["n_positions"] == 5 and config["architectures"] == ["GPT2LMHeadModel"]
    )


def test_arrays_that_are_not_contiguous_are_written_as_they_read(tmp_path):
    tensors = {"transposed": np.arange(6.0).reshape(2, 3).T, "strided": np.arange(6.0)[::2], "number": np.array(3.0)}
    write_tensors(tmp_path / "file", tensors)
    again = read_tensors(tmp_path / "file")
    for name, array in tensors.items():
        assert again[name].shape == array.shape
        np.testing.assert_array_equal(again[name], array)


def test_prefix_buffers_and_a_tied_head_are_understood(model, tmp_path):
    model.save_pretrained(tmp_path)
    tensors = {f"transformer.{name}": array for name, array in read_tensors(tmp_path / "model.safetensors").items()}
    tensors["transformer.h.0.attn.bias"] = np.tril(np.ones((1, 1, 5, 5), np.float32))
    tensors["transformer.h.1.attn.masked_bias"] = np.array(-1e4, np.float32)
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(GPT.from_pretrained(tmp_path).forward(IDX)[0], model.forward(IDX)[0])


def edit(folder, **changes):
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v != "remove"}))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model_type": "llama"}, "model_type = 'llama'; this library computes only 'gpt2'"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ({"n_inner": 99}, "n_inner = 99"),
        ({"n_embd": "remove"}, "lacks 'n_embd'"),
        ({"n_head": 4}, "n_embd is 6 and n_head is 4"),
        ({"activation_function": "relu"}, "'relu'"),
        ({"activation_function": ["gelu"]}, r"activation_function is \['gelu'\]"),
        ({"layer_norm_epsilon": None}, "layer_norm_epsilon is None"),
        ({"layer_norm_epsilon": "1e-5"}, "config.json: layer_norm_epsilon is '1e-5'"),
        ({"n_embd": None}, "n_embd is None"),
        ({"bias": "no"}, "bias is 'no'"),
        ({"vocab_size": 8}, "wte.weight has 7 rows, but config.json beside it says vocab_size = 8"),
        ({"n_layer": 3}, "lacks h.2.attn.c_attn.bias, .* and 9 more"),
        ({"n_layer": 1}, "has an unknown h.1.attn.c_attn.bias"),
        ({"bias": False}, "no biases, but model.safetensors has some that are not zero"),
    ],
)
@pytest.mark.filterwarnings("ignore::tinygpt.errors.Note")
def test_a_config_of_another_model_is_explained(model, tmp_path, changes, sentence):
    model.save_pretrained(tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(UserError, match=sentence):
        GPT.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({"activation_function": "remove"}, "activation_function", "gelu_new"),  # GPT2Config's defaults
        ({"layer_norm_epsilon": "remove"}, "layer_norm_epsilon", 1e-5),
        ({"bias": "remove"}, "bias", True),
        ({"activation_function": "gelu_pytorch_tanh"}, "activation_function", "gelu_new"),
        ({"resid_pdrop": 0.3, "embd_pdrop": 0.3, "attn_pdrop": 0.3}, "dropout", 0.3),
        ({"resid_pdrop": 0.3, "embd_pdrop": 0.3, "attn_pdrop": 0.1}, "dropout", 0.0),
        ({"n_inner": 24}, "n_embd", 6),
        ({"n_inner": None}, "n_embd", 6),
    ],
)
@pytest.mark.filterwarnings("ignore::tinygpt.errors.Note")
def test_settings_are_read_as_hugging_face_means_them(model, tmp_path, changes, field, expected):
    model.save_pretrained(tmp_path)
    edit(tmp_path, **changes)
    assert getattr(GPT.from_pretrained(tmp_path).config, field) == expected


def test_everything_is_on_the_disk_before_it_is_the_one_in_use(tmp_path, monkeypatch):
    events = []
    for name in ("fsync", "replace"):
        function = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, f=function: (events.append(n), f(*a)))
    write_state(tmp_path, 1)
    # the folders in theirs; x.safetensors; state.json and its folder; `current` and its folder
    assert events == ["fsync", "fsync", "fsync", *["fsync", "replace", "fsync"] * 2]


def test_an_untied_head_is_refused(model, tmp_path):
    model.save_pretrained(tmp_path)
    tensors = read_tensors(tmp_path / "model.safetensors")
    save_file(tensors | {"lm_head.weight": tensors["wte.weight"] + 1}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="head that is not tied"):
        GPT.from_pretrained(tmp_path)


@pytest.mark.parametrize("keep", [0, 5, 100, 3000])
def test_truncated_weights_are_explained(model, tmp_path, keep):
    model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="model.safetensors is damaged"):
        GPT.from_pretrained(tmp_path)


def test_missing_and_damaged_files_are_named(model, tmp_path):
    with pytest.raises(UserError, match="there is no folder .*nowhere"):
        GPT.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(UserError, match="could not read .*config.json"):
        GPT.from_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="config.json is damaged"):
        GPT.from_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match="could not read .*model.safetensors: no such file"):
        GPT.from_pretrained(tmp_path)


# Runs


def write_state(out_dir, value: int) -> None:
    def write(folder):
        save_file({"x": np.full(1000, value)}, folder / "x.safetensors")

    save_state(out_dir, value, write, {"value": value})


def read_state(out_dir) -> int:
    """The state's value, which its meta and its file must agree on."""
    meta, folder = load_state(out_dir)
    assert (read_tensors(folder / "x.safetensors")["x"] == meta["value"]).all()
    return meta["value"]


def test_the_last_state_is_the_one_in_use_and_the_only_one_kept(tmp_path):
    for value in (1, 2, 2, 7):
        write_state(tmp_path, value)
    assert read_state(tmp_path) == 7
    assert sorted(path.name for path in (tmp_path / "last").iterdir()) == ["current", "step-00000007.1"]


def dying(function, countdown: list[int]):
    """`function`, killing this process with SIGKILL when the countdown, one before and one after a call, is over."""

    def tick():
        countdown[0] -= 1
        if countdown[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def call(*arguments, **options):
        tick()
        result = function(*arguments, **options)
        tick()
        return result

    return call


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, to kill a process in the middle of a save")
def test_killed_at_any_moment_of_a_save_the_old_state_or_the_new_one_is_whole(tmp_path):
    """A child saves the state n and is killed before or after its first, second, ... call that touches the disk."""
    write_state(tmp_path, 1)
    outcomes = [1]
    for n in range(2, 100):
        pid = os.fork()
        if pid == 0:
            try:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(60)  # the end, if it hangs
                countdown = [n - 1]
                for module, name in ((os, "fsync"), (os, "replace"), (shutil, "rmtree")):
                    setattr(module, name, dying(getattr(module, name), countdown))
                write_state(tmp_path, n)
                os._exit(0)
            finally:  # an error must not go on as a second run of the tests
                os._exit(1)
        status = os.waitpid(pid, 0)[1]
        outcomes.append(read_state(tmp_path))
        assert outcomes[-1] in (outcomes[-2], n)
        if status == 0:  # it got through before the countdown was over
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
    assert outcomes[-1] == n and n > 10
    assert outcomes.count(1) > 5 and outcomes[-2] == n - 1  # early deaths left the old state, late ones the new
    assert len(list((tmp_path / "last").glob("step-*"))) == 1  # and what the dead left lying about is gone


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: (folder / "x.safetensors").unlink(), "x.safetensors is missing"),
        (lambda folder: (folder / "x.safetensors").write_bytes(b"x" * 8104), "x.safetensors is damaged"),
        (lambda folder: (folder / "state.json").write_text('{"sha256": 3}'), "state.json is damaged"),
        (lambda folder: (folder / "state.json").write_text('{"value": 4}'), "state.json is damaged"),
        (lambda folder: (folder / "state.json").unlink(), "state.json is missing"),
        (lambda folder: (folder.parent / "current").unlink(), "holds no run to resume"),
        (lambda folder: (folder.parent / "current").write_text("step-9"), "step-9.*is missing"),
    ],
)
def test_a_damaged_state_is_explained(tmp_path, damage, sentence):
    write_state(tmp_path, 3)
    damage(load_state(tmp_path)[1])
    with pytest.raises(UserError, match=sentence):
        load_state(tmp_path)


def test_one_flipped_bit_is_noticed(tmp_path):
    write_state(tmp_path, 3)
    path = load_state(tmp_path)[1] / "x.safetensors"
    content = bytearray(path.read_bytes())
    content[-100] ^= 4
    path.write_bytes(content)
    with pytest.raises(UserError, match="its SHA-256 has changed"):
        load_state(tmp_path)


@pytest.mark.parametrize("start", [lambda out_dir: write_state(out_dir, 2), set_aside], ids=["save", "new run"])
def test_what_a_killed_run_left_half_written_goes(tmp_path, start):
    write_state(tmp_path, 1)
    kept = tmp_path / "other run" / ".model.safetensors.1.writing", tmp_path / "best" / ".notes"
    for path in kept:
        path.parent.mkdir()
        path.write_bytes(b"not ours")
    for name in ("last/.current", ".metrics.jsonl", "best/.model.safetensors", "last/step-00000002.1/.config.json"):
        (tmp_path / f"{name}.1.writing").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.1.writing").write_bytes(b"half")
    out_dir = start(tmp_path) or tmp_path
    assert sorted(path.name for path in tmp_path.rglob(".*")) == sorted(path.name for path in kept)
    assert len(list(out_dir.glob("last/step-*"))) == 1 and read_state(out_dir) in (1, 2)


def test_only_what_is_named_as_states_are_is_removed(tmp_path):
    write_state(tmp_path, 1)
    kept = "step-keep", "step-1", "step-", "step-00000001.1.old", "step-00000002.x"
    for name in (*kept, "step-00000002.1"):
        (tmp_path / "last" / name).mkdir()
    remove_leftovers(tmp_path)
    assert {path.name for path in (tmp_path / "last").iterdir()} == {*kept, "step-00000001.1", "current"}


@pytest.mark.parametrize("current", ["", ".", "..", "step-00000009.1", None])
def test_states_that_nothing_names_are_left_to_be_looked_at(tmp_path, current):
    write_state(tmp_path, 1)
    (tmp_path / "last" / "step-00000002.1").mkdir()
    (tmp_path / "last" / "current").unlink()
    if current is not None:
        (tmp_path / "last" / "current").write_text(current)
    remove_leftovers(tmp_path)
    assert len(list((tmp_path / "last").glob("step-*"))) == 2


@pytest.mark.skipif(os.name != "posix", reason="a folder can be flushed to the disk only there")
def test_whatever_is_made_new_is_on_the_disk_with_the_folder_that_holds_it(tmp_path, monkeypatch):
    """What has been renamed or made since the last flush of the folder that it is in, a power loss may undo."""
    unsafe, fsync = set(), os.fsync
    for name in ("mkdir", "replace"):
        real = getattr(os, name)

        def changing(*paths, real=real, **options):
            real(*paths, **options)
            unsafe.update(Path(path).parent.stat().st_ino for path in paths if isinstance(path, str | Path))

        monkeypatch.setattr(os, name, changing)
    monkeypatch.setattr(os, "fsync", lambda handle: (fsync(handle), unsafe.discard(os.fstat(handle).st_ino)))
    out_dir = tmp_path / "a" / "b"
    for value in (1, 2):
        write_state(out_dir, value)
        assert not unsafe
        write_atomically(out_dir / "best" / "model.safetensors", b"1")
        assert not unsafe
    set_aside(out_dir)
    assert not unsafe


def test_a_save_that_fails_leaves_the_one_before(tmp_path):
    write_state(tmp_path, 1)

    def full(folder):
        (folder / "x.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left on device.*the save before it, if any, is intact"):
        save_state(tmp_path, 2, full, {})
    assert read_state(tmp_path) == 1 and len(list((tmp_path / "last").glob("step-*"))) == 1


def test_a_full_disk_is_a_sentence_wherever_it_is_met(model, tmp_path, monkeypatch):
    def full(tensors, path, metadata):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(UserError, match="could not write .*model.safetensors.*No space left"):
        model.save_pretrained(tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"config.json", "generation_config.json"}


def test_an_earlier_run_is_set_aside_whole_and_twice(tmp_path):
    assert set_aside(tmp_path) is None and set_aside(tmp_path / "nowhere") is None
    for number in (1, 2):
        write_state(tmp_path, number)
        (tmp_path / "metrics.jsonl").write_text(f"{number}")
        (tmp_path / "notes.txt").write_text("the user's own")
        for folder in ("best", "step-00000005"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "model.safetensors").write_text(f"{number}")
        assert set_aside(tmp_path) == tmp_path / f"run-{number}"
        assert read_state(tmp_path / f"run-{number}") == number
        for file in ("metrics.jsonl", "best/model.safetensors", "step-00000005/model.safetensors"):
            assert (tmp_path / f"run-{number}" / file).read_text() == f"{number}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "run-1", "run-2"]

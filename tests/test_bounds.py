"""No setting, from a flag or a file, exhausts the machine or ends in a traceback: a sentence, before any work."""

import dataclasses
import hashlib
import json
import os
import shutil
import typing
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinygpt import GPT, GPTConfig, UserError, device
from tinygpt.checkpoint import read_tensors, save_file
from tinygpt.cli import main
from tinygpt.data import load_corpus
from tinygpt.models.gpt2 import DROPOUTS
from tinygpt.run.config import TrainConfig, plain_type
from tinygpt.run.nanogpt import read_nanogpt_config
from tinygpt.run.store import resume, start
from tinygpt.train import train

TEXT = Path(__file__).parent / "memorised.txt"
TINY = {
    "data": str(TEXT), "n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 8, "batch_size": 4, "max_iters": 2,
    "eval_iters": 1, "eval_interval": 2, "warmup_iters": 1, "sample_length": 0, "threads": 1, "device": "cpu",
}  # fmt: skip
NUMBERS = [name for name, hint in typing.get_type_hints(TrainConfig).items() if plain_type(hint) in (int, float)]
TEXTS = [name for name, hint in typing.get_type_hints(TrainConfig).items() if plain_type(hint) is str]
HUGE = [10**9, 10**19, 10**400, 10**5000, -1, -(10**400), float("inf"), float("nan"), "four", 2.5, [4], {}, True, None]


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_that_no_run_can_have_is_a_short_sentence(tmp_path, name):
    """What is not refused is what a long run may have: counts of steps, and numbers that only make it diverge."""
    refused = 0
    for value in HUGE:
        try:
            start(TrainConfig(**TINY | {"out_dir": str(tmp_path), name: value}))
        except UserError as error:
            assert len(str(error)) < 250
            refused += 1
    assert refused >= 9


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"n_layer": 10**9}, "n_layer is 1000000000; expected a whole number of at least 1 and at most 10,000"),
        ({"n_embd": 10**200, "n_head": 1}, "--n_embd is 1000.*; expected at most 1,000,000,000,000,000"),
        (
            {"gradient_accumulation_steps": 10**9},
            "--gradient_accumulation_steps is 1000000000; expected at most 100,000",
        ),
        ({"batch_size": 10**6, "block_size": 64}, "a step would have 64,000,000 tokens.*at most 16,777,216, so choose"),
        ({"eval_iters": 10**9}, "--eval_iters is 1000000000; expected at most 1,000,000"),
        ({"threads": 10**9}, "--threads is 1000000000; expected at most 1,024"),
        ({"seed": 2**64}, "--seed is 18446744073709551616; expected at most"),
        ({"vocab_size": 10**9, "tokenizer": "bpe"}, "--vocab_size is 1000000000; expected at most 262,144"),
        ({"learning_rate": float("inf")}, "--learning_rate is inf; expected a finite number"),
        ({"beta2": float("nan")}, "--beta2 is nan; expected a finite number"),
        ({"batch_size": "four"}, "--batch_size is 'four'; expected a whole number"),
        ({"batch_size": True}, "--batch_size is True; expected a whole number"),
        ({"max_iters": 1e9}, "--max_iters is 1000000000.0; expected a whole number"),
        ({"bias": 1}, "--bias is 1; expected True or False"),
        ({"out_dir": None}, "--out_dir is None; expected text in quotes"),
        ({"data": "a\0b"}, "expected what can name a file"),
        ({"data": "\ud800"}, "expected what can name a file"),
        ({"dataset": "x" * 10_000_000}, "--dataset is 'xxx.*; expected what can name a file, and is no longer than"),
    ],
)
def test_settings_beyond_their_bounds_are_refused_by_name(tmp_path, changes, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        start(TrainConfig(**TINY | {"out_dir": str(tmp_path)} | changes))
    assert len(str(error.value)) < 250


@pytest.mark.parametrize("field", dataclasses.fields(GPTConfig), ids=lambda field: field.name)
def test_a_configuration_file_that_no_model_can_have_is_a_short_sentence(tmp_path, field):
    settings = GPTConfig(5, 7, 2, 2, 6).to_pretrained()
    names = {"block_size": ["n_positions"], "dropout": DROPOUTS}.get(field.name, [field.name])
    for value in [10**400, 10**4200, -(10**4200), float("inf"), float("nan"), "x" * 10_000, [4] * 10_000, None]:
        (tmp_path / "config.json").write_text(json.dumps(settings | dict.fromkeys(names, value)))
        with pytest.raises(UserError) as error:
            GPT.from_pretrained(tmp_path)
        assert len(str(error.value).replace(str(tmp_path), "")) < 300 and "no such file" not in str(error.value)


def test_numpys_numbers_and_paths_become_plain_settings(tmp_path):
    settings = {
        "batch_size": np.int64(4),
        "learning_rate": np.float32(0.5),
        "bias": np.bool_(True),
        "out_dir": tmp_path,
    }
    config = TrainConfig(**TINY | settings | {"weight_decay": 1})
    assert json.loads(json.dumps(dataclasses.asdict(config)))["out_dir"] == str(tmp_path)
    assert [type(config.batch_size), type(config.learning_rate), type(config.bias)] == [int, float, bool]
    assert type(config.weight_decay) is float


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("text", ["x" * 300, "x/" * 2040, "x" * 5000], ids=["300", "4080 in folders", "5000"])
def test_a_text_that_can_name_no_file_is_a_short_sentence(tmp_path, name, text):
    with pytest.raises(UserError, match=f"--{name} is 'x.*; expected what can name a file") as error:
        start(TrainConfig(**TINY | {"out_dir": str(tmp_path), name: text}))
    assert len(str(error.value)) < 250


def test_a_model_larger_than_the_memory_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr(device, "memory_size", lambda: 10**6)
    with pytest.raises(UserError, match=r"parameters take 0.4 GB, but this machine has 0.0 GB of memory"):
        GPT(GPTConfig(n_layer=12, n_embd=768, vocab_size=10_000))
    GPT(GPTConfig(block_size=8, vocab_size=10, n_layer=1, n_head=1, n_embd=8))


def test_a_run_whose_moments_do_not_fit_is_refused_though_its_weights_do(monkeypatch, tmp_path):
    config = TrainConfig(**TINY | {"out_dir": str(tmp_path)})
    nbytes = start(config).model.params.flat.nbytes
    for factor in (3, 5):
        monkeypatch.setattr(device, "memory_size", lambda factor=factor: factor * nbytes)
        if factor == 5:
            start(config)
        else:
            with pytest.raises(UserError, match="the model, its gradients and the optimizer's state take"):
                start(config)


def test_a_batch_whose_activations_do_not_fit_is_refused_by_its_flag(monkeypatch, tmp_path):
    monkeypatch.setattr(device, "memory_size", lambda: 4 * 10**9)
    start(TrainConfig(**TINY | {"out_dir": str(tmp_path), "batch_size": 4000}))
    with pytest.raises(UserError, match="--batch_size=1000000 sequences, even a quarter of them, take .* GB, but this"):
        start(TrainConfig(**TINY | {"out_dir": str(tmp_path), "batch_size": 10**6, "n_layer": 4}))


def test_the_memory_that_the_system_tells_is_the_machines():
    assert device.memory_size() is None or 10**8 < device.memory_size() < 10**15


# Files


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"n_layer = " + b"(" * 60_000, "is not a configuration file"),
        (b"n_layer = " + b"-" * 60_000 + b"1", "is not a configuration file|expected a whole number"),
        (b"n_layer = 1" + b" + 1" * 15_000, "is not a configuration file|expected a whole number"),
        (b"n_layer = " + b"[" * 90 + b"]" * 90, "expected a whole number"),
        (b"x." * 30_000 + b"y = 1", "is not a configuration file|no error"),
        (b"n_layer = 10**10", r"line 1: n_layer = 10\*\*10; expected a whole number"),
        (b"n_layer = 9**9**9**9", r"line 1: n_layer = 9\*\*9\*\*9\*\*9; expected a whole number"),
        (b"out_dir = 'a' * 10**9", "a text in it is longer than any setting"),
        (b"a = 'x' * 60000\nb = f'" + b"{a}" * 10_000 + b"'\nout_dir = b", "line 3: .* b, from line 2, has no value"),
        (
            b"a = (1,) * 1000\n" + b"a = a + a\n" * 6_000 + b"beta1 = a[0]",
            "line 6002: .* a, from line 6001, has no value",
        ),
        (b"n_layer = " + b"1 if 1 else " * 5_000 + b"1", "is not a configuration file|expected a whole number"),
        (b"if 0: pass\n" + b"elif 0: pass\n" * 4_500, "is not a configuration file|no error"),
        (b"str(1)\n" * 9_000, "no error"),
        (b"x = str(1)\n" * 5_000 + b"out_dir = x", "no error"),
        (b"n_layer = 9" + b"9" * 5000, "is not a configuration file|expected a whole number"),
        (b"n_layer = " + b" * ".join([b"9" * 4000] * 10), "expected a whole number"),
        (b"learning_rate = " + b"9" * 400 + b" * 1.0", "expected a number"),
        (b"learning_rate = " + b"9" * 400 + b" / 3", "expected a number"),
        (b"learning_rate = 1e999", "--learning_rate is inf; expected a finite number"),
        (b"n_layer = '" + b"x" * 60_000 + b"'", "expected a whole number"),
        (b"n" * 60_000 + b" = 1", "unknown setting nnn"),
        (b"x += 1\n" * 9_000, "line 1: unknown setting x"),
        (b"n_layer = 1\0", "is not a configuration file"),
        (b"n_layer = 1 # \xff", "is not UTF-8"),
        (b"# coding: rot13\nn_layer = 1", "no error"),
        (b"#" * 100_000, "has 100,000 bytes; expected at most 65,536"),
    ],
)
def test_any_nanogpt_file_is_read_or_refused_in_a_short_sentence(tmp_path, content, sentence):
    path = tmp_path / "c.py"
    path.write_bytes(content)
    with pytest.raises((UserError, FileNotFoundError), match=sentence) as error:
        found, notes = read_nanogpt_config(str(path))
        assert sum(map(len, notes)) < 5000
        TrainConfig(**found)
        raise FileNotFoundError("no error")
    assert len(str(error.value).replace(str(path), "")) < 400


def expressions():
    """Python's, of small numbers and texts and of names that a file may have assigned."""
    leaves = st.sampled_from(["0", "1", "2", "-3", "2e0", "0.5", "'a'", "True", "None", "n_layer", "n_head", "x", "()"])
    operators = "+ - * / // % ** << & | ^ == < >= in and or is".split()
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(operators), inner).map(lambda parts: f"({' '.join(parts)})"),
            st.tuples(inner, inner, inner).map(lambda parts: f"({parts[0]} if {parts[1]} else {parts[2]})"),
            st.tuples(st.sampled_from("int float str bool abs round len max".split()), inner).map("%s(%s)".__mod__),
            st.tuples(inner, inner).map("(%s, %s)".__mod__),
            st.tuples(inner, inner).map("%s[%s]".__mod__),
            inner.map("(not {})".format),
            inner.map(lambda text: f'f"{{{text}!r:>3}}"' if '"' not in text else text),
        ),
        max_leaves=6,
    )


def statements():
    names = st.sampled_from(["n_layer", "n_head", "dropout", "out_dir", "bias", "x"])
    return st.one_of(
        st.tuples(names, st.sampled_from(["=", "+=", "*=", ": int ="]), expressions()).map(" ".join),
        st.tuples(names, names, expressions(), expressions()).map("%s, %s = %s, %s".__mod__),
        st.tuples(expressions(), names, expressions()).map("if %s:\n    %s = %s".__mod__),
        st.tuples(expressions(), names, names, expressions()).map("if %s:\n    pass\nelse:\n    %s = %s = %s".__mod__),
    )


@settings(
    max_examples=500, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(statements(), min_size=1, max_size=4).map("\n".join))
def test_a_file_means_what_it_means_to_python_or_is_refused(tmp_path, content):
    """Whatever of it is not evaluated could change a setting: it must not be passed over."""
    path = tmp_path / "c.py"
    path.write_text(content)
    try:
        found, _ = read_nanogpt_config(str(path))
    except UserError as error:
        assert len(str(error).replace(str(path), "")) < 400
        return
    here = vars(TrainConfig())
    names = dict(here)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of `is` between numbers
        exec(content, names)
    changed = {name: names[name] for name in here if name in found or names[name] != here[name]}
    assert changed == found


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    for _ in train(start(TrainConfig(**TINY | {"out_dir": str(folder)}))):
        pass
    return folder


def rewritten(folder: Path, change) -> None:
    """A run's state.json changed as someone would who has the digest in `current` fit."""
    state = next(folder.glob("last/step-*/state.json"))
    meta = json.loads(state.read_text())
    state.write_text(json.dumps(change(meta)))
    digest = hashlib.sha256(state.read_bytes()).hexdigest()
    (folder / "last" / "current").write_text(f"{state.parent.name}\n{digest}\n")


@pytest.fixture
def copied(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "out"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"step": -1}, "state.json has step = -1; expected a whole number of at least 0"),
        ({"step": "2"}, "state.json has step = '2'"),
        ({"step": True}, "state.json has step = True"),
        ({"evaluated_step": None}, "state.json has evaluated_step = None"),
        ({"best_val_loss": "x"}, "state.json has best_val_loss = 'x'; expected a number or null"),
        ({"best_val_loss": float("nan")}, "state.json has best_val_loss = nan"),
        ({"threads": 1e9}, "state.json has threads = 1000000000.0"),
        ({"threads": 10**9}, "state.json has threads = 1000000000; expected a whole number of .* at most 1,024"),
        ({"text": ["a" * 10**6] * 10}, "state.json has text = "),
        ({"config": []}, r"state.json has config = \[\]; expected an object"),
        ({"config": {"batch_size": "four"}}, "state.json: --batch_size is 'four'; expected a whole number"),
        ({"config": {"seed": 2**70}}, "state.json: --seed is 1180591620717411303424; expected at most 18,446,744,"),
        ({"config": {"n_flayers": 3}}, "another version of tinygpt .*n_flayers"),
        ({"sha256": None}, "state.json has sha256 = None; expected the digests of the files beside it"),
        ({"sha256": {"../../secret": "00"}}, r"state.json has sha256 = \{'../../secret'.*; expected the digests"),
        ({"sha256": {"/etc/hostname": "00"}}, "expected the digests of the files beside it"),
        ({"sha256": {"model.safetensors": 5}}, "model.safetensors is damaged"),
        ({"sha256": {"": "00"}}, "expected the digests of the files beside it"),
    ],
)
def test_a_state_that_no_run_has_written_is_a_short_sentence(copied, change, sentence):
    rewritten(copied, lambda meta: meta | change)
    with pytest.raises(UserError, match=sentence) as error:
        resume(copied)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("name", ["../../elsewhere", "/etc", "step-1/../../..", "", "step-\0", "x" * 900])
def test_a_state_is_only_looked_for_in_its_own_run(copied, name):
    (copied / "last" / "current").write_text(f"{name}\n{'0' * 64}\n")
    with pytest.raises(UserError, match="current is damaged: it names .* and not a state such as step-00000250.1"):
        resume(copied)


def everything_in(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.skipif(os.name != "posix", reason="on Windows not every user may make links")
@pytest.mark.parametrize("what", ["last", "best", "step-00000004", "state"])
@pytest.mark.parametrize("go_on", [["--init_from=resume", "--max_iters=4"], ["--max_iters=4"]], ids=["resume", "anew"])
def test_links_in_a_runs_folder_lead_to_no_change_elsewhere(copied, tmp_path, capfd, what, go_on):
    victim = tmp_path / "victim"
    for name in ("last/step-keep", "last/step-00000009.1", "best", "step-00000004"):
        (victim / name).mkdir(parents=True)
        (victim / name / "config.json").write_text("the user's own")
    shutil.copytree(copied / "last", victim / "last", dirs_exist_ok=True)
    link = next((copied / "last").glob("step-*")) if what == "state" else copied / what
    if link.exists():
        shutil.rmtree(link)
    link.symlink_to(victim / link.relative_to(copied))
    before = everything_in(victim), sorted(everything_in(copied).keys())
    settings = [f"--{name}={value}" for name, value in TINY.items() if name != "max_iters"]
    flags = [f"--out_dir={copied}", "--always_save_checkpoint", *([] if "resume" in go_on[0] else settings), *go_on]
    assert main(["train", *flags]) == 1
    assert f"{link} is a link, and a run changes nothing outside its folder" in capfd.readouterr().err
    assert (everything_in(victim), sorted(everything_in(copied).keys())) == before
    (tmp_path / "another disk").symlink_to(copied)
    link.unlink()
    shutil.copytree(victim / link.relative_to(copied), link)
    assert main(["train", f"--out_dir={tmp_path / 'another disk'}", *flags[1:]]) == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("name", ["current", "state.json", "config.json", "model.safetensors", "moments.safetensors"])
def test_a_pipe_in_the_place_of_a_runs_file_is_not_waited_for(copied, name):
    path = next(copied.glob(f"last/**/{name}"))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="could not read .*: it is a pipe or a device, not a file"):
        resume(copied)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_that_nobody_writes_to_is_no_text_and_no_prompt(saved, tmp_path, capfd):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe is a pipe or a device, which may never end; --data takes a file"):
        load_corpus(data=tmp_path / "pipe")
    assert main(["sample", f"--out_dir={saved}", f"--start=FILE:{tmp_path / 'pipe'}"]) == 1
    assert "the prompt is empty" in capfd.readouterr().err
    (tmp_path / "tokens").mkdir()
    for name in ("train.bin", "val.bin"):
        np.arange(100, dtype=np.uint16).tofile(tmp_path / "tokens" / name)
    os.mkfifo(tmp_path / "tokens" / "input.txt")
    assert load_corpus(data=tmp_path / "tokens").tokenizer is None


def test_what_a_header_of_weights_holds_is_not_printed_whole(saved, tmp_path):
    shutil.copy(saved / "best" / "config.json", tmp_path)
    path, header = tmp_path / "model.safetensors", b'{"wte.weight": {"dtype": "%s"}}' % (b"x" * 10**6)
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(UserError, match="model.safetensors is damaged: not a whole safetensors file") as error:
        GPT.from_pretrained(tmp_path)
    assert len(str(error.value)) < 800
    save_file(read_tensors(saved / "best" / "model.safetensors") | {"x" * 10**6: np.zeros(1, np.float32)}, path)
    with pytest.raises(UserError, match="has an unknown xxx") as error:
        GPT.from_pretrained(tmp_path)
    assert len(str(error.value)) < 800

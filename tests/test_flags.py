"""What a user types: numbers that no flag can have, texts that look like flags, paths with ~, files of prompts."""

import argparse
import json
import os
from pathlib import Path

import pytest

from tests.test_cli import outcome
from tests.test_nanogpt_files import TEXT, TINY
from tinygpt import cli, load_model
from tinygpt.cli import main
from tinygpt.train import TrainConfig, resume, start, train

NO_NUMBER = ["nan", "inf", "-inf", "1e400", "-1", "-1e-3", "9" * 5000, "1" + "0" * 400, "four", "", "0x10", "1/3"]
WHOLE = [str(2**70), "2.5", "-9" * 40]


def subparsers() -> dict[str, argparse.ArgumentParser]:
    return cli._parser(None)._subparsers._group_actions[0].choices


def number_flags() -> list[tuple[str, str, str]]:
    """(command, flag, N or X) of every flag that takes a number."""
    return [
        (command, action.option_strings[-1], action.metavar)
        for command, parser in subparsers().items()
        for action in parser._actions
        if action.metavar in ("N", "X", "P") and action.help != argparse.SUPPRESS
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on a text that has dashes, in a folder that may be a user's own."""
    home = tmp_path_factory.mktemp("home")
    (home / "my.txt").write_text(TEXT.read_text() + "- " * 50)
    assert main(["train", *TINY, f"--data={home / 'my.txt'}", f"--out_dir={home / 'out'}"]) == 0
    return home / "out"


@pytest.mark.parametrize(("command", "flag", "kind"), number_flags(), ids=lambda part: part)
def test_a_number_that_a_flag_cannot_have_is_one_short_sentence_that_names_the_flag(
    command, flag, kind, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    always = [*TINY, "--out_dir=new"] if command == "train" else []
    for value in NO_NUMBER + (WHOLE if kind == "N" else []):
        status, out, err = outcome(capsys, command, *always, f"{flag}={value}")
        assert status in (1, 2) and out == "", (flag, value)
        assert err.startswith("error: ") and err.count("\n") == 1 and len(err) < 400
        assert flag.removeprefix("--") in err, (flag, value, err)
    assert not list(tmp_path.iterdir())


def test_there_are_flags_with_numbers_in_every_command():
    assert {command for command, _, _ in number_flags()} >= {"train", "sample", "eval", "info", "gradcheck"}


def test_a_seed_of_2_to_the_70_is_a_seed_nowhere(tmp_path, trained, capsys):
    """Its low 64 bits are those of seed 0."""
    sentence = "1180591620717411303424 is more than 18,446,744,073,709,551,615"
    assert sentence in outcome(capsys, "sample", f"--out_dir={trained}", f"--seed={2**70}")[2]
    assert "--seed is 1180591620717411303424; expected at most" in outcome(capsys, "train", f"--seed={2**70}")[2]
    with pytest.raises(ValueError, match="--seed is 1180591620717411303424; expected at most"):
        resume(trained, {"seed": 2**70})


def test_whole_numbers_may_be_written_as_nanogpts_files_write_them(tmp_path, capsys):
    assert outcome(capsys, "train", *TINY, "--max_iters=0.2e1", f"--out_dir={tmp_path}")[0] == 0
    assert resume(tmp_path).config.max_iters == 2


@pytest.mark.parametrize("name", ["out_dir", "data", "dataset", "tokenizer", "init_from"])
def test_an_empty_path_is_no_path(name, capsys):
    """As `--data=$NOTHING` is, which would be the folder that one is in."""
    status, _, err = outcome(capsys, "train", f"--{name}=")
    assert status == 1 and err.startswith(f"error: --{name} is empty; expected ")


def test_a_device_that_is_pytorchs_is_said_with_what_to_take(capsys):
    assert "expected auto, cpu or cuda; Apple's cards are not" in outcome(capsys, "train", *TINY, "--device=mps")[2]
    assert "set CUDA_VISIBLE_DEVICES=1, and take cuda" in outcome(capsys, "train", *TINY, "--device=cuda:1")[2]


# Texts that begin with a dash


@pytest.mark.parametrize("start", ["-", "- -", "--", "-1", "-e"])
def test_a_prompt_may_begin_with_a_dash(start, trained, capsys):
    rest = ["--max_new_tokens=5", "--seed=1", "--out_dir", trained]
    status, out, err = outcome(capsys, "sample", "--start", start, *rest)
    if start == "-1":
        assert status == 1 and "Character '1'" in err  # which the text does not have, and which argparse would take
    else:
        assert (status, err) == (0, "") and out.startswith(start)
        assert outcome(capsys, "sample", f"--start={start}", *rest)[1] == out
    status, out, _ = outcome(capsys, "sample", "--start=a", "--stop", "-", "--max_new_tokens=200", *rest[1:])
    assert status == 0 and "-" not in out


def test_a_flag_is_not_taken_for_a_prompt(trained, capsys):
    for words in (["--start", "--seed", "3"], ["--start", "--seed=3"], ["--start", "--top-k", "3"], ["--stop", "-h"]):
        status, _, err = outcome(capsys, "sample", f"--out_dir={trained}", *words)
        assert status == 2 and err.count("\n") == 1
        flag = words[1].partition("=")[0].replace("-k", "_k")
        assert (
            f"{words[0]} takes a text, and {flag} after it is a flag; if it is the text, write {words[0]}={flag}" in err
        )


def test_a_negative_number_after_a_flag_is_its_value(capsys):
    assert "top_p is -0.5; expected more than 0" in outcome(capsys, "sample", "--top_p", "-.5")[2]
    assert "temperature is -0.001; expected 0" in outcome(capsys, "sample", "--temperature", "-1e-3")[2]
    assert "--learning_rate is -0.001; expected at least 0" in outcome(capsys, "train", "--learning_rate", "-1e-3")[2]


# Prompts from files


def test_a_prompt_file_loses_its_byte_order_mark_and_windows_ends_of_lines(tmp_path, trained, capsys):
    rest = [f"--out_dir={trained}", "--max_new_tokens=10", "--seed=1"]
    expected = outcome(capsys, "sample", "--start=What is\nthe\n", *rest)
    assert expected[0] == 0
    for content in (b"\xef\xbb\xbfWhat is\r\nthe\r\n", b"What is\rthe\r", b"What is\nthe\n"):
        (tmp_path / "prompt.txt").write_bytes(content)
        assert outcome(capsys, "sample", f"--start=FILE:{tmp_path / 'prompt.txt'}", *rest) == expected


def test_a_model_that_has_learned_carriage_returns_is_prompted_with_them(tmp_path, capsys):
    (tmp_path / "windows.txt").write_bytes(TEXT.read_bytes().replace(b"\n", b"\r\n"))
    assert main(["train", *TINY, f"--data={tmp_path / 'windows.txt'}", f"--out_dir={tmp_path / 'out'}"]) == 0
    capsys.readouterr()
    (tmp_path / "prompt.txt").write_bytes(b"What\r\n")
    flags = [f"--start=FILE:{tmp_path / 'prompt.txt'}", f"--out_dir={tmp_path / 'out'}", "--max_new_tokens=0"]
    assert outcome(capsys, "sample", *flags)[1] == "What\r\n\n"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_prompt_file_in_another_encoding_is_refused(encoding, tmp_path, trained, capsys):
    (tmp_path / "prompt.txt").write_bytes("What is".encode(encoding))
    status, _, err = outcome(capsys, "sample", f"--out_dir={trained}", f"--start=FILE:{tmp_path / 'prompt.txt'}")
    assert status == 1 and "prompt.txt seems to be text in UTF-" in err and err.count("\n") == 1


# Paths with ~


def test_a_path_with_a_tilde_is_in_the_users_own_folder(trained, tmp_path, monkeypatch, capsys):
    home = trained.parent
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(tmp_path)
    (home / "prompt.txt").write_text("What")
    (home / "c.py").write_text("data = '~/my.txt'\nout_dir = '~/of-a-file'\n")
    (home / "linear.py").write_text((Path(cli.__file__).parent / "layers" / "linear.py").read_text())
    assert outcome(capsys, "train", *TINY, "--data=~/my.txt", "--out_dir=~/new")[0] == 0
    assert outcome(capsys, "train", "--init_from=resume", "--out_dir=~/new", "--max_iters=3")[0] == 0
    assert outcome(capsys, "train", *TINY[6:], "--data=~/my.txt", "--init_from=~/out", "--out_dir=~/tuned")[0] == 0
    assert outcome(capsys, "train", "~/c.py", *TINY[1:])[0] == 0 and (home / "of-a-file" / "last").is_dir()
    status, out, _ = outcome(capsys, "sample", "--out_dir=~/out", "--start=FILE:~/prompt.txt", "--max_new_tokens=1")
    assert status == 0 and out.startswith("What")
    assert outcome(capsys, "eval", "--out_dir=~/out", "--data=~/my.txt")[0] == 0
    assert outcome(capsys, "info", "--out_dir=~/out")[0] == 0
    assert outcome(capsys, "gradcheck", "~/linear.py")[0] == 0
    assert load_model("~/out", "cpu")[0].config.n_embd == 16 and resume("~/out").step == 2
    config = TrainConfig(data="~/a.txt,b.txt,~/c.txt", out_dir="~/x", init_from="~/y", mine="~/z", dataset="~/d")
    assert config.data == f"{home}/a.txt,b.txt,{home}/c.txt".replace("/", os.sep)
    assert [config.out_dir, config.init_from, config.mine, config.dataset] == [str(home / n) for n in "xyzd"]
    assert not list(tmp_path.iterdir())  # no folder that is called ~


def test_a_folder_that_is_called_tilde_is_reached_as_a_shell_reaches_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {flag.partition("=")[0][2:]: flag.partition("=")[2] for flag in TINY}
    numbers = {name: json.loads(value.lower()) for name, value in settings.items() if name not in ("data", "device")}
    for _ in train(start(TrainConfig(**settings | numbers, out_dir="./~/out"))):
        pass
    assert (tmp_path / "~" / "out" / "last").is_dir()

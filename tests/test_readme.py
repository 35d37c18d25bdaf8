"""What the README says is run, or compared with what is run."""

import re
from pathlib import Path

import numpy as np
import pytest

from tinygpt.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TEXT = Path(__file__).with_name("memorised.txt")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_python_examples_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = "--n_layer=1 --n_head=2 --n_embd=16 --block_size=8 --batch_size=4 --max_iters=2 --eval_iters=1 --device=cpu"
    assert main(["train", f"--data={TEXT}", *flags.split()]) == 0  # the run in out/ that the examples load
    names: dict = {}
    assert len(blocks("python")) >= 3
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert np.isfinite(names["loss"]) and names["grads"].keys() == names["model"].params.keys()
    assert isinstance(names["text"], str)


@pytest.mark.parametrize("command", re.findall(r"(?:python train\.py|tinygpt \w+)[^\n#`]*", "\n".join(blocks("sh"))))
def test_every_flag_the_commands_use_exists(command, capsys):
    with pytest.raises(SystemExit):
        main(["train" if command.startswith("python") else command.split()[1], "--help"])
    known = capsys.readouterr().out
    for flag in re.findall(r"(--\w+)", command):
        assert f"{flag} " in known, flag


def test_ci_runs_the_readmes_test_command():
    command = next(line for block in blocks("sh") for line in block.splitlines() if "pytest" in line)
    assert command == "pip install -e '.[test]' && python -m pytest"
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_every_file_of_the_map_exists():
    for cell in re.findall(r"^\| (`.*?) \|", README, flags=re.MULTILINE):
        names = re.findall(r"`([^`]+)`", cell)
        folder = Path(names[0]).parent if not names[0].endswith("/") else Path(names[0])
        for name in names:
            assert (ROOT / name).exists() or (ROOT / folder / name).exists(), name

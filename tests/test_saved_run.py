"""A run saved by version 0.1, before its rooms were moved: it resumes, samples and evaluates as it did then."""

import json
import shutil
from pathlib import Path

import pytest

from tinygpt.cli import main

SAVED = Path(__file__).parent / "fixtures" / "run_of_0.1"  # 20 steps on the lessons' text, which is still there
TEXT = Path(__file__).parents[1] / "lessons" / "text.txt"
LOSSES = [  # of steps 21 to 30, as that version went on
    3.2744863033294678, 3.2929463386535645, 3.2964894771575928, 3.2697858810424805, 3.3031578063964844,
    3.2787022590637207, 3.2532944679260254, 3.253528118133545, 3.264530897140503, 3.3610076904296875,
]  # fmt: skip
VAL_LOSS = 3.1387563943862915  # at step 30
SAMPLE = 'a "aSb\ntTijAtWetktrN\nvfwY jihcircued n rm\n'


@pytest.fixture
def saved(tmp_path):
    return Path(shutil.copytree(SAVED, tmp_path / "out"))


def test_a_folder_of_version_0_1_resumes(saved, capsys):
    assert main(["train", "--init_from=resume", f"--out_dir={saved}", f"--data={TEXT}", "--max_iters=30"]) == 0
    rows = [json.loads(line) for line in (saved / "metrics.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in rows if "loss" in row and row["step"] > 20] == pytest.approx(LOSSES, rel=1e-5)
    assert rows[-1]["val_loss"] == pytest.approx(VAL_LOSS, rel=1e-5)
    assert json.loads((next(saved.glob("last/step-*")) / "state.json").read_text())["step"] == 30


def test_a_folder_of_version_0_1_samples(saved, capsys):
    assert main(["sample", f"--out_dir={saved}", "--seed=1", "--max_new_tokens=40", "--start=a", "--device=cpu"]) == 0
    assert capsys.readouterr().out == SAMPLE

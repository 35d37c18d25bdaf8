"""`tinygpt compare` says what differs between runs, and which is lower where that can be said."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.test_lock import SMALL
from tests.test_train import TEXT
from tinygpt.cli import main
from tinygpt.run.comparison import at_tokens, labels, read, thinned
from tinygpt.run.marks import saved_marks


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of four short runs: as they are, with dropout, with half the batch, and on another text."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "other.txt").write_text(TEXT.read_text()[::-1])
    changes = {
        "a": [], "b": ["--dropout=0.3"], "half": ["--batch_size=2"], "other": [f"--data={folder / 'other.txt'}"],
        "bpe": ["--tokenizer=bpe", "--vocab_size=270"],
    }  # fmt: skip
    for name, flags in changes.items():
        assert main(["train", *SMALL, "--eval_interval=25", *flags, f"--out_dir={folder / name}"]) == 0
    return folder


def compared(capsys, *arguments) -> str:
    capsys.readouterr()
    assert main(["compare", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def refused(capsys, *arguments) -> str:
    capsys.readouterr()
    assert main(["compare", *map(str, arguments)]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    return captured.err


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_two_runs_are_laid_side_by_side(runs, capsys):
    out = compared(capsys, runs / "a", runs / "b")
    lines = [line.split() for line in out.splitlines()]
    assert ["settings", "a", "b"] in lines and ["dropout", "0.0", "0.3"] in lines
    assert "n_layer" not in out and "out_dir" not in out  # what is the same is not listed
    for a, b in zip(rows(runs / "a"), rows(runs / "b"), strict=True):
        if "val_loss" in a:
            lower = "equal" if a["val_loss"] == b["val_loss"] else "a" if a["val_loss"] < b["val_loss"] else "b"
            losses = [f"{row[name]:.4f}" for name in ("val_loss", "train_loss") for row in (a, b)]
            difference = f"{b['val_loss'] - a['val_loss']:+.4f}"
            assert [str(a["step"]), *losses[:2], difference, lower, *losses[2:]] in lines
    best = min((row for row in rows(runs / "a") if "val_loss" in row), key=lambda row: row["val_loss"])
    (summary,) = [line for line in lines if line[:2] == ["a", "100"]]
    assert summary[2:5] == [f"{best['val_loss']:.4f}", str(best["step"]), f"{best['train_loss']:.4f}"]
    assert float(summary[5].replace(",", "")) > 0
    assert "equal numbers of tokens" not in out


def test_runs_with_the_same_settings_are_said_to_be_so(runs, tmp_path, capsys):
    assert main(["train", *SMALL, "--eval_interval=25", f"--out_dir={tmp_path / 'again'}"]) == 0
    out = compared(capsys, runs / "a", tmp_path / "again")
    assert "the settings are the same" in out and "equal" in out and "+0.0000" in out


def test_runs_whose_steps_differ_in_size_are_compared_at_equal_tokens_too(runs, capsys):
    out = compared(capsys, runs / "a", runs / "half")
    assert "after equal numbers of tokens (a step has: a 32, half 16)" in out
    assert "batch_size differs, so each was evaluated on other stretches of the text" in out
    a, half = read(runs / "a", "a"), read(runs / "half", "half")
    loss = at_tokens(half, 25 * 32, lambda record: record.val_loss)
    assert loss == half.evaluations[2].val_loss  # 50 steps of 16 tokens
    assert f"{25 * 32}     {a.evaluations[1].val_loss:.4f}" in " ".join(out.split(" "))
    assert at_tokens(half, 75 * 32, lambda record: record.val_loss) is None  # it has not come so far


def test_losses_between_evaluations_lie_on_a_straight_line(runs):
    one = read(runs / "a", "a")
    middle = at_tokens(one, 12.5 * 32, lambda record: record.val_loss)
    assert middle == pytest.approx((one.evaluations[0].val_loss + one.evaluations[1].val_loss) / 2)


@pytest.mark.parametrize(
    ("name", "why"), [("other", "learned from different texts"), ("bpe", "have different tokenizers")]
)
def test_what_does_not_compare_per_token_is_compared_per_character(runs, capsys, name, why):
    out = compared(capsys, runs / "a", runs / name)
    assert f"the runs {why}, so losses per token do not compare; these are bits per character" in out
    for row in rows(runs / name):
        if "val_loss" in row:
            assert f"{row['bits_per_character']:.4f}" in out
            assert f"{row['val_loss']:.4f}" not in out.split("bits per character of")[1].split("steps")[0]


def test_without_characters_it_is_said_that_nothing_compares(runs, tmp_path, capsys):
    flags = [flag for flag in SMALL if not flag.startswith(("--data", "--block_size"))]
    flags += ["--dataset=addition", "--block_size=12", f"--out_dir={tmp_path / 'sums'}"]
    assert main(["train", *flags]) == 0
    out = compared(capsys, runs / "a", tmp_path / "sums")
    assert "the runs learned from different texts, so these losses per token do not compare" in out
    assert "nats per token" in out


def test_three_runs_have_a_lowest(runs, capsys):
    out = compared(capsys, runs / "a", runs / "b", runs / "half")
    heads = out.split("nats per token")[1].splitlines()[1].split()
    assert heads[:5] == ["step", "val", "a", "val", "b"] and "lowest" in heads and "difference" not in heads


def test_runs_of_one_name_are_told_apart_by_their_paths(tmp_path):
    assert labels([Path("x/out"), Path("y/out")]) == [str(Path("x/out")), str(Path("y/out"))]
    assert labels([Path("x/out"), Path("y/out-2")]) == ["out", "out-2"]


def test_many_evaluations_are_thinned_and_that_is_said(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        lines = [json.dumps({"step": 5 * n, "train_loss": 2.0, "val_loss": 2.0 + n, "best": False}) for n in range(100)]
        (tmp_path / name / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    out = compared(capsys, tmp_path / "a", tmp_path / "b")
    assert "of 100 evaluations" in out and "\n0 " in out and "\n495 " in out and len(out.splitlines()) < 40
    assert "a has metrics and no saved state, so its settings are not known" in out
    assert thinned(range(100), 10) == [0, 11, 22, 33, 44, 55, 66, 77, 88, 99] and thinned([3]) == [3]


def test_runs_evaluated_at_different_steps_are_all_shown(tmp_path, capsys):
    for name, steps in (("a", (1, 3)), ("b", (2, 4))):
        (tmp_path / name).mkdir()
        lines = [json.dumps({"step": n, "train_loss": 2.0, "val_loss": 2.0, "best": False}) for n in steps]
        (tmp_path / name / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    out = compared(capsys, tmp_path / "a", tmp_path / "b")
    assert "no two runs were evaluated at the same step" in out
    assert [line.split()[0] for line in out.splitlines() if "2.0000" in line][:4] == ["1", "2", "3", "4"]


def test_wrong_folders_are_a_sentence_each(runs, tmp_path, capsys):
    assert "compare has 1 folder; expected those of two runs or more" in refused(capsys, runs / "a")
    assert "compare has 0 folders" in refused(capsys)
    assert "was given twice" in refused(capsys, runs / "a", runs / "b", runs / "b" / ".." / "a")
    assert f"there is no folder {tmp_path / 'none'}" in refused(capsys, runs / "a", tmp_path / "none")
    assert "has no metrics.jsonl; expected the --out_dir of a run" in refused(capsys, runs / "a", tmp_path)
    assert "there is no folder" in refused(capsys, runs / "a", TEXT)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "lr": 0.1, "loss": 2.0}\n')
    assert "has not been evaluated yet" in refused(capsys, runs / "a", tmp_path)


@pytest.mark.parametrize(("suffix", "begins"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_the_losses_are_drawn_where_asked(runs, tmp_path, capsys, suffix, begins):
    pytest.importorskip("matplotlib", reason="matplotlib, the `plot` extra, is not installed")
    out = compared(capsys, runs / "a", runs / "other", f"--out={tmp_path / 'both'}{suffix}")
    assert f"drawn into {tmp_path / 'both'}{suffix}" in out
    assert (tmp_path / f"both{suffix}").read_bytes().startswith(begins)


def test_a_drawing_that_cannot_be_made_is_a_sentence(runs, tmp_path, monkeypatch, capsys):
    assert "expected a file that ends in .png, .svg or .pdf" in refused(capsys, runs / "a", runs / "b", "--out=x.txt")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    err = refused(capsys, runs / "a", runs / "b", f"--out={tmp_path / 'x.png'}")
    assert "takes matplotlib" in err and not (tmp_path / "x.png").exists()


def test_how_much_easier_other_stretches_are_is_said_by_their_pairs(runs, capsys):
    half, one = saved_marks(runs / "half").bigrams, saved_marks(runs / "a").bigrams
    out = compared(capsys, runs / "a", runs / "half")
    assert f"pairs' frequencies have {one:.2f} (a), {half:.2f} (half): differences of that size say nothing" in out


def test_long_names_are_shortened_and_told_in_full(runs, tmp_path, capsys):
    for name in ("the run that has a learning rate of 3e-3", "the run that has a learning rate of 1e-3"):
        shutil.copytree(runs / "a", tmp_path / name)
    out = compared(capsys, *tmp_path.iterdir())
    assert max(map(len, out.splitlines()[4:])) < 130
    assert all(f"...ng rate of {rate}e-3" in out and f"learning rate of {rate}e-3\n" in out for rate in (1, 3))
    one, other = labels([Path(f"a{'x' * 40}"), Path(f"b{'x' * 40}")])
    assert (one, other) == ("run 1", "run 2")


def test_bits_per_character_stand_beside_no_nats(runs, capsys):
    out = compared(capsys, runs / "a", runs / "other")
    assert "learned from different texts" in out and "a text may be easier than another" in out
    assert "train there" not in out


def test_the_folder_of_the_weights_is_answered_with_the_runs(runs, capsys):
    assert f"do you mean {runs / 'a'}?" in refused(capsys, runs / "a" / "best", runs / "b")

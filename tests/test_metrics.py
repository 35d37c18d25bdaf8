"""`metrics.jsonl` has every row of a run once, in order, whatever became of the run or of the file; plots are extra."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.test_lock import SMALL
from tests.test_train import TEXT, tiny
from tinygpt.cli import main
from tinygpt.run import screens
from tinygpt.run.marks import Marks, saved_marks
from tinygpt.run.metrics import Metrics, fit_losses, history, plot
from tinygpt.train import EvalRecord, resume, start, train


def rows(folder) -> list[dict]:
    """The rows of a run's metrics, without what a clock says."""
    content = (folder / "metrics.jsonl").read_bytes()
    assert content == b"" or content.endswith(b"\n")
    rows = [json.loads(line) for line in content.splitlines()]
    return [{name: value for name, value in row.items() if name != "tokens_per_second"} for row in rows]


def trained(state, die=lambda record: False) -> None:
    """Train, writing each record down, or die as soon as a record comes."""
    metrics = Metrics(state)
    for record in train(state):
        if die(record):
            return
        metrics.write(record)


@pytest.fixture
def whole(tmp_path):
    """The rows of a run that nothing happens to."""
    trained(start(tiny(tmp_path / "whole")))
    return rows(tmp_path / "whole")


@pytest.mark.parametrize("evaluation", [True, False], ids=["evaluation", "step"])
@pytest.mark.parametrize("step", [0, 1, 4, 5, 10, 11, 12])
def test_no_row_is_lost_or_doubled_when_a_run_dies_before_it_writes_one(tmp_path, whole, step, evaluation):
    out = tmp_path / "out"
    trained(start(tiny(out)), lambda record: record.step == step and isinstance(record, EvalRecord) == evaluation)
    trained(resume(out))
    assert rows(out) == whole


def test_a_run_that_died_before_its_last_row_has_it_when_it_is_found_to_have_finished(tmp_path, capsys):
    assert main(["train", *SMALL, f"--out_dir={tmp_path}"]) == 0
    whole = (tmp_path / "metrics.jsonl").read_bytes()
    (tmp_path / "metrics.jsonl").write_bytes(whole[: whole[:-1].rindex(b"\n") + 1])
    assert main(["train", *SMALL, "--init_from=resume", f"--out_dir={tmp_path}"]) == 1
    assert "has finished its 100 steps" in capsys.readouterr().err
    assert (tmp_path / "metrics.jsonl").read_bytes() == whole


def test_rows_after_the_last_save_come_again(tmp_path, whole):
    trained(start(tiny(tmp_path)), lambda record: record.step == 9)
    assert rows(tmp_path)[-1]["step"] == 8
    state = resume(tmp_path)
    assert state.step == 5
    Metrics(state)
    assert rows(tmp_path) == whole[: [row["step"] for row in whole].index(6)]


def test_rows_from_another_text_stay(tmp_path):
    trained(start(tiny(tmp_path)))
    before = rows(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT.read_text()[::-1])
    trained(resume(tmp_path, {"data": str(tmp_path / "text.txt"), "max_iters": 13}))
    after = rows(tmp_path)
    assert after[: len(before)] == before
    assert [(row["step"], "val_loss" in row) for row in after[len(before) :]] == [(13, False), (13, True)]


def test_rows_are_on_the_disk_before_the_state_that_was_saved_after_them(tmp_path, monkeypatch):
    state = start(tiny(tmp_path))
    metrics, events = Metrics(state), []
    fsync, replace = os.fsync, os.replace

    def watched(handle):
        if os.path.samestat(os.fstat(handle), os.stat(metrics.path)):
            events.append(len(rows(tmp_path)))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append(Path(b).name), replace(a, b)))
    written = 0
    for record in train(state):
        if isinstance(record, EvalRecord):
            assert events[events.index(written) :].count("current") == 1  # all that was written, then the state
            events.clear()
        metrics.write(record)
        written += 1


# What else happens to the file


@pytest.mark.parametrize(
    ("happens", "note", "kept"),
    [
        (lambda path: path.unlink(), "was removed meanwhile, and is written anew", True),
        (lambda path: (path.rename(path.with_name("old")), path.write_text("")), "was replaced meanwhile", False),
        (lambda path: os.truncate(path, 0), "was cut short meanwhile", False),
    ],
    ids=["removed", "replaced", "emptied"],
)
def test_a_file_that_is_taken_away_is_said_and_goes_on(tmp_path, monkeypatch, capsys, happens, note, kept):
    show = screens.Screen.show

    def taken_away(screen, record):
        show(screen, record)
        if record.step == 60:
            happens(tmp_path / "metrics.jsonl")

    monkeypatch.setattr(screens.Screen, "show", taken_away)
    assert main(["train", *SMALL, "--log_interval=10", f"--out_dir={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert out.count("note: ") == 1 and f"metrics.jsonl {note}" in out
    steps = [0, 1, 10, 20, 30, 40, 50, 50, 60] * kept + [70, 80, 90, 100, 100]
    assert [row["step"] for row in rows(tmp_path)] == steps


def test_a_file_that_can_no_longer_be_written_ends_the_run_which_is_saved(tmp_path, monkeypatch, capsys):
    show = screens.Screen.show

    def in_the_way(screen, record):
        show(screen, record)
        if record.step == 60:
            (tmp_path / "metrics.jsonl").unlink()
            (tmp_path / "metrics.jsonl").mkdir()

    monkeypatch.setattr(screens.Screen, "show", in_the_way)
    assert main(["train", *SMALL, "--log_interval=1", f"--out_dir={tmp_path}"]) == 1
    err = capsys.readouterr().err
    assert "could not write" in err and "saved at step 61" in err and err.count("\n") == 1
    assert resume(tmp_path).step == 61


ODD = {
    "binary": bytes(range(256)) * 50,
    "zeros": bytes(5000),
    "a line of 10 MB": b'{"step": 1, "loss": "' + b"x" * 10_000_000 + b'"}\n',
    "brackets": b"[" * 10_000_000 + b"\n",
    "nested": b'{"step": 1, "loss": ' + b"[" * 20_000 + b"]" * 20_000 + b"}\n",
    "nested beside": b'{"step": 1, "more": ' + b"[" * 900 + b"]" * 900 + b"}\n",
    "a huge integer": b'{"step": 1, "loss": ' + b"9" * 6000 + b"}\n",
    "a large integer": b'{"step": 1, "loss": ' + b"9" * 400 + b"}\n",
    "a large step": b'{"step": ' + b"9" * 400 + b', "loss": 1.0}\n',
    "no step": b'{"loss": 1.0}\n',
    "a text for a step": b'{"step": "1", "loss": 1.0}\n',
    "a text for a number": b'{"step": 1, "loss": "low", "val_loss": "lower"}\n',
    "null": b'{"step": null, "loss": null}\nnull\n',
    "lists": b'{"step": [1], "loss": {"a": 1}}\n[1, 2]\n',
    "true": b'{"step": true, "loss": true}\n',
    "a step below zero": b'{"step": -1, "loss": 1.0}\n',
    "not UTF-8": b'{"step": 1, "loss": 1.0, "more": "\xff"}\n',
    "UTF-16": '{"step": 1, "loss": 1.0}\n'.encode("utf-16"),
    "surrogates": b'{"step": 1, "loss": 1.0, "\\ud800": "\\udfff"}\n',
    "not numbers": b'{"step": 1, "loss": NaN, "val_loss": Infinity, "train_loss": -Infinity}\n',
}


@pytest.mark.parametrize("content", ODD.values(), ids=ODD)
def test_odd_rows_are_never_a_traceback(tmp_path, capsys, content):
    flags = ["train", *SMALL, "--max_iters=4", "--log_interval=1", f"--out_dir={tmp_path}"]
    assert main(flags) == 0
    good = (tmp_path / "metrics.jsonl").read_bytes()
    (tmp_path / "metrics.jsonl").write_bytes(good + content)
    assert main([*flags, "--init_from=resume", "--max_iters=6"]) == 0
    captured = capsys.readouterr()
    assert captured.err == "" and "could not be drawn" not in captured.out
    after = (tmp_path / "metrics.jsonl").read_bytes()
    assert after.startswith(good) and [row["step"] for row in rows(tmp_path)][-3:] == [5, 6, 6]
    said = f"left out of {tmp_path}" in captured.out
    assert said or after.startswith(good + content) or not content.endswith(b"\n")  # the last: as a kill cuts a line
    (tmp_path / "metrics.jsonl").write_bytes(content)
    plot(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such pipes")
def test_a_pipe_in_its_place_is_not_waited_for(tmp_path, capsys):
    flags = ["train", *SMALL, "--max_iters=4", f"--out_dir={tmp_path}"]
    assert main(flags) == 0
    (tmp_path / "metrics.jsonl").unlink()
    os.mkfifo(tmp_path / "metrics.jsonl")
    plot(tmp_path)
    assert main([*flags, "--init_from=resume", "--max_iters=6"]) == 0


# The plot


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("no fonts"), OSError(28, "No space left on device")])
def test_a_plot_that_fails_is_a_note(tmp_path, monkeypatch, capsys, error):
    figure = pytest.importorskip("matplotlib.figure", reason="matplotlib, the `plot` extra, is not installed")

    def fails(*_, **__):
        raise error

    monkeypatch.setattr(figure.Figure, "savefig", fails)
    assert main(["train", *SMALL, f"--out_dir={tmp_path}"]) == 0
    captured = capsys.readouterr()
    assert captured.err == "" and f"note: {tmp_path / 'loss.png'} could not be drawn" in captured.out
    assert "best val loss" in captured.out


def test_a_plot_that_cannot_be_imported_or_written_is_a_note(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib.figure", reason="matplotlib, the `plot` extra, is not installed")
    (tmp_path / "loss.png").mkdir()
    assert main(["train", *SMALL, f"--out_dir={tmp_path}"]) == 0
    assert "loss.png could not be drawn" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    class Broken:
        def __getattr__(self, name):
            raise ImportError("libfreetype.so.6: cannot open shared object file")

    monkeypatch.setitem(sys.modules, "matplotlib.figure", Broken())
    assert main(["train", *SMALL, f"--out_dir={tmp_path / 'other'}"]) == 0
    assert "loss.png could not be drawn (libfreetype" in capsys.readouterr().out


def drawn(tmp_path, monkeypatch) -> list[str]:
    """The texts that a plot of the run in `tmp_path` has beside its curves."""
    figure = pytest.importorskip("matplotlib.figure", reason="matplotlib, the `plot` extra, is not installed")
    figures = []
    savefig = figure.Figure.savefig
    monkeypatch.setattr(
        figure.Figure, "savefig", lambda self, *a, **k: (figures.append(self), savefig(self, *a, **k))[1]
    )
    assert plot(tmp_path) == tmp_path / "loss.png"
    return [text.get_text() for text in figures[0].axes[0].texts]


def test_the_plot_has_the_marks_of_the_text(tmp_path, monkeypatch):
    assert main(["train", *SMALL, f"--out_dir={tmp_path}"]) == 0
    marks = saved_marks(tmp_path)
    assert f"a guess: {marks.uniform:.2f}" in drawn(tmp_path, monkeypatch)
    (tmp_path / "marks.json").write_text('{"uniform": 30.0, "unigrams": 2.9, "bigrams": "low"}')  # not ours
    assert drawn(tmp_path, monkeypatch) == []


def test_marks_far_from_the_losses_are_not_drawn(tmp_path, monkeypatch):
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 0, "train_loss": 3.0, "val_loss": 3.1, "best": true}\n'
        '{"step": 9, "train_loss": 2.0, "val_loss": 2.1, "best": true}\n'
    )
    Marks(10.8, 2.5, 1.0).save(tmp_path)
    assert drawn(tmp_path, monkeypatch) == ["single tokens: 2.50"]


def test_the_records_of_a_run_come_back_from_its_file(tmp_path):
    records = []
    metrics = Metrics(state := start(tiny(tmp_path)))
    for record in train(state):
        metrics.write(record)
        records.append(record)
    assert history(tmp_path) == [r for r in records if isinstance(r, EvalRecord) or r.loss is not None]
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(
            '{"step": 99, "val_loss": 1.0}\n{"step": 99}\n{"step": 99, "best": 3, "train_loss": 1, "val_loss": 2}\n'
        )
    assert history(tmp_path)[len(records) :] == [EvalRecord(99, 1, 2, False)]


def test_marks_that_lie_together_have_one_name(tmp_path, monkeypatch):
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 0, "train_loss": 3.0, "val_loss": 3.1, "best": true}\n'
        '{"step": 9, "train_loss": 2.0, "val_loss": 2.1, "best": true}\n'
    )
    Marks(2.52, 2.5, 2.2).save(tmp_path)
    assert drawn(tmp_path, monkeypatch) == ["a guess: 2.52, single tokens: 2.50", "pairs of tokens: 2.20"]


@pytest.mark.parametrize(("highest", "scale"), [(900.0, "log"), (6.0, "linear")])
def test_losses_that_explode_are_drawn_on_an_axis_that_shows_the_others_too(highest, scale):
    figure = pytest.importorskip("matplotlib.figure", reason="matplotlib, the `plot` extra, is not installed")
    axes = figure.Figure().subplots()
    fit_losses(axes, [4.5, 3.0, highest, 2.0])
    assert axes.get_yscale() == scale


def test_a_row_that_is_no_number_is_none_that_a_run_writes(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 0, "train_loss": 3.0, "val_loss": 3.1, "best": true}\n'
        '{"step": 9, "train_loss": NaN, "val_loss": Infinity, "best": true}\n'
    )
    assert history(tmp_path) == [EvalRecord(0, 3.0, 3.1, True)]


def test_a_run_that_diverges_leaves_its_picture(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the `plot` extra is not installed")
    flags = ["--learning_rate=1e30", "--grad_clip=0", "--decay_lr=False", f"--out_dir={tmp_path}"]
    assert main(["train", *SMALL, *flags]) == 1
    assert "learning_rate" in capsys.readouterr().err and (tmp_path / "loss.png").stat().st_size > 1000

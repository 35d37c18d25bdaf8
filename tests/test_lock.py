"""One run at a time owns a folder, and whoever reads there while it saves finds what belongs together."""

import errno
import json
import os
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from tests import children
from tests.test_train import run, tiny
from tinygpt import UserError
from tinygpt.cli import main
from tinygpt.run.folder import load_state, set_aside
from tinygpt.run.lock import LOCK, owned
from tinygpt.run.store import save, save_weights
from tinygpt.train import load_model, resume, start, train

ROOT = Path(__file__).parents[1]
TEXT = Path(__file__).with_name("memorised.txt")
SMALL = [
    f"--data={TEXT}", "--n_layer=1", "--n_head=2", "--n_embd=16", "--block_size=8", "--batch_size=4", "--eval_iters=1",
    "--eval_interval=50", "--max_iters=100", "--log_interval=50", "--sample_length=0", "--device=cpu", "--threads=1",
]  # fmt: skip
ENDLESS = [*SMALL, "--max_iters=1000000"]
ANOTHER = r"another run is training in {} \(process {}\); give this one another --out_dir, or wait until it ends"
HOLDS = (
    "import os, sys, time; from tinygpt.run.lock import owned\nwith owned(sys.argv[1]):\n print('held', flush=True)\n "
)


def holding(folder):
    """A program that owns a folder until it is ended."""
    return children.started("-c", HOLDS + "time.sleep(100)", folder, cwd=ROOT)


def files(folder) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# The lock


@pytest.mark.parametrize("flags", [[], ["--init_from=resume"]], ids=["new", "resumed"])
def test_a_second_run_gets_one_sentence_and_the_first_goes_on(tmp_path, flags):
    out = tmp_path / "out"
    assert children.run(ROOT / "train.py", *SMALL, f"--out_dir={out}").returncode == 0
    with children.started(ROOT / "train.py", *ENDLESS, *flags, f"--out_dir={out}") as first:
        while "tokens/s" not in first.stdout.readline():
            assert first.poll() is None
        for second in ([], ["--init_from=resume"]):
            done = children.run(ROOT / "train.py", *SMALL, *second, f"--out_dir={out}")
            assert done.returncode == 1 and done.stdout == ""
            assert done.stderr == f"error: {ANOTHER.format(out, first.pid)}\n".replace("\\", "")
        first.terminate()
        assert first.communicate()[1] == "" and first.returncode == 143
    assert len(list(out.glob("run-*"))) == (0 if flags else 1)
    steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps) and load_state(out)[0]["step"] >= steps[-1]


def test_of_runs_that_begin_at_once_one_trains_and_the_others_say_why_not(tmp_path):
    flags = [*SMALL, "--max_iters=1000", f"--out_dir={tmp_path / 'out'}"]
    with children.started(ROOT / "train.py", *flags) as one, children.started(ROOT / "train.py", *flags) as two:
        outputs = [process.communicate() for process in (one, two)]
    ended = sorted((process.returncode, err) for process, (_, err) in zip((one, two), outputs, strict=True))
    if [status for status, _ in ended] == [0, 0]:  # on a busy machine the second may begin when the first has ended
        assert (tmp_path / "out" / "run-1").is_dir()
    else:
        assert ended[0] == (0, "") and ended[1][0] == 1 and "another run is training in" in ended[1][1]
        assert not list((tmp_path / "out").glob("run-*"))
    assert load_state(tmp_path / "out")[0]["step"] == 1000


def test_the_lock_is_free_when_its_holder_was_killed(tmp_path):
    with holding(tmp_path) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=ANOTHER.format(tmp_path, process.pid)), owned(tmp_path):
            pass
    with owned(tmp_path):
        assert (tmp_path / LOCK).exists()
    assert (tmp_path / LOCK).exists()


def test_no_child_inherits_the_lock(tmp_path):
    code = HOLDS + "import subprocess; subprocess.Popen([sys.executable, '-c', 'input()'], close_fds=False)\n"
    code += (
        " if hasattr(__import__('os'), 'fork') and __import__('os').fork() == 0: input()\n print('left', flush=True)"
    )
    with children.started("-c", code, tmp_path, cwd=ROOT, stdin=subprocess.PIPE) as process:
        while process.stdout.readline() != "left\n":
            assert process.poll() is None
        assert process.wait(60) == 0  # its children wait for what is typed
        with owned(tmp_path):
            pass


def test_a_process_may_own_its_folder_twice_and_lets_go_of_it_at_the_end(tmp_path):
    code = HOLDS + "pass"
    with owned(tmp_path) as once, owned(tmp_path / ".." / tmp_path.name) as again:
        assert once is again
        assert "another run is training in" in children.run("-c", code, tmp_path, cwd=ROOT).stderr
    assert children.run("-c", code, tmp_path, cwd=ROOT).returncode == 0


def test_a_lock_that_was_removed_is_taken_again_unless_another_run_was_faster(tmp_path):
    with owned(tmp_path) as folder:
        (tmp_path / LOCK).unlink()
        folder.check()
        with pytest.raises(subprocess.CalledProcessError):
            children.run("-c", HOLDS + "pass", tmp_path, cwd=ROOT).check_returncode()
        (tmp_path / LOCK).unlink()
        with holding(tmp_path) as process:
            assert process.stdout.readline() == "held\n"
            with pytest.raises(UserError, match=ANOTHER.format(tmp_path, process.pid)):
                folder.check()


def test_training_from_python_owns_the_folder_as_long_as_it_trains(tmp_path):
    state = start(tiny(tmp_path))
    training = train(state)
    with owned(tmp_path):
        pass
    next(training)
    code = "import sys; from tinygpt.cli import main; sys.exit(main(sys.argv[1:]))"
    other = ["-c", code, "train", *SMALL, f"--out_dir={tmp_path}"]
    before = files(tmp_path)
    assert "another run is training in" in children.run(*other, cwd=ROOT).stderr and files(tmp_path) == before
    again = resume(tmp_path)  # while the first run, given up, is still referred to
    assert run(again)[-1].step == 12
    training.close()
    assert children.run(*other, cwd=ROOT).returncode == 0


def test_a_state_that_another_run_has_gone_on_from_is_not_trained_over_it(tmp_path):
    run(start(tiny(tmp_path)))
    old, other = (resume(tmp_path, {"max_iters": steps}) for steps in (13, 14))
    assert run(other)[-1].step == 14
    with pytest.raises(UserError, match="has gone on since this state of it, step 12, was read or saved; resume it"):
        run(old)
    assert resume(tmp_path).step == 14


@pytest.mark.skipif(os.name == "nt", reason="Windows locks by msvcrt")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS], ids=errno.errorcode.get)
def test_a_file_system_without_locks_is_a_note(tmp_path, monkeypatch, capsys, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    assert main(["train", *SMALL, f"--out_dir={tmp_path}"]) == 0
    assert f"note: the file system of {tmp_path} has no locks ({os.strerror(number)})" in capsys.readouterr().out


def test_earlier_runs_are_moved_without_the_lock(tmp_path, capsys):
    for _ in range(2):
        assert main(["train", *SMALL, f"--out_dir={tmp_path}"]) == 0
    assert (tmp_path / LOCK).exists() and not (tmp_path / "run-1" / LOCK).exists()


def test_evaluating_only_takes_no_lock(tmp_path, capsys):
    assert main(["train", *SMALL, f"--out_dir={tmp_path}"]) == 0
    with holding(tmp_path) as process:
        assert process.stdout.readline() == "held\n"
        before = files(tmp_path)
        assert main(["train", *SMALL, "--init_from=resume", "--eval_only", f"--out_dir={tmp_path}"]) == 0
        assert main(["train", *SMALL, "--eval_only", f"--out_dir={tmp_path}"]) == 0
        assert files(tmp_path) == before


@pytest.mark.skipif(os.name == "nt", reason="Windows needs rights of its own for links")
@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda out: out.write_text("mine"), "out is not a folder; choose another --out_dir"),
        (lambda out: out.symlink_to("nowhere"), "out is not a folder"),
        (lambda out: (out / LOCK).mkdir(parents=True), "Is a directory"),
        (lambda out: (out.mkdir(), (out / LOCK).symlink_to("../precious.txt")), "symbolic link"),
        (lambda out: (out.mkdir(), os.mkfifo(out / LOCK)), "is not a file, as a run's lock is"),
    ],
    ids=["file", "dangling link", "folder", "link", "pipe"],
)
def test_what_cannot_be_locked_is_a_sentence(tmp_path, capsys, make, sentence):
    (tmp_path / "precious.txt").write_text("precious")
    make(tmp_path / "out")
    assert main(["train", *SMALL, f"--out_dir={tmp_path / 'out'}"]) == 1
    err = capsys.readouterr().err
    assert sentence in err and err.count("\n") == 1
    assert (tmp_path / "precious.txt").read_text() == "precious"


# Folders that go away


@pytest.mark.parametrize("away", ["renamed", "removed", "replaced"])
def test_a_folder_that_goes_away_is_said_and_no_other_is_made(tmp_path, monkeypatch, capsys, away):
    from tinygpt.run import screens

    out, show = tmp_path / "out", screens.Screen.show

    def goes_away(screen, record):
        show(screen, record)
        if record.step == 60:
            out.rename(tmp_path / "kept")
            if away == "replaced":
                out.mkdir()

    monkeypatch.setattr(screens.Screen, "show", goes_away)
    assert main(["train", *SMALL, "--log_interval=1", f"--out_dir={out}"]) == 1
    captured = capsys.readouterr()
    assert "was renamed or removed meanwhile" in captured.err and captured.err.count("\n") == 1
    assert not out.exists() or not list(out.iterdir())
    assert resume(tmp_path / "kept").step == 50


def test_from_python_too(tmp_path):
    state = start(tiny(tmp_path / "out"))
    with pytest.raises(UserError, match="was renamed or removed meanwhile"):
        for record in train(state):
            if record.step == 7:
                (tmp_path / "out").rename(tmp_path / "kept")
    assert not (tmp_path / "out").exists() and resume(tmp_path / "kept").step == 5


# Readers


@pytest.mark.parametrize("what", ["best", "last"])
def test_what_is_read_while_a_run_saves_belongs_together(tmp_path, what):
    """Two runs of other sizes take turns in a folder, each set aside for the next, and save without end."""
    states = [start(tiny(tmp_path / "out", n_embd=size, data=None, dataset=name, block_size=16))
              for size, name in ((8, "addition"), (16, "addition"))]  # fmt: skip
    states.append(start(tiny(tmp_path / "out", n_embd=8, tokenizer="bpe", vocab_size=270)))
    expected = {(state.model.config.n_embd, state.model.config.vocab_size): state for state in states}
    done, problems = threading.Event(), []

    def writes():
        try:
            while not done.is_set():
                for state in states:
                    for step in range(4):
                        state.step = step
                        if what == "best":
                            save_weights(state, tmp_path / "out" / "best")
                        save(state)
                    if not done.is_set():
                        for number in tmp_path.glob("out/run-*"):
                            number.rename(tmp_path / f"old-{len(list(tmp_path.iterdir()))}")
                        set_aside(tmp_path / "out")
        except BaseException as error:
            problems.append(error)
            raise

    writer = threading.Thread(target=writes)
    writer.start()
    read = between = 0
    try:
        while read < 200 and not problems:
            try:
                model, tokenizer = load_model(tmp_path / "out", "cpu")
            except UserError as error:  # the moment between two runs, when there is none
                assert "is missing" not in str(error) and "damaged" not in str(error)
                between += 1
                continue
            read += 1
            state = expected[model.config.n_embd, model.config.vocab_size]
            assert tokenizer == state.corpus.tokenizer
            np.testing.assert_array_equal(model.params.flat, state.model.params.flat)
    finally:
        done.set()
        writer.join()
    assert not problems and read == 200


def test_a_run_that_cannot_be_moved_aside_stays_whole(tmp_path, monkeypatch):
    run(start(tiny(tmp_path, max_iters=2)))
    before, replace = files(tmp_path), os.replace

    def refused(source, target):
        if Path(source).name == "last" and "run-1" in str(target):
            raise PermissionError(13, "Permission denied", str(source))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refused)
    with pytest.raises(
        UserError, match=r"could not move last of the earlier run to .*run-1: Permission denied; choose"
    ):
        set_aside(tmp_path)
    assert files(tmp_path) == before


@pytest.mark.parametrize("left", ["metrics.jsonl", "last"])
def test_what_is_left_of_a_run_is_not_written_over(left, tmp_path):
    run(start(tiny(tmp_path, max_iters=2)))
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.5}\n')
    for path in list(tmp_path.iterdir()):
        if path.name != left:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (tmp_path / "last" / "current").unlink(missing_ok=True)
    before = {path.relative_to(tmp_path): content for path, content in files(tmp_path).items()}
    assert before and set_aside(tmp_path) == tmp_path / "run-1"
    assert {
        path.relative_to(tmp_path / "run-1"): content for path, content in files(tmp_path / "run-1").items()
    } == before


def test_from_python_too_a_new_run_does_not_write_over_an_earlier_one(tmp_path):
    run(start(tiny(tmp_path, max_iters=2)))
    weights = (tmp_path / "best" / "model.safetensors").read_bytes()
    run(start(tiny(tmp_path, max_iters=4, seed=7)))
    assert (tmp_path / "run-1" / "best" / "model.safetensors").read_bytes() == weights
    assert resume(tmp_path).step == 4

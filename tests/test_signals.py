"""Signals end a run in order: what was done is saved, the status says which it was, and nothing is a traceback."""

import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest

from tests import children
from tests.test_train import everything, run, tiny
from tinygpt import signals
from tinygpt.run import screens
from tinygpt.run.folder import load_state
from tinygpt.train import EvalRecord, StepRecord, resume, start

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals to send to another process")

ROOT = Path(__file__).parents[1]
TEXT = Path(__file__).with_name("memorised.txt")
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
SMALL = [
    f"--data={TEXT}", "--n_layer=1", "--n_head=2", "--n_embd=16", "--block_size=8", "--batch_size=4", "--eval_iters=1",
    "--eval_interval=1000000", "--max_iters=1000000", "--log_interval=2", "--sample_length=0", "--device=cpu",
    "--threads=2",
]  # fmt: skip
COMMAND = "import sys; from tinygpt import cli; sys.exit(cli.main(sys.argv[1:]))"
PROGRAMS = {"train.py": [ROOT / "train.py"], "-m tinygpt": ["-m", "tinygpt", "train"]}


def started(*arguments, program="train.py", **options):
    return children.started(*PROGRAMS[program], *arguments, **({"cwd": ROOT} | options))


def until(process, words):
    while words not in (line := process.stdout.readline()):
        assert line, f"it ended without saying {words!r}"


@pytest.mark.parametrize("number", STATUS, ids=lambda number: number.name)
def test_a_signal_saves_the_last_whole_step_and_the_status_says_which_it_was(tmp_path, number):
    with started(*SMALL, f"--out_dir={tmp_path}") as process:
        until(process, "tokens/s")
        process.send_signal(number)
        out, err = process.communicate()
    assert process.returncode == STATUS[number] and err == ""
    step = int(re.search(r"stopped, saved at step ([\d,]+); go on with: python", out)[1].replace(",", ""))
    assert load_state(tmp_path)[0]["step"] == step > 0


@pytest.mark.parametrize("number", STATUS, ids=lambda number: number.name)
def test_a_step_under_way_is_dropped_rather_than_waited_for(tmp_path, number):
    code = (
        "import itertools; from tinygpt.run import loop\n"
        "batches = loop._batches\n"
        "def without_end(state):\n"
        "    (batch,), counted = batches(state)\n"
        "    return itertools.repeat(batch), counted\n"
        "loop._batches = without_end\n" + COMMAND
    )
    with children.started("-c", code, "train", *SMALL, f"--out_dir={tmp_path}", cwd=ROOT) as process:
        until(process, "step      0  train loss")
        process.send_signal(number)
        out, err = process.communicate()
    assert (process.returncode, err) == (STATUS[number], "")
    assert "stopping with the last whole step" in out and "stopped, saved at step 0;" in out


@pytest.mark.parametrize("micro_batch", [1, 2, 3])
@pytest.mark.parametrize("step", [0, 3, 7])
def test_a_run_stopped_between_micro_batches_goes_on_bit_for_bit(tmp_path, step, micro_batch):
    options = dict(dropout=0.2, gradient_accumulation_steps=3)
    straight = start(tiny(tmp_path / "straight", **options))
    expected = run(straight)

    state = start(tiny(tmp_path / "parts", **options))
    loss, calls = state.model.loss, []

    def stops(*arguments, **settings):
        if settings.get("step") == step and len(arguments) == 3:  # not an evaluation's; two workers call it
            calls.append(1)
            state.stop = len(calls) > 2 * (micro_batch - 1)
        return loss(*arguments, **settings)

    state.model.loss = stops
    records = run(state)
    assert state.stop and state.step == state.saved_step == step
    again = resume(tmp_path / "parts")
    assert again.step == step
    records += run(again)
    for ours, theirs in zip(everything(again), everything(straight), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for kind, names in ((EvalRecord, ["step", "val_loss", "best"]), (StepRecord, ["step", "loss", "grad_norm"])):
        ours, theirs = (
            [[getattr(record, name) for name in names] for record in of if isinstance(record, kind)]
            for of in (records, expected)
        )
        assert ours == theirs


def test_an_evaluation_is_given_up_when_a_run_is_asked_to_stop(tmp_path):
    state = start(tiny(tmp_path, data=None, dataset="addition", block_size=20))
    generate = state.model.generate

    def stops(*arguments, **settings):
        state.stop = True
        return generate(*arguments, **settings)

    state.model.generate = stops  # what the share of sums done right is counted with
    assert run(state) == [] and resume(tmp_path).evaluated_step == -1


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("number", STATUS, ids=lambda number: number.name)
def test_a_signal_while_the_program_is_imported_is_a_sentence(tmp_path, number, program):
    (tmp_path / "numpy.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    paths = os.pathsep.join(map(str, (tmp_path, ROOT)))
    with started(*SMALL, program=program, env=os.environ | {"PYTHONPATH": paths}, cwd=tmp_path) as process:
        until(process, "importing")
        process.send_signal(number)
        out, err = process.communicate()
    assert (process.returncode, err, out.strip()) == (
        STATUS[number], "", "stopped; there was nothing to save"
    )  # fmt: skip


@pytest.mark.parametrize("number", STATUS, ids=lambda number: number.name)
def test_a_signal_before_the_first_step_is_a_sentence(tmp_path, number):
    code = (
        "import time; from tinygpt.run import store\n"
        "store.load_corpus = lambda *_: (print('loading', flush=True), time.sleep(60))\n" + COMMAND
    )
    with children.started("-c", code, "train", *SMALL, f"--out_dir={tmp_path / 'out'}", cwd=ROOT) as process:
        until(process, "loading")
        process.send_signal(number)
        out, err = process.communicate()
    assert (process.returncode, err, out.strip()) == (
        STATUS[number], "", "stopped before the first step; there was nothing to save"
    )  # fmt: skip
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", STATUS, ids=lambda number: number.name)
def test_a_signal_that_comes_as_soon_as_the_run_stands_is_not_lost(tmp_path, number):
    """Between starting and the first step: the run is saved as it stands."""
    code = (
        "import os; from tinygpt.commands import train\n"
        f"train.set_aside = lambda *_: os.kill(os.getpid(), {int(number)})\n" + COMMAND
    )
    done = children.run("-c", code, "train", *SMALL, f"--out_dir={tmp_path}", cwd=ROOT)
    assert (done.returncode, done.stderr) == (STATUS[number], "") and "stopped, saved at step 0;" in done.stdout
    assert resume(tmp_path).step == 0


def test_a_signal_in_the_closing_sample_drops_the_sample(tmp_path):
    code = (
        "import os; from tinygpt.run import screens\n"
        "screens.Screen.sample = lambda screen, length: length > 40 and os.kill(os.getpid(), 15)\n" + COMMAND
    )
    last = ["--max_iters=4", "--sample_length=20"]
    done = children.run("-c", code, "train", *SMALL, *last, f"--out_dir={tmp_path}", cwd=ROOT)
    assert (done.returncode, done.stderr) == (143, "") and "best val loss" in done.stdout
    assert "stopped, saved" not in done.stdout  # it had finished


@pytest.mark.parametrize("command", ["sample", "eval", "gradcheck"])
def test_other_commands_end_quietly(tmp_path, command):
    code = "import os, signal; from tinygpt import cli\n"
    code += f"cli.{command}.run = lambda *_: os.kill(os.getpid(), {{}})\n" + COMMAND
    for number, status in STATUS.items():
        done = children.run("-c", code.format(int(number)), command, cwd=ROOT)
        assert (done.returncode, done.stdout.strip(), done.stderr) == (status, "", "")


@pytest.mark.parametrize("ignored", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_that_is_ignored_stays_ignored(tmp_path, ignored):
    """As under `nohup`, or in the background of a script."""
    options = {"preexec_fn": lambda: signal.signal(ignored, signal.SIG_IGN)}
    with started(*SMALL, f"--out_dir={tmp_path}", **options) as process:
        until(process, "tokens/s")
        process.send_signal(ignored)
        until(process, "tokens/s")
        until(process, "tokens/s")
        other = signal.SIGTERM if ignored == signal.SIGINT else signal.SIGINT
        process.send_signal(other)
        assert process.communicate()[1] == "" and process.returncode == STATUS[other]


def test_a_run_whose_terminal_is_closed_is_saved(tmp_path):
    """The kernel sends SIGHUP, and whatever is printed from then on fails."""
    with children.Terminal(ROOT / "train.py", *SMALL, f"--out_dir={tmp_path}") as terminal:
        terminal.until("tokens/s")
        os.close(terminal.leader)
        terminal.leader = os.open(os.devnull, os.O_RDONLY)  # for the end of the block to close
        assert terminal.process.wait(60) == 129
    assert load_state(tmp_path)[0]["step"] > 0


def test_a_run_whose_signal_of_a_closed_terminal_is_ignored_goes_on_in_silence(tmp_path):
    code = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + COMMAND
    flags = "--max_iters=1000", "--eval_interval=500", f"--out_dir={tmp_path}"
    with children.Terminal("-c", code, "train", *SMALL, *flags, cwd=ROOT) as terminal:
        terminal.until("tokens/s")
        os.close(terminal.leader)
        terminal.leader = os.open(os.devnull, os.O_RDONLY)
        assert terminal.process.wait(60) == 0
    assert load_state(tmp_path)[0]["step"] == 1000


def test_other_signals_may_be_repeated_and_only_a_second_ctrl_c_leaves_at_once(tmp_path, monkeypatch):
    left = []
    monkeypatch.setattr(screens, "leave", lambda number, words: left.append((number, words)))
    monkeypatch.setattr(os, "write", lambda *_: 0)
    state = start(tiny(tmp_path))
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP):
        screens.ask_to_stop(state, number)
    assert state.stop and state.stopped_by == signal.SIGTERM and not left
    screens.ask_to_stop(state, signal.SIGINT)
    assert left == [(signal.SIGINT, "left at once; nothing was saved")]


def test_whoever_answered_signals_before_does_again(tmp_path):
    before = [signal.getsignal(number) for number in STATUS]
    heard = []
    with signals.answered_by(heard.append):
        for number in STATUS:
            signal.raise_signal(number)
    assert heard == list(STATUS) and [signal.getsignal(number) for number in STATUS] == before
    with signals.answered_by(signals.interrupt), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert [signal.getsignal(number) for number in STATUS] == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_run_whose_output_finds_the_disk_full_is_saved(tmp_path):
    with open("/dev/full", "w") as full:
        done = children.run(ROOT / "train.py", *SMALL, f"--out_dir={tmp_path}", stdout=full)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "No space left on device; the run has stopped, saved at step" in done.stderr
    assert resume(tmp_path).saved_step >= 0


@pytest.mark.skipif(os.name != "posix", reason="a process may begin with closed files on POSIX")
@pytest.mark.parametrize("closed", [1, 2])
def test_a_closed_output_is_nowhere_and_no_file_of_the_runs(closed, tmp_path):
    code = f"import os, sys; os.close({closed}); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    done = children.run("-c", code, ROOT / "train.py", *SMALL, "--max_iters=2", f"--out_dir={tmp_path}")
    assert done.returncode == 0 and done.stderr == "" and (tmp_path / "best" / "model.safetensors").exists()
    assert re.fullmatch(rb"\d+ .*\n", (tmp_path / "tinygpt.lock").read_bytes())


NOTEBOOK = """
import os, signal, sys
from tinygpt.cli import main
from tinygpt.commands import sample, train

def twice(*_):
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)

for module, name in ((train, "set_aside"), (train, "_start"), (sample, "model_for")):
    setattr(module, name, twice)
    status = main(["train", *sys.argv[1:]] if module is train else ["sample"])
    print("the kernel lives", status, signal.getsignal(signal.SIGINT) is signal.default_int_handler, flush=True)
"""


def test_two_quick_interrupts_do_not_kill_a_notebooks_kernel(tmp_path):
    done = children.run("-c", NOTEBOOK, *SMALL, f"--out_dir={tmp_path}", cwd=ROOT)
    assert done.returncode == 0 and done.stderr == ""
    assert re.findall("the kernel lives (.*)", done.stdout) == ["130 True"] * 3
    assert "left at once; nothing was saved" in done.stdout
    assert done.stdout.count("stopped before the first step; there was nothing to save") == 1


def test_interrupts_while_a_cell_trains_by_a_command_are_keyboard_interrupts(tmp_path):
    """As a kernel does, each cell's KeyboardInterrupt is caught: nothing that a user sends ends the process."""
    code = (
        "import sys\nfrom tinygpt.cli import main\n"
        "try:\n    print('status', main(sys.argv[1:]), flush=True)\n"
        "except KeyboardInterrupt:\n    print('interrupted', flush=True)\n"
        "print('the kernel lives')\n"
    )
    with children.started("-c", code, "train", *SMALL, f"--out_dir={tmp_path}", cwd=ROOT) as process:
        until(process, "tokens/s")
        process.send_signal(signal.SIGINT)
        until(process, "stopping with the last whole step")
        out, err = process.communicate()
    assert (process.returncode, err) == (0, "") and "status 130" in out and "the kernel lives" in out


def test_a_second_interrupt_is_an_exception_where_the_process_is_not_ours():
    with pytest.raises(KeyboardInterrupt) as error:
        signals.leave(signal.SIGINT, "left at once")
    assert error.value.args == (signal.SIGINT, "left at once")


@pytest.mark.parametrize("ranks, status", [(1, 128 + signal.SIGINT), (2, -signal.SIGTERM)])
def test_a_rank_that_is_asked_to_end_before_mpi_is_there_dies_of_sigterm_so_that_its_launcher_knows(ranks, status):
    """MPICH's mpiexec waits on where a process exits before it has reached MPI, whatever its status."""
    code = "import os; from tinygpt.signals import from_the_first_moment as f\nwith f(): os.kill(os.getpid(), 2)"
    done = children.run("-c", code, env=os.environ | {"PMI_SIZE": str(ranks)})
    assert (done.returncode, done.stdout) == (status, "\nstopped; there was nothing to save\n")


def test_where_a_library_waits_the_system_itself_answers_signals():
    before = signals.listen(lambda number: None)
    try:
        answers = signal.getsignal(signal.SIGTERM)
        with signals.left_to_the_system():
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) == answers
    finally:
        for number, answer in before.items():
            signal.signal(number, answer)
